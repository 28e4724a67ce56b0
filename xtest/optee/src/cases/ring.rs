// SPDX-License-Identifier: MIT
//! A packed program's library OS against its clients: honest ones, and those that lie in the ring
//! or leave. Skipped where the program is not installed.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use strongroom_client::{
    Console, LaunchError, Outcome, Session,
    image::Image,
    session::{Controller, Services},
};
use strongroom_optee_package::Uuid as Name;
use strongroom_optee_run::{Application, Bridge, Called, RunError};
use strongroom_tee::{Access, Code, Operation, Parameter, Tee};
use strongroom_wire::turn::{AREA, BUFFER, HEADER, Turn};

use super::case;
use crate::{
    liar::{Liar, Numbers, Told},
    suite::{Case, Checks, Stop},
    ta,
};

pub(super) const CASES: &[Case] = &[
    case(10001, "Packed program: it runs to its end", honest),
    case(10002, "Packed program: each lie in the ring has its error", lies),
    case(10003, "Packed program: a thousand changed replies", |checks| many_lies(checks, 1000)),
    case(10004, "Packed program: wrong parameters and commands", parameters),
    case(10005, "Packed program: clients that leave in the middle", leaving),
    case(10006, "Packed program: two sessions at once", two),
    case(9003, "Packed program: five thousand changed replies", |checks| many_lies(checks, 5000)),
];

/// Most sessions that changed replies may take.
const SESSIONS_MAX: u64 = 200;
/// Who takes no turn for so long waits for an answer that was spoilt: a client may do that.
const STILL: Duration = Duration::from_secs(2);
/// What the program prints at its end: 200 rounds of two things each.
const LAST_LINE: &str = "rounds 200, good 400\n";
const STATUS: u8 = 7;

impl From<LaunchError> for Stop {
    #[track_caller]
    fn from(error: LaunchError) -> Self {
        io::Error::other(error).into()
    }
}

impl From<RunError> for Stop {
    #[track_caller]
    fn from(error: RunError) -> Self {
        io::Error::other(error).into()
    }
}

