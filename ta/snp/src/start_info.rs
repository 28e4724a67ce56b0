// SPDX-License-Identifier: MIT
//! What is handed over at the start: the memory map and the boot record's place, by a PVH loader or
//! by a measured launch page.
//!
//! Layouts: Xen, `public/arch-x86/hvm/start_info.h`, version 1; `strongroom-snp-layout`, and the
//! memory map of IGVM files. All but the launch page is the host's word. Memory
//! that the host lies about costs it a dead guest; what matters here is that no two ranges overlap
//! and that nothing is read outside the window that the reader allows.

use crate::ranges::{Ranges, Refused};
use core::ops::Range;
use strongroom_snp_layout::fields::{long, word};
use strongroom_snp_layout::{LAUNCH_PAGE, LaunchPage, MEMORY_MAP_LEN, PAGE, PAGE_LEN, PAYLOAD};

const MAGIC: u32 = 0x336e_c578;
const HEADER: usize = 56;
const MODULE: usize = 32;
const MAP_ENTRY: usize = 24;
const MAP_ENTRIES_MAX: u32 = 128;
const KIND_RAM: u32 = 1;
/// Below this lie the firmware's data and the loader's; none of it is worth taking.
const LOW_MEMORY_END: u64 = 0x10_0000;

/// Reads physical memory before any of it is ours.
pub trait Physical {
    /// Copies from `address`, or says false when some of it is out of reach.
    fn read(&self, address: u64, to: &mut [u8]) -> bool;
}

/// What the loader said, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartInfo {
    /// Memory, disjoint ranges; the first MiB is left out.
    pub memory: Ranges,
    /// Everything that the map calls RAM, the first MiB too: no device may sit there.
    pub occupied: Ranges,
    /// Where the boot record lies.
    pub record: Range<u64>,
    /// Where the record and whatever else the launcher left lies: not to be used as memory.
    pub held: Range<u64>,
    /// The launch page, where there is one.
    pub launch: Option<LaunchPage>,
}

/// Why the start information is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStart {
    /// It lies, or points, out of reach.
    OutOfReach,
    /// Another magic, or version 0, which has no memory map.
    Format,
    /// No memory map, one with too many entries, or with overlapping memory.
    MemoryMap,
    /// No module, or one whose length is none or over the limit.
    Module,
}

impl From<Refused> for BadStart {
    fn from(_: Refused) -> Self {
        Self::MemoryMap
    }
}

/// Reads the start information at `address`; the module has at most `record_max` bytes.
///
/// # Errors
///
/// [`BadStart`] says what is wrong with it.
pub fn parse(
    physical: &impl Physical,
    address: u64,
    record_max: u64,
) -> Result<StartInfo, BadStart> {
    let header: [u8; HEADER] = fetch(physical, address)?;
    if word(&header, 0) != MAGIC || word(&header, 4) == 0 {
        return Err(BadStart::Format);
    }
    let record = record(physical, &header, record_max)?;
    let (memory, occupied) = memory(physical, &header)?;
    Ok(StartInfo { memory, occupied, held: record.clone(), record, launch: None })
}

fn record(
    physical: &impl Physical,
    header: &[u8; HEADER],
    record_max: u64,
) -> Result<Range<u64>, BadStart> {
    if word(header, 12) == 0 {
        return Err(BadStart::Module);
    }
    let module: [u8; MODULE] = fetch(physical, long(header, 16))?;
    let start = long(&module, 0);
    let length = long(&module, 8);
    if length == 0 || length > record_max {
        return Err(BadStart::Module);
    }
    let end = start.checked_add(length).ok_or(BadStart::Module)?;
    Ok(start..end)
}

fn memory(physical: &impl Physical, header: &[u8; HEADER]) -> Result<(Ranges, Ranges), BadStart> {
    let count = word(header, 48);
    if count == 0 || count > MAP_ENTRIES_MAX {
        return Err(BadStart::MemoryMap);
    }
    let mut memory = Ranges::new();
    let mut reserved = Ranges::new();
    let mut at = long(header, 40);
    for _ in 0..count {
        let entry: [u8; MAP_ENTRY] = fetch(physical, at)?;
        at = at.checked_add(24).ok_or(BadStart::MemoryMap)?;
        let start = long(&entry, 0);
        let end = start.checked_add(long(&entry, 8)).ok_or(BadStart::MemoryMap)?;
        if word(&entry, 16) == KIND_RAM {
            memory.insert(start..end)?;
        } else if !reserved.overlaps(&(start..end)) {
            reserved.insert(start..end)?;
        }
    }
    let occupied = memory.clone();
    for hole in reserved.iter() {
        memory.remove(&hole)?;
    }
    memory.remove(&(0..LOW_MEMORY_END))?;
    Ok((memory, occupied))
}

