// SPDX-License-Identifier: MIT
//! What lies where in an SNP guest at its launch.
//!
//! The image builder puts it there, the payload finds it there: the first MiB above the legacy
//! area, below the payload. All of it but the memory map and the pages that the security processor
//! fills in is measured.
//!
//! | address | what | measured |
//! |---|---|---|
//! | [`LAUNCH_PAGE`] | [`LaunchPage`]: where the rest is | yes |
//! | [`PAGE_TABLES`] | page tables that the payload is entered with | yes |
//! | [`MEMORY_MAP`] | memory map, as the host describes it | place only |
//! | [`CPUID_PAGE`] | CPUID values that the security processor checked | place only |
//! | [`SECRETS_PAGE`] | keys of the guest's channel to the security processor | place only |
//! | [`RECORD`] | boot record | yes |
//! | [`PAYLOAD`] | the payload | yes |
#![no_std]
#![forbid(unsafe_code)]

pub mod fields;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// The same as a length.
pub const PAGE_LEN: usize = 4096;
/// The measured page that says where the others are.
pub const LAUNCH_PAGE: u64 = 0x10_0000;
/// Root table, table of pointers and directory, a page each.
pub const PAGE_TABLES: u64 = 0x10_1000;
/// The host's word on memory: entries of 24 bytes (IGVM, `IGVM_VHS_MEMORY_MAP_ENTRY`).
pub const MEMORY_MAP: u64 = 0x10_4000;
/// Bytes of the memory map.
pub const MEMORY_MAP_LEN: u64 = PAGE;
/// The CPUID page (AMD 56860, section 8.17, `PAGE_TYPE_CPUID`).
pub const CPUID_PAGE: u64 = 0x10_5000;
/// The secrets page (AMD 56860, section 8.17, `PAGE_TYPE_SECRETS`).
pub const SECRETS_PAGE: u64 = 0x10_6000;
/// The boot record, up to [`RECORD_LEN_MAX`] bytes.
pub const RECORD: u64 = 0x11_0000;
/// Most bytes of a boot record.
pub const RECORD_LEN_MAX: u64 = 64 << 10;
/// Where the payload is loaded; what is in front of it is never used as memory.
pub const PAYLOAD: u64 = 0x20_0000;

/// The bit of a page table entry that makes a page private, on all SNP processors so far. The
/// payload holds it against the CPUID page.
pub const PRIVATE_BIT: u32 = 51;

/// The name in the ELF note that names the payload's entries.
pub const NOTE_NAME: &str = "Strongroom";
/// The type of that note; its contents are two addresses: where the first processor enters, and
/// where the others park.
pub const NOTE_ENTRIES: u32 = 1;

const MAGIC: [u8; 8] = *b"SRSNPLP1";
const USED: usize = 72;

/// The contents of the page at [`LAUNCH_PAGE`], little-endian words behind eight bytes of magic;
/// the rest of the page is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchPage {
    /// Where the boot record is.
    pub record: u64,
    /// Its length in bytes.
    pub record_len: u64,
    /// Where the memory map is.
    pub memory_map: u64,
    /// Its length in bytes.
    pub memory_map_len: u64,
    /// Where the CPUID page is.
    pub cpuid: u64,
    /// Where the secrets page is.
    pub secrets: u64,
    /// The bit of a page table entry that makes a page private.
    pub private_bit: u32,
    /// How many processors were measured.
    pub processors: u32,
    /// `SEV_FEATURES` of their save areas.
    pub sev_features: u64,
}

/// Bytes that are no launch page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLaunchPage;

impl LaunchPage {
    /// The page for a boot record of that many bytes.
    #[must_use]
    pub const fn new(record_len: u64, processors: u32, sev_features: u64) -> Self {
        Self {
            record: RECORD,
            record_len,
            memory_map: MEMORY_MAP,
            memory_map_len: MEMORY_MAP_LEN,
            cpuid: CPUID_PAGE,
            secrets: SECRETS_PAGE,
            private_bit: PRIVATE_BIT,
            processors,
            sev_features,
        }
    }

