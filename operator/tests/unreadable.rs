//! The controllers over a socket, against the few answers of an API server that they need: what a real one does only
//! now and then. It would not store the resources that cannot be read here any more, but may hold them from before; and it has
//! none of the Secrets that they name.
#![expect(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use berth_operator::{
    Settings,
    context::{Attempts, Context},
    controllers::{self, Scope},
    events::Events,
    metrics::Metrics,
    registry::{asks::Asks, settled::Settled},
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::runtime::events::Reporter;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

const REGISTRIES: &str = "/apis/berth.dev/v1alpha1/namespaces/team/registries";

fn registry(name: &str, max_skew: i64) -> Value {
    json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
        "metadata": {"name": name, "namespace": "team", "uid": name, "generation": 3, "resourceVersion": "1"},
        "spec": {"storage": {"emptyDir": {}}, "topologySpreadConstraints": [
            {"maxSkew": max_skew, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]}})
}

/// A Registry whose Secret is not there.
fn without_secret(name: &str, replicas: i32) -> Value {
    json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
        "metadata": {"name": name, "namespace": "team", "uid": name, "generation": 1, "resourceVersion": "1"},
        "spec": {"replicas": replicas, "readOnly": true, "storage": {"s3": {"bucket": "acme", "region": "r",
            "credentials": {"secretRef": {"name": "s3"}}}}}})
}

fn policy() -> Value {
    json!({"apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy",
        "metadata": {"name": "nightly", "namespace": "team", "uid": "nightly", "generation": 1, "resourceVersion": "1"},
        "spec": {"registryRef": {"name": "good"}, "schedule": "@daily", "failedRunsHistoryLimit": 3_000_000_000_i64}})
}

/// What an API server with these resources answers, and what was written to it.
#[derive(Default)]
struct Cluster {
    /// How many more lists of Registries are refused.
    refusals: AtomicUsize,
    written: Mutex<Vec<(String, Value)>>,
}

impl Cluster {
    fn answer(&self, method: &Method, path: &str, body: Value) -> (StatusCode, Value) {
        let resources = [
            ("good", registry("good", 1)),
            ("bad", registry("bad", 3_000_000_000)),
            ("waiting", without_secret("waiting", 2)),
            ("stopped", without_secret("stopped", 0)),
        ];
        let list = |items: Vec<Value>| json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
        if *method != Method::GET {
            self.written.lock().unwrap().push((path.to_owned(), body.clone()));
            // What is applied comes back; what is patched comes back as it was read.
            let found = resources.iter().find(|(name, _)| path.starts_with(&format!("{REGISTRIES}/{name}/")));
            let fallback = if path.contains("/gcpolicies/") { policy() } else { body };
            return (StatusCode::OK, found.map_or(fallback, |(_, resource)| resource.clone()));
        }
        if path == "/apis/berth.dev/v1alpha1/registries" {
            let refused = self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if refused.is_ok() {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                    "reason": "Forbidden", "message": "registries is forbidden"});
                return (StatusCode::FORBIDDEN, status);
            }
            return (StatusCode::OK, list(resources.map(|(_, resource)| resource).to_vec()));
        }
        if path == "/apis/berth.dev/v1alpha1/gcpolicies" {
            return (StatusCode::OK, list(vec![policy()]));
        }
        if path.ends_with("/gcpolicies/nightly") {
            return (StatusCode::OK, policy());
        }
        if let Some((_, resource)) = resources.into_iter().find(|(name, _)| path == format!("{REGISTRIES}/{name}")) {
            return (StatusCode::OK, resource);
        }
        let last = path.rsplit('/').next().unwrap_or_default();
        if last.ends_with('s') && last != "events" {
            return (StatusCode::OK, list(Vec::new()));
        }
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
            "reason": "NotFound", "message": format!("{path} is not there")});
        (StatusCode::NOT_FOUND, status)
    }

    /// The status that was written last to a resource.
    fn status(&self, resource: &str) -> Option<Value> {
        let written = self.written.lock().unwrap();
        let of = format!("/{resource}/status");
        let (_, patch) = written.iter().rev().find(|(path, _)| path.ends_with(&of))?;
        Some(patch.as_array()?.last()?["value"].clone())
    }

    fn has_applied(&self, path: &str) -> bool {
        self.written.lock().unwrap().iter().any(|(written, _)| written == path)
    }
}

