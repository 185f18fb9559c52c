//! Security contexts and what depends on the operating system (core `ValidateSecurityContext`, `validatePodSpecSecurityContext`,
//! `validateOS`).

use serde_json::{Map, Value};

use super::errors::Errors;
use super::internal;
use super::pod_spec::Pod;
use super::pod_volumes::descending_path;
use crate::json;
use crate::meta;

fn user_or_group(path: &str, n: i64, e: &mut Errors) {
    if !(0..=i64::from(i32::MAX)).contains(&n) {
        e.invalid(path, &n.into(), "must be between 0 and 2147483647, inclusive");
    }
}

/// The security context of the pod as a whole.
pub(crate) fn pod_context(pod: &Pod<'_>, e: &mut Errors) {
    let Some(c) = pod.spec.get("securityContext").filter(|c| !c.is_null()) else { return };
    let path = pod.at("securityContext");
    for k in ["fsGroup", "runAsUser", "runAsGroup"] {
        if let Some(n) = json::int(c, k) {
            user_or_group(&format!("{path}.{k}"), n, e);
        }
    }
    for (i, g) in json::list(c, "supplementalGroups").iter().enumerate() {
        user_or_group(&format!("{path}.supplementalGroups[{i}]"), g.as_i64().unwrap_or(0), e);
    }
    if pod.flag("shareProcessNamespace") && pod.flag("hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        e.invalid(&format!("{path}.shareProcessNamespace"), &true.into(), why);
    }
    sysctls(pod, &format!("{path}.sysctls"), json::list(c, "sysctls"), e);
    word(&path, c, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], e);
    seccomp(&format!("{path}.seccompProfile"), c.get("seccompProfile"), e);
    windows_options(&format!("{path}.windowsOptions"), c.get("windowsOptions"), e);
    app_armor(&format!("{path}.appArmorProfile"), c.get("appArmorProfile"), e);
    word(&path, c, "supplementalGroupsPolicy", &["Merge", "Strict"], e);
    word(&path, c, "seLinuxChangePolicy", &["Recursive"], e);
}

fn word(path: &str, c: &Value, k: &str, words: &[&str], e: &mut Errors) {
    if let Some(v) = c.get(k).and_then(Value::as_str)
        && !words.contains(&v)
    {
        e.unsupported(&format!("{path}.{k}"), v, words);
    }
}

fn sysctls(pod: &Pod<'_>, path: &str, list: &[Value], e: &mut Errors) {
    let segment = |s: &str| {
        let b = s.as_bytes();
        let alnum = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        !b.is_empty() && alnum(b[0]) && alnum(b[b.len() - 1]) && b.iter().all(|c| alnum(*c) || matches!(c, b'-' | b'_'))
    };
    let mut seen = Vec::new();
    for (i, s) in list.iter().enumerate() {
        let (at, name) = (format!("{path}[{i}].name"), json::text(s, "name"));
        if name.is_empty() {
            e.required(&at, "");
        } else if name.len() > 253 || !name.split(['.', '/']).all(segment) {
            let why =
                "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            e.invalid_text(&at, name, why);
        } else if seen.contains(&name) {
            e.duplicate(&at, &name.into());
        }
        let dotted = name.replace('/', ".");
        if pod.flag("hostNetwork") && dotted.starts_with("net.") {
            e.invalid_text(&at, name, "may not be specified when 'hostNetwork' is true");
        } else if pod.flag("hostIPC")
            && (dotted.starts_with("kernel.shm")
                || dotted.starts_with("kernel.msg")
                || dotted.starts_with("fs.mqueue.")
                || dotted == "kernel.sem")
        {
            e.invalid_text(&at, name, "may not be specified when 'hostIPC' is true");
        }
        seen.push(name);
    }
}

