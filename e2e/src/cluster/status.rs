//! What runs: a table of components, and the node.

use anyhow::Result;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;

use super::Cluster;
use super::process::{Record, resident_bytes};
use crate::progress::bytes;
use crate::table::Table;

/// Prints the table; returns whether every component runs.
pub async fn status(name: &str) -> Result<bool> {
    let cluster = Cluster::describe(name)?;
    let mut table = Table::new(["COMPONENT", "STATE", "PID", "MEMORY"]);
    let mut total = 0;
    let mut all = true;
    for component in cluster.components() {
        let record = Record::load(&cluster.spec.dir, component).filter(Record::alive);
        let memory = record.as_ref().and_then(|record| resident_bytes(record.pid)).unwrap_or_default();
        total += memory;
        all &= record.is_some();
        let (state, pid, memory) = match record {
            Some(record) => ("running", record.pid.to_string(), bytes(memory)),
            None => ("stopped", String::new(), String::new()),
        };
        table.row([component.to_owned(), state.to_owned(), pid, memory]);
    }
    table.row(["".to_owned(), "".to_owned(), "".to_owned(), bytes(total)]);
    print!("{table}");
    if all {
        println!();
        print!("{}", node(&cluster).await?);
        println!("\nkubeconfig: {}", cluster.kubeconfig().display());
    }
    Ok(all)
}

async fn node(cluster: &Cluster) -> Result<Table> {
    let client = cluster.client().await?;
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?.items.len();
    let nodes = Api::<Node>::all(client).list(&ListParams::default()).await?;
    let mut table = Table::new(["NODE", "READY", "KUBERNETES", "RUNTIME", "KERNEL", "PODS"]);
    for node in nodes {
        let status = node.status.unwrap_or_default();
        let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
        let info = status.node_info.unwrap_or_default();
        table.row([
            node.metadata.name.unwrap_or_default(),
            ready.map_or_else(|| "unknown".to_owned(), |condition| condition.status.clone()),
            info.kubelet_version,
            info.container_runtime_version,
            info.kernel_version,
            pods.to_string(),
        ]);
    }
    Ok(table)
}
