// SPDX-License-Identifier: MIT
//! Attested sessions before the workload starts: the kernel on a machine with a security processor
//! that is made up, a host that carries bytes, and clients of all kinds.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod client;
mod secrecy;
mod service;
mod visitors;

use client::{Attached, Client, Sent, owner, psp, stranger};
use std::sync::atomic::{AtomicUsize, Ordering};
use strongroom_abi::{Errno, Sysno};
use strongroom_fake::{ENTRY, Ending, Guest, OPEN_READ, OPEN_WRITE, System};
use strongroom_session::client::Answer;
use strongroom_session::message::{NoEvidence, Refusal};
use strongroom_south::Form;
use strongroom_wire::boot::SessionTerms;

const FORMS: [Form; 2] = [Form::Paged, Form::Flat];
const SECRET: &[u8] = b"correct horse battery staple";

/// A manifest that takes everything from [`owner`].
fn terms() -> SessionTerms {
    SessionTerms {
        owners: vec![owner().public().0],
        insecure_any_client: false,
        late_arguments: true,
        late_environment: vec!["REGION".into()],
        secrets: vec!["key".into(), "big".into()],
    }
}

/// A system that waits for its owner; its program has not run.
fn waiting(
    form: Form,
    terms: SessionTerms,
    body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static,
) -> System {
    let mut builder = System::builder(form);
    builder.manifest.arguments = vec!["program".into(), "first".into()];
    builder.manifest.environment = vec!["HOME=/root".into()];
    builder.manifest.session = Some(terms);
    let system = builder.boot().unwrap();
    system.machine.program(ENTRY, body);
    system
}

/// The same on a machine that can prove what it is.
fn proving(
    form: Form,
    terms: SessionTerms,
    body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static,
) -> System {
    let system = waiting(form, terms, body);
    system.machine.give_security_processor(psp());
    system
}

/// Nothing but to be started.
fn bare() -> SessionTerms {
    SessionTerms { owners: vec![owner().public().0], ..SessionTerms::default() }
}

/// Arguments and variables as a program finds them on its first stack.
fn first_strings(guest: &mut Guest) -> (Vec<String>, Vec<String>) {
    let mut at = guest.stack_pointer() + 8;
    let mut list = |guest: &mut Guest| {
        let mut found = Vec::new();
        loop {
            let pointer = guest.load_u64(at) as usize;
            at += 8;
            if pointer == 0 {
                return found;
            }
            let bytes = (0..).map(|offset| guest.bytes(pointer + offset, 1)[0]);
            let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
            found.push(String::from_utf8(bytes).unwrap());
        }
    };
    (list(guest), list(guest))
}

fn read_file(guest: &mut Guest, path: &str) -> Result<Vec<u8>, Errno> {
    let descriptor = guest.open(path, OPEN_READ)?;
    let mut found = Vec::new();
    loop {
        let piece = guest.read(descriptor, 4096)?;
        if piece.is_empty() {
            return Ok(found);
        }
        found.extend(piece);
    }
}

/// `st_mode`, `st_uid` of a file.
fn mode_and_user(guest: &mut Guest, path: &str) -> (u32, u32) {
    let name = guest.push_string(path);
    let buffer = guest.room(256);
    guest.try_call(Sysno::Statx, [usize::MAX - 99, name, 0, 0x7ff, buffer]).unwrap();
    (guest.load_u32(buffer + 28) & 0xffff, guest.load_u32(buffer + 20))
}

fn big() -> Vec<u8> {
    (0..100_000_u32).map(|at| (at % 251) as u8).collect()
}

