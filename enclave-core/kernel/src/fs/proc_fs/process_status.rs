// SPDX-License-Identifier: MIT
//! `/proc/PID/stat`, `statm` and `status`.

use super::View;
use crate::memory::{Backing, Layout, Memory, Protection};
use crate::outcome::SysResult;
use crate::signal::{Action, SIGNAL_MAX, SignalSet};
use crate::task::{Limits, Process, ProcessState, Usage};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::sync::atomic::Ordering;
use strongroom_south::PAGE_SIZE;

/// Nanoseconds of a clock tick (`sysconf(_SC_CLK_TCK)` is 100).
pub(super) const TICK_NS: u64 = 10_000_000;
/// All capabilities that Linux 6.1 knows.
const ALL_CAPABILITIES: u64 = 0x1ff_ffff_ffff;

/// What the three files have in common.
struct Facts {
    process: Arc<Process>,
    tid: u32,
    name: String,
    usage: Usage,
    children: Usage,
    threads: usize,
    sizes: Sizes,
    layout: Layout,
    /// Sets of signals: pending for thread and process, blocked, ignored, caught.
    signals: [u64; 5],
}

/// Bytes mapped, by use, and pages present.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    mapped: usize,
    resident: usize,
    stack: usize,
    code: usize,
    data: usize,
    library: usize,
}

impl Facts {
    fn of(view: &View<'_>) -> SysResult<Self> {
        let process = view.process()?;
        let thread = view.thread().ok();
        let mut usage = process.usage();
        if let Some(thread) = thread.as_ref().filter(|thread| thread.tid() != process.pid) {
            usage.user_ns = thread.user_ns.load(Ordering::Relaxed);
            usage.system_ns = thread.system_ns.load(Ordering::Relaxed);
        }
        let (pending, blocked) = thread.as_ref().map_or((0, 0), |thread| {
            let signals = thread.signals.lock();
            (signals.pending.set().0, signals.mask.0)
        });
        let shared = process.pending.lock().set().0;
        let (ignored, caught) = dispositions(&process);
        let memory = process.memory();
        let name = thread.map_or_else(String::new, |thread| thread.name.lock().clone());
        let children = *process.children_usage.lock();
        let threads = process.threads.lock().len();
        Ok(Self {
            tid: view.owner.tid,
            name,
            usage,
            children,
            threads,
            sizes: memory.as_deref().map_or_else(Sizes::default, Sizes::of),
            layout: memory.as_deref().map_or_else(Layout::default, Memory::layout),
            signals: [pending, shared, blocked, ignored, caught],
            process,
        })
    }

    fn state(&self, view: &View<'_>) -> (char, &'static str) {
        match *self.process.state.lock() {
            ProcessState::Stopped { .. } => ('T', "stopped"),
            ProcessState::Zombie(_) | ProcessState::Gone => ('Z', "zombie"),
            ProcessState::Running | ProcessState::Continued => {
                // One processor: who reads this is who runs.
                if view.by.tid() == self.tid { ('R', "running") } else { ('S', "sleeping") }
            }
        }
    }
}

impl Sizes {
    fn of(memory: &Memory) -> Self {
        let mut sizes = Self { resident: memory.space().resident(), ..Self::default() };
        memory.for_each_area(|range, area| {
            let length = range.len();
            sizes.mapped += length;
            let private = !area.is_shared();
            if area.grows_down {
                sizes.stack += length;
            } else if area.protection.contains(Protection::EXECUTE) {
                let file = matches!(area.backing, Backing::File { .. });
                *(if file { &mut sizes.library } else { &mut sizes.code }) += length;
            } else if private && area.protection.contains(Protection::WRITE) {
                sizes.data += length;
            }
        });
        let (start, end) = memory.layout().code;
        let code = end.saturating_sub(start).min(sizes.library);
        sizes.library -= code;
        sizes.code += code;
        sizes
    }
}

/// Ignored and caught signals.
fn dispositions(process: &Process) -> (u64, u64) {
    let (mut ignored, mut caught) = (0, 0);
    for signal in 1..=SIGNAL_MAX {
        let bit = SignalSet::of(signal).0;
        match process.handlers.action(signal).handler {
            0 => {}
            Action::IGNORE => ignored |= bit,
            _ => caught |= bit,
        }
    }
    (ignored, caught)
}

