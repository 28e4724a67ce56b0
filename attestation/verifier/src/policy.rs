// SPDX-License-Identifier: MIT
//! What somebody asks of evidence before believing it, as a TOML file says it.
//!
//! Every check has a key, every key is mandatory, and `"skip"` drops its check. The reference of
//! all keys is `docs/attestation.md`.

use crate::rule::{
    AtLeast, AtMost, Bits, ChipId, Hex, Measurements, OneOf, Refused, Rule, Version,
};
use crate::{KeyKind, PolicyError, ProductLine};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

/// The version of the policy language that this crate speaks.
pub const POLICY_VERSION: i64 = 1;

/// A policy, complete.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(default)]
    pub(crate) insecure_accept_simulated_roots: SimulatedRoots,
    pub(crate) snp: Option<SnpPolicy>,
    pub(crate) optee: Option<OpteePolicy>,
    #[serde(skip)]
    pub(crate) given_report_data: Option<Hex<64>>,
}

/// Roots other than AMD's to accept. The one key that may be left out: that accepts none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum SimulatedRoots {
    /// None.
    #[default]
    None,
    /// Those whose keys have one of these digests, SHA-256, hexadecimal.
    Listed(Vec<Hex<32>>),
    /// All.
    Any,
}

/// The checks of AMD SEV-SNP's reports.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnpPolicy {
    pub(crate) report_versions: Rule<OneOf<u32>>,
    pub(crate) product_lines: Rule<OneOf<ProductLine>>,
    pub(crate) signing_keys: Rule<OneOf<KeyKind>>,
    pub(crate) chip_ids: Rule<OneOf<ChipId>>,
    pub(crate) providers: Rule<OneOf<String>>,
    pub(crate) measurements: Rule<Measurements>,
    pub(crate) host_data: Rule<OneOf<Hex<32>>>,
    pub(crate) id_key_digests: Rule<OneOf<Hex<48>>>,
    pub(crate) author_key_digests: Rule<OneOf<Hex<48>>>,
    pub(crate) family_ids: Rule<OneOf<Hex<16>>>,
    pub(crate) image_ids: Rule<OneOf<Hex<16>>>,
    pub(crate) min_guest_svn: Rule<AtLeast<u32>>,
    pub(crate) vmpls: Rule<OneOf<u8>>,
    pub(crate) report_data: Rule<ReportData>,
    pub(crate) min_firmware: Rule<AtLeast<Version<3>>>,
    pub(crate) provisional_firmware: Rule<Refused>,
    pub(crate) launch_mitigations: Rule<Bits>,
    pub(crate) current_mitigations: Rule<Bits>,
    pub(crate) max_revocation_list_age_s: Rule<AtMost<u64>>,
    pub(crate) max_chain_age_s: Rule<AtMost<u64>>,
    pub(crate) guest_policy: GuestPolicyRules,
    pub(crate) platform_info: PlatformInfoRules,
    pub(crate) save_area: SaveAreaRules,
    pub(crate) min_tcb: Rule<MinTcb>,
}

/// The checks of tokens of trusted applications.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpteePolicy {
    pub(crate) ta_uuids: Rule<OneOf<Uuid>>,
    pub(crate) min_ta_version: Rule<AtLeast<u32>>,
    pub(crate) package_digests: Rule<OneOf<Hex<32>>>,
    pub(crate) memory_hashes: Rule<OneOf<Hex<32>>>,
    pub(crate) identity_key_ids: Rule<OneOf<Hex<32>>>,
    pub(crate) report_data: Rule<ReportData>,
}

/// The check of the report data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportData {
    /// `"given"`: what [`Policy::with_report_data`] was told.
    Given,
    /// These bytes.
    Fixed(Hex<64>),
}

/// For each bit of the guest policy: how it has to be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuestPolicyRules {
    pub(crate) min_abi: Rule<AtLeast<Version<2>>>,
    pub(crate) debug: Rule<Refused>,
    pub(crate) migration_agent: Rule<Refused>,
    pub(crate) smt: Rule<bool>,
    pub(crate) single_socket: Rule<bool>,
    pub(crate) cxl: Rule<bool>,
    pub(crate) aes_256_xts: Rule<bool>,
    pub(crate) rapl_disabled: Rule<bool>,
    pub(crate) ciphertext_hiding: Rule<bool>,
    pub(crate) page_swap_disabled: Rule<bool>,
}

/// For each bit of the platform information: how it has to be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlatformInfoRules {
    pub(crate) smt: Rule<bool>,
    pub(crate) tsme: Rule<bool>,
    pub(crate) ecc: Rule<bool>,
    pub(crate) rapl_disabled: Rule<bool>,
    pub(crate) ciphertext_hiding: Rule<bool>,
    pub(crate) alias_check: Rule<bool>,
    pub(crate) trusted_io: Rule<bool>,
    pub(crate) unknown_bits: Rule<Refused>,
}

/// For features that are in the measured save area of a processor: how they have to be. The
/// policy's own entry for the measurement says how they are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SaveAreaRules {
    pub(crate) secure_tsc: Rule<bool>,
    pub(crate) restricted_injection: Rule<bool>,
}

/// Minimums by product line: the numbers of different lines have nothing to do with each other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MinTcb {
    #[serde(rename = "Milan")]
    milan: Option<LineMinimums>,
    #[serde(rename = "Genoa")]
    genoa: Option<LineMinimums>,
    #[serde(rename = "Turin")]
    turin: Option<LineMinimums>,
}

