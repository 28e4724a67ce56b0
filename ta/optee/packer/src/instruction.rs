// SPDX-License-Identifier: MIT
//! Which words are instructions that a trusted application must not execute.
//!
//! Encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), C4.1 "Exceptions" and
//! "System" groups, and C5.1 for the names of system registers.

/// What matters about an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `svc`, with its immediate: it would reach OP-TEE's own system calls.
    SupervisorCall(u16),
    /// `mrs` of a counter: traps, and ends the TA.
    Counter {
        /// The register it goes to; 31 is `xzr`.
        target: u8,
    },
    /// `mrs` of a register that Linux shows to programs, and OP-TEE does not.
    Identification {
        /// The register it goes to.
        target: u8,
        /// What a program shall see.
        value: u32,
    },
    /// Cache maintenance by address: traps, and there is nothing to maintain.
    CacheMaintenance,
    /// `yield`, `wfe`, `wfi` or `isb`: a program that waits for another thread.
    SpinHint(Hint),
    /// `brk` as compilers emit it for a program that has lost its way.
    Breakpoint,
    /// Everything else.
    Other,
}

/// Which spin hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// `yield`.
    Yield,
    /// `wfe`.
    WaitForEvent,
    /// `wfi`.
    WaitForInterrupt,
    /// `isb`.
    Barrier,
}

/// `nop`.
pub const NOP: u32 = 0xd503_201f;

/// `CTR_EL0` as programs see it: 64-byte lines, and neither data nor instruction caches need
/// maintenance (DIC, IDC), as no code is ever written.
const CACHE_TYPE: u32 = 0xb444_c004;
/// `ID_AA64PFR0_EL1`: AArch64 at EL0 and EL1, with floating point and Advanced SIMD.
const PROCESSOR_FEATURES: u32 = 0x11;
/// `ID_AA64DFR0_EL1`: the debug architecture of `ARMv8`, which Linux always shows.
const DEBUG_FEATURES: u32 = 0x6;
/// `CNTFRQ_EL0`: the counter counts nanoseconds.
const COUNTER_FREQUENCY: u32 = 1_000_000_000;

