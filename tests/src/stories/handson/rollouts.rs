//! Steps 7 to 13: rollouts.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::super::history::{History, Told, has_label, is_live};
use super::super::kubectl::{is_ready, name};
use super::super::wait::{ensure, eventually};
use super::{FRONTEND, Stage, replicas, revision};
use crate::recorded::Broken;

/// How long nothing may happen to count as nothing.
const QUIET: Duration = Duration::from_secs(2);

impl Stage {
    pub(super) async fn change_the_template(&mut self) -> Result<(), Broken> {
        self.k.ready_pods(FRONTEND, 2, self.limit).await?;
        let before = self.sets("frontend").await?;
        let history = History::begin(&self.k).await?;
        self.edit_frontend("memory: 100Mi", "memory: 120Mi").await?;
        self.rolled_out("frontend").await?;
        let pods = self.k.ready_pods(FRONTEND, 2, self.limit).await?;
        let told = history.end().await?;
        let sets = self.sets("frontend").await?;
        ensure(before.len() == 1 && sets.len() == 2, || format!("{} ReplicaSets before, {} after", before.len(), sets.len()))?;
        ensure(name(&sets[0]) == name(&before[0]) && replicas(&sets[0]) == 0, || "the old ReplicaSet is not at 0".into())?;
        ensure(replicas(&sets[1]) == 2, || "the new ReplicaSet is not at 2".into())?;
        let memory = |pod: &Value| pod["spec"]["containers"][0]["resources"]["requests"]["memory"] == "120Mi";
        ensure(pods.iter().all(memory), || "not all pods have the new request".into())?;
        // 25 % of two: one more, none less.
        within(&told, 2, 1, 0)
    }

