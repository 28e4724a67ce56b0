// SPDX-License-Identifier: MIT
//! Calls the signer by its URL, as any program does that is not inside: tries all of it. Without a URL
//! it is the trusted application on this device; then it also compares what an empty call costs with a
//! raw one.
#![forbid(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod cost;

use ed25519_dalek::{Signature, VerifyingKey};
use std::{
    env,
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};
use strongroom::{CallError, Connect, ConnectError, client::Opening};
use strongroom_connect::{Session, Way};
use strongroom_signer::{RATE, SignError, SignerClient, UUID};

type Client = SignerClient<Session>;
type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    match check().and_then(|()| costs()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn url() -> Option<String> {
    env::args().nth(1)
}

fn way() -> Result<Way, Box<dyn Error>> {
    Ok(strongroom_connect::to(&url().unwrap_or_else(|| format!("optee:{UUID}")))?)
}

/// Only where there is something to compare with.
fn costs() -> Outcome {
    #[cfg(target_arch = "aarch64")]
    if url().is_none() {
        return cost::compare();
    }
    Ok(())
}

fn check() -> Outcome {
    let mut client = Client::connect(way()?)?;
    signs(&mut client)?;
    println!("ok signs");
    let mut other = Client::connect(way()?)?;
    ensure(other.public_key()? == client.public_key()?, "sessions have one key")?;
    ensure(other.log()?.last() == Some(&[7; 32]), "sessions have one log")?;
    ensure(other.stored()? == ["key", "log"], "two things are stored")?;
    println!("ok sessions share what is sealed: {} in the log", other.log()?.len());
    let other_version = OtherVersion(way()?);
    let refused = Client::connect(other_version).err();
    let differs = matches!(&refused, Some(ConnectError::Interface(two)) if two.theirs.version == 1);
    ensure(differs, "another version is refused by name")?;
    println!(
        "ok interfaces are compared: {}",
        refused.map(|it| it.to_string()).unwrap_or_default()
    );
    client.session().set_timeout(Some(Duration::from_millis(300)));
    let begun = Instant::now();
    ensure(client.wait() == Err(CallError::TimedOut), "waiting ends")?;
    ensure(begun.elapsed() < Duration::from_secs(30), "waiting ends early")?;
    client.session().set_timeout(None);
    // Over a stream the answer to the call that was given up would come first.
    let goes_on = matches!(way()?, Way::Optee(_));
    ensure(client.nothing().is_ok() == goes_on, "the session goes on, or has ended")?;
    println!("ok a call ends in time");
    let mut client = Client::connect(way()?)?;
    ensure(client.panic_on_purpose() == Err(CallError::Panicked), "a panic is an error")?;
    // A trusted application that panics is gone; a program makes a fresh instance.
    ensure(client.nothing().is_ok() != goes_on, "what a panic leaves")?;
    Client::connect(way()?)?.nothing()?;
    println!("ok a panic is an error, and a new session works");
    Ok(())
}

fn signs(client: &mut Client) -> Outcome {
    let key = VerifyingKey::from_bytes(&client.public_key()?).map_err(|_| "no public key")?;
    for _ in 0..RATE {
        let (r, s) = client.sign([7; 32])?;
        let signature = Signature::from_components(r, s);
        key.verify_strict(&[7; 32], &signature).map_err(|_| "a signature is wrong")?;
    }
    let refused = client.sign([7; 32]);
    ensure(matches!(refused, Err(CallError::Service(SignError::TooOften(_)))), "too often")
}

fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}

/// A client that was built from another source.
struct OtherVersion(Way);

impl Connect for OtherVersion {
    type Transport = Session;

    fn connect(self, opening: &Opening) -> Result<Session, ConnectError> {
        let mut opening = opening.clone();
        opening.hello.version = 2;
        self.0.connect(&opening)
    }
}
