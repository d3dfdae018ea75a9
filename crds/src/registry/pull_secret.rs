//! `Registry.spec.pullSecrets`: Secrets that pods pull with.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Span, pattern, span};

/// A Secret of the type kubernetes.io/dockerconfigjson that pods pull with, in each of some namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(crate::registry::auth::each("self.namespaces", pattern::NAMESPACE))
        .message("namespaces must be names of namespaces: a-z, 0-9 and '-'"),
    validation = Rule::new(crate::registry::auth::repositories(pattern::FIXED_REPOSITORY_PATTERN))
        .message("repositories must be patterns of names of repositories, such as team/app or team/**, without placeholders: a \
            pull secret is nobody's")
)]
pub struct PullSecret {
    /// The name of the Secret, in every namespace.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::OBJECT_NAME))
        .message("name must be that of a Secret: a-z, 0-9, '-' and '.'"))]
    pub name: String,
    /// The namespaces that it is made in.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub namespaces: Vec<String>,
    /// What can be pulled with it: patterns of names of repositories, in which * is any text within one component of a name,
    /// and ** any components.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub repositories: Vec<String>,
    /// How long what is in it is valid, as a duration from 2m to 24h; it is made anew when half of
    /// that is over. 1h when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(span::between("2m", "24h")).message("lifetime must be a duration from 2m to 24h, such as 1h"))]
    pub lifetime: Option<Span>,
}
