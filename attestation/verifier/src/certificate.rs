// SPDX-License-Identifier: MIT
//! Certificates and revocation lists as bytes, checked one at a time.
//!
//! A signature is checked over the very bytes it was made over, not over an encoding made again
//! from the parsed form.

use crate::{Link, Refusal};
use ring::digest::{SHA256, digest};
use ring::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use x509_cert::TbsCertificate;
use x509_cert::crl::TbsCertList;
use x509_cert::der::asn1::{BitStringRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{self, Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// AMD's certificates have about 1,700 bytes.
const CERTIFICATE_LEN_MAX: usize = 16 << 10;

/// A list of some ten thousand certificates.
const LIST_LEN_MAX: usize = 1 << 20;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");

/// A certificate that was read, and nothing more.
pub(crate) struct Certificate<'a> {
    link: Link,
    signed: Signed<'a>,
    pub(crate) contents: TbsCertificate,
}

/// A list of revoked certificates that was read, and nothing more.
pub(crate) struct RevocationList<'a> {
    signed: Signed<'a>,
    pub(crate) contents: TbsCertList,
}

/// The outer shape that certificates and lists share (RFC 5280, 4.1 and 5.1).
struct Signed<'a> {
    contents: &'a [u8],
    algorithm: AlgorithmIdentifierOwned,
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn parse(bytes: &'a [u8], len_max: usize) -> Result<Self, String> {
        if bytes.len() > len_max {
            return Err(format!("{} bytes, and {len_max} are the limit", bytes.len()));
        }
        let read = || -> der::Result<Self> {
            let mut reader = SliceReader::new(bytes)?;
            let signed = reader.sequence(|inner| {
                let contents = inner.tlv_bytes()?;
                let algorithm = AlgorithmIdentifierOwned::decode(inner)?;
                let signature = BitStringRef::decode(inner)?;
                let whole_bytes = signature.as_bytes();
                let signature = whole_bytes.ok_or(der::Tag::BitString.value_error())?;
                Ok(Self { contents, algorithm, signature })
            })?;
            reader.finish(signed)
        };
        read().map_err(|error| error.to_string())
    }

    /// Verifies the signature as RSASSA-PSS with SHA-384, which is all that AMD uses.
    fn verify(&self, link: Link, key: &SubjectPublicKeyInfoOwned) -> Result<(), Refusal> {
        if self.algorithm.oid != RSASSA_PSS || key.algorithm.oid != RSA_ENCRYPTION {
            return Err(Refusal::Purpose { link, expected: "a signature of RSASSA-PSS" });
        }
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key.subject_public_key.raw_bytes())
            .verify(self.contents, self.signature)
            .map_err(|_| Refusal::Signature { link })
    }
}

impl<'a> Certificate<'a> {
    pub(crate) fn parse(link: Link, bytes: &'a [u8]) -> Result<Self, Refusal> {
        let unreadable = |reason| Refusal::Unreadable { link, reason };
        let signed = Signed::parse(bytes, CERTIFICATE_LEN_MAX).map_err(unreadable)?;
        let contents = TbsCertificate::from_der(signed.contents)
            .map_err(|error| unreadable(error.to_string()))?;
        if contents.signature != signed.algorithm {
            return Err(unreadable("two different signature algorithms".to_owned()));
        }
        refuse_unknown_critical(link, contents.extensions.as_ref())?;
        Ok(Self { link, signed, contents })
    }

    /// Checks that `issuer` signed this certificate, and that it names it.
    pub(crate) fn check_issued_by(&self, issuer: &Certificate<'_>) -> Result<(), Refusal> {
        check_issuer(self.link, &self.contents.issuer, issuer)?;
        self.signed.verify(self.link, issuer.public_key())
    }

    /// Checks that the certificate is one that may sign others.
    pub(crate) fn check_authority(&self) -> Result<(), Refusal> {
        let constraints: Option<BasicConstraints> = self.decoded(BASIC_CONSTRAINTS)?;
        let usage: Option<KeyUsage> = self.decoded(KEY_USAGE)?;
        let may_sign = constraints.is_some_and(|constraints| constraints.ca)
            && usage.is_some_and(|usage| usage.key_cert_sign());
        if may_sign {
            return Ok(());
        }
        Err(Refusal::Purpose { link: self.link, expected: "a certificate that may sign others" })
    }

