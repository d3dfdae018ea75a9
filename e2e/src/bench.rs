//! Speed: Berth beside CNCF Distribution and nginx, on the same content, in turns; and what it costs to be asked who one is.
//!
//! A machine is never the same twice, so nothing here is judged by itself: every round asks every server for the same
//! work, one right after the other, and what counts are the ratios of a round. The load generator and the servers share
//! the machine's processors. What is printed is for people; no figure decides anything.

mod access;
mod content;
mod load;
mod nginx;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cluster::process::resident_bytes;
use crate::figures;
use crate::images::compile_registry;
use crate::packages;
use crate::paths::Cache;
use crate::peer::{Peer, Program, Setup};
use crate::progress::Step;
use crate::tools::{self, DISTRIBUTION};

use access::{Access, Outcome};
use content::Content;
use load::Done;
use nginx::Nginx;
use report::{Report, Round, Sample, Server, Work};

/// How long a server is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(5);

/// What is measured, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many rounds.
    pub rounds: usize,
    /// How long small answers are asked for in a round.
    pub seconds: u64,
    /// How many connections ask at once.
    pub connections: usize,
    /// Whether nothing is measured but what it costs to be asked who one is.
    pub access_alone: bool,
    /// Where the servers keep their content; a directory of this name must not exist yet.
    pub directory: PathBuf,
}

/// Measures and prints.
///
/// # Errors
/// A server does not start, or does not answer as it should.
pub fn bench(options: &Options) -> Result<()> {
    packages::ensure(&packages::BENCH)?;
    let toolbox = tools::ensure(&Cache::from_env()?, &[DISTRIBUTION])?;
    let path = Program::given().map_or_else(compile_registry, Ok)?;
    let berth = Program { name: "Berth", version: env!("CARGO_PKG_VERSION"), path };
    std::fs::create_dir(&options.directory).with_context(|| format!("create {}", options.directory.display()))?;
    let _removed = Scratch(options.directory.clone());
    let programs = [berth.clone(), Program::distribution_3(&toolbox)];
    let (report, access) = measure(options, &programs)?;
    if options.access_alone {
        println!("\n{access}");
        return Ok(());
    }
    let step = Step::start("idle memory and starts");
    let idle = programs.iter().map(|program| idle(&options.directory, program)).collect::<Result<Vec<_>>>()?;
    let first_answer = figures::registry_start(&berth.path)?;
    step.done("");
    println!("\n{report}\n{access}");
    for (program, bytes) in programs.iter().zip(idle) {
        println!("Idle memory of {} {}: {:.1} MB", program.name, program.version, bytes as f64 / 1e6);
    }
    println!("From the start of Berth to its first answer: {:.1} ms", first_answer.as_secs_f64() * 1e3);
    Ok(())
}

fn measure(options: &Options, programs: &[Program; 2]) -> Result<(Report, Outcome)> {
    let step = Step::start("speed");
    let content = Content::new();
    let data = ["server-0", "server-1"].map(|server| options.directory.join(server).join("data"));
    let [berth, distribution] = [0, 1].map(|index: usize| {
        let directory = options.directory.join(format!("server-{index}"));
        start(&directory, &programs[index], &data[index], "")
    });
    let (berth, distribution) = (berth?, distribution?);
    for server in [&berth, &distribution] {
        content.push(server.address()).with_context(|| format!("fill {}", server.program.name))?;
    }
    let nginx = Nginx::start(&options.directory.join("nginx"), &content)?;
    let access = Access::start(&options.directory.join("access"), programs, [&data[0], &data[1]])?;
    let (mut report, mut outcome) = (Report::default(), Outcome::default());
    for round in 0..options.rounds {
        let bench = Bench { options, content: &content, step: &step, round };
        if !options.access_alone {
            report.add(bench.round(&berth, &distribution, &nginx)?);
        }
        outcome.add(access.round(&bench)?);
    }
    step.done("");
    Ok((report, outcome))
}

/// Starts a server below `directory` on that data, with what else its configuration says.
fn start(directory: &Path, program: &Program, data: &Path, more: &str) -> Result<Peer> {
    for path in [directory, data] {
        std::fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
    }
    Peer::start(program, &setup(directory, data, more))
}

fn setup(directory: &Path, data: &Path, more: &str) -> Setup {
    let config = format!(
        "version: 0.1\n\
         log: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{secret: of the comparison}}\n\
         {more}",
        data.display()
    );
    Setup { config, ..Setup::filesystem(directory, data) }
}

struct Bench<'a> {
    options: &'a Options,
    content: &'a Content,
    step: &'a Step,
    round: usize,
}

impl Bench<'_> {
    /// One turn of a server.
    fn turn(
        &self,
        server: Server,
        way: &str,
        work: Work,
        pid: u32,
        ask: impl FnOnce() -> Result<Done>,
    ) -> Result<Sample> {
        self.step.note(&format!("round {}: {} from {}{way}", self.round + 1, work.title(), server.title()));
        let before = load::processor_time(pid)?;
        let done = ask()?;
        let spent = load::processor_time(pid)?.saturating_sub(before);
        Ok(Sample { per_second: done.per_second(), cost: spent.as_secs_f64() / done.units })
    }

    fn round(&self, berth: &Peer, distribution: &Peer, nginx: &Nginx) -> Result<Round> {
        let mut round = Round::default();
        let servers = [
            (Server::Berth, berth.address(), berth.pid()),
            (Server::Distribution, distribution.address(), distribution.pid()),
            (Server::Nginx, nginx.address(), nginx.pid()),
        ];
        for work in Work::ALL {
            // Who comes first changes, so that nobody always follows the same one.
            for turn in 0..servers.len() {
                let (server, address, pid) = servers[(turn + self.round) % servers.len()];
                if work == Work::Push && server == Server::Nginx {
                    continue;
                }
                let sample = self.turn(server, "", work, pid, || match work {
                    Work::Push => {
                        let (done, hex) = load::push(address, &self.content.fresh(self.round))?;
                        forget(&self.options.directory, &hex);
                        Ok(done)
                    }
                    Work::LargeBlob => load::pull(address, &self.content.path(work)),
                    _ => load::small(address, &self.content.path(work), None, self.options),
                })?;
                round.measured(server, work, sample);
            }
        }
        round.sha256sum = load::sha256sum(&self.content.file(&self.options.directory)?)?;
        Ok(round)
    }
}

/// Removes the bytes of a pushed blob, so that rounds do not fill the disk. It need not be there.
fn forget(directory: &Path, hex: &str) {
    for server in ["server-0", "server-1"] {
        let blobs = directory.join(server).join("data/docker/registry/v2/blobs/sha256");
        let _ = std::fs::remove_dir_all(blobs.join(&hex[..2]).join(hex));
    }
}

/// The resident memory in bytes of a server that nothing was asked of but whether it is there.
fn idle(directory: &Path, program: &Program) -> Result<u64> {
    let directory = directory.join(format!("idle-{}", program.name));
    let server = start(&directory, program, &directory.join("data"), "")?;
    std::thread::sleep(IDLE);
    let pid = i32::try_from(server.pid()).context("a process id")?;
    resident_bytes(pid).with_context(|| format!("process {pid} has gone"))
}

/// A directory that is removed with everything in it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("remove {}: {error}", self.0.display());
        }
    }
}
