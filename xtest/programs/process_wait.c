// SPDX-License-Identifier: MIT
//
// wait4 and waitid: every kind of status, every way to find nobody, orphans.

#include "check.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child_that_exits(int status)
{
    pid_t pid = check_fork();
    if (pid == 0) {
        _exit(status);
    }
    return pid;
}

static pid_t child_that_waits(void)
{
    pid_t pid = check_fork();
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    return pid;
}

CASE(wait_without_children_is_echild)
{
    int status = 77;
    EXPECT_ERRNO(waitpid(-1, &status, 0), ECHILD);
    EXPECT_ERRNO(waitpid(-1, &status, WNOHANG), ECHILD);
    EXPECT_ERRNO(waitpid(getppid(), &status, 0), ECHILD);
    EXPECT_ERRNO(waitid(P_ALL, 0, NULL, WEXITED), ECHILD);
    EXPECT_EQ(status, 77);
}

CASE(wait_refuses_bad_options)
{
    EXPECT_ERRNO(waitpid(-1, NULL, 0x40), EINVAL);
    EXPECT_ERRNO(waitid(P_ALL, 0, NULL, 0), EINVAL);
    EXPECT_ERRNO(waitid(P_ALL, 0, NULL, WNOHANG), EINVAL);
    EXPECT_ERRNO(waitid((idtype_t)99, 0, NULL, WEXITED), EINVAL);
    EXPECT_ERRNO(waitid(P_PID, 0, NULL, WEXITED), EINVAL);
}

CASE(wnohang_returns_zero_while_the_child_lives)
{
    pid_t pid = child_that_waits();
    int status = 77;
    EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);
    EXPECT_EQ(waitpid(-1, &status, WNOHANG), 0);
    siginfo_t info;
    memset(&info, 0xff, sizeof info);
    EXPECT_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG), 0);
    EXPECT_EQ(info.si_pid, 0);
    check_end(pid);
    EXPECT_ERRNO(waitpid(pid, &status, 0), ECHILD);
}

CASE(child_is_reaped_once)
{
    pid_t pid = child_that_exits(3);
    EXPECT_EXITED(pid, 3);
    EXPECT_ERRNO(waitpid(pid, NULL, 0), ECHILD);
    EXPECT_ERRNO(kill(pid, 0), ESRCH);
}

CASE(zombie_can_be_signalled)
{
    pid_t pid = child_that_exits(3);
    siginfo_t info;
    EXPECT_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    EXPECT_OK(kill(pid, 0));
    EXPECT_OK(kill(pid, SIGKILL));
    EXPECT_EXITED(pid, 3);
}

CASE(waitid_tells_exit_kill_and_core)
{
    siginfo_t info;
    pid_t pid = child_that_exits(41);
    EXPECT_OK(waitid(P_PID, (id_t)pid, &info, WEXITED));
    EXPECT_EQ(info.si_signo, SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_EXITED);
    EXPECT_EQ(info.si_status, 41);
    EXPECT_EQ(info.si_pid, pid);
    EXPECT_EQ(info.si_uid, getuid());
    pid = child_that_waits();
    EXPECT_OK(kill(pid, SIGTERM));
    EXPECT_OK(waitid(P_ALL, 0, &info, WEXITED));
    EXPECT_EQ(info.si_code, CLD_KILLED);
    EXPECT_EQ(info.si_status, SIGTERM);
}

CASE(waitid_nowait_leaves_the_child)
{
    pid_t pid = child_that_exits(5);
    siginfo_t info;
    EXPECT_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    EXPECT_EQ(info.si_status, 5);
    EXPECT_OK(waitid(P_PID, (id_t)pid, &info, WEXITED));
    EXPECT_EQ(info.si_status, 5);
    EXPECT_ERRNO(waitid(P_PID, (id_t)pid, &info, WEXITED), ECHILD);
}

CASE(stop_and_continue_are_reported)
{
    pid_t pid = child_that_waits();
    int status;
    EXPECT_OK(kill(pid, SIGSTOP));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    EXPECT(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), 0);
    EXPECT_OK(kill(pid, SIGCONT));
    EXPECT_EQ(waitpid(pid, &status, WCONTINUED), pid);
    EXPECT(WIFCONTINUED(status));
    EXPECT_OK(kill(pid, SIGKILL));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED | WCONTINUED), pid);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

CASE(stopped_child_does_not_run)
{
    struct gate go = gate_new();
    pid_t pid;
    CHILD (pid) {
        gate_wait(go);
    }
    int status;
    EXPECT_OK(kill(pid, SIGSTOP));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    gate_open(go);
    check_sleep_ms(50);
    EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);
    siginfo_t info;
    EXPECT_OK(kill(pid, SIGCONT));
    EXPECT_OK(waitid(P_PID, (id_t)pid, &info, WCONTINUED | WEXITED));
    EXPECT(info.si_code == CLD_CONTINUED || info.si_code == CLD_EXITED);
    if (info.si_code == CLD_CONTINUED) {
        EXPECT_EXITED(pid, 0);
    }
}

