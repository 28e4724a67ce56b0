// SPDX-License-Identifier: MIT
//! Events with a descriptor: `eventfd(2)`, `timerfd_create(2)`, `signalfd(2)`.

use crate::calls::descriptors::install;
use crate::fs::eventfd::EventFd;
use crate::fs::signalfd::SignalFd;
use crate::fs::timerfd::TimerFd;
use crate::fs::{File, OpenFile, OpenFlags};
use crate::outcome::SysResult;
use crate::signal::SignalSet;
use crate::table::{Row, row};
use crate::task::Call;
use crate::time::{Clock, itimerspec, ns_of_timespec};
use crate::user::UserPtr;
use alloc::sync::Arc;
use strongroom_abi::{Errno, Itimerspec};

pub(crate) const CALLS: &[Row] = &[
    row!(Eventfd, eventfd(1), Full),
    row!(Eventfd2, eventfd2(2), Full),
    row!(
        TimerfdCreate,
        timerfd_create(2),
        Partial(
            "the wall clock never jumps, so nothing is cancelled; alarms do not wake a machine"
        )
    ),
    row!(TimerfdSettime, timerfd_settime(4), Full),
    row!(TimerfdGettime, timerfd_gettime(2), Full),
    row!(Signalfd, signalfd(3), Full),
    row!(Signalfd4, signalfd4(4), Full),
];

/// `*_CLOEXEC` and `*_NONBLOCK` of all three.
const FLAGS: u32 = OpenFlags::CLOSE_ON_EXEC.union(OpenFlags::NONBLOCK).bits();

fn install_file(call: &Call<'_>, file: Arc<dyn File>, flags: u32) -> SysResult {
    let flags = OpenFlags::from_bits_truncate(flags & FLAGS);
    let open = OpenFile::new(call.kernel, file, None, OpenFlags::READ_WRITE | flags);
    Ok(install(call, open, flags.contains(OpenFlags::CLOSE_ON_EXEC))?)
}

fn eventfd(call: &mut Call<'_>, count: u32) -> SysResult {
    eventfd2(call, count, 0)
}

fn eventfd2(call: &mut Call<'_>, count: u32, flags: u32) -> SysResult {
    const SEMAPHORE: u32 = 1;
    if flags & !(FLAGS | SEMAPHORE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = EventFd::new(call.kernel, u64::from(count), flags & SEMAPHORE != 0);
    install_file(call, file, flags)
}

fn timerfd_create(call: &mut Call<'_>, clock: i32, flags: u32) -> SysResult {
    const REALTIME: i32 = 0;
    const MONOTONIC: i32 = 1;
    const BOOTTIME: i32 = 7;
    const REALTIME_ALARM: i32 = 8;
    const BOOTTIME_ALARM: i32 = 9;
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let clock = match clock {
        REALTIME | REALTIME_ALARM => Clock::Wall,
        MONOTONIC | BOOTTIME | BOOTTIME_ALARM => Clock::Monotonic,
        _ => return Err(Errno::EINVAL.into()),
    };
    install_file(call, TimerFd::new(call.kernel, clock), flags)
}

fn timerfd_settime(
    call: &mut Call<'_>,
    descriptor: i32,
    flags: u32,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> SysResult {
    const ABSOLUTE: u32 = 1;
    const CANCEL_ON_SET: u32 = 2;
    let new = new.read(call.memory)?;
    if flags & !(ABSOLUTE | CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let value_ns = ns_of_timespec(new.value)?;
    let interval_ns = ns_of_timespec(new.interval)?;
    let open = call.file(descriptor)?;
    let timer = timer_of(&open)?;
    old.write_optional(call.memory, &itimerspec(timer.left()))?;
    let absolute = flags & ABSOLUTE != 0;
    let deadline = call.kernel.deadline_ns(timer.clock(), value_ns, absolute);
    timer.set((value_ns > 0).then_some(deadline), interval_ns);
    Ok(0)
}

fn timerfd_gettime(call: &mut Call<'_>, descriptor: i32, to: UserPtr<Itimerspec>) -> SysResult {
    let open = call.file(descriptor)?;
    let left = timer_of(&open)?.left();
    to.write(call.memory, &itimerspec(left))?;
    Ok(0)
}

fn timer_of(open: &OpenFile) -> Result<&TimerFd, Errno> {
    open.file.as_any().downcast_ref().ok_or(Errno::EINVAL)
}

fn signalfd(call: &mut Call<'_>, descriptor: i32, set: UserPtr<u64>, size: usize) -> SysResult {
    signalfd4(call, descriptor, set, size, 0)
}

fn signalfd4(
    call: &mut Call<'_>,
    descriptor: i32,
    set: UserPtr<u64>,
    size: usize,
    flags: u32,
) -> SysResult {
    if size != size_of::<u64>() {
        return Err(Errno::EINVAL.into());
    }
    let set = SignalSet(set.read(call.memory)?);
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if descriptor == -1 {
        return install_file(call, SignalFd::new(call.kernel, set), flags);
    }
    let open = call.file(descriptor)?;
    let file: &SignalFd = open.file.as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    file.set_wanted(set);
    Ok(descriptor.cast_unsigned() as usize)
}
