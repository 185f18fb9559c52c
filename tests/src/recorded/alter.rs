//! Altering what was recorded, to see that a player notices: one value in each of some entries of a file, the same ones from the same seed.

use serde_json::Value;

use super::chance::mix;

/// An entry of a recorded file.
pub trait Recorded: Clone {
    /// What it expects to see, look by look.
    fn expectations(&mut self) -> Vec<&mut Value>;
}

/// `count` of the entries, each with one recorded value altered. Looks that may be one of several are left alone: the others still hold.
pub fn altered<T: Recorded>(entries: &[T], count: usize, seed: u64) -> Vec<T> {
    let mut chosen: Vec<(u64, &T)> = entries.iter().enumerate().map(|(at, entry)| (mix(seed ^ mix(at as u64)), entry)).collect();
    chosen.sort_by_key(|(rank, _)| *rank);
    let altered = chosen.into_iter().filter_map(|(rank, entry)| {
        let mut entry = entry.clone();
        let mut places: Vec<&mut Value> = Vec::new();
        for expect in entry.expectations().into_iter().filter(|expect| expect.is_object()) {
            leaves(expect, &mut places);
        }
        let at = (mix(rank) % (places.len() as u64).max(1)) as usize;
        let place = places.get_mut(at)?;
        **place = other(place);
        Some(entry)
    });
    altered.take(count).collect()
}

fn leaves<'a>(value: &'a mut Value, out: &mut Vec<&'a mut Value>) {
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| leaves(value, out)),
        Value::Array(items) => items.iter_mut().for_each(|item| leaves(item, out)),
        leaf => out.push(leaf),
    }
}

fn other(value: &Value) -> Value {
    match value {
        Value::Bool(yes) => Value::Bool(!yes),
        Value::Number(number) => Value::from(number.as_i64().unwrap_or(0) + 1),
        Value::String(text) => Value::from(format!("{text}x")),
        _ => Value::from(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::difference::difference;
    use serde_json::json;

    #[derive(Clone)]
    struct Entry(Vec<Value>);

    impl Recorded for Entry {
        fn expectations(&mut self) -> Vec<&mut Value> {
            self.0.iter_mut().collect()
        }
    }

    #[test]
    fn one_value_is_altered_and_the_same_one_from_the_same_seed() {
        let entries = [Entry(vec![json!({"pods": [{"a": "b", "n": 1}]}), json!([{"a": 1}, {"a": 2}])])];
        let once = altered(&entries, 1, 7);
        assert_eq!(once.len(), 1);
        assert!(difference(&entries[0].0[0], &once[0].0[0]).is_some());
        assert_eq!(once[0].0[1], entries[0].0[1]);
        assert_eq!(altered(&entries, 1, 7)[0].0, once[0].0);
    }
}
