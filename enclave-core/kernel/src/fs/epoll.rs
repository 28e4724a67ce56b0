// SPDX-License-Identifier: MIT
//! `epoll(7)` instances.
//!
//! A [`Watch`] is registered with the wait queues of its file for as long as it exists. When one
//! of them is woken, the watch enters the instance's ready list; what it is ready for is asked
//! only when somebody waits, so that a wait costs as much as there is on that list. Watches
//! without `EPOLLET` that were reported go to the end of the list and are asked again.
//!
//! No lock is held while a file is asked: files wake their queues with their own locks held.

use crate::fs::{Attributes, File, InodeId, Kind, OpenFile, Ready};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::sync::{EpollWaker, WaitQueue, Waiter};
use crate::task::Thread;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use spin::Mutex;
use strongroom_abi::Errno;

/// Most instances in a chain of instances that watch each other.
const LEVELS_MAX: usize = 5;

bitflags::bitflags! {
    /// Flags in `struct epoll_event` that are not readiness.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct WatchFlags: u32 {
        const EXCLUSIVE = 1 << 28;
        const WAKE_UP = 1 << 29;
        const ONE_SHOT = 1 << 30;
        const EDGE = 1 << 31;
    }
}

/// `struct epoll_event` without its layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) events: u32,
    pub(crate) data: u64,
}

/// What the watches of an instance need of it.
struct Shared {
    ready: Mutex<VecDeque<Arc<Watch>>>,
    waiters: WaitQueue,
}

/// A file that an instance watches.
struct Watch {
    me: Weak<Self>,
    instance: Weak<Shared>,
    /// Descriptor and number of the open file.
    key: (i32, u64),
    open: Weak<OpenFile>,
    /// Readiness and [`WatchFlags`]; no readiness at all while it is disabled.
    events: AtomicU32,
    data: AtomicU64,
    /// Whether it is on the ready list.
    queued: AtomicBool,
}

/// An instance.
pub(crate) struct Epoll {
    number: u64,
    shared: Arc<Shared>,
    watches: Mutex<BTreeMap<(i32, u64), Arc<Watch>>>,
    /// Instances that watch this one.
    watched_by: Mutex<Vec<Weak<OpenFile>>>,
}

impl EpollWaker for Watch {
    fn notify(&self) {
        if self.wanted().is_empty() {
            return;
        }
        let Some(instance) = self.instance.upgrade() else { return };
        self.enqueue(&instance);
        instance.waiters.wake();
    }
}

impl Watch {
    /// What it is to be reported for.
    fn wanted(&self) -> Ready {
        let events = self.events.load(Ordering::Relaxed) & !WatchFlags::all().bits();
        Ready::from_bits_retain(events)
    }

    fn has(&self, flag: WatchFlags) -> bool {
        WatchFlags::from_bits_truncate(self.events.load(Ordering::Relaxed)).contains(flag)
    }

    fn enqueue(&self, instance: &Shared) {
        if !self.queued.swap(true, Ordering::AcqRel)
            && let Some(me) = self.me.upgrade()
        {
            instance.ready.lock().push_back(me);
        }
    }

    fn waiter(&self) -> Waiter {
        let me: Weak<Self> = Weak::clone(&self.me);
        Waiter::Epoll(me)
    }

    /// What it has to report, `None` when its file is gone. Registers anew: some files make their
    /// queues as they need them.
    fn ask(&self, by: &Thread) -> Option<Ready> {
        let open = self.open.upgrade()?;
        let wanted = self.wanted();
        if wanted.is_empty() {
            return Some(wanted);
        }
        Some(open.file.poll_by(by, &open, Some(&self.waiter())) & wanted)
    }

    fn set(&self, event: Event) {
        let always = (Ready::ERROR | Ready::HANGUP).bits();
        self.data.store(event.data, Ordering::Relaxed);
        self.events.store(event.events | always, Ordering::Relaxed);
    }

    /// Nothing is reported any more.
    fn disable(&self) {
        self.events.fetch_and(WatchFlags::all().bits(), Ordering::Relaxed);
    }
}

/// Events that were taken and have to be handed over or given back.
pub(crate) struct Taken {
    reported: Vec<(Arc<Watch>, Event)>,
}

impl Taken {
    /// In the order in which they became ready.
    pub(crate) fn events(&self) -> impl Iterator<Item = Event> {
        self.reported.iter().map(|(_, event)| *event)
    }

