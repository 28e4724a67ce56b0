// SPDX-License-Identifier: MIT
//! The rate of the time stamp counter, by channel 2 of the PIT (Intel 8254).

use super::counter;
use crate::machine::host::port;
use crate::timescale::Timescale;

const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
/// Bit 0 lets channel 2 count, bit 1 makes its output audible.
const GATE: u16 = 0x61;
/// Channel 2, both bytes, mode 0.
const COUNT_DOWN: u8 = 0xb0;
/// Holds the count of channel 2 for reading.
const LATCH: u8 = 0x80;
const HERTZ: u64 = 1_193_182;
/// Length of the measurement, in PIT ticks: 1 ms.
const WINDOW: u16 = 1193;
/// Reads of a PIT that stands still after which there is none.
const READS_MAX: u32 = 1_000_000;
/// Turns of an empty loop between two reads: a port costs a hundred times as much.
const PAUSE: u32 = 500;

/// Measures for a millisecond. None when no PIT answers, or when the result makes no sense.
pub(super) fn measure_counter() -> Option<Timescale> {
    port::write_u8(GATE, port::read_u8(GATE) & !2 | 1);
    port::write_u8(COMMAND, COUNT_DOWN);
    port::write_u8(CHANNEL_2, u8::MAX);
    port::write_u8(CHANNEL_2, u8::MAX);
    let (start, from) = sharp();
    let mut reads = 0_u32;
    while from.wrapping_sub(sample().1) < WINDOW {
        reads = reads.wrapping_add(1);
        if reads == READS_MAX {
            return None;
        }
        (0..PAUSE).for_each(|turn| {
            core::hint::black_box(turn);
        });
    }
    let (end, to) = sharp();
    let ticks = end.wrapping_sub(start);
    let elapsed = u64::from(from.wrapping_sub(to));
    Timescale::new(ticks.checked_mul(HERTZ)?.checked_div(elapsed)?)
}

/// The best of a few samples: the one during which least time passed.
fn sharp() -> (u64, u16) {
    let mut best = (u64::MAX, (0, 0));
    for _ in 0..4 {
        let (before, count, after) = timed();
        let took = after.wrapping_sub(before);
        if took < best.0 {
            best = (took, (before.wrapping_add(took / 2), count));
        }
    }
    best.1
}

fn sample() -> (u64, u16) {
    let (before, count, _) = timed();
    (before, count)
}

fn timed() -> (u64, u16, u64) {
    let before = counter();
    port::write_u8(COMMAND, LATCH);
    let after = counter();
    let low = port::read_u8(CHANNEL_2);
    let high = port::read_u8(CHANNEL_2);
    (before, u16::from_le_bytes([low, high]), after)
}
