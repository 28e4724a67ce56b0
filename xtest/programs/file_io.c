// SPDX-License-Identifier: MIT
//
// Files as bytes: open flags, reading and writing, offsets, lengths, descriptors, copies, locks.

#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void expect_content(const char *path, const char *content)
{
    char text[256];
    check_slurp(path, text, sizeof text);
    EXPECT_STR(text, content);
}

CASE(open_errors_name_the_reason)
{
    close(check_file("file", "abc", 3));
    EXPECT_OK(mkdir("directory", 0755));
    EXPECT_OK(symlink("file", "link"));
    EXPECT_OK(symlink("loop", "loop"));
    EXPECT_OK(symlink("nowhere", "dangling"));
    EXPECT_ERRNO(open("missing", O_RDONLY), ENOENT);
    EXPECT_ERRNO(open("", O_RDONLY), ENOENT);
    EXPECT_ERRNO(open("dangling", O_RDONLY), ENOENT);
    EXPECT_ERRNO(open("missing/below", O_RDONLY | O_CREAT, 0600), ENOENT);
    EXPECT_ERRNO(open("file/below", O_RDONLY), ENOTDIR);
    EXPECT_ERRNO(open("file/", O_RDONLY), ENOTDIR);
    EXPECT_ERRNO(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
    EXPECT_ERRNO(open("directory", O_WRONLY), EISDIR);
    EXPECT_ERRNO(open("directory", O_RDONLY | O_CREAT, 0600), EISDIR);
    EXPECT_ERRNO(open("new/", O_RDWR | O_CREAT, 0600), EISDIR);
    EXPECT_ERRNO(open("file", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    EXPECT_ERRNO(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    EXPECT_ERRNO(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
    EXPECT_ERRNO(open("loop", O_RDONLY), ELOOP);
    EXPECT_ERRNO(openat(12345, "file", O_RDONLY), EBADF);
    EXPECT_ERRNO(syscall(SYS_openat, AT_FDCWD, (char *)8, O_RDONLY), EFAULT);
}

CASE(long_names_and_paths_are_refused)
{
    char name[NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[NAME_MAX + 1] = '\0';
    EXPECT_ERRNO(open(name, O_RDWR | O_CREAT, 0600), ENAMETOOLONG);
    EXPECT_ERRNO(mkdir(name, 0700), ENAMETOOLONG);
    name[NAME_MAX] = '\0';
    EXPECT_OK(open(name, O_RDWR | O_CREAT, 0600));
    EXPECT_OK(unlink(name));
    char path[PATH_MAX + 1];
    memset(path, '/', sizeof path);
    path[PATH_MAX] = '\0';
    EXPECT_ERRNO(open(path, O_RDONLY), ENAMETOOLONG);
    path[PATH_MAX - 1] = '\0';
    EXPECT_OK(open(path, O_RDONLY));
}

CASE(openat_is_relative_to_its_directory)
{
    EXPECT_OK(mkdir("directory", 0755));
    int directory = (int)EXPECT_OK(open("directory", O_RDONLY | O_DIRECTORY));
    int fd = (int)EXPECT_OK(openat(directory, "file", O_CREAT | O_RDWR, 0600));
    EXPECT_EQ(write(fd, "abc", 3), 3);
    expect_content("directory/file", "abc");
    EXPECT_ERRNO(openat(fd, "x", O_RDONLY), ENOTDIR);
    EXPECT_OK(openat(fd, "/dev/null", O_RDONLY));
    EXPECT_OK(openat(directory, "../directory/file", O_RDONLY));
}

CASE(creation_through_a_dangling_link_makes_the_target)
{
    EXPECT_OK(symlink("target", "link"));
    EXPECT_OK(open("link", O_RDWR | O_CREAT, 0600));
    EXPECT_OK(access("target", F_OK));
}

CASE(lowest_free_descriptor_is_given)
{
    int one = (int)EXPECT_OK(open("/dev/null", O_RDONLY));
    int two = (int)EXPECT_OK(open("/dev/null", O_RDONLY));
    EXPECT_EQ(two, one + 1);
    EXPECT_OK(close(one));
    EXPECT_EQ(open("/dev/null", O_RDONLY), one);
    EXPECT_EQ(fcntl(one, F_DUPFD, one + 50), one + 50);
}

CASE(append_writes_at_the_end_wherever_the_offset_is)
{
    close(check_file("f", "abc", 3));
    int fd = (int)EXPECT_OK(open("f", O_RDWR | O_APPEND));
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
    EXPECT_EQ(write(fd, "def", 3), 3);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 6);
    EXPECT_EQ(lseek(fd, 1, SEEK_SET), 1);
    EXPECT_EQ(write(fd, "g", 1), 1);
    // Linux appends with pwrite too, whatever POSIX says.
    EXPECT_EQ(pwrite(fd, "h", 1, 0), 1);
    expect_content("f", "abcdefgh");
}

CASE(truncating_open_empties_the_file)
{
    close(check_file("f", "abc", 3));
    close((int)EXPECT_OK(open("f", O_WRONLY | O_TRUNC)));
    expect_content("f", "");
}

CASE(descriptor_direction_is_enforced)
{
    close(check_file("f", "abc", 3));
    char byte;
    int reader = (int)EXPECT_OK(open("f", O_RDONLY));
    int writer = (int)EXPECT_OK(open("f", O_WRONLY));
    EXPECT_ERRNO(write(reader, "x", 1), EBADF);
    EXPECT_ERRNO(read(writer, &byte, 1), EBADF);
    EXPECT_ERRNO(ftruncate(reader, 0), EINVAL);
    EXPECT_ERRNO(read(12345, &byte, 1), EBADF);
    EXPECT_ERRNO(close(12345), EBADF);
    EXPECT_ERRNO(close(-1), EBADF);
}

CASE(reading_and_writing_a_directory_fails)
{
    char byte;
    int fd = (int)EXPECT_OK(open(".", O_RDONLY));
    EXPECT_ERRNO(read(fd, &byte, 1), EISDIR);
    EXPECT_ERRNO(pread(fd, &byte, 1, 0), EISDIR);
    EXPECT_ERRNO(write(fd, &byte, 1), EBADF);
}

CASE(path_descriptor_only_names)
{
    close(check_file("f", "abc", 3));
    char byte;
    struct stat status;
    int fd = (int)EXPECT_OK(open("f", O_PATH));
    EXPECT_ERRNO(read(fd, &byte, 1), EBADF);
    EXPECT_ERRNO(write(fd, &byte, 1), EBADF);
    EXPECT_ERRNO(lseek(fd, 0, SEEK_SET), EBADF);
    EXPECT_ERRNO(fchmod(fd, 0600), EBADF);
    EXPECT_ERRNO(ioctl(fd, FIONREAD, &byte), EBADF);
    EXPECT_OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 3);
    EXPECT_EQ(fcntl(fd, F_GETFL) & O_PATH, O_PATH);
    EXPECT_OK(dup(fd));
    EXPECT_OK(symlink("f", "link"));
    int link = (int)EXPECT_OK(open("link", O_PATH | O_NOFOLLOW));
    EXPECT_OK(fstat(link, &status));
    EXPECT(S_ISLNK(status.st_mode));
}

CASE(temporary_file_has_no_name_until_linked)
{
    int fd = (int)EXPECT_OK(open(".", O_TMPFILE | O_RDWR, 0600));
    EXPECT_EQ(write(fd, "abc", 3), 3);
    struct stat status;
    EXPECT_OK(fstat(fd, &status));
    EXPECT_EQ(status.st_nlink, 0);
    char path[32] = "/proc/self/fd/";
    size_t length = strlen(path);
    path[length] = (char)('0' + fd);
    EXPECT(fd < 10);
    EXPECT_OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    expect_content("named", "abc");
    EXPECT_ERRNO(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
}

CASE(positioned_calls_leave_the_offset)
{
    char text[8] = {0};
    int fd = check_file("f", "abcdef", 6);
    EXPECT_EQ(lseek(fd, 1, SEEK_SET), 1);
    EXPECT_EQ(pread(fd, text, 3, 3), 3);
    EXPECT_STR(text, "def");
    EXPECT_EQ(pwrite(fd, "Z", 1, 8), 1);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 1);
    EXPECT_EQ(pread(fd, text, 4, 100), 0);
    EXPECT_ERRNO(pread(fd, text, 1, -1), EINVAL);
    EXPECT_ERRNO(pwrite(fd, text, 1, -1), EINVAL);
    int fds[2];
    EXPECT_OK(pipe(fds));
    EXPECT_ERRNO(pread(fds[0], text, 1, 0), ESPIPE);
    EXPECT_ERRNO(pwrite(fds[1], text, 1, 0), ESPIPE);
}

CASE(vectors_are_gathered_and_scattered)
{
    char one[3] = "";
    char two[4] = "";
    int fd = check_file("f", "", 0);
    struct iovec out[3] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
    EXPECT_EQ(writev(fd, out, 3), 5);
    struct iovec in[2] = {{one, 2}, {two, 3}};
    EXPECT_EQ(preadv(fd, in, 2, 0), 5);
    EXPECT_STR(one, "ab");
    EXPECT_STR(two, "cde");
    EXPECT_EQ(preadv2(fd, in, 2, 1, 0), 4);
    EXPECT_STR(one, "bc");
    EXPECT_ERRNO(preadv2(fd, in, 2, 0, 0x40000000), EOPNOTSUPP);
    EXPECT_EQ(pwritev(fd, out, 1, 10), 2);
    EXPECT_EQ(lseek(fd, 0, SEEK_END), 12);
}

CASE(vectors_are_checked)
{
    char byte = 'x';
    int fd = check_file("f", "abc", 3);
    struct iovec vectors[1025];
    for (int i = 0; i < 1025; i++) {
        vectors[i] = (struct iovec){&byte, 1};
    }
    EXPECT_ERRNO(writev(fd, vectors, 1025), EINVAL);
    EXPECT_ERRNO(syscall(SYS_writev, fd, vectors, -1), EINVAL);
    EXPECT_EQ(writev(fd, vectors, 0), 0);
    EXPECT_EQ(writev(fd, vectors, 1024), 1024);
    EXPECT_ERRNO(syscall(SYS_readv, fd, (struct iovec *)8, 1), EFAULT);
    struct iovec negative = {&byte, (size_t)-1};
    EXPECT_ERRNO(readv(fd, &negative, 1), EINVAL);
}

CASE(seek_goes_anywhere_but_before_the_start)
{
    int fd = check_file("f", "abcdef", 6);
    EXPECT_EQ(lseek(fd, -2, SEEK_END), 4);
    EXPECT_EQ(lseek(fd, 100, SEEK_SET), 100);
    EXPECT_EQ(lseek(fd, -1, SEEK_CUR), 99);
    EXPECT_ERRNO(lseek(fd, -100, SEEK_CUR), EINVAL);
    EXPECT_ERRNO(lseek(fd, 0, 99), EINVAL);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 99);
    int fds[2];
    EXPECT_OK(pipe(fds));
    EXPECT_ERRNO(lseek(fds[0], 0, SEEK_CUR), ESPIPE);
}

CASE(seek_finds_data_and_the_hole_at_the_end)
{
    int fd = check_file("f", "abcdef", 6);
    EXPECT_EQ(lseek(fd, 0, SEEK_DATA), 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 6);
    EXPECT_ERRNO(lseek(fd, 6, SEEK_DATA), ENXIO);
    EXPECT_ERRNO(lseek(fd, 7, SEEK_HOLE), ENXIO);
}

CASE(write_past_the_end_leaves_zeroes)
{
    int fd = check_file("f", "ab", 2);
    char text[8];
    EXPECT_EQ(pwrite(fd, "z", 1, 10000), 1);
    EXPECT_EQ(pread(fd, text, 8, 5000), 8);
    EXPECT(memcmp(text, "\0\0\0\0\0\0\0", 8) == 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_END), 10001);
}

CASE(truncate_shrinks_and_grows_with_zeroes)
{
    char text[6];
    int fd = check_file("f", "abcdef", 6);
    EXPECT_OK(ftruncate(fd, 2));
    EXPECT_OK(truncate("f", 5));
    EXPECT_EQ(pread(fd, text, 6, 0), 5);
    EXPECT(memcmp(text, "ab\0\0", 5) == 0);
    EXPECT_ERRNO(ftruncate(fd, -1), EINVAL);
    EXPECT_ERRNO(truncate(".", 0), EISDIR);
    EXPECT_ERRNO(truncate("missing", 0), ENOENT);
    int fds[2];
    EXPECT_OK(pipe(fds));
    EXPECT_ERRNO(ftruncate(fds[1], 0), EINVAL);
}

CASE(file_size_limit_sends_sigxfsz)
{
    struct rlimit limit = {10, 10};
    int fd = check_file("f", "abcdefgh", 8);
    EXPECT_OK(setrlimit(RLIMIT_FSIZE, &limit));
    signal(SIGXFSZ, SIG_IGN);
    EXPECT_EQ(write(fd, "12345", 5), 2);
    EXPECT_ERRNO(write(fd, "12345", 5), EFBIG);
    EXPECT_ERRNO(ftruncate(fd, 11), EFBIG);
}

CASE(fallocate_extends_keeps_or_punches)
{
    char text[4];
    struct stat status;
    int fd = check_file("f", "abcdef", 6);
    EXPECT_OK(fallocate(fd, 0, 0, 100));
    EXPECT_OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 100);
    EXPECT_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 10000));
    EXPECT_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, 2));
    EXPECT_OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 100);
    EXPECT_EQ(pread(fd, text, 4, 0), 4);
    EXPECT(memcmp(text, "a\0\0d", 4) == 0);
    EXPECT_ERRNO(fallocate(fd, 0, 0, 0), EINVAL);
    EXPECT_ERRNO(fallocate(fd, 0, -1, 10), EINVAL);
    EXPECT_ERRNO(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
    EXPECT_ERRNO(fallocate(fd, 0, 1, INT64_MAX), EFBIG);
}

