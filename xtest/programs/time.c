// SPDX-License-Identifier: MIT
//
// Clocks, sleeps and accounting.

#include "check.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t ns_of(clockid_t clock)
{
    struct timespec time;
    EXPECT_OK(clock_gettime(clock, &time));
    EXPECT(time.tv_nsec >= 0 && time.tv_nsec < 1000000000);
    return time.tv_sec * 1000000000 + time.tv_nsec;
}

static void spin_ms(unsigned milliseconds)
{
    uint64_t start = check_now_ns();
    while (check_now_ns() - start < milliseconds * NS_PER_MS) {
    }
}

CASE(monotonic_clock_never_goes_back)
{
    static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE,
                                       CLOCK_BOOTTIME};
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        int64_t last = ns_of(clocks[i]);
        for (int round = 0; round < 5000; round++) {
            int64_t now = ns_of(clocks[i]);
            EXPECT(now >= last);
            last = now;
        }
    }
}

CASE(raw_call_and_libc_agree_on_the_time)
{
    for (int i = 0; i < 100; i++) {
        struct timespec raw;
        int64_t before = ns_of(CLOCK_MONOTONIC);
        EXPECT_OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &raw));
        int64_t after = ns_of(CLOCK_MONOTONIC);
        int64_t between = raw.tv_sec * 1000000000 + raw.tv_nsec;
        EXPECT(before <= between && between <= after);
    }
}

CASE(wall_clock_is_in_this_century)
{
    struct timeval now;
    EXPECT_OK(gettimeofday(&now, NULL));
    EXPECT(now.tv_sec > 1600000000 && now.tv_sec < 4102444800);
    EXPECT(now.tv_usec >= 0 && now.tv_usec < 1000000);
    time_t seconds = time(NULL);
    EXPECT(seconds >= now.tv_sec && seconds - now.tv_sec < 20);
    int64_t real = ns_of(CLOCK_REALTIME) / 1000000000;
    EXPECT(real >= now.tv_sec && real - now.tv_sec < 20);
}

CASE(clock_calls_refuse_bad_arguments)
{
    struct timespec time;
    EXPECT_ERRNO(clock_gettime(99, &time), EINVAL);
    EXPECT_ERRNO(clock_getres(99, &time), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8), EFAULT);
    EXPECT_OK(clock_getres(CLOCK_MONOTONIC, NULL));
    EXPECT_OK(clock_getres(CLOCK_MONOTONIC, &time));
    EXPECT(time.tv_sec == 0 && time.tv_nsec >= 1);
    EXPECT_ERRNO(clock_settime(CLOCK_MONOTONIC, &time), EINVAL);
    EXPECT_ERRNO(syscall(SYS_gettimeofday, 8, NULL), EFAULT);
}

CASE(nanosleep_sleeps_at_least_its_time)
{
    static const long naps_ns[] = {0, 1, 1000000, 30000000};
    for (size_t i = 0; i < sizeof naps_ns / sizeof *naps_ns; i++) {
        struct timespec nap = {0, naps_ns[i]};
        uint64_t start = check_now_ns();
        EXPECT_OK(nanosleep(&nap, NULL));
        uint64_t elapsed = check_now_ns() - start;
        EXPECT(elapsed >= (uint64_t)naps_ns[i] && elapsed < SOON_NS);
    }
}

CASE(nanosleep_refuses_bad_times)
{
    struct timespec too_many = {0, 1000000000};
    struct timespec negative = {-1, 0};
    struct timespec negative_ns = {0, -1};
    EXPECT_ERRNO(nanosleep(&too_many, NULL), EINVAL);
    EXPECT_ERRNO(nanosleep(&negative, NULL), EINVAL);
    EXPECT_ERRNO(nanosleep(&negative_ns, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_nanosleep, 8, NULL), EFAULT);
}

CASE(clock_nanosleep_sleeps_until_a_deadline)
{
    struct timespec deadline;
    EXPECT_OK(clock_gettime(CLOCK_MONOTONIC, &deadline));
    // Long past: no sleep at all.
    struct timespec past = {0, 0};
    EXPECT_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &past, NULL), 0);
    deadline.tv_nsec += 30000000;
    deadline.tv_sec += deadline.tv_nsec / 1000000000;
    deadline.tv_nsec %= 1000000000;
    EXPECT_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL), 0);
    EXPECT(ns_of(CLOCK_MONOTONIC) >= deadline.tv_sec * 1000000000 + deadline.tv_nsec);
    EXPECT_EQ(clock_nanosleep(99, 0, &past, NULL), EINVAL);
    past.tv_nsec = -1;
    EXPECT_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &past, NULL), EINVAL);
}

