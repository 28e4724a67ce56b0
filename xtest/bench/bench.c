// SPDX-License-Identifier: MIT
//
// Latency of single operations, measured from inside the program: system calls, page faults,
// threads.
//
//     bench [SCALE] [OPERATION-PREFIX]...
//
// SCALE multiplies the number of iterations (default 1). Only operations whose name begins with one
// of the prefixes run; `fork_wait` runs only if asked for, since some systems have no fork.
//
// One line an operation: "<name> <nanoseconds per operation> <iterations>", or "<name> FAIL
// <errno>". A simple operation is warmed up with a twentieth of its iterations and then measured
// three times; the best counts. Nothing but CLOCK_MONOTONIC is used, so under an emulator that
// counts instructions the figures are instruction counts.
//
// A simple operation is a function that does it once and returns a negative number if it failed; it
// is inlined into its measuring loop, so that nothing but the operation is measured.

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

/// Iterations at scale 1 are multiplied by this.
static double scale = 1.0;

static char **prefixes;
static int prefix_count;

static const char FILE_PATH[] = "/tmp/bench_f";
static const char CREATED_PATH[] = "/tmp/bench_c";

/// Source and target of all transfers.
static char buffer[1 << 20];

// Descriptors that the operations use, and what they read or write besides.
static int null_device;
static int zero_device;
static int file;
static int read_end;
static int write_end;
static int event;
static int epoll;
static struct timespec clock_value;
static struct stat status;

// ---- Measuring and reporting ----

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static bool is_wanted(const char *name)
{
    for (int i = 0; i < prefix_count; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return prefix_count == 0;
}

static long scaled(long iterations)
{
    long result = (long)((double)iterations * scale);
    return result < 1 ? 1 : result;
}

static void report(const char *name, uint64_t elapsed_ns, long iterations)
{
    printf("%-24s %12.1f %ld\n", name, (double)elapsed_ns / (double)iterations, iterations);
    fflush(stdout);
}

static void report_failure(const char *name)
{
    printf("%-24s FAIL %d\n", name, errno);
    fflush(stdout);
}

/// `i` is the number of the iteration, for operations that walk over a file.
typedef long (*operation)(long i);

#define INLINED static inline __attribute__((always_inline))

/// Performs the operation; false if it failed on the way.
INLINED bool repeat(operation operate, long iterations)
{
    for (long i = 0; i < iterations; i++) {
        if (operate(i) < 0) {
            return false;
        }
    }
    return true;
}

/// Warms up, measures three times, reports the best.
INLINED void measure(const char *name, long iterations_at_scale_1, operation operate)
{
    if (!is_wanted(name)) {
        return;
    }
    long iterations = scaled(iterations_at_scale_1);
    long warm_up = iterations / 20 ? iterations / 20 : 1;
    bool works = repeat(operate, warm_up);
    uint64_t best = UINT64_MAX;
    for (int round = 0; works && round < 3; round++) {
        uint64_t start = now_ns();
        works = repeat(operate, iterations);
        uint64_t elapsed = now_ns() - start;
        best = elapsed < best ? elapsed : best;
    }
    if (works) {
        report(name, best, iterations);
    } else {
        report_failure(name);
    }
}

// ---- The processor and the cheapest calls ----

static void measure_cpu_loop(void)
{
    if (!is_wanted("cpu_loop")) {
        return;
    }
    volatile uint64_t value = 1;
    long iterations = scaled(20000000);
    uint64_t start = now_ns();
    for (long i = 0; i < iterations; i++) {
        value = value * 6364136223846793005u + 1;
    }
    report("cpu_loop", now_ns() - start, iterations);
}

#define OPERATION(name, expression)                                                                \
    INLINED long name(long i)                                                                      \
    {                                                                                              \
        (void)i;                                                                                   \
        return (long)(expression);                                                                 \
    }

OPERATION(do_getpid, syscall(SYS_getpid))
OPERATION(do_clock_gettime_call, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &clock_value))
OPERATION(do_clock_gettime, clock_gettime(CLOCK_MONOTONIC, &clock_value))

