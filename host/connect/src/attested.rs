// SPDX-License-Identifier: MIT
//! The way to a service in an SNP guest: `snp+unix:PATH?policy=FILE` and `snp+tcp://HOST:PORT?policy=FILE`.

use std::path::PathBuf;
use strongroom_client::attest::{
    Appraisal, Attachment, Brings, ChainCache, EndorsementFiles, ServiceConnection, Verdict,
    read_key,
};
use strongroom_client::session::AttachAddress;
use strongroom_service::{ConnectError, TransportError};

/// Where an enclave is, and what it takes to believe in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    address: AttachAddress,
    appraisal: Appraisal,
    key: Option<PathBuf>,
    insecure_accept_simulated: bool,
}

const NO_POLICY: &str = "say what is asked of the evidence: ?policy=FILE";
const TWO_POLICIES: &str = "policy=FILE and insecure-any-enclave=true exclude each other";
const QUERY: &str = "a query has policy=FILE, key=FILE, insecure-any-enclave=true and insecure-accept-simulated=true";

impl Attested {
    /// Of the text behind `snp+`, which is `unix:PATH` or `tcp://HOST:PORT` and a query.
    pub(crate) fn parse(text: &str) -> Result<Self, TransportError> {
        let (address, query) = text.split_once('?').ok_or(TransportError::Address(NO_POLICY))?;
        let address = address.replacen("tcp://", "tcp:", 1).parse();
        let address = address
            .map_err(|_| TransportError::Address("write snp+unix:PATH or snp+tcp://HOST:PORT"))?;
        let (mut policy, mut key, mut any, mut simulated) = (None, None, false, false);
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("policy", file)) if !file.is_empty() => policy = Some(file.into()),
                Some(("key", file)) if !file.is_empty() => key = Some(file.into()),
                Some(("insecure-any-enclave", "true")) => any = true,
                Some(("insecure-accept-simulated", "true")) => simulated = true,
                Some(_) | None => return Err(TransportError::Address(QUERY)),
            }
        }
        let appraisal = match (policy, any) {
            (Some(policy), false) => Appraisal::Policy(policy),
            (None, true) => Appraisal::InsecureAnyEnclave,
            (Some(_), true) => return Err(TransportError::Address(TWO_POLICIES)),
            (None, false) => return Err(TransportError::Address(NO_POLICY)),
        };
        Ok(Self { address, appraisal, key, insecure_accept_simulated: simulated })
    }

    /// Connects, and verifies: nothing is said to an enclave that was not.
    pub(crate) fn connect(&self) -> Result<ServiceConnection, ConnectError> {
        let key = self.key.as_deref().map(read_key).transpose();
        let attachment = Attachment {
            appraisal: self.appraisal.clone(),
            insecure_accept_simulated: self.insecure_accept_simulated,
            endorsements: EndorsementFiles {
                cache: ChainCache::of_user().ok(),
                ..EndorsementFiles::default()
            },
            key: key.map_err(|error| ConnectError::Attestation(error.to_string().into()))?,
            brings: Brings::default(),
        };
        attachment.connect(&self.address).map_err(|verdict| match verdict {
            Verdict::Refused { reason } => ConnectError::Attestation(reason.message.into()),
            Verdict::Undecided { message, hint: Some(hint) } => {
                ConnectError::Attestation(format!("{message} ({hint})").into())
            }
            Verdict::Undecided { message, hint: None } => ConnectError::Attestation(message.into()),
            Verdict::Accepted { .. } => TransportError::Protocol.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_has_to_be_named() {
        for (text, wanted) in [
            ("unix:/run/x", NO_POLICY),
            ("unix:/run/x?key=k", NO_POLICY),
            ("unix:/run/x?policy=", "a query has"),
            ("unix:/run/x?policy=p&insecure-any-enclave=true", TWO_POLICIES),
            ("unix:/run/x?insecure-any-enclave=yes", "a query has"),
            ("unix:/run/x?policy=p&insecure-accept-simulated=yes", "a query has"),
            ("tcp://host?policy=p", "write snp+unix"),
            ("udp:host:1?policy=p", "write snp+unix"),
        ] {
            let Err(TransportError::Address(said)) = Attested::parse(text) else {
                panic!("{text} is taken")
            };
            assert!(said.starts_with(wanted), "{text}: {said}");
        }
        let whole = Attested::parse("tcp://host:7000?policy=p.toml&key=k").unwrap();
        assert_eq!(whole.address, "tcp:host:7000".parse().unwrap());
        assert_eq!(whole.appraisal, Appraisal::Policy(PathBuf::from("p.toml")));
        assert_eq!(whole.key, Some(PathBuf::from("k")));
        assert!(!whole.insecure_accept_simulated);
        let any = Attested::parse("unix:/run/x?insecure-any-enclave=true").unwrap();
        assert_eq!(any.appraisal, Appraisal::InsecureAnyEnclave);
    }
}
