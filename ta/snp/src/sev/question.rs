// SPDX-License-Identifier: MIT
//! What is asked of the security processor, and its answers (AMD 56860, chapter 7: tables of
//! `MSG_REPORT_REQ`, `MSG_REPORT_RSP`, `MSG_KEY_REQ`, `MSG_KEY_RSP`).

use super::message::Kind;
use super::{put, word};
use strongroom_south::{DERIVED_KEY_LEN, KeyRequest, ReportRequest};

/// Bytes of a signed report.
pub const REPORT_LEN: usize = 1184;
/// Most bytes of a request.
const REQUEST_LEN_MAX: usize = 96;
const REPORT_REQUEST_LEN: usize = 96;
const KEY_REQUEST_LEN: usize = 32;
/// Where a report or a key is in an answer.
const ANSWER_AT: usize = 32;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// For a report.
    Report(ReportRequest),
    /// For a derived key.
    Key(KeyRequest),
}

/// An answer that is authentic, but no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// The security processor says no, with this status.
    Refused(u32),
    /// It is too short or too long for its kind.
    Length,
}

/// A request's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    bytes: [u8; REQUEST_LEN_MAX],
    len: usize,
}

impl Encoded {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Question {
    /// Kind of the request.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Report(_) => Kind::ReportRequest,
            Self::Key(_) => Kind::KeyRequest,
        }
    }

    /// Kind of its answer.
    #[must_use]
    pub const fn answer_kind(&self) -> Kind {
        match self {
            Self::Report(_) => Kind::ReportResponse,
            Self::Key(_) => Kind::KeyResponse,
        }
    }

    /// Whether the host is to add the certificates that it has.
    #[must_use]
    pub const fn wants_certificates(&self) -> bool {
        matches!(self, Self::Report(ReportRequest { certificates: true, .. }))
    }

    /// The request's bytes.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let mut bytes = [0; REQUEST_LEN_MAX];
        let len = match self {
            Self::Report(request) => {
                put(&mut bytes, 0, &request.data);
                put(&mut bytes, 0x40, &request.vmpl.to_le_bytes());
                put(&mut bytes, 0x44, &request.key_selection.to_le_bytes());
                REPORT_REQUEST_LEN
            }
            Self::Key(request) => {
                put(&mut bytes, 0, &request.root_key.to_le_bytes());
                put(&mut bytes, 8, &request.fields.to_le_bytes());
                put(&mut bytes, 0x10, &request.vmpl.to_le_bytes());
                put(&mut bytes, 0x14, &request.guest_svn.to_le_bytes());
                put(&mut bytes, 0x18, &request.tcb_version.to_le_bytes());
                KEY_REQUEST_LEN
            }
        };
        Encoded { bytes, len }
    }

    /// The report or key in an answer.
    ///
    /// # Errors
    ///
    /// [`BadAnswer`].
    pub fn answer<'a>(&self, payload: &'a [u8]) -> Result<&'a [u8], BadAnswer> {
        let (head, rest) = payload.split_at_checked(ANSWER_AT).ok_or(BadAnswer::Length)?;
        match word(head, 0) {
            0 => {}
            status => return Err(BadAnswer::Refused(status)),
        }
        let (wanted, said) = match self {
            Self::Report(_) => (REPORT_LEN, usize::try_from(word(head, 4)).ok()),
            Self::Key(_) => (DERIVED_KEY_LEN, Some(DERIVED_KEY_LEN)),
        };
        let fits = rest.len() == wanted && said == Some(wanted);
        if fits { Ok(rest) } else { Err(BadAnswer::Length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const REPORT: Question = Question::Report(ReportRequest {
        data: [0xda; 64],
        vmpl: 1,
        key_selection: 2,
        certificates: true,
    });
    const KEY: Question = Question::Key(KeyRequest {
        root_key: 1,
        fields: 0x3f,
        vmpl: 2,
        guest_svn: 3,
        tcb_version: 0xdb18_0000_0000_0004,
    });

    #[test]
    fn requests_have_their_published_form() {
        let report = REPORT.encode();
        let bytes = report.as_bytes();
        assert_eq!(bytes[..64], [0xda; 64]);
        assert_eq!(bytes[64..72], [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[72..], [0; 24]);
        let key = KEY.encode();
        let mut expected = [0; 32];
        (expected[0], expected[8], expected[0x10], expected[0x14]) = (1, 0x3f, 2, 3);
        expected[0x18..].copy_from_slice(&[4, 0, 0, 0, 0, 0, 0x18, 0xdb]);
        assert_eq!(key.as_bytes(), expected);
    }

    #[test]
    fn answers_have_exactly_their_length() {
        let mut answer = vec![0; 32 + REPORT_LEN];
        answer[4..8].copy_from_slice(&1184_u32.to_le_bytes());
        assert_eq!(REPORT.answer(&answer).unwrap().len(), REPORT_LEN);
        assert_eq!(KEY.answer(&[0; 64]), Ok(&[0; 32][..]));
        assert_eq!(KEY.answer(&answer), Err(BadAnswer::Length));
        assert_eq!(REPORT.answer(&answer[..1215]), Err(BadAnswer::Length));
        answer[4] ^= 1;
        assert_eq!(REPORT.answer(&answer), Err(BadAnswer::Length), "it says another length");
        assert_eq!(KEY.answer(&[0; 31]), Err(BadAnswer::Length));
    }

    #[test]
    fn refusals_carry_their_status() {
        let mut answer = [0; 32];
        answer[0] = 0x16;
        assert_eq!(REPORT.answer(&answer), Err(BadAnswer::Refused(0x16)));
        assert_eq!(KEY.answer(&answer), Err(BadAnswer::Refused(0x16)));
    }
}
