//! When pods of a job count as failed, and when the job has succeeded (batch `validatePodFailurePolicy`, `validateSuccessPolicy`).

use serde_json::Value;

use super::errors::Errors;
use super::selectors::valid_values;
use crate::json;
use crate::meta;

const RULES_LIMIT: usize = 20;
const CODES_LIMIT: usize = 255;
const PATTERNS_LIMIT: usize = 20;
const INDEXES_LIMIT: usize = 64 * 1024;

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

fn word(path: &str, v: &str, words: &[&str], e: &mut Errors) {
    if v.is_empty() {
        e.required(path, &valid_values(words));
    } else if !words.contains(&v) {
        e.unsupported(path, v, words);
    }
}

/// `podFailurePolicy`.
pub(crate) fn failure_policy(path: &str, policy: &Value, spec: &Value, e: &mut Errors) {
    let rules = json::list(policy, "rules");
    if rules.len() > RULES_LIMIT {
        e.too_many(&format!("{path}.rules"), rules.len(), RULES_LIMIT);
    }
    let pod = &spec["template"]["spec"];
    let containers: Vec<&str> =
        ["containers", "initContainers"].iter().flat_map(|l| json::list(pod, l)).map(|c| json::text(c, "name")).collect();
    for (i, r) in rules.iter().enumerate() {
        let at = format!("{path}.rules[{i}]");
        let action = json::text(r, "action");
        if action == "FailIndex" {
            if json::int(spec, "backoffLimitPerIndex").is_none() {
                e.invalid_text(&format!("{at}.action"), action, "requires the backoffLimitPerIndex to be set");
            }
        } else {
            word(&format!("{at}.action"), action, ACTIONS, e);
        }
        let codes = r.get("onExitCodes").filter(|c| !c.is_null());
        let conditions = json::list(r, "onPodConditions");
        if let Some(c) = codes {
            exit_codes(&format!("{at}.onExitCodes"), c, &containers, e);
        }
        if conditions.len() > PATTERNS_LIMIT {
            e.too_many(&format!("{at}.onPodConditions"), conditions.len(), PATTERNS_LIMIT);
        }
        for (j, p) in conditions.iter().enumerate() {
            let at = format!("{at}.onPodConditions[{j}]");
            let kind = json::text(p, "type");
            e.names(&format!("{at}.type"), kind, meta::qualified_name(kind));
            word(&format!("{at}.status"), json::text(p, "status"), STATUSES, e);
        }
        match (codes.is_some(), conditions.is_empty()) {
            (true, false) => e.invalid_hidden(&at, "specifying both OnExitCodes and OnPodConditions is not supported"),
            (false, true) => e.invalid_hidden(&at, "specifying one of OnExitCodes and OnPodConditions is required"),
            _ => {}
        }
    }
}

fn exit_codes(path: &str, c: &Value, containers: &[&str], e: &mut Errors) {
    let operator = json::text(c, "operator");
    word(&format!("{path}.operator"), operator, OPERATORS, e);
    if let Some(n) = c.get("containerName").and_then(Value::as_str)
        && !containers.contains(&n)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        e.invalid_text(&format!("{path}.containerName"), n, why);
    }
    let at = format!("{path}.values");
    let values = json::list(c, "values");
    if values.is_empty() {
        let shown = c.get("values").cloned().unwrap_or(Value::Null);
        e.invalid(&at, &shown, "at least one value is required");
    } else if values.len() > CODES_LIMIT {
        e.too_many(&at, values.len(), CODES_LIMIT);
    }
    for (j, v) in values.iter().enumerate() {
        if operator == "In" && v.as_i64() == Some(0) {
            e.invalid(&format!("{at}[{j}]"), v, "must not be 0 for the In operator");
        }
        if values[..j].contains(v) {
            e.duplicate(&format!("{at}[{j}]"), v);
        }
    }
    if values.windows(2).any(|w| w[0].as_i64() > w[1].as_i64()) {
        e.invalid(&at, &values.to_vec().into(), "must be ordered");
    }
}

/// `podReplacementPolicy`.
pub(crate) fn replacement_policy(path: &str, spec: &Value, e: &mut Errors) {
    let Some(p) = spec.get("podReplacementPolicy").and_then(Value::as_str) else { return };
    let words: &[&str] = match spec.get("podFailurePolicy") {
        Some(v) if !v.is_null() => &["Failed"],
        _ => &["Failed", "TerminatingOrFailed"],
    };
    if !words.contains(&p) {
        e.unsupported(path, p, words);
    }
}

