// SPDX-License-Identifier: MIT
//! The channel with a security processor that is a few lines, and hosts that tamper.

use super::*;
use crate::sev::message::Kind;
use crate::sev::question::REPORT_LEN;
use alloc::collections::BTreeSet;
use alloc::vec;
use strongroom_south::{KeyRequest, ReportRequest};

const KEY: [u8; 32] = [0x42; 32];

/// What goes wrong on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Busy(u32),
    Failed,
    /// One bit of the answer, at this byte.
    Flip(usize),
    Sequence(u64),
    Kind(Kind),
    Key,
    Length(usize),
    Status(u32),
    /// The answer before this one.
    Replay,
    /// The request itself.
    Reflect,
}

struct Host {
    fault: Fault,
    carried: u32,
    /// Pages under each number, to see that none comes twice.
    seen: BTreeSet<(u64, Page)>,
    latest: Page,
    certificates: bool,
}

impl Host {
    fn new(fault: Fault) -> Self {
        Self { fault, carried: 0, seen: BTreeSet::new(), latest: [0; 4096], certificates: false }
    }

    fn numbers(&self) -> BTreeSet<u64> {
        self.seen.iter().map(|(number, _)| *number).collect()
    }

    fn answer(&self, request: &Page) -> Page {
        let sequence = u64::from_le_bytes(request[0x20..0x28].try_into().unwrap());
        let asked = if request[0x34] == 5 { Kind::ReportRequest } else { Kind::KeyRequest };
        let cipher = Aes256Gcm::new(&KEY.into());
        let head = Head { sequence, kind: asked, vmpck: 0 };
        let mut opened = *request;
        message::open(&cipher, head, &mut opened).expect("what the guest sends is good");
        let (mut kind, mut payload) = if asked == Kind::ReportRequest {
            let mut payload = vec![0; 32 + REPORT_LEN];
            payload[4..8].copy_from_slice(&1184_u32.to_le_bytes());
            payload[32..].fill(0x11);
            (Kind::ReportResponse, payload)
        } else {
            let mut payload = vec![0; 64];
            payload[32..].fill(0x22);
            (Kind::KeyResponse, payload)
        };
        let mut number = sequence + 1;
        let mut key = KEY;
        match self.fault {
            Fault::Sequence(other) => number = other,
            Fault::Kind(other) => kind = other,
            Fault::Key => key[0] ^= 1,
            Fault::Length(length) => payload.resize(length, 0),
            Fault::Status(status) => payload[..4].copy_from_slice(&status.to_le_bytes()),
            Fault::None
            | Fault::Busy(_)
            | Fault::Failed
            | Fault::Flip(_)
            | Fault::Replay
            | Fault::Reflect => {}
        }
        let head = Head { sequence: number, kind, vmpck: 0 };
        message::seal(&Aes256Gcm::new(&key.into()), head, &payload).unwrap()
    }
}

impl Carrier for Host {
    fn carry(&mut self, request: &Page, response: &mut Page, certificates: bool) -> Carried {
        self.carried += 1;
        self.certificates = certificates;
        let number = u64::from_le_bytes(request[0x20..0x28].try_into().unwrap());
        self.seen.insert((number, *request));
        assert_eq!(self.seen.len(), self.numbers().len(), "two messages with one number");
        match self.fault {
            Fault::Busy(times) if self.carried <= times => return Carried::Busy,
            Fault::Failed => return Carried::Failed,
            Fault::Replay => *response = self.latest,
            Fault::Reflect => *response = *request,
            Fault::None
            | Fault::Busy(_)
            | Fault::Flip(_)
            | Fault::Sequence(_)
            | Fault::Kind(_)
            | Fault::Key
            | Fault::Length(_)
            | Fault::Status(_) => *response = self.answer(request),
        }
        if let Fault::Flip(at) = self.fault {
            response[at] ^= 1;
        }
        self.latest = *response;
        Carried::Answered
    }
}

fn report(byte: u8) -> Question {
    let data = [byte; 64];
    Question::Report(ReportRequest { data, vmpl: 0, key_selection: 0, certificates: false })
}

const DERIVED: Question =
    Question::Key(KeyRequest { root_key: 0, fields: 0, vmpl: 0, guest_svn: 0, tcb_version: 0 });

