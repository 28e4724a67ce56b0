// SPDX-License-Identifier: MIT
//
// Signals: masks, handlers, flags, interruption and restart, queues, sending and its errors.

#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t count;
static volatile sig_atomic_t order[16];
static volatile siginfo_t last;

static void note(int signal)
{
    if (count < 16) {
        order[count] = signal;
    }
    count = count + 1;
}

static void note_information(int signal, siginfo_t *info, void *context)
{
    (void)context;
    memcpy((void *)&last, info, sizeof last);
    note(signal);
}

static void handle(int signal, int flags)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = flags};
    if (flags & SA_SIGINFO) {
        action.sa_sigaction = note_information;
    }
    EXPECT_OK(sigaction(signal, &action, NULL));
}

static sigset_t set_of(int one, int two)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, one);
    if (two) {
        sigaddset(&set, two);
    }
    return set;
}

static void block(int one, int two)
{
    sigset_t set = set_of(one, two);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
}

static void unblock(int one, int two)
{
    sigset_t set = set_of(one, two);
    EXPECT_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
}

CASE(handler_runs_before_kill_returns)
{
    handle(SIGUSR1, 0);
    EXPECT_OK(kill(getpid(), SIGUSR1));
    EXPECT_EQ(count, 1);
    EXPECT_EQ(order[0], SIGUSR1);
}

CASE(blocked_signal_waits_and_comes_once)
{
    handle(SIGUSR1, 0);
    block(SIGUSR1, 0);
    EXPECT_OK(kill(getpid(), SIGUSR1));
    EXPECT_OK(kill(getpid(), SIGUSR1));
    EXPECT_EQ(count, 0);
    sigset_t pending;
    EXPECT_OK(sigpending(&pending));
    EXPECT_EQ(sigismember(&pending, SIGUSR1), 1);
    EXPECT_EQ(sigismember(&pending, SIGUSR2), 0);
    unblock(SIGUSR1, 0);
    EXPECT_EQ(count, 1);
    EXPECT_OK(sigpending(&pending));
    EXPECT_EQ(sigismember(&pending, SIGUSR1), 0);
}

CASE(realtime_signals_queue_in_order_with_their_values)
{
    handle(SIGRTMIN, SA_SIGINFO);
    block(SIGRTMIN, 0);
    for (int i = 1; i <= 3; i++) {
        union sigval value = {.sival_int = i * 11};
        EXPECT_OK(sigqueue(getpid(), SIGRTMIN, value));
    }
    sigset_t set = set_of(SIGRTMIN, 0);
    siginfo_t info;
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
    EXPECT_EQ(info.si_value.sival_int, 11);
    EXPECT_EQ(info.si_code, SI_QUEUE);
    EXPECT_EQ(info.si_pid, getpid());
    unblock(SIGRTMIN, 0);
    EXPECT_EQ(count, 2);
    EXPECT_EQ(last.si_value.sival_int, 33);
}

CASE(lower_signals_are_taken_first)
{
    block(SIGUSR1, SIGUSR2);
    EXPECT_OK(kill(getpid(), SIGUSR2));
    EXPECT_OK(kill(getpid(), SIGUSR1));
    sigset_t set = set_of(SIGUSR1, SIGUSR2);
    EXPECT_EQ(sigwaitinfo(&set, NULL), SIGUSR1);
    EXPECT_EQ(sigwaitinfo(&set, NULL), SIGUSR2);
}

CASE(siginfo_names_the_sender)
{
    handle(SIGUSR1, SA_SIGINFO);
    EXPECT_OK(kill(getpid(), SIGUSR1));
    EXPECT_EQ(last.si_signo, SIGUSR1);
    EXPECT_EQ(last.si_code, SI_USER);
    EXPECT_EQ(last.si_pid, getpid());
    EXPECT_EQ(last.si_uid, getuid());
    EXPECT_OK(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1));
    EXPECT_EQ(last.si_code, SI_TKILL);
}

static volatile bool was_blocked;

static void look_at_mask(int signal)
{
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    was_blocked = sigismember(&mask, signal) == 1 && sigismember(&mask, SIGUSR2) == 1;
    note(signal);
}

