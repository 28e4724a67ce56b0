// SPDX-License-Identifier: MIT
//! One line a step: a spinner on a terminal, plain lines anywhere else.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// A running step.
#[derive(Debug)]
pub(crate) struct Step {
    bar: Option<ProgressBar>,
    label: String,
    started: Instant,
}

impl Step {
    /// Shows that `label` has begun.
    pub(crate) fn start(label: &str) -> Self {
        let bar = stderr().is_terminal().then(|| spinner(label));
        if bar.is_none() {
            eprintln!("{label} ...");
        }
        Self { bar, label: label.to_owned(), started: Instant::now() }
    }

    /// Shows what the step is busy with; nothing off a terminal.
    pub(crate) fn note(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {detail}", self.label));
        }
    }

    /// Ends the step with a word about the outcome and the time it took.
    pub(crate) fn finish(self, outcome: &str) {
        let took = seconds(self.started.elapsed());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}: {outcome} ({took})", self.label);
    }
}

fn spinner(label: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Seconds with a precision that suits the reader.
pub(crate) fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
