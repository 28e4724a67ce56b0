// SPDX-License-Identifier: MIT
//
// Files as names: directories, links, renames, listing, working directory.

#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void touch(const char *path, const char *content)
{
    close(check_file(path, content, strlen(content)));
}

static void expect_content(const char *path, const char *content)
{
    char text[256];
    check_slurp(path, text, sizeof text);
    EXPECT_STR(text, content);
}

static ino_t inode_of(const char *path)
{
    struct stat status;
    EXPECT_OK(lstat(path, &status));
    return status.st_ino;
}

CASE(rename_moves_and_replaces)
{
    touch("a", "A");
    touch("b", "B");
    EXPECT_OK(rename("a", "b"));
    EXPECT_ERRNO(access("a", F_OK), ENOENT);
    expect_content("b", "A");
    EXPECT_OK(mkdir("directory", 0755));
    EXPECT_OK(rename("b", "directory/c"));
    expect_content("directory/c", "A");
    EXPECT_OK(rename("directory", "moved"));
    expect_content("moved/c", "A");
}

CASE(rename_errors_name_the_reason)
{
    touch("file", "");
    touch("other", "");
    EXPECT_OK(mkdir("full", 0755));
    touch("full/x", "");
    EXPECT_OK(mkdir("empty", 0755));
    EXPECT_ERRNO(rename("missing", "x"), ENOENT);
    EXPECT_ERRNO(rename("file", "missing/x"), ENOENT);
    EXPECT_ERRNO(rename("file", "empty"), EISDIR);
    EXPECT_ERRNO(rename("empty", "file"), ENOTDIR);
    EXPECT_ERRNO(rename("empty", "full"), ENOTEMPTY);
    EXPECT_ERRNO(rename("full", "full/inside"), EINVAL);
    EXPECT_ERRNO(rename("full/x", "full"), ENOTEMPTY);
    EXPECT_ERRNO(rename(".", "x"), EBUSY);
    EXPECT_ERRNO(rename("file", "file/x"), ENOTDIR);
    EXPECT_ERRNO(rename("", "x"), ENOENT);
    EXPECT_ERRNO(rename("file", "new/"), ENOTDIR);
    EXPECT_OK(rename("full", "empty"));
}

CASE(rename_between_links_of_one_file_does_nothing)
{
    touch("a", "A");
    EXPECT_OK(link("a", "b"));
    EXPECT_OK(rename("a", "b"));
    EXPECT_OK(access("a", F_OK));
    EXPECT_OK(access("b", F_OK));
}

CASE(renameat2_noreplace_and_exchange)
{
    touch("a", "A");
    touch("b", "B");
    EXPECT_ERRNO(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
    EXPECT_OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
    EXPECT_OK(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE));
    expect_content("b", "A");
    expect_content("c", "B");
    EXPECT_ERRNO(renameat2(AT_FDCWD, "b", AT_FDCWD, "missing", RENAME_EXCHANGE), ENOENT);
    EXPECT_ERRNO(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE | RENAME_NOREPLACE),
                 EINVAL);
    EXPECT_ERRNO(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", 0x100), EINVAL);
}

CASE(open_file_follows_its_rename)
{
    int fd = check_file("a", "A", 1);
    EXPECT_OK(rename("a", "b"));
    EXPECT_EQ(write(fd, "B", 1), 1);
    expect_content("b", "AB");
}

CASE(hard_links_share_the_file)
{
    struct stat status;
    touch("a", "A");
    EXPECT_OK(link("a", "b"));
    EXPECT_EQ(inode_of("a"), inode_of("b"));
    EXPECT_OK(stat("a", &status));
    EXPECT_EQ(status.st_nlink, 2);
    EXPECT_OK(unlink("a"));
    EXPECT_OK(stat("b", &status));
    EXPECT_EQ(status.st_nlink, 1);
    expect_content("b", "A");
    touch("c", "");
    EXPECT_ERRNO(link("b", "c"), EEXIST);
    EXPECT_ERRNO(link("missing", "d"), ENOENT);
    EXPECT_ERRNO(link(".", "d"), EPERM);
    EXPECT_ERRNO(linkat(AT_FDCWD, "b", AT_FDCWD, "d", 0x1), EINVAL);
}

CASE(link_takes_the_symbolic_link_itself_unless_told)
{
    struct stat status;
    touch("file", "A");
    EXPECT_OK(symlink("file", "link"));
    EXPECT_OK(linkat(AT_FDCWD, "link", AT_FDCWD, "itself", 0));
    EXPECT_OK(linkat(AT_FDCWD, "link", AT_FDCWD, "target", AT_SYMLINK_FOLLOW));
    EXPECT_OK(lstat("itself", &status));
    EXPECT(S_ISLNK(status.st_mode));
    EXPECT_OK(lstat("target", &status));
    EXPECT(S_ISREG(status.st_mode));
}

