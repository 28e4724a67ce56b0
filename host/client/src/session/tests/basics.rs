// SPDX-License-Identifier: MIT
//! Console, clock, image, log, signals and the session's end.

use super::*;
use crate::image::{self, Image, Ownership};
use std::io::Cursor;
use strongroom_wire::frame::DATA_MAX;
use strongroom_wire::message::{Stream, TerminalSize};

#[test]
fn output_arrives_byte_exact_and_in_order_before_the_end() {
    let shared = Shared::default();
    let console = Console::new(std::io::empty(), shared.clone(), shared.clone());
    let mut enclave = Enclave::start(Services::default(), console);
    enclave.send(Ask::Hello { version: VERSION });
    for number in 0..200u32 {
        let stream = if number.is_multiple_of(3) { Stream::Error } else { Stream::Output };
        let bytes = [&number.to_le_bytes()[..], b"\r\n\0\xff"].concat();
        enclave.send(Ask::ConsoleWrite { stream, bytes: &bytes });
    }
    let outcome = enclave.exit(42);
    assert_eq!((outcome.status, outcome.peak_kib, outcome.kernel_kib), (42, 10, 20));
    let expected: Vec<u8> = (0..200u32)
        .flat_map(|number| [&number.to_le_bytes()[..], b"\r\n\0\xff"].concat())
        .collect();
    assert_eq!(shared.bytes(), expected);
}

/// Counts how much was taken, so that reading ahead would show.
struct Counting(Cursor<Vec<u8>>, Arc<Mutex<usize>>);

impl std::io::Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        *self.1.lock().unwrap() += count;
        Ok(count)
    }
}

#[test]
fn input_is_read_only_as_asked() {
    let taken = Arc::new(Mutex::new(0));
    let input = Counting(Cursor::new(b"hello, world".to_vec()), Arc::clone(&taken));
    let console = Console::new(input, std::io::sink(), std::io::sink());
    let mut enclave = Enclave::start(Services::default(), console);
    enclave.ask(Ask::Hello { version: VERSION });
    enclave.ask(Ask::WallClock);
    assert_eq!(*taken.lock().unwrap(), 0);
    assert_eq!(enclave.ask(Ask::ConsoleRead { max: 5 }).data(), b"hello");
    assert_eq!(*taken.lock().unwrap(), 5);
    assert_eq!(enclave.ask(Ask::ConsoleRead { max: u32::MAX }).data(), b", world");
    assert_eq!(enclave.ask(Ask::ConsoleRead { max: 5 }).data(), b"");
    assert_eq!(enclave.ask(Ask::ConsoleRead { max: 0 }).result(), Err(HostError::Invalid));
    enclave.exit(0);
}

#[test]
fn waiting_input_holds_nothing_else_up() {
    let (console, pipes) = Console::piped().unwrap();
    let mut enclave = Enclave::start(Services::default(), console);
    enclave.ask(Ask::Hello { version: VERSION });
    let waiting = enclave.send(Ask::ConsoleRead { max: 10 });
    assert!(matches!(enclave.ask(Ask::WallClock).result(), Ok(Answer::Time(1..))));
    let mut input = pipes.input;
    input.write_all(b"now").unwrap();
    let reply = enclave.receive();
    assert_eq!((reply.ticket(), reply.data()), (waiting, &b"now"[..]));
    enclave.send(Ask::ConsoleRead { max: 10 });
    enclave.exit(0);
}

#[test]
fn a_closed_output_is_an_answer_and_no_end() {
    let (console, pipes) = Console::piped().unwrap();
    drop(pipes.output);
    let mut enclave = Enclave::start(Services::default(), console);
    enclave.ask(Ask::Hello { version: VERSION });
    let write = Ask::ConsoleWrite { stream: Stream::Output, bytes: b"lost" };
    assert_eq!(enclave.ask(write).result(), Err(HostError::Reset));
    enclave.exit(0);
}

