// SPDX-License-Identifier: MIT
//! The bridge as a program of the simulated machine's normal world: standard input and output lead
//! to the session outside, standard error takes the last words.

use crate::{Bridge, Called, RunError};
use std::os::fd::AsFd as _;

/// What a line with a hint begins with.
const HINT: &str = "hint: ";
/// The hint in an error that quotes a console.
const LOGS: &str = "--logs DIR keeps all that both worlds' consoles say";

/// Carries messages between a trusted application and the session at the standard streams.
///
/// # Errors
///
/// [`RunError`] when it did not come to an orderly end.
pub fn serve(application: impl Called) -> Result<u64, RunError> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let output = std::io::stdout().as_fd().try_clone_to_owned()?;
    Bridge::new(application, input, output).run()
}

/// An error as `last_words` reads it on the other side.
pub fn report(error: &RunError) -> String {
    let hint = error.hint().map(|hint| format!("{HINT}{hint}\n")).unwrap_or_default();
    format!("{error}\n{hint}")
}

/// What a program with [`serve`] in it said at its end, with the console's words.
pub(crate) fn last_words(errors: &[u8], console: String) -> RunError {
    let text = String::from_utf8_lossy(errors);
    let (hints, rest): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with(HINT));
    let sentence = match rest.join("; ") {
        empty if empty.is_empty() => "the bridge in the machine ended without a word".to_owned(),
        sentence => sentence,
    };
    let hint = match (hints.first(), console.as_str()) {
        (_, "") | (None, _) => hints.first().map(|hint| hint.trim_start_matches(HINT).to_owned()),
        (Some(_), _) => Some(LOGS.to_owned()),
    };
    RunError::InMachine { sentence, hint, console }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_way_out_of_the_machine() {
        let error = last_words(report(&RunError::Dead).as_bytes(), String::new());
        assert_eq!(error.hint(), RunError::Dead.hint());
        let error = last_words(report(&RunError::Dead).as_bytes(), "E/TC: abort".to_owned());
        assert_eq!(error.hint(), Some(LOGS));
        let text = error.to_string();
        assert!(text.starts_with(&RunError::Dead.to_string()), "{text}");
        assert!(text.ends_with("console:\nE/TC: abort"), "{text}");
        let plain = last_words(report(&RunError::Protocol("no")).as_bytes(), String::new());
        assert_eq!(plain.to_string(), RunError::Protocol("no").to_string());
        assert_eq!(plain.hint(), None);
        assert!(last_words(b"", String::new()).to_string().contains("without a word"));
    }
}
