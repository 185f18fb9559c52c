//! Capacities of devices, and in which portions one that several claims share gives them away (`validateRequestPolicy`).

use serde_json::Value;

use super::amounts::amount;
use super::devices;
use super::errors::Errors;
use crate::json;
use crate::quantity::Quantity;

/// Most amounts that a policy lists.
const MOST_VALUES: usize = 10;

/// A capacity; only `shared` devices have policies.
pub(super) fn capacity(at: &str, c: &Value, shared: bool, e: &mut Errors) {
    let Some(policy) = c.get("requestPolicy").filter(|p| !p.is_null()) else { return };
    let at = format!("{at}.requestPolicy");
    if !shared {
        return e.forbidden(&at, "allowMultipleAllocations must be true");
    }
    let most = amount(c.get("value")).unwrap_or(Quantity::ZERO);
    let default = amount(policy.get("default"));
    let (values, range) = (json::list(policy, "validValues"), policy.get("validRange").filter(|r| !r.is_null()));
    let missing = |field: &str, e: &mut Errors| e.required(&format!("{at}.default"), &format!("required when {field} is defined"));
    match (values, range, default) {
        ([_, ..], Some(_), _) => {
            e.forbidden(&at, "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time");
        }
        ([_, ..], None, None) => missing("validValues", e),
        ([_, ..], None, Some(d)) => listed(&format!("{at}.validValues"), values, d, most, e),
        ([], Some(_), None) => missing("validRange", e),
        ([], Some(r), Some(d)) => ranged(&format!("{at}.validRange"), r, d, most, e),
        ([], None, _) => {}
    }
}

fn listed(path: &str, values: &[Value], default: Quantity, most: Quantity, e: &mut Errors) {
    let of = |v: &Value| amount(Some(v)).unwrap_or(Quantity::ZERO);
    for (i, pair) in values.windows(2).enumerate().filter(|(_, p)| of(&p[0]) > of(&p[1])) {
        e.invalid_text(&format!("{path}[{}]", i + 1), &of(&pair[1]).to_string(), "values must be sorted in ascending order");
    }
    let mut found = false;
    let whole = |v: &Value| Value::from(of(v).whole_up().to_string());
    devices::each_once(path, values, MOST_VALUES, e, whole, |at, v, e| {
        if of(v) > most {
            e.invalid_text(at, &of(v).to_string(), &format!("option is larger than capacity value: {most}"));
        }
        found |= of(v) == default;
    });
    if !found {
        e.invalid_text(path, &default.to_string(), "default value is not valid according to the requestPolicy");
    }
}

fn ranged(path: &str, range: &Value, default: Quantity, capacity: Quantity, e: &mut Errors) {
    let of = |k: &str| amount(range.get(k));
    let (at_min, at_max, at_step) = (format!("{path}.min"), format!("{path}.max"), format!("{path}.step"));
    let Some(min) = of("min") else { return e.required(&at_min, "required when validRange is defined") };
    if min > capacity {
        e.invalid_text(&at_min, &min.to_string(), &format!("min is larger than capacity value: {capacity}"));
    }
    if default < min {
        e.invalid_text(&at_min, &default.to_string(), &format!("default is less than min: {min}"));
    }
    let max = of("max");
    if let Some(max) = max {
        if min > max {
            e.invalid_text(&at_max, &min.to_string(), &format!("min is larger than max: {max}"));
        }
        if max > capacity {
            e.invalid_text(&at_max, &max.to_string(), &format!("max is larger than capacity value: {capacity}"));
        }
        if default > max {
            e.invalid_text(&at_max, &default.to_string(), &format!("default is more than max: {max}"));
        }
    }
    let Some(step) = of("step") else { return };
    let one = min.plus(step);
    if one > capacity {
        e.invalid_text(&at_step, &step.to_string(), &format!("one step {one} is larger than capacity value: {capacity}"));
    }
    for v in std::iter::once(default).chain(max) {
        let behind = v.whole_up() - min.whole_up();
        // The reference divides by a step of zero, and fails.
        if behind.checked_rem(step.whole_up()).is_none_or(|rest| rest != 0) {
            e.invalid_text(&at_step, &v.to_string(), &format!("value is not a multiple of a given step ({step}) from ({min})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(policy: Value, shared: bool) -> Vec<String> {
        let mut e = Errors::default();
        capacity("c", &json!({"value": "10Gi", "requestPolicy": policy}), shared, &mut e);
        e.causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn only_shared_devices_have_policies() {
        assert_eq!(told(json!({}), false), ["c.requestPolicy: Forbidden: allowMultipleAllocations must be true"]);
        assert!(told(json!({}), true).is_empty());
    }

    #[test]
    fn listed_amounts_are_sorted_and_hold_the_default() {
        for (policy, want) in [
            (json!({"default": "1Gi", "validValues": ["1Gi", "2Gi"]}), vec![]),
            (json!({"validValues": ["1Gi"]}), vec!["c.requestPolicy.default: Required value: required when validValues is defined"]),
            (
                json!({"default": "3Gi", "validValues": ["2Gi", "1Gi", "20Gi"]}),
                vec![
                    "c.requestPolicy.validValues[1]: Invalid value: \"1Gi\": values must be sorted in ascending order",
                    "c.requestPolicy.validValues[2]: Invalid value: \"20Gi\": option is larger than capacity value: 10Gi",
                    "c.requestPolicy.validValues: Invalid value: \"3Gi\": default value is not valid according to the requestPolicy",
                ],
            ),
            (json!({"default": "1", "validValues": ["1", "1"]}), vec!["c.requestPolicy.validValues[1]: Duplicate value: \"1\""]),
            (
                json!({"default": "1", "validValues": ["1"], "validRange": {"min": "1"}}),
                vec![
                    "c.requestPolicy: Forbidden: exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
                ],
            ),
        ] {
            assert_eq!(told(policy.clone(), true), want, "{policy}");
        }
    }

    #[test]
    fn ranges_hold_the_default_and_are_walked_in_steps() {
        for (policy, want) in [
            (json!({"default": "2Gi", "validRange": {"min": "1Gi", "max": "9Gi", "step": "1Gi"}}), vec![]),
            (json!({"validRange": {"min": "1Gi"}}), vec!["c.requestPolicy.default: Required value: required when validRange is defined"]),
            (
                json!({"default": "1", "validRange": {"max": "9"}}),
                vec!["c.requestPolicy.validRange.min: Required value: required when validRange is defined"],
            ),
            (
                json!({"default": "1Gi", "validRange": {"min": "2Gi", "max": "20Gi", "step": "3Gi"}}),
                vec![
                    "c.requestPolicy.validRange.min: Invalid value: \"1Gi\": default is less than min: 2Gi",
                    "c.requestPolicy.validRange.max: Invalid value: \"20Gi\": max is larger than capacity value: 10Gi",
                    "c.requestPolicy.validRange.step: Invalid value: \"1Gi\": value is not a multiple of a given step (3Gi) from (2Gi)",
                ],
            ),
        ] {
            assert_eq!(told(policy.clone(), true), want, "{policy}");
        }
    }
}
