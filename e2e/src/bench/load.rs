//! The clients: wrk for small answers, and a client of its own for large bodies, which does nothing but copy.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Options;
use super::content::{Fresh, NAME, PUSHED_BYTES};
use crate::run;

/// How often the large blob is pulled in a row.
const PULLS: usize = 8;
/// How much is read and written at once, in bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// How long nothing may happen on a connection.
const PATIENCE: Duration = Duration::from_secs(60);
/// The clock ticks of `/proc/<pid>/stat` in a second, on every architecture that Linux has today.
const TICKS: u64 = 100;

/// What a client got done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Done {
    /// Answers, or MiB of large bodies.
    pub(super) units: f64,
    pub(super) time: Duration,
}

impl Done {
    pub(super) fn per_second(self) -> f64 {
        self.units / self.time.as_secs_f64()
    }
}

/// Asks for a small answer again and again over several connections, with these credentials if there are any.
pub(super) fn small(address: SocketAddr, path: &str, authorization: Option<&str>, options: &Options) -> Result<Done> {
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--connections", &options.connections.to_string()])
        .args(["--duration", &format!("{}s", options.seconds)])
        .args(["--header", "Accept: application/vnd.oci.image.manifest.v1+json"]);
    if let Some(value) = authorization {
        command.args(["--header", &format!("Authorization: {value}")]);
    }
    command.arg(format!("http://{address}{path}"));
    let text = run::checked(command)?;
    parse_wrk(&text).with_context(|| format!("GET {path}: wrk says\n{text}"))
}

/// The answers and the time in what wrk prints; an error if not every answer was good.
fn parse_wrk(text: &str) -> Result<Done> {
    if let Some(line) = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors")) {
        bail!("{}", line.trim());
    }
    let line = text.lines().find(|line| line.contains(" requests in ")).context("no line with the count")?;
    let mut words = line.split_whitespace();
    let units: f64 = words.next().context("no count")?.parse().context("the count")?;
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).context("no rate")?;
    let rate: f64 = rate.trim().parse().context("the rate")?;
    if units == 0.0 || rate <= 0.0 {
        bail!("no answers");
    }
    Ok(Done { units, time: Duration::from_secs_f64(units / rate) })
}

/// Pulls a large blob several times over one connection.
pub(super) fn pull(address: SocketAddr, path: &str) -> Result<Done> {
    let mut connection = Connection::open(address)?;
    let started = Instant::now();
    let mut bytes = 0;
    for _ in 0..PULLS {
        connection.send(&format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n"), &[])?;
        let answer = connection.answer()?;
        if answer.status != 200 {
            bail!("GET {path}: {}", answer.status);
        }
        bytes += answer.length;
    }
    Ok(Done { units: bytes as f64 / f64::from(1 << 20), time: started.elapsed() })
}

/// Pushes a blob, and gives the hex part of its digest.
pub(super) fn push(address: SocketAddr, fresh: &Fresh) -> Result<(Done, String)> {
    let started = Instant::now();
    push_blob(address, &fresh.content, &fresh.digest)?;
    let done = Done { units: PUSHED_BYTES as f64 / f64::from(1 << 20), time: started.elapsed() };
    Ok((done, fresh.digest.trim_start_matches("sha256:").to_owned()))
}

/// Pushes a blob as most clients do: a session, and all of the content in one request.
pub(super) fn push_blob(address: SocketAddr, content: &[u8], digest: &str) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let begin = format!("POST /v2/{NAME}/blobs/uploads/ HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    connection.send(&begin, &[])?;
    let answer = connection.answer()?;
    let location = answer.location.with_context(|| format!("an upload was answered {}", answer.status))?;
    let path = location.strip_prefix(&format!("http://{address}")).unwrap_or(&location);
    let separator = if path.contains('?') { '&' } else { '?' };
    put(address, &format!("{path}{separator}digest={digest}"), "application/octet-stream", content)
}

/// Puts a body to a path.
pub(super) fn put(address: SocketAddr, path: &str, media_type: &str, content: &[u8]) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let length = content.len();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    connection.send(&head, content)?;
    match connection.answer()?.status {
        201 => Ok(()),
        status => bail!("PUT of {length} bytes: {status}"),
    }
}

