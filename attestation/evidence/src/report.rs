// SPDX-License-Identifier: MIT
//! The attestation report of SEV-SNP.

use crate::layout::{ReportLayout, SignatureLayout};
use crate::{
    GuestPolicy, KeyInfo, Malformed, PlatformInfo, REPORT_LEN, SIGNED_LEN, Signature, TcbBytes,
};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// An attestation report (table 23), every field of it.
///
/// Each value of this type has an encoding, and [`Report::parse`] of it gives the value back. A
/// signature is checked over the bytes as they were received ([`Report::signed_part`]), never
/// over an encoding made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The version of the report and the fields that only this version has.
    pub extension: Extension,
    /// Security version of the guest, from its identity block.
    pub guest_svn: u32,
    /// What the host may do with the guest.
    pub policy: GuestPolicy,
    /// Family of the image, from the identity block.
    pub family_id: [u8; 16],
    /// The image within its family, from the identity block.
    pub image_id: [u8; 16],
    /// Who asked for the report.
    pub vmpl: Vmpl,
    /// Firmware that runs now.
    pub current_tcb: TcbBytes,
    /// What the platform has switched on.
    pub platform_info: PlatformInfo,
    /// Which keys are involved.
    pub key_info: KeyInfo,
    /// Bytes that the guest chose.
    pub report_data: [u8; 64],
    /// Launch digest of the guest, SHA-384.
    pub measurement: [u8; 48],
    /// Bytes that the host chose at launch.
    pub host_data: [u8; 32],
    /// SHA-384 of the key that signed the identity block; zero without one.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the key that signed the identity key; zero without one.
    pub author_key_digest: [u8; 48],
    /// Random identity of this guest, new at each launch.
    pub report_id: [u8; 32],
    /// The same of its migration agent; all ones without one.
    pub report_id_ma: [u8; 32],
    /// The version that the signing key was derived for.
    pub reported_tcb: TcbBytes,
    /// The chip: 64 bytes, on Turin 8 and then zeros; all zero when the host masks it.
    pub chip_id: [u8; 64],
    /// The version below which the platform cannot be taken back.
    pub committed_tcb: TcbBytes,
    /// SNP firmware that runs now.
    pub current_version: FirmwareVersion,
    /// SNP firmware that was committed.
    pub committed_version: FirmwareVersion,
    /// The version at which the guest was launched or imported.
    pub launch_tcb: TcbBytes,
    /// Signature over [`Report::signed_part`].
    pub signature: Signature,
}

/// The version of a report, with what it adds to the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Version 2.
    V2,
    /// Version 3 names the processor.
    V3 {
        /// The processor.
        cpu: Cpu,
    },
    /// Version 5 says which mitigations are in place, too.
    V5 {
        /// The processor.
        cpu: Cpu,
        /// Mitigation vector at launch.
        launch_mitigations: u64,
        /// Mitigation vector now.
        current_mitigations: u64,
    },
}

/// A processor as CPUID names it: family and model with their extensions added in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Combined family.
    pub family: u8,
    /// Combined model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// A version of the SNP firmware. The order of versions is the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// Major version of the interface.
    pub major: u8,
    /// Minor version of the interface.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// Who asked for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vmpl {
    /// The guest, at this privilege level (0 to 3).
    Guest(u8),
    /// The host, which then chose the report data as well.
    Host,
}

impl Vmpl {
    const HOST: u32 = u32::MAX;

    const fn from_wire(found: u32) -> Result<Self, Malformed> {
        match found.to_le_bytes() {
            [level @ 0..=3, 0, 0, 0] => Ok(Self::Guest(level)),
            _ if found == Self::HOST => Ok(Self::Host),
            _ => Err(Malformed::Vmpl { found }),
        }
    }

    fn to_wire(self) -> u32 {
        match self {
            Self::Guest(level) => u32::from(level),
            Self::Host => Self::HOST,
        }
    }
}

impl FirmwareVersion {
    const fn from_wire([build, minor, major]: [u8; 3]) -> Self {
        Self { major, minor, build }
    }

    const fn to_wire(self) -> [u8; 3] {
        [self.build, self.minor, self.major]
    }
}

impl Cpu {
    const fn from_wire([family, model, stepping]: [u8; 3]) -> Self {
        Self { family, model, stepping }
    }
}

/// The only signature algorithm there is (chapter 10).
const ECDSA_P384_SHA384: u32 = 1;

