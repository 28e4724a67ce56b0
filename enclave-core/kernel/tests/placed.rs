// SPDX-License-Identifier: MIT
//! Machines that cannot make memory executable: programs and libraries that are there already.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::single_range_in_vec_init,
    reason = "a test may fail"
)]

use strongroom_abi::{Errno, Sysno};
use strongroom_fake::{
    Elf, Ending, Guest, ImageBuilder, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, Machine, OPEN_READ,
    PROT_EXEC, PROT_READ, PROT_WRITE, Report, SystemBuilder,
};
use strongroom_south::{Form, PlacedObject};

const PAGE: usize = 4096;
/// Where the program's address 0 lies. It is linked at [`CODE`].
const BASE: usize = 0x3000_0000;
const CODE: usize = 0;
const DATA: usize = 0x20_0000;
/// The program's entry, as it is linked.
const ENTRY: u64 = 0x100;
/// Where the library lies.
const LIBRARY: usize = 0x4000_0000;

fn program() -> Elf {
    Elf::program(ENTRY, b"file").independent()
}

/// What the machine has placed differs from the file, to tell one from the other.
fn placed_program() -> (PlacedObject, Vec<u8>) {
    let mut bytes = program().bytes();
    bytes.resize(DATA, 0);
    let mut data = vec![0; 4 * PAGE];
    let at = Elf::DATA as usize % PAGE;
    data[at..at + 6].copy_from_slice(b"placed");
    bytes.extend(data);
    let range = BASE..BASE + DATA + 4 * PAGE;
    let writable = vec![BASE + DATA..range.end];
    (
        PlacedObject { path: "/bin/program".into(), base: BASE, range, writable, alignment: PAGE },
        bytes,
    )
}

/// Two pages of text and two of data, all of them in the file.
fn library() -> Vec<u8> {
    [[b't'; 2 * PAGE], [b'd'; 2 * PAGE]].concat()
}

fn placed_library() -> (PlacedObject, Vec<u8>) {
    let range = LIBRARY..LIBRARY + 4 * PAGE;
    let writable = vec![LIBRARY + 2 * PAGE..range.end];
    let object = PlacedObject {
        path: "/lib/real.so".into(),
        base: LIBRARY,
        range,
        writable,
        alignment: PAGE,
    };
    (object, library())
}

fn run(body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static) -> Report {
    let image = ImageBuilder::default()
        .file("/bin/program", 0o755, &program().bytes())
        .file("/bin/other", 0o755, &program().bytes())
        .file("/lib/real.so", 0o644, &library())
        .symlink("/lib/name.so", "real.so")
        .directory("/tmp");
    let builder = SystemBuilder::new(Form::Flat, &image);
    let machine = Machine::new(builder.configuration);
    machine.place(vec![placed_program(), placed_library()]);
    machine.program(BASE as u64 + ENTRY, body);
    builder.boot_on(machine).unwrap().run()
}

fn passes(body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static) {
    let report = run(body);
    assert_eq!(report.ending, Ending::Exit(0), "{report:?}");
}

#[test]
fn a_placed_program_is_taken_as_it_lies() {
    passes(|guest| {
        let data = BASE + DATA + Elf::DATA as usize % PAGE;
        assert_eq!(guest.bytes(data, 6), b"placed", "not read from the file");
        assert_eq!(guest.bytes(BASE + CODE, 4), b"\x7fELF");
        guest.store(data, b"changed");
        let at = guest.allocate(3 * PAGE).unwrap();
        assert!((0x1000_0000..0x2000_0000).contains(&at), "{at:#x} is what can be mapped");
        let heap = guest.call(Sysno::Brk, [0]) as usize;
        assert_eq!(guest.call(Sysno::Brk, [heap + 100]) as usize, heap + 100);
        guest.store(heap, b"heap");
        0
    });
}

#[test]
fn other_programs_are_refused_with_a_line_that_says_what_to_do() {
    let image = ImageBuilder::default().file("/bin/program", 0o755, &program().bytes());
    let builder = SystemBuilder::new(Form::Flat, &image);
    let machine = Machine::new(builder.configuration);
    machine.place(vec![placed_library()]);
    let report = builder.boot_on(machine).unwrap().run();
    assert_eq!(report.ending, Ending::Exit(126));
    assert!(
        report.log.iter().any(|line| line.contains("/bin/program is not packed")),
        "{report:?}"
    );
}

