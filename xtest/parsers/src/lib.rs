// SPDX-License-Identifier: MIT
//! Parsers of untrusted bytes: each as a function that must not panic, with a property that holds
//! for whatever it accepts, and inputs that our own code made to start from.
//!
//! Two engines feed them: `tests/mutations.rs`, on any toolchain, and libFuzzer, `xtest/fuzz`.
#![forbid(unsafe_code)]

mod corpus;
mod mutate;

pub use corpus::corpus;
pub use mutate::Mutator;

use strongroom_client::package::format::{BLOCK, Index};
use strongroom_evidence::{CertificateKind, CertificateTable, REPORT_LEN, Report};
use strongroom_session::client::Hello;
use strongroom_session::enclave::Waiting;
use strongroom_session::message::{ToClient, ToEnclave};
use strongroom_session::{FRAME_MAX, Frames, Gathered, SECRETS_LEN_MAX, SecretKey};
use strongroom_snp_igvm::LaunchImage;
use strongroom_snp_layout::{LaunchPage, PAGE_LEN};
use strongroom_token::Token;
use strongroom_verifier::{CachedChain, Endorsements, Enrolment, Policy, decode_certificates};
use strongroom_wire::Untrusted;
use strongroom_wire::boot::{Record, SessionTerms};

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    /// Its name, that of the fuzz target and of its corpus.
    pub name: &'static str,
    /// Feeds it; panics where a property does not hold.
    pub feed: fn(&[u8]),
}

/// All of them.
pub const PARSERS: [Parser; 10] = [
    Parser { name: "report", feed: report },
    Parser { name: "certificate_table", feed: certificate_table },
    Parser { name: "certificates", feed: certificates },
    Parser { name: "policy", feed: policy },
    Parser { name: "package", feed: package },
    Parser { name: "boot", feed: boot },
    Parser { name: "igvm", feed: igvm },
    Parser { name: "session", feed: session },
    Parser { name: "token", feed: token },
    Parser { name: "enrolment", feed: enrolment },
];

/// An attestation report: what is accepted has one encoding.
pub fn report(bytes: &[u8]) {
    if let Ok(report) = Report::parse(bytes) {
        assert_eq!(bytes.len(), REPORT_LEN);
        assert_eq!(report.encode(), bytes, "two encodings of one report");
    }
}

/// The token of a trusted application: what is accepted has one encoding.
pub fn token(bytes: &[u8]) {
    if let Ok(token) = Token::parse(bytes) {
        let again = token.statement.to_token(|signed| {
            assert_eq!(signed, token.signed, "other bytes are signed than are read");
            token.signature
        });
        assert_eq!(again.as_deref(), Ok(bytes), "two encodings of one token");
    }
}

/// An enrolment: what was read can be written, and is read the same.
pub fn enrolment(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(enrolment) = Enrolment::from_toml(text) {
        assert_eq!(Enrolment::from_toml(&enrolment.to_toml()), Ok(enrolment), "written again");
    }
}

/// The table of certificates that a host hands over: all that it leads to lies inside.
pub fn certificate_table(bytes: &[u8]) {
    let Ok(table) = CertificateTable::parse(bytes) else { return };
    for kind in [
        CertificateKind::Ark,
        CertificateKind::Ask,
        CertificateKind::Vcek,
        CertificateKind::Vlek,
        CertificateKind::Crl,
    ] {
        if let Some(certificate) = table.certificate(kind) {
            assert!(bytes.as_ptr_range().contains(&certificate.as_ptr()) || certificate.is_empty());
            let _decoded = decode_certificates(certificate);
        }
    }
}

/// Certificates and revocation lists: nothing that was not signed by an authority is a chain.
pub fn certificates(bytes: &[u8]) {
    let decoded = decode_certificates(bytes).unwrap_or_default();
    let mut parts = decoded.iter().map(Vec::as_slice).cycle();
    let mut next = || parts.next().unwrap_or(bytes);
    let endorsements = Endorsements {
        report_key: next(),
        issuer: next(),
        root: next(),
        revocation_list: Some(next()),
    };
    let _chain = CachedChain::check(&endorsements, strongroom_attestation_testing::machine::NOW);
}

