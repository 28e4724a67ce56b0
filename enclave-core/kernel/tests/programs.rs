// SPDX-License-Identifier: MIT
//! Programs start, speak and end; files that are no programs are refused.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use strongroom_abi::{Errno, Sysno};
use strongroom_fake::{
    Configuration, ENTRY, Elf, Ending, Guest, ImageBuilder, Machine, Report, System, SystemBuilder,
};
use strongroom_kernel::BootError;
use strongroom_south::{Exception, Form};

const FORMS: [Form; 2] = [Form::Paged, Form::Flat];

/// Runs `program` as `/bin/program`, with code at [`ENTRY`] that exits with 0.
fn run_file(form: Form, program: &[u8]) -> Report {
    run_image(form, &ImageBuilder::default().file("/bin/program", 0o755, program))
}

fn run_image(form: Form, image: &ImageBuilder) -> Report {
    let mut system = SystemBuilder::new(form, image).boot().unwrap();
    system.machine.program(ENTRY, |_| 0);
    system.run()
}

/// The file is refused with this status, and the log has a line with these words.
fn refused(form: Form, what: &str, program: &[u8], words: &str) {
    let report = run_file(form, program);
    assert_eq!(report.ending, Ending::Exit(126), "{what} in {form:?}: {report:?}");
    let told = report.log.iter().any(|line| line.contains(words));
    assert!(told, "{what} in {form:?}: {:?} does not say {words}", report.log);
}

fn damaged(change: impl Fn(&mut Elf)) -> Vec<u8> {
    let mut elf = Elf::program(ENTRY, b"data");
    change(&mut elf);
    elf.bytes()
}

#[test]
fn a_program_says_hello_and_its_status_arrives() {
    for form in FORMS {
        let report = System::run_program(form, |guest| {
            guest.say("hello, world");
            7
        });
        assert_eq!(report.output, "hello, world\n", "{form:?}");
        assert_eq!(report.ending, Ending::Exit(7), "{form:?}");
        assert!(report.errors.is_empty() && report.log.is_empty(), "{report:?}");
    }
}

#[test]
fn output_and_errors_stay_apart_and_in_order() {
    for form in FORMS {
        let report = System::run_program(form, |guest| {
            for number in 0..20 {
                let text = format!("{number};");
                guest.write(1 + number % 2, text.as_bytes()).unwrap();
            }
            0
        });
        assert_eq!(report.output, "0;2;4;6;8;10;12;14;16;18;");
        assert_eq!(report.errors, "1;3;5;7;9;11;13;15;17;19;");
    }
}

#[test]
fn the_stack_holds_arguments_environment_and_auxiliary_vector() {
    for form in FORMS {
        let mut builder = System::builder(form);
        builder.manifest.arguments = vec!["zero".into(), "".into(), "two".into()];
        builder.manifest.environment = vec!["A=b".into()];
        let mut system = builder.boot().unwrap();
        system.machine.program(ENTRY, |guest| {
            let stack = guest.stack_pointer();
            assert_eq!(stack % 16, 0, "the ABI's alignment");
            assert_eq!(guest.load_u64(stack), 3, "argc");
            let word = |guest: &mut Guest, index: usize| guest.load_u64(stack + 8 * index) as usize;
            let texts: Vec<Vec<u8>> = [1, 2, 3, 5]
                .iter()
                .map(|index| {
                    let at = word(guest, *index);
                    guest.bytes(at, 5)
                })
                .collect();
            assert!(texts[0].starts_with(b"zero\0") && texts[1].starts_with(b"\0"));
            assert!(texts[2].starts_with(b"two\0") && texts[3].starts_with(b"A=b\0"));
            assert_eq!((word(guest, 4), word(guest, 6)), (0, 0), "terminators");
            let mut found = Vec::new();
            for index in (7..).step_by(2) {
                let key = word(guest, index);
                if key == 0 {
                    break;
                }
                found.push((key, word(guest, index + 1)));
            }
            let value = |key| found.iter().find(|(known, _)| *known == key).unwrap().1;
            assert_eq!(value(6), 4096, "AT_PAGESZ");
            assert_eq!(value(9), ENTRY as usize, "AT_ENTRY");
            assert_eq!((value(5), value(4)), (2, 56), "AT_PHNUM, AT_PHENT");
            assert_eq!(guest.load_u32(value(3)), 1, "AT_PHDR leads to a PT_LOAD");
            assert_ne!(guest.bytes(value(25), 16), [0; 16], "AT_RANDOM");
            0
        });
        assert_eq!(system.run().status(), 0, "{form:?}");
    }
}

