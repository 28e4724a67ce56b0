// SPDX-License-Identifier: MIT
//! Policies to begin with.

use strongroom_client::package::{Measurement, Target};

/// The level at which the kernel asks for evidence of its sessions.
const LEVEL: &str = "3";
const RESTRICTED_INJECTION: u64 = 1 << 3;
const SECURE_TSC: u64 = 1 << 9;

/// The text of a policy that accepts sessions with what was measured.
pub(crate) fn for_sessions(target: Target, measurement: &Measurement) -> String {
    let template = match target {
        Target::SnpSim => include_str!("../templates/policy-snp-sim.toml"),
        Target::Snp | Target::Optee => include_str!("../templates/policy-snp.toml"),
    };
    let has = |feature| (measurement.sev_features & feature != 0).to_string();
    [
        ("{{measurement}}", measurement.launch_digest.to_string()),
        ("{{features}}", measurement.sev_features.to_string()),
        ("{{level}}", LEVEL.to_owned()),
        ("{{restricted_injection}}", has(RESTRICTED_INJECTION)),
        ("{{secure_tsc}}", has(SECURE_TSC)),
    ]
    .iter()
    .fold(without_licence(template), |text, (gap, value)| text.replace(gap, value))
}

/// A file of ours that becomes the user's.
pub(crate) fn without_licence(template: &str) -> String {
    let lines = template.lines().filter(|line| !line.contains("SPDX-License-Identifier"));
    lines.flat_map(|line| [line, "\n"]).collect()
}
