// SPDX-License-Identifier: MIT
//! The image comes from a host that may lie: a program sees what was measured, or an error.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use strongroom_abi::Errno;
use strongroom_fake::{ENTRY, Ending, Guest, Manner, OPEN_READ, Report, System, SystemBuilder};
use strongroom_south::Form;

const FORMS: [Form; 2] = [Form::Paged, Form::Flat];
const BLOCK: usize = 4096;
/// What the program says when it read the right bytes, and when it was refused.
const RIGHT: u8 = 10;
const REFUSED: u8 = 11;
const WRONG: u8 = 12;

fn contents(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// An image with a file of some blocks that the program reads and compares.
fn builder(form: Form, length: usize) -> SystemBuilder {
    SystemBuilder::new(form, &System::image().file("/data/file", 0o644, &contents(length)))
}

/// Reads the file; only the right bytes and `EIO` are acceptable.
fn read_all(guest: &mut Guest, length: usize) -> u8 {
    let descriptor = match guest.open("/data/file", OPEN_READ) {
        Ok(descriptor) => descriptor,
        Err(Errno::EIO) => return REFUSED,
        Err(_) => return WRONG,
    };
    let mut found = Vec::new();
    loop {
        match guest.read(descriptor, 3000) {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => found.extend_from_slice(&bytes),
            Err(Errno::EIO) => return REFUSED,
            Err(_) => return WRONG,
        }
    }
    if found == contents(length) { RIGHT } else { WRONG }
}

fn run(form: Form, length: usize, prepare: impl Fn(&mut System)) -> Report {
    let mut system = builder(form, length).boot().unwrap();
    system.machine.program(ENTRY, move |guest| read_all(guest, length));
    prepare(&mut system);
    system.run()
}

#[test]
fn files_of_all_lengths_around_a_block_arrive_whole() {
    for form in FORMS {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 40 * BLOCK + 17] {
            assert_eq!(run(form, length, |_| ()).status(), RIGHT, "{length} bytes");
        }
    }
}

#[test]
fn one_wrong_bit_in_any_block_is_never_data() {
    let length = 20 * BLOCK;
    for form in FORMS {
        let blocks = builder(form, length).image.bytes.len() / BLOCK;
        let mut refusals = 0;
        for block in 0..blocks {
            let report = run(form, length, |system| {
                system.host.image[block * BLOCK + (block * 977) % BLOCK] ^= 1 << (block % 8);
            });
            match report.ending {
                Ending::Exit(RIGHT) => assert!(report.log.is_empty(), "{report:?}"),
                Ending::Exit(REFUSED | 126) => {
                    refusals += 1;
                    let told = report.log.iter().any(|line| line.contains("not what was measured"));
                    assert!(told, "block {block}: {report:?}");
                }
                Ending::Exit(_) | Ending::Abort(_) | Ending::Stuck => {
                    panic!("block {block}: {report:?}")
                }
            }
        }
        // Blocks that nobody reads may be wrong: the data of the empty /tmp has none.
        assert!(refusals >= blocks - 1, "{refusals} of {blocks} blocks were refused");
    }
}

#[test]
fn no_bit_of_superblock_and_tree_can_be_changed() {
    // Every bit of what is in use: the head of the superblock, and digests in the tree's node.
    let length = BLOCK;
    let image = builder(Form::Paged, length).image;
    let node = image.blocks as usize * BLOCK;
    let places = (0..24).chain(node..node + 2 * 32);
    for byte in places {
        for bit in 0..8 {
            let report = run(Form::Paged, length, |system| system.host.image[byte] ^= 1 << bit);
            assert!(
                matches!(report.ending, Ending::Exit(REFUSED | 126)),
                "byte {byte} bit {bit}: {report:?}"
            );
        }
    }
}

#[test]
fn another_measured_image_is_refused_whole() {
    let mut system = builder(Form::Paged, BLOCK).boot().unwrap();
    let other = System::image().file("/data/file", 0o644, b"other").build();
    system.host.image = other.bytes;
    let report = system.run();
    assert_eq!(report.ending, Ending::Exit(126));
    assert!(report.log[0].contains("not what was measured"), "{report:?}");
}