static void measure_cheap_calls(void)
{
    measure("getpid", 300000, do_getpid);
    measure("clock_gettime_sys", 300000, do_clock_gettime_call);
    measure("clock_gettime_libc", 300000, do_clock_gettime);
}

// ---- Devices and files ----

static struct iovec vectors[4] = {{buffer, 64}, {buffer, 64}, {buffer, 64}, {buffer, 64}};

OPERATION(write_1, write(null_device, buffer, 1))
OPERATION(write_4k, write(null_device, buffer, 4096))
OPERATION(write_64k, write(null_device, buffer, 65536))
OPERATION(read_4k, read(zero_device, buffer, 4096))
OPERATION(write_vectors, writev(null_device, vectors, 4))

static void measure_devices(void)
{
    measure("write_devnull_1", 300000, write_1);
    measure("write_devnull_4k", 200000, write_4k);
    measure("write_devnull_64k", 50000, write_64k);
    measure("read_devzero_4k", 200000, read_4k);
    measure("writev_devnull_4x64", 100000, write_vectors);
}

OPERATION(pread_4k, pread(file, buffer, 4096, (i & 127) * 4096))
OPERATION(pread_64k, pread(file, buffer, 65536, (i & 7) * 65536))
OPERATION(pwrite_4k, pwrite(file, buffer, 4096, (i & 127) * 4096))
OPERATION(seek_and_read, (lseek(file, 0, SEEK_SET), read(file, buffer, 1)))
OPERATION(do_fstat, fstat(file, &status))
OPERATION(do_stat, stat(FILE_PATH, &status))

static void measure_open_file(void)
{
    measure("pread_4k", 200000, pread_4k);
    measure("pread_64k", 30000, pread_64k);
    measure("pwrite_4k", 100000, pwrite_4k);
    measure("lseek_read_1", 100000, seek_and_read);
    measure("fstat", 200000, do_fstat);
}

static long open_and_close(long i)
{
    (void)i;
    int fd = open(FILE_PATH, O_RDONLY);
    if (fd < 0) {
        return -1;
    }
    close(fd);
    return 0;
}

static long create_and_unlink(long i)
{
    (void)i;
    int fd = open(CREATED_PATH, O_CREAT | O_RDWR, 0600);
    if (fd < 0) {
        return -1;
    }
    close(fd);
    return unlink(CREATED_PATH);
}

static void measure_files(void)
{
    file = open(FILE_PATH, O_CREAT | O_RDWR | O_TRUNC, 0600);
    if (file < 0 || write(file, buffer, sizeof buffer) != (ssize_t)sizeof buffer) {
        report_failure("file_setup");
    } else {
        measure_open_file();
    }
    measure("stat", 100000, do_stat);
    measure("open_close", 100000, open_and_close);
    measure("create_unlink", 30000, create_and_unlink);
}

// ---- Memory ----