#[test]
fn data_are_loaded_and_followed_by_zeroes() {
    for form in FORMS {
        let report = System::run_program(form, |guest| {
            let at = Elf::DATA as usize;
            assert_eq!(guest.bytes(at, 4), b"data");
            assert!(guest.bytes(at + 4, 0x3000).iter().all(|byte| *byte == 0));
            guest.store(at, b"else");
            assert_eq!(guest.bytes(at, 4), b"else");
            0
        });
        assert_eq!(report.status(), 0, "{form:?}");
    }
}

#[test]
fn every_truncation_of_a_program_is_refused() {
    let whole = Elf::program(ENTRY, b"data").bytes();
    for form in FORMS {
        // Behind the headers only data are missing; a page is loaded all the same.
        for length in (0..176).step_by(7) {
            refused(form, &format!("{length} bytes"), &whole[..length], "not a program");
        }
    }
}

#[test]
fn headers_that_lie_are_refused() {
    type Change = fn(&mut Elf);
    let changes: [(&str, Change); 11] = [
        ("another machine", |elf| elf.machine = 40),
        ("a relocatable file", |elf| elf.kind = 1),
        ("no program headers", |elf| elf.header_count = Some(0)),
        ("too many program headers", |elf| elf.header_count = Some(u16::MAX)),
        ("headers behind the end", |elf| elf.headers_at = 1 << 40),
        ("headers at the end of numbers", |elf| elf.headers_at = u64::MAX - 8),
        ("headers of another size", |elf| elf.header_size = 57),
        ("no segment to load", |elf| elf.segments.iter_mut().for_each(|one| one.kind = 4)),
        ("a segment behind user space", |elf| elf.segments[1].address = 1 << 63),
        ("a segment that wraps", |elf| elf.segments[1].memory_size = u64::MAX - 0x1000),
        ("more file than memory", |elf| elf.segments[0].memory_size = 1),
    ];
    for form in FORMS {
        for (what, change) in changes {
            refused(form, what, &damaged(change), "not a program");
        }
        // Filling up its last page fails.
        let outside = damaged(|elf| elf.segments[1].offset += 1 << 32);
        refused(form, "a segment outside the file", &outside, "not a program");
        refused(
            form,
            "an offset that does not match its address",
            &damaged(|elf| elf.segments[1].address += 8),
            "not a program",
        );
        refused(
            form,
            "the null page",
            &damaged(|elf| elf.segments[0].address = 0),
            "not a program",
        );
        refused(form, "an entry outside", &damaged(|elf| elf.entry = 1 << 63), "not a program");
    }
}

/// Any value in any byte of the headers: refused or run, never a panic, never a hang.
#[test]
fn no_byte_of_the_headers_can_hurt() {
    let whole = Elf::program(ENTRY, b"data").bytes();
    for position in 0..176 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut program = whole.clone();
            program[position] = value;
            let report = run_file(Form::Paged, &program);
            assert!(
                matches!(report.ending, Ending::Exit(0 | 126 | 127 | 132 | 139)),
                "byte {position} = {value:#x}: {report:?}"
            );
        }
    }
}

#[test]
fn an_entry_without_code_ends_with_a_signal() {
    for form in FORMS {
        let report = run_file(form, &damaged(|elf| elf.entry = ENTRY + 16));
        assert_eq!(report.ending, Ending::Exit(128 + 4), "no instruction");
        let report = run_file(form, &damaged(|elf| elf.entry = 0x1000));
        assert_eq!(report.ending, Ending::Exit(128 + 11), "no page");
    }
    let report = run_file(Form::Paged, &damaged(|elf| elf.entry = Elf::DATA));
    assert_eq!(report.ending, Ending::Exit(128 + 11), "not executable");
}

