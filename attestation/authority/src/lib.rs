// SPDX-License-Identifier: MIT
//! A made-up authority in the shape of AMD's: a root, two issuers, and chips' keys below them.
//!
//! The simulation's security processor is certified by one, and tests of evidence are made with
//! others. All names in its certificates say that it is simulated. Every part of a certificate
//! can be chosen, so that a test may make just the one thing wrong that it is about.
#![forbid(unsafe_code)]

use p384::ecdsa::SigningKey as EcdsaKey;
use p384::ecdsa::signature::Signer as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rsa::pss::BlindedSigningKey;
use rsa::rand_core::OsRng;
use rsa::sha2::Sha384;
use rsa::signature::{Keypair as _, RandomizedSigner as _, SignatureEncoding as _};
use std::str::FromStr as _;
use std::time::Duration;
use strongroom_evidence::{REPORT_LEN, Report, Signature, TcbVersion};
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::{BitString, Ia5String, ObjectIdentifier, OctetString, UtcTime};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{
    AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier as _, SubjectPublicKeyInfoOwned,
};
use x509_cert::time::{Time, Validity};

/// Half of AMD's length: users and tests would otherwise wait for prime numbers.
const KEY_BITS: usize = 2048;

/// Between these seconds since 1970 certificates are valid unless a test says otherwise.
pub const VALIDITY: (u64, u64) = (1_700_000_000, 2_500_000_000);

/// What all names say besides their common name.
const ORGANISATION: &str = "Simulated by Strongroom";

/// Something has no encoding, or there was no randomness. What is encoded here comes from this
/// program, so there is nothing that a caller could do about it.
#[derive(Debug, thiserror::Error)]
#[error("simulated authority: {0}")]
pub struct AuthorityError(String);

type Result<T> = std::result::Result<T, AuthorityError>;

fn failed(error: impl std::fmt::Display) -> AuthorityError {
    AuthorityError(error.to_string())
}

/// An RSA key that signs certificates and lists.
#[derive(Debug)]
pub struct Issuer {
    key: BlindedSigningKey<Sha384>,
}

/// What to put into a certificate.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Common name of the subject.
    pub subject: String,
    /// Common name of the issuer.
    pub issuer: String,
    /// Serial number.
    pub serial: u64,
    /// First and last second of validity, since 1970.
    pub validity: (u64, u64),
    /// Extensions in their order.
    pub extensions: Vec<Extension>,
}

/// What AMD's extensions of a chip's certificate say.
#[derive(Clone, Debug)]
pub struct ChipFacts {
    /// "Milan-B0" and the like.
    pub product: String,
    /// The version that the key is for.
    pub tcb: TcbVersion,
    /// The chip, for a VCEK.
    pub chip_id: Option<Vec<u8>>,
    /// The provider, for a VLEK.
    pub provider: Option<String>,
}

/// A root, the two issuers below it, and their certificates.
#[derive(Debug)]
pub struct Authority {
    /// "Milan" and the like.
    pub line: String,
    /// The root's key.
    pub root: Issuer,
    /// The key that issues certificates of chips' own keys.
    pub ask: Issuer,
    /// The key that issues certificates of loaded keys.
    pub asvk: Issuer,
    /// The root's certificate, DER.
    pub root_certificate: Vec<u8>,
    /// The first issuer's certificate, DER.
    pub ask_certificate: Vec<u8>,
    /// The second issuer's certificate, DER.
    pub asvk_certificate: Vec<u8>,
}

/// A key that signs reports.
#[derive(Debug)]
pub struct Chip {
    key: EcdsaKey,
}

