//! The picture of a namespace that is compared with the recorded one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::masks::{Masks, mask_ends};
use super::projections::{projection, sorted};
use super::story::Step;
use crate::recorded::canonical::canonical;

/// What is there, by the names under which a step asks for it.
pub type State = BTreeMap<String, Found>;

/// The objects at one path.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Their kind, as a plural.
    pub kind: String,
    /// The objects.
    pub items: Vec<Value>,
    /// Whether the path answered 404.
    pub missing: bool,
}

/// What is compared: of each kind its objects, masked, in canonical order, like ones counted; and the events.
pub fn picture(state: &State, masks: &mut Masks, step: &Step, now: Timestamp) -> Value {
    masks.learn(state, now);
    let seen = state.iter().map(|(name, found)| {
        let value = match found.kind.as_str() {
            _ if found.missing => "NotFound".into(),
            "events" => told(&found.items, masks, step, now),
            kind => {
                let view = |item: &Value| blurred(masks.walk(&projection(kind, item), now), step);
                counted(found.items.iter().map(view)).map(|(object, count)| with_count(object, count)).collect()
            }
        };
        (name.clone(), value)
    });
    Value::Object(seen.collect())
}

/// Like values once, with how many there are, in canonical order.
fn counted(values: impl Iterator<Item = Value>) -> impl Iterator<Item = (Value, usize)> {
    let mut seen: BTreeMap<String, (Value, usize)> = BTreeMap::new();
    for value in values {
        seen.entry(canonical(&value)).or_insert((value, 0)).1 += 1;
    }
    seen.into_values()
}

fn with_count(object: Value, count: usize) -> Value {
    match object {
        Value::Object(map) if count > 1 => {
            let mut out = Map::from_iter([("count".to_owned(), Value::from(count))]);
            out.extend(map);
            Value::Object(out)
        }
        other => other,
    }
}

fn words<'a>(step: &'a Step, word: &str) -> Vec<&'a str> {
    step.get(word).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// `blur`: the values at these keys do not matter (which of several like pods was taken decides them). `drop`: these keys are not
/// looked at. `tally`: of the lists at these keys like entries are counted. With any of them lists have no order.
fn blurred(value: Value, step: &Step) -> Value {
    let (blur, drop, tally) = (words(step, "blur"), words(step, "drop"), words(step, "tally"));
    if blur.is_empty() && drop.is_empty() && tally.is_empty() { value } else { blur_value(value, &blur, &drop, &tally) }
}

