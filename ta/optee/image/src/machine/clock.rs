// SPDX-License-Identifier: MIT
//! Time from OP-TEE.
//!
//! `TEE_GetSystemTime` has a resolution of a millisecond and costs tens of microseconds, as much as
//! hundreds of the kernel's own calls. So it is asked at most once each time the kernel is entered:
//! from a program, or from the normal world. In between, time stands still, which a kernel that
//! does not block cannot notice.

use super::{TrustedApplication, context};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use optee_utee::Time;
use strongroom_south::Clock;

const SECOND_NS: u64 = 1_000_000_000;
const MILLISECOND_NS: u64 = 1_000_000;
/// From one interrupt of a program that looks at the clock to the next, as the kernel accounts it.
const TICK_NS: u64 = 4_000_000;

/// The last time that was told.
static LATEST_NS: AtomicU64 = AtomicU64::new(0);
/// The first time that OP-TEE told, plus 1; 0 until then.
static ORIGIN_NS: AtomicU64 = AtomicU64::new(0);
/// When it was last time for an interrupt.
static TICKED_NS: AtomicU64 = AtomicU64::new(0);
/// Whether the kernel has been entered since.
static STALE: AtomicBool = AtomicBool::new(true);

/// The kernel is entered: the next question is passed on.
pub(crate) fn touch() {
    STALE.store(true, Ordering::Relaxed);
}

/// Nanoseconds since the start. Never decreases, whatever OP-TEE says.
pub(crate) fn now_ns() -> u64 {
    if !STALE.swap(false, Ordering::Relaxed) {
        return LATEST_NS.load(Ordering::Relaxed);
    }
    let mut time = Time::new();
    time.system_time();
    let seconds = u64::from(time.seconds).saturating_mul(SECOND_NS);
    let told = seconds.saturating_add(u64::from(time.millis).saturating_mul(MILLISECOND_NS));
    let origin = match ORIGIN_NS.load(Ordering::Relaxed) {
        0 => {
            ORIGIN_NS.store(told.saturating_add(1), Ordering::Relaxed);
            told
        }
        origin => origin.saturating_sub(1),
    };
    let since = told.saturating_sub(origin);
    if since.saturating_sub(TICKED_NS.load(Ordering::Relaxed)) >= TICK_NS {
        TICKED_NS.store(since, Ordering::Relaxed);
        context::interrupt();
    }
    LATEST_NS.fetch_max(since, Ordering::Relaxed).max(since)
}

impl Clock for TrustedApplication {
    fn monotonic_ns(&self) -> u64 {
        now_ns()
    }
}
