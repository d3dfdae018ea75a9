//! A token service that has nothing in common with Berth, written from the published specification, and the registries that
//! are configured with it as its documentation says.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_e2e::images::app;
use berth_e2e::paths::Cache;
use berth_e2e::peer::{Peer, Program, Setup};
use berth_e2e::{packages, run, tools};
use serde_json::Value;

use crate::http::{Answer, Question, ask};
use crate::lab::lab;

const PASSWORD: &str = "swordfish";
/// As the service has them: a home, some of what is public, and everything.
const USERS: &str = "\
# name:password:repositories:actions
alice:swordfish:home/alice/**:*
root:swordfish:**:*
*::public/**:pull
";
const ISSUER: &str = "token service of the lab";
const SERVICE: &str = "registry.example";

/// How a registry knows the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The set of keys in a file.
    File,
    /// The set of keys at its address.
    Address,
    /// The certificate of its key.
    Certificate,
}

/// A running service, which ends when this is dropped.
struct Service {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl Service {
    fn start(directory: &Path, algorithm: &str, with_certificate: bool) -> Result<Self> {
        let toolbox = tools::ensure(&Cache::from_env()?, &[tools::TOKEN_SERVICE])?;
        std::fs::create_dir(directory)?;
        let file = |name: &str| directory.join(name);
        std::fs::write(file("users"), USERS)?;
        let mut command = Command::new(toolbox.program(&tools::TOKEN_SERVICE));
        command
            .args(["-listen", "127.0.0.1:0", "-issuer", ISSUER, "-services", &format!("{SERVICE},other.example")])
            .args(["-algorithm", algorithm, "-users"])
            .arg(file("users"))
            .arg("-key")
            .arg(file("key.pem"))
            .arg("-jwks")
            .arg(file("keys.json"));
        if with_certificate {
            command.arg("-certificate").arg(file("tokens.pem"));
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start the token service")?;
        let said = child.stdout.take().context("it has an output")?;
        let mut service =
            Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), directory: directory.to_owned() };
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).context("read what the token service says")?;
        let address = line.trim().strip_prefix("listening on ").with_context(|| format!("it says {line:?}"))?;
        service.address = address.parse().context(line.clone())?;
        Ok(service)
    }

    /// Starts a registry with the lines that its documentation gives; those by a certificate are the same for all three.
    fn registry(&self, program: &Program, by: By) -> Result<Peer> {
        let directory = self.directory.join(format!("{}-{by:?}", program.version));
        std::fs::create_dir(&directory)?;
        let (address, files) = (self.address, self.directory.display());
        let known_by = match by {
            By::File => format!("jwks: {files}/keys.json"),
            By::Address => format!("jwks: http://{address}/jwks.json"),
            By::Certificate => format!("rootcertbundle: {files}/tokens.pem"),
        };
        let mut setup = Setup::filesystem(&directory, &directory.join("data"));
        setup.config += &format!(
            "auth:\n\
             \x20 token:\n\
             \x20   realm: http://{address}/token\n\
             \x20   service: {SERVICE}\n\
             \x20   issuer: {ISSUER}\n\
             \x20   {known_by}\n"
        );
        Peer::start(program, &setup)
    }

    /// skopeo with a file of passwords of the user's own.
    fn skopeo(&self, user: &str, args: &[&str]) -> Command {
        let mut command = Command::new("skopeo");
        command.env("REGISTRY_AUTH_FILE", self.directory.join(format!("{user}.json"))).args(args);
        command
    }

    /// Logs in, pushes, pulls and is refused, as far as the users' lines say. Nobody is somebody who says no name.
    fn use_registry(&self, registry: &Peer) -> Result<()> {
        let host = registry.host();
        let source = app::release(&Cache::from_env()?, "v1")?.source;
        let login = |user: &str, password: &str| {
            let login = ["login", "--tls-verify=false", "--username", user, "--password-stdin", &host];
            run::outcome(self.skopeo(user, &login), password.as_bytes())
        };
        ensure!(!login("alice", "wrong")?.success, "a wrong password is taken");
        for user in ["alice", "root"] {
            let outcome = login(user, PASSWORD)?;
            ensure!(outcome.success, "{user} cannot log in: {}", outcome.stderr);
        }
        let at = |repository: &str| format!("docker://{host}/{repository}:v1");
        let (own, others, public) = (at("home/alice/app"), at("home/root/app"), at("public/app"));
        let (to, from) = ("--dest-tls-verify=false", "--src-tls-verify=false");
        let skopeo = |user: &str, args: &[&str]| run::checked(self.skopeo(user, args));
        skopeo("alice", &["copy", "--quiet", to, &source, &own])?;
        for target in [&others, &public] {
            skopeo("root", &["copy", "--quiet", to, &source, target])?;
        }
        let pulled = tempfile::tempdir()?;
        let into = |name: &str| format!("dir:{}", pulled.path().join(name).display());
        for (user, image) in [("alice", &own), ("root", &own), ("alice", &public), ("nobody", &public)] {
            skopeo(user, &["copy", "--quiet", from, image, &into(user)])?;
        }
        for (user, refused) in [
            ("alice", vec!["copy", "--quiet", from, &others, &into("refused")]),
            ("alice", vec!["copy", "--quiet", to, &source, &others]),
            ("alice", vec!["copy", "--quiet", to, &source, &public]),
            ("alice", vec!["delete", "--tls-verify=false", &others]),
            ("nobody", vec!["copy", "--quiet", from, &own, &into("refused")]),
        ] {
            let outcome = run::outcome(self.skopeo(user, &refused), b"")?;
            ensure!(!outcome.success, "{user} may {refused:?}");
            let is_told = ["denied", "unauthorized", "401"].iter().any(|word| outcome.stderr.contains(word));
            ensure!(is_told, "{}", outcome.stderr);
        }
        skopeo("alice", &["delete", "--tls-verify=false", &own])?;
        let again = run::outcome(self.skopeo("root", &["inspect", "--tls-verify=false", &own]), b"")?;
        ensure!(again.stderr.contains("manifest unknown"), "it is there: {}", again.stderr);
        Ok(())
    }

    /// A form, as OAuth 2.0 has it.
    async fn post(&self, form: &str) -> Result<Answer> {
        let question = Question::new("POST", "/token").with("content-type", "application/x-www-form-urlencoded");
        ask(self.address, &question.body(form.to_owned())).await
    }

    /// The ways to a token, and that a registry gives for each what is in it: a part of what was asked for, if that is what
    /// the user has.
    async fn every_way_to_a_token(&self, registry: &Peer) -> Result<()> {
        const SCOPE: &str =
            "repository:home/alice/app:pull,push repository:home/root/app:pull repository:public/app:pull,push";
        let scope = SCOPE.replace(' ', "%20");
        let basic = format!("Basic {}", STANDARD.encode(format!("alice:{PASSWORD}")));
        let scopes = SCOPE.replace(' ', "&scope=");
        let asked = Question::get(format!("/token?service={SERVICE}&account=alice&offline_token=true&scope={scopes}"));
        let got = json(&ask(self.address, &asked.with("authorization", basic)).await?)?;
        let login = format!("grant_type=password&client_id=lab&username=alice&password={PASSWORD}&access_type=offline");
        let form = json(&self.post(&format!("service={SERVICE}&{login}&scope={scope}")).await?)?;
        let refresh = form["refresh_token"].as_str().context("no refresh token")?;
        let again = format!("grant_type=refresh_token&client_id=lab&scope={scope}&refresh_token={refresh}");
        let refreshed = json(&self.post(&format!("service={SERVICE}&{again}")).await?)?;
        ensure!(refreshed["refresh_token"] == refresh, "it is another: {refreshed}");
        ensure!(got["refresh_token"].is_string(), "offline_token has brought none");
        for refused in [
            format!("service=other.example&{again}"),
            format!("service={SERVICE}&{again}x"),
            format!("service={SERVICE}&{login}").replace(PASSWORD, "wrong"),
            format!("service=unknown&{login}"),
            format!("service={SERVICE}&grant_type=client_credentials"),
        ] {
            let answer = self.post(&refused).await?;
            ensure!(answer.status == 400, "{refused}: {}", answer.status);
        }
        for (way, answer) in [("GET", got), ("password", form), ("refresh_token", refreshed)] {
            let expected = "repository:home/alice/app:pull,push repository:public/app:pull";
            ensure!(answer["scope"] == expected, "{way}: {}", answer["scope"]);
            let bearer = format!("Bearer {}", answer["access_token"].as_str().context("no token")?);
            for (method, path, expected) in [
                // It was deleted, which is told only to who may pull.
                ("GET", "/v2/home/alice/app/manifests/v1", 404),
                ("POST", "/v2/home/alice/app/blobs/uploads/", 202),
                ("GET", "/v2/public/app/tags/list", 200),
                ("POST", "/v2/public/app/blobs/uploads/", 401),
                ("GET", "/v2/home/root/app/manifests/v1", 401),
                ("GET", "/v2/_catalog", 401),
            ] {
                let question = Question::new(method, path).with("authorization", &bearer);
                let answer = ask(registry.address(), &question).await?;
                ensure!(answer.status == expected, "{way}: {method} {path}: {}", answer.status);
            }
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("end the token service: {error}");
        }
    }
}

fn json(answer: &Answer) -> Result<Value> {
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    serde_json::from_slice(&answer.body).context("an answer of the token service")
}

#[tokio::test]
async fn registries_take_the_tokens_of_a_service_that_is_configured_as_its_documentation_says() -> Result<()> {
    packages::ensure(&packages::CLIENTS)?;
    let (temp, lab) = (tempfile::tempdir()?, lab());
    let (old, new, ours) = (&lab.distribution_2, &lab.distribution_3, &lab.berth);
    for algorithm in ["ES256", "RS256"] {
        for (with_certificate, registries) in [
            (false, vec![(new, By::File), (ours, By::File), (ours, By::Address)]),
            (true, vec![(old, By::Certificate), (new, By::Certificate), (ours, By::Certificate)]),
        ] {
            let directory = temp.path().join(format!("{algorithm}-{with_certificate}"));
            let service = Service::start(&directory, algorithm, with_certificate)?;
            for (program, by) in registries {
                let what = || format!("{} {} by {by:?}, {algorithm}", program.name, program.version);
                let registry = service.registry(program, by).with_context(what)?;
                let used = match service.use_registry(&registry) {
                    Ok(()) => service.every_way_to_a_token(&registry).await,
                    refused => refused,
                };
                used.with_context(|| format!("{}; its log:\n{}", what(), registry.log_tail()))?;
                println!("{}: ok", what());
            }
        }
    }
    Ok(())
}
