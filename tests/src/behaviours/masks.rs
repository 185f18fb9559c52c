//! Masks: words in the place of what chance decides, so that two runs of a story are alike exactly when the same things happened.
//!
//! A pod-template-hash becomes `<hash1>`, `<hash2>`… in order of appearance (several at once: in the order of their templates); the
//! random end of an owned object's name `<id>`; a CronJob's slot in a Job's name `<slot>`; a uid the object that has it; a time
//! `<time>` (`<time+09:00>` where it has an offset); a resourceVersion `<version>`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use regex::{Captures, Regex};
use serde_json::{Map, Value};

use super::picture::State;
use crate::recorded::canonical::canonical;

/// What generated names and hashes are made of.
const CHOSEN: &str = "bcdfghjklmnpqrstvwxz2456789";
/// Names longer than this are cut before the random end.
const LONGEST_KEPT: usize = 50;
const DAY: i64 = 86_400;

static UUID: LazyLock<Regex> = LazyLock::new(|| pattern("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static STAMP: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?(?:Z|\+00:00)"));
static ZONED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})([+-][0-9]{2}:[0-9]{2})"));
static UNBORN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"((?:replica set|replicasets\.apps) "[a-z0-9.-]+-)[bcdfghjklmnpqrstvwxz2456789]{6,10}""#));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a fixed pattern")
}

/// What was learned about the names of one story so far.
#[derive(Debug, Clone)]
pub struct Masks {
    namespace: String,
    /// Hashes and their symbols, in order of appearance.
    hashes: Vec<(String, String)>,
    /// Names that a manager chose and what stands for them, in order of appearance.
    names: Vec<(String, String)>,
    uids: BTreeMap<String, String>,
    /// Masked names of objects that make pods: of pods that came and went between two looks only the maker is known.
    makers: BTreeSet<String>,
}

impl Masks {
    /// Masks for the story in this namespace.
    pub fn new(namespace: &str) -> Self {
        Masks { namespace: namespace.to_owned(), hashes: Vec::new(), names: Vec::new(), uids: BTreeMap::new(), makers: BTreeSet::new() }
    }

    /// The hashes seen so far, in order of appearance.
    pub fn hashes(&self) -> impl Iterator<Item = &str> {
        self.hashes.iter().map(|(hash, _)| hash.as_str())
    }

