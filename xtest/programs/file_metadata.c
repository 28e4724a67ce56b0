// SPDX-License-Identifier: MIT
//
// What a file is besides its bytes: stat, statx, modes, owners, times, access.

#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static mode_t mode_of(const char *path)
{
    struct stat status;
    EXPECT_OK(lstat(path, &status));
    return status.st_mode;
}

CASE(stat_describes_a_file)
{
    struct stat status;
    umask(022);
    int fd = check_file("f", "abcdef", 6);
    EXPECT_OK(fstat(fd, &status));
    EXPECT_EQ(status.st_mode, S_IFREG | 0644);
    EXPECT_EQ(status.st_size, 6);
    EXPECT_EQ(status.st_nlink, 1);
    EXPECT_EQ(status.st_uid, getuid());
    EXPECT(status.st_blksize >= 512);
    struct stat by_name;
    EXPECT_OK(stat("f", &by_name));
    EXPECT_EQ(by_name.st_ino, status.st_ino);
    EXPECT_EQ(by_name.st_dev, status.st_dev);
    EXPECT_ERRNO(stat("missing", &status), ENOENT);
    EXPECT_ERRNO(fstat(12345, &status), EBADF);
    EXPECT_ERRNO(syscall(SYS_newfstatat, AT_FDCWD, "f", (void *)8, 0), EFAULT);
}

CASE(stat_tells_kinds_apart)
{
    struct stat status;
    int fds[2];
    EXPECT_OK(symlink("x", "link"));
    EXPECT_OK(mkdir("d", 0755));
    EXPECT_OK(mkfifo("fifo", 0600));
    EXPECT_OK(pipe(fds));
    EXPECT(S_ISLNK(mode_of("link")));
    EXPECT(S_ISDIR(mode_of("d")));
    EXPECT(S_ISFIFO(mode_of("fifo")));
    EXPECT_OK(fstat(fds[0], &status));
    EXPECT(S_ISFIFO(status.st_mode));
    EXPECT_OK(stat("/dev/null", &status));
    EXPECT(S_ISCHR(status.st_mode));
    EXPECT_EQ(status.st_rdev, makedev(1, 3));
    EXPECT_OK(lstat("link", &status));
    EXPECT_EQ(status.st_size, 1);
}

CASE(fstatat_takes_flags)
{
    struct stat status;
    int fd = check_file("f", "abc", 3);
    EXPECT_OK(symlink("f", "link"));
    EXPECT_OK(fstatat(fd, "", &status, AT_EMPTY_PATH));
    EXPECT_EQ(status.st_size, 3);
    EXPECT_ERRNO(fstatat(AT_FDCWD, "", &status, 0), ENOENT);
    EXPECT_OK(fstatat(AT_FDCWD, "link", &status, AT_SYMLINK_NOFOLLOW));
    EXPECT(S_ISLNK(status.st_mode));
    EXPECT_ERRNO(fstatat(AT_FDCWD, "f", &status, 0x8), EINVAL);
    EXPECT_ERRNO(fstatat(fd, "x", &status, 0), ENOTDIR);
}

CASE(statx_agrees_with_stat)
{
    struct statx extended;
    struct stat status;
    int fd = check_file("f", "abcdef", 6);
    EXPECT_OK(fstat(fd, &status));
    EXPECT_OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &extended));
    EXPECT_EQ(extended.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
    EXPECT_EQ(extended.stx_mode, status.st_mode);
    EXPECT_EQ(extended.stx_size, 6);
    EXPECT_EQ(extended.stx_ino, status.st_ino);
    EXPECT_EQ(extended.stx_mtime.tv_sec, status.st_mtim.tv_sec);
    EXPECT_EQ(extended.stx_mtime.tv_nsec, status.st_mtim.tv_nsec);
    EXPECT_EQ(makedev(extended.stx_dev_major, extended.stx_dev_minor), status.st_dev);
    EXPECT_ERRNO(statx(AT_FDCWD, "f", 0x8, STATX_ALL, &extended), EINVAL);
    EXPECT_ERRNO(statx(AT_FDCWD, "f", 0, 0x80000000, &extended), EINVAL);
    EXPECT_ERRNO(statx(AT_FDCWD, "missing", 0, STATX_ALL, &extended), ENOENT);
}

