// SPDX-License-Identifier: MIT
// The way into the program and back, both in S-EL0. Offsets are those of `Frame` in context.rs:
// x0 to x30 at 0, sp at 248, pstate at 264, thread pointer at 272, FPSR and FPCR at 280, q0 to q31 at 288,
// return_to at 800, the library OS's stack at 808 and thread pointer at 816.
//
// A stub stores x29 and x30 below the program's stack pointer, and takes them from there when it
// goes on: so both are free here, on the way in and on the way out.

// Vector registers stay as the program has them: the library OS has no code that uses them, which
// `xtask` checks. They are moved when another thread goes on, or when somebody asks for them.

    // Beside `strongroom_answer`, in one page with it: each page less that a call goes through is one less
    // to be found in a cache.
    .section .text.strongroom_answer, "ax", %progbits
    .balign 1024
    .arch_extension fp                      // the library OS's own target has neither
    .arch_extension simd

    // Runs of registers, stored or loaded: `stp` or `ldp`, and where the frame is. x2 to x17 a function
    // may change, x20 to x27 it has to keep.
    .macro scratch operation, frame
    \operation x2, x3, [\frame, #16]
    \operation x4, x5, [\frame, #32]
    \operation x6, x7, [\frame, #48]
    \operation x8, x9, [\frame, #64]
    \operation x10, x11, [\frame, #80]
    \operation x12, x13, [\frame, #96]
    \operation x14, x15, [\frame, #112]
    \operation x16, x17, [\frame, #128]
    .endm

    .macro kept operation, frame
    \operation x20, x21, [\frame, #160]
    \operation x22, x23, [\frame, #176]
    \operation x24, x25, [\frame, #192]
    \operation x26, x27, [\frame, #208]
    .endm

    // The library OS's own, on its stack.
    .macro own operation
    \operation x19, x20, [sp, #16]
    \operation x21, x22, [sp, #32]
    \operation x23, x24, [sp, #48]
    \operation x25, x26, [sp, #64]
    \operation x27, x28, [sp, #80]
    .endm

    .macro vectors operation
    \operation q0, q1, [x0, #288]
    \operation q2, q3, [x0, #320]
    \operation q4, q5, [x0, #352]
    \operation q6, q7, [x0, #384]
    \operation q8, q9, [x0, #416]
    \operation q10, q11, [x0, #448]
    \operation q12, q13, [x0, #480]
    \operation q14, q15, [x0, #512]
    \operation q16, q17, [x0, #544]
    \operation q18, q19, [x0, #576]
    \operation q20, q21, [x0, #608]
    \operation q22, q23, [x0, #640]
    \operation q24, q25, [x0, #672]
    \operation q26, q27, [x0, #704]
    \operation q28, q29, [x0, #736]
    \operation q30, q31, [x0, #768]
    .endm

    // Stores what a function may change, and changes to the library OS's stack: x29 is the frame.
    .macro arrive
    adrp x29, strongroom_current
    ldr x29, [x29, :lo12:strongroom_current]
    stp x0, x1, [x29, #0]
    scratch stp, x29
    stp x18, x19, [x29, #144]
    str x30, [x29, #800]
    mov x1, sp
    mrs x2, nzcv
    str x1, [x29, #248]
    str x2, [x29, #264]
    ldr x1, [x29, #808]
    mov sp, x1
    .endm

    // Goes on at x17. Before the gates: to the packer a name at address 0 is none.
    .global strongroom_anywhere
    .hidden strongroom_anywhere
strongroom_anywhere:
    ldp x29, x30, [sp], #16
    br x17

    // Where the stub of an instruction branches to: says which kind it was to who has entered.
    .macro gate name, number
    .global \name
    .hidden \name
    .type \name, %function
\name:
    arrive
    mov x0, #\number
    b .Lleave
    .endm

    gate strongroom_gate_pause, 1
    gate strongroom_gate_breakpoint, 2
    gate strongroom_gate_counter, 3

    // A system call. Most are answered in between, with the program's thread pointer where it is.
    .global strongroom_gate_call
    .hidden strongroom_gate_call
    .type strongroom_gate_call, %function
strongroom_gate_call:
    arrive
    mov x0, x29
    bl strongroom_answer
    tbz w0, #0, .Lcall
    ldr x1, [x29, #248]
    ldr x2, [x29, #264]
    ldr x30, [x29, #800]
    mov sp, x1
    msr nzcv, x2
    scratch ldp, x29
    ldr x18, [x29, #144]
    ldp x0, x1, [x29]
    ret                                     // into the stub

.Lcall:
    mov x0, #0
.Lleave:
    kept stp, x29
    str x28, [x29, #224]
    ldr x1, [x29, #248]
    ldp x2, x3, [x1], #16                   // the program's x29 and x30, from its stack
    stp x2, x3, [x29, #232]
    str x1, [x29, #248]
    mrs x1, tpidr_el0
    str x1, [x29, #272]
    ldr x1, [x29, #816]
    msr tpidr_el0, x1
    own ldp
    ldp x29, x30, [sp], #96
    ret                                     // from strongroom_enter

    // u64 strongroom_enter(Frame *): goes on with a thread; returns the number of the gate it comes through.
    .global strongroom_enter
    .hidden strongroom_enter
    .type strongroom_enter, %function
strongroom_enter:
    stp x29, x30, [sp, #-96]!
    own stp
    mov x1, sp
    str x1, [x0, #808]
    mrs x1, tpidr_el0
    str x1, [x0, #816]
    adrp x1, strongroom_current
    str x0, [x1, :lo12:strongroom_current]
    ldr x1, [x0, #272]
    msr tpidr_el0, x1
    ldr x1, [x0, #264]
    msr nzcv, x1
    ldp x2, x3, [x0, #232]
    ldr x1, [x0, #248]
    stp x2, x3, [x1, #-16]!
    mov sp, x1
    ldr x30, [x0, #800]
    scratch ldp, x0
    ldp x18, x19, [x0, #144]
    kept ldp, x0
    ldr x28, [x0, #224]
    ldp x0, x1, [x0]
    ret                                     // into the stub, behind its call of the gate

    // void strongroom_save_vectors(Frame *): stores what the program has in the processor.
    .global strongroom_save_vectors
    .hidden strongroom_save_vectors
    .type strongroom_save_vectors, %function
strongroom_save_vectors:
    mrs x1, fpsr
    mrs x2, fpcr
    str w1, [x0, #280]
    str w2, [x0, #284]
    vectors stp
    ret

    // void strongroom_load_vectors(const Frame *)
    .global strongroom_load_vectors
    .hidden strongroom_load_vectors
    .type strongroom_load_vectors, %function
strongroom_load_vectors:
    ldr w1, [x0, #280]
    ldr w2, [x0, #284]
    msr fpsr, x1
    msr fpcr, x2
    vectors ldp
    ret

    // rt_sigreturn(2), for handlers without a return address of their own.
    .global strongroom_signal_return
    .hidden strongroom_signal_return
strongroom_signal_return:
    mov x8, #139
    stp x29, x30, [sp, #-16]!
    bl strongroom_gate_call
    udf #0                                  // never: the frame says where to go on

    .bss
    .balign 8
strongroom_current:                         // the frame of the thread that runs
    .zero 8
