// SPDX-License-Identifier: MIT
//! What a TA that we did not write keeps for its session, by numbers that it gives out.

use sha2::{Digest as _, Sha256};
use strongroom_tee::{Code, Operation, Parameter, Session, Tee, TeeError};

use super::case;
use crate::{
    suite::{Case, Checks, Stop},
    ta,
};

pub(super) const CASES: &[Case] = &[
    case(11001, "Other TAs: a digest of pieces", pieces),
    case(11002, "Other TAs: arithmetic with numbers that they keep", arithmetic),
];

/// `TEE_ALG_SHA256` and `TEE_MODE_DIGEST`.
const SHA256: u32 = 0x5000_0004;
const DIGEST: u32 = 5;
const ALLOCATE: u32 = 5;
const FREE: u32 = 6;
const RESET: u32 = 8;
const COPY: u32 = 11;
const UPDATE: u32 = 12;
const FINISH: u32 = 13;

const NEW_NUMBER: u32 = 46;
const FREE_NUMBER: u32 = 49;
const FROM_BYTES: u32 = 50;
const FROM_WORD: u32 = 51;
const VALUE: u32 = 52;
const WORD: u32 = 53;
const BIT_COUNT: u32 = 55;
const COMPARE: u32 = 57;
const ADD: u32 = 59;
const MULTIPLY: u32 = 61;
const DIVIDE: u32 = 64;

/// Two pairs of numbers for the TA.
fn pairs(first: (u32, u32), second: (u32, u32)) -> Operation<'static> {
    Operation::new([
        Parameter::value_input(first.0, first.1),
        Parameter::value_input(second.0, second.1),
        Parameter::none(),
        Parameter::none(),
    ])
}

/// A pair of numbers for the TA; what it answers.
fn asked(session: &Session, command: u32, a: u32, b: u32) -> Result<u32, TeeError> {
    let mut operation = Operation::new([
        Parameter::value_input(a, b),
        Parameter::value_output(),
        Parameter::none(),
        Parameter::none(),
    ]);
    session.invoke(command, &mut operation)?;
    Ok(operation.value(1).map_or(0, |(a, _)| a))
}

fn told(session: &Session, command: u32, a: u32, b: u32) -> Result<(), TeeError> {
    session.invoke(command, &mut ta::numbers(a, b))
}

fn with_bytes(
    session: &Session,
    command: u32,
    first: (u32, u32),
    bytes: &[u8],
) -> Result<(), TeeError> {
    let mut operation = Operation::new([
        Parameter::value_input(first.0, first.1),
        Parameter::input(bytes),
        Parameter::none(),
        Parameter::none(),
    ]);
    session.invoke(command, &mut operation)
}

fn allocate(session: &Session) -> Result<u32, TeeError> {
    let mut operation = Operation::new([
        Parameter::value_inout(0, SHA256),
        Parameter::value_input(DIGEST, 0),
        Parameter::none(),
        Parameter::none(),
    ]);
    session.invoke(ALLOCATE, &mut operation)?;
    Ok(operation.value(0).map_or(0, |(handle, _)| handle))
}

fn finish(session: &Session, digest: u32, rest: &[u8]) -> Result<[u8; 32], TeeError> {
    let mut found = [0; 32];
    let mut operation = Operation::new([
        Parameter::value_input(digest, 0),
        Parameter::input(rest),
        Parameter::output(&mut found),
        Parameter::none(),
    ]);
    session.invoke(FINISH, &mut operation)?;
    drop(operation);
    Ok(found)
}

fn pieces(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::CRYPT)?;
    let wanted = |bytes: &[u8]| <[u8; 32]>::from(Sha256::digest(bytes));
    let (one, other) = (allocate(&session)?, allocate(&session)?);
    with_bytes(&session, UPDATE, (one, 0), b"first ")?;
    told(&session, COPY, other, one)?;
    with_bytes(&session, UPDATE, (one, 0), b"second ")?;
    checks.equal(finish(&session, one, b"third")?, wanted(b"first second third"));
    checks.equal(finish(&session, other, b"third")?, wanted(b"first third"));
    with_bytes(&session, UPDATE, (one, 0), b"forgotten")?;
    told(&session, RESET, one, 0)?;
    checks.equal(finish(&session, one, b"third")?, wanted(b"third"));
    told(&session, FREE, one, 0)?;
    told(&session, FREE, other, 0)?;
    Ok(())
}

fn arithmetic(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::CRYPT)?;
    let number = || asked(&session, NEW_NUMBER, 256, 0);
    let (a, b, product, rest) = (number()?, number()?, number()?, number()?);
    with_bytes(&session, FROM_BYTES, (a, 1), &[1, 0, 0, 0, 0, 0, 0, 0, 5])?;
    told(&session, FROM_WORD, b, 7)?;
    checks.equal(asked(&session, BIT_COUNT, a, 0)?, 65);
    checks.equal(asked(&session, COMPARE, a, b)?.cast_signed().signum(), 1);
    session.invoke(MULTIPLY, &mut pairs((a, b), (product, 0)))?;
    let mut bytes = [0; 16];
    let mut operation = Operation::new([
        Parameter::value_input(product, 0),
        Parameter::value_output(),
        Parameter::output(&mut bytes),
        Parameter::none(),
    ]);
    session.invoke(VALUE, &mut operation)?;
    let (sign, size) = (operation.value(1), operation.size(2));
    drop(operation);
    checks.equal((sign.map(|(sign, _)| sign), size), (Some(1), Some(9)));
    checks.equal(&bytes[..9], &[7, 0, 0, 0, 0, 0, 0, 0, 35]);
    session.invoke(ADD, &mut pairs((product, b), (product, 0)))?;
    session.invoke(DIVIDE, &mut pairs((product, a), (b, rest)))?;
    checks.equal((asked(&session, WORD, b, 0)?, asked(&session, WORD, rest, 0)?), (7, 7));
    checks.fails(asked(&session, WORD, product, 0), Code::Overflow);
    for number in [a, b, product, rest] {
        told(&session, FREE_NUMBER, number, 0)?;
    }
    checks.fails(asked(&session, WORD, a, 0), Code::BadParameters);
    Ok(())
}
