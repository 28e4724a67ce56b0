// SPDX-License-Identifier: MIT
//! The packed file: one ELF that OP-TEE's loader (`ldelf`) accepts.
//!
//! What the loader demands (OP-TEE 4.10, `ldelf/ta_elf.c`): `ET_DYN`; all program headers in the
//! first page; segments in ascending order of address and file offset, all of one alignment, and
//! read-only ones without zeroes behind them; the file is read forwards only, so the section
//! headers, which name the library OS's relocations, come last.

use crate::library_os::LibraryOs;
use crate::object::{Load, Object, PAGE};
use crate::rewrite::{self, Counts, Text};
use crate::{File, PackError};
use sha2::{Digest as _, Sha256};
use strongroom_optee_package::{
    Anchor, DIGEST_AT, DIGEST_LENGTH, INFORMATION_MAX, Object as PackedObject, Package,
    STUB_LENGTH, Segment as PackedSegment, Site, Uuid, VERSION,
};

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const READ: u32 = 4;
const WRITE: u32 = 2;
const EXECUTE: u32 = 1;
const PT_LOAD: u32 = 1;
/// Most bytes of a packed file: what OP-TEE's loader can address.
const FILE_MAX: usize = i32::MAX as usize;

/// What goes into a package.
#[derive(Debug)]
pub struct Input<'a> {
    /// The library OS, as the linker made it.
    pub library_os: &'a [u8],
    /// The boot record: manifest and root digest, encoded.
    pub record: &'a [u8],
    /// The program, its interpreter and its libraries.
    pub objects: Vec<File>,
    /// Bytes of memory for the program and the page cache.
    pub memory: u64,
    /// The TA's name; derived from the record when none is given.
    pub uuid: Option<Uuid>,
    /// The TA's version, for OP-TEE's rollback protection.
    pub ta_version: u32,
}

/// A packed trusted application, not signed yet.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The ELF file.
    pub elf: Vec<u8>,
    /// Its name.
    pub uuid: Uuid,
    /// Its version.
    pub ta_version: u32,
    /// SHA-256 of the file with the digest's own bytes zero.
    pub digest: [u8; DIGEST_LENGTH],
    /// What was replaced, by path.
    pub replaced: Vec<(String, Counts)>,
}

/// A segment of the packed file.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Distance from the load address, the start of a page.
    pub(crate) address: u64,
    /// What lies in the file.
    pub(crate) bytes: Vec<u8>,
    /// Bytes in memory.
    pub(crate) memory: u64,
    /// `PF_*`.
    pub(crate) flags: u32,
}

/// An object in its place, its text not connected to its stubs yet.
struct Placed {
    object: Object,
    base: u64,
    texts: Vec<Text>,
    /// Segments other than texts.
    others: Vec<Segment>,
}

/// Packs.
///
/// # Errors
///
/// [`PackError`] names the file and the reason.
pub fn pack(input: Input<'_>) -> Result<Packed, PackError> {
    let mut library_os = LibraryOs::parse(input.library_os)?;
    let uuid = input.uuid.unwrap_or_else(|| Uuid::of_record(input.record));
    let mut cursor = library_os.end().next_multiple_of(PAGE);
    let mut placed = Vec::new();
    for file in input.objects {
        let object = place(Object::parse(file)?, &mut cursor)?;
        placed.push(object);
    }
    let stubs = Stubs::connect(&mut placed, cursor, &library_os)?;
    let information_at = (cursor + stubs.bytes.len() as u64).next_multiple_of(PAGE);
    let replaced = placed.iter().map(|placed| (placed.object.path.clone(), placed.counts()));
    let replaced = replaced.collect();
    let (objects, mut segments) = describe(placed);
    let package = Package {
        version: VERSION,
        uuid,
        ta_version: input.ta_version,
        record: input.record.to_vec(),
        memory: input.memory,
        writable_digest: writable_digest(&segments),
        objects,
    };
    let information = package.encode().map_err(|_| PackError::TooLong(INFORMATION_MAX))?;
    let sites_at = information_at + information.len().next_multiple_of(8) as u64;
    library_os.name(uuid)?;
    library_os.anchor(Anchor {
        own: 0,
        information: (information_at as u32, information.len() as u32),
        stubs: cursor,
        sites: sites_at,
        count: stubs.sites.len() as u64,
    })?;
    segments.splice(0..0, library_os.segments());
    segments.push(Segment::new(cursor, stubs.bytes, READ | EXECUTE));
    segments.push(Segment::new(information_at, with_sites(information, &stubs.sites), READ));
    let (mut elf, offset) = assemble(&library_os, &segments)?;
    let digest: [u8; DIGEST_LENGTH] = Sha256::digest(&elf).into();
    if let Some(place) = elf.get_mut(offset + DIGEST_AT..offset + DIGEST_AT + DIGEST_LENGTH) {
        place.copy_from_slice(&digest);
    }
    Ok(Packed { elf, uuid, ta_version: input.ta_version, digest, replaced })
}

