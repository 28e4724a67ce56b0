// SPDX-License-Identifier: MIT
//! Packages that are made, changed and damaged.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets the unexpected is to fail"
)]

use super::format::{BLOCK, Index, Kind};
use super::*;
use crate::manifest::ManifestFile;
use std::fs;
use std::path::Path;
use strongroom_verifier::Hex;

const MANIFEST: &str = r#"
[workload]
program = "/bin/tool"
arguments = ["one"]
environment = { LANG = "C" }

[image]
root = "root"
owner = "root"

[grant]
untrusted-plaintext-connect = ["db.example:5432"]
untrusted-plaintext-listen = ["8080"]

[[grant.directory]]
untrusted-plaintext-directory = "data"
mount = "/data"

[resources]
memory = "64M"
"#;

/// A payload in the shape that the builder reads: one segment, one note.
fn kernel(byte: u8) -> Vec<u8> {
    let mut note = Vec::new();
    [11, 16, 1_u32].iter().for_each(|word| note.extend(word.to_le_bytes()));
    note.extend(*b"Strongroom\0\0");
    [0x20_0000_u64, 0x20_0008].iter().for_each(|word| note.extend(word.to_le_bytes()));
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    [0x20_0000_u64, 64, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
    for (kind, offset, length) in [(1_u32, 176_u64, 100_u64), (4, 276, note.len() as u64)] {
        file.extend(kind.to_le_bytes());
        file.extend(7_u32.to_le_bytes());
        let words = [offset, 0x20_0000, 0x20_0000, length, length, 4];
        words.iter().for_each(|word| file.extend(word.to_le_bytes()));
    }
    file.extend([byte; 100]);
    file.extend(note);
    file
}

/// A folder with a manifest, a root and a kernel image.
struct Source(tempfile::TempDir);

impl Source {
    fn new() -> Self {
        Self::with(MANIFEST, b"contents", 0x90)
    }

    fn with(manifest: &str, contents: &[u8], kernel_byte: u8) -> Self {
        let source = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(source.path("root/bin")).unwrap();
        fs::write(source.path("root/bin/tool"), contents).unwrap();
        for file in ["root/bin/tool", "root/bin", "root"] {
            // Times are part of an image.
            let file = fs::File::open(source.path(file)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        fs::write(source.path("strongroom.toml"), manifest).unwrap();
        fs::write(source.path("kernel"), kernel(kernel_byte)).unwrap();
        source
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn pack(&self) -> Packed {
        let manifest = ManifestFile::read(&self.path("strongroom.toml")).unwrap();
        let kernels = [(Target::Snp, self.path("kernel")), (Target::SnpSim, self.path("kernel"))];
        pack(&manifest, &kernels, &self.path("app.room")).unwrap()
    }

    fn digest(&self) -> Hex<48> {
        self.pack();
        measure(&self.path("app.room"))
    }
}

fn measure(package: &Path) -> Hex<48> {
    let package = Package::open(package).unwrap();
    package.measure(Target::Snp, &Profile::plain()).unwrap().launch_digest
}

#[test]
fn packing_elsewhere_gives_the_same_bytes() {
    let (first, second) = (Source::new(), Source::new());
    assert_eq!(first.pack().digest, second.pack().digest);
    let bytes = |source: &Source| fs::read(source.path("app.room")).unwrap();
    assert_eq!(bytes(&first), bytes(&second));
}

#[test]
fn whatever_is_measured_changes_the_digest() {
    let changed = |from: &str, to: &str| {
        assert!(MANIFEST.contains(from), "{from}");
        Source::with(&MANIFEST.replace(from, to), b"contents", 0x90).digest()
    };
    let digest = Source::new().digest();
    let digests = [
        changed("/bin/tool", "/bin/tool2"),
        changed("[\"one\"]", "[\"two\"]"),
        changed("[\"one\"]", "[\"one\", \"\"]"),
        changed("LANG = \"C\"", "LANG = \"D\""),
        changed("LANG = \"C\" }", "LANG = \"C\" }\nspawns = [\"sh\"]"),
        changed("db.example:5432", "db.example:5433"),
        changed("\"8080\"", "\"8081\""),
        changed("\"/data\"", "\"/data2\""),
        changed("\"/data\"", "\"/data\"\nwritable = true"),
        changed("64M", "65M"),
        Source::with(MANIFEST, b"Contents", 0x90).digest(),
        Source::with(MANIFEST, b"contents", 0x91).digest(),
    ];
    for (index, other) in digests.iter().enumerate() {
        assert_ne!(*other, digest, "change {index}");
        assert_eq!(digests.iter().filter(|one| *one == other).count(), 1, "change {index}");
    }
    // What only the host needs to know is not in it.
    assert_eq!(changed("\"data\"", "\"elsewhere\""), digest);
    assert_eq!(changed("\"8080\"", "\"0.0.0.0:9090=8080\""), digest);
}

#[test]
fn expected_measurements_are_those_of_the_package() {
    let source = Source::new();
    let expected = source.pack().expected;
    assert_eq!(expected.len(), 2);
    assert_eq!(expected[0].launch_digest, measure(&source.path("app.room")));
    let package = Package::open(&source.path("app.room")).unwrap();
    assert_eq!(package.expected(), serde_json::to_vec_pretty(&expected).unwrap());
    assert_eq!(package.targets(), [Target::SnpSim, Target::Snp]);
    let optee = package.measure(Target::Optee, &Profile::plain());
    assert!(matches!(optee, Err(PackageError::NoTarget(Target::Optee))));
    let two = Profile::plain().with_vcpus(2).unwrap();
    let two = package.measure(Target::Snp, &two).unwrap();
    assert_ne!(two.launch_digest, expected[0].launch_digest);
}

#[test]
fn a_package_holds_what_was_packed() {
    let source = Source::new();
    source.pack();
    let package = Package::open(&source.path("app.room")).unwrap();
    assert_eq!(package.kernel(Target::Snp).unwrap(), kernel(0x90));
    let image = package.image().unwrap();
    image.verify().unwrap();
    let mut block = [0; BLOCK];
    let blocks = image.file_len() / BLOCK as u64;
    image.read_blocks(blocks - 1, &mut block).unwrap();
    assert!(image.read_blocks(blocks, &mut block).is_err(), "behind the image is nothing");
}

#[test]
fn grants_are_bound_or_refused() {
    let source = Source::new();
    source.pack();
    let package = Package::open(&source.path("app.room")).unwrap();
    let unbound = package.workload(&Bindings::default());
    assert!(matches!(unbound, Err(PackageError::Unbound { access: "", .. })), "{unbound:?}");

    let bound = crate::manifest::parse_directory("/srv=/data").unwrap();
    let bindings = Bindings { directories: vec![bound], listens: Vec::new() };
    let workload = package.workload(&bindings).unwrap();
    assert_eq!(workload.measured(), package.record().manifest);
    assert_eq!(workload.listens[0].address, "127.0.0.1:8080".parse().unwrap());

    let writable = crate::manifest::parse_directory("/srv=/data:rw").unwrap();
    let bindings = Bindings { directories: vec![writable], listens: Vec::new() };
    let refused = package.workload(&bindings);
    assert!(matches!(refused, Err(PackageError::NotGranted(_))), "{refused:?}");
    let port = crate::manifest::parse_listen("9999").unwrap();
    let bindings = Bindings { directories: Vec::new(), listens: vec![port] };
    assert!(matches!(package.workload(&bindings), Err(PackageError::NotGranted(_))));
}

/// What all of a package says when it is opened and everything in it is read.
fn open_all(path: &Path) -> Result<(), PackageError> {
    let package = Package::open(path)?;
    for target in package.targets() {
        package.kernel(target)?;
    }
    package.image()?.verify()?;
    Ok(())
}

#[test]
fn every_damaged_block_is_noticed() {
    let source = Source::new();
    source.pack();
    let good = fs::read(source.path("app.room")).unwrap();
    let damaged_path = source.path("damaged");
    for at in (0..good.len()).step_by(509).chain(0..BLOCK) {
        let mut damaged = good.clone();
        damaged[at] ^= 0x10;
        fs::write(&damaged_path, &damaged).unwrap();
        assert!(open_all(&damaged_path).is_err(), "byte {at}");
    }
    for length in [0, 100, BLOCK, good.len() - 1, good.len() - BLOCK] {
        fs::write(&damaged_path, &good[..length]).unwrap();
        assert!(open_all(&damaged_path).is_err(), "cut to {length}");
    }
    fs::write(&damaged_path, [&good[..], &[0; BLOCK]].concat()).unwrap();
    assert!(open_all(&damaged_path).is_err(), "longer");
}

#[test]
fn each_rule_of_the_first_block_has_its_refusal() {
    let section = |kind| (kind, 100, [1; 32]);
    let lay_out =
        |kinds: &[Kind]| Index::lay_out(kinds.iter().map(|kind| section(*kind)).collect()).unwrap();
    let index = lay_out(&[Kind::Image, Kind::Record]);
    let good = index.encode();
    let length = 3 * BLOCK as u64;
    assert_eq!(Index::parse(&good, length), Ok(index));
    let with = |at: usize, bytes: &[u8]| {
        let mut block = good;
        block[at..at + bytes.len()].copy_from_slice(bytes);
        Index::parse(&block, length)
    };
    assert_eq!(with(0, b"SRROOM02"), Err(BadPackage::Magic));
    assert_eq!(with(8, &[7, 0, 0, 0]), Err(BadPackage::TooMany(7)));
    assert_eq!(with(8, &[255; 4]), Err(BadPackage::TooMany(u32::MAX)));
    assert_eq!(with(8, &[1]), Err(BadPackage::Reserved));
    assert_eq!(with(12, &[1]), Err(BadPackage::Reserved));
    assert_eq!(with(64, &[3]), Err(BadPackage::Kind(3)));
    assert_eq!(with(64, &[64]), Err(BadPackage::Order));
    assert_eq!(with(68, &[1]), Err(BadPackage::Reserved));
    assert_eq!(with(73, &[0x20]), Err(BadPackage::Place));
    assert_eq!(with(80, &[0; 8]), Err(BadPackage::Length(0)));
    assert_eq!(with(82, &[2]), Err(BadPackage::Length(0x2_0064)));
    assert_eq!(with(136, &[255; 8]), Err(BadPackage::Place));
    assert_eq!(Index::parse(&good, length + 1), Err(BadPackage::Place));
    assert!(Index::lay_out(vec![(Kind::Record, 0, [0; 32])]).is_err());
}
