use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use evenkeel_api::{Key, Kind, Meta, NAMESPACES, Text, Uid, Version};
use evenkeel_cache::{Cache, Owner, Wait};
use evenkeel_plan::{Answer, Done, Failure, FailureKind, Outcome, Target, Write};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use http::{Method, StatusCode};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    Api, CallError, Reply, Status,
    api::{Ask, JSON},
    read,
    request::{Wire, escaped},
};

/// Until when writes may be under way: asked before each write leaves; `None` when we do not lead.
pub type Fence = Arc<dyn Fn() -> Option<Instant> + Send + Sync>;

/// Creates that a step begins with: 1, 2, 4 and 8 at a time. A step whose creates all fail costs at most these (workloads 3.5).
const RAMP: [usize; 4] = [1, 2, 4, 8];

/// Writes of one step that one pass holds open at once; the pace lets fewer through when the server is slow.
const SIDE_BY_SIDE: usize = 64;

/// Carries plans out for one loop, and remembers in the cache what was written, so that the key waits until it is visible.
#[derive(Clone)]
pub struct Writer {
    api: Api,
    cache: Arc<Cache>,
    fence: Fence,
}

impl Writer {
    /// A writer over one loop's way in.
    pub fn new(api: Api, cache: Arc<Cache>, fence: Fence) -> Self {
        Self { api, cache, fence }
    }

    /// Carries out the steps in order. Writes of a step run side by side; after a step with a failure the later ones are skipped.
    pub async fn carry_out(&self, owner: &Owner, steps: &[Vec<Write>]) -> Outcome {
        let mut outcome = Outcome { steps: Vec::with_capacity(steps.len()) };
        let mut failed = false;
        for step in steps {
            let done = if failed { vec![Done::Skipped; step.len()] } else { self.step(owner, step).await };
            failed |= done.iter().any(|d| matches!(d, Done::Failed(_) | Done::Skipped));
            outcome.steps.push(done);
        }
        outcome
    }

    async fn step(&self, owner: &Owner, step: &[Write]) -> Vec<Done> {
        if let [write] = step {
            return vec![self.write(owner, write, &self.fence).await];
        }
        let creates = step.iter().all(|w| matches!(w, Write::Create { .. }));
        let mut done = Vec::with_capacity(step.len());
        let mut ramp = RAMP.into_iter();
        while done.len() < step.len() {
            let left = step.len() - done.len();
            let size = if creates { ramp.next().unwrap_or(left).min(left) } else { left };
            let batch = &step[done.len()..done.len() + size];
            let stop = Arc::new(AtomicBool::new(false));
            let fence = if creates { stopped_by(&stop, &self.fence) } else { self.fence.clone() };
            let mut results = Vec::with_capacity(batch.len());
            let mut under_way: FuturesOrdered<BoxFuture<'_, Done>> = FuturesOrdered::new();
            let mut waiting = batch.iter();
            loop {
                while under_way.len() < SIDE_BY_SIDE
                    && let Some(write) = waiting.next()
                {
                    under_way.push_back(self.one(owner, write, &fence, creates.then_some(&*stop)).boxed());
                }
                let Some(result) = under_way.next().await else { break };
                results.push(result);
            }
            drop(under_way);
            let failed = results.iter().any(|d| !matches!(d, Done::Written(_) | Done::Existed(_) | Done::AlreadyGone));
            done.extend(results);
            if creates && failed {
                done.resize(step.len(), Done::Skipped);
            }
        }
        done
    }

    /// One write of a step; the first create that fails raises `stop` for the others.
    async fn one(&self, owner: &Owner, write: &Write, fence: &Fence, stop: Option<&AtomicBool>) -> Done {
        let done = self.write(owner, write, fence).await;
        let Some(stop) = stop else { return done };
        // One that did not leave, because another had failed meanwhile, has not failed itself.
        if stop.load(Ordering::Relaxed) && done.failure().is_some_and(|f| f.kind == FailureKind::Fenced) {
            return Done::Skipped;
        }
        stop.fetch_or(done.failure().is_some(), Ordering::Relaxed);
        done
    }

