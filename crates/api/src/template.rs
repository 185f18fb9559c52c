use std::hash::{BuildHasher, Hasher};

use serde_json::{Map, Value};

use crate::{Labels, quantity};

/// Label that tells the ReplicaSets of one Deployment apart (workloads 1.5).
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// Letters of hashes and generated names: no vowels, nothing that looks like another.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A pod template as a raw value, unknown fields included (workloads 1.7.4).
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Value);

impl Template {
    /// From the value of `spec.template`.
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// The raw value.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Labels of the template.
    pub fn labels(&self) -> Labels {
        let map = self.0.pointer("/metadata/labels").and_then(Value::as_object);
        map.into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default())).collect()
    }

    /// The raw value with this `pod-template-hash`, or without one.
    pub fn with_hash(&self, hash: Option<&str>) -> Value {
        let mut value = self.0.clone();
        if let Some(hash) = hash {
            if !value.is_object() {
                value = Value::Object(Map::new());
            }
            let labels = object_at(object_at(&mut value, "metadata"), "labels");
            labels[POD_TEMPLATE_HASH] = hash.into();
        } else if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.shift_remove(POD_TEMPLATE_HASH);
        }
        value
    }

    /// Semantic equality without the hash label (workloads 1.7).
    pub fn same_as(&self, other: &Template) -> bool {
        self.canonical() == other.canonical()
    }

    /// Equal templates have equal fingerprints; a cheap first look before [`Template::same_as`].
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().build_hasher();
        hasher.write(self.canonical().as_bytes());
        hasher.finish()
    }

    /// The name part of the ReplicaSet for this template: always nine letters, and other ones for every collision count (workloads 1.8,
    /// Better S22).
    pub fn hash(&self, collision_count: Option<i32>) -> String {
        hash_text(self.canonical().as_bytes(), collision_count).split_off(1)
    }

    /// The template without the hash label, keys sorted, quantities in one form, and without what means nothing.
    fn canonical(&self) -> String {
        let mut out = String::new();
        write_canonical(&self.with_hash(None), "", &mut out);
        out
    }
}

fn object_at<'v>(value: &'v mut Value, field: &str) -> &'v mut Value {
    if !value[field].is_object() {
        value[field] = Value::Object(Map::new());
    }
    &mut value[field]
}

/// Fields that hold a map: empty is the same as absent.
const MAPS: [&str; 11] = [
    "labels",
    "annotations",
    "nodeSelector",
    "limits",
    "requests",
    "overhead",
    "matchLabels",
    "volumeAttributes",
    "options",
    "capacity",
    "allocatedResources",
];
/// Fields that hold a struct by value: `{}` is the same as absent.
const VALUE_STRUCTS: [&str; 2] = ["metadata", "resources"];
/// Fields that hold one quantity.
const QUANTITIES: [&str; 2] = ["sizeLimit", "divisor"];
/// Fields that hold a map of quantities.
const QUANTITY_MAPS: [&str; 5] = ["limits", "requests", "overhead", "capacity", "allocatedResources"];

/// Whether a value below `field` means the same as no value.
fn means_nothing(field: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => {
            (MAPS.contains(&field) && map.is_empty()) || (VALUE_STRUCTS.contains(&field) && map.iter().all(|(k, v)| means_nothing(k, v)))
        }
        _ => false,
    }
}

fn write_canonical(value: &Value, field: &str, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut kept: Vec<_> = map.iter().filter(|(k, v)| !means_nothing(k, v)).collect();
            kept.sort_by_key(|(k, _)| k.as_str());
            out.push('{');
            for (k, v) in kept {
                out.push_str(&Value::from(k.as_str()).to_string());
                out.push(':');
                let amount = (QUANTITY_MAPS.contains(&field) || QUANTITIES.contains(&k.as_str()))
                    .then(|| v.as_str().map(str::to_owned).or_else(|| v.is_number().then(|| v.to_string())))
                    .flatten();
                match amount.and_then(|a| quantity::canonical(&a)) {
                    Some(text) => out.push_str(&text),
                    None => write_canonical(v, k, out),
                }
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for item in list {
                write_canonical(item, "", out);
                out.push(',');
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// FNV-1a (32 bits), printed as ten decimal digits, each mapped to a letter that names may have (workloads 1.8).
fn hash_text(bytes: &[u8], collision_count: Option<i32>) -> String {
    let mut sum: u32 = 2_166_136_261;
    let mut feed = |byte: u8| sum = (sum ^ u32::from(byte)).wrapping_mul(16_777_619);
    bytes.iter().copied().for_each(&mut feed);
    if let Some(count) = collision_count {
        count.to_le_bytes().into_iter().chain([0; 4]).for_each(&mut feed);
    }
    format!("{sum:010}").bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Check values of workloads 1.8.2.
    #[test]
    fn hashes_are_fnv_in_safe_letters() {
        assert_eq!(hash_text(b"", None), "65bb57b6b5");
        assert_eq!(hash_text(b"a", None), "7d6b446664");
        assert_eq!(hash_text(b"a", Some(1)), "7bdf6d8489");
    }

    fn t(v: Value) -> Template {
        Template::new(v)
    }

    /// Better S22: upstream's hashes have one to ten letters, and the length decides where a long name is cut.
    #[test]
    fn every_hash_has_nine_letters() {
        for n in 0..2000 {
            let hash = t(json!({"spec": {"containers": [{"name": "c", "image": format!("app:{n}")}]}})).hash(None);
            assert_eq!(hash.len(), 9, "{hash}");
        }
    }

    #[test]
    fn equality_is_semantic() {
        let a = t(json!({"metadata": {"labels": {"a": "1", POD_TEMPLATE_HASH: "x"}, "creationTimestamp": null},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1000m"}}}]}}));
        let b = t(
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "1"}, "requests": {}}, "name": "c", "env": []}], "nodeSelector": {}},
            "metadata": {"labels": {"a": "1"}}}),
        );
        assert!(a.same_as(&b));
        assert_eq!(a.fingerprint(), b.fingerprint());
        assert_eq!(a.hash(None), b.hash(None));
        assert_ne!(a.hash(None), a.hash(Some(0)));
    }

    #[test]
    fn an_empty_struct_behind_a_pointer_is_not_absence() {
        let with = t(json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}));
        let without = t(json!({"spec": {"volumes": [{"name": "v"}]}}));
        assert!(!with.same_as(&without));
        let a = t(json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}));
        let b = t(json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}}));
        assert!(!a.same_as(&b), "lists are ordered");
        let unknown = t(json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "fromTheFuture": 1}}));
        assert!(!a.same_as(&unknown), "unknown fields take part");
    }

    #[test]
    fn the_hash_label_is_set_and_removed_without_touching_the_rest() {
        let a = t(json!({"spec": {"x": 1}}));
        let hashed = a.with_hash(Some("h"));
        assert_eq!(hashed, json!({"spec": {"x": 1}, "metadata": {"labels": {POD_TEMPLATE_HASH: "h"}}}));
        assert!(t(hashed).same_as(&a));
    }
}
