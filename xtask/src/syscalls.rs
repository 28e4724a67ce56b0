// SPDX-License-Identifier: MIT
//! `cargo xtask syscalls`: the table of system calls, written from the kernel's own.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use anyhow::{Context, Result, bail};
use strongroom_abi::Sysno;
use strongroom_kernel::table::{FAMILIES, Row, Support};

use crate::workspace::Workspace;

const DOCUMENT: &str = "docs/syscalls.md";

/// Writes the document.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let file = workspace.root.join(DOCUMENT);
    fs::create_dir_all(file.parent().context("a document lies in a folder")?)?;
    fs::write(&file, document()?).with_context(|| format!("write {}", file.display()))
}

/// Fails when the document does not say what the kernel does.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let written = fs::read_to_string(workspace.root.join(DOCUMENT)).unwrap_or_default();
    if written == document()? {
        return Ok(());
    }
    bail!("{DOCUMENT} is not what the kernel's table says: run cargo xtask syscalls")
}

fn document() -> Result<String> {
    let rows = || FAMILIES.iter().flat_map(|(_, rows)| rows.iter());
    let mut served = BTreeSet::new();
    if let Some(twice) = rows().find(|row| !served.insert(row.call.name())) {
        bail!("the kernel's table has {} twice", twice.call.name());
    }
    let absent: Vec<Sysno> =
        Sysno::ALL.iter().copied().filter(|call| !served.contains(call.name())).collect();
    let count = |wanted: fn(&Support) -> bool| rows().filter(|row| wanted(&row.support)).count();
    let mut text =
        String::from("# System calls\n\nWritten by `cargo xtask syscalls`; do not edit.\n\n");
    writeln!(
        text,
        "{} calls are served in full, {} in part, {} are answered with an error on purpose; {} are not\n\
         there. A call that is not there returns `ENOSYS`, and the kernel log says so once a number.\n\
         \"Full\" is what a program can see of a system with one processor and no other users; where a\n\
         flag or case is missing, the table says \"partial\".\n\n\
         In a trusted application of OP-TEE there is one address space: `fork`, and `clone` without\n\
         `CLONE_VM`, return `ENOSYS` there. `execve` starts what was packed (`--spawns`): `ENOEXEC` for other\n\
         programs, `ENOMEM` for one that runs already as often as it was packed. Memory becomes executable\n\
         only for what was packed, else `EACCES`. A page of a file has one shared mapping at a time: a second\n\
         one is `ENOMEM`; what was opened for reading only shows what was in it then. Calls keep to the\n\
         protection of memory (`EFAULT`), but nothing keeps the program itself to it.\n",
        count(|support| *support == Support::Full),
        count(|support| matches!(support, Support::Partial(_))),
        count(|support| matches!(support, Support::Refused(_))),
        absent.len()
    )?;
    for (family, rows) in FAMILIES {
        writeln!(text, "## {family}\n\n| call | x86_64 | aarch64 | support |\n|:--|--:|--:|:--|")?;
        for row in *rows {
            writeln!(text, "{}", line(row))?;
        }
        text.push('\n');
    }
    text.push_str("## Not there\n\n");
    let names: Vec<String> = absent.iter().map(|call| format!("`{}`", call.name())).collect();
    writeln!(text, "{}", wrapped(&names))?;
    Ok(text)
}

fn line(row: &Row) -> String {
    let number = |number: Option<u16>| number.map_or("-".to_owned(), |number| number.to_string());
    let support = match row.support {
        Support::Full => "full".to_owned(),
        Support::Partial(missing) => format!("partial: {missing}"),
        Support::Refused(why) => format!("refused: {why}"),
    };
    let (call, x86_64, aarch64) = (row.call, row.call.x86_64(), row.call.aarch64());
    format!("| `{}` | {} | {} | {support} |", call.name(), number(x86_64), number(aarch64))
}

/// Words with commas, on lines of usual length.
fn wrapped(words: &[String]) -> String {
    let mut text = String::new();
    let mut width = 0;
    for (index, word) in words.iter().enumerate() {
        let comma = if index + 1 < words.len() { "," } else { "" };
        if width > 0 && width + word.len() + 2 > 100 {
            text.push('\n');
            width = 0;
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        text.push_str(comma);
        width += word.len() + comma.len();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_in_the_document_once() {
        let text = document().unwrap();
        let (_introduction, tables) = text.split_once("\n## ").unwrap();
        for call in Sysno::ALL {
            assert_eq!(tables.matches(&format!("`{}`", call.name())).count(), 1, "{}", call.name());
        }
    }

    #[test]
    fn long_lists_are_broken_between_words() {
        let text = wrapped(&vec!["`twelve_chars`".to_owned(); 20]);
        assert!(text.lines().all(|line| line.len() <= 100));
        assert_eq!(text.matches(',').count(), 19);
    }
}
