//! Tokens of Berth's issuer, and what other registries make of them: configured by its certificate or by its published keys.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_e2e::images::app;
use berth_e2e::paths::Cache;
use berth_e2e::peer::{Peer, Program, Setup, free_port};
use berth_e2e::{packages, run};

use crate::http::{Question, ask};
use crate::lab::lab;

/// Who may use the registries, both with the password `swordfish`.
const USERS: [&str; 2] = ["alice", "root"];
const PASSWORD: &str = "swordfish";
const HASH: &str = "$2b$05$U7G/Cyq35gZmcslXRmdi4.rTnsw6ro5s7xMoOrZ16dCt68f7XNlqe";
const RULES: &str = "rules: [{users: ['*'], repositories: 'home/{user}/**', actions: ['*']}, \
    {users: [root], repositories: '**', actions: ['*']}]";

/// How another registry knows the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Certificate,
    PublishedKeys,
}

/// An issuer, and a directory for what belongs to it.
struct Lab {
    issuer: Peer,
    url: String,
    directory: PathBuf,
}

impl Lab {
    /// Starts one whose key was made with these arguments; its certificate, if it has one, is in `issuer.crt`.
    fn start(directory: &Path, key: &[&str]) -> Result<Self> {
        std::fs::create_dir(directory)?;
        let berth = &lab().berth;
        let mut command = Command::new(&berth.path);
        command.arg("create-key").args(key).arg(directory.join("key.pem"));
        std::fs::write(directory.join("issuer.crt"), run::checked(command)?)?;
        let users: Vec<String> = USERS.iter().map(|user| format!("{user}:{HASH}\n")).collect();
        std::fs::write(directory.join("htpasswd"), users.concat())?;
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}/auth");
        let mut setup = Setup::filesystem(directory, &directory.join("data"));
        setup.port = Some(port);
        let path = directory.display();
        setup.config += &format!(
            "auth: {{issuer: {{service: berth, issuer: '{url}', keys: '{path}/key.pem', services: [other], \
             htpasswd: {{path: '{path}/htpasswd'}}}}, {RULES}}}\n"
        );
        let issuer = Peer::start(berth, &setup)?;
        Ok(Lab { issuer, url, directory: directory.to_owned() })
    }

    /// Starts a registry that is told of the issuer as its documentation says.
    async fn registry(&self, program: &Program, by: By) -> Result<Peer> {
        let directory = self.directory.join(format!("{}-{by:?}", program.version));
        std::fs::create_dir(&directory)?;
        let known_by = match by {
            By::Certificate => format!("rootcertbundle: '{}'", self.directory.join("issuer.crt").display()),
            By::PublishedKeys => {
                let keys = ask(self.issuer.address(), &Question::get("/auth/keys")).await?;
                let file = directory.join("keys.json");
                std::fs::write(&file, &keys.body)?;
                format!("jwks: '{}'", file.display())
            }
        };
        let mut setup = Setup::filesystem(&directory, &directory.join("data"));
        let url = &self.url;
        setup.config +=
            &format!("auth: {{token: {{realm: '{url}/token', service: other, issuer: '{url}', {known_by}}}}}\n");
        Peer::start(program, &setup)
    }

    /// skopeo with a file of passwords of the user's own.
    fn skopeo(&self, user: &str, args: &[&str]) -> Command {
        let mut command = Command::new("skopeo");
        command.env("REGISTRY_AUTH_FILE", self.directory.join(format!("{user}.json"))).args(args);
        command
    }

    /// Pushes, pulls and deletes at a registry, as far as the rules say.
    fn use_registry(&self, registry: &Peer) -> Result<()> {
        let host = registry.host();
        let source = app::release(&Cache::from_env()?, "v1")?.source;
        for user in USERS {
            let login = ["login", "--tls-verify=false", "--username", user, "--password-stdin", &host];
            run::with_input(self.skopeo(user, &login), PASSWORD.as_bytes())?;
        }
        let skopeo = |user: &str, args: &[&str]| run::checked(self.skopeo(user, args));
        let (own, other) = (format!("docker://{host}/home/alice/app:v1"), format!("docker://{host}/home/root/app:v1"));
        let (to, from) = ("--dest-tls-verify=false", "--src-tls-verify=false");
        skopeo("alice", &["copy", "--quiet", to, &source, &own])?;
        skopeo("root", &["copy", "--quiet", to, &source, &other])?;
        let pulled = tempfile::tempdir()?;
        for user in USERS {
            let directory = format!("dir:{}", pulled.path().join(user).display());
            skopeo(user, &["copy", "--quiet", from, &own, &directory])?;
        }
        let directory = format!("dir:{}", pulled.path().join("refused").display());
        for refused in [
            vec!["copy", "--quiet", from, &other, &directory],
            vec!["copy", "--quiet", to, &source, &other],
            vec!["delete", "--tls-verify=false", &other],
        ] {
            let outcome = run::outcome(self.skopeo("alice", &refused), b"")?;
            ensure!(!outcome.success, "alice may {refused:?}");
            let is_told = ["denied", "unauthorized", "401"].iter().any(|word| outcome.stderr.contains(word));
            ensure!(is_told, "{}", outcome.stderr);
        }
        skopeo("alice", &["delete", "--tls-verify=false", &own])?;
        let again = run::outcome(self.skopeo("root", &["inspect", "--tls-verify=false", &own]), b"")?;
        ensure!(again.stderr.contains("manifest unknown"), "it is there: {}", again.stderr);
        Ok(())
    }

    /// A token for one registry is none for another; and a catalog that a registry has as a whole alone is for who may list
    /// everything.
    async fn tokens_are_for_whom_they_are(&self, registry: &Peer) -> Result<()> {
        const PULL: &str = "repository:home/alice/app:pull";
        const CATALOG: &str = "registry:catalog:*";
        let manifest = "/v2/home/alice/app/manifests/v1";
        let of_catalog = if registry.program.name == "Berth" { 200 } else { 401 };
        for (user, service, scope, path, expected) in [
            ("alice", "other", PULL, manifest, 404),
            ("alice", "berth", PULL, manifest, 401),
            ("root", "other", CATALOG, "/v2/_catalog", 200),
            ("alice", "other", CATALOG, "/v2/_catalog", of_catalog),
        ] {
            let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}")));
            let target = format!("/auth/token?service={service}&scope={scope}");
            let answer = ask(self.issuer.address(), &Question::get(target).with("authorization", &basic)).await?;
            let answer: serde_json::Value = serde_json::from_slice(&answer.body)?;
            let token = answer["token"].as_str().context("no token")?;
            let question = Question::get(path).with("authorization", format!("Bearer {token}"));
            let answer = ask(registry.address(), &question).await?;
            ensure!(answer.status == expected, "{user} with a token for {service}, {scope}: {}", answer.status);
            let is_hidden = user == "alice" && answer.text().contains("home/root/app");
            ensure!(!is_hidden, "alice is told of what is root's: {}", answer.text());
        }
        Ok(())
    }
}

