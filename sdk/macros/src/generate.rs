// SPDX-License-Identifier: MIT
//! The code that a description becomes.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};
use sha2::{Digest as _, Sha256};

use crate::{
    parse::{Argument, Method, Service},
    types::{Output, Passing, text},
};

/// The trait as it was written, and all that is made of it.
pub(crate) fn all(service: &Service) -> TokenStream {
    let item = &service.item;
    let interface = interface(service);
    let dispatcher = dispatcher(service);
    let blocking = client(service, false);
    let asynchronous = client(service, true);
    quote! {
        #[allow(missing_docs, reason = "what a method is for is said in the trait")]
        #item
        #interface
        #dispatcher
        #blocking
        #asynchronous
    }
}

fn interface(service: &Service) -> TokenStream {
    let visibility = &service.item.vis;
    let name = service.item.ident.to_string();
    let interface = format_ident!("{name}Interface");
    let documentation = format!("What both sides of `{name}` have to agree on.");
    let version = service.version;
    let hash = hash(service).into_iter().map(Literal::u8_unsuffixed);
    let (mut request, mut answer) = (quote!(0), quote!(0));
    let mut methods = Vec::new();
    let commands = service.methods.iter().zip(0_usize..).filter_map(|(method, number)| {
        method.command.as_ref().map(|command| command.generate(number))
    });
    for (method, number) in service.methods.iter().zip(0_u32..) {
        let Method { name, request_max, answer_max, .. } = method;
        let name = name.to_string();
        methods.push(quote! {
            ::strongroom::Method {
                name: #name,
                number: #number,
                request_max: #request_max,
                answer_max: #answer_max,
            }
        });
        request = quote!(::strongroom::interface::larger(#request_max, #request));
        answer = quote!(::strongroom::interface::larger(#answer_max, #answer));
    }
    quote! {
        #[doc = #documentation]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #interface;

        impl ::strongroom::Interface for #interface {
            const NAME: &'static str = #name;
            const VERSION: u32 = #version;
            const HASH: [u8; 32] = [#(#hash),*];
            const METHODS: &'static [::strongroom::Method] = &[#(#methods),*];
            const COMMANDS: &'static [::strongroom::gp::Command] = &[#(#commands),*];
            const REQUEST_MAX: usize = #request;
            const ANSWER_MAX: usize = #answer;
        }
    }
}

/// SHA-256 over names, order, argument and result types as written, and limits.
fn hash(service: &Service) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |word: &str| {
        hash.update(word.len().to_le_bytes());
        hash.update(word);
    };
    add(&service.item.ident.to_string());
    for method in &service.methods {
        add(&method.name.to_string());
        for argument in &method.arguments {
            add(&argument.name.to_string());
            add(&text(&argument.ty));
        }
        let output = match &method.output {
            Output::Plain(ty) => format!("plain {}", text(ty)),
            Output::Fallible(ty, error) => format!("result {} or {}", text(ty), text(error)),
            Output::Stream(ty, error) => format!("stream {} or {}", text(ty), text(error)),
        };
        add(&output);
        add(&format!("limits {} {}", method.request_max, method.answer_max));
    }
    hash.finalize().into()
}

fn dispatcher(service: &Service) -> TokenStream {
    let name = &service.item.ident;
    let interface = format_ident!("{name}Interface");
    let arms = service.methods.iter().zip(0_u32..).map(|(method, number)| {
        let call = call(name, method);
        let takes = method.arguments.iter().map(|argument| {
            let Argument { name, ty, .. } = argument;
            quote! {
                let #name: #ty =
                    __request.take().map_err(|_| ::strongroom::Refusal::Malformed)?;
            }
        });
        quote! {
            #number => {
                #(#takes)*
                __request.end().map_err(|_| ::strongroom::Refusal::Malformed)?;
                #call
            }
        }
    });
    quote! {
        impl<S: #name> ::strongroom::Dispatch<S> for #interface {
            fn dispatch(
                __service: &mut S,
                __number: u32,
                mut __request: ::strongroom::wire::Decoder<'_>,
                __answer: &mut ::strongroom::wire::Encoder<'_>,
                __streams: &mut ::strongroom::stream::Streams,
            ) -> ::core::result::Result<(), ::strongroom::Refusal> {
                match __number {
                    #(#arms)*
                    _ => ::core::result::Result::Err(::strongroom::Refusal::UnknownMethod),
                }
            }
        }
    }
}

/// Calls a method whose arguments are decoded, and writes what it returns.
fn call(service: &proc_macro2::Ident, method: &Method) -> TokenStream {
    let Method { name, answer_max, .. } = method;
    let arguments = method.arguments.iter().map(|argument| &argument.name);
    let called = quote!(<S as #service>::#name(__service, #(#arguments),*));
    let limit = u32::try_from(*answer_max).unwrap_or(u32::MAX);
    let put = quote! {
        __answer.put(&__result).map_err(|_| ::strongroom::Refusal::AnswerTooLarge(#limit))
    };
    match &method.output {
        Output::Plain(_) | Output::Fallible(..) => quote! {
            let __result = #called;
            #put
        },
        Output::Stream(_, error) => quote! {
            __streams.check_room()?;
            let __result: ::core::result::Result<u32, #error> = match #called {
                ::core::result::Result::Ok(stream) => {
                    ::core::result::Result::Ok(__streams.keep(stream)?)
                }
                ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
            };
            #put
        },
    }
}

fn client(service: &Service, asynchronous: bool) -> TokenStream {
    let visibility = &service.item.vis;
    let name = &service.item.ident;
    let interface = format_ident!("{name}Interface");
    let word = if asynchronous { "Async" } else { "" };
    let client = format_ident!("{name}{word}Client");
    let transport = format_ident!("{word}Transport");
    let connect = if asynchronous { quote!(ConnectAsync) } else { quote!(Connect) };
    let keyword = asynchronous.then(|| quote!(async));
    let wait = asynchronous.then(|| quote!(.await));
    let methods = service
        .methods
        .iter()
        .zip(0_usize..)
        .map(|(method, number)| client_method(&interface, method, number, asynchronous));
    let documentation = format!("Calls a `{name}`, over any transport. One session.");
    quote! {
        #[doc = #documentation]
        #[derive(Debug)]
        #visibility struct #client<T>(::strongroom::client::Session<#interface, T>);

        #[allow(dead_code, reason = "a service may live without this kind of client")]
        impl<T: ::strongroom::#transport> #client<T> {
            /// Opens a session with a service of the same interface.
            ///
            /// # Errors
            ///
            /// [`::strongroom::ConnectError`], which names both sides' interfaces when they differ.
            #visibility #keyword fn connect<C>(
                way: C,
            ) -> ::core::result::Result<Self, ::strongroom::ConnectError>
            where
                C: ::strongroom::#connect<Transport = T>,
            {
                let opening = ::strongroom::client::Opening::of::<#interface>();
                let transport = way.connect(&opening)#wait?;
                ::core::result::Result::Ok(Self(::strongroom::client::Session::new(transport)))
            }

            /// The session: time limits, and what carries it.
            #visibility const fn session(
                &mut self,
            ) -> &mut ::strongroom::client::Session<#interface, T> {
                &mut self.0
            }

            #(#methods)*
        }
    }
}

