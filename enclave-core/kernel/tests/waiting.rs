// SPDX-License-Identifier: MIT
//! Signals, sleeping and waking, and turns by interrupts.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strongroom_abi::{Errno, Sysno};
use strongroom_fake::{ENTRY, Elf, Ending, Guest, System};
use strongroom_south::{Clock as _, Form};

const FORMS: [Form; 2] = [Form::Paged, Form::Flat];
const DATA: usize = Elf::DATA as usize;
const USR1: usize = 10;
const USR2: usize = 12;
const ALARM: usize = 14;
const RESTART: usize = 0x1000_0000;
const NO_DEFER: usize = 0x4000_0000;
const RESET: usize = 0x8000_0000;
const ON_STACK: usize = 0x0800_0000;
const MILLISECOND: u64 = 1_000_000;

fn both(body: impl Fn(&mut Guest) -> u8 + Send + Sync + Clone + 'static) {
    for form in FORMS {
        let report = System::run_program(form, body.clone());
        assert_eq!(report.ending, Ending::Exit(0), "{form:?}: {report:?}");
    }
}

/// A counter, and a handler that counts in it.
fn counter(guest: &Guest) -> (Arc<AtomicU64>, usize) {
    let count = Arc::new(AtomicU64::new(0));
    let own = Arc::clone(&count);
    let handler = guest.machine().handler(move |_, _| {
        own.fetch_add(1, Ordering::Relaxed);
    });
    (count, handler)
}

#[test]
fn a_handler_is_entered_as_the_abi_says_and_leaves_no_trace() {
    both(|guest| {
        let before = guest.stack_pointer();
        let (count, _) = counter(guest);
        let own = Arc::clone(&count);
        let handler = guest.machine().handler(move |guest, signalled| {
            assert_eq!(signalled.signal, USR1 as u64);
            assert!(guest.stack_pointer() + 128 < before, "below the red zone");
            #[cfg(target_arch = "x86_64")]
            assert_eq!(guest.stack_pointer() % 16, 8, "as at a function's entry");
            assert_eq!(guest.load_u32(signalled.info), USR1 as u32, "si_signo");
            assert_eq!(guest.load_u32(signalled.info + 16), 1, "si_pid");
            assert!(signalled.context > guest.stack_pointer());
            guest.set_marker(666);
            own.fetch_add(1, Ordering::Relaxed);
        });
        guest.on_signal(USR1, handler, 0).unwrap();
        guest.set_marker(1234);
        let pid = guest.pid();
        assert_eq!(guest.kill(pid, USR1), Ok(0), "the call's own result survives");
        assert_eq!(count.load(Ordering::Relaxed), 1, "before kill returns");
        assert_eq!((guest.marker(), guest.stack_pointer()), (1234, before));
        0
    });
}

