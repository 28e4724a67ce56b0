// SPDX-License-Identifier: MIT
//! The chain from AMD's root to the key that signs reports.

use crate::amd_certificates;
use crate::certificate::{Certificate, RevocationList};
use crate::{KeyKind, Link, Part, ProductLine, Refusal};
use strongroom_evidence::TcbVersion;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier};
use x509_cert::der::{Decode, pem};

/// Certificates and, if there is one, a revocation list: all DER.
///
/// Where the root and the issuer are AMD's, [`AmdCertificates`] has them.
#[derive(Clone, Copy, Debug)]
pub struct Endorsements<'a> {
    /// The root (ARK).
    pub root: &'a [u8],
    /// The issuer below it: ASK for a VCEK, ASVK for a VLEK.
    pub issuer: &'a [u8],
    /// The key that signs reports: VCEK or VLEK.
    pub report_key: &'a [u8],
    /// The root's revocation list.
    pub revocation_list: Option<&'a [u8]>,
}

/// Root and issuer of a report key, of those that this crate knows. DER.
#[derive(Clone, Debug)]
pub struct AmdCertificates {
    /// The root (ARK).
    pub root: Vec<u8>,
    /// ASK or ASVK.
    pub issuer: Vec<u8>,
}

impl AmdCertificates {
    /// The ones that `report_key`, DER, says it is issued under. That is a hint of where to
    /// look, not a check.
    ///
    /// # Errors
    /// [`Refusal`] when the certificate cannot be read or names none of AMD's issuers.
    pub fn for_report_key(report_key: &[u8]) -> Result<Self, Refusal> {
        let certificate = Certificate::parse(Link::ReportKey, report_key)?;
        let issuer = certificate.contents.issuer.to_string();
        let names = |name: String| {
            let mut parts = issuer.split(['+', ',']);
            parts.any(|part| part.strip_prefix("CN=") == Some(name.as_str()))
        };
        for line in ProductLine::ALL {
            if names(format!("SEV-{line}")) {
                return Self::of(line, KeyKind::Vcek);
            }
            if names(format!("SEV-VLEK-{line}")) {
                return Self::of(line, KeyKind::Vlek);
            }
        }
        Err(Refusal::Name {
            link: Link::ReportKey,
            field: "issuer",
            expected: "one of AMD's issuers".to_owned(),
            found: issuer,
        })
    }

    /// The ones of `line` for keys of `kind`.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`] never happens: the certificates are part of this crate.
    pub fn of(line: ProductLine, kind: KeyKind) -> Result<Self, Refusal> {
        let issuer = match kind {
            KeyKind::Vcek => amd_certificates::ask(line),
            KeyKind::Vlek => amd_certificates::asvk(line),
        };
        let root = decode_pem(Link::Root, amd_certificates::ark(line))?;
        Ok(Self { root, issuer: decode_pem(Link::Issuer, issuer)? })
    }
}

fn decode_pem(link: Link, text: &str) -> Result<Vec<u8>, Refusal> {
    let decoded = decode_certificates(text.as_bytes());
    let first = decoded.map(|certificates| certificates.into_iter().next().unwrap_or_default());
    first.map_err(|reason| Refusal::Unreadable { link, reason })
}

/// The certificates or lists in a file: one as DER, or one and more as PEM, in their order.
///
/// # Errors
/// What is wrong with the file, where it is neither.
pub fn decode_certificates(file: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    const BEGIN: &str = "-----BEGIN ";
    const SEQUENCE: u8 = 0x30;
    if file.first() == Some(&SEQUENCE) {
        return Ok(vec![file.to_vec()]);
    }
    let text = str::from_utf8(file).map_err(|_| "neither DER nor PEM".to_owned())?;
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    if starts.is_empty() {
        return Err("neither DER nor PEM".to_owned());
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let blocks = starts.iter().zip(ends).map(|(start, end)| text.get(*start..end));
    blocks
        .map(|block| {
            let block = block.unwrap_or_default().trim_end();
            let (_label, bytes) = pem::decode_vec(block.as_bytes()).map_err(|e| e.to_string())?;
            Ok(bytes)
        })
        .collect()
}

impl KeyKind {
    /// The kind of key that a certificate, DER, says it is for; none where it is no report key's.
    /// That is a hint, not a check.
    ///
    /// # Errors
    /// [`Refusal`] when the certificate cannot be read.
    pub fn of_certificate(report_key: &[u8]) -> Result<Option<Self>, Refusal> {
        let name = Certificate::parse(Link::ReportKey, report_key)?.common_name();
        Ok(name.and_then(|name| Self::with_name(&name)))
    }

    fn with_name(common_name: &str) -> Option<Self> {
        match common_name {
            "SEV-VCEK" => Some(Self::Vcek),
            "SEV-VLEK" => Some(Self::Vlek),
            _ => None,
        }
    }
}

/// Who stands at the top of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// AMD.
    Amd,
    /// Somebody who made a key of his own: evidence below it proves nothing.
    Simulated {
        /// SHA-256 of the key (`SubjectPublicKeyInfo`), hexadecimal.
        key_sha256: String,
    },
}

