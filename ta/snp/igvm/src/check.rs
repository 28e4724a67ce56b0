// SPDX-License-Identifier: MIT
//! Whether a file is one that [`crate::LaunchImage::to_igvm`] could have written, as far as offsets
//! and lengths go.
//!
//! The crate `igvm` computes with offsets of a file before it looks whether they lie inside, and
//! panics where they do not. Nobody gets it to read a file that did not pass here.

use strongroom_snp_layout::{MEMORY_MAP_LEN, PAGE_LEN};

/// `IGVM_FIXED_HEADER`: magic, version, offset and size of the headers, file size, checksum.
const FIXED_HEADER_LEN: usize = 24;
/// Type and length in front of each header; headers are filled up to whole words of 8 bytes.
const HEADER_HEAD_LEN: usize = 8;

/// Where in the body of a header for a platform its type is, and the type of SEV-SNP. For others the
/// crate reads processors' contexts of other kinds.
const PLATFORM_TYPE_AT: usize = 5;
const SEV_SNP: u8 = 2;

/// Where in the bodies of all headers that have one the file offset is.
const FILE_OFFSET_AT: usize = 12;

const SUPPORTED_PLATFORM: u32 = 0x1;
const GUEST_POLICY: u32 = 0x101;
const PARAMETER_AREA: u32 = 0x301;
const PAGE_DATA: u32 = 0x302;
const PARAMETER_INSERT: u32 = 0x303;
const VP_CONTEXT: u32 = 0x304;
const SNP_ID_BLOCK: u32 = 0x30b;
const MEMORY_MAP: u32 = 0x30c;

/// Says what is wrong with a file.
pub(crate) fn check(file: &[u8]) -> Result<(), &'static str> {
    let word = |at: usize| read(file, at).ok_or("it is cut short");
    if word(8)? != FIXED_HEADER_LEN {
        return Err("its headers are not where they should be");
    }
    let data_at = word(12)?.checked_add(FIXED_HEADER_LEN).ok_or("its headers have no end")?;
    let headers = file.get(FIXED_HEADER_LEN..data_at).ok_or("its headers are cut short")?;
    let mut rest = headers;
    while !rest.is_empty() {
        let (head, behind) = rest.split_at_checked(HEADER_HEAD_LEN).ok_or("a header is cut")?;
        let length = read(head, 4).ok_or("a header is cut")?;
        let body = behind.get(..length).ok_or("a header is cut")?;
        check_header(read(head, 0).unwrap_or(0) as u32, body, data_at..file.len())?;
        let next = length.checked_next_multiple_of(8).ok_or("a header has no end")?;
        rest = behind.get(next..).ok_or("a header is cut")?;
    }
    Ok(())
}

fn check_header(kind: u32, body: &[u8], data: std::ops::Range<usize>) -> Result<(), &'static str> {
    let offset = || read(body, FILE_OFFSET_AT).ok_or("a header is cut");
    match kind {
        SUPPORTED_PLATFORM if body.get(PLATFORM_TYPE_AT) != Some(&SEV_SNP) => {
            Err("it is for another platform")
        }
        SUPPORTED_PLATFORM | GUEST_POLICY | PARAMETER_INSERT | SNP_ID_BLOCK | MEMORY_MAP => Ok(()),
        PARAMETER_AREA => {
            let length = body.first_chunk().map(|length| u64::from_le_bytes(*length));
            let known = length == Some(MEMORY_MAP_LEN) && offset()? == 0;
            if known { Ok(()) } else { Err("it has an area that is not ours") }
        }
        PAGE_DATA if offset()? == 0 => Ok(()),
        PAGE_DATA | VP_CONTEXT => {
            let start = offset()?;
            let end = start.checked_add(PAGE_LEN).ok_or("a page lies outside")?;
            let inside = data.start <= start && end <= data.end;
            if inside { Ok(()) } else { Err("a page lies outside") }
        }
        _ => Err("it has headers that are not ours"),
    }
}

/// A little-endian word of 4 bytes.
fn read(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*word) as usize)
}