CASE(umask_limits_creation)
{
    umask(027);
    EXPECT_EQ(umask(027), 027);
    close((int)EXPECT_OK(open("f", O_CREAT | O_RDWR, 0777)));
    EXPECT_OK(mkdir("d", 0777));
    EXPECT_EQ(mode_of("f") & 07777, 0750);
    EXPECT_EQ(mode_of("d") & 07777, 0750);
    umask(0777);
    EXPECT_EQ(umask(0), 0777);
}

CASE(chmod_changes_modes)
{
    int fd = check_file("f", "", 0);
    EXPECT_OK(chmod("f", 04711));
    EXPECT_EQ(mode_of("f"), S_IFREG | 04711);
    EXPECT_OK(fchmod(fd, 0600));
    EXPECT_EQ(mode_of("f"), S_IFREG | 0600);
    EXPECT_OK(symlink("f", "link"));
    EXPECT_OK(fchmodat(AT_FDCWD, "link", 0640, 0));
    EXPECT_EQ(mode_of("f"), S_IFREG | 0640);
    EXPECT_ERRNO(chmod("missing", 0600), ENOENT);
    EXPECT_ERRNO(fchmod(12345, 0600), EBADF);
    EXPECT_ERRNO(syscall(SYS_fchmodat, AT_FDCWD, 8, 0600), EFAULT);
}

CASE(chown_changes_owners_and_drops_setuid)
{
    struct stat status;
    int fd = check_file("f", "", 0);
    EXPECT_OK(chmod("f", 06755));
    EXPECT_OK(chown("f", 1000, 1001));
    EXPECT_OK(fstat(fd, &status));
    EXPECT_EQ(status.st_uid, 1000);
    EXPECT_EQ(status.st_gid, 1001);
    EXPECT_EQ(status.st_mode & 07777, 0755);
    EXPECT_OK(fchown(fd, (uid_t)-1, 5));
    EXPECT_OK(fstat(fd, &status));
    EXPECT_EQ(status.st_uid, 1000);
    EXPECT_EQ(status.st_gid, 5);
    EXPECT_OK(symlink("f", "link"));
    EXPECT_OK(lchown("link", 7, 8));
    EXPECT_OK(lstat("link", &status));
    EXPECT_EQ(status.st_uid, 7);
    EXPECT_ERRNO(chown("missing", 0, 0), ENOENT);
    EXPECT_ERRNO(fchownat(AT_FDCWD, "f", 0, 0, 0x8), EINVAL);
}

CASE(times_are_set_exactly)
{
    struct stat status;
    int fd = check_file("f", "", 0);
    struct timespec times[2] = {{1000, 1}, {2000, 999999999}};
    EXPECT_OK(futimens(fd, times));
    EXPECT_OK(fstat(fd, &status));
    EXPECT_EQ(status.st_atim.tv_sec, 1000);
    EXPECT_EQ(status.st_atim.tv_nsec, 1);
    EXPECT_EQ(status.st_mtim.tv_sec, 2000);
    EXPECT_EQ(status.st_mtim.tv_nsec, 999999999);
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_nsec = UTIME_NOW;
    EXPECT_OK(utimensat(AT_FDCWD, "f", times, 0));
    EXPECT_OK(fstat(fd, &status));
    EXPECT_EQ(status.st_atim.tv_sec, 1000);
    EXPECT(status.st_mtim.tv_sec > 2000);
    times[1].tv_nsec = 1000000000;
    EXPECT_ERRNO(futimens(fd, times), EINVAL);
    EXPECT_ERRNO(utimensat(AT_FDCWD, "missing", NULL, 0), ENOENT);
    EXPECT_ERRNO(utimensat(AT_FDCWD, "f", NULL, 0x8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_utimensat, AT_FDCWD, "f", 8, 0), EFAULT);
}