CASE(unlink_errors_name_the_reason)
{
    touch("file", "");
    EXPECT_OK(mkdir("directory", 0755));
    EXPECT_ERRNO(unlink("missing"), ENOENT);
    EXPECT_ERRNO(unlink("directory"), EISDIR);
    EXPECT_ERRNO(unlink("file/x"), ENOTDIR);
    EXPECT_ERRNO(unlink("file/"), ENOTDIR);
    EXPECT_ERRNO(unlinkat(AT_FDCWD, "file", AT_REMOVEDIR), ENOTDIR);
    EXPECT_ERRNO(unlinkat(AT_FDCWD, "file", 0x1), EINVAL);
    EXPECT_OK(unlinkat(AT_FDCWD, "directory", AT_REMOVEDIR));
}

CASE(directories_are_made_and_removed)
{
    struct stat status;
    EXPECT_OK(mkdir("d", 0750));
    EXPECT_OK(stat("d", &status));
    EXPECT(S_ISDIR(status.st_mode));
    EXPECT_EQ(status.st_mode & 0777, 0750);
    EXPECT_OK(mkdir("d/e/", 0755));
    EXPECT_ERRNO(mkdir("d", 0755), EEXIST);
    EXPECT_ERRNO(mkdir("missing/x", 0755), ENOENT);
    EXPECT_ERRNO(mkdir("/", 0755), EEXIST);
    EXPECT_ERRNO(rmdir("d"), ENOTEMPTY);
    EXPECT_ERRNO(rmdir("missing"), ENOENT);
    EXPECT_ERRNO(rmdir("d/."), EINVAL);
    EXPECT_ERRNO(rmdir("d/e/.."), ENOTEMPTY);
    touch("file", "");
    EXPECT_ERRNO(rmdir("file"), ENOTDIR);
    EXPECT_ERRNO(mkdir("file/x", 0755), ENOTDIR);
    EXPECT_OK(rmdir("d/e"));
    EXPECT_OK(rmdir("d"));
}

CASE(removed_working_directory_is_gone_for_names)
{
    char path[PATH_MAX];
    EXPECT_OK(mkdir("d", 0755));
    EXPECT_OK(chdir("d"));
    EXPECT_OK(rmdir("../d"));
    EXPECT_ERRNO(syscall(SYS_getcwd, path, sizeof path), ENOENT);
    EXPECT_ERRNO(open("x", O_CREAT | O_RDWR, 0600), ENOENT);
    EXPECT_OK(open(".", O_RDONLY));
    EXPECT_OK(chdir(".."));
}

CASE(symbolic_links_are_read_and_followed)
{
    char target[16];
    memset(target, '#', sizeof target);
    EXPECT_OK(symlink("somewhere", "link"));
    EXPECT_EQ(readlink("link", target, sizeof target), 9);
    EXPECT(memcmp(target, "somewhere#", 10) == 0);
    EXPECT_EQ(readlink("link", target, 4), 4);
    EXPECT_ERRNO(readlink("link", target, 0), EINVAL);
    EXPECT_ERRNO(readlink("missing", target, 4), ENOENT);
    touch("file", "");
    EXPECT_ERRNO(readlink("file", target, 4), EINVAL);
    EXPECT_ERRNO(symlink("x", "file"), EEXIST);
    EXPECT_ERRNO(symlink("", "x"), ENOENT);
    EXPECT_OK(mkdir("d", 0755));
    EXPECT_OK(symlink("d", "way"));
    touch("way/x", "X");
    expect_content("d/x", "X");
}

CASE(forty_links_are_followed_and_not_more)
{
    char name[16];
    char target[16];
    touch("end", "E");
    EXPECT_OK(symlink("end", "l1"));
    for (int i = 2; i <= 41; i++) {
        snprintf(name, sizeof name, "l%d", i);
        snprintf(target, sizeof target, "l%d", i - 1);
        EXPECT_OK(symlink(target, name));
    }
    expect_content("l40", "E");
    EXPECT_ERRNO(open("l41", O_RDONLY), ELOOP);
    struct stat status;
    EXPECT_ERRNO(stat("l41", &status), ELOOP);
    EXPECT_OK(lstat("l41", &status));
}

CASE(dots_walk_as_in_a_tree)
{
    EXPECT_OK(mkdir("a", 0755));
    EXPECT_OK(mkdir("a/b", 0755));
    touch("f", "F");
    expect_content("a/b/../../f", "F");
    expect_content("./a/./../f", "F");
    EXPECT_OK(symlink("a/b", "way"));
    // ".." after a link is the parent of its target.
    EXPECT_ERRNO(access("way/../f", F_OK), ENOENT);
    EXPECT_EQ(inode_of("way/.."), inode_of("a"));
    EXPECT_EQ(inode_of("/.."), inode_of("/"));
}

