// SPDX-License-Identifier: MIT
//! Objects that the machine has placed, on machines that cannot make memory executable.
//!
//! A program that is started, and a library that an interpreter maps, is taken as it lies there;
//! everything that can be written of it is filled anew where it was unmapped in between. No other
//! memory can be executed: who asks for it gets `EACCES`, and a line in the log says why.

use crate::memory::{Memory, Placement};
use crate::outcome::SysResult;
use core::ops::Range;
use strongroom_abi::Errno;
use strongroom_south::PlacedObject;

impl Memory {
    fn placed_object(&self, path: &str) -> Option<&'static PlacedObject> {
        self.kernel.machine.placed()?.iter().find(|object| object.path == path)
    }

    /// Where a program to be started lies already. `ENOEXEC` for others on such a machine.
    pub(crate) fn placed_program(&self, path: &str) -> SysResult<Option<&'static PlacedObject>> {
        let found = self.placed_object(path);
        if found.is_none() && self.kernel.machine.placed().is_some() {
            self.report_missing(path);
            return Err(Errno::ENOEXEC.into());
        }
        Ok(found)
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
        let object = self.placed_object(path);
        let step = self.layout().page_size;
        match (object, wanted) {
            (Some(object), Placement::Anywhere(_)) if offset == 0 => {
                let span = object.range.len().next_multiple_of(step);
                if length.next_multiple_of(step) == span && self.is_free(&object.range) {
                    return Ok(Placement::Fixed(object.range.start));
                }
            }
            (Some(object), Placement::Fixed(at)) if object.range.contains(&at) => {
                return Ok(wanted);
            }
            (Some(_) | None, _) => {}
        }
        if !executable {
            return Ok(wanted);
        }
        self.report_missing(path);
        Err(Errno::EACCES.into())
    }

    fn is_free(&self, range: &Range<usize>) -> bool {
        self.state.lock().areas.is_free(range)
    }

    fn report_missing(&self, path: &str) {
        self.kernel.report(format_args!(
            "{path} is not packed into this enclave, and no other code can be run: add it to the package"
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
