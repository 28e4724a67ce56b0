// SPDX-License-Identifier: MIT
//! Programs ask the security processor as they do on Linux, and for no more than is theirs.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::sync::{Arc, Mutex};
use strongroom_abi::sev_guest::{
    SEV_RET_INVALID_PARAM, SNP_GET_DERIVED_KEY, SNP_GET_EXT_REPORT, SNP_GET_REPORT,
    SNP_GUEST_VMM_ERR_BUSY, SNP_GUEST_VMM_ERR_INVALID_LEN,
};
use strongroom_abi::{Errno, Sysno};
use strongroom_fake::{Guest, Machine, OPEN_READ, OPEN_READ_WRITE, OPEN_WRITE, System};
use strongroom_session::challenge_nonce;
use strongroom_south::{
    AttestingEnvironment, DERIVED_KEY_LEN, Form, KeyRequest, Report, ReportRequest, SecurityError,
    SecurityProcessor,
};

const FORMS: [Form; 2] = [Form::Paged, Form::Flat];
const DIRECTORY: &str = "/sys/kernel/config/tsm/report/mine";
const AT_REMOVEDIR: usize = 0x200;
const CERTIFICATES: [u8; 5000] = [0xce; 5000];

/// A security processor that repeats what it was asked, and remembers it.
#[derive(Clone, Default)]
struct Echo {
    asked: Arc<Mutex<Vec<String>>>,
    fails: Arc<Mutex<Option<SecurityError>>>,
}

impl Echo {
    fn answer<T>(&self, question: String, answer: T) -> Result<T, SecurityError> {
        self.asked.lock().unwrap().push(question);
        self.fails.lock().unwrap().map_or(Ok(answer), Err)
    }
}

impl SecurityProcessor for Echo {
    fn report(&self, request: &ReportRequest) -> Result<Report, SecurityError> {
        let ReportRequest { data, vmpl, key_selection, certificates } = request;
        let mut bytes = vec![0x77; 1184];
        bytes[..64].copy_from_slice(data);
        let certificates_given = if *certificates { CERTIFICATES.to_vec() } else { Vec::new() };
        let question = format!("report {:02x} {vmpl} {key_selection} {certificates}", data[63]);
        self.answer(question, Report { bytes, certificates: certificates_given })
    }

    fn derive_key(&self, request: &KeyRequest) -> Result<[u8; DERIVED_KEY_LEN], SecurityError> {
        let KeyRequest { root_key, fields, vmpl, guest_svn, tcb_version } = request;
        let question = format!("key {root_key} {fields:x} {vmpl} {guest_svn} {tcb_version:x}");
        self.answer(question, [0x5a; DERIVED_KEY_LEN])
    }
}

/// Runs a program beside such a processor, in both forms; returns what that was asked.
fn run(program: impl Fn(&mut Guest, &Echo) -> u8 + Send + Sync + Copy + 'static) -> Vec<String> {
    let mut all = Vec::new();
    for form in FORMS {
        let echo = Echo::default();
        let builder = System::builder(form);
        let machine = Machine::new(builder.configuration);
        machine.give_security_processor(echo.clone());
        let mut system = builder.boot_on(machine).unwrap();
        let inside = echo.clone();
        system.machine.program(strongroom_fake::ENTRY, move |guest| program(guest, &inside));
        assert_eq!(system.run().status(), 0, "{form:?}");
        let asked = echo.asked.lock().unwrap().clone();
        assert!(all.is_empty() || all == asked, "both forms ask the same: {all:?}, {asked:?}");
        all = asked;
    }
    all
}

fn make(guest: &mut Guest) -> Result<usize, Errno> {
    guest.at(Sysno::Mkdirat, DIRECTORY, 0o755)
}

fn put(guest: &mut Guest, name: &str, bytes: &[u8]) -> Result<usize, Errno> {
    let file = guest.open(&format!("{DIRECTORY}/{name}"), OPEN_WRITE)?;
    let outcome = guest.write(file, bytes);
    guest.close(file)?;
    outcome
}

fn get(guest: &mut Guest, name: &str) -> Result<Vec<u8>, Errno> {
    let file = guest.open(&format!("{DIRECTORY}/{name}"), OPEN_READ)?;
    let mut contents = Vec::new();
    let outcome = loop {
        match guest.read(file, 1000) {
            Ok(bytes) if bytes.is_empty() => break Ok(contents),
            Ok(bytes) => contents.extend(bytes),
            Err(errno) => break Err(errno),
        }
    };
    guest.close(file)?;
    outcome
}

