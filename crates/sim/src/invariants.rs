//! What must hold (reliability part 3), checked on the true history: committed writes and requests, never a manager's view.
//!
//! A manager decides on what it was shown, and a write takes time to arrive. So where an invariant speaks of a spec "in force since the last
//! sync began", the values count from what the writing process had been shown [`PASS`] before it sent the write.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::history::{Actor, History, Written, condition, controller, live, ready, replicas, template, terminal, uid};

/// Longest pass, in milliseconds: from its snapshot to its last write leaving (RS-1 "since its last sync started"). Two lost answers of the
/// same pass take 10 s and more.
const PASS: u64 = 15_000;
/// Renew deadline, and what a request may be late by (LE-1).
const RENEW_DEADLINE: u64 = 10_000;
const LATE: u64 = 1_000;

/// A spec value and the revision since which it is in force.
type Values = Vec<(u64, i64)>;

/// Something that took a pod of a set away, or made one ready: when, and of which set.
type Changes = Vec<(u64, String)>;

/// The state of everything at one revision, and what led to it.
struct World<'h> {
    history: &'h History,
    pods: BTreeMap<String, Arc<Value>>,
    sets: BTreeMap<String, Arc<Value>>,
    deployments: BTreeMap<String, Arc<Value>>,
    wanted: BTreeMap<String, Values>,
    most: BTreeMap<String, Values>,
    least: BTreeMap<String, Values>,
    /// When a set was last sized down, and the revision of Deployments that was known to whoever did it.
    sized_down: BTreeMap<String, (u64, u64)>,
    lost: Changes,
    gained: Changes,
    violations: Vec<String>,
}

/// Everything in a history that must not be; empty: all is well.
pub fn check(history: &History) -> Vec<String> {
    let mut world = World {
        history,
        pods: BTreeMap::new(),
        sets: BTreeMap::new(),
        deployments: BTreeMap::new(),
        wanted: BTreeMap::new(),
        most: BTreeMap::new(),
        least: BTreeMap::new(),
        sized_down: BTreeMap::new(),
        lost: Vec::new(),
        gained: Vec::new(),
        violations: Vec::new(),
    };
    for written in &history.writes {
        match written.kind.as_str() {
            "pods" => world.pod(written),
            "replicasets" => world.set(written),
            "deployments" => world.deployment(written),
            _ => {}
        }
    }
    world.at_the_end();
    world.violations.extend(requests(history));
    world.violations.extend(fenced(history));
    world.violations
}

