//! Progress on the terminal: one line per step, with what it is doing and how long it took.
//!
//! On a terminal the running step is a spinner or a bar; elsewhere it is plain lines, and a long step says every
//! 15 seconds that it lives.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a long step speaks when nobody watches a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// A running step. Dropped without [`Step::done`], it is shown as failed.
#[derive(Debug)]
pub struct Step {
    title: String,
    started: Instant,
    bar: Option<ProgressBar>,
    spoke: Cell<Instant>,
    finished: Cell<bool>,
}

impl Step {
    /// Begins a step.
    pub fn start(title: impl Into<String>) -> Self {
        let title = title.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(spinner());
            bar.set_prefix(title.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { title, started: Instant::now(), bar, spoke: Cell::new(Instant::now()), finished: Cell::new(false) }
    }

    /// Says what the step is doing now.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.speak(text),
        }
    }

    /// Says how far the step is.
    pub fn progress(&self, done: u64, total: u64, text: &str) {
        match &self.bar {
            Some(bar) => {
                if bar.length() != Some(total) {
                    bar.set_length(total);
                    bar.set_style(gauge());
                }
                bar.set_position(done);
                bar.set_message(text.to_owned());
            }
            None => self.speak(&format!("{done} of at most {total}, {text}")),
        }
    }

    fn speak(&self, text: &str) {
        if self.spoke.get().elapsed() >= PLAIN_EVERY {
            self.spoke.set(Instant::now());
            eprintln!("  … {} ({:.0} s): {text}", self.title, self.started.elapsed().as_secs_f64());
        }
    }

    /// Ends the step well; returns how long it took.
    pub fn done(self, result: &str) -> Duration {
        let elapsed = self.started.elapsed();
        self.finish("✓", result);
        elapsed
    }

    fn finish(&self, mark: &str, result: &str) {
        self.finished.set(true);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let separator = if result.is_empty() { "" } else { ": " };
        eprintln!("{mark} {}{separator}{result} ({:.1} s)", self.title, self.started.elapsed().as_secs_f64());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished.get() {
            self.finish("✗", "failed");
        }
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn gauge() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {elapsed} [{bar:30}] {pos}/{len} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A size in bytes for people: `12.3 MiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
