//! A client of the administration of a running server: one request, with the token.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// For how long a server that does not listen yet, or not any more, is tried again.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_PAUSE: Duration = Duration::from_secs(1);
/// The largest answer that is read in one piece.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Which server is asked, and with which token.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Remote {
    /// The debug port of a running server, such as http://127.0.0.1:5001.
    #[arg(long, value_name = "URL")]
    pub(crate) server: String,
    /// The file that holds the server's admin token.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: PathBuf,
}

/// An answer whose body is still to be read.
pub(crate) struct Reply {
    pub(crate) response: Response<Incoming>,
    /// `HOST:PORT`, for messages.
    pub(crate) target: String,
    /// What drives the connection, for as long as the body is read.
    pub(crate) connection: AbortOnDropHandle<hyper::Result<()>>,
}

impl Reply {
    /// The answer to a request that has but one, whatever its status; an error with what the server says where it is none.
    pub(crate) async fn read<T: DeserializeOwned>(self) -> Result<(StatusCode, T)> {
        let Reply { response, target, connection } = self;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed).context("the server ended the connection")?.to_bytes();
        drop(connection);
        if let Ok(answer) = serde_json::from_slice(&body) {
            return Ok((status, answer));
        }
        let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        match said["error"]["message"].as_str() {
            Some(message) => bail!("{target} answered {status}: {message}"),
            None => bail!("{target} answered {status}: is this the debug port of a registry with an admin token?"),
        }
    }
}

impl Remote {
    /// Sends a request with a JSON body, and waits at most `patience` for the answer to begin.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Vec<u8>, patience: Duration) -> Result<Reply> {
        let uri: Uri = self.server.parse().with_context(|| format!("--server: {:?} is no address", self.server))?;
        ensure!(uri.scheme_str() == Some("http"), "--server: {:?} is not an http:// address", self.server);
        let authority = uri.authority().context("--server: the address has no host")?.clone();
        let token = std::fs::read_to_string(&self.token_file)
            .with_context(|| format!("--token-file: cannot read {}", self.token_file.display()))?;
        let target = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let stream = connect(&target).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.context("cannot speak HTTP to the server")?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", uri.path().trim_end_matches('/')))
            .header(header::HOST, authority.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            // The token is trimmed: files made by hand end with a newline.
            .header(header::AUTHORIZATION, format!("Bearer {}", token.trim()))
            .body(Full::<Bytes>::from(body))
            .map_err(|_| anyhow!("--token-file: the token holds characters that no header may have"))?;
        let response = tokio::time::timeout(patience, sender.send_request(request)).await;
        let response = response.context("the server does not answer")?.context("the server ended the connection")?;
        Ok(Reply { response, target, connection })
    }
}

async fn connect(target: &str) -> Result<TcpStream> {
    let deadline = tokio::time::Instant::now() + CONNECT_PATIENCE;
    loop {
        match tokio::time::timeout_at(deadline, TcpStream::connect(target)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if tokio::time::Instant::now() + CONNECT_PAUSE >= deadline => {
                return Err(error).with_context(|| format!("cannot connect to {target}"));
            }
            Ok(Err(error)) => {
                eprintln!("cannot connect to {target} yet: {error}");
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            Err(_) => bail!("cannot connect to {target} within {} seconds", CONNECT_PATIENCE.as_secs()),
        }
    }
}
