// SPDX-License-Identifier: MIT
//! Pages and save areas in the order in which they are loaded and measured.

use crate::digest::{Fold, SAVE_AREA_ADDRESS, Type};
use crate::payload::Payload;
use crate::{Digest, ImageError, Profile, save_area};
use igvm::snp_defs::SevVmsa;
use strongroom_snp_layout as layout;
use strongroom_snp_layout::{LaunchPage, PAGE, PAGE_LEN, PRIVATE_BIT};
use zerocopy::IntoBytes as _;

/// Entries of page tables: present, writable; and a page of 2 MiB.
const TABLE: u64 = 0b11;
const LARGE: u64 = 0x83;
const LARGE_PAGE: u64 = 2 << 20;

/// A page of the guest at its launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its guest physical address.
    pub address: u64,
    /// What it holds.
    pub kind: PageKind,
}

/// Where a page's contents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// These bytes, measured.
    Measured(Box<[u8; PAGE_LEN]>),
    /// The host's memory map. Its place is measured.
    MemoryMap,
    /// The security processor's keys for the guest. Its place is measured.
    Secrets,
    /// CPUID values that the security processor checked. Its place is measured.
    Cpuid,
}

/// All that a launcher loads.
#[derive(Debug)]
pub struct LaunchImage {
    pub(crate) pages: Vec<Page>,
    pub(crate) save_areas: Vec<Box<SevVmsa>>,
}

impl LaunchImage {
    /// The image of `payload`, an ELF file, that runs what `record` says. A record is whole pages.
    ///
    /// # Errors
    /// [`ImageError`] for a payload or record that cannot be placed.
    pub fn build(payload: &[u8], record: &[u8], profile: &Profile) -> Result<Self, ImageError> {
        let payload = Payload::read(payload)?;
        let record_len = record.len() as u64;
        let whole = record.len().is_multiple_of(PAGE_LEN);
        if !whole || record_len == 0 || record_len > layout::RECORD_LEN_MAX {
            return Err(ImageError::Record(record.len()));
        }
        let launch_page = LaunchPage::new(record_len, profile.vcpus(), profile.features().0);
        let mut pages = vec![measured(layout::LAUNCH_PAGE, launch_page.encode())];
        pages.extend(page_tables());
        pages.push(Page { address: layout::MEMORY_MAP, kind: PageKind::MemoryMap });
        pages.push(Page { address: layout::CPUID_PAGE, kind: PageKind::Cpuid });
        pages.push(Page { address: layout::SECRETS_PAGE, kind: PageKind::Secrets });
        let contents = record.as_chunks::<PAGE_LEN>().0.iter().zip(0_u64..);
        pages.extend(contents.map(|(contents, index)| {
            measured(layout::RECORD.saturating_add(index.saturating_mul(PAGE)), *contents)
        }));
        pages.extend(payload.pages);
        let first = save_area::entering(payload.entry, profile);
        let parked = (1..profile.vcpus()).map(|_| save_area::entering(payload.park, profile));
        Ok(Self { pages, save_areas: std::iter::once(first).chain(parked).collect() })
    }

    /// The launch digest, SHA-384.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut fold = Fold::new();
        for Page { address, kind } in &self.pages {
            match kind {
                PageKind::Measured(contents) => {
                    fold.contents(Type::Normal, *address, contents.as_slice());
                }
                PageKind::MemoryMap => fold.place(Type::Unmeasured, *address),
                PageKind::Secrets => fold.place(Type::Secrets, *address),
                PageKind::Cpuid => fold.place(Type::Cpuid, *address),
            }
        }
        for area in &self.save_areas {
            fold.contents(Type::SaveArea, SAVE_AREA_ADDRESS, area.as_bytes());
        }
        fold.finish()
    }

    /// The pages, in the order in which they are loaded.
    #[must_use]
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// The first states of the processors.
    #[must_use]
    pub fn save_areas(&self) -> &[Box<SevVmsa>] {
        &self.save_areas
    }
}

fn measured(address: u64, contents: [u8; PAGE_LEN]) -> Page {
    Page { address, kind: PageKind::Measured(Box::new(contents)) }
}

/// The first GiB where it is, all of it private: what the payload needs until it has its own.
fn page_tables() -> [Page; 3] {
    let private = 1 << PRIVATE_BIT;
    let place = |index: u64| layout::PAGE_TABLES.saturating_add(index.saturating_mul(PAGE));
    let one = |entry: u64| {
        let mut table = [0; PAGE_LEN];
        table.iter_mut().zip((entry | TABLE | private).to_le_bytes()).for_each(|(to, b)| *to = b);
        table
    };
    let mut directory = [0; PAGE_LEN];
    for (to, index) in directory.as_chunks_mut::<8>().0.iter_mut().zip(0_u64..) {
        *to = (index.saturating_mul(LARGE_PAGE) | LARGE | private).to_le_bytes();
    }
    [
        measured(place(0), one(place(1))),
        measured(place(1), one(place(2))),
        measured(place(2), directory),
    ]
}
