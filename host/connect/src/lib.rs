// SPDX-License-Identifier: MIT
//! Ways from the normal world to services, by URL.
//!
//! | URL | way |
//! |:--|:--|
//! | `optee:UUID` | a trusted application on this device, over `libteec` |
//! | `optee-qemu:UUID?ta=FILE` | a signed trusted application in QEMU, which this process starts |
//! | `unix:PATH`, `unix:@NAME` | a UNIX socket: how programs in an enclave reach the service beside them |
//! | `snp+unix:PATH?policy=FILE` | an SNP guest whose launcher listens there |
//! | `snp+tcp://HOST:PORT?policy=FILE` | the same, over a network |
//!
//! What begins with `snp+` is attested: evidence is verified before anything is said, and a policy has
//! to be named, or refused: `?insecure-any-enclave=true` in its place asks for genuine evidence only, of
//! whatever enclave it is. `&key=FILE` is the client's key (`strongroom keygen`), for services that name their
//! clients; `&insecure-accept-simulated=true` takes simulations too. Nothing of `optee:` is attested:
//! whoever opens it trusts this device's normal world to lead to its secure world, as with any trusted
//! application. Nothing of `unix:` is attested either. `optee-qemu:` is for development: [`simulated`]
//! says what else its URL may hold.
#![forbid(unsafe_code)]

mod asynchronous;
mod attested;
#[cfg_attr(not(target_arch = "aarch64"), path = "absent.rs")]
mod optee;
pub mod relay;
pub mod simulated;
mod stream;

pub use asynchronous::AsyncSession;
pub use attested::Attested;
pub use optee::Optee;
pub use simulated::{Simulated, Simulation};
pub use stream::Stream;

use strongroom_service::{
    Connect, ConnectError, Outgoing, Transport, TransportError, client::Opening,
};

/// A way to a service that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// `optee:UUID`.
    Optee(strongroom_tee::Uuid),
    /// `optee-qemu:UUID?…`.
    Simulated(Simulated),
    /// `unix:PATH`.
    Unix(String),
    /// `snp+…`.
    Attested(Attested),
}

/// The way that `url` names.
///
/// # Errors
///
/// [`TransportError::Address`].
pub fn to(url: &str) -> Result<Way, TransportError> {
    const KNOWN: &str = "write optee:UUID, optee-qemu:UUID?ta=FILE, unix:PATH, snp+unix:PATH or snp+tcp://HOST:PORT";
    if let Some(rest) = url.strip_prefix("snp+") {
        return Attested::parse(rest).map(Way::Attested);
    }
    let (scheme, rest) = url.split_once(':').ok_or(TransportError::Address(KNOWN))?;
    match scheme {
        "optee-qemu" => Simulated::parse(rest).map(Way::Simulated),
        "unix" if !rest.is_empty() => Ok(Way::Unix(rest.to_owned())),
        "optee" => strongroom_tee::Uuid::parse_str(rest)
            .map(Way::Optee)
            .map_err(|_| TransportError::Address("after optee: comes a UUID")),
        _ => Err(TransportError::Address(KNOWN)),
    }
}

/// An open session, over the way that was named.
#[derive(Debug)]
pub enum Session {
    /// With a trusted application.
    Optee(Optee),
    /// With one in QEMU.
    Simulation(Simulation),
    /// Over a stream.
    Stream(Stream),
}

impl Connect for Way {
    type Transport = Session;

    fn connect(self, opening: &Opening) -> Result<Session, ConnectError> {
        match self {
            Self::Optee(application) => Optee::open(application, opening).map(Session::Optee),
            Self::Simulated(application) => application.connect(opening).map(Session::Simulation),
            Self::Unix(path) => Stream::unix(&path, opening).map(Session::Stream),
            Self::Attested(enclave) => {
                Stream::attested(enclave.connect()?, opening).map(Session::Stream)
            }
        }
    }
}

impl Transport for Session {
    fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        match self {
            Self::Optee(optee) => optee.call(call),
            Self::Simulation(simulation) => simulation.call(call),
            Self::Stream(stream) => stream.call(call),
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
        assert!(matches!(to(&format!("optee-qemu:{uuid}?ta=x")), Ok(Way::Simulated(_))));
        assert_eq!(to("unix:@strongroom/service"), Ok(Way::Unix("@strongroom/service".to_owned())));
        assert!(matches!(to("snp+unix:/run/x?policy=p"), Ok(Way::Attested(_))));
        for wrong in ["", "optee", "optee:", "optee:5f0c", "unix:", "snp:x", "snp+unix:/x", uuid] {
            assert!(matches!(to(wrong), Err(TransportError::Address(_))), "{wrong}");
        }
    }
}
