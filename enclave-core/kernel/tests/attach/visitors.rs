// SPDX-License-Identifier: MIT
//! Clients that are no clients, and more of them than there is room for: none stops the kernel, and
//! none keeps the owner out.

use super::client::{Client, owner, stranger};
use super::{bare, proving};
use proptest::prelude::*;
use strongroom_fake::{Ending, System};
use strongroom_session::client::Answer;
use strongroom_south::Form;

const SECOND: u64 = 1_000_000_000;
/// As in the kernel: clients at a time, and how long a stranger may take.
const CLIENTS_MAX: usize = 4;
const HANDSHAKE_S: u64 = 30;

fn owner_succeeds(system: &mut System) {
    let attached = Client::connect(system, &owner()).attach(system).unwrap();
    let (mut sent, ending) = attached.start(system);
    assert_eq!(ending, Err(Ending::Exit(0)), "{:?}", system.host.log);
    assert_eq!(sent.answers(system), [Answer::Started, Answer::Exited(0)]);
}

fn wait(system: &mut System, seconds: u64) {
    system.machine.advance(seconds * SECOND);
    system.run_until_idle().unwrap();
}

#[test]
fn clients_that_break_off_cost_their_own_connection_only() {
    let mut system = proving(Form::Paged, bare(), |_| 0);
    system.run_until_idle().unwrap();
    // At once; with half a frame; in the handshake; with evidence in hand.
    let visitor = system.host.visit();
    system.host.hang_up(visitor);
    system.run_until_idle().unwrap();
    assert!(system.host.has_left(visitor));
    let visitor = system.host.visit();
    system.host.bring(visitor, &[64, 0, 1]);
    system.host.hang_up(visitor);
    system.run_until_idle().unwrap();
    let client = Client::connect(&mut system, &owner());
    system.host.hang_up(client.visitor);
    system.run_until_idle().unwrap();
    let mut client = Client::connect(&mut system, &owner());
    drop(client.attach(&mut system).unwrap());
    system.host.hang_up(client.visitor);
    system.run_until_idle().unwrap();
    assert_eq!(system.host.log.iter().filter(|line| line.contains("went away")).count(), 4);
    owner_succeeds(&mut system);
}

#[test]
fn nonsense_ends_its_connection_at_once() {
    let mut system = proving(Form::Paged, bare(), |_| 0);
    system.run_until_idle().unwrap();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0], &[129, 0], &[64, 0]] {
        let visitor = system.host.visit();
        let mut bytes = bytes.to_vec();
        bytes.resize(200, 7);
        system.host.bring(visitor, &bytes);
        system.run_until_idle().unwrap();
        system.host.bring(visitor, &bytes);
        system.run_until_idle().unwrap();
        assert!(system.host.has_left(visitor), "{bytes:?}");
    }
    // An owner's own message twice: the second time it is nobody's.
    let attached = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    let sent = attached.close(&mut system);
    system.host.bring(sent.visitor, &sent.bytes);
    system.run_until_idle().unwrap();
    owner_succeeds(&mut system);
}

#[test]
fn those_who_keep_silent_are_sent_away_and_hold_only_so_many_places() {
    let mut system = proving(Form::Paged, bare(), |_| 0);
    system.run_until_idle().unwrap();
    let silent: Vec<u32> = (0..CLIENTS_MAX).map(|_| system.host.visit()).collect();
    let mut late = Client::connect(&mut system, &owner());
    system.run_until_idle().unwrap();
    assert!(system.host.fetch(late.visitor).is_empty(), "there is no place for a fifth");
    wait(&mut system, HANDSHAKE_S - 1);
    assert!(silent.iter().all(|visitor| !system.host.has_left(*visitor)));
    wait(&mut system, 2);
    assert!(silent.iter().all(|visitor| system.host.has_left(*visitor)));
    let attached = late.attach(&mut system).unwrap();
    assert_eq!(attached.start(&mut system).1, Err(Ending::Exit(0)));
}

/// Evidence is for everybody; the patience for what follows it is for owners.
#[test]
fn a_stranger_with_evidence_has_no_more_time_than_without() {
    let mut system = proving(Form::Paged, bare(), |_| 0);
    let mut strange = Client::connect(&mut system, &stranger());
    drop(strange.attach(&mut system).unwrap());
    let mut own = Client::connect(&mut system, &owner());
    let attached = own.attach(&mut system).unwrap();
    wait(&mut system, HANDSHAKE_S + 1);
    assert!(system.host.has_left(strange.visitor));
    assert!(!system.host.has_left(own.visitor));
    wait(&mut system, 200);
    assert_eq!(attached.start(&mut system).1, Err(Ending::Exit(0)));
}

#[test]
fn a_client_that_was_refused_gets_the_reason_while_it_still_sends() {
    let mut system = proving(Form::Paged, bare(), |_| 0);
    let mut attached = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    for _ in 0..20 {
        attached.argument(&mut system, &"x".repeat(60_000));
        system.run_until_idle().unwrap();
    }
    let (mut sent, ending) = attached.start(&mut system);
    assert!(ending.is_ok());
    assert_eq!(sent.answers(&mut system).len(), 1);
    // It is let go when it has gone, or after a while.
    wait(&mut system, 6);
    assert!(system.host.has_left(sent.visitor));
    owner_succeeds(&mut system);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever is sent by however many at whatever point: the owner comes through.
    #[test]
    fn no_bytes_stop_the_kernel(
        pieces in proptest::collection::vec((0_usize..3, proptest::collection::vec(any::<u8>(), 0..200)), 0..12),
    ) {
        let mut system = proving(Form::Paged, bare(), |_| 0);
        system.run_until_idle().unwrap();
        let visitors: Vec<u32> = (0..3).map(|_| system.host.visit()).collect();
        for (who, bytes) in &pieces {
            system.host.bring(visitors[*who], bytes);
            system.run_until_idle().unwrap();
        }
        owner_succeeds(&mut system);
    }
}
