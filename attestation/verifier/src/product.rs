// SPDX-License-Identifier: MIT
//! Product lines, the roots that speak for them, and what a chip's certificate says of it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use strongroom_evidence::{Cpu, TcbLayout};

/// Processors that share a root of AMD's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProductLine {
    /// Third generation.
    Milan,
    /// Fourth generation: Genoa, and Bergamo and Siena, whose chains are Genoa's.
    Genoa,
    /// Fifth generation.
    Turin,
}

/// Which key signs the reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyKind {
    /// The chip's own.
    Vcek,
    /// A provider's, loaded into the chip. It does not prove which chip.
    Vlek,
}

/// A part of the trusted computing base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// First mutable code, on Turin.
    Fmc,
    /// Boot loader.
    BootLoader,
    /// Operating system of the security processor.
    Tee,
    /// SNP firmware.
    Snp,
    /// Microcode.
    Microcode,
}

impl ProductLine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// SHA-256 of the root's public key (`SubjectPublicKeyInfo`, DER).
    ///
    /// Computed from the ARK certificates of AMD's key distribution service, whose serial
    /// numbers are 0x10000, 0x20000 and 0x30000.
    #[must_use]
    pub const fn root_key_sha256(self) -> &'static str {
        match self {
            Self::Milan => "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9",
            Self::Genoa => "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831",
            Self::Turin => "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08",
        }
    }

    /// How the line's reports lay out their TCB versions.
    #[must_use]
    pub const fn tcb_layout(self) -> TcbLayout {
        match self {
            Self::Milan | Self::Genoa => TcbLayout::MilanGenoa,
            Self::Turin => TcbLayout::Turin,
        }
    }

    /// The line whose names end like this: `ARK-Milan`, `SEV-Milan`, `SEV-VLEK-Milan`.
    pub(crate) fn with_suffix(name: &str, prefix: &str) -> Option<Self> {
        name.strip_prefix(prefix)?.parse().ok()
    }

    /// The line of a product as certificates name it: with a stepping, or a line's sibling.
    pub(crate) fn of_product(product: &str) -> Option<Self> {
        let (name, _stepping) = product.split_once('-').unwrap_or((product, ""));
        match name {
            "Milan" => Some(Self::Milan),
            "Genoa" | "Bergamo" | "Siena" => Some(Self::Genoa),
            "Turin" => Some(Self::Turin),
            _ => None,
        }
    }

    /// The line of a processor.
    #[must_use]
    pub fn of_processor(cpu: Cpu) -> Option<Self> {
        match sev::Generation::identify_cpu(cpu.family, cpu.model).ok()? {
            sev::Generation::Milan => Some(Self::Milan),
            sev::Generation::Genoa => Some(Self::Genoa),
            sev::Generation::Turin => Some(Self::Turin),
            sev::Generation::Venice => None,
        }
    }
}

impl FromStr for ProductLine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|line| line.to_string() == name);
        found.ok_or_else(|| format!("`{name}` is no product line; Milan, Genoa and Turin are"))
    }
}

impl fmt::Display for ProductLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        })
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        })
    }
}

impl Part {
    /// The policy's key.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fmc => "fmc",
            Self::BootLoader => "boot_loader",
            Self::Tee => "tee",
            Self::Snp => "snp",
            Self::Microcode => "microcode",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
