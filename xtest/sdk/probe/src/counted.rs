// SPDX-License-Identifier: MIT
//! Counts allocations of a trusted application, whoever makes them: the linker gives these functions to
//! all who want C's (`--wrap`).
#![allow(unsafe_code, reason = "assembly: it counts, and goes on where C's function begins")]

use core::sync::atomic::{AtomicU64, Ordering};

/// A trusted application runs on one processor at a time, so counting takes no lock.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Allocations since the instance started.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

// x9 and x10 belong to whoever is called (AAPCS64, 6.1.1); arguments stay where they are.
core::arch::global_asm!(
    ".macro counted name",
    ".globl __wrap_\\name",
    "__wrap_\\name:",
    "adrp x9, {count}",
    "add x9, x9, :lo12:{count}",
    "ldr x10, [x9]",
    "add x10, x10, #1",
    "str x10, [x9]",
    "b __real_\\name",
    ".endm",
    ".text",
    "counted malloc",
    "counted calloc",
    "counted realloc",
    "counted memalign",
    count = sym ALLOCATIONS,
);