    /// Knows these hashes as if they had appeared in this order.
    pub fn know_hashes<'a>(&mut self, hashes: impl IntoIterator<Item = &'a str>) {
        self.hashes = hashes.into_iter().enumerate().map(|(at, hash)| (hash.to_owned(), format!("<hash{}>", at + 1))).collect();
    }

    /// Learns the names of what is there.
    pub fn learn(&mut self, state: &State, now: Timestamp) {
        let told = |name: &&String| state[*name].kind != "events";
        let objects: Vec<(&str, &Value)> =
            state.keys().filter(told).flat_map(|name| state[name].items.iter().map(|item| (state[name].kind.as_str(), item))).collect();
        // Where an object stands under two names, the first counts.
        let shown_as: BTreeMap<&str, &str> =
            state.keys().rev().filter(told).flat_map(|name| state[name].items.iter().map(|item| (uid(item), name.as_str()))).collect();

        self.learn_hashes(&objects);
        for (kind, item) in &objects {
            let name = name_of(item);
            if !self.names.iter().any(|(known, _)| known == name) {
                let masked = self.chosen(kind, item, now);
                if masked != name {
                    self.names.push((name.to_owned(), masked));
                }
            }
        }
        // All at once: a maker that is known already would mask the next one's name.
        let makes_pods = |kind: &str| matches!(kind, "replicasets" | "replicationcontrollers" | "jobs");
        let makers: Vec<String> =
            objects.iter().filter(|(kind, _)| makes_pods(kind)).map(|(_, item)| self.text(name_of(item), now)).collect();
        self.makers.extend(makers);
        for (_, item) in &objects {
            if !self.uids.contains_key(uid(item)) {
                let word = format!("<uid of {}/{}>", shown_as[uid(item)], self.text(name_of(item), now));
                self.uids.insert(uid(item).to_owned(), word);
            }
        }
    }

    fn learn_hashes(&mut self, objects: &[(&str, &Value)]) {
        let mut fresh: Vec<(String, String, String)> = Vec::new();
        for (_, item) in objects.iter().filter(|(kind, _)| *kind == "replicasets") {
            let Some(hash) = item["metadata"]["labels"]["pod-template-hash"].as_str().filter(|hash| !hash.is_empty()) else { continue };
            if self.hashes.iter().any(|(known, _)| known == hash) {
                continue;
            }
            let entry = (name_of(item).replace(hash, ""), canonical(&item["spec"]["template"]).replace(hash, ""), hash.to_owned());
            match fresh.iter_mut().find(|(_, _, known)| known == hash) {
                Some(known) => *known = entry,
                None => fresh.push(entry),
            }
        }
        fresh.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        for (_, _, hash) in fresh {
            let symbol = format!("<hash{}>", self.hashes.len() + 1);
            self.hashes.push((hash, symbol));
        }
    }

    /// The name of an object with the part that a manager chose replaced.
    fn chosen(&self, kind: &str, item: &Value, now: Timestamp) -> String {
        let meta = &item["metadata"];
        let name = name_of(item);
        let owner = meta["ownerReferences"].as_array().and_then(|owners| owners.iter().find(|owner| owner["controller"] == true));
        let mut base = owner.and_then(|owner| owner["name"].as_str());
        if kind == "endpointslices" {
            let service = meta["labels"]["kubernetes.io/service-name"].as_str().filter(|service| !service.is_empty());
            base = service.or(base);
        }
        let Some(base) = base.filter(|base| !base.is_empty()) else { return name.to_owned() };
        let index = meta["annotations"]["batch.kubernetes.io/job-completion-index"].as_str();
        let Some(rest) = name.strip_prefix(base).filter(|rest| rest.starts_with('-')) else {
            return if kind == "pods" { cut_name(name, base, index) } else { name.to_owned() };
        };
        let owner_kind = owner.and_then(|owner| owner["kind"].as_str());
        match (kind, owner_kind) {
            ("replicasets", _) => {
                let symbol = self.hashes.iter().find(|(hash, _)| *hash == rest[1..]).map(|(_, symbol)| symbol.as_str());
                let labelled = meta["labels"].get("pod-template-hash").is_some();
                return format!("{base}-{}", symbol.unwrap_or(if labelled { "<id>" } else { &rest[1..] }));
            }
            ("jobs", Some("CronJob")) => return format!("{base}-<slot>"),
            ("pods", Some("StatefulSet")) => return name.to_owned(),
            _ => {}
        }
        match index {
            Some(index) if rest.starts_with(&format!("-{index}-")) => format!("{}-{index}-<id>", self.text(base, now)),
            _ if kind == "pods" || random_end(&rest[1..]) => format!("{}-<id>", self.text(base, now)),
            _ => name.to_owned(),
        }
    }

    /// A text with everything masked.
    pub fn text(&self, text: &str, now: Timestamp) -> String {
        let mut text = text.replace(&self.namespace, "{ns}");
        let mut names: Vec<&(String, String)> = self.names.iter().filter(|(name, _)| text.contains(name)).collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for (name, masked) in names {
            text = replace_word(&text, |rest, before| starts_word(rest, before, name, true), masked);
        }
        for (hash, symbol) in self.hashes.iter().filter(|(hash, _)| !hash.is_empty()) {
            if text.contains(hash) {
                text = replace_word(&text, |rest, before| starts_word(rest, before, hash, false), symbol);
            }
        }
        for maker in &self.makers {
            if text.contains(&format!("{maker}-")) {
                text = mask_ends(&text, maker, |end| take_of(end, CHOSEN, 5));
            }
        }
        let text = UNBORN.replace_all(&text, "$1<hash>\"");
        let text = UUID.replace_all(&text, |found: &Captures<'_>| self.uids.get(&found[0]).map_or("<uid>", String::as_str).to_owned());
        let text = ZONED.replace_all(&text, |found: &Captures<'_>| match &found[2] {
            "+00:00" | "-00:00" => found[0].to_owned(),
            offset if near(&found[1], now, 2 * DAY) => format!("<time{offset}>"),
            _ => found[0].to_owned(),
        });
        let stamp = |found: &Captures<'_>| if near(&found[1], now, DAY) { "<time>".to_owned() } else { found[0].to_owned() };
        STAMP.replace_all(&text, stamp).into_owned()
    }

    /// A value with every text in it masked, keys included.
    pub fn walk(&self, value: &Value, now: Timestamp) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text, now)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.walk(item, now)).collect()),
            Value::Object(map) => {
                let masked = map.iter().map(|(key, item)| match key.as_str() {
                    "resourceVersion" => (self.text(key, now), Value::from("<version>")),
                    _ => (self.text(key, now), self.walk(item, now)),
                });
                Value::Object(masked.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }
}

