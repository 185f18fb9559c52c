//! What drivers tell about their devices (`ValidateResourceSlice`).

use serde_json::{Map, Value};

use super::errors::Errors;
use super::{Check, DEFAULT, Env, Rules, amounts, device_capacity, devices, internal, pod_scheduling, volumes};
use crate::json;
use crate::meta;

/// Most devices of a slice, and of one whose devices have taints or share counters.
const MOST_DEVICES: usize = 128;
const MOST_ADVANCED_DEVICES: usize = 64;
/// Most attributes and capacities of a device, and most values of its attributes.
const MOST_PROPERTIES: usize = 32;
const MOST_ATTRIBUTE_VALUES: usize = 48;
/// Longest key of an attribute or capacity: domain, slash, name. Longer ones are shown shortened.
const LONGEST_KEY: usize = 63 + 1 + 32;
/// Longest text or version of an attribute.
const LONGEST_VALUE: usize = 64;
const MOST_TAINTS: usize = 16;
/// Most sets of counters, most counters of a set, and most sets that one device takes from.
const MOST_COUNTER_SETS: usize = 8;
const MOST_COUNTERS: usize = 32;
const MOST_CONSUMED_SETS: usize = 2;

pub(crate) const RESOURCE_SLICE: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Always],
    prepare_create: stamp_taints,
    prepare_update: |doc, _, env| stamp_taints(doc, env),
    validate: |doc, old, e, _| slice(&doc["spec"], old.map(|o| &o["spec"]), e),
    ..DEFAULT
};

/// A taint that does not say since when it is there is there from now on.
fn stamp_taints(doc: &mut Value, env: &Env<'_>) {
    let devices = doc.get_mut("spec").and_then(|s| s.get_mut("devices")).and_then(Value::as_array_mut);
    for d in devices.into_iter().flatten() {
        for t in d.get_mut("taints").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
            t.entry("timeAdded").or_insert_with(|| meta::seconds(env.now).into());
        }
    }
}

