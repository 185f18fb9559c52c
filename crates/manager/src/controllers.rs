//! Names of controllers, and which of them run (manager 2).

use evenkeel_plan::About;

/// The loops that this program has.
pub const LOOPS: [&About; 6] = [
    &evenkeel_deployment::ABOUT,
    &evenkeel_replicaset::REPLICA_SET,
    &evenkeel_replicaset::REPLICATION_CONTROLLER,
    &evenkeel_namespace::ABOUT,
    &evenkeel_pod_gc::ABOUT,
    &evenkeel_garbage_collector::ABOUT,
];

/// A controller that the stock manager knows: canonical name, alias (empty: none), on by default.
type Known = (&'static str, &'static str, bool);

/// All names of manager 2.1, those of loops not built yet included: a drop-in accepts them.
#[rustfmt::skip]
const KNOWN: &[Known] = &[
    ("endpoints-controller", "endpoint", true),
    ("endpointslice-controller", "endpointslice", true),
    ("endpointslice-mirroring-controller", "endpointslicemirroring", true),
    ("replicationcontroller-controller", "replicationcontroller", true),
    ("pod-garbage-collector-controller", "podgc", true),
    ("resourcequota-controller", "resourcequota", true),
    ("namespace-controller", "namespace", true),
    ("serviceaccount-controller", "serviceaccount", true),
    ("garbage-collector-controller", "garbagecollector", true),
    ("daemonset-controller", "daemonset", true),
    ("job-controller", "job", true),
    ("deployment-controller", "deployment", true),
    ("replicaset-controller", "replicaset", true),
    ("horizontal-pod-autoscaler-controller", "horizontalpodautoscaling", true),
    ("disruption-controller", "disruption", true),
    ("statefulset-controller", "statefulset", true),
    ("cronjob-controller", "cronjob", true),
    ("certificatesigningrequest-signing-controller", "csrsigning", true),
    ("certificatesigningrequest-approving-controller", "csrapproving", true),
    ("certificatesigningrequest-cleaner-controller", "csrcleaner", true),
    ("podcertificaterequest-cleaner-controller", "", false),
    ("ttl-controller", "ttl", true),
    ("bootstrap-signer-controller", "bootstrapsigner", false),
    ("token-cleaner-controller", "tokencleaner", false),
    ("node-ipam-controller", "nodeipam", true),
    ("node-lifecycle-controller", "nodelifecycle", true),
    ("taint-eviction-controller", "", true),
    ("service-lb-controller", "service", true),
    ("node-route-controller", "route", true),
    ("cloud-node-lifecycle-controller", "cloud-node-lifecycle", true),
    ("persistentvolume-binder-controller", "persistentvolume-binder", true),
    ("persistentvolume-attach-detach-controller", "attachdetach", true),
    ("persistentvolume-expander-controller", "persistentvolume-expander", true),
    ("persistentvolumeclaim-protection-controller", "pvc-protection", true),
    ("persistentvolume-protection-controller", "pv-protection", true),
    ("volumeattributesclass-protection-controller", "", true),
    ("ephemeral-volume-controller", "ephemeral-volume", true),
    ("clusterrole-aggregation-controller", "clusterrole-aggregation", true),
    ("ttl-after-finished-controller", "ttl-after-finished", true),
    ("root-ca-certificate-publisher-controller", "root-ca-cert-publisher", true),
    ("kube-apiserver-serving-clustertrustbundle-publisher-controller", "", false),
    ("storageversion-garbage-collector-controller", "storage-version-gc", false),
    ("resourceclaim-controller", "resource-claim-controller", true),
    ("resourcepoolstatusrequest-controller", "", false),
    ("device-taint-eviction-controller", "", true),
    ("podgroup-protection-controller", "", false),
    ("legacy-serviceaccount-token-cleaner-controller", "legacy-service-account-token-cleaner", true),
    ("validatingadmissionpolicy-status-controller", "", true),
    ("service-cidr-controller", "", true),
    ("storage-version-migrator-controller", "svm", false),
    ("selinux-warning-controller", "", false),
];

/// What `--controllers` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection(Vec<String>);

/// Entries that name nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown controllers: {unknown:?}")]
pub struct SelectionError {
    /// The names.
    pub unknown: Vec<String>,
}

impl Default for Selection {
    fn default() -> Self {
        Self(vec!["*".to_owned()])
    }
}

impl Selection {
    /// Reads a comma list; aliases become canonical names.
    pub fn parse(list: &str) -> Result<Self, SelectionError> {
        let mut unknown = Vec::new();
        let mut entries = Vec::new();
        for entry in list.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            let (sign, name) = entry.strip_prefix('-').map_or(("", entry), |name| ("-", name));
            if entry == "*" {
                entries.push(entry.to_owned());
            } else if let Some((canonical, ..)) =
                KNOWN.iter().find(|(canonical, alias, _)| *canonical == name || (*alias == name && !name.is_empty()))
            {
                entries.push(format!("{sign}{canonical}"));
            } else {
                unknown.push(name.to_owned());
            }
        }
        if unknown.is_empty() { Ok(Self(entries)) } else { Err(SelectionError { unknown }) }
    }

    /// Whether a controller runs: the first entry that names it decides, else `*` and its default (manager 2.2.2).
    pub fn runs(&self, name: &str) -> bool {
        for entry in &self.0 {
            if entry == name {
                return true;
            }
            if entry.strip_prefix('-') == Some(name) {
                return false;
            }
        }
        self.0.iter().any(|e| e == "*") && KNOWN.iter().any(|(canonical, _, on)| *canonical == name && *on)
    }

    /// Controllers that the stock manager would run with this selection and that this program does not have.
    pub fn missing(&self) -> Vec<&'static str> {
        KNOWN.iter().map(|(name, ..)| *name).filter(|name| self.runs(name) && !LOOPS.iter().any(|l| l.name == *name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loop_is_a_known_controller_under_its_alias() {
        for about in LOOPS {
            assert!(KNOWN.contains(&(about.name, about.alias, true)), "{}", about.name);
        }
    }

    #[test]
    fn what_nobody_runs_is_told() {
        assert!(Selection::default().missing().contains(&"job-controller"));
        assert!(Selection::parse("deployment").unwrap().missing().is_empty());
    }
}
