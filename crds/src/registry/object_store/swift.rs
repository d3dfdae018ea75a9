//! `Registry.spec.storage.swift`: a container of OpenStack Swift.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ROOT_DIRECTORY_MESSAGE, SecretCredentials, same};
use crate::{Size, pattern, registry::reference::CertificateAuthority};

/// What names the content's place. A tenant that is named in another way could be another, and so could one of the same
/// name in another domain, which is the user's where no other is given.
fn same_place() -> String {
    let [container, root, tenant, tenant_id, tenant_domain, tenant_domain_id, domain, domain_id] =
        ["container", "rootDirectory", "tenant", "tenantId", "tenantDomain", "tenantDomainId", "domain", "domainId"]
            .map(same);
    format!(
        "{container} && {root} && (!has(oldSelf.region) || {}) \
         && (!(has(oldSelf.tenant) || has(oldSelf.tenantId)) || ({tenant} && {tenant_id})) \
         && (!has(oldSelf.tenant) || ({tenant_domain} && {tenant_domain_id} \
         && (has(self.tenantDomain) || has(self.tenantDomainId) || ({domain} && {domain_id}))))",
        same("region")
    )
}

/// A container of OpenStack Swift.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.credentials)").message("credentials are missing: name a Secret in secretRef"),
    validation = Rule::new(crate::registry::object_store::swift::same_place())
        .message("container, rootDirectory, region and tenant (its name, id and domain, once given) cannot change, because \
            the content would not move with them: make a Registry of another name and copy the content to it")
)]
pub struct Swift {
    /// The address of the identity service, such as https://keystone.example/v3.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::ADDRESS))
        .message("authUrl must be an address such as https://keystone.example/v3, without a name or password"))]
    pub auth_url: String,
    /// The version of the identity service: 1, 2 or 3. Read from authUrl when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 3").message("authVersion must be 1, 2 or 3"))]
    pub auth_version: Option<i32>,
    /// The user. The key username of the Secret when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub username: Option<String>,
    /// The name of the container.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::SWIFT_CONTAINER))
        .message("container must be the name alone: a folder in it goes into rootDirectory"))]
    pub container: String,
    /// The region. The only one, or the first, when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub region: Option<String>,
    /// The tenant (project), by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub tenant: Option<String>,
    /// The tenant (project), by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub tenant_id: Option<String>,
    /// The domain of the user, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub domain: Option<String>,
    /// The domain of the user, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub domain_id: Option<String>,
    /// The domain of the tenant, by name. The user's when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub tenant_domain: Option<String>,
    /// The domain of the tenant, by id. The user's when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub tenant_domain_id: Option<String>,
    /// The trust that the user acts under, by id. None when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub trust_id: Option<String>,
    /// Which address of the service is used: Public, Internal or Admin. Public when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_type: Option<SwiftEndpointType>,
    /// Where in the container docker/registry/v2 lies. At its root when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::ROOT_DIRECTORY)).message(ROOT_DIRECTORY_MESSAGE))]
    pub root_directory: Option<String>,
    /// The size of a segment, as a quantity of bytes from 1Mi to 64Mi: each pod holds at least two of them in memory. 20Mi
    /// when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+([.][0-9]+)?([kMGTPE]|[KMGTPE]i)?$') && isQuantity(self) \
        && !quantity(self).isLessThan(quantity('1Mi')) && !quantity(self).isGreaterThan(quantity('64Mi'))")
        .message("chunkSize must be a quantity from 1Mi to 64Mi, such as 20Mi: a pod holds at least two chunks in memory"))]
    pub chunk_size: Option<Size>,
    /// Whether the key that signs temporary addresses is the container's and not the account's. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temp_url_container_key: Option<bool>,
    /// Certificates (PEM) of authorities that are trusted in addition, for a store with a certificate of one's own
    /// authority. Those of the system alone when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CertificateAuthority>,
    /// Whether any certificate of the store is believed, which lets whoever is in between read and change everything: for
    /// trials. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
    /// The Secret with the keys password and, where they are wanted, username, secretkey (the key that signs temporary
    /// addresses, for redirects) and accesskey (that key's name). Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretCredentials>,
    /// Whether clients that pull a blob are sent to the store for it, by a temporary address. The pods then carry less, and
    /// clients must reach the store. false when it is left out, because a store with a private address is out of clients'
    /// reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<bool>,
}

/// Which address of the service is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SwiftEndpointType {
    /// The one for everybody.
    #[default]
    Public,
    /// The one inside the cloud.
    Internal,
    /// The one for administration.
    Admin,
}