    async fn write(&self, owner: &Owner, write: &Write, fence: &Fence) -> Done {
        match write {
            Write::Discover => return read::discover(&self.api).await,
            Write::Count { kind, place } => return read::count(&self.api, kind, place).await,
            _ => {}
        }
        let wire = Wire::of(write);
        let accept = match write {
            Write::Look { .. } => read::ONE,
            // Of the answer only uid and version are read.
            Write::Delete { .. } | Write::Patch { .. } => read::ANSWER,
            _ => JSON,
        };
        let ask = Ask { method: wire.method.clone(), path: &wire.path, query: "", accept };
        match self.api.send(ask, &|| wire.body(), Some(fence)).await {
            Ok(reply) => self.answered(owner, write, reply).await,
            Err(error @ CallError::Fenced) => failed(FailureKind::Fenced, error.to_string()),
            Err(error) if matches!(write, Write::ConfirmOwner { .. }) => {
                failed(FailureKind::Other, format!("can't recheck DeletionTimestamp: {error}"))
            }
            Err(error) if !write.changes() => failed(FailureKind::Other, error.to_string()),
            Err(error) if matches!(error, CallError::NotSent(_)) || matches!(write, Write::DeleteCollection { .. }) => {
                failed(FailureKind::Other, error.to_string())
            }
            Err(error) => self.unknown(owner, write, &error.to_string()).await,
        }
    }

    async fn answered(&self, owner: &Owner, write: &Write, reply: Reply) -> Done {
        match write {
            Write::ConfirmOwner { target } => return confirmed(target, &reply),
            Write::Look { key, .. } => return looked(&reply, &key.name),
            _ => {}
        }
        if let Write::DeleteCollection { .. } = write {
            // Asking again is harmless, and what is left is counted anyway.
            let answer = Answer { uid: Uid::new(""), version: None, gone: false };
            return if reply.code.is_success() { Done::Written(answer) } else { Done::Failed(refused(reply.code, reply.status())) };
        }
        if reply.code.is_success() {
            return self.succeeded(owner, write, &reply).await;
        }
        let status = reply.status();
        // The server may or may not have acted, or a proxy may have lost its answer.
        if reply.code.is_server_error() {
            return self.unknown(owner, write, &status.message).await;
        }
        match (write, reply.code) {
            (Write::Create { .. }, _) if status.reason == "AlreadyExists" => self.taken(owner, write, status.message).await,
            (Write::Delete { target, .. }, StatusCode::CONFLICT) if target.version.is_none() => {
                self.other_life(owner, target, status.message).await
            }
            // Only the server's own word: a proxy's 404 would make the key wait for a deletion that never comes.
            (Write::Delete { target, .. }, StatusCode::NOT_FOUND) if status.reason == "NotFound" => {
                self.wait_gone(owner, target);
                Done::AlreadyGone
            }
            _ => Done::Failed(refused(reply.code, status)),
        }
    }

    async fn succeeded(&self, owner: &Owner, write: &Write, reply: &Reply) -> Done {
        let body = serde_json::from_slice::<Written<'_>>(&reply.body).unwrap_or_default();
        if let Write::Delete { target, .. } = write {
            // A `Status` or the object on its way out; anything else does not come from the server.
            if body.kind.is_none() && body.metadata.is_none() {
                return self.unknown(owner, write, "the server answered with something that is no object").await;
            }
            self.wait_gone(owner, target);
            // A server says `Status` of what is gone, but also of what was on its way out before, which a version rules out. Kinds whose
            // objects come back instead tell nothing.
            let left = body.metadata.unwrap_or_default();
            let gone = body.kind.as_deref() == Some("Status") && left.uid.is_none() && target.version.is_some();
            return Done::Written(Answer { uid: target.uid.clone(), version: left.version(), gone });
        }
        let went = body.metadata.as_ref().is_some_and(WrittenMeta::let_go) && write.kind() != &NAMESPACES;
        let Some(answer) = body.metadata.and_then(WrittenMeta::answer) else {
            return self.unknown(owner, write, "the server answered with something that is no object").await;
        };
        self.wait_for(owner, write.kind(), answer.version);
        Done::Written(Answer { gone: went, ..answer })
    }

    fn wait_for(&self, owner: &Owner, kind: Kind, version: Option<Version>) {
        if let Some(version) = version {
            self.cache.wrote(owner, Wait::Reached { kind, version });
        }
    }

    fn wait_gone(&self, owner: &Owner, target: &Target) {
        self.cache.wrote(owner, Wait::Gone { kind: target.kind, key: target.key.clone(), uid: target.uid.clone() });
    }

    /// A delete that asked for the uid alone met a conflict: as a rule because another life of the name is there. A live read makes sure,
    /// and tells the key until when to wait.
    async fn other_life(&self, owner: &Owner, target: &Target, message: String) -> Done {
        match self.look(owner, target.kind, &target.key).await {
            Ok(look) if look.object.as_ref().is_none_or(|o| !is_life(o, target)) => Done::AlreadyGone,
            Ok(_) => failed(FailureKind::Conflict, message),
            Err(failure) => failed(failure.kind, format!("{message}; then: {failure}")),
        }
    }

