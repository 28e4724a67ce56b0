// SPDX-License-Identifier: MIT
//! The three words of flags in a report: guest policy, platform information, key information.

use crate::Malformed;

/// What the guest's owner lets the host do (section 4.3, guest policy).
///
/// Only [`GuestPolicy::from_bits`] makes one, so the reserved bits are right in every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPolicy(u64);

impl GuestPolicy {
    /// Bit 16: the host may use simultaneous multithreading.
    pub const SMT: u64 = 1 << 16;
    /// Bit 17: reserved, must be one.
    pub const MUST_BE_ONE: u64 = 1 << 17;
    /// Bit 18: a migration agent may be associated with the guest.
    pub const MIGRATE_MA: u64 = 1 << 18;
    /// Bit 19: the host may read and write the guest's memory for debugging.
    pub const DEBUG: u64 = 1 << 19;
    /// Bit 20: the guest runs on one socket only.
    pub const SINGLE_SOCKET: u64 = 1 << 20;
    /// Bit 21: CXL devices and memory are allowed.
    pub const CXL_ALLOW: u64 = 1 << 21;
    /// Bit 22: memory must be encrypted with AES-256-XTS.
    pub const MEM_AES_256_XTS: u64 = 1 << 22;
    /// Bit 23: running average power limit (RAPL) must be disabled.
    pub const RAPL_DIS: u64 = 1 << 23;
    /// Bit 24: ciphertext hiding must be enabled for DRAM.
    pub const CIPHERTEXT_HIDING: u64 = 1 << 24;
    /// Bit 25: the page move and swap commands are disabled.
    pub const PAGE_SWAP_DISABLE: u64 = 1 << 25;

    /// Bits 63:26 must be zero.
    const MUST_BE_ZERO: u64 = !((1 << 26) - 1);

    /// Checks the reserved bits.
    ///
    /// # Errors
    /// [`Malformed::Reserved`] when bit 17 is zero or one of 63:26 is set.
    pub const fn from_bits(bits: u64) -> Result<Self, Malformed> {
        if bits & Self::MUST_BE_ONE == 0 || bits & Self::MUST_BE_ZERO != 0 {
            return Err(Malformed::Reserved { field: "guest policy" });
        }
        Ok(Self(bits))
    }

    /// The word as it is in the report.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether all bits of `flags` are set.
    #[must_use]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags == flags
    }

    /// The lowest firmware ABI that the guest may run on: major, minor.
    #[must_use]
    pub const fn abi_min(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }
}

/// What the platform has switched on (table 23, field `PLATFORM_INFO`).
///
/// Its reserved bits are not declared to be zero, so a later firmware may set some under the
/// same report version. They are kept: see [`PlatformInfo::unknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// Bit 0: simultaneous multithreading is enabled.
    pub const SMT: u64 = 1;
    /// Bit 1: transparent memory encryption (TSME) is enabled.
    pub const TSME: u64 = 1 << 1;
    /// Bit 2: the memory corrects errors (ECC).
    pub const ECC: u64 = 1 << 2;
    /// Bit 3: running average power limit (RAPL) is disabled.
    pub const RAPL_DIS: u64 = 1 << 3;
    /// Bit 4: ciphertext hiding is enabled for DRAM.
    pub const CIPHERTEXT_HIDING: u64 = 1 << 4;
    /// Bit 5: the search for aliasing memory addresses has completed and found none.
    pub const ALIAS_CHECK: u64 = 1 << 5;
    /// Bit 7: trusted I/O (SEV-TIO) is enabled.
    pub const TIO: u64 = 1 << 7;

    const KNOWN: u64 = Self::SMT
        | Self::TSME
        | Self::ECC
        | Self::RAPL_DIS
        | Self::CIPHERTEXT_HIDING
        | Self::ALIAS_CHECK
        | Self::TIO;

    /// Whether all bits of `flags` are set.
    #[must_use]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags == flags
    }

    /// The set bits that have no meaning here.
    #[must_use]
    pub const fn unknown(self) -> u64 {
        self.0 & !Self::KNOWN
    }
}

/// Which key signed the report (table 23, `SIGNING_KEY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKey {
    /// The chip's own versioned key.
    Vcek,
    /// A versioned key that a cloud provider loaded; it does not name the chip.
    Vlek,
    /// Nobody: the signature field is zero.
    None,
}

/// Facts about the keys of a report (table 23, the word at 0x48).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// An author key signed the identity key; its digest is in the report.
    pub author_key: bool,
    /// The host asked the firmware not to sign with a chip key.
    pub mask_chip_key: bool,
    /// The key that signed.
    pub signing_key: SigningKey,
}

impl KeyInfo {
    const AUTHOR_KEY_EN: u32 = 1;
    const MASK_CHIP_KEY: u32 = 1 << 1;

    /// Reads the word.
    ///
    /// # Errors
    /// [`Malformed`] for set reserved bits (31:5) and reserved key selectors.
    pub const fn from_bits(bits: u32) -> Result<Self, Malformed> {
        let [low, rest @ ..] = bits.to_le_bytes();
        if u32::from_le_bytes([0, rest[0], rest[1], rest[2]]) != 0 || low >> 5 != 0 {
            return Err(Malformed::Reserved { field: "key information" });
        }
        let signing_key = match low >> 2 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            found => return Err(Malformed::SigningKey { found }),
        };
        Ok(Self {
            author_key: bits & Self::AUTHOR_KEY_EN != 0,
            mask_chip_key: bits & Self::MASK_CHIP_KEY != 0,
            signing_key,
        })
    }

    /// The word as it is in the report.
    #[must_use]
    pub const fn bits(self) -> u32 {
        let key = match self.signing_key {
            SigningKey::Vcek => 0,
            SigningKey::Vlek => 1 << 2,
            SigningKey::None => 7 << 2,
        };
        let author = if self.author_key { Self::AUTHOR_KEY_EN } else { 0 };
        let mask = if self.mask_chip_key { Self::MASK_CHIP_KEY } else { 0 };
        key | author | mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_policy_refuses_reserved_bits() {
        assert!(GuestPolicy::from_bits(0x3_0000).is_ok());
        assert!(GuestPolicy::from_bits(0x1_0000).is_err());
        for bit in 26..64 {
            assert!(GuestPolicy::from_bits(0x3_0000 | 1 << bit).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn abi_min_is_major_then_minor() {
        assert_eq!(GuestPolicy::from_bits(0x3_0137).map(GuestPolicy::abi_min), Ok((1, 0x37)));
    }

    #[test]
    fn key_information_round_trips_or_is_refused() {
        for bits in 0..=u32::from(u16::MAX) {
            match KeyInfo::from_bits(bits) {
                Ok(info) => assert_eq!(info.bits(), bits),
                Err(Malformed::SigningKey { found }) => assert!((2..=6).contains(&found)),
                Err(_) => assert!(bits >> 5 != 0),
            }
        }
        assert!(KeyInfo::from_bits(1 << 31).is_err());
    }

    #[test]
    fn unknown_platform_bits_are_kept() {
        assert_eq!(PlatformInfo(0xff).unknown(), 1 << 6);
        assert_eq!(PlatformInfo(1 << 40 | 1).unknown(), 1 << 40);
    }
}
