//! The kind `GCPolicy`: when and how the garbage of one Registry is collected.

use k8s_openapi::{
    api::core::v1::ResourceRequirements,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// How many runs a status holds.
pub const MAX_RUNS: usize = 10;

/// When and how the garbage of a Registry is collected.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "GCPolicy",
    plural = "gcpolicies",
    shortname = "gcpol",
    category = "berth",
    namespaced,
    status = "GCPolicyStatus",
    derive = "PartialEq",
    doc = "When and how the garbage of a Registry is collected: blobs that no manifest needs, and on request manifests without a tag. The annotation berth.dev/run-now starts one run at once for every new value.",
    printcolumn(name = "Registry", type_ = "string", json_path = ".spec.registryRef.name"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".status.summary.schedule"),
    printcolumn(name = "Last Run", type_ = "date", json_path = ".status.lastRun.start"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.lastRun.outcome"),
    printcolumn(name = "Freed", type_ = "string", json_path = ".status.summary.freed"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRun"),
    printcolumn(
        name = "Status",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name of a GCPolicy becomes that of Jobs: use at most 40 of a-z, 0-9 and '-', starting with a letter and not ending with '-'")
)]
#[serde(rename_all = "camelCase")]
pub struct GCPolicySpec {
    /// The Registry, in the same namespace, whose garbage is collected. It cannot change: the runs in the status are those
    /// of one Registry.
    #[x_kube(validation = Rule::new("self.name == oldSelf.name")
        .message("registryRef cannot change: make a GCPolicy of another name for the other Registry"))]
    pub registry_ref: RegistryRef,
    /// When a run starts, in the five fields of cron: minute, hour, day of the month, month, day of the week; or @hourly,
    /// @daily, @weekly, @monthly or @yearly.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[^ @=]+( +[^ @=]+){4})$')")
        .message("schedule must have five fields (minute, hour, day of the month, month, day of the week), such as '0 3 * * *', or be one of @hourly, @daily, @weekly, @monthly and @yearly; a time zone goes into timeZone"))]
    #[x_kube(validation = Rule::new(crate::gc_policy::schedule_rule())
        .message("schedule has a value that its field cannot have: minutes are 0 to 59, hours 0 to 23, days of the month 1 to 31, months 1 to 12 or JAN to DEC, and days of the week 0 to 6 or SUN to SAT, with Sunday as 0; a step is at least 1"))]
    pub schedule: String,
    /// The time zone of the schedule by its name in the tz database, such as Europe/Berlin. Etc/UTC when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self != 'Local' && self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$')")
        .message("timeZone must be a name from the tz database, such as Europe/Berlin or Etc/UTC"))]
    pub time_zone: Option<String>,
    /// Whether no run is started by the schedule; the run-now annotation still starts one. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Whether a run only counts what it would delete. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Whether manifests that no tag and no index names are deleted too. Pods that name an image by digest alone lose it
    /// then. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_untagged: Option<bool>,
    /// How old content must be before it is deleted, as a duration such as 30m, 1h or 7d. Content that a request used or
    /// was told of within that time stays as well; and for that long after a start of the server everything does, because
    /// it does not know what was told before. What stays for that is counted as spared. 1h when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == '0' || self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h|d))+$')")
        .message("gracePeriod must be a duration that is not negative, such as 30m, 1h or 7d"))]
    pub grace_period: Option<Span>,
    /// How many succeeded runs keep their Job and logs. 3 when it is left out. 0 keeps the last one, as 1 does, because
    /// the status has its report from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 10")
        .message("successfulRunsHistoryLimit must be between 0 and 10"))]
    pub successful_runs_history_limit: Option<i32>,
    /// How many failed runs keep their Job and logs. 3 when it is left out. 0 keeps the last one, as 1 does, because the
    /// status has its message from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 10")
        .message("failedRunsHistoryLimit must be between 0 and 10"))]
    pub failed_runs_history_limit: Option<i32>,
    /// How long a run may take, as a duration of at least 1m such as 90m or 6h. The server then deletes nothing more and
    /// reports what it did as Partial; the next run goes on. 6h when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h|d))+$') && self.matches('([1-9][0-9]*([.][0-9]+)?[mhd]|([6-9][0-9]|[1-9][0-9]{2,})([.][0-9]+)?s)([0-9]|$)')")
        .message("activeDeadline must be a duration of at least 1m, such as 90m or 6h"))]
    pub active_deadline: Option<Span>,
    /// What the container of a run asks for and is limited to. Requests of 10m CPU and 32Mi memory and no limits when it is
    /// left out; the work itself is done by the registry's own pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// The rule that a schedule of five fields has in each what Kubernetes takes there: `*`, `?`, a value or a range, each
