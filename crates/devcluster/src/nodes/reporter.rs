//! The events that the scheduler and the kubelets report about pods.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_apiserver::Clock;
use serde_json::json;
use tokio::time::Instant;
use tracing::debug;

use super::machines::seconds;
use crate::api::Api;

/// Events that are reported per second, over all nodes; further ones are dropped, as kubelets do under load.
const EVENTS_PER_SECOND: u32 = 50;

/// Who reports.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// The scheduler.
    Scheduler,
    /// The kubelet of this node.
    Kubelet(&'a str),
}

/// The pod that an event is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
}

/// Writes events, at a bounded pace.
pub(super) struct Reporter {
    scheduler: Api,
    kubelet: Api,
    clock: Arc<dyn Clock>,
    enabled: bool,
    left: u32,
    since: Instant,
    written: u64,
}

impl Reporter {
    pub(super) fn new(scheduler: Api, kubelet: Api, clock: Arc<dyn Clock>, enabled: bool) -> Self {
        Self { scheduler, kubelet, clock, enabled, left: EVENTS_PER_SECOND, since: Instant::now(), written: 0 }
    }

    /// Reports an event. `kind` is `Normal` or `Warning`.
    pub(super) fn event(&mut self, source: Source<'_>, about: About<'_>, kind: &str, reason: &str, message: &str) {
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.since, self.left) = (Instant::now(), EVENTS_PER_SECOND);
        }
        if !self.enabled || self.left == 0 {
            return;
        }
        self.left -= 1;
        self.written += 1;
        let About { namespace, name, uid } = about;
        let (api, component, from) = match source {
            Source::Scheduler => (&self.scheduler, "default-scheduler", json!({"component": "default-scheduler"})),
            Source::Kubelet(node) => (&self.kubelet, "kubelet", json!({"component": "kubelet", "host": node})),
        };
        let now = self.clock.now();
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": format!("{name}.{:x}{:04x}", now.as_microsecond(), self.written & 0xffff), "namespace": namespace},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid},
            "type": kind,
            "reason": reason,
            "message": message,
            "source": from,
            "reportingComponent": component,
            "reportingInstance": "",
            "firstTimestamp": seconds(now),
            "lastTimestamp": seconds(now),
            "count": 1,
        });
        if let Err(error) = api.create(&format!("/api/v1/namespaces/{namespace}/events"), &event) {
            debug!(%error, namespace, name, reason, "an event was refused");
        }
    }
}
