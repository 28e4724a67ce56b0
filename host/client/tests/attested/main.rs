// SPDX-License-Identifier: MIT
//! Attested sessions from end to end: the real client, the real launcher and the real kernel, on a
//! machine and with a security processor that are made up; and enclaves that lie.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected is to fail"
)]

mod enclave;
mod liars;
mod machine;
mod service;
mod tap;

use enclave::{Enclave, Proof};
use machine::{Files, NOW, owner, stranger};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use strongroom_client::attest::{Appraisal, Attachment, Brings, Verdict};
use strongroom_client::session::AttachAddress;
use strongroom_fake::{Guest, OPEN_READ};
use strongroom_wire::boot::SessionTerms;
use tap::{Tape, sightings};
use zeroize::Zeroizing;

const SECRET: &[u8] = b"correct horse battery staple";
const ARGUMENT: &str = "--password=hunter2hunter2";

fn terms() -> SessionTerms {
    SessionTerms {
        owners: vec![owner().public().0],
        insecure_any_client: false,
        late_arguments: true,
        late_environment: vec!["REGION".into()],
        secrets: vec!["key".into()],
    }
}

/// What the owner of [`terms`] brings.
fn attachment(files: &Files) -> Attachment {
    Attachment {
        appraisal: Appraisal::Policy(files.path("policy.toml")),
        insecure_accept_simulated: false,
        endorsements: files.endorsements(),
        key: Some(owner()),
        brings: Brings {
            arguments: vec![ARGUMENT.into()],
            environment: vec![("REGION".into(), "somewhere-secret".into())],
            secrets: vec![("key".into(), Zeroizing::new(SECRET.to_vec()))],
        },
    }
}

/// Attaches over the enclave's socket; every byte of it is on the tape.
fn attach(enclave: &Enclave, attachment: &Attachment) -> (Verdict, Tape) {
    let tape = Tape::default();
    let verdict = match &enclave.address {
        AttachAddress::Unix(path) => {
            attachment.over(&mut tape.of(UnixStream::connect(path).unwrap()), NOW)
        }
        AttachAddress::Tcp(address) => {
            attachment.over(&mut tape.of(TcpStream::connect(address).unwrap()), NOW)
        }
    };
    (verdict, tape)
}

fn secret_of(guest: &mut Guest) -> Vec<u8> {
    let descriptor = guest.open("/run/secrets/key", OPEN_READ).unwrap();
    guest.read(descriptor, 4096).unwrap()
}

