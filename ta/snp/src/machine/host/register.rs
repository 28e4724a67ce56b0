// SPDX-License-Identifier: MIT
//! Memory-mapped device registers. On SNP each access is an exit through the GHCB: the instruction
//! would raise an exception first.
//!
//! A window is checked when it is made; an access outside it reads as all ones and writes nothing,
//! like a bus without a device. Accesses are single `mov` instructions, so that an emulator has
//! little to decode.

use crate::machine::memory::device;
use crate::machine::sev::{ghcb, is_protected};
use crate::sev::ghcb::Width;
use core::arch::asm;
use core::ops::Range;

/// A range of device registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    base: usize,
    length: usize,
    physical: u64,
}

impl Window {
    /// Maps the physical range, which is whole pages away from any memory. None when it is not.
    pub(crate) fn map(physical: Range<u64>) -> Option<Self> {
        let length = usize::try_from(physical.end.checked_sub(physical.start)?).ok()?;
        let start = physical.start;
        let base = device::map(physical)?;
        Some(Self { base, length, physical: start })
    }

    /// Part of the window.
    pub(crate) fn part(&self, offset: u64, length: u64) -> Option<Self> {
        let offset = usize::try_from(offset).ok()?;
        let length = usize::try_from(length).ok()?;
        let end = offset.checked_add(length)?;
        (end <= self.length).then(|| Self {
            base: self.base.wrapping_add(offset),
            length,
            physical: self.physical.wrapping_add(offset as u64),
        })
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

    const fn physical_at(&self, offset: usize) -> u64 {
        self.physical.wrapping_add(offset as u64)
    }

    pub(crate) fn read_u8(&self, offset: usize) -> u8 {
        let Some(address) = self.at(offset, 1) else { return u8::MAX };
        if is_protected() {
            return ghcb::read_device(self.physical_at(offset), Width::Byte) as u8;
        }
        let value;
        // SAFETY: `at` stays inside a window that `device::map` made of device registers.
        unsafe { asm!("mov {}, [{}]", out(reg_byte) value, in(reg) address, options(nostack)) };
        value
    }

    pub(crate) fn read_u16(&self, offset: usize) -> u16 {
        let Some(address) = self.at(offset, 2) else { return u16::MAX };
        if is_protected() {
            return ghcb::read_device(self.physical_at(offset), Width::Word) as u16;
        }
        let value;
        // SAFETY: as in `read_u8`.
        unsafe { asm!("mov {:x}, [{}]", out(reg) value, in(reg) address, options(nostack)) };
        value
    }

    pub(crate) fn read_u32(&self, offset: usize) -> u32 {
        let Some(address) = self.at(offset, 4) else { return u32::MAX };
        if is_protected() {
            return ghcb::read_device(self.physical_at(offset), Width::Double);
        }
        let value;
        // SAFETY: as in `read_u8`.
        unsafe { asm!("mov {:e}, [{}]", out(reg) value, in(reg) address, options(nostack)) };
        value
    }

    pub(crate) fn write_u8(&self, offset: usize, value: u8) {
        let Some(address) = self.at(offset, 1) else { return };
        if is_protected() {
            ghcb::write_device(self.physical_at(offset), Width::Byte, u32::from(value));
            return;
        }
        // SAFETY: as in `read_u8`; device registers are not Rust memory.
        unsafe { asm!("mov [{}], {}", in(reg) address, in(reg_byte) value, options(nostack)) };
    }

    pub(crate) fn write_u16(&self, offset: usize, value: u16) {
        let Some(address) = self.at(offset, 2) else { return };
        if is_protected() {
            ghcb::write_device(self.physical_at(offset), Width::Word, u32::from(value));
            return;
        }
        // SAFETY: as in `write_u8`.
        unsafe { asm!("mov [{}], {:x}", in(reg) address, in(reg) value, options(nostack)) };
    }

    pub(crate) fn write_u32(&self, offset: usize, value: u32) {
        let Some(address) = self.at(offset, 4) else { return };
        if is_protected() {
            ghcb::write_device(self.physical_at(offset), Width::Double, value);
            return;
        }
        // SAFETY: as in `write_u8`.
        unsafe { asm!("mov [{}], {:e}", in(reg) address, in(reg) value, options(nostack)) };
    }

    /// Two 32-bit writes, as virtio asks for 64-bit fields.
    pub(crate) fn write_u64(&self, offset: usize, value: u64) {
        self.write_u32(offset, value as u32);
        self.write_u32(offset.wrapping_add(4), (value >> 32) as u32);
    }
}
