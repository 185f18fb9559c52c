//! Rows of the kinds that make pods.

use jiff::Timestamp;
use serde_json::Value;

use super::human::{containers, count, deleting, labels, list, number, selector, selector_or_none, since, span, text, text_or};

const CREATED: &str = "/metadata/creationTimestamp";
const NAME: &str = "/metadata/name";
const TEMPLATE: &str = "/spec/template/spec/containers";

pub(super) fn deployment(o: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(o, TEMPLATE);
    vec![
        text(o, NAME).into(),
        format!("{}/{}", number(o, "/status/readyReplicas"), number(o, "/spec/replicas")).into(),
        number(o, "/status/updatedReplicas").into(),
        number(o, "/status/availableReplicas").into(),
        since(o, CREATED, now).into(),
        names.into(),
        images.into(),
        selector(o.pointer("/spec/selector")).into(),
    ]
}

pub(super) fn replica_set(o: &Value, now: Timestamp) -> Vec<Value> {
    replicas(o, now, selector_or_none(o.pointer("/spec/selector")))
}

pub(super) fn replication_controller(o: &Value, now: Timestamp) -> Vec<Value> {
    replicas(o, now, labels(o.pointer("/spec/selector")))
}

fn replicas(o: &Value, now: Timestamp, selector: String) -> Vec<Value> {
    let (names, images) = containers(o, TEMPLATE);
    vec![
        text(o, NAME).into(),
        number(o, "/spec/replicas").into(),
        number(o, "/status/replicas").into(),
        number(o, "/status/readyReplicas").into(),
        since(o, CREATED, now).into(),
        names.into(),
        images.into(),
        selector.into(),
    ]
}

pub(super) fn stateful_set(o: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(o, TEMPLATE);
    vec![
        text(o, NAME).into(),
        format!("{}/{}", number(o, "/status/readyReplicas"), number(o, "/spec/replicas")).into(),
        since(o, CREATED, now).into(),
        names.into(),
        images.into(),
    ]
}

pub(super) fn daemon_set(o: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(o, TEMPLATE);
    vec![
        text(o, NAME).into(),
        number(o, "/status/desiredNumberScheduled").into(),
        number(o, "/status/currentNumberScheduled").into(),
        number(o, "/status/numberReady").into(),
        number(o, "/status/updatedNumberScheduled").into(),
        number(o, "/status/numberAvailable").into(),
        labels(o.pointer("/spec/template/spec/nodeSelector")).into(),
        since(o, CREATED, now).into(),
        names.into(),
        images.into(),
        selector_or_none(o.pointer("/spec/selector")).into(),
    ]
}

pub(super) fn job(o: &Value, now: Timestamp) -> Vec<Value> {
    let succeeded = number(o, "/status/succeeded");
    let completions = match (o.pointer("/spec/completions").and_then(Value::as_i64), number(o, "/spec/parallelism")) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let time = |pointer: &str| text(o, pointer).parse::<Timestamp>().ok().map(Timestamp::as_second);
    let duration = match (time("/status/startTime"), time("/status/completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => span(end.unwrap_or(now.as_second()) - start),
    };
    let has = |kind: &str| list(o, "/status/conditions").iter().any(|c| text(c, "/type") == kind && text(c, "/status") == "True");
    let status = match () {
        () if has("Complete") => "Complete",
        () if has("Failed") => "Failed",
        () if deleting(o) => "Terminating",
        () if has("Suspended") => "Suspended",
        () if has("FailureTarget") => "FailureTarget",
        () if has("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    let (names, images) = containers(o, TEMPLATE);
    vec![
        text(o, NAME).into(),
        status.into(),
        completions.into(),
        duration.into(),
        since(o, CREATED, now).into(),
        names.into(),
        images.into(),
        selector_or_none(o.pointer("/spec/selector")).into(),
    ]
}

pub(super) fn cron_job(o: &Value, now: Timestamp) -> Vec<Value> {
    let suspend = match o.pointer("/spec/suspend").and_then(Value::as_bool) {
        None => "<unset>",
        Some(true) => "True",
        Some(false) => "False",
    };
    let last = match text(o, "/status/lastScheduleTime") {
        "" => "<none>".to_owned(),
        _ => since(o, "/status/lastScheduleTime", now),
    };
    let (names, images) = containers(o, "/spec/jobTemplate/spec/template/spec/containers");
    vec![
        text(o, NAME).into(),
        text(o, "/spec/schedule").into(),
        text_or(o, "/spec/timeZone", "<none>").into(),
        suspend.into(),
        count(o, "/status/active").into(),
        last.into(),
        since(o, CREATED, now).into(),
        names.into(),
        images.into(),
        selector_or_none(o.pointer("/spec/jobTemplate/spec/selector")).into(),
    ]
}

pub(super) fn pod_template(o: &Value, _now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(o, "/template/spec/containers");
    vec![text(o, NAME).into(), names.into(), images.into(), labels(o.pointer("/template/metadata/labels")).into()]
}

pub(super) fn controller_revision(o: &Value, now: Timestamp) -> Vec<Value> {
    let owner = list(o, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true);
    let controller = owner.map_or("<none>".to_owned(), |owner| {
        let kind = text(owner, "/kind").to_lowercase();
        match text(owner, "/apiVersion").rsplit_once('/') {
            Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "/name")),
            None => format!("{kind}/{}", text(owner, "/name")),
        }
    });
    vec![text(o, NAME).into(), controller.into(), number(o, "/revision").into(), since(o, CREATED, now).into()]
}

pub(super) fn disruption_budget(o: &Value, now: Timestamp) -> Vec<Value> {
    let bound = |pointer: &str| match o.pointer(pointer) {
        Some(Value::String(percent)) => percent.clone(),
        Some(Value::Number(count)) => count.to_string(),
        _ => "N/A".to_owned(),
    };
    vec![
        text(o, NAME).into(),
        bound("/spec/minAvailable").into(),
        bound("/spec/maxUnavailable").into(),
        number(o, "/status/disruptionsAllowed").into(),
        since(o, CREATED, now).into(),
    ]
}

pub(super) fn scale(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), number(o, "/spec/replicas").into(), number(o, "/status/replicas").into(), since(o, CREATED, now).into()]
}

