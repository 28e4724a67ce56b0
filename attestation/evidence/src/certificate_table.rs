// SPDX-License-Identifier: MIT
//! The certificates that a host hands over with a report.
//!
//! An extended guest request answers with a table of identifiers, offsets and lengths, and the
//! certificates behind it (AMD's *Guest-Hypervisor Communication Block Standardization*, document
//! 56421, section on the SNP extended guest request). Linux passes it on as `auxblob` of
//! configfs-tsm and as the certificate buffer of `/dev/sev-guest`. All of it is the host's word.

use core::fmt;

/// Most bytes of a table with its certificates: Linux lends the host four pages by default.
pub const CERTIFICATE_TABLE_LEN_MAX: usize = 64 << 10;

/// Most entries. AMD names five kinds; a host may add its own.
const ENTRIES_MAX: usize = 32;

const GUID_LEN: usize = 16;
const ENTRY_LEN: usize = 24;

/// The kinds of certificates that have an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateKind {
    /// The root.
    Ark,
    /// The issuer of chips' own keys. Hosts that hand over a VLEK put the ASVK here.
    Ask,
    /// The chip's own key.
    Vcek,
    /// A key that a provider loaded.
    Vlek,
    /// A revocation list.
    Crl,
}

impl CertificateKind {
    /// Its identifier, as the bytes of the usual text form:
    /// `c0b406a4-a803-4952-9743-3fb6014cd0ae` and so on.
    const fn guid(self) -> [u8; GUID_LEN] {
        let guid: u128 = match self {
            Self::Ark => 0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae,
            Self::Ask => 0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782,
            Self::Vcek => 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd,
            Self::Vlek => 0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1,
            Self::Crl => 0x92f8_1bc3_5811_4d3d_97ff_d19f_88dc_67ea,
        };
        guid.to_be_bytes()
    }
}

/// Bytes that are no certificate table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTable {
    /// Over [`CERTIFICATE_TABLE_LEN_MAX`].
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// There is no entry of zeros that ends the table, or not among the first few.
    NoEnd,
    /// An entry's certificate lies outside the bytes given.
    OutOfReach {
        /// Which entry, from 0.
        entry: usize,
    },
    /// Two entries have the same identifier.
    Twice {
        /// The second of them, from 0.
        entry: usize,
    },
}

impl fmt::Display for BadTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { found } => {
                write!(f, "{found} bytes, and {CERTIFICATE_TABLE_LEN_MAX} are the limit")
            }
            Self::NoEnd => write!(f, "no end within {ENTRIES_MAX} entries"),
            Self::OutOfReach { entry } => write!(f, "entry {entry} points outside the table"),
            Self::Twice { entry } => write!(f, "entry {entry} repeats an identifier"),
        }
    }
}

impl core::error::Error for BadTable {}

/// A table whose entries all point inside it. What they point at is not looked at.
#[derive(Clone, Copy, Debug)]
pub struct CertificateTable<'a> {
    bytes: &'a [u8],
}

#[derive(Clone, Copy)]
struct Entry {
    guid: [u8; GUID_LEN],
    offset: u32,
    len: u32,
}