#[test]
fn what_an_owner_brings_reaches_the_program_and_nothing_before() {
    for form in FORMS {
        let mut system = proving(form, terms(), |guest| {
            let (arguments, environment) = first_strings(guest);
            assert_eq!(arguments, ["program", "first", "--late", ""]);
            assert_eq!(environment, ["HOME=/root", "REGION=north"]);
            assert_eq!(read_file(guest, "/run/secrets/key").unwrap(), SECRET);
            assert_eq!(read_file(guest, "/run/secrets/big").unwrap(), big());
            assert_eq!(mode_and_user(guest, "/run/secrets/key"), (0o100_400, 0));
            assert_eq!(mode_and_user(guest, "/run/secrets"), (0o040_700, 0));
            assert!(guest.open("/run/secrets/other", OPEN_READ).is_err());
            let mounts = String::from_utf8(read_file(guest, "/proc/mounts").unwrap()).unwrap();
            assert!(mounts.contains("/run/secrets tmpfs"), "{mounts}");
            7
        });
        assert!(system.run_until_idle().is_ok(), "it waits");
        assert!(system.host.takes_visitors());
        let mut client = Client::connect(&mut system, &owner());
        let mut attached = client.attach(&mut system).unwrap();
        assert_eq!(system.host.started_ns, None, "not started before it is said");
        attached.argument(&mut system, "--late").argument(&mut system, "");
        attached.variable(&mut system, "REGION", "north");
        attached.secret(&mut system, "key", SECRET).secret(&mut system, "big", &big());
        system.run_until_idle().unwrap();
        assert_eq!(system.host.started_ns, None, "secrets alone start nothing");
        let (mut sent, ending) = attached.start(&mut system);
        assert_eq!(ending, Err(Ending::Exit(7)), "{form:?}: {:?}", system.host.log);
        assert!(!system.host.takes_visitors(), "one start is enough");
        assert_eq!(sent.answers(&mut system), [Answer::Started, Answer::Exited(7)]);
    }
}

#[test]
fn a_workload_without_a_session_does_not_wait() {
    let mut system = System::with_program(Form::Paged, |guest| {
        assert!(guest.open("/run/secrets", OPEN_READ).is_err());
        3
    });
    system.host.attaches = false;
    assert_eq!(system.run().ending, Ending::Exit(3));
}

#[test]
fn without_secrets_there_is_no_place_for_them() {
    let mut system = proving(Form::Paged, bare(), |guest| {
        u8::from(guest.open("/run/secrets", OPEN_READ).is_ok())
    });
    let attached = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    assert_eq!(attached.start(&mut system).1, Err(Ending::Exit(0)));
}

#[test]
fn a_late_value_is_not_one_of_the_manifest() {
    let mut system = proving(Form::Paged, bare(), |_| 0);
    for attempt in 0..3 {
        let mut attached = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
        match attempt {
            0 => attached.argument(&mut system, "a"),
            1 => attached.variable(&mut system, "HOME", "/"),
            _ => attached.secret(&mut system, "key", b"a"),
        };
        let (mut sent, ending) = attached.start(&mut system);
        assert!(ending.is_ok(), "nothing has started");
        let answers = sent.answers(&mut system);
        assert!(matches!(answers[..], [Answer::Refused(_)]), "{answers:?}");
    }
}

#[test]
fn only_an_owner_that_is_pinned_starts_the_program() {
    let mut system = proving(Form::Paged, bare(), |_| 0);
    let attached = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
    let (mut sent, ending) = attached.start(&mut system);
    assert!(ending.is_ok());
    assert_eq!(sent.answers(&mut system), [Answer::Refused(Refusal::NotOwner)]);
    assert!(system.host.log.iter().any(|line| line.contains("not an owner's")));
    assert_eq!(system.host.started_ns, None);
    let attached = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    assert_eq!(attached.start(&mut system).1, Err(Ending::Exit(0)), "the next one may try");

    let any = SessionTerms { insecure_any_client: true, ..SessionTerms::default() };
    let mut system = proving(Form::Paged, any, |_| 0);
    let attached = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
    assert_eq!(attached.start(&mut system).1, Err(Ending::Exit(0)));
}

#[test]
fn a_second_owner_comes_too_late() {
    let mut system = proving(Form::Paged, bare(), |guest| {
        guest.sleep(1_000_000).unwrap();
        0
    });
    let first = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    let second = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    let (mut first, ending) = first.start(&mut system);
    assert!(ending.is_ok(), "it sleeps");
    let (mut second, _) = second.start(&mut system);
    assert_eq!(second.answers(&mut system), [Answer::Refused(Refusal::AlreadyStarted)]);
    assert_eq!(system.run().ending, Ending::Exit(0));
    assert_eq!(first.answers(&mut system), [Answer::Started, Answer::Exited(0)]);
}

