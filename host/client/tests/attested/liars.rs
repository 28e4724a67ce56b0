// SPDX-License-Identifier: MIT
//! Enclaves, and those who pretend to be one, that the client must not believe.

use crate::machine::{Files, NOW, report};
use crate::{attachment, reason};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use strongroom_client::attest::Verdict;
use strongroom_evidence::Vmpl;
use strongroom_session::enclave::{Evidence, Intake, Waiting};
use strongroom_session::{FRAME_MAX, Frames};

/// The far end of a session, by hand.
struct Liar {
    stream: UnixStream,
    frames: Frames,
}

impl Liar {
    /// The next frame, or none when the client has gone.
    fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = self.frames.next(FRAME_MAX).unwrap() {
                return Some(frame);
            }
            let mut piece = [0; 1000];
            match self.stream.read(&mut piece).unwrap() {
                0 => return None,
                count => self.frames.push(&piece[..count]).unwrap(),
            }
        }
    }

    /// A handshake, then the evidence that `lie` makes up from the right report data.
    fn present(&mut self, lie: impl FnOnce(&[u8; 64]) -> Vec<u8>) -> Intake {
        let waiting = Waiting::new([41; 32], [42; 32]).unwrap();
        let (replied, reply) = waiting.receive(&self.receive().unwrap()).unwrap();
        self.stream.write_all(&reply).unwrap();
        let proving = replied.receive(&self.receive().unwrap()).unwrap();
        let report = lie(proving.report_data());
        let evidence = Evidence::SnpReport { report: &report, certificates: b"" };
        let (intake, frame) = proving.present(evidence).unwrap();
        self.stream.write_all(&frame).unwrap();
        intake
    }
}

/// Runs `liar` against a client; the verdict, and what the liar found.
fn against<T: Send + 'static>(liar: impl FnOnce(&mut Liar) -> T + Send + 'static) -> (Verdict, T) {
    let files = Files::new();
    let (mut ours, stream) = UnixStream::pair().unwrap();
    let liar: JoinHandle<T> =
        std::thread::spawn(move || liar(&mut Liar { stream, frames: Frames::default() }));
    let verdict = attachment(&files).over(&mut ours, NOW);
    drop(ours);
    (verdict, liar.join().unwrap())
}

/// Shows made-up evidence; whether the client sent anything after it.
fn shown(lie: impl FnOnce(&[u8; 64]) -> Vec<u8> + Send + 'static) -> (Verdict, bool) {
    against(|liar| {
        drop(liar.present(lie));
        liar.receive().is_some()
    })
}

#[test]
fn the_right_report_is_believed() {
    let (verdict, sent) = shown(|data| report(data, Vmpl::Guest(3)));
    assert!(sent, "this is how it looks when something is sent");
    // The liar then says nothing more.
    assert_eq!(verdict.exit_code(), 2);
}

#[test]
fn a_programs_report_over_the_session_is_refused_and_gets_nothing() {
    let (verdict, sent) = shown(|data| report(data, Vmpl::Guest(0)));
    assert!(!sent);
    let Verdict::Refused { reason } = &verdict else { panic!("{verdict:?}") };
    assert_eq!(reason.check, "session.vmpl");
    assert_eq!((reason.expected.as_deref(), reason.found.as_deref()), (Some("3"), Some("0")));
    let (verdict, sent) = shown(|data| report(data, Vmpl::Host));
    assert!(!sent);
    assert_eq!(reason_of(verdict), "session.vmpl");
}

#[test]
fn a_report_of_another_session_is_refused_and_gets_nothing() {
    let (verdict, sent) = shown(|_| report(&[9; 64], Vmpl::Guest(3)));
    assert!(!sent);
    let Verdict::Refused { reason } = &verdict else { panic!("{verdict:?}") };
    assert_eq!(reason.check, "session.report_data");
    assert_eq!(reason.found.as_deref(), Some("09".repeat(64).as_str()));
}

#[test]
fn a_report_that_nobody_signed_is_refused_and_gets_nothing() {
    let (verdict, sent) = shown(|data| {
        let mut report = report(data, Vmpl::Guest(3));
        report[0x90] ^= 1;
        report
    });
    assert!(!sent);
    assert_eq!(reason_of(verdict), "report.signature");
    let (verdict, sent) = shown(|_| b"no report".to_vec());
    assert!(!sent);
    assert_eq!(verdict.exit_code(), 2);
}

#[test]
fn who_is_no_enclave_at_all_is_undecided() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0; 100], b""] {
        let (verdict, ()) = against(|liar| {
            let _ = liar.receive();
            liar.stream.write_all(bytes).unwrap();
        });
        let Verdict::Undecided { message, .. } = verdict else { panic!("{verdict:?}") };
        assert!(message.starts_with("no session with the enclave"), "{message}");
    }
}

#[test]
fn an_enclave_that_breaks_off_has_started_nothing() {
    let (verdict, ()) = against(|liar| {
        drop(liar.present(|data| report(data, Vmpl::Guest(3))));
        while liar.receive().is_some_and(|frame| frame.len() > 17) {}
    });
    assert_eq!(verdict.exit_code(), 2);
}

fn reason_of(verdict: Verdict) -> String {
    reason(verdict).0
}
