//! What a pod's containers are meant to do: the conventions that stand in `nodes/mod.rs`.

use std::time::Duration;

use serde_json::Value;

/// Prefix of the annotations that steer a simulated pod.
pub const PREFIX: &str = "devcluster.evenkeel/";

/// What a pod does once it is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// Its image cannot be pulled: it never starts.
    pub unpullable: bool,
    /// It runs, but never becomes Ready.
    pub never_ready: bool,
    /// From running to Ready, when the pod says so.
    pub ready_after: Option<Duration>,
    /// When and how its containers end; `None`: never by themselves.
    pub ends: Option<End>,
    /// From being deleted to being gone, when the pod says so.
    pub stop_after: Option<Duration>,
}

/// How containers end by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// After running this long.
    pub after: Duration,
    /// With this exit code.
    pub code: u8,
}

impl Behaviour {
    /// Reads the conventions from a pod. `run_for` is how long containers run that end by themselves without saying when.
    pub fn of(pod: &Value, run_for: Duration) -> Self {
        let note = |key: &str| pod["metadata"]["annotations"][format!("{PREFIX}{key}")].as_str();
        let span =
            |key: &str| note(key).and_then(|text| text.parse::<jiff::SignedDuration>().ok()).and_then(|d| Duration::try_from(d).ok());
        let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let image = |c: &'_ Value| c["image"].as_str().unwrap_or_default().to_owned();

        let may_end = matches!(pod["spec"]["restartPolicy"].as_str(), Some("Never" | "OnFailure"));
        // The last container to end decides when the pod does, the worst code how.
        let commanded = containers.iter().map(|c| command_end(c, run_for)).reduce(|a, b| match (a, b) {
            (Some(a), Some(b)) => Some(End { after: a.after.max(b.after), code: a.code.max(b.code) }),
            _ => None,
        });
        let noted = match (span("run-for"), note("exit-code").and_then(|code| code.parse().ok())) {
            (None, None) => None,
            (after, code) => Some(End { after: after.unwrap_or(run_for), code: code.unwrap_or(0) }),
        };
        Self {
            unpullable: containers.iter().any(|c| unpullable(&image(c))),
            never_ready: containers.iter().any(|c| image(c).contains("never-ready") || probe_fails(c)),
            ready_after: span("ready-after"),
            ends: noted.or(if may_end { commanded.flatten() } else { None }),
            stop_after: span("stop-after"),
        }
    }
}

