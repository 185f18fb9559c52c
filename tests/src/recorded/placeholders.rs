//! Placeholders in a story's requests: `{ns}`, `{3.metadata.uid}`, `{item.metadata.name}`, `{count}`, `{now-60}`, `{repeat:a:300}`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::{Captures, Regex};
use serde_json::{Map, Value};

use super::Broken;
use super::place::look_up;

static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\{(?:(ns)|repeat:([^:{}]+):([0-9]+)|(item|[0-9]+)(?:\.([^{} \t\r\n"]+))?|(count)|now([+-][0-9]+)?)\}"#)
        .expect("a fixed pattern")
});

/// What placeholders stand for at one moment of a story.
pub struct Fill<'a> {
    /// The story's namespace.
    pub namespace: &'a str,
    /// Answers by the number of their step.
    pub answers: &'a BTreeMap<usize, Value>,
    /// In `each`: the item, and how many there have been, this one included.
    pub item: Option<(&'a Value, usize)>,
    /// The time now; `None`: the file has no placeholders for times.
    pub now: Option<Timestamp>,
}

impl Fill<'_> {
    /// `value` with its placeholders replaced. A text that is one placeholder becomes what that stands for, type included.
    ///
    /// # Errors
    /// When a placeholder stands for nothing.
    pub fn value(&self, value: &Value) -> Result<Value, Broken> {
        Ok(match value {
            Value::String(text) => self.string(text)?,
            Value::Array(items) => Value::Array(items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?),
            Value::Object(map) => {
                let filled = map.iter().map(|(key, item)| Ok((self.text(key)?, self.value(item)?)));
                Value::Object(filled.collect::<Result<Map<_, _>, Broken>>()?)
            }
            other => other.clone(),
        })
    }

    /// A text with its placeholders replaced.
    ///
    /// # Errors
    /// When a placeholder stands for nothing.
    pub fn text(&self, text: &str) -> Result<String, Broken> {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for found in PLACEHOLDER.captures_iter(text) {
            let whole = found.get(0).expect("group 0 is the match");
            out.push_str(&text[at..whole.start()]);
            match self.one(&found)? {
                Value::String(word) => out.push_str(&word),
                other => out.push_str(&other.to_string()),
            }
            at = whole.end();
        }
        out.push_str(&text[at..]);
        Ok(out)
    }

    fn string(&self, text: &str) -> Result<Value, Broken> {
        match PLACEHOLDER.captures(text) {
            Some(found) if found.get(0).is_some_and(|whole| whole.len() == text.len()) => self.one(&found),
            Some(_) => self.text(text).map(Value::String),
            None => Ok(Value::String(text.to_owned())),
        }
    }

    fn one(&self, found: &Captures<'_>) -> Result<Value, Broken> {
        let group = |number: usize| found.get(number).map(|group| group.as_str());
        if group(1).is_some() {
            return Ok(self.namespace.into());
        }
        if let (Some(unit), Some(count)) = (group(2), group(3)) {
            let count = count.parse().map_err(|_| Broken(format!("too often: {count}")))?;
            return Ok(unit.repeat(count).into());
        }
        if let Some(whose) = group(4) {
            let answer = match (whose, self.item) {
                ("item", Some((item, _))) => Some(item),
                ("item", None) => return Ok(found[0].into()),
                (number, _) => number.parse().ok().and_then(|number: usize| self.answers.get(&number)),
            };
            let value = match group(5) {
                Some(path) => answer.and_then(|answer| look_up(answer, path)),
                None => answer,
            };
            return value.cloned().ok_or_else(|| Broken(format!("the answer of step {whose} has no {}", group(5).unwrap_or("body"))));
        }
        if group(6).is_some() {
            return Ok(self.item.map_or_else(|| found[0].into(), |(_, count)| count.to_string().into()));
        }
        let Some(now) = self.now else { return Ok(found[0].into()) };
        let offset: i64 = group(7).map_or(Ok(0), str::parse).map_err(|_| Broken(format!("no time: {}", &found[0])))?;
        let time = now.checked_add(SignedDuration::from_secs(offset)).map_err(|_| Broken(format!("no time: {}", &found[0])))?;
        Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lone_placeholder_keeps_its_type_and_others_become_text() {
        let answers = BTreeMap::from([(2, json!({"spec": {"n": 3}}))]);
        let item = json!({"metadata": {"name": "a"}});
        let fill = Fill { namespace: "b-x", answers: &answers, item: Some((&item, 4)), now: Some(Timestamp::UNIX_EPOCH) };
        let value =
            json!({"{ns}": "{2.spec.n}", "b": ["x{2.spec.n}y", "{item.metadata.name}-{count}", "{now-60}", "{repeat:ab:3}", "{other}"]});
        let filled = json!({"b-x": 3, "b": ["x3y", "a-4", "1969-12-31T23:59:00Z", "ababab", "{other}"]});
        assert_eq!(fill.value(&value).expect("filled"), filled);
        assert!(fill.value(&json!("{9.metadata}")).is_err());
        let timeless = Fill { now: None, ..fill };
        assert_eq!(timeless.value(&json!("{now-60}")).expect("left alone"), "{now-60}");
    }
}
