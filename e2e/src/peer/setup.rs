//! What a server is started with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::Program;

/// What a server is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// An existing directory for the configuration file and the log.
    pub directory: PathBuf,
    /// The configuration file's content.
    pub config: String,
    /// Variables, in addition to the address.
    pub env: Vec<(String, String)>,
    /// Whether the server speaks TLS.
    pub tls: bool,
    /// The loopback port; a free one if none is given.
    pub port: Option<u16>,
}

impl Setup {
    /// A server without TLS on a free port, with its data below `data`, where content can be deleted.
    pub fn filesystem(directory: &Path, data: &Path) -> Self {
        Self::of(directory, &format!("filesystem: {{rootdirectory: {}}}", data.display()))
    }

    /// The same with its data in a bucket. Clients are sent there for blobs, unless `redirect` is disabled by a variable.
    ///
    /// The key to the bucket is written into the configuration file, so `directory` is nobody else's.
    pub fn s3(directory: &Path, bucket: &Bucket) -> Self {
        Self::of(directory, &format!("s3: {}", bucket.parameters()))
    }

    fn of(directory: &Path, driver: &str) -> Self {
        let config = format!(
            "version: 0.1\n\
             log: {{level: info}}\n\
             storage: {{{driver}, delete: {{enabled: true}}}}\n\
             http: {{secret: shared by all servers of the comparison}}\n"
        );
        Self { directory: directory.to_owned(), config, env: Vec::new(), tls: false, port: None }
    }

    /// Where the configuration file is.
    pub(super) fn file(&self) -> PathBuf {
        self.directory.join("config.yml")
    }

    /// A command of a program on the configuration, which a [`Peer`](super::Peer) has written, without the address.
    pub fn command(&self, program: &Program, command: &str) -> Command {
        let mut of_program = Command::new(&program.path);
        of_program.arg(command).arg(self.file()).current_dir(&self.directory);
        for (key, _) in std::env::vars_os() {
            if OF_OTHERS.iter().any(|beginning| key.to_string_lossy().starts_with(beginning)) {
                of_program.env_remove(key);
            }
        }
        // Distribution 3 would look for a collector of traces.
        of_program.env("OTEL_TRACES_EXPORTER", "none");
        of_program.envs(self.env.iter().map(|(key, value)| (key, value)));
        of_program
    }

    /// The same with another variable.
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.env.push((variable.to_owned(), value.to_owned()));
        self
    }
}

/// Beginnings of names of variables whose values in the caller's environment are not meant for a server here.
const OF_OTHERS: [&str; 2] = ["REGISTRY_", "AWS_"];

/// A bucket of a server that speaks S3 and is not Amazon's.
#[derive(Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The server's URL.
    pub endpoint: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The name of the access key.
    pub access_key: String,
    /// The access key.
    pub secret_key: String,
}

impl Bucket {
    /// The driver's parameters, in the form of YAML that is JSON.
    pub fn parameters(&self) -> String {
        let Self { name, endpoint, region, access_key, secret_key } = self;
        json!({
            "bucket": name, "region": region, "regionendpoint": endpoint, "forcepathstyle": true,
            "accesskey": access_key, "secretkey": secret_key,
        })
        .to_string()
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, endpoint, region: _, access_key: _, secret_key: _ } = self;
        write!(f, "{name} of {endpoint}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a key: with {signs}";

    #[test]
    fn a_bucket_is_written_as_the_driver_reads_it() {
        let bucket = Bucket {
            name: "images".to_owned(),
            endpoint: "http://127.0.0.1:1".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "name".to_owned(),
            secret_key: KEY.to_owned(),
        };
        let setup = Setup::s3(Path::new("/d"), &bucket).with("A", "b");
        let config: serde_json::Value = serde_saphyr::from_str(&setup.config).expect("it is YAML");
        let expected = json!({
            "bucket": "images", "region": "us-east-1", "regionendpoint": "http://127.0.0.1:1", "forcepathstyle": true,
            "accesskey": "name", "secretkey": KEY,
        });
        assert_eq!(config["storage"]["s3"], expected);
        assert_eq!(config["storage"]["delete"]["enabled"], true);
        assert_eq!(setup.env, [("A".to_owned(), "b".to_owned())]);
        assert!(!format!("{bucket:?}").contains(KEY));
    }
}
