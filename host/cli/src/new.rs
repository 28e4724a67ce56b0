// SPDX-License-Identifier: MIT
//! `strongroom new`: a project to begin with.

use crate::policy::without_licence;
use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use uuid::Uuid;

/// The sources that this command was built from.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The file that both sides of a service depend on, below the sources.
const SDK: &str = "sdk/strongroom/Cargo.toml";
const LOCK: &str = "Cargo.lock";
/// The one file that is run.
const SCRIPT: &str = "run";

/// Write a project that builds, tests, packs and runs.
///
/// `cargo test` tests it on this computer; `./run` builds it, packs it and runs the package in an enclave.
/// A service runs as a trusted application, too: `./run optee`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  strongroom new greeter
  strongroom new counter --template service")]
pub(crate) struct NewOptions {
    /// Name of the folder to make, of the package and of the program
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: String,
    /// What kind of project
    #[arg(long, value_enum, default_value_t)]
    template: Template,
    /// Sources of Strongroom, whose crates a service is built with [default: those of this command]
    #[arg(long, value_name = "DIR")]
    sources: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Template {
    /// A Linux program that knows nothing of enclaves
    #[default]
    Program,
    /// A trait, what implements it, and a client that calls it over an attested session
    Service,
}

impl Template {
    /// Names in the project, and contents.
    const fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Program => &[
                ("Cargo.toml", include_str!("../templates/program/cargo.toml")),
                ("src/main.rs", include_str!("../templates/program/src/main.rs")),
                ("strongroom.toml", include_str!("../templates/program/strongroom.toml")),
                (SCRIPT, include_str!("../templates/program/run")),
                ("README.md", include_str!("../templates/program/readme.md")),
                (".gitignore", include_str!("../templates/program/gitignore")),
            ],
            Self::Service => &[
                ("Cargo.toml", include_str!("../templates/service/cargo.toml")),
                (".cargo/config.toml", include_str!("../templates/service/cargo-config.toml")),
                ("service/Cargo.toml", include_str!("../templates/service/service/cargo.toml")),
                ("service/build.rs", include_str!("../templates/service/service/build.rs")),
                ("service/src/lib.rs", include_str!("../templates/service/service/src/lib.rs")),
                ("service/src/main.rs", include_str!("../templates/service/service/src/main.rs")),
                (
                    "service/tests/counter.rs",
                    include_str!("../templates/service/service/tests/counter.rs"),
                ),
                ("client/Cargo.toml", include_str!("../templates/service/client/cargo.toml")),
                ("client/src/main.rs", include_str!("../templates/service/client/src/main.rs")),
                ("strongroom.toml", include_str!("../templates/service/strongroom.toml")),
                (SCRIPT, include_str!("../templates/service/run")),
                ("README.md", include_str!("../templates/service/readme.md")),
                (".gitignore", include_str!("../templates/service/gitignore")),
            ],
        }
    }
}

pub(crate) fn new(options: &NewOptions) -> anyhow::Result<ExitCode> {
    let folder = Path::new(&options.name);
    ensure!(!folder.exists(), "{} exists; choose another name", folder.display());
    let sources = match options.template {
        Template::Program => None,
        Template::Service => Some(sources(options)?),
    };
    let filling = Filling { name: &options.name, uuid: Uuid::new_v4(), sources };
    for (name, contents) in options.template.files() {
        write(&folder.join(name), &filling.fill(contents))?;
    }
    let script = folder.join(SCRIPT);
    fs::set_permissions(&script, Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", script.display()))?;
    // The versions that the crates of a service were tested with.
    if let Some(lock) =
        filling.sources.and_then(|sources| fs::read_to_string(sources.join(LOCK)).ok())
    {
        write(&folder.join(LOCK), &lock)?;
    }
    println!("{0}/ is made; next: cd {0} && cargo test && ./run", options.name);
    Ok(ExitCode::SUCCESS)
}

fn sources(options: &NewOptions) -> anyhow::Result<PathBuf> {
    let named = options.sources.clone().unwrap_or_else(|| PathBuf::from(SOURCES));
    ensure!(
        named.join(SDK).is_file(),
        "{} has no {SDK}; name the sources of Strongroom with --sources DIR",
        named.display()
    );
    fs::canonicalize(&named).with_context(|| format!("cannot open {}", named.display()))
}

/// What templates leave open.
struct Filling<'a> {
    name: &'a str,
    /// Of a trusted application.
    uuid: Uuid,
    /// Where the crates of a service are.
    sources: Option<PathBuf>,
}

impl Filling<'_> {
    fn fill(&self, template: &str) -> String {
        let sources = self.sources.as_ref().map(|sources| sources.display().to_string());
        without_licence(template)
            .replace("{{name}}", self.name)
            .replace("{{crate}}", &self.name.replace('-', "_"))
            .replace("{{uuid}}", &self.uuid.to_string())
            .replace("{{strongroom}}", &sources.unwrap_or_default())
    }
}

fn write(file: &Path, contents: &str) -> anyhow::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(file, contents).with_context(|| format!("cannot write {}", file.display()))
}

/// A name for a Cargo package, a program and a folder.
fn parse_name(text: &str) -> Result<String, String> {
    let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if begins && text.chars().all(rest) && text.len() <= 40 {
        Ok(text.to_owned())
    } else {
        Err("a name has a to z, 0 to 9, - and _, and begins with a letter".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        let (uuid, sources) = (Uuid::new_v4(), Some(PathBuf::from("/sources")));
        assert_ne!(Uuid::new_v4(), uuid);
        let filling = Filling { name: "my-name", uuid, sources };
        for template in [Template::Program, Template::Service] {
            for (name, contents) in template.files() {
                let text = filling.fill(contents);
                assert!(!text.contains("{{") && !text.contains("SPDX"), "{name}: {text}");
            }
        }
    }

    #[test]
    fn names_are_those_of_packages() {
        for good in ["a", "counter", "my-counter_2"] {
            assert_eq!(parse_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "2a", "-a", "A", "a/b", "..", "a b", "\u{e9}"] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
