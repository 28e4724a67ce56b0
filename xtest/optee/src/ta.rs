// SPDX-License-Identifier: MIT
//! The TAs that cases talk to, and their commands.
//!
//! Source: the headers of OP-TEE's optee_test (`ta/*/include/ta_*.h`) and of the TA dev kit
//! (`pta_*.h`).

use std::{fs, path::PathBuf};

use strongroom_tee::{Login, Operation, Parameter, Session, Tee, TeeError, Uuid};

/// Basic features, faults, waiting. One instance a session.
pub(crate) const OS_TEST: Uuid = Uuid::from_u128(0x5b9e0e40_2636_11e1_ad9e_0002a5d5c51b);
pub(crate) const OS_TEST_PANIC: u32 = 6;
pub(crate) const OS_TEST_WAIT: u32 = 9;
pub(crate) const OS_TEST_BAD_MEMORY_ACCESS: u32 = 10;
pub(crate) const OS_TEST_LIBRARY_PANIC: u32 = 15;
pub(crate) const OS_TEST_NULL_MEMORY: u32 = 19;
pub(crate) const OS_TEST_CLIENT_IDENTITY: u32 = 20;

/// A program packed by `strongroom pack-ta`, `talk/talk.c`, with its root image. The harness puts both
/// there.
pub(crate) const TALK: Uuid = Uuid::from_u128(0xe4d1c9b2_6a57_4f0e_8c3b_7d5f2a914b60);
pub(crate) const TALK_IMAGE: &str = "/root/talk.image";
/// Its commands are this one and the one for evidence, 1; then there is none.
pub(crate) const TALK_TURN: u32 = 0;
pub(crate) const TALK_UNKNOWN: u32 = 2;

/// Cryptography.
pub(crate) const CRYPT: Uuid = Uuid::from_u128(0xcb3e5ba0_adf1_11e0_998b_0002a5d5c51b);
pub(crate) const CRYPT_SHA256: u32 = 2;
pub(crate) const CRYPT_AES256_ECB_ENCRYPT: u32 = 3;
pub(crate) const CRYPT_AES256_ECB_DECRYPT: u32 = 4;
pub(crate) const CRYPT_RANDOM: u32 = 32;
pub(crate) const CRYPT_SET_GLOBAL: u32 = 40;
pub(crate) const CRYPT_GET_GLOBAL: u32 = 41;

/// One instance, many sessions, a counter of sessions.
pub(crate) const SIMS: Uuid = Uuid::from_u128(0xe6a33ed4_562b_463a_bb7e_ff5e15a493c8);
pub(crate) const SIMS_GET_COUNTER: u32 = 3;
pub(crate) const SIMS_PANIC: u32 = 4;

/// Counts how many of its instances run at the same time.
pub(crate) const CONCURRENT: Uuid = Uuid::from_u128(0xe13010e0_2ae1_11e5_896a_0002a5d5c51b);
pub(crate) const CONCURRENT_BUSY_LOOP: u32 = 0;
pub(crate) const CONCURRENT_SHA256: u32 = 1;

/// Refuses to be created.
pub(crate) const CREATE_FAIL: Uuid = Uuid::from_u128(0xc3f6e2c0_3548_11e1_b86c_0800200c9a66);

/// Two TAs with the same commands on trusted storage.
pub(crate) const STORAGE: Uuid = Uuid::from_u128(0xb689f2a7_8adf_477a_9f99_32e90c0ad0a2);
pub(crate) const STORAGE2: Uuid = Uuid::from_u128(0x731e279e_aafb_4575_a771_38caa6f0cca6);

/// A part of OP-TEE: enumerates devices.
pub(crate) const DEVICES: Uuid = Uuid::from_u128(0x7011a688_ddde_4053_a5a9_7b3c4ddf13b8);
pub(crate) const DEVICES_GET: u32 = 0;

/// A part of OP-TEE: tests of its own.
pub(crate) const CORE_TESTS: Uuid = Uuid::from_u128(0xd96a5b40_c3e5_21e3_8794_1002a5d5c61b);
pub(crate) const CORE_TESTS_PARAMETERS: u32 = 1;

/// A part of OP-TEE: signed measurements.
pub(crate) const ATTESTATION: Uuid = Uuid::from_u128(0x39800861_182a_4720_9b67_2bcd622bc0b5);
pub(crate) const ATTESTATION_PUBLIC_KEY: u32 = 0;
pub(crate) const ATTESTATION_TA_DIGEST: u32 = 1;
pub(crate) const ATTESTATION_TA_MEMORY: u32 = 2;
pub(crate) const ATTESTATION_TEE_MEMORY: u32 = 3;

/// Nobody has it.
pub(crate) const NOBODY: Uuid = Uuid::from_u128(0x0badc0de_0000_4000_8000_00000000dead);

/// Where `tee-supplicant` looks for TAs.
pub(crate) fn file(application: Uuid) -> PathBuf {
    PathBuf::from(format!("/usr/lib/optee_armtz/{application}.ta"))
}

/// A TA file, changed by `change` and put where the TEE finds it under another name; gone when
/// dropped.
#[derive(Debug)]
pub(crate) struct Planted(PathBuf);

impl Planted {
    pub(crate) fn new(
        from: Uuid,
        under: Uuid,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> std::io::Result<Self> {
        let mut bytes = fs::read(file(from))?;
        change(&mut bytes);
        let path = file(under);
        fs::write(&path, bytes)?;
        Ok(Self(path))
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        // The machine forgets it anyway.
        let _ = fs::remove_file(&self.0);
    }
}

/// SHA-256 of `bytes`, by a TA.
pub(crate) fn sha256(session: &Session, bytes: &[u8]) -> Result<[u8; 32], TeeError> {
    let mut digest = [0; 32];
    let mut operation = Operation::new([
        Parameter::input(bytes),
        Parameter::output(&mut digest),
        Parameter::none(),
        Parameter::none(),
    ]);
    session.invoke(CRYPT_SHA256, &mut operation)?;
    drop(operation);
    Ok(digest)
}

/// An operation with one pair of numbers for the TA.
pub(crate) fn numbers(a: u32, b: u32) -> Operation<'static> {
    let [first, second, third] = [Parameter::none(); 3];
    Operation::new([Parameter::value_input(a, b), first, second, third])
}

/// Opens a session as somebody.
pub(crate) fn open_as(tee: &Tee, application: Uuid, login: Login) -> Result<Session, TeeError> {
    tee.open_with(application, login, &mut Operation::empty())
}
