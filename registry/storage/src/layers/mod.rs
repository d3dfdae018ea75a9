//! What every driver needs around it, each a [`Bucket`] around a [`Bucket`]: tries after a failure, a limit, counts.
//!
//! The order is [`stack`]'s, and has reasons. Whoever waits for another try holds no permit, so [`Retrying`] is outside
//! [`Limited`]; and each try is seen for itself, without the time that it waits for its permit, so [`Observed`] is inside
//! both, next to the driver. No layer knows which store it is.
//!
//! For tests there are a bucket in memory, `Shelf`, and one that fails, `Faulty`, behind the feature `testing`.

#[cfg(any(test, feature = "testing"))]
mod faults;
mod limit;
mod observe;
mod retry;
#[cfg(any(test, feature = "testing"))]
mod shelf;
#[cfg(test)]
mod test;

use std::sync::Arc;

use crate::bucket::Bucket;

#[cfg(any(test, feature = "testing"))]
pub use faults::{Fault, Faulty};
pub use limit::Limited;
pub use observe::{Observed, Observer, Outcome};
pub use retry::{RetryOptions, Retrying};
#[cfg(any(test, feature = "testing"))]
pub use shelf::{Shelf, ShelfOptions};

/// How a store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackOptions {
    /// How requests are tried again.
    pub retry: RetryOptions,
    /// The most requests at once.
    pub max_requests: usize,
}

impl Default for StackOptions {
    fn default() -> Self {
        StackOptions { retry: RetryOptions::default(), max_requests: 100 }
    }
}

/// A driver's bucket with everything around it.
#[must_use]
pub fn stack(bucket: Arc<dyn Bucket>, options: &StackOptions, observer: Arc<dyn Observer>) -> Arc<dyn Bucket> {
    let StackOptions { retry, max_requests } = *options;
    let observed = Observed::new(bucket, observer);
    let limited = Limited::new(Arc::new(observed), max_requests);
    Arc::new(Retrying::new(Arc::new(limited), retry))
}
