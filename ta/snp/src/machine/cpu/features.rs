// SPDX-License-Identifier: MIT
//! What the processor can do. On SNP the CPUID page answers instead of the host.

use super::Cpu;
use crate::extended::{AREA_MAX, Accepted, COMPONENTS, HEADER_END, MXCSR_MASK_DEFAULT};
use crate::machine::sev::cpuid;
use core::arch::x86_64::CpuidResult;
use spin::Once;

/// Features that the payload chooses by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    pub(crate) gigabyte_pages: bool,
    pub(crate) umip: bool,
    pub(crate) x2apic: bool,
    pub(crate) rdrand: bool,
    pub(crate) rdseed: bool,
    /// Hertz of the time stamp counter, where the processor says so.
    pub(crate) tsc_hertz: Option<u64>,
    pub(crate) extended: Accepted,
}

static FEATURES: Once<Features> = Once::new();

/// The features; none when one that is needed is missing.
pub(crate) fn detect() -> Option<Features> {
    let highest = leaf(0).eax;
    let highest_extended = leaf(0x8000_0000).eax;
    if highest < 0xd || highest_extended < 0x8000_0001 {
        return None;
    }
    let basic = leaf(1);
    let structured = cpuid(7, 0);
    let extended = leaf(0x8000_0001);
    let xsave = bit(basic.ecx, 26);
    let smep = bit(structured.ebx, 7);
    let smap = bit(structured.ebx, 20);
    let fsgsbase = bit(structured.ebx, 0);
    let no_execute = bit(extended.edx, 20);
    let syscall = bit(extended.edx, 11);
    if !(xsave && smep && smap && fsgsbase && no_execute && syscall) {
        return None;
    }
    let features = Features {
        gigabyte_pages: bit(extended.edx, 26),
        umip: bit(structured.ecx, 2),
        x2apic: bit(basic.ecx, 21),
        rdrand: bit(basic.ecx, 30),
        rdseed: bit(structured.ebx, 18),
        tsc_hertz: tsc_hertz(highest),
        extended: extended_state(bit(basic.ecx, 28)),
    };
    Some(*FEATURES.call_once(|| features))
}

/// What may be loaded as extended state.
pub(crate) fn extended() -> Accepted {
    FEATURES.get().map_or(
        Accepted { components: 0b11, length: HEADER_END, mxcsr_mask: MXCSR_MASK_DEFAULT },
        |features| features.extended,
    )
}

/// What a program gets to see of a leaf. What depends on how the processor is set up is what is set up
/// here: the page of CPUID values is of a processor before anything was switched on.
pub(crate) fn for_programs(number: u32, index: u32) -> CpuidResult {
    /// Of leaf 1, ECX: the system saves extended state. Of leaf 7, ECX: it uses protection keys.
    const OSXSAVE: u32 = 1 << 27;
    const OSPKE: u32 = 1 << 4;
    let values = cpuid(number, index);
    match (number, index) {
        (1, _) => CpuidResult { ecx: values.ecx | OSXSAVE, ..values },
        (7, 0) => CpuidResult { ecx: values.ecx & !OSPKE, ..values },
        // The bytes of what is switched on.
        (0xd, 0 | 1) => CpuidResult { ebx: extended().length as u32, ..values },
        _ => values,
    }
}

/// x87 and SSE always, AVX where it is; later extensions stay off.
fn extended_state(avx: bool) -> Accepted {
    let offered = cpuid(0xd, 0);
    let avx_area = cpuid(0xd, 2);
    // Bytes 576 to 831 in every processor so far; another layout would not fit the area.
    let standard = avx_area.ebx as usize == HEADER_END && avx_area.eax as usize == 256;
    let mxcsr_mask = Cpu::mxcsr_mask();
    if avx && standard && u64::from(offered.eax) & COMPONENTS == COMPONENTS {
        Accepted { components: COMPONENTS, length: AREA_MAX, mxcsr_mask }
    } else {
        Accepted { components: 0b11, length: HEADER_END, mxcsr_mask }
    }
}

/// Leaf 0x15 of the processor, or leaf 0x4000_0010 of the hypervisor (in kHz).
fn tsc_hertz(highest: u32) -> Option<u64> {
    if highest >= 0x15 {
        let ratio = leaf(0x15);
        let scaled = u64::from(ratio.ecx).checked_mul(u64::from(ratio.ebx))?;
        let hertz = scaled.checked_div(u64::from(ratio.eax)).filter(|hertz| *hertz != 0);
        if hertz.is_some() {
            return hertz;
        }
    }
    let hypervisor = bit(leaf(1).ecx, 31) && leaf(0x4000_0000).eax >= 0x4000_0010;
    if !hypervisor || leaf(0x4000_0000).eax > 0x4000_ffff {
        return None;
    }
    let kilohertz = u64::from(leaf(0x4000_0010).eax);
    kilohertz.checked_mul(1000).filter(|hertz| *hertz != 0)
}

fn leaf(number: u32) -> CpuidResult {
    cpuid(number, 0)
}

const fn bit(register: u32, number: u32) -> bool {
    register.wrapping_shr(number) & 1 != 0
}
