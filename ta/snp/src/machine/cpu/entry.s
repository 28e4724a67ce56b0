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
    lea rsp, [rdi + {FRAME_LENGTH}]
    callee_saved restore
    mov r11, [rsp + AT_rflags]
    mov rcx, [rsp + AT_rip]             // the caller made sure that it is canonical
    and r11d, {FLAGS_USER}
    or r11d, {FLAGS_FIXED}
    caller_saved restore
    restore rsp
    swapgs
    sysretq

// enter_thread(rdi = frame): everything is loaded from the frame.
.balign 64
.globl enter_thread
enter_thread:
    leave_kernel_stack
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
    iretq

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
// only 29 goes on, and only out of user mode.
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
    .elseif (vector == 8) || (vector == 18) || (vector == 28)
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
