//! Symbols in the place of what chance decides, numbered by first appearance, and the texts in which they stand.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use regex::{Captures, Regex};
use serde_json::Value;

use super::alike::NOW;

/// Longer values of `generateName` are cut to this before five letters are added.
const LONGEST_PREFIX: usize = 58;
/// Times further away than this are no accident.
const NEAR: f64 = 2.0 * 86_400.0;

static UUID: LazyLock<Regex> = LazyLock::new(|| pattern("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static STAMP: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?(?:Z|\+00:00)"));
static VERSION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"((?:[Rr]esource ?[Vv]ersion[^0-9<>]{0,40}|current: |too old resource version: [0-9]+ \())([0-9]+)"));
static PORT: LazyLock<Regex> = LazyLock::new(|| pattern(r":(3[0-9]{4})/"));
static HASH: LazyLock<Regex> = LazyLock::new(|| pattern("hash=[0-9A-F]{16,}"));
static GENERATED: LazyLock<Regex> = LazyLock::new(|| pattern("^[bcdfghjklmnpqrstvwxz2456789]{5}$"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a fixed pattern")
}

/// What a symbol stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A uid.
    Uid,
    /// A resourceVersion.
    Version,
    /// An allocated address.
    Address,
    /// An allocated port.
    Port,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Uid => "uid",
            Kind::Version => "rv",
            Kind::Address => "ip",
            Kind::Port => "port",
        }
    }
}

/// The symbols of one conversation.
#[derive(Debug)]
pub struct Symbols {
    namespace: String,
    /// What the requests spell out themselves stays as it is.
    asked: String,
    /// Seconds since 1970 at which the conversation began.
    start: f64,
    known: BTreeMap<Kind, BTreeMap<String, String>>,
    /// Generated names and what stands for them, in order of appearance.
    generated: Vec<(String, String)>,
    /// resourceVersions in order of appearance.
    versions: Vec<String>,
}

impl Symbols {
    /// Symbols of a conversation in `namespace` whose requests contain `asked`, and which begins now.
    pub fn new(namespace: &str, asked: String, now: Timestamp) -> Self {
        Symbols {
            namespace: namespace.to_owned(),
            asked,
            start: seconds(now),
            known: BTreeMap::new(),
            generated: Vec::new(),
            versions: Vec::new(),
        }
    }

    /// Takes the server's clock as zero where it is far from ours, which shows `now`.
    pub fn clock(&mut self, server: Timestamp, now: Timestamp) {
        if (seconds(server) - seconds(now)).abs() > 5.0 {
            self.start = seconds(server);
        }
    }

    /// Whether the requests spell this out.
    pub fn is_asked(&self, text: &str) -> bool {
        self.asked.contains(text)
    }

    /// The symbol of something.
    pub fn symbol(&mut self, kind: Kind, actual: &str) -> String {
        let known = self.known.entry(kind).or_default();
        if let Some(symbol) = known.get(actual) {
            return symbol.clone();
        }
        let symbol = format!("<{}{}>", kind.word(), known.len() + 1);
        known.insert(actual.to_owned(), symbol.clone());
        if kind == Kind::Version {
            self.versions.push(actual.to_owned());
        }
        symbol
    }

    fn known(&self, kind: Kind, actual: &str) -> Option<&String> {
        self.known.get(&kind)?.get(actual)
    }

    /// The numbers of the resourceVersion symbols, oldest first; `None` when that is 1, 2, 3…
    pub fn version_order(&self) -> Option<Vec<usize>> {
        let mut order: Vec<usize> = (1..=self.versions.len()).collect();
        order.sort_by(|a, b| compare_numbers(&self.versions[a - 1], &self.versions[b - 1]));
        if order.is_sorted() { None } else { Some(order) }
    }

