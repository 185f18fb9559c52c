//! What the server fills in. Plain defaults are rows of `tables/defaults.tsv`; those with a condition are hooks here, one per type.

use serde_json::{Map, Value, json};

use crate::quantity::Quantity;
use crate::schema::{Schema, StructId, Ty, decode::is_empty};

/// Fills in what depends on other fields of the same object.
pub type Hook = fn(&mut Map<String, Value>);

type Obj = Map<String, Value>;

/// The hook of a type.
pub fn hook(type_name: &str) -> Option<Hook> {
    Some(match type_name {
        "v1.Container" => container,
        "v1.EphemeralContainer" => container,
        "v1.Volume" => volume,
        "v1.Pod" => pod,
        "v1.ReplicationController" => replication_controller,
        "v1.ServiceSpec" => service_spec,
        "v1.Service" => service,
        "apps/v1.StatefulSetSpec" => stateful_set_spec,
        "v1.LimitRangeItem" => limit_range_item,
        "v1.NodeStatus" => node_status,
        "v1.Namespace" => namespace,
        "apps/v1.DeploymentStrategy" => deployment_strategy,
        "apps/v1.DaemonSetUpdateStrategy" => daemon_set_strategy,
        "apps/v1.StatefulSetUpdateStrategy" => stateful_set_strategy,
        "batch/v1.Job" => job,
        "autoscaling/v2.HorizontalPodAutoscalerSpec" => hpa_spec,
        "networking.k8s.io/v1.NetworkPolicySpec" => network_policy_spec,
        "rbac.authorization.k8s.io/v1.Subject" => subject,
        "apiextensions.k8s.io/v1.CustomResourceDefinition" => crd,
        "resource.k8s.io/v1.ExactDeviceRequest" | "resource.k8s.io/v1.DeviceSubRequest" => device_request,
        _ => return None,
    })
}

impl Schema {
    /// Fills in the defaults of a document of the struct type `root`.
    pub fn apply_defaults(&self, root: StructId, doc: &mut Value) {
        if let Value::Object(map) = doc {
            self.defaults_struct(root, map);
        }
    }

    fn defaults_struct(&self, id: StructId, map: &mut Obj) {
        let st = &self.structs[id];
        if !st.has_defaults {
            return;
        }
        for at in &st.walks.defaults {
            let f = &st.fields[*at];
            let Some(default) = &f.default else { continue };
            let missing = match map.get(&*f.name) {
                None => true,
                Some(v) => !f.pointer && is_empty(&f.ty, v),
            };
            if missing {
                map.insert(f.name.to_string(), default.clone());
            }
        }
        if let Some(hook) = st.hook {
            hook(map);
        }
        for (at, inner) in &st.walks.defaults_below {
            let f = &st.fields[*at];
            if let (Ty::Struct(_), false, false) = (&f.ty, f.pointer, map.contains_key(&*f.name)) {
                map.insert(f.name.to_string(), Value::Object(Obj::new()));
            }
            if let Some(v) = map.get_mut(&*f.name) {
                self.defaults_value(*inner, v);
            }
        }
    }

    fn defaults_value(&self, inner: StructId, value: &mut Value) {
        match value {
            Value::Object(m) => self.defaults_struct(inner, m),
            Value::Array(l) => l.iter_mut().for_each(|v| self.defaults_value(inner, v)),
            _ => {}
        }
    }
}

fn set_if_missing(map: &mut Obj, key: &str, value: impl FnOnce() -> Value) {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), value());
    }
}

fn text<'a>(map: &'a Obj, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or("")
}

fn sub<'a>(map: &'a mut Obj, key: &str) -> &'a mut Obj {
    let slot = map.entry(key.to_owned()).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("made an object above")
}

/// The tag of an image; `latest` when it names neither tag nor digest, nothing when it is no reference (distribution's grammar).
fn image_tag(image: &str) -> &str {
    let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
    let from = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[from..].split_once(':') {
        Some((last, tag)) => (&rest[..from + last.len()], Some(tag)),
        None => (rest, None),
    };
    if !is_repository(name) || !tag.is_none_or(is_tag) {
        return "";
    }
    tag.unwrap_or(if digest.is_some() { "" } else { "latest" })
}