#[tokio::test]
async fn other_registries_believe_our_tokens() -> Result<()> {
    packages::ensure(&packages::CLIENTS)?;
    let (temp, lab_) = (tempfile::tempdir()?, lab());
    let certificate = ["--certificate", "issuer.example"];
    let (old, new, ours) = (&lab_.distribution_2, &lab_.distribution_3, &lab_.berth);
    for (name, key, registries) in [
        ("es256", vec!["--algorithm", "es256"], vec![(new, By::PublishedKeys), (ours, By::PublishedKeys)]),
        ("es384", vec!["--algorithm", "es384"], vec![(new, By::PublishedKeys)]),
        ("rs256", vec!["--algorithm", "rs256"], vec![(new, By::PublishedKeys)]),
        ("eddsa", vec!["--algorithm", "eddsa"], vec![(new, By::PublishedKeys)]),
        (
            "es256 with a certificate",
            [&["--algorithm", "es256"][..], &certificate].concat(),
            vec![(old, By::Certificate), (new, By::Certificate), (ours, By::Certificate)],
        ),
        (
            "rs256 with a certificate",
            [&["--algorithm", "rs256"][..], &certificate].concat(),
            vec![(old, By::Certificate), (new, By::Certificate)],
        ),
    ] {
        let lab = Lab::start(&temp.path().join(name.replace(' ', "-")), &key)?;
        for (program, by) in registries {
            let what = || format!("{} {} knows the issuer by {by:?}, {name}", program.name, program.version);
            let registry = lab.registry(program, by).await.with_context(what)?;
            let used = match lab.use_registry(&registry) {
                Ok(()) => lab.tokens_are_for_whom_they_are(&registry).await,
                refused => refused,
            };
            used.with_context(|| format!("{}; its log:\n{}", what(), registry.log_tail()))?;
            println!("{}: ok", what());
        }
    }
    Ok(())
}