CASE(dup_shares_offset_and_status_but_not_cloexec)
{
    int fd = check_file("f", "abcdef", 6);
    int copy = (int)EXPECT_OK(dup(fd));
    EXPECT_EQ(lseek(fd, 2, SEEK_SET), 2);
    EXPECT_EQ(lseek(copy, 0, SEEK_CUR), 2);
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(copy, F_GETFD), 0);
    EXPECT_OK(fcntl(copy, F_SETFL, O_APPEND | O_NONBLOCK));
    EXPECT_EQ(fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK | O_ACCMODE),
              O_APPEND | O_NONBLOCK | O_RDWR);
}

CASE(dup2_and_dup3_replace_or_refuse)
{
    int fd = check_file("f", "abc", 3);
    int other = (int)EXPECT_OK(open("/dev/null", O_RDWR));
    EXPECT_EQ(dup2(fd, other), other);
    EXPECT_EQ(lseek(other, 0, SEEK_CUR), 3);
    EXPECT_EQ(dup2(fd, fd), fd);
    EXPECT_ERRNO(dup2(12345, other), EBADF);
    EXPECT_EQ(lseek(other, 0, SEEK_CUR), 3);
    EXPECT_ERRNO(dup2(fd, -1), EBADF);
    EXPECT_ERRNO(dup3(fd, fd, 0), EINVAL);
    EXPECT_ERRNO(dup3(fd, other, O_APPEND), EINVAL);
    EXPECT_EQ(dup3(fd, other, O_CLOEXEC), other);
    EXPECT_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 100), 100);
    EXPECT_ERRNO(fcntl(fd, F_DUPFD, -1), EINVAL);
    EXPECT_ERRNO(fcntl(fd, 9999), EINVAL);
    EXPECT_ERRNO(fcntl(12345, F_GETFL), EBADF);
    EXPECT_ERRNO(dup(12345), EBADF);
}

