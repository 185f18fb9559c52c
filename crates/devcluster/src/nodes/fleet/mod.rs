//! The shell of the simulated nodes: follows nodes and pods, waits for due times, carries decisions out. One task, one thing at a time.

mod binding;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_apiserver::Clock;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::NodeOptions;
use super::behaviour::{Behaviour, End};
use super::kubelet::{Facts, Shape, Stage, status_patch};
use super::machines;
use super::reporter::{About, Reporter, Source};
use super::scheduler::{NodeView, Request, controller};
use crate::api::{Api, Change, Follow, PatchType, Refused};

/// How often kubelets renew their Leases.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long the fleet waits before it asks again when the server refuses a list or fails a write.
const RETRY: Duration = Duration::from_secs(1);
/// First and longest wait before ended containers are run again.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What happens to a pod at a due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Start,
    BecomeReady,
    End,
    Restart,
    Stop,
}

/// A pod on a simulated node.
struct Placed {
    namespace: String,
    name: String,
    node: String,
    number: u32,
    request: Request,
    owner: Option<String>,
    behaviour: Behaviour,
    shape: Shape,
    generation: i64,
    ip: Option<Ipv4Addr>,
    stage: Option<Stage>,
    seen_at: Timestamp,
    started_at: Timestamp,
    restart_count: u32,
    last_code: Option<u8>,
    gates_hold: bool,
    stopping: bool,
}

/// A pod that waits for a node.
struct Waiting {
    pod: Value,
    /// Why no node was found, so that it is said once.
    reason: Option<String>,
}

/// All simulated nodes and the scheduler.
pub struct Fleet {
    scheduler: Api,
    kubelet: Api,
    clock: Arc<dyn Clock>,
    options: NodeOptions,
    nodes: BTreeMap<String, NodeView>,
    placed: BTreeMap<String, Placed>,
    waiting: BTreeMap<String, Waiting>,
    due: BTreeMap<(Instant, u64), (String, Step)>,
    addresses: BTreeSet<Ipv4Addr>,
    next_address: BTreeMap<u32, u16>,
    ticks: u64,
    reporter: Reporter,
}

impl Fleet {
    /// A fleet that is not registered yet.
    pub fn new(scheduler: Api, kubelet: Api, clock: Arc<dyn Clock>, options: NodeOptions) -> Self {
        let reporter = Reporter::new(scheduler.clone(), kubelet.clone(), Arc::clone(&clock), options.events);
        Self {
            scheduler,
            kubelet,
            clock,
            reporter,
            options,
            nodes: BTreeMap::new(),
            placed: BTreeMap::new(),
            waiting: BTreeMap::new(),
            due: BTreeMap::new(),
            addresses: BTreeSet::new(),
            next_address: BTreeMap::new(),
            ticks: 0,
        }
    }

    /// Registers the nodes, then reacts until dropped.
    pub async fn run(mut self) {
        self.register();
        let mut nodes = Follow::new(self.scheduler.clone(), "/api/v1/nodes");
        let mut pods = Follow::new(self.scheduler.clone(), "/api/v1/pods");
        let mut heartbeats = tokio::time::interval(HEARTBEAT);
        heartbeats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut turns = 0_u32;
        loop {
            let next_due = self.due.keys().next().map_or_else(|| Instant::now() + Duration::from_secs(3600), |(at, _)| *at);
            tokio::select! {
                biased;
                () = sleep_until(next_due) => self.carry_out_due(),
                _ = heartbeats.tick() => self.heartbeat(),
                change = nodes.next() => match change {
                    Ok(change) => self.nodes_changed(change),
                    Err(error) => refused_list("nodes", &error).await,
                },
                change = pods.next() => match change {
                    Ok(change) => self.pods_changed(change),
                    Err(error) => refused_list("pods", &error).await,
                },
            }
            // What is in this process answers at once: leave the thread to others now and then.
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(32) {
                tokio::task::yield_now().await;
            }
        }
    }

