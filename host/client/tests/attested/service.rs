// SPDX-License-Identifier: MIT
//! Calls of a workload's service: over a session that was verified, carried by a launcher that
//! cannot read it.

use crate::enclave::{Enclave, Proof};
use crate::machine::{Files, NOW, owner, stranger};
use crate::tap::sightings;
use crate::{SECRET, attachment, reason};
use std::io::{ErrorKind, Read as _, Write as _};

use strongroom_abi::Sysno;
use strongroom_client::attest::{Appraisal, Attachment, Verdict};
use strongroom_fake::Guest;
use strongroom_session::SecretKey;
use strongroom_wire::boot::{SERVICE_SOCKET, ServiceTerms};

const LONG: usize = 300_000;

fn offered() -> ServiceTerms {
    ServiceTerms { clients: vec![owner().public().0], any_client: false, port: None }
}

fn client(files: &Files, key: SecretKey) -> Attachment {
    Attachment { key: Some(key), ..attachment(files) }
}

/// Sends back what each of so many connections sends, and ends.
fn echo(guest: &mut Guest, connections: usize) -> u8 {
    let socket = guest.try_call(Sysno::Socket, [1, 1, 0]).unwrap();
    let mut name = vec![1, 0, 0];
    name.extend(SERVICE_SOCKET.as_bytes());
    let at = guest.push(&name);
    guest.try_call(Sysno::Bind, [socket, at, name.len()]).unwrap();
    guest.try_call(Sysno::Listen, [socket, 4]).unwrap();
    for _ in 0..connections {
        let connection = guest.try_call(Sysno::Accept4, [socket, 0, 0, 0]).unwrap();
        loop {
            let said = guest.scoped(|guest| guest.read(connection, 4096).unwrap());
            if said.is_empty() {
                break;
            }
            let mut sent = 0;
            while sent < said.len() {
                sent += guest.scoped(|guest| guest.write(connection, &said[sent..]).unwrap());
            }
        }
        guest.close(connection).unwrap();
    }
    4
}

#[test]
fn what_is_said_comes_back_and_nobody_in_between_sees_it() {
    let files = Files::new();
    let enclave = Enclave::start("tcp", offered(), Proof::Genuine, |guest| echo(guest, 2));
    let mut short = client(&files, owner()).connect_at(&enclave.address, NOW).unwrap();
    short.write_all(SECRET).unwrap();
    let mut heard = vec![0; SECRET.len()];
    short.read_exact(&mut heard).unwrap();
    assert_eq!(heard, SECRET);
    drop(short);
    // More than either side holds at once: one thread speaks while another listens.
    let long: Vec<u8> = (0..LONG).map(|at| at.to_le_bytes()[0]).collect();
    let (mut reader, mut writer) =
        client(&files, owner()).connect_at(&enclave.address, NOW).unwrap().split();
    let said = long.clone();
    let speaker = std::thread::spawn(move || {
        writer.write_all(&said).unwrap();
        writer.finish().unwrap();
        writer
    });
    let mut heard = Vec::new();
    reader.read_to_end(&mut heard).unwrap();
    assert!(heard == long, "the rest comes after we have finished");
    drop(speaker.join().unwrap());
    let (outcome, wire) = enclave.finish();
    assert_eq!(outcome.status, 4);
    assert_eq!(sightings(&wire, SECRET), 0);
}

#[test]
fn whoever_may_not_call_is_told_so_by_a_genuine_enclave() {
    let files = Files::new();
    let enclave = Enclave::start("unix", offered(), Proof::Genuine, |guest| echo(guest, 1));
    let refused = client(&files, stranger()).connect_at(&enclave.address, NOW).unwrap_err();
    let (check, message) = reason(refused);
    assert_eq!(check, "session.terms");
    assert!(message.contains("may not call the service"), "{message}");
    drop(client(&files, owner()).connect_at(&enclave.address, NOW).unwrap());
    assert_eq!(enclave.finish().0.status, 4);
}

/// Who asks for no policy gets whatever enclave it is, but not one that only simulates being one.
#[test]
fn any_enclave_is_still_one_with_genuine_evidence() {
    let files = Files::new();
    files.change_policy(&"04".repeat(48), &"05".repeat(48));
    let enclave = Enclave::start("unix", offered(), Proof::Genuine, |guest| echo(guest, 1));
    let refused = client(&files, owner()).connect_at(&enclave.address, NOW).unwrap_err();
    assert_eq!(reason(refused).0, "snp.measurements");
    let any = Attachment { appraisal: Appraisal::InsecureAnyEnclave, ..client(&files, owner()) };
    let refused = any.connect_at(&enclave.address, NOW).unwrap_err();
    assert!(reason(refused).1.contains("is not AMD's"), "a simulated root");
    let simulated = Attachment { insecure_accept_simulated: true, ..any.clone() };
    drop(simulated.connect_at(&enclave.address, NOW).unwrap());
    assert_eq!(enclave.finish().0.status, 4);

    let enclave = Enclave::start("unix", offered(), Proof::None, |guest| echo(guest, 1));
    let refused = simulated.connect_at(&enclave.address, NOW).unwrap_err();
    assert_eq!(reason(refused).0, "session.evidence");
    enclave.abandon();
}

#[test]
fn an_enclave_without_evidence_hears_nothing() {
    let files = Files::new();
    let enclave = Enclave::start("unix", offered(), Proof::None, |guest| echo(guest, 1));
    let refused = client(&files, owner()).connect_at(&enclave.address, NOW).unwrap_err();
    assert!(matches!(refused, Verdict::Refused { .. }), "{refused:?}");
    enclave.abandon();
}

#[test]
fn a_connection_that_the_host_cuts_is_no_orderly_end() {
    let files = Files::new();
    let enclave = Enclave::start("unix", offered(), Proof::Genuine, |guest| echo(guest, 1));
    let mut connection = client(&files, owner()).connect_at(&enclave.address, NOW).unwrap();
    enclave.abandon();
    let cut = connection.read(&mut [0; 16]).unwrap_err();
    let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
    assert!(kinds.contains(&cut.kind()), "{cut:?}");
}
