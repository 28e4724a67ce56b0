// SPDX-License-Identifier: MIT
//! `/proc/sys`: what the kernel's limits are. Nothing that matters can be changed there.

use super::{Entry, View};
use crate::calls::{self, RELEASE, VERSION};
use crate::outcome::SysResult;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use strongroom_abi::Errno;
use strongroom_south::LOWEST;

/// Entries of `/proc/sys`.
pub(super) const ENTRIES: &[Entry] = &[
    Entry::directory("fs", &[FILES]),
    Entry::directory("kernel", &[KERNEL]),
    Entry::directory("net", &[NETWORK]),
    Entry::directory("vm", &[MEMORY]),
];

const FILES: &[Entry] = &[
    Entry::constant("aio-max-nr", "65536\n"),
    Entry::constant("aio-nr", "0\n"),
    Entry::constant("file-max", "1048576\n"),
    Entry::constant("file-nr", "0\t0\t1048576\n"),
    Entry::directory("inotify", &[INOTIFY]),
    Entry::constant("nr_open", "1048576\n"),
    Entry::constant("overflowgid", "65534\n"),
    Entry::constant("overflowuid", "65534\n"),
    Entry::constant("pipe-max-size", "1048576\n"),
    Entry::constant("pipe-user-pages-soft", "16384\n"),
];

const INOTIFY: &[Entry] = &[
    Entry::constant("max_queued_events", "16384\n"),
    Entry::constant("max_user_instances", "128\n"),
    Entry::constant("max_user_watches", "65536\n"),
];

const KERNEL: &[Entry] = &[
    Entry::constant("cap_last_cap", "40\n"),
    Entry::setting("core_pattern", |_| Ok(b"core\n".to_vec()), keep),
    Entry::constant("dmesg_restrict", "1\n"),
    Entry::constant("domainname", "(none)\n"),
    Entry::text(
        "hostname",
        |view| Ok(format!("{}\n", calls::hostname(view.kernel())).into_bytes()),
    ),
    Entry::constant("kptr_restrict", "2\n"),
    Entry::constant("ngroups_max", "65536\n"),
    Entry::text("osrelease", |_| Ok(format!("{RELEASE}\n").into_bytes())),
    Entry::constant("ostype", "Linux\n"),
    Entry::constant("overflowgid", "65534\n"),
    Entry::constant("overflowuid", "65534\n"),
    Entry::constant("perf_event_paranoid", "3\n"),
    Entry::constant("pid_max", "4194304\n"),
    Entry::directory("random", &[RANDOM]),
    Entry::constant("randomize_va_space", "2\n"),
    Entry::constant("sched_child_runs_first", "0\n"),
    Entry::constant("shmall", "18446744073692774399\n"),
    Entry::constant("shmmax", "18446744073692774399\n"),
    Entry::constant("shmmni", "4096\n"),
    Entry::constant("tainted", "0\n"),
    Entry::constant("threads-max", "4096\n"),
    Entry::text("version", |_| Ok(format!("{VERSION}\n").into_bytes())),
];

const RANDOM: &[Entry] = &[
    Entry::text("boot_id", |view| Ok(uuid(view.kernel().boot_id))),
    Entry::constant("entropy_avail", "256\n"),
    Entry::constant("poolsize", "256\n"),
    Entry::text("uuid", |view| {
        let mut bytes = [0; 16];
        view.kernel().random.fill(&mut bytes);
        Ok(uuid(bytes))
    }),
];

const MEMORY: &[Entry] = &[
    Entry::constant("max_map_count", "65530\n"),
    Entry::text("mmap_min_addr", |_| Ok(format!("{LOWEST}\n").into_bytes())),
    Entry::constant("nr_hugepages", "0\n"),
    Entry::setting("overcommit_memory", |_| Ok(b"1\n".to_vec()), keep_digit),
    Entry::constant("overcommit_ratio", "50\n"),
    Entry::setting("swappiness", |_| Ok(b"60\n".to_vec()), keep),
];

const NETWORK: &[Entry] =
    &[Entry::directory("core", &[CORE]), Entry::directory("ipv4", &[INTERNET])];

const CORE: &[Entry] = &[
    Entry::constant("rmem_default", "212992\n"),
    Entry::constant("rmem_max", "212992\n"),
    Entry::setting("somaxconn", |_| Ok(b"4096\n".to_vec()), keep),
    Entry::constant("wmem_default", "212992\n"),
    Entry::constant("wmem_max", "212992\n"),
];

const INTERNET: &[Entry] = &[
    Entry::constant("ip_local_port_range", "32768\t60999\n"),
    Entry::setting("ip_unprivileged_port_start", |_| Ok(b"1024\n".to_vec()), keep),
    Entry::constant("tcp_fin_timeout", "60\n"),
    Entry::constant("tcp_keepalive_time", "7200\n"),
];

/// Accepts a value that changes nothing here.
fn keep(_: &View<'_>, _: &[u8]) -> SysResult<()> {
    Ok(())
}

fn keep_digit(_: &View<'_>, text: &[u8]) -> SysResult<()> {
    match text.trim_ascii() {
        b"0" | b"1" | b"2" => Ok(()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// A version 4 UUID of random bytes (RFC 9562, 5.4).
fn uuid(mut bytes: [u8; 16]) -> Vec<u8> {
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('\n');
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_say_their_version_and_variant() {
        assert_eq!(uuid([0; 16]), b"00000000-0000-4000-8000-000000000000\n");
        assert_eq!(uuid([0xff; 16]), b"ffffffff-ffff-4fff-bfff-ffffffffffff\n");
    }
}
