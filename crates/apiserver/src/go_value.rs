//! Values as the reference's messages show them: Go's quoted strings (`%q`), its JSON (`encoding/json`), which differs from
//! ours in what it escapes, and its maps (`%v`).

use std::fmt::Write as _;

use serde_json::Value;

/// A text as `%q` writes it.
pub(crate) fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\x7f' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                let n = c as u32;
                let _ = if n < 0x1_0000 { write!(out, "\\u{n:04x}") } else { write!(out, "\\U{n:08x}") };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of texts as `%q` writes it.
pub(crate) fn quote_list(list: &[&str]) -> String {
    format!("[{}]", list.iter().map(|s| quote(s)).collect::<Vec<_>>().join(" "))
}

/// A value in JSON on one line, with what is special in HTML escaped.
pub(crate) fn json(v: &Value) -> String {
    escape(v.to_string())
}

/// A value in JSON on many lines, one blank a level, as the reference prints what it compares.
pub(crate) fn json_lines(v: &Value) -> String {
    let mut out = Vec::new();
    let mut ser = serde_json::Serializer::with_formatter(&mut out, serde_json::ser::PrettyFormatter::with_indent(b" "));
    serde::Serialize::serialize(v, &mut ser).expect("a document of strings, numbers and maps always encodes");
    escape(String::from_utf8(out).expect("JSON is UTF-8"))
}

/// A value as `%v` writes it.
pub(crate) fn map(v: &Value) -> String {
    match v {
        Value::Null => "<nil>".to_owned(),
        Value::String(t) => t.clone(),
        Value::Array(l) => format!("[{}]", l.iter().map(map).collect::<Vec<_>>().join(" ")),
        Value::Object(m) => {
            let mut fields: Vec<_> = m.iter().collect();
            fields.sort_by_key(|(k, _)| *k);
            format!("map[{}]", fields.iter().map(|(k, v)| format!("{k}:{}", map(v))).collect::<Vec<_>>().join(" "))
        }
        v => v.to_string(),
    }
}

fn escape(text: String) -> String {
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_the_reference_quotes_them() {
        for (text, want) in [("a", "\"a\""), ("a\"b\\", "\"a\\\"b\\\\\""), ("\u{1}\t", "\"\\x01\\t\""), ("é<", "\"é<\"")] {
            assert_eq!(quote(text), want);
        }
        assert_eq!(quote_list(&["a", "b c"]), "[\"a\" \"b c\"]");
    }

    #[test]
    fn json_escapes_what_is_special_in_html() {
        assert_eq!(json(&serde_json::json!({"a": "<&>"})), "{\"a\":\"\\u003c\\u0026\\u003e\"}");
        assert_eq!(json_lines(&serde_json::json!({"a": [1], "b": {}})), "{\n \"a\": [\n  1\n ],\n \"b\": {}\n}");
    }
}
