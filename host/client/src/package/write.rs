// SPDX-License-Identifier: MIT
//! Makes a package.

use super::format::{BLOCK, Index, KERNEL_LEN_MAX, Kind};
use super::measure::Measurement;
use super::{PackageError, Target};
use crate::image::Image;
use crate::manifest::ManifestFile;
use sha2::{Digest as _, Sha256};
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use strongroom_snp_igvm::Profile;
use strongroom_wire::boot::Record;

/// What was packed.
#[derive(Clone, Debug)]
pub struct Packed {
    /// SHA-256 of the first block, which stands for the package.
    pub digest: [u8; 32],
    /// The measurements that the package says it expects.
    pub expected: Vec<Measurement>,
}

/// Packs what a manifest file describes, with kernel images for the targets chosen, into `output`,
/// which appears whole or not at all. The same input gives the same bytes, in whatever folder.
///
/// # Errors
/// [`PackageError`], naming what is missing or wrong.
pub fn pack(
    manifest: &ManifestFile,
    kernels: &[(Target, PathBuf)],
    output: &Path,
) -> Result<Packed, PackageError> {
    if kernels.is_empty() {
        return Err(PackageError::NoKernel);
    }
    let root = manifest.root.as_deref().ok_or(PackageError::NoRoot)?;
    let image = Image::for_source(root, manifest.ownership)?;
    let record = Record {
        root_digest: *image.root_digest(),
        image_blocks: image.blocks(),
        manifest: manifest.workload.measured(),
    };
    let record = record.encode().map_err(|_| PackageError::ManifestTooLong)?;
    let mut parts = vec![(Kind::Record, record.clone())];
    let mut expected = Vec::new();
    for (target, path) in kernels {
        let kernel = read_kernel(path)?;
        expected.extend(Measurement::of(*target, &kernel, &record, &Profile::plain())?);
        parts.push((Kind::Kernel(*target), kernel));
    }
    let text = serde_json::to_vec_pretty(&expected)
        .map_err(|error| PackageError::io("write", output)(error.into()))?;
    parts.push((Kind::Expected, text));
    write(output, parts, &image).map(|digest| Packed { digest, expected })
}

fn read_kernel(path: &Path) -> Result<Vec<u8>, PackageError> {
    let mut kernel = Vec::new();
    File::open(path)
        .and_then(|file| file.take(KERNEL_LEN_MAX + 1).read_to_end(&mut kernel))
        .map_err(PackageError::io("read", path))?;
    if kernel.is_empty() || kernel.len() as u64 > KERNEL_LEN_MAX {
        return Err(PackageError::KernelLength(path.to_path_buf()));
    }
    Ok(kernel)
}

fn write(
    output: &Path,
    mut parts: Vec<(Kind, Vec<u8>)>,
    image: &Image,
) -> Result<[u8; 32], PackageError> {
    parts.sort_by_key(|(kind, _)| *kind);
    let sizes =
        parts.iter().map(|(kind, bytes)| (*kind, bytes.len() as u64, Sha256::digest(bytes).into()));
    let image_len = image.file_len();
    let index =
        Index::lay_out(sizes.chain([(Kind::Image, image_len, *image.root_digest())]).collect())
            .map_err(|reason| PackageError::Bad { path: output.to_path_buf(), reason })?;
    let folder = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(PackageError::io("write to", folder))?;
    let head = index.encode();
    fill(file.as_file_mut(), &head, &parts, image).map_err(PackageError::io("write", output))?;
    file.persist(output).map_err(|error| PackageError::io("write", output)(error.error))?;
    Ok(Sha256::digest(head).into())
}

fn fill(
    file: &mut File,
    head: &[u8; BLOCK],
    parts: &[(Kind, Vec<u8>)],
    image: &Image,
) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    file.write_all(head)?;
    for (_, bytes) in parts {
        file.write_all(bytes)?;
        let padding = bytes.len().next_multiple_of(BLOCK) - bytes.len();
        file.write_all(&vec![0; padding])?;
    }
    io::copy(&mut image.bytes()?, &mut file)?;
    file.flush()
}
