// SPDX-License-Identifier: MIT
// From the loader to 64-bit code in the high half (Intel syntax).
//
// The tables below are ready-made: the first GiB of memory appears at 0 (for the code here), at the
// direct map and at the image's link address. They last until `memory::tables` has built better
// ones, a few thousand instructions later.

.set PRESENT_WRITABLE, 3
.set LARGE, 0x80
.set KERNEL_OFFSET, 0xffffffff80000000

// A loader that knows PVH finds the 32-bit entry here (Xen, public/elfnote.h, type 18).
.section .note.pvh, "a", @note
.balign 4
.long 4, 4, 18
.asciz "Xen"
.long boot_start32
.long 0

.section .boot, "awx"
.balign 4096
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
boot_descriptors_pointer:
    .word boot_descriptors_end - boot_descriptors - 1
    .quad boot_descriptors

// 32-bit protected mode without paging; ebx is the address of the start information.
.code32
boot_start32:
    cli
    cld
    mov eax, 0x20                   // CR4.PAE
    mov cr4, eax
    mov eax, offset boot_root
    mov cr3, eax
    mov ecx, 0xc0000080             // EFER
    rdmsr
    or eax, 0x900                   // LME, NXE
    wrmsr
    mov eax, 0x80010033             // PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [boot_descriptors_pointer]
    ljmp 0x10, offset boot_long_mode

// 64-bit mode with the image mapped where it is loaded; rbx as above.
.code64
.globl boot_start64
boot_start64:
    cli
    cld
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x800                   // NXE
    wrmsr
    mov rax, offset boot_root
    mov cr3, rax
    lgdt [rip + boot_descriptors_pointer]
    lea rax, [rip + boot_long_mode]
    push 0x10
    push rax
    retfq
boot_long_mode:
    mov eax, 0x18
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    movabs rsp, offset stack_top
    xor ebp, ebp
    mov rdi, rbx
    movabs rax, offset payload_main
    call rax
    ud2
.text
