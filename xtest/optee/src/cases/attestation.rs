// SPDX-License-Identifier: MIT
//! OP-TEE's attestation PTA, where it is built in.

use std::{fs, io};

use ed25519_dalek::{Signer as _, SigningKey};
use strongroom_optee_package::Uuid as Name;
use strongroom_optee_run::evidence;
use strongroom_tee::{Code, Operation, Parameter, Session, Tee, TeeError, Uuid};
use strongroom_token::{MemoryHash, NONCE_LEN, Statement, Token};
use strongroom_verifier::{AttestationKey, Enrolment, Hex, Platform, Policy, Reason, verify_token};

use super::case;
use crate::{
    suite::{Case, Checks, Stop},
    ta,
};

pub(super) const CASES: &[Case] = &[
    case(8001, "Attestation: the public key stays the same", public_key),
    case(8002, "Attestation: the digest in a TA's header", ta_digest),
    case(8003, "Attestation: the TEE's own memory", tee_memory),
    case(8004, "Attestation: bad nonces and short buffers", refused),
    case(8005, "Attestation: TA memory is for TAs only", ta_memory),
    case(8006, "Randomness: not twice the same", random),
    case(8007, "Attestation: a digest of a file is no evidence of memory", forged),
];

/// Bytes of a SHA-256 digest, which answers begin with.
const DIGEST: usize = 32;
/// Room for a digest and an RSA signature of up to 4096 bits.
const ROOM: usize = DIGEST + 512;

/// Where a signed header has the image's digest: after magic, type, size, algorithm, and the two
/// sizes. Source: OP-TEE, `include/signed_hdr.h`, `struct shdr`.
const HEADER_DIGEST: usize = 20;