/// `successPolicy` of an indexed job.
pub(crate) fn success_policy(path: &str, policy: &Value, spec: &Value, e: &mut Errors) {
    let rules = json::list(policy, "rules");
    let completions = json::int(spec, "completions").unwrap_or(0);
    if rules.is_empty() {
        e.required(&format!("{path}.rules"), "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_LIMIT {
        e.too_many(&format!("{path}.rules"), rules.len(), RULES_LIMIT);
    }
    for (i, r) in rules.iter().enumerate() {
        let at = format!("{path}.rules[{i}]");
        let (indexes, count) = (r.get("succeededIndexes").and_then(Value::as_str), json::int(r, "succeededCount"));
        if indexes.is_none() && count.is_none() {
            e.required(&at, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut total = 0;
        if let Some(text) = indexes {
            let at = format!("{at}.succeededIndexes");
            if text.len() > INDEXES_LIMIT {
                e.too_long(&at, INDEXES_LIMIT);
            }
            match parse_indexes(text, completions) {
                Ok(n) => total = n,
                Err(why) => e.invalid_text(&at, text, &format!("error parsing succeededIndexes: {why}")),
            }
        }
        if let Some(n) = count {
            let at = format!("{at}.succeededCount");
            e.non_negative(&at, Some(n));
            if n > completions {
                let why = format!("must be less than or equal to {completions} (the number of specified completions)");
                e.invalid(&at, &n.into(), &why);
            }
            if indexes.is_some() && n > total {
                let why = format!("must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)");
                e.invalid(&at, &n.into(), &why);
            }
        }
    }
}

/// Reads a list such as `1,3-5` and says how many indexes it holds.
pub(crate) fn parse_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let mut last = None;
    let mut total = 0;
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (x, y) = parse_interval(part, completions)?;
        if let Some(last) = last
            && last >= x
        {
            return Err(format!("non-increasing order, previous: {last}, current: {x}"));
        }
        total += y - x + 1;
        last = Some(y);
    }
    Ok(total)
}

fn parse_interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = text.split('-').collect();
    if parts.len() > 2 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let number = |s: &str| match s.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {s:?}")),
        Ok(n) if n >= completions => Err(format!("too large index: {s:?}")),
        Ok(n) => Ok(n),
    };
    let x = number(parts[0])?;
    let Some(second) = parts.get(1) else { return Ok((x, x)) };
    let y = number(second)?;
    if x >= y { Err(format!("non-increasing order, previous: {x}, current: {y}")) } else { Ok((x, y)) }
}

/// The first index that both lists hold; parts that cannot be read are passed over.
pub(crate) fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter(|p| !p.is_empty()).filter_map(|p| parse_interval(p, completions).ok()).collect()
    };
    let (completed, failed) = (read(completed), read(failed));
    let (mut i, mut j) = (0, 0);
    while let (Some(c), Some(f)) = (completed.get(i), failed.get(j)) {
        if c.0 <= f.1 && f.0 <= c.1 {
            return Some(c.0.max(f.0));
        }
        if c.0 <= f.0 {
            i += 1;
        } else {
            j += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_indexes_are_read_and_counted() {
        for (text, want) in [("", Ok(0)), ("0", Ok(1)), ("0,2-4", Ok(4)), ("1,1", Err("non-increasing order, previous: 1, current: 1"))] {
            assert_eq!(parse_indexes(text, 5), want.map_err(str::to_owned), "{text}");
        }
        for (text, want) in [
            ("5", "too large index: \"5\""),
            ("a", "cannot convert string to integer for index: \"a\""),
            ("3-1", "non-increasing order, previous: 3, current: 1"),
        ] {
            assert_eq!(parse_indexes(text, 5).as_ref().map_err(String::as_str), Err(want), "{text}");
        }
        assert!(parse_indexes("1-2-3", 5).is_err());
    }

    #[test]
    fn lists_that_share_an_index_overlap() {
        assert_eq!(overlap("0-2,4", "3,4", 9), Some(4));
        assert_eq!(overlap("0-2", "3-4", 9), None);
        assert_eq!(overlap("x,1", "1", 9), Some(1));
    }
}
