// SPDX-License-Identifier: MIT
//! The system: `uname(2)`, `sysinfo(2)`, `getrandom(2)`, `prctl(2)`, `getrlimit(2)`.

use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::table::{Row, row};
use crate::task::{Call, Limit, Limits, Process};
use crate::user::{UserPtr, UserStr};
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use strongroom_abi::{Errno, Rlimit, Sysinfo, Utsname, arch};
use strongroom_south::PAGE_SIZE;

pub(crate) const CALLS: &[Row] = &[
    row!(Uname, uname(1), Full),
    row!(Sethostname, sethostname(2), Refused("the host name is measured")),
    row!(Setdomainname, sethostname(2), Refused("there is no domain name")),
    row!(Sysinfo, sysinfo(1), Full),
    row!(Getrandom, getrandom(3), Full),
    row!(Prctl, prctl(5), Partial("names, death signal, dumpable, subreaper, no_new_privs")),
    row!(ArchPrctl, arch_prctl(2), Partial("no GS base")),
    row!(Getrlimit, getrlimit(2), Full),
    row!(Setrlimit, setrlimit(2), Full),
    row!(Prlimit64, prlimit64(4), Full),
    row!(Personality, personality(1), Partial("only PER_LINUX")),
    row!(Syslog, syslog(3), Refused("the kernel log belongs to the host")),
    row!(Mount, not_permitted(0), Refused("mounts are fixed by the manifest")),
    row!(Umount2, not_permitted(0), Refused("mounts are fixed by the manifest")),
    row!(PivotRoot, not_permitted(0), Refused("mounts are fixed by the manifest")),
    row!(Reboot, not_permitted(0), Refused("end the first process instead")),
    row!(Ptrace, not_permitted(0), Refused("no debugging inside")),
    row!(Seccomp, not_there(0), Refused("no filters")),
    row!(Rseq, not_there(0), Refused("one processor; libc does without")),
    row!(Bpf, not_permitted(0), Refused("no BPF")),
    row!(PerfEventOpen, not_permitted(0), Refused("no counters")),
];

/// What `uname -r` says: the Linux version whose interface is served.
pub(crate) const RELEASE: &str = "6.1.0-strongroom";
/// What `uname -v` says.
pub(crate) const VERSION: &str = "#1 Strongroom library OS";
/// Host name where the manifest has none.
const HOSTNAME: &str = "strongroom";

fn uname(call: &mut Call<'_>, buffer: UserPtr<Utsname>) -> SysResult {
    let hostname = hostname(call.kernel);
    let texts = ["Linux", hostname, RELEASE, VERSION, arch::MACHINE, "(none)"];
    let mut name = Utsname { fields: [[0; 65]; 6] };
    for (field, text) in name.fields.iter_mut().zip(texts) {
        field.iter_mut().zip(text.bytes().take(64)).for_each(|(to, from)| *to = from);
    }
    buffer.write(call.memory, &name)?;
    Ok(0)
}

