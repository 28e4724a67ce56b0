// SPDX-License-Identifier: MIT
//
// System calls with pointers that lead nowhere: EFAULT, never a crash and never a success.
//
// Each case makes its call with `p` set to one bad pointer after another: into the kernel's half,
// noncanonical, unmapped, without any permission, into the last bytes before a hole; where the
// kernel writes also read-only; where null has no meaning of its own also null.

#include "check.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    READ = 0,    // the kernel reads through the pointer
    WRITTEN = 1, // the kernel writes through it
    OR_NULL = 2, // null is as bad as the others
    BYTES = 4,   // a transfer may stop short of the hole, so a buffer that is cut is no error
};

static const char *const kinds[] = {"kernel", "noncanonical", "last",      "unmapped",
                                    "none",   "cut",          "read-only", "null"};
enum { KERNEL, NONCANONICAL, LAST, UNMAPPED, NONE, CUT, READ_ONLY, NULL_POINTER, KIND_COUNT };

static uintptr_t bad_pointer(int kind)
{
    unsigned char *pages = check_pages(2);
    switch (kind) {
    case KERNEL:
        return 0xffff888000001000;
    case NONCANONICAL:
        return 0x8000000000001000;
    case LAST:
        return UINTPTR_MAX - 7;
    case UNMAPPED:
        EXPECT_OK(munmap(pages, 2 * PAGE));
        return (uintptr_t)pages;
    case NONE:
        EXPECT_OK(mprotect(pages, PAGE, PROT_NONE));
        return (uintptr_t)pages;
    case CUT:
        // One byte before a hole: too short for anything but an empty string; it holds no zero.
        memset(pages, 'x', PAGE);
        EXPECT_OK(munmap(pages + PAGE, PAGE));
        return (uintptr_t)pages + PAGE - 1;
    case READ_ONLY:
        EXPECT_OK(mprotect(pages, 2 * PAGE, PROT_READ));
        return (uintptr_t)pages;
    default:
        return 0;
    }
}

static void expect_efault(const char *name, long (*call)(uintptr_t), int traits)
{
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        if ((kind == READ_ONLY && !(traits & WRITTEN)) ||
            (kind == NULL_POINTER && !(traits & OR_NULL)) || (kind == CUT && (traits & BYTES))) {
            continue;
        }
        uintptr_t pointer = bad_pointer(kind);
        errno = 0;
        long result = call(pointer);
        if (result != -1 || errno != EFAULT) {
            check_fail(__FILE__, __LINE__,
                       "%s with a pointer of kind %s: want EFAULT (got %ld, %s)", name, kinds[kind],
                       result, strerrorname_np(errno));
        }
    }
}

