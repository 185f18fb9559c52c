//! The checks of the pod security standards, by the version of the policy (`k8s.io/pod-security-admission/policy`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::json;

/// A pod or the template of one.
pub(super) struct Pod<'a> {
    pub(super) annotations: Option<&'a Map<String, Value>>,
    pub(super) spec: &'a Value,
}

/// What a check found: a reason, and what of the pod is the reason.
pub(super) type Finding = Option<(String, String)>;

/// A check of one version of the policy.
type Judge = fn(&Pod<'_>) -> Finding;

/// A check as of a minor version of the policy.
struct Check {
    id: &'static str,
    restricted: bool,
    /// First minor version, and the check from then on.
    versions: &'static [(u32, Judge)],
    /// Checks of the baseline that it stands for.
    instead_of: &'static str,
}

/// All checks in order of id, those of the baseline first.
const CHECKS: &[Check] = &[
    Check { id: "appArmorProfile", restricted: false, versions: &[(0, app_armor)], instead_of: "" },
    Check { id: "capabilities_baseline", restricted: false, versions: &[(0, capabilities_baseline)], instead_of: "" },
    Check { id: "hostNamespaces", restricted: false, versions: &[(0, host_namespaces)], instead_of: "" },
    Check { id: "hostPathVolumes", restricted: false, versions: &[(0, host_paths)], instead_of: "" },
    Check { id: "hostPorts", restricted: false, versions: &[(0, host_ports)], instead_of: "" },
    Check { id: "hostProbesAndHostLifecycle", restricted: false, versions: &[(34, host_probes)], instead_of: "" },
    Check { id: "privileged", restricted: false, versions: &[(0, privileged)], instead_of: "" },
    Check {
        id: "procMount",
        restricted: false,
        versions: &[(0, proc_mount), (35, |p| if own_users(p) { None } else { proc_mount(p) })],
        instead_of: "",
    },
    Check {
        id: "seLinuxOptions",
        restricted: false,
        versions: &[(0, |p| se_linux(p, &SE_LINUX_TYPES[..4])), (31, |p| se_linux(p, SE_LINUX_TYPES))],
        instead_of: "",
    },
    Check {
        id: "seccompProfile_baseline",
        restricted: false,
        versions: &[(0, seccomp_annotations), (19, seccomp_baseline)],
        instead_of: "",
    },
    Check {
        id: "sysctls",
        restricted: false,
        versions: &[
            (0, |p| sysctls(p, &SYSCTLS[..5])),
            (27, |p| sysctls(p, &SYSCTLS[..6])),
            (29, |p| sysctls(p, &SYSCTLS[..10])),
            (32, |p| sysctls(p, SYSCTLS)),
        ],
        instead_of: "",
    },
    Check { id: "windowsHostProcess", restricted: false, versions: &[(0, host_process)], instead_of: "" },
    Check {
        id: "allowPrivilegeEscalation",
        restricted: true,
        versions: &[(8, escalation), (25, |p| if windows(p) { None } else { escalation(p) })],
        instead_of: "",
    },
    Check {
        id: "capabilities_restricted",
        restricted: true,
        versions: &[(22, capabilities_restricted), (25, |p| if windows(p) { None } else { capabilities_restricted(p) })],
        instead_of: "capabilities_baseline",
    },
    Check { id: "procMount_restricted", restricted: true, versions: &[(35, proc_mount)], instead_of: "procMount" },
    Check { id: "restrictedVolumes", restricted: true, versions: &[(0, volumes)], instead_of: "hostPathVolumes" },
    Check {
        id: "runAsNonRoot",
        restricted: true,
        versions: &[(0, non_root), (35, |p| if own_users(p) { None } else { non_root(p) })],
        instead_of: "",
    },
    Check {
        id: "runAsUser",
        restricted: true,
        versions: &[(23, user), (35, |p| if own_users(p) { None } else { user(p) })],
        instead_of: "",
    },
    Check {
        id: "seccompProfile_restricted",
        restricted: true,
        versions: &[(19, seccomp_restricted), (25, |p| if windows(p) { None } else { seccomp_restricted(p) })],
        instead_of: "seccompProfile_baseline",
    },
];

/// All that a level forbids. `minor`: version of the policy, the newest when not given.
pub(super) fn run(restricted: bool, minor: Option<u32>, pod: &Pod<'_>) -> Vec<(String, String)> {
    let minor = minor.unwrap_or(u32::MAX);
    let applies = |c: &&Check| c.versions.iter().any(|(from, _)| *from <= minor) && (restricted || !c.restricted);
    let active: Vec<&Check> = CHECKS.iter().filter(applies).collect();
    let overridden: Vec<&str> = active.iter().map(|c| c.instead_of).collect();
    active
        .iter()
        .filter(|c| !overridden.contains(&c.id))
        .filter_map(|c| c.versions.iter().rev().find(|(from, _)| *from <= minor).and_then(|(_, f)| f(pod)))
        .collect()
}

fn containers<'a>(pod: &Pod<'a>) -> impl Iterator<Item = &'a Value> {
    let spec = pod.spec;
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|k| json::list(spec, k))
}

