//! Stories, recorded behaviours and recorded conversations, as tests.

mod bad_connections;
mod bad_input;
mod bad_requests;
mod black_box;
mod connections;
mod corpus;
mod interlock;
mod killed;
mod kinds;
mod managed;
mod process;
mod raw;
mod tap;
mod what_if;
mod whole_manager;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use evenkeel_tests::behaviours::in_process::play;
use evenkeel_tests::behaviours::story::{Choice, Story, read_stories};
use evenkeel_tests::recorded::alter::altered;
use evenkeel_tests::recorded::report::read_meant;
use evenkeel_tests::recorded::virtual_time::in_virtual_time;
use evenkeel_tests::stories::plane::Place;
use evenkeel_tests::stories::{handson, usage};
use evenkeel_tests::takeover::loaded::take_over;
use evenkeel_tests::takeover::recorded::read_handovers;

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The behaviours that need no loop but those that evenkeel has.
fn stories() -> Vec<Story> {
    let loops: BTreeSet<String> =
        ["deployment", "replicaset", "replicationcontroller", "pod-garbage-collector", "namespace", "garbage-collector"]
            .map(str::to_owned)
            .into();
    let choice = Choice { loops, ..Choice::default() };
    let mut stories = read_stories(&data("behaviours.jsonl")).expect("the recorded behaviours can be read");
    stories.retain(|story| choice.takes(story));
    assert_eq!(stories.len(), 172, "behaviours went missing");
    stories
}

fn meant() -> BTreeMap<String, String> {
    read_meant(&data("meant.txt")).expect("every meant difference has a reason")
}

#[test]
fn every_recorded_behaviour_is_met() {
    let report = in_virtual_time(play(&stories(), &meant(), 1, false)).expect("a runtime").expect("the manager goes on");
    assert_eq!(report.failed().count(), 0, "{report}");
}

#[test]
fn every_behaviour_with_one_recorded_value_altered_fails() {
    let altered = altered(&stories(), 50, 1);
    let report = in_virtual_time(play(&altered, &BTreeMap::new(), 1, false)).expect("a runtime").expect("the manager goes on");
    assert_eq!((report.passed(), report.failed().count()), (0, 50), "{report}");
}

#[test]
fn meant_differences_are_those_of_known_behaviours_and_cite_the_spec() {
    let stories = stories();
    for (id, reason) in meant() {
        assert!(stories.iter().any(|story| story.id == id), "no behaviour is called {id}");
        let cited = reason.split_once("workloads ").is_some_and(|(_, clause)| clause.starts_with(|c: char| c.is_ascii_digit()));
        assert!(cited, "{id}: {reason}");
    }
}

/// workloads: what kube-controller-manager left is taken over without a write, and the story goes on as if nothing had happened.
#[test]
fn what_kube_controller_manager_left_is_taken_over() {
    let handovers = read_handovers(&data("takeover.jsonl")).expect("the recorded handovers can be read");
    assert!(handovers.len() >= 50, "only {} handovers", handovers.len());
    let report = in_virtual_time(take_over(&handovers, &stories(), &meant())).expect("a runtime").expect("known behaviours");
    assert_eq!(report.failed().count(), 0, "{report}");
}

#[test]
fn without_a_manager_most_steps_of_the_hands_on_story_fail() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("handson-{}", std::process::id()));
    let options = handson::Options { place: Place::Local, manager: false, program: None, only: Vec::new(), folder };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (passed, failed) = runtime.block_on(handson::tell(&options)).expect("the story can begin");
    assert_eq!(passed + failed, handson::STEPS.len());
    assert!(failed >= 14, "{passed} steps pass without a manager: they prove nothing");
    let _ = std::fs::remove_dir_all(&options.folder);
}

/// Two groups stand for all: none of the others is checked by other code, and each call costs a process.
#[test]
fn with_wrong_expectations_every_use_of_kubectl_fails() {
    let groups: Vec<_> = usage::GROUPS.into_iter().filter(|group| matches!(group.name, "get" | "access")).collect();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("usage-{}", std::process::id()));
    let options = usage::Options { place: Place::Local, only: Vec::new(), spoiled: true, folder };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let count = runtime.block_on(usage::tell(&groups, &options)).expect("the story can begin");
    assert_eq!((count.passed, count.left_out), (0, 0), "uses that pass whatever is expected prove nothing");
    assert_eq!(count.failed, groups.iter().map(|group| (group.uses)().len()).sum::<usize>());
    let _ = std::fs::remove_dir_all(&options.folder);
}
