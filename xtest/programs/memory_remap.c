// SPDX-License-Identifier: MIT
//
// mremap: shrinking, growing, moving, and what it refuses.

#include "check.h"
#include "fault.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

CASE(mremap_shrinks_in_place)
{
    unsigned char *memory = check_pages(4);
    memory[0] = 'a';
    EXPECT(mremap(memory, 4 * PAGE, PAGE, 0) == memory);
    EXPECT_EQ(memory[0], 'a');
    EXPECT_EQ(fault_of(fault_read, memory + PAGE).code, SEGV_MAPERR);
}

CASE(mremap_grows_into_free_space)
{
    unsigned char *memory = check_pages(4);
    memory[0] = 'a';
    EXPECT_OK(munmap(memory + PAGE, 3 * PAGE));
    EXPECT(mremap(memory, PAGE, 4 * PAGE, 0) == memory);
    EXPECT_EQ(memory[0], 'a');
    EXPECT_EQ(memory[3 * PAGE], 0);
}

CASE(mremap_does_not_grow_over_a_neighbour)
{
    unsigned char *memory = check_pages(2);
    // A different protection keeps the neighbour a mapping of its own.
    EXPECT_OK(mprotect(memory + PAGE, PAGE, PROT_READ));
    EXPECT_ERRNO(mremap(memory, PAGE, 2 * PAGE, 0), ENOMEM);
}

CASE(mremap_moves_when_it_may)
{
    unsigned char *memory = check_pages(2);
    memory[0] = 'a';
    memory[PAGE - 1] = 'z';
    EXPECT_OK(mprotect(memory + PAGE, PAGE, PROT_READ));
    unsigned char *moved = mremap(memory, PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    EXPECT(moved != MAP_FAILED && moved != memory);
    EXPECT_EQ(moved[0], 'a');
    EXPECT_EQ(moved[PAGE - 1], 'z');
    EXPECT_EQ(moved[63 * PAGE], 0);
    EXPECT_EQ(fault_of(fault_read, memory).code, SEGV_MAPERR);
}

CASE(mremap_fixed_replaces_its_target)
{
    unsigned char *memory = check_pages(1);
    unsigned char *target = check_pages(3);
    memory[0] = 's';
    memset(target, 't', 3 * PAGE);
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    EXPECT(mremap(memory, PAGE, PAGE, flags, target + PAGE) == target + PAGE);
    EXPECT_EQ(target[0], 't');
    EXPECT_EQ(target[PAGE], 's');
    EXPECT_EQ(target[PAGE + 1], 0);
    EXPECT_EQ(target[2 * PAGE], 't');
}

CASE(mremap_refuses_bad_arguments)
{
    unsigned char *memory = check_pages(4);
    int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
    EXPECT_ERRNO(mremap(memory + 1, PAGE, PAGE, 0), EINVAL);
    EXPECT_ERRNO(mremap(memory, PAGE, 0, 0), EINVAL);
    EXPECT_ERRNO(mremap(memory, PAGE, PAGE, 0x100), EINVAL);
    EXPECT_ERRNO(mremap(memory, PAGE, PAGE, MREMAP_FIXED, memory + 2 * PAGE), EINVAL);
    EXPECT_ERRNO(mremap(memory, 2 * PAGE, 2 * PAGE, fixed, memory + PAGE), EINVAL);
    EXPECT_ERRNO(mremap(memory, PAGE, PAGE, fixed, memory + 2 * PAGE + 1), EINVAL);
}

CASE(mremap_of_unmapped_memory_is_efault)
{
    unsigned char *memory = check_pages(2);
    EXPECT_OK(munmap(memory + PAGE, PAGE));
    EXPECT_ERRNO(mremap(memory + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
    EXPECT_ERRNO(mremap(memory, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE), EFAULT);
}

CASE(mremap_keeps_shared_memory_shared)
{
    int flags = MAP_SHARED | MAP_ANONYMOUS;
    unsigned char *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    EXPECT(memory != MAP_FAILED);
    unsigned char *target = check_pages(1);
    int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
    pid_t pid;
    struct gate go = gate_new();
    CHILD (pid) {
        gate_wait(go);
        memory[0] = 'c';
    }
    EXPECT(mremap(memory, PAGE, PAGE, fixed, target) == target);
    gate_open(go);
    EXPECT_EXITED(pid, 0);
    EXPECT_EQ(target[0], 'c');
}

CASE(mremap_too_large_is_enomem)
{
    unsigned char *memory = check_pages(1);
    size_t almost_everything = ((size_t)1 << 47) - 2 * PAGE;
    memory[0] = 'k';
    EXPECT_ERRNO(mremap(memory, PAGE, almost_everything, MREMAP_MAYMOVE), ENOMEM);
    EXPECT_EQ(memory[0], 'k');
}
