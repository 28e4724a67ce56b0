// SPDX-License-Identifier: MIT
//! What an owner brings along, held to the manifest's terms as it arrives.

use crate::message::{PIECE_MAX, Refusal, ToEnclave};
use crate::{SECRET_LEN_MAX, SECRETS_LEN_MAX, is_secret_name};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use strongroom_wire::boot::SessionTerms;
use zeroize::Zeroizing;

/// Most late arguments, and most late variables.
pub const VALUES_MAX: usize = 1024;
/// Most bytes of all late arguments and variables.
pub const TEXT_MAX: usize = 128 * 1024;

/// A secret: a file for the program.
#[derive(Clone)]
pub struct Secret {
    /// Name of the file.
    pub name: String,
    /// Contents.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Everything that came before `start`.
#[derive(Clone, Default)]
pub struct Gathered {
    /// Arguments behind those of the manifest.
    pub arguments: Vec<String>,
    /// Variables, name and value.
    pub environment: Vec<(String, String)>,
    /// All secrets that the manifest declares.
    pub secrets: Vec<Secret>,
    text_len: usize,
    secrets_len: usize,
    /// Bytes of the last secret that have not come.
    awaited: usize,
}

impl Gathered {
    /// Takes a message other than `start` and `close`.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; what was taken before is then worth nothing.
    pub fn take(&mut self, terms: &SessionTerms, message: &ToEnclave<'_>) -> Result<(), Refusal> {
        if self.awaited > 0 && !matches!(message, ToEnclave::Piece(_)) {
            return Err(Refusal::OutOfOrder);
        }
        match message {
            ToEnclave::Argument(argument) => self.argument(terms, argument),
            ToEnclave::Variable { name, value } => self.variable(terms, name, value),
            ToEnclave::Secret { name, length } => self.secret(terms, name, *length),
            ToEnclave::Piece(bytes) => self.piece(bytes),
            ToEnclave::Start
            | ToEnclave::Close
            | ToEnclave::Connect
            | ToEnclave::Bytes(_)
            | ToEnclave::Finish => Err(Refusal::OutOfOrder),
        }
    }

    /// Whether nothing is missing that the manifest declares.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingSecret`] with the first that is missing.
    pub fn check_complete(&self, terms: &SessionTerms) -> Result<(), Refusal> {
        if self.awaited > 0 {
            let name = self.secrets.last().map(|secret| secret.name.clone());
            return Err(Refusal::MissingSecret(name.unwrap_or_default()));
        }
        let given = |name: &String| self.secrets.iter().any(|secret| secret.name == *name);
        match terms.secrets.iter().find(|name| !given(name)) {
            Some(name) => Err(Refusal::MissingSecret(name.clone())),
            None => Ok(()),
        }
    }

    /// Whether nothing came.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.arguments.is_empty() && self.environment.is_empty() && self.secrets.is_empty()
    }

    fn argument(&mut self, terms: &SessionTerms, argument: &str) -> Result<(), Refusal> {
        if !terms.late_arguments {
            return Err(Refusal::NoLateArguments);
        }
        if self.arguments.len() >= VALUES_MAX {
            return Err(Refusal::TooMuch);
        }
        self.count_text(&[argument])?;
        self.arguments.push(argument.into());
        Ok(())
    }

    fn variable(&mut self, terms: &SessionTerms, name: &str, value: &str) -> Result<(), Refusal> {
        if !terms.late_environment.iter().any(|declared| declared == name) {
            return Err(Refusal::UnknownVariable(shown(name)));
        }
        if self.environment.iter().any(|(given, _)| given == name) {
            return Err(Refusal::Twice(shown(name)));
        }
        if self.environment.len() >= VALUES_MAX {
            return Err(Refusal::TooMuch);
        }
        self.count_text(&[name, value])?;
        self.environment.push((name.into(), value.into()));
        Ok(())
    }

    fn count_text(&mut self, texts: &[&str]) -> Result<(), Refusal> {
        if texts.iter().any(|text| text.contains('\0')) {
            return Err(Refusal::ZeroByte);
        }
        let total = texts.iter().fold(self.text_len, |sum, text| sum.saturating_add(text.len()));
        if total > TEXT_MAX {
            return Err(Refusal::TooMuch);
        }
        self.text_len = total;
        Ok(())
    }

    fn secret(&mut self, terms: &SessionTerms, name: &str, length: u32) -> Result<(), Refusal> {
        let declared = terms.secrets.iter().any(|declared| declared == name);
        if !declared || !is_secret_name(name) {
            return Err(Refusal::UnknownSecret(shown(name)));
        }
        if self.secrets.iter().any(|secret| secret.name == name) {
            return Err(Refusal::Twice(shown(name)));
        }
        let length = usize::try_from(length).map_err(|_| Refusal::TooMuch)?;
        let total = self.secrets_len.saturating_add(length);
        if length > SECRET_LEN_MAX || total > SECRETS_LEN_MAX {
            return Err(Refusal::TooMuch);
        }
        self.secrets_len = total;
        self.awaited = length;
        // All of it at once: a buffer that grows would leave copies behind.
        let bytes = Zeroizing::new(Vec::with_capacity(length));
        self.secrets.push(Secret { name: name.into(), bytes });
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let secret = self.secrets.last_mut().ok_or(Refusal::OutOfOrder)?;
        if bytes.is_empty() || bytes.len() > PIECE_MAX {
            return Err(Refusal::OutOfOrder);
        }
        self.awaited = self.awaited.checked_sub(bytes.len()).ok_or(Refusal::OutOfOrder)?;
        secret.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// A name that a refusal repeats, cut to a length that it can have.
fn shown(name: &str) -> String {
    name.chars().take(crate::SECRET_NAME_MAX).collect()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, {} bytes)", self.name, self.bytes.len())
    }
}

impl fmt::Debug for Gathered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathered")
            .field("arguments", &self.arguments.len())
            .field("environment", &self.environment.len())
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}
