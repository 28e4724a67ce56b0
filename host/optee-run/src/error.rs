// SPDX-License-Identifier: MIT
//! Why a trusted application cannot be run, or no longer.

use std::io;
use strongroom_optee_package::Uuid;
use strongroom_tee::{Code, TeeError};

/// Why a trusted application cannot be run, or no longer; [`RunError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// This program was built for a machine that has no OP-TEE.
    #[error("there is no OP-TEE on this kind of machine")]
    NotHere,
    /// There is no TEE, or no way to it.
    #[error("no TEE answers: {0}")]
    NoTee(TeeError),
    /// No session was opened.
    #[error("cannot open a session with trusted application {uuid}: {source}")]
    Open {
        /// Its name.
        uuid: Uuid,
        /// What the TEE said.
        source: TeeError,
    },
    /// The trusted application panicked, or was ended by a fault.
    #[error("the trusted application has died (TEEC_ERROR_TARGET_DEAD)")]
    Dead,
    /// A call failed otherwise.
    #[error("the trusted application refused a call: {0}")]
    Call(TeeError),
    /// No memory can be shared.
    #[error("cannot share memory with the TEE: {0}")]
    Shared(TeeError),
    /// The trusted application said something that it must not say.
    #[error("the trusted application broke the protocol: {0}")]
    Protocol(&'static str),
    /// The stream to the session.
    #[error("the stream to the session failed: {0}")]
    Stream(#[from] io::Error),
    /// A simulated machine, or a part of one, is not there.
    #[error("found no OP-TEE machine to boot (looked for {0})")]
    NoMachine(String),
    /// The simulated machine.
    #[error(transparent)]
    Machine(#[from] strongroom_optee_qemu::Error),
    /// What [`serve`](crate::serve) in the simulated machine said at its end.
    #[error("{sentence}{}", console_words(.console))]
    InMachine {
        /// One of the errors above, in words.
        sentence: String,
        /// What can be done about it.
        hint: Option<String>,
        /// What the secure world's console said meanwhile.
        console: String,
    },
}

impl RunError {
    /// What came of a call.
    pub fn of_call(error: TeeError) -> Self {
        if error.code == Code::TargetDead { Self::Dead } else { Self::Call(error) }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NotHere => Some("simulate one: --tee optee-qemu"),
            Self::NoMachine(_) => Some(
                "make one with `cargo xtask optee build`, or name its folder: --machine DIR or STRONGROOM_OPTEE_MACHINE",
            ),
            Self::Machine(error) => error.hint(),
            Self::InMachine { hint, .. } => hint.as_deref(),
            Self::NoTee(_) => {
                Some("is /dev/tee0 there, may you open it, and does tee-supplicant run?")
            }
            Self::Open { source, .. } => hint_of_opening(source.code),
            Self::Dead => Some(
                "the secure world's console says why: an address and a call stack for a fault, a code for a panic",
            ),
            Self::Call(_) | Self::Shared(_) | Self::Protocol(_) | Self::Stream(_) => None,
        }
    }
}

fn console_words(console: &str) -> String {
    match console {
        "" => String::new(),
        words => format!("\nthe secure world's console:\n{words}"),
    }
}

fn hint_of_opening(code: Code) -> Option<&'static str> {
    let hints = [
        (Code::ItemNotFound, "put the .ta file into /lib/optee_armtz, under the name of its UUID"),
        (
            Code::Security,
            "the TEE trusts another key than the one it was signed with, or the file was changed",
        ),
        (Code::OutOfMemory, "ask for less with --memory when packing, or give OP-TEE more memory"),
        (Code::BadFormat, "its package is damaged: pack it again"),
    ];
    hints.iter().find(|(known, _)| *known == code).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_tee::Origin;

    fn error(code: Code) -> TeeError {
        TeeError { code, origin: Origin::TrustedApplication }
    }

    #[test]
    fn codes_become_errors_with_advice() {
        assert!(matches!(RunError::of_call(error(Code::TargetDead)), RunError::Dead));
        assert!(RunError::Dead.hint().is_some());
        assert!(matches!(RunError::of_call(error(Code::BadParameters)), RunError::Call(_)));
        let open = |code| RunError::Open { uuid: Uuid([0; 16]), source: error(code) };
        assert!(open(Code::ItemNotFound).hint().unwrap().contains("optee_armtz"));
        assert!(open(Code::OutOfMemory).hint().unwrap().contains("--memory"));
        assert_eq!(open(Code::Generic).hint(), None);
    }
}
