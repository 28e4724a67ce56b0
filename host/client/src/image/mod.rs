// SPDX-License-Identifier: MIT
//! Root images: built from a directory or a tar archive, opened, verified, and kept in a cache.
//!
//! The format and its hash tree are [`strongroom_wire::image`]. Building is deterministic: the
//! same names, contents and attributes give the same bytes, whatever order the host lists them in.
//! File contents stream through; only names and attributes are held in memory.

mod archive;
mod cache;
mod directory;
mod files;
mod layout;
mod open;
mod tree;
mod writer;

#[cfg(test)]
mod tests;

pub use cache::Cache;
pub(crate) use cache::hex_prefix;
pub use files::{Files, FoundFile};
pub use open::Image;

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use strongroom_wire::image::Digest;
use tree::Tree;

/// Who owns the files of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// The owners and groups of the source.
    #[default]
    Keep,
    /// User 0 and group 0 for all.
    Root,
}

/// What was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Stands for the whole image; measured.
    pub root_digest: Digest,
    /// Data blocks of 4 KiB.
    pub blocks: u64,
    /// Files, directories, links and so on, hard links counted once.
    pub inodes: u32,
}

/// Why an image could not be built or used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The host's system said no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A file's size is not what it was a moment ago.
    #[error("{0} changed while the image was being built")]
    Changed(PathBuf),
    /// Neither directory nor tar nor image.
    #[error("{0} is neither a directory nor a tar archive nor a root image")]
    UnknownSource(PathBuf),
    /// The archive is compressed.
    #[error("{path} is compressed with {method}; a plain tar archive is needed")]
    Compressed {
        /// The archive.
        path: PathBuf,
        /// By what.
        method: &'static str,
    },
    /// The archive has an entry that cannot be in an image.
    #[error("entry {entry:?} of {path} {reason}")]
    Entry {
        /// The archive or directory.
        path: PathBuf,
        /// The entry's name.
        entry: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The image is over a limit of the format.
    #[error("{path} has too many {what} for a root image")]
    TooLarge {
        /// The source.
        path: PathBuf,
        /// Of what.
        what: &'static str,
    },
    /// The file is not a root image, or was cut short.
    #[error("{path} is not a root image: {reason}")]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A hash does not match.
    #[error("{path} is damaged: block {block} does not match its digest")]
    Damaged {
        /// The image.
        path: PathBuf,
        /// Block of the file.
        block: u64,
    },
}

impl ImageError {
    /// What the user can do about it, where that is not plain.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Changed(_) => Some("build again when nothing writes to it"),
            Self::UnknownSource(_) => {
                Some("give a directory, an uncompressed tar archive, or an image file")
            }
            Self::Compressed { .. } => Some("unpack it first, for example with gzip -d or xz -d"),
            Self::NotAnImage { .. } | Self::Damaged { .. } => {
                Some("build it again with: strongroom image build --root DIR -o FILE")
            }
            Self::Io { .. } | Self::Entry { .. } | Self::TooLarge { .. } => None,
        }
    }

    /// For `map_err`: an I/O error with its file.
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

/// What a path offers as a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceKind {
    Directory,
    Archive,
    Image,
}

/// Builds the image of `source`, a directory or a tar archive, into the file `output`.
///
/// `output` appears whole or not at all. Directories on other file systems below `source` (mounted
/// `/proc`, for example) come out empty; sockets are left out; extended attributes are not stored.
///
/// # Errors
///
/// [`ImageError`], naming the file at fault.
pub fn build(source: &Path, output: &Path, ownership: Ownership) -> Result<Built, ImageError> {
    let folder = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(ImageError::io("write to", folder))?;
    let built = build_into(source, file.as_file_mut(), output, ownership)?;
    file.persist(output)
        .map_err(|error| ImageError::io("write", output)(error.error))
        .map(|_| built)
}

/// Builds into an empty file that is open for writing; `output` names it in errors.
fn build_into(
    source: &Path,
    file: &mut File,
    output: &Path,
    ownership: Ownership,
) -> Result<Built, ImageError> {
    let mut tree = read_tree(source)?;
    if ownership == Ownership::Root {
        tree.own_by_root();
    }
    layout::write(&tree, source, file, output)
}

fn read_tree(source: &Path) -> Result<Tree, ImageError> {
    match source_kind(source)? {
        SourceKind::Directory => directory::read(source),
        SourceKind::Archive => archive::read(source),
        SourceKind::Image => Err(ImageError::UnknownSource(source.to_path_buf())),
    }
}

/// Tells directories, archives and images apart by what they hold, not by their names.
fn source_kind(source: &Path) -> Result<SourceKind, ImageError> {
    use std::os::unix::fs::FileExt as _;
    let file = File::open(source).map_err(ImageError::io("open", source))?;
    let metadata = file.metadata().map_err(ImageError::io("read", source))?;
    if metadata.is_dir() {
        return Ok(SourceKind::Directory);
    }
    let mut head = [0; 512];
    let mut filled: usize = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64).map_err(ImageError::io("read", source))? {
            0 => break,
            count => filled += count,
        }
    }
    if head.starts_with(b"SRIMAGE1") {
        return Ok(SourceKind::Image);
    }
    let compressed = [
        (&b"\x1f\x8b"[..], "gzip"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
    ];
    if let Some((_, method)) = compressed.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(ImageError::Compressed { path: source.to_path_buf(), method });
    }
    // Every POSIX and GNU archive says `ustar` there; only archives from before 1988 do not.
    if head.get(257..262) == Some(b"ustar") {
        return Ok(SourceKind::Archive);
    }
    Err(ImageError::UnknownSource(source.to_path_buf()))
}
