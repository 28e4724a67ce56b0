// SPDX-License-Identifier: MIT
//! `strongroom verify` and `strongroom fetch-chain`.

use crate::arguments::{EndorsementOptions, FetchOptions, VerifyOptions};
use crate::report;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_client::attest::{
    AttestError, ChainCache, EndorsementFiles, EvidenceFiles, Fetched, Question, ReportKeyFile,
    Verdict, fetch_chain as fetch,
};
use strongroom_verifier::{Claims, OpteeClaims, Root, SnpClaims};

/// Exit status when there is no verdict.
pub(crate) const UNDECIDED: u8 = 2;

/// Whether text may have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    Yes,
    No,
}

impl Colour {
    /// As the stream and the user want it (`NO_COLOR`).
    fn of(terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if terminal && !refused { Self::Yes } else { Self::No }
    }

    fn red(self, text: &str) -> String {
        match self {
            Self::Yes => format!("\x1b[1;31m{text}\x1b[0m"),
            Self::No => text.to_owned(),
        }
    }
}

/// Prints the verdict; its exit status.
pub(crate) fn verify(options: VerifyOptions) -> ExitCode {
    let json = options.json;
    let verdict = question(options).decide();
    say(&verdict, json)
}

/// Prints a verdict; its exit status.
pub(crate) fn say(verdict: &Verdict, json: bool) -> ExitCode {
    let code = ExitCode::from(verdict.exit_code());
    let said = if json { as_json(verdict) } else { as_text(verdict) };
    match said {
        Ok(()) => code,
        Err(error) => {
            report::line(&format!("cannot write the verdict: {error}"));
            ExitCode::from(UNDECIDED)
        }
    }
}

/// The exit status of a command that has no verdict, and whose statuses are those of verify.
pub(crate) fn undecided(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Its own exit status is another command's.
            let _ = report::failure(&error);
            ExitCode::from(UNDECIDED)
        }
    }
}

/// Says on standard error what is weak about something that was accepted.
pub(crate) fn warn(claims: &Claims) {
    let colour = Colour::of(io::stderr().is_terminal());
    for weakness in weaknesses(claims) {
        report::line(&colour.red(&format!("INSECURE: {weakness}")));
    }
}

fn question(options: VerifyOptions) -> Question {
    Question {
        policy: options.policy,
        nonce: options.nonce,
        insecure_accept_simulated: options.endorsements.insecure_accept_simulated,
        evidence: EvidenceFiles {
            evidence: options.evidence.or(options.report).unwrap_or_default(),
            certificates: options.certificates,
            endorsements: endorsements(options.endorsements),
        },
    }
}

/// The files that the options name.
pub(crate) fn endorsements(options: EndorsementOptions) -> EndorsementFiles {
    let cache = match options.cache {
        Some(folder) => Some(ChainCache::new(folder)),
        None => ChainCache::of_user().ok(),
    };
    let vcek = options.vcek.map(ReportKeyFile::Vcek);
    EndorsementFiles {
        report_key: vcek.or(options.vlek.map(ReportKeyFile::Vlek)),
        issuer: options.ask,
        root: options.ark,
        revocation_list: options.crl,
        cache,
        enrolment: options.enrolment,
    }
}

fn as_json(verdict: &Verdict) -> io::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer_pretty(&mut output, verdict)?;
    writeln!(output)?;
    output.flush()
}

fn as_text(verdict: &Verdict) -> io::Result<()> {
    match verdict {
        Verdict::Accepted { claims } => {
            let mut output = io::stdout().lock();
            output.write_all(accepted(claims, Colour::of(output.is_terminal())).as_bytes())?;
            output.flush()
        }
        Verdict::Refused { reason } => {
            let colour = Colour::of(io::stderr().is_terminal());
            report::line(&format!("{}: {}", colour.red("refused"), reason.message));
            Ok(())
        }
        Verdict::Undecided { message, hint } => {
            report::line(&format!("undecided: {message}"));
            if let Some(hint) = hint {
                report::line(&format!("hint: {hint}"));
            }
            Ok(())
        }
    }
}

/// What was accepted, for people: what is weak about it first.
fn accepted(claims: &Claims, colour: Colour) -> String {
    let mut text = String::new();
    for weakness in weaknesses(claims) {
        line(&mut text, &colour.red(&format!("INSECURE: {weakness}")));
    }
    let simulated = claims.insecure().simulated_root.is_some();
    let what = if simulated { "accepted (simulated)" } else { "accepted" };
    line(&mut text, &if simulated { colour.red(what) } else { what.to_owned() });
    let facts = match claims {
        Claims::Snp(claims) => facts_of_report(claims),
        Claims::Optee(claims) => facts_of_token(claims),
    };
    for (name, value) in facts {
        line(&mut text, &format!("  {name}: {value}"));
    }
    if !claims.skipped().is_empty() {
        line(&mut text, &format!("  skipped by the policy: {}", claims.skipped().join(", ")));
    }
    text
}

