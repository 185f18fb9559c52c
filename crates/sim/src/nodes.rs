//! The scheduler and the kubelets: pods are bound, run, become ready, fail, and end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use crate::{Fault, chance::Dice, history::Actor, network::Network};

/// Something happened to a pod that its node has to know.
#[derive(Debug, Clone)]
pub struct PodNews {
    /// `namespace/name`.
    pub key: String,
    /// Its uid.
    pub uid: String,
    /// It is to end, rather than to begin.
    pub ends: bool,
    /// It can never become ready.
    pub broken: bool,
}

#[derive(Debug, Clone, Copy)]
enum Job {
    Bind,
    Run,
    Fail,
    End,
}

/// Runs the nodes for ever.
pub async fn run_nodes(network: Arc<Network>, mut news: mpsc::UnboundedReceiver<PodNews>, seed: u64, calm_after: Duration) {
    let mut dice = Dice::new(seed, 2);
    let start = Instant::now();
    let mut jobs: BTreeMap<(Instant, u64), (PodNews, Job)> = BTreeMap::new();
    let mut count = 0;
    loop {
        let next = jobs.first_key_value().map_or(Instant::now() + Duration::from_secs(60), |((at, _), _)| *at);
        tokio::select! {
            biased;
            pod = news.recv() => {
                let Some(pod) = pod else { return };
                let (at, job) = match pod.ends {
                    true => (dice.ms(100..1500), Job::End),
                    false => (dice.ms(20..400), Job::Bind),
                };
                jobs.insert((Instant::now() + at, count), (pod, job));
                count += 1;
            }
            () = tokio::time::sleep_until(next) => {
                let Some((_, (pod, job))) = jobs.pop_first() else { continue };
                if let Some((after, job)) = do_job(&network, &pod, job, &mut dice, start.elapsed() < calm_after) {
                    jobs.insert((Instant::now() + after, count), (pod, job));
                    count += 1;
                }
            }
        }
    }
}

fn do_job(network: &Network, pod: &PodNews, job: Job, dice: &mut Dice, faults: bool) -> Option<(Duration, Job)> {
    let (namespace, name) = pod.key.split_once('/')?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let send = |method, path: &str, body: &Value| network.act(Actor::Node, method, path, body).0.is_success();
    match job {
        Job::Bind => {
            let target = json!({"apiVersion": "v1", "kind": "Node", "name": format!("node-{}", dice.pick(0..3))});
            let meta = json!({"name": name, "namespace": namespace, "uid": pod.uid});
            send(
                Method::POST,
                &format!("{path}/binding"),
                &json!({"apiVersion": "v1", "kind": "Binding", "metadata": meta, "target": target}),
            );
            Some((dice.ms(100..2500), Job::Run))
        }
        Job::Run => {
            let ready = if pod.broken { "False" } else { "True" };
            let at = network.stamp();
            let conditions = json!([{"type": "Ready", "status": ready, "lastTransitionTime": at}]);
            let status = json!({"phase": "Running", "startTime": at, "conditions": conditions});
            send(Method::PATCH, &format!("{path}/status"), &json!({"metadata": {"uid": pod.uid}, "status": status}));
            (faults && dice.percent(6)).then(|| (dice.ms(500..15_000), Job::Fail))
        }
        // Planned before peace came.
        Job::Fail if !faults => None,
        Job::Fail => {
            let conditions = json!([{"type": "Ready", "status": "False", "lastTransitionTime": network.stamp()}]);
            if send(
                Method::PATCH,
                &format!("{path}/status"),
                &json!({"metadata": {"uid": pod.uid}, "status": {"phase": "Failed", "conditions": conditions}}),
            ) {
                network.struck(Fault::PodFailed);
            }
            None
        }
        Job::End => {
            send(
                Method::DELETE,
                &path,
                &json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}}),
            );
            None
        }
    }
}