fn client_method(
    interface: &proc_macro2::Ident,
    method: &Method,
    number: usize,
    asynchronous: bool,
) -> TokenStream {
    let Method { name, documentation, arguments, output, .. } = method;
    let parameters = arguments.iter().map(|Argument { name, ty, .. }| quote!(#name: #ty));
    let puts = arguments.iter().map(|argument| {
        let name = &argument.name;
        match argument.passing {
            Passing::Value => quote!(__to.put(&#name)?;),
            Passing::Text => quote!(__to.put(#name)?;),
            Passing::Bytes => quote!(__to.put_bytes(#name)?;),
        }
    });
    let keyword = asynchronous.then(|| quote!(async));
    let wait = asynchronous.then(|| quote!(.await));
    let call = if asynchronous { quote!(call_async) } else { quote!(call) };
    let writer = if asynchronous { quote!(AsyncWriter) } else { quote!(Writer) };
    let called = quote! {
        self.0.#call(
            &<#interface as ::strongroom::Interface>::METHODS[#number],
            |__to| { #(#puts)* ::core::result::Result::Ok(()) },
        )#wait
    };
    let (result, error, body) = match output {
        Output::Plain(ty) => (quote!(#ty), quote!(::core::convert::Infallible), called),
        Output::Fallible(ty, error) => {
            (quote!(#ty), quote!(#error), quote!(::strongroom::client::flatten(#called)))
        }
        Output::Stream(ty, error) => (
            quote!(::strongroom::client::#writer<'_, #interface, T, #ty, #error>),
            quote!(#error),
            quote! {
                let number = ::strongroom::client::flatten(#called)?;
                ::core::result::Result::Ok(::strongroom::client::#writer::new(&mut self.0, number))
            },
        ),
    };
    quote! {
        #(#documentation)*
        ///
        /// # Errors
        ///
        /// [`::strongroom::CallError`].
        #[allow(clippy::indexing_slicing, reason = "the method is in the list by its number")]
        pub #keyword fn #name(
            &mut self,
            #(#parameters),*
        ) -> ::core::result::Result<#result, ::strongroom::CallError<#error>> {
            #body
        }
    }
}
