// SPDX-License-Identifier: MIT
//! Turns: messages in, the kernel runs, messages out.

use alloc::vec::Vec;
use strongroom_kernel::{Kernel, Outcome};
use strongroom_wire::turn::{self, HEADER, Outgoing, State, Turn};
use strongroom_wire::{Malformed, Untrusted};

/// How long the kernel runs on by itself before the host gets a turn: signals and input wait for
/// that.
pub const SLICE_NS: u64 = 50_000_000;
/// How often a busy kernel comes by before the clock, and the wish to cancel, are looked at, which
/// costs as much as many calls. It comes by at each spin hint, and after some thousands of calls.
const LOOKS: u32 = 8;
/// Bytes of messages from which on a busy kernel hands them over.
const ENOUGH: usize = 64 * 1024;

/// Why a turn was not taken. But for the last one, the kernel has seen nothing of it, and the number
/// counts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The host's header, or its messages.
    Malformed(Malformed),
    /// The buffer is not as long as it has to be.
    Buffer,
    /// The workload has ended.
    Ended,
    /// Who has called has asked to cancel the call, while a program was busy. That ends the workload:
    /// no further turn is taken.
    Cancelled,
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// The buffer in which messages change hands. The host may change it at any time, so every byte is
/// copied once.
pub trait Shared {
    /// Copies out of it; says whether all of that is inside of it.
    fn read(&self, offset: usize, to: &mut [u8]) -> bool;
    /// Copies into it; says whether all of that is inside of it.
    fn write(&mut self, offset: usize, from: &[u8]) -> bool;
}

/// What the pump has to know of its surroundings.
pub trait Surroundings {
    /// The kernel's own clock.
    fn now_ns(&self) -> u64;
    /// Whether who has called wants the call to end.
    fn is_cancelled(&self) -> bool;
}

/// The kernel and its turns.
#[derive(Debug)]
pub struct Pump {
    kernel: &'static Kernel,
    number: u64,
    ended: bool,
    /// What the host says in a turn. Kept, so that no turn needs memory that may be short.
    incoming: Vec<u8>,
    /// What the kernel says.
    outgoing: Outgoing,
}

impl Pump {
    /// Drives a kernel from its first turn on.
    pub fn new(kernel: &'static Kernel) -> Self {
        let incoming = Vec::with_capacity(turn::AREA);
        Self { kernel, number: 1, ended: false, incoming, outgoing: Outgoing::whole() }
    }

    /// Takes a turn.
    ///
    /// # Errors
    ///
    /// [`Refused`], and then nothing has changed; unless it was cancelled.
    pub fn turn(
        &mut self,
        shared: &mut dyn Shared,
        around: &dyn Surroundings,
    ) -> Result<State, Refused> {
        if self.ended {
            return Err(Refused::Ended);
        }
        self.take_in(shared)?;
        self.receive()?;
        self.outgoing.clear();
        let Some(state) = self.run(around) else {
            self.ended = true;
            return Err(Refused::Cancelled);
        };
        let header = Turn { number: self.number, length: self.outgoing.bytes().len(), state };
        let written = shared.write(turn::ENCLAVE_AREA_AT, self.outgoing.bytes())
            && shared.write(HEADER, &header.encode());
        self.number = self.number.saturating_add(1);
        self.ended = state == State::Ended;
        if written { Ok(state) } else { Err(Refused::Buffer) }
    }

    /// Hands all messages to the kernel, or none where one of them is malformed.
    fn receive(&self) -> Result<(), Malformed> {
        let mut rest = self.incoming.as_slice();
        while let Some((_, behind)) = turn::split(rest)? {
            rest = behind;
        }
        let mut rest = self.incoming.as_slice();
        while let Some((message, behind)) = turn::split(rest)? {
            self.kernel.receive(Untrusted::new(message));
            rest = behind;
        }
        Ok(())
    }

    fn take_in(&mut self, shared: &dyn Shared) -> Result<(), Refused> {
        let mut header = [0; HEADER];
        // The last byte first: a buffer that is too short is found before anything has happened.
        if !shared.read(turn::BUFFER.saturating_sub(1), &mut [0]) || !shared.read(0, &mut header) {
            return Err(Refused::Buffer);
        }
        let host = Turn::decode(&header, self.number)?;
        if host.state != State::Busy {
            return Err(Refused::Malformed(Malformed::Value));
        }
        // No longer than an area, which there is room for.
        self.incoming.resize(host.length, 0);
        let taken = shared.read(turn::HOST_AREA_AT, &mut self.incoming);
        if taken { Ok(()) } else { Err(Refused::Buffer) }
    }

    /// Runs until the host is needed, or should have a turn; none when it was cancelled.
    fn run(&mut self, around: &dyn Surroundings) -> Option<State> {
        let end = around.now_ns().saturating_add(SLICE_NS);
        let mut busy = 0_u32;
        loop {
            let outcome = self.kernel.run();
            let all = self.hand_over();
            match outcome {
                Outcome::Ended if all => return Some(State::Ended),
                Outcome::Ended => return Some(State::Busy),
                Outcome::Busy => {
                    busy = busy.wrapping_add(1);
                    let looks = busy.is_multiple_of(LOOKS);
                    if looks && around.is_cancelled() {
                        return None;
                    }
                    let over = looks && around.now_ns() >= end;
                    if !all || self.outgoing.bytes().len() >= ENOUGH || over {
                        return Some(State::Busy);
                    }
                }
                Outcome::Idle { .. } if !all => return Some(State::Busy),
                Outcome::Idle { until_ns: None } => return Some(State::Idle { wait_ns: None }),
                Outcome::Idle { until_ns: Some(until_ns) } => {
                    let left = until_ns.saturating_sub(around.now_ns());
                    if left > 0 {
                        return Some(State::Idle { wait_ns: Some(left) });
                    }
                    // A sleep that is over already is one all the same: who printed something before
                    // it can count on that it gets out.
                    if !self.outgoing.bytes().is_empty() {
                        return Some(State::Busy);
                    }
                }
            }
        }
    }

    /// Takes the kernel's messages as long as any would fit; whether that was all.
    fn hand_over(&mut self) -> bool {
        while self.outgoing.has_room() {
            let Some(message) = self.kernel.take_message() else { return true };
            // It fits: there was room for the longest.
            self.outgoing.push(&message);
        }
        false
    }
}