/// An entry of the map in IGVM files: first page, pages, type, flags, reserved.
const LAUNCH_MAP_ENTRY: u64 = 24;
const LAUNCH_KIND_RAM: u64 = 0;

/// Reads the launch page at `address` and the map that it names; the record has at most
/// `record_max` bytes.
///
/// # Errors
///
/// [`BadStart`] says what is wrong with it.
pub fn parse_launched(
    physical: &impl Physical,
    address: u64,
    record_max: u64,
) -> Result<StartInfo, BadStart> {
    let page: [u8; PAGE_LEN] = fetch(physical, address)?;
    let page = LaunchPage::parse(&page).map_err(|_| BadStart::Format)?;
    let held = LAUNCH_PAGE..PAYLOAD;
    let record_end = page.record.checked_add(page.record_len).ok_or(BadStart::Module)?;
    let record = page.record..record_end;
    let inside = held.start <= record.start && record.end <= held.end;
    if page.record_len == 0 || page.record_len > record_max || !inside {
        return Err(BadStart::Module);
    }
    let (memory, occupied) = launched_memory(physical, &page)?;
    Ok(StartInfo { memory, occupied, record, held, launch: Some(page) })
}

fn launched_memory(
    physical: &impl Physical,
    page: &LaunchPage,
) -> Result<(Ranges, Ranges), BadStart> {
    let mut memory = Ranges::new();
    let count = page.memory_map_len.min(MEMORY_MAP_LEN).checked_div(LAUNCH_MAP_ENTRY);
    let mut at = page.memory_map;
    for _ in 0..count.unwrap_or(0) {
        let entry: [u8; MAP_ENTRY] = fetch(physical, at)?;
        at = at.checked_add(LAUNCH_MAP_ENTRY).ok_or(BadStart::MemoryMap)?;
        let pages = long(&entry, 8);
        if pages == 0 {
            break;
        }
        let bytes = |pages: u64| pages.checked_mul(PAGE).ok_or(BadStart::MemoryMap);
        let start = bytes(long(&entry, 0))?;
        let end = start.checked_add(bytes(pages)?).ok_or(BadStart::MemoryMap)?;
        if long(&entry, 16) & u64::from(u16::MAX) == LAUNCH_KIND_RAM {
            memory.insert(start..end)?;
        }
    }
    let occupied = memory.clone();
    memory.remove(&(0..LOW_MEMORY_END))?;
    if memory.iter().next().is_none() {
        return Err(BadStart::MemoryMap);
    }
    Ok((memory, occupied))
}

