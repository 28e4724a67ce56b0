// SPDX-License-Identifier: MIT
//
// Hostile ELF files: every one is refused with a clean error or its process dies; nothing hangs.
//
// A small valid program is laid out in memory; each case damages one thing, writes it and executes
// it. The child passes on the errno of a failed `execve` as its exit status. Linux answers ENOEXEC
// before it commits to the new program; after that, only a signal is left.

#include "check.h"

#include <elf.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CODE_OFFSET = 0x200,
    INTERPRETER_OFFSET = 0x300,
    IMAGE_BYTES = 0x1000,
    PROGRAM_STATUS = 200, // what the undamaged program exits with: no errno
    OUTCOME_KILLED = -1,
    OUTCOME_RAN = 0,
};

static const uint64_t BASE = 0x40000000;

/// The file under construction. The length may be cut before it is written.
struct image {
    size_t length;
    Elf64_Phdr *headers;
    union {
        unsigned char bytes[IMAGE_BYTES];
        Elf64_Ehdr elf;
    };
};

#ifdef __x86_64__
enum { MACHINE = EM_X86_64 };
/// mov edi, PROGRAM_STATUS; mov eax, 231 (exit_group); syscall
static const unsigned char code[] = {0xbf, PROGRAM_STATUS, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05};
#else
enum { MACHINE = EM_AARCH64 };
/// mov x0, #PROGRAM_STATUS; mov x8, #94 (exit_group); svc #0
static const uint32_t code[] = {0xd2800000 | PROGRAM_STATUS << 5, 0xd2800bc8, 0xd4000001};
#endif

static struct image *new_image(void)
{
    static struct image image;
    memset(&image, 0, sizeof image);
    image.length = IMAGE_BYTES;
    memcpy(image.elf.e_ident, ELFMAG, SELFMAG);
    image.elf.e_ident[EI_CLASS] = ELFCLASS64;
    image.elf.e_ident[EI_DATA] = ELFDATA2LSB;
    image.elf.e_ident[EI_VERSION] = EV_CURRENT;
    image.elf.e_type = ET_EXEC;
    image.elf.e_machine = MACHINE;
    image.elf.e_version = EV_CURRENT;
    image.elf.e_entry = BASE + CODE_OFFSET;
    image.elf.e_phoff = sizeof(Elf64_Ehdr);
    image.elf.e_ehsize = sizeof(Elf64_Ehdr);
    image.elf.e_phentsize = sizeof(Elf64_Phdr);
    image.elf.e_phnum = 1;
    image.headers = (Elf64_Phdr *)(image.bytes + sizeof(Elf64_Ehdr));
    image.headers[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                                    .p_flags = PF_R | PF_X,
                                    .p_vaddr = BASE,
                                    .p_paddr = BASE,
                                    .p_filesz = IMAGE_BYTES,
                                    .p_memsz = IMAGE_BYTES,
                                    .p_align = PAGE};
    memcpy(image.bytes + CODE_OFFSET, code, sizeof code);
    return &image;
}

/// A second header, which the case fills in.
static Elf64_Phdr *add_header(struct image *image)
{
    return &image->headers[image->elf.e_phnum++];
}

static struct image *image_with_interpreter(const char *path)
{
    struct image *image = new_image();
    memcpy(image->bytes + INTERPRETER_OFFSET, path, strlen(path) + 1);
    *add_header(image) = (Elf64_Phdr){.p_type = PT_INTERP,
                                      .p_flags = PF_R,
                                      .p_offset = INTERPRETER_OFFSET,
                                      .p_filesz = strlen(path) + 1,
                                      .p_memsz = strlen(path) + 1};
    return image;
}

/// Writes and executes: OUTCOME_RAN, OUTCOME_KILLED or the errno of `execve`.
static int outcome_of(const struct image *image)
{
    int fd = check_file("program", image->bytes, image->length);
    EXPECT_OK(fchmod(fd, 0755));
    EXPECT_OK(close(fd));
    pid_t pid = check_fork();
    if (pid == 0) {
        char *arguments[] = {"program", NULL};
        char *environment[] = {NULL};
        alarm(5);
        execve("program", arguments, environment);
        _exit(errno);
    }
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        EXPECT(WTERMSIG(status) != SIGALRM);
        return OUTCOME_KILLED;
    }
    return WEXITSTATUS(status) == PROGRAM_STATUS ? OUTCOME_RAN : WEXITSTATUS(status);
}

