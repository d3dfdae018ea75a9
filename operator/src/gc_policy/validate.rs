//! [pure] A GCPolicy as it was stored, checked once and completed with the defaults.
//!
//! The rules of admission are checked again, for the same reasons as those of a Registry, and two more that admission
//! cannot: that the schedule and the time zone mean something, and that durations are within bounds.

use berth_config::Duration;
use berth_crds::{GCPolicy, GCPolicySpec, GCPolicyStatus, RUN_NOW_ANNOTATION, RegistryRef, Span};
use jiff::tz::TimeZone;
use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource as _, ResourceExt as _};

use super::schedule::Schedule;
use crate::{Settings, pods, problem::Problems};

const DEFAULT_TIME_ZONE: &str = "Etc/UTC";
const DEFAULT_GRACE: Duration = Duration::from_secs(3600);
const DEFAULT_DEADLINE: Duration = Duration::from_secs(6 * 3600);
const MIN_DEADLINE: Duration = Duration::from_secs(60);
const MAX_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_GRACE: Duration = Duration::from_secs(3650 * 24 * 3600);
const DEFAULT_HISTORY: i32 = 3;
const MAX_HISTORY: i32 = 10;
/// With none kept, the Job would be deleted as soon as it is finished, before its report is read.
const LEAST_KEPT: i32 = 1;
/// The longest value of the run-now annotation, in bytes; it is kept in the status.
const MAX_RUN_NOW_BYTES: usize = 256;

/// A GCPolicy that can be rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidPolicy {
    /// Its name.
    pub name: String,
    /// Its namespace, which is also that of the Registry.
    pub namespace: String,
    /// The reference to it that its objects carry; none when it is not in a cluster.
    pub owner: Option<OwnerReference>,
    /// The name of the Registry.
    pub registry: String,
    /// The schedule as it was written.
    pub schedule_text: String,
    /// The schedule.
    pub schedule: Schedule,
    /// The name of the time zone.
    pub time_zone: String,
    /// Whether the schedule starts nothing.
    pub suspend: bool,
    /// Whether a run only counts.
    pub dry_run: bool,
    /// Whether untagged manifests are deleted.
    pub delete_untagged: bool,
    /// How old content must be to be deleted.
    pub grace_period: Duration,
    /// How many succeeded Jobs are kept; at least one.
    pub successful_runs_history_limit: i32,
    /// How many failed Jobs are kept; at least one.
    pub failed_runs_history_limit: i32,
    /// How long a run may take.
    pub active_deadline: Duration,
    /// Requests and limits of a run's container.
    pub resources: ResourceRequirements,
    /// The run that the annotation asks for and that was not started yet.
    pub run_now: Option<RunNow>,
}

/// A run that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunNow {
    /// The value of the annotation.
    pub value: String,
    /// How many were handled before.
    pub number: i64,
}