fn slice(s: &Value, old: Option<&Value>, e: &mut Errors) {
    volumes::driver_name("spec.driver", json::text(s, "driver"), e);
    pool(&s["pool"], e);
    if let Some(o) = old {
        e.immutable_text("spec.pool.name", &s["pool"], &o["pool"], "name");
        e.immutable_text("spec.driver", s, o, "driver");
        e.immutable("spec.nodeName", s.get("nodeName"), o.get("nodeName"));
    }
    nodes(s, e);
    let given = |k: &str| s.get(k).is_some_and(|v| !v.is_null());
    if given("sharedCounters") && given("devices") {
        e.invalid_text("spec", "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let all = json::list(s, "devices");
    let advanced = all.iter().any(|d| ["taints", "consumesCounters"].iter().any(|k| !json::list(d, k).is_empty()));
    let most = if advanced { MOST_ADVANCED_DEVICES } else { MOST_DEVICES };
    let one_by_one = s["perDeviceNodeSelection"] == true;
    devices::each_once("spec.devices", all, most, e, devices::by("name"), |at, d, e| {
        let before = old.and_then(|o| json::list(o, "devices").iter().find(|o| o["name"] == d["name"]));
        device(at, d, before, one_by_one, e);
    });
    devices::each_once("spec.sharedCounters", json::list(s, "sharedCounters"), MOST_COUNTER_SETS, e, devices::by("name"), |at, c, e| {
        counter_set(at, "name", c, e);
    });
}

fn pool(p: &Value, e: &mut Errors) {
    devices::pool_name("spec.pool.name", json::text(p, "name"), e);
    let n = |k: &str| json::int(p, k).unwrap_or(0);
    let (count, generation) = (n("resourceSliceCount"), n("generation"));
    if count <= 0 {
        e.invalid("spec.pool.resourceSliceCount", &count.into(), "must be greater than zero");
    }
    if generation < 0 {
        e.invalid("spec.pool.generation", &generation.into(), "must be greater than or equal to zero");
    }
}

/// A field that can only be true. Whether it is.
fn only_true(at: &str, v: &Value, field: &str, e: &mut Errors) -> bool {
    let value = v.get(field).and_then(Value::as_bool);
    if value == Some(false) {
        e.invalid(&format!("{at}.{field}"), &false.into(), "must be either unset or set to true");
    }
    value == Some(true)
}

/// The name of a node that may be left out, but not be empty. Whether there is one.
fn node_name(at: &str, v: &Value, empty: &str, e: &mut Errors) -> bool {
    let Some(name) = v.get("nodeName").and_then(Value::as_str) else { return false };
    if name.is_empty() {
        e.invalid_text(&format!("{at}.nodeName"), name, empty);
        return false;
    }
    e.names(&format!("{at}.nodeName"), name, meta::dns_subdomain(name));
    true
}

/// Where the devices of a slice can be reached: said in one way.
fn nodes(s: &Value, e: &mut Errors) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut set = Vec::new();
    if node_name("spec", s, "must be either unset or set to a non-empty string", e) {
        set.push("`nodeName`");
    }
    if let Some(selector) = s.get("nodeSelector").filter(|n| !n.is_null()) {
        set.push("`nodeSelector`");
        pod_scheduling::node_selector("spec.nodeSelector", selector, e);
        let terms = &selector["nodeSelectorTerms"];
        if terms.as_array().is_none_or(|l| l.len() != 1) {
            let shown = terms.as_array().map_or(Value::Null, |l| internal::list("v1.NodeSelectorTerm", l));
            e.invalid("spec.nodeSelector.nodeSelectorTerms", &shown, "must have exactly one node selector term");
        }
    }
    if only_true("spec", s, "allNodes", e) {
        set.push("`allNodes`");
    }
    if only_true("spec", s, "perDeviceNodeSelection", e) {
        set.push("`perDeviceNodeSelection`");
    }
    match set.len() {
        0 => e.required("spec", ONE),
        1 => {}
        _ => e.invalid_text("spec", &format!("{{{}}}", set.join(", ")), &format!("{ONE}, but multiple fields are set")),
    }
}

fn device(at: &str, d: &Value, old: Option<&Value>, one_by_one: bool, e: &mut Errors) {
    let name = json::text(d, "name");
    e.names(&format!("{at}.name"), name, meta::dns_label(name));
    let count = |k: &str| json::object(d, k).map_or(0, Map::len);
    let (attributes, capacities) = (count("attributes"), count("capacity"));
    if attributes + capacities > MOST_PROPERTIES {
        let why = format!("the total number of attributes and capacities must not exceed {MOST_PROPERTIES}");
        e.invalid(at, &(attributes + capacities).into(), &why);
    }
    if attributes > MOST_ATTRIBUTE_VALUES {
        let why = format!("the total number of attribute values must not exceed {MOST_ATTRIBUTE_VALUES}");
        e.invalid(at, &attributes.into(), &why);
    }
    for (k, v) in amounts::entries(d.get("attributes")) {
        devices::qualified_name(&format!("{at}.attributes"), k, e);
        attribute(&format!("{at}.attributes[{}]", shortened(k)), v, e);
    }
    let shared = d["allowMultipleAllocations"] == true;
    for (k, v) in amounts::entries(d.get("capacity")) {
        devices::qualified_name(&format!("{at}.capacity"), k, e);
        device_capacity::capacity(&format!("{at}.capacity[{}]", shortened(k)), v, shared, e);
    }
    if old.is_none_or(|o| o.get("taints") != d.get("taints")) {
        devices::each(&format!("{at}.taints"), json::list(d, "taints"), MOST_TAINTS, e, devices::taint);
    }
    let path = format!("{at}.consumesCounters");
    devices::each_once(&path, json::list(d, "consumesCounters"), MOST_CONSUMED_SETS, e, devices::by("counterSet"), |at, c, e| {
        counter_set(at, "counterSet", c, e);
    });
    if one_by_one {
        device_nodes(at, d, e);
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|k| d.get(k).is_some_and(|v| !v.is_null())) {
        let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        e.invalid(at, &Value::Null, why);
    }
    devices::binding(at, d, e);
}

/// Where a device of its own can be reached.
fn device_nodes(at: &str, d: &Value, e: &mut Errors) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let mut set = Vec::new();
    if node_name(at, d, "must not be empty", e) {
        set.push("`nodeName`");
    }
    if let Some(selector) = d.get("nodeSelector").filter(|n| !n.is_null()) {
        set.push("`nodeSelector`");
        pod_scheduling::node_selector(&format!("{at}.nodeSelector"), selector, e);
    }
    if only_true(at, d, "allNodes", e) {
        set.push("`allNodes`");
    }
    match set.len() {
        0 => e.required(at, ONE),
        1 => {}
        _ => e.invalid_text(at, &format!("{{{}}}", set.join(", ")), ONE),
    }
}

/// A key as a path shows it: what is too long loses its middle.
fn shortened(key: &str) -> String {
    const DOTS: &str = "...";
    if key.len() <= LONGEST_KEY {
        return key.to_owned();
    }
    let rest = LONGEST_KEY - DOTS.len();
    let head = key.floor_char_boundary(rest.div_ceil(2));
    let tail = key.ceil_char_boundary(key.len() - rest / 2);
    format!("{}{DOTS}{}", &key[..head], &key[tail..])
}

