// SPDX-License-Identifier: MIT
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Point(u32, u32);

#[derive(Serialize, Deserialize)]
enum Mute {
    Silent,
}

#[strongroom::service]
trait Argument {
    #[gp(command = 1)]
    fn set(&self, at: Point);
}

#[strongroom::service]
trait Returned {
    #[gp(command = 1)]
    fn get(&self) -> Option<u32>;
}

#[strongroom::service]
trait Five {
    #[gp(command = 1)]
    fn get(&self, a: u32, b: u32, c: &[u8]) -> ([u8; 4], u32);
}

#[strongroom::service]
trait Twice {
    #[gp(command = 7)]
    fn one(&self);
    #[gp(command = 7)]
    fn other(&self);
}

#[strongroom::service]
trait Streams {
    #[gp(command = 1)]
    fn get(&self) -> Result<Streamed<u32, Mute>, Mute>;
}

#[strongroom::service]
trait Unnumbered {
    #[gp]
    fn get(&self);
}

#[strongroom::service]
trait Misnamed {
    #[gp(number = 1)]
    fn get(&self);
}

#[strongroom::service]
trait NoCode {
    #[gp(command = 1)]
    fn get(&self) -> Result<u32, Mute>;
}

fn main() {}
