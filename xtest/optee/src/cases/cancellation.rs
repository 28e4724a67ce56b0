// SPDX-License-Identifier: MIT
//! Calls that are cancelled, and calls that are not.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use strongroom_tee::{Canceller, Code, Operation, Origin, Session, Tee, TeeError};

use super::case;
use crate::{
    suite::{Case, Checks, Stop},
    ta,
};

pub(super) const CASES: &[Case] = &[
    case(3001, "Cancellation: a call that waits", waiting),
    case(3002, "Cancellation: before the call", before),
    case(3003, "Cancellation: another session goes on", other_session),
    case(3004, "Cancellation: after the call", after),
    case(3005, "Cancellation: the session can be used afterwards", afterwards),
    case(3006, "Cancellation: many times", many_times),
    case(3007, "A call that waits ends by itself", by_itself),
];

/// How long calls wait that are cancelled, in milliseconds. OP-TEE sends its waiting to the normal
/// world and looks at requests when it comes back, so they end with their time, not before.
const LONG_MS: u32 = 2500;
/// No call here takes longer, on a busy machine too.
const SOON: Duration = Duration::from_secs(30);

/// Waits in the TEE and is cancelled meanwhile; asks again until it ends, because a request can
/// come before the TA has begun to wait.
fn cancelled(session: &Session, canceller: &Canceller, wait: u32) -> Result<(), TeeError> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(50));
                canceller.cancel();
            }
        });
        let operation = &mut ta::numbers(wait, 0);
        let result = session.invoke_cancellable(ta::OS_TEST_WAIT, operation, canceller);
        over.store(true, Ordering::Release);
        result
    })
}

fn waiting(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::OS_TEST)?;
    let result = cancelled(&session, &Canceller::new(), LONG_MS);
    checks.fails(result, Code::Cancel);
    Ok(())
}

fn before(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::OS_TEST)?;
    let canceller = Canceller::new();
    canceller.cancel();
    // A panic would show that it began.
    let operation = &mut Operation::empty();
    let result = session.invoke_cancellable(ta::OS_TEST_PANIC, operation, &canceller);
    checks.fails_from(result, Code::Cancel, Origin::Api);
    checks.succeeds(session.invoke(ta::OS_TEST_WAIT, &mut ta::numbers(1, 0)));
    Ok(())
}

fn other_session(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let (first, second) = (tee.open(ta::OS_TEST)?, tee.open(ta::OS_TEST)?);
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(|| second.invoke(ta::OS_TEST_WAIT, &mut ta::numbers(1500, 0)));
        let one = cancelled(&first, &Canceller::new(), LONG_MS);
        (one, other.join())
    });
    // A request takes a thread of the TEE. A small TEE has two, and both may be in use until the
    // call has ended: then it is not cancelled, but nothing else may come of it.
    let code = one.err().map(|error| error.code);
    checks.check(code.is_none_or(|code| code == Code::Cancel), &format!("{code:?}"));
    match other {
        Ok(result) => {
            checks.succeeds(result);
        }
        Err(_) => {
            checks.check(false, "the other thread died");
        }
    }
    Ok(())
}

fn after(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::OS_TEST)?;
    let canceller = Canceller::new();
    let operation = &mut ta::numbers(1, 0);
    checks.succeeds(session.invoke_cancellable(ta::OS_TEST_WAIT, operation, &canceller));
    canceller.cancel();
    checks.succeeds(session.invoke(ta::OS_TEST_WAIT, &mut ta::numbers(1, 0)));
    canceller.reset();
    let operation = &mut ta::numbers(1, 0);
    checks.succeeds(session.invoke_cancellable(ta::OS_TEST_WAIT, operation, &canceller));
    Ok(())
}

fn afterwards(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::OS_TEST)?;
    checks.fails(cancelled(&session, &Canceller::new(), LONG_MS), Code::Cancel);
    // A request that reached the TEE when the call had just ended there strikes the next call.
    let next = || session.invoke(ta::OS_TEST_WAIT, &mut ta::numbers(10, 0));
    if let Err(error) = next() {
        checks.equal(error.code, Code::Cancel);
        checks.succeeds(next());
    }
    let canceller = Canceller::new();
    checks.fails(cancelled(&session, &canceller, LONG_MS), Code::Cancel);
    Ok(())
}

fn many_times(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::OS_TEST)?;
    let canceller = Canceller::new();
    for _ in 0..4 {
        canceller.reset();
        checks.fails(cancelled(&session, &canceller, LONG_MS), Code::Cancel);
    }
    Ok(())
}

fn by_itself(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::OS_TEST)?;
    for wait in [0, 1, 100, 700] {
        let started = Instant::now();
        session.invoke(ta::OS_TEST_WAIT, &mut ta::numbers(wait, 0))?;
        let took = started.elapsed();
        // The two clocks are read at other moments and count in other steps.
        let least = Duration::from_millis(u64::from(wait)).mul_f64(0.9);
        checks.check(took >= least, &format!("{wait} ms were over after {took:?}"));
        checks.check(took < SOON, &format!("{wait} ms took {took:?}"));
    }
    Ok(())
}
