// SPDX-License-Identifier: MIT
//! The table of C programs, `xtest/programs/programs.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{root::Set, workspace::Workspace};

/// Where the programs lie inside their root.
const FOLDER: &str = "/xtest";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Compiler flags of all programs.
    flags: Vec<String>,
    program: Vec<Program>,
}

/// One program of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// Name of the executable.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) kind: Kind,
    /// Files, relative to the table's folder.
    pub(crate) sources: Vec<String>,
    /// How it is linked, and so which root it needs.
    link: Link,
    /// Compiler flags; the table has them once for all.
    #[serde(skip)]
    pub(crate) flags: Vec<String>,
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Asserts, and prints a line a case.
    Cases,
    /// Makes random system calls, as many as it is told.
    Fuzzer,
    /// Measures: no test.
    Bench,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Link {
    Static,
    Dynamic,
}

impl Program {
    /// The linker's option for it.
    pub(crate) fn link_flag(&self) -> Option<&'static str> {
        match self.link {
            Link::Static => Some("-static"),
            Link::Dynamic => None,
        }
    }

    /// The same where programs have to be position-independent.
    pub(crate) fn position_independent_flag(&self) -> Option<&'static str> {
        match self.link {
            Link::Static => Some("-static-pie"),
            Link::Dynamic => None,
        }
    }

    /// The root it runs in: a dynamic program needs the C library.
    pub(crate) fn root(&self) -> Set {
        match self.link {
            Link::Static => Set::Small,
            Link::Dynamic => Set::Debian,
        }
    }

    /// Where it lies in that root.
    pub(crate) fn path_inside(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }
}

/// Reads the table.
pub(crate) fn read_table(workspace: &Workspace) -> Result<Vec<Program>> {
    let file = workspace.root.join("xtest/programs/programs.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    parse(&text).with_context(|| format!("in {}", file.display()))
}

fn parse(text: &str) -> Result<Vec<Program>> {
    let table: Table = toml::from_str(text)?;
    let mut programs = table.program;
    for program in &mut programs {
        program.flags.clone_from(&table.flags);
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "flags = [\"-O2\"]\n[[program]]\nname = \"a\"\nkind = \"cases\"\n\
                       sources = [\"a.c\"]\nlink = \"dynamic\"\n";

    #[test]
    fn a_program_has_the_flags_of_the_table_and_a_place_in_its_root() {
        let program = parse(ONE).unwrap().remove(0);
        assert_eq!(program.flags, ["-O2"]);
        assert_eq!((program.link_flag(), program.root()), (None, Set::Debian));
        assert_eq!(program.path_inside(), Path::new("/xtest/a"));
    }

    #[test]
    fn mistakes_are_refused() {
        assert!(parse(&ONE.replace("cases", "case")).is_err());
        assert!(parse(&format!("{ONE}typo = 1\n")).is_err());
    }
}
