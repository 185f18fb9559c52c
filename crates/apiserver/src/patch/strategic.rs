//! Strategic merge patch: lists merge by the keys that the types name; directives steer it (apimachinery `strategicpatch`).

use serde_json::{Map, Value};

use crate::go_value;
use crate::schema::{Field, Schema, StructId, Ty};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// A patch that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatchError {
    /// HTTP status.
    pub code: u16,
    /// Reason of the Status.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

fn failed<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError { code: 500, reason: "", message: message.into() })
}

fn bad_retain_keys() -> PatchError {
    PatchError { code: 400, reason: "BadRequest", message: "invalid patch format of retainKeys".into() }
}

fn unknown_type(directive: &Value, patch: &Obj) -> String {
    format!("unknown patch type: {} in map: {}", go_value::map(directive), go_value::map(&Value::Object(patch.clone())))
}

type Obj = Map<String, Value>;

/// Applies a strategic merge patch to a document of the struct type `root`.
pub fn strategic(schema: &Schema, root: StructId, doc: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Value::Object(p) = patch else { return failed("a strategic merge patch is an object") };
    let original = match doc {
        Value::Object(m) => std::mem::take(m),
        _ => Map::new(),
    };
    *doc = Value::Object(merge_map(schema, Some(root), original, p)?);
    Ok(())
}

fn sub_struct(ty: &Ty) -> Option<StructId> {
    match ty {
        Ty::Struct(id) => Some(*id),
        Ty::List(t) | Ty::Map(t) => sub_struct(t),
        _ => None,
    }
}

fn merge_map(schema: &Schema, at: Option<StructId>, mut original: Obj, patch: &Obj) -> Result<Obj, PatchError> {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(d)) if d == "replace" => {
            let mut new = patch.clone();
            new.shift_remove(DIRECTIVE);
            return Ok(new);
        }
        Some(Value::String(d)) if d == "delete" => return Ok(Map::new()),
        Some(other) => return failed(unknown_type(other, patch)),
    }
    retain(&mut original, patch)?;
    for (key, value) in patch {
        if key == RETAIN || key.starts_with(ORDER) {
            continue;
        }
        let (key, deleting) = match key.strip_prefix(DELETE) {
            Some(k) => (k, true),
            None => (key.as_str(), false),
        };
        if value.is_null() {
            original.shift_remove(key);
            continue;
        }
        let field = at.and_then(|id| schema.get(id).field(key));
        let below = field.and_then(|f| sub_struct(&f.ty));
        let Some(have) = original.get_mut(key) else {
            if !deleting {
                insert_new(&mut original, key, value);
            }
            continue;
        };
        match (have, value) {
            (Value::Object(have), Value::Object(p)) if !field.is_some_and(|f| matches!(f.ty, Ty::Raw)) => {
                // A free map has no struct of its own for its values' names.
                let id = match field.map(|f| &f.ty) {
                    Some(Ty::Struct(id)) => Some(*id),
                    _ => None,
                };
                let merged = merge_map(schema, id, std::mem::take(have), p)?;
                original.insert(key.to_owned(), Value::Object(merged));
            }
            (Value::Array(have), Value::Array(p)) => {
                if deleting {
                    have.retain(|v| !p.contains(v));
                    continue;
                }
                if !field.is_some_and(|f| f.patch_merge) {
                    original.insert(key.to_owned(), value.clone());
                    continue;
                }
                let order = patch.get(&format!("{ORDER}{key}")).and_then(Value::as_array);
                let merged = merge_list(schema, below, field.expect("looked up above"), std::mem::take(have), p, order)?;
                original.insert(key.to_owned(), Value::Array(merged));
            }
            _ if deleting => {}
            _ => insert_new(&mut original, key, value),
        }
    }
    reorder_untouched(schema, at, &mut original, patch)?;
    Ok(original)
}