#[test]
fn questions_are_answered_in_their_order() {
    let (mut channel, mut host) = (Channel::new(0, &KEY, 0), Host::new(Fault::None));
    assert_eq!(channel.ask(report(1), &mut host), Ok(vec![0x11; REPORT_LEN]));
    assert_eq!(channel.ask(DERIVED, &mut host), Ok(vec![0x22; 32]));
    assert_eq!(channel.ask(report(1), &mut host), Ok(vec![0x11; REPORT_LEN]));
    assert_eq!(host.numbers(), BTreeSet::from([1, 3, 5]));
}

#[test]
fn numbers_go_on_where_somebody_else_stopped() {
    let (mut channel, mut host) = (Channel::new(0, &KEY, 8), Host::new(Fault::None));
    channel.ask(report(1), &mut host).unwrap();
    assert_eq!(host.numbers(), BTreeSet::from([9]));
    let mut last = Channel::new(0, &KEY, u64::MAX - 1);
    assert_eq!(last.ask(report(1), &mut host), Err(SecurityError::Broken), "there is no answer");
}

#[test]
fn after_an_answer_that_is_not_authentic_the_channel_is_closed() {
    for fault in [
        Fault::Flip(0),
        Fault::Flip(0x20),
        Fault::Flip(0x36),
        Fault::Flip(0x60),
        Fault::Flip(1200),
        Fault::Sequence(1),
        Fault::Sequence(3),
        Fault::Sequence(u64::MAX),
        Fault::Kind(Kind::KeyResponse),
        Fault::Kind(Kind::ReportRequest),
        Fault::Key,
        Fault::Length(32),
        Fault::Length(1215),
        Fault::Length(1217),
        Fault::Length(4000),
        Fault::Replay,
        Fault::Reflect,
        Fault::Failed,
    ] {
        let (mut channel, mut host) = (Channel::new(0, &KEY, 0), Host::new(fault));
        assert_eq!(channel.ask(report(1), &mut host), Err(SecurityError::Broken));
        host.fault = Fault::None;
        assert_eq!(channel.ask(report(1), &mut host), Err(SecurityError::Broken), "for good");
        assert_eq!(host.carried, 1, "nothing is sent any more");
    }
}

#[test]
fn an_old_answer_is_not_taken_for_a_new_one() {
    let (mut channel, mut host) = (Channel::new(0, &KEY, 0), Host::new(Fault::None));
    channel.ask(report(1), &mut host).unwrap();
    host.fault = Fault::Replay;
    assert_eq!(channel.ask(report(2), &mut host), Err(SecurityError::Broken));
}

#[test]
fn a_busy_host_gets_the_same_message_again() {
    let (mut channel, mut host) = (Channel::new(0, &KEY, 0), Host::new(Fault::Busy(3)));
    channel.ask(report(1), &mut host).unwrap();
    assert_eq!((host.carried, host.seen.len()), (4, 1));
}

#[test]
fn another_question_waits_for_the_answer_to_the_first() {
    let (mut channel, mut host) = (Channel::new(0, &KEY, 0), Host::new(Fault::Busy(20)));
    assert_eq!(channel.ask(report(1), &mut host), Err(SecurityError::Busy));
    assert_eq!(channel.ask(DERIVED, &mut host), Err(SecurityError::Busy));
    assert_eq!(host.numbers(), BTreeSet::from([1]), "its number is taken");
    assert_eq!(channel.ask(DERIVED, &mut host), Ok(vec![0x22; 32]));
    assert_eq!(host.numbers(), BTreeSet::from([1, 3]));
}

#[test]
fn a_refusal_by_the_security_processor_leaves_the_channel_open() {
    let (mut channel, mut host) = (Channel::new(0, &KEY, 0), Host::new(Fault::Status(0x16)));
    assert_eq!(channel.ask(report(1), &mut host), Err(SecurityError::Refused(0x16)));
    host.fault = Fault::None;
    assert!(channel.ask(report(1), &mut host).is_ok());
}

#[test]
fn certificates_are_asked_for_where_they_are_wanted() {
    let (mut channel, mut host) = (Channel::new(0, &KEY, 0), Host::new(Fault::Busy(8)));
    let Question::Report(request) = report(1) else { return };
    assert_eq!(channel.ask(report(1), &mut host), Err(SecurityError::Busy));
    assert!(!host.certificates);
    let question = Question::Report(ReportRequest { certificates: true, ..request });
    channel.ask(question, &mut host).unwrap();
    assert!(host.certificates);
    assert_eq!(host.seen.len(), 1, "that is not part of the message");
}
