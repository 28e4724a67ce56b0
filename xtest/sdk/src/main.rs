// SPDX-License-Identifier: MIT
//! A client in C, one that blocks and one that does not call the same trusted application at the same
//! time, and compare every answer with what they have asked; and a service's evidence is judged.
#![forbid(unsafe_code)]
#![expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

mod evidence;

use futures::{executor::block_on, future::try_join_all};
use std::{
    env,
    error::Error,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Instant,
};
use strongroom_connect::{AsyncSession, Session, Way};
use strongroom_keys::{Algorithm, PublicKey, Signature};
use strongroom_wallet::{SIGNED, UUID, WalletAsyncClient, WalletClient};

/// The client in C: `xtest/sdk/wallet.c`.
const IN_C: &str = "strongroom-wallet-c";
/// Each client has accounts of its own, in a row.
const ACCOUNTS: u32 = 16;
/// Sessions of the client that does not block, all awaited by one thread.
const SESSIONS: u32 = 4;

type Failed = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let calls = env::args().nth(1).and_then(|calls| calls.parse().ok()).unwrap_or(10_000);
    match signs().and_then(|()| evidence::check()).and_then(|()| all(calls)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn way() -> Result<Way, Failed> {
    Ok(strongroom_connect::to(&format!("optee:{UUID}"))?)
}

/// What the client in C gets is what a typed client gets, and what the wallet says it signs.
fn signs() -> Result<(), Failed> {
    let said = in_c(&[])?;
    let field = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|digits| hex::decode(digits.trim()).ok())
            .ok_or("the client in C says something else")
    };
    let (address, signature) = (field("address")?, field("signature")?);
    let signature = Signature::from_bytes(&signature.try_into().map_err(|_| "no signature")?);
    let typed = WalletClient::<Session>::connect(way()?)?.address(7)?;
    ensure(address == typed, "one wallet, one address")?;
    let digest = [[1, 2, 3].as_slice(), &[0; 29]].concat();
    let message = [SIGNED, &3_u64.to_le_bytes(), &digest].concat();
    let key = PublicKey { algorithm: Algorithm::Ed25519, bytes: address };
    ensure(key.verify(&message, &signature), "the signature is the account's")?;
    println!("ok a client in C gets what a typed one gets");
    Ok(())
}

/// All three at once; each makes a third of the calls.
fn all(calls: u32) -> Result<(), Failed> {
    let share = calls.div_ceil(3);
    let begun = Instant::now();
    let answered = thread::scope(|scope| -> Result<u32, Failed> {
        let c = scope.spawn(move || {
            let said = in_c(&["0".to_owned(), share.to_string()])?;
            Ok::<u32, Failed>(said.trim().parse()?)
        });
        let blocking = scope.spawn(move || blocks(ACCOUNTS, share));
        let asynchronous = scope.spawn(move || block_on(awaits(2 * ACCOUNTS, share)));
        let mut answered = 0;
        for client in [c, blocking, asynchronous] {
            answered += client.join().map_err(|_| "a client panicked")??;
        }
        Ok(answered)
    })?;
    ensure(answered == 3 * share, "no answer is lost")?;
    println!("ok {answered} calls of three clients at once, {:.1?}", begun.elapsed());
    Ok(())
}

fn in_c(arguments: &[String]) -> Result<String, Failed> {
    let mut command = Command::new(IN_C);
    let output = command.args(arguments).stderr(Stdio::inherit()).output()?;
    ensure(output.status.success(), "the client in C")?;
    Ok(String::from_utf8(output.stdout)?)
}

fn blocks(from: u32, calls: u32) -> Result<u32, Failed> {
    let mut client = WalletClient::<Session>::connect(way()?)?;
    let known = (0..ACCOUNTS).map(|at| client.address(from + at)).collect::<Result<Vec<_>, _>>()?;
    for (at, known) in (0..calls).zip(known.iter().cycle()) {
        ensure(client.address(from + at % ACCOUNTS)? == *known, "the answer to another")?;
    }
    Ok(calls)
}

/// As [`blocks`], over several sessions whose calls are under way at the same time.
async fn awaits(from: u32, calls: u32) -> Result<u32, Failed> {
    let session = |number: u32| async move {
        let mut client = WalletAsyncClient::<AsyncSession>::connect(way()?).await?;
        let mut known = Vec::new();
        for at in 0..ACCOUNTS {
            known.push(client.address(from + at).await?);
        }
        let share = (number..calls).step_by(usize::try_from(SESSIONS)?);
        for at in share {
            let account = at % ACCOUNTS;
            let found = client.address(from + account).await?;
            ensure(known.get(usize::try_from(account)?) == Some(&found), "the answer to another")?;
        }
        Ok::<(), Failed>(())
    };
    try_join_all((0..SESSIONS).map(session)).await?;
    Ok(calls)
}

fn ensure(holds: bool, what: &str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}
