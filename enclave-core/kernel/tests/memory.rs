// SPDX-License-Identifier: MIT
//! Memory of programs: bad addresses, mappings, protection, and its end.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use strongroom_abi::{Errno, Sysno};
use strongroom_fake::{
    Elf, Ending, Guest, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, OPEN_CREATE, OPEN_READ,
    OPEN_READ_WRITE, PROT_NONE, PROT_READ, PROT_WRITE, System,
};
use strongroom_south::{Form, Frames as _};

const FORMS: [Form; 2] = [Form::Paged, Form::Flat];
const PAGE: usize = 4096;

fn both(body: impl Fn(&mut Guest) -> u8 + Send + Sync + Clone + 'static) {
    for form in FORMS {
        let report = System::run_program(form, body.clone());
        assert_eq!(report.ending, Ending::Exit(0), "{form:?}: {report:?}");
    }
}

fn paged(body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static) {
    let report = System::run_program(Form::Paged, body);
    assert_eq!(report.ending, Ending::Exit(0), "{report:?}");
}

/// Addresses that no program can have.
const WILD: [usize; 6] = [0, 8, 1 << 46, 0x7fff_ffff_f000, 1 << 63, usize::MAX - 2];

#[test]
fn bad_pointers_are_efault_for_reads_writes_and_paths() {
    both(|guest| {
        let (reader, writer) = guest.pipe(0).unwrap();
        guest.write(writer, b"waiting").unwrap();
        for address in WILD {
            let fault = Err(Errno::EFAULT);
            assert_eq!(guest.try_call(Sysno::Write, [1, address, 9]), fault, "{address:#x}");
            assert_eq!(guest.try_call(Sysno::Read, [reader, address, 9]), fault);
            assert_eq!(
                guest.try_call(Sysno::Openat, [0usize.wrapping_sub(100), address, 0]),
                fault
            );
            assert_eq!(guest.try_call(Sysno::Pipe2, [address, 0]), fault);
            if address != 0 {
                assert_eq!(guest.try_call(Sysno::ClockGettime, [1, address]), fault);
            }
            assert_eq!(guest.try_call(Sysno::Writev, [1, address, 1]), fault);
            assert_eq!(guest.try_call(Sysno::RtSigaction, [10, address.max(1), 0, 8]), fault);
        }
        assert_eq!(guest.read(reader, 99).unwrap(), b"waiting", "a failed read takes nothing");
        0
    });
}

#[test]
fn a_buffer_that_ends_in_nowhere_is_not_half_used() {
    both(|guest| {
        let at = guest.allocate(PAGE).unwrap();
        guest.store(at, &[7; PAGE]);
        let end = at + PAGE - 4;
        let (_, writer) = guest.pipe(0).unwrap();
        // What Linux does here differs by file; a prefix or an error, but never a made-up byte.
        let wrote = guest.try_call(Sysno::Write, [writer, end, 8]);
        assert!(matches!(wrote, Ok(4) | Err(Errno::EFAULT)), "{wrote:?}");
        0
    });
}

#[test]
fn memory_comes_zeroed_and_goes() {
    both(|guest| {
        let at = guest.allocate(3 * PAGE).unwrap();
        assert!(guest.bytes(at, 3 * PAGE).iter().all(|byte| *byte == 0));
        guest.store(at + PAGE - 2, b"over the edge");
        guest.try_call(Sysno::Munmap, [at + PAGE, PAGE]).unwrap();
        assert_eq!(guest.try_call(Sysno::Write, [1, at + PAGE, 1]), Err(Errno::EFAULT));
        assert_eq!(guest.bytes(at + PAGE - 2, 2), b"ov");
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        let protection = PROT_READ | PROT_WRITE;
        let again =
            guest.try_call(Sysno::Mmap, [at + PAGE, PAGE, protection, flags, usize::MAX, 0]);
        assert_eq!(again, Ok(at + PAGE));
        assert!(guest.bytes(at + PAGE, PAGE).iter().all(|byte| *byte == 0), "nothing comes back");
        0
    });
}

