// SPDX-License-Identifier: MIT
//
// The fuzzer's random arguments: edge values, bad pointers, and memory full of plausible
// structures.

#include "sysfuzz.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    PAGE_BYTES = 4096,
    ARENA_PAGES = 8,
};

static uint64_t state;

void random_start(uint64_t seed)
{
    state = seed;
}

/// The generator is splitmix64: small, seedable, without bad seeds.
uint64_t random_next(void)
{
    uint64_t mixed = state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return mixed ^ mixed >> 31;
}

uint64_t random_below(uint64_t limit)
{
    return random_next() % limit;
}

// ---- Arguments ----

/// Writable pages, then one read-only and one without permissions, then a hole.
static unsigned char *arena;

static char long_name[PATH_MAX + 8];

static uint64_t a_length(void)
{
    static const uint64_t lengths[] = {
        0,          1,         2,          4,          7,
        8,          16,        24,         100,        128,
        4095,       4096,      4097,       8192,       1024,
        65536,      1 << 20,   INT32_MAX,  UINT32_MAX, 1ull << 32,
        1ull << 46, INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 4095};
    return lengths[random_below(sizeof lengths / sizeof *lengths)];
}

static uint64_t a_descriptor(void)
{
    uint64_t kind = random_below(20);
    if (kind == 0) {
        return (uint64_t)AT_FDCWD;
    }
    return kind == 1 ? UINT64_MAX : kind == 2 ? 9999 : random_below(32);
}

static uint64_t a_bad_pointer(void)
{
    static const uint64_t pointers[] = {0,
                                        1,
                                        8,
                                        0x1000,
                                        0x7ffffffff000,
                                        0x800000000000,
                                        1ull << 63,
                                        0xffff800000000000,
                                        0xffffffff81000000,
                                        UINT64_MAX,
                                        UINT64_MAX - 7,
                                        UINT64_MAX - 4095};
    return pointers[random_below(sizeof pointers / sizeof *pointers)];
}

static uint64_t a_buffer(void)
{
    uint64_t kind = random_below(10);
    if (kind == 0) {
        return a_bad_pointer();
    }
    uint64_t page = random_below(kind < 3 ? ARENA_PAGES + 2 : ARENA_PAGES);
    uint64_t offset = kind == 4 ? PAGE_BYTES - random_below(16) : random_below(64) * 8;
    return (uint64_t)(uintptr_t)arena + page * PAGE_BYTES + offset;
}

static uint64_t a_path(void)
{
    static const char *const paths[] = {"f",
                                        "d",
                                        "d/x",
                                        "link",
                                        "loop",
                                        "",
                                        ".",
                                        "..",
                                        "/",
                                        "f/x",
                                        "/dev/null",
                                        "/dev/zero",
                                        "/proc/self/maps",
                                        "/proc/self/fd/5",
                                        "missing/x",
                                        "/proc/self/stat",
                                        "/tmp",
                                        long_name};
    if (random_below(12) == 0) {
        return a_buffer();
    }
    return (uint64_t)(uintptr_t)paths[random_below(sizeof paths / sizeof *paths)];
}

static uint64_t a_flag_set(void)
{
    switch (random_below(4)) {
    case 0:
        return 0;
    case 1:
        return 1ull << random_below(32);
    case 2:
        return 1ull << random_below(24) | 1ull << random_below(24) | random_below(4);
    default:
        return random_next() >> random_below(64);
    }
}

/// A process that may be signalled: this worker, or nobody.
static uint64_t a_target(void)
{
    static const int64_t nobody[] = {0x3fffffff, -0x3fffffff, INT32_MIN, INT32_MAX};
    return random_below(2) ? (uint64_t)getpid() : (uint64_t)nobody[random_below(4)];
}

uint64_t argument_of_any_kind(void)
{
    switch (random_below(7)) {
    case 0:
        return a_descriptor();
    case 1:
    case 2:
        return a_buffer();
    case 3:
        return a_path();
    case 4:
        return a_length();
    case 5:
        return a_flag_set();
    default:
        return random_below(16) - 2;
    }
}

uint64_t argument_of(char kind)
{
    if (kind != 't' && random_below(8) == 0) {
        return argument_of_any_kind();
    }
    switch (kind) {
    case 'd':
        return a_descriptor();
    case 'p':
        return a_path();
    case 'b':
        return a_buffer();
    case 'n':
        return a_length();
    case 'f':
        return a_flag_set();
    case 't':
        return a_target();
    case 'm':
        return a_buffer() & ~(uint64_t)(random_below(8) ? PAGE_BYTES - 1 : 0);
    default:
        return random_below(40) - 2;
    }
}

void arena_refill(void)
{
    uint64_t *words = (uint64_t *)(void *)arena;
    for (size_t i = 0; i < ARENA_PAGES * PAGE_BYTES / sizeof *words; i += 1 + random_below(4)) {
        switch (random_below(6)) {
        case 0:
            words[i] = random_next();
            break;
        case 1:
            words[i] = a_buffer();
            break;
        case 2:
            words[i] = a_length();
            break;
        case 3:
            words[i] = random_below(64) | random_below(64) << 32;
            break;
        default:
            words[i] = random_below(3);
        }
    }
}

bool arena_make(void)
{
    size_t length = (ARENA_PAGES + 3) * PAGE_BYTES;
    arena = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED) {
        return false;
    }
    unsigned char *end = arena + ARENA_PAGES * PAGE_BYTES;
    mprotect(end, PAGE_BYTES, PROT_READ);
    mprotect(end + PAGE_BYTES, PAGE_BYTES, PROT_NONE);
    munmap(end + 2 * PAGE_BYTES, PAGE_BYTES);
    memset(long_name, 'l', sizeof long_name - 1);
    return true;
}
