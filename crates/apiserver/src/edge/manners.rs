//! What a server of Go's `net/http` refuses before any handler sees it, in its words.
//!
//! What is no HTTP at all never comes here: hyper answers that by itself, with the same codes and no text.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};

use crate::Response;

/// Most bytes of a request head: Go's `DefaultMaxHeaderBytes`, and what its reader grants beyond them.
pub(super) const HEAD_SIZE: usize = (1 << 20) + 4096;

/// The answer to a request that is HTTP but not one that may be asked.
pub(super) fn refused(head: &Parts) -> Option<Response> {
    let one = head.version <= Version::HTTP_11;
    if one && size(head) > HEAD_SIZE {
        return Some(page(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "431 Request Header Fields Too Large"));
    }
    if one && head.version == Version::HTTP_11 && !head.headers.contains_key(header::HOST) {
        return Some(page(StatusCode::BAD_REQUEST, "400 Bad Request: missing required Host header"));
    }
    if head.headers.get_all(header::HOST).iter().any(|host| !host.as_bytes().iter().all(|b| host_byte(*b))) {
        return Some(page(StatusCode::BAD_REQUEST, "400 Bad Request: malformed Host header"));
    }
    if percent_decoded(head.uri.path()).is_none() {
        return Some(page(StatusCode::BAD_REQUEST, "400 Bad Request"));
    }
    if one && !plain_chunks(&head.headers) {
        return Some(page(StatusCode::NOT_IMPLEMENTED, "Unsupported transfer encoding"));
    }
    let expects = head.headers.get(header::EXPECT).map(HeaderValue::as_bytes);
    if expects.is_some_and(|e| !e.eq_ignore_ascii_case(b"100-continue")) {
        let mut response = page(StatusCode::EXPECTATION_FAILED, "");
        response.headers.remove(header::CONTENT_TYPE);
        return Some(response);
    }
    None
}

/// An answer after which the connection ends.
fn page(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::text(status, text);
    response.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Bytes of a head as it came over the wire, but for superfluous blanks.
fn size(head: &Parts) -> usize {
    let line = head.method.as_str().len() + head.uri.path_and_query().map_or(1, |p| p.as_str().len()) + "  HTTP/1.1\r\n\r\n".len();
    line + head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum::<usize>()
}

fn host_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&b)
}

/// Bodies come as they are or in chunks, and say so once.
fn plain_chunks(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => true,
        (Some(one), None) => one.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// Undoes percent-encoding; `None`: it is broken. Bytes that are no UTF-8 become replacement characters.
pub(super) fn percent_decoded(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let mut bytes = path.bytes();
    let mut out = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        out.push((high * 16 + low) as u8);
    }
    Some(crate::go_text::valid_utf8(&out).into_owned())
}

/// A fault of a body in chunks or of a cut one, as Go names it.
pub(super) fn body_fault(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let told = innermost.to_string().to_lowercase();
    match told {
        t if t.contains("overflow") => "http chunk length too large",
        t if t.contains("extension") => "header line too long",
        t if t.contains("chunk body") || t.contains("chunk end") => "malformed chunked encoding",
        t if t.contains("chunk size") => "invalid byte in chunk length",
        _ => "unexpected EOF",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_or_refused() {
        let decoded = |path| percent_decoded(path);
        assert_eq!(decoded("/api/v1/namespaces").as_deref(), Some("/api/v1/namespaces"));
        assert_eq!(decoded("/roles/system%3Acontroller%3Ajob").as_deref(), Some("/roles/system:controller:job"));
        assert_eq!(decoded("/a%ff%fe").as_deref(), Some("/a\u{fffd}\u{fffd}"));
        assert_eq!(decoded("/a%zz"), None);
        assert_eq!(decoded("/a%2"), None);
    }

    fn head(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Parts {
        build(http::Request::builder().uri("/api").header("host", "localhost")).body(()).expect("a request").into_parts().0
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn what_go_refuses_is_refused_with_its_code() {
        let code = |parts: Parts| refused(&parts).map(|r| r.status.as_u16());
        assert_eq!(code(head(|b| b)), None);
        assert_eq!(code(head(|b| b.header("transfer-encoding", "chunked"))), None);
        assert_eq!(code(head(|b| b.header("transfer-encoding", "gzip, chunked"))), Some(501));
        assert_eq!(code(head(|b| b.header("expect", "100-continue"))), None);
        assert_eq!(code(head(|b| b.header("expect", "a miracle"))), Some(417));
        assert_eq!(code(head(|b| b.header("host", "a b"))), Some(400));
        assert_eq!(code(head(|b| b.header("x", "a".repeat(HEAD_SIZE - 100)))), None);
        assert_eq!(code(head(|b| b.header("x", "a".repeat(HEAD_SIZE)))), Some(431));
        let none = http::Request::get("/api").body(()).expect("a request").into_parts().0;
        assert_eq!(code(none), Some(400));
    }
}