fn fetch<const LENGTH: usize>(
    physical: &impl Physical,
    address: u64,
) -> Result<[u8; LENGTH], BadStart> {
    let mut bytes = [0; LENGTH];
    if physical.read(address, &mut bytes) { Ok(bytes) } else { Err(BadStart::OutOfReach) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    struct Window(Vec<u8>);

    impl Physical for Window {
        fn read(&self, address: u64, to: &mut [u8]) -> bool {
            let Ok(start) = usize::try_from(address) else { return false };
            let Some(from) = self.0.get(start..).and_then(|rest| rest.get(..to.len())) else {
                return false;
            };
            to.copy_from_slice(from);
            true
        }
    }

    fn put(window: &mut [u8], at: usize, bytes: &[u8]) {
        window[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Start information at 0x100, modules at 0x200, map at 0x300.
    fn window(map: &[(u64, u64, u32)]) -> Window {
        let mut bytes = alloc::vec![0; 0x1000];
        put(&mut bytes, 0x100, &MAGIC.to_le_bytes());
        put(&mut bytes, 0x104, &1u32.to_le_bytes());
        put(&mut bytes, 0x10c, &1u32.to_le_bytes());
        put(&mut bytes, 0x110, &0x200u64.to_le_bytes());
        put(&mut bytes, 0x128, &0x300u64.to_le_bytes());
        put(&mut bytes, 0x130, &u32::try_from(map.len()).unwrap().to_le_bytes());
        put(&mut bytes, 0x200, &0x800_0000u64.to_le_bytes());
        put(&mut bytes, 0x208, &0x1000u64.to_le_bytes());
        for (index, (start, length, kind)) in map.iter().enumerate() {
            put(&mut bytes, 0x300 + 24 * index, &start.to_le_bytes());
            put(&mut bytes, 0x308 + 24 * index, &length.to_le_bytes());
            put(&mut bytes, 0x310 + 24 * index, &kind.to_le_bytes());
        }
        Window(bytes)
    }

    const GOOD: &[(u64, u64, u32)] =
        &[(0, 0x9_fc00, 1), (0x9_fc00, 0x400, 2), (0x10_0000, 0xff0_0000, 1)];

    #[test]
    fn memory_and_record_are_found() {
        let info = parse(&window(GOOD), 0x100, 0x1_0000).unwrap();
        assert_eq!(info.memory.iter().collect::<Vec<_>>(), [0x10_0000..0x1000_0000]);
        assert!(info.occupied.overlaps(&(0..1)));
        assert_eq!(info.record, 0x800_0000..0x800_1000);
    }

    #[test]
    fn lies_are_refused() {
        let overlap = window(&[(0, 0x20_0000, 1), (0x10_0000, 0x10_0000, 1)]);
        assert_eq!(parse(&overlap, 0x100, 0x1_0000), Err(BadStart::MemoryMap));
        let wraps = window(&[(u64::MAX, 2, 1)]);
        assert_eq!(parse(&wraps, 0x100, 0x1_0000), Err(BadStart::MemoryMap));
        assert_eq!(parse(&window(&[]), 0x100, 0x1_0000), Err(BadStart::MemoryMap));
        assert_eq!(parse(&window(GOOD), 0x100, 0xfff), Err(BadStart::Module));
        assert_eq!(parse(&window(GOOD), 0x104, 0x1_0000), Err(BadStart::Format));
        assert_eq!(parse(&window(GOOD), u64::MAX - 8, 1), Err(BadStart::OutOfReach));
        let mut none = window(GOOD);
        none.0[0x10c] = 0;
        assert_eq!(parse(&none, 0x100, 0x1_0000), Err(BadStart::Module));
        let mut far = window(GOOD);
        far.0[0x12f] = 0x80;
        assert_eq!(parse(&far, 0x100, 0x1_0000), Err(BadStart::OutOfReach));
    }

    #[test]
    fn reserved_parts_are_no_memory() {
        let info = parse(&window(&[(0, 0x1000_0000, 1), (0x80_0000, 0x1000, 2)]), 0x100, 0x1_0000);
        let expected = [0x10_0000..0x80_0000, 0x80_1000..0x1000_0000];
        assert_eq!(info.unwrap().memory.iter().collect::<Vec<_>>(), expected);
    }

    /// A launch page at 0x100, a map at 0x2000.
    fn launched(map: &[(u64, u64, u64)]) -> Window {
        let mut bytes = alloc::vec![0; 0x3000];
        let page = LaunchPage { memory_map: 0x2000, ..LaunchPage::new(0x2000, 1, 1) };
        put(&mut bytes, 0x100, &page.encode());
        for (index, (start, pages, kind)) in map.iter().enumerate() {
            put(&mut bytes, 0x2000 + 24 * index, &start.to_le_bytes());
            put(&mut bytes, 0x2008 + 24 * index, &pages.to_le_bytes());
            put(&mut bytes, 0x2010 + 24 * index, &kind.to_le_bytes());
        }
        Window(bytes)
    }

    const MAP: &[(u64, u64, u64)] = &[(0, 0x9f, 0), (0xf0, 0x10, 1), (0x100, 0xff00, 0)];

    #[test]
    fn a_launch_page_leads_to_memory_and_record() {
        let info = parse_launched(&launched(MAP), 0x100, 0x1_0000).unwrap();
        assert_eq!(info.memory.iter().collect::<Vec<_>>(), [0x10_0000..0x1000_0000]);
        assert!(info.occupied.overlaps(&(0..1)) && !info.occupied.overlaps(&(0xf_0000..0x10_0000)));
        assert_eq!(info.record, 0x11_0000..0x11_2000);
        assert_eq!(info.held, 0x10_0000..0x20_0000);
        // What lies behind the end of the map does not count.
        let ended = [MAP, &[(0, 0, 0), (0, 9, 0)]].concat();
        assert_eq!(parse_launched(&launched(&ended), 0x100, 0x1_0000), Ok(info));
    }

    #[test]
    fn lies_beside_a_launch_page_are_refused() {
        let refused = |map: &[_]| parse_launched(&launched(map), 0x100, 0x1_0000);
        assert_eq!(refused(&[]), Err(BadStart::MemoryMap));
        assert_eq!(refused(&[(0, 1, 1)]), Err(BadStart::MemoryMap));
        assert_eq!(refused(&[(u64::MAX, 2, 0)]), Err(BadStart::MemoryMap));
        assert_eq!(refused(&[(1, 1 << 52, 0)]), Err(BadStart::MemoryMap));
        assert_eq!(refused(&[(0x100, 9, 0), (0x108, 9, 0)]), Err(BadStart::MemoryMap));
        let endless = [(0x200, 1, 1); 170];
        assert_eq!(refused(&endless), Err(BadStart::MemoryMap));
        assert_eq!(parse_launched(&launched(MAP), 0x100, 0x1fff), Err(BadStart::Module));
        assert_eq!(parse_launched(&launched(MAP), 0x101, 0x2000), Err(BadStart::Format));
        let mut outside = launched(MAP);
        put(&mut outside.0, 0x108, &0x1f_f000_u64.to_le_bytes());
        assert_eq!(parse_launched(&outside, 0x100, 0x2000), Err(BadStart::Module));
    }
}
