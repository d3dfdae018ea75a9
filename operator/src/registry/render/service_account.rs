//! The ServiceAccount of the server's pods: a name for policies and pull secrets, with no token and no rights.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{ValidRegistry, metadata};
use crate::registry::validate::ValidServiceAccount;

/// The account, unless one that exists is used.
pub(super) fn build_service_account(registry: &ValidRegistry) -> Option<ServiceAccount> {
    let annotations = match &registry.service_account {
        ValidServiceAccount::Own(annotations) => annotations.clone(),
        ValidServiceAccount::Existing(_) => return None,
    };
    let mut metadata = metadata(registry, registry.name.clone());
    metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    Some(ServiceAccount { metadata, automount_service_account_token: Some(false), ..ServiceAccount::default() })
}
