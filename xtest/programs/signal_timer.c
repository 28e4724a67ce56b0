// SPDX-License-Identifier: MIT
//
// Signals that time causes, and signals as descriptors: setitimer, alarm, timer_create, signalfd.

#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t count;

static void note(int signal)
{
    (void)signal;
    count = count + 1;
}

static void wait_for_count(int wanted)
{
    uint64_t start = check_now_ns();
    while (count < wanted && check_now_ns() - start < SOON_NS) {
        check_sleep_ms(1);
    }
    EXPECT(count >= wanted);
}

CASE(alarm_fires_after_its_time_and_tells_the_old)
{
    signal(SIGALRM, note);
    alarm(0);
    EXPECT_EQ(alarm(100), 0);
    unsigned left = alarm(1);
    EXPECT(left == 100 || left == 99);
    uint64_t start = check_now_ns();
    EXPECT_ERRNO(pause(), EINTR);
    EXPECT_EQ(count, 1);
    EXPECT(check_now_ns() - start >= 900 * NS_PER_MS);
    EXPECT_EQ(alarm(0), 0);
}

CASE(real_interval_timer_repeats)
{
    signal(SIGALRM, note);
    struct itimerval timer = {{0, 5000}, {0, 5000}};
    EXPECT_OK(setitimer(ITIMER_REAL, &timer, NULL));
    wait_for_count(5);
    struct itimerval seen;
    EXPECT_OK(getitimer(ITIMER_REAL, &seen));
    EXPECT_EQ(seen.it_interval.tv_usec, 5000);
    struct itimerval off = {{0, 0}, {0, 0}};
    EXPECT_OK(setitimer(ITIMER_REAL, &off, NULL));
    int stopped_at = count;
    check_sleep_ms(30);
    EXPECT_EQ(count, stopped_at);
}

CASE(processor_time_timer_fires_while_spinning)
{
    signal(SIGVTALRM, note);
    struct itimerval timer = {{0, 0}, {0, 20000}};
    EXPECT_OK(setitimer(ITIMER_VIRTUAL, &timer, NULL));
    uint64_t start = check_now_ns();
    while (!count && check_now_ns() - start < SOON_NS) {
        for (volatile int i = 0; i < 100000; i++) {
        }
    }
    EXPECT_EQ(count, 1);
}

CASE(interval_timers_refuse_bad_arguments)
{
    struct itimerval bad = {{0, 0}, {0, 1000000}};
    struct itimerval good = {{0, 0}, {0, 0}};
    EXPECT_ERRNO(setitimer(ITIMER_REAL, &bad, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_setitimer, 9, &good, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_getitimer, 9, &good), EINVAL);
    EXPECT_ERRNO(syscall(SYS_getitimer, ITIMER_REAL, 8), EFAULT);
}

CASE(interval_timers_are_not_inherited)
{
    struct itimerval timer = {{0, 0}, {1000, 0}};
    EXPECT_OK(setitimer(ITIMER_REAL, &timer, NULL));
    pid_t pid;
    CHILD (pid) {
        struct itimerval seen;
        EXPECT_OK(getitimer(ITIMER_REAL, &seen));
        EXPECT_EQ(seen.it_value.tv_sec, 0);
        EXPECT_EQ(seen.it_value.tv_usec, 0);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(posix_timer_sends_its_value)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    struct sigevent event = {
        .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 4711};
    timer_t timer;
    EXPECT_OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    struct itimerspec time = {{0, 0}, {0, 10 * 1000000}};
    EXPECT_OK(timer_settime(timer, 0, &time, NULL));
    siginfo_t info;
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 1);
    EXPECT_EQ(info.si_code, SI_TIMER);
    EXPECT_EQ(info.si_value.sival_int, 4711);
    EXPECT_EQ(timer_getoverrun(timer), 0);
    EXPECT_OK(timer_gettime(timer, &time));
    EXPECT_EQ(time.it_value.tv_nsec, 0);
    EXPECT_OK(timer_delete(timer));
}

