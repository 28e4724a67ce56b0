// SPDX-License-Identifier: MIT
//
// A small test harness for programs that assert what Linux system calls do.
//
// Every case runs in a forked child, in a fresh empty directory and in its own process group, so
// that a crash or a hang is one failed case. The output holds no pids, addresses or times: two runs
// of a correct kernel give equal bytes.
//
//     CASE(pipe_is_empty_at_first) { ... EXPECT_ERRNO(read(fd, &byte, 1), EAGAIN); }
//
// A failed expectation ends the process that made it, and the case with it.

#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Page size of every machine these programs run on.
#define PAGE ((size_t)4096)

/// Upper bound of a wait that should be short, in nanoseconds: generous, since emulators are slow.
#define SOON_NS (10 * 1000000000ull)

#define NS_PER_MS 1000000ull

/// Registers a test case; the body follows. Cases run in the order of the source.
#define CASE(name)                                                                                 \
    static void case_##name(void);                                                                 \
    __attribute__((constructor)) static void register_case_##name(void)                            \
    {                                                                                              \
        check_register_case(#name, case_##name);                                                   \
    }                                                                                              \
    static void case_##name(void)

/// Registers an entry that another case reaches by executing this program with `--helper name ...`.
/// The body sees `argc` and `argv` after the name and returns an exit status.
#define HELPER(name)                                                                               \
    static int helper_##name(int argc, char **argv);                                               \
    __attribute__((constructor)) static void register_helper_##name(void)                          \
    {                                                                                              \
        check_register_helper(#name, helper_##name);                                               \
    }                                                                                              \
    static int helper_##name(int argc __attribute__((unused)), char **argv __attribute__((unused)))

/// Forks; the block that follows runs in the child, which then exits with status 0.
#define CHILD(pid) for ((pid) = check_fork(); (pid) == 0; check_exit_child())

#define EXPECT(condition) ((condition) ? (void)0 : check_fail(__FILE__, __LINE__, "%s", #condition))

#define EXPECT_EQ(actual, expected)                                                                \
    check_equal(__FILE__, __LINE__, #actual " == " #expected, (long long)(actual),                 \
                (long long)(expected))

/// The call returns -1 and sets this errno.
#define EXPECT_ERRNO(call, expected)                                                               \
    check_errno(__FILE__, __LINE__, #call, (errno = 0, (long)(call)), (expected))

/// The call returns anything but -1; evaluates to what it returned, as a `long`.
#define EXPECT_OK(call) check_ok(__FILE__, __LINE__, #call, (long)(call))

/// Strings are equal.
#define EXPECT_STR(actual, expected) check_string(__FILE__, __LINE__, #actual, (actual), (expected))

/// Waits for the child `pid`: it exited with `status`.
#define EXPECT_EXITED(pid, status) check_exited(__FILE__, __LINE__, (pid), (status))

/// Waits for the child `pid`: `signal` killed it.
#define EXPECT_KILLED(pid, signal) check_killed(__FILE__, __LINE__, (pid), (signal))

void check_register_case(const char *name, void (*run)(void));
void check_register_helper(const char *name, int (*run)(int argc, char **argv));

void check_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
void check_equal(const char *file, int line, const char *what, long long actual,
                 long long expected);
void check_errno(const char *file, int line, const char *call, long result, int expected);
long check_ok(const char *file, int line, const char *call, long result);
void check_string(const char *file, int line, const char *what, const char *actual,
                  const char *expected);
void check_exited(const char *file, int line, pid_t pid, int status);
void check_killed(const char *file, int line, pid_t pid, int signal);

pid_t check_fork(void);
void check_exit_child(void) __attribute__((noreturn));

/// Monotonic time.
uint64_t check_now_ns(void);
void check_sleep_ms(unsigned milliseconds);

/// Forks a process that sends `signal` to the caller every 20 ms until it is killed; so a signal
/// meets a blocked caller however slow the machine is. Returns its pid.
pid_t check_pester(int signal);
/// Kills and reaps what `check_pester` or a plain fork gave.
void check_end(pid_t pid);

/// Creates a file with this content in the current directory and returns it open for reading and
/// writing, at its end.
int check_file(const char *path, const void *content, size_t length);

/// Reads until end of file or `size - 1` bytes; the result is a C string. Returns its length.
size_t check_slurp(const char *path, char *text, size_t size);

/// This program's own path, for `execve`.
const char *check_program(void);

/// Maps `pages` anonymous, private, readable and writable pages.
unsigned char *check_pages(size_t pages);

/// A one-way, one-shot signal between processes: `gate_open` lets one `gate_wait` pass.
struct gate {
    int fds[2];
};
struct gate gate_new(void);
void gate_open(struct gate gate);
void gate_wait(struct gate gate);

#endif
