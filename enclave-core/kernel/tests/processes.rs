// SPDX-License-Identifier: MIT
//! Processes: fork and its copies, waiting, pipes between them, and too many of them.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use strongroom_abi::{Errno, Sysno};
use strongroom_fake::{ENTRY, Elf, Ending, Guest, OPEN_NONBLOCK, Report, System};
use strongroom_south::Form;

const FORMS: [Form; 2] = [Form::Paged, Form::Flat];
const DATA: usize = Elf::DATA as usize;
const NO_HANG: usize = 1;

fn both(body: impl Fn(&mut Guest) -> u8 + Send + Sync + Clone + 'static) {
    for form in FORMS {
        let report = System::run_program(form, body.clone());
        assert_eq!(report.ending, Ending::Exit(0), "{form:?}: {report:?}");
    }
}

fn paged(body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static) -> Report {
    let report = System::run_program(Form::Paged, body);
    assert_eq!(report.ending, Ending::Exit(0), "{report:?}");
    report
}

#[test]
fn fork_is_enosys_on_a_flat_machine_and_threads_are_not() {
    let report = System::run_program(Form::Flat, |guest| {
        assert_eq!(guest.fork(|_| 0), Err(Errno::ENOSYS));
        assert_eq!(guest.wait(-1, 0), Err(Errno::ECHILD), "nothing was made");
        let done = guest.room(4);
        guest.store_u32(done, 1);
        guest
            .thread(done, move |guest| {
                guest.store(DATA, b"from");
                0
            })
            .unwrap();
        // FUTEX_WAIT until the kernel clears the word.
        while guest.load_u32(done) != 0 {
            let _woken = guest.try_call(Sysno::Futex, [done, 0, 1, 0]);
        }
        assert_eq!(guest.bytes(DATA, 4), b"from");
        0
    });
    assert_eq!(report.ending, Ending::Exit(0), "{report:?}");
}

#[test]
fn after_fork_each_writes_its_own_memory() {
    paged(|guest| {
        let heap = guest.allocate(8192).unwrap();
        guest.store(heap, b"before");
        let (reader, writer) = guest.pipe(0).unwrap();
        let child = guest
            .fork(move |guest| {
                assert_eq!(guest.bytes(heap, 6), b"before");
                guest.store(heap, b"child!");
                guest.store(DATA, b"kid.");
                assert_eq!(guest.read(reader, 1).unwrap(), b"1");
                assert_eq!(guest.bytes(heap, 6), b"child!", "the parent wrote meanwhile");
                assert_eq!(guest.bytes(DATA, 4), b"kid.");
                7
            })
            .unwrap();
        guest.store(heap, b"parent");
        guest.write(writer, b"1").unwrap();
        assert_eq!(guest.wait(child as isize, 0), Ok((child, 7 << 8)));
        assert_eq!(guest.bytes(heap, 6), b"parent");
        assert_eq!(guest.bytes(DATA, 4), b"data");
        0
    });
}

#[test]
fn generations_of_forks_share_nothing_that_was_written() {
    paged(|guest| {
        fn deeper(guest: &mut Guest, depth: u32) -> u8 {
            assert_eq!(guest.load_u32(DATA + 8), depth);
            if depth == 12 {
                return depth as u8;
            }
            guest.store_u32(DATA + 8, depth + 1);
            let child = guest.fork(move |guest| deeper(guest, depth + 1)).unwrap();
            let (pid, status) = guest.wait(-1, 0).unwrap();
            assert_eq!((pid, status), (child, 12 << 8));
            assert_eq!(guest.load_u32(DATA + 8), depth + 1);
            12
        }
        guest.store_u32(DATA + 8, 0);
        assert_eq!(deeper(guest, 0), 12);
        0
    });
}

#[test]
fn memory_shared_on_purpose_stays_shared() {
    paged(|guest| {
        let at = guest.try_call(Sysno::Mmap, [0, 4096, 3, 0x21, usize::MAX, 0]).unwrap();
        guest.store(at, b"one");
        guest
            .fork(move |guest| {
                guest.store(at, b"two");
                0
            })
            .unwrap();
        guest.wait(-1, 0).unwrap();
        assert_eq!(guest.bytes(at, 3), b"two");
        0
    });
}

#[test]
fn wait_reports_each_child_once_and_as_it_ended() {
    paged(|guest| {
        assert_eq!(guest.wait(-1, 0), Err(Errno::ECHILD));
        let (reader, writer) = guest.pipe(0).unwrap();
        let sleeper = guest
            .fork(move |guest| {
                guest.read(reader, 1).unwrap();
                3
            })
            .unwrap();
        assert_eq!(guest.wait(-1, NO_HANG), Ok((0, 0)), "it still runs");
        assert_eq!(guest.wait(99_999, 0), Err(Errno::ECHILD));
        guest.write(writer, b"x").unwrap();
        assert_eq!(guest.wait(sleeper as isize, 0), Ok((sleeper, 3 << 8)));
        assert_eq!(guest.wait(sleeper as isize, 0), Err(Errno::ECHILD), "once");
        let killed = guest.fork(|guest| guest.call(Sysno::Pause, []) as u8).unwrap();
        guest.kill(killed, 15).unwrap();
        assert_eq!(guest.wait(-1, 0), Ok((killed, 15)));
        let crashed = guest
            .fork(|guest| {
                guest.bytes(8, 1);
                0
            })
            .unwrap();
        assert_eq!(guest.wait(-1, 0), Ok((crashed, 11)));
        0
    });
}

