// SPDX-License-Identifier: MIT
//! Evidence and endorsements in files.

use super::chain::{FILE_MAX, StoredChain, read};
use super::{AttestError, ChainCache, ReportKeyName};
use std::path::{Path, PathBuf};
use strongroom_evidence::{CERTIFICATE_TABLE_LEN_MAX, CertificateKind, CertificateTable, Report};
use strongroom_token::{TOKEN_LEN_MAX, challenge_nonce};
use strongroom_verifier::{
    AmdCertificates, Claims, Endorsements, Enrolment, KeyKind, Policy, Refusal,
    decode_certificates, verify_report, verify_token,
};

/// Most bytes of evidence: a token can be longer than a report.
const EVIDENCE_LEN_MAX: usize = TOKEN_LEN_MAX;
/// First byte of a token, the tag of `COSE_Sign1` (RFC 9052, 2). A report's is its version.
const TOKEN_START: u8 = 0xd2;
/// Files of configfs-tsm (Linux, `Documentation/ABI/testing/configfs-tsm-report`).
const OUTBLOB: &str = "outblob";
const AUXBLOB: &str = "auxblob";

/// Where evidence and what vouches for it are.
#[derive(Clone, Debug)]
pub struct EvidenceFiles {
    /// A report, as the firmware made it; the token of a trusted application; or a folder with
    /// `outblob` and perhaps `auxblob`, as Linux's configfs-tsm has them.
    pub evidence: PathBuf,
    /// The table of certificates that the host handed over with the report.
    pub certificates: Option<PathBuf>,
    /// What else vouches for it.
    pub endorsements: EndorsementFiles,
}

/// Where the certificates are that a report is verified under. DER or PEM.
#[derive(Clone, Debug, Default)]
pub struct EndorsementFiles {
    /// The certificate of the key that signed the report.
    pub report_key: Option<ReportKeyFile>,
    /// The issuer of the key's certificate, where it is not AMD's: ASK or ASVK.
    pub issuer: Option<PathBuf>,
    /// The root, where it is not AMD's.
    pub root: Option<PathBuf>,
    /// The root's revocation list.
    pub revocation_list: Option<PathBuf>,
    /// Where to look for what is not given.
    pub cache: Option<ChainCache>,
    /// The keys of a trusted application and its device, as `strongroom enroll` has written them.
    pub enrolment: Option<PathBuf>,
}

/// A certificate with the kind of key that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportKeyFile {
    /// The chip's own.
    Vcek(PathBuf),
    /// A provider's.
    Vlek(PathBuf),
}

/// Evidence with all that it is verified under.
#[derive(Clone, Debug)]
pub(super) enum Bundle {
    /// A report of SEV-SNP, and DER.
    Report { report: Vec<u8>, chain: StoredChain },
    /// The token of a trusted application.
    Token { token: Vec<u8>, enrolment: Box<Enrolment> },
}

impl Bundle {
    /// Whether the policy compares the report data of such evidence with what it is told.
    pub(super) fn data_is_compared(&self, policy: &Policy) -> bool {
        match self {
            Self::Report { .. } => policy.wants_report_data(),
            Self::Token { .. } => policy.wants_token_data(),
        }
    }

    /// What such evidence has in it when it was asked for with this nonce.
    pub(super) fn data_of(&self, nonce: [u8; 64]) -> [u8; 64] {
        match self {
            Self::Report { .. } => nonce,
            Self::Token { .. } => challenge_nonce(&nonce),
        }
    }

    /// The verifier's part, at the time `now`.
    pub(super) fn judge(&self, policy: &Policy, now: u64) -> Result<Claims, Refusal> {
        match self {
            Self::Report { report, chain } => {
                let endorsements = Endorsements {
                    root: &chain.root,
                    issuer: &chain.issuer,
                    report_key: &chain.report_key,
                    revocation_list: chain.revocation_list.as_deref(),
                };
                verify_report(report, &endorsements, policy, now).map(Claims::from)
            }
            Self::Token { token, enrolment } => {
                verify_token(token, enrolment, policy).map(Claims::from)
            }
        }
    }
}

/// Parts of a chain from one place.
#[derive(Default)]
struct Parts {
    report_key: Option<Vec<u8>>,
    issuer: Option<Vec<u8>>,
    root: Option<Vec<u8>>,
    revocation_list: Option<Vec<u8>>,
}

impl EvidenceFiles {
    /// Reads everything.
    pub(super) fn read(&self) -> Result<Bundle, AttestError> {
        let (evidence, beside) = match self.evidence.is_dir() {
            true => (self.evidence.join(OUTBLOB), Some(self.evidence.join(AUXBLOB))),
            false => (self.evidence.clone(), None),
        };
        let bytes = read(&evidence, "evidence", EVIDENCE_LEN_MAX)?;
        if bytes.first() == Some(&TOKEN_START) {
            return self.endorsements.token(bytes);
        }
        let certificates = self.certificates.clone().or(beside.filter(|auxblob| auxblob.exists()));
        let table = match &certificates {
            Some(path) => read(path, "a certificate table", CERTIFICATE_TABLE_LEN_MAX)?,
            None => Vec::new(),
        };
        let name = certificates.as_deref().unwrap_or(Path::new("the certificate table"));
        self.endorsements.bundle(bytes, &table, name)
    }
}

impl EndorsementFiles {
    /// A token with the enrolment that was given.
    pub(super) fn token(&self, token: Vec<u8>) -> Result<Bundle, AttestError> {
        let path = self.enrolment.as_deref().ok_or(AttestError::NoEnrolment)?;
        let bytes = read(path, "an enrolment", FILE_MAX)?;
        let unreadable = |reason: String| AttestError::Unreadable {
            path: path.to_path_buf(),
            what: "enrolment",
            reason,
        };
        let text = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
        let enrolment =
            Enrolment::from_toml(&text).map_err(|error| unreadable(error.to_string()))?;
        Ok(Bundle::Token { token, enrolment: Box::new(enrolment) })
    }

