// SPDX-License-Identifier: MIT
//! The guest's memory, as its host reaches it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Where memory goes on above the devices.
const HIGH: u64 = 1 << 32;

/// An address that is no memory, or a file that cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfReach;

/// Memory by guest physical address.
pub trait GuestMemory {
    /// Copies out.
    ///
    /// # Errors
    /// [`OutOfReach`]; the buffer's contents are of no use then.
    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), OutOfReach>;

    /// Copies in.
    ///
    /// # Errors
    /// [`OutOfReach`].
    fn write(&self, address: u64, from: &[u8]) -> Result<(), OutOfReach>;

    /// A word of 8 bytes.
    ///
    /// # Errors
    /// [`OutOfReach`].
    fn read_word(&self, address: u64) -> Result<u64, OutOfReach> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A word of 8 bytes.
    ///
    /// # Errors
    /// [`OutOfReach`].
    fn write_word(&self, address: u64, word: u64) -> Result<(), OutOfReach> {
        self.write(address, &word.to_le_bytes())
    }
}

/// Memory of a QEMU `q35` machine that lies in a file.
#[derive(Debug)]
pub struct Ram {
    file: File,
    /// Bytes below the devices.
    low: u64,
    /// Bytes from 4 GiB on.
    high: u64,
}

impl Ram {
    /// The memory in `file`, which has `length` bytes.
    #[must_use]
    pub const fn new(file: File, length: u64) -> Self {
        let low = Self::low(length);
        Self { file, low, high: length.saturating_sub(low) }
    }

    /// How much of a machine's memory lies below the devices: all of it, unless that would be
    /// 2.75 GiB or more, then 2 GiB (QEMU, `hw/i386/pc_q35.c`).
    #[must_use]
    pub const fn low(length: u64) -> u64 {
        if length >= 0xb000_0000 { 0x8000_0000 } else { length }
    }

    fn offset(&self, address: u64, length: usize) -> Result<u64, OutOfReach> {
        let length = u64::try_from(length).map_err(|_| OutOfReach)?;
        let end = address.checked_add(length).ok_or(OutOfReach)?;
        if end <= self.low {
            return Ok(address);
        }
        let above = address.checked_sub(HIGH).ok_or(OutOfReach)?;
        if end.saturating_sub(HIGH) > self.high {
            return Err(OutOfReach);
        }
        self.low.checked_add(above).ok_or(OutOfReach)
    }
}

impl GuestMemory for Ram {
    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), OutOfReach> {
        let offset = self.offset(address, to.len())?;
        self.file.read_exact_at(to, offset).map_err(|_| OutOfReach)
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), OutOfReach> {
        let offset = self.offset(address, from.len())?;
        self.file.write_all_at(from, offset).map_err(|_| OutOfReach)
    }
}

/// The pages that a range touches, by number.
pub(crate) fn pages(address: u64, length: u64) -> std::ops::Range<u64> {
    address / PAGE..address.saturating_add(length).div_ceil(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_on_above_the_devices() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 << 30).unwrap();
        let ram = Ram::new(file.try_clone().unwrap(), 3 << 30);
        ram.write_word(0x7fff_fff8, 1).unwrap();
        ram.write_word(HIGH, 2).unwrap();
        ram.write_word(HIGH + (1 << 30) - 8, 3).unwrap();
        let at = |offset| {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, offset).unwrap();
            u64::from_le_bytes(word)
        };
        assert_eq!((at(0x7fff_fff8), at(0x8000_0000), at((3 << 30) - 8)), (1, 2, 3));
        for address in [0x7fff_fff9, 0x8000_0000, HIGH - 8, HIGH + (1 << 30) - 7, u64::MAX - 7] {
            assert_eq!(ram.read_word(address), Err(OutOfReach), "{address:#x}");
        }
        assert_eq!(Ram::low(1 << 30), 1 << 30);
    }
}
