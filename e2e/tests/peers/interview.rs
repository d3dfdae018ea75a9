//! The same questions to two servers, and where their answers differ.
//!
//! What must differ is taken out first: the date, the server's own address, the identity and signed state of an upload,
//! and the line between the parts of a body.

use std::fmt;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::http::{Answer, Question, ask};

/// A question by its name, and the answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) name: String,
    pub(crate) question: Question,
    pub(crate) answer: Answer,
}

/// What one server was asked and answered.
#[derive(Debug)]
pub(crate) struct Interview {
    pub(crate) server: SocketAddr,
    pub(crate) exchanges: Vec<Exchange>,
}

impl Interview {
    pub(crate) fn with(server: SocketAddr) -> Self {
        Self { server, exchanges: Vec::new() }
    }

    /// Asks, remembers what can be compared, and gives the answer as it was.
    pub(crate) async fn ask(&mut self, name: impl Into<String>, question: Question) -> Result<Answer> {
        let name = name.into();
        ensure!(self.exchanges.iter().all(|exchange| exchange.name != name), "two questions are called {name}");
        let answer = ask(self.server, &question).await.map_err(|error| error.context(name.clone()))?;
        let comparable = comparable(&answer, self.server);
        self.exchanges.push(Exchange { name, question, answer: comparable });
        Ok(answer)
    }
}

/// An answer without what differs between any two servers.
fn comparable(answer: &Answer, server: SocketAddr) -> Answer {
    let id = answer.header("docker-upload-uuid");
    let neutral = |text: &str| {
        let text = text.replace(&server.to_string(), "HOST");
        let text = match &id {
            Some(id) if !id.is_empty() => text.replace(id.as_str(), "ID"),
            _ => text,
        };
        match text.split_once("_state=") {
            Some((before, _)) => format!("{before}_state=STATE"),
            None => text,
        }
    };
    let boundary = answer.header("content-type").and_then(|value| Some(value.split_once("boundary=")?.1.to_owned()));
    // How long a body of several parts is depends on the line between them.
    let left_out = |name: &str| name == "date" || (name == "content-length" && boundary.is_some());
    let headers = answer.headers.iter().filter(|(name, _)| !left_out(name));
    let headers = headers.map(|(name, value)| match &boundary {
        Some(boundary) => (name.clone(), value.replace(boundary, "BOUNDARY")),
        None => (name.clone(), neutral(value)),
    });
    let body = match &boundary {
        Some(boundary) => hex::encode(&answer.body).replace(&hex::encode(boundary), "|").into(),
        None => answer.body.clone(),
    };
    Answer { status: answer.status, headers: headers.collect(), body }
}

/// What of two answers differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Status,
    Header(String),
    /// The codes of the errors.
    Code,
    /// The message of an error.
    Message,
    /// What is said of an error beyond its code and message.
    Detail,
    Body,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Status => f.write_str("status"),
            Part::Header(name) => write!(f, "header {name}"),
            Part::Code => f.write_str("error code"),
            Part::Message => f.write_str("error message"),
            Part::Detail => f.write_str("error detail"),
            Part::Body => f.write_str("body"),
        }
    }
}

/// A place where two answers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The question's name.
    pub(crate) name: String,
    /// Its method and path.
    pub(crate) question: String,
    pub(crate) part: Part,
    pub(crate) theirs: String,
    pub(crate) ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, question, part, theirs, ours } = self;
        write!(f, "{name} ({question}), {part}:\n    theirs: {theirs}\n    ours:   {ours}")
    }
}

/// Compares two interviews of the same questions.
pub(crate) fn differences(theirs: &[Exchange], ours: &[Exchange]) -> Result<Vec<Difference>> {
    let names = |exchanges: &[Exchange]| exchanges.iter().map(|exchange| exchange.name.clone()).collect::<Vec<_>>();
    ensure!(names(theirs) == names(ours), "the servers were not asked the same");
    let mut found = Vec::new();
    for (theirs, ours) in theirs.iter().zip(ours) {
        let question = format!("{} {}", ours.question.method, shortened(&ours.question.target));
        for (part, their_value, our_value) in parts(&theirs.answer, &ours.answer) {
            let name = ours.name.clone();
            let difference =
                Difference { name, question: question.clone(), part, theirs: their_value, ours: our_value };
            found.push(difference);
        }
    }
    Ok(found)
}

/// A target without the state of an upload, which is long.
fn shortened(target: &str) -> String {
    target.split("_state=").next().unwrap_or(target).to_owned()
}

fn parts(theirs: &Answer, ours: &Answer) -> Vec<(Part, String, String)> {
    let mut found = Vec::new();
    if theirs.status != ours.status {
        found.push((Part::Status, theirs.status.as_u16().to_string(), ours.status.as_u16().to_string()));
    }
    let mut names: Vec<&String> = theirs.headers.iter().chain(&ours.headers).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let bodies = bodies(theirs, ours);
    for name in names {
        let (their_value, our_value) = (theirs.header(name), ours.header(name));
        // The length follows from a body that differs, or, of an answer to HEAD, would have differed.
        let follows = name == "content-length" && (!bodies.is_empty() || theirs.status.as_u16() >= 400);
        if their_value != our_value && !(follows && their_value.is_some() == our_value.is_some()) {
            let shown = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
            found.push((Part::Header(name.clone()), shown(their_value), shown(our_value)));
        }
    }
    found.extend(bodies);
    found
}

fn bodies(theirs: &Answer, ours: &Answer) -> Vec<(Part, String, String)> {
    if theirs.body == ours.body {
        return Vec::new();
    }
    let (Some(their_errors), Some(our_errors)) = (errors(theirs), errors(ours)) else {
        return vec![(Part::Body, text(theirs), text(ours))];
    };
    let field = |errors: &[Value], field: &str| {
        let values = errors.iter().map(|error| error.get(field).map_or("none".to_owned(), Value::to_string));
        values.collect::<Vec<_>>().join(", ")
    };
    let mut found = Vec::new();
    for (part, key) in [(Part::Code, "code"), (Part::Message, "message"), (Part::Detail, "detail")] {
        let (theirs, ours) = (field(&their_errors, key), field(&our_errors, key));
        if theirs != ours {
            found.push((part, theirs, ours));
        }
    }
    if found.is_empty() {
        // The same errors, written differently.
        found.push((Part::Body, text(theirs), text(ours)));
    }
    found
}

/// The entries of an error answer.
fn errors(answer: &Answer) -> Option<Vec<Value>> {
    let value: Value = serde_json::from_slice(&answer.body).ok()?;
    value.get("errors")?.as_array().cloned()
}

/// A body for people: what is long is cut.
fn text(answer: &Answer) -> String {
    const SHOWN: usize = 300;
    let text = format!("{:?}", answer.text());
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], answer.body.len()),
        None => text,
    }
}
