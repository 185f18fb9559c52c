//! Label selectors: the query syntax (`a=b,c in (d,e),!f`) and the wire form (`matchLabels`, `matchExpressions`).

use serde_json::Value;

use crate::meta;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    op: Op,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    In,
    NotIn,
    Exists,
    Absent,
    Greater,
    Less,
}

/// All conditions must hold; none: everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// Selects nothing.
    none: bool,
}

/// A text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSelector(pub String);

impl LabelSelector {
    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.none
    }

    /// Whether labels, found by key, match.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.none && self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }

    /// Whether the labels of a document's `metadata.labels` match.
    pub fn matches_map(&self, labels: Option<&serde_json::Map<String, Value>>) -> bool {
        self.matches(|k| labels.and_then(|l| l.get(k)).and_then(Value::as_str))
    }

    /// Reads the query syntax.
    pub fn parse(text: &str) -> Result<Self, BadSelector> {
        let tokens = lex(text);
        let mut p = Parser { tokens: &tokens, at: 0 };
        let mut requirements = Vec::new();
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        if !matches!(p.peek(), Some(Token::Word(_) | Token::Not)) {
            return Err(BadSelector(format!("found '{}', expected: !, identifier, or 'end of string'", show(p.peek()))));
        }
        loop {
            let one = p.requirement().map_err(|e| BadSelector(format!("unable to parse requirement: {}", e.0)))?;
            requirements.push(one);
            match p.next() {
                None => break,
                Some(Token::Comma) => match p.peek() {
                    Some(Token::Word(_) | Token::Not) => {}
                    other => {
                        return Err(BadSelector(format!("found '{}', expected: identifier after ','", show(other))));
                    }
                },
                Some(t) => return Err(BadSelector(format!("found '{}', expected: ',' or 'end of string'", show(Some(t))))),
            }
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector { requirements, none: false })
    }

    /// Reads the wire form. An absent selector selects nothing, an empty one everything.
    pub fn from_value(v: Option<&Value>) -> Self {
        let Some(Value::Object(m)) = v else { return LabelSelector { requirements: Vec::new(), none: true } };
        let mut requirements = Vec::new();
        if let Some(Value::Object(labels)) = m.get("matchLabels") {
            requirements.extend(equal(labels));
        }
        for e in m.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let op = match e["operator"].as_str().unwrap_or("") {
                "In" => Op::In,
                "NotIn" => Op::NotIn,
                "Exists" => Op::Exists,
                "DoesNotExist" => Op::Absent,
                _ => return LabelSelector { requirements: Vec::new(), none: true },
            };
            let values = e["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(Requirement { key: e["key"].as_str().unwrap_or("").to_owned(), op, values });
        }
        LabelSelector { requirements, none: false }
    }

    /// Reads a map of equalities (Services, ReplicationControllers). An empty one selects nothing.
    pub fn from_map(v: Option<&Value>) -> Self {
        match v {
            Some(Value::Object(m)) if !m.is_empty() => LabelSelector { requirements: equal(m).collect(), none: false },
            _ => LabelSelector { requirements: Vec::new(), none: true },
        }
    }
}

/// The query syntax, as `status.selector` of a Scale shows it.
impl std::fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted: Vec<&Requirement> = self.requirements.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        for (i, r) in sorted.into_iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let mut values = r.values.clone();
            values.sort();
            let list = values.join(",");
            match (r.op, values.len()) {
                (Op::In, 1) => write!(f, "{}={list}", r.key)?,
                (Op::In, _) => write!(f, "{} in ({list})", r.key)?,
                (Op::NotIn, _) => write!(f, "{} notin ({list})", r.key)?,
                (Op::Exists, _) => f.write_str(&r.key)?,
                (Op::Absent, _) => write!(f, "!{}", r.key)?,
                (Op::Greater, _) => write!(f, "{}>{list}", r.key)?,
                (Op::Less, _) => write!(f, "{}<{list}", r.key)?,
            }
        }
        Ok(())
    }
}

