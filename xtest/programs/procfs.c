// SPDX-License-Identifier: MIT
//
// /proc and /dev as programs rely on them.

#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[1 << 16];

/// The value after "name:" and blanks in /proc/self/status or a file like it, as a number.
static long long field(const char *path, const char *name)
{
    check_slurp(path, text, sizeof text);
    size_t length = strlen(name);
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            return atoll(line + length + 1);
        }
    }
    check_fail(__FILE__, __LINE__, "no field %s in %s", name, path);
}

CASE(self_names_this_process)
{
    char number[32];
    char target[32];
    snprintf(number, sizeof number, "%d", getpid());
    ssize_t length = readlink("/proc/self", target, sizeof target - 1);
    EXPECT(length > 0);
    target[length] = '\0';
    EXPECT_STR(target, number);
    snprintf(target, sizeof target, "/proc/%d/stat", getpid());
    EXPECT_OK(access(target, R_OK));
    EXPECT_ERRNO(open("/proc/999999999/stat", O_RDONLY), ENOENT);
    EXPECT_ERRNO(open("/proc/nonsense", O_RDONLY), ENOENT);
}

CASE(self_exe_leads_to_the_program)
{
    struct stat by_link;
    struct stat by_name;
    EXPECT_OK(stat("/proc/self/exe", &by_link));
    EXPECT_OK(stat(check_program(), &by_name));
    EXPECT_EQ(by_link.st_ino, by_name.st_ino);
    int fd = (int)EXPECT_OK(open("/proc/self/exe", O_RDONLY));
    EXPECT_EQ(read(fd, text, 4), 4);
    EXPECT(memcmp(text, "\177ELF", 4) == 0);
}

CASE(self_fd_lists_and_reopens_descriptors)
{
    char path[64];
    char target[PATH_MAX];
    char expected[PATH_MAX + 8];
    int fd = check_file("f", "abc", 3);
    EXPECT(getcwd(target, sizeof target) != NULL);
    snprintf(expected, sizeof expected, "%s/f", target);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    EXPECT(length > 0);
    target[length] = '\0';
    EXPECT_STR(target, expected);
    int again = (int)EXPECT_OK(open(path, O_RDONLY));
    EXPECT_EQ(lseek(again, 0, SEEK_CUR), 0);
    EXPECT_OK(close(fd));
    EXPECT_ERRNO(open(path, O_RDONLY), ENOENT);
    snprintf(path, sizeof path, "/proc/self/fd/%d", again);
    EXPECT_OK(unlink("f"));
    length = readlink(path, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = '\0';
    EXPECT(strstr(target, "/f (deleted)") != NULL);
    EXPECT_OK(open(path, O_RDONLY));
}

CASE(self_fd_names_pipes_and_sockets_by_kind)
{
    char path[64];
    char target[64] = {0};
    int fds[2];
    EXPECT_OK(pipe(fds));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fds[0]);
    EXPECT(readlink(path, target, sizeof target - 1) > 0);
    EXPECT(strncmp(target, "pipe:[", 6) == 0);
    int writer = (int)EXPECT_OK(open(path, O_WRONLY));
    EXPECT_EQ(write(writer, "x", 1), 1);
    EXPECT_EQ(read(fds[0], target, 1), 1);
}

CASE(self_fd_directory_matches_open_descriptors)
{
    bool seen[1024] = {false};
    int extra = (int)EXPECT_OK(open("/dev/null", O_RDONLY));
    DIR *directory = opendir("/proc/self/fd");
    EXPECT(directory != NULL);
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.') {
            int fd = atoi(entry->d_name);
            EXPECT(fd >= 0 && fd < 1024 && !seen[fd]);
            EXPECT_OK(fcntl(fd, F_GETFD));
            seen[fd] = true;
        }
    }
    EXPECT(seen[extra] && seen[dirfd(directory)]);
}