/// Refused with one of these errors, or killed, but not run.
static void expect_refused(const struct image *image)
{
    int outcome = outcome_of(image);
    EXPECT(outcome == OUTCOME_KILLED || outcome == ENOEXEC || outcome == EINVAL ||
           outcome == ENOMEM || outcome == EIO || outcome == ENOENT || outcome == EACCES ||
           outcome == EFAULT || outcome == ELIBBAD || outcome == E2BIG || outcome == EPERM);
}

CASE(undamaged_program_runs)
{
    EXPECT_EQ(outcome_of(new_image()), OUTCOME_RAN);
}

CASE(file_cut_inside_the_magic_or_header)
{
    static const size_t lengths[] = {1, 3, 4, 5, 15, 16, 18, 24, 32, 40, 52, 56, 63};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct image *image = new_image();
        image->length = lengths[i];
        EXPECT_EQ(outcome_of(image), ENOEXEC);
    }
}

CASE(file_cut_inside_the_program_headers)
{
    static const size_t lengths[] = {64, 65, 72, 96, 119};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct image *image = new_image();
        image->length = lengths[i];
        expect_refused(image);
    }
}

CASE(file_cut_inside_the_segment)
{
    // The first page exists, with zeroes where the code was; the second is past the end.
    struct image *image = new_image();
    image->length = 0x180;
    expect_refused(image);
    image = new_image();
    image->headers[0].p_filesz = 3 * PAGE;
    image->headers[0].p_memsz = 3 * PAGE;
    image->elf.e_entry = BASE + 2 * PAGE;
    EXPECT_EQ(outcome_of(image), OUTCOME_KILLED);
}

CASE(wrong_magic_is_enoexec)
{
    for (int i = 0; i < SELFMAG; i++) {
        struct image *image = new_image();
        image->bytes[i] ^= 0x20;
        EXPECT_EQ(outcome_of(image), ENOEXEC);
    }
}

CASE(wrong_machine_is_enoexec)
{
    static const uint16_t machines[] = {EM_NONE, EM_SPARC, EM_MIPS, EM_PPC64, EM_RISCV, 0xffff};
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        struct image *image = new_image();
        image->elf.e_machine = machines[i];
        EXPECT_EQ(outcome_of(image), ENOEXEC);
    }
}

CASE(wrong_class_or_byte_order_does_not_run_well)
{
    // Linux does not look at these bytes in a file of the right machine; refusing is as good.
    struct image *image = new_image();
    image->elf.e_ident[EI_CLASS] = ELFCLASS32;
    int outcome = outcome_of(image);
    EXPECT(outcome == OUTCOME_RAN || outcome == ENOEXEC);
    image = new_image();
    image->elf.e_ident[EI_DATA] = ELFDATA2MSB;
    outcome = outcome_of(image);
    EXPECT(outcome == OUTCOME_RAN || outcome == ENOEXEC);
}

CASE(wrong_type_is_enoexec)
{
    static const uint16_t types[] = {ET_NONE, ET_REL, ET_CORE, 0xfe00, 0xffff};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct image *image = new_image();
        image->elf.e_type = types[i];
        EXPECT_EQ(outcome_of(image), ENOEXEC);
    }
}

CASE(wrong_header_entry_size_is_enoexec)
{
    static const uint16_t sizes[] = {0, 1, 32, 55, 57, 0xffff};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct image *image = new_image();
        image->elf.e_phentsize = sizes[i];
        EXPECT_EQ(outcome_of(image), ENOEXEC);
    }
}

CASE(senseless_header_count_is_refused)
{
    static const uint16_t counts[] = {0, 1171, 2000, 0x7fff, PN_XNUM};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct image *image = new_image();
        image->elf.e_phnum = counts[i];
        EXPECT_EQ(outcome_of(image), ENOEXEC);
    }
}

