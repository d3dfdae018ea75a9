//! [client] The pods of a Registry, asked whether they reach their object store.
//!
//! A server answers `GET /debug/storage` on its debug port with what its own look at the store came to, whether it is ready
//! or not. A few pods are asked, all at once, each for a bounded time and a short answer, and nothing that one says leads
//! anywhere else.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{StatusCode, Uri};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use crate::{names, probe};

/// The most pods that are asked: one that is not ready is asked first, so it is not missed for many that are.
const MAX_ASKED: usize = 3;
/// How long one may take. A server gives its store ten seconds, and that it got no answer within them is an answer, too.
const TIMEOUT: Duration = Duration::from_secs(12);
/// The longest answer.
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// What one pod answered.
#[derive(Debug)]
pub struct Answer {
    /// Its name.
    pub pod: String,
    /// What it told, or why nothing.
    pub told: Result<Told, Silence>,
}

/// What a server tells of its store. Whoever reads it passes over fields that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Told {
    /// Where the content lies, in the server's words.
    #[serde(default)]
    pub place: Option<String>,
    /// Whether the store is reached and may be used.
    pub reachable: bool,
    /// A word for why not.
    #[serde(default)]
    pub reason: Option<String>,
    /// A sentence for why not, with the store's own error.
    #[serde(default)]
    pub message: Option<String>,
    /// Whether that may pass by itself, as a store that is too busy does. Servers of earlier versions do not say.
    #[serde(default)]
    pub transient: bool,
}

/// Why a pod tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    /// It does not answer.
    #[error(transparent)]
    Probe(#[from] probe::Error),
    /// It took too long.
    #[error("no answer within {} s; a NetworkPolicy may keep the operator from port {}", TIMEOUT.as_secs(), names::DEBUG_PORT)]
    Timeout,
    /// It answers something else.
    #[error("it answers {0}: its image may be of an earlier version")]
    Status(StatusCode),
    /// The answer cannot be read.
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// A pod that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub pod: String,
    /// Where it answers.
    pub address: SocketAddr,
    /// Whether it is ready.
    pub ready: bool,
}

/// Asks pods, all at once.
pub(super) async fn ask(pods: Vec<Asked>) -> Vec<Answer> {
    let asked = pods
        .into_iter()
        .map(|Asked { pod, address, .. }| async move { Answer { pod, told: ask_one(address, TIMEOUT).await } });
    futures::future::join_all(asked).await
}

async fn ask_one(address: SocketAddr, timeout: Duration) -> Result<Told, Silence> {
    let uri = Uri::builder().scheme("http").authority(address.to_string()).path_and_query("/debug/storage").build();
    // An address and a port are always an authority.
    let uri = uri.map_err(|_| Silence::Timeout)?;
    let answer = tokio::time::timeout(timeout, probe::get(uri, MAX_ANSWER_BYTES));
    match answer.await.map_err(|_| Silence::Timeout)?? {
        (StatusCode::OK, body) => Ok(serde_json::from_slice(&body)?),
        (status, _) => Err(Silence::Status(status)),
    }
}

