// SPDX-License-Identifier: MIT
//! The cases of upstream's regression suite that run with every change.

use std::ffi::OsString;

/// Left out of the quick run: each takes over 10 seconds, together most of the time.
const SLOW: &[&str] = &["1013", "1037", "4006", "4011", "6010", "6014", "6016", "6018"];

/// Arguments that leave the slow cases out.
pub(super) fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["-t".into(), "regression".into()];
    for case in SLOW {
        arguments.extend(["-x".into(), format!("regression_{case}").into()]);
    }
    arguments
}
