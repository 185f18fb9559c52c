//! Who asks: bearer tokens, as a real server reads them.

use std::collections::BTreeMap;

use http::{HeaderMap, header};

use crate::UserInfo;

/// Tokens that a server knows from its start, and the users they stand for.
pub type Tokens = BTreeMap<String, UserInfo>;

/// What a request showed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown<'a> {
    /// No credentials: the anonymous user.
    Nothing,
    /// A bearer token behind more than one space: no credentials, and a warning.
    Spaced,
    /// A bearer token; empty where it is no text, which no user has.
    Bearer(&'a str),
}

/// Reads the `Authorization` header. Anything but a bearer token counts as no credentials: a server without basic
/// authentication passes over it, and the anonymous user asks.
pub(super) fn shown(headers: &HeaderMap) -> Shown<'_> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Shown::Nothing };
    let mut parts = value.as_bytes().trim_ascii().splitn(3, |b| *b == b' ');
    let (scheme, token, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    match token {
        Some(token) if scheme.eq_ignore_ascii_case(b"bearer") => match token {
            b"" if more.is_some() => Shown::Spaced,
            b"" => Shown::Nothing,
            token => Shown::Bearer(std::str::from_utf8(token).unwrap_or_default()),
        },
        _ => Shown::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn with(value: &'static [u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header"));
        headers
    }

    #[test]
    fn only_a_bearer_token_counts_as_credentials() {
        assert_eq!(shown(&HeaderMap::new()), Shown::Nothing);
        assert_eq!(shown(&with(b"Basic YWRtaW46eA==")), Shown::Nothing);
        assert_eq!(shown(&with(b"Bearer ")), Shown::Nothing);
        assert_eq!(shown(&with(b"bearer t0ken")), Shown::Bearer("t0ken"));
        assert_eq!(shown(&with(b"bearer  t0ken")), Shown::Spaced);
        assert_eq!(shown(&with(b"Bearer t0ken and more")), Shown::Bearer("t0ken"));
        assert_eq!(shown(&with(b"Bearer \xff")), Shown::Bearer(""));
    }
}