fn named<'a>(pod: &Pod<'a>, bad: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
    containers(pod).filter(|c| bad(c)).map(|c| json::text(c, "name")).collect()
}

fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    items.into_iter().map(|s| format!("\"{}\"", s.as_ref())).collect::<Vec<_>>().join(", ")
}

fn number<'a>(one: &'a str, many: &'a str, n: usize) -> &'a str {
    if n == 1 { one } else { many }
}

fn those(names: &[&str]) -> String {
    format!("{} {}", number("container", "containers", names.len()), quoted(names))
}

fn found(reason: &str, detail: String) -> Finding {
    Some((reason.to_owned(), detail))
}

/// The pod itself and the containers that are to blame.
fn setters(pod: bool, names: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    if pod {
        out.push("pod".to_owned());
    }
    if !names.is_empty() {
        out.push(those(names));
    }
    out
}

fn security(v: &Value) -> &Value {
    &v["securityContext"]
}

fn windows(pod: &Pod<'_>) -> bool {
    json::text(pod.spec, "os.name") == "windows"
}

/// Whether the pod has users of its own (KEP-127).
fn own_users(pod: &Pod<'_>) -> bool {
    pod.spec["hostUsers"] == false
}

fn app_armor(pod: &Pod<'_>) -> Finding {
    let bad = |v: &Value| {
        security(v)
            .get("appArmorProfile")
            .map(|p| json::text(p, "type").to_owned())
            .filter(|t| !matches!(t.as_str(), "RuntimeDefault" | "Localhost"))
    };
    let mut values: BTreeSet<String> = containers(pod).filter_map(bad).collect();
    values.extend(bad(pod.spec));
    let names = named(pod, |c| bad(c).is_some());
    let mut who = setters(bad(pod.spec).is_some(), &names);
    let mut values: Vec<String> = values.into_iter().collect();
    let mut annotations: Vec<String> = pod
        .annotations
        .into_iter()
        .flatten()
        .filter(|(k, _)| k.starts_with("container.apparmor.security.beta.kubernetes.io/"))
        .filter_map(|(k, v)| Some((k, v.as_str()?)))
        .filter(|(_, v)| !v.is_empty() && *v != "runtime/default" && !v.starts_with("localhost/"))
        .map(|(k, v)| format!("{k}={v:?}"))
        .collect();
    annotations.sort();
    if !annotations.is_empty() {
        who.push(number("annotation", "annotations", annotations.len()).to_owned());
        values.append(&mut annotations);
    }
    if who.is_empty() {
        return None;
    }
    let reason = number("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    found(reason, format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)))
}

/// Capabilities that the baseline lets a container add.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn added<'a>(c: &'a Value, allowed: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    json::list(security(c), "capabilities.add").iter().filter_map(Value::as_str).filter(|x| !allowed.contains(x))
}

fn capabilities_baseline(pod: &Pod<'_>) -> Finding {
    let names = named(pod, |c| added(c, CAPABILITIES).next().is_some());
    if names.is_empty() {
        return None;
    }
    let what: BTreeSet<&str> = containers(pod).flat_map(|c| added(c, CAPABILITIES)).collect();
    found("non-default capabilities", format!("{} must not include {} in securityContext.capabilities.add", those(&names), quoted(what)))
}