    /// A name that we chose is taken: by our own earlier create, or by somebody else's object.
    async fn taken(&self, owner: &Owner, write: &Write, message: String) -> Done {
        match self.look(owner, write.kind(), write.key()).await {
            Ok(Look { object: Some(object), .. }) if ours(write, &object) => match answer_of(&object) {
                Some(answer) => Done::Existed(answer),
                None => failed(FailureKind::Other, "the server listed an object without metadata"),
            },
            Ok(_) => failed(FailureKind::AlreadyExists, message),
            Err(failure) => Done::Failed(failure),
        }
    }

    /// Nobody knows whether the server acted. A live read tells; the request is never sent again from here.
    async fn unknown(&self, owner: &Owner, write: &Write, why: &str) -> Done {
        warn!(verb = write.verb(), key = %write.key(), why, "outcome unknown, reading");
        let look = match self.look(owner, write.kind(), write.key()).await {
            Ok(look) => look,
            Err(failure) => return Done::Failed(Failure { kind: failure.kind, message: format!("{why}; then: {}", failure.message) }),
        };
        match (write, look.object) {
            (Write::Create { .. }, Some(object)) if ours(write, &object) => match answer_of(&object) {
                Some(answer) => Done::Existed(answer),
                None => failed(FailureKind::Other, why),
            },
            (Write::Create { .. }, Some(_)) => failed(FailureKind::AlreadyExists, why),
            (Write::Create { .. }, None) => failed(FailureKind::Other, why),
            (Write::Delete { .. }, None) => Done::AlreadyGone,
            (Write::Delete { target, .. }, Some(object)) if !is_life(&object, target) => Done::AlreadyGone,
            (Write::Delete { .. }, Some(object)) => {
                match answer_of(&object).filter(|_| object["metadata"]["deletionTimestamp"].is_string()) {
                    Some(answer) => Done::Written(answer),
                    None => failed(FailureKind::Other, why),
                }
            }
            (Write::Replace { .. } | Write::Patch { .. }, None) => failed(FailureKind::NotFound, why),
            (Write::Replace { target, .. } | Write::Patch { target, .. }, Some(object)) if !is_life(&object, target) => {
                failed(FailureKind::NotFound, why)
            }
            // Written since: by us or by somebody else, and the watch brings whichever it was.
            (Write::Replace { target, .. }, Some(object)) if answer_of(&object).and_then(|a| a.version) != target.version => {
                failed(FailureKind::Conflict, why)
            }
            // Reads and deletions of collections are not resolved by another read.
            _ => failed(FailureKind::Other, why),
        }
    }

    /// A live, consistent read of one object by a list, because not every loop's role grants `get` (workloads 1.3). The key then waits
    /// until the cache has reached what was read.
    async fn look(&self, owner: &Owner, kind: Kind, key: &Key) -> Result<Look, Failure> {
        let path = kind.collection_path(Some(&key.namespace));
        let query = format!("fieldSelector=metadata.name%3D{}", escaped(&key.name));
        let reply = self
            .api
            .call(Method::GET, &path, &query, None)
            .await
            .map_err(|e| Failure { kind: FailureKind::Other, message: e.to_string() })?;
        if !reply.code.is_success() {
            return Err(Failure { kind: FailureKind::Other, message: reply.status().message });
        }
        let mut list =
            reply.json().ok_or_else(|| Failure { kind: FailureKind::Other, message: "the server answered a list with garbage".into() })?;
        let version = list.pointer("/metadata/resourceVersion").and_then(Value::as_str).and_then(Version::parse);
        self.wait_for(owner, kind, version);
        let object = list["items"]
            .as_array_mut()
            .and_then(|items| items.iter_mut().find(|o| o["metadata"]["name"].as_str() == Some(&*key.name)))
            .map(Value::take);
        Ok(Look { object })
    }
}

/// A fence that is closed as soon as one create has failed, so that those which still wait for the pace do not leave either.
fn stopped_by(stop: &Arc<AtomicBool>, fence: &Fence) -> Fence {
    let (stop, fence) = (stop.clone(), fence.clone());
    Arc::new(move || if stop.load(Ordering::Relaxed) { None } else { fence() })
}

struct Look {
    object: Option<Value>,
}

pub(crate) fn failed(kind: FailureKind, message: impl Into<String>) -> Done {
    Done::Failed(Failure { kind, message: message.into() })
}