#[test]
fn impossible_mappings_are_refused() {
    both(|guest| {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS;
        let mut map = |at, length, flags, descriptor: usize, offset| {
            guest.try_call(Sysno::Mmap, [at, length, PROT_READ, flags, descriptor, offset])
        };
        assert_eq!(map(0, 0, flags, 0, 0), Err(Errno::EINVAL));
        assert_eq!(map(0, PAGE, MAP_ANONYMOUS, 0, 0), Err(Errno::EINVAL));
        assert_eq!(map(0, usize::MAX, flags, 0, 0), Err(Errno::ENOMEM));
        assert_eq!(map(0, 1 << 60, flags, 0, 0), Err(Errno::ENOMEM));
        assert_eq!(map(7, PAGE, flags | MAP_FIXED, 0, 0), Err(Errno::EINVAL));
        assert_eq!(map(1 << 47, PAGE, flags | MAP_FIXED, 0, 0), Err(Errno::ENOMEM));
        assert_eq!(map(0, PAGE, MAP_PRIVATE, 99, 0), Err(Errno::EBADF));
        assert_eq!(map(0, PAGE, MAP_PRIVATE, 1, 0), Err(Errno::EACCES), "not open for reading");
        assert_eq!(map(0, PAGE, MAP_PRIVATE, 0, 1), Err(Errno::EINVAL));
        0
    });
}

#[test]
fn the_heap_grows_shrinks_and_is_zeroed() {
    both(|guest| {
        let start = guest.call(Sysno::Brk, [0]) as usize;
        assert_eq!(guest.call(Sysno::Brk, [start + 3 * PAGE]) as usize, start + 3 * PAGE);
        guest.store(start, &[9; 3 * PAGE]);
        assert_eq!(guest.call(Sysno::Brk, [start + 1]) as usize, start + 1);
        assert_eq!(guest.call(Sysno::Brk, [start + 3 * PAGE]) as usize, start + 3 * PAGE);
        let tail = guest.bytes(start + PAGE, 2 * PAGE);
        assert!(tail.iter().all(|byte| *byte == 0), "pages given back come back zeroed");
        let huge = guest.call(Sysno::Brk, [1 << 62]) as usize;
        assert_eq!(huge, start + 3 * PAGE, "a failure leaves it where it is");
        assert_eq!(guest.call(Sysno::Brk, [start - 1]) as usize, huge);
        0
    });
}

#[test]
fn remapping_keeps_contents_and_zeroes_the_rest() {
    both(|guest| {
        let at = guest.allocate(2 * PAGE).unwrap();
        let wall = guest.allocate(PAGE).unwrap();
        guest.store(at, b"kept");
        guest.store(at + PAGE, b"also");
        let moved = guest.try_call(Sysno::Mremap, [at, 2 * PAGE, 8 * PAGE, 1, 0]).unwrap();
        assert_eq!(guest.bytes(moved, 4), b"kept");
        assert_eq!(guest.bytes(moved + PAGE, 4), b"also");
        assert!(guest.bytes(moved + 2 * PAGE, 6 * PAGE).iter().all(|byte| *byte == 0));
        let shrunk = guest.try_call(Sysno::Mremap, [moved, 8 * PAGE, PAGE, 0, 0]);
        assert_eq!(shrunk, Ok(moved));
        assert_eq!(guest.try_call(Sysno::Write, [1, moved + PAGE, 1]), Err(Errno::EFAULT));
        guest.store(wall, b"!");
        0
    });
}

#[test]
fn discarded_memory_reads_as_zeroes() {
    both(|guest| {
        let at = guest.allocate(2 * PAGE).unwrap();
        guest.store(at, &[1; 2 * PAGE]);
        guest.try_call(Sysno::Madvise, [at, PAGE, 4]).unwrap();
        assert!(guest.bytes(at, PAGE).iter().all(|byte| *byte == 0));
        assert!(guest.bytes(at + PAGE, PAGE).iter().all(|byte| *byte == 1));
        0
    });
}

#[test]
fn protection_is_enforced_where_the_machine_can() {
    for form in FORMS {
        let report = System::run_program(form, |guest| {
            let at = guest.allocate(PAGE).unwrap();
            guest.store(at, b"x");
            assert_eq!(guest.try_call(Sysno::Mprotect, [at, PAGE, PROT_READ]), Ok(0));
            assert_eq!(guest.bytes(at, 1), b"x");
            guest.store(at, b"y");
            0
        });
        // The processor of a flat machine knows nothing of it.
        let expected = if form == Form::Paged { 128 + 11 } else { 0 };
        assert_eq!(report.ending, Ending::Exit(expected), "{form:?}");
    }
}

