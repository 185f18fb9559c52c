//! Jobs (batch `ValidateJob`, `ValidateJobSpecUpdate`).

use serde_json::{Map, Value, json};

use super::errors::Errors;
use super::job_policies::{failure_policy, replacement_policy, success_policy};
use super::{Check, DEFAULT, Rules, internal, job_status, pod_spec, selectors};
use crate::json;
use crate::meta;

/// Most pods at once of an indexed job.
const INDEXED_LIMIT: i64 = 100_000;
/// From this many completions on, indexes that fail by themselves are limited further.
const MANY_COMPLETIONS: i64 = 100_000;
const LIMIT_FOR_MANY: i64 = 10_000;
const MANAGER_LIMIT: usize = 63;

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
const OLD_UID: &str = "controller-uid";
const OLD_NAME: &str = "job-name";

pub(crate) const JOB: Rules = Rules {
    on_update: &[Check::Meta, Check::Always, Check::MetaUpdate, Check::Update],
    prepare_create: |doc, _| generate_selector(doc),
    validate: |doc, old, e, _| validate(doc, old, e),
    validate_update: |new, old, e, _| validate_update(new, old, e),
    validate_status: job_status::validate,
    ..DEFAULT
};

/// Selector and labels that make the job's pods its own; what is there already is left for validation to refuse.
fn generate_selector(doc: &mut Value) {
    if doc["spec"]["manualSelector"].as_bool() == Some(true) {
        return;
    }
    let (uid, name) = (json::text(doc, "metadata.uid").to_owned(), json::text(doc, "metadata.name").to_owned());
    let meta = json::object_mut(&mut doc["spec"]["template"], "metadata");
    let have = meta.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    if let Some(have) = have.as_object_mut() {
        for (k, v) in [(OLD_NAME, &name), (NAME, &name), (OLD_UID, &uid), (UID, &uid)] {
            have.entry(k).or_insert_with(|| v.as_str().into());
        }
    }
    let spec = json::object_mut(doc, "spec");
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    json::object_mut(selector, "matchLabels").entry(UID).or_insert_with(|| uid.as_str().into());
}

fn validate(doc: &Value, old: Option<&Value>, e: &mut Errors) {
    let old_labels = old.map(|o| &o["spec"]["template"]["metadata"]["labels"]);
    let prefixed = old_labels.is_none_or(|l| l.get(NAME).is_some() && l.get(UID).is_some());
    generated_selector(doc, prefixed, e);
    let spec = &doc["spec"];
    job_spec_with_selector(spec, e);
    let name = json::text(doc, "metadata.name");
    if let Some(n) = json::int(spec, "completions").filter(|n| *n > 0 && is_indexed(spec)) {
        // The last pod's hostname has to be one.
        let last = format!("{name}-{}", n - 1);
        if !meta::dns_label(&last).is_empty() {
            e.invalid_text("metadata.name", name, &format!("will not able to create pod with invalid DNS label: {last}"));
        }
    }
}

/// Whether the job counts completions by index.
pub(crate) fn is_indexed(spec: &Value) -> bool {
    json::text(spec, "completionMode") == "Indexed"
}

/// A selector that the server made must be the one that it makes.
fn generated_selector(doc: &Value, prefixed: bool, e: &mut Errors) {
    let spec = &doc["spec"];
    if spec["manualSelector"].as_bool() == Some(true) {
        return;
    }
    let Some(selector) = spec.get("selector").filter(|s| !s.is_null()) else { return };
    let (uid, name) = (json::text(doc, "metadata.uid"), json::text(doc, "metadata.name"));
    let labels = json::object(spec, "template.metadata.labels");
    let mut expected = Map::new();
    let mut want = |key: &str, value: &str| {
        expected.insert(key.to_owned(), value.into());
        let at = format!("spec.template.metadata.labels[{key}]");
        match labels.and_then(|l| l.get(key)) {
            None => e.required(&at, &format!("must be '{value}'")),
            Some(v) if v != value => e.invalid(&at, &internal::texts(labels), &format!("must be '{value}'")),
            Some(_) => {}
        }
    };
    want(OLD_UID, uid);
    want(OLD_NAME, name);
    if prefixed {
        want(UID, uid);
        want(NAME, name);
    }
    let matches = crate::selector::labels::LabelSelector::from_value(Some(selector)).matches_map(Some(&expected));
    if selectors::usable(selector) && !matches {
        e.invalid("spec.selector", &selectors::shown(Some(selector)), "`selector` not auto-generated");
    }
}

