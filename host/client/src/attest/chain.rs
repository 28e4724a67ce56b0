// SPDX-License-Identifier: MIT
//! Which certificates belong to a report: their names at AMD's service, and a folder for them.

use super::AttestError;
use crate::folders;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use strongroom_evidence::{Report, SigningKey, TcbVersion};
use strongroom_verifier::ProductLine;

/// Most bytes of a certificate, a chain of them, or a revocation list.
pub(super) const FILE_MAX: usize = 1 << 20;

/// A chip's own key (VCEK) as its report describes it: enough to ask for its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportKeyName {
    line: ProductLine,
    /// 64 bytes, on Turin 8.
    chip_id: Vec<u8>,
    tcb: TcbVersion,
}

impl ReportKeyName {
    /// The key that signed `report`, of `line` where the report does not name its processor.
    ///
    /// Nothing is checked by that; a report that lies gets a certificate that it does not verify
    /// under, or none.
    ///
    /// # Errors
    /// [`AttestError`] for reports that no VCEK signed, and where the product line is unclear.
    pub fn of(report: &Report, line: Option<ProductLine>) -> Result<Self, AttestError> {
        match report.key_info.signing_key {
            SigningKey::Vcek => {}
            SigningKey::Vlek => return Err(AttestError::NotFetchable("VLEK")),
            SigningKey::None => return Err(AttestError::NotFetchable("key of nobody's")),
        }
        let named = report.cpu().and_then(ProductLine::of_processor);
        let line = match (named, line) {
            (Some(named), Some(line)) if named != line => {
                return Err(AttestError::OtherProductLine);
            }
            (Some(line), _) | (None, Some(line)) => line,
            (None, None) => return Err(AttestError::NoProductLine),
        };
        let chip_len = match line {
            ProductLine::Milan | ProductLine::Genoa => 64,
            ProductLine::Turin => 8,
        };
        let tcb = report.reported_tcb.decode(line.tcb_layout()).map_err(|malformed| {
            AttestError::Unreadable {
                path: "the report".into(),
                what: "report",
                reason: malformed.to_string(),
            }
        })?;
        let chip_id = report.chip_id.iter().take(chip_len).copied().collect();
        Ok(Self { line, chip_id, tcb })
    }

    /// Where AMD's service has the certificate (document 57230, chapter 4): DER.
    #[must_use]
    pub fn certificate_path(&self) -> String {
        let TcbVersion { fmc, boot_loader, tee, snp, microcode } = self.tcb;
        let fmc = fmc.map_or_else(String::new, |fmc| format!("fmcSPL={fmc:02}&"));
        format!(
            "vcek/v1/{}/{}?{fmc}blSPL={boot_loader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}",
            self.line,
            hex(&self.chip_id)
        )
    }

    /// Where it has the issuer and the root, in that order: PEM.
    #[must_use]
    pub fn chain_path(&self) -> String {
        format!("vcek/v1/{}/cert_chain", self.line)
    }

    /// Where it has the revocation list: DER.
    #[must_use]
    pub fn revocation_list_path(&self) -> String {
        format!("vcek/v1/{}/crl", self.line)
    }

    /// Names the key's folder in a cache.
    fn folder(&self) -> String {
        let TcbVersion { fmc, boot_loader, tee, snp, microcode } = self.tcb;
        let fmc = fmc.map_or_else(String::new, |fmc| format!("{fmc:02x}"));
        let tcb = format!("{fmc}{boot_loader:02x}{tee:02x}{snp:02x}{microcode:02x}");
        format!("{}-{}-{tcb}", self.line, hex(&self.chip_id))
    }
}

/// A folder of chains, one a report key.
#[derive(Clone, Debug)]
pub struct ChainCache {
    folder: PathBuf,
}

/// Certificates of one report key, DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredChain {
    pub(super) root: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) report_key: Vec<u8>,
    pub(super) revocation_list: Option<Vec<u8>>,
}

impl ChainCache {
    /// The cache in `folder`, which is made when needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// `$XDG_CACHE_HOME/strongroom/chains`, or the same below `~/.cache`.
    ///
    /// # Errors
    /// [`AttestError::Io`] when neither variable is set.
    pub fn of_user() -> Result<Self, AttestError> {
        let base =
            folders::cache().map_err(AttestError::io("find the cache folder in", "$HOME"))?;
        Ok(Self::new(base.join("chains")))
    }

    /// The folder of one key.
    #[must_use]
    pub fn folder_of(&self, key: &ReportKeyName) -> PathBuf {
        self.folder.join(key.folder())
    }

    /// What is stored for the key; none where its folder is not there.
    pub(super) fn load(&self, key: &ReportKeyName) -> Result<Option<StoredChain>, AttestError> {
        let folder = self.folder_of(key);
        if !folder.is_dir() {
            return Ok(None);
        }
        let list = folder.join(REVOCATION_LIST);
        Ok(Some(StoredChain {
            root: read(&folder.join(ROOT), "a certificate", FILE_MAX)?,
            issuer: read(&folder.join(ISSUER), "a certificate", FILE_MAX)?,
            report_key: read(&folder.join(REPORT_KEY), "a certificate", FILE_MAX)?,
            revocation_list: match list.exists() {
                true => Some(read(&list, "a revocation list", FILE_MAX)?),
                false => None,
            },
        }))
    }

    /// Stores a chain, in place of what was there. A reader sees one of the two whole.
    pub(super) fn store(
        &self,
        key: &ReportKeyName,
        chain: &StoredChain,
    ) -> Result<(), AttestError> {
        fs::create_dir_all(&self.folder).map_err(AttestError::io("make", &self.folder))?;
        let fresh = tempfile::tempdir_in(&self.folder)
            .map_err(AttestError::io("write to", &self.folder))?;
        let files = [
            (ROOT, Some(&chain.root)),
            (ISSUER, Some(&chain.issuer)),
            (REPORT_KEY, Some(&chain.report_key)),
            (REVOCATION_LIST, chain.revocation_list.as_ref()),
        ];
        for (name, bytes) in files {
            let Some(bytes) = bytes else { continue };
            let path = fresh.path().join(name);
            let mut file = fs::File::create_new(&path).map_err(AttestError::io("write", &path))?;
            file.write_all(bytes).map_err(AttestError::io("write", &path))?;
        }
        let folder = self.folder_of(key);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(AttestError::io("replace", &folder))?;
        }
        let fresh = fresh.keep();
        fs::rename(&fresh, &folder).map_err(AttestError::io("write", &folder))
    }
}

const ROOT: &str = "root.der";
const ISSUER: &str = "issuer.der";
const REPORT_KEY: &str = "report-key.der";
const REVOCATION_LIST: &str = "revocation-list.der";

/// The bytes of a file that is to be `what` and has at most `limit` bytes.
pub(super) fn read(path: &Path, what: &'static str, limit: usize) -> Result<Vec<u8>, AttestError> {
    let mut bytes = Vec::new();
    read_into(&mut bytes, path, what, limit)?;
    Ok(bytes)
}

/// The same, into an empty buffer of the caller's.
pub(super) fn read_into(
    bytes: &mut Vec<u8>,
    path: &Path,
    what: &'static str,
    limit: usize,
) -> Result<(), AttestError> {
    use std::io::Read as _;
    let file = fs::File::open(path).map_err(AttestError::io("open", path))?;
    file.take(limit as u64 + 1).read_to_end(bytes).map_err(AttestError::io("read", path))?;
    if bytes.len() > limit {
        return Err(AttestError::TooLong { path: path.to_path_buf(), what, limit });
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
