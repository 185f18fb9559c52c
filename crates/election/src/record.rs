use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// What the Lease's spec says (manager 5.2). Metadata and resourceVersion do not belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// `holderIdentity`; empty: nobody.
    pub holder: String,
    /// `leaseDurationSeconds`.
    pub duration_seconds: Option<i32>,
    /// `acquireTime`, in microseconds. Written for people; never compared with a clock.
    pub acquire_time: Option<Timestamp>,
    /// `renewTime`, in microseconds. Written for people; never compared with a clock.
    pub renew_time: Option<Timestamp>,
    /// `leaseTransitions`.
    pub transitions: i32,
    /// `strategy`: only coordinated election uses it; we never write it.
    pub strategy: Option<String>,
    /// `preferredHolder`: only coordinated election uses it; we never write it.
    pub preferred_holder: Option<String>,
}

impl Record {
    fn read(spec: &Value) -> Self {
        let text = |field: &str| spec.get(field).and_then(Value::as_str).map(str::to_owned);
        let number = |field: &str| spec.get(field).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
        let time = |field: &str| text(field).and_then(|text| text.parse().ok()).map(micros);
        Self {
            holder: text("holderIdentity").unwrap_or_default(),
            duration_seconds: number("leaseDurationSeconds"),
            acquire_time: time("acquireTime"),
            renew_time: time("renewTime"),
            transitions: number("leaseTransitions").unwrap_or_default(),
            strategy: text("strategy"),
            preferred_holder: text("preferredHolder"),
        }
    }

    fn write(&self, spec: &mut Map<String, Value>) {
        spec.insert("holderIdentity".into(), json!(self.holder));
        spec.insert("leaseTransitions".into(), json!(self.transitions));
        let time = |time: Option<Timestamp>| time.map(|time| json!(format!("{time:.6}")));
        let optional = [
            ("leaseDurationSeconds", self.duration_seconds.map(|n| json!(n))),
            ("acquireTime", time(self.acquire_time)),
            ("renewTime", time(self.renew_time)),
            ("strategy", self.strategy.as_ref().map(|text| json!(text))),
            ("preferredHolder", self.preferred_holder.as_ref().map(|text| json!(text))),
        ];
        for (field, value) in optional {
            match value {
                Some(value) => spec.insert(field.into(), value),
                None => spec.remove(field),
            };
        }
    }
}

/// Cut to microseconds, as the Lease holds times.
pub(crate) fn micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// A Lease as the server sent it: the record, and the whole document, which updates send back so that foreign metadata and fields that we do
/// not know survive.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// The spec.
    pub record: Record,
    /// `metadata.resourceVersion`.
    pub version: String,
    document: Value,
}

impl Lease {
    /// Reads a document. Missing or odd fields of the spec count as absent; `None` if it is no Lease at all.
    pub fn read(document: Value) -> Option<Self> {
        if document.get("kind").is_some_and(|kind| kind != "Lease") {
            return None;
        }
        let version = document.get("metadata")?.get("resourceVersion")?.as_str()?.to_owned();
        let record = document.get("spec").map(Record::read).unwrap_or_default();
        Some(Self { record, version, document })
    }

    /// A document for a Lease that does not exist yet: name, namespace and record, nothing else.
    pub fn fresh(namespace: &str, name: &str, record: &Record) -> Value {
        let mut spec = Map::new();
        record.write(&mut spec);
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        })
    }

    /// This document with another record. It carries the resourceVersion, so the server refuses it if somebody wrote in between.
    pub fn with(&self, record: &Record) -> Value {
        let mut document = self.document.clone();
        if let Some(object) = document.as_object_mut() {
            let spec = object.entry("spec").or_insert_with(|| json!({}));
            if !spec.is_object() {
                *spec = json!({});
            }
            if let Some(spec) = spec.as_object_mut() {
                record.write(spec);
            }
        }
        document
    }

    /// Whether this version is certainly older than the other's. Versions are decimals of any length (manager 14.3); others do not compare.
    pub(crate) fn older_than(&self, other: &Self) -> bool {
        let decimal = |text: &str| !text.is_empty() && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
        let (a, b) = (&self.version, &other.version);
        decimal(a) && decimal(b) && (a.len(), a) < (b.len(), b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(document: Value) -> Lease {
        Lease::read(document).expect("a lease")
    }

    #[test]
    fn an_update_keeps_foreign_metadata_and_unknown_fields() {
        let document = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "x", "resourceVersion": "7", "labels": {"team": "a"}, "newField": 1},
            "spec": {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000001Z", "strategy": "OldestEmulationVersion", "fromTheFuture": [1]},
        });
        let record = Record { holder: "b".into(), duration_seconds: Some(15), transitions: 3, ..Record::default() };
        let mut expected = document.clone();
        expected["spec"] = json!({"holderIdentity": "b", "leaseDurationSeconds": 15, "leaseTransitions": 3, "fromTheFuture": [1]});
        assert_eq!(lease(document).with(&record), expected);
    }

    #[test]
    fn times_are_written_with_six_digits_and_read_back_equal() {
        let time: Timestamp = "2026-01-01T00:00:00.12Z".parse().unwrap();
        let record = Record { renew_time: Some(time), acquire_time: Some(time), ..Record::default() };
        let document = Lease::fresh("ns", "x", &record);
        assert_eq!(document["spec"]["renewTime"], "2026-01-01T00:00:00.120000Z");
        assert_eq!(document["metadata"], json!({"name": "x", "namespace": "ns"}));
        assert_eq!(Record::read(&document["spec"]), record);
    }

    #[test]
    fn odd_leases_are_read_without_panic() {
        let meta = json!({"resourceVersion": "1"});
        for spec in [
            json!(null),
            json!(7),
            json!({"holderIdentity": 3, "leaseDurationSeconds": 1e300, "renewTime": "no", "leaseTransitions": i64::MAX}),
        ] {
            assert_eq!(lease(json!({"metadata": meta, "spec": spec})).record, Record::default());
            assert!(lease(json!({"metadata": meta, "spec": spec})).with(&Record::default())["spec"].is_object());
        }
        for document in [json!(null), json!({}), json!({"metadata": {}}), json!({"kind": "Status", "metadata": {"resourceVersion": "1"}})] {
            assert_eq!(Lease::read(document), None);
        }
    }

    #[test]
    fn versions_compare_as_decimals_of_any_length() {
        let at = |version: &str| lease(json!({"metadata": {"resourceVersion": version}}));
        assert!(at("9").older_than(&at("10")));
        assert!(!at("10").older_than(&at("9")) && !at("9").older_than(&at("9")));
        assert!(!at("abc").older_than(&at("10")) && !at("1").older_than(&at("x")));
    }
}
