// SPDX-License-Identifier: MIT
//! Whether a report is genuine: made by the firmware of the chip that the chain is for. No
//! policy drops any of this.

use crate::claims::{TcbClaims, guest_level};
use crate::{CachedChain, KeyKind, Part, ProductLine, Refusal, SnpClaims};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use strongroom_evidence::{Malformed, REPORT_LEN, Report, SigningKey, TcbBytes, TcbVersion};

/// Checks `bytes` against `chain` and returns what they claim.
pub(crate) fn check(bytes: &[u8], chain: &CachedChain) -> Result<SnpClaims, Refusal> {
    let report = Report::parse(bytes)?;
    let whole: &[u8; REPORT_LEN] =
        bytes.try_into().map_err(|_| Malformed::Length { found: bytes.len() })?;
    check_signing_key(&report, chain)?;
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &chain.report_key)
        .verify(Report::signed_part(whole), &report.signature.to_fixed())
        .map_err(|_| Refusal::ReportSignature)?;
    let vmpl = guest_level(report.vmpl).ok_or(Refusal::HostRequested)?;
    check_processor(&report, chain)?;
    check_chip(&report, chain)?;
    let decode = |field, bytes: TcbBytes| {
        let decoded = bytes.decode(chain.line.tcb_layout());
        decoded.map_err(|malformed| Refusal::ReportTcb { field, malformed })
    };
    let reported = decode("reported", report.reported_tcb)?;
    check_reported_tcb(&chain.facts.tcb, &reported)?;
    let tcb = TcbClaims {
        current: decode("current", report.current_tcb)?.into(),
        committed: decode("committed", report.committed_tcb)?.into(),
        launch: decode("launch", report.launch_tcb)?.into(),
        reported: reported.into(),
    };
    Ok(SnpClaims::of(&report, vmpl, tcb, chain))
}

fn check_signing_key(report: &Report, chain: &CachedChain) -> Result<(), Refusal> {
    let found = match report.key_info.signing_key {
        SigningKey::Vcek => KeyKind::Vcek,
        SigningKey::Vlek => KeyKind::Vlek,
        SigningKey::None => return Err(Refusal::Unsigned),
    };
    if found != chain.kind {
        return Err(Refusal::SigningKey { expected: chain.kind, found });
    }
    Ok(())
}

/// Version 2 does not name the processor; there the chain alone says what it is.
fn check_processor(report: &Report, chain: &CachedChain) -> Result<(), Refusal> {
    let Some(cpu) = report.cpu() else { return Ok(()) };
    let found = match ProductLine::of_processor(cpu) {
        Some(line) if line == chain.line => return Ok(()),
        Some(line) => line.to_string(),
        None => format!("family {:#x} model {:#x}", cpu.family, cpu.model),
    };
    Err(Refusal::Processor { expected: chain.line, found })
}

fn check_chip(report: &Report, chain: &CachedChain) -> Result<(), Refusal> {
    let Some(chip_id) = &chain.facts.chip_id else { return Ok(()) };
    let (found, rest) = report.chip_id.split_at_checked(chip_id.len()).unwrap_or_default();
    if found == chip_id && rest.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let (expected, found) = (hex::encode(chip_id), hex::encode(report.chip_id));
    Err(Refusal::Chip { expected, found })
}

fn check_reported_tcb(expected: &TcbVersion, found: &TcbVersion) -> Result<(), Refusal> {
    let parts = [
        (Part::Fmc, expected.fmc.unwrap_or(0), found.fmc.unwrap_or(0)),
        (Part::BootLoader, expected.boot_loader, found.boot_loader),
        (Part::Tee, expected.tee, found.tee),
        (Part::Snp, expected.snp, found.snp),
        (Part::Microcode, expected.microcode, found.microcode),
    ];
    match parts.into_iter().find(|(_, expected, found)| expected != found) {
        None => Ok(()),
        Some((part, expected, found)) => Err(Refusal::ReportedTcb { part, expected, found }),
    }
}
