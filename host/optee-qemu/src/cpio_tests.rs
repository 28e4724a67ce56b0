// SPDX-License-Identifier: MIT
//! Archives are unpacked by the `cpio` program, where it is installed; layout is checked without.
#![expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use super::*;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

fn sample(folder: &Path) {
    fs::create_dir_all(folder.join("usr/bin")).unwrap();
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::write(folder.join("usr/bin/odd"), [0u8, 0xff, b'\n', 7, 8]).unwrap();
    fs::write(folder.join("usr/empty"), []).unwrap();
    fs::write(folder.join("bin/tool"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(folder.join("bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("../usr/bin/odd", folder.join("usr/link")).unwrap();
}

fn archive(folder: &Path, links: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.folder_over(folder, links).unwrap();
    writer.finish().unwrap()
}

/// Everything below a folder: path, permissions, and contents or target.
fn listing(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = entry.unwrap();
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        let contents = if metadata.is_symlink() {
            fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().to_vec()
        } else if metadata.is_file() {
            fs::read(entry.path()).unwrap()
        } else {
            Vec::new()
        };
        let inside = entry.path().strip_prefix(folder).unwrap().to_path_buf();
        all.push((inside, metadata.mode() & MODE_BITS, contents));
    }
    all
}

/// What the `cpio` program makes of an archive; nothing where there is no such program.
fn unpacked(bytes: &[u8]) -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new("cpio")
        .args(["--extract", "--quiet", "--make-directories"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{error}"),
    };
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(child.wait().unwrap().success(), "cpio refused the archive");
    Some(folder)
}

#[test]
fn cpio_unpacks_what_was_packed() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    if let Some(copy) = unpacked(&archive(folder.path(), &[])) {
        assert_eq!(listing(copy.path()), listing(folder.path()));
    }
}

#[test]
fn what_lies_below_a_link_goes_where_it_leads() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let bytes = archive(folder.path(), &[("bin", "usr/bin")]);
    let names = names(&bytes);
    assert_eq!(names.iter().filter(|name| *name == "usr/bin").count(), 1);
    assert!(names.contains(&"usr/bin/tool".to_owned()) && !names.contains(&"bin".to_owned()));
    if let Some(copy) = unpacked(&bytes) {
        assert!(copy.path().join("usr/bin/tool").is_file());
        assert!(!copy.path().join("bin").exists());
    }
}

/// Names in an archive, read by the layout of the documentation.
fn names(mut bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        assert_eq!(&bytes[..6], b"070701");
        let field = |index: usize| {
            let text = std::str::from_utf8(&bytes[6 + 8 * index..14 + 8 * index]).unwrap();
            usize::from_str_radix(text, 16).unwrap()
        };
        let (size, name_length) = (field(6), field(11));
        let name = String::from_utf8(bytes[110..110 + name_length - 1].to_vec()).unwrap();
        assert_eq!(bytes[110 + name_length - 1], 0);
        let data = (110 + name_length).next_multiple_of(4);
        if name == "TRAILER!!!" {
            return names;
        }
        names.push(name);
        bytes = &bytes[(data + size).next_multiple_of(4)..];
    }
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(one.path());
    sample(other.path());
    let first = archive(one.path(), &[]);
    assert_eq!(first, archive(other.path(), &[]));
    assert_eq!(first.len() % 4, 0);
    let listed = ["bin", "bin/tool", "usr", "usr/bin", "usr/bin/odd", "usr/empty", "usr/link"];
    assert_eq!(names(&first), listed);
}

#[test]
fn paths_that_leave_the_root_are_refused() {
    for path in ["", "/etc", "../x", "a/../b", "TRAILER!!!"] {
        let error = Writer::new(Vec::new()).file(Path::new(path), 0o644, b"").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
    }
}

#[test]
fn a_socket_in_a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let error = Writer::new(Vec::new()).folder(folder.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