/// Lists that the patch only orders.
fn reorder_untouched(schema: &Schema, at: Option<StructId>, original: &mut Obj, patch: &Obj) -> Result<(), PatchError> {
    for (key, order) in patch {
        let (Some(name), Value::Array(order)) = (key.strip_prefix(ORDER), order) else { continue };
        if patch.contains_key(name) {
            continue;
        }
        let Some(field) = at.and_then(|id| schema.get(id).field(name)).filter(|f| f.patch_merge) else { continue };
        if let Some(Value::Array(list)) = original.get_mut(name) {
            let before = list.clone();
            *list = ordered(field, std::mem::take(list), &before, order);
        }
    }
    Ok(())
}

fn retain(original: &mut Obj, patch: &Obj) -> Result<(), PatchError> {
    let Some(keep) = patch.get(RETAIN) else { return Ok(()) };
    let Value::Array(keep) = keep else { return Err(bad_retain_keys()) };
    // Each key of the patch must be among them.
    if patch.keys().filter(|k| !k.starts_with('$')).any(|key| !keep.iter().any(|k| k.as_str() == Some(key))) {
        return Err(bad_retain_keys());
    }
    original.retain(|k, _| keep.iter().any(|w| w.as_str() == Some(k)));
    Ok(())
}

fn insert_new(original: &mut Obj, key: &str, value: &Value) {
    match without_directives(value) {
        Some(v) => {
            original.insert(key.to_owned(), v);
        }
        None => {
            original.shift_remove(key);
        }
    }
}

/// The value that a patch puts where nothing was: no nulls, no directives. `None`: it only deletes.
fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(m) => {
            if m.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            let mut out = Map::new();
            for (k, v) in m {
                if k == DIRECTIVE || k == RETAIN || k.starts_with(ORDER) || k.starts_with(DELETE) || v.is_null() {
                    continue;
                }
                if let Some(v) = without_directives(v) {
                    out.insert(k.clone(), v);
                }
            }
            Some(Value::Object(out))
        }
        Value::Array(l) => Some(Value::Array(
            l.iter()
                .filter(|v| !matches!(v, Value::Object(m) if m.contains_key(DIRECTIVE) && m.len() == 1))
                .filter_map(without_directives)
                .collect(),
        )),
        v => Some(v.clone()),
    }
}

fn merge_list(
    schema: &Schema,
    item: Option<StructId>,
    field: &Field,
    mut list: Vec<Value>,
    patch: &[Value],
    order: Option<&Vec<Value>>,
) -> Result<Vec<Value>, PatchError> {
    let before = list.clone();
    let Some(key) = &field.patch_key else {
        for v in patch {
            if v.is_object() || v.is_array() {
                return failed("list of lists or maps where plain values belong");
            }
            if !list.contains(v) {
                list.push(v.clone());
            }
        }
        return match order {
            Some(order) => {
                check_order(patch, order, None)?;
                Ok(ordered(field, list, &before, order))
            }
            None => Ok(ordered(field, list, &before, patch)),
        };
    };
    let key_of = |v: &Value| v.get(&**key).cloned();
    let (mut plain, mut replace) = (Vec::new(), false);
    for v in patch {
        let Value::Object(m) = v else { return failed("expected an object in a list that merges by key") };
        match m.get(DIRECTIVE) {
            None => plain.push(m),
            Some(Value::String(d)) if d == "delete" => {
                let Some(k) = key_of(v) else {
                    return failed(format!("map: {} does not contain declared merge key: {key}", go_value::map(v)));
                };
                list.retain(|x| key_of(x).as_ref() != Some(&k));
            }
            Some(Value::String(d)) if d == "replace" => replace = true,
            Some(Value::String(d)) if d == "merge" => return failed("merging lists cannot yet be specified in the patch"),
            Some(other) => return failed(unknown_type(other, m)),
        }
    }
    if replace {
        return Ok(plain.into_iter().map(|m| Value::Object(m.clone())).collect());
    }
    for m in &plain {
        let v = Value::Object((*m).clone());
        let Some(k) = key_of(&v) else { return failed(format!("map: {} does not contain declared merge key: {key}", go_value::map(&v))) };
        match list.iter().position(|x| key_of(x).as_ref() == Some(&k)) {
            Some(i) => {
                let Value::Object(have) = std::mem::replace(&mut list[i], Value::Null) else {
                    return failed("expected an object in a list that merges by key");
                };
                list[i] = Value::Object(merge_map(schema, item, have, m)?);
            }
            None => {
                if let Some(new) = without_directives(&v) {
                    list.push(new);
                }
            }
        }
    }
    let named: Vec<Value> = plain.iter().map(|m| Value::Object((*m).clone())).collect();
    match order {
        Some(order) => {
            check_order(&named, order, Some(key))?;
            Ok(ordered(field, list, &before, order))
        }
        None => Ok(ordered(field, list, &before, &named)),
    }
}

