//! Sets of fields: tries whose steps are written as `FieldsV1` writes them (`f:name`, `k:{"name":"a"}`, `v:"x"`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of fields below one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// The place itself belongs to the set.
    pub own: bool,
    /// What is below, by step.
    pub children: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    /// Whether nothing belongs to the set.
    pub fn is_empty(&self) -> bool {
        !self.own && self.children.values().all(FieldSet::is_empty)
    }

    /// The place below a step, made when missing.
    pub fn child(&mut self, step: &str) -> &mut FieldSet {
        if !self.children.contains_key(step) {
            self.children.insert(step.to_owned(), FieldSet::default());
        }
        self.children.get_mut(step).expect("inserted above")
    }

    /// Reads `FieldsV1`.
    pub fn from_value(v: &Value) -> FieldSet {
        let mut out = FieldSet::default();
        if let Value::Object(m) = v {
            for (step, below) in m {
                if step == "." {
                    out.own = true;
                    continue;
                }
                let mut child = FieldSet::from_value(below);
                if child.children.is_empty() {
                    child.own = true;
                }
                out.children.insert(step.clone(), child);
            }
        }
        out
    }

    /// Writes `FieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut m = Map::new();
        if self.own && !self.children.is_empty() {
            m.insert(".".into(), Value::Object(Map::new()));
        }
        for (step, child) in &self.children {
            m.insert(step.clone(), child.to_value());
        }
        Value::Object(m)
    }

    /// Takes away branches that hold nothing.
    pub fn trim(&mut self) {
        self.children.retain(|_, c| {
            c.trim();
            c.own || !c.children.is_empty()
        });
    }

    /// Everything in either.
    pub fn union(mut self, other: &FieldSet) -> FieldSet {
        self.add(other);
        self
    }

    /// Adds everything in another.
    pub fn add(&mut self, other: &FieldSet) {
        self.own |= other.own;
        for (step, o) in &other.children {
            match self.children.get_mut(step) {
                Some(c) => c.add(o),
                None => {
                    self.children.insert(step.clone(), o.clone());
                }
            }
        }
    }

    /// What is not in the other: member by member.
    pub fn minus(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet { own: self.own && !other.own, children: BTreeMap::new() };
        for (step, c) in &self.children {
            let left = match other.children.get(step) {
                Some(o) => c.minus(o),
                None => c.clone(),
            };
            if left.own || !left.children.is_empty() {
                out.children.insert(step.clone(), left);
            }
        }
        out
    }

    /// What is in both.
    pub fn both(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet { own: self.own && other.own, children: BTreeMap::new() };
        for (step, c) in &self.children {
            if let Some(o) = other.children.get(step) {
                let common = c.both(o);
                if common.own || !common.children.is_empty() {
                    out.children.insert(step.clone(), common);
                }
            }
        }
        out
    }

    /// Takes a place and everything below away.
    pub fn cut(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => {
                self.children.remove(*last);
            }
            [first, rest @ ..] => {
                if let Some(c) = self.children.get_mut(*first) {
                    c.cut(rest);
                    if !c.own && c.children.is_empty() {
                        self.children.remove(*first);
                    }
                }
            }
        }
    }

    /// Takes a place itself away, not what is below.
    pub fn disown(&mut self, path: &[&str]) {
        match path {
            [] => self.own = false,
            [first, rest @ ..] => {
                if let Some(c) = self.children.get_mut(*first) {
                    c.disown(rest);
                    if !c.own && c.children.is_empty() {
                        self.children.remove(*first);
                    }
                }
            }
        }
    }

    /// All members as paths for people, such as `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(String::new(), &mut out);
        out
    }

    fn collect(&self, at: String, out: &mut Vec<String>) {
        if self.own {
            out.push(at.clone());
        }
        for (step, c) in &self.children {
            c.collect(format!("{at}{}", step_text(step)), out);
        }
    }
}

fn step_text(step: &str) -> String {
    match step.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", value)) => format!("[={value}]"),
        Some(("i:", n)) => format!("[{n}]"),
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let list: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", list.join(","))
        }
        _ => step.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sets_survive_the_wire() {
        let v = json!({"f:a": {".": {}, "k:{\"name\":\"x\"}": {".": {}, "f:b": {}}}, "f:c": {}});
        let s = FieldSet::from_value(&v);
        assert_eq!(s.to_value(), v);
        assert_eq!(s.paths(), [".a", ".a[name=\"x\"]", ".a[name=\"x\"].b", ".c"]);
    }

    #[test]
    fn differences_go_member_by_member() {
        let a = FieldSet::from_value(&json!({"f:a": {".": {}, "f:b": {}}}));
        let b = FieldSet::from_value(&json!({"f:a": {}}));
        assert_eq!(a.minus(&b).to_value(), json!({"f:a": {"f:b": {}}}));
        assert_eq!(a.both(&b).to_value(), json!({"f:a": {}}));
    }
}
