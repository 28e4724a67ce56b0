// SPDX-License-Identifier: MIT
//! Advisory locks: `flock(2)`, and `fcntl(2)` record locks of processes and open files.

use crate::fs::InodeId;
use crate::sync::{Scheduler, ThreadKey, WaitQueue};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;

/// Most locks on one file: whoever takes every other byte is stopped.
const FILE_LOCKS_MAX: usize = 8192;

/// Why a lock was not taken.
pub(crate) enum NotTaken {
    /// Another is in the way; the queue is woken when the file's locks change.
    Conflict(Arc<WaitQueue>),
    /// There are too many.
    Full,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A whole-file lock of an open file (`flock`).
    Flock(u64),
    /// Record locks of an open file (`F_OFD_SETLK`).
    OpenFile(u64),
    /// Record locks of a process (`F_SETLK`).
    Process(u32),
}

impl Owner {
    /// `flock` and record locks do not see each other.
    const fn is_flock(self) -> bool {
        matches!(self, Self::Flock(_))
    }
}

/// A lock on `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) owner: Owner,
    pub(crate) exclusive: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Lock {
    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner
            && self.owner.is_flock() == other.owner.is_flock()
            && (self.exclusive || other.exclusive)
            && self.start < other.end
            && other.start < self.end
    }
}

struct Locked {
    held: Vec<Lock>,
    changed: Arc<WaitQueue>,
}

/// A thread that waits for a record lock of its process.
struct Wait {
    thread: ThreadKey,
    inode: InodeId,
    lock: Lock,
}

/// All locks of the kernel, by inode.
pub(crate) struct Locks {
    scheduler: &'static Scheduler,
    files: Mutex<BTreeMap<InodeId, Locked>>,
    waits: Mutex<Vec<Wait>>,
}

impl Locks {
    /// None held.
    pub(crate) const fn new(scheduler: &'static Scheduler) -> Self {
        Self { scheduler, files: Mutex::new(BTreeMap::new()), waits: Mutex::new(Vec::new()) }
    }

    /// The first lock that stands in the way of `lock`.
    pub(crate) fn conflict(&self, inode: InodeId, lock: &Lock) -> Option<Lock> {
        let files = self.files.lock();
        files.get(&inode)?.held.iter().find(|held| held.conflicts(lock)).copied()
    }

    /// Takes a lock, changing what its owner held in the range.
    pub(crate) fn acquire(&self, inode: InodeId, lock: Lock) -> Result<(), NotTaken> {
        let mut files = self.files.lock();
        let file = files.entry(inode).or_insert_with(|| Locked {
            held: Vec::new(),
            changed: Arc::new(WaitQueue::new(self.scheduler)),
        });
        if file.held.iter().any(|held| held.conflicts(&lock)) {
            return Err(NotTaken::Conflict(Arc::clone(&file.changed)));
        }
        if file.held.len() >= FILE_LOCKS_MAX {
            return Err(NotTaken::Full);
        }
        cut(&mut file.held, lock.owner, lock.start, lock.end);
        file.held.push(lock);
        let changed = Arc::clone(&file.changed);
        drop(files);
        changed.wake(); // a downgrade may let others in
        Ok(())
    }

    /// Notes that a thread waits for a record lock of its process. `false` where it would wait for
    /// itself: whoever is in the way waits for this process, perhaps through others.
    pub(crate) fn wait(&self, thread: ThreadKey, inode: InodeId, lock: Lock) -> bool {
        let files = self.files.lock();
        let mut waits = self.waits.lock();
        let in_way = |inode: InodeId, lock: Lock| {
            let held = files.get(&inode).map_or(&[][..], |file| &file.held);
            held.iter().filter(move |held| held.conflicts(&lock)).map(|held| held.owner)
        };
        let mut owners: Vec<Owner> = in_way(inode, lock).collect();
        let mut next = 0;
        while let Some(owner) = owners.get(next).copied() {
            next += 1;
            if owner == lock.owner {
                return false;
            }
            for wait in waits.iter().filter(|wait| wait.lock.owner == owner) {
                for further in in_way(wait.inode, wait.lock) {
                    if !owners.contains(&further) {
                        owners.push(further);
                    }
                }
            }
        }
        waits.push(Wait { thread, inode, lock });
        true
    }

    /// A thread waits no more.
    pub(crate) fn forget(&self, thread: ThreadKey) {
        self.waits.lock().retain(|wait| wait.thread != thread);
    }

    /// Releases what an owner holds in a range.
    pub(crate) fn release(&self, inode: InodeId, owner: Owner, start: u64, end: u64) {
        let mut files = self.files.lock();
        let Some(file) = files.get_mut(&inode) else { return };
        cut(&mut file.held, owner, start, end);
        let changed = Arc::clone(&file.changed);
        if file.held.is_empty() {
            files.remove(&inode);
        }
        drop(files);
        changed.wake();
    }

    /// The last descriptor of an open file is gone.
    pub(crate) fn release_open_file(&self, inode: InodeId, number: u64) {
        if self.files.lock().contains_key(&inode) {
            self.release(inode, Owner::Flock(number), 0, u64::MAX);
            self.release(inode, Owner::OpenFile(number), 0, u64::MAX);
        }
    }

    /// A process closed a descriptor of this inode: all its record locks go.
    pub(crate) fn release_process(&self, inode: InodeId, pid: u32) {
        if self.files.lock().contains_key(&inode) {
            self.release(inode, Owner::Process(pid), 0, u64::MAX);
        }
    }
}

/// Takes `start..end` out of an owner's locks, splitting those that reach over it.
fn cut(held: &mut Vec<Lock>, owner: Owner, start: u64, end: u64) {
    let mut pieces = Vec::new();
    held.retain(|lock| {
        if lock.owner != owner || lock.end <= start || end <= lock.start {
            return true;
        }
        if lock.start < start {
            pieces.push(Lock { end: start, ..*lock });
        }
        if end < lock.end {
            pieces.push(Lock { start: end, ..*lock });
        }
        false
    });
    held.append(&mut pieces);
}

#[cfg(test)]
mod tests;
