// SPDX-License-Identifier: MIT
//! A client that lies to a packed program's library OS: between an honest session and the trusted
//! application it changes what is said, then says it right.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use strongroom_optee_run::{Application, Called, RunError};
use strongroom_tee::Code;
use strongroom_wire::turn::{self, AREA, HEADER, Outgoing, State, Turn};

/// Turns at the beginning without a lie: most of those there keep the program from starting.
const HONEST_TURNS: u64 = 32;

/// What came of the lies, for other threads too.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) lies: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) turns: AtomicU64,
}

/// A generator that gives the same numbers for the same seed: xorshift64 (Marsaglia, 2003).
#[derive(Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = u64::try_from(limit.max(1)).unwrap_or(1);
        usize::try_from(self.0 % limit).unwrap_or(0)
    }
}

/// Takes turns with an application for a bridge, each after a lie.
#[derive(Debug)]
pub(crate) struct Liar {
    application: Application,
    numbers: Numbers,
    told: Arc<Told>,
    /// The number of the application's next turn; the bridge counts fewer.
    number: u64,
    /// What the bridge has to say.
    header: [u8; HEADER],
    area: Vec<u8>,
    /// What it gets to read.
    answer: [u8; HEADER],
    said: Vec<u8>,
}

impl Liar {
    pub(crate) fn new(application: Application, numbers: Numbers, told: Arc<Told>) -> Self {
        Self {
            application,
            numbers,
            told,
            number: 1,
            header: [0; HEADER],
            area: Vec::new(),
            answer: [0; HEADER],
            said: Vec::new(),
        }
    }

    /// One turn of the application; how it stands.
    fn turn(&mut self, header: [u8; HEADER], area: &[u8]) -> Result<State, RunError> {
        self.told.turns.fetch_add(1, Ordering::Relaxed);
        self.application.write(turn::HOST_AREA_AT, area)?;
        self.application.write(0, &header)?;
        self.application.call()?;
        let mut header = [0; HEADER];
        self.application.read(HEADER, &mut header)?;
        let answer = Turn::decode(&header, self.number)
            .map_err(|_| RunError::Protocol("its header is malformed"))?;
        let mut area = vec![0; answer.length];
        self.application.read(turn::ENCLAVE_AREA_AT, &mut area)?;
        self.said.extend(area);
        self.number += 1;
        Ok(answer.state)
    }

    /// Header and messages as an adversary would have them.
    fn lie(&mut self) -> ([u8; HEADER], Vec<u8>) {
        let mut area = self.area.clone();
        let mut header = Turn::of_host(self.number, area.len()).encode();
        match self.numbers.below(8) {
            // Bits of messages.
            0..=3 => {
                for _ in 0..=self.numbers.below(4) {
                    let place = self.numbers.below(area.len());
                    let bit = self.numbers.below(8);
                    area.get_mut(place).into_iter().for_each(|byte| *byte ^= 1 << bit);
                }
            }
            // All of them twice.
            4 if area.len() * 2 <= AREA => area.extend_from_within(..),
            // Cut off.
            4 | 5 => area.truncate(self.numbers.below(area.len())),
            // One more, of nonsense.
            6 => {
                let mut nonsense = vec![0; 1 + self.numbers.below(64)];
                nonsense
                    .iter_mut()
                    .for_each(|byte| *byte = self.numbers.below(256).to_le_bytes()[0]);
                let mut outgoing = Outgoing::default();
                outgoing.push(&nonsense);
                area.extend_from_slice(outgoing.bytes());
                area.truncate(AREA);
            }
            // Bits of the header.
            _ => {
                let (place, bit) = (self.numbers.below(HEADER), self.numbers.below(8));
                header.get_mut(place).into_iter().for_each(|byte| *byte ^= 1 << bit);
                return (header, area);
            }
        }
        (Turn::of_host(self.number, area.len()).encode(), area)
    }
}

impl Called for Liar {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), RunError> {
        match <[u8; HEADER]>::try_from(bytes) {
            Ok(header) if offset == 0 => self.header = header,
            Ok(_) | Err(_) => self.area = bytes.to_vec(),
        }
        Ok(())
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), RunError> {
        let from = if offset == HEADER { &self.answer[..] } else { &self.said };
        bytes.copy_from_slice(from.get(..bytes.len()).ok_or(RunError::Protocol("too little"))?);
        Ok(())
    }

    fn call(&mut self) -> Result<(), RunError> {
        self.said.clear();
        if self.number <= HONEST_TURNS {
            let (header, area) = (self.header, self.area.clone());
            let state = self.turn(header, &area)?;
            let number = self.number - 1;
            self.answer = Turn { number, length: self.said.len(), state }.encode();
            return Ok(());
        }
        let (header, area) = self.lie();
        self.told.lies.fetch_add(1, Ordering::Relaxed);
        let mut state = match self.turn(header, &area) {
            Ok(state) => Some(state),
            Err(RunError::Call(error)) if error.code == Code::BadParameters => {
                self.told.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(error) => return Err(error),
        };
        // What was refused has changed nothing; what a spoilt answer has not answered, this does.
        if state != Some(State::Ended) {
            let honest = self.area.clone();
            let header = Turn::of_host(self.number, honest.len()).encode();
            state = Some(self.turn(header, &honest)?);
        }
        if self.said.len() > AREA {
            return Err(RunError::Protocol("two turns say more than one may"));
        }
        // The bridge's own number, which it checks.
        let number = self.header.get(8..16).and_then(|bytes| bytes.first_chunk());
        let number = number.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let state = state.unwrap_or(State::Busy);
        self.answer = Turn { number, length: self.said.len(), state }.encode();
        Ok(())
    }
}
