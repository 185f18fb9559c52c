//! Label selectors, and numbers that may be percentages.

use serde_json::Value;

use super::errors::Errors;
use super::internal;
use super::metadata::validate_labels;
use crate::json;
use crate::meta;
use crate::selector::labels::LabelSelector;

/// A label selector in wire form; nothing is none.
pub(crate) fn label_selector(path: &str, s: &Value, e: &mut Errors) {
    validate_labels(json::object(s, "matchLabels"), &format!("{path}.matchLabels"), e);
    for (i, r) in json::list(s, "matchExpressions").iter().enumerate() {
        let at = format!("{path}.matchExpressions[{i}]");
        let n = json::list(r, "values").len();
        match json::text(r, "operator") {
            "In" | "NotIn" => {
                if n == 0 {
                    e.required(&format!("{at}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if n > 0 {
                    e.forbidden(&format!("{at}.values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                }
            }
            other => e.invalid_text(&format!("{at}.operator"), other, "not a valid selector operator"),
        }
        let key = json::text(r, "key");
        e.names(&format!("{at}.key"), key, meta::qualified_name(key));
        for (j, v) in json::list(r, "values").iter().enumerate() {
            let v = v.as_str().unwrap_or("");
            e.names(&format!("{at}.values[{j}]"), v, meta::label_value(v));
        }
    }
}

/// Whether the selector asks for nothing.
pub(crate) fn is_empty(s: &Value) -> bool {
    json::object(s, "matchLabels").is_none_or(serde_json::Map::is_empty) && json::list(s, "matchExpressions").is_empty()
}

/// Whether the reference can make use of a selector at all (`LabelSelectorAsSelector`); those that it cannot are not matched.
pub(crate) fn usable(s: &Value) -> bool {
    let labels = json::object(s, "matchLabels").into_iter().flatten();
    let fine = |k: &str, v: &str| meta::qualified_name(k).is_empty() && meta::label_value(v).is_empty();
    labels.into_iter().all(|(k, v)| fine(k, v.as_str().unwrap_or("")))
        && json::list(s, "matchExpressions").iter().all(|r| {
            let values = json::list(r, "values");
            let counts = match json::text(r, "operator") {
                "In" | "NotIn" => !values.is_empty(),
                "Exists" | "DoesNotExist" => values.is_empty(),
                _ => false,
            };
            counts && values.iter().all(|v| fine(json::text(r, "key"), v.as_str().unwrap_or(""))) && fine(json::text(r, "key"), "")
        })
}

/// The selector as messages show it.
pub(crate) fn shown(s: Option<&Value>) -> Value {
    s.map_or(Value::Null, |s| internal::form("meta/v1.LabelSelector", s))
}

/// A selector that must not change.
pub(crate) fn immutable(path: &str, new: Option<&Value>, old: Option<&Value>, e: &mut Errors) {
    if new != old {
        e.invalid(path, &shown(new.filter(|v| !v.is_null())), "field is immutable");
    }
}

/// A usable selector that is not empty must match the labels of a template.
pub(crate) fn template_labels(path: &str, selector: Option<&Value>, template: &Value, e: &mut Errors) {
    let labels = json::object(template, "metadata.labels");
    if !LabelSelector::from_value(selector).matches_map(labels) {
        e.invalid(&format!("{path}.metadata.labels"), &internal::texts(labels), "`selector` does not match template `labels`");
    }
}

/// The number of a percentage.
pub(crate) fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().unwrap_or(i64::MAX))
}

/// Whether a number or percentage is nothing.
pub(crate) fn is_zero(v: &Value) -> bool {
    match v {
        Value::String(s) => percent(s).unwrap_or_else(|| s.parse().unwrap_or(0)) == 0,
        v => v.as_i64().unwrap_or(0) == 0,
    }
}

/// A number that is not negative, or a percentage.
pub(crate) fn int_or_percent(path: &str, v: &Value, e: &mut Errors) {
    match v {
        Value::String(s) if percent(s).is_none() => e.invalid_text(
            path,
            s,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
        Value::Number(_) => e.non_negative(path, v.as_i64()),
        _ => {}
    }
}

/// A percentage must not exceed 100.
pub(crate) fn at_most_all(path: &str, v: &Value, e: &mut Errors) {
    if let Some(p) = v.as_str().and_then(percent)
        && p > 100
    {
        e.invalid(path, v, "must not be greater than 100%");
    }
}

/// A path that names a domain first, such as `acme.io/foo`.
pub(crate) fn domain_prefixed_path(path: &str, s: &str, e: &mut Errors) {
    if s.is_empty() {
        e.required(path, "");
        return;
    }
    match s.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            e.names(path, host, meta::dns_subdomain(host));
            let fine = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
            if !rest.chars().all(fine) {
                e.invalid_text(path, rest, "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')");
            }
        }
        _ => e.invalid_text(path, s, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

/// What a name that pods take over should look like, as a warning.
pub(crate) fn hostname_warning(name: &str, where_used: &str) -> Option<String> {
    let wrong = meta::dns_label(name);
    (!wrong.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {where_used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        )
    })
}

/// Words in the order and form of a message.
pub(crate) fn valid_values(words: &[&str]) -> String {
    format!("valid values: {}", crate::go_value::quote_list(words))
}
