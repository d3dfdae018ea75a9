//! Clients that log in with tokens of a real identity provider, Keycloak: they get what the groups of their user may have.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::compile::repository;
use berth_e2e::packages;
use berth_e2e::run;
use berth_e2e::tools::{CRANE, HELM};
use berth_stores::{Keycloak, Programs, Realm, SigningAlgorithm};

use super::containers::{archive, with_storage};
use super::site::{Access, Site};
use super::{image, tool, with_args};
use crate::lab::lab;

/// Who pushes where: developers to the team's repositories, robots to those of ci; nobody else anywhere.
const RULES: &str = "rules: [{groups: ['keycloak:developers'], repositories: 'team/**', actions: [pull, push]}, \
    {groups: ['keycloak:robots'], repositories: 'ci/**', actions: [pull, push]}, \
    {groups: ['keycloak:robots'], repositories: 'team/**', actions: [pull]}]";

/// A client: how it logs in, pushes to a repository and pulls from there.
struct Client {
    name: &'static str,
    login: fn(&Site) -> Command,
    /// Several commands, of which the last one pushes.
    push: fn(&Site, &str) -> Result<Command>,
    pull: fn(&Site, &str, &Path) -> Result<Command>,
}

fn layout() -> Result<String> {
    Ok(image()?.0.display().to_string())
}

fn skopeo(site: &Site, args: &[&str]) -> Command {
    with_args(site.client("skopeo"), args)
}

fn podman(site: &Site, args: &[&str]) -> Command {
    with_args(with_storage(site, "podman"), args)
}

fn crane(site: &Site, args: &[&str]) -> Command {
    with_args(site.client(tool(CRANE)), args)
}

fn helm(site: &Site, args: &[&str]) -> Command {
    with_args(site.client(tool(HELM)), args)
}

/// What every one of them takes: the name of the user says nothing.
const LOGIN: [&str; 3] = ["--username", "anybody", "--password-stdin"];

const CLIENTS: [Client; 4] = [
    Client {
        name: "skopeo",
        login: |site| skopeo(site, &[&["login"], &LOGIN[..], &[&site.host()]].concat()),
        push: |site, repository| {
            let (from, to) = (format!("oci:{}", layout()?), format!("docker://{}/{repository}:v1", site.host()));
            Ok(skopeo(site, &["copy", "--quiet", &from, &to]))
        },
        pull: |site, repository, to| {
            let from = format!("docker://{}/{repository}:v1", site.host());
            Ok(skopeo(site, &["copy", "--quiet", &from, &format!("dir:{}", to.display())]))
        },
    },
    Client {
        name: "podman",
        login: |site| podman(site, &[&["login"], &LOGIN[..], &[&site.host()]].concat()),
        push: |site, repository| {
            let loaded = run::checked(podman(site, &["pull", "--quiet", &archive(site)?]))?;
            let to = format!("{}/{repository}:v1", site.host());
            Ok(podman(site, &["push", "--quiet", loaded.trim(), &to]))
        },
        pull: |site, repository, _| Ok(podman(site, &["pull", "--quiet", &format!("{}/{repository}:v1", site.host())])),
    },
    Client {
        name: "crane",
        login: |site| crane(site, &[&["auth", "login"], &LOGIN[..], &[&site.host()]].concat()),
        push: |site, repository| Ok(crane(site, &["push", &layout()?, &format!("{}/{repository}:v1", site.host())])),
        pull: |site, repository, to| {
            let from = format!("{}/{repository}:v1", site.host());
            Ok(crane(site, &["pull", "--format", "oci", &from, &to.display().to_string()]))
        },
    },
    Client {
        name: "Helm",
        login: |site| helm(site, &[&["registry", "login"], &LOGIN[..], &[&site.host()]].concat()),
        push: |site, repository| {
            let out = site.path("packaged");
            let chart = repository_of_chart();
            run::checked(helm(
                site,
                &["package", &chart, "--version", "1.0.0", "--destination", &out.display().to_string()],
            ))?;
            let package = std::fs::read_dir(&out)?.next().context("nothing was packaged")??.path();
            let to = format!("oci://{}/{}", site.host(), parent(repository));
            Ok(helm(site, &["push", &package.display().to_string(), &to]))
        },
        pull: |site, repository, to| {
            std::fs::create_dir_all(to)?;
            let from = format!("oci://{}/{}/berth", site.host(), parent(repository));
            Ok(helm(site, &["pull", &from, "--version", "1.0.0", "--destination", &to.display().to_string()]))
        },
    },
];

fn repository_of_chart() -> String {
    repository().join("charts/berth").display().to_string()
}

/// Helm puts the chart's name behind what it is told.
fn parent(repository: &str) -> &str {
    repository.rsplit_once('/').map_or(repository, |(parent, _)| parent)
}

