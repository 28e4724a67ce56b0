// SPDX-License-Identifier: MIT
//! What the launcher itself says, on standard error.

use crate::tee::TeeError;
use std::io::Write as _;
use std::process::ExitCode;
use strongroom_client::{LaunchError, terminal};
use strongroom_optee_run::RunError;

/// Exit status of the launcher's own errors.
pub(crate) const LAUNCHER_FAILED: u8 = 125;

/// Writes a line; in raw mode a new line alone would not return the carriage.
pub(crate) fn line(text: &str) {
    let end = if terminal::is_raw() { "\r\n" } else { "\n" };
    // Nobody is left to be told when standard error is closed.
    let _ = write!(std::io::stderr(), "strongroom: {text}{end}");
}

/// Says what went wrong and what can be done about it; the exit status.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    line(&sentence(error));
    let hint = crate::pack_ta::hint(error)
        .or_else(|| error.downcast_ref::<RunError>()?.hint())
        .or_else(|| Some(error.downcast_ref::<TeeError>()?.hint()));
    if let Some(hint) = hint {
        line(&format!("hint: {hint}"));
    }
    let Some(launch) = error.downcast_ref::<LaunchError>() else {
        return ExitCode::from(LAUNCHER_FAILED);
    };
    if let Some(hint) = launch.hint() {
        line(&format!("hint: {hint}"));
    }
    ExitCode::from(launch.exit_code())
}

/// An error and its causes; those whose words are there already are left out.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            text.extend([separator, &cause]);
        }
    }
    text
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn no_cause_is_told_twice() {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let told = LaunchError::Io { action: "open x", source: missing() };
        assert_eq!(sentence(&told.into()), format!("cannot open x: {}", missing()));
        let untold = Err::<(), _>(missing()).context("read x").unwrap_err();
        assert_eq!(sentence(&untold), format!("read x: {}", missing()));
    }
}
