// SPDX-License-Identifier: MIT
//
// The parts of the system-call fuzzer: which calls there are, and what arguments they get.

#ifndef SYSFUZZ_H
#define SYSFUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// What a call looks like: one letter an argument.
/// d descriptor, p path, b buffer or structure, n length, f flags, i small integer, t target
/// process, m address of a mapping.
struct call {
    long number;
    const char *arguments;
    bool safe;
};

/// The calls whose arguments are known; `call_count` of them.
extern const struct call calls[];
extern const size_t call_count;

/// The entry of a number; null if its arguments are not known.
const struct call *call_of(long number);

/// Calls that end, reconfigure or hang the machine by design, or reach other processes by means
/// that cannot be aimed.
bool call_is_forbidden(long number);

/// Calls that would make the kernel signal processes outside the fuzzer later on, or that take
/// memory out of service.
bool call_harms_others(long number, const uint64_t arguments[6]);

/// Sets the random generator's state.
void random_start(uint64_t seed);
uint64_t random_next(void);
/// A number from 0 to `limit - 1`.
uint64_t random_below(uint64_t limit);

/// Maps the memory that pointers lead to; false if there is none. Each worker has its own.
bool arena_make(void);
/// Fills it with what structures hold: small numbers, lengths, pointers, noise.
void arena_refill(void);

/// An argument of this kind (see `struct call`); now and then, one of another kind.
uint64_t argument_of(char kind);
/// An argument of any kind.
uint64_t argument_of_any_kind(void);

#endif
