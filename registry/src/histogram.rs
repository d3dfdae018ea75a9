//! A histogram that many threads add to without waiting for one another: a counter for each bucket, and a sum.
//!
//! Who reads it meanwhile may see an observation in a bucket and not yet in the sum; the next look has both.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// A histogram. A clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The upper ends of the buckets, in order; the last one is infinite.
    bounds: Vec<f64>,
    /// How many observations fell into each bucket and no lower one.
    counts: Vec<AtomicU64>,
    /// The bits of the sum of all observations.
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram of nothing with these upper ends, in order; a last bucket takes what is beyond them.
    pub(crate) fn new(bounds: impl IntoIterator<Item = f64>) -> Self {
        let bounds: Vec<f64> = bounds.into_iter().chain([f64::INFINITY]).collect();
        let counts = bounds.iter().map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Inner { bounds, counts, sum: AtomicU64::new(0.0_f64.to_bits()) }))
    }

    /// Adds an observation.
    pub(crate) fn observe(&self, value: f64) {
        let Inner { bounds, counts, sum } = &*self.0;
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len() - 1);
        counts[bucket].fetch_add(1, Ordering::Relaxed);
        if value != 0.0 {
            let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
            // It cannot fail: there is always something to put in its place.
            let _ = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let Inner { bounds, counts, sum } = &*self.0;
        let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.iter().copied().zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(f64::from_bits(sum.load(Ordering::Relaxed)), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn an_observation_is_counted_once_and_in_its_bucket() {
        let histogram = Histogram::new([1.0, 2.0]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for value in [0.0, 1.0, 1.5, 2.0, 100.0].repeat(1000) {
                        histogram.observe(value);
                    }
                });
            }
        });
        let mut registry = Registry::default();
        registry.register("size", "A size", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "size_sum 418000.0",
            "size_count 20000",
            "size_bucket{le=\"1.0\"} 8000",
            "size_bucket{le=\"2.0\"} 16000",
            "size_bucket{le=\"+Inf\"} 20000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
