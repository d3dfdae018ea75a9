//! What the operator may do in a cluster, as data: the one list from which roles are printed and against which the
//! chart is tested. Nothing is here that is not used; no list or watch of Secrets, which would be the right to read
//! them all.

use k8s_openapi::{
    api::rbac::v1::{ClusterRole, PolicyRule, Role},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::names;

/// One line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, with its subresource.
    pub resource: &'static str,
    /// What may be done with it.
    pub verbs: &'static [&'static str],
    /// What for.
    pub reason: &'static str,
}

const fn permission(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    reason: &'static str,
) -> Permission {
    Permission { group, resource, verbs, reason }
}

const APPLY: &[&str] = &["create", "get", "list", "patch", "watch"];
const APPLY_AND_DELETE: &[&str] = &["create", "delete", "get", "list", "patch", "watch"];

/// What is needed in every namespace with Registries.
pub const WORK: &[Permission] = &[
    permission("berth.dev", "registries", &["get", "list", "patch", "watch"], "the spec; its finalizer"),
    permission("berth.dev", "registries/status", &["patch"], "the status"),
    permission("berth.dev", "registries/finalizers", &["update"], "owner references that block deletion"),
    permission("berth.dev", "gcpolicies", &["get", "list", "watch"], "the spec"),
    permission("berth.dev", "gcpolicies/status", &["patch"], "the status"),
    permission("berth.dev", "gcpolicies/finalizers", &["update"], "owner references that block deletion"),
    permission("apps", "deployments", APPLY, "the pods of a Registry"),
    permission("", "services", APPLY, "its Services"),
    permission("", "configmaps", APPLY_AND_DELETE, "its configuration, and the end of old ones"),
    permission("", "serviceaccounts", APPLY_AND_DELETE, "its account, until the spec names another"),
    permission("", "persistentvolumeclaims", APPLY_AND_DELETE, "its volume; deletion by deletionPolicy alone"),
    permission(
        "",
        "secrets",
        &["create", "get", "update"],
        "its admin token, made once; keys that sign tokens, and pull secrets, which are renewed; whether those that a \
         spec names are there",
    ),
    permission("", "pods", &["list", "watch"], "why a pod is not ready; the report of a run"),
    permission("batch", "cronjobs", APPLY, "the schedule of a GCPolicy"),
    permission("batch", "jobs", &["create", "get", "list", "watch"], "its requested runs, and how runs end"),
    permission("events.k8s.io", "events", &["create", "patch"], "events"),
];

/// What is needed of the cluster as a whole, where all namespaces are served.
pub const CLUSTER: &[Permission] =
    &[permission("", "namespaces", &["get"], "whether one lets a Registry of another write pull secrets")];

/// What is needed in the operator's own namespace.
pub const LEADER_ELECTION: &[Permission] =
    &[permission("coordination.k8s.io", "leases", &["create", "get", "patch"], "leader election")];

/// The rules of a list.
#[must_use]
pub fn rules(permissions: &[Permission]) -> Vec<PolicyRule> {
    let rule = |permission: &Permission| PolicyRule {
        api_groups: Some(vec![permission.group.to_owned()]),
        resources: Some(vec![permission.resource.to_owned()]),
        verbs: permission.verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    permissions.iter().map(rule).collect()
}

/// The role for all namespaces.
#[must_use]
pub fn cluster_role() -> ClusterRole {
    ClusterRole {
        metadata: ObjectMeta { name: Some(names::MANAGER.into()), ..ObjectMeta::default() },
        rules: Some([rules(WORK), rules(CLUSTER)].concat()),
        aggregation_rule: None,
    }
}

/// The role for one namespace.
#[must_use]
pub fn role(namespace: &str) -> Role {
    Role {
        metadata: ObjectMeta {
            name: Some(names::MANAGER.into()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        rules: Some(rules(WORK)),
    }
}

/// The role for leader election in the operator's namespace.
#[must_use]
pub fn leader_election_role(namespace: &str) -> Role {
    Role {
        metadata: ObjectMeta {
            name: Some(format!("{}-leader-election", names::MANAGER)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        rules: Some(rules(LEADER_ELECTION)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_twice_or_by_a_star() {
        let all: Vec<_> = WORK.iter().chain(CLUSTER).chain(LEADER_ELECTION).collect();
        for (index, one) in all.iter().enumerate() {
            assert!(!one.verbs.contains(&"*") && one.resource != "*" && one.group != "*", "{one:?}");
            assert!(one.verbs.is_sorted(), "{one:?}");
            assert!(
                all[index + 1..].iter().all(|other| (one.group, one.resource) != (other.group, other.resource)),
                "{one:?}"
            );
        }
    }

    /// To list Secrets is to read them.
    #[test]
    fn secrets_are_never_listed() {
        let secrets = WORK.iter().find(|permission| permission.resource == "secrets").unwrap();
        assert_eq!(secrets.verbs, ["create", "get", "update"]);
    }
}