impl Segment {
    fn new(address: u64, bytes: Vec<u8>, flags: u32) -> Self {
        let memory = bytes.len() as u64;
        Self { address, bytes, memory, flags }
    }
}

impl Placed {
    fn counts(&self) -> Counts {
        self.texts.iter().fold(Counts::default(), |sum, text| Counts {
            calls: sum.calls + text.counts.calls,
            counters: sum.counters + text.counts.counters,
            identification: sum.identification + text.counts.identification,
            maintenance: sum.maintenance + text.counts.maintenance,
            pauses: sum.pauses + text.counts.pauses,
            breakpoints: sum.breakpoints + text.counts.breakpoints,
        })
    }
}

/// Puts an object behind what is there.
fn place(object: Object, cursor: &mut u64) -> Result<Placed, PackError> {
    let extent = object.extent();
    let start = cursor.next_multiple_of(object.alignment);
    let base = start - extent.start / object.alignment * object.alignment;
    // To the end of its last page, however large it takes pages to be: interpreters use the rest
    // of theirs before they have any other memory.
    let end = (base + extent.end).next_multiple_of(object.alignment);
    let mut texts = Vec::new();
    let mut others = Vec::new();
    let last = object.loads.len().saturating_sub(1);
    for (index, load) in object.loads.iter().enumerate() {
        if load.executable {
            texts.push(Text::of(&object, load)?);
        } else {
            others.push(plain(&object, load, base, (index == last).then_some(end)));
        }
    }
    *cursor = end;
    Ok(Placed { object, base, texts, others })
}

/// A segment without code.
fn plain(object: &Object, load: &Load, base: u64, end: Option<u64>) -> Segment {
    let bytes = rewrite::pages(object, load);
    let address = base + (load.address & !(PAGE - 1));
    if !load.writable {
        return Segment::new(address, bytes, READ);
    }
    let memory = end.map_or(bytes.len() as u64, |end| end - address);
    let within = (load.address & (PAGE - 1)) as usize + load.file.len();
    let bytes = bytes.get(..within).unwrap_or_default().to_vec();
    Segment { address, bytes, memory, flags: READ | WRITE }
}

/// All stubs, and the table of the instructions they stand for.
struct Stubs {
    bytes: Vec<u8>,
    sites: Vec<Site>,
}

impl Stubs {
    /// Connects the texts with stubs from `start` on, and checks the result.
    fn connect(
        placed: &mut [Placed],
        start: u64,
        library_os: &LibraryOs<'_>,
    ) -> Result<Self, PackError> {
        let mut stubs = Self { bytes: Vec::new(), sites: Vec::new() };
        for Placed { object, base, texts, .. } in placed {
            for text in texts {
                text.connect(object, *base, start + stubs.bytes.len() as u64)?;
                text.verify(object)?;
                for replacement in &text.replacements {
                    let site = *base + replacement.address;
                    let at = start + stubs.bytes.len() as u64;
                    let stub = rewrite::stub(replacement, site, at, |gate| library_os.gate(gate))?;
                    stubs.bytes.extend(stub);
                    let place = site as u32;
                    stubs.sites.push(Site { place, action: replacement.action });
                }
            }
        }
        // A segment of no size is none.
        stubs.bytes.resize(stubs.bytes.len().max(STUB_LENGTH), 0);
        Ok(stubs)
    }
}

