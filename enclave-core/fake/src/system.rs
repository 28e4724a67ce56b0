// SPDX-License-Identifier: MIT
//! Everything together: a kernel on a machine, pumped against a host until it ends.

use crate::elf::Elf;
use crate::guest::Guest;
use crate::host::Host;
use crate::image::{Image, ImageBuilder};
use crate::machine::{Configuration, Machine};
use strongroom_kernel::{BootError, Kernel, Outcome};
use strongroom_south::{Clock as _, Form};
use strongroom_wire::Untrusted;
use strongroom_wire::boot::{Manifest, Record};

/// Where the program of [`System::run_program`] starts.
pub const ENTRY: u64 = 0x40_0100;
/// Path of that program.
const PROGRAM: &str = "/bin/program";
/// Rounds after which a system is taken to hang.
const ROUNDS_MAX: usize = 100_000;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The workload exited with this status.
    Exit(u8),
    /// The kernel gave up.
    Abort(String),
    /// Nothing can ever happen again unless the host speaks.
    Stuck,
}

/// What a run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
    /// The kernel's log.
    pub log: Vec<String>,
}

impl Report {
    /// The exit status.
    ///
    /// # Panics
    ///
    /// When the run did not end with one.
    pub fn status(&self) -> u8 {
        match &self.ending {
            Ending::Exit(status) => *status,
            Ending::Abort(_) | Ending::Stuck => panic!("the workload did not exit: {self:?}"),
        }
    }
}

/// A system before it is booted.
#[derive(Clone, Debug)]
pub struct SystemBuilder {
    /// The machine.
    pub configuration: Configuration,
    /// The image.
    pub image: Image,
    /// The workload.
    pub manifest: Manifest,
}

impl SystemBuilder {
    /// A workload that is `/bin/program` of an image.
    pub fn new(form: Form, image: &ImageBuilder) -> Self {
        let manifest = Manifest {
            program: PROGRAM.into(),
            arguments: vec!["program".into()],
            ..Manifest::default()
        };
        let configuration = Configuration { form, ..Configuration::default() };
        Self { configuration, image: image.build(), manifest }
    }

    /// Boots it.
    ///
    /// # Errors
    ///
    /// What the kernel refuses to start with.
    pub fn boot(&self) -> Result<System, BootError> {
        self.boot_on(Machine::new(self.configuration))
    }

    /// Boots it on a machine that was made before.
    ///
    /// # Errors
    ///
    /// As for [`SystemBuilder::boot`].
    pub fn boot_on(&self, machine: &'static Machine) -> Result<System, BootError> {
        let record = Record {
            root_digest: self.image.root_digest,
            image_blocks: self.image.blocks,
            manifest: self.manifest.clone(),
        };
        let kernel = Kernel::new(machine, record)?;
        let host = Host::new(self.image.bytes.clone());
        Ok(System { machine, kernel, host })
    }
}

/// A system that runs. Dropping it ends its guests.
#[derive(Debug)]
pub struct System {
    /// The machine.
    pub machine: &'static Machine,
    /// The kernel.
    pub kernel: &'static Kernel,
    /// The host.
    pub host: Host,
}

impl System {
    /// Runs one program in an image of its own, on a machine of the given form.
    ///
    /// # Panics
    ///
    /// When it cannot be booted.
    pub fn run_program(
        form: Form,
        body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static,
    ) -> Report {
        let mut system = Self::with_program(form, body);
        system.run()
    }

    /// A system with one program that has not run yet.
    ///
    /// # Panics
    ///
    /// When it cannot be booted.
    pub fn with_program(
        form: Form,
        body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static,
    ) -> Self {
        let system = Self::builder(form).boot().expect("it boots");
        system.machine.program(ENTRY, body);
        system
    }

    /// A system whose program starts at [`ENTRY`].
    pub fn builder(form: Form) -> SystemBuilder {
        SystemBuilder::new(form, &Self::image())
    }

    /// The image of [`System::builder`], to be added to.
    pub fn image() -> ImageBuilder {
        ImageBuilder::default()
            .file(PROGRAM, 0o755, &Elf::program(ENTRY, b"data").bytes())
            .directory("/tmp")
    }

    /// Runs until the workload ends or nothing can happen any more. When all sleep the clock
    /// jumps to the next time that somebody waits for.
    pub fn run(&mut self) -> Report {
        let ending = loop {
            match self.run_until_idle() {
                Err(ending) => break ending,
                Ok(None) => break Ending::Stuck,
                Ok(Some(until_ns)) => self.machine.advance_to(until_ns),
            }
        };
        self.report(ending)
    }

    /// Runs until nothing is ready; then says until when on the clock.
    ///
    /// # Errors
    ///
    /// How the run ended.
    ///
    /// # Panics
    ///
    /// When it goes on for ever.
    pub fn run_until_idle(&mut self) -> Result<Option<u64>, Ending> {
        for _ in 0..ROUNDS_MAX {
            let outcome = self.kernel.run();
            while let Some(message) = self.kernel.take_message() {
                self.host.hear(&message);
            }
            let replies = self.host.speak();
            for reply in &replies {
                self.kernel.receive(Untrusted::new(reply));
            }
            match outcome {
                Outcome::Ended => return Err(self.ending()),
                Outcome::Busy => {}
                Outcome::Idle { .. } if !replies.is_empty() => {}
                Outcome::Idle { until_ns: Some(until_ns) }
                    if until_ns <= self.machine.monotonic_ns() => {}
                Outcome::Idle { until_ns } => return Ok(until_ns),
            }
        }
        panic!("the system goes on for ever");
    }

    fn ending(&self) -> Ending {
        match (&self.host.abort, self.host.exit) {
            (Some(reason), _) => Ending::Abort(reason.clone()),
            (None, Some(status)) => Ending::Exit(status),
            (None, None) => panic!("the kernel ended without a word"),
        }
    }

    /// What there is to see so far.
    ///
    /// # Panics
    ///
    /// When the kernel has told the host nonsense.
    pub fn report(&self, ending: Ending) -> Report {
        assert_eq!(self.host.nonsense, 0, "the kernel's messages are well-formed");
        Report {
            ending,
            output: String::from_utf8_lossy(&self.host.output).into_owned(),
            errors: String::from_utf8_lossy(&self.host.errors).into_owned(),
            log: self.host.log.clone(),
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.machine.stop();
    }
}
