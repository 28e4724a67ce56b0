// SPDX-License-Identifier: MIT
//! Kinds and sizes of parameters: right ones, wrong ones, and the edges.

use sha2::{Digest as _, Sha256};
use strongroom_tee::{Access, Code, Operation, Origin, Parameter, Session, Tee, TeeError};

use super::case;
use crate::{
    suite::{Case, Checks, Stop},
    ta,
};

pub(super) const CASES: &[Case] = &[
    case(2001, "Parameters: wrong kinds", wrong_kinds),
    case(2002, "Parameters: a command that does not exist", unknown_command),
    case(2003, "Parameters: values in both directions", values),
    case(2004, "Parameters: no bytes, and no memory", nothing),
    case(2005, "Parameters: an output buffer that is too short", short_output),
    case(2006, "Parameters: sizes around pages", sizes),
    case(2007, "Parameters: input is not written to", input_stays),
    case(2008, "Shared memory: whole", whole),
    case(2009, "Shared memory: parts and odd offsets", parts),
    case(2010, "Shared memory: parts outside, directions that it was not made for", refused),
    case(2011, "Shared memory: used in many calls", many_calls),
    case(2012, "Big inputs", big),
    case(2013, "The same bytes as two parameters", same_twice),
    case(2014, "Encryption and back, block by block", round_trip),
    case(2015, "A part of OP-TEE says how much room it wants", wanted_room),
    case(2016, "A part of OP-TEE reads and writes lent memory", core_reads),
    case(2017, "Shared memory: registered, and given back", registered),
];

/// A changing byte at every place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251).to_le_bytes()[0]).collect()
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn wrong_kinds(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::STORAGE)?;
    let mut buffer = [0; 16];
    for kind in 0..6 {
        let parameter = match kind {
            0 => Parameter::none(),
            1 => Parameter::value_output(),
            2 => Parameter::value_inout(1, 2),
            3 => Parameter::input(b"x"),
            4 => Parameter::output(&mut buffer),
            _ => Parameter::null(),
        };
        // Closing an object takes one pair of numbers and nothing else.
        let [second, third, fourth] = [Parameter::none(); 3];
        let mut operation = Operation::new([parameter, second, third, fourth]);
        let result = session.invoke(1, &mut operation);
        checks.fails_from(result, Code::BadParameters, Origin::TrustedApplication);
    }
    let mut too_many = Operation::new([Parameter::value_input(0, 0); 4]);
    checks.fails(session.invoke(1, &mut too_many), Code::BadParameters);
    Ok(())
}

fn unknown_command(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    for (application, command) in
        [(ta::OS_TEST, 4242), (ta::OS_TEST, u32::MAX), (ta::DEVICES, 4242), (ta::CORE_TESTS, 4242)]
    {
        checks.sub(&format!("{application} command {command}"), |checks| {
            let session = match tee.open(application) {
                Err(error) if error.code == Code::ItemNotFound => {
                    checks.skip("this OP-TEE does not have it");
                    return Ok(());
                }
                other => other?,
            };
            let result = session.invoke(command, &mut Operation::empty());
            let code = result.err().map(|error| error.code);
            let refusals =
                [Code::BadParameters, Code::NotImplemented, Code::NotSupported, Code::ItemNotFound];
            checks.check(
                code.is_some_and(|code| refusals.contains(&code)),
                &format!("it answered {code:?}"),
            );
            Ok(())
        });
    }
    Ok(())
}

fn values(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let (first, second) = (tee.open(ta::CRYPT)?, tee.open(ta::CRYPT)?);
    let get = |session: &Session| -> Result<u32, TeeError> {
        let [second, third, fourth] = [Parameter::none(); 3];
        let mut operation = Operation::new([Parameter::value_output(), second, third, fourth]);
        session.invoke(ta::CRYPT_GET_GLOBAL, &mut operation)?;
        Ok(operation.value(0).unwrap_or_default().0)
    };
    for number in [1, 0x8000_0000, u32::MAX, 0] {
        first.invoke(ta::CRYPT_SET_GLOBAL, &mut ta::numbers(number, 0))?;
        second.invoke(ta::CRYPT_SET_GLOBAL, &mut ta::numbers(!number, 0))?;
        checks.equal(get(&first)?, number);
        checks.equal(get(&second)?, !number);
    }
    Ok(())
}

