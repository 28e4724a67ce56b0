// SPDX-License-Identifier: MIT
//
// The test harness: registration, running, reporting. See check.h.

#include "check.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CASES_MAX = 256,
    HELPERS_MAX = 32,
    CASE_SECONDS_MAX = 20,
    EXIT_FAILED_EXPECTATION = 99,
    REPORT_FD_MIN = 200,
};

static struct {
    const char *name;
    void (*run)(void);
} cases[CASES_MAX];
static size_t case_count;

static struct {
    const char *name;
    int (*run)(int argc, char **argv);
} helpers[HELPERS_MAX];
static size_t helper_count;

/// Where a failed expectation is written: a pipe to the runner, or standard output.
static int report_fd = STDOUT_FILENO;

/// What comes before a report: "FAIL name: " where no runner adds it.
static char report_prefix[128];

/// Where a failed expectation goes on, when cases run one after the other in one process.
static sigjmp_buf next_case;
static bool one_process;

void check_register_case(const char *name, void (*run)(void))
{
    if (case_count == CASES_MAX) {
        abort();
    }
    cases[case_count].name = name;
    cases[case_count++].run = run;
}

void check_register_helper(const char *name, int (*run)(int, char **))
{
    if (helper_count == HELPERS_MAX) {
        abort();
    }
    helpers[helper_count].name = name;
    helpers[helper_count++].run = run;
}

// ---- Expectations ----

void check_fail(const char *file, int line, const char *format, ...)
{
    const char *slash = strrchr(file, '/');
    char text[1024];
    int length =
        snprintf(text, sizeof text, "%s%s:%d: ", report_prefix, slash ? slash + 1 : file, line);
    va_list arguments;
    va_start(arguments, format);
    int added = vsnprintf(text + length, sizeof text - (size_t)length - 1, format, arguments);
    va_end(arguments);
    length += added < 0 ? 0 : added;
    if ((size_t)length > sizeof text - 2) {
        length = sizeof text - 2;
    }
    text[length++] = '\n';
    ssize_t written = write(report_fd, text, (size_t)length);
    (void)written;
    if (one_process && gettid() == getpid()) {
        siglongjmp(next_case, 1);
    }
    _exit(EXIT_FAILED_EXPECTATION);
}

void check_equal(const char *file, int line, const char *what, long long actual, long long expected)
{
    if (actual != expected) {
        check_fail(file, line, "%s (got %lld, want %lld)", what, actual, expected);
    }
}

static const char *errno_name(int number)
{
    const char *name = strerrorname_np(number);
    return name ? name : "an unknown errno";
}

void check_errno(const char *file, int line, const char *call, long result, int expected)
{
    int error = errno;
    if (result != -1) {
        check_fail(file, line, "%s: want %s (got %ld)", call, errno_name(expected), result);
    }
    if (error != expected) {
        check_fail(file, line, "%s: want %s (got %s)", call, errno_name(expected),
                   errno_name(error));
    }
}

long check_ok(const char *file, int line, const char *call, long result)
{
    if (result == -1) {
        check_fail(file, line, "%s (got %s)", call, errno_name(errno));
    }
    return result;
}

void check_string(const char *file, int line, const char *what, const char *actual,
                  const char *expected)
{
    if (strcmp(actual, expected) != 0) {
        check_fail(file, line, "%s (got \"%s\", want \"%s\")", what, actual, expected);
    }
}

static int wait_for(const char *file, int line, pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            check_fail(file, line, "waitpid (got %s)", errno_name(errno));
        }
    }
    return status;
}

void check_exited(const char *file, int line, pid_t pid, int expected)
{
    int status = wait_for(file, line, pid);
    if (WIFSIGNALED(status)) {
        check_fail(file, line, "child exits with %d (got signal %d)", expected, WTERMSIG(status));
    }
    check_equal(file, line, "exit status of child", WEXITSTATUS(status), expected);
}

void check_killed(const char *file, int line, pid_t pid, int signal)
{
    int status = wait_for(file, line, pid);
    if (!WIFSIGNALED(status)) {
        check_fail(file, line, "child dies by signal %d (got exit status %d)", signal,
                   WEXITSTATUS(status));
    }
    check_equal(file, line, "signal that killed the child", WTERMSIG(status), signal);
}

// ---- What cases need often ----

pid_t check_fork(void)
{
    pid_t pid = fork();
    if (pid < 0) {
        check_fail(__FILE__, __LINE__, "fork (got %s)", errno_name(errno));
    }
    return pid;
}

void check_exit_child(void)
{
    _exit(0);
}

