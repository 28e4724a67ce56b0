// SPDX-License-Identifier: MIT
//! Existing packages.

use super::format::{BLOCK, Index, Kind, Section};
use super::{BadPackage, PackageError, Target};
use crate::image::Image;
use crate::manifest::{DirectoryGrant, Workload};
use crate::session::{ConnectAccess, ListenAccess};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use strongroom_wire::boot::{GrantedDirectory, Record};

/// A package that is open for reading. Its boot record and the list of expected measurements were
/// checked against their digests; kernel
/// images are when they are read, and blocks of the image by the enclave.
#[derive(Debug)]
pub struct Package {
    file: File,
    path: PathBuf,
    index: Index,
    digest: [u8; 32],
    record_bytes: Vec<u8>,
    record: Record,
    expected: Vec<u8>,
}

impl Package {
    /// Opens a package file.
    ///
    /// # Errors
    /// [`PackageError::Bad`] for other files, cut ones and damaged ones.
    pub fn open(path: &Path) -> Result<Self, PackageError> {
        let bad = |reason| PackageError::Bad { path: path.to_path_buf(), reason };
        let file = File::open(path).map_err(PackageError::io("open", path))?;
        let length = file.metadata().map_err(PackageError::io("read", path))?.len();
        let mut head = [0; BLOCK];
        if length < BLOCK as u64 {
            return Err(bad(BadPackage::Magic));
        }
        file.read_exact_at(&mut head, 0).map_err(PackageError::io("read", path))?;
        let index = Index::parse(&head, length).map_err(bad)?;
        let section = index.section(Kind::Record).ok_or(BadPackage::Missing("boot record"));
        let record_bytes = read(&file, path, section.map_err(bad)?)?;
        let record = Record::decode(&record_bytes).map_err(|_| bad(BadPackage::Record))?;
        let section = index.section(Kind::Expected).ok_or(BadPackage::Missing("expectations"));
        let expected = read(&file, path, section.map_err(bad)?)?;
        let digest = Sha256::digest(head).into();
        let path = path.to_path_buf();
        Ok(Self { file, path, index, digest, record_bytes, record, expected })
    }

    /// SHA-256 of the first block: the package's name. No processor vouches for it.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What runs, and what is granted to it.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The same as it is measured.
    #[must_use]
    pub fn record_bytes(&self) -> &[u8] {
        &self.record_bytes
    }

    /// The measurements that the packer expected, JSON. [`Package::measure`] computes them anew.
    #[must_use]
    pub fn expected(&self) -> &[u8] {
        &self.expected
    }

    /// The targets that it has kernel images for.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let sections = self.index.sections().iter();
        let targets = sections.filter_map(|section| match section.kind {
            Kind::Kernel(target) => Some(target),
            Kind::Record | Kind::Expected | Kind::Image => None,
        });
        targets.collect()
    }

    /// The kernel image for a target.
    ///
    /// # Errors
    /// [`PackageError::NoTarget`], or [`BadPackage::Damaged`].
    pub fn kernel(&self, target: Target) -> Result<Vec<u8>, PackageError> {
        let section = self.index.section(Kind::Kernel(target));
        read(&self.file, &self.path, section.ok_or(PackageError::NoTarget(target))?)
    }

    /// The root image, where it lies in the package.
    ///
    /// # Errors
    /// [`PackageError`] where it is missing, none, or not the boot record's.
    pub fn image(&self) -> Result<Image, PackageError> {
        let bad = |reason| PackageError::Bad { path: self.path.clone(), reason };
        let section = self.index.section(Kind::Image).ok_or(BadPackage::Missing("root image"));
        let section = section.map_err(bad)?;
        let file = self.file.try_clone().map_err(PackageError::io("open", &self.path))?;
        let image = Image::within(file, &self.path, section.place.clone())?;
        let named = (self.record.root_digest, self.record.image_blocks);
        if section.digest != named.0 || (*image.root_digest(), image.blocks()) != named {
            return Err(bad(BadPackage::OtherImage));
        }
        Ok(image)
    }
}

