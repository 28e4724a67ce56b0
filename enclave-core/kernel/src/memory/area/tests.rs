// SPDX-License-Identifier: MIT
//! [`Areas`] against a model that has an entry for every page.

use super::{Area, Areas, Backing, Protection};
use crate::fs::{InodeId, Pages};
use crate::outcome::SysResult;
use crate::task::Thread;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use proptest::prelude::*;
use strongroom_abi::Errno;
use strongroom_south::{Frame, PAGE_SIZE};

/// Pages of the model's address space.
const SPACE: usize = 48;

struct NoPages(u64);

impl Pages for NoPages {
    fn id(&self) -> InodeId {
        InodeId { device: 1, number: self.0 }
    }
    fn page(&self, _by: &Thread, _index: u64, _write: bool) -> SysResult<Frame> {
        Err(Errno::EIO.into())
    }
    fn mapped_writable(&self, _more: bool) {}
}

/// What a page is, in the model: protection, and file and page of the file.
type Page = (u32, Option<(u64, u64)>);

fn area(protection: u32, file: Option<(u64, u64)>) -> Area {
    let backing = match file {
        None => Backing::Anonymous,
        Some((number, page)) => Backing::File {
            pages: Arc::new(NoPages(number)),
            offset: page * PAGE_SIZE as u64,
            shared: false,
        },
    };
    Area {
        protection: Protection::from_bits_truncate(protection),
        backing,
        grows_down: false,
        dont_fork: false,
        name: None,
        writer: None,
    }
}

fn page_of(area: &Area, index: usize) -> Page {
    let file = match &area.backing {
        Backing::Anonymous => None,
        Backing::File { pages, offset, .. } => {
            Some((pages.id().number, offset / PAGE_SIZE as u64 + index as u64))
        }
    };
    (area.protection.bits(), file)
}

/// Every page that the areas hold.
fn pages<'a>(
    areas: impl Iterator<Item = (core::ops::Range<usize>, &'a Area)>,
) -> Vec<(usize, Page)> {
    let mut found = Vec::new();
    for (range, area) in areas {
        assert!(!range.is_empty() && range.start.is_multiple_of(PAGE_SIZE));
        for (index, address) in range.step_by(PAGE_SIZE).enumerate() {
            found.push((address / PAGE_SIZE, page_of(area, index)));
        }
    }
    found
}

#[derive(Clone, Debug)]
enum Step {
    Map { start: usize, count: usize, protection: u32, file: Option<(u64, u64)> },
    Unmap { start: usize, count: usize },
    Protect { start: usize, count: usize, protection: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0..SPACE).prop_flat_map(|start| (Just(start), 1..=SPACE - start));
    let file = prop::option::of((1u64..3, 0u64..6));
    prop_oneof![
        3 => (range.clone(), 0u32..4, file).prop_map(|((start, count), protection, file)| {
            Step::Map { start, count, protection, file }
        }),
        1 => range.clone().prop_map(|(start, count)| Step::Unmap { start, count }),
        1 => (range, 0u32..4).prop_map(|((start, count), protection)| {
            Step::Protect { start, count, protection }
        }),
    ]
}

fn bytes(start: usize, count: usize) -> core::ops::Range<usize> {
    start * PAGE_SIZE..(start + count) * PAGE_SIZE
}

fn apply(areas: &mut Areas, model: &mut BTreeMap<usize, Page>, step: &Step) {
    match *step {
        Step::Map { start, count, protection, file } => {
            areas.remove(&bytes(start, count));
            areas.insert(bytes(start, count), area(protection, file));
            for index in 0..count {
                let file = file.map(|(number, page)| (number, page + index as u64));
                model.insert(start + index, (protection, file));
            }
        }
        Step::Unmap { start, count } => {
            let removed = areas.remove(&bytes(start, count));
            let gone: Vec<_> = (start..start + count)
                .filter_map(|page| Some((page, model.remove(&page)?)))
                .collect();
            assert_eq!(pages(removed.iter().map(|(range, area)| (range.clone(), area))), gone);
        }
        Step::Protect { start, count, protection } => {
            for (range, mut piece) in areas.remove(&bytes(start, count)) {
                piece.protection = Protection::from_bits_truncate(protection);
                areas.insert(range, piece);
            }
            model.range_mut(start..start + count).for_each(|(_, page)| page.0 = protection);
        }
    }
}

fn check(areas: &Areas, model: &BTreeMap<usize, Page>) {
    let expected: Vec<_> = model.iter().map(|(page, what)| (*page, *what)).collect();
    assert_eq!(pages(areas.iter()), expected);
    assert_eq!(areas.total(), model.len() * PAGE_SIZE);
    assert_eq!(areas.count(), areas.iter().count());
    // What belongs together is one area.
    let all: Vec<_> = areas.iter().collect();
    for pair in all.windows(2) {
        let [(one, first), (two, second)] = pair else { continue };
        assert!(one.end <= two.start, "areas overlap or are out of order");
        let joined = one.end == two.start && first.continues_as(one.len(), second);
        assert!(!joined, "{one:x?} and {two:x?} were not joined");
    }
    for page in 0..SPACE {
        let address = page * PAGE_SIZE + 5;
        let found = areas.find(address);
        assert_eq!(found.is_some(), model.contains_key(&page));
        assert!(found.is_none_or(|(range, _)| range.contains(&address)));
        for count in [1, 3, SPACE] {
            let range = bytes(page, count);
            let held = (page..page + count).filter(|page| model.contains_key(page)).count();
            assert_eq!(areas.is_free(&range), held == 0);
            assert_eq!(areas.covers(&range), held == count);
            let within = areas.within(&range);
            let expected: Vec<_> =
                model.range(page..page + count).map(|(page, what)| (*page, *what)).collect();
            assert_eq!(pages(within.iter().map(|(range, area)| (range.clone(), area))), expected);
        }
        let above = areas.next_above(page * PAGE_SIZE).map(|(range, _)| range.start);
        assert!(above.is_none_or(|start| start >= page * PAGE_SIZE));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn areas_hold_what_a_list_of_pages_would(steps in prop::collection::vec(step(), 1..24)) {
        let mut areas = Areas::default();
        let mut model = BTreeMap::new();
        for step in &steps {
            apply(&mut areas, &mut model, step);
            check(&areas, &model);
        }
    }
}

#[test]
fn a_stack_grows_by_what_is_below_it() {
    let mut areas = Areas::default();
    areas.insert(bytes(10, 2), Area { grows_down: true, ..area(3, None) });
    areas.grow_down(10 * PAGE_SIZE, 7 * PAGE_SIZE);
    assert_eq!(areas.total(), 5 * PAGE_SIZE);
    assert_eq!(areas.find(7 * PAGE_SIZE).map(|(range, _)| range), Some(bytes(7, 5)));
    areas.grow_down(8 * PAGE_SIZE, 0);
    assert_eq!(areas.total(), 5 * PAGE_SIZE, "no area starts there");
}

#[test]
fn what_is_not_forked_is_taken_out() {
    let mut areas = Areas::default();
    areas.insert(bytes(1, 2), area(3, None));
    areas.insert(bytes(3, 2), Area { dont_fork: true, ..area(3, None) });
    assert_eq!(areas.take_unforked(), [bytes(3, 2)]);
    assert_eq!((areas.count(), areas.total()), (1, 2 * PAGE_SIZE));
}
