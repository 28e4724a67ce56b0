// SPDX-License-Identifier: MIT
//! Versions of the trusted computing base: the same eight bytes, laid out in two ways.

use crate::Malformed;

/// A `TCB_VERSION` as it is in the report. What the bytes mean depends on the processor, which
/// a report of version 2 does not name: [`TcbBytes::decode`] wants the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcbBytes(pub [u8; 8]);

/// Where the parts of a [`TcbVersion`] lie (section 2.2, table 3 and the one after it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcbLayout {
    /// Milan, and Genoa with its kin: boot loader, TEE, four reserved, SNP, microcode.
    MilanGenoa,
    /// Turin: FMC, boot loader, TEE, SNP, three reserved, microcode.
    Turin,
}

/// Security versions of the firmware parts. Each counts up on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcbVersion {
    /// First mutable code of the security processor; Turin has it.
    pub fmc: Option<u8>,
    /// Boot loader of the security processor.
    pub boot_loader: u8,
    /// Operating system of the security processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Lowest microcode patch level of all cores.
    pub microcode: u8,
}

impl TcbBytes {
    /// Reads the parts.
    ///
    /// # Errors
    /// [`Malformed::Reserved`] when a reserved byte of the layout is not zero.
    pub const fn decode(self, layout: TcbLayout) -> Result<TcbVersion, Malformed> {
        match (layout, self.0) {
            (TcbLayout::MilanGenoa, [boot_loader, tee, 0, 0, 0, 0, snp, microcode]) => {
                Ok(TcbVersion { fmc: None, boot_loader, tee, snp, microcode })
            }
            (TcbLayout::Turin, [fmc, boot_loader, tee, snp, 0, 0, 0, microcode]) => {
                Ok(TcbVersion { fmc: Some(fmc), boot_loader, tee, snp, microcode })
            }
            (TcbLayout::MilanGenoa | TcbLayout::Turin, _) => {
                Err(Malformed::Reserved { field: "TCB version" })
            }
        }
    }
}

impl TcbVersion {
    /// The bytes of the report. A version with an FMC part has Turin's layout.
    #[must_use]
    pub const fn encode(self) -> TcbBytes {
        let Self { fmc, boot_loader, tee, snp, microcode } = self;
        TcbBytes(match fmc {
            None => [boot_loader, tee, 0, 0, 0, 0, snp, microcode],
            Some(fmc) => [fmc, boot_loader, tee, snp, 0, 0, 0, microcode],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_round_trip() {
        let old = TcbBytes([4, 1, 0, 0, 0, 0, 0x18, 0xdb]);
        let version = old.decode(TcbLayout::MilanGenoa).unwrap();
        let expected = TcbVersion { fmc: None, boot_loader: 4, tee: 1, snp: 0x18, microcode: 0xdb };
        assert_eq!(version, expected);
        assert_eq!(version.encode(), old);

        let turin = TcbBytes([1, 2, 3, 4, 0, 0, 0, 5]);
        let version = turin.decode(TcbLayout::Turin).unwrap();
        let expected = TcbVersion { fmc: Some(1), boot_loader: 2, tee: 3, snp: 4, microcode: 5 };
        assert_eq!(version, expected);
        assert_eq!(version.encode(), turin);
    }

    #[test]
    fn reserved_bytes_are_refused() {
        for (layout, reserved) in [(TcbLayout::MilanGenoa, 2..6), (TcbLayout::Turin, 4..7)] {
            for at in 0..8 {
                let mut bytes = [0; 8];
                bytes[at] = 1;
                let refused = TcbBytes(bytes).decode(layout).is_err();
                assert_eq!(refused, reserved.contains(&at), "{layout:?} byte {at}");
            }
        }
    }
}