CASE(program_headers_out_of_the_file_are_refused)
{
    static const uint64_t offsets[] = {IMAGE_BYTES, IMAGE_BYTES - 8,  1ull << 32,
                                       INT64_MAX,   INT64_MAX - 0x37, 1ull << 63,
                                       UINT64_MAX,  UINT64_MAX - 8};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        struct image *image = new_image();
        image->elf.e_phoff = offsets[i];
        expect_refused(image);
    }
}

CASE(no_loadable_segment_is_refused)
{
    struct image *image = new_image();
    image->headers[0].p_type = PT_NOTE;
    expect_refused(image);
}

CASE(file_size_above_memory_size_is_refused)
{
    struct image *image = new_image();
    image->headers[0].p_memsz = 16;
    expect_refused(image);
    image = new_image();
    image->headers[0].p_filesz = UINT64_MAX;
    expect_refused(image);
    image = new_image();
    image->headers[0].p_filesz = 1ull << 47;
    image->headers[0].p_memsz = 1ull << 47;
    expect_refused(image);
}

CASE(huge_memory_size_is_refused)
{
    static const uint64_t sizes[] = {1ull << 46, 1ull << 47, 1ull << 62,
                                     INT64_MAX,  UINT64_MAX, UINT64_MAX - 0xfff};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct image *image = new_image();
        image->headers[0].p_memsz = sizes[i];
        image->headers[0].p_flags |= PF_W;
        expect_refused(image);
    }
}

static struct image *image_at(uint64_t address)
{
    struct image *image = new_image();
    image->headers[0].p_vaddr = address;
    image->headers[0].p_memsz = 2 * PAGE;
    image->elf.e_entry = address + CODE_OFFSET;
    return image;
}

CASE(segment_in_the_kernel_or_wrapping_is_refused)
{
    static const uint64_t addresses[] = {0xffff800000000000, 0xffffffff81000000, 0xfffffffffffff000,
                                         0xfffffffffff000,   1ull << 56,         1ull << 63};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        expect_refused(image_at(addresses[i]));
    }
}

CASE(segment_at_the_end_of_user_space_does_no_harm)
{
    // With five levels of page tables these are ordinary addresses.
    static const uint64_t addresses[] = {0x7fffffffe000, 0x7ffffffff000, 0x800000000000};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        struct image *image = image_at(addresses[i]);
        if (outcome_of(image) != OUTCOME_RAN) {
            expect_refused(image);
        }
    }
}

CASE(address_and_offset_that_disagree_within_a_page_are_refused)
{
    struct image *image = new_image();
    image->headers[0].p_offset = 8;
    expect_refused(image);
}

CASE(segment_offset_out_of_range_is_refused)
{
    static const uint64_t offsets[] = {1ull << 40, INT64_MAX - 0xfff, 1ull << 63,
                                       UINT64_MAX - 0xfff};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        struct image *image = new_image();
        image->headers[0].p_offset = offsets[i];
        expect_refused(image);
    }
}

CASE(overlapping_segments_do_no_harm)
{
    struct image *image = new_image();
    *add_header(image) = image->headers[0];
    int outcome = outcome_of(image);
    EXPECT(outcome == OUTCOME_RAN || outcome == ENOEXEC || outcome == EEXIST ||
           outcome == OUTCOME_KILLED);
}

CASE(segments_in_falling_order_do_no_harm)
{
    struct image *image = new_image();
    Elf64_Phdr *second = add_header(image);
    *second = image->headers[0];
    second->p_vaddr = BASE - 16 * PAGE;
    int outcome = outcome_of(image);
    EXPECT(outcome == OUTCOME_RAN || outcome == ENOEXEC || outcome == EINVAL ||
           outcome == OUTCOME_KILLED);
}

CASE(odd_alignment_of_a_fixed_program_does_no_harm)
{
    static const uint64_t alignments[] = {0,          1,          3,          4097,
                                          1ull << 21, 1ull << 40, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        struct image *image = new_image();
        image->headers[0].p_align = alignments[i];
        int outcome = outcome_of(image);
        EXPECT(outcome == OUTCOME_RAN || outcome == ENOEXEC || outcome == EINVAL);
    }
}

