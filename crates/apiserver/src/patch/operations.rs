//! JSON patch as the server's library reads it: laxer than RFC 6902 (a replace may add, negative places count from the end, a missing
//! value is null).

use serde_json::Value;

use crate::registry::Resource;
use crate::status::ApiError;

fn refused() -> ApiError {
    let mut e = ApiError::new(422, "Invalid", "the server rejected our request due to an error in our request");
    e.details = serde_json::json!({});
    e
}

/// Applies a list of operations. Any failure refuses the whole.
pub fn apply_json(doc: &mut Value, ops: &Value, _resource: &Resource, _name: &str) -> Result<(), ApiError> {
    for op in ops.as_array().into_iter().flatten() {
        apply_one(doc, op).ok_or_else(refused)?;
    }
    Ok(())
}

fn apply_one(doc: &mut Value, op: &Value) -> Option<()> {
    let path = pointer(op["path"].as_str()?)?;
    let value = || op.get("value").cloned().unwrap_or(Value::Null);
    match op["op"].as_str()? {
        "add" => add(doc, &path, value()),
        "replace" => replace(doc, &path, value()),
        "remove" => remove(doc, &path).map(|_| ()),
        "test" => {
            let want = value();
            let have = find(doc, &path).cloned();
            (have.unwrap_or(Value::Null) == want).then_some(())
        }
        "copy" => {
            let v = find(doc, &pointer(op["from"].as_str()?)?)?.clone();
            add(doc, &path, v)
        }
        "move" => {
            let v = remove(doc, &pointer(op["from"].as_str()?)?)?;
            add(doc, &path, v)
        }
        _ => None,
    }
}

fn pointer(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let rest = text.strip_prefix('/')?;
    Some(rest.split('/').map(|p| p.replace("~1", "/").replace("~0", "~")).collect())
}

/// A place within a list of `len` items; `extra`: the place behind the last counts.
fn place(text: &str, len: usize, extra: bool) -> Option<usize> {
    let max = if extra { len } else { len.checked_sub(1)? };
    if text == "-" {
        return extra.then_some(len);
    }
    let n: i64 = text.parse().ok()?;
    let n = if n < 0 { n + i64::try_from(len).ok()? + i64::from(extra) } else { n };
    usize::try_from(n).ok().filter(|n| *n <= max)
}

fn find<'a>(doc: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(doc, |v, key| match v {
        Value::Object(m) => m.get(key),
        Value::Array(l) => l.get(place(key, l.len(), false)?),
        _ => None,
    })
}

fn parent<'a, 'p>(doc: &'a mut Value, path: &'p [String]) -> Option<(&'a mut Value, &'p str)> {
    let (last, up) = path.split_last()?;
    let at = up.iter().try_fold(doc, |v, key| match v {
        Value::Object(m) => m.get_mut(key),
        Value::Array(l) => {
            let i = place(key, l.len(), false)?;
            l.get_mut(i)
        }
        _ => None,
    })?;
    Some((at, last))
}

fn add(doc: &mut Value, path: &[String], value: Value) -> Option<()> {
    if path.is_empty() {
        *doc = value;
        return Some(());
    }
    match parent(doc, path)? {
        (Value::Object(m), key) => {
            m.insert(key.to_owned(), value);
        }
        (Value::Array(l), key) => {
            let i = place(key, l.len(), true)?;
            l.insert(i, value);
        }
        _ => return None,
    }
    Some(())
}

fn replace(doc: &mut Value, path: &[String], value: Value) -> Option<()> {
    if path.is_empty() {
        *doc = value;
        return Some(());
    }
    match parent(doc, path)? {
        (Value::Object(m), key) => {
            m.insert(key.to_owned(), value);
        }
        (Value::Array(l), key) => {
            let i = place(key, l.len(), false)?;
            l[i] = value;
        }
        _ => return None,
    }
    Some(())
}

fn remove(doc: &mut Value, path: &[String]) -> Option<Value> {
    match parent(doc, path)? {
        (Value::Object(m), key) => m.shift_remove(key),
        (Value::Array(l), key) => {
            let i = place(key, l.len(), false)?;
            Some(l.remove(i))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(mut doc: Value, ops: Value) -> Option<Value> {
        ops.as_array().expect("a list").iter().try_for_each(|o| apply_one(&mut doc, o)).map(|()| doc)
    }

    #[test]
    fn operations_do_what_they_say() {
        let doc = json!({"a": {"b": [1, 2]}, "c": "x"});
        assert_eq!(run(doc.clone(), json!([{"op": "add", "path": "/a/b/-", "value": 3}])), Some(json!({"a": {"b": [1, 2, 3]}, "c": "x"})));
        assert_eq!(run(doc.clone(), json!([{"op": "remove", "path": "/a/b/-1"}])), Some(json!({"a": {"b": [1]}, "c": "x"})));
        assert_eq!(run(doc.clone(), json!([{"op": "move", "from": "/c", "path": "/a/d"}])), Some(json!({"a": {"b": [1, 2], "d": "x"}})));
        assert_eq!(run(doc.clone(), json!([{"op": "test", "path": "/c", "value": "y"}])), None);
        assert_eq!(run(doc.clone(), json!([{"op": "add", "path": "/a/b/7", "value": 3}])), None);
        assert_eq!(run(doc, json!([{"op": "add", "path": "no-slash", "value": 3}])), None);
    }
}
