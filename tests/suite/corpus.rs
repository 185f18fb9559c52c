//! Recorded conversations with an API server, against the local one.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_tests::corpus::conversation::{Conversation, read_conversations};
use evenkeel_tests::corpus::in_process::play;
use evenkeel_tests::recorded::alter::altered;
use evenkeel_tests::recorded::report::{Report, read_meant};
use evenkeel_tests::recorded::virtual_time::in_virtual_time;

use crate::data;

fn conversations() -> Vec<Conversation> {
    let conversations = read_conversations(&data("apiserver-corpus.jsonl")).expect("the recorded conversations can be read");
    assert_eq!(conversations.len(), 402, "conversations went missing");
    conversations
}

/// Conversations that do not pass yet, with what is wrong.
fn open() -> BTreeMap<String, String> {
    read_meant(&data("corpus-open.txt")).expect("every open conversation has a reason")
}

fn played(conversations: &[Conversation]) -> Report {
    in_virtual_time(play(conversations, &BTreeMap::new(), 1, false)).expect("a runtime")
}

#[test]
fn every_recorded_conversation_passes_but_those_in_the_list_of_open_ones() {
    let (report, open) = (played(&conversations()), open());
    let failed: BTreeSet<&String> = report.failed().map(|played| &played.id).collect();
    let surprises: Vec<&String> = failed.iter().copied().filter(|id| !open.contains_key(*id)).collect();
    let closed: Vec<&String> = open.keys().filter(|id| !failed.contains(id)).collect();
    assert!(surprises.is_empty() && closed.is_empty(), "fail: {surprises:?}; must leave corpus-open.txt: {closed:?}\n{report}");
}

#[test]
fn every_conversation_with_one_recorded_value_altered_fails() {
    let (mut conversations, open) = (conversations(), open());
    conversations.retain(|conversation| !open.contains_key(&conversation.id));
    let report = played(&altered(&conversations, 100, 1));
    let passed: Vec<&String> = report.played.iter().filter(|played| played.fault.is_none()).map(|played| &played.id).collect();
    assert_eq!((report.played.len(), passed), (100, Vec::new()));
}