/// True if a line of /proc/self/maps begins at this address with these permissions and name part.
static bool mapped(const void *address, const char *permissions, const char *name)
{
    check_slurp("/proc/self/maps", text, sizeof text);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        uintptr_t start = 0;
        uintptr_t end = 0;
        char seen[8] = "";
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &start, &end, seen) == 3 &&
            start <= (uintptr_t)address && (uintptr_t)address < end) {
            return strcmp(seen, permissions) == 0 && (!name || strstr(line, name));
        }
    }
    return false;
}

CASE(self_maps_shows_mappings)
{
    unsigned char *memory = check_pages(3);
    EXPECT(mapped(memory, "rw-p", NULL));
    EXPECT_OK(mprotect(memory + PAGE, PAGE, PROT_READ));
    EXPECT(mapped(memory, "rw-p", NULL));
    EXPECT(mapped(memory + PAGE, "r--p", NULL));
    EXPECT_OK(munmap(memory, 3 * PAGE));
    EXPECT(!mapped(memory, "rw-p", NULL));
    EXPECT(mapped(&memory, "rw-p", "[stack]"));
    EXPECT(mapped((void *)(uintptr_t)mapped, "r-xp", check_program()));
    int fd = check_file("mapped-file", "abc", 3);
    void *file = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(mapped(file, "r--s", "/mapped-file"));
}

CASE(self_stat_has_52_fields)
{
    EXPECT_OK(prctl(PR_SET_NAME, "na) me("));
    check_slurp("/proc/self/stat", text, sizeof text);
    EXPECT_EQ(atoi(text), getpid());
    EXPECT(strstr(text, " (na) me() R ") != NULL);
    char *rest = strrchr(text, ')');
    int parent = 0;
    int group = 0;
    int session = 0;
    EXPECT_EQ(sscanf(rest, ") R %d %d %d", &parent, &group, &session), 3);
    EXPECT_EQ(parent, getppid());
    EXPECT_EQ(group, getpgrp());
    EXPECT_EQ(session, getsid(0));
    int spaces = 0;
    for (char *at = rest; *at; at++) {
        spaces += *at == ' ';
    }
    EXPECT_EQ(spaces, 50);
}

static void *wait_for_byte(void *argument)
{
    char byte;
    return read(*(int *)argument, &byte, 1) == 1 ? NULL : argument;
}

CASE(self_status_tells_ids_threads_and_memory)
{
    const char *path = "/proc/self/status";
    EXPECT_EQ(field(path, "Pid"), getpid());
    EXPECT_EQ(field(path, "Tgid"), getpid());
    EXPECT_EQ(field(path, "PPid"), getppid());
    EXPECT_EQ(field(path, "Uid"), getuid());
    EXPECT_EQ(field(path, "Threads"), 1);
    EXPECT(field(path, "VmRSS") > 0);
    EXPECT(field(path, "VmSize") >= field(path, "VmRSS"));
    int fds[2];
    pthread_t thread;
    EXPECT_OK(pipe(fds));
    EXPECT_EQ(pthread_create(&thread, NULL, wait_for_byte, &fds[0]), 0);
    EXPECT_EQ(field(path, "Threads"), 2);
    int entries = 0;
    DIR *directory = opendir("/proc/self/task");
    EXPECT(directory != NULL);
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        entries += entry->d_name[0] != '.';
    }
    EXPECT_EQ(entries, 2);
    EXPECT_EQ(write(fds[1], "x", 1), 1);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

CASE(resident_memory_grows_when_touched)
{
    enum { PAGES = 2048 };
    long long before = field("/proc/self/status", "VmRSS");
    unsigned char *memory = check_pages(PAGES);
    for (size_t i = 0; i < PAGES; i++) {
        memory[i * PAGE] = 1;
    }
    EXPECT(field("/proc/self/status", "VmRSS") - before >= 4 * PAGES / 2);
    EXPECT_OK(munmap(memory, PAGES * PAGE));
    EXPECT(field("/proc/self/status", "VmRSS") - before < 4 * PAGES / 2);
}

