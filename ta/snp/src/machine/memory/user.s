// SPDX-License-Identifier: MIT
// Access to user memory that may fault (Intel syntax). A fault at an instruction named in `.fixups`
// goes on at the address beside it; see `cpu::trap`. C calling convention; the direction flag is
// clear in kernel code, and SMAP is lifted between stac and clac only.

.text
// copy(rdi = to, rsi = from, rdx = bytes) -> rax = bytes that were not copied.
// Words first. A word that faults may begin in a good page: what is left then goes byte by byte, so
// that the count is exact.
.balign 16
.globl user_copy
user_copy:
    mov rcx, rdx
    shr rcx, 3
    stac
21: rep movsq
    mov ecx, edx
    and ecx, 7
22: rep movsb
23: clac
    mov rax, rcx
    ret
24: and edx, 7
    lea rcx, [rdx + rcx * 8]
    jmp 22b

// zero(rdi = to, rsi = bytes) -> rax = bytes that were not zeroed.
.balign 16
.globl user_zero
user_zero:
    mov rcx, rsi
    shr rcx, 3
    xor eax, eax
    stac
25: rep stosq
    mov ecx, esi
    and ecx, 7
26: rep stosb
27: clac
    mov rax, rcx
    ret
28: and esi, 7
    lea rcx, [rsi + rcx * 8]
    jmp 26b

// load(rdi = from) -> rax = the word, or -1.
.balign 16
.globl user_load
user_load:
    stac
29: mov eax, [rdi]
    clac
    ret

// compare_exchange(rdi = at, esi = old, edx = new) -> rax = what was there, or -1.
.balign 16
.globl user_compare_exchange
user_compare_exchange:
    mov eax, esi
    stac
32: lock cmpxchg [rdi], edx
    clac
    mov eax, eax
    ret
33: clac
    mov rax, -1
    ret

.section .fixups, "a"
.balign 8
    .quad 21b, 24b
    .quad 22b, 23b
    .quad 25b, 28b
    .quad 26b, 27b
    .quad 29b, 33b
    .quad 32b, 33b
.text
