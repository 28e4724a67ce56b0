// SPDX-License-Identifier: MIT
//! A program with its interpreter and all libraries that these need, found as the interpreter
//! would find them (`ld.so(8)`), in a root file system.

use crate::object::Object;
use crate::{File, PackError};
use std::collections::BTreeSet;

/// Where libraries are looked for, as Debian's `ld.so` does without a cache.
const FOLDERS: [&str; 5] =
    ["/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib", "/usr/lib", "/usr/local/lib"];
/// Where programs without a slash in their name are looked for.
const PROGRAM_FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Most files of one package.
const FILES_MAX: usize = 256;

/// A root file system.
pub trait Root {
    /// The regular file that a path leads to, symbolic links followed inside of the root.
    ///
    /// # Errors
    ///
    /// A sentence, when it is there and cannot be read.
    fn read(&self, path: &str) -> Result<Option<File>, String>;
}

/// Why there is no complete set of files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClosureError {
    /// The program, or a library that was asked for.
    #[error("{0} is not in the root file system")]
    NotFound(String),
    /// A library that a file needs.
    #[error("{needed_by} needs {name}, which is not in the root file system")]
    Missing {
        /// The library.
        name: String,
        /// Who needs it.
        needed_by: String,
    },
    /// A file that cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// A file that cannot be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Too many of them.
    #[error("over {FILES_MAX} files are needed")]
    TooMany,
}

/// The program, and everything that is loaded with it. `further` are paths of what it opens by
/// itself (`dlopen`); `beside` names programs that run while it does, each with files of its own: what
/// two of them use is there twice, as it has one set of variables only.
///
/// # Errors
///
/// [`ClosureError`] names the file that is missing or cannot be packed.
pub fn closure(
    root: &dyn Root,
    program: &str,
    further: &[String],
    beside: &[String],
) -> Result<Vec<File>, ClosureError> {
    let mut search = Search { root, files: Vec::new(), known: BTreeSet::new() };
    let program = search.program(program)?;
    search.add(program)?;
    for path in further {
        let file = search.read(path)?.ok_or_else(|| ClosureError::NotFound(path.clone()))?;
        search.add(file)?;
    }
    for program in beside {
        search.known.clear();
        let program = search.program(program)?;
        search.add(program)?;
    }
    Ok(search.files)
}

struct Search<'a> {
    root: &'a dyn Root,
    files: Vec<File>,
    known: BTreeSet<String>,
}

impl Search<'_> {
    fn read(&self, path: &str) -> Result<Option<File>, ClosureError> {
        self.root.read(path).map_err(ClosureError::Unreadable)
    }

    fn program(&self, program: &str) -> Result<File, ClosureError> {
        if program.contains('/') {
            let file = self.read(program)?;
            return file.ok_or_else(|| ClosureError::NotFound(program.to_owned()));
        }
        for folder in PROGRAM_FOLDERS {
            if let Some(file) = self.read(&format!("{folder}/{program}"))? {
                return Ok(file);
            }
        }
        Err(ClosureError::NotFound(program.to_owned()))
    }

    /// Adds a file and, breadth first, what it needs.
    fn add(&mut self, file: File) -> Result<(), ClosureError> {
        let mut waiting = vec![file];
        while !waiting.is_empty() {
            let mut next = Vec::new();
            for file in waiting {
                if !self.known.insert(file.path.clone()) {
                    continue;
                }
                if self.files.len() >= FILES_MAX {
                    return Err(ClosureError::TooMany);
                }
                next.extend(self.needs(&file)?);
                self.files.push(file);
            }
            waiting = next;
        }
        Ok(())
    }

    fn needs(&self, file: &File) -> Result<Vec<File>, ClosureError> {
        let object = Object::parse(file.clone())?;
        let missing = |name: &str| ClosureError::Missing {
            name: name.to_owned(),
            needed_by: file.path.clone(),
        };
        let mut found = Vec::new();
        if let Some(interpreter) = &object.interpreter {
            found.push(self.read(interpreter)?.ok_or_else(|| missing(interpreter))?);
        }
        for name in &object.needed {
            found.push(self.library(&object, name)?.ok_or_else(|| missing(name))?);
        }
        Ok(found)
    }

    fn library(&self, by: &Object, name: &str) -> Result<Option<File>, ClosureError> {
        if name.contains('/') {
            return self.read(name);
        }
        let origin = by.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let own = by
            .search
            .iter()
            .map(|folder| folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin));
        for folder in own.chain(FOLDERS.iter().map(|folder| (*folder).to_owned())) {
            if let Some(file) = self.read(&format!("{folder}/{name}"))? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}