#[test]
fn what_is_reserved_can_be_used_after_mprotect() {
    both(|guest| {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS;
        let arguments = [0, 4 * PAGE, PROT_NONE, flags, usize::MAX, 0];
        let at = guest.try_call(Sysno::Mmap, arguments).unwrap();
        guest.try_call(Sysno::Mprotect, [at + PAGE, PAGE, PROT_READ | PROT_WRITE]).unwrap();
        guest.store(at + PAGE, b"arena");
        assert_eq!(guest.bytes(at + PAGE, 5), b"arena");
        let hole = guest.try_call(Sysno::Mprotect, [at + 64 * PAGE, 1 << 40, PROT_READ]);
        assert_eq!(hole, Err(Errno::ENOMEM));
        0
    });
}

/// Pages that two hold get rights back only at the next access: that access has to succeed.
#[test]
fn rights_taken_from_a_shared_page_can_be_given_back() {
    paged(|guest| {
        let file = guest.open("/bin/program", OPEN_READ).unwrap();
        let arguments = [0, PAGE, PROT_READ, MAP_PRIVATE, file, 0];
        let at = guest.try_call(Sysno::Mmap, arguments).unwrap();
        assert_eq!(guest.bytes(at, 4), b"\x7fELF");
        guest.try_call(Sysno::Mprotect, [at, PAGE, PROT_NONE]).unwrap();
        guest.try_call(Sysno::Mprotect, [at, PAGE, PROT_READ]).unwrap();
        assert_eq!(guest.bytes(at, 4), b"\x7fELF");
        guest.try_call(Sysno::Mprotect, [at, PAGE, PROT_READ | PROT_WRITE]).unwrap();
        guest.store(at, b"mine");
        assert_eq!(guest.bytes(at, 4), b"mine");
        let again = guest.try_call(Sysno::Mmap, arguments).unwrap();
        assert_eq!(guest.bytes(again, 4), b"\x7fELF", "the file is not changed");
        0
    });
}

#[test]
fn private_mappings_of_files_never_change_the_file() {
    both(|guest| {
        let file = guest.open("/bin/program", OPEN_READ).unwrap();
        let arguments = [0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0];
        let at = guest.try_call(Sysno::Mmap, arguments).unwrap();
        guest.store(at, b"mine");
        assert_eq!(guest.read(file, 4).unwrap(), b"\x7fELF");
        // The program's own text, which a flat machine cannot protect.
        if guest.form() == Form::Flat {
            guest.store(0x40_0000, b"mine");
        }
        let again = guest.try_call(Sysno::Mmap, arguments).unwrap();
        assert_eq!(guest.bytes(again, 4), b"\x7fELF");
        0
    });
}

#[test]
fn shared_mappings_show_writes_and_files_show_theirs() {
    both(|guest| {
        let file = guest.open("/tmp/shared", OPEN_CREATE | OPEN_READ_WRITE).unwrap();
        guest.write(file, &[b'.'; 100]).unwrap();
        let arguments = [0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0];
        let at = guest.try_call(Sysno::Mmap, arguments).unwrap();
        guest.store(at + 1, b"hey");
        guest.call(Sysno::Lseek, [file, 0, 0]);
        assert_eq!(guest.read(file, 5).unwrap(), b".hey.");
        guest.write(file, b"you").unwrap();
        assert_eq!(guest.bytes(at, 9), b".hey.you.");
        // A frame has one address where there are no page tables.
        let second = guest.try_call(Sysno::Mmap, arguments);
        assert_eq!(second.is_ok(), guest.form() == Form::Paged, "{second:?}");
        guest.try_call(Sysno::Munmap, [at, PAGE]).unwrap();
        let again = guest.try_call(Sysno::Mmap, arguments);
        let again = if guest.form() == Form::Paged { second } else { again };
        assert_eq!(guest.bytes(again.unwrap(), 9), b".hey.you.");
        0
    });
}

#[test]
fn files_that_cannot_be_written_are_shared_as_often_as_wanted() {
    both(|guest| {
        let file = guest.open("/bin/program", OPEN_READ).unwrap();
        let arguments = [0, PAGE, PROT_READ, MAP_SHARED, file, 0];
        for _ in 0..2 {
            let at = guest.try_call(Sysno::Mmap, arguments).unwrap();
            assert_eq!(guest.bytes(at, 4), b"\x7fELF");
            let writable = guest.try_call(Sysno::Mprotect, [at, PAGE, PROT_READ | PROT_WRITE]);
            assert_eq!(writable, Err(Errno::EACCES));
        }
        0
    });
}

