//! The scale of what has replicas.

use http::StatusCode;
use serde_json::{Value, json};

use crate::apply::{self, managed};
use crate::json;
use crate::kinds::Errors;
use crate::patch;
use crate::read::object_response;
use crate::request::Response;
use crate::schema::Schema;
use crate::selector::labels::LabelSelector;
use crate::server::{Call, SchemaRef};
use crate::status::ApiError;
use crate::write::patch::{Kind, json_patch_of, parse_patch, read_apply};
use crate::write::{Target, load, media_type, read_object, update, write_options};

/// Answers a call on `/scale`.
pub(crate) fn dispatch(call: &mut Call<'_>, verb: &str) -> Result<Response, ApiError> {
    let target = Target::of(call.server, &call.resource)?;
    let name = call.route.name.unwrap_or("").to_owned();
    let server = call.server.clone();
    let k = call.key(&name);
    if verb == "get" {
        let Some((_, doc)) = load(&server, &target.stored, &k) else { return Err(ApiError::not_found(&target.served, &name)) };
        let places = Places::of(&target);
        if json::at(&doc, places.replicas).is_none() && target.served.custom {
            return Err(places.missing());
        }
        return object_response(call, StatusCode::OK, scale_of(&target, &doc));
    }
    let kind = if verb == "patch" { "PatchOptions" } else { "UpdateOptions" };
    let is_apply = verb == "patch" && media_type(call.req) == "application/apply-patch+yaml";
    let opts = write_options(call, kind, is_apply)?;
    // What is no Scale is refused before anybody looks for its object.
    let sent = if verb == "update" { Some(read_object(call.req, "Scale")?.doc) } else { None };
    sent.as_ref().map_or(Ok(()), decodes)?;
    let _turn = server.my_turn();
    let Some((_, old)) = load(&server, &target.stored, &k) else { return Err(ApiError::not_found(&target.served, &name)) };
    let current = scale_of(&target, &old);
    let mut owned = None;
    let scale = match sent {
        Some(scale) => scale,
        None => match media_type(call.req).as_str() {
            "application/merge-patch+json" => {
                let mut s = current.clone();
                patch::merge(&mut s, &parse_patch(&call.req.body, Kind::Merge)?.0);
                s
            }
            "application/strategic-merge-patch+json" => {
                let mut s = current.clone();
                let schema = Schema::builtin();
                let root = schema.find("autoscaling/v1.Scale").expect("a built-in type");
                patch::strategic(schema, root, &mut s, &parse_patch(&call.req.body, Kind::Strategic)?.0)
                    .map_err(|e| ApiError::new(e.code, e.reason, e.message))?;
                s
            }
            "application/json-patch+json" => {
                let mut s = current.clone();
                patch::apply_json(&mut s, &json_patch_of(&call.req.body)?.0, &target.served, &name)?;
                s
            }
            "application/apply-patch+yaml" => {
                let config = read_apply(&call.req.body)?.doc;
                // Applying a scale applies the replicas of the parent.
                let mut parent = json!({
                    "kind": target.served.kind, "apiVersion": target.served.api_version(), "metadata": {"name": name},
                });
                set(&mut parent, Places::of(&target).replicas, config["spec"]["replicas"].clone());
                let merged = apply::merge(call, &target, Some(&old), &parent, &opts)?;
                owned = Some(merged.owned);
                let mut s = current.clone();
                s["spec"]["replicas"] = config["spec"]["replicas"].clone();
                s
            }
            _ => {
                let mut e = ApiError::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
                e.details = json!({});
                return Err(e);
            }
        },
    };
    update::check_name(call, &scale)?;
    if verb != "update" {
        decodes(&scale)?;
    }
    check(&scale, &old, &name, &target)?;
    if target.served.custom && scale["spec"].get("replicas").is_none() && json::at(&old, Places::of(&target).replicas).is_none() {
        let path = Places::of(&target).replicas;
        return Err(ApiError::bad_request(format!("the spec replicas field \".{path}\" cannot be empty")));
    }
    let mut doc = old.clone();
    set(&mut doc, Places::of(&target).replicas, json::int(&scale, "spec.replicas").unwrap_or(0).into());
    let rv = json::text(&scale, "metadata.resourceVersion");
    if rv.is_empty() {
        json::put(&mut doc["metadata"], "resourceVersion", None);
    } else {
        doc["metadata"]["resourceVersion"] = rv.into();
    }
    let op = match &owned {
        Some(list) => managed::Op::Apply(list),
        None => managed::Op::Update,
    };
    let doc = update::change(call, &target, &old, doc, &opts, op, false)?;
    object_response(call, StatusCode::OK, scale_of(&target, &doc))
}

