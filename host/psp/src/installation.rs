// SPDX-License-Identifier: MIT
//! The simulated chip of one user, made when it is first needed and kept.

use ring::rand::{SecureRandom as _, SystemRandom};
use std::env;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use strongroom_authority::{Authority, AuthorityError, Chip, ChipFacts};
use strongroom_evidence::{REPORT_LEN, Report, TcbVersion};

/// The product line that the chip says it is of.
const LINE: &str = "Milan";
/// Bytes of the identifier of a Milan.
const CHIP_ID_LEN: usize = 64;
/// Bytes of the secret that keys are derived from.
const SECRET_LEN: usize = 48;
/// Most bytes of any file here.
const FILE_LEN_MAX: u64 = 16 << 10;

const SECRET: &str = "chip-secret";
const CHIP_ID: &str = "chip-id";
const CHIP_KEY: &str = "vcek.key";
const ROOT_KEY: &str = "ark.key";
const ISSUER_KEY: &str = "ask.key";
const CERTIFICATES: [&str; 3] = ["vcek.der", "ask.der", "ark.der"];

/// A simulated chip with its certificates.
#[derive(Debug)]
pub struct Installation {
    pub(crate) secret: [u8; SECRET_LEN],
    pub(crate) chip_id: [u8; CHIP_ID_LEN],
    chip: Chip,
    /// VCEK, ASK and ARK, DER.
    certificates: [Vec<u8>; 3],
}

/// Why there is no simulated chip.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// Neither `XDG_DATA_HOME` nor `HOME` says where the user's data is.
    #[error("no folder for the simulated security processor: XDG_DATA_HOME and HOME are not set")]
    NoFolder,
    /// The system said no.
    #[error("the simulated security processor: {path}: {source}")]
    Io {
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A file has contents that were not written here.
    #[error("the simulated security processor: {0} is damaged; remove its folder for a new one")]
    Damaged(PathBuf),
    /// Keys or certificates could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The system has no randomness.
    #[error("the simulated security processor: no randomness")]
    NoRandomness,
}

impl Installation {
    /// The versions that the chip's firmware claims to have.
    pub(crate) const TCB: TcbVersion =
        TcbVersion { fmc: None, boot_loader: 4, tee: 1, snp: 24, microcode: 219 };

    /// Where this user's is: `$XDG_DATA_HOME/strongroom/simulated-psp`, or the same below
    /// `~/.local/share`.
    ///
    /// # Errors
    /// [`InstallationError::NoFolder`].
    pub fn default_folder() -> Result<PathBuf, InstallationError> {
        let base = match env::var_os("XDG_DATA_HOME").map(PathBuf::from) {
            Some(path) if path.is_absolute() => path,
            Some(_) | None => {
                env::home_dir().ok_or(InstallationError::NoFolder)?.join(".local/share")
            }
        };
        Ok(base.join("strongroom/simulated-psp"))
    }

    /// The chip in `folder`; made now if there is none. The folder and what is in it are for this
    /// user alone.
    ///
    /// # Errors
    /// [`InstallationError`].
    pub fn open(folder: &Path) -> Result<Self, InstallationError> {
        if !folder.exists() {
            make(folder)?;
        }
        load(folder)
    }

    /// Signs a report.
    pub(crate) fn sign(&self, report: &Report) -> [u8; REPORT_LEN] {
        self.chip.sign(report)
    }

    /// The certificates of the chip's key, of its issuer and of the root, DER.
    #[must_use]
    pub const fn certificates(&self) -> &[Vec<u8>; 3] {
        &self.certificates
    }
}

fn load(folder: &Path) -> Result<Installation, InstallationError> {
    let damaged = |name: &str| InstallationError::Damaged(folder.join(name));
    let read = |name: &str| {
        let path = folder.join(name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= FILE_LEN_MAX => {}
            Ok(_) => return Err(damaged(name)),
            Err(source) => return Err(InstallationError::Io { path, source }),
        }
        fs::read(&path).map_err(|source| InstallationError::Io { path, source })
    };
    let [vcek, ask, ark] = CERTIFICATES;
    Ok(Installation {
        secret: read(SECRET)?.try_into().map_err(|_| damaged(SECRET))?,
        chip_id: read(CHIP_ID)?.try_into().map_err(|_| damaged(CHIP_ID))?,
        chip: Chip::from_pkcs8(&read(CHIP_KEY)?).map_err(|_| damaged(CHIP_KEY))?,
        certificates: [read(vcek)?, read(ask)?, read(ark)?],
    })
}

/// Makes a chip aside and moves it to its place as a whole. Whoever comes second uses the first
/// one's.
fn make(folder: &Path) -> Result<(), InstallationError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        |source| InstallationError::Io { path, source }
    };
    let parent = folder.parent().ok_or(InstallationError::NoFolder)?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io(parent))?;
    let aside = tempfile::Builder::new()
        .prefix(".psp-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(io(parent))?;
    for (name, contents) in parts()? {
        let path = aside.path().join(name);
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&path).map_err(io(&path))?;
        file.write_all(&contents).map_err(io(&path))?;
    }
    match fs::rename(aside.path(), folder) {
        Ok(()) => {
            // It is there no longer, under that name.
            let _ = aside.keep();
            Ok(())
        }
        Err(_) if folder.is_dir() => Ok(()),
        Err(source) => Err(io(folder)(source)),
    }
}

/// The files of a new chip.
fn parts() -> Result<Vec<(&'static str, Vec<u8>)>, InstallationError> {
    let random = SystemRandom::new();
    let (mut secret, mut chip_id) = ([0; SECRET_LEN], [0; CHIP_ID_LEN]);
    random.fill(&mut secret).map_err(|_| InstallationError::NoRandomness)?;
    random.fill(&mut chip_id).map_err(|_| InstallationError::NoRandomness)?;
    let authority = Authority::generate(LINE)?;
    let chip = Chip::generate();
    let facts = ChipFacts {
        product: format!("{LINE}-B1"),
        tcb: Installation::TCB,
        chip_id: Some(chip_id.to_vec()),
        provider: None,
    };
    let [vcek, ask, ark] = CERTIFICATES;
    Ok(vec![
        (SECRET, secret.to_vec()),
        (CHIP_ID, chip_id.to_vec()),
        (CHIP_KEY, chip.to_pkcs8()?),
        (ROOT_KEY, authority.root.to_pkcs8()?),
        (ISSUER_KEY, authority.ask.to_pkcs8()?),
        (vcek, authority.certify_chip(&facts, &chip)?),
        (ask, authority.ask_certificate),
        (ark, authority.root_certificate),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_is_made_once_and_is_the_users_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("data/strongroom/simulated-psp");
        let made = Installation::open(&folder).unwrap();
        let found = Installation::open(&folder).unwrap();
        assert_eq!((made.secret, made.chip_id), (found.secret, found.chip_id));
        assert_eq!(made.certificates, found.certificates);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().flatten().collect();
        assert_eq!(files.len(), 8);
        assert!(files.iter().all(|file| mode(&file.path()) == 0o600));
        let beside = fs::read_dir(folder.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "nothing is left of the making");
        let elsewhere = Installation::open(&home.path().join("other")).unwrap();
        assert_ne!(elsewhere.secret, made.secret);
        assert_ne!(elsewhere.chip_id, made.chip_id);

        fs::write(folder.join(CHIP_KEY), b"no key").unwrap();
        let damaged = Installation::open(&folder).unwrap_err();
        assert!(matches!(damaged, InstallationError::Damaged(path) if path.ends_with(CHIP_KEY)));
    }
}
