//! How the election is set up from flags: the Lease, our identity, and the events about it.

use std::sync::Arc;

use evenkeel_api::{LEASES, Uid, Version};
use evenkeel_client::{Api, ClientMetrics, Pace, PaceOptions, Recorder};
use evenkeel_election::{Clock, ElectionConfig, ElectionEvent, ElectionMetrics, Elector, Handle, KubeLease, OnLoss, Surroundings, Timings};
use evenkeel_plan::{Event, ObjectReference};
use futures::{FutureExt, future::BoxFuture};
use prometheus_client::registry::Registry;
use tracing::info;

use crate::{World, flags::Options};

/// The process's view of the campaign, and the tasks behind it: the candidate, and the sender of its events.
pub(crate) struct Campaign {
    pub(crate) handle: Handle,
    pub(crate) elector: BoxFuture<'static, ()>,
    pub(crate) events: BoxFuture<'static, ()>,
}

/// Sets the campaign up; without `--leader-elect` we lead from the start.
///
/// # Errors
/// Timings or names that cannot be used; the flags were checked before, so this concerns callers that build [`Options`] by hand.
pub(crate) fn set_up(options: &Options, world: &World, steady: Clock, registry: &mut Registry) -> Result<Campaign, String> {
    if !options.leader_elect {
        let handle = Handle::without_election(steady);
        return Ok(Campaign { handle, elector: Box::pin(async {}), events: Box::pin(async {}) });
    }
    let identity = options.identity.clone().unwrap_or_else(|| identity(world));
    let config = ElectionConfig {
        namespace: options.lease_namespace.clone(),
        name: options.lease_name.clone(),
        identity,
        timings: Timings {
            lease_duration: options.lease_duration,
            renew_deadline: options.renew_deadline,
            retry_period: options.retry_period,
        },
        on_loss: if options.exit_on_loss { OnLoss::End } else { OnLoss::StandBy },
        release: true,
    };
    let lease = KubeLease::new(world.lease_client.clone(), options.lease_namespace.clone(), options.lease_name.clone());

    // Events about the Lease must leave while we lead no longer, too; and they share nobody's pace.
    let metrics = ClientMetrics::unregistered(&world.host);
    let api = Api::new(world.client.clone(), "leader-election", Pace::new(PaceOptions::default()), metrics.clone());
    let always = Arc::new(|| Some(tokio::time::Instant::now() + std::time::Duration::from_secs(60)));
    let (recorder, events) = Recorder::new(api, "kube-controller-manager", world.clock.clone(), always, metrics);
    let about = ObjectReference {
        kind: &LEASES,
        namespace: options.lease_namespace.as_str().into(),
        name: options.lease_name.as_str().into(),
        uid: Uid::new(""),
        version: Version::default(),
    };

    let (wall, draw, hints_draw) = (world.clock.clone(), world.chance.clone(), world.chance.clone());
    let surroundings = Surroundings {
        clock: steady,
        wall: Box::new(move || wall.now()),
        chance: Box::new(move || unit(draw())),
        hints: Some(lease.watch(Arc::new(move || unit(hints_draw())))),
        on_event: Box::new(move |event: &ElectionEvent| {
            recorder.record(Event::normal(about.clone(), ElectionEvent::REASON, event.to_string()))
        }),
        metrics: ElectionMetrics::register(registry),
    };
    let (elector, handle) = Elector::new(config, lease, surroundings).map_err(|e| e.to_string())?;
    let elector = elector.run().map(|ended| info!(?ended, "campaign over")).boxed();
    Ok(Campaign { handle, elector, events: Box::pin(events) })
}

/// 53 random bits as a number in [0, 1).
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// `<hostname>_<random uuid>`, new for each start (manager 5.1).
fn identity(world: &World) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let host = if host.trim().is_empty() { "evenkeel" } else { host.trim() };
    let (a, b) = ((world.chance)(), (world.chance)());
    format!(
        "{host}_{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | ((b >> 48) & 0x3fff),
        b & 0xffff_ffff_ffff
    )
}
