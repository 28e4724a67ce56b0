// SPDX-License-Identifier: MIT
//! Third-party crates: the ones the project promises to build on, and a word about each that
//! enters the enclave.

use regex::Regex;

use super::{Dependency, Package, Tracked};

/// Where the document is that says where and why each is used.
const DOCUMENT: &str = "docs/dependencies.md";

/// Folders whose packages end up with users.
const SHIPPED: &[&str] = &["enclave-core/", "ta/", "host/", "attestation/", "sdk"];

/// Promised crates without use, and crates of the enclave that the document does not name.
pub(super) fn problems(
    files: &[Tracked],
    packages: &[Package],
    required: &[String],
) -> Vec<String> {
    let mut problems = Vec::new();
    for name in required {
        let mut users = packages.iter().filter(|package| {
            is_shipped(package)
                && package.dependencies.iter().any(|one| one.name == *name && !one.optional)
                && is_named_in_source(files, package, name)
        });
        if users.next().is_none() {
            problems.push(format!("no shipped package depends on {name} and uses it"));
        }
    }
    let document = files.iter().find(|file| file.path == DOCUMENT);
    let document = document.map(|file| file.text.as_str()).unwrap_or_default();
    for package in packages.iter().filter(|package| is_in_enclave(package)) {
        let third_party = |one: &&Dependency| one.folder.is_none();
        for dependency in package.dependencies.iter().filter(third_party) {
            if !document.contains(&format!("`{}`", dependency.name)) {
                problems.push(format!(
                    "{DOCUMENT}: does not say why {} uses `{}`",
                    package.folder, dependency.name
                ));
            }
        }
    }
    problems
}

fn is_shipped(package: &Package) -> bool {
    SHIPPED.iter().any(|folder| package.folder.starts_with(folder))
        && package.folder != "enclave-core/fake"
}

fn is_in_enclave(package: &Package) -> bool {
    package.folder.starts_with("enclave-core/") || package.folder.starts_with("ta/")
}

/// A dependency nobody writes down in code is a dependency in name only.
fn is_named_in_source(files: &[Tracked], package: &Package, name: &str) -> bool {
    let identifier = regex::escape(&name.replace('-', "_"));
    let Ok(usage) = Regex::new(&format!(r"\b{identifier}(::|;|\s+as\s)")) else { return false };
    let folder = format!("{}/", package.folder);
    files.iter().any(|file| {
        file.path.starts_with(&folder) && file.path.ends_with(".rs") && usage.is_match(&file.text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &str, optional: bool) -> Package {
        let dependency = Dependency { name: "spin".to_owned(), folder: None, optional };
        Package { name: "p".to_owned(), folder: folder.to_owned(), dependencies: vec![dependency] }
    }

    fn file(path: &str, text: &str) -> Tracked {
        Tracked { path: path.to_owned(), text: text.to_owned() }
    }

    fn required(package: Package, source: &str) -> usize {
        let source = file(&format!("{}/src/lib.rs", package.folder), source);
        let document = file(DOCUMENT, "`spin`: locks");
        problems(&[source, document], &[package], &["spin".to_owned()]).len()
    }

    #[test]
    fn a_required_crate_has_to_ship_unconditionally_and_be_used() {
        assert_eq!(required(package("enclave-core/kernel", false), "use spin::Mutex;"), 0);
        assert_eq!(required(package("enclave-core/kernel", true), "use spin::Mutex;"), 1);
        assert_eq!(required(package("enclave-core/fake", false), "use spin::Mutex;"), 1);
        assert_eq!(required(package("xtask", false), "use spin::Mutex;"), 1);
        assert_eq!(required(package("enclave-core/kernel", false), "use spinning::Top;"), 1);
    }

    #[test]
    fn every_crate_of_the_enclave_is_documented() {
        let packages = [package("ta/snp", false)];
        assert_eq!(problems(&[], &packages, &[]).len(), 1);
        assert_eq!(problems(&[file(DOCUMENT, "| `spin` | locks |")], &packages, &[]).len(), 0);
        assert_eq!(problems(&[], &[package("host/cli", false)], &[]).len(), 0);
    }
}
