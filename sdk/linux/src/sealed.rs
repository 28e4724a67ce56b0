// SPDX-License-Identifier: MIT
//! Sealed storage in a folder of the host: a file for each name, encrypted and authenticated.
//!
//! A file is a nonce of 24 bytes and XChaCha20-Poly1305's ciphertext, with the name as associated
//! data, so that the host can exchange no two of them. It can delete files, and put old ones back.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use strongroom_service::platform::{StorageError, VALUE_MAX};
use zeroize::Zeroizing;

/// Bytes of the key.
pub(crate) const KEY_LEN: usize = 32;
/// Bytes of a nonce: random ones never meet.
pub(crate) const NONCE_LEN: usize = 24;
/// Bytes that authentication adds.
const TAG_LEN: usize = 16;
const ENDING: &str = ".sealed";
/// A file that is being written: never read.
const UNFINISHED: &str = "unfinished";

/// See the module's text.
pub(crate) struct Store {
    folder: PathBuf,
    cipher: XChaCha20Poly1305,
}

impl Store {
    pub(crate) fn in_folder(folder: PathBuf, key: Zeroizing<[u8; KEY_LEN]>) -> Self {
        Self { folder, cipher: XChaCha20Poly1305::new((&*key).into()) }
    }

    /// Keeps a value: the old one or the new one is there, whenever it ends.
    pub(crate) fn put(
        &self,
        name: &str,
        value: &[u8],
        nonce: &[u8; NONCE_LEN],
    ) -> Result<(), StorageError> {
        let payload = Payload { msg: value, aad: name.as_bytes() };
        let sealed = self.cipher.encrypt(XNonce::from_slice(nonce), payload);
        let sealed = sealed.map_err(|_| StorageError::TooLarge)?;
        let unfinished = self.folder.join(format!("{}.{UNFINISHED}", hex::encode(name)));
        let mut file = File::create(&unfinished).map_err(|error| refused(&error))?;
        let written = file.write_all(&[nonce, sealed.as_slice()].concat());
        written
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&unfinished, self.file(name)))
            .and_then(|()| File::open(&self.folder)?.sync_all())
            .map_err(|error| refused(&error))
    }

    pub(crate) fn get(&self, name: &str) -> Result<Vec<u8>, StorageError> {
        let file = self.file(name);
        let length = fs::metadata(&file).map_err(|error| refused(&error))?.len();
        let most = VALUE_MAX.saturating_add(NONCE_LEN).saturating_add(TAG_LEN);
        if length > u64::try_from(most).unwrap_or(u64::MAX) {
            return Err(StorageError::Damaged);
        }
        let sealed = fs::read(&file).map_err(|error| refused(&error))?;
        let (nonce, sealed) =
            sealed.split_first_chunk::<NONCE_LEN>().ok_or(StorageError::Damaged)?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        let opened = self.cipher.decrypt(XNonce::from_slice(nonce), payload);
        opened.map_err(|_| StorageError::Damaged)
    }

    pub(crate) fn list(&self) -> Result<Vec<String>, StorageError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|error| refused(&error))? {
            let entry = entry.map_err(|error| refused(&error))?.file_name();
            let digits = entry.to_str().and_then(|entry| entry.strip_suffix(ENDING));
            names.extend(digits.and_then(name_of));
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), StorageError> {
        fs::remove_file(self.file(name)).map_err(|error| refused(&error))
    }

    fn file(&self, name: &str) -> PathBuf {
        // Any name is the name of a file so.
        Path::new(&self.folder).join(hex::encode(name) + ENDING)
    }
}

fn name_of(digits: &str) -> Option<String> {
    String::from_utf8(hex::decode(digits).ok()?).ok()
}

fn refused(error: &io::Error) -> StorageError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "dozens of kinds that all mean that")]
    match error.kind() {
        io::ErrorKind::NotFound => StorageError::Absent,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full,
        _ => StorageError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &Path, key: u8) -> Store {
        Store::in_folder(folder.to_owned(), Zeroizing::new([key; KEY_LEN]))
    }

    #[test]
    fn what_is_kept_comes_back_and_the_host_cannot_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 1);
        store.put("a/b", b"hush", &[1; NONCE_LEN]).unwrap();
        store.put("", b"", &[2; NONCE_LEN]).unwrap();
        assert_eq!(store.get("a/b").unwrap(), b"hush");
        assert_eq!(store.list().unwrap(), ["", "a/b"]);
        for entry in fs::read_dir(folder.path()).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(4).any(|four| four == b"hush"));
        }
        store.put("a/b", b"new", &[3; NONCE_LEN]).unwrap();
        assert_eq!(store.get("a/b").unwrap(), b"new");
        store.delete("a/b").unwrap();
        assert_eq!(store.get("a/b"), Err(StorageError::Absent));
        assert_eq!(store.delete("a/b"), Err(StorageError::Absent));
    }

    #[test]
    fn a_host_that_changes_or_exchanges_files_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let kept = store(folder.path(), 1);
        kept.put("one", b"first", &[1; NONCE_LEN]).unwrap();
        kept.put("two", b"second", &[2; NONCE_LEN]).unwrap();
        let whole = fs::read(kept.file("one")).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(kept.file("one"), bytes).unwrap();
            assert_eq!(kept.get("one"), Err(StorageError::Damaged), "byte {at}");
            fs::write(kept.file("one"), &whole[..at]).unwrap();
            assert_eq!(kept.get("one"), Err(StorageError::Damaged), "cut at {at}");
        }
        fs::copy(kept.file("two"), kept.file("one")).unwrap();
        assert_eq!(kept.get("one"), Err(StorageError::Damaged));
        fs::write(kept.file("one"), vec![0; VALUE_MAX + 41]).unwrap();
        assert_eq!(kept.get("one"), Err(StorageError::Damaged), "too long to be one of ours");
        // Another guest has another key.
        assert_eq!(store(folder.path(), 2).get("two"), Err(StorageError::Damaged));
    }

    /// What no encryption prevents: the type of the storage says so.
    #[test]
    fn a_host_that_puts_an_old_file_back_is_not_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let kept = store(folder.path(), 1);
        kept.put("tries", &[3], &[1; NONCE_LEN]).unwrap();
        let old = fs::read(kept.file("tries")).unwrap();
        kept.put("tries", &[2], &[2; NONCE_LEN]).unwrap();
        fs::write(kept.file("tries"), old).unwrap();
        assert_eq!(kept.get("tries").unwrap(), [3]);
    }
}
