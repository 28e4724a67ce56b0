// SPDX-License-Identifier: MIT
//! The stack a program starts with: arguments, environment, auxiliary vector (`getauxval(3)`).

use crate::exec::elf::Loaded;
use crate::exec::{ARGUMENTS_MAX, Arguments};
use crate::memory::{Backing, MapRequest, Memory, Placement, Protection};
use crate::outcome::SysResult;
use crate::task::{Thread, UNLIMITED};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use strongroom_abi::{Errno, arch};
use strongroom_south::PAGE_SIZE;

/// Mapped at first; it grows from there, where the machine has demand paging.
const INITIAL: usize = 33 * PAGE_SIZE;
/// Where it cannot grow.
pub(super) const FLAT: usize = 1 << 20;

const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_BASE: u64 = 7;
const AT_FLAGS: u64 = 8;
const AT_ENTRY: u64 = 9;
const AT_UID: u64 = 11;
const AT_EUID: u64 = 12;
const AT_GID: u64 = 13;
const AT_EGID: u64 = 14;
const AT_PLATFORM: u64 = 15;
const AT_HWCAP: u64 = 16;
const AT_CLKTCK: u64 = 17;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;

/// Builds downwards from the top.
struct Builder {
    top: usize,
    /// The bytes of the stack from `top - bytes.len()` to `top`, reversed.
    reversed: Vec<u8>,
}

impl Builder {
    fn address(&self) -> usize {
        self.top - self.reversed.len()
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        self.reversed.extend(bytes.iter().rev());
        self.address()
    }

    fn push_string(&mut self, text: &[u8]) -> usize {
        self.push(&[0]);
        self.push(text)
    }

    fn push_word(&mut self, word: u64) {
        self.push(&word.to_le_bytes());
    }

    /// Pads so that `words` more words end at a multiple of 16.
    fn align(&mut self, words: usize) {
        while !(self.address() - words * 8).is_multiple_of(16) {
            self.push(&[0]);
        }
    }
}

/// Maps and fills the stack; returns the registers to start with.
pub(super) fn build(
    by: &Arc<Thread>,
    memory: &Memory,
    loaded: &Loaded,
    path: &[u8],
    strings: &Arguments,
) -> SysResult<arch::Registers> {
    let top = memory.layout().stack_top;
    let mut builder = Builder { top, reversed: Vec::new() };
    builder.push_word(0);
    let executable = builder.push_string(path);
    let environment_end = builder.address();
    let push_all = |builder: &mut Builder, strings: &[Vec<u8>]| -> Vec<usize> {
        let mut places: Vec<usize> =
            strings.iter().rev().map(|text| builder.push_string(text)).collect();
        places.reverse();
        places
    };
    let environment = push_all(&mut builder, &strings.environment);
    let arguments_end = builder.address();
    let arguments = push_all(&mut builder, &strings.arguments);
    if builder.reversed.len() > ARGUMENTS_MAX {
        return Err(Errno::E2BIG.into());
    }
    let arguments_start = builder.address();
    let platform = builder.push_string(arch::MACHINE.as_bytes());
    let mut seed = [0; 16];
    by.kernel.random.fill(&mut seed);
    let seed_at = builder.push(&seed);
    let page_size = memory.layout().page_size;
    let auxiliary = auxiliary(by, loaded, page_size, [executable, platform, seed_at]);
    let words = 2 * auxiliary.len() + environment.len() + 1 + arguments.len() + 1 + 1;
    builder.align(words);
    for (key, value) in auxiliary.iter().rev() {
        builder.push_word(*value);
        builder.push_word(*key);
    }
    let auxiliary_start = builder.address();
    for places in [&environment, &arguments] {
        builder.push_word(0);
        places.iter().rev().for_each(|place| builder.push_word(*place as u64));
    }
    builder.push_word(strings.arguments.len() as u64);
    memory.change_layout(|layout| {
        layout.arguments = (arguments_start, arguments_end);
        layout.environment = (arguments_end, environment_end);
        layout.auxiliary = (auxiliary_start, auxiliary_start + 16 * auxiliary.len());
    });
    place(by, memory, builder, loaded.start)
}

/// Maps the stack and copies the builder's bytes to its top.
fn place(
    by: &Arc<Thread>,
    memory: &Memory,
    mut builder: Builder,
    start: usize,
) -> SysResult<arch::Registers> {
    let stack_pointer = builder.address();
    builder.reversed.reverse();
    let room = if memory.is_paged() { INITIAL } else { FLAT };
    let used = builder.top - (stack_pointer & !(PAGE_SIZE - 1));
    let length = room.max(used + PAGE_SIZE);
    let request = MapRequest {
        length,
        protection: Protection::READ | Protection::WRITE,
        backing: Backing::Anonymous,
        placement: Placement::Fixed(builder.top - length),
        grows_down: true,
    };
    let name = Some(Arc::new(String::from("[stack]")));
    memory.map_named(request, UNLIMITED, false, name)?;
    let present = if memory.is_paged() { used } else { length };
    memory.populate(by, builder.top - present..builder.top)?;
    memory.space().copy_out(stack_pointer, &builder.reversed)?;
    Ok(arch::Registers::start(start, stack_pointer))
}

fn auxiliary(
    by: &Thread,
    loaded: &Loaded,
    page_size: usize,
    places: [usize; 3],
) -> Vec<(u64, u64)> {
    let [executable, platform, seed] = places.map(|place| place as u64);
    let credentials = by.process.credentials.lock();
    let secure = credentials.uid != credentials.euid || credentials.gid != credentials.egid;
    alloc::vec![
        (AT_HWCAP, u64::from(arch::HARDWARE_CAPABILITIES)),
        (AT_PAGESZ, page_size as u64),
        (AT_CLKTCK, 100),
        (AT_PHDR, loaded.headers_at as u64),
        (AT_PHENT, 56),
        (AT_PHNUM, loaded.headers as u64),
        (AT_BASE, loaded.interpreter_base as u64),
        (AT_FLAGS, 0),
        (AT_ENTRY, loaded.entry as u64),
        (AT_UID, u64::from(credentials.uid)),
        (AT_EUID, u64::from(credentials.euid)),
        (AT_GID, u64::from(credentials.gid)),
        (AT_EGID, u64::from(credentials.egid)),
        (AT_SECURE, u64::from(secure)),
        (AT_RANDOM, seed),
        (AT_EXECFN, executable),
        (AT_PLATFORM, platform),
        (0, 0),
    ]
}
