use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::handle::Stop;
use crate::health::{BEAT, Pulse};
use crate::machine::{Input, Loss, Machine, Moment, Note, Release, Request};
use crate::metrics::Handles;
use crate::{
    Clock, ElectionConfig, ElectionEvent, ElectionMetrics, Fence, FlagError, Handle, Health, Hint, Hints, Lease, LeaseClient, LeaseError,
};
use crate::{OnLoss, State};

/// Everything that an elector takes from the outside besides the Lease.
pub struct Surroundings {
    /// The local monotonic clock.
    pub clock: Clock,
    /// Wall time, only written to the Lease.
    pub wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Draws from [0, 1), for pauses.
    pub chance: Box<dyn Fn() -> f64 + Send + Sync>,
    /// Changes of the Lease as a watch shows them, as from [`crate::KubeLease::watch`].
    pub hints: Option<Hints>,
    /// Called for what becomes an event on the Lease. Must not block.
    pub on_event: Box<dyn Fn(&ElectionEvent) + Send + Sync>,
    /// Metrics of the process's elections.
    pub metrics: ElectionMetrics,
}

/// How a campaign ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// We were asked to end; the Lease has no holder now, so a standby can lead at once.
    Released,
    /// We were asked to end; the Lease was not ours, or releasing is switched off.
    NotOurs,
    /// We were asked to end, and the Lease could not be released; others wait until it expires.
    ReleaseFailed(String),
    /// The Lease was lost, and the configuration says that this is the end ([`OnLoss::End`]).
    Lost,
    /// The [`Handle`] was dropped.
    Abandoned,
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidConfig(pub Vec<FlagError>);

/// One candidate for one Lease: the shell around [`Machine`].
pub struct Elector<C> {
    config: ElectionConfig,
    client: Arc<C>,
    surroundings: Surroundings,
    machine: Machine,
    fence: Fence,
    pulse: Pulse,
    metrics: Handles,
    state: watch::Sender<State>,
    stop: watch::Receiver<Stop>,
    /// All workers have ended: nothing that the handle does can matter any more.
    drained: bool,
}

type Flight = Pin<Box<dyn Future<Output = Result<Lease, LeaseError>> + Send>>;

impl<C: LeaseClient> Elector<C> {
    /// A candidate that begins with [`Elector::run`], and the view of it for the rest of the process.
    pub fn new(config: ElectionConfig, client: C, surroundings: Surroundings) -> Result<(Self, Handle), InvalidConfig> {
        let mut errors = crate::flag_errors(&config.timings, "leases", &config.name, &config.namespace);
        if config.identity.is_empty() {
            errors.push(FlagError::Empty { flag: "identity" });
        }
        if !errors.is_empty() {
            return Err(InvalidConfig(errors));
        }
        let clock = surroundings.clock;
        let fence = Fence::closed(clock);
        let pulse = Pulse::new(&clock);
        let (state, state_seen) = watch::channel(State::Standby);
        let (stop_sender, stop) = watch::channel(Stop::No);
        let health = Health::new(&config.name, pulse.clone(), fence.clone(), clock);
        let handle = Handle { state: state_seen, fence: fence.clone(), health, stop: stop_sender, _always: None };
        let metrics = surroundings.metrics.of(&config.name);
        let machine = Machine::new(&config, clock.now());
        Ok((Self { config, client: Arc::new(client), surroundings, machine, fence, pulse, metrics, state, stop, drained: false }, handle))
    }

    /// Campaigns until it is told to end. Dropping the future closes the fence and releases nothing.
    pub async fn run(mut self) -> Ended {
        info!(lease = %self.config.name, namespace = %self.config.namespace, identity = %self.config.identity, "campaigning for the lease");
        let mut flight: Option<Flight> = None;
        let mut input = Input::Wake;
        loop {
            let moment = self.moment();
            let step = self.machine.on(input, &moment);
            if let Some(request) = step.request {
                flight = Some(self.send(request));
            } else if !self.machine.awaits_answer() {
                flight = None;
            }
            self.publish();
            self.pulse.beat(moment.now, self.machine.leading().is_some());
            let mut lost = false;
            for note in step.notes {
                lost |= matches!(&note, Note::StoppedLeading(why) if *why != Loss::Asked);
                if let Some(ended) = self.tell(note) {
                    return ended;
                }
            }
            if lost && self.config.on_loss == OnLoss::End {
                return Ended::Lost;
            }
            input = self.wait(&mut flight).await;
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.surroundings.clock.now(),
            wall: (self.surroundings.wall)(),
            chance: (self.surroundings.chance)().clamp(0.0, 1.0),
        }
    }

