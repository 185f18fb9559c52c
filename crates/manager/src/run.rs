//! One manager from start to end: drivers, election, workers, pages, and an ordered shutdown (manager 4, 8).

use std::{sync::Arc, time::Duration};

use evenkeel_client::Fence;
use evenkeel_election::{Handle, State};
use evenkeel_serve::process;
use evenkeel_watch::{Driver, run_audited, wait_current, wait_synced};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use prometheus_client::registry::Registry;
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{error, info, warn};

use crate::{
    Around, AsIs, World,
    election::{self, Campaign},
    flags::Options,
    metrics::RunningControllers,
    pages,
    wiring::{Wired, Wiring, wire},
};

/// How long recorded events may take to leave at shutdown.
const EVENT_FLUSH: Duration = Duration::from_secs(2);

/// How long the API server may take to answer before the first leadership (manager 4.7).
const SERVER_WAIT: Duration = Duration::from_secs(10);

/// Why a manager ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Health and metrics pages cannot be served.
    #[error("cannot serve health and metrics: {0}")]
    Pages(String),
    /// The election cannot be set up as asked.
    #[error("cannot campaign: {0}")]
    Election(String),
    /// The API server did not answer in time.
    #[error("failed to wait for apiserver being healthy: {0}")]
    Server(String),
    /// Leadership was lost, and `--leader-elect-exit-on-loss` is set.
    #[error("leaderelection lost")]
    LeaseLost,
    /// Passes did not end in time at shutdown.
    #[error("controller shutdown timeout reached; still running: {0}")]
    Stuck(String),
}

/// Runs a manager until `stop` turns true (or its sender goes).
///
/// Standing by, it keeps its cache and queues warm, and answers health checks. It writes only while it leads and a loop's kinds are synced.
///
/// # Errors
/// See [`RunError`]. A lost Lease is none, unless asked for: the manager stands by again.
pub async fn run(options: Options, world: World, stop: watch::Receiver<bool>) -> Result<(), RunError> {
    run_around(options, world, stop, AsIs).await
}

/// [`run`] with something around its loops and its clock.
///
/// # Errors
/// See [`RunError`].
pub async fn run_around(options: Options, world: World, mut stop: watch::Receiver<bool>, around: impl Around) -> Result<(), RunError> {
    wait_for_server(&world, &mut stop).await?;
    let mut registry = Registry::default();
    process::register(&mut registry);
    let Campaign { handle, elector, events } =
        election::set_up(&options, &world, around.steady(), &mut registry).map_err(RunError::Election)?;
    let leading = watch::Sender::new(false);
    let Wiring { cache, feed, drivers, loops, kinds, reporter, senders } =
        wire(&options, &world, fence_of(&handle), leading.subscribe(), &mut registry, &around);
    let running = RunningControllers::register(&mut registry);
    let pages = pages::open(&options, &handle, &cache, &drivers, &loops, registry).await.map_err(RunError::Pages)?;
    say_what_is_missing(&options);

    let (end, ended) = watch::channel(false);
    let mut background = JoinSet::new();
    for driver in &drivers {
        background.spawn(run_audited(driver.clone(), feed.clone(), cache.clone(), ended.clone()));
    }
    if let Some(kinds) = kinds {
        background.spawn(kinds.run(ended.clone()));
    }
    if let Some(reporter) = reporter {
        background.spawn(reporter.run(handle.state(), ended.clone()));
    }
    senders.into_iter().chain([events]).for_each(|sender| drop(background.spawn(sender)));
    let elector = tokio::spawn(elector);

    let mut state = handle.state();
    let result = loop {
        let led = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break Ok(()),
            changed = state.wait_for(|s| !matches!(s, State::Standby)) => changed.map_or(State::Stopped, |s| *s),
        };
        let State::Leading { term, .. } = led else {
            break if options.exit_on_loss { Err(RunError::LeaseLost) } else { Ok(()) };
        };
        info!(term, "leading");
        leading.send_replace(true);
        let mut lost = handle.state();
        let until = async {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                _ = lost.wait_for(|s| !matches!(s, State::Leading { term: now, .. } if *now == term)) => warn!(term, "leadership lost"),
            }
        };
        loops.iter().for_each(|l| l.queue_all(&cache));
        let stuck = term_of_office(&loops, &drivers, &cache, &leading, &running, until, &options).await;
        if let Err(stuck) = stuck {
            break Err(stuck);
        }
    };

    // Workers are done (or stuck, and then nothing may be released before their requests have ended).
    handle.drain();
    let flush: FuturesUnordered<_> = loops.iter().map(|l| l.recorder.flush()).collect();
    if tokio::time::timeout(EVENT_FLUSH, flush.collect::<()>()).await.is_err() {
        warn!("some events were not sent before the end");
    }
    if result.is_ok() {
        handle.drained();
        if tokio::time::timeout(options.renew_deadline, elector).await.is_err() {
            warn!("the lease was not released in time");
        }
    }
    loops.iter().for_each(Wired::shut_down);
    end.send_replace(true);
    background.shutdown().await;
    pages.close().await;
    result
}

