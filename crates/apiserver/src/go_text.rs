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

#[cfg(test)]
mod tests {
    use super::*;

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
