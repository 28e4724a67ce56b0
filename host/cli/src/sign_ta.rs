// SPDX-License-Identifier: MIT
//! `strongroom sign-ta`: a service's ELF file as an OP-TEE trusted application.

use crate::pack_ta::signed;
use crate::report;
use anyhow::Context as _;
use clap::Args;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_optee_package::Uuid;
use strongroom_optee_packer::{Packed, memory_hash};

/// Sign a service that was built as an OP-TEE trusted application.
///
/// The service's ELF file becomes UUID.ta. Its own header has to have the same name: OP-TEE compares
/// them when it loads it.
///
/// Printed is the UUID; standard error has the memory hash, which a policy for the service's evidence
/// names. With --json both are printed.
#[derive(Args, Debug)]
pub(crate) struct SignTaOptions {
    /// The file that the linker made
    #[arg(value_name = "FILE")]
    elf: PathBuf,
    /// Name of the trusted application
    #[arg(long)]
    uuid: Uuid,
    /// Version of the trusted application: OP-TEE refuses to go back to a lower one
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    ta_version: u32,
    /// Private RSA key that OP-TEE was built to trust, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Folder for the file
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Print UUID, memory hash and file as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn sign_file(options: &SignTaOptions) -> anyhow::Result<ExitCode> {
    let elf = fs::read(&options.elf);
    let elf = elf.with_context(|| format!("cannot read {}", options.elf.display()))?;
    let (uuid, ta_version) = (options.uuid, options.ta_version);
    let packed = Packed { elf, uuid, ta_version, digest: [0; 32], replaced: Vec::new() };
    let memory_hash = report::hex(&memory_hash(&packed.elf)?);
    let file = options.output.join(format!("{uuid}.ta"));
    let signed = signed(&packed, &options.key)?;
    fs::write(&file, signed).with_context(|| format!("cannot write {}", file.display()))?;
    if options.json {
        let uuid = uuid.to_string();
        println!(
            "{}",
            serde_json::json!({"ta_uuid": uuid, "memory_hash": memory_hash, "file": file})
        );
    } else {
        println!("{uuid}");
        report::line(&format!("memory hash sha256:{memory_hash}"));
    }
    Ok(ExitCode::SUCCESS)
}
