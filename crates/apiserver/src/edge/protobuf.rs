//! Request bodies in Kubernetes' protobuf encoding, turned into the JSON documents that the core reads.
//!
//! `kubectl create`, `auth can-i` and other typed Go clients send this encoding only. Answers stay JSON: those clients accept both.
//! The types are the core's (`tables/types.tsv`); `tables/protobuf.tsv` adds the numbers of their fields.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine;
use serde_json::{Map, Value};

use crate::schema::{Schema, StructId, StructType, Ty};

/// The media type of the encoding.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every body starts with.
pub(crate) const MAGIC: &[u8] = b"k8s\0";
/// Deepest nesting; types that contain themselves are cut off there.
const DEPTH: usize = 64;

/// Why a body cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtobufError {
    /// The kind is none that the tables have: the encoding cannot be read for it.
    #[error("{0} cannot be read from protobuf")]
    UnknownKind(String),
    /// The bytes are no valid encoding.
    #[error("the body is no valid protobuf: {0}")]
    Malformed(&'static str),
}

/// The JSON document that a body encodes.
pub(super) fn to_json(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::Malformed("it does not start with the magic number"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for part in Parts(envelope) {
        match part? {
            (1, Part::Bytes(meta)) => {
                for part in Parts(meta) {
                    match part? {
                        (1, Part::Bytes(text)) => api_version = utf8(text)?,
                        (2, Part::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Part::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let types = Schema::builtin();
    let name = match (kind.as_str(), api_version.as_str()) {
        // Options go by the version of the kind that they are for.
        ("DeleteOptions", _) => "meta/v1.DeleteOptions".to_owned(),
        (kind, version) => format!("{version}.{kind}"),
    };
    let id = types.find(&name).ok_or(ProtobufError::UnknownKind(name))?;
    let mut document = Map::new();
    document.insert("kind".into(), kind.into());
    document.insert("apiVersion".into(), api_version.into());
    document.extend(message(types, id, raw, 0)?);
    Ok(Value::Object(document))
}

/// Whether a body begins as this encoding does, and goes on.
pub(crate) fn begins(body: &[u8]) -> bool {
    body.len() > MAGIC.len() && body.starts_with(MAGIC)
}

/// Where the field of a number is.
enum Place {
    /// A field of the type, by position.
    Field(usize),
    /// A message that the JSON form has inlined.
    Inside(BTreeMap<u32, Place>),
}

/// Places by number, for each type of the tables.
fn places(id: StructId) -> &'static BTreeMap<u32, Place> {
    static PLACES: OnceLock<Vec<BTreeMap<u32, Place>>> = OnceLock::new();
    let all = PLACES.get_or_init(|| {
        let types = Schema::builtin();
        let mut all: Vec<BTreeMap<u32, Place>> = types.structs.iter().map(|_| BTreeMap::new()).collect();
        for line in include_str!("../../tables/protobuf.tsv").lines().filter(|line| !line.starts_with('#')) {
            let (name, fields) = line.split_once('\t').unwrap_or((line, ""));
            let Some(id) = types.find(name) else { continue };
            for (field, path) in fields.split(' ').filter_map(|f| f.split_once('=')) {
                if let Some(at) = types.get(id).index.get(field) {
                    let path: Vec<u32> = path.split('.').map(|n| n.parse().expect("protobuf.tsv holds numbers")).collect();
                    put(&mut all[id], &path, *at);
                }
            }
        }
        all
    });
    &all[id]
}

fn put(places: &mut BTreeMap<u32, Place>, path: &[u32], at: usize) {
    match path {
        [] => {}
        [number] => {
            places.insert(*number, Place::Field(at));
        }
        [number, rest @ ..] => {
            if let Place::Inside(inner) = places.entry(*number).or_insert_with(|| Place::Inside(BTreeMap::new())) {
                put(inner, rest, at);
            }
        }
    }
}

fn message(types: &Schema, id: StructId, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, ProtobufError> {
    if depth > DEPTH {
        return Err(ProtobufError::Malformed("it is nested too deeply"));
    }
    let ty = types.get(id);
    let mut values: Vec<Option<Value>> = vec![None; ty.fields.len()];
    fill(types, ty, places(id), bytes, &mut values, depth)?;
    let mut document = Map::new();
    for (field, value) in ty.fields.iter().zip(values) {
        let Some(value) = value else { continue };
        // The encoding writes zeros that the JSON form leaves out; an empty time stands for none.
        let left_out = value.is_null() || (!field.pointer && (field.omit_empty || field.omit_zero) && is_zero(&value));
        if !left_out {
            document.insert(field.name.to_string(), value);
        }
    }
    Ok(document)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

fn fill(
    types: &Schema,
    ty: &StructType,
    places: &BTreeMap<u32, Place>,
    bytes: &[u8],
    values: &mut [Option<Value>],
    depth: usize,
) -> Result<(), ProtobufError> {
    for part in Parts(bytes) {
        let (number, part) = part?;
        match (places.get(&number), part) {
            // Fields of a later release are passed over, as every protobuf reader does.
            (None, _) => {}
            (Some(Place::Inside(inner)), Part::Bytes(bytes)) => fill(types, ty, inner, bytes, values, depth)?,
            (Some(Place::Inside(_)), _) => return Err(ProtobufError::Malformed("a message is no message")),
            (Some(Place::Field(at)), part) => take(types, &ty.fields[*at].ty, part, &mut values[*at], depth)?,
        }
    }
    Ok(())
}

/// Adds a part to a field's value: lists and maps come one item at a time.
fn take(types: &Schema, ty: &Ty, part: Part<'_>, value: &mut Option<Value>, depth: usize) -> Result<(), ProtobufError> {
    match ty {
        Ty::List(item) => {
            let item = single(types, item, part, depth)?;
            if let Value::Array(items) = value.get_or_insert_with(|| Value::Array(Vec::new())) {
                items.push(item);
            }
        }
        Ty::Map(of) => {
            let Part::Bytes(entry) = part else { return Err(ProtobufError::Malformed("a map's entry is no message")) };
            let (mut key, mut item) = (String::new(), None);
            for part in Parts(entry) {
                match part? {
                    (1, Part::Bytes(text)) => key = utf8(text)?,
                    (2, part) => item = Some(single(types, of, part, depth)?),
                    _ => {}
                }
            }
            let item = item.unwrap_or_else(|| zero(of));
            if let Value::Object(entries) = value.get_or_insert_with(|| Value::Object(Map::new())) {
                entries.insert(key, item);
            }
        }
        ty => *value = Some(single(types, ty, part, depth)?),
    }
    Ok(())
}

fn zero(ty: &Ty) -> Value {
    match ty {
        Ty::Bool => false.into(),
        Ty::Int32 | Ty::Int64 | Ty::Float | Ty::IntOrString => 0.into(),
        Ty::Quantity => "0".into(),
        Ty::List(_) => Value::Array(Vec::new()),
        Ty::Map(_) | Ty::Struct(_) => Value::Object(Map::new()),
        _ => "".into(),
    }
}

/// One value.
fn single(types: &Schema, ty: &Ty, part: Part<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (ty, part) {
        (Ty::Bool, Part::Number(number)) => (number != 0).into(),
        (Ty::Int32 | Ty::Int64, Part::Number(number)) => number.cast_signed().into(),
        (Ty::Float, Part::Fixed(bits)) => f64::from_bits(bits).into(),
        (Ty::Str, Part::Bytes(text)) => utf8(text)?.into(),
        (Ty::Bytes, Part::Bytes(bytes)) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        (Ty::Struct(id), Part::Bytes(bytes)) => Value::Object(message(types, *id, bytes, depth + 1)?),
        (Ty::Quantity, Part::Bytes(bytes)) => match field(bytes, 1)? {
            Some(Part::Bytes(text)) => utf8(text)?.into(),
            _ => "0".into(),
        },
        (Ty::IntOrString, Part::Bytes(bytes)) => match (field(bytes, 1)?, field(bytes, 2)?, field(bytes, 3)?) {
            (Some(Part::Number(1)), _, Some(Part::Bytes(text))) => utf8(text)?.into(),
            (_, Some(Part::Number(number)), _) => number.cast_signed().into(),
            _ => 0.into(),
        },
        (Ty::Time | Ty::MicroTime, Part::Bytes(bytes)) => time(ty, bytes)?,
        (Ty::Duration, Part::Bytes(bytes)) => match field(bytes, 1)? {
            Some(Part::Number(nanos)) => format!("{}ns", nanos.cast_signed()).into(),
            _ => "0s".into(),
        },
        (Ty::Raw, Part::Bytes(bytes)) => match field(bytes, 1)? {
            Some(Part::Bytes(json)) => {
                serde_json::from_slice(json).map_err(|_| ProtobufError::Malformed("an embedded document is no JSON"))?
            }
            _ => Value::Null,
        },
        // A list within a map has a message of its own.
        (Ty::List(item), Part::Bytes(bytes)) => {
            let mut items = Vec::new();
            for part in Parts(bytes) {
                if let (1, part) = part? {
                    items.push(single(types, item, part, depth + 1)?);
                }
            }
            Value::Array(items)
        }
        _ => return Err(ProtobufError::Malformed("a field has the wrong wire type")),
    })
}

fn time(ty: &Ty, bytes: &[u8]) -> Result<Value, ProtobufError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let number = |number| Ok(if let Some(Part::Number(n)) = field(bytes, number)? { n.cast_signed() } else { 0 });
    let nanos = i32::try_from(number(2)?).map_err(|_| ProtobufError::Malformed("a time is out of range"))?;
    let time = jiff::Timestamp::new(number(1)?, nanos).map_err(|_| ProtobufError::Malformed("a time is out of range"))?;
    let format = if *ty == Ty::MicroTime { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(time.strftime(format).to_string().into())
}

/// The last part of a message with that number.
fn field(bytes: &[u8], number: u32) -> Result<Option<Part<'_>>, ProtobufError> {
    let mut found = None;
    for part in Parts(bytes) {
        let (at, part) = part?;
        if at == number {
            found = Some(part);
        }
    }
    Ok(found)
}

fn utf8(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Malformed("a text is not UTF-8"))
}

/// A value on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

/// The parts of a message in order.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn number(&mut self) -> Result<u64, ProtobufError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ProtobufError::Malformed("it ends within a number"))?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ProtobufError::Malformed("a number is too long"))
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], ProtobufError> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.0.len());
        let (bytes, rest) = self.0.split_at(length.ok_or(ProtobufError::Malformed("it ends within a field"))?);
        self.0 = rest;
        Ok(bytes)
    }

    fn part(&mut self) -> Result<(u32, Part<'a>), ProtobufError> {
        let tag = self.number()?;
        let number = u32::try_from(tag >> 3).map_err(|_| ProtobufError::Malformed("a field's number is too large"))?;
        let part = match tag & 7 {
            0 => Part::Number(self.number()?),
            1 => Part::Fixed(u64::from_le_bytes(self.bytes(8)?.try_into().expect("eight bytes were asked for"))),
            2 => {
                let length = self.number()?;
                Part::Bytes(self.bytes(length)?)
            }
            5 => Part::Fixed(u64::from(u32::from_le_bytes(self.bytes(4)?.try_into().expect("four bytes were asked for")))),
            _ => return Err(ProtobufError::Malformed("a field has an unknown wire type")),
        };
        Ok((number, part))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(u32, Part<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let part = self.part();
        if part.is_err() {
            self.0 = &[];
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A field with bytes.
    fn f(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
        out.extend_from_slice(bytes);
        out
    }

    /// A field with a small number.
    fn n(number: u8, value: u8) -> Vec<u8> {
        vec![number << 3, value]
    }

    fn body(api_version: &str, kind: &str, raw: &[Vec<u8>]) -> Vec<u8> {
        let meta = [f(1, api_version.as_bytes()), f(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), f(1, &meta), f(2, &raw.concat()), f(3, b""), f(4, b"")].concat()
    }

    #[test]
    fn a_config_map_is_read_with_its_map_and_without_zeros() {
        let metadata = [f(1, b"cm"), f(2, b""), f(3, b"default"), n(7, 0), f(8, b"")].concat();
        let entry = [f(1, b"a"), f(2, b"b")].concat();
        let decoded = to_json(&body("v1", "ConfigMap", &[f(1, &metadata), f(2, &entry)])).expect("valid");
        assert_eq!(
            decoded,
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "cm", "namespace": "default"}, "data": {"a": "b"}})
        );
    }

    #[test]
    fn lists_inlined_messages_quantities_and_pointers_are_read() {
        let volume = [f(1, b"v"), f(2, &f(2, b""))].concat();
        let request = [f(1, b"cpu"), f(2, &f(1, b"100m"))].concat();
        let container = [f(1, b"main"), f(2, b"web:1"), f(8, &f(2, &request))].concat();
        let spec = [f(1, &volume), f(2, &container), n(4, 0)].concat();
        let decoded = to_json(&body("v1", "Pod", &[f(1, &f(1, b"p")), f(2, &spec)])).expect("valid");
        assert_eq!(decoded["spec"]["volumes"], json!([{"name": "v", "emptyDir": {}}]));
        assert_eq!(decoded["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "100m"}));
        // A pointer to zero is not the same as none.
        assert_eq!(decoded["spec"]["terminationGracePeriodSeconds"], 0);
    }

    #[test]
    fn times_and_int_or_strings_have_messages_of_their_own() {
        let port = [f(1, b""), f(2, b"TCP"), n(3, 80), f(4, &[n(1, 1), n(2, 0), f(3, b"http")].concat()), n(5, 0)].concat();
        let decoded = to_json(&body("v1", "Service", &[f(1, &f(8, &n(1, 60))), f(2, &f(1, &port))])).expect("valid");
        assert_eq!(decoded["metadata"]["creationTimestamp"], "1970-01-01T00:01:00Z");
        assert_eq!(decoded["spec"]["ports"], json!([{"protocol": "TCP", "port": 80, "targetPort": "http"}]));
    }

    #[test]
    fn broken_bodies_are_refused_without_panic() {
        assert!(matches!(to_json(b"{}"), Err(ProtobufError::Malformed(_))));
        assert!(matches!(to_json(&body("v9", "Nothing", &[])), Err(ProtobufError::UnknownKind(_))));
        let whole = body("v1", "ConfigMap", &[f(1, &f(1, b"cm"))]);
        for cut in 0..whole.len() {
            let _ = to_json(&whole[..cut]);
        }
        let bad = body("v1", "ConfigMap", &[vec![0xff; 12]]);
        assert!(matches!(to_json(&bad), Err(ProtobufError::Malformed(_))));
        assert!(matches!(to_json(&body("v1", "ConfigMap", &[f(1, &f(1, &[0xff]))])), Err(ProtobufError::Malformed(_))));
    }
}
