// SPDX-License-Identifier: MIT
//! What is known of an enclave after its evidence was believed.

use crate::rule::{Hex, Version};
use crate::{CachedChain, Enrolment, KeyKind, Platform, ProductLine, Root};
use serde::Serialize;
use strongroom_evidence::{Extension, GuestPolicy, PlatformInfo, Report, TcbVersion, Vmpl};
use strongroom_token::{DIGEST_LEN, Statement, Token};
use uuid::Uuid;

/// Facts that evidence proves, and all that is weak about it.
///
/// As JSON one object, with the member `tee`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "tee")]
pub enum Claims {
    /// Of a guest of AMD SEV-SNP.
    #[serde(rename = "amd-sev-snp")]
    Snp(Box<SnpClaims>),
    /// Of a trusted application of OP-TEE.
    #[serde(rename = "op-tee")]
    Optee(Box<OpteeClaims>),
}

/// What a report proves.
///
/// `insecure` comes first on purpose: a reader who stops early has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnpClaims {
    /// What takes the worth out of the rest.
    pub insecure: Insecure,
    /// Keys of the policy whose checks were dropped.
    pub skipped: Vec<String>,
    /// Product line.
    pub product_line: ProductLine,
    /// The kind of key that signed.
    pub signing_key: KeyKind,
    /// The chip; absent when a VLEK signed, which proves none.
    pub chip_id: Option<Hex<64>>,
    /// The provider whose VLEK signed.
    pub provider: Option<String>,
    /// Version of the report.
    pub report_version: u32,
    /// Launch digest.
    pub measurement: Hex<48>,
    /// What the guest put into the report.
    pub report_data: Hex<64>,
    /// What the host put into the launch.
    pub host_data: Hex<32>,
    /// Digest of the identity key; zero without one.
    pub id_key_digest: Hex<48>,
    /// Digest of the author key; zero without one.
    pub author_key_digest: Hex<48>,
    /// Family of the image.
    pub family_id: Hex<16>,
    /// The image.
    pub image_id: Hex<16>,
    /// The guest's security version.
    pub guest_svn: u32,
    /// Privilege level of the part of the guest that asked.
    pub vmpl: u8,
    /// Identity of this launch.
    pub report_id: Hex<32>,
    /// What the host may do.
    pub guest_policy: GuestPolicyClaims,
    /// What the platform has switched on.
    pub platform_info: PlatformInfoClaims,
    /// `SEV_FEATURES` of the save area, as the policy describes this measurement. A report has
    /// no field for them; absent where the policy says nothing.
    pub sev_features: Option<u64>,
    /// Versions of the trusted computing base.
    pub tcb: TcbClaims,
    /// SNP firmware that runs.
    pub current_firmware: Version<3>,
    /// SNP firmware that was committed.
    pub committed_firmware: Version<3>,
    /// Mitigation vector at launch, in reports from version 5.
    pub launch_mitigations: Option<u64>,
    /// Mitigation vector now, in reports from version 5.
    pub current_mitigations: Option<u64>,
    /// Seconds since 1970: when the revocation list was made. Absent when there was none.
    pub revocation_list_update: Option<u64>,
}

/// What a token proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpteeClaims {
    /// What takes the worth out of the rest.
    pub insecure: Insecure,
    /// Keys of the policy whose checks were dropped.
    pub skipped: Vec<String>,
    /// UUID of the trusted application.
    pub ta_uuid: Uuid,
    /// Its version, which OP-TEE keeps from going back where it has a store for that.
    pub ta_version: u32,
    /// What the application says it was packed from. Its identity key vouches for that: of whoever
    /// may sign applications with this UUID for this device.
    pub package_digest: Hex<32>,
    /// SHA-256 of all read-only memory of the application, as the attestation PTA found it. Absent
    /// where the device has no such PTA, or none was enrolled.
    pub memory_hash: Option<Hex<32>>,
    /// What the application put into the token.
    pub report_data: Hex<64>,
    /// SHA-256 of the identity key, which names device and application.
    pub identity_key_id: Hex<32>,
    /// What the identity key belongs to. Not to a version: an older one has the same key, so pin the
    /// least version. Not to the digest of the code.
    pub identity_of: &'static [&'static str],
    /// Whether the kernel is out of the program's reach. It is not: in a trusted application the two are
    /// one domain, and the program can say whatever the kernel can.
    pub kernel_isolated: bool,
}

/// Each of these, when it is set, lets somebody else in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Insecure {
    /// Nobody vouches for the key at the root of the evidence: it is not AMD's, or of a device that
    /// was enrolled as simulated. The key's SHA-256.
    pub simulated_root: Option<String>,
    /// The host may read and write the guest's memory.
    pub debug: bool,
    /// A migration agent may hold the guest's secrets.
    pub migration_agent: bool,
    /// The firmware that runs is not committed: the host can go back to an older one.
    pub provisional_firmware: bool,
    /// Nobody looked whether the issuer was revoked.
    pub revocation_unchecked: bool,
}

