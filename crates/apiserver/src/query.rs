//! Query parameters.

use crate::go_text;

/// Decoded parameters in order.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads a raw query. Pairs that hold a semicolon or broken percent-encoding are left out, as Go leaves them out.
    pub fn parse(raw: &str) -> Self {
        let pairs = raw
            .split('&')
            .filter(|p| !p.is_empty() && !p.contains(';'))
            .filter_map(|p| {
                let (k, v) = p.split_once('=').unwrap_or((p, ""));
                Some((percent_decode(k)?, percent_decode(v)?))
            })
            .collect();
        Query { pairs }
    }

    /// The first value of a parameter; empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.opt(name).unwrap_or("")
    }

    /// The first value of a parameter.
    pub fn opt(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.pairs.iter().filter(|(k, _)| k == name).map(|(_, v)| v.as_str()).collect()
    }

    /// Whether a flag is set: anything but `false` and `0` counts, as on the server.
    pub fn flag(&self, name: &str) -> bool {
        self.opt(name).is_some_and(|v| !matches!(v, "false" | "0"))
    }
}

fn percent_decode(s: &str) -> Option<String> {
    let mut out = Vec::with_capacity(s.len());
    let mut bytes = s.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                (high * 16 + low) as u8
            }
            other => other,
        });
    }
    Some(go_text::valid_utf8(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let q = Query::parse("a=b%3Dc&d&e=x+y&watch=false&w2");
        assert_eq!(q.get("a"), "b=c");
        assert_eq!(q.get("e"), "x y");
        assert!(q.flag("w2") && !q.flag("watch") && !q.flag("none"));
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn broken_pairs_are_left_out() {
        let q = Query::parse("a=%zz&b=%2&c;d=1&e=x;y&%=1&f=ok");
        assert!(["a", "b", "c", "c;d", "e", "%"].iter().all(|k| q.opt(k).is_none()));
        assert_eq!(q.get("f"), "ok");
    }
}
