// SPDX-License-Identifier: MIT
//! The signature field of a report.

/// An ECDSA signature over P-384 (chapter 10, signature format of ECDSA P-384 with SHA-384).
///
/// The report holds both numbers little-endian in 72 bytes each; here they are big-endian in
/// 48 bytes, as cryptographic libraries want them. (r, n - s) is valid when (r, s) is, so the
/// signature, and a digest over it, identifies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// r, big-endian.
    pub r: [u8; 48],
    /// s, big-endian.
    pub s: [u8; 48],
}

impl Signature {
    /// The signature of an unsigned report.
    pub const ZERO: Self = Self { r: [0; 48], s: [0; 48] };

    /// r and s after each other, big-endian.
    #[must_use]
    pub fn to_fixed(&self) -> [u8; 96] {
        let mut fixed = [0; 96];
        for (to, from) in fixed.iter_mut().zip(self.r.iter().chain(&self.s)) {
            *to = *from;
        }
        fixed
    }

    /// The opposite of [`Signature::to_fixed`].
    #[must_use]
    pub fn from_fixed(fixed: &[u8; 96]) -> Self {
        let mut signature = Self::ZERO;
        let to = signature.r.iter_mut().chain(&mut signature.s);
        for (to, from) in to.zip(fixed) {
            *to = *from;
        }
        signature
    }
}