CASE(odd_alignment_of_a_movable_program_does_no_harm)
{
    static const uint64_t alignments[] = {0, 3, 4097, 1ull << 40, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        struct image *image = new_image();
        image->elf.e_type = ET_DYN;
        image->elf.e_entry = CODE_OFFSET;
        image->headers[0].p_vaddr = 0;
        image->headers[0].p_align = alignments[i];
        int outcome = outcome_of(image);
        EXPECT(outcome == OUTCOME_RAN || outcome == ENOEXEC || outcome == EINVAL ||
               outcome == ENOMEM || outcome == OUTCOME_KILLED);
    }
}

CASE(entry_outside_the_program_kills)
{
    static const uint64_t entries[] = {0, 8, BASE + 0x100000, 0xffffffff81000000, 1ull << 63};
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        struct image *image = new_image();
        image->elf.e_entry = entries[i];
        expect_refused(image);
    }
}

CASE(program_without_execute_permission_is_killed)
{
    struct image *image = new_image();
    image->headers[0].p_flags = PF_R;
    EXPECT_EQ(outcome_of(image), OUTCOME_KILLED);
    image->headers[0].p_flags = 0;
    EXPECT_EQ(outcome_of(image), OUTCOME_KILLED);
}

CASE(missing_interpreter_is_enoent)
{
    EXPECT_EQ(outcome_of(image_with_interpreter("/no/such/interpreter")), ENOENT);
}

CASE(unusable_interpreter_is_refused)
{
    EXPECT_EQ(outcome_of(image_with_interpreter("/tmp")), EACCES);
    EXPECT_EQ(outcome_of(image_with_interpreter("/dev/null")), EACCES);
    int fd = check_file("text", "no interpreter", 14);
    EXPECT_OK(fchmod(fd, 0755));
    EXPECT_OK(close(fd));
    expect_refused(image_with_interpreter("text"));
}

CASE(interpreter_path_without_an_end_is_enoexec)
{
    struct image *image = image_with_interpreter("/no/such/interpreter");
    image->headers[1].p_filesz -= 1;
    EXPECT_EQ(outcome_of(image), ENOEXEC);
}

CASE(interpreter_path_of_senseless_length_is_enoexec)
{
    static const uint64_t lengths[] = {0, 1, 4097, 1ull << 32, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct image *image = image_with_interpreter("/no/such/interpreter");
        image->headers[1].p_filesz = lengths[i];
        EXPECT_EQ(outcome_of(image), ENOEXEC);
    }
}

CASE(interpreter_path_out_of_the_file_is_refused)
{
    static const uint64_t offsets[] = {IMAGE_BYTES, 1ull << 40, 1ull << 63, UINT64_MAX - 4};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        struct image *image = image_with_interpreter("/no/such/interpreter");
        image->headers[1].p_offset = offsets[i];
        expect_refused(image);
    }
}

CASE(program_that_is_its_own_interpreter_does_not_loop)
{
    int outcome = outcome_of(image_with_interpreter("program"));
    EXPECT(outcome == OUTCOME_RAN || outcome == OUTCOME_KILLED || outcome == ENOEXEC ||
           outcome == EINVAL || outcome == ELIBBAD || outcome == ELOOP || outcome == EEXIST);
}

CASE(two_thousand_damaged_bits_do_no_harm)
{
    // One bit of the headers at a time: 176 bytes, 1,408 bits, and some pairs.
    uint32_t random = 1;
    for (int i = 0; i < 2000; i++) {
        struct image *image = image_with_interpreter("/no/such/interpreter");
        size_t bit = (size_t)i % (8 * 176);
        image->bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (i >= 8 * 176) {
            random = random * 1664525 + 1013904223;
            image->bytes[random % 176] ^= (unsigned char)(random >> 24);
        }
        // Any outcome but a hang, which `outcome_of` rules out.
        outcome_of(image);
    }
}
