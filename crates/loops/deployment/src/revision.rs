use std::collections::BTreeMap;

use evenkeel_api::{Deployment, ReplicaSet};

use crate::{
    annotations::{self, REVISION, REVISION_HISTORY},
    edit::SetEdit,
    sets::Sets,
};

/// Most characters of `revision-history`; about a hundred revisions of a busy year.
const HISTORY_LIMIT: usize = 2000;

/// The revision that the new set should have at least: one more than any old one (workloads 2.4, `R`).
pub(crate) fn next_revision(sets: &Sets) -> i64 {
    sets.old.iter().filter_map(|s| annotations::revision(s)).max().unwrap_or(0).max(0).saturating_add(1)
}

/// What has to be written on the existing new set before its revision can be published (workloads 2.4.1-5).
pub(crate) fn notes(deployment: &Deployment, sets: &Sets) -> Option<SetEdit> {
    let set = sets.new.as_ref()?;
    let annotations = new_annotations(deployment, set, next_revision(sets));
    let min_ready_seconds = (set.min_ready_seconds != deployment.min_ready_seconds).then_some(deployment.min_ready_seconds);
    (!annotations.is_empty() || min_ready_seconds.is_some()).then(|| SetEdit {
        set: set.clone(),
        annotations,
        min_ready_seconds,
        replicas: None,
    })
}

/// Annotations of the new set that are missing or out of date. A revision that is no number freezes them all (workloads 2.4.2).
fn new_annotations(deployment: &Deployment, set: &ReplicaSet, revision: i64) -> BTreeMap<String, String> {
    let given = set.annotations.get(REVISION);
    let current = match given.map(String::as_str) {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(number) => number,
            Err(_) => return BTreeMap::new(),
        },
    };
    let mut out: BTreeMap<String, String> = annotations::travelling(&deployment.annotations)
        .filter(|(k, v)| set.annotations.get(*k) != Some(v))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if current < revision {
        out.insert(REVISION.into(), revision.to_string());
        let history = given.and_then(|old| remembered(set.annotations.get(REVISION_HISTORY).map_or("", String::as_str), old));
        out.extend(history.map(|h| (REVISION_HISTORY.to_owned(), h)));
    }
    out
}

/// The history with `old` at its end, cut at its beginning; `None` where even that does not fit (workloads 2.4.3).
fn remembered(history: &str, old: &str) -> Option<String> {
    if history.is_empty() || history.starts_with(',') {
        return Some(old.to_owned());
    }
    let entries: Vec<&str> = history.split(',').collect();
    let mut length = history.len() + 1 + old.len();
    let mut start = 0;
    while length > HISTORY_LIMIT && start < entries.len() {
        length -= entries[start].len() + 1;
        start += 1;
    }
    let kept = entries[start..].iter().copied().chain([old]);
    (length <= HISTORY_LIMIT).then(|| kept.collect::<Vec<_>>().join(","))
}