CASE(posix_timer_counts_overruns)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    EXPECT_OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    struct itimerspec time = {{0, 2 * 1000000}, {0, 2 * 1000000}};
    EXPECT_OK(timer_settime(timer, 0, &time, NULL));
    check_sleep_ms(60);
    siginfo_t info;
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGUSR1);
    EXPECT(timer_getoverrun(timer) >= 5);
}

CASE(posix_timers_refuse_bad_arguments)
{
    int timer = 0;
    struct itimerspec bad = {{0, 0}, {0, 1000000000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 99};
    EXPECT_ERRNO(syscall(SYS_timer_create, 99, NULL, &timer), EINVAL);
    EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer), EINVAL);
    EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, NULL), EFAULT);
    EXPECT_ERRNO(syscall(SYS_timer_settime, 12345, 0, &bad, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_timer_delete, 12345), EINVAL);
    EXPECT_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &timer));
    EXPECT_ERRNO(syscall(SYS_timer_settime, timer, 0, &bad, NULL), EINVAL);
    EXPECT_OK(syscall(SYS_timer_delete, timer));
    EXPECT_ERRNO(syscall(SYS_timer_delete, timer), EINVAL);
}

static int new_signalfd(sigset_t *set, int flags)
{
    sigemptyset(set);
    sigaddset(set, SIGUSR1);
    sigaddset(set, SIGRTMIN);
    EXPECT_OK(sigprocmask(SIG_BLOCK, set, NULL));
    return (int)EXPECT_OK(signalfd(-1, set, flags));
}

CASE(signalfd_reads_blocked_signals)
{
    sigset_t set;
    int fd = new_signalfd(&set, SFD_NONBLOCK | SFD_CLOEXEC);
    struct signalfd_siginfo information[3];
    EXPECT_ERRNO(read(fd, information, sizeof information), EAGAIN);
    EXPECT_OK(kill(getpid(), SIGUSR1));
    union sigval value = {.sival_int = 99};
    EXPECT_OK(sigqueue(getpid(), SIGRTMIN, value));
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents, POLLIN);
    EXPECT_EQ(read(fd, information, sizeof information), 2 * sizeof information[0]);
    EXPECT_EQ(information[0].ssi_signo, SIGUSR1);
    EXPECT_EQ(information[0].ssi_pid, getpid());
    EXPECT_EQ(information[0].ssi_code, SI_USER);
    EXPECT_EQ(information[1].ssi_signo, SIGRTMIN);
    EXPECT_EQ(information[1].ssi_int, 99);
    EXPECT_EQ(poll(&poller, 1, 0), 0);
}

CASE(signalfd_read_waits_for_a_signal)
{
    sigset_t set;
    int fd = new_signalfd(&set, 0);
    pid_t pid = check_pester(SIGUSR1);
    struct signalfd_siginfo information;
    EXPECT_EQ(read(fd, &information, sizeof information), sizeof information);
    EXPECT_EQ(information.ssi_pid, pid);
    check_end(pid);
}

CASE(signalfd_refuses_bad_arguments)
{
    sigset_t set;
    int fd = new_signalfd(&set, 0);
    char small[16];
    EXPECT_ERRNO(read(fd, small, sizeof small), EINVAL);
    EXPECT_ERRNO(write(fd, small, sizeof small), EINVAL);
    EXPECT_ERRNO(signalfd(12345, &set, 0), EBADF);
    EXPECT_ERRNO(signalfd(STDOUT_FILENO, &set, 0x10), EINVAL);
    int file = check_file("f", "", 0);
    EXPECT_ERRNO(signalfd(file, &set, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_signalfd4, -1, &set, 4, 0), EINVAL);
    sigemptyset(&set);
    EXPECT_EQ(signalfd(fd, &set, 0), fd);
}