fn reason(verdict: Verdict) -> (String, String) {
    match verdict {
        Verdict::Refused { reason } => (reason.check, reason.message),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn an_owner_starts_the_program_and_the_host_sees_ciphertext() {
    for address in ["unix", "tcp"] {
        let files = Files::new();
        let enclave = Enclave::start(address, terms(), Proof::Genuine, |guest| {
            u8::from(secret_of(guest) != SECRET)
        });
        let (verdict, socket) = attach(&enclave, &attachment(&files));
        let Verdict::Accepted { claims } = &verdict else { panic!("{verdict:?}") };
        assert_eq!(claims.snp().unwrap().vmpl, 3);
        let (outcome, wire) = enclave.finish();
        assert_eq!(outcome.status, 0);
        // Launcher's traffic and socket: long enough to have had it in them, and it is not.
        for tape in [&socket, &wire] {
            assert!(tape.bytes().len() > 1184, "a report alone has as much");
            for hidden in [SECRET, ARGUMENT.as_bytes(), b"somewhere-secret", &owner().public().0] {
                assert_eq!(sightings(tape, hidden), 0, "{}", String::from_utf8_lossy(hidden));
            }
        }
    }
}

/// The positive control: a secret that is sent, or said, in the open is found by the same search, in
/// the same places.
#[test]
fn a_planted_secret_is_found_on_the_socket_and_on_the_wire() {
    let files = Files::new();
    let enclave = Enclave::start("unix", terms(), Proof::Genuine, |guest| {
        let secret = secret_of(guest);
        guest.say(&String::from_utf8(secret).unwrap());
        0
    });
    let (verdict, socket) = attach(&enclave, &attachment(&files));
    assert_eq!(verdict.exit_code(), 0);
    let (outcome, wire) = enclave.finish();
    assert_eq!(outcome.status, 0);
    assert!(sightings(&wire, SECRET) > 0, "the program has said it");
    assert_eq!(sightings(&socket, SECRET), 0);

    let (near, far) = UnixStream::pair().unwrap();
    let tape = Tape::default();
    std::io::Write::write_all(&mut tape.of(near), SECRET).unwrap();
    drop(far);
    assert!(sightings(&tape, SECRET) > 0);
}

#[test]
fn a_refused_client_leaves_the_program_to_the_next() {
    let files = Files::new();
    let enclave = Enclave::start("unix", terms(), Proof::Genuine, |guest| {
        u8::from(secret_of(guest) != SECRET)
    });
    let strange = Attachment { key: Some(stranger()), ..attachment(&files) };
    let (check, message) = reason(attach(&enclave, &strange).0);
    assert_eq!(check, "session.terms");
    assert!(message.contains("not an owner's"), "{message}");
    // Without a key it is a fresh one, and so nobody's.
    let (check, _) = reason(attach(&enclave, &Attachment { key: None, ..attachment(&files) }).0);
    assert_eq!(check, "session.terms");
    let mut forgetful = attachment(&files);
    forgetful.brings.secrets.clear();
    let (_, message) = reason(attach(&enclave, &forgetful).0);
    assert!(message.contains("the secret `key` was not given"), "{message}");
    let mut unknown = attachment(&files);
    unknown.brings.environment[0].0 = "PATH".into();
    let (_, message) = reason(attach(&enclave, &unknown).0);
    assert!(message.contains("no late variable `PATH`"), "{message}");

    assert_eq!(attach(&enclave, &attachment(&files)).0.exit_code(), 0);
    assert_eq!(enclave.finish().0.status, 0);
}

/// A policy that pins another measurement: refused, and nothing but the handshake has left.
#[test]
fn nothing_is_sent_to_an_enclave_that_the_policy_refuses() {
    let files = Files::new();
    let enclave = Enclave::start("unix", terms(), Proof::Genuine, |_| 0);
    files.change_policy(&"04".repeat(48), &"05".repeat(48));
    let (verdict, tape) = attach(&enclave, &attachment(&files));
    let Verdict::Refused { reason } = verdict else { panic!("{verdict:?}") };
    assert_eq!(reason.check, "snp.measurements");
    assert_eq!(reason.found.unwrap(), "04".repeat(48));
    // Nonce and key; static key and tag: two frames, with their lengths.
    assert_eq!(tape.sent().len(), (2 + 64) + (2 + 64));

    files.change_policy(&"05".repeat(48), &"04".repeat(48));
    assert_eq!(attach(&enclave, &attachment(&files)).0.exit_code(), 0);
    enclave.finish();
}

#[test]
fn a_machine_without_a_security_processor_is_refused_and_it_is_said_what_to_do() {
    let files = Files::new();
    let enclave = Enclave::start("unix", terms(), Proof::None, |_| 0);
    let (verdict, tape) = attach(&enclave, &attachment(&files));
    assert_eq!(verdict.exit_code(), 1);
    let (check, message) = reason(verdict);
    assert_eq!(check, "session.evidence");
    assert!(message.contains("no security processor") && message.contains("SEV-SNP host"));
    assert_eq!(tape.sent().len(), (2 + 64) + (2 + 64));
    enclave.abandon();
}

/// The certificates that the host gave with the report are in the evidence; then no file is needed.
#[test]
fn the_hosts_table_of_certificates_comes_with_the_evidence() {
    let files = Files::new();
    let enclave = Enclave::start("unix", terms(), Proof::WithCertificates, |_| 0);
    let bare = Attachment { endorsements: Default::default(), ..attachment(&files) };
    assert_eq!(attach(&enclave, &bare).0.exit_code(), 0);
    enclave.finish();

    let enclave = Enclave::start("unix", terms(), Proof::Genuine, |_| 0);
    let Verdict::Undecided { message, hint } = attach(&enclave, &bare).0 else { panic!("decided") };
    assert!(message.contains("no certificate of the key"), "{message}");
    assert!(hint.is_some());
    enclave.abandon();
}

#[test]
fn questions_that_are_none_are_undecided() {
    let files = Files::new();
    let enclave = Enclave::start("unix", terms(), Proof::Genuine, |_| 0);
    files.change_policy("report_data = \"given\"", "report_data = \"skip\"");
    let Verdict::Undecided { message, .. } = attach(&enclave, &attachment(&files)).0 else {
        panic!("a policy that does not look at the binding has decided")
    };
    assert!(message.contains("does not compare it"), "{message}");
    enclave.abandon();
    let gone = AttachAddress::Unix(files.path("nothing"));
    let Verdict::Undecided { message, .. } = attachment(&files).attach(&gone) else {
        panic!("nobody has decided")
    };
    assert!(message.contains("cannot connect to unix:"), "{message}");
}
