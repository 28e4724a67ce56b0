// SPDX-License-Identifier: MIT
//
// Signals that the processor causes, and the machine state around a handler.

#include "check.h"
#include "fault.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef __x86_64__
__attribute__((noinline, noclone)) static void divide_by_zero(void *address)
{
    __asm__ volatile("xor %%edx, %%edx\n\tmov $1, %%eax\n\txor %%ecx, %%ecx\n\t"
                     ".globl divide_here\ndivide_here:\n\tdiv %%ecx" ::"r"(address)
                     : "eax", "ecx", "edx");
}
extern const char divide_here[];

__attribute__((noinline, noclone)) static void undefined_instruction(void *address)
{
    __asm__ volatile(".globl undefined_here\nundefined_here:\n\tud2" ::"r"(address));
}
extern const char undefined_here[];

static void breakpoint(void *address)
{
    __asm__ volatile("int3" ::"r"(address));
}

static void privileged_instruction(void *address)
{
    __asm__ volatile("hlt" ::"r"(address));
}

static void port_access(void *address)
{
    __asm__ volatile("outb %%al, $0x80" ::"r"(address));
}

/// By the x87 unit, which emulators get right where they ignore unmasked SSE exceptions.
static void divide_floats(void *address)
{
    uint16_t control = 0x037f & ~4; // unmask division by zero
    __asm__ volatile("fninit\n\tfldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\tfwait" ::"m"(control),
                     "r"(address));
}

CASE(division_by_zero_is_sigfpe_at_the_instruction)
{
    struct fault fault = fault_of(divide_by_zero, NULL);
    EXPECT_EQ(fault.signal, SIGFPE);
    EXPECT_EQ(fault.code, FPE_INTDIV);
    EXPECT(fault.address == divide_here);
}

CASE(undefined_instruction_is_sigill_at_the_instruction)
{
    struct fault fault = fault_of(undefined_instruction, NULL);
    EXPECT_EQ(fault.signal, SIGILL);
    EXPECT_EQ(fault.code, ILL_ILLOPN);
    EXPECT(fault.address == undefined_here);
}

CASE(breakpoint_is_sigtrap)
{
    struct fault fault = fault_of(breakpoint, NULL);
    EXPECT_EQ(fault.signal, SIGTRAP);
    EXPECT_EQ(fault.code, 0x80);
}

CASE(privileged_instructions_are_sigsegv)
{
    EXPECT_EQ(fault_of(privileged_instruction, NULL).signal, SIGSEGV);
    EXPECT_EQ(fault_of(privileged_instruction, NULL).code, 0x80);
    EXPECT_EQ(fault_of(port_access, NULL).signal, SIGSEGV);
}

CASE(unmasked_float_division_by_zero_is_sigfpe)
{
    struct fault fault = fault_of(divide_floats, NULL);
    EXPECT_EQ(fault.signal, SIGFPE);
    EXPECT_EQ(fault.code, FPE_FLTDIV);
}

static void step_over_undefined(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    ucontext_t *state = context;
    state->uc_mcontext.gregs[REG_RIP] += 2;
    state->uc_mcontext.gregs[REG_RBX] = 0x1234;
}

CASE(handler_may_change_registers)
{
    struct sigaction action = {.sa_sigaction = step_over_undefined, .sa_flags = SA_SIGINFO};
    EXPECT_OK(sigaction(SIGILL, &action, NULL));
    uint64_t rbx = 1;
    uint64_t r12 = 0x5678;
    __asm__ volatile("mov %1, %%r12\n\tmov %0, %%rbx\n\tud2\n\tmov %%rbx, %0\n\tmov %%r12, %1"
                     : "+r"(rbx), "+r"(r12)::"rbx", "r12");
    EXPECT_EQ(rbx, 0x1234);
    EXPECT_EQ(r12, 0x5678);
}

static void spoil_sse(int signal)
{
    (void)signal;
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n\tpcmpeqd %%xmm8, %%xmm8\n\tpcmpeqd %%xmm15, "
                     "%%xmm15\n\tfninit\n\tfldpi" ::
                         : "xmm0", "xmm8", "xmm15");
}

