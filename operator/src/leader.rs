//! Leader election: of several operators one works, by a Lease.
//!
//! The Lease is renewed well before it ends. A process that loses it stops its controllers and ends, so that what it
//! believed is gone with it; for the same reason it never leads a second time.

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::{sync::watch, task::JoinHandle};

/// The name of the Lease, unless another is given.
pub const DEFAULT_LEASE: &str = "berth-operator";
/// How long a Lease lasts that is not renewed: as long as nobody works after the leader is lost.
const DURATION_SECONDS: u64 = 15;
/// How long before its end it is renewed.
const GRACE_SECONDS: u64 = 5;

/// A place in the election.
pub struct Election {
    leads: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Election {
    /// Takes part in the election of the Lease `lease`, under a name of one's own. Operators that are to work beside each
    /// other need a Lease each.
    ///
    /// # Errors
    /// [`LeaseManagerError`] when the Lease can neither be read nor made.
    pub async fn enter(
        client: Client,
        namespace: &str,
        lease: &str,
        identity: &str,
    ) -> Result<Self, LeaseManagerError> {
        let manager = LeaseManagerBuilder::new(client, lease)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION_SECONDS)
            .with_grace(GRACE_SECONDS)
            .build()
            .await?;
        let (leads, task) = manager.watch().await;
        Ok(Self { leads, task })
    }

    /// Waits until this process leads; false when the election is over before.
    pub async fn won(&mut self) -> bool {
        self.leads.wait_for(|leads| *leads).await.is_ok()
    }

    /// Waits until this process leads no more.
    pub async fn lost(&mut self) {
        // The sender is gone only when the election is over, and then nothing is held either.
        let _ = self.leads.wait_for(|leads| !*leads).await;
    }

    /// Leaves the election, and gives the Lease back if it is held.
    pub async fn leave(self) {
        let Self { leads, task } = self;
        drop(leads);
        match task.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be given back; it ends by itself"),
            Err(error) => tracing::warn!(%error, "the election ended badly"),
        }
    }
}