CASE(handler_blocks_its_signal_and_its_mask)
{
    struct sigaction action = {.sa_handler = look_at_mask};
    sigaddset(&action.sa_mask, SIGUSR2);
    EXPECT_OK(sigaction(SIGUSR1, &action, NULL));
    EXPECT_OK(raise(SIGUSR1));
    EXPECT(was_blocked);
    sigset_t mask;
    EXPECT_OK(sigprocmask(SIG_SETMASK, NULL, &mask));
    EXPECT_EQ(sigismember(&mask, SIGUSR1), 0);
    EXPECT_EQ(sigismember(&mask, SIGUSR2), 0);
}

static void raise_again(int signal)
{
    count = count + 1;
    int depth = count;
    if (depth < 3) {
        raise(signal);
        order[depth] = count;
    }
}

CASE(nodefer_lets_a_handler_interrupt_itself)
{
    struct sigaction action = {.sa_handler = raise_again, .sa_flags = SA_NODEFER};
    EXPECT_OK(sigaction(SIGUSR1, &action, NULL));
    EXPECT_OK(raise(SIGUSR1));
    EXPECT_EQ(count, 3);
    EXPECT_EQ(order[1], 3);
    EXPECT_EQ(order[2], 3);
}

CASE(without_nodefer_the_second_comes_after_the_first)
{
    struct sigaction action = {.sa_handler = raise_again};
    EXPECT_OK(sigaction(SIGUSR1, &action, NULL));
    EXPECT_OK(raise(SIGUSR1));
    EXPECT_EQ(count, 3);
    EXPECT_EQ(order[1], 1);
    EXPECT_EQ(order[2], 2);
}

CASE(resethand_works_once)
{
    pid_t pid;
    CHILD (pid) {
        handle(SIGUSR1, (int)SA_RESETHAND);
        raise(SIGUSR1);
        EXPECT_EQ(count, 1);
        struct sigaction now;
        EXPECT_OK(sigaction(SIGUSR1, NULL, &now));
        EXPECT(now.sa_handler == SIG_DFL);
        raise(SIGUSR1);
    }
    EXPECT_KILLED(pid, SIGUSR1);
}

CASE(sigaction_refuses_kill_stop_and_nonsense)
{
    struct sigaction action = {.sa_handler = note};
    EXPECT_ERRNO(sigaction(SIGKILL, &action, NULL), EINVAL);
    EXPECT_ERRNO(sigaction(SIGSTOP, &action, NULL), EINVAL);
    EXPECT_OK(sigaction(SIGKILL, NULL, &action));
    EXPECT_ERRNO(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigaction, 0, NULL, NULL, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, 8, NULL, 8), EFAULT);
}

CASE(sigprocmask_cannot_block_kill_and_checks_arguments)
{
    sigset_t set;
    sigset_t old;
    sigfillset(&set);
    EXPECT_OK(sigprocmask(SIG_SETMASK, &set, NULL));
    EXPECT_OK(sigprocmask(SIG_SETMASK, NULL, &old));
    EXPECT_EQ(sigismember(&old, SIGKILL), 0);
    EXPECT_EQ(sigismember(&old, SIGSTOP), 0);
    EXPECT_EQ(sigismember(&old, SIGTERM), 1);
    EXPECT_ERRNO(sigprocmask(99, &set, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 4), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8), EFAULT);
}

CASE(read_is_interrupted_without_restart)
{
    int fds[2];
    char byte;
    EXPECT_OK(pipe(fds));
    handle(SIGUSR1, 0);
    pid_t pid = check_pester(SIGUSR1);
    EXPECT_ERRNO(read(fds[0], &byte, 1), EINTR);
    check_end(pid);
}

CASE(read_goes_on_with_restart)
{
    int fds[2];
    char byte = 0;
    EXPECT_OK(pipe(fds));
    handle(SIGUSR1, SA_RESTART);
    pid_t target = getpid();
    pid_t pid;
    CHILD (pid) {
        for (int i = 0; i < 4; i++) {
            check_sleep_ms(20);
            kill(target, SIGUSR1);
        }
        EXPECT_EQ(write(fds[1], "x", 1), 1);
    }
    EXPECT_EQ(read(fds[0], &byte, 1), 1);
    EXPECT_EQ(byte, 'x');
    EXPECT(count >= 1);
    EXPECT_EXITED(pid, 0);
}

