// SPDX-License-Identifier: MIT
//
// mmap, munmap, msync, memfd_create and brk: results, contents and errors.

#include "check.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int READ_WRITE = PROT_READ | PROT_WRITE;
static const int ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS;

static unsigned char *map_file(int fd, size_t length, int protection, int flags, off_t offset)
{
    void *memory = mmap(NULL, length, protection, flags, fd, offset);
    EXPECT(memory != MAP_FAILED);
    return memory;
}

CASE(anonymous_memory_is_zero)
{
    unsigned char *memory = check_pages(64);
    for (size_t i = 0; i < 64 * PAGE; i++) {
        EXPECT_EQ(memory[i], 0);
    }
}

CASE(private_file_mapping_keeps_writes_to_itself)
{
    int fd = check_file("f", "abcdef", 6);
    unsigned char *memory = map_file(fd, PAGE, READ_WRITE, MAP_PRIVATE, 0);
    memory[0] = 'X';
    char text[7] = {0};
    EXPECT_EQ(pread(fd, text, 6, 0), 6);
    EXPECT_STR(text, "abcdef");
}

CASE(shared_file_mapping_and_file_agree_both_ways)
{
    int fd = check_file("f", "abcdef", 6);
    unsigned char *memory = map_file(fd, PAGE, READ_WRITE, MAP_SHARED, 0);
    memory[0] = 'X';
    char text[7] = {0};
    EXPECT_EQ(pread(fd, text, 6, 0), 6);
    EXPECT_STR(text, "Xbcdef");
    EXPECT_EQ(pwrite(fd, "Y", 1, 5), 1);
    EXPECT_EQ(memory[5], 'Y');
    EXPECT_OK(msync(memory, PAGE, MS_SYNC));
}

CASE(file_mapping_honours_its_offset)
{
    char content[2 * PAGE];
    memset(content, 'a', PAGE);
    memset(content + PAGE, 'b', PAGE);
    int fd = check_file("f", content, sizeof content);
    unsigned char *memory = map_file(fd, PAGE, PROT_READ, MAP_PRIVATE, (off_t)PAGE);
    EXPECT_EQ(memory[0], 'b');
    EXPECT_EQ(memory[PAGE - 1], 'b');
}

CASE(last_page_of_a_file_is_zero_after_its_end)
{
    int fd = check_file("f", "abc", 3);
    unsigned char *memory = map_file(fd, PAGE, PROT_READ, MAP_SHARED, 0);
    EXPECT_EQ(memory[2], 'c');
    for (size_t i = 3; i < PAGE; i++) {
        EXPECT_EQ(memory[i], 0);
    }
}

CASE(file_mapping_outlives_descriptor_and_name)
{
    int fd = check_file("f", "abc", 3);
    unsigned char *memory = map_file(fd, PAGE, READ_WRITE, MAP_SHARED, 0);
    EXPECT_OK(close(fd));
    EXPECT_OK(unlink("f"));
    EXPECT_EQ(memory[1], 'b');
    memory[1] = 'z';
    EXPECT_EQ(memory[1], 'z');
}

CASE(two_mappings_of_one_file_share_pages)
{
    int fd = check_file("f", "abc", 3);
    unsigned char *one = map_file(fd, PAGE, READ_WRITE, MAP_SHARED, 0);
    int again = open("f", O_RDONLY);
    unsigned char *two = map_file(again, PAGE, PROT_READ, MAP_SHARED, 0);
    one[2] = '!';
    EXPECT_EQ(two[2], '!');
}

