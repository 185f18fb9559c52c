//! Where containers find volumes.

use serde_json::Value;

use super::errors::Errors;
use super::pod_volumes::{Volumes, descending_path};
use crate::json;

/// Volumes mounted in a container (`ValidateVolumeMounts`).
pub(crate) fn mounts(path: &str, c: &Value, volumes: &Volumes<'_>, e: &mut Errors) {
    let devices = json::list(c, "volumeDevices");
    let mut points = Vec::new();
    for (i, m) in json::list(c, "volumeMounts").iter().enumerate() {
        let at = format!("{path}[{i}]");
        let (name, point) = (json::text(m, "name"), json::text(m, "mountPath"));
        if name.is_empty() {
            e.required(&format!("{at}.name"), "");
        }
        if !volumes.contains_key(name) {
            e.not_found(&format!("{at}.name"), name);
        }
        if point.is_empty() {
            e.required(&format!("{at}.mountPath"), "");
        }
        if points.contains(&point) {
            e.invalid_text(&format!("{at}.mountPath"), point, "must be unique");
        }
        points.push(point);
        if devices.iter().any(|d| json::text(d, "name") == name) {
            e.invalid_text(&format!("{at}.name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|d| json::text(d, "devicePath") == point) {
            e.invalid_text(&format!("{at}.mountPath"), point, "must not already exist as a path in volumeDevices");
        }
        let (sub, expr) = (json::text(m, "subPath"), json::text(m, "subPathExpr"));
        // These paths are told without the index.
        if !sub.is_empty() {
            descending_path(&format!("{path}.subPath"), sub, e);
        }
        if !expr.is_empty() {
            if !sub.is_empty() {
                e.invalid_text(&format!("{at}.subPathExpr"), expr, "subPathExpr and subPath are mutually exclusive");
            }
            descending_path(&format!("{path}.subPathExpr"), expr, e);
        }
        propagation(path, m, c, e);
    }
}

fn propagation(path: &str, m: &Value, c: &Value, e: &mut Errors) {
    let mode = m.get("mountPropagation").and_then(Value::as_str);
    if let Some(mode) = mode {
        let at = format!("{path}.mountPropagation");
        if !matches!(mode, "Bidirectional" | "HostToContainer" | "None") {
            e.unsupported(&at, mode, &["Bidirectional", "HostToContainer", "None"]);
        }
        if mode == "Bidirectional" && c["securityContext"]["privileged"].as_bool() != Some(true) {
            e.forbidden(&at, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    let Some(deep) = m.get("recursiveReadOnly").and_then(Value::as_str) else { return };
    let at = format!("{path}.recursiveReadOnly");
    match deep {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if m["readOnly"].as_bool() != Some(true) {
                e.forbidden(&at, "may only be specified when readOnly is true");
            }
            if mode.is_some_and(|m| m != "None") {
                e.forbidden(&at, "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => e.unsupported(&at, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// Raw devices in a container (`ValidateVolumeDevices`).
pub(crate) fn devices(path: &str, c: &Value, volumes: &Volumes<'_>, e: &mut Errors) {
    let mounts = json::list(c, "volumeMounts");
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for (i, d) in json::list(c, "volumeDevices").iter().enumerate() {
        let (at_name, at_path) = (format!("{path}[{i}].name"), format!("{path}[{i}].devicePath"));
        let (name, device) = (json::text(d, "name"), json::text(d, "devicePath"));
        if name.is_empty() {
            e.required(&at_name, "");
        }
        if names.contains(&name) {
            e.invalid_text(&at_name, name, "must be unique");
        }
        match volumes.get(name) {
            None => e.not_found(&at_name, name),
            Some(v) if v.get("persistentVolumeClaim").is_none() && v.get("ephemeral").is_none() => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                e.invalid_text(&at_name, name, why);
            }
            Some(_) => {}
        }
        if device.is_empty() {
            e.required(&at_path, "");
        }
        if paths.contains(&device) {
            e.invalid_text(&at_path, device, "must be unique");
        }
        if device.split('/').any(|p| p == "..") {
            e.invalid_text(&at_path, device, "can not contain backsteps ('..')");
        } else {
            paths.push(device);
        }
        if mounts.iter().any(|m| json::text(m, "name") == name) {
            e.invalid_text(&at_name, name, "must not already exist in volumeMounts");
        }
        // Only the last mount of a volume counts.
        let last = |m: &Value| mounts.iter().rfind(|o| json::text(o, "name") == json::text(m, "name")) == Some(m);
        if mounts.iter().any(|m| json::text(m, "mountPath") == device && last(m)) {
            e.invalid_text(&at_path, device, "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.push(name);
        }
    }
}