/// One value, of whatever type. Lists of values are not open yet (feature `DRAListTypeAttributes`).
fn attribute(at: &str, a: &Value, e: &mut Errors) {
    let given = |k: &str| a.get(k).filter(|v| !v.is_null());
    if given("string").and_then(Value::as_str).is_some_and(|s| s.len() > LONGEST_VALUE) {
        e.too_long(&format!("{at}.string"), LONGEST_VALUE);
    }
    if let Some(v) = given("version").and_then(Value::as_str) {
        let path = format!("{at}.version");
        if !is_semantic_version(v) {
            e.invalid_text(&path, v, "must be a string compatible with semver.org spec 2.0.0");
        }
        if v.len() > LONGEST_VALUE {
            e.too_long(&path, LONGEST_VALUE);
        }
    }
    const ONE: &str = "exactly one value must be specified";
    match ["bool", "int", "string", "version"].iter().filter(|k| given(k).is_some()).count() {
        0 => e.invalid_text(at, "", ONE),
        1 => {}
        _ => e.invalid(at, &internal::form("resource.k8s.io/v1.DeviceAttribute", a), ONE),
    }
}

/// `1.2.3-alpha.1+build.5` (semver.org 2.0.0).
fn is_semantic_version(v: &str) -> bool {
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let number = |s: &str| digits(s) && (s == "0" || !s.starts_with('0'));
    let (rest, build) = v.split_once('+').map_or((v, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|p| p.split('.').all(|s| number(s) || (word(s) && !digits(s))))
        && build.is_none_or(|b| b.split('.').all(word))
}

/// A set of counters, or what a device takes from one: its name stands in `field`.
fn counter_set(at: &str, field: &str, c: &Value, e: &mut Errors) {
    match json::text(c, field) {
        "" => e.required(&format!("{at}.{field}"), ""),
        name => e.names(&format!("{at}.{field}"), name, meta::dns_label(name)),
    }
    let path = format!("{at}.counters");
    let counters = amounts::entries(c.get("counters"));
    match counters.len() {
        0 => e.required(&path, ""),
        n if n > MOST_COUNTERS => e.too_many(&path, n, MOST_COUNTERS),
        _ => {
            for (k, _) in counters {
                e.names(&path, k, meta::dns_label(k));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    const ONE_WAY: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

    /// A slice that is right, with some fields of its own; `null` takes one away.
    fn spec(with: Value) -> Value {
        let mut s = json!({"driver": "x.example.com", "nodeName": "n1", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}});
        for (k, v) in with.as_object().expect("fields") {
            json::put(&mut s, k, Some(v.clone()).filter(|v| !v.is_null()));
        }
        s
    }

    fn told(new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut e = Errors::default();
        slice(new, old, &mut e);
        e.causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    fn device_told(device: Value) -> Vec<String> {
        told(&spec(json!({"devices": [device]})), None)
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn driver_pool_and_node_are_said_and_stay() {
        let old = spec(json!({}));
        for (new, want) in [
            (
                json!({"pool": {"name": "", "generation": 0, "resourceSliceCount": 0}, "driver": ""}),
                vec![
                    "spec.driver: Required value".to_owned(),
                    "spec.pool.name: Required value".to_owned(),
                    "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero".to_owned(),
                    "spec.pool.name: Invalid value: \"\": field is immutable".to_owned(),
                    "spec.driver: Invalid value: \"\": field is immutable".to_owned(),
                    "spec.nodeName: Invalid value: null: field is immutable".to_owned(),
                    format!("spec: Required value: {ONE_WAY}"),
                ],
            ),
            (
                spec(json!({"nodeName": ""})),
                vec![
                    "spec.nodeName: Invalid value: \"\": field is immutable".to_owned(),
                    "spec.nodeName: Invalid value: \"\": must be either unset or set to a non-empty string".to_owned(),
                    format!("spec: Required value: {ONE_WAY}"),
                ],
            ),
            (
                spec(json!({"pool": {"name": "px", "generation": -1, "resourceSliceCount": 1}})),
                vec![
                    "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero".to_owned(),
                    "spec.pool.name: Invalid value: \"px\": field is immutable".to_owned(),
                ],
            ),
            (spec(json!({"devices": [{"name": "Bad_!"}]})), vec![format!("spec.devices[0].name: Invalid value: \"Bad_!\": {LABEL}")]),
            (spec(json!({"devices": [{"name": "d0"}]})), vec![]),
        ] {
            assert_eq!(told(&new, Some(&old)), want, "{new}");
        }
    }

    #[test]
    fn nodes_are_said_in_one_way() {
        for (with, want) in [
            (json!({"nodeName": null, "allNodes": true}), vec![]),
            (
                json!({"allNodes": true}),
                vec![format!("spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {ONE_WAY}, but multiple fields are set")],
            ),
            (
                json!({"nodeName": null, "allNodes": false}),
                vec![
                    "spec.allNodes: Invalid value: false: must be either unset or set to true".to_owned(),
                    format!("spec: Required value: {ONE_WAY}"),
                ],
            ),
            (
                json!({"nodeName": null, "nodeSelector": {"nodeSelectorTerms": null}}),
                vec![
                    "spec.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term".to_owned(),
                    "spec.nodeSelector.nodeSelectorTerms: Invalid value: null: must have exactly one node selector term".to_owned(),
                ],
            ),
            (json!({"nodeName": null, "perDeviceNodeSelection": true, "devices": [{"name": "d", "allNodes": true}]}), vec![]),
            (
                json!({"nodeName": null, "perDeviceNodeSelection": true, "devices": [{"name": "d"}]}),
                vec!["spec.devices[0]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec".to_owned()],
            ),
            (
                json!({"devices": [{"name": "d", "nodeName": "n"}]}),
                vec!["spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec".to_owned()],
            ),
        ] {
            assert_eq!(told(&spec(with.clone()), None), want, "{with}");
        }
    }

    #[test]
    fn an_attribute_has_one_value() {
        let one = |a: Value| device_told(json!({"name": "d", "attributes": {"a": a}}));
        assert!(one(json!({"int": 5})).is_empty());
        assert!(one(json!({"version": "1.2.3-alpha.1+build.5"})).is_empty());
        assert_eq!(one(json!({})), ["spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified"]);
        assert_eq!(
            one(json!({"int": 5, "bool": true})),
            [
                r#"spec.devices[0].attributes[a]: Invalid value: {"IntValue":5,"BoolValue":true,"StringValue":null,"VersionValue":null,"IntValues":null,"BoolValues":null,"StringValues":null,"VersionValues":null}: exactly one value must be specified"#
            ]
        );
        assert_eq!(
            one(json!({"version": "1.02.3"})),
            ["spec.devices[0].attributes[a].version: Invalid value: \"1.02.3\": must be a string compatible with semver.org spec 2.0.0"]
        );
        assert_eq!(
            one(json!({"string": "x".repeat(65)})),
            ["spec.devices[0].attributes[a].string: Too long: may not be more than 64 bytes"]
        );
    }

    #[test]
    fn devices_are_bounded_and_named_once() {
        let many = |n: usize| (0..n).map(|i| json!({"name": format!("d{i}")})).collect::<Vec<_>>();
        assert!(told(&spec(json!({"devices": many(128)})), None).is_empty());
        assert_eq!(told(&spec(json!({"devices": many(129)})), None), ["spec.devices: Too many: 129: must have at most 128 items"]);
        let mut some = many(65);
        some[0]["taints"] = json!([{"key": "a", "effect": "None"}]);
        assert_eq!(told(&spec(json!({"devices": some})), None), ["spec.devices: Too many: 65: must have at most 64 items"]);
        let twice = json!([{"name": "d"}, {"name": "d"}]);
        assert_eq!(told(&spec(json!({"devices": twice})), None), ["spec.devices[1]: Duplicate value: \"d\""]);
    }

    #[test]
    fn counters_have_names_and_sets() {
        assert_eq!(
            told(&spec(json!({"sharedCounters": [{"name": "", "counters": null}]})), None),
            ["spec.sharedCounters[0].name: Required value", "spec.sharedCounters[0].counters: Required value"]
        );
        assert_eq!(
            device_told(json!({"name": "d", "consumesCounters": [
                {"counterSet": "a", "counters": {"M!": {"value": "1"}}}, {"counterSet": "a", "counters": {"m": {"value": "1"}}}]})),
            [
                format!("spec.devices[0].consumesCounters[0].counters: Invalid value: \"M!\": {LABEL}"),
                "spec.devices[0].consumesCounters[1]: Duplicate value: \"a\"".to_owned(),
            ]
        );
    }

    #[test]
    fn taints_that_stay_are_not_looked_at_again() {
        let s = spec(json!({"devices": [{"name": "d", "taints": [{"key": "", "effect": "None"}]}]}));
        assert!(!told(&s, None).is_empty());
        assert!(told(&s, Some(&s)).is_empty());
    }

    #[test]
    fn long_keys_lose_their_middle() {
        assert_eq!(shortened("a"), "a");
        let cut = shortened(&format!("{}{}", "a".repeat(60), "b".repeat(60)));
        assert_eq!(cut, format!("{}...{}", "a".repeat(47), "b".repeat(46)));
    }
}
