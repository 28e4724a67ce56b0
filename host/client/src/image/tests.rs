// SPDX-License-Identifier: MIT
//! Images are read back by an independent reader that verifies every block on the way.

use super::tree::{TYPE_DIRECTORY, TYPE_MASK, TYPE_REGULAR, TYPE_SYMLINK};
use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::time::{Duration, UNIX_EPOCH};
use strongroom_wire::image::{
    BLOCK, FANOUT, Geometry, INODE_RECORD, InodeRecord, Superblock, child_digest, leaf_digest,
    next_entry, node_digest, root_digest,
};
use tempfile::TempDir;

/// Reads an image as the enclave does: nothing is used that the root digest does not vouch for.
struct Reader {
    image: Image,
    geometry: Geometry,
    superblock: Superblock,
}

impl Reader {
    fn open(path: &Path, digest: Digest) -> Self {
        let image = Image::open(path).unwrap();
        assert_eq!(*image.root_digest(), digest);
        let geometry = Geometry::new(image.blocks()).unwrap();
        let empty = Superblock { inodes: 1, inode_table: 0 };
        let mut reader = Self { image, geometry, superblock: empty };
        reader.superblock = Superblock::decode(&reader.block(0)).unwrap();
        reader
    }

    fn raw(&self, block: u64) -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        self.image.read_blocks(block, &mut bytes).unwrap();
        bytes
    }

    /// Node `index` of `level`, verified from the top down.
    fn node(&self, level: usize, index: u64) -> [u8; BLOCK] {
        let node = self.raw(self.geometry.node_at(level, index).unwrap());
        let digest = node_digest(u8::try_from(level).unwrap(), index, &node);
        if level + 1 == self.geometry.levels() {
            let root = root_digest(self.geometry.blocks(), &digest);
            assert_eq!(root, *self.image.root_digest());
        } else {
            let above = self.node(level + 1, index / FANOUT);
            assert_eq!(child_digest(&above, index), Some(digest));
        }
        node
    }

    fn block(&self, index: u64) -> [u8; BLOCK] {
        let block = self.raw(index);
        let node = self.node(0, index / FANOUT);
        assert_eq!(child_digest(&node, index), Some(leaf_digest(index, &block)));
        block
    }

    fn bytes(&self, offset: u64, size: u64) -> Vec<u8> {
        let blocks = offset / BLOCK as u64..(offset + size).div_ceil(BLOCK as u64);
        let all: Vec<u8> = blocks.flat_map(|block| self.block(block)).collect();
        let start = usize::try_from(offset % BLOCK as u64).unwrap();
        all[start..start + usize::try_from(size).unwrap()].to_vec()
    }

    fn inode(&self, number: u32) -> InodeRecord {
        assert!((1..=self.superblock.inodes).contains(&number));
        let at = self.superblock.inode_table + u64::from(number - 1) * INODE_RECORD as u64;
        InodeRecord::decode(&self.bytes(at, INODE_RECORD as u64).try_into().unwrap())
    }

    /// All paths with inode number, record and data.
    fn walk(&self) -> BTreeMap<String, (u32, InodeRecord, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![(String::new(), 1, 4)];
        while let Some((path, number, kind)) = waiting.pop() {
            let record = self.inode(number);
            let data = self.bytes(record.data, record.size);
            match record.mode & TYPE_MASK {
                TYPE_DIRECTORY => {
                    assert_eq!(kind, 4);
                    let mut rest = &data[..];
                    let mut last = Vec::new();
                    while let Some(entry) = next_entry(&mut rest).unwrap() {
                        assert!(last.as_slice() < entry.name, "sorted");
                        last = entry.name.to_vec();
                        let name = String::from_utf8(last.clone()).unwrap();
                        waiting.push((format!("{path}/{name}"), entry.inode, entry.kind));
                    }
                }
                TYPE_REGULAR => {
                    assert_eq!((kind, record.data % BLOCK as u64), (8, 0));
                }
                _ => {}
            }
            found.insert(path, (number, record, data));
        }
        found
    }
}

fn sample() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("a/deep/er")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("a/large"), large()).unwrap();
    fs::write(root.join("a/nothing"), b"").unwrap();
    fs::write(root.join("a.txt"), b"between a and its children").unwrap();
    fs::write(root.join("setuid"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("setuid"), Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("a.txt"), root.join("a/deep/same")).unwrap();
    symlink("../a.txt", root.join("a/link")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), fifo, mode, 0).unwrap();
    std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let long = root.join("n".repeat(255));
    fs::write(&long, b"x").unwrap();
    let time = UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    File::open(&long).unwrap().set_modified(time).unwrap();
    folder
}

