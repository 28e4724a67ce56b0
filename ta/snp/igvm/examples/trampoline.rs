// SPDX-License-Identifier: MIT
//! Turns an IGVM file into an ELF that QEMU boots without SEV-SNP, for tests.
//!
//! `trampoline FILE.igvm MEBIBYTES OUTPUT.elf`

use std::error::Error;
use strongroom_snp_igvm::trampoline;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [igvm, mebibytes, output] = arguments.as_slice() else {
        return Err("usage: trampoline FILE.igvm MEBIBYTES OUTPUT.elf".into());
    };
    let memory = mebibytes.parse::<u32>().map_err(|error| format!("{mebibytes}: {error}"))?;
    let elf = trampoline::elf(&std::fs::read(igvm)?, u64::from(memory) << 20)?;
    std::fs::write(output, elf)?;
    Ok(())
}
