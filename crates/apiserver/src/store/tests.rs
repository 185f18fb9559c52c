//! The store with a data file: what is there again, what is forgotten, and what is not shown before it is kept.

use std::path::PathBuf;

use super::*;
use crate::registry::Registry;

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("evenkeel-store-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

const LIMITS: HistoryLimits = HistoryLimits { events: 100, bytes: 1 << 20 };

fn open(path: &std::path::Path, limits: HistoryLimits) -> Store {
    let file = DataFile::open(path).expect("a data file");
    Store::open(limits, file, "none", |_| Box::new(|_, _| Box::default())).expect("it is whole").0
}

/// Commits a version of the pod `name`; gives its revision.
fn put(store: &Store, name: &str, deleted: bool) -> u64 {
    let pods = Registry::builtin().get("", "v1", "pods").expect("pods are served");
    let stored = store.commit("/pods", &pods, deleted, |rv| {
        let doc = serde_json::json!({"metadata": {"name": name, "labels": {"at": rv.to_string()}}});
        let (key, bytes) = (format!("ns/{name}").into(), doc.to_string().into());
        Stored { rv, key, bytes, labels: labels_of(&doc), fields: Box::default() }
    });
    store.publish();
    stored.rv
}

fn compact(store: &Store) {
    store.compact();
    store.publish();
}

fn keys(list: &[Arc<Stored>]) -> Vec<(u64, &str)> {
    list.iter().map(|s| (s.rv, s.name())).collect()
}

fn events(store: &Store, after: u64) -> Result<Vec<(u64, Option<u64>, bool)>, Compacted> {
    let (position, _) = store.position_after("/pods", after)?;
    let (events, _, _) = store.events_from("/pods", position, 1000).expect("the position is there");
    Ok(events.iter().map(|e| (e.rv, e.old.as_ref().map(|o| o.rv), e.deleted)).collect())
}

#[test]
fn objects_history_and_revision_are_there_again() {
    let path = path("again");
    let store = open(&path, LIMITS);
    let (a, b, c) = (put(&store, "a", false), put(&store, "b", false), put(&store, "a", false));
    let d = put(&store, "b", true);
    drop(store);
    let store = open(&path, LIMITS);
    assert_eq!(store.revision(), d);
    assert_eq!(keys(&store.list("/pods", "").1), [(c, "a")]);
    assert_eq!(keys(&store.list_at("/pods", "", b).expect("history")), [(a, "a"), (b, "b")]);
    assert_eq!(events(&store, a).expect("history"), [(b, None, false), (c, Some(a), false), (d, Some(b), true)]);
    assert_eq!(&*store.list("/pods", "").1[0].labels, [("at".into(), c.to_string().into())]);
    assert_eq!(put(&store, "e", false), d + 1);
}

#[test]
fn what_was_compacted_stays_so() {
    let path = path("compacted");
    let store = open(&path, LIMITS);
    let (a, b) = (put(&store, "a", false), put(&store, "a", false));
    put(&store, "gone", false);
    let c = put(&store, "gone", true);
    compact(&store);
    let d = put(&store, "a", false);
    compact(&store);
    drop(store);
    let store = open(&path, LIMITS);
    assert_eq!(store.list_at("/pods", "", b).unwrap_err(), Compacted { oldest: c });
    assert_eq!(events(&store, a), Err(Compacted { oldest: c }));
    assert_eq!(events(&store, c).expect("history"), [(d, Some(b), false)]);
    assert_eq!(keys(&store.list_at("/pods", "", c).expect("history")), [(b, "a")]);
    drop(store);
    // Only what the present and the history need is in the file.
    let versions: Vec<u64> = DataFile::open(&path).and_then(|f| f.load()).expect("whole").versions.iter().map(|(rv, _)| *rv).collect();
    assert_eq!(versions, [b, d]);
}

#[test]
fn history_is_bounded_by_events_and_by_bytes_in_memory_and_in_the_file() {
    for (name, limits) in [("events", HistoryLimits { events: 10, bytes: 1 << 20 }), ("bytes", HistoryLimits { events: 1000, bytes: 500 })]
    {
        let path = path(name);
        let store = open(&path, limits);
        let all: Vec<u64> = (0..100).map(|_| put(&store, "a", false)).collect();
        let kept = |store: &Store| all.iter().filter(|rv| events(store, **rv).is_ok()).count();
        let before = kept(&store);
        assert!((5..=11).contains(&before), "{name}: {before}");
        drop(store);
        let store = open(&path, limits);
        assert_eq!(kept(&store), before, "{name}");
        drop(store);
        assert_eq!(DataFile::open(&path).and_then(|f| f.load()).expect("whole").versions.len(), before, "{name}");
    }
}

#[tokio::test]
async fn what_is_not_kept_is_neither_settled_nor_shown_by_a_watch() {
    let path = path("shown");
    let store = open(&path, LIMITS);
    let a = put(&store, "a", false);
    store.settled().await.expect("it is written");
    assert_eq!(events(&store, 1).expect("history"), [(a, None, false)]);
    // From here on nothing is written any more: what is committed now could be lost.
    store.close();
    put(&store, "b", false);
    assert!(store.settled().await.is_err());
    store.failed().await;
    assert_eq!(events(&store, 1).expect("history"), [(a, None, false)]);
    drop(store);
    assert_eq!(keys(&open(&path, LIMITS).list("/pods", "").1), [(a, "a")]);
}

#[test]
fn half_of_a_turn_is_not_kept() {
    let path = path("turn");
    let store = open(&path, LIMITS);
    let a = put(&store, "a", false);
    let keeper = store.keeper.as_ref().expect("there is a file");
    let half = Stored { rv: a + 1, key: "ns/b".into(), bytes: "{}".into(), labels: Box::default(), fields: Box::default() };
    keeper.push(Change::Version { log: "/pods".into(), stored: Arc::new(half), deleted: false, tell: notify::channel(0).0 });
    // As a crash would have it: nobody publishes.
    std::mem::forget(store);
    let start = std::time::Instant::now();
    let copy = path.with_extension("copy");
    while start.elapsed() < std::time::Duration::from_secs(5) {
        std::fs::copy(&path, &copy).expect("copied");
        if DataFile::open(&copy).and_then(|f| f.load()).is_ok_and(|kept| !kept.versions.is_empty()) {
            break;
        }
    }
    let kept = DataFile::open(&copy).and_then(|f| f.load()).expect("whole");
    assert_eq!((kept.revision, kept.versions.len()), (a, 1));
}