/// A path of lower-case components, behind a host if the first one looks like one.
fn is_repository(name: &str) -> bool {
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase());
    let path = name.split_once('/').filter(|(host, _)| is_host(host)).map_or(name, |(_, path)| path);
    path.split('/').all(|part| {
        // Runs of separators: one dot, one or two underscores, any number of dashes; never at an end.
        let parts: Vec<&str> = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).collect();
        let between = parts.get(1..parts.len().saturating_sub(1)).unwrap_or_default();
        let separates = |run: &&str| matches!(*run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
        parts.len() > 1 && parts[0].is_empty() && parts[parts.len() - 1].is_empty() && between.iter().all(separates)
    })
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn pull_policy(image: &str) -> &'static str {
    if image_tag(image) == "latest" { "Always" } else { "IfNotPresent" }
}

fn device_request(r: &mut Obj) {
    if text(r, "allocationMode") == "ExactCount" && r.get("count").and_then(Value::as_i64).unwrap_or(0) == 0 {
        r.insert("count".into(), 1.into());
    }
}

fn container(c: &mut Obj) {
    if text(c, "imagePullPolicy").is_empty() {
        let policy = pull_policy(text(c, "image"));
        c.insert("imagePullPolicy".into(), policy.into());
    }
}

fn volume(v: &mut Obj) {
    if v.keys().all(|k| k == "name") {
        v.insert("emptyDir".into(), json!({}));
    }
    if let Some(Value::Object(image)) = v.get_mut("image")
        && text(image, "pullPolicy").is_empty()
    {
        let policy = pull_policy(text(image, "reference"));
        image.insert("pullPolicy".into(), policy.into());
    }
}

fn pod(p: &mut Obj) {
    let spec = sub(p, "spec");
    let host = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    for list in ["containers", "initContainers"] {
        for c in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(c) = c.as_object_mut() else { continue };
            requests_from_limits(c);
            for port in c.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                if host && port.get("hostPort").is_none() {
                    port["hostPort"] = port["containerPort"].clone();
                }
            }
        }
    }
    set_if_missing(spec, "enableServiceLinks", || true.into());
    pod_requests(p);
}

/// Requests of a pod as a whole: those of its containers, else its limits (`defaultPodRequests`).
fn pod_requests(p: &mut Obj) {
    let Some(limits) = p.get("spec").and_then(|s| s.pointer("/resources/limits")).and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let mut bare = json!({"spec": p["spec"]});
    bare["spec"]["resources"] = Value::Null;
    let asked = crate::admission::quota::pod_amounts(&bare, "requests");
    let Some(Value::Object(r)) = p.get_mut("spec").and_then(|s| s.get_mut("resources")) else { return };
    let requests = sub(r, "requests");
    let supported = |k: &str| matches!(k, "cpu" | "memory") || k.starts_with("hugepages-");
    for (k, q) in asked {
        if supported(&k) && !k.starts_with("hugepages-") {
            requests.entry(k).or_insert_with(|| q.to_string().into());
        }
    }
    for (k, v) in limits {
        if supported(&k) {
            requests.entry(k).or_insert(v);
        }
    }
}

fn requests_from_limits(c: &mut Obj) {
    let Some(limits) = c.get("resources").and_then(|r| r.get("limits")).and_then(Value::as_object).cloned() else { return };
    let requests = sub(sub(c, "resources"), "requests");
    for (k, v) in limits {
        requests.entry(k).or_insert(v);
    }
}

fn replication_controller(rc: &mut Obj) {
    let labels =
        rc.get("spec").and_then(|s| s.pointer("/template/metadata/labels")).and_then(Value::as_object).filter(|l| !l.is_empty()).cloned();
    let Some(labels) = labels else { return };
    let spec = sub(rc, "spec");
    if spec.get("selector").and_then(Value::as_object).is_none_or(Map::is_empty) {
        spec.insert("selector".into(), Value::Object(labels.clone()));
    }
    labels_if_none(rc, labels);
}

fn labels_if_none(obj: &mut Obj, labels: Obj) {
    let meta = sub(obj, "metadata");
    if meta.get("labels").and_then(Value::as_object).is_none_or(Map::is_empty) {
        meta.insert("labels".into(), Value::Object(labels));
    }
}

