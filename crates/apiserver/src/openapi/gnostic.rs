//! The OpenAPI v2 document in the protobuf encoding of gnostic's `OpenAPIv2.proto`: the only one that kubectl asks for when it checks a
//! manifest itself, edits a subresource or explains the old way.

use serde_json::{Map, Value};

/// The media type that clients ask for, in its two spellings.
pub(super) const ASKED: [&str; 2] =
    ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"];
/// The one that answers carry.
pub(super) const ANSWERED: &str = ASKED[1];

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field << 3 | 2));
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u32, message: Message) {
        self.bytes(field, &message.0);
    }

    /// A text, or each of a list of texts; nothing for anything else.
    fn text(&mut self, field: u32, value: &Value) {
        match value {
            Value::String(text) => self.bytes(field, text.as_bytes()),
            Value::Array(items) => items.iter().for_each(|item| self.text(field, item)),
            _ => {}
        }
    }

    fn flag(&mut self, field: u32, value: &Value) {
        if value == &Value::Bool(true) {
            self.varint(u64::from(field << 3));
            self.varint(1);
        }
    }

    fn number(&mut self, field: u32, value: &Value) {
        if let Some(number) = value.as_f64() {
            self.varint(u64::from(field << 3 | 1));
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn whole(&mut self, field: u32, value: &Value) {
        if let Some(number) = value.as_i64() {
            self.varint(u64::from(field << 3));
            self.varint(number as u64);
        }
    }

    /// Any value: as YAML, which JSON is.
    fn any(&mut self, field: u32, value: &Value) {
        if !value.is_null() {
            let mut any = Message::default();
            any.bytes(2, format!("{value}\n").as_bytes());
            self.message(field, any);
        }
    }

    /// Members of an object as messages of a name and a value.
    fn named(&mut self, field: u32, members: &Value, encode: impl Fn(&Value) -> Message) {
        for (name, value) in members.as_object().into_iter().flatten() {
            let mut named = Message::default();
            named.bytes(1, name.as_bytes());
            named.message(2, encode(value));
            self.message(field, named);
        }
    }

    /// What stands under names that begin with `x-`.
    fn extensions(&mut self, field: u32, of: &Value) {
        let members: Map<String, Value> =
            of.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")).map(|(n, v)| (n.clone(), v.clone())).collect();
        for (name, value) in members {
            let mut named = Message::default();
            named.bytes(1, name.as_bytes());
            named.any(2, &value);
            self.message(field, named);
        }
    }
}

/// A message with one field, itself a message.
fn wrapped(field: u32, inner: Message) -> Message {
    let mut outer = Message::default();
    outer.message(field, inner);
    outer
}

/// The whole document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut all = Message::default();
    all.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    all.message(2, info);
    let mut paths = Message::default();
    paths.named(2, &document["paths"], path);
    all.message(8, paths);
    let mut definitions = Message::default();
    definitions.named(1, &document["definitions"], schema);
    all.message(9, definitions);
    for requirement in document["security"].as_array().into_iter().flatten() {
        let mut one = Message::default();
        one.named(1, requirement, |scopes| {
            let mut list = Message::default();
            list.text(1, scopes);
            list
        });
        all.message(12, one);
    }
    let mut security = Message::default();
    security.named(1, &document["securityDefinitions"], |definition| {
        let mut key = Message::default();
        for (field, name) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
            key.text(field, &definition[name]);
        }
        wrapped(2, key)
    });
    all.message(13, security);
    all.0
}

fn path(path: &Value) -> Message {
    let mut all = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if path[method].is_object() {
            all.message(field, operation(&path[method]));
        }
    }
    parameters(&mut all, 9, path);
    all.extensions(10, path);
    all
}

fn operation(operation: &Value) -> Message {
    let mut all = Message::default();
    all.text(7, &operation["consumes"]);
    parameters(&mut all, 8, operation);
    let mut responses = Message::default();
    responses.named(1, &operation["responses"], |answer| {
        let mut response = Message::default();
        response.text(1, &answer["description"]);
        if answer["schema"].is_object() {
            response.message(2, wrapped(1, schema(&answer["schema"])));
        }
        wrapped(1, response)
    });
    all.message(9, responses);
    all.extensions(13, operation);
    all
}

fn parameters(all: &mut Message, field: u32, of: &Value) {
    for parameter in of["parameters"].as_array().into_iter().flatten() {
        let mut one = Message::default();
        let told = if parameter["in"] == "body" {
            one.text(2, &parameter["name"]);
            one.text(3, &parameter["in"]);
            one.flag(4, &parameter["required"]);
            one.message(5, schema(&parameter["schema"]));
            wrapped(1, one)
        } else {
            // One that may be empty has a field more, and all after it another number.
            let (place, more) = if parameter["in"] == "query" { (3, 1) } else { (4, 0) };
            one.flag(1, &parameter["required"]);
            one.text(2, &parameter["in"]);
            one.text(4, &parameter["name"]);
            one.text(5 + more, &parameter["type"]);
            one.flag(19 + more, &parameter["uniqueItems"]);
            wrapped(2, wrapped(place, one))
        };
        all.message(field, wrapped(1, told));
    }
}

fn schema(schema: &Value) -> Message {
    let mut all = Message::default();
    for (field, name) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description"), (13, "pattern"), (19, "required")] {
        all.text(field, &schema[name]);
    }
    all.any(5, &schema["default"]);
    for (field, name) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        all.number(field, &schema[name]);
    }
    for (field, name) in [(8, "exclusiveMaximum"), (10, "exclusiveMinimum"), (16, "uniqueItems")] {
        all.flag(field, &schema[name]);
    }
    for (field, name) in
        [(11, "maxLength"), (12, "minLength"), (14, "maxItems"), (15, "minItems"), (17, "maxProperties"), (18, "minProperties")]
    {
        all.whole(field, &schema[name]);
    }
    for value in schema["enum"].as_array().into_iter().flatten() {
        all.any(20, value);
    }
    match &schema["additionalProperties"] {
        Value::Bool(_) => {
            let mut item = Message::default();
            item.flag(2, &schema["additionalProperties"]);
            all.message(21, item);
        }
        Value::Object(_) => all.message(21, wrapped(1, self::schema(&schema["additionalProperties"]))),
        _ => {}
    }
    if !schema["type"].is_null() {
        let mut types = Message::default();
        types.text(1, &schema["type"]);
        all.message(22, types);
    }
    if schema["items"].is_object() {
        all.message(23, wrapped(1, self::schema(&schema["items"])));
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        all.message(24, self::schema(part));
    }
    if schema["properties"].is_object() {
        let mut properties = Message::default();
        properties.named(1, &schema["properties"], self::schema);
        all.message(25, properties);
    }
    all.extensions(31, schema);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_lengths_are_those_of_the_protocol() {
        let mut message = Message::default();
        message.text(1, &json!("2.0"));
        message.flag(16, &json!(true));
        assert_eq!(message.0, [0x0a, 3, b'2', b'.', b'0', 0x80, 0x01, 1]);
        let long = Value::from("x".repeat(300));
        let mut message = Message::default();
        message.text(2, &long);
        assert_eq!(message.0[..3], [0x12, 0xac, 0x02]);
    }

    #[test]
    fn a_schema_names_its_kinds_as_an_extension() {
        let told = schema(&json!({"type": "object", "x-a": [1], "properties": {"p": {"$ref": "#/definitions/q"}}})).0;
        let text = String::from_utf8_lossy(&told).into_owned();
        assert!(text.contains("object") && text.contains("x-a") && text.contains("[1]\n") && text.contains("#/definitions/q"), "{text:?}");
    }
}
