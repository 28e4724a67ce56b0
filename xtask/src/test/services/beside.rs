// SPDX-License-Identifier: MIT
//! Linux programs and a service together, in one enclave.

use anyhow::{Context as _, Result, ensure};

use super::{
    example::{Example, Recipe},
    text,
};
use crate::{build::Built, workspace::Workspace};

/// What the client outside says, and the same program when the service has started it inside.
const SAID: &str = "ok a service starts programs of its image\n\
                    in the enclave: ok a program calls the service beside it\n";

/// The client has the service start programs; one of these is the client itself, which calls back.
pub(super) fn check(workspace: &Workspace, built: &Built) -> Result<()> {
    let recipe =
        Recipe { program: "service", client_inside: true, ..Recipe::of("beside", &["beside"]) };
    let beside = Example::make(workspace, built, &recipe)?;
    let called = beside.call("beside", "beside", &[&[]])?.pop().context("it was called")?;
    ensure!(called.status == 0 && called.stdout == SAID.as_bytes(), "{}", text(&called));
    Ok(())
}
