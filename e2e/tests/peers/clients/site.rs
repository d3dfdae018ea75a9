//! A registry that clients talk to, and a home for them that knows nothing else.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::files::write_private;
use berth_e2e::peer::{Peer, Setup, free_port};
use berth_e2e::run;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;

use crate::content::sha256;
use crate::lab::lab;

/// Who may use a registry with a password.
pub(crate) const USER: &str = "someone";
/// The password, which tests alone know.
pub(crate) const PASSWORD: &str = "swordfish";
/// The bcrypt hash of the password.
const HTPASSWD: &str = "someone:$2b$05$U7G/Cyq35gZmcslXRmdi4.rTnsw6ro5s7xMoOrZ16dCt68f7XNlqe\n";

/// How a registry is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    /// With TLS, and a certificate of an authority of the test's own.
    pub(crate) tls: bool,
    /// With the password of [`USER`].
    pub(crate) password: bool,
}

impl Access {
    pub(crate) const ALL: [Access; 3] = [
        Access { tls: false, password: false },
        Access { tls: true, password: false },
        Access { tls: true, password: true },
    ];
}

/// Where a registry will be.
pub(crate) struct Place<'a> {
    /// A directory of its own.
    pub(crate) directory: &'a Path,
    /// What stands in front of a repository.
    pub(crate) host: String,
}

/// A running registry and a home for the clients.
pub(crate) struct Site {
    pub(crate) access: Access,
    server: Peer,
    directory: TempDir,
}

impl Site {
    /// Starts Berth on an empty directory.
    pub(crate) fn start(access: Access) -> Result<Self> {
        Self::start_with(access, &[])
    }

    /// The same with more variables.
    pub(crate) fn start_with(access: Access, variables: &[(&str, &str)]) -> Result<Self> {
        Self::start_as(access, variables, |_| Ok(String::new()))
    }

    /// The same with what is added to the configuration, which may depend on where the registry will be.
    pub(crate) fn start_with_auth(access: Access, auth: impl FnOnce(&Place<'_>) -> Result<String>) -> Result<Self> {
        Self::start_as(access, &[], auth)
    }

    fn start_as(
        access: Access,
        variables: &[(&str, &str)],
        auth: impl FnOnce(&Place<'_>) -> Result<String>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let port = free_port()?;
        // Some clients insist that the file is there.
        write_private(&path.join("home/.docker/config.json"), b"{}")?;
        let mut setup = Setup::filesystem(path, &path.join("data"));
        setup.port = Some(port);
        setup.config += &auth(&Place { directory: path, host: format!("127.0.0.1:{port}") })?;
        if access.tls {
            certificate(path)?;
            let file = |name: &str| path.join(name).display().to_string();
            setup.env.push(("REGISTRY_HTTP_TLS_CERTIFICATE".to_owned(), file("server.pem")));
            setup.env.push(("REGISTRY_HTTP_TLS_KEY".to_owned(), file("server.key")));
            setup.tls = true;
        }
        if access.password {
            write_private(&path.join("htpasswd"), HTPASSWD.as_bytes())?;
            let realm = ("REGISTRY_AUTH_HTPASSWD_REALM".to_owned(), "Berth".to_owned());
            let file = ("REGISTRY_AUTH_HTPASSWD_PATH".to_owned(), path.join("htpasswd").display().to_string());
            setup.env.extend([realm, file]);
        }
        setup.env.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let server = Peer::start(&lab().berth, &setup)?;
        Ok(Self { access, server, directory })
    }

    /// What stands in front of a repository: `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.server.host()
    }

    /// A path of this site's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The certificate of the authority that the server's was issued by.
    pub(crate) fn authority(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// The file that clients keep passwords in.
    pub(crate) fn passwords(&self) -> PathBuf {
        self.path("home/.docker/config.json")
    }

    /// A client that knows nothing but this site: its home is here, and the only authority is ours.
    pub(crate) fn client(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let home = self.path("home");
        command
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env_remove("XDG_RUNTIME_DIR")
            .env("DOCKER_CONFIG", home.join(".docker"))
            .env("REGISTRY_AUTH_FILE", self.passwords())
            .current_dir(self.directory.path());
        if self.access.tls {
            command.env("SSL_CERT_FILE", self.authority());
        }
        command
    }

    /// Checks that every blob of an OCI layout is in the registry's store, byte for byte.
    pub(crate) fn holds(&self, layout: &Path) -> Result<()> {
        let blobs = layout.join("blobs/sha256");
        let mut count = 0;
        for entry in std::fs::read_dir(&blobs).with_context(|| format!("read {}", blobs.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let stored = self.stored(&format!("sha256:{name}"))?;
            ensure!(stored == std::fs::read(entry.path())?, "sha256:{name} has other bytes in the store");
            count += 1;
        }
        ensure!(count > 0, "{} holds nothing", blobs.display());
        Ok(())
    }

    /// The bytes of a digest as the store has them, after a look whether they are of that digest.
    pub(crate) fn stored(&self, digest: &str) -> Result<Vec<u8>> {
        let hex = digest.strip_prefix("sha256:").with_context(|| format!("{digest} is not of sha256"))?;
        let place = format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        let bytes = std::fs::read(self.path(&place)).with_context(|| format!("{digest} is not in the store"))?;
        ensure!(sha256(&bytes) == digest, "the store has other bytes for {digest}");
        Ok(bytes)
    }

    /// The digest that a tag leads to, as the store has it.
    pub(crate) fn tagged(&self, repository: &str, tag: &str) -> Result<String> {
        let place = format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link");
        std::fs::read_to_string(self.path(&place)).with_context(|| format!("there is no tag {tag} in {repository}"))
    }

    /// The end of the server's log.
    pub(crate) fn log_tail(&self) -> String {
        self.server.log_tail()
    }
}

/// Runs a client, and shows the server's log if it fails.
pub(crate) fn run_client(site: &Site, command: Command) -> Result<String> {
    run::checked(command).with_context(|| format!("{:?}; the server's log:\n{}", site.access, site.log_tail()))
}

/// Writes an authority's certificate, and a certificate and key for loopback.
fn certificate(directory: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = authority.self_signed(&key)?;
    let issuer = Issuer::new(authority, key);
    let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
    server.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;
    write_private(&directory.join("ca.crt"), own.pem().as_bytes())?;
    write_private(&directory.join("server.pem"), certificate.pem().as_bytes())?;
    write_private(&directory.join("server.key"), key.serialize_pem().as_bytes())
}

/// Checks that two directories hold the same files with the same bytes.
pub(crate) fn same_files(one: &Path, other: &Path) -> Result<()> {
    let mut diff = Command::new("diff");
    diff.args(["--recursive", "--brief"]).arg(one).arg(other);
    run::checked(diff).map(drop)
}