fn job_spec_with_selector(spec: &Value, e: &mut Errors) {
    job_spec("spec", spec, e);
    let selector = spec.get("selector").filter(|s| !s.is_null());
    match selector {
        None => e.required("spec.selector", ""),
        Some(s) => selectors::label_selector("spec.selector", s, e),
    }
    if selector.is_none_or(selectors::usable) {
        selectors::template_labels("spec.template", selector, &spec["template"], e);
    }
}

/// The spec of a job, selector aside.
pub(crate) fn job_spec(path: &str, spec: &Value, e: &mut Errors) {
    let int = |k: &str| json::int(spec, k);
    for k in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        e.non_negative(&format!("{path}.{k}"), int(k));
    }
    if int("maxFailedIndexes").is_some() && int("backoffLimitPerIndex").is_none() {
        e.required(&format!("{path}.backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(m) = spec.get("managedBy").and_then(Value::as_str) {
        let at = format!("{path}.managedBy");
        selectors::domain_prefixed_path(&at, m, e);
        if m.len() > MANAGER_LIMIT {
            e.too_long(&at, MANAGER_LIMIT);
        }
    }
    match spec.get("completionMode").and_then(Value::as_str) {
        None | Some("NonIndexed") => {}
        Some("Indexed") => indexed(path, spec, e),
        Some(other) => e.unsupported(&format!("{path}.completionMode"), other, &["NonIndexed", "Indexed"]),
    }
    if matches!(json::text(spec, "completionMode"), "" | "NonIndexed") {
        for k in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(n) = int(k) {
                e.invalid(&format!("{path}.{k}"), &n.into(), "requires indexed completion mode");
            }
        }
    }
    let failures = spec.get("podFailurePolicy").filter(|p| !p.is_null());
    if let Some(p) = failures {
        failure_policy(&format!("{path}.podFailurePolicy"), p, spec, e);
    }
    if let Some(p) = spec.get("successPolicy").filter(|p| !p.is_null()) {
        let at = format!("{path}.successPolicy");
        if is_indexed(spec) {
            success_policy(&at, p, spec, e);
        } else {
            e.invalid(&at, &internal::form("batch/v1.SuccessPolicy", p), "requires indexed completion mode");
        }
    }
    replacement_policy(&format!("{path}.podReplacementPolicy"), spec, e);
    pod_spec::template(&format!("{path}.template"), &spec["template"], e);
    let at = format!("{path}.template.spec.restartPolicy");
    match json::text(spec, "template.spec.restartPolicy") {
        "" | "Always" => e.required(&at, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" if failures.is_none() => {}
        "OnFailure" => e.invalid_text(&at, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified"),
        other => e.unsupported(&at, other, &["OnFailure", "Never"]),
    }
}

fn indexed(path: &str, spec: &Value, e: &mut Errors) {
    let int = |k: &str| json::int(spec, k);
    let (completions, parallelism, failed) = (int("completions"), int("parallelism"), int("maxFailedIndexes"));
    let (at_parallelism, at_failed) = (format!("{path}.parallelism"), format!("{path}.maxFailedIndexes"));
    if completions.is_none() {
        e.required(&format!("{path}.completions"), "when completion mode is Indexed");
    }
    if let Some(n) = parallelism.filter(|n| *n > INDEXED_LIMIT) {
        let why = format!("must be less than or equal to {INDEXED_LIMIT} when completion mode is Indexed");
        e.invalid(&at_parallelism, &n.into(), &why);
    }
    if let (Some(c), Some(f)) = (completions, failed)
        && f > c
    {
        e.invalid(&at_failed, &f.into(), "must be less than or equal to completions");
    }
    if let Some(f) = failed.filter(|f| *f > INDEXED_LIMIT) {
        e.invalid(&at_failed, &f.into(), &format!("must be less than or equal to {INDEXED_LIMIT}"));
    }
    if completions.is_none_or(|c| c <= MANY_COMPLETIONS) || int("backoffLimitPerIndex").is_none() {
        return;
    }
    let why = format!(
        "must be less than or equal to {LIMIT_FOR_MANY} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
    );
    if failed.is_none() {
        e.required(&at_failed, &format!("must be specified when completions is above {MANY_COMPLETIONS}"));
    }
    if let Some(n) = parallelism.filter(|n| *n > LIMIT_FOR_MANY) {
        e.invalid(&at_parallelism, &n.into(), &why);
    }
    if let Some(n) = failed.filter(|n| *n > LIMIT_FOR_MANY) {
        e.invalid(&at_failed, &n.into(), &why);
    }
}

fn validate_update(new: &Value, old: &Value, e: &mut Errors) {
    let (n, o) = (&new["spec"], &old["spec"]);
    job_spec_with_selector(n, e);
    completions(n, o, e);
    selectors::immutable("spec.selector", n.get("selector"), o.get("selector"), e);
    template_update(new, old, e);
    for (k, kind) in [
        ("completionMode", ""),
        ("podFailurePolicy", "batch/v1.PodFailurePolicy"),
        ("backoffLimitPerIndex", ""),
        ("managedBy", ""),
        ("successPolicy", "batch/v1.SuccessPolicy"),
    ] {
        if n.get(k) != o.get(k) {
            let shown = n.get(k).map_or(Value::Null, |v| internal::form(kind, v));
            e.invalid(&format!("spec.{k}"), &shown, "field is immutable");
        }
    }
}

/// Completions may change together with parallelism when they are counted by index.
fn completions(n: &Value, o: &Value, e: &mut Errors) {
    let (new, old) = (n.get("completions"), o.get("completions"));
    if !is_indexed(n) {
        e.immutable("spec.completions", new, old);
    } else if new != old
        && let Some(c) = new
        && n.get("parallelism") != new
    {
        e.invalid("spec.completions", c, "can only be modified in tandem with spec.parallelism");
    }
}

fn is_suspended(job: &Value) -> bool {
    job["spec"]["suspend"].as_bool() == Some(true)
}

/// Whether the old job takes changes of its template: suspended, and nothing of it runs.
fn template_may_change(old: &Value) -> bool {
    let never_started = old["status"].get("startTime").is_none_or(Value::is_null);
    is_suspended(old) && (never_started || job_status::is_true(old, "Suspended")) && json::int(old, "status.active").unwrap_or(0) == 0
}

fn template_update(new: &Value, old: &Value, e: &mut Errors) {
    let template = &new["spec"]["template"];
    let mut was = old["spec"]["template"].clone();
    let open = template_may_change(old);
    if open {
        take_scheduling(&mut was, template);
    }
    if is_suspended(old) && open {
        let (spec, mut was) = (&template["spec"], was["spec"].clone());
        for list in ["containers", "initContainers"] {
            take_resources(&mut was, spec, list);
        }
        if *spec != was {
            e.invalid("spec.template.spec", &internal::form("v1.PodSpec", spec), "field is immutable");
        }
    } else if *template != was {
        e.invalid("spec.template", &internal::form("v1.PodTemplateSpec", template), "field is immutable");
    }
}

/// Takes over what decides where pods go.
fn take_scheduling(was: &mut Value, template: &Value) {
    let new_node_affinity = template["spec"]["affinity"].get("nodeAffinity").cloned();
    let spec = json::object_mut(was, "spec");
    match (template["spec"].get("affinity"), spec.get_mut("affinity")) {
        (None, Some(a)) => {
            json::take(a, "nodeAffinity");
            if a.as_object().is_some_and(Map::is_empty) {
                spec.shift_remove("affinity");
            }
        }
        (Some(_), None) => {
            let mut a = json!({});
            json::put(&mut a, "nodeAffinity", new_node_affinity);
            spec.insert("affinity".into(), a);
        }
        (Some(_), Some(a)) => json::put(a, "nodeAffinity", new_node_affinity),
        (None, None) => {}
    }
    for k in ["nodeSelector", "tolerations", "schedulingGates"] {
        json::put(&mut was["spec"], k, template["spec"].get(k).cloned());
    }
    json::object_mut(was, "metadata");
    for k in ["labels", "annotations"] {
        json::put(&mut was["metadata"], k, template["metadata"].get(k).cloned());
    }
}

fn take_resources(was: &mut Value, spec: &Value, list: &str) {
    let new = json::list(spec, list);
    let Some(old) = was.get_mut(list).and_then(Value::as_array_mut) else { return };
    if old.len() == new.len() {
        for (o, n) in old.iter_mut().zip(new).filter(|(o, n)| o["name"] == n["name"]) {
            json::put(o, "resources", n.get("resources").cloned());
        }
    }
}
