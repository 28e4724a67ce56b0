// SPDX-License-Identifier: MIT
//
// execve and execveat: what the new program sees, what is refused, what survives.

#include "check.h"

#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/// Runs this program's helper; the rest of the arguments end with NULL. Returns the child's pid.
static pid_t start_helper(const char *helper, char *argument, char **environment)
{
    char *arguments[] = {"program", "--helper", (char *)helper, argument, NULL};
    pid_t pid = check_fork();
    if (pid == 0) {
        execve(check_program(), arguments, environment);
        _exit(98);
    }
    return pid;
}

static int script(const char *path, const char *text)
{
    int fd = check_file(path, text, strlen(text));
    EXPECT_OK(fchmod(fd, 0755));
    return close(fd);
}

HELPER(has_arguments)
{
    return argc == 1 && strcmp(argv[0], "an argument with spaces") == 0 && argv[1] == NULL ? 7 : 1;
}

CASE(execve_passes_arguments)
{
    EXPECT_EXITED(start_helper("has_arguments", "an argument with spaces", environ), 7);
}

HELPER(has_environment)
{
    return environ[0] && strcmp(environ[0], "NAME=value=more") == 0 && environ[1] &&
                   strcmp(environ[1], "EMPTY=") == 0 && !environ[2]
               ? 8
               : 1;
}

CASE(execve_passes_exactly_the_environment)
{
    char *environment[] = {"NAME=value=more", "EMPTY=", NULL};
    EXPECT_EXITED(start_helper("has_environment", NULL, environment), 8);
}

HELPER(has_sane_auxiliary_vector)
{
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    unsigned sum = 0;
    for (int i = 0; random && i < 16; i++) {
        sum += random[i];
    }
    const char *name = (const char *)getauxval(AT_EXECFN);
    bool sane = sum != 0 && getauxval(AT_PAGESZ) == PAGE && getauxval(AT_PHNUM) > 0 &&
                getauxval(AT_PHDR) != 0 && getauxval(AT_ENTRY) != 0 && getauxval(AT_UID) == 0 &&
                getauxval(AT_EUID) == 0 && getauxval(AT_SECURE) == 0 && name &&
                access(name, X_OK) == 0;
    return sane ? 9 : 1;
}

CASE(execve_gives_an_auxiliary_vector)
{
    EXPECT_EXITED(start_helper("has_sane_auxiliary_vector", NULL, environ), 9);
}

HELPER(has_aligned_stack)
{
    char **end = environ;
    while (*end) {
        end++;
    }
    const Elf64_auxv_t *auxiliary = (const Elf64_auxv_t *)(end + 1);
    while (auxiliary->a_type != AT_NULL) {
        auxiliary++;
    }
    // argc lies one word below argv[0]; `argv` here begins after "program --helper name".
    uintptr_t bottom = (uintptr_t)(argv - 3) - sizeof(long);
    return bottom % 16 == 0 && *(long *)bottom == argc + 3 ? 10 : 1;
}

CASE(first_stack_pointer_is_aligned_and_points_at_argc)
{
    EXPECT_EXITED(start_helper("has_aligned_stack", NULL, environ), 10);
    EXPECT_EXITED(start_helper("has_aligned_stack", "one more", environ), 10);
}

CASE(execve_errors_name_the_reason)
{
    char *arguments[] = {"x", NULL};
    close(check_file("plain", "not a program", 13));
    EXPECT_ERRNO(execve("missing", arguments, environ), ENOENT);
    EXPECT_ERRNO(execve("", arguments, environ), ENOENT);
    EXPECT_ERRNO(execve("plain", arguments, environ), EACCES);
    EXPECT_ERRNO(execve("plain/below", arguments, environ), ENOTDIR);
    EXPECT_ERRNO(execve(".", arguments, environ), EACCES);
    EXPECT_OK(chmod("plain", 0755));
    EXPECT_ERRNO(execve("plain", arguments, environ), ENOEXEC);
    EXPECT_OK(symlink("loop", "loop"));
    EXPECT_ERRNO(execve("loop", arguments, environ), ELOOP);
    char name[300];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    EXPECT_ERRNO(execve(name, arguments, environ), ENAMETOOLONG);
}