/// A registry whose issuer knows Keycloak's users.
fn site(keycloak: &Keycloak) -> Result<Site> {
    let issuer = keycloak.issuer.clone();
    Site::start_with_auth(Access { tls: true, password: false }, |site| {
        let mut command = Command::new(&lab().berth.path);
        command.arg("create-key").arg(site.directory.join("key.pem"));
        run::checked(command)?;
        Ok(format!(
            "auth: {{issuer: {{service: docks, issuer: 'https://{}/auth', keys: '{}', \
             oidc: [{{name: keycloak, url: '{issuer}', audience: registry, usernameclaim: preferred_username, \
             groupsclaim: groups}}]}}, {RULES}}}\n",
            site.host,
            site.directory.join("key.pem").display()
        ))
    })
}

#[tokio::test]
async fn users_of_keycloak_get_what_their_groups_may_have() -> Result<()> {
    packages::ensure(&packages::CLIENTS)?;
    let realm = Realm::default()
        .user("alice", "of alice", &["developers", "people"])
        .user("bob", "of bob", &["people"])
        .service("ci", "of ci", &["robots"]);
    let keycloak = Keycloak::start(&Programs::from_env(), &realm).await?;
    let before = site(&keycloak)?;
    for client in &CLIENTS {
        let site = site(&keycloak)?;
        let outcome = use_it(&keycloak, &site, client).await;
        outcome.with_context(|| format!("{}; the server's log:\n{}", client.name, site.log_tail()))?;
        println!("{}: a user and a service client of Keycloak, and somebody without a group: ok", client.name);
    }
    // A key of another algorithm signs from now on, and a registry that knows the first one fetches it.
    let skopeo = &CLIENTS[0];
    log_in(&before, skopeo, &keycloak.user_token("alice", "of alice").await?.id_token)?;
    keycloak.rotate_keys(SigningAlgorithm::Es256).await?;
    let by_new_key = keycloak.user_token("alice", "of alice").await?.id_token;
    log_in(&before, skopeo, &by_new_key).with_context(|| before.log_tail())?;
    run::checked((skopeo.push)(&before, "team/rotated")?).with_context(|| before.log_tail())?;
    Ok(())
}

/// What a client says in the end of what the registry has refused: in the words of the registry, or of HTTP.
const REFUSALS: [&str; 3] = ["authentication required", "requested access to the resource is denied", "unauthorized"];

fn log_in(site: &Site, client: &Client, token: &str) -> Result<()> {
    run::with_input((client.login)(site), token.as_bytes()).map(drop)
}

async fn use_it(keycloak: &Keycloak, site: &Site, client: &Client) -> Result<()> {
    let Client { name: _, login, push, pull } = client;
    let pulled = site.path("pulled");
    std::fs::create_dir(&pulled)?;
    let (team, ci) = ("team/app/berth", "ci/app/berth");
    let tag = if client.name == "Helm" { "1.0.0" } else { "v1" };
    let refused = |command: Command, what: &str| -> Result<()> {
        let outcome = run::outcome(command, b"")?;
        ensure!(!outcome.success, "{what} is not refused");
        let said = outcome.stderr.to_lowercase();
        println!("{}: {what}: {}", client.name, said.trim());
        let is_refusal = REFUSALS.iter().any(|words| said.contains(words));
        ensure!(is_refusal, "{what} fails for another reason: {said}");
        Ok(())
    };

    // A user, by an ID token.
    log_in(site, client, &keycloak.user_token("alice", "of alice").await?.id_token).context("alice")?;
    run::checked(push(site, team)?).context("alice pushes for her team")?;
    site.tagged(team, tag)?;
    run::checked(pull(site, team, &pulled.join("alice"))?).context("alice pulls")?;
    refused(push(site, ci)?, "a push of alice's to ci")?;
    ensure!(site.tagged(ci, tag).is_err(), "alice has pushed to ci");

    // A program, by its access token.
    log_in(site, client, &keycloak.client_token("ci", "of ci").await?).context("ci")?;
    run::checked(push(site, ci)?).context("the service client pushes")?;
    site.tagged(ci, tag)?;
    run::checked(pull(site, team, &pulled.join("ci"))?).context("the service client pulls what is the team's")?;
    refused(push(site, "team/other/berth")?, "a push of the service client's to the team's")?;
    ensure!(site.tagged("team/other/berth", tag).is_err(), "the service client has pushed to the team's");

    // Somebody in no group that a rule names: a login, and nothing more.
    log_in(site, client, &keycloak.user_token("bob", "of bob").await?.id_token).context("bob")?;
    refused(pull(site, team, &pulled.join("bob"))?, "a pull of bob's")?;
    refused(push(site, team)?, "a push of bob's")?;

    // No token of Keycloak's, and one that somebody has changed.
    let alice = keycloak.user_token("alice", "of alice").await?.id_token;
    let changed = format!("{}{}", &alice[..alice.len() - 8], "AAAAAAAA");
    for wrong in ["a password", &changed] {
        // crane keeps what it is given without a look.
        let login = run::outcome(login(site), wrong.as_bytes())?;
        ensure!(!login.success || client.name == "crane", "{wrong} is a login");
        if client.name == "crane" {
            refused(pull(site, team, &pulled.join("nobody"))?, "a pull of nobody's")?;
        }
    }
    Ok(())
}
