//! [pure] Finished Jobs and their pods to the runs of a status.
//!
//! A Job and its pod go when their time is over; the status keeps what they said. A run that is in the status is
//! therefore never read again.

use berth_crds::{MAX_RUNS, Outcome, Run};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition},
        core::v1::{ContainerStateTerminated, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde::Deserialize;

use super::{
    fetch::Observed,
    render::{CONTAINER, DRY_RUN_ARGUMENT},
};
use crate::conditions;

/// The most of a termination message that is read; Kubernetes keeps no more.
const MAX_MESSAGE_BYTES: usize = 4096;
/// The labels by which Kubernetes ties a pod to its Job.
const JOB_LABEL: &str = "batch.kubernetes.io/job-name";
const JOB_UID_LABEL: &str = "batch.kubernetes.io/controller-uid";

/// What a run leaves behind.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Message {
    Report(Report),
    Failure { error: Failure },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    outcome: ReportedOutcome,
    dry_run: bool,
    start: Time,
    end: Time,
    manifests_kept: u64,
    manifests_deleted: u64,
    blobs_kept: u64,
    blobs_deleted: u64,
    bytes_freed: u64,
    bytes_kept: u64,
    // A server of an earlier version does not tell.
    spared: Option<u64>,
    problems: Vec<String>,
}

#[derive(Debug, Deserialize)]
enum ReportedOutcome {
    Clean,
    Partial,
}

#[derive(Debug, Deserialize)]
struct Failure {
    code: String,
    message: String,
}

/// What is known of the runs.
#[derive(Debug)]
pub struct Collected {
    /// The last runs, the newest first: those that are known, and those of Jobs that finished since.
    pub runs: Vec<Run>,
    /// Whether a Job is finished and how it ended can only be read later.
    pub is_unread: bool,
}

/// Reads the runs of the Jobs that finished since.
#[must_use]
pub fn collect(known: &[Run], observed: &Observed) -> Collected {
    let mut runs = known.to_vec();
    let mut is_unread = false;
    for job in observed.jobs.iter().filter(|job| !known.iter().any(|run| is_of(run, job))) {
        match read(job, observed) {
            Reading::Underway => {}
            Reading::Unread => is_unread = true,
            Reading::Finished(run) => runs.push(*run),
        }
    }
    runs.sort_by(|a, b| b.start.cmp(&a.start).then_with(|| b.job.cmp(&a.job)));
    runs.truncate(MAX_RUNS);
    Collected { runs, is_unread }
}

/// What a Job tells.
enum Reading {
    /// It runs, or will.
    Underway,
    /// It is finished, and its pod was not seen to be: what is noted stays, so it is not noted yet.
    Unread,
    Finished(Box<Run>),
}

/// The runs of `now` that are not in `before`, the oldest first.
pub fn news<'a>(before: &'a [Run], now: &'a [Run]) -> impl Iterator<Item = &'a Run> {
    now.iter().rev().filter(|run| !before.iter().any(|old| (&old.job, &old.job_uid) == (&run.job, &run.job_uid)))
}

/// Whether a run is that of a Job. A name alone may be that of another one, which is deleted since.
fn is_of(run: &Run, job: &Job) -> bool {
    match (&run.job_uid, &job.metadata.uid) {
        (Some(of), Some(uid)) => of == uid,
        _ => job.metadata.name.as_ref() == Some(&run.job),
    }
}

