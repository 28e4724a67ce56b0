// SPDX-License-Identifier: MIT
//! A simulated SNP guest: a measured image, memory that this process reads and writes too, and a
//! thread that plays its host and its security processor.
//!
//! The memory is a memory file: it has no name that another user could open, and is gone with the
//! last process that holds it, however that ends.

use crate::LaunchError;
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::thread;
use strongroom_psp::{
    GuestMemory as _, Host, Installation, Launch, OutOfReach, Processor, Ram, attend, cpuid_page,
};
use strongroom_snp_igvm::LaunchImage;
use strongroom_snp_igvm::trampoline::{Filling, elf};
use strongroom_snp_layout::simulation::{ASSIGNED, MAILBOX, PAGES, PAGES_MAX, TABLE, VALIDATED};

const MEBIBYTE: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Where memory goes on above the devices.
const HIGH: u64 = 1 << 32;
/// Memory below the legacy area.
const LEGACY_END: u64 = 0x9_f000;
/// Most memory of a guest: what there is room for in its reverse map table.
pub(crate) const MEMORY_MAX_MIB: u64 = (PAGES_MAX * PAGE - HIGH) / MEBIBYTE;

/// A guest that is ready to be started.
#[derive(Debug)]
pub(crate) struct SimulatedGuest {
    /// What QEMU starts as a kernel.
    pub(crate) kernel: Vec<u8>,
    /// Memory of the machine, in MiB.
    pub(crate) memory_mib: u64,
    memory: File,
    image: LaunchImage,
    launch: Launch,
    /// How many pages have entries in the reverse map table.
    pages: u64,
}

impl SimulatedGuest {
    /// A guest with that image and that memory, at most [`MEMORY_MAX_MIB`].
    pub(crate) fn new(image: LaunchImage, memory_mib: u64) -> Result<Self, LaunchError> {
        let bytes = memory_mib.saturating_mul(MEBIBYTE);
        let memory = memory_file(bytes).map_err(LaunchError::io("make guest memory"))?;
        // The digest is computed when the guest asks for something.
        let launch = Launch::new([0; 48])?;
        let map = map(bytes);
        let filling =
            Filling { memory: &map, secrets: &launch.secrets_page(), cpuid: &cpuid_page() };
        let kernel = elf(&image, &filling)?;
        let pages = map.last().map_or(0, |range| range.end / PAGE);
        let guest = Self { kernel, memory_mib, memory, image, launch, pages };
        let prepared = guest.ram().and_then(|ram| {
            guest.prepare(ram).map_err(|OutOfReach| io::ErrorKind::InvalidInput.into())
        });
        prepared.map_err(LaunchError::io("write guest memory"))?;
        Ok(guest)
    }

    /// The file of the guest's memory.
    pub(crate) const fn memory(&self) -> &File {
        &self.memory
    }

    /// Answers the guest's exits from another thread, until the bell's stream ends.
    pub(crate) fn attend(self, bell: UnixStream) -> io::Result<()> {
        let (seen, shown) = (self.ram()?, self.ram()?);
        thread::Builder::new().name("guest-exits".to_owned()).spawn(move || {
            let image = self.image;
            let processor = Processor::on_demand(self.launch, move || {
                // Without a folder it has no chip, and answers no request.
                let folder = Installation::default_folder().unwrap_or_default();
                Ok((Installation::open(&folder)?, image.digest()))
            });
            attend(bell, &seen, &mut Host::new(shown, processor, table(self.pages)));
        })?;
        Ok(())
    }

    fn ram(&self) -> io::Result<Ram> {
        Ok(Ram::new(self.memory.try_clone()?, self.memory_mib.saturating_mul(MEBIBYTE)))
    }

    /// Says in the mailbox how long the reverse map table is, and enters there what is launched.
    fn prepare(&self, ram: Ram) -> Result<(), OutOfReach> {
        ram.write_word(MAILBOX + PAGES, self.pages)?;
        let launched: Vec<u64> =
            self.image.pages().iter().map(|page| page.address / PAGE).collect();
        let end = launched.iter().max().map_or(0, |last| last / 4 + 1);
        let mut entries = vec![0; end as usize];
        for page in launched {
            if let Some(byte) = entries.get_mut((page / 4) as usize) {
                *byte |= (ASSIGNED | VALIDATED) << ((page & 3) << 1);
            }
        }
        ram.write(TABLE, &entries)
    }
}

/// The bytes of a table for that many pages.
const fn table(pages: u64) -> Range<u64> {
    TABLE..TABLE.saturating_add(pages.div_ceil(4))
}

/// What the payload is told of a machine with so much memory.
fn map(bytes: u64) -> Vec<Range<u64>> {
    let low = Ram::low(bytes);
    let mut map = vec![0..LEGACY_END, MEBIBYTE..low];
    if low < bytes {
        map.push(HIGH..HIGH.saturating_add(bytes - low));
    }
    map
}

fn memory_file(length: u64) -> io::Result<File> {
    let file = rustix::fs::memfd_create("guest-memory", MemfdFlags::CLOEXEC)?;
    let file = File::from(file);
    file.set_len(length)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_an_entry_for_each_page() {
        for memory_mib in [64, 1024, 2815, 2816, 4096, MEMORY_MAX_MIB] {
            let map = map(memory_mib * MEBIBYTE);
            let pages = map.last().unwrap().end / PAGE;
            assert!(pages <= PAGES_MAX, "{memory_mib}");
            assert!(table(pages).end <= strongroom_snp_layout::PAYLOAD, "{memory_mib}");
            let told: u64 = map.iter().map(|range| range.end - range.start).sum();
            assert!(told + MEBIBYTE > memory_mib * MEBIBYTE, "{memory_mib}");
        }
    }

    #[test]
    fn guest_memory_is_in_no_folder() {
        let file = memory_file(4096).unwrap();
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let target = std::fs::read_link(link).unwrap();
        assert!(target.to_string_lossy().starts_with("/memfd:guest-memory"), "{target:?}");
    }
}
