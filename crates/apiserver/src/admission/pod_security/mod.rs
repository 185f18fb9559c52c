//! Pod security levels that a namespace's labels ask for (PodSecurity admission, KEP-2579): `enforce` refuses pods, `warn` tells of them and
//! of the templates of workloads. `audit` writes to a log that is not kept here.

mod checks;

use serde_json::Value;

use self::checks::{Pod, run};
use crate::json;
use crate::kinds::Env;
use crate::status::{ApiError, Cause};
use crate::write::Target;

const PREFIX: &str = "pod-security.kubernetes.io/";
const LEVELS: &[&str] = &["privileged", "baseline", "restricted"];

/// A level and the version of the policy.
#[derive(Clone, PartialEq, Eq)]
struct Level {
    level: &'static str,
    /// `latest` or `v1.N`.
    version: String,
}

impl Level {
    fn text(&self) -> String {
        format!("{}:{}", self.level, self.version)
    }

    fn strictness(&self) -> usize {
        LEVELS.iter().position(|l| *l == self.level).unwrap_or(0)
    }

    fn findings(&self, pod: &Pod<'_>) -> Vec<(String, String)> {
        match self.level {
            "privileged" => Vec::new(),
            level => run(level == "restricted", minor(&self.version), pod),
        }
    }
}

fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("v1.").and_then(|n| n.parse().ok())
}

fn good_version(v: &str) -> bool {
    v == "latest" || minor(v).is_some_and(|n| format!("v1.{n}") == v)
}

/// What a namespace asks for, and what is wrong with how it asks. What cannot be read is enforced as the strictest, warned of not at all.
struct Policy {
    enforce: Level,
    warn: Level,
    wrong: Vec<Cause>,
}

fn policy<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Policy {
    let mut wrong = Vec::new();
    let mut read = |mode: &str, otherwise: &'static str| {
        let (level_key, version_key) = (format!("{PREFIX}{mode}"), format!("{PREFIX}{mode}-version"));
        let mut out = Level { level: "privileged", version: "latest".to_owned() };
        let mut cause = |key: &str, value: &str, must: &str| {
            wrong.push(Cause::new("FieldValueInvalid", format!("metadata.labels[{key}]"), format!("Invalid value: {value:?}: {must}")));
        };
        let mut known = false;
        if let Some(l) = label(&level_key) {
            match LEVELS.iter().find(|x| **x == l) {
                Some(l) => {
                    out.level = l;
                    known = true;
                }
                None => {
                    out.level = otherwise;
                    cause(&level_key, l, &format!("must be one of {}", LEVELS.join(", ")));
                }
            }
        }
        if let Some(v) = label(&version_key) {
            if good_version(v) {
                out.version = v.to_owned();
            } else {
                cause(&version_key, v, "must be \"latest\" or \"v1.x\"");
            }
        }
        (out, known)
    };
    let (enforce, enforced) = read("enforce", "restricted");
    read("audit", "privileged");
    let (mut warn, _) = read("warn", "privileged");
    // Who enforces is warned of the same, unless something else was asked for.
    if label(&format!("{PREFIX}warn")).is_none() && enforced && enforce.strictness() > warn.strictness() {
        warn.level = enforce.level;
        if label(&format!("{PREFIX}warn-version")).is_none() {
            warn.version.clone_from(&enforce.version);
        }
    }
    Policy { enforce, warn, wrong }
}

fn policy_of(env: &Env<'_>) -> Option<Policy> {
    let ns = env.server.store.get("/namespaces", env.namespace)?;
    Some(policy(|k| ns.labels.iter().find(|(n, _)| **n == *k).map(|(_, v)| &**v)))
}

fn detail(found: &[(String, String)]) -> String {
    found.iter().map(|(r, d)| if d.is_empty() { r.clone() } else { format!("{r} ({d})") }).collect::<Vec<_>>().join(", ")
}

fn warn(env: &Env<'_>, policy: &Policy, pod: &Pod<'_>) {
    let found = policy.warn.findings(pod);
    if !found.is_empty() {
        env.warnings.borrow_mut().push(format!("would violate PodSecurity {:?}: {}", policy.warn.text(), detail(&found)));
    }
}

