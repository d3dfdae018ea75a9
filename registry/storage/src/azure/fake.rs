//! A server for tests that answers as it was told to, one request after the other, and keeps what it was asked. A request
//! too many gets no answer; one too few is found by whoever looks at what was asked.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// What was asked, each the lines of the head with the body behind them.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    /// The method and the address of each request.
    pub(super) fn lines(&self) -> Vec<String> {
        let asked = self.0.lock().unwrap();
        asked.iter().map(|request| request.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned()).collect()
    }

    /// The value of a header of a request.
    pub(super) fn header(&self, number: usize, name: &str) -> Option<String> {
        let asked = self.0.lock().unwrap();
        let mut fields = asked[number].lines().filter_map(|line| line.split_once(": "));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }

    /// The body of a request.
    pub(super) fn body(&self, number: usize) -> String {
        self.0.lock().unwrap()[number].split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

/// Starts one that gives these answers, each a status with its headers, a line each, and a body. Its address, and what it
/// is asked.
pub(super) async fn serve(answers: &[(&str, &str)]) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let (kept, answers): (Asked, Vec<String>) =
        (asked.clone(), answers.iter().map(|(head, body)| text(head, body)).collect());
    tokio::spawn(async move {
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let request = read(&mut stream).await;
            let is_head = request.starts_with("HEAD ");
            kept.0.lock().unwrap().push(request);
            let head_end = answer.find("\r\n\r\n").unwrap() + 4;
            let answer = if is_head { &answer[..head_end] } else { answer.as_str() };
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (address, asked)
}

fn text(head: &str, body: &str) -> String {
    let head: String = head.lines().map(|line| format!("{line}\r\n")).collect();
    let length = if head.to_ascii_lowercase().contains("content-length") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    format!("HTTP/1.1 {head}Connection: close\r\n{length}\r\n{body}")
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> String {
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let start = request.len();
        stream.read_line(&mut request).await.unwrap();
        let line = &request[start..];
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    request + &String::from_utf8_lossy(&body)
}
