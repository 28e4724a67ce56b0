// SPDX-License-Identifier: MIT
// From the loader to 64-bit code in the high half (Intel syntax).
//
// The tables below are ready-made: the first GiB of memory appears at 0 (for the code here), at the
// direct map and at the image's link address. They last until `memory::tables` has built better
// ones, a few thousand instructions later.

.set PRESENT_WRITABLE, 3
.set LARGE, 0x80
.set KERNEL_OFFSET, 0xffffffff80000000

// The image builder finds the 64-bit entries here (strongroom-snp-layout, `NOTE_NAME`).
.section .note.strongroom, "a", @note
.balign 4
.long 11, 16, 1
.asciz "Strongroom"
.balign 4
.quad boot_launched64
.quad boot_park64

.section .boot, "awx"
.balign 4096
.globl boot_root
boot_root:
    .quad boot_directory_pointers + PRESENT_WRITABLE
    .fill 255, 8, 0
    .quad boot_directory_pointers + PRESENT_WRITABLE
    .fill 254, 8, 0
    .quad boot_directory_pointers_high + PRESENT_WRITABLE
boot_directory_pointers:
    .quad boot_directory + PRESENT_WRITABLE
    .fill 511, 8, 0
boot_directory_pointers_high:
    .fill 510, 8, 0
    .quad boot_directory + PRESENT_WRITABLE
    .quad 0
boot_directory:
    .set frame, 0
    .rept 512
    .quad frame + LARGE + PRESENT_WRITABLE
    .set frame, frame + 0x200000
    .endr

boot_descriptors:
    .quad 0, 0
    .quad 0x00af9b000000ffff        // 0x10: 64-bit code
    .quad 0x00cf93000000ffff        // 0x18: data
boot_descriptors_end:
.globl boot_descriptors_pointer
boot_descriptors_pointer:
    .word boot_descriptors_end - boot_descriptors - 1
    .quad boot_descriptors

// 64-bit mode as a measured save area has it: on the launcher's page tables, which map this where
// it is loaded; rbx is the address of the launch page, r12 the bit that makes a page private.
.code64
.globl boot_launched64
boot_launched64:
    cli
    cld
    mov ecx, 0xc0010131             // SEV_STATUS
    rdmsr
    mov r13d, eax
    test eax, 4                     // SNP_ACTIVE
    jnz 1f
    xor r12d, r12d
1:  lea rdi, [rip + boot_root]      // four tables, one behind the other
    mov ecx, 2048
2:  test byte ptr [rdi], 1
    jz 3f
    or [rdi], r12
3:  add rdi, 8
    dec ecx
    jnz 2b
    mov ebp, 1
    mov rax, offset boot_root
    or rax, r12
    mov cr3, rax
    lgdt [rip + boot_descriptors_pointer]
    lea rsp, [rip + boot_far_end]
    lea rax, [rip + boot_long_mode]
    push 0x10
    push rax
    retfq

// A processor that the payload has no use for. A halt would be the host's to answer.
boot_park64:
    cli
1:  jmp 1b

    .balign 8
    .quad 0, 0
boot_far_end:

// On our own tables; rbx is the address of what the launcher left, ebp is 1 where that is a launch
// page, r13 is SEV_STATUS.
.globl boot_long_mode
boot_long_mode:
    mov eax, 0x18
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    movabs rsp, offset stack_top
    mov esi, ebp
    mov rdx, r13
    xor ebp, ebp
    mov rdi, rbx
    movabs rax, offset payload_main
    call rax
    ud2
.text
