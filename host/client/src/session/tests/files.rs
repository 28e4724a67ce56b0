// SPDX-License-Identifier: MIT
//! Granted directories: every operation, and every way out of them that must be closed.

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use strongroom_wire::message::{Attributes, FileAsk, Name};
use tempfile::TempDir;

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// A granted directory `in` beside a secret, once writable and once not.
fn start() -> (TempDir, Enclave) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    fs::create_dir_all(path.join("sub")).unwrap();
    fs::write(path.join("file"), b"hello, world").unwrap();
    fs::write(folder.path().join("secret"), b"secret").unwrap();
    symlink("../secret", path.join("up")).unwrap();
    symlink("..", path.join("out")).unwrap();
    symlink("/", path.join("root")).unwrap();
    symlink("file", path.join("inner")).unwrap();
    let directories =
        [true, false].map(|writable| DirectoryAccess { path: path.clone(), writable }).to_vec();
    let enclave = Enclave::greeted(Services { directories, ..Services::default() });
    (folder, enclave)
}

fn ask(enclave: &mut Enclave, ask: FileAsk<'_>) -> Reply {
    enclave.ask(Ask::File(ask))
}

fn attributes(enclave: &mut Enclave, path: &str) -> Attributes {
    match ask(enclave, FileAsk::Look { grant: 0, path }).result() {
        Ok(Answer::Attributes(attributes)) => attributes,
        other => panic!("{other:?}"),
    }
}

