// SPDX-License-Identifier: MIT
//
// fork, vfork, clone, clone3, exit, process groups, sessions, limits and names.

#include "check.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

CASE(fork_gives_the_child_its_own_identity)
{
    pid_t parent = getpid();
    struct gate told = gate_new();
    pid_t pid;
    CHILD (pid) {
        pid_t self = getpid();
        EXPECT(self != parent);
        EXPECT_EQ(getppid(), parent);
        EXPECT_EQ(syscall(SYS_gettid), self);
        EXPECT_EQ(write(told.fds[1], &self, sizeof self), sizeof self);
    }
    pid_t said = 0;
    EXPECT_EQ(read(told.fds[0], &said, sizeof said), sizeof said);
    EXPECT_EQ(said, pid);
    EXPECT_EXITED(pid, 0);
}

CASE(fork_shares_file_offsets_but_not_descriptors)
{
    int fd = check_file("f", "abcdef", 6);
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    pid_t pid;
    CHILD (pid) {
        char two[2];
        EXPECT_EQ(read(fd, two, 2), 2);
        EXPECT_OK(close(fd));
    }
    EXPECT_EXITED(pid, 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 2);
}

CASE(vfork_parent_waits_and_shares_memory)
{
    volatile int shared = 1;
    pid_t pid = vfork();
    if (pid == 0) {
        shared = 2;
        _exit(3);
    }
    EXPECT(pid > 0);
    EXPECT_EQ(shared, 2);
    EXPECT_EXITED(pid, 3);
}

CASE(vfork_parent_goes_on_after_exec_in_the_child)
{
    struct gate gate = gate_new();
    char *arguments[] = {"program", "--helper", "sleep_forever", NULL};
    const char *program = check_program();
    pid_t pid = vfork();
    if (pid == 0) {
        execv(program, arguments);
        _exit(1);
    }
    // The child never exits by itself: reaching this line is the proof.
    gate_open(gate);
    check_end(pid);
}

HELPER(sleep_forever)
{
    for (;;) {
        pause();
    }
    return 0;
}

static int set_flag(void *argument)
{
    *(volatile int *)argument = 5;
    return 6;
}

CASE(clone_with_vm_shares_memory_on_a_stack_of_its_own)
{
    volatile int flag = 0;
    unsigned char *stack = check_pages(16);
    pid_t pid = clone(set_flag, stack + 16 * PAGE, CLONE_VM | SIGCHLD, (void *)&flag);
    EXPECT(pid > 0);
    EXPECT_EXITED(pid, 6);
    EXPECT_EQ(flag, 5);
}

CASE(clone_with_files_shares_descriptors)
{
    struct clone_args arguments = {.flags = CLONE_FILES, .exit_signal = SIGCHLD};
    int fds[2];
    EXPECT_OK(pipe(fds));
    pid_t pid = (pid_t)EXPECT_OK(syscall(SYS_clone3, &arguments, sizeof arguments));
    if (pid == 0) {
        close(fds[0]);
        _exit(0);
    }
    EXPECT_EXITED(pid, 0);
    EXPECT_ERRNO(fcntl(fds[0], F_GETFD), EBADF);
    EXPECT_OK(fcntl(fds[1], F_GETFD));
}

CASE(clone_with_fs_shares_directory_and_umask)
{
    struct clone_args arguments = {.flags = CLONE_FS, .exit_signal = SIGCHLD};
    umask(022);
    pid_t pid = (pid_t)EXPECT_OK(syscall(SYS_clone3, &arguments, sizeof arguments));
    if (pid == 0) {
        _exit(chdir("/") < 0 || umask(077) != 022);
    }
    EXPECT_EXITED(pid, 0);
    char path[16];
    EXPECT(getcwd(path, sizeof path) != NULL);
    EXPECT_STR(path, "/");
    EXPECT_EQ(umask(0), 077);
}

