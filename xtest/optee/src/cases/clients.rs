// SPDX-License-Identifier: MIT
//! Clients that are killed, leave without a word, or come several at a time.

use std::{
    process::Child,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use strongroom_tee::{Code, Session, Tee};

use super::{case, sessions::count};
use crate::{
    child::Kind,
    suite::{Case, Checks, Stop},
    ta,
};

pub(super) const CASES: &[Case] = &[
    case(5001, "Client killed while it waits in a TA", killed_waiting),
    case(5002, "Client killed while a TA computes for it", killed_computing),
    case(5003, "Client killed with memory lent to a TA", killed_lending),
    case(5004, "Client that ends without closing its sessions", leaves),
    case(5005, "Clients that panic TAs while others work", panics),
    case(5006, "Several threads, a session each", threads),
    case(5007, "Several threads, one session", one_session),
    case(5008, "Several processes", processes),
    case(5009, "Calls run at the same time", same_time),
];

/// What was killed has to be gone from the TEE within this time.
const GONE: Duration = Duration::from_secs(60);

/// Kills a client in the middle of its call.
fn kill_in_call(kind: Kind) -> Result<(), Stop> {
    let mut child = kind.start()?;
    // It says that it is ready just before the call.
    thread::sleep(Duration::from_millis(200));
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn tee_works(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::CRYPT)?;
    let wanted: [u8; 32] = Sha256::digest(b"still there").into();
    checks.equal(ta::sha256(&session, b"still there")?, wanted);
    Ok(())
}

fn killed_waiting(checks: &mut Checks) -> Result<(), Stop> {
    for _ in 0..4 {
        kill_in_call(Kind::Waits)?;
        tee_works(checks)?;
    }
    let session = Tee::connect()?.open(ta::OS_TEST)?;
    checks.succeeds(session.invoke(ta::OS_TEST_WAIT, &mut ta::numbers(1, 0)));
    Ok(())
}

fn killed_computing(checks: &mut Checks) -> Result<(), Stop> {
    kill_in_call(Kind::Spins)?;
    tee_works(checks)
}

fn killed_lending(checks: &mut Checks) -> Result<(), Stop> {
    for _ in 0..3 {
        kill_in_call(Kind::Lends)?;
        tee_works(checks)?;
    }
    Ok(())
}

fn leaves(checks: &mut Checks) -> Result<(), Stop> {
    // Each leaves four sessions behind: if nobody closed them, the single instance would soon have
    // no memory left for more, and its count would not begin anew.
    for _ in 0..5 {
        let status = Kind::Leaves.start()?.wait()?;
        checks.check(status.success(), "the client failed");
    }
    let started = Instant::now();
    let tee = Tee::connect()?;
    while count(&tee.open(ta::SIMS)?)? != 0 && started.elapsed() < GONE {
        thread::sleep(Duration::from_millis(20));
    }
    checks.equal(count(&tee.open(ta::SIMS)?)?, 0);
    Ok(())
}

fn wait_for_all(checks: &mut Checks, children: Vec<Child>) -> Result<(), Stop> {
    for mut child in children {
        let status = child.wait()?;
        checks.check(status.success(), &format!("a client ended with {status}"));
    }
    Ok(())
}

fn panics(checks: &mut Checks) -> Result<(), Stop> {
    let mut children = vec![Kind::Digests.start()?];
    for _ in 0..6 {
        children.push(Kind::Panics.start()?);
    }
    wait_for_all(checks, children)?;
    tee_works(checks)
}

fn threads(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let right = AtomicU32::new(0);
    thread::scope(|scope| {
        for number in 0..4_u8 {
            let (tee, right) = (&tee, &right);
            scope.spawn(move || {
                let bytes = vec![number; 50_000];
                let wanted: [u8; 32] = Sha256::digest(&bytes).into();
                let Ok(session) = tee.open(ta::CRYPT) else { return };
                for _ in 0..10 {
                    if ta::sha256(&session, &bytes) == Ok(wanted) {
                        right.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    checks.equal(right.into_inner(), 40);
    Ok(())
}

fn one_session(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::CRYPT)?;
    let (right, busy) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for number in 0..4_u8 {
            let (session, right, busy) = (&session, &right, &busy);
            scope.spawn(move || {
                let bytes = vec![number; 5000];
                let wanted: [u8; 32] = Sha256::digest(&bytes).into();
                for _ in 0..20 {
                    match ta::sha256(session, &bytes) {
                        Ok(digest) if digest == wanted => right.fetch_add(1, Ordering::Relaxed),
                        // The TEE may say that the session is in use, but never swap answers.
                        Err(error) if error.code == Code::Busy => {
                            busy.fetch_add(1, Ordering::Relaxed)
                        }
                        Ok(_) | Err(_) => 0,
                    };
                }
            });
        }
    });
    let (right, busy) = (right.into_inner(), busy.into_inner());
    checks.equal(right + busy, 80);
    checks.check(right > 0, "every call was refused");
    Ok(())
}

fn processes(checks: &mut Checks) -> Result<(), Stop> {
    let children: Vec<Child> = (0..4).map(|_| Kind::Digests.start()).collect::<Result<_, _>>()?;
    wait_for_all(checks, children)?;
    tee_works(checks)
}

fn same_time(checks: &mut Checks) -> Result<(), Stop> {
    const WAIT_MS: u32 = 3000;
    let tee = Tee::connect()?;
    let sessions = [tee.open(ta::OS_TEST)?, tee.open(ta::OS_TEST)?];
    let wait_in = |sessions: &[Session]| {
        let done = AtomicU32::new(0);
        let started = Instant::now();
        thread::scope(|scope| {
            for session in sessions {
                let done = &done;
                scope.spawn(move || {
                    if session.invoke(ta::OS_TEST_WAIT, &mut ta::numbers(WAIT_MS, 0)).is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        (done.into_inner(), started.elapsed())
    };
    let (one, alone) = wait_in(sessions.get(..1).unwrap_or_default());
    let (both, together) = wait_in(&sessions);
    checks.equal((one, both), (1, 2));
    // One after the other they would take twice as long; what else the machine does counts too.
    let limit = alone + Duration::from_millis(u64::from(WAIT_MS)).mul_f64(0.8);
    checks.check(together < limit, &format!("one took {alone:?}, two {together:?}"));
    Ok(())
}
