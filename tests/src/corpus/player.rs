//! Playing one conversation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::alike::alike;
use super::conversation::{Conversation, Step, Until};
use super::normal::Normaliser;
use super::parts::{picked, reduced};
use super::watching::Watch;
use crate::recorded::Broken;
use crate::recorded::difference::difference_but;
use crate::recorded::place::look_up;
use crate::recorded::placeholders::Fill;
use crate::transport::{Answer, Transport};

/// Names and values of a request's headers; without a value: one that would go by itself, and shall not.
type Headers = Vec<(String, Option<String>)>;

/// Who the requests say they come from: it stands in recorded field ownership.
const AGENT: &str = "corpus/1";
/// How much of a value is shown.
const SHOWN: usize = 160;
/// The same where everything is to be seen.
const SHOWN_LONG: usize = 4000;

/// How a conversation is played.
#[derive(Clone)]
pub struct PlayOptions {
    /// The time, as the server tells it where both have one clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Leave the objects on the server.
    pub keep: bool,
    /// Long values in what is reported.
    pub verbose: bool,
}

/// One conversation being played.
pub struct Player<'a> {
    conversation: &'a Conversation,
    options: &'a PlayOptions,
    wire: Box<dyn Transport>,
    namespace: String,
    normal: Normaliser,
    answers: BTreeMap<usize, Value>,
    watches: BTreeMap<String, Watch>,
    /// Paths of objects outside the namespace, and of Services, whose addresses are scarce.
    made: Vec<String>,
    /// Whether the server answered at all.
    pub answered: bool,
    /// What was answered, in normal form, by the number of the step.
    pub log: Vec<(usize, Value)>,
}

impl<'a> Player<'a> {
    /// A player in the namespace `namespace`, which must not exist yet.
    pub fn new(conversation: &'a Conversation, options: &'a PlayOptions, wire: Box<dyn Transport>, namespace: &str) -> Self {
        Player {
            conversation,
            options,
            wire,
            namespace: namespace.to_owned(),
            normal: Normaliser::new(conversation, namespace, (options.now)()),
            answers: BTreeMap::new(),
            watches: BTreeMap::new(),
            made: Vec::new(),
            answered: false,
            log: Vec::new(),
        }
    }

    /// Plays it to its end or to the first fault, and removes what it made.
    ///
    /// # Errors
    /// One line that says what is not as recorded, or what could not be done.
    pub async fn play(&mut self) -> Result<(), Broken> {
        let outcome = self.steps().await;
        self.watches.clear();
        if !self.options.keep {
            // What cannot be removed stays, and is no fault of the conversation.
            _ = self.clean_up().await;
        }
        outcome
    }

    async fn steps(&mut self) -> Result<(), Broken> {
        let conversation = self.conversation;
        if conversation.namespace {
            self.make_namespace().await?;
        }
        for (step, number) in conversation.steps.iter().zip(1..) {
            self.step(number, step).await.map_err(|fault| Broken(format!("step {number} ({}): {fault}", step.title())))?;
        }
        let order = self.normal.symbols.version_order();
        if order == conversation.version_order {
            return Ok(());
        }
        let shown = |order: &Option<Vec<usize>>| order.as_ref().map_or("None".to_owned(), |order| format!("{order:?}"));
        let (order, expected) = (shown(&order), shown(&conversation.version_order));
        Err(Broken(format!("resourceVersions grow in the order {order}, expected {expected}")))
    }

    async fn make_namespace(&mut self) -> Result<(), Broken> {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        let answer = self.call("POST", "/api/v1/namespaces", &[], Some(Bytes::from(body.to_string()))).await?;
        let date = answer.headers.get(header::DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok()) {
            self.normal.symbols.clock(date, (self.options.now)());
        }
        match answer.status.as_u16() {
            201 => Ok(()),
            code => Err(Broken(format!("namespace not created: {code} {}", String::from_utf8_lossy(&answer.body)))),
        }
    }