/// A session with the PTA, or a word that this OP-TEE has none.
fn attestation(checks: &mut Checks) -> Result<Option<Session>, TeeError> {
    match Tee::connect()?.open(ta::ATTESTATION) {
        Ok(session) => Ok(Some(session)),
        Err(error) if error.code == Code::ItemNotFound => {
            checks.skip("this OP-TEE has no attestation PTA");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn key(session: &Session) -> Result<(Vec<u8>, Vec<u8>, u32), TeeError> {
    let (mut exponent, mut modulus) = (vec![0; 8], vec![0; 512]);
    let mut operation = Operation::new([
        Parameter::output(&mut exponent),
        Parameter::output(&mut modulus),
        Parameter::value_output(),
        Parameter::none(),
    ]);
    session.invoke(ta::ATTESTATION_PUBLIC_KEY, &mut operation)?;
    let sizes = (operation.size(0).unwrap_or(0), operation.size(1).unwrap_or(0));
    let algorithm = operation.value(2).unwrap_or_default().0;
    drop(operation);
    exponent.truncate(sizes.0);
    modulus.truncate(sizes.1);
    Ok((exponent, modulus, algorithm))
}

fn public_key(checks: &mut Checks) -> Result<(), Stop> {
    /// `TEE_ALG_RSASSA_PKCS1_PSS_MGF1_SHA256`.
    const PSS_SHA256: u32 = 0x7041_4930;
    let Some(session) = attestation(checks)? else { return Ok(()) };
    let (exponent, modulus, algorithm) = key(&session)?;
    checks.equal(exponent, vec![1, 0, 1]);
    checks.check(modulus.len() >= 256, "the key has less than 2048 bits");
    checks.check(modulus.first().is_some_and(|byte| *byte >= 0x80), "the modulus is too small");
    checks.equal(algorithm, PSS_SHA256);
    let Some(other) = attestation(checks)? else { return Ok(()) };
    checks.equal(key(&other)?.1, modulus);
    Ok(())
}

/// A measurement: the digest, and the signature behind it.
fn measure(
    session: &Session,
    command: u32,
    inputs: [&[u8]; 2],
    room: usize,
) -> Result<Vec<u8>, TeeError> {
    let mut output = vec![0; room];
    let [first, second] = inputs;
    let mut operation = if command == ta::ATTESTATION_TA_DIGEST {
        Operation::new([
            Parameter::input(first),
            Parameter::input(second),
            Parameter::output(&mut output),
            Parameter::none(),
        ])
    } else {
        Operation::new([
            Parameter::input(second),
            Parameter::output(&mut output),
            Parameter::none(),
            Parameter::none(),
        ])
    };
    session.invoke(command, &mut operation)?;
    let size = operation.size(1).filter(|_| command != ta::ATTESTATION_TA_DIGEST);
    let size = size.or(operation.size(2)).unwrap_or(0);
    drop(operation);
    output.truncate(size);
    Ok(output)
}

/// A UUID as TAs have it in memory: three numbers in this machine's order, then bytes.
fn in_memory(uuid: Uuid) -> Vec<u8> {
    let (low, middle, high, rest) = uuid.as_fields();
    let numbers = [&low.to_le_bytes()[..], &middle.to_le_bytes(), &high.to_le_bytes()];
    [&numbers.concat(), &rest[..]].concat()
}

fn ta_digest(checks: &mut Checks) -> Result<(), Stop> {
    let Some(session) = attestation(checks)? else { return Ok(()) };
    let modulus = key(&session)?.1.len();
    for application in [ta::CRYPT, ta::OS_TEST] {
        let file = fs::read(ta::file(application))?;
        let wanted = file.get(HEADER_DIGEST..HEADER_DIGEST + DIGEST).ok_or(Stop)?;
        let uuid = in_memory(application);
        let answer = measure(&session, ta::ATTESTATION_TA_DIGEST, [&uuid, b"nonce"], ROOM)?;
        checks.equal(answer.len(), DIGEST + modulus);
        checks.equal(answer.get(..DIGEST), Some(wanted));
        let again = measure(&session, ta::ATTESTATION_TA_DIGEST, [&uuid, b"other nonce"], ROOM)?;
        checks.equal(again.get(..DIGEST), Some(wanted));
        checks.check(again.get(DIGEST..) != answer.get(DIGEST..), "a signature for any nonce");
    }
    let nobody = in_memory(ta::NOBODY);
    let answer = measure(&session, ta::ATTESTATION_TA_DIGEST, [&nobody, b"nonce"], ROOM);
    checks.check(answer.is_err(), "a TA that is not there has a digest");
    Ok(())
}

fn tee_memory(checks: &mut Checks) -> Result<(), Stop> {
    let Some(session) = attestation(checks)? else { return Ok(()) };
    let first = measure(&session, ta::ATTESTATION_TEE_MEMORY, [b"", b"nonce"], ROOM)?;
    let second = measure(&session, ta::ATTESTATION_TEE_MEMORY, [b"", b"nonce"], ROOM)?;
    checks.equal(first.get(..DIGEST), second.get(..DIGEST));
    checks.check(first.get(..DIGEST) != Some(&[0; DIGEST][..]), "the digest is empty");
    Ok(())
}

fn refused(checks: &mut Checks) -> Result<(), Stop> {
    let Some(session) = attestation(checks)? else { return Ok(()) };
    let command = ta::ATTESTATION_TEE_MEMORY;
    checks.fails(measure(&session, command, [b"", b""], ROOM), Code::BadParameters);
    for room in [0, 1, DIGEST, DIGEST + 1] {
        checks.fails(measure(&session, command, [b"", b"nonce"], room), Code::ShortBuffer);
    }
    let short = measure(&session, ta::ATTESTATION_TA_DIGEST, [b"no UUID", b"nonce"], ROOM);
    checks.fails(short, Code::BadParameters);
    Ok(())
}

fn ta_memory(checks: &mut Checks) -> Result<(), Stop> {
    let Some(session) = attestation(checks)? else { return Ok(()) };
    let answer = measure(&session, ta::ATTESTATION_TA_MEMORY, [b"", b"nonce"], ROOM);
    checks.fails(answer, Code::AccessDenied);
    Ok(())
}

/// A client in the normal world makes up a token: with a key of its own, and a digest that the PTA signs
/// for anybody, over the nonce that evidence has.
fn forged(checks: &mut Checks) -> Result<(), Stop> {
    let Some(session) = attestation(checks)? else { return Ok(()) };
    if !ta::file(ta::TALK).exists() {
        checks.skip("no packed program is installed");
        return Ok(());
    }
    let (exponent, modulus, _) = key(&session)?;
    let honest = evidence::answer(Name(*ta::TALK.as_bytes()), &[5; NONCE_LEN])?;
    let said = Token::parse(&honest).map_err(io::Error::other)?.statement;
    let memory = said.memory.clone().ok_or(Stop)?;
    let attacker = SigningKey::from_bytes(&[7; 32]);
    let identity_key = attacker.verifying_key().to_bytes();
    let mut made_up = Statement { identity_key, memory: None, ..said.clone() };
    let nonce = made_up.memory_nonce();
    let uuid = in_memory(ta::TALK);
    let answer = measure(&session, ta::ATTESTATION_TA_DIGEST, [&uuid, &nonce], ROOM)?;
    let (digest, signature) = answer.split_first_chunk().ok_or(Stop)?;
    let mut judge = |hash: [u8; DIGEST], enrolled: [u8; 32]| {
        made_up.memory = Some(MemoryHash { hash, signature: signature.to_vec() });
        let token = made_up.to_token(|signed| attacker.sign(signed).to_bytes());
        verdict(&token.unwrap_or_default(), enrolled, &memory.hash, (&exponent, &modulus))
    };
    checks.equal(judge(*digest, said.identity_key), "token.identity_key".to_owned());
    // Enrolled himself, he has what the PTA has signed; but it is not what is asked for.
    checks.equal(judge(*digest, identity_key), "optee.memory_hashes".to_owned());
    checks.equal(judge(memory.hash, identity_key), "token.memory_signature".to_owned());
    let accepted = verdict(&honest, said.identity_key, &memory.hash, (&exponent, &modulus));
    checks.equal(accepted, "accepted".to_owned());
    Ok(())
}

/// The check that refuses a token, under an enrolment of that identity key and the device's own.
fn verdict(
    token: &[u8],
    identity_key: [u8; 32],
    memory_hash: &[u8; DIGEST],
    (exponent, modulus): (&[u8], &[u8]),
) -> String {
    let skipped =
        ["ta_uuids", "min_ta_version", "package_digests", "identity_key_ids", "report_data"];
    let skipped = skipped.map(|name| format!("{name} = 'skip'\n")).concat();
    let hash = Hex(*memory_hash);
    let policy = format!("version = 1\n[optee]\nmemory_hashes = ['{hash}']\n{skipped}");
    let key = AttestationKey { modulus: modulus.to_vec(), exponent: exponent.to_vec() };
    let enrolment = Enrolment::new(Platform::Device, ta::TALK, identity_key, Some(key));
    match (Policy::from_toml(&policy), enrolment) {
        (Ok(policy), Ok(enrolment)) => match verify_token(token, &enrolment, &policy) {
            Ok(_) => "accepted".to_owned(),
            Err(refusal) => Reason::from(&refusal).check,
        },
        (Err(error), _) => error.to_string(),
        (Ok(_), Err(error)) => error.to_string(),
    }
}

fn random(checks: &mut Checks) -> Result<(), Stop> {
    let session = Tee::connect()?.open(ta::CRYPT)?;
    let mut seen: Vec<[u8; 16]> = Vec::new();
    for _ in 0..20 {
        let mut bytes = [0; 16];
        let [second, third, fourth] = [Parameter::none(); 3];
        let first = Parameter::output(&mut bytes);
        let mut operation = Operation::new([first, second, third, fourth]);
        session.invoke(ta::CRYPT_RANDOM, &mut operation)?;
        drop(operation);
        checks.check(!seen.contains(&bytes), "the same 16 bytes came twice");
        seen.push(bytes);
    }
    Ok(())
}
