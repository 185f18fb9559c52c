//! Probes and hooks of containers (core `validateProbe`, `validateLifecycle`).

use serde_json::Value;

use super::errors::Errors;
use super::pod_containers::{port_number, port_or_name};
use crate::json;
use crate::meta;

/// The pod's grace period in seconds.
pub(crate) type Grace = Option<i64>;

const HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// The probes of a container.
pub(crate) fn probes(at: &str, c: &Value, grace: Grace, e: &mut Errors) {
    for k in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(p) = c.get(k).filter(|p| !p.is_null()) else { continue };
        let at = format!("{at}.{k}");
        handler(&at, p, grace, e);
        for f in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
            e.non_negative(&format!("{at}.{f}"), json::int(p, f));
        }
        let path = format!("{at}.terminationGracePeriodSeconds");
        let own = json::int(p, "terminationGracePeriodSeconds");
        if let Some(n) = own.filter(|n| *n <= 0) {
            e.invalid(&path, &n.into(), "must be greater than 0");
        }
        if k == "readinessProbe" {
            if let Some(n) = own {
                e.invalid(&path, &n.into(), "must not be set for readinessProbes");
            }
        } else {
            let n = json::int(p, "successThreshold").unwrap_or(0);
            if n != 1 {
                e.invalid(&format!("{at}.successThreshold"), &n.into(), "must be 1");
            }
        }
    }
}

/// The hooks of a container.
pub(crate) fn lifecycle(at: &str, l: Option<&Value>, grace: Grace, os: Option<&Value>, e: &mut Errors) {
    let Some(l) = l.filter(|l| !l.is_null()) else { return };
    for k in ["postStart", "preStop"] {
        if let Some(h) = l.get(k).filter(|h| !h.is_null()) {
            handler(&format!("{at}.{k}"), h, grace, e);
        }
    }
    let Some(signal) = l.get("stopSignal").and_then(Value::as_str) else { return };
    let at = format!("{at}.stopSignal");
    match os.map(|o| json::text(o, "name")) {
        None => e.forbidden(&at, "may not be set for containers with empty `spec.os.name`"),
        Some("windows") if !WINDOWS_SIGNALS.contains(&signal) => e.unsupported(&at, signal, WINDOWS_SIGNALS),
        Some("linux") => {
            let known = linux_signals();
            if !known.iter().any(|s| s == signal) {
                e.unsupported(&at, signal, &known.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
        Some(_) => {}
    }
}

const WINDOWS_SIGNALS: &[&str] = &["SIGKILL", "SIGTERM"];

fn linux_signals() -> Vec<String> {
    const PLAIN: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";
    let plain = PLAIN.split(' ').map(|s| format!("SIG{s}"));
    let real_time = (1..=15).map(|n| format!("SIGRTMIN+{n}")).chain((1..=14).map(|n| format!("SIGRTMAX-{n}")));
    let mut all: Vec<String> = plain.chain(real_time).collect();
    all.sort_unstable();
    all
}

fn handler(at: &str, h: &Value, grace: Grace, e: &mut Errors) {
    let mut any = false;
    for k in HANDLERS {
        let Some(a) = h.get(*k).filter(|a| !a.is_null()) else { continue };
        let at = format!("{at}.{k}");
        if any {
            e.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        any = true;
        match *k {
            "exec" => {
                if json::list(a, "command").is_empty() {
                    e.required(&format!("{at}.command"), "");
                }
            }
            "httpGet" => http_get(&at, a, e),
            "tcpSocket" => port_or_name(&format!("{at}.port"), &a["port"], e),
            "grpc" => port_number(&format!("{at}.port"), json::int(a, "port").unwrap_or(0), e),
            _ => {
                let n = json::int(a, "seconds").unwrap_or(0);
                if let Some(g) = grace
                    && !(0..=g).contains(&n)
                {
                    e.invalid(&at, &n.into(), &format!("must be non-negative and less than terminationGracePeriodSeconds ({g})"));
                }
            }
        }
    }
    if !any {
        e.required(at, "must specify a handler type");
    }
}

fn http_get(at: &str, a: &Value, e: &mut Errors) {
    if json::text(a, "path").is_empty() {
        e.required(&format!("{at}.path"), "");
    }
    port_or_name(&format!("{at}.port"), &a["port"], e);
    let scheme = json::text(a, "scheme");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        e.unsupported(&format!("{at}.scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for h in json::list(a, "httpHeaders") {
        let name = json::text(h, "name");
        e.names(&format!("{at}.httpHeaders"), name, meta::header_name(name));
    }
}
