// SPDX-License-Identifier: MIT
//! Executing programs: find, load, and replace what the process was.
//!
//! [`prepare`] builds a new address space beside the old one and changes nothing, so it can stop
//! for pages of the program and be attempted again; [`commit`] then makes the change, which cannot
//! fail.

mod elf;
mod stack;
mod workload;

pub(crate) use workload::start_workload;

use crate::fs::text::TextUse;
use crate::fs::{File, Follow, Kind, OpenFile, OpenFlags, Place, walk};
use crate::memory::Memory;
use crate::outcome::SysResult;
use crate::signal::{SIGCHLD, STACK_DISABLED};
use crate::task::{Call, Thread};
use crate::user::Sink;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use strongroom_abi::{Errno, SignalStack};
use strongroom_south::Context;

/// Interpreters of interpreters, as on Linux.
const SCRIPT_DEPTH_MAX: usize = 4;
/// Bytes of a script's first line that are looked at.
const SCRIPT_LINE_MAX: usize = 256;
/// Longest single argument (`MAX_ARG_STRLEN`).
pub(crate) const ARGUMENT_MAX: usize = 128 * 1024;
/// Bytes of all arguments and environment together.
pub(crate) const ARGUMENTS_MAX: usize = 2 << 20;

/// Strings for a program.
#[derive(Clone, Default)]
pub(crate) struct Arguments {
    /// `argv`.
    pub(crate) arguments: Vec<Vec<u8>>,
    /// `envp`.
    pub(crate) environment: Vec<Vec<u8>>,
}

/// A program that is loaded but does not run yet.
pub(crate) struct NewImage {
    pub(crate) memory: Arc<Memory>,
    pub(crate) context: Box<dyn Context>,
    executable: Place,
    name: String,
    /// Owner to become (set-user-ID).
    identity: (Option<u32>, Option<u32>),
}

/// A program file, open.
struct Program<'a> {
    by: &'a Arc<Thread>,
    place: Place,
    file: Arc<dyn File>,
    text: Arc<TextUse>,
}

/// Loads the program at `place`. `path` is how the caller named it.
pub(crate) fn prepare(
    call: &mut Call<'_>,
    place: Place,
    path: &[u8],
    mut strings: Arguments,
) -> SysResult<Box<NewImage>> {
    let mut place = place;
    let mut path = path.to_vec();
    for _ in 0..=SCRIPT_DEPTH_MAX {
        let program = open(call, place)?;
        let mut head = [0; SCRIPT_LINE_MAX];
        let length = program.read(call, 0, &mut head)?;
        let head = head.get(..length).unwrap_or_default();
        let Some(line) = head.strip_prefix(b"#!") else {
            return load(call, &program, &path, &strings);
        };
        let (interpreter, argument) = script_line(line)?;
        let mut arguments: Vec<Vec<u8>> = Vec::new();
        arguments.push(interpreter.to_vec());
        arguments.extend(argument.map(<[u8]>::to_vec));
        arguments.push(path);
        arguments.extend(strings.arguments.into_iter().skip(1));
        strings.arguments = arguments;
        path = interpreter.to_vec();
        let working = call.thread.process.fs().working();
        place = walk(call.thread, &working, interpreter, Follow::Yes)?;
    }
    Err(Errno::ELOOP.into())
}

/// Interpreter and optional argument of a `#!` line.
fn script_line(line: &[u8]) -> Result<(&[u8], Option<&[u8]>), Errno> {
    let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
    let line = line.get(..end).unwrap_or_default().trim_ascii();
    if line.is_empty() || line.contains(&0) {
        return Err(Errno::ENOEXEC);
    }
    let split = line.iter().position(u8::is_ascii_whitespace);
    Ok(match split {
        None => (line, None),
        Some(at) => {
            let (interpreter, rest) = line.split_at(at);
            (interpreter, Some(rest.trim_ascii()))
        }
    })
}

