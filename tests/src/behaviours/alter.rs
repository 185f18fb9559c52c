//! Altering recorded behaviours, to see that a player notices: one value in each of some stories, the same ones from the same seed.

use serde_json::Value;

use super::story::Story;

/// Mixes a number so that neighbours have nothing in common (splitmix64's finaliser).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `count` of the stories, each with one recorded value altered. Looks that may be one of several are left alone: the others still hold.
pub fn altered(stories: &[Story], count: usize, seed: u64) -> Vec<Story> {
    let mut chosen: Vec<(u64, &Story)> = stories.iter().enumerate().map(|(at, story)| (mix(seed ^ mix(at as u64)), story)).collect();
    chosen.sort_by_key(|(rank, _)| *rank);
    let altered = chosen.into_iter().filter_map(|(rank, story)| {
        let mut story = story.clone();
        let mut places: Vec<&mut Value> = Vec::new();
        for step in &mut story.steps {
            if let Some(expect) = step.get_mut("expect").filter(|expect| expect.is_object()) {
                leaves(expect, &mut places);
            }
        }
        let at = (mix(rank) % (places.len() as u64).max(1)) as usize;
        let place = places.get_mut(at)?;
        **place = other(place);
        Some(story)
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
    use crate::behaviours::difference::difference;
    use crate::behaviours::story::read_stories;

    #[test]
    fn one_value_is_altered_and_the_same_one_from_the_same_seed() {
        let line = r#"{"id":"a","title":"t","loops":[],"steps":[{"settle":{},"expect":{"pods":[{"a":"b","n":1}]}},{"settle":{},"expect":{"pods":[]}}]}"#;
        let stories = read_stories(line).expect("a story");
        let once = altered(&stories, 1, 7);
        assert_eq!(once.len(), 1);
        assert!(difference(&stories[0].steps[0]["expect"], &once[0].steps[0]["expect"]).is_some());
        assert_eq!(altered(&stories, 1, 7)[0].steps, once[0].steps);
    }
}
