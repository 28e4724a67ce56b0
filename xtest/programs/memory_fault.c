// SPDX-License-Identifier: MIT
//
// Page faults that a program can see: signal, code and address; protections; stacks that grow.

#include "check.h"
#include "fault.h"

#include <alloca.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define EXPECT_FAULT(seen, want_signal, want_code, want_address)                                   \
    do {                                                                                           \
        struct fault fault_ = (seen);                                                              \
        EXPECT_EQ(fault_.signal, (want_signal));                                                   \
        EXPECT_EQ(fault_.code, (want_code));                                                       \
        EXPECT(fault_.address == (void *)(want_address));                                          \
    } while (0)

enum { SI_KERNEL_CODE = 0x80 };

CASE(reading_null_is_maperr)
{
    EXPECT_FAULT(fault_of(fault_read, NULL), SIGSEGV, SEGV_MAPERR, NULL);
    EXPECT_FAULT(fault_of(fault_write, (void *)8), SIGSEGV, SEGV_MAPERR, 8);
}

CASE(unmapped_memory_is_maperr_at_the_exact_address)
{
    unsigned char *memory = check_pages(2);
    EXPECT_OK(munmap(memory + PAGE, PAGE));
    EXPECT_FAULT(fault_of(fault_read, memory + PAGE + 123), SIGSEGV, SEGV_MAPERR,
                 memory + PAGE + 123);
    EXPECT_EQ(fault_of(fault_read, memory + PAGE - 1).signal, 0);
}

CASE(writing_read_only_memory_is_accerr)
{
    unsigned char *memory = check_pages(1);
    memory[5] = 'a';
    EXPECT_OK(mprotect(memory, PAGE, PROT_READ));
    EXPECT_FAULT(fault_of(fault_write, memory + 5), SIGSEGV, SEGV_ACCERR, memory + 5);
    EXPECT_EQ(memory[5], 'a');
    EXPECT_OK(mprotect(memory, PAGE, PROT_READ | PROT_WRITE));
    EXPECT_EQ(fault_of(fault_write, memory + 5).signal, 0);
    EXPECT_EQ(memory[5], 1);
}

CASE(prot_none_memory_is_accerr_and_keeps_its_content)
{
    unsigned char *memory = check_pages(1);
    memory[9] = 'k';
    EXPECT_OK(mprotect(memory, PAGE, PROT_NONE));
    EXPECT_FAULT(fault_of(fault_read, memory + 9), SIGSEGV, SEGV_ACCERR, memory + 9);
    EXPECT_OK(mprotect(memory, PAGE, PROT_READ));
    EXPECT_EQ(memory[9], 'k');
}

CASE(executing_data_is_accerr)
{
    unsigned char *memory = check_pages(1);
    memory[0] = 0xc3; // ret
    EXPECT_FAULT(fault_of(fault_call, memory), SIGSEGV, SEGV_ACCERR, memory);
}

CASE(writing_own_code_is_accerr)
{
    unsigned char *code = (unsigned char *)(uintptr_t)fault_of;
    EXPECT_FAULT(fault_of(fault_write, code), SIGSEGV, SEGV_ACCERR, code);
}

CASE(reading_kernel_addresses_is_a_fault)
{
    void *kernel = (void *)0xffff888000000000;
    EXPECT_FAULT(fault_of(fault_read, kernel), SIGSEGV, SEGV_MAPERR, kernel);
}

CASE(noncanonical_address_has_no_fault_address)
{
    void *hole = (void *)0x8000000000000000;
    EXPECT_FAULT(fault_of(fault_read, hole), SIGSEGV, SI_KERNEL_CODE, NULL);
}

CASE(mapping_past_the_end_of_a_file_is_sigbus)
{
    int fd = check_file("f", "abc", 3);
    unsigned char *memory = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT_EQ(memory[0], 'a');
    EXPECT_FAULT(fault_of(fault_read, memory + PAGE + 1), SIGBUS, BUS_ADRERR, memory + PAGE + 1);
    EXPECT_OK(ftruncate(fd, 2 * (off_t)PAGE));
    EXPECT_EQ(fault_of(fault_read, memory + PAGE + 1).signal, 0);
}

CASE(truncation_takes_mapped_pages_away)
{
    int fd = check_file("f", "", 0);
    EXPECT_OK(ftruncate(fd, 2 * (off_t)PAGE));
    unsigned char *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memory[PAGE] = 'x';
    memory[7] = 'y';
    EXPECT_OK(ftruncate(fd, 4));
    EXPECT_FAULT(fault_of(fault_read, memory + PAGE), SIGBUS, BUS_ADRERR, memory + PAGE);
    EXPECT_EQ(memory[7], 0);
    char byte;
    EXPECT_ERRNO(pwrite(fd, memory + PAGE, 1, 0), EFAULT);
    EXPECT_EQ(pread(fd, &byte, 1, 0), 1);
}

CASE(mprotect_splits_a_mapping)
{
    unsigned char *memory = check_pages(3);
    EXPECT_OK(mprotect(memory + PAGE, PAGE, PROT_READ));
    EXPECT_EQ(fault_of(fault_write, memory).signal, 0);
    EXPECT_FAULT(fault_of(fault_write, memory + PAGE), SIGSEGV, SEGV_ACCERR, memory + PAGE);
    EXPECT_EQ(fault_of(fault_write, memory + 2 * PAGE).signal, 0);
}

