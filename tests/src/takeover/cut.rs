//! Where a behaviour is cut: after one of its moments of rest.

use regex::Regex;
use serde_json::Value;

use crate::behaviours::story::{Step, Story};
use crate::recorded::chance::mix;

/// Kinds that are handed over; a story that makes other ones is not cut.
pub const KINDS: [&str; 5] = ["deployments", "replicasets", "replicationcontrollers", "pods", "events"];

/// Longest `hold` of a story that is cut, in milliseconds.
const LONGEST_HOLD: u64 = 10_000;

/// The number of the step after which a story is cut; `None`: it cannot be. The same seed gives the same step.
pub fn cut(story: &Story, seed: u64) -> Option<usize> {
    // Where pods of different ages are told apart, the pause between two managers makes them alike.
    let ages = |step: &Step| step.get("hold").and_then(Value::as_u64).is_some_and(|hold| hold > LONGEST_HOLD);
    // A collision needs a ReplicaSet with the very name that the manager would choose, and template hashes are no contract between two.
    let collides = |step: &Step| step.get("expect").is_some_and(|expect| expect.to_string().contains("collisionCount"));
    if story.steps.iter().any(collides) {
        return None;
    }
    if story.alone || story.steps.iter().any(|step| makes_other_kinds(step) || ages(step)) {
        return None;
    }
    let rest = |after: usize| story.steps[after].contains_key("settle");
    let places: Vec<usize> = (1..story.steps.len()).filter(|after| rest(after - 1) && !looks_back(story, *after)).collect();
    let id = story.id.bytes().fold(seed, |seed, byte| mix(seed ^ u64::from(byte)));
    let at = (id % (places.len() as u64).max(1)) as usize;
    places.get(at).copied()
}

fn makes_other_kinds(step: &Step) -> bool {
    let path = step.get("path").and_then(Value::as_str).unwrap_or_default();
    let kind = path.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    step.get("method").and_then(Value::as_str) == Some("POST") && !KINDS.contains(&kind)
}

/// Whether a later step uses an answer of an earlier one: a second player does not have it.
fn looks_back(story: &Story, after: usize) -> bool {
    let answer = Regex::new(r"\{([0-9]+)[.}]").expect("a fixed pattern");
    story.steps[after..].iter().any(|step| {
        let asked: Vec<String> = step.iter().filter(|(word, _)| *word != "expect").map(|(_, value)| value.to_string()).collect();
        let text = asked.join(" ");
        answer.captures_iter(&text).any(|found| found[1].parse::<usize>().is_ok_and(|number| number <= after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviours::story::read_stories;

    #[test]
    fn a_story_is_cut_where_it_rests_and_never_looks_back() {
        let story = |later: &str| {
            let line = format!(
                r#"{{"id":"a","title":"t","loops":[],"steps":[{{"method":"POST","path":"/api/v1/namespaces/{{ns}}/pods"}},{{"settle":{{}}}},{{"path":"{later}"}},{{"settle":{{}}}}]}}"#
            );
            read_stories(&line).expect("a story").remove(0)
        };
        assert_eq!(cut(&story("/x"), 1), Some(2));
        assert_eq!(cut(&story("/x/{1.metadata.name}"), 1), None);
    }
}
