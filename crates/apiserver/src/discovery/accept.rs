//! Which form of discovery a client accepts.

use http::{HeaderMap, header};

use crate::status::ApiError;

/// A form of discovery.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `APIVersions`, `APIGroupList`: one question per group and version.
    Legacy,
    /// Everything at once, in this version of `apidiscovery.k8s.io`.
    Aggregated(&'static str),
    /// None that this server has.
    Unknown,
}

/// The first accepted type that the server knows. Parameters come in any order.
pub(super) fn wanted(headers: &HeaderMap) -> Form {
    let accepted: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let accepted = accepted.join(",");
    if accepted.trim().is_empty() {
        return Form::Legacy;
    }
    accepted.split(',').find_map(form).unwrap_or(Form::Unknown)
}

fn form(range: &str) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let (mut group, mut version, mut kind) = ("", "", "");
    for (key, value) in parts.filter_map(|p| p.split_once('=')) {
        match key {
            "g" => group = value,
            "v" => version = value,
            "as" => kind = value,
            _ => {}
        }
    }
    match media {
        "application/json" | "application/*" | "*/*" => {}
        // The other encodings carry the same documents; JSON is the one that this server writes.
        _ => return None,
    }
    match (group, version, kind) {
        ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList") => Some(Form::Aggregated("v2")),
        ("apidiscovery.k8s.io", "v2beta1", "APIGroupDiscoveryList") => Some(Form::Aggregated("v2beta1")),
        ("", "", "") => Some(Form::Legacy),
        _ => None,
    }
}

/// 406 of a discovery path.
pub(super) fn not_acceptable() -> ApiError {
    let types = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    ApiError::new(406, "NotAcceptable", format!("only the following media types are accepted: {types}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accepting(value: &'static str) -> Form {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(value));
        wanted(&headers)
    }

    #[test]
    fn the_first_type_that_the_server_knows_wins() {
        assert_eq!(wanted(&HeaderMap::new()), Form::Legacy);
        assert_eq!(accepting("application/json"), Form::Legacy);
        assert_eq!(
            accepting("application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io,application/json"),
            Form::Aggregated("v2")
        );
        assert_eq!(
            accepting("application/vnd.kubernetes.protobuf, application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList, */*"),
            Form::Legacy
        );
        assert_eq!(accepting("text/html"), Form::Unknown);
    }
}
