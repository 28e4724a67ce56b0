// SPDX-License-Identifier: MIT
// The way in for loaders that know PVH and nothing of SNP (Intel syntax). Only images for the
// simulation have it.

// A loader finds the 32-bit entry here (Xen, public/elfnote.h, type 18).
.section .note.pvh, "a", @note
.balign 4
.long 4, 8, 18
.asciz "Xen"
.quad boot_start32

// 32-bit protected mode without paging; ebx is the address of the start information.
.section .boot, "awx"
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
    ljmp 0x10, offset boot_enter64
.code64
boot_enter64:
    xor ebp, ebp
    xor r13d, r13d
    jmp boot_long_mode
.text
