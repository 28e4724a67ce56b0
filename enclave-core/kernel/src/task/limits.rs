// SPDX-License-Identifier: MIT
//! Resource limits (`getrlimit(2)`).

/// No limit.
pub(crate) const UNLIMITED: u64 = u64::MAX;

/// Soft and hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// All limits of a process, indexed by `RLIMIT_*`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits([Limit; Limits::COUNT]);

impl Limits {
    pub(crate) const COUNT: usize = 16;
    pub(crate) const CORE: usize = 4;
    pub(crate) const DATA: usize = 2;
    pub(crate) const FSIZE: usize = 1;
    pub(crate) const STACK: usize = 3;
    pub(crate) const NPROC: usize = 6;
    pub(crate) const NOFILE: usize = 7;
    pub(crate) const AS: usize = 9;
    pub(crate) const SIGPENDING: usize = 11;

    /// A limit by its number.
    pub(crate) fn by_number(&self, number: usize) -> Option<Limit> {
        self.0.get(number).copied()
    }

    /// Changes a limit.
    pub(crate) fn set(&mut self, number: usize, limit: Limit) {
        if let Some(slot) = self.0.get_mut(number) {
            *slot = limit;
        }
    }

    /// The soft limit that is in force.
    pub(crate) fn soft(&self, number: usize) -> u64 {
        self.by_number(number).map_or(UNLIMITED, |limit| limit.soft)
    }
}

impl Default for Limits {
    fn default() -> Self {
        let mut limits = Self([Limit { soft: UNLIMITED, hard: UNLIMITED }; Self::COUNT]);
        limits.set(Self::STACK, Limit { soft: 8 << 20, hard: UNLIMITED });
        limits.set(Self::CORE, Limit { soft: 0, hard: UNLIMITED });
        limits.set(Self::NOFILE, Limit { soft: 1024, hard: 1 << 20 });
        limits.set(Self::NPROC, Limit { soft: 4096, hard: 4096 });
        limits.set(Self::SIGPENDING, Limit { soft: 4096, hard: 4096 });
        limits.set(8, Limit { soft: 8 << 20, hard: 8 << 20 }); // MEMLOCK
        limits.set(12, Limit { soft: 819_200, hard: 819_200 }); // MSGQUEUE
        limits.set(13, Limit { soft: 0, hard: 0 }); // NICE
        limits.set(14, Limit { soft: 0, hard: 0 }); // RTPRIO
        limits
    }
}
