// SPDX-License-Identifier: MIT
//! Ways from the normal world to services, by URL.
//!
//! | URL | way |
//! |:--|:--|
//! | `optee:UUID` | a trusted application on this device, over `libteec` |
//!
//! Nothing of `optee:` is attested: whoever opens it trusts this device's normal world to lead to
//! its secure world, as with any trusted application.
#![forbid(unsafe_code)]

mod optee;

pub use optee::Optee;

use strongroom_service::{
    Connect, ConnectError, Outgoing, Transport, TransportError, client::Opening,
};

/// A way to a service that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// `optee:UUID`.
    Optee(strongroom_tee::Uuid),
}

/// The way that `url` names.
///
/// # Errors
///
/// [`TransportError::Address`].
pub fn to(url: &str) -> Result<Way, TransportError> {
    let (scheme, rest) = url.split_once(':').ok_or(TransportError::Address("write optee:UUID"))?;
    match scheme {
        "optee" => strongroom_tee::Uuid::parse_str(rest)
            .map(Way::Optee)
            .map_err(|_| TransportError::Address("after optee: comes a UUID")),
        _ => Err(TransportError::Address("only optee: is known")),
    }
}

/// An open session, over the way that was named.
#[derive(Debug)]
pub enum Session {
    /// With a trusted application.
    Optee(Optee),
}

impl Connect for Way {
    type Transport = Session;

    fn connect(self, opening: &Opening) -> Result<Session, ConnectError> {
        match self {
            Self::Optee(application) => Optee::open(application, opening).map(Session::Optee),
        }
    }
}

impl Transport for Session {
    fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        match self {
            Self::Optee(optee) => optee.call(call),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_addresses_are_ways() {
        let uuid = "5f0c1a3e-8d4b-4c56-9b1f-2a7e6d0c9f31";
        assert!(matches!(to(&format!("optee:{uuid}")), Ok(Way::Optee(_))));
        for wrong in ["", "optee", "optee:", "optee:5f0c", "snp:x", uuid] {
            assert!(matches!(to(wrong), Err(TransportError::Address(_))), "{wrong}");
        }
    }
}
