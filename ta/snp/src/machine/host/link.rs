// SPDX-License-Identifier: MIT
//! The machine's one link to its host.

use super::device::Device;
use super::pci;
use super::pool::PoolHal;
use crate::link::{self, Broken, CONTROL, RECEIVE, TRANSMIT};
use crate::machine::time::apic::Apic;
use spin::Mutex;

/// Messages over the console's queues, in memory of the pool.
pub(crate) type Link = link::Link<PoolHal, Device>;

static LINK: Mutex<Option<Link>> = Mutex::new(None);

/// Finds the console and starts it.
pub(crate) fn start() -> Option<()> {
    let (address, message) = Apic::message()?;
    let console = pci::find(address, message)?;
    let device = Device::start(&console, &[CONTROL, RECEIVE, TRANSMIT])?;
    *LINK.lock() = Some(Link::new(device)?);
    Some(())
}

/// Lends the link.
pub(crate) fn with<T>(use_it: impl FnOnce(&mut Link) -> Result<T, Broken>) -> Result<T, Broken> {
    use_it(LINK.lock().as_mut().ok_or(Broken)?)
}

/// Sends one last message, if the link is there and not in use by whoever failed.
pub(crate) fn send_last_words(bytes: &[u8]) {
    if let Some(mut guard) = LINK.try_lock()
        && let Some(link) = guard.as_mut()
    {
        // There is nobody to tell that it did not work.
        let _ = link.send_last_words(bytes);
    }
}
