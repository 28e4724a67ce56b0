// SPDX-License-Identifier: MIT
//! Reads from the machine's package sources which Debian mirror it uses.
//!
//! Both formats of sources.list(5) are understood: one line a source, and deb822 stanzas.
//! Third-party repositories are told apart by their suite names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::Architecture;

/// Code names and aliases of Debian suites. Third-party repositories use other names, or
/// components other than `main`.
const SUITES: &[&str] =
    &["bookworm", "trixie", "forky", "duke", "sid", "stable", "testing", "unstable", "oldstable"];

/// Addresses of the Debian archive and of its security archive. Never shown: a mirror's address
/// says where a machine stands.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Mirrors {
    archive: String,
    security: Option<String>,
}

/// One source: address, suites, components.
#[derive(Clone, Default, PartialEq, Eq)]
struct Source {
    address: String,
    suites: Vec<String>,
    components: Vec<String>,
}

impl Mirrors {
    /// Reads this machine's configuration.
    pub(crate) fn of_machine() -> Result<Self> {
        let mut sources = Vec::new();
        for file in source_files(Path::new("/etc/apt")) {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("read the package sources in {}", file.display()))?;
            let deb822 = file.extension().is_some_and(|extension| extension == "sources");
            sources.extend(if deb822 { parse_stanzas(&text) } else { parse_lines(&text) });
        }
        Self::among(&sources).context(
            "no Debian mirror in /etc/apt: this step needs a Debian machine with a `deb` source \
             for its suite",
        )
    }

    fn among(sources: &[Source]) -> Option<Self> {
        let debian = |security: bool| {
            sources
                .iter()
                .find(|source| source.is_debian() && source.is_security() == security)
                .map(|source| source.address.clone())
        };
        Some(Self { archive: debian(false)?, security: debian(true) })
    }

    /// The sources.list lines for `suites`; security suites without a security mirror are left out.
    pub(super) fn lines(
        &self,
        suites: &[&str],
        keyring: &Path,
        architecture: Architecture,
    ) -> String {
        let line = |suite: &&str| {
            let address =
                if suite.ends_with("-security") { self.security.as_ref()? } else { &self.archive };
            let (keyring, name) = (keyring.display(), architecture.name());
            let binary = format!("deb [arch={name} signed-by={keyring}] {address} {suite} main\n");
            Some(match architecture {
                Architecture::Amd64 => binary,
                Architecture::Arm64 => {
                    format!("{binary}deb-src [signed-by={keyring}] {address} {suite} main\n")
                }
            })
        };
        suites.iter().filter_map(line).collect()
    }
}

impl Source {
    fn is_debian(&self) -> bool {
        let known = |suite: &String| {
            SUITES.contains(&suite.split_once('-').map_or(suite.as_str(), |(base, _)| base))
        };
        self.components.iter().any(|component| component == "main")
            && !self.suites.is_empty()
            && self.suites.iter().all(known)
            && !self.address.starts_with("cdrom:")
    }

    fn is_security(&self) -> bool {
        self.suites.iter().all(|suite| suite.contains("security"))
    }
}

fn source_files(etc: &Path) -> Vec<PathBuf> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.retain(|file| {
        file.is_file()
            && file
                .extension()
                .is_some_and(|extension| extension == "list" || extension == "sources")
    });
    files.sort();
    files
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn parse_lines(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut fields = words(rest).into_iter();
    let address = fields.next()?;
    let suites = vec![fields.next()?];
    Some(Source { address, suites, components: fields.collect() })
}

fn parse_stanzas(text: &str) -> Vec<Source> {
    text.split("\n\n").filter_map(parse_stanza).collect()
}

fn parse_stanza(stanza: &str) -> Option<Source> {
    let mut source = Source::default();
    let (mut binary, mut enabled) = (false, true);
    let mut key = String::new();
    for line in stanza.lines().filter(|line| !line.starts_with('#')) {
        let value = match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                key = name.to_ascii_lowercase();
                value
            }
            Some(_) | None => line,
        };
        match key.as_str() {
            "types" => binary |= words(value).iter().any(|kind| kind == "deb"),
            "enabled" => enabled = !matches!(value.trim(), "no" | "false" | "0"),
            "uris" if source.address.is_empty() => {
                source.address = words(value).into_iter().next().unwrap_or_default();
            }
            "suites" => source.suites.extend(words(value)),
            "components" => source.components.extend(words(value)),
            _ => {}
        }
    }
    (binary && enabled && !source.address.is_empty()).then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_give_both_mirrors_and_skip_strangers() {
        let text = "Types: deb\n# note\nURIs: http://a.invalid/debian\nSuites: trixie trixie-updates\n\
                    Components: main\n\nTypes: deb\nURIs: http://s.invalid/debian-security\n\
                    Suites: trixie-security\nComponents: main\n\nTypes: deb\n\
                    URIs: http://x.invalid/repo\nSuites: nodistro\nComponents: main\n";
        let mirrors = Mirrors::among(&parse_stanzas(text)).unwrap();
        let keyring = Path::new("/k.gpg");
        let suites = ["bookworm", "bookworm-security"];
        let lines = mirrors.lines(&suites, keyring, Architecture::Amd64);
        assert_eq!(
            lines,
            "deb [arch=amd64 signed-by=/k.gpg] http://a.invalid/debian bookworm main\n\
             deb [arch=amd64 signed-by=/k.gpg] http://s.invalid/debian-security bookworm-security main\n"
        );
        assert_eq!(
            mirrors.lines(&["sid"], keyring, Architecture::Arm64),
            "deb [arch=arm64 signed-by=/k.gpg] http://a.invalid/debian sid main\n\
             deb-src [signed-by=/k.gpg] http://a.invalid/debian sid main\n"
        );
    }

    #[test]
    fn lines_with_options_are_read() {
        let text = "# deb http://no.invalid x main\n\
                    deb [signed-by=/k arch=amd64] http://a.invalid/debian bookworm main contrib\n\
                    deb-src http://b.invalid/debian bookworm main\n\
                    deb http://docker.invalid/linux/debian bookworm stable\n";
        let mirrors = Mirrors::among(&parse_lines(text)).unwrap();
        assert_eq!(mirrors.archive, "http://a.invalid/debian");
        assert_eq!(mirrors.security, None);
    }

    #[test]
    fn disabled_and_source_only_stanzas_do_not_count() {
        let text = "Types: deb-src\nURIs: http://a.invalid\nSuites: sid\nComponents: main\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://b.invalid\nSuites: sid\nComponents: main";
        assert!(Mirrors::among(&parse_stanzas(text)).is_none());
    }
}
