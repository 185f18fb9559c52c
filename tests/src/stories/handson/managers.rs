//! Step 31: two managers, of which the leading one ends; first as it should, then without a word.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::Instant;

use super::super::history::{History, has_label, is_live};
use super::super::kubectl::{Kubectl, name};
use super::super::plane::Plane;
use super::super::program::{stop, terminate};
use super::super::wait::{ensure, eventually};
use super::{Stage, deployment};
use crate::recorded::Broken;

/// After SIGTERM the successor acts within a second; a busy machine may take a few.
const AT_ONCE: Duration = Duration::from_secs(5);
/// After SIGKILL the Lease has to run out (15 s), and the standby has to notice (2 s, and jitter).
const EXPIRED: Duration = Duration::from_secs(40);
/// A standby needs a moment to be one.
const WARM_UP: Duration = Duration::from_secs(3);

impl Stage {
    pub(super) async fn two_managers(&mut self) -> Result<(), Broken> {
        ensure(self.manager, || "no managers to be started".into())?;
        let folder = self.folder.join("two-managers");
        let own = self.plane.without_manager(&folder, &self.kubectl).await?;
        let plane = own.as_ref().unwrap_or(&self.plane);
        std::fs::create_dir_all(&folder).map_err(|error| Broken(format!("{}: {error}", folder.display())))?;
        let k = Kubectl::new(&self.kubectl, &plane.kubeconfig, &format!("{}-31", self.k.namespace));
        k.run(&["create", "namespace", &k.namespace]).await?;
        let mut managers = Managers { plane, folder, running: Vec::new() };
        let outcome = self.hand_over(&k, &mut managers).await;
        _ = k.run(&["delete", "namespace", &k.namespace, "--wait=false"]).await;
        for manager in managers.running {
            stop(manager).await;
        }
        if let Some(plane) = own {
            plane.stop().await;
        }
        outcome
    }

    async fn hand_over(&self, k: &Kubectl, managers: &mut Managers<'_>) -> Result<(), Broken> {
        // A manager that ran here before may have left its name.
        let stale = lease_holder(k).await.unwrap_or_default();
        managers.start("a")?;
        let first = holder(k, &stale, self.limit).await?;
        managers.start("b")?;
        k.apply(&deployment("kept", 6, "registry.example/app:1", "")).await?;
        k.ready_pods("app=kept", 6, self.limit).await?;
        tokio::time::sleep(WARM_UP).await;
        let history = History::begin(k).await?;

        let leading = managers.running.remove(0);
        let start = Instant::now();
        terminate(&leading);
        k.run(&["scale", "deployment/kept", "--replicas=9"]).await?;
        let second = holder(k, &first, AT_ONCE).await?;
        println!("        SIGTERM: the Lease moved after {:.1} s", start.elapsed().as_secs_f64());
        let gone = k.live("pods", "app=kept").await?;
        k.run(&["delete", "pod", name(&gone[0]), "--wait=false"]).await?;
        k.ready_pods("app=kept", 9, self.limit).await?;
        stop(leading).await;

        managers.start("c")?;
        tokio::time::sleep(WARM_UP).await;
        // It is killed in the middle of its work.
        let mut leading = managers.running.remove(0);
        k.run(&["scale", "deployment/kept", "--replicas=14"]).await?;
        let start = Instant::now();
        leading.kill().await.map_err(|error| Broken(format!("it cannot be killed: {error}")))?;
        holder(k, &second, EXPIRED).await?;
        println!("        SIGKILL: the Lease moved after {:.1} s", start.elapsed().as_secs_f64());
        k.ready_pods("app=kept", 14, self.limit).await?;
        self.none_too_many(history).await
    }

    async fn none_too_many(&self, history: History) -> Result<(), Broken> {
        // Whoever would make one too many would do it now.
        tokio::time::sleep(WARM_UP).await;
        let told = history.end().await?;
        let mut made = BTreeSet::new();
        for (event, pods) in told.moments() {
            let live = pods.values().filter(|pod| has_label(pod, "app", "kept") && is_live(pod)).count();
            ensure(live <= 14, || format!("{live} pods when {} was {}", name(&event["object"]), event["type"]))?;
            if event["type"] == "ADDED" {
                made.insert(event["object"]["metadata"]["uid"].to_string());
            }
        }
        // Six were there; three, one in the place of the deleted one, and five were asked for.
        ensure(made.len() == 9, || format!("{} pods were made, 9 were needed", made.len()))
    }
}

struct Managers<'a> {
    plane: &'a Plane,
    folder: std::path::PathBuf,
    running: Vec<Child>,
}

impl Managers<'_> {
    fn start(&mut self, log: &str) -> Result<(), Broken> {
        self.running.push(self.plane.manager(&self.folder, log)?);
        Ok(())
    }
}

/// Waits until somebody other than `before` holds the Lease that managers share.
async fn holder(k: &Kubectl, before: &str, limit: Duration) -> Result<String, Broken> {
    eventually(limit, "another holder of the Lease", async || {
        let text = lease_holder(k).await?;
        if !text.is_empty() && text != before { Ok(text) } else { Err(Broken(format!("it is '{text}'"))) }
    })
    .await
}

async fn lease_holder(k: &Kubectl) -> Result<String, Broken> {
    k.run(&["get", "lease", "-n", "kube-system", "kube-controller-manager", "-o", "jsonpath={.spec.holderIdentity}"]).await
}
