// SPDX-License-Identifier: MIT
// Between the kernel and user mode (Intel syntax).
//
// Entering looks like a call: it returns when user mode traps. The general registers of the
// thread are then in the frame that was given, whichever way it came in:
// - syscall: the code below stores them;
// - exceptions and interrupts: TSS.rsp0 is the frame's end, so the processor pushes ss to rip right
//   into it, and the stubs push the rest.
// The stack pointer points into the frame for some instructions on the way. That is safe because
// interrupts are off, and the exceptions that can come all the same have stacks of their own.

.set next_offset, 0
.irp name, r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, entry, error, rip, cs, rflags, rsp, ss
.set AT_\name, next_offset - {FRAME_LENGTH}
.set next_offset, next_offset + 8
.endr
.if next_offset - {FRAME_LENGTH}
.error "the frame is not what the kernel thinks"
.endif

.macro callee_saved operation
    .irp name, r15, r14, r13, r12, rbp, rbx
    \operation \name
    .endr
.endm
.macro caller_saved operation
    .irp name, r10, r9, r8, rax, rdx, rsi, rdi
    \operation \name
    .endr
.endm
// Behind `leave_kernel_stack`. While the kernel ran, `#HV` only came and went: what it stands for is
// still in the doorbell page, and has to be taken before user mode goes on.
.macro unless_pending target
    mov rax, gs:[{DOORBELL}]
    test dword ptr [rax], {PENDING}
    jnz \target
.endm
// With rsp at the frame's end.
.macro store name
    mov [rsp + AT_\name], \name
.endm
.macro restore name
    mov \name, [rsp + AT_\name]
.endm

.text
.macro leave_kernel_stack
    .irp name, rbx, rbp, r12, r13, r14, r15
    push \name
    .endr
    mov gs:[{KERNEL_STACK}], rsp
.endm

// enter_thread_after_call(rdi = frame): the frame is as the system call left it, but for rax.
.balign 64
.globl enter_thread_after_call
enter_thread_after_call:
    leave_kernel_stack
after_call_window:
    unless_pending stay_after_call
    lea rsp, [rdi + {FRAME_LENGTH}]
    callee_saved restore
    mov r11, [rsp + AT_rflags]
    mov rcx, [rsp + AT_rip]             // the caller made sure that it is canonical
    and r11d, {FLAGS_USER}
    or r11d, {FLAGS_FIXED}
    caller_saved restore
    restore rsp
    swapgs
after_call_swapped:
    sysretq
after_call_end:

// enter_thread(rdi = frame): everything is loaded from the frame.
.balign 64
.globl enter_thread
enter_thread:
    leave_kernel_stack
enter_window:
    unless_pending stay
    mov rsp, rdi
    callee_saved pop
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    add rsp, 16                         // entry, error
    swapgs
enter_swapped:
    iretq
enter_end:

// Returns from the two above as if user mode had been entered and left again at once. The frame is
// whole as long as it was not left; behind a system call it lacks what the call overwrites.
stay_after_call:
    mov rsp, gs:[{FRAME_END}]
    mov rcx, [rsp + AT_rip]
    mov r11, [rsp + AT_rflags]
    store rcx
    store r11
stay:
    mov rsp, gs:[{FRAME_END}]
    mov qword ptr [rsp + AT_entry], {ENTRY_INJECTION}
    mov rsp, gs:[{KERNEL_STACK}]
    callee_saved pop
    ret

// rest_until_injection(rdi = the doorbell page's pending events): waits for one, unless there is one.
.balign 16
.globl rest_until_injection
rest_until_injection:
    sti
rest_window:
    test dword ptr [rdi], {PENDING}
    jnz rest_end
    hlt
rest_end:
    cli
    ret

// From user mode by syscall: rcx is rip, r11 is rflags.
.balign 64
.globl enter_system_call
enter_system_call:
    swapgs
    mov gs:[{SCRATCH}], rsp
    mov rsp, gs:[{FRAME_END}]
    caller_saved store
    mov [rsp + AT_rip], rcx
    mov [rsp + AT_rflags], r11
    mov rcx, gs:[{SCRATCH}]
    callee_saved store
    mov [rsp + AT_rsp], rcx
    mov qword ptr [rsp + AT_entry], {ENTRY_SYSTEM_CALL}
    mov rsp, gs:[{KERNEL_STACK}]
    callee_saved pop
    ret

// One stub a vector, 16 bytes each. Vectors 8, 10 to 14, 17, 21, 29 and 30 push an error code.
// The non-maskable interrupt (2) is ignored; 8, 18, 28 and 29 come on stacks of their own. Of these
// 29 goes on out of user mode only, and 28 always.
.balign 64
.globl trap_stubs
trap_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if vector == 2
    iretq
    .else
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push 0
    .endif
    push vector
    .if vector == 29
    jmp trap_of_hypervisor
    .elseif vector == 28
    jmp injected
    .elseif (vector == 8) || (vector == 18)
    jmp trap_in_kernel
    .else
    jmp trap_anywhere
    .endif
    .endif
    .set vector, vector + 1
.endr

.balign 16
trap_anywhere:
    test byte ptr [rsp + 24], 3         // cs
    jz trap_in_kernel
    .irp name, rdi, rsi, rdx, rcx, rax, r8, r9, r10, r11, rbx, rbp, r12, r13, r14, r15
    push \name
    .endr
    swapgs
    cld
    clac
    mov rsp, gs:[{KERNEL_STACK}]
    callee_saved pop
    ret

// On the exception's own stack, as the kernel may have been stopped where it had none. Out of user
// mode what the processor pushed is moved to the thread's frame, where it would be without that stack.
.balign 16
trap_of_hypervisor:
    test byte ptr [rsp + 24], 3         // cs
    jz trap_in_kernel
    swapgs
    mov gs:[{SCRATCH}], rax
    mov rax, rsp
    mov rsp, gs:[{FRAME_END}]
    .irp offset, 48, 40, 32, 24, 16, 8, 0
    push qword ptr [rax + \offset]
    .endr
    mov rax, gs:[{SCRATCH}]
    swapgs
    jmp trap_anywhere

// In the kernel `#HV` is as good as ignored, for the doorbell page says the rest; but who is about to
// wait, or to enter user mode, has looked there before and does not do it. A host that comes again
// while this runs overwrites where it goes back to: with addresses of this very code, or with ones
// that the test of cs in `trap_anywhere` refuses. That takes the host's own machine away, no more.
.macro within from, end, target
    lea rcx, [rip + \from]
    cmp rax, rcx
    jb 2f
    lea rcx, [rip + \end]
    cmp rax, rcx
    jb \target
2:
.endm
.balign 16
injected:
    test byte ptr [rsp + 24], 3         // cs
    jnz trap_of_hypervisor
    push rax
    push rcx
    mov rax, [rsp + 32]                 // rip
    within rest_window, rest_end, injected_at_rest
    within after_call_window, after_call_swapped, stay_after_call
    within enter_window, enter_swapped, stay
    within after_call_swapped, after_call_end, injected_after_call
    within enter_swapped, enter_end, injected_entering
    jmp injection_ends
injected_at_rest:
    mov [rsp + 32], rcx
injection_ends:
    pop rcx
    pop rax
    add rsp, 16                         // vector, error
    iretq
injected_after_call:
    swapgs
    jmp stay_after_call
injected_entering:
    swapgs
    jmp stay

trap_in_kernel:
    .irp name, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
    push \name
    .endr
    cld
    mov rdi, rsp
    call kernel_trap
    .irp name, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
    pop \name
    .endr
    add rsp, 16                         // vector, error
    iretq
