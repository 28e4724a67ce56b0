// SPDX-License-Identifier: MIT
//! Restricted Injection: the host's interrupts, by `#HV` and the doorbell page.
//!
//! `#HV` comes whether interrupts are on or off. Out of user mode it is a trap like an interrupt;
//! in the kernel `entry.s` sends it back at once, and whoever waits or enters user mode looks into
//! the page first. No vector leads anywhere but to the end of its interrupt, as without it.
//!
//! An emulated processor has no `#HV` of a host's. There its interrupt controller uses that vector,
//! and `machine::simulation` writes into the page what a host would have.

use super::ghcb;
use super::shared::SharedPage;
use crate::machine::cpu::{Cpu, descriptors::HYPERVISOR_INJECTION};
use crate::machine::halt::{Code, halt};
use crate::machine::time::apic;
use crate::sev::doorbell::{Events, PENDING};
use crate::sev::ghcb::{Exit, Reply};
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Once;
use strongroom_snp_layout::LaunchPage;

/// `SEV_FEATURES`: the guest takes no event but `#HV` from the host.
const RESTRICTED_INJECTION: u64 = 1 << 3;

/// Writes into the word what a host would have.
pub type Deliver = fn(&AtomicU32);

/// The page's first word.
static EVENTS: Once<&'static AtomicU32> = Once::new();
static DELIVER: Once<Deliver> = Once::new();

unsafe extern "C" {
    /// Interrupts are on only in there, where their handlers touch nothing but stacks of their own.
    safe fn rest_until_injection(events: &'static AtomicU32);
}

/// From now on `deliver` does a host's part.
pub(crate) fn on_emulated_interrupt(deliver: Deliver) {
    DELIVER.call_once(|| deliver);
}

/// Gives the host a doorbell page, if the launch was one with Restricted Injection. What was measured
/// decides, not what the host says. None when it does not take the page.
pub(crate) fn start(launch: &LaunchPage) -> Option<()> {
    if launch.sev_features & RESTRICTED_INJECTION == 0 {
        return Some(());
    }
    let [page] = SharedPage::take()?;
    if ghcb::call(Exit::Doorbell { page: page.physical() }) != Ok(Reply::Done) {
        return None;
    }
    Cpu::current().set_doorbell(EVENTS.call_once(|| page.first_word()));
    Some(())
}

/// Whether interrupts come by the doorbell page.
pub(crate) fn is_restricted() -> bool {
    EVENTS.is_completed()
}

/// The vector with which an emulated interrupt controller interrupts in a host's place.
pub(crate) fn emulated_vector() -> Option<u8> {
    (is_restricted() && DELIVER.is_completed()).then_some(HYPERVISOR_INJECTION as u8)
}

/// Whether something waits to be taken.
pub(crate) fn is_pending() -> bool {
    EVENTS.get().is_some_and(|events| events.load(Ordering::Relaxed) & PENDING != 0)
}

/// Waits until something is pending. May return early.
pub(crate) fn rest() {
    if let Some(events) = EVENTS.get() {
        rest_until_injection(events);
    }
}

/// Takes what is pending, and ends it.
pub(crate) fn take() {
    let Some(word) = EVENTS.get() else { return };
    if let Some(deliver) = DELIVER.get() {
        deliver(word);
    }
    let events = Events::of(word.swap(0, Ordering::AcqRel));
    if events.machine_check {
        halt(Code::Trap);
    }
    if let Some(vector) = events.vector
        && !events.ended
    {
        apic::acknowledge(u64::from(vector.get()));
    }
}