CASE(close_range_closes_a_range)
{
    int fd = (int)EXPECT_OK(open("/dev/null", O_RDONLY));
    EXPECT_EQ(dup2(fd, 100), 100);
    EXPECT_EQ(dup2(fd, 102), 102);
    EXPECT_EQ(dup2(fd, 104), 104);
    EXPECT_OK(syscall(SYS_close_range, 100, 103, 0));
    EXPECT_ERRNO(fcntl(100, F_GETFD), EBADF);
    EXPECT_ERRNO(fcntl(102, F_GETFD), EBADF);
    EXPECT_OK(syscall(SYS_close_range, 104, 104, 4)); // CLOSE_RANGE_CLOEXEC
    EXPECT_EQ(fcntl(104, F_GETFD), FD_CLOEXEC);
    EXPECT_ERRNO(syscall(SYS_close_range, 5, 4, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_close_range, 5, 6, 0x80), EINVAL);
}

CASE(sendfile_copies_and_moves_the_right_offset)
{
    int from = check_file("from", "abcdef", 6);
    int to = check_file("to", "", 0);
    off_t offset = 2;
    EXPECT_EQ(sendfile(to, from, &offset, 3), 3);
    EXPECT_EQ(offset, 5);
    EXPECT_EQ(lseek(from, 0, SEEK_SET), 0);
    EXPECT_EQ(sendfile(to, from, NULL, 100), 6);
    EXPECT_EQ(lseek(from, 0, SEEK_CUR), 6);
    EXPECT_EQ(sendfile(to, from, NULL, 100), 0);
    expect_content("to", "cdeabcdef");
    EXPECT_ERRNO(sendfile(to, 12345, NULL, 1), EBADF);
    offset = -1;
    EXPECT_ERRNO(sendfile(to, from, &offset, 1), EINVAL);
    int appender = (int)EXPECT_OK(open("to", O_WRONLY | O_APPEND));
    EXPECT_ERRNO(sendfile(appender, from, NULL, 1), EINVAL);
}

