//! The binary: what it says about a configuration, and how it starts and stops.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::Client;

fn berth(directory: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-registry"));
    command.current_dir(directory).env_clear();
    command
}

#[test]
fn a_wrong_configuration_is_refused_with_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yml");
    let check = |text: &str, variable: Option<(&str, &str)>, expected: &[&str]| {
        std::fs::write(&path, text).unwrap();
        for subcommand in ["check-config", "serve", "garbage-collect"] {
            let output = berth(directory.path()).args([subcommand, "config.yml"]).envs(variable).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{subcommand} {text:?}: {message}");
            for part in expected {
                assert!(message.contains(part), "{subcommand} {text:?}: {part:?} is not in {message:?}");
            }
        }
    };
    check("version: 0.2\nstorage: inmemory\n", None, &["berth-registry: config.yml: ", "version"]);
    check("version: 0.1\n", None, &["storage"]);
    check("version: 0.1\nstorage: {inmemory: {}, filesystem: {}}\n", None, &["storage", "two drivers"]);
    check("version: 0.1\nstorage: inmemory\nhttp: {adr: \":1\"}\n", None, &["http", "adr"]);
    check("version: 0.1\nstorage: inmemory\nhttp: {addr: here}\n", None, &["http.addr", "HOST:PORT"]);
    check("version: 0.1\nstorage: inmemory\nauth: {htpasswd: {}}\n", None, &["auth"]);
    for mode in ["require-any-client-cert", "verify-client-cert-if-given", "require-and-verify-client-cert"] {
        let text = format!(
            "version: 0.1\nstorage: inmemory\nhttp: {{tls: {{certificate: /c, key: /k, clientauth: {mode}}}}}\n"
        );
        check(&text, None, &["http.tls.clientauth", mode, "http.tls.clientcas"]);
    }
    let variable = Some(("REGISTRY_HTTP_DRAINTIMEOUT", "soon"));
    check("version: 0.1\nstorage: inmemory\n", variable, &["draintimeout"]);
    let missing = berth(directory.path()).args(["serve", "none.yml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).starts_with("berth-registry: cannot read none.yml: "));
}

/// What only the server knows, but sees without looking at a file.
#[test]
fn the_check_refuses_what_the_server_refuses() {
    let directory = tempfile::tempdir().unwrap();
    for (http, expected) in [
        ("{headers: {'X A': [a]}}", "http.headers: \"X A\" is no header name"),
        ("{tls: {certificate: /c, key: /k, ciphersuites: [FOO]}}", "http.tls.ciphersuites: FOO is not offered"),
        ("{tls: {letsencrypt: {cachefile: c, hosts: [127.0.0.1]}}}", "http.tls.letsencrypt.hosts: \"127.0.0.1\""),
    ] {
        let text = format!("version: 0.1\nstorage: inmemory\nhttp: {http}\n");
        std::fs::write(directory.path().join("c.yml"), text).unwrap();
        for subcommand in ["check-config", "serve"] {
            let output = berth(directory.path()).args([subcommand, "c.yml"]).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{subcommand} {http}: {message}");
            assert!(message.contains(expected), "{subcommand} {http}: {message}");
            assert!(output.stdout.is_empty(), "{subcommand} {http}");
        }
    }
}

/// A configuration is often checked where its files are not.
#[test]
fn absent_files_are_warned_of_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {realm: r, path: users}}\n";
    std::fs::write(directory.path().join("c.yml"), text).unwrap();
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let output = berth(directory.path()).arg("check-config").args(arguments).arg("c.yml").output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.starts_with(expected) && message.is_empty() == expected.is_empty(), "{arguments:?}: {message}");
        assert_eq!(output.stdout.is_empty(), code != 0, "{arguments:?}");
    };
    check(&[], 0, "warning: auth.htpasswd.path: there is no users here\n");
    check(&["--files"], 1, "berth-registry: auth.htpasswd.path: ");
    std::fs::write(directory.path().join("users"), "no entry\n").unwrap();
    check(&[], 0, "");
    check(&["--files"], 1, "berth-registry: auth.htpasswd.path: ");
    std::fs::write(directory.path().join("users"), "").unwrap();
    check(&["--files"], 0, "");
}