#[test]
fn a_signal_is_blocked_in_its_handler_unless_asked_otherwise() {
    for (flags, depth_wanted) in [(0, 1), (NO_DEFER, 3)] {
        both(move |guest| {
            let depth = Arc::new(AtomicU64::new(0));
            let (deepest, calls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let (seen, counted) = (Arc::clone(&deepest), Arc::clone(&calls));
            let handler = guest.machine().handler(move |guest, _| {
                let now = depth.fetch_add(1, Ordering::Relaxed) + 1;
                seen.fetch_max(now, Ordering::Relaxed);
                if counted.fetch_add(1, Ordering::Relaxed) < 2 {
                    guest.kill(1, USR1).unwrap();
                }
                depth.fetch_sub(1, Ordering::Relaxed);
            });
            guest.on_signal(USR1, handler, flags).unwrap();
            guest.kill(1, USR1).unwrap();
            assert_eq!(calls.load(Ordering::Relaxed), 3);
            assert_eq!(deepest.load(Ordering::Relaxed), depth_wanted);
            0
        });
    }
}

#[test]
fn blocked_signals_wait_and_standard_ones_do_not_queue() {
    both(|guest| {
        let (count, handler) = counter(guest);
        let (queued, real_time) = counter(guest);
        guest.on_signal(USR1, handler, 0).unwrap();
        guest.on_signal(40, real_time, 0).unwrap();
        guest.set_mask(1 << (USR1 - 1) | 1 << 39).unwrap();
        for _ in 0..5 {
            guest.kill(1, USR1).unwrap();
            guest.kill(1, 40).unwrap();
        }
        assert_eq!((count.load(Ordering::Relaxed), queued.load(Ordering::Relaxed)), (0, 0));
        guest.set_mask(0).unwrap();
        assert_eq!((count.load(Ordering::Relaxed), queued.load(Ordering::Relaxed)), (1, 5));
        0
    });
}

#[test]
fn masks_are_told_and_changed_in_each_way() {
    both(|guest| {
        let (new, old) = (guest.room(8), guest.room(8));
        let mask = |guest: &mut Guest, how, new, old| {
            guest.try_call(Sysno::RtSigprocmask, [how, new, old, 8])
        };
        let mut before = 0;
        let unblockable = 1 << 8 | 1 << 18;
        for (how, by, after) in [
            (2, 0b1100_u64, 0b1100),
            (0, 0b11, 0b1111),
            (1, 0b101, 0b1010),
            (0, unblockable, 0b1010),
        ] {
            guest.store(new, &by.to_le_bytes());
            assert_eq!(mask(guest, how, new, old), Ok(0));
            assert_eq!(guest.load_u64(old), before);
            before = after;
        }
        // Without a new one it does not matter how.
        assert_eq!(mask(guest, 77, 0, old), Ok(0));
        assert_eq!(mask(guest, 3, new, old), Err(Errno::EINVAL));
        assert_eq!(mask(guest, 2, 8, old), Err(Errno::EFAULT));
        assert_eq!(mask(guest, 2, new, 8), Err(Errno::EFAULT));
        assert_eq!(guest.try_call(Sysno::RtSigprocmask, [2, new, old, 4]), Err(Errno::EINVAL));
        assert_eq!(mask(guest, 0, 0, old), Ok(0));
        assert_eq!(guest.load_u64(old), before, "what fails changes nothing");
        0
    });
}

#[test]
fn kill_and_stop_cannot_be_caught_and_bad_numbers_are_einval() {
    both(|guest| {
        let (_, handler) = counter(guest);
        assert_eq!(guest.on_signal(9, handler, 0), Err(Errno::EINVAL));
        assert_eq!(guest.on_signal(19, handler, 0), Err(Errno::EINVAL));
        assert_eq!(guest.on_signal(0, handler, 0), Err(Errno::EINVAL));
        assert_eq!(guest.on_signal(65, handler, 0), Err(Errno::EINVAL));
        assert_eq!(guest.kill(1, 65), Err(Errno::EINVAL));
        assert_eq!(guest.kill(77, 0), Err(Errno::ESRCH));
        assert_eq!(guest.kill(1, 0), Ok(0));
        0
    });
}

#[test]
fn a_handler_can_be_for_once() {
    for form in FORMS {
        let report = System::run_program(form, |guest| {
            let (count, handler) = counter(guest);
            guest.on_signal(USR1, handler, RESET).unwrap();
            guest.kill(1, USR1).unwrap();
            assert_eq!(count.load(Ordering::Relaxed), 1);
            let _ends = guest.kill(1, USR1);
            0
        });
        assert_eq!(report.ending, Ending::Exit(128 + USR1 as u8), "{form:?}");
    }
}

#[test]
fn the_alternate_stack_is_used_when_asked_for() {
    both(|guest| {
        let stack = guest.allocate(16384).unwrap();
        let words = [stack as u64, 0, 16384];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let at = guest.push(&bytes);
        guest.try_call(Sysno::Sigaltstack, [at, 0]).unwrap();
        let (count, _) = counter(guest);
        let own = Arc::clone(&count);
        let handler = guest.machine().handler(move |guest, _| {
            let sp = guest.stack_pointer();
            assert!((stack..stack + 16384).contains(&sp));
            own.fetch_add(1, Ordering::Relaxed);
        });
        guest.on_signal(USR1, handler, ON_STACK).unwrap();
        guest.kill(1, USR1).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1);
        0
    });
}

#[test]
fn no_room_for_a_frame_is_a_segmentation_fault() {
    for form in FORMS {
        for stack in [0x1000, 1 << 62, usize::MAX & !15] {
            let report = System::run_program(form, move |guest| {
                let (_, handler) = counter(guest);
                guest.on_signal(USR1, handler, 0).unwrap();
                guest.on_signal(11, handler, 0).unwrap();
                guest.set_stack_pointer(stack);
                let _ends = guest.kill(1, USR1);
                0
            });
            assert_eq!(report.ending, Ending::Exit(128 + 11), "{form:?} {stack:#x}");
        }
    }
}

