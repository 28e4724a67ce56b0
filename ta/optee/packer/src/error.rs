// SPDX-License-Identifier: MIT
//! Why something cannot be packed.

/// Why something cannot be packed; [`PackError::hint`] says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Bytes that are no ELF file, or a broken one.
    #[error("{path}: not a usable ELF file: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Code for another processor.
    #[error("{path}: made for another machine (e_machine {machine}), not for aarch64")]
    WrongMachine {
        /// The file.
        path: String,
        /// `e_machine`.
        machine: u16,
    },
    /// Linked to a fixed address.
    #[error("{path}: not position-independent")]
    NotPositionIndependent {
        /// The file.
        path: String,
    },
    /// A segment that is writable and executable.
    #[error("{path}: the segment at {address:#x} is both writable and executable")]
    WritableCode {
        /// The file.
        path: String,
        /// Its virtual address.
        address: u64,
    },
    /// A word that might be an instruction to be replaced, or data.
    #[error("{path}: {what} at {address:#x} cannot be told from data: {why}")]
    Ambiguous {
        /// The file.
        path: String,
        /// The virtual address of the word.
        address: u64,
        /// What it would be as an instruction.
        what: &'static str,
        /// Why it is not known.
        why: &'static str,
    },
    /// An instruction that nothing can stand for.
    #[error("{path}: {what} at {address:#x} has no meaning in Linux and cannot be replaced")]
    Unknown {
        /// The file.
        path: String,
        /// The instruction's virtual address.
        address: u64,
        /// What it is.
        what: &'static str,
    },
    /// A stub is too far away for a branch.
    #[error("{path}: the instruction at {address:#x} is over 128 MiB from its stub")]
    BranchOutOfRange {
        /// The file.
        path: String,
        /// The instruction's virtual address.
        address: u64,
    },
    /// An instruction is left that a trusted application must not execute.
    #[error("{path}: {what} is left at {address:#x} after rewriting")]
    Left {
        /// The file.
        path: String,
        /// The instruction's virtual address.
        address: u64,
        /// What it is.
        what: &'static str,
    },
    /// The library OS lacks something that packing needs.
    #[error("the library OS is not usable: {0}")]
    LibraryOs(String),
    /// More segments than fit into the first page, where OP-TEE's loader looks for them.
    #[error("{segments} segments, and the loader of OP-TEE reads {most} at most")]
    TooManySegments {
        /// How many there are.
        segments: usize,
        /// How many fit.
        most: usize,
    },
    /// The boot record or the table of objects is too long.
    #[error("the manifest and the list of libraries are over {0} bytes")]
    TooLong(usize),
    /// The file is larger than the signed header can say.
    #[error("the packed file has {0} bytes; 2 GiB is the most")]
    TooLarge(usize),
}

impl PackError {
    /// What the user can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "is it the program itself, and not a script or a link to it?",
            Self::WrongMachine { .. } => "take the root file system of Debian's arm64",
            Self::NotPositionIndependent { .. } => {
                "OP-TEE loads position-independent code only: link with -pie or -static-pie"
            }
            Self::WritableCode { .. } => {
                "a trusted application cannot write its code: link without -z execstack and -N, and use no just-in-time compiler"
            }
            Self::Ambiguous { .. } => {
                "keep the section headers and, where code and tables mix, the symbol table: do not run strip or sstrip on it"
            }
            Self::Unknown { .. } => {
                "replace that instruction in the source; Linux defines svc #0 only"
            }
            Self::BranchOutOfRange { .. } | Self::TooLarge(_) => "pack fewer or smaller libraries",
            Self::TooManySegments { .. } => "pack fewer libraries into one trusted application",
            Self::Left { .. } => "this is an error of the packer: please report it with the file",
            Self::LibraryOs(_) => "build it with `cargo xtask build`, and do not strip it",
            Self::TooLong(_) => "put long data into a file of the root image",
        }
    }
}
