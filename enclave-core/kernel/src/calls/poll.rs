// SPDX-License-Identifier: MIT
//! `poll(2)` and `select(2)`.

use crate::calls::waiting::{
    Watched, mask_argument, store_left, store_left_as, timeout_argument, timeout_of_milliseconds,
    under_mask, wait,
};
use crate::fs::{OpenFile, OpenFlags, Ready};
use crate::outcome::{Stop, SysResult};
use crate::sync::Waiter;
use crate::table::{Row, row};
use crate::task::{Call, Limits};
use crate::time::{ns_of_timespec, timeval};
use crate::user::{UserPtr, zeroed};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::offset_of;
use strongroom_abi::{Errno, PollFd, Timespec, Timeval};
use zerocopy::IntoBytes;

pub(crate) const CALLS: &[Row] = &[
    row!(Poll, poll(3), Full),
    row!(Ppoll, ppoll(5), Full),
    row!(Select, select(5), Full),
    row!(Pselect6, pselect6(6), Full),
];

fn poll(call: &mut Call<'_>, fds: UserPtr<PollFd>, count: u32, timeout_ms: i32) -> SysResult {
    poll_for(call, fds, count, timeout_of_milliseconds(timeout_ms))
}

fn ppoll(
    call: &mut Call<'_>,
    fds: UserPtr<PollFd>,
    count: u32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> SysResult {
    let timeout_ns = timeout_argument(call, timeout)?;
    let mask = mask_argument(call, mask, mask_size)?;
    under_mask(call, mask, |call| {
        let result = poll_for(call, fds, count, timeout_ns);
        finish(result, || store_left(call, timeout, timeout_ns))
    })
}

/// Stores what is left of the time, unless the call is going to be attempted again.
fn finish(result: SysResult, store: impl FnOnce() -> SysResult<()>) -> SysResult {
    if matches!(result, Ok(_) | Err(Stop::Errno(_))) {
        store()?;
    }
    result
}

fn poll_for(
    call: &mut Call<'_>,
    fds: UserPtr<PollFd>,
    count: u32,
    timeout_ns: Option<u64>,
) -> SysResult {
    if u64::from(count) > call.thread.process.limits.lock().soft(Limits::NOFILE) {
        return Err(Errno::EINVAL.into());
    }
    let mut entries: Vec<PollFd> = zeroed(count as usize)?;
    call.memory.space().copy_in(fds.address(), entries.as_mut_slice().as_mut_bytes())?;
    let mut entries = Entries(entries);
    let ready = wait(call, timeout_ns, &mut entries)?;
    for (index, entry) in entries.0.iter().enumerate() {
        let at = fds.element(index).address().wrapping_add(offset_of!(PollFd, revents));
        UserPtr::<u16>::at(at).write(call.memory, &entry.revents)?;
    }
    Ok(ready)
}

/// A descriptor's file. One that only names a place cannot be waited for.
fn watchable(call: &Call<'_>, descriptor: i32) -> Result<Arc<OpenFile>, Errno> {
    let open = call.file(descriptor)?;
    if open.flags().contains(OpenFlags::PATH) { Err(Errno::EBADF) } else { Ok(open) }
}

struct Entries(Vec<PollFd>);

impl Watched for Entries {
    fn look(&mut self, call: &Call<'_>, mut waiter: Option<&Waiter>) -> SysResult {
        let mut count = 0;
        for entry in &mut self.0 {
            entry.revents = 0;
            if entry.fd < 0 {
                continue;
            }
            let ready = match watchable(call, entry.fd) {
                Ok(open) => open.file.poll_by(call.thread, &open, waiter),
                Err(_) => Ready::INVALID,
            };
            let always = Ready::ERROR | Ready::HANGUP | Ready::INVALID;
            let wanted = u32::from(entry.events) | always.bits();
            entry.revents = (ready.bits() & wanted) as u16;
            if entry.revents != 0 {
                count += 1;
                // Nobody is going to sleep any more.
                waiter = None;
            }
        }
        Ok(count)
    }

    fn forget(&self, call: &Call<'_>, waiter: &Waiter) {
        for entry in &self.0 {
            if let Ok(open) = watchable(call, entry.fd) {
                open.file.forget(waiter);
            }
        }
    }
}

fn select(
    call: &mut Call<'_>,
    count: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    timeout: UserPtr<Timeval>,
) -> SysResult {
    let given = timeout.read_optional(call.memory)?;
    let timeout_ns = given.map(select_timeout).transpose()?;
    let result = select_for(call, count, [read, write, except], timeout_ns);
    finish(result, || {
        store_left_as(call, timeout.address(), timeout_ns, |left| {
            timeout.write(call.memory, &timeval(left))
        })
    })
}

/// Microseconds of a whole second and more are fine here.
fn select_timeout(timeout: Timeval) -> Result<u64, Errno> {
    let carried = timeout.microseconds / 1_000_000;
    let seconds = timeout.seconds.checked_add(carried).ok_or(Errno::EINVAL)?;
    let nanoseconds = timeout.microseconds % 1_000_000 * 1_000;
    ns_of_timespec(Timespec { seconds, nanoseconds })
}

fn pselect6(
    call: &mut Call<'_>,
    count: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<[u64; 2]>,
) -> SysResult {
    let [mask, mask_size] = mask.read_optional(call.memory)?.unwrap_or_default();
    let timeout_ns = timeout_argument(call, timeout)?;
    let mask = mask_argument(call, UserPtr::at(mask as usize), mask_size as usize)?;
    under_mask(call, mask, |call| {
        let result = select_for(call, count, [read, write, except], timeout_ns);
        finish(result, || store_left(call, timeout, timeout_ns))
    })
}

fn select_for(
    call: &mut Call<'_>,
    count: i32,
    places: [UserPtr<u64>; 3],
    timeout_ns: Option<u64>,
) -> SysResult {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let count = if count > TABLE_MIN { count.min(table_size(call)) } else { count };
    let words = count.div_ceil(64);
    let mut sets = Sets { count, wanted: Default::default(), ready: Default::default() };
    for (set, place) in sets.wanted.iter_mut().zip(places) {
        *set = zeroed(words)?;
        if !place.is_null() {
            call.memory.space().copy_in(place.address(), set.as_mut_slice().as_mut_bytes())?;
        }
    }
    let ready = wait(call, timeout_ns, &mut sets)?;
    for (set, place) in sets.ready.iter().zip(places) {
        if !place.is_null() {
            call.memory.space().copy_out(place.address(), set.as_slice().as_bytes())?;
        }
    }
    Ok(ready)
}

/// Room in the smallest table of descriptors on Linux.
const TABLE_MIN: usize = 64;

/// Descriptors that Linux's table would have room for: those above are not looked at.
fn table_size(call: &Call<'_>) -> usize {
    const STEP: usize = 128;
    match call.files.numbers().last() {
        Some(&last) if last >= TABLE_MIN => (last / STEP + 1).next_power_of_two() * STEP,
        Some(_) | None => TABLE_MIN,
    }
}

/// The sets of `select(2)`: to read, to write, exceptional.
struct Sets {
    count: usize,
    wanted: [Vec<u64>; 3],
    ready: [Vec<u64>; 3],
}

impl Sets {
    /// Readiness that each set is about (`POLLIN_SET` and its like).
    const CONDITIONS: [Ready; 3] = [
        Ready::READ.union(Ready::READ_BAND).union(Ready::HANGUP).union(Ready::ERROR),
        Ready::WRITE.union(Ready::WRITE_BAND).union(Ready::ERROR),
        Ready::PRIORITY,
    ];

    /// The descriptors that are in any set, and in which.
    fn members(&self) -> impl Iterator<Item = (usize, [bool; 3])> {
        (0..self.count).filter_map(|number| {
            let wanted = self.wanted.each_ref().map(|set| has(set, number));
            wanted.contains(&true).then_some((number, wanted))
        })
    }
}

fn has(set: &[u64], number: usize) -> bool {
    set.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
}

impl Watched for Sets {
    fn look(&mut self, call: &Call<'_>, mut waiter: Option<&Waiter>) -> SysResult {
        let mut count = 0;
        let mut results = self.wanted.each_ref().map(|set| vec![0u64; set.len()]);
        for (number, wanted) in self.members() {
            let open = watchable(call, number as i32)?;
            let ready = open.file.poll_by(call.thread, &open, waiter);
            for ((set, condition), wanted) in results.iter_mut().zip(Self::CONDITIONS).zip(wanted) {
                if wanted
                    && ready.intersects(condition)
                    && let Some(word) = set.get_mut(number / 64)
                {
                    *word |= 1 << (number % 64);
                    count += 1;
                    waiter = None;
                }
            }
        }
        self.ready = results;
        Ok(count)
    }

    fn forget(&self, call: &Call<'_>, waiter: &Waiter) {
        for (number, _) in self.members() {
            if let Ok(open) = watchable(call, number as i32) {
                open.file.forget(waiter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_carries_microseconds() {
        let time = |seconds, microseconds| Timeval { seconds, microseconds };
        assert_eq!(select_timeout(time(1, 2_500_000)), Ok(3_500_000_000));
        assert_eq!(select_timeout(time(0, -1)), Err(Errno::EINVAL));
        assert_eq!(select_timeout(time(-1, 0)), Err(Errno::EINVAL));
    }

    #[test]
    fn members_of_sets_are_found_below_the_count() {
        let set = vec![1 | 1 << 63, 1 << 1];
        let empty = vec![0, 0];
        let sets =
            Sets { count: 65, wanted: [set, empty.clone(), empty], ready: Default::default() };
        let members: Vec<_> = sets.members().map(|(number, _)| number).collect();
        assert_eq!(members, [0, 63]);
    }
}