/// A well-formed refusal, in the server's words.
pub(crate) fn refused(code: StatusCode, status: Status) -> Failure {
    let kind = match code {
        _ if status.reason == "AlreadyExists" => FailureKind::AlreadyExists,
        StatusCode::CONFLICT => FailureKind::Conflict,
        StatusCode::NOT_FOUND => FailureKind::NotFound,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE => FailureKind::NotAllowed,
        StatusCode::FORBIDDEN if status.causes.iter().any(|c| c == "NamespaceTerminating") => FailureKind::NamespaceTerminating,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => FailureKind::Forbidden,
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => FailureKind::Invalid,
        _ => FailureKind::Other,
    };
    Failure { kind, message: status.message }
}

/// Whether a live object is the life of its name that the target means.
fn is_life(object: &Value, target: &Target) -> bool {
    object.pointer("/metadata/uid").and_then(Value::as_str).is_some_and(|uid| Uid::new(uid) == target.uid)
}

/// What is read of the object that a write left.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written<'a> {
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    metadata: Option<WrittenMeta<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WrittenMeta<'a> {
    #[serde(borrow)]
    uid: Option<Text<'a>>,
    #[serde(borrow)]
    resource_version: Option<Text<'a>>,
    deletion_timestamp: Option<IgnoredAny>,
    deletion_grace_period_seconds: Option<i64>,
    finalizers: Option<Vec<IgnoredAny>>,
}

impl WrittenMeta<'_> {
    fn version(&self) -> Option<Version> {
        self.resource_version.as_deref().and_then(Version::parse)
    }

    fn answer(self) -> Option<Answer> {
        Some(Answer { uid: Uid::new(self.uid.as_deref()?), version: self.version(), gone: false })
    }

    /// Whether a write that left an object like this made it go: it was being deleted, and nothing holds it any more (the rule of every kind
    /// but namespaces, which have finalizers of their own besides: `ShouldDeleteDuringUpdate` in the API server's registry).
    fn let_go(&self) -> bool {
        let held = self.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty());
        self.deletion_timestamp.is_some() && !held && self.deletion_grace_period_seconds.unwrap_or(0) == 0
    }
}

fn answer_of(object: &Value) -> Option<Answer> {
    let meta = object.get("metadata")?;
    Some(Answer {
        uid: Uid::new(meta.get("uid")?.as_str()?),
        version: meta.get("resourceVersion").and_then(Value::as_str).and_then(Version::parse),
        gone: false,
    })
}

/// Whether a live object is the one that a create meant to make: the same owner controls it.
fn ours(write: &Write, object: &Value) -> bool {
    let Write::Create { controller: Some(controller), .. } = write else { return false };
    let uid = controller.to_string();
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|o| o["controller"] == true && o["uid"].as_str() == Some(uid.as_str()))
}

/// Whether something is there. Only the server's own word for it counts, and only where it names the object: a proxy's 404 says nothing about
/// objects, nor does one that means that there is no such path (garbage-collection A17.18).
fn looked(reply: &Reply, name: &str) -> Done {
    if reply.code.is_success() {
        return match Meta::read(&reply.body) {
            Ok(meta) => Done::Found(Arc::new(meta)),
            Err(error) => failed(FailureKind::Other, format!("the server answered with something that is no object: {error}")),
        };
    }
    let status = reply.status();
    let named = || reply.json().is_some_and(|v| v.pointer("/details/name").and_then(Value::as_str) == Some(name));
    if reply.code == StatusCode::NOT_FOUND && status.reason == "NotFound" && named() {
        return Done::AlreadyGone;
    }
    Done::Failed(refused(reply.code, status))
}

/// The recheck before adoption (workloads 1.6.1), with upstream's words.
fn confirmed(target: &Target, reply: &Reply) -> Done {
    let key = &target.key;
    let denied = |text: String| failed(FailureKind::OwnerGone, text);
    if !reply.code.is_success() {
        let Failure { kind, message } = refused(reply.code, reply.status());
        let kind = if kind == FailureKind::NotFound { FailureKind::OwnerGone } else { kind };
        return failed(kind, format!("can't recheck DeletionTimestamp: {message}"));
    }
    let Some((object, answer)) = reply.json().and_then(|o| answer_of(&o).map(|a| (o, a))) else {
        return failed(FailureKind::Other, "can't recheck DeletionTimestamp: the server answered with something that is no object");
    };
    if answer.uid != target.uid {
        return denied(format!("original {} {key} is gone: got uid {}, wanted {}", target.kind.kind, answer.uid, target.uid));
    }
    match object.pointer("/metadata/deletionTimestamp").and_then(Value::as_str) {
        Some(at) => denied(format!("{key} has just been deleted at {at}")),
        None => Done::Written(answer),
    }
}