/// Enough for two levels of nodes.
fn large() -> Vec<u8> {
    (0..1_000_000u32)
        .flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_le_bytes())
        .collect()
}

fn build_sample(folder: &TempDir) -> (PathBuf, Built) {
    let output = folder.path().join("image");
    let built = build(&folder.path().join("root"), &output, Ownership::Keep).unwrap();
    (output, built)
}

#[test]
fn what_goes_in_comes_out_verified() {
    let folder = sample();
    let (path, built) = build_sample(&folder);
    let reader = Reader::open(&path, built.root_digest);
    assert_eq!(reader.geometry.levels(), 2);
    let found = reader.walk();
    let data = |path: &str| found[path].2.as_slice();
    assert_eq!(data("/a/large"), large());
    assert_eq!(data("/a/nothing"), b"");
    assert_eq!(data("/a/link"), b"../a.txt");
    assert_eq!(data("/dangling"), b"nowhere");
    assert_eq!(data("/a/deep/same"), b"between a and its children");
    assert_eq!(found["/a/deep/same"].0, found["/a.txt"].0);
    assert_eq!(found["/a.txt"].1.links, 2);
    assert_eq!(found["/setuid"].1.mode, TYPE_REGULAR | 0o4755);
    assert_eq!(found["/a/link"].1.mode & TYPE_MASK, TYPE_SYMLINK);
    assert_eq!(found[""].1.links, 4);
    assert_eq!(found["/a/deep"].1.links, 3);
    assert!(found.contains_key("/fifo") && !found.contains_key("/socket"));
    let long = found[&format!("/{}", "n".repeat(255))].1;
    assert_eq!((long.mtime_s, long.mtime_ns), (1_600_000_000, 123_456_789));
    let owner = fs::metadata(folder.path()).unwrap();
    assert_eq!((long.uid, long.gid), (owner.uid(), owner.gid()));
    assert_eq!(u32::try_from(found.len()).unwrap(), built.inodes + 1);
    reader.image.verify().unwrap();
}

#[test]
fn the_same_input_gives_the_same_bytes_from_directory_and_archive() {
    let folder = sample();
    let root = folder.path().join("root");
    let (path, built) = build_sample(&folder);
    let first = fs::read(&path).unwrap();
    assert_eq!(build_sample(&folder).1, built);
    assert_eq!(fs::read(&path).unwrap(), first);

    // What the archiver does not store as it was has to go before both can agree.
    for name in ["socket", "fifo", "a/deep/same"] {
        fs::remove_file(root.join(name)).unwrap();
    }
    set_whole_seconds(&root);
    let archive = folder.path().join("root.tar");
    let mut builder = tar::Builder::new(File::create(&archive).unwrap());
    builder.follow_symlinks(false);
    builder.append_dir_all(".", &root).unwrap();
    builder.finish().unwrap();
    let output = folder.path().join("from-archive");
    let from_archive = build(&archive, &output, Ownership::Keep).unwrap();
    assert_eq!(from_archive, build_sample(&folder).1);
    assert_eq!(fs::read(output).unwrap(), fs::read(path).unwrap());
}

fn set_whole_seconds(root: &Path) {
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: rustix::fs::Timespec { tv_sec: 1_700_000_000, tv_nsec: 0 },
    };
    let mut waiting = vec![root.to_path_buf()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() && !path.is_symlink() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, flags).unwrap();
    }
}

/// A small archive whose every byte is known.
fn archive(folder: &Path, entries: &[(&str, tar::EntryType, &str)]) -> PathBuf {
    let path = folder.join("known.tar");
    let mut builder = tar::Builder::new(File::create(&path).unwrap());
    for (name, kind, data) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_mtime(1_000_000_000);
        header.set_uid(7);
        header.set_gid(8);
        header.set_device_major(4).unwrap();
        header.set_device_minor(300).unwrap();
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.set_size(0);
            builder.append_link(&mut header, name, data).unwrap();
        } else {
            header.set_size(data.len() as u64);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        }
    }
    builder.finish().unwrap();
    path
}

use tar::EntryType::{Char, Directory, Link, Regular, Symlink};

