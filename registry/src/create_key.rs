//! The command that makes a key for the issuer of tokens.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose};

use crate::issuer;

/// What the command is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateKey {
    /// What tokens are signed by.
    #[arg(long, value_enum, default_value_t = Kind::Es256)]
    algorithm: Kind,
    /// Also make a certificate of this name, which then goes with each token: for registries that know an issuer by its
    /// certificate (auth.token.rootcertbundle), as Docker Registry 2.8 does. It is printed.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    certificate: Option<String>,
    /// For how many days the certificate counts.
    #[arg(long, value_name = "N", default_value_t = 365, requires = "certificate", value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
    /// The file to write, which must not be there: the key that auth.issuer.keys names, or NAME.pem in the directory that it
    /// names.
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// Ed25519.
    Eddsa,
    /// RSA of 2048 bits.
    Rs256,
}

impl Kind {
    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        let algorithm = match self {
            Kind::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Kind::Es384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Kind::Eddsa => &rcgen::PKCS_ED25519,
            Kind::Rs256 => &rcgen::PKCS_RSA_SHA256,
        };
        KeyPair::generate_for(algorithm)
    }
}

/// A certificate that a key has signed of itself.
fn certificate(key: &KeyPair, name: &str, days: u32) -> Result<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let now = std::time::SystemTime::now();
    // Clocks differ.
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + Duration::from_secs(u64::from(days) * 24 * 3600)).into();
    Ok(params.self_signed(key).context("--certificate")?.pem())
}

/// Writes a new key into a file that only its owner reads, and prints what it is called.
pub(crate) fn create(CreateKey { algorithm, certificate: name, days, file }: &CreateKey) -> Result<()> {
    let key = algorithm.generate().context("make a key")?;
    let certificate = name.as_ref().map(|name| certificate(&key, name, *days)).transpose()?;
    let pem = key.serialize_pem() + certificate.as_deref().unwrap_or_default();
    let kid = issuer::kid(pem.as_bytes())?;
    let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    if let Err(error) = &created {
        ensure!(error.kind() != std::io::ErrorKind::AlreadyExists, "{} is there already; name another", file.display());
    }
    let mut created = created.with_context(|| format!("cannot create {}", file.display()))?;
    let written = created.write_all(pem.as_bytes()).and_then(|()| created.sync_all());
    written.with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("wrote {}, which must stay secret; it is called {kid}", file.display());
    if let Some(certificate) = certificate {
        print!("{certificate}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_kind_of_key_is_one_that_signs() {
        let directory = tempfile::tempdir().unwrap();
        for (at, algorithm) in Kind::value_variants().iter().enumerate() {
            for certificate in [None, Some("issuer.example".to_owned())] {
                let file = directory.path().join(format!("{at}-{}.pem", certificate.is_some()));
                let asked = CreateKey { algorithm: *algorithm, certificate, days: 30, file: file.clone() };
                create(&asked).unwrap();
                let (pem, mode) =
                    (std::fs::read(&file).unwrap(), std::fs::metadata(&file).unwrap().permissions().mode());
                assert_eq!(mode & 0o777, 0o600);
                issuer::kid(&pem).unwrap();
                let again = create(&asked).unwrap_err().to_string();
                assert!(again.contains("is there already"), "{again}");
                assert_eq!(std::fs::read(&file).unwrap(), pem, "it was not written over");
            }
        }
        let file = directory.path().join("no/such/directory.pem");
        let asked = CreateKey { algorithm: Kind::Es256, certificate: None, days: 30, file };
        assert!(create(&asked).unwrap_err().to_string().contains("cannot create"));
    }
}
