// SPDX-License-Identifier: MIT
//
// The fuzzer's tables: known calls, and those that are never made.

#include "sysfuzz.h"

#include <fcntl.h>
#include <sys/syscall.h>

enum { SAFE = true, ALL_ONLY = false };

const struct call calls[] = {
    {SYS_read, "dbn", SAFE},
    {SYS_write, "dbn", SAFE},
    {SYS_pread64, "dbni", SAFE},
    {SYS_pwrite64, "dbni", SAFE},
    {SYS_readv, "dbi", SAFE},
    {SYS_writev, "dbi", SAFE},
    {SYS_preadv2, "dbiiif", SAFE},
    {SYS_pwritev2, "dbiiif", SAFE},
    {SYS_lseek, "dni", SAFE},
    {SYS_close, "d", SAFE},
    {SYS_dup, "d", SAFE},
    {SYS_dup3, "ddf", SAFE},
    {SYS_fcntl, "dib", SAFE},
    {SYS_ioctl, "dfb", ALL_ONLY},
    {SYS_fstat, "db", SAFE},
    {SYS_newfstatat, "dpbf", SAFE},
    {SYS_statx, "dpffb", SAFE},
    {SYS_statfs, "pb", SAFE},
    {SYS_getdents64, "dbn", SAFE},
    {SYS_getcwd, "bn", SAFE},
    {SYS_readlinkat, "dpbn", SAFE},
    {SYS_faccessat, "dpi", SAFE},
    {SYS_openat, "dpfi", ALL_ONLY},
    {SYS_mkdirat, "dpi", ALL_ONLY},
    {SYS_mknodat, "dpii", ALL_ONLY},
    {SYS_unlinkat, "dpi", ALL_ONLY},
    {SYS_symlinkat, "pdp", ALL_ONLY},
    {SYS_linkat, "dpdpf", ALL_ONLY},
    {SYS_renameat2, "dpdpi", ALL_ONLY},
    {SYS_fchmodat, "dpi", ALL_ONLY},
    {SYS_fchownat, "dpiif", ALL_ONLY},
    {SYS_utimensat, "dpbf", ALL_ONLY},
    {SYS_truncate, "pn", ALL_ONLY},
    {SYS_ftruncate, "dn", SAFE},
    {SYS_fallocate, "dinn", SAFE},
    {SYS_flock, "di", SAFE},
    {SYS_sendfile, "ddbn", SAFE},
    {SYS_copy_file_range, "dbdbni", SAFE},
    {SYS_splice, "dbdbnf", SAFE},
    {SYS_chdir, "p", SAFE},
    {SYS_fchdir, "d", SAFE},
    {SYS_mmap, "mnffdn", SAFE},
    {SYS_munmap, "mn", SAFE},
    {SYS_mprotect, "mni", SAFE},
    {SYS_mremap, "mnnim", SAFE},
    {SYS_madvise, "mni", SAFE},
    {SYS_msync, "mni", SAFE},
    {SYS_mincore, "mnb", SAFE},
    {SYS_brk, "m", SAFE},
    {SYS_memfd_create, "pf", SAFE},
    {SYS_pipe2, "bf", SAFE},
    {SYS_eventfd2, "if", SAFE},
    {SYS_epoll_create1, "f", SAFE},
    {SYS_epoll_ctl, "didb", SAFE},
    {SYS_epoll_pwait, "dbiibn", SAFE},
    {SYS_ppoll, "bibbn", SAFE},
    {SYS_pselect6, "ibbbbb", SAFE},
    {SYS_timerfd_create, "if", SAFE},
    {SYS_timerfd_settime, "dibb", SAFE},
    {SYS_timerfd_gettime, "db", SAFE},
    {SYS_signalfd4, "dbnf", SAFE},
    {SYS_socket, "iii", ALL_ONLY},
    {SYS_socketpair, "iiib", SAFE},
    {SYS_bind, "dbn", ALL_ONLY},
    {SYS_listen, "di", SAFE},
    {SYS_accept4, "dbbf", SAFE},
    {SYS_connect, "dbn", ALL_ONLY},
    {SYS_sendto, "dbnfbn", SAFE},
    {SYS_recvfrom, "dbnfbb", SAFE},
    {SYS_sendmsg, "dbf", SAFE},
    {SYS_recvmsg, "dbf", SAFE},
    {SYS_getsockopt, "diibb", SAFE},
    {SYS_setsockopt, "diibn", ALL_ONLY},
    {SYS_getsockname, "dbb", SAFE},
    {SYS_shutdown, "di", SAFE},
    {SYS_rt_sigaction, "ibbn", SAFE},
    {SYS_rt_sigprocmask, "ibbn", SAFE},
    {SYS_rt_sigpending, "bn", SAFE},
    {SYS_rt_sigsuspend, "bn", SAFE},
    {SYS_rt_sigtimedwait, "bbbn", SAFE},
    {SYS_rt_sigreturn, "", SAFE},
    {SYS_sigaltstack, "bb", SAFE},
    {SYS_kill, "ti", ALL_ONLY},
    {SYS_tkill, "ti", ALL_ONLY},
    {SYS_tgkill, "tti", ALL_ONLY},
    {SYS_rt_sigqueueinfo, "tib", ALL_ONLY},
    {SYS_rt_tgsigqueueinfo, "ttib", ALL_ONLY},
    {SYS_futex, "bfibbi", SAFE},
    {SYS_set_robust_list, "bn", SAFE},
    {SYS_get_robust_list, "tbb", SAFE},
    {SYS_set_tid_address, "b", SAFE},
    {SYS_clone, "fmbbm", ALL_ONLY},
    {SYS_clone3, "bn", ALL_ONLY},
    {SYS_execve, "pbb", ALL_ONLY},
    {SYS_execveat, "dpbbf", ALL_ONLY},
    {SYS_wait4, "iifb", SAFE},
    {SYS_waitid, "iibfb", SAFE},
    {SYS_exit_group, "i", SAFE},
    {SYS_sched_yield, "", SAFE},
    {SYS_sched_getaffinity, "tnb", SAFE},
    {SYS_getrusage, "ib", SAFE},
    {SYS_prlimit64, "tibb", SAFE},
    {SYS_prctl, "innnn", ALL_ONLY},
    {SYS_clock_gettime, "ib", SAFE},
    {SYS_clock_nanosleep, "iibb", SAFE},
    {SYS_nanosleep, "bb", SAFE},
    {SYS_setitimer, "ibb", SAFE},
    {SYS_timer_create, "ibb", SAFE},
    {SYS_timer_settime, "iibb", SAFE},
    {SYS_timer_delete, "i", SAFE},
    {SYS_getrandom, "bnf", SAFE},
    {SYS_uname, "b", SAFE},
    {SYS_sysinfo, "b", SAFE},
    {SYS_umask, "i", SAFE},
    {SYS_getgroups, "ib", SAFE},
};

