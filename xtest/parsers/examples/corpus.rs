// SPDX-License-Identifier: MIT
//! Writes the inputs that our own code makes, for libFuzzer to start from: a folder a parser.
//!
//! `corpus FOLDER`

use std::error::Error;
use std::path::Path;
use strongroom_parsers::{PARSERS, corpus};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: corpus FOLDER")?;
    for parser in PARSERS {
        let folder = Path::new(&folder).join(parser.name);
        std::fs::create_dir_all(&folder)?;
        for (index, input) in corpus(parser.name).iter().enumerate() {
            std::fs::write(folder.join(format!("made-{index}")), input)?;
        }
    }
    Ok(())
}
