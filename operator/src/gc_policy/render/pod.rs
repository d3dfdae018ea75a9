//! The pod of a run: the server's image as a client of the server's admin route. It works on no volume, so it runs
//! beside any server, and it leaves its report as the termination message.

use k8s_openapi::{
    api::core::v1::{Container, KeyToPath, PodSpec, PodTemplateSpec, SecretVolumeSource, Volume, VolumeMount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{CONTAINER, DRY_RUN_ARGUMENT, ValidPolicy, ValidRegistry};
use crate::{names, pods};

/// Where the token is mounted; the same path as in the server's own pod.
const ADMIN_DIRECTORY: &str = "/etc/berth/admin";

pub(super) fn build_pod_template(policy: &ValidPolicy, registry: &ValidRegistry) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(names::policy_labels(&policy.name)), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            containers: vec![build_container(policy, registry)],
            enable_service_links: Some(false),
            host_ipc: Some(false),
            host_network: Some(false),
            host_pid: Some(false),
            share_process_namespace: Some(false),
            image_pull_secrets: Some(registry.image_pull_secrets.clone()).filter(|secrets| !secrets.is_empty()),
            node_selector: Some(registry.node_selector.clone()).filter(|labels| !labels.is_empty()),
            restart_policy: Some("Never".into()),
            security_context: Some(pods::pod_security()),
            service_account_name: Some(registry.service_account_name().to_owned()),
            tolerations: Some(registry.tolerations.clone()).filter(|tolerations| !tolerations.is_empty()),
            volumes: Some(vec![build_token_volume(registry)]),
            ..PodSpec::default()
        }),
    }
}

fn build_container(policy: &ValidPolicy, registry: &ValidRegistry) -> Container {
    Container {
        name: CONTAINER.into(),
        image: Some(registry.image.clone()),
        image_pull_policy: Some(registry.image_pull_policy.as_str().into()),
        args: Some(build_arguments(policy, registry)),
        resources: Some(policy.resources.clone()),
        security_context: Some(pods::container_security()),
        // A run that cannot write its report leaves the last lines of its log.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(vec![VolumeMount {
            name: "admin".into(),
            mount_path: ADMIN_DIRECTORY.into(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn build_arguments(policy: &ValidPolicy, registry: &ValidRegistry) -> Vec<String> {
    let server =
        format!("http://{}.{}.svc:{}", names::debug_service(&registry.name), registry.namespace, names::DEBUG_PORT);
    let mut arguments = vec![
        "garbage-collect".to_owned(),
        format!("--server={server}"),
        format!("--token-file={}/{}", names::CONFIG_DIRECTORY, names::TOKEN_FILE),
        format!("--report-file={}", names::REPORT_FILE),
        format!("--grace-period={}", policy.grace_period),
        // The server stops by itself and reports; the Job's own deadline ends only what asks it.
        format!("--timeout={}", policy.active_deadline),
    ];
    if policy.delete_untagged {
        arguments.push("--delete-untagged".into());
    }
    if policy.dry_run {
        arguments.push(DRY_RUN_ARGUMENT.into());
    }
    arguments
}

fn build_token_volume(registry: &ValidRegistry) -> Volume {
    Volume {
        name: "admin".into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(names::admin_secret(&registry.name)),
            default_mode: Some(0o440),
            items: Some(vec![KeyToPath { key: names::TOKEN_KEY.into(), path: "token".into(), mode: None }]),
            optional: None,
        }),
        ..Volume::default()
    }
}
