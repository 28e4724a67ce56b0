// SPDX-License-Identifier: MIT
//! Calls the service by its URL. With `snp+` nothing is said before the enclave has proven itself.

use std::{env, error::Error};
use {{crate}}::CounterClient;

fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1).ok_or("usage: {{name}}-client URL")?;
    let mut counter = CounterClient::connect(strongroom_connect::to(&url)?)?;
    counter.add(1)?;
    println!("the count is {}", counter.add(2)?);
    Ok(())
}
