// SPDX-License-Identifier: MIT
//! This program again, as a client of its own that is killed or ends badly.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, ExitCode, Stdio},
};

use strongroom_tee::{Access, Code, Operation, Parameter, Tee, TeeError};

use crate::ta;

/// How long a child waits in the TEE, in milliseconds. The driver waits for it in a way that no
/// signal ends, so a killed child is gone only after that.
const LONG_MS: u32 = 1500;

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Waits in a TA.
    Waits,
    /// Spins in a TA, which does not look whether it is cancelled.
    Spins,
    /// Waits in a TA with a megabyte of shared memory lent to it.
    Lends,
    /// Opens sessions and ends without closing them.
    Leaves,
    /// Panics a TA and ends.
    Panics,
    /// Computes digests of one megabyte.
    Digests,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Waits, Self::Spins, Self::Lends, Self::Leaves, Self::Panics, Self::Digests];

    const fn word(self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::Spins => "spins",
            Self::Lends => "lends",
            Self::Leaves => "leaves",
            Self::Panics => "panics",
            Self::Digests => "digests",
        }
    }

    /// Starts one and waits until it is about to make its call.
    pub(crate) fn start(self) -> std::io::Result<Child> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(format!("--child={}", self.word()))
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(output) = child.stdout.as_mut() {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line)?;
        }
        Ok(child)
    }
}

/// A child's life.
pub(crate) fn live(word: &str) -> ExitCode {
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    match kind.map(act) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("{word}: {error}");
            ExitCode::FAILURE
        }
        None => ExitCode::from(2),
    }
}

fn act(kind: Kind) -> Result<(), TeeError> {
    let tee = Tee::connect()?;
    match kind {
        Kind::Waits => {
            let session = tee.open(ta::OS_TEST)?;
            ready();
            session.invoke(ta::OS_TEST_WAIT, &mut ta::numbers(LONG_MS, 0))
        }
        Kind::Spins => {
            let session = tee.open(ta::CONCURRENT)?;
            let mut shared = [0; 4];
            ready();
            let mut operation = Operation::new([
                Parameter::inout(&mut shared),
                Parameter::value_inout(20_000, 0),
                Parameter::none(),
                Parameter::none(),
            ]);
            session.invoke(ta::CONCURRENT_BUSY_LOOP, &mut operation)
        }
        Kind::Lends => {
            let session = tee.open(ta::CONCURRENT)?;
            let mut memory = tee.allocate(1 << 20, Access::Input)?;
            let (mut shared, mut digest) = ([0; 4], [0; 32]);
            ready();
            let mut operation = Operation::new([
                Parameter::inout(&mut shared),
                Parameter::value_inout(60, 0),
                Parameter::whole(&mut memory),
                Parameter::output(&mut digest),
            ]);
            session.invoke(ta::CONCURRENT_SHA256, &mut operation)
        }
        Kind::Leaves => {
            for _ in 0..4 {
                // Left open on purpose: the driver has to close it.
                std::mem::forget(tee.open(ta::SIMS)?);
            }
            std::mem::forget(tee);
            ready();
            Ok(())
        }
        Kind::Panics => {
            let session = tee.open(ta::OS_TEST)?;
            ready();
            match session.invoke(ta::OS_TEST_PANIC, &mut Operation::empty()) {
                Err(error) if error.code == Code::TargetDead => Ok(()),
                other => other,
            }
        }
        Kind::Digests => {
            let session = tee.open(ta::CRYPT)?;
            ready();
            let bytes = vec![7; 1 << 20];
            let first = ta::sha256(&session, &bytes)?;
            for _ in 0..5 {
                if ta::sha256(&session, &bytes)? != first {
                    return Err(TeeError {
                        code: Code::Generic,
                        origin: strongroom_tee::Origin::Api,
                    });
                }
            }
            Ok(())
        }
    }
}

fn ready() {
    println!("ready");
    // Whoever started us may be gone: then nobody waits for it.
    let _ = std::io::stdout().flush();
}
