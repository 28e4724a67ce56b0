// SPDX-License-Identifier: MIT
//! Keys and secrets in files: what is read of them is overwritten when it is dropped.

use super::AttestError;
use super::chain::read_into;
use std::path::Path;
use strongroom_session::{BadKey, SecretKey};
use zeroize::Zeroizing;

/// Most bytes of a key file.
const KEY_FILE_MAX: usize = 4096;

/// The bytes of a file with at most `limit` of them.
///
/// # Errors
///
/// [`AttestError::Io`] and [`AttestError::TooLong`].
pub fn read_secret(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, AttestError> {
    read(path, "a secret", limit)
}

/// The key of an owner or a client, as `strongroom keygen` writes it.
///
/// # Errors
///
/// As [`read_secret`], and [`AttestError::Key`].
pub fn read_key(path: &Path) -> Result<SecretKey, AttestError> {
    let bytes = read(path, "a key", KEY_FILE_MAX)?;
    let text = str::from_utf8(&bytes).unwrap_or_default();
    text.parse().map_err(|bad: BadKey| AttestError::Key { path: path.to_path_buf(), bad })
}

fn read(path: &Path, what: &'static str, limit: usize) -> Result<Zeroizing<Vec<u8>>, AttestError> {
    // All of it at once: a buffer that grows would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(1)));
    read_into(&mut bytes, path, what, limit)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_secrets_have_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, [7; 10]).unwrap();
        assert_eq!(*read_secret(&path, 10).unwrap(), [7; 10]);
        assert!(read_secret(&path, 9).unwrap_err().to_string().contains("over 9 bytes"));
        assert!(read_key(&path).is_err());
    }
}
