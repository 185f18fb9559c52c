//! DP-1 and DP-3.

use serde_json::Value;

use super::{Fold, SizedDown, annotation, bounds, id};
use crate::history::{Written, condition, controller, replicas, template, uid};

fn revision(object: &Value) -> Option<i64> {
    annotation(object, "revision")?.parse().ok()
}

impl Fold<'_> {
    pub(super) fn set(&mut self, w: &Written) {
        let Some(new) = &w.new else {
            self.sets.remove(id(w));
            return;
        };
        let set = id(w).to_owned();
        let before = w.old.as_ref().map_or(0, |old| replicas(old));
        if w.old.is_none() || before != replicas(new) {
            self.wanted.entry(set.clone()).or_default().push((w.rv, replicas(new)));
            self.sized_by.insert(set.clone(), self.pass(w).map(|(n, _)| n));
        }
        if replicas(new) < before {
            let (deployments, sets) = (self.saw(w, "deployments"), self.saw(w, "replicasets"));
            let siblings = controller(new).into_iter().flat_map(|owner| self.sets_of(owner));
            let pods = siblings.map(|s| self.counted_from(uid(s), sets)).min().unwrap_or(u64::MAX);
            self.sized_down.insert(set.clone(), SizedDown { at: w.at, deployments, pods });
        }
        self.sets.insert(set.clone(), new.clone());
        if w.status && w.actor.manager().is_some() {
            let count = (w.rv, self.saw(w, "pods"));
            self.counted.entry(set.clone()).or_default().push(count);
        }
        if w.old.is_none() && self.late(w) {
            self.late_sets.insert(set.clone());
        }
        let Some(owner) = controller(new).map(str::to_owned) else { return };
        let twin = self.sets_of(&owner).find(|s| w.old.is_none() && uid(s) != set && template(s) == template(new));
        let twin = twin.map(|s| s["metadata"]["name"].clone());
        if let Some(name) = twin {
            self.fail("DP-3", w, format!("a second set of one template, after {name}"));
        }
        if let Some(old) = w.old.as_ref().filter(|old| revision(old) > revision(new)) {
            self.fail("DP-3", w, format!("the revision falls from {:?} to {:?}", revision(old), revision(new)));
        }
        let joins = w.old.as_ref().is_none_or(|old| controller(old) != Some(owner.as_str()));
        if replicas(new) > before || (joins && replicas(new) > 0) {
            self.sum_rises(w, &owner);
        }
    }

    /// The revision of pods that a set's counters, as they were at a revision of sets, had been made from. Where nobody has counted yet there
    /// is nothing that could be wrong about them.
    fn counted_from(&self, set: &str, rv: u64) -> u64 {
        let counts = self.counted.get(set).map(Vec::as_slice).unwrap_or_default();
        counts.partition_point(|(at, _)| *at <= rv).checked_sub(1).map_or(u64::MAX, |n| counts[n].1)
    }

    /// DP-1, at every revision: whatever raises the sum of what a Deployment's sets want must end within `replicas + maxSurge`.
    ///
    /// Between two rises the sum only falls, and the bound falls by the will of users; so a sum beyond the present bound is always one that
    /// was allowed when it came. The allowance: the largest bound in force since the pass behind the write took its snapshot. Sets are given
    /// as that snapshot had them only where somebody else than this pass has raised them since: own writes are shown by the freshness gate,
    /// so this is for two leaders at once, and for what was under way while its leader was paused (F13).
    ///
    /// Live pods follow from RS-1: no set has more than it wants but for pods whose deletion is decided, and those are not counted by 1.36
    /// either, which adds up `spec.replicas` (workloads 2.7.1).
    fn sum_rises(&mut self, w: &Written, owner: &str) {
        if w.actor.manager().is_none() || w.status {
            return;
        }
        let Some(deployment) = self.deployments.get(owner) else { return };
        let (name, seen) = (deployment["metadata"]["name"].clone(), self.saw(w, "replicasets"));
        let pass = self.pass(w).map(|(n, _)| n);
        let size_then = |set: &Value| match pass.filter(|p| self.sized_by.get(uid(set)) != Some(&Some(*p))) {
            Some(_) => Self::at(self.wanted.get(uid(set)), seen).unwrap_or(0).min(replicas(set)),
            None => replicas(set),
        };
        let sum: i64 = self.sets_of(owner).map(|s| size_then(s)).sum();
        let most = Self::since(self.most.get(owner), self.saw(w, "deployments")).max().unwrap_or(0);
        if sum > most {
            self.fail("DP-1", w, format!("the sets of {name} want {sum} pods, at most {most} are allowed"));
        }
    }

    pub(super) fn deployment(&mut self, w: &Written) {
        let Some(new) = &w.new else {
            self.deployments.remove(id(w));
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
        if revision(old) > revision(new) && w.actor.manager().is_some() && template(old) == template(new) {
            // After an undo the Deployment tells its set's revision, which may be lower for as long as the set has not got its new one.
            let told = self.sets_of(uid(new)).filter(|s| template(s) == template(new)).any(|s| revision(s) == revision(new));
            if !told {
                self.fail("DP-3", w, format!("the revision falls from {:?} to {:?}", revision(old), revision(new)));
            }
        }
        if old["status"]["collisionCount"].as_i64() > new["status"]["collisionCount"].as_i64() {
            self.fail("DP-3", w, "collisionCount falls".into());
        }
    }

    /// DP-3, at the end: one set of the current template, with the highest revision; distinct revisions; no more history than asked for.
    ///
    /// A set whose create was under way while its leader was paused (F13) may share its revision: nothing that a create can carry makes the
    /// server refuse it when another leader has made another template's set meanwhile.
    pub(super) fn at_the_end(&mut self) {
        let mut found = Vec::new();
        for (id, deployment) in &self.deployments {
            let name = &deployment["metadata"]["name"];
            let current: Vec<_> = self.sets_of(id).filter(|s| template(s) == template(deployment)).collect();
            let told = self.sets_of(id).filter(|s| !self.late_sets.contains(uid(s)) || current.contains(s));
            let mut revisions: Vec<_> = told.map(|s| revision(s)).collect();
            let sets = revisions.len();
            revisions.sort();
            if current.len() != 1 {
                found.push(format!("DP-3: {name} has {} sets of its template", current.len()));
            } else if revisions.last().copied() != Some(revision(current[0])) {
                found.push(format!("DP-3: {name}'s newest set has not the highest revision"));
            }
            revisions.dedup();
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
