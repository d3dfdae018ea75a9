//! [pure] How far a Deployment is.

use k8s_openapi::api::apps::v1::Deployment;

/// How far a Deployment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// Every pod is of the newest template and available, and no other is left.
    Complete,
    /// On the way; the text says what is missing.
    Progressing(String),
    /// Kubernetes gave up; the text says why.
    Failed(String),
}

/// Reads the state of a rollout from the Deployment, as `kubectl rollout status` does.
#[must_use]
pub fn rollout(deployment: &Deployment) -> Rollout {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else {
        return Rollout::Progressing("the Deployment has no status yet".into());
    };
    if status.observed_generation < deployment.metadata.generation {
        return Rollout::Progressing("the Deployment's last change is not acted on yet".into());
    }
    let mut conditions = status.conditions.iter().flatten();
    if let Some(condition) =
        conditions.clone().find(|c| c.type_ == "Progressing" && c.reason.as_deref() == Some("ProgressDeadlineExceeded"))
    {
        return Rollout::Failed(condition.message.clone().unwrap_or_else(|| "the rollout takes too long".into()));
    }
    if let Some(condition) = conditions.find(|c| c.type_ == "ReplicaFailure" && c.status == "True") {
        return Rollout::Progressing(condition.message.clone().unwrap_or_else(|| "pods cannot be created".into()));
    }
    let updated = status.updated_replicas.unwrap_or(0);
    let total = status.replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    if updated < wanted {
        Rollout::Progressing(format!("{updated} of {wanted} pods are of the newest version"))
    } else if total > updated {
        Rollout::Progressing(format!("{} pods of an earlier version are left", total - updated))
    } else if available < wanted {
        Rollout::Progressing(format!("{available} of {wanted} pods are available"))
    } else {
        Rollout::Complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn rollouts() {
        let progressing = |text: &str| Rollout::Progressing(text.into());
        let counts = |updated: i32, total: i32, available: i32| {
            json!({"observedGeneration": 2, "updatedReplicas": updated, "replicas": total,
                "availableReplicas": available})
        };
        let mut late = counts(1, 1, 0);
        late["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "timed out progressing"}]);
        let mut quota = counts(0, 0, 0);
        quota["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]);
        let check = |status: Value, expected: Rollout| {
            let deployment: Deployment = serde_json::from_value(
                json!({"metadata": {"generation": 2}, "spec": {"replicas": 2, "selector": {}, "template": {}},
                    "status": status}),
            )
            .unwrap();
            assert_eq!(rollout(&deployment), expected, "{status}");
        };
        check(json!({}), progressing("the Deployment's last change is not acted on yet"));
        check(json!({"observedGeneration": 1}), progressing("the Deployment's last change is not acted on yet"));
        check(counts(1, 3, 2), progressing("1 of 2 pods are of the newest version"));
        check(counts(2, 3, 2), progressing("1 pods of an earlier version are left"));
        check(counts(2, 2, 1), progressing("1 of 2 pods are available"));
        check(counts(2, 2, 2), Rollout::Complete);
        check(late, Rollout::Failed("timed out progressing".into()));
        check(quota, progressing("exceeded quota"));
    }
}