fn service_spec(s: &mut Obj) {
    match text(s, "sessionAffinity") {
        "None" => {
            s.shift_remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let set = s.get("sessionAffinityConfig").and_then(|c| c.pointer("/clientIP/timeoutSeconds")).is_some();
            if !set {
                s.insert("sessionAffinityConfig".into(), json!({"clientIP": {"timeoutSeconds": 10800}}));
            }
        }
        _ => {}
    }
    let kind = text(s, "type").to_owned();
    for port in s.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let unset = match port.get("targetPort") {
            None => true,
            Some(Value::String(t)) => t.is_empty(),
            Some(v) => v.as_i64() == Some(0),
        };
        if unset && let Some(p) = port.get("port").cloned() {
            port["targetPort"] = p;
        }
    }
    let external_ips = kind == "ClusterIP" && s.get("externalIPs").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
    if (kind == "NodePort" || kind == "LoadBalancer" || external_ips) && text(s, "externalTrafficPolicy").is_empty() {
        s.insert("externalTrafficPolicy".into(), "Cluster".into());
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        set_if_missing(s, "internalTrafficPolicy", || "Cluster".into());
    }
    if kind == "LoadBalancer" {
        set_if_missing(s, "allocateLoadBalancerNodePorts", || true.into());
    }
}

fn service(s: &mut Obj) {
    if s.get("spec").and_then(|s| s.get("type")).and_then(Value::as_str) != Some("LoadBalancer") {
        return;
    }
    let list = s.get_mut("status").and_then(|s| s.pointer_mut("/loadBalancer/ingress")).and_then(Value::as_array_mut);
    for i in list.into_iter().flatten() {
        if i["ip"].as_str().is_some_and(|ip| !ip.is_empty()) && i.get("ipMode").is_none() {
            i["ipMode"] = "VIP".into();
        }
    }
}

fn stateful_set_spec(s: &mut Obj) {
    for c in s.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(c) = c.as_object_mut() else { continue };
        set_if_missing(c, "kind", || "PersistentVolumeClaim".into());
        set_if_missing(c, "apiVersion", || "v1".into());
    }
}

fn limit_range_item(item: &mut Obj) {
    if text(item, "type") != "Container" {
        return;
    }
    let get = |item: &Obj, key: &str| item.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let (max, min) = (get(item, "max"), get(item, "min"));
    let (mut default, mut request) = (get(item, "default"), get(item, "defaultRequest"));
    for (k, v) in max {
        default.entry(k).or_insert(v);
    }
    for (k, v) in default.clone().into_iter().chain(min) {
        request.entry(k).or_insert(v);
    }
    for (key, map) in [("default", default), ("defaultRequest", request)] {
        if !map.is_empty() {
            item.insert(key.into(), Value::Object(map));
        }
    }
}

fn node_status(s: &mut Obj) {
    if !s.contains_key("allocatable")
        && let Some(c) = s.get("capacity").cloned()
    {
        s.insert("allocatable".into(), c);
    }
}

fn namespace(ns: &mut Obj) {
    let meta = sub(ns, "metadata");
    let name = text(meta, "name").to_owned();
    if !name.is_empty() {
        sub(meta, "labels").insert("kubernetes.io/metadata.name".into(), name.into());
    }
}

fn deployment_strategy(s: &mut Obj) {
    if text(s, "type") == "RollingUpdate" {
        let r = sub(s, "rollingUpdate");
        set_if_missing(r, "maxUnavailable", || "25%".into());
        set_if_missing(r, "maxSurge", || "25%".into());
    }
}

fn daemon_set_strategy(s: &mut Obj) {
    if text(s, "type") == "RollingUpdate" {
        let r = sub(s, "rollingUpdate");
        set_if_missing(r, "maxUnavailable", || 1.into());
        set_if_missing(r, "maxSurge", || 0.into());
    }
}

fn stateful_set_strategy(s: &mut Obj) {
    if text(s, "type").is_empty() {
        s.insert("type".into(), "RollingUpdate".into());
        set_if_missing(s, "rollingUpdate", || json!({}));
    }
    if text(s, "type") == "RollingUpdate"
        && let Some(Value::Object(r)) = s.get_mut("rollingUpdate")
    {
        set_if_missing(r, "partition", || 0.into());
    }
}