CASE(nanosleep_is_interrupted_even_with_restart)
{
    handle(SIGUSR1, SA_RESTART);
    pid_t pid = check_pester(SIGUSR1);
    struct timespec long_time = {1000, 0};
    struct timespec left = {0, 0};
    EXPECT_ERRNO(nanosleep(&long_time, &left), EINTR);
    EXPECT(left.tv_sec >= 900 && left.tv_sec <= 1000);
    check_end(pid);
}

CASE(ignored_signal_does_not_interrupt)
{
    signal(SIGUSR1, SIG_IGN);
    pid_t pid = check_pester(SIGUSR1);
    struct timespec time = {0, 100 * 1000000};
    EXPECT_OK(nanosleep(&time, NULL));
    check_end(pid);
}

CASE(sigsuspend_swaps_the_mask_and_returns_eintr)
{
    handle(SIGUSR1, 0);
    block(SIGUSR1, 0);
    EXPECT_OK(raise(SIGUSR1));
    sigset_t none;
    sigemptyset(&none);
    EXPECT_EQ(count, 0);
    EXPECT_ERRNO(sigsuspend(&none), EINTR);
    EXPECT_EQ(count, 1);
    sigset_t mask;
    EXPECT_OK(sigprocmask(SIG_SETMASK, NULL, &mask));
    EXPECT_EQ(sigismember(&mask, SIGUSR1), 1);
}

CASE(pause_returns_eintr)
{
    handle(SIGUSR1, SA_RESTART);
    pid_t pid = check_pester(SIGUSR1);
    EXPECT_ERRNO(pause(), EINTR);
    check_end(pid);
}

CASE(sigtimedwait_times_out_or_takes)
{
    block(SIGUSR1, 0);
    sigset_t set = set_of(SIGUSR1, 0);
    struct timespec none = {0, 0};
    struct timespec brief = {0, 30 * 1000000};
    struct timespec bad = {0, -1};
    uint64_t start = check_now_ns();
    EXPECT_ERRNO(sigtimedwait(&set, NULL, &none), EAGAIN);
    EXPECT_ERRNO(sigtimedwait(&set, NULL, &brief), EAGAIN);
    EXPECT(check_now_ns() - start >= 30 * NS_PER_MS);
    EXPECT_ERRNO(sigtimedwait(&set, NULL, &bad), EINVAL);
    siginfo_t info;
    EXPECT_OK(kill(getpid(), SIGUSR1));
    EXPECT_EQ(sigtimedwait(&set, &info, &none), SIGUSR1);
    EXPECT_EQ(info.si_code, SI_USER);
}

CASE(kill_errors)
{
    EXPECT_OK(kill(getpid(), 0));
    EXPECT_ERRNO(kill(getpid(), -1), EINVAL);
    EXPECT_ERRNO(kill(getpid(), 65), EINVAL);
    EXPECT_ERRNO(kill(0x3fffffff, SIGTERM), ESRCH);
    EXPECT_ERRNO(kill(-0x3fffffff, SIGTERM), ESRCH);
    EXPECT_ERRNO(syscall(SYS_tkill, 0x3fffffff, SIGTERM), ESRCH);
    EXPECT_ERRNO(syscall(SYS_tkill, -5, SIGTERM), EINVAL);
    siginfo_t forged = {.si_code = SI_USER};
    EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &forged), EPERM);
}

CASE(kill_of_a_group_reaches_all_members)
{
    pid_t members[3];
    struct gate ready = gate_new();
    for (int i = 0; i < 3; i++) {
        members[i] = check_fork();
        if (members[i] == 0) {
            setpgid(0, i == 0 ? 0 : members[0]);
            gate_open(ready);
            for (;;) {
                pause();
            }
        }
        gate_wait(ready);
    }
    EXPECT_OK(kill(-members[0], SIGTERM));
    for (int i = 0; i < 3; i++) {
        EXPECT_KILLED(members[i], SIGTERM);
    }
    EXPECT_ERRNO(kill(-members[0], SIGTERM), ESRCH);
}

