//! The gate between the machine and the cluster's network namespace, which has no other way in or out.
//!
//! Inside, a Unix socket takes connections whose first line names a TCP address, and joins the two. A socket in the
//! file system is reached from any network namespace, so outside it is enough to connect, say where to, and talk.
//! The socket lies in a directory that only the cluster's owner can enter.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Connections at a time; the rest wait.
const MAX_CONNECTIONS: usize = 1024;
/// The longest first line, in bytes.
const MAX_TARGET_BYTES: usize = 300;
/// How long the first line may take.
const TARGET_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer of [`get`], in bytes.
const MAX_BODY_BYTES: usize = 4 << 20;

/// The inner half: joins each connection to the address that it asks for. Runs until the process ends.
pub async fn serve_inside(listener: UnixListener) -> Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let (connection, _) = listener.accept().await.context("accept on the gate")?;
        tokio::spawn(async move {
            if let Err(error) = join(connection).await {
                eprintln!("gate: {error:#}");
            }
            drop(slot);
        });
    }
}

async fn join(mut connection: UnixStream) -> Result<()> {
    let target =
        tokio::time::timeout(TARGET_TIMEOUT, read_line(&mut connection)).await.context("no target in time")??;
    let mut tcp = TcpStream::connect(&target).await.with_context(|| format!("connect to {target}"))?;
    tcp.set_nodelay(true)?;
    // Either side may go away at any time: that is the end, not an error.
    let _ = copy_bidirectional(&mut connection, &mut tcp).await;
    Ok(())
}

async fn read_line(connection: &mut UnixStream) -> Result<String> {
    let mut line = Vec::new();
    loop {
        match connection.read_u8().await? {
            b'\n' => return String::from_utf8(line).context("a target that is not UTF-8"),
            byte => line.push(byte),
        }
        if line.len() > MAX_TARGET_BYTES {
            bail!("a target longer than {MAX_TARGET_BYTES} bytes");
        }
    }
}

/// The outer half: every connection to `listener` is joined to `target` inside. Runs until the process ends.
pub async fn serve_outside(listener: TcpListener, gate: PathBuf, target: String) -> Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let (mut connection, _) = listener.accept().await.context("accept on the loopback port")?;
        let (gate, target) = (gate.clone(), target.clone());
        tokio::spawn(async move {
            let _ = connection.set_nodelay(true);
            match connect(&gate, &target).await {
                Ok(mut inside) => {
                    let _ = copy_bidirectional(&mut connection, &mut inside).await;
                }
                Err(error) => eprintln!("gate: {error:#}"),
            }
            drop(slot);
        });
    }
}

/// A connection to `target` (`HOST:PORT`, resolved inside) through the gate.
pub async fn connect(gate: &Path, target: &str) -> Result<UnixStream> {
    let mut stream =
        UnixStream::connect(gate).await.with_context(|| format!("connect to the gate {}", gate.display()))?;
    stream.write_all(format!("{target}\n").as_bytes()).await.context("name the target to the gate")?;
    Ok(stream)
}

/// `GET path` from `target` through the gate: the status and the body, at most 4 MiB.
pub async fn get(gate: &Path, target: &str, path: &str) -> Result<(u16, Bytes)> {
    let io = TokioIo::new(connect(gate, target).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", target).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await.with_context(|| format!("GET http://{target}{path}"))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_BODY_BYTES).collect().await;
    driver.abort();
    let body = body.map_err(|error| anyhow::anyhow!("body of http://{target}{path}: {error}"))?;
    Ok((status, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_both_halves() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let gate = temp.path().join("gate.sock");
        let echo = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let target = echo.local_addr().expect("bound").to_string();
        tokio::spawn(async move {
            let (mut connection, _) = echo.accept().await.expect("a connection");
            let (mut read, mut write) = connection.split();
            tokio::io::copy(&mut read, &mut write).await
        });
        tokio::spawn(serve_inside(UnixListener::bind(&gate).expect("a socket")));
        let outer = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = outer.local_addr().expect("bound");
        tokio::spawn(serve_outside(outer, gate, target));

        let mut client = TcpStream::connect(address).await.expect("connected");
        client.write_all(b"through").await.expect("written");
        client.shutdown().await.expect("half closed");
        let mut back = String::new();
        client.read_to_string(&mut back).await.expect("read");
        assert_eq!(back, "through");
    }
}