fn name_of(item: &Value) -> &str {
    item["metadata"]["name"].as_str().unwrap_or_default()
}

fn uid(item: &Value) -> &str {
    item["metadata"]["uid"].as_str().unwrap_or_default()
}

/// A pod's name whose owner's name was too long and is cut before the random end.
fn cut_name(name: &str, base: &str, index: Option<&str>) -> String {
    let Some(kept) = name.len().checked_sub(5).filter(|at| *at > 0 && name.is_char_boundary(*at)) else { return name.to_owned() };
    let (kept, end) = name.split_at(kept);
    let part = format!("-{}-", index.unwrap_or("None"));
    let own = kept.strip_suffix(part.as_str()).filter(|own| !own.is_empty()).unwrap_or(kept);
    let random = end.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if random && kept.len() > LONGEST_KEPT && base.starts_with(own) { format!("{kept}<id>") } else { name.to_owned() }
}

fn random_end(text: &str) -> bool {
    (3..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn in_name(c: Option<char>, dash: bool) -> bool {
    c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || (dash && c == '-'))
}

/// Length of `word` at the start of `rest` when it stands there by itself. `before` is the character before it; with `dash`,
/// a dash before it makes it part of a longer word.
fn starts_word(rest: &str, before: Option<char>, word: &str, dash: bool) -> Option<usize> {
    let after = rest.strip_prefix(word)?;
    (!in_name(before, dash) && !in_name(after.chars().next(), false)).then_some(word.len())
}

/// Replaces what `find` finds (its length) at each place, from left to right.
fn replace_word(text: &str, find: impl Fn(&str, Option<char>) -> Option<usize>, by: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut before) = (text, None);
    while let Some(c) = rest.chars().next() {
        let length = match find(rest, before) {
            Some(length) => {
                out.push_str(by);
                length
            }
            None => {
                out.push(c);
                c.len_utf8()
            }
        };
        before = rest[..length].chars().next_back();
        rest = &rest[length..];
    }
    out
}

