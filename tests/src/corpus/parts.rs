//! Parts of an answer: which of them are compared.

use serde_json::{Map, Value};

use super::conversation::{Pick, Step};
use crate::recorded::Broken;
use crate::recorded::canonical::canonical;
use crate::recorded::place::look_up;
use crate::recorded::placeholders::Fill;

fn pointer(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

/// Changes the value at every place that the pointer names, `*` matching any; `None` from `change` takes it out.
fn edit(value: Value, parts: &[String], change: &mut dyn FnMut(Value) -> Option<Value>) -> Option<Value> {
    let Some((head, rest)) = parts.split_first() else { return change(value) };
    Some(match value {
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, item) in map {
                let item = if head == "*" || *head == key { edit(item, rest, change) } else { Some(item) };
                out.extend(item.map(|item| (key, item)));
            }
            Value::Object(out)
        }
        Value::Array(items) => {
            let mut out = Vec::new();
            for (at, item) in items.into_iter().enumerate() {
                out.extend(if head == "*" || *head == at.to_string() { edit(item, rest, change) } else { Some(item) });
            }
            Value::Array(out)
        }
        other => other,
    })
}

/// The answer without the list items that `picks` do not name.
///
/// # Errors
/// When a placeholder stands for nothing.
pub fn picked(mut body: Value, picks: &[Pick], fill: &Fill<'_>) -> Result<Value, Broken> {
    for pick in picks {
        let among: Vec<Value> = pick.among.iter().map(|value| fill.value(value)).collect::<Result<_, _>>()?;
        let named = |item: &Value| match &pick.key {
            Some(key) => look_up(item, key).is_some_and(|value| among.contains(value)),
            None => among.contains(item),
        };
        let mut keep = |found: Value| match found {
            Value::Array(items) => Some(items.into_iter().filter(named).collect()),
            other => Some(other),
        };
        body = edit(body, &pointer(&pick.at), &mut keep).unwrap_or_default();
    }
    Ok(body)
}

/// What of a normal form is compared: a step's `only`, `ignore` and `unordered`. A `Status` is compared as a whole even where a step
/// asks for parts. `None`: nothing is left.
///
/// # Errors
/// When a placeholder stands for nothing.
pub fn reduced(body: Value, step: &Step, fill: &Fill<'_>) -> Result<Option<Value>, Broken> {
    let mut left = Some(body);
    if let Some(only) = &step.only
        && left.as_ref().is_some_and(|body| !body.is_object() || body["kind"] != "Status")
    {
        let mut chosen = Map::new();
        for path in only {
            let mut take = |found: Value| {
                chosen.insert(path.clone(), found.clone());
                Some(found)
            };
            let parts = pointer(&fill.text(path)?);
            left = left.and_then(|body| edit(body, &parts, &mut take));
        }
        left = Some(Value::Object(chosen));
    }
    for path in &step.ignore {
        left = left.and_then(|body| edit(body, &pointer(path), &mut |_| None));
    }
    for path in &step.unordered {
        let mut in_order = |mut found: Value| {
            if let Value::Array(items) = &mut found {
                items.sort_by_cached_key(canonical);
            }
            Some(found)
        };
        left = left.and_then(|body| edit(body, &pointer(path), &mut in_order));
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    fn fill(answers: &BTreeMap<usize, Value>) -> Fill<'_> {
        Fill { namespace: "c-x", answers, item: None, now: None }
    }

    fn compared(body: Value, step: Value) -> Option<Value> {
        let step: Step = serde_json::from_value(step).expect("a step");
        reduced(body, &step, &fill(&BTreeMap::new())).expect("no placeholders")
    }

    #[test]
    fn a_step_says_what_is_compared() {
        let body = json!({"a": [{"n": 2}, {"n": 1}], "b/c": {"x": 1}, "k": "v"});
        assert_eq!(compared(body.clone(), json!({"only": ["/b~1c/x", "/a/*/n", "/none"]})), Some(json!({"/b~1c/x": 1, "/a/*/n": 1})));
        assert_eq!(compared(body.clone(), json!({"ignore": ["/a/0", "/b~1c", "/k/x"]})), Some(json!({"a": [{"n": 1}], "k": "v"})));
        assert_eq!(compared(body.clone(), json!({"only": ["/a"], "unordered": ["/~1a"]})), Some(json!({"/a": [{"n": 1}, {"n": 2}]})));
        let status = json!({"kind": "Status", "code": 404});
        assert_eq!(compared(status.clone(), json!({"only": ["/a"]})), Some(status));
    }

    #[test]
    fn of_a_list_the_named_items_are_kept() {
        let answers = BTreeMap::from([(1, json!({"n": "b"}))]);
        let pick = |pick: Value| -> Pick { serde_json::from_value(pick).expect("a pick") };
        let body = json!({"items": [{"n": "a"}, {"n": "b"}, {}], "paths": ["x", "y"]});
        let picks = [pick(json!({"at": "/items", "key": "n", "in": ["{1.n}"]})), pick(json!({"at": "/paths", "in": ["x"]}))];
        assert_eq!(picked(body, &picks, &fill(&answers)).expect("filled"), json!({"items": [{"n": "b"}], "paths": ["x"]}));
    }
}
