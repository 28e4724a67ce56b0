// SPDX-License-Identifier: MIT
//! Time: the clock that only orders events, the tick, and waiting.
//!
//! The clock is the time stamp counter. Its rate is what the processor says, or else what the
//! host's PIT makes of it; the kernel's contract allows the host to choose it.

pub(crate) mod apic;
mod pit;

use super::Payload;
use super::cpu::features::Features;
use super::sev::injection;
use crate::timescale::Timescale;
use apic::Apic;
use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;
use strongroom_south::Clock;
use x86_64::instructions::interrupts;

/// Time between two ticks while user mode runs.
const TICK_NS: u64 = 4_000_000;
/// What the timer counts down from while it is watched to learn its rate.
const WATCHED_TICKS: u32 = 200_000;
/// How often it is watched: the host may be busy meanwhile, so the shortest time counts.
const WATCHES: usize = 3;
/// A timer that takes longer does not count.
const WATCHED_NS_MAX: u64 = 1_000_000_000;

struct Source {
    start: u64,
    scale: Timescale,
    timer: Timescale,
}

static SOURCE: Once<Source> = Once::new();
static LATEST_NS: AtomicU64 = AtomicU64::new(0);

/// The counter.
pub(crate) fn counter() -> u64 {
    // SAFETY: every 64-bit processor has the instruction, and it only reads.
    unsafe { _rdtsc() }
}

/// Learns the rates of counter and timer. None when there is no telling.
pub(crate) fn start(features: &Features) -> Option<()> {
    let start = counter();
    let apic = Apic::start(features)?;
    let scale = match features.tsc_hertz.and_then(Timescale::new) {
        Some(scale) => scale,
        None => pit::measure_counter()?,
    };
    let timer = measure_timer(apic, &scale)?;
    SOURCE.call_once(|| Source { start, scale, timer });
    tick();
    Some(())
}

/// Learns the timer's rate from when it rings. What is left of its count is not read: a QEMU that
/// counts instructions cannot tell it in the middle of a block of them.
fn measure_timer(apic: &Apic, scale: &Timescale) -> Option<Timescale> {
    let mut shortest_ns = u64::MAX;
    for _ in 0..WATCHES {
        let start = counter();
        let elapsed_ns = || scale.nanoseconds(counter().wrapping_sub(start));
        apic.one_shot(WATCHED_TICKS);
        while !apic.timer_rang() {
            if elapsed_ns() > WATCHED_NS_MAX {
                return None;
            }
        }
        shortest_ns = shortest_ns.min(elapsed_ns());
        // The interrupt waits, so this takes it and goes on.
        rest();
    }
    Timescale::new(u64::from(WATCHED_TICKS).checked_mul(1_000_000_000)?.checked_div(shortest_ns)?)
}

/// Starts the tick.
fn tick() {
    arm(TICK_NS, Apic::periodic);
}

fn arm(nanoseconds: u64, mode: impl FnOnce(&Apic, u32)) {
    if let (Some(source), Some(apic)) = (SOURCE.get(), Apic::get()) {
        let ticks = source.timer.ticks(nanoseconds);
        mode(apic, u32::try_from(ticks).unwrap_or(u32::MAX).max(1));
    }
}

/// Waits for an interrupt: the host's, or the timer's at `until_ns`. May return early.
pub(crate) fn wait(until_ns: Option<u64>) {
    match until_ns {
        Some(until_ns) => {
            let now = super::PAYLOAD.monotonic_ns();
            if until_ns <= now {
                return;
            }
            arm(until_ns.wrapping_sub(now), Apic::one_shot);
        }
        None => arm(0, |apic, _| apic.stop()),
    }
    rest();
    tick();
}

/// Until an interrupt, which is taken.
fn rest() {
    if injection::is_restricted() {
        injection::rest();
        injection::take();
    } else {
        interrupts::enable_and_hlt();
        interrupts::disable();
    }
}

impl Clock for Payload {
    fn monotonic_ns(&self) -> u64 {
        let Some(source) = SOURCE.get() else { return 0 };
        let now = source.scale.nanoseconds(counter().wrapping_sub(source.start));
        now.max(LATEST_NS.fetch_max(now, Ordering::Relaxed))
    }
}
