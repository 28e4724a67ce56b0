// SPDX-License-Identifier: MIT
//! The guest's channel to its security processor.
//!
//! Each message has a number, which is the initialisation vector: two messages with one number
//! under one key would give the key away. So a number is used for one message, and that message
//! is sent as often as it takes; an answer has the number behind it. After an answer that is not
//! authentic, or a refusal that anybody could have made up, the channel is closed for good and its
//! key forgotten.

use super::message::{self, Head};
use super::question::{BadAnswer, Encoded, Question};
use super::secrets::VMPCK_LEN;
use super::{PAGE_LEN, Page};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use alloc::vec::Vec;
use strongroom_south::SecurityError;

/// How often a message is sent before the caller is told to come again.
const TRIES: u32 = 8;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// There is an answer.
    Answered,
    /// It has to be sent again.
    Busy,
    /// The host, or the firmware by its word, refused it.
    Failed,
}

/// Carries sealed messages.
pub trait Carrier {
    /// Carries `request`, and leaves the answer in `response`. If `certificates`, the host is asked
    /// for certificates as well.
    fn carry(&mut self, request: &Page, response: &mut Page, certificates: bool) -> Carried;
}

/// A message that was sealed and has no answer yet.
struct Pending {
    question: Question,
    encoded: Encoded,
    page: Page,
}

/// The channel of one key.
pub struct Channel {
    /// None once it is closed.
    cipher: Option<Aes256Gcm>,
    vmpck: u8,
    /// The last number that was used, by either side.
    sequence: u64,
    pending: Option<Pending>,
}

impl core::fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter
            .debug_struct("Channel")
            .field("open", &self.cipher.is_some())
            .field("vmpck", &self.vmpck)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl Channel {
    /// The channel with key number `vmpck`, with which numbers up to `sequence` were used.
    #[must_use]
    pub fn new(vmpck: u8, key: &[u8; VMPCK_LEN], sequence: u64) -> Self {
        let cipher = Some(Aes256Gcm::new(key.into()));
        Self { cipher, vmpck, sequence, pending: None }
    }

    /// Asks, and returns the report or key.
    ///
    /// # Errors
    ///
    /// [`SecurityError`]. After [`SecurityError::Busy`] the message waits to be sent again.
    pub fn ask(
        &mut self,
        question: Question,
        carrier: &mut impl Carrier,
    ) -> Result<Vec<u8>, SecurityError> {
        let encoded = question.encode();
        if self.pending.as_ref().is_some_and(|pending| pending.encoded != encoded) {
            // Its number is taken: it has to be answered, although nobody wants to know.
            match self.send_pending(carrier) {
                Ok(_) | Err(SecurityError::Refused(_)) => {}
                Err(error @ (SecurityError::Busy | SecurityError::Broken)) => return Err(error),
            }
        }
        match &mut self.pending {
            // The same request: what differs, if anything, is not in the message.
            Some(pending) => pending.question = question,
            None => self.prepare(question, encoded)?,
        }
        self.send_pending(carrier)
    }

    fn prepare(&mut self, question: Question, encoded: Encoded) -> Result<(), SecurityError> {
        // Its answer has the number behind it.
        let next = self.sequence.checked_add(1).filter(|next| *next != u64::MAX);
        let (Some(cipher), Some(sequence)) = (&self.cipher, next) else {
            return Err(self.close());
        };
        let head = Head { sequence, kind: question.kind(), vmpck: self.vmpck };
        let page = message::seal(cipher, head, encoded.as_bytes());
        match page {
            Ok(page) => self.pending = Some(Pending { question, encoded, page }),
            Err(_) => return Err(self.close()),
        }
        Ok(())
    }

    fn send_pending(&mut self, carrier: &mut impl Carrier) -> Result<Vec<u8>, SecurityError> {
        let (Some(cipher), Some(pending)) = (&self.cipher, &self.pending) else {
            return Err(SecurityError::Broken);
        };
        let mut response = [0; PAGE_LEN];
        let certificates = pending.question.wants_certificates();
        let mut carry = |_| match carrier.carry(&pending.page, &mut response, certificates) {
            Carried::Busy => None,
            done @ (Carried::Answered | Carried::Failed) => Some(done),
        };
        match (0..TRIES).find_map(&mut carry) {
            None | Some(Carried::Busy) => return Err(SecurityError::Busy),
            Some(Carried::Failed) => return Err(self.close()),
            Some(Carried::Answered) => {}
        }
        let question = pending.question;
        let sequence = self.sequence.saturating_add(2);
        let head = Head { sequence, kind: question.answer_kind(), vmpck: self.vmpck };
        let answer = match message::open(cipher, head, &mut response) {
            Ok(payload) => question.answer(payload),
            Err(_) => return Err(self.close()),
        };
        match answer {
            Ok(answer) => {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(answer.len()).map_err(|_| SecurityError::Busy)?;
                bytes.extend_from_slice(answer);
                self.sequence = sequence;
                self.pending = None;
                Ok(bytes)
            }
            Err(BadAnswer::Refused(status)) => {
                self.sequence = sequence;
                self.pending = None;
                Err(SecurityError::Refused(status))
            }
            Err(BadAnswer::Length) => Err(self.close()),
        }
    }

    /// Forgets the key.
    fn close(&mut self) -> SecurityError {
        self.cipher = None;
        self.pending = None;
        SecurityError::Broken
    }
}

#[cfg(test)]
mod tests;
