// SPDX-License-Identifier: MIT
//! The certificates that belong to a report, from a folder or a service.

use super::chain::{FILE_MAX, StoredChain, read};
use super::{AttestError, ChainCache, ReportKeyName};
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use strongroom_evidence::{REPORT_LEN, Report};
use strongroom_verifier::{CachedChain, Endorsements, ProductLine, Root, decode_certificates};

/// How long a service may take for one file.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where certificates come from. Both have the paths of AMD's key distribution service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder: a copy of the service's files under the service's names.
    Folder(PathBuf),
    /// The service itself, or one that does the same: `https://kdsintf.amd.com`.
    Url(String),
}

/// What was fetched and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it was stored.
    pub folder: PathBuf,
    /// Whether a revocation list was among it.
    pub revocation_list: bool,
    /// Who stands at the top.
    pub root: Root,
}

impl FromStr for Source {
    type Err = Infallible;

    /// What begins like an address of the web is one; all else is a folder.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let address = text.starts_with("https://") || text.starts_with("http://");
        Ok(match address {
            true => Self::Url(text.trim_end_matches('/').to_owned()),
            false => Self::Folder(text.into()),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// Fetches the certificates and the revocation list that belong to the report in a file, checks that they are
/// a chain at the time `now` (seconds since 1970), and stores them. `line` is needed for reports
/// of version 2.
///
/// A source without revocation list is no error; policies can ask for one.
///
/// # Errors
/// [`AttestError`]; then the cache is as it was.
pub fn fetch_chain(
    report: &Path,
    line: Option<ProductLine>,
    source: &Source,
    cache: &ChainCache,
    now: u64,
) -> Result<Fetched, AttestError> {
    let bytes = read(report, "a report", REPORT_LEN)?;
    let report = Report::parse(&bytes).map_err(|malformed| AttestError::Unreadable {
        path: report.to_path_buf(),
        what: "report",
        reason: malformed.to_string(),
    })?;
    let key = ReportKeyName::of(&report, line)?;
    let chain = source.chain(&key)?;
    let endorsements = Endorsements {
        root: &chain.root,
        issuer: &chain.issuer,
        report_key: &chain.report_key,
        revocation_list: chain.revocation_list.as_deref(),
    };
    let checked = CachedChain::check(&endorsements, now)
        .map_err(|refusal| AttestError::BadChain { from: source.to_string(), refusal })?;
    cache.store(&key, &chain)?;
    Ok(Fetched {
        folder: cache.folder_of(&key),
        revocation_list: chain.revocation_list.is_some(),
        root: checked.root().clone(),
    })
}

impl Source {
    fn chain(&self, key: &ReportKeyName) -> Result<StoredChain, AttestError> {
        let path = key.chain_path();
        let [issuer, root] =
            <[Vec<u8>; 2]>::try_from(self.certificates(&path)?).map_err(|found| {
                self.unreadable(&path, format!("{} certificates in it", found.len()))
            })?;
        let path = key.certificate_path();
        let [report_key] =
            <[Vec<u8>; 1]>::try_from(self.certificates(&path)?).map_err(|found| {
                self.unreadable(&path, format!("{} certificates in it", found.len()))
            })?;
        let revocation_list = match self.certificates(&key.revocation_list_path()) {
            Ok(lists) => lists.into_iter().next(),
            Err(AttestError::NotThere(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(StoredChain { root, issuer, report_key, revocation_list })
    }

    fn certificates(&self, path: &str) -> Result<Vec<Vec<u8>>, AttestError> {
        let bytes = match self {
            Self::Folder(folder) => from_folder(folder.join(path))?,
            Self::Url(url) => from_service(format!("{url}/{path}"))?,
        };
        decode_certificates(&bytes).map_err(|reason| self.unreadable(path, reason))
    }

    fn unreadable(&self, path: &str, reason: String) -> AttestError {
        AttestError::Unreadable {
            path: format!("{self}/{path}").into(),
            what: "file of the service",
            reason,
        }
    }
}

fn from_folder(path: PathBuf) -> Result<Vec<u8>, AttestError> {
    if !path.exists() {
        return Err(AttestError::NotThere(path.display().to_string()));
    }
    read(&path, "a certificate", FILE_MAX)
}

/// What comes over the net is checked like anything else: the signatures count, not the transport.
fn from_service(url: String) -> Result<Vec<u8>, AttestError> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
    let answer = agent.get(&url).call().and_then(|mut response| {
        response.body_mut().with_config().limit(FILE_MAX as u64).read_to_vec()
    });
    match answer {
        Ok(bytes) => Ok(bytes),
        Err(ureq::Error::StatusCode(404)) => Err(AttestError::NotThere(url)),
        Err(error) => Err(AttestError::Fetch { url, reason: error.to_string() }),
    }
}