/// `op0, op1, CRn, CRm, op2` of a system instruction, packed as in the word.
const fn system(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

const COUNTER_FREQUENCY_REGISTER: u32 = system(3, 3, 14, 0, 0);
const PHYSICAL_COUNT: u32 = system(3, 3, 14, 0, 1);
const VIRTUAL_COUNT: u32 = system(3, 3, 14, 0, 2);
const PHYSICAL_COUNT_SYNCHRONISED: u32 = system(3, 3, 14, 0, 5);
const VIRTUAL_COUNT_SYNCHRONISED: u32 = system(3, 3, 14, 0, 6);
const CACHE_TYPE_REGISTER: u32 = system(3, 3, 0, 0, 1);
const PROCESSOR_FEATURES_REGISTER: u32 = system(3, 0, 0, 4, 0);
const DEBUG_FEATURES_REGISTER: u32 = system(3, 0, 0, 5, 0);
/// `MIDR_EL1` and all other identification registers: `op0` 3, `op1` 0, `CRn` 0.
const IDENTIFICATION_FIRST: u32 = system(3, 0, 0, 0, 0);
const IDENTIFICATION_LAST: u32 = system(3, 0, 0, 7, 7);
const CLEAN_TO_COHERENCY: u32 = system(1, 3, 7, 10, 1);
const CLEAN_TO_UNIFICATION: u32 = system(1, 3, 7, 11, 1);
const CLEAN_TO_PERSISTENCE: u32 = system(1, 3, 7, 12, 1);
const CLEAN_TO_DEEP_PERSISTENCE: u32 = system(1, 3, 7, 13, 1);
const CLEAN_AND_INVALIDATE: u32 = system(1, 3, 7, 14, 1);
const INVALIDATE_INSTRUCTIONS: u32 = system(1, 3, 7, 5, 1);

/// `brk` immediates of compilers: nothing, Rust's and LLVM's trap, GCC's trap.
const BREAKPOINTS: [u32; 3] = [0, 1, 1000];

impl Instruction {
    /// Decodes one word.
    pub fn decode(word: u32) -> Self {
        if word & 0xffe0_001f == 0xd400_0001 {
            return Self::SupervisorCall((word >> 5) as u16);
        }
        if word & 0xffe0_001f == 0xd420_0000 {
            let known = BREAKPOINTS.contains(&(word >> 5 & 0xffff));
            return if known { Self::Breakpoint } else { Self::Other };
        }
        match word {
            0xd503_203f => return Self::SpinHint(Hint::Yield),
            0xd503_205f => return Self::SpinHint(Hint::WaitForEvent),
            0xd503_207f => return Self::SpinHint(Hint::WaitForInterrupt),
            _ => {}
        }
        // Any operand of `isb` means the full barrier.
        if word & 0xffff_f0ff == 0xd503_30df {
            return Self::SpinHint(Hint::Barrier);
        }
        let target = (word & 31) as u8;
        let register = word >> 5 & 0xffff;
        match word & 0xfff0_0000 {
            0xd530_0000 => Self::register(register, target),
            0xd500_0000 => Self::operation(register),
            _ => Self::Other,
        }
    }

    fn register(register: u32, target: u8) -> Self {
        match register {
            PHYSICAL_COUNT
            | VIRTUAL_COUNT
            | PHYSICAL_COUNT_SYNCHRONISED
            | VIRTUAL_COUNT_SYNCHRONISED => Self::Counter { target },
            COUNTER_FREQUENCY_REGISTER => Self::Identification { target, value: COUNTER_FREQUENCY },
            CACHE_TYPE_REGISTER => Self::Identification { target, value: CACHE_TYPE },
            PROCESSOR_FEATURES_REGISTER => {
                Self::Identification { target, value: PROCESSOR_FEATURES }
            }
            DEBUG_FEATURES_REGISTER => Self::Identification { target, value: DEBUG_FEATURES },
            IDENTIFICATION_FIRST..=IDENTIFICATION_LAST => Self::Identification { target, value: 0 },
            _ => Self::Other,
        }
    }

    const fn operation(operation: u32) -> Self {
        match operation {
            CLEAN_TO_COHERENCY
            | CLEAN_TO_UNIFICATION
            | CLEAN_TO_PERSISTENCE
            | CLEAN_TO_DEEP_PERSISTENCE
            | CLEAN_AND_INVALIDATE
            | INVALIDATE_INSTRUCTIONS => Self::CacheMaintenance,
            _ => Self::Other,
        }
    }

    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SupervisorCall(0) => "svc #0",
            Self::SupervisorCall(_) => "svc with an immediate other than 0",
            Self::Counter { .. } => "a read of a counter",
            Self::Identification { .. } => "a read of an identification register",
            Self::CacheMaintenance => "cache maintenance",
            Self::SpinHint(Hint::Yield) => "yield",
            Self::SpinHint(Hint::WaitForEvent) => "wfe",
            Self::SpinHint(Hint::WaitForInterrupt) => "wfi",
            Self::SpinHint(Hint::Barrier) => "isb",
            Self::Breakpoint => "brk",
            Self::Other => "an ordinary instruction",
        }
    }
}

/// How far a branch reaches in either direction, in bytes.
pub const BRANCH_REACH: i64 = 1 << 27;

/// `b` from one place to another; none out of reach or where a place is not aligned.
pub fn branch(from: u64, to: u64) -> Option<u32> {
    Some(0x1400_0000 | distance(from, to)?)
}

/// `bl` from one place to another.
pub fn branch_and_link(from: u64, to: u64) -> Option<u32> {
    Some(0x9400_0000 | distance(from, to)?)
}

fn distance(from: u64, to: u64) -> Option<u32> {
    let bytes = to.wrapping_sub(from).cast_signed();
    let reached = (-BRANCH_REACH..BRANCH_REACH).contains(&bytes) && bytes % 4 == 0;
    reached.then_some((bytes >> 2) as u32 & 0x03ff_ffff)
}

/// `movz` of 16 bits into a register.
pub const fn move_zero(register: u8, value: u16) -> u32 {
    0xd280_0000 | (value as u32) << 5 | register as u32
}

/// `movk` of 16 bits into bits 16 to 31 of a register.
pub const fn move_keep_16(register: u8, value: u16) -> u32 {
    0xf2a0_0000 | (value as u32) << 5 | register as u32
}

