//! Jobs and CronJobs.

use serde_json::{Map, Value, json};

use super::errors::Errors;
use super::pod_spec::{self, Template};
use super::{DEFAULT, Env, Rules, internal};
use crate::json;

/// Most pods at once of an indexed job.
const INDEXED_LIMIT: i64 = 100_000;
const TEMPLATE: Template = Template { restart: &["OnFailure", "Never"], deadline: true, allow_ephemeral: false };

pub(crate) const JOB: Rules = Rules {
    prepare_create: |doc, _| generate_selector(doc),
    validate: validate_job,
    validate_update: validate_job_update,
    validate_status: validate_job_status,
    ..DEFAULT
};

pub(crate) const CRON_JOB: Rules = Rules { validate: validate_cron_job, ..DEFAULT };

/// Selector and labels that make the job's pods its own.
fn generate_selector(doc: &mut Value) {
    if doc["spec"]["manualSelector"].as_bool() == Some(true) {
        return;
    }
    let (uid, name) = (json::text(doc, "metadata.uid").to_owned(), json::text(doc, "metadata.name").to_owned());
    let labels = [
        ("batch.kubernetes.io/controller-uid", uid.as_str()),
        ("batch.kubernetes.io/job-name", name.as_str()),
        ("controller-uid", uid.as_str()),
        ("job-name", name.as_str()),
    ];
    let meta = json::object_mut(&mut doc["spec"]["template"], "metadata");
    let have = meta.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    for (k, v) in labels {
        have[k] = v.into();
    }
    let spec = json::object_mut(doc, "spec");
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    json::object_mut(selector, "matchLabels").insert("batch.kubernetes.io/controller-uid".into(), uid.as_str().into());
    // A job without labels of its own shows those of its template.
    let template = doc["spec"]["template"]["metadata"]["labels"].clone();
    let meta = json::object_mut(doc, "metadata");
    if meta.get("labels").and_then(Value::as_object).is_none_or(Map::is_empty) {
        meta.insert("labels".into(), template);
    }
}

fn validate_job(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    generated_selector(doc, e);
    job_with_selector(doc, e);
}

/// A selector that the server made must be the one that it makes.
fn generated_selector(doc: &Value, e: &mut Errors) {
    let spec = &doc["spec"];
    if spec["manualSelector"].as_bool() == Some(true) {
        return;
    }
    let uid = json::text(doc, "metadata.uid");
    let Some(selector) = spec.get("selector").filter(|s| !s.is_null()) else { return };
    let want = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    let old = json!({"matchLabels": {"controller-uid": uid}});
    if *selector != want && *selector != old {
        e.invalid("spec.selector", selector, "`selector` not auto-generated");
    }
}

fn job_with_selector(doc: &Value, e: &mut Errors) {
    let spec = &doc["spec"];
    match spec.get("selector").filter(|s| !s.is_null()) {
        None => e.required("spec.selector", ""),
        Some(s) => pod_spec::label_selector(s, "spec.selector", e),
    }
    let selector = crate::selector::labels::LabelSelector::from_value(spec.get("selector").filter(|s| !s.is_null()));
    let labels = json::object(spec, "template.metadata.labels");
    if !selector.matches_map(labels) {
        let shown = labels.map_or(Value::Null, |l| Value::Object(l.clone()));
        e.invalid("spec.template.metadata.labels", &shown, "`selector` does not match template `labels`");
    }
    job_spec(spec, "spec", e);
}

fn job_spec(spec: &Value, path: &str, e: &mut Errors) {
    for k in ["parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes"] {
        e.non_negative(&format!("{path}.{k}"), json::int(spec, k));
    }
    if let Some(d) = json::int(spec, "activeDeadlineSeconds") {
        e.non_negative(&format!("{path}.activeDeadlineSeconds"), Some(d));
    }
    match json::text(spec, "completionMode") {
        "" | "NonIndexed" => {}
        "Indexed" => {
            if spec.get("completions").is_none_or(Value::is_null) {
                e.required(&format!("{path}.completions"), "when completion mode is Indexed");
            }
            if let Some(n) = json::int(spec, "parallelism").filter(|n| *n > INDEXED_LIMIT) {
                e.invalid(
                    &format!("{path}.parallelism"),
                    &n.into(),
                    &format!("must be less than or equal to {INDEXED_LIMIT} when completion mode is Indexed"),
                );
            }
        }
        other => e.unsupported(&format!("{path}.completionMode"), other, &["NonIndexed", "Indexed"]),
    }
    pod_spec::template(
        &spec["template"],
        &format!("{path}.template"),
        Template { restart: &["Always", "OnFailure", "Never"], ..TEMPLATE },
        e,
    );
    let restart = json::text(spec, "template.spec.restartPolicy");
    if restart == "Always" {
        e.required(&format!("{path}.template.spec.restartPolicy"), "valid values: \"OnFailure\", \"Never\"");
    }
}

