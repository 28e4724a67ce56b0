// SPDX-License-Identifier: MIT
//! TAs that panic, and what is left of them.

use std::thread;

use strongroom_tee::{Code, Operation, Origin, Parameter, Session, Tee, TeeError};

use super::{case, sessions::count};
use crate::{
    suite::{Case, Checks, Stop},
    ta,
};

pub(super) const CASES: &[Case] = &[
    case(4001, "Panic: the call fails, and says who", panics),
    case(4002, "Panic: the session is dead, the next one is not", dead_session),
    case(4003, "Panic: many in a row", many),
    case(4004, "Panic: all sessions of a single instance, and its state", single_instance),
    case(4005, "Panic: bad memory accesses", bad_memory),
    case(4006, "Panic: in a library of the TA", library),
    case(4007, "Panic: a call of another TA goes on", others_go_on),
    case(4008, "Panic: memory that was lent comes back", lent_memory),
];

/// A call that any living instance answers.
fn works(session: &Session) -> Result<(), TeeError> {
    session.invoke(ta::OS_TEST_WAIT, &mut ta::numbers(1, 0))
}

fn panics(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::OS_TEST)?;
    let result = session.invoke(ta::OS_TEST_PANIC, &mut Operation::empty());
    checks.fails_from(result, Code::TargetDead, Origin::Tee);
    Ok(())
}

fn dead_session(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let (session, other) = (tee.open(ta::OS_TEST)?, tee.open(ta::OS_TEST)?);
    let result = session.invoke(ta::OS_TEST_PANIC, &mut Operation::empty());
    checks.fails(result, Code::TargetDead);
    for _ in 0..3 {
        let result = works(&session);
        checks.fails_from(result, Code::TargetDead, Origin::Tee);
    }
    // Each session of this TA has an instance of its own.
    checks.succeeds(works(&other));
    drop(session);
    let next = tee.open(ta::OS_TEST)?;
    checks.succeeds(works(&next));
    Ok(())
}

fn many(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    for _ in 0..20 {
        let session = tee.open(ta::OS_TEST)?;
        let result = session.invoke(ta::OS_TEST_PANIC, &mut Operation::empty());
        checks.fails(result, Code::TargetDead);
    }
    checks.succeeds(works(&tee.open(ta::OS_TEST)?));
    Ok(())
}

fn single_instance(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let sessions = (0..4).map(|_| tee.open(ta::SIMS)).collect::<Result<Vec<_>, _>>()?;
    let (first, rest) = sessions.split_first().ok_or(Stop)?;
    checks.equal(count(first)?, 0);
    let [second, third, fourth] = [Parameter::none(); 3];
    // No memory in the first place stands for this TA itself.
    let mut operation = Operation::new([Parameter::null(), second, third, fourth]);
    let result = first.invoke(ta::SIMS_PANIC, &mut operation);
    checks.fails(result, Code::TargetDead);
    for session in rest {
        checks.fails(count(session), Code::TargetDead);
    }
    drop(sessions);
    checks.equal(count(&tee.open(ta::SIMS)?)?, 0);
    Ok(())
}

fn bad_memory(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    // Null pointers, foreign addresses, read-only data, stacks: kinds of the test TA.
    for kind in 1..=5 {
        checks.sub(&format!("kind {kind}"), |checks| {
            let session = tee.open(ta::OS_TEST)?;
            let result = session.invoke(ta::OS_TEST_BAD_MEMORY_ACCESS, &mut ta::numbers(kind, 0));
            checks.fails_from(result, Code::TargetDead, Origin::Tee);
            Ok(())
        });
    }
    checks.succeeds(works(&tee.open(ta::OS_TEST)?));
    Ok(())
}

fn library(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::OS_TEST)?;
    let result = session.invoke(ta::OS_TEST_LIBRARY_PANIC, &mut Operation::empty());
    checks.fails(result, Code::TargetDead);
    Ok(())
}

fn others_go_on(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let waiter = tee.open(ta::OS_TEST)?;
    let waited = thread::scope(|scope| {
        let waited = scope.spawn(|| waiter.invoke(ta::OS_TEST_WAIT, &mut ta::numbers(1500, 0)));
        for _ in 0..5 {
            let session = tee.open(ta::OS_TEST)?;
            let result = session.invoke(ta::OS_TEST_PANIC, &mut Operation::empty());
            checks.fails(result, Code::TargetDead);
        }
        Ok::<_, Stop>(waited.join())
    })?;
    match waited {
        Ok(result) => {
            checks.succeeds(result);
        }
        Err(_) => {
            checks.check(false, "the waiting thread died");
        }
    }
    Ok(())
}

fn lent_memory(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let mut memory = tee.allocate(1 << 20, strongroom_tee::Access::Both)?;
    memory.write(77, b"mine")?;
    for _ in 0..5 {
        let session = tee.open(ta::OS_TEST)?;
        let mut operation = Operation::new([
            Parameter::none(),
            Parameter::none(),
            Parameter::none(),
            Parameter::whole(&mut memory),
        ]);
        checks.fails(session.invoke(ta::OS_TEST_PANIC, &mut operation), Code::TargetDead);
    }
    let mut found = [0; 4];
    memory.read(77, &mut found)?;
    checks.equal(&found, b"mine");
    Ok(())
}
