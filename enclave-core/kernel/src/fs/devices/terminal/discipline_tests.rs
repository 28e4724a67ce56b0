// SPDX-License-Identifier: MIT
//! Tests of the line discipline on bytes.

use super::*;
use alloc::string::String;

fn type_in(discipline: &mut Discipline, bytes: &[u8]) -> Effects {
    let mut effects = Effects::default();
    bytes.iter().for_each(|byte| discipline.typed(*byte, &mut effects));
    effects
}

fn read(discipline: &mut Discipline, max: usize) -> Option<String> {
    let bytes = discipline.peek(max)?;
    discipline.consume(bytes.len());
    Some(String::from_utf8(bytes).unwrap())
}

fn raw(minimum: u8, time: u8) -> Discipline {
    let mut discipline = Discipline::new();
    let mut settings = discipline.settings();
    settings.lflag = 0;
    settings.iflag = 0;
    settings.oflag = 0;
    settings.cc[cc::MIN] = minimum;
    settings.cc[cc::TIME] = time;
    discipline.set(settings);
    discipline
}

#[test]
fn a_line_is_read_when_it_is_complete_and_echoed_as_typed() {
    let mut discipline = Discipline::new();
    let effects = type_in(&mut discipline, b"hi");
    assert_eq!(effects.echo, b"hi");
    assert_eq!(discipline.peek(10), None);
    let effects = type_in(&mut discipline, b"\rmore\n");
    assert_eq!(effects.echo, b"\r\nmore\r\n");
    assert_eq!(read(&mut discipline, 2).as_deref(), Some("hi"));
    assert_eq!(read(&mut discipline, 10).as_deref(), Some("\n"));
    assert_eq!(read(&mut discipline, 10).as_deref(), Some("more\n"));
    assert!(!discipline.is_readable());
}

#[test]
fn erasing_wipes_what_was_echoed() {
    let mut discipline = Discipline::new();
    let effects = type_in(&mut discipline, b"ab\x7f");
    assert_eq!(effects.echo, b"ab\x08 \x08");
    let effects = type_in(&mut discipline, b"\x01\x7f");
    assert_eq!(effects.echo, b"^A\x08 \x08\x08 \x08");
    let effects = type_in(&mut discipline, b" two words\x17");
    assert!(effects.echo.ends_with(&b"\x08 \x08".repeat(5)));
    let effects = type_in(&mut discipline, b"\x15");
    assert_eq!(effects.echo, b"\x08 \x08".repeat(6));
    type_in(&mut discipline, b"\x7fx\n");
    assert_eq!(read(&mut discipline, 10).as_deref(), Some("x\n"));
}

#[test]
fn a_character_of_several_bytes_is_erased_whole() {
    let mut discipline = Discipline::new();
    let mut settings = discipline.settings();
    settings.iflag |= Input::IUTF8.bits();
    discipline.set(settings);
    let effects = type_in(&mut discipline, "aé\x7f\n".as_bytes());
    assert_eq!(effects.echo, "aé\x08 \x08\r\n".as_bytes());
    assert_eq!(read(&mut discipline, 10).as_deref(), Some("a\n"));
}

#[test]
fn an_end_of_file_is_read_once() {
    let mut discipline = Discipline::new();
    type_in(&mut discipline, b"\x04ab\x04c\n");
    assert_eq!(read(&mut discipline, 10).as_deref(), Some(""));
    assert_eq!(read(&mut discipline, 10).as_deref(), Some("ab"));
    assert_eq!(read(&mut discipline, 10).as_deref(), Some("c\n"));
    assert_eq!(discipline.peek(1), None);
}

#[test]
fn signal_characters_flush_unless_told_not_to() {
    let mut discipline = Discipline::new();
    let effects = type_in(&mut discipline, b"abc\x03");
    assert_eq!((effects.signals, effects.echo), (alloc::vec![2], b"^C".to_vec()));
    type_in(&mut discipline, b"d\n");
    assert_eq!(read(&mut discipline, 10).as_deref(), Some("d\n"));

    let mut settings = discipline.settings();
    settings.lflag |= Local::NOFLSH.bits();
    discipline.set(settings);
    let effects = type_in(&mut discipline, b"e\x1cf\x1a\n");
    assert_eq!(effects.signals, [3, 20]);
    assert_eq!(read(&mut discipline, 10).as_deref(), Some("ef\n"));
}

#[test]
fn the_next_character_can_be_taken_literally() {
    let mut discipline = Discipline::new();
    let effects = type_in(&mut discipline, b"\x16\x03\n");
    assert_eq!(effects.signals, []);
    assert_eq!(effects.echo, b"^\x08^C\r\n");
    assert_eq!(read(&mut discipline, 10).as_deref(), Some("\x03\n"));
}

#[test]
fn carriage_returns_follow_the_input_flags() {
    for (flags, expected) in [
        (0, "\r\n"),
        (Input::ICRNL.bits(), "\n\n"),
        (Input::IGNCR.bits(), "\n"),
        (Input::INLCR.bits(), "\r\r"),
    ] {
        let mut discipline = raw(1, 0);
        let settings = Termios { iflag: flags, ..discipline.settings() };
        discipline.set(settings);
        type_in(&mut discipline, b"\r\n");
        assert_eq!(read(&mut discipline, 10).as_deref(), Some(expected));
    }
}

#[test]
fn raw_reading_obeys_minimum_and_time() {
    let mut discipline = raw(3, 0);
    type_in(&mut discipline, b"\x03\x04");
    assert!(!discipline.is_readable());
    assert_eq!((discipline.least(10), discipline.least(2)), (3, 2));
    type_in(&mut discipline, b"\x7f");
    assert!(discipline.is_readable());
    assert_eq!(read(&mut discipline, 2).as_deref(), Some("\x03\x04"));
    let discipline = raw(0, 2);
    assert_eq!((discipline.least(10), discipline.time_ns()), (0, 200_000_000));
}

#[test]
fn changing_the_mode_keeps_what_was_typed() {
    let mut discipline = Discipline::new();
    let canonical = discipline.settings();
    type_in(&mut discipline, b"abc");
    let settings = Termios { lflag: 0, ..canonical };
    discipline.set(settings);
    assert_eq!(read(&mut discipline, 1).as_deref(), Some("a"));
    discipline.set(canonical);
    assert_eq!(read(&mut discipline, 10).as_deref(), Some("bc"));
}

#[test]
fn output_is_held_by_stop_and_released_by_start() {
    let mut discipline = Discipline::new();
    type_in(&mut discipline, b"\x13");
    assert!(discipline.stopped);
    type_in(&mut discipline, b"\x11");
    assert!(!discipline.stopped);
    assert_eq!(discipline.readable_bytes(), 0);
}

#[test]
fn a_line_has_an_end_however_long_it_is() {
    let mut discipline = Discipline::new();
    type_in(&mut discipline, &[b'x'; 2 * INPUT_MAX]);
    assert_eq!(discipline.room(), 1);
    type_in(&mut discipline, b"\n");
    assert_eq!(read(&mut discipline, INPUT_MAX).unwrap().len(), INPUT_MAX);
}

#[test]
fn tabs_can_be_printed_as_spaces() {
    let mut discipline = Discipline::new();
    let mut settings = discipline.settings();
    settings.oflag |= Output::XTABS.bits();
    discipline.set(settings);
    let mut screen = Vec::new();
    discipline.print(b"abc\tx\n", &mut screen);
    assert_eq!(screen, b"abc     x\r\n");
}