    /// How many.
    pub(crate) const fn len(&self) -> usize {
        self.reported.len()
    }
}

impl Epoll {
    /// An instance that watches nothing.
    pub(crate) fn new(kernel: &'static Kernel) -> Arc<Self> {
        let shared = Shared {
            ready: Mutex::new(VecDeque::new()),
            waiters: WaitQueue::new(kernel.scheduler),
        };
        Arc::new(Self {
            number: kernel.next_number(),
            shared: Arc::new(shared),
            watches: Mutex::default(),
            watched_by: Mutex::default(),
        })
    }

    /// The instance behind an open file.
    pub(crate) fn of(open: &OpenFile) -> Option<&Self> {
        open.file.as_any().downcast_ref()
    }

    /// Woken when something may have become ready.
    pub(crate) fn waiters(&self) -> &WaitQueue {
        &self.shared.waiters
    }

    /// `EPOLL_CTL_ADD`; `own` is this instance's open file.
    pub(crate) fn add(
        &self,
        by: &Thread,
        own: &Arc<OpenFile>,
        descriptor: i32,
        open: &Arc<OpenFile>,
        event: Event,
    ) -> Result<(), Errno> {
        if let Some(nested) = Self::of(open) {
            self.check_nesting(nested)?;
        }
        let watch = Arc::new_cyclic(|me| Watch {
            me: Weak::clone(me),
            instance: Arc::downgrade(&self.shared),
            key: (descriptor, open.number),
            open: Arc::downgrade(open),
            events: AtomicU32::new(0),
            data: AtomicU64::new(0),
            queued: AtomicBool::new(false),
        });
        {
            let mut watches = self.watches.lock();
            if watches.contains_key(&(descriptor, open.number)) {
                return Err(Errno::EEXIST);
            }
            // The descriptor led to other files before, which are closed everywhere by now.
            let stale: Vec<_> = watches
                .range((descriptor, 0)..=(descriptor, u64::MAX))
                .filter(|(_, watch)| watch.open.strong_count() == 0)
                .map(|(key, _)| *key)
                .collect();
            for key in stale {
                watches.remove(&key);
            }
            watches.insert((descriptor, open.number), Arc::clone(&watch));
        }
        if let Some(nested) = Self::of(open) {
            let mut above = nested.watched_by.lock();
            above.retain(|other| other.strong_count() > 0);
            above.push(Arc::downgrade(own));
        }
        watch.set(event);
        self.check(by, &watch);
        Ok(())
    }