impl Issuer {
    /// Makes a key.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate() -> Result<Self> {
        let key = rsa::RsaPrivateKey::new(&mut OsRng, KEY_BITS).map_err(failed)?;
        Ok(Self { key: BlindedSigningKey::new(key) })
    }

    /// A key from its encoding.
    ///
    /// # Errors
    /// Bytes that are no key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self> {
        let key = rsa::RsaPrivateKey::from_pkcs8_der(der).map_err(failed)?;
        Ok(Self { key: BlindedSigningKey::new(key) })
    }

    /// The private key, PKCS #8, DER.
    ///
    /// # Errors
    /// An encoding that fails.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>> {
        let key: &rsa::RsaPrivateKey = self.key.as_ref();
        Ok(key.to_pkcs8_der().map_err(failed)?.as_bytes().to_vec())
    }

    /// Its public half.
    ///
    /// # Errors
    /// An encoding that fails.
    pub fn public_key(&self) -> Result<SubjectPublicKeyInfoOwned> {
        let public: &rsa::RsaPublicKey = &self.key.verifying_key().into();
        let document = public.to_public_key_der().map_err(failed)?;
        SubjectPublicKeyInfoOwned::from_der(document.as_bytes()).map_err(failed)
    }

    /// Signs a certificate over `public_key`, DER.
    ///
    /// # Errors
    /// Contents that have no encoding.
    pub fn certify(
        &self,
        contents: &Contents,
        public_key: SubjectPublicKeyInfoOwned,
    ) -> Result<Vec<u8>> {
        let (from, to) = contents.validity;
        let tbs_certificate = TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::from(contents.serial),
            signature: self.algorithm()?,
            issuer: name(&contents.issuer)?,
            validity: Validity { not_before: time(from)?, not_after: time(to)? },
            subject: name(&contents.subject)?,
            subject_public_key_info: public_key,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(contents.extensions.clone()),
        };
        let signature = self.sign(&tbs_certificate.to_der().map_err(failed)?)?;
        let signature_algorithm = self.algorithm()?;
        let certificate = Certificate { tbs_certificate, signature_algorithm, signature };
        certificate.to_der().map_err(failed)
    }

    /// Signs a list of revoked serial numbers, DER, in the name of `issuer`.
    ///
    /// # Errors
    /// Contents that have no encoding.
    pub fn revoke(&self, issuer: &str, serials: &[u64], updates: (u64, u64)) -> Result<Vec<u8>> {
        let (this, next) = updates;
        let revoked = |serial: &u64| -> Result<RevokedCert> {
            Ok(RevokedCert {
                serial_number: SerialNumber::from(*serial),
                revocation_date: time(this)?,
                crl_entry_extensions: None,
            })
        };
        let revoked = serials.iter().map(revoked).collect::<Result<Vec<_>>>()?;
        let tbs_cert_list = TbsCertList {
            version: Version::V2,
            signature: self.algorithm()?,
            issuer: name(issuer)?,
            this_update: time(this)?,
            next_update: Some(time(next)?),
            revoked_certificates: Some(revoked).filter(|list| !list.is_empty()),
            crl_extensions: None,
        };
        let signature = self.sign(&tbs_cert_list.to_der().map_err(failed)?)?;
        let signature_algorithm = self.algorithm()?;
        let list = CertificateList { tbs_cert_list, signature_algorithm, signature };
        list.to_der().map_err(failed)
    }

    fn algorithm(&self) -> Result<AlgorithmIdentifierOwned> {
        self.key.signature_algorithm_identifier().map_err(failed)
    }

    fn sign(&self, message: &[u8]) -> Result<BitString> {
        let signature = self.key.try_sign_with_rng(&mut OsRng, message).map_err(failed)?;
        BitString::from_bytes(&signature.to_vec()).map_err(failed)
    }
}

impl Authority {
    /// Makes the three keys and their certificates.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate(line: &str) -> Result<Self> {
        let (root, ask, asvk) = (Issuer::generate()?, Issuer::generate()?, Issuer::generate()?);
        let root_contents = Self::root_contents(line)?;
        let root_certificate = root.certify(&root_contents, root.public_key()?)?;
        let certify = |prefix: &str, serial, key: &Issuer| {
            root.certify(&Self::issuer_contents(line, prefix, serial)?, key.public_key()?)
        };
        let ask_certificate = certify("SEV", 1, &ask)?;
        let asvk_certificate = certify("SEV-VLEK", 2, &asvk)?;
        let line = line.to_owned();
        Ok(Self { line, root, ask, asvk, root_certificate, ask_certificate, asvk_certificate })
    }

    /// What a root's certificate says.
    ///
    /// # Errors
    /// An encoding that fails.
    pub fn root_contents(line: &str) -> Result<Contents> {
        let subject = format!("ARK-{line}");
        let extensions = authority_extensions()?;
        Ok(Contents { issuer: subject.clone(), subject, serial: 0, validity: VALIDITY, extensions })
    }

    /// What an issuer's certificate says: `prefix` is `SEV` or `SEV-VLEK`.
    ///
    /// # Errors
    /// An encoding that fails.
    pub fn issuer_contents(line: &str, prefix: &str, serial: u64) -> Result<Contents> {
        Ok(Contents {
            subject: format!("{prefix}-{line}"),
            issuer: format!("ARK-{line}"),
            serial,
            validity: VALIDITY,
            extensions: authority_extensions()?,
        })
    }

    /// What a chip's certificate says, for a VCEK or, where the facts name a provider, a VLEK.
    ///
    /// # Errors
    /// An encoding that fails.
    pub fn chip_contents(&self, facts: &ChipFacts) -> Result<Contents> {
        let vlek = facts.provider.is_some();
        let issuer = if vlek { "SEV-VLEK" } else { "SEV" };
        Ok(Contents {
            subject: if vlek { "SEV-VLEK" } else { "SEV-VCEK" }.to_owned(),
            issuer: format!("{issuer}-{}", self.line),
            serial: 0,
            validity: VALIDITY,
            extensions: chip_extensions(facts)?,
        })
    }

    /// The certificate of a chip with these facts, DER.
    ///
    /// # Errors
    /// An encoding that fails.
    pub fn certify_chip(&self, facts: &ChipFacts, chip: &Chip) -> Result<Vec<u8>> {
        let issuer = if facts.provider.is_some() { &self.asvk } else { &self.ask };
        issuer.certify(&self.chip_contents(facts)?, chip.public_key()?)
    }
}

