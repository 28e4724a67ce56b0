// SPDX-License-Identifier: MIT
//! Who has which port of a protocol.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use spin::Mutex;
use strongroom_abi::Errno;

/// Ports that are given to those who ask for none (`ip_local_port_range`).
const EPHEMERAL_FIRST: u32 = 32_768;
const EPHEMERAL_COUNT: u32 = 28_232;

/// What a socket wants to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) address: IpAddr,
    /// 0 for any.
    pub(crate) port: u16,
    pub(crate) v6_only: bool,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) uid: u32,
}

struct Entry<T> {
    number: u64,
    claim: Claim,
    listening: bool,
    peer: Option<SocketAddr>,
    target: Weak<T>,
}

/// See the module's text. `T` is where arriving things go.
pub(crate) struct Ports<T> {
    entries: Mutex<BTreeMap<u16, Vec<Entry<T>>>>,
    numbers: AtomicU64,
    turn: AtomicUsize,
}

/// A port in use, until it is dropped.
pub(crate) struct Binding<T: 'static> {
    ports: &'static Ports<T>,
    pub(crate) port: u16,
    number: u64,
}

impl<T> Default for Ports<T> {
    fn default() -> Self {
        Self {
            entries: Mutex::new(BTreeMap::new()),
            numbers: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
        }
    }
}