#[test]
fn a_hostile_host_can_only_refuse() {
    for form in FORMS {
        for manner in Manner::ALL {
            for honest in [0, 1, 2, 3, 4, 6, 9] {
                let report = run(form, 30 * BLOCK, |system| {
                    system.host.manner = manner;
                    system.host.honest_reads = honest;
                });
                let what = format!("{manner:?} after {honest} in {form:?}: {report:?}");
                match report.ending {
                    Ending::Exit(RIGHT) => assert!(manner.is_harmless() || honest > 4, "{what}"),
                    Ending::Exit(REFUSED | 126) => assert!(!manner.is_harmless(), "{what}"),
                    Ending::Stuck => {
                        assert!(matches!(manner, Manner::Silent | Manner::CutOff), "{what}");
                    }
                    Ending::Exit(_) | Ending::Abort(_) => panic!("{what}"),
                }
            }
        }
    }
}

#[test]
fn messages_that_are_none_are_dropped_and_reported() {
    let mut system = System::with_program(Form::Paged, |guest| {
        guest.say("on");
        0
    });
    for bytes in [&b""[..], b"\xff", b"\0\x01", &[0x80; 30], &[0; 5000]] {
        system.host.say_raw(bytes);
    }
    let report = system.run();
    assert_eq!((report.status(), report.output.as_str()), (0, "on\n"));
    assert_eq!(report.log.len(), 5, "{report:?}");
}

#[test]
fn a_wrong_greeting_is_the_end() {
    use strongroom_wire::message::{Answer, HostError, ToEnclave};
    for result in [Ok(Answer::Done), Ok(Answer::Data(b"hi")), Err(HostError::Failed)] {
        let mut system = System::with_program(Form::Paged, |_| 0);
        system.host.greets = false;
        let reply = postcard::to_allocvec(&ToEnclave::Reply { ticket: 1, result }).unwrap();
        system.host.say_raw(&reply);
        assert!(matches!(system.run().ending, Ending::Abort(_)));
    }
}

#[test]
fn a_silent_host_leaves_nothing_to_do() {
    let mut system = System::with_program(Form::Paged, |_| 0);
    system.host.greets = false;
    assert_eq!(system.run().ending, Ending::Stuck);
}

#[test]
fn events_before_the_greeting_and_unknown_signals_are_harmless() {
    use strongroom_wire::message::{TerminalSize, ToEnclave};
    let mut system = System::with_program(Form::Paged, |guest| {
        guest.sleep(1_000).unwrap();
        0
    });
    system.host.signal(15);
    system.host.signal(0);
    let size = TerminalSize { columns: 0, rows: u16::MAX };
    let resize = postcard::to_allocvec(&ToEnclave::Resize(size)).unwrap();
    system.host.say_raw(&resize);
    assert!(system.run_until_idle().unwrap().is_some());
    for number in [0, 9, 19, 64, 255] {
        system.host.signal(number);
    }
    assert_eq!(system.run().status(), 0, "only a few signals pass");
}

#[test]
fn standard_input_arrives_in_pieces_and_ends() {
    for form in FORMS {
        let mut system = System::with_program(form, |guest| {
            let mut all = Vec::new();
            loop {
                let bytes = guest.read(0, 4).unwrap();
                if bytes.is_empty() {
                    break;
                }
                all.extend_from_slice(&bytes);
            }
            assert_eq!(guest.read(0, 4), Ok(Vec::new()), "the end stays the end");
            guest.write(1, &all).unwrap();
            0
        });
        system.host.input = [b"one ".to_vec(), b"two and".to_vec(), b" three".to_vec()].into();
        assert_eq!(system.run().output, "one two and three");
    }
}

/// Damage in a file is told to who reads it, and to nobody else.
#[test]
fn damage_in_one_file_leaves_others_alone() {
    for form in FORMS {
        let image = System::image().file("/data/good", 0o644, &contents(BLOCK)).file(
            "/data/bad",
            0o644,
            b"marked",
        );
        let mut system = SystemBuilder::new(form, &image).boot().unwrap();
        let at = system.host.image.windows(6).position(|bytes| bytes == b"marked").unwrap();
        system.host.image[at] ^= 1;
        system.machine.program(ENTRY, |guest| {
            for _ in 0..3 {
                let bad = guest.open("/data/bad", OPEN_READ).unwrap();
                assert_eq!(guest.read(bad, 6), Err(Errno::EIO));
                let good = guest.open("/data/good", OPEN_READ).unwrap();
                assert_eq!(guest.read(good, 5).unwrap(), contents(5));
            }
            0
        });
        assert_eq!(system.run().status(), 0);
    }
}