#[test]
fn a_placed_library_is_mapped_where_it_lies() {
    passes(|guest| {
        let file = guest.open("/lib/name.so", OPEN_READ).unwrap();
        let whole = [0, 4 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0];
        assert_eq!(guest.try_call(Sysno::Mmap, whole), Ok(LIBRARY));
        let data = LIBRARY + 2 * PAGE;
        let rest =
            [data, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 2 * PAGE];
        assert_eq!(guest.try_call(Sysno::Mmap, rest), Ok(data));
        assert_eq!(guest.bytes(data - 2, 4), b"ttdd");
        guest.store(data, b"mine");
        assert_eq!(guest.try_call(Sysno::Mmap, whole), Err(Errno::EACCES), "it lies there once");
        // Given up and mapped again, it is as it was at first.
        guest.try_call(Sysno::Munmap, [LIBRARY, 4 * PAGE]).unwrap();
        assert_eq!(guest.try_call(Sysno::Mmap, whole), Ok(LIBRARY));
        assert_eq!(guest.try_call(Sysno::Mmap, rest), Ok(data));
        assert_eq!(guest.bytes(data - 2, 6), b"ttdddd");
        // Zeroes behind the data, as interpreters ask for them.
        let zeroes = [
            data + PAGE,
            PAGE,
            PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS,
            0,
            0,
        ];
        assert_eq!(guest.try_call(Sysno::Mmap, zeroes), Ok(data + PAGE));
        assert_eq!(guest.bytes(data + PAGE - 1, 3), b"d\0\0");
        0
    });
}

#[test]
fn no_other_memory_becomes_executable() {
    let report = run(|guest| {
        let file = guest.open("/bin/other", OPEN_READ).unwrap();
        let code = [0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0];
        assert_eq!(guest.try_call(Sysno::Mmap, code), Err(Errno::EACCES));
        let data = [0, PAGE, PROT_READ, MAP_PRIVATE, file, 0];
        let at = guest.try_call(Sysno::Mmap, data).unwrap();
        assert_eq!(guest.bytes(at, 4), b"\x7fELF", "as data it is welcome");
        assert_eq!(guest.try_call(Sysno::Mprotect, [at, PAGE, PROT_EXEC]), Err(Errno::EACCES));
        let anonymous =
            [0, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, 0, 0];
        assert_eq!(guest.try_call(Sysno::Mmap, anonymous), Err(Errno::EACCES));
        // A part of a library is no library.
        let file = guest.open("/lib/real.so", OPEN_READ).unwrap();
        let part = [0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0];
        assert_eq!(guest.try_call(Sysno::Mmap, part), Err(Errno::EACCES));
        0
    });
    assert_eq!(report.ending, Ending::Exit(0), "{report:?}");
    assert!(report.log.iter().any(|line| line.contains("/bin/other is not packed")), "{report:?}");
}

/// Where the other program's address 0 lies.
const OTHER: usize = 0x5000_0000;
/// `CLONE_VM | CLONE_VFORK | SIGCHLD`, as `posix_spawn` has it.
const SPAWN: usize = 0x4100 | 17;

fn placed_at(path: &str, base: usize) -> (PlacedObject, Vec<u8>) {
    let (object, bytes) = placed_program();
    // With a page behind its last segment, as objects have that are linked for larger pages.
    let end = base + object.range.len();
    let (range, writable) = (base..end, base + DATA..end + PAGE);
    (PlacedObject { path: path.into(), base, range, writable: vec![writable], ..object }, bytes)
}

/// Runs a program beside one that it starts.
fn run_two(
    first: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static,
    second: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static,
) -> Report {
    let image = ImageBuilder::default()
        .file("/bin/program", 0o755, &program().bytes())
        .file("/bin/other", 0o755, &program().bytes())
        .directory("/tmp");
    let machine = Machine::new(SystemBuilder::new(Form::Flat, &image).configuration);
    machine.place(vec![placed_program(), placed_at("/bin/other", OTHER)]);
    machine.program(BASE as u64 + ENTRY, first);
    machine.program(OTHER as u64 + ENTRY, second);
    SystemBuilder::new(Form::Flat, &image).boot_on(machine).unwrap().run()
}

/// What `posix_spawn` does; the child's number.
fn spawn(guest: &mut Guest, path: &'static str) -> isize {
    guest.call_with_child(Sysno::Clone, [SPAWN], move |guest| {
        let path = guest.push_string(path);
        let arguments = guest.room(16);
        guest.store(arguments, &(path as u64).to_le_bytes());
        let errno = guest.try_call(Sysno::Execve, [path, arguments, 0]).unwrap_err();
        -errno.as_return() as u8
    })
}

