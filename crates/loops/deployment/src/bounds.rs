use evenkeel_api::{Deployment, IntOrPercent, PercentError, Strategy};

/// How far a rollout may deviate from `spec.replicas` (workloads 1.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// effectiveMaxSurge: pods beyond `spec.replicas`; 0 unless RollingUpdate.
    pub(crate) surge: i32,
    /// effectiveMaxUnavailable: pods that may be missing; 0 unless RollingUpdate.
    pub(crate) unavailable: i32,
}

impl Bounds {
    /// The bounds of a Deployment. A value that cannot be resolved counts as 0 for both.
    pub(crate) fn of(deployment: &Deployment) -> Self {
        let Strategy::RollingUpdate { max_surge, max_unavailable } = &deployment.strategy else { return Self { surge: 0, unavailable: 0 } };
        let replicas = deployment.replicas;
        let (surge, unavailable) = match (resolve(max_surge, replicas, true), resolve(max_unavailable, replicas, false)) {
            // Both rounded to nothing: a surge might not work because of quota, so one pod may be missing.
            (Ok(0), Ok(0)) => (0, 1),
            (Ok(surge), Ok(unavailable)) => (surge, unavailable),
            _ => (0, 0),
        };
        Self { surge, unavailable: if replicas == 0 { 0 } else { unavailable.min(replicas) } }
    }

    /// Fewest pods that must be available.
    pub(crate) fn min_available(self, deployment: &Deployment) -> i64 {
        i64::from(deployment.replicas) - i64::from(self.unavailable)
    }

    /// `spec.replicas` and the surge: what the annotation `max-replicas` says.
    pub(crate) fn max_replicas(self, deployment: &Deployment) -> i32 {
        deployment.replicas.saturating_add(self.surge)
    }
}

/// maxSurge as it counts for the size of the new set: one that cannot be resolved is an error there.
pub(crate) fn growth_surge(deployment: &Deployment) -> Result<i32, PercentError> {
    match &deployment.strategy {
        Strategy::RollingUpdate { max_surge, .. } => resolve(max_surge, deployment.replicas, true),
        _ => Ok(0),
    }
}

fn resolve(value: &Option<IntOrPercent>, replicas: i32, round_up: bool) -> Result<i32, PercentError> {
    value.as_ref().map_or(Ok(0), |v| v.resolve(replicas, round_up))
}
