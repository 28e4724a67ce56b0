// SPDX-License-Identifier: MIT
//! Memory-mapped device registers. On SNP each access is an exit through the GHCB.
//!
//! A window is checked when it is made; an access outside it reads as all ones and writes nothing,
//! like a bus without a device. Accesses are single `mov` instructions, so that an emulator or a
//! `#VC` handler has little to decode.

use crate::machine::memory::device;
use core::arch::asm;
use core::ops::Range;

/// A range of device registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    base: usize,
    length: usize,
}

impl Window {
    /// Maps the physical range, which is whole pages away from any memory. None when it is not.
    pub(crate) fn map(physical: Range<u64>) -> Option<Self> {
        let length = usize::try_from(physical.end.checked_sub(physical.start)?).ok()?;
        let base = device::map(physical)?;
        Some(Self { base, length })
    }

    /// Part of the window.
    pub(crate) fn part(&self, offset: u64, length: u64) -> Option<Self> {
        let offset = usize::try_from(offset).ok()?;
        let length = usize::try_from(length).ok()?;
        let end = offset.checked_add(length)?;
        (end <= self.length).then(|| Self { base: self.base.wrapping_add(offset), length })
    }

    /// Bytes.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }

    fn at(&self, offset: usize, size: usize) -> Option<usize> {
        let fits = offset.checked_add(size)? <= self.length;
        let address = self.base.wrapping_add(offset);
        (fits && address & size.wrapping_sub(1) == 0).then_some(address)
    }

    pub(crate) fn read_u8(&self, offset: usize) -> u8 {
        let Some(address) = self.at(offset, 1) else { return u8::MAX };
        let value;
        // SAFETY: `at` stays inside a window that `device::map` made of device registers.
        unsafe { asm!("mov {}, [{}]", out(reg_byte) value, in(reg) address, options(nostack)) };
        value
    }

    pub(crate) fn read_u16(&self, offset: usize) -> u16 {
        let Some(address) = self.at(offset, 2) else { return u16::MAX };
        let value;
        // SAFETY: as in `read_u8`.
        unsafe { asm!("mov {:x}, [{}]", out(reg) value, in(reg) address, options(nostack)) };
        value
    }

    pub(crate) fn read_u32(&self, offset: usize) -> u32 {
        let Some(address) = self.at(offset, 4) else { return u32::MAX };
        let value;
        // SAFETY: as in `read_u8`.
        unsafe { asm!("mov {:e}, [{}]", out(reg) value, in(reg) address, options(nostack)) };
        value
    }

    pub(crate) fn write_u8(&self, offset: usize, value: u8) {
        let Some(address) = self.at(offset, 1) else { return };
        // SAFETY: as in `read_u8`; device registers are not Rust memory.
        unsafe { asm!("mov [{}], {}", in(reg) address, in(reg_byte) value, options(nostack)) };
    }

    pub(crate) fn write_u16(&self, offset: usize, value: u16) {
        let Some(address) = self.at(offset, 2) else { return };
        // SAFETY: as in `write_u8`.
        unsafe { asm!("mov [{}], {:x}", in(reg) address, in(reg) value, options(nostack)) };
    }

    pub(crate) fn write_u32(&self, offset: usize, value: u32) {
        let Some(address) = self.at(offset, 4) else { return };
        // SAFETY: as in `write_u8`.
        unsafe { asm!("mov [{}], {:e}", in(reg) address, in(reg) value, options(nostack)) };
    }

    /// Two 32-bit writes, as virtio asks for 64-bit fields.
    pub(crate) fn write_u64(&self, offset: usize, value: u64) {
        self.write_u32(offset, value as u32);
        self.write_u32(offset.wrapping_add(4), (value >> 32) as u32);
    }
}
