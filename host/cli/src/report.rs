// SPDX-License-Identifier: MIT
//! What the launcher itself says, on standard error.

use std::io::Write as _;
use std::process::ExitCode;
use strongroom_client::{LaunchError, terminal};

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
    line(&format!("{error:#}"));
    if let Some(hint) = crate::pack_ta::hint(error) {
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

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
