//! The report of a collection, in the form that the job leaves behind and the operator reads.

use berth_storage::Stat;
use serde::{Deserialize, Serialize};

use super::guard::Spared;
use super::snapshot::Snapshot;
use super::sweep::Swept;

/// Whether everything could be read and deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Everything.
    Clean,
    /// Something could not be, and was left alone.
    Partial,
}

/// What a collection did, or would have done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether everything could be read and deleted.
    pub outcome: Outcome,
    /// Whether nothing was deleted.
    pub dry_run: bool,
    /// When the collection began.
    pub start: jiff::Timestamp,
    /// When it ended.
    pub end: jiff::Timestamp,
    /// How many manifests of repositories stay.
    pub manifests_kept: u64,
    /// How many went.
    pub manifests_deleted: u64,
    /// How many blobs stay, manifests included.
    pub blobs_kept: u64,
    /// How many went, manifests included.
    pub blobs_deleted: u64,
    /// How many bytes went.
    pub bytes_freed: u64,
    /// How many bytes stay.
    pub bytes_kept: u64,
    /// How many manifests and blobs nothing refers to and stay all the same, because a request used them or was told of
    /// them within the grace period, or may have been before the server started.
    #[serde(default)]
    pub spared: u64,
    /// What could not be read or deleted, as sentences.
    pub problems: Vec<String>,
}

/// How long a report may become.
#[derive(Clone, Copy, Debug)]
pub struct ReportLimits;

impl ReportLimits {
    /// The longest report in bytes of JSON: Kubernetes cuts a termination message there.
    pub const BYTES: usize = 4096;
    /// How many problems are told one by one.
    const PROBLEMS: usize = 10;
    /// The longest problem in characters. Ten of them, each character escaped in six bytes, would not fit; names and
    /// digests are ASCII, so they do.
    const PROBLEM_CHARACTERS: usize = 300;
}

pub(super) fn of(
    snapshot: &Snapshot,
    swept: &Swept,
    spared: Spared,
    dry_run: bool,
    start: jiff::Timestamp,
    end: jiff::Timestamp,
) -> Report {
    let revisions: usize = snapshot.repositories.values().map(|repository| repository.revisions.len()).sum();
    let bytes = |stats: &mut dyn Iterator<Item = &Stat>| stats.map(|stat| stat.size).sum::<u64>();
    let all_bytes = bytes(&mut snapshot.blobs.values());
    let freed = bytes(&mut swept.blobs.iter().filter_map(|digest| snapshot.blobs.get(digest)));
    let problems: Vec<String> = snapshot.problems.iter().chain(&swept.problems).cloned().collect();
    Report {
        outcome: if problems.is_empty() { Outcome::Clean } else { Outcome::Partial },
        dry_run,
        start,
        end,
        manifests_kept: (revisions - swept.revisions.len()) as u64,
        manifests_deleted: swept.revisions.len() as u64,
        blobs_kept: (snapshot.blobs.len() - swept.blobs.len()) as u64,
        blobs_deleted: swept.blobs.len() as u64,
        bytes_freed: freed,
        bytes_kept: all_bytes - freed,
        spared: spared.total(),
        problems: shorten(problems),
    }
}

/// The whole list goes to the log, the first of it into the report.
fn shorten(problems: Vec<String>) -> Vec<String> {
    let total = problems.len();
    let mut shown = Vec::new();
    for problem in problems {
        tracing::warn!(problem, "garbage collection left something alone");
        if shown.len() < ReportLimits::PROBLEMS {
            shown.push(problem.chars().take(ReportLimits::PROBLEM_CHARACTERS).collect());
        }
    }
    if total > shown.len() {
        shown.push(format!("and {} more, which the log names", total - shown.len()));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fits_into_a_termination_message() {
        let long = "manifest team/app@sha256:".to_owned() + &"0".repeat(1000);
        let swept = Swept { problems: vec![long; 500], ..Swept::default() };
        let now = jiff::Timestamp::UNIX_EPOCH;
        let report = of(&Snapshot::default(), &swept, Spared::default(), false, now, now);
        assert_eq!(report.outcome, Outcome::Partial);
        assert_eq!(report.problems.last().map(String::as_str), Some("and 490 more, which the log names"));
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.len() <= ReportLimits::BYTES, "{} bytes", json.len());
    }

    #[test]
    fn the_words_are_those_of_the_contract() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let report =
            of(&Snapshot::default(), &Swept::default(), Spared { in_use: 1, told: 2, floor: 3 }, true, now, now);
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            "{\"outcome\":\"Clean\",\"dryRun\":true,\"start\":\"1970-01-01T00:00:00Z\",\"end\":\"1970-01-01T00:00:00Z\",\
             \"manifestsKept\":0,\"manifestsDeleted\":0,\"blobsKept\":0,\"blobsDeleted\":0,\"bytesFreed\":0,\
             \"bytesKept\":0,\"spared\":6,\"problems\":[]}"
        );
    }
}
