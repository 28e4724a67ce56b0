// SPDX-License-Identifier: MIT
//! Why a floating-point exception came (AMD64 Architecture Programmer's Manual volume 1, 4.9 and
//! 6.8; the layout of the state is that of volume 2, 11.4.4).

use super::Registers;

/// `#XF`, of SSE; any other vector is `#MF`, of the x87 unit.
const VECTOR_SSE: u64 = 19;
/// Where the x87 control and status words and `MXCSR` are in the state.
const CONTROL_AT: usize = 0;
const STATUS_AT: usize = 2;
const MXCSR_AT: usize = 24;
/// Flags of an exception, the same in all three; masks lie 7 bits higher in `MXCSR`.
const INVALID: u16 = 0x1;
const DENORMAL: u16 = 0x2;
const DIVIDE: u16 = 0x4;
const OVERFLOW: u16 = 0x8;
const UNDERFLOW: u16 = 0x10;
const INEXACT: u16 = 0x20;
const MXCSR_MASK_SHIFT: u32 = 7;

/// The `FPE_*` code of the exception that a thread trapped with; `None` where no unmasked one is
/// noted, for which Linux sends nothing.
pub fn float_exception_code(registers: &Registers, extended: &[u8]) -> Option<i32> {
    let word = |at: usize| {
        extended
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |two| u16::from_le_bytes(*two))
    };
    let raised = if registers.entry == VECTOR_SSE {
        let state = word(MXCSR_AT);
        state & !(state >> MXCSR_MASK_SHIFT)
    } else {
        word(STATUS_AT) & !word(CONTROL_AT)
    };
    code_of(raised)
}

/// In the order in which Linux looks.
const fn code_of(raised: u16) -> Option<i32> {
    const FPE_FLTDIV: i32 = 3;
    const FPE_FLTOVF: i32 = 4;
    const FPE_FLTUND: i32 = 5;
    const FPE_FLTRES: i32 = 6;
    const FPE_FLTINV: i32 = 7;
    if raised & INVALID != 0 {
        Some(FPE_FLTINV)
    } else if raised & DIVIDE != 0 {
        Some(FPE_FLTDIV)
    } else if raised & OVERFLOW != 0 {
        Some(FPE_FLTOVF)
    } else if raised & (DENORMAL | UNDERFLOW) != 0 {
        Some(FPE_FLTUND)
    } else if raised & INEXACT != 0 {
        Some(FPE_FLTRES)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(vector: u64, control: u16, status: u16, mxcsr: u16) -> Option<i32> {
        let mut state = [0; 64];
        state[CONTROL_AT..][..2].copy_from_slice(&control.to_le_bytes());
        state[STATUS_AT..][..2].copy_from_slice(&status.to_le_bytes());
        state[MXCSR_AT..][..2].copy_from_slice(&mxcsr.to_le_bytes());
        let registers = Registers { entry: vector, ..Registers::start(0, 0) };
        float_exception_code(&registers, &state)
    }

    #[test]
    fn each_unit_tells_by_its_own_words() {
        assert_eq!(code(16, 0x37b, 0x4, 0x1f80), Some(3));
        assert_eq!(code(19, 0x37b, 0x4, 0x1f80), None);
        assert_eq!(code(19, 0x37f, 0, 0x1d84), Some(3));
    }

    #[test]
    fn masked_exceptions_are_none() {
        assert_eq!(code(16, 0x37f, 0x3f, 0x1f80), None);
        assert_eq!(code(19, 0x37f, 0, 0x1fbf), None);
    }

    #[test]
    fn the_gravest_comes_first() {
        assert_eq!(code(19, 0, 0, 0x3f), Some(7));
        assert_eq!(code(19, 0, 0, 0x28), Some(4));
        assert_eq!(code(19, 0, 0, 0x2), Some(5));
        assert_eq!(code(19, 0, 0, 0x20), Some(6));
    }

    #[test]
    fn a_short_state_tells_nothing() {
        assert_eq!(float_exception_code(&Registers::start(0, 0), &[]), None);
    }
}
