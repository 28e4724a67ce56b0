// SPDX-License-Identifier: MIT
//! Whether what is genuine is good enough: the policy's checks, one by one.

use crate::claims::TcbParts;
use crate::policy::{
    GuestPolicyRules, LineMinimums, PlatformInfoRules, ReportData, SimulatedRoots, SnpPolicy,
    TcbMinimum,
};
use crate::rule::{AtMost, ChipId, Demand, Hex, Rule};
use crate::{CachedChain, OpteeClaims, Policy, Refusal, Root, SnpClaims};
use std::fmt;

/// Bits of `SEV_FEATURES` in the save area (AMD64 Architecture Programmer's Manual, volume 2,
/// document 24593, appendix B, offset 0x3b0).
const RESTRICTED_INJECTION: u64 = 1 << 3;
const SECURE_TSC: u64 = 1 << 9;

/// The checks so far.
#[derive(Default)]
struct Judge {
    skipped: Vec<String>,
}

/// Holds `claims`, made from a report under `chain`, to `policy`, and fills in what was skipped.
pub(crate) fn check_report(
    policy: &Policy,
    chain: &CachedChain,
    now: u64,
    claims: &mut SnpClaims,
) -> Result<(), Refusal> {
    let mut judge = Judge::default();
    if let Root::Simulated { key_sha256 } = &chain.root
        && !accepts_simulated(policy, key_sha256)
    {
        return Err(Refusal::SimulatedRoot { key_sha256: key_sha256.clone() });
    }
    let snp = policy.snp.as_ref().ok_or_else(|| no_section("snp"))?;
    judge.times(snp, chain, now)?;
    judge.origin(snp, claims)?;
    judge.identity(snp, claims)?;
    judge.report_data("snp.report_data", &snp.report_data, policy, &claims.report_data)?;
    judge.firmware(snp, claims)?;
    judge.guest_policy(&snp.guest_policy, claims)?;
    judge.platform_info(&snp.platform_info, claims)?;
    judge.save_area(snp, claims)?;
    judge.min_tcb(snp, claims)?;
    claims.skipped = judge.skipped;
    Ok(())
}

/// Holds `claims`, made from a token, to `policy`, and fills in what was skipped.
pub(crate) fn check_token(policy: &Policy, claims: &mut OpteeClaims) -> Result<(), Refusal> {
    let mut judge = Judge::default();
    if let Some(key_sha256) = &claims.insecure.simulated_root
        && !accepts_simulated(policy, key_sha256)
    {
        return Err(Refusal::SimulatedDevice { key_sha256: key_sha256.clone() });
    }
    let optee = policy.optee.as_ref().ok_or_else(|| no_section("optee"))?;
    judge.hold("optee.ta_uuids", &optee.ta_uuids, &claims.ta_uuid)?;
    judge.hold("optee.min_ta_version", &optee.min_ta_version, &claims.ta_version)?;
    judge.hold("optee.package_digests", &optee.package_digests, &claims.package_digest)?;
    let memory = claims.memory_hash.as_ref();
    judge.hold_some("optee.memory_hashes", &optee.memory_hashes, memory)?;
    judge.hold("optee.identity_key_ids", &optee.identity_key_ids, &claims.identity_key_id)?;
    judge.report_data("optee.report_data", &optee.report_data, policy, &claims.report_data)?;
    claims.skipped = judge.skipped;
    Ok(())
}

/// Whether the policy says of this root, or device, in so many words that it may be simulated.
fn accepts_simulated(policy: &Policy, key_sha256: &str) -> bool {
    match &policy.insecure_accept_simulated_roots {
        SimulatedRoots::None => false,
        SimulatedRoots::Listed(keys) => keys.iter().any(|key| key.to_string() == key_sha256),
        SimulatedRoots::Any => true,
    }
}

/// The policy has nothing to say about this kind of evidence: it accepts none of it.
fn no_section(table: &str) -> Refusal {
    refusal(table, &"evidence that the policy has a table for", &format!("evidence for [{table}]"))
}

fn refusal(key: &str, expected: &dyn fmt::Display, found: &dyn fmt::Display) -> Refusal {
    let (expected, found) = (expected.to_string(), found.to_string());
    Refusal::Policy { key: key.to_owned(), expected, found }
}

impl Judge {
    /// One check: `found` against `rule`.
    fn hold<D>(&mut self, key: &str, rule: &Rule<D>, found: &D::Value) -> Result<(), Refusal>
    where
        D: Demand,
        D::Value: fmt::Display,
    {
        self.hold_some(key, rule, Some(found))
    }