fn read(job: &Job, observed: &Observed) -> Reading {
    let finished = |type_: &str| {
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    let (ended, failure) = match (finished("Complete"), finished("Failed")) {
        (Some(complete), _) => (complete, None),
        (None, Some(failed)) => (failed, Some(failed)),
        (None, None) => return Reading::Underway,
    };
    let pod = newest_pod(job, &observed.pods);
    if pod.map_or(observed.has_more_pods, is_running) {
        return Reading::Unread;
    }
    Reading::Finished(Box::new(finished_run(job, pod, ended, failure)))
}

/// The run of a finished Job.
fn finished_run(job: &Job, pod: Option<&Pod>, ended: &JobCondition, failure: Option<&JobCondition>) -> Run {
    let exit = pod.and_then(exit_of);
    let message = exit.and_then(|exit| exit.message.as_deref()).unwrap_or_default();
    match (parse(message), failure) {
        (Ok(Message::Report(report)), None) => run_of_report(job, report),
        (Ok(Message::Failure { error }), _) => {
            let Failure { code, message } = error;
            failed_run(job, ended, &format!("{code}: {message}"))
        }
        // A report of a run that was stopped all the same, or no report at all.
        (_, Some(failure)) => failed_run(job, ended, &tell_failure(failure, exit, message)),
        (Err(_), None) if pod.is_none() => {
            failed_run(job, ended, "the run ended well, and its report is gone with its pod")
        }
        (Err(error), None) => {
            failed_run(job, ended, &format!("the run ended well and left no report that can be read: {error}"))
        }
    }
}

fn name_of(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

fn parse(message: &str) -> Result<Message, String> {
    if message.is_empty() {
        return Err("it is empty".into());
    }
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(format!("it has more than {MAX_MESSAGE_BYTES} bytes"));
    }
    serde_json::from_str(message).map_err(|error| error.to_string())
}

fn run_of_report(job: &Job, report: Report) -> Run {
    let Report {
        outcome,
        dry_run,
        start,
        end,
        manifests_kept,
        manifests_deleted,
        blobs_kept,
        blobs_deleted,
        bytes_freed,
        bytes_kept,
        spared,
        problems,
    } = report;
    // The API's numbers are signed.
    let count = |number: u64| Some(i64::try_from(number).unwrap_or(i64::MAX));
    Run {
        job: name_of(job).to_owned(),
        job_uid: job.metadata.uid.clone(),
        start: conditions::whole_second(start.0),
        end: Some(conditions::whole_second(end.0)),
        outcome: match outcome {
            ReportedOutcome::Clean => Outcome::Clean,
            ReportedOutcome::Partial => Outcome::Partial,
        },
        dry_run,
        manifests_kept: count(manifests_kept),
        manifests_deleted: count(manifests_deleted),
        blobs_kept: count(blobs_kept),
        blobs_deleted: count(blobs_deleted),
        bytes_freed: count(bytes_freed),
        bytes_kept: count(bytes_kept),
        spared: spared.and_then(count),
        message: Some(conditions::shorten(&problems.join("; "))).filter(|text| !text.is_empty()),
    }
}

fn failed_run(job: &Job, ended: &JobCondition, message: &str) -> Run {
    let status = job.status.as_ref();
    let created = || job.metadata.creation_timestamp.clone();
    let start = status.and_then(|status| status.start_time.clone()).or_else(created);
    let end = status.and_then(|status| status.completion_time.clone()).or_else(|| ended.last_transition_time.clone());
    Run {
        job: name_of(job).to_owned(),
        job_uid: job.metadata.uid.clone(),
        start: start.or_else(|| end.clone()).unwrap_or(Time(jiff::Timestamp::UNIX_EPOCH)),
        end,
        outcome: Outcome::Failed,
        dry_run: is_dry_run(job),
        manifests_kept: None,
        manifests_deleted: None,
        blobs_kept: None,
        blobs_deleted: None,
        bytes_freed: None,
        bytes_kept: None,
        spared: None,
        message: Some(conditions::shorten(message)),
    }
}

fn tell_failure(failure: &JobCondition, exit: Option<&ContainerStateTerminated>, message: &str) -> String {
    let reason = failure.reason.as_deref().unwrap_or("Failed");
    match exit {
        // The Job's own words are about a count of retries; those of the container are about what happened.
        Some(exit) if reason == "BackoffLimitExceeded" && !message.trim().is_empty() => {
            format!("the run ended with code {}: {}", exit.exit_code, message.trim())
        }
        Some(exit) if reason == "BackoffLimitExceeded" => {
            format!("the run ended with code {} and left no message", exit.exit_code)
        }
        _ => format!("{reason}: {}", failure.message.as_deref().unwrap_or("no message is given")),
    }
}

/// Whether how a pod ends is still to come. One that is being deleted may never say so.
fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_over = matches!(phase, Some("Succeeded" | "Failed")) || exit_of(pod).is_some();
    !is_over && pod.metadata.deletion_timestamp.is_none()
}