    /// The bytes of the page.
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE_LEN] {
        let mut page = [0; PAGE_LEN];
        let bits = u64::from(self.private_bit) | u64::from(self.processors) << 32;
        let words = [
            u64::from_le_bytes(MAGIC),
            self.record,
            self.record_len,
            self.memory_map,
            self.memory_map_len,
            self.cpuid,
            self.secrets,
            bits,
            self.sev_features,
        ];
        for (to, word) in page.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        page
    }

    /// Reads a page, all of it or nothing.
    ///
    /// # Errors
    /// [`NoLaunchPage`] for another magic, and where the rest of the page is not zero.
    pub fn parse(page: &[u8; PAGE_LEN]) -> Result<Self, NoLaunchPage> {
        let (used, rest) = page.split_first_chunk::<USED>().ok_or(NoLaunchPage)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(NoLaunchPage);
        }
        let mut words = [0; USED / 8];
        for (word, bytes) in words.iter_mut().zip(used.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let [magic, record, record_len, memory_map, memory_map_len, cpuid, secrets, bits, features] =
            words;
        if magic != u64::from_le_bytes(MAGIC) {
            return Err(NoLaunchPage);
        }
        let [b0, b1, b2, b3, p0, p1, p2, p3] = bits.to_le_bytes();
        Ok(Self {
            record,
            record_len,
            memory_map,
            memory_map_len,
            cpuid,
            secrets,
            private_bit: u32::from_le_bytes([b0, b1, b2, b3]),
            processors: u32::from_le_bytes([p0, p1, p2, p3]),
            sev_features: features,
        })
    }
}

/// What the simulation adds: a table behind and a page in front of the boot record, in no measured image and
/// unknown to the release payload. The page is the mailbox through which an emulated processor exits
/// to its host.
///
/// A word is 8 bytes, little-endian. The guest writes the GHCB's register and then the next
/// number, and rings; the host writes the register as the guest is to find it, and then repeats the
/// number.
pub mod simulation {
    /// The page.
    pub const MAILBOX: u64 = 0x10_c000;
    /// Number of the latest exit; the guest's word.
    pub const EXIT: u64 = 0;
    /// The GHCB's register, at the exit and afterwards.
    pub const REGISTER: u64 = 8;
    /// Number of the latest exit that is done; the host's word.
    pub const DONE: u64 = 16;
    /// How many pages the table has entries for; the host's word.
    pub const PAGES: u64 = 24;

    /// The port that rings: the second serial port's data register.
    pub const BELL_PORT: u16 = 0x2f8;

    /// Where the reverse map table is, behind the longest boot record and in front of the payload:
    /// two bits for each page of memory, from the lowest bits of the first byte on.
    pub const TABLE: u64 = super::RECORD + super::RECORD_LEN_MAX;
    /// Most pages that the table has entries for.
    pub const PAGES_MAX: u64 = (super::PAYLOAD - TABLE) * 4;

    /// In an entry: the page is the guest's.
    pub const ASSIGNED: u8 = 1;
    /// In an entry: the guest has validated the page.
    pub const VALIDATED: u8 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_survives_and_damage_is_refused() {
        let page = LaunchPage::new(4096, 3, 9);
        let bytes = page.encode();
        assert_eq!(LaunchPage::parse(&bytes), Ok(page));
        for at in [0, 72, 4095] {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!(LaunchPage::parse(&damaged), Err(NoLaunchPage), "byte {at}");
        }
    }

    /// The layout is measured: this may gain cases, never change one.
    #[test]
    fn golden_bytes_hold() {
        let bytes = LaunchPage::new(0x2000, 2, 9).encode();
        assert_eq!(&bytes[..8], b"SRSNPLP1");
        assert_eq!(&bytes[8..24], b"\0\0\x11\0\0\0\0\0\0\x20\0\0\0\0\0\0");
        assert_eq!(&bytes[56..72], b"\x33\0\0\0\x02\0\0\0\x09\0\0\0\0\0\0\0");
    }
}
