//! Authorities and certificates made for a test, and the directories that they are served from.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_config::Tls;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// An authority that signs what it is asked to.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let (pem, certificate) = (certificate.pem(), certificate.der().clone());
        Authority { certificate, pem, issuer: Issuer::new(parameters, key) }
    }

    pub(crate) fn issue(&self, name: &str) -> Pair {
        self.sign(&CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// A certificate whose subject has these attributes.
    pub(crate) fn issue_to(&self, subject: &[(DnType, &str)]) -> Pair {
        self.sign(&Authority::about(subject))
    }

    /// The same, which ends at a time, in seconds since 1970.
    pub(crate) fn issue_until(&self, subject: &[(DnType, &str)], until: u64) -> Pair {
        let not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
        let mut parameters = Authority::about(subject);
        parameters.not_after = not_after;
        self.sign(&parameters)
    }

    fn about(subject: &[(DnType, &str)]) -> CertificateParams {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            parameters.distinguished_name.push(kind.clone(), DnValue::Utf8String((*value).to_owned()));
        }
        parameters
    }

    fn sign(&self, parameters: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key: key.serialize_der(),
        }
    }
}

impl Pair {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// Puts certificate and key into a directory.
    pub(crate) fn write(&self, directory: &Path) {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join("tls.crt"), &self.certificate_pem).unwrap();
        std::fs::write(directory.join("tls.key"), &self.key_pem).unwrap();
    }
}

/// `http.tls` of a pair in a directory.
pub(crate) fn settings(directory: &Path) -> Tls {
    Tls { certificate: Some(directory.join("tls.crt")), key: Some(directory.join("tls.key")), ..Tls::default() }
}

/// A directory as the kubelet mounts a Secret: links through `..data`, which one rename replaces.
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
    version: u32,
}

impl Mount {
    pub(crate) fn new(path: &Path, pair: &Pair) -> Mount {
        std::fs::create_dir_all(path).unwrap();
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), path.join(file)).unwrap();
        }
        let mut mount = Mount { path: path.to_path_buf(), version: 0 };
        mount.swap(pair);
        mount
    }

    pub(crate) fn swap(&mut self, pair: &Pair) {
        let before = self.path.join(format!("..version_{}", self.version));
        self.version += 1;
        let name = format!("..version_{}", self.version);
        pair.write(&self.path.join(&name));
        let temporary = self.path.join("..data_tmp");
        symlink(&name, &temporary).unwrap();
        std::fs::rename(temporary, self.path.join("..data")).unwrap();
        if before.exists() {
            std::fs::remove_dir_all(before).unwrap();
        }
    }
}