/// A session's program; none where it is not installed.
fn opened(checks: &mut Checks) -> Result<Option<Application>, Stop> {
    match open() {
        Ok(application) => Ok(Some(application)),
        Err(RunError::Open { source, .. }) if source.code == Code::ItemNotFound => {
            checks.skip("the packed program is not installed");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn open() -> Result<Application, RunError> {
    Application::open(Name(*ta::TALK.as_bytes()))
}

/// What a program wrote, to be looked at afterwards.
#[derive(Clone, Debug, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Input without end, little at a time: each read of the program has to ask the host.
struct Drops;

impl Read for Drops {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let drop = buffer.len().min(8);
        buffer.iter_mut().take(drop).for_each(|byte| *byte = b'x');
        Ok(drop)
    }
}

/// How a session ended, on both sides, and what the program wrote.
pub(crate) struct Ended {
    pub(crate) served: Result<Outcome, LaunchError>,
    pub(crate) carried: Result<u64, RunError>,
    pub(crate) output: String,
}

/// Serves a session with that root image, whose turns `called` takes; `beside` runs meanwhile.
pub(crate) fn serve(
    called: impl Called + Send + 'static,
    image: &str,
    beside: impl FnOnce(&Controller, &AtomicBool) + Send,
) -> Result<Ended, Stop> {
    let (ours, theirs) = UnixStream::pair()?;
    let image = Image::open(image.as_ref()).map_err(LaunchError::from)?;
    let session = Session::over(ours, Services { image: Some(image), ..Services::default() })?;
    let input = theirs.try_clone()?;
    let carrier = thread::spawn(move || Bridge::new(called, input, theirs).run());
    let written = Written::default();
    let console = Console::new(Drops, written.clone(), io::sink());
    let (controller, over) = (session.controller(), AtomicBool::new(false));
    let served = thread::scope(|scope| {
        scope.spawn(|| beside(&controller, &over));
        let served = session.run(console);
        over.store(true, Ordering::Relaxed);
        served
    });
    let carried = carrier.join().map_err(|_| io::Error::other("the bridge panicked"))?;
    let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Ended { served, carried, output: String::from_utf8_lossy(&bytes).into_owned() })
}

/// Runs the program with an honest client and checks all of it.
fn runs(checks: &mut Checks, application: Application) -> Result<(), Stop> {
    let ended = serve(application, ta::TALK_IMAGE, |_, _| ())?;
    ended.carried?;
    checks.equal(ended.served?.status, STATUS);
    checks.check(ended.output.ends_with(LAST_LINE), &format!("it wrote {:?}", ended.output));
    Ok(())
}

fn honest(checks: &mut Checks) -> Result<(), Stop> {
    let Some(application) = opened(checks)? else { return Ok(()) };
    runs(checks, application)
}

fn lies(checks: &mut Checks) -> Result<(), Stop> {
    let Some(mut application) = opened(checks)? else { return Ok(()) };
    let good = Turn::of_host(1, 0).encode();
    let with = |place: usize, bytes: &[u8]| {
        let mut header = good;
        header.iter_mut().skip(place).zip(bytes).for_each(|(to, from)| *to = *from);
        header
    };
    let too_long = u32::try_from(AREA + 1).unwrap_or(u32::MAX).to_le_bytes();
    for (header, area) in [
        (with(0, b"X"), &[][..]),
        (with(4, &[9]), &[]),
        (with(8, &2_u64.to_le_bytes()), &[]),
        (with(8, &0_u64.to_le_bytes()), &[]),
        (with(16, &u32::MAX.to_le_bytes()), &[]),
        (with(16, &too_long), &[]),
        (with(16, &[3]), &[1, 0, 0]),
        (with(16, &[4]), &[0; 4]),
        (with(16, &[4]), &[0xff; 4]),
        (with(16, &[5]), &[2, 0, 0, 0, 1]),
        (with(20, &[2]), &[]),
        (with(24, &[1]), &[]),
        ([0; HEADER], &[]),
        ([0xff; HEADER], &[]),
    ] {
        application.write(strongroom_wire::turn::HOST_AREA_AT, area)?;
        application.write(0, &header)?;
        match application.call() {
            Err(RunError::Call(error)) => checks.equal(error.code, Code::BadParameters),
            other => checks.check(false, &format!("{header:?}: {other:?}")),
        };
    }
    // None of them counted: this is still the first turn.
    runs(checks, application)
}

fn many_lies(checks: &mut Checks, wanted: u64) -> Result<(), Stop> {
    if opened(checks)?.is_none() {
        return Ok(());
    }
    let told = Arc::new(Told::default());
    let (mut sessions, mut ended_well) = (0_u64, 0);
    while told.lies.load(Ordering::Relaxed) < wanted {
        sessions += 1;
        let liar = Liar::new(open()?, Numbers::new(sessions), Arc::clone(&told));
        let ended = serve(liar, ta::TALK_IMAGE, |controller, over| {
            end_when_still(&told, controller, over);
        })?;
        ended_well += u64::from(ended.served.is_ok());
        // The session may have hung up on the bridge; what must not be is a panic, or a word of the
        // enclave that no honest client would hear.
        let fine = matches!(ended.carried, Ok(_) | Err(RunError::Stream(_)));
        checks.check(fine, &format!("session {sessions}: {:?}", ended.carried));
        if !checks.check(sessions < SESSIONS_MAX, "sessions end too early to be lied to") {
            break;
        }
    }
    let (lies, refused) = (told.lies.load(Ordering::Relaxed), told.refused.load(Ordering::Relaxed));
    println!(
        "{lies} changed replies, {refused} refused; {sessions} sessions, {ended_well} to an end"
    );
    checks.check(refused > 0 && refused < lies, "some are refused, and some are not noticed");
    runs(checks, open()?)
}

/// Ends a session in which nobody takes turns any more.
fn end_when_still(told: &Told, controller: &Controller, over: &AtomicBool) {
    const LOOK: Duration = Duration::from_millis(50);
    let (mut last, mut still) = (0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
        let turns = told.turns.load(Ordering::Relaxed);
        still = if turns == last { still + LOOK } else { Duration::ZERO };
        last = turns;
        if still >= STILL {
            controller.end();
            return;
        }
    }
}

fn parameters(checks: &mut Checks) -> Result<(), Stop> {
    if opened(checks)?.is_none() {
        return Ok(());
    }
    let tee = Tee::connect()?;
    let session = tee.open(ta::TALK)?;
    let none = Parameter::none;
    let mut short = tee.allocate(BUFFER - 1, Access::Both)?;
    let mut long = tee.allocate(BUFFER, Access::Both)?;
    long.write(0, &Turn::of_host(1, 0).encode())?;
    for (what, code, mut operation) in [
        ("nothing", Code::BadParameters, Operation::empty()),
        (
            "a number",
            Code::BadParameters,
            Operation::new([Parameter::value_inout(1, 2), none(), none(), none()]),
        ),
        (
            "input only",
            Code::BadParameters,
            Operation::new([Parameter::input(&[0; 64]), none(), none(), none()]),
        ),
        (
            "a short buffer",
            Code::ShortBuffer,
            Operation::new([Parameter::whole(&mut short), none(), none(), none()]),
        ),
    ] {
        checks.sub(what, |checks| {
            checks.fails(session.invoke(ta::TALK_TURN, &mut operation), code);
            Ok(())
        });
    }
    let mut operation = Operation::new([Parameter::whole(&mut long), none(), none(), none()]);
    checks.fails(session.invoke(ta::TALK_UNKNOWN, &mut operation), Code::NotSupported);
    checks.succeeds(session.invoke(ta::TALK_TURN, &mut operation));
    Ok(())
}

fn leaving(checks: &mut Checks) -> Result<(), Stop> {
    let Some(mut application) = opened(checks)? else { return Ok(()) };
    for turns in 0..8 {
        for number in 1..=turns {
            application.write(0, &Turn::of_host(number, 0).encode())?;
            let called = application.call();
            checks.check(called.is_ok(), &format!("turn {number}: {called:?}"));
        }
        drop(application);
        application = open()?;
    }
    runs(checks, application)
}

fn two(checks: &mut Checks) -> Result<(), Stop> {
    let Some(first) = opened(checks)? else { return Ok(()) };
    let second = match open() {
        Err(RunError::Open { source, .. }) if source.code == Code::OutOfMemory => {
            checks.skip("this OP-TEE has memory for one");
            return runs(checks, first);
        }
        second => second?,
    };
    let other = thread::spawn(move || {
        let ended = serve(second, ta::TALK_IMAGE, |_, _| ())?;
        Ok::<_, Stop>(ended.served?.status)
    });
    runs(checks, first)?;
    let status = other.join().map_err(|_| io::Error::other("the other session panicked"))?;
    checks.equal(status?, STATUS);
    Ok(())
}
