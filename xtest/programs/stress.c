// SPDX-License-Identifier: MIT
//
// Programs that take all they can get: the offender stops or dies, everything else goes on.
//
// These cases use up a small machine. On a large one the unbounded kinds are bounded,
// so that the same program can run natively first.

#include "check.h"
#include "fault.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

/// Memory above which a machine is not to be filled up, in bytes.
static const uint64_t SMALL_MACHINE_BYTES = 1ull << 30;

/// True where "without end" has to be played with a limit, for the sake of the machine.
static bool is_large_machine(void)
{
    struct sysinfo information;
    EXPECT_OK(sysinfo(&information));
    return (uint64_t)information.totalram * information.mem_unit > SMALL_MACHINE_BYTES;
}

/// The parent still has memory, processes and files.
static void expect_health(void)
{
    unsigned char *memory = check_pages(256);
    memset(memory, 1, 256 * PAGE);
    EXPECT_OK(munmap(memory, 256 * PAGE));
    int fd = check_file("health", "ok", 2);
    EXPECT_OK(close(fd));
    pid_t pid;
    CHILD (pid) {
    }
    EXPECT_EXITED(pid, 0);
}

static void limit_address_space(void)
{
    if (is_large_machine()) {
        struct rlimit limit = {256 << 20, 256 << 20};
        EXPECT_OK(setrlimit(RLIMIT_AS, &limit));
    }
}

