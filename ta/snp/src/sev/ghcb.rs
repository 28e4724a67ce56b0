// SPDX-License-Identifier: MIT
//! Exits by way of the GHCB page (AMD 56421, table 2 and chapter 4; offsets and numbers as in Linux,
//! `arch/x86/include/asm/svm.h` and `arch/x86/include/uapi/asm/svm.h`).
//!
//! The page belongs to guest and host at once. An [`Exit`] says which fields are written; whoever
//! drives the page writes them with their valid bits, exits, and copies what came back into a
//! [`Snapshot`], each field once. Only the copy is looked at.

use super::msr_protocol::VERSION;

/// Where the valid bits are: one for each of the page's first 128 words of 8 bytes.
pub const VALID_BITMAP: usize = 0x3f0;
/// Where the buffer that both sides may use is.
pub const SHARED_BUFFER: usize = 0x800;
/// Bytes of that buffer.
pub const SHARED_BUFFER_LEN: usize = 0x7f0;
/// Where the protocol's version is, 2 bytes.
pub const PROTOCOL_VERSION: usize = 0xffa;
/// Where the format of the page is, 4 bytes; 0 is the one described here.
pub const USAGE: usize = 0xffc;
/// What [`PROTOCOL_VERSION`] has to hold.
pub const PROTOCOL: u16 = VERSION;

/// A field of 8 bytes; its number is its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Field {
    /// Register RAX.
    Rax = 0x1f8,
    /// Register RCX.
    Rcx = 0x308,
    /// Register RDX.
    Rdx = 0x310,
    /// Register RBX.
    Rbx = 0x318,
    /// `SW_EXITCODE`.
    ExitCode = 0x390,
    /// `SW_EXITINFO1`.
    ExitInfo1 = 0x398,
    /// `SW_EXITINFO2`.
    ExitInfo2 = 0x3a0,
    /// `SW_SCRATCH`.
    Scratch = 0x3a8,
}

impl Field {
    /// Offset in the page.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the numbers are the offsets")]
    pub const fn offset(self) -> usize {
        self as usize
    }

    /// Its bit in a bitmap of 128.
    const fn valid_bit(self) -> u128 {
        1 << (self.offset() >> 3)
    }
}

/// Bytes that an access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 1.
    Byte,
    /// 2.
    Word,
    /// 4.
    Double,
}

impl Width {
    const fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Double => 4,
        }
    }

    const fn mask(self) -> u64 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Double => 0xffff_ffff,
        }
    }
}

/// An exit and what goes with it. Addresses are physical, of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Reads a port.
    PortIn {
        /// The port.
        port: u16,
        /// How much.
        width: Width,
    },
    /// Writes a port.
    PortOut {
        /// The port.
        port: u16,
        /// How much.
        width: Width,
        /// What.
        value: u32,
    },
    /// Reads a register of a device; the value comes in the buffer.
    DeviceRead {
        /// Where the register is.
        address: u64,
        /// How much.
        width: Width,
        /// Where the buffer is.
        buffer: u64,
    },
    /// Writes a register of a device; the value is in the buffer.
    DeviceWrite {
        /// Where the register is.
        address: u64,
        /// How much.
        width: Width,
        /// Where the buffer is.
        buffer: u64,
    },
    /// Reads a model-specific register.
    MsrRead(u32),
    /// Writes a model-specific register.
    MsrWrite(u32, u64),
    /// Changes the state of the pages that the buffer lists.
    StateChange {
        /// Where the buffer is.
        buffer: u64,
    },
    /// Names the page in which the host's interrupts are pending under Restricted Injection.
    Doorbell {
        /// The page.
        page: u64,
    },
    /// Carries a message to the security processor and its answer back.
    GuestRequest {
        /// The page with the message.
        request: u64,
        /// The page for the answer.
        response: u64,
    },
    /// The same; the host adds the certificates that it has.
    ExtendedGuestRequest {
        /// The page with the message.
        request: u64,
        /// The page for the answer.
        response: u64,
        /// Where the certificates may go.
        certificates: u64,
        /// How many pages there are for them.
        pages: u64,
    },
}