#[test]
fn a_report_is_made_when_it_is_read_and_again_when_its_data_changed() {
    let asked = run(|guest, _| {
        make(guest).unwrap();
        assert_eq!(get(guest, "outblob"), Err(Errno::EINVAL), "without data");
        assert_eq!(get(guest, "generation").unwrap(), b"0\n");
        assert_eq!(get(guest, "provider").unwrap(), b"sev_guest\n");
        assert_eq!(get(guest, "privlevel_floor").unwrap(), b"0\n");
        assert_eq!(put(guest, "inblob", &[1; 64]), Ok(64));
        let report = get(guest, "outblob").unwrap();
        assert_eq!((report.len(), &report[..65]), (1184, &[&[1; 64][..], &[0x77]].concat()[..]));
        assert_eq!(get(guest, "outblob").unwrap(), report, "the same again");
        assert_eq!(get(guest, "auxblob").unwrap(), CERTIFICATES);
        assert_eq!(put(guest, "inblob", &[2; 64]), Ok(64));
        assert_eq!(get(guest, "generation").unwrap(), b"2\n");
        assert_eq!(get(guest, "outblob").unwrap()[..64], [2; 64]);
        0
    });
    assert_eq!(asked, ["report 01 0 0 true", "report 02 0 0 true"]);
}

/// A trusted application that repeats what it is to vouch for.
struct Vouching;

impl AttestingEnvironment for Vouching {
    fn token(&self, data: &[u8; 64]) -> Result<Vec<u8>, SecurityError> {
        Ok([b"token ", &data[..]].concat())
    }
}

#[test]
fn a_program_in_a_trusted_application_gets_the_answer_to_a_challenge() {
    let builder = System::builder(Form::Flat);
    let machine = Machine::new(builder.configuration);
    machine.give_attesting_environment(Vouching);
    let mut system = builder.boot_on(machine).unwrap();
    system.machine.program(strongroom_fake::ENTRY, |guest| {
        make(guest).unwrap();
        assert_eq!(get(guest, "provider").unwrap(), b"strongroom_optee\n");
        assert_eq!(put(guest, "inblob", &[1; 64]), Ok(64));
        let token = get(guest, "outblob").unwrap();
        // Not the data as they are: those could be what a session is bound to.
        assert_eq!(token, [b"token ", &challenge_nonce(&[1; 64])[..]].concat());
        for absent in ["privlevel", "privlevel_floor", "auxblob"] {
            assert_eq!(get(guest, absent), Err(Errno::ENOENT), "{absent}");
        }
        assert_eq!(guest.open("/dev/sev-guest", OPEN_READ_WRITE), Err(Errno::ENOENT));
        0
    });
    assert_eq!(system.run().status(), 0);
}

#[test]
fn data_counts_when_its_file_is_closed_and_has_64_bytes() {
    let asked = run(|guest, _| {
        make(guest).unwrap();
        let file = guest.open(&format!("{DIRECTORY}/inblob"), OPEN_WRITE).unwrap();
        assert_eq!(guest.write(file, &[3; 32]), Ok(32));
        assert_eq!(get(guest, "generation").unwrap(), b"0\n");
        assert_eq!(guest.write(file, &[4; 32]), Ok(32));
        assert_eq!(guest.write(file, &[5]), Err(Errno::EFBIG));
        guest.close(file).unwrap();
        assert_eq!(get(guest, "generation").unwrap(), b"1\n");
        assert_eq!(get(guest, "outblob").unwrap()[..64], [[3; 32], [4; 32]].concat());
        assert_eq!(put(guest, "inblob", &[6; 63]), Ok(63));
        assert_eq!(get(guest, "outblob"), Err(Errno::EINVAL), "63 bytes");
        0
    });
    assert_eq!(asked, ["report 04 0 0 true"]);
}

#[test]
fn other_levels_are_refused_without_asking() {
    let asked = run(|guest, _| {
        make(guest).unwrap();
        put(guest, "inblob", &[1; 64]).unwrap();
        for level in ["2\n", "0x3"] {
            assert_eq!(put(guest, "privlevel", level.as_bytes()), Ok(level.len()));
            assert_eq!(get(guest, "outblob"), Err(Errno::EINVAL), "{level}");
        }
        assert_eq!(put(guest, "privlevel", b""), Ok(0), "nothing is no value");
        for bad in ["4", "-1", "one", "\n"] {
            assert_eq!(put(guest, "privlevel", bad.as_bytes()), Err(Errno::EINVAL), "{bad:?}");
        }
        for level in [b"0", b"1"] {
            assert_eq!(put(guest, "privlevel", level), Ok(1));
            get(guest, "outblob").unwrap();
        }
        0
    });
    assert_eq!(asked, ["report 01 0 0 true", "report 01 1 0 true"]);
}

