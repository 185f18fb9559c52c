//! Steps 14 and 15: Recreate, and a rollout that cannot end.

use super::super::history::{History, has_label};
use super::super::kubectl::{condition, name};
use super::super::wait::{ensure, eventually};
use super::{Stage, deployment};
use crate::recorded::Broken;

impl Stage {
    pub(super) async fn recreate(&mut self) -> Result<(), Broken> {
        self.k.apply(&deployment("recreated", 3, "registry.example/app:1", "  strategy: {type: Recreate}\n")).await?;
        let old = self.k.ready_pods("app=recreated", 3, self.limit).await?;
        let history = History::begin(&self.k).await?;
        self.k.run(&["set", "image", "deployment/recreated", "main=registry.example/app:2"]).await?;
        self.rolled_out("recreated").await?;
        let new = self.k.ready_pods("app=recreated", 3, self.limit).await?;
        let told = history.end().await?;
        let is_old = |pod_name: &str| old.iter().any(|pod| name(pod) == pod_name);
        ensure(new.iter().all(|pod| !is_old(name(pod))), || "an old pod is still there".into())?;
        for (event, pods) in told.moments() {
            let ours = |pod: &serde_json::Value| has_label(pod, "app", "recreated");
            let fresh = pods.values().any(|pod| ours(pod) && !is_old(name(pod)));
            let left = pods.values().filter(|pod| ours(pod) && is_old(name(pod))).count();
            ensure(!fresh || left == 0, || {
                format!("{left} old pods beside a new one when {} was {}", name(&event["object"]), event["type"])
            })?;
        }
        Ok(())
    }

    pub(super) async fn never_ready(&mut self) -> Result<(), Broken> {
        self.k.apply(&deployment("stuck", 2, "registry.example/app:1", "  progressDeadlineSeconds: 3\n")).await?;
        self.k.ready_pods("app=stuck", 2, self.limit).await?;
        self.rolled_out("stuck").await?;
        self.k.run(&["set", "image", "deployment/stuck", "main=registry.invalid/app:2"]).await?;
        eventually(self.limit, "ProgressDeadlineExceeded", async || {
            let found = self.k.object("deployment", "stuck").await?;
            let progressing = condition(&found, "Progressing").cloned().unwrap_or_default();
            let told = progressing["status"] == "False" && progressing["reason"] == "ProgressDeadlineExceeded";
            if told { Ok(()) } else { Err(Broken(format!("Progressing is {progressing}"))) }
        })
        .await?;
        let said = self.k.refused(&["rollout", "status", "deployment/stuck"]).await?;
        ensure(said.contains("exceeded its progress deadline"), || format!("rollout status says: {said}"))?;
        self.k.run(&["rollout", "undo", "deployment/stuck"]).await?;
        self.rolled_out("stuck").await?;
        self.k.ready_pods("app=stuck", 2, self.limit).await?;
        let found = self.k.object("deployment", "stuck").await?;
        let healed = condition(&found, "Progressing").is_some_and(|c| c["status"] == "True" && c["reason"] == "NewReplicaSetAvailable");
        ensure(healed, || format!("conditions {}", found["status"]["conditions"]))
    }
}
