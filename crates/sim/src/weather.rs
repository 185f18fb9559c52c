//! What is wrong on the network at the moment, and what therefore becomes of a request.

use std::{collections::BTreeMap, time::Duration};

use http::{Method, header};
use serde_json::json;
use tokio::time::Instant;

use crate::{Fault, chance::Dice};

/// What is wrong at the moment. Managers are named by their numbers.
pub(crate) struct Weather {
    pub(crate) dice: Dice,
    pub(crate) calm: bool,
    pub(crate) storm_until: Option<Instant>,
    pub(crate) denied_until: Option<Instant>,
    pub(crate) lease_dark: BTreeMap<usize, Instant>,
    pub(crate) frozen: BTreeMap<(usize, &'static str), Instant>,
    /// A kind that cannot be listed; peace does not heal it.
    pub(crate) unlistable: Option<&'static str>,
    /// Managers that stand still.
    pub(crate) paused: BTreeMap<usize, Instant>,
    /// Managers whose connections lead nowhere.
    pub(crate) hole: BTreeMap<usize, Instant>,
    /// Managers that talk to a server that is behind, and the revision where that one is.
    pub(crate) lag: BTreeMap<usize, (Instant, u64)>,
    pub(crate) faults: BTreeMap<Fault, u64>,
}

/// What becomes of a request.
pub(crate) enum Fate {
    Pass,
    Lost { committed: bool, silent: bool },
    Refused(u16, &'static str),
}

/// The way there, the way back, and what happens in between.
pub(crate) type Journey = (Duration, Duration, Fate);

impl Weather {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed, 1),
            calm: false,
            storm_until: None,
            denied_until: None,
            lease_dark: BTreeMap::new(),
            frozen: BTreeMap::new(),
            unlistable: None,
            paused: BTreeMap::new(),
            hole: BTreeMap::new(),
            lag: BTreeMap::new(),
            faults: BTreeMap::new(),
        }
    }

    /// No more faults from now on.
    pub(crate) fn calm(&mut self) {
        self.calm = true;
        (self.storm_until, self.denied_until) = (None, None);
        self.lease_dark.clear();
        self.frozen.clear();
        self.paused.clear();
        self.hole.clear();
        self.lag.clear();
    }

    pub(crate) fn struck(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn journey(&mut self, manager: usize, method: &Method, path: &str) -> Journey {
        let (there, back) = (self.dice.ms(1..20), self.dice.ms(1..20));
        let now = Instant::now();
        let is = |until: Option<Instant>| until.is_some_and(|u| u > now);
        if *method == Method::GET && self.unlistable.is_some_and(|kind| path.ends_with(&format!("/{kind}"))) {
            self.struck(Fault::Unlistable);
            return (there, back, Fate::Refused(500, "InternalError"));
        }
        if self.calm {
            return (there, back, Fate::Pass);
        }
        if path.contains("/leases") && is(self.lease_dark.get(&manager).copied()) {
            self.struck(Fault::LeaseTrouble);
            return (there, back, Fate::Lost { committed: false, silent: self.dice.percent(50) });
        }
        if *method == Method::POST && path.ends_with("/pods") && is(self.denied_until) {
            self.struck(Fault::Denied);
            return (there, back, Fate::Refused(403, "Forbidden"));
        }
        if !self.dice.percent(if is(self.storm_until) { 35 } else { 3 }) {
            return (there, back, Fate::Pass);
        }
        let silent = self.dice.percent(30);
        let (fault, fate) = match self.dice.pick(0..7) {
            0 | 1 if *method != Method::GET => (Fault::AnswerLostCommitted, Fate::Lost { committed: true, silent }),
            2 if *method != Method::GET => (Fault::AnswerLostNotCommitted, Fate::Lost { committed: false, silent }),
            3 if [Method::PUT, Method::PATCH].contains(method) => (Fault::Conflict, Fate::Refused(409, "Conflict")),
            4 => (Fault::TooMany, Fate::Refused(429, "TooManyRequests")),
            5 => (Fault::InternalError, Fate::Refused(500, "InternalError")),
            6 => (Fault::Unavailable, Fate::Refused(503, "ServiceUnavailable")),
            _ => return (there, back, Fate::Pass),
        };
        self.struck(fault);
        (there, back, fate)
    }
}

/// An answer that refuses.
pub(crate) fn refusal(code: u16, reason: &str) -> evenkeel_apiserver::Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": format!("simulated {code}"),
    });
    let code = http::StatusCode::from_u16(code).expect("only codes from the table above");
    let mut response = evenkeel_apiserver::Response::json(code, &status);
    if code == http::StatusCode::TOO_MANY_REQUESTS {
        response.headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}
