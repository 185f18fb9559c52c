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
    /// A bearer token.
    Bearer(&'a str),
}

/// Reads the `Authorization` header. Anything but a bearer token counts as no credentials: a server without basic
/// authentication passes over it, and the anonymous user asks.
pub(super) fn shown(headers: &HeaderMap) -> Shown<'_> {
    let Some(text) = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()) else { return Shown::Nothing };
    let Some((scheme, token)) = text.trim().split_once(' ') else { return Shown::Nothing };
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Shown::Nothing;
    }
    Shown::Bearer(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn with(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn only_a_bearer_token_counts_as_credentials() {
        assert_eq!(shown(&HeaderMap::new()), Shown::Nothing);
        assert_eq!(shown(&with("Basic YWRtaW46eA==")), Shown::Nothing);
        assert_eq!(shown(&with("Bearer ")), Shown::Nothing);
        assert_eq!(shown(&with("bearer  t0ken")), Shown::Bearer("t0ken"));
    }
}