/// The body of a good answer.
pub(super) fn get(address: SocketAddr, path: &str, authorization: Option<&str>) -> Result<Vec<u8>> {
    let mut connection = Connection::open(address)?;
    let credentials = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json, */*\r\n";
    connection.send(&format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{accept}{credentials}\r\n"), &[])?;
    let mut body = Vec::new();
    match connection.answer_to(&mut body)?.status {
        200 => Ok(body),
        status => bail!("GET {path}: {status}"),
    }
}

/// How fast `sha256sum` reads a file, in MiB a second.
pub(super) fn sha256sum(path: &Path) -> Result<f64> {
    let mut command = Command::new("sha256sum");
    command.arg(path);
    let started = Instant::now();
    run::checked(command)?;
    Ok(PUSHED_BYTES as f64 / f64::from(1 << 20) / started.elapsed().as_secs_f64())
}

/// The processor time that a process and its children have used.
pub(super) fn processor_time(pid: u32) -> Result<Duration> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    let mut ticks = 0;
    for pid in std::iter::once(pid).chain(children) {
        let path = format!("/proc/{pid}/stat");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        ticks += parse_ticks(&text).with_context(|| format!("{path}: {text}"))?;
    }
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// User and system time in a line of `/proc/<pid>/stat`. The name, which stands in parentheses, may hold anything.
fn parse_ticks(text: &str) -> Option<u64> {
    let (_, behind) = text.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

struct Connection {
    stream: BufReader<TcpStream>,
}

struct Answer {
    status: u16,
    location: Option<String>,
    /// Of the body.
    length: u64,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(PIECE_BYTES, stream) })
    }

    fn send(&mut self, head: &str, body: &[u8]) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes()).context("send a request")?;
        body.chunks(PIECE_BYTES).try_for_each(|piece| stream.write_all(piece)).context("send a body")
    }

    /// Reads an answer, and forgets its body.
    fn answer(&mut self) -> Result<Answer> {
        self.answer_to(&mut std::io::sink())
    }

    /// Reads an answer, and writes its body there.
    fn answer_to(&mut self, body: &mut impl Write) -> Result<Answer> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("read an answer")?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("{line:?} is no answer"))?;
        let mut answer = Answer { status, location: None, length: 0 };
        loop {
            line.clear();
            self.stream.read_line(&mut line).context("read the head of an answer")?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "location" => answer.location = Some(value.trim().to_owned()),
                "content-length" => answer.length = value.trim().parse().context("Content-Length")?,
                _ => {}
            }
        }
        let copied = std::io::copy(&mut (&mut self.stream).take(answer.length), body);
        match copied.context("read the body of an answer")? {
            bytes if bytes == answer.length => Ok(answer),
            bytes => bail!("an answer ended after {bytes} of {} bytes", answer.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints() {
        let good = "Running 2s test\n  1000 requests in 2.00s, 1.00MB read\nRequests/sec:    500.00\nTransfer/sec: 1\n";
        let expected = Done { units: 1000.0, time: Duration::from_secs(2) };
        assert_eq!(parse_wrk(good).expect("it is good"), expected);
        let bad = format!("{good}  Non-2xx or 3xx responses: 7\n");
        assert_eq!(parse_wrk(&bad).expect_err("not all are good").to_string(), "Non-2xx or 3xx responses: 7");
        assert!(parse_wrk("").is_err());
    }

    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        let line = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14";
        assert_eq!(parse_ticks(line), Some(11 + 12));
        assert_eq!(parse_ticks("7 (a"), None);
    }
}
