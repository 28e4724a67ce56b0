// SPDX-License-Identifier: MIT
//! Why a machine did not do what it was asked to.

use std::{io, path::PathBuf, time::Duration};

use crate::ImageError;

/// Why there is no status of a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Root and overlays do not fit into the machine's memory.
    #[error("root and overlays need a machine of at least {needed_mib} MiB")]
    TooLarge {
        /// Memory that would do, in MiB.
        needed_mib: u64,
    },
    /// QEMU is not installed.
    #[error("cannot start {0}: it is not installed")]
    NoQemu(PathBuf),
    /// The machine did not come up in time.
    #[error("the machine did not come up within {} s{}", .limit.as_secs(), detail(.words))]
    BootTimedOut {
        /// The limit.
        limit: Duration,
        /// The last lines of both consoles.
        words: String,
    },
    /// The time limit ended the machine.
    #[error("the time limit of {} s ended the machine{}", .limit.as_secs(), detail(.words))]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// The last lines of both consoles.
        words: String,
    },
    /// The machine stopped before the command had ended.
    #[error("the machine stopped ({status}){}", detail(.words))]
    Stopped {
        /// How QEMU ended.
        status: String,
        /// What QEMU wrote, and the last lines of both consoles.
        words: String,
    },
    /// [`crate::PowerSwitch::cut`] was used.
    #[error("the machine's power was cut")]
    PowerCut,
    /// The command could not be started.
    #[error("cannot start the command in the machine: {0}")]
    Refused(String),
    /// The machine is up, but OP-TEE is not usable in it.
    #[error("the machine is up, but {0}")]
    NoTee(String),
    /// The agent said something that does not fit.
    #[error("the agent in the machine broke the protocol: {0}")]
    Protocol(String),
    /// The host's system said no.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's words.
        source: io::Error,
    },
}

impl Error {
    /// What the user can do about it, where that is not plain.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoQemu(_) => Some(
                "apt-get install qemu-system-arm (version 9 or newer; on Debian 12 from \
                 bookworm-backports)",
            ),
            Self::BootTimedOut { .. } => Some(
                "the flash image has to hold a TF-A that starts Linux at 0x60000000, and an OP-TEE \
                 for PLATFORM=vexpress-qemu_armv8a",
            ),
            Self::TimedOut { .. } => Some("a longer limit can be given"),
            Self::NoTee(_) => Some("the kernel's log says whether its OP-TEE driver found OP-TEE"),
            Self::Image(_)
            | Self::TooLarge { .. }
            | Self::Stopped { .. }
            | Self::PowerCut
            | Self::Refused(_)
            | Self::Protocol(_)
            | Self::Io { .. } => None,
        }
    }

    /// For `map_err`: an I/O error with what was tried.
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

fn detail(words: &str) -> String {
    match words.trim() {
        "" => String::new(),
        words => format!("\n{words}"),
    }
}