    fn decoded<T: for<'d> Decode<'d>>(&self, oid: ObjectIdentifier) -> Result<Option<T>, Refusal> {
        let Some(value) = self.extension(oid) else { return Ok(None) };
        let unreadable =
            |error: der::Error| Refusal::Unreadable { link: self.link, reason: error.to_string() };
        T::from_der(value).map(Some).map_err(unreadable)
    }

    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let extensions = self.contents.extensions.as_ref()?;
        let found = extensions.iter().find(|extension| extension.extn_id == oid)?;
        Some(found.extn_value.as_bytes())
    }

    pub(crate) fn public_key(&self) -> &SubjectPublicKeyInfoOwned {
        &self.contents.subject_public_key_info
    }

    /// SHA-256 of the public key with its algorithm (`SubjectPublicKeyInfo`).
    pub(crate) fn key_sha256(&self) -> Result<String, Refusal> {
        let encoded = self
            .public_key()
            .to_der()
            .map_err(|error| Refusal::Unreadable { link: self.link, reason: error.to_string() })?;
        Ok(hex::encode(digest(&SHA256, &encoded)))
    }

    /// The point of a P-384 key, uncompressed.
    pub(crate) fn p384_point(&self) -> Result<Vec<u8>, Refusal> {
        let key = self.public_key();
        let curve = key.algorithm.parameters.as_ref();
        let curve = curve.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        if key.algorithm.oid != EC_PUBLIC_KEY || curve != Some(SECP384R1) {
            return Err(Refusal::Purpose { link: self.link, expected: "a key of P-384" });
        }
        Ok(key.subject_public_key.raw_bytes().to_vec())
    }

    pub(crate) fn common_name(&self) -> Option<String> {
        common_name(&self.contents.subject)
    }

    /// First and last second of validity, since 1970.
    pub(crate) fn validity(&self) -> (u64, u64) {
        let validity = &self.contents.validity;
        let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        (seconds(validity.not_before), seconds(validity.not_after))
    }

    /// Hexadecimal.
    pub(crate) fn serial(&self) -> String {
        hex::encode(self.contents.serial_number.as_bytes())
    }
}

impl<'a> RevocationList<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let link = Link::RevocationList;
        let unreadable = |reason| Refusal::Unreadable { link, reason };
        let signed = Signed::parse(bytes, LIST_LEN_MAX).map_err(unreadable)?;
        let contents = TbsCertList::from_der(signed.contents)
            .map_err(|error| unreadable(error.to_string()))?;
        if contents.signature != signed.algorithm {
            return Err(unreadable("two different signature algorithms".to_owned()));
        }
        refuse_unknown_critical(link, contents.crl_extensions.as_ref())?;
        Ok(Self { signed, contents })
    }

    pub(crate) fn check_issued_by(&self, issuer: &Certificate<'_>) -> Result<(), Refusal> {
        check_issuer(Link::RevocationList, &self.contents.issuer, issuer)?;
        self.signed.verify(Link::RevocationList, issuer.public_key())
    }

    /// Refuses `certificate` when the list names it, whatever the date: a key that will be
    /// revoked tomorrow is not one to trust today.
    pub(crate) fn check_not_revoked(&self, certificate: &Certificate<'_>) -> Result<(), Refusal> {
        let serial = &certificate.contents.serial_number;
        let mut revoked = self.contents.revoked_certificates.iter().flatten();
        match revoked.any(|entry| entry.serial_number == *serial) {
            false => Ok(()),
            true => Err(Refusal::Revoked { link: certificate.link, serial: certificate.serial() }),
        }
    }
}

fn check_issuer(link: Link, named: &Name, issuer: &Certificate<'_>) -> Result<(), Refusal> {
    let expected = &issuer.contents.subject;
    if named == expected {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), named.to_string());
    Err(Refusal::Name { link, field: "issuer", expected, found })
}

fn refuse_unknown_critical(link: Link, extensions: Option<&Extensions>) -> Result<(), Refusal> {
    let known = |extension: &Extension| {
        extension.extn_id == BASIC_CONSTRAINTS || extension.extn_id == KEY_USAGE
    };
    let mut critical = extensions.into_iter().flatten().filter(|extension| extension.critical);
    match critical.find(|extension| !known(extension)) {
        None => Ok(()),
        Some(unknown) => Err(Refusal::CriticalExtension { link, oid: unknown.extn_id.to_string() }),
    }
}

/// The one common name of a subject.
fn common_name(name: &Name) -> Option<String> {
    let mut attributes = name.0.iter().flat_map(|part| part.0.iter());
    let value = &attributes.find(|attribute| attribute.oid == COMMON_NAME)?.value;
    if let Ok(text) = value.decode_as::<Utf8StringRef<'_>>() {
        return Some(text.as_str().to_owned());
    }
    Some(value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str().to_owned())
}
