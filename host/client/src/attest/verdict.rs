// SPDX-License-Identifier: MIT
//! The question that `strongroom verify` asks, and its answers.

use super::{AttestError, EvidenceFiles, appraisal::read_policy};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_verifier::{Claims, Hex, Reason, Refusal};

/// Whether some evidence is good enough for a policy.
#[derive(Clone, Debug)]
pub struct Question {
    /// The policy file.
    pub policy: PathBuf,
    /// What the report data has to be: [`parse_nonce`].
    pub nonce: Option<[u8; 64]>,
    /// Accept roots that are not AMD's, for simulations. The evidence then proves nothing.
    pub insecure_accept_simulated: bool,
    /// The evidence.
    pub evidence: EvidenceFiles,
}

/// The answer. As JSON it has the member `verdict`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// The evidence is genuine and satisfies the policy.
    Accepted {
        /// What it proves.
        claims: Box<Claims>,
    },
    /// It is not to be believed, or not good enough.
    Refused {
        /// The first check that failed.
        reason: Reason,
    },
    /// The question itself is broken: a policy, file or nonce is missing or no such thing.
    Undecided {
        /// Why.
        message: String,
        /// What can be done about it.
        hint: Option<String>,
    },
}

impl Question {
    /// Answers at the present time.
    #[must_use]
    pub fn decide(&self) -> Verdict {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.decide_at(now.map_or(0, |since| since.as_secs()))
    }

    /// Answers as of `now`, in seconds since 1970.
    #[must_use]
    pub fn decide_at(&self, now: u64) -> Verdict {
        match self.try_decide(now) {
            Ok(Ok(claims)) => Verdict::Accepted { claims: Box::new(claims) },
            Ok(Err(refusal)) => Verdict::of_refusal(&refusal),
            Err(error) => Verdict::of_error(&error),
        }
    }

    fn try_decide(&self, now: u64) -> Result<Result<Claims, Refusal>, AttestError> {
        let policy = read_policy(&self.policy, self.insecure_accept_simulated)?;
        let bundle = self.evidence.read()?;
        let policy = match (self.nonce, bundle.data_is_compared(&policy)) {
            (Some(nonce), true) => policy.with_report_data(bundle.data_of(nonce)),
            (None, false) => policy,
            (None, true) => return Err(AttestError::NoNonce),
            (Some(_), false) => return Err(AttestError::NonceIgnored),
        };
        Ok(bundle.judge(&policy, now))
    }
}

impl Verdict {
    /// What is not a report or a certificate at all was not judged.
    pub(super) fn of_refusal(refusal: &Refusal) -> Self {
        if refusal.is_unreadable() {
            return Self::Undecided { message: refusal.to_string(), hint: None };
        }
        Self::Refused { reason: refusal.into() }
    }

    /// A question that cannot be decided.
    #[must_use]
    pub fn of_error(error: &AttestError) -> Self {
        Self::Undecided { message: error.to_string(), hint: error.hint().map(str::to_owned) }
    }

    /// The exit status of a command line tool: 0 accepted, 1 refused, 2 undecided.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Accepted { .. } => 0,
            Self::Refused { .. } => 1,
            Self::Undecided { .. } => 2,
        }
    }
}

/// A nonce of up to 64 bytes from hexadecimal digits; the report data is the nonce, filled up
/// with zeros at its end.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_nonce(text: &str) -> Result<[u8; 64], String> {
    let allowed =
        || format!("`{text}` is no nonce; allowed are 2 to 128 hexadecimal digits, in pairs");
    if text.is_empty() || text.len() > 128 {
        return Err(allowed());
    }
    let Hex(nonce) = format!("{text:0<128}").parse().map_err(|_: String| allowed())?;
    if text.len().is_multiple_of(2) { Ok(nonce) } else { Err(allowed()) }
}