#[test]
fn items_come_and_go_and_nothing_else_does() {
    run(|guest, _| {
        make(guest).unwrap();
        assert_eq!(make(guest), Err(Errno::EEXIST));
        let reports = "/sys/kernel/config/tsm/report";
        let mkdir = |guest: &mut Guest, path: &str| guest.at(Sysno::Mkdirat, path, 0o755);
        assert_eq!(mkdir(guest, "/sys/kernel/config/other"), Err(Errno::EPERM));
        assert_eq!(mkdir(guest, &format!("{DIRECTORY}/more")), Err(Errno::EPERM));
        let unlink = |guest: &mut Guest, path: &str, flag| guest.at(Sysno::Unlinkat, path, flag);
        let inside = format!("{DIRECTORY}/inblob");
        assert_eq!(unlink(guest, &inside, 0), Err(Errno::EPERM));
        assert_eq!(unlink(guest, reports, AT_REMOVEDIR), Err(Errno::EPERM));
        assert_eq!(unlink(guest, DIRECTORY, 0), Err(Errno::EISDIR));
        assert_eq!(guest.open(&inside, OPEN_READ), Err(Errno::EACCES));
        assert_eq!(guest.open(&format!("{DIRECTORY}/outblob"), OPEN_WRITE), Err(Errno::EACCES));
        let kept = guest.open(&inside, OPEN_WRITE).unwrap();
        assert_eq!(unlink(guest, DIRECTORY, AT_REMOVEDIR), Ok(0));
        assert_eq!(guest.open(&inside, OPEN_WRITE), Err(Errno::ENOENT));
        assert_eq!(guest.write(kept, &[1; 64]), Ok(64), "what was open stays usable");
        for number in 0..128 {
            mkdir(guest, &format!("{reports}/{number}")).unwrap();
        }
        assert_eq!(mkdir(guest, &format!("{reports}/more")), Err(Errno::ENOSPC));
        0
    });
}

/// Serves one request of the device; returns the outcome, both error words, and the response.
fn ask(guest: &mut Guest, request: u32, question: &[u8]) -> (Result<usize, Errno>, u64, Vec<u8>) {
    let device = guest.open("/dev/sev-guest", OPEN_READ_WRITE).unwrap();
    let question_at = guest.push(question);
    let response_at = guest.room(4000);
    let mut ioctl = [0; 32];
    ioctl[0] = 1;
    ioctl[8..16].copy_from_slice(&(question_at as u64).to_le_bytes());
    ioctl[16..24].copy_from_slice(&(response_at as u64).to_le_bytes());
    let at = guest.push(&ioctl);
    let outcome = guest.try_call(Sysno::Ioctl, [device, request as usize, at]);
    let errors = guest.load_u64(at + 24);
    let response = guest.bytes(response_at, 4000);
    guest.close(device).unwrap();
    (outcome, errors, response)
}

fn report_question(fill: u8, vmpl: u32) -> Vec<u8> {
    let mut question = vec![fill; 96];
    question[64..68].copy_from_slice(&vmpl.to_le_bytes());
    question[68..].fill(0);
    question
}

#[test]
fn the_device_gives_reports_and_keys() {
    let asked = run(|guest, _| {
        let (outcome, _, response) = ask(guest, SNP_GET_REPORT, &report_question(9, 0));
        assert_eq!(outcome, Ok(0));
        assert_eq!(response[..8], [0, 0, 0, 0, 0xa0, 4, 0, 0], "status 0, 1184 bytes");
        assert_eq!(response[32..96], [9; 64]);
        assert_eq!((response[96 + 1119], response[96 + 1120]), (0x77, 0));
        let question = [&[1, 0, 0, 0, 0, 0, 0, 0, 5][..], &[0; 23]].concat();
        let (outcome, _, response) = ask(guest, SNP_GET_DERIVED_KEY, &question);
        assert_eq!(outcome, Ok(0));
        assert_eq!(response[..65], [&[0; 32][..], &[0x5a; 32], &[0]].concat());
        0
    });
    assert_eq!(asked, ["report 09 0 0 false", "key 1 5 0 0 0"]);
}