/// `stat`: fields as `proc(5)` numbers them.
pub(super) fn stat(view: &View<'_>) -> SysResult<Vec<u8>> {
    let facts = Facts::of(view)?;
    let Facts { process, usage, children, layout, sizes, .. } = &facts;
    let (tty, foreground) = view.kernel().terminals.of_session(process.session());
    let limit = process.limits.lock().by_number(5).map_or(u64::MAX, |limit| limit.soft);
    let ending = process.ending.lock().map_or(0, |status| status.wait_status());
    let [pending, shared, blocked, ignored, caught] = facts.signals;
    let low = |set: u64| set & 0x7fff_ffff;
    let mut text = format!("{} ({}) {}", facts.tid, facts.name, facts.state(view).0);
    let mut put = |value: &dyn core::fmt::Display| {
        let _ok = write!(text, " {value}");
    };
    put(&process.parent_pid());
    put(&process.group());
    put(&process.session());
    put(&tty);
    put(&foreground);
    for _ in 9..=13 {
        put(&0);
    }
    for time in [usage.user_ns, usage.system_ns, children.user_ns, children.system_ns] {
        put(&(time / TICK_NS));
    }
    put(&20);
    put(&0);
    put(&facts.threads);
    put(&0);
    put(&(process.started_ns / TICK_NS));
    put(&sizes.mapped);
    put(&sizes.resident);
    put(&limit);
    for address in [layout.code.0, layout.code.1, layout.stack_top, 0, 0] {
        put(&address);
    }
    for set in [pending | shared, blocked, ignored, caught] {
        put(&low(set));
    }
    for _ in 35..=37 {
        put(&0);
    }
    put(&process.exit_signal.load(Ordering::Relaxed));
    for _ in 39..=44 {
        put(&0);
    }
    let (arguments, environment) = (layout.arguments, layout.environment);
    for address in [
        layout.data.0,
        layout.data.1,
        layout.heap_start,
        arguments.0,
        arguments.1,
        environment.0,
        environment.1,
    ] {
        put(&address);
    }
    put(&ending);
    text.push('\n');
    Ok(text.into_bytes())
}

/// `statm`, in pages.
pub(super) fn statm(view: &View<'_>) -> SysResult<Vec<u8>> {
    let sizes = Facts::of(view)?.sizes;
    let pages = |bytes: usize| bytes / PAGE_SIZE;
    Ok(format!(
        "{} {} 0 {} 0 {} 0\n",
        pages(sizes.mapped),
        sizes.resident,
        pages(sizes.code),
        pages(sizes.data + sizes.stack),
    )
    .into_bytes())
}

/// `status`.
pub(super) fn status(view: &View<'_>) -> SysResult<Vec<u8>> {
    let facts = Facts::of(view)?;
    let (letter, word) = facts.state(view);
    let process = &facts.process;
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn core::fmt::Display| {
        let _ok = writeln!(text, "{name}:\t{value}");
    };
    line("Name", &facts.name);
    line("Umask", &format!("{:04o}", process.fs().umask()));
    line("State", &format!("{letter} ({word})"));
    line("Tgid", &process.pid);
    line("Ngid", &0);
    line("Pid", &facts.tid);
    line("PPid", &process.parent_pid());
    line("TracerPid", &0);
    let owner = process.credentials.lock().clone();
    let ids = |real: u32, effective: u32, saved: u32| {
        format!("{real}\t{effective}\t{saved}\t{effective}")
    };
    line("Uid", &ids(owner.uid, owner.euid, owner.suid));
    line("Gid", &ids(owner.gid, owner.egid, owner.sgid));
    line("FDSize", &64);
    let groups: Vec<String> = owner.groups.iter().map(|group| format!("{group} ")).collect();
    line("Groups", &groups.concat());
    line("NStgid", &process.pid);
    line("NSpid", &facts.tid);
    line("NSpgid", &process.group());
    line("NSsid", &process.session());
    memory_lines(&facts, &mut line);
    line("Threads", &facts.threads);
    let queue = process.limits.lock().soft(Limits::SIGPENDING);
    line("SigQ", &format!("0/{queue}"));
    let names = ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"];
    for (name, set) in names.iter().zip(facts.signals) {
        line(name, &format!("{set:016x}"));
    }
    let capabilities = if owner.is_root() { ALL_CAPABILITIES } else { 0 };
    let sets = [
        ("CapInh", 0),
        ("CapPrm", capabilities),
        ("CapEff", capabilities),
        ("CapBnd", ALL_CAPABILITIES),
        ("CapAmb", 0),
    ];
    for (name, set) in sets {
        line(name, &format!("{set:016x}"));
    }
    for name in ["NoNewPrivs", "Seccomp", "Seccomp_filters"] {
        line(name, &0);
    }
    line("Cpus_allowed", &1);
    line("Cpus_allowed_list", &0);
    line("Mems_allowed", &1);
    line("Mems_allowed_list", &0);
    line("voluntary_ctxt_switches", &0);
    line("nonvoluntary_ctxt_switches", &0);
    Ok(text.into_bytes())
}

/// The lines about memory; a process that has ended has none.
fn memory_lines(facts: &Facts, line: &mut dyn FnMut(&str, &dyn core::fmt::Display)) {
    let sizes = facts.sizes;
    if sizes.mapped == 0 {
        return;
    }
    let page = PAGE_SIZE / 1024;
    let resident = sizes.resident * page;
    for (name, kib) in [
        ("VmPeak", sizes.mapped / 1024),
        ("VmSize", sizes.mapped / 1024),
        ("VmLck", 0),
        ("VmPin", 0),
        ("VmHWM", facts.usage.peak_pages.max(sizes.resident) * page),
        ("VmRSS", resident),
        ("RssAnon", resident),
        ("RssFile", 0),
        ("RssShmem", 0),
        ("VmData", sizes.data / 1024),
        ("VmStk", sizes.stack / 1024),
        ("VmExe", sizes.code / 1024),
        ("VmLib", sizes.library / 1024),
        ("VmPTE", 0),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ] {
        let kib = kib.to_string();
        line(name, &format!("{kib:>8} kB"));
    }
}