/// Refuses pods that the namespace's level forbids. Of updates only those count that bring other images.
pub(crate) fn check_pod(env: &Env<'_>, target: &Target, doc: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    if old.is_some_and(|o| same_images(&doc["spec"], &o["spec"])) {
        return Ok(());
    }
    let Some(policy) = policy_of(env) else { return Ok(()) };
    let pod = Pod { annotations: json::object(doc, "metadata.annotations"), spec: &doc["spec"] };
    let found = policy.enforce.findings(&pod);
    if !found.is_empty() {
        let why = format!("violates PodSecurity {:?}: {}", policy.enforce.text(), detail(&found));
        return Err(ApiError::forbidden(&target.served, json::text(doc, "metadata.name"), why));
    }
    warn(env, &policy, &pod);
    Ok(())
}

fn same_images(a: &Value, b: &Value) -> bool {
    ["containers", "initContainers", "ephemeralContainers"].iter().all(|k| {
        let images = |s: &Value| -> Vec<String> { json::list(s, k).iter().map(|c| json::text(c, "image").to_owned()).collect() };
        images(a) == images(b)
    })
}

/// Where workloads keep the template of their pods.
pub(crate) fn template<'a>(group: &str, plural: &str, doc: &'a Value) -> Option<&'a Value> {
    let path = match (group, plural) {
        ("", "podtemplates") => "template",
        ("", "replicationcontrollers") | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") | ("batch", "jobs") => {
            "spec.template"
        }
        ("batch", "cronjobs") => "spec.jobTemplate.spec.template",
        _ => return None,
    };
    json::at(doc, path).filter(|t| t.is_object())
}

/// Tells of templates whose pods the namespace's level would not want.
pub(crate) fn check_template(env: &Env<'_>, template: &Value) {
    if let Some(policy) = policy_of(env) {
        warn(env, &policy, &Pod { annotations: json::object(template, "metadata.annotations"), spec: &template["spec"] });
    }
}

/// Refuses labels that are no policy, and tells of pods that a stricter policy would not have let in.
pub(crate) fn check_namespace(env: &Env<'_>, target: &Target, doc: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    fn of(d: &Value) -> Policy {
        policy(|k| d["metadata"]["labels"].get(k).and_then(Value::as_str))
    }
    let new = of(doc);
    let before = old.map(of);
    let name = json::text(doc, "metadata.name");
    if !new.wrong.is_empty() && before.as_ref().is_none_or(|b| b.wrong.is_empty() || b.wrong != new.wrong) {
        return Err(target.invalid(name, &new.wrong));
    }
    let Some(before) = before else { return Ok(()) };
    let relaxed = new.enforce.version == before.enforce.version && new.enforce.strictness() <= before.enforce.strictness();
    if new.enforce == before.enforce || new.enforce.level == "privileged" || relaxed {
        return Ok(());
    }
    tell_of_pods(env, name, &new.enforce);
    Ok(())
}

fn tell_of_pods(env: &Env<'_>, namespace: &str, level: &Level) {
    let (_, items) = env.server.store.list("/pods", &format!("{namespace}/"));
    let mut by_reason: Vec<(String, Vec<String>)> = Vec::new();
    for s in items {
        let Ok(doc) = serde_json::from_slice::<Value>(&s.bytes) else { continue };
        let found = level.findings(&Pod { annotations: json::object(&doc, "metadata.annotations"), spec: &doc["spec"] });
        if found.is_empty() {
            continue;
        }
        let reason = found.into_iter().map(|(r, _)| r).collect::<Vec<_>>().join(", ");
        match by_reason.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, names)) => names.push(s.name().to_owned()),
            None => by_reason.push((reason, vec![s.name().to_owned()])),
        }
    }
    if by_reason.is_empty() {
        return;
    }
    let mut lines: Vec<String> = by_reason
        .into_iter()
        .map(|(reason, mut names)| {
            names.sort();
            match names.len() {
                1 => format!("{}: {reason}", names[0]),
                2 => format!("{} (and 1 other pod): {reason}", names[0]),
                n => format!("{} (and {} other pods): {reason}", names[0], n - 1),
            }
        })
        .collect();
    lines.sort();
    let mut warnings = env.warnings.borrow_mut();
    warnings.push(format!("existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {:?}", level.text()));
    warnings.extend(lines);
}
