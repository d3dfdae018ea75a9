//! A server that answers as a test wants it to.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use berth_storage::{S3, S3Credentials, S3Options};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) what: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) type Answer = Response<Full<Bytes>>;

/// The server, and what it was asked.
pub(crate) struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// A server whose answers are a function of a request and of how many came before it.
    pub(crate) async fn start(script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Server {
        Server::start_reading(move |asked, before| script(&asked.what, before)).await
    }

    /// The same of all that a request says.
    pub(crate) async fn start_reading(script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (asked, script) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(script));
        let server = Server { address, asked: asked.clone() };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (asked, script) = (asked.clone(), script.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (asked, script) = (asked.clone(), script.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
                        let what = format!("{} {}", head.method, head.uri.path_and_query().unwrap());
                        let request = Asked { what, headers: head.headers, body };
                        let mut asked = asked.lock().unwrap();
                        let answer = script(&request, asked.len());
                        asked.push(request);
                        Ok::<_, Infallible>(answer)
                    }
                });
                tokio::spawn(async move {
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        server
    }

    pub(crate) async fn bucket(&self, change: impl FnOnce(&mut S3Options)) -> S3 {
        let mut options = S3Options {
            bucket: "images".to_owned(),
            endpoint: Some(self.address.clone()),
            credentials: S3Credentials::Keys {
                access_key: "AKIDEXAMPLE0".to_owned(),
                secret_key: "the-secret".to_owned(),
                session_token: Some("the-token".to_owned()),
            },
            ..S3Options::default()
        };
        change(&mut options);
        S3::open(options).await.unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::from(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        answer.headers_mut().insert(*name, value.parse().unwrap());
    }
    answer
}

pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Answer {
    answer(status, &[], format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
}

/// A store that has everything and says yes to everything.
pub(crate) fn willing(what: &str) -> Answer {
    let copied = "<CopyObjectResult><ETag>\"tag\"</ETag></CopyObjectResult>";
    match what {
        what if what.starts_with("HEAD") => answer(200, &[("content-length", "100")], ""),
        what if what.contains("?uploads") => {
            answer(200, &[], "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>")
        }
        what if what.contains("x-id=UploadPartCopy") => answer(200, &[], copied.replace("Object", "Part")),
        what if what.contains("x-id=CopyObject") => answer(200, &[], copied),
        what if what.starts_with("POST") && what.contains("?uploadId=") => {
            answer(200, &[], "<CompleteMultipartUploadResult><ETag>\"tag\"</ETag></CompleteMultipartUploadResult>")
        }
        what if what.contains("?delete") => answer(200, &[], "<DeleteResult></DeleteResult>"),
        _ => answer(200, &[("etag", "\"tag\"")], ""),
    }
}

/// The address of a server whose answers are all this document, and end with the connection: nothing tells how long they are.
pub(crate) async fn unframed(document: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{document}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}