    async fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(String, Option<String>)],
        body: Option<Bytes>,
    ) -> Result<Answer, Broken> {
        let mut all = vec![("User-Agent".to_owned(), Some(AGENT.to_owned()))];
        all.extend_from_slice(headers);
        let answer = self.wire.call(method, path, &all, body).await.map_err(|error| Broken(error.to_string()))?;
        self.answered = true;
        Ok(answer)
    }

    fn fill(&self) -> Fill<'_> {
        Fill { namespace: &self.namespace, answers: &self.answers, item: None, now: None }
    }

    async fn step(&mut self, number: usize, step: &Step) -> Result<(), Broken> {
        if let Some(pause) = step.sleep {
            sleep(Duration::from_millis(pause)).await;
            return Ok(());
        }
        if let Some(checks) = &step.check {
            return checks.iter().try_for_each(|check| self.check(check));
        }
        if let Some(name) = &step.watch {
            let (path, mut headers) = self.asked(step)?;
            headers.insert(0, ("User-Agent".to_owned(), Some(AGENT.to_owned())));
            let watch = Watch::open(self.wire.as_mut(), &path, &headers).await;
            self.watches.insert(name.clone(), watch);
            return Ok(());
        }
        let actual = match &step.collect {
            Some(watch) => self.events(number, step, watch).await?,
            None => self.answer(number, step).await?,
        };
        let fault = self.normal.fault();
        let outcome = fault.map_or_else(|| self.compare(step, &actual), |fault| Err(Broken(fault)));
        self.log.push((number, actual));
        outcome
    }

    fn compare(&self, step: &Step, actual: &Value) -> Result<(), Broken> {
        let Some(expected) = &step.expect else { return Ok(()) };
        let choices = expected.as_array().map_or(std::slice::from_ref(expected), Vec::as_slice);
        let mut first = None;
        for choice in choices {
            match difference_but(choice, actual, &alike) {
                None => return Ok(()),
                found => first = first.or(found),
            }
        }
        let limit = if self.options.verbose { SHOWN_LONG } else { SHOWN };
        Err(Broken(first.map_or_else(|| "nothing was recorded".to_owned(), |found| found.text(limit))))
    }

    /// Path and headers of a request, filled.
    fn asked(&self, step: &Step) -> Result<(String, Headers), Broken> {
        let fill = self.fill();
        let mut headers = Vec::new();
        if let Some(token) = &step.token {
            let token = fill.text(token)?;
            headers.push(("Authorization".to_owned(), Some(format!("Bearer {token}")).filter(|_| !token.is_empty())));
        }
        for (name, value) in &step.headers {
            headers.push((fill.text(name)?, fill.value(value)?.as_str().map(str::to_owned)));
        }
        Ok((fill.text(&step.path)?, headers))
    }

    async fn answer(&mut self, number: usize, step: &Step) -> Result<Value, Broken> {
        let (path, headers) = self.asked(step)?;
        let body = match (&step.raw, &step.body) {
            (Some(raw), _) => Some(Bytes::from(self.fill().text(raw)?)),
            (None, Some(body)) => Some(Bytes::from(self.fill().value(body)?.to_string())),
            (None, None) => None,
        };
        let method = step.method.as_deref().unwrap_or("GET");
        let limit = step.until.as_ref().and_then(|until| until.ms).unwrap_or(10_000);
        let deadline = Instant::now() + Duration::from_millis(limit);
        let answer = loop {
            let answer = self.call(method, &path, &headers, body.clone()).await?;
            let reached = step.until.as_ref().map_or(Ok(true), |until| self.reached(until, &answer))?;
            if reached || Instant::now() > deadline {
                break answer;
            }
            sleep(Duration::from_millis(100)).await;
        };
        let value = answer.value();
        self.remember(method, &path, answer.status.as_u16(), &value);
        self.answers.insert(number, value);
        self.normal_answer(step, answer.status.as_u16(), &answer.headers, &answer.body)
    }

    fn reached(&self, until: &Until, answer: &Answer) -> Result<bool, Broken> {
        if answer.status.as_u16() != until.code.unwrap_or(200) {
            return Ok(false);
        }
        let Some(at) = &until.at else { return Ok(true) };
        let body = answer.value();
        let found = look_up(&body, at);
        let wanted = until.is.as_ref().map(|is| self.fill().value(is)).transpose()?;
        Ok(match (&until.key, &wanted) {
            (Some(key), wanted) => found.and_then(Value::as_array).into_iter().flatten().any(|item| look_up(item, key) == wanted.as_ref()),
            (None, Some(wanted)) => found == Some(wanted),
            (None, None) => found.is_some(),
        })
    }

    /// Notes what is to be deleted at the end.
    fn remember(&mut self, method: &str, path: &str, code: u16, value: &Value) {
        if code != 201 || !matches!(method, "POST" | "PATCH" | "PUT") || path.contains("dryRun") {
            return;
        }
        let path = path.split('?').next().unwrap_or(path);
        let inside = path.contains(&format!("/namespaces/{}", self.namespace));
        let Some(name) = look_up(value, "metadata.name").and_then(Value::as_str).filter(|_| !inside || value["kind"] == "Service") else {
            return;
        };
        let own = if path.ends_with(&format!("/{name}")) { path.to_owned() } else { format!("{path}/{name}") };
        if !self.made.contains(&own) && own.matches('/').count() >= 4 {
            self.made.push(own);
        }
    }

    fn normal_answer(&mut self, step: &Step, code: u16, headers: &HeaderMap, data: &Bytes) -> Result<Value, Broken> {
        let mut actual = Map::from_iter([("code".to_owned(), json!(code))]);
        let kind = headers.get(header::CONTENT_TYPE).map_or_else(String::new, header_text).replace("; ", ";");
        if kind != "application/json" {
            actual.insert("type".into(), kind.into());
        }
        let warnings: Vec<String> = headers.get_all(header::WARNING).iter().map(header_text).collect();
        if !warnings.is_empty() {
            actual.insert("warnings".into(), warnings.iter().map(|warning| self.normal.symbols.text(warning)).collect());
        }
        if let Some(after) = headers.get(header::RETRY_AFTER).filter(|after| !after.is_empty()) {
            actual.insert("retryAfter".into(), header_text(after).into());
        }
        match serde_json::from_slice::<Value>(data) {
            Ok(body) if !body.is_null() => {
                let body = picked(body, &step.pick, &self.fill())?;
                let normal = self.normal.body(&body, None);
                if let Some(body) = reduced(normal, step, &self.fill())? {
                    actual.insert("body".into(), body);
                }
            }
            _ if data.is_empty() => {}
            _ => _ = actual.insert("text".into(), self.normal.symbols.text(&String::from_utf8_lossy(data)).into()),
        }
        Ok(Value::Object(actual))
    }

    async fn events(&mut self, number: usize, step: &Step, name: &str) -> Result<Value, Broken> {
        let watch = self.watches.get_mut(name).ok_or_else(|| Broken(format!("watch {name} was never opened")))?;
        let time = Duration::from_millis(step.ms.unwrap_or(3000));
        let collected = watch.collect(step.events.unwrap_or(1), time).await;
        let collected = collected.map_err(|fault| Broken(format!("watch {name}: {fault}")))?;
        let code = collected.status.as_u16();
        if let Some(body) = collected.refusal {
            self.answers.insert(number, serde_json::from_slice(&body).unwrap_or_default());
            return self.normal_answer(step, code, &collected.headers, &body);
        }
        let mut events = Vec::new();
        for event in &collected.events {
            let Some(event) = event.as_object() else { return Err(Broken(format!("a watch event is not an object: {event}"))) };
            let kind = event.get("type").unwrap_or(&Value::Null);
            if kind == "BOOKMARK" && step.bookmarks == Some(false) {
                continue;
            }
            let object = self.normal.body(event.get("object").unwrap_or(&Value::Null), Some(name));
            events.push(json!({"type": kind, "object": object}));
        }
        self.answers.insert(number, json!({"events": collected.events}));
        let mut actual = json!({"code": code});
        if let Some(events) = reduced(Value::Array(events), step, &self.fill())? {
            actual["events"] = events;
        }
        if collected.ended {
            actual["ended"] = true.into();
        }
        Ok(actual)
    }

    fn check(&self, (left, relation, right): &(Value, String, Value)) -> Result<(), Broken> {
        let (a, b) = (self.fill().value(left)?, self.fill().value(right)?);
        let holds = match (relation.as_str(), whole_number(&a), whole_number(&b)) {
            ("<", Some(a), Some(b)) => a < b,
            ("<=", Some(a), Some(b)) => a <= b,
            ("<" | "<=", _, _) => false,
            ("==", _, _) => a == b,
            (_, _, _) => a != b,
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if holds { Ok(()) } else { Err(Broken(format!("{} {relation} {} does not hold: {a}, {b}", text(left), text(right)))) }
    }

    async fn clean_up(&mut self) -> Result<(), Broken> {
        let mut paths: Vec<String> = std::mem::take(&mut self.made);
        paths.reverse();
        if self.conversation.namespace {
            paths.push(format!("/api/v1/namespaces/{}", self.namespace));
        }
        for path in paths {
            let answer = self.call("DELETE", &format!("{path}?propagationPolicy=Background&gracePeriodSeconds=0"), &[], None).await?;
            let held = look_up(&answer.value(), "metadata.finalizers").is_some_and(|finalizers| *finalizers != json!([]));
            if held && !path.contains("customresourcedefinitions") {
                let headers = [("Content-Type".to_owned(), Some("application/merge-patch+json".to_owned()))];
                let body = Bytes::from_static(br#"{"metadata":{"finalizers":null}}"#);
                self.call("PATCH", &path, &headers, Some(body)).await?;
            }
        }
        Ok(())
    }
}

/// Headers are bytes; each is a character of its own.
fn header_text(value: &http::HeaderValue) -> String {
    value.as_bytes().iter().map(|byte| char::from(*byte)).collect()
}

fn whole_number(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => number.as_i128(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}
