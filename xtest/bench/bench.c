// SPDX-License-Identifier: MIT
// Cost of single operations of an operating system.
//
// Prints a line an operation: "NAME NANOSECONDS ITERATIONS", or "NAME FAIL ERRNO". The best of three
// rounds counts. Under QEMU's instruction-counting clock a nanosecond is a guest instruction.
//
// Usage: bench [SCALE] [PREFIX...]
// SCALE multiplies the iterations; operations not beginning with a PREFIX are left out. "fork" runs
// only when asked for. Build: gcc -O2 -static -pthread bench.c

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 3, PAGE = 4096 };

static double scale = 1.0;
static char **prefixes;
static int prefix_count;
static char buffer[1 << 20];

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static bool wanted(const char *name) {
    for (int i = 0; i < prefix_count; i++)
        if (!strncmp(name, prefixes[i], strlen(prefixes[i]))) return true;
    return prefix_count == 0;
}

static long scaled(long iterations) {
    long result = (long)((double)iterations * scale);
    return result < 1 ? 1 : result;
}

static void report(const char *name, uint64_t ns, long iterations) {
    printf("%-24s %12.1f %ld\n", name, (double)ns / (double)iterations, iterations);
    fflush(stdout);
}

static void report_failure(const char *name) {
    printf("%-24s FAIL %d\n", name, errno);
    fflush(stdout);
}

// What the operations work on: made once, before the first is timed.
static int null_fd, zero_fd, file_fd, pipe_fds[2], event_fd, ready_epoll_fd, socket_fds[2];

// One operation: negative is a failure. `i` is the iteration.
typedef long (*operation)(long i);

static void measure(const char *name, long usual, operation run) {
    if (!wanted(name)) return;
    long iterations = scaled(usual);
    uint64_t best_ns = UINT64_MAX;
    for (long i = 0; i <= iterations / 20; i++)
        if (run(i) < 0) return report_failure(name);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = now_ns();
        for (long i = 0; i < iterations; i++)
            if (run(i) < 0) return report_failure(name);
        uint64_t took = now_ns() - start;
        if (took < best_ns) best_ns = took;
    }
    report(name, best_ns, iterations);
}

// System calls that do next to nothing: the way in and out.
static long do_getpid(long i) { (void)i; return syscall(SYS_getpid); }
static long do_yield(long i) { (void)i; return syscall(SYS_sched_yield); }
static long do_clock_call(long i) {
    (void)i;
    struct timespec time;
    return syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
}
static long do_clock(long i) {
    (void)i;
    struct timespec time;
    return clock_gettime(CLOCK_MONOTONIC, &time);
}
static long do_random(long i) { (void)i; return syscall(SYS_getrandom, buffer, 16, 0); }

// Device files.
static long do_write_1(long i) { (void)i; return write(null_fd, buffer, 1); }
static long do_write_4k(long i) { (void)i; return write(null_fd, buffer, PAGE); }
static long do_write_64k(long i) { (void)i; return write(null_fd, buffer, 65536); }
static long do_read_zero(long i) { (void)i; return read(zero_fd, buffer, PAGE); }
static long do_writev(long i) {
    (void)i;
    struct iovec parts[4] = {{buffer, 64}, {buffer, 64}, {buffer, 64}, {buffer, 64}};
    return writev(null_fd, parts, 4);
}

// A file in /tmp.
static const char *const file_path = "/tmp/bench_file";

static long do_pread_4k(long i) { return pread(file_fd, buffer, PAGE, (i & 127) * PAGE); }
static long do_pread_64k(long i) { return pread(file_fd, buffer, 65536, (i & 7) * 65536); }
static long do_pwrite_4k(long i) { return pwrite(file_fd, buffer, PAGE, (i & 127) * PAGE); }
static long do_seek_read(long i) {
    (void)i;
    return lseek(file_fd, 0, SEEK_SET) < 0 ? -1 : read(file_fd, buffer, 1);
}
static long do_fstat(long i) {
    (void)i;
    struct stat status;
    return fstat(file_fd, &status);
}
static long do_stat(long i) {
    (void)i;
    struct stat status;
    return stat(file_path, &status);
}
static long do_open_close(long i) {
    (void)i;
    int fd = open(file_path, O_RDONLY);
    return fd < 0 ? -1 : close(fd);
}
static long do_create_unlink(long i) {
    (void)i;
    int fd = open("/tmp/bench_new", O_CREAT | O_RDWR, 0600);
    if (fd < 0) return -1;
    close(fd);
    return unlink("/tmp/bench_new");
}

