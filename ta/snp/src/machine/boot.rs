// SPDX-License-Identifier: MIT
//! From the first Rust instruction to the main loop.

use super::cpu::features::{self, Features};
use super::halt::{Code, halt};
use super::host::{link, pool};
use super::memory::{device, direct, frames, image, table::PAGE};
use super::sev::injection::Deliver;
use super::sev::{self, Platform};
use super::{Handler, PAYLOAD, Payload, cpu, entropy, pump, time};
use crate::Workload;
use crate::frame_table::FrameTable;
use crate::ranges::Ranges;
use crate::start_info::{self, Physical, StartInfo};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::global_asm;
use core::ops::Range;
use strongroom_wire::boot::{RECORD_MAX, Record};

global_asm!(include_str!("boot.s"));

/// Memory that the boot tables reach.
const BOOT_REACH: u64 = 1 << 30;

/// Makes the workload out of the boot record. None refuses the record.
pub type Build = fn(&'static Payload, Record) -> Option<Box<dyn Workload>>;

/// How control came to `boot.s`.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The address that the launcher left: of a launch page, or of PVH's start information.
    pub address: u64,
    /// Whether it is a launch page, that is, a processor of a measured image entered.
    pub launched: bool,
    /// The register `SEV_STATUS` (AMD64 Architecture Programmer's Manual, volume 2, 15.34.10).
    pub sev_status: u64,
}

/// What an image insists on before it runs anything.
#[derive(Clone, Copy, Debug)]
pub enum Image {
    /// Nothing: it runs without protection, to be looked at. What an emulated processor lacks of SNP,
    /// something else stands in for.
    Simulation(StandIn),
    /// Secure nested paging, and to have been launched as a measured image.
    Release,
}

/// What an emulated processor and its host lack.
#[derive(Clone, Copy, Debug)]
pub struct StandIn {
    /// Carries out instructions that the processor refuses.
    pub illegal_instruction: Handler,
    /// Does the host's part when the interrupt controller raised `#HV`.
    pub deliver: Deliver,
}

impl Image {
    pub(crate) const SNP_ACTIVE: u64 = 1 << 2;

    const fn accepts(self, arrival: Arrival) -> bool {
        match self {
            Self::Simulation(_) => true,
            Self::Release => arrival.launched && arrival.sev_status & Self::SNP_ACTIVE != 0,
        }
    }
}

/// Makes the function that `boot.s` leads to.
#[macro_export]
macro_rules! payload_entry {
    ($image:expr, $build:expr) => {
        /// Where `boot.s` leads, once, with what it found.
        #[unsafe(no_mangle)]
        extern "C" fn payload_main(address: u64, launched: u64, sev_status: u64) -> ! {
            let launched = launched != 0;
            let arrival = $crate::machine::Arrival { address, launched, sev_status };
            // SAFETY: `boot.s` comes here once, at boot, on the first processor.
            unsafe { $crate::machine::start(arrival, $image, $build) }
        }
    };
}

/// Boots and runs.
///
/// # Safety
///
/// Called once, by `boot.s` through what [`payload_entry`](crate::payload_entry) makes.
pub unsafe fn start(arrival: Arrival, image: Image, build: Build) -> ! {
    if !image.accepts(arrival) {
        halt(Code::NotProtected);
    }
    let platform = Platform::of(arrival);
    let record_max = RECORD_MAX as u64;
    let info = if arrival.launched {
        start_info::parse_launched(&BootReach, arrival.address, record_max)
    } else {
        start_info::parse(&BootReach, arrival.address, record_max)
    };
    let info = info.unwrap_or_else(|_| halt(Code::BadStart));
    if let Some(launch) = &info.launch {
        sev::read_cpuid(platform, launch).unwrap_or_else(|| halt(Code::BadLaunch));
    }
    let features = features::detect().unwrap_or_else(|| halt(Code::BadProcessor));
    // SAFETY: called once, at boot, as `start` itself is.
    unsafe { cpu::start::start(&features) };
    if let (Image::Simulation(stand_in), Platform::Simulated) = (image, platform) {
        cpu::trap::on_illegal_instruction(stand_in.illegal_instruction);
        sev::injection::on_emulated_interrupt(stand_in.deliver);
    }
    sev::start(platform);
    // SAFETY: called once, at boot, as `start` itself is.
    unsafe { take_memory(&features, &info) }.unwrap_or_else(|| halt(Code::NoMemory));
    if let Some(launch) = &info.launch {
        sev::injection::start(launch).unwrap_or_else(|| halt(Code::BadLaunch));
    }
    time::start(&features).unwrap_or_else(|| halt(Code::NoClock));
    entropy::start(&features).unwrap_or_else(|_| halt(Code::NoEntropy));
    let record = read_record(&info).unwrap_or_else(|| halt(Code::BadRecord));
    link::start().unwrap_or_else(|| halt(Code::NoHost));
    if !cpu::start::components_stay(&features) {
        halt(Code::LostVectors);
    }
    // Without a key in the secrets page there is no security processor, and nobody misses it.
    let _ = info.launch.as_ref().and_then(sev::security::start);
    let workload = build(&PAYLOAD, record).unwrap_or_else(|| halt(Code::BadRecord));
    pump::run(workload)
}

