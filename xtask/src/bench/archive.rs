// SPDX-License-Identifier: MIT
//! Writes an initramfs: a cpio archive in the "newc" format the Linux kernel unpacks.
//!
//! Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

/// An archive in the making.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// File type bits of `st_mode`.
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

impl Archive {
    /// Adds an empty folder.
    pub(super) fn add_folder(&mut self, name: &str) {
        self.add(name, FOLDER | 0o755, &[]);
    }

    /// Adds an executable file.
    pub(super) fn add_program(&mut self, name: &str, contents: &[u8]) {
        self.add(name, FILE | 0o755, contents);
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn add(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        // inode, mode, uid, gid, links, time, size, device (2), special device (2), name, check.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            contents.len() as u32,
            0,
            0,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_the_trailer_ends_them() {
        let mut archive = Archive::default();
        archive.add_folder("dev");
        archive.add_program("init", b"#!x");
        let bytes = archive.finish();
        assert!(bytes.starts_with(b"070701"));
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("init\0") && text.contains("#!x") && text.contains("TRAILER!!!\0"));
        assert_eq!(text.match_indices("070701").map(|(at, _)| at % 4).max(), Some(0));
    }
}
