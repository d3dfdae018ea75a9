//! TLS from a Secret: a missing one is named, a kubelet pulls by it, and a renewed one is taken up without a restart.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use berth_crds::Registry;
use berth_e2e::files::write_private;
use berth_e2e::images::app;
use berth_e2e::kit::{self, Space, condition, in_namespace, until};
use berth_e2e::paths::Cache;
use berth_e2e::run;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

/// The kubelet brings a changed Secret to its pods when it looks at them next: here every ten seconds, elsewhere every minute.
const UPDATE_DEADLINE: Duration = Duration::from_secs(90);

const SECURE: &str = "
apiVersion: berth.dev/v1alpha1
kind: Registry
metadata: {name: main}
spec:
  storage: {emptyDir: {}}
  tls: {secretRef: {name: main-tls}}
";

/// A certificate for a host, its key, and the authority that issued it, which nobody else knows.
pub(crate) struct Pair {
    authority: String,
    certificate: String,
    key: String,
}

impl Pair {
    pub(crate) fn make(host: &str) -> Result<Self> {
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::<String>::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "authority of a test");
        let authority_pem = authority.self_signed(&authority_key)?.pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec![host.to_owned()])?;
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(&key, &issuer)?.pem();
        Ok(Self { authority: authority_pem, certificate, key: key.serialize_pem() })
    }

    /// Writes `ca.crt`, `tls.crt` and `tls.key`.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        std::fs::write(directory.join("ca.crt"), &self.authority)?;
        std::fs::write(directory.join("tls.crt"), &self.certificate)?;
        write_private(&directory.join("tls.key"), self.key.as_bytes())
    }

    /// The certificate of the authority.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn secret(&self, name: &str) -> Value {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
            "data": {"tls.crt": encode(&self.certificate), "tls.key": encode(&self.key)},
        })
    }
}

/// Whether a client that trusts only this authority is answered.
fn is_answered(space: &Space, host: &str, authority: &Path) -> Result<bool> {
    let mut curl = space.cluster.inside("curl")?;
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--cacert"]).arg(authority);
    curl.arg(format!("https://{host}:5000/v2/"));
    Ok(run::outcome(curl, b"")?.success)
}

pub(crate) async fn pods(space: &Space) -> Result<Vec<(Option<String>, i32)>> {
    let pods = space.api::<Pod>().list(&ListParams::default().labels("berth.dev/registry=main")).await?;
    let restarts = |pod: &Pod| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        statuses.map(|status| status.restart_count).sum()
    };
    Ok(pods.items.iter().map(|pod| (pod.metadata.uid.clone(), restarts(pod))).collect())
}

#[tokio::test]
async fn a_certificate_is_awaited_used_and_renewed() -> Result<()> {
    in_namespace("tls", async |space| {
        let directory = tempfile::tempdir()?;
        let (host, address) = (format!("main.{}.svc", space.name), kit::registry_address(space, "main"));
        let (first, second) = (Pair::make(&host)?, Pair::make(&host)?);
        for (name, pair) in [("first", &first), ("second", &second)] {
            std::fs::create_dir(directory.path().join(name))?;
            std::fs::write(directory.path().join(name).join("ca.crt"), &pair.authority)?;
        }
        let authority = |name: &str| directory.path().join(name).join("ca.crt");

        space.apply(SECURE)?;
        super::conditions::stalled(space, "reg/main", "there is no Secret main-tls").await?;
        space.apply(&first.secret("main-tls").to_string())?;
        let status = kit::ready(space, "main").await?.status.context("no status")?;
        let found = condition(&status.conditions, "CertificateReady").context("no CertificateReady")?;
        ensure!(found.status == "True", "{found:?}");
        ensure!(status.url.as_deref() == Some(&format!("https://{address}")), "{:?}", status.url);

        push(space, &address, &directory.path().join("first"))?;
        space.cluster.trust_authority(&address, &first.authority)?;
        let image = format!("{address}/team/app:v1");
        space.apply(&kit::app_pod("app", &image).to_string())?;
        kit::pod_pulled(space, "app").await?;

        let before = pods(space).await?;
        ensure!(!is_answered(space, &host, &authority("second"))?, "the second authority is trusted already");
        space.apply(&second.secret("main-tls").to_string())?;
        until("the renewed certificate is served", UPDATE_DEADLINE, async || {
            ensure!(is_answered(space, &host, &authority("second"))?, "it is not");
            Ok(())
        })
        .await?;
        ensure!(pods(space).await? == before, "a pod was restarted or replaced");
        ensure!(
            space.api::<Registry>().get("main").await?.status.is_some_and(|status| status.ready_replicas == Some(1))
        );
        Ok(())
    })
    .await
}

/// skopeo looks for authorities in a directory.
fn push(space: &Space, address: &str, authorities: &Path) -> Result<()> {
    let source = app::release(&Cache::from_env()?, "v1")?.source;
    let mut skopeo = space.cluster.inside("skopeo")?;
    skopeo.args(["copy", "--quiet", "--dest-cert-dir"]).arg(authorities);
    skopeo.args([&source, &format!("docker://{address}/team/app:v1")]);
    run::checked(skopeo).map(drop)
}