fn capabilities_restricted(pod: &Pod<'_>) -> Finding {
    const ALLOWED: &[&str] = &["NET_BIND_SERVICE"];
    let keep = named(pod, |c| !json::list(security(c), "capabilities.drop").iter().any(|d| d == "ALL"));
    let add = named(pod, |c| added(c, ALLOWED).next().is_some());
    let mut details = Vec::new();
    if !keep.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", those(&keep)));
    }
    if !add.is_empty() {
        let what: BTreeSet<&str> = containers(pod).flat_map(|c| added(c, ALLOWED)).collect();
        details.push(format!("{} must not include {} in securityContext.capabilities.add", those(&add), quoted(what)));
    }
    if details.is_empty() { None } else { found("unrestricted capabilities", details.join("; ")) }
}

fn host_namespaces(pod: &Pod<'_>) -> Finding {
    let used: Vec<String> =
        ["hostNetwork", "hostPID", "hostIPC"].iter().filter(|k| pod.spec[**k] == true).map(|k| format!("{k}=true")).collect();
    if used.is_empty() { None } else { found("host namespaces", used.join(", ")) }
}

fn host_paths(pod: &Pod<'_>) -> Finding {
    let names: Vec<&str> =
        json::list(pod.spec, "volumes").iter().filter(|v| v.get("hostPath").is_some()).map(|v| json::text(v, "name")).collect();
    if names.is_empty() {
        return None;
    }
    found("hostPath volumes", format!("{} {}", number("volume", "volumes", names.len()), quoted(&names)))
}

fn host_ports(pod: &Pod<'_>) -> Finding {
    let ports =
        |c: &Value| -> Vec<i64> { json::list(c, "ports").iter().filter_map(|p| json::int(p, "hostPort")).filter(|p| *p != 0).collect() };
    let names = named(pod, |c| !ports(c).is_empty());
    if names.is_empty() {
        return None;
    }
    let all: BTreeSet<String> = containers(pod).flat_map(ports).map(|p| p.to_string()).collect();
    let (verb, noun) = (number("uses", "use", names.len()), number("hostPort", "hostPorts", all.len()));
    found("hostPort", format!("{} {verb} {noun} {}", those(&names), all.into_iter().collect::<Vec<_>>().join(", ")))
}

fn host_probes(pod: &Pod<'_>) -> Finding {
    fn hosts(c: &Value) -> Vec<&str> {
        let handlers = ["livenessProbe", "readinessProbe", "startupProbe"]
            .into_iter()
            .map(|k| &c[k])
            .chain(["postStart", "preStop"].into_iter().map(|k| &c["lifecycle"][k]));
        handlers
            .flat_map(|h| ["httpGet.host", "tcpSocket.host"].into_iter().map(move |p| json::text(h, p)))
            .filter(|h| !h.is_empty())
            .collect()
    }
    let names: BTreeSet<&str> = named(pod, |c| !hosts(c).is_empty()).into_iter().collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    let all: BTreeSet<&str> = containers(pod).flat_map(hosts).collect();
    let (verb, noun) = (number("uses", "use", names.len()), number("probe or lifecycle host", "probe or lifecycle hosts", all.len()));
    found("probe or lifecycle host", format!("{} {verb} {noun} {}", those(&names), quoted(all)))
}

fn privileged(pod: &Pod<'_>) -> Finding {
    let names = named(pod, |c| security(c)["privileged"] == true);
    if names.is_empty() { None } else { found("privileged", format!("{} must not set securityContext.privileged=true", those(&names))) }
}

fn proc_mount(pod: &Pod<'_>) -> Finding {
    fn bad(c: &Value) -> Option<&str> {
        security(c)["procMount"].as_str().filter(|m| *m != "Default")
    }
    let names = named(pod, |c| bad(c).is_some());
    if names.is_empty() {
        return None;
    }
    let what: BTreeSet<&str> = containers(pod).filter_map(bad).collect();
    found("procMount", format!("{} must not set securityContext.procMount to {}", those(&names), quoted(what)))
}