/// Checks a policy and computes what it leaves out.
///
/// # Errors
/// Every problem that was found, each with its field.
pub fn validate(policy: &GCPolicy, settings: &Settings) -> Result<ValidPolicy, Problems> {
    let mut problems = Problems::default();
    let name = policy.metadata.name.clone().unwrap_or_default();
    problems.check_name("GCPolicy", &name);
    // Taken apart without `..`: a new field of the spec must be dealt with here.
    let GCPolicySpec {
        registry_ref: RegistryRef { name: registry },
        schedule: schedule_text,
        time_zone,
        suspend,
        dry_run,
        delete_untagged,
        grace_period,
        successful_runs_history_limit,
        failed_runs_history_limit,
        active_deadline,
        resources,
    } = policy.spec.clone();
    if registry.is_empty() {
        problems.add("spec.registryRef.name", "is missing: name a Registry of the same namespace");
    }
    let time_zone = time_zone.unwrap_or_else(|| DEFAULT_TIME_ZONE.into());
    let schedule = schedule_of(&schedule_text, &time_zone, &mut problems);
    let grace_period =
        span("spec.gracePeriod", grace_period, DEFAULT_GRACE, (Duration::default(), MAX_GRACE), &mut problems);
    let active_deadline =
        span("spec.activeDeadline", active_deadline, DEFAULT_DEADLINE, (MIN_DEADLINE, MAX_DEADLINE), &mut problems);
    let successful_runs_history_limit =
        history("spec.successfulRunsHistoryLimit", successful_runs_history_limit, &mut problems);
    let failed_runs_history_limit = history("spec.failedRunsHistoryLimit", failed_runs_history_limit, &mut problems);
    let run_now = policy.annotations().get(RUN_NOW_ANNOTATION).filter(|value| !value.is_empty()).cloned();
    if run_now.as_ref().is_some_and(|value| value.len() > MAX_RUN_NOW_BYTES) {
        problems.add(
            format!("metadata.annotations[{RUN_NOW_ANNOTATION}]"),
            format!("must have at most {MAX_RUN_NOW_BYTES} bytes: a date or a number is enough"),
        );
    }
    let Some(schedule) = schedule.filter(|_| problems.is_empty()) else { return Err(problems) };
    Ok(ValidPolicy {
        namespace: policy.metadata.namespace.clone().unwrap_or_else(|| settings.namespace.clone()),
        owner: policy.controller_owner_ref(&()),
        registry,
        schedule_text,
        schedule,
        time_zone,
        suspend: suspend.unwrap_or(false),
        dry_run: dry_run.unwrap_or(false),
        delete_untagged: delete_untagged.unwrap_or(false),
        grace_period,
        successful_runs_history_limit,
        failed_runs_history_limit,
        active_deadline,
        resources: resources.unwrap_or_else(|| pods::requests("10m", "32Mi")),
        run_now: run_now.and_then(|value| requested(value, policy.status.as_ref())),
        name,
    })
}

/// The run that a value asks for; none when it was handled last.
fn requested(value: String, status: Option<&GCPolicyStatus>) -> Option<RunNow> {
    let handled = status.and_then(|status| status.handled_run_now.as_ref());
    let number = status.and_then(|status| status.requested_runs).unwrap_or(0);
    (handled != Some(&value)).then_some(RunNow { value, number })
}

fn schedule_of(text: &str, time_zone: &str, problems: &mut Problems) -> Option<Schedule> {
    let zone = match TimeZone::get(time_zone) {
        Ok(zone) if time_zone != "Local" => zone,
        Ok(_) | Err(_) => {
            problems.add(
                "spec.timeZone",
                format!("{time_zone:?} is not in the tz database: use a name such as Europe/Berlin or Etc/UTC"),
            );
            TimeZone::UTC
        }
    };
    match Schedule::parse(text, zone) {
        Ok(schedule) => Some(schedule),
        Err(error) => {
            problems.add("spec.schedule", error.to_string());
            None
        }
    }
}

fn span(
    field: &str,
    given: Option<Span>,
    default: Duration,
    (least, most): (Duration, Duration),
    problems: &mut Problems,
) -> Duration {
    let Some(given) = given else { return default };
    match given.parse() {
        Ok(length) if (least..=most).contains(&length) => length,
        Ok(_) => {
            problems.add(field, format!("{given} is out of bounds: it must be between {least} and {most}"));
            default
        }
        Err(error) => {
            problems.add(field, error.to_string());
            default
        }
    }
}

