//! People who create, scale, change, pause and undo, relabel and delete, at the worst moments (reliability F16).

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value, json};

use crate::{
    Fault,
    chance::Dice,
    history::{Actor, controller, live, uid},
    network::Network,
};

const APPS: &str = "/apis/apps/v1/namespaces/default";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// One run's people.
pub struct Users {
    network: Arc<Network>,
    dice: Dice,
    deployments: Vec<String>,
    sets: Vec<String>,
    images: u64,
}

impl Users {
    /// People of a seed.
    pub fn new(network: Arc<Network>, seed: u64) -> Self {
        Self { network, dice: Dice::new(seed, 3), deployments: Vec::new(), sets: Vec::new(), images: 0 }
    }

    /// Creates the workloads.
    pub fn begin(&mut self) {
        for n in 0..1 + self.dice.pick(0..2) {
            let name = format!("web-{n}");
            let strategy = match self.dice.percent(30) {
                true => json!({"type": "Recreate"}),
                false => self.rolling(),
            };
            let spec = json!({
                "replicas": self.dice.pick(1..7), "strategy": strategy, "revisionHistoryLimit": self.dice.pick(1..4),
                "progressDeadlineSeconds": self.dice.pick(8..70),
                "selector": {"matchLabels": {"app": name}}, "template": template(&name, "app:v0"),
            });
            self.send(
                Method::POST,
                &format!("{APPS}/deployments"),
                &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}),
            );
            self.deployments.push(name);
        }
        for n in 0..self.dice.pick(0..2) {
            let name = format!("bare-{n}");
            let spec = json!({"replicas": self.dice.pick(1..8), "selector": {"matchLabels": {"app": name}}, "template": template(&name, "app:v0")});
            self.send(
                Method::POST,
                &format!("{APPS}/replicasets"),
                &json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": spec}),
            );
            self.sets.push(name);
        }
    }

    fn rolling(&mut self) -> Value {
        let (surge, gone) = match self.dice.pick(0..4) {
            0 => (json!("25%"), json!("25%")),
            1 => (json!(1), json!(0)),
            2 => (json!(0), json!(1)),
            _ => (json!(self.dice.pick(1..4)), json!("50%")),
        };
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": gone}})
    }

    /// Does things until told to stop.
    pub async fn act_until(&mut self, end: tokio::time::Instant) {
        while tokio::time::Instant::now() < end {
            let pause = if self.dice.percent(50) { 100..1500 } else { 1500..9000 };
            tokio::time::sleep(self.dice.ms(pause)).await;
            self.act();
        }
    }

    fn act(&mut self) {
        let deployment = format!("{APPS}/deployments/{}", self.deployments[self.dice.pick(0..self.deployments.len() as u64) as usize]);
        match self.dice.pick(0..16) {
            0..=2 => self.patch(&deployment, json!({"spec": {"replicas": 0}}), 0..9),
            3..=5 => {
                self.images += 1;
                let image = if self.dice.percent(20) { format!("app:bad{}", self.images) } else { format!("app:v{}", self.images) };
                self.set_image(&deployment, &image);
            }
            6 => self.undo(&deployment),
            7 => self.send(Method::PATCH, &deployment, &json!({"spec": {"paused": true}})),
            8 => self.send(Method::PATCH, &deployment, &json!({"spec": {"paused": null}})),
            9 if !self.sets.is_empty() => {
                let set = format!("{APPS}/replicasets/{}", self.sets[0]);
                self.patch(&set, json!({"spec": {"replicas": 0}}), 0..9);
            }
            10 | 11 => self.relabel(),
            14 | 15 => self.give_back(),
            _ => self.delete_pods(),
        }
    }

    fn patch(&mut self, path: &str, mut patch: Value, range: std::ops::Range<u64>) {
        patch["spec"]["replicas"] = self.dice.pick(range).into();
        self.send(Method::PATCH, path, &patch);
    }

    fn set_image(&self, deployment: &str, image: &str) {
        let containers = json!([{"name": "c", "image": image}]);
        self.send(Method::PATCH, deployment, &json!({"spec": {"template": {"spec": {"containers": containers}}}}));
    }

    /// As `kubectl rollout undo` does: the template of some older set.
    fn undo(&mut self, deployment: &str) {
        let owner = self.network.act(Actor::User, Method::GET, deployment, &Value::Null).1;
        let sets: Vec<Value> = self.network.all("apps/replicasets").into_iter().filter(|s| controller(s) == Some(uid(&owner))).collect();
        if sets.is_empty() {
            return;
        }
        let set = &sets[self.dice.pick(0..sets.len() as u64) as usize];
        if let Some(image) = set["spec"]["template"]["spec"]["containers"][0]["image"].as_str() {
            self.set_image(deployment, image);
        }
    }

    fn any_pod(&mut self) -> Option<String> {
        let pods: Vec<Value> = self.network.all("/pods").into_iter().filter(live).collect();
        let pod = pods.get(self.dice.pick(0..pods.len().max(1) as u64) as usize)?;
        Some(format!("{PODS}/{}", pod["metadata"]["name"].as_str()?))
    }

    /// A pod that no selector matches any more: its set lets it go and makes another.
    fn relabel(&mut self) {
        if let Some(pod) = self.any_pod() {
            self.send(Method::PATCH, &pod, &json!({"metadata": {"labels": {"app": "none"}}}));
            self.network.struck(Fault::Relabelled);
        }
    }

    /// A pod without an owner that a selector matches again: its set adopts it.
    fn give_back(&mut self) {
        let strays: Vec<Value> =
            self.network.all("/pods").into_iter().filter(|p| live(p) && p["metadata"]["labels"]["app"] == "none").collect();
        for pod in strays.iter().filter(|p| controller(p).is_none()) {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let app = name.splitn(3, '-').take(2).collect::<Vec<_>>().join("-");
            self.send(Method::PATCH, &format!("{PODS}/{name}"), &json!({"metadata": {"labels": {"app": app}}}));
            self.network.struck(Fault::Orphaned);
        }
    }

    fn delete_pods(&mut self) {
        for _ in 0..1 + self.dice.pick(0..3) {
            if let Some(pod) = self.any_pod() {
                self.send(Method::DELETE, &pod, &Value::Null);
                self.network.struck(Fault::PodDeleted);
            }
        }
    }

    /// Leaves every workload in a state that can be reached: nothing paused, and templates that run (some are left broken, so that their
    /// deadlines can be seen to be told).
    pub fn settle(&mut self) {
        for n in 0..self.deployments.len() {
            let path = format!("{APPS}/deployments/{}", self.deployments[n]);
            self.send(Method::PATCH, &path, &json!({"spec": {"paused": null}}));
            self.images += 1;
            let image = if self.dice.percent(25) { format!("app:bad{}", self.images) } else { format!("app:v{}", self.images) };
            self.set_image(&path, &image);
        }
    }

    fn send(&self, method: Method, path: &str, body: &Value) {
        // Refusals are part of life: the object may be gone.
        let _ = self.network.act(Actor::User, method, path, body);
    }
}

fn template(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"terminationGracePeriodSeconds": 2, "containers": [{"name": "c", "image": image}]}})
}

/// How long people act.
pub const ACTING: Duration = Duration::from_secs(70);