/// Images that cannot be pulled: from the host that never exists (RFC 2606), or with the tag `broken`.
fn unpullable(image: &str) -> bool {
    image.starts_with("registry.invalid/") || image.ends_with(":broken")
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().map(|words| words.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn probe_fails(container: &Value) -> bool {
    let command = words(&container["readinessProbe"]["exec"]["command"]);
    match command.as_slice() {
        ["false" | "/bin/false", ..] => true,
        [_, "-c", script] => script.split([';', '&']).any(|part| matches!(part.trim(), "false" | "exit 1")),
        _ => false,
    }
}

/// When and how a container's command ends; `None`: never.
fn command_end(container: &Value, run_for: Duration) -> Option<End> {
    let mut line = words(&container["command"]);
    line.extend(words(&container["args"]));
    if let [_, "-c", script, ..] | ["-c", script, ..] = line.as_slice() {
        return script_end(script, run_for);
    }
    match line.as_slice() {
        ["true" | "/bin/true", ..] => Some(End { after: Duration::ZERO, code: 0 }),
        ["false" | "/bin/false", ..] => Some(End { after: Duration::ZERO, code: 1 }),
        ["sleep" | "/bin/sleep", time, ..] => sleep_time(time).map(|after| End { after, code: 0 }),
        ["pause" | "/pause", ..] => None,
        ["tail", rest @ ..] if rest.iter().any(|word| word.starts_with("-f")) => None,
        _ => Some(End { after: run_for, code: 0 }),
    }
}

/// A shell line: sleeps add up, the first `exit` ends it. Anything else takes no time.
fn script_end(script: &str, run_for: Duration) -> Option<End> {
    let mut after = None;
    for part in script.split([';', '\n', '&']).map(str::trim) {
        let mut part = part.split_whitespace();
        match part.next() {
            Some("sleep") => after = Some(after.unwrap_or(Duration::ZERO) + sleep_time(part.next().unwrap_or("0"))?),
            Some("exit") => {
                let code = part.next().and_then(|code| code.parse().ok()).unwrap_or(0);
                return Some(End { after: after.unwrap_or(Duration::ZERO), code });
            }
            Some("false") => return Some(End { after: after.unwrap_or(Duration::ZERO), code: 1 }),
            Some("tail") if part.clone().any(|word| word.starts_with("-f")) => return None,
            Some("while" | "until") => return None,
            _ => {}
        }
    }
    Some(End { after: after.unwrap_or(run_for), code: 0 })
}

fn sleep_time(text: &str) -> Option<Duration> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        // `infinity`: it never ends.
        _ => return None,
    };
    let seconds: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(seconds * factor).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RUN: Duration = Duration::from_secs(2);

    fn pod(policy: &str, container: Value) -> Value {
        json!({"metadata": {"annotations": {}}, "spec": {"restartPolicy": policy, "containers": [container]}})
    }

    fn end(millis: u64, code: u8) -> Option<End> {
        Some(End { after: Duration::from_millis(millis), code })
    }

    #[test]
    fn a_pod_that_is_always_restarted_runs_until_it_is_stopped() {
        let b = Behaviour::of(&pod("Always", json!({"image": "nginx:1"})), RUN);
        assert_eq!(b, Behaviour { unpullable: false, never_ready: false, ready_after: None, ends: None, stop_after: None });
    }

    #[test]
    fn images_that_cannot_be_pulled_are_those_of_the_invalid_host_or_with_the_tag_broken() {
        for (image, unpullable) in [("registry.invalid/web:1", true), ("web:broken", true), ("web:1", false), ("broken:1", false)] {
            assert_eq!(Behaviour::of(&pod("Always", json!({"image": image})), RUN).unpullable, unpullable, "{image}");
        }
    }

    #[test]
    fn pods_that_never_become_ready_are_known_by_image_or_probe() {
        let never = |container: Value| Behaviour::of(&pod("Always", container), RUN).never_ready;
        assert!(never(json!({"image": "web:never-ready"})));
        assert!(never(json!({"image": "web:1", "readinessProbe": {"exec": {"command": ["/bin/false"]}}})));
        assert!(never(json!({"image": "web:1", "readinessProbe": {"exec": {"command": ["sh", "-c", "exit 1"]}}})));
        assert!(!never(json!({"image": "web:1", "readinessProbe": {"exec": {"command": ["cat", "/ready"]}}})));
    }

    #[test]
    fn commands_say_when_and_how_a_jobs_pod_ends() {
        let ends = |command: Value| Behaviour::of(&pod("Never", json!({"image": "busybox", "command": command})), RUN).ends;
        assert_eq!(ends(json!([])), end(2000, 0));
        assert_eq!(ends(json!(["false"])), end(0, 1));
        assert_eq!(ends(json!(["sleep", "0.5"])), end(500, 0));
        assert_eq!(ends(json!(["sleep", "infinity"])), None);
        assert_eq!(ends(json!(["sh", "-c", "sleep 1; exit 3"])), end(1000, 3));
        assert_eq!(ends(json!(["sh", "-c", "echo hello && sleep 1 && sleep 2"])), end(3000, 0));
        assert_eq!(ends(json!(["sh", "-c", "while true; do sleep 1; done"])), None);
    }

    #[test]
    fn annotations_go_before_commands_and_restart_policies() {
        let mut p = pod("Always", json!({"image": "web:1"}));
        p["metadata"]["annotations"] = json!({"devcluster.evenkeel/run-for": "500ms", "devcluster.evenkeel/exit-code": "3"});
        assert_eq!(Behaviour::of(&p, RUN).ends, end(500, 3));
        p["metadata"]["annotations"] = json!({"devcluster.evenkeel/ready-after": "soon", "devcluster.evenkeel/stop-after": "10s"});
        let b = Behaviour::of(&p, RUN);
        assert_eq!((b.ready_after, b.stop_after, b.ends), (None, Some(Duration::from_secs(10)), None));
    }
}
