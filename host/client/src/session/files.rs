// SPDX-License-Identifier: MIT
//! Granted directories.
//!
//! A path has to consist of plain names; it is resolved by `openat2` beneath the granted directory
//! without following any symbolic link. Directories are opened once, when the session is made, so a
//! rename on the host does not change what is granted. New files get no set-user-ID or
//! set-group-ID bit: the enclave must not make programs that run with the host user's rights.

use super::errors::host_error;
use crate::LaunchError;
use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use strongroom_wire::frame::DATA_MAX;
use strongroom_wire::message::{Answer, Attributes, FileAsk, HostError, Name};

/// Bytes of names in one answer; with what goes around them far below a message's limit.
const NAMES_MAX: usize = 64 * 1024;
/// Permissions that reach the host.
const PERMISSIONS: u32 = 0o1777;
const TYPE_MASK: u32 = 0o170_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_REGULAR: u32 = 0o100_000;
const NANOSECONDS: i64 = 1_000_000_000;

/// A directory of the host that the program may use. Its contents are plaintext and untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryAccess {
    /// Where it is on the host.
    pub path: PathBuf,
    /// Whether the program may change it.
    pub writable: bool,
}

/// The answer to a request, with its data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Served {
    Done,
    Data(Vec<u8>),
    Attributes(Attributes),
    Names(Vec<Name>),
}

impl Served {
    pub(super) fn answer(&self) -> Answer<'_> {
        match self {
            Self::Done => Answer::Done,
            Self::Data(bytes) => Answer::Data(bytes),
            Self::Attributes(attributes) => Answer::Attributes(*attributes),
            Self::Names(names) => Answer::Names(names.clone()),
        }
    }
}

/// The open granted directories of a session.
#[derive(Debug)]
pub(super) struct Files {
    grants: Vec<Grant>,
}

#[derive(Debug)]
struct Grant {
    root: OwnedFd,
    writable: bool,
}

type Outcome = Result<Served, HostError>;