/// The format is measured: this may gain cases, never change one.
#[test]
fn golden_digest_holds() {
    let folder = tempfile::tempdir().unwrap();
    let source = archive(
        folder.path(),
        &[
            ("./bin/hello", Regular, "hello, world\n"),
            ("./bin/again", Link, "bin/hello"),
            ("./sh", Symlink, "bin/hello"),
            ("dev/tty", Char, ""),
        ],
    );
    let output = folder.path().join("image");
    let built = build(&source, &output, Ownership::Keep).unwrap();
    assert_eq!((built.blocks, built.inodes), (4, 6));
    let hex: String = built.root_digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "6899d6b8bbbf386be8558a17098d4471c90cce0a762a560f78dcd5a8ed3c3bcb");
    let found = Reader::open(&output, built.root_digest).walk();
    assert_eq!(found["/dev/tty"].1.device, rustix::fs::makedev(4, 300) as u32);
    assert_eq!((found["/bin/again"].0, found["/bin/hello"].1.links), (found["/bin/hello"].0, 2));
    assert_eq!((found["/sh"].1.uid, found["/sh"].1.gid), (7, 8));

    let squashed = build(&source, &output, Ownership::Root).unwrap();
    let found = Reader::open(&output, squashed.root_digest).walk();
    assert!(found.values().all(|(_, record, _)| (record.uid, record.gid) == (0, 0)));
}

#[test]
fn later_entries_replace_earlier_ones() {
    let folder = tempfile::tempdir().unwrap();
    let source = archive(
        folder.path(),
        &[
            ("a", Regular, "old"),
            ("d", Directory, ""),
            ("d/x", Regular, "x"),
            ("a", Regular, "new"),
            ("d", Directory, ""),
        ],
    );
    let output = folder.path().join("image");
    let built = build(&source, &output, Ownership::Keep).unwrap();
    let found = Reader::open(&output, built.root_digest).walk();
    assert_eq!((&found["/a"].2[..], &found["/d/x"].2[..]), (&b"new"[..], &b"x"[..]));
    assert_eq!(built.inodes, 4);
}

#[test]
fn hostile_archives_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("image");
    for (entries, reason) in [
        (&[("../escape", Regular, "x")][..], "has .. in its name"),
        (&[("a/../../escape", Regular, "x")], "has .. in its name"),
        (&[("a", Link, "nothing")], "is a hard link to nothing"),
        (&[("d", Directory, ""), ("a", Link, "d")], "is a hard link to a directory"),
        (&[("a", Regular, "x"), ("a/b", Regular, "x")], "lies below something not a directory"),
        (&[("a", Symlink, "/etc"), ("a/b", Regular, "x")], "lies below something not a directory"),
    ] {
        let source = archive(folder.path(), entries);
        let error = build(&source, &output, Ownership::Keep).unwrap_err();
        assert!(error.to_string().ends_with(reason), "{error}");
        assert!(!output.exists());
    }
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (bytes, words) in [
        (&b"\x1f\x8b compressed"[..], "compressed with gzip"),
        (b"hello", "neither a directory nor a tar archive nor a root image"),
        (b"", "neither a directory"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = Image::for_source(&path, Ownership::Keep).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(Image::open(&path).is_err());
    }
}

#[test]
fn every_flipped_block_and_every_cut_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), vec![7; 130 * BLOCK]).unwrap();
    let (path, built) = build_sample(&folder);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let blocks = file.metadata().unwrap().len() / BLOCK as u64;
    assert_eq!(blocks, built.blocks + 3);
    for block in 0..blocks {
        let at = block * BLOCK as u64 + (block * 131) % BLOCK as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        let found = match Image::open(&path) {
            Err(_) => true,
            Ok(image) => image.verify().is_err() || *image.root_digest() != built.root_digest,
        };
        assert!(found, "block {block}");
        file.write_all_at(&byte, at).unwrap();
    }
    Image::open(&path).unwrap().verify().unwrap();
    for bytes in [0, 1, BLOCK as u64, (blocks - 1) * BLOCK as u64, blocks * BLOCK as u64 - 1] {
        file.set_len(bytes).unwrap();
        let cut = Image::open(&path);
        assert!(cut.is_err() || *cut.unwrap().root_digest() != built.root_digest);
    }
}

