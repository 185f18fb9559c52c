//! The file of recorded behaviours.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::recorded::alter::Recorded;
use crate::recorded::{Broken, is_asked_for};

/// One step: its words and their values, as recorded.
pub type Step = Map<String, Value>;

/// One recorded behaviour.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Story {
    /// Its name.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// The loops that it needs.
    pub loops: BTreeSet<String>,
    /// What it is about.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether it must not run beside others.
    #[serde(default)]
    pub alone: bool,
    /// How long it takes, where that is long.
    #[serde(default)]
    pub seconds: f64,
    /// What happens.
    pub steps: Vec<Step>,
}

impl Story {
    /// A guess at how long it takes, in milliseconds: the long ones start first.
    pub fn weight(&self) -> u64 {
        let steps = self.steps.iter().map(|step| {
            let hold = step.get("hold").and_then(Value::as_u64).unwrap_or(0);
            hold + if step.contains_key("settle") { 2000 } else { 20 }
        });
        (self.seconds * 1000.0) as u64 + steps.sum::<u64>()
    }
}

impl Recorded for Story {
    fn expectations(&mut self) -> Vec<&mut Value> {
        self.steps.iter_mut().filter_map(|step| step.get_mut("expect")).collect()
    }
}

/// Reads a file of behaviours, one a line.
///
/// # Errors
/// When a line is no behaviour, or a name is there twice.
pub fn read_stories(text: &str) -> Result<Vec<Story>, Broken> {
    let mut stories: Vec<Story> = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let story: Story = serde_json::from_str(line).map_err(|error| Broken(format!("line {}: not a behaviour: {error}", number + 1)))?;
        if !seen.insert(story.id.clone()) {
            return Err(Broken(format!("line {}: {} is there twice", number + 1, story.id)));
        }
        stories.push(story);
    }
    Ok(stories)
}

/// Which behaviours are played.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Ids; `*` at the end matches any rest. Empty: all.
    pub only: Vec<String>,
    /// Tags. Empty: all.
    pub tags: Vec<String>,
    /// Loops that run; behaviours that need others are left out. Empty: all run.
    pub loops: BTreeSet<String>,
}

impl Choice {
    /// Whether this one is played.
    pub fn takes(&self, story: &Story) -> bool {
        is_asked_for(&story.id, &self.only)
            && (self.tags.is_empty() || self.tags.iter().any(|tag| story.tags.contains(tag)))
            && (self.loops.is_empty() || story.loops.is_subset(&self.loops))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_are_chosen_by_name_tag_and_loops() {
        let story = &read_stories(r#"{"id":"rs-a","title":"t","loops":["replicaset"],"tags":["x"],"steps":[]}"#).expect("a story")[0];
        let choice = |only: &[&str], loops: &[&str]| Choice {
            only: only.iter().map(|s| (*s).to_owned()).collect(),
            tags: vec!["x".into()],
            loops: loops.iter().map(|s| (*s).to_owned()).collect(),
        };
        assert!(choice(&[], &[]).takes(story) && choice(&["rs-*"], &["replicaset", "job"]).takes(story));
        assert!(!choice(&["rs-b"], &[]).takes(story) && !choice(&[], &["job"]).takes(story));
    }
}
