//! One text per value: how recorded states are put in order and counted.
//!
//! The recorded lists stand in the order of this text, so it is Python's `json.dumps(sort_keys=True)` to the letter: a space after
//! commas and colons, everything outside ASCII escaped.

use std::fmt::Write;

use serde_json::Value;

/// The canonical text of a value.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out, true);
    out
}

/// As [`canonical`], but with characters outside ASCII as they are, and cut after `limit` of them: for people.
pub fn shown(value: Option<&Value>, limit: usize) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let mut out = String::new();
    write_value(value, &mut out, false);
    if let Some((end, _)) = out.char_indices().nth(limit) {
        out.truncate(end);
        out += "...";
    }
    out
}

fn write_value(value: &Value, out: &mut String, ascii: bool) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => _ = write!(out, "{number}"),
        Value::String(text) => write_text(text, out, ascii),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write_value(item, out, ascii);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write_text(key, out, ascii);
                out.push_str(": ");
                write_value(&map[key], out, ascii);
            }
            out.push('}');
        }
    }
}

fn write_text(text: &str, out: &mut String, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ascii && (c as u32) > 0x7e) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_text_is_the_one_that_the_recorder_sorted_by() {
        let value = json!({"b": [1, -2, null, true], "a": {"é": "x\ny\"\\\u{7}", "ab": "😀"}, "": {}});
        let text = r#"{"": {}, "a": {"ab": "\ud83d\ude00", "\u00e9": "x\ny\"\\\u0007"}, "b": [1, -2, null, true]}"#;
        assert_eq!(canonical(&value), text);
    }

    #[test]
    fn long_values_are_cut_for_people() {
        assert_eq!(shown(Some(&json!("ééé")), 4), "\"ééé...");
        assert_eq!(shown(Some(&json!("ééé")), 5), "\"ééé\"");
        assert_eq!(shown(None, 4), "nothing");
    }
}