/// The guest policy, bit by bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuestPolicyClaims {
    /// The lowest firmware interface the guest may run on.
    pub min_abi: Version<2>,
    /// Debugging is allowed.
    pub debug: bool,
    /// A migration agent is allowed.
    pub migration_agent: bool,
    /// Simultaneous multithreading is allowed.
    pub smt: bool,
    /// One socket only.
    pub single_socket: bool,
    /// CXL is allowed.
    pub cxl: bool,
    /// AES-256-XTS is required.
    pub aes_256_xts: bool,
    /// RAPL has to be disabled.
    pub rapl_disabled: bool,
    /// Ciphertext hiding is required.
    pub ciphertext_hiding: bool,
    /// Page moves and swaps are disabled.
    pub page_swap_disabled: bool,
}

/// The platform information, bit by bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlatformInfoClaims {
    /// Simultaneous multithreading is enabled.
    pub smt: bool,
    /// Transparent memory encryption is enabled.
    pub tsme: bool,
    /// Memory corrects errors.
    pub ecc: bool,
    /// RAPL is disabled.
    pub rapl_disabled: bool,
    /// Ciphertext hiding is enabled.
    pub ciphertext_hiding: bool,
    /// The search for aliasing addresses completed and found none.
    pub alias_check: bool,
    /// Trusted I/O is enabled.
    pub trusted_io: bool,
    /// Set bits that have no meaning here.
    pub unknown_bits: u64,
}

/// The four versions that a report names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TcbClaims {
    /// What runs.
    pub current: TcbParts,
    /// What the platform cannot go back behind.
    pub committed: TcbParts,
    /// What ran when the guest was launched.
    pub launch: TcbParts,
    /// What the signing key was derived for.
    pub reported: TcbParts,
}

/// Security versions of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TcbParts {
    /// First mutable code, on Turin.
    pub fmc: Option<u8>,
    /// Boot loader.
    pub boot_loader: u8,
    /// Operating system of the security processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

/// What the identity key of a trusted application is derived from, or can be had by.
const IDENTITY_OF: &[&str] = &["device", "ta_uuid", "ta_signer"];

impl Claims {
    /// What takes the worth out of the rest.
    #[must_use]
    pub const fn insecure(&self) -> &Insecure {
        match self {
            Self::Snp(claims) => &claims.insecure,
            Self::Optee(claims) => &claims.insecure,
        }
    }

    /// Keys of the policy whose checks were dropped.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        match self {
            Self::Snp(claims) => &claims.skipped,
            Self::Optee(claims) => &claims.skipped,
        }
    }

    /// What a report of SEV-SNP proves, if that was the evidence.
    #[must_use]
    pub const fn snp(&self) -> Option<&SnpClaims> {
        match self {
            Self::Snp(claims) => Some(claims),
            Self::Optee(_) => None,
        }
    }

    /// What a token of OP-TEE proves, if that was the evidence.
    #[must_use]
    pub const fn optee(&self) -> Option<&OpteeClaims> {
        match self {
            Self::Optee(claims) => Some(claims),
            Self::Snp(_) => None,
        }
    }
}

impl From<SnpClaims> for Claims {
    fn from(claims: SnpClaims) -> Self {
        Self::Snp(Box::new(claims))
    }
}

impl From<OpteeClaims> for Claims {
    fn from(claims: OpteeClaims) -> Self {
        Self::Optee(Box::new(claims))
    }
}

impl OpteeClaims {
    /// The facts of a token whose signatures were checked. `memory_hash` is what the enrolled device has
    /// signed.
    pub(crate) fn of(
        statement: &Statement,
        memory_hash: Option<[u8; DIGEST_LEN]>,
        enrolment: &Enrolment,
    ) -> Self {
        let key_id = Hex(Token::key_id(&statement.identity_key));
        Self {
            insecure: Insecure::of_platform(enrolment.platform, &key_id),
            skipped: Vec::new(),
            ta_uuid: Uuid::from_bytes(statement.ta_uuid),
            ta_version: statement.ta_version,
            package_digest: Hex(statement.package_digest),
            memory_hash: memory_hash.map(Hex),
            report_data: Hex(statement.nonce),
            identity_key_id: key_id,
            identity_of: IDENTITY_OF,
            kernel_isolated: false,
        }
    }
}

