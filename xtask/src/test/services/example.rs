// SPDX-License-Identifier: MIT
//! Examples as programs in SNP guests, and their clients outside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use super::wait_for;
use crate::{
    attested::{Desk, LIMIT},
    build::{Built, program},
    process::{self, Finished, Running},
    root::{Root, Set},
    toolchain::cargo,
    workspace::Workspace,
};

/// What the launcher runs on, and programs in an SNP guest too.
const HOST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// What an example's packages are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe<'r> {
    /// The example's name.
    pub(super) example: &'r str,
    /// What its program's name ends with.
    pub(super) program: &'r str,
    /// A package for each: each is measured as another one.
    pub(super) hostnames: &'r [&'r str],
    /// The service waits for its owner, who brings a secret.
    pub(super) owned: bool,
    /// The client is in the image too, as it is, with the libraries that it has here.
    pub(super) client_inside: bool,
}

impl<'r> Recipe<'r> {
    /// A service that is a trusted application too, and nothing else.
    pub(super) const fn of(example: &'r str, hostnames: &'r [&'r str]) -> Self {
        Self { example, program: "ta", hostnames, owned: false, client_inside: false }
    }
}

/// An example as a program in a guest, with sealed storage in a folder of the host.
pub(super) struct Example<'a> {
    pub(super) desk: Desk<'a>,
    client: PathBuf,
    owned: bool,
}

impl<'a> Example<'a> {
    /// Builds and packs it.
    pub(super) fn make(
        workspace: &Workspace,
        built: &'a Built,
        recipe: &Recipe<'_>,
    ) -> Result<Self> {
        let client = program(workspace, &format!("strongroom-{}-client", recipe.example))?;
        let service = service(workspace, recipe.example, recipe.program)?;
        let mut files = vec![(service, PathBuf::from("/service"))];
        if recipe.client_inside {
            files.extend(libraries(&client)?);
            files.push((client.clone(), PathBuf::from("/bin/client")));
        }
        let small = Root::of_set(workspace, Set::Small)?;
        let root = small.with_files(workspace, recipe.example, &files)?.image(workspace)?;
        let desk = Desk::new(built)?;
        fs::create_dir(desk.path("sealed"))?;
        let session = if recipe.owned {
            let owner = desk.make_key("owner.key")?;
            format!("[session]\nowners = ['{owner}']\nsecrets = ['sealing.key']\n")
        } else {
            String::new()
        };
        for name in recipe.hostnames {
            let manifest = format!(
                "[workload]\nprogram = '/service'\nhostname = '{name}'\n\
                 [image]\nroot = '{}'\n[service]\nany-client = true\n\
                 [[grant.directory]]\nuntrusted-plaintext-directory = '{}'\nmount = '/sealed'\n\
                 writable = true\n{session}[resources]\nmemory = '64M'\n",
                root.display(),
                desk.path("sealed").display()
            );
            desk.pack(name, built.payload(), &manifest)?;
            desk.write_policy(&format!("{name}-policy.toml"), name)?;
        }
        Ok(Self { desk, client, owned: recipe.owned })
    }

    /// Runs a package and has the client call it, so often and with these words; then the enclave is
    /// killed. What the client says.
    pub(super) fn call(
        &self,
        name: &str,
        policy: &str,
        calls: &[&[&str]],
    ) -> Result<Vec<Finished>> {
        let attach = self.desk.path(&format!("{name}-attach"));
        let mut run = self.desk.run(name);
        run.arg("--attach").arg(format!("unix:{}", attach.display()));
        run.arg("--grant").arg(format!("dir:{}=/sealed:rw", self.desk.path("sealed").display()));
        // One that was killed has left its socket.
        let _ = fs::remove_file(&attach);
        let enclave = Running::start(run.stdin(Stdio::null()).stdout(Stdio::null()))?;
        wait_for(|| attach.exists().then_some(()))?;
        let policy = self.desk.path(&format!("{policy}-policy.toml"));
        if self.owned {
            self.bring_secret(&attach, &policy)?;
        }
        let url = format!(
            "snp+unix:{}?policy={}&insecure-accept-simulated=true",
            attach.display(),
            policy.display()
        );
        let call = |words: &&[&str]| {
            process::capture(Command::new(&self.client).arg(&url).args(*words), b"", LIMIT)
        };
        let finished = calls.iter().map(call).collect();
        drop(enclave);
        finished
    }

    fn bring_secret(&self, to: &Path, policy: &Path) -> Result<()> {
        let mut attach = self.desk.strongroom(&["attach", "--insecure-accept-simulated"]);
        attach.arg(format!("unix:{}", to.display())).arg("--policy").arg(policy);
        attach.arg("--owner-key").arg(self.desk.path("owner.key")).arg("--secret");
        attach.arg(format!("sealing.key=@{}", self.desk.path("sealing.key").display()));
        process::run_quietly(&mut attach).map(|_| ())
    }
}

/// The service, as a static program: the root has nothing else.
fn service(workspace: &Workspace, example: &str, program: &str) -> Result<PathBuf> {
    let package = format!("strongroom-{example}");
    let program = format!("{package}-{program}");
    let mut build = cargo(workspace);
    build.args(["build", "--profile", "service", "--features", "linux", "--package"]);
    // For a named target, so that build scripts are as ever.
    build.args([&package, "--bin", &program, "--target", HOST_TARGET]);
    build.env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    process::run_quietly(&mut build)?;
    Ok(workspace.target.join(HOST_TARGET).join("service").join(program))
}

/// The libraries that a program here is linked with, and its loader: where they are, and where it looks
/// for them.
fn libraries(program: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let listed = process::run_quietly(Command::new("ldd").arg(program))?;
    let listed = String::from_utf8_lossy(&listed);
    // `name => path (address)`, or the loader's path and address; what the kernel lends has no path.
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let files: Vec<_> = paths.map(|path| (PathBuf::from(path), PathBuf::from(path))).collect();
    ensure!(!files.is_empty(), "{} has no libraries: {listed}", program.display());
    Ok(files)
}
