// SPDX-License-Identifier: MIT
//! Which package may build on which: the arrows between the top-level folders.

use super::Package;

/// For packages under the first path: workspace folders they may depend on. The first rule that
/// fits counts; a path ending in `/` stands for everything below it.
const RULES: &[(&str, &[&str])] = &[
    ("enclave-core/abi", &[]),
    ("enclave-core/south", &["enclave-core/abi"]),
    ("enclave-core/wire", &[]),
    (
        "enclave-core/kernel",
        &["attestation/session", "enclave-core/abi", "enclave-core/south", "enclave-core/wire"],
    ),
    (
        "enclave-core/fake",
        &["enclave-core/abi", "enclave-core/kernel", "enclave-core/south", "enclave-core/wire"],
    ),
    ("ta/snp/layout", &[]),
    ("ta/snp/igvm", &["ta/snp/layout", "attestation/testing"]),
    (
        "ta/",
        &[
            "attestation/evidence",
            "attestation/optee",
            "attestation/token",
            "enclave-core/abi",
            "enclave-core/kernel",
            "enclave-core/south",
            "enclave-core/wire",
            "ta/",
        ],
    ),
    ("attestation/evidence", &[]),
    ("attestation/token", &[]),
    ("attestation/optee", &["attestation/token"]),
    ("attestation/authority", &["attestation/evidence"]),
    ("attestation/", &["attestation/", "enclave-core/wire"]),
    (
        "host/client",
        &[
            "attestation/",
            "enclave-core/abi",
            "enclave-core/wire",
            "host/psp",
            "ta/snp/igvm",
            "ta/snp/layout",
        ],
    ),
    ("host/psp", &["attestation/", "ta/snp/layout"]),
    ("host/optee-qemu", &[]),
    (
        "host/cli",
        &["attestation/", "enclave-core/wire", "host/", "ta/optee/package", "ta/optee/packer"],
    ),
    (
        "host/optee-run",
        &[
            "attestation/token",
            "attestation/verifier",
            "enclave-core/wire",
            "host/optee-qemu",
            "host/tee",
            "ta/optee/package",
        ],
    ),
    ("host/tee", &[]),
    (
        "host/connect",
        &[
            "attestation/session",
            "host/client",
            "host/optee-qemu",
            "host/optee-run",
            "host/tee",
            "sdk/service",
        ],
    ),
    ("host/", &["attestation/", "enclave-core/wire", "host/"]),
    ("sdk", &["attestation/", "enclave-core/abi", "enclave-core/wire", "sdk"]),
    ("examples", &["examples", "host/client", "host/connect", "host/tee", "sdk"]),
    ("xtest", &["attestation/", "enclave-core/", "examples", "host/", "sdk", "ta/", "xtest"]),
    ("xtask", &["enclave-core/abi", "enclave-core/kernel", "host/optee-qemu"]),
];

/// Dependencies that point the wrong way.
pub(super) fn problems(packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages {
        let Some((_, allowed)) = RULES.iter().find(|(from, _)| covers(from, &package.folder))
        else {
            problems.push(format!("{}: no rule says what it may depend on", package.folder));
            continue;
        };
        for to in package.dependencies.iter().filter_map(|one| one.folder.as_ref()) {
            if !allowed.iter().any(|allowed| covers(allowed, to)) {
                problems.push(format!("{}: must not depend on {to}", package.folder));
            }
        }
    }
    problems
}

fn covers(rule: &str, folder: &str) -> bool {
    let Some(rest) = folder.strip_prefix(rule) else { return false };
    rule.ends_with('/') || rest.is_empty() || rest.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::Dependency;

    fn package(folder: &str, to: &str) -> Package {
        let dependency =
            Dependency { name: "x".to_owned(), folder: Some(to.to_owned()), optional: false };
        Package { name: "p".to_owned(), folder: folder.to_owned(), dependencies: vec![dependency] }
    }

    #[test]
    fn allowed_arrows_pass() {
        for (from, to) in [
            ("enclave-core/kernel", "enclave-core/wire"),
            ("enclave-core/fake", "enclave-core/kernel"),
            ("ta/snp", "enclave-core/kernel"),
            ("host/cli", "host/client"),
            ("host/client", "ta/snp/igvm"),
            ("host/client", "host/psp"),
            ("examples/hello", "host/client"),
        ] {
            assert_eq!(problems(&[package(from, to)]), Vec::<String>::new(), "{from} -> {to}");
        }
    }

    #[test]
    fn forbidden_arrows_are_found() {
        for (from, to) in [
            ("enclave-core/abi", "enclave-core/wire"),
            ("enclave-core/kernel", "enclave-core/fake"),
            ("enclave-core/kernel", "attestation/verifier"),
            ("enclave-core/kernel", "host/client"),
            ("ta/snp", "enclave-core/fake"),
            ("ta/snp", "xtask"),
            ("attestation/verifier", "host/client"),
            ("host/client", "host/cli"),
            ("host/client", "ta/snp"),
            ("host/psp", "ta/snp"),
            ("attestation/verifier", "host/psp"),
            ("ta/snp/igvm", "enclave-core/kernel"),
            ("examples/hello", "enclave-core/wire"),
            ("surprise", "xtask"),
        ] {
            assert_eq!(problems(&[package(from, to)]).len(), 1, "{from} -> {to}");
        }
    }
}
