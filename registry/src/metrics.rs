//! What is counted, under the names that CNCF Distribution gives it, and the store that counts what is done to it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use berth_oci::Digest;
use berth_storage::layers::Outcome;
use berth_storage::layout::UploadKey;
use berth_storage::{
    Appended, ByteRange, Incoming, Key, ListRequest, Object, Outgoing, Page, Progress, Stat, Store, StoreError, Written,
};
use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::Registry;

use crate::histogram::Histogram;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    handler: &'static str,
    method: &'static str,
    code: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerMethodLabels {
    handler: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabels {
    handler: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    driver: &'static str,
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreRequestLabels {
    driver: &'static str,
    action: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    certificate: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Histograms<HandlerMethodLabels>,
    request_bytes: Histograms<HandlerLabels>,
    response_bytes: Histograms<HandlerLabels>,
    in_flight: Family<HandlerLabels, Gauge>,
    storage: Histograms<ActionLabels>,
    store_requests: Family<StoreRequestLabels, Counter>,
    store_durations: Histograms<ActionLabels>,
    certificates: Family<CertificateLabels, Gauge>,
    certificate_loads: Family<OutcomeLabels, Counter>,
}

fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0])
}

fn bytes() -> Histogram {
    Histogram::new(exponential_buckets(256.0, 8.0, 10))
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations = Histograms::new_with_constructor(seconds as fn() -> Histogram);
        let request_bytes = Histograms::new_with_constructor(bytes as fn() -> Histogram);
        let response_bytes = Histograms::new_with_constructor(bytes as fn() -> Histogram);
        let in_flight = Family::default();
        let storage = Histograms::new_with_constructor(seconds as fn() -> Histogram);
        let http = registry.sub_registry_with_prefix("registry_http");
        http.register("requests", "Requests by handler, method and status", requests.clone());
        http.register("request_duration_seconds", "Time until the answer begins", durations.clone());
        http.register("request_size_bytes", "Announced length of requests", request_bytes.clone());
        http.register("response_size_bytes", "Announced length of answers", response_bytes.clone());
        http.register("in_flight_requests", "Requests that are being answered", in_flight.clone());
        let store = registry.sub_registry_with_prefix("registry_storage");
        store.register("action_seconds", "Time that the store takes", storage.clone());
        let store_requests = Family::default();
        store.register("requests", "Requests to an object store, each try counted", store_requests.clone());
        let store_durations = Histograms::new_with_constructor(seconds as fn() -> Histogram);
        store.register("request_duration_seconds", "Time until an object store answers", store_durations.clone());
        let certificates = Family::default();
        let tls = registry.sub_registry_with_prefix("registry_tls");
        tls.register("certificate_expiry_timestamp_seconds", "When a certificate ends", certificates.clone());
        let certificate_loads = Family::default();
        tls.register("certificate_loads", "Times that new files of TLS were read", certificate_loads.clone());
        Metrics {
            registry,
            requests,
            durations,
            request_bytes,
            response_bytes,
            in_flight,
            storage,
            store_requests,
            store_durations,
            certificates,
            certificate_loads,
        }
    }

    /// Everything in OpenMetrics' text form.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail; an empty page would be seen.
        let _ = encode(&mut text, &self.registry);
        text
    }

    pub(crate) fn in_flight(&self, handler: &'static str) -> InFlight {
        let gauge = self.in_flight.get_or_create(&HandlerLabels { handler }).clone();
        gauge.inc();
        InFlight(gauge)
    }

    pub(crate) fn request(
        &self,
        handler: &'static str,
        method: &str,
        code: u16,
        seconds: f64,
        request_bytes: u64,
        response_bytes: u64,
    ) {
        let method = known_method(method);
        self.requests.get_or_create(&RequestLabels { handler, method, code: code.into() }).inc();
        self.durations.get_or_create(&HandlerMethodLabels { handler, method }).observe(seconds);
        self.request_bytes.get_or_create(&HandlerLabels { handler }).observe(request_bytes as f64);
        self.response_bytes.get_or_create(&HandlerLabels { handler }).observe(response_bytes as f64);
    }

    /// Notes when a certificate ends, in seconds since 1970. It is named by its file or its host.
    pub(crate) fn certificate(&self, name: &str, expires: i64) {
        self.certificates.get_or_create(&CertificateLabels { certificate: name.to_owned() }).set(expires);
    }

    /// Counts new files of TLS, or a new certificate of an authority, once for each content.
    pub(crate) fn certificate_load(&self, good: bool) {
        let outcome = if good { "success" } else { "error" };
        self.certificate_loads.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts one request to an object store.
    pub(crate) fn store_request(
        &self,
        driver: &'static str,
        action: &'static str,
        outcome: Outcome,
        elapsed: Duration,
    ) {
        let outcome = outcome.as_str();
        self.store_requests.get_or_create(&StoreRequestLabels { driver, action, outcome }).inc();
        self.store_durations.get_or_create(&ActionLabels { driver, action }).observe(elapsed.as_secs_f64());
    }

    fn action(&self, driver: &'static str, action: &'static str, start: Instant) {
        self.storage.get_or_create(&ActionLabels { driver, action }).observe(start.elapsed().as_secs_f64());
    }
}

