// SPDX-License-Identifier: MIT
//! Archives for the kernel's memory file system, in the `newc` form.
//!
//! Source: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`. Owner is always
//! root and times are always zero, so the same files give the same bytes.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

/// The name that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
/// The bits that say what kind of entry it is.
const KIND_BITS: u32 = 0o170_000;
/// Permissions and the set-id bits.
const MODE_BITS: u32 = 0o7777;

/// Writes an archive to `W`, entry by entry.
///
/// Paths are relative to the root, without a leading `/`. A directory has to come before what lies
/// in it.
#[derive(Debug)]
pub struct Writer<W> {
    stream: W,
    written: u64,
    entries: u32,
}

impl<W: Write> Writer<W> {
    /// An empty archive.
    pub const fn new(stream: W) -> Self {
        Self { stream, written: 0, entries: 0 }
    }

    /// A directory.
    ///
    /// # Errors
    ///
    /// The stream's; as for every entry, [`io::ErrorKind::InvalidInput`] for what the form cannot
    /// hold: a path that leaves the root, or a file of 4 GiB.
    pub fn directory(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        self.entry(path, DIRECTORY | (mode & MODE_BITS), &mut io::empty(), 0)
    }

    /// A symbolic link.
    ///
    /// # Errors
    ///
    /// As for [`Self::directory`].
    pub fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let mut target = target.as_os_str().as_bytes();
        let length = length_of(target)?;
        self.entry(path, LINK | 0o777, &mut target, length)
    }

    /// A file with these bytes.
    ///
    /// # Errors
    ///
    /// As for [`Self::directory`].
    pub fn file(&mut self, path: &Path, mode: u32, mut contents: &[u8]) -> io::Result<()> {
        let length = length_of(contents)?;
        self.entry(path, REGULAR | (mode & MODE_BITS), &mut contents, length)
    }

    /// A copy of a file of the host, with its permissions.
    ///
    /// # Errors
    ///
    /// As for [`Self::directory`], and what reading gives.
    pub fn copy(&mut self, path: &Path, source: &Path) -> io::Result<()> {
        let mut file = File::open(source)?;
        let metadata = file.metadata()?;
        let mode = REGULAR | (metadata.mode() & MODE_BITS);
        self.entry(path, mode, &mut file, metadata.len())
    }

    /// Everything below `folder`, in the order of the names.
    ///
    /// # Errors
    ///
    /// As for [`Self::copy`]; [`io::ErrorKind::InvalidInput`] for devices, sockets and pipes.
    pub fn folder(&mut self, folder: &Path) -> io::Result<()> {
        self.folder_over(folder, &[])
    }

    /// As [`Self::folder`], for a root in which `links` are links to directories: what lies below
    /// one of them is put where the link leads, and the link stays.
    ///
    /// # Errors
    ///
    /// As for [`Self::folder`].
    pub fn folder_over(&mut self, folder: &Path, links: &[(&str, &str)]) -> io::Result<()> {
        let mut directories = Vec::new();
        for entry in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
            let entry = entry?;
            let inside = entry.path().strip_prefix(folder).map_err(io::Error::other)?;
            let path = resolved(inside, links);
            let kind = entry.file_type();
            if kind.is_dir() {
                // The same directory can be reached over a link as well.
                if !directories.contains(&path) {
                    self.directory(&path, fs::symlink_metadata(entry.path())?.mode())?;
                    directories.push(path);
                }
            } else if kind.is_symlink() {
                self.link(&path, &fs::read_link(entry.path())?)?;
            } else if kind.is_file() {
                self.copy(&path, entry.path())?;
            } else {
                let name = entry.path().display();
                return Err(invalid(format!("{name} is no file, directory or link")));
            }
        }
        Ok(())
    }

    /// Ends the archive and gives the stream back.
    ///
    /// # Errors
    ///
    /// The stream's.
    pub fn finish(mut self) -> io::Result<W> {
        self.header(TRAILER, 0, 0, 0)?;
        Ok(self.stream)
    }

    fn entry(
        &mut self,
        path: &Path,
        mode: u32,
        contents: &mut dyn Read,
        length: u64,
    ) -> io::Result<()> {
        let name = path.as_os_str().as_bytes();
        let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if name.is_empty() || !inside || name == TRAILER {
            return Err(invalid(format!("`{}` is no path inside a root", path.display())));
        }
        let size = u32::try_from(length)
            .map_err(|_| invalid(format!("{} has 4 GiB or more", path.display())))?;
        self.entries = self.entries.wrapping_add(1);
        self.header(name, mode, size, self.entries)?;
        let copied = io::copy(&mut contents.take(length), &mut self.stream)?;
        if copied != length {
            return Err(invalid(format!("{} became shorter meanwhile", path.display())));
        }
        self.written = self.written.wrapping_add(copied);
        self.pad()
    }

    fn header(&mut self, name: &[u8], mode: u32, size: u32, inode: u32) -> io::Result<()> {
        let links = if mode & KIND_BITS == DIRECTORY { 2 } else { 1 };
        let name_length = length_of(name)?.saturating_add(1);
        // Inode, mode, user, group, links, time, size, device of the file and in it, name, checksum.
        let mut header = String::from("070701");
        for field in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0] {
            header.push_str(&format!("{field:08x}"));
        }
        header.push_str(&format!("{name_length:08x}{:08x}", 0));
        self.put(header.as_bytes())?;
        self.put(name)?;
        self.put(&[0])?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.written = self.written.wrapping_add(length_of(bytes)?);
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        while !self.written.is_multiple_of(4) {
            self.put(&[0])?;
        }
        Ok(())
    }
}

/// `path` with its first part replaced when that is a link.
fn resolved(path: &Path, links: &[(&str, &str)]) -> PathBuf {
    for (link, target) in links {
        if let Ok(rest) = path.strip_prefix(link) {
            return if rest.as_os_str().is_empty() {
                PathBuf::from(target)
            } else {
                Path::new(target).join(rest)
            };
        }
    }
    path.to_path_buf()
}

fn length_of(bytes: &[u8]) -> io::Result<u64> {
    u64::try_from(bytes.len()).map_err(io::Error::other)
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
#[path = "cpio_tests.rs"]
mod tests;