pub(super) fn autoscaler(o: &Value, now: Timestamp) -> Vec<Value> {
    let min = o.pointer("/spec/minReplicas").and_then(Value::as_i64).map_or("<unset>".to_owned(), |min| min.to_string());
    vec![
        text(o, NAME).into(),
        format!("{}/{}", text(o, "/spec/scaleTargetRef/kind"), text(o, "/spec/scaleTargetRef/name")).into(),
        metrics(o).into(),
        min.into(),
        number(o, "/spec/maxReplicas").into(),
        number(o, "/status/currentReplicas").into(),
        since(o, CREATED, now).into(),
    ]
}

/// `current/target` of an autoscaler's first two metrics.
fn metrics(o: &Value) -> String {
    if let Some(target) = o.pointer("/spec/targetCPUUtilizationPercentage").and_then(Value::as_i64) {
        // autoscaling/v1 knows one metric only.
        let current = o.pointer("/status/currentCPUUtilizationPercentage").and_then(Value::as_i64);
        return format!("cpu: {}/{target}%", current.map_or("<unknown>".to_owned(), |c| format!("{c}%")));
    }
    let specs = list(o, "/spec/metrics");
    let statuses = list(o, "/status/currentMetrics");
    let one = |(i, spec): (usize, &Value)| {
        let (field, per_resource) = match text(spec, "/type") {
            "External" => ("external", false),
            "Pods" => ("pods", false),
            "Object" => ("object", false),
            "Resource" => ("resource", true),
            "ContainerResource" => ("containerResource", true),
            _ => return "<unknown type>".to_owned(),
        };
        let target = |key: &str| text(spec, &format!("/{field}/target/{key}")).to_owned();
        let current = |key: &str| {
            let found = statuses.get(i).map_or("", |status| text(status, &format!("/{field}/current/{key}")));
            if found.is_empty() { "<unknown>".to_owned() } else { found.to_owned() }
        };
        let percent = |value: Option<i64>, absent: &str| value.map_or(absent.to_owned(), |v| format!("{v}%"));
        let average = target("averageValue");
        if per_resource {
            let name = text(spec, &format!("/{field}/name"));
            if !average.is_empty() {
                return format!("{name}: {}/{average}", current("averageValue"));
            }
            let now = statuses.get(i).and_then(|s| s.pointer(&format!("/{field}/current/averageUtilization"))).and_then(Value::as_i64);
            let wanted = spec.pointer(&format!("/{field}/target/averageUtilization")).and_then(Value::as_i64);
            return format!("{name}: {}/{}", percent(now, "<unknown>"), percent(wanted, "<auto>"));
        }
        match (field, average.is_empty()) {
            ("pods", _) => format!("{}/{average}", current("averageValue")),
            (_, false) => format!("{}/{average} (avg)", current("averageValue")),
            (_, true) => format!("{}/{}", current("value"), target("value")),
        }
    };
    let all: Vec<String> = specs.iter().enumerate().map(one).collect();
    match all.len() {
        0 => "<none>".to_owned(),
        1 | 2 => all.join(", "),
        many => format!("{} + {} more...", all[..2].join(", "), many - 2),
    }
}
