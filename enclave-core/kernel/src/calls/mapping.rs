// SPDX-License-Identifier: MIT
//! Memory: `mmap(2)`, `munmap(2)`, `mprotect(2)`, `mremap(2)`, `madvise(2)`, `brk(2)`.

use crate::fs::memory_fs::MemoryFs;
use crate::fs::path_of;
use crate::memory::{Backing, MapRequest, Placement, Protection, page_up};
use crate::outcome::{Stop, SysResult};
use crate::table::{Row, row};
use crate::task::{Call, Limits};
use crate::user::UserPtr;
use alloc::string::String;
use alloc::sync::Arc;
use strongroom_abi::Errno;
use strongroom_south::PAGE_SIZE;

pub(crate) const CALLS: &[Row] = &[
    row!(Mmap, mmap(6), Partial("no huge pages; MAP_LOCKED and MAP_SYNC do nothing")),
    row!(Munmap, munmap(2), Full),
    row!(Mprotect, mprotect(3), Partial("no PROT_GROWSDOWN and PROT_GROWSUP")),
    row!(Mremap, mremap(5), Partial("no MREMAP_DONTUNMAP")),
    row!(Madvise, madvise(3), Partial("DONTNEED, FREE, DONTFORK and DOFORK have an effect")),
    row!(Brk, brk(1), Full),
    row!(Msync, msync(3), Full),
    row!(Mincore, mincore(3), Full),
    row!(Mlock, mlock(2), Full),
    row!(Mlock2, mlock(2), Full),
    row!(Munlock, mlock(2), Full),
    row!(Mlockall, mlockall(1), Full),
    row!(Munlockall, munlockall(0), Full),
];

bitflags::bitflags! {
    /// `MAP_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct MapFlags: u32 {
        const SHARED = 0x1;
        const PRIVATE = 0x2;
        const FIXED = 0x10;
        const ANONYMOUS = 0x20;
        const GROWS_DOWN = 0x100;
        const POPULATE = 0x8000;
        const HUGE = 0x4_0000;
        const FIXED_FREE = 0x10_0000;
        const _ = !0;
    }
}

/// `PROT_SEM`, which means nothing.
const PROT_SEM: u32 = 8;

fn protection(bits: u32) -> Result<Protection, Errno> {
    Protection::from_bits(bits & !PROT_SEM).ok_or(Errno::EINVAL)
}

fn address_space_limit(call: &Call<'_>) -> u64 {
    call.thread.process.limits.lock().soft(Limits::AS)
}

fn mmap(
    call: &mut Call<'_>,
    address: usize,
    length: usize,
    bits: u32,
    flags: u32,
    descriptor: i32,
    offset: u64,
) -> SysResult {
    let flags = MapFlags::from_bits_retain(flags);
    // As on Linux, unknown protection bits are ignored here but not in mprotect.
    let protection = Protection::from_bits_truncate(bits);
    if length == 0 || !offset.is_multiple_of(PAGE_SIZE as u64) {
        return Err(Errno::EINVAL.into());
    }
    let shared = match flags.bits() & 3 {
        1 | 3 => true,
        2 => false,
        _ => return Err(Errno::EINVAL.into()),
    };
    let rounded = page_up(length).ok_or(Errno::ENOMEM)?;
    let placement = if flags.contains(MapFlags::FIXED_FREE) {
        Placement::FixedFree(address)
    } else if flags.contains(MapFlags::FIXED) {
        Placement::Fixed(address)
    } else {
        Placement::Anywhere(address)
    };
    let executable = protection.contains(Protection::EXECUTE);
    let mut placement = placement;
    let source = if flags.contains(MapFlags::ANONYMOUS) {
        if executable && call.kernel.machine.placed().is_some() {
            return Err(Errno::EACCES.into());
        }
        if flags.contains(MapFlags::HUGE) {
            return Err(Errno::ENOMEM.into());
        }
        anonymous(call, shared, rounded)?
    } else {
        if offset.checked_add(rounded as u64).is_none() {
            return Err(Errno::EOVERFLOW.into());
        }
        let source = file(call, descriptor, (offset, rounded), shared, protection)?;
        let name = source.name.as_deref().map(String::as_str).unwrap_or_default();
        placement = call.memory.place_object(name, placement, (offset, rounded), executable)?;
        source
    };
    let request = MapRequest {
        length,
        protection,
        backing: source.backing,
        placement,
        grows_down: flags.contains(MapFlags::GROWS_DOWN) && !shared,
    };
    let limit = address_space_limit(call);
    let start = call.memory.map_named(request, limit, source.never_writable, source.name)?;
    if flags.contains(MapFlags::POPULATE) || !call.memory.is_paged() {
        populate(call, start, rounded)?;
    }
    Ok(start)
}

