// SPDX-License-Identifier: MIT
//! What both sides have to agree on before the first call.
//!
//! A session begins with the client's [`Hello`] and the service's [`Answer`], in which each side
//! names its interface. A hello is postcard with a version of its own in front, so that sides that
//! agree on nothing else can still name each other.

use alloc::string::String;
use serde::{Deserialize, Serialize};

use crate::OpenError;

/// Version of the exchange itself: hello, answer, frames of calls.
pub const PROTOCOL: u8 = 1;
/// Most bytes of an interface's name.
pub const NAME_MAX: usize = 64;
/// Most bytes of a hello or of the answer to it.
pub const HELLO_MAX: usize = 256;
/// Bytes of request and of answer that a method has unless `#[limit]` says otherwise.
pub const LIMIT_DEFAULT: usize = 4096;
/// Most bytes that `#[limit]` can give to a request or an answer.
pub const LIMIT_MAX: usize = 1 << 20;

/// A method as both sides know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name in the trait.
    pub name: &'static str,
    /// Its place in the trait, from 0.
    pub number: u32,
    /// Most bytes of its encoded arguments.
    pub request_max: usize,
    /// Most bytes of its encoded result.
    pub answer_max: usize,
}

/// An interface: what `#[strongroom::service]` makes of a trait.
pub trait Interface {
    /// The trait's name.
    const NAME: &'static str;
    /// The version its author gave it.
    const VERSION: u32;
    /// SHA-256 over names, order, argument and result types as written, and limits.
    const HASH: [u8; 32];
    /// The methods, in order.
    const METHODS: &'static [Method];
    /// The methods that clients of GlobalPlatform can call.
    const COMMANDS: &'static [crate::gp::Command] = &[];
    /// Most bytes of a request of any method, and of a chunk of a stream.
    const REQUEST_MAX: usize;
    /// Most bytes of an answer of any method, and of what a stream gives for a chunk.
    const ANSWER_MAX: usize;

    /// What this side says of itself.
    fn hello() -> Hello {
        Hello {
            protocol: PROTOCOL,
            name: String::from(Self::NAME),
            version: Self::VERSION,
            hash: Self::HASH,
        }
    }
}

/// The larger of two sizes, for constants.
pub const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// How one side names its interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`]. First, and one byte, in every version.
    pub protocol: u8,
    /// The interface's name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Its hash.
    pub hash: [u8; 32],
}

impl core::fmt::Display for Hello {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, ..] = self.hash;
        write!(
            formatter,
            "{} version {} (hash {a:02x}{b:02x}{c:02x}{d:02x})",
            self.name, self.version
        )
    }
}

/// What a service says to a hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Both speak the same interface; the session is open.
    Welcome,
    /// The service speaks this one.
    Mismatch(Hello),
    /// The interface is the same, but the service opens no session.
    Refused(OpenError),
}

/// Compares a client's hello with this side's interface. Nothing when they are the same.
pub fn mismatch<I: Interface>(hello: &[u8]) -> Option<Answer> {
    let ours = I::hello();
    match parse_hello(hello) {
        Some(theirs) if theirs == ours => None,
        Some(_) | None => Some(Answer::Mismatch(ours)),
    }
}

/// A hello, whole, with a name of permitted length.
pub fn parse_hello(bytes: &[u8]) -> Option<Hello> {
    if bytes.len() > HELLO_MAX || bytes.first() != Some(&PROTOCOL) {
        return None;
    }
    let (hello, rest) = postcard::take_from_bytes::<Hello>(bytes).ok()?;
    (rest.is_empty() && hello.name.len() <= NAME_MAX).then_some(hello)
}

/// An answer, whole.
pub fn parse_answer(bytes: &[u8]) -> Option<Answer> {
    if bytes.len() > HELLO_MAX {
        return None;
    }
    let (answer, rest) = postcard::take_from_bytes::<Answer>(bytes).ok()?;
    rest.is_empty().then_some(answer)
}

/// The bytes of a hello or an answer, at the start of `buffer`; none when they do not fit.
pub fn write<'b, T: Serialize>(message: &T, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    postcard::to_slice(message, buffer).ok().map(|written| &*written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Lamp;

    impl Interface for Lamp {
        const NAME: &'static str = "Lamp";
        const VERSION: u32 = 3;
        const HASH: [u8; 32] = [0xab; 32];
        const METHODS: &'static [Method] = &[];
        const REQUEST_MAX: usize = 0;
        const ANSWER_MAX: usize = 0;
    }

    /// The bytes of a hello are a contract between versions: cases may be added, never changed.
    #[test]
    fn golden_bytes() {
        let mut buffer = [0; HELLO_MAX];
        let written = write(&Lamp::hello(), &mut buffer).unwrap();
        let mut golden = b"\x01\x04Lamp\x03".to_vec();
        golden.extend([0xab; 32]);
        assert_eq!(written, golden);
        assert_eq!(parse_hello(&golden), Some(Lamp::hello()));
        let mut buffer = [0; HELLO_MAX];
        assert_eq!(write(&Answer::Welcome, &mut buffer).unwrap(), [0]);
        assert_eq!(write(&Answer::Refused(OpenError::Storage), &mut buffer).unwrap(), [2, 1]);
    }

    #[test]
    fn only_the_same_interface_is_welcome() {
        let hello = |change: fn(&mut Hello)| {
            let mut hello = Lamp::hello();
            change(&mut hello);
            let mut buffer = [0; HELLO_MAX];
            mismatch::<Lamp>(write(&hello, &mut buffer).unwrap())
        };
        assert_eq!(hello(|_| ()), None);
        let theirs = Some(Answer::Mismatch(Lamp::hello()));
        assert_eq!(hello(|hello| hello.version = 4), theirs);
        assert_eq!(hello(|hello| hello.name.push('s')), theirs);
        assert_eq!(hello(|hello| hello.hash[31] ^= 1), theirs);
        assert_eq!(hello(|hello| hello.protocol = 2), theirs);
        assert_eq!(mismatch::<Lamp>(&[]), theirs);
    }

    #[test]
    fn half_a_hello_more_than_one_and_long_names_are_none() {
        let mut buffer = [0; HELLO_MAX];
        let mut bytes = write(&Lamp::hello(), &mut buffer).unwrap().to_vec();
        for length in 0..bytes.len() {
            assert_eq!(parse_hello(&bytes[..length]), None);
        }
        bytes.push(0);
        assert_eq!(parse_hello(&bytes), None);
        let long = Hello { name: "x".repeat(NAME_MAX + 1), ..Lamp::hello() };
        let mut buffer = [0; HELLO_MAX];
        assert_eq!(parse_hello(write(&long, &mut buffer).unwrap()), None);
    }
}
