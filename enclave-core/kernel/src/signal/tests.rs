// SPDX-License-Identifier: MIT
//! Sets of signals, and what is pending.

use super::*;

fn info(signal: u8, value: u64) -> SignalInfo {
    let mut info = info_kernel(signal);
    info.fields[0] = value;
    info
}

#[test]
fn every_signal_has_its_own_bit() {
    for signal in 1..=SIGNAL_MAX {
        let set = SignalSet::of(signal);
        assert_eq!(set.0, 1 << (signal - 1));
        for other in 1..=SIGNAL_MAX {
            assert_eq!(set.has(other), signal == other);
            assert!(set.with(other).has(other) && set.with(other).has(signal));
            assert!(!set.with(other).without(other).has(other));
        }
    }
}

#[test]
fn kill_and_stop_cannot_be_blocked() {
    let mask = SignalSet(u64::MAX).blockable();
    assert!(!mask.has(SIGKILL) && !mask.has(SIGSTOP));
    assert_eq!(mask.0.count_ones(), 62);
}

#[test]
fn what_an_instruction_caused_comes_first_then_low_numbers() {
    let mut pending = Pending::default();
    for signal in [SIGTERM, SIGSEGV, SIGHUP, 40, SIGFPE] {
        pending.add(info(signal, 0));
    }
    let order: Vec<i32> =
        core::iter::from_fn(|| pending.take(SignalSet(u64::MAX))).map(|info| info.signo).collect();
    let expected = [SIGFPE, SIGSEGV, SIGHUP, SIGTERM, 40].map(i32::from);
    assert_eq!(order, expected);
    assert_eq!(pending.set(), SignalSet::default());
}

#[test]
fn standard_signals_are_pending_once_and_real_time_ones_in_order() {
    let mut pending = Pending::default();
    for value in 1..=3 {
        pending.add(info(SIGINT, value));
        pending.add(info(SIGRTMIN, value));
    }
    assert_eq!(pending.take(SignalSet::of(SIGINT)).map(|info| info.fields[0]), Some(1));
    assert_eq!(pending.take(SignalSet::of(SIGINT)), None);
    for value in 1..=3 {
        assert!(pending.set().has(SIGRTMIN));
        let taken = pending.take(SignalSet::of(SIGRTMIN));
        assert_eq!(taken.map(|info| info.fields[0]), Some(value));
    }
    assert!(!pending.set().has(SIGRTMIN));
}

#[test]
fn only_what_is_wanted_is_taken() {
    let mut pending = Pending::default();
    pending.add(info(SIGINT, 0));
    assert_eq!(pending.take(SignalSet::of(SIGHUP)), None);
    assert_eq!(pending.take(SignalSet::default()), None);
    pending.drop_all(SignalSet::of(SIGINT));
    assert_eq!((pending.set(), pending.queue.len()), (SignalSet::default(), 0));
}

#[test]
fn the_queue_is_bounded_but_no_standard_signal_is_lost() {
    let mut pending = Pending::default();
    for value in 0..2 * QUEUE_MAX as u64 {
        pending.add(info(SIGRTMIN, value));
    }
    assert_eq!(pending.queue.len(), QUEUE_MAX);
    pending.add(info(SIGKILL, 0));
    assert!(pending.set().has(SIGKILL), "a full queue must not keep SIGKILL out");
}

const SIGTERM: u8 = 15;
