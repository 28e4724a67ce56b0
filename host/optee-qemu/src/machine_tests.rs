// SPDX-License-Identifier: MIT
//! Machines whose QEMU is a shell script: what the host side does without a guest, or with a bad
//! one. The script's standard input is the stream to the agent, in both directions.

use super::*;
use crate::Image;

/// The agent's word that it is ready, as it goes over the stream.
const READY: &str = r"printf '\002\000\000\000\000\000' >&0";

struct Bench {
    folder: tempfile::TempDir,
    options: Options,
}

fn bench(script: &str) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::in_directory(folder.path(), folder.path().join("agent"));
    let write = |path: &Path, offset: usize, magic: &[u8]| {
        fs::write(path, [vec![0; offset], magic.to_vec()].concat()).unwrap();
    };
    write(&image.flash, 0x4_0000, &[1, 0, 0x64, 0xaa]);
    write(&image.kernel, 56, b"ARMd");
    write(&image.root, 0, b"070701");
    write(&image.agent, 0, b"\x7fELF");
    let mut options = Options::new(image, folder.path().join("logs"));
    options.qemu = folder.path().join("qemu");
    options.boot_limit = Duration::from_secs(20);
    // Another process writes the program: one that this process has open for writing, however
    // shortly, cannot be started by a thread that forks meanwhile.
    let text = folder.path().join("text");
    fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
    let mut install = std::process::Command::new("install");
    assert!(install.args(["-m", "755"]).args([&text, &options.qemu]).status().unwrap().success());
    Bench { folder, options }
}

fn run(machine: &mut Machine) -> Result<Status, Error> {
    machine.run(&Command::new(["true"]), Input::Empty, &mut io::sink(), &mut io::sink())
}

#[test]
fn a_qemu_that_ends_is_quoted() {
    let bench = bench("echo 'no such machine' >&2; exit 3");
    match Machine::boot(&bench.options) {
        Err(Error::Stopped { status, words }) => {
            assert!(status.contains('3') && words.contains("no such machine"), "{status} {words}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_machine_that_does_not_come_up_is_ended() {
    let mut bench = bench("exec sleep 600");
    bench.options.boot_limit = Duration::from_millis(200);
    let started = Instant::now();
    let error = Machine::boot(&bench.options).unwrap_err();
    assert!(matches!(error, Error::BootTimedOut { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_qemu_that_closes_its_stream_and_stays_is_ended() {
    let bench = bench("exec sleep 600 <&-");
    let error = Machine::boot(&bench.options).unwrap_err();
    assert!(matches!(error, Error::Stopped { .. }), "{error}");
}

#[test]
fn a_command_that_takes_too_long_ends_with_the_machine() {
    let mut bench = bench(&format!("{READY}; exec sleep 600"));
    bench.options.limit = Duration::from_millis(300);
    let mut machine = Machine::boot(&bench.options).unwrap();
    let error = run(&mut machine).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}

#[test]
fn the_power_switch_ends_a_command() {
    let bench = bench(&format!("{READY}; exec sleep 600"));
    let mut machine = Machine::boot(&bench.options).unwrap();
    let switch = machine.power_switch();
    let cutter = thread::spawn(move || switch.cut());
    let error = run(&mut machine).unwrap_err();
    cutter.join().unwrap();
    assert!(matches!(error, Error::PowerCut), "{error}");
}

#[test]
fn what_is_no_message_is_a_broken_protocol() {
    for (script, words) in [
        (r"printf '\377\377\377\377' >&0", "too long"),
        (r"printf '\002\000\000\000\077\000' >&0", ""),
        // An end before the machine is ready: a status that nobody asked for.
        (r"printf '\003\000\000\000\004\000\000' >&0", "an end came first"),
    ] {
        let bench = bench(&format!("{script}; exec sleep 600"));
        match Machine::boot(&bench.options) {
            Err(Error::Protocol(why)) => assert!(why.contains(words), "{why}"),
            other => panic!("{script}: {other:?}"),
        }
    }
}

#[test]
fn what_optee_lacks_is_an_error() {
    // Ready, and a word of two letters about what is missing.
    let bench = bench(r"printf '\005\000\000\000\000\001\002no' >&0; exec sleep 600");
    match Machine::boot(&bench.options) {
        Err(Error::NoTee(what)) => assert_eq!(what, "no"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_overlay_has_to_be_a_folder_and_to_fit() {
    let mut one = bench("exit 9");
    one.options.overlays.push(one.folder.path().join("agent"));
    let error = Machine::boot(&one.options).unwrap_err();
    assert!(error.to_string().contains("is no folder"), "{error}");
    let mut two = bench("exit 9");
    two.options.memory_mib = 600;
    match Machine::boot(&two.options) {
        Err(Error::TooLarge { needed_mib }) => assert!((600..700).contains(&needed_mib)),
        other => panic!("{other:?}"),
    }
}
