//! Formats of texts and numbers that schemas may ask for (apiextensions `apiserver/validation/formats.go`, kube-openapi `strfmt`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value;

use crate::json;
use crate::meta;

/// Formats of texts, without dashes. What is not here is not looked at.
const TEXTS: &[&str] = &[
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// The format of a schema, when it is one that is checked for its type.
pub(super) fn supported(s: &Value) -> Option<&str> {
    let format = json::text(s, "format");
    if format.is_empty() || s["x-kubernetes-int-or-string"] == true {
        return None;
    }
    let known = match json::text(s, "type") {
        "" | "string" => TEXTS.contains(&format.replace('-', "").as_str()),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    };
    known.then_some(format)
}

/// Formats in a schema that nobody knows, each as often as it stands there: for warnings.
pub(super) fn unknown(s: &Value, out: &mut Vec<String>) {
    let format = json::text(s, "format");
    if !format.is_empty() && supported(s).is_none() && s["x-kubernetes-int-or-string"] != true {
        out.push(format.to_owned());
    }
    super::each_below(s, &mut |_, below| unknown(below, out));
}

fn matches(cell: &'static OnceLock<Regex>, pattern: &str, text: &str) -> bool {
    cell.get_or_init(|| Regex::new(pattern).expect("a pattern of this file compiles")).is_match(text)
}

macro_rules! is {
    ($pattern:expr, $text:expr) => {{
        static CELL: OnceLock<Regex> = OnceLock::new();
        matches(&CELL, $pattern, $text)
    }};
}

/// Whether a text has a format.
pub(super) fn fits(format: &str, t: &str) -> bool {
    match format.replace('-', "").as_str() {
        "bsonobjectid" => is!(r"^[0-9a-fA-F]{24}$", t),
        "uri" => is_uri(t),
        "email" => is!(r"^(?:.*<)?[^\s@<>]+@[^\s@<>]+>?$", t),
        "hostname" => is_hostname(t),
        "ipv4" => t.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => t.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(t),
        "mac" => is!(
            r"^(?i)[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}(?:(?:[:-][0-9a-f]{2}){2}|(?:[:-][0-9a-f]{2}){14})?$|^(?i)[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}$",
            t
        ),
        "uuid" => is!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$", t),
        "uuid3" => is!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$", t),
        "uuid4" => is!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$", t),
        "uuid5" => is!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$", t),
        "isbn" => isbn10(t) || isbn13(t),
        "isbn10" => isbn10(t),
        "isbn13" => isbn13(t),
        "creditcard" => is_card(t),
        "ssn" => is!(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$", t),
        "hexcolor" => is!(r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$", t),
        "rgbcolor" => is!(
            r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$",
            t
        ),
        "byte" => is!(r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$", t),
        "date" => t.len() == 10 && t.parse::<jiff::civil::Date>().is_ok(),
        "duration" => is_duration(t),
        "datetime" => t.parse::<jiff::Timestamp>().is_ok(),
        "k8sshortname" => meta::dns_label(t).is_empty(),
        "k8slongname" => meta::dns_subdomain(t).is_empty(),
        _ => true,
    }
}

/// An absolute URI or an absolute path (Go `url.ParseRequestURI`).
fn is_uri(t: &str) -> bool {
    let clean = !t.chars().any(|c| c.is_control() || c == ' ');
    clean && (t.starts_with('/') || is!(r"^[A-Za-z][A-Za-z0-9+.-]*:.+$", t))
}

fn is_hostname(t: &str) -> bool {
    let t = t.strip_suffix('.').unwrap_or(t);
    t.len() <= 255
        && t.split('.').all(|l| {
            !l.is_empty()
                && l.len() <= 63
                && l.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
                && l.chars().next().is_some_and(char::is_alphanumeric)
                && l.chars().last().is_some_and(char::is_alphanumeric)
        })
}

fn is_cidr(t: &str) -> bool {
    let Some((ip, bits)) = t.split_once('/') else { return false };
    let plain = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    match (ip.parse::<IpAddr>(), bits.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(n)) => plain && n <= 32,
        (Ok(IpAddr::V6(_)), Ok(n)) => plain && n <= 128,
        _ => false,
    }
}

/// Go's durations, with the units that the reference's library adds.
fn is_duration(t: &str) -> bool {
    is!(r"^[-+]?(0|([0-9]*\.?[0-9]+|[0-9]+\.)(ns|us|µs|μs|ms|s|m|h)(([0-9]*\.?[0-9]+|[0-9]+\.)(ns|us|µs|μs|ms|s|m|h))*)$", t)
        || is!(
            r"^\s*\d+\s*(ns|nanos?|nanoseconds?|us|µs|micros?|microseconds?|ms|millis?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?)\s*$",
            t
        )
}

fn digits(t: &str) -> Vec<u32> {
    t.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| if c == 'X' { 10 } else { c.to_digit(10).unwrap_or(99) }).collect()
}

fn isbn10(t: &str) -> bool {
    let d = digits(t);
    d.len() == 10
        && d[..9].iter().all(|x| *x < 10)
        && d[9] <= 10
        && d.iter().enumerate().map(|(i, x)| (i as u32 + 1) * x).sum::<u32>() % 11 == 0
}

fn isbn13(t: &str) -> bool {
    let d = digits(t);
    d.len() == 13
        && d.iter().all(|x| *x < 10)
        && d.iter().enumerate().map(|(i, x)| if i % 2 == 0 { *x } else { 3 * x }).sum::<u32>() % 10 == 0
}

fn is_card(t: &str) -> bool {
    let d: Vec<u32> = t.chars().filter_map(|c| c.to_digit(10)).collect();
    let plain: String = d.iter().filter_map(|x| char::from_digit(*x, 10)).collect();
    let known = is!(
        r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$",
        &plain
    );
    let sum: u32 = d
        .iter()
        .rev()
        .enumerate()
        .map(|(i, x)| match (i % 2, x * 2) {
            (0, _) => *x,
            (_, y) if y > 9 => y - 9,
            (_, y) => y,
        })
        .sum();
    known && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart_by_their_format() {
        for (format, good, bad) in [
            ("date-time", "2021-03-04T05:06:07Z", "yesterday"),
            ("date", "2021-03-04", "2021-3-4"),
            ("duration", "1h30m", "soon"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("uuid", "11111111-2222-4333-8444-555555555501", "1-2"),
            ("email", "a@b.c", "a.b"),
            ("uri", "https://example.com/x", "not a uri"),
            ("byte", "YWJj", "?"),
            ("hexcolor", "#ffF", "#ff"),
            ("isbn", "0321751043", "0321751044"),
            ("k8s-short-name", "a-b", "a.b"),
        ] {
            assert!(fits(format, good), "{format} {good}");
            assert!(!fits(format, bad), "{format} {bad}");
        }
    }
}
