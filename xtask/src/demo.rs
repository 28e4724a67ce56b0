// SPDX-License-Identifier: MIT
//! `cargo xtask demo`: unmodified Debian programs in the payload, for the reader to see.

use std::{
    io::{BufRead, BufReader, Write as _},
    process::Stdio,
};

use anyhow::{Context, Result, bail};

use crate::{
    attested,
    build::Built,
    process,
    root::{Root, Set},
    setup::{self, Wants},
    workspace::Workspace,
};

/// The launcher's own lines begin so; the program's standard error does not.
const OWN_LINE: &str = "strongroom:";

struct Scene {
    title: &'static str,
    root: Set,
    command: &'static [&'static str],
}

const PIPELINE: &str = "uname -srm; ls -l / | awk '{print $1, $NF}' | sort -k2 | head -8; \
                        seq 1 100000 | grep 7 | wc -l | sed 's/$/ numbers below 100001 have a 7/'";

const PYTHON: &str = "\
import hashlib, json, os, sys, threading
print('Python', sys.version.split()[0], 'as process', os.getpid())
squares = {}
threads = [threading.Thread(target=lambda n=n: squares.__setitem__(n, n * n)) for n in range(8)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
print(json.dumps(dict(sorted(squares.items()))))
print('sha256 of its own interpreter:', hashlib.sha256(open(sys.executable, 'rb').read()).hexdigest())";

const SQL: &str = "\
create table planet(name text, moons integer);
insert into planet values ('Earth', 1), ('Mars', 2), ('Jupiter', 95), ('Saturn', 146);
select name, moons from planet where moons > 1 order by moons desc;
select 'rows in the file: ' || count(*) from planet;";

const SCENES: &[Scene] = &[
    Scene {
        title: "a busybox shell pipeline",
        root: Set::Small,
        command: &["/bin/busybox", "sh", "-c", PIPELINE],
    },
    Scene {
        title: "a Python program",
        root: Set::Debian,
        command: &["/usr/bin/python3", "-c", PYTHON],
    },
    Scene {
        title: "a SQLite query on a file",
        root: Set::Debian,
        command: &["/usr/bin/sqlite3", "/tmp/planets.db", SQL],
    },
];

/// Builds everything and runs the scenes; what the launcher measured comes last.
pub(crate) fn demo(workspace: &Workspace, no_install: bool) -> Result<()> {
    setup::setup(workspace, Wants::DEMO, no_install)?;
    let built = Built::make(workspace)?;
    let mut measured = Vec::new();
    for scene in SCENES {
        let image = Root::of_set(workspace, scene.root)?.image(workspace)?;
        println!("\n== {}", scene.title);
        measured = play(scene, &built, &image)
            .with_context(|| format!("the demo stopped at {}", scene.title))?;
    }
    println!("\n== what the launcher says about the last run");
    for line in &measured {
        println!("{line}");
    }
    println!(
        "This platform is simulated: QEMU without SEV-SNP. Nothing here is protected from the \
         host, and the digest is not a launch measurement."
    );
    Ok(())
}

/// Shows how a secret gets to a measured program, and how it does not.
pub(crate) fn attested(workspace: &Workspace, no_install: bool) -> Result<()> {
    setup::setup(workspace, Wants::DEMO, no_install)?;
    let built = Built::make(workspace)?;
    println!("\n== a secret for a measured program; the security processor is simulated");
    attested::play(workspace, &built, &mut |line| println!("- {line}"))?;
    println!(
        "This platform is simulated: the evidence has the form of an SNP machine's and is signed by a \
         key that this computer made. It protects nothing."
    );
    Ok(())
}

/// Runs a scene with live output; returns the launcher's own lines.
fn play(scene: &Scene, built: &Built, image: &std::path::Path) -> Result<Vec<String>> {
    let mut command = built.run(image);
    command.args(["-v", "--env", "PATH=/usr/bin:/bin", "--env", "HOME=/root", "--"]);
    command.args(scene.command);
    let words = scene.command.iter().map(|word| process::quoted(word));
    println!(
        "$ strongroom run --root {}.img -- {}",
        scene.root.name(),
        words.collect::<Vec<_>>().join(" ")
    );
    std::io::stdout().flush()?;
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take().context("the launcher has standard error")?;
    let mut measured = Vec::new();
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        if line.starts_with(OWN_LINE) {
            measured.push(line);
        } else {
            eprintln!("{line}");
        }
    }
    let status = child.wait()?;
    if !status.success() {
        // The launcher's reasons were held back: now they matter.
        for line in &measured {
            eprintln!("{line}");
        }
        bail!("`strongroom run` ended with {status}");
    }
    Ok(measured)
}
