// SPDX-License-Identifier: MIT
//! The files a machine is started from.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

/// Where TF-A's port to QEMU looks for its firmware image package in the flash.
/// Source: TF-A, `plat/qemu/qemu/include/platform_def.h`, `PLAT_QEMU_FIP_BASE`.
const FIP_OFFSET: u64 = 0x4_0000;

/// The first word of a firmware image package, as it lies in the file.
/// Source: TF-A, `include/tools_share/firmware_image_package.h`, `TOC_HEADER_NAME`.
const FIP_MAGIC: [u8; 4] = 0xaa64_0001_u32.to_le_bytes();

/// Where an arm64 kernel image says that it is one, and how.
/// Source: Linux, `Documentation/arch/arm64/booting.rst`.
const KERNEL_MAGIC_OFFSET: u64 = 56;
const KERNEL_MAGIC: [u8; 4] = *b"ARM\x64";

/// How every archive in the `newc` form begins.
const CPIO_MAGIC: [u8; 4] = *b"0707";

/// How every ELF file begins.
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

/// The files a machine is started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// TF-A with OP-TEE in it: BL1 at 0, the firmware image package at 256 KiB. BL33 is Linux, at
    /// 0x60000000.
    pub flash: PathBuf,
    /// A plain arm64 `Image` of Linux; not compressed, no EFI wrapper.
    pub kernel: PathBuf,
    /// The normal world's root as a cpio archive: drivers, libraries, `tee-supplicant`, TAs.
    pub root: PathBuf,
    /// The agent of this crate, built for aarch64, statically linked.
    pub agent: PathBuf,
}

/// Why an image cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file that cannot be read.
    #[error("cannot read the {part} {}: {source}", .path.display())]
    Unreadable {
        /// Which part of the image.
        part: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A file that is something else.
    #[error("{} is no {part}: {expected}", .path.display())]
    NotThat {
        /// Which part of the image.
        part: &'static str,
        /// The file.
        path: PathBuf,
        /// What it has to look like.
        expected: &'static str,
    },
}

impl Image {
    /// The image in `directory`: `flash.bin`, `Image` and `root.cpio`.
    pub fn in_directory(directory: impl AsRef<Path>, agent: impl Into<PathBuf>) -> Self {
        let directory = directory.as_ref();
        Self {
            flash: directory.join("flash.bin"),
            kernel: directory.join("Image"),
            root: directory.join("root.cpio"),
            agent: agent.into(),
        }
    }

    /// Looks at the beginnings of all files, so that a wrong one has a name before QEMU hangs.
    ///
    /// # Errors
    ///
    /// The first file that is missing or something else.
    pub fn check(&self) -> Result<(), ImageError> {
        let check = |part, path: &Path, offset, magic: [u8; 4], expected| {
            let unreadable = |source| ImageError::Unreadable { part, path: path.into(), source };
            match magic_at(path, offset) {
                Ok(found) if found == magic => Ok(()),
                Ok(_) => Err(ImageError::NotThat { part, path: path.into(), expected }),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Err(ImageError::NotThat { part, path: path.into(), expected })
                }
                Err(error) => Err(unreadable(error)),
            }
        };
        let fip = "there is no firmware image package at 256 KiB";
        check("flash image", &self.flash, FIP_OFFSET, FIP_MAGIC, fip)?;
        let plain = "it has to be a plain arm64 Image (unpack it if it is compressed)";
        check("kernel", &self.kernel, KERNEL_MAGIC_OFFSET, KERNEL_MAGIC, plain)?;
        let newc = "it has to be a cpio archive in the newc form";
        check("root archive", &self.root, 0, CPIO_MAGIC, newc)?;
        check("agent", &self.agent, 0, ELF_MAGIC, "it has to be an ELF file for aarch64")
    }
}

fn magic_at(path: &Path, offset: u64) -> io::Result<[u8; 4]> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic)?;
    Ok(magic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(folder: &Path, name: &str, offset: usize, magic: &[u8]) {
        let mut bytes = vec![0; offset];
        bytes.extend_from_slice(magic);
        fs::write(folder.join(name), bytes).unwrap();
    }

    #[test]
    fn each_part_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let image = Image::in_directory(folder.path(), folder.path().join("agent"));
        write(folder.path(), "flash.bin", 0x4_0000, &[1, 0, 0x64, 0xaa]);
        write(folder.path(), "Image", 56, b"ARMd");
        write(folder.path(), "root.cpio", 0, b"070701");
        write(folder.path(), "agent", 0, b"\x7fELF");
        image.check().unwrap();
        for (name, words) in [
            ("flash.bin", "no firmware image package"),
            ("Image", "plain arm64 Image"),
            ("root.cpio", "cpio archive"),
            ("agent", "ELF file"),
        ] {
            let file = folder.path().join(name);
            let good = fs::read(&file).unwrap();
            for bad in [&b"short"[..], &vec![7; good.len()]] {
                fs::write(&file, bad).unwrap();
                let error = image.check().unwrap_err();
                assert!(matches!(error, ImageError::NotThat { .. }), "{error}");
                assert!(error.to_string().contains(words), "{error}");
            }
            fs::remove_file(&file).unwrap();
            let error = image.check().unwrap_err();
            assert!(matches!(error, ImageError::Unreadable { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
            fs::write(&file, good).unwrap();
        }
    }
}
