// SPDX-License-Identifier: MIT
//! A simulated machine to change one fact of, and a policy that it satisfies.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected is to fail"
)]

use crate::authority::{Authority, Chip, ChipFacts};
use std::sync::LazyLock;
use strongroom_evidence::{
    Cpu, Extension, FirmwareVersion, GuestPolicy, KeyInfo, PlatformInfo, Report, Signature,
    SigningKey, TcbVersion, Vmpl,
};

/// When the tests take place: within the validity of what the authority certifies.
pub const NOW: u64 = 1_800_000_000;

/// The policy with names for the long values.
const POLICY: &str = r#"
version = 1
insecure_accept_simulated_roots = "any"

[snp]
report_versions = [3, 5]
product_lines = ["Milan", "Turin"]
signing_keys = ["VCEK", "VLEK"]
chip_ids = ["MILAN_CHIP", "7777777777777777"]
providers = ["CN=provider.example"]
measurements = [{ digest = "MEASUREMENT", sev_features = 0x209 }]
host_data = ["0505050505050505050505050505050505050505050505050505050505050505"]
id_key_digests = ["ID_KEY"]
author_key_digests = ["AUTHOR_KEY"]
family_ids = ["01010101010101010101010101010101"]
image_ids = ["02020202020202020202020202020202"]
min_guest_svn = 7
vmpls = [0, 3]
report_data = "given"
min_firmware = "1.55.29"
provisional_firmware = false
launch_mitigations = 1
current_mitigations = 3
max_revocation_list_age_s = 86400
max_chain_age_s = 3600

[snp.guest_policy]
min_abi = "1.55"
debug = false
migration_agent = false
smt = true
single_socket = true
cxl = false
aes_256_xts = true
rapl_disabled = true
ciphertext_hiding = true
page_swap_disabled = true

[snp.platform_info]
smt = true
tsme = false
ecc = true
rapl_disabled = true
ciphertext_hiding = true
alias_check = true
trusted_io = false
unknown_bits = false

[snp.save_area]
secure_tsc = true
restricted_injection = true