/// Replaces the ends of `maker-END` and `maker-3-END` by `<id>`, wherever `end` takes one that is a word's end.
pub(super) fn mask_ends(text: &str, maker: &str, end: impl Fn(&str) -> Option<&str>) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut before) = (text, None);
    while let Some(c) = rest.chars().next() {
        let found = (!in_name(before, true)).then(|| rest.strip_prefix(maker)).flatten().and_then(|after| {
            let numbered = after.strip_prefix('-').map(|digits| digits.trim_start_matches(|c: char| c.is_ascii_digit()));
            let numbered = numbered.filter(|left| after.len() - left.len() > 1);
            [numbered, Some(after)].into_iter().flatten().find_map(|kept| {
                let left = end(kept.strip_prefix('-')?)?;
                (!in_name(left.chars().next(), true)).then_some((rest.len() - kept.len(), left))
            })
        });
        match found {
            Some((kept, left)) => {
                out.push_str(&rest[..kept]);
                out.push_str("-<id>");
                before = rest[..rest.len() - left.len()].chars().next_back();
                rest = left;
            }
            None => {
                out.push(c);
                before = Some(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// What is left of `text` after `count` characters out of `alphabet`.
pub(super) fn take_of<'a>(text: &'a str, alphabet: &str, count: usize) -> Option<&'a str> {
    let (taken, left) = text.split_at_checked(count)?;
    taken.chars().all(|c| alphabet.contains(c)).then_some(left)
}

/// Whether a written time, taken as UTC, is this close to now.
fn near(written: &str, now: Timestamp, seconds: i64) -> bool {
    let moment = written.parse::<DateTime>().ok().and_then(|time| time.to_zoned(TimeZone::UTC).ok());
    moment.is_some_and(|moment| (moment.timestamp().as_second() - now.as_second()).abs() < seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviours::picture::Found;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-05-04T12:00:00Z".parse().expect("a time")
    }

    fn learned() -> Masks {
        let owner = |kind: &str, name: &str| json!([{"kind": kind, "name": name, "controller": true, "uid": "u"}]);
        let set = json!({"metadata": {"name": "web-6b7c9d", "uid": "11111111-2222-3333-4444-555555555555", "labels": {"pod-template-hash": "6b7c9d"},
            "ownerReferences": owner("Deployment", "web")}, "spec": {"template": {}}});
        let pod = json!({"metadata": {"name": "web-6b7c9d-x2x4z", "uid": "11111111-2222-3333-4444-666666666666", "ownerReferences": owner("ReplicaSet", "web-6b7c9d")}});
        let state = State::from([
            ("replicasets".to_owned(), Found { kind: "replicasets".into(), items: vec![set], missing: false }),
            ("pods".to_owned(), Found { kind: "pods".into(), items: vec![pod], missing: false }),
        ]);
        let mut masks = Masks::new("b-zzz");
        masks.learn(&state, now());
        masks
    }

    #[test]
    fn names_hashes_uids_and_times_become_words() {
        let masks = learned();
        let text = |text: &str| masks.text(text, now());
        assert_eq!(text("Created pod: web-6b7c9d-x2x4z in b-zzz"), "Created pod: web-<hash1>-<id> in {ns}");
        assert_eq!(text("Scaled up replica set web-6b7c9d from 0 to 1"), "Scaled up replica set web-<hash1> from 0 to 1");
        assert_eq!(text("6b7c9d"), "<hash1>");
        assert_eq!(text("Deleted pod: web-6b7c9d-bbbbb"), "Deleted pod: web-<hash1>-<id>");
        assert_eq!(text("web-6b7c9d-bbbbbb"), "web-<hash1>-bbbbbb");
        assert_eq!(text("11111111-2222-3333-4444-666666666666"), "<uid of pods/web-<hash1>-<id>>");
        assert_eq!(text("99999999-2222-3333-4444-666666666666"), "<uid>");
        assert_eq!(text("2026-05-04T11:00:00Z and 2020-01-01T00:00:00Z"), "<time> and 2020-01-01T00:00:00Z");
        assert_eq!(text("2026-05-04T11:00:00+09:00"), "<time+09:00>");
        assert_eq!(text(r#"replicasets.apps "api-5d4f8c" not found"#), r#"replicasets.apps "api-<hash>" not found"#);
    }

    #[test]
    fn a_resource_version_and_the_keys_of_maps_are_masked_too() {
        let value = learned().walk(&json!({"resourceVersion": "7", "web-6b7c9d": ["b-zzz"]}), now());
        assert_eq!(value, json!({"resourceVersion": "<version>", "web-<hash1>": ["{ns}"]}));
    }

    #[test]
    fn a_pod_of_an_owner_with_a_long_name_is_known_by_the_part_that_is_kept() {
        let base = "a".repeat(70);
        let name = format!("{}bcdfg", "a".repeat(58));
        assert_eq!(cut_name(&name, &base, None), format!("{}<id>", "a".repeat(58)));
        assert_eq!(cut_name("other-name-bcdfg", &base, None), "other-name-bcdfg");
    }
}