HELPER(show_command_line)
{
    static const char expected[] = "zeroth\0--helper\0show_command_line\0with space\0";
    size_t length = check_slurp("/proc/self/cmdline", text, sizeof text);
    if (length != sizeof expected - 1 || memcmp(text, expected, length) != 0) {
        return 1;
    }
    static const char environment[] = "A=1\0B=2\0";
    length = check_slurp("/proc/self/environ", text, sizeof text);
    return length == sizeof environment - 1 && memcmp(text, environment, length) == 0 ? 5 : 2;
}

CASE(command_line_and_environment_are_shown)
{
    char *arguments[] = {"zeroth", "--helper", "show_command_line", "with space", NULL};
    char *environment[] = {"A=1", "B=2", NULL};
    pid_t pid = check_fork();
    if (pid == 0) {
        execve(check_program(), arguments, environment);
        _exit(98);
    }
    EXPECT_EXITED(pid, 5);
}

CASE(comm_is_read_and_written)
{
    int fd = (int)EXPECT_OK(open("/proc/self/comm", O_RDWR));
    EXPECT_EQ(write(fd, "renamed", 7), 7);
    check_slurp("/proc/self/comm", text, sizeof text);
    EXPECT_STR(text, "renamed\n");
    char name[16];
    EXPECT_OK(prctl(PR_GET_NAME, name));
    EXPECT_STR(name, "renamed");
}

CASE(cwd_and_root_are_links)
{
    char path[PATH_MAX];
    char here[PATH_MAX];
    ssize_t length = readlink("/proc/self/cwd", path, sizeof path - 1);
    EXPECT(length > 0);
    path[length] = '\0';
    EXPECT(getcwd(here, sizeof here) != NULL);
    EXPECT_STR(path, here);
    EXPECT_EQ(readlink("/proc/self/root", path, sizeof path), 1);
    EXPECT_EQ(path[0], '/');
}

CASE(system_files_have_their_lines)
{
    EXPECT(field("/proc/meminfo", "MemTotal") > 0);
    EXPECT(field("/proc/meminfo", "MemFree") > 0);
    EXPECT(field("/proc/meminfo", "MemAvailable") > 0);
    check_slurp("/proc/cpuinfo", text, sizeof text);
    EXPECT(strncmp(text, "processor\t: 0\n", 14) == 0);
    check_slurp("/proc/self/mounts", text, sizeof text);
    EXPECT(strstr(text, " / ") != NULL);
    EXPECT(strstr(text, " /proc proc ") != NULL);
    check_slurp("/proc/mounts", text, sizeof text);
    EXPECT(strstr(text, " /proc proc ") != NULL);
    check_slurp("/proc/uptime", text, sizeof text);
    EXPECT(atof(text) > 0);
    check_slurp("/proc/stat", text, sizeof text);
    EXPECT(strncmp(text, "cpu ", 4) == 0);
    check_slurp("/proc/loadavg", text, sizeof text);
    EXPECT(strchr(text, '/') != NULL);
    check_slurp("/proc/version", text, sizeof text);
    EXPECT(strncmp(text, "Linux version ", 14) == 0);
    check_slurp("/proc/filesystems", text, sizeof text);
    EXPECT(strstr(text, "nodev\tproc\n") != NULL);
}

CASE(system_settings_are_numbers)
{
    static const char *const files[] = {
        "/proc/sys/kernel/pid_max",       "/proc/sys/fs/file-max",
        "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/kernel/ngroups_max",   "/proc/sys/net/core/somaxconn",
        "/proc/sys/kernel/threads-max",   "/proc/sys/fs/pipe-max-size",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        check_slurp(files[i], text, sizeof text);
        EXPECT(text[0] >= '0' && text[0] <= '9');
        EXPECT(text[strlen(text) - 1] == '\n');
    }
    check_slurp("/proc/sys/kernel/ostype", text, sizeof text);
    EXPECT_STR(text, "Linux\n");
}

