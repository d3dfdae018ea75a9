//! That each server starts, answers as it should, and ends. Run by `make stores`, which installs them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Write as _;
use std::net::SocketAddrV4;
use std::process::{Command, Stdio};

use berth_stores::{Azurite, Certificate, Dialect, FakeGcs, Kind, Moto, Programs, Proxy, Swift, Versitygw};
use bytes::Bytes;
use hmac::{KeyInit as _, Mac as _};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Sends one request.
async fn send(address: SocketAddrV4, request: http::request::Builder, body: &'static [u8]) -> Response<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = request.header(header::HOST, address.to_string()).body(Full::<Bytes>::from(body)).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

fn text(response: &Response<Bytes>) -> String {
    String::from_utf8_lossy(response.body()).into_owned()
}

/// Who has an address is told by trying.
fn is_free(address: SocketAddrV4) -> bool {
    std::net::TcpListener::bind(address).is_ok()
}

/// What a program prints of itself.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Has curl fetch a URL over TLS from a server with this certificate, and says its status.
fn fetched_over_tls(url: &str, certificate: &Certificate, directory: &std::path::Path) -> String {
    let file = directory.join("authority.pem");
    std::fs::write(&file, &certificate.pem).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert"]).arg(file).arg(url);
    printed(&mut curl)
}

/// Has curl sign and send a request of S3, and says its status and body.
fn signed(server: &Versitygw, secret: &str, url: &str, options: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--config", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut curl = curl.spawn().unwrap();
    let user = format!("{}:{secret}", server.access_key);
    let signature = format!("aws:amz:{}:s3", server.region);
    write!(
        curl.stdin.take().unwrap(),
        "url = \"{url}\"\nuser = \"{user}\"\naws-sigv4 = \"{signature}\"\n\
         header = \"x-amz-content-sha256: UNSIGNED-PAYLOAD\"\nwrite-out = \" %{{http_code}}\"\n{options}\n"
    )
    .unwrap();
    String::from_utf8(curl.wait_with_output().unwrap().stdout).unwrap()
}

#[tokio::test]
#[ignore = "needs versitygw: make stores"]
async fn signatures_stay_right_through_the_proxy() {
    let server = Versitygw::start(&Programs::from_env()).await.unwrap();
    server.create_bucket("bucket").unwrap();
    let proxy = Proxy::start(server.address, Dialect::S3).unwrap();
    let url = format!("{}/bucket/a/key", proxy.endpoint());
    let put = signed(
        &server,
        &server.secret_key,
        &url,
        "request = \"PUT\"\nheader = \"Expect: 100-continue\"\ndata-raw = \"content\"",
    );
    assert_eq!(put, " 200");
    assert_eq!(signed(&server, &server.secret_key, &url, ""), "content 200");
    let forged = signed(&server, "wrong", &url, "");
    assert!(forged.contains("SignatureDoesNotMatch") && forged.ends_with(" 403"), "{forged}");
    let listing = signed(&server, &server.secret_key, &format!("{}/bucket?list-type=2", proxy.endpoint()), "");
    assert!(listing.contains("<Key>a/key</Key>"), "{listing}");
    let counts = proxy.counts();
    assert_eq!((counts.of(&Method::PUT, Kind::Object), counts.of(&Method::GET, Kind::Object)), (1, 2));
    assert_eq!((counts.of_kind(Kind::Listing), counts.total()), (1, 4));
}

#[tokio::test]
#[ignore = "needs versitygw: make stores"]
async fn versitygw_starts_answers_and_ends() {
    let programs = Programs::from_env();
    // Two at once do not know of each other.
    let (one, other) = tokio::try_join!(Versitygw::start(&programs), Versitygw::start(&programs)).unwrap();
    one.create_bucket("bucket").unwrap();
    let unsigned = send(one.address, Request::get("/bucket/key"), b"").await;
    assert_eq!(unsigned.status(), 403, "{}", text(&unsigned));
    assert!(one.log().contains("/bucket/key"), "it logs requests: {}", one.log());
    assert!(!other.log().contains("/bucket/key"));
    let address = one.address;
    drop(one);
    assert!(is_free(address));
    assert_eq!(send(other.address, Request::get("/"), b"").await.status(), 403);
    println!("versitygw: {}", printed(Command::new(programs.versitygw().unwrap().join("versitygw")).arg("--version")));
}

#[tokio::test]
#[ignore = "needs moto: make stores"]
async fn moto_starts_answers_and_ends() {
    let programs = Programs::from_env();
    let (one, other) = tokio::try_join!(Moto::start(&programs), Moto::start(&programs)).unwrap();
    one.create_bucket("bucket").await.unwrap();
    let put = || {
        // Of a signature it wants no more than the form.
        let signature =
            "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";
        Request::put("/bucket/key").header(header::IF_NONE_MATCH, "*").header(header::AUTHORIZATION, signature)
    };
    assert_eq!(send(one.address, put(), b"content").await.status(), 200, "{}", one.log());
    assert_eq!(send(one.address, put(), b"other").await.status(), 412);
    assert_eq!(send(other.address, Request::get("/bucket?list-type=2"), b"").await.status(), 404);
    let address = one.address;
    drop(one);
    assert!(is_free(address));
    println!("{}", version_of_module("moto", programs.moto().unwrap()));
}

/// The name and the version of an installed Python module.
fn version_of_module(name: &str, directory: &std::path::Path) -> String {
    let script = format!("import importlib.metadata as m; print('{name}:', m.version('{name}'))");
    printed(Command::new("python3").env("PYTHONPATH", directory).args(["-c", &script]))
}

#[tokio::test]
#[ignore = "needs azurite: make stores"]
async fn azurite_starts_answers_and_ends() {
    let programs = Programs::from_env();
    let (one, other) = tokio::try_join!(Azurite::start(&programs), Azurite::start_with_tls(&programs)).unwrap();
    one.create_container("container").await.unwrap();
    let twice = one.create_container("container").await.unwrap_err().to_string();
    assert!(twice.contains("409") && twice.contains("ContainerAlreadyExists"), "{twice}");
    let unsigned = format!("/{}/container?restype=container&comp=list", one.account);
    assert_eq!(send(one.address, Request::get(unsigned), b"").await.status(), 403);

    other.create_container("container").await.unwrap();
    assert!(other.endpoint.starts_with("https://"));
    let directory = tempfile::tempdir().unwrap();
    let certificate = other.certificate.as_ref().unwrap();
    assert_eq!(fetched_over_tls(&other.endpoint, certificate, directory.path()), "400", "{}", other.log());
    let address = one.address;
    drop(one);
    assert!(is_free(address));
    let program = programs.azurite().unwrap().join("node_modules/azurite/dist/src/blob/main.js");
    println!("azurite: {}", printed(Command::new("node").arg(program).arg("--version")));
}

#[tokio::test]
#[ignore = "needs fake-gcs-server: make stores"]
async fn fake_gcs_server_starts_answers_and_ends() {
    let programs = Programs::from_env();
    let (one, other) = tokio::try_join!(FakeGcs::start(&programs), FakeGcs::start(&programs)).unwrap();
    one.create_bucket("bucket").await.unwrap();
    let upload = "/upload/storage/v1/b/bucket/o?uploadType=media&name=a%2Fkey&ifGenerationMatch=0";
    assert_eq!(send(one.address, Request::post(upload), b"content").await.status(), 200);
    assert_eq!(send(one.address, Request::post(upload), b"other").await.status(), 412);
    let get = send(one.address, Request::get("/storage/v1/b/bucket/o/a%2Fkey?alt=media"), b"").await;
    assert_eq!(text(&get), "content");
    assert_eq!(send(other.address, Request::get("/storage/v1/b/bucket"), b"").await.status(), 404);

    // The address of an upload is that of the proxy, so what is sent there is counted.
    let proxy = Proxy::start(one.address, Dialect::Gcs).unwrap();
    one.behind(&proxy).await.unwrap();
    let begin = Request::post("/upload/storage/v1/b/bucket/o?uploadType=resumable&name=b");
    let begun = send(proxy.address(), begin, b"").await;
    let place = begun.headers()[header::LOCATION].to_str().unwrap();
    let path = place.strip_prefix(&proxy.endpoint()).unwrap_or_else(|| panic!("{place}"));
    let part = Request::put(path).header(header::CONTENT_RANGE, "bytes 0-6/7");
    assert_eq!(send(proxy.address(), part, b"content").await.status(), 200);
    assert_eq!(text(&send(proxy.address(), Request::get("/bucket/b"), b"").await), "content");
    assert_eq!(proxy.counts().to_string(), "GET Object 1, POST Upload 1, PUT Part 1");

    let address = one.address;
    drop(one);
    assert!(is_free(address));
    let program = programs.fake_gcs().unwrap().join("fake-gcs-server");
    let built_of = printed(Command::new("go").args(["version", "-m"]).arg(program));
    let version = built_of.split("mod github.com/fsouza/fake-gcs-server ").nth(1).unwrap();
    println!("fake-gcs-server: {}", version.split(' ').next().unwrap());
}

#[tokio::test]
#[ignore = "needs Swift: make stores"]
async fn swift_starts_answers_and_ends() {
    let programs = Programs::from_env();
    let (one, other) = tokio::try_join!(Swift::start(&programs), Swift::start(&programs)).unwrap();
    one.create_container("container").await.unwrap();
    one.set_temp_url_key("a key").await.unwrap();

    // The account's address is that of the proxy who was asked, so what is sent there is counted.
    let proxy = Proxy::start(one.address, Dialect::Swift).unwrap();
    let login = Request::get("/auth/v1.0").header("x-auth-user", &one.user).header("x-auth-key", &one.key);
    let login = send(proxy.address(), login, b"").await;
    let (token, url) = (&login.headers()["x-auth-token"], login.headers()["x-storage-url"].to_str().unwrap());
    assert_eq!(url.strip_prefix(&proxy.endpoint()), Some("/v1/AUTH_test"));
    let put = Request::put("/v1/AUTH_test/container/a/key").header("x-auth-token", token);
    assert_eq!(send(proxy.address(), put, b"content").await.status(), 201, "{}", one.log());
    assert_eq!(proxy.counts().to_string(), "GET Other 1, PUT Object 1");

    let path = "/v1/AUTH_test/container/a/key";
    assert_eq!(send(one.address, Request::get(path), b"").await.status(), 401);
    let expires = jiff::Timestamp::now().as_second() + 600;
    let mut signature = hmac::Hmac::<sha2::Sha256>::new_from_slice(b"a key").unwrap();
    signature.update(format!("GET\n{expires}\n{path}").as_bytes());
    let signature = signature.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let signed = format!("{path}?temp_url_sig={signature}&temp_url_expires={expires}");
    assert_eq!(text(&send(one.address, Request::get(signed), b"").await), "content");

    let listing = Request::get("/v1/AUTH_test/container").header("x-auth-token", token);
    assert_eq!(send(other.address, listing, b"").await.status(), 401, "another Swift knows no such token");
    let address = one.address;
    drop(one);
    assert!(is_free(address));
    let directory = programs.swift().unwrap().join("usr/lib/python3/dist-packages");
    println!("{}", version_of_module("swift", &directory));
}

#[tokio::test]
#[ignore = "needs versitygw: make stores"]
async fn a_server_is_reached_over_tls_through_the_proxy() {
    let server = Versitygw::start(&Programs::from_env()).await.unwrap();
    let certificate = Certificate::for_loopback().unwrap();
    let proxy = Proxy::start_over_tls(server.address, Dialect::S3, &certificate).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let fetched = fetched_over_tls(&proxy.endpoint(), &certificate, directory.path());
    assert_eq!(fetched, "403");
    let stranger = Certificate::for_loopback().unwrap();
    assert_eq!(fetched_over_tls(&proxy.endpoint(), &stranger, directory.path()), "000");
    assert_eq!(proxy.counts().total(), 1);
}