#define EFAULT_CASE(name, traits, expression)                                                      \
    static long call_##name(uintptr_t p)                                                           \
    {                                                                                              \
        return (expression);                                                                       \
    }                                                                                              \
    CASE(name)                                                                                     \
    {                                                                                              \
        expect_efault(#name, call_##name, (traits));                                               \
    }

/// A descriptor of a fresh file with a few bytes, at its start.
static int file(void)
{
    int fd = check_file("f", "some bytes", 10);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static int directory(void)
{
    return (int)EXPECT_OK(open(".", O_RDONLY));
}

/// The reading or writing end of a pipe that holds bytes.
static int pipe_end(int end)
{
    int fds[2];
    EXPECT_OK(pipe(fds));
    EXPECT_EQ(write(fds[1], "some bytes", 10), 10);
    return fds[end];
}

static int stream(void)
{
    int fds[2];
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    EXPECT_EQ(write(fds[1], "some bytes", 10), 10);
    return fds[0];
}

static int epoll(void)
{
    int fd = (int)EXPECT_OK(epoll_create1(0));
    int ready = pipe_end(0);
    struct epoll_event event = {.events = EPOLLIN};
    EXPECT_OK(epoll_ctl(fd, EPOLL_CTL_ADD, ready, &event));
    return fd;
}

static int zero(void)
{
    return (int)EXPECT_OK(open("/dev/zero", O_RDONLY));
}

static int terminal(void)
{
    return (int)EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
}

static pid_t finished_child(void)
{
    pid_t pid = check_fork();
    if (pid == 0) {
        _exit(0);
    }
    EXPECT_OK(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT));
    return pid;
}

// ---- Bytes in and out ----

EFAULT_CASE(read_zero, WRITTEN | OR_NULL | BYTES, syscall(SYS_read, zero(), p, 100))
EFAULT_CASE(read_file, WRITTEN | OR_NULL | BYTES, syscall(SYS_read, file(), p, 100))
EFAULT_CASE(read_pipe, WRITTEN | OR_NULL | BYTES, syscall(SYS_read, pipe_end(0), p, 100))
EFAULT_CASE(read_socket, WRITTEN | OR_NULL | BYTES, syscall(SYS_read, stream(), p, 100))
EFAULT_CASE(pread64, WRITTEN | OR_NULL | BYTES, syscall(SYS_pread64, file(), p, 100, 0))
EFAULT_CASE(write_file, OR_NULL | BYTES, syscall(SYS_write, file(), p, 100))
EFAULT_CASE(write_pipe, OR_NULL | BYTES, syscall(SYS_write, pipe_end(1), p, 100))
EFAULT_CASE(pwrite64, OR_NULL | BYTES, syscall(SYS_pwrite64, file(), p, 100, 0))
EFAULT_CASE(readv_vectors, OR_NULL, syscall(SYS_readv, file(), p, 2))
EFAULT_CASE(writev_vectors, OR_NULL, syscall(SYS_writev, file(), p, 2))
EFAULT_CASE(readv_buffer, WRITTEN | OR_NULL | BYTES,
            syscall(SYS_readv, file(), (&(struct iovec){(void *)p, 100}), 1))
EFAULT_CASE(writev_buffer, OR_NULL | BYTES,
            syscall(SYS_writev, file(), (&(struct iovec){(void *)p, 100}), 1))
EFAULT_CASE(preadv_vectors, OR_NULL, syscall(SYS_preadv, file(), p, 2, 0, 0))
EFAULT_CASE(getrandom, WRITTEN | OR_NULL | BYTES, syscall(SYS_getrandom, p, 64, 0))
EFAULT_CASE(sendfile_offset, WRITTEN, syscall(SYS_sendfile, pipe_end(1), file(), p, 4))
EFAULT_CASE(copy_file_range_offset, READ,
            syscall(SYS_copy_file_range, file(), p, file(), NULL, 4, 0))

// ---- Paths ----

EFAULT_CASE(openat, OR_NULL, syscall(SYS_openat, AT_FDCWD, p, O_RDONLY))
EFAULT_CASE(openat_create, OR_NULL, syscall(SYS_openat, AT_FDCWD, p, O_CREAT | O_RDWR, 0600))
EFAULT_CASE(mkdirat, OR_NULL, syscall(SYS_mkdirat, AT_FDCWD, p, 0700))
EFAULT_CASE(mknodat, OR_NULL, syscall(SYS_mknodat, AT_FDCWD, p, S_IFIFO | 0600, 0))
EFAULT_CASE(unlinkat, OR_NULL, syscall(SYS_unlinkat, AT_FDCWD, p, 0))
EFAULT_CASE(symlinkat_target, OR_NULL, syscall(SYS_symlinkat, p, AT_FDCWD, "x"))
EFAULT_CASE(symlinkat_name, OR_NULL, syscall(SYS_symlinkat, "x", AT_FDCWD, p))
EFAULT_CASE(linkat_old, OR_NULL, syscall(SYS_linkat, AT_FDCWD, p, AT_FDCWD, "x", 0))
EFAULT_CASE(linkat_new, OR_NULL, syscall(SYS_linkat, (file(), AT_FDCWD), "f", AT_FDCWD, p, 0))
EFAULT_CASE(renameat2_old, OR_NULL, syscall(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, "x", 0))
EFAULT_CASE(renameat2_new, OR_NULL, syscall(SYS_renameat2, (file(), AT_FDCWD), "f", AT_FDCWD, p, 0))
EFAULT_CASE(fchmodat, OR_NULL, syscall(SYS_fchmodat, AT_FDCWD, p, 0600))
EFAULT_CASE(fchownat, OR_NULL, syscall(SYS_fchownat, AT_FDCWD, p, 0, 0, 0))
EFAULT_CASE(faccessat, OR_NULL, syscall(SYS_faccessat, AT_FDCWD, p, F_OK))
EFAULT_CASE(truncate, OR_NULL, syscall(SYS_truncate, p, 0))
EFAULT_CASE(chdir, OR_NULL, syscall(SYS_chdir, p))
EFAULT_CASE(chroot, OR_NULL, syscall(SYS_chroot, p))
EFAULT_CASE(readlinkat_path, OR_NULL, syscall(SYS_readlinkat, AT_FDCWD, p, (char[8]){0}, 8))
EFAULT_CASE(newfstatat_path, OR_NULL, syscall(SYS_newfstatat, AT_FDCWD, p, &(struct stat){0}, 0))
EFAULT_CASE(statx_path, OR_NULL, syscall(SYS_statx, AT_FDCWD, p, 0, STATX_ALL, &(struct statx){0}))
EFAULT_CASE(statfs_path, OR_NULL, syscall(SYS_statfs, p, (char[256]){0}))
EFAULT_CASE(execve_path, OR_NULL, syscall(SYS_execve, p, NULL, NULL))
EFAULT_CASE(memfd_create, OR_NULL, syscall(SYS_memfd_create, p, 0))
EFAULT_CASE(execve_arguments, READ, syscall(SYS_execve, "/proc/self/exe", p, NULL))
EFAULT_CASE(execve_environment, READ, syscall(SYS_execve, "/proc/self/exe", NULL, p))
EFAULT_CASE(utimensat_times, READ, syscall(SYS_utimensat, (file(), AT_FDCWD), "f", p, 0))

// ---- What files are ----

EFAULT_CASE(newfstatat_result, WRITTEN | OR_NULL, syscall(SYS_newfstatat, AT_FDCWD, "/", p, 0))
EFAULT_CASE(fstat, WRITTEN | OR_NULL, syscall(SYS_fstat, file(), p))
EFAULT_CASE(statx_result, WRITTEN | OR_NULL, syscall(SYS_statx, AT_FDCWD, "/", 0, STATX_ALL, p))
EFAULT_CASE(statfs_result, WRITTEN | OR_NULL, syscall(SYS_statfs, "/", p))
EFAULT_CASE(fstatfs, WRITTEN | OR_NULL, syscall(SYS_fstatfs, file(), p))
EFAULT_CASE(getdents64, WRITTEN | OR_NULL, syscall(SYS_getdents64, directory(), p, 1000))
EFAULT_CASE(getcwd, WRITTEN | OR_NULL, syscall(SYS_getcwd, p, 4096))
EFAULT_CASE(readlinkat_result, WRITTEN | OR_NULL | BYTES,
            syscall(SYS_readlinkat, AT_FDCWD, "/proc/self", p, 4096))
EFAULT_CASE(fcntl_setlk, OR_NULL, syscall(SYS_fcntl, file(), F_SETLK, p))
EFAULT_CASE(fcntl_getlk, WRITTEN | OR_NULL, syscall(SYS_fcntl, file(), F_GETLK, p))
EFAULT_CASE(ioctl_fionread, WRITTEN | OR_NULL, syscall(SYS_ioctl, pipe_end(0), 0x541b, p))
EFAULT_CASE(ioctl_tcgets, WRITTEN | OR_NULL, syscall(SYS_ioctl, terminal(), TCGETS, p))
EFAULT_CASE(ioctl_tcsets, OR_NULL, syscall(SYS_ioctl, terminal(), TCSETS, p))
EFAULT_CASE(ioctl_tiocgwinsz, WRITTEN | OR_NULL, syscall(SYS_ioctl, terminal(), TIOCGWINSZ, p))

// ---- Descriptors ----

EFAULT_CASE(pipe2, WRITTEN | OR_NULL, syscall(SYS_pipe2, p, 0))
EFAULT_CASE(socketpair, WRITTEN | OR_NULL, syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, p))
#ifdef SYS_poll // Not on every processor.
EFAULT_CASE(poll, WRITTEN | OR_NULL, syscall(SYS_poll, p, 1, 0))
#endif
EFAULT_CASE(ppoll_time, READ, syscall(SYS_ppoll, NULL, 0, p, NULL, 8))
EFAULT_CASE(ppoll_mask, READ, syscall(SYS_ppoll, NULL, 0, &(struct timespec){0, 0}, p, 8))
#ifdef SYS_select
EFAULT_CASE(select_set, WRITTEN, syscall(SYS_select, 64, p, NULL, NULL, (&(struct timeval){0, 0})))
EFAULT_CASE(select_time, READ, syscall(SYS_select, 0, NULL, NULL, NULL, p))
#endif
EFAULT_CASE(pselect6_time, READ, syscall(SYS_pselect6, 0, NULL, NULL, NULL, p, NULL))
EFAULT_CASE(epoll_ctl, OR_NULL, syscall(SYS_epoll_ctl, epoll(), EPOLL_CTL_ADD, pipe_end(0), p))
EFAULT_CASE(epoll_wait, WRITTEN | OR_NULL, syscall(SYS_epoll_pwait, epoll(), p, 4, 0, NULL, 8))
EFAULT_CASE(epoll_pwait_mask, READ,
            syscall(SYS_epoll_pwait, epoll(), &(struct epoll_event){0}, 1, 0, p, 8))
