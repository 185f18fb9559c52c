//! Playing one behaviour.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::api_of;
use super::conditions::{SortKey, matches};
use super::masks::Masks;
use super::picture::{Found, State, in_order, picture};
use super::rest::{about_workloads, lagging};
use super::story::{Step, Story};
use crate::recorded::Broken;
use crate::recorded::difference::difference;
use crate::recorded::place::look_up;
use crate::recorded::placeholders::Fill;
use crate::transport::{Answer, Transport};

/// How long a state that is not as recorded gets to become it: a busy manager may only have paused.
const LATE: Duration = Duration::from_secs(10);
/// How often a write that meets another one (409) is sent.
const TRIES: usize = 5;
const MERGE: &str = "application/merge-patch+json";
const WORDS: [&str; 25] = [
    "title", "method", "path", "headers", "body", "raw", "token", "code", "each", "where", "first", "skip", "order", "exactly", "until",
    "hold", "settle", "state", "paths", "expect", "ignore", "events", "blur", "drop", "tally",
];

/// A clock.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How a behaviour is played.
#[derive(Clone)]
pub struct PlayOptions {
    /// Factor on every waiting time.
    pub patience: f64,
    /// Leave the objects on the server.
    pub keep: bool,
    /// Long values in what is reported.
    pub verbose: bool,
    /// The time, as the server tells it.
    pub now: Now,
}

/// One behaviour being played.
pub struct Player<'a> {
    story: &'a Story,
    options: &'a PlayOptions,
    pub(super) wire: Box<dyn Transport>,
    /// Where it plays.
    pub namespace: String,
    masks: Masks,
    answers: BTreeMap<usize, Value>,
    /// Objects outside the namespace that the story made.
    pub(super) made: Vec<String>,
    item: Option<Value>,
    count: usize,
    /// What every settled step saw: step number and picture.
    pub pictures: Vec<(usize, Value)>,
}

impl<'a> Player<'a> {
    /// A player in the namespace `namespace`, which must not exist yet.
    pub fn new(story: &'a Story, options: &'a PlayOptions, wire: Box<dyn Transport>, namespace: &str) -> Self {
        Player {
            story,
            options,
            wire,
            namespace: namespace.to_owned(),
            masks: Masks::new(namespace),
            answers: BTreeMap::new(),
            made: Vec::new(),
            item: None,
            count: 0,
            pictures: Vec::new(),
        }
    }

    /// Plays it to its end or to the first fault, and removes what it made.
    ///
    /// # Errors
    /// One line that says what is not as recorded, or what could not be done.
    pub async fn play(&mut self) -> Result<(), Broken> {
        let outcome = self.steps().await;
        if !self.options.keep {
            self.clean_up().await;
        }
        outcome
    }

    async fn steps(&mut self) -> Result<(), Broken> {
        self.begin().await?;
        self.play_steps(1, self.story.steps.len()).await
    }

