//! JSON for people: who gets it, and how it is indented.

use crate::request::Request;

/// Programs that people look at answers with (apiserver `responsewriters`).
const PEOPLE: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

/// Whether a client wants its answer indented: it says so, or it says nothing and is one that people use.
pub(crate) fn wanted(req: &Request) -> bool {
    let asked = req.query.split('&').find_map(|part| part.strip_prefix("pretty").filter(|rest| rest.is_empty() || rest.starts_with('=')));
    match asked {
        Some(value) => !matches!(value.trim_start_matches('='), "false" | "0" | "F" | "f" | "FALSE" | "False"),
        None => {
            let agent = req.headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
            PEOPLE.iter().any(|program| agent.starts_with(program))
        }
    }
}

/// A JSON text, indented; `None`: it is none.
pub(crate) fn indented(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    if !matches!(text.first(), Some(b'{' | b'[')) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() * 3 / 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for (at, &byte) in text.iter().enumerate() {
        if quoted {
            out.push(byte);
            (quoted, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        match byte {
            b'"' => {
                quoted = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                if !matches!(text.get(at + 1), Some(b'}' | b']')) {
                    newline(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    newline(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                newline(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            byte if byte.is_ascii_whitespace() => {}
            byte => out.push(byte),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_indented_as_go_does_it() {
        let text = r#"{"a":{},"b":[],"c":[1,{"d":"x: {\"y\",}"}]}"#;
        let expected = "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1,\n    {\n      \"d\": \"x: {\\\"y\\\",}\"\n    }\n  ]\n}";
        assert_eq!(indented(text.as_bytes()).map(|t| String::from_utf8_lossy(&t).into_owned()), Some(expected.to_owned()));
        assert_eq!(indented(b"ok"), None);
    }

    #[test]
    fn people_get_indented_answers() {
        let request = |query: &str, agent: &'static str| Request {
            method: http::Method::GET,
            path: "/api".into(),
            query: query.into(),
            headers: [(http::header::USER_AGENT, http::HeaderValue::from_static(agent))].into_iter().collect(),
            body: bytes::Bytes::new(),
            user: crate::UserInfo::admin(),
        };
        assert!(wanted(&request("", "curl/8.1")));
        assert!(wanted(&request("watch=0&pretty=true", "kubectl/v1.36")));
        assert!(wanted(&request("pretty", "kubectl/v1.36")));
        assert!(!wanted(&request("pretty=false", "curl/8.1")));
        assert!(!wanted(&request("", "kubectl/v1.36")));
    }
}
