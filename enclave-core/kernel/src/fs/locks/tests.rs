// SPDX-License-Identifier: MIT
//! Locks against a model that has an entry for every byte.

use super::{Lock, Locks, Owner};
use crate::fs::InodeId;
use crate::sync::Scheduler;
use alloc::boxed::Box;
use alloc::vec::Vec;
use proptest::prelude::*;

const FILE: InodeId = InodeId { device: 1, number: 2 };
/// Bytes of the model's file.
const BYTES: u64 = 24;
const OWNERS: [Owner; 4] =
    [Owner::Process(1), Owner::Process(2), Owner::OpenFile(1), Owner::Flock(1)];

fn locks() -> Locks {
    Locks::new(Box::leak(Box::<Scheduler>::default()))
}

/// Who holds a byte, and how: by owner.
type Model = Vec<[Option<bool>; OWNERS.len()]>;

fn blocks(holder: usize, held: bool, owner: usize, exclusive: bool) -> bool {
    let flock = |index: usize| matches!(OWNERS[index], Owner::Flock(_));
    holder != owner && flock(holder) == flock(owner) && (held || exclusive)
}

fn is_blocked(model: &Model, owner: usize, exclusive: bool, start: u64, end: u64) -> bool {
    let bytes = model.iter().take(end as usize).skip(start as usize);
    bytes
        .flat_map(|byte| byte.iter().enumerate())
        .any(|(holder, held)| held.is_some_and(|held| blocks(holder, held, owner, exclusive)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_behave_as_single_bytes_would(
        steps in prop::collection::vec(
            (0..OWNERS.len(), 0..BYTES, 1..=BYTES, prop::option::of(any::<bool>())),
            1..40,
        ),
    ) {
        let locks = locks();
        let mut model: Model = alloc::vec![[None; OWNERS.len()]; BYTES as usize];
        for (owner, start, length, kind) in steps {
            let end = (start + length).min(BYTES);
            let mut set = |kind| {
                let bytes = model.iter_mut().take(end as usize).skip(start as usize);
                bytes.for_each(|byte| byte[owner] = kind);
            };
            match kind {
                None => {
                    locks.release(FILE, OWNERS[owner], start, end);
                    set(None);
                }
                Some(exclusive) => {
                    let lock = Lock { owner: OWNERS[owner], exclusive, start, end };
                    let blocked = is_blocked(&model, owner, exclusive, start, end);
                    prop_assert_eq!(locks.conflict(FILE, &lock).is_some(), blocked);
                    prop_assert_eq!(locks.acquire(FILE, lock).is_err(), blocked);
                    if !blocked {
                        let bytes = model.iter_mut().take(end as usize).skip(start as usize);
                        bytes.for_each(|byte| byte[owner] = Some(exclusive));
                    }
                }
            }
            for at in 0..BYTES {
                for (asker, owner) in OWNERS.into_iter().enumerate() {
                    let lock = Lock { owner, exclusive: true, start: at, end: at + 1 };
                    let expected = is_blocked(&model, asker, true, at, at + 1);
                    prop_assert_eq!(locks.conflict(FILE, &lock).is_some(), expected);
                }
            }
        }
    }
}

#[test]
fn a_whole_owner_can_let_go() {
    let locks = locks();
    for owner in OWNERS {
        let lock = Lock { owner, exclusive: false, start: 3, end: u64::MAX };
        assert!(locks.acquire(FILE, lock).is_ok());
    }
    let exclusive =
        |owner| locks.conflict(FILE, &Lock { owner, exclusive: true, start: 0, end: u64::MAX });
    locks.release_open_file(FILE, 1);
    assert!(exclusive(Owner::Flock(9)).is_none());
    assert!(exclusive(Owner::Process(1)).is_some_and(|lock| lock.owner == Owner::Process(2)));
    locks.release_process(FILE, 2);
    assert!(exclusive(Owner::Process(1)).is_none());
}