const size_t call_count = sizeof calls / sizeof calls[0];

static const long forbidden[] = {
    SYS_reboot,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsmount,
    SYS_fsconfig,
    SYS_mount_setattr,
    SYS_swapon,
    SYS_swapoff,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_clock_adjtime,
    SYS_ptrace,
    SYS_process_vm_writev,
    SYS_process_vm_readv,
    SYS_setpgid,
    SYS_setpriority,
    SYS_pidfd_send_signal,
    SYS_pidfd_getfd,
    SYS_process_madvise,
    SYS_bpf,
    SYS_sched_setscheduler,
    SYS_sched_setattr,
    SYS_sched_setparam,
    SYS_process_mrelease,
    SYS_vhangup,
    SYS_syslog,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_acct,
    SYS_quotactl,
};

bool call_is_forbidden(long number)
{
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++) {
        if (forbidden[i] == number) {
            return true;
        }
    }
    return false;
}

const struct call *call_of(long number)
{
    for (size_t i = 0; i < call_count; i++) {
        if (calls[i].number == number) {
            return &calls[i];
        }
    }
    return NULL;
}

bool call_harms_others(long number, const uint64_t arguments[6])
{
    static const uint64_t owner_commands[] = {F_SETOWN, F_SETSIG, F_SETOWN_EX};
    static const uint64_t owner_requests[] = {0x8901, 0x8902}; // FIOSETOWN, SIOCSPGRP
    uint32_t command = (uint32_t)arguments[1];
    for (size_t i = 0; number == SYS_fcntl && i < 3; i++) {
        if (command == owner_commands[i]) {
            return true;
        }
    }
    // MADV_HWPOISON and MADV_SOFT_OFFLINE: real pages are taken out of service for good.
    uint32_t advice = (uint32_t)arguments[2];
    if (number == SYS_madvise && (advice == 100 || advice == 101)) {
        return true;
    }
    return number == SYS_ioctl && (command == owner_requests[0] || command == owner_requests[1]);
}
