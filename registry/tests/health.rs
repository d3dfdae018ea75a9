//! The checks of a configuration, as `/debug/health` tells of them and every route follows them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_config::Tls;
use berth_registry::Running;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use support::{Client, Server};

const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the debug port says this.
async fn until(debug: &mut Client, expected: &Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = debug.get("/debug/health").await;
        if answer.json() == *expected {
            let status = if *expected == json!({}) { 200 } else { 503 };
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("content-type"), "application/json");
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?} is not {expected}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_failing_check_takes_every_route_out_of_service() {
    let beside = tempfile::tempdir().unwrap();
    let file = beside.path().join("out-of-service");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().to_string();
    let other = Server::start(true, |_| ()).await;
    let uri = format!("http://{}/v2/", other.running.address());
    let yaml = format!(
        "version: 0.1\nstorage: inmemory\nhealth:\n  file: [{{file: {file}, interval: 100ms}}]\n  \
         tcp: [{{addr: \"{port}\", interval: 100ms, timeout: 5s, threshold: 2}}]\n  \
         http: [{{uri: \"{uri}\", interval: 100ms, timeout: 5s, statuscode: 200, headers: {{x-check: [a]}}}}]\n",
        file = file.display()
    );
    let health = berth_config::Config::load(&yaml, Vec::new()).unwrap().config.health;
    let server = Server::start(true, |config| config.health = health).await;
    let (mut client, mut debug) = (server.client().await, server.debug_client().await);
    until(&mut debug, &json!({})).await;
    client.get("/v2/").await.expect(200);

    std::fs::write(&file, "").unwrap();
    let path = file.display().to_string();
    until(&mut debug, &json!({ path.as_str(): "file exists" })).await;
    for target in ["/", "/v2/", "/v2/_catalog", "/v2/a/tags/list", "/elsewhere"] {
        let answer = client.get(target).await;
        assert_eq!(answer.codes(), "503 UNAVAILABLE", "{target}");
        let detail = &answer.json()["errors"][0]["detail"];
        assert_eq!(detail, "health check failed: please see /debug/health", "{target}");
    }
    assert_eq!(client.post("/v2/a/blobs/uploads/", "").await.codes(), "503 UNAVAILABLE");
    std::fs::remove_file(&file).unwrap();
    until(&mut debug, &json!({})).await;
    client.get("/v2/").await.expect(200);

    drop(listener);
    other.running.stop().await;
    let deadline = Instant::now() + PATIENCE;
    let failures = loop {
        let answer = debug.get("/debug/health").await.json();
        if answer.as_object().unwrap().len() == 2 {
            break answer;
        }
        assert!(Instant::now() < deadline, "{answer}");
        tokio::task::yield_now().await;
    };
    let said = |name: &str| failures[name].as_str().unwrap();
    assert!(said(&port).starts_with(&format!("{port}: connection failed: ")), "{failures}");
    assert!(said(&uri).starts_with(&format!("{uri}: error while checking: ")), "{failures}");
    server.running.stop().await;
}

/// An authority that signs for this machine's own address.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { pem: parameters.self_signed(&key).unwrap().pem(), issuer: Issuer::new(parameters, key) }
    }

    /// Puts a certificate and its key into a directory.
    fn issue(&self, directory: &Path) -> Tls {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let (certificate, key_path) = (directory.join("tls.crt"), directory.join("tls.key"));
        std::fs::write(&certificate, parameters.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        Tls { certificate: Some(certificate), key: Some(key_path), ..Tls::default() }
    }
}

/// A registry with TLS, to be asked whether it is well.
async fn asked(tls: &Tls, port: u16) -> Running {
    let mut config = support::config(berth_config::Driver::InMemory);
    config.http.addr = format!("127.0.0.1:{port}");
    config.http.tls = Some(tls.clone());
    berth_registry::start(&config).await.unwrap()
}

/// A server that is a program, since whom it trusts is said in its environment. It ends with the test.
struct Program {
    child: Child,
    address: SocketAddr,
    debug_address: SocketAddr,
}

impl Program {
    fn start(directory: &Path, config: &str, roots: &Path) -> Program {
        std::fs::write(directory.join("config.yml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-registry"));
        command.current_dir(directory).env_clear().env("SSL_CERT_FILE", roots).args(["serve", "config.yml"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let listening = log.find(|line| line.contains("listening")).unwrap();
        // Read to its end, or the program would wait for room.
        std::thread::spawn(move || log.for_each(drop));
        let listening: Value = serde_json::from_str(&listening).unwrap();
        let address = |field: &str| listening[field].as_str().unwrap().parse().unwrap();
        Program { child, address: address("address"), debug_address: address("debug_address") }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until the check at this address fails for a reason that holds these words.
async fn until_failed(debug: &mut Client, uri: &str, words: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = debug.get("/debug/health").await;
        if answer.json()[uri].as_str().is_some_and(|reason| reason.contains(words)) {
            assert_eq!(answer.status, 503);
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?} does not say {words:?}");
        tokio::task::yield_now().await;
    }
}

async fn expect_everywhere(client: &mut Client, expected: &str) {
    for target in ["/", "/v2/", "/v2/_catalog"] {
        assert_eq!(client.get(target).await.codes(), expected, "{target}");
    }
}

/// Whom an https check trusts, and that it recovers: from an authority that is not trusted, which is then added to the
/// file, and from a server that is gone for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_https_check_trusts_the_configured_roots_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let (trusted, stranger) = (Authority::new(), Authority::new());
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, &stranger.pem).unwrap();
    let tls = trusted.issue(directory.path());
    let other = asked(&tls, 0).await;
    let port = other.address().port();
    let uri = format!("https://127.0.0.1:{port}/v2/");
    let config = format!(
        "version: 0.1\nlog: {{formatter: json}}\nstorage: inmemory\n\
         http: {{addr: \"127.0.0.1:0\", debug: {{addr: \"127.0.0.1:0\"}}}}\n\
         health: {{http: [{{uri: \"{uri}\", interval: 100ms, timeout: 5s, threshold: 3}}]}}\n"
    );
    let program = Program::start(directory.path(), &config, &roots);
    let (mut client, mut debug) =
        (Client::connect(program.address).await, Client::connect(program.debug_address).await);
    until_failed(&mut debug, &uri, "invalid peer certificate").await;
    expect_everywhere(&mut client, "503 UNAVAILABLE").await;

    // Beside the other, as a bundle: read for every look.
    let staged = directory.path().join("staged.pem");
    std::fs::write(&staged, stranger.pem + &trusted.pem).unwrap();
    std::fs::rename(staged, &roots).unwrap();
    until(&mut debug, &json!({})).await;
    expect_everywhere(&mut client, "200").await;

    other.stop().await;
    until_failed(&mut debug, &uri, "error while checking").await;
    expect_everywhere(&mut client, "503 UNAVAILABLE").await;
    let again = asked(&tls, port).await;
    until(&mut debug, &json!({})).await;
    expect_everywhere(&mut client, "200").await;
    again.stop().await;
}