fn facts_of_report(claims: &SnpClaims) -> Vec<(&'static str, String)> {
    let chip = claims.chip_id.map_or_else(|| "not proven".to_owned(), |chip| chip.to_string());
    vec![
        ("tee", "amd-sev-snp".to_owned()),
        ("product line", claims.product_line.to_string()),
        ("signed by", claims.signing_key.to_string()),
        ("chip", chip),
        ("measurement", claims.measurement.to_string()),
        ("report data", claims.report_data.to_string()),
        ("host data", claims.host_data.to_string()),
        ("vmpl", claims.vmpl.to_string()),
        ("guest svn", claims.guest_svn.to_string()),
        ("firmware", claims.committed_firmware.to_string()),
    ]
}

fn facts_of_token(claims: &OpteeClaims) -> Vec<(&'static str, String)> {
    let memory =
        claims.memory_hash.map_or_else(|| "not proven".to_owned(), |hash| hash.to_string());
    vec![
        ("tee", "op-tee".to_owned()),
        ("trusted application", format!("{} version {}", claims.ta_uuid, claims.ta_version)),
        ("package digest, as it says itself", claims.package_digest.to_string()),
        ("memory hash, as its device says", memory),
        ("identity key", claims.identity_key_id.to_string()),
        ("report data", claims.report_data.to_string()),
        ("note", "program and kernel are one domain: either can speak for the other".to_owned()),
    ]
}

fn weaknesses(claims: &Claims) -> Vec<String> {
    let insecure = claims.insecure();
    let simulated = insecure.simulated_root.as_ref().map(|key| match claims {
        Claims::Snp(_) => {
            format!("the root is not AMD's but {key}; this evidence proves nothing")
        }
        Claims::Optee(_) => {
            format!("the device of identity key {key} is simulated; this evidence proves nothing")
        }
    });
    let flags = [
        (insecure.debug, "the host may read and write the guest's memory (debug)"),
        (insecure.migration_agent, "a migration agent may hold the guest's secrets"),
        (insecure.provisional_firmware, "the host can go back to older firmware (provisional)"),
        (insecure.revocation_unchecked, "nobody looked whether the issuer was revoked"),
    ];
    let set = flags.into_iter().filter(|(set, _)| *set).map(|(_, text)| text.to_owned());
    simulated.into_iter().chain(set).collect()
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

/// Fetches and stores; says what.
pub(crate) fn fetch_chain(options: FetchOptions) -> ExitCode {
    match try_fetch(options) {
        Ok(fetched) => {
            report::line(&format!("chain stored in {}", fetched.folder.display()));
            if !fetched.revocation_list {
                report::line(
                    "no revocation list was there: a policy that asks for one will refuse",
                );
            }
            if let Root::Simulated { key_sha256 } = fetched.root {
                let colour = Colour::of(io::stderr().is_terminal());
                report::line(
                    &colour.red(&format!("INSECURE: the root is not AMD's but {key_sha256}")),
                );
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            report::line(&error.to_string());
            if let Some(hint) = error.hint() {
                report::line(&format!("hint: {hint}"));
            }
            ExitCode::from(UNDECIDED)
        }
    }
}

fn try_fetch(options: FetchOptions) -> Result<Fetched, AttestError> {
    let cache = match options.cache {
        Some(folder) => ChainCache::new(folder),
        None => ChainCache::of_user()?,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    fetch(&options.report, options.product_line, &options.from, &cache, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_attestation_testing::machine::{Machine, NOW, policy_text};
    use strongroom_verifier::{Endorsements, Policy, verify_report};

    #[test]
    fn a_simulated_root_is_red_where_there_are_colours_and_named_where_not() {
        let machine = Machine::milan();
        let report_key = machine.report_key();
        let endorsements = Endorsements {
            root: &machine.authority.root_certificate,
            issuer: machine.issuer(),
            report_key: &report_key,
            revocation_list: machine.revocation_list.as_deref(),
        };
        let policy = Policy::from_toml(&policy_text()).unwrap().with_report_data([3; 64]);
        let report = machine.chip.sign(&machine.report);
        let claims: Claims = verify_report(&report, &endorsements, &policy, NOW).unwrap().into();

        let red = accepted(&claims, Colour::Yes);
        assert!(red.starts_with("\x1b[1;31mINSECURE: the root is not AMD's"), "{red}");
        assert!(red.contains("\x1b[1;31maccepted (simulated)\x1b[0m\n"), "{red}");
        let plain = accepted(&claims, Colour::No);
        assert!(plain.starts_with("INSECURE: the root is not AMD's"), "{plain}");
        assert!(plain.contains("\naccepted (simulated)\n") && !plain.contains('\x1b'), "{plain}");
    }
}
