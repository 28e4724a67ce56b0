// SPDX-License-Identifier: MIT
#[strongroom::service]
trait Generic<T> {
    fn get(&self) -> T;
}

#[strongroom::service]
trait Above: Clone {
    fn get(&self);
}

#[strongroom::service]
trait Empty {}

#[strongroom::service]
trait Constant {
    const N: u32;
}

#[strongroom::service]
struct NoTrait;

#[strongroom::service(name = "x")]
trait Named {
    fn get(&self);
}

#[strongroom::service(version = -1)]
trait Negative {
    fn get(&self);
}

fn main() {}