fn blur_value(value: Value, blur: &[&str], drop: &[&str], tally: &[&str]) -> Value {
    match value {
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                if drop.contains(&key.as_str()) {
                    continue;
                }
                let was_empty = value.as_object().is_some_and(Map::is_empty);
                let value = match blur.contains(&key.as_str()) {
                    true => "<blurred>".into(),
                    false => blur_value(value, blur, drop, tally),
                };
                if was_empty || !value.as_object().is_some_and(Map::is_empty) {
                    let value = match value {
                        Value::Array(items) if tally.contains(&key.as_str()) => {
                            counted(items.into_iter()).map(|(entry, count)| serde_json::json!({"count": count, "entry": entry})).collect()
                        }
                        other => other,
                    };
                    out.insert(key, value);
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => sorted(items.into_iter().map(|item| blur_value(item, blur, drop, tally)).collect()),
        other => other,
    }
}

/// The events as a set of lines; counts only where the step asks for them, since what is told twice may be folded into one.
fn told(events: &[Value], masks: &Masks, step: &Step, now: Timestamp) -> Value {
    let ignored = words(step, "ignore");
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for event in events {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let word = |value: &Value| value.as_str().unwrap_or("None").to_owned();
        let who = match text(&event["reportingComponent"]) {
            who if who.is_empty() => text(&event["source"]["component"]),
            who => who,
        };
        // What the API server tells by itself is not the manager's.
        if ignored.contains(&text(&event["reason"]).as_str()) || who.ends_with("allocator-repair-controller") {
            continue;
        }
        let about = &event["involvedObject"];
        let name = masks.text(&text(&about["name"]), now);
        let mut message = masks.text(&text(&event["message"]), now);
        if event["reason"] == "FailedCreate" {
            message = mask_ends(&message, &name, unborn);
        }
        let line = format!("{who}: {} {name} {} {}: {message}", word(&about["kind"]), word(&event["type"]), word(&event["reason"]));
        let count = [&event["series"]["count"], &event["count"]].into_iter().filter_map(Value::as_u64).find(|count| *count > 0);
        *lines.entry(line).or_default() += count.unwrap_or(1);
    }
    match step.get("events").and_then(Value::as_str) {
        Some("counted") => lines.into_iter().map(|(line, count)| format!("{count} x {line}")).collect::<Vec<_>>().into(),
        _ => lines.into_keys().collect::<Vec<_>>().into(),
    }
}

/// The end of a name that never came to be: a slot of eight digits, or five letters.
fn unborn(end: &str) -> Option<&str> {
    let of = |count: usize, fits: fn(u8) -> bool| {
        let (taken, left) = end.split_at_checked(count)?;
        let ends = !left.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        (taken.bytes().all(fits) && ends).then_some(left)
    };
    of(8, |b| b.is_ascii_digit()).or_else(|| of(5, |b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

/// Finalizers are a set: a value with them in order.
pub fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered = map.iter().map(|(key, value)| match value {
                Value::Array(items) if key == "finalizers" => (key.clone(), sorted(items.clone())),
                _ => (key.clone(), in_order(value)),
            });
            Value::Object(ordered.collect())
        }
        Value::Array(items) => items.iter().map(in_order).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(words: Value) -> Step {
        words.as_object().expect("a map").clone()
    }

    fn state(kind: &str, items: &[Value]) -> State {
        State::from([(kind.to_owned(), Found { kind: kind.to_owned(), items: items.to_vec(), missing: false })])
    }

    #[test]
    fn like_objects_are_counted() {
        let pod = |name: &str| json!({"metadata": {"name": name, "uid": name, "ownerReferences": [{"controller": true, "name": "a", "kind": "ReplicaSet"}]}});
        let seen = picture(&state("pods", &[pod("a-bbbbb"), pod("a-ccccc")]), &mut Masks::new("b-zz"), &Step::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(seen["pods"][0]["count"], 2);
        assert_eq!(seen["pods"][0]["metadata"]["name"], "a-<id>");
    }

    #[test]
    fn events_are_a_set_of_lines_and_counted_when_asked() {
        let event = json!({"reportingComponent": "c", "involvedObject": {"kind": "Pod", "name": "a"}, "type": "Normal", "reason": "R", "message": "m", "count": 2});
        let events = state("events", &[event.clone(), event]);
        let look = |words: Value| picture(&events, &mut Masks::new("b-zz"), &step(words), Timestamp::UNIX_EPOCH)["events"].clone();
        assert_eq!(look(json!({})), json!(["c: Pod a Normal R: m"]));
        assert_eq!(look(json!({"events": "counted"})), json!(["4 x c: Pod a Normal R: m"]));
        assert_eq!(look(json!({"ignore": ["R"]})), json!([]));
    }

    #[test]
    fn blur_drop_and_tally_leave_out_what_does_not_matter() {
        let value = json!({"a": {"name": "x"}, "b": {"c": {"d": 1}}, "l": ["q", "p", "q"]});
        let seen = blurred(value, &step(json!({"blur": ["name"], "drop": ["d"], "tally": ["l"]})));
        assert_eq!(seen, json!({"a": {"name": "<blurred>"}, "l": [{"count": 1, "entry": "p"}, {"count": 2, "entry": "q"}]}));
    }

    #[test]
    fn names_in_failed_creates_are_masked_though_nothing_has_them() {
        assert_eq!(mask_ends(r#"pods "a-x1y2z" is forbidden"#, "a", unborn), r#"pods "a-<id>" is forbidden"#);
        assert_eq!(mask_ends(r#"jobs "a-29000000" is"#, "a", unborn), r#"jobs "a-<id>" is"#);
        assert_eq!(mask_ends(r#"pods "b-x1y2z""#, "a", unborn), r#"pods "b-x1y2z""#);
    }
}