impl World<'_> {
    fn fail(&mut self, rule: &str, written: &Written, text: String) {
        let Written { rv, at, actor, key, .. } = written;
        self.violations.push(format!("{rule}: {key} at rv {rv}, {at} ms, by {actor:?}: {text}"));
    }

    /// The revision of `kind` that a process had been shown when the pass that sent this write began, at the latest.
    fn known(&self, actor: Actor, kind: &str) -> u64 {
        let Some((link, sent)) = actor.manager() else { return u64::MAX };
        let Some(shown) = self.history.shown.get(&(link, kind.to_owned())) else { return 0 };
        let before = shown.partition_point(|(at, _)| *at + PASS <= sent);
        before.checked_sub(1).map_or(0, |last| shown[last].1)
    }

    /// Values in force since revision `from`.
    fn since(values: Option<&Values>, from: u64) -> impl Iterator<Item = i64> {
        let values = values.map(Vec::as_slice).unwrap_or_default();
        let first = values.partition_point(|(rv, _)| *rv <= from).saturating_sub(1);
        values[first..].iter().map(|(_, value)| *value)
    }

    fn owned<'a>(&'a self, set: &'a str) -> impl Iterator<Item = &'a Arc<Value>> {
        self.pods.values().filter(move |p| controller(p) == Some(set))
    }

    fn live_of(&self, set: &str) -> i64 {
        self.owned(set).filter(|p| live(p)).count() as i64
    }

    fn sets_of<'a>(&'a self, deployment: &'a str) -> impl Iterator<Item = &'a Arc<Value>> {
        self.sets.values().filter(move |s| controller(s) == Some(deployment))
    }

    /// How many changes happened to pods of these sets since the pass of a write can have begun.
    fn count(changes: &Changes, sets: &[&str], from: u64) -> i64 {
        changes.iter().rev().take_while(|(at, _)| *at >= from).filter(|(_, set)| sets.contains(&set.as_str())).count() as i64
    }

    fn pod(&mut self, w: &Written) {
        let object = w.new.as_ref().or(w.old.as_ref()).expect("a write has a state before or after");
        let deletes = w.actor.manager().is_some()
            && w.old.as_ref().is_some_and(|old| live(old))
            && w.new.as_ref().is_none_or(|new| !new["metadata"]["deletionTimestamp"].is_null());
        let before = deletes.then(|| w.old.clone()).flatten();
        match &w.new {
            Some(new) => self.pods.insert(uid(new).to_owned(), new.clone()),
            None => self.pods.remove(uid(object)),
        };
        if w.old.is_none() && w.actor.manager().is_some() {
            self.created(w, object);
        }
        if let Some(before) = before {
            self.deleted(w, &before);
        }
        // What others did to pods explains what managers did not know.
        let counts =
            |pod: &Option<Arc<Value>>| pod.as_ref().filter(|p| live(p)).and_then(|p| controller(p).map(|c| (c.to_owned(), ready(p))));
        match (counts(&w.old), counts(&w.new)) {
            (Some((set, _)), None) if !deletes => self.lost.push((w.at, set)),
            (Some((set, true)), Some((_, false))) => self.lost.push((w.at, set)),
            (before, Some((set, true))) if before.as_ref().is_none_or(|(_, ready)| !ready) => self.gained.push((w.at, set)),
            _ => {}
        }
    }

    fn created(&mut self, w: &Written, pod: &Value) {
        let Some(set) = controller(pod).map(str::to_owned) else { return self.fail("RS-1", w, "a pod without an owner".into()) };
        let now = self.live_of(&set);
        let most = Self::since(self.wanted.get(&set), self.known(w.actor, "replicasets")).max().unwrap_or(0);
        if now > most {
            self.fail("RS-1", w, format!("{now} live pods, at most {most} were wanted"));
        }
        // DP-4: pods of other sets of the same Deployment are old.
        let Some(owner) = self.sets.get(&set).and_then(|s| controller(s)).map(str::to_owned) else { return };
        let Some(deployment) = self.deployments.get(&owner) else { return };
        let is_new = self.sets.get(&set).is_some_and(|s| template(s) == template(deployment));
        if deployment["spec"]["strategy"]["type"] == "Recreate" && is_new {
            let old: Vec<&str> = self.sets_of(&owner).map(|s| uid(s)).filter(|s| *s != set).collect();
            let left = old.iter().map(|s| self.live_of(s)).sum::<i64>();
            if left > 0 {
                self.fail("DP-4", w, format!("a pod of the new template beside {left} old ones"));
            }
        }
    }

    fn deleted(&mut self, w: &Written, pod: &Value) {
        let Some(set) = controller(pod).map(str::to_owned) else { return self.fail("RS-2", w, "deleted a pod that no set owns".into()) };
        let from = w.actor.manager().map_or(w.at, |(_, sent)| sent.saturating_sub(2 * PASS));
        let now = self.live_of(&set) + Self::count(&self.lost, &[&set], from);
        let least = Self::since(self.wanted.get(&set), self.known(w.actor, "replicasets")).min().unwrap_or(0);
        if now < least {
            self.fail("RS-2", w, format!("{now} live pods are left, at least {least} were wanted"));
        }
        self.victim(w, pod, &set);
        let Some(owner) = self.sets.get(&set).and_then(|s| controller(s)).map(str::to_owned) else { return };
        let rolling = self.deployments.get(&owner).is_some_and(|d| d["spec"]["strategy"]["type"] == "RollingUpdate");
        if rolling && ready(pod) {
            let sets: Vec<&str> = self.sets_of(&owner).map(|s| uid(s)).collect();
            let available =
                self.pods.values().filter(|p| live(p) && ready(p) && controller(p).is_some_and(|c| sets.contains(&c))).count() as i64;
            // The set carries out what was decided when it was sized down, however long nobody led in between.
            let (at, known) = self.sized_down.get(&set).copied().unwrap_or((u64::MAX, u64::MAX));
            let from = from.min(at.saturating_sub(2 * PASS));
            let unseen = Self::count(&self.lost, &sets, from) + Self::count(&self.gained, &sets, from);
            let least = Self::since(self.least.get(&owner), self.known(w.actor, "deployments").min(known)).min().unwrap_or(0);
            if available + unseen < least {
                self.fail("DP-2", w, format!("{available} pods stay available, at least {least} must"));
            }
        }
    }

    /// RS-3, as far as a history shows it: a pod that was ready for long does not go while one that was not ready for long stays, unless its
    /// deletion was tried too. (The ranking itself is compared on one snapshot by the tests of the loop.)
    fn victim(&mut self, w: &Written, pod: &Value, set: &str) {
        let long = w.at.saturating_sub(2 * PASS);
        let settled = |uid: &str, is_ready: bool| {
            let mut states = self
                .history
                .writes
                .iter()
                .filter(|x| x.kind == "pods" && x.rv < w.rv && x.new.as_ref().is_some_and(|n| self::uid(n) == uid));
            let mut last = None;
            for state in states.by_ref() {
                let new = state.new.as_ref().expect("filtered");
                if last != Some((ready(new), live(new))) && state.at >= long {
                    return false;
                }
                last = Some((ready(new), live(new)));
            }
            last == Some((is_ready, true))
        };
        if !ready(pod) || !settled(uid(pod), true) {
            return;
        }
        let tried = |name: &str| {
            self.history
                .requests
                .iter()
                .any(|r| r.method == "DELETE" && r.at.abs_diff(w.at) < PASS && r.path.ends_with(&format!("/{name}")))
        };
        let stays = self
            .owned(set)
            .find(|p| live(p) && !ready(p) && settled(uid(p), false) && !tried(p["metadata"]["name"].as_str().unwrap_or_default()));
        let stays = stays.and_then(|p| p["metadata"]["name"].as_str()).map(str::to_owned);
        if let Some(name) = stays {
            self.fail("RS-3", w, format!("a ready pod was deleted and {name}, which was not ready, stays"));
        }
    }

    fn set(&mut self, w: &Written) {
        let Some(new) = &w.new else {
            self.sets.remove(uid(w.old.as_ref().expect("deleted objects have a state before")));
            return;
        };
        let id = uid(new).to_owned();
        let before = w.old.as_ref().map_or(0, |old| replicas(old));
        if w.old.is_none() || before != replicas(new) {
            self.wanted.entry(id.clone()).or_default().push((w.rv, replicas(new)));
        }
        if replicas(new) < before {
            let known = self.known(w.actor, "deployments");
            self.sized_down.insert(id.clone(), (w.at, known));
        }
        let scaled = self.sets.get(&id).map(|s| annotation(s, "desired-replicas")) != Some(annotation(new, "desired-replicas"));
        self.sets.insert(id.clone(), new.clone());
        let Some(owner) = controller(new).map(str::to_owned) else { return };
        let twin = self.sets_of(&owner).find(|s| w.old.is_none() && uid(s) != id && template(s) == template(new));
        let twin = twin.map(|s| s["metadata"]["name"].clone());
        if let Some(name) = twin {
            self.fail("DP-3", w, format!("a second set of one template, after {name}"));
        }
        let revision = |set: &Value| annotation(set, "revision").and_then(|r| r.parse::<i64>().ok());
        if let Some(old) = &w.old
            && revision(old) > revision(new)
        {
            self.fail("DP-3", w, format!("the revision falls from {:?} to {:?}", revision(old), revision(new)));
        }
        let Some(deployment) = self.deployments.get(&owner).cloned() else { return };
        if w.actor.manager().is_some() && replicas(new) > before && deployment["spec"]["strategy"]["type"] == "RollingUpdate" {
            let sum: i64 = self.sets_of(&owner).map(|s| replicas(s)).sum();
            let most = Self::since(self.most.get(&owner), self.known(w.actor, "deployments")).max().unwrap_or(0);
            if sum > most {
                self.fail("DP-1", w, format!("its Deployment's sets want {sum} pods, at most {most} are allowed"));
            }
        }
        // DP-5: once the last active set has been sized for the same number, the split is exact.
        let active: Vec<_> = self.sets_of(&owner).filter(|s| replicas(s) > 0).collect();
        let sized = active.iter().all(|s| annotation(s, "desired-replicas") == Some(&replicas(&deployment).to_string()));
        if scaled && w.old.is_some() && before > 0 && active.len() > 1 && sized && deployment["spec"]["strategy"]["type"] == "RollingUpdate"
        {
            let sum: i64 = active.iter().map(|s| replicas(s)).sum();
            let (most, _) = bounds(&deployment);
            if sum > most {
                self.fail("DP-5", w, format!("a proportional split over {} sets gives {sum}, not {most}", active.len()));
            }
        }
    }

    fn deployment(&mut self, w: &Written) {
        let Some(new) = &w.new else {
            self.deployments.remove(uid(w.old.as_ref().expect("deleted objects have a state before")));
            return;
        };
        let (most, least) = bounds(new);
        for (values, value) in [(&mut self.most, most), (&mut self.least, least)] {
            let values = values.entry(uid(new).to_owned()).or_default();
            if values.last().is_none_or(|(_, last)| *last != value) {
                values.push((w.rv, value));
            }
        }
        self.deployments.insert(uid(new).to_owned(), new.clone());
        let Some(old) = &w.old else { return };
        let revision = |d: &Value| annotation(d, "revision").and_then(|r| r.parse::<i64>().ok());
        if revision(old) > revision(new) && w.actor.manager().is_some() && template(old) == template(new) {
            let lower = self
                .sets_of(uid(new))
                .filter(|s| template(s) == template(new))
                .any(|s| annotation(s, "revision") == annotation(new, "revision"));
            if !lower {
                self.fail("DP-3", w, format!("the revision falls from {:?} to {:?}", revision(old), revision(new)));
            }
        }
        if old["status"]["collisionCount"].as_i64() > new["status"]["collisionCount"].as_i64() {
            self.fail("DP-3", w, "collisionCount falls".into());
        }
        self.deadline(w, old, new);
    }

    /// DP-6.
    fn deadline(&mut self, w: &Written, old: &Value, new: &Value) {
        let reason = |d: &Value| condition(d, "Progressing").and_then(|c| c["reason"].as_str()).unwrap_or_default().to_owned();
        if reason(new) != "ProgressDeadlineExceeded" || reason(old) == reason(new) {
            return;
        }
        let generation = |d: &Value| d["status"]["observedGeneration"].as_i64();
        if reason(old) == "NewReplicaSetAvailable" && generation(old) == generation(new) {
            self.fail("DP-6", w, "the deadline is told after completion".into());
        }
        let progress =
            condition(old, "Progressing").and_then(|c| c["lastUpdateTime"].as_str()).and_then(|t| t.parse::<jiff::Timestamp>().ok());
        let Some(progress) = progress else { return };
        let due =
            (progress.as_millisecond() - 1_800_000_000_000) as u64 + 1000 * new["spec"]["progressDeadlineSeconds"].as_u64().unwrap_or(600);
        // Before there is peace and a leader, nobody can be on time. Conditions carry whole seconds, cut.
        if due > self.history.calm_at + 45_000 && w.at > due + 2000 + 1000 {
            self.fail("DP-6", w, format!("the deadline of {due} ms is told late"));
        }
        if w.at + 1 < due {
            self.fail("DP-6", w, format!("the deadline of {due} ms is told early"));
        }
    }

    /// DP-3, at the end: one set of the current template, distinct revisions, and no more history than asked for.
    fn at_the_end(&mut self) {
        let mut found = Vec::new();
        for (id, deployment) in &self.deployments {
            let name = &deployment["metadata"]["name"];
            let current = self.sets_of(id).filter(|s| template(s) == template(deployment)).count();
            let mut revisions: Vec<_> = self.sets_of(id).map(|s| annotation(s, "revision")).collect();
            let sets = revisions.len();
            revisions.sort();
            revisions.dedup();
            if current != 1 {
                found.push(format!("DP-3: {name} has {current} sets of its template"));
            }
            if revisions.len() != sets {
                found.push(format!("DP-3: sets of {name} share a revision"));
            }
            let idle = self.sets_of(id).filter(|s| replicas(s) == 0 && template(s) != template(deployment)).count() as i64;
            let complete = condition(deployment, "Progressing").is_some_and(|c| c["reason"] == "NewReplicaSetAvailable");
            if complete && idle > deployment["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10) {
                found.push(format!("DP-3: {name} keeps {idle} old sets"));
            }
        }
        self.violations.append(&mut found);
    }
}