    fn send(&self, request: Request) -> Flight {
        let client = Arc::clone(&self.client);
        let limit = self.config.timings.request_timeout();
        Box::pin(async move {
            let answer = timeout(limit, async {
                match request {
                    Request::Get => client.get().await,
                    Request::Create(document) => client.create(&document).await,
                    Request::Update(document) => client.update(&document).await,
                }
            });
            answer.await.unwrap_or_else(|_| Err(LeaseError::Other(format!("no answer within {} ms", limit.as_millis()))))
        })
    }

    /// The next thing that happens.
    async fn wait(&mut self, flight: &mut Option<Flight>) -> Input {
        loop {
            let clock = self.surroundings.clock;
            let beat = clock.now() + BEAT;
            let wake = self.machine.wake_at();
            tokio::select! {
                biased;
                changed = self.stop.changed(), if !self.drained => return match (changed, *self.stop.borrow_and_update()) {
                    (Err(_), _) => Input::Abandon,
                    (Ok(()), Stop::No) => continue,
                    (Ok(()), Stop::Draining) => Input::Drain,
                    (Ok(()), Stop::Drained) => {
                        self.drained = true;
                        Input::Drained
                    }
                },
                answer = landing(flight) => {
                    *flight = None;
                    return Input::Answer(answer);
                }
                () = clock.sleep_until(wake.map_or(beat, |wake| wake.min(beat))) => {
                    if wake.is_some_and(|wake| clock.now() >= wake) {
                        return Input::Wake;
                    }
                    self.pulse.beat(clock.now(), self.machine.leading().is_some());
                }
                hint = next_hint(&mut self.surroundings.hints) => match hint {
                    Some(Hint::Seen(lease)) => return Input::Seen(lease),
                    Some(Hint::Look) => return Input::Look,
                    None => self.surroundings.hints = None,
                },
            }
        }
    }

    /// The fence first: on the way up it is open before anybody is told to start, on the way down it is closed before anybody is told to stop.
    fn publish(&self) {
        self.fence.set(self.machine.grant());
        let leading = self.machine.leading();
        self.metrics.leading.set(i64::from(leading.is_some()));
        let state = leading.map_or(State::Standby, |(since, term)| State::Leading { since, term });
        self.state.send_if_modified(|before| std::mem::replace(before, state) != state);
    }

    fn tell(&self, note: Note) -> Option<Ended> {
        let identity = self.config.identity.clone();
        let lease = &self.config.name;
        match note {
            Note::BecameLeader => {
                info!(%lease, %identity, "became leader");
                (self.surroundings.on_event)(&ElectionEvent::BecameLeader { identity });
            }
            Note::StoppedLeading(why) => {
                let asked = why == Loss::Asked;
                let why = match why {
                    Loss::Asked => "the process stops".to_owned(),
                    Loss::DeadlineMissed => "no renewal succeeded within the deadline".to_owned(),
                    Loss::TakenBy(holder) => format!("the lease is held by {holder}"),
                    Loss::IdentityTaken => "another process holds the lease under our identity".to_owned(),
                };
                if asked {
                    info!(%lease, %identity, %why, "stopped leading");
                } else {
                    warn!(%lease, %identity, %why, "stopped leading");
                }
                (self.surroundings.on_event)(&ElectionEvent::StoppedLeading { identity, why });
            }
            Note::SlowPath => {
                self.metrics.slow_paths.inc();
            }
            Note::IdentityTaken => {
                error!(%lease, %identity, "another process renews this lease under our identity; standing by, identities must be unique");
                (self.surroundings.on_event)(&ElectionEvent::IdentityTaken { identity });
            }
            Note::HeldBy(holder) => debug!(%lease, %holder, "standing by"),
            Note::Failed(why) => warn!(%lease, %why, "an attempt failed"),
            Note::Ended(release) => {
                let ended = match release {
                    Release::Released => Ended::Released,
                    Release::NotOurs => Ended::NotOurs,
                    Release::Failed(why) => Ended::ReleaseFailed(why),
                    Release::Abandoned => Ended::Abandoned,
                };
                info!(%lease, ?ended, "the campaign is over");
                return Some(ended);
            }
        }
        None
    }
}

impl<C> Drop for Elector<C> {
    fn drop(&mut self) {
        self.fence.set(None);
        self.pulse.end();
        self.metrics.leading.set(0);
        self.state.send_replace(State::Stopped);
    }
}

async fn landing(flight: &mut Option<Flight>) -> Result<Lease, LeaseError> {
    match flight {
        Some(flight) => flight.await,
        None => std::future::pending().await,
    }
}

async fn next_hint(hints: &mut Option<Hints>) -> Option<Hint> {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
    }
}
