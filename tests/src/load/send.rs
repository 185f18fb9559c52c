//! Requests of any kind out of a file, as many at once as there are connections; then, where asked, until lists are empty.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::LoadError;
use super::connection::{Connection, Target};
use super::runs::{Request, Sent, checked, percentile, rounded_seconds, send_all};
use crate::transport::Access;

/// Shortest and longest time between two looks at a list that is to become empty.
const LOOKS: RangeInclusive<Duration> = Duration::from_millis(3)..=Duration::from_millis(1000);

/// A look costs the server something, so there are so many while a time doubles itself: what is told is too long by one part of so many at
/// most.
const PARTS: u32 = 40;

/// What stands for the number of a request in its path and body.
const NUMBER: &str = "{n}";

/// Requests and what follows them.
#[derive(Debug, Clone)]
pub struct Send {
    /// The server.
    pub access: Access,
    /// A file with one line of JSON for each run of requests: `method`, `path`, and where wanted `body`, `type` (the body's content type) and
    /// `count` (how many of them; `{n}` in path and body is the number of each, from 0, with six digits).
    pub requests: PathBuf,
    /// How many connections send requests, one at a time each.
    pub connections: usize,
    /// Paths of lists that are looked at, once all requests are answered, until they are empty.
    pub until_empty: Vec<String>,
    /// How long that may take.
    pub patience: Duration,
}

/// One line of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    method: Method,
    path: String,
    #[serde(default)]
    body: Value,
    #[serde(default = "json_type", rename = "type")]
    content_type: String,
    #[serde(default = "one")]
    count: usize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Post,
    Put,
    Patch,
    Delete,
}

fn json_type() -> String {
    "application/json".to_owned()
}

fn one() -> usize {
    1
}

/// All requests of a file, by number.
#[derive(Debug)]
struct Requests {
    lines: Vec<Template>,
    count: usize,
}

#[derive(Debug)]
struct Template {
    /// Number of its first request.
    from: usize,
    method: &'static str,
    path: String,
    content_type: String,
    body: String,
}

impl Requests {
    fn read(text: &str) -> Result<Self, serde_json::Error> {
        let (mut lines, mut count) = (Vec::new(), 0);
        for line in text.lines().filter(|line| !line.is_empty()) {
            let line: Line = serde_json::from_str(line)?;
            let method = match line.method {
                Method::Post => "POST",
                Method::Put => "PUT",
                Method::Patch => "PATCH",
                Method::Delete => "DELETE",
            };
            let body = if line.body.is_null() { String::new() } else { line.body.to_string() };
            lines.push(Template { from: count, method, path: line.path, content_type: line.content_type, body });
            count += line.count;
        }
        Ok(Self { lines, count })
    }

    fn get(&self, number: usize) -> Request {
        let line = &self.lines[self.lines.partition_point(|line| line.from <= number).saturating_sub(1)];
        let own = format!("{:06}", number - line.from);
        Request {
            method: line.method,
            path: line.path.replace(NUMBER, &own),
            content_type: line.content_type.clone(),
            body: line.body.replace(NUMBER, &own),
        }
    }
}

/// Sends them; gives how long that took, and how long it took from the first request until the lists were empty.
///
/// # Errors
/// See [`LoadError`]. Every request must succeed.
pub async fn send(send: &Send) -> Result<Value, LoadError> {
    let text = std::fs::read_to_string(&send.requests)?;
    let requests = Requests::read(&text).map_err(|error| LoadError::File(format!("{}: {error}", send.requests.display())))?;
    let count = requests.count;
    let target = Target::new(&send.access)?;
    let requests = Arc::new(requests);
    let Sent { start, elapsed, took } = send_all(&target, count, send.connections, move |number| requests.get(number)).await?;
    // A connection on which nothing is asked for long is closed by servers, so it is opened only now.
    let mut looks = target.connect().await?;
    for path in &send.until_empty {
        until_empty(&mut looks, path, start, send.patience).await?;
    }
    let per_second = if elapsed.is_zero() { 0.0 } else { (count as f64 / elapsed.as_secs_f64()).round() };
    Ok(json!({
        "requests": count, "connections": send.connections, "seconds": rounded_seconds(elapsed), "per_second": per_second,
        "p50_ms": percentile(&took, 50), "p99_ms": percentile(&took, 99), "seconds_until_empty": rounded_seconds(start.elapsed()),
    }))
}

async fn until_empty(connection: &mut Connection, path: &str, start: Instant, patience: Duration) -> Result<(), LoadError> {
    let limited = format!("{path}?limit=1");
    loop {
        let answer = connection.ask("GET", &limited, "", b"").await?;
        checked(&answer, path)?;
        if answer.start.contains("\"items\":[]") {
            return Ok(());
        }
        if start.elapsed() > patience {
            return Err(LoadError::Late(format!("{path} is not empty in time: {}", answer.start)));
        }
        tokio::time::sleep((start.elapsed() / PARTS).clamp(*LOOKS.start(), *LOOKS.end())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_for_as_many_requests_as_it_says() {
        let text = concat!(
            r#"{"method": "POST", "path": "/a", "body": {"name": "x-{n}"}, "count": 2}"#,
            "\n\n",
            r#"{"method": "PATCH", "path": "/b/{n}", "type": "application/merge-patch+json", "body": {}}"#,
            "\n",
            r#"{"method": "DELETE", "path": "/c/{n}", "count": 3}"#,
        );
        let requests = Requests::read(text).unwrap();
        assert_eq!(requests.count, 6);
        let told = |n| {
            let Request { method, path, content_type, body } = requests.get(n);
            format!("{method} {path} {content_type} {body}")
        };
        assert_eq!(told(1), r#"POST /a application/json {"name":"x-000001"}"#);
        assert_eq!(told(2), "PATCH /b/000000 application/merge-patch+json {}");
        assert_eq!(told(5), "DELETE /c/000002 application/json ");
        assert!(Requests::read(r#"{"method": "GET", "path": "/"}"#).is_err());
    }
}