struct MapSource {
    backing: Backing,
    never_writable: bool,
    name: Option<Arc<String>>,
}

fn anonymous(call: &Call<'_>, shared: bool, length: usize) -> SysResult<MapSource> {
    // A flat machine has nobody to share with: it does not fork.
    if !shared || !call.memory.is_paged() {
        return Ok(MapSource { backing: Backing::Anonymous, never_writable: false, name: None });
    }
    let node = MemoryFs::nameless(call.kernel, b"", 0o777);
    let pages = node.sized_pages(length as u64);
    Ok(MapSource {
        backing: Backing::File { pages, offset: 0, shared: true },
        never_writable: false,
        name: Some(Arc::new(String::from("/dev/zero (deleted)"))),
    })
}

fn file(
    call: &Call<'_>,
    descriptor: i32,
    (offset, length): (u64, usize),
    shared: bool,
    protection: Protection,
) -> SysResult<MapSource> {
    let open = call.file(descriptor)?;
    let flags = open.flags();
    if !flags.readable() {
        return Err(Errno::EACCES.into());
    }
    let never_writable = shared && !flags.writable();
    if never_writable && protection.contains(Protection::WRITE) {
        return Err(Errno::EACCES.into());
    }
    if open.file.maps_zeroes() {
        return anonymous(call, shared, length);
    }
    let pages = open.file.pages().ok_or(Errno::ENODEV)?;
    if shared && !pages.shareable() {
        return Err(Errno::ENODEV.into());
    }
    let sealed = shared && pages.refuses_writers();
    if sealed && protection.contains(Protection::WRITE) {
        return Err(Errno::EPERM.into());
    }
    let never_writable = never_writable || sealed;
    let path = open.place.as_ref().and_then(|place| path_of(call.thread, place));
    let name = path.map(|path| Arc::new(String::from_utf8_lossy(&path).into_owned()));
    Ok(MapSource { backing: Backing::File { pages, offset, shared }, never_writable, name })
}

/// Most bytes that `MAP_POPULATE` brings in: the rest comes when it is touched.
const POPULATED_MAX: usize = 64 << 20;

/// Brings pages in. What cannot be had is left to the first access.
fn populate(call: &Call<'_>, start: usize, length: usize) -> SysResult<()> {
    let length = if call.memory.is_paged() { length.min(POPULATED_MAX) } else { length };
    match call.memory.populate(call.thread, start..start + length) {
        Ok(()) => Ok(()),
        Err(Stop::Errno(Errno::ENOMEM)) if !call.memory.is_paged() => {
            call.memory.unmap(start, length)?;
            Err(Errno::ENOMEM.into())
        }
        Err(Stop::Errno(_)) => Ok(()),
        // The host is asked; the mapping is made again at the next attempt.
        Err(stop) => {
            call.memory.unmap(start, length)?;
            Err(stop)
        }
    }
}

fn munmap(call: &mut Call<'_>, address: usize, length: usize) -> SysResult {
    call.memory.unmap(address, length)?;
    Ok(0)
}

fn mprotect(call: &mut Call<'_>, address: usize, length: usize, bits: u32) -> SysResult {
    let protection = protection(bits)?;
    if length == 0 && address.is_multiple_of(PAGE_SIZE) {
        return Ok(0);
    }
    call.memory.protect(address, length, protection)?;
    Ok(0)
}

