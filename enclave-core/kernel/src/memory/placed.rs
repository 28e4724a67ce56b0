// SPDX-License-Identifier: MIT
//! Objects that the machine has placed, on machines that cannot make memory executable.
//!
//! A program that is started, and a library that an interpreter maps, is taken as it lies there;
//! everything that can be written of it is filled anew where it was unmapped in between. What several
//! programs use at a time has to lie there several times. No other memory can be executed: who asks
//! for it gets `EACCES`, and a line in the log says why.

use crate::memory::{Memory, Placement};
use crate::outcome::SysResult;
use core::ops::Range;
use strongroom_abi::Errno;
use strongroom_south::PlacedObject;

impl Memory {
    /// The places of an object.
    fn places(&self, path: &str) -> impl Iterator<Item = &'static PlacedObject> {
        let objects = self.kernel.machine.placed().unwrap_or_default();
        objects.iter().filter(move |object| object.path == path)
    }

    /// Where a program to be started lies already, not used by anyone. On such a machine `ENOEXEC`
    /// for a program that does not, `ENOMEM` for one that is in use wherever it lies.
    pub(crate) fn placed_program(&self, path: &str) -> SysResult<Option<&'static PlacedObject>> {
        if self.kernel.machine.placed().is_none() {
            return Ok(None);
        }
        let found = self.places(path).find(|object| self.is_free(&object.range));
        if found.is_some() {
            return Ok(found);
        }
        self.report_missing(path);
        let packed = self.places(path).next().is_some();
        Err(if packed { Errno::ENOMEM } else { Errno::ENOEXEC }.into())
    }

    /// The page size that interpreters are told, so that what they map is where it lies.
    pub(crate) fn placed_page_size(&self) -> Option<usize> {
        self.kernel.machine.placed()?.iter().map(|object| object.alignment).max()
    }

    /// Where the private mapping of a file goes: a whole object to where it lies, parts of it
    /// inside. `whole` is offset and length of the mapping.
    pub(crate) fn place_object(
        &self,
        path: &str,
        wanted: Placement,
        (offset, length): (u64, usize),
        executable: bool,
    ) -> SysResult<Placement> {
        if self.kernel.machine.placed().is_none() {
            return Ok(wanted);
        }
        let step = self.layout().page_size;
        let fits = |object: &&PlacedObject| match wanted {
            Placement::Anywhere(_) => {
                let span = object.range.len().next_multiple_of(step);
                let whole = offset == 0 && length.next_multiple_of(step) == span;
                whole && self.is_free(&object.range)
            }
            Placement::Fixed(at) => object.range.contains(&at),
            Placement::FixedFree(_) => false,
        };
        match (self.places(path).find(fits), wanted) {
            (Some(object), Placement::Anywhere(_)) => {
                return Ok(Placement::Fixed(object.range.start));
            }
            (Some(_), _) => return Ok(wanted),
            (None, _) if !executable => return Ok(wanted),
            (None, _) => {}
        }
        self.report_missing(path);
        Err(Errno::EACCES.into())
    }

    fn is_free(&self, range: &Range<usize>) -> bool {
        self.state.lock().areas.is_free(range) && self.taken_by_others(range).is_none()
    }

    fn report_missing(&self, path: &str) {
        let packed = self.places(path).count();
        let why = if packed == 0 { "is not packed" } else { "is not packed once more" };
        self.kernel.report(format_args!(
            "{path} {why} into this enclave, and no other code can be run: add it to the package"
        ));
    }

    /// Whether a range may become executable.
    pub(super) fn may_execute(&self, range: &Range<usize>) -> bool {
        let Some(objects) = self.kernel.machine.placed() else { return true };
        objects.iter().any(|object| {
            object.range.start <= range.start
                && range.end <= object.range.end.next_multiple_of(object.alignment)
        })
    }

    /// Whether a page that is missing can be brought in: between the segments of a placed object
    /// are some that nothing lies on.
    pub(super) fn can_map(&self, page: usize) -> bool {
        if self.mappable.contains(&page) {
            return true;
        }
        let Some(objects) = self.kernel.machine.placed() else { return true };
        objects.iter().flat_map(|object| &object.writable).any(|range| range.contains(&page))
    }
}
