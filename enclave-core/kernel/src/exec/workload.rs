// SPDX-License-Identifier: MIT
//! The first process: the workload of the manifest.

use crate::attach::{self, Unattended};
use crate::exec::stack::FLAT;
use crate::exec::{Arguments, commit, prepare};
use crate::fs::{self, Follow, FsContext, Place, walk};
use crate::kernel::Kernel;
use crate::memory::Memory;
use crate::outcome::{Stop, SysResult};
use crate::signal::{Handlers, SignalSet, ThreadSignals};
use crate::task::{
    Call, Credentials, ExitStatus, Inherited, Limit, Limits, Process, Progress, Thread, UNLIMITED,
    exit, run,
};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::Poll;
use strongroom_abi::Errno;
use strongroom_session::Gathered;
use strongroom_south::Context;
use strongroom_wire::message::TerminalSize;

/// Where a program without a slash in its name is looked for.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Statuses of a shell for a program that is not there, or cannot be executed.
const STATUS_NOT_FOUND: u8 = 127;
const STATUS_NOT_EXECUTABLE: u8 = 126;
/// What a user is told whose host has no place for clients to come to.
const NO_CLIENTS: &str = "the program waits for a session with its owner, and the host does not \
                          listen for one: give --attach";

/// Makes the first process and starts the manifest's program in it.
pub(crate) fn start_workload(kernel: &'static Kernel, terminal: [bool; 3], size: TerminalSize) {
    let outcome = first_thread(kernel, terminal, size);
    let (thread, memory, context) = match outcome {
        Ok(parts) => parts,
        Err(_) => {
            kernel.abort("not enough memory to start the workload: raise --memory");
            return;
        }
    };
    kernel.scheduler.spawn(thread.key, Box::pin(launch(thread, memory, context)));
}

/// The limits to start with. Where memory is given at once and no stack grows, programs are told how
/// large theirs is: threads are made with as much.
fn limits(memory: &Memory) -> Limits {
    let mut limits = Limits::default();
    if !memory.is_paged() {
        limits.set(Limits::STACK, Limit { soft: FLAT as u64, hard: UNLIMITED });
    }
    limits
}

/// A thread, its memory, and the processor state that will run it.
type FirstThread = (Arc<Thread>, Arc<Memory>, Box<dyn Context>);

fn first_thread(
    kernel: &'static Kernel,
    terminal: [bool; 3],
    size: TerminalSize,
) -> SysResult<FirstThread> {
    let root = fs::mount_all(kernel)?;
    let memory = Memory::new(kernel)?;
    let context = memory.shared_space().new_context()?;
    let inherited = Inherited {
        memory: Arc::clone(&memory),
        fs: Arc::new(FsContext::new(root)),
        handlers: Handlers::new(),
        credentials: Credentials::default(),
        limits: limits(&memory),
        exit_signal: 0,
    };
    let pid = kernel.processes.allocate()?;
    let process = Process::new(kernel, pid, None, inherited);
    kernel.processes.add(&process);
    let files = Arc::new(fs::devices::console_files(kernel, &process, terminal, size)?);
    let signals = ThreadSignals::with_mask(SignalSet::default());
    let key = kernel.scheduler.reserve();
    let name = String::from("init");
    let thread = Arc::new(Thread::new(Arc::clone(&process), key, pid, files, signals, name));
    kernel.processes.add_thread(pid, &process);
    process.threads.lock().push(Arc::clone(&thread));
    Ok((thread, memory, context))
}

