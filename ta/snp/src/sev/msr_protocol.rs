// SPDX-License-Identifier: MIT
//! Requests and answers in the GHCB's register (AMD 56421, *Guest-Hypervisor Communication Block
//! Standardization*, section 2.3.1; numbers as in Linux, `arch/x86/include/asm/sev-common.h`).
//!
//! The guest writes a request into the register and exits; the host leaves its answer there. All
//! of an answer is the host's word.

/// The register (AMD64 Architecture Programmer's Manual, volume 2, appendix A).
pub const GHCB_MSR: u32 = 0xc001_0130;

/// The version of the protocol that this guest speaks; SNP came with it.
pub const VERSION: u16 = 2;

const INFO_MASK: u64 = 0xfff;
const SEV_INFO: u64 = 0x001;
const SEV_INFO_REQUEST: u64 = 0x002;
const REGISTER_REQUEST: u64 = 0x012;
const REGISTER: u64 = 0x013;
const STATE_CHANGE_REQUEST: u64 = 0x014;
const STATE_CHANGE: u64 = 0x015;
const TERMINATE: u64 = 0x100;
const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;

/// A reason set of our own: sets below are the specification's and Linux's.
const REASON_SET: u64 = 0xa;

/// What a page is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The guest's, encrypted.
    Private,
    /// Plaintext, for both.
    Shared,
}

impl State {
    /// The operation's number.
    pub(super) const fn operation(self) -> u64 {
        match self {
            Self::Private => 1,
            Self::Shared => 2,
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Which versions the host speaks, and where it says that the private bit is.
    SevInfo,
    /// Make the page at this address the GHCB.
    Register(u64),
    /// Change the state of the page of 4 KiB at this address.
    StateChange(u64, State),
    /// End the guest, for a reason of our own.
    Terminate(u8),
}

/// The host's answer to a [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Versions from and to, and the number of the private bit.
    SevInfo {
        /// Lowest version.
        from: u16,
        /// Highest version.
        to: u16,
        /// Number of the bit. Not to be used: the CPUID page has it from a better source.
        private_bit: u8,
    },
    /// It was done.
    Done,
}

/// The host's answer is none, or a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// It does not belong to the request.
    Unrelated,
    /// The host did not do it.
    Refused,
}

impl Request {
    /// The register's value.
    #[must_use]
    pub const fn encode(self) -> u64 {
        match self {
            Self::SevInfo => SEV_INFO_REQUEST,
            Self::Register(address) => address & FRAME_MASK | REGISTER_REQUEST,
            Self::StateChange(address, to) => {
                to.operation() << 52 | address & FRAME_MASK | STATE_CHANGE_REQUEST
            }
            #[expect(clippy::as_conversions, reason = "`From` is not const")]
            Self::Terminate(code) => (code as u64) << 16 | REASON_SET << 12 | TERMINATE,
        }
    }

    /// What the register's value says as an answer.
    ///
    /// # Errors
    ///
    /// [`BadAnswer`]; every answer to [`Request::Terminate`] is one.
    pub fn answer(self, value: u64) -> Result<Answer, BadAnswer> {
        match (self, value & INFO_MASK) {
            (Self::SevInfo, SEV_INFO) => {
                let [_, _, _, private_bit, from0, from1, to0, to1] = value.to_le_bytes();
                let from = u16::from_le_bytes([from0, from1]);
                let to = u16::from_le_bytes([to0, to1]);
                Ok(Answer::SevInfo { from, to, private_bit })
            }
            (Self::Register(address), REGISTER) => {
                let same = value & !INFO_MASK == address & FRAME_MASK;
                if same { Ok(Answer::Done) } else { Err(BadAnswer::Refused) }
            }
            (Self::StateChange(..), STATE_CHANGE) => {
                if value == STATE_CHANGE {
                    Ok(Answer::Done)
                } else {
                    Err(BadAnswer::Refused)
                }
            }
            _ => Err(BadAnswer::Unrelated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_their_published_form() {
        assert_eq!(Request::SevInfo.encode(), 2);
        assert_eq!(Request::Register(0x12_3000).encode(), 0x12_3012);
        let private = Request::StateChange(0x4567_8000, State::Private).encode();
        assert_eq!(private, 0x0010_0000_4567_8014);
        let shared = Request::StateChange(0x4567_8000, State::Shared).encode();
        assert_eq!(shared, 0x0020_0000_4567_8014);
        assert_eq!(Request::Terminate(0x27).encode(), 0x27_a100);
    }

    #[test]
    fn answers_belong_to_their_requests() {
        let info = Answer::SevInfo { from: 1, to: 2, private_bit: 51 };
        assert_eq!(Request::SevInfo.answer(0x0002_0001_3300_0001), Ok(info));
        assert_eq!(Request::Register(0x3000).answer(0x3013), Ok(Answer::Done));
        let change = Request::StateChange(0x3000, State::Shared);
        assert_eq!(change.answer(0x15), Ok(Answer::Done));
        for value in [0, 0x1, 0x13, 0x14, u64::MAX] {
            assert_eq!(change.answer(value), Err(BadAnswer::Unrelated), "{value:#x}");
        }
        assert_eq!(Request::SevInfo.answer(2), Err(BadAnswer::Unrelated));
        assert_eq!(Request::Terminate(1).answer(0x100), Err(BadAnswer::Unrelated));
    }

    #[test]
    fn refusals_are_noticed() {
        let change = Request::StateChange(0x3000, State::Private);
        assert_eq!(change.answer(0x0000_0001_0000_0015), Err(BadAnswer::Refused));
        assert_eq!(change.answer(0x1015), Err(BadAnswer::Refused), "reserved bits are zero");
        let register = Request::Register(0x3000);
        assert_eq!(register.answer(0xffff_ffff_ffff_f013), Err(BadAnswer::Refused));
        assert_eq!(register.answer(0x4013), Err(BadAnswer::Refused), "another page");
    }
}
