// SPDX-License-Identifier: MIT
//! `#[service]`: interface, dispatcher and clients of a service, from a trait.
#![forbid(unsafe_code)]
#![expect(clippy::wildcard_enum_match_arm, reason = "what a program can be written in grows")]

mod commands;
mod generate;
mod parse;
mod types;

use proc_macro::TokenStream;

/// Makes of a trait `Signer`: `SignerInterface`, which both sides have, with name, version, hash and
/// limits; the dispatcher of everything that implements the trait; `SignerClient<T>` and
/// `SignerAsyncClient<T>` over any transport.
///
/// `version = 2` gives the interface a version; it is 1 otherwise. `#[limit(request = 100,
/// answer = 8192)]` on a method sets how many bytes its arguments and its result may have; they are
/// 4096 each otherwise.
///
/// `#[gp(command = 3)]` exports a method to clients that know GlobalPlatform only; see
/// `strongroom::gp` for how its types become parameters.
///
/// Methods take `&self` or `&mut self` and arguments by value, `&[u8]` or `&str`; they return
/// nothing, a value, `Result<T, E>`, or `Result<Streamed<O, E>, E>` for data larger than a call. What
/// goes over the wire implements serde's traits. Anything else is refused.
#[proc_macro_attribute]
pub fn service(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match parse::Service::parse(arguments.into(), item.into()) {
        Ok(service) => generate::all(&service).into(),
        Err(error) => error.to_compile_error().into(),
    }
}