uint64_t check_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void check_sleep_ms(unsigned milliseconds)
{
    struct timespec left = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

pid_t check_pester(int signal)
{
    pid_t target = getpid();
    pid_t pid = check_fork();
    if (pid == 0) {
        do {
            check_sleep_ms(20);
        } while (kill(target, signal) == 0);
        _exit(0);
    }
    return pid;
}

void check_end(pid_t pid)
{
    kill(pid, SIGKILL);
    wait_for(__FILE__, __LINE__, pid);
}

int check_file(const char *path, const void *content, size_t length)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, content, length) != (ssize_t)length) {
        check_fail(__FILE__, __LINE__, "writing the file %s (got %s)", path, errno_name(errno));
    }
    return fd;
}

size_t check_slurp(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        check_fail(__FILE__, __LINE__, "open %s (got %s)", path, errno_name(errno));
    }
    size_t length = 0;
    while (length < size - 1) {
        ssize_t count = read(fd, text + length, size - 1 - length);
        if (count < 0) {
            check_fail(__FILE__, __LINE__, "read %s (got %s)", path, errno_name(errno));
        }
        if (count == 0) {
            break;
        }
        length += (size_t)count;
    }
    text[length] = '\0';
    close(fd);
    return length;
}

const char *check_program(void)
{
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0) {
        check_fail(__FILE__, __LINE__, "readlink /proc/self/exe (got %s)", errno_name(errno));
    }
    path[length] = '\0';
    return path;
}

unsigned char *check_pages(size_t pages)
{
    void *memory =
        mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        check_fail(__FILE__, __LINE__, "mmap of %zu pages (got %s)", pages, errno_name(errno));
    }
    return memory;
}

struct gate gate_new(void)
{
    struct gate gate;
    if (pipe2(gate.fds, O_CLOEXEC) < 0) {
        check_fail(__FILE__, __LINE__, "pipe2 (got %s)", errno_name(errno));
    }
    return gate;
}

void gate_open(struct gate gate)
{
    if (write(gate.fds[1], "", 1) != 1) {
        check_fail(__FILE__, __LINE__, "opening a gate (got %s)", errno_name(errno));
    }
}

void gate_wait(struct gate gate)
{
    char byte;
    ssize_t count;
    while ((count = read(gate.fds[0], &byte, 1)) < 0 && errno == EINTR) {
    }
    if (count != 1) {
        check_fail(__FILE__, __LINE__, "waiting at a gate (got %zd)", count);
    }
}

// ---- The runner ----

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    remove(path);
    return 0;
}

/// The whole life of the child that runs one case.
static void run_in_child(size_t index, const char *directory)
{
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    setpgid(0, 0);
    alarm(CASE_SECONDS_MAX);
    if (chdir(directory) < 0) {
        check_fail(__FILE__, __LINE__, "chdir to the scratch directory (got %s)",
                   errno_name(errno));
    }
    cases[index].run();
    _exit(0);
}

/// Takes the first report out of the pipe; false if there is none.
static bool first_report(int fd, char *text, size_t size)
{
    fcntl(fd, F_SETFL, O_NONBLOCK);
    ssize_t length = read(fd, text, size - 1);
    text[length < 0 ? 0 : length] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return length > 0;
}

/// Prints the line of one finished case; true if it passed.
static bool report_case(const char *name, int status, int fd)
{
    char text[1024];
    if (first_report(fd, text, sizeof text)) {
        printf("FAIL %s: %s\n", name, text);
    } else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        printf("FAIL %s: not finished after %d s\n", name, CASE_SECONDS_MAX);
    } else if (WIFSIGNALED(status)) {
        printf("FAIL %s: killed by signal %d\n", name, WTERMSIG(status));
    } else if (WEXITSTATUS(status) != 0) {
        printf("FAIL %s: exit status %d\n", name, WEXITSTATUS(status));
    } else {
        printf("ok %s\n", name);
        return true;
    }
    return false;
}

static bool run_forked(size_t index)
{
    char directory[] = "/tmp/check.XXXXXX";
    int fds[2];
    if (!mkdtemp(directory) || pipe2(fds, O_CLOEXEC) < 0) {
        printf("FAIL %s: no scratch directory or pipe: %s\n", cases[index].name, errno_name(errno));
        return false;
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        // Out of the way of cases that look at the lowest free descriptor.
        int moved = fcntl(fds[1], F_DUPFD_CLOEXEC, REPORT_FD_MIN);
        report_fd = moved < 0 ? fds[1] : moved;
        close(fds[0]);
        if (moved >= 0) {
            close(fds[1]);
        }
        run_in_child(index, directory);
    }
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (pid > 0) {
        kill(-pid, SIGKILL);
    }
    bool passed = pid > 0 && report_case(cases[index].name, status, fds[0]);
    if (pid < 0) {
        printf("FAIL %s: fork: %s\n", cases[index].name, errno_name(errno));
    }
    close(fds[0]);
    close(fds[1]);
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return passed;
}