/// Types of SELinux that the baseline lets a container have; the last since 1.31.
const SE_LINUX_TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

fn se_linux(pod: &Pod<'_>, allowed: &[&str]) -> Finding {
    let options = |v: &'_ Value| security(v).get("seLinuxOptions").cloned();
    let bad_type = |o: &Value| Some(json::text(o, "type").to_owned()).filter(|t| !allowed.contains(&t.as_str()));
    let set = |o: &Value, k: &str| !json::text(o, k).is_empty();
    let bad = |v: &Value| options(v).is_some_and(|o| bad_type(&o).is_some() || set(&o, "user") || set(&o, "role"));
    let names = named(pod, bad);
    let who = setters(bad(pod.spec), &names);
    if who.is_empty() {
        return None;
    }
    let all: Vec<Value> = containers(pod).chain([pod.spec]).filter_map(options).collect();
    let types: BTreeSet<String> = all.iter().filter_map(bad_type).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", number("type", "types", types.len()), quoted(&types)));
    }
    for k in ["user", "role"] {
        if all.iter().any(|o| set(o, k)) {
            what.push(format!("{k} may not be set"));
        }
    }
    found("seLinuxOptions", format!("{} set forbidden securityContext.seLinuxOptions: {}", who.join(" and "), what.join("; ")))
}

fn seccomp_type(v: &Value) -> Option<&str> {
    security(v).get("seccompProfile").map(|p| json::text(p, "type"))
}

fn good_seccomp(t: &str) -> bool {
    matches!(t, "Localhost" | "RuntimeDefault")
}

fn seccomp_annotations(pod: &Pod<'_>) -> Finding {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    let keys = containers(pod).map(|c| format!("container.seccomp.security.alpha.kubernetes.io/{}", json::text(c, "name")));
    let bad: BTreeSet<String> = std::iter::once(POD.to_owned())
        .chain(keys)
        .filter_map(|k| Some((pod.annotations?.get(&k)?.as_str()?, k)))
        .filter(|(v, _)| !matches!(*v, "runtime/default" | "docker/default") && !v.starts_with("localhost/"))
        .map(|(v, k)| format!("{k}={v:?}"))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = number("annotation", "annotations", bad.len());
    found("seccompProfile", format!("forbidden {word} {}", bad.into_iter().collect::<Vec<_>>().join(", ")))
}

fn seccomp_baseline(pod: &Pod<'_>) -> Finding {
    let bad = |v: &Value| seccomp_type(v).is_some_and(|t| !good_seccomp(t));
    let names = named(pod, bad);
    let who = setters(bad(pod.spec), &names);
    if who.is_empty() {
        return None;
    }
    let values: BTreeSet<&str> = containers(pod).chain([pod.spec]).filter_map(seccomp_type).filter(|t| !good_seccomp(t)).collect();
    found("seccompProfile", format!("{} must not set securityContext.seccompProfile.type to {}", who.join(" and "), quoted(values)))
}

fn seccomp_restricted(pod: &Pod<'_>) -> Finding {
    if let Some(bad) = seccomp_baseline(pod) {
        return Some(bad);
    }
    if seccomp_type(pod.spec).is_some() {
        return None;
    }
    let names = named(pod, |c| seccomp_type(c).is_none());
    if names.is_empty() {
        return None;
    }
    let must = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    found("seccompProfile", format!("pod or {} {must}", those(&names)))
}

/// Settings of the kernel that the baseline lets a pod change: 5 since ever, then since 1.27, 1.29 and 1.32.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls(pod: &Pod<'_>, allowed: &[&str]) -> Finding {
    let bad: Vec<&str> =
        json::list(security(pod.spec), "sysctls").iter().map(|s| json::text(s, "name")).filter(|n| !allowed.contains(n)).collect();
    if bad.is_empty() { None } else { found("forbidden sysctls", bad.join(", ")) }
}