/// Minimums of the four versions that a report names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineMinimums {
    pub(crate) current: Rule<TcbMinimum>,
    pub(crate) committed: Rule<TcbMinimum>,
    pub(crate) launch: Rule<TcbMinimum>,
    pub(crate) reported: Rule<TcbMinimum>,
}

/// Minimums of the parts. `fmc` is for Turin, and mandatory there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcbMinimum {
    pub(crate) fmc: Option<Rule<AtLeast<u8>>>,
    pub(crate) boot_loader: Rule<AtLeast<u8>>,
    pub(crate) tee: Rule<AtLeast<u8>>,
    pub(crate) snp: Rule<AtLeast<u8>>,
    pub(crate) microcode: Rule<AtLeast<u8>>,
}

impl Policy {
    /// Reads a policy from TOML.
    ///
    /// # Errors
    /// [`PolicyError`], which names place and key: it is missing, not known, has no value of its
    /// kind, or an empty list. An empty text is no policy either.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let syntax = |error: toml::de::Error| PolicyError::syntax(text, &error);
        let table: toml::Table = text.parse().map_err(syntax)?;
        match table.get("version").map(toml::Value::as_integer) {
            Some(Some(POLICY_VERSION)) => {}
            None => return Err(PolicyError::whole("missing field `version`".to_owned())),
            Some(_) => {
                let message = format!("expected {POLICY_VERSION}, the version that is known");
                return Err(PolicyError::about(text, "version", message));
            }
        }
        let policy: Self = toml::from_str(text).map_err(syntax)?;
        let checked = match (&policy.snp, &policy.optee) {
            (Some(snp), _) => snp.check_minimums(),
            (None, Some(_)) => Ok(()),
            (None, None) => {
                return Err(PolicyError::whole("missing field `snp`, or `optee`".to_owned()));
            }
        };
        match checked {
            Ok(()) => Ok(policy),
            Err((key, message)) => Err(PolicyError::about(text, &key, message)),
        }
    }

    /// Whether the policy compares the report data of SEV-SNP's reports with what
    /// [`Policy::with_report_data`] is told.
    #[must_use]
    pub fn wants_report_data(&self) -> bool {
        self.snp.as_ref().is_some_and(|snp| snp.report_data == Rule::Require(ReportData::Given))
    }

    /// The same for tokens of trusted applications.
    #[must_use]
    pub fn wants_token_data(&self) -> bool {
        let given = Rule::Require(ReportData::Given);
        self.optee.as_ref().is_some_and(|optee| optee.report_data == given)
    }

    /// The policy with the report data that `report_data = "given"` asks for: the caller's
    /// nonce, or a digest that has the nonce in it.
    #[must_use]
    pub fn with_report_data(mut self, report_data: [u8; 64]) -> Self {
        self.given_report_data = Some(Hex(report_data));
        self
    }

    /// The policy with every root and device accepted. Evidence below a root that is not AMD's, or of a
    /// simulated device, proves nothing; this is for simulations, and the claims show it.
    #[must_use]
    pub fn insecure_accept_any_simulated_root(mut self) -> Self {
        self.insecure_accept_simulated_roots = SimulatedRoots::Any;
        self
    }
}

/// A key and what is wrong with its value.
type Problem = (String, String);

impl SnpPolicy {
    /// Checks that each accepted line has minimums, and that their parts are the line's.
    fn check_minimums(&self) -> Result<(), Problem> {
        let Rule::Require(min_tcb) = &self.min_tcb else { return Ok(()) };
        for line in ProductLine::ALL {
            let accepted = match &self.product_lines {
                Rule::Skip => true,
                Rule::Require(lines) => lines.values().contains(&line),
            };
            match min_tcb.of(line) {
                Some(minimums) => minimums.check(line)?,
                None if accepted => {
                    return Err(("snp.min_tcb".to_owned(), format!("missing field `{line}`")));
                }
                None => {}
            }
        }
        Ok(())
    }
}

impl MinTcb {
    pub(crate) const fn of(&self, line: ProductLine) -> Option<&LineMinimums> {
        match line {
            ProductLine::Milan => self.milan.as_ref(),
            ProductLine::Genoa => self.genoa.as_ref(),
            ProductLine::Turin => self.turin.as_ref(),
        }
    }
}

impl LineMinimums {
    pub(crate) const fn named(&self) -> [(&'static str, &Rule<TcbMinimum>); 4] {
        [
            ("current", &self.current),
            ("committed", &self.committed),
            ("launch", &self.launch),
            ("reported", &self.reported),
        ]
    }

    fn check(&self, line: ProductLine) -> Result<(), Problem> {
        for (name, rule) in self.named() {
            let Rule::Require(minimum) = rule else { continue };
            let table = format!("snp.min_tcb.{line}.{name}");
            match (line, &minimum.fmc) {
                (ProductLine::Turin, None) => {
                    return Err((table, "missing field `fmc`".to_owned()));
                }
                (ProductLine::Milan | ProductLine::Genoa, Some(_)) => {
                    return Err((table, "unknown field `fmc`: Turin has it".to_owned()));
                }
                (ProductLine::Turin, Some(_)) | (ProductLine::Milan | ProductLine::Genoa, None) => {
                }
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for SimulatedRoots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        if value.as_str() == Some("any") {
            return Ok(Self::Any);
        }
        let listed = Vec::deserialize(value).map(Self::Listed);
        listed.map_err(|_| D::Error::custom("expected \"any\" or a list of SHA-256 digests"))
    }
}

impl<'de> Deserialize<'de> for ReportData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "given" {
            return Ok(Self::Given);
        }
        let fixed = text.parse().map(Self::Fixed);
        fixed.map_err(|error: String| D::Error::custom(format!("\"given\", or {error}")))
    }
}
