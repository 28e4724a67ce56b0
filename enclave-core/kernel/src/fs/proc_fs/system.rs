// SPDX-License-Identifier: MIT
//! Files of `/proc` about the whole system.

use super::process_status::TICK_NS;
use super::{Entry, View, settings};
use crate::calls::{RELEASE, VERSION};
use crate::fs::{Mount, Target};
use crate::outcome::SysResult;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;
use strongroom_abi::{Errno, arch};
use strongroom_south::PAGE_SIZE;

/// Mount ids of `mountinfo` count from here; the root's is the first.
pub(super) const FIRST_MOUNT: usize = 20;

const NS_PER_S: u64 = 1_000_000_000;

/// Entries of `/proc` besides the processes.
pub(super) const ENTRIES: &[Entry] = &[
    Entry::text("cmdline", |_| Ok(b"\n".to_vec())),
    Entry::text("cpuinfo", |_| Ok(processor().into_bytes())),
    Entry::constant("devices", DEVICES),
    Entry::constant("filesystems", FILE_SYSTEMS),
    Entry::text("loadavg", load),
    Entry::text("meminfo", memory),
    Entry::constant("modules", ""),
    Entry::link("mounts", |_| Ok(Target::Path(Box::from(&b"self/mounts"[..])))),
    Entry::link("net", |_| Ok(Target::Path(Box::from(&b"self/net"[..])))),
    Entry::constant("partitions", "major minor  #blocks  name\n\n"),
    Entry::link("self", |view| {
        Ok(Target::Path(format!("{}", view.by.process.pid).into_bytes().into()))
    }),
    Entry::text("stat", statistics),
    Entry::constant("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    Entry::directory("sys", &[settings::ENTRIES]),
    Entry::link("thread-self", |view| {
        let path = format!("{}/task/{}", view.by.process.pid, view.by.tid());
        Ok(Target::Path(path.into_bytes().into()))
    }),
    Entry::text("uptime", |view| {
        let up = hundredths(view.kernel().now_ns());
        Ok(format!("{up} 0.00\n").into_bytes())
    }),
    Entry::text("version", |_| {
        Ok(format!("Linux version {RELEASE} (strongroom) {VERSION}\n").into_bytes())
    }),
    Entry::constant("vmstat", "pgfault 0\npgmajfault 0\noom_kill 0\n"),
];

/// `/proc/net`: the tables exist and are empty.
pub(super) const NETWORK: &[Entry] = &[
    Entry::constant(
        "arp",
        "IP address       HW type     Flags       HW address            Mask     Device\n",
    ),
    Entry::constant("dev", NETWORK_DEVICES),
    Entry::constant("if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"),
    Entry::constant("ipv6_route", ""),
    Entry::constant(
        "route",
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n",
    ),
    Entry::constant("snmp", ""),
    Entry::constant("tcp", SOCKETS),
    Entry::constant("tcp6", SOCKETS_V6),
    Entry::constant("udp", SOCKETS),
    Entry::constant("udp6", SOCKETS_V6),
    Entry::constant("unix", "Num       RefCount Protocol Flags    Type St Inode Path\n"),
];

const NETWORK_DEVICES: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
";
const SOCKETS: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const SOCKETS_V6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const DEVICES: &str = "Character devices:\n  1 mem\n  4 tty\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n";
const FILE_SYSTEMS: &str =
    "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\tdevpts\nnodev\toverlay\n";

/// `CPUID` function 1, register EDX: names by bit (AMD64 Architecture Programmer's Manual
/// volume 3, appendix D), as Linux prints them.
const X86_FLAGS: [&str; 32] = [
    "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "", "sep", "mtrr", "pge",
    "mca", "cmov", "pat", "pse36", "", "clflush", "", "", "", "mmx", "fxsr", "sse", "sse2", "",
    "ht", "", "", "",
];
/// `HWCAP` of aarch64: names by bit.
const ARM_FEATURES: [&str; 12] = [
    "fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp",
    "asimdhp", "cpuid",
];

/// `cpuinfo`: one processor with the features that the auxiliary vector names, and no frequency.
fn processor() -> String {
    if arch::MACHINE == "aarch64" {
        let features = features(&ARM_FEATURES);
        return format!(
            "processor\t: 0\nBogoMIPS\t: 100.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n\
             CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 0\n\n"
        );
    }
    let features = features(&X86_FLAGS);
    format!(
        "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n\
         model name\t: Strongroom virtual processor\nstepping\t: 1\nmicrocode\t: 0x0\n\
         cpu MHz\t\t: 1000.000\ncache size\t: 512 KB\nphysical id\t: 0\nsiblings\t: 1\n\
         core id\t\t: 0\ncpu cores\t: 1\napicid\t\t: 0\ninitial apicid\t: 0\nfpu\t\t: yes\n\
         fpu_exception\t: yes\ncpuid level\t: 16\nwp\t\t: yes\n\
         flags\t\t: {features} syscall nx lm constant_tsc nopl\nbugs\t\t:\n\
         bogomips\t: 2000.00\nclflush size\t: 64\ncache_alignment\t: 64\n\
         address sizes\t: 48 bits physical, 48 bits virtual\npower management:\n\n"
    )
}

fn features(names: &[&str]) -> String {
    let named = names.iter().zip(0u32..);
    let present = named.filter(|(name, bit)| {
        !name.is_empty() && arch::HARDWARE_CAPABILITIES.wrapping_shr(*bit) & 1 == 1
    });
    let names: Vec<&str> = present.map(|(name, _)| *name).collect();
    names.join(" ")
}

/// Seconds with two decimals.
fn hundredths(ns: u64) -> String {
    format!("{}.{:02}", ns / NS_PER_S, ns % NS_PER_S / 10_000_000)
}

fn load(view: &View<'_>) -> SysResult<Vec<u8>> {
    let processes = view.kernel().processes.all();
    let threads: usize = processes.iter().map(|process| process.threads.lock().len()).sum();
    let last = processes.iter().map(|process| process.pid).max().unwrap_or(1);
    Ok(format!("0.00 0.00 0.00 1/{threads} {last}\n").into_bytes())
}

fn memory(view: &View<'_>) -> SysResult<Vec<u8>> {
    let counts = view.kernel().machine.counts();
    let kib = |pages: usize| pages * (PAGE_SIZE / 1024);
    let (total, free) = (kib(counts.total), kib(counts.free));
    let used = total.saturating_sub(free);
    let mut text = String::new();
    for (name, value) in [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", used),
        ("Mapped", 0),
        ("Shmem", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("PageTables", 0),
        ("CommitLimit", total),
        ("Committed_AS", used),
        ("VmallocTotal", 0),
        ("VmallocUsed", 0),
        ("AnonHugePages", 0),
    ] {
        let label = format!("{name}:");
        let _ok = writeln!(text, "{label:<16}{value:>8} kB");
    }
    text.push_str(
        "HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n",
    );
    Ok(text.into_bytes())
}

fn statistics(view: &View<'_>) -> SysResult<Vec<u8>> {
    let kernel = view.kernel();
    let processes = kernel.processes.all();
    let (mut user, mut system) = (0, 0);
    for process in &processes {
        let usage = process.usage();
        user += usage.user_ns / TICK_NS;
        system += usage.system_ns / TICK_NS;
    }
    let idle = (kernel.now_ns() / TICK_NS).saturating_sub(user + system);
    let started_ns = kernel.wall_ns().saturating_sub_unsigned(kernel.now_ns());
    let started = started_ns.max(0).cast_unsigned() / NS_PER_S;
    let made = processes.iter().map(|process| process.pid).max().unwrap_or(1);
    let mut text = String::new();
    for name in ["cpu ", "cpu0"] {
        let _ok = writeln!(text, "{name} {user} 0 {system} {idle} 0 0 0 0 0 0");
    }
    let _ok = writeln!(
        text,
        "intr 0\nctxt 0\nbtime {started}\nprocesses {made}\nprocs_running 1\nprocs_blocked 0\n\
         softirq 0 0 0 0 0 0 0 0 0 0 0"
    );
    Ok(text.into_bytes())
}

const fn options(mount: &Mount) -> &'static str {
    if mount.read_only { "ro,relatime" } else { "rw,relatime" }
}

/// A path with the characters escaped that separate fields.
fn escaped(path: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(path).chars() {
        match character {
            ' ' | '\t' | '\n' | '\\' => {
                let _ok = write!(text, "\\{:03o}", u32::from(character));
            }
            _ => text.push(character),
        }
    }
    text
}

/// `mounts`.
pub(super) fn mounts(view: &View<'_>) -> SysResult<Vec<u8>> {
    let mut text = String::new();
    for mount in view.kernel().mounts.all() {
        let (kind, at) = (mount.kind, escaped(&mount.at));
        let _ok = writeln!(text, "{kind} {at} {kind} {} 0 0", options(&mount));
    }
    Ok(text.into_bytes())
}

/// `mountinfo`.
pub(super) fn mount_info(view: &View<'_>) -> SysResult<Vec<u8>> {
    let all = view.kernel().mounts.all();
    let number = |wanted: &Arc<Mount>| {
        all.iter().position(|mount| Arc::ptr_eq(mount, wanted)).map(|at| at + FIRST_MOUNT)
    };
    let mut text = String::new();
    for mount in &all {
        let id = number(mount).ok_or(Errno::EIO)?;
        let parent = mount.covers.as_ref().and_then(|place| number(&place.mount));
        let parent = parent.unwrap_or(FIRST_MOUNT - 1);
        let (kind, at) = (mount.kind, escaped(&mount.at));
        let device = mount.root.id().device;
        let options = options(mount);
        let _ok =
            writeln!(text, "{id} {parent} 0:{device} / {at} {options} - {kind} {kind} {options}");
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_mounts_have_no_blanks() {
        assert_eq!(escaped(b"/a b\\c"), "/a\\040b\\134c");
    }

    #[test]
    fn times_have_two_decimals() {
        assert_eq!(hundredths(12_345_678_901), "12.34");
    }
}