fn history(field: &str, given: Option<i32>, problems: &mut Problems) -> i32 {
    let limit = given.unwrap_or(DEFAULT_HISTORY);
    if !(0..=MAX_HISTORY).contains(&limit) {
        problems.add(field, format!("must be between 0 and {MAX_HISTORY}"));
    }
    limit.max(LEAST_KEPT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::names;
    use serde_json::{Value, json};

    fn policy(key: &str, value: Value) -> GCPolicy {
        let mut spec = json!({"registryRef": {"name": "main"}, "schedule": "0 3 * * *"});
        spec[key] = value;
        serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy",
            "metadata": {"name": "nightly"}, "spec": spec}))
        .unwrap()
    }

    #[test]
    fn every_problem_is_named_with_its_field() {
        for (key, value, expected) in [
            ("timeZone", json!("Europe/Berlin"), ""),
            ("timeZone", json!("Europe/Bonn"), "spec.timeZone: \"Europe/Bonn\" is not in the tz database"),
            ("schedule", json!("61 * * * *"), "spec.schedule: \"61 * * * *\" is not a schedule"),
            ("schedule", json!("60 25 * * *"), "spec.schedule: \"60 25 * * *\" is not a schedule: the minute"),
            ("schedule", json!("0 3 * * 7"), "spec.schedule: \"0 3 * * 7\" is not a schedule: the day of the week"),
            ("schedule", json!("nightly"), "spec.schedule: \"nightly\" is not a schedule: give five fields"),
            ("gracePeriod", json!("7d"), ""),
            ("gracePeriod", json!("0"), ""),
            ("gracePeriod", json!("-1h"), "spec.gracePeriod: duration \"-1h\" is negative"),
            ("gracePeriod", json!("20000d"), "spec.gracePeriod: 20000d is out of bounds"),
            ("activeDeadline", json!("1ns"), "spec.activeDeadline: 1ns is out of bounds: it must be between 1m"),
            ("activeDeadline", json!("5s"), "spec.activeDeadline: 5s is out of bounds: it must be between 1m"),
            ("failedRunsHistoryLimit", json!(11), "spec.failedRunsHistoryLimit: must be between 0 and 10"),
        ] {
            let found = match validate(&policy(key, value.clone()), &Settings::default()) {
                Ok(_) => String::new(),
                Err(problems) => problems.to_string(),
            };
            assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{key} {value}: {found}");
        }
    }

    #[test]
    fn the_last_job_is_kept_until_its_report_is_read() {
        for (given, expected) in [(0, 1), (1, 1), (10, 10)] {
            let succeeded =
                validate(&policy("successfulRunsHistoryLimit", json!(given)), &Settings::default()).unwrap();
            let failed = validate(&policy("failedRunsHistoryLimit", json!(given)), &Settings::default()).unwrap();
            let told = (succeeded.successful_runs_history_limit, failed.failed_runs_history_limit);
            assert_eq!(told, (expected, expected), "{given}");
        }
    }

    /// What two values after each other, and a crash between the Job and the status, come to.
    #[test]
    fn every_request_has_a_job_of_its_own() {
        let job = |uid: &str, value: &str, status: Value| {
            let policy: GCPolicy = serde_json::from_value(json!({
                "apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy",
                "metadata": {"name": "nightly", "uid": uid, "annotations": {RUN_NOW_ANNOTATION: value}},
                "spec": {"registryRef": {"name": "main"}, "schedule": "@daily"},
                "status": status
            }))
            .unwrap();
            let run_now = validate(&policy, &Settings::default()).unwrap().run_now?;
            Some(names::run_now_job("nightly", uid, run_now.number, &run_now.value))
        };
        let handled = |value: &str, number: i64| json!({"handledRunNow": value, "requestedRuns": number});
        assert_eq!(job("u1", "", json!({})), None);
        assert_eq!(job("u1", "A", handled("A", 1)), None);
        assert_eq!(job("u1", "A", json!({})), job("u1", "A", json!({})), "a crash before the status starts no second");
        let all = [
            job("u1", "A", json!({})),
            job("u1", "B", json!({})),
            job("u1", "B", handled("A", 1)),
            job("u1", "A", handled("B", 2)),
            job("u1", "B", handled("A", 3)),
            job("u2", "A", json!({})),
        ];
        let different: BTreeSet<_> = all.iter().flatten().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
    }
}
