//! Names, labels, ports and paths of what the operator makes. It knows nothing of how the objects look.

use std::collections::BTreeMap;

/// The field manager of every object, and the value of its `managed-by` label.
pub const MANAGER: &str = "berth-operator";
/// The selector of everything that the operator made.
pub const MANAGED: &str = "app.kubernetes.io/managed-by=berth-operator";
/// The label that names the Registry of an object.
pub const REGISTRY_LABEL: &str = "berth.dev/registry";
/// The label that names the GCPolicy of an object.
pub const POLICY_LABEL: &str = "berth.dev/gcpolicy";
/// The annotation of pods that tells which identity they were made for.
pub const IDENTITY_ANNOTATION: &str = "berth.dev/storage-identity";
/// The annotation of pods that tells by which authorities they trust their object store.
pub const AUTHORITIES_ANNOTATION: &str = "berth.dev/storage-ca";
/// The annotation of pods that tells which immutable Secret they have the credentials of their object store from.
pub const STORAGE_SECRET_ANNOTATION: &str = "berth.dev/storage-secret";
/// The annotation of pods that tells which immutable Secrets and ConfigMaps they have from `spec.auth`.
pub const AUTH_ANNOTATION: &str = "berth.dev/auth";
/// The annotation of pods that tells which immutable Secret they have their certificate from.
pub const TLS_SECRET_ANNOTATION: &str = "berth.dev/tls-secret";
/// The annotation that says what is known of the keys in the Secret with the keys that sign tokens.
pub const TOKEN_KEYS_ANNOTATION: &str = "berth.dev/token-keys";
/// The annotation that says what a pull secret was made of, and until when it is good.
pub const PULL_SECRET_ANNOTATION: &str = "berth.dev/pull-secret";
/// The label with the namespace of the Registry that a pull secret is for.
pub const REGISTRY_NAMESPACE_LABEL: &str = "berth.dev/registry-namespace";
/// The label by which a namespace lets Registries of another one write pull secrets: that one's name.
pub const PULL_SECRETS_FROM_LABEL: &str = "berth.dev/pull-secrets-from";
/// The finalizer of a Registry whose volume is deleted with it.
pub const VOLUME_FINALIZER: &str = "berth.dev/volume";

/// The port of the OCI distribution API in a pod.
pub const REGISTRY_PORT: i32 = 5000;
/// The port of health, metrics and administration.
pub const DEBUG_PORT: i32 = 5001;

/// Where metrics are, at [`DEBUG_PORT`].
pub const METRICS_PATH: &str = "/metrics";

/// The directory of the mounted configuration.
pub const CONFIG_DIRECTORY: &str = "/etc/berth";
/// The configuration, inside [`CONFIG_DIRECTORY`].
pub const CONFIG_FILE: &str = "config.yml";
/// The admin token, inside [`CONFIG_DIRECTORY`].
pub const TOKEN_FILE: &str = "admin/token";
/// The certificate chain, inside [`CONFIG_DIRECTORY`].
pub const CERTIFICATE_FILE: &str = "tls/tls.crt";
/// The key of the certificate, inside [`CONFIG_DIRECTORY`].
pub const PRIVATE_KEY_FILE: &str = "tls/tls.key";
/// The keys of a Secret of the type kubernetes.io/tls.
pub const TLS_KEYS: [&str; 2] = ["tls.crt", "tls.key"];
/// The credentials of the object store, one file each, inside [`CONFIG_DIRECTORY`].
pub const STORAGE_DIRECTORY: &str = "storage";
/// The certificates of authorities that the object store is trusted by, inside [`CONFIG_DIRECTORY`].
pub const STORAGE_CA_FILE: &str = "storage-ca/ca.crt";
/// Names and passwords, inside [`CONFIG_DIRECTORY`].
pub const HTPASSWD_FILE: &str = "auth/htpasswd";
/// The key of a Secret that becomes [`HTPASSWD_FILE`].
pub const HTPASSWD_KEY: &str = "htpasswd";
/// The keys that sign tokens of another service, inside [`CONFIG_DIRECTORY`].
pub const JWKS_FILE: &str = "auth/jwks.json";
/// The file with the authorities that the address of keys is trusted by, inside the configuration's directory.
pub const JWKS_CA_FILE: &str = "auth/jwks-ca.pem";
/// The key with them, unless the spec names another.
pub const JWKS_KEY: &str = "jwks.json";
/// Certificates that sign tokens of another service, inside [`CONFIG_DIRECTORY`].
pub const ROOT_CERTIFICATES_FILE: &str = "auth/root-certificates.pem";
/// The token of the server's own account, by which it asks the API server for its keys, inside [`CONFIG_DIRECTORY`].
pub const ACCOUNT_TOKEN_FILE: &str = "cluster/token";
/// The authorities of the API server, inside [`CONFIG_DIRECTORY`].
pub const CLUSTER_CA_FILE: &str = "cluster/ca.crt";
/// The ConfigMap with them, which every namespace has.
pub const CLUSTER_CA: &str = "kube-root-ca.crt";
/// The key with them.
pub const CLUSTER_CA_KEY: &str = "ca.crt";
/// The address of the API server in a pod.
pub const API_SERVER: &str = "https://kubernetes.default.svc";
/// The keys that sign tokens, one file each and `current`. It is a mount of its own, because the files of a Secret whose keys
/// are not known beforehand cannot be put into a directory of another volume; and it is not inside [`CONFIG_DIRECTORY`], where
/// there is no place to be mounted at.
pub const TOKEN_KEYS_DIRECTORY: &str = "/etc/berth-token-keys";
/// What says whether writes are refused, inside [`CONFIG_DIRECTORY`].
pub const READ_ONLY_FILE: &str = "state/read-only";
/// The key of the ConfigMap that becomes [`READ_ONLY_FILE`].
pub const READ_ONLY_KEY: &str = "read-only";
/// The key of the token in its Secret.
pub const TOKEN_KEY: &str = "token";
/// Where the content is mounted.
pub const DATA_DIRECTORY: &str = "/var/lib/berth";
/// Where the report of a run is written: the termination message of the container.
pub const REPORT_FILE: &str = "/dev/termination-log";

