// SPDX-License-Identifier: MIT
//
// Catching faults on purpose. See fault.h.

#include "fault.h"

#include "check.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
enum { SIGNAL_COUNT = sizeof signals / sizeof signals[0] };

static sigjmp_buf resume;
static volatile struct fault seen;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    seen.signal = signal;
    seen.code = info->si_code;
    seen.address = info->si_addr;
    siglongjmp(resume, 1);
}

struct fault fault_of(void (*action)(void *argument), void *argument)
{
    struct sigaction old[SIGNAL_COUNT];
    struct sigaction action_on_fault = {.sa_sigaction = on_fault,
                                        .sa_flags = SA_SIGINFO | SA_ONSTACK};
    stack_t stack = {.ss_sp = check_pages(16), .ss_size = 16 * PAGE};
    EXPECT_OK(sigaltstack(&stack, NULL));
    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        EXPECT_OK(sigaction(signals[i], &action_on_fault, &old[i]));
    }
    seen.signal = 0;
    seen.code = 0;
    seen.address = NULL;
    if (sigsetjmp(resume, 1) == 0) {
        action(argument);
    }
    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        EXPECT_OK(sigaction(signals[i], &old[i], NULL));
    }
    stack.ss_flags = SS_DISABLE;
    EXPECT_OK(sigaltstack(&stack, NULL));
    struct fault result = {seen.signal, seen.code, seen.address};
    return result;
}

void fault_read(void *address)
{
    *(volatile unsigned char *)address;
}

void fault_write(void *address)
{
    *(volatile unsigned char *)address = 1;
}

void fault_call(void *address)
{
    void (*function)(void);
    memcpy(&function, &address, sizeof function);
    function();
}
