// SPDX-License-Identifier: MIT
//! `#[gp(command = N)]`: how a method's types become GlobalPlatform's four parameters.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Attribute, Error, Meta, Result, Type, spanned::Spanned as _};

use crate::{
    parse::{Argument, pairs},
    types::{Output, Passing, arguments_of, text},
};

/// As in `strongroom_service::gp`.
const PARAMETERS: usize = 4;
const EXAMPLE: &str = "command = 1";

/// A method that clients of GlobalPlatform can call.
pub(crate) struct Command {
    pub(crate) number: u32,
    inputs: Vec<TokenStream>,
    outputs: Vec<TokenStream>,
    error: Option<Type>,
}

impl Command {
    pub(crate) fn parse(
        attribute: &Attribute,
        arguments: &[Argument],
        output: &Output,
    ) -> Result<Self> {
        let inputs = arguments.iter().map(input).collect::<Result<Vec<_>>>()?;
        let (result, error) = match output {
            Output::Plain(ty) => (ty, None),
            Output::Fallible(ty, error) => (ty, Some(error.clone())),
            Output::Stream(ty, _) => {
                return Err(Error::new(
                    ty.span(),
                    "a stream is many calls, a command is one: leave `#[gp]` out",
                ));
            }
        };
        let outputs = match result {
            Type::Tuple(tuple) => tuple.elems.iter().map(kind).collect::<Result<_>>()?,
            one => vec![kind(one)?],
        };
        if inputs.len().saturating_add(outputs.len()) > PARAMETERS {
            return Err(Error::new(
                attribute.span(),
                "a command has four parameters, for arguments and results together",
            ));
        }
        Ok(Self { number: number(attribute)?, inputs, outputs, error })
    }

    /// The command of the method at this place.
    pub(crate) fn generate(&self, method: usize) -> TokenStream {
        let Self { number, inputs, outputs, error } = self;
        let error = match error {
            None => quote!(::core::option::Option::None),
            Some(ty) => {
                let read = quote_spanned!(ty.span()=> ::strongroom::gp::read_error::<#ty>);
                quote!(::core::option::Option::Some(#read))
            }
        };
        quote! {
            ::strongroom::gp::Command {
                number: #number,
                method: #method,
                inputs: &[#(#inputs),*],
                outputs: &[#(#outputs),*],
                error: #error,
            }
        }
    }
}

fn number(attribute: &Attribute) -> Result<u32> {
    let wrong = || Error::new(attribute.span(), "write #[gp(command = 1)]");
    let Meta::List(list) = &attribute.meta else { return Err(wrong()) };
    let pairs = pairs(list.tokens.clone(), EXAMPLE)?;
    let [(name, value)] = pairs.as_slice() else { return Err(wrong()) };
    if name == "command" { value.base10_parse() } else { Err(wrong()) }
}

fn input(argument: &Argument) -> Result<TokenStream> {
    match argument.passing {
        Passing::Bytes | Passing::Text => Ok(quote!(::strongroom::gp::Kind::Bytes)),
        Passing::Value => kind(&argument.ty),
    }
}

/// The kind of an owned type.
fn kind(ty: &Type) -> Result<TokenStream> {
    if let Type::Array(array) = ty
        && text(&array.elem) == "u8"
    {
        let length = &array.len;
        return Ok(quote!(::strongroom::gp::Kind::Array(#length)));
    }
    if arguments_of(ty, "Vec").is_some_and(|of| matches!(of.as_slice(), [one] if text(one) == "u8"))
    {
        return Ok(quote!(::strongroom::gp::Kind::Bytes));
    }
    match text(ty).as_str() {
        "u32" => Ok(quote!(::strongroom::gp::Kind::Word)),
        "u64" => Ok(quote!(::strongroom::gp::Kind::Long)),
        "String" => Ok(quote!(::strongroom::gp::Kind::Bytes)),
        _ => Err(Error::new(
            ty.span(),
            "a parameter of GlobalPlatform is `u32`, `u64`, `[u8; N]`, `Vec<u8>`, `String`, `&[u8]` \
             or `&str`: leave `#[gp]` out, or take one of these",
        )),
    }
}