CASE(mmap_refuses_bad_arguments)
{
    int fd = check_file("f", "abc", 3);
    EXPECT_ERRNO(mmap(NULL, 0, READ_WRITE, ANONYMOUS, -1, 0), EINVAL);
    EXPECT_ERRNO(mmap(NULL, PAGE, READ_WRITE, MAP_ANONYMOUS, -1, 0), EINVAL);
    EXPECT_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
    EXPECT_ERRNO(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 17), EINVAL);
    EXPECT_ERRNO(mmap((void *)0x10001, PAGE, PROT_READ, ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
}

CASE(mmap_of_too_much_is_enomem)
{
    EXPECT_ERRNO(mmap(NULL, (size_t)1 << 47, PROT_NONE, ANONYMOUS | MAP_NORESERVE, -1, 0), ENOMEM);
    EXPECT_ERRNO(mmap(NULL, (size_t)-1, PROT_NONE, ANONYMOUS, -1, 0), ENOMEM);
    EXPECT_ERRNO(mmap(NULL, (size_t)-PAGE, PROT_NONE, ANONYMOUS, -1, 0), ENOMEM);
    void *kernel_half = (void *)0xffff800000000000;
    EXPECT_ERRNO(mmap(kernel_half, PAGE, PROT_READ, ANONYMOUS | MAP_FIXED, -1, 0), ENOMEM);
}

CASE(mmap_checks_how_the_file_was_opened)
{
    close(check_file("f", "abc", 3));
    int reader = open("f", O_RDONLY);
    int writer = open("f", O_WRONLY);
    EXPECT_ERRNO(mmap(NULL, PAGE, READ_WRITE, MAP_SHARED, reader, 0), EACCES);
    EXPECT_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, writer, 0), EACCES);
    EXPECT_ERRNO(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, writer, 0), EACCES);
    unsigned char *memory = map_file(reader, PAGE, READ_WRITE, MAP_PRIVATE, 0);
    memory[0] = 'X';
    unsigned char *shared = map_file(reader, PAGE, PROT_READ, MAP_SHARED, 0);
    EXPECT_ERRNO(mprotect(shared, PAGE, READ_WRITE), EACCES);
}

CASE(mmap_of_what_cannot_be_mapped_is_enodev)
{
    int fds[2];
    EXPECT_OK(pipe(fds));
    EXPECT_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fds[0], 0), ENODEV);
    int directory = (int)EXPECT_OK(open(".", O_RDONLY | O_DIRECTORY));
    EXPECT_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, directory, 0), ENODEV);
}

CASE(map_fixed_replaces_what_was_there)
{
    unsigned char *memory = check_pages(3);
    memset(memory, 'a', 3 * PAGE);
    EXPECT(mmap(memory + PAGE, PAGE, READ_WRITE, ANONYMOUS | MAP_FIXED, -1, 0) == memory + PAGE);
    EXPECT_EQ(memory[PAGE - 1], 'a');
    EXPECT_EQ(memory[PAGE], 0);
    EXPECT_EQ(memory[2 * PAGE], 'a');
}

CASE(map_fixed_noreplace_fits_only_into_a_hole)
{
    unsigned char *memory = check_pages(3);
    int flags = ANONYMOUS | MAP_FIXED_NOREPLACE;
    EXPECT_ERRNO(mmap(memory + PAGE, PAGE, READ_WRITE, flags, -1, 0), EEXIST);
    EXPECT_OK(munmap(memory + PAGE, PAGE));
    EXPECT_ERRNO(mmap(memory + PAGE, 2 * PAGE, READ_WRITE, flags, -1, 0), EEXIST);
    EXPECT(mmap(memory + PAGE, PAGE, READ_WRITE, flags, -1, 0) == memory + PAGE);
}

CASE(mmap_takes_a_free_hint)
{
    unsigned char *memory = check_pages(4);
    EXPECT_OK(munmap(memory + PAGE, PAGE));
    EXPECT(mmap(memory + PAGE, PAGE, READ_WRITE, ANONYMOUS, -1, 0) == memory + PAGE);
    void *elsewhere = mmap(memory + PAGE, PAGE, READ_WRITE, ANONYMOUS, -1, 0);
    EXPECT(elsewhere != MAP_FAILED && elsewhere != memory + PAGE);
}