impl Files {
    pub(super) fn open(directories: &[DirectoryAccess]) -> Result<Self, LaunchError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |access: &DirectoryAccess| -> Result<Grant, LaunchError> {
            let root = fs::open(&access.path, flags, Mode::empty()).map_err(|error| {
                LaunchError::Grant { path: access.path.clone(), source: error.into() }
            })?;
            Ok(Grant { root, writable: access.writable })
        };
        Ok(Self { grants: directories.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Carries out one request.
    pub(super) fn serve(&self, ask: &FileAsk<'_>) -> Outcome {
        match *ask {
            FileAsk::Look { grant, path } => self.reading(grant)?.look(path),
            FileAsk::List { grant, path, skip } => self.reading(grant)?.list(path, skip),
            FileAsk::Read { grant, path, offset, max } => {
                self.reading(grant)?.read(path, offset, max)
            }
            FileAsk::ReadLink { grant, path } => self.reading(grant)?.read_link(path),
            FileAsk::Write { grant, path, offset, bytes } => {
                self.writing(grant)?.write(path, offset, bytes)
            }
            FileAsk::Create { grant, path, mode } => self.writing(grant)?.create(path, mode),
            FileAsk::Symlink { grant, path, target } => self.writing(grant)?.symlink(path, target),
            FileAsk::Remove { grant, path, directory } => {
                self.writing(grant)?.remove(path, directory)
            }
            FileAsk::Rename { grant, from, to } => self.writing(grant)?.rename(from, to),
            FileAsk::Change { grant, path, size, mode, mtime_ns } => {
                self.writing(grant)?.change(path, size, mode, mtime_ns)
            }
            FileAsk::Sync { grant, path } => self.writing(grant)?.sync(path),
        }
    }

    fn reading(&self, grant: u16) -> Result<&Grant, HostError> {
        self.grants.get(usize::from(grant)).ok_or(HostError::Denied)
    }

    fn writing(&self, grant: u16) -> Result<&Grant, HostError> {
        let grant = self.reading(grant)?;
        if grant.writable { Ok(grant) } else { Err(HostError::ReadOnly) }
    }
}

impl Grant {
    #[allow(
        clippy::useless_conversion,
        reason = "the number of links has another width on each processor"
    )]
    fn look(&self, path: &str) -> Outcome {
        let file = self.open(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let stat = fs::fstat(&file).map_err(map)?;
        Ok(Served::Attributes(Attributes {
            inode: stat.st_ino,
            mode: stat.st_mode,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            mtime_ns: mtime_ns(&stat),
        }))
    }

    /// Names sorted, so that `skip` means the same in the next request. Names that are not UTF-8
    /// cannot be asked for and are left out.
    fn list(&self, path: &str, skip: u32) -> Outcome {
        let directory = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in fs::Dir::new(directory).map_err(map)? {
            let entry = entry.map_err(map)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name != "." && name != ".." {
                let kind = directory_kind(entry.file_type());
                names.push(Name { name: name.to_owned(), kind, inode: entry.ino() });
            }
        }
        names.sort_by(|left, right| left.name.cmp(&right.name));
        let mut room = NAMES_MAX;
        let fits = |name: &Name| {
            // A name costs its bytes, a length, a kind and at most ten bytes of inode number.
            let rest = room.checked_sub(name.name.len() + 13);
            room = rest.unwrap_or(0);
            rest.is_some()
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Ok(Served::Names(names.into_iter().skip(skip).take_while(fits).collect()))
    }

    fn read(&self, path: &str, offset: u64, max: u32) -> Outcome {
        let max = usize::try_from(max).map_err(|_| HostError::Invalid)?;
        if max > DATA_MAX {
            return Err(HostError::Invalid);
        }
        let file = self.open_regular(path, OFlags::RDONLY)?;
        let mut bytes = vec![0; max];
        let mut filled = 0;
        while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
            match file.read_at(room, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(host_error(&error)),
            }
        }
        bytes.truncate(filled);
        Ok(Served::Data(bytes))
    }

    fn write(&self, path: &str, offset: u64, bytes: &[u8]) -> Outcome {
        let file = self.open_regular(path, OFlags::WRONLY)?;
        done(file.write_all_at(bytes, offset).map_err(|error| host_error(&error)))
    }

    fn create(&self, path: &str, mode: u32) -> Outcome {
        let (parent, name) = self.parent(path)?;
        let permissions = Mode::from_raw_mode(mode & PERMISSIONS);
        match mode & TYPE_MASK {
            TYPE_REGULAR => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let flags = flags | OFlags::NOFOLLOW;
                fs::openat(&parent, name, flags, permissions).map_err(map)?;
            }
            TYPE_DIRECTORY => fs::mkdirat(&parent, name, permissions).map_err(map)?,
            _ => return Err(HostError::Invalid),
        }
        // The enclave has applied its program's umask; ours must not come on top.
        set_permissions(&self.open(path, OFlags::PATH | OFlags::NOFOLLOW)?, mode)?;
        Ok(Served::Done)
    }

    fn symlink(&self, path: &str, target: &str) -> Outcome {
        let (parent, name) = self.parent(path)?;
        done(fs::symlinkat(target, &parent, name).map_err(map))
    }

    fn read_link(&self, path: &str) -> Outcome {
        let (parent, name) = self.parent(path)?;
        let target = fs::readlinkat(&parent, name, Vec::new()).map_err(map)?;
        Ok(Served::Data(target.into_bytes()))
    }

    fn remove(&self, path: &str, directory: bool) -> Outcome {
        let (parent, name) = self.parent(path)?;
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        done(fs::unlinkat(&parent, name, flags).map_err(map))
    }

    fn rename(&self, from: &str, to: &str) -> Outcome {
        let (from_parent, from) = self.parent(from)?;
        let (to_parent, to) = self.parent(to)?;
        done(fs::renameat(&from_parent, from, &to_parent, to).map_err(map))
    }