impl<'a> CertificateTable<'a> {
    /// Checks the table at the start of `bytes`. What lies behind the certificates is ignored:
    /// hosts hand over whole pages.
    ///
    /// # Errors
    /// [`BadTable`] says what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadTable> {
        if bytes.len() > CERTIFICATE_TABLE_LEN_MAX {
            return Err(BadTable::TooLong { found: bytes.len() });
        }
        let table = Self { bytes };
        for index in 0..ENTRIES_MAX {
            let entry = table.entry(index).ok_or(BadTable::NoEnd)?;
            if entry.guid == [0; GUID_LEN] {
                return Ok(table);
            }
            if entry.find(bytes).is_none() {
                return Err(BadTable::OutOfReach { entry: index });
            }
            let mut before = (0..index).filter_map(|earlier| table.entry(earlier));
            if before.any(|earlier| earlier.guid == entry.guid) {
                return Err(BadTable::Twice { entry: index });
            }
        }
        Err(BadTable::NoEnd)
    }

    /// The certificate of that kind, as the host wrote it: DER, of some hosts PEM.
    #[must_use]
    pub fn certificate(&self, kind: CertificateKind) -> Option<&'a [u8]> {
        let entries = (0..ENTRIES_MAX).map_while(|index| self.entry(index));
        let mut used = entries.take_while(|entry| entry.guid != [0; GUID_LEN]);
        used.find(|entry| entry.guid == kind.guid())?.find(self.bytes)
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        let rest = self.bytes.get(index.checked_mul(ENTRY_LEN)?..)?;
        let (guid, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (len, _) = rest.split_first_chunk()?;
        let (offset, len) = (u32::from_le_bytes(*offset), u32::from_le_bytes(*len));
        Some(Entry { guid: *guid, offset, len })
    }
}

impl Entry {
    fn find(self, bytes: &[u8]) -> Option<&[u8]> {
        let start = usize::try_from(self.offset).ok()?;
        let end = start.checked_add(usize::try_from(self.len).ok()?)?;
        bytes.get(start..end)
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
mod tests {
    use super::*;

    /// A table of these entries with 16 bytes behind it, and how long that is.
    fn table(entries: &[(CertificateKind, u32, u32)]) -> ([u8; 256], usize) {
        let mut bytes = [0xaa; 256];
        for (index, (kind, offset, len)) in entries.iter().enumerate() {
            let at = index * ENTRY_LEN;
            bytes[at..at + 16].copy_from_slice(&kind.guid());
            bytes[at + 16..at + 20].copy_from_slice(&offset.to_le_bytes());
            bytes[at + 20..at + 24].copy_from_slice(&len.to_le_bytes());
        }
        let end = entries.len() * ENTRY_LEN;
        bytes[end..end + ENTRY_LEN].fill(0);
        (bytes, end + ENTRY_LEN + 16)
    }

    #[test]
    fn certificates_are_found_by_kind() {
        let (bytes, len) = table(&[(CertificateKind::Vcek, 72, 4), (CertificateKind::Ask, 76, 12)]);
        let table = CertificateTable::parse(&bytes[..len]).unwrap();
        assert_eq!(table.certificate(CertificateKind::Vcek), Some(&[0xaa; 4][..]));
        assert_eq!(table.certificate(CertificateKind::Ask), Some(&[0xaa; 12][..]));
        assert_eq!(table.certificate(CertificateKind::Vlek), None);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let parse = |bytes: &[u8]| CertificateTable::parse(bytes).map(|_| ());
        let (bytes, len) = table(&[(CertificateKind::Vcek, 48, 17)]);
        assert_eq!(parse(&bytes[..len]), Err(BadTable::OutOfReach { entry: 0 }));
        let (bytes, len) = table(&[(CertificateKind::Vcek, u32::MAX, u32::MAX)]);
        assert_eq!(parse(&bytes[..len]), Err(BadTable::OutOfReach { entry: 0 }));
        let (bytes, len) = table(&[(CertificateKind::Ark, 72, 1), (CertificateKind::Ark, 72, 1)]);
        assert_eq!(parse(&bytes[..len]), Err(BadTable::Twice { entry: 1 }));
        let (bytes, _) = table(&[(CertificateKind::Ark, 0, 1), (CertificateKind::Ask, 0, 1)]);
        assert_eq!(parse(&bytes[..50]), Err(BadTable::NoEnd));
        assert_eq!(parse(&[]), Err(BadTable::NoEnd));
        let long = [0; CERTIFICATE_TABLE_LEN_MAX + 1];
        assert_eq!(parse(&long), Err(BadTable::TooLong { found: long.len() }));
    }
}
