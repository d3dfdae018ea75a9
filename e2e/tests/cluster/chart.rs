//! The chart: its own test passes, and what it installs answers.

use anyhow::{Result, ensure};
use berth_e2e::cluster::Cluster;
use berth_e2e::{install, run};

#[tokio::test]
async fn helm_test_passes() -> Result<()> {
    let cluster = Cluster::for_tests()?;
    let mut helm = cluster.helm();
    helm.args(["test", install::RELEASE, "--namespace", install::NAMESPACE, "--timeout", "60s"]);
    let said = run::checked(helm)?;
    ensure!(said.contains("Succeeded"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_operator_answers_to_probes_and_scrapers() -> Result<()> {
    let cluster = Cluster::for_tests()?;
    let service = format!("{}-operator.{}.svc:8080", install::RELEASE, install::NAMESPACE);
    for (path, expected_status, expected) in [
        ("/healthz", 200, "ok"),
        ("/readyz", 200, "ok"),
        ("/metrics", 200, "berth_operator_reconcile"),
        ("/nothing", 404, "there are"),
    ] {
        let (status, body) = cluster.get(&service, path).await?;
        let body = String::from_utf8_lossy(&body);
        ensure!(status == expected_status && body.contains(expected), "{path}: {status}\n{body}");
    }
    Ok(())
}
