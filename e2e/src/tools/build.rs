//! Builds the tools that are missing from the cache.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::{Tool, Toolbox};
use crate::files::Lock;
use crate::paths::Cache;
use crate::progress::Step;

/// How many of the last lines of a failed build are shown.
const SHOWN_LINES: usize = 40;

/// Builds what is missing of `tools`, one after the other, and says where everything lies.
pub fn ensure(cache: &Cache, tools: &[Tool]) -> Result<Toolbox> {
    let toolbox = Toolbox::locate(cache)?;
    for tool in tools {
        let target = toolbox.directory(tool);
        if !target.exists() {
            let step = Step::start(format!("build {} {}", tool.name, tool.version));
            let _lock = Lock::take(&cache.lock(tool.name), || step.note("another run is building it"))?;
            if !target.exists() {
                build(tool, target, &step)?;
            }
            step.done("");
        }
    }
    Ok(toolbox)
}

fn build(tool: &Tool, target: &Path, step: &Step) -> Result<()> {
    let started = Instant::now();
    let parent = target.parent().context("the cache has no parent")?;
    let temporary = parent.join(format!(".building-{}", tool.name));
    if temporary.exists() {
        // The lock is ours: whatever lies there was interrupted.
        std::fs::remove_dir_all(&temporary).with_context(|| format!("remove {}", temporary.display()))?;
    }
    std::fs::create_dir_all(&temporary).with_context(|| format!("create {}", temporary.display()))?;
    step.note("download modules");
    let total = count_packages(tool)?;
    compile(tool, &temporary, total, step)?;
    for program in tool.programs {
        if !temporary.join(program).is_file() {
            bail!("the build of {} ended well but made no {program}", tool.name);
        }
    }
    std::fs::rename(&temporary, target)
        .with_context(|| format!("rename {} to {}", temporary.display(), target.display()))?;
    tracing::debug!(tool = tool.name, seconds = started.elapsed().as_secs(), "built");
    Ok(())
}

fn go(tool: &Tool) -> Command {
    let mut command = Command::new("go");
    // No workspace file above the repository may change what is built.
    command.current_dir(tool.source()).env("GOWORK", "off");
    if tool.is_static {
        command.env("CGO_ENABLED", "0");
    }
    command
}

/// How many packages the tool is made of; it also downloads the modules.
fn count_packages(tool: &Tool) -> Result<u64> {
    let output = go(tool)
        .args(["list", "-mod=readonly", "-deps"])
        .args(tool.packages)
        .output()
        .context("run go: is it installed and in PATH?")?;
    if !output.status.success() {
        bail!("list the packages of {}: {}", tool.name, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout.iter().filter(|&&byte| byte == b'\n').count() as u64)
}

fn compile(tool: &Tool, output: &Path, total: u64, step: &Step) -> Result<()> {
    let mut child = go(tool)
        // -v prints each package as it is compiled; those in Go's own cache are not printed.
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-v", "-ldflags", tool.ldflags, "-o"])
        .arg(format!("{}/", output.display()))
        .args(tool.packages)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run go: is it installed and in PATH?")?;
    let stderr = child.stderr.take().context("no standard error")?;
    let mut last: std::collections::VecDeque<String> = std::collections::VecDeque::new();
    let mut compiled = 0;
    for line in BufReader::new(stderr).lines() {
        let line = line.context("read what go prints")?;
        compiled += 1;
        step.progress(compiled, total, &line);
        last.push_back(line);
        if last.len() > SHOWN_LINES {
            last.pop_front();
        }
    }
    let status = child.wait().context("wait for go")?;
    if !status.success() {
        bail!("go build of {} failed ({status}):\n{}", tool.name, last.make_contiguous().join("\n"));
    }
    Ok(())
}