EFAULT_CASE(signalfd4, READ, syscall(SYS_signalfd4, -1, p, 8, 0))
EFAULT_CASE(timerfd_settime_new, READ,
            syscall(SYS_timerfd_settime, syscall(SYS_timerfd_create, 1, 0), 0, p, NULL))
EFAULT_CASE(timerfd_gettime, WRITTEN | OR_NULL,
            syscall(SYS_timerfd_gettime, syscall(SYS_timerfd_create, 1, 0), p))

// ---- Sockets ----

EFAULT_CASE(bind, OR_NULL, syscall(SYS_bind, socket(AF_UNIX, SOCK_STREAM, 0), p, 16))
EFAULT_CASE(connect, OR_NULL, syscall(SYS_connect, socket(AF_UNIX, SOCK_STREAM, 0), p, 16))
EFAULT_CASE(getsockname_length, WRITTEN | OR_NULL,
            syscall(SYS_getsockname, stream(), (struct sockaddr_un[1]){0}, p))
EFAULT_CASE(getsockopt_length, WRITTEN | OR_NULL,
            syscall(SYS_getsockopt, stream(), SOL_SOCKET, SO_TYPE, &(int){0}, p))
EFAULT_CASE(getsockopt_value, WRITTEN | OR_NULL,
            syscall(SYS_getsockopt, stream(), SOL_SOCKET, SO_TYPE, p, &(int){4}))