/// What the host brings to a package: where its grants are here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// Folders for granted mounts.
    pub directories: Vec<DirectoryGrant>,
    /// Addresses for granted ports; others listen on 127.0.0.1.
    pub listens: Vec<ListenAccess>,
}

impl Package {
    /// The workload, with the grants bound to things of this host.
    ///
    /// # Errors
    /// [`PackageError::Unbound`] for a granted directory without a folder,
    /// [`PackageError::NotGranted`] for a binding without a grant.
    pub fn workload(&self, bindings: &Bindings) -> Result<Workload, PackageError> {
        let manifest = &self.record.manifest;
        for bound in &bindings.directories {
            let granted = manifest
                .directories
                .iter()
                .any(|granted| granted.mount == bound.mount && granted.writable == bound.writable);
            if !granted {
                return Err(PackageError::NotGranted(bound.mount.clone()));
            }
        }
        for bound in &bindings.listens {
            if !manifest.listens.iter().any(|granted| granted.port == bound.port) {
                return Err(PackageError::NotGranted(format!("port {}", bound.port)));
            }
        }
        let directories = manifest.directories.iter().map(|granted| bindings.directory(granted));
        let workload = Workload {
            program: manifest.program.clone(),
            arguments: manifest.arguments.iter().skip(1).cloned().collect(),
            environment: manifest.environment.iter().filter_map(|one| variable(one)).collect(),
            working_directory: manifest.working_directory.clone(),
            hostname: manifest.hostname.clone(),
            directories: directories.collect::<Result<_, _>>()?,
            connects: manifest
                .connects
                .iter()
                .map(|granted| ConnectAccess { host: granted.host.clone(), port: granted.port })
                .collect(),
            listens: manifest.listens.iter().map(|granted| bindings.listen(granted.port)).collect(),
            memory_max: manifest.memory_max,
            session: manifest.session.clone(),
            service: manifest.service.clone(),
            spawns: manifest.spawns.clone(),
        };
        // Whoever writes records in another way would be measured as something else than he runs.
        if workload.measured() != *manifest {
            let reason = BadPackage::Record;
            return Err(PackageError::Bad { path: self.path.clone(), reason });
        }
        Ok(workload)
    }
}

impl Bindings {
    fn directory(&self, granted: &GrantedDirectory) -> Result<DirectoryGrant, PackageError> {
        let bound = self.directories.iter().find(|bound| bound.mount == granted.mount);
        bound.cloned().ok_or_else(|| PackageError::Unbound {
            mount: granted.mount.clone(),
            access: if granted.writable { ":rw" } else { "" },
        })
    }

    fn listen(&self, port: u16) -> ListenAccess {
        let bound = self.listens.iter().find(|bound| bound.port == port).cloned();
        bound.unwrap_or(ListenAccess { address: (Ipv4Addr::LOCALHOST, port).into(), port })
    }
}

fn variable(variable: &str) -> Option<(String, String)> {
    let (name, value) = variable.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

/// The bytes of a section, which have to be those of its digest. Its length is within its limit.
fn read(file: &File, path: &Path, section: &Section) -> Result<Vec<u8>, PackageError> {
    let bad = |reason| PackageError::Bad { path: path.to_path_buf(), reason };
    let length = (section.place.end - section.place.start) as usize;
    let mut bytes = vec![0; length.next_multiple_of(BLOCK)];
    file.read_exact_at(&mut bytes, section.place.start).map_err(PackageError::io("read", path))?;
    if bytes.split_off(length).iter().any(|padding| *padding != 0) {
        return Err(bad(BadPackage::Reserved));
    }
    let found: [u8; 32] = Sha256::digest(&bytes).into();
    if found != section.digest {
        return Err(bad(BadPackage::Damaged(section.kind.name())));
    }
    Ok(bytes)
}
