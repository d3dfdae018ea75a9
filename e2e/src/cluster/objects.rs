//! The objects that make a bare API server a usable cluster: DNS, storage classes, and the rights of our own daemons.

use serde_json::{Value, json};

use super::spec::{DNS_SERVICE_IP, NODE_IP};

/// The provisioner's name in storage classes.
pub const PROVISIONER: &str = "berth.dev/local";
/// The default class: grows, and binds when a pod wants the volume.
pub const CLASS_LOCAL: &str = "berth-local";
/// A class that does not grow, and binds at once.
pub const CLASS_FIXED: &str = "berth-fixed";

/// Every object, as one list for `kubectl apply`.
pub fn all() -> Value {
    let items: Vec<Value> = [dns(), storage_classes(), coredns_rights(), provisioner_rights()].concat();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// A Service without a selector, and the node as its only endpoint.
fn dns() -> Vec<Value> {
    let ports = |with_target: bool| -> Vec<Value> {
        [("dns", "UDP"), ("dns-tcp", "TCP")]
            .iter()
            .map(|(name, protocol)| {
                let mut port = json!({"name": name, "port": 53, "protocol": protocol});
                if with_target {
                    port["targetPort"] = json!(53);
                }
                port
            })
            .collect()
    };
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"kubernetes.io/name": "CoreDNS"}},
            "spec": {"clusterIP": DNS_SERVICE_IP.to_string(), "ports": ports(true)},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-node", "namespace": "kube-system",
                "labels": {
                    "kubernetes.io/service-name": "kube-dns",
                    "endpointslice.kubernetes.io/managed-by": "berth-e2e",
                },
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [NODE_IP.to_string()], "conditions": {"ready": true}}],
            "ports": ports(false),
        }),
    ]
}

fn storage_classes() -> Vec<Value> {
    let class = |name: &str, default: bool, expansion: bool, binding: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {
                "name": name,
                "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()},
            },
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "allowVolumeExpansion": expansion,
            "volumeBindingMode": binding,
        })
    };
    vec![class(CLASS_LOCAL, true, true, "WaitForFirstConsumer"), class(CLASS_FIXED, false, false, "Immediate")]
}

/// A ClusterRole, and its binding to the user.
fn rights(name: &str, user: &str, rules: &Value) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }),
    ]
}

fn coredns_rights() -> Vec<Value> {
    let rules = json!([
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]);
    rights("berth-e2e:coredns", "system:coredns", &rules)
}

fn provisioner_rights() -> Vec<Value> {
    let rules = json!([
        {"apiGroups": [""], "resources": ["persistentvolumes"],
         "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["persistentvolumeclaims/status"], "verbs": ["patch"]},
        {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["get", "list", "watch"]},
    ]);
    rights("berth-e2e:provisioner", "berth-e2e:provisioner", &rules)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_applied() {
        insta::assert_yaml_snapshot!("objects", super::all());
    }
}
