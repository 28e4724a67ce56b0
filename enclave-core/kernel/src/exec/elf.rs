// SPDX-License-Identifier: MIT
//! Loading ELF files: static, static-PIE, and dynamic with an interpreter.
//!
//! Headers are untrusted: every offset and size is checked before it is used, and anything odd is
//! `ENOEXEC`. Segments are mapped, not read; only a page that is partly file and partly zeroes is
//! copied.

use crate::exec::{Program, open};
use crate::fs::{Follow, Pages, path_of, walk};
use crate::memory::{Backing, MapRequest, Memory, Placement, Protection, page_down, page_up};
use crate::outcome::{Stop, SysResult};
use crate::task::{Call, UNLIMITED};
use crate::user::zeroed;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use goblin::elf::header::{ET_DYN, ET_EXEC, Header};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD, PT_PHDR, ProgramHeader};
use strongroom_abi::{Errno, arch};
use strongroom_south::{LOWEST, PAGE_SIZE};

/// Bytes of the ELF header.
const HEADER_SIZE: usize = 64;
/// Bytes of a program header.
const PROGRAM_HEADER_SIZE: usize = 56;
/// Most program headers (`ELF_MIN_ALIGN / sizeof`).
const PROGRAM_HEADERS_MAX: usize = 512;
/// Longest path of an interpreter.
const INTERPRETER_MAX: usize = 4096;
/// Pages over which load addresses are randomised: 28 bits, where user space has room for that.
const RANDOM_PAGES: u64 = 1 << 28;
/// The part of user space over which a load address is randomised at most.
const RANDOM_SHARE: usize = 64;
/// Kept for the stack to grow, above the mappings.
const STACK_ROOM: usize = 256 << 20;
/// The part of what can be mapped that is kept for it at most.
const STACK_SHARE: usize = 8;
/// Pages over which the start of the heap is randomised behind the program.
const HEAP_RANDOM_PAGES: u64 = 0x2000;

/// What the stack of a program tells it about itself.
pub(super) struct Loaded {
    /// First instruction: the interpreter's, if there is one.
    pub(super) start: usize,
    /// The program's own entry, headers and base of its interpreter.
    pub(super) entry: usize,
    pub(super) headers_at: usize,
    pub(super) headers: usize,
    pub(super) interpreter_base: usize,
}

struct Parsed {
    header: Header,
    segments: Vec<ProgramHeader>,
}

/// Where an object came to lie.
struct Placed {
    bias: usize,
    end: usize,
}

/// Maps a program and its interpreter into an empty address space.
pub(super) fn load(
    call: &mut Call<'_>,
    program: &Program<'_>,
    memory: &Memory,
) -> SysResult<Loaded> {
    let parsed = parse(call, program)?;
    let interpreter = match interpreter_path(call, program, &parsed)? {
        Some(path) => Some(open_interpreter(call, &path)?),
        None => None,
    };
    lay_out(call, memory, interpreter.is_some());
    let random = random_pages(call, memory, RANDOM_PAGES);
    let hint = if interpreter.is_some() || parsed.header.e_type == ET_DYN {
        // Two thirds up, as on Linux (`ELF_ET_DYN_BASE`).
        let mappable = memory.mappable();
        page_down(mappable.start + mappable.len() / 3 * 2).wrapping_add(random)
    } else {
        0
    };
    let placed = map_object(call, program, &parsed, memory, hint)?;
    let entry = placed.bias.wrapping_add(parsed.header.e_entry as usize);
    let headers_at = headers_address(&parsed, &placed);
    set_heap(call, memory, placed.end);
    let (start, interpreter_base) = match &interpreter {
        None => (entry, 0),
        Some((program, parsed)) => load_interpreter(call, program, parsed, memory)?,
    };
    if !in_user(memory, start) {
        return Err(Errno::ENOEXEC.into());
    }
    let headers = parsed.segments.len();
    Ok(Loaded { start, entry, headers_at, headers, interpreter_base })
}

/// Finds an interpreter and reads its headers. Nothing is mapped before that has succeeded: it may
/// have to wait for the host, and then all is done again.
fn open_interpreter<'a>(call: &mut Call<'a>, path: &[u8]) -> SysResult<(Program<'a>, Parsed)> {
    let working = call.thread.process.fs().working();
    let place = walk(call.thread, &working, path, Follow::Yes)?;
    let program = open(call, place)?;
    let parsed = parse(call, &program).map_err(|stop| match stop {
        Stop::Errno(Errno::ENOEXEC) => Stop::Errno(Errno::ELIBBAD),
        other @ (Stop::Errno(_) | Stop::Page(_) | Stop::Sleep(_) | Stop::Turn | Stop::Context) => {
            other
        }
    })?;
    Ok((program, parsed))
}

