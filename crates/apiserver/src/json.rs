//! Reading bodies: JSON with duplicate keys noticed, YAML, and small words for documents.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// Reads a JSON document; also returns the paths of keys that occur twice (the last one wins, as on the server).
pub fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut de = serde_json::Deserializer::from_slice(bytes);
    let mut path = Vec::new();
    let value = Seed { path: &mut path, duplicates: &mut duplicates }.deserialize(&mut de)?;
    de.end()?;
    Ok((value, duplicates))
}

enum Step {
    Key(String),
    Index(usize),
}

struct Seed<'a> {
    path: &'a mut Vec<Step>,
    duplicates: &'a mut Vec<String>,
}

fn path_text(path: &[Step], last: &str) -> String {
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
    if !out.is_empty() {
        out.push('.');
    }
    out + last
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
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        self.path.push(Step::Index(0));
        while let Some(v) = seq.next_element_seed(Seed { path: &mut *self.path, duplicates: &mut *self.duplicates })? {
            out.push(v);
            if let Some(Step::Index(i)) = self.path.last_mut() {
                *i += 1;
            }
        }
        self.path.pop();
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.path.push(Step::Key(key));
            let v = map.next_value_seed(Seed { path: &mut *self.path, duplicates: &mut *self.duplicates })?;
            let Some(Step::Key(key)) = self.path.pop() else { unreachable!("the step pushed above is on top") };
            match out.entry(key) {
                Entry::Vacant(slot) => {
                    slot.insert(v);
                }
                Entry::Occupied(mut slot) => {
                    self.duplicates.push(path_text(self.path, slot.key()));
                    slot.insert(v);
                }
            }
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

    #[test]
    fn keys_that_occur_twice_are_reported_with_their_path() {
        let (v, dup) = parse(br#"{"a":{"b":1,"b":2},"l":[{},{"x":1,"x":1}]}"#).expect("valid JSON");
        assert_eq!(v["a"]["b"], 2);
        assert_eq!(dup, ["a.b", "l[1].x"]);
    }
}
