//! Writing YAML: keys in order, texts plain where that is unambiguous, long ones folded, lists not indented (go-yaml 2).

use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value;

/// Column after which plain and quoted texts are folded.
const WIDTH: usize = 80;

/// Writes a document.
pub(crate) fn emit(v: &Value) -> String {
    let mut out = String::new();
    match v {
        Value::Object(m) if !m.is_empty() => mapping(m, 0, &mut out),
        Value::Array(l) if !l.is_empty() => sequence(l, 0, &mut out),
        v => {
            scalar(v, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn indent(n: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', n));
}

fn mapping(m: &serde_json::Map<String, Value>, at: usize, out: &mut String) {
    let mut keys: Vec<&String> = m.keys().collect();
    keys.sort_by(|a, b| natural(a, b));
    for (i, k) in keys.into_iter().enumerate() {
        // The first key of a mapping within a sequence stands on the line of its dash.
        if i > 0 || !out.ends_with("- ") {
            indent(at, out);
        }
        text(k, at, out, true);
        out.push(':');
        below(&m[k], at, out);
    }
}

fn below(v: &Value, at: usize, out: &mut String) {
    match v {
        Value::Object(m) if !m.is_empty() => {
            out.push('\n');
            mapping(m, at + 2, out);
        }
        Value::Array(l) if !l.is_empty() => {
            out.push('\n');
            sequence(l, at, out);
        }
        v => {
            out.push(' ');
            scalar(v, at, out);
            out.push('\n');
        }
    }
}

fn sequence(l: &[Value], at: usize, out: &mut String) {
    for (i, v) in l.iter().enumerate() {
        if i > 0 || !out.ends_with("- ") {
            indent(at, out);
        }
        out.push_str("- ");
        match v {
            Value::Object(m) if !m.is_empty() => mapping(m, at + 2, out),
            Value::Array(l) if !l.is_empty() => sequence(l, at + 2, out),
            v => {
                scalar(v, at, out);
                out.push('\n');
            }
        }
    }
}

fn scalar(v: &Value, at: usize, out: &mut String) {
    match v {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::String(t) => text(t, at, out, false),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// Order of keys: runs of digits by their number, letters behind other signs (go-yaml 2 `keyList`).
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(i) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let (al, bl) = (a[i].is_alphabetic(), b[i].is_alphabetic());
    if al || bl {
        return if al && bl { a[i].cmp(&b[i]) } else { al.cmp(&bl) };
    }
    // Zeros within a number count as digits, at its head they do not.
    let within = a[..i].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let start = i64::from((a[i] == '0' || b[i] == '0') && within);
    let number = |s: &[char]| {
        let digits: Vec<_> = s[i..].iter().map_while(|c| c.to_digit(10)).collect();
        (digits.iter().fold(start, |n, d| n.saturating_mul(10).saturating_add(i64::from(*d))), digits.len())
    };
    number(&a).cmp(&number(&b)).then(a[i].cmp(&b[i]))
}

fn pattern(cell: &'static OnceLock<Regex>, p: &str, t: &str) -> bool {
    cell.get_or_init(|| Regex::new(p).expect("a pattern of this file compiles")).is_match(t)
}

/// Whether a plain text would be read as something else than a text.
fn ambiguous(t: &str) -> bool {
    const WORDS: &[&str] = &[
        "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "y", "Y", "yes", "Yes", "YES", "n", "N", "no",
        "No", "NO", "on", "On", "ON", "off", "Off", "OFF", ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF",
        "-.inf", "-.Inf", "-.INF",
    ];
    static FLOAT: OnceLock<Regex> = OnceLock::new();
    static INT: OnceLock<Regex> = OnceLock::new();
    static SIXTY: OnceLock<Regex> = OnceLock::new();
    static TIME: OnceLock<Regex> = OnceLock::new();
    WORDS.contains(&t)
        || pattern(&FLOAT, r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$", t)
        || pattern(&INT, r"^[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$", t)
        || pattern(&SIXTY, r"^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$", t)
        || pattern(
            &TIME,
            r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ]\s*[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]*)?\s*(Z|[-+][0-9]{1,2}(:?[0-9]{2})?)?)?$",
            t,
        )
}

fn printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

/// Whether a text can stand plain within a block.
fn plain(t: &str) -> bool {
    let c: Vec<char> = t.chars().collect();
    let (first, last) = (c[0], c[c.len() - 1]);
    if first == ' ' || last == ' ' || t.starts_with("---") || t.starts_with("...") {
        return false;
    }
    let spaced = |i: usize| c.get(i + 1).is_none_or(|n| matches!(n, ' ' | '\t' | '\n'));
    match first {
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => return false,
        '?' | ':' | '-' if spaced(0) => return false,
        _ => {}
    }
    (1..c.len()).all(|i| match c[i] {
        ':' => !spaced(i),
        '#' => !matches!(c[i - 1], ' ' | '\t'),
        _ => true,
    })
}

fn text(t: &str, at: usize, out: &mut String, key: bool) {
    let special = !t.chars().all(printable);
    if t.contains('\n') && !key && !special && !t.contains(" \n") && !t.ends_with(' ') {
        return literal(t, at, out);
    }
    if t.contains('\n') || special || ambiguous(t) {
        return double(t, at, out, key);
    }
    let (start, end) = if plain(t) { ("", "") } else { ("'", "'") };
    let body = if start.is_empty() { t.to_owned() } else { t.replace('\'', "''") };
    out.push_str(start);
    fold(&body, at, out, key);
    out.push_str(end);
}

/// A text of several lines, as it is.
fn literal(t: &str, at: usize, out: &mut String) {
    out.push('|');
    if t.starts_with([' ', '\n']) {
        out.push('2');
    }
    let ends = t.len() - t.trim_end_matches('\n').len();
    match ends {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    for line in t.strip_suffix('\n').unwrap_or(t).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(at + 2, out);
            out.push_str(line);
        }
    }
}

fn column(out: &str) -> usize {
    out.chars().rev().take_while(|c| *c != '\n').count()
}

/// Breaks at single spaces behind the width.
fn fold(t: &str, at: usize, out: &mut String, key: bool) {
    let c: Vec<char> = t.chars().collect();
    let mut col = column(out);
    for (i, x) in c.iter().enumerate() {
        let single = *x == ' ' && i > 0 && i + 1 < c.len() && c[i - 1] != ' ' && c[i + 1] != ' ';
        if single && col > WIDTH && !key {
            out.push('\n');
            indent(at + 2, out);
            col = at + 2;
        } else {
            out.push(*x);
            col += 1;
        }
    }
}

fn double(t: &str, at: usize, out: &mut String, key: bool) {
    out.push('"');
    let c: Vec<char> = t.chars().collect();
    let mut col = column(out);
    for (i, x) in c.iter().enumerate() {
        let escape = match x {
            '"' => Some("\\\"".to_owned()),
            '\\' => Some("\\\\".to_owned()),
            '\0' => Some("\\0".to_owned()),
            '\u{7}' => Some("\\a".to_owned()),
            '\u{8}' => Some("\\b".to_owned()),
            '\t' => Some("\\t".to_owned()),
            '\n' => Some("\\n".to_owned()),
            '\u{b}' => Some("\\v".to_owned()),
            '\u{c}' => Some("\\f".to_owned()),
            '\r' => Some("\\r".to_owned()),
            '\u{1b}' => Some("\\e".to_owned()),
            '\u{85}' => Some("\\N".to_owned()),
            '\u{a0}' => Some("\\_".to_owned()),
            '\u{2028}' => Some("\\L".to_owned()),
            '\u{2029}' => Some("\\P".to_owned()),
            x if !printable(*x) => Some(match u32::from(*x) {
                n @ 0..=0xff => format!("\\x{n:02X}"),
                n @ 0..=0xffff => format!("\\u{n:04X}"),
                n => format!("\\U{n:08X}"),
            }),
            _ => None,
        };
        if let Some(e) = escape {
            out.push_str(&e);
            col += e.chars().count();
        } else if *x == ' ' && col > WIDTH && i > 0 && i + 1 < c.len() && !key {
            out.push('\n');
            indent(at + 2, out);
            col = at + 2;
            if c[i + 1] == ' ' {
                out.push('\\');
                col += 1;
            }
        } else {
            out.push(*x);
            col += 1;
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn texts_are_quoted_where_they_could_be_read_as_something_else() {
        for (t, want) in [
            ("yes", "\"yes\""),
            ("", "\"\""),
            ("1.5", "\"1.5\""),
            ("0x1f", "\"0x1f\""),
            (" lead", "' lead'"),
            ("2021-01-01", "\"2021-01-01\""),
            ("a: b", "'a: b'"),
            ("a:b", "a:b"),
            ("a:", "'a:'"),
            ("a #b", "'a #b'"),
            ("-a", "-a"),
            ("?x", "?x"),
            ("*a", "'*a'"),
            ("it's", "it's"),
            ("a\tb", "\"a\\tb\""),
            ("1:30", "\"1:30\""),
            ("1.2.3", "1.2.3"),
            ("0e12345", "\"0e12345\""),
            ("😀", "\"\\U0001F600\""),
            ("a\u{1}b", "\"a\\x01b\""),
            ("<<", "<<"),
            ("+1", "\"+1\""),
        ] {
            assert_eq!(emit(&json!({ "k": t })), format!("k: {want}\n"), "{t:?}");
        }
    }

    #[test]
    fn lists_mappings_and_long_texts_have_the_form_of_the_reference() {
        let long = "word ".repeat(40) + "end";
        let got = emit(&json!({"b": [{"y": "1", "x": []}, [1, 2]], "a": {}, "m": "l1\nl2\n", "o": "  i\nx", "long": long}));
        let want = "a: {}\nb:\n- x: []\n  \"y\": \"1\"\n- - 1\n  - 2\nlong: word word word word word word word word word word word word word word word word\n  word word word word word word word word word word word word word word word word\n  word word word word word word word word end\nm: |\n  l1\n  l2\no: |2-\n    i\n  x\n";
        assert_eq!(got, want);
    }
}