CASE(clone3_writes_thread_ids_where_told)
{
    int *ids = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct clone_args arguments = {
        .flags = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID,
        .parent_tid = (uintptr_t)&ids[0],
        .child_tid = (uintptr_t)&ids[1],
        .exit_signal = SIGCHLD,
    };
    pid_t pid = (pid_t)EXPECT_OK(syscall(SYS_clone3, &arguments, sizeof arguments));
    if (pid == 0) {
        _exit(ids[1] != getpid());
    }
    EXPECT_EQ(ids[0], pid);
    EXPECT_EXITED(pid, 0);
}

CASE(clone_that_tells_the_parent_makes_one_child)
{
    pid_t told = 0;
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_PARENT_SETTID, NULL, &told, NULL, NULL);
    if (pid == 0) {
        _exit(0);
    }
    EXPECT_EQ(told, pid);
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    EXPECT_ERRNO(waitpid(-1, NULL, WNOHANG), ECHILD);
}

CASE(clone_refuses_senseless_flags)
{
    EXPECT_ERRNO(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clone, CLONE_THREAD | CLONE_VM, 0, 0, 0, 0), EINVAL);
    struct clone_args arguments = {.flags = CLONE_THREAD, .exit_signal = 0};
    EXPECT_ERRNO(syscall(SYS_clone3, &arguments, sizeof arguments), EINVAL);
    struct clone_args bad_signal = {.exit_signal = 200};
    EXPECT_ERRNO(syscall(SYS_clone3, &bad_signal, sizeof bad_signal), EINVAL);
}

CASE(clone3_checks_size_and_pointer)
{
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    EXPECT_ERRNO(syscall(SYS_clone3, &arguments, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clone3, &arguments, PAGE + 8), E2BIG);
    EXPECT_ERRNO(syscall(SYS_clone3, NULL, sizeof arguments), EFAULT);
    struct clone_args stack_without_size = {.exit_signal = SIGCHLD, .stack = 0x10000};
    EXPECT_ERRNO(syscall(SYS_clone3, &stack_without_size, sizeof arguments), EINVAL);
}

static void *sleep_long(void *argument)
{
    for (;;) {
        pause();
    }
    return argument;
}

static void *exit_process(void *argument)
{
    _exit(*(int *)argument);
}

CASE(exit_group_ends_all_threads)
{
    pid_t pid;
    CHILD (pid) {
        pthread_t thread;
        int status = 17;
        EXPECT_EQ(pthread_create(&thread, NULL, sleep_long, NULL), 0);
        EXPECT_EQ(pthread_create(&thread, NULL, exit_process, &status), 0);
        sleep_long(NULL);
    }
    EXPECT_EXITED(pid, 17);
}

CASE(process_lives_on_when_its_first_thread_exits)
{
    pid_t pid;
    CHILD (pid) {
        pthread_t thread;
        static int status = 18;
        EXPECT_EQ(pthread_create(&thread, NULL, exit_process, &status), 0);
        syscall(SYS_exit, 1);
    }
    EXPECT_EXITED(pid, 18);
}

CASE(exit_status_is_eight_bits)
{
    pid_t pid = check_fork();
    if (pid == 0) {
        _exit(0x1234);
    }
    EXPECT_EXITED(pid, 0x34);
}

CASE(process_groups_can_be_made_and_joined)
{
    EXPECT_EQ(getpgid(0), getpgrp());
    struct gate done = gate_new();
    struct gate go = gate_new();
    pid_t pid;
    CHILD (pid) {
        EXPECT_OK(setpgid(0, 0));
        EXPECT_EQ(getpgrp(), getpid());
        gate_open(done);
        gate_wait(go);
        EXPECT_EQ(getpgrp(), getppid());
    }
    gate_wait(done);
    EXPECT_EQ(getpgid(pid), pid);
    EXPECT_OK(setpgid(pid, getpgrp()));
    gate_open(go);
    EXPECT_EXITED(pid, 0);
}

