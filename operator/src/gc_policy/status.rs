//! [pure] The status of a GCPolicy. The time is an argument.

use berth_crds::{GCPolicy, GCPolicyStatus, GcEffective, GcSummary, Run};
use jiff::Timestamp;

use super::validate::{RunNow, ValidPolicy};
use crate::conditions::{self, Progress};

/// What a status is computed from.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The policy, if it is valid.
    pub valid: Option<&'a ValidPolicy>,
    /// How far it is.
    pub progress: Progress,
    /// The last runs.
    pub runs: Vec<Run>,
    /// The requested run that was started just now.
    pub started: Option<RunNow>,
}

/// The progress of a policy whose objects are applied.
#[must_use]
pub fn scheduled(valid: &ValidPolicy) -> Progress {
    let what = if valid.dry_run { "runs that only count" } else { "runs" };
    let message = if valid.suspend {
        "suspended: no run is started by the schedule".to_owned()
    } else {
        format!("the schedule starts {what}")
    };
    Progress::Done { message }
}

/// The status.
#[must_use]
pub fn status(policy: &GCPolicy, outcome: Outcome<'_>, now: Timestamp) -> GCPolicyStatus {
    let Outcome { valid, progress, runs, started } = outcome;
    let previous = policy.status.clone().unwrap_or_default();
    let is_scheduled = matches!(progress, Progress::Done { .. });
    // A run that deletes nothing although there is garbage says why.
    let progress = match runs.first().and_then(spared).filter(|_| is_scheduled) {
        Some(told) => progress.also(&format!("of the last run {told}")),
        None => progress,
    };
    let next_run = valid
        .filter(|valid| is_scheduled && !valid.suspend)
        .and_then(|valid| valid.schedule.next_after(now))
        .map(conditions::whole_second);
    let last_run = runs.first().cloned();
    let generation = policy.metadata.generation;
    GCPolicyStatus {
        observed_generation: generation,
        conditions: conditions::merge(&previous.conditions, progress.conditions(), generation, now),
        next_run,
        summary: valid.map(|valid| summary(valid, last_run.as_ref())).or(previous.summary),
        last_run,
        runs,
        requested_runs: started.as_ref().map(|run_now| run_now.number + 1).or(previous.requested_runs),
        handled_run_now: started.map(|run_now| run_now.value).or(previous.handled_run_now),
        effective: valid.map(effective).or(previous.effective),
    }
}

fn effective(valid: &ValidPolicy) -> GcEffective {
    GcEffective {
        time_zone: valid.time_zone.clone(),
        suspend: valid.suspend,
        dry_run: valid.dry_run,
        delete_untagged: valid.delete_untagged,
        grace_period: valid.grace_period.to_string(),
        successful_runs_history_limit: valid.successful_runs_history_limit,
        failed_runs_history_limit: valid.failed_runs_history_limit,
        active_deadline: valid.active_deadline.to_string(),
        resources: valid.resources.clone(),
    }
}

fn summary(valid: &ValidPolicy, last_run: Option<&Run>) -> GcSummary {
    let city = valid.time_zone.rsplit('/').next().unwrap_or_default().replace('_', " ");
    GcSummary {
        schedule: format!("{} ({city})", valid.schedule_text),
        freed: last_run.and_then(|run| run.bytes_freed).map(human_bytes),
    }
}

/// What a run let stay although nothing refers to it, and why; nothing if there was none.
#[must_use]
pub fn spared(run: &Run) -> Option<String> {
    let spared = run.spared.filter(|spared| *spared > 0)?;
    Some(format!("{spared} spared: used, or told of, within the grace period or since the server started"))
}

/// A number of bytes for people: `41.2GiB`.
#[must_use]
pub fn human_bytes(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    // What a float loses of such a number is far behind the one digit that is shown.
    let mut amount = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    format!("{amount:.1}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, gc_policy::validate::validate};
    use serde_json::json;

    #[test]
    fn the_next_run_and_the_columns() {
        let policy: GCPolicy = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy",
            "metadata": {"name": "nightly", "generation": 2}, "spec": {"registryRef": {"name": "main"},
                "schedule": "0 3 * * *", "timeZone": "Europe/Berlin", "dryRun": true}}))
        .unwrap();
        let valid = validate(&policy, &Settings::default()).unwrap();
        let outcome = Outcome {
            valid: Some(&valid),
            progress: scheduled(&valid),
            runs: Vec::new(),
            started: Some(RunNow { value: "1".into(), number: 0 }),
        };
        insta::assert_yaml_snapshot!(status(&policy, outcome, "2026-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn what_was_spared_is_said() {
        let policy: GCPolicy = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy",
            "metadata": {"name": "nightly"}, "spec": {"registryRef": {"name": "main"}, "schedule": "@daily"}}))
        .unwrap();
        let valid = validate(&policy, &Settings::default()).unwrap();
        for (spared, expected) in [
            (json!(null), "the schedule starts runs"),
            (json!(0), "the schedule starts runs"),
            (
                json!(12),
                "the schedule starts runs; of the last run 12 spared: used, or told of, within the grace period or \
                 since the server started",
            ),
        ] {
            let run: Run = serde_json::from_value(json!({"job": "j", "start": "2026-01-01T00:00:00Z",
                "outcome": "Clean", "dryRun": false, "spared": spared}))
            .unwrap();
            let outcome = Outcome { valid: Some(&valid), progress: scheduled(&valid), runs: vec![run], started: None };
            let status = status(&policy, outcome, Timestamp::UNIX_EPOCH);
            let ready = conditions::find(&status.conditions, "Ready").unwrap();
            assert_eq!(ready.message, expected, "{spared}");
        }
    }

    #[test]
    fn bytes_for_people() {
        for (bytes, expected) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1_048_576, "1.0MiB"),
            (44_238_012_416, "41.2GiB"),
            (i64::MAX, "8.0EiB"),
        ] {
            assert_eq!(human_bytes(bytes), expected);
        }
    }
}