CASE(sse_and_x87_survive_a_handler)
{
    signal(SIGUSR1, spoil_sse);
    uint64_t in[3] = {0x0123456789abcdef, 0x1111222233334444, 0xfeedfacecafebeef};
    uint64_t out[3];
    long double x87 = 1.25L;
    long pid = getpid();
    long result = SYS_kill;
    __asm__ volatile("movq %[a], %%xmm0\n\tmovq %[b], %%xmm8\n\tmovq %[c], %%xmm15\n\tsyscall\n\t"
                     "movq %%xmm0, %[x]\n\tmovq %%xmm8, %[y]\n\tmovq %%xmm15, %[z]"
                     : [x] "=m"(out[0]), [y] "=m"(out[1]), [z] "=m"(out[2]), "+a"(result), "+t"(x87)
                     : [a] "m"(in[0]), [b] "m"(in[1]), [c] "m"(in[2]), "D"(pid), "S"(SIGUSR1)
                     : "rcx", "r11", "memory", "xmm0", "xmm8", "xmm15");
    EXPECT_EQ(result, 0);
    EXPECT(memcmp(in, out, sizeof in) == 0);
    EXPECT(x87 == 1.25L);
}

__attribute__((target("avx"))) static void spoil_avx(int signal)
{
    (void)signal;
    __asm__ volatile("vxorps %%ymm3, %%ymm3, %%ymm3\n\tvzeroall" ::
                         : "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8",
                           "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15");
}

/// Sends SIGUSR1 to this process with a pattern in ymm3; true if the pattern is still there after.
__attribute__((target("avx"))) static bool avx_survives_kill(void)
{
    uint64_t in[4] = {1, 0x2222222222222222, 3, 0x4444444444444444};
    uint64_t out[4];
    long pid = getpid();
    long result = SYS_kill;
    __asm__ volatile("vmovups %[in], %%ymm3\n\tsyscall\n\tvmovups %%ymm3, %[out]"
                     : [out] "=m"(out), "+a"(result)
                     : [in] "m"(in), "D"(pid), "S"(SIGUSR1)
                     : "rcx", "r11", "memory", "ymm3");
    return result == 0 && memcmp(in, out, sizeof in) == 0;
}

CASE(avx_survives_a_handler)
{
    if (__builtin_cpu_supports("avx")) {
        signal(SIGUSR1, spoil_avx);
        EXPECT(avx_survives_kill());
    }
}

/// Keeps a pattern in ymm3 over many preemptions and yields; true if it never changed.
__attribute__((target("avx"))) static bool avx_survives_yields(uint64_t pattern)
{
    uint64_t in[4] = {pattern, ~pattern, pattern * 3, pattern * 5};
    for (int i = 0; i < 2000; i++) {
        uint64_t out[4];
        long result = SYS_sched_yield;
        __asm__ volatile("vmovups %[in], %%ymm3\n\tsyscall\n\tvmovups %%ymm3, %[out]"
                         : [out] "=m"(out), "+a"(result)
                         : [in] "m"(in)
                         : "rcx", "r11", "memory", "ymm3");
        if (memcmp(in, out, sizeof in) != 0) {
            return false;
        }
    }
    return true;
}

CASE(avx_belongs_to_the_process)
{
    if (__builtin_cpu_supports("avx")) {
        pid_t pid;
        CHILD (pid) {
            EXPECT(avx_survives_yields(0x1111111111111111));
        }
        EXPECT(avx_survives_yields(0x7777777777777777));
        EXPECT_EXITED(pid, 0);
    }
}

static void spoil_control_word(int signal)
{
    (void)signal;
    __builtin_ia32_ldmxcsr(0x1f80);
}

CASE(rounding_mode_survives_a_handler)
{
    const unsigned round_up = 0x1f80 | 0x4000;
    signal(SIGUSR1, spoil_control_word);
    __builtin_ia32_ldmxcsr(round_up);
    EXPECT_OK(raise(SIGUSR1));
    EXPECT_EQ(__builtin_ia32_stmxcsr() & 0x6000, 0x4000);
}
#endif

static volatile uintptr_t handler_frame;

static void note_frame(int signal)
{
    (void)signal;
    handler_frame = (uintptr_t)__builtin_frame_address(0);
}

CASE(alternate_stack_is_used_when_asked_for)
{
    unsigned char *memory = check_pages(8);
    stack_t stack = {.ss_sp = memory, .ss_size = 8 * PAGE};
    EXPECT_OK(sigaltstack(&stack, NULL));
    struct sigaction action = {.sa_handler = note_frame, .sa_flags = SA_ONSTACK};
    EXPECT_OK(sigaction(SIGUSR1, &action, NULL));
    EXPECT_OK(raise(SIGUSR1));
    uintptr_t start = (uintptr_t)memory;
    EXPECT(handler_frame > start && handler_frame < start + 8 * PAGE);
    action.sa_flags = 0;
    EXPECT_OK(sigaction(SIGUSR1, &action, NULL));
    EXPECT_OK(raise(SIGUSR1));
    EXPECT(handler_frame < start || handler_frame > start + 8 * PAGE);
}