/// Physical memory through the boot tables.
struct BootReach;

impl Physical for BootReach {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let end = address.checked_add(to.len() as u64);
        if end.is_none_or(|end| end > BOOT_REACH) {
            return false;
        }
        // SAFETY: mapped by the boot tables; what lies there is plain bytes, copied once. `to` is on
        // the stack of the image, which no loader data overlaps but a hostile loader's: then the
        // bytes are as arbitrary as if it had written them elsewhere.
        unsafe {
            core::ptr::copy(direct::pointer::<u8>(address), to.as_mut_ptr(), to.len());
        }
        true
    }
}

/// Builds the page tables, makes memory the guest's, and puts all that is free into the frame table.
///
/// # Safety
///
/// Called once.
unsafe fn take_memory(features: &Features, info: &StartInfo) -> Option<()> {
    let mut memory = info.memory.clone();
    memory.remove(&(direct::PHYSICAL_END..u64::MAX)).ok()?;
    let reachable = memory.clone();
    let whole_record = reachable.iter().any(|range| contains(&range, &info.record));
    if !whole_record || !reachable.iter().any(|range| contains(&range, &image::physical())) {
        return None;
    }
    memory.remove(&image::physical()).ok()?;
    memory.remove(&info.held).ok()?;
    sev::memory::start();
    let mut early = Early::within(&memory)?;
    let shared = early.take(pool::LENGTH)?;
    let allocate = &mut || early.page();
    let root = image::build(&reachable, &shared, features.gigabyte_pages, allocate)?;
    cpu::Cpu::current().load_root(root.physical());
    device::keep_off(&info.occupied);
    sev::memory::share(shared);
    sev::memory::accept(&memory);

    let frames_end = memory.iter().map(|range| range.end).max()?.div_ceil(PAGE);
    let table = early.take(frames_end.checked_mul(4)?.checked_next_multiple_of(PAGE)?)?;
    let length = usize::try_from(frames_end).ok()?;
    let start = direct::pointer::<u32>(table.start);
    // SAFETY: taken just now, whole pages in the direct map.
    unsafe { direct::zero(start.cast(), length_of(&table)) };
    // SAFETY: zeroed, aligned, and nobody else's from now on.
    let entries = unsafe { core::slice::from_raw_parts_mut(start, length) };
    memory.remove(&early.used()).ok()?;
    let fresh = memory.whole_units(PAGE.trailing_zeros()).ok()?;
    let reserve = fresh.total().div_ceil(128).clamp(128, 1024);
    let table = FrameTable::new(entries, fresh, usize::try_from(reserve).ok()?);
    let fixed = length_of(&early.used()).saturating_add(length_of(&image::physical()));
    frames::start(table, fixed);
    Some(())
}

const fn length_of(range: &Range<u64>) -> usize {
    range.end.saturating_sub(range.start) as usize
}

const fn contains(range: &Range<u64>, part: &Range<u64>) -> bool {
    range.start <= part.start && part.end <= range.end
}

/// Memory for what is needed before there are frames: the front of the largest range in reach of
/// the boot tables.
struct Early {
    start: u64,
    next: u64,
    end: u64,
}

impl Early {
    fn within(memory: &Ranges) -> Option<Self> {
        let mut reach = memory.clone();
        reach.remove(&(BOOT_REACH..u64::MAX)).ok()?;
        let largest = reach.iter().max_by_key(|range| range.end.saturating_sub(range.start))?;
        let start = largest.start.checked_next_multiple_of(PAGE)?;
        Some(Self { start, next: start, end: largest.end })
    }

    fn take(&mut self, length: u64) -> Option<Range<u64>> {
        let end = self.next.checked_add(length).filter(|end| *end <= self.end)?;
        Some(core::mem::replace(&mut self.next, end)..end)
    }

    fn page(&mut self) -> Option<u64> {
        let page = self.take(PAGE)?.start;
        sev::memory::accept_page(page);
        // SAFETY: taken just now; the boot tables map it where the direct map will be.
        unsafe { direct::zero_page(page) };
        Some(page)
    }

    const fn used(&self) -> Range<u64> {
        self.start..self.next
    }
}

/// Copies the boot record once, and decodes the copy.
fn read_record(info: &StartInfo) -> Option<Record> {
    let length = length_of(&info.record);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).ok()?;
    bytes.resize(length, 0_u8);
    let from = direct::pointer::<u8>(info.record.start);
    // SAFETY: `take_memory` made sure that the record lies in the direct map and in no frame.
    unsafe { core::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), length) };
    Record::decode(&bytes).ok()
}
