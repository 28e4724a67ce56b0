// SPDX-License-Identifier: MIT
#[strongroom::service]
trait Pattern {
    fn set(&self, (a, b): (u8, u8));
}

#[strongroom::service]
trait Mutable {
    fn set(&self, out: &mut [u8]);
}

#[strongroom::service]
trait Borrowed {
    fn set(&self, number: &u32);
}

#[strongroom::service]
trait Lifetime {
    fn set(&self, text: &'static str);
}

#[strongroom::service]
trait Impl {
    fn set(&self, value: impl Copy);
}

#[strongroom::service]
trait Closure {
    fn set(&self, value: Box<dyn Fn()>);
}

#[strongroom::service]
trait Pointer {
    fn set(&self, value: *const u8);
}

#[strongroom::service]
trait SameName {
    fn set(&self, value: u8, value: u8);
}

fn main() {}
