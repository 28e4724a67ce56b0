// SPDX-License-Identifier: MIT
//! Evidence of a trusted application under real OP-TEE: `examples/model` is enrolled, measured from the
//! package alone, and held against a policy before it gets its model; then one thing after the other is
//! wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use strongroom_optee_qemu::{Command as Inside, Image, Input, Machine, Options};

use super::Tally;
use crate::{
    attested::make_key,
    optee::{Built, Made, agent, programs_root},
    process::{self, Finished},
    test::model::{Model, QUESTIONS},
    workspace::Workspace,
};

/// The program and its libraries, as far as the normal world has none.
const PROGRAM: [&str; 4] = [
    "usr/bin/fasttext",
    "usr/lib/aarch64-linux-gnu/libfasttext.so.0",
    "usr/lib/aarch64-linux-gnu/libgcc_s.so.1",
    "usr/lib/aarch64-linux-gnu/libstdc++.so.6",
];
/// Signing keys of devices are made at the first use, under emulation.
const LIMIT: Duration = Duration::from_secs(300);

/// Makes the checks and counts them.
pub(super) fn run_all(workspace: &Workspace, made: &Made, tally: &Tally) {
    let mut owner = None;
    tally.check("optee/an application is enrolled and measured", || {
        owner = Some(Owner::new(workspace, made)?);
        Ok(())
    });
    let Some(owner) = owner else { return };
    tally.check("optee/model: a private model goes to the measured application", || {
        owner.is_trusted(&programs_root(workspace)?)
    });
    tally.check("optee/and to no other", || owner.trusts_nothing_else());
    tally.check("optee/an application answers a challenge", || owner.is_answered());
}

/// Somebody with a workload, a policy, a simulated device and a secret.
struct Owner {
    launcher: PathBuf,
    machine: PathBuf,
    agent: PathBuf,
    folder: tempfile::TempDir,
    model: Model,
}

