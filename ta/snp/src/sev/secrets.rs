// SPDX-License-Identifier: MIT
//! The secrets page (AMD 56860, section 8.17.2.6, table of the secrets page; layout as in Linux,
//! `struct snp_secrets_page`). The security processor fills it in at launch.

use super::{Page, word};

/// Bytes of a key of a channel.
pub const VMPCK_LEN: usize = 32;

const VERSION: usize = 0x00;
const VMPCK0: usize = 0x20;
/// `MSG_SEQNO_0` in the part that is the guest's to write: messages sent with `VMPCK0` so far.
const SEQUENCE0: usize = 0xa0;

/// What the payload takes from the page: its own channel.
#[derive(Clone)]
pub struct Secrets {
    /// `VMPCK0`, the key of privilege level 0.
    pub vmpck0: [u8; VMPCK_LEN],
    /// The number of the last message that was sent or received with it.
    pub sequence: u64,
}

impl core::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Secrets").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// The page has no key: nobody filled it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSecrets;

impl Secrets {
    /// Reads the page.
    ///
    /// # Errors
    ///
    /// [`NoSecrets`] for version 0 and a key of zeros.
    pub fn parse(page: &Page) -> Result<Self, NoSecrets> {
        let key = page.get(VMPCK0..).and_then(|rest| rest.first_chunk::<VMPCK_LEN>());
        let vmpck0 = *key.ok_or(NoSecrets)?;
        if word(page, VERSION) == 0 || vmpck0 == [0; VMPCK_LEN] {
            return Err(NoSecrets);
        }
        Ok(Self { vmpck0, sequence: u64::from(word(page, SEQUENCE0)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn key_and_number_are_where_they_belong() {
        let mut page = [0; 4096];
        assert!(Secrets::parse(&page).is_err());
        page[0] = 3;
        assert!(Secrets::parse(&page).is_err(), "a key of zeros");
        page[0x20] = 7;
        page[0x3f] = 9;
        page[0x40] = 1;
        page[0xa0] = 4;
        let secrets = Secrets::parse(&page).unwrap();
        assert_eq!((secrets.vmpck0[0], secrets.vmpck0[31], secrets.sequence), (7, 9, 4));
        assert!(!format!("{secrets:?}").contains("vmpck"), "keys are not shown");
        page[0] = 0;
        assert!(Secrets::parse(&page).is_err());
    }
}
