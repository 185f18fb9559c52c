//! What each path answers (manager 9.2).

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tracing::{error, warn};

use crate::exposition::Format;
use crate::{Checks, Endpoint, Metrics};

/// What the pages show, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    pub(crate) checks: Checks,
    pub(crate) metrics: Metrics,
    /// Pages that show what the process knows, by path.
    pub(crate) debug: Arc<[DebugPage]>,
    /// Whether metrics and debug pages are open to everybody.
    pub(crate) metrics_open: bool,
}

/// A page that shows what the process knows.
pub struct DebugPage {
    /// Where it is.
    pub path: &'static str,
    /// What it is.
    pub content_type: &'static str,
    /// Makes it, for the values of a query's parameter; `None`: there is nothing to show in this process now.
    #[allow(clippy::type_complexity, reason = "said once")]
    pub make: Box<dyn Fn(&dyn Fn(&str) -> Vec<String>) -> Option<String> + Send + Sync>,
}

impl std::fmt::Debug for DebugPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebugPage").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Pages {
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        if path == "/metrics" {
            return self.metrics(request);
        }
        if let Some(page) = self.debug.iter().find(|page| page.path == path) {
            return self.debug(page, query);
        }
        for endpoint in Endpoint::ALL {
            match path.strip_prefix('/').and_then(|path| path.strip_prefix(endpoint.name())) {
                Some("" | "/") => return self.health(endpoint, query),
                Some(check) if check.starts_with('/') => return self.one_check(endpoint, &check[1..]),
                _ => {}
            }
        }
        plain(StatusCode::NOT_FOUND, "404 page not found\n")
    }

    fn health(&self, endpoint: Endpoint, query: &str) -> Response<Full<Bytes>> {
        let mut excluded: Vec<String> = values(query, "exclude");
        excluded.sort();
        excluded.dedup();
        let outcomes = self.checks.run(endpoint, |name| excluded.iter().any(|other| other == name));
        let mut text = String::new();
        let mut failed = false;
        for (name, outcome) in outcomes {
            match outcome {
                Some(Ok(())) => writeln!(text, "[+]{name} ok"),
                Some(Err(why)) => {
                    warn!(endpoint = endpoint.name(), check = %name, %why, "health check failed");
                    failed = true;
                    // Everybody may read this page, so the reason goes to the log only.
                    writeln!(text, "[-]{name} failed: reason withheld")
                }
                None => {
                    excluded.retain(|other| *other != name);
                    writeln!(text, "[+]{name} excluded: ok")
                }
            }
            .expect("writing to a String cannot fail");
        }
        if !excluded.is_empty() {
            let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
            text.push_str(&format!("warn: some health checks cannot be excluded: no matches for {}\n", names.join(",")));
        }
        if failed {
            text.push_str(&format!("{} check failed\n", endpoint.name()));
            return plain(StatusCode::INTERNAL_SERVER_ERROR, text);
        }
        if !has(query, "verbose") {
            return plain(StatusCode::OK, "ok");
        }
        text.push_str(&format!("{} check passed\n", endpoint.name()));
        plain(StatusCode::OK, text)
    }

    fn one_check(&self, endpoint: Endpoint, wanted: &str) -> Response<Full<Bytes>> {
        let outcome = self.checks.run(endpoint, |name| name != wanted).into_iter().find_map(|(_, outcome)| outcome);
        match outcome {
            Some(Ok(())) => plain(StatusCode::OK, "ok"),
            Some(Err(why)) => {
                warn!(endpoint = endpoint.name(), check = %wanted, %why, "health check failed");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "internal server error: reason withheld\n")
            }
            None => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    fn debug(&self, page: &DebugPage, query: &str) -> Response<Full<Bytes>> {
        if !self.metrics_open {
            return forbidden("debug pages");
        }
        match (page.make)(&|key| values(query, key)) {
            Some(text) => {
                let mut response = plain(StatusCode::OK, text);
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(page.content_type));
                response
            }
            None => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    fn metrics<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !self.metrics_open {
            return forbidden("metrics");
        }
        let accept = request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
        let format = Format::for_accept(&accept);
        match self.metrics.write(format) {
            Ok(text) => {
                let mut response = plain(StatusCode::OK, text);
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
                response
            }
            Err(error) => {
                error!(%error, "metrics cannot be written");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n")
            }
        }
    }
}

fn forbidden(what: &str) -> Response<Full<Bytes>> {
    let text = format!("forbidden: {what} are served on loopback addresses only, unless they are opened explicitly\n");
    plain(StatusCode::FORBIDDEN, text)
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(key), decoded(value))
    })
}

fn has(query: &str, key: &str) -> bool {
    pairs(query).any(|(other, _)| other == key)
}

fn values(query: &str, key: &str) -> Vec<String> {
    pairs(query).filter(|(other, value)| other == key && !value.is_empty()).map(|(_, value)| value).collect()
}

/// Undoes percent encoding; what is not encoded properly stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        let hex = (first == b'%').then(|| more.get(..2)).flatten().and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_queries_are_read_without_panic() {
        assert_eq!(values("exclude=a%2Fb&verbose&exclude=&exclude=c+d&&=x", "exclude"), ["a/b", "c d"]);
        assert!(has("x&verbose", "verbose") && !has("verbosely=1", "verbose"));
        for text in ["%", "%4", "%zz", "%+1", "é%e9", "%é1"] {
            let _ = decoded(text);
        }
        assert_eq!(decoded("%zz%41"), "%zzA");
    }
}
