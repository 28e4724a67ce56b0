// SPDX-License-Identifier: MIT
// Vector registers, rounding mode and condition flags survive system calls of every kind, while
// other threads have other values in theirs. Prints how many rounds went wrong.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 200
#define VECTORS 32

typedef struct { uint64_t low, high; } vector;

static struct timespec moment = { 0, 1000 };

// One system call between loading all registers from `before` and storing them to `after`. Carry
// set, zero clear, goes in; what comes out is returned.
static uint64_t across(long number, const void *argument, const vector *before, vector *after)
{
    register long x8 __asm__("x8") = number;
    register const void *x0 __asm__("x0") = argument;
    register long x1 __asm__("x1") = 0;
    uint64_t flags = 1 << 29;

    __asm__ volatile(
        "ldp q0, q1, [%[from]]\n\tldp q2, q3, [%[from], #32]\n\t"
        "ldp q4, q5, [%[from], #64]\n\tldp q6, q7, [%[from], #96]\n\t"
        "ldp q8, q9, [%[from], #128]\n\tldp q10, q11, [%[from], #160]\n\t"
        "ldp q12, q13, [%[from], #192]\n\tldp q14, q15, [%[from], #224]\n\t"
        "ldp q16, q17, [%[from], #256]\n\tldp q18, q19, [%[from], #288]\n\t"
        "ldp q20, q21, [%[from], #320]\n\tldp q22, q23, [%[from], #352]\n\t"
        "ldp q24, q25, [%[from], #384]\n\tldp q26, q27, [%[from], #416]\n\t"
        "ldp q28, q29, [%[from], #448]\n\tldp q30, q31, [%[from], #480]\n\t"
        "msr nzcv, %[flags]\n\t"
        "svc #0\n\t"
        "mrs %[flags], nzcv\n\t"
        "stp q0, q1, [%[to]]\n\tstp q2, q3, [%[to], #32]\n\t"
        "stp q4, q5, [%[to], #64]\n\tstp q6, q7, [%[to], #96]\n\t"
        "stp q8, q9, [%[to], #128]\n\tstp q10, q11, [%[to], #160]\n\t"
        "stp q12, q13, [%[to], #192]\n\tstp q14, q15, [%[to], #224]\n\t"
        "stp q16, q17, [%[to], #256]\n\tstp q18, q19, [%[to], #288]\n\t"
        "stp q20, q21, [%[to], #320]\n\tstp q22, q23, [%[to], #352]\n\t"
        "stp q24, q25, [%[to], #384]\n\tstp q26, q27, [%[to], #416]\n\t"
        "stp q28, q29, [%[to], #448]\n\tstp q30, q31, [%[to], #480]"
        : "+r"(x0), [flags] "+r"(flags)
        : "r"(x8), "r"(x1), [from] "r"(before), [to] "r"(after)
        : "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10",
          "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22",
          "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
    return flags;
}

// Calls that are answered at once, that are not, that sleep, and that let others run.
static const struct { long number; const void *argument; } CALLS[] = {
    { SYS_getpid, NULL },
    { SYS_getppid, NULL },
    { SYS_nanosleep, &moment },
    { SYS_sched_yield, NULL },
};

static void *run(void *which)
{
    uint64_t me = (uintptr_t)which, mode;
    uintptr_t wrong = 0;
    vector before[VECTORS], after[VECTORS];

    // A rounding mode of its own: bits 22 and 23.
    __asm__ volatile("msr fpcr, %0" : : "r"(me << 22));
    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (uint64_t i = 0; i < VECTORS; i++)
            before[i] = (vector){ me << 48 | round << 16 | i, ~(me << 32 | round << 8 | i) };
        memset(after, 0, sizeof after);
        size_t call = round % (sizeof CALLS / sizeof *CALLS);
        uint64_t flags = across(CALLS[call].number, CALLS[call].argument, before, after);
        __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
        wrong += memcmp(before, after, sizeof before) != 0;
        wrong += (flags & 15u << 28) != 1 << 29;
        wrong += mode != me << 22;
    }
    return (void *)wrong;
}

int main(void)
{
    pthread_t threads[3];
    void *wrong;

    for (uintptr_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, run, (void *)(i + 1));
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], &wrong);
        printf("thread %d: %d wrong\n", i, (int)(uintptr_t)wrong);
    }
    return 0;
}