CASE(setpgid_refuses_strangers)
{
    EXPECT_ERRNO(setpgid(0, -1), EINVAL);
    EXPECT_ERRNO(setpgid(getppid(), 0), ESRCH);
    EXPECT_ERRNO(getpgid(-1), ESRCH);
    EXPECT_ERRNO(getsid(-1), ESRCH);
    pid_t pid;
    CHILD (pid) {
        EXPECT_ERRNO(setpgid(0, 0x3fffffff), EPERM);
        EXPECT(setsid() == getpid());
        EXPECT_ERRNO(setpgid(0, 0), EPERM);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(setpgid_on_a_child_after_exec_is_eacces)
{
    struct gate gate = gate_new();
    char *arguments[] = {"program", "--helper", "say_hello", NULL};
    pid_t pid = check_fork();
    if (pid == 0) {
        dup2(gate.fds[1], STDOUT_FILENO);
        execv(check_program(), arguments);
        _exit(1);
    }
    gate_wait(gate);
    EXPECT_ERRNO(setpgid(pid, pid), EACCES);
    check_end(pid);
}

HELPER(say_hello)
{
    if (write(STDOUT_FILENO, "", 1) != 1) {
        return 1;
    }
    for (;;) {
        pause();
    }
}

CASE(setsid_makes_a_session_once)
{
    pid_t pid;
    CHILD (pid) {
        pid_t self = getpid();
        EXPECT_EQ(setsid(), self);
        EXPECT_EQ(getsid(0), self);
        EXPECT_EQ(getpgrp(), self);
        EXPECT_ERRNO(setsid(), EPERM);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(rlimits_are_read_written_and_inherited)
{
    struct rlimit limit = {100, 200};
    EXPECT_OK(setrlimit(RLIMIT_NOFILE, &limit));
    pid_t pid;
    CHILD (pid) {
        struct rlimit seen;
        EXPECT_OK(getrlimit(RLIMIT_NOFILE, &seen));
        EXPECT_EQ(seen.rlim_cur, 100);
        EXPECT_EQ(seen.rlim_max, 200);
        EXPECT_ERRNO(fcntl(0, F_DUPFD, 100), EINVAL);
        EXPECT_ERRNO(dup2(0, 100), EBADF);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(rlimits_refuse_bad_arguments)
{
    struct rlimit crossed = {20, 10};
    struct rlimit seen;
    EXPECT_ERRNO(setrlimit(RLIMIT_NOFILE, &crossed), EINVAL);
    EXPECT_ERRNO(syscall(SYS_getrlimit, 99, &seen), EINVAL);
    EXPECT_ERRNO(syscall(SYS_prlimit64, 0x3fffffff, RLIMIT_CORE, NULL, &seen), ESRCH);
    EXPECT_OK(syscall(SYS_prlimit64, getpid(), RLIMIT_CORE, NULL, &seen));
}

CASE(prctl_names_a_thread_in_fifteen_bytes)
{
    char name[16] = "x";
    EXPECT_OK(prctl(PR_SET_NAME, "a-name-that-is-far-too-long"));
    EXPECT_OK(prctl(PR_GET_NAME, name));
    EXPECT_STR(name, "a-name-that-is-");
    EXPECT_ERRNO(prctl(PR_SET_NAME, NULL), EFAULT);
    EXPECT_ERRNO(prctl(123456, 0, 0, 0, 0), EINVAL);
}

CASE(parent_death_signal_comes)
{
    pid_t middle;
    struct gate ready = gate_new();
    struct gate lives = gate_new();
    EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    CHILD (middle) {
        pid_t inner;
        CHILD (inner) {
            EXPECT_OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
            int signal = 0;
            EXPECT_OK(prctl(PR_GET_PDEATHSIG, &signal));
            EXPECT_EQ(signal, SIGUSR1);
            gate_open(ready);
            gate_wait(lives);
        }
        gate_wait(ready);
    }
    EXPECT_EXITED(middle, 0);
    int status;
    EXPECT(wait(&status) > 0);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
}

CASE(many_children_at_once_all_come_back)
{
    enum { CHILDREN = 40 };
    for (int i = 0; i < CHILDREN; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            sched_yield();
            _exit(i);
        }
    }
    int sum = 0;
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        EXPECT(wait(&status) > 0);
        EXPECT(WIFEXITED(status));
        sum += WEXITSTATUS(status);
    }
    EXPECT_EQ(sum, CHILDREN * (CHILDREN - 1) / 2);
    EXPECT_ERRNO(wait(NULL), ECHILD);
}
