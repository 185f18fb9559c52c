//! Merging an applied configuration into a document, and taking out what nobody wants any more (structured-merge-diff `Merge`, `prune`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::compare::{At, item_step, map_child};
use super::set::FieldSet;
use crate::schema::Ty;

/// The live document with the configuration laid over it.
pub(crate) fn merged(at: At<'_>, live: Option<&Value>, config: &Value) -> Value {
    let Some(live) = live else { return config.clone() };
    if at.is_atomic() {
        return config.clone();
    }
    match (at.ty, live, config) {
        (Ty::Struct(_) | Ty::Map(_), Value::Object(l), Value::Object(c)) => {
            let mut out = l.clone();
            for (k, v) in c {
                let new = match map_child(at, k) {
                    Some(below) => merged(below, l.get(k), v),
                    None => v.clone(),
                };
                out.insert(k.clone(), new);
            }
            Value::Object(out)
        }
        (Ty::List(item), Value::Array(l), Value::Array(c)) => Value::Array(merged_list(at, at.item(item), l, c)),
        _ => config.clone(),
    }
}

/// Items of the configuration in its order; items of the live list alone keep their places between.
fn merged_list(at: At<'_>, item: At<'_>, live: &[Value], config: &[Value]) -> Vec<Value> {
    let steps = |l: &[Value]| l.iter().enumerate().map(|(i, v)| item_step(at, v).unwrap_or_else(|| format!("?{i}"))).collect::<Vec<_>>();
    let (ls, cs) = (steps(live), steps(config));
    let in_live: BTreeMap<&str, &Value> = ls.iter().map(String::as_str).zip(live).collect();
    let in_config: BTreeSet<&str> = cs.iter().map(String::as_str).collect();
    let mut shared = cs.iter().filter(|s| in_live.contains_key(s.as_str())).map(String::as_str).collect::<std::collections::VecDeque<_>>();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut out = Vec::with_capacity(live.len() + config.len());
    let (mut i, mut j) = (0, 0);
    while i < live.len() || j < config.len() {
        if i < live.len() && j < config.len() {
            let s = ls[i].as_str();
            if s == cs[j] {
                done.insert(s);
                out.push(merged(item, Some(&live[i]), &config[j]));
                if shared.front() == Some(&s) {
                    shared.pop_front();
                }
                i += 1;
                j += 1;
                continue;
            }
            if in_config.contains(s) && shared.front().is_some_and(|n| *n != s) {
                i += 1;
                continue;
            }
        }
        if i < live.len() {
            let s = ls[i].as_str();
            if !in_config.contains(s) {
                out.push(live[i].clone());
                i += 1;
                continue;
            }
            if done.contains(s) {
                i += 1;
                continue;
            }
        }
        if j < config.len() {
            let s = cs[j].as_str();
            done.insert(s);
            out.push(merged(item, in_live.get(s).copied(), &config[j]));
            if shared.front() == Some(&s) {
                shared.pop_front();
            }
            j += 1;
        }
    }
    out
}

/// Takes out of a document what was in `last` and is in `keep` no more.
pub(crate) fn prune(at: At<'_>, doc: &mut Value, last: &FieldSet, keep: &FieldSet) {
    if at.is_atomic() {
        return;
    }
    match (at.ty, doc) {
        (Ty::Struct(_) | Ty::Map(_), Value::Object(m)) => prune_map(at, m, last, keep),
        (Ty::List(item), Value::Array(l)) => {
            l.retain_mut(|v| {
                let Some(step) = item_step(at, v) else { return true };
                let Some(gone) = last.children.get(&step) else { return true };
                let Some(kept) = keep.children.get(&step) else { return false };
                prune(at.item(item), v, gone, kept);
                true
            });
        }
        _ => {}
    }
}

fn prune_map(at: At<'_>, m: &mut Map<String, Value>, last: &FieldSet, keep: &FieldSet) {
    let mut out = Vec::new();
    for (k, v) in m.iter_mut() {
        let step = format!("f:{k}");
        let (Some(below), Some(gone)) = (map_child(at, k), last.children.get(&step)) else { continue };
        match keep.children.get(&step) {
            None => out.push(k.clone()),
            Some(kept) => prune(below, v, gone, kept),
        }
    }
    for k in out {
        m.shift_remove(&k);
    }
}