/// with a step or without, and several with commas between them.
fn schedule_rule() -> String {
    const VALUES: [&str; 5] = [
        "0*[1-5]?[0-9]",
        "0*(1?[0-9]|2[0-3])",
        "0*([1-9]|[12][0-9]|3[01])",
        "(0*([1-9]|1[0-2])|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)",
        "(0*[0-6]|SUN|MON|TUE|WED|THU|FRI|SAT)",
    ];
    let fields = VALUES.map(|value| {
        let part = format!("([*?]|{value}(-{value})?)(/0*[1-9][0-9]*)?");
        format!("{part}(,{part})*")
    });
    format!("self.startsWith('@') || self.matches('(?i)^{}$')", fields.join(" +"))
}

/// A Registry in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryRef {
    /// The name of the Registry.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// What is known of a policy and its runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GCPolicyStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state in conditions: Ready always, Reconciling and Stalled while they are true (kstatus).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// When the schedule starts the next run; absent while the policy is suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
    /// The last run that finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Run>,
    /// The last ten runs that finished, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub runs: Vec<Run>,
    /// The value of the run-now annotation that was handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled_run_now: Option<String>,
    /// How many values of the run-now annotation were handled: the number of the next requested run, which tells it from
    /// an earlier one of the same value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_runs: Option<i64>,
    /// The values that are in effect, defaults included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<GcEffective>,
    /// The texts of the columns of `kubectl get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<GcSummary>,
}

/// The values in effect: what the spec says, and the operator's defaults where it says nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcEffective {
    /// The time zone of the schedule.
    pub time_zone: String,
    /// Whether no run is started by the schedule.
    pub suspend: bool,
    /// Whether a run only counts.
    pub dry_run: bool,
    /// Whether untagged manifests are deleted.
    pub delete_untagged: bool,
    /// How old content must be before it is deleted.
    pub grace_period: String,
    /// How many succeeded runs keep their Job; at least one.
    pub successful_runs_history_limit: i32,
    /// How many failed runs keep their Job; at least one.
    pub failed_runs_history_limit: i32,
    /// How long a run may take.
    pub active_deadline: String,
    /// What the container of a run asks for and is limited to.
    pub resources: ResourceRequirements,
}

/// One finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The name of the Job that ran.
    pub job: String,
    /// The uid of that Job, which tells it from a later one of the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// When it started.
    pub start: Time,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it only counted.
    pub dry_run: bool,
    /// Manifests that stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests_kept: Option<i64>,
    /// Manifests that were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests_deleted: Option<i64>,
    /// Blobs that stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobs_kept: Option<i64>,
    /// Blobs that were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobs_deleted: Option<i64>,
    /// Bytes that the deleted blobs held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_freed: Option<i64>,
    /// Bytes that the kept blobs hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_kept: Option<i64>,
    /// Manifests and blobs that nothing refers to and that stay all the same: a request used them or was told of them
    /// within the grace period, or may have been, because the server started within it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spared: Option<i64>,
    /// What went wrong, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// Everything was read, and all garbage deleted but what was spared.
    Clean,
    /// Something could not be read or deleted, or not within activeDeadline, and was left alone.
    Partial,
    /// The run did not come to an end.
    Failed,
}

impl Outcome {
    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "Clean",
            Self::Partial => "Partial",
            Self::Failed => "Failed",
        }
    }
}

/// Texts for the columns of `kubectl get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcSummary {
    /// The schedule and its city: `0 3 * * * (Berlin)`.
    pub schedule: String,
    /// What the last run freed: `41.2GiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freed: Option<String>,
}