#[test]
fn the_cache_builds_again_only_after_changes() {
    let folder = sample();
    let root = folder.path().join("root");
    let cache = Cache::new(folder.path().join("cache"));
    let image = || cache.image(&root, Ownership::Keep).unwrap();
    let inode = |image: &Image| fs::metadata(image.path()).unwrap().ino();
    let first = image();
    assert_eq!(inode(&image()), inode(&first));

    let before = fs::metadata(root.join("a.txt")).unwrap();
    fs::write(root.join("a.txt"), b"between A and its children").unwrap();
    let restored = before.modified().unwrap();
    File::options().write(true).open(root.join("a.txt")).unwrap().set_modified(restored).unwrap();
    let second = image();
    assert_ne!(second.root_digest(), first.root_digest());
    // The first is gone from the folder, but a session that has it open reads on.
    assert!(!first.path().exists());
    first.verify().unwrap();

    fs::set_permissions(root.join("setuid"), Permissions::from_mode(0o755)).unwrap();
    assert_ne!(image().root_digest(), second.root_digest());
}

#[test]
fn the_cache_keeps_what_was_asked_for_last_and_no_more_than_its_limit() {
    let folder = TempDir::new().unwrap();
    let source = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), vec![1; 1 << 20]).unwrap();
        path
    };
    let two_and_a_half = 5 << 19;
    let cache = Cache::new(folder.path().join("cache")).with_kept_bytes(two_and_a_half);
    let image = |path: &Path| cache.image(path, Ownership::Root).unwrap();
    let (one, two, three) = (source("one"), source("two"), source("three"));
    let first = image(&one);
    let second = image(&two);
    assert!(first.path().exists() && second.path().exists());
    // Asked for again, so the second is the oldest now.
    image(&one);
    let third = image(&three);
    assert!(first.path().exists() && !second.path().exists() && third.path().exists());
    second.verify().unwrap();
    // An image that is being built, or looked for, stays.
    let busy = File::open(first.path().with_file_name("lock")).unwrap();
    busy.lock().unwrap();
    let fourth = image(&two);
    assert!(first.path().exists() && fourth.path().exists());
}

#[test]
fn files_are_found_by_their_paths_and_links_stay_inside() {
    let folder = TempDir::new().unwrap();
    let inside = |path: &str| folder.path().join("root").join(path);
    fs::create_dir_all(inside("usr/lib")).unwrap();
    fs::create_dir_all(inside("etc")).unwrap();
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(2_500_001).collect();
    fs::write(inside("usr/lib/a.so"), &large).unwrap();
    fs::write(inside("etc/empty"), b"").unwrap();
    symlink("usr/lib", inside("lib")).unwrap();
    symlink("/usr/lib/a.so", inside("usr/lib/b.so")).unwrap();
    symlink("../../../../usr/lib/b.so", inside("usr/lib/c.so")).unwrap();
    symlink("loop", inside("loop")).unwrap();
    let path = folder.path().join("image");
    build(&folder.path().join("root"), &path, Ownership::Root).unwrap();
    let image = Image::open(&path).unwrap();
    let files = image.files().unwrap();
    for path in ["/lib/a.so", "lib/b.so", "/usr/lib/c.so", "/lib/.././lib/a.so", "//lib//a.so"] {
        let found = files.read(path).unwrap().unwrap();
        assert_eq!(found.path, "/usr/lib/a.so", "{path}");
        assert!(found.contents == large, "{path}");
    }
    assert_eq!(files.read("/etc/empty").unwrap().unwrap().contents, b"");
    for path in ["/loop", "/lib", "/lib/d.so", "/etc/empty/x", "", "/", "/.."] {
        assert_eq!(files.read(path).unwrap(), None, "{path}");
    }
}

#[test]
fn a_file_with_a_changed_block_is_not_read() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("root")).unwrap();
    fs::write(folder.path().join("root/file"), vec![7; 1_000_000]).unwrap();
    let path = folder.path().join("image");
    build(&folder.path().join("root"), &path, Ownership::Root).unwrap();
    let blocks = fs::metadata(&path).unwrap().len() / BLOCK as u64;
    let mut refused = 0;
    for block in 0..blocks {
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let at = block * BLOCK as u64 + 9;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        let whole = Image::open(&path).and_then(|image| image.files()?.read("/file"));
        let untouched = whole.is_ok_and(|file| file.unwrap().contents == [7; 1_000_000]);
        refused += u64::from(!untouched);
        file.write_all_at(&byte, at).unwrap();
    }
    // The top node stands for the root digest: with another one the image is another, unless the byte
    // is behind its last digest.
    assert!(refused >= blocks - 1, "{refused} of {blocks}");
}
