//! Health and metrics pages.
use std::sync::Arc;

use evenkeel_cache::Cache;
use evenkeel_election::Handle;
use evenkeel_watch::Driver;
use prometheus_client::registry::Registry;

use crate::{flags::Options, wiring::Wired};

pub(crate) struct Pages;

impl Pages {
    pub(crate) async fn close(self) {}
}

pub(crate) async fn open(
    _options: &Options,
    _handle: &Handle,
    _cache: &Arc<Cache>,
    _drivers: &[Arc<dyn Driver>],
    _loops: &[Wired],
    _registry: Registry,
) -> Result<Pages, String> {
    Ok(Pages)
}