#[test]
fn image_blocks_are_whole_and_within_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), vec![9; 5000]).unwrap();
    let path = folder.path().join("image");
    image::build(&root, &path, Ownership::Keep).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let blocks = u32::try_from(bytes.len() / 4096).unwrap();
    let image = Some(Image::open(&path).unwrap());
    let mut enclave = Enclave::greeted(Services { image, ..Services::default() });
    let mut read = |block, count| enclave.ask(Ask::ImageRead { block, count });
    assert_eq!(read(0, blocks).data(), bytes);
    assert_eq!(read(1, 1).data(), &bytes[4096..8192]);
    let most = u32::try_from(DATA_MAX / 4096).unwrap();
    for (block, count) in [
        (0, 0),
        (0, blocks + 1),
        (u64::from(blocks), 1),
        (u64::MAX, 1),
        (u64::MAX / 4096, 1),
        (0, most + 1),
        (0, u32::MAX),
    ] {
        assert_eq!(read(block, count).result(), Err(HostError::Invalid), "{block} {count}");
    }
    enclave.exit(0);
    let mut enclave = Enclave::greeted(Services::default());
    let read = Ask::ImageRead { block: 0, count: 1 };
    assert_eq!(enclave.ask(read).result(), Err(HostError::Unsupported));
}

#[test]
fn start_and_log_are_reported_without_control_characters() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let observer = move |event: Event<'_>| {
        let text = match event {
            Event::Started(started) => format!("started {:?}", started.boot),
            Event::Log(line) => line.to_owned(),
        };
        seen.lock().unwrap().push(text);
    };
    let mut enclave = Enclave::start_observed(Services::default(), silent(), observer);
    enclave.send_as(0, Ask::Log { line: "early" });
    enclave.ask(Ask::Hello { version: VERSION });
    enclave.send_as(0, Ask::Started { boot_ns: 5_000_000 });
    enclave.send_as(0, Ask::Log { line: "\x1b[2Jsystem call 999\n" });
    let outcome = enclave.exit(0);
    let lines = ["early", "started 5ms", "\u{fffd}[2Jsystem call 999"];
    assert_eq!(*events.lock().unwrap(), lines);
    assert_eq!(outcome.started.unwrap().boot, Duration::from_millis(5));
    assert_eq!(outcome.log, [lines[0], lines[2]]);
}

#[test]
fn signals_and_sizes_reach_the_enclave_once_it_is_there() {
    let mut enclave = Enclave::start(Services::default(), silent());
    enclave.controller.signal(10);
    let reply = enclave.ask(Ask::Hello { version: VERSION });
    let Ok(Answer::Welcome { wall_ns: 1.., terminal, size: None }) = reply.result() else {
        panic!("{:?}", reply.result())
    };
    assert_eq!(terminal, [false; 3]);
    // The clock's answer comes from behind the place where signals are let through.
    enclave.ask(Ask::WallClock);
    enclave.controller.signal(2);
    assert_eq!(enclave.receive().message(), ToEnclave::Signal(2));
    let size = TerminalSize { columns: 80, rows: 24 };
    enclave.controller.resize(size);
    assert_eq!(enclave.receive().message(), ToEnclave::Resize(size));
    enclave.exit(0);
}

#[test]
fn a_signal_before_the_enclave_is_there_ends_the_launch() {
    let enclave = Enclave::start(Services::default(), silent());
    enclave.controller.signal(15);
    let error = enclave.error();
    assert!(matches!(error, LaunchError::Interrupted(15)));
    assert_eq!(error.exit_code(), 143);
}

#[test]
fn ends_without_exit_are_errors() {
    let enclave = Enclave::start(Services::default(), silent());
    drop(enclave.stream);
    let error = enclave.session.join().unwrap().unwrap_err();
    assert!(matches!(error, LaunchError::MachineStopped { .. }));
    assert_eq!(error.exit_code(), 125);

    let mut enclave = Enclave::greeted(Services::default());
    enclave.send_as(0, Ask::Abort { reason: "the root image has\nno program" });
    let words = enclave.error().to_string();
    assert_eq!(words, "the enclave gave up: the root image has\u{fffd}no program");

    let enclave = Enclave::greeted(Services::default());
    enclave.controller.end();
    assert!(matches!(enclave.error(), LaunchError::MachineStopped { .. }));
}
