// SPDX-License-Identifier: MIT
//! `/sys` (`sysfs(5)`): the few files that programs look at to size themselves.

use crate::fs::Inode;
use crate::fs::proc_fs::{Entry, Tree};
use crate::kernel::Kernel;
use alloc::sync::Arc;

/// `/sys` itself.
pub(crate) fn root(kernel: &'static Kernel) -> Arc<dyn Inode> {
    Tree::root(kernel, &ROOT)
}

static ROOT: Entry = Entry::directory("", &[ENTRIES]);

const ENTRIES: &[Entry] = &[
    Entry::directory("block", &[]),
    Entry::directory("bus", &[]),
    Entry::directory("class", &[CLASSES]),
    Entry::directory(
        "devices",
        &[&[Entry::directory(
            "system",
            &[&[Entry::directory("cpu", &[PROCESSORS]), Entry::directory("node", &[NODES])]],
        )]],
    ),
    Entry::directory("fs", &[&[Entry::directory("cgroup", &[])]]),
    Entry::directory("kernel", &[KERNEL]),
    Entry::directory("module", &[]),
];

const CLASSES: &[Entry] = &[Entry::directory("net", &[]), Entry::directory("tty", &[])];

const PROCESSORS: &[Entry] = &[
    Entry::directory(
        "cpu0",
        &[&[Entry::directory(
            "topology",
            &[&[
                Entry::constant("core_id", "0\n"),
                Entry::constant("core_siblings_list", "0\n"),
                Entry::constant("physical_package_id", "0\n"),
                Entry::constant("thread_siblings_list", "0\n"),
            ]],
        )]],
    ),
    Entry::constant("kernel_max", "0\n"),
    Entry::constant("offline", "\n"),
    Entry::constant("online", "0\n"),
    Entry::constant("possible", "0\n"),
    Entry::constant("present", "0\n"),
];

const NODES: &[Entry] = &[
    Entry::directory("node0", &[&[Entry::constant("cpulist", "0\n")]]),
    Entry::constant("online", "0\n"),
    Entry::constant("possible", "0\n"),
];

const KERNEL: &[Entry] = &[
    // Where `config_fs` is mounted.
    Entry::directory("config", &[]),
    Entry::directory("mm", &[&[Entry::directory("transparent_hugepage", &[HUGE_PAGES])]]),
];

const HUGE_PAGES: &[Entry] = &[
    Entry::constant("defrag", "always defer defer+madvise madvise [never]\n"),
    Entry::constant("enabled", "always madvise [never]\n"),
    Entry::constant("hpage_pmd_size", "2097152\n"),
    Entry::constant("shmem_enabled", "always within_size advise [never] deny force\n"),
];