/// What `uname -n` says.
pub(crate) fn hostname(kernel: &'static Kernel) -> &'static str {
    let name = &kernel.manifest.hostname;
    if name.is_empty() { HOSTNAME } else { name }
}

fn sethostname(_call: &mut Call<'_>, _name: usize, _length: usize) -> SysResult {
    Err(Errno::EPERM.into())
}

fn sysinfo(call: &mut Call<'_>, buffer: UserPtr<Sysinfo>) -> SysResult {
    let counts = call.kernel.machine.counts();
    let info = Sysinfo {
        uptime: (call.kernel.now_ns() / 1_000_000_000).cast_signed(),
        totalram: (counts.total * PAGE_SIZE) as u64,
        freeram: (counts.free * PAGE_SIZE) as u64,
        procs: u16::try_from(call.kernel.processes.all().len()).unwrap_or(u16::MAX),
        mem_unit: 1,
        ..Sysinfo::default()
    };
    buffer.write(call.memory, &info)?;
    Ok(0)
}

fn getrandom(call: &mut Call<'_>, buffer: usize, count: usize, flags: u32) -> SysResult {
    const STEP: usize = 256;
    /// Bytes served before other threads get a turn.
    const BATCH_MAX: usize = 1 << 20;
    const INSECURE_AND_RANDOM: u32 = 6;
    if flags & !7 != 0 || flags & INSECURE_AND_RANDOM == INSECURE_AND_RANDOM {
        return Err(Errno::EINVAL.into());
    }
    let count = count.min(BATCH_MAX);
    let mut done = 0;
    while done < count {
        let mut bytes = [0; STEP];
        let piece = bytes.get_mut(..STEP.min(count - done)).ok_or(Errno::EFAULT)?;
        call.kernel.random.fill(piece);
        let at = buffer.checked_add(done).ok_or(Errno::EFAULT)?;
        call.memory.space().copy_out(at, piece)?;
        done += piece.len();
    }
    Ok(done)
}

fn prctl(
    call: &mut Call<'_>,
    option: u32,
    argument: usize,
    third: usize,
    _fourth: usize,
    _fifth: usize,
) -> SysResult {
    const NAME_SIZE: usize = 16;
    let process = &call.thread.process;
    match option {
        1 => {
            let signal = u32::try_from(argument).ok().filter(|signal| *signal <= 64);
            process.parent_death_signal.store(signal.ok_or(Errno::EINVAL)?, Ordering::Relaxed);
        }
        2 => {
            let signal = process.parent_death_signal.load(Ordering::Relaxed);
            UserPtr::at(argument).write(call.memory, &signal)?;
        }
        3 => return Ok(1),                                     // GET_DUMPABLE
        4 if argument > 1 => return Err(Errno::EINVAL.into()), // SET_DUMPABLE
        4 | 8 | 22 | 28 | 29 | 35 | 38 | 41 | 53 => return Ok(refuse_or_accept(option)?),
        15 => {
            let mut bytes = [0; NAME_SIZE];
            let name = read_name(call, argument, &mut bytes)?;
            *call.thread.name.lock() = String::from_utf8_lossy(name).into_owned();
        }
        16 => {
            let mut bytes = [0; NAME_SIZE];
            let name = call.thread.name.lock().clone();
            let room = bytes.iter_mut().take(NAME_SIZE - 1);
            room.zip(name.bytes()).for_each(|(to, from)| *to = from);
            call.memory.space().copy_out(argument, &bytes)?;
        }
        23 => return if argument <= 40 { Ok(1) } else { Err(Errno::EINVAL.into()) },
        30 => return Ok(50_000), // GET_TIMERSLACK
        36 => process.reaper.store(argument != 0, Ordering::Relaxed),
        37 => {
            let reaper = i32::from(process.reaper.load(Ordering::Relaxed));
            UserPtr::at(argument).write(call.memory, &reaper)?;
        }
        39 => return Ok(usize::from(third != 0)), // GET_NO_NEW_PRIVS
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// Options that change nothing here, or that are not there.
const fn refuse_or_accept(option: u32) -> Result<usize, Errno> {
    match option {
        // SET_DUMPABLE, SET_KEEPCAPS, SET_TIMERSLACK, SET_NO_NEW_PRIVS, SET_THP_DISABLE
        4 | 8 | 29 | 38 | 41 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

fn read_name<'a>(call: &Call<'_>, address: usize, bytes: &'a mut [u8; 16]) -> SysResult<&'a [u8]> {
    let text = UserStr::at(address).read(call.memory, 16, Errno::EINVAL);
    match text {
        Ok(text) => {
            bytes.iter_mut().zip(&text).for_each(|(to, from)| *to = *from);
            Ok(bytes.get(..text.len().min(15)).unwrap_or_default())
        }
        Err(crate::outcome::Stop::Errno(_)) => {
            call.memory.space().copy_in(address, bytes)?;
            Ok(bytes.get(..15).unwrap_or_default())
        }
        Err(stop) => Err(stop),
    }
}

fn arch_prctl(call: &mut Call<'_>, option: u32, address: usize) -> SysResult {
    const SET_FS: u32 = 0x1002;
    const GET_FS: u32 = 0x1003;
    match option {
        SET_FS if address >= call.memory.space().user_end() => Err(Errno::EPERM.into()),
        SET_FS => {
            call.context()?.set_thread_pointer(address as u64);
            Ok(0)
        }
        GET_FS => {
            let pointer = call.context()?.thread_pointer();
            UserPtr::at(address).write(call.memory, &pointer)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn getrlimit(call: &mut Call<'_>, resource: usize, old: UserPtr<Rlimit>) -> SysResult {
    let limit = call.thread.process.limits.lock().by_number(resource).ok_or(Errno::EINVAL)?;
    old.write(call.memory, &Rlimit { current: limit.soft, maximum: limit.hard })?;
    Ok(0)
}

fn setrlimit(call: &mut Call<'_>, resource: usize, new: UserPtr<Rlimit>) -> SysResult {
    let new = new.read(call.memory)?;
    change_limit(call, &call.thread.process, resource, new)
}

fn change_limit(call: &Call<'_>, target: &Process, resource: usize, new: Rlimit) -> SysResult {
    const DESCRIPTORS_MAX: u64 = 1 << 20;
    let mut limits = target.limits.lock();
    let old = limits.by_number(resource).ok_or(Errno::EINVAL)?;
    if new.current > new.maximum {
        return Err(Errno::EINVAL.into());
    }
    let raises = new.maximum > old.hard;
    if raises && !call.thread.process.credentials.lock().is_root() {
        return Err(Errno::EPERM.into());
    }
    if resource == Limits::NOFILE && new.maximum > DESCRIPTORS_MAX {
        return Err(Errno::EPERM.into());
    }
    limits.set(resource, Limit { soft: new.current, hard: new.maximum });
    Ok(0)
}

fn prlimit64(
    call: &mut Call<'_>,
    pid: u32,
    resource: usize,
    new: UserPtr<Rlimit>,
    old: UserPtr<Rlimit>,
) -> SysResult {
    let target = if pid == 0 {
        Arc::clone(&call.thread.process)
    } else {
        call.kernel.processes.find(pid).ok_or(Errno::ESRCH)?
    };
    let limit = target.limits.lock().by_number(resource).ok_or(Errno::EINVAL)?;
    let new = new.read_optional(call.memory)?;
    old.write_optional(call.memory, &Rlimit { current: limit.soft, maximum: limit.hard })?;
    match new {
        Some(new) => change_limit(call, &target, resource, new),
        None => Ok(0),
    }
}

fn personality(_call: &mut Call<'_>, persona: u32) -> SysResult {
    if persona == u32::MAX || persona & 0xff == 0 { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

fn syslog(_call: &mut Call<'_>, _kind: u32, _buffer: usize, _length: usize) -> SysResult {
    Err(Errno::EPERM.into())
}

fn not_permitted(_call: &mut Call<'_>) -> SysResult {
    Err(Errno::EPERM.into())
}

fn not_there(_call: &mut Call<'_>) -> SysResult {
    Err(Errno::ENOSYS.into())
}