impl Report {
    /// Reads a report, all of it or nothing.
    ///
    /// Reserved bytes have to be zero, those behind the signed part too: nobody signs them, so
    /// they would let two different inputs stand for one report.
    ///
    /// # Errors
    /// [`Malformed`] says which rule of the layout is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let layout = ReportLayout::read_from_bytes(bytes)
            .map_err(|_| Malformed::Length { found: bytes.len() })?;
        let extension = Extension::from_layout(&layout)?;
        if layout.signature_algorithm != ECDSA_P384_SHA384 {
            return Err(Malformed::SignatureAlgorithm { found: layout.signature_algorithm.get() });
        }
        layout.check_reserved()?;
        Ok(Self {
            extension,
            guest_svn: layout.guest_svn.get(),
            policy: GuestPolicy::from_bits(layout.policy.get())?,
            family_id: layout.family_id,
            image_id: layout.image_id,
            vmpl: Vmpl::from_wire(layout.vmpl.get())?,
            current_tcb: TcbBytes(layout.current_tcb),
            platform_info: PlatformInfo(layout.platform_info.get()),
            key_info: KeyInfo::from_bits(layout.key_info.get())?,
            report_data: layout.report_data,
            measurement: layout.measurement,
            host_data: layout.host_data,
            id_key_digest: layout.id_key_digest,
            author_key_digest: layout.author_key_digest,
            report_id: layout.report_id,
            report_id_ma: layout.report_id_ma,
            reported_tcb: TcbBytes(layout.reported_tcb),
            chip_id: layout.chip_id,
            committed_tcb: TcbBytes(layout.committed_tcb),
            current_version: FirmwareVersion::from_wire(layout.current_version),
            committed_version: FirmwareVersion::from_wire(layout.committed_version),
            launch_tcb: TcbBytes(layout.launch_tcb),
            signature: layout.signature.to_signature(),
        })
    }

    /// The report as bytes. A level above 3 in [`Vmpl::Guest`] gives bytes that
    /// [`Report::parse`] refuses.
    #[must_use]
    pub fn encode(&self) -> [u8; REPORT_LEN] {
        let (cpu, launch_mitigations, current_mitigations) = self.extension.to_wire();
        let layout = ReportLayout {
            version: U32::new(self.extension.version()),
            guest_svn: U32::new(self.guest_svn),
            policy: U64::new(self.policy.bits()),
            family_id: self.family_id,
            image_id: self.image_id,
            vmpl: U32::new(self.vmpl.to_wire()),
            signature_algorithm: U32::new(ECDSA_P384_SHA384),
            current_tcb: self.current_tcb.0,
            platform_info: U64::new(self.platform_info.0),
            key_info: U32::new(self.key_info.bits()),
            reserved_4c: [0; 4],
            report_data: self.report_data,
            measurement: self.measurement,
            host_data: self.host_data,
            id_key_digest: self.id_key_digest,
            author_key_digest: self.author_key_digest,
            report_id: self.report_id,
            report_id_ma: self.report_id_ma,
            reported_tcb: self.reported_tcb.0,
            cpu,
            reserved_18b: [0; 21],
            chip_id: self.chip_id,
            committed_tcb: self.committed_tcb.0,
            current_version: self.current_version.to_wire(),
            reserved_1eb: 0,
            committed_version: self.committed_version.to_wire(),
            reserved_1ef: 0,
            launch_tcb: self.launch_tcb.0,
            launch_mitigations: U64::new(launch_mitigations),
            current_mitigations: U64::new(current_mitigations),
            reserved_208: [0; 152],
            signature: SignatureLayout::from_signature(&self.signature),
        };
        zerocopy::transmute!(layout)
    }

    /// The bytes that the signature covers, of a report as it was received or encoded.
    #[must_use]
    pub fn signed_part(report: &[u8; REPORT_LEN]) -> &[u8] {
        let (signed, _signature) = report.split_at_checked(SIGNED_LEN).unwrap_or((report, &[]));
        signed
    }

    /// The processor, if this version of the report names it.
    #[must_use]
    pub const fn cpu(&self) -> Option<Cpu> {
        match self.extension {
            Extension::V2 => None,
            Extension::V3 { cpu } | Extension::V5 { cpu, .. } => Some(cpu),
        }
    }
}

impl Extension {
    /// The number of the version.
    #[must_use]
    pub const fn version(&self) -> u32 {
        match self {
            Self::V2 => 2,
            Self::V3 { .. } => 3,
            Self::V5 { .. } => 5,
        }
    }

    fn from_layout(layout: &ReportLayout) -> Result<Self, Malformed> {
        let cpu = Cpu::from_wire(layout.cpu);
        let launch_mitigations = layout.launch_mitigations.get();
        let current_mitigations = layout.current_mitigations.get();
        let extension = match layout.version.get() {
            2 => Self::V2,
            3 => Self::V3 { cpu },
            5 => Self::V5 { cpu, launch_mitigations, current_mitigations },
            found => return Err(Malformed::Version { found }),
        };
        // What a version does not know has to be zero in it.
        if extension.to_wire() != (layout.cpu, launch_mitigations, current_mitigations) {
            return Err(Malformed::Reserved { field: "fields of a later version" });
        }
        Ok(extension)
    }

    const fn to_wire(self) -> ([u8; 3], u64, u64) {
        match self {
            Self::V2 => ([0; 3], 0, 0),
            Self::V3 { cpu } => ([cpu.family, cpu.model, cpu.stepping], 0, 0),
            Self::V5 { cpu, launch_mitigations, current_mitigations } => {
                let cpu = [cpu.family, cpu.model, cpu.stepping];
                (cpu, launch_mitigations, current_mitigations)
            }
        }
    }
}

impl ReportLayout {
    fn check_reserved(&self) -> Result<(), Malformed> {
        let fields: [(&'static str, &[u8]); 8] = [
            ("report at 0x4c", &self.reserved_4c),
            ("report at 0x18b", &self.reserved_18b),
            ("report at 0x1eb", self.reserved_1eb.as_bytes()),
            ("report at 0x1ef", self.reserved_1ef.as_bytes()),
            ("report at 0x208", &self.reserved_208),
            ("signature behind r", &self.signature.r_zero),
            ("signature behind s", &self.signature.s_zero),
            ("report behind the signature", &self.signature.reserved),
        ];
        match fields.iter().find(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)) {
            Some((field, _)) => Err(Malformed::Reserved { field }),
            None => Ok(()),
        }
    }
}

impl SignatureLayout {
    fn to_signature(self) -> Signature {
        let (mut r, mut s) = (self.r, self.s);
        r.reverse();
        s.reverse();
        Signature { r, s }
    }

    fn from_signature(signature: &Signature) -> Self {
        let Signature { mut r, mut s } = *signature;
        r.reverse();
        s.reverse();
        Self { r, r_zero: [0; 24], s, s_zero: [0; 24], reserved: [0; 368] }
    }
}
