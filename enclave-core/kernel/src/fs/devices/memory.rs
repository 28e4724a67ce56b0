// SPDX-License-Identifier: MIT
//! `/dev/null`, `/dev/zero`, `/dev/full`, `/dev/random` (`null(4)`, `full(4)`, `random(4)`).

use crate::fs::{Attributes, File, InodeId, Kind, OpenFile};
use crate::kernel::Kernel;
use crate::memory::Memory;
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use crate::user::{Sink, Source};
use alloc::string::String;
use core::any::Any;
use strongroom_abi::Errno;

/// Bytes served before other threads get a turn.
const BATCH_MAX: usize = 1 << 20;
/// Random bytes made at once.
const RANDOM_STEP: usize = 256;

/// Swallows everything, gives nothing.
pub(super) struct Null;
/// Gives zeroes.
pub(super) struct Zero;
/// Gives zeroes, has no room.
pub(super) struct Full;
/// Gives random bytes.
pub(super) struct Random {
    kernel: &'static Kernel,
}

impl Random {
    pub(super) const fn new(kernel: &'static Kernel) -> Self {
        Self { kernel }
    }
}

macro_rules! device {
    ($name:ident, $label:literal, { $($method:item)* }) => {
        impl File for $name {
            fn as_any(&self) -> &dyn Any {
                self
            }
            fn seekable(&self) -> bool {
                true
            }
            fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
                let id = InodeId { device: 0, number: 0 };
                Ok(Attributes::anonymous(Kind::CharacterDevice, id, 0o666))
            }
            fn label(&self) -> String {
                String::from($label)
            }
            $($method)*
        }
    };
}

device!(Null, "/dev/null", {
    fn write_now(&self, _memory: &Memory, _address: usize, count: usize) -> Option<usize> {
        Some(count)
    }
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn read(&self, _: &mut Call<'_>, _: &OpenFile, _: u64, _: &mut Sink<'_>) -> SysResult {
        Ok(0)
    }
    fn write(&self, _: &mut Call<'_>, _: &OpenFile, _: u64, from: &mut Source<'_>) -> SysResult {
        Ok(from.left())
    }
});

device!(Zero, "/dev/zero", {
    fn read_now(&self, memory: &Memory, address: usize, count: usize) -> Option<usize> {
        memory.space().zero(address, count).ok()?;
        Some(count)
    }
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn maps_zeroes(&self) -> bool {
        true
    }
    fn read(&self, _: &mut Call<'_>, _: &OpenFile, _: u64, to: &mut Sink<'_>) -> SysResult {
        Ok(to.put_zeroes(to.room().min(BATCH_MAX))?)
    }
    fn write(&self, _: &mut Call<'_>, _: &OpenFile, _: u64, from: &mut Source<'_>) -> SysResult {
        Ok(from.left())
    }
});

device!(Full, "/dev/full", {
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn read(&self, _: &mut Call<'_>, _: &OpenFile, _: u64, to: &mut Sink<'_>) -> SysResult {
        Ok(to.put_zeroes(to.room().min(BATCH_MAX))?)
    }
    fn write(&self, _: &mut Call<'_>, _: &OpenFile, _: u64, _: &mut Source<'_>) -> SysResult {
        Err(Errno::ENOSPC.into())
    }
});

device!(Random, "/dev/urandom", {
    fn read(&self, _: &mut Call<'_>, _: &OpenFile, _: u64, to: &mut Sink<'_>) -> SysResult {
        let mut done = 0;
        while to.room() > 0 && done < BATCH_MAX {
            let mut bytes = [0; RANDOM_STEP];
            let step = bytes.len().min(to.room());
            let bytes = bytes.get_mut(..step).unwrap_or_default();
            self.kernel.random.fill(bytes);
            done += to.put(bytes)?;
        }
        Ok(done)
    }
    fn write(&self, _: &mut Call<'_>, _: &OpenFile, _: u64, from: &mut Source<'_>) -> SysResult {
        Ok(from.left())
    }
});