/// For a debugger: no child, no time limit; the first failed expectation ends the program.
static bool run_inline(size_t index)
{
    char directory[] = "/tmp/check.XXXXXX";
    if (!mkdtemp(directory) || chdir(directory) < 0) {
        return false;
    }
    snprintf(report_prefix, sizeof report_prefix, "FAIL %s: ", cases[index].name);
    cases[index].run();
    printf("ok %s\n", cases[index].name);
    fflush(stdout);
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return true;
}

/* Whoever starts the tests may ignore signals: a shell does so for what it runs in the background. */
static void take_default_signals(void)
{
    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL);
    }
}

/// What is printed leaves the machine now, should it die in what follows: a machine that carries
/// messages when nothing runs has to be idle for that, longer than a computer with other work takes
/// to see the sleep begin.
static void hand_over(void)
{
    fflush(stdout);
    check_sleep_ms(20);
}

/// Where there is no `fork`: all cases in this process, those that fail among them. They may leave
/// descriptors, signal handlers and memory behind for those that follow.
static bool run_in_this_process(size_t index)
{
    printf("begin %s\n", cases[index].name);
    hand_over();
    take_default_signals();
    umask(022);
    bool passed = false;
    if (sigsetjmp(next_case, 1) == 0) {
        alarm(CASE_SECONDS_MAX);
        passed = run_inline(index);
    }
    alarm(0);
    return passed;
}

static bool is_wanted(const char *name, int filter_count, char **filters)
{
    for (int i = 0; i < filter_count; i++) {
        if (strstr(name, filters[i])) {
            return true;
        }
    }
    return filter_count == 0;
}

static int run_helper(int argc, char **argv)
{
    for (size_t i = 0; i < helper_count; i++) {
        if (strcmp(helpers[i].name, argv[0]) == 0) {
            return helpers[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "no helper %s\n", argv[0]);
    return EXIT_FAILED_EXPECTATION;
}

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s [--no-fork | --one-process] [--list] [PART-OF-NAME]...\n", program);
    return 2;
}

/// A case that is left out: it would never end.
static char left_out[128];

/// Which cases standard input asks for, a line each: "not NAME" for all but one, "after NAME" for those
/// behind one, "only NAME"; else all.
static void chosen_cases(size_t *first, size_t *end)
{
    char line[128];
    char name[128];
    while (fgets(line, sizeof line, stdin)) {
        bool only = sscanf(line, "only %127s", name) == 1;
        bool after = sscanf(line, "after %127s", name) == 1;
        sscanf(line, "not %127s", left_out);
        for (size_t i = 0; (only || after) && i < case_count; i++) {
            if (strcmp(cases[i].name, name) == 0) {
                *first = only ? i : i + 1;
                *end = only ? i + 1 : case_count;
            }
        }
    }
}

/// Runs the cases that standard input asks for; true if none failed.
static bool run_one_process(void)
{
    size_t first = 0;
    size_t end = case_count;
    unsigned passed = 0;
    unsigned failed = 0;
    one_process = true;
    // As where cases have processes of their own: the table of descriptors is as long as there.
    int moved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, REPORT_FD_MIN);
    report_fd = moved < 0 ? report_fd : moved;
    chosen_cases(&first, &end);
    for (size_t i = first; i < end; i++) {
        if (strcmp(cases[i].name, left_out) == 0) {
            continue;
        }
        if (run_in_this_process(i)) {
            passed++;
        } else {
            failed++;
        }
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0;
}

/// Runs or lists the wanted cases; true if none failed.
static bool run_all(bool forked, bool list, int filter_count, char **filters)
{
    unsigned passed = 0;
    unsigned failed = 0;
    for (size_t i = 0; i < case_count; i++) {
        if (!is_wanted(cases[i].name, filter_count, filters)) {
            continue;
        }
        if (list) {
            puts(cases[i].name);
        } else if (forked ? run_forked(i) : run_inline(i)) {
            passed++;
        } else {
            failed++;
        }
    }
    if (!list) {
        printf("%u passed, %u failed\n", passed, failed);
    }
    return failed == 0;
}

int main(int argc, char **argv)
{
    bool forked = true;
    bool list = false;
    if (argc > 2 && strcmp(argv[1], "--helper") == 0) {
        return run_helper(argc - 2, argv + 2);
    }
    take_default_signals();
    int first = 1;
    for (; first < argc && argv[first][0] == '-'; first++) {
        if (strcmp(argv[first], "--no-fork") == 0) {
            forked = false;
        } else if (strcmp(argv[first], "--one-process") == 0) {
            return run_one_process() ? 0 : 1;
        } else if (strcmp(argv[first], "--list") == 0) {
            list = true;
        } else {
            return usage(argv[0]);
        }
    }
    return run_all(forked, list, argc - first, argv + first) ? 0 : 1;
}
