// SPDX-License-Identifier: MIT
//! `futex(2)`.

use crate::outcome::{Interrupt, Stop, SysResult};
use crate::table::{Row, row};
use crate::task::Call;
use crate::task::futex::FutexKey;
use crate::time::{Clock, ns_of_timespec};
use crate::user::UserPtr;
use strongroom_abi::{Errno, Timespec};
use strongroom_south::Fault;

pub(crate) const CALLS: &[Row] = &[
    row!(Futex, futex(6), Partial("no priority inheritance: its operations are ENOSYS")),
    row!(FutexWaitv, not_there(0), Refused("waiting for several futexes is rarely used")),
    row!(FutexWait, not_there(0), Refused("futex serves it")),
    row!(FutexWake, not_there(0), Refused("futex serves it")),
    row!(FutexRequeue, not_there(0), Refused("futex serves it")),
];

const WAIT: u32 = 0;
const WAKE: u32 = 1;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE_OP: u32 = 5;
const WAIT_BITSET: u32 = 9;
const WAKE_BITSET: u32 = 10;
/// The futex is used by one process only.
const PRIVATE: u32 = 0x80;
/// The absolute timeout is on the wall clock.
const WALL_CLOCK: u32 = 0x100;
const ANY_BIT: u32 = u32::MAX;

