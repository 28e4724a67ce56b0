// SPDX-License-Identifier: MIT
//! Takes a suite's output as it comes: into a log, into the parser, to the user.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    time::Instant,
};

use super::parse::{Parser, Report};
use crate::progress::Step;

/// Most bytes of a line; what is longer is cut into lines.
const LINE_MAX: usize = 64 * 1024;

/// A suite's standard output.
pub(super) struct Collector<'a> {
    log: File,
    parser: Parser,
    line: Vec<u8>,
    started: Instant,
    step: Option<&'a Step>,
    verbose: bool,
}

impl<'a> Collector<'a> {
    /// Copies to `log`; notes cases in `step`.
    pub(super) fn new(log: &Path, step: Option<&'a Step>, verbose: bool) -> io::Result<Self> {
        Ok(Self {
            log: File::create(log)?,
            parser: Parser::default(),
            line: Vec::new(),
            started: Instant::now(),
            step,
            verbose,
        })
    }

    /// What was read.
    pub(super) fn finish(mut self) -> Report {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.parser.finish(self.started.elapsed())
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end_matches('\r').to_owned();
        self.line.clear();
        if self.verbose {
            println!("{line}");
        }
        self.parser.line(&line, self.started.elapsed());
        if let Some((step, name)) = self.step.zip(self.parser.running()) {
            step.note(name);
        }
    }
}

impl Write for Collector<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.log.write_all(bytes)?;
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line();
            } else {
                self.line.push(*byte);
                if self.line.len() == LINE_MAX {
                    self.end_line();
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.flush()
    }
}
