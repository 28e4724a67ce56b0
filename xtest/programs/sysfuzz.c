// SPDX-License-Identifier: MIT
//
// A system-call fuzzer: random calls with interesting arguments, until `COUNT` are done.
//
//     sysfuzz [--all] SEED COUNT
//
// The calls are made by worker processes. One that dies, stops or hangs is replaced, so the program
// itself ends only after the last call, with the line "sysfuzz: N calls, seed S, survived". The
// kernel that does not get there is the finding.
//
// Without --all only the calls marked SAFE in its table are made: nothing that could harm the
// machine it runs on, so that it can run natively. With --all every number is tried but the
// forbidden ones; that is for a machine to be thrown away, and the program asks for
// SYSFUZZ_THROW_AWAY_MACHINE=1.

#include "sysfuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PAGE_BYTES = 4096,
    NUMBER_MAX = 470, // beyond the newest call, so that unknown numbers are tried too
    REFILL_EVERY = 64,
    CALLS_PER_WORKER_MAX = 20000,
    WATCH_MS = 10,
    STALLED_ROUNDS_MAX = 5,
    STARTING_ROUNDS_MAX = 200, // a worker that has not made a call yet
};

// ---- The worker ----

/// The call itself, without libc: a child that shares our memory must not disturb our stack, so one
/// that comes out of a fork leaves at once.
static long invoke(long number, const uint64_t a[6], bool forks)
{
#ifdef __x86_64__
    register uint64_t r10 __asm__("r10") = a[3];
    register uint64_t r8 __asm__("r8") = a[4];
    register uint64_t r9 __asm__("r9") = a[5];
    register uint64_t r12 __asm__("r12") = forks;
    long result;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "test %%r12, %%r12\n\t"
                     "jz 1f\n\t"
                     "mov $60, %%eax\n\t" // exit(0)
                     "xor %%edi, %%edi\n\t"
                     "syscall\n"
                     "1:"
                     : "=a"(result), "+r"(r10), "+r"(r8), "+r"(r9)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r12)
                     : "rcx", "r11", "memory");
    return result;
#else
    register uint64_t x0 __asm__("x0") = a[0];
    register uint64_t x1 __asm__("x1") = a[1];
    register uint64_t x2 __asm__("x2") = a[2];
    register uint64_t x3 __asm__("x3") = a[3];
    register uint64_t x4 __asm__("x4") = a[4];
    register uint64_t x5 __asm__("x5") = a[5];
    register uint64_t x8 __asm__("x8") = (uint64_t)number;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "cbz %7, 1f\n\t"
                     "mov x8, #93\n\t" // exit(0)
                     "svc #0\n"
                     "1:"
                     : "+r"(x0), "+r"(x8)
                     : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"((uint64_t)forks)
                     : "memory");
    return (long)x0;
#endif
}

static bool forks(long number)
{
    bool answer = number == SYS_clone || number == SYS_clone3;
#ifdef SYS_fork
    answer = answer || number == SYS_fork || number == SYS_vfork;
#endif
    return answer;
}

/// Makes a random call; false if it chose one that is not to be made.
static bool one_call(bool all)
{
    long number = calls[random_below(call_count)].number;
    if (all && random_below(4) == 0) {
        number = random_below(50) ? (long)random_below(NUMBER_MAX) : (long)random_next();
    }
    const struct call *call = call_of(number);
    if (call_is_forbidden(number) || (!all && !(call && call->safe))) {
        return false;
    }
    // A worker should live for a while.
    if ((number == SYS_exit_group || number == SYS_exit || number == SYS_rt_sigreturn) &&
        random_below(64)) {
        return false;
    }
    uint64_t arguments[6];
    size_t known = call ? strlen(call->arguments) : 0;
    for (size_t i = 0; i < 6; i++) {
        arguments[i] = i < known ? argument_of(call->arguments[i]) : argument_of_any_kind();
    }
    if (number == SYS_prlimit64) {
        arguments[0] = 0;
    }
    if (call_harms_others(number, arguments)) {
        return false;
    }
    invoke(number, arguments, forks(number));
    return true;
}

static void block_sigchld(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(how, &set, NULL);
}

static void nothing(int signal)
{
    (void)signal;
}

/// Descriptors of many kinds, from 3 on. Failures do not matter: another worker may have spoiled a
/// name.
static void make_descriptors(bool all)
{
    int pair[2];
    int ignored = open("f", O_CREAT | O_RDWR, 0600);
    ignored = open(".", O_RDONLY);
    ignored = pipe2(pair, O_NONBLOCK);
    ignored = pipe(pair);
    ignored = socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    ignored = socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    ignored = eventfd(0, 0);
    ignored = epoll_create1(0);
    ignored = timerfd_create(CLOCK_MONOTONIC, 0);
    ignored = memfd_create("m", MFD_ALLOW_SEALING);
    if (all) {
        ignored = socket(AF_INET, SOCK_STREAM, 0);
        ignored = socket(AF_INET, SOCK_DGRAM, 0);
    }
    ignored = open("/dev/zero", O_RDWR);
    ignored = open("/proc/self/maps", O_RDONLY);
    ignored = open("f", O_PATH);
    (void)ignored;
}

