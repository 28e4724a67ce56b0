// SPDX-License-Identifier: MIT
//! Clients of the workload's service: whom the program sees, what they hear, and who is kept out.

use crate::client::{Client, owner, psp, stranger};
use crate::{FORMS, bare};
use strongroom_abi::{Errno, Sysno};
use strongroom_fake::{ENTRY, Ending, Guest, System};
use strongroom_session::client::NotConnected;
use strongroom_session::message::Refusal;
use strongroom_south::Form;
use strongroom_wire::boot::{SERVICE_SOCKET, ServiceTerms, SessionTerms};

const AF_UNIX: usize = 1;
const SOCK_STREAM: usize = 1;
const SO_PEERCRED: usize = 17;
const SOL_SOCKET: usize = 1;

fn offered() -> ServiceTerms {
    ServiceTerms { clients: vec![stranger().public().0], any_client: false, port: None }
}

/// A system whose manifest offers a service.
fn serving(
    form: Form,
    session: Option<SessionTerms>,
    service: ServiceTerms,
    body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static,
) -> System {
    let mut builder = System::builder(form);
    builder.manifest.session = session;
    builder.manifest.service = Some(service);
    let mut system = builder.boot().unwrap();
    system.machine.program(ENTRY, body);
    system.machine.give_security_processor(psp());
    let _ = system.run_until_idle();
    system
}

/// `struct sockaddr_un` of an abstract name.
fn address(guest: &mut Guest, name: &str) -> (usize, usize) {
    let mut bytes = vec![1, 0, 0];
    bytes.extend(name.as_bytes());
    (guest.push(&bytes), bytes.len())
}

fn listen(guest: &mut Guest) -> usize {
    let socket = guest.try_call(Sysno::Socket, [AF_UNIX, SOCK_STREAM, 0]).unwrap();
    let (name, length) = address(guest, SERVICE_SOCKET);
    guest.try_call(Sysno::Bind, [socket, name, length]).unwrap();
    guest.try_call(Sysno::Listen, [socket, 1]).unwrap();
    socket
}

/// Accepts; the connection and the peer's name behind the address family.
fn accept(guest: &mut Guest, listener: usize) -> (usize, Vec<u8>) {
    guest.scoped(|guest| {
        let name = guest.room(128);
        let length = guest.push(&128_u32.to_ne_bytes());
        let connection = guest.try_call(Sysno::Accept4, [listener, name, length, 0]).unwrap();
        let length = guest.load_u32(length) as usize;
        (connection, guest.bytes(name, length)[2..].to_vec())
    })
}

/// Answers each connection with what it says, in capitals, until one says `end`.
fn shout(guest: &mut Guest) -> u8 {
    let listener = listen(guest);
    loop {
        let (connection, _) = accept(guest, listener);
        loop {
            let said = guest.read(connection, 4096).unwrap();
            if said == b"end" {
                return 9;
            }
            if said.is_empty() {
                break;
            }
            guest.write(connection, &said.to_ascii_uppercase()).unwrap();
        }
        guest.close(connection).unwrap();
    }
}

#[test]
fn a_client_talks_to_the_program_and_the_next_one_too() {
    for form in FORMS {
        let mut system = serving(form, None, offered(), shout);
        assert!(system.host.started_ns.is_some(), "it waits for nobody");
        for word in ["first", "second"] {
            let attached = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
            let mut caller = attached.ask_for_service(&mut system).answer(&mut system).unwrap();
            caller.say(&mut system, word.as_bytes());
            assert_eq!(caller.hear(&mut system), (word.to_ascii_uppercase().into(), false));
            caller.close(&mut system);
        }
        let attached = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
        let mut caller = attached.ask_for_service(&mut system).answer(&mut system).unwrap();
        caller.say(&mut system, b"end");
        assert_eq!(system.run_until_idle(), Err(Ending::Exit(9)), "{:?}", system.host.log);
    }
}

#[test]
fn the_program_sees_the_clients_key_and_nobody_else_can_look_like_it() {
    let key = stranger().public().to_string();
    let mut system = serving(Form::Paged, None, offered(), move |guest| {
        let listener = listen(guest);
        let (connection, peer) = accept(guest, listener);
        assert_eq!(peer, format!("\0strongroom/client/{key}").as_bytes());
        let credentials = guest.room(12);
        let length = guest.push(&12_u32.to_ne_bytes());
        guest
            .try_call(Sysno::Getsockopt, [connection, SOL_SOCKET, SO_PEERCRED, credentials, length])
            .unwrap();
        let found = [0, 4, 8].map(|at| guest.load_u32(credentials + at));
        assert_eq!(found, [0, 65_534, 65_534], "no process, and not root");
        let other = guest.try_call(Sysno::Socket, [AF_UNIX, SOCK_STREAM, 0]).unwrap();
        let (name, length) = address(guest, &format!("strongroom/client/{key}"));
        let claimed = guest.try_call(Sysno::Bind, [other, name, length]);
        assert_eq!(claimed, Err(Errno::EACCES));
        5
    });
    let attached = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
    attached.ask_for_service(&mut system);
    assert_eq!(system.run_until_idle(), Err(Ending::Exit(5)), "{:?}", system.host.log);
}