    /// The same where there may be nothing to look at, which only a skipped check accepts.
    fn hold_some<D>(
        &mut self,
        key: &str,
        rule: &Rule<D>,
        found: Option<&D::Value>,
    ) -> Result<(), Refusal>
    where
        D: Demand,
        D::Value: fmt::Display,
    {
        match (rule, found) {
            (Rule::Skip, _) => {
                self.skipped.push(key.to_owned());
                Ok(())
            }
            (Rule::Require(demand), Some(found)) if demand.accepts(found) => Ok(()),
            (Rule::Require(demand), Some(found)) => Err(refusal(key, demand, &found)),
            (Rule::Require(demand), None) => Err(refusal(key, demand, &"nothing")),
        }
    }

    fn times(&mut self, snp: &SnpPolicy, chain: &CachedChain, now: u64) -> Result<(), Refusal> {
        let key = "snp.max_chain_age_s";
        self.age(key, &snp.max_chain_age_s, Some(chain.checked_at), now)?;
        let key = "snp.max_revocation_list_age_s";
        let rule = &snp.max_revocation_list_age_s;
        self.age(key, rule, chain.revocation_list.map(|times| times.this_update), now)?;
        let next = chain.revocation_list.and_then(|times| times.next_update);
        match (rule, next) {
            (Rule::Require(_), Some(next)) if next < now => {
                Err(refusal(key, &format!("a list valid at {now}"), &format!("valid to {next}")))
            }
            (Rule::Require(_) | Rule::Skip, _) => Ok(()),
        }
    }

    /// An age in seconds. What was made after `now` has none.
    fn age(
        &mut self,
        key: &str,
        rule: &Rule<AtMost<u64>>,
        since: Option<u64>,
        now: u64,
    ) -> Result<(), Refusal> {
        match (rule, since) {
            (Rule::Require(_), Some(since)) if since > now => {
                Err(refusal(key, &format!("made before {now}"), &format!("made at {since}")))
            }
            (Rule::Require(_) | Rule::Skip, _) => {
                let age = since.map(|since| now.saturating_sub(since));
                self.hold_some(key, rule, age.as_ref())
            }
        }
    }

    /// Where the report comes from.
    fn origin(&mut self, snp: &SnpPolicy, claims: &SnpClaims) -> Result<(), Refusal> {
        self.hold("snp.report_versions", &snp.report_versions, &claims.report_version)?;
        self.hold("snp.product_lines", &snp.product_lines, &claims.product_line)?;
        self.hold("snp.signing_keys", &snp.signing_keys, &claims.signing_key)?;
        let chip = claims.chip_id.map(ChipId);
        self.hold_some("snp.chip_ids", &snp.chip_ids, chip.as_ref())?;
        // A chip's own key has no provider to speak of.
        match (&claims.provider, &snp.providers) {
            (None, Rule::Require(_)) => Ok(()),
            (provider, rule) => self.hold_some("snp.providers", rule, provider.as_ref()),
        }
    }

    /// What was launched.
    fn identity(&mut self, snp: &SnpPolicy, claims: &SnpClaims) -> Result<(), Refusal> {
        self.hold("snp.measurements", &snp.measurements, &claims.measurement)?;
        self.hold("snp.host_data", &snp.host_data, &claims.host_data)?;
        self.hold("snp.id_key_digests", &snp.id_key_digests, &claims.id_key_digest)?;
        self.hold("snp.author_key_digests", &snp.author_key_digests, &claims.author_key_digest)?;
        self.hold("snp.family_ids", &snp.family_ids, &claims.family_id)?;
        self.hold("snp.image_ids", &snp.image_ids, &claims.image_id)?;
        self.hold("snp.min_guest_svn", &snp.min_guest_svn, &claims.guest_svn)?;
        self.hold("snp.vmpls", &snp.vmpls, &claims.vmpl)
    }

    fn report_data(
        &mut self,
        key: &str,
        rule: &Rule<ReportData>,
        policy: &Policy,
        found: &Hex<64>,
    ) -> Result<(), Refusal> {
        let expected = match rule {
            Rule::Skip => {
                self.skipped.push(key.to_owned());
                return Ok(());
            }
            Rule::Require(ReportData::Fixed(expected)) => Some(*expected),
            Rule::Require(ReportData::Given) => policy.given_report_data,
        };
        match expected {
            Some(expected) if expected == *found => Ok(()),
            Some(expected) => Err(refusal(key, &expected, found)),
            None => Err(refusal(key, &"report data given to the verifier", &"none given")),
        }
    }

    fn firmware(&mut self, snp: &SnpPolicy, claims: &SnpClaims) -> Result<(), Refusal> {
        // The committed version is the one the host cannot go back behind.
        self.hold("snp.min_firmware", &snp.min_firmware, &claims.committed_firmware)?;
        let provisional = claims.insecure.provisional_firmware;
        self.hold("snp.provisional_firmware", &snp.provisional_firmware, &provisional)?;
        let launch = claims.launch_mitigations.as_ref();
        self.hold_some("snp.launch_mitigations", &snp.launch_mitigations, launch)?;
        let current = claims.current_mitigations.as_ref();
        self.hold_some("snp.current_mitigations", &snp.current_mitigations, current)
    }