/// Workers of all loops, each once its kinds are synced and current, until `until`; then waits for the passes under way.
async fn term_of_office(
    loops: &[Wired],
    drivers: &[Arc<dyn Driver>],
    cache: &Arc<evenkeel_cache::Cache>,
    leading: &watch::Sender<bool>,
    running: &RunningControllers,
    until: impl Future<Output = ()>,
    options: &Options,
) -> Result<(), RunError> {
    let (over, is_over) = watch::channel(false);
    let at_work = Arc::new(Mutex::new(Vec::<&'static str>::new()));
    let mut tasks = JoinSet::new();
    // One question per kind, whoever waits for the answer. Without election nobody else can have led, and there is nothing to catch up with.
    let currents: Vec<_> = drivers
        .iter()
        .filter(|_| options.leader_elect)
        .map(|driver| {
            let (driver, cache, is_over) = (driver.clone(), cache.clone(), is_over.clone());
            (driver.kind(), async move { wait_current(&cache, &*driver, &is_over).await }.boxed().shared())
        })
        .collect();
    for wired in loops {
        let workers: Vec<BoxFuture<'static, ()>> = wired.workers(&leading.subscribe());
        let (cache, is_over, running, at_work, about) = (cache.clone(), is_over.clone(), running.clone(), at_work.clone(), wired.about);
        let current: Vec<_> =
            currents.iter().filter(|(kind, _)| about.watches.contains(kind)).map(|(_, current)| current.clone()).collect();
        tasks.spawn(async move {
            if !wait_synced(&cache, about.watches, &is_over).await || futures::future::join_all(current).await.contains(&false) {
                return;
            }
            info!(controller = about.name, "starting workers");
            running.set(about.name, true);
            at_work.lock().await.push(about.name);
            let mut set: JoinSet<()> = workers.into_iter().collect();
            while set.join_next().await.is_some() {}
            at_work.lock().await.retain(|n| *n != about.name);
            running.set(about.name, false);
        });
    }
    until.await;
    leading.send_replace(false);
    over.send_replace(true);
    let all = async { while tasks.join_next().await.is_some() {} };
    if options.shutdown_timeout.is_zero() {
        all.await;
    } else if tokio::time::timeout(options.shutdown_timeout, all).await.is_err() {
        let names = at_work.lock().await.join(", ");
        error!(controllers = names, "controller shutdown timeout reached");
        return Err(RunError::Stuck(names));
    }
    Ok(())
}

/// The writer's question, answered by the election's fence: until when may a write be under way?
fn fence_of(handle: &Handle) -> Fence {
    let fence = handle.fence();
    // Without election nothing bounds a request but its own time-out; an hour stands for "never".
    Arc::new(move || fence.check().is_ok().then(|| fence.deadline().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))))
}

/// Upstream gives the server ten seconds to be healthy; so do we, before anything else.
async fn wait_for_server(world: &World, stop: &mut watch::Receiver<bool>) -> Result<(), RunError> {
    let deadline = Instant::now() + SERVER_WAIT;
    loop {
        let request = http::Request::get("/healthz").body(kube::client::Body::empty()).expect("a constant request is well-formed");
        let answer = tokio::time::timeout_at(deadline, world.client.send(request)).await;
        let why = match answer {
            // A server that refuses us the page is there all the same.
            Ok(Ok(response)) if response.status().as_u16() < 500 => return Ok(()),
            Ok(Ok(response)) => format!("it answers {}", response.status()),
            Ok(Err(error)) => causes(&error),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() + Duration::from_secs(1) >= deadline {
            return Err(RunError::Server(why));
        }
        warn!(why, "the API server does not answer yet");
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// An error with everything that caused it.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

/// On the stock manager's own Lease nobody else runs what we do not (design: "Election").
fn say_what_is_missing(options: &Options) {
    let shared = options.lease_name == "kube-controller-manager" && options.lease_namespace == "kube-system";
    let missing = options.controllers.missing();
    if options.leader_elect && shared && !missing.is_empty() {
        warn!(
            controllers = missing.join(","),
            "this process campaigns for the stock manager's own lease but does not have these loops: while it leads, nobody runs them \
             (use another --leader-elect-resource-name and complementary --controllers to run beside the stock manager)"
        );
    }
}
