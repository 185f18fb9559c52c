//! The file of recorded conversations.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::recorded::alter::Recorded;
use crate::recorded::{Broken, is_asked_for};

/// One recorded conversation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conversation {
    /// Its name.
    pub id: String,
    /// What it shows.
    #[serde(default)]
    pub title: String,
    /// What it is about.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether it needs a namespace.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub namespace: bool,
    /// Whether field ownership is compared too.
    #[serde(default, skip_serializing_if = "is_no")]
    pub managed_fields: bool,
    /// The numbers of the resourceVersion symbols, oldest version first, where that is not the order in which they were first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_order: Option<Vec<usize>>,
    /// What is said.
    pub steps: Vec<Step>,
}

/// One step: a request, or a watch opened, its events, a comparison, a pause.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// HTTP method; GET where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path and query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Request headers; null takes one out that is sent otherwise.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Value>,
    /// Bearer token in the place of the administrator's; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The request's document.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The request's body as it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// What was answered, in normal form; a list: any of them. Left out: the answer does not matter.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    pub expect: Option<Value>,
    /// JSON pointers: just these places are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<String>>,
    /// JSON pointers: these places are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// JSON pointers: these lists are compared as sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unordered: Vec<String>,
    /// Of these lists, just the items that are named.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub pick: Vec<Pick>,
    /// The request is repeated until this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
    /// A watch with this name is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
    /// Events of the watch with this name are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collect: Option<String>,
    /// How many events; 1 where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<usize>,
    /// How many milliseconds are waited for events; 3000 where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// False: bookmarks are passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bookmarks: Option<bool>,
    /// What must hold between earlier answers: `[left, relation, right]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Vec<(Value, String, Value)>>,
    /// A pause in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleep: Option<u64>,
}

/// Items of a list that are compared.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    /// JSON pointer of the list.
    pub at: String,
    /// Dotted path within an item; left out: the item itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The values there.
    #[serde(rename = "in")]
    pub among: Vec<Value>,
}

/// What must hold of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Until {
    /// HTTP status; 200 where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// How many milliseconds it gets; 10,000 where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// Dotted path of a value, or with `key` of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Dotted path within the items of the list, one of which must be as `is` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What must stand there; left out: anything.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    pub is: Option<Value>,
}

impl Step {
    /// What it does, for a report.
    pub fn title(&self) -> String {
        match (&self.collect, &self.watch) {
            (Some(watch), _) => format!("events of watch {watch}"),
            (None, Some(_)) => format!("WATCH {}", self.path),
            (None, None) => format!("{} {}", self.method.as_deref().unwrap_or("GET"), self.path),
        }
    }

    /// A guess at how many milliseconds it takes.
    fn weight(&self) -> u64 {
        let events = if self.collect.is_some() { self.ms.unwrap_or(3000) } else { 20 };
        self.sleep.unwrap_or(0) + events + if self.until.is_some() { 2000 } else { 0 }
    }

    /// Why it cannot be played.
    fn fault(&self) -> Option<&'static str> {
        let waits = self.sleep.is_some() || self.check.is_some() || self.collect.is_some();
        let wrong = |until: &Until| until.key.is_some() && (until.at.is_none() || until.is.is_none());
        let relations = self.check.iter().flatten().any(|(_, relation, _)| !matches!(relation.as_str(), "<" | "<=" | "==" | "!="));
        let faults = [
            (!waits && self.path.is_empty(), "a request without a path"),
            (self.until.as_ref().is_some_and(wrong), "`until` with `key` needs `at` and `is`"),
            (relations, "`check` knows <, <=, == and !="),
        ];
        faults.into_iter().find(|(wrong, _)| *wrong).map(|(_, fault)| fault)
    }
}

impl Conversation {
    /// A guess at how many milliseconds it takes: the long ones start first.
    pub fn weight(&self) -> u64 {
        self.steps.iter().map(Step::weight).sum()
    }
}

impl Recorded for Conversation {
    fn expectations(&mut self) -> Vec<&mut Value> {
        self.steps.iter_mut().filter_map(|step| step.expect.as_mut()).collect()
    }
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn is_no(value: &bool) -> bool {
    !*value
}

/// A value that is there, even where it is null.
fn there<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Pick>, D::Error> {
    let many = match Value::deserialize(from)? {
        Value::Array(many) => many,
        one => vec![one],
    };
    many.into_iter().map(|pick| serde_json::from_value(pick).map_err(serde::de::Error::custom)).collect()
}

/// Reads a file of conversations, one a line.
///
/// # Errors
/// When a line is no conversation, or a name is there twice; the text names the line.
pub fn read_conversations(text: &str) -> Result<Vec<Conversation>, Broken> {
    let mut conversations: Vec<Conversation> = Vec::new();
    let mut seen = BTreeSet::new();
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        let wrong = |why: String| Broken(format!("line {number}: not a conversation: {why}"));
        let conversation: Conversation = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        if let Some((at, fault)) = conversation.steps.iter().zip(1..).find_map(|(step, at)| step.fault().map(|fault| (at, fault))) {
            return Err(wrong(format!("{}, step {at}: {fault}", conversation.id)));
        }
        if !seen.insert(conversation.id.clone()) {
            return Err(Broken(format!("line {number}: {} is there twice", conversation.id)));
        }
        conversations.push(conversation);
    }
    Ok(conversations)
}

/// Which conversations are played.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Ids; `*` at the end matches any rest. Empty: all.
    pub only: Vec<String>,
    /// Tags. Empty: all.
    pub tags: Vec<String>,
}

impl Choice {
    /// Whether this one is played.
    pub fn takes(&self, conversation: &Conversation) -> bool {
        is_asked_for(&conversation.id, &self.only) && (self.tags.is_empty() || self.tags.iter().any(|tag| conversation.tags.contains(tag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong_with_it() {
        let fault = |line: &str| read_conversations(&format!("\n{line}\n")).expect_err("a bad line").0;
        assert!(fault("{").starts_with("line 2: not a conversation: EOF"), "{}", fault("{"));
        assert!(fault(r#"{"id":"a"}"#).contains("missing field `steps`"));
        assert!(fault(r#"{"id":"a","steps":[{"pth":"/api"}]}"#).contains("unknown field `pth`"));
        assert!(fault(r#"{"id":"a","steps":[{"path":"/api"},{}]}"#).contains("a, step 2: a request without a path"));
        assert!(fault(r#"{"id":"a","steps":[{"check":[["1",">","2"]]}]}"#).contains("`check` knows"));
        let line = r#"{"id":"a","steps":[]}"#;
        assert_eq!(fault(&format!("{line}\n{line}")), "line 3: a is there twice");
    }

    #[test]
    fn what_was_read_is_written_as_it_was() {
        let line = r#"{"id":"a","title":"t","tags":["x"],"namespace":false,"managedFields":true,"versionOrder":[2,1],"steps":[{"method":"PATCH","path":"/api","headers":{"Accept":null},"token":"","body":null,"expect":{"code":200},"only":[],"pick":[{"at":"/items","in":["b"]}],"until":{"at":"a","is":null}},{"collect":"w","events":2,"ms":5,"bookmarks":false},{"check":[["{1.a}","<",3]]},{"sleep":5}]}"#;
        let read = read_conversations(line).expect("a conversation");
        assert_eq!(serde_json::to_string(&read[0]).expect("JSON"), line);
        let single = line.replace(r#"[{"at":"/items","in":["b"]}]"#, r#"{"at":"/items","in":["b"]}"#);
        assert_eq!(serde_json::to_string(&read_conversations(&single).expect("one pick")[0]).expect("JSON"), line);
    }
}