#[test]
fn what_is_not_there_or_not_executable_is_told_apart() {
    let nothing = ImageBuilder::default().file("/etc/motd", 0o644, b"");
    let plain = ImageBuilder::default().file("/bin/program", 0o644, b"\x7fELF");
    let directory = ImageBuilder::default().directory("/bin/program");
    let dangling = ImageBuilder::default().symlink("/bin/program", "/nowhere");
    let circle = ImageBuilder::default().symlink("/bin/program", "program");
    let below = ImageBuilder::default().file("/bin", 0o755, b"");
    for form in FORMS {
        for (image, status) in [
            (&nothing, 127),
            (&plain, 126),
            (&directory, 126),
            (&dangling, 127),
            (&circle, 126),
            (&below, 127),
        ] {
            let report = run_image(form, image);
            assert_eq!(report.ending, Ending::Exit(status), "{report:?}");
            assert_eq!(report.log.len(), 1, "one line says why: {report:?}");
        }
    }
}

#[test]
fn a_program_is_found_by_name_and_through_links() {
    for form in FORMS {
        let program = Elf::program(ENTRY, b"").bytes();
        let image = ImageBuilder::default()
            .file("/opt/real", 0o755, &program)
            .symlink("/usr/bin/tool", "../../opt/real");
        let mut builder = SystemBuilder::new(form, &image);
        builder.manifest.program = "tool".into();
        let mut system = builder.boot().unwrap();
        system.machine.program(ENTRY, |_| 3);
        assert_eq!(system.run().status(), 3);
    }
}

#[test]
fn the_interpreter_starts_and_a_missing_one_is_an_error() {
    const LINKER: u64 = 0x1000;
    let program = Elf::program(ENTRY, b"").with_interpreter(b"/lib/ld.so\0");
    let image = ImageBuilder::default().file("/bin/program", 0o755, &program.bytes());
    for form in FORMS {
        let report = run_image(form, &image);
        assert_eq!(report.ending, Ending::Exit(127), "{report:?}");
        // Linked where it says, so that its code can be found.
        let linker = Elf {
            segments: Elf::program(0, b"")
                .segments
                .iter()
                .map(|one| strongroom_fake::Segment { address: one.address + 0x100_0000, ..*one })
                .collect(),
            ..Elf::program(0x140_0000 + LINKER, b"")
        };
        let image = image.clone().file("/lib/ld.so", 0o755, &linker.bytes());
        let mut system = SystemBuilder::new(form, &image).boot().unwrap();
        system.machine.program(0x140_0000 + LINKER, |_| 9);
        assert_eq!(system.run().status(), 9, "the interpreter ran, not the program");
    }
}

#[test]
fn bad_interpreter_paths_are_refused() {
    for form in FORMS {
        for path in [&b"\0"[..], b"no end", &[b'a'; 5000]] {
            let program = Elf::program(ENTRY, b"").with_interpreter(path).bytes();
            refused(form, &format!("{} bytes", path.len()), &program, "");
        }
        let program = Elf::program(ENTRY, b"").with_interpreter(b"/bin/text\0").bytes();
        let image = ImageBuilder::default().file("/bin/program", 0o755, &program).file(
            "/bin/text",
            0o755,
            &[b'x'; 200],
        );
        assert_eq!(run_image(form, &image).status(), 126);
    }
}

#[test]
fn scripts_run_their_interpreter_but_not_for_ever() {
    let program = Elf::program(ENTRY, b"").bytes();
    for form in FORMS {
        let image = ImageBuilder::default().file("/bin/sh", 0o755, &program).file(
            "/bin/program",
            0o755,
            b"#! /bin/sh -x  y \nexit\n",
        );
        let mut system = SystemBuilder::new(form, &image).boot().unwrap();
        system.machine.program(ENTRY, |guest| {
            let stack = guest.stack_pointer();
            assert_eq!(guest.load_u64(stack), 3);
            let second = guest.load_u64(stack + 16) as usize;
            assert_eq!(guest.bytes(second, 6), b"-x  y\0");
            let third = guest.load_u64(stack + 24) as usize;
            assert_eq!(guest.bytes(third, 13), b"/bin/program\0");
            0
        });
        assert_eq!(system.run().status(), 0);
        let circle = ImageBuilder::default().file("/bin/program", 0o755, b"#!/bin/program");
        assert_eq!(run_image(form, &circle).status(), 126);
        let nothing = ImageBuilder::default().file("/bin/program", 0o755, b"#! \n");
        assert_eq!(run_image(form, &nothing).status(), 126);
    }
}

