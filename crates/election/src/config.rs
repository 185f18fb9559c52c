use std::time::Duration;

/// A renew deadline must exceed the retry period by this factor, in tenths (manager 5.1).
const JITTER_TENTHS: u32 = 12;

/// The three election timings (manager 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How long others wait, after they saw the record change, before they take the Lease. Written to it in whole seconds.
    pub lease_duration: Duration,
    /// How long a leader goes on after the last successful renewal.
    pub renew_deadline: Duration,
    /// Pause between renewals; between a standby's attempts it is 1 to 2.2 times that.
    pub retry_period: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self { lease_duration: Duration::from_secs(15), renew_deadline: Duration::from_secs(10), retry_period: Duration::from_secs(2) }
    }
}

impl Timings {
    /// All rules that these timings break (manager 5.1); none if they can be used.
    pub fn errors(&self) -> Vec<FlagError> {
        let flags = [
            ("--leader-elect-lease-duration", self.lease_duration),
            ("--leader-elect-renew-deadline", self.renew_deadline),
            ("--leader-elect-retry-period", self.retry_period),
        ];
        let mut errors: Vec<_> = flags.into_iter().filter(|(_, d)| d.is_zero()).map(|(flag, _)| FlagError::NotPositive { flag }).collect();
        if self.lease_duration <= self.renew_deadline {
            errors.push(FlagError::LeaseNotLonger);
        } else if self.written_duration() <= self.renew_deadline {
            errors.push(FlagError::LeaseNotLongerInWholeSeconds);
        }
        if i32::try_from(self.lease_duration.as_secs()).is_err() {
            errors.push(FlagError::LeaseTooLong);
        }
        if self.renew_deadline.saturating_mul(10) <= self.retry_period.saturating_mul(JITTER_TENTHS) {
            errors.push(FlagError::DeadlineTooShort);
        }
        errors
    }

    /// The lease duration as others read it from the Lease.
    pub(crate) fn written_duration(&self) -> Duration {
        Duration::from_secs(self.lease_duration.as_secs())
    }

    /// How long one request may take: max(1 s, renew deadline / 2) (manager 3.1).
    pub fn request_timeout(&self) -> Duration {
        (self.renew_deadline / 2).max(Duration::from_secs(1))
    }
}

/// A violated rule about `--leader-elect-*`. Upstream panics on the timings once the campaign starts; we report all with the other flags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// A timing is zero.
    #[error("{flag} must be greater than zero")]
    NotPositive {
        /// The flag.
        flag: &'static str,
    },
    /// Others would take the Lease while its leader goes on.
    #[error("--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline")]
    LeaseNotLonger,
    /// The same, because the Lease holds whole seconds only. Upstream lets this pass.
    #[error(
        "--leader-elect-lease-duration, cut to whole seconds as the Lease holds it, must be greater than --leader-elect-renew-deadline"
    )]
    LeaseNotLongerInWholeSeconds,
    /// It does not fit the field.
    #[error("--leader-elect-lease-duration must be less than 2147483648s")]
    LeaseTooLong,
    /// No room for a second attempt before the deadline.
    #[error("--leader-elect-renew-deadline must be greater than 1.2 times --leader-elect-retry-period")]
    DeadlineTooShort,
    /// Only Leases are supported.
    #[error("resourceLock value must be \"leases\", not {value:?}")]
    ResourceLock {
        /// What was asked for.
        value: String,
    },
    /// No object can have this name.
    #[error("{flag} {value:?} must consist of lower case letters, digits, '-' and '.'")]
    NotAName {
        /// The flag.
        flag: &'static str,
        /// What was asked for.
        value: String,
    },
    /// A name is missing.
    #[error("{flag} must not be empty")]
    Empty {
        /// The flag.
        flag: &'static str,
    },
}

