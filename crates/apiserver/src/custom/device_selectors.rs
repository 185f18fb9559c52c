//! Selectors of devices in CEL (`k8s.io/dynamic-resource-allocation/cel`). They are read and their types looked at, as those of rules are;
//! nothing here runs them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::device_cost;
use super::rule_names::BINDS;
use super::rule_types::{self, Ty};
use super::rules;

/// What `device` is to an expression.
fn device() -> &'static Value {
    static DEVICE: OnceLock<Value> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let by_domain = |of: Value| json!({"type": "object", "additionalProperties": {"type": "object", "additionalProperties": of}});
        // Attributes are of any type; capacities are quantities, whose functions are known by name alone.
        json!({"type": "object", "properties": {
            "driver": {"type": "string"},
            "allowMultipleAllocations": {"type": "boolean"},
            "attributes": by_domain(json!({})),
            "capacity": by_domain(json!({})),
        }})
    })
}

fn failed(why: String) -> BadSelector {
    BadSelector::Invalid(format!("compilation failed: {why}"))
}

/// What is wrong with a selector.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadSelector {
    /// It cannot be evaluated, or makes no bool.
    Invalid(String),
    /// It could take too long.
    TooComplex,
}

/// The largest cost of a selector.
const MOST_COST: u64 = 1_000_000;

/// Looks whether a selector can be used.
pub(crate) fn device_selector(source: &str) -> Result<(), BadSelector> {
    let names = BTreeMap::from([("device".to_owned(), rule_types::of_schema(device(), false)), (BINDS.to_owned(), Ty::Dyn)]);
    let program = rules::compile(source).map_err(failed)?;
    match rule_types::outcome(names, source, &program).map_err(failed)? {
        Ty::Bool | Ty::Dyn if device_cost::largest(&program) > MOST_COST => Err(BadSelector::TooComplex),
        Ty::Bool | Ty::Dyn => Ok(()),
        other => Err(BadSelector::Invalid(format!("must evaluate to bool or the unknown type, not {}", other.name()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_that_make_a_bool_pass() {
        for source in [
            "true",
            "device.driver == 'x.example.com'",
            "device.attributes['x.example.com'].healthy",
            "device.attributes['x.example.com'].model == 'a' && device.allowMultipleAllocations",
            "'x.example.com' in device.attributes && device.capacity['x.example.com'].memory.compareTo(quantity('1Gi')) >= 0",
            "cel.bind(x, device.attributes['x.example.com'], x.one && x.two)",
            "device.attributes['x.example.com'].version.isGreaterThan(semver('1.0.0'))",
        ] {
            assert_eq!(device_selector(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn other_selectors_are_refused() {
        for (source, want) in [
            ("'a'", "must evaluate to bool or the unknown type, not string"),
            ("device.nope", "compilation failed: ERROR: <input>:1:7: undefined field 'nope'\n | device.nope\n | ......^"),
            ("nope == 1", "compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n | nope == 1\n | ^"),
        ] {
            assert_eq!(device_selector(source), Err(BadSelector::Invalid(want.to_owned())), "{source}");
        }
        let Err(BadSelector::Invalid(why)) = device_selector("device.driver ==") else { panic!("it does not parse") };
        assert!(why.starts_with("compilation failed: ERROR: <input>:1:17: Syntax error: "), "{why}");
        let all = |inner: &str, v: char| format!("device.attributes.all({v}, {inner})");
        let deep = "abcd".chars().fold("true".to_owned(), |inner, v| all(&inner, v));
        assert_eq!(device_selector(&deep), Err(BadSelector::TooComplex));
    }
}