CASE(copy_file_range_copies_or_refuses)
{
    int from = check_file("from", "abcdef", 6);
    int to = check_file("to", "", 0);
    off_t in = 1;
    off_t out = 2;
    EXPECT_EQ(copy_file_range(from, &in, to, &out, 3, 0), 3);
    EXPECT_EQ(in, 4);
    EXPECT_EQ(out, 5);
    char text[5];
    EXPECT_EQ(pread(to, text, 5, 0), 5);
    EXPECT(memcmp(text, "\0\0bcd", 5) == 0);
    EXPECT_ERRNO(copy_file_range(from, &in, to, &out, 3, 1), EINVAL);
    in = 0;
    out = 1;
    EXPECT_ERRNO(copy_file_range(from, &in, from, &out, 5, 0), EINVAL);
    int directory = (int)EXPECT_OK(open(".", O_RDONLY));
    EXPECT_ERRNO(copy_file_range(directory, NULL, to, NULL, 5, 0), EISDIR);
    in = 6;
    EXPECT_EQ(copy_file_range(from, &in, to, NULL, 5, 0), 0);
}

CASE(unlinked_file_lives_while_open)
{
    char text[4] = {0};
    struct stat status;
    int fd = check_file("f", "abc", 3);
    EXPECT_OK(unlink("f"));
    EXPECT_ERRNO(open("f", O_RDONLY), ENOENT);
    EXPECT_EQ(pread(fd, text, 3, 0), 3);
    EXPECT_STR(text, "abc");
    EXPECT_EQ(write(fd, "def", 3), 3);
    EXPECT_OK(fstat(fd, &status));
    EXPECT_EQ(status.st_nlink, 0);
    EXPECT_EQ(status.st_size, 6);
}