fn validate_job_update(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    let (n, o) = (&new["spec"], &old["spec"]);
    job_with_selector(new, e);
    let indexed = json::text(o, "completionMode") == "Indexed";
    if !indexed {
        e.immutable("spec.completions", n.get("completions"), o.get("completions"));
    } else if n.get("completions") != o.get("completions") && n.get("completions") != n.get("parallelism") {
        e.invalid("spec.completions", &n["completions"], "can only be modified in tandem with spec.parallelism");
    }
    e.immutable("spec.selector", n.get("selector"), o.get("selector"));
    if n.get("template") != o.get("template") {
        let suspended = o["suspend"].as_bool() == Some(true) && old["status"].get("startTime").is_none();
        let mut munged = n["template"].clone();
        if suspended {
            for (part, keys) in [
                ("spec", &["nodeSelector", "tolerations", "affinity", "schedulingGates"][..]),
                ("metadata", &["labels", "annotations"][..]),
            ] {
                for k in keys {
                    let was = o["template"][part].get(*k).cloned();
                    json::put(&mut munged[part], k, was);
                }
            }
        }
        if munged != o["template"] {
            if suspended {
                let shown = internal::form("v1.PodSpec", &n["template"]["spec"]);
                e.invalid("spec.template.spec", &shown, "field is immutable");
            } else {
                e.invalid("spec.template", &internal::form("v1.PodTemplateSpec", &n["template"]), "field is immutable");
            }
        }
    }
    e.immutable("spec.completionMode", n.get("completionMode"), o.get("completionMode"));
    e.immutable("spec.podFailurePolicy", n.get("podFailurePolicy"), o.get("podFailurePolicy"));
    e.immutable("spec.backoffLimitPerIndex", n.get("backoffLimitPerIndex"), o.get("backoffLimitPerIndex"));
    e.immutable("spec.managedBy", n.get("managedBy"), o.get("managedBy"));
    e.immutable("spec.successPolicy", n.get("successPolicy"), o.get("successPolicy"));
}

fn validate_job_status(doc: &Value, _: &Value, e: &mut Errors, _: &Env<'_>) {
    for k in ["active", "succeeded", "failed", "ready", "terminating"] {
        e.non_negative(&format!("status.{k}"), json::int(&doc["status"], k));
    }
    let (ready, active) = (json::int(doc, "status.ready").unwrap_or(0), json::int(doc, "status.active").unwrap_or(0));
    if ready > active {
        e.invalid("status.ready", &ready.into(), "cannot set more ready pods than active");
    }
}

fn validate_cron_job(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    let spec = &doc["spec"];
    let schedule = json::text(spec, "schedule");
    if schedule.is_empty() {
        e.required("spec.schedule", "");
    } else if let Some(why) = bad_schedule(schedule) {
        e.invalid_text("spec.schedule", schedule, &why);
    }
    if let Some(n) = json::int(spec, "startingDeadlineSeconds") {
        e.non_negative("spec.startingDeadlineSeconds", Some(n));
    }
    match json::text(spec, "concurrencyPolicy") {
        "Allow" | "Forbid" | "Replace" => {}
        "" => e.required("spec.concurrencyPolicy", ""),
        other => e.unsupported("spec.concurrencyPolicy", other, &["Allow", "Forbid", "Replace"]),
    }
    for k in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        e.non_negative(&format!("spec.{k}"), json::int(spec, k));
    }
    job_spec(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", e);
    if json::text(doc, "metadata.name").len() > 52 {
        e.invalid_text("metadata.name", json::text(doc, "metadata.name"), "must be no more than 52 characters");
    }
}

/// What keeps a text from being a schedule of five fields or a descriptor.
fn bad_schedule(s: &str) -> Option<String> {
    if s.contains("TZ") {
        return Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
    }
    if let Some(d) = s.strip_prefix('@') {
        let known = matches!(d, "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly") || d.starts_with("every ");
        return (!known).then(|| format!("unrecognized descriptor: @{d}"));
    }
    let fields: Vec<&str> = s.split_whitespace().collect();
    if fields.len() != 5 {
        return Some(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    let bounds = [(0u32, 59u32), (0, 23), (1, 31), (1, 12), (0, 7)];
    for (f, (lo, hi)) in fields.iter().zip(bounds) {
        for part in f.split(',') {
            let (range, _) = part.split_once('/').unwrap_or((part, ""));
            for n in range.split('-').filter(|n| !matches!(*n, "*" | "?")) {
                match n.parse::<u32>() {
                    Ok(v) if v < lo => return Some(format!("beginning of range ({v}) below minimum ({lo}): {part}")),
                    Ok(v) if v > hi => return Some(format!("end of range ({v}) above maximum ({hi}): {part}")),
                    Ok(_) => {}
                    Err(_) if n.len() == 3 && n.chars().all(|c| c.is_ascii_alphabetic()) => {}
                    Err(_) => return Some(format!("failed to parse int from {n}: strconv.Atoi: parsing {n:?}: invalid syntax")),
                }
            }
        }
    }
    None
}