CASE(working_directory_is_told_and_changed)
{
    char before[PATH_MAX];
    char path[PATH_MAX + 2];
    EXPECT(getcwd(before, sizeof before) != NULL);
    EXPECT_OK(mkdir("d", 0755));
    EXPECT_OK(chdir("d"));
    snprintf(path, sizeof path, "%s/d", before);
    char after[PATH_MAX];
    EXPECT_EQ(syscall(SYS_getcwd, after, sizeof after), strlen(path) + 1);
    EXPECT_STR(after, path);
    EXPECT_ERRNO(syscall(SYS_getcwd, after, 3), ERANGE);
    int parent = (int)EXPECT_OK(open("..", O_RDONLY));
    EXPECT_OK(fchdir(parent));
    EXPECT(getcwd(after, sizeof after) != NULL);
    EXPECT_STR(after, before);
    touch("file", "");
    EXPECT_ERRNO(chdir("file"), ENOTDIR);
    EXPECT_ERRNO(chdir("missing"), ENOENT);
    EXPECT_ERRNO(fchdir((int)EXPECT_OK(open("file", O_RDONLY))), ENOTDIR);
    EXPECT_ERRNO(fchdir(12345), EBADF);
}

enum { ENTRIES = 500 };

static void fill_directory(void)
{
    char name[32];
    EXPECT_OK(mkdir("many", 0755));
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(name, sizeof name, "many/entry-%d", i);
        close((int)EXPECT_OK(open(name, O_CREAT | O_RDWR, 0600)));
    }
}

/// Lists "many" by raw getdents64 with a buffer of this size; checks that every name comes once.
static void list_directory(size_t buffer_size)
{
    struct record {
        uint64_t inode;
        int64_t next;
        unsigned short length;
        unsigned char kind;
        char name[];
    };
    _Alignas(8) char buffer[8192];
    bool seen[ENTRIES] = {false};
    int dots = 0;
    int total = 0;
    int fd = (int)EXPECT_OK(open("many", O_RDONLY | O_DIRECTORY));
    long count;
    while ((count = EXPECT_OK(syscall(SYS_getdents64, fd, buffer, buffer_size))) > 0) {
        for (long at = 0; at < count;) {
            struct record *record = (struct record *)(buffer + at);
            at += record->length;
            EXPECT_EQ(record->length % 8, 0);
            if (record->name[0] == '.') {
                EXPECT_EQ(record->kind, DT_DIR);
                dots++;
                continue;
            }
            int number = atoi(record->name + strlen("entry-"));
            EXPECT(number >= 0 && number < ENTRIES && !seen[number]);
            EXPECT(record->kind == DT_REG || record->kind == DT_UNKNOWN);
            seen[number] = true;
            total++;
        }
    }
    EXPECT_EQ(total, ENTRIES);
    EXPECT_EQ(dots, 2);
    EXPECT_EQ(syscall(SYS_getdents64, fd, buffer, buffer_size), 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    EXPECT(syscall(SYS_getdents64, fd, buffer, buffer_size) > 0);
}

CASE(listing_gives_every_entry_once)
{
    fill_directory();
    list_directory(8192);
    list_directory(100);
}

CASE(listing_survives_removal_on_the_way)
{
    fill_directory();
    DIR *directory = opendir("many");
    EXPECT(directory != NULL);
    int removed = 0;
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.') {
            EXPECT_OK(unlinkat(dirfd(directory), entry->d_name, 0));
            removed++;
        }
    }
    EXPECT_EQ(removed, ENTRIES);
    EXPECT_OK(rmdir("many"));
}

CASE(getdents_refuses_bad_arguments)
{
    char buffer[1024];
    int file = check_file("f", "", 0);
    int directory = (int)EXPECT_OK(open(".", O_RDONLY));
    EXPECT_ERRNO(syscall(SYS_getdents64, file, buffer, sizeof buffer), ENOTDIR);
    EXPECT_ERRNO(syscall(SYS_getdents64, 12345, buffer, sizeof buffer), EBADF);
    EXPECT_ERRNO(syscall(SYS_getdents64, directory, buffer, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_getdents64, directory, (char *)8, sizeof buffer), EFAULT);
}

CASE(two_processes_creating_one_name_have_one_winner)
{
    for (int round = 0; round < 20; round++) {
        pid_t pid = check_fork();
        int fd = open("contested", O_CREAT | O_EXCL | O_RDWR, 0600);
        if (pid == 0) {
            _exit(fd >= 0);
        }
        EXPECT(fd >= 0 || errno == EEXIST);
        EXPECT_EXITED(pid, fd < 0);
        close(fd);
        EXPECT_OK(unlink("contested"));
    }
}

CASE(fifo_connects_two_openers)
{
    EXPECT_OK(mkfifo("fifo", 0600));
    EXPECT_ERRNO(mkfifo("fifo", 0600), EEXIST);
    EXPECT_ERRNO(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
    pid_t pid;
    CHILD (pid) {
        int writer = (int)EXPECT_OK(open("fifo", O_WRONLY));
        EXPECT_EQ(write(writer, "through", 7), 7);
    }
    char text[16] = {0};
    int reader = (int)EXPECT_OK(open("fifo", O_RDONLY));
    EXPECT_EQ(read(reader, text, 15), 7);
    EXPECT_STR(text, "through");
    EXPECT_EQ(read(reader, text, 15), 0);
    EXPECT_EXITED(pid, 0);
}
