// SPDX-License-Identifier: MIT
//! AMD's own guest tool, as crates.io has it, in the payload: it asks for a report, gets the host's
//! certificates and verifies the one with the other; then this project's verifier judges the report.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    attested::{Desk, LIMIT, policy},
    build::Built,
    process,
    root::{Root, Set},
    toolchain::cargo,
    workspace::Workspace,
};

const TOOL: &str = "snpguest";
const VERSION: &str = "0.11.0";
/// The level that it asks for when nobody tells it otherwise.
const LEVEL: u8 = 1;
/// What it wrote goes to standard output, what it said to standard error.
const SCRIPT: &str = "cd /tmp && { snpguest report report nonce --random && \
    snpguest certificates pem certificates && \
    snpguest verify certs certificates && \
    snpguest verify attestation certificates report; } >&2 && \
    cd certificates && cat ../report ../nonce vcek.pem ask.pem ark.pem";
const REPORT_LEN: usize = 1184;
const NONCE_LEN: usize = 64;
const PEM_START: &str = "-----BEGIN";
/// In the order of the script, by the names of `verify`'s options.
const CERTIFICATES: [&str; 3] = ["vcek", "ask", "ark"];

pub(super) fn check(workspace: &Workspace, built: &Built) -> Result<()> {
    let desk = Desk::new(built)?;
    let root = root(workspace, &desk)?;
    let manifest = format!(
        "[workload]\nprogram = '/bin/sh'\narguments = ['-c', '''{SCRIPT}''']\n\
         [image]\nroot = '{}'\n",
        root.display()
    );
    desk.pack(TOOL, built.payload(), &manifest)?;
    let ran = process::capture(&mut desk.run(TOOL), b"", LIMIT)?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status == 0, "status {}: {said}", ran.status);
    ensure!(said.contains("VEK signed the Attestation Report"), "it did not verify: {said}");
    let (report, rest) = ran.stdout.split_at_checked(REPORT_LEN).context("no report")?;
    let (nonce, certificates) = rest.split_at_checked(NONCE_LEN).context("no nonce")?;
    fs::write(desk.path("report"), report)?;
    let policy = policy(&desk.measured(TOOL)?, LEVEL);
    keep(&desk, &String::from_utf8_lossy(certificates))?;
    let nonce = hex::encode(nonce);
    let certificates = CERTIFICATES.map(|name| (name, desk.path(name)));
    let accepted = desk.judge(&policy, &nonce, &certificates, true)?;
    ensure!(accepted.status == 0, "{}", String::from_utf8_lossy(&accepted.stderr));
    let other = nonce.replace(['0', '1'], "2");
    let other = desk.judge(&policy, &other, &certificates, true)?;
    ensure!(other.status == 1, "another nonce: status {}", other.status);
    Ok(())
}

/// Each certificate in a file of its own.
fn keep(desk: &Desk<'_>, certificates: &str) -> Result<()> {
    let mut starts = certificates.match_indices(PEM_START).map(|(at, _)| at).collect::<Vec<_>>();
    ensure!(starts.len() == CERTIFICATES.len(), "{} certificates", starts.len());
    starts.push(certificates.len());
    for (name, range) in CERTIFICATES.iter().zip(starts.windows(2)) {
        let [start, end] = *range else { continue };
        fs::write(desk.path(name), certificates.get(start..end).unwrap_or_default())?;
    }
    Ok(())
}

/// The packages' root with the tool in it.
fn root(workspace: &Workspace, desk: &Desk<'_>) -> Result<PathBuf> {
    let place = workspace.target.join(format!("{TOOL}-{VERSION}"));
    let program = place.join("bin").join(TOOL);
    if !program.exists() {
        let mut install = cargo(workspace);
        install.args(["install", TOOL, "--version", VERSION, "--locked", "--root"]).arg(&place);
        // Optimised it would take minutes longer to build.
        install.arg("--debug").env("CARGO_PROFILE_DEV_DEBUG", "0");
        process::run_quietly(&mut install)?;
    }
    let root = desk.path("root");
    let made = Root::of_set(workspace, Set::Debian)?.folder;
    process::run_quietly(Command::new("cp").arg("-a").arg(made).arg(&root))?;
    fs::copy(&program, root.join("usr/bin").join(TOOL))?;
    Ok(root)
}
