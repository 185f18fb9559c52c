//! RS-1 and RS-2, and what pods mean for Deployments (DP-2, DP-4).

use std::sync::Arc;

use serde_json::Value;

use super::{Fold, OLD, PodChange, SizedDown, id, rolls};
use crate::history::{Written, controller, live, ready, template, uid};

impl Fold<'_> {
    pub(super) fn pod(&mut self, w: &Written) {
        let owner = |pod: &Option<Arc<Value>>| pod.as_ref().filter(|p| live(p)).and_then(|p| controller(p).map(str::to_owned));
        let (before, after) = (owner(&w.old), owner(&w.new));
        let ours = w.actor.manager().is_some();
        let was_live = w.old.as_ref().is_some_and(|p| live(p));
        let deleted = ours && was_live && w.new.as_ref().is_none_or(|new| !new["metadata"]["deletionTimestamp"].is_null());
        match &w.new {
            Some(new) => self.pods.insert(id(w).to_owned(), new.clone()),
            None => self.pods.remove(id(w)),
        };
        if ours && w.old.is_none() && after.is_none() {
            self.fail("RS-1", w, "a pod without an owner".into());
        }
        if let Some(set) = after.as_ref().filter(|_| ours && w.old.is_none()) {
            self.created(w, set);
            self.old_beside_new(w, set);
            if self.late(w) {
                self.adopted.insert(id(w).to_owned());
            }
        } else if ours && after.is_some() && before != after {
            self.adopted.insert(id(w).to_owned());
        }
        if let (true, Some(pod)) = (deleted, &w.old) {
            self.scaled_down(w, &pod.clone());
        }
        // What others did to pods explains what a pass could not know.
        let change = |set: String| PodChange { rv: w.rv, at: w.at, set, pass: self.pass(w).map(|(n, _)| n) };
        let was_ready = w.old.as_ref().is_some_and(|p| ready(p));
        let is_ready = w.new.as_ref().is_some_and(|p| ready(p));
        match (before, after) {
            (Some(set), None) if !deleted => self.lost.push(change(set)),
            (Some(set), Some(_)) if was_ready && !is_ready => self.lost.push(change(set)),
            (before, Some(set)) if is_ready && !(was_ready && before.is_some()) => self.gained.push(change(set)),
            _ => {}
        }
    }

    /// RS-1, at every revision: a create must end within what the set wanted.
    ///
    /// Live pods become more by creates, by adoptions, and not otherwise. Adoptions take what is there, wanted or not, and let the surplus
    /// go (workloads 3.9.4). Between creates the number only falls or grows by pods that were there before, and what the set wants falls by
    /// the will of users; so the bound holds at every revision if it holds at each create. The allowance is the spec's: the largest size in
    /// force since the pass behind the write took its snapshot, because a later change cannot have been known to it. Nothing is allowed for
    /// pods that it had not seen: its own are shown by the freshness gate, and another leader's bear the same names. Only what was under way
    /// while its manager was paused (F13) may be too many, as D-4 says.
    fn created(&mut self, w: &Written, set: &str) {
        let now = self.live_of(set);
        if self.late(w) {
            self.made_late.insert(id(w).to_owned());
        }
        let late = self.owned(set).filter(|p| live(p) && self.made_late.contains(uid(p))).count() as i64;
        let most = Self::since(self.wanted.get(set), self.saw(w, "replicasets")).max().unwrap_or(0);
        if now > most + late {
            self.fail("RS-1", w, format!("{now} live pods, at most {most} were wanted"));
        }
    }

    /// Whether a write was under way when its manager was paused.
    pub(super) fn late(&self, w: &Written) -> bool {
        let Some((link, sent)) = w.actor.manager() else { return false };
        let requests = &self.history.requests;
        let from = requests.partition_point(|r| r.at < w.at);
        requests[from..].iter().take_while(|r| r.at == w.at).any(|r| r.late && r.link == link && r.sent == sent)
    }

    /// DP-4: no pod of the new template is made while an old one lives. No allowance: until the Deployment's pass has sized the new set no
    /// pod of it can be made, and it sizes it only when no old pod is left; pods of a template that came after are none of the new one's. Pods
    /// that a user gave back to an old set meanwhile (it adopts them, and lets them go) do not count, nor those that were on the wire while
    /// their maker was paused (F13).
    fn old_beside_new(&mut self, w: &Written, set: &str) {
        let Some(owner) = self.sets.get(set).and_then(|s| controller(s)).map(str::to_owned) else { return };
        let Some(deployment) = self.deployments.get(&owner) else { return };
        let is_new = self.sets.get(set).is_some_and(|s| template(s) == template(deployment));
        if deployment["spec"]["strategy"]["type"] != "Recreate" || !is_new {
            return;
        }
        let old: Vec<&str> = self.sets_of(&owner).map(|s| uid(s)).filter(|s| *s != set).collect();
        let counts = |p: &&Arc<Value>| live(p) && controller(p).is_some_and(|c| old.contains(&c)) && !self.adopted.contains(uid(p));
        let left = self.pods.values().filter(counts).count();
        if left > 0 {
            self.fail("DP-4", w, format!("a pod of the new template beside {left} old ones"));
        }
    }

    /// RS-2: a scale-down leaves what the set wants, and takes only the set's own pods.
    ///
    /// The allowance: the smallest size in force since the snapshot, and pods that went by other hands after it. A delete holds for the
    /// version that the snapshot showed (D-3), so that the pod itself must be the set's whatever else changed.
    fn scaled_down(&mut self, w: &Written, pod: &Value) {
        let Some(set) = controller(pod).map(str::to_owned) else { return self.fail("RS-2", w, "deleted a pod that no set owns".into()) };
        let pass = self.pass(w).map(|(n, _)| n);
        let (sets_seen, pods_seen) = (self.saw(w, "replicasets"), self.saw(w, "pods"));
        let unseen = self.lost.iter().filter(|l| l.set == set && l.rv > pods_seen && (pass.is_none() || l.pass != pass)).count() as i64;
        let now = self.live_of(&set);
        let least = Self::since(self.wanted.get(&set), sets_seen).min().unwrap_or(0);
        if now + unseen < least {
            self.fail("RS-2", w, format!("{now} live pods are left and {unseen} went unseen, at least {least} were wanted"));
        }
        self.stays_available(w, pod, &set);
    }

    /// DP-2: a pod that was ready may go if enough stay available.
    ///
    /// Two loops stand behind such a delete: the Deployment's pass that sized the set down, by counters which the set's pass had written
    /// before, and the set's pass that carries it out, however long nobody led in between. None of the three can know what became of pods
    /// since; so pods that changed since the oldest of these decisions can have begun, or since the pods were
    /// looked at that the counters were made from, are given as unseen.
    fn stays_available(&mut self, w: &Written, pod: &Value, set: &str) {
        let Some(owner) = self.sets.get(set).and_then(|s| controller(s)).map(str::to_owned) else { return };
        if !self.deployments.get(&owner).is_some_and(|d| rolls(d)) || !ready(pod) {
            return;
        }
        let sets: Vec<&str> = self.sets_of(&owner).map(|s| uid(s)).collect();
        let available =
            self.pods.values().filter(|p| live(p) && ready(p) && controller(p).is_some_and(|c| sets.contains(&c))).count() as i64;
        let nobody = SizedDown { at: u64::MAX, deployments: u64::MAX, pods: u64::MAX };
        let SizedDown { at, deployments: known, pods: counted } = self.sized_down.get(set).copied().unwrap_or(nobody);
        let sent = w.actor.manager().map_or(w.at, |(_, sent)| sent);
        let from = sent.min(at).saturating_sub(2 * OLD);
        let pods_seen = self.saw(w, "pods").min(counted);
        let changes = self.lost.iter().chain(&self.gained);
        let unseen = changes.filter(|c| (c.at >= from || c.rv > pods_seen) && sets.contains(&c.set.as_str())).count() as i64;
        let known = known.min(self.shown(w.actor, "deployments", OLD));
        let least = Self::since(self.least.get(&owner), known).min().unwrap_or(0);
        if available + unseen < least {
            self.fail("DP-2", w, format!("{available} pods stay available, at least {least} must"));
        }
    }
}