/// All violations among the `--leader-elect-*` flags (manager 5.1).
pub fn flag_errors(timings: &Timings, resource_lock: &str, name: &str, namespace: &str) -> Vec<FlagError> {
    let mut errors = timings.errors();
    if resource_lock != "leases" {
        errors.push(FlagError::ResourceLock { value: resource_lock.to_owned() });
    }
    let names = [("--leader-elect-resource-name", name), ("--leader-elect-resource-namespace", namespace)];
    for (flag, value) in names {
        if value.is_empty() {
            errors.push(FlagError::Empty { flag });
        } else if !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.') {
            errors.push(FlagError::NotAName { flag, value: value.to_owned() });
        }
    }
    errors
}

/// What follows a lost Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLoss {
    /// Step down and stand by again.
    #[default]
    StandBy,
    /// The elector ends, so that the process can exit 1 as upstream does (manager 5.4.5).
    End,
}

/// One campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are: `<hostname>_<uuid>`, new for each start of the process (manager 5.1). Must be unique among the candidates.
    pub identity: String,
    /// Timings; [`Timings::errors`] must be empty.
    pub timings: Timings,
    /// What follows a lost Lease.
    pub on_loss: OnLoss,
    /// Whether the Lease is released when the process stops (manager 5.5). Ours by default; upstream keeps it behind an alpha gate.
    pub release: bool,
}

impl ElectionConfig {
    /// The stock manager's Lease `kube-system/kube-controller-manager` with default timings.
    pub fn new(identity: impl Into<String>) -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            name: "kube-controller-manager".to_owned(),
            identity: identity.into(),
            timings: Timings::default(),
            on_loss: OnLoss::default(),
            release: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(flag_errors(&Timings::default(), "leases", "kube-controller-manager", "kube-system"), []);
        assert_eq!(Timings::default().request_timeout(), 5 * SEC);
    }

    /// manager 16.4; manager 5.1 "Better".
    #[test]
    fn all_violations_are_reported_together() {
        let timings = Timings { lease_duration: 15 * SEC, renew_deadline: 15 * SEC, retry_period: 13 * SEC };
        let errors = flag_errors(&timings, "endpoints", "", "");
        assert_eq!(
            errors,
            [
                FlagError::LeaseNotLonger,
                FlagError::DeadlineTooShort,
                FlagError::ResourceLock { value: "endpoints".into() },
                FlagError::Empty { flag: "--leader-elect-resource-name" },
                FlagError::Empty { flag: "--leader-elect-resource-namespace" },
            ]
        );
        assert!(errors[2].to_string().contains("resourceLock value must be \"leases\""));
    }

    #[test]
    fn zero_timings_are_each_named() {
        let zero = Timings { lease_duration: Duration::ZERO, renew_deadline: Duration::ZERO, retry_period: Duration::ZERO };
        assert_eq!(zero.errors().iter().filter(|e| matches!(e, FlagError::NotPositive { .. })).count(), 3);
    }

    #[test]
    fn the_boundaries_are_exact() {
        let deadline = |renew_deadline| Timings { renew_deadline, ..Timings::default() }.errors();
        assert_eq!(deadline(Duration::from_millis(2400)), [FlagError::DeadlineTooShort]);
        assert_eq!(deadline(Duration::from_millis(2401)), []);
        assert_eq!(deadline(Duration::from_millis(14_999)), []);
    }

    #[test]
    fn a_lease_duration_that_loses_its_lead_to_whole_seconds_is_refused() {
        let timings =
            Timings { lease_duration: Duration::from_millis(10_900), renew_deadline: Duration::from_millis(10_500), ..Timings::default() };
        assert_eq!(timings.errors(), [FlagError::LeaseNotLongerInWholeSeconds]);
    }

    #[test]
    fn absurd_timings_do_not_overflow() {
        let huge = Timings { lease_duration: Duration::MAX, renew_deadline: Duration::MAX, retry_period: Duration::MAX };
        assert!(huge.errors().contains(&FlagError::LeaseTooLong));
    }
}
