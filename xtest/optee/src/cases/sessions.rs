// SPDX-License-Identifier: MIT
//! Opening and closing sessions, and TAs that are not what they should be.

use strongroom_tee::{Code, Login, Operation, Origin, Parameter, Session, Tee, Uuid};

use super::case;
use crate::{
    suite::{Case, Checks, Stop},
    ta::{self, Planted},
};

pub(super) const CASES: &[Case] = &[
    case(1001, "Session: open, call, close", open_call_close),
    case(1002, "Session: opened and closed many times", many_times),
    case(1003, "Session: many at once with one instance", many_at_once),
    case(1004, "Session: many at once with an instance each", many_instances),
    case(1005, "Session: unknown UUIDs", unknown),
    case(1006, "Session: outlives its connection", outlives_connection),
    case(1007, "Session: two connections", two_connections),
    case(1008, "Connection: a TEE that does not exist", no_such_tee),
    case(1009, "TA file: another UUID than its name", other_uuid),
    case(1010, "TA file: flipped bytes", flipped_bytes),
    case(1011, "TA file: cut short", cut_short),
    case(1012, "TA that refuses to be created", refuses),
    case(1013, "Login: the TA learns who its client is", logins),
    case(1014, "Login: a group that the client is not in", foreign_group),
];

/// SHA-256 of "abc": FIPS 180-4, example.
const ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];

fn open_call_close(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::CRYPT)?;
    checks.equal(ta::sha256(&session, b"abc")?, ABC);
    Ok(())
}

fn many_times(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    for _ in 0..25 {
        let session = tee.open(ta::CRYPT)?;
        checks.equal(ta::sha256(&session, b"abc")?, ABC);
    }
    Ok(())
}

/// How many sessions the counting TA's instance had seen when this one was opened: its sessions
/// share an instance, and a new instance begins at 0.
pub(super) fn count(session: &Session) -> Result<u32, strongroom_tee::TeeError> {
    let [second, third, fourth] = [Parameter::none(); 3];
    let mut operation = Operation::new([Parameter::value_output(), second, third, fourth]);
    session.invoke(ta::SIMS_GET_COUNTER, &mut operation)?;
    Ok(operation.value(0).unwrap_or_default().0)
}

fn many_at_once(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let mut sessions = Vec::new();
    for wanted in 0..6 {
        sessions.push(tee.open(ta::SIMS)?);
        checks.equal(sessions.last().map(count).transpose()?, Some(wanted));
    }
    for (session, wanted) in sessions.iter().zip(0..) {
        checks.equal(count(session)?, wanted);
    }
    sessions.truncate(1);
    checks.equal(sessions.first().map(count).transpose()?, Some(0));
    checks.equal(count(&tee.open(ta::SIMS)?)?, 6);
    drop(sessions);
    // The instance is gone, and its count.
    checks.equal(count(&tee.open(ta::SIMS)?)?, 0);
    Ok(())
}

fn many_instances(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let sessions: Vec<Session> =
        (0..3).map(|_| tee.open(ta::CONCURRENT)).collect::<Result<_, _>>()?;
    checks.equal(sessions.len(), 3);
    drop(sessions);
    // Whether it was all given back: as many again.
    let again: Vec<Session> = (0..3).map(|_| tee.open(ta::CONCURRENT)).collect::<Result<_, _>>()?;
    checks.equal(again.len(), 3);
    Ok(())
}

fn unknown(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    for uuid in [ta::NOBODY, Uuid::max()] {
        checks.sub(&format!("{uuid}"), |checks| {
            checks.fails_from(tee.open(uuid), Code::ItemNotFound, Origin::Tee);
            Ok(())
        });
    }
    let nil = tee.open(Uuid::nil());
    checks.check(nil.is_err(), "nobody's UUID has a session");
    checks.succeeds(tee.open(ta::CRYPT));
    Ok(())
}

fn outlives_connection(checks: &mut Checks) -> Result<(), Stop> {
    let session = {
        let tee = Tee::connect()?;
        tee.open(ta::CRYPT)?
    };
    checks.equal(ta::sha256(&session, b"abc")?, ABC);
    Ok(())
}