static void nothing(int signal)
{
    (void)signal;
}

CASE(interrupted_absolute_sleep_leaves_no_remainder)
{
    struct sigaction action = {.sa_handler = nothing};
    EXPECT_OK(sigaction(SIGUSR1, &action, NULL));
    pid_t pid = check_pester(SIGUSR1);
    struct timespec far = {1l << 40, 0};
    struct timespec left = {123, 456};
    EXPECT_EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &far, &left), EINTR);
    EXPECT_EQ(left.tv_sec, 123);
    check_end(pid);
}

CASE(processor_clocks_run_while_spinning)
{
    int64_t process = ns_of(CLOCK_PROCESS_CPUTIME_ID);
    int64_t thread = ns_of(CLOCK_THREAD_CPUTIME_ID);
    spin_ms(30);
    EXPECT(ns_of(CLOCK_PROCESS_CPUTIME_ID) > process);
    EXPECT(ns_of(CLOCK_THREAD_CPUTIME_ID) > thread);
}

CASE(processor_clock_stands_still_while_sleeping)
{
    int64_t before = ns_of(CLOCK_PROCESS_CPUTIME_ID);
    check_sleep_ms(300);
    EXPECT(ns_of(CLOCK_PROCESS_CPUTIME_ID) - before < (int64_t)(200 * NS_PER_MS));
}

CASE(rusage_and_times_count_up)
{
    struct rusage usage;
    struct tms used;
    /* By the processor's clock: on a busy machine little of the time is this program's. */
    while (ns_of(CLOCK_PROCESS_CPUTIME_ID) < (int64_t)(30 * NS_PER_MS)) {
        spin_ms(5);
    }
    EXPECT_OK(getrusage(RUSAGE_SELF, &usage));
    EXPECT(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec > 0 ||
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec >= 10000);
    EXPECT(usage.ru_maxrss > 0);
    EXPECT_OK(times(&used));
    EXPECT(used.tms_utime + used.tms_stime >= 1);
    EXPECT_EQ(sysconf(_SC_CLK_TCK), 100);
    EXPECT_ERRNO(syscall(SYS_getrusage, 99, &usage), EINVAL);
    EXPECT_ERRNO(syscall(SYS_getrusage, RUSAGE_SELF, 8), EFAULT);
}

CASE(time_of_children_counts_when_reaped)
{
    struct rusage usage;
    EXPECT_OK(getrusage(RUSAGE_CHILDREN, &usage));
    EXPECT_EQ(usage.ru_utime.tv_sec + usage.ru_utime.tv_usec, 0);
    pid_t pid;
    CHILD (pid) {
        spin_ms(60);
    }
    EXPECT_EXITED(pid, 0);
    EXPECT_OK(getrusage(RUSAGE_CHILDREN, &usage));
    EXPECT(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec > 0);
}

CASE(uname_and_sysinfo_answer)
{
    struct utsname name;
    struct sysinfo information;
    EXPECT_OK(uname(&name));
    EXPECT_STR(name.sysname, "Linux");
#ifdef __x86_64__
    EXPECT_STR(name.machine, "x86_64");
#endif
    EXPECT(name.release[0] >= '4' && name.release[0] <= '9');
    EXPECT_OK(sysinfo(&information));
    EXPECT(information.totalram > 0 && information.freeram <= information.totalram);
    EXPECT(information.procs > 0);
    EXPECT_ERRNO(syscall(SYS_uname, 8), EFAULT);
    EXPECT_ERRNO(syscall(SYS_sysinfo, 8), EFAULT);
}

CASE(getrandom_fills_and_checks)
{
    unsigned char bytes[256] = {0};
    unsigned kinds = 0;
    EXPECT_EQ(syscall(SYS_getrandom, bytes, sizeof bytes, 0), sizeof bytes);
    for (size_t i = 1; i < sizeof bytes; i++) {
        kinds += bytes[i] != bytes[0];
    }
    EXPECT(kinds > 200);
    EXPECT_EQ(syscall(SYS_getrandom, bytes, 0, 0), 0);
    EXPECT_ERRNO(syscall(SYS_getrandom, bytes, 16, 0x80), EINVAL);
    EXPECT_ERRNO(syscall(SYS_getrandom, 8, 16, 0), EFAULT);
}