/// The user and group that everything runs as.
pub const USER_ID: i64 = 65532;

/// The Service with the debug port of a Registry.
#[must_use]
pub fn debug_service(registry: &str) -> String {
    format!("{registry}-debug")
}

/// The Secret with the admin token of a Registry.
#[must_use]
pub fn admin_secret(registry: &str) -> String {
    format!("{registry}-admin")
}

/// The Secret with the keys that sign the tokens of a Registry.
#[must_use]
pub fn token_keys(registry: &str) -> String {
    format!("{registry}-token-keys")
}

/// The authorities of another issuer, inside [`CONFIG_DIRECTORY`].
#[must_use]
pub fn oidc_ca_file(issuer: &str) -> String {
    format!("auth/oidc/{issuer}.crt")
}

/// The ConfigMap with a configuration of that digest.
#[must_use]
pub fn config_map(registry: &str, digest: &str) -> String {
    format!("{registry}-config-{digest}")
}

/// The ConfigMap with what a running server takes up without a restart.
#[must_use]
pub fn state(registry: &str) -> String {
    format!("{registry}-state")
}

/// The CronJob of a policy.
#[must_use]
pub fn cron_job(policy: &str) -> String {
    format!("{policy}-gc")
}

/// The Job that a value of the run-now annotation starts, which is the `number`th that the policy of that uid handles.
/// The same until it is noted as handled, so that it is started once; and then never again, whatever the value.
#[must_use]
pub fn run_now_job(policy: &str, uid: &str, number: i64, value: &str) -> String {
    format!("{policy}-gc-{}", digest(format!("{uid}\n{number}\n{value}").as_bytes()))
}

/// The first ten hexadecimal digits of the SHA-256 of `content`: enough to tell versions of one object apart.
#[must_use]
pub fn digest(content: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(&Sha256::digest(content)[..5])
}

/// The labels by which a Registry's pods are found; they never change, because a Deployment's selector cannot.
#[must_use]
pub fn registry_selector(registry: &str) -> BTreeMap<String, String> {
    labels([
        ("app.kubernetes.io/name", "berth-registry"),
        ("app.kubernetes.io/instance", registry),
        ("app.kubernetes.io/component", "registry"),
    ])
}

/// The labels of everything made for a Registry.
#[must_use]
pub fn registry_labels(registry: &str) -> BTreeMap<String, String> {
    let mut all = registry_selector(registry);
    all.extend(labels([("app.kubernetes.io/managed-by", MANAGER), (REGISTRY_LABEL, registry)]));
    all
}

/// The labels of everything made for a GCPolicy.
#[must_use]
pub fn policy_labels(policy: &str) -> BTreeMap<String, String> {
    labels([
        ("app.kubernetes.io/name", "berth-registry"),
        ("app.kubernetes.io/instance", policy),
        ("app.kubernetes.io/component", "garbage-collection"),
        ("app.kubernetes.io/managed-by", MANAGER),
        (POLICY_LABEL, policy),
    ])
}

/// Labels as the text of a selector.
#[must_use]
pub fn selector_text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
