use std::collections::BTreeSet;

use serde_json::Value;

use crate::Labels;

/// A label selector, ready to match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    /// All of these must hold; none: the empty selector, which matches everything.
    pub requirements: Vec<Requirement>,
}

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// What must hold for its value.
    pub operator: Operator,
    /// Values of `In` and `NotIn`.
    pub values: BTreeSet<String>,
}

/// Operators of `matchExpressions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The value is one of the values.
    In,
    /// There is no such label, or its value is none of the values.
    NotIn,
    /// There is such a label.
    Exists,
    /// There is no such label.
    DoesNotExist,
}

/// A selector that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Unknown operator.
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
    /// `In`/`NotIn` without values, or the others with some.
    #[error("key {0:?}: wrong number of values for its operator")]
    Values(String),
    /// Not an object of the expected shape.
    #[error("malformed label selector")]
    Shape,
}

impl Selector {
    /// Reads a `LabelSelector` (`matchLabels`, `matchExpressions`).
    pub fn read(value: &Value) -> Result<Self, SelectorError> {
        let mut requirements = Self::read_map(value.get("matchLabels").unwrap_or(&Value::Null))?.requirements;
        let expressions = match value.get("matchExpressions") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(list)) => list,
            Some(_) => return Err(SelectorError::Shape),
        };
        for expression in expressions {
            let key = expression.get("key").and_then(Value::as_str).ok_or(SelectorError::Shape)?.to_owned();
            let operator = match expression.get("operator").and_then(Value::as_str) {
                Some("In") => Operator::In,
                Some("NotIn") => Operator::NotIn,
                Some("Exists") => Operator::Exists,
                Some("DoesNotExist") => Operator::DoesNotExist,
                other => return Err(SelectorError::Operator(other.unwrap_or_default().to_owned())),
            };
            let values: BTreeSet<String> = expression
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|v| v.as_str().map(str::to_owned).ok_or(SelectorError::Shape))
                .collect::<Result<_, _>>()?;
            if matches!(operator, Operator::In | Operator::NotIn) == values.is_empty() {
                return Err(SelectorError::Values(key));
            }
            requirements.push(Requirement { key, operator, values });
        }
        Ok(Self { requirements })
    }

    /// Reads a plain map of labels, as a ReplicationController's selector is one. Null: no requirement.
    pub fn read_map(value: &Value) -> Result<Self, SelectorError> {
        let pairs = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(map) => map,
            _ => return Err(SelectorError::Shape),
        };
        let requirements = pairs
            .iter()
            .map(|(key, value)| {
                let value = value.as_str().ok_or(SelectorError::Shape)?;
                Ok(Requirement { key: key.clone(), operator: Operator::In, values: [value.to_owned()].into() })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { requirements })
    }

    /// Whether there is no requirement: such a selector matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether all requirements hold for `labels`.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|r| {
            let value = labels.get(&r.key);
            match r.operator {
                Operator::In => value.is_some_and(|v| r.values.contains(v)),
                Operator::NotIn => value.is_none_or(|v| !r.values.contains(v)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_match_as_their_operators_say() {
        let s = Selector::read(&json!({"matchLabels": {"a": "1"}, "matchExpressions": [
            {"key": "b", "operator": "In", "values": ["x", "y"]}, {"key": "c", "operator": "NotIn", "values": ["z"]},
            {"key": "d", "operator": "Exists"}, {"key": "e", "operator": "DoesNotExist"}]}))
        .unwrap();
        assert!(s.matches(&Labels::new([("a", "1"), ("b", "y"), ("d", "")])));
        assert!(!s.matches(&Labels::new([("a", "1"), ("b", "y"), ("d", ""), ("c", "z")])));
        assert!(!s.matches(&Labels::new([("a", "1"), ("b", "y"), ("d", ""), ("e", "")])));
        assert!(!s.matches(&Labels::new([("a", "1"), ("d", "")])));
    }

    #[test]
    fn broken_selectors_are_errors() {
        for bad in [
            json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}),
            json!({"matchLabels": 3}),
        ] {
            assert!(Selector::read(&bad).is_err(), "{bad}");
        }
    }
}
