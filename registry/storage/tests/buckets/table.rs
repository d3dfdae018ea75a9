//! [pure] What was run, as a text: one line for each driver on each server, then the cases that did not run or that failed.

use std::fmt::Write as _;

/// What became of the cases of one suite.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) passed: usize,
    pub(crate) skipped: Vec<(&'static str, String)>,
    pub(crate) failed: Vec<(&'static str, String)>,
}

/// What became of a driver on a server.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) driver: &'static str,
    pub(crate) server: &'static str,
    pub(crate) version: String,
    /// None of a driver that is a store without being a bucket.
    pub(crate) bucket: Option<Ran>,
    pub(crate) store: Ran,
    pub(crate) seconds: u64,
}

impl Outcome {
    fn suites(&self) -> impl Iterator<Item = (&'static str, &Ran)> {
        self.bucket.iter().map(|ran| ("bucket", ran)).chain([("store", &self.store)])
    }

    pub(crate) fn failed(&self) -> usize {
        self.suites().map(|(_, ran)| ran.failed.len()).sum()
    }
}

pub(crate) fn of(outcomes: &[Outcome]) -> String {
    let counts = |ran: &Ran| {
        let (skipped, failed) = (ran.skipped.len(), ran.failed.len());
        format!("{} passed, {skipped} skipped, {failed} failed", ran.passed)
    };
    let heads = ["driver", "server", "version", "bucket suite", "store contract", "seconds"].map(str::to_owned);
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let rows = outcomes.iter().map(|outcome| {
        let Outcome { driver, server, version, bucket, store, seconds } = outcome;
        let bucket = bucket.as_ref().map(counts).unwrap_or_default();
        [
            (*driver).to_owned(),
            (*server).to_owned(),
            or_dash(version),
            or_dash(&bucket),
            counts(store),
            seconds.to_string(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(heads).chain(rows).collect();
    let widths: Vec<usize> =
        (0..6).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for outcome in outcomes {
        let Outcome { driver, server, .. } = outcome;
        for (suite, ran) in outcome.suites() {
            for (case, reason) in &ran.skipped {
                let _ = writeln!(text, "skipped: {driver} on {server}: {suite}: {case}: {reason}");
            }
            for (case, reason) in &ran.failed {
                let _ = writeln!(text, "FAILED: {driver} on {server}: {suite}: {case}: {reason}");
            }
        }
    }
    text
}

#[test]
fn every_case_that_did_not_pass_is_named() {
    let bucket = Ran { passed: 2, skipped: vec![("ranges", "too old".to_owned())], failed: Vec::new() };
    let store = Ran { passed: 10, skipped: Vec::new(), failed: vec![("uploads", "one byte is missing".to_owned())] };
    let outcomes = [
        Outcome { driver: "s3", server: "moto", version: "5.1".into(), bucket: Some(bucket), store, seconds: 7 },
        Outcome {
            driver: "inmemory",
            server: "this process",
            version: String::new(),
            bucket: None,
            store: Ran { passed: 11, ..Ran::default() },
            seconds: 0,
        },
    ];
    let expected = "\
driver    server        version  bucket suite                   store contract                  seconds
s3        moto          5.1      2 passed, 1 skipped, 0 failed  10 passed, 0 skipped, 1 failed  7
inmemory  this process  -        -                              11 passed, 0 skipped, 0 failed  0
skipped: s3 on moto: bucket: ranges: too old
FAILED: s3 on moto: store: uploads: one byte is missing
";
    assert_eq!(of(&outcomes), expected);
    assert_eq!(outcomes.map(|outcome| outcome.failed()), [1, 0]);
}
