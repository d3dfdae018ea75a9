//! Figures: idle memory, time from start to the first answer, sizes. Measured now, on this machine.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::cluster::process::resident_bytes;
use crate::cluster::{Cluster, up};
use crate::images::{self, Loaded};
use crate::install;
use crate::kit::{self, Space};
use crate::progress::{Step, bytes};
use crate::run;
use crate::table::Table;

/// How often a start is measured; the median counts.
const STARTS: usize = 5;
/// How long a start may take.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long the programs are left alone before their memory is looked at.
const IDLE: Duration = Duration::from_secs(10);

/// Measures and prints.
pub async fn figures(name: &str) -> Result<()> {
    let cluster = up::up(name).await?;
    let loaded = images::load(&cluster)?;
    install::install(&cluster)?;
    let [registry, operator] = loaded.as_slice() else { bail!("two images were expected") };
    let memory = idle_memory(&cluster).await?;
    let step = Step::start("start the programs, each a few times");
    let starts = [
        registry_start(&registry.program)?,
        median(|| first_answer(&operator.program, &|port, scratch| run_operator(&cluster, port, scratch), "/healthz"))?,
    ];
    step.done("");
    let mut table = Table::new(["PROGRAM", "IDLE MEMORY", "FIRST ANSWER AFTER", "PROGRAM SIZE", "IMAGE SIZE"]);
    for ((loaded, memory), start) in [registry, operator].into_iter().zip(memory).zip(starts) {
        table.row(row(loaded, memory, start));
    }
    println!("\n{table}");
    println!(
        "Idle memory: resident, of the pod's process, {} s after its last change. First answer: from the start of the \
         process, median of {STARTS}. Image: one layer, not compressed.",
        IDLE.as_secs()
    );
    Ok(())
}

fn row(loaded: &Loaded, memory: u64, start: Duration) -> [String; 5] {
    [
        loaded.image.clone(),
        bytes(memory),
        format!("{:.1} ms", start.as_secs_f64() * 1000.0),
        bytes(loaded.program_bytes),
        bytes(loaded.archive_bytes),
    ]
}

/// Resident memory of the server's and the operator's process in their pods, in bytes.
async fn idle_memory(cluster: &Cluster) -> Result<[u64; 2]> {
    let step = Step::start("idle memory");
    let space = Space::create(cluster.clone(), format!("figures-{}", std::process::id())).await?;
    let measured = async {
        space.apply(
            "{apiVersion: berth.dev/v1alpha1, kind: Registry, metadata: {name: main}, spec: {storage: {emptyDir: {}}}}",
        )?;
        kit::ready(&space, "main").await?;
        step.note("leave them alone");
        tokio::time::sleep(IDLE).await;
        let registry = pod_memory(cluster, &space.name, "berth.dev/registry=main").await?;
        let operator = pod_memory(cluster, install::NAMESPACE, install::SELECTOR).await?;
        anyhow::Ok([registry, operator])
    }
    .await;
    space.delete().await?;
    let measured = measured?;
    step.done("");
    Ok(measured)
}

async fn pod_memory(cluster: &Cluster, namespace: &str, selector: &str) -> Result<u64> {
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, namespace);
    let pods = pods.list(&ListParams::default().labels(selector)).await?;
    let container = pods.items.into_iter().find_map(|pod| {
        let status = pod.status?.container_statuses?.into_iter().next()?;
        Some(status.container_id?.strip_prefix("containerd://")?.to_owned())
    });
    let container = container.with_context(|| format!("no running pod {selector} in {namespace}"))?;
    let mut command = cluster.ctr();
    command.args(["tasks", "list"]);
    let tasks = run::checked(command)?;
    let pid = task_pid(&tasks, &container).with_context(|| format!("containerd has no task {container}"))?;
    resident_bytes(pid).with_context(|| format!("process {pid} has gone"))
}

/// The process of a container in what `ctr tasks list` prints.
fn task_pid(tasks: &str, container: &str) -> Option<i32> {
    let mut fields = tasks.lines().find_map(|line| line.strip_prefix(container))?.split_whitespace();
    fields.next()?.parse().ok()
}

fn median(measure: impl Fn() -> Result<Duration>) -> Result<Duration> {
    let mut all = (0..STARTS).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    all.sort();
    Ok(all[STARTS / 2])
}

/// The time from the start of the server to its first answer, the median of a few starts.
pub(crate) fn registry_start(program: &PathBuf) -> Result<Duration> {
    median(|| first_answer(program, &serve_registry, "/v2/"))
}

/// What to start, given a free port and an empty directory.
type Prepare<'a> = dyn Fn(u16, &Path) -> Vec<(&'static str, String)> + 'a;

fn serve_registry(port: u16, scratch: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("argument", "serve".into()),
        ("REGISTRY_HTTP_ADDR", format!("127.0.0.1:{port}")),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", scratch.display().to_string()),
        ("REGISTRY_LOG_LEVEL", "warn".into()),
    ]
}

fn run_operator(cluster: &Cluster, port: u16, _scratch: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("argument", "run".into()),
        // The installed operator leads: this one only answers.
        ("argument", "--leader-elect".into()),
        ("argument", format!("--listen=127.0.0.1:{port}")),
        ("POD_NAMESPACE", install::NAMESPACE.into()),
        ("POD_NAME", "figures".into()),
        ("KUBECONFIG", cluster.kubeconfig().display().to_string()),
    ]
}

/// The time from the start of a program to its first answer with status 200.
fn first_answer(program: &PathBuf, prepare: &Prepare<'_>, path: &str) -> Result<Duration> {
    let scratch = std::env::temp_dir().join(format!("berth-figures-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).with_context(|| format!("create {}", scratch.display()))?;
    let port = TcpListener::bind("127.0.0.1:0").context("find a free port")?.local_addr()?.port();
    let mut command = Command::new(program);
    for (key, value) in prepare(port, &scratch) {
        if key == "argument" {
            command.arg(value)
        } else {
            command.env(key, value)
        };
    }
    let started = Instant::now();
    let mut child = command
        .current_dir(&scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let measured = ask_until_answered(&mut child, port, path, started);
    let ended = child.kill().and_then(|()| child.wait()).context("end the program");
    let removed = std::fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()));
    let measured = measured.with_context(|| format!("{} on port {port}", program.display()))?;
    ended?;
    removed?;
    Ok(measured)
}

fn ask_until_answered(child: &mut Child, port: u16, path: &str, started: Instant) -> Result<Duration> {
    use std::io::{Read as _, Write as _};
    let ask = || -> Result<bool> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(START_DEADLINE))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b"200"))
    };
    loop {
        if ask().is_ok_and(|answered| answered) {
            return Ok(started.elapsed());
        }
        if let Some(status) = child.try_wait()? {
            bail!("it ended ({status}) before it answered");
        }
        if started.elapsed() > START_DEADLINE {
            bail!("no answer to GET {path} within {} s", START_DEADLINE.as_secs());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_task_is_found_by_its_container() {
        let tasks = "TASK    PID    STATUS\nabc     17     RUNNING\nabcd    18     RUNNING\n";
        assert_eq!(super::task_pid(tasks, "abcd"), Some(18));
        assert_eq!(super::task_pid(tasks, "zzz"), None);
    }
}