#[test]
fn the_effective_configuration_is_shown_without_secrets() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("c.yml"), "version: 0.1\nstorage: inmemory\nhttp: {secret: hush}\n").unwrap();
    let variables = [("REGISTRY_CONFIGURATION_PATH", "c.yml"), ("REGISTRY_HTTP_ADDR", "127.0.0.1:7")];
    let output = berth(directory.path()).arg("check-config").envs(variables).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("127.0.0.1:7") && text.contains("inmemory"), "{text}");
    assert!(!text.contains("hush") && text.contains("hidden"), "{text}");
}

#[test]
fn the_version_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let output = berth(directory.path()).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("berth-registry {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_address_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = berth(directory.path()).arg("serve").env("REGISTRY_HTTP_ADDR", &address).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains(&format!("http.addr: cannot listen on {address}")), "{message}");
}

/// A response that is being sent when SIGTERM arrives is sent to its end, while new connections are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_requests_in_flight_end() {
    use http_body_util::BodyExt;

    const SIZE: usize = 32 * 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let mut child = berth(directory.path())
        .arg("serve")
        .envs([("REGISTRY_HTTP_ADDR", "127.0.0.1:0"), ("REGISTRY_LOG_FORMATTER", "json")])
        .envs([("REGISTRY_LOG_FIELDS_CLUSTER", "lab")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut line = |word: &str| {
        let line = log.find(|line| line.contains(word)).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    let listening = line("listening");
    assert_eq!(listening["cluster"], "lab");
    let address = listening["address"].as_str().unwrap().parse().unwrap();
    let digest = Client::connect(address).await.push_blob("a", vec![1_u8; SIZE]).await;

    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get(format!("/v2/a/blobs/{digest}"))
        .header("host", "x")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let mut received = body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    line("SIGTERM");
    let deadline = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "new connections are still accepted");
    }
    while let Some(frame) = body.frame().await {
        received += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(received, SIZE);
    drop(sender);
    let _ = connection.await;
    line("stopped");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_server_that_waits_for_a_collection_can_be_stopped() {
    for (signal, name) in [("-TERM", "SIGTERM"), ("-INT", "SIGINT")] {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("data/berth/v1");
        std::fs::create_dir_all(&own).unwrap();
        let collecting = std::fs::File::create(own.join("collecting")).unwrap();
        collecting.lock().unwrap();
        let mut child = berth(directory.path()).arg("serve").stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(log.any(|line| line.contains("waiting for another server to end its garbage collection")));
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(20);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("{name} is ignored");
            }
            std::thread::yield_now();
        }
        assert!(child.wait().unwrap().success());
        assert!(log.any(|line| line.contains(name)));
    }
}

/// What a directory holds is served when nothing can be written there, not even a lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_server_needs_no_writable_directory() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65534;
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("berth-registry");
    // Copied by a process of its own: this one forks in other threads, and a child that holds the copy open for writing
    // until its own program begins would keep it from being run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_berth-registry")).arg(&binary).status().unwrap();
    assert!(copied.success());
    let data = directory.path().join("data");
    let layers = data.join("docker/registry/v2/repositories/a/_manifests/tags/t/current");
    std::fs::create_dir_all(&layers).unwrap();
    let allow = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(directory.path(), 0o755);
    allow(&data, 0o555);
    let serve = |read_only: &str| {
        let mut command = Command::new(&binary);
        command.current_dir(directory.path()).env_clear().arg("serve").stderr(Stdio::piped());
        command.envs([("REGISTRY_HTTP_ADDR", "127.0.0.1:0"), ("REGISTRY_LOG_FORMATTER", "json")]);
        command.env("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", read_only);
        if std::fs::metadata(directory.path()).unwrap().uid() == 0 {
            // The permissions say nothing to root.
            command.uid(NOBODY).gid(NOBODY);
        }
        command.spawn().unwrap()
    };

    let output = serve("false").wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "who may write must be able to");

    let mut child = serve("true");
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(log.any(|line| line.contains("the directory cannot be written: serving without a lock")));
    let listening = log.find(|line| line.contains("listening")).unwrap();
    let listening: serde_json::Value = serde_json::from_str(&listening).unwrap();
    let address: std::net::SocketAddr = listening["address"].as_str().unwrap().parse().unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/v2/_catalog").header("host", "x");
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    child.kill().unwrap();
    child.wait().unwrap();
    allow(&data, 0o755);
}