CASE(execve_of_an_empty_file_is_enoexec)
{
    char *arguments[] = {"x", NULL};
    EXPECT_OK(script("empty", ""));
    EXPECT_ERRNO(execve("empty", arguments, environ), ENOEXEC);
}

CASE(execve_of_bad_pointers_is_efault)
{
    char *bad[] = {(char *)8, NULL};
    char *arguments[] = {"x", NULL};
    EXPECT_ERRNO(syscall(SYS_execve, 8, arguments, environ), EFAULT);
    EXPECT_ERRNO(syscall(SYS_execve, check_program(), bad, environ), EFAULT);
    EXPECT_ERRNO(syscall(SYS_execve, check_program(), 8, environ), EFAULT);
    EXPECT_ERRNO(syscall(SYS_execve, check_program(), arguments, bad), EFAULT);
}

CASE(one_argument_of_more_than_32_pages_is_e2big)
{
    size_t length = 33 * PAGE;
    char *large = malloc(length);
    memset(large, 'a', length - 1);
    large[length - 1] = '\0';
    char *arguments[] = {"x", large, NULL};
    EXPECT_ERRNO(execve(check_program(), arguments, environ), E2BIG);
}

CASE(many_large_arguments_are_e2big)
{
    enum { COUNT = 100 };
    static char large[30 * 4096];
    char *arguments[COUNT + 1];
    memset(large, 'a', sizeof large - 1);
    for (int i = 0; i < COUNT; i++) {
        arguments[i] = large;
    }
    arguments[COUNT] = NULL;
    // A quarter of this limit, 256 KiB, is what arguments may take.
    struct rlimit limit = {1 << 20, 1 << 20};
    EXPECT_OK(setrlimit(RLIMIT_STACK, &limit));
    EXPECT_ERRNO(execve(check_program(), arguments, environ), E2BIG);
}

HELPER(counts_arguments)
{
    return argc == 2000 && strcmp(argv[1999], "end") == 0 ? 11 : 1;
}

CASE(thousands_of_arguments_arrive)
{
    char *arguments[2004] = {"program", "--helper", "counts_arguments"};
    for (int i = 3; i < 2003; i++) {
        arguments[i] = i == 2002 ? "end" : "some argument of a middling length";
    }
    pid_t pid = check_fork();
    if (pid == 0) {
        execve(check_program(), arguments, environ);
        _exit(98);
    }
    EXPECT_EXITED(pid, 11);
}

CASE(script_runs_its_interpreter_with_one_argument)
{
    char line[512];
    snprintf(line, sizeof line, "#! \t%s --helper \nignored\n", check_program());
    EXPECT_OK(script("run_as_script", line));
    char *arguments[] = {"zeroth", "first", NULL};
    pid_t pid = check_fork();
    if (pid == 0) {
        // The helper's name is the path of the script: argv is program, --helper, path, first.
        execve("run_as_script", arguments, environ);
        _exit(98);
    }
    EXPECT_EXITED(pid, 12);
}

HELPER(run_as_script)
{
    return argc == 1 && strcmp(argv[0], "first") == 0 ? 12 : 1;
}

CASE(script_with_a_bad_interpreter_is_refused)
{
    char *arguments[] = {"x", NULL};
    EXPECT_OK(script("missing", "#!/no/such/interpreter\n"));
    EXPECT_ERRNO(execve("missing", arguments, environ), ENOENT);
    EXPECT_OK(script("nothing", "#!   \n"));
    EXPECT_ERRNO(execve("nothing", arguments, environ), ENOEXEC);
    EXPECT_OK(script("itself", "#!itself\n"));
    EXPECT_ERRNO(execve("itself", arguments, environ), ELOOP);
}

