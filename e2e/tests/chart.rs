//! The chart: its own test passes, and the operator has the rights that it needs and no others.

use anyhow::{Result, ensure};
use berth_e2e::cluster::Cluster;
use berth_e2e::{install, run};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

#[tokio::test]
async fn helm_test_passes() -> Result<()> {
    let cluster = Cluster::for_tests()?;
    let mut helm = cluster.helm();
    helm.args(["test", install::RELEASE, "--namespace", install::NAMESPACE, "--timeout", "60s"]);
    let said = run::checked(helm)?;
    ensure!(said.contains("Succeeded"), "{said}");
    Ok(())
}

/// Verb, group, resource, and whether the operator may.
const RIGHTS: [(&str, &str, &str, bool); 24] = [
    ("watch", "berth.dev", "registries", true),
    ("patch", "berth.dev", "registries/status", true),
    ("watch", "berth.dev", "gcpolicies", true),
    ("patch", "berth.dev", "gcpolicies/status", true),
    ("patch", "apps", "deployments", true),
    ("create", "", "services", true),
    ("create", "", "configmaps", true),
    ("patch", "", "persistentvolumeclaims", true),
    ("patch", "batch", "cronjobs", true),
    ("create", "events.k8s.io", "events", true),
    ("delete", "berth.dev", "registries", false),
    ("create", "berth.dev", "registries", false),
    ("create", "", "pods", false),
    ("create", "", "pods/exec", false),
    ("get", "", "nodes", false),
    ("delete", "", "namespaces", false),
    ("list", "", "secrets", false),
    ("create", "rbac.authorization.k8s.io", "clusterroles", false),
    ("create", "rbac.authorization.k8s.io", "rolebindings", false),
    ("impersonate", "", "users", false),
    ("create", "", "serviceaccounts/token", false),
    ("delete", "", "persistentvolumes", false),
    ("patch", "apiextensions.k8s.io", "customresourcedefinitions", false),
    ("*", "*", "*", false),
];

#[tokio::test]
async fn the_operator_has_the_rights_that_it_needs_and_no_others() -> Result<()> {
    let cluster = Cluster::for_tests()?;
    let reviews: Api<SubjectAccessReview> = Api::all(cluster.client().await?);
    let mut wrong = Vec::new();
    for (verb, group, resource, expected) in RIGHTS {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let user = format!("system:serviceaccount:{}:berth-operator", install::NAMESPACE);
        let review: SubjectAccessReview = serde_json::from_value(json!({
            "spec": {
                "user": user,
                "groups": ["system:serviceaccounts", "system:authenticated"],
                "resourceAttributes": {
                    "verb": verb, "group": group, "resource": resource, "subresource": subresource,
                    "namespace": "default",
                },
            },
        }))?;
        let answer = reviews.create(&PostParams::default(), &review).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        if allowed != expected {
            wrong.push(format!("{verb} {resource}/{subresource} in {group:?}: allowed {allowed}, expected {expected}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