/// Blocked calls are interrupted every few milliseconds; greed is bounded.
static void limit_worker(void)
{
    struct sigaction action = {.sa_handler = nothing};
    sigaction(SIGALRM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    struct itimerval often = {{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &often, NULL);
    struct rlimit memory = {256 << 20, 256 << 20};
    struct rlimit file = {4 << 20, 4 << 20};
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_FSIZE, &file);
    setrlimit(RLIMIT_CORE, &none);
}

/// Makes calls until it dies or enough are done. `done` is shared with the parent.
static void work(uint64_t seed, volatile uint64_t *done, uint64_t count, bool all, int null)
{
    setpgid(0, 0);
    block_sigchld(SIG_UNBLOCK);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int fd = 0; fd < 3; fd++) {
        dup2(null, fd);
    }
    close(null);
    random_start(seed);
    if (!arena_make()) {
        _exit(1);
    }
    make_descriptors(all);
    limit_worker();
    for (uint64_t i = 0; i < CALLS_PER_WORKER_MAX && *done < count; i++) {
        if (i % REFILL_EVERY == 0) {
            arena_refill();
        }
        *done = *done + one_call(all);
    }
    _exit(0);
}

// ---- The parent ----

/// Returns when a child changes, and soon in any case. SIGCHLD is blocked.
static void wait_a_little(void)
{
    struct timespec time = {0, WATCH_MS * 1000000};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigtimedwait(&set, NULL, &time);
}

/// Waits for the worker; kills it when it stops counting. Reaps strays that it left to us.
static void watch(pid_t worker, volatile uint64_t *done)
{
    const uint64_t first = *done;
    uint64_t last = first;
    int stalled = 0;
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG | __WALL);
        if (pid == worker || (pid < 0 && errno == ECHILD)) {
            break;
        }
        if (pid > 0) {
            continue;
        }
        wait_a_little();
        stalled = *done == last ? stalled + 1 : 0;
        last = *done;
        if (stalled > (last == first ? STARTING_ROUNDS_MAX : STALLED_ROUNDS_MAX)) {
            kill(worker, SIGKILL);
        }
    }
    kill(-worker, SIGKILL);
    while (waitpid(-1, NULL, WNOHANG | __WALL) > 0) {
    }
}

static void fuzz(uint64_t seed, uint64_t count, bool all, int null)
{
    volatile uint64_t *done =
        mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (done == MAP_FAILED) {
        exit(1);
    }
    uint64_t known = 0;
    unsigned quarters = 0;
    for (uint64_t worker = 0; known < count; worker++) {
        pid_t pid = fork();
        if (pid == 0) {
            work(seed ^ worker * 0x2545f4914f6cdd1d, done, count, all, null);
        }
        if (pid < 0) {
            wait_a_little();
            continue;
        }
        watch(pid, done);
        // A worker can write anywhere in its memory; one that spoiled the counter does not count.
        if (*done < known || *done > known + CALLS_PER_WORKER_MAX) {
            *done = known;
        }
        known = *done;
        for (; quarters < 3 && known >= count / 4 * (quarters + 1); quarters++) {
            printf("sysfuzz: %u %%\n", (quarters + 1) * 25);
            fflush(stdout);
        }
    }
}

int main(int argc, char **argv)
{
    bool all = argc > 1 && strcmp(argv[1], "--all") == 0;
    char **arguments = argv + (all ? 2 : 1);
    if (argc - (all ? 2 : 1) != 2) {
        fprintf(stderr, "usage: %s [--all] SEED COUNT\n", argv[0]);
        return 2;
    }
    const char *consent = getenv("SYSFUZZ_THROW_AWAY_MACHINE");
    if (all && !(consent && strcmp(consent, "1") == 0)) {
        fprintf(stderr, "%s: --all harms the machine; it wants SYSFUZZ_THROW_AWAY_MACHINE=1\n",
                argv[0]);
        return 2;
    }
    uint64_t seed = strtoull(arguments[0], NULL, 0);
    uint64_t count = strtoull(arguments[1], NULL, 0);
    char directory[] = "/tmp/sysfuzz.XXXXXX";
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || !mkdtemp(directory) || chdir(directory) < 0) {
        perror("sysfuzz: no place to work in");
        return 1;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    block_sigchld(SIG_BLOCK);
    fuzz(seed, count, all, null);
    unlink("f");
    rmdir(directory);
    printf("sysfuzz: %llu calls, seed %llu, survived\n", (unsigned long long)count,
           (unsigned long long)seed);
    return 0;
}