    /// `EPOLL_CTL_MOD`.
    pub(crate) fn modify(
        &self,
        by: &Thread,
        descriptor: i32,
        open: &OpenFile,
        event: Event,
    ) -> Result<(), Errno> {
        let watch = self.watches.lock().get(&(descriptor, open.number)).cloned();
        let watch = watch.ok_or(Errno::ENOENT)?;
        if watch.has(WatchFlags::EXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        watch.set(event);
        self.check(by, &watch);
        Ok(())
    }

    /// `EPOLL_CTL_DEL`.
    pub(crate) fn remove(&self, descriptor: i32, open: &OpenFile) -> Result<(), Errno> {
        let watch = self.watches.lock().remove(&(descriptor, open.number));
        let watch = watch.ok_or(Errno::ENOENT)?;
        watch.disable();
        open.file.forget(&watch.waiter());
        self.shared.ready.lock().retain(|other| !Arc::ptr_eq(other, &watch));
        if let Some(nested) = Self::of(open) {
            let gone = |other: &Weak<OpenFile>| {
                other.upgrade().is_none_or(|other| {
                    Self::of(&other).is_some_and(|other| core::ptr::eq(other, self))
                })
            };
            // Added once for every descriptor: only one of them goes.
            let mut above = nested.watched_by.lock();
            if let Some(position) = above.iter().position(gone) {
                above.swap_remove(position);
            }
        }
        Ok(())
    }

    /// Takes up to `max` events. They have to be passed to [`Epoll::commit`] or
    /// [`Epoll::give_back`].
    pub(crate) fn take(&self, by: &Thread, max: usize) -> Taken {
        let mut list = core::mem::take(&mut *self.shared.ready.lock());
        let mut reported = Vec::new();
        while reported.len() < max
            && let Some(watch) = list.pop_front()
        {
            // Before it is asked: what happens from here on queues it again.
            watch.queued.store(false, Ordering::Release);
            match watch.ask(by) {
                None => {
                    self.watches.lock().remove(&watch.key);
                }
                Some(ready) if ready.is_empty() => {}
                Some(ready) => {
                    let data = watch.data.load(Ordering::Relaxed);
                    reported.push((watch, Event { events: ready.bits(), data }));
                }
            }
        }
        self.put_first(list);
        Taken { reported }
    }

    /// The events were handed over.
    pub(crate) fn commit(&self, taken: Taken) {
        for (watch, _) in taken.reported {
            if watch.has(WatchFlags::ONE_SHOT) {
                watch.disable();
            } else if !watch.has(WatchFlags::EDGE) {
                watch.enqueue(&self.shared);
            }
        }
    }

    /// The events could not be handed over.
    pub(crate) fn give_back(&self, taken: Taken) {
        let watches = taken.reported.into_iter().map(|(watch, _)| watch);
        let again = watches.filter(|watch| !watch.queued.swap(true, Ordering::AcqRel));
        self.put_first(again.collect());
    }

    /// Whether a wait would find something.
    fn has_events(&self, by: &Thread) -> bool {
        let taken = self.take(by, 1);
        let found = taken.len() > 0;
        self.give_back(taken);
        found
    }

    fn put_first(&self, mut list: VecDeque<Arc<Watch>>) {
        if !list.is_empty() {
            let mut ready = self.shared.ready.lock();
            list.append(&mut ready);
            *ready = list;
        }
    }

    /// Queues a new or changed watch if it has something to report already.
    fn check(&self, by: &Thread, watch: &Arc<Watch>) {
        if watch.ask(by).is_some_and(|ready| !ready.is_empty()) {
            watch.notify();
        }
    }

    /// `ELOOP` when watching `nested` would close a cycle or make a chain too long.
    fn check_nesting(&self, nested: &Self) -> Result<(), Errno> {
        let below = nested.levels_below(self, LEVELS_MAX).ok_or(Errno::ELOOP)?;
        let above = self.levels_above(LEVELS_MAX);
        if above + below > LEVELS_MAX { Err(Errno::ELOOP) } else { Ok(()) }
    }

    /// Levels from here down; `None` when `forbidden` is among them.
    fn levels_below(&self, forbidden: &Self, left: usize) -> Option<usize> {
        if core::ptr::eq(self, forbidden) || left == 0 {
            return None;
        }
        let watched: Vec<Arc<OpenFile>> =
            self.watches.lock().values().filter_map(|watch| watch.open.upgrade()).collect();
        let nested = watched.iter().filter_map(|open| Self::of(open));
        let mut deepest = 0;
        for instance in nested {
            deepest = deepest.max(instance.levels_below(forbidden, left - 1)?);
        }
        Some(deepest + 1)
    }

    /// Levels from here up.
    fn levels_above(&self, left: usize) -> usize {
        if left == 0 {
            return 1;
        }
        let above: Vec<Arc<OpenFile>> =
            self.watched_by.lock().iter().filter_map(Weak::upgrade).collect();
        let instances = above.iter().filter_map(|open| Self::of(open));
        instances.map(|instance| instance.levels_above(left - 1)).max().unwrap_or(0) + 1
    }
}

impl File for Epoll {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// Nobody's view: the ready list alone.
    fn poll(&self, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        if let Some(waiter) = waiter {
            self.shared.waiters.register(waiter);
        }
        Ready::READ.when(!self.shared.ready.lock().is_empty())
    }

    fn poll_by(&self, by: &Thread, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        if let Some(waiter) = waiter {
            self.shared.waiters.register(waiter);
        }
        Ready::READ.when(self.has_events(by))
    }

    fn forget(&self, waiter: &Waiter) {
        self.shared.waiters.deregister(waiter);
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: self.number };
        Ok(Attributes::anonymous(Kind::CharacterDevice, id, 0o600))
    }

    fn label(&self) -> String {
        String::from("anon_inode:[eventpoll]")
    }

    fn details(&self) -> String {
        let watches = self.watches.lock();
        let lines = watches.values().filter(|watch| watch.open.strong_count() > 0).map(|watch| {
            let (events, data) = (&watch.events, &watch.data);
            format!(
                "tfd: {:8} events: {:8x} data: {:16x}\n",
                watch.key.0,
                events.load(Ordering::Relaxed),
                data.load(Ordering::Relaxed)
            )
        });
        lines.collect()
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for watch in self.watches.lock().values() {
            if let Some(open) = watch.open.upgrade() {
                open.file.forget(&watch.waiter());
            }
        }
    }
}
