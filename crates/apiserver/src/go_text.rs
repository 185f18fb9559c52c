//! Errors in the words of Go: `encoding/json` (sigs.k8s.io/json) and `strconv`.

use std::borrow::Cow;

use serde_json::Value;

/// What a document is first read into, to learn its type.
const TYPE_META: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// Faults of JSON: text of serde_json, text of Go behind the character.
const SYNTAX: &[(&str, &str)] = &[
    ("trailing characters", "after top-level value"),
    ("expected value", "looking for beginning of value"),
    ("key must be a string", "looking for beginning of object key string"),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("control character", "in string literal"),
    ("invalid escape", "in string escape code"),
    ("invalid number", "in numeric literal"),
];

/// The error of a text that is no JSON.
pub(crate) fn json_syntax(body: &[u8], e: &serde_json::Error) -> String {
    if e.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let told = e.to_string();
    let before: usize = body.split_inclusive(|b| *b == b'\n').take(e.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let at = body.get(before + e.column().saturating_sub(1)).copied().map_or(' ', char::from);
    let what = match SYNTAX.iter().find(|(own, _)| told.contains(own)) {
        Some((_, text)) => text,
        None if told.contains("trailing comma") && at == '}' => "looking for beginning of object key string",
        None if told.contains("trailing comma") => "looking for beginning of value",
        None => return told,
    };
    format!("invalid character {} {what}", quoted(at))
}

fn quoted(c: char) -> String {
    match c {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        '\n' => r"'\n'".to_owned(),
        '\t' => r"'\t'".to_owned(),
        '\r' => r"'\r'".to_owned(),
        c if c.is_ascii_control() => format!("'\\x{:02x}'", c as u32),
        c => format!("'{c}'"),
    }
}

/// Bytes as Go's readers take them for a text: each that is no UTF-8 becomes a replacement character.
pub(crate) fn valid_utf8(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(out)
}

/// A text as `%q` writes it; of control characters some have names.
pub(crate) fn quoted_text(text: &str) -> String {
    let body: String = text
        .chars()
        .map(|c| match c {
            '\'' => "'".to_owned(),
            '\u{7}' => "\\a".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\u{b}' => "\\v".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            c if c.is_ascii_control() && !matches!(c, '\n' | '\r' | '\t') => format!("\\x{:02x}", c as u32),
            c => c.escape_debug().to_string(),
        })
        .collect();
    format!("\"{body}\"")
}

/// The name of a kind of value.
pub(crate) fn word(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A document that is no object has no type.
pub(crate) fn no_type(v: &Value) -> String {
    format!("json: cannot unmarshal {} into Go value of type {TYPE_META}", word(v))
}

/// The error of a number that does not parse.
pub(crate) fn parse_uint(text: &str) -> String {
    format!("strconv.ParseUint: parsing {text:?}: {}", why_no_number(text))
}

/// The error of a number with a sign that does not parse.
pub(crate) fn parse_int(text: &str) -> String {
    format!("strconv.ParseInt: parsing {text:?}: {}", why_no_number(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

fn why_no_number(digits: &str) -> &'static str {
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) { "value out of range" } else { "invalid syntax" }
}

/// What is wrong with a duration such as `1h30m` (`time.ParseDuration`).
pub(crate) fn duration_fault(text: &str) -> Option<String> {
    let invalid = || Some(format!("time: invalid duration {text:?}"));
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return None;
    }
    if rest.is_empty() {
        return invalid();
    }
    let mut nanoseconds = 0f64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let Ok(amount) = rest[..number].parse::<f64>() else { return invalid() };
        rest = &rest[number..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        nanoseconds += amount
            * match &rest[..unit] {
                "" => return Some(format!("time: missing unit in duration {text:?}")),
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 6e10,
                "h" => 3.6e12,
                other => return Some(format!("time: unknown unit {other:?} in duration {text:?}")),
            };
        rest = &rest[unit..];
    }
    if nanoseconds > i64::MAX as f64 { invalid() } else { None }
}

/// Bytes in base64, written anew as Go writes them, or its error: at which byte the text stops making sense (`encoding/base64`).
pub(crate) fn base64(text: &str) -> Result<String, String> {
    use base64::{Engine as _, alphabet::STANDARD, engine};
    let illegal = |at: usize| format!("illegal base64 data at input byte {at}");
    let used: Vec<(usize, u8)> = text.bytes().enumerate().filter(|(_, b)| !matches!(b, b'\n' | b'\r')).collect();
    for quantum in used.chunks(4) {
        for (place, (at, byte)) in quantum.iter().enumerate() {
            let end = quantum.last().map_or(0, |(at, _)| at + 1);
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {}
                // Padding ends the text; it stands in the third place with another behind it, or in the fourth.
                b'=' if place == 2 && quantum.len() == 3 => return Err(illegal(text.len())),
                b'=' if place == 2 && quantum[3].1 != b'=' => return Err(illegal(quantum[3].0.saturating_sub(1))),
                b'=' if place >= 2 => match used.iter().find(|(later, _)| *later >= end) {
                    Some((later, _)) => return Err(illegal(*later)),
                    None => break,
                },
                _ => return Err(illegal(*at)),
            }
        }
        if quantum.len() < 4 {
            return Err(illegal(text.len() - quantum.len()));
        }
    }
    // Bits beyond the last byte are ignored, and lost.
    let lenient = engine::GeneralPurpose::new(&STANDARD, engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let clean: Vec<u8> = used.into_iter().map(|(_, byte)| byte).collect();
    let bytes = lenient.decode(clean).map_err(|_| illegal(0))?;
    Ok(engine::general_purpose::STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of Go's `encoding/base64`.
    #[test]
    fn base64_is_refused_at_the_byte_where_go_refuses_it() {
        for (text, at) in
            [("AAAA_", 4), ("A", 0), ("AAA", 0), ("AAAAA", 4), ("AA=A", 2), ("AA=", 3), ("AAA=A", 4), ("=AAA", 0), ("AA!A", 2)]
        {
            assert_eq!(base64(text), Err(format!("illegal base64 data at input byte {at}")), "{text:?}");
        }
        for (text, want) in [("", ""), ("YQ==", "YQ=="), ("YR==", "YQ=="), ("Y\nQ==", "YQ=="), ("YWJj", "YWJj")] {
            assert_eq!(base64(text).as_deref(), Ok(want), "{text:?}");
        }
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn faults_of_json_are_told_as_go_tells_them() {
        for (text, want) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("{\"a\":1}x", "invalid character 'x' after top-level value"),
            ("\u{1}", "invalid character '\\x01' looking for beginning of value"),
            ("{\n\"a\" 1}", "invalid character '1' after object key"),
        ] {
            let e = serde_json::from_str::<Value>(text).expect_err("it is no JSON");
            assert_eq!(json_syntax(text.as_bytes(), &e), want, "{text:?}");
        }
        assert_eq!(parse_int("9223372036854775808"), "strconv.ParseInt: parsing \"9223372036854775808\": value out of range");
        assert_eq!(parse_int(""), "strconv.ParseInt: parsing \"\": invalid syntax");
        assert_eq!(parse_uint("-1"), "strconv.ParseUint: parsing \"-1\": invalid syntax");
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn durations_are_refused_as_go_refuses_them() {
        for good in ["0", "1.5h", "1h30m", "-1s", "0s", "99999h"] {
            assert_eq!(duration_fault(good), None, "{good}");
        }
        for (text, want) in [
            ("1", "time: missing unit in duration \"1\""),
            ("1h1", "time: missing unit in duration \"1h1\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("1e3s", "time: unknown unit \"e\" in duration \"1e3s\""),
            (".", "time: invalid duration \".\""),
            ("-", "time: invalid duration \"-\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ] {
            assert_eq!(duration_fault(text).as_deref(), Some(want));
        }
    }
}
