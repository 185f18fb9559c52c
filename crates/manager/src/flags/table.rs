//! The stock manager's flags, one row each (manager 1). What a row says is all that there is to say about a flag: the parser, the warnings
//! about flags without effect and the documentation are made from it.

/// What a flag's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `--x`, `--x=false`.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// A duration such as `15s` or `1h30m`.
    Duration,
    /// Any text.
    Text,
    /// A comma list; the flag may repeat.
    List,
}

/// What giving a flag does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// What it does in the stock manager, or what this program documents.
    Full,
    /// Nothing yet: the part that it belongs to is not built. A value other than the default is warned about once.
    NotYet,
    /// Nothing, as in the stock manager.
    None,
}

/// One flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Name without dashes.
    pub name: &'static str,
    /// Form of the value.
    pub kind: Kind,
    /// Default value as text.
    pub default: &'static str,
    /// What it does.
    pub effect: Effect,
    /// Heading under which help and documentation show it.
    pub area: &'static str,
    /// One phrase for help.
    pub help: &'static str,
}

const fn flag(area: &'static str, effect: Effect, kind: Kind, name: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, effect, area, help }
}

use Effect::{Full, None as Nothing, NotYet};
use Kind::{Bool, Duration, Float, Int, List, Text};

/// All flags, by area.
#[rustfmt::skip]
pub const FLAGS: &[Flag] = &[
    flag("generic", Full, Text, "kubeconfig", "", "kubeconfig file; without it and --master the in-cluster configuration is used"),
    flag("generic", Full, Text, "master", "", "address of the API server; overrides the kubeconfig's"),
    flag("generic", Full, Float, "kube-api-qps", "20", "most requests per second; without it concurrency adapts to the server instead"),
    flag("generic", Full, Int, "kube-api-burst", "30", "most requests at once on top of --kube-api-qps"),
    flag("generic", Nothing, Text, "kube-api-content-type", "application/vnd.kubernetes.protobuf", "wire form; JSON is spoken, which every server accepts"),
    flag("generic", Full, List, "controllers", "*", "controllers to run: 'name' on, '-name' off, '*' all that are on by default; the first entry that names one decides"),
    flag("generic", Nothing, Duration, "min-resync-period", "12h0m0s", "there is no periodic resync"),
    flag("generic", Nothing, Duration, "controller-start-interval", "0s", "controllers start together"),
    flag("generic", Full, Duration, "controller-shutdown-timeout", "10s", "how long to wait for passes under way at shutdown; 0: for ever"),
    flag("generic", NotYet, Bool, "use-service-account-credentials", "false", "one service account per controller"),
    flag("generic", NotYet, List, "feature-gates", "", "A=true,B=false"),
    flag("generic", NotYet, List, "emulated-version", "", "version to emulate"),
    flag("generic", NotYet, List, "min-compatibility-version", "", "lowest compatible version"),
    flag("generic", NotYet, Bool, "emulation-forward-compatible", "false", "newer APIs under an emulated version"),
    flag("generic", NotYet, Bool, "runtime-config-emulation-forward-compatible", "false", "newer APIs under an emulated version"),
    flag("generic", NotYet, Text, "cluster-name", "kubernetes", "used by volume plugins only"),
    flag("generic", NotYet, Text, "cloud-provider", "", "empty or 'external'"),
    flag("generic", Nothing, Text, "cloud-config", "", "built-in clouds are gone"),
    flag("generic", Nothing, Text, "external-cloud-volume-plugin", "", "built-in clouds are gone"),
    flag("generic", Nothing, Bool, "configure-cloud-routes", "true", "built-in clouds are gone"),
    flag("generic", Nothing, Duration, "route-reconciliation-period", "10s", "built-in clouds are gone"),
    flag("generic", Nothing, Bool, "allow-untagged-cloud", "false", "deprecated"),
    flag("generic", Nothing, Duration, "node-sync-period", "0s", "deprecated"),
    flag("generic", NotYet, Bool, "allocate-node-cidrs", "false", "enables node IPAM"),
    flag("generic", NotYet, Text, "cluster-cidr", "", "one or two pod CIDRs"),
    flag("generic", NotYet, Text, "cidr-allocator-type", "RangeAllocator", "allocator of node CIDRs"),
    flag("generic", NotYet, Duration, "node-monitor-period", "5s", "node lifecycle loop"),
    flag("generic", NotYet, Bool, "profiling", "true", "profiling pages"),
    flag("generic", NotYet, Bool, "contention-profiling", "false", "profiling of locks"),
    flag("generic", Nothing, Int, "concurrent-service-syncs", "1", "cloud service controller"),

    flag("leader election", Full, Bool, "leader-elect", "true", "campaign for leadership before acting"),
    flag("leader election", Full, Duration, "leader-elect-lease-duration", "15s", "how long others wait after the last renewal that they saw"),
    flag("leader election", Full, Duration, "leader-elect-renew-deadline", "10s", "how long the leader acts after its last renewal"),
    flag("leader election", Full, Duration, "leader-elect-retry-period", "2s", "pause between attempts"),
    flag("leader election", Full, Text, "leader-elect-resource-lock", "leases", "only 'leases'"),
    flag("leader election", Full, Text, "leader-elect-resource-name", "kube-controller-manager", "name of the Lease"),
    flag("leader election", Full, Text, "leader-elect-resource-namespace", "kube-system", "namespace of the Lease"),
    flag("leader election", Full, Bool, "leader-elect-exit-on-loss", "false", "end with exit code 1 when leadership is lost, as the stock manager does, instead of standing by again"),
    flag("leader election", Full, Text, "leader-elect-identity", "", "identity in the Lease instead of <hostname>_<random>; two processes must never share one"),

    flag("concurrency", Full, Int, "concurrent-deployment-syncs", "5", "Deployments at once"),
    flag("concurrency", Full, Int, "concurrent-replicaset-syncs", "5", "ReplicaSets at once"),
    flag("concurrency", Full, Int, "concurrent-rc-syncs", "5", "ReplicationControllers at once"),
    flag("concurrency", NotYet, Int, "concurrent-statefulset-syncs", "5", "StatefulSets at once"),
    flag("concurrency", NotYet, Int, "concurrent-daemonset-syncs", "2", "DaemonSets at once"),
    flag("concurrency", NotYet, Int, "concurrent-job-syncs", "5", "Jobs at once"),
    flag("concurrency", NotYet, Int, "concurrent-cron-job-syncs", "5", "CronJobs at once"),
    flag("concurrency", NotYet, Int, "concurrent-ttl-after-finished-syncs", "5", "finished Jobs at once"),
    flag("concurrency", NotYet, Int, "concurrent-horizontal-pod-autoscaler-syncs", "5", "autoscalers at once"),
    flag("concurrency", NotYet, Int, "concurrent-validating-admission-policy-status-syncs", "5", "policies at once"),
    flag("concurrency", Full, Int, "concurrent-namespace-syncs", "10", "namespaces at once"),
    flag("concurrency", NotYet, Int, "concurrent-resource-quota-syncs", "5", "quotas at once"),
    flag("concurrency", NotYet, Int, "concurrent-serviceaccount-token-syncs", "5", "service account tokens at once"),
    flag("concurrency", Full, Int, "concurrent-gc-syncs", "20", "objects collected at once"),
    flag("concurrency", NotYet, Int, "concurrent-endpoint-syncs", "5", "Endpoints at once"),
    flag("concurrency", NotYet, Int, "concurrent-service-endpoint-syncs", "5", "Services at once"),
    flag("concurrency", NotYet, Int, "mirroring-concurrent-service-endpoint-syncs", "5", "mirrored Endpoints at once"),
    flag("concurrency", NotYet, Int, "concurrent-ephemeralvolume-syncs", "5", "ephemeral volumes at once"),
    flag("concurrency", NotYet, Int, "concurrent-resourceclaim-syncs", "50", "resource claims at once"),
    flag("concurrency", NotYet, Int, "concurrent-device-taint-eviction-syncs", "8", "device taint evictions at once"),

    flag("endpoints", NotYet, Duration, "endpoint-updates-batch-period", "0s", "batching of Endpoints"),
    flag("endpoints", NotYet, Duration, "endpointslice-updates-batch-period", "0s", "batching of EndpointSlices"),
    flag("endpoints", NotYet, Int, "max-endpoints-per-slice", "100", "endpoints of one slice"),
    flag("endpoints", NotYet, Int, "mirroring-max-endpoints-per-subset", "1000", "mirrored endpoints of one subset"),
    flag("endpoints", NotYet, Duration, "mirroring-endpointslice-updates-batch-period", "0s", "batching of mirrored slices"),

    flag("garbage collection", Full, Bool, "enable-garbage-collector", "true", "collect by owner references"),
    flag("garbage collection", Full, List, "gc-budget", "1000/20%/1m", "[RESOURCE=]OBJECTS/PERCENT%/WINDOW: what may be collected of one kind before it is warned about; a fifth and a quarter of that in a leader's first five minutes"),
    flag("garbage collection", Full, Bool, "gc-hold-over-budget", "false", "hold what is over --gc-budget until 'evenkeel gc release' lets it go"),
    flag("garbage collection", Full, Int, "terminated-pod-gc-threshold", "12500", "ended pods kept; 0: all of them"),

    flag("autoscaling", NotYet, Duration, "horizontal-pod-autoscaler-sync-period", "15s", "period"),
    flag("autoscaling", NotYet, Duration, "horizontal-pod-autoscaler-downscale-stabilization", "5m0s", "look back before scaling down"),
    flag("autoscaling", NotYet, Float, "horizontal-pod-autoscaler-tolerance", "0.1", "tolerance"),
    flag("autoscaling", NotYet, Duration, "horizontal-pod-autoscaler-cpu-initialization-period", "5m0s", "CPU samples skipped after a start"),
    flag("autoscaling", NotYet, Duration, "horizontal-pod-autoscaler-initial-readiness-delay", "30s", "readiness changes ignored after a start"),

    flag("namespaces and quota", Nothing, Duration, "namespace-sync-period", "5m0s", "there is no periodic resync"),
    flag("namespaces and quota", NotYet, Duration, "resource-quota-sync-period", "5m0s", "period"),

    flag("nodes", NotYet, Duration, "node-monitor-grace-period", "50s", "silence after which a node is unhealthy"),
    flag("nodes", NotYet, Duration, "node-startup-grace-period", "1m0s", "the same for a starting node"),
    flag("nodes", NotYet, Float, "node-eviction-rate", "0.1", "nodes per second"),
    flag("nodes", NotYet, Float, "secondary-node-eviction-rate", "0.01", "nodes per second in an unhealthy zone"),
    flag("nodes", NotYet, Int, "large-cluster-size-threshold", "50", "nodes that make a zone large"),
    flag("nodes", NotYet, Float, "unhealthy-zone-threshold", "0.55", "share of nodes that makes a zone unhealthy"),
    flag("nodes", NotYet, Int, "node-cidr-mask-size", "0", "mask of node CIDRs"),
    flag("nodes", NotYet, Int, "node-cidr-mask-size-ipv4", "0", "mask of IPv4 node CIDRs"),
    flag("nodes", NotYet, Int, "node-cidr-mask-size-ipv6", "0", "mask of IPv6 node CIDRs"),
    flag("nodes", NotYet, Text, "service-cluster-ip-range", "", "Service CIDRs, at most two"),

    flag("service accounts", NotYet, Text, "service-account-private-key-file", "", "key that signs service account tokens"),
    flag("service accounts", NotYet, Text, "root-ca-file", "", "root CA published to namespaces"),
    flag("service accounts", NotYet, Duration, "legacy-service-account-token-clean-up-period", "8760h0m0s", "age of unused tokens"),

    flag("certificates", NotYet, Text, "cluster-signing-cert-file", "", "signing certificate"),
    flag("certificates", NotYet, Text, "cluster-signing-key-file", "", "signing key"),
    flag("certificates", NotYet, Duration, "cluster-signing-duration", "8760h0m0s", "longest life of signed certificates"),
    flag("certificates", NotYet, Text, "cluster-signing-kubelet-serving-cert-file", "", "signing certificate"),
    flag("certificates", NotYet, Text, "cluster-signing-kubelet-serving-key-file", "", "signing key"),
    flag("certificates", NotYet, Text, "cluster-signing-kubelet-client-cert-file", "", "signing certificate"),
    flag("certificates", NotYet, Text, "cluster-signing-kubelet-client-key-file", "", "signing key"),
    flag("certificates", NotYet, Text, "cluster-signing-kube-apiserver-client-cert-file", "", "signing certificate"),
    flag("certificates", NotYet, Text, "cluster-signing-kube-apiserver-client-key-file", "", "signing key"),
    flag("certificates", NotYet, Text, "cluster-signing-legacy-unknown-cert-file", "", "signing certificate"),
    flag("certificates", NotYet, Text, "cluster-signing-legacy-unknown-key-file", "", "signing key"),

    flag("volumes", NotYet, Duration, "pvclaimbinder-sync-period", "15s", "period"),
    flag("volumes", NotYet, Bool, "enable-dynamic-provisioning", "true", "provision volumes"),
    flag("volumes", NotYet, Bool, "enable-hostpath-provisioner", "false", "provision host paths"),
    flag("volumes", NotYet, Text, "flex-volume-plugin-dir", "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/", "plugins"),
    flag("volumes", NotYet, Text, "pv-recycler-pod-template-filepath-nfs", "", "recycler pod"),
    flag("volumes", NotYet, Text, "pv-recycler-pod-template-filepath-hostpath", "", "recycler pod"),
    flag("volumes", NotYet, Int, "pv-recycler-minimum-timeout-nfs", "300", "seconds"),
    flag("volumes", NotYet, Int, "pv-recycler-increment-timeout-nfs", "30", "seconds per GiB"),
    flag("volumes", NotYet, Int, "pv-recycler-minimum-timeout-hostpath", "60", "seconds"),
    flag("volumes", NotYet, Int, "pv-recycler-timeout-increment-hostpath", "30", "seconds per GiB"),
    flag("volumes", NotYet, Duration, "attach-detach-reconcile-sync-period", "1m0s", "period"),
    flag("volumes", NotYet, Bool, "disable-attach-detach-reconcile-sync", "false", "no reconcile of attachments"),
    flag("volumes", NotYet, Bool, "disable-force-detach-on-timeout", "false", "no forced detach"),

    flag("leader migration", NotYet, Bool, "enable-leader-migration", "false", "a second Lease for some controllers"),
    flag("leader migration", NotYet, Text, "leader-migration-config", "", "which controllers"),

    flag("metrics", NotYet, List, "allow-metric-labels", "", "label values that metrics may have"),
    flag("metrics", NotYet, Text, "allow-metric-labels-manifest", "", "the same from a file"),
    flag("metrics", NotYet, List, "disabled-metrics", "", "metrics that are not shown"),
    flag("metrics", NotYet, Text, "show-hidden-metrics-for-version", "", "metrics of an older version"),

    flag("serving", Full, Text, "bind-address", "127.0.0.1", "address of health and metrics pages; the stock default is 0.0.0.0"),
    flag("serving", Full, Int, "secure-port", "10257", "port of health and metrics pages; 0: none"),
    flag("serving", Full, Text, "cert-dir", "", "where the self-made serving certificate is kept; empty: in memory"),
    flag("serving", Full, Text, "tls-cert-file", "", "serving certificate; reloaded when it changes"),
    flag("serving", Full, Text, "tls-private-key-file", "", "its key"),
    flag("serving", NotYet, List, "tls-sni-cert-key", "", "certificates by name"),
    flag("serving", NotYet, Text, "tls-min-version", "", "lowest TLS version; 1.2 at least"),
    flag("serving", NotYet, List, "tls-cipher-suites", "", "cipher suites"),
    flag("serving", NotYet, List, "tls-curve-preferences", "", "curves"),
    flag("serving", NotYet, Bool, "disable-http2-serving", "false", "HTTP/1.1 only"),
    flag("serving", NotYet, Int, "http2-max-streams-per-connection", "0", "streams"),
    flag("serving", NotYet, Bool, "permit-address-sharing", "false", "SO_REUSEADDR"),
    flag("serving", NotYet, Bool, "permit-port-sharing", "false", "SO_REUSEPORT"),

    flag("delegated access", NotYet, Text, "authentication-kubeconfig", "", "who asks for TokenReviews"),
    flag("delegated access", NotYet, Bool, "authentication-skip-lookup", "false", "do not read the authentication ConfigMap"),
    flag("delegated access", NotYet, Bool, "authentication-tolerate-lookup-failure", "false", "go on without it"),
    flag("delegated access", NotYet, Duration, "authentication-token-webhook-cache-ttl", "10s", "how long answers are kept"),
    flag("delegated access", NotYet, Text, "client-ca-file", "", "CA of client certificates"),
    flag("delegated access", NotYet, Text, "requestheader-client-ca-file", "", "CA of front proxies"),
    flag("delegated access", NotYet, List, "requestheader-allowed-names", "", "names of front proxies"),
    flag("delegated access", NotYet, List, "requestheader-username-headers", "x-remote-user", "headers"),
    flag("delegated access", NotYet, List, "requestheader-group-headers", "x-remote-group", "headers"),
    flag("delegated access", NotYet, List, "requestheader-uid-headers", "", "headers"),
    flag("delegated access", NotYet, List, "requestheader-extra-headers-prefix", "x-remote-extra-", "headers"),
    flag("delegated access", NotYet, Text, "authorization-kubeconfig", "", "who asks for SubjectAccessReviews"),
    flag("delegated access", NotYet, List, "authorization-always-allow-paths", "/healthz,/readyz,/livez", "open paths"),
    flag("delegated access", NotYet, Duration, "authorization-webhook-cache-authorized-ttl", "10s", "how long a yes is kept"),
    flag("delegated access", NotYet, Duration, "authorization-webhook-cache-unauthorized-ttl", "10s", "how long a no is kept"),

    flag("logging", Full, Text, "logging-format", "text", "text or json"),
    flag("logging", Full, Int, "v", "0", "verbosity: 0 to 2 info, 3 and 4 debug, 5 and more trace"),
    flag("logging", NotYet, List, "vmodule", "", "verbosity by file"),
    flag("logging", Nothing, Duration, "log-flush-frequency", "5s", "logs are not buffered"),
    flag("logging", NotYet, Bool, "log-json-split-stream", "false", "errors to stderr"),
    flag("logging", NotYet, Text, "log-json-info-buffer-size", "0", "buffer"),
    flag("logging", NotYet, Bool, "log-text-split-stream", "false", "errors to stderr"),
    flag("logging", NotYet, Text, "log-text-info-buffer-size", "0", "buffer"),
];