    fn change(
        &self,
        path: &str,
        size: Option<u64>,
        mode: Option<u32>,
        mtime_ns: Option<i64>,
    ) -> Outcome {
        if let Some(size) = size {
            let file = self.open_regular(path, OFlags::WRONLY)?;
            file.set_len(size).map_err(|error| host_error(&error))?;
        }
        if let Some(mode) = mode {
            set_permissions(&self.open(path, OFlags::PATH | OFlags::NOFOLLOW)?, mode)?;
        }
        if let Some(mtime_ns) = mtime_ns {
            let file = self.open(path, OFlags::PATH | OFlags::NOFOLLOW)?;
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
                last_modification: Timespec {
                    tv_sec: mtime_ns.div_euclid(NANOSECONDS),
                    tv_nsec: mtime_ns.rem_euclid(NANOSECONDS),
                },
            };
            // An empty path with this flag means the descriptor itself, symbolic links included.
            fs::utimensat(&file, "", &times, AtFlags::EMPTY_PATH).map_err(map)?;
        }
        Ok(Served::Done)
    }

    fn sync(&self, path: &str) -> Outcome {
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW)?;
        done(fs::fsync(&file).map_err(map))
    }

    /// Opens a path beneath the grant; the empty path is the granted directory.
    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, HostError> {
        check(path)?;
        let path = if path.is_empty() { "." } else { path };
        open_beneath(self.root.as_fd(), path, flags).map_err(map)
    }

    /// Opens a regular file; anything else could block or do things when it is read or written.
    fn open_regular(&self, path: &str, flags: OFlags) -> Result<File, HostError> {
        let file = self.open(path, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
        let stat = fs::fstat(&file).map_err(map)?;
        match stat.st_mode & TYPE_MASK {
            TYPE_REGULAR => Ok(File::from(file)),
            TYPE_DIRECTORY => Err(HostError::IsDirectory),
            _ => Err(HostError::Denied),
        }
    }

    /// The directory that a path's last name is in, and that name.
    fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), HostError> {
        check(path)?;
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() {
            return Err(HostError::Invalid);
        }
        Ok((self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }
}

/// Refuses every path that is not plain names with single slashes between them.
fn check(path: &str) -> Result<(), HostError> {
    let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    if path.is_empty() || path.split('/').all(plain) { Ok(()) } else { Err(HostError::Invalid) }
}

fn open_beneath(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        // The kernel answers EAGAIN when a rename elsewhere raced with a resolution beneath.
        match fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Sets permissions through an `O_PATH` descriptor, so that no other file can slip in between.
fn set_permissions(file: &OwnedFd, mode: u32) -> Result<(), HostError> {
    let stat = fs::fstat(file).map_err(map)?;
    if !matches!(stat.st_mode & TYPE_MASK, TYPE_REGULAR | TYPE_DIRECTORY) {
        return Err(HostError::Denied);
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::chmod(path, Mode::from_raw_mode(mode & PERMISSIONS)).map_err(map)
}

fn done(result: Result<(), HostError>) -> Outcome {
    result.map(|()| Served::Done)
}

fn map(error: Errno) -> HostError {
    host_error(&error.into())
}

fn mtime_ns(stat: &Stat) -> i64 {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    stat.st_mtime.saturating_mul(NANOSECONDS).saturating_add(nanoseconds)
}

/// `d_type` of a file type.
fn directory_kind(file_type: fs::FileType) -> u8 {
    match file_type {
        fs::FileType::Fifo => 1,
        fs::FileType::CharacterDevice => 2,
        fs::FileType::Directory => 4,
        fs::FileType::BlockDevice => 6,
        fs::FileType::RegularFile => 8,
        fs::FileType::Symlink => 10,
        fs::FileType::Socket => 12,
        fs::FileType::Unknown => 0,
    }
}