fn host_process(pod: &Pod<'_>) -> Finding {
    let bad = |v: &Value| json::at(security(v), "windowsOptions.hostProcess") == Some(&Value::Bool(true));
    let who = setters(bad(pod.spec), &named(pod, bad));
    if who.is_empty() {
        return None;
    }
    found("hostProcess", format!("{} must not set securityContext.windowsOptions.hostProcess=true", who.join(" and ")))
}

fn escalation(pod: &Pod<'_>) -> Finding {
    let names = named(pod, |c| security(c)["allowPrivilegeEscalation"] != false);
    if names.is_empty() {
        return None;
    }
    found("allowPrivilegeEscalation != false", format!("{} must set securityContext.allowPrivilegeEscalation=false", those(&names)))
}

/// Volumes that the restricted level lets a pod have.
const GOOD_VOLUMES: &[&str] =
    &["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"];
/// The others.
const OTHER_VOLUMES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn volumes(pod: &Pod<'_>) -> Finding {
    let bad: Vec<&Value> = json::list(pod.spec, "volumes").iter().filter(|v| !GOOD_VOLUMES.iter().any(|k| v.get(*k).is_some())).collect();
    if bad.is_empty() {
        return None;
    }
    let types: BTreeSet<&str> =
        bad.iter().map(|v| OTHER_VOLUMES.iter().find(|k| v.get(**k).is_some()).copied().unwrap_or("unknown")).collect();
    let names: Vec<&str> = bad.iter().map(|v| json::text(v, "name")).collect();
    let (noun, verb) = (number("volume", "volumes", names.len()), number("uses", "use", names.len()));
    let kinds = number("restricted volume type", "restricted volume types", types.len());
    found("restricted volume types", format!("{noun} {} {verb} {kinds} {}", quoted(&names), quoted(types)))
}

fn non_root(pod: &Pod<'_>) -> Finding {
    const REASON: &str = "runAsNonRoot != true";
    let says = |v: &Value| security(v)["runAsNonRoot"].as_bool();
    let who = setters(says(pod.spec) == Some(false), &named(pod, |c| says(c) == Some(false)));
    if !who.is_empty() {
        return found(REASON, format!("{} must not set securityContext.runAsNonRoot=false", who.join(" and ")));
    }
    if says(pod.spec) == Some(true) {
        return None;
    }
    let silent = named(pod, |c| says(c).is_none());
    if silent.is_empty() {
        return None;
    }
    found(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", those(&silent)))
}

fn user(pod: &Pod<'_>) -> Finding {
    let root = |v: &Value| security(v)["runAsUser"].as_i64() == Some(0);
    let who = setters(root(pod.spec), &named(pod, root));
    if who.is_empty() { None } else { found("runAsUser=0", format!("{} must not set runAsUser=0", who.join(" and "))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(restricted: bool, minor: Option<u32>, spec: Value) -> Vec<String> {
        run(restricted, minor, &Pod { annotations: None, spec: &spec }).into_iter().map(|(r, d)| format!("{r} ({d})")).collect()
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn each_check_of_the_baseline_names_what_it_forbids() {
        let c = |extra: Value| json!({"containers": [extra]});
        for (spec, want) in [
            (json!({"hostNetwork": true, "hostIPC": true}), "host namespaces (hostNetwork=true, hostIPC=true)"),
            (
                c(json!({"name": "a", "securityContext": {"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}})),
                "non-default capabilities (container \"a\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
            ),
            (c(json!({"name": "a", "ports": [{"hostPort": 80}]})), "hostPort (container \"a\" uses hostPort 80)"),
            (
                json!({"securityContext": {"sysctls": [{"name": "kernel.x"}, {"name": "net.ipv4.tcp_syncookies"}]}}),
                "forbidden sysctls (kernel.x)",
            ),
            (
                json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}}),
                "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
            ),
            (
                json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
                "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
            ),
        ] {
            assert_eq!(told(false, None, spec), [want]);
        }
    }

    #[test]
    fn older_versions_of_the_policy_know_less() {
        let spec = json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}}}]});
        assert_eq!(told(false, Some(33), spec.clone()).len(), 0);
        assert_eq!(told(false, Some(34), spec), ["probe or lifecycle host (container \"a\" uses probe or lifecycle host \"h\")"]);
    }
}
