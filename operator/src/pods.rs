//! What every pod of Berth has in common: the restricted Pod Security standard, and how a pod's trouble is told.

use k8s_openapi::api::core::v1::{
    Capabilities, ContainerStatus, Pod, PodSecurityContext, ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::names::USER_ID;

/// The security context of a pod: no root, and files of volumes that its group may read and write.
#[must_use]
pub fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER_ID),
        run_as_group: Some(USER_ID),
        fs_group: Some(USER_ID),
        // A volume with millions of files is walked once, and not at every start.
        fs_group_change_policy: Some("OnRootMismatch".into()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), ..SeccompProfile::default() }),
        ..PodSecurityContext::default()
    }
}

/// The security context of a container: no capability, nothing to gain, nothing to write outside its volumes.
#[must_use]
pub fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".into()]) }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// Requests without limits.
#[must_use]
pub fn requests(cpu: &str, memory: &str) -> ResourceRequirements {
    let request = |name: &str, amount: &str| (name.to_owned(), Quantity(amount.to_owned()));
    ResourceRequirements {
        requests: Some([request("cpu", cpu), request("memory", memory)].into()),
        ..ResourceRequirements::default()
    }
}

/// What keeps a pod from being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// A word for it, in CamelCase.
    pub reason: String,
    /// A sentence with the pod's name.
    pub message: String,
}

/// The trouble of the newest pod that has any. A pod that failed for good, as one that was evicted, lies around long
/// after another took its place, and then is nobody's trouble any more.
#[must_use]
pub fn trouble(pods: &[Pod]) -> Option<Trouble> {
    let mut newest_first: Vec<&Pod> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    newest_first.sort_by(|a, b| b.metadata.creation_timestamp.cmp(&a.metadata.creation_timestamp));
    let newest = newest_first.first().and_then(|pod| pod.metadata.creation_timestamp.clone());
    let was_replaced = |pod: &Pod| has_failed(pod) && pod.metadata.creation_timestamp < newest;
    newest_first.into_iter().filter(|pod| !was_replaced(pod)).find_map(trouble_of)
}

fn has_failed(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Failed"))
}

fn trouble_of(pod: &Pod) -> Option<Trouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    if has_failed(pod) {
        let reason = status.reason.clone().unwrap_or_else(|| "PodFailed".into());
        let why = status.message.as_deref().unwrap_or("it gives no message");
        return Some(Trouble { reason, message: format!("pod {name} failed: {why}") });
    }
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        let why = condition.message.as_deref().unwrap_or("the scheduler gives no message");
        return Some(Trouble {
            reason: condition.reason.clone().unwrap_or_else(|| "Unschedulable".into()),
            message: format!("pod {name} cannot be scheduled: {why}"),
        });
    }
    status.container_statuses.iter().flatten().find_map(|container| trouble_of_container(name, container))
}

fn trouble_of_container(pod: &str, container: &ContainerStatus) -> Option<Trouble> {
    let state = container.state.as_ref()?;
    let last_exit = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let at = format!("container {} of pod {pod}", container.name);
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        // These two are the ordinary way to a running container.
        if matches!(reason, "ContainerCreating" | "PodInitializing") {
            return None;
        }
        let told = match last_exit.filter(|_| reason == "CrashLoopBackOff") {
            Some(exit) => exit_message(exit.exit_code, exit.message.as_deref()),
            None => waiting.message.clone().unwrap_or_else(|| "no message is given".into()),
        };
        return Some(Trouble { reason: reason.to_owned(), message: format!("{at}: {told}") });
    }
    if let Some(exit) = &state.terminated {
        let reason = exit.reason.clone().unwrap_or_else(|| "Terminated".into());
        return Some(Trouble {
            reason,
            message: format!("{at}: {}", exit_message(exit.exit_code, exit.message.as_deref())),
        });
    }
    // A first start is left its time; one that runs again after an exit says why it had to.
    let exit = last_exit.filter(|_| !container.ready)?;
    let reason = exit.reason.clone().unwrap_or_else(|| "Restarted".into());
    Some(Trouble {
        reason,
        message: format!("{at} starts again: {}", exit_message(exit.exit_code, exit.message.as_deref())),
    })
}

fn exit_message(code: i32, message: Option<&str>) -> String {
    match message.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => format!("it ended with code {code}: {text}"),
        None => format!("it ended with code {code} and left no message"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, status: &Value) -> Pod {
        let metadata = json!({"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    #[test]
    fn trouble_is_named() {
        let container = |state: Value, last: Value| {
            json!({"containerStatuses": [{"name": "registry", "ready": false, "image": "i", "imageID": "",
                "restartCount": 1, "state": state, "lastState": last}]})
        };
        for (status, expected) in [
            (json!({"phase": "Pending"}), None),
            (container(json!({"waiting": {"reason": "ContainerCreating"}}), json!({})), None),
            (container(json!({"running": {}}), json!({})), None),
            (
                container(json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}), json!({})),
                Some(("ImagePullBackOff", "container registry of pod main-1: not found")),
            ),
            (
                container(
                    json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}),
                    json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "config.yml: no such key\n"}}),
                ),
                Some((
                    "CrashLoopBackOff",
                    "container registry of pod main-1: it ended with code 1: config.yml: no such key",
                )),
            ),
            (
                container(json!({"running": {}}), json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
                Some((
                    "OOMKilled",
                    "container registry of pod main-1 starts again: it ended with code 137 and left no message",
                )),
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
                    "reason": "Unschedulable", "message": "0/1 nodes are available"}]}),
                Some(("Unschedulable", "pod main-1 cannot be scheduled: 0/1 nodes are available")),
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}),
                Some(("Evicted", "pod main-1 failed: disk pressure")),
            ),
        ] {
            let found = trouble(&[pod("main-1", &status)]);
            let expected =
                expected.map(|(reason, message)| Trouble { reason: reason.into(), message: message.to_owned() });
            assert_eq!(found, expected, "{status}");
        }
    }

    #[test]
    fn a_failed_pod_is_forgotten_once_there_is_a_newer_one() {
        let at = |day: u8, name: &str, status: &Value| -> Pod {
            let metadata = json!({"name": name, "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")});
            serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
        };
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"});
        let running = json!({"phase": "Running"});
        let leaving = {
            let mut pod = at(3, "leaving", &running);
            pod.metadata.deletion_timestamp = pod.metadata.creation_timestamp.clone();
            pod
        };
        for (pods, expected) in [
            (vec![at(1, "a", &evicted), at(2, "b", &running)], None),
            (vec![at(1, "a", &running), at(2, "b", &evicted)], Some("pod b failed: disk pressure")),
            (vec![at(1, "a", &evicted), at(2, "b", &evicted)], Some("pod b failed: disk pressure")),
            // Times are whole seconds: which of these two came first is not known.
            (vec![at(1, "a", &evicted), at(1, "b", &running)], Some("pod a failed: disk pressure")),
            (vec![at(1, "a", &evicted), leaving], Some("pod a failed: disk pressure")),
        ] {
            assert_eq!(trouble(&pods).map(|trouble| trouble.message).as_deref(), expected, "{pods:?}");
        }
    }
}
