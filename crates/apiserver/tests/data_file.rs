//! A server with a data file: what a client finds after a restart, and which files are refused.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel_apiserver::{DataError, DataFile, Options, SeededChance, Server, UserInfo, WallClock};
use serde_json::{Value, json};
use support::{Talk, next, talk};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("evenkeel-data-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("made");
    folder
}

/// A server with this file; another seed each time, as in real life.
fn with(file: &Path, seed: u64) -> Talk {
    let mut talk = talk();
    let clock = Arc::clone(&talk.clock);
    let options = Options { chance: Arc::new(SeededChance::new(seed)), ..Options::seeded(clock, 1) };
    talk.server = Server::open(options, DataFile::open(file).expect("a data file")).expect("it is whole");
    talk
}

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const BOATS: &str = "/apis/example.com/v1/namespaces/default/boats";

fn boats() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "boats.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "selectableFields": [{"jsonPath": ".spec.flag"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "flag": {"type": "string"}, "masts": {"type": "integer", "default": 1}}}}}},
            }],
        },
    })
}

fn boat(name: &str, flag: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": name}, "spec": {"flag": flag}})
}

fn service(name: &str, ip: &str) -> Value {
    let spec = json!({"type": "NodePort", "clusterIP": ip, "ports": [{"port": 80, "nodePort": 31234}]});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn everything_is_there_again_and_nothing_is_made_twice() {
    let file = folder("again").join("data");
    let talk = with(&file, 1);
    assert_eq!(talk.post("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).0, 201);
    assert_eq!(talk.post("/api/v1/namespaces/default/services", service("s", "10.96.7.7")).0, 201);
    assert_eq!(talk.post(CRDS, boats()).0, 201);
    assert_eq!((talk.post(BOATS, boat("one", "red")).0, talk.post(BOATS, boat("two", "blue")).0), (201, 201));
    assert_eq!(talk.delete(&format!("{BOATS}/one")).0, 200);
    assert_eq!(talk.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "robot"}})).0, 201);
    let (code, issued) = talk.post("/api/v1/namespaces/default/serviceaccounts/robot/token", json!({"spec": {}}));
    assert_eq!(code, 201, "{issued}");
    let token = issued["status"]["token"].as_str().expect("a token").to_owned();
    let paths = [
        "/api/v1/namespaces",
        "/api/v1/services",
        "/api/v1/configmaps",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        CRDS,
        BOATS,
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        "/apis",
    ];
    let before: Vec<Value> = paths.iter().map(|path| talk.get(path).1).collect();
    talk.server.close();
    drop(talk);

    let talk = with(&file, 2);
    let after: Vec<Value> = paths.iter().map(|path| talk.get(path).1).collect();
    for ((path, before), after) in paths.iter().zip(&before).zip(&after) {
        assert_eq!(before, after, "{path}");
    }
    assert_eq!(talk.server.user_of_token(&token).expect("known still").name, "system:serviceaccount:default:robot");
    // What is in use stays in use.
    for (ip, port) in [("10.96.7.7", 31235), ("10.96.8.8", 31234)] {
        let mut other = service("t", ip);
        other["spec"]["ports"][0]["nodePort"] = port.into();
        let (code, refusal) = talk.post("/api/v1/namespaces/default/services", other);
        assert_eq!(code, 422);
        assert!(refusal["message"].as_str().is_some_and(|m| m.contains("already allocated")), "{refusal}");
    }
    // The schema counts, and selectable fields are known.
    assert_eq!(talk.post(BOATS, boat("three", "blue")).1["spec"]["masts"], 1);
    let (_, blue) = talk.get(&format!("{BOATS}?fieldSelector=spec.flag=blue"));
    assert_eq!(blue["items"].as_array().map(Vec::len), Some(2), "{blue}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_was_or_is_told_that_it_cannot() {
    let file = folder("watch").join("data");
    let talk = with(&file, 1);
    let maps = "/api/v1/namespaces/default/configmaps";
    let rv = |v: &Value| v["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let first = rv(&talk.post(maps, json!({"metadata": {"name": "a"}})).1);
    talk.post(maps, json!({"metadata": {"name": "b"}}));
    talk.delete(&format!("{maps}/a"));
    talk.server.close();
    drop(talk);

    let talk = with(&file, 2);
    let mut watch = talk.watch(&format!("{maps}?watch=true&resourceVersion={first}"));
    let names = |(kind, object): (String, Value)| (kind, object["metadata"]["name"].as_str().unwrap_or_default().to_owned());
    assert_eq!(names(next(&mut watch).await), ("ADDED".into(), "b".into()));
    assert_eq!(names(next(&mut watch).await), ("DELETED".into(), "a".into()));
    talk.server.compact();
    talk.server.compact();
    let last = rv(&talk.post(maps, json!({"metadata": {"name": "c"}})).1);
    talk.server.close();
    drop(talk);

    let talk = with(&file, 3);
    let mut watch = talk.watch(&format!("{maps}?watch=true&resourceVersion={first}"));
    let (kind, status) = next(&mut watch).await;
    assert_eq!((kind.as_str(), &status["code"]), ("ERROR", &Value::from(410)));
    assert!(rv(&talk.post(maps, json!({"metadata": {"name": "d"}})).1).parse::<u64>().ok() > last.parse().ok());
}

#[test]
fn a_token_that_expired_meanwhile_is_forgotten() {
    let file = folder("token").join("data");
    let talk = with(&file, 1);
    talk.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "robot"}}));
    let (_, issued) = talk.post("/api/v1/namespaces/default/serviceaccounts/robot/token", json!({"spec": {}}));
    let token = issued["status"]["token"].as_str().expect("a token").to_owned();
    talk.server.close();
    let talk = with(&file, 2);
    assert!(talk.server.user_of_token(&token).is_some());
    talk.clock.advance(7200);
    assert!(talk.server.user_of_token(&token).is_none());
}

