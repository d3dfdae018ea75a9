//! Where the installed servers lie, and where they are to listen. Knows names only; whether anything lies there is found out
//! at a start.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The directories of the installed servers, and the address that they are started on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    pub(crate) host: Ipv4Addr,
    versitygw: Place,
    moto: Place,
    azurite: Place,
    fake_gcs: Place,
    swift: Place,
    docker_registry: Place,
    keycloak: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    variable: &'static str,
    path: Option<PathBuf>,
}

impl Programs {
    /// Takes the places from the environment, as `install.sh` prints them.
    pub fn from_env() -> Self {
        Self::from_variables(|variable| std::env::var_os(variable).map(PathBuf::from))
    }

    fn from_variables(value: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let place = |variable| {
            let path = value(variable).filter(|path| !path.as_os_str().is_empty());
            Place { variable, path }
        };
        Self {
            host: Ipv4Addr::LOCALHOST,
            versitygw: place("BERTH_VERSITYGW"),
            moto: place("BERTH_MOTO"),
            azurite: place("BERTH_AZURITE"),
            fake_gcs: place("BERTH_FAKE_GCS_SERVER"),
            swift: place("BERTH_SWIFT"),
            docker_registry: place("BERTH_DOCKER_REGISTRY"),
            keycloak: place("BERTH_KEYCLOAK"),
        }
    }

    /// Has servers listen on another address than that of loopback: one of the network of the thread that starts them.
    pub fn on(self, host: Ipv4Addr) -> Self {
        Self { host, ..self }
    }

    /// The directory of versitygw.
    pub fn versitygw(&self) -> Result<&Path> {
        self.versitygw.get()
    }

    /// The directory of the Python modules of moto.
    pub fn moto(&self) -> Result<&Path> {
        self.moto.get()
    }

    /// The directory of azurite's package and all that it needs.
    pub fn azurite(&self) -> Result<&Path> {
        self.azurite.get()
    }

    /// The directory of fake-gcs-server.
    pub fn fake_gcs(&self) -> Result<&Path> {
        self.fake_gcs.get()
    }

    /// The directory that Swift's packages are unpacked in.
    pub fn swift(&self) -> Result<&Path> {
        self.swift.get()
    }

    /// The directory that Docker Registry 2.8's package is unpacked in.
    pub fn docker_registry(&self) -> Result<&Path> {
        self.docker_registry.get()
    }

    /// The directory of Keycloak, and of what its servers begin with.
    pub fn keycloak(&self) -> Result<&Path> {
        self.keycloak.get()
    }
}

impl Place {
    fn get(&self) -> Result<&Path> {
        self.path.as_deref().with_context(|| {
            let variable = self.variable;
            format!(
                "{variable} is not set: run `make stores`, or the test by \
                 `e2e/stores/install.sh [SERVER…] -- cargo test …`"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Getter = for<'a> fn(&'a Programs) -> Result<&'a Path>;

    const SERVERS: [(Getter, &str); 7] = [
        (Programs::versitygw, "BERTH_VERSITYGW"),
        (Programs::moto, "BERTH_MOTO"),
        (Programs::azurite, "BERTH_AZURITE"),
        (Programs::fake_gcs, "BERTH_FAKE_GCS_SERVER"),
        (Programs::swift, "BERTH_SWIFT"),
        (Programs::docker_registry, "BERTH_DOCKER_REGISTRY"),
        (Programs::keycloak, "BERTH_KEYCLOAK"),
    ];

    #[test]
    fn every_server_has_a_variable_of_its_own() {
        let programs = Programs::from_variables(|variable| Some(Path::new("/p").join(variable)));
        for (get, variable) in SERVERS {
            assert_eq!(get(&programs).expect("it is set"), Path::new("/p").join(variable));
        }
    }

    #[test]
    fn what_is_not_named_is_missed_by_its_name() {
        let none = Programs::from_variables(|_| None);
        assert_eq!(none, Programs::from_variables(|_| Some(PathBuf::new())));
        for (get, variable) in SERVERS {
            let error = get(&none).expect_err("it is not set").to_string();
            assert!(error.contains(variable) && error.contains("make stores"), "{error}");
        }
    }

    #[test]
    fn what_is_installed_is_looked_for_by_that_name() {
        let script = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh"));
        let script = script.expect("the script lies beside the crate");
        let list = script.lines().find_map(|line| line.strip_prefix("servers=(")?.strip_suffix(')'));
        let mut installed: Vec<String> = list
            .expect("it lists the servers")
            .split(' ')
            .map(|server| format!("BERTH_{}", server.replace('-', "_").to_uppercase()))
            .collect();
        let mut known: Vec<&str> = SERVERS.iter().map(|(_, variable)| *variable).collect();
        installed.sort_unstable();
        known.sort_unstable();
        assert_eq!(installed, known);
    }
}