fn load_interpreter(
    call: &mut Call<'_>,
    program: &Program<'_>,
    parsed: &Parsed,
    memory: &Memory,
) -> SysResult<(usize, usize)> {
    let top = memory.layout().mapping_top;
    let extent = extent(parsed)?;
    let hint = if parsed.header.e_type == ET_DYN {
        page_down(top.saturating_sub(extent.1 - extent.0))
    } else {
        0
    };
    let placed = map_object(call, program, parsed, memory, hint)?;
    let start = placed.bias.wrapping_add(parsed.header.e_entry as usize);
    Ok((start, placed.bias))
}

fn in_user(memory: &Memory, address: usize) -> bool {
    address < memory.space().user_end()
}

fn parse(call: &mut Call<'_>, program: &Program<'_>) -> SysResult<Parsed> {
    let mut bytes = [0; HEADER_SIZE];
    if program.read(call, 0, &mut bytes)? < HEADER_SIZE {
        return Err(Errno::ENOEXEC.into());
    }
    let header = goblin::elf::Elf::parse_header(&bytes).map_err(|_| Errno::ENOEXEC)?;
    let [_, _, _, _, class, data, ..] = header.e_ident;
    let known = class == 2
        && data == 1
        && header.e_machine == arch::ELF_MACHINE
        && matches!(header.e_type, ET_EXEC | ET_DYN)
        && usize::from(header.e_phentsize) == PROGRAM_HEADER_SIZE;
    let count = usize::from(header.e_phnum);
    if !known || count == 0 || count > PROGRAM_HEADERS_MAX {
        return Err(Errno::ENOEXEC.into());
    }
    let mut table: Vec<u8> = zeroed(count * PROGRAM_HEADER_SIZE)?;
    if program.read(call, header.e_phoff, &mut table)? < table.len() {
        return Err(Errno::ENOEXEC.into());
    }
    let context = goblin::container::Ctx::new(
        goblin::container::Container::Big,
        goblin::container::Endian::Little,
    );
    let segments = ProgramHeader::parse(&table, 0, count, context).map_err(|_| Errno::ENOEXEC)?;
    Ok(Parsed { header, segments })
}

fn interpreter_path(
    call: &mut Call<'_>,
    program: &Program<'_>,
    parsed: &Parsed,
) -> SysResult<Option<Vec<u8>>> {
    let Some(segment) = parsed.segments.iter().find(|segment| segment.p_type == PT_INTERP) else {
        return Ok(None);
    };
    let length = usize::try_from(segment.p_filesz).map_err(|_| Errno::ENOEXEC)?;
    if !(2..=INTERPRETER_MAX).contains(&length) {
        return Err(Errno::ENOEXEC.into());
    }
    let mut path = alloc::vec![0; length];
    if program.read(call, segment.p_offset, &mut path)? < length {
        return Err(Errno::EIO.into());
    }
    if path.pop() != Some(0) {
        return Err(Errno::ENOEXEC.into());
    }
    if let Some(end) = path.iter().position(|byte| *byte == 0) {
        path.truncate(end);
    }
    Ok(Some(path))
}

/// Lowest and highest page boundary of the loadable segments.
fn extent(parsed: &Parsed) -> SysResult<(usize, usize)> {
    let mut low = usize::MAX;
    let mut high = 0;
    for segment in loadable(parsed) {
        let start = usize::try_from(segment.p_vaddr).map_err(|_| Errno::ENOEXEC)?;
        let size = usize::try_from(segment.p_memsz).map_err(|_| Errno::ENOEXEC)?;
        let end = start.checked_add(size).and_then(page_up).ok_or(Errno::ENOEXEC)?;
        low = low.min(page_down(start));
        high = high.max(end);
    }
    if low >= high { Err(Errno::ENOEXEC.into()) } else { Ok((low, high)) }
}

fn loadable(parsed: &Parsed) -> impl Iterator<Item = &ProgramHeader> {
    parsed.segments.iter().filter(|segment| segment.p_type == PT_LOAD)
}