fn names(enclave: &mut Enclave, path: &str, skip: u32) -> Vec<Name> {
    match ask(enclave, FileAsk::List { grant: 0, path, skip }).result() {
        Ok(Answer::Names(names)) => names,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reading_shows_what_is_there() {
    let (folder, mut enclave) = start();
    let file = fs::metadata(folder.path().join("in/file")).unwrap();
    let seen = attributes(&mut enclave, "file");
    assert_eq!((seen.inode, seen.mode, seen.size), (file.ino(), file.mode(), 12));
    assert_eq!(seen.mtime_ns, file.mtime() * 1_000_000_000 + file.mtime_nsec());
    assert_eq!(attributes(&mut enclave, "").mode & 0o170_000, DIRECTORY);
    assert_eq!(attributes(&mut enclave, "up").mode & 0o170_000, 0o120_000);

    let listed = names(&mut enclave, "", 0);
    let listed: Vec<_> = listed.iter().map(|name| (name.name.as_str(), name.kind)).collect();
    let all = [("file", 8), ("inner", 10), ("out", 10), ("root", 10), ("sub", 4), ("up", 10)];
    assert_eq!(listed, all);
    assert_eq!(names(&mut enclave, "", 4).len(), 2);
    assert_eq!(names(&mut enclave, "", u32::MAX), []);

    let mut read =
        |offset, max| ask(&mut enclave, FileAsk::Read { grant: 1, path: "file", offset, max });
    assert_eq!(read(7, 100).data(), b"world");
    assert_eq!(read(0, 5).data(), b"hello");
    assert_eq!(read(12, 5).data(), b"");
    assert_eq!(read(0, u32::MAX).result(), Err(HostError::Invalid));
    assert_eq!(read(u64::MAX, 1).result(), Err(HostError::Invalid));
    let link = ask(&mut enclave, FileAsk::ReadLink { grant: 0, path: "up" });
    assert_eq!(link.data(), b"../secret");
    enclave.exit(0);
}

#[test]
fn large_directories_come_in_parts() {
    let (folder, mut enclave) = start();
    for number in 0..1000 {
        let name = format!("{number:04}{}", "n".repeat(200));
        fs::write(folder.path().join("in/sub").join(name), b"").unwrap();
    }
    let mut seen = Vec::new();
    loop {
        let part = names(&mut enclave, "sub", u32::try_from(seen.len()).unwrap());
        if part.is_empty() {
            break;
        }
        seen.extend(part.into_iter().map(|name| name.name));
    }
    assert_eq!(seen.len(), 1000);
    assert!(seen.is_sorted());
    enclave.exit(0);
}

#[test]
fn writing_changes_what_is_there() {
    let (folder, mut enclave) = start();
    let at = |name: &str| folder.path().join("in").join(name);
    let mut done = |request: FileAsk<'_>| {
        let result = ask(&mut enclave, request.clone());
        assert_eq!(result.result(), Ok(Answer::Done), "{request:?}");
    };
    done(FileAsk::Create { grant: 0, path: "sub/new", mode: REGULAR | 0o6642 });
    done(FileAsk::Write { grant: 0, path: "sub/new", offset: 2, bytes: b"abc" });
    assert_eq!(fs::read(at("sub/new")).unwrap(), b"\0\0abc");
    // No umask of ours, and no rights of the host's user for programs of the enclave's making.
    assert_eq!(fs::metadata(at("sub/new")).unwrap().mode(), REGULAR | 0o642);
    done(FileAsk::Change {
        grant: 0,
        path: "sub/new",
        size: Some(3),
        mode: Some(0o4700),
        mtime_ns: Some(-1),
    });
    let changed = fs::metadata(at("sub/new")).unwrap();
    assert_eq!((changed.size(), changed.mode()), (3, REGULAR | 0o700));
    assert_eq!((changed.mtime(), changed.mtime_nsec()), (-1, 999_999_999));
    done(FileAsk::Sync { grant: 0, path: "sub/new" });
    done(FileAsk::Rename { grant: 0, from: "sub/new", to: "file" });
    assert_eq!(fs::read(at("file")).unwrap(), b"\0\0a");
    done(FileAsk::Create { grant: 0, path: "sub/directory", mode: DIRECTORY | 0o750 });
    assert_eq!(fs::metadata(at("sub/directory")).unwrap().permissions().mode() & 0o777, 0o750);
    done(FileAsk::Remove { grant: 0, path: "sub/directory", directory: true });
    done(FileAsk::Symlink { grant: 0, path: "sub/link", target: "/anywhere" });
    assert_eq!(fs::read_link(at("sub/link")).unwrap().to_str(), Some("/anywhere"));
    done(FileAsk::Remove { grant: 0, path: "sub/link", directory: false });
    done(FileAsk::Remove { grant: 0, path: "up", directory: false });
    assert!(folder.path().join("secret").exists());
    enclave.exit(0);
}

#[test]
fn errors_keep_their_meaning() {
    let (folder, mut enclave) = start();
    fs::write(folder.path().join("in/sub/full"), b"").unwrap();
    let regular = REGULAR | 0o600;
    for (request, error) in [
        (FileAsk::Look { grant: 0, path: "none" }, HostError::NotFound),
        (FileAsk::Look { grant: 0, path: "file/x" }, HostError::NotDirectory),
        (FileAsk::List { grant: 0, path: "file", skip: 0 }, HostError::NotDirectory),
        (FileAsk::Read { grant: 0, path: "sub", offset: 0, max: 1 }, HostError::IsDirectory),
        (FileAsk::Create { grant: 0, path: "file", mode: regular }, HostError::Exists),
        (FileAsk::Create { grant: 0, path: "up", mode: regular }, HostError::Exists),
        (FileAsk::Create { grant: 0, path: "dev", mode: 0o020_600 }, HostError::Invalid),
        (FileAsk::Remove { grant: 0, path: "sub", directory: true }, HostError::NotEmpty),
        (FileAsk::Remove { grant: 0, path: "sub", directory: false }, HostError::IsDirectory),
        (FileAsk::Remove { grant: 0, path: "file", directory: true }, HostError::NotDirectory),
        (FileAsk::Remove { grant: 0, path: "", directory: true }, HostError::Invalid),
        (FileAsk::ReadLink { grant: 0, path: "file" }, HostError::Invalid),
    ] {
        assert_eq!(ask(&mut enclave, request.clone()).result(), Err(error), "{request:?}");
    }
    enclave.exit(0);
}

#[test]
fn no_path_leads_out() {
    let (folder, mut enclave) = start();
    for (path, error) in [
        ("../secret", HostError::Invalid),
        ("sub/../../secret", HostError::Invalid),
        ("..", HostError::Invalid),
        (".", HostError::Invalid),
        ("/etc/passwd", HostError::Invalid),
        ("sub//x", HostError::Invalid),
        ("sub/", HostError::Invalid),
        ("file\0", HostError::Invalid),
        ("up", HostError::Denied),
        ("inner", HostError::Denied),
        ("out/secret", HostError::Denied),
        ("root/etc/passwd", HostError::Denied),
    ] {
        for request in [
            FileAsk::Read { grant: 0, path, offset: 0, max: 10 },
            FileAsk::Write { grant: 0, path, offset: 0, bytes: b"overwritten" },
            FileAsk::Sync { grant: 0, path },
            FileAsk::List { grant: 0, path, skip: 0 },
            FileAsk::Change { grant: 0, path, size: Some(0), mode: None, mtime_ns: None },
            FileAsk::Change { grant: 0, path, size: None, mode: Some(0o777), mtime_ns: None },
        ] {
            let listing = matches!(request, FileAsk::List { .. });
            let result = ask(&mut enclave, request.clone());
            // Listing a link fails one way or another; the kernel's checks come in its order.
            let expected = result.result() == Err(error)
                || (listing && result.result() == Err(HostError::NotDirectory));
            assert!(expected, "{request:?}: {:?}", result.result());
        }
    }
    for (from, to) in [("out/secret", "stolen"), ("file", "out/planted"), ("file", "../planted")] {
        let result = ask(&mut enclave, FileAsk::Rename { grant: 0, from, to });
        assert!(result.result().is_err(), "{from} {to}");
    }
    for request in [
        FileAsk::Create { grant: 0, path: "out/planted", mode: REGULAR },
        FileAsk::Symlink { grant: 0, path: "out/planted", target: "x" },
        FileAsk::Remove { grant: 0, path: "out/secret", directory: false },
        FileAsk::ReadLink { grant: 0, path: "out/in/up" },
        FileAsk::Look { grant: 0, path: "out/secret" },
    ] {
        assert!(ask(&mut enclave, request.clone()).result().is_err(), "{request:?}");
    }
    assert_eq!(fs::read(folder.path().join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read(folder.path().join("in/file")).unwrap(), b"hello, world");
    assert!(!folder.path().join("planted").exists());
    enclave.exit(0);
}

#[test]
fn a_read_only_grant_changes_nothing() {
    let (folder, mut enclave) = start();
    for request in [
        FileAsk::Write { grant: 1, path: "file", offset: 0, bytes: b"x" },
        FileAsk::Create { grant: 1, path: "new", mode: REGULAR },
        FileAsk::Symlink { grant: 1, path: "new", target: "x" },
        FileAsk::Remove { grant: 1, path: "file", directory: false },
        FileAsk::Rename { grant: 1, from: "file", to: "new" },
        FileAsk::Change { grant: 1, path: "file", size: Some(0), mode: None, mtime_ns: None },
        FileAsk::Sync { grant: 1, path: "file" },
    ] {
        let result = ask(&mut enclave, request.clone());
        assert_eq!(result.result(), Err(HostError::ReadOnly), "{request:?}");
    }
    assert_eq!(fs::read(folder.path().join("in/file")).unwrap(), b"hello, world");
    enclave.exit(0);
}

#[test]
fn what_could_block_is_not_opened() {
    let (folder, mut enclave) = start();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = folder.path().join("in/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let read = FileAsk::Read { grant: 0, path: "fifo", offset: 0, max: 1 };
    assert_eq!(ask(&mut enclave, read).result(), Err(HostError::Denied));
    let write = FileAsk::Write { grant: 0, path: "fifo", offset: 0, bytes: b"x" };
    assert!(ask(&mut enclave, write).result().is_err());
    enclave.exit(0);
}

#[test]
fn a_grant_that_is_not_there_fails_the_launch() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let directories = vec![DirectoryAccess { path: "/nonexistent".into(), writable: false }];
    let result = Session::over(theirs, Services { directories, ..Services::default() });
    assert!(matches!(result, Err(LaunchError::Grant { .. })));
}
