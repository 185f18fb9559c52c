//! Which definitions may be (apiextensions `apis/apiextensions/validation`, `registry/customresourcedefinition`).

use serde_json::{Value, json};

use super::{dump, each_below, formats, open_api, structural};
use crate::json;
use crate::kinds::{DEFAULT, Env, Errors, Flavour, Rules};
use crate::meta;

/// Rules of definitions.
pub(crate) const DEFINITION: Rules = Rules {
    unconditional_update: false,
    prepare_create: |doc, _| {
        doc["status"] = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null});
        store_version(doc);
    },
    prepare_update: |doc, _, _| store_version(doc),
    meta: Flavour::Machinery,
    validate: |doc, old, e, env| validate(doc, old, e, env),
    validate_status: |doc, _, e, _| names(&doc["status"]["acceptedNames"], "status.acceptedNames", e),
    ..DEFAULT
};

/// Most fields that selectors may name.
const SELECTABLE_LIMIT: usize = 8;
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const APPROVAL: &str = "api-approved.kubernetes.io";

fn versions(doc: &Value) -> &[Value] {
    json::list(doc, "spec.versions")
}

/// Remembers the version that objects are stored in.
fn store_version(doc: &mut Value) {
    let Some(name) = versions(doc).iter().find(|v| v["storage"] == true).map(|v| v["name"].clone()) else { return };
    let list = &mut doc["status"]["storedVersions"];
    match list.as_array_mut() {
        Some(l) if l.contains(&name) => {}
        Some(l) => l.push(name),
        None => *list = json!([name]),
    }
}

/// What all versions say alike: the reference keeps it once, and names that place.
struct Alike {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Alike {
    fn of(list: &[Value]) -> Alike {
        let same = |k: &str| list.windows(2).all(|w| w[0].get(k) == w[1].get(k)) && !list.is_empty();
        Alike {
            schema: same("schema"),
            subresources: same("subresources"),
            columns: same("additionalPrinterColumns"),
            selectable: same("selectableFields"),
        }
    }

