// SPDX-License-Identifier: MIT
//! A service of its own gives evidence about itself and a key in it: the verifier takes it, under an
//! enrolment of this device, and takes nothing that was changed.

use strongroom_connect::Session;
use strongroom_keys::Algorithm;
use strongroom_optee_packer::memory_hash;
use strongroom_optee_run::evidence::attestation_key;
use strongroom_signer::{SignerClient, UUID, bound};
use strongroom_tee::Uuid;
use strongroom_token::{Token, challenge_nonce};
use strongroom_verifier::{Enrolment, Hex, Platform, Policy, Reason, verify_token};

use crate::{Failed, ensure};

/// The ELF file begins with it, behind OP-TEE's header.
const ELF: &[u8] = b"\x7fELF";

pub(crate) fn check() -> Result<(), Failed> {
    let way = strongroom_connect::to(&format!("optee:{UUID}"))?;
    let mut signer = SignerClient::<Session>::connect(way)?;
    let public = signer.public_key(Algorithm::P256)?;
    let evidence = signer.evidence(Algorithm::P256, [7; 32])?;
    let said = Token::parse(&evidence)?.statement;
    ensure(said.nonce == challenge_nonce(&bound(&[7; 32], &public)), "it is about this key")?;
    ensure(said.ta_uuid == *Uuid::parse_str(UUID)?.as_bytes(), "it is about this service")?;
    let other = Token::parse(&signer.evidence(Algorithm::P256, [8; 32])?)?.statement;
    ensure(other.nonce != said.nonce, "another nonce, another statement")?;
    ensure(other.identity_key == said.identity_key, "one service, one identity")?;
    let Some(key) = attestation_key()? else {
        ensure(said.memory.is_none(), "nobody has vouched for its memory")?;
        println!("skip: this OP-TEE has no attestation PTA");
        return Ok(());
    };
    let memory = said.memory.ok_or("its memory is hashed")?.hash;
    ensure(memory == expected()?, "its memory is that of its file")?;
    let judge = |evidence: &[u8], memory: [u8; 32]| -> Result<String, Failed> {
        let enrolment = Enrolment::new(
            Platform::Device,
            Uuid::parse_str(UUID)?,
            said.identity_key,
            Some(key.clone()),
        )?;
        Ok(match verify_token(evidence, &enrolment, &policy(memory)?) {
            Ok(_) => "accepted".to_owned(),
            Err(refusal) => Reason::from(&refusal).check,
        })
    };
    ensure(judge(&evidence, memory)? == "accepted", "the verifier takes it")?;
    ensure(judge(&evidence, [0; 32])? == "optee.memory_hashes", "not for another program")?;
    let mut changed = evidence.clone();
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    ensure(judge(&changed, memory)? != "accepted", "not when it was changed")?;
    println!("ok a service gives evidence about itself and its key");
    Ok(())
}

/// What `strongroom sign-ta` says of the file that OP-TEE has loaded.
fn expected() -> Result<[u8; 32], Failed> {
    let file = std::fs::read(format!("/usr/lib/optee_armtz/{UUID}.ta"))?;
    let start = file.windows(ELF.len()).position(|window| window == ELF);
    let elf = start.and_then(|start| file.get(start..)).ok_or("it is no ELF file")?;
    Ok(memory_hash(elf)?)
}

fn policy(memory: [u8; 32]) -> Result<Policy, Failed> {
    let skipped =
        ["ta_uuids", "min_ta_version", "package_digests", "identity_key_ids", "report_data"];
    let skipped = skipped.map(|name| format!("{name} = 'skip'\n")).concat();
    let hash = Hex(memory);
    Ok(Policy::from_toml(&format!("version = 1\n[optee]\nmemory_hashes = ['{hash}']\n{skipped}"))?)
}