#[test]
fn calls_keep_to_the_protection_of_memory_on_every_machine() {
    both(|guest| {
        let (reader, writer) = guest.pipe(0).unwrap();
        let at = guest.allocate(2 * PAGE).unwrap();
        guest.store(at, b"kept");
        guest.write(writer, b"0123456789").unwrap();
        for (protection, written, read) in [
            (PROT_READ, Ok(4), Err(Errno::EFAULT)),
            (PROT_NONE, Err(Errno::EFAULT), Err(Errno::EFAULT)),
            (PROT_READ | PROT_WRITE, Ok(4), Ok(4)),
        ] {
            guest.try_call(Sysno::Mprotect, [at, PAGE, protection]).unwrap();
            assert_eq!(guest.try_call(Sysno::Write, [writer, at, 4]), written, "{protection}");
            assert_eq!(guest.try_call(Sysno::Read, [reader, at, 4]), read, "{protection}");
        }
        assert_eq!(guest.bytes(at, 4), b"0123");
        // What moves takes its protection along.
        guest.try_call(Sysno::Mprotect, [at, PAGE, PROT_READ]).unwrap();
        let moved = guest.try_call(Sysno::Mremap, [at, PAGE, 4 * PAGE, 1]).unwrap();
        assert_eq!(guest.try_call(Sysno::Read, [reader, moved, 4]), Err(Errno::EFAULT));
        assert_eq!(guest.try_call(Sysno::Write, [writer, moved, 4]), Ok(4));
        0
    });
}

#[test]
fn a_wild_access_is_a_segmentation_fault() {
    for form in FORMS {
        for address in WILD {
            let report = System::run_program(form, move |guest| {
                guest.bytes(address, 1);
                0
            });
            assert_eq!(report.ending, Ending::Exit(128 + 11), "{form:?} {address:#x}");
        }
    }
}

#[test]
fn text_cannot_be_written_and_a_file_has_an_end() {
    let report = System::run_program(Form::Paged, |guest| {
        guest.store(0x40_0000, b"x");
        0
    });
    assert_eq!(report.ending, Ending::Exit(128 + 11));
    let report = System::run_program(Form::Paged, |guest| {
        let file = guest.open("/bin/program", OPEN_READ).unwrap();
        let arguments = [0, 3 * PAGE, PROT_READ, MAP_PRIVATE, file, 0];
        let at = guest.try_call(Sysno::Mmap, arguments).unwrap();
        guest.bytes(at + 2 * PAGE, 1);
        0
    });
    assert_eq!(report.ending, Ending::Exit(128 + 7), "SIGBUS behind the end");
}

#[test]
fn a_stack_grows_as_far_as_its_limit() {
    for form in FORMS {
        let report = System::run_program(form, |guest| {
            for _ in 0..100 {
                guest.room(8000);
            }
            guest.say("deep");
            loop {
                guest.room(64 * 1024);
            }
        });
        assert_eq!(report.output, "deep\n", "{form:?}");
        assert_eq!(report.ending, Ending::Exit(128 + 11), "{form:?}");
    }
}

#[test]
fn a_program_that_takes_all_memory_is_killed_and_others_go_on() {
    let mut builder = System::builder(Form::Paged);
    builder.configuration.frames = 600;
    let mut system = builder.boot().unwrap();
    system.machine.program(strongroom_fake::ENTRY, |guest| {
        let child = guest
            .fork(|guest| {
                let at = guest.allocate(1 << 30).unwrap();
                for page in 0.. {
                    guest.store(at + page * PAGE, b"mine");
                }
                0
            })
            .unwrap();
        assert_eq!(guest.wait(-1, 0), Ok((child, 9)), "killed");
        let at = guest.allocate(100 * PAGE).unwrap();
        guest.store(at, &[1; 100 * PAGE]);
        guest.say("alive");
        0
    });
    let report = system.run();
    assert_eq!((report.status(), report.output.as_str()), (0, "alive\n"));
    assert!(report.log.iter().any(|line| line.contains("out of memory")), "{report:?}");
}