fn same_item(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(k) => a.get(k).is_some() && a.get(k) == b.get(k),
        None => a == b,
    }
}

/// The items of a patch must stand in its order list, in that order.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    let mut from = 0;
    for v in patch {
        match order[from..].iter().position(|o| same_item(o, v, key)) {
            Some(i) => from += i + 1,
            None => {
                return failed(format!(
                    "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                    Value::from(patch.to_vec()),
                    Value::from(order.to_vec())
                ));
            }
        }
    }
    Ok(())
}

/// Puts a merged list into the order of the patch; what only the server has keeps its place among its old neighbours.
fn ordered(field: &Field, list: Vec<Value>, before: &[Value], order: &[Value]) -> Vec<Value> {
    let key = field.patch_key.as_deref();
    let place = |list: &[Value], v: &Value| list.iter().position(|o| same_item(o, v, key));
    let (mut ours, mut theirs): (Vec<Value>, Vec<Value>) = list.into_iter().partition(|v| place(order, v).is_some());
    ours.sort_by_key(|v| place(order, v));
    theirs.sort_by_key(|v| place(before, v).unwrap_or(usize::MAX));
    let (mut out, mut i, mut j) = (Vec::with_capacity(ours.len() + theirs.len()), 0, 0);
    while i < theirs.len() || j < ours.len() {
        let take_theirs = match (theirs.get(i), ours.get(j)) {
            (Some(_), None) => true,
            (Some(l), Some(r)) => matches!((place(before, l), place(before, r)), (Some(a), Some(b)) if a < b),
            _ => false,
        };
        if take_theirs {
            out.push(theirs[i].clone());
            i += 1;
        } else {
            out.push(ours[j].clone());
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(doc: Value, patch: Value) -> Result<Value, PatchError> {
        let schema = Schema::builtin();
        let root = schema.find("v1.Pod").expect("a built-in type");
        let mut doc = doc;
        strategic(schema, root, &mut doc, &patch)?;
        Ok(doc)
    }

    #[test]
    fn containers_merge_by_name_and_leave_by_directive() {
        let doc = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
        let got =
            patched(doc, json!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}, {"name": "c"}]}}));
        assert_eq!(got, Ok(json!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}]}})));
    }

    #[test]
    fn plain_lists_lose_what_the_directive_names() {
        let doc = json!({"metadata": {"finalizers": ["x", "y"]}});
        let got = patched(doc, json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]}}));
        // What the patch names comes first.
        assert_eq!(got, Ok(json!({"metadata": {"finalizers": ["z", "y"]}})));
    }

    #[test]
    fn the_order_of_the_patch_rules_and_the_servers_items_keep_their_place() {
        let doc = json!({"spec": {"containers": [{"name": "a"}, {"name": "s"}, {"name": "b"}]}});
        let got = patched(doc, json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": []}}));
        let names: Vec<String> = got.expect("applies")["spec"]["containers"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|c| c["name"].as_str().unwrap_or("").to_owned())
            .collect();
        assert_eq!(names, ["s", "b", "a"]);
    }
}
