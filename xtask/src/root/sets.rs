// SPDX-License-Identifier: MIT
//! Which packages a root is made of, and what their maintainer scripts would have linked.

use serde::Deserialize;

use crate::apt::Depth;

/// A named set of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Set {
    /// Static programs only: needs no dynamic loader.
    Small,
    /// Every program the tests run.
    Debian,
}

const SMALL: &[&str] = &["bash-static", "busybox-static"];

const DEBIAN: &[&str] = &[
    "base-files",
    "base-passwd",
    "bash",
    "bash-static",
    "bc",
    "busybox-static",
    "bzip2",
    "ca-certificates",
    "coreutils",
    "dash",
    "diffutils",
    "fasttext",
    "file",
    "findutils",
    "gawk",
    "gcc",
    "git",
    "grep",
    "gzip",
    "hostname",
    "libc-bin",
    "libc6-dev",
    "libpython3.11-testsuite",
    "lua5.4",
    "mawk",
    "ncurses-base",
    "netbase",
    "openssl",
    "perl",
    "procps",
    "python3.11",
    "redis-server",
    "redis-tools",
    "sed",
    "sqlite3",
    "tar",
    "util-linux",
    "xz-utils",
];

/// Links made by `update-alternatives` and maintainer scripts: link, target.
const LINKS: &[(&str, &str)] = &[
    ("usr/bin/awk", "gawk"),
    ("usr/bin/cc", "gcc"),
    ("usr/bin/lua", "lua5.4"),
    ("usr/bin/python3", "python3.11"),
    ("usr/bin/sh", "dash"),
    ("usr/bin/which", "which.debianutils"),
];

impl Set {
    /// The name in case files and in the cache.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Debian => "debian",
        }
    }

    /// The packages asked for.
    pub(crate) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Small => SMALL,
            Self::Debian => DEBIAN,
        }
    }

    /// Static programs stand alone; the others bring their libraries.
    pub(crate) fn depth(self) -> Depth {
        match self {
            Self::Small => Depth::Alone,
            Self::Debian => Depth::WithDependencies,
        }
    }

    /// True when busybox stands for every program it can be called as.
    pub(crate) fn is_busybox_alone(self) -> bool {
        self == Self::Small
    }

    /// Links to add where a target is installed and nothing has the link's name.
    pub(crate) fn links(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Small => &[],
            Self::Debian => LINKS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_lists_are_sorted_so_that_doubles_show() {
        for set in [Set::Small, Set::Debian] {
            assert!(set.packages().is_sorted_by(|a, b| a < b), "{}", set.name());
        }
    }
}