fn job(j: &mut Obj) {
    // Where selector and labels are still to be made, the job takes over the labels once they are.
    let spec = j.get("spec");
    let complete = spec.is_some_and(|s| s.get("selector").is_some() || s.get("manualSelector").and_then(Value::as_bool) == Some(true));
    let labels =
        j.get("spec").and_then(|s| s.pointer("/template/metadata/labels")).and_then(Value::as_object).filter(|l| !l.is_empty()).cloned();
    if let Some(labels) = labels.filter(|_| complete) {
        labels_if_none(j, labels);
    }
    let spec = sub(j, "spec");
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        spec.insert("completions".into(), 1.into());
    }
    set_if_missing(spec, "parallelism", || 1.into());
    let per_index = spec.contains_key("backoffLimitPerIndex");
    set_if_missing(spec, "backoffLimit", || if per_index { i32::MAX.into() } else { 6.into() });
    let failures = spec.contains_key("podFailurePolicy");
    set_if_missing(spec, "completionMode", || "NonIndexed".into());
    set_if_missing(spec, "suspend", || false.into());
    set_if_missing(spec, "manualSelector", || false.into());
    set_if_missing(spec, "podReplacementPolicy", || if failures { "Failed".into() } else { "TerminatingOrFailed".into() });
}

fn hpa_spec(s: &mut Obj) {
    if s.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        s.insert(
            "metrics".into(),
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]),
        );
    }
    let Some(Value::Object(b)) = s.get_mut("behavior") else { return };
    let up = sub(b, "scaleUp");
    set_if_missing(up, "stabilizationWindowSeconds", || 0.into());
    set_if_missing(up, "selectPolicy", || "Max".into());
    set_if_missing(
        up,
        "policies",
        || json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]),
    );
    let down = sub(b, "scaleDown");
    set_if_missing(down, "selectPolicy", || "Max".into());
    set_if_missing(down, "policies", || json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
}

fn network_policy_spec(s: &mut Obj) {
    if s.get("policyTypes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let egress = s.get("egress").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
        s.insert("policyTypes".into(), if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    }
}

fn subject(s: &mut Obj) {
    if text(s, "apiGroup").is_empty() && matches!(text(s, "kind"), "User" | "Group") {
        s.insert("apiGroup".into(), "rbac.authorization.k8s.io".into());
    }
}

fn crd(c: &mut Obj) {
    let names = sub(sub(c, "spec"), "names");
    let kind = text(names, "kind").to_owned();
    if text(names, "singular").is_empty() {
        names.insert("singular".into(), kind.to_lowercase().into());
    }
    if text(names, "listKind").is_empty() && !kind.is_empty() {
        names.insert("listKind".into(), format!("{kind}List").into());
    }
}

/// Amounts of a resource list, rounded up to thousandths.
pub fn amounts(list: Option<&Value>) -> Vec<(String, Quantity)> {
    let Some(Value::Object(m)) = list else { return Vec::new() };
    m.iter().filter_map(|(k, v)| Some((k.clone(), Quantity::parse(v.as_str()?).ok()?.round_up_milli()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaulted(root: &str, doc: Value) -> Value {
        let schema = Schema::builtin();
        let id = schema.find(root).expect("a built-in type");
        let mut doc = schema.decode(id, doc, &mut Default::default()).expect("well-typed");
        schema.apply_defaults(id, &mut doc);
        schema.add_zeros(id, &mut doc);
        doc
    }

    /// workloads 1.4.5
    #[test]
    fn a_small_deployment_gets_its_defaults() {
        let d = defaulted(
            "apps/v1.Deployment",
            json!({"spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "a", "image": "web"}]}}}}),
        );
        assert_eq!(d["spec"]["replicas"], 1);
        assert_eq!(d["spec"]["strategy"]["rollingUpdate"], json!({"maxSurge": "25%", "maxUnavailable": "25%"}));
        assert_eq!(d["spec"]["revisionHistoryLimit"], 10);
        assert_eq!(d["spec"]["progressDeadlineSeconds"], 600);
        assert_eq!(d["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(d["spec"]["template"]["spec"]["containers"][0]["resources"], json!({}));
        assert_eq!(d["status"], json!({}));
    }

    #[test]
    fn image_tags_are_found_behind_ports_and_digests() {
        for (image, tag) in [
            ("web", "latest"),
            ("r:5000/web", "latest"),
            ("web:1", "1"),
            ("web@sha256:ab", ""),
            ("r:5/web:2", "2"),
            ("web_", ""),
            ("a--b/c", "latest"),
            ("Web", ""),
            ("web:", ""),
        ] {
            assert_eq!(image_tag(image), tag, "{image}");
        }
    }
}
