// SPDX-License-Identifier: MIT
//! The agent's part of the protocol against programs of this computer, over a socket pair.
#![expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use super::*;
use crate::protocol::{DATA_MAX, Status};
use std::{
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

/// Everything a command did.
#[derive(Debug, Default)]
struct Seen {
    output: Vec<u8>,
    errors: Vec<u8>,
    taken: usize,
    last: Option<FromGuest>,
}

fn ports() -> (UnixStream, File) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ours, File::from(OwnedFd::from(theirs)))
}

fn shell(script: &str) -> Program {
    let arguments = ["sh", "-c", script].map(|word| word.as_bytes().to_vec()).to_vec();
    Program { arguments, ..Program::default() }
}

fn collect(ours: &mut UnixStream) -> Seen {
    let mut seen = Seen::default();
    loop {
        match receive::<FromGuest>(ours).unwrap() {
            FromGuest::Output(bytes) => seen.output.extend(bytes),
            FromGuest::Errors(bytes) => seen.errors.extend(bytes),
            FromGuest::Taken(count) => seen.taken += usize::try_from(count).unwrap(),
            last @ (FromGuest::Ready { .. } | FromGuest::Ended(_) | FromGuest::Refused(_)) => {
                seen.last = Some(last);
                return seen;
            }
        }
    }
}

/// Runs `program` with messages that follow it at once.
fn run(program: Program, after: &[ToGuest]) -> Seen {
    let (mut ours, port) = ports();
    let agent = thread::spawn(move || serve(&port).unwrap());
    send(&mut ours, &ToGuest::Run(program)).unwrap();
    for message in after {
        send(&mut ours, message).unwrap();
    }
    let seen = collect(&mut ours);
    assert_eq!(agent.join().unwrap(), Served::Command);
    seen
}

fn ended(status: Status) -> Option<FromGuest> {
    Some(FromGuest::Ended(status))
}

#[test]
fn both_outputs_and_the_status_come_back() {
    let seen = run(shell("echo out; echo err >&2; exit 7"), &[ToGuest::InputEnd]);
    assert_eq!((&*seen.output, &*seen.errors), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(seen.last, ended(Status::Exited(7)));
}

#[test]
fn a_signal_is_told_apart_from_a_status() {
    let seen = run(shell("kill -TERM $$"), &[]);
    assert_eq!(seen.last, ended(Status::Signaled(15)));
}

#[test]
fn input_passes_unchanged_and_is_acknowledged() {
    let bytes: Vec<u8> = (0..=255).cycle().take(7 * DATA_MAX / 2).collect();
    let mut messages: Vec<ToGuest> =
        bytes.chunks(DATA_MAX).map(|chunk| ToGuest::Input(chunk.to_vec())).collect();
    messages.push(ToGuest::InputEnd);
    let seen = run(shell("cat"), &messages);
    assert!(seen.output == bytes, "{} bytes came back", seen.output.len());
    assert_eq!(seen.taken, bytes.len());
    assert_eq!(seen.last, ended(Status::Exited(0)));
}

#[test]
fn input_that_nobody_reads_is_taken_and_hurts_nobody() {
    let input = ToGuest::Input(vec![7; DATA_MAX]);
    let seen = run(shell("exec <&-; sleep 0.3; echo done"), &[input.clone(), input]);
    assert_eq!(seen.output, b"done\n");
    assert_eq!(seen.taken, 2 * DATA_MAX);
}

#[test]
fn more_input_than_the_window_ends_the_session() {
    let (mut ours, port) = ports();
    let agent = thread::spawn(move || serve(&port));
    send(&mut ours, &ToGuest::Run(shell("sleep 1"))).unwrap();
    // A pipe takes 64 KiB by itself.
    for _ in 0..12 {
        if send(&mut ours, &ToGuest::Input(vec![0; DATA_MAX])).is_err() {
            break;
        }
    }
    assert!(agent.join().unwrap().unwrap_err().to_string().contains("window"));
}

#[test]
fn who_keeps_the_output_open_is_not_waited_for() {
    let started = Instant::now();
    let seen = run(shell("sleep 60 & echo $!"), &[]);
    assert!(started.elapsed() < Duration::from_secs(20));
    let sleeper = String::from_utf8(seen.output).unwrap();
    assert!(Command::new("kill").arg(sleeper.trim()).status().unwrap().success());
    assert_eq!(seen.last, ended(Status::Exited(0)));
}

#[test]
fn a_program_that_is_not_there_is_refused_by_name() {
    let arguments = vec![b"/no/such/program".to_vec()];
    let seen = run(Program { arguments, ..Program::default() }, &[]);
    let Some(FromGuest::Refused(why)) = seen.last else { panic!("{seen:?}") };
    assert!(why.starts_with("/no/such/program: "), "{why}");
    let Some(FromGuest::Refused(_)) = run(Program::default(), &[]).last else { panic!() };
}

#[test]
fn variables_are_set() {
    let environment = vec![(b"GREETING".to_vec(), b"a b".to_vec())];
    let seen = run(Program { environment, ..shell("echo \"$GREETING\"") }, &[]);
    assert_eq!(seen.output, b"a b\n");
}

#[test]
fn a_terminal_has_its_size_and_ends_input_with_a_character() {
    let terminal = Some(Size { rows: 11, columns: 33 });
    let program =
        Program { terminal, ..shell("stty size; stty -echo; cat; tty -s && echo terminal") };
    let messages = [ToGuest::Input(b"line\n".to_vec()), ToGuest::InputEnd];
    let seen = run(program, &messages);
    let text = String::from_utf8(seen.output).unwrap();
    assert!(text.contains("11 33\r\n") && text.ends_with("terminal\r\n"), "{text:?}");
    assert!(text.contains("line\r\n"), "{text:?}");
    assert!(seen.errors.is_empty());
}

#[test]
fn a_terminal_follows_its_size() {
    let terminal = Some(Size { rows: 1, columns: 1 });
    let script = "while [ \"$(stty size)\" != '4 5' ]; do sleep 0.02; done; echo followed";
    let resize = ToGuest::Resize(Size { rows: 4, columns: 5 });
    let seen = run(Program { terminal, ..shell(script) }, &[resize]);
    assert_eq!(seen.output, b"followed\r\n");
}

#[test]
fn what_is_left_of_the_last_command_is_passed_over() {
    let (mut ours, port) = ports();
    let agent = thread::spawn(move || (serve(&port).unwrap(), serve(&port).unwrap()));
    for message in [
        ToGuest::Input(b"late".to_vec()),
        ToGuest::InputEnd,
        ToGuest::Run(shell("cat")),
        ToGuest::InputEnd,
    ] {
        send(&mut ours, &message).unwrap();
    }
    assert_eq!(collect(&mut ours).output, b"");
    send(&mut ours, &ToGuest::PowerOff).unwrap();
    assert_eq!(agent.join().unwrap(), (Served::Command, Served::PowerOff));
}

#[test]
fn without_a_host_the_agent_ends() {
    let (ours, port) = ports();
    drop(ours);
    assert_eq!(serve(&port).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