fn two_connections(checks: &mut Checks) -> Result<(), Stop> {
    let first = Tee::connect()?.open(ta::SIMS)?;
    let second = Tee::connect()?.open(ta::SIMS)?;
    checks.equal(count(&first)?, 0);
    checks.equal(count(&second)?, 1);
    drop(first);
    checks.equal(count(&second)?, 1);
    checks.equal(count(&Tee::connect()?.open(ta::SIMS)?)?, 2);
    Ok(())
}

fn no_such_tee(checks: &mut Checks) -> Result<(), Stop> {
    checks.fails_from(Tee::connect_to(c"no such TEE"), Code::ItemNotFound, Origin::Api);
    checks.succeeds(Tee::connect());
    Ok(())
}

fn other_uuid(checks: &mut Checks) -> Result<(), Stop> {
    let _planted = Planted::new(ta::CRYPT, ta::NOBODY, |_| {})?;
    let opened = Tee::connect()?.open(ta::NOBODY);
    checks.check(opened.is_err(), "a TA was loaded under another's UUID");
    Ok(())
}

fn flipped_bytes(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let length = std::fs::metadata(ta::file(ta::CRYPT))?.len();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    // The signed header's magic, image size, its digest and signature, the image's first and last
    // bytes.
    for offset in [0, 8, 20, 60, 300, 400, length / 2, length - 1] {
        checks.sub(&format!("byte {offset} of {length}"), |checks| {
            let flip = |bytes: &mut Vec<u8>| {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= 1;
                }
            };
            let original = std::fs::read(ta::file(ta::CRYPT))?;
            let planted = Planted::new(ta::CRYPT, ta::CRYPT, flip)?;
            let opened = tee.open(ta::CRYPT);
            checks.check(opened.is_err(), "a TA with a flipped bit was loaded");
            drop(planted);
            std::fs::write(ta::file(ta::CRYPT), original)?;
            Ok(())
        });
    }
    checks.succeeds(tee.open(ta::CRYPT));
    Ok(())
}

fn cut_short(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    for length in [0, 1, 19, 100, 4096] {
        checks.sub(&format!("{length} bytes"), |checks| {
            let original = std::fs::read(ta::file(ta::CRYPT))?;
            let planted = Planted::new(ta::CRYPT, ta::CRYPT, |bytes| bytes.truncate(length))?;
            let opened = tee.open(ta::CRYPT);
            checks.check(opened.is_err(), "a part of a TA was loaded");
            drop(planted);
            std::fs::write(ta::file(ta::CRYPT), original)?;
            Ok(())
        });
    }
    checks.succeeds(tee.open(ta::CRYPT));
    Ok(())
}

fn refuses(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    for _ in 0..3 {
        let opened = tee.open(ta::CREATE_FAIL);
        checks.check(opened.is_err(), "a TA that refuses to be created has a session");
    }
    checks.succeeds(tee.open(ta::CRYPT));
    Ok(())
}

fn logins(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let mut seen = Vec::new();
    for (login, number) in
        [(Login::Public, 0), (Login::User, 1), (Login::Group(0), 2), (Login::Application, 4)]
    {
        checks.sub(&format!("{login:?}"), |checks| {
            let session = match ta::open_as(&tee, ta::OS_TEST, login) {
                // The kernel's driver knows fewer kinds than the specification.
                Err(error) if error.origin == Origin::Communication => {
                    checks.check(login == Login::Application, "the driver does not know it");
                    checks.skip(&format!("the driver does not know {login:?}"));
                    return Ok(());
                }
                other => other?,
            };
            let mut uuid = [0; 16];
            let mut operation = Operation::new([
                Parameter::value_output(),
                Parameter::output(&mut uuid),
                Parameter::none(),
                Parameter::none(),
            ]);
            session.invoke(ta::OS_TEST_CLIENT_IDENTITY, &mut operation)?;
            checks.equal(operation.value(0).map(|(login, _)| login), Some(number));
            drop(operation);
            checks.check(!seen.contains(&uuid), "two logins have the same identity");
            seen.push(uuid);
            Ok(())
        });
    }
    Ok(())
}

fn foreign_group(checks: &mut Checks) -> Result<(), Stop> {
    let opened = ta::open_as(&Tee::connect()?, ta::OS_TEST, Login::Group(4242));
    checks.check(opened.is_err(), "a client came in as a group that it is not in");
    Ok(())
}
