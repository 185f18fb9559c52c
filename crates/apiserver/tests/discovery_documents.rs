//! Discovery and OpenAPI as clients read them.

use std::sync::Arc;

use evenkeel_apiserver::{Options, Request, Response, Server, UserInfo};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

fn get(server: &Arc<Server>, path: &str, accept: &'static str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    server.handle(&Request {
        method: Method::GET,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Default::default(),
        user: UserInfo::admin(),
    })
}

fn json_of(server: &Arc<Server>, path: &str) -> Value {
    let response = get(server, path, "application/json");
    assert_eq!(response.status, 200, "{path}");
    response.value()
}

fn server() -> Arc<Server> {
    Server::new(Options::default())
}

#[test]
fn every_group_version_that_discovery_names_has_resources_and_an_openapi_document() {
    let server = server();
    let mut versions = vec!["/api/v1".to_owned()];
    for group in json_of(&server, "/apis")["groups"].as_array().expect("groups") {
        for version in group["versions"].as_array().expect("versions") {
            versions.push(format!("/apis/{}", version["groupVersion"].as_str().expect("named")));
        }
    }
    assert!(versions.len() > 15, "{versions:?}");
    let index = json_of(&server, "/openapi/v3");
    for path in versions {
        assert!(!json_of(&server, &path)["resources"].as_array().expect("resources").is_empty(), "{path}");
        let entry = &index["paths"][&path[1..]]["serverRelativeURL"];
        let url = entry.as_str().unwrap_or_else(|| panic!("{path} is not in the index"));
        let document = json_of(&server, url);
        assert!(!document["paths"].as_object().expect("paths").is_empty(), "{path}");
    }
}

#[test]
fn every_reference_of_every_openapi_document_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match value.as_str() {
                        Some(target) if key == "$ref" => found.push(target),
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let server = server();
    let index = json_of(&server, "/openapi/v3");
    let mut documents = vec![json_of(&server, "/openapi/v2")];
    for entry in index["paths"].as_object().expect("paths").values() {
        documents.push(json_of(&server, entry["serverRelativeURL"].as_str().expect("a URL")));
    }
    for document in &documents {
        let mut found = Vec::new();
        references(document, &mut found);
        assert!(!found.is_empty());
        for target in found {
            let pointer = target.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some_and(Value::is_object), "{target}");
        }
    }
}

/// What `kubectl apply` needs to merge lists by itself.
#[test]
fn schemas_say_how_lists_merge() {
    let apps = json_of(&server(), "/openapi/v3/apis/apps/v1");
    let schemas = &apps["components"]["schemas"];
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!((&containers["x-kubernetes-list-type"], &containers["x-kubernetes-list-map-keys"]), (&json!("map"), &json!(["name"])));
    let spec = &schemas["io.k8s.api.apps.v1.DeploymentSpec"];
    assert_eq!(spec["required"], json!(["selector", "template"]));
    assert_eq!(spec["properties"]["strategy"]["x-kubernetes-patch-strategy"], "retainKeys");
    assert_eq!(
        spec["properties"]["selector"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"
    );
    assert_eq!(schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"], "atomic");
}

/// What `kubectl explain` needs: the kind of a resource's path, and one schema marked with that kind.
#[test]
fn every_resource_leads_to_the_schema_of_its_kind() {
    let server = server();
    for (path, resource) in [("api/v1", "pods"), ("apis/apps/v1", "deployments"), ("apis/batch/v1", "cronjobs")] {
        let document = json_of(&server, &format!("/openapi/v3/{path}"));
        let list = format!("/{path}/namespaces/{{namespace}}/{resource}");
        let kind = &document["paths"][&list]["get"]["x-kubernetes-group-version-kind"];
        let marked = |schema: &&Value| schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|kinds| kinds.contains(kind));
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        assert_eq!(schemas.values().filter(marked).count(), 1, "{kind}");
        // And that the server validates fields by itself.
        let item = &document["paths"][&format!("{list}/{{name}}")]["patch"]["parameters"];
        assert!(item.as_array().expect("parameters").iter().any(|p| p["name"] == "fieldValidation"), "{path}");
    }
}

#[test]
fn the_second_version_is_written_in_protobuf_where_that_is_asked_for() {
    let server = server();
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = get(&server, "/openapi/v2", protobuf);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    // Field 1 of the document: its version, three letters long.
    assert!(answer.bytes().expect("whole").starts_with(b"\x0a\x032.0"));
    assert_eq!(get(&server, "/openapi/v3/apis/apps/v1", protobuf).status, 406);
    assert_eq!(get(&server, "/openapi/v3/apis/none/v1", "application/json").status, 404);
}

#[test]
fn health_can_be_asked_for_verbosely() {
    let answer = get(&server(), "/readyz?verbose", "*/*");
    let text = String::from_utf8(answer.bytes().expect("whole").to_vec()).expect("text");
    assert!(text.starts_with("[+]ping ok\n") && text.ends_with("readyz check passed\n"), "{text}");
}