static volatile int change_errno;
static volatile int flags_inside;

static void change_stack_inside(int signal)
{
    (void)signal;
    stack_t now;
    sigaltstack(NULL, &now);
    flags_inside = now.ss_flags;
    stack_t none = {.ss_flags = SS_DISABLE};
    change_errno = sigaltstack(&none, NULL) < 0 ? errno : 0;
}

CASE(alternate_stack_errors)
{
    stack_t stack = {.ss_sp = check_pages(8), .ss_size = 100};
    EXPECT_ERRNO(sigaltstack(&stack, NULL), ENOMEM);
    stack.ss_size = 8 * PAGE;
    stack.ss_flags = 0x40;
    EXPECT_ERRNO(sigaltstack(&stack, NULL), EINVAL);
    stack.ss_flags = 0;
    EXPECT_OK(sigaltstack(&stack, NULL));
    struct sigaction action = {.sa_handler = change_stack_inside, .sa_flags = SA_ONSTACK};
    EXPECT_OK(sigaction(SIGUSR1, &action, NULL));
    EXPECT_OK(raise(SIGUSR1));
    EXPECT_EQ(flags_inside, SS_ONSTACK);
    EXPECT_EQ(change_errno, EPERM);
    stack_t now;
    EXPECT_OK(sigaltstack(NULL, &now));
    EXPECT(now.ss_sp == stack.ss_sp && now.ss_size == stack.ss_size && now.ss_flags == 0);
}

static void fault_inside(int signal)
{
    (void)signal;
    fault_read(NULL);
}

CASE(fault_in_its_own_handler_kills)
{
    pid_t pid;
    CHILD (pid) {
        signal(SIGSEGV, fault_inside);
        fault_read(NULL);
    }
    EXPECT_KILLED(pid, SIGSEGV);
}

CASE(ignored_or_blocked_fault_kills_all_the_same)
{
    pid_t pid;
    CHILD (pid) {
        signal(SIGSEGV, SIG_IGN);
        fault_read(NULL);
    }
    EXPECT_KILLED(pid, SIGSEGV);
    CHILD (pid) {
        sigset_t set;
        sigfillset(&set);
        sigprocmask(SIG_SETMASK, &set, NULL);
        signal(SIGSEGV, note_frame);
        fault_read(NULL);
    }
    EXPECT_KILLED(pid, SIGSEGV);
}

CASE(handler_on_a_bad_stack_kills)
{
    pid_t pid;
    CHILD (pid) {
        stack_t stack = {.ss_sp = check_pages(4), .ss_size = 4 * PAGE};
        struct sigaction action = {.sa_handler = note_frame, .sa_flags = SA_ONSTACK};
        sigaltstack(&stack, NULL);
        sigaction(SIGUSR1, &action, NULL);
        munmap(stack.ss_sp, 4 * PAGE);
        raise(SIGUSR1);
    }
    EXPECT_KILLED(pid, SIGSEGV);
}

#ifdef __x86_64__
CASE(sigreturn_from_nowhere_kills)
{
    pid_t pid;
    CHILD (pid) {
        // The stack holds no signal frame; its "registers" point into a hole.
        unsigned char *stack = check_pages(4);
        memset(stack, 0x88, 4 * PAGE);
        __asm__ volatile("mov %0, %%rsp\n\tmov %1, %%eax\n\tsyscall" ::"r"(stack + PAGE),
                         "i"(SYS_rt_sigreturn)
                         : "rax", "rcx", "r11", "memory");
    }
    EXPECT_KILLED(pid, SIGSEGV);
}

static void aim_at_kernel(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    ucontext_t *state = context;
    state->uc_mcontext.gregs[REG_RIP] = (greg_t)0xffffffff81000000;
    state->uc_mcontext.gregs[REG_EFL] |= 0x3000; // I/O privilege level 3
}

CASE(sigreturn_cannot_enter_the_kernel)
{
    pid_t pid;
    CHILD (pid) {
        struct sigaction action = {.sa_sigaction = aim_at_kernel, .sa_flags = SA_SIGINFO};
        sigaction(SIGUSR1, &action, NULL);
        raise(SIGUSR1);
    }
    EXPECT_KILLED(pid, SIGSEGV);
}
#endif
