// SPDX-License-Identifier: MIT
//! Floating-point and vector state that is safe to load.
//!
//! `XRSTOR` faults on a header that names unknown components and on reserved `MXCSR` bits; here is
//! the check in front of it. Standard format: AMD64 Architecture Programmer's Manual volume 2,
//! 11.5.2 and figure 11-8.

use strongroom_south::BadState;

/// Bytes of the legacy region and the header.
pub const HEADER_END: usize = 576;
/// Most bytes of the area: x87, SSE and AVX.
pub const AREA_MAX: usize = 832;
/// x87, SSE, AVX in `XCR0`.
pub const COMPONENTS: u64 = 0b111;
/// `MXCSR` bits of a processor that reports no mask.
pub const MXCSR_MASK_DEFAULT: u32 = 0xffbf;

const CONTROL_WORD_INITIAL: u8 = 0x7f;
const CONTROL_WORD_INITIAL_HIGH: u8 = 0x03;
const MXCSR_AT: usize = 24;
const MXCSR_INITIAL: [u8; 4] = 0x1f80_u32.to_le_bytes();
const HEADER_AT: usize = 512;

/// What the processor accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Components enabled in `XCR0`.
    pub components: u64,
    /// Bytes of the area.
    pub length: usize,
    /// `MXCSR` bits that may be set.
    pub mxcsr_mask: u32,
}

/// Whether `state` can be loaded without a fault.
///
/// # Errors
///
/// [`BadState`] when not.
pub fn check(state: &[u8], accepted: &Accepted) -> Result<(), BadState> {
    if state.len() != accepted.length {
        return Err(BadState);
    }
    let mxcsr = state.get(MXCSR_AT..).and_then(|rest| rest.first_chunk()).ok_or(BadState)?;
    let header = state.get(HEADER_AT..HEADER_END).ok_or(BadState)?;
    let (present, reserved) = header.split_first_chunk().ok_or(BadState)?;
    let unknown = u64::from_le_bytes(*present) & !accepted.components;
    let forbidden = u32::from_le_bytes(*mxcsr) & !accepted.mxcsr_mask;
    if unknown != 0 || forbidden != 0 || reserved.iter().any(|byte| *byte != 0) {
        return Err(BadState);
    }
    Ok(())
}

/// The state in which a program starts: zero but for the control words.
pub const fn initial() -> [u8; AREA_MAX] {
    let mut area = [0; AREA_MAX];
    if let Some((control, _)) = area.split_first_chunk_mut() {
        *control = [CONTROL_WORD_INITIAL, CONTROL_WORD_INITIAL_HIGH];
    }
    if let Some((_, rest)) = area.split_at_mut_checked(MXCSR_AT)
        && let Some((mxcsr, _)) = rest.split_first_chunk_mut()
    {
        *mxcsr = MXCSR_INITIAL;
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: Accepted =
        Accepted { components: COMPONENTS, length: AREA_MAX, mxcsr_mask: 0xffff };

    #[test]
    fn the_initial_state_is_good_and_what_linux_starts_with() {
        let area = initial();
        assert_eq!(check(&area, &ACCEPTED), Ok(()));
        assert_eq!(&area[..2], &[0x7f, 3]);
        assert_eq!(&area[24..28], &[0x80, 0x1f, 0, 0]);
    }

    #[test]
    fn whatever_would_fault_is_refused() {
        let refused = |at: usize, value: u8| {
            let mut area = initial();
            area[at] = value;
            assert_eq!(check(&area, &ACCEPTED), Err(BadState), "byte {at}");
        };
        refused(26, 1); // MXCSR bit 16
        refused(512, 8); // a component that is not enabled
        refused(519, 0x80);
        for at in 520..576 {
            refused(at, 1);
        }
        assert_eq!(check(&initial()[1..], &ACCEPTED), Err(BadState));
        assert_eq!(check(&[], &ACCEPTED), Err(BadState));
    }

    #[test]
    fn registers_are_free() {
        let mut area = [0xff; AREA_MAX];
        area[24..28].copy_from_slice(&0xffff_u32.to_le_bytes());
        area[512..576].fill(0);
        area[512] = 7;
        assert_eq!(check(&area, &ACCEPTED), Ok(()));
    }
}
