// SPDX-License-Identifier: MIT
//! A trait becomes the description of a service, or a message that says what to change.

use proc_macro2::{Ident, TokenStream};
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, ItemTrait, Lit, Meta, Pat, Result, Signature, Token,
    TraitItem, TraitItemFn, Type, parse::Parser as _, punctuated::Punctuated,
    spanned::Spanned as _,
};

use crate::{
    commands::Command,
    types::{Output, Passing, passing},
};

/// As in `strongroom_service::interface`.
const LIMIT_DEFAULT: usize = 4096;
const LIMIT_MAX: usize = 1 << 20;
const NAME_MAX: usize = 64;
/// What generated clients call their own methods.
const TAKEN: &[&str] = &["connect", "session"];

/// A trait that can be a service.
pub(crate) struct Service {
    /// The trait, without our attributes.
    pub(crate) item: ItemTrait,
    pub(crate) version: u32,
    pub(crate) methods: Vec<Method>,
}

pub(crate) struct Method {
    pub(crate) name: Ident,
    pub(crate) documentation: Vec<Attribute>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) output: Output,
    pub(crate) request_max: usize,
    pub(crate) answer_max: usize,
    /// For clients of GlobalPlatform.
    pub(crate) command: Option<Command>,
}

pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) passing: Passing,
}

impl Service {
    pub(crate) fn parse(arguments: TokenStream, item: TokenStream) -> Result<Self> {
        let mut item: ItemTrait = syn::parse2(item).map_err(|error| {
            Error::new(error.span(), format!("#[service] describes a trait: {error}"))
        })?;
        let version = version(arguments)?;
        check_trait(&item)?;
        let mut methods: Vec<Method> = Vec::new();
        for one in &mut item.items {
            let TraitItem::Fn(function) = one else {
                return Err(Error::new(
                    one.span(),
                    "a service has methods only: move types and constants out of the trait",
                ));
            };
            let method = Method::parse(function)?;
            check_unique(&method, &methods)?;
            methods.push(method);
        }
        if methods.is_empty() {
            return Err(Error::new(item.ident.span(), "a service without methods serves nobody"));
        }
        Ok(Self { item, version, methods })
    }
}

fn check_unique(method: &Method, others: &[Method]) -> Result<()> {
    let refused = |why| Err(Error::new(method.name.span(), why));
    if others.iter().any(|earlier| earlier.name == method.name) {
        return refused("there is a method of this name already");
    }
    let number = |method: &Method| method.command.as_ref().map(|command| command.number);
    let own = number(method);
    if own.is_some() && others.iter().any(|earlier| number(earlier) == own) {
        return refused("another method has this command: give each a number of its own");
    }
    Ok(())
}

fn check_trait(item: &ItemTrait) -> Result<()> {
    if let Some(first) = item.generics.params.first() {
        return Err(Error::new(
            first.span(),
            "a service cannot be generic: both sides have to mean the same types; name them",
        ));
    }
    if let Some(clause) = &item.generics.where_clause {
        return Err(Error::new(clause.span(), "a service has no conditions: leave them out"));
    }
    if let Some(first) = item.supertraits.first() {
        return Err(Error::new(
            first.span(),
            "a service builds on no other trait: the client could not call its methods",
        ));
    }
    if let Some(word) = item.unsafety {
        return Err(Error::new(word.span(), "a service cannot be unsafe to implement"));
    }
    if item.ident.to_string().len() > NAME_MAX {
        return Err(Error::new(item.ident.span(), "the name has over 64 bytes: shorten it"));
    }
    Ok(())
}

/// `version = N`; 1 when nothing is said.
fn version(arguments: TokenStream) -> Result<u32> {
    let mut version = 1;
    for (name, value) in pairs(arguments, "version = 1")? {
        if name != "version" {
            return Err(Error::new(name.span(), "only `version = N` can be said here"));
        }
        version = value.base10_parse()?;
    }
    Ok(version)
}

impl Method {
    fn parse(function: &mut TraitItemFn) -> Result<Self> {
        let mut limits = (LIMIT_DEFAULT, LIMIT_DEFAULT);
        let mut command = None;
        let mut kept = Vec::new();
        for attribute in core::mem::take(&mut function.attrs) {
            if attribute.path().is_ident("limit") {
                limits = limit(&attribute)?;
            } else if attribute.path().is_ident("gp") {
                command = Some(attribute);
            } else if attribute.path().is_ident("cfg") {
                return Err(Error::new(
                    attribute.span(),
                    "both sides have to have the same methods: they cannot depend on `cfg`",
                ));
            } else {
                kept.push(attribute);
            }
        }
        function.attrs = kept;
        if let Some(body) = &function.default {
            return Err(Error::new(
                body.span(),
                "the service says what a method does, in its `impl`: leave the body out",
            ));
        }
        let documentation =
            function.attrs.iter().filter(|one| one.path().is_ident("doc")).cloned().collect();
        check_signature(&function.sig)?;
        let name = function.sig.ident.clone();
        if TAKEN.iter().any(|taken| name == taken) {
            return Err(Error::new(
                name.span(),
                "generated clients have a method of this name: choose another",
            ));
        }
        let arguments = arguments(&function.sig)?;
        let output = Output::of(&function.sig.output)?;
        let command = command.map(|command| Command::parse(&command, &arguments, &output));
        Ok(Self {
            name,
            documentation,
            arguments,
            output,
            request_max: limits.0,
            answer_max: limits.1,
            command: command.transpose()?,
        })
    }
}