CASE(munmap_refuses_bad_arguments_and_ignores_holes)
{
    unsigned char *memory = check_pages(2);
    EXPECT_ERRNO(munmap(memory + 1, PAGE), EINVAL);
    EXPECT_ERRNO(munmap(memory, 0), EINVAL);
    EXPECT_ERRNO(munmap((void *)0xffff800000000000, PAGE), EINVAL);
    EXPECT_OK(munmap(memory, 2 * PAGE));
    EXPECT_OK(munmap(memory, 2 * PAGE));
}

CASE(munmap_in_the_middle_keeps_the_neighbours)
{
    unsigned char *memory = check_pages(3);
    memset(memory, 'a', 3 * PAGE);
    EXPECT_OK(munmap(memory + PAGE, 1));
    EXPECT_EQ(memory[0], 'a');
    EXPECT_EQ(memory[2 * PAGE], 'a');
    EXPECT_ERRNO(msync(memory, 3 * PAGE, MS_ASYNC), ENOMEM);
}

CASE(msync_refuses_bad_arguments)
{
    unsigned char *memory = check_pages(1);
    EXPECT_ERRNO(msync(memory, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
    EXPECT_ERRNO(msync(memory + 1, PAGE, MS_SYNC), EINVAL);
    EXPECT_ERRNO(msync(memory, PAGE, 0x80), EINVAL);
    EXPECT_OK(msync(memory, PAGE, MS_SYNC));
}

CASE(private_memory_is_copied_on_write_after_fork)
{
    unsigned char *memory = check_pages(2);
    memory[0] = 'p';
    struct gate changed = gate_new();
    struct gate checked = gate_new();
    pid_t pid;
    CHILD (pid) {
        EXPECT_EQ(memory[0], 'p');
        memory[0] = 'c';
        gate_open(changed);
        gate_wait(checked);
        EXPECT_EQ(memory[0], 'c');
        EXPECT_EQ(memory[PAGE], 0);
    }
    gate_wait(changed);
    EXPECT_EQ(memory[0], 'p');
    memory[PAGE] = 'q';
    gate_open(checked);
    EXPECT_EXITED(pid, 0);
}

CASE(shared_anonymous_memory_stays_shared_after_fork)
{
    unsigned char *memory = mmap(NULL, PAGE, READ_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory != MAP_FAILED);
    pid_t pid;
    CHILD (pid) {
        memory[7] = 'c';
    }
    EXPECT_EXITED(pid, 0);
    EXPECT_EQ(memory[7], 'c');
}

CASE(many_generations_of_fork_keep_their_own_copy)
{
    volatile unsigned char *memory = check_pages(1);
    pid_t first;
    CHILD (first) {
        memory[0] = 1;
        for (unsigned char generation = 1; generation < 8; generation++) {
            pid_t pid = check_fork();
            if (pid != 0) {
                EXPECT_EXITED(pid, 0);
                EXPECT_EQ(memory[0], generation);
                _exit(0);
            }
            memory[0] = (unsigned char)(generation + 1);
        }
    }
    EXPECT_EXITED(first, 0);
    EXPECT_EQ(memory[0], 0);
}

CASE(zero_device_maps_as_anonymous_memory)
{
    int fd = (int)EXPECT_OK(open("/dev/zero", O_RDWR));
    unsigned char *memory = map_file(fd, PAGE, READ_WRITE, MAP_PRIVATE, 0);
    EXPECT_EQ(memory[100], 0);
    memory[100] = 1;
    EXPECT_EQ(memory[100], 1);
}

CASE(madvise_dontneed_forgets_anonymous_and_rereads_file_pages)
{
    unsigned char *anonymous = check_pages(1);
    anonymous[0] = 'a';
    EXPECT_OK(madvise(anonymous, PAGE, MADV_DONTNEED));
    EXPECT_EQ(anonymous[0], 0);
    int fd = check_file("f", "abc", 3);
    unsigned char *file = map_file(fd, PAGE, READ_WRITE, MAP_PRIVATE, 0);
    file[0] = 'X';
    EXPECT_OK(madvise(file, PAGE, MADV_DONTNEED));
    EXPECT_EQ(file[0], 'a');
}

CASE(madvise_refuses_bad_arguments)
{
    unsigned char *memory = check_pages(2);
    EXPECT_ERRNO(madvise(memory + 1, PAGE, MADV_DONTNEED), EINVAL);
    EXPECT_ERRNO(madvise(memory, PAGE, 12345), EINVAL);
    EXPECT_OK(madvise(memory, 0, MADV_DONTNEED));
    EXPECT_OK(munmap(memory + PAGE, PAGE));
    EXPECT_ERRNO(madvise(memory, 2 * PAGE, MADV_DONTNEED), ENOMEM);
}

CASE(memfd_is_a_file_without_a_name)
{
    int fd = (int)EXPECT_OK(memfd_create("scratch", MFD_CLOEXEC));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(lseek(fd, 0, SEEK_END), 0);
    EXPECT_OK(ftruncate(fd, 2 * (off_t)PAGE));
    unsigned char *one = map_file(fd, 2 * PAGE, READ_WRITE, MAP_SHARED, 0);
    unsigned char *two = map_file(fd, PAGE, READ_WRITE, MAP_SHARED, (off_t)PAGE);
    one[PAGE + 3] = 'm';
    EXPECT_EQ(two[3], 'm');
    char byte = 0;
    EXPECT_EQ(pread(fd, &byte, 1, (off_t)PAGE + 3), 1);
    EXPECT_EQ(byte, 'm');
}

CASE(memfd_seals_are_kept)
{
    int fd = (int)EXPECT_OK(memfd_create("sealed", MFD_ALLOW_SEALING));
    EXPECT_EQ(write(fd, "abc", 3), 3);
    EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK));
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
    EXPECT_ERRNO(write(fd, "d", 1), EPERM);
    EXPECT_ERRNO(ftruncate(fd, 100), EPERM);
    EXPECT_ERRNO(ftruncate(fd, 1), EPERM);
    EXPECT_ERRNO(mmap(NULL, PAGE, READ_WRITE, MAP_SHARED, fd, 0), EPERM);
    int unsealable = (int)EXPECT_OK(memfd_create("plain", 0));
    EXPECT_ERRNO(fcntl(unsealable, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
}

CASE(memfd_create_refuses_bad_arguments)
{
    char name[300];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    EXPECT_ERRNO(memfd_create(name, 0), EINVAL);
    EXPECT_ERRNO(memfd_create("x", 0x8000), EINVAL);
    EXPECT_ERRNO(memfd_create(NULL, 0), EFAULT);
}

/// The raw call: glibc's `brk` hides the value that Linux returns.
static uintptr_t raw_brk(uintptr_t address)
{
    return (uintptr_t)syscall(SYS_brk, address);
}

CASE(brk_grows_with_zeroes_and_shrinks)
{
    uintptr_t start = raw_brk(0);
    EXPECT(start != 0);
    EXPECT_EQ(raw_brk(start + 4 * PAGE), start + 4 * PAGE);
    volatile unsigned char *memory = (volatile unsigned char *)start;
    for (size_t i = 0; i < 4 * PAGE; i++) {
        EXPECT_EQ(memory[i], 0);
    }
    memory[3 * PAGE] = 'b';
    EXPECT_EQ(raw_brk(start), start);
    EXPECT_EQ(raw_brk(start + 4 * PAGE), start + 4 * PAGE);
    EXPECT_EQ(memory[3 * PAGE], 0);
    raw_brk(start);
}

CASE(brk_out_of_bounds_changes_nothing)
{
    uintptr_t start = raw_brk(0);
    EXPECT_EQ(raw_brk(1), start);
    EXPECT_EQ(raw_brk(UINTPTR_MAX), start);
    EXPECT_EQ(raw_brk((uintptr_t)1 << 47), start);
}
