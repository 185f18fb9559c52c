//! Reading bodies: JSON with duplicate keys noticed, YAML, and small words for documents.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::go_text;

/// Deepest nesting that is read, as Go's reader has it.
const READ_DEPTH: usize = 10_000;
/// Deepest nesting that is kept. What lies deeper is read to its end and left out: a document is walked by recursion in many places, and
/// each of them has to fit on the stack of a thread.
const KEPT_DEPTH: usize = 100;

/// A JSON document that was read.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The document.
    pub value: Value,
    /// The paths of keys that occur twice (the last one wins, as on the server), in order of appearance.
    pub duplicates: Vec<String>,
    /// Path of the first value that lies too deep to be kept; it is empty in the document.
    pub cut: Option<String>,
}

/// Reads a JSON document. Bytes that are no UTF-8 and lone surrogates become replacement characters. The error is in Go's words.
pub fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    if let Some(bracket) = too_deep(bytes) {
        return Err(format!("invalid character '{bracket}' exceeded max depth"));
    }
    let mut notes = Notes::default();
    let value = read(bytes, &mut notes).map_err(|e| go_text::json_syntax(bytes, &e))?;
    notes.duplicates.sort();
    Ok(Parsed { value, duplicates: notes.duplicates.into_iter().map(|(_, path)| path).collect(), cut: notes.cut })
}

/// Where in a document keys stand, as numbers that grow: for each path its first place, or with `true` its second.
pub fn places(bytes: &[u8], paths: &[(String, bool)]) -> Vec<usize> {
    let mut notes = Notes { wanted: paths.iter().map(|(path, _)| path.clone()).collect(), ..Notes::default() };
    let _ = read(bytes, &mut notes);
    let place = |(path, second): &(String, bool)| {
        notes.found.get(path).and_then(|at| at.get(usize::from(*second)).or_else(|| at.last())).copied().unwrap_or(usize::MAX)
    };
    paths.iter().map(place).collect()
}

fn read(bytes: &[u8], notes: &mut Notes) -> Result<Value, serde_json::Error> {
    let text = whole_surrogates(go_text::valid_utf8(bytes));
    let mut de = serde_json::Deserializer::from_str(&text);
    let mut path = Vec::new();
    let value = Seed { path: &mut path, notes }.deserialize(&mut de)?;
    de.end()?;
    Ok(value)
}

/// The bracket that is one too many.
fn too_deep(bytes: &[u8]) -> Option<char> {
    if bytes.iter().filter(|b| matches!(b, b'[' | b'{')).count() <= READ_DEPTH {
        return None;
    }
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for b in bytes {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                if depth > READ_DEPTH {
                    return Some(char::from(*b));
                }
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Escapes of lone surrogates become that of the replacement character, as in Go.
fn whole_surrogates(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains("\\uD") && !text.contains("\\ud") {
        return text;
    }
    let unit = |at: usize| {
        let digits = text.as_bytes().get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?, 16).ok()
    };
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(next) = text[at..].find('\\').map(|n| at + n) {
        out.push_str(&text[at..next]);
        let length = match unit(next) {
            Some(0xd800..=0xdbff) if matches!(unit(next + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                out.push_str("\\ufffd");
                at = next + 6;
                continue;
            }
            // The escaped character goes with its backslash.
            _ => 1 + text[next + 1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&text[next..next + length]);
        at = next + length;
    }
    out.push_str(&text[at..]);
    Cow::Owned(out)
}

enum Step {
    Key(String),
    Index(usize),
}

/// What is found on the way.
#[derive(Default)]
struct Notes {
    /// Keys so far.
    keys: usize,
    duplicates: Vec<(usize, String)>,
    cut: Option<String>,
    wanted: BTreeSet<String>,
    found: BTreeMap<String, Vec<usize>>,
}

struct Seed<'a> {
    path: &'a mut Vec<Step>,
    notes: &'a mut Notes,
}

impl Seed<'_> {
    /// Whether what comes is too deep to be kept; the first such place is noted.
    fn cuts(&mut self) -> bool {
        let cuts = self.path.len() >= KEPT_DEPTH;
        if cuts && self.notes.cut.is_none() {
            self.notes.cut = Some(path_text(self.path));
        }
        cuts
    }
}

fn path_text(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(k) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(k);
            }
            Step::Index(i) => out.push_str(&format!("[{i}]")),
        }
    }
    out
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<Value, D::Error> {
        de.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON document")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        if self.cuts() {
            // Reading what is ignored takes no stack.
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Array(out));
        }
        self.path.push(Step::Index(0));
        while let Some(v) = seq.next_element_seed(Seed { path: &mut *self.path, notes: &mut *self.notes })? {
            out.push(v);
            if let Some(Step::Index(i)) = self.path.last_mut() {
                *i += 1;
            }
        }
        self.path.pop();
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        if self.cuts() {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Object(out));
        }
        while let Some(key) = map.next_key::<String>()? {
            self.notes.keys += 1;
            let twice = out.contains_key(&key);
            self.path.push(Step::Key(key));
            if twice {
                self.notes.duplicates.push((self.notes.keys, path_text(self.path)));
            }
            if !self.notes.wanted.is_empty() {
                let path = path_text(self.path);
                if self.notes.wanted.contains(&path) {
                    self.notes.found.entry(path).or_default().push(self.notes.keys);
                }
            }
            let v = map.next_value_seed(Seed { path: &mut *self.path, notes: &mut *self.notes })?;
            let Some(Step::Key(key)) = self.path.pop() else { unreachable!("the step pushed above is on top") };
            out.insert(key, v);
        }
        Ok(Value::Object(out))
    }
}