fn annotation<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    object["metadata"]["annotations"][format!("deployment.kubernetes.io/{name}").as_str()].as_str()
}

/// Most pods that a Deployment may want, and fewest that must be available (workloads 1.10).
fn bounds(deployment: &Value) -> (i64, i64) {
    let wanted = replicas(deployment);
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let resolve = |value: &Value, up: bool| match value.as_str().and_then(|t| t.strip_suffix('%')?.parse::<i64>().ok()) {
        Some(percent) => (wanted * percent + if up { 99 } else { 0 }) / 100,
        None => value.as_i64().unwrap_or(0),
    };
    let (surge, gone) = (resolve(&rolling["maxSurge"], true), resolve(&rolling["maxUnavailable"], false));
    let gone = if surge == 0 && gone == 0 { 1 } else { gone.min(wanted) };
    (wanted + surge, wanted - gone)
}

/// RS-2 on requests (never by name only), and RS-5 (what is denied is not asked for without end).
fn requests(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let mut denied: BTreeMap<(usize, &str), Vec<u64>> = BTreeMap::new();
    for asked in &history.requests {
        if asked.method == "DELETE" && asked.body.pointer("/preconditions/uid").and_then(Value::as_str).is_none() {
            found.push(format!("RS-2: {} at {} ms is deleted by name only", asked.path, asked.at));
        }
        if asked.method == "POST" && asked.path.ends_with("/pods") && asked.code == 403 {
            denied.entry((asked.link, controller(&asked.body).unwrap_or_default())).or_default().push(asked.at);
        }
    }
    for ((link, owner), times) in denied {
        for (n, from) in times.iter().enumerate() {
            // A failed pass costs one create and its back-off doubles from 5 ms; only changes of the set or its pods start one sooner.
            let within = times[n..].iter().take_while(|at| **at < from + 1000).count();
            let news = history
                .writes
                .iter()
                .filter(|w| {
                    w.at + 500 >= *from
                        && w.at < from + 1000
                        && w.new.as_ref().is_some_and(|o| uid(o) == owner || controller(o) == Some(owner))
                })
                .count();
            if within > 10 + news {
                found.push(format!("RS-5: link {link} asks {within} times within a second for denied pods of {owner}, from {from} ms on"));
                break;
            }
        }
    }
    found
}

