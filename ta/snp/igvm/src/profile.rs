// SPDX-License-Identifier: MIT
//! How a launcher makes a guest's processors.

use crate::ImageError;
use std::fmt;
use std::str::FromStr;

/// Most processors of a guest.
pub const VCPUS_MAX: u32 = 512;

/// Processors that have SEV-SNP, by QEMU's names, with family, model and stepping as QEMU's models
/// have them.
const MODELS: [(&str, (u32, u32, u32)); 3] = [
    ("EPYC-Milan", (0x19, 0x01, 1)),
    ("EPYC-Genoa", (0x19, 0x11, 0)),
    ("EPYC-Turin", (0x1a, 0x00, 0)),
];

/// The signature in EAX of CPUID leaf 1 (document 24594, appendix E): families from 15 on have
/// the rest in a field of its own.
const fn signature(family: u32, model: u32, stepping: u32) -> u32 {
    let extended = family.saturating_sub(0xf);
    extended << 20 | (model >> 4) << 16 | 0xf << 8 | (model & 0xf) << 4 | stepping
}

/// What besides payload and boot record the launch digest depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    vcpus: u32,
    /// The name of the processor model, and its signature as CPUID has it.
    model: Option<(String, u32)>,
    features: GuestFeatures,
}

impl Profile {
    /// One processor of a model that is not pinned, no features but SNP itself.
    #[must_use]
    pub const fn plain() -> Self {
        Self { vcpus: 1, model: None, features: GuestFeatures::SNP }
    }

    /// With that many processors. The payload uses the first; the others park.
    ///
    /// # Errors
    /// [`ImageError::Processors`] unless it is 1 to [`VCPUS_MAX`].
    pub fn with_vcpus(mut self, vcpus: u32) -> Result<Self, ImageError> {
        if !(1..=VCPUS_MAX).contains(&vcpus) {
            return Err(ImageError::Processors(vcpus));
        }
        self.vcpus = vcpus;
        Ok(self)
    }

    /// With a model as QEMU names it: `EPYC-Milan`, `EPYC-Genoa-v1`.
    ///
    /// # Errors
    /// A sentence that names the model.
    pub fn with_model(mut self, model: &str) -> Result<Self, String> {
        let known = MODELS.iter().find(|(name, _)| {
            let version = model.strip_prefix(name).and_then(|rest| rest.strip_prefix("-v"));
            model == *name || version.is_some_and(|version| version.parse::<u8>().is_ok())
        });
        let (_, (family, number, stepping)) = known.ok_or_else(|| {
            let names: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
            format!(
                "`{model}` is no processor model; allowed are {}, with or without -v1, -v2 …",
                names.join(", ")
            )
        })?;
        self.model = Some((model.to_owned(), signature(*family, *number, *stepping)));
        Ok(self)
    }

    /// With features switched on; SNP itself always is.
    #[must_use]
    pub fn with_features(mut self, features: GuestFeatures) -> Self {
        self.features = GuestFeatures(features.0 | GuestFeatures::SNP.0);
        self
    }

    /// How many processors.
    #[must_use]
    pub const fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// The model, where it is pinned.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_ref().map(|(name, _)| name.as_str())
    }

    /// The features.
    #[must_use]
    pub const fn features(&self) -> GuestFeatures {
        self.features
    }

    /// What a processor has in EDX when it is reset: family, model and stepping (AMD64
    /// Architecture Programmer's Manual, volume 2, section 14.1).
    pub(crate) fn signature(&self) -> u32 {
        self.model.as_ref().map_or(0, |(_, signature)| *signature)
    }
}

/// `SEV_FEATURES` of a save area (AMD64 Architecture Programmer's Manual, volume 2, appendix B,
/// offset 0x3b0).
///
/// In text names with commas between, or a number: `restricted-injection,secure-tsc`, `0x209`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFeatures(pub u64);

impl GuestFeatures {
    /// Secure nested paging is on.
    pub const SNP: Self = Self(1);

    const NAMES: [(&'static str, u64); 6] = [
        ("snp", 1),
        ("restricted-injection", 1 << 3),
        ("alternate-injection", 1 << 4),
        ("debug-swap", 1 << 5),
        ("secure-tsc", 1 << 9),
        ("smt-protection", 1 << 15),
    ];
}

impl FromStr for GuestFeatures {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        if let Some(number) = number {
            return Ok(Self(number));
        }
        let mut bits = 0;
        for name in text.split(',') {
            let known = Self::NAMES.iter().find(|(known, _)| *known == name);
            let (_, bit) = known.ok_or_else(|| {
                let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                format!("`{name}` is no feature; allowed are a number, or {}", names.join(", "))
            })?;
            bits |= bit;
        }
        Ok(Self(bits))
    }
}

impl fmt::Display for GuestFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_names_or_a_number() {
        assert_eq!("0x209".parse(), Ok(GuestFeatures(0x209)));
        assert_eq!("restricted-injection,secure-tsc".parse(), Ok(GuestFeatures(0x208)));
        assert!("faster".parse::<GuestFeatures>().unwrap_err().contains("debug-swap"));
        let profile = Profile::plain().with_features(GuestFeatures(8));
        assert_eq!(profile.features(), GuestFeatures(9), "SNP cannot be left out");
    }

    #[test]
    fn models_have_the_signature_of_their_processor() {
        let milan = Profile::plain().with_model("EPYC-Milan").unwrap();
        assert_eq!(milan.signature(), 0x00a0_0f11);
        for name in ["EPYC-Milan", "EPYC-Milan-v2", "EPYC-Genoa-v1", "EPYC-Turin"] {
            let theirs = sev::measurement::vcpu_types::CpuType::try_from(name).unwrap();
            let ours = Profile::plain().with_model(name).unwrap().signature();
            assert_eq!(i64::from(ours), i64::from(theirs.sig()), "{name}");
        }
        assert!(Profile::plain().with_model("EPYC-Milan-vx").is_err());
        assert!(Profile::plain().with_model("Pentium").is_err());
        assert!(Profile::plain().with_vcpus(0).is_err());
        assert!(Profile::plain().with_vcpus(513).is_err());
    }
}