#[test]
fn a_service_may_be_a_port_of_the_enclave() {
    let terms = ServiceTerms { port: Some(6379), ..offered() };
    let mut system = serving(Form::Paged, None, terms, |guest| {
        let socket = guest.try_call(Sysno::Socket, [2, SOCK_STREAM, 0]).unwrap();
        let address = |ip: [u8; 4]| {
            let mut bytes = vec![2, 0, 0x18, 0xeb];
            bytes.extend(ip);
            bytes.extend([0; 8]);
            bytes
        };
        let name = guest.push(&address([127, 0, 0, 1]));
        guest.try_call(Sysno::Bind, [socket, name, 16]).unwrap();
        guest.try_call(Sysno::Listen, [socket, 1]).unwrap();
        let (connection, peer) = accept(guest, socket);
        assert_eq!(peer[2..6], [198, 19, 0, 3], "not a local address");
        let said = guest.read(connection, 4096).unwrap();
        guest.write(connection, &said).unwrap();
        assert_eq!(guest.read(connection, 1).unwrap(), b"");
        6
    });
    let attached = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
    let mut caller = attached.ask_for_service(&mut system).answer(&mut system).unwrap();
    caller.say(&mut system, b"ping");
    assert_eq!(caller.hear(&mut system).0, b"ping");
    caller.close(&mut system);
    assert_eq!(system.run_until_idle(), Err(Ending::Exit(6)), "{:?}", system.host.log);
}

#[test]
fn clients_that_the_manifest_does_not_name_hear_why() {
    let mut system = serving(Form::Paged, None, offered(), shout);
    let attached = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    let refused = attached.ask_for_service(&mut system).answer(&mut system).err();
    assert_eq!(refused, Some(NotConnected::Refused(Refusal::NotClient)));
    // There is nothing to start either.
    let mut attached = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
    attached.argument(&mut system, "x");
    let mut sent = attached.start(&mut system).0;
    let answers = sent.answers(&mut system);
    assert_eq!(answers, [strongroom_session::client::Answer::Refused(Refusal::NotOwner)]);
}

#[test]
fn a_client_waits_until_the_program_listens_and_not_for_ever() {
    let mut system = serving(Form::Paged, None, offered(), |guest| {
        guest.sleep(30_000_000_000).unwrap();
        shout(guest)
    });
    let attached = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
    let asking = attached.ask_for_service(&mut system);
    system.run_until_idle().unwrap();
    system.machine.advance(31_000_000_000);
    let mut caller = asking.answer(&mut system).unwrap();
    caller.say(&mut system, b"late");
    assert_eq!(caller.hear(&mut system).0, b"LATE");

    let mut system = serving(Form::Paged, None, offered(), |guest| {
        guest.sleep(200_000_000_000).unwrap();
        1
    });
    let attached = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
    let asking = attached.ask_for_service(&mut system);
    system.run_until_idle().unwrap();
    system.machine.advance(61_000_000_000);
    let refused = asking.answer(&mut system).err();
    assert_eq!(refused, Some(NotConnected::Refused(Refusal::ServiceAbsent)));
}

#[test]
fn much_goes_through_though_nobody_takes_it_in_at_once() {
    const LENGTH: usize = 1 << 20;
    let mut system = serving(Form::Paged, None, offered(), |guest| {
        let listener = listen(guest);
        let (connection, _) = accept(guest, listener);
        let mut all = Vec::new();
        while all.len() < LENGTH {
            all.extend(guest.scoped(|guest| guest.read(connection, 4096).unwrap()));
        }
        for piece in all.chunks(4096) {
            let mut sent = 0;
            while sent < piece.len() {
                sent += guest.scoped(|guest| guest.write(connection, &piece[sent..]).unwrap());
            }
        }
        guest.close(connection).unwrap();
        guest.sleep(1_000_000_000_000).unwrap();
        1
    });
    let attached = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
    let mut caller = attached.ask_for_service(&mut system).answer(&mut system).unwrap();
    let sent: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    for piece in sent.chunks(100_000) {
        caller.say(&mut system, piece);
    }
    let (heard, ended) = caller.hear(&mut system);
    assert!(ended, "the program has closed");
    assert!(heard == sent, "{} bytes came back", heard.len());
}

#[test]
fn an_owner_starts_the_program_and_clients_come_afterwards() {
    let mut system = serving(Form::Paged, Some(bare()), offered(), shout);
    assert_eq!(system.host.started_ns, None);
    let early = Client::connect(&mut system, &stranger()).attach(&mut system).unwrap();
    let asking = early.ask_for_service(&mut system);
    let starter = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    let _ = starter.start(&mut system);
    assert!(system.host.started_ns.is_some());
    let mut caller = asking.answer(&mut system).unwrap();
    caller.say(&mut system, b"early");
    assert_eq!(caller.hear(&mut system).0, b"EARLY");
    assert!(system.host.takes_visitors(), "more may come");
}
