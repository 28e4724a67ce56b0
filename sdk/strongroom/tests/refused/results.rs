// SPDX-License-Identifier: MIT
#[strongroom::service]
trait Borrowed {
    fn get(&self) -> &str;
}

#[strongroom::service]
trait BorrowedInside {
    fn get(&self) -> Option<&u8>;
}

#[strongroom::service]
trait Lifetime {
    fn get(&self) -> Cow<'static, str>;
}

#[strongroom::service]
trait Impl {
    fn get(&self) -> impl Iterator<Item = u8>;
}

#[strongroom::service]
trait OneSided {
    fn get(&self) -> std::io::Result<u8>;
}

#[strongroom::service]
trait Never {
    fn get(&self) -> !;
}

#[strongroom::service]
trait OfSelf {
    fn get(&self) -> Self::Output;
}

#[strongroom::service]
trait Stream {
    fn get(&self) -> Streamed<u8, u8>;
}

#[strongroom::service]
trait OtherError {
    fn get(&self) -> Result<Streamed<u8, u8>, u16>;
}

fn main() {}