/// A chain whose signatures have been checked.
///
/// Checking a chain costs several times what checking a report costs, and a chain serves many
/// reports. What depends on time and policy is not settled here but with every report.
#[derive(Clone, Debug)]
pub struct CachedChain {
    pub(crate) root: Root,
    pub(crate) line: ProductLine,
    pub(crate) kind: KeyKind,
    pub(crate) facts: ChipFacts,
    /// Uncompressed point of P-384.
    pub(crate) report_key: Vec<u8>,
    validity: [(Link, (u64, u64)); 3],
    pub(crate) revocation_list: Option<ListTimes>,
    pub(crate) checked_at: u64,
}

/// Seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListTimes {
    pub(crate) this_update: u64,
    pub(crate) next_update: Option<u64>,
}

/// What the certificate of a report key says in AMD's extensions (document 57230, chapter 3).
#[derive(Clone, Debug)]
pub(crate) struct ChipFacts {
    pub(crate) tcb: TcbVersion,
    /// For a VCEK: 64 bytes, on Turin 8.
    pub(crate) chip_id: Option<Vec<u8>>,
    /// For a VLEK.
    pub(crate) provider: Option<String>,
}

impl CachedChain {
    /// Checks names, signatures, purposes and revocation of `endorsements`, and that they are
    /// valid at `now`, in seconds since 1970.
    ///
    /// A root that is not AMD's is let pass here: the policy that the chain is used with has to
    /// accept it in so many words.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn check(endorsements: &Endorsements<'_>, now: u64) -> Result<Self, Refusal> {
        let root = Certificate::parse(Link::Root, endorsements.root)?;
        let issuer = Certificate::parse(Link::Issuer, endorsements.issuer)?;
        let key = Certificate::parse(Link::ReportKey, endorsements.report_key)?;
        root.check_issued_by(&root)?;
        issuer.check_issued_by(&root)?;
        key.check_issued_by(&issuer)?;
        root.check_authority()?;
        issuer.check_authority()?;
        let (authority, line) = identify_root(&root)?;
        let kind = identify_kind(line, &issuer, &key)?;
        let chain = Self {
            root: authority,
            line,
            kind,
            facts: ChipFacts::read(line, kind, &key)?,
            report_key: key.p384_point()?,
            validity: [
                (Link::Root, root.validity()),
                (Link::Issuer, issuer.validity()),
                (Link::ReportKey, key.validity()),
            ],
            revocation_list: match endorsements.revocation_list {
                Some(list) => Some(check_revocation(list, &root, &issuer)?),
                None => None,
            },
            checked_at: now,
        };
        chain.check_validity(now)?;
        Ok(chain)
    }

    /// The product line that the root speaks for.
    #[must_use]
    pub const fn product_line(&self) -> ProductLine {
        self.line
    }

    /// Who stands at the top.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn check_validity(&self, now: u64) -> Result<(), Refusal> {
        for (link, (not_before, not_after)) in self.validity {
            if now < not_before {
                return Err(Refusal::NotYetValid { link, not_before, now });
            }
            if now > not_after {
                return Err(Refusal::Expired { link, not_after, now });
            }
        }
        Ok(())
    }
}

fn identify_root(root: &Certificate<'_>) -> Result<(Root, ProductLine), Refusal> {
    let name = root.common_name().unwrap_or_default();
    let line = ProductLine::with_suffix(&name, "ARK-").ok_or(Refusal::Name {
        link: Link::Root,
        field: "subject",
        expected: "ARK- and a product line".to_owned(),
        found: name,
    })?;
    let key_sha256 = root.key_sha256()?;
    if key_sha256 == line.root_key_sha256() {
        return Ok((Root::Amd, line));
    }
    Ok((Root::Simulated { key_sha256 }, line))
}