impl Owner {
    fn new(workspace: &Workspace, made: &Made) -> Result<Self> {
        let built = Built::make(workspace, made)?;
        let (folder, model) = (tempfile::tempdir()?, Model::make(workspace)?);
        let owner = Self {
            launcher: built.launcher,
            machine: built.machine,
            agent: agent(workspace)?,
            folder,
            model,
        };
        let key = make_key(owner.strongroom(&[]), &owner.path("owner.key"))?;
        let manifest = Model::manifest(&programs_root(workspace)?, &key);
        fs::write(owner.path("app.toml"), &manifest)?;
        fs::write(owner.path("other.toml"), manifest.replace("predict-prob", "predict"))?;
        owner.enrol()?;
        owner.measure(&built.library_os)?;
        Ok(owner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn strongroom(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.launcher);
        command.args(arguments).env("STRONGROOM_OPTEE_MACHINE", &self.machine);
        command
    }

    fn enrol(&self) -> Result<()> {
        let mut command = self.strongroom(&["enroll", "--tee", "optee-qemu", "--storage"]);
        command.arg(self.path("device")).arg("--manifest").arg(self.path("app.toml"));
        process::run_quietly(command.arg("-o").arg(self.path("device.toml")))?;
        let text = fs::read_to_string(self.path("device.toml"))?;
        ensure!(text.contains("platform = \"simulated\""), "QEMU is enrolled as: {text}");
        Ok(())
    }

    /// Packs, and writes down the policy that follows.
    fn measure(&self, library_os: &Path) -> Result<()> {
        let mut pack = self.strongroom(&["pack"]);
        pack.arg(self.path("app.toml")).arg("-o").arg(self.path("app.room"));
        process::run_quietly(pack.arg(format!("--kernel=optee={}", library_os.display())))?;
        let mut measure = self.strongroom(&["measure", "--tee", "optee", "--json"]);
        let json = process::run_quietly(measure.arg(self.path("app.room")))?;
        let json: serde_json::Value = serde_json::from_slice(&json)?;
        let of = |name: &str| json.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        let policy = format!(
            "version = 1\n[optee]\nta_uuids = ['{}']\nmin_ta_version = 0\n\
             package_digests = ['{}']\nmemory_hashes = ['{}']\nidentity_key_ids = 'skip'\n\
             report_data = 'given'\n",
            of("ta_uuid"),
            of("package_digest"),
            of("memory_hash")
        );
        Ok(fs::write(self.path("policy.toml"), policy)?)
    }

    /// Runs a package, or what a manifest describes.
    fn run(&self, name: &str, policy: &str, further: &[&str]) -> Result<Finished> {
        let mut command = self.strongroom(&["run", "--tee", "optee-qemu", "--storage"]);
        command.arg(self.path("device"));
        if !name.ends_with(".room") {
            command.arg("--manifest");
        }
        command.arg(self.path(name)).arg("--attest").arg(self.path(policy));
        command.arg("--enrolment").arg(self.path("device.toml"));
        command.arg("--owner-key").arg(self.path("owner.key"));
        command.args(["--secret", &self.model.secret()]).args(further);
        process::capture(&mut command, QUESTIONS, LIMIT)
    }

    /// The package itself, as it was measured; its answers are those of the same program in the normal
    /// world. Other processors round otherwise in the last digit.
    fn is_trusted(&self, root: &Path) -> Result<()> {
        let ran = self.run("app.room", "policy.toml", &["--insecure-accept-simulated"])?;
        let image = Image::in_directory(&self.machine, self.agent.clone());
        let mut options = Options::new(image, self.path("logs"));
        options.files = PROGRAM.map(|file| (file.into(), root.join(file))).to_vec();
        options.files.push(("root/model.bin".into(), self.model.file()));
        let mut machine = Machine::boot(&options)?;
        let command = ["fasttext", "predict-prob", "/root/model.bin", "-", "2"];
        let natively = machine.capture(&Inside::new(command), Input::Bytes(QUESTIONS))?;
        machine.power_off()?;
        let errors = String::from_utf8_lossy(&natively.errors);
        ensure!(natively.status.code() == 0, "in the normal world: {errors}");
        Model::has_answered(&ran, &natively.output)
    }

    /// Outside of any session.
    fn is_answered(&self) -> Result<()> {
        let mut evidence = self.strongroom(&["evidence", "--tee", "optee-qemu", "--storage"]);
        evidence.arg(self.path("device")).arg("--manifest").arg(self.path("app.toml"));
        evidence.args(["--nonce", "5eed", "-o"]).arg(self.path("token"));
        process::run_quietly(&mut evidence)?;
        for (nonce, status) in [("5eed", 0), ("5eee", 1)] {
            let mut verify = self.strongroom(&["verify", "--nonce", nonce]);
            verify.arg(self.path("token")).arg("--policy").arg(self.path("policy.toml"));
            verify.arg("--enrolment").arg(self.path("device.toml"));
            verify.arg("--insecure-accept-simulated");
            let judged = process::capture(&mut verify, b"", LIMIT)?;
            let error = String::from_utf8_lossy(&judged.stderr);
            ensure!(judged.status == status, "nonce {nonce}, status {}: {error}", judged.status);
        }
        Ok(())
    }

    /// Another argument, another memory hash, a newer version wanted, a device that is simulated.
    fn trusts_nothing_else(&self) -> Result<()> {
        let policy = fs::read_to_string(self.path("policy.toml"))?;
        let hash = policy.split("memory_hashes = ['").nth(1).context("a hash")?;
        let (hash, _) = hash.split_at_checked(64).context("a hash")?;
        let uuid = policy.split("ta_uuids = ['").nth(1).context("a UUID")?;
        let (uuid, _) = uuid.split_at_checked(36).context("a UUID")?;
        fs::write(self.path("hash.toml"), policy.replace(hash, &hash.replace(['0', '1'], "2")))?;
        fs::write(
            self.path("newer.toml"),
            policy.replace("min_ta_version = 0", "min_ta_version = 1"),
        )?;
        let simulated = "--insecure-accept-simulated";
        for (manifest, policy, further, check) in [
            ("app.toml", "hash.toml", &[simulated][..], "optee.memory_hashes"),
            ("app.toml", "newer.toml", &[simulated], "optee.min_ta_version"),
            ("other.toml", "policy.toml", &[simulated], "token: identity key"),
            // Under the first one's name: the identity key is the same, the program is not.
            ("other.toml", "policy.toml", &[simulated, "--uuid", uuid], "optee.package_digests"),
            ("app.toml", "policy.toml", &[], "is simulated"),
        ] {
            let ran = self.run(manifest, policy, further)?;
            let error = String::from_utf8_lossy(&ran.stderr);
            ensure!(ran.status == 125, "{check}: status {}: {error}", ran.status);
            ensure!(error.contains(check), "not because of {check}: {error}");
            ensure!(ran.stdout.is_empty(), "{check}: the program ran");
        }
        Ok(())
    }
}
