// SPDX-License-Identifier: MIT
//! Identity: process and thread ids, groups, sessions, users.

use crate::outcome::SysResult;
use crate::table::{Row, row};
use crate::task::{Call, Credentials, Process};
use crate::user::UserPtr;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use strongroom_abi::Errno;

pub(crate) const CALLS: &[Row] = &[
    row!(Getpid, getpid(0), Full),
    row!(Gettid, gettid(0), Full),
    row!(Getppid, getppid(0), Full),
    row!(Getpgrp, getpgrp(0), Full),
    row!(Getpgid, getpgid(1), Full),
    row!(Setpgid, setpgid(2), Full),
    row!(Getsid, getsid(1), Full),
    row!(Setsid, setsid(0), Full),
    row!(Getuid, getuid(0), Full),
    row!(Geteuid, geteuid(0), Full),
    row!(Getgid, getgid(0), Full),
    row!(Getegid, getegid(0), Full),
    row!(Getresuid, getresuid(3), Full),
    row!(Getresgid, getresgid(3), Full),
    row!(Setuid, setuid(1), Full),
    row!(Setgid, setgid(1), Full),
    row!(Setreuid, setreuid(2), Full),
    row!(Setregid, setregid(2), Full),
    row!(Setresuid, setresuid(3), Full),
    row!(Setresgid, setresgid(3), Full),
    row!(Setfsuid, setfsuid(1), Partial("reports the effective user, changes nothing")),
    row!(Setfsgid, setfsgid(1), Partial("reports the effective group, changes nothing")),
    row!(Getgroups, getgroups(2), Full),
    row!(Setgroups, setgroups(2), Full),
    row!(Capget, capget(2), Partial("all for the superuser, none for others")),
    row!(Capset, capset(2), Partial("accepted without effect")),
];

/// Most supplementary groups (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65_536;

fn getpid(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.process.pid as usize)
}

fn gettid(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.tid() as usize)
}

fn getppid(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.process.parent_pid() as usize)
}

fn getpgrp(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.process.group() as usize)
}

/// The process with a number; 0 is the caller's.
fn find(call: &Call<'_>, pid: u32) -> Result<Arc<Process>, Errno> {
    if pid == 0 {
        return Ok(Arc::clone(&call.thread.process));
    }
    call.kernel.processes.find(pid).ok_or(Errno::ESRCH)
}

fn getpgid(call: &mut Call<'_>, pid: u32) -> SysResult {
    Ok(find(call, pid)?.group() as usize)
}

fn getsid(call: &mut Call<'_>, pid: u32) -> SysResult {
    Ok(find(call, pid)?.session() as usize)
}

fn setpgid(call: &mut Call<'_>, pid: i32, group: i32) -> SysResult {
    if pid < 0 || group < 0 {
        return Err(if group < 0 { Errno::EINVAL } else { Errno::ESRCH }.into());
    }
    let me = &call.thread.process;
    let target = find(call, pid.unsigned_abs())?;
    let is_me = target.pid == me.pid;
    if !is_me {
        if target.parent_pid() != me.pid {
            return Err(Errno::ESRCH.into());
        }
        if target.session() != me.session() {
            return Err(Errno::EPERM.into());
        }
        if target.executed.load(Ordering::Acquire) {
            return Err(Errno::EACCES.into());
        }
    }
    if target.session() == target.pid {
        return Err(Errno::EPERM.into());
    }
    let group = if group == 0 { target.pid } else { group.unsigned_abs() };
    if group != target.pid {
        let members = call.kernel.processes.in_group(group);
        if !members.iter().any(|member| member.session() == me.session()) {
            return Err(Errno::EPERM.into());
        }
    }
    target.set_group(group);
    Ok(0)
}

fn setsid(call: &mut Call<'_>) -> SysResult {
    let me = &call.thread.process;
    if !call.kernel.processes.in_group(me.pid).is_empty() {
        return Err(Errno::EPERM.into());
    }
    me.start_session();
    Ok(me.pid as usize)
}

