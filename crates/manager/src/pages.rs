//! Health and metrics pages: which checks there are, and what they say (manager 9).

use std::sync::{Arc, RwLock};

use evenkeel_api::Uid;
use evenkeel_cache::Cache;
use evenkeel_election::{Handle, State};
use evenkeel_serve::{CertificateSource, Checks, DebugPage, Endpoint, Metrics, ServeOptions, Server, TlsVersion, listen};
use evenkeel_watch::Driver;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::info;

use crate::{flags::Options, wiring::Wired};

/// The pages, open until they are closed.
pub(crate) struct Pages(Option<Server>);

impl Pages {
    /// Stops serving.
    pub(crate) async fn close(self) {
        if let Some(server) = self.0 {
            server.shut_down().await;
        }
    }
}

/// Opens the pages before any election, so that a standby answers too (manager 4.4).
///
/// Checks: `leaderElection` always; each controller while we lead (manager 9.2), which passes as upstream's does. A kind that cannot be listed
/// shows in `/readyz` alone (manager 16.25, "Better"): a probe of `/healthz` restarts the process, and the loops that work would pay for the
/// one that does not.
pub(crate) async fn open(
    options: &Options,
    handle: &Handle,
    cache: &Arc<Cache>,
    drivers: &[Arc<dyn Driver>],
    loops: &[Wired],
    registry: Registry,
) -> Result<Pages, String> {
    let Some(port) = options.secure_port else { return Ok(Pages(None)) };
    let Some(listener) = listen(options.bind_address, port).await.map_err(|e| crate::run::causes(&e))? else { return Ok(Pages(None)) };
    let certificate = match &options.tls_files {
        Some((certificate, key)) => CertificateSource::Files { certificate: certificate.clone(), key: key.clone() },
        None => CertificateSource::SelfSigned { dir: options.cert_dir.clone(), name: "kube-controller-manager".to_owned() },
    };
    let checks = Checks::default();
    if options.leader_elect {
        let health = handle.health();
        checks.register("leaderElection", &[Endpoint::Healthz, Endpoint::Livez], move || health.check());
    } else {
        checks.register("ping", &[Endpoint::Healthz, Endpoint::Livez], || Ok(()));
    }
    let (kinds, synced) = (drivers.to_vec(), cache.clone());
    checks.register("caches", &[Endpoint::Readyz], move || {
        let behind: Vec<String> = kinds.iter().filter_map(|driver| trouble(&**driver, &synced)).collect();
        if behind.is_empty() { Ok(()) } else { Err(behind.join("; ")) }
    });
    let controllers = loops.iter().map(|wired| wired.about.name).collect();
    tokio::spawn(controllers_while_leading(handle.state(), checks.clone(), controllers));

    let collects = loops.iter().any(|wired| std::ptr::eq(wired.about, &evenkeel_garbage_collector::ABOUT));
    let debug = if collects { vec![graph(handle.state(), cache.clone())] } else { Vec::new() };
    let serve = ServeOptions { certificate, min_tls: TlsVersion::default(), metrics_open: false };
    let server = Server::start(listener, &serve, checks, Metrics::new(Arc::new(RwLock::new(registry))), debug)
        .await
        .map_err(|e| crate::run::causes(&e))?;
    info!(address = %server.address(), "serving health and metrics");
    Ok(Pages(Some(server)))
}

/// The leader's graph of owners and dependents (garbage-collection A15).
fn graph(state: watch::Receiver<State>, cache: Arc<Cache>) -> DebugPage {
    let make = move |of: &dyn Fn(&str) -> Vec<String>| {
        let leads = matches!(*state.borrow(), State::Leading { .. });
        let uids: Vec<Uid> = of("uid").iter().map(|uid| Uid::new(uid)).collect();
        leads.then(|| evenkeel_garbage_collector::dot(&cache.read(), &uids))
    };
    DebugPage { path: "/debug/controllers/garbage-collector-controller/graph", content_type: "text/vnd.graphviz", make: Box::new(make) }
}

/// Why a kind is not current; `None` when it is.
fn trouble(driver: &dyn Driver, cache: &Cache) -> Option<String> {
    let synced = cache.read().any(driver.kind()).is_some_and(|s| s.synced());
    let last = driver.trouble().map(|t| t.last);
    match (synced, last) {
        (true, _) => None,
        (false, Some(why)) => Some(format!("{} cannot be listed: {why}", driver.kind())),
        (false, None) => Some(format!("{} are not listed yet", driver.kind())),
    }
}

/// A check per controller appears when we lead and goes when we do not.
async fn controllers_while_leading(mut state: watch::Receiver<State>, checks: Checks, controllers: Vec<&'static str>) {
    loop {
        let leads = matches!(*state.borrow_and_update(), State::Leading { .. });
        for name in &controllers {
            if leads {
                checks.register(*name, &[Endpoint::Healthz], || Ok(()));
            } else {
                checks.remove(name);
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}