/// `stp x29, x30, [sp, #-16]!`.
pub const PUSH: u32 = 0xa9bf_7bfd;
/// `ldp x29, x30, [sp], #16`.
pub const POP: u32 = 0xa8c1_7bfd;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Words as GNU as encodes them.
    #[test]
    fn words_of_an_assembler_are_recognised() {
        let counter = |target| Instruction::Counter { target };
        let constant = |target, value| Instruction::Identification { target, value };
        for (word, expected) in [
            (0xd400_0001, Instruction::SupervisorCall(0)), // svc #0
            (0xd400_2461, Instruction::SupervisorCall(0x123)), // svc #0x123
            (0xd53b_e040, counter(0)),                     // mrs x0, cntvct_el0
            (0xd53b_e03e, counter(30)),                    // mrs x30, cntpct_el0
            (0xd53b_e0c5, counter(5)),                     // mrs x5, cntvctss_el0
            (0xd53b_e001, constant(1, COUNTER_FREQUENCY)), // mrs x1, cntfrq_el0
            (0xd53b_0022, constant(2, CACHE_TYPE)),        // mrs x2, ctr_el0
            (0xd538_0003, constant(3, 0)),                 // mrs x3, midr_el1
            (0xd538_0400, constant(0, PROCESSOR_FEATURES)), // mrs x0, id_aa64pfr0_el1
            (0xd538_0600, constant(0, 0)),                 // mrs x0, id_aa64isar0_el1
            (0xd50b_7b20, Instruction::CacheMaintenance),  // dc cvau, x0
            (0xd50b_7521, Instruction::CacheMaintenance),  // ic ivau, x1
            (0xd503_203f, Instruction::SpinHint(Hint::Yield)),
            (0xd503_205f, Instruction::SpinHint(Hint::WaitForEvent)),
            (0xd503_3fdf, Instruction::SpinHint(Hint::Barrier)),
            (0xd420_0020, Instruction::Breakpoint), // brk #1
            (0xd420_7d00, Instruction::Breakpoint), // brk #1000
            (0xd420_0040, Instruction::Other),      // brk #2
            (0xd53b_d040, Instruction::Other),      // mrs x0, tpidr_el0
            (0xd51b_d040, Instruction::Other),      // msr tpidr_el0, x0
            (0xd53b_00e0, Instruction::Other),      // mrs x0, dczid_el0
            (0xd50b_7420, Instruction::Other),      // dc zva, x0
            (0xd503_201f, Instruction::Other),      // nop
            (0xd503_3bbf, Instruction::Other),      // dmb ish
            (0xd503_209f, Instruction::Other),      // sev
            (0xd400_0002, Instruction::Other),      // hvc #0
            (0, Instruction::Other),                // udf #0
        ] {
            assert_eq!(Instruction::decode(word), expected, "{word:#010x}");
        }
    }

    proptest! {
        #[test]
        fn branches_lead_where_they_should(from in 0..1_u64 << 40, words in -(1_i64 << 25)..1 << 25) {
            let from = from & !3;
            let to = from.wrapping_add_signed(words * 4);
            let word = branch(from, to).unwrap();
            prop_assert_eq!(word >> 26, 0b00_0101);
            let offset = ((word << 6).cast_signed() >> 6) as i64 * 4;
            prop_assert_eq!(from.wrapping_add_signed(offset), to);
            prop_assert_eq!(branch_and_link(from, to).unwrap(), word | 0x8000_0000);
        }

        #[test]
        fn what_is_written_is_never_to_be_replaced(from in 0..1_u64 << 30, to in 0..1_u64 << 30, register in 0..32_u8, value: u16) {
            for word in [branch(from & !3, to & !3), branch_and_link(from & !3, to & !3)].into_iter().flatten() {
                prop_assert_eq!(Instruction::decode(word), Instruction::Other);
            }
            for word in [move_zero(register, value), move_keep_16(register, value), PUSH, POP, NOP] {
                prop_assert_eq!(Instruction::decode(word), Instruction::Other);
            }
        }
    }

    #[test]
    fn a_branch_too_far_is_none() {
        assert!(branch(0, (1 << 27) - 4).is_some());
        assert!(branch(0, 1 << 27).is_none());
        assert!(branch(1 << 27, 0).is_some());
        assert!(branch((1 << 27) + 4, 0).is_none());
        assert!(branch(0, 2).is_none());
    }
}