    fn pods_changed(&mut self, change: Change) {
        match change {
            Change::All(pods) => {
                let uids: BTreeSet<String> = pods.iter().map(|pod| text(&pod["metadata"]["uid"])).collect();
                self.waiting.retain(|uid, _| uids.contains(uid));
                let gone: Vec<String> = self.placed.keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
                gone.iter().for_each(|uid| self.forget(uid));
                pods.into_iter().for_each(|pod| self.pod_set(pod));
            }
            Change::Set(pod) => self.pod_set(pod),
            Change::Gone(pod) => {
                let uid = text(&pod["metadata"]["uid"]);
                self.waiting.remove(&uid);
                self.forget(&uid);
                self.schedule_waiting();
            }
        }
    }

    fn pod_set(&mut self, pod: Value) {
        let uid = text(&pod["metadata"]["uid"]);
        let node = text(&pod["spec"]["nodeName"]);
        let over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if node.is_empty() {
            let ours = matches!(pod["spec"]["schedulerName"].as_str(), None | Some("" | "default-scheduler"));
            let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
            if over || !ours || gated || !pod["metadata"]["deletionTimestamp"].is_null() {
                self.waiting.remove(&uid);
                return;
            }
            let reason = self.waiting.remove(&uid).and_then(|before| before.reason);
            self.schedule(uid, Waiting { pod, reason });
            return;
        }
        self.waiting.remove(&uid);
        if !self.placed.contains_key(&uid) {
            self.place(&uid, &node, &pod);
        }
        let Some(placed) = self.placed.get_mut(&uid) else { return };
        placed.generation = pod["metadata"]["generation"].as_i64().unwrap_or(1);
        let gates_hold = placed.shape.gates_hold(&pod);
        let gates_turned = gates_hold != placed.gates_hold;
        placed.gates_hold = gates_hold;
        let beside = Shape::of(&pod).ephemeral_containers;
        let joined = beside != placed.shape.ephemeral_containers;
        placed.shape.ephemeral_containers = beside;
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            if !placed.stopping {
                placed.stopping = true;
                let grace = Duration::from_secs(pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(30));
                let wait = placed.behaviour.stop_after.unwrap_or(self.options.stop_delay).min(grace);
                if placed.stage.is_some_and(|stage| !matches!(stage, Stage::Ended { .. })) {
                    self.report(&uid, "Normal", "Killing", "Stopping container");
                }
                self.after(wait, &uid, Step::Stop);
            }
        } else if (gates_turned || joined) && matches!(placed.stage, Some(Stage::Running { .. })) {
            self.write_status(&uid, Step::BecomeReady);
        }
    }

    /// Takes a pod that was bound to one of our nodes.
    fn place(&mut self, uid: &str, node: &str, pod: &Value) {
        let Some(number) = (1..=self.options.count).find(|n| machines::node_name(*n) == node) else { return };
        let now = self.clock.now();
        let behaviour = Behaviour::of(pod, self.options.run_for);
        let shape = Shape::of(pod);
        // A pod that ran before this process started runs on.
        let ready =
            pod["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
        let stage = match pod["status"]["phase"].as_str() {
            Some("Running") => Some(Stage::Running { ready }),
            Some("Succeeded") => Some(Stage::Ended { code: 0 }),
            Some("Failed") => Some(Stage::Ended { code: 1 }),
            _ => None,
        };
        let ip = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok());
        self.addresses.extend(ip);
        let placed = Placed {
            namespace: text(&pod["metadata"]["namespace"]),
            name: text(&pod["metadata"]["name"]),
            node: node.to_owned(),
            number,
            request: Request::of(pod),
            owner: controller(pod).map(str::to_owned),
            gates_hold: shape.gates_hold(pod),
            behaviour,
            shape,
            generation: 1,
            ip,
            stage,
            seen_at: now,
            started_at: now,
            restart_count: 0,
            last_code: None,
            stopping: false,
        };
        if let Some(view) = self.nodes.get_mut(node) {
            count_in(view, placed.request, placed.owner.as_deref());
        }
        self.placed.insert(uid.to_owned(), placed);
        match stage {
            None => self.after(self.options.start_delay, uid, Step::Start),
            Some(Stage::Running { .. }) => self.plan_running(uid),
            Some(_) => {}
        }
    }

    fn forget(&mut self, uid: &str) {
        let Some(placed) = self.placed.remove(uid) else { return };
        if let Some(ip) = placed.ip {
            self.addresses.remove(&ip);
        }
        if let Some(view) = self.nodes.get_mut(&placed.node) {
            view.pods = view.pods.saturating_sub(1);
            view.used.cpu = view.used.cpu.saturating_sub(placed.request.cpu);
            view.used.memory = view.used.memory.saturating_sub(placed.request.memory);
            if let Some(owner) = &placed.owner
                && let Some(count) = view.of_owner.get_mut(owner)
            {
                *count -= 1;
                if *count == 0 {
                    view.of_owner.remove(owner);
                }
            }
        }
    }

    fn after(&mut self, wait: Duration, uid: &str, step: Step) {
        self.ticks += 1;
        self.due.insert((Instant::now() + wait, self.ticks), (uid.to_owned(), step));
    }

    fn carry_out_due(&mut self) {
        let now = Instant::now();
        // A bounded batch, so that watches are read in between.
        for _ in 0..64 {
            match self.due.first_key_value() {
                Some(((at, _), _)) if *at <= now => {}
                _ => return,
            }
            let Some((_, (uid, step))) = self.due.pop_first() else { return };
            self.carry_out(&uid, step);
        }
    }

    fn carry_out(&mut self, uid: &str, step: Step) {
        let Some(placed) = self.placed.get_mut(uid) else { return };
        if placed.stopping && step != Step::Stop {
            return;
        }
        let now = self.clock.now();
        match step {
            Step::Start if placed.behaviour.unpullable => {
                placed.stage = Some(Stage::PullBackOff);
                let image = placed.shape.containers.first().map(|(_, image)| image.clone()).unwrap_or_default();
                self.report(uid, "Warning", "Failed", &format!("Failed to pull image \"{image}\": no such image"));
                self.report(uid, "Normal", "BackOff", &format!("Back-off pulling image \"{image}\""));
                self.write_status(uid, step);
            }
            Step::Start | Step::Restart => {
                placed.stage = Some(Stage::Running { ready: false });
                placed.started_at = now;
                if step == Step::Restart {
                    placed.restart_count += 1;
                }
                let (number, ip) = (placed.number, placed.ip);
                if ip.is_none() {
                    let address = self.allocate(number);
                    self.addresses.extend(address);
                    if let Some(placed) = self.placed.get_mut(uid) {
                        placed.ip = address;
                    }
                }
                self.report(uid, "Normal", "Started", "Started container");
                // Nobody sees a difference between a pod that becomes Ready at once and one that does in a later write.
                self.write_status(uid, step);
                self.plan_running(uid);
            }
            Step::BecomeReady => {
                placed.stage = Some(Stage::Running { ready: true });
                self.write_status(uid, step);
            }
            Step::End => {
                let End { code, .. } = placed.behaviour.ends.unwrap_or(End { after: Duration::ZERO, code: 0 });
                if placed.shape.restarts.again(code) {
                    let wait = BACK_OFF.0.saturating_mul(1 << placed.restart_count.min(5)).min(BACK_OFF.1);
                    placed.stage = Some(Stage::CrashBackOff { code });
                    placed.last_code = Some(code);
                    self.report(uid, "Warning", "BackOff", "Back-off restarting failed container");
                    self.after(wait, uid, Step::Restart);
                } else {
                    placed.stage = Some(Stage::Ended { code });
                }
                self.write_status(uid, step);
            }
            Step::Stop => self.stop(uid),
        }
    }

    /// What a pod that runs is to do next.
    fn plan_running(&mut self, uid: &str) {
        let Some(placed) = self.placed.get(uid) else { return };
        let (behaviour, stage) = (placed.behaviour.clone(), placed.stage);
        if let Some(end) = behaviour.ends {
            self.after(end.after, uid, Step::End);
        }
        if !behaviour.never_ready && stage == Some(Stage::Running { ready: false }) {
            let wait = behaviour.ready_after.unwrap_or(self.options.ready_delay);
            // A pod that ends before it would become Ready does not.
            if behaviour.ends.is_none_or(|end| wait < end.after) {
                self.after(wait, uid, Step::BecomeReady);
            }
        }
    }

    /// The containers stop, then the pod goes.
    fn stop(&mut self, uid: &str) {
        let Some(placed) = self.placed.get_mut(uid) else { return };
        let runs = matches!(placed.stage, Some(Stage::Running { .. } | Stage::CrashBackOff { .. }));
        let path = format!("/api/v1/namespaces/{}/pods/{}", placed.namespace, placed.name);
        if runs {
            // A server stops well-behaved when it is told to; whatever should have ended by itself was cut off (SIGTERM).
            let code = if placed.behaviour.ends.is_none() { 0 } else { 143 };
            placed.stage = Some(Stage::Ended { code });
            self.write_status(uid, Step::Stop);
        }
        match self.kubelet.delete_now(&path, uid) {
            Ok(_) => {}
            Err(error) if error.not_found() || error.reason == "Conflict" => debug!(%error, path, "a pod was gone already"),
            Err(error) => {
                warn!(%error, path, "a pod could not be removed");
                self.after(RETRY, uid, Step::Stop);
            }
        }
    }

    fn write_status(&mut self, uid: &str, step: Step) {
        let Some(placed) = self.placed.get(uid) else { return };
        let Some(stage) = placed.stage else { return };
        let ip = placed.ip.map(|ip| ip.to_string()).unwrap_or_default();
        let facts = Facts {
            uid,
            generation: placed.generation,
            ip: &ip,
            node_ip: &machines::node_ip(placed.number),
            seen_at: placed.seen_at,
            started_at: placed.started_at,
            restart_count: placed.restart_count,
            last_code: placed.last_code,
            gates_hold: placed.gates_hold,
        };
        let patch = status_patch(&placed.shape, stage, &facts, self.clock.now());
        let path = format!("/api/v1/namespaces/{}/pods/{}/status", placed.namespace, placed.name);
        match self.kubelet.patch(&path, PatchType::Strategic, &patch) {
            Ok(_) => {}
            Err(error) if error.not_found() || error.reason == "Conflict" => debug!(%error, path, "a pod's status was refused"),
            Err(error) => warn!(%error, path, ?step, "a pod's status could not be written"),
        }
    }

    /// An address of the node's range that no pod has.
    fn allocate(&mut self, number: u32) -> Option<Ipv4Addr> {
        let (a, b) = machines::pod_prefix(number);
        let next = self.next_address.entry(number).or_insert(0);
        (0..u16::MAX).find_map(|_| {
            *next = if *next >= u16::MAX - 1 { 1 } else { *next + 1 };
            let [c, d] = next.to_be_bytes();
            let address = Ipv4Addr::new(a, b, c, d);
            (!self.addresses.contains(&address)).then_some(address)
        })
    }

    fn report(&mut self, uid: &str, kind: &str, reason: &str, message: &str) {
        let Some(placed) = self.placed.get(uid) else { return };
        let about = About { namespace: &placed.namespace, name: &placed.name, uid };
        self.reporter.event(Source::Kubelet(&placed.node), about, kind, reason, message);
    }
}

fn count_in(view: &mut NodeView, request: Request, owner: Option<&str>) {
    view.pods += 1;
    view.used.cpu = view.used.cpu.saturating_add(request.cpu);
    view.used.memory = view.used.memory.saturating_add(request.memory);
    if let Some(owner) = owner {
        *view.of_owner.entry(owner.to_owned()).or_default() += 1;
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn refused_list(what: &str, error: &Refused) {
    warn!(%error, what, "a list was refused");
    tokio::time::sleep(RETRY).await;
}