CASE(link_times_are_its_own)
{
    struct stat status;
    close(check_file("f", "", 0));
    EXPECT_OK(symlink("f", "link"));
    struct timespec times[2] = {{10, 0}, {20, 0}};
    EXPECT_OK(utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW));
    EXPECT_OK(lstat("link", &status));
    EXPECT_EQ(status.st_mtim.tv_sec, 20);
    EXPECT_OK(stat("f", &status));
    EXPECT(status.st_mtim.tv_sec > 20);
}

CASE(writing_moves_the_modification_time)
{
    struct stat before;
    struct stat after;
    int fd = check_file("f", "", 0);
    struct timespec old[2] = {{1, 0}, {1, 0}};
    EXPECT_OK(futimens(fd, old));
    EXPECT_OK(fstat(fd, &before));
    EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT_OK(fstat(fd, &after));
    EXPECT(after.st_mtim.tv_sec > before.st_mtim.tv_sec);
    EXPECT_OK(mkdir("d", 0755));
    EXPECT_OK(utimensat(AT_FDCWD, "d", old, 0));
    close(check_file("d/x", "", 0));
    EXPECT_OK(stat("d", &after));
    EXPECT(after.st_mtim.tv_sec > 1);
}

CASE(access_as_root_asks_for_one_execute_bit)
{
    close(check_file("f", "", 0));
    EXPECT_OK(chmod("f", 0));
    EXPECT_OK(access("f", R_OK | W_OK));
    EXPECT_ERRNO(access("f", X_OK), EACCES);
    EXPECT_OK(chmod("f", 0001));
    EXPECT_OK(access("f", X_OK));
    EXPECT_ERRNO(access("missing", F_OK), ENOENT);
    EXPECT_ERRNO(access("f", 8), EINVAL);
    EXPECT_ERRNO(access("f/x", F_OK), ENOTDIR);
    EXPECT_OK(symlink("missing", "link"));
    EXPECT_ERRNO(faccessat(AT_FDCWD, "link", F_OK, 0), ENOENT);
    EXPECT_OK(faccessat(AT_FDCWD, "link", F_OK, AT_SYMLINK_NOFOLLOW));
    EXPECT_ERRNO(syscall(SYS_faccessat2, AT_FDCWD, "f", F_OK, 0x8), EINVAL);
}

CASE(other_users_meet_permissions)
{
    close(check_file("secret", "s", 1));
    EXPECT_OK(chmod("secret", 0600));
    EXPECT_OK(mkdir("closed", 0700));
    EXPECT_OK(chmod(".", 0755));
    pid_t pid;
    CHILD (pid) {
        EXPECT_OK(setresgid(1000, 1000, 1000));
        EXPECT_OK(setresuid(1000, 1000, 1000));
        EXPECT_EQ(geteuid(), 1000);
        EXPECT_ERRNO(open("secret", O_RDONLY), EACCES);
        EXPECT_ERRNO(open("new", O_CREAT | O_RDWR, 0600), EACCES);
        EXPECT_ERRNO(open("closed/x", O_RDONLY), EACCES);
        EXPECT_ERRNO(unlink("secret"), EACCES);
        EXPECT_ERRNO(chmod("secret", 0777), EPERM);
        EXPECT_ERRNO(chown("secret", 1000, 1000), EPERM);
        EXPECT_ERRNO(setresuid(0, 0, 0), EPERM);
        EXPECT_ERRNO(kill(getppid(), SIGTERM), EPERM);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(statfs_describes_the_file_system)
{
    struct statfs status;
    EXPECT_OK(statfs(".", &status));
    EXPECT(status.f_bsize > 0);
    EXPECT(status.f_namelen >= 255);
    EXPECT_OK(statfs("/proc", &status));
    EXPECT_EQ(status.f_type, 0x9fa0);
    EXPECT_ERRNO(statfs("missing", &status), ENOENT);
    EXPECT_ERRNO(fstatfs(12345, &status), EBADF);
}
