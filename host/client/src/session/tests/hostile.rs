// SPDX-License-Identifier: MIT
//! Enclaves that do not keep to the protocol.

use super::*;
use strongroom_wire::message::{FileAsk, SocketAsk, Stream};

/// Sends what `misbehave` sends and expects the session to end with these words.
fn refused(misbehave: impl FnOnce(&mut Enclave), words: &str) {
    let mut enclave = Enclave::greeted(Services::default());
    misbehave(&mut enclave);
    let error = enclave.error();
    assert!(matches!(error, LaunchError::Protocol(_)), "{error}");
    assert_eq!(error.exit_code(), 125);
    assert!(error.to_string().contains(words), "{error}, not {words}");
}

#[test]
fn messages_that_do_not_parse_end_the_session() {
    refused(|enclave| enclave.raw(&[1]), "does not decode");
    refused(|enclave| enclave.raw(&[1, 200]), "does not decode");
    // A wall clock question with a byte behind it.
    refused(|enclave| enclave.raw(&[1, 4, 0]), "a message of 3 bytes has bytes left over");
    // Bytes to be written that are announced and do not come.
    refused(|enclave| enclave.raw(&[1, 2, 0, 255, 255, 3, 0]), "does not decode");
    // A string that is not UTF-8.
    refused(|enclave| enclave.raw(&[0, 8, 1, 0xff]), "does not decode");
}

#[test]
fn lengths_over_the_limit_end_the_session_at_once() {
    for header in [[0xff; 4], [0, 0, 0, 0x80], [1, 0x20, 2, 0], [0; 4]] {
        refused(
            |enclave| enclave.stream.write_all(&header).unwrap(),
            "and 1 to 139264 are allowed",
        );
    }
}

#[test]
fn a_message_may_arrive_in_any_pieces() {
    let mut enclave = Enclave::greeted(Services::default());
    let body = postcard::to_allocvec(&ToHost { ticket: 9, ask: Ask::WallClock }).unwrap();
    let mut bytes = frame::header(body.len()).unwrap().to_vec();
    bytes.extend(&body);
    for byte in bytes {
        enclave.stream.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(enclave.receive().ticket(), 9);
    enclave.exit(0);
}

#[test]
fn tickets_are_checked() {
    refused(|enclave| enclave.send_as(0, Ask::WallClock), "WallClock came without a ticket");
    let connect = Ask::Socket(SocketAsk::Connect { grant: 0 });
    refused(|enclave| enclave.send_as(0, connect), "Socket came without a ticket");
    let log = Ask::Log { line: "x" };
    refused(|enclave| enclave.send_as(7, log), "Log has no answer, and came with ticket 7");
    let (console, _pipes) = Console::piped().unwrap();
    let mut enclave = Enclave::start(Services::default(), console);
    enclave.ask(Ask::Hello { version: VERSION });
    enclave.send_as(7, Ask::ConsoleRead { max: 1 });
    enclave.send_as(7, Ask::ConsoleRead { max: 1 });
    assert!(enclave.error().to_string().ends_with("ticket 7 is used twice"));
}

#[test]
fn requests_that_wait_are_bounded() {
    let (console, _pipes) = Console::piped().unwrap();
    let mut enclave = Enclave::start(Services::default(), console);
    enclave.ask(Ask::Hello { version: VERSION });
    for _ in 0..5000 {
        enclave.send(Ask::ConsoleRead { max: 1 });
    }
    assert!(enclave.error().to_string().contains("more than 4096 requests wait"));
}

#[test]
fn an_enclave_that_takes_in_nothing_is_still_listened_to() {
    let mut enclave = Enclave::greeted(Services::default());
    // More answers than the stream holds; the last message has to come through all the same.
    for _ in 0..100_000 {
        enclave.send(Ask::WallClock);
    }
    assert_eq!(enclave.exit(7).status, 7);
}

#[test]
fn answers_that_are_not_taken_in_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), vec![1; frame::DATA_MAX]).unwrap();
    let access = DirectoryAccess { path: folder.path().into(), writable: false };
    let mut enclave =
        Enclave::greeted(Services { directories: vec![access], ..Services::default() });
    let max = u32::try_from(frame::DATA_MAX).unwrap();
    for _ in 0..1000 {
        enclave.send(Ask::File(FileAsk::Read { grant: 0, path: "file", offset: 0, max }));
    }
    assert!(enclave.error().to_string().ends_with("it asks without taking in answers"));
}

#[test]
fn hello_comes_first_once_and_in_our_version() {
    let twice = Ask::Hello { version: VERSION };
    refused(|enclave| enclave.send_as(9, twice), "it said hello twice");
    let mut enclave = Enclave::start(Services::default(), silent());
    enclave.send(Ask::WallClock);
    assert!(enclave.error().to_string().ends_with("it did not say hello"));
    let mut enclave = Enclave::start(Services::default(), silent());
    enclave.send(Ask::Hello { version: VERSION + 1 });
    let words = "it speaks version 2, and this launcher 1";
    assert!(enclave.error().to_string().ends_with(words));
}

#[test]
fn a_write_over_the_limit_is_refused_alone() {
    let mut enclave = Enclave::greeted(Services::default());
    let bytes = vec![0; frame::DATA_MAX + 1];
    let write = Ask::ConsoleWrite { stream: Stream::Output, bytes: &bytes };
    assert_eq!(enclave.ask(write).result(), Err(HostError::Invalid));
    enclave.exit(0);
}

#[test]
fn what_is_not_granted_is_denied() {
    let mut enclave = Enclave::greeted(Services::default());
    for ask in [
        Ask::File(FileAsk::Look { grant: 0, path: "" }),
        Ask::File(FileAsk::Write { grant: u16::MAX, path: "a", offset: 0, bytes: b"" }),
        Ask::Socket(SocketAsk::Connect { grant: 0 }),
        Ask::Socket(SocketAsk::Listen { grant: 3, backlog: 1 }),
    ] {
        assert_eq!(enclave.ask(ask.clone()).result(), Err(HostError::Denied), "{ask:?}");
    }
    for ask in [
        SocketAsk::Accept { handle: 1 },
        SocketAsk::Receive { handle: 0, max: 1 },
        SocketAsk::Send { handle: 9, bytes: b"x" },
        SocketAsk::Finish { handle: u32::MAX },
    ] {
        assert_eq!(enclave.ask(Ask::Socket(ask)).result(), Err(HostError::Invalid));
    }
    enclave.send_as(0, Ask::Socket(SocketAsk::Close { handle: 5 }));
    enclave.exit(0);
}