    pub(super) async fn rollout_history(&mut self) -> Result<(), Broken> {
        self.k.run(&["annotate", "deployment/frontend", "kubernetes.io/change-cause=more memory", "--overwrite"]).await?;
        eventually(self.limit, "the change cause in the history", async || {
            let text = self.k.run(&["rollout", "history", "deployment/frontend"]).await?;
            let revisions: Vec<&str> =
                text.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| word.parse::<u64>().is_ok()).collect();
            let cause = text.lines().any(|line| line.starts_with('2') && line.contains("more memory"));
            if revisions == ["1", "2"] && cause { Ok(()) } else { Err(Broken(format!("it shows {text}"))) }
        })
        .await?;
        let details = self.k.run(&["rollout", "history", "deployment/frontend", "--revision=2"]).await?;
        ensure(details.contains("120Mi") && details.contains("revision #2"), || format!("revision 2 is shown as {details}"))
    }

    pub(super) async fn undo(&mut self) -> Result<(), Broken> {
        let before = self.sets("frontend").await?;
        let first = before.iter().find(|set| revision(set) == 1).ok_or_else(|| Broken("no revision 1".into()))?;
        self.k.run(&["rollout", "undo", "deployment/frontend", "--to-revision=1"]).await?;
        self.rolled_out("frontend").await?;
        let found = self.observed("frontend").await?;
        let memory = &found["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"];
        ensure(memory == "100Mi", || format!("the template asks for {memory}"))?;
        ensure(revision(&found) == 3, || format!("it is revision {}", revision(&found)))?;
        let sets = self.sets("frontend").await?;
        let reused = sets.iter().find(|set| name(set) == name(first)).is_some_and(|set| revision(set) == 3 && replicas(set) == 2);
        ensure(sets.len() == 2 && reused, || "the ReplicaSet of revision 1 was not reused".into())
    }

    pub(super) async fn restart(&mut self) -> Result<(), Broken> {
        let before = self.k.ready_pods(FRONTEND, 2, self.limit).await?;
        self.k.run(&["rollout", "restart", "deployment/frontend"]).await?;
        self.rolled_out("frontend").await?;
        let found = self.k.object("deployment", "frontend").await?;
        let noted = found["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string();
        ensure(noted, || "the template has no restartedAt".into())?;
        let pods = self.k.ready_pods(FRONTEND, 2, self.limit).await?;
        ensure(pods.iter().all(|pod| before.iter().all(|old| name(old) != name(pod))), || "an old pod is still there".into())
    }

    pub(super) async fn two_rollouts_at_once(&mut self) -> Result<(), Broken> {
        self.k.run(&["scale", "deployment/frontend", "--replicas=4"]).await?;
        self.k.ready_pods(FRONTEND, 4, self.limit).await?;
        let history = History::begin(&self.k).await?;
        // Image A cannot be pulled, so its rollout cannot end.
        let a = "registry.invalid/guestbook/frontend:a";
        self.k.run(&["set", "image", "deployment/frontend", &format!("web={a}")]).await?;
        eventually(self.limit, "pods of image A", async || {
            let pods = self.k.live("pods", FRONTEND).await?;
            if pods.iter().any(|pod| image(pod) == a) { Ok(()) } else { Err(Broken("none".into())) }
        })
        .await?;
        let b = "registry.example/guestbook/frontend:b";
        self.k.run(&["set", "image", "deployment/frontend", &format!("web={b}")]).await?;
        self.rolled_out("frontend").await?;
        let pods = self.k.ready_pods(FRONTEND, 4, self.limit).await?;
        let told = history.end().await?;
        ensure(pods.iter().all(|pod| image(pod) == b), || "not all pods are of image B".into())?;
        // A's pods go before B is complete: they are not waited for.
        let going =
            told.moments().find(|(event, _)| image(&event["object"]) == a && (event["type"] == "DELETED" || !is_live(&event["object"])));
        let (_, then) = going.ok_or_else(|| Broken("no pod of image A went".into()))?;
        let ready = then.values().filter(|pod| image(pod) == b && is_live(pod) && is_ready(pod)).count();
        ensure(ready < 4, || "A's first pod went only when B was complete".into())?;
        // A's pods may still be going when B's come: the promise about surge is kept by what the ReplicaSets ask for.
        within(&told, 4, 1 + 2, 1)
    }

    pub(super) async fn pause_and_resume(&mut self) -> Result<(), Broken> {
        self.k.ready_pods(FRONTEND, 4, self.limit).await?;
        self.k.run(&["rollout", "pause", "deployment/frontend"]).await?;
        let before: BTreeSet<String> = self.sets("frontend").await?.iter().map(|set| name(set).to_owned()).collect();
        self.k.run(&["set", "image", "deployment/frontend", "web=registry.example/guestbook/frontend:c"]).await?;
        self.k.run(&["set", "env", "deployment/frontend", "STEP=12"]).await?;
        self.observed("frontend").await?;
        tokio::time::sleep(QUIET).await;
        let after: BTreeSet<String> = self.sets("frontend").await?.iter().map(|set| name(set).to_owned()).collect();
        ensure(after == before, || "a rollout began while paused".into())?;
        self.k.run(&["scale", "deployment/frontend", "--replicas=3"]).await?;
        let pods = self.k.ready_pods(FRONTEND, 3, self.limit).await?;
        ensure(pods.iter().all(|pod| image(pod).ends_with(":b")), || "scaling brought the new template".into())?;
        self.k.run(&["rollout", "resume", "deployment/frontend"]).await?;
        self.rolled_out("frontend").await?;
        let pods = self.k.ready_pods(FRONTEND, 3, self.limit).await?;
        let both = |pod: &Value| image(pod).ends_with(":c") && pod["spec"]["containers"][0]["env"][0]["value"] == "12";
        ensure(pods.iter().all(both), || "not all pods have both changes".into())?;
        let new = self.sets("frontend").await?.iter().filter(|set| !before.contains(name(set))).count();
        ensure(new == 1, || format!("{new} rollouts after the pause"))
    }

    pub(super) async fn keep_ten_revisions(&mut self) -> Result<(), Broken> {
        self.k.run(&["patch", "deployment/frontend", "-p", r#"{"spec":{"revisionHistoryLimit":10}}"#]).await?;
        let first = revision(&self.observed("frontend").await?);
        for number in 1..=12 {
            self.k.run(&["set", "env", "deployment/frontend", &format!("ROUND={number}")]).await?;
            self.observed("frontend").await?;
        }
        self.rolled_out("frontend").await?;
        let found = self.k.object("deployment", "frontend").await?;
        ensure(revision(&found) == first + 12, || format!("revision {} after {first} and twelve changes", revision(&found)))?;
        eventually(self.limit, "at most ten old ReplicaSets", async || {
            let sets = self.sets("frontend").await?;
            let old = sets.iter().filter(|set| replicas(set) == 0).count();
            if sets.len() == old + 1 && old == 10 { Ok(()) } else { Err(Broken(format!("{} ReplicaSets, {old} at 0", sets.len()))) }
        })
        .await
    }
}

fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

/// Whether at every moment at most `surge` pods more than wanted were there, and at most `unavailable` less were available.
pub(super) fn within(told: &Told, wanted: usize, surge: usize, unavailable: usize) -> Result<(), Broken> {
    for (event, pods) in told.moments() {
        let live: Vec<&Value> = pods.values().filter(|pod| has_label(pod, "role", "web") && is_live(pod)).collect();
        let ready = live.iter().filter(|pod| is_ready(pod)).count();
        let when = || format!("when {} was {}", name(&event["object"]), event["type"]);
        ensure(live.len() <= wanted + surge, || format!("{} pods {}", live.len(), when()))?;
        ensure(ready + unavailable >= wanted, || format!("{ready} pods available {}", when()))?;
    }
    ensure(!told.events.is_empty(), || "nothing happened".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_moment_with_too_many_or_too_few_pods_is_noticed() {
        let pod = |name: &str, ready: &str| json!({"metadata": {"name": name, "labels": {"role": "web"}}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let told = |events: Vec<Value>| Told { first: [("a".to_owned(), pod("a", "True"))].into(), events };
        let added = |name: &str| json!({"type": "ADDED", "object": pod(name, "False")});
        assert!(within(&told(vec![added("b")]), 1, 1, 0).is_ok());
        assert!(within(&told(vec![added("b"), added("c")]), 1, 1, 0).is_err());
        assert!(within(&told(vec![json!({"type": "DELETED", "object": pod("a", "True")})]), 1, 1, 0).is_err());
    }
}
