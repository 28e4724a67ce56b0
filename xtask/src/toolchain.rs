// SPDX-License-Identifier: MIT
//! Which compiler builds what: rustup's targets where they are there, Debian's `rustc-web` where not.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::workspace::Workspace;

/// The payload's target.
pub(crate) const PAYLOAD_TARGET: &str = "x86_64-unknown-none";

/// The target that proves the core is not tied to one machine.
pub(crate) const ARM_TARGET: &str = "aarch64-unknown-linux-gnu";

/// The trusted application's target. Its code leaves the floating-point registers alone: they are
/// the program's, and a system call need not save them.
pub(crate) const APPLICATION_TARGET: &str = "aarch64-unknown-none-softfloat";

/// The library's source as `rust-web-src` installs it.
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/core/Cargo.toml";

/// How code for a target without an operating system is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The active toolchain has the target's `core`.
    Installed,
    /// The active toolchain has its own source: `core` is built along.
    ActiveSource,
    /// Debian's `cargo-web` with `rust-web-src`: `core` is built along.
    DebianWeb,
}

impl Route {
    /// The route to `target`, if there is one on this machine now.
    pub(crate) fn to(target: &str) -> Option<Self> {
        Self::all_to(target).into_iter().next()
    }

    /// All routes to `target` that are there, the one that is taken first.
    pub(crate) fn all_to(target: &str) -> Vec<Self> {
        let mut routes: Vec<Self> = Self::active_to(target).into_iter().collect();
        let parts = ["/usr/bin/cargo", "/usr/bin/rustc", DEBIAN_SOURCE];
        let links = target != PAYLOAD_TARGET || debian_linker().is_some();
        if links && parts.iter().all(|part| Path::new(part).exists()) {
            routes.push(Self::DebianWeb);
        }
        routes
    }

    /// The route by the active toolchain.
    fn active_to(target: &str) -> Option<Self> {
        let links = target != PAYLOAD_TARGET || debian_linker().is_some();
        if let Some(sysroot) = sysroot(Path::new(&rustc())) {
            let library = Path::new(&sysroot).join("lib/rustlib");
            if library.join(target).join("lib").is_dir() {
                return Some(Self::Installed);
            }
            if (links || !Self::ActiveSource.lacks_linker())
                && library.join("src/rust/library/Cargo.lock").is_file()
            {
                return Some(Self::ActiveSource);
            }
        }
        None
    }

    /// The compiler, as it names itself.
    pub(crate) fn compiler(self) -> Option<String> {
        let rustc = match self {
            Self::Installed | Self::ActiveSource => rustc(),
            Self::DebianWeb => OsString::from("/usr/bin/rustc"),
        };
        let output = Command::new(rustc).arg("--version").output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// `cargo SUBCOMMAND --target TARGET`, set up for this route.
    pub(crate) fn cargo(self, workspace: &Workspace, subcommand: &str, target: &str) -> Command {
        let mut command = match self {
            Self::Installed | Self::ActiveSource => cargo(workspace),
            Self::DebianWeb => debian_cargo(workspace),
        };
        command.args([subcommand, "--target", target]);
        if target == PAYLOAD_TARGET {
            command.arg("--config").arg(format!("target.{target}.rustflags=[{:?}]", remap()));
        }
        if self != Self::Installed {
            command.env("RUSTC_BOOTSTRAP", "1");
            command.args(["-Zbuild-std=core,alloc"]);
            command.args(["-Zbuild-std-features=compiler-builtins-mem"]);
            if let Some(linker) = debian_linker().filter(|_| self.lacks_linker()) {
                command.env("CARGO_TARGET_X86_64_UNKNOWN_NONE_LINKER", linker);
            }
        }
        command
    }
}

/// A flag of the compiler's. Messages of panics name source files: those of dependencies are named as
/// if they were at the same place on every computer, or each would build another image.
pub(crate) fn remap() -> String {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let sources = home.unwrap_or_default().join("registry/src");
    format!("--remap-path-prefix={}=/registry", sources.display())
}

impl Route {
    /// Debian's compiler comes without `rust-lld`, which the payload's target asks for.
    fn lacks_linker(self) -> bool {
        let bundled = "lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld";
        match self {
            Self::Installed => false,
            Self::ActiveSource => sysroot(Path::new(&rustc()))
                .is_none_or(|sysroot| !Path::new(&sysroot).join(bundled).exists()),
            Self::DebianWeb => !Path::new("/usr").join(bundled).exists(),
        }
    }
}

/// The newest `ld.lld` of Debian's `lld-N` packages.
fn debian_linker() -> Option<PathBuf> {
    let version = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("ld.lld-")?.parse::<u32>().ok()
    };
    let programs = fs::read_dir("/usr/bin").ok()?.flatten().map(|entry| entry.path());
    programs.filter(|path| version(path).is_some()).max_by_key(version)
}

/// The cargo that runs us.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(&workspace.root);
    command
}

/// Debian's cargo with Debian's compiler.
pub(crate) fn debian_cargo(workspace: &Workspace) -> Command {
    let mut command = Command::new("/usr/bin/cargo");
    command.current_dir(&workspace.root);
    command.env_remove("RUSTUP_TOOLCHAIN").env("RUSTC", "/usr/bin/rustc");
    command.env("PATH", path_with_debian_first());
    command
}

fn rustc() -> OsString {
    env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"))
}

fn sysroot(rustc: &Path) -> Option<String> {
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn path_with_debian_first() -> OsString {
    let mut path = OsString::from("/usr/bin:");
    path.push(env::var_os("PATH").unwrap_or_default());
    path
}