#[test]
fn the_device_refuses_other_levels_as_the_processor_does() {
    let asked = run(|guest, _| {
        for level in [2, 3, 4, u32::MAX] {
            let (outcome, _, response) = ask(guest, SNP_GET_REPORT, &report_question(9, level));
            assert_eq!(outcome, Ok(0));
            assert_eq!(response[..4], SEV_RET_INVALID_PARAM.to_le_bytes(), "level {level}");
            assert!(response[4..].iter().all(|byte| *byte == 0));
            let mut question = [0; 32];
            question[16..20].copy_from_slice(&level.to_le_bytes());
            let (outcome, _, response) = ask(guest, SNP_GET_DERIVED_KEY, &question);
            assert_eq!(outcome, Ok(0));
            assert_eq!(response[..4], SEV_RET_INVALID_PARAM.to_le_bytes(), "level {level}");
            assert!(response[4..].iter().all(|byte| *byte == 0));
        }
        0
    });
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn certificates_need_room() {
    run(|guest, _| {
        let certificates_at = guest.allocate(4 * 4096).unwrap();
        let mut question = report_question(1, 0);
        question.extend((certificates_at as u64).to_le_bytes());
        question.extend(4096_u64.to_le_bytes());
        let (outcome, errors, _) = ask(guest, SNP_GET_EXT_REPORT, &question);
        assert_eq!(outcome, Err(Errno::EIO));
        assert_eq!(errors, u64::from(SNP_GUEST_VMM_ERR_INVALID_LEN) << 32);
        for (room, expected) in [
            (8192_u64, Ok(0)),
            (100, Err(Errno::EINVAL)),
            (5 * 4096, Err(Errno::EINVAL)),
            (0, Err(Errno::EIO)),
        ] {
            question[104..112].copy_from_slice(&room.to_le_bytes());
            let (outcome, _, response) = ask(guest, SNP_GET_EXT_REPORT, &question);
            assert_eq!(outcome, expected, "room for {room}");
            assert_eq!(response[32] == 1, expected.is_ok(), "room for {room}");
        }
        let found = guest.bytes(certificates_at, 5001);
        assert_eq!(found, [&CERTIFICATES[..], &[0]].concat());
        0
    });
}

#[test]
fn failures_of_the_processor_reach_programs_as_on_linux() {
    run(|guest, echo| {
        make(guest).unwrap();
        put(guest, "inblob", &[1; 64]).unwrap();
        for (error, file, device, errors) in [
            (SecurityError::Refused(0x27), Err(Errno::EINVAL), Ok(0), 0),
            (SecurityError::Refused(0x0e), Err(Errno::ENXIO), Ok(0), 0),
            (
                SecurityError::Busy,
                Err(Errno::ETIMEDOUT),
                Err(Errno::ETIMEDOUT),
                u64::from(SNP_GUEST_VMM_ERR_BUSY) << 32,
            ),
            (SecurityError::Broken, Err(Errno::ENOTTY), Err(Errno::ENOTTY), 0xff),
        ] {
            *echo.fails.lock().unwrap() = Some(error);
            assert_eq!(get(guest, "outblob"), file, "{error:?}");
            let (outcome, found, _) = ask(guest, SNP_GET_REPORT, &report_question(1, 0));
            assert_eq!((outcome, found), (device, errors), "{error:?}");
        }
        *echo.fails.lock().unwrap() = None;
        assert!(get(guest, "outblob").is_ok(), "a failure is not kept");
        0
    });
}

#[test]
fn bad_requests_are_errors() {
    let asked = run(|guest, _| {
        let device = guest.open("/dev/sev-guest", OPEN_READ_WRITE).unwrap();
        let question = guest.push(&report_question(1, 0)) as u64;
        let response = guest.room(4000) as u64;
        let mut ioctl = |version: u8, request: u32, question: u64, response: u64| {
            let head = [version, 0, 0, 0, 0, 0, 0, 0];
            let words = [question.to_le_bytes(), response.to_le_bytes(), [0; 8]].concat();
            let at = guest.push(&[&head[..], &words].concat());
            guest.try_call(Sysno::Ioctl, [device, request as usize, at])
        };
        assert_eq!(ioctl(0, SNP_GET_REPORT, question, response), Err(Errno::EINVAL));
        assert_eq!(ioctl(1, SNP_GET_REPORT + 7, question, response), Err(Errno::ENOTTY));
        assert_eq!(ioctl(1, SNP_GET_REPORT, 0, response), Err(Errno::EINVAL));
        assert_eq!(ioctl(1, SNP_GET_REPORT, question, 0), Err(Errno::EINVAL));
        assert_eq!(ioctl(1, SNP_GET_REPORT, 8, response), Err(Errno::EFAULT));
        assert_eq!(ioctl(1, SNP_GET_REPORT, question, 8), Err(Errno::EFAULT));
        assert_eq!(ioctl(1, SNP_GET_DERIVED_KEY, u64::MAX, response), Err(Errno::EFAULT));
        assert_eq!(
            guest.try_call(Sysno::Ioctl, [device, SNP_GET_REPORT as usize, 8]),
            Err(Errno::EFAULT)
        );
        0
    });
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn without_a_security_processor_there_is_nothing_to_ask() {
    for form in FORMS {
        let report = System::run_program(form, |guest| {
            assert_eq!(guest.open("/dev/sev-guest", OPEN_READ_WRITE), Err(Errno::ENOENT));
            assert_eq!(make(guest), Err(Errno::ENOENT));
            0
        });
        assert_eq!(report.status(), 0, "{form:?}");
    }
}
