// SPDX-License-Identifier: MIT
//! The launcher's own errors: exit status 125, a sentence and a hint. None of them needs QEMU.

use std::process::Command;

/// Runs the tool; its exit code, standard output and standard error.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn strongroom(arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = std::env::temp_dir();
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .args(arguments)
        .env("STRONGROOM_PAYLOAD", "/nonexistent/payload")
        .env("XDG_CACHE_HOME", folder.join("strongroom-cli-tests"))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn errors_of_the_launcher_are_125_with_a_sentence_and_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let manifest = folder.path().join("strongroom.toml");
    std::fs::write(&manifest, "[workload]\nprogram = '/a'\nfoo = 1\n").unwrap();
    let manifest = manifest.to_str().unwrap();
    for (arguments, sentence, hint) in [
        (&["run", "--", "/bin/true"][..], "no root file system was given", "--root"),
        (&["run", "--root", root], "no program was given", "behind --"),
        (&["run", "--root", root, "--", "/a"], "found no payload to boot", "--payload"),
        (&["run", "--root", manifest, "--", "/a"], "neither a directory nor a tar", "directory"),
        (&["run", "--manifest", manifest], "strongroom.toml:3:1: unknown field `foo`", ""),
        (&["run", "--manifest", "/nonexistent"], "/nonexistent: cannot be read", ""),
        (&["image", "verify", manifest], "is not a root image", "image build"),
        (&["run", manifest], "is not a package: its first bytes", "strongroom pack"),
        (&["measure", manifest], "is not a package: its first bytes", "strongroom pack"),
        (&["pack", manifest, "-o", "/dev/null"], "strongroom.toml:3:1: unknown field `foo`", ""),
    ] {
        let (code, output, error) = strongroom(arguments);
        assert_eq!((code, output.as_str()), (Some(125), ""), "{arguments:?}: {error}");
        let mut lines = error.lines();
        let first = lines.next().unwrap();
        assert!(first.starts_with("strongroom: ") && first.contains(sentence), "{error}");
        let second = lines.next().unwrap_or_default();
        assert!(second.contains(hint), "{error}");
        assert_eq!(second.starts_with("strongroom: hint: "), !hint.is_empty(), "{error}");
    }
}

#[test]
fn errors_around_trusted_applications_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let program = ["--root", root, "--", "/a"];
    let qemu = ["run", "--tee", "optee-qemu"];
    let device = ["run", "--tee", "optee", "--key", "/nonexistent"];
    let uuid = "b9e1d9a6-5a3c-4d4e-9c62-0a1b2c3d4e01";
    for (tee, options, sentence, hint) in [
        (&qemu[..], &["--machine", root][..], "no OP-TEE machine", "cargo xtask optee build"),
        (&qemu, &["--payload", "x"], "--payload is for --tee snp-sim only", "another --tee"),
        (&qemu, &["--accel", "tcg"], "--accel is for --tee snp-sim only", "another --tee"),
        (&device, &["--storage", root], "--storage is for --tee optee-qemu only", "another --tee"),
        (&qemu, &["--installed", uuid], "--installed is for --tee optee only", "another --tee"),
        (&device, &["--logs", root], "--logs is for --tee optee-qemu only", "another --tee"),
        (&device[..3], &[], "no key was given", "--installed"),
        (&device[..3], &["--installed", uuid], "no OP-TEE on this kind", "--tee optee-qemu"),
        (&device, &["--library-os", "/nonexistent"], "cannot read /nonexistent", ""),
    ] {
        let (code, output, error) = strongroom(&[tee, options, &program].concat());
        assert_eq!((code, output.as_str()), (Some(125), ""), "{options:?}: {error}");
        let (first, second) = error.split_once('\n').unwrap();
        assert!(first.contains(sentence) && second.contains(hint), "{options:?}: {error}");
        assert_eq!(second.starts_with("strongroom: hint: "), !hint.is_empty(), "{error}");
    }
}

#[test]
fn wrong_usage_is_125_and_help_is_0() {
    for arguments in [
        &["run", "--grant", "file:/etc", "--root", "/", "--", "a"][..],
        &["run", "--memory", "1T", "--root", "/", "--", "a"],
        &["run", "--env", "A", "--root", "/", "--", "a"],
        &["run", "-q", "-v", "--root", "/", "--", "a"],
        &["run", "app.room", "--env", "A=B"],
        &["measure", "app.room", "--tee", "sgx"],
        &["measure", "app.room", "--guest-features", "faster"],
        &["fly"],
    ] {
        let (code, _, error) = strongroom(arguments);
        assert_eq!(code, Some(125), "{arguments:?}: {error}");
        assert!(error.starts_with("error: "), "{error}");
    }
    let (code, output, _) = strongroom(&["run", "--help"]);
    assert_eq!(code, Some(0));
    assert!(output.contains("128+N"), "{output}");
}

#[test]
fn an_image_that_was_built_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), b"contents").unwrap();
    let image = folder.path().join("image");
    let (root, image) = (root.to_str().unwrap(), image.to_str().unwrap());
    let (code, built, error) = strongroom(&["image", "build", "--root", root, "-o", image]);
    assert_eq!(code, Some(0), "{error}");
    assert!(built.starts_with("sha256:") && built.ends_with(" 4 blocks\n"), "{built}");
    assert_eq!(strongroom(&["image", "verify", image]), (Some(0), built, String::new()));
}