/// `SW_EXITINFO1` of an exit that names the doorbell page.
const DOORBELL_SET: u64 = 1;
const IO_IN: u64 = 1;
const IO_ADDRESS_64: u64 = 1 << 9;
/// Most fields that an exit writes.
const FIELDS_MAX: usize = 6;
/// Fields and their values.
pub type Fields = [Option<(Field, u64)>; FIELDS_MAX];

impl Exit {
    const fn code(self) -> u64 {
        match self {
            Self::PortIn { .. } | Self::PortOut { .. } => 0x7b,
            Self::MsrRead(_) | Self::MsrWrite(..) => 0x7c,
            Self::DeviceRead { .. } => 0x8000_0001,
            Self::DeviceWrite { .. } => 0x8000_0002,
            Self::StateChange { .. } => 0x8000_0010,
            Self::GuestRequest { .. } => 0x8000_0011,
            Self::ExtendedGuestRequest { .. } => 0x8000_0012,
            Self::Doorbell { .. } => 0x8000_0014,
        }
    }

    /// `SW_EXITINFO1` and `SW_EXITINFO2`.
    fn info(self) -> (u64, u64) {
        let io = |port: u16, width: Width, direction| {
            u64::from(port) << 16 | width.bytes() << 4 | IO_ADDRESS_64 | direction
        };
        match self {
            Self::PortIn { port, width } => (io(port, width, IO_IN), 0),
            Self::PortOut { port, width, .. } => (io(port, width, 0), 0),
            Self::MsrRead(_) | Self::StateChange { .. } => (0, 0),
            Self::MsrWrite(..) => (1, 0),
            Self::Doorbell { page } => (DOORBELL_SET, page),
            Self::DeviceRead { address, width, .. } | Self::DeviceWrite { address, width, .. } => {
                (address, width.bytes())
            }
            Self::GuestRequest { request, response }
            | Self::ExtendedGuestRequest { request, response, .. } => (request, response),
        }
    }

    /// What is written into the page; whatever else is in it counts as not valid.
    #[must_use]
    pub fn fields(self) -> Fields {
        let (info1, info2) = self.info();
        let (first, second, third) = match self {
            Self::PortIn { .. } | Self::GuestRequest { .. } | Self::Doorbell { .. } => {
                (None, None, None)
            }
            Self::PortOut { width, value, .. } => {
                (Some((Field::Rax, u64::from(value) & width.mask())), None, None)
            }
            Self::DeviceRead { buffer, .. }
            | Self::DeviceWrite { buffer, .. }
            | Self::StateChange { buffer } => (Some((Field::Scratch, buffer)), None, None),
            Self::MsrRead(number) => (Some((Field::Rcx, u64::from(number))), None, None),
            Self::MsrWrite(number, value) => (
                Some((Field::Rcx, u64::from(number))),
                Some((Field::Rax, value & 0xffff_ffff)),
                Some((Field::Rdx, value >> 32)),
            ),
            Self::ExtendedGuestRequest { certificates, pages, .. } => {
                (Some((Field::Rax, certificates)), Some((Field::Rbx, pages)), None)
            }
        };
        [
            Some((Field::ExitCode, self.code())),
            Some((Field::ExitInfo1, info1)),
            Some((Field::ExitInfo2, info2)),
            first,
            second,
            third,
        ]
    }

