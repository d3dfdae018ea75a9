//! The recipes of `examples/reverse-proxy`, run by real proxies.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth_config::Net;
use berth_oci::Digest;
use berth_registry::Endpoint;
use bytes::Bytes;
use futures::SinkExt;
use http::{Method, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::pki::Authority;
use crate::programs::{Program, free_address, named, until};
use crate::support::{Client, Server};
use crate::wire::{HTTP1, HTTP2, Offer, Wire, full, piecewise};

/// More than any buffer in between, and more than the default limit of nginx.
const PIECE_BYTES: usize = 16 * 1024 * 1024;

/// A recipe with its addresses and files replaced by those of the test.
fn recipe(file: &str, replaced: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/reverse-proxy").join(file);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in replaced {
        assert!(text.contains(from), "{file} has no {from}");
        text = text.replace(from, to);
    }
    text
}

async fn nginx(root: &Path, directory: &Path, server: &Endpoint, address: SocketAddr) -> Program {
    nginx_before(root, directory, &format!("{server};"), address).await
}

/// In front of these servers, as `upstream` has them.
async fn nginx_before(root: &Path, directory: &Path, servers: &str, address: SocketAddr) -> Program {
    let here = directory.to_str().unwrap();
    let site = recipe(
        "nginx.conf",
        &[("listen 443 ", &format!("listen {address} ")), ("/etc/nginx/tls", here), ("127.0.0.1:5000;", servers)],
    );
    // One process, which ends with the test.
    let whole = format!(
        "daemon off; master_process off; user root; pid {here}/nginx.pid; error_log stderr info;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path \
         {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n{site}\n}}\n"
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, whole).unwrap();
    let mut command = Command::new(root.join("usr/sbin/nginx"));
    command.arg("-c").arg(file).arg("-p").arg(directory).args(["-e", "stderr"]);
    Program::start(&mut command, &directory.join("nginx.log"), address).await
}

async fn apache(root: &Path, directory: &Path, server: &Endpoint, address: SocketAddr) -> Program {
    let here = directory.to_str().unwrap();
    let upstream = match server {
        Endpoint::Tcp(address) => format!("http://{address}/"),
        Endpoint::Unix(_) => format!("{server}|http://localhost/"),
    };
    let site = recipe(
        "apache.conf",
        &[("*:443", &address.to_string()), ("/etc/apache2/tls", here), ("http://127.0.0.1:5000/", &upstream)],
    );
    let modules = root.join("usr/lib/apache2/modules");
    let load = ["mpm_event", "authz_core", "env", "headers", "http2", "proxy", "proxy_http", "socache_shmcb", "ssl"];
    let load = load.map(|name| format!("LoadModule {name}_module {}/mod_{name}.so\n", modules.display())).concat();
    let whole = format!(
        "{load}ServerRoot {here}\nServerName localhost\nPidFile {here}/apache.pid\nDefaultRuntimeDir {here}\n\
         User www-data\nGroup www-data\nMutex posixsem\nKeepAliveTimeout 120\nListen {address}\nErrorLog /dev/stderr\nLogLevel info\n{site}\n"
    );
    let file = directory.join("apache.conf");
    std::fs::write(&file, whole).unwrap();
    let mut command = Command::new(root.join("usr/sbin/apache2"));
    // One process, which ends with the test.
    command.arg("-X").arg("-f").arg(file).env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
    Program::start(&mut command, &directory.join("apache.log"), address).await
}

/// Whether a request has reached the server whose answer has not begun.
async fn is_in_flight(debug: &mut Client) -> bool {
    let text = String::from_utf8(debug.get("/metrics").await.body.to_vec()).unwrap();
    let mut counts = text.lines().filter(|line| line.starts_with("registry_http_in_flight_requests{"));
    counts.any(|line| !line.ends_with(" 0"))
}

