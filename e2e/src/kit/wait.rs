//! Waiting for a condition, with a deadline.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Looks until `condition` gives a value. After the deadline, the error says what was last seen: the error that the
/// condition gave, or that it did not answer.
pub async fn until<T>(what: &str, deadline: Duration, condition: impl AsyncFn() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        let seen = match tokio::time::timeout(left.max(POLL), condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer"),
        };
        if started.elapsed() + POLL > deadline {
            return Err(seen.context(format!("{what}: not within {} s; last seen", deadline.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_error_says_what_was_last_seen() {
        let error = until::<()>("the pod", Duration::from_secs(3), async || anyhow::bail!("it is pending"))
            .await
            .expect_err("never true");
        assert_eq!(format!("{error:#}"), "the pod: not within 3 s; last seen: it is pending");
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_never_answers_ends_too() {
        let never = until::<()>("the pod", Duration::from_secs(3), async || std::future::pending().await).await;
        assert!(format!("{:#}", never.expect_err("no answer")).contains("no answer"));
    }
}