fn nothing(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    checks.sub("no bytes", |checks| {
        checks.equal(ta::sha256(&tee.open(ta::CRYPT)?, &[])?, digest(&[]));
        Ok(())
    });
    checks.sub("no memory is not the same as no bytes", |checks| {
        let session = tee.open(ta::OS_TEST)?;
        let mut buffer = [0; 1];
        let mut operation = Operation::new([
            Parameter::input(&[]),
            Parameter::null(),
            Parameter::output(&mut buffer),
            Parameter::null(),
        ]);
        // The command wants null pointers in other places: it must notice, and live.
        let result = session.invoke(ta::OS_TEST_NULL_MEMORY, &mut operation);
        checks.check(result.is_err(), "it took no bytes for no memory");
        checks.succeeds(tee.open(ta::OS_TEST));
        Ok(())
    });
    Ok(())
}

fn short_output(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let session = tee.open(ta::CRYPT)?;
    for room in [0, 1, 31] {
        let mut output = vec![0xee; room];
        let mut operation = Operation::new([
            Parameter::input(b"abc"),
            Parameter::output(&mut output),
            Parameter::none(),
            Parameter::none(),
        ]);
        let result = session.invoke(ta::CRYPT_SHA256, &mut operation);
        checks.check(result.is_err(), &format!("a digest fits into {room} bytes"));
        drop(operation);
        checks.check(output.iter().all(|byte| *byte == 0xee), "it wrote something all the same");
    }
    let mut output = [0; 64];
    let mut operation = Operation::new([
        Parameter::input(b"abc"),
        Parameter::output(&mut output),
        Parameter::none(),
        Parameter::none(),
    ]);
    session.invoke(ta::CRYPT_SHA256, &mut operation)?;
    drop(operation);
    checks.equal(&output[..32], &digest(b"abc")[..]);
    checks.equal(&output[32..], &[0; 32][..]);
    Ok(())
}

fn sizes(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::CRYPT)?;
    for size in [1, 7, 8, 63, 64, 65, 4095, 4096, 4097, 8191, 8192, 8193, 65535, 65536, 65537] {
        let bytes = pattern(size);
        checks.equal(ta::sha256(&session, &bytes)?, digest(&bytes));
    }
    Ok(())
}

fn input_stays(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::CRYPT)?;
    let bytes = pattern(5000);
    ta::sha256(&session, &bytes)?;
    checks.equal(bytes, pattern(5000));
    Ok(())
}

/// SHA-256 of a parameter that refers to shared memory.
fn sha256_of(session: &Session, parameter: Parameter<'_>) -> Result<[u8; 32], TeeError> {
    let mut digest = [0; 32];
    let mut operation = Operation::new([
        parameter,
        Parameter::output(&mut digest),
        Parameter::none(),
        Parameter::none(),
    ]);
    session.invoke(ta::CRYPT_SHA256, &mut operation)?;
    drop(operation);
    Ok(digest)
}

fn whole(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let session = tee.open(ta::CRYPT)?;
    for size in [1, 4096, 10_000] {
        let mut memory = tee.allocate(size, Access::Input)?;
        checks.equal(sha256_of(&session, Parameter::whole(&mut memory))?, digest(&vec![0; size]));
        memory.write(0, &pattern(size))?;
        checks.equal(sha256_of(&session, Parameter::whole(&mut memory))?, digest(&pattern(size)));
    }
    Ok(())
}