/// [pure] The pods that can be asked: those that are not ready first, and of either the newest.
pub(super) fn chosen(pods: &[Pod]) -> Vec<Asked> {
    let mut running: Vec<(&Pod, IpAddr)> = pods.iter().filter_map(|pod| Some((pod, address_of(pod)?))).collect();
    running.sort_by(|(a, _), (b, _)| {
        let newest_first = b.metadata.creation_timestamp.cmp(&a.metadata.creation_timestamp);
        is_ready(a).cmp(&is_ready(b)).then(newest_first).then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    let port = u16::try_from(names::DEBUG_PORT).unwrap_or_default();
    let asked = running.into_iter().take(MAX_ASKED).map(|(pod, ip)| Asked {
        pod: pod.metadata.name.clone().unwrap_or_default(),
        address: SocketAddr::new(ip, port),
        ready: is_ready(pod),
    });
    asked.collect()
}

/// The address of a pod that runs and is to stay.
fn address_of(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Running"))?;
    status.pod_ip.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?.parse().ok()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    /// What a pod tells that answers with this.
    async fn of(answer: &'static str) -> Result<Told, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /debug/storage HTTP/1.1\r\n"));
            // Whoever has heard enough hangs up.
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        ask_one(address, TIMEOUT).await.map_err(|silence| silence.to_string().replace(&address.to_string(), "POD"))
    }

    fn text(body: &str) -> &'static str {
        Box::leak(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_boxed_str())
    }

    #[tokio::test]
    async fn a_pod_is_asked() {
        let body = r#"{"driver": "s3", "place": "s3://b", "reachable": true, "reason": null, "message": null,
            "checked": "2026-01-01T00:00:00Z", "more": 1}"#;
        let place = Some("s3://b".to_owned());
        assert_eq!(
            of(text(body)).await,
            Ok(Told { place, reachable: true, reason: None, message: None, transient: false })
        );
        let (reason, message) = (Some("AccessDenied".to_owned()), Some("no".to_owned()));
        let mut told = Told { place: None, reachable: false, reason, message, transient: false };
        let body = r#"{"reachable": false, "reason": "AccessDenied", "message": "no"}"#;
        assert_eq!(of(text(body)).await, Ok(told.clone()));
        told.transient = true;
        let body = r#"{"reachable": false, "reason": "AccessDenied", "message": "no", "transient": true}"#;
        assert_eq!(of(text(body)).await, Ok(told));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_said() {
        let silence = of("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap_err();
        assert!(silence.starts_with("it answers 404 Not Found"), "{silence}");
        // It is not followed.
        let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        let silence = of(elsewhere).await.unwrap_err();
        assert!(silence.starts_with("it answers 302 Found"), "{silence}");
        let silence = of(text("fine")).await.unwrap_err();
        assert!(silence.starts_with("its answer cannot be read: "), "{silence}");
        let silence = of(text(&" ".repeat(MAX_ANSWER_BYTES + 1))).await.unwrap_err();
        assert!(silence.contains("more than 16384 bytes"), "{silence}");
        let silence = of("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").await.unwrap_err();
        assert!(silence.starts_with("http://POD/debug/storage: no answer: "), "{silence}");
    }

    #[tokio::test]
    async fn a_pod_that_does_not_answer_holds_nobody_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silence = ask_one(listener.local_addr().unwrap(), Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(silence, Silence::Timeout), "{silence}");
    }

    #[test]
    fn those_that_are_not_ready_are_asked_first() {
        let pod = |name: &str, second: u8, ready: &str, extra: Value| {
            let mut pod = json!({"metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
                "status": {"phase": "Running", "podIP": format!("10.0.0.{second}"),
                    "conditions": [{"type": "Ready", "status": ready}]}});
            for (key, value) in extra.as_object().unwrap() {
                pod["status"][key] = value.clone();
            }
            pod
        };
        let mut leaving = pod("leaving", 9, "False", json!({}));
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
        let pods = json!([
            pod("old", 1, "True", json!({})),
            pod("new", 2, "True", json!({})),
            pod("broken", 0, "False", json!({"podIP": "fd00::1"})),
            pod("middle", 1, "True", json!({})),
            pod("pending", 8, "False", json!({"phase": "Pending"})),
            pod("nowhere", 8, "False", json!({"podIP": null})),
            leaving,
        ]);
        let pods: Vec<Pod> = serde_json::from_value(pods).unwrap();
        let shown = |Asked { pod, address, ready }| format!("{pod} {address} {ready}");
        let found: Vec<_> = chosen(&pods).into_iter().map(shown).collect();
        assert_eq!(found, ["broken [fd00::1]:5001 false", "new 10.0.0.2:5001 true", "middle 10.0.0.1:5001 true"]);
    }
}
