//! What the operator's ServiceAccount may do, asked of the API server.

use anyhow::{Context as _, Result, ensure};
use berth_e2e::compile::repository;
use berth_e2e::install::{NAMESPACE, RELEASE};
use berth_e2e::kit::{Space, in_namespace};
use berth_e2e::run;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

/// Whether a ServiceAccount may do something; an empty namespace means all of them.
async fn may(space: &Space, account: &str, verb: &str, resource: &str, namespace: &str) -> Result<bool> {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s.to_owned())));
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{account}")),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.into()),
                group: Some(group.into()),
                resource: Some(resource.into()),
                subresource,
                namespace: Some(namespace.into()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(space.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("an answer")?.allowed)
}

/// What it may, and what nobody gave it, in a namespace that it serves.
const SERVED: &[(&str, &str, bool)] = &[
    ("watch", "registries.berth.dev", true),
    ("patch", "registries/status.berth.dev", true),
    ("create", "registries.berth.dev", false),
    ("delete", "registries.berth.dev", false),
    ("patch", "deployments.apps", true),
    ("delete", "deployments.apps", false),
    ("get", "secrets", true),
    ("create", "secrets", true),
    ("update", "secrets", true),
    ("list", "secrets", false),
    ("patch", "secrets", false),
    ("delete", "secrets", false),
    ("delete", "persistentvolumeclaims", true),
    ("delete", "persistentvolumes", false),
    ("delete", "pods", false),
    ("create", "pods", false),
    ("create", "pods/exec", false),
    ("create", "roles.rbac.authorization.k8s.io", false),
    ("create", "serviceaccounts/token", false),
    ("impersonate", "serviceaccounts", false),
];

#[tokio::test]
async fn the_operator_may_do_what_it_needs_and_no_more() -> Result<()> {
    in_namespace("permissions", async |space| {
        let account = format!("{NAMESPACE}:{RELEASE}-operator");
        for (verb, resource, allowed) in SERVED {
            let found = may(space, &account, verb, resource, &space.name).await?;
            ensure!(found == *allowed, "{verb} {resource}: {found}");
        }
        ensure!(may(space, &account, "get", "namespaces", "").await?, "get namespaces");
        for (verb, resource) in [
            ("get", "nodes"),
            ("list", "namespaces"),
            ("delete", "namespaces"),
            ("create", "clusterroles.rbac.authorization.k8s.io"),
        ] {
            ensure!(!may(space, &account, verb, resource, "").await?, "{verb} {resource}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn told_its_namespaces_the_operator_has_no_rights_outside_them() -> Result<()> {
    in_namespace("scoped", async |space| {
        let mut helm = space.cluster.helm();
        helm.args(["install", "scoped-berth"]).arg(repository().join("charts/berth"));
        // No pod is wanted, only the rights.
        helm.args(["--namespace", &space.name, "--set", "replicas=0,crds.install=false"]);
        helm.args(["--set", &format!("namespaces={{{}}}", space.name)]);
        run::checked(helm)?;
        let account = format!("{}:scoped-berth-operator", space.name);
        for (verb, resource, allowed) in SERVED {
            let found = may(space, &account, verb, resource, &space.name).await?;
            ensure!(found == *allowed, "{verb} {resource} inside: {found}");
            for outside in ["default", ""] {
                ensure!(!may(space, &account, verb, resource, outside).await?, "{verb} {resource} in {outside:?}");
            }
        }
        let roles = space.kubectl(&["get", "clusterrolebindings", "-o", "name"])?;
        ensure!(!roles.contains("scoped-berth"), "{roles}");
        // What of the release lies in no namespace would outlive the test's.
        let mut helm = space.cluster.helm();
        helm.args(["uninstall", "scoped-berth", "--namespace", &space.name]);
        run::checked(helm).map(drop)
    })
    .await
}

/// A Registry that lets service accounts in.
const KNOWS_PODS: &str = "
apiVersion: berth.dev/v1alpha1
kind: Registry
metadata: {name: knows-pods}
spec:
  storage: {emptyDir: {}}
  auth:
    issuer: {serviceAccounts: {}}
    rules: [{serviceAccounts: ['*/*'], repositories: ['{namespace}/**'], actions: [pull]}]
";

#[tokio::test]
async fn the_pods_of_a_registry_may_do_nothing() -> Result<()> {
    in_namespace("powerless", async |space| {
        space.apply(super::TRANSIENT)?;
        // The pods of this one have a token of their account, by which they ask for the keys of the cluster.
        space.apply(KNOWS_PODS)?;
        for name in ["main", "knows-pods"] {
            berth_e2e::kit::ready(space, name).await?;
            let account = format!("{}:{name}", space.name);
            for (verb, resource) in [
                ("get", "secrets"),
                ("list", "pods"),
                ("get", "registries.berth.dev"),
                ("create", "tokenreviews.authentication.k8s.io"),
                ("create", "serviceaccounts/token"),
            ] {
                ensure!(!may(space, &account, verb, resource, &space.name).await?, "{name}: {verb} {resource}");
            }
        }
        let token = space.kubectl(&[
            "get",
            "pods",
            "-l",
            "berth.dev/registry=main",
            "-o",
            "jsonpath={.items[*].spec.automountServiceAccountToken}",
        ])?;
        ensure!(token == "false", "a token is mounted: {token:?}");
        Ok(())
    })
    .await
}
