// SPDX-License-Identifier: MIT
//! Which types an interface may have, and what they mean to it.

use syn::{
    Error, GenericArgument, PathArguments, Result, ReturnType, Type, TypeReference,
    spanned::Spanned as _,
};

/// What a method returns.
pub(crate) enum Output {
    /// A value.
    Plain(Type),
    /// `Result<T, E>`.
    Fallible(Type, Type),
    /// `Result<Streamed<O, E>, E>`.
    Stream(Type, Type),
}

/// How an argument is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// As a value of its type.
    Value,
    /// `&[u8]`, copied at once.
    Bytes,
    /// `&str`.
    Text,
}

impl Output {
    pub(crate) fn of(output: &ReturnType) -> Result<Self> {
        let ty = match output {
            ReturnType::Default => return Ok(Self::Plain(syn::parse_quote!(()))),
            ReturnType::Type(_, ty) => ty,
        };
        if let Some(streamed) = arguments_of(ty, "Streamed") {
            return Err(Error::new(
                ty.span(),
                format!(
                    "a stream can fail to open: write `Result<Streamed<{}>, E>`",
                    if streamed.len() == 2 { "O, E" } else { "_, _" }
                ),
            ));
        }
        let Some(arguments) = arguments_of(ty, "Result") else {
            check_owned(ty)?;
            return Ok(Self::Plain((**ty).clone()));
        };
        let [value, error] = arguments.as_slice() else {
            return Err(Error::new(
                ty.span(),
                "the client has to know the error's type: write `Result<T, E>` with both",
            ));
        };
        check_owned(error)?;
        let Some(stream) = arguments_of(value, "Streamed") else {
            check_owned(value)?;
            return Ok(Self::Fallible(value.clone(), error.clone()));
        };
        let [output, stream_error] = stream.as_slice() else {
            return Err(Error::new(
                value.span(),
                "write `Streamed<O, E>` with the output's and the error's type",
            ));
        };
        check_owned(output)?;
        if text(stream_error) != text(error) {
            return Err(Error::new(
                stream_error.span(),
                "opening a stream and writing to it have one error type: use the same in both places",
            ));
        }
        Ok(Self::Stream(output.clone(), error.clone()))
    }
}

/// The type as the hash has it: without the author's spaces.
pub(crate) fn text(ty: &Type) -> String {
    quote::quote!(#ty).to_string()
}

/// How an argument of this type is passed.
pub(crate) fn passing(ty: &Type) -> Result<Passing> {
    if let Type::Reference(reference) = ty {
        return borrowed(reference);
    }
    check_owned(ty)?;
    Ok(Passing::Value)
}

fn borrowed(reference: &TypeReference) -> Result<Passing> {
    if let Some(mutable) = reference.mutability {
        return Err(Error::new(
            mutable.span(),
            "an argument goes one way, from client to service: return what changes",
        ));
    }
    if let Some(lifetime) = &reference.lifetime {
        return Err(Error::new(
            lifetime.span(),
            "an argument is borrowed for the time of the call only: leave the lifetime out",
        ));
    }
    match reference.elem.as_ref() {
        Type::Slice(slice) if text(&slice.elem) == "u8" => Ok(Passing::Bytes),
        Type::Path(path) if path.path.is_ident("str") => Ok(Passing::Text),
        other => Err(Error::new(
            other.span(),
            "only `&[u8]` and `&str` can be borrowed from a request: take it by value",
        )),
    }
}

/// Refuses types that cannot be sent, or whose meaning is not in how they are written.
fn check_owned(ty: &Type) -> Result<()> {
    let refused = |why: &str| Err(Error::new(ty.span(), why));
    match ty {
        Type::Array(array) => check_owned(&array.elem),
        Type::Paren(inner) => check_owned(&inner.elem),
        Type::Group(inner) => check_owned(&inner.elem),
        Type::Tuple(tuple) => tuple.elems.iter().try_for_each(check_owned),
        Type::Path(path) => {
            if path.qself.is_some() || path.path.segments.iter().any(|one| one.ident == "Self") {
                return refused("the other side has no `Self`: name a type of its own");
            }
            path.path.segments.iter().try_for_each(|segment| match &segment.arguments {
                PathArguments::AngleBracketed(all) => {
                    all.args.iter().try_for_each(|argument| match argument {
                        GenericArgument::Type(ty) => check_owned(ty),
                        GenericArgument::Lifetime(lifetime) => {
                            Err(borrowed_result(lifetime.span()))
                        }
                        _ => Ok(()),
                    })
                }
                PathArguments::None | PathArguments::Parenthesized(_) => Ok(()),
            })
        }
        Type::Reference(reference) => Err(borrowed_result(reference.span())),
        Type::ImplTrait(_) => {
            refused("the client has to know the type: name it instead of `impl Trait`")
        }
        Type::TraitObject(_) => {
            refused("a trait object cannot be sent: name a type that implements serde's traits")
        }
        Type::Slice(_) => refused("a slice has no size here: write `Vec<T>` or `[T; N]`"),
        Type::Never(_) => refused("a call that never returns hangs its client: return a value"),
        Type::Ptr(_) | Type::BareFn(_) => {
            refused("an address means nothing to the other side: send what it points to")
        }
        _ => refused("this type cannot be part of an interface: name a struct or an enum"),
    }
}

fn borrowed_result(span: proc_macro2::Span) -> Error {
    Error::new(
        span,
        "nothing can be borrowed across the boundary here: write an owned type, as `Vec<u8>` or `String`",
    )
}

/// The types in `Name<...>`, when `ty` is that.
pub(crate) fn arguments_of(ty: &Type, name: &str) -> Option<Vec<Type>> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(all) = &last.arguments else { return Some(Vec::new()) };
    let types = all.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    });
    Some(types.collect())
}