/// A thread that waits in a pipe read is signalled; with and without `SA_RESTART`.
#[test]
fn a_read_is_interrupted_or_restarted() {
    for (flags, expected) in [(0, Err(Errno::EINTR)), (RESTART, Ok(b"late".to_vec()))] {
        both(move |guest| {
            let (reader, writer) = guest.pipe(0).unwrap();
            let (count, handler) = counter(guest);
            guest.on_signal(USR1, handler, flags).unwrap();
            let done = guest.room(4);
            let own = guest.call(Sysno::Gettid, []) as usize;
            guest
                .thread(done, move |guest| {
                    guest.sleep(MILLISECOND).unwrap();
                    guest.try_call(Sysno::Tgkill, [1, own, USR1]).unwrap();
                    guest.sleep(MILLISECOND).unwrap();
                    guest.write(writer, b"late").unwrap();
                    0
                })
                .unwrap();
            assert_eq!(guest.read(reader, 10), expected.clone());
            assert_eq!(count.load(Ordering::Relaxed), 1);
            0
        });
    }
}

#[test]
fn a_page_fault_can_be_handled() {
    let report = System::run_program(Form::Paged, |guest| {
        let at = guest.allocate(4096).unwrap();
        guest.try_call(Sysno::Mprotect, [at, 4096, 1]).unwrap();
        let handler = guest.machine().handler(move |guest, signalled| {
            assert_eq!(signalled.signal, 11);
            assert_eq!(guest.load_u64(signalled.info + 16) as usize, at + 5, "si_addr");
            assert_eq!(guest.load_u32(signalled.info + 8), 2, "SEGV_ACCERR");
            guest.try_call(Sysno::Mprotect, [at, 4096, 3]).unwrap();
        });
        guest.on_signal(11, handler, 0).unwrap();
        guest.store(at + 5, b"again");
        assert_eq!(guest.bytes(at + 5, 5), b"again");
        0
    });
    assert_eq!(report.ending, Ending::Exit(0));
}

#[test]
fn a_sleeper_wakes_exactly_when_the_clock_has_passed() {
    for form in FORMS {
        let mut system = System::with_program(form, |guest| {
            guest.sleep(5 * MILLISECOND).unwrap();
            guest.say("awake");
            0
        });
        let start = system.machine.monotonic_ns();
        let until = system.run_until_idle().unwrap().unwrap();
        assert_eq!(until, start + 5 * MILLISECOND);
        system.machine.advance_to(until - 1);
        assert_eq!(system.run_until_idle(), Ok(Some(until)), "a nanosecond is missing");
        assert!(system.host.output.is_empty());
        system.machine.advance_to(until);
        assert_eq!(system.run_until_idle(), Err(Ending::Exit(0)));
    }
}

#[test]
fn sleepers_wake_in_the_order_of_their_times() {
    both(|guest| {
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        for (index, time) in [30u64, 10, 20, 0, 25].into_iter().enumerate() {
            let order = Arc::clone(&order);
            guest
                .thread(0, move |guest| {
                    guest.sleep(time * MILLISECOND).unwrap();
                    order.lock().unwrap().push(index);
                    0
                })
                .unwrap();
        }
        guest.sleep(50 * MILLISECOND).unwrap();
        assert_eq!(*order.lock().unwrap(), [3, 1, 2, 4, 0]);
        0
    });
}

#[test]
fn an_interrupted_sleep_says_what_is_left() {
    both(|guest| {
        let (_, handler) = counter(guest);
        guest.on_signal(ALARM, handler, RESTART).unwrap();
        // ITIMER_REAL: in 2 ms, once.
        let words = [0u64, 0, 0, 2000];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let timer = guest.push(&bytes);
        guest.try_call(Sysno::Setitimer, [0, timer, 0]).unwrap();
        let time = guest.push_time(10 * MILLISECOND);
        let left = guest.room(16);
        let slept = guest.try_call(Sysno::Nanosleep, [time, left]);
        assert_eq!(slept, Err(Errno::EINTR), "whatever SA_RESTART says");
        assert_eq!((guest.load_u64(left), guest.load_u64(left + 8)), (0, 8 * MILLISECOND));
        0
    });
}

const WAIT: usize = 0;
const WAKE: usize = 1;