#[test]
fn orphans_are_the_first_process_s() {
    paged(|guest| {
        let (reader, writer) = guest.pipe(0).unwrap();
        guest
            .fork(move |guest| {
                guest
                    .fork(move |guest| {
                        guest.read(reader, 1).unwrap();
                        assert_eq!(guest.call(Sysno::Getppid, []), 1);
                        5
                    })
                    .unwrap();
                0
            })
            .unwrap();
        guest.wait(-1, 0).unwrap();
        guest.write(writer, b"x").unwrap();
        assert_eq!(guest.wait(-1, 0).unwrap().1, 5 << 8);
        0
    });
}

#[test]
fn a_fork_bomb_ends_with_eagain_and_the_machine_goes_on() {
    let mut builder = System::builder(Form::Paged);
    builder.configuration.frames = 1 << 16;
    let mut system = builder.boot().unwrap();
    system.machine.program(ENTRY, |guest| {
        let mut count = 0;
        let errno = loop {
            match guest.fork(|_| 0) {
                Ok(_) => count += 1,
                Err(errno) => break errno,
            }
            assert!(count < 10_000, "there is a limit");
        };
        assert_eq!(errno, Errno::EAGAIN);
        assert!(count > 100);
        guest.say("enough");
        0
    });
    assert_eq!(system.run().output, "enough\n");
}

#[test]
fn a_vfork_parent_waits_and_sees_the_child_s_writes() {
    both(|guest| {
        // CLONE_VM | CLONE_VFORK | SIGCHLD
        let child = guest.call_with_child(Sysno::Clone, [0x4100 | 17], |guest| {
            guest.store(DATA, b"vfrk");
            guest.sleep(1_000_000).unwrap();
            guest.store(DATA + 4, b"done");
            6
        });
        assert!(child > 0);
        assert_eq!(guest.bytes(DATA, 8), b"vfrkdone");
        assert_eq!(guest.wait(-1, 0), Ok((child as usize, 6 << 8)));
        0
    });
}

#[test]
fn the_first_process_s_end_is_the_end() {
    let report = System::run_program(Form::Paged, |guest| {
        guest
            .fork(|guest| {
                loop {
                    guest.sleep(1_000).unwrap();
                }
            })
            .unwrap();
        guest.sleep(10_000).unwrap();
        21
    });
    assert_eq!(report.ending, Ending::Exit(21));
}

#[test]
fn a_pipe_carries_bytes_in_order_and_ends() {
    both(|guest| {
        let (reader, writer) = guest.pipe(0).unwrap();
        assert_eq!(guest.write(writer, b"first "), Ok(6));
        assert_eq!(guest.write(writer, b"second"), Ok(6));
        assert_eq!(guest.read(reader, 8).unwrap(), b"first se");
        assert_eq!(guest.read(reader, 8).unwrap(), b"cond");
        assert_eq!(guest.write(reader, b"x"), Err(Errno::EBADF));
        assert_eq!(guest.read(writer, 1), Err(Errno::EBADF));
        guest.close(writer).unwrap();
        assert_eq!(guest.read(reader, 8).unwrap(), b"", "the end");
        0
    });
}

#[test]
fn a_full_pipe_is_eagain_and_small_writes_are_whole() {
    both(|guest| {
        let (reader, writer) = guest.pipe(OPEN_NONBLOCK).unwrap();
        assert_eq!(guest.read(reader, 1), Err(Errno::EAGAIN));
        let mut total = 0;
        while let Ok(count) = guest.write(writer, &[b'x'; 3000]) {
            assert_eq!(count, 3000, "up to PIPE_BUF all or nothing");
            total += count;
        }
        assert_eq!(total, 65536 / 3000 * 3000);
        assert_eq!(guest.write(writer, &[b'y'; 4000]), Err(Errno::EAGAIN));
        let large = guest.write(writer, &[b'z'; 9000]).unwrap();
        assert_eq!(large, 65536 - total, "a large write fills it");
        let mut got = 0;
        while let Ok(bytes) = guest.read(reader, 10_000) {
            got += bytes.len();
        }
        assert_eq!(got, 65536);
        0
    });
}

#[test]
fn writing_to_a_pipe_without_readers_is_sigpipe_or_epipe() {
    for form in FORMS {
        let report = System::run_program(form, |guest| {
            let (reader, writer) = guest.pipe(0).unwrap();
            guest.close(reader).unwrap();
            guest.on_signal(13, 1, 0).unwrap();
            assert_eq!(guest.write(writer, b"x"), Err(Errno::EPIPE));
            guest.on_signal(13, 0, 0).unwrap();
            let _killed = guest.write(writer, b"x");
            0
        });
        assert_eq!(report.ending, Ending::Exit(128 + 13), "{form:?}");
    }
}

#[test]
fn much_data_passes_a_pipe_between_processes_unharmed() {
    for tick in [0, 7] {
        let mut builder = System::builder(Form::Paged);
        builder.configuration.tick = tick;
        let mut system = builder.boot().unwrap();
        system.machine.program(ENTRY, |guest| {
            let (reader, writer) = guest.pipe(0).unwrap();
            guest
                .fork(move |guest| {
                    guest.close(reader).unwrap();
                    let bytes: Vec<u8> = (0..300_000u32).map(|index| (index % 251) as u8).collect();
                    assert_eq!(guest.write(writer, &bytes), Ok(bytes.len()));
                    0
                })
                .unwrap();
            guest.close(writer).unwrap();
            let mut at = 0u32;
            loop {
                let bytes = guest.read(reader, 7777).unwrap();
                if bytes.is_empty() {
                    break;
                }
                for byte in bytes {
                    assert_eq!(u32::from(byte), at % 251);
                    at += 1;
                }
            }
            assert_eq!(at, 300_000);
            assert_eq!(guest.wait(-1, 0).unwrap().1, 0);
            0
        });
        assert_eq!(system.run().ending, Ending::Exit(0));
    }
}