/// A policy: errors have a place inside the text.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Err(error) = Policy::from_toml(text) {
        assert!(error.line <= text.matches('\n').count().saturating_add(1), "{error}");
        assert!(!error.message.is_empty());
    }
}

/// The first block of a package: what is accepted has one encoding.
pub fn package(bytes: &[u8]) {
    let Some((block, rest)) = bytes.split_first_chunk::<BLOCK>() else { return };
    let claimed = rest.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    if let Ok(index) = Index::parse(block, claimed) {
        assert_eq!(index.encode(), *block, "two encodings of one index");
    }
}

/// What the payload reads at its start: launch page and boot record.
pub fn boot(bytes: &[u8]) {
    if let Some(Ok((launch_page, page))) =
        bytes.first_chunk::<PAGE_LEN>().map(|page| LaunchPage::parse(page).map(|read| (read, page)))
    {
        assert_eq!(launch_page.encode(), *page, "two encodings of one launch page");
    }
    if let Ok(record) = Record::decode(bytes) {
        assert!(record.encode().is_ok());
    }
}

/// A launch image, as the launcher of the simulation reads it: as it is, and with length and checksum
/// put right, for else nearly every change ends there.
pub fn igvm(bytes: &[u8]) {
    let _image = LaunchImage::from_igvm(bytes);
    if let Some(resealed) = resealed(bytes) {
        let _image = LaunchImage::from_igvm(&resealed);
    }
}

/// A session: a stream of frames, each as a message of the handshake and, as if it had been opened,
/// of either direction. What is taken in stays within its limits.
pub fn session(bytes: &[u8]) {
    let mut frames = Frames::default();
    let mut gathered = Gathered::default();
    let terms = session_terms();
    for piece in bytes.chunks(FRAME_MAX) {
        if frames.push(piece).is_err() {
            return;
        }
        while let Ok(Some(frame)) = frames.next(FRAME_MAX) {
            handshake(&frame);
            if let Ok(message) = Untrusted::new(&frame).parse::<ToClient<'_>>() {
                let again = postcard::to_allocvec(&message).unwrap_or_default();
                assert_eq!(Untrusted::new(&again).parse(), Ok(message), "encoded again");
            }
            let Ok(message) = Untrusted::new(&frame).parse::<ToEnclave<'_>>() else { continue };
            if gathered.take(&terms, &message).is_err() {
                return;
            }
        }
    }
    let held: usize = gathered.secrets.iter().map(|secret| secret.bytes.len()).sum();
    assert!(held <= SECRETS_LEN_MAX);
    if gathered.check_complete(&terms).is_ok() {
        assert_eq!(gathered.secrets.len(), terms.secrets.len());
    }
}

/// What the good inputs for [`session`] are held to.
fn session_terms() -> SessionTerms {
    SessionTerms {
        late_arguments: true,
        late_environment: vec!["REGION".into()],
        secrets: vec!["key".into()],
        ..SessionTerms::default()
    }
}

/// A frame as each message of a handshake that only the other side's key could have made.
fn handshake(frame: &[u8]) {
    let waiting = Waiting::new([1; 32], [2; 32]).map(|waiting| waiting.receive(frame));
    if let Ok(Ok((replied, _))) = waiting {
        assert!(replied.receive(frame).is_err());
    }
    let hello = Hello::new(&SecretKey::from_bytes([3; 32]), [4; 32], [5; 32]);
    if let Ok((hello, _)) = hello {
        assert!(hello.receive(frame).is_err());
    }
}

/// The file with its length and the CRC-32 of its headers in place (`IGVM_FIXED_HEADER`).
fn resealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut file = bytes.to_vec();
    let length = u32::try_from(file.len()).ok()?;
    let headers_len = u32::from_le_bytes(*file.get(12..)?.first_chunk()?);
    let headers_end = usize::try_from(headers_len).ok()?.checked_add(24)?;
    file.get_mut(16..)?.first_chunk_mut::<4>()?.copy_from_slice(&length.to_le_bytes());
    file.get_mut(20..)?.first_chunk_mut::<4>()?.fill(0);
    let checksum = crc32fast::hash(file.get(..headers_end)?);
    file.get_mut(20..)?.first_chunk_mut::<4>()?.copy_from_slice(&checksum.to_le_bytes());
    Some(file)
}
