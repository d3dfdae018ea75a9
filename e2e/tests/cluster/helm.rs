//! Charts from a registry: pushed by Helm, and installed and upgraded by `oci://` on a real API server.
//!
//! The registry is one on this machine, with TLS, since it is Helm that fetches the chart.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::compile::AS_FOR_TESTS;
use berth_e2e::kit::{Space, in_namespace_without_berth};
use berth_e2e::peer::{Peer, Program, Setup};
use berth_e2e::run;

use crate::tls::Pair;

const USER: &str = "someone";
const PASSWORD: &str = "swordfish";
/// The bcrypt hash of the password.
const HTPASSWD: &str = "someone:$2b$05$U7G/Cyq35gZmcslXRmdi4.rTnsw6ro5s7xMoOrZ16dCt68f7XNlqe\n";

const TEMPLATE: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {version: {{ .Chart.Version | quote }}, greeting: {{ .Values.greeting | quote }}}
";

#[tokio::test]
async fn a_chart_is_installed_from_a_registry() -> Result<()> {
    let program = berth()?;
    in_namespace_without_berth("helm", async |space| install_and_upgrade(space, &program, false)).await
}

#[tokio::test]
async fn a_chart_is_installed_from_a_registry_with_a_password() -> Result<()> {
    let program = berth()?;
    in_namespace_without_berth("helm-password", async |space| install_and_upgrade(space, &program, true)).await
}

/// The server, compiled before the clock of a test runs.
fn berth() -> Result<Program> {
    Program::berth(&AS_FOR_TESTS)
}

fn install_and_upgrade(space: &Space, program: &Program, password: bool) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let directory = temp.path();
    let server = registry(program, directory, password)?;
    let host = format!("localhost:{}", server.address().port());
    let repository = format!("oci://{host}/charts");
    let chart = format!("{repository}/greeting");
    for version in ["0.1.0", "0.2.0"] {
        package(space, directory, version)?;
    }
    let push = |version: &str| {
        let package = directory.join(format!("greeting-{version}.tgz")).display().to_string();
        helm(space, directory, &["push", &package, &repository])
    };
    if password {
        let refused = run::outcome(push("0.1.0"), b"")?;
        ensure!(!refused.success, "a push is taken without a password");
        let login = helm(space, directory, &["registry", "login", "--username", USER, "--password-stdin", &host]);
        run::with_input(login, PASSWORD.as_bytes())?;
    }
    for version in ["0.1.0", "0.2.0"] {
        run::checked(push(version))?;
    }

    let greeting =
        |field: &str| space.kubectl(&["get", "configmap", "hello", "-o", &format!("jsonpath={{.data.{field}}}")]);
    let of = ["--namespace", &space.name, "--version"];
    let install = [&["install", "hello", &chart, "--set", "greeting=good morning"], &of[..], &["0.1.0"]].concat();
    run::checked(helm(space, directory, &install))?;
    ensure!((greeting("version")?, greeting("greeting")?) == ("0.1.0".to_owned(), "good morning".to_owned()));
    let upgrade = [&["upgrade", "hello", &chart, "--reuse-values"], &of[..], &["0.2.0"]].concat();
    run::checked(helm(space, directory, &upgrade))?;
    ensure!((greeting("version")?, greeting("greeting")?) == ("0.2.0".to_owned(), "good morning".to_owned()));
    let mut uninstall = space.cluster.helm();
    uninstall.args(["uninstall", "hello", "--namespace", &space.name]);
    run::checked(uninstall)?;
    server.stop().map(drop)
}

/// A registry with TLS, on this machine.
fn registry(program: &Program, directory: &Path, password: bool) -> Result<Peer> {
    Pair::make("localhost")?.write(directory)?;
    let file = |name: &str| directory.join(name).display().to_string();
    let mut setup = Setup::filesystem(directory, &directory.join("data"));
    setup.tls = true;
    let mut env = vec![
        ("REGISTRY_HTTP_TLS_CERTIFICATE".to_owned(), file("tls.crt")),
        ("REGISTRY_HTTP_TLS_KEY".to_owned(), file("tls.key")),
    ];
    if password {
        std::fs::write(directory.join("htpasswd"), HTPASSWD)?;
        env.push(("REGISTRY_AUTH_HTPASSWD_REALM".to_owned(), "Berth".to_owned()));
        env.push(("REGISTRY_AUTH_HTPASSWD_PATH".to_owned(), file("htpasswd")));
    }
    setup.env = env;
    Peer::start(program, &setup)
}

/// Packages a chart of one ConfigMap.
fn package(space: &Space, directory: &Path, version: &str) -> Result<()> {
    let chart = directory.join("greeting");
    std::fs::create_dir_all(chart.join("templates"))?;
    std::fs::write(chart.join("Chart.yaml"), format!("{{apiVersion: v2, name: greeting, version: {version}}}\n"))?;
    std::fs::write(chart.join("values.yaml"), "greeting: hello\n")?;
    std::fs::write(chart.join("templates/config-map.yaml"), TEMPLATE)?;
    let (chart, directory) = (chart.display().to_string(), directory.display().to_string());
    let mut helm = space.cluster.helm();
    helm.args(["package", &chart, "--destination", &directory]);
    run::checked(helm).map(drop).context("package the chart")
}

/// Helm, which knows the registry's authority, and passwords of this test alone.
fn helm(space: &Space, directory: &Path, args: &[&str]) -> Command {
    let mut helm = space.cluster.helm();
    helm.env("HELM_REGISTRY_CONFIG", directory.join("passwords.json")).env("DOCKER_CONFIG", directory);
    helm.args(args).arg("--ca-file").arg(directory.join("ca.crt"));
    helm
}
