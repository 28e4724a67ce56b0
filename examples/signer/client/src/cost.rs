// SPDX-License-Identifier: MIT
//! What an empty call costs, beside a raw one of the same parameters.

use crate::{Client, Outcome, ensure, way};
use std::time::{Duration, Instant};
use strongroom_tee::{Access, Operation, Parameter, Tee, Uuid};

/// A trusted application of optee-test's, in C; it has no such command and says so at once.
const RAW: Uuid = Uuid::from_u128(0x5b9e0e40_2636_11e1_ad9e_0002a5d5c51b);
const NO_COMMAND: u32 = u32::MAX;
/// Bytes of the buffer of a session of the signer's, with a byte in front.
const ROOM: usize = 4097;
/// Short rounds, and many: a machine with other work has a quiet moment for one of each.
const CALLS: u32 = 200;
const ROUNDS: usize = 50;

/// The best of some rounds each, taken by turns: others use the machine too.
pub(crate) fn compare() -> Outcome {
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
