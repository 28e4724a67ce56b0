// SPDX-License-Identifier: MIT
//! `strongroom enroll`: the keys of a trusted application and its device, written down once.

use crate::tee::{OpteeOptions, Tee, TeeError};
use crate::verify::undecided;
use crate::workload::WorkloadOptions;
use anyhow::{Context as _, bail};
use clap::Args;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use strongroom_client::attest::{parse_nonce, random_challenge};
use strongroom_optee_package::Uuid;
use strongroom_optee_run::evidence;
use strongroom_token::{NONCE_LEN, Token, challenge_nonce};
use strongroom_verifier::{AttestationKey, Enrolment, Hex, Platform, Policy, verify_token};

/// What QEMU's machine calls itself in its device tree.
const QEMU_MACHINE: &str = "linux,dummy-virt";
const DEVICE_TREE: &str = "/proc/device-tree/compatible";

/// Write down the keys of a trusted application and of the device it runs on.
///
/// Neither key has a certificate: whoever enrols has to know which device this is. The file is given to
/// verify and attach as --enrolment. In QEMU the device is recorded as simulated, whatever is said: its
/// hardware key is the same everywhere.
///
/// Programs in the library OS answer this command. A service answers its clients only: --evidence is what
/// a client on this device got from it, for the nonce of the client's choice.
///
/// Exit status: 0, or 2 when it failed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  strongroom enroll --tee optee --uuid UUID -o device.toml
  strongroom enroll --tee optee --evidence token --nonce 5eed -o service.toml
  strongroom enroll --tee optee-qemu --storage device --manifest strongroom.toml -o simulated.toml")]
pub(crate) struct EnrollOptions {
    /// Where the application runs: optee is this device, optee-qemu packs the workload and boots a
    /// simulated one
    #[arg(long, value_name = "TEE")]
    tee: Tee,
    /// The file to write; standard output where none is named
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A service's evidence, as a client on this device got it a moment ago
    #[arg(long, value_name = "FILE", requires = "nonce", conflicts_with = "uuid")]
    evidence: Option<PathBuf>,
    /// What that evidence is bound to, in hexadecimal, up to 64 bytes; zeros fill it up
    #[arg(long, value_name = "HEX", requires = "evidence", value_parser = parse_nonce)]
    nonce: Option<[u8; NONCE_LEN]>,
    #[command(flatten)]
    workload: WorkloadOptions,
    #[command(flatten, next_help_heading = "OP-TEE")]
    optee: OpteeOptions,
}

/// Enrols; the exit status.
pub(crate) fn enroll(options: EnrollOptions) -> ExitCode {
    undecided(try_enroll(options))
}

fn try_enroll(options: EnrollOptions) -> anyhow::Result<()> {
    let EnrollOptions { tee, output, evidence: file, nonce, workload, optee } = options;
    let text = match (tee, file.zip(nonce)) {
        (Tee::SnpSim, _) => return Err(TeeError::NothingToEnrol.into()),
        (Tee::Optee, Some((file, nonce))) => {
            let token = fs::read(&file);
            let token = token.with_context(|| format!("cannot read {}", file.display()))?;
            let platform = platform(Path::new(DEVICE_TREE));
            enrolment(platform, &token, &nonce, evidence::attestation_key()?)?.to_toml()
        }
        (Tee::Optee, None) => {
            let uuid = optee.name().context("--uuid says which application")?;
            here(uuid)?.to_toml()
        }
        (Tee::OpteeQemu, Some(_)) => {
            bail!("--evidence is for --tee optee: it is about this device")
        }
        (Tee::OpteeQemu, None) => {
            let text = String::from_utf8(optee.ask_in_machine(workload, &["enroll"])?)?;
            let enrolment = Enrolment::from_toml(&text)?;
            if enrolment.platform != Platform::Simulated {
                bail!("the machine does not know that it is simulated");
            }
            text
        }
    };
    write(output.as_deref(), text.as_bytes())
}

