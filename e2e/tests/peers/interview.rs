//! The same questions to two servers, and where their answers differ.
//!
//! What must differ is taken out first: the date, the server's own address, the identity and signed state of an upload,
//! and the line between the parts of a body.

use std::fmt;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::content::sha256;
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
    /// A header other than those that say what the body is.
    Header(String),
    /// The codes and messages of the errors that both answer with.
    Error,
    /// What is said of an error beyond its code and message.
    Detail,
    /// The body, with the headers that say what it is: its media type, and whether that may be guessed.
    Body,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Status => f.write_str("status"),
            Part::Header(name) => write!(f, "header {name}"),
            Part::Error => f.write_str("error"),
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

/// The headers that say what a body is; they are part of it where bodies are of different kinds.
const OF_THE_BODY: [&str; 2] = ["content-type", "x-content-type-options"];

fn parts(theirs: &Answer, ours: &Answer) -> Vec<(Part, String, String)> {
    let mut found = Vec::new();
    if theirs.status != ours.status {
        found.push((Part::Status, theirs.status.as_u16().to_string(), ours.status.as_u16().to_string()));
    }
    let mut names: Vec<&str> = theirs.headers.iter().chain(&ours.headers).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let bodies = bodies(theirs, ours);
    if bodies.iter().any(|(part, ..)| *part == Part::Body) && is_error(theirs) != is_error(ours) {
        names.retain(|name| !OF_THE_BODY.contains(name));
    }
    for name in names {
        let (their_value, our_value) = (theirs.header(name), ours.header(name));
        if their_value != our_value && !(name == "content-length" && length_follows(theirs, ours, !bodies.is_empty())) {
            let shown = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
            found.push((Part::Header(name.to_owned()), shown(their_value), shown(our_value)));
        }
    }
    found.extend(bodies);
    found
}

/// Whether lengths differ because bodies do: those that are sent or, of errors in answer to HEAD, would have been.
fn length_follows(theirs: &Answer, ours: &Answer, bodies_differ: bool) -> bool {
    let without = |answer: &Answer| matches!(answer.status.as_u16(), 204 | 304);
    let is_error = theirs.status.as_u16() >= 400 || ours.status.as_u16() >= 400;
    let both_say_it = theirs.header("content-length").is_some() == ours.header("content-length").is_some();
    (bodies_differ || is_error) && (both_say_it || without(theirs) || without(ours))
}

fn bodies(theirs: &Answer, ours: &Answer) -> Vec<(Part, String, String)> {
    if theirs.body == ours.body {
        return Vec::new();
    }
    let (Some(their_errors), Some(our_errors)) = (errors(theirs), errors(ours)) else {
        let typed = is_error(theirs) != is_error(ours);
        return vec![(Part::Body, summary(theirs, typed), summary(ours, typed))];
    };
    let joined = |values: Vec<String>| values.join(", ");
    let name = |errors: &[Value]| joined(errors.iter().map(|error| said(error, "code")).collect());
    let with_message = |errors: &[Value]| {
        let texts = errors.iter().map(|error| format!("{}: {}", said(error, "code"), said(error, "message")));
        joined(texts.collect())
    };
    let detail = |errors: &[Value]| {
        let details = errors.iter().map(|error| error.get("detail").map_or("none".to_owned(), Value::to_string));
        joined(details.collect())
    };
    let mut found = Vec::new();
    if name(&their_errors) != name(&our_errors) {
        found.push((Part::Error, name(&their_errors), name(&our_errors)));
    } else if with_message(&their_errors) != with_message(&our_errors) {
        found.push((Part::Error, with_message(&their_errors), with_message(&our_errors)));
    }
    if detail(&their_errors) != detail(&our_errors) {
        found.push((Part::Detail, detail(&their_errors), detail(&our_errors)));
    }
    if found.is_empty() {
        // The same errors, written or named differently.
        found.push((Part::Body, summary(theirs, false), summary(ours, false)));
    }
    found
}

/// Whether the body is made of errors.
fn is_error(answer: &Answer) -> bool {
    errors(answer).is_some()
}

/// A text of an error.
fn said(error: &Value, field: &str) -> String {
    error.get(field).and_then(Value::as_str).unwrap_or("none").to_owned()
}

/// The entries of an error answer.
fn errors(answer: &Answer) -> Option<Vec<Value>> {
    let value: Value = serde_json::from_slice(&answer.body).ok()?;
    value.get("errors")?.as_array().cloned()
}

/// A body in a line: the codes of its errors, its text, or, of what is no text, its length and digest; and, if wanted, its
/// media type.
fn summary(answer: &Answer, typed: bool) -> String {
    let media_type = answer.header("content-type");
    let guessed = answer.header("x-content-type-options").map(|value| format!(", {value}")).unwrap_or_default();
    let is_text =
        media_type.as_deref().is_some_and(|text| text.starts_with("text/") || text.starts_with("application/json"));
    let content = match errors(answer) {
        _ if answer.body.is_empty() => "nothing".to_owned(),
        Some(errors) => errors.iter().map(|error| said(error, "code")).collect::<Vec<_>>().join(", "),
        None if is_text => answer.text().trim_end().replace('\n', " "),
        None => format!("{} bytes of {}", answer.body.len(), &sha256(&answer.body)[..19]),
    };
    match media_type {
        Some(media_type) if typed => format!("{content} ({media_type}{guessed})"),
        _ => content,
    }
}