fn refused(path: &Path) -> DataError {
    let opened = DataFile::open(path).and_then(|file| Server::open(Options::seeded(Arc::new(WallClock), 1), file));
    match opened {
        Err(error) => error,
        Ok(_) => panic!("{} was taken", path.display()),
    }
}

#[test]
fn files_of_others_are_refused_and_stay_as_they_are() {
    let folder = folder("foreign");
    for (name, content) in [("text", b"apiVersion: v1\nkind: Config\n".to_vec()), ("short", b"x".to_vec()), ("zeros", vec![0; 65536])] {
        let path = folder.join(name);
        std::fs::write(&path, &content).expect("written");
        assert!(matches!(refused(&path), DataError::Foreign(_)), "{name}: {}", refused(&path));
        assert_eq!(std::fs::read(&path).expect("there"), content, "{name}");
    }
    let path = folder.join("database");
    let db = redb::Database::create(&path).expect("made");
    let write = db.begin_write().expect("one writer");
    write.open_table(redb::TableDefinition::<u64, u64>::new("mine")).expect("new").insert(1, 2).expect("written");
    write.commit().expect("durable");
    drop(db);
    assert!(matches!(refused(&path), DataError::Foreign(_)), "{}", refused(&path));
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let path = folder("newer").join("data");
    drop(DataFile::open(&path).expect("made"));
    let db = redb::Database::create(&path).expect("a database");
    let write = db.begin_write().expect("one writer");
    let counters = redb::TableDefinition::<&str, u64>::new("counters");
    write.open_table(counters).expect("there").insert("format", 2).expect("written");
    write.commit().expect("durable");
    drop(db);
    assert!(matches!(refused(&path), DataError::Newer { found: 2, .. }), "{}", refused(&path));
}

#[test]
fn a_file_that_another_one_has_is_in_use() {
    let path = folder("used").join("data");
    let _first = DataFile::open(&path).expect("made");
    assert!(matches!(refused(&path), DataError::InUse(_)), "{}", refused(&path));
}

#[test]
fn places_where_no_file_can_be_are_said_so() {
    let folder = folder("places");
    std::fs::write(folder.join("file"), "x").expect("written");
    for path in [folder.clone(), folder.join("file/data"), PathBuf::from("/proc/none/data")] {
        let error = refused(&path);
        assert!(matches!(error, DataError::System { .. }), "{error}");
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
    // Folders that are missing are made.
    DataFile::open(&folder.join("a/b/data")).expect("made");
}

/// A file with a few hundred objects.
fn filled(path: &Path) -> Vec<u8> {
    let talk = with(path, 1);
    for n in 0..300 {
        let (code, answer) =
            talk.post("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": format!("m{n}")}, "data": {"k": "v"}}));
        assert_eq!(code, 201, "{answer}");
    }
    talk.server.close();
    drop(talk);
    std::fs::read(path).expect("there")
}

#[test]
fn a_file_that_was_cut_short_is_damaged() {
    let folder = folder("cut");
    let whole = filled(&folder.join("whole"));
    for length in [20, 100, 319, 4096, 10_000, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        let path = folder.join(format!("cut-{length}"));
        std::fs::write(&path, &whole[..length]).expect("written");
        let error = refused(&path);
        assert!(matches!(error, DataError::Damaged { .. } | DataError::Foreign(_)), "{length} of {}: {error}", whole.len());
    }
}

#[test]
fn a_file_with_altered_bytes_is_damaged_or_as_it_was() {
    let folder = folder("altered");
    let whole = filled(&folder.join("whole"));
    let talk = with(&folder.join("whole"), 2);
    let wanted = talk.get("/api/v1/configmaps").1;
    drop(talk);
    let path = folder.join("altered");
    let mut damaged = 0;
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).expect("written");
        match DataFile::open(&path).and_then(|file| Server::open(Options::seeded(Arc::new(WallClock), 1), file)) {
            Ok(server) => {
                let found = Talk { server, clock: Arc::clone(&support::talk().clock), user: UserInfo::admin() };
                assert_eq!(found.get("/api/v1/configmaps").1["items"], wanted["items"], "byte {at}");
            }
            Err(DataError::Damaged { .. } | DataError::Foreign(_)) => damaged += 1,
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(damaged > 0, "no byte of a used page was altered");
}
