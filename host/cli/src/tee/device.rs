// SPDX-License-Identifier: MIT
//! The OP-TEE of the machine that this process runs on.

use super::{Target, TeeError};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use strongroom_optee_run::{Application, Bridge, Carrier, RunError};

/// Installs what is not installed, opens it, and carries messages between it and a session.
pub(super) fn carry(
    target: Target,
    applications: &Path,
    stream: UnixStream,
) -> anyhow::Result<Carrier> {
    let (uuid, installed) = match target {
        Target::Installed(uuid) => (uuid, None),
        Target::Packed(uuid, signed) => {
            (uuid, Some(Installed::put(applications.join(format!("{uuid}.ta")), &signed)?))
        }
    };
    let application = Application::open(uuid)?;
    let input = stream.try_clone().map_err(RunError::from)?;
    let carrier = Carrier::start(move || Bridge::new(application, input, stream).run().map(|_| ()));
    // The TEE has read the file when a session is open.
    drop(installed);
    Ok(carrier?)
}

/// A file that is there until this is dropped.
struct Installed(PathBuf);

impl Installed {
    fn put(path: PathBuf, signed: &[u8]) -> Result<Self, TeeError> {
        match fs::write(&path, signed) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(TeeError::Install { path, source }),
        }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // Whoever took it away meanwhile wanted that too.
        let _ = fs::remove_file(&self.0);
    }
}
