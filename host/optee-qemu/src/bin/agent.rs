// SPDX-License-Identifier: MIT
//! The first process of the normal world. Build it for aarch64, statically linked.
#![forbid(unsafe_code)]

use std::{fs::File, io};

use strongroom_optee_qemu::{
    agent::{
        boot::{self, Console},
        commands::{Served, serve},
    },
    protocol::{FromGuest, send},
};

fn main() {
    if std::process::id() != 1 {
        eprintln!("strongroom-optee-agent is the first process of a machine, and nothing else");
        std::process::exit(2);
    }
    match boot::file_systems() {
        Ok(mut console) => {
            if let Err(error) = live(&mut console) {
                console.say(&error.to_string());
            }
            boot::power_off(&mut console);
        }
        // The kernel says that its first process has ended, and how.
        Err(_) => std::process::exit(3),
    }
}

fn live(console: &mut Console) -> io::Result<()> {
    let port: File = boot::port()?;
    let lacks = boot::services(console);
    send(&mut &port, &FromGuest::Ready { lacks })?;
    console.say("ready");
    while serve(&port)? == Served::Command {
        boot::reap();
    }
    Ok(())
}
