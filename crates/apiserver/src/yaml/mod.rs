//! YAML in and out, as the reference reads and writes it (sigs.k8s.io/yaml on go-yaml 2).

mod emit;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

pub(crate) use self::emit::emit;

/// Deepest nesting that is read. Documents are walked by recursion; the reference reads 10,000 levels.
const DEPTH: usize = 100;

/// Reads a document; also tells of keys that occur twice, in the words of the reference. The last one counts.
pub(crate) fn parse(text: &str) -> Result<(Value, Vec<String>), String> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        budget: serde_saphyr::budget! { max_depth: DEPTH },
    };
    let node: Node = serde_saphyr::from_str_with_options(first(text), options).map_err(|e| fault(&e.to_string()))?;
    Ok((node.value, node.duplicates))
}

/// The first document: what follows is not read.
fn first(text: &str) -> &str {
    let (mut at, mut begun) = (0, false);
    for line in text.split_inclusive('\n') {
        let mark = line.trim_end() == "---" || line.starts_with("--- ");
        if begun && (mark || line.trim_end() == "...") {
            return &text[..at];
        }
        let t = line.trim();
        begun |= mark && t != "---" || !mark && !t.is_empty() && !t.starts_with(['#', '%']);
        at += line.len();
    }
    text
}

/// An error as go-yaml 2 words it; the first line is not named.
fn fault(told: &str) -> String {
    let head = told.lines().next().unwrap_or("").trim_start_matches("error: ");
    let (line, text) = match head.strip_prefix("line ").and_then(|r| r.split_once(' ')) {
        Some((n, rest)) => (n.parse::<u32>().unwrap_or(1), rest.split_once(": ").map_or(rest, |(_, t)| t)),
        None => (1, head),
    };
    let text = match text {
        t if t.contains("Depth {") || t.contains("recursion limit") => &format!("exceeded max depth of {DEPTH}"),
        // Whatever else it has too much of, it has by aliases: bodies are too small for it.
        t if t.contains("budget breached") => "document contains excessive aliasing",
        t => t,
    };
    if text.starts_with("document contains") {
        return format!("yaml: {text}");
    }
    if text.starts_with("unclosed bracket") {
        return format!("yaml: line {line}: did not find expected node content");
    }
    if line > 1 { format!("yaml: line {line}: {text}") } else { format!("yaml: {text}") }
}

struct Node {
    value: Value,
    duplicates: Vec<String>,
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Node { value, duplicates: Vec::new() }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        de.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML document")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Value::Null.into())
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Value::Null.into())
    }
    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Value::Bool(v).into())
    }
    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(Value::from(v).into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(Value::from(v).into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Node, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number).into())
    }
    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Value::from(v).into())
    }
    fn visit_string<E>(self, v: String) -> Result<Node, E> {
        Ok(Value::from(v).into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let (mut out, mut duplicates) = (Vec::new(), Vec::new());
        while let Some(n) = seq.next_element::<Node>()? {
            out.push(n.value);
            duplicates.extend(n.duplicates);
        }
        Ok(Node { value: Value::Array(out), duplicates })
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let (mut out, mut duplicates) = (Map::new(), Vec::new());
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let n = map.next_value::<Node>()?;
            if out.contains_key(&key.value) {
                duplicates.push(format!("line {}: key {:?} already set in map", key.referenced.line(), key.value));
            }
            duplicates.extend(n.duplicates);
            out.insert(key.value, n.value);
        }
        Ok(Node { value: Value::Object(out), duplicates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_that_occur_twice_are_told_with_their_line() {
        let (v, dup) = parse("a:\n  b: 1\n  b: 2\nc: {d: x, d: yes}\n").expect("valid YAML");
        assert_eq!(v, json!({"a": {"b": 2}, "c": {"d": true}}));
        assert_eq!(dup, ["line 3: key \"b\" already set in map", "line 4: key \"d\" already set in map"]);
    }
}