fn open<'a>(call: &mut Call<'a>, place: Place) -> SysResult<Program<'a>> {
    if place.inode.kind() != Kind::Regular {
        return Err(Errno::EACCES.into());
    }
    let attributes = place.inode.attributes(call.thread)?;
    let credentials = call.thread.process.credentials.lock().clone();
    if !credentials.may(1, attributes.mode(), attributes.uid, attributes.gid) {
        return Err(Errno::EACCES.into());
    }
    let file = Arc::clone(&place.inode).open(call, &place, OpenFlags::empty())?;
    let text = Arc::new(TextUse::run(call.kernel, place.inode.id())?);
    Ok(Program { by: call.thread, place, file, text })
}

impl Program<'_> {
    /// Reads as much as there is at an offset.
    fn read(&self, call: &mut Call<'_>, offset: u64, buffer: &mut [u8]) -> SysResult {
        let open = OpenFile::new(
            self.by.kernel,
            Arc::clone(&self.file),
            Some(self.place.clone()),
            OpenFlags::empty(),
        );
        let memory: &Memory = call.memory;
        self.file.read(call, &open, offset, &mut Sink::kernel(memory, buffer))
    }
}

fn load(
    call: &mut Call<'_>,
    program: &Program<'_>,
    path: &[u8],
    strings: &Arguments,
) -> SysResult<Box<NewImage>> {
    let memory = Memory::for_program(call.memory)?;
    memory.keep_text(Arc::clone(&program.text));
    let loaded = elf::load(call, program, &memory)?;
    let registers = stack::build(call.thread, &memory, &loaded, path, strings)?;
    let mut context = memory.shared_space().new_context()?;
    *context.registers() = registers;
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let name = String::from_utf8_lossy(base).chars().take(15).collect();
    Ok(Box::new(NewImage {
        memory,
        context,
        executable: program.place.clone(),
        name,
        identity: identity(call.thread, program)?,
    }))
}

/// The ids of a set-user-ID or set-group-ID program.
fn identity(by: &Thread, program: &Program<'_>) -> SysResult<(Option<u32>, Option<u32>)> {
    const SET_UID: u32 = 0o4000;
    const SET_GID: u32 = 0o2010;
    let attributes = program.place.inode.attributes(by)?;
    let uid = (attributes.permissions & SET_UID != 0).then_some(attributes.uid);
    let gid = (attributes.permissions & SET_GID == SET_GID).then_some(attributes.gid);
    Ok((uid, gid))
}

/// Makes the calling thread, by now the only one, run the new program.
pub(crate) fn commit(thread: &Arc<Thread>, image: &NewImage) {
    let process = &thread.process;
    thread.become_leader();
    let files = {
        let mut files = thread.files.lock();
        if Arc::strong_count(&files) > 2 {
            *files = Arc::new(files.duplicate());
        }
        Arc::clone(&files)
    };
    for descriptor in files.take_close_on_exec() {
        crate::calls::release_record_locks(process, &descriptor.open);
    }
    process.handlers.reset_for_exec();
    process.timers.posix.lock().clear();
    thread.clear_child_tid.store(0, Ordering::Relaxed);
    thread.robust_list.store(0, Ordering::Relaxed);
    thread.signals.lock().stack = SignalStack { flags: STACK_DISABLED, ..SignalStack::default() };
    thread.name.lock().clone_from(&image.name);
    *process.executable.lock() = Some(image.executable.clone());
    {
        let mut credentials = process.credentials.lock();
        if let Some(uid) = image.identity.0 {
            credentials.euid = uid;
        }
        if let Some(gid) = image.identity.1 {
            credentials.egid = gid;
        }
        credentials.suid = credentials.euid;
        credentials.sgid = credentials.egid;
    }
    process.set_memory(Some(Arc::clone(&image.memory)));
    process.exit_signal.store(u32::from(SIGCHLD), Ordering::Relaxed);
    process.executed.store(true, Ordering::Release);
    process.released.wake();
}
