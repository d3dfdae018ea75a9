//! End-to-end tests on the cluster that `berth-e2e up` started, with Berth that `berth-e2e install` put there.
//!
//! Each test has a namespace of its own under the restricted Pod Security Standard, so they run side by side. What
//! concerns the whole cluster, such as removing Berth from it, is in a test program of its own, `lifecycle`.

mod access;
mod admission;
mod auth;
mod chart;
mod collection;
mod conditions;
mod drift;
mod examples;
mod helm;
mod object_store;
mod other_stores;
mod permissions;
mod running;
mod shared_issuer;
mod tls;
mod volume;

/// A Registry that loses its content with its pod: enough for most tests.
const TRANSIENT: &str = "
apiVersion: berth.dev/v1alpha1
kind: Registry
metadata: {name: main}
spec:
  storage: {emptyDir: {}}
";

/// A Registry on a volume.
const ON_A_VOLUME: &str = "
apiVersion: berth.dev/v1alpha1
kind: Registry
metadata: {name: main}
spec:
  storage: {persistentVolumeClaim: {size: 1Gi}}
";