impl Chip {
    /// Makes a key.
    #[must_use]
    pub fn generate() -> Self {
        Self { key: EcdsaKey::random(&mut OsRng) }
    }

    /// A key from its encoding.
    ///
    /// # Errors
    /// Bytes that are no key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self> {
        Ok(Self { key: EcdsaKey::from_pkcs8_der(der).map_err(failed)? })
    }

    /// The private key, PKCS #8, DER.
    ///
    /// # Errors
    /// An encoding that fails.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>> {
        Ok(self.key.to_pkcs8_der().map_err(failed)?.as_bytes().to_vec())
    }

    /// Its public half.
    ///
    /// # Errors
    /// An encoding that fails.
    pub fn public_key(&self) -> Result<SubjectPublicKeyInfoOwned> {
        let document = self.key.verifying_key().to_public_key_der().map_err(failed)?;
        SubjectPublicKeyInfoOwned::from_der(document.as_bytes()).map_err(failed)
    }

    /// Signs `report` and returns its bytes.
    #[must_use]
    pub fn sign(&self, report: &Report) -> [u8; REPORT_LEN] {
        let mut signed = *report;
        signed.signature = self.signature(Report::signed_part(&report.encode()));
        signed.encode()
    }

    /// The signature over `message`.
    #[must_use]
    pub fn signature(&self, message: &[u8]) -> Signature {
        let signature: p384::ecdsa::Signature = self.key.sign(message);
        Signature { r: signature.r().to_bytes().into(), s: signature.s().to_bytes().into() }
    }
}

/// An extension with this object identifier and value.
///
/// # Errors
/// An identifier or a value without encoding.
pub fn extension(oid: &str, critical: bool, value: &[u8]) -> Result<Extension> {
    Ok(Extension {
        extn_id: ObjectIdentifier::new(oid).map_err(failed)?,
        critical,
        extn_value: OctetString::new(value).map_err(failed)?,
    })
}

fn authority_extensions() -> Result<Vec<Extension>> {
    let constraints = BasicConstraints { ca: true, path_len_constraint: None };
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    Ok(vec![
        extension("2.5.29.19", true, &constraints.to_der().map_err(failed)?)?,
        extension("2.5.29.15", true, &usage.to_der().map_err(failed)?)?,
    ])
}

/// AMD's extensions of a chip's certificate.
///
/// # Errors
/// An encoding that fails.
pub fn chip_extensions(facts: &ChipFacts) -> Result<Vec<Extension>> {
    let amd =
        |tail: &str, value: &[u8]| extension(&format!("1.3.6.1.4.1.3704.1.{tail}"), false, value);
    let part = |tail: &str, value: u8| amd(tail, &value.to_der().map_err(failed)?);
    let mut extensions = vec![
        amd("2", &text(&facts.product)?)?,
        part("3.1", facts.tcb.boot_loader)?,
        part("3.2", facts.tcb.tee)?,
        part("3.3", facts.tcb.snp)?,
        part("3.8", facts.tcb.microcode)?,
    ];
    if let Some(fmc) = facts.tcb.fmc {
        extensions.push(part("3.9", fmc)?);
    }
    if let Some(chip_id) = &facts.chip_id {
        extensions.push(amd("4", chip_id)?);
    }
    if let Some(provider) = &facts.provider {
        extensions.push(amd("5", &text(provider)?)?);
    }
    Ok(extensions)
}

fn text(value: &str) -> Result<Vec<u8>> {
    Ia5String::new(value).and_then(|text| text.to_der()).map_err(failed)
}

fn name(common_name: &str) -> Result<Name> {
    Name::from_str(&format!("CN={common_name},O={ORGANISATION}")).map_err(failed)
}

fn time(seconds: u64) -> Result<Time> {
    let time = UtcTime::from_unix_duration(Duration::from_secs(seconds)).map_err(failed)?;
    Ok(Time::UtcTime(time))
}

/// DER as PEM.
///
/// # Errors
/// A label that is none.
pub fn pem(label: &'static str, der: &[u8]) -> Result<String> {
    use x509_cert::der::pem::{LineEnding, encode_string};
    encode_string(label, LineEnding::LF, der).map_err(failed)
}