impl<T> Ports<T> {
    /// Gives a port to a socket. `random` chooses among those that are free.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE`.
    pub(crate) fn claim(
        &'static self,
        mut claim: Claim,
        random: u64,
        target: Weak<T>,
    ) -> Result<Binding<T>, Errno> {
        let mut entries = self.entries.lock();
        if claim.port == 0 {
            claim.port = free_port(&entries, random).ok_or(Errno::EADDRINUSE)?;
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { number, claim, listening: false, peer: None, target };
        let present = entries.entry(claim.port).or_default();
        if present.iter().any(|other| other.conflicts(&entry)) {
            return Err(Errno::EADDRINUSE);
        }
        present.push(entry);
        Ok(Binding { ports: self, port: claim.port, number })
    }

    /// Where something for `to` goes that comes from `from`: the most particular one; those that
    /// share a port take turns.
    pub(crate) fn find(&self, to: SocketAddr, from: Option<SocketAddr>) -> Option<Arc<T>> {
        let entries = self.entries.lock();
        let mut best: Vec<Arc<T>> = Vec::new();
        let mut best_rank = 0;
        for entry in entries.get(&to.port())? {
            let Some(rank) = entry.rank(to.ip(), from) else { continue };
            let Some(target) = entry.target.upgrade() else { continue };
            if rank > best_rank {
                best.clear();
                best_rank = rank;
            }
            if rank == best_rank {
                best.push(target);
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let index = turn.checked_rem(best.len())?;
        best.into_iter().nth(index)
    }
}

fn free_port<T>(entries: &BTreeMap<u16, Vec<Entry<T>>>, random: u64) -> Option<u16> {
    let start = (random % u64::from(EPHEMERAL_COUNT)) as u32;
    let ports = (start..start + EPHEMERAL_COUNT).map(|at| EPHEMERAL_FIRST + at % EPHEMERAL_COUNT);
    ports.map(|port| port as u16).find(|port| entries.get(port).is_none_or(Vec::is_empty))
}

impl<T> Entry<T> {
    /// Whether it gets what is sent to an address.
    fn covers(&self, ip: IpAddr) -> bool {
        match self.claim.address {
            own if own == ip => true,
            IpAddr::V4(own) => own.is_unspecified() && ip.is_ipv4(),
            IpAddr::V6(own) => own.is_unspecified() && !(self.claim.v6_only && ip.is_ipv4()),
        }
    }

    /// Whether both cannot have the same port.
    fn conflicts(&self, other: &Self) -> bool {
        let (one, two) = (&self.claim, &other.claim);
        let share_port = one.reuse_port && two.reuse_port && one.uid == two.uid;
        let share_address =
            one.reuse_address && two.reuse_address && !self.listening && !other.listening;
        let overlap = self.covers(two.address) || other.covers(one.address);
        overlap && !share_port && !share_address
    }

    /// How particularly it is meant; `None` when it is not.
    fn rank(&self, to: IpAddr, from: Option<SocketAddr>) -> Option<u32> {
        let known = match self.peer {
            Some(peer) if Some(peer) != from => return None,
            Some(_) => 4,
            None => 0,
        };
        let exact = if self.claim.address == to { 2 } else { 0 };
        let family = u32::from(self.claim.address.is_ipv4() == to.is_ipv4());
        self.covers(to).then_some(1 + known + exact + family)
    }
}

impl<T> Binding<T> {
    /// The socket listens from now on.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE` when another one does that cannot share.
    pub(crate) fn listen(&self, target: &Arc<T>) -> Result<(), Errno> {
        let mut entries = self.ports.entries.lock();
        let present = entries.get_mut(&self.port).ok_or(Errno::EINVAL)?;
        let own = present.iter().find(|entry| entry.number == self.number).ok_or(Errno::EINVAL)?;
        let in_use = |other: &Entry<T>| {
            other.number != self.number && other.listening && other.conflicts(own)
        };
        if present.iter().any(in_use) {
            return Err(Errno::EADDRINUSE);
        }
        if let Some(own) = present.iter_mut().find(|entry| entry.number == self.number) {
            own.listening = true;
            own.target = Arc::downgrade(target);
        }
        Ok(())
    }

    /// From now on only what comes from `peer` is for it, or again from everyone.
    pub(crate) fn set_peer(&self, peer: Option<SocketAddr>) {
        let mut entries = self.ports.entries.lock();
        let present = entries.get_mut(&self.port).into_iter().flatten();
        for own in present.filter(|entry| entry.number == self.number) {
            own.peer = peer;
        }
    }
}

impl<T> Drop for Binding<T> {
    fn drop(&mut self) {
        let mut entries = self.ports.entries.lock();
        if let Some(present) = entries.get_mut(&self.port) {
            present.retain(|entry| entry.number != self.number);
            if present.is_empty() {
                entries.remove(&self.port);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;

    fn ports() -> &'static Ports<u8> {
        Box::leak(Box::default())
    }

    fn claim(address: &str) -> Claim {
        let address: SocketAddr = address.parse().unwrap();
        Claim {
            address: address.ip(),
            port: address.port(),
            v6_only: false,
            reuse_address: false,
            reuse_port: false,
            uid: 0,
        }
    }

    #[test]
    fn a_port_is_had_once_unless_addresses_differ() {
        let ports = ports();
        let target = Arc::new(1);
        let take = |claim| ports.claim(claim, 0, Arc::downgrade(&target));
        let first = take(claim("127.0.0.1:80")).unwrap();
        assert_eq!(take(claim("127.0.0.1:80")).err(), Some(Errno::EADDRINUSE));
        assert_eq!(take(claim("0.0.0.0:80")).err(), Some(Errno::EADDRINUSE));
        assert_eq!(take(claim("[::]:80")).err(), Some(Errno::EADDRINUSE));
        let only = Claim { v6_only: true, ..claim("[::]:80") };
        let second = take(only).unwrap();
        let third = take(claim("127.0.0.2:80")).unwrap();
        drop((first, second, third));
        assert!(take(claim("[::]:80")).is_ok());
    }

    #[test]
    fn reuse_of_addresses_ends_where_one_listens() {
        let ports = ports();
        let target = Arc::new(1);
        let reusing = Claim { reuse_address: true, ..claim("0.0.0.0:80") };
        let one = ports.claim(reusing, 0, Weak::new()).unwrap();
        let two = ports.claim(reusing, 0, Weak::new()).unwrap();
        assert_eq!(one.listen(&target), Ok(()));
        assert_eq!(two.listen(&target), Err(Errno::EADDRINUSE));
        assert!(ports.claim(reusing, 0, Weak::new()).is_err());
    }

    #[test]
    fn those_who_share_a_port_take_turns() {
        let ports = ports();
        let (first, second) = (Arc::new(1), Arc::new(2));
        let sharing = Claim { reuse_port: true, ..claim("0.0.0.0:80") };
        let one = ports.claim(sharing, 0, Weak::new()).unwrap();
        let two = ports.claim(sharing, 0, Weak::new()).unwrap();
        one.listen(&first).unwrap();
        two.listen(&second).unwrap();
        let to = "127.0.0.1:80".parse().unwrap();
        let found: Vec<u8> = (0..4).filter_map(|_| ports.find(to, None)).map(|got| *got).collect();
        assert_eq!(found, [1, 2, 1, 2]);
        let stranger = Claim { uid: 7, ..sharing };
        assert!(ports.claim(stranger, 0, Weak::new()).is_err());
    }

    #[test]
    fn the_most_particular_one_is_found() {
        let ports = ports();
        let (all, exact, connected) = (Arc::new(1), Arc::new(2), Arc::new(3));
        let reusing = |address| Claim { reuse_address: true, ..claim(address) };
        let _one = ports.claim(reusing("0.0.0.0:53"), 0, Arc::downgrade(&all)).unwrap();
        let _two = ports.claim(reusing("127.0.0.1:53"), 0, Arc::downgrade(&exact)).unwrap();
        let three = ports.claim(reusing("0.0.0.0:53"), 0, Arc::downgrade(&connected)).unwrap();
        let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
        three.set_peer(Some(peer));
        let find = |to: &str, from| ports.find(to.parse().unwrap(), from).map(|found| *found);
        assert_eq!(find("127.0.0.1:53", None), Some(2));
        assert_eq!(find("127.0.0.2:53", None), Some(1));
        assert_eq!(find("127.0.0.1:53", Some(peer)), Some(3));
        assert_eq!(find("[::1]:53", None), None);
    }

    #[test]
    fn ephemeral_ports_lie_in_their_range_until_none_is_left() {
        let ports = ports();
        let mut held = Vec::new();
        for start in 0..u64::from(EPHEMERAL_COUNT) {
            let binding = ports.claim(claim("0.0.0.0:0"), start, Weak::new()).unwrap();
            assert!((32_768..61_000).contains(&binding.port));
            held.push(binding);
        }
        assert!(ports.claim(claim("0.0.0.0:0"), 7, Weak::new()).is_err());
        held.pop();
        assert!(ports.claim(claim("0.0.0.0:0"), 7, Weak::new()).is_ok());
    }
}