fn check_signature(signature: &Signature) -> Result<()> {
    if let Some(word) = signature.asyncness {
        return Err(Error::new(
            word.span(),
            "a method runs within one call: leave `async` out; the client can be asynchronous",
        ));
    }
    if let Some(first) = signature.generics.params.first() {
        return Err(Error::new(
            first.span(),
            "a method cannot be generic: both sides have to mean the same types; name them",
        ));
    }
    if let Some(word) = signature.unsafety {
        return Err(Error::new(
            word.span(),
            "a client cannot promise anything: leave `unsafe` out",
        ));
    }
    if let Some(word) = signature.constness {
        return Err(Error::new(word.span(), "a call is never constant: leave `const` out"));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new(
            abi.span(),
            "the interface has its own calling convention: leave it out",
        ));
    }
    if let Some(dots) = &signature.variadic {
        return Err(Error::new(dots.span(), "the number of arguments is fixed: take a `Vec`"));
    }
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        return Err(Error::new(
            signature.ident.span(),
            "a method belongs to a session: take `&self` or `&mut self`",
        ));
    };
    let plain = receiver.colon_token.is_none();
    if receiver.reference.is_none() || !plain {
        return Err(Error::new(
            receiver.span(),
            "the instance stays with its session: take `&self` or `&mut self`",
        ));
    }
    Ok(())
}

fn arguments(signature: &Signature) -> Result<Vec<Argument>> {
    let mut all: Vec<Argument> = Vec::new();
    for input in signature.inputs.iter().skip(1) {
        let FnArg::Typed(typed) = input else { continue };
        let Pat::Ident(pattern) = typed.pat.as_ref() else {
            return Err(Error::new(
                typed.pat.span(),
                "an argument of an interface has a plain name",
            ));
        };
        if pattern.by_ref.is_some() || pattern.mutability.is_some() || pattern.subpat.is_some() {
            return Err(Error::new(pattern.span(), "an argument of an interface has a plain name"));
        }
        let name = pattern.ident.clone();
        if all.iter().any(|earlier| earlier.name == name) {
            return Err(Error::new(name.span(), "there is an argument of this name already"));
        }
        all.push(Argument { name, ty: (*typed.ty).clone(), passing: passing(&typed.ty)? });
    }
    Ok(all)
}

/// `#[limit(request = N, answer = N)]`.
fn limit(attribute: &Attribute) -> Result<(usize, usize)> {
    let Meta::List(list) = &attribute.meta else {
        return Err(Error::new(attribute.span(), "write #[limit(request = 4096, answer = 4096)]"));
    };
    let (mut request, mut answer) = (LIMIT_DEFAULT, LIMIT_DEFAULT);
    for (name, value) in pairs(list.tokens.clone(), "request = 4096, answer = 4096")? {
        let bytes: usize = value.base10_parse()?;
        if bytes > LIMIT_MAX {
            return Err(Error::new(
                value.span(),
                "a request or an answer has at most 1048576 bytes: return `Streamed` for more",
            ));
        }
        match name.to_string().as_str() {
            "request" => request = bytes,
            "answer" => answer = bytes,
            _ => {
                return Err(Error::new(name.span(), "only `request` and `answer` have a limit"));
            }
        }
    }
    Ok((request, answer))
}

/// `name = number, ...`.
pub(crate) fn pairs(tokens: TokenStream, example: &str) -> Result<Vec<(Ident, syn::LitInt)>> {
    let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
    let wrong = |span| Error::new(span, format!("write `{example}`"));
    let mut all = Vec::new();
    for meta in parser.parse2(tokens)? {
        let Meta::NameValue(pair) = &meta else { return Err(wrong(meta.span())) };
        let name = pair.path.get_ident().ok_or_else(|| wrong(meta.span()))?;
        let Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) = &pair.value else {
            return Err(wrong(pair.value.span()));
        };
        all.push((name.clone(), number.clone()));
    }
    Ok(all)
}