CASE(mprotect_refuses_bad_arguments)
{
    unsigned char *memory = check_pages(3);
    EXPECT_ERRNO(mprotect(memory + 1, PAGE, PROT_READ), EINVAL);
    EXPECT_ERRNO(mprotect(memory, PAGE, 0x800), EINVAL);
    EXPECT_OK(mprotect(memory, 0, PROT_READ));
    EXPECT_OK(munmap(memory + PAGE, PAGE));
    EXPECT_ERRNO(mprotect(memory, 3 * PAGE, PROT_READ), ENOMEM);
    // Linux has changed what came before the hole.
    EXPECT_FAULT(fault_of(fault_write, memory), SIGSEGV, SEGV_ACCERR, memory);
}

#ifdef __x86_64__
/// mov eax, <value>; ret
static void emit_return(unsigned char *code, unsigned char value)
{
    const unsigned char bytes[] = {0xb8, value, 0, 0, 0, 0xc3};
    memcpy(code, bytes, sizeof bytes);
}
#else
/// mov w0, #<value>; ret
static void emit_return(unsigned char *code, unsigned char value)
{
    const uint32_t words[] = {0x52800000u | (uint32_t)value << 5, 0xd65f03c0u};
    memcpy(code, words, sizeof words);
    __builtin___clear_cache((char *)code, (char *)code + sizeof words);
}
#endif

static int call(const unsigned char *code)
{
    int (*function)(void);
    memcpy(&function, &code, sizeof function);
    return function();
}

CASE(generated_code_runs_after_mprotect)
{
    unsigned char *code = check_pages(1);
    emit_return(code, 42);
    EXPECT_OK(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
    EXPECT_EQ(call(code), 42);
    EXPECT_FAULT(fault_of(fault_write, code), SIGSEGV, SEGV_ACCERR, code);
}

CASE(generated_code_can_be_rewritten_in_rwx_memory)
{
    int all = PROT_READ | PROT_WRITE | PROT_EXEC;
    unsigned char *code = mmap(NULL, PAGE, all, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(code != MAP_FAILED);
    for (unsigned char value = 1; value < 100; value++) {
        emit_return(code, value);
        EXPECT_EQ(call(code), value);
    }
}

CASE(system_calls_get_efault_where_programs_get_signals)
{
    unsigned char *memory = check_pages(2);
    EXPECT_OK(mprotect(memory, PAGE, PROT_NONE));
    EXPECT_OK(mprotect(memory + PAGE, PAGE, PROT_READ));
    int zero = (int)EXPECT_OK(open("/dev/zero", O_RDONLY));
    EXPECT_ERRNO(read(zero, memory, 16), EFAULT);
    EXPECT_ERRNO(read(zero, memory + PAGE, 16), EFAULT);
    int fd = check_file("f", "", 0);
    EXPECT_ERRNO(write(fd, memory, 16), EFAULT);
    EXPECT_EQ(write(fd, memory + PAGE, 16), 16);
}

CASE(transfer_stops_where_the_buffer_stops)
{
    unsigned char *memory = check_pages(2);
    EXPECT_OK(munmap(memory + PAGE, PAGE));
    int fd = check_file("f", "", 0);
    EXPECT_EQ(write(fd, memory, 2 * PAGE), PAGE);
    EXPECT_EQ(write(fd, memory, PAGE), PAGE);
    EXPECT_EQ(pread(fd, memory, 2 * PAGE, 0), PAGE);
}

/// Touches `depth` frames of at least one page each.
static __attribute__((noinline)) unsigned touch_stack(unsigned depth)
{
    volatile unsigned char *frame = alloca(PAGE);
    frame[0] = (unsigned char)depth;
    unsigned below = depth > 1 ? touch_stack(depth - 1) : 0;
    return below + (frame[0] == (unsigned char)depth);
}

CASE(main_stack_grows_by_megabytes)
{
    EXPECT_EQ(touch_stack(1000), 1000);
}

static void overflow_stack(void *argument)
{
    (void)argument;
    touch_stack(1u << 30);
}

CASE(stack_overflow_is_sigsegv_on_the_alternate_stack)
{
    struct rlimit limit = {1 << 20, 1 << 20};
    EXPECT_OK(setrlimit(RLIMIT_STACK, &limit));
    EXPECT_EQ(fault_of(overflow_stack, NULL).signal, SIGSEGV);
}

CASE(growsdown_mapping_grows_on_touch)
{
    // Room below, so that neither another mapping nor its guard gap is in the way.
    unsigned char *room = check_pages(1024);
    unsigned char *top = room + 1023 * PAGE;
    EXPECT_OK(munmap(room, 1024 * PAGE));
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN;
    EXPECT(mmap(top, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) == top);
    for (size_t i = 0; i < 8; i++) {
        fault_write(top - i * PAGE);
    }
}

CASE(populated_memory_is_there_and_zero)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    unsigned char *memory = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    EXPECT(memory != MAP_FAILED);
    for (size_t i = 0; i < 16; i++) {
        EXPECT_EQ(memory[i * PAGE], 0);
    }
}
