//! `kube-lease-manager`: leader election by somebody else's rules, with server-side apply.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::time::Instant;

use super::{Outcome, PATIENCE, Stage, ensure};

/// How long a Lease lasts, and how long before its end it is renewed.
const DURATION: u64 = 3;
const GRACE: u64 = 1;

async fn manager(stage: &Stage, lease: &str, identity: &str) -> Result<LeaseManager, kube_lease_manager::LeaseManagerError> {
    LeaseManagerBuilder::new(stage.client.clone(), lease)
        .with_namespace(&stage.namespace)
        .with_identity(identity)
        .with_duration(DURATION)
        .with_grace(GRACE)
        .build()
        .await
}

async fn holder(stage: &Stage, lease: &str) -> Result<Option<String>, kube::Error> {
    Ok(stage.api::<Lease>().get(lease).await?.spec.and_then(|spec| spec.holder_identity))
}

pub(super) async fn a_lease_manager_hands_the_lease_over(stage: &Stage) -> Outcome {
    let (one, two) = (manager(stage, "handed", "one").await?, manager(stage, "handed", "two").await?);
    let (mut first, first_task) = one.watch().await;
    tokio::time::timeout(PATIENCE, first.wait_for(|held| *held)).await??;
    ensure(holder(stage, "handed").await?.as_deref() == Some("one"), "one holds it")?;
    let (mut second, second_task) = two.watch().await;
    // Longer than the Lease lasts: it is renewed, and nobody else gets it.
    let waited = tokio::time::timeout(Duration::from_secs(DURATION + 1), second.wait_for(|held| *held)).await.is_err();
    ensure(waited && *first.borrow(), "one goes on holding it")?;
    // Whoever lets go of the channel gives the Lease back.
    let start = Instant::now();
    drop(first);
    tokio::time::timeout(PATIENCE, second.wait_for(|held| *held)).await??;
    ensure(start.elapsed() < Duration::from_secs(3 * DURATION), start.elapsed())?;
    ensure(holder(stage, "handed").await?.as_deref() == Some("two"), "two holds it")?;
    drop(second);
    for task in [first_task, second_task] {
        tokio::time::timeout(PATIENCE, task).await???;
    }
    Ok(())
}

pub(super) async fn a_lease_that_is_not_renewed_is_taken(stage: &Stage) -> Outcome {
    let (one, two) = (manager(stage, "left", "one").await?, manager(stage, "left", "two").await?);
    ensure(tokio::time::timeout(PATIENCE, one.changed()).await??, "one gets it")?;
    let start = Instant::now();
    // One is not asked again, so it does not renew.
    ensure(tokio::time::timeout(PATIENCE, two.changed()).await??, "two gets it")?;
    ensure(start.elapsed() >= Duration::from_secs(DURATION - 1), start.elapsed())?;
    ensure(holder(stage, "left").await?.as_deref() == Some("two"), "two holds it")?;
    two.release().await?;
    Ok(())
}