fn futex(
    call: &mut Call<'_>,
    word: usize,
    operation: u32,
    value: u32,
    timeout: usize,
    other: usize,
    value3: u32,
) -> SysResult {
    let command = operation & !(PRIVATE | WALL_CLOCK);
    if operation & WALL_CLOCK != 0 && command != WAIT_BITSET {
        return Err(Errno::ENOSYS.into());
    }
    let private = operation & PRIVATE != 0;
    match command {
        WAIT => wait(call, word, operation, value, UserPtr::at(timeout), ANY_BIT),
        WAIT_BITSET => wait(call, word, operation, value, UserPtr::at(timeout), value3),
        WAKE => wake(call, word, private, value, ANY_BIT),
        WAKE_BITSET => wake(call, word, private, value, value3),
        // The fourth argument is a number here.
        REQUEUE => requeue(call, private, (word, value), (other, timeout as u32), None),
        CMP_REQUEUE => requeue(call, private, (word, value), (other, timeout as u32), Some(value3)),
        WAKE_OP => wake_op(call, private, (word, value), (other, timeout as u32), value3),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// The key of a word, which has to be aligned and in user space.
#[inline]
fn key(call: &Call<'_>, word: usize, private: bool) -> Result<FutexKey, Errno> {
    if !word.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if word >= call.memory.user_end() {
        return Err(Errno::EFAULT);
    }
    Ok(FutexKey::new(call.memory, word, private))
}

/// At least one thread is woken, whatever the number says: Linux counts before it looks.
const fn at_least_one(count: u32) -> usize {
    let count = count.cast_signed();
    if count < 1 { 1 } else { count.unsigned_abs() as usize }
}

fn wake(call: &Call<'_>, word: usize, private: bool, count: u32, bits: u32) -> SysResult {
    if bits == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = key(call, word, private)?;
    Ok(call.kernel.futexes.wake(key, at_least_one(count), bits))
}

fn wait(
    call: &mut Call<'_>,
    word: usize,
    operation: u32,
    value: u32,
    timeout: UserPtr<Timespec>,
    bits: u32,
) -> SysResult {
    let interrupt = if timeout.is_null() { Interrupt::Restart } else { Interrupt::Fail };
    if call.progress.queued {
        return go_on(call, interrupt);
    }
    if bits == 0 {
        return Err(Errno::EINVAL.into());
    }
    if call.progress.deadline_ns.is_none()
        && let Some(timeout) = timeout.read_optional(call.memory)?
    {
        let value_ns = ns_of_timespec(timeout)?;
        let clock = if operation & WALL_CLOCK != 0 { Clock::Wall } else { Clock::Monotonic };
        let absolute = operation & !(PRIVATE | WALL_CLOCK) == WAIT_BITSET;
        call.progress.deadline_ns = Some(call.kernel.deadline_ns(clock, value_ns, absolute));
    }
    let key = key(call, word, operation & PRIVATE != 0)?;
    let futexes = &call.kernel.futexes;
    futexes.enqueue(call.thread, call.memory, key, word, value, bits)??;
    call.progress.queued = true;
    Err(Stop::Sleep(interrupt))
}

/// The thread was woken: by the deadline, or for a signal; or by a waker at the same time.
fn go_on(call: &Call<'_>, interrupt: Interrupt) -> SysResult {
    let futexes = &call.kernel.futexes;
    if !futexes.is_waiting(call.thread) {
        return Ok(0);
    }
    if call.timed_out() {
        futexes.forget(call.thread);
        return Err(Errno::ETIMEDOUT.into());
    }
    Err(Stop::Sleep(interrupt))
}

fn requeue(
    call: &Call<'_>,
    private: bool,
    (from, wake_count): (usize, u32),
    (to, move_count): (usize, u32),
    expected: Option<u32>,
) -> SysResult {
    let wake_count = usize::try_from(wake_count.cast_signed()).map_err(|_| Errno::EINVAL)?;
    let move_count = usize::try_from(move_count.cast_signed()).map_err(|_| Errno::EINVAL)?;
    let (from_key, to_key) = (key(call, from, private)?, key(call, to, private)?);
    if let Some(expected) = expected
        && call.memory.space().load_u32(from)? != expected
    {
        return Err(Errno::EAGAIN.into());
    }
    let futexes = &call.kernel.futexes;
    let woken = futexes.wake(from_key, wake_count, ANY_BIT);
    Ok(woken + futexes.requeue(from_key, to_key, move_count))
}

fn wake_op(
    call: &Call<'_>,
    private: bool,
    (first, first_count): (usize, u32),
    (second, second_count): (usize, u32),
    encoded: u32,
) -> SysResult {
    let (first_key, second_key) = (key(call, first, private)?, key(call, second, private)?);
    let operation = Operation::decode(encoded)?;
    let held = modify(call, second, operation)?;
    let holds = operation.compare(held)?;
    let futexes = &call.kernel.futexes;
    let mut woken = futexes.wake(first_key, at_least_one(first_count), ANY_BIT);
    if holds {
        woken += futexes.wake(second_key, at_least_one(second_count), ANY_BIT);
    }
    Ok(woken)
}

/// Changes a word atomically; returns what it held.
fn modify(call: &Call<'_>, word: usize, operation: Operation) -> Result<u32, Fault> {
    let space = call.memory.space();
    let mut held = space.load_u32(word)?;
    loop {
        let found = space.compare_exchange_u32(word, held, operation.apply(held))?;
        if found == held {
            return Ok(held);
        }
        held = found;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Set,
    Add,
    Or,
    AndNot,
    Xor,
}

/// The last argument of `FUTEX_WAKE_OP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operation {
    change: Change,
    operand: u32,
    comparison: u32,
    against: i32,
}

impl Operation {
    fn decode(encoded: u32) -> Result<Self, Errno> {
        const SHIFTED: u32 = 8;
        let kind = encoded >> 28;
        // Two numbers of twelve bits with a sign.
        let operand = ((encoded << 8).cast_signed() >> 20).cast_unsigned();
        let operand = if kind & SHIFTED != 0 { 1 << (operand & 31) } else { operand };
        let change = match kind & !SHIFTED {
            0 => Change::Set,
            1 => Change::Add,
            2 => Change::Or,
            3 => Change::AndNot,
            4 => Change::Xor,
            _ => return Err(Errno::ENOSYS),
        };
        let against = (encoded << 20).cast_signed() >> 20;
        Ok(Self { change, operand, comparison: encoded >> 24 & 0xf, against })
    }

    const fn apply(self, held: u32) -> u32 {
        match self.change {
            Change::Set => self.operand,
            Change::Add => held.wrapping_add(self.operand),
            Change::Or => held | self.operand,
            Change::AndNot => held & !self.operand,
            Change::Xor => held ^ self.operand,
        }
    }

    const fn compare(self, held: u32) -> Result<bool, Errno> {
        let held = held.cast_signed();
        Ok(match self.comparison {
            0 => held == self.against,
            1 => held != self.against,
            2 => held < self.against,
            3 => held <= self.against,
            4 => held > self.against,
            5 => held >= self.against,
            _ => return Err(Errno::ENOSYS),
        })
    }
}

fn not_there(_call: &Call<'_>) -> SysResult {
    Err(Errno::ENOSYS.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn encode(kind: u32, comparison: u32, operand: u32, against: u32) -> u32 {
        kind << 28 | comparison << 24 | (operand & 0xfff) << 12 | (against & 0xfff)
    }

    #[test]
    fn wake_operations_are_decoded() {
        let add = Operation::decode(encode(1, 4, 0xfff, 1)).unwrap();
        assert_eq!(add.apply(5), 4, "the operand is -1");
        assert_eq!(add.compare(2), Ok(true));
        assert_eq!(add.compare(1), Ok(false));
        let bit = Operation::decode(encode(8 | 2, 0, 3, 0xfff)).unwrap();
        assert_eq!(bit.apply(1), 9);
        assert_eq!(bit.compare(u32::MAX), Ok(true));
    }

    #[test]
    fn unknown_wake_operations_are_refused() {
        assert_eq!(Operation::decode(encode(5, 0, 0, 0)), Err(Errno::ENOSYS));
        let odd = Operation::decode(encode(0, 6, 0, 0)).unwrap();
        assert_eq!(odd.compare(0), Err(Errno::ENOSYS));
    }

    #[test]
    fn a_wake_reaches_one_at_least() {
        assert_eq!(at_least_one(0), 1);
        assert_eq!(at_least_one(u32::MAX), 1);
        assert_eq!(at_least_one(i32::MAX.unsigned_abs()), 0x7fff_ffff);
    }
}
