// SPDX-License-Identifier: MIT
//! Images of sources that have not changed are not built twice.
//!
//! One folder a source; in it an image named after a fingerprint of the source's names and
//! attributes (path, type and permissions, owner, size, inode, times of modification and change).
//! Whoever can write to the cache can already write to the user's files; the enclave verifies
//! every block against the digest all the same.

use super::tree::TYPE_MASK;
use super::{Image, ImageError, Ownership, build_into};
use crate::folders;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Folds into the fingerprint, so that another builder does not take our images for its own.
const BUILDER_VERSION: u8 = 1;
/// File times advance in steps of the kernel's clock tick. A source that changed less than this
/// ago could change again and look the same, so we wait that long first.
const SETTLE: Duration = Duration::from_millis(20);
/// Images of sources that were not used for longest are removed above this many bytes.
const KEPT_BYTES: u64 = 4 << 30;

/// A folder of images.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    kept_bytes: u64,
}

impl Cache {
    /// The cache in `folder`, which is made when needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), kept_bytes: KEPT_BYTES }
    }

    /// The same cache, which keeps `kept_bytes` of images and the one that was asked for last.
    #[must_use]
    pub fn with_kept_bytes(self, kept_bytes: u64) -> Self {
        Self { kept_bytes, ..self }
    }

    /// `$XDG_CACHE_HOME/strongroom/images`, or the same below `~/.cache`.
    ///
    /// # Errors
    ///
    /// [`ImageError::Io`] when neither variable is set.
    pub fn of_user() -> Result<Self, ImageError> {
        let base = folders::cache()
            .map_err(ImageError::io("find the cache folder in", Path::new("$HOME")))?;
        Ok(Self::new(base.join("images")))
    }

    /// The image of a directory or tar archive as it is now, built unless it is there.
    ///
    /// # Errors
    ///
    /// [`ImageError`] of building.
    pub fn image(&self, source: &Path, ownership: Ownership) -> Result<Image, ImageError> {
        let source = fs::canonicalize(source).map_err(ImageError::io("open", source))?;
        let folder = self.folder.join(hex_prefix(&Sha256::digest(source.as_os_str().as_bytes())));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(ImageError::io("make", &folder))?;
        // Two launches of one source at a time: the second waits and finds the first's image.
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(ImageError::io("write", &lock_path))?;
        lock.lock().map_err(ImageError::io("lock", &lock_path))?;
        lock.set_modified(SystemTime::now()).map_err(ImageError::io("write", &lock_path))?;
        let path = folder.join(format!("{}.image", fingerprint(&source, ownership)?));
        if let Ok(image) = Image::open(&path) {
            return Ok(image);
        }
        remove_images(&folder);
        let mut file = tempfile::NamedTempFile::new_in(&folder)
            .map_err(ImageError::io("write to", &folder))?;
        build_into(&source, file.as_file_mut(), &path, ownership)?;
        let file =
            file.persist(&path).map_err(|error| ImageError::io("write", &path)(error.error))?;
        self.make_room(&folder);
        Image::from_file(file, &path)
    }

    /// Removes images of other sources, those first that nobody asked for longest.
    ///
    /// Their folders and locks stay: somebody may be about to lock one.
    fn make_room(&self, newest: &Path) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut others: Vec<_> =
            entries.map(|entry| entry.path()).filter(|path| path != newest).collect();
        others.sort_by_cached_key(|folder| std::cmp::Reverse(last_used(folder)));
        let mut kept = bytes_in(newest);
        for folder in others {
            kept += bytes_in(&folder);
            if kept > self.kept_bytes
                && let Ok(lock) = File::open(folder.join("lock"))
                && lock.try_lock().is_ok()
            {
                remove_images(&folder);
            }
        }
    }
}

/// When an image of the source was last asked for.
fn last_used(folder: &Path) -> SystemTime {
    fs::metadata(folder.join("lock")).and_then(|lock| lock.modified()).unwrap_or(UNIX_EPOCH)
}

/// What the files of a folder take on the disk: images have holes.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.blocks() * 512).sum()
}

/// Removes a source's images. Sessions that use one hold it open, so they go on.
fn remove_images(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name() != "lock" {
            // What cannot be removed only takes space; the build does not depend on it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The fingerprint of a source that no longer changes within a clock tick.
fn fingerprint(source: &Path, ownership: Ownership) -> Result<String, ImageError> {
    loop {
        let started = SystemTime::now();
        let (fingerprint, newest) = survey(source, ownership)?;
        let settled = match started.duration_since(newest) {
            Ok(age) => age >= SETTLE,
            // A time in the future says nothing about when the change was.
            Err(_) => true,
        };
        if settled {
            return Ok(fingerprint);
        }
        std::thread::sleep(SETTLE);
    }
}

/// Names and attributes of everything below `source`, folded, and the newest change.
fn survey(source: &Path, ownership: Ownership) -> Result<(String, SystemTime), ImageError> {
    let mut hash = Sha256::new();
    hash.update([BUILDER_VERSION, u8::from(ownership == Ownership::Root)]);
    let metadata = fs::metadata(source).map_err(ImageError::io("read", source))?;
    let device = metadata.dev();
    let mut newest = fold(&mut hash, source, &metadata);
    let mut waiting = if metadata.is_dir() { vec![source.to_path_buf()] } else { Vec::new() };
    while let Some(directory) = waiting.pop() {
        let list = fs::read_dir(&directory).map_err(ImageError::io("list", &directory))?;
        let mut entries = Vec::new();
        for entry in list {
            let entry = entry.map_err(ImageError::io("list", &directory))?;
            let path = entry.path();
            let metadata = entry.metadata().map_err(ImageError::io("read", &path))?;
            entries.push((path, metadata));
        }
        entries.sort_by(|(left, _), (right, _)| left.cmp(right));
        for (path, metadata) in entries {
            newest = newest.max(fold(&mut hash, &path, &metadata));
            if metadata.is_dir() && metadata.dev() == device {
                waiting.push(path);
            }
        }
    }
    Ok((hex_prefix(&hash.finalize()), newest))
}

/// Adds one file to the fingerprint; when it last changed.
fn fold(hash: &mut Sha256, path: &Path, metadata: &Metadata) -> SystemTime {
    let name = path.as_os_str().as_bytes();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name);
    let numbers = [
        u64::from(metadata.mode()),
        u64::from(metadata.uid()) << 32 | u64::from(metadata.gid()),
        // A directory's own size says nothing that its entries do not.
        if metadata.mode() & TYPE_MASK == super::tree::TYPE_DIRECTORY {
            0
        } else {
            metadata.size()
        },
        metadata.ino(),
        metadata.dev(),
        metadata.rdev(),
        metadata.mtime().cast_unsigned(),
        metadata.mtime_nsec().cast_unsigned(),
        metadata.ctime().cast_unsigned(),
        metadata.ctime_nsec().cast_unsigned(),
    ];
    for number in numbers {
        hash.update(number.to_le_bytes());
    }
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let nanoseconds = u64::try_from(metadata.ctime_nsec()).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds)
}

/// The first 20 bytes in hexadecimal: plenty against accidents.
pub(crate) fn hex_prefix(digest: &[u8]) -> String {
    digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}