async fn serve(listener: TcpListener, cluster: Arc<Cluster>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let cluster = Arc::clone(&cluster);
                async move {
                    let (parts, body) = request.into_parts();
                    if parts.uri.query().is_some_and(|query| query.contains("watch=true")) {
                        // Nothing ever changes.
                        std::future::pending::<()>().await;
                    }
                    let body = body.collect().await.unwrap().to_bytes();
                    let body = serde_json::from_slice(&body).unwrap_or_default();
                    let (status, answer) = cluster.answer(&parts.method, parts.uri.path(), body);
                    let mut response = Response::new(Full::<Bytes>::from(answer.to_string()));
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The controllers at work on a cluster; they end with the value.
struct Working {
    context: Arc<Context>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

async fn work(cluster: &Arc<Cluster>) -> Working {
    // Another test may have been here before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, Arc::clone(cluster)));
    let client = kube::Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap();
    let reporter = Reporter { controller: "test".into(), instance: None };
    let context = Arc::new(Context {
        events: Events::new(client.clone(), reporter),
        client,
        settings: Settings::default(),
        metrics: Metrics::default(),
        attempts: Attempts::default(),
        settled: Settled::default(),
        asks: Asks::default(),
        watches: Arc::default(),
    });
    let running = controllers::run(Arc::clone(&context), vec![Scope::Cluster], CancellationToken::new());
    let _tasks = [serving, tokio::spawn(running)].map(AbortOnDropHandle::new);
    Working { context, _tasks }
}

async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

fn stalled(status: &Value) -> Option<String> {
    let conditions = status["conditions"].as_array()?;
    let stalled = conditions.iter().find(|condition| condition["type"] == "Stalled")?;
    Some(format!("{}: {}", stalled["reason"].as_str()?, stalled["message"].as_str()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_stops_nobody_else() {
    let cluster = Arc::new(Cluster::default());
    let _working = work(&cluster).await;
    let deployment = "/apis/apps/v1/namespaces/team/deployments/good";
    until("the other Registry is applied", || cluster.has_applied(deployment).then_some(())).await;
    let told = until("the one is stalled", || stalled(&cluster.status("bad")?)).await;
    assert!(told.starts_with("Unreadable: spec.topologySpreadConstraints[0].maxSkew: "), "{told}");
    let told = until("the policy is stalled", || stalled(&cluster.status("nightly")?)).await;
    assert!(told.starts_with("Unreadable: spec.failedRunsHistoryLimit: "), "{told}");
    assert!(!cluster.has_applied("/apis/apps/v1/namespaces/team/deployments/bad"));
}

/// A Secret that is missing keeps pods from being made or changed, and nothing else; where there are to be no pods, not even
/// that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_holds_the_pods_back_alone() {
    let cluster = Arc::new(Cluster::default());
    let _working = work(&cluster).await;
    let told = until("one waits", || stalled(&cluster.status("waiting")?)).await;
    assert!(told.starts_with("SecretNotFound: "), "{told}");
    for object in ["serviceaccounts/waiting", "services/waiting", "services/waiting-debug", "configmaps/waiting-state"]
    {
        assert!(cluster.has_applied(&format!("/api/v1/namespaces/team/{object}")), "{object}");
    }
    assert!(!cluster.has_applied("/apis/apps/v1/namespaces/team/deployments/waiting"));
    let stopped = "/apis/apps/v1/namespaces/team/deployments/stopped";
    until("one is stopped", || cluster.has_applied(stopped).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_ready_who_cannot_list() {
    let cluster = Arc::new(Cluster { refusals: AtomicUsize::new(2), ..Cluster::default() });
    let working = work(&cluster).await;
    let failing = || working.context.watches.failing();
    let failed = until("a list fails", || failing().into_iter().next()).await;
    assert!(failed.starts_with("registries in all namespaces, for "), "{failed}");
    until("the lists succeed", || failing().is_empty().then_some(())).await;
}

/// Two runs that end alike are two events, and what is said again is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_text_is_another_event() {
    let cluster = Arc::new(Cluster::default());
    let working = work(&cluster).await;
    let resource: berth_crds::GCPolicy = {
        let mut readable = policy();
        readable["metadata"]["name"] = json!("other");
        readable["spec"]["failedRunsHistoryLimit"] = json!(1);
        serde_json::from_value(readable).unwrap()
    };
    let announcer = working.context.announcer(&resource);
    for note in ["run a freed 1B", "run b freed 2B", "run b freed 2B"] {
        announcer.normal("RunClean", note.into(), None).await;
    }
    let written = cluster.written.lock().unwrap();
    let events = written.iter().filter(|(_, event)| event["regarding"]["name"] == "other");
    let told: Vec<_> =
        events.map(|(_, event)| (event["note"].as_str().unwrap(), event["series"]["count"].as_i64())).collect();
    assert_eq!(told, [("run a freed 1B", None), ("run b freed 2B", None), ("run b freed 2B", Some(2))]);
}