/// The value at a dotted path of object keys.
pub fn at<'a>(v: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(v, |v, key| v.get(key))
}

/// The text at a dotted path; empty when there is none.
pub fn text<'a>(v: &'a Value, path: &str) -> &'a str {
    at(v, path).and_then(Value::as_str).unwrap_or("")
}

/// The text at a path of keys, which may hold dots; empty when there is none.
pub fn text_at<'a>(v: &'a Value, path: &[&str]) -> &'a str {
    path.iter().try_fold(v, |v, key| v.get(key)).and_then(Value::as_str).unwrap_or("")
}

/// The number at a dotted path.
pub fn int(v: &Value, path: &str) -> Option<i64> {
    at(v, path).and_then(Value::as_i64)
}

/// The list at a dotted path; empty when there is none.
pub fn list<'a>(v: &'a Value, path: &str) -> &'a [Value] {
    at(v, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object at a dotted path.
pub fn object<'a>(v: &'a Value, path: &str) -> Option<&'a Map<String, Value>> {
    at(v, path).and_then(Value::as_object)
}

/// The object at a key, made when missing or of another type.
pub fn object_mut<'a>(v: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !v.is_object() {
        *v = Value::Object(Map::new());
    }
    let m = v.as_object_mut().expect("made an object above");
    let slot = m.entry(key.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("made an object above")
}

/// Takes a key out of an object.
pub fn take(v: &mut Value, key: &str) -> Option<Value> {
    v.as_object_mut().and_then(|m| m.shift_remove(key))
}

/// Sets a key or, with `None`, takes it away.
pub fn put(v: &mut Value, key: &str, new: Option<Value>) {
    let Some(m) = v.as_object_mut() else { return };
    match new {
        Some(n) => {
            m.insert(key.to_owned(), n);
        }
        None => {
            m.shift_remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_that_occur_twice_are_reported_with_their_path() {
        let read = parse(br#"{"a":{"b":1,"b":2},"l":[{},{"x":1,"x":1}],"a":{"c":1,"c":2}}"#).expect("valid JSON");
        assert_eq!(read.value["l"], json!([{}, {"x": 1}]));
        assert_eq!(read.duplicates, ["a.b", "l[1].x", "a", "a.c"]);
    }

    #[test]
    fn keys_are_found_in_the_order_in_which_they_stand() {
        let paths = [("b.c".to_owned(), false), ("a".to_owned(), true), ("a".to_owned(), false)];
        let places = places(br#"{"a":1,"b":{"c":1},"a":2}"#, &paths);
        assert!(places[2] < places[0] && places[0] < places[1], "{places:?}");
    }

    #[test]
    fn what_is_no_text_becomes_replacement_characters() {
        let read = |bytes: &[u8]| parse(bytes).expect("valid JSON").value;
        assert_eq!(read(b"\"a\xff\xfe\""), json!("a\u{fffd}\u{fffd}"));
        assert_eq!(read(br#""\ud800 \udbff\udfff \\ud800 \udc00\n""#), json!("\u{fffd} \u{10ffff} \\ud800 \u{fffd}\n"));
    }

    fn nested(levels: usize) -> Vec<u8> {
        [vec![b'['; levels], vec![b']'; levels]].concat()
    }

    /// kube-apiserver reads 10,000 levels.
    #[test]
    fn deep_documents_are_read_and_what_lies_too_deep_is_left_out() {
        let read = parse(&nested(100)).expect("valid JSON");
        assert_eq!((read.cut, serde_json::to_vec(&read.value).expect("it encodes")), (None, nested(100)));
        let read = parse(&nested(10_000)).expect("valid JSON");
        assert!(read.cut.is_some_and(|path| path.starts_with("[0][0]")));
        assert_eq!(parse(&nested(10_001)).expect_err("one level too many"), "invalid character '[' exceeded max depth");
        assert_eq!(parse(&vec![b'['; 1 << 20]).expect_err("many too many"), "invalid character '[' exceeded max depth");
        assert!(parse(&[b"\"".as_slice(), &vec![b'['; 20_000], b"\""].concat()).is_ok(), "brackets within a text count for nothing");
    }
}