    fn guest_policy(
        &mut self,
        rules: &GuestPolicyRules,
        claims: &SnpClaims,
    ) -> Result<(), Refusal> {
        let found = &claims.guest_policy;
        self.hold("snp.guest_policy.min_abi", &rules.min_abi, &found.min_abi)?;
        self.hold("snp.guest_policy.debug", &rules.debug, &found.debug)?;
        let key = "snp.guest_policy.migration_agent";
        self.hold(key, &rules.migration_agent, &found.migration_agent)?;
        let bits = [
            ("smt", &rules.smt, found.smt),
            ("single_socket", &rules.single_socket, found.single_socket),
            ("cxl", &rules.cxl, found.cxl),
            ("aes_256_xts", &rules.aes_256_xts, found.aes_256_xts),
            ("rapl_disabled", &rules.rapl_disabled, found.rapl_disabled),
            ("ciphertext_hiding", &rules.ciphertext_hiding, found.ciphertext_hiding),
            ("page_swap_disabled", &rules.page_swap_disabled, found.page_swap_disabled),
        ];
        self.bits("snp.guest_policy", &bits)
    }

    fn platform_info(
        &mut self,
        rules: &PlatformInfoRules,
        claims: &SnpClaims,
    ) -> Result<(), Refusal> {
        let found = &claims.platform_info;
        let bits = [
            ("smt", &rules.smt, found.smt),
            ("tsme", &rules.tsme, found.tsme),
            ("ecc", &rules.ecc, found.ecc),
            ("rapl_disabled", &rules.rapl_disabled, found.rapl_disabled),
            ("ciphertext_hiding", &rules.ciphertext_hiding, found.ciphertext_hiding),
            ("alias_check", &rules.alias_check, found.alias_check),
            ("trusted_io", &rules.trusted_io, found.trusted_io),
        ];
        self.bits("snp.platform_info", &bits)?;
        let unknown = found.unknown_bits != 0;
        self.hold("snp.platform_info.unknown_bits", &rules.unknown_bits, &unknown)
    }

    /// What the report has no field for: the measurement covers it, and the policy says how.
    fn save_area(&mut self, snp: &SnpPolicy, claims: &mut SnpClaims) -> Result<(), Refusal> {
        claims.sev_features = match &snp.measurements {
            Rule::Skip => None,
            Rule::Require(known) => known.sev_features(&claims.measurement),
        };
        let bit = |bit: u64| claims.sev_features.map(|features| features & bit != 0);
        let (secure_tsc, restricted) = (bit(SECURE_TSC), bit(RESTRICTED_INJECTION));
        let rules = &snp.save_area;
        self.hold_some("snp.save_area.secure_tsc", &rules.secure_tsc, secure_tsc.as_ref())?;
        let key = "snp.save_area.restricted_injection";
        self.hold_some(key, &rules.restricted_injection, restricted.as_ref())
    }

    fn bits(&mut self, table: &str, bits: &[(&str, &Rule<bool>, bool)]) -> Result<(), Refusal> {
        for (name, rule, found) in bits {
            self.hold(&format!("{table}.{name}"), rule, found)?;
        }
        Ok(())
    }

    fn min_tcb(&mut self, snp: &SnpPolicy, claims: &SnpClaims) -> Result<(), Refusal> {
        let Rule::Require(min_tcb) = &snp.min_tcb else {
            self.skipped.push("snp.min_tcb".to_owned());
            return Ok(());
        };
        let table = format!("snp.min_tcb.{}", claims.product_line);
        let Some(minimums) = min_tcb.of(claims.product_line) else {
            return Err(refusal(&table, &"minimums of the product line", &"none"));
        };
        self.line_minimums(&table, minimums, claims)
    }

    fn line_minimums(
        &mut self,
        table: &str,
        minimums: &LineMinimums,
        claims: &SnpClaims,
    ) -> Result<(), Refusal> {
        for (name, rule) in minimums.named() {
            let key = format!("{table}.{name}");
            match rule {
                Rule::Skip => self.skipped.push(key),
                Rule::Require(minimum) => self.parts(&key, minimum, claims.tcb.named(name))?,
            }
        }
        Ok(())
    }

    fn parts(&mut self, key: &str, minimum: &TcbMinimum, found: TcbParts) -> Result<(), Refusal> {
        if let Some(rule) = &minimum.fmc {
            self.hold_some(&format!("{key}.fmc"), rule, found.fmc.as_ref())?;
        }
        self.hold(&format!("{key}.boot_loader"), &minimum.boot_loader, &found.boot_loader)?;
        self.hold(&format!("{key}.tee"), &minimum.tee, &found.tee)?;
        self.hold(&format!("{key}.snp"), &minimum.snp, &found.snp)?;
        self.hold(&format!("{key}.microcode"), &minimum.microcode, &found.microcode)
    }
}
