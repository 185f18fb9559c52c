//! Requests that a server should refuse, or take although they look odd: each is answered as kube-apiserver 1.36.2 answered it.
//!
//! `tests/data/bad-requests.jsonl` holds what was written on a connection and what came back: paths with tricks in them, unknown methods,
//! broken selectors, tokens, numbers and versions, bodies that are no JSON, too deep, too large or in a wrong encoding, keys that occur
//! twice, chunks and lengths that do not fit, headers and URLs without end, patches of every type that are none.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::data;
use crate::raw::{Answer, Local};

/// One request and its answer.
#[derive(Deserialize)]
struct Case {
    name: String,
    /// What is written: each character one byte; `{token}` stands for the administrator's.
    request: Vec<Piece>,
    answer: Wanted,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    /// A text, so many times.
    Repeated(String, usize),
}

/// What is looked at of an answer.
#[derive(Deserialize)]
struct Wanted {
    code: u16,
    /// Media type.
    #[serde(rename = "type", default)]
    media_type: String,
    #[serde(default)]
    warnings: Vec<String>,
    /// Message, reason and details of a `Status`.
    status: Option<Value>,
    kind: Option<String>,
    text: Option<String>,
}

impl Case {
    fn bytes(&self, token: &str) -> Vec<u8> {
        let bytes = |text: &str| -> Vec<u8> {
            text.replace("{token}", token).chars().map(|c| u8::try_from(u32::from(c)).expect("a character stands for one byte")).collect()
        };
        let pieces = self.request.iter().map(|piece| match piece {
            Piece::Text(text) => bytes(text),
            Piece::Repeated(text, times) => bytes(text).repeat(*times),
        });
        pieces.collect::<Vec<_>>().concat()
    }

    /// How an answer differs from the recorded one.
    fn difference(&self, answer: &Answer) -> Option<String> {
        let (want, document) = (&self.answer, answer.document());
        let media_type = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        let warnings: Vec<&str> = answer.headers.iter().filter(|(k, _)| k == "warning").map(|(_, v)| v.as_str()).collect();
        let status: serde_json::Map<String, Value> =
            ["message", "reason", "details"].into_iter().filter_map(|k| Some((k.to_owned(), document.get(k)?.clone()))).collect();
        let differs = answer.code != want.code
            || media_type != want.media_type
            || warnings != want.warnings
            || want.status.as_ref().is_some_and(|s| *s != Value::Object(status))
            || want.kind.as_ref().is_some_and(|k| document["kind"] != **k)
            || want.text.as_ref().is_some_and(|t| answer.body != t.as_bytes());
        let shown = || {
            let body: String = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
            let wanted: String =
                want.status.as_ref().map(Value::to_string).or(want.text.clone()).unwrap_or_default().chars().take(300).collect();
            format!(
                "{}: {} {media_type} {warnings:?} {body}\n    wanted {} {} {:?} {wanted}",
                self.name, answer.code, want.code, want.media_type, want.warnings
            )
        };
        differs.then(shown)
    }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> =
        data("bad-requests.jsonl").lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:.200}"))).collect();
    assert!(cases.len() > 700, "requests went missing: {}", cases.len());
    cases
}

/// Requests that are answered otherwise, with the reason.
fn meant() -> BTreeMap<String, String> {
    let text = data("bad-requests-meant.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('\t').map(|(name, why)| (name.to_owned(), why.to_owned())).expect("NAME tab REASON")).collect()
}

async fn play(local: &Local, cases: &[Case]) -> Vec<Result<Option<String>, String>> {
    use futures::StreamExt;
    let one = |case: &Case| {
        let bytes = case.bytes(&local.token);
        async move { local.ask(&bytes).await }
    };
    let answers: Vec<_> = futures::stream::iter(cases.iter().map(one)).buffered(8).collect().await;
    let answers = answers.into_iter().zip(cases);
    answers.map(|(answer, case)| answer.map(|a| case.difference(&a)).map_err(|e| format!("{}: {e}", case.name))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_answered_as_kube_apiserver_answers_them() {
    let (cases, mut meant) = (cases(), meant());
    let local = Local::start("bad-requests").await;
    let mut wrong = Vec::new();
    for (case, outcome) in cases.iter().zip(play(&local, &cases).await) {
        let known = meant.remove(&case.name);
        match (outcome, known) {
            (Ok(None), None) | (Ok(Some(_)) | Err(_), Some(_)) => {}
            (Ok(None), Some(_)) => wrong.push(format!("{}: answered alike, so no difference that is meant", case.name)),
            (Ok(Some(text)) | Err(text), None) => wrong.push(text),
        }
    }
    local.assert_calm();
    assert!(meant.is_empty(), "no such requests: {:?}", meant.keys());
    assert!(wrong.is_empty(), "{} of {} differ:\n  {}", wrong.len(), cases.len(), wrong.join("\n  "));
}

/// What was refused leaves nothing behind: neither memory nor objects, and nobody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_leave_nothing_behind() {
    let cases = cases();
    let local = Local::start("bad-requests-memory").await;
    play(&local, &cases).await;
    let first = local.process.resident();
    for _ in 0..2 {
        play(&local, &cases).await;
    }
    let grown = local.process.resident().saturating_sub(first);
    eprintln!("{} bad requests: {} MiB resident, {} MiB more after they came twice again", cases.len(), first >> 20, grown >> 20);
    assert!(first < 512 << 20, "{first} bytes resident");
    assert!(grown < 64 << 20, "{grown} bytes more");
    assert!(local.serves().await < std::time::Duration::from_secs(1));
    local.assert_calm();
    let list = local.ask(format!("{}\r\n", local.head("GET /api/v1/configmaps")).as_bytes()).await.expect("a list").document();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(0), "{list:.500}");
}
