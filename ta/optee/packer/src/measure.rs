// SPDX-License-Identifier: MIT
//! What OP-TEE's attestation PTA will find in the memory of a packed trusted application.
//!
//! `HASH_TA_MEMORY` takes SHA-256 over every region of the application that was mapped read-only,
//! smaller regions first and regions of one size in the order of their bytes, so that places in memory
//! do not matter (OP-TEE 4.10, `core/pta/attestation.c`). Regions are what the loader has mapped from
//! the file (`ldelf/ta_elf.c`): its first page, where it reads the headers, and each segment that is
//! not writable, filled up with zeros to whole pages.

use crate::PackError;
use crate::object::PAGE;
use goblin::elf::Elf;
use goblin::elf::program_header::{PF_W, PT_LOAD};
use sha2::{Digest as _, Sha256};
use strongroom_optee_package::DIGEST_LENGTH;

/// The hash that the PTA computes of this packed file, once it is loaded.
///
/// # Errors
///
/// [`PackError::LibraryOs`] for what is no ELF file.
pub fn memory_hash(elf: &[u8]) -> Result<[u8; DIGEST_LENGTH], PackError> {
    let parsed = Elf::parse(elf).map_err(|error| PackError::LibraryOs(error.to_string()))?;
    let whole_pages = |range: std::ops::Range<usize>| {
        let mut bytes = elf.get(range).unwrap_or_default().to_vec();
        bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
        bytes
    };
    let loads = parsed.program_headers.iter().filter(|header| header.p_type == PT_LOAD);
    let read_only = loads.filter(|header| header.p_flags & PF_W == 0);
    let mut regions: Vec<Vec<u8>> =
        read_only.map(|header| whole_pages(header.file_range())).collect();
    regions.push(whole_pages(0..PAGE as usize));
    regions.sort_by(|one, other| one.len().cmp(&other.len()).then_with(|| one.cmp(other)));
    let mut hash = Sha256::new();
    regions.iter().for_each(|region| hash.update(region));
    Ok(hash.finalize().into())
}
