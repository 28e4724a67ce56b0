// SPDX-License-Identifier: MIT
//! `epoll_create(2)`, `epoll_ctl(2)`, `epoll_wait(2)`.

use crate::calls::descriptors::install;
use crate::calls::waiting::{
    Watched, mask_argument, timeout_argument, timeout_of_milliseconds, under_mask, wait,
};
use crate::fs::epoll::{Epoll, Event, Taken, WatchFlags};
use crate::fs::{File, OpenFile, OpenFlags, Ready};
use crate::outcome::SysResult;
use crate::sync::Waiter;
use crate::table::{Row, row};
use crate::task::Call;
use crate::user::UserPtr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use strongroom_abi::arch::{EPOLL_DATA_OFFSET, EPOLL_EVENT_SIZE};
use strongroom_abi::{Errno, Timespec};

pub(crate) const CALLS: &[Row] = &[
    row!(EpollCreate, epoll_create(1), Full),
    row!(EpollCreate1, epoll_create1(1), Full),
    row!(
        EpollCtl,
        epoll_ctl(4),
        Partial("EPOLLEXCLUSIVE wakes everybody; EPOLLWAKEUP does nothing")
    ),
    row!(EpollWait, epoll_wait(4), Full),
    row!(EpollPwait, epoll_pwait(6), Full),
    row!(EpollPwait2, epoll_pwait2(6), Full),
];

const ADD: i32 = 1;
const DELETE: i32 = 2;
const MODIFY: i32 = 3;
/// Most events that fit a buffer whose size is an `int`.
const EVENTS_MAX: usize = i32::MAX as usize / EPOLL_EVENT_SIZE;

fn epoll_create(call: &mut Call<'_>, size: i32) -> SysResult {
    if size <= 0 { Err(Errno::EINVAL.into()) } else { epoll_create1(call, 0) }
}

fn epoll_create1(call: &mut Call<'_>, flags: u32) -> SysResult {
    if flags & !OpenFlags::CLOSE_ON_EXEC.bits() != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file: Arc<dyn File> = Epoll::new(call.kernel);
    let open = OpenFile::new(call.kernel, file, None, OpenFlags::READ_WRITE);
    Ok(install(call, open, flags != 0)?)
}

fn epoll_ctl(
    call: &mut Call<'_>,
    instance: i32,
    operation: i32,
    descriptor: i32,
    event: usize,
) -> SysResult {
    let event = if operation == DELETE { Event::default() } else { read_event(call, event)? };
    let own = open_file(call, instance)?;
    let open = open_file(call, descriptor)?;
    if !open.file.pollable() {
        return Err(Errno::EPERM.into());
    }
    let epoll = Epoll::of(&own).ok_or(Errno::EINVAL)?;
    if Arc::ptr_eq(&own, &open) {
        return Err(Errno::EINVAL.into());
    }
    check_exclusive(operation, event, &open)?;
    let by = call.thread;
    match operation {
        ADD => epoll.add(by, &own, descriptor, &open, event)?,
        MODIFY => epoll.modify(by, descriptor, &open, event)?,
        DELETE => epoll.remove(descriptor, &open)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn open_file(call: &Call<'_>, descriptor: i32) -> Result<Arc<OpenFile>, Errno> {
    let open = call.file(descriptor)?;
    if open.flags().contains(OpenFlags::PATH) { Err(Errno::EBADF) } else { Ok(open) }
}

fn check_exclusive(operation: i32, event: Event, open: &OpenFile) -> Result<(), Errno> {
    let flag = WatchFlags::EXCLUSIVE.bits();
    if event.events & flag == 0 {
        return Ok(());
    }
    let allowed = (Ready::IN | Ready::OUT | Ready::ERROR | Ready::HANGUP).bits()
        | (WatchFlags::EXCLUSIVE | WatchFlags::EDGE | WatchFlags::WAKE_UP).bits();
    let refused = operation == MODIFY
        || (operation == ADD && (Epoll::of(open).is_some() || event.events & !allowed != 0));
    if refused { Err(Errno::EINVAL) } else { Ok(()) }
}

fn read_event(call: &Call<'_>, address: usize) -> SysResult<Event> {
    let mut bytes = [0; EPOLL_EVENT_SIZE];
    call.memory.space().copy_in(address, &mut bytes)?;
    let events = bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let data = bytes.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok(Event { events, data })
}

fn write_events(call: &Call<'_>, address: usize, taken: &Taken) -> SysResult<()> {
    let mut bytes = Vec::with_capacity(taken.len() * EPOLL_EVENT_SIZE);
    for event in taken.events() {
        let start = bytes.len();
        bytes.extend(event.events.to_le_bytes());
        bytes.resize(start + EPOLL_DATA_OFFSET, 0);
        bytes.extend(event.data.to_le_bytes());
    }
    Ok(call.memory.space().copy_out(address, &bytes)?)
}

fn epoll_wait(
    call: &mut Call<'_>,
    instance: i32,
    events: usize,
    max: i32,
    timeout_ms: i32,
) -> SysResult {
    wait_for_events(call, instance, events, max, timeout_of_milliseconds(timeout_ms))
}

fn epoll_pwait(
    call: &mut Call<'_>,
    instance: i32,
    events: usize,
    max: i32,
    timeout_ms: i32,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> SysResult {
    let mask = mask_argument(call, mask, mask_size)?;
    under_mask(call, mask, |call| {
        wait_for_events(call, instance, events, max, timeout_of_milliseconds(timeout_ms))
    })
}

fn epoll_pwait2(
    call: &mut Call<'_>,
    instance: i32,
    events: usize,
    max: i32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> SysResult {
    let timeout_ns = timeout_argument(call, timeout)?;
    let mask = mask_argument(call, mask, mask_size)?;
    under_mask(call, mask, |call| wait_for_events(call, instance, events, max, timeout_ns))
}

fn wait_for_events(
    call: &mut Call<'_>,
    instance: i32,
    events: usize,
    max: i32,
    timeout_ns: Option<u64>,
) -> SysResult {
    let max = usize::try_from(max).map_err(|_| Errno::EINVAL)?;
    if max == 0 || max > EVENTS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let size = max * EPOLL_EVENT_SIZE;
    if events.checked_add(size).is_none_or(|end| end > call.memory.space().user_end()) {
        return Err(Errno::EFAULT.into());
    }
    let open = open_file(call, instance)?;
    let epoll = Epoll::of(&open).ok_or(Errno::EINVAL)?;
    wait(call, timeout_ns, &mut Waited { epoll, events, max })
}

struct Waited<'a> {
    epoll: &'a Epoll,
    events: usize,
    max: usize,
}

impl Watched for Waited<'_> {
    fn look(&mut self, call: &Call<'_>, waiter: Option<&Waiter>) -> SysResult {
        // Before the list is looked at, so that nothing is missed in between.
        if let Some(waiter) = waiter {
            self.epoll.waiters().register(waiter);
        }
        let taken = self.epoll.take(call.thread, self.max);
        let count = taken.len();
        if count == 0 {
            return Ok(0);
        }
        match write_events(call, self.events, &taken) {
            Ok(()) => {
                self.epoll.commit(taken);
                Ok(count)
            }
            Err(stop) => {
                self.epoll.give_back(taken);
                Err(stop)
            }
        }
    }

    fn forget(&self, _call: &Call<'_>, waiter: &Waiter) {
        self.epoll.waiters().deregister(waiter);
    }
}
