//! Where a state is not as recorded.

use std::fmt;

use serde_json::Value;

use super::canonical::{canonical, shown};

/// How much of a value is shown.
const SHOWN: usize = 200;

/// The first place where two values differ.
#[derive(Debug, PartialEq)]
pub struct Difference<'a> {
    /// Where, from `$` down.
    pub path: String,
    /// What was recorded; `None`: nothing.
    pub expected: Option<&'a Value>,
    /// What is there; `None`: nothing.
    pub actual: Option<&'a Value>,
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text(SHOWN))
    }
}

impl Difference<'_> {
    /// As a line, with values of at most this many characters.
    pub fn text(&self, limit: usize) -> String {
        format!("{}: expected {}, got {}", self.path, shown(self.expected, limit), shown(self.actual, limit))
    }
}

/// The first place, keys in order, where two values differ. A number is never like a text or a truth value.
pub fn difference<'a>(expected: &'a Value, actual: &'a Value) -> Option<Difference<'a>> {
    difference_but(expected, actual, &|expected, actual| expected == actual)
}

/// As [`difference`], but `alike` says which texts count as the same.
pub fn difference_but<'a>(expected: &'a Value, actual: &'a Value, alike: Alike<'_>) -> Option<Difference<'a>> {
    let mut path = vec!["$".to_owned()];
    let (expected, actual) = search(expected, actual, alike, &mut path)?;
    Some(Difference { path: path.concat(), expected, actual })
}

/// Whether two texts, the expected one first, count as the same.
pub type Alike<'a> = &'a dyn Fn(&str, &str) -> bool;

type Pair<'a> = (Option<&'a Value>, Option<&'a Value>);

fn search<'a>(expected: &'a Value, actual: &'a Value, alike: Alike<'_>, path: &mut Vec<String>) -> Option<Pair<'a>> {
    let entries: Vec<(String, Pair<'a>)> = match (expected, actual) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))).collect();
            keys.sort();
            keys.into_iter().map(|key| (place(key), (a.get(key), b.get(key)))).collect()
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).map(|at| (format!("[{at}]"), (a.get(at), b.get(at)))).collect(),
        (Value::String(a), Value::String(b)) if alike(a, b) => return None,
        _ if expected == actual => return None,
        _ => return Some((Some(expected), Some(actual))),
    };
    for (step, pair) in entries {
        path.push(step);
        let (Some(expected), Some(actual)) = pair else { return Some(pair) };
        if let Some(found) = search(expected, actual, alike, path) {
            return Some(found);
        }
        path.pop();
    }
    None
}

fn place(key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '-'));
    if plain { format!(".{key}") } else { format!("[{}]", canonical(&Value::String(key.to_owned()))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_named_by_its_place() {
        let (a, b) = (json!({"x": [1, {"a.b": "c"}], "y": 1}), json!({"x": [1, {"a.b": "d"}], "y": 2}));
        let found = difference(&a, &b).expect("they differ");
        assert_eq!(found.path, r#"$.x[1]["a.b"]"#);
        assert_eq!((found.expected, found.actual), (Some(&json!("c")), Some(&json!("d"))));
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_are_differences() {
        assert_eq!(difference(&json!([1]), &json!([])).expect("shorter").actual, None);
        assert_eq!(difference(&json!({}), &json!({"k": null})).expect("more").path, "$.k");
        assert!(difference(&json!({"a": 1, "b": 2}), &json!({"b": 2, "a": 1})).is_none());
        assert!(difference(&json!(1), &json!(true)).is_some() && difference(&json!(1), &json!("1")).is_some());
    }
}
