// SPDX-License-Identifier: MIT
//! Changes to inputs, from a seed: the same seed gives the same changes.

/// Numbers that lengths and offsets go wrong at.
const EDGES: [u64; 8] =
    [0, 1, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, u64::MAX >> 1, u64::MAX - 7, u64::MAX];

/// A source of changes.
#[derive(Clone, Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `end`, or 0 (xorshift64*, Vigna 2016).
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        usize::try_from(number).unwrap_or(0).checked_rem(end).unwrap_or(0)
    }

    /// One of `inputs`, changed in up to four ways.
    pub fn mutate(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.pick(inputs);
        for _ in 0..=self.below(4) {
            match self.below(6) {
                0 => self.flip(&mut bytes),
                1 => self.edge(&mut bytes),
                2 => bytes.truncate(self.below(bytes.len().saturating_add(1))),
                3 => self.repeat(&mut bytes),
                4 => self.graft(&mut bytes, inputs),
                _ => bytes.push(u8::try_from(self.below(256)).unwrap_or(0)),
            }
        }
        bytes
    }

    fn pick(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let index = self.below(inputs.len());
        inputs.get(index).cloned().unwrap_or_default()
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        let (at, bit) = (self.below(bytes.len()), self.below(8));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }

    /// Writes a number at a place where one may be.
    fn edge(&mut self, bytes: &mut [u8]) {
        let (at, length) = (self.below(bytes.len()) & !3, 1 << self.below(4));
        let number = EDGES.get(self.below(EDGES.len())).copied().unwrap_or(0).to_le_bytes();
        let to = bytes.iter_mut().skip(at).take(length);
        to.zip(number).for_each(|(to, from)| *to = from);
    }

    fn repeat(&mut self, bytes: &mut Vec<u8>) {
        let start = self.below(bytes.len());
        let end = start.saturating_add(self.below(64)).min(bytes.len());
        let part = bytes.get(start..end).map(<[u8]>::to_vec).unwrap_or_default();
        let at = self.below(bytes.len().saturating_add(1));
        bytes.splice(at..at, part);
    }

    /// Replaces the end by that of another input.
    fn graft(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let other = self.pick(inputs);
        let at = self.below(bytes.len().saturating_add(1));
        bytes.truncate(at);
        bytes.extend(other.iter().skip(at));
    }
}
