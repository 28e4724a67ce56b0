// SPDX-License-Identifier: MIT
//! Calls the signer by its URL, as any program does that is not inside: tries all of it; with a file
//! behind the URL, gets evidence about a key and writes it there. Without a URL
//! it is the trusted application on this device; then it also compares what an empty call costs with a
//! raw one.
#![forbid(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod cost;

use std::{
    env,
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};
use strongroom::{CallError, Connect, ConnectError, client::Opening};
use strongroom_connect::{Session, Way};
use strongroom_keys::Algorithm;
use strongroom_signer::{RATE, SignError, SignerClient, UUID, bound};

type Client = SignerClient<Session>;
/// A verifier makes up another one each time.
const NONCE: [u8; 32] = [5; 32];
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::P256];

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let asked = env::args().nth(2).map_or_else(|| check().and_then(|()| costs()), |to| keep(&to));
    match asked {
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

/// Writes what a key's evidence is bound to, and the evidence, to a file: for a verifier.
fn keep(to: &str) -> Outcome {
    let mut client = Client::connect(way()?)?;
    let key = client.public_key(Algorithm::P256)?;
    let evidence = client.evidence(Algorithm::P256, NONCE)?;
    std::fs::write(to, [bound(&NONCE, &key).as_slice(), &evidence].concat())?;
    Ok(())
}

fn check() -> Outcome {
    let mut client = Client::connect(way()?)?;
    signs(&mut client)?;
    println!("ok signs");
    let mut other = Client::connect(way()?)?;
    for algorithm in ALGORITHMS {
        let same = other.public_key(algorithm)? == client.public_key(algorithm)?;
        ensure(same, "sessions have the same keys")?;
    }
    ensure(other.log()?.last() == Some(&[7; 32]), "sessions have one log")?;
    ensure(other.stored()? == ["key/ed25519", "key/p256", "log"], "three things are stored")?;
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
    let goes_on = matches!(way()?, Way::Optee(_) | Way::Simulated(_));
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
    for algorithm in ALGORITHMS.into_iter().cycle().take(RATE) {
        let signature = client.sign(algorithm, [7; 32])?;
        let verifies = client.public_key(algorithm)?.verify(&[7; 32], &signature);
        ensure(verifies, "a signature is the key's")?;
    }
    let refused = client.sign(Algorithm::P256, [7; 32]);
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
        Connect::connect(self.0, &opening)
    }
}