CASE(stopped_child_can_be_killed)
{
    pid_t pid = child_that_waits();
    int status;
    EXPECT_OK(kill(pid, SIGSTOP));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    EXPECT_OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(wait_by_process_group_finds_only_its_members)
{
    pid_t outside = child_that_exits(1);
    pid_t inside = check_fork();
    if (inside == 0) {
        setpgid(0, 0);
        _exit(2);
    }
    setpgid(inside, inside);
    int status;
    EXPECT_EQ(waitpid(-inside, &status, 0), inside);
    EXPECT_EQ(WEXITSTATUS(status), 2);
    EXPECT_ERRNO(waitpid(-inside, &status, 0), ECHILD);
    EXPECT_EQ(waitpid(0, &status, 0), outside);
}

CASE(wait_returns_when_any_child_exits)
{
    pid_t sleeper = child_that_waits();
    pid_t quick = child_that_exits(4);
    int status;
    EXPECT_EQ(waitpid(-1, &status, 0), quick);
    EXPECT_EQ(WEXITSTATUS(status), 4);
    check_end(sleeper);
}

static void nothing(int signal)
{
    (void)signal;
}

CASE(wait_is_interrupted_by_a_handler)
{
    struct sigaction action = {.sa_handler = nothing};
    EXPECT_OK(sigaction(SIGUSR1, &action, NULL));
    pid_t pid = check_pester(SIGUSR1);
    EXPECT_ERRNO(waitpid(pid, NULL, 0), EINTR);
    check_end(pid);
}

CASE(ignored_sigchld_leaves_no_zombies)
{
    signal(SIGCHLD, SIG_IGN);
    pid_t pid = child_that_exits(6);
    EXPECT_ERRNO(waitpid(pid, NULL, 0), ECHILD);
    signal(SIGCHLD, SIG_DFL);
    pid = child_that_exits(6);
    EXPECT_EXITED(pid, 6);
}

CASE(orphans_go_to_the_subreaper)
{
    EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t self = getpid();
    struct gate orphaned = gate_new();
    pid_t middle;
    CHILD (middle) {
        pid_t inner = check_fork();
        if (inner == 0) {
            gate_wait(orphaned);
            EXPECT_EQ(getppid(), self);
            _exit(23);
        }
    }
    EXPECT_EXITED(middle, 0);
    gate_open(orphaned);
    int status;
    pid_t orphan = wait(&status);
    EXPECT(orphan > 0 && orphan != middle);
    EXPECT(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 23);
}

CASE(clone_children_need_wclone_or_wall)
{
    // An exit signal other than SIGCHLD makes a "clone child".
    signal(SIGUSR1, SIG_IGN);
    pid_t pid = (pid_t)syscall(SYS_clone, SIGUSR1, 0, 0, 0, 0);
    if (pid == 0) {
        _exit(7);
    }
    EXPECT(pid > 0);
    int status;
    EXPECT_ERRNO(waitpid(pid, &status, 0), ECHILD);
    EXPECT_EQ(waitpid(pid, &status, __WALL), pid);
    EXPECT_EQ(WEXITSTATUS(status), 7);
}

CASE(wait4_fills_resource_usage)
{
    struct rusage usage;
    memset(&usage, 0xff, sizeof usage);
    pid_t pid = child_that_exits(0);
    EXPECT_EQ(wait4(pid, NULL, 0, &usage), pid);
    EXPECT(usage.ru_utime.tv_sec >= 0 && usage.ru_utime.tv_sec < 20);
    EXPECT(usage.ru_stime.tv_usec >= 0 && usage.ru_stime.tv_usec < 1000000);
}

CASE(killed_children_report_the_signal)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGUSR1, SIGALRM, SIGPIPE};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        pid_t pid = child_that_waits();
        EXPECT_OK(kill(pid, signals[i]));
        EXPECT_KILLED(pid, signals[i]);
    }
}

CASE(process_descriptor_tells_of_the_end)
{
    pid_t pid = child_that_exits(31);
    int fd = (int)EXPECT_OK(syscall(SYS_pidfd_open, pid, 0));
    siginfo_t info;
    EXPECT_OK(waitid(P_PIDFD, (id_t)fd, &info, WEXITED));
    EXPECT_EQ(info.si_status, 31);
    EXPECT_ERRNO(syscall(SYS_pidfd_open, 0x3fffffff, 0), ESRCH);
    EXPECT_ERRNO(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0), ESRCH);
}