static char *map(size_t length)
{
    return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long map_and_unmap(size_t length)
{
    char *memory = map(length);
    return memory == MAP_FAILED ? -1 : munmap(memory, length);
}

/// Maps, writes to every page, unmaps.
static long map_and_touch(size_t length)
{
    char *memory = map(length);
    if (memory == MAP_FAILED) {
        return -1;
    }
    for (size_t offset = 0; offset < length; offset += 4096) {
        memory[offset] = 1;
    }
    return munmap(memory, length);
}

OPERATION(map_64k, map_and_unmap(65536))
OPERATION(touch_64k, map_and_touch(65536))
OPERATION(touch_4m, map_and_touch(4 << 20))

static void measure_memory(void)
{
    measure("mmap_munmap_64k", 50000, map_64k);
    measure("mmap_touch_64k", 10000, touch_64k);
    measure("mmap_touch_4m", 200, touch_4m);
}

// ---- Descriptors that carry events and bytes ----

/// Writes and reads back this many bytes; 0, or -1 unless both calls moved all of them.
INLINED long there_and_back(int from, int to, void *bytes, ssize_t length)
{
    return write(from, bytes, (size_t)length) == length && read(to, bytes, (size_t)length) == length
               ? 0
               : -1;
}

static uint64_t event_value = 1;
static struct epoll_event ready_events[4];
static struct pollfd poller;

OPERATION(through_pipe_1, there_and_back(write_end, read_end, buffer, 1))
OPERATION(through_pipe_4k, there_and_back(write_end, read_end, buffer, 4096))
OPERATION(through_event, there_and_back(event, event, &event_value, 8))
OPERATION(wait_for_ready, epoll_wait(epoll, ready_events, 4, 0))
OPERATION(poll_one, poll(&poller, 1, 0))

static void measure_pipe(void)
{
    int fds[2];
    if (!is_wanted("pipe_same_thread") && !is_wanted("pipe_same_thread_4k")) {
        return;
    }
    if (pipe(fds) < 0) {
        report_failure("pipe_same_thread");
        return;
    }
    read_end = fds[0];
    write_end = fds[1];
    measure("pipe_same_thread", 100000, through_pipe_1);
    measure("pipe_same_thread_4k", 50000, through_pipe_4k);
}

static void measure_readiness(void)
{
    event = eventfd(0, 0);
    measure("eventfd_wr", 100000, through_event);
    // A counter that stays readable.
    int always = eventfd(1, 0);
    struct epoll_event interest = {.events = EPOLLIN};
    epoll = epoll_create1(0);
    if (epoll < 0 || always < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, always, &interest) < 0) {
        report_failure("epoll_wait_ready");
    } else {
        measure("epoll_wait_ready", 100000, wait_for_ready);
    }
    poller = (struct pollfd){.fd = null_device, .events = POLLOUT};
    measure("poll_1", 100000, poll_one);
}

static void measure_socket_pair(void)
{
    int fds[2];
    if (!is_wanted("socketpair_wr")) {
        return;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0) {
        report_failure("socketpair_wr");
        return;
    }
    read_end = fds[0];
    write_end = fds[1];
    measure("socketpair_wr", 50000, through_pipe_1);
}

// ---- Signals, futexes, scheduling, randomness ----

static volatile int signals_seen;

static void count_signal(int signal)
{
    (void)signal;
    signals_seen++;
}

static long futex(volatile int *word, int operation, int value)
{
    return syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static volatile int lonely_word;

OPERATION(signal_self, syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), SIGUSR1))
OPERATION(wake_none, futex(&lonely_word, FUTEX_WAKE_PRIVATE, 1))
OPERATION(do_yield, syscall(SYS_sched_yield))
OPERATION(do_getrandom, syscall(SYS_getrandom, buffer, 16, 0))

static void measure_signals_and_scheduling(void)
{
    struct sigaction action = {.sa_handler = count_signal};
    if (sigaction(SIGUSR1, &action, NULL) < 0) {
        report_failure("signal_self");
    } else {
        measure("signal_self", 50000, signal_self);
    }
    measure("futex_wake_none", 300000, wake_none);
    measure("sched_yield", 100000, do_yield);
    measure("getrandom_16", 100000, do_getrandom);
}

// ---- Threads ----

static void *return_at_once(void *argument)
{
    return argument;
}

static long create_and_join(long i)
{
    (void)i;
    pthread_t thread;
    int error = pthread_create(&thread, NULL, return_at_once, NULL);
    if (error) {
        errno = error;
        return -1;
    }
    pthread_join(thread, NULL);
    return 0;
}

/// Two pipes between two threads, and how often a byte goes back and forth.
struct table {
    int there[2];
    int back[2];
    long rounds;
};

static void *answer_by_pipe(void *argument)
{
    const struct table *table = argument;
    char byte;
    for (long i = 0; i < table->rounds; i++) {
        if (read(table->there[0], &byte, 1) != 1 || write(table->back[1], &byte, 1) != 1) {
            break;
        }
    }
    return NULL;
}