CASE(proc_cannot_be_changed)
{
    EXPECT_ERRNO(mkdir("/proc/x", 0755), ENOENT);
    EXPECT_ERRNO(unlink("/proc/self/stat"), EPERM);
    EXPECT_ERRNO(rmdir("/proc/self"), ENOTDIR);
    EXPECT_ERRNO(open("/proc/x", O_CREAT | O_RDWR, 0600), ENOENT);
}

CASE(processes_come_and_go_in_proc)
{
    char path[32];
    struct gate gate = gate_new();
    pid_t pid;
    CHILD (pid) {
        gate_wait(gate);
    }
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = (int)EXPECT_OK(open(path, O_RDONLY));
    gate_open(gate);
    EXPECT_OK(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT));
    check_slurp(path, text, sizeof text);
    EXPECT(strstr(text, ") Z ") != NULL);
    EXPECT_EXITED(pid, 0);
    EXPECT_ERRNO(open(path, O_RDONLY), ENOENT);
    EXPECT_ERRNO(read(fd, text, sizeof text), ESRCH);
}

CASE(null_and_zero_devices)
{
    int null = (int)EXPECT_OK(open("/dev/null", O_RDWR));
    int zero = (int)EXPECT_OK(open("/dev/zero", O_RDWR));
    char bytes[8];
    EXPECT_EQ(read(null, bytes, 8), 0);
    EXPECT_EQ(write(null, bytes, 8), 8);
    memset(bytes, 'x', 8);
    EXPECT_EQ(read(zero, bytes, 8), 8);
    EXPECT(memcmp(bytes, "\0\0\0\0\0\0\0", 8) == 0);
    EXPECT_EQ(write(zero, bytes, 8), 8);
    EXPECT_EQ(lseek(null, 100, SEEK_SET), 0);
    EXPECT_OK(open("/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600));
}

CASE(full_device_is_always_full)
{
    int full = (int)EXPECT_OK(open("/dev/full", O_RDWR));
    char byte = 'x';
    EXPECT_ERRNO(write(full, "x", 1), ENOSPC);
    EXPECT_EQ(read(full, &byte, 1), 1);
    EXPECT_EQ(byte, 0);
}

CASE(random_devices_differ)
{
    static const char *const paths[] = {"/dev/random", "/dev/urandom"};
    for (int i = 0; i < 2; i++) {
        unsigned char one[64];
        unsigned char two[64];
        int fd = (int)EXPECT_OK(open(paths[i], O_RDWR));
        EXPECT_EQ(read(fd, one, sizeof one), sizeof one);
        EXPECT_EQ(read(fd, two, sizeof two), sizeof two);
        EXPECT(memcmp(one, two, sizeof one) != 0);
        EXPECT_EQ(write(fd, one, sizeof one), sizeof one);
    }
}

CASE(dev_fd_and_dev_stdin_lead_to_descriptors)
{
    int fd = check_file("f", "abc", 3);
    EXPECT_EQ(dup2(fd, STDIN_FILENO), STDIN_FILENO);
    check_slurp("/dev/stdin", text, sizeof text);
    EXPECT_STR(text, "abc");
    check_slurp("/dev/fd/0", text, sizeof text);
    EXPECT_STR(text, "abc");
    EXPECT_OK(access("/dev/stdout", F_OK));
    EXPECT_OK(access("/dev/stderr", F_OK));
}

CASE(shared_memory_directory_takes_files)
{
    int fd = (int)EXPECT_OK(shm_open("/strongroom-test", O_CREAT | O_EXCL | O_RDWR, 0600));
    EXPECT_OK(ftruncate(fd, (off_t)PAGE));
    EXPECT_OK(access("/dev/shm/strongroom-test", F_OK));
    EXPECT_ERRNO(shm_open("/strongroom-test", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
    EXPECT_OK(shm_unlink("/strongroom-test"));
    EXPECT_ERRNO(shm_unlink("/strongroom-test"), ENOENT);
}