#[test]
fn a_machine_that_proves_nothing_gets_nothing() {
    let mut system = waiting(Form::Paged, terms(), |_| 0);
    let refused = Client::connect(&mut system, &owner()).attach(&mut system).unwrap_err();
    assert_eq!(refused, NoEvidence::NoSecurityProcessor);
    for (error, expected) in [
        (strongroom_south::SecurityError::Busy, NoEvidence::Busy),
        (strongroom_south::SecurityError::Refused(22), NoEvidence::Refused(22)),
        (strongroom_south::SecurityError::Broken, NoEvidence::Broken),
    ] {
        let mut system = waiting(Form::Paged, terms(), |_| 0);
        system.machine.give_security_processor(client::Refusing(error));
        let refused = Client::connect(&mut system, &owner()).attach(&mut system).unwrap_err();
        assert_eq!(refused, expected);
        assert_eq!(system.host.started_ns, None);
    }
}

#[test]
fn a_machine_without_a_security_processor_presents_its_token() {
    for form in FORMS {
        let mut system = waiting(form, bare(), |_| 3);
        system.machine.give_attesting_environment(client::Stating);
        let owner = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
        let (mut owner, ending) = owner.start(&mut system);
        assert!(matches!(ending, Err(Ending::Exit(3))), "{ending:?}");
        assert_eq!(owner.answers(&mut system), [Answer::Started, Answer::Exited(3)]);
    }
}

#[test]
fn a_host_that_does_not_listen_is_told_what_to_do() {
    let mut system = waiting(Form::Paged, terms(), |_| 0);
    system.host.attaches = false;
    let Ending::Abort(reason) = system.run().ending else { panic!("it goes on") };
    assert!(reason.contains("--attach"), "{reason}");
}

#[test]
fn a_signal_ends_the_wait() {
    let mut system = proving(Form::Paged, bare(), |_| 0);
    system.run_until_idle().unwrap();
    let client = Client::connect(&mut system, &owner());
    system.run_until_idle().unwrap();
    system.host.signal(2);
    assert_eq!(system.run_until_idle(), Err(Ending::Exit(130)));
    assert_eq!(system.host.started_ns, None);
    assert!(client.visitor > 0);
}

#[test]
fn a_program_that_cannot_be_loaded_is_told_to_its_owner() {
    let mut builder = System::builder(Form::Paged);
    builder.manifest.program = "/bin/nothing".into();
    builder.manifest.session = Some(bare());
    let mut system = builder.boot().unwrap();
    system.machine.give_security_processor(psp());
    let attached = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    let (mut sent, ending) = attached.start(&mut system);
    assert_eq!(ending, Err(Ending::Exit(127)));
    assert_eq!(sent.answers(&mut system), [Answer::Started, Answer::Exited(127)]);
}

/// The files are the program's, and of nobody else: another user in the enclave has no way to them.
#[test]
fn another_user_of_the_enclave_does_not_see_the_secrets() {
    let secrets = SessionTerms { secrets: vec!["key".into()], ..bare() };
    let mut system = proving(Form::Paged, secrets, |guest| {
        guest.try_call(Sysno::Setuid, [1000]).unwrap();
        assert_eq!(guest.open("/run/secrets/key", OPEN_READ), Err(Errno::EACCES));
        assert_eq!(guest.open("/run/secrets", OPEN_READ), Err(Errno::EACCES));
        assert_eq!(guest.open("/run/secrets/new", OPEN_WRITE | 0o100), Err(Errno::EACCES));
        0
    });
    let mut attached = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    attached.secret(&mut system, "key", SECRET);
    assert_eq!(attached.start(&mut system).1, Err(Ending::Exit(0)));
}

/// Each session has keys of its own: the same client, the same words, other bytes.
#[test]
fn no_two_sessions_are_alike() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let mut system = proving(Form::Paged, bare(), |_| 0);
    let mut all: Vec<Vec<u8>> = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(&mut system, &owner());
        let attached: Attached = client.attach(&mut system).unwrap();
        let Sent { bytes, .. } = attached.close(&mut system);
        assert!(!all.contains(&bytes));
        all.push(bytes);
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(SEEN.load(Ordering::Relaxed), 3);
}