    /// Finds the names that the server generated.
    pub fn find_generated(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                if let (Some(prefix), Some(name)) =
                    (map.get("generateName").and_then(Value::as_str), map.get("name").and_then(Value::as_str))
                {
                    self.note_generated(prefix, name);
                }
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                keys.into_iter().for_each(|key| self.find_generated(&map[key]));
            }
            Value::Array(items) => items.iter().for_each(|item| self.find_generated(item)),
            _ => {}
        }
    }

    fn note_generated(&mut self, prefix: &str, name: &str) {
        let base: String = prefix.chars().take(LONGEST_PREFIX).collect();
        let is_new = !base.is_empty() && self.generated.iter().all(|(known, _)| known != name);
        if is_new && name.strip_prefix(&base).is_some_and(|end| GENERATED.is_match(end)) {
            let symbol = format!("{base}<gen{}>", self.generated.len() + 1).replace(&self.namespace, "{ns}");
            self.generated.push((name.to_owned(), symbol));
        }
    }

    /// A text with symbols in it.
    pub fn text(&mut self, text: &str) -> String {
        if let Some(address) = self.known(Kind::Address, text) {
            return address.clone();
        }
        let mut text = text.replace(&self.namespace, "{ns}");
        for (name, symbol) in &self.generated {
            if text.contains(name) {
                text = text.replace(name, symbol);
            }
        }
        if !text.bytes().any(|b| b.is_ascii_digit() || b == b'-' || b == b'=') {
            return text;
        }
        let uid = |found: &Captures<'_>| if self.is_asked(&found[0]) { found[0].to_owned() } else { self.symbol(Kind::Uid, &found[0]) };
        let text = UUID.replace_all(&text, uid).into_owned();
        let text = STAMP.replace_all(&text, |found: &Captures<'_>| self.moment(found));
        let text = HASH.replace_all(&text, "hash=<hash>");
        let text = VERSION.replace_all(&text, |found: &Captures<'_>| self.version(found));
        let port = |found: &Captures<'_>| format!(":{}/", self.known(Kind::Port, &found[1]).map_or(&found[1], String::as_str));
        PORT.replace_all(&text, port).into_owned()
    }

    fn moment(&self, found: &Captures<'_>) -> String {
        let offset = unix_seconds(found).map(|then| (then as f64 - self.start).round_ties_even()).filter(|offset| offset.abs() <= NEAR);
        let Some(offset) = offset.filter(|_| !self.is_asked(&found[0])) else { return found[0].to_owned() };
        let fraction = found.get(7).map_or_else(String::new, |digits| format!(".{}", digits.len() - 1));
        if offset.abs() <= NOW as f64 { format!("<now{fraction}>") } else { format!("<now{offset:+}{fraction}>") }
    }

    fn version(&self, found: &Captures<'_>) -> String {
        let number = &found[2];
        if let Some(symbol) = self.known(Kind::Version, number) {
            return format!("{}{symbol}", &found[1]);
        }
        if number == "0" || self.asks_for_number(number) { found[0].to_owned() } else { format!("{}<rv>", &found[1]) }
    }

    /// Whether the requests spell out this number, and not only as part of a longer one.
    fn asks_for_number(&self, number: &str) -> bool {
        let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        let bytes = self.asked.as_bytes();
        self.asked.match_indices(number).any(|(at, _)| {
            let before = at.checked_sub(1).and_then(|at| bytes.get(at));
            !is_digit(before) && !is_digit(bytes.get(at + number.len()))
        })
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_nanosecond() as f64 / 1e9
}

/// Days and hours that no calendar has run over into the next month or day.
fn unix_seconds(found: &Captures<'_>) -> Option<i64> {
    let part = |at: usize| found[at].parse::<i64>().ok();
    let first = Date::new(part(1)? as i16, part(2)? as i8, 1).ok()?.to_zoned(TimeZone::UTC).ok()?;
    let days = first.timestamp().as_second() + (part(3)? - 1) * 86_400;
    Some(days + part(4)? * 3600 + part(5)? * 60 + part(6)?)
}

/// Compares decimal numbers of any length.
pub fn compare_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn symbols(asked: &str) -> Symbols {
        Symbols::new("c-bcdfghjklm", asked.to_owned(), "2026-06-01T08:00:00.4Z".parse().expect("a time"))
    }

    #[test]
    fn what_chance_decides_is_replaced_and_what_was_asked_for_stays() {
        let mut all = symbols("11111111-2222-4333-8444-555555555555 2026-06-01T08:00:01Z 77");
        let uid = "aaaaaaaa-2222-4333-8444-555555555555";
        assert_eq!(
            all.text(&format!("{uid} 11111111-2222-4333-8444-555555555555 {uid} in c-bcdfghjklm")),
            "<uid1> 11111111-2222-4333-8444-555555555555 <uid1> in {ns}"
        );
        assert_eq!(
            all.text("2026-06-01T08:00:01Z 2026-06-01T08:00:14Z 2026-06-01T08:00:15.123456Z 2026-05-31T08:00:00Z 2026-06-04T08:00:00Z"),
            "2026-06-01T08:00:01Z <now> <now+15.6> <now-86400> 2026-06-04T08:00:00Z"
        );
        assert_eq!(all.symbol(Kind::Version, "12"), "<rv1>");
        assert_eq!(
            all.text("resourceVersion: 12, Resource Version 13, resource version 77, current: 770, too old resource version: 5 (9)"),
            "resourceVersion: <rv1>, Resource Version <rv>, resource version 77, current: <rv>, too old resource version: 5 (<rv>)"
        );
        assert_eq!(all.text("hash=0123456789ABCDEF0"), "hash=<hash>");
        assert_eq!((all.symbol(Kind::Port, "30123"), all.text("x:30123/TCP:30124/")), ("<port1>".into(), "x:<port1>/TCP:30124/".into()));
        assert_eq!((all.symbol(Kind::Address, "10.96.0.9"), all.text("10.96.0.9")), ("<ip1>".into(), "<ip1>".into()));
    }

    #[test]
    fn generated_names_become_their_prefix_and_a_symbol() {
        let mut all = symbols("");
        let long = "x".repeat(60);
        all.find_generated(&json!({"a": {"generateName": "web-", "name": "web-bcdfg"}, "b": {"generateName": "web-", "name": "web-aeiou"},
            "c": {"generateName": long, "name": format!("{}22222", "x".repeat(58))}}));
        assert_eq!(all.text("pods \"web-bcdfg\", web-aeiou"), "pods \"web-<gen1>\", web-aeiou");
        assert_eq!(all.text(&format!("{}22222", "x".repeat(58))), format!("{}<gen2>", "x".repeat(58)));
    }

    #[test]
    fn versions_that_do_not_grow_have_an_order() {
        let mut all = symbols("");
        for version in ["9", "10"] {
            all.symbol(Kind::Version, version);
        }
        assert_eq!(all.version_order(), None);
        all.symbol(Kind::Version, "8");
        assert_eq!(all.version_order(), Some(vec![3, 1, 2]));
    }
}
