// SPDX-License-Identifier: MIT
//! Calls the signer by its URL, as any program of the normal world: tries all of it, then compares
//! what an empty call costs with a raw one.
#![forbid(unsafe_code)]

use ed25519_dalek::{Signature, VerifyingKey};
use std::{
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};
use strongroom::{CallError, Connect, ConnectError, client::Opening};
use strongroom_connect::{Session, Way};
use strongroom_signer::{RATE, SignError, SignerClient, UUID};
use strongroom_tee::{Access, Operation, Parameter, Tee, Uuid};

type Client = SignerClient<Session>;
type Outcome = Result<(), Box<dyn Error>>;

/// A trusted application of optee-test's, in C; it has no such command and says so at once.
const RAW: Uuid = Uuid::from_u128(0x5b9e0e40_2636_11e1_ad9e_0002a5d5c51b);
const NO_COMMAND: u32 = u32::MAX;
/// Bytes of the buffer of a session of the signer's, with a byte in front.
const ROOM: usize = 4097;
const CALLS: u32 = 2000;
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    match check().and_then(|()| cost()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn way() -> Result<Way, Box<dyn Error>> {
    Ok(strongroom_connect::to(&format!("optee:{UUID}"))?)
}

fn check() -> Outcome {
    let mut client = Client::connect(way()?)?;
    signs(&mut client)?;
    println!("ok signs");
    let mut other = Client::connect(way()?)?;
    ensure(other.public_key()? == client.public_key()?, "sessions have one key")?;
    ensure(other.log()?.last() == Some(&[7; 32]), "sessions have one log")?;
    ensure(other.stored()? == ["key", "log"], "two things are stored")?;
    println!("ok sessions share what is sealed");
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
    ensure(client.nothing().is_ok(), "the session goes on")?;
    println!("ok a call ends in time");
    ensure(client.panic_on_purpose() == Err(CallError::Panicked), "a panic is an error")?;
    ensure(client.nothing() == Err(CallError::Panicked), "the session is gone")?;
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

/// The best of some rounds each, taken by turns: others use the machine too.
fn cost() -> Outcome {
    let mut client = Client::connect(way()?)?;
    let tee = Tee::connect()?;
    let raw = tee.open(RAW)?;
    let mut memory = tee.allocate(ROOM, Access::Both)?;
    let (mut typed_best, mut raw_best) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..CALLS {
            client.nothing()?;
        }
        typed_best = typed_best.min(begun.elapsed());
        let begun = Instant::now();
        for _ in 0..CALLS {
            let mut operation = Operation::new([
                Parameter::partial(&mut memory, 0..ROOM, Access::Both)?,
                Parameter::value_input(0, 0),
                Parameter::none(),
                Parameter::none(),
            ]);
            // It refuses: that is a whole round trip.
            let refused = raw.invoke(NO_COMMAND, &mut operation).is_err();
            ensure(refused, "the raw application has no such command")?;
        }
        raw_best = raw_best.min(begun.elapsed());
    }
    let ratio = typed_best.as_secs_f64() / raw_best.as_secs_f64();
    println!("cost: typed {typed_best:?}, raw {raw_best:?}, {CALLS} calls each: ratio {ratio:.3}");
    ensure(ratio <= 1.2, "an empty typed call costs at most 1.2 of a raw one")
}