#[test]
fn a_flat_machine_says_enomem_before_it_is_too_late() {
    let mut builder = System::builder(Form::Flat);
    builder.configuration.frames = 900;
    let mut system = builder.boot().unwrap();
    system.machine.program(strongroom_fake::ENTRY, |guest| {
        let mut got = Vec::new();
        let errno = loop {
            match guest.allocate(16 * PAGE) {
                Ok(at) => got.push(at),
                Err(errno) => break errno,
            }
            assert!(got.len() < 900 / 16, "there is not that much");
        };
        assert_eq!(errno, Errno::ENOMEM);
        let heap = guest.call(Sysno::Brk, [0]) as usize;
        assert_eq!(guest.call(Sysno::Brk, [heap + 64 * PAGE]) as usize, heap);
        let grown = guest.try_call(Sysno::Mremap, [got[0], 16 * PAGE, 64 * PAGE, 1, 0]);
        assert_eq!(grown, Err(Errno::ENOMEM));
        guest.store(got[0], b"still mine");
        guest.try_call(Sysno::Munmap, [got[1], 16 * PAGE]).unwrap();
        assert!(guest.allocate(16 * PAGE).is_ok(), "what is given back can be had again");
        0
    });
    assert_eq!(system.run().ending, Ending::Exit(0));
}

#[test]
fn page_tables_that_run_out_end_a_program_not_the_machine() {
    for form in FORMS {
        for maps in 0..60 {
            let mut system = System::with_program(form, |guest| {
                let at = guest.allocate(4 * PAGE).unwrap_or(Elf::DATA as usize);
                guest.store(at, b"x");
                let _child = guest.fork(|_| 0);
                let _waited = guest.wait(-1, 0);
                0
            });
            system.machine.limit_maps(maps);
            let report = system.run();
            assert!(
                matches!(report.ending, Ending::Exit(0 | 126 | 137 | 139)),
                "{form:?} after {maps} maps: {report:?}"
            );
        }
    }
}

#[test]
fn nothing_leaks_when_children_come_and_go() {
    let mut system = System::with_program(Form::Paged, |guest| {
        let mut free = Vec::new();
        for _ in 0..30 {
            guest
                .fork(|guest| {
                    let at = guest.allocate(20 * PAGE).unwrap();
                    guest.store(at, &[1; 20 * PAGE]);
                    0
                })
                .unwrap();
            guest.wait(-1, 0).unwrap();
            free.push(guest.machine().counts().free);
        }
        assert_eq!(free[5], free[29], "{free:?}");
        0
    });
    assert_eq!(system.run().ending, Ending::Exit(0));
}

#[test]
fn while_the_kernels_own_memory_is_short_nothing_is_made_and_all_else_works() {
    both(|guest| {
        let (reader, writer) = guest.pipe(0).unwrap();
        guest.write(writer, b"in time").unwrap();
        let file = guest.open("/tmp/file", OPEN_CREATE | OPEN_READ_WRITE).unwrap();
        guest.write(file, b"a file's bytes are in frames").unwrap();
        let page = guest.allocate(PAGE).unwrap();
        guest.machine().make_heap_short(true);
        let short = Err(Errno::ENOMEM);
        assert_eq!(guest.open("/tmp/file", OPEN_READ).map(|_| 0), short);
        assert_eq!(guest.pipe(0).map(|_| 0), short);
        assert_eq!(guest.allocate(PAGE).map(|_| 0), short);
        assert_eq!(guest.try_call(Sysno::Socket, [1, 1, 0]), short);
        assert_eq!(guest.try_call(Sysno::Clone3, [0, 0]), short);
        assert_eq!(guest.write(writer, &[b'x'; PAGE]), short, "a pipe keeps what it is given");
        guest.say("no memory is left");
        assert_eq!(guest.write(file, b"more"), Ok(4));
        assert_eq!(guest.read(reader, 99).unwrap(), b"in time");
        assert_eq!(guest.try_call(Sysno::Munmap, [page, PAGE]), Ok(0));
        assert_eq!(guest.close(file), Ok(0));
        guest.machine().make_heap_short(false);
        let file = guest.open("/tmp/file", OPEN_READ).unwrap();
        assert_eq!(guest.read(file, 6).unwrap(), b"a file");
        assert_eq!(guest.write(writer, &[b'x'; PAGE]), Ok(PAGE));
        0
    });
}
