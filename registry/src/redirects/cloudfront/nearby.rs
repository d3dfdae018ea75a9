//! Which clients are sent to the store itself: those inside of AWS, or of some of its regions, for whom the way to S3 is
//! short and the one to the network's edge is not.
//!
//! The list is fetched when the server starts and now and then. Until there is one, nobody is nearby; one that cannot be
//! fetched leaves the one before as it is.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwapOption;
use berth_config::shown_address;
use http::Uri;
use tokio_util::sync::CancellationToken;

use super::ranges::{Published, Ranges};
use crate::fetch::Document;

/// How long the server of the list may take for all of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest list in bytes: a few times as long as it is.
const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;
/// The time after the first failure until it is tried again; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest such time.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Whose addresses count, and where they are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// The regions; all if there are none.
    pub(super) regions: Vec<String>,
    pub(super) source: Uri,
    /// The time between two looks.
    pub(super) every: Duration,
}

/// The list, kept fresh.
pub(super) struct Nearby {
    filter: Filter,
    ranges: ArcSwapOption<Ranges>,
}

impl Nearby {
    pub(super) fn new(filter: Filter) -> Self {
        Nearby { filter, ranges: ArcSwapOption::empty() }
    }

    /// Whether a client is.
    pub(super) fn has(&self, client: IpAddr) -> bool {
        self.ranges.load().as_ref().is_some_and(|ranges| ranges.contains(client))
    }

    /// Fetches the list again and again until `stop`.
    pub(super) async fn follow(&self, stop: &CancellationToken) {
        let mut failures = 0;
        loop {
            let Some(looked) = stop.run_until_cancelled(self.look()).await else { return };
            failures = match looked {
                Ok(()) => 0,
                Err(error) => {
                    let (source, error) = (shown_address(&self.filter.source.to_string()), format!("{error:#}"));
                    let known = self.ranges.load().as_ref().map_or(0, |ranges| ranges.count());
                    tracing::warn!(source, error, known, "cannot fetch the address ranges of AWS; those known stay");
                    failures + 1
                }
            };
            let wait = pause(failures, self.filter.every, RandomState::new().hash_one(failures));
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    async fn look(&self) -> Result<()> {
        let Filter { regions, source, .. } = &self.filter;
        let document = Document::new("middleware.storage", source.clone());
        let fetched = tokio::time::timeout(PATIENCE, document.get(MAX_LIST_BYTES)).await;
        let list = fetched.with_context(|| format!("no answer within {} seconds", PATIENCE.as_secs()))??;
        let Published { ranges, ignored, absent } = Ranges::parse(&list, regions)?;
        let source = shown_address(&source.to_string());
        if ignored > 0 {
            tracing::warn!(source, ignored, "some address ranges of AWS cannot be read");
        }
        if !absent.is_empty() {
            let absent = absent.join(", ");
            tracing::warn!(source, absent, "awsregion names regions that have no address ranges");
        }
        tracing::info!(source, ranges = ranges.count(), "the address ranges of AWS are known");
        self.ranges.store(Some(ranges.into()));
        Ok(())
    }
}

/// How long to wait after so many failures on end; pure. `random` is any number: servers that have failed together do not
/// come back together.
fn pause(failures: u32, every: Duration, random: u64) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return every };
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE).min(every);
    let share = (random >> 32) as f64 / f64::from(u32::MAX);
    longest.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn failures_are_tried_again_sooner_and_then_later() {
        fn check(failures: u32, every: u64, random: u64, expected: f64) {
            let waited = pause(failures, Duration::from_secs(every), random).as_secs_f64();
            assert!((waited - expected).abs() < 0.01, "{failures} {every}: {waited}");
        }
        let day = 86_400;
        for random in [0, u64::MAX] {
            check(0, day, random, 86_400.0);
        }
        check(1, day, u64::MAX, 5.0);
        check(1, day, 0, 2.5);
        check(4, day, u64::MAX, 40.0);
        check(60, day, u64::MAX, 600.0);
        check(4, 10, u64::MAX, 10.0);
    }

    /// Answers one request after another with these, each a head and a body.
    async fn answering(answers: Vec<(String, String)>) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for (head, body) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = Vec::new();
                while !text.ends_with(b"\r\n\r\n") {
                    text.push(stream.read_u8().await.unwrap());
                }
                let length = body.len();
                let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        format!("http://{address}/ip-ranges.json").parse().unwrap()
    }

    fn list(prefix: &str) -> (String, String) {
        ("200 OK".into(), format!(r#"{{"prefixes": [{{"ip_prefix": "{prefix}", "region": "eu-west-1"}}]}}"#))
    }

    fn of(source: Uri, every: Duration) -> Arc<Nearby> {
        Arc::new(Nearby::new(Filter { regions: Vec::new(), source, every }))
    }

    #[tokio::test]
    async fn what_was_known_stays_when_the_list_cannot_be_fetched() {
        let failures = [
            ("503 No".to_owned(), String::new(), "the answer is 503"),
            ("200 OK".to_owned(), "<html>".to_owned(), "it is no list of ranges"),
            ("200 OK".to_owned(), "{}".to_owned(), "it has no range of addresses in it"),
            ("302 Found\r\nlocation: nowhere".to_owned(), String::new(), "the redirect to \"nowhere\""),
        ];
        let broken = failures.iter().map(|(head, body, _)| (head.clone(), body.clone()));
        let there = ("301 Moved\r\nlocation: /there".to_owned(), String::new());
        let answers = broken.clone().chain([list("10.0.0.0/8")]).chain(broken).chain([there, list("11.0.0.0/8")]);
        let nearby = of(answering(answers.collect()).await, Duration::from_secs(60));
        let has = |first: u8| nearby.has([first, 1, 2, 3].into());
        for (_, _, expected) in &failures {
            let error = format!("{:#}", nearby.look().await.unwrap_err());
            assert!(error.starts_with(expected), "{error}");
            assert!(!has(10), "nobody is nearby before there is a list");
        }
        nearby.look().await.unwrap();
        for (_, _, expected) in &failures {
            assert!(format!("{:#}", nearby.look().await.unwrap_err()).starts_with(expected));
            assert!(has(10) && !has(11));
        }
        nearby.look().await.unwrap();
        assert!(!has(10) && has(11));
    }

    #[tokio::test]
    async fn a_list_without_end_is_not_read_to_its_end() {
        let source = answering(vec![("200 OK".into(), " ".repeat(MAX_LIST_BYTES + 1))]).await;
        let error = format!("{:#}", of(source, Duration::from_secs(60)).look().await.unwrap_err());
        assert!(error.contains("length limit exceeded"), "{error}");
    }

    #[tokio::test]
    async fn the_list_is_followed_until_the_end() {
        let source = answering(vec![list("10.0.0.0/8"), list("11.0.0.0/8"), list("12.0.0.0/8")]).await;
        let (nearby, stop) = (of(source, Duration::from_millis(20)), CancellationToken::new());
        let (followed, stopping) = (nearby.clone(), stop.clone());
        let following = tokio::spawn(async move { followed.follow(&stopping).await });
        let deadline = Instant::now() + Duration::from_secs(30);
        while !nearby.has([12, 1, 2, 3].into()) {
            assert!(Instant::now() < deadline, "the third list was not fetched");
            tokio::task::yield_now().await;
        }
        stop.cancel();
        following.await.unwrap();
    }
}