impl SnpClaims {
    /// The facts of a report whose signature was checked under `chain`. Not yet what the policy
    /// has to say to it.
    pub(crate) fn of(report: &Report, vmpl: u8, tcb: TcbClaims, chain: &CachedChain) -> Self {
        let (launch_mitigations, current_mitigations) = match report.extension {
            Extension::V2 | Extension::V3 { .. } => (None, None),
            Extension::V5 { launch_mitigations, current_mitigations, .. } => {
                (Some(launch_mitigations), Some(current_mitigations))
            }
        };
        Self {
            insecure: Insecure::of(report, chain),
            skipped: Vec::new(),
            product_line: chain.line,
            signing_key: chain.kind,
            chip_id: match chain.kind {
                KeyKind::Vcek => Some(Hex(report.chip_id)),
                KeyKind::Vlek => None,
            },
            provider: chain.facts.provider.clone(),
            report_version: report.extension.version(),
            measurement: Hex(report.measurement),
            report_data: Hex(report.report_data),
            host_data: Hex(report.host_data),
            id_key_digest: Hex(report.id_key_digest),
            author_key_digest: Hex(report.author_key_digest),
            family_id: Hex(report.family_id),
            image_id: Hex(report.image_id),
            guest_svn: report.guest_svn,
            vmpl,
            report_id: Hex(report.report_id),
            guest_policy: GuestPolicyClaims::of(report.policy),
            platform_info: PlatformInfoClaims::of(report.platform_info),
            sev_features: None,
            tcb,
            current_firmware: report.current_version.into(),
            committed_firmware: report.committed_version.into(),
            launch_mitigations,
            current_mitigations,
            revocation_list_update: chain.revocation_list.map(|times| times.this_update),
        }
    }
}

impl Insecure {
    /// A trusted application has no debug mode that it would know of, no migration, and no list of
    /// revoked keys: who takes a key out of the policy has revoked it.
    fn of_platform(platform: Platform, key_id: &Hex<32>) -> Self {
        Self {
            simulated_root: match platform {
                Platform::Device => None,
                Platform::Simulated => Some(key_id.to_string()),
            },
            debug: false,
            migration_agent: false,
            provisional_firmware: false,
            revocation_unchecked: false,
        }
    }

    fn of(report: &Report, chain: &CachedChain) -> Self {
        Self {
            simulated_root: match &chain.root {
                Root::Amd => None,
                Root::Simulated { key_sha256 } => Some(key_sha256.clone()),
            },
            debug: report.policy.has(GuestPolicy::DEBUG),
            migration_agent: report.policy.has(GuestPolicy::MIGRATE_MA),
            provisional_firmware: report.current_tcb != report.committed_tcb
                || report.current_version != report.committed_version,
            revocation_unchecked: chain.revocation_list.is_none(),
        }
    }

    /// Whether any of them is set.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.simulated_root.is_some()
            || self.debug
            || self.migration_agent
            || self.provisional_firmware
            || self.revocation_unchecked
    }
}

impl GuestPolicyClaims {
    fn of(policy: GuestPolicy) -> Self {
        let (major, minor) = policy.abi_min();
        Self {
            min_abi: Version([major, minor]),
            debug: policy.has(GuestPolicy::DEBUG),
            migration_agent: policy.has(GuestPolicy::MIGRATE_MA),
            smt: policy.has(GuestPolicy::SMT),
            single_socket: policy.has(GuestPolicy::SINGLE_SOCKET),
            cxl: policy.has(GuestPolicy::CXL_ALLOW),
            aes_256_xts: policy.has(GuestPolicy::MEM_AES_256_XTS),
            rapl_disabled: policy.has(GuestPolicy::RAPL_DIS),
            ciphertext_hiding: policy.has(GuestPolicy::CIPHERTEXT_HIDING),
            page_swap_disabled: policy.has(GuestPolicy::PAGE_SWAP_DISABLE),
        }
    }
}

impl PlatformInfoClaims {
    fn of(info: PlatformInfo) -> Self {
        Self {
            smt: info.has(PlatformInfo::SMT),
            tsme: info.has(PlatformInfo::TSME),
            ecc: info.has(PlatformInfo::ECC),
            rapl_disabled: info.has(PlatformInfo::RAPL_DIS),
            ciphertext_hiding: info.has(PlatformInfo::CIPHERTEXT_HIDING),
            alias_check: info.has(PlatformInfo::ALIAS_CHECK),
            trusted_io: info.has(PlatformInfo::TIO),
            unknown_bits: info.unknown(),
        }
    }
}

impl From<TcbVersion> for TcbParts {
    fn from(version: TcbVersion) -> Self {
        let TcbVersion { fmc, boot_loader, tee, snp, microcode } = version;
        Self { fmc, boot_loader, tee, snp, microcode }
    }
}

impl TcbClaims {
    /// By the names of the policy's tables.
    pub(crate) fn named(&self, name: &str) -> TcbParts {
        match name {
            "current" => self.current,
            "committed" => self.committed,
            "launch" => self.launch,
            _ => self.reported,
        }
    }
}

/// The level of a guest's request; none for the host's.
pub(crate) const fn guest_level(vmpl: Vmpl) -> Option<u8> {
    match vmpl {
        Vmpl::Guest(level) => Some(level),
        Vmpl::Host => None,
    }
}