    /// What `report` is verified under. What is given by name counts before what is in the host's
    /// table, which may be empty, that before the cache, and that before AMD's certificates as this
    /// library has them.
    pub(super) fn bundle(
        &self,
        report: Vec<u8>,
        table: &[u8],
        table_name: &Path,
    ) -> Result<Bundle, AttestError> {
        let given = self.given()?.or(of_table(table, table_name)?);
        let parts = match given.report_key {
            Some(_) => given,
            None => given.or(self.cached(&report)?),
        };
        let report_key = parts.report_key.ok_or(AttestError::NoReportKey)?;
        let (issuer, root) = match (parts.issuer, parts.root) {
            (Some(issuer), Some(root)) => (issuer, root),
            (issuer, root) => {
                let amd = AmdCertificates::for_report_key(&report_key).map_err(|refusal| {
                    AttestError::Unreadable {
                        path: "the certificate of the report key".into(),
                        what: "certificate below one of AMD's issuers",
                        reason: refusal.to_string(),
                    }
                })?;
                (issuer.unwrap_or(amd.issuer), root.unwrap_or(amd.root))
            }
        };
        let revocation_list = parts.revocation_list;
        let chain = StoredChain { root, issuer, report_key, revocation_list };
        Ok(Bundle::Report { report, chain })
    }

    fn given(&self) -> Result<Parts, AttestError> {
        let optional = |path: &Option<PathBuf>, what| {
            path.as_deref().map(|path| certificate(path, what)).transpose()
        };
        Ok(Parts {
            report_key: match &self.report_key {
                Some(ReportKeyFile::Vcek(path)) => Some(report_key(path, KeyKind::Vcek)?),
                Some(ReportKeyFile::Vlek(path)) => Some(report_key(path, KeyKind::Vlek)?),
                None => None,
            },
            issuer: optional(&self.issuer, "certificate")?,
            root: optional(&self.root, "certificate")?,
            revocation_list: optional(&self.revocation_list, "revocation list")?,
        })
    }

    /// A report that cannot be read is in no cache; the verifier will say what is wrong with it.
    fn cached(&self, report: &[u8]) -> Result<Parts, AttestError> {
        let (Some(cache), Ok(report)) = (&self.cache, Report::parse(report)) else {
            return Ok(Parts::default());
        };
        let lines = match ReportKeyName::of(&report, None) {
            Ok(key) => vec![key],
            // Version 2 does not name its processor: its chip has one folder all the same.
            Err(_) => strongroom_verifier::ProductLine::ALL
                .into_iter()
                .filter_map(|line| ReportKeyName::of(&report, Some(line)).ok())
                .collect(),
        };
        for key in lines {
            if let Some(chain) = cache.load(&key)? {
                return Ok(Parts {
                    report_key: Some(chain.report_key),
                    issuer: Some(chain.issuer),
                    root: Some(chain.root),
                    revocation_list: chain.revocation_list,
                });
            }
        }
        Ok(Parts::default())
    }
}

/// The parts in the host's table, if it gave one.
fn of_table(bytes: &[u8], name: &Path) -> Result<Parts, AttestError> {
    if bytes.is_empty() {
        return Ok(Parts::default());
    }
    let unreadable = |reason: String| AttestError::Unreadable {
        path: name.to_path_buf(),
        what: "certificate table",
        reason,
    };
    let table = CertificateTable::parse(bytes).map_err(|bad| unreadable(bad.to_string()))?;
    let of = |kind| match table.certificate(kind) {
        Some(bytes) => first(bytes).map(Some).map_err(unreadable),
        None => Ok(None),
    };
    Ok(Parts {
        report_key: match of(CertificateKind::Vcek)? {
            Some(vcek) => Some(vcek),
            None => of(CertificateKind::Vlek)?,
        },
        issuer: of(CertificateKind::Ask)?,
        root: of(CertificateKind::Ark)?,
        revocation_list: of(CertificateKind::Crl)?,
    })
}

impl Parts {
    fn or(self, other: Self) -> Self {
        Self {
            report_key: self.report_key.or(other.report_key),
            issuer: self.issuer.or(other.issuer),
            root: self.root.or(other.root),
            revocation_list: self.revocation_list.or(other.revocation_list),
        }
    }
}

/// The one certificate, or list, of a file.
fn certificate(path: &Path, what: &'static str) -> Result<Vec<u8>, AttestError> {
    let bytes = read(path, what, FILE_MAX)?;
    first(&bytes).map_err(|reason| AttestError::Unreadable {
        path: path.to_path_buf(),
        what,
        reason,
    })
}

fn first(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let certificates = decode_certificates(bytes)?;
    certificates.into_iter().next().ok_or_else(|| "nothing in it".to_owned())
}

/// The certificate of a report key, which has to be of the kind that the caller says.
fn report_key(path: &Path, given: KeyKind) -> Result<Vec<u8>, AttestError> {
    let bytes = certificate(path, "certificate")?;
    match KeyKind::of_certificate(&bytes) {
        Ok(Some(kind)) if kind != given => {
            Err(AttestError::OtherKind { path: path.to_path_buf(), given })
        }
        Ok(_) => Ok(bytes),
        Err(refusal) => Err(AttestError::Unreadable {
            path: path.to_path_buf(),
            what: "certificate",
            reason: refusal.to_string(),
        }),
    }
}