/// How the container of a pod ended.
fn exit_of(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find(|container| container.name == CONTAINER)?.state.as_ref()?.terminated.as_ref()
}

/// The newest pod of a Job.
fn newest_pod<'a>(job: &Job, pods: &'a [Pod]) -> Option<&'a Pod> {
    // The name alone may be that of an earlier Job, whose pod is just leaving.
    let (label, value) = match &job.metadata.uid {
        Some(uid) => (JOB_UID_LABEL, uid.as_str()),
        None => (JOB_LABEL, name_of(job)),
    };
    let of_job =
        |pod: &&Pod| pod.metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|of| of == value);
    pods.iter().filter(of_job).max_by_key(|pod| pod.metadata.creation_timestamp.clone())
}

fn is_dry_run(job: &Job) -> bool {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut arguments = pod.into_iter().flat_map(|pod| &pod.containers).flat_map(|c| c.args.iter().flatten());
    arguments.any(|argument| argument == DRY_RUN_ARGUMENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const REPORT: &str = r#"{"outcome": "Clean", "dryRun": false, "start": "2026-01-01T03:00:00.25Z",
        "end": "2026-01-01T03:00:09Z", "manifestsKept": 3, "manifestsDeleted": 1, "blobsKept": 9, "blobsDeleted": 2,
        "bytesFreed": 1048576, "bytesKept": 4096, "spared": 12, "problems": []}"#;

    fn job(name: &str, condition: &Value) -> Job {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {
            "startTime": "2026-01-01T03:00:00Z", "conditions": [condition]}}))
        .unwrap()
    }

    fn pod(job: &str, code: i32, message: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"labels": {JOB_LABEL: job}}, "status": {"containerStatuses": [
            {"name": "collect", "ready": false, "image": "", "imageID": "", "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "message": message}}}]}}))
        .unwrap()
    }

    fn observed(jobs: &[Job], pods: &[Pod]) -> Observed {
        Observed { registry: None, cron_job: None, jobs: jobs.to_vec(), pods: pods.to_vec(), has_more_pods: false }
    }

    fn collect(known: &[Run], jobs: &[Job], pods: &[Pod]) -> Vec<Run> {
        super::collect(known, &observed(jobs, pods)).runs
    }

    /// What is in the status stays: a run is not noted as failed because its pod was read too early, or not at all.
    #[test]
    fn a_report_that_is_to_come_is_waited_for() {
        let complete = job("j", &json!({"type": "Complete", "status": "True"}));
        let underway = job("j", &json!({"type": "Complete", "status": "False"}));
        let failed = job("j", &json!({"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}));
        let in_phase = |phase: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"labels": {JOB_LABEL: "j"}}, "status": {"phase": phase}}))
                .unwrap()
        };
        let mut leaving = in_phase("Running");
        leaving.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        for (case, job, pod, has_more_pods, expected) in [
            ("not finished", &underway, Some(in_phase("Running")), false, (0, false)),
            ("a pod as it was before", &complete, Some(in_phase("Running")), false, (0, true)),
            ("a pod that was not listed", &complete, None, true, (0, true)),
            ("a pod that is gone", &complete, None, false, (1, false)),
            ("a pod that ended without a word", &complete, Some(in_phase("Succeeded")), false, (1, false)),
            ("a pod that is stopped", &failed, Some(leaving), false, (1, false)),
            ("a report", &complete, Some(pod("j", 0, REPORT)), true, (1, false)),
        ] {
            let pods: Vec<Pod> = pod.into_iter().collect();
            let found = Observed { has_more_pods, ..observed(std::slice::from_ref(job), &pods) };
            let Collected { runs, is_unread } = super::collect(&[], &found);
            assert_eq!((runs.len(), is_unread), expected, "{case}");
        }
    }

    #[test]
    fn how_runs_end() {
        let complete = json!({"type": "Complete", "status": "True"});
        let failed = |reason: &str, message: &str| {
            json!({"type": "Failed", "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T04:00:00Z"})
        };
        for (condition, exit, expected) in [
            (json!({"type": "Complete", "status": "False"}), None, None),
            (complete.clone(), Some((0, REPORT)), Some((Outcome::Clean, None))),
            (
                complete.clone(),
                Some((0, &*REPORT.replace("Clean", "Partial").replace("[]", "[\"a/b: unreadable\"]"))),
                Some((Outcome::Partial, Some("a/b: unreadable"))),
            ),
            (
                complete.clone(),
                Some((0, "")),
                Some((Outcome::Failed, Some("the run ended well and left no report that can be read: it is empty"))),
            ),
            (
                complete.clone(),
                None,
                Some((Outcome::Failed, Some("the run ended well, and its report is gone with its pod"))),
            ),
            (
                failed("BackoffLimitExceeded", "too often"),
                Some((1, r#"{"error": {"code": "BUSY", "message": "a run is going on"}}"#)),
                Some((Outcome::Failed, Some("BUSY: a run is going on"))),
            ),
            (
                failed("BackoffLimitExceeded", "too often"),
                Some((2, "unknown argument\n")),
                Some((Outcome::Failed, Some("the run ended with code 2: unknown argument"))),
            ),
            (
                failed("DeadlineExceeded", "Job was active longer than specified deadline"),
                None,
                Some((Outcome::Failed, Some("DeadlineExceeded: Job was active longer than specified deadline"))),
            ),
        ] {
            let pods: Vec<Pod> = exit.iter().map(|(code, message)| pod("j", *code, message)).collect();
            let found = collect(&[], &[job("j", &condition)], &pods);
            let told = found.first().map(|run| (run.outcome, run.message.as_deref()));
            assert_eq!(told, expected, "{condition} {exit:?}");
        }
    }

    #[test]
    fn a_report_is_read_whole() {
        let complete = json!({"type": "Complete", "status": "True"});
        let runs = collect(&[], &[job("j", &complete)], &[pod("j", 0, REPORT)]);
        insta::assert_yaml_snapshot!(runs);
    }

    #[test]
    fn the_last_ten_are_kept_and_known_ones_are_not_read_again() {
        let run = |n: usize| Run {
            job: format!("j{n:02}"),
            start: Time(jiff::Timestamp::from_second(i64::try_from(n).unwrap()).unwrap()),
            ..failed_run(&Job::default(), &JobCondition::default(), "x")
        };
        let known: Vec<Run> = (0..12).map(run).collect();
        let complete = json!({"type": "Complete", "status": "True"});
        let runs = collect(&known, &[job("j11", &complete), job("new", &complete)], &[pod("new", 0, REPORT)]);
        let told: Vec<_> = runs.iter().map(|run| run.job.as_str()).collect();
        assert_eq!(told, ["new", "j11", "j10", "j09", "j08", "j07", "j06", "j05", "j04", "j03"]);
        assert_eq!(runs[1].message.as_deref(), Some("x"), "a known run stays as it was");
        assert_eq!(news(&known, &runs).map(|run| run.job.as_str()).collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn jobs_of_one_name_are_told_apart() {
        let with_uid = |uid: &str| {
            let mut job = job("j", &json!({"type": "Complete", "status": "True"}));
            job.metadata.uid = Some(uid.into());
            job
        };
        let mut left = pod("j", 0, "");
        let mut new = pod("j", 0, &REPORT.replace("T03:00:00.25Z", "T03:00:05Z"));
        for (pod, uid) in [(&mut left, "u1"), (&mut new, "u2")] {
            pod.metadata.labels.as_mut().unwrap().insert(JOB_UID_LABEL.into(), uid.into());
        }
        let known = collect(&[], &[with_uid("u1")], std::slice::from_ref(&left));
        assert_eq!(collect(&known, &[with_uid("u1")], std::slice::from_ref(&left)), known);
        let runs = collect(&known, &[with_uid("u2")], &[left, new]);
        let told: Vec<_> = runs.iter().map(|run| (run.job_uid.as_deref(), run.outcome)).collect();
        assert_eq!(told, [(Some("u2"), Outcome::Clean), (Some("u1"), Outcome::Failed)]);
        assert_eq!(news(&known, &runs).count(), 1);
        let before_uids = Run { job_uid: None, ..known[0].clone() };
        assert_eq!(collect(std::slice::from_ref(&before_uids), &[with_uid("u2")], &[]), [before_uids]);
    }
}