fn map_object(
    call: &mut Call<'_>,
    program: &Program<'_>,
    parsed: &Parsed,
    memory: &Memory,
    hint: usize,
) -> SysResult<Placed> {
    let (low, high) = extent(parsed)?;
    let path = path_of(call.thread, &program.place).unwrap_or_default();
    let name = Arc::new(String::from_utf8_lossy(&path).into_owned());
    let there = memory.placed_program(&name)?;
    let bias = match there {
        Some(object) => object.base,
        None if parsed.header.e_type == ET_DYN => hint.wrapping_sub(low),
        None => 0,
    };
    let end = bias.wrapping_add(high);
    let start = bias.wrapping_add(low);
    if start < LOWEST || end > memory.space().user_end() || start >= end {
        return Err(Errno::ENOEXEC.into());
    }
    let pages = program.file.pages().ok_or(Errno::ENOEXEC)?;
    let object = Object { call, memory, pages, name, bias };
    for segment in loadable(parsed) {
        object.map_segment(segment)?;
    }
    if let Some(there) = there {
        let end = there.writable.iter().map(|range| range.end).max();
        object.map_gaps(parsed, end.unwrap_or(there.range.end))?;
    }
    Ok(Placed { bias, end })
}

/// An object being mapped.
struct Object<'a, 'c> {
    call: &'a Call<'c>,
    memory: &'a Memory,
    pages: Arc<dyn Pages>,
    name: Arc<String>,
    bias: usize,
}

impl Object<'_, '_> {
    fn map_segment(&self, segment: &ProgramHeader) -> SysResult<()> {
        let address = self.bias.wrapping_add(segment.p_vaddr as usize);
        let within = address % PAGE_SIZE;
        let aligned = segment.p_offset as usize % PAGE_SIZE == within;
        let bounded = segment.p_filesz <= segment.p_memsz
            && segment.p_offset.checked_add(segment.p_filesz).is_some();
        if !aligned || !bounded {
            return Err(Errno::ENOEXEC.into());
        }
        if segment.p_memsz == 0 {
            return Ok(());
        }
        let protection = protection(segment);
        let start = address - within;
        let file_end = address.wrapping_add(segment.p_filesz as usize);
        let end = page_up(address.wrapping_add(segment.p_memsz as usize)).ok_or(Errno::ENOEXEC)?;
        let offset = segment.p_offset - within as u64;
        let zeroes = segment.p_memsz > segment.p_filesz;
        // Whole pages of the file; with zeroes behind them the last partial page is not one.
        let mapped_end = if segment.p_filesz == 0 {
            start
        } else if zeroes {
            page_down(file_end)
        } else {
            page_up(file_end).ok_or(Errno::ENOEXEC)?
        };
        if mapped_end > start {
            let backing = Backing::File { pages: Arc::clone(&self.pages), offset, shared: false };
            self.map(start, mapped_end - start, protection, backing, Some(&self.name))?;
        }
        let present = self.memory.space().lookup(mapped_end).is_some();
        if end > mapped_end {
            let length = end - mapped_end;
            if length / PAGE_SIZE > self.call.kernel.machine.counts().total {
                // More than there could ever be.
                return Err(Errno::ENOMEM.into());
            }
            self.map(mapped_end, length, protection, Backing::Anonymous, None)?;
        }
        // What the machine has placed is complete.
        if zeroes && file_end > mapped_end && !present {
            let index = (offset + (mapped_end - start) as u64) / PAGE_SIZE as u64;
            self.copy_head(mapped_end, index, file_end - mapped_end, protection)?;
        }
        Ok(())
    }

    /// Takes what lies between and behind the segments of a placed object. Its interpreter protects
    /// parts of it by pages that may be larger than the machine's, to which the object is not
    /// aligned here; and what is behind the last one in such a page, an interpreter allocates from.
    fn map_gaps(&self, parsed: &Parsed, object_end: usize) -> SysResult<()> {
        let ends = loadable(parsed).map(|segment| segment.p_vaddr.wrapping_add(segment.p_memsz));
        let starts = loadable(parsed).skip(1);
        let starts = starts.map(|next| page_down(self.bias.wrapping_add(next.p_vaddr as usize)));
        for (end, next) in ends.zip(starts.map(Some).chain([None])) {
            let start = page_up(self.bias.wrapping_add(end as usize)).ok_or(Errno::ENOEXEC)?;
            let Some(length) = next.unwrap_or(object_end).checked_sub(start) else { continue };
            if length == 0 {
                continue;
            }
            let writable = Protection::READ | Protection::WRITE;
            let protection = if next.is_none() { writable } else { Protection::empty() };
            self.map(start, length, protection, Backing::Anonymous, None)?;
        }
        Ok(())
    }

