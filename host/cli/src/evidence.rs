// SPDX-License-Identifier: MIT
//! `strongroom evidence`: a trusted application's answer to a challenge.

use crate::enroll::write;
use crate::tee::{OpteeOptions, Tee, TeeError};
use crate::verify::undecided;
use crate::workload::WorkloadOptions;
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_client::attest::parse_nonce;
use strongroom_optee_run::evidence;
use strongroom_verifier::Hex;

/// Ask a trusted application for evidence about itself.
///
/// The application need not run anything: it answers a challenge with a token, which verify judges with
/// the same --nonce and the --enrolment of application and device. In an SNP guest, programs ask by
/// themselves, at /sys/kernel/config/tsm/report.
///
/// Exit status: 0, or 2 when it failed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  strongroom evidence --tee optee --uuid UUID --nonce 5eed -o token
  strongroom verify token --policy policy.toml --nonce 5eed --enrolment device.toml")]
pub(crate) struct EvidenceOptions {
    /// Where the application is: optee is this device, optee-qemu packs the workload and boots a
    /// simulated one
    #[arg(long, value_name = "TEE")]
    tee: Tee,
    /// The challenge: up to 64 bytes in hexadecimal, of which the verifier says that nobody has seen
    /// them before
    #[arg(long, value_name = "HEX", value_parser = parse_nonce)]
    nonce: [u8; 64],
    /// The file to write; standard output where none is named
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    workload: WorkloadOptions,
    #[command(flatten, next_help_heading = "OP-TEE")]
    optee: OpteeOptions,
}

/// Asks; the exit status.
pub(crate) fn evidence(options: EvidenceOptions) -> ExitCode {
    undecided(try_evidence(options))
}

fn try_evidence(options: EvidenceOptions) -> anyhow::Result<()> {
    let EvidenceOptions { tee, nonce, output, workload, optee } = options;
    let token = match tee {
        Tee::SnpSim => return Err(TeeError::NotAsked.into()),
        Tee::Optee => {
            let uuid = optee.name().context("--uuid says which application")?;
            evidence::answer(uuid, &nonce)?
        }
        Tee::OpteeQemu => {
            let nonce = Hex(nonce).to_string();
            optee.ask_in_machine(workload, &["evidence", "--nonce", &nonce])?
        }
    };
    write(output.as_deref(), &token)
}