#[test]
fn a_program_starts_another_one_beside_itself_again_and_again() {
    let data = Elf::DATA as usize % PAGE;
    let first = move |guest: &mut Guest| {
        guest.store(BASE + DATA + data, b"mine");
        let mapped = guest.allocate(3 * PAGE).unwrap();
        guest.store(mapped, b"also");
        for turn in 0..3 {
            let child = spawn(guest, "/bin/other");
            // It runs on while this one does.
            let more = guest.allocate(PAGE).unwrap();
            guest.store(more, b"more");
            assert_eq!(guest.wait(child, 0), Ok((child as usize, 7 << 8)), "turn {turn}");
            assert_eq!(guest.bytes(more, 4), b"more");
        }
        assert_eq!(guest.bytes(BASE + DATA + data, 4), b"mine");
        assert_eq!(guest.bytes(mapped, 4), b"also");
        0
    };
    let second = move |guest: &mut Guest| {
        let found = guest.bytes(OTHER + DATA + data, 6);
        assert!(found == b"placed" || found == b"file\0\0", "as it was packed: {found:?}");
        guest.store(OTHER + DATA + data, b"theirs");
        let behind = OTHER + DATA + 4 * PAGE;
        assert_eq!(guest.bytes(behind, 4), [0; 4], "interpreters count on zeroes there");
        guest.store(behind, b"used");
        let mapped = guest.allocate(3 * PAGE).unwrap();
        assert_eq!(guest.bytes(mapped, 4), [0; 4]);
        guest.store(mapped, b"them");
        let heap = guest.call(Sysno::Brk, [0]) as usize;
        assert_eq!(guest.call(Sysno::Brk, [heap + PAGE]) as usize, heap + PAGE);
        guest.sleep(1_000_000).unwrap();
        assert_eq!(guest.bytes(mapped, 4), b"them");
        // All that there is: what is the first one's stays.
        guest.try_call(Sysno::Munmap, [0x1000_0000, 0x1000_0000]).ok();
        guest.call(Sysno::ExitGroup, [7]);
        0
    };
    let report = run_two(first, second);
    assert_eq!(report.ending, Ending::Exit(0), "{report:?}");
}

#[test]
fn a_program_that_is_in_use_or_not_there_is_not_started() {
    let report = run_two(
        |guest| {
            for (path, errno) in
                [("/bin/program", Errno::ENOMEM), ("/tmp", Errno::EACCES), ("/no", Errno::ENOENT)]
            {
                let child = spawn(guest, path);
                let expected = u32::from(-errno.as_return() as u8) << 8;
                assert_eq!(guest.wait(child, 0), Ok((child as usize, expected)), "{path}");
            }
            0
        },
        |_| 1,
    );
    assert_eq!(report.ending, Ending::Exit(0), "{report:?}");
    let line = "/bin/program is not packed once more";
    assert!(report.log.iter().any(|told| told.contains(line)), "{report:?}");
}

#[test]
fn a_program_makes_room_for_the_one_that_replaces_it() {
    let report = run_two(
        |guest| {
            let path = guest.push_string("/bin/other");
            let arguments = guest.room(16);
            guest.store(arguments, &(path as u64).to_le_bytes());
            let outcome = guest.try_call(Sysno::Execve, [path, arguments, 0]);
            assert_eq!(outcome, Err(Errno::ENOMEM), "the second time");
            5
        },
        |guest| {
            // The first one's place is free: it can be started again.
            let child = spawn(guest, "/bin/program");
            assert_eq!(guest.wait(child, 0), Ok((child as usize, 5 << 8)));
            9
        },
    );
    assert_eq!(report.ending, Ending::Exit(9), "{report:?}");
}

#[test]
fn the_limit_of_the_stack_is_what_it_has() {
    passes(|guest| {
        const STACK: usize = 3;
        let limit = guest.room(16);
        guest.try_call(Sysno::Prlimit64, [0, STACK, 0, limit]).unwrap();
        let size = guest.load_u64(limit) as usize;
        let top = guest.stack_pointer() & !(PAGE - 1);
        // Its lowest page is there, and what is below is not its own.
        guest.store(top + 2 * PAGE - size, b"deep");
        assert_eq!(size, 1 << 20);
        0
    });
}