/// Reads something of the caller's credentials.
fn with<T>(call: &Call<'_>, read: impl FnOnce(&Credentials) -> T) -> T {
    read(&call.thread.process.credentials.lock())
}

fn getuid(call: &mut Call<'_>) -> SysResult {
    Ok(with(call, |credentials| credentials.uid) as usize)
}

fn geteuid(call: &mut Call<'_>) -> SysResult {
    Ok(with(call, |credentials| credentials.euid) as usize)
}

fn getgid(call: &mut Call<'_>) -> SysResult {
    Ok(with(call, |credentials| credentials.gid) as usize)
}

fn getegid(call: &mut Call<'_>) -> SysResult {
    Ok(with(call, |credentials| credentials.egid) as usize)
}

fn write_three(call: &Call<'_>, to: [UserPtr<u32>; 3], ids: [u32; 3]) -> SysResult {
    for (pointer, id) in to.into_iter().zip(ids) {
        pointer.write(call.memory, &id)?;
    }
    Ok(0)
}

fn getresuid(
    call: &mut Call<'_>,
    real: UserPtr<u32>,
    effective: UserPtr<u32>,
    saved: UserPtr<u32>,
) -> SysResult {
    let ids = with(call, |credentials| [credentials.uid, credentials.euid, credentials.suid]);
    write_three(call, [real, effective, saved], ids)
}

fn getresgid(
    call: &mut Call<'_>,
    real: UserPtr<u32>,
    effective: UserPtr<u32>,
    saved: UserPtr<u32>,
) -> SysResult {
    let ids = with(call, |credentials| [credentials.gid, credentials.egid, credentials.sgid]);
    write_three(call, [real, effective, saved], ids)
}