fn parts(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let session = tee.open(ta::CRYPT)?;
    let bytes = pattern(20_000);
    let mut memory = tee.allocate(bytes.len(), Access::Both)?;
    memory.write(0, &bytes)?;
    for range in [0..0, 0..1, 1..2, 4095..4097, 4096..8192, 3..19_999, 0..20_000, 20_000..20_000] {
        let wanted = bytes.get(range.clone()).map(digest);
        let parameter = Parameter::partial(&mut memory, range, Access::Input)?;
        checks.equal(Some(sha256_of(&session, parameter)?), wanted);
    }
    // The TA writes into a part: what lies around it stays.
    let mut operation = Operation::new([
        Parameter::input(b"abc"),
        Parameter::partial(&mut memory, 1001..1033, Access::Output)?,
        Parameter::none(),
        Parameter::none(),
    ]);
    session.invoke(ta::CRYPT_SHA256, &mut operation)?;
    drop(operation);
    let mut after = vec![0; bytes.len()];
    memory.read(0, &mut after)?;
    let mut wanted = bytes;
    for (byte, written) in wanted.iter_mut().skip(1001).zip(digest(b"abc")) {
        *byte = written;
    }
    checks.check(after == wanted, "bytes around the part have changed, or those in it have not");
    Ok(())
}

fn refused(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let mut memory = tee.allocate(100, Access::Input)?;
    for range in [0..101, 100..101, usize::MAX - 1..usize::MAX] {
        let part = Parameter::partial(&mut memory, range, Access::Input).map(|_| ());
        checks.fails_from(part, Code::BadParameters, Origin::Api);
    }
    let backwards = std::ops::Range { start: 5, end: 4 };
    let part = Parameter::partial(&mut memory, backwards, Access::Input).map(|_| ());
    checks.fails_from(part, Code::BadParameters, Origin::Api);
    for access in [Access::Output, Access::Both] {
        let part = Parameter::partial(&mut memory, 0..100, access).map(|_| ());
        checks.fails_from(part, Code::AccessDenied, Origin::Api);
    }
    checks.fails(memory.write(99, &[0; 2]), Code::BadParameters);
    checks.fails(memory.read(usize::MAX, &mut [0; 2]), Code::BadParameters);
    Ok(())
}

fn many_calls(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let session = tee.open(ta::CRYPT)?;
    let mut memory = tee.allocate(4096, Access::Input)?;
    for round in 0..50_u8 {
        memory.write(0, &[round; 4096])?;
        checks.equal(sha256_of(&session, Parameter::whole(&mut memory))?, digest(&[round; 4096]));
    }
    Ok(())
}

fn registered(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let session = tee.open(ta::CRYPT)?;
    for size in [1, 100, 4096, 70_001] {
        let mut memory = tee.register(pattern(size), Access::Input)?;
        checks.equal(sha256_of(&session, Parameter::whole(&mut memory))?, digest(&pattern(size)));
        checks.equal(memory.into_bytes(), Some(pattern(size)));
    }
    let mut memory = tee.register(vec![0xee; 5000], Access::Both)?;
    let mut operation = Operation::new([
        Parameter::input(b"abc"),
        Parameter::partial(&mut memory, 4090..4122, Access::Output)?,
        Parameter::none(),
        Parameter::none(),
    ]);
    session.invoke(ta::CRYPT_SHA256, &mut operation)?;
    drop(operation);
    let bytes = memory.into_bytes().unwrap_or_default();
    checks.equal(bytes.get(4090..4122), Some(&digest(b"abc")[..]));
    checks.equal(bytes.iter().filter(|byte| **byte != 0xee).count() <= 32, true);
    Ok(())
}