/// LE-1: no write reaches the server later than the last successful renewal (from when it was sent) plus renew deadline plus a second.
fn fenced(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let mut renewed: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
    for w in history.writes.iter().filter(|w| w.kind == "leases") {
        let holds = w.new.as_ref().is_some_and(|l| l["spec"]["holderIdentity"].as_str().is_some_and(|h| !h.is_empty()));
        if let (Some((link, sent)), true) = (w.actor.manager(), holds) {
            renewed.entry(link).or_default().push((w.at, sent));
        }
    }
    for asked in history.requests.iter().filter(|r| !r.path.contains("/leases") && !r.path.contains("/events")) {
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
    let holders: Vec<usize> = history
        .writes
        .iter()
        .filter(|w| {
            w.kind == "leases" && w.new.as_ref().is_some_and(|l| !l["spec"]["holderIdentity"].as_str().unwrap_or_default().is_empty())
        })
        .filter_map(|w| history.links.get(w.actor.manager()?.0).copied())
        .collect();
    holders.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64
}

/// What keeps the present state from being converged (RS-4, LV-1).
pub fn not_converged(deployments: &[Value], sets: &[Value], pods: &[Value]) -> Vec<String> {
    let mut left = Vec::new();
    let behind = |o: &Value| o["status"]["observedGeneration"] != o["metadata"]["generation"];
    let number = |o: &Value, field: &str| o["status"][field].as_i64().unwrap_or(0);
    for set in sets {
        let mine: Vec<&Value> = pods.iter().filter(|p| controller(p) == Some(uid(set))).collect();
        let (alive, are_ready) =
            (mine.iter().filter(|p| live(p)).count() as i64, mine.iter().filter(|p| live(p) && ready(p)).count() as i64);
        let ending = mine.iter().filter(|p| !live(p) && !terminal(p)).count();
        // A pod without a verdict yet will still change.
        let starting = mine.iter().filter(|p| live(p) && condition(p, "Ready").is_none()).count();
        let status = [number(set, "replicas"), number(set, "readyReplicas"), number(set, "availableReplicas")];
        if alive != replicas(set) || status != [alive, are_ready, are_ready] || behind(set) || ending + starting > 0 {
            left.push(format!(
                "RS-4: set {}: {alive} live of {}, {are_ready} ready, status {status:?}",
                set["metadata"]["name"],
                replicas(set)
            ));
        }
    }
    for deployment in deployments {
        let mine: Vec<&Value> = sets.iter().filter(|s| controller(s) == Some(uid(deployment))).collect();
        let reason = condition(deployment, "Progressing").and_then(|c| c["reason"].as_str()).unwrap_or_default();
        let new: i64 = mine.iter().filter(|s| template(s) == template(deployment)).map(|s| replicas(s)).sum();
        let all: i64 = mine.iter().map(|s| replicas(s)).sum();
        let complete = reason == "NewReplicaSetAvailable"
            && new == replicas(deployment)
            && all == new
            && number(deployment, "availableReplicas") == new;
        if behind(deployment) || !(complete || reason == "ProgressDeadlineExceeded") {
            left.push(format!(
                "Deployment {}: {reason}, new set {new}, all sets {all} of {}",
                deployment["metadata"]["name"],
                replicas(deployment)
            ));
        }
    }
    left
}