/// Writes a file, or to standard output.
pub(crate) fn write(output: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    match output {
        Some(path) => {
            fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
        }
        None => std::io::stdout().write_all(bytes).context("cannot write"),
    }
}

/// Of an application on this device.
fn here(uuid: Uuid) -> anyhow::Result<Enrolment> {
    let challenge = random_challenge()?;
    let token = evidence::answer(uuid, &challenge)?;
    let attestation_key = evidence::attestation_key()?;
    enrolment(platform(Path::new(DEVICE_TREE)), &token, &challenge, attestation_key)
}

/// An enrolment of the key that a token names, which has to be a good answer to the challenge under it.
fn enrolment(
    platform: Platform,
    token: &[u8],
    challenge: &[u8; NONCE_LEN],
    attestation_key: Option<AttestationKey>,
) -> anyhow::Result<Enrolment> {
    let statement = Token::parse(token).context("the application's answer")?.statement;
    let uuid = uuid::Uuid::from_bytes(statement.ta_uuid);
    let enrolment = Enrolment::new(platform, uuid, statement.identity_key, attestation_key)?;
    verify_token(token, &enrolment, &fresh(&challenge_nonce(challenge))?)
        .context("the application's answer")?;
    Ok(enrolment)
}

/// A policy that asks for nothing but the answer to this challenge.
fn fresh(nonce: &[u8; NONCE_LEN]) -> anyhow::Result<Policy> {
    let skipped = ["ta_uuids", "min_ta_version", "package_digests", "memory_hashes"];
    let skipped = skipped.map(|key| format!("{key} = \"skip\"\n")).concat();
    let text = format!(
        "version = 1\ninsecure_accept_simulated_roots = \"any\"\n[optee]\n{skipped}\
         identity_key_ids = \"skip\"\nreport_data = \"{}\"\n",
        Hex(*nonce)
    );
    Ok(Policy::from_toml(&text)?)
}

fn platform(device_tree: &Path) -> Platform {
    let names = fs::read(device_tree).unwrap_or_default();
    let simulated = names.split(|byte| *byte == 0).any(|name| name == QEMU_MACHINE.as_bytes());
    if simulated { Platform::Simulated } else { Platform::Device }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_attestation_testing::application::Application;

    fn answered(challenge: &[u8; NONCE_LEN]) -> Vec<u8> {
        let mut application = Application::new();
        application.statement.nonce = challenge_nonce(challenge);
        application.token()
    }

    #[test]
    fn an_answer_to_the_challenge_is_enrolled_and_no_other() {
        let challenge = [4; NONCE_LEN];
        let enrol = |token: &[u8]| enrolment(Platform::Device, token, &challenge, None);
        let made = enrol(&answered(&challenge)).unwrap();
        let expected = Application::new().enrolment_text("device");
        let expected = Enrolment::from_toml(&expected).unwrap();
        assert_eq!((made.ta_uuid, made.identity_key), (expected.ta_uuid, expected.identity_key));
        assert!(enrol(&answered(&[5; NONCE_LEN])).is_err(), "of another challenge");
        let mut changed = answered(&challenge);
        *changed.last_mut().unwrap() ^= 1;
        assert!(enrol(&changed).is_err());
        // The device's key has to have signed what the token repeats of it.
        let other = AttestationKey { modulus: vec![0xc5; 256], exponent: vec![1, 0, 1] };
        let token = answered(&challenge);
        assert!(enrolment(Platform::Device, &token, &challenge, Some(other)).is_err());
    }

    #[test]
    fn qemus_machine_is_a_simulation() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("compatible");
        assert_eq!(platform(&file), Platform::Device);
        fs::write(&file, b"vendor,board\0arm,cortex\0").unwrap();
        assert_eq!(platform(&file), Platform::Device);
        fs::write(&file, b"linux,dummy-virt\0").unwrap();
        assert_eq!(platform(&file), Platform::Simulated);
    }
}
