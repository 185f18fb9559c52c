//! The status of a job, and what may come after what (batch `ValidateJobUpdateStatus`). Most rules hold only when what they speak of changes.

use serde_json::Value;

use super::errors::Errors;
use super::job::is_indexed;
use super::job_policies::{overlap, parse_indexes};
use super::{Env, internal};
use crate::json;

/// Whether a condition of the job is true.
pub(crate) fn is_true(job: &Value, kind: &str) -> bool {
    has(job, kind, "True")
}

fn has(job: &Value, kind: &str, status: &str) -> bool {
    json::list(job, "status.conditions").iter().any(|c| json::text(c, "type") == kind && json::text(c, "status") == status)
}

fn is_finished(job: &Value) -> bool {
    is_true(job, "Complete") || is_true(job, "Failed")
}

/// Which parts of a status changed.
struct Changes<'a> {
    new: &'a Value,
    old: &'a Value,
}

impl Changes<'_> {
    fn field(&self, k: &str) -> bool {
        self.new["status"].get(k).filter(|v| !v.is_null()) != self.old["status"].get(k).filter(|v| !v.is_null())
    }

    fn number(&self, k: &str) -> bool {
        let get = |d: &Value| json::int(&d["status"], k).unwrap_or(0);
        get(self.new) != get(self.old)
    }

    fn condition(&self, kind: &str) -> bool {
        is_true(self.new, kind) != is_true(self.old, kind)
    }

    fn finished(&self) -> bool {
        is_finished(self.new) != is_finished(self.old)
    }
}

/// A change of a job's status.
pub(crate) fn validate(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    let change = Changes { new, old };
    counters(&new["status"], e);
    conditions(new, &change, e);
    finished(new, &change, e);
    indexes(new, &change, e);
    more_conditions(new, &change, e);
    transitions(new, old, &change, e);
}

fn counters(s: &Value, e: &mut Errors) {
    for k in ["active", "succeeded", "failed", "ready", "terminating"] {
        e.non_negative(&format!("status.{k}"), json::int(s, k));
    }
    let mut seen: Vec<&str> = Vec::new();
    for list in ["succeeded", "failed"] {
        for (i, uid) in json::list(&s["uncountedTerminatedPods"], list).iter().enumerate() {
            let at = format!("status.uncountedTerminatedPods.{list}[{i}]");
            let uid = uid.as_str().unwrap_or("");
            if uid.is_empty() {
                e.invalid_text(&at, uid, "must not be empty");
            } else if seen.contains(&uid) {
                e.duplicate(&at, &uid.into());
            } else {
                seen.push(uid);
            }
        }
    }
}

