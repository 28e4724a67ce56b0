// SPDX-License-Identifier: MIT
//! Calls the service by its URL: from outside over an attested session, or in the enclave itself by
//! `unix:@strongroom/service`. It is the same program.
#![forbid(unsafe_code)]

use std::{env, error::Error, process::ExitCode};
use strongroom::CallError;
use strongroom_beside::{Place, Tool, ToolError, ToolsClient};
use strongroom_connect::Session;

type Outcome = Result<(), Box<dyn Error>>;

/// What is sorted, and what comes of it.
const WORDS: &[u8] = b"sort\nme\nplease\n";
const SORTED: &[u8] = b"me\nplease\nsort\n";

fn main() -> ExitCode {
    match call() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn call() -> Outcome {
    let url = env::args().nth(1).ok_or("usage: strongroom-beside-client URL")?;
    let mut tools = ToolsClient::<Session>::connect(strongroom_connect::to(&url)?)?;
    ensure(tools.run(Tool::Sort, WORDS.to_vec())? == SORTED, "a program sorts")?;
    let failing = tools.run(Tool::Failing, Vec::new());
    match tools.place()? {
        Place::Outside => {
            let failed = Err(CallError::Service(ToolError::Failed(Some(1))));
            ensure(failing == failed, "a program's status is told")?;
            println!("ok a service starts programs of its image");
            // The program calls the service that has started it.
            let said = tools.run(Tool::Client, Vec::new())?;
            print!("in the enclave: {}", String::from_utf8_lossy(&said));
        }
        Place::Beside => {
            let denied = Err(CallError::Service(ToolError::Denied));
            ensure(failing == denied, "a program beside it may not start others")?;
            println!("ok a program calls the service beside it");
        }
    }
    Ok(())
}

fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}