#[test]
fn futexes_wait_only_for_the_value_they_are_told() {
    both(|guest| {
        let word = DATA + 16;
        let word = (word + 3) & !3;
        assert_eq!(guest.try_call(Sysno::Futex, [word, WAIT, 1, 0]), Err(Errno::EAGAIN));
        assert_eq!(guest.try_call(Sysno::Futex, [word + 1, WAIT, 0, 0]), Err(Errno::EINVAL));
        assert_eq!(guest.try_call(Sysno::Futex, [8, WAIT, 0, 0]), Err(Errno::EFAULT));
        assert_eq!(guest.try_call(Sysno::Futex, [word, WAKE, 9]), Ok(0), "nobody waits");
        let before = guest.now_ns();
        let time = guest.push_time(3 * MILLISECOND);
        let waited = guest.try_call(Sysno::Futex, [word, WAIT, 0, time]);
        assert_eq!(waited, Err(Errno::ETIMEDOUT));
        assert_eq!(guest.now_ns() - before, 3 * MILLISECOND, "not a nanosecond more");
        0
    });
}

#[test]
fn futex_wake_wakes_as_many_as_it_says() {
    both(|guest| {
        let word = (DATA + 19) & !3;
        let woken = Arc::new(AtomicU64::new(0));
        for _ in 0..5 {
            let woken = Arc::clone(&woken);
            guest
                .thread(0, move |guest| {
                    guest.try_call(Sysno::Futex, [word, WAIT, 0, 0]).unwrap();
                    woken.fetch_add(1, Ordering::Relaxed);
                    0
                })
                .unwrap();
        }
        guest.sleep(MILLISECOND).unwrap();
        for (ask, wakes, total) in [(1, 1, 1), (2, 2, 3), (9, 2, 5), (9, 0, 5)] {
            assert_eq!(guest.try_call(Sysno::Futex, [word, WAKE, ask]), Ok(wakes));
            guest.sleep(MILLISECOND).unwrap();
            assert_eq!(woken.load(Ordering::Relaxed), total);
        }
        0
    });
}

#[test]
fn a_spinning_thread_does_not_keep_others_from_running() {
    for form in FORMS {
        let mut builder = System::builder(form);
        builder.configuration.tick = 50;
        let mut system = builder.boot().unwrap();
        system.machine.program(ENTRY, |guest| {
            guest
                .thread(0, |guest| {
                    guest.store(DATA, b"done");
                    0
                })
                .unwrap();
            guest.spin(|guest| guest.bytes(DATA, 4) == b"done");
            0
        });
        assert_eq!(system.run().ending, Ending::Exit(0), "{form:?}");
        assert!(system.machine.trace().iter().any(|line| line.starts_with("Interrupt")));
    }
}

#[test]
fn a_spinning_process_can_be_killed_and_interrupted() {
    let mut builder = System::builder(Form::Paged);
    builder.configuration.tick = 20;
    let mut system = builder.boot().unwrap();
    system.machine.program(ENTRY, |guest| {
        let (count, handler) = counter(guest);
        guest.on_signal(USR2, handler, 0).unwrap();
        let child = guest
            .fork(|guest| {
                guest.spin(|_| false);
                0
            })
            .unwrap();
        guest.kill(child, USR2).unwrap();
        guest.spin(|_| count.load(Ordering::Relaxed) > 0);
        guest.kill(child, 9).unwrap();
        assert_eq!(guest.wait(-1, 0), Ok((child, 9)));
        0
    });
    assert_eq!(system.run().ending, Ending::Exit(0));
}

#[test]
fn stop_and_continue() {
    let report = System::run_program(Form::Paged, |guest| {
        let (reader, writer) = guest.pipe(0).unwrap();
        let child = guest
            .fork(move |guest| {
                guest.read(reader, 1).unwrap();
                4
            })
            .unwrap();
        guest.kill(child, 19).unwrap();
        assert_eq!(guest.wait(-1, 2), Ok((child, 0x137f)), "WUNTRACED");
        guest.write(writer, b"x").unwrap();
        guest.sleep(MILLISECOND).unwrap();
        assert_eq!(guest.wait(-1, 1), Ok((0, 0)), "stopped, although it could run");
        guest.kill(child, 18).unwrap();
        assert_eq!(guest.wait(-1, 0), Ok((child, 4 << 8)));
        0
    });
    assert_eq!(report.ending, Ending::Exit(0));
}
