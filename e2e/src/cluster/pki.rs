//! The cluster's certificates and keys: one authority, one leaf per component.
//!
//! ECDSA P-256 throughout: generated in microseconds, and every component accepts it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::spec::{API_SERVICE_IP, CLUSTER_DOMAIN, NODE, NODE_IP};
use crate::files::write_private;
use crate::paths::ClusterDir;

/// A certificate to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The file's stem.
    pub file: &'static str,
    /// The user's name, or the server's.
    pub common_name: String,
    /// The user's group.
    pub organization: Option<&'static str>,
    /// Host names that the certificate is good for.
    pub dns: Vec<String>,
    /// Addresses that the certificate is good for.
    pub addresses: Vec<Ipv4Addr>,
}

/// Users that talk to the API and get a kubeconfig; the first is the administrator.
pub const USERS: [&str; 7] =
    ["admin", "controller-manager", "scheduler", "kubelet", "kube-proxy", "coredns", "provisioner"];

fn user(file: &'static str, common_name: &str, organization: Option<&'static str>) -> Leaf {
    Leaf { file, common_name: common_name.to_owned(), organization, dns: vec![], addresses: vec![] }
}

/// Every leaf of a cluster.
pub fn leaves() -> Vec<Leaf> {
    let mut apiserver = user("apiserver", "kube-apiserver", None);
    apiserver.dns =
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(String::from).into();
    apiserver.dns.push(format!("kubernetes.default.svc.{CLUSTER_DOMAIN}"));
    // The loopback address serves both the components inside the namespace and the gate outside.
    apiserver.addresses = vec![Ipv4Addr::LOCALHOST, API_SERVICE_IP, NODE_IP];
    let mut kubelet = user("kubelet", &format!("system:node:{NODE}"), Some("system:nodes"));
    kubelet.dns = vec![NODE.to_owned()];
    kubelet.addresses = vec![Ipv4Addr::LOCALHOST, NODE_IP];
    vec![
        apiserver,
        kubelet,
        user("apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters")),
        user("admin", "admin", Some("system:masters")),
        user("controller-manager", "system:kube-controller-manager", None),
        user("scheduler", "system:kube-scheduler", None),
        user("kube-proxy", "system:kube-proxy", None),
        user("coredns", "system:coredns", None),
        user("provisioner", "berth-e2e:provisioner", None),
    ]
}

fn params(leaf: &Leaf) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(leaf.dns.clone())?;
    params.subject_alt_names.extend(leaf.addresses.iter().map(|ip| SanType::IpAddress(IpAddr::V4(*ip))));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, leaf.common_name.as_str());
    if let Some(organization) = leaf.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Writes the authority, the leaves and the key that signs ServiceAccount tokens, unless they are there.
///
/// The authority's certificate is written last: its presence says that the rest is complete.
pub fn ensure(dir: &ClusterDir) -> Result<()> {
    if dir.pki("ca.crt").exists() {
        return Ok(());
    }
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.distinguished_name = DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, "berth-e2e");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let certificate = authority.self_signed(&key)?;
    let issuer = Issuer::new(authority, key);
    for leaf in leaves() {
        issue(dir, &leaf, &issuer).with_context(|| format!("certificate {}", leaf.file))?;
    }
    let tokens = KeyPair::generate()?;
    write_private(&dir.pki("service-accounts.key"), tokens.serialize_pem().as_bytes())?;
    write_private(&dir.pki("service-accounts.pub"), tokens.public_key_pem().as_bytes())?;
    write_private(&dir.pki("ca.crt"), certificate.pem().as_bytes())
}

fn issue(dir: &ClusterDir, leaf: &Leaf, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
    let key = KeyPair::generate()?;
    let certificate = params(leaf)?.signed_by(&key, issuer)?;
    write_private(&dir.pki(&format!("{}.key", leaf.file)), key.serialize_pem().as_bytes())?;
    write_private(&dir.pki(&format!("{}.crt", leaf.file)), certificate.pem().as_bytes())
}

/// Reads a PEM file of the cluster.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_has_a_certificate() {
        let files: Vec<_> = leaves().into_iter().map(|leaf| leaf.file).collect();
        for user in USERS {
            assert!(files.contains(&user), "{user}");
        }
    }

    #[test]
    fn a_second_run_keeps_what_is_there() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir = crate::paths::Cache::new(temp.path()).cluster("t").expect("a name");
        ensure(&dir).expect("issued");
        let first = read(&dir.pki("admin.crt")).expect("there");
        ensure(&dir).expect("kept");
        assert_eq!(first, read(&dir.pki("admin.crt")).expect("there"));
    }
}
