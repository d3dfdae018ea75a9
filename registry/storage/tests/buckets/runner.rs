//! Runs every case on every subject, one after the other, and says at the end what was run and what was not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cases::{self, Case};
use crate::stored::{self, Stored};
use crate::subject::{Subject, Verdict};
use crate::table::{self, Outcome, Ran};

/// How long a case may take: the slowest server on a busy machine needs a part of it.
const PATIENCE: Duration = Duration::from_secs(240);

/// Runs the suite on stores, and on buckets and the stores that are made of them; prints the table, and fails if any case
/// did.
pub(crate) async fn run(stores: Vec<Stored>, subjects: Vec<Subject>) {
    assert!(!stores.is_empty() || !subjects.is_empty(), "nothing to run the suite on: is there a driver of that name?");
    let only = std::env::var("BERTH_CASE").ok();
    let is_wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let of_buckets: Vec<Case<Subject>> = cases::all().into_iter().filter(|case| is_wanted(case.name)).collect();
    let of_stores: Vec<Case<Stored>> = stored::all().into_iter().filter(|case| is_wanted(case.name)).collect();
    assert!(!of_buckets.is_empty() || !of_stores.is_empty(), "there is no case of that name");
    let mut outcomes = Vec::new();
    for stored in stores {
        outcomes.push(on(None, stored, &of_buckets, &of_stores).await);
    }
    for subject in subjects {
        let stored = Stored::in_bucket(&subject);
        outcomes.push(on(Some(subject), stored, &of_buckets, &of_stores).await);
    }
    println!("\n{} cases of buckets, {} of stores\n{}", of_buckets.len(), of_stores.len(), table::of(&outcomes));
    let failed: usize = outcomes.iter().map(Outcome::failed).sum();
    assert_eq!(failed, 0, "cases failed; they are named above");
}

async fn on(
    bucket: Option<Subject>,
    stored: Stored,
    of_buckets: &[Case<Subject>],
    of_stores: &[Case<Stored>],
) -> Outcome {
    let begin = Instant::now();
    let Stored { driver, server, version, lacks, .. } = &stored;
    let (driver, server, version, lacks) = (*driver, *server, version.clone(), lacks.clone());
    for (name, _) in &lacks {
        let is_case =
            cases::all().iter().any(|case| case.name == *name) || stored::all().iter().any(|case| case.name == *name);
        assert!(is_case, "{driver} on {server}: no case {name}");
    }
    // It holds the server, which the store needs as well.
    let subject = bucket.map(Arc::new);
    let bucket = match &subject {
        Some(subject) => Some(every(subject, &lacks, of_buckets).await),
        None => None,
    };
    let store = every(&Arc::new(stored), &lacks, of_stores).await;
    Outcome { driver, server, version, bucket, store, seconds: begin.elapsed().as_secs() }
}

async fn every<S: Send + Sync + 'static>(
    subject: &Arc<S>,
    lacks: &[(&'static str, &'static str)],
    cases: &[Case<S>],
) -> Ran {
    let mut ran = Ran::default();
    for case in cases {
        if let Some((_, reason)) = lacks.iter().find(|(name, _)| *name == case.name) {
            ran.skipped.push((case.name, (*reason).to_owned()));
            continue;
        }
        // A case in a task of its own can panic without the others.
        let mut task = tokio::spawn((case.run)(subject.clone()));
        match tokio::time::timeout(PATIENCE, &mut task).await {
            Ok(Ok(Verdict::Passed)) => ran.passed += 1,
            Ok(Ok(Verdict::Skipped(reason))) => ran.skipped.push((case.name, reason)),
            Ok(Err(panic)) => ran.failed.push((case.name, message(panic))),
            Err(_) => {
                task.abort();
                ran.failed.push((case.name, format!("not done within {} seconds", PATIENCE.as_secs())));
            }
        }
    }
    ran
}

fn message(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "ended".to_owned() };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}
