// SPDX-License-Identifier: MIT
//! Evidence of a trusted application, asked for from the normal world beside it.

use crate::RunError;
use strongroom_optee_package::Uuid;
use strongroom_tee::{Code, Operation, Parameter, Tee};
use strongroom_token::{NONCE_LEN, TOKEN_LEN_MAX};
use strongroom_verifier::AttestationKey;

/// The trusted application's command that answers a challenge.
const EVIDENCE: u32 = 1;
/// OP-TEE's attestation PTA, and its command for the public key (`pta_attestation.h`).
const ATTESTATION: &str = "39800861-182a-4720-9b67-2bcd622bc0b5";
const PUBLIC_KEY: u32 = 0;
/// `TEE_ALG_RSASSA_PKCS1_PSS_MGF1_SHA256`.
const RSASSA_PSS_SHA256: u32 = 0x7041_4930;
/// Most bytes of its RSA exponent and modulus.
const EXPONENT_MAX: usize = 8;
const MODULUS_MAX: usize = 512;

/// The token with which a trusted application answers a challenge.
///
/// # Errors
///
/// [`RunError`] says at which step it failed.
pub fn answer(uuid: Uuid, challenge: &[u8; NONCE_LEN]) -> Result<Vec<u8>, RunError> {
    let tee = Tee::connect().map_err(RunError::NoTee)?;
    let name = strongroom_tee::Uuid::from_bytes(uuid.0);
    let session = tee.open(name).map_err(|source| RunError::Open { uuid, source })?;
    let mut buffer = challenge.to_vec();
    buffer.resize(TOKEN_LEN_MAX, 0);
    let [second, third, fourth] = [Parameter::none(); 3];
    let mut operation = Operation::new([Parameter::inout(&mut buffer), second, third, fourth]);
    session.invoke(EVIDENCE, &mut operation).map_err(RunError::of_call)?;
    let size = operation.size(0).unwrap_or(0);
    drop(operation);
    buffer.truncate(size);
    Ok(buffer)
}

/// The key of the device's attestation PTA; none where OP-TEE is built without it.
///
/// # Errors
///
/// [`RunError`] where the PTA is there and gives no key that can be used.
pub fn attestation_key() -> Result<Option<AttestationKey>, RunError> {
    let tee = Tee::connect().map_err(RunError::NoTee)?;
    let name = strongroom_tee::Uuid::parse_str(ATTESTATION)
        .map_err(|_| RunError::Protocol("the attestation PTA's name is none"))?;
    let session = match tee.open(name) {
        Ok(session) => session,
        Err(error) if error.code == Code::ItemNotFound => return Ok(None),
        Err(error) => return Err(RunError::Call(error)),
    };
    let (mut exponent, mut modulus) = (vec![0; EXPONENT_MAX], vec![0; MODULUS_MAX]);
    let mut operation = Operation::new([
        Parameter::output(&mut exponent),
        Parameter::output(&mut modulus),
        Parameter::value_output(),
        Parameter::none(),
    ]);
    session.invoke(PUBLIC_KEY, &mut operation).map_err(RunError::Call)?;
    let sizes = (operation.size(0).unwrap_or(0), operation.size(1).unwrap_or(0));
    let algorithm = operation.value(2).unwrap_or_default().0;
    drop(operation);
    if algorithm != RSASSA_PSS_SHA256 {
        return Err(RunError::Protocol("the attestation PTA signs with another algorithm"));
    }
    exponent.truncate(sizes.0);
    modulus.truncate(sizes.1);
    Ok(Some(AttestationKey { modulus, exponent }))
}
