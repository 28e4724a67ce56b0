// SPDX-License-Identifier: MIT
//! What `poll(2)`, `select(2)` and `epoll_wait(2)` have in common: looking, sleeping until a file
//! has changed, and the signal mask that is in force meanwhile.

use crate::memory::Protection;
use crate::outcome::{Interrupt, Stop, SysResult};
use crate::signal::{SignalSet, is_pending};
use crate::sync::Waiter;
use crate::task::{Call, Work};
use crate::time::{ns_of_timespec, timespec};
use crate::user::UserPtr;
use strongroom_abi::{Errno, Timespec};

/// Bytes of a signal set.
const SIGNAL_SET_SIZE: usize = 8;

/// What is waited for.
pub(super) trait Watched {
    /// How many are ready; with a waiter, it is registered with all of them.
    fn look(&mut self, call: &Call<'_>, waiter: Option<&Waiter>) -> SysResult;

    /// Takes the waiter out again.
    fn forget(&self, call: &Call<'_>, waiter: &Waiter);
}

/// Waits until something is ready, `timeout_ns` have passed (`None` is forever), or a handler
/// interrupts, which is `EINTR` whatever its flags are.
pub(super) fn wait(
    call: &mut Call<'_>,
    timeout_ns: Option<u64>,
    watched: &mut impl Watched,
) -> SysResult {
    if let Some(timeout_ns) = timeout_ns {
        call.set_timeout(timeout_ns);
    }
    let mut ready = watched.look(call, None)?;
    let over = call.progress.interrupted || timeout_ns == Some(0) || call.timed_out();
    if ready == 0 && !over {
        let waiter = call.waiter();
        call.progress.items = 1; // registered
        ready = watched.look(call, Some(&waiter))?;
        if ready == 0 {
            return Err(Stop::Sleep(Interrupt::Fail));
        }
    }
    if call.progress.items != 0 {
        watched.forget(call, &call.waiter());
    }
    if ready == 0 && call.progress.interrupted && !call.timed_out() {
        return Err(Errno::EINTR.into());
    }
    Ok(ready)
}

/// Makes a call under another signal mask. When a handler interrupts it, the mask is kept until
/// the handler's frame has been built.
pub(super) fn under_mask(
    call: &mut Call<'_>,
    mask: Option<SignalSet>,
    body: impl FnOnce(&mut Call<'_>) -> SysResult,
) -> SysResult {
    let Some(mask) = mask else { return body(call) };
    let mut signals = call.thread.signals.lock();
    if signals.saved_mask.is_none() {
        signals.saved_mask = Some(signals.mask);
        signals.mask = mask.blockable();
    }
    drop(signals);
    note_unblocked(call);
    let result = body(call);
    let stays = match result {
        Err(Stop::Sleep(_)) => true,
        Err(Stop::Errno(_) | Stop::Page(_)) => call.progress.interrupted,
        Ok(_) | Err(Stop::Turn | Stop::Context) => false,
    };
    if !stays {
        let mut signals = call.thread.signals.lock();
        if let Some(saved) = signals.saved_mask.take() {
            signals.mask = saved;
        }
        drop(signals);
        note_unblocked(call);
    }
    result
}

/// A change of the mask may have uncovered signals.
fn note_unblocked(call: &Call<'_>) {
    let unblocked = SignalSet(!call.thread.signals.lock().mask.0);
    if is_pending(call.thread, unblocked) {
        call.thread.add_work(Work::SIGNAL);
    }
}

/// The signal mask argument, `None` where it is null.
pub(super) fn mask_argument(
    call: &Call<'_>,
    mask: UserPtr<u64>,
    size: usize,
) -> SysResult<Option<SignalSet>> {
    if mask.is_null() {
        return Ok(None);
    }
    if size != SIGNAL_SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    Ok(Some(SignalSet(mask.read(call.memory)?)))
}

/// A relative timeout, `None` for forever.
pub(super) fn timeout_argument(
    call: &Call<'_>,
    timeout: UserPtr<Timespec>,
) -> SysResult<Option<u64>> {
    let timeout = timeout.read_optional(call.memory)?;
    Ok(timeout.map(ns_of_timespec).transpose()?)
}

/// Nanoseconds of a timeout in milliseconds, `None` for forever.
pub(super) fn timeout_of_milliseconds(milliseconds: i32) -> Option<u64> {
    u64::try_from(milliseconds).ok().map(|milliseconds| milliseconds * 1_000_000)
}

/// Stores what is left of a timeout, as Linux does after `ppoll` and `pselect6`. A place that
/// cannot be written is left alone.
pub(super) fn store_left(
    call: &Call<'_>,
    timeout: UserPtr<Timespec>,
    timeout_ns: Option<u64>,
) -> SysResult<()> {
    store_left_as(call, timeout.address(), timeout_ns, |left| {
        timeout.write(call.memory, &timespec(left))
    })
}

/// As [`store_left`], in the form that `write` gives it.
pub(super) fn store_left_as(
    call: &Call<'_>,
    address: usize,
    timeout_ns: Option<u64>,
    write: impl FnOnce(u64) -> SysResult<()>,
) -> SysResult<()> {
    if matches!(timeout_ns, None | Some(0)) {
        return Ok(());
    }
    let deadline = call.progress.deadline_ns.unwrap_or(0);
    let Err(stop) = write(deadline.saturating_sub(call.kernel.now_ns())) else { return Ok(()) };
    let mut writable = false;
    call.memory.for_each_area(|range, area| {
        writable |= range.contains(&address) && area.protection.contains(Protection::WRITE);
    });
    if writable { Err(stop) } else { Ok(()) }
}