fn big(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let session = tee.open(ta::CRYPT)?;
    for mebibytes in [1, 4] {
        checks.sub(&format!("{mebibytes} MiB as a temporary reference"), |checks| {
            let bytes = pattern(mebibytes << 20);
            checks.equal(ta::sha256(&session, &bytes)?, digest(&bytes));
            Ok(())
        });
        checks.sub(&format!("{mebibytes} MiB of shared memory"), |checks| {
            let bytes = pattern(mebibytes << 20);
            let mut memory = tee.allocate(bytes.len(), Access::Input)?;
            memory.write(0, &bytes)?;
            checks.equal(sha256_of(&session, Parameter::whole(&mut memory))?, digest(&bytes));
            Ok(())
        });
    }
    Ok(())
}

fn same_twice(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::CRYPT)?;
    let bytes = pattern(3000);
    let mut output = [0; 32];
    let mut operation = Operation::new([
        Parameter::input(&bytes),
        Parameter::output(&mut output),
        Parameter::input(&bytes),
        Parameter::input(&bytes),
    ]);
    // Two inputs more than the command takes: it may refuse them, but has to live.
    match session.invoke(ta::CRYPT_SHA256, &mut operation) {
        Ok(()) => {
            drop(operation);
            checks.equal(output, digest(&bytes));
        }
        Err(error) => {
            checks.equal(error.code, Code::BadParameters);
        }
    }
    checks.equal(ta::sha256(&session, &bytes)?, digest(&bytes));
    Ok(())
}

fn round_trip(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::CRYPT)?;
    let transform = |command, bytes: &[u8]| -> Result<Vec<u8>, TeeError> {
        let mut output = vec![0; bytes.len()];
        let mut operation = Operation::new([
            Parameter::input(bytes),
            Parameter::output(&mut output),
            Parameter::none(),
            Parameter::none(),
        ]);
        session.invoke(command, &mut operation)?;
        drop(operation);
        Ok(output)
    };
    for size in [16, 32, 4096, 65536] {
        let bytes = pattern(size);
        let encrypted = transform(ta::CRYPT_AES256_ECB_ENCRYPT, &bytes)?;
        checks.check(encrypted != bytes, "encryption changed nothing");
        checks.equal(transform(ta::CRYPT_AES256_ECB_DECRYPT, &encrypted)?, bytes);
    }
    Ok(())
}

fn wanted_room(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::DEVICES)?;
    let ask = |room: usize| {
        let mut devices = vec![0; room];
        let [second, third, fourth] = [Parameter::none(); 3];
        let first = Parameter::output(&mut devices);
        let mut operation = Operation::new([first, second, third, fourth]);
        let result = session.invoke(ta::DEVICES_GET, &mut operation);
        (result, operation.size(0).unwrap_or(0))
    };
    let (result, wanted) = ask(0);
    if wanted == 0 {
        checks.skip("this OP-TEE has no devices to list");
        return Ok(());
    }
    checks.fails(result, Code::ShortBuffer);
    // A list of UUIDs.
    checks.equal(wanted % 16, 0);
    checks.fails(ask(wanted - 1).0, Code::ShortBuffer);
    let (result, listed) = ask(wanted + 16);
    checks.succeeds(result);
    checks.equal(listed, wanted);
    Ok(())
}

fn core_reads(checks: &mut Checks) -> Result<(), Stop> {
    let session = match Tee::connect()?.open(ta::CORE_TESTS) {
        Err(error) if error.code == Code::ItemNotFound => {
            checks.skip("this OP-TEE is built without its own tests");
            return Ok(());
        }
        other => other?,
    };
    for size in [1, 255, 4096, 4097, 16_384] {
        let mut bytes = pattern(size);
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let [second, third, fourth] = [Parameter::none(); 3];
        let first = Parameter::inout(&mut bytes);
        let mut operation = Operation::new([first, second, third, fourth]);
        session.invoke(ta::CORE_TESTS_PARAMETERS, &mut operation)?;
        drop(operation);
        checks.equal(bytes.first().copied(), Some(sum));
        checks.equal(bytes.get(1..), pattern(size).get(1..));
    }
    Ok(())
}
