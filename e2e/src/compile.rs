//! Programs of this work tree, compiled by cargo, which shows its own progress.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// The repository's root.
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// What cargo is told besides, to compile a program from within a test: the dependencies are those that the tests of the
/// workspace have been compiled with. Of the program alone they would be compiled once more, with fewer features. The
/// test that is named is any that is small.
pub const AS_FOR_TESTS: [&str; 3] = ["--workspace", "--test", "servers"];

/// Compiles `programs`, each of the name of its package, and says where they lie, in the same order.
pub fn programs<const N: usize>(programs: [&str; N], args: &[&str], env: &[(&str, &str)]) -> Result<[PathBuf; N]> {
    let title = programs.join(" and ");
    let started = std::time::Instant::now();
    let mut command = Command::new("cargo");
    command.current_dir(repository()).args(["build", "--locked"]).args(args).envs(env.iter().copied());
    for program in programs {
        command.args(["--package", program, "--bin", program]);
    }
    command.args(["--message-format", "json-render-diagnostics"]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("run cargo")?;
    if !output.status.success() {
        bail!("cargo could not compile {title} ({}); its messages are above", output.status);
    }
    eprintln!("✓ compile {title} ({:.1} s)", started.elapsed().as_secs_f64());
    let found = executables(&String::from_utf8_lossy(&output.stdout));
    let place = |program: &str| found.iter().find(|path| path.file_name().is_some_and(|name| name == program)).cloned();
    let mut paths = Vec::with_capacity(N);
    for program in programs {
        paths.push(place(program).with_context(|| format!("cargo built no program {program}"))?);
    }
    paths.try_into().map_err(|_| anyhow::anyhow!("cargo built another number of programs"))
}

/// The programs among cargo's messages, one JSON object a line.
fn executables(messages: &str) -> Vec<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    parsed.filter_map(|message| message.executable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_among_the_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/berth-registry\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executables(messages), [PathBuf::from("/t/berth-registry")]);
    }
}