EFAULT_CASE(setsockopt_value, OR_NULL,
            syscall(SYS_setsockopt, stream(), SOL_SOCKET, SO_RCVBUF, p, 4))
EFAULT_CASE(sendto_buffer, OR_NULL | BYTES,
            syscall(SYS_sendto, stream(), p, 100, MSG_NOSIGNAL, NULL, 0))
EFAULT_CASE(recvfrom_buffer, WRITTEN | OR_NULL | BYTES,
            syscall(SYS_recvfrom, stream(), p, 10, 0, NULL, NULL))
EFAULT_CASE(sendmsg_header, OR_NULL, syscall(SYS_sendmsg, stream(), p, 0))
EFAULT_CASE(recvmsg_header, OR_NULL, syscall(SYS_recvmsg, stream(), p, 0))

// ---- Processes and signals ----

EFAULT_CASE(wait4_status, WRITTEN, syscall(SYS_wait4, finished_child(), p, 0, NULL))
EFAULT_CASE(wait4_usage, WRITTEN, syscall(SYS_wait4, finished_child(), NULL, 0, p))
EFAULT_CASE(waitid, WRITTEN, syscall(SYS_waitid, P_PID, finished_child(), p, WEXITED, NULL))
EFAULT_CASE(clone3, OR_NULL, syscall(SYS_clone3, p, 64))
EFAULT_CASE(getrlimit, WRITTEN | OR_NULL, syscall(SYS_getrlimit, RLIMIT_NOFILE, p))
EFAULT_CASE(setrlimit, OR_NULL, syscall(SYS_setrlimit, RLIMIT_NOFILE, p))
EFAULT_CASE(prlimit64_old, WRITTEN, syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, p))
EFAULT_CASE(getrusage, WRITTEN | OR_NULL, syscall(SYS_getrusage, RUSAGE_SELF, p))
EFAULT_CASE(getgroups, WRITTEN | OR_NULL,
            syscall(SYS_setgroups, 2, (gid_t[]){1, 2}) < 0 ? -1 : syscall(SYS_getgroups, 2, p))
