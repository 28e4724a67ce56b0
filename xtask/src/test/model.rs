// SPDX-License-Identifier: MIT
//! `examples/model`: a model that is made here goes to the measured program, on both TEEs, and the
//! program's answers are those of native Linux.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};

use super::native::{Network, Run};
use crate::{
    attested::{self, Desk},
    build::Built,
    process::{self, Finished},
    root::{Root, Set},
    workspace::Workspace,
};

const MANIFEST: &str = include_str!("../../../examples/model/strongroom.toml");
const MESSAGES: &[u8] = include_bytes!("../../../examples/model/messages.txt");
/// What it has not seen: fraud, honest, neither, no known word, and an empty line.
pub(super) const QUESTIONS: &[u8] = b"please verify your card now to claim the parcel\n\
    the talk on thursday moved to another room\nthe director wants to see the figures\nxyzzy\n\n";
/// The label that the first two have to get.
const FIRST: [&str; 2] = ["__label__fraud", "__label__honest"];
/// As the example's README has it.
const TRAIN: &str = "cat >/tmp/messages.txt; fasttext supervised -input /tmp/messages.txt \
    -output /tmp/model -dim 10 -wordNgrams 2 -bucket 1000 -epoch 50 -lr 0.5 -thread 1 -verbose 0 >&2; \
    cat /tmp/model.bin";
const LIMIT: Duration = Duration::from_secs(60);

/// In an SNP guest.
pub(super) fn in_guest(workspace: &Workspace, built: &Built, root: &Path) -> Result<()> {
    let model = Model::make(workspace)?;
    let desk = Desk::new(built)?;
    let manifest = Model::manifest(root, &desk.make_key("owner.key")?);
    desk.pack("model", built.payload(), &manifest)?;
    desk.write_policy("policy.toml", "model")?;
    let mut run = desk.run("model");
    run.args(["--insecure-accept-simulated", "--attest"]).arg(desk.path("policy.toml"));
    run.arg("--owner-key").arg(desk.path("owner.key"));
    run.args(["--secret", &model.secret()]);
    let ran = process::capture(&mut run, QUESTIONS, attested::LIMIT)?;
    Model::has_answered(&ran, &model.answers)
}

/// A model, and what it says on native Linux.
pub(super) struct Model {
    folder: tempfile::TempDir,
    answers: Vec<u8>,
}

impl Model {
    /// Trains it, and asks it.
    pub(super) fn make(workspace: &Workspace) -> Result<Self> {
        let root = Root::of_set(workspace, Set::Debian)?;
        let model = natively(&root, TRAIN, MESSAGES)?;
        let ask =
            format!("head -c {} >/tmp/model; fasttext predict-prob /tmp/model - 2", model.len());
        let answers = natively(&root, &ask, &[&model, QUESTIONS].concat())?;
        let text = String::from_utf8_lossy(&answers).into_owned();
        let labelled = text.lines().zip(FIRST).all(|(line, label)| line.starts_with(label));
        ensure!(labelled && text.lines().count() == 5, "it has learned nothing: {text}");
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("model.bin"), model)?;
        Ok(Self { folder, answers })
    }

    /// The example's manifest, with this root, and an owner with this key.
    pub(super) fn manifest(root: &Path, owner: &str) -> String {
        MANIFEST.replace("\"rootfs\"", &format!("'{}'", root.display())).replace("OWNER", owner)
    }

    /// The value of `--secret`.
    pub(super) fn secret(&self) -> String {
        format!("model=@{}", self.file().display())
    }

    /// Whether the program in the enclave has answered as a native one.
    pub(super) fn has_answered(ran: &Finished, native: &[u8]) -> Result<()> {
        let [inside, error, natively] =
            [&ran.stdout, &ran.stderr, native].map(String::from_utf8_lossy);
        ensure!(ran.status == 0, "status {}: {error}", ran.status);
        ensure!(ran.stdout == native, "natively:\n{natively}in the enclave:\n{inside}{error}");
        Ok(())
    }

    /// The model itself.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("model.bin")
    }
}

fn natively(root: &Root, script: &str, input: &[u8]) -> Result<Vec<u8>> {
    let ran = Run {
        root: &root.folder,
        command: &["/bin/sh", "-ec", script].map(str::to_owned),
        env: &BTreeMap::from([("PATH".to_owned(), "/usr/bin".to_owned())]),
        stdin: input,
        limit: LIMIT,
        network: Network::Own,
    }
    .finish()?;
    ensure!(ran.status == 0, "natively: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(ran.stdout)
}