/// The segments of all objects, and what the library OS is told about them.
fn describe(placed: Vec<Placed>) -> (Vec<PackedObject>, Vec<Segment>) {
    let mut objects = Vec::new();
    let mut all = Vec::new();
    for Placed { object, base, texts, others } in placed {
        let mut segments: Vec<Segment> = others;
        for text in texts {
            segments.extend(split(text, base));
        }
        segments.sort_by_key(|segment| segment.address);
        let extent = object.extent();
        objects.push(PackedObject {
            path: object.path,
            base,
            span: extent.end - extent.start,
            alignment: object.alignment,
            segments: segments.iter().map(told).collect(),
        });
        all.extend(segments);
    }
    (objects, all)
}

fn told(segment: &Segment) -> PackedSegment {
    PackedSegment {
        start: segment.address,
        length: segment.memory.next_multiple_of(PAGE),
        writable: segment.flags & WRITE != 0,
        executable: segment.flags & EXECUTE != 0,
    }
}

/// Only the pages with code are executable.
fn split(text: Text, base: u64) -> Vec<Segment> {
    let Text { start, bytes, executable, .. } = text;
    let end = start + bytes.len() as u64;
    let mut segments = Vec::new();
    for (range, flags) in [
        (start..executable.start, READ),
        (executable.start..executable.end, READ | EXECUTE),
        (executable.end..end, READ),
    ] {
        let within = (range.start - start) as usize..(range.end - start) as usize;
        match bytes.get(within) {
            Some(part) if !part.is_empty() => {
                segments.push(Segment::new(base + range.start, part.to_vec(), flags));
            }
            Some(_) | None => {}
        }
    }
    segments
}

fn writable_digest(segments: &[Segment]) -> [u8; DIGEST_LENGTH] {
    let mut hash = Sha256::new();
    for segment in segments.iter().filter(|segment| segment.flags & WRITE != 0) {
        hash.update(&segment.bytes);
        let length = segment.memory.next_multiple_of(PAGE) as usize;
        hash.update(vec![0; length - segment.bytes.len()]);
    }
    hash.finalize().into()
}

fn with_sites(mut information: Vec<u8>, sites: &[Site]) -> Vec<u8> {
    information.resize(information.len().next_multiple_of(8), 0);
    sites.iter().for_each(|site| information.extend(site.encode()));
    information
}

/// The file, and the offset of its last segment.
fn assemble(
    library_os: &LibraryOs<'_>,
    segments: &[Segment],
) -> Result<(Vec<u8>, usize), PackError> {
    let others = library_os.other_headers();
    let count = segments.len() + others.len();
    let most = (PAGE as usize - HEADER) / PROGRAM_HEADER;
    if count > most {
        return Err(PackError::TooManySegments { segments: count, most });
    }
    let mut file = vec![0; PAGE as usize];
    let mut headers = Vec::new();
    let mut last = 0;
    for segment in segments {
        last = file.len();
        let length = segment.bytes.len() as u64;
        let place = [last as u64, segment.address, segment.address];
        headers.extend(program_header(
            PT_LOAD,
            segment.flags,
            place,
            [length, segment.memory, PAGE],
        ));
        file.extend_from_slice(&segment.bytes);
        file.resize(file.len().next_multiple_of(PAGE as usize), 0);
    }
    headers.extend(others.concat());
    let sections = library_os.section_headers();
    let section_count = sections.len() / HEADER;
    let header = library_os.header(file.len() as u64, count as u16, section_count as u16);
    file.extend(sections);
    if file.len() > FILE_MAX {
        return Err(PackError::TooLarge(file.len()));
    }
    for (place, bytes) in [(0, &header), (HEADER, &headers)] {
        if let Some(place) = file.get_mut(place..place + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    Ok((file, last))
}

fn program_header(kind: u32, flags: u32, place: [u64; 3], sizes: [u64; 3]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PROGRAM_HEADER);
    bytes.extend(kind.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    place.iter().chain(&sizes).for_each(|field| bytes.extend(field.to_le_bytes()));
    bytes
}