/// An id, or "leave it" for -1.
fn optional(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

/// `EPERM` unless each wanted id is one that the caller has, or the caller is the superuser.
fn check_ids(root: bool, wanted: [Option<u32>; 3], have: &[u32]) -> Result<(), Errno> {
    let allowed = |id: &Option<u32>| id.is_none_or(|id| have.contains(&id));
    if root || wanted.iter().all(allowed) { Ok(()) } else { Err(Errno::EPERM) }
}

fn setuid(call: &mut Call<'_>, uid: u32) -> SysResult {
    let mut credentials = call.thread.process.credentials.lock();
    if credentials.is_root() {
        (credentials.uid, credentials.euid, credentials.suid) = (uid, uid, uid);
    } else {
        let have = [credentials.uid, credentials.suid];
        check_ids(false, [Some(uid), None, None], &have)?;
        credentials.euid = uid;
    }
    Ok(0)
}

fn setgid(call: &mut Call<'_>, gid: u32) -> SysResult {
    let mut credentials = call.thread.process.credentials.lock();
    if credentials.is_root() {
        (credentials.gid, credentials.egid, credentials.sgid) = (gid, gid, gid);
    } else {
        let have = [credentials.gid, credentials.sgid];
        check_ids(false, [Some(gid), None, None], &have)?;
        credentials.egid = gid;
    }
    Ok(0)
}

fn setreuid(call: &mut Call<'_>, real: u32, effective: u32) -> SysResult {
    let mut credentials = call.thread.process.credentials.lock();
    let (real, effective) = (optional(real), optional(effective));
    let root = credentials.is_root();
    check_ids(root, [real, None, None], &[credentials.uid, credentials.euid])?;
    let have = [credentials.uid, credentials.euid, credentials.suid];
    check_ids(root, [effective, None, None], &have)?;
    let old = credentials.uid;
    credentials.uid = real.unwrap_or(old);
    credentials.euid = effective.unwrap_or(credentials.euid);
    if real.is_some() || effective.is_some_and(|id| id != old) {
        credentials.suid = credentials.euid;
    }
    Ok(0)
}

fn setregid(call: &mut Call<'_>, real: u32, effective: u32) -> SysResult {
    let mut credentials = call.thread.process.credentials.lock();
    let (real, effective) = (optional(real), optional(effective));
    let root = credentials.is_root();
    check_ids(root, [real, None, None], &[credentials.gid, credentials.egid])?;
    let have = [credentials.gid, credentials.egid, credentials.sgid];
    check_ids(root, [effective, None, None], &have)?;
    let old = credentials.gid;
    credentials.gid = real.unwrap_or(old);
    credentials.egid = effective.unwrap_or(credentials.egid);
    if real.is_some() || effective.is_some_and(|id| id != old) {
        credentials.sgid = credentials.egid;
    }
    Ok(0)
}

fn setresuid(call: &mut Call<'_>, real: u32, effective: u32, saved: u32) -> SysResult {
    let mut credentials = call.thread.process.credentials.lock();
    let wanted = [optional(real), optional(effective), optional(saved)];
    let have = [credentials.uid, credentials.euid, credentials.suid];
    check_ids(credentials.is_root(), wanted, &have)?;
    let [real, effective, saved] = wanted;
    credentials.uid = real.unwrap_or(credentials.uid);
    credentials.euid = effective.unwrap_or(credentials.euid);
    credentials.suid = saved.unwrap_or(credentials.suid);
    Ok(0)
}

fn setresgid(call: &mut Call<'_>, real: u32, effective: u32, saved: u32) -> SysResult {
    let mut credentials = call.thread.process.credentials.lock();
    let wanted = [optional(real), optional(effective), optional(saved)];
    let have = [credentials.gid, credentials.egid, credentials.sgid];
    check_ids(credentials.is_root(), wanted, &have)?;
    let [real, effective, saved] = wanted;
    credentials.gid = real.unwrap_or(credentials.gid);
    credentials.egid = effective.unwrap_or(credentials.egid);
    credentials.sgid = saved.unwrap_or(credentials.sgid);
    Ok(0)
}

fn setfsuid(call: &mut Call<'_>, _uid: u32) -> SysResult {
    geteuid(call)
}

fn setfsgid(call: &mut Call<'_>, _gid: u32) -> SysResult {
    getegid(call)
}

fn getgroups(call: &mut Call<'_>, size: i32, list: UserPtr<u32>) -> SysResult {
    let groups = with(call, |credentials| credentials.groups.clone());
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size == 0 {
        return Ok(groups.len());
    }
    if size < groups.len() {
        return Err(Errno::EINVAL.into());
    }
    for (index, group) in groups.iter().enumerate() {
        list.element(index).write(call.memory, group)?;
    }
    Ok(groups.len())
}

fn setgroups(call: &mut Call<'_>, size: usize, list: UserPtr<u32>) -> SysResult {
    if !with(call, Credentials::is_root) {
        return Err(Errno::EPERM.into());
    }
    if size > GROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let groups = list.read_array(call.memory, size)?;
    call.thread.process.credentials.lock().groups = groups;
    Ok(0)
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

fn capget(call: &mut Call<'_>, header: UserPtr<u32>, data: UserPtr<u32>) -> SysResult {
    let version = header.read(call.memory)?;
    if version != CAPABILITY_VERSION {
        header.write(call.memory, &CAPABILITY_VERSION)?;
        return if data.is_null() { Ok(0) } else { Err(Errno::EINVAL.into()) };
    }
    if data.is_null() {
        return Ok(0);
    }
    let root = with(call, Credentials::is_root);
    let words = if root { [u32::MAX, u32::MAX, 0, 0x1ff, 0x1ff, 0] } else { [0; 6] };
    for (index, word) in words.iter().enumerate() {
        data.element(index).write(call.memory, word)?;
    }
    Ok(0)
}

fn capset(call: &mut Call<'_>, header: UserPtr<u32>, data: UserPtr<u32>) -> SysResult {
    if header.read(call.memory)? != CAPABILITY_VERSION {
        return Err(Errno::EINVAL.into());
    }
    data.read(call.memory)?;
    Ok(0)
}