/// The security context of a container.
pub(crate) fn context(path: &str, c: Option<&Value>, host_users: bool, e: &mut Errors) {
    let Some(c) = c.filter(|c| !c.is_null()) else { return };
    for k in ["runAsUser", "runAsGroup"] {
        if let Some(n) = json::int(c, k) {
            user_or_group(&format!("{path}.{k}"), n, e);
        }
    }
    if let Some(p) = c.get("procMount").and_then(Value::as_str) {
        let at = format!("{path}.procMount");
        if !matches!(p, "Default" | "Unmasked") {
            e.unsupported(&at, p, &["Default", "Unmasked"]);
        }
        if host_users && p == "Unmasked" {
            e.invalid_text(&at, p, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(&format!("{path}.seccompProfile"), c.get("seccompProfile"), e);
    if c["allowPrivilegeEscalation"].as_bool() == Some(false) {
        let shown = || internal::form("v1.SecurityContext", c);
        if c["privileged"].as_bool() == Some(true) {
            e.invalid(path, &shown(), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        for _ in json::list(c, "capabilities.add").iter().filter(|c| *c == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            e.invalid(path, &shown(), why);
        }
    }
    windows_options(&format!("{path}.windowsOptions"), c.get("windowsOptions"), e);
    app_armor(&format!("{path}.appArmorProfile"), c.get("appArmorProfile"), e);
}

const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

fn seccomp(path: &str, p: Option<&Value>, e: &mut Errors) {
    let Some(p) = p.filter(|p| !p.is_null()) else { return };
    let (kind, local) = (json::text(p, "type"), p.get("localhostProfile").and_then(Value::as_str));
    if kind.is_empty() {
        e.required(&format!("{path}.type"), "type is required when seccompProfile is set");
    } else if !PROFILES.contains(&kind) {
        e.unsupported(&format!("{path}.type"), kind, PROFILES);
    }
    let at = format!("{path}.localhostProfile");
    match (kind, local) {
        ("Localhost", None) => e.required(&at, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(l)) => descending_path(&at, l, e),
        (_, Some(_)) => e.invalid(&at, &internal::form("v1.SeccompProfile", p), "can only be set when seccomp type is Localhost"),
        (_, None) => {}
    }
}

fn app_armor(path: &str, p: Option<&Value>, e: &mut Errors) {
    let Some(p) = p.filter(|p| !p.is_null()) else { return };
    let local = p.get("localhostProfile").and_then(Value::as_str);
    let at = format!("{path}.localhostProfile");
    match (json::text(p, "type"), local) {
        ("Localhost", None | Some("")) => e.required(&at, "must be set when AppArmor type is Localhost"),
        ("Localhost", Some(l)) => {
            if l != l.trim() {
                e.invalid_text(&at, l, "must not be padded with whitespace");
            }
            if l.len() > 4095 {
                e.too_long(&at, 4095);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(l)) => e.invalid_text(&at, l, "can only be set when AppArmor type is Localhost"),
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => e.required(&format!("{path}.type"), "type is required when appArmorProfile is set"),
        (other, _) => e.unsupported(&format!("{path}.type"), other, PROFILES),
    }
}

fn windows_options(path: &str, o: Option<&Value>, e: &mut Errors) {
    let Some(o) = o.filter(|o| !o.is_null()) else { return };
    let get = |k: &str| o.get(k).and_then(Value::as_str);
    if let Some(n) = get("gmsaCredentialSpecName") {
        e.names(&format!("{path}.gmsaCredentialSpecName"), n, meta::dns_subdomain(n));
    }
    if get("gmsaCredentialSpec") == Some("") {
        e.invalid_text(&format!("{path}.gmsaCredentialSpec"), "", "gmsaCredentialSpec cannot be an empty string");
    }
    let Some(user) = get("runAsUserName") else { return };
    let at = format!("{path}.runAsUserName");
    let parts: Vec<&str> = user.split('\\').collect();
    if user.is_empty() {
        e.invalid_text(&at, user, "runAsUserName cannot be an empty string");
    } else if user.chars().any(|c| c.is_ascii_control()) {
        e.invalid_text(&at, user, "runAsUserName cannot contain control characters");
    } else if parts.len() > 2 {
        e.invalid_text(&at, user, "runAsUserName cannot contain more than one backslash");
    } else {
        let name = parts[parts.len() - 1];
        if name.is_empty() {
            e.invalid_text(&at, user, "runAsUserName's User cannot be empty");
        } else if name.len() > 104 {
            e.invalid_text(&at, user, "runAsUserName's User length must not be longer than 104 characters");
        }
        if !name.is_empty() && name.chars().all(|c| matches!(c, '.' | ' ')) {
            e.invalid_text(&at, user, "runAsUserName's User cannot contain only periods or spaces");
        }
        if name.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
            let why = r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#;
            e.invalid_text(&at, user, why);
        }
    }
}

/// Containers that are processes of the node come all together or not at all.
pub(crate) fn host_processes(pod: &Pod<'_>, e: &mut Errors) {
    let of = |v: &Value| v["securityContext"]["windowsOptions"]["hostProcess"].as_bool();
    let whole = of(pod.spec);
    let all = pod.containers();
    let mut n = 0;
    for (path, c) in &all {
        let own = of(c);
        if let (Some(p), Some(o)) = (whole, own)
            && p != o
        {
            let why = format!("pod hostProcess value must be identical if both are specified, was {p}");
            e.invalid(&format!("{path}.securityContext.windowsOptions.hostProcess"), &o.into(), &why);
        }
        n += usize::from(own.or(whole) == Some(true));
    }
    if n == 0 {
        return;
    }
    if n != all.len() {
        e.invalid_text(pod.path, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers");
    }
    if !pod.flag("hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        e.invalid(&pod.at("hostNetwork"), &false.into(), why);
    }
}

/// What pods with users of their own cannot have.
pub(crate) fn host_users(pod: &Pod<'_>, e: &mut Errors) {
    if pod.spec["hostUsers"].as_bool() != Some(false) {
        return;
    }
    let why = "when `hostUsers` is false";
    for (flag, field) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if pod.flag(flag) {
            e.forbidden(&pod.at(field), why);
        }
    }
    for (path, c) in pod.containers() {
        if !json::list(c, "volumeDevices").is_empty() {
            e.forbidden(&format!("{path}.volumeDevices"), why);
        }
    }
}

/// Fields of a pod's security context that Windows does not have, and whether they stand in the spec itself.
const NOT_WINDOWS: &[(&str, bool)] = &[
    ("appArmorProfile", false),
    ("seLinuxOptions", false),
    ("hostUsers", true),
    ("hostPID", true),
    ("hostIPC", true),
    ("seccompProfile", false),
    ("fsGroup", false),
    ("fsGroupChangePolicy", false),
    ("sysctls", false),
    ("shareProcessNamespace", true),
    ("runAsUser", false),
    ("runAsGroup", false),
    ("supplementalGroups", false),
    ("supplementalGroupsPolicy", false),
    ("seLinuxChangePolicy", false),
];

/// Fields of a container's security context that Windows does not have.
const NOT_WINDOWS_CONTAINER: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// What the named operating system does not have.
pub(crate) fn operating_system(pod: &Pod<'_>, e: &mut Errors) {
    let Some(os) = pod.spec.get("os").filter(|o| !o.is_null()) else { return };
    let set = |v: &Value, k: &str| match v.get(k) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(b)) => *b || k == "hostUsers" || k == "shareProcessNamespace" || !k.starts_with("host"),
        Some(_) => true,
    };
    match json::text(os, "name") {
        "" => e.required(&pod.at("os.name"), ""),
        "linux" => {
            let why = "windows options cannot be set for a linux pod";
            if set(&pod.spec["securityContext"], "windowsOptions") {
                e.forbidden(&pod.at("securityContext.windowsOptions"), why);
            }
            for (path, c) in pod.containers() {
                if set(&c["securityContext"], "windowsOptions") {
                    e.forbidden(&format!("{path}.securityContext.windowsOptions"), why);
                }
            }
        }
        "windows" => {
            let why = "cannot be set for a windows pod";
            for (k, above) in NOT_WINDOWS {
                if *above && set(pod.spec, k) {
                    e.forbidden(&pod.at(k), why);
                } else if !above && set(&pod.spec["securityContext"], k) {
                    e.forbidden(&pod.at(&format!("securityContext.{k}")), why);
                }
            }
            for (path, c) in pod.containers() {
                for k in NOT_WINDOWS_CONTAINER {
                    if set(&c["securityContext"], k) {
                        e.forbidden(&format!("{path}.securityContext.{k}"), why);
                    }
                }
            }
        }
        other => e.unsupported(&pod.at("os"), other, &["linux", "windows"]),
    }
}

/// Annotations that say the same as fields must not contradict them.
pub(crate) fn seccomp_annotations(pod: &Pod<'_>, annotations: Option<&Map<String, Value>>, e: &mut Errors) {
    let Some(annotations) = annotations else { return };
    let mut check = |path: String, key: &str, profile: &Value| {
        let (Some(a), false) = (annotations.get(key).and_then(Value::as_str), profile.is_null()) else { return };
        let why = "seccomp type in annotation and field must match";
        let fits = match json::text(profile, "type") {
            "Unconfined" => a == "unconfined",
            "RuntimeDefault" => matches!(a, "runtime/default" | "docker/default"),
            "Localhost" => match a.strip_prefix("localhost/") {
                None => false,
                Some(local) => {
                    if profile["localhostProfile"].as_str() != Some(local) {
                        let why = "seccomp profile in annotation and field must match";
                        e.forbidden(&format!("{path}.securityContext.seccompProfile.localhostProfile"), why);
                    }
                    true
                }
            },
            _ => true,
        };
        if !fits {
            e.forbidden(&format!("{path}.securityContext.seccompProfile.type"), why);
        }
    };
    let of = |v: &Value| v["securityContext"]["seccompProfile"].clone();
    check(pod.path.to_owned(), "seccomp.security.alpha.kubernetes.io/pod", &of(pod.spec));
    for (path, c) in pod.containers() {
        check(path, &format!("container.seccomp.security.alpha.kubernetes.io/{}", json::text(c, "name")), &of(c));
    }
}