static void measure_pipe_pingpong(void)
{
    if (!is_wanted("pipe_pingpong")) {
        return;
    }
    static struct table table;
    pthread_t thread;
    table.rounds = scaled(20000);
    if (pipe(table.there) < 0 || pipe(table.back) < 0 ||
        pthread_create(&thread, NULL, answer_by_pipe, &table) != 0) {
        report_failure("pipe_pingpong");
        return;
    }
    char byte = 0;
    uint64_t start = now_ns();
    for (long i = 0; i < table.rounds; i++) {
        if (write(table.there[1], &byte, 1) != 1 || read(table.back[0], &byte, 1) != 1) {
            report_failure("pipe_pingpong");
            return;
        }
    }
    report("pipe_pingpong", now_ns() - start, table.rounds);
    pthread_join(thread, NULL);
}

/// 1: the answering thread's turn. 0: the asking thread's.
static volatile int turn;

static void *answer_by_futex(void *argument)
{
    for (long i = 0; i < *(long *)argument; i++) {
        while (turn != 1) {
            futex(&turn, FUTEX_WAIT_PRIVATE, 0);
        }
        turn = 0;
        futex(&turn, FUTEX_WAKE_PRIVATE, 1);
    }
    return NULL;
}

static void measure_futex_pingpong(void)
{
    if (!is_wanted("futex_pingpong")) {
        return;
    }
    pthread_t thread;
    long rounds = scaled(20000);
    turn = 0;
    if (pthread_create(&thread, NULL, answer_by_futex, &rounds) != 0) {
        report_failure("futex_pingpong");
        return;
    }
    uint64_t start = now_ns();
    for (long i = 0; i < rounds; i++) {
        turn = 1;
        futex(&turn, FUTEX_WAKE_PRIVATE, 1);
        while (turn != 0) {
            futex(&turn, FUTEX_WAIT_PRIVATE, 1);
        }
    }
    report("futex_pingpong", now_ns() - start, rounds);
    pthread_join(thread, NULL);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile long counted;

static void *count_under_mutex(void *argument)
{
    long rounds = (long)argument;
    for (long i = 0; i < rounds; i++) {
        pthread_mutex_lock(&mutex);
        counted++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void measure_contended_mutex(void)
{
    if (!is_wanted("mutex_contended_2t")) {
        return;
    }
    pthread_t threads[2];
    long rounds = scaled(500000);
    uint64_t start = now_ns();
    for (int i = 0; i < 2; i++) {
        if (pthread_create(&threads[i], NULL, count_under_mutex, (void *)rounds) != 0) {
            report_failure("mutex_contended_2t");
            return;
        }
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    report("mutex_contended_2t", now_ns() - start, 2 * rounds);
}

static void measure_threads(void)
{
    measure("thread_create_join", 2000, create_and_join);
    measure_pipe_pingpong();
    measure_futex_pingpong();
    measure_contended_mutex();
}

// ---- Processes ----

static long fork_and_wait(long i)
{
    (void)i;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    int exit_status;
    return pid < 0 || waitpid(pid, &exit_status, 0) < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        scale = atof(argv[1]);
    }
    if (scale <= 0) {
        scale = 1;
    }
    if (argc > 2) {
        prefixes = argv + 2;
        prefix_count = argc - 2;
    }
    null_device = open("/dev/null", O_RDWR);
    zero_device = open("/dev/zero", O_RDONLY);
    measure_cpu_loop();
    measure_cheap_calls();
    measure_devices();
    measure_files();
    measure_memory();
    measure_pipe();
    measure_readiness();
    measure_socket_pair();
    measure_signals_and_scheduling();
    measure_threads();
    if (prefix_count > 0) {
        measure("fork_wait", 200, fork_and_wait);
    }
    unlink(FILE_PATH);
    return 0;
}