    /// Makes the namespace.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn begin(&mut self) -> Result<(), Broken> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.send("POST", "/api/v1/namespaces", Some(namespace), &[], Some(201), false).await.map(|_| ())
    }

    /// Plays the steps with these numbers, both included.
    ///
    /// # Errors
    /// As for [`Player::play`].
    pub async fn play_steps(&mut self, first: usize, last: usize) -> Result<(), Broken> {
        let story = self.story;
        for (number, step) in story.steps.iter().enumerate().map(|(at, step)| (at + 1, step)) {
            if (first..=last).contains(&number) {
                self.step(number, step).await.map_err(|fault| Broken(format!("step {number} ({}): {fault}", title(step))))?;
            }
        }
        Ok(())
    }

    /// What was learned about names so far.
    pub fn masks(&mut self) -> &mut Masks {
        &mut self.masks
    }

    /// The objects of these kinds in the story's namespace.
    ///
    /// # Errors
    /// When the server does not list them.
    pub async fn objects(&mut self, kinds: &[&str]) -> Result<Vec<(String, Vec<Value>)>, Broken> {
        let mut all = Vec::new();
        for kind in kinds {
            all.push(((*kind).to_owned(), self.list(kind).await?));
        }
        Ok(all)
    }

    async fn step(&mut self, number: usize, step: &Step) -> Result<(), Broken> {
        let unknown: BTreeSet<&str> = step.keys().map(String::as_str).filter(|word| !WORDS.contains(word)).collect();
        if !unknown.is_empty() {
            return Err(Broken(format!("unknown words in the step: {unknown:?}")));
        }
        if let Some(hold) = step.get("hold") {
            sleep(Duration::from_millis(hold.as_u64().unwrap_or(0))).await;
        } else if step.contains_key("settle") {
            self.settle(number, step).await?;
        } else if step.contains_key("each") {
            self.each(number, step).await?;
        } else if let Some(until) = step.get("until").filter(|_| !step.contains_key("method")) {
            let answer = self.wait(until).await?;
            self.answers.insert(number, answer);
        } else {
            let answer = self.request(step).await?;
            self.answers.insert(number, answer);
        }
        Ok(())
    }

    fn fill(&self) -> Fill<'_> {
        Fill {
            namespace: &self.namespace,
            answers: &self.answers,
            item: self.item.as_ref().map(|item| (item, self.count)),
            now: Some((self.options.now)()),
        }
    }

    async fn request(&mut self, step: &Step) -> Result<Value, Broken> {
        let path = self.fill().text(text_of(step, "path")?)?;
        let body = step.get("body").map(|body| self.fill().value(body)).transpose()?;
        let mut headers: Vec<(String, Option<String>)> = Vec::new();
        if let Some(token) = step.get("token") {
            let token = self.fill().value(token)?;
            headers.push(("Authorization".into(), token.as_str().filter(|token| !token.is_empty()).map(|token| format!("Bearer {token}"))));
        }
        for (name, value) in step.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let value = self.fill().value(value)?;
            headers.push((name.clone(), value.as_str().map(str::to_owned)));
        }
        let want = step.get("code").and_then(Value::as_u64).map(|code| code as u16);
        // A write that says which version it means wants to know of a conflict.
        let retry = !step.get("body").is_some_and(|body| body.to_string().contains("resourceVersion"));
        let method = step.get("method").and_then(Value::as_str).unwrap_or("GET");
        self.send(method, &path, body, &headers, want, retry).await
    }

    pub(super) async fn call(&mut self, method: &str, path: &str) -> Result<Answer, Broken> {
        self.wire.call(method, path, &[], None).await.map_err(|error| Broken(error.to_string()))
    }

    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(String, Option<String>)],
        want: Option<u16>,
        retry: bool,
    ) -> Result<Value, Broken> {
        let mut all = Vec::new();
        if method == "PATCH" {
            all.push(("Content-Type".to_owned(), Some(MERGE.to_owned())));
        }
        all.extend_from_slice(headers);
        let body = body.map(|body| Bytes::from(body.to_string()));
        let mut tries = 0;
        let answer = loop {
            let answer = self.wire.call(method, path, &all, body.clone()).await.map_err(|error| Broken(error.to_string()))?;
            tries += 1;
            if answer.status != 409 || !retry || method == "POST" || want == Some(409) || tries == TRIES {
                break answer;
            }
            sleep(Duration::from_millis(50)).await;
        };
        let (code, value) = (answer.status.as_u16(), answer.value());
        if want.map_or(code >= 300, |want| code != want) {
            let want = want.map_or("2xx".to_owned(), |want| want.to_string());
            let message = value["message"].as_str().map_or_else(|| String::from_utf8_lossy(&answer.body).into_owned(), str::to_owned);
            return Err(Broken(format!("{method} {path} got {code}, expected {want}: {message}")));
        }
        if method == "POST"
            && !path.contains(&format!("/namespaces/{}", self.namespace))
            && let Some(name) = look_up(&value, "metadata.name").and_then(Value::as_str)
            && name != self.namespace
        {
            self.made.push(format!("{}/{name}", path.split('?').next().unwrap_or(path)));
        }
        Ok(value)
    }

    /// One request for each item of a list that matches, in an order that does not depend on names.
    async fn each(&mut self, number: usize, step: &Step) -> Result<(), Broken> {
        let path = self.fill().text(text_of(step, "each")?)?;
        let listed = self.send("GET", &path, None, &[], None, false).await?;
        let conditions = self.fill().value(step.get("where").unwrap_or(&json!([])))?;
        let mut items = Vec::new();
        for item in listed["items"].as_array().into_iter().flatten() {
            if all_match(item, &conditions)? {
                items.push(item.clone());
            }
        }
        let order = step.get("order").and_then(Value::as_str).unwrap_or("metadata.creationTimestamp");
        items.sort_by_cached_key(|item| {
            let text = |path: &str| look_up(item, path).and_then(Value::as_str).unwrap_or_default().to_owned();
            (SortKey::of(look_up(item, order)), text("metadata.creationTimestamp"), text("metadata.name"))
        });
        let amount = |word: &str| step.get(word).and_then(Value::as_u64).map(|amount| amount as usize);
        items.drain(..amount("skip").unwrap_or(0).min(items.len()));
        if let Some(first) = amount("first") {
            if items.len() < first {
                return Err(Broken(format!("{} items match, needed {first}", items.len())));
            }
            items.truncate(first);
        }
        if let Some(exactly) = amount("exactly").filter(|exactly| *exactly != items.len()) {
            return Err(Broken(format!("{} items match, expected {exactly}", items.len())));
        }
        let mut results = Vec::new();
        for item in items {
            self.item = Some(item);
            self.count += 1;
            results.push(self.request(step).await?);
        }
        self.item = None;
        self.answers.insert(number, json!({"items": results}));
        Ok(())
    }

    /// Repeats a GET until the value at a place is (or matches) what is wanted.
    async fn wait(&mut self, until: &Value) -> Result<Value, Broken> {
        let limit = self.milliseconds(until, "ms", 20_000);
        let path = self.fill().text(until["path"].as_str().ok_or_else(|| Broken(format!("no path: {until}")))?)?;
        let start = Instant::now();
        loop {
            let answer = self.call("GET", &path).await?;
            let body = answer.value();
            let reached = match until.get("code") {
                Some(code) => code.as_u64() == Some(u64::from(answer.status.as_u16())),
                None => answer.status == 200 && all_match(&body, &self.fill().value(&until["where"])?)?,
            };
            if reached {
                return Ok(body);
            }
            if start.elapsed() > limit {
                return Err(Broken(format!("not reached in time: {until}")));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn milliseconds(&self, of: &Value, word: &str, default: u64) -> Duration {
        Duration::from_millis(of[word].as_u64().unwrap_or(default)).mul_f64(self.options.patience)
    }

    /// The objects of these kinds in the namespace and those at `paths` (name: path of an object or a list, anywhere), and a mark
    /// that changes whenever one of them does.
    async fn look(&mut self, step: &Step) -> Result<(State, Vec<String>), Broken> {
        let mut state = State::new();
        for plural in step.get("state").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            state.insert(plural.to_owned(), Found { kind: plural.to_owned(), items: self.list(plural).await?, missing: false });
        }
        let paths = self.fill().value(step.get("paths").unwrap_or(&Value::Null))?;
        for (name, path) in paths.as_object().into_iter().flatten() {
            let path = path.as_str().ok_or_else(|| Broken(format!("not a path: {path}")))?;
            let answer = self.call("GET", path).await?;
            let mut body = answer.value();
            let missing = answer.status == 404;
            if !missing && (answer.status != 200 || !body.is_object()) {
                return Err(Broken(format!("GET {path} got {}", answer.status.as_u16())));
            }
            let many = !missing && body["items"].is_array();
            let parts: Vec<&str> = path.split('?').next().unwrap_or(path).trim_end_matches('/').split('/').collect();
            let kind = parts.iter().rev().nth(usize::from(!many)).copied().unwrap_or_default().to_owned();
            let items = match (missing, body["items"].take()) {
                (true, _) => Vec::new(),
                (false, Value::Array(items)) => items,
                (false, _) => vec![answer.value()],
            };
            state.insert(name.clone(), Found { kind, items, missing });
        }
        let mut mark = Vec::new();
        for (name, found) in &state {
            mark.push(name.clone());
            mark.extend(found.items.iter().map(|item| format!("{}@{}", item["metadata"]["name"], item["metadata"]["resourceVersion"])));
        }
        Ok((state, mark))
    }

    async fn list(&mut self, plural: &str) -> Result<Vec<Value>, Broken> {
        let api = api_of(plural).ok_or_else(|| Broken(format!("unknown kind: {plural}")))?;
        let path = format!("{api}/namespaces/{}/{plural}", self.namespace);
        match self.send("GET", &path, None, &[], None, false).await?["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// Waits until nothing moves, then compares. `settle`: `quiet` and `max` milliseconds, and `until` to start from.
    async fn settle(&mut self, number: usize, step: &Step) -> Result<(), Broken> {
        let settle = &step["settle"];
        for until in settle["until"].as_array().into_iter().flatten() {
            self.wait(until).await?;
        }
        let quiet = self.milliseconds(settle, "quiet", 1200);
        let mut limit = self.milliseconds(settle, "max", 30_000);
        let expected = step.get("expect").ok_or_else(|| Broken("nothing was recorded".into()))?;
        let choices: Vec<Value> = match expected {
            Value::Array(choices) => choices.iter().map(in_order).collect(),
            one => vec![in_order(one)],
        };
        let start = Instant::now();
        let mut still = start;
        let (mut state, mut mark) = self.look(step).await?;
        let mut deadline = None;
        let (actual, differs) = loop {
            while still.elapsed() < quiet || (still.elapsed() < 5 * quiet && self.lags(&state).await?) {
                if start.elapsed() > limit {
                    return Err(Broken(format!("still moving after {:.0} s", limit.as_secs_f64())));
                }
                sleep(Duration::from_millis(150)).await;
                let (now, new) = self.look(step).await?;
                state = now;
                if new != mark {
                    (mark, still) = (new, Instant::now());
                }
            }
            let before = self.masks.clone();
            let actual = picture(&state, &mut self.masks, step, (self.options.now)());
            let ordered = in_order(&actual);
            let found: Vec<_> = choices.iter().map(|choice| difference(choice, &ordered)).collect();
            if found.iter().any(Option::is_none) {
                break (actual, None);
            }
            let differs =
                found.into_iter().flatten().next().map(|found| if self.options.verbose { found.text(4000) } else { found.to_string() });
            // A busy manager may have paused: what is not as recorded is given some more time to move.
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + LATE.mul_f64(self.options.patience));
            let mut moved = false;
            while !moved && Instant::now() < deadline {
                sleep(Duration::from_millis(300)).await;
                let (now, new) = self.look(step).await?;
                state = now;
                moved = new != mark;
                mark = new;
            }
            if !moved {
                break (actual, differs);
            }
            (self.masks, still) = (before, Instant::now());
            limit = limit.max(start.elapsed() + 5 * quiet);
        };
        let items = state.into_iter().map(|(name, found)| (name, json!({"items": found.items})));
        self.answers.insert(number, Value::Object(items.collect()));
        self.pictures.push((number, actual));
        differs.map_or(Ok(()), |differs| Err(Broken(differs)))
    }

    /// On a busy machine silence is not yet rest: where numbers do not fit, it must last longer.
    async fn lags(&mut self, state: &State) -> Result<bool, Broken> {
        if !about_workloads(state) {
            return Ok(false);
        }
        let mut seen = Vec::new();
        for plural in ["deployments", "replicasets", "replicationcontrollers", "pods"] {
            seen.push(match state.get(plural) {
                Some(found) => found.items.clone(),
                None => self.list(plural).await?,
            });
        }
        let sets: Vec<&Value> = seen[1].iter().chain(&seen[2]).collect();
        Ok(lagging(&seen[0], &sets, &seen[3]))
    }
}

fn all_match(item: &Value, conditions: &Value) -> Result<bool, Broken> {
    for condition in conditions.as_array().ok_or_else(|| Broken(format!("no conditions: {conditions}")))? {
        if !matches(item, condition)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn text_of<'a>(step: &'a Step, word: &str) -> Result<&'a str, Broken> {
    step.get(word).and_then(Value::as_str).ok_or_else(|| Broken(format!("the step has no {word}")))
}

fn title(step: &Step) -> String {
    let text = |word: &str| step.get(word).and_then(Value::as_str);
    match (text("title"), text("each"), text("path")) {
        (Some(title), ..) => title.to_owned(),
        _ if step.contains_key("settle") => "state at rest".to_owned(),
        (_, Some(each), _) => format!("each of {each}"),
        (_, _, Some(path)) => format!("{} {path}", text("method").unwrap_or("GET")),
        _ => "wait".to_owned(),
    }
}