/// The names keep the two kinds of keys apart: one root signs both issuers.
fn identify_kind(
    line: ProductLine,
    issuer: &Certificate<'_>,
    key: &Certificate<'_>,
) -> Result<KeyKind, Refusal> {
    let name = key.common_name().unwrap_or_default();
    let Some(kind) = KeyKind::with_name(&name) else {
        return Err(Refusal::Name {
            link: Link::ReportKey,
            field: "subject",
            expected: "SEV-VCEK or SEV-VLEK".to_owned(),
            found: name,
        });
    };
    let expected = match kind {
        KeyKind::Vcek => format!("SEV-{line}"),
        KeyKind::Vlek => format!("SEV-VLEK-{line}"),
    };
    let found = issuer.common_name().unwrap_or_default();
    if found != expected {
        return Err(Refusal::Name { link: Link::Issuer, field: "subject", expected, found });
    }
    Ok(kind)
}

/// Report keys all have the serial number 0 and are not revoked one by one.
fn check_revocation(
    list: &[u8],
    root: &Certificate<'_>,
    issuer: &Certificate<'_>,
) -> Result<ListTimes, Refusal> {
    let list = RevocationList::parse(list)?;
    list.check_issued_by(root)?;
    list.check_not_revoked(issuer)?;
    list.check_not_revoked(root)?;
    let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
    Ok(ListTimes {
        this_update: seconds(list.contents.this_update),
        next_update: list.contents.next_update.map(seconds),
    })
}

/// Object identifiers below 1.3.6.1.4.1.3704.1, AMD's for these certificates.
mod oid {
    use super::ObjectIdentifier;

    pub(super) const PRODUCT: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
    pub(super) const BOOT_LOADER: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
    pub(super) const TEE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
    pub(super) const SNP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
    pub(super) const MICROCODE: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
    pub(super) const FMC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
    pub(super) const CHIP_ID: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
    pub(super) const PROVIDER: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");
}

impl ChipFacts {
    fn read(line: ProductLine, kind: KeyKind, key: &Certificate<'_>) -> Result<Self, Refusal> {
        let product = text(key, oid::PRODUCT, "product name")?;
        if ProductLine::of_product(&product) != Some(line) {
            return Err(Refusal::Product { expected: line, found: product });
        }
        let part = |oid, part: Part| {
            let value = key.extension(oid).and_then(|value| u8::from_der(value).ok());
            value.ok_or(Refusal::ChipExtension { name: part.name() })
        };
        let tcb = TcbVersion {
            fmc: match line {
                ProductLine::Milan | ProductLine::Genoa => None,
                ProductLine::Turin => Some(part(oid::FMC, Part::Fmc)?),
            },
            boot_loader: part(oid::BOOT_LOADER, Part::BootLoader)?,
            tee: part(oid::TEE, Part::Tee)?,
            snp: part(oid::SNP, Part::Snp)?,
            microcode: part(oid::MICROCODE, Part::Microcode)?,
        };
        let (chip_id, provider) = match kind {
            KeyKind::Vcek => (Some(chip_id(line, key)?), None),
            KeyKind::Vlek => (None, Some(text(key, oid::PROVIDER, "provider")?)),
        };
        Ok(Self { tcb, chip_id, provider })
    }
}

/// The bare bytes of the identifier: no DER around them.
fn chip_id(line: ProductLine, key: &Certificate<'_>) -> Result<Vec<u8>, Refusal> {
    let len = match line {
        ProductLine::Milan | ProductLine::Genoa => 64,
        ProductLine::Turin => 8,
    };
    let value = key.extension(oid::CHIP_ID).filter(|value| value.len() == len);
    Ok(value.ok_or(Refusal::ChipExtension { name: "hardware identifier" })?.to_vec())
}

fn text(
    key: &Certificate<'_>,
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<String, Refusal> {
    let value = key.extension(oid).and_then(|value| Ia5StringRef::from_der(value).ok());
    Ok(value.ok_or(Refusal::ChipExtension { name })?.as_str().to_owned())
}
