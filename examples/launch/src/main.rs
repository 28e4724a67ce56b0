// SPDX-License-Identifier: MIT
//! Launches an enclave, talks to the program in it, and prints what it answers.
//!
//! `cargo run -p launch -- ROOT_DIRECTORY` runs `/bin/sh` of that root and has it compute.

use anyhow::Context as _;
use std::io::{Read as _, Write as _};
use strongroom_client::image::{Image, Ownership};
use strongroom_client::{Console, Launcher, Workload};

fn main() -> anyhow::Result<()> {
    let root = std::env::args_os().nth(1).context("usage: launch ROOT_DIRECTORY")?;
    let image = Image::for_source(root.as_ref(), Ownership::Keep)?;
    let workload = Workload::of_program("/bin/sh", ["-s"]);
    let session = Launcher::with_default_payload()?.image(image).workload(workload).start()?;

    let (console, mut pipes) = Console::piped()?;
    let enclave = std::thread::spawn(|| session.run(console));

    pipes.input.write_all(b"echo $((6 * 7))\nexit 3\n")?;
    drop(pipes.input);
    let mut answer = String::new();
    pipes.output.read_to_string(&mut answer)?;

    let outcome = enclave.join().ok().context("the session panicked")??;
    println!("the enclave answered {:?} and exited with {}", answer.trim_end(), outcome.status);
    Ok(())
}
