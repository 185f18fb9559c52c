//! CronJobs (batch `validateCronJobSpec`).

use serde_json::Value;

use super::errors::Errors;
use super::{Check, DEFAULT, Rules, cron_schedule, job, selectors};
use crate::json;

/// Jobs add eleven characters to the name.
const NAME_LIMIT: usize = 52;

pub(crate) const CRON_JOB: Rules =
    Rules { on_update: &[Check::MetaUpdate, Check::Always], on_status: &[], validate: |doc, old, e, _| validate(doc, old, e), ..DEFAULT };

fn validate(doc: &Value, old: Option<&Value>, e: &mut Errors) {
    let spec = &doc["spec"];
    let zone = spec.get("timeZone").and_then(Value::as_str);
    schedule(json::text(spec, "schedule"), zone, old, e);
    e.non_negative("spec.startingDeadlineSeconds", json::int(spec, "startingDeadlineSeconds"));
    let zone_changed = old.is_none_or(|o| o["spec"].get("timeZone") != spec.get("timeZone"));
    if let Some(z) = zone.filter(|_| zone_changed) {
        time_zone(z, e);
    }
    e.one_of("spec.concurrencyPolicy", json::text(spec, "concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    let template = &spec["jobTemplate"]["spec"];
    job::job_spec("spec.jobTemplate.spec", template, e);
    if let Some(s) = template.get("selector").filter(|s| !s.is_null()) {
        e.invalid("spec.jobTemplate.spec.selector", &selectors::shown(Some(s)), "`selector` will be auto-generated");
    }
    if template["manualSelector"].as_bool() == Some(true) {
        e.unsupported_value("spec.jobTemplate.spec.manualSelector", &true.into(), &["nil", "false"]);
    }
    for k in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        e.non_negative(&format!("spec.{k}"), json::int(spec, k));
    }
    let name = json::text(doc, "metadata.name");
    if old.is_none() && name.len() > NAME_LIMIT {
        e.invalid_text("metadata.name", name, &format!("must be no more than {NAME_LIMIT} characters"));
    }
}

fn schedule(s: &str, zone: Option<&str>, old: Option<&Value>, e: &mut Errors) {
    let path = "spec.schedule";
    if s.is_empty() {
        e.required(path, "");
        return;
    }
    if let Err(why) = cron_schedule::parse(s) {
        e.invalid_text(path, s, &why);
    }
    // Schedules that bring a zone of their own are let be, not let in.
    let had_zone = old.is_some_and(|o| json::text(o, "spec.schedule").contains("TZ"));
    if s.contains("TZ") && had_zone && zone.is_some() {
        e.invalid_text(path, s, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    } else if s.contains("TZ") && !had_zone {
        e.invalid_text(path, s, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
}

fn time_zone(z: &str, e: &mut Errors) {
    let path = "spec.timeZone";
    if z.is_empty() {
        e.invalid_text(path, z, "timeZone must be nil or non-empty string");
        return;
    }
    let part_ok = |p: &str| {
        !matches!(p, "." | "..")
            && !p.starts_with('-')
            && (1..=14).contains(&p.len())
            && p.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+'))
    };
    let unknown = format!("unknown time zone {z}");
    if !z.split('/').all(part_ok) {
        e.invalid_text(path, z, &unknown);
        return;
    }
    if z.eq_ignore_ascii_case("local") {
        e.invalid_text(path, z, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    if z != "Local" && !cron_schedule::known_zone(z) {
        e.invalid_text(path, z, &unknown);
    }
}
