// SPDX-License-Identifier: MIT
#[strongroom::service]
trait Async {
    async fn get(&self);
}

#[strongroom::service]
trait Generic {
    fn get<T>(&self, value: T);
}

#[strongroom::service]
trait ByValue {
    fn get(self);
}

#[strongroom::service]
trait Boxed {
    fn get(self: Box<Self>);
}

#[strongroom::service]
trait NoReceiver {
    fn get();
}

#[strongroom::service]
trait Twice {
    fn get(&self);
    fn get(&self);
}

#[strongroom::service]
trait Taken {
    fn connect(&self);
}

#[strongroom::service]
trait Body {
    fn get(&self) {}
}

#[strongroom::service]
trait Conditional {
    #[cfg(unix)]
    fn get(&self);
}

#[strongroom::service]
trait Large {
    #[limit(request = 2000000)]
    fn get(&self);
}

#[strongroom::service]
trait Limited {
    #[limit(time = 5)]
    fn get(&self);
}

fn main() {}