/// A client can make up methods, and each would be a series of its own.
fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 6] = ["get", "head", "put", "post", "patch", "delete"];
    KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(method)).unwrap_or("other")
}

/// A request that is being answered, until it is dropped.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A store whose actions are timed. `append` counts the time of the client that sends.
pub(crate) struct Metered {
    inner: Arc<dyn Store>,
    metrics: Arc<Metrics>,
}

impl Metered {
    pub(crate) fn new(inner: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Metered { inner, metrics }
    }

    async fn timed<T>(&self, action: &'static str, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let outcome = work.await;
        self.metrics.action(self.inner.driver(), action, start);
        outcome
    }
}

#[async_trait]
impl Store for Metered {
    fn driver(&self) -> &'static str {
        self.inner.driver()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.timed("Check", self.inner.check()).await
    }

    async fn stat(&self, key: &Key) -> Result<Stat, StoreError> {
        self.timed("Stat", self.inner.stat(key)).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        self.timed("Reader", self.inner.get(key, range)).await
    }

    async fn read(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
        self.timed("GetContent", self.inner.read(key, limit)).await
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.timed("PutContent", self.inner.put(key, content)).await
    }

    async fn put_if_absent(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.timed("PutContentIfAbsent", self.inner.put_if_absent(key, content)).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.timed("Copy", self.inner.copy(from, to)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.timed("Delete", self.inner.delete(key)).await
    }

    async fn delete_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.timed("Delete", self.inner.delete_all(keys)).await
    }

    async fn delete_below(&self, below: &Key) -> Result<u64, StoreError> {
        self.timed("Delete", self.inner.delete_below(below)).await
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<Page, StoreError> {
        self.timed("List", self.inner.list(request)).await
    }

    async fn begin(&self, upload: &UploadKey, started_at: Bytes) -> Result<Progress, StoreError> {
        self.timed("UploadBegin", self.inner.begin(upload, started_at)).await
    }

    async fn resume(&self, upload: &UploadKey, expected: Option<u64>) -> Result<Progress, StoreError> {
        self.timed("UploadOffset", self.inner.resume(upload, expected)).await
    }

    async fn append(&self, upload: &UploadKey, from: Progress, body: Incoming) -> Result<Appended, StoreError> {
        self.timed("Writer", self.inner.append(upload, from, body)).await
    }

    async fn read_upload(&self, upload: &UploadKey, progress: &Progress) -> Result<Outgoing, StoreError> {
        self.timed("Reader", self.inner.read_upload(upload, progress)).await
    }

    async fn finish(&self, upload: &UploadKey, progress: &Progress, to: &Key) -> Result<(), StoreError> {
        self.timed("Move", self.inner.finish(upload, progress, to)).await
    }

    async fn discard(&self, upload: &UploadKey, progress: &Progress) -> Result<(), StoreError> {
        self.timed("Delete", self.inner.discard(upload, progress)).await
    }

    fn writes_directly(&self) -> bool {
        self.inner.writes_directly()
    }

    async fn write(&self, to: &Key, digest: &Digest, body: Incoming) -> Result<Written, StoreError> {
        self.timed("Writer", self.inner.write(to, digest, body)).await
    }

    async fn abort(&self, upload: &UploadKey) -> Result<(), StoreError> {
        self.timed("UploadAbort", self.inner.abort(upload)).await
    }

    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        self.timed("Delete", self.inner.remove_leftovers(below, before)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_distribution() {
        let metrics = Metrics::new();
        metrics.request("blob", "GET", 200, 0.01, 0, 4096);
        metrics.request("blob", "PROPFIND", 405, 0.01, 0, 0);
        metrics.action("filesystem", "Stat", Instant::now());
        let _in_flight = metrics.in_flight("blob");
        metrics.certificate("/tls/tls.crt", 1_800_000_000);
        let text = metrics.text();
        for line in [
            "registry_http_requests_total{handler=\"blob\",method=\"get\",code=\"200\"} 1",
            "registry_http_requests_total{handler=\"blob\",method=\"other\",code=\"405\"} 1",
            "registry_http_request_duration_seconds_count{handler=\"blob\",method=\"get\"} 1",
            "registry_http_response_size_bytes_sum{handler=\"blob\"} 4096.0",
            "registry_http_in_flight_requests{handler=\"blob\"} 1",
            "registry_tls_certificate_expiry_timestamp_seconds{certificate=\"/tls/tls.crt\"} 1800000000",
            "registry_storage_action_seconds_count{driver=\"filesystem\",action=\"Stat\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
