// SPDX-License-Identifier: MIT
//! Turns: messages in, the kernel runs, messages out.

use alloc::vec::Vec;
use strongroom_kernel::{Kernel, Outcome};
use strongroom_wire::turn::{self, HEADER, Outgoing, State, Turn};
use strongroom_wire::{Malformed, Untrusted};

/// How long the kernel runs on by itself before the host gets a turn: signals and input wait for
/// that.
pub const SLICE_NS: u64 = 50_000_000;
/// How often a busy kernel comes by before the clock is asked, which costs as much as many calls.
const LOOKS: u32 = 32;
/// Bytes of messages from which on a busy kernel hands them over.
const ENOUGH: usize = 64 * 1024;

/// Why a turn was not taken. The kernel has seen nothing of it, and the number counts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The host's header, or its messages.
    Malformed(Malformed),
    /// The buffer is not as long as it has to be.
    Buffer,
    /// The workload has ended.
    Ended,
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

/// The kernel and its turns.
#[derive(Debug)]
pub struct Pump {
    kernel: &'static Kernel,
    number: u64,
    ended: bool,
}

impl Pump {
    /// Drives a kernel from its first turn on.
    pub const fn new(kernel: &'static Kernel) -> Self {
        Self { kernel, number: 1, ended: false }
    }

    /// Takes a turn. `now_ns` is the kernel's own clock.
    ///
    /// # Errors
    ///
    /// [`Refused`], and then nothing has changed.
    pub fn turn(
        &mut self,
        shared: &mut dyn Shared,
        now_ns: &dyn Fn() -> u64,
    ) -> Result<State, Refused> {
        if self.ended {
            return Err(Refused::Ended);
        }
        let area = self.take_in(shared)?;
        for message in turn::messages(&area)? {
            self.kernel.receive(Untrusted::new(message));
        }
        let mut outgoing = Outgoing::default();
        let state = self.run(&mut outgoing, now_ns);
        let header = Turn { number: self.number, length: outgoing.bytes().len(), state };
        let written = shared.write(turn::ENCLAVE_AREA_AT, outgoing.bytes())
            && shared.write(HEADER, &header.encode());
        self.number = self.number.saturating_add(1);
        self.ended = state == State::Ended;
        if written { Ok(state) } else { Err(Refused::Buffer) }
    }

    fn take_in(&self, shared: &dyn Shared) -> Result<Vec<u8>, Refused> {
        let mut header = [0; HEADER];
        // The last byte first: a buffer that is too short is found before anything has happened.
        if !shared.read(turn::BUFFER.saturating_sub(1), &mut [0]) || !shared.read(0, &mut header) {
            return Err(Refused::Buffer);
        }
        let host = Turn::decode(&header, self.number)?;
        if host.state != State::Busy {
            return Err(Refused::Malformed(Malformed::Value));
        }
        let mut area = Vec::new();
        area.try_reserve_exact(host.length).map_err(|_| Malformed::TooLong)?;
        area.resize(host.length, 0);
        if shared.read(turn::HOST_AREA_AT, &mut area) { Ok(area) } else { Err(Refused::Buffer) }
    }

    /// Runs until the host is needed, or should have a turn.
    fn run(&self, outgoing: &mut Outgoing, now_ns: &dyn Fn() -> u64) -> State {
        let end = now_ns().saturating_add(SLICE_NS);
        let mut busy = 0_u32;
        loop {
            let outcome = self.kernel.run();
            let all = self.hand_over(outgoing);
            match outcome {
                Outcome::Ended if all => return State::Ended,
                Outcome::Ended => return State::Busy,
                Outcome::Busy => {
                    busy = busy.wrapping_add(1);
                    let over = || busy.is_multiple_of(LOOKS) && now_ns() >= end;
                    if !all || outgoing.bytes().len() >= ENOUGH || over() {
                        return State::Busy;
                    }
                }
                Outcome::Idle { .. } if !all => return State::Busy,
                Outcome::Idle { until_ns: None } => return State::Idle { wait_ns: None },
                Outcome::Idle { until_ns: Some(until_ns) } => {
                    let left = until_ns.saturating_sub(now_ns());
                    if left > 0 {
                        return State::Idle { wait_ns: Some(left) };
                    }
                }
            }
        }
    }

    /// Takes the kernel's messages as long as any would fit; whether that was all.
    fn hand_over(&self, outgoing: &mut Outgoing) -> bool {
        while outgoing.has_room() {
            let Some(message) = self.kernel.take_message() else { return true };
            // It fits: there was room for the longest.
            outgoing.push(&message);
        }
        false
    }
}