// Memory: map, touch every page or none, unmap.
static long map_and_touch(size_t length, size_t touched) {
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return -1;
    for (size_t at = 0; at < touched; at += PAGE) memory[at] = 1;
    return munmap(memory, length);
}
static long do_map(long i) { (void)i; return map_and_touch(65536, 0); }
static long do_touch_64k(long i) { (void)i; return map_and_touch(65536, 65536); }
static long do_touch_4m(long i) { (void)i; return map_and_touch(4 << 20, 4 << 20); }

// In and out again within one thread.
static long there_and_back(int in, int out, long length) {
    if (write(in, buffer, (size_t)length) != length) return -1;
    return read(out, buffer, (size_t)length) == length ? 0 : -1;
}
static long do_pipe_1(long i) { (void)i; return there_and_back(pipe_fds[1], pipe_fds[0], 1); }
static long do_pipe_4k(long i) { (void)i; return there_and_back(pipe_fds[1], pipe_fds[0], PAGE); }
static long do_socketpair(long i) {
    (void)i;
    return there_and_back(socket_fds[1], socket_fds[0], 1);
}
static long do_eventfd(long i) {
    (void)i;
    uint64_t value = 1;
    if (write(event_fd, &value, sizeof value) != sizeof value) return -1;
    return read(event_fd, &value, sizeof value) == sizeof value ? 0 : -1;
}
static long do_epoll(long i) {
    (void)i;
    struct epoll_event events[4];
    return epoll_wait(ready_epoll_fd, events, 4, 0) == 1 ? 0 : -1;
}
static long do_poll(long i) {
    (void)i;
    struct pollfd entry = {.fd = null_fd, .events = POLLOUT};
    return poll(&entry, 1, 0);
}

// Signals and futexes.
static volatile sig_atomic_t signals_seen;
static void on_signal(int number) { (void)number; signals_seen++; }
static long do_signal(long i) {
    (void)i;
    return syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), SIGUSR1);
}
static long futex(volatile int *word, int call, int value) {
    return syscall(SYS_futex, word, call, value, NULL, NULL, 0);
}
static long do_wake_nobody(long i) {
    (void)i;
    static volatile int word;
    return futex(&word, FUTEX_WAKE_PRIVATE, 1);
}

// Threads and processes.
static void *nothing(void *argument) { return argument; }
static long do_thread(long i) {
    (void)i;
    pthread_t thread;
    errno = pthread_create(&thread, NULL, nothing, NULL);
    return errno ? -1 : pthread_join(thread, NULL);
}
static long do_fork(long i) {
    (void)i;
    pid_t child = fork();
    if (child == 0) _exit(0);
    return child < 0 || waitpid(child, NULL, 0) < 0 ? -1 : 0;
}

// Ping-pong: two threads that wait for each other, by pipes and by a futex.
static int ping[2], pong[2];
static volatile int turn;
static long pings;

static void *answer_pipe(void *argument) {
    char byte;
    for (long i = 0; i < pings; i++)
        if (read(ping[0], &byte, 1) != 1 || write(pong[1], &byte, 1) != 1) break;
    return argument;
}
static long ask_pipe(void) {
    char byte = 0;
    return write(ping[1], &byte, 1) == 1 && read(pong[0], &byte, 1) == 1 ? 0 : -1;
}
static void *answer_futex(void *argument) {
    for (long i = 0; i < pings; i++) {
        while (turn != 1) futex(&turn, FUTEX_WAIT_PRIVATE, 0);
        turn = 0;
        futex(&turn, FUTEX_WAKE_PRIVATE, 1);
    }
    return argument;
}
static long ask_futex(void) {
    turn = 1;
    futex(&turn, FUTEX_WAKE_PRIVATE, 1);
    while (turn != 0) futex(&turn, FUTEX_WAIT_PRIVATE, 1);
    return 0;
}

static void measure_pingpong(const char *name, void *(*answer)(void *), long (*ask)(void)) {
    if (!wanted(name)) return;
    pthread_t partner;
    pings = scaled(20000);
    errno = pthread_create(&partner, NULL, answer, NULL);
    if (errno) return report_failure(name);
    uint64_t start = now_ns();
    for (long i = 0; i < pings; i++)
        if (ask() < 0) return report_failure(name);
    report(name, now_ns() - start, pings);
    pthread_join(partner, NULL);
}

