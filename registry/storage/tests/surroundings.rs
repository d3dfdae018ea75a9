//! Credentials of the S3 driver that nobody has configured: from the environment, a profile, a service account, the pod or
//! the machine, asked of a server that plays all of them.
//!
//! A process has one environment, so each case runs in one of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use berth_storage::bucket::Bucket;
use berth_storage::{S3, S3Options};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// Where a child finds the server.
const SERVER: &str = "BERTH_TEST_SERVER";

/// What was asked of the server, in order: a method, a path, and what it was signed with.
type Asked = Arc<Mutex<Vec<String>>>;

/// S3, the token service, a pod's credentials and a machine's.
struct Server {
    address: String,
    asked: Asked,
}

impl Server {
    async fn start() -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (format!("http://{}", listener.local_addr().unwrap()), Asked::default());
        let server = Server { address, asked: asked.clone() };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let asked = asked.clone();
                let service = service_fn(move |request| answer(request, asked.clone()));
                tokio::spawn(async move {
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        server
    }
}

/// The name of the key that a request is signed with, and its token.
fn signature(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let Some(authorization) = text("authorization") else { return "unsigned".to_owned() };
    let key = authorization.split_once("Credential=").map(|(_, rest)| rest.split('/').next().unwrap());
    let token = text("x-amz-security-token").unwrap_or_else(|| "no token".to_owned());
    format!("{} with {token}", key.unwrap_or(&authorization))
}

async fn answer(request: Request<Incoming>, asked: Asked) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let path = head.uri.path().to_owned();
    asked.lock().unwrap().push(format!("{} {path} {}", head.method, signature(&head.headers)));
    let document = |key: &str| {
        format!(
            r#"{{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "{key}", "SecretAccessKey": "secret",
                "Token": "{key}-TOKEN", "LastUpdated": "2020-01-01T00:00:00Z", "Expiration": "2999-01-01T00:00:00Z"}}"#
        )
    };
    let (status, answer) = match path.as_str() {
        "/pod" if head.headers["authorization"] == "the pod's token" => (200, document("POD")),
        "/latest/api/token" => (200, "the machine's token".to_owned()),
        "/latest/meta-data/iam/security-credentials/" | "/latest/meta-data/iam/security-credentials-extended/" => {
            (200, "role".to_owned())
        }
        path if path.starts_with("/latest/meta-data/iam/") => (200, document("MACHINE")),
        "/" if body.contains("Action=AssumeRoleWithWebIdentity") && body.contains("WebIdentityToken=the-account") => {
            let text = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ACCOUNT</AccessKeyId>\
                <SecretAccessKey>secret</SecretAccessKey><SessionToken>ACCOUNT-TOKEN</SessionToken>\
                <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
                </AssumeRoleWithWebIdentityResponse>";
            (200, text.to_owned())
        }
        path if path.starts_with("/images") => (200, "<ListBucketResult></ListBucketResult>".to_owned()),
        _ => (404, String::new()),
    };
    Ok(Response::builder()
        .status(status)
        .header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        .body(Full::from(answer))
        .unwrap())
}

/// Runs [`a_process_of_its_own`] in an environment. What it printed, and what was asked of the server.
async fn run(environment: &[(&str, String)], server: &Server) -> (String, Vec<String>) {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process_of_its_own", "--ignored", "--nocapture"]).stdin(Stdio::null());
    command.env_clear().env(SERVER, &server.address).envs(environment.iter().map(|(name, value)| (name, value)));
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    (text, std::mem::take(&mut *server.asked.lock().unwrap()))
}

#[tokio::test]
#[ignore = "is run by the others, in environments of their own"]
async fn a_process_of_its_own() {
    let Ok(endpoint) = std::env::var(SERVER) else { return };
    let options =
        S3Options { bucket: "images".to_owned(), endpoint: Some(endpoint), user_agent: None, ..S3Options::default() };
    let bucket = S3::open(options).await.unwrap();
    for _ in 0..2 {
        match bucket.check().await {
            Ok(()) => println!("outcome: right"),
            Err(error) => println!("outcome: {error}"),
        }
    }
}