EFAULT_CASE(getresuid, WRITTEN | OR_NULL, syscall(SYS_getresuid, p, &(uid_t){0}, &(uid_t){0}))
EFAULT_CASE(prctl_name, OR_NULL, syscall(SYS_prctl, 15, p))
EFAULT_CASE(prctl_get_name, WRITTEN | OR_NULL, syscall(SYS_prctl, 16, p))
EFAULT_CASE(rt_sigaction_new, READ, syscall(SYS_rt_sigaction, SIGUSR1, p, NULL, 8))
EFAULT_CASE(rt_sigaction_old, WRITTEN, syscall(SYS_rt_sigaction, SIGUSR1, NULL, p, 8))
EFAULT_CASE(rt_sigprocmask_new, READ, syscall(SYS_rt_sigprocmask, SIG_BLOCK, p, NULL, 8))
EFAULT_CASE(rt_sigprocmask_old, WRITTEN, syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, p, 8))
EFAULT_CASE(rt_sigpending, WRITTEN | OR_NULL, syscall(SYS_rt_sigpending, p, 8))
EFAULT_CASE(rt_sigsuspend, OR_NULL, syscall(SYS_rt_sigsuspend, p, 8))
EFAULT_CASE(rt_sigtimedwait_set, OR_NULL,
            syscall(SYS_rt_sigtimedwait, p, NULL, &(struct timespec){0, 0}, 8))
EFAULT_CASE(rt_sigtimedwait_time, READ, syscall(SYS_rt_sigtimedwait, &(uint64_t){0}, NULL, p, 8))
EFAULT_CASE(rt_sigqueueinfo, OR_NULL, syscall(SYS_rt_sigqueueinfo, getpid(), SIGURG, p))
EFAULT_CASE(sigaltstack_new, READ, syscall(SYS_sigaltstack, p, NULL))
EFAULT_CASE(sigaltstack_old, WRITTEN, syscall(SYS_sigaltstack, NULL, p))
EFAULT_CASE(sched_getaffinity, WRITTEN | OR_NULL, syscall(SYS_sched_getaffinity, 0, 1024, p))
EFAULT_CASE(futex_wait_time, READ, syscall(SYS_futex, &(int){0}, FUTEX_WAIT_PRIVATE, 0, p, NULL, 0))

// ---- Time and the system ----

EFAULT_CASE(clock_gettime, WRITTEN | OR_NULL, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, p))
EFAULT_CASE(clock_getres, WRITTEN, syscall(SYS_clock_getres, CLOCK_MONOTONIC, p))
EFAULT_CASE(gettimeofday, WRITTEN, syscall(SYS_gettimeofday, p, NULL))
EFAULT_CASE(nanosleep, OR_NULL, syscall(SYS_nanosleep, p, NULL))
EFAULT_CASE(clock_nanosleep, OR_NULL, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, p, NULL))
EFAULT_CASE(getitimer, WRITTEN | OR_NULL, syscall(SYS_getitimer, 0, p))
EFAULT_CASE(setitimer_new, READ, syscall(SYS_setitimer, 1, p, NULL))
EFAULT_CASE(timer_create_result, WRITTEN | OR_NULL,
            syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, p))
EFAULT_CASE(times, WRITTEN, syscall(SYS_times, p))
EFAULT_CASE(uname, WRITTEN | OR_NULL, syscall(SYS_uname, p))
EFAULT_CASE(sysinfo, WRITTEN | OR_NULL, syscall(SYS_sysinfo, p))
