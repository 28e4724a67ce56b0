// SPDX-License-Identifier: MIT
//! Physical memory: frames with reference counts.

use std::ops::Range;
use strongroom_south::{Frame, FrameCounts, PAGE_SIZE};

type Page = Box<[u8; PAGE_SIZE]>;

#[derive(Debug, Default)]
struct Slot {
    references: u32,
    page: Option<Page>,
}

/// All frames of a machine. What the kernel must never do, such as releasing a free frame, ends
/// the test.
#[derive(Debug)]
pub(crate) struct FrameTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    total: usize,
}

impl FrameTable {
    pub(crate) fn new(total: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), total }
    }

    pub(crate) fn allocate(&mut self) -> Option<Frame> {
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.slots.len() < self.total => {
                self.slots.push(Slot::default());
                u32::try_from(self.slots.len() - 1).expect("frame numbers fit")
            }
            None => return None,
        };
        self.slots[number as usize] = Slot { references: 1, page: Some(Box::new([0; PAGE_SIZE])) };
        Some(Frame(number))
    }

    fn slot(&mut self, frame: Frame) -> &mut Slot {
        let slot = self.slots.get_mut(frame.0 as usize).expect("the frame exists");
        assert!(slot.references > 0, "frame {} is used after its release", frame.0);
        slot
    }

    pub(crate) fn page(&mut self, frame: Frame) -> &mut [u8; PAGE_SIZE] {
        self.slot(frame).page.as_mut().expect("a frame in use has a page")
    }

    pub(crate) fn retain(&mut self, frame: Frame) {
        self.slot(frame).references += 1;
    }

    pub(crate) fn release(&mut self, frame: Frame) {
        let slot = self.slot(frame);
        slot.references -= 1;
        if slot.references == 0 {
            slot.page = None;
            self.free.push(frame.0);
        }
    }

    pub(crate) fn references(&mut self, frame: Frame) -> u32 {
        self.slot(frame).references
    }

    pub(crate) fn read(&mut self, frame: Frame, offset: usize, to: &mut [u8]) {
        let from = self.page(frame).iter().skip(offset);
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }

    pub(crate) fn write(&mut self, frame: Frame, offset: usize, from: &[u8]) {
        let to = self.page(frame).iter_mut().skip(offset);
        to.zip(from).for_each(|(to, from)| *to = *from);
    }

    pub(crate) fn clear(&mut self, frame: Frame, range: Range<usize>) {
        let length = range.end.saturating_sub(range.start);
        self.page(frame).iter_mut().skip(range.start).take(length).for_each(|byte| *byte = 0);
    }

    pub(crate) fn counts(&self) -> FrameCounts {
        FrameCounts { total: self.total, free: self.total - self.slots.len() + self.free.len() }
    }
}
