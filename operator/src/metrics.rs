//! What the operator counts, in Prometheus' format.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The kind that a number is about.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// What the operator counts.
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<Kind, Counter>,
    errors: Family<Kind, Counter>,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let reconciles = Family::<Kind, Counter>::default();
        let errors = Family::<Kind, Counter>::default();
        let durations = Family::<Kind, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.005, 2.0, 12))
        });
        let leader = Gauge::default();
        let mut registry = Registry::with_prefix("berth_operator");
        registry.register("reconciles", "Reconciliations that ended", reconciles.clone());
        registry.register("reconcile_errors", "Reconciliations that failed", errors.clone());
        registry.register("reconcile_duration_seconds", "How long reconciliations take", durations.clone());
        registry.register("leader", "1 while this process is the one that works", leader.clone());
        Self { registry: Mutex::new(registry), reconciles, errors, durations, leader }
    }
}

impl Metrics {
    /// Counts a reconciliation.
    pub fn reconciled(&self, kind: &'static str, took: Duration, failed: bool) {
        let kind = Kind { kind };
        self.reconciles.get_or_create(&kind).inc();
        self.durations.get_or_create(&kind).observe(took.as_secs_f64());
        let errors = self.errors.get_or_create(&kind);
        if failed {
            errors.inc();
        }
    }

    /// Notes whether this process is the one that works.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All of it as text.
    ///
    /// # Errors
    /// What the encoder says.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.leads(true);
        metrics.reconciled("Registry", Duration::from_millis(7), false);
        metrics.reconciled("Registry", Duration::from_millis(7), true);
        let text = metrics.text().unwrap();
        for line in [
            "berth_operator_leader 1",
            "berth_operator_reconciles_total{kind=\"Registry\"} 2",
            "berth_operator_reconcile_errors_total{kind=\"Registry\"} 1",
            "berth_operator_reconcile_duration_seconds_count{kind=\"Registry\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