fn mremap(
    call: &mut Call<'_>,
    old: usize,
    old_length: usize,
    new_length: usize,
    flags: u32,
    new: usize,
) -> SysResult {
    const MAY_MOVE: u32 = 1;
    const FIXED: u32 = 2;
    if flags & !(MAY_MOVE | FIXED) != 0 || flags & (MAY_MOVE | FIXED) == FIXED {
        return Err(Errno::EINVAL.into());
    }
    let to = (flags & FIXED != 0).then_some(new);
    let limit = address_space_limit(call);
    let start = call.memory.remap(old, old_length, new_length, flags & MAY_MOVE != 0, to, limit)?;
    if !call.memory.is_paged() && new_length > old_length {
        let (kept, wanted) = (page_up(old_length), page_up(new_length));
        let (kept, wanted) = (kept.ok_or(Errno::ENOMEM)?, wanted.ok_or(Errno::ENOMEM)?);
        populate(call, start + kept, wanted - kept)?;
    }
    Ok(start)
}

fn madvise(call: &mut Call<'_>, address: usize, length: usize, advice: u32) -> SysResult {
    const DONT_NEED: u32 = 4;
    const FREE: u32 = 8;
    const DONT_FORK: u32 = 10;
    const DO_FORK: u32 = 11;
    if !address.is_multiple_of(PAGE_SIZE) || page_up(length).is_none() {
        return Err(Errno::EINVAL.into());
    }
    match advice {
        DONT_NEED | FREE => {
            call.memory.discard(address, length)?;
            if !call.memory.is_paged() {
                call.memory.populate(call.thread, address..address + length)?;
            }
        }
        DONT_FORK | DO_FORK => {
            call.memory.set_dont_fork(address, length, advice == DONT_FORK)?;
        }
        0..=3 | 12..=25 => call.memory.check_mapped(address, length)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn brk(call: &mut Call<'_>, end: usize) -> SysResult {
    let data = call.thread.process.limits.lock().soft(Limits::DATA);
    let limit = address_space_limit(call);
    let before = call.memory.layout().heap_end;
    let after = call.memory.set_break(end, data, limit);
    if after > before
        && !call.memory.is_paged()
        && call.memory.populate(call.thread, before & !(PAGE_SIZE - 1)..after).is_err()
    {
        return Ok(call.memory.set_break(before, data, limit));
    }
    Ok(after)
}

fn msync(call: &mut Call<'_>, address: usize, length: usize, flags: u32) -> SysResult {
    const ASYNC: u32 = 1;
    const SYNC: u32 = 4;
    if !address.is_multiple_of(PAGE_SIZE) || flags & !7 != 0 || flags & 5 == ASYNC | SYNC {
        return Err(Errno::EINVAL.into());
    }
    call.memory.check_mapped(address, length)?;
    Ok(0)
}

/// Pages that `mincore(2)` looks at before it stores the answer, and before others get a turn.
const PAGES_PER_STEP: usize = 1024;
const PAGES_PER_TURN: usize = 64 * PAGES_PER_STEP;

fn mincore(call: &mut Call<'_>, address: usize, length: usize, vector: UserPtr<u8>) -> SysResult {
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    call.memory.check_mapped(address, length)?;
    let pages = length.div_ceil(PAGE_SIZE);
    while call.progress.items < pages {
        let first = call.progress.items;
        let mut present = [0; PAGES_PER_STEP];
        let count = (pages - first).min(PAGES_PER_STEP);
        for (page, present) in (first..first + count).zip(&mut present) {
            let at = address + page * PAGE_SIZE;
            *present = u8::from(call.memory.space().lookup(at).is_some());
        }
        let known = present.get(..count).unwrap_or_default();
        call.memory.space().copy_out(vector.element(first).address(), known)?;
        call.progress.items += count;
        if call.progress.items.is_multiple_of(PAGES_PER_TURN) {
            return Err(Stop::Turn);
        }
    }
    Ok(0)
}

/// Nothing is ever swapped out.
fn mlock(call: &mut Call<'_>, address: usize, length: usize) -> SysResult {
    let start = address & !(PAGE_SIZE - 1);
    let end = address.checked_add(length).and_then(page_up).ok_or(Errno::EINVAL)?;
    call.memory.check_mapped(start, end - start)?;
    Ok(0)
}

fn mlockall(_call: &mut Call<'_>, flags: u32) -> SysResult {
    if flags == 0 || flags & !7 != 0 { Err(Errno::EINVAL.into()) } else { Ok(0) }
}

fn munlockall(_call: &mut Call<'_>) -> SysResult {
    Ok(0)
}