[snp.min_tcb.Milan]
current = { boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
committed = { boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
launch = { boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
reported = { boot_loader = 4, tee = 1, snp = 24, microcode = 219 }

[snp.min_tcb.Turin]
current = { fmc = 1, boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
committed = { fmc = 1, boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
launch = { fmc = 1, boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
reported = { fmc = 1, boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
"#;

/// A strict policy that a [`Machine`] satisfies, as TOML.
#[must_use]
pub fn policy_text() -> String {
    POLICY
        .replace("MILAN_CHIP", &"0a".repeat(64))
        .replace("MEASUREMENT", &"04".repeat(48))
        .replace("ID_KEY", &"06".repeat(48))
        .replace("AUTHOR_KEY", &"07".repeat(48))
}

/// Authorities are made once: their keys take a while.
pub static MILAN: LazyLock<Authority> = LazyLock::new(|| Authority::generate("Milan").unwrap());
/// See [`struct@MILAN`].
pub static TURIN: LazyLock<Authority> = LazyLock::new(|| Authority::generate("Turin").unwrap());

/// A simulated chip with a guest on it.
#[derive(Debug)]
pub struct Machine {
    /// Who certifies the chip.
    pub authority: &'static Authority,
    /// The chip's key.
    pub chip: Chip,
    /// What the chip's certificate says.
    pub facts: ChipFacts,
    /// What its report says; unsigned.
    pub report: Report,
    /// The root's revocation list.
    pub revocation_list: Option<Vec<u8>>,
}

const CPU_MILAN: Cpu = Cpu { family: 0x19, model: 1, stepping: 1 };
const CPU_TURIN: Cpu = Cpu { family: 0x1a, model: 2, stepping: 1 };

impl Machine {
    /// A Milan whose guest satisfies [`POLICY`].
    #[must_use]
    pub fn milan() -> Self {
        let tcb = TcbVersion { fmc: None, boot_loader: 4, tee: 1, snp: 24, microcode: 219 };
        Self::new(&MILAN, CPU_MILAN, tcb, vec![10; 64])
    }

    /// The same on a Turin.
    #[must_use]
    pub fn turin() -> Self {
        let tcb = TcbVersion { fmc: Some(1), boot_loader: 4, tee: 1, snp: 24, microcode: 219 };
        Self::new(&TURIN, CPU_TURIN, tcb, vec![0x77; 8])
    }

    /// A Milan that signs with a provider's key. It satisfies [`POLICY`] but for the chip.
    #[must_use]
    pub fn milan_vlek() -> Self {
        let mut machine = Self::milan();
        machine.facts.chip_id = None;
        machine.facts.provider = Some("CN=provider.example".to_owned());
        machine.report.key_info.signing_key = SigningKey::Vlek;
        machine.report.chip_id = [0; 64];
        machine
    }

    fn new(authority: &'static Authority, cpu: Cpu, tcb: TcbVersion, chip_id: Vec<u8>) -> Self {
        let list =
            authority.root.revoke(&format!("ARK-{}", authority.line), &[], (NOW - 60, NOW + 60));
        Self {
            authority,
            chip: Chip::generate(),
            report: report(cpu, tcb, &chip_id),
            facts: ChipFacts {
                product: format!("{}-B0", authority.line),
                tcb,
                chip_id: Some(chip_id),
                provider: None,
            },
            revocation_list: Some(list.unwrap()),
        }
    }

    /// The certificate of the chip's key.
    #[must_use]
    pub fn report_key(&self) -> Vec<u8> {
        self.authority.certify_chip(&self.facts, &self.chip).unwrap()
    }

    /// The issuer's certificate.
    #[must_use]
    pub fn issuer(&self) -> &'static [u8] {
        match self.facts.provider {
            None => &self.authority.ask_certificate,
            Some(_) => &self.authority.asvk_certificate,
        }
    }
}

fn report(cpu: Cpu, tcb: TcbVersion, chip: &[u8]) -> Report {
    let mut chip_id = [0; 64];
    chip_id[..chip.len()].copy_from_slice(chip);
    let policy = 0x3_0137
        | GuestPolicy::SINGLE_SOCKET
        | GuestPolicy::MEM_AES_256_XTS
        | GuestPolicy::RAPL_DIS
        | GuestPolicy::CIPHERTEXT_HIDING
        | GuestPolicy::PAGE_SWAP_DISABLE;
    let firmware = FirmwareVersion { major: 1, minor: 55, build: 29 };
    Report {
        extension: Extension::V5 { cpu, launch_mitigations: 1, current_mitigations: 3 },
        guest_svn: 7,
        policy: GuestPolicy::from_bits(policy).unwrap(),
        family_id: [1; 16],
        image_id: [2; 16],
        vmpl: Vmpl::Guest(3),
        current_tcb: tcb.encode(),
        platform_info: PlatformInfo(
            PlatformInfo::SMT
                | PlatformInfo::ECC
                | PlatformInfo::RAPL_DIS
                | PlatformInfo::CIPHERTEXT_HIDING
                | PlatformInfo::ALIAS_CHECK,
        ),
        key_info: KeyInfo { author_key: true, mask_chip_key: false, signing_key: SigningKey::Vcek },
        report_data: [3; 64],
        measurement: [4; 48],
        host_data: [5; 32],
        id_key_digest: [6; 48],
        author_key_digest: [7; 48],
        report_id: [8; 32],
        report_id_ma: [0xff; 32],
        reported_tcb: tcb.encode(),
        chip_id,
        committed_tcb: tcb.encode(),
        current_version: firmware,
        committed_version: firmware,
        launch_tcb: tcb.encode(),
        signature: Signature::ZERO,
    }
}
