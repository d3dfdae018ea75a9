//! Runs every case on every subject, one after the other, and says at the end what was run and what was not.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cases::{self, Case};
use crate::subject::{Subject, Verdict};

/// How long a case may take: the slowest server on a busy machine needs a part of it.
const PATIENCE: Duration = Duration::from_secs(240);

struct Outcome {
    subject: String,
    version: String,
    run: usize,
    seconds: u64,
    skipped: Vec<(&'static str, String)>,
    failed: Vec<(&'static str, String)>,
}

/// Runs the suite, prints the table, and fails if any case did.
pub(crate) async fn run(subjects: Vec<Subject>) {
    assert!(!subjects.is_empty(), "nothing to run the suite on: is there a driver of that name?");
    let only = std::env::var("BERTH_CASE").ok();
    let cases: Vec<Case> =
        cases::all().into_iter().filter(|case| only.as_deref().is_none_or(|only| only == case.name)).collect();
    assert!(!cases.is_empty(), "there is no case of that name");
    let mut outcomes = Vec::new();
    for subject in subjects {
        outcomes.push(on(Arc::new(subject), &cases).await);
    }
    println!("\n{}", table(&outcomes));
    let failed: usize = outcomes.iter().map(|outcome| outcome.failed.len()).sum();
    assert_eq!(failed, 0, "cases failed; they are named above");
}

async fn on(subject: Arc<Subject>, cases: &[Case]) -> Outcome {
    let begin = Instant::now();
    let (mut run, mut skipped, mut failed) = (0, Vec::new(), Vec::new());
    for case in cases {
        if let Some((_, reason)) = subject.lacks.iter().find(|(name, _)| *name == case.name) {
            skipped.push((case.name, (*reason).to_owned()));
            continue;
        }
        // A case in a task of its own can panic without the others.
        let mut task = tokio::spawn((case.run)(subject.clone()));
        match tokio::time::timeout(PATIENCE, &mut task).await {
            Ok(Ok(Verdict::Passed)) => run += 1,
            Ok(Ok(Verdict::Skipped(reason))) => skipped.push((case.name, reason)),
            Ok(Err(panic)) => failed.push((case.name, message(panic))),
            Err(_) => {
                task.abort();
                failed.push((case.name, format!("not done within {} seconds", PATIENCE.as_secs())));
            }
        }
    }
    for (name, _) in &subject.lacks {
        assert!(cases::all().iter().any(|case| case.name == *name), "{}: no case {name}", subject.name());
    }
    Outcome {
        subject: subject.name(),
        version: subject.version.clone(),
        run,
        seconds: begin.elapsed().as_secs(),
        skipped,
        failed,
    }
}

fn message(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "ended".to_owned() };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let width = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).max().unwrap_or(0);
    let (wide, versions) = (width(|outcome| outcome.subject.len()), width(|outcome| outcome.version.len()));
    for Outcome { subject, version, run, seconds, skipped, failed } in outcomes {
        let (skipped, failed) = (skipped.len(), failed.len());
        let _ = writeln!(
            text,
            "{subject:wide$}  {version:versions$}  {run:3} passed  {skipped:2} skipped  {failed:2} failed  {seconds:4} s"
        );
    }
    for Outcome { subject, skipped, failed, .. } in outcomes {
        for (case, reason) in skipped {
            let _ = writeln!(text, "skipped: {subject}: {case}: {reason}");
        }
        for (case, reason) in failed {
            let _ = writeln!(text, "FAILED: {subject}: {case}: {reason}");
        }
    }
    text
}
