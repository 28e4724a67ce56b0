// SPDX-License-Identifier: MIT
//! Result codes and where they came from.

/// Why a call into a TEE failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} (from {origin})")]
pub struct TeeError {
    /// What happened.
    pub code: Code,
    /// Who says so.
    pub origin: Origin,
}

macro_rules! codes {
    ($($name:ident = $value:literal, $words:literal;)*) => {
        /// A result code.
        ///
        /// Source: TEE Client API Specification 1.0, section 4.4.2, and TEE Internal Core API
        /// Specification 1.3.1, section 3.3.3. A trusted application may use other numbers as well.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $words] $name,)*
            /// A number without a name here; never one of the others, never 0.
            Other(u32),
        }

        impl Code {
            /// The code of a number that is not 0.
            pub const fn from_number(number: u32) -> Self {
                match number {
                    $($value => Self::$name,)*
                    other => Self::Other(other),
                }
            }

            /// Its number.
            pub const fn number(self) -> u32 {
                match self {
                    $(Self::$name => $value,)*
                    Self::Other(number) => number,
                }
            }
        }

        impl core::fmt::Display for Code {
            fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $(Self::$name => formatter.write_str($words),)*
                    Self::Other(number) => write!(formatter, "result code {number:#010x}"),
                }
            }
        }

        #[cfg(test)]
        const NAMED: &[Code] = &[$(Code::$name),*];
    };
}

codes! {
    CorruptObject = 0xf010_0001, "a stored object is corrupt";
    CorruptObjectInStorage2 = 0xf010_0002, "a stored object is corrupt in the second storage";
    StorageNotAvailable = 0xf010_0003, "the storage is not available";
    StorageNotAvailableInStorage2 = 0xf010_0004, "the second storage is not available";
    Generic = 0xffff_0000, "the call failed";
    AccessDenied = 0xffff_0001, "access is denied";
    Cancel = 0xffff_0002, "the call was cancelled";
    AccessConflict = 0xffff_0003, "others have access that excludes this";
    ExcessData = 0xffff_0004, "there is too much data";
    BadFormat = 0xffff_0005, "the data have a bad format";
    BadParameters = 0xffff_0006, "the parameters are not what the command takes";
    BadState = 0xffff_0007, "this cannot be done in this state";
    ItemNotFound = 0xffff_0008, "there is no such thing";
    NotImplemented = 0xffff_0009, "this is not implemented";
    NotSupported = 0xffff_000a, "this is not supported";
    NoData = 0xffff_000b, "data are missing";
    OutOfMemory = 0xffff_000c, "there is no memory left";
    Busy = 0xffff_000d, "it is busy";
    Communication = 0xffff_000e, "the other side did not answer";
    Security = 0xffff_000f, "a security check failed";
    ShortBuffer = 0xffff_0010, "the output buffer is too short";
    ExternalCancel = 0xffff_0011, "the call was cancelled from outside";
    Overflow = 0xffff_300f, "a number or an object became too large";
    TargetDead = 0xffff_3024, "the trusted application has panicked";
    StorageNoSpace = 0xffff_3041, "the storage has no space left";
    MacInvalid = 0xffff_3071, "a message authentication code is wrong";
    SignatureInvalid = 0xffff_3072, "a signature is wrong";
    TimeNotSet = 0xffff_5000, "the time is not set";
    TimeNeedsReset = 0xffff_5001, "the time has to be set again";
}

/// Who returned a result code.
///
/// Source: TEE Client API Specification 1.0, section 4.4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The client library in this process, or this crate.
    Api,
    /// What lies between this process and the TEE: the driver.
    Communication,
    /// The TEE itself.
    Tee,
    /// The trusted application.
    TrustedApplication,
    /// A number that the specification does not have.
    Other(u32),
}

impl Origin {
    pub(crate) const fn from_number(number: u32) -> Self {
        match number {
            optee_teec_sys::TEEC_ORIGIN_API => Self::Api,
            optee_teec_sys::TEEC_ORIGIN_COMMS => Self::Communication,
            optee_teec_sys::TEEC_ORIGIN_TEE => Self::Tee,
            optee_teec_sys::TEEC_ORIGIN_TRUSTED_APP => Self::TrustedApplication,
            other => Self::Other(other),
        }
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        match self {
            Self::Api => optee_teec_sys::TEEC_ORIGIN_API,
            Self::Communication => optee_teec_sys::TEEC_ORIGIN_COMMS,
            Self::Tee => optee_teec_sys::TEEC_ORIGIN_TEE,
            Self::TrustedApplication => optee_teec_sys::TEEC_ORIGIN_TRUSTED_APP,
            Self::Other(number) => number,
        }
    }
}

impl core::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Api => formatter.write_str("the client library"),
            Self::Communication => formatter.write_str("the way to the TEE"),
            Self::Tee => formatter.write_str("the TEE"),
            Self::TrustedApplication => formatter.write_str("the trusted application"),
            Self::Other(number) => write!(formatter, "origin {number}"),
        }
    }
}

/// A library call's result and origin as a result.
pub(crate) const fn checked(result: u32, origin: u32) -> Result<(), TeeError> {
    if result == optee_teec_sys::TEEC_SUCCESS {
        return Ok(());
    }
    Err(TeeError { code: Code::from_number(result), origin: Origin::from_number(origin) })
}

/// An error that this crate found by itself, before anything was called.
pub(crate) const fn own(code: Code) -> TeeError {
    TeeError { code, origin: Origin::Api }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_as_the_client_library_has_them() {
        for (code, number) in [
            (Code::Generic, optee_teec_sys::TEEC_ERROR_GENERIC),
            (Code::Cancel, optee_teec_sys::TEEC_ERROR_CANCEL),
            (Code::AccessConflict, optee_teec_sys::TEEC_ERROR_ACCESS_CONFLICT),
            (Code::BadParameters, optee_teec_sys::TEEC_ERROR_BAD_PARAMETERS),
            (Code::ItemNotFound, optee_teec_sys::TEEC_ERROR_ITEM_NOT_FOUND),
            (Code::OutOfMemory, optee_teec_sys::TEEC_ERROR_OUT_OF_MEMORY),
            (Code::Security, optee_teec_sys::TEEC_ERROR_SECURITY),
            (Code::ShortBuffer, optee_teec_sys::TEEC_ERROR_SHORT_BUFFER),
            (Code::TargetDead, optee_teec_sys::TEEC_ERROR_TARGET_DEAD),
        ] {
            assert_eq!((code.number(), Code::from_number(number)), (number, code));
        }
    }

    #[test]
    fn numbers_come_back_with_and_without_a_name() {
        for code in NAMED {
            assert_eq!(Code::from_number(code.number()), *code);
        }
        let odd = Code::from_number(0x8000_1234);
        assert_eq!((odd, odd.number()), (Code::Other(0x8000_1234), 0x8000_1234));
    }

    #[test]
    fn origins_come_back() {
        for number in 0..6 {
            assert_eq!(Origin::from_number(number).number(), number);
        }
    }

    #[test]
    fn an_error_says_what_and_who() {
        let error = checked(0xffff_3024, 3).unwrap_err();
        assert_eq!(error, TeeError { code: Code::TargetDead, origin: Origin::Tee });
        assert_eq!(error.to_string(), "the trusted application has panicked (from the TEE)");
        let error = checked(7, 9).unwrap_err();
        assert_eq!(error.to_string(), "result code 0x00000007 (from origin 9)");
        checked(0, 4).unwrap();
    }
}
