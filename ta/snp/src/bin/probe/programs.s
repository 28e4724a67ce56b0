// SPDX-License-Identifier: MIT
// Programs for user mode (Intel syntax), copied to a page at their own 64-byte slots.

.section .rodata.programs, "a"
.balign 4096
.globl probe_programs
probe_programs:

// 0: rbx system calls, then call 60. Six instructions a round.
1:  mov eax, 39
    syscall
    dec rbx
    jnz 1b
    mov eax, 60
    syscall
.org probe_programs + 64 * 1
// 1: the instruction that rbx chooses.
    lea rax, [rip + 2f]
    lea rax, [rax + rbx * 8]
    jmp rax
.org probe_programs + 64 * 2
// 2: the instructions, 8 bytes each.
2:  ud2
    .balign 8
    hlt
    .balign 8
    int3
    .balign 8
    xor ecx, ecx
    div ecx
    .balign 8
    int 0x80
    .balign 8
    int 0x20
    .balign 8
    mov rax, cr3
    .balign 8
    sgdt [rsp - 64]
    .balign 8
.org probe_programs + 64 * 3
// 3: reads at rdi, then writes there, then calls.
    mov rax, [rdi]
    mov [rdi], rax
    syscall
.org probe_programs + 64 * 4
// 4: jumps to rdi.
    jmp rdi
.org probe_programs + 64 * 5
// 5: loads rdi into vector, stack-pointer-free registers and fs, calls, and sums up what is there
// afterwards; then calls again with the sum in rdi.
    movq xmm3, rdi
    vpbroadcastq ymm4, xmm3
    wrgsbase rdi
    mov rbx, rdi
    mov r15, rdi
    syscall
    movq rsi, xmm3
    vextracti128 xmm5, ymm4, 1
    movq rdx, xmm5
    rdgsbase r8
    lea rdi, [rbx + r15]
    add rdi, rsi
    add rdi, rdx
    add rdi, r8
    syscall
.org probe_programs + 64 * 7
// 7: spins.
3:  inc rbx
    jmp 3b
.org probe_programs + 64 * 8
// 8: sets the direction and alignment flags, and calls.
    std
    pushfq
    or qword ptr [rsp], 0x40000
    popfq
    syscall
.org probe_programs + 64 * 9
// 9: an exception of the hypervisor's making in front of its instruction, and a call behind it.
    int 29
    cpuid
    mov eax, 39
    syscall
.org probe_programs + 64 * 10
// 10: the same where another instruction is.
    int 29
    nop
    syscall
.balign 4096
.text