fn conditions(new: &Value, change: &Changes<'_>, e: &mut Errors) {
    let path = "status.conditions";
    let (complete, failed) = (is_true(new, "Complete"), is_true(new, "Failed"));
    let (complete_changed, failed_changed) = (change.condition("Complete"), change.condition("Failed"));
    let s = &new["status"];
    let (start, end) = (json::text(s, "startTime"), json::text(s, "completionTime"));
    let end_changed = change.field("completionTime");
    if (complete_changed || failed_changed) && complete && failed {
        e.invalid_hidden(path, "cannot set Complete=True and Failed=true conditions");
    }
    if (complete_changed || change.condition("FailureTarget")) && complete && is_true(new, "FailureTarget") {
        e.invalid_hidden(path, "cannot set Complete=True and FailureTarget=true conditions");
    }
    if complete_changed || end_changed {
        if !end.is_empty() && !complete {
            e.invalid_text("status.completionTime", end, "cannot set completionTime when there is no Complete=True condition");
        }
        if end.is_empty() && complete {
            e.required("status.completionTime", "completionTime is required for Complete jobs");
        }
    }
    // Times are written in one form, so that their texts compare as they do.
    if (change.field("startTime") || end_changed) && !start.is_empty() && !end.is_empty() && end < start {
        e.invalid_text("status.completionTime", end, "must be equal to or after `startTime`");
    }
    if (failed_changed || change.field("failedIndexes")) && failed && !is_true(new, "FailureTarget") {
        e.invalid_hidden(path, "cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if (complete_changed || change.condition("SuccessCriteriaMet")) && complete && !is_true(new, "SuccessCriteriaMet") {
        e.invalid_hidden(path, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
}

fn finished(new: &Value, change: &Changes<'_>, e: &mut Errors) {
    if !is_finished(new) {
        return;
    }
    let (s, spec) = (&new["status"], &new["spec"]);
    let now = change.finished();
    if let Some(n) = json::int(s, "active").filter(|n| *n > 0)
        && (now || change.number("active"))
    {
        e.invalid("status.active", &n.into(), "active>0 is invalid for finished job");
    }
    let nothing_to_do = spec["suspend"].as_bool() == Some(true) && json::int(spec, "completions") == Some(0);
    if (now || change.field("startTime")) && !nothing_to_do && json::text(s, "startTime").is_empty() {
        e.required("status.startTime", "startTime is required for finished job");
    }
    let uncounted = &s["uncountedTerminatedPods"];
    let any = ["succeeded", "failed"].iter().any(|l| !json::list(uncounted, l).is_empty());
    if (now || change.field("uncountedTerminatedPods")) && any {
        let shown = internal::form("batch/v1.UncountedTerminatedPods", uncounted);
        e.invalid("status.uncountedTerminatedPods", &shown, "must be empty for finished job");
    }
}

fn indexes(new: &Value, change: &Changes<'_>, e: &mut Errors) {
    let (s, spec) = (&new["status"], &new["spec"]);
    let completed = json::text(s, "completedIndexes");
    let failed = s.get("failedIndexes").and_then(Value::as_str);
    let (completed_changed, failed_changed) = (change.field("completedIndexes"), change.field("failedIndexes"));
    let completions = json::int(spec, "completions");
    let per_index = json::int(spec, "backoffLimitPerIndex").is_some();
    if let Some(n) = completions {
        if completed_changed && let Err(why) = parse_indexes(completed, n) {
            e.invalid_text("status.completedIndexes", completed, &format!("error parsing completedIndexes: {why}"));
        }
        if failed_changed
            && per_index
            && let Some(f) = failed
            && let Err(why) = parse_indexes(f, n)
        {
            e.invalid_text("status.failedIndexes", f, &format!("error parsing failedIndexes: {why}"));
        }
    }
    if completed_changed && !completed.is_empty() && !is_indexed(spec) {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        e.invalid_text("status.completedIndexes", completed, why);
    }
    let Some(f) = failed else { return };
    if failed_changed && !per_index {
        e.invalid_text("status.failedIndexes", f, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
    if (failed_changed || completed_changed)
        && let Some(i) = completions.and_then(|n| overlap(completed, f, n))
    {
        e.invalid_text("status.failedIndexes", f, &format!("failedIndexes and completedIndexes overlap at index: {i}"));
    }
}

fn more_conditions(new: &Value, change: &Changes<'_>, e: &mut Errors) {
    let s = &new["status"];
    if let Some(n) = json::int(s, "terminating").filter(|n| *n > 0)
        && (change.finished() || change.field("terminating"))
        && is_finished(new)
    {
        e.invalid("status.terminating", &n.into(), "terminating>0 is invalid for finished job");
    }
    if let Some(ready) = json::int(s, "ready")
        && (change.field("ready") || change.number("active"))
        && ready > json::int(s, "active").unwrap_or(0)
    {
        e.invalid("status.ready", &ready.into(), "cannot set more ready pods than active");
    }
    let path = "status.conditions";
    let met = is_true(new, "SuccessCriteriaMet");
    if met && is_true(new, "Failed") {
        e.invalid_hidden(path, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if met && is_true(new, "FailureTarget") {
        e.invalid_hidden(path, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if new["spec"].get("successPolicy").is_some_and(|p| !p.is_null()) && !met && is_true(new, "Complete") {
        e.invalid_hidden(path, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
    }
}

fn transitions(new: &Value, old: &Value, change: &Changes<'_>, e: &mut Errors) {
    let path = "status.conditions";
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is_true(old, kind) && !is_true(new, kind) {
            e.invalid_hidden(path, &format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    let (s, was, spec) = (&new["status"], &old["status"], &new["spec"]);
    // Elastic jobs may shrink, and their count of successes with them.
    let elastic = is_indexed(spec) && spec.get("completions") == spec.get("parallelism");
    for (k, rejects) in [("failed", true), ("succeeded", !elastic)] {
        let (now, before) = (json::int(s, k).unwrap_or(0), json::int(was, k).unwrap_or(0));
        if rejects && now < before {
            e.invalid(&format!("status.{k}"), &now.into(), &format!("cannot decrease the {k} counter"));
        }
    }
    let (end, end_was) = (json::text(s, "completionTime"), json::text(was, "completionTime"));
    if !end.is_empty() && !end_was.is_empty() && end != end_was {
        e.invalid_text("status.completionTime", end, "field is immutable");
    }
    let resuming = is_true(old, "Suspended") && has(new, "Suspended", "False");
    if change.field("startTime") && !resuming && !json::text(was, "startTime").is_empty() && spec["suspend"].as_bool() != Some(true) {
        let shown = s.get("startTime").cloned().unwrap_or(Value::Null);
        e.invalid("status.startTime", &shown, "field is immutable for unsuspended job once set");
    }
    let (met, met_was) = (is_true(new, "SuccessCriteriaMet"), is_true(old, "SuccessCriteriaMet"));
    if met_was && !met {
        e.invalid_hidden(path, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if is_true(old, "Complete") && !met_was && met {
        e.invalid_hidden(path, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions");
    }
}
