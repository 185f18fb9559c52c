//! A fuzz target for patches, as properties: JSON, merge, strategic and apply patches of documents that are nearly right, of bytes that are
//! nearly a patch, and of nonsense. Nothing panics; an answer is a success or a `Status`; what was refused has changed nothing.

mod support;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use support::{Talk, talk};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/d";
const CUSTOM: &str = "/apis/example.com/v1/namespaces/default/things/t";
const TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// A server with a Deployment and a custom object.
fn world() -> Talk {
    let t = talk();
    let deployment = json!({"metadata": {"name": "d", "labels": {"a": "b"}, "finalizers": ["example.com/f", "example.com/g"]}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}}, "spec": {
            "containers": [{"name": "one", "image": "i:1", "ports": [{"containerPort": 80}, {"containerPort": 81, "name": "x"}],
                "env": [{"name": "E", "value": "1"}]}, {"name": "two", "image": "i:2"}],
            "volumes": [{"name": "v", "emptyDir": {}}]}}}});
    assert_eq!(t.post("/apis/apps/v1/namespaces/default/deployments", deployment).0, 201);
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer", "minimum": 0}, "list": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}},
            "required": ["name"]}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"}, "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    assert_eq!(t.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).0, 201);
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"},
        "spec": {"size": 1, "list": [{"name": "a"}, {"name": "b"}], "free": {"x": {"y": 1}}}});
    assert_eq!(t.post("/apis/example.com/v1/namespaces/default/things", thing).0, 201);
    t
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => select(vec![json!(null), json!(0), json!(1), json!(-1), json!(80), json!(true), json!(""), json!("one"), json!("d"), json!("i:3")]),
        1 => select(vec![json!(i64::MAX), json!(u64::MAX), json!(1e300), json!(0.5), json!("delete"), json!("replace"), json!("merge"), json!("apps/v1"),
            json!("Deployment"), json!("100%"), json!("2147483648"), json!("a/b/c"), json!("1")]),
        1 => any::<String>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => "[x]{300}".prop_map(Value::from),
    ]
}

fn key() -> impl Strategy<Value = String> {
    let known = vec![
        "metadata",
        "spec",
        "status",
        "template",
        "containers",
        "initContainers",
        "ports",
        "env",
        "volumes",
        "name",
        "image",
        "containerPort",
        "value",
        "replicas",
        "selector",
        "matchLabels",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "generation",
        "generateName",
        "namespace",
        "kind",
        "apiVersion",
        "strategy",
        "rollingUpdate",
        "maxSurge",
        "paused",
        "resources",
        "limits",
        "cpu",
        "emptyDir",
        "conditions",
        "type",
        "size",
        "list",
        "free",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$setElementOrder/ports",
        "$setElementOrder/finalizers",
        "$deleteFromPrimitiveList/finalizers",
        "app",
        "",
    ];
    prop_oneof![12 => select(known).prop_map(str::to_owned), 1 => "\\PC{0,4}"]
}

fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(6, 48, 5, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((key(), inner), 0..5).prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Documents at a place where they could make sense.
fn placed() -> impl Strategy<Value = Value> {
    let places = vec![
        "",
        "metadata",
        "metadata/labels",
        "metadata/finalizers",
        "metadata/ownerReferences",
        "metadata/managedFields",
        "spec",
        "spec/replicas",
        "spec/strategy",
        "spec/selector",
        "spec/template",
        "spec/template/spec",
        "spec/template/spec/containers",
        "spec/template/spec/volumes",
        "spec/template/metadata",
        "status",
        "status/conditions",
        "spec/list",
        "spec/free",
        "spec/size",
    ];
    (select(places), document(), any::<bool>()).prop_map(|(place, document, named)| {
        let mut out = place.rsplit('/').filter(|p| !p.is_empty()).fold(document, |inner, k| json!({k: inner}));
        if let (true, Value::Object(m)) = (named, &mut out) {
            let meta = m.entry("metadata").or_insert_with(|| json!({}));
            if let Some(meta) = meta.as_object_mut() {
                meta.entry("name").or_insert(json!("d"));
            }
        }
        out
    })
}

fn pointer() -> impl Strategy<Value = String> {
    let step = prop_oneof![6 => key(), 2 => select(vec!["0", "1", "2", "-", "-1", "01", "99", "4294967296", "99999999999999999999"]).prop_map(str::to_owned),
        1 => select(vec!["~0", "~1", "~", "~2", "a~1b", "$patch"]).prop_map(str::to_owned)];
    let known = vec![
        "/metadata/labels/a",
        "/metadata/finalizers/0",
        "/metadata/finalizers/-",
        "/spec/replicas",
        "/spec/template/spec/containers/0/image",
        "/spec/template/spec/containers/1",
        "/spec/template/spec/containers/0/ports/-",
        "/spec/list/0/name",
        "/spec/list/-",
        "/spec/free/x/y",
        "/spec/size",
        "/metadata/name",
        "/metadata/uid",
        "/kind",
        "",
        "/",
        "x",
    ];
    prop_oneof![3 => select(known).prop_map(str::to_owned), 1 => prop::collection::vec(step, 0..5).prop_map(|s| s.into_iter().map(|k| format!("/{k}")).collect())]
}

fn operations() -> impl Strategy<Value = Value> {
    let op = prop_oneof![9 => select(vec!["add", "remove", "replace", "move", "copy", "test"]).prop_map(Value::from), 1 => scalar()];
    let one = (op, pointer(), pointer(), prop::option::of(document())).prop_map(|(op, path, from, value)| {
        let mut out = json!({"op": op, "path": path});
        if matches!(out["op"].as_str(), Some("move" | "copy")) {
            out["from"] = from.into();
        }
        if let Some(value) = value {
            out["value"] = value;
        }
        out
    });
    prop_oneof![9 => prop::collection::vec(one, 0..5).prop_map(Value::from), 1 => document()]
}

/// A patch as bytes: whole, or with a few of them changed.
fn body(patch: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..4);
    (patch, prop_oneof![3 => Just(Vec::new()).boxed(), 1 => damage.boxed()]).prop_map(|(patch, damage)| {
        let mut bytes = serde_json::to_vec(&patch).expect("a document");
        for (at, byte, how) in damage {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

struct Patched {
    code: u16,
    answer: Value,
    before: Value,
    after: Value,
}

/// Sends a patch, and sees to what holds for each.
fn patch(t: &Talk, path: &str, query: &str, content_type: &str, bytes: &[u8]) -> Patched {
    let (before, revision) = (t.get(path).1, t.server.revision());
    let response = t.server.handle(&evenkeel_apiserver::Request {
        method: http::Method::PATCH,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: [(http::header::CONTENT_TYPE, content_type.parse().expect("a header"))].into_iter().collect(),
        body: bytes.to_vec().into(),
        user: t.user.clone(),
    });
    let (code, answer, after) = (response.status.as_u16(), response.value(), t.get(path).1);
    let sent = String::from_utf8_lossy(bytes);
    if response.status.is_success() {
        for field in ["name", "namespace", "uid", "creationTimestamp"] {
            assert_eq!(after["metadata"][field], before["metadata"][field], "{field} was changed by {content_type} {sent}");
        }
        let version = |d: &Value| d["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok()).expect("a version");
        assert!(version(&after) >= version(&before), "back in time by {content_type} {sent}");
        // A list with one empty entry resets it, and what nobody owns is owned by nobody until somebody applies.
        let reset = sent.contains("managedFields") || !before["metadata"]["managedFields"].is_array();
        assert!(reset || after["metadata"]["managedFields"].is_array(), "nobody owns it after {content_type} {sent}");
        if query.contains("dryRun") {
            assert_eq!((&after, t.server.revision()), (&before, revision), "a dry run changed something: {content_type} {sent}");
        } else {
            assert_eq!(answer, after, "the answer is what is stored: {content_type} {sent}");
        }
    } else {
        assert!(matches!(code, 400 | 403 | 404 | 409 | 413 | 415 | 422 | 500), "{code} for {content_type} {sent}");
        assert_eq!(answer["kind"], "Status", "{answer} for {content_type} {sent}");
        assert_eq!(answer["code"], code, "{answer} for {content_type} {sent}");
        assert!(answer["message"].as_str().is_some_and(|text| !text.is_empty()), "{answer} for {content_type} {sent}");
        assert_eq!((&after, t.server.revision()), (&before, revision), "refused, and yet changed: {content_type} {sent}");
    }
    Patched { code, answer, before, after }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(160))]

    #[test]
    fn merge_and_strategic_patches_are_done_or_refused(patches in prop::collection::vec((body(placed()), 1..3usize, any::<bool>()), 1..6)) {
        let t = world();
        for (bytes, kind, custom) in patches {
            let path = if custom { CUSTOM } else { DEPLOYMENT };
            patch(&t, path, "dryRun=All", TYPES[kind], &bytes);
            patch(&t, path, "", TYPES[kind], &bytes);
        }
    }

    #[test]
    fn json_patches_are_done_or_refused(patches in prop::collection::vec((body(operations()), any::<bool>()), 1..6)) {
        let t = world();
        for (bytes, custom) in patches {
            let path = if custom { CUSTOM } else { DEPLOYMENT };
            patch(&t, path, "dryRun=All", TYPES[0], &bytes);
            patch(&t, path, "", TYPES[0], &bytes);
        }
    }

    #[test]
    fn apply_patches_are_done_or_refused(
        patches in prop::collection::vec((placed(), any::<bool>(), any::<bool>(), select(vec!["one", "two"]), any::<bool>(), body(Just(Value::Null))), 1..6)
    ) {
        let t = world();
        for (mut wish, custom, typed, manager, force, odd) in patches {
            let (path, api_version, kind, name) = if custom { (CUSTOM, "example.com/v1", "Thing", "t") } else { (DEPLOYMENT, "apps/v1", "Deployment", "d") };
            if let (true, Some(m)) = (typed, wish.as_object_mut()) {
                m.insert("apiVersion".into(), api_version.into());
                m.insert("kind".into(), kind.into());
                m.entry("metadata").or_insert_with(|| json!({"name": name}));
                if let Some(meta) = m["metadata"].as_object_mut() {
                    meta.insert("name".into(), name.into());
                }
            }
            let query = format!("fieldManager={manager}&force={force}");
            let bytes = serde_json::to_vec(&wish).expect("a document");
            patch(&t, path, &format!("{query}&dryRun=All"), TYPES[3], &bytes);
            let done = patch(&t, path, &query, TYPES[3], &bytes);
            if done.code == 200 {
                // What was applied is there, and applying it once more is nothing.
                let again = patch(&t, path, &query, TYPES[3], &bytes);
                prop_assert_eq!(again.code, 200, "{}", again.answer);
                prop_assert_eq!(&again.after, &again.before);
            }
            patch(&t, path, &query, TYPES[3], &odd);
        }
    }

    #[test]
    fn nonsense_of_any_kind_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}", kind in 0..4usize) {
        let t = world();
        for nonsense in [bytes.as_slice(), text.as_bytes()] {
            let done = patch(&t, DEPLOYMENT, "fieldManager=x", TYPES[kind], nonsense);
            prop_assert!(done.code >= 400 || matches!(done.answer["kind"].as_str(), Some("Deployment")));
        }
    }
}

/// A merge patch gives what RFC 7386 says, where the outcome is a valid object.
#[test]
fn a_merge_patch_twice_is_a_merge_patch_once() {
    let t = world();
    let patches = [
        json!({"spec": {"replicas": 3, "paused": true}}),
        json!({"metadata": {"labels": {"a": null, "c": "d"}}}),
        json!({"spec": {"paused": null}}),
    ];
    for wish in patches {
        let bytes = serde_json::to_vec(&wish).expect("a document");
        assert_eq!(patch(&t, DEPLOYMENT, "", TYPES[1], &bytes).code, 200);
        let again = patch(&t, DEPLOYMENT, "", TYPES[1], &bytes);
        assert_eq!((again.code, &again.after), (200, &again.before));
    }
}