CASE(flock_excludes_other_open_files)
{
    int one = check_file("f", "", 0);
    int two = (int)EXPECT_OK(open("f", O_RDONLY));
    EXPECT_OK(flock(one, LOCK_SH));
    EXPECT_OK(flock(two, LOCK_SH | LOCK_NB));
    EXPECT_ERRNO(flock(one, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    EXPECT_OK(flock(two, LOCK_UN));
    EXPECT_OK(flock(one, LOCK_EX | LOCK_NB));
    EXPECT_ERRNO(flock(two, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    EXPECT_OK(close(one));
    EXPECT_OK(flock(two, LOCK_EX | LOCK_NB));
    EXPECT_ERRNO(flock(two, 0), EINVAL);
    EXPECT_ERRNO(flock(12345, LOCK_SH), EBADF);
}

CASE(flock_waits_for_the_holder)
{
    int fd = check_file("f", "", 0);
    EXPECT_OK(flock(fd, LOCK_EX));
    struct gate trying = gate_new();
    pid_t pid;
    CHILD (pid) {
        int own = (int)EXPECT_OK(open("f", O_RDWR));
        gate_open(trying);
        EXPECT_OK(flock(own, LOCK_EX));
        char byte = 0;
        EXPECT_EQ(pread(own, &byte, 1, 0), 1);
        EXPECT_EQ(byte, 'x');
    }
    gate_wait(trying);
    check_sleep_ms(20);
    EXPECT_EQ(pwrite(fd, "x", 1, 0), 1);
    EXPECT_OK(flock(fd, LOCK_UN));
    EXPECT_EXITED(pid, 0);
}

CASE(record_locks_belong_to_the_process)
{
    int fd = check_file("f", "abcdef", 6);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 3};
    EXPECT_OK(fcntl(fd, F_SETLK, &lock));
    pid_t parent = getpid();
    pid_t pid;
    CHILD (pid) {
        struct flock mine = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 2};
        EXPECT_ERRNO(fcntl(fd, F_SETLK, &mine), EAGAIN);
        EXPECT_OK(fcntl(fd, F_GETLK, &mine));
        EXPECT_EQ(mine.l_type, F_WRLCK);
        EXPECT_EQ(mine.l_pid, parent);
        EXPECT_EQ(mine.l_start, 0);
        EXPECT_EQ(mine.l_len, 3);
        struct flock free = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 0};
        EXPECT_OK(fcntl(fd, F_SETLK, &free));
    }
    EXPECT_EXITED(pid, 0);
    // Closing any descriptor of the file drops the locks of the process.
    EXPECT_OK(close((int)EXPECT_OK(open("f", O_RDONLY))));
    CHILD (pid) {
        struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        EXPECT_OK(fcntl(fd, F_SETLK, &all));
    }
    EXPECT_EXITED(pid, 0);
}

CASE(record_lock_deadlock_is_found)
{
    int fd = check_file("f", "ab", 2);
    struct flock first = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    struct flock second = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
    struct gate ready = gate_new();
    EXPECT_OK(fcntl(fd, F_SETLKW, &first));
    pid_t pid;
    CHILD (pid) {
        EXPECT_OK(fcntl(fd, F_SETLKW, &second));
        gate_open(ready);
        // Either this wait or the parent's closes the circle; the loser gives way by exiting.
        if (fcntl(fd, F_SETLKW, &first) < 0) {
            EXPECT_EQ(errno, EDEADLK);
        }
    }
    gate_wait(ready);
    if (fcntl(fd, F_SETLKW, &second) < 0) {
        EXPECT_EQ(errno, EDEADLK);
        first.l_type = F_UNLCK;
        EXPECT_OK(fcntl(fd, F_SETLK, &first));
    }
    EXPECT_EXITED(pid, 0);
}

CASE(record_locks_are_checked)
{
    int fd = check_file("f", "ab", 2);
    struct flock lock = {.l_type = 77, .l_whence = SEEK_SET};
    EXPECT_ERRNO(fcntl(fd, F_SETLK, &lock), EINVAL);
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = -5};
    EXPECT_ERRNO(fcntl(fd, F_SETLK, &lock), EINVAL);
    int reader = (int)EXPECT_OK(open("f", O_RDONLY));
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
    EXPECT_ERRNO(fcntl(reader, F_SETLK, &lock), EBADF);
    EXPECT_ERRNO(fcntl(fd, F_GETLK, (struct flock *)8), EFAULT);
    lock = (struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET};
    EXPECT_ERRNO(fcntl(fd, F_GETLK, &lock), EINVAL);
}

CASE(sync_calls_work_and_check)
{
    int fds[2];
    int fd = check_file("f", "abc", 3);
    EXPECT_OK(fsync(fd));
    EXPECT_OK(fdatasync(fd));
    EXPECT_ERRNO(fsync(12345), EBADF);
    EXPECT_OK(pipe(fds));
    EXPECT_ERRNO(fsync(fds[0]), EINVAL);
}
