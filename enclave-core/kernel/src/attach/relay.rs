// SPDX-License-Identifier: MIT
//! A client's connection to the workload's service: the program sees a UNIX socket, the client an
//! attested session, and the kernel carries bytes between them.

use super::pipe::{Lost, Pipe};
use crate::kernel::Kernel;
use crate::net::address::UnixName;
use crate::net::{CLIENT_NAME_PREFIX, Connection, connect_kernel_to_name, connect_kernel_to_port};
use alloc::format;
use core::future::poll_fn;
use core::task::Poll;
use strongroom_session::enclave::{Intake, Step, Terms};
use strongroom_session::message::PIECE_MAX;
use strongroom_session::{FRAME_MAX, PublicKey};
use strongroom_wire::boot::SERVICE_SOCKET;

/// How long a program may take until it listens.
const LISTEN_NS: u64 = 60_000_000_000;

/// Connects to the service once the program listens; none when it does not in time, or the client
/// goes away meanwhile. On a UNIX socket the program finds the client's key in the name of its peer.
pub(super) async fn connect(
    kernel: &'static Kernel,
    terms: Terms<'_>,
    pipe: &mut Pipe,
    client: &PublicKey,
) -> Option<Connection> {
    let name = UnixName::Abstract(format!("{CLIENT_NAME_PREFIX}{client}").into_bytes().into());
    pipe.set_time(LISTEN_NS);
    let port = terms.service.and_then(|terms| terms.port);
    pipe.wait(|pipe| {
        let ends = (pipe.queue(), pipe.waiter());
        match port {
            Some(port) => connect_kernel_to_port(kernel, port, ends),
            None => connect_kernel_to_name(kernel, SERVICE_SOCKET.as_bytes(), &name, ends),
        }
    })
    .await
    .ok()
}

/// Carries bytes until one of the two ends the connection.
pub(super) async fn carry(
    terms: Terms<'_>,
    pipe: &mut Pipe,
    intake: &mut Intake,
    service: &Connection,
) -> Result<(), Lost> {
    // A connection may be silent for as long as it likes.
    pipe.set_time(u64::MAX);
    poll_fn(|_| {
        pipe.queue().register(pipe.waiter());
        match forth(terms, pipe, intake, service) {
            Ok(Flow::Waits) => {}
            other => return Poll::Ready(other.map(|_| ())),
        }
        match back(pipe, intake, service) {
            Ok(Flow::Waits) => Poll::Pending,
            other => Poll::Ready(other.map(|_| ())),
        }
    })
    .await
}

/// How one direction stands.
enum Flow {
    /// Until somebody sends, or takes in.
    Waits,
    Ended,
}

/// From the client to the service, as far as the service takes it in.
fn forth(
    terms: Terms<'_>,
    pipe: &mut Pipe,
    intake: &mut Intake,
    service: &Connection,
) -> Result<Flow, Lost> {
    while service.outgoing.snapshot().writable {
        let frame = match pipe.poll(FRAME_MAX) {
            Poll::Ready(frame) => frame?,
            Poll::Pending => break,
        };
        match intake.receive(terms, &frame)? {
            Step::Bytes(bytes) => service.outgoing.put(bytes.to_vec()),
            Step::Finish => service.outgoing.end(),
            Step::Refused { reply, .. } => {
                pipe.send(reply);
                return Ok(Flow::Ended);
            }
            Step::More | Step::Start(_) | Step::Connect | Step::Closed => return Ok(Flow::Ended),
        }
    }
    Ok(Flow::Waits)
}

/// From the service to the client, as far as the client takes it in.
fn back(pipe: &Pipe, intake: &mut Intake, service: &Connection) -> Result<Flow, Lost> {
    while pipe.has_room() {
        let Some(bytes) = service.incoming.take(PIECE_MAX) else {
            let input = service.incoming.snapshot();
            if input.ended || input.broken {
                pipe.send(intake.close()?);
                return Ok(Flow::Ended);
            }
            break;
        };
        pipe.send(intake.bytes(&bytes)?);
    }
    Ok(Flow::Waits)
}
