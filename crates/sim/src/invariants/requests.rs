//! What is asked of requests: RS-2 (never by name only), RS-5 (bounded when denied), D-3 (adoption after a live read), LE-1 (the fence).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::history::{Asked, History, Pass, controller, uid};

/// Renew deadline, and what a request may be late by (LE-1).
const RENEW_DEADLINE: u64 = 10_000;
const LATE: u64 = 1_000;

pub(super) fn check(history: &History) -> Vec<String> {
    let mut found = by_name_only(history);
    found.extend(denied(history));
    found.extend(adopted_unread(history));
    found.extend(fenced(history));
    found
}

/// RS-2: every delete names the uid that it means.
fn by_name_only(history: &History) -> Vec<String> {
    let bare = |r: &&Asked| r.method == "DELETE" && r.body.pointer("/preconditions/uid").and_then(Value::as_str).is_none();
    history.requests.iter().filter(bare).map(|r| format!("RS-2: {} at {} ms is deleted by name only", r.path, r.at)).collect()
}

/// RS-5: in one pass no more creates are denied than have succeeded, and one (slow start begins with one and doubles); and passes that are
/// denied follow each other at the pace of the back-off, or of news.
fn denied(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let mut refused: BTreeMap<(usize, &str), Vec<u64>> = BTreeMap::new();
    let mut per_pass: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for asked in history.requests.iter().filter(|r| r.method == "POST" && r.path.ends_with("/pods")) {
        let (made, denied) = per_pass.entry(pass_of(history, asked).unwrap_or(usize::MAX)).or_default();
        *made += u64::from(asked.code < 300 || asked.code == 409);
        if asked.code == 403 {
            *denied += 1;
            refused.entry((asked.link, controller(&asked.body).unwrap_or_default())).or_default().push(asked.at);
        }
    }
    for (pass, (made, denied)) in per_pass {
        if let Some(pass) = history.passes.get(pass).filter(|_| denied > made + 1) {
            let Pass { key, link, began, .. } = pass;
            found.push(format!("RS-5: link {link}'s pass over {key} at {began} ms had {denied} creates denied, {made} made"));
        }
    }
    for ((link, owner), times) in refused {
        for (n, from) in times.iter().enumerate() {
            // A failed pass costs one create and its back-off doubles from 5 ms; only changes of the set or its pods start one sooner.
            let within = times[n..].iter().take_while(|at| **at < from + 1000).count();
            let about = |o: &Value| uid(o) == owner || controller(o) == Some(owner);
            let news =
                history.writes.iter().filter(|w| w.at + 500 >= *from && w.at < from + 1000 && w.new.as_ref().is_some_and(|o| about(o)));
            if within > 10 + news.count() {
                found.push(format!("RS-5: link {link} asks {within} times within a second for denied pods of {owner}, from {from} ms on"));
                break;
            }
        }
    }
    found
}

/// The pass that a create of a pod belongs to.
fn pass_of(history: &History, asked: &Asked) -> Option<usize> {
    let key = format!("{}/{}", asked.path.rsplit('/').nth(1)?, asked.body["metadata"]["name"].as_str()?);
    history.passes.iter().rposition(|p| p.link == asked.link && p.began <= asked.sent && p.wants("pods", &key, false))
}

/// D-3: who adopts has read itself live since its pass began (reliability 1, row 4).
fn adopted_unread(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (n, asked) in history.requests.iter().enumerate().filter(|(_, r)| r.method == "PATCH") {
        let adopter = asked.body["metadata"]["ownerReferences"].as_array().into_iter().flatten().find(|o| o["controller"] == true);
        let Some(name) = adopter.and_then(|o| o["name"].as_str()) else { continue };
        let mine = |p: &&Pass| p.link == asked.link && p.began <= asked.sent && p.key.ends_with(&format!("/{name}"));
        let Some(pass) = history.passes.iter().rev().find(mine) else { continue };
        let read = |r: &Asked| r.link == asked.link && r.method == "GET" && r.sent >= pass.began && r.path.ends_with(&format!("/{name}"));
        if !history.requests[..n].iter().any(read) {
            found.push(format!("D-3: link {} lets {name} adopt {} at {} ms without a live read", asked.link, asked.path, asked.at));
        }
    }
    found
}

/// LE-1: no write reaches the server later than the last successful renewal (from when it was sent) plus renew deadline plus a second. What
/// was on the wire when its manager was paused is past recall: the fence cannot hold it, names and preconditions must make it harmless.
fn fenced(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let mut renewed: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
    for w in history.writes.iter().filter(|w| w.kind == "leases") {
        let holds = w.new.as_ref().is_some_and(|l| l["spec"]["holderIdentity"].as_str().is_some_and(|h| !h.is_empty()));
        if let (Some((link, sent)), true) = (w.actor.manager(), holds) {
            renewed.entry(link).or_default().push((w.at, sent));
        }
    }
    let writes = history.requests.iter().filter(|r| r.method != "GET" && !r.late);
    for asked in writes.filter(|r| !r.path.contains("/leases") && !r.path.contains("/events")) {
        let times = renewed.get(&asked.link).map(Vec::as_slice).unwrap_or_default();
        let last = times.partition_point(|(at, _)| *at <= asked.at).checked_sub(1).map(|n| times[n].1);
        if last.is_none_or(|sent| asked.at > sent + RENEW_DEADLINE + LATE) {
            found.push(format!("LE-1: link {} writes {} at {} ms; it renewed last at {last:?}", asked.link, asked.path, asked.at));
        }
    }
    found
}

/// How often the Lease went from one manager to the other.
pub fn leader_moves(history: &History) -> u64 {
    let taken = history.writes.iter().filter(|w| {
        w.kind == "leases" && w.new.as_ref().is_some_and(|l| !l["spec"]["holderIdentity"].as_str().unwrap_or_default().is_empty())
    });
    let holders: Vec<usize> = taken.filter_map(|w| history.links.get(w.actor.manager()?.0).copied()).collect();
    holders.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64
}
