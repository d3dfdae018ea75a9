//! Runs commands to their end, with errors that say what was run and what it said.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What a command printed, and whether it ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the exit code was 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command; an error if it fails.
pub fn checked(command: Command) -> Result<String> {
    with_input(command, &[])
}

/// Runs a command that reads `input`; an error if it fails.
pub fn with_input(command: Command, input: &[u8]) -> Result<String> {
    let shown = show(&command);
    let outcome = outcome(command, input)?;
    if !outcome.success {
        bail!("{shown} failed:\n{}{}", outcome.stdout, outcome.stderr.trim_end());
    }
    Ok(outcome.stdout)
}

/// Runs a command that reads `input`, and says what came of it.
pub fn outcome(mut command: Command, input: &[u8]) -> Result<Outcome> {
    let shown = show(&command);
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {shown}"))?;
    let stdin = child.stdin.take();
    // Its own thread, since a command may print before it has read everything.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
        child.wait_with_output()
    })
    .with_context(|| format!("wait for {shown}"))?;
    Ok(Outcome {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The command as one would type it.
fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    format!("`{}`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let error = checked(command).expect_err("it fails").to_string();
        assert!(error.contains("out\nerr") && error.contains("sh -c"), "{error}");
    }

    #[test]
    fn input_reaches_the_command() {
        assert_eq!(with_input(Command::new("cat"), b"text").expect("it runs"), "text");
    }
}