CASE(execveat_runs_an_open_descriptor)
{
    char *arguments[] = {"program", "--helper", "has_arguments", "an argument with spaces", NULL};
    int fd = (int)EXPECT_OK(open(check_program(), O_PATH | O_CLOEXEC));
    pid_t pid = check_fork();
    if (pid == 0) {
        syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
        _exit(98);
    }
    EXPECT_EXITED(pid, 7);
    EXPECT_ERRNO(syscall(SYS_execveat, fd, "", arguments, environ, 0), ENOENT);
    EXPECT_ERRNO(syscall(SYS_execveat, -1, "relative", arguments, environ, 0), EBADF);
    EXPECT_ERRNO(syscall(SYS_execveat, AT_FDCWD, "x", arguments, environ, 0x40000000), EINVAL);
    EXPECT_OK(symlink(check_program(), "link"));
    EXPECT_ERRNO(syscall(SYS_execveat, AT_FDCWD, "link", arguments, environ, AT_SYMLINK_NOFOLLOW),
                 ELOOP);
}

HELPER(has_descriptor)
{
    return fcntl(atoi(argv[0]), F_GETFD) < 0 && errno == EBADF ? 13 : 14;
}

CASE(close_on_exec_descriptors_are_gone)
{
    int kept = (int)EXPECT_OK(open("/dev/null", O_RDONLY));
    int closed = (int)EXPECT_OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    char number[16];
    snprintf(number, sizeof number, "%d", closed);
    EXPECT_EXITED(start_helper("has_descriptor", number, environ), 13);
    snprintf(number, sizeof number, "%d", kept);
    EXPECT_EXITED(start_helper("has_descriptor", number, environ), 14);
    EXPECT_OK(fcntl(closed, F_GETFD));
}

HELPER(has_signal_state)
{
    struct sigaction ignored;
    struct sigaction caught;
    sigset_t mask;
    sigaction(SIGUSR1, NULL, &ignored);
    sigaction(SIGUSR2, NULL, &caught);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    return ignored.sa_handler == SIG_IGN && caught.sa_handler == SIG_DFL &&
                   sigismember(&mask, SIGWINCH) == 1 && sigismember(&mask, SIGUSR2) == 0
               ? 15
               : 1;
}

static void nothing(int signal)
{
    (void)signal;
}

CASE(exec_resets_handlers_but_keeps_ignored_and_blocked)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGWINCH);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, nothing);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &mask, NULL));
    EXPECT_EXITED(start_helper("has_signal_state", NULL, environ), 15);
}

struct exec_request {
    char **arguments;
};

static void *exec_from_thread(void *argument)
{
    struct exec_request *request = argument;
    execve(check_program(), request->arguments, environ);
    _exit(98);
}

HELPER(is_thread_group_leader)
{
    return syscall(SYS_gettid) == getpid() && getpid() == atoi(argv[0]) ? 16 : 1;
}

CASE(exec_in_a_thread_ends_the_others_and_keeps_the_pid)
{
    pid_t pid = check_fork();
    if (pid == 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", getpid());
        char *arguments[] = {"program", "--helper", "is_thread_group_leader", number, NULL};
        struct exec_request request = {arguments};
        pthread_t thread;
        pthread_create(&thread, NULL, exec_from_thread, &request);
        for (;;) {
            pause();
        }
    }
    EXPECT_EXITED(pid, 16);
}

CASE(running_program_cannot_be_written)
{
    char copy[] = "copy";
    static char content[4 << 20];
    int from = (int)EXPECT_OK(open(check_program(), O_RDONLY));
    ssize_t length = read(from, content, sizeof content);
    EXPECT(length > 0);
    int fd = check_file(copy, content, (size_t)length);
    EXPECT_OK(fchmod(fd, 0755));
    char *arguments[] = {"program", "--helper", "say_hello", NULL};
    EXPECT_ERRNO(execve(copy, arguments, environ), ETXTBSY);
    EXPECT_OK(close(fd));
    struct gate gate = gate_new();
    pid_t pid = check_fork();
    if (pid == 0) {
        dup2(gate.fds[1], STDOUT_FILENO);
        execve(copy, arguments, environ);
        _exit(98);
    }
    gate_wait(gate);
    EXPECT_ERRNO(open(copy, O_WRONLY), ETXTBSY);
    EXPECT_ERRNO(truncate(copy, 0), ETXTBSY);
    EXPECT_OK(unlink(copy));
    check_end(pid);
}
