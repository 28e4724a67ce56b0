// SPDX-License-Identifier: MIT
//! Provokes whatever can go wrong between a client and a service, over the way that the URL names.
//! `strongroom-probe-client URL MIB` sends a stream of so many MiB besides; `URL absent` finds no service
//! there, and `URL misplaced` one under a name that is not its own.
#![forbid(unsafe_code)]
#![expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use std::{
    env,
    error::Error,
    fmt::Debug,
    mem,
    process::ExitCode,
    time::{Duration, Instant},
};
use strongroom::{
    CallError, Connect, ConnectError, OpenError, TransportError, client::Opening,
    stream::STREAMS_MAX,
};
use strongroom_connect::{Session, Way};
use strongroom_probe::{ANSWER, BAD, ProbeClient, ProbeError, REQUEST, added};

type Client = ProbeClient<Session>;
type Outcome = Result<(), Box<dyn Error>>;

const MIB: usize = 1 << 20;
/// Empty calls that are counted.
const CALLS: u32 = 1000;
const WAIT: Duration = Duration::from_millis(300);
/// What a machine with other work takes at most to end a call.
const LATE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn all() -> Outcome {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().ok_or("say URL and MiB")?;
    let way = strongroom_connect::to(&url)?;
    let what = arguments.next().ok_or("say how many MiB")?;
    match what.as_str() {
        "absent" => return finds(&way, &TransportError::Absent),
        "misplaced" => return finds(&way, &MISPLACED),
        _ => {}
    }
    let mib: usize = what.parse()?;
    let mut client = Client::connect(way.clone())?;
    allocates_nothing(&mut client)?;
    streams(&mut client, mib)?;
    refuses(&mut client)?;
    ends_streams(&mut client)?;
    mismatch(&way)?;
    ends_in_time(&way)?;
    panics(&way)
}

/// `TEE_ERROR_SECURITY`, by OP-TEE itself (TEE Client API 1.0, 4.4.2 and 4.4.3).
const MISPLACED: TransportError = TransportError::Tee { code: 0xffff_000f, origin: 3 };

/// No session is opened.
fn finds(way: &Way, error: &TransportError) -> Outcome {
    let found = Client::connect(way.clone()).err();
    is(&found, &Some(ConnectError::Transport(*error)), "a service that is not there")?;
    println!("ok no session: {error}");
    Ok(())
}

/// The service counts; a client beside it cannot see.
fn allocates_nothing(client: &mut Client) -> Outcome {
    client.nothing()?;
    let Some(before) = client.allocations()? else { return Ok(()) };
    for _ in 0..CALLS {
        client.nothing()?;
    }
    is(&client.allocations()?, &Some(before), "allocations of empty calls")?;
    client.fill(1)?;
    let after = client.allocations()?;
    is(&(after > Some(before)), &true, "whether a result on the heap is counted")?;
    println!("ok {CALLS} empty calls allocate nothing in the service");
    Ok(())
}

fn streams(client: &mut Client, mib: usize) -> Outcome {
    let chunk: Vec<u8> = (0..REQUEST).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let chunks = mib * MIB / REQUEST;
    let before = client.allocations()?;
    let begun = Instant::now();
    let mut sum = 0;
    let mut writer = client.sum()?;
    for _ in 0..chunks {
        writer.write(&chunk)?;
        sum = added(sum, &chunk);
    }
    is(&writer.finish()?, &sum, "what has arrived")?;
    let took = begun.elapsed();
    let allocated = client.allocations()?.zip(before).map(|(after, before)| after - before);
    // The stream and its place in the session, and not one a chunk.
    is(&allocated.is_none_or(|count| count < 8), &true, "whether memory is constant")?;
    println!("ok {mib} MiB through a stream, {took:.1?}; allocations: {allocated:?}");
    Ok(())
}

fn refuses(client: &mut Client) -> Outcome {
    is(&client.fails(), &Err(CallError::Service(ProbeError::Asked)), "an error of the service")?;
    is(&client.fill(200), &Err(CallError::AnswerTooLarge(ANSWER)), "too large an answer")?;
    let large = vec![1; REQUEST];
    is(&client.take(&large), &Err(CallError::RequestTooLarge(REQUEST)), "too large a request")?;
    is(&client.take(&[1; 1000]), &Ok(1000), "a call after refusals")?;
    println!("ok errors of the service and limits");
    Ok(())
}

fn ends_streams(client: &mut Client) -> Outcome {
    let mut writer = client.sum()?;
    let bad = writer.write(&[BAD]);
    is(&bad, &Err(CallError::Service(ProbeError::BadChunk)), "an error of a stream")?;
    is(&writer.write(&[1]), &Err(CallError::Stream), "a stream that has ended")?;
    drop(writer);
    for _ in 0..STREAMS_MAX {
        // The service is not told that nobody writes any more.
        mem::forget(client.sum()?);
    }
    is(&client.sum().err(), &Some(CallError::Stream), "too many streams")?;
    println!("ok errors of streams");
    Ok(())
}

fn mismatch(way: &Way) -> Outcome {
    let refused = Client::connect(OtherHash(way.clone())).err();
    let differs = matches!(refused, Some(ConnectError::Interface(_)));
    is(&differs, &true, "whether another interface is refused")?;
    println!("ok another interface is refused");
    Ok(())
}

fn ends_in_time(way: &Way) -> Outcome {
    let mut client = Client::connect(way.clone())?;
    client.session().set_timeout(Some(WAIT));
    let begun = Instant::now();
    is(&client.waits(), &Err(CallError::TimedOut), "a call that takes long")?;
    is(&(begun.elapsed() < LATE), &true, "whether it ends soon")?;
    client.session().set_timeout(None);
    // Over a stream, the answer to the call that was given up would come first.
    let after = if is_trusted_application(way) {
        Ok(())
    } else {
        Err(CallError::Transport(TransportError::Closed))
    };
    is(&client.nothing(), &after, "the next call")?;
    println!("ok a call ends in time");
    Ok(())
}

fn panics(way: &Way) -> Outcome {
    let mut client = Client::connect(way.clone())?;
    is(&client.panics(), &Err(CallError::Panicked), "a panic")?;
    // A trusted application that panics is gone; a program makes a fresh instance.
    let after = if is_trusted_application(way) { Err(CallError::Panicked) } else { Ok(()) };
    is(&client.nothing(), &after, "the next call")?;
    let mut other = Client::connect(way.clone())?;
    other.shut(true)?;
    let refused = Client::connect(way.clone()).err();
    is(&refused, &Some(ConnectError::Refused(OpenError::Denied)), "a session that is refused")?;
    if !is_trusted_application(way) {
        is(&client.panics(), &Err(CallError::Panicked), "another panic")?;
        let denied = Err(CallError::Reopen(OpenError::Denied));
        is(&client.nothing(), &denied, "no fresh instance")?;
    }
    other.shut(false)?;
    Client::connect(way.clone())?.nothing()?;
    println!("ok a panic is an error, and a service may refuse sessions");
    Ok(())
}

const fn is_trusted_application(way: &Way) -> bool {
    matches!(way, Way::Optee(_) | Way::Simulated(_))
}

fn is<T: PartialEq + Debug>(found: &T, wanted: &T, what: &str) -> Outcome {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {found:?}, and not {wanted:?}").into())
    }
}

/// A client that was built from another source.
struct OtherHash(Way);

impl Connect for OtherHash {
    type Transport = Session;

    fn connect(self, opening: &Opening) -> Result<Session, ConnectError> {
        let mut opening = opening.clone();
        opening.hello.hash = [0; 32];
        Connect::connect(self.0, &opening)
    }
}