/// Nothing that the home directory of whoever runs the tests has.
fn nothing_of_home(directory: &Path) -> Vec<(&'static str, String)> {
    let none = directory.join("none").display().to_string();
    vec![
        ("HOME", directory.display().to_string()),
        ("AWS_CONFIG_FILE", none.clone()),
        ("AWS_SHARED_CREDENTIALS_FILE", none),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

/// In an environment, requests are signed with a key and a token, which are asked for once.
async fn check(
    environment: impl FnOnce(&Path, &str) -> Vec<(&'static str, String)>,
    signed: &str,
    asked_before: usize,
) {
    let (server, directory) = (Server::start().await, tempfile::tempdir().unwrap());
    let mut all = nothing_of_home(directory.path());
    for (name, value) in environment(directory.path(), &server.address) {
        all.retain(|(other, _)| *other != name);
        all.push((name, value));
    }
    let (printed, asked) = run(&all, &server).await;
    assert_eq!(printed.matches("outcome: right").count(), 2, "{printed}{asked:?}");
    let expected = format!("GET /images/ {signed}");
    assert_eq!(asked[asked.len() - 2..], [expected.clone(), expected], "{asked:?}");
    assert_eq!(asked.len() - 2, asked_before, "{asked:?}");
}

fn file(directory: &Path, name: &str, content: &str) -> String {
    std::fs::write(directory.join(name), content).unwrap();
    directory.join(name).display().to_string()
}

#[tokio::test]
async fn from_the_environment() {
    let environment = |_: &Path, _: &str| {
        vec![
            ("AWS_ACCESS_KEY_ID", "ENVIRONMENT".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_SESSION_TOKEN", "TOKEN".to_owned()),
        ]
    };
    check(environment, "ENVIRONMENT with TOKEN", 0).await;
}

#[tokio::test]
async fn from_a_profile() {
    let environment = |directory: &Path, _: &str| {
        let content = "[default]\naws_access_key_id = OTHER\naws_secret_access_key = secret\n\
                       [berth]\naws_access_key_id = PROFILE\naws_secret_access_key = secret\n";
        let file = file(directory, "credentials", content);
        vec![("AWS_SHARED_CREDENTIALS_FILE", file), ("AWS_PROFILE", "berth".to_owned())]
    };
    check(environment, "PROFILE with no token", 0).await;
}

#[tokio::test]
async fn from_a_service_account() {
    let environment = |directory: &Path, server: &str| {
        vec![
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file(directory, "token", "the-account")),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/berth".to_owned()),
            ("AWS_ENDPOINT_URL_STS", server.to_owned()),
        ]
    };
    check(environment, "ACCOUNT with ACCOUNT-TOKEN", 1).await;
}

#[tokio::test]
async fn from_the_pod() {
    let environment = |directory: &Path, server: &str| {
        vec![
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{server}/pod")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file(directory, "token", "the pod's token")),
        ]
    };
    check(environment, "POD with POD-TOKEN", 1).await;
}

#[tokio::test]
async fn from_the_machine() {
    let environment = |_: &Path, server: &str| {
        vec![
            ("AWS_EC2_METADATA_DISABLED", "false".to_owned()),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.to_owned()),
        ]
    };
    check(environment, "MACHINE with MACHINE-TOKEN", 3).await;
}

#[tokio::test]
async fn from_nowhere() {
    let (server, directory) = (Server::start().await, tempfile::tempdir().unwrap());
    let (printed, asked) = run(&nothing_of_home(directory.path()), &server).await;
    let expected = "outcome: storage.s3.accesskey: is not set, and there are no credentials in the environment";
    assert_eq!(printed.matches(expected).count(), 2, "{printed}");
    assert_eq!(asked, Vec::<String>::new());
}