    /// What a page that came back says.
    ///
    /// # Errors
    ///
    /// [`BadAnswer`].
    pub fn reply(self, page: &Snapshot) -> Result<Reply, BadAnswer> {
        match page.exit_info_1 & 0xffff_ffff {
            0 => {}
            1 => return Err(BadAnswer::Injection),
            2 => return Err(BadAnswer::Malformed),
            _ => return Err(BadAnswer::Unknown),
        }
        match self {
            Self::PortIn { width, .. } => {
                Ok(Reply::Value(page.field(Field::Rax, page.rax)? & width.mask()))
            }
            Self::MsrRead(_) => {
                let low = page.field(Field::Rax, page.rax)? & 0xffff_ffff;
                Ok(Reply::Value(page.field(Field::Rdx, page.rdx)? << 32 | low))
            }
            Self::PortOut { .. }
            | Self::MsrWrite(..)
            | Self::Doorbell { .. }
            | Self::DeviceRead { .. }
            | Self::DeviceWrite { .. } => Ok(Reply::Done),
            Self::StateChange { .. } => {
                if page.exit_info_2 == 0 {
                    Ok(Reply::Done)
                } else {
                    Err(BadAnswer::Refused)
                }
            }
            // Without certificates there is nothing that could need pages.
            Self::GuestRequest { .. } => match message_reply(page)? {
                Reply::TooFewPages(_) => Err(BadAnswer::Unknown),
                reply @ (Reply::Done | Reply::Busy | Reply::Value(_)) => Ok(reply),
            },
            Self::ExtendedGuestRequest { pages, .. } => {
                let reply = message_reply(page)?;
                let enough = matches!(reply, Reply::TooFewPages(wanted) if wanted <= pages);
                if enough { Err(BadAnswer::Unknown) } else { Ok(reply) }
            }
        }
    }
}

/// The upper half of `SW_EXITINFO2` is the host's word, the lower half says it is the firmware's.
fn message_reply(page: &Snapshot) -> Result<Reply, BadAnswer> {
    match (page.exit_info_2 >> 32, page.exit_info_2 & 0xffff_ffff) {
        (0, 0) => Ok(Reply::Done),
        (1, _) => Ok(Reply::TooFewPages(page.field(Field::Rbx, page.rbx)?)),
        (2, _) => Ok(Reply::Busy),
        _ => Err(BadAnswer::Refused),
    }
}

/// What the host did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What was asked.
    Done,
    /// What was asked, with this as the value.
    Value(u64),
    /// Nothing yet: the message has to be sent again, as it is.
    Busy,
    /// Nothing: its certificates take so many pages.
    TooFewPages(u64),
}

/// The host's answer is none, or a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// It wants an exception raised in the guest. That is never done.
    Injection,
    /// It says that the exit was malformed.
    Malformed,
    /// It did not do it.
    Refused,
    /// A field is missing that goes with this exit.
    NotValid(Field),
    /// It says what the protocol does not know.
    Unknown,
}

/// Fields of a page that came back, each copied once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// [`Field::Rax`].
    pub rax: u64,
    /// [`Field::Rbx`].
    pub rbx: u64,
    /// [`Field::Rdx`].
    pub rdx: u64,
    /// [`Field::ExitInfo1`].
    pub exit_info_1: u64,
    /// [`Field::ExitInfo2`].
    pub exit_info_2: u64,
    /// The 16 bytes at [`VALID_BITMAP`].
    pub valid: u128,
}

impl Snapshot {
    const fn field(&self, field: Field, value: u64) -> Result<u64, BadAnswer> {
        if self.valid & field.valid_bit() == 0 {
            Err(BadAnswer::NotValid(field))
        } else {
            Ok(value)
        }
    }
}

