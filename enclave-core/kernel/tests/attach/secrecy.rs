// SPDX-License-Identifier: MIT
//! What the host sees of a session.

use super::client::{Client, owner};
use super::{SECRET, bare, proving, read_file, terms};
use strongroom_fake::{Ending, System};
use strongroom_session::client::Answer;
use strongroom_south::Form;
use strongroom_wire::boot::SessionTerms;

/// Where in the host's traffic something appears: as it is, or in parts of it long enough to tell.
fn sightings(system: &System, wanted: &[u8]) -> usize {
    let all: Vec<u8> = system.host.traffic.concat();
    wanted.windows(8).filter(|part| all.windows(8).any(|seen| seen == *part)).count()
}

#[test]
fn the_host_sees_no_secret_and_no_late_value() {
    let mut system = proving(Form::Paged, terms(), |guest| {
        let found = read_file(guest, "/run/secrets/key").unwrap();
        u8::from(found != SECRET)
    });
    system.host.keeps_traffic = true;
    let mut attached = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    attached.secret(&mut system, "key", SECRET);
    attached.secret(&mut system, "big", b"another secret, as long as it has to be");
    attached.argument(&mut system, "--password=hunter2hunter2");
    attached.variable(&mut system, "REGION", "somewhere-secret");
    let (mut sent, ending) = attached.start(&mut system);
    assert_eq!(ending, Err(Ending::Exit(0)));
    assert_eq!(sent.answers(&mut system), [Answer::Started, Answer::Exited(0)]);
    assert!(system.host.traffic.len() > 10, "the traffic was kept");
    for hidden in [
        SECRET,
        b"another secret, as long as it has to be",
        b"--password=hunter2hunter2",
        b"somewhere-secret",
    ] {
        assert_eq!(sightings(&system, hidden), 0, "{}", String::from_utf8_lossy(hidden));
    }
    // Who the owner is goes over the wire encrypted as well.
    assert_eq!(sightings(&system, &owner().public().0), 0);
}

/// The search finds what is there: a program that says its secret aloud is heard.
#[test]
fn a_secret_that_the_program_gives_away_is_found() {
    let secrets = SessionTerms { secrets: vec!["key".into()], ..bare() };
    let mut system = proving(Form::Paged, secrets, |guest| {
        let found = read_file(guest, "/run/secrets/key").unwrap();
        guest.say(&String::from_utf8(found).unwrap());
        0
    });
    system.host.keeps_traffic = true;
    let mut attached = Client::connect(&mut system, &owner()).attach(&mut system).unwrap();
    attached.secret(&mut system, "key", SECRET);
    let (_, ending) = attached.start(&mut system);
    assert_eq!(ending, Err(Ending::Exit(0)));
    assert_eq!(sightings(&system, SECRET), SECRET.len() - 7);
}
