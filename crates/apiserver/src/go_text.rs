//! Errors in the words of Go: `encoding/json` (sigs.k8s.io/json) and `strconv`.

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
    let why = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) { "value out of range" } else { "invalid syntax" };
    format!("strconv.ParseUint: parsing {text:?}: {why}")
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
        assert_eq!(parse_uint("-1"), "strconv.ParseUint: parsing \"-1\": invalid syntax");
    }
}