/// The valid bits of fields.
#[must_use]
pub fn valid_bits(fields: &Fields) -> u128 {
    fields.iter().flatten().fold(0, |bits, (field, _)| bits | field.valid_bit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn written(exit: Exit) -> Vec<(Field, u64)> {
        exit.fields().into_iter().flatten().collect()
    }

    #[test]
    fn exits_write_what_the_specification_wants() {
        let out = Exit::PortOut { port: 0x3f8, width: Width::Byte, value: 0x141 };
        let expected = [
            (Field::ExitCode, 0x7b),
            (Field::ExitInfo1, 0x03f8_0210),
            (Field::ExitInfo2, 0),
            (Field::Rax, 0x41),
        ];
        assert_eq!(written(out), expected);
        let input = Exit::PortIn { port: 0xcfc, width: Width::Double };
        assert_eq!(written(input)[1], (Field::ExitInfo1, 0x0cfc_0241));
        let write = written(Exit::MsrWrite(0x808, 0x1_0000_0002));
        assert_eq!(write[1], (Field::ExitInfo1, 1));
        assert_eq!(write[3..], [(Field::Rcx, 0x808), (Field::Rax, 2), (Field::Rdx, 1)]);
        let doorbell = written(Exit::Doorbell { page: 0x5000 });
        let expected = [(Field::ExitInfo1, 1), (Field::ExitInfo2, 0x5000)];
        assert_eq!((doorbell[0], &doorbell[1..]), ((Field::ExitCode, 0x8000_0014), &expected[..]));
        let read = Exit::DeviceRead { address: 0xe000_0014, width: Width::Word, buffer: 0x800 };
        let expected = [(Field::ExitInfo1, 0xe000_0014), (Field::ExitInfo2, 2)];
        assert_eq!(written(read)[1..3], expected);
    }

    #[test]
    fn valid_bits_are_those_of_the_fields() {
        let request = Exit::GuestRequest { request: 0x1000, response: 0x2000 };
        // 0x390, 0x398 and 0x3a0 are words 114 to 116.
        assert_eq!(valid_bits(&request.fields()), 0b111 << 114);
        let rax = Exit::PortOut { port: 1, width: Width::Byte, value: 0 };
        assert_eq!(valid_bits(&rax.fields()), 0b111 << 114 | 1 << 63);
    }

    #[test]
    fn what_is_not_marked_valid_is_not_read() {
        let read = Exit::PortIn { port: 0x61, width: Width::Byte };
        let mut page = Snapshot { rax: 0x1ff, ..Snapshot::default() };
        assert_eq!(read.reply(&page), Err(BadAnswer::NotValid(Field::Rax)));
        page.valid = Field::Rax.valid_bit();
        assert_eq!(read.reply(&page), Ok(Reply::Value(0xff)), "no more than was asked for");
        let msr = Exit::MsrRead(0x1b);
        assert_eq!(msr.reply(&page), Err(BadAnswer::NotValid(Field::Rdx)));
    }

    #[test]
    fn no_exception_is_raised_for_the_host() {
        let exit = Exit::PortOut { port: 1, width: Width::Byte, value: 0 };
        for (info, expected) in
            [(1, BadAnswer::Injection), (2, BadAnswer::Malformed), (3, BadAnswer::Unknown)]
        {
            let page =
                Snapshot { exit_info_1: info, exit_info_2: 0x8000_030d, ..Snapshot::default() };
            assert_eq!(exit.reply(&page), Err(expected));
        }
    }

    #[test]
    fn messages_are_answered_deferred_or_refused() {
        let request = Exit::GuestRequest { request: 0x1000, response: 0x2000 };
        let reply = |exit_info_2| request.reply(&Snapshot { exit_info_2, ..Snapshot::default() });
        assert_eq!(reply(0), Ok(Reply::Done));
        assert_eq!(reply(2 << 32), Ok(Reply::Busy));
        assert_eq!(reply(0x16), Err(BadAnswer::Refused));
        assert_eq!(reply(3 << 32), Err(BadAnswer::Refused));
        let page = Snapshot { exit_info_2: 1 << 32, valid: u128::MAX, ..Snapshot::default() };
        assert_eq!(request.reply(&page), Err(BadAnswer::Unknown));
        let change = Exit::StateChange { buffer: 0x800 };
        let refused = Snapshot { exit_info_2: 1, ..Snapshot::default() };
        assert_eq!(change.reply(&refused), Err(BadAnswer::Refused));
    }

    #[test]
    fn certificates_may_need_more_pages_but_not_fewer() {
        let (request, response) = (0x1000, 0x2000);
        let exit = Exit::ExtendedGuestRequest { request, response, certificates: 0x3000, pages: 4 };
        let reply = |rbx| {
            let valid = Field::Rbx.valid_bit();
            exit.reply(&Snapshot { exit_info_2: 1 << 32, rbx, valid, ..Snapshot::default() })
        };
        assert_eq!(reply(5), Ok(Reply::TooFewPages(5)));
        assert_eq!(reply(4), Err(BadAnswer::Unknown));
    }
}
