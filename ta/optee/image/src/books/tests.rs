// SPDX-License-Identifier: MIT
//! Books against a model: a map from addresses to numbers.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const COUNT: u32 = 8;

const READ: Access = Access { read: true, write: false, execute: false, shared: false };
const ALL: Access = Access { read: true, write: true, execute: false, shared: false };

/// One byte stands for a page.
#[derive(Default)]
struct Memory([u8; COUNT as usize]);

impl Pages for Memory {
    fn copy(&mut self, from: u32, to: u32) {
        self.0[to as usize] = self.0[from as usize];
    }
    fn exchange(&mut self, one: u32, other: u32) {
        self.0.swap(one as usize, other as usize);
    }
    fn zero(&mut self, page: u32) {
        self.0[page as usize] = 0;
    }
}

fn books() -> (Books, Memory) {
    (Books::new(COUNT as usize).unwrap(), Memory::default())
}

#[test]
fn a_frame_moves_to_where_it_is_mapped_and_others_out_of_its_way() {
    let (mut books, mut memory) = books();
    let cached: Vec<Frame> = (0..COUNT - 1).map(|_| books.allocate().unwrap()).collect();
    for (value, frame) in (1..).zip(&cached) {
        let page = books.back(*frame, &mut memory).unwrap();
        memory.0[page as usize] = value;
    }
    let mapped = books.allocate().unwrap();
    for page in 0..COUNT {
        books.retain(mapped);
        books.map(page, mapped, READ, &mut memory).unwrap();
        assert_eq!(books.page_of(mapped), Some(page));
        assert_eq!(memory.0[page as usize], if page == 0 { 0 } else { 77 });
        memory.0[page as usize] = 77;
        assert_eq!(books.map((page + 1) % COUNT, mapped, READ, &mut memory), Err(Refused));
        books.unmap(page);
    }
    for (value, frame) in (1..).zip(&cached) {
        assert_eq!(memory.0[books.page_of(*frame).unwrap() as usize], value);
    }
}

#[test]
fn what_is_to_be_done_at_a_page_is_known_while_something_is_mapped_there() {
    let (mut books, mut memory) = books();
    let frame = books.allocate().unwrap();
    assert_eq!(books.mapping_at(3), None);
    books.map(3, frame, READ, &mut memory).unwrap();
    assert_eq!(books.mapping_at(3), Some((frame, READ)));
    books.protect(3, ALL);
    books.protect(COUNT, ALL);
    books.relocate(3, 5, &mut memory).unwrap();
    assert_eq!((books.mapping_at(3), books.mapping_at(5)), (None, Some((frame, ALL))));
    // Mapping what is mapped anew changes that alone.
    books.retain(frame);
    books.map(5, frame, READ, &mut memory).unwrap();
    assert_eq!((books.mapping_at(5), books.references(frame)), (Some((frame, READ)), 1));
    books.unmap(5);
    assert_eq!(books.mapping_at(5), None);
}

#[test]
fn frames_run_out_and_come_back() {
    let (mut books, mut memory) = books();
    let all: Vec<Frame> = std::iter::from_fn(|| books.allocate()).collect();
    assert_eq!((all.len(), books.counts().free), (COUNT as usize, 0));
    for frame in &all {
        assert!(books.back(*frame, &mut memory).is_some(), "each was promised a page");
    }
    all.iter().for_each(|frame| books.release(*frame));
    assert_eq!(books.counts(), FrameCounts { total: COUNT as usize, free: COUNT as usize });
    let frame = books.allocate().unwrap();
    let page = books.back(frame, &mut memory).unwrap();
    assert_eq!(memory.0[page as usize], 0);
}

#[test]
fn frames_that_nobody_holds_do_nothing() {
    let (mut books, mut memory) = books();
    let frame = books.allocate().unwrap();
    books.release(frame);
    for bad in [frame, Frame(COUNT), Frame(u32::MAX)] {
        books.retain(bad);
        books.release(bad);
        assert_eq!(books.references(bad), 0);
        assert_eq!(books.page_of(bad), None);
        assert_eq!(books.back(bad, &mut memory), None);
        assert_eq!(books.map(0, bad, READ, &mut memory), Err(Refused));
    }
    let frame = books.allocate().unwrap();
    assert_eq!(books.map(COUNT, frame, READ, &mut memory), Err(Refused));
    assert_eq!(books.map(u32::MAX, frame, READ, &mut memory), Err(Refused));
    books.unmap(u32::MAX);
    assert_eq!(books.mapped_at(u32::MAX), None);
}

#[derive(Clone, Debug)]
enum Step {
    Cache(u8),
    Drop(usize),
    Map(u32, u8),
    Unmap(u32),
    Relocate(u32, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..=255_u8).prop_map(Step::Cache),
        (0..8_usize).prop_map(Step::Drop),
        (0..COUNT, 0..=255_u8).prop_map(|(page, value)| Step::Map(page, value)),
        (0..COUNT).prop_map(Step::Unmap),
        (0..COUNT, 0..COUNT).prop_map(|(from, to)| Step::Relocate(from, to)),
    ]
}

proptest! {
    #[test]
    fn bytes_are_where_the_model_says(steps in proptest::collection::vec(step(), 1..200)) {
        let (mut books, mut memory) = books();
        let mut cached: Vec<(Frame, u8)> = Vec::new();
        let mut mapped: BTreeMap<u32, u8> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Cache(value) => if let Some(frame) = books.allocate() {
                    let page = books.back(frame, &mut memory).unwrap();
                    memory.0[page as usize] = value;
                    cached.push((frame, value));
                },
                Step::Drop(index) => if index < cached.len() {
                    books.release(cached.swap_remove(index).0);
                },
                Step::Map(page, value) => if let Some(frame) = books.allocate() {
                    // Zero is a frame that was never written.
                    if value != 0 {
                        let page = books.back(frame, &mut memory).unwrap();
                        memory.0[page as usize] = value;
                    }
                    books.map(page, frame, READ, &mut memory).unwrap();
                    mapped.insert(page, value);
                },
                Step::Unmap(page) => {
                    books.unmap(page);
                    mapped.remove(&page);
                }
                Step::Relocate(from, to) => if !mapped.contains_key(&to) {
                    books.relocate(from, to, &mut memory).unwrap();
                    if let Some(value) = mapped.remove(&from) {
                        mapped.insert(to, value);
                    }
                },
            }
            prop_assert_eq!(books.counts().free, COUNT as usize - cached.len() - mapped.len());
            prop_assert_eq!(books.resident(), mapped.len());
            for page in 0..COUNT {
                prop_assert_eq!(books.mapped_at(page).is_some(), mapped.contains_key(&page));
            }
            for (page, value) in &mapped {
                prop_assert_eq!(memory.0[*page as usize], *value);
            }
            for (frame, value) in &cached {
                prop_assert_eq!(memory.0[books.page_of(*frame).unwrap() as usize], *value);
            }
        }
    }
}