/// Waits for an owner where the manifest says so, loads the program, then lives as its first thread.
async fn launch(thread: Arc<Thread>, memory: Arc<Memory>, mut context: Box<dyn Context>) {
    let kernel = thread.kernel;
    let late = match attach::wait_for_owner(&thread).await {
        Ok(late) => late,
        Err(Unattended::NoClients) => {
            kernel.abort(NO_CLIENTS);
            return;
        }
        Err(Unattended::Ended) => {
            drop((memory, context));
            exit::finish_thread(&thread);
            return;
        }
    };
    let mut progress = Progress::default();
    let files = Arc::clone(&thread.files.lock());
    let image = loop {
        let mut call = Call {
            kernel,
            thread: &thread,
            memory: &memory,
            files: &files,
            context: Some(&mut *context),
            progress: &mut progress,
            number: 0,
            arguments: [0; 6],
        };
        match load(&mut call, &late) {
            Ok(image) => break image,
            Err(Stop::Errno(errno)) => {
                give_up(kernel, errno);
                return;
            }
            Err(Stop::Sleep(_)) => once().await,
            Err(Stop::Turn | Stop::Page(_) | Stop::Context) => {
                kernel.scheduler.wake(thread.key);
                once().await;
            }
        }
        thread.reader.rewind();
    };
    thread.reader.forget();
    drop((files, memory, context, late));
    commit(&thread, &image);
    let image = *image;
    run(thread, image.memory, image.context).await;
}

/// Pending once.
async fn once() {
    let mut first = true;
    poll_fn(|_| if core::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }).await;
}

fn load(call: &mut Call<'_>, late: &Gathered) -> SysResult<Box<crate::exec::NewImage>> {
    fs::mount_late(call.thread)?;
    fs::mount_secrets(call, &late.secrets)?;
    let manifest = &call.kernel.manifest;
    let fs = call.thread.process.fs();
    let root = fs.root();
    if !manifest.working_directory.is_empty() {
        let path = manifest.working_directory.as_bytes();
        fs.set_working(walk(call.thread, &root, path, Follow::Yes)?);
    }
    let (path, place) = find(call.thread, &manifest.program)?;
    let strings = Arguments {
        arguments: bytes(manifest.arguments.iter().chain(&late.arguments)),
        environment: bytes(environment(&manifest.environment, late).iter()),
    };
    prepare(call, place, path.as_bytes(), strings)
}

fn bytes<'a>(strings: impl Iterator<Item = &'a String>) -> Vec<Vec<u8>> {
    strings.map(|text| text.as_bytes().to_vec()).collect()
}

/// The manifest's variables, and the owner's in place of those of the same name.
fn environment(measured: &[String], late: &Gathered) -> Vec<String> {
    let replaced = |variable: &String| {
        let name = variable.split('=').next();
        late.environment.iter().any(|(late, _)| Some(late.as_str()) == name)
    };
    let kept = measured.iter().filter(|variable| !replaced(variable)).cloned();
    let given = late.environment.iter().map(|(name, value)| alloc::format!("{name}={value}"));
    kept.chain(given).collect()
}

/// The program's file: as named, or in the search path.
fn find(by: &Thread, program: &str) -> SysResult<(String, Place)> {
    let working = by.process.fs().working();
    if program.contains('/') {
        let place = walk(by, &working, program.as_bytes(), Follow::Yes)?;
        return Ok((String::from(program), place));
    }
    for directory in SEARCH_PATH.split(':') {
        let path = alloc::format!("{directory}/{program}");
        match walk(by, &working, path.as_bytes(), Follow::Yes) {
            Ok(place) => return Ok((path, place)),
            Err(Stop::Errno(_)) => {}
            Err(stop) => return Err(stop),
        }
    }
    Err(Errno::ENOENT.into())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "there is an errno for everything; only some have a cause that can be named"
)]
fn give_up(kernel: &'static Kernel, errno: Errno) {
    let program = &kernel.manifest.program;
    let (status, why) = match errno {
        Errno::ENOENT | Errno::ENOTDIR => (STATUS_NOT_FOUND, "not found in the image"),
        Errno::EACCES => (STATUS_NOT_EXECUTABLE, "not an executable file"),
        Errno::ENOEXEC => (STATUS_NOT_EXECUTABLE, "not a program for this machine"),
        Errno::EIO => (STATUS_NOT_EXECUTABLE, "cannot be read: the image is not what was measured"),
        Errno::ENOMEM => (STATUS_NOT_EXECUTABLE, "does not fit into memory; raise --memory"),
        _ => (STATUS_NOT_EXECUTABLE, "cannot be executed"),
    };
    kernel.report(format_args!("{program}: {why} ({errno:?})"));
    kernel.finish(ExitStatus::Code(status));
}
