// SPDX-License-Identifier: MIT
//! Why a trusted application cannot be used, or no longer.

use std::io;
use strongroom_optee_package::Uuid;

const ACCESS_DENIED: u32 = 0xffff_0001;
const BAD_FORMAT: u32 = 0xffff_0005;
const BAD_PARAMETERS: u32 = 0xffff_0006;
const ITEM_NOT_FOUND: u32 = 0xffff_0008;
const OUT_OF_MEMORY: u32 = 0xffff_000c;
const BUSY: u32 = 0xffff_000d;
const COMMUNICATION: u32 = 0xffff_000e;
const SECURITY: u32 = 0xffff_000f;
const TARGET_DEAD: u32 = 0xffff_3024;

/// Why a trusted application cannot be used, or no longer; [`TeeError::hint`] says what to do.
/// Codes are those of the GlobalPlatform TEE Client API 1.0, table 4-2.
#[derive(Debug, thiserror::Error)]
pub enum TeeError {
    /// There is no TEE, or no way to it.
    #[error("no TEE answers ({code:#010x})")]
    NoTee {
        /// What `TEEC_InitializeContext` said.
        code: u32,
    },
    /// No session was opened.
    #[error("cannot open a session with trusted application {uuid}: {} ({code:#010x})", meaning(*.code))]
    Open {
        /// Its name.
        uuid: Uuid,
        /// What `TEEC_OpenSession` said.
        code: u32,
    },
    /// The trusted application panicked, or was ended by a fault.
    #[error("the trusted application has died (TEEC_ERROR_TARGET_DEAD)")]
    Dead,
    /// A call failed otherwise.
    #[error("the trusted application refused a call: {} ({code:#010x})", meaning(*.code))]
    Call {
        /// What `TEEC_InvokeCommand` said.
        code: u32,
    },
    /// No memory can be shared.
    #[error("cannot share memory with the TEE ({code:#010x})")]
    Shared {
        /// What `TEEC_AllocateSharedMemory` said.
        code: u32,
    },
    /// The trusted application said something that it must not say.
    #[error("the trusted application broke the protocol: {0}")]
    Protocol(&'static str),
    /// The stream to the session.
    #[error("the stream to the session failed: {0}")]
    Stream(#[from] io::Error),
}

impl TeeError {
    /// What came of a call.
    pub const fn of_call(code: u32) -> Self {
        if code == TARGET_DEAD { Self::Dead } else { Self::Call { code } }
    }

    /// What the user can do about it.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoTee { .. } => {
                Some("is /dev/tee0 there, may you open it, and does tee-supplicant run?")
            }
            Self::Open { code: ITEM_NOT_FOUND, .. } => {
                Some("put the .ta file into /lib/optee_armtz, under the name of its UUID")
            }
            Self::Open { code: SECURITY | ACCESS_DENIED, .. } => Some(
                "the TEE has another key than the one it was signed with, or the file was changed",
            ),
            Self::Open { code: OUT_OF_MEMORY, .. } => {
                Some("ask for less with --memory when packing, or give OP-TEE more memory")
            }
            Self::Dead => Some(
                "the secure world's console says why: an address and a call stack for a fault, a code for a panic",
            ),
            Self::Open { .. }
            | Self::Call { .. }
            | Self::Shared { .. }
            | Self::Protocol(_)
            | Self::Stream(_) => None,
        }
    }
}

const fn meaning(code: u32) -> &'static str {
    match code {
        ACCESS_DENIED => "access denied",
        BAD_FORMAT => "its package is damaged",
        BAD_PARAMETERS => "bad parameters",
        ITEM_NOT_FOUND => "it is not installed, or holds no program",
        OUT_OF_MEMORY => "the TEE has not enough memory",
        BUSY => "it is in use",
        COMMUNICATION => "it was not reached",
        SECURITY => "its signature or contents are not genuine",
        TARGET_DEAD => "it has died",
        _ => "it failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_words() {
        assert!(matches!(TeeError::of_call(TARGET_DEAD), TeeError::Dead));
        assert!(TeeError::of_call(TARGET_DEAD).hint().is_some());
        let refused = TeeError::of_call(BAD_PARAMETERS).to_string();
        assert_eq!(refused, "the trusted application refused a call: bad parameters (0xffff0006)");
        let open = TeeError::Open { uuid: Uuid([0; 16]), code: ITEM_NOT_FOUND };
        assert!(open.to_string().contains("not installed") && open.hint().is_some());
    }
}
