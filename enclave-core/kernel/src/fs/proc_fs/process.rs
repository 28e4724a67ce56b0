// SPDX-License-Identifier: MIT
//! Files about a process or one of its threads, but for its state in numbers
//! ([`super::process_status`]) and its mappings ([`super::maps`]).

use super::{Entry, Members, View, maps, process_status, system};
use crate::fs::{Place, Target};
use crate::memory::{Layout, Memory};
use crate::outcome::{Stop, SysResult};
use crate::task::{Limits, UNLIMITED};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;
use strongroom_abi::Errno;
use strongroom_south::PAGE_SIZE;

/// Longest thread name (`TASK_COMM_LEN - 1`).
const NAME_MAX: usize = 15;
/// Most bytes of arguments or environment that are shown.
const STRINGS_MAX: usize = 2 << 20;

/// In `/proc/PID` and in `/proc/PID/task/TID`.
pub(super) const ENTRIES: &[Entry] = &[
    Entry::private("auxv", auxiliary),
    Entry::text("cgroup", |_| Ok(b"0::/\n".to_vec())),
    Entry::text("cmdline", arguments),
    Entry::setting("comm", name, set_name),
    Entry::link("cwd", |view| Ok(Target::Place(view.process()?.fs().working()))),
    Entry::private("environ", environment),
    Entry::link("exe", executable),
    Entry::family("fd", 0o500, &[], Members::Descriptors),
    Entry::family("fdinfo", 0o555, &[], Members::DescriptorDetails),
    Entry::constant("gid_map", "         0          0 4294967295\n"),
    Entry::private("io", traffic),
    Entry::text("limits", limits),
    Entry::setting("loginuid", |_| Ok(b"4294967295".to_vec()), |_, _| Ok(())),
    Entry::text("maps", maps::maps),
    Entry::text("mountinfo", system::mount_info),
    Entry::text("mounts", system::mounts),
    Entry::directory("net", &[system::NETWORK]),
    Entry::text("oom_score", |_| Ok(b"0\n".to_vec())),
    Entry::setting("oom_score_adj", |_| Ok(b"0\n".to_vec()), check_score),
    Entry::constant("personality", "00000000\n"),
    Entry::link("root", |view| Ok(Target::Place(view.process()?.fs().root()))),
    Entry::constant("sessionid", "4294967295"),
    Entry::constant("setgroups", "allow\n"),
    Entry::text("smaps", maps::smaps),
    Entry::text("smaps_rollup", maps::rollup),
    Entry::text("stat", process_status::stat),
    Entry::text("statm", process_status::statm),
    Entry::text("status", process_status::status),
    Entry::setting("timerslack_ns", |_| Ok(b"50000\n".to_vec()), |_, _| Ok(())),
    Entry::constant("uid_map", "         0          0 4294967295\n"),
    Entry::constant("wchan", "0"),
];

/// In `/proc/PID` only.
pub(super) const ONLY_PROCESS: &[Entry] = &[Entry::family("task", 0o555, &[], Members::Threads)];

fn executable(view: &View<'_>) -> SysResult<Target> {
    let place: Option<Place> = view.process()?.executable.lock().clone();
    Ok(Target::Place(place.ok_or(Errno::ENOENT)?))
}

fn name(view: &View<'_>) -> SysResult<Vec<u8>> {
    let thread = view.thread()?;
    let name = thread.name.lock();
    Ok(format!("{name}\n").into_bytes())
}

fn set_name(view: &View<'_>, text: &[u8]) -> SysResult<()> {
    let thread = view.thread()?;
    if thread.process.pid != view.by.process.pid {
        return Err(Errno::EINVAL.into());
    }
    let text = text.get(..NAME_MAX).unwrap_or(text);
    *thread.name.lock() = String::from_utf8_lossy(text).into_owned();
    Ok(())
}

/// Nothing is ever killed for want of memory but the process that asks; the value is checked.
fn check_score(_: &View<'_>, text: &[u8]) -> SysResult<()> {
    let score = str::from_utf8(text).ok().and_then(|text| text.trim().parse::<i32>().ok());
    match score {
        Some(-1000..=1000) => Ok(()),
        Some(_) | None => Err(Errno::EINVAL.into()),
    }
}

fn arguments(view: &View<'_>) -> SysResult<Vec<u8>> {
    strings(view, |layout| layout.arguments)
}

fn environment(view: &View<'_>) -> SysResult<Vec<u8>> {
    strings(view, |layout| layout.environment)
}

fn auxiliary(view: &View<'_>) -> SysResult<Vec<u8>> {
    strings(view, |layout| layout.auxiliary)
}

fn strings(view: &View<'_>, range: fn(&Layout) -> (usize, usize)) -> SysResult<Vec<u8>> {
    let Some(memory) = view.process()?.memory() else { return Ok(Vec::new()) };
    let (start, end) = range(&memory.layout());
    read_memory(view, &memory, start, end.saturating_sub(start).min(STRINGS_MAX))
}

/// Reads another process's memory, as far as there is any; may stop to bring it in.
fn read_memory(
    view: &View<'_>,
    memory: &Arc<Memory>,
    start: usize,
    length: usize,
) -> SysResult<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
    while bytes.len() < length {
        let at = start.saturating_add(bytes.len());
        let step = (PAGE_SIZE - at % PAGE_SIZE).min(length - bytes.len());
        let mut page = [0; PAGE_SIZE];
        let piece = page.get_mut(..step).ok_or(Errno::EFAULT)?;
        if memory.space().copy_in(at, piece).is_err() {
            match memory.resolve(view.by, at, false, false) {
                Ok(Ok(())) if memory.space().copy_in(at, piece).is_ok() => {}
                Ok(_) | Err(Stop::Errno(_)) => break,
                Err(stop) => return Err(stop),
            }
        }
        bytes.extend_from_slice(piece);
    }
    Ok(bytes)
}

fn traffic(_: &View<'_>) -> SysResult<Vec<u8>> {
    let names =
        ["rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes"];
    Ok(names.map(|name| format!("{name}: 0\n")).concat().into_bytes())
}

fn limits(view: &View<'_>) -> SysResult<Vec<u8>> {
    const ROWS: [(&str, &str); Limits::COUNT] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let limits = *view.process()?.limits.lock();
    let mut text =
        format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let show = |value: u64| {
        if value == UNLIMITED { String::from("unlimited") } else { value.to_string() }
    };
    for (number, (name, unit)) in ROWS.iter().enumerate() {
        let Some(limit) = limits.by_number(number) else { continue };
        let (soft, hard) = (show(limit.soft), show(limit.hard));
        let _ok = write!(text, "{name:<25} {soft:<20} {hard:<20} ");
        let _ok = if unit.is_empty() { writeln!(text) } else { writeln!(text, "{unit:<10}") };
    }
    Ok(text.into_bytes())
}