#[test]
fn without_entropy_nothing_starts() {
    for form in FORMS {
        let machine = Machine::new(Configuration { form, ..Configuration::default() });
        machine.fail_entropy(true);
        let outcome = System::builder(form).boot_on(machine);
        assert_eq!(outcome.map(|_| ()).unwrap_err(), BootError::NoEntropy);
    }
}

#[test]
fn an_image_of_an_impossible_size_is_refused() {
    for blocks in [0, u64::MAX] {
        let mut builder = System::builder(Form::Paged);
        builder.image.blocks = blocks;
        assert_eq!(builder.boot().map(|_| ()).unwrap_err(), BootError::BadImage);
    }
}

#[test]
fn exceptions_become_signals() {
    for form in FORMS {
        for (exception, signal) in [
            (Exception::IntegerDivide, 8),
            (Exception::IllegalInstruction, 4),
            (Exception::Breakpoint, 5),
            (Exception::Protection, 11),
            (Exception::Alignment, 7),
        ] {
            let report = System::run_program(form, move |guest| {
                guest.raise(exception);
                0
            });
            assert_eq!(report.ending, Ending::Exit(128 + signal), "{exception:?}");
        }
        // Which one it was is read from the vector state, where none is pending here.
        let report = System::run_program(form, |guest| {
            guest.raise(Exception::FloatingPoint);
            0
        });
        assert_eq!(report.ending, Ending::Exit(0));
    }
}

/// The state of a fresh thread names no cause, and Linux then sends nothing.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_floating_point_exception_without_a_cause_is_passed_over() {
    for form in FORMS {
        let report = System::run_program(form, |guest| {
            guest.raise(Exception::FloatingPoint);
            5
        });
        assert_eq!(report.ending, Ending::Exit(5), "{form:?}");
    }
}

#[test]
fn unknown_calls_are_refused_and_reported_once() {
    for form in FORMS {
        let report = System::run_program(form, |guest| {
            for number in [511, 511, 100_000, usize::MAX] {
                assert_eq!(guest.call_number(number, [0; 6]), Errno::ENOSYS.as_return());
            }
            0
        });
        assert_eq!(report.log.len(), 1, "{report:?}");
        assert!(report.log[0].contains("511"));
    }
}

#[test]
fn execve_replaces_the_program_where_there_is_room_for_two() {
    const OTHER: u64 = ENTRY + 0x10;
    let image = System::image().file("/bin/other", 0o755, &Elf::program(OTHER, b"new!").bytes());
    for form in FORMS {
        let mut system = SystemBuilder::new(form, &image).boot().unwrap();
        system.machine.program(ENTRY, |guest| {
            guest.store(Elf::DATA as usize, b"old!");
            let path = guest.push_string("/bin/other");
            let arguments = guest.room(16);
            guest.store(arguments, &(path as u64).to_le_bytes());
            let gone = guest.push_string("/bin/gone");
            let outcome = guest.try_call(Sysno::Execve, [gone, arguments, 0]);
            assert_eq!(outcome, Err(Errno::ENOENT), "still here");
            assert_eq!(guest.bytes(Elf::DATA as usize, 4), b"old!", "a failure changes nothing");
            let outcome = guest.try_call(Sysno::Execve, [path, arguments, 0]);
            // Linked for the place where this one lies.
            assert_eq!((guest.form(), outcome), (Form::Flat, Err(Errno::ENOMEM)));
            assert_eq!(guest.bytes(Elf::DATA as usize, 4), b"old!");
            40
        });
        system.machine.program(OTHER, |guest| {
            assert_eq!(guest.bytes(Elf::DATA as usize, 4), b"new!", "nothing is left");
            guest.say("other");
            41
        });
        let report = system.run();
        let expected = if form == Form::Paged { (41, "other\n") } else { (40, "") };
        assert_eq!((report.status(), report.output.as_str()), expected);
    }
}