    /// A version without what is kept elsewhere.
    fn strip(&self, v: &Value) -> Value {
        let mut v = v.clone();
        for (alike, k) in [
            (self.schema, "schema"),
            (self.subresources, "subresources"),
            (self.columns, "additionalPrinterColumns"),
            (self.selectable, "selectableFields"),
        ] {
            if alike {
                json::take(&mut v, k);
            }
        }
        v
    }
}

fn validate(doc: &Value, old: Option<&Value>, e: &mut Errors, env: &Env<'_>) {
    let group = json::text(doc, "spec.group");
    let name = json::text(doc, "metadata.name");
    if old.is_none() && !name.is_empty() && name != format!("{}.{group}", json::text(doc, "spec.names.plural")) {
        e.invalid_text("metadata.name", name, "must be spec.names.plural+\".\"+spec.group");
    }
    spec(doc, e);
    if let Some(old) = old {
        let established = json::list(old, "status.conditions").iter().any(|c| c["type"] == "Established" && c["status"] == "True");
        let mut fixed = vec!["spec.group", "spec.names.plural"];
        if established {
            fixed.splice(0..0, ["spec.scope", "spec.names.kind"]);
        }
        for path in fixed {
            e.immutable(path, json::at(doc, path), json::at(old, path));
        }
    }
    names(&doc["status"]["acceptedNames"], "status.acceptedNames", e);
    stored_versions(doc, e);
    approval(doc, old, e);
    if doc["spec"]["preserveUnknownFields"] == true && old.is_none_or(|o| o["spec"]["preserveUnknownFields"] != true) {
        e.invalid(
            "spec.preserveUnknownFields",
            &true.into(),
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
    let unknown = |d: &Value| {
        let mut out = Vec::new();
        let list = versions(d);
        // Schemas that are alike are looked at once.
        let take = if Alike::of(list).schema { 1 } else { list.len() };
        list.iter().take(take).for_each(|v| formats::unknown(&v["schema"]["openAPIV3Schema"], &mut out));
        out
    };
    let before = old.map(unknown).unwrap_or_default();
    env.warnings
        .borrow_mut()
        .extend(unknown(doc).into_iter().filter(|f| !before.contains(f)).map(|f| format!("unrecognized format {f:?}")));
}

fn spec(doc: &Value, e: &mut Errors) {
    let s = &doc["spec"];
    let group = json::text(s, "group");
    if group.is_empty() {
        e.required("spec.group", "");
    } else {
        let wrong = meta::dns_subdomain(group);
        if !wrong.is_empty() {
            e.invalid_text("spec.group", group, &wrong.join(","));
        } else if !group.contains('.') {
            e.invalid_text("spec.group", group, "should be a domain with at least one dot");
        }
    }
    one_of("spec.scope", json::text(s, "scope"), &["Cluster", "Namespaced"], e);
    let list = versions(doc);
    let alike = Alike::of(list);
    let stated = |v: &Value| v["schema"]["openAPIV3Schema"].is_object();
    if !(alike.schema && list.first().is_some_and(stated)) {
        for (i, _) in list.iter().enumerate().filter(|(_, v)| !stated(v)) {
            e.required(&format!("spec.versions[{i}].schema.openAPIV3Schema"), "");
        }
    }
    if s["preserveUnknownFields"] == true && list.iter().any(|v| has_defaults(&v["schema"]["openAPIV3Schema"])) {
        e.invalid("spec.preserveUnknownFields", &true.into(), "must be false in order to use defaults in the schema");
    }
    for (i, v) in list.iter().enumerate() {
        let at = format!("spec.versions[{i}]");
        label(&format!("{at}.name"), json::text(v, "name"), "", e);
        let status = v["subresources"]["status"].is_object();
        version(&alike.strip(v), &at, status, e);
    }
    let shown = || Value::Array(list.iter().map(|v| dump::version(&alike.strip(v))).collect());
    let unique: std::collections::BTreeSet<&str> = list.iter().map(|v| json::text(v, "name")).collect();
    if unique.len() != list.len() {
        e.invalid("spec.versions", &shown(), "must contain unique version names");
    }
    if list.iter().filter(|v| v["storage"] == true).count() != 1 {
        e.invalid("spec.versions", &shown(), "must have exactly one version marked as storage version");
    }
    let first = list.first().cloned().unwrap_or(Value::Null);
    if !json::text(&first, "name").is_empty() {
        label("spec.version", json::text(&first, "name"), "", e);
    }
    for k in ["plural", "singular", "kind", "listKind"] {
        if json::text(&s["names"], k).is_empty() {
            e.required(&format!("spec.names.{k}"), "");
        }
    }
    names(&s["names"], "spec.names", e);
    if alike.schema && first["schema"].is_object() {
        let status = list.iter().any(|v| v["subresources"]["status"].is_object());
        validation(&first["schema"], "spec.validation", status, e);
    }
    if alike.subresources {
        subresources(&first["subresources"], "spec.subresources", e);
    }
    if alike.columns {
        columns(&first, "spec.additionalPrinterColumns", e);
    }
    if alike.selectable && !json::list(&first, "selectableFields").is_empty() {
        if alike.schema && stated(&first) {
            selectable(&first, &first["schema"]["openAPIV3Schema"], "spec.selectableFields", e);
        } else {
            e.invalid_text("spec.selectableFields", "", "may only be set when validations.schema is included");
        }
    }
    conversion(s, e);
}

fn has_defaults(s: &Value) -> bool {
    let mut found = s.get("default").is_some_and(|d| !d.is_null());
    each_below(s, &mut |_, below| found |= has_defaults(below));
    found
}

fn version(v: &Value, at: &str, status: bool, e: &mut Errors) {
    if let Some(text) = v["deprecationWarning"].as_str() {
        let mut wrong = Vec::new();
        if v["deprecated"] != true {
            wrong.push("can only be set for deprecated versions".to_owned());
        } else {
            if text.len() > 256 {
                wrong.push("must be <= 256 characters long".to_owned());
            }
            if text.is_empty() {
                wrong.push("must not be an empty string".to_owned());
            }
            if let Some((i, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
                wrong.push(format!("must only contain printable UTF-8 characters; non-printable character found at index {i}"));
            }
        }
        for w in wrong {
            e.invalid_text(&format!("{at}.deprecationWarning"), text, &w);
        }
    }
    if v["schema"].is_object() {
        validation(&v["schema"], &format!("{at}.schema"), status, e);
    }
    subresources(&v["subresources"], &format!("{at}.subresources"), e);
    columns(v, &format!("{at}.additionalPrinterColumns"), e);
    if !json::list(v, "selectableFields").is_empty() {
        let path = format!("{at}.selectableFields");
        match v["schema"].get("openAPIV3Schema") {
            Some(s) => selectable(v, s, &path, e),
            None => e.invalid_text(&path, "", "may only be set when `version.schema.openAPIV3Schema` is not included"),
        }
    }
}

/// Fields that a schema may state at its root besides when the status is a subresource.
const AT_ROOT: &[&str] = &[
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

fn validation(v: &Value, path: &str, status: bool, e: &mut Errors) {
    let Some(s) = v.get("openAPIV3Schema").filter(|s| s.is_object()) else { return };
    let at = format!("{path}.openAPIV3Schema");
    if status {
        let kind = json::text(s, "type");
        if !kind.is_empty() && kind != "object" {
            let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            e.invalid_text(&format!("{at}.type"), kind, why);
        } else if s.as_object().is_some_and(|m| m.keys().any(|k| !AT_ROOT.contains(&k.as_str()))) {
            let why = "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is enabled";
            e.invalid(&at, &dump::schema(s), why);
        }
    }
    if s["nullable"] == true {
        e.forbidden(&format!("{at}.nullable"), "nullable cannot be true at the root");
    }
    let mut place = open_api::Place::default();
    let impossible = structural::unsupported(s);
    if impossible.is_none() {
        let mut wrong = structural::check(s, &at);
        if wrong.is_empty() {
            let mut found = Errors::default();
            structural::defaults(s, &at, true, &mut found);
            wrong = found.causes;
        }
        place.structural = wrong.is_empty();
        e.causes.append(&mut wrong);
    }
    e.causes.append(&mut open_api::check(s, &at, true, &place).causes);
    if let (Some(why), true) = (impossible, e.is_empty()) {
        e.invalid_text(&at, "", &why);
    }
}

fn one_of(path: &str, value: &str, list: &[&str], e: &mut Errors) {
    if value.is_empty() {
        e.required(path, "");
    } else if !list.contains(&value) {
        e.unsupported(path, value, list);
    }
}

fn label(path: &str, value: &str, lead: &str, e: &mut Errors) {
    let wrong = if lead.is_empty() { meta::dns1035_label(value) } else { meta::dns1035_label(&value.to_lowercase()) };
    if !wrong.is_empty() {
        e.invalid_text(path, value, &format!("{lead}{}", wrong.join(",")));
    }
}

fn names(n: &Value, path: &str, e: &mut Errors) {
    let mixed = "may have mixed case, but should otherwise match: ";
    for (k, lead) in [("plural", ""), ("singular", ""), ("kind", mixed), ("listKind", mixed)] {
        let v = json::text(n, k);
        if !v.is_empty() {
            label(&format!("{path}.{k}"), v, lead, e);
        }
    }
    let each = |k: &str, e: &mut Errors| {
        for (i, v) in json::list(n, k).iter().enumerate() {
            label(&format!("{path}.{k}[{i}]"), v.as_str().unwrap_or(""), "", e);
        }
    };
    each("shortNames", e);
    let (kind, list) = (json::text(n, "kind"), json::text(n, "listKind"));
    if !kind.is_empty() && kind == list {
        e.invalid_text(&format!("{path}.listKind"), list, "kind and listKind may not be the same");
    }
    each("categories", e);
}

fn subresources(s: &Value, path: &str, e: &mut Errors) {
    let Some(scale) = s.get("scale").filter(|s| s.is_object()) else { return };
    for (k, starts, places) in [
        ("specReplicasPath", &[".spec."][..], "under .spec"),
        ("statusReplicasPath", &[".status."][..], "under .status"),
        ("labelSelectorPath", &[".spec.", ".status."][..], "under either .spec or .status"),
    ] {
        let (v, at) = (json::text(scale, k), format!("{path}.scale.{k}"));
        if v.is_empty() {
            if k != "labelSelectorPath" {
                e.required(&at, "");
            }
        } else if simple_path(v, &at, e) && !starts.iter().any(|s| v.starts_with(s)) {
            e.invalid_text(&at, v, &format!("should be a json path {places}"));
        }
    }
}

fn simple_path(v: &str, at: &str, e: &mut Errors) -> bool {
    let good = v.starts_with('.');
    if !good {
        e.invalid_text(at, v, "must be a simple json path starting with .");
    }
    good
}

fn columns(v: &Value, path: &str, e: &mut Errors) {
    for (i, c) in json::list(v, "additionalPrinterColumns").iter().enumerate() {
        let at = |k: &str| format!("{path}[{i}].{k}");
        let get = |k: &str| json::text(c, k);
        if get("name").is_empty() {
            e.required(&at("name"), "");
        }
        let types = format!("must be one of {}", COLUMN_TYPES.join(","));
        if get("type").is_empty() {
            e.required(&at("type"), &types);
        } else if !COLUMN_TYPES.contains(&get("type")) {
            e.invalid_text(&at("type"), get("type"), &types);
        }
        if !get("format").is_empty() && !COLUMN_FORMATS.contains(&get("format")) {
            e.invalid_text(&at("format"), get("format"), &format!("must be one of {}", COLUMN_FORMATS.join(",")));
        }
        if get("jsonPath").is_empty() {
            e.required(&at("JSONPath"), "");
        } else {
            simple_path(get("jsonPath"), &at("JSONPath"), e);
        }
    }
}

fn selectable(v: &Value, s: &Value, path: &str, e: &mut Errors) {
    let mut seen = Vec::new();
    for (i, f) in json::list(v, "selectableFields").iter().enumerate() {
        let (p, at) = (json::text(f, "jsonPath"), format!("{path}[{i}].jsonPath"));
        if p.is_empty() {
            e.required(&at, "");
            continue;
        }
        match open_api::field_path(s, p, false) {
            Err(why) => e.invalid_text(&at, p, &format!("is an invalid path: {why}")),
            Ok((name, found)) => {
                if name == "metadata" || name.starts_with("metadata.") {
                    e.invalid_text(&at, p, "must not point to fields in metadata");
                }
                if !matches!(json::text(found, "type"), "string" | "boolean" | "integer") {
                    let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                    e.invalid_text(&at, p, why);
                }
                if seen.contains(&name) {
                    e.duplicate(&at, &p.into());
                } else {
                    seen.push(name);
                }
            }
        }
    }
    if seen.len() > SELECTABLE_LIMIT {
        e.too_many(path, seen.len(), SELECTABLE_LIMIT);
    }
}

fn conversion(s: &Value, e: &mut Errors) {
    let Some(c) = s.get("conversion").filter(|c| c.is_object()) else { return };
    let strategy = json::text(c, "strategy");
    if strategy != "None" && s["preserveUnknownFields"] == true {
        e.invalid_text("spec.conversion.strategy", strategy, "must be None if spec.preserveUnknownFields is true");
    }
    one_of("spec.conversion.strategy", strategy, &["None", "Webhook"], e);
    let hook = &c["webhook"];
    let client = hook.get("clientConfig").filter(|c| c.is_object());
    let accepted: Vec<&str> = json::list(hook, "conversionReviewVersions").iter().filter_map(Value::as_str).collect();
    let at = "spec.conversion.webhookClientConfig";
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if client.is_some() {
            e.forbidden(at, why);
        }
        if !accepted.is_empty() {
            e.forbidden("spec.conversion.conversionReviewVersions", why);
        }
        return;
    }
    match client {
        None => e.required(at, "required when strategy is set to Webhook"),
        Some(c) => match (c["url"].as_str(), c["service"].is_object()) {
            (Some(_), true) | (None, false) => e.required(at, "exactly one of url or service is required"),
            (Some(url), false) if !url.starts_with("https://") => {
                e.invalid_text(&format!("{at}.url"), url, "'https' is the only allowed URL scheme; desired format: https://host[/path]");
            }
            (None, true) => {
                for k in ["name", "namespace"] {
                    if json::text(&c["service"], k).is_empty() {
                        e.required(&format!("{at}.service.{k}"), &format!("service {k} is required"));
                    }
                }
            }
            _ => {}
        },
    }
    review_versions(&accepted, e);
}

fn review_versions(list: &[&str], e: &mut Errors) {
    let at = "spec.conversion.conversionReviewVersions";
    if list.is_empty() {
        return e.required(at, "");
    }
    for (i, v) in list.iter().enumerate() {
        if list[..i].contains(v) {
            e.invalid_text(&format!("{at}[{i}]"), v, "duplicate version");
        } else {
            e.names(&format!("{at}[{i}]"), v, meta::dns1035_label(v));
        }
    }
    if !list.iter().any(|v| matches!(*v, "v1" | "v1beta1")) {
        e.invalid(at, &Value::from(list.to_vec()), "must include at least one of v1, v1beta1");
    }
}

fn stored_versions(doc: &Value, e: &mut Errors) {
    let path = "status.storedVersions";
    let list = json::list(doc, path);
    if list.is_empty() {
        return e.invalid(path, &Value::Null, "must have at least one stored version");
    }
    // A second version of the same name finds the name taken.
    let mut seen = Vec::new();
    for v in versions(doc) {
        let there = list.contains(&v["name"]) && !seen.contains(&&v["name"]);
        seen.push(&v["name"]);
        if v["storage"] == true && !there {
            e.invalid(path, &Value::from(list.to_vec()), &format!("must have the storage version {}", json::text(v, "name")));
        }
    }
    for (i, s) in list.iter().enumerate().filter(|(_, s)| !versions(doc).iter().any(|v| v["name"] == **s)) {
        let name = s.as_str().unwrap_or("");
        e.invalid_text(&format!("{path}[{i}]"), name, &format!("missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"));
    }
}

/// Groups of the community need an approval (KEP-1111).
fn approval(doc: &Value, old: Option<&Value>, e: &mut Errors) {
    let group = json::text(doc, "spec.group");
    let protected = |of: &str| group == of || group.ends_with(&format!(".{of}"));
    if !protected("k8s.io") && !protected("kubernetes.io") {
        return;
    }
    let state = |d: &Value| {
        let text = json::text_at(d, &["metadata", "annotations", APPROVAL]).to_owned();
        let with_host = text.split_once("://").is_some_and(|(s, rest)| !s.is_empty() && !rest.is_empty() && !rest.starts_with('/'));
        match text.as_str() {
            "" => 0,
            t if t.starts_with("unapproved") => 1,
            _ if with_host => 2,
            _ => 3,
        }
    };
    let now = state(doc);
    if old.map(state) == Some(now) {
        return;
    }
    let at = format!("metadata.annotations[{APPROVAL}]");
    let lead = format!("protected groups must have approval annotation {APPROVAL:?}");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match now {
        0 => e.required(&at, &format!("{lead}, {see}")),
        3 => e.invalid_text(
            &at,
            json::text_at(doc, &["metadata", "annotations", APPROVAL]),
            &format!("{lead} with either a URL or a reason starting with \"unapproved\", {see}"),
        ),
        _ => {}
    }
}