/// Waits for a child that either stopped by itself with status 0 or was killed for its greed.
static void expect_stopped(pid_t pid)
{
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT((WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
           (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
}

CASE(touching_memory_without_end_stops_the_offender)
{
    pid_t pid;
    CHILD (pid) {
        limit_address_space();
        for (;;) {
            unsigned char *memory =
                mmap(NULL, 256 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED) {
                EXPECT_EQ(errno, ENOMEM);
                break;
            }
            memset(memory, 0x5a, 256 * PAGE);
        }
    }
    expect_stopped(pid);
    expect_health();
}

CASE(mapping_without_touching_stops_at_enomem)
{
    pid_t pid;
    CHILD (pid) {
        limit_address_space();
        for (int i = 0; i < 100000; i++) {
            void *memory = mmap(NULL, (size_t)64 << 30, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (memory == MAP_FAILED) {
                EXPECT_EQ(errno, ENOMEM);
                _exit(0);
            }
        }
        _exit(1);
    }
    EXPECT_EXITED(pid, 0);
    expect_health();
}

CASE(tiny_mappings_without_end_stop)
{
    pid_t pid;
    CHILD (pid) {
        // Alternating protections keep neighbours from merging; Linux stops at 65,530 mappings.
        for (int i = 0; i < 200000; i++) {
            int protection = i % 2 ? PROT_READ : PROT_NONE;
            if (mmap(NULL, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
                EXPECT_EQ(errno, ENOMEM);
                _exit(0);
            }
        }
    }
    expect_stopped(pid);
    expect_health();
}

CASE(growing_a_file_without_end_stops)
{
    pid_t pid;
    CHILD (pid) {
        static char block[1 << 16];
        uint64_t limit = is_large_machine() ? 64 << 20 : UINT64_MAX;
        int fd = check_file("large", "", 0);
        signal(SIGXFSZ, SIG_IGN);
        for (uint64_t written = 0; written < limit; written += sizeof block) {
            if (write(fd, block, sizeof block) < 0) {
                EXPECT(errno == ENOSPC || errno == ENOMEM || errno == EFBIG);
                break;
            }
        }
        EXPECT_OK(unlink("large"));
    }
    expect_stopped(pid);
    unlink("large");
    expect_health();
}

/// Forks until it fails or `limit` is reached; returns how many there are.
static int fork_until_it_fails(int limit)
{
    for (int count = 0; count < limit; count++) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) {
                pause();
            }
        }
        if (pid < 0) {
            EXPECT(errno == EAGAIN || errno == ENOMEM);
            return count;
        }
    }
    return limit;
}

CASE(forking_without_end_stops_and_recovers)
{
    int limit = is_large_machine() ? 300 : 100000;
    pid_t pid;
    CHILD (pid) {
        EXPECT_OK(setpgid(0, 0));
        EXPECT(fork_until_it_fails(limit) > 0);
        signal(SIGTERM, SIG_IGN);
        EXPECT_OK(kill(0, SIGTERM));
        while (wait(NULL) > 0) {
        }
    }
    expect_stopped(pid);
    kill(-pid, SIGKILL);
    expect_health();
}

CASE(fork_tree_is_killed_as_a_group)
{
    struct gate ready = gate_new();
    pid_t pid = check_fork();
    if (pid == 0) {
        setpgid(0, 0);
        for (int depth = 0; depth < 5; depth++) {
            fork();
        }
        gate_open(ready);
        for (;;) {
            pause();
        }
    }
    for (int i = 0; i < 32; i++) {
        gate_wait(ready);
    }
    EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    EXPECT_OK(kill(-pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
    expect_health();
}

static void fault_again(int signal)
{
    (void)signal;
    fault_read((void *)16);
}

CASE(faulting_handlers_die_by_sigsegv)
{
    for (int i = 0; i < 20; i++) {
        pid_t pid;
        CHILD (pid) {
            struct sigaction action = {.sa_handler = fault_again,
                                       .sa_flags = i % 2 ? SA_NODEFER : 0};
            EXPECT_OK(sigaction(SIGSEGV, &action, NULL));
            fault_read((void *)16);
        }
        EXPECT_KILLED(pid, SIGSEGV);
    }
}

/// Recurses for as long as `*depth`, which the caller sets high, does not run out.
static __attribute__((noinline)) unsigned recurse(volatile unsigned *depth)
{
    volatile unsigned char frame[1024];
    frame[*depth % 1024] = 1;
    *depth = *depth - 1;
    unsigned below = *depth ? recurse(depth) : 0;
    return below + frame[*depth % 1024];
}

CASE(endless_recursion_dies_by_sigsegv)
{
    pid_t pid;
    CHILD (pid) {
        volatile unsigned depth = 1u << 30;
        recurse(&depth);
    }
    EXPECT_KILLED(pid, SIGSEGV);
    expect_health();
}

static void *wait_at_pipe(void *argument)
{
    char byte;
    ssize_t count = read(*(int *)argument, &byte, 1);
    (void)count;
    return NULL;
}

CASE(hundreds_of_threads_live_and_die)
{
    enum { THREADS = 400 };
    static pthread_t threads[THREADS];
    int fds[2];
    int count = 0;
    pthread_attr_t attributes;
    EXPECT_OK(pipe(fds));
    EXPECT_EQ(pthread_attr_init(&attributes), 0);
    size_t size = 32 * 1024 < PTHREAD_STACK_MIN ? PTHREAD_STACK_MIN : 32 * 1024;
    EXPECT_EQ(pthread_attr_setstacksize(&attributes, size), 0);
    for (; count < THREADS; count++) {
        int error = pthread_create(&threads[count], &attributes, wait_at_pipe, &fds[0]);
        if (error) {
            EXPECT_EQ(error, EAGAIN);
            break;
        }
    }
    EXPECT(count >= 100);
    EXPECT_OK(close(fds[1]));
    for (int i = 0; i < count; i++) {
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    }
    expect_health();
}

CASE(descriptors_run_out_at_emfile)
{
    struct rlimit limit = {512, 512};
    EXPECT_OK(setrlimit(RLIMIT_NOFILE, &limit));
    int fd;
    int last = -1;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0) {
        last = fd;
    }
    EXPECT_EQ(errno, EMFILE);
    EXPECT_EQ(last, 511);
    int fds[2];
    EXPECT_ERRNO(dup(0), EMFILE);
    EXPECT_ERRNO(pipe(fds), EMFILE);
    EXPECT_ERRNO(socket(AF_UNIX, SOCK_STREAM, 0), EMFILE);
    EXPECT_OK(close(last));
    EXPECT_ERRNO(pipe(fds), EMFILE);
    EXPECT_EQ(open("/dev/null", O_RDONLY), last);
}

CASE(pipes_full_of_data_do_not_exhaust_the_kernel)
{
    static char block[65536];
    pid_t pid;
    CHILD (pid) {
        for (int i = 0; i < 200; i++) {
            int fds[2];
            if (pipe2(fds, O_NONBLOCK) < 0) {
                EXPECT(errno == EMFILE || errno == ENFILE || errno == ENOMEM);
                break;
            }
            ssize_t count = write(fds[1], block, sizeof block);
            EXPECT(count >= 0 || errno == EAGAIN || errno == ENOMEM);
        }
    }
    expect_stopped(pid);
    expect_health();
}

CASE(queued_signals_end_at_eagain)
{
    struct rlimit limit = {50, 50};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    EXPECT_OK(setrlimit(RLIMIT_SIGPENDING, &limit));
    union sigval value = {.sival_int = 1};
    int count = 0;
    while (count < 100 && sigqueue(getpid(), SIGRTMIN, value) == 0) {
        count++;
    }
    EXPECT(count <= 50);
    EXPECT_EQ(errno, EAGAIN);
    expect_health();
}

CASE(children_born_and_dead_by_the_hundred)
{
    for (int i = 0; i < 300; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            _exit(i & 0x7f);
        }
        EXPECT_EXITED(pid, i & 0x7f);
    }
}

CASE(deep_directories_can_be_made_and_removed)
{
    enum { DEPTH = 200 };
    for (int i = 0; i < DEPTH; i++) {
        EXPECT_OK(syscall(SYS_mkdirat, AT_FDCWD, "deeper", 0755));
        EXPECT_OK(chdir("deeper"));
    }
    for (int i = 0; i < DEPTH; i++) {
        EXPECT_OK(chdir(".."));
        EXPECT_OK(rmdir("deeper"));
    }
}