CASE(sigchld_tells_how_the_child_ended)
{
    block(SIGCHLD, 0);
    sigset_t set = set_of(SIGCHLD, 0);
    siginfo_t info;
    pid_t pid = check_fork();
    if (pid == 0) {
        _exit(9);
    }
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_EXITED);
    EXPECT_EQ(info.si_status, 9);
    EXPECT_EQ(info.si_pid, pid);
    EXPECT_EXITED(pid, 9);
    pid = check_fork();
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    EXPECT_OK(kill(pid, SIGSTOP));
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_STOPPED);
    EXPECT_EQ(info.si_status, SIGSTOP);
    EXPECT_OK(kill(pid, SIGCONT));
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_CONTINUED);
    EXPECT_OK(kill(pid, SIGKILL));
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_KILLED);
    EXPECT_EQ(info.si_status, SIGKILL);
}

CASE(nocldstop_keeps_quiet_about_stops)
{
    handle(SIGCHLD, SA_NOCLDSTOP);
    pid_t pid = check_fork();
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    int status;
    EXPECT_OK(kill(pid, SIGSTOP));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    EXPECT_EQ(count, 0);
    check_end(pid);
    EXPECT_EQ(count, 1);
}

CASE(nocldwait_leaves_no_zombies)
{
    handle(SIGCHLD, SA_NOCLDWAIT);
    pid_t pid = check_fork();
    if (pid == 0) {
        _exit(0);
    }
    int result;
    while ((result = waitpid(pid, NULL, 0)) < 0 && errno == EINTR) {
    }
    EXPECT_EQ(result, -1);
    EXPECT_EQ(errno, ECHILD);
}

CASE(default_actions_ignore_or_kill)
{
    static const int ignored[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
    static const int fatal[] = {SIGHUP, SIGTERM, SIGIO, SIGVTALRM, SIGPROF, SIGXCPU};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        EXPECT_OK(raise(ignored[i]));
    }
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        pid_t pid;
        CHILD (pid) {
            raise(fatal[i]);
        }
        EXPECT_KILLED(pid, fatal[i]);
    }
}

CASE(sigpipe_kills_unless_handled)
{
    int fds[2];
    EXPECT_OK(pipe(fds));
    EXPECT_OK(close(fds[0]));
    pid_t pid;
    CHILD (pid) {
        ssize_t written = write(fds[1], "x", 1);
        (void)written;
    }
    EXPECT_KILLED(pid, SIGPIPE);
    handle(SIGPIPE, 0);
    EXPECT_ERRNO(write(fds[1], "x", 1), EPIPE);
    EXPECT_EQ(count, 1);
}

HELPER(has_pending)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGUSR1) == 1 ? 21 : 1;
}

CASE(pending_signals_survive_exec)
{
    char *arguments[] = {"program", "--helper", "has_pending", NULL};
    pid_t pid = check_fork();
    if (pid == 0) {
        block(SIGUSR1, 0);
        raise(SIGUSR1);
        execv(check_program(), arguments);
        _exit(98);
    }
    EXPECT_EXITED(pid, 21);
}

CASE(fork_clears_pending_but_keeps_mask_and_handlers)
{
    handle(SIGUSR2, 0);
    block(SIGUSR1, 0);
    EXPECT_OK(raise(SIGUSR1));
    pid_t pid;
    CHILD (pid) {
        sigset_t set;
        EXPECT_OK(sigpending(&set));
        EXPECT_EQ(sigismember(&set, SIGUSR1), 0);
        EXPECT_OK(sigprocmask(SIG_SETMASK, NULL, &set));
        EXPECT_EQ(sigismember(&set, SIGUSR1), 1);
        EXPECT_OK(raise(SIGUSR2));
        EXPECT_EQ(count, 1);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(continue_discards_pending_stops)
{
    handle(SIGCONT, 0);
    block(SIGTSTP, SIGCONT);
    EXPECT_OK(raise(SIGTSTP));
    EXPECT_OK(raise(SIGCONT));
    sigset_t pending;
    EXPECT_OK(sigpending(&pending));
    EXPECT_EQ(sigismember(&pending, SIGTSTP), 0);
    EXPECT_EQ(sigismember(&pending, SIGCONT), 1);
}