fn equal(m: &serde_json::Map<String, Value>) -> impl Iterator<Item = Requirement> + '_ {
    m.iter().map(|(k, v)| Requirement { key: k.clone(), op: Op::In, values: vec![v.as_str().unwrap_or("").to_owned()] })
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        match self.op {
            Op::In => value.is_some_and(|v| self.values.iter().any(|x| x == v)),
            Op::NotIn => value.is_none_or(|v| self.values.iter().all(|x| x != v)),
            Op::Exists => value.is_some(),
            Op::Absent => value.is_none(),
            Op::Greater | Op::Less => {
                let (Some(Ok(have)), Some(Ok(limit))) = (value.map(str::parse::<i64>), self.values.first().map(|v| v.parse::<i64>()))
                else {
                    return false;
                };
                if self.op == Op::Greater { have > limit } else { have < limit }
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Equal,
    DoubleEqual,
    NotEqual,
    Not,
    Comma,
    Open,
    Close,
    Greater,
    Less,
}

fn show(t: Option<&Token>) -> &str {
    match t {
        None => "",
        Some(Token::Word(w)) => w,
        Some(Token::Equal) => "=",
        Some(Token::DoubleEqual) => "==",
        Some(Token::NotEqual) => "!=",
        Some(Token::Not) => "!",
        Some(Token::Comma) => ",",
        Some(Token::Open) => "(",
        Some(Token::Close) => ")",
        Some(Token::Greater) => ">",
        Some(Token::Less) => "<",
    }
}

fn lex(text: &str) -> Vec<Token> {
    // The reference's lexer takes this character for the end.
    let text = text.split('\0').next().unwrap_or_default();
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            ' ' | '\t' | '\r' | '\n' => {
                chars.next();
            }
            '(' | ')' | ',' | '=' | '!' | '>' | '<' => {
                chars.next();
                let followed = chars.peek() == Some(&'=');
                out.push(match c {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    ',' => Token::Comma,
                    '>' => Token::Greater,
                    '<' => Token::Less,
                    '!' if followed => Token::NotEqual,
                    '!' => Token::Not,
                    _ if followed => Token::DoubleEqual,
                    _ => Token::Equal,
                });
                if followed && matches!(c, '=' | '!') {
                    chars.next();
                }
            }
            _ => {
                let mut word = String::new();
                while let Some(&c) = chars.peek() {
                    if matches!(c, ' ' | '\t' | '\r' | '\n' | '(' | ')' | ',' | '=' | '!' | '>' | '<') {
                        break;
                    }
                    word.push(c);
                    chars.next();
                }
                out.push(Token::Word(word));
            }
        }
    }
    out
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let t = self.peek();
        self.at += 1;
        t
    }

    fn requirement(&mut self) -> Result<Requirement, BadSelector> {
        let absent = self.peek() == Some(&Token::Not);
        if absent {
            self.at += 1;
        }
        let key = match self.next() {
            Some(Token::Word(w)) => w.clone(),
            other => return Err(BadSelector(format!("found '{}', expected: identifier", show(other)))),
        };
        let wrong = meta::qualified_name(&key);
        if !wrong.is_empty() {
            return Err(BadSelector(format!("<nil>: Invalid value: {key:?}: {}", wrong.join("; "))));
        }
        if absent || matches!(self.peek(), None | Some(Token::Comma)) {
            let op = if absent { Op::Absent } else { Op::Exists };
            return Ok(Requirement { key, op, values: Vec::new() });
        }
        let (op, values) = match self.next() {
            Some(Token::Equal | Token::DoubleEqual) => (Op::In, vec![self.checked_value()?]),
            Some(Token::NotEqual) => (Op::NotIn, vec![self.checked_value()?]),
            Some(Token::Greater) => (Op::Greater, vec![self.checked_value()?]),
            Some(Token::Less) => (Op::Less, vec![self.checked_value()?]),
            Some(Token::Word(w)) if w == "in" => (Op::In, self.values()?),
            Some(Token::Word(w)) if w == "notin" => (Op::NotIn, self.values()?),
            other => {
                return Err(BadSelector(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", show(other))));
            }
        };
        if matches!(op, Op::Greater | Op::Less) && values[0].parse::<i64>().is_err() {
            return Err(BadSelector(format!(
                "values[0]: Invalid value: {:?}: for 'Gt', 'Lt' operators, the value must be an integer",
                values[0]
            )));
        }
        for (i, v) in values.iter().enumerate() {
            let wrong = meta::label_value(v);
            if !wrong.is_empty() {
                return Err(BadSelector(format!("values[{i}][{key}]: Invalid value: {v:?}: {}", wrong.join("; "))));
            }
        }
        Ok(Requirement { key, op, values })
    }

    fn value(&mut self) -> String {
        match self.peek() {
            Some(Token::Word(w)) => {
                self.at += 1;
                w.clone()
            }
            // `a=` compares with the empty text.
            _ => String::new(),
        }
    }

    /// The value of an equality or comparison: a word, or nothing before a comma or the end.
    fn checked_value(&mut self) -> Result<String, BadSelector> {
        match self.peek() {
            None | Some(Token::Comma | Token::Word(_)) => Ok(self.value()),
            other => Err(BadSelector(format!("found '{}', expected: identifier", show(other)))),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, BadSelector> {
        if self.next() != Some(&Token::Open) {
            return Err(BadSelector(format!("found '{}' expected: '('", show(self.tokens.get(self.at - 1)))));
        }
        let mut out = Vec::new();
        loop {
            match self.next() {
                Some(Token::Word(w)) => {
                    out.push(w.clone());
                    match self.next() {
                        Some(Token::Comma) => {}
                        Some(Token::Close) => return Ok(out),
                        t => return Err(BadSelector(format!("found '{}', expected: ',' or ')'", show(t)))),
                    }
                    if self.peek().is_none() {
                        return Err(BadSelector("found '', expected: ',', or identifier".into()));
                    }
                }
                Some(Token::Comma) => out.push(String::new()),
                Some(Token::Close) => {
                    out.push(String::new());
                    return Ok(out);
                }
                t => return Err(BadSelector(format!("found '{}', expected: ',', ')' or identifier", show(t)))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(selector: &str, labels: &[(&str, &str)]) -> bool {
        LabelSelector::parse(selector).expect("valid").matches(|k| labels.iter().find(|(n, _)| *n == k).map(|(_, v)| *v))
    }

    #[test]
    fn the_whole_syntax_is_understood() {
        let l = [("app", "web"), ("n", "7"), ("empty", "")];
        for (s, want) in [
            ("app=web", true),
            ("app==web,n", true),
            ("app!=web", false),
            ("gone!=web", true),
            ("app in (web, db)", true),
            ("app notin (web)", false),
            ("gone notin (web)", true),
            ("!gone", true),
            ("!app", false),
            ("n>6,n<8", true),
            ("n>7", false),
            ("empty=", true),
            ("", true),
        ] {
            assert_eq!(hits(s, &l), want, "{s}");
        }
    }

    #[test]
    fn broken_selectors_are_refused() {
        for s in ["a in", "a in (b", "=b", "a=b,", "a=b c", "a>x", "a in b", "a b", "-a=b", "a=b!", "(", ",a"] {
            assert!(LabelSelector::parse(s).is_err(), "{s}");
        }
    }

    use proptest::prelude::*;

    /// Texts that are selectors more often than not.
    fn text() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            4 => "[a-c]{1,2}",
            1 => Just("in".to_owned()),
            1 => Just("notin".to_owned()),
            1 => "[0-9]{1,20}",
            1 => "[a-z]{1,4}(\\.[a-z]{1,3}){0,2}/[A-Za-z0-9._-]{1,6}",
            1 => "[ -~\\PC]{0,3}",
        ];
        let glue =
            prop::sample::select(vec![" ", "", "=", "==", "!=", "!", ",", "(", ")", " in (", " notin (", ">", "<", ",!", "\0", "\n"]);
        prop::collection::vec((word, glue), 0..8).prop_map(|parts| parts.into_iter().map(|(w, g)| w + g).collect())
    }

    fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
        prop::collection::vec(("[a-c]{1,2}|in", "[a-c0-9]{0,2}"), 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes is a selector or an error in words; what was read and printed is read the same again.
        #[test]
        fn reading_and_printing_are_the_same_thing(text in text(), labels in labels()) {
            match LabelSelector::parse(&text) {
                Err(e) => prop_assert!(!e.0.is_empty()),
                Ok(read) => {
                    let printed = read.to_string();
                    let again = LabelSelector::parse(&printed);
                    prop_assert!(again.is_ok(), "{text:?} is printed as {printed:?}: {again:?}");
                    let again = again.expect("checked above");
                    prop_assert_eq!(again.to_string(), printed);
                    let hit = |s: &LabelSelector| s.matches(|k| labels.iter().find(|(n, _)| n == k).map(|(_, v)| v.as_str()));
                    prop_assert_eq!(hit(&read), hit(&again));
                }
            }
        }

        #[test]
        fn no_text_at_all_makes_the_reader_panic(text in any::<String>()) {
            let _ = LabelSelector::parse(&text);
        }
    }
}
