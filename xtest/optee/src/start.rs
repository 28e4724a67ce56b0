// SPDX-License-Identifier: MIT
//! How long it takes to open a session, have it say hello, and close it: of a packed program, and of
//! a plain trusted application whose file is as long.
//!
//! `strongroom-xtest --start=ROUNDS` prints a line for each: `NAME OPENED CALLS CLOSED`, times in
//! microseconds since the beginning. The harness installs both, and does the rest.

use std::{io, process::ExitCode, time::Instant};

use strongroom_optee_package::Uuid as Name;
use strongroom_optee_run::Application;
use strongroom_tee::{Access, Operation, Parameter, Tee, Uuid};

use crate::{cases::ring::serve, suite::Stop};

/// A program packed by `strongroom pack-ta`, `hello/hello.c`, and its root image.
const PACKED: Uuid = Uuid::from_u128(0x8d1b6f27_03c5_4e98_b2fa_5a76c9e4d013);
const PACKED_IMAGE: &str = "/root/hello.image";
/// The plain one, `hello/src`.
const PLAIN: Uuid = Uuid::from_u128(0x2f6a9c14_7be3_4d0a_9a51_c08d3e5b7f42);
const HELLO: &[u8] = b"hello\n";
/// What the plain one's buffer holds.
const BUFFER: usize = 64;

type Start = fn() -> Result<[u64; 3], Stop>;

/// Measures by turns; the first round of each, which finds caches empty, is printed like the others.
pub(crate) fn measure(rounds: &str) -> ExitCode {
    let Ok(rounds) = rounds.parse::<u32>() else { return ExitCode::from(2) };
    for _ in 0..rounds {
        let start: [(&str, Start); 2] = [("packed", packed), ("plain", plain)];
        for (name, run) in start {
            match run() {
                Ok([opened, calls, closed]) => println!("{name} {opened} {calls} {closed}"),
                Err(Stop) => return ExitCode::FAILURE,
            }
        }
    }
    ExitCode::SUCCESS
}

fn packed() -> Result<[u64; 3], Stop> {
    let start = Instant::now();
    let application = Application::open(Name(*PACKED.as_bytes()))
        .map_err(io::Error::other)
        .map_err(Stop::from)?;
    let opened = microseconds(start);
    let ended = serve(application, PACKED_IMAGE, |_, _| ())?;
    // Whoever carries the messages closes the session when the program has ended.
    let closed = microseconds(start);
    let turns = ended.carried?;
    let status = ended.served?.status;
    if status != 0 || ended.output.as_bytes() != HELLO {
        return Err(io::Error::other(format!("{status}: {}", ended.output)).into());
    }
    Ok([opened, turns, closed])
}

fn plain() -> Result<[u64; 3], Stop> {
    let start = Instant::now();
    let tee = Tee::connect()?;
    let mut buffer = tee.allocate(BUFFER, Access::Both)?;
    let session = tee.open(PLAIN)?;
    let opened = microseconds(start);
    let none = Parameter::none;
    let mut operation = Operation::new([Parameter::whole(&mut buffer), none(), none(), none()]);
    session.invoke(0, &mut operation)?;
    let mut hello = [0; HELLO.len()];
    buffer.read(0, &mut hello)?;
    if hello != HELLO {
        return Err(io::Error::other("the plain application does not say hello").into());
    }
    drop((session, buffer, tee));
    Ok([opened, 1, microseconds(start)])
}

fn microseconds(since: Instant) -> u64 {
    since.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}
