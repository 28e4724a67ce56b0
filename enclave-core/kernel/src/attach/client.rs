// SPDX-License-Identifier: MIT
//! One client, from its first byte to `start` or its end.

use super::pipe::{Lost, Pipe};
use super::{Meeting, Owner, relay};
use crate::kernel::Kernel;
use crate::net::Connection;
use crate::sync::{ThreadKey, WaitQueue};
use alloc::sync::Arc;
use alloc::vec::Vec;
use strongroom_session::enclave::{Evidence, Intake, Step, Waiting};
use strongroom_session::message::{NoEvidence, Refusal};
use strongroom_session::{FRAME_MAX, HANDSHAKE_FRAME_MAX, KERNEL_VMPL, SessionError};
use strongroom_south::{Report, ReportRequest, SecurityError};

const SECOND_NS: u64 = 1_000_000_000;
/// How long a client may take until it has sent its keys, and a stranger at all.
const HANDSHAKE_NS: u64 = 30 * SECOND_NS;
/// How long an owner may take for each message. It has evidence to verify before the first.
const MESSAGE_NS: u64 = 300 * SECOND_NS;
/// How long a client may take to read the last words.
const LINGER_NS: u64 = 5 * SECOND_NS;
/// Most bytes of a report or token: far over any, far under a frame.
const EVIDENCE_MAX: usize = 4096;

impl From<SessionError> for Lost {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// The future of one client.
pub(super) async fn serve(
    meeting: Arc<Meeting>,
    key: ThreadKey,
    connection: Connection,
    queue: Arc<WaitQueue>,
) {
    let kernel = meeting.kernel;
    let mut pipe = Pipe::new(kernel, key, connection, queue, HANDSHAKE_NS);
    match converse(&meeting, &mut pipe).await {
        Ok(Some(intake)) => {
            let connection = pipe.into_connection();
            *kernel.owner.lock() = Some(Owner { intake, connection });
        }
        Ok(None) => pipe.linger(LINGER_NS).await,
        Err(lost) => report(kernel, &lost),
    }
    meeting.leave();
}

/// The whole conversation; returns what is left of it where the client has started the workload.
async fn converse(meeting: &Meeting, pipe: &mut Pipe) -> Result<Option<Intake>, Lost> {
    let mut intake = prove(meeting.kernel, pipe).await?;
    let welcome = intake.is_welcome(meeting.terms);
    loop {
        if welcome {
            pipe.set_time(MESSAGE_NS);
        }
        let frame = pipe.receive(FRAME_MAX).await?;
        let mut step = intake.receive(meeting.terms, &frame)?;
        if let Step::Start(gathered) = step {
            if meeting.decide(gathered) {
                pipe.send(intake.started()?);
                return Ok(Some(intake));
            }
            step = intake.refuse(Refusal::AlreadyStarted)?;
        }
        if let Step::Connect = step {
            match relay::connect(meeting.kernel, meeting.terms, pipe, &intake.client()).await {
                Some(service) => {
                    pipe.send(intake.connected()?);
                    let carriers = &meeting.kernel.carriers;
                    carriers.lock().push(pipe.key());
                    let carried = relay::carry(meeting.terms, pipe, &mut intake, &service).await;
                    carriers.lock().retain(|key| *key != pipe.key());
                    return carried.map(|()| None);
                }
                None => step = intake.refuse(Refusal::ServiceAbsent)?,
            }
        }
        match step {
            Step::More => {}
            Step::Closed | Step::Start(_) | Step::Connect | Step::Bytes(_) | Step::Finish => {
                return Ok(None);
            }
            Step::Refused { reason, reply } => {
                pipe.send(reply);
                meeting.kernel.report(format_args!("session: a client was refused: {reason}"));
                return Ok(None);
            }
        }
    }
}

/// Handshake and evidence.
async fn prove(kernel: &Kernel, pipe: &mut Pipe) -> Result<Intake, Lost> {
    let (mut own, mut ephemeral) = ([0; 32], [0; 32]);
    kernel.random.fill(&mut own);
    kernel.random.fill(&mut ephemeral);
    let waiting = Waiting::new(own, ephemeral)?;
    let hello = pipe.receive(HANDSHAKE_FRAME_MAX).await?;
    let (replied, reply) = waiting.receive(&hello)?;
    pipe.send(reply);
    let last = pipe.receive(HANDSHAKE_FRAME_MAX).await?;
    let proving = replied.receive(&last)?;
    let found = ask_for_evidence(kernel, proving.report_data());
    let evidence = match &found {
        Ok(Found::Report(report)) => {
            Evidence::SnpReport { report: &report.bytes, certificates: &report.certificates }
        }
        Ok(Found::Token(token)) => Evidence::Token(token),
        Err(reason) => Evidence::None(*reason),
    };
    let (intake, frame) = proving.present(evidence)?;
    pipe.send(frame);
    Ok(intake)
}

/// Evidence about the kernel and its workload.
enum Found {
    Report(Report),
    Token(Vec<u8>),
}

/// A report at the level that no program is given reports at; a token where there are no reports.
fn ask_for_evidence(kernel: &Kernel, data: &[u8; 64]) -> Result<Found, NoEvidence> {
    let machine = kernel.machine;
    let found = match (machine.security_processor(), machine.attesting_environment()) {
        (Some(processor), _) => {
            let request = ReportRequest {
                data: *data,
                vmpl: u32::from(KERNEL_VMPL),
                key_selection: 0,
                certificates: true,
            };
            processor.report(&request).map(Found::Report)
        }
        (None, Some(environment)) => environment.token(data).map(Found::Token),
        (None, None) => return Err(NoEvidence::NoSecurityProcessor),
    };
    let found = found.map_err(|error| match error {
        SecurityError::Refused(status) => NoEvidence::Refused(status),
        SecurityError::Busy => NoEvidence::Busy,
        SecurityError::Broken => NoEvidence::Broken,
    })?;
    let length = match &found {
        Found::Report(report) => report.bytes.len(),
        Found::Token(token) => token.len(),
    };
    if length > EVIDENCE_MAX { Err(NoEvidence::Broken) } else { Ok(found) }
}

fn report(kernel: &Kernel, lost: &Lost) {
    match lost {
        Lost::Ended => kernel.report(format_args!("session: a client went away")),
        Lost::TimedOut => kernel.report(format_args!("session: a client took too long")),
        Lost::Session(error) => {
            kernel.report(format_args!("session: a client was dropped: {error}"))
        }
    }
}