// Two threads that want the same mutex all the time.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile long counter;

static void *count_up(void *argument) {
    for (long i = 0; i < (long)argument; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void measure_mutex(void) {
    const char *name = "mutex_contended_2t";
    if (!wanted(name)) return;
    pthread_t threads[2];
    long each = scaled(500000);
    uint64_t start = now_ns();
    for (int i = 0; i < 2; i++) {
        errno = pthread_create(&threads[i], NULL, count_up, (void *)each);
        if (errno) return report_failure(name);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    report(name, now_ns() - start, 2 * each);
}

// Pure user code: tells whether the two sides count the same way.
static void measure_loop(void) {
    if (!wanted("cpu_loop")) return;
    volatile uint64_t value = 1;
    long iterations = scaled(20000000);
    uint64_t start = now_ns();
    for (long i = 0; i < iterations; i++) value = value * 6364136223846793005u + 1;
    report("cpu_loop", now_ns() - start, iterations);
}

// A step that fails leaves its descriptor at -1, and its operations report the error.
static void prepare(void) {
    null_fd = open("/dev/null", O_RDWR);
    zero_fd = open("/dev/zero", O_RDONLY);
    file_fd = open(file_path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    if (file_fd < 0 || write(file_fd, buffer, sizeof buffer) != (ssize_t)sizeof buffer)
        report_failure("file_setup");
    if (pipe(pipe_fds)) pipe_fds[0] = pipe_fds[1] = -1;
    if (pipe(ping) || pipe(pong)) report_failure("pipe_setup");
    event_fd = eventfd(0, 0);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, socket_fds)) socket_fds[0] = socket_fds[1] = -1;
    struct epoll_event event = {.events = EPOLLIN};
    ready_epoll_fd = epoll_create1(0);
    if (epoll_ctl(ready_epoll_fd, EPOLL_CTL_ADD, eventfd(1, 0), &event))
        report_failure("epoll_setup");
    struct sigaction action = {.sa_handler = on_signal};
    if (sigaction(SIGUSR1, &action, NULL)) report_failure("signal_setup");
}

static const struct {
    const char *name;
    long iterations;
    operation run;
} operations[] = {
    {"getpid", 300000, do_getpid},
    {"clock_gettime_sys", 300000, do_clock_call},
    {"clock_gettime_libc", 300000, do_clock},
    {"write_devnull_1", 300000, do_write_1},
    {"write_devnull_4k", 200000, do_write_4k},
    {"write_devnull_64k", 50000, do_write_64k},
    {"read_devzero_4k", 200000, do_read_zero},
    {"writev_devnull_4x64", 100000, do_writev},
    {"pread_4k", 200000, do_pread_4k},
    {"pread_64k", 30000, do_pread_64k},
    {"pwrite_4k", 100000, do_pwrite_4k},
    {"lseek_read_1", 100000, do_seek_read},
    {"fstat", 200000, do_fstat},
    {"stat", 100000, do_stat},
    {"open_close", 100000, do_open_close},
    {"create_unlink", 30000, do_create_unlink},
    {"mmap_munmap_64k", 50000, do_map},
    {"mmap_touch_64k", 10000, do_touch_64k},
    {"mmap_touch_4m", 200, do_touch_4m},
    {"pipe_same_thread", 100000, do_pipe_1},
    {"pipe_same_thread_4k", 50000, do_pipe_4k},
    {"eventfd_wr", 100000, do_eventfd},
    {"epoll_wait_ready", 100000, do_epoll},
    {"poll_1", 100000, do_poll},
    {"socketpair_wr", 50000, do_socketpair},
    {"signal_self", 50000, do_signal},
    {"futex_wake_none", 300000, do_wake_nobody},
    {"sched_yield", 100000, do_yield},
    {"getrandom_16", 100000, do_random},
    {"thread_create_join", 2000, do_thread},
};

int main(int argc, char **argv) {
    if (argc > 1) scale = atof(argv[1]);
    if (scale <= 0) scale = 1;
    if (argc > 2) {
        prefixes = argv + 2;
        prefix_count = argc - 2;
    }
    prepare();
    measure_loop();
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        measure(operations[i].name, operations[i].iterations, operations[i].run);
    measure_pingpong("pipe_pingpong", answer_pipe, ask_pipe);
    measure_pingpong("futex_pingpong", answer_futex, ask_futex);
    measure_mutex();
    if (prefix_count) measure("fork_wait", 200, do_fork);
    unlink(file_path);
    return 0;
}