/// A push in two chunks of a length that nobody knows beforehand, and a pull, over one connection.
async fn push_and_pull(wire: &mut Wire, debug: &mut Client, prefix: &str) {
    let base = format!("https://{}", wire.host);
    // What a client says of the address that it has asked is not believed.
    let lies =
        [("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "http"), ("forwarded", "host=evil.example")];
    let target = format!("{prefix}/v2/team/app/blobs/uploads/");
    let begun = wire.send_with(Method::POST, &target, &lies, full("")).await.unwrap().expect(202);
    let mut location = begun.header("location").to_owned();
    let mut content = Vec::new();
    for number in 0..2_u8 {
        let path = location.strip_prefix(&base).unwrap_or_else(|| panic!("{location} is not below {base}")).to_owned();
        assert!(path.starts_with(&target), "{path}");
        let pieces = [vec![number; PIECE_BYTES], vec![number + 100; PIECE_BYTES]].map(Bytes::from);
        let (mut sender, body) = piecewise();
        let headers = [("content-type", "application/octet-stream")];
        let sending = async {
            sender.send(pieces[0].clone()).await.unwrap();
            // The second half follows only when the first has reached the server: nothing waits for the whole.
            until(async || is_in_flight(debug).await).await;
            sender.send(pieces[1].clone()).await.unwrap();
            drop(sender);
        };
        let (answer, ()) = tokio::join!(wire.send_with(Method::PATCH, &path, &headers, body), sending);
        location = answer.unwrap().expect(202).header("location").to_owned();
        content.extend(pieces.concat());
    }
    let digest = Digest::sha256(&content);
    let path = location.strip_prefix(&base).unwrap().to_owned();
    let finished = wire.send(Method::PUT, &format!("{path}&digest={digest}"), full("")).await.unwrap().expect(201);
    let blob = format!("{prefix}/v2/team/app/blobs/{digest}");
    assert_eq!(finished.header("location"), format!("{base}{blob}"));

    let pulled = wire.send(Method::GET, &blob, full("")).await.unwrap().expect(200);
    assert_eq!(pulled.header("docker-content-digest"), digest.as_str());
    assert!(pulled.body == content, "other bytes came back");
    let part = wire.send_with(Method::GET, &blob, &[("range", "bytes=5-9")], full("")).await.unwrap().expect(206);
    assert_eq!(part.body, content[5..10]);
    let head = wire.send(Method::HEAD, &blob, full("")).await.unwrap().expect(200);
    assert_eq!(head.header("content-length"), content.len().to_string());

    // One request with a body whose length is known.
    let whole = vec![7_u8; PIECE_BYTES];
    let digest = Digest::sha256(&whole);
    let target = format!("{prefix}/v2/team/app/blobs/uploads/?digest={digest}");
    wire.send(Method::POST, &target, full(whole)).await.unwrap().expect(201);
    // A mount names its source with an encoded slash.
    let target = format!("{prefix}/v2/team/other/blobs/uploads/?mount={digest}&from=team%2Fapp");
    let mounted = wire.send(Method::POST, &target, full("")).await.unwrap().expect(201);
    assert_eq!(mounted.header("location"), format!("{base}{prefix}/v2/team/other/blobs/{digest}"));
    // An error of the registry reaches the client as it is.
    let missing = wire.send(Method::GET, &format!("{prefix}/v2/none/tags/list"), full("")).await.unwrap();
    assert_eq!(missing.codes(), "404 NAME_UNKNOWN");
}

/// Lets the proxies' user connect to a socket, if they run as another: through its group, as the page says.
fn let_in(directory: &Path, socket: &Path) {
    /// `www-data` of Debian.
    const GROUP: u32 = 33;
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(directory, Permissions::from_mode(0o711)).unwrap();
        std::os::unix::fs::chown(socket, None, Some(GROUP)).unwrap();
    }
}

/// At the root over TCP, and below a path over a Unix socket.
async fn behind(start: impl AsyncFn(&Path, &Path, &Endpoint, SocketAddr) -> Program) {
    let root = named("BERTH_PROXIES");
    let authority = Authority::new("test");
    for (prefix, socket) in [("", None), ("/hub", Some("registry.sock"))] {
        let directory = tempfile::tempdir().unwrap();
        authority.issue("localhost").write(directory.path());
        let socket = socket.map(|name| directory.path().join(name));
        let server = Server::start(false, |config| {
            if !prefix.is_empty() {
                config.http.prefix = format!("{prefix}/");
            }
            if let Some(socket) = &socket {
                (config.http.net, config.http.addr) = (Net::Unix, socket.to_str().unwrap().to_owned());
            }
        })
        .await;
        if let Some(socket) = &socket {
            let_in(directory.path(), socket);
        }
        let address = free_address();
        let _proxy = start(&root, directory.path(), server.running.endpoint(), address).await;
        let mut debug = server.debug_client().await;
        for protocol in [HTTP1, HTTP2] {
            let config = Offer { protocols: &[protocol], ..Offer::to(&authority) }.config();
            let mut wire = Wire::tls(address, config).await.unwrap();
            wire.host = format!("localhost:{}", address.port());
            push_and_pull(&mut wire, &mut debug, prefix).await;
        }
        server.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx: make transport"]
async fn behind_nginx() {
    behind(nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache: make transport"]
async fn behind_apache() {
    behind(apache).await;
}

/// A server that reads the head of each request and hangs up; how many heads it has read.
async fn hangs_up(counter: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            // Somebody who only looks whether the port is open sends nothing.
            if stream.read(&mut head).await.is_ok_and(|length| length > 0) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    address
}

/// A write that has reached one replica is not sent to another, which would undo or deny it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx: make transport"]
async fn nginx_gives_a_request_to_one_replica() {
    let root = named("BERTH_PROXIES");
    let (authority, directory) = (Authority::new("test"), tempfile::tempdir().unwrap());
    authority.issue("localhost").write(directory.path());
    let counter = Arc::new(AtomicUsize::new(0));
    let (one, other) = (hangs_up(counter.clone()).await, hangs_up(counter.clone()).await);
    let address = free_address();
    // Or nginx would keep both from requests after the first failure of each.
    let servers = format!("{one} max_fails=0; server {other} max_fails=0;");
    let _proxy = nginx_before(&root, directory.path(), &servers, address).await;
    let config = Offer { protocols: &[HTTP1], ..Offer::to(&authority) }.config();
    for (sent, method) in [Method::PUT, Method::DELETE, Method::PATCH, Method::POST].into_iter().enumerate() {
        let mut wire = Wire::tls(address, config.clone()).await.unwrap();
        let answer = wire.send(method.clone(), "/v2/a/manifests/v1", full("")).await.unwrap();
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{method}");
        assert_eq!(counter.load(Ordering::Relaxed), sent + 1, "{method}");
    }
}
