// SPDX-License-Identifier: MIT
//! Calls the vault by its URL: `URL set-up`, `URL wrong TIMES`, `URL locked`, `URL open`. Without anything
//! it is the trusted application on this device, and all of it in a row.
#![forbid(unsafe_code)]

use std::{env, error::Error, process::ExitCode};
use strongroom::CallError;
use strongroom_connect::Session;
use strongroom_vault::{TRIES, UUID, VaultClient, VaultError};

type Client = VaultClient<Session>;
type Outcome = Result<(), Box<dyn Error>>;

const PIN: &str = "1234";
const WRONG: &str = "0000";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match call(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn call(arguments: &[&str]) -> Outcome {
    match arguments {
        [] => {
            let url = format!("optee:{UUID}");
            all(&url)
        }
        [url, "set-up"] => set_up(url).map(|_| ()),
        [url, "wrong", times] => wrong(url, times.parse()?),
        [url, "locked"] => locked(url),
        [url, "open"] => open(url),
        _ => Err("say URL set-up, URL wrong TIMES, URL locked or URL open".into()),
    }
}

fn all(url: &str) -> Outcome {
    let code = set_up(url)?;
    wrong(url, TRIES)?;
    locked(url)?;
    let mut client = connect(url)?;
    client.recover(code, PIN)?;
    ensure(client.get("mail")? == "hush", "the code opens it")?;
    open(url)?;
    println!("ok a vault is locked by wrong PINs, and opened by its code");
    Ok(())
}

fn connect(url: &str) -> Result<Client, Box<dyn Error>> {
    Ok(Client::connect(strongroom_connect::to(url)?)?)
}

fn set_up(url: &str) -> Result<[u8; 16], Box<dyn Error>> {
    let mut client = connect(url)?;
    let code = client.set_up(PIN)?;
    client.put("mail", "hush")?;
    Ok(code)
}

/// Each in a session of its own.
fn wrong(url: &str, times: u8) -> Outcome {
    for _ in 0..times {
        let said = connect(url)?.unlock(WRONG);
        let Err(CallError::Service(VaultError::WrongPin(left))) = said else {
            return Err(format!("a wrong PIN: {said:?}").into());
        };
        println!("{left} tries are left");
    }
    Ok(())
}

fn locked(url: &str) -> Outcome {
    let mut client = connect(url)?;
    let said = client.unlock(PIN);
    ensure(said == Err(CallError::Service(VaultError::Locked)), "the right PIN comes too late")?;
    let said = client.get("mail");
    ensure(said == Err(CallError::Service(VaultError::NotUnlocked)), "no password without a PIN")
}

fn open(url: &str) -> Outcome {
    let mut client = connect(url)?;
    client.unlock(PIN)?;
    ensure(client.get("mail")? == "hush", "the password is there")
}

fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}