/// Whether a document is a Scale.
fn decodes(scale: &Value) -> Result<(), ApiError> {
    let kind = json::text(scale, "kind");
    if !matches!(kind, "" | "Scale") {
        return Err(ApiError::bad_request(format!("{kind} in version \"v1\" cannot be handled as a Scale: unknown conversion")));
    }
    let schema = Schema::builtin();
    let root = schema.find("autoscaling/v1.Scale").expect("a built-in type");
    let decoded = schema.decode(root, scale.clone(), &mut Default::default());
    decoded.map(drop).map_err(|e| ApiError::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {e}")))
}

fn check(scale: &Value, old: &Value, name: &str, target: &Target) -> Result<(), ApiError> {
    let uid = json::text(scale, "metadata.uid");
    let was = json::text(old, "metadata.uid");
    if !uid.is_empty() && uid != was {
        return Err(ApiError::conflict(
            &target.served,
            name,
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {was}"),
        ));
    }
    let n = json::int(scale, "spec.replicas").unwrap_or(0);
    if n < 0 && !target.served.custom {
        let mut e = Errors::default();
        e.non_negative("spec.replicas", Some(n));
        return Err(ApiError::invalid("autoscaling", "Scale", name, &e.causes));
    }
    Ok(())
}

/// Where an object keeps what its scale shows: custom kinds say it in their definition.
struct Places<'a> {
    replicas: &'a str,
    observed: &'a str,
    /// A text; `None`: made from `spec.selector`.
    selector: Option<&'a str>,
}

impl<'a> Places<'a> {
    fn of(target: &'a Target) -> Places<'a> {
        if let SchemaRef::Custom(own) = &target.served_schema
            && let Some(scale) = &own.scale
        {
            let path = |k: &str| json::text(scale, k).trim_start_matches('.');
            return Places {
                replicas: path("specReplicasPath"),
                observed: path("statusReplicasPath"),
                selector: Some(path("labelSelectorPath")),
            };
        }
        Places { replicas: "spec.replicas", observed: "status.replicas", selector: None }
    }

    fn missing(&self) -> ApiError {
        let text = format!("the spec replicas field \".{}\" does not exist", self.replicas);
        let mut e = ApiError::new(500, "InternalError", format!("Internal error occurred: {text}"));
        e.details = json!({"causes": [{"message": text}]});
        e
    }
}

/// Sets the value at a dotted path.
fn set(doc: &mut Value, path: &str, value: Value) {
    match path.split_once('.') {
        Some((first, rest)) => {
            json::object_mut(doc, first);
            set(&mut doc[first], rest, value);
        }
        None => json::put(doc, path, Some(value)),
    }
}

fn scale_of(target: &Target, doc: &Value) -> Value {
    let m = &doc["metadata"];
    let mut meta = json!({});
    for k in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(v) = m.get(k) {
            meta[k] = v.clone();
        }
    }
    let places = Places::of(target);
    let replicas = json::int(doc, places.replicas).unwrap_or(0);
    let mut status = json!({"replicas": json::int(doc, places.observed).unwrap_or(0)});
    let text = match places.selector {
        Some(path) => json::text(doc, path).to_owned(),
        None if target.stored.plural == "replicationcontrollers" => LabelSelector::from_map(doc["spec"].get("selector")).to_string(),
        None => LabelSelector::from_value(doc["spec"].get("selector")).to_string(),
    };
    if !text.is_empty() {
        status["selector"] = text.into();
    }
    let spec = if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) };
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status})
}