    fn map(
        &self,
        start: usize,
        length: usize,
        protection: Protection,
        backing: Backing,
        name: Option<&Arc<String>>,
    ) -> SysResult<()> {
        let placement = Placement::Fixed(start);
        let request = MapRequest { length, protection, backing, placement, grows_down: false };
        self.memory.map_named(request, UNLIMITED, false, name.map(Arc::clone))?;
        if self.memory.is_paged() {
            return Ok(());
        }
        self.memory.populate(self.call.thread, start..start + length)
    }

    /// Puts the first `length` bytes of a file's page at the head of an anonymous page.
    fn copy_head(
        &self,
        address: usize,
        index: u64,
        length: usize,
        protection: Protection,
    ) -> SysResult<()> {
        let machine = self.call.kernel.machine;
        let source =
            self.pages.page(self.call.thread, index, false).map_err(|stop| match stop {
                // Behind the end of the file.
                Stop::Errno(Errno::EFAULT) => Stop::Errno(Errno::ENOEXEC),
                Stop::Errno(_) | Stop::Page(_) | Stop::Sleep(_) | Stop::Turn | Stop::Context => {
                    stop
                }
            })?;
        let copy = self.call.kernel.allocate_frame();
        if let Ok(copy) = copy {
            machine.duplicate(source, copy);
            machine.clear(copy, length..PAGE_SIZE);
        }
        machine.release(source);
        self.memory.install(address, copy?, protection)
    }
}

fn protection(segment: &ProgramHeader) -> Protection {
    let mut protection = Protection::empty();
    for (flag, bit) in
        [(PF_R, Protection::READ), (PF_W, Protection::WRITE), (PF_X, Protection::EXECUTE)]
    {
        protection.set(bit, segment.p_flags & flag != 0);
    }
    protection
}

/// Where the program headers lie in memory.
fn headers_address(parsed: &Parsed, placed: &Placed) -> usize {
    let table = parsed.header.e_phoff;
    let stated = parsed.segments.iter().find(|segment| segment.p_type == PT_PHDR);
    let address = match stated {
        Some(segment) => segment.p_vaddr,
        None => loadable(parsed)
            .find(|segment| {
                table >= segment.p_offset && table - segment.p_offset < segment.p_filesz
            })
            .map_or(0, |segment| segment.p_vaddr.wrapping_add(table - segment.p_offset)),
    };
    placed.bias.wrapping_add(address as usize)
}

/// Random landmarks: the top of the stack, and of the mappings below it.
fn lay_out(call: &Call<'_>, memory: &Memory, interpreted: bool) {
    let mappable = memory.mappable();
    let stack_top = mappable.end - random_pages(call, memory, RANDOM_PAGES >> 8);
    let room = STACK_ROOM.min(mappable.len() / STACK_SHARE);
    let mapping_top = stack_top - page_down(room) - random_pages(call, memory, RANDOM_PAGES);
    let page_size = memory.placed_page_size().filter(|_| interpreted).unwrap_or(PAGE_SIZE);
    memory.change_layout(|layout| {
        layout.stack_top = stack_top;
        layout.mapping_top = mapping_top;
        layout.page_size = page_size;
    });
}

fn set_heap(call: &Call<'_>, memory: &Memory, program_end: usize) {
    let mappable = memory.mappable();
    // Behind the program, but where the program lies apart from all memory that can be had.
    let behind = if mappable.contains(&program_end) { program_end } else { mappable.start };
    let start = behind.wrapping_add(random_pages(call, memory, HEAP_RANDOM_PAGES));
    memory.change_layout(|layout| {
        layout.heap_start = start;
        layout.heap_end = start;
    });
}

/// A random number of bytes: whole pages below `pages`, and below a share of user space.
fn random_pages(call: &Call<'_>, memory: &Memory, pages: u64) -> usize {
    let room = (memory.mappable().len() / PAGE_SIZE / RANDOM_SHARE) as u64;
    ((call.kernel.random.next() % pages.min(room).max(1)) as usize) * PAGE_SIZE
}
