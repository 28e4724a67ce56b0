// SPDX-License-Identifier: MIT
//! Names of UNIX sockets, and what is found under them.

use crate::fs::memory_fs::Node;
use crate::fs::{Follow, Kind, Make, NodeKind, walk, walk_parent};
use crate::net::SocketKind;
use crate::net::address::UnixName;
use crate::net::connection::Listener;
use crate::net::stream::Channel;
use crate::net::unix::Arrival;
use crate::outcome::SysResult;
use crate::task::Call;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use spin::Mutex;
use strongroom_abi::{Errno, SocketCredentials};

/// Abstract names of clients of attested sessions begin so, and their public key follows. Only the
/// kernel gives them.
pub(crate) const CLIENT_NAME_PREFIX: &str = "strongroom/client/";

/// What a name leads to, while its socket lives.
pub(crate) struct Rendezvous {
    pub(crate) kind: SocketKind,
    pub(crate) name: UnixName,
    /// Where connections arrive, and the credentials at the time of `listen(2)`.
    pub(crate) listener: Mutex<Option<(Arc<Listener<Arrival>>, SocketCredentials)>>,
    /// Where datagrams arrive.
    pub(crate) inbox: Option<Arc<Channel>>,
}

/// The names that are in no file system.
#[derive(Default)]
pub(crate) struct AbstractNames {
    names: Mutex<BTreeMap<Box<[u8]>, Weak<Rendezvous>>>,
}

impl AbstractNames {
    fn claim(&self, name: &[u8], rendezvous: &Arc<Rendezvous>) -> Result<(), Errno> {
        let mut names = self.names.lock();
        if names.get(name).is_some_and(|present| present.strong_count() > 0) {
            return Err(Errno::EADDRINUSE);
        }
        names.retain(|_, present| present.strong_count() > 0);
        names.insert(name.into(), Arc::downgrade(rendezvous));
        Ok(())
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<Arc<Rendezvous>> {
        self.names.lock().get(name).and_then(Weak::upgrade)
    }
}

impl Rendezvous {
    /// Puts a socket under a name; without one it gets one of five digits, as `unix(7)` says.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE`, `EACCES` for a name that only the kernel gives, and those of paths.
    pub(crate) fn claim(
        call: &Call<'_>,
        name: UnixName,
        kind: SocketKind,
        inbox: Option<Arc<Channel>>,
    ) -> SysResult<Arc<Self>> {
        let make =
            |name| Arc::new(Self { kind, name, listener: Mutex::new(None), inbox: inbox.clone() });
        match &name {
            UnixName::Path(path) => {
                let rendezvous = make(name.clone());
                claim_path(call, path, &rendezvous)?;
                Ok(rendezvous)
            }
            UnixName::Abstract(hidden) if hidden.starts_with(CLIENT_NAME_PREFIX.as_bytes()) => {
                Err(Errno::EACCES.into())
            }
            UnixName::Abstract(hidden) => {
                let rendezvous = make(name.clone());
                call.kernel.net.unix.claim(hidden, &rendezvous)?;
                Ok(rendezvous)
            }
            UnixName::Unnamed => {
                for number in 0..0x10_0000 {
                    let hidden: Box<[u8]> = format!("{number:05x}").into_bytes().into();
                    let rendezvous = make(UnixName::Abstract(hidden.clone()));
                    if call.kernel.net.unix.claim(&hidden, &rendezvous).is_ok() {
                        return Ok(rendezvous);
                    }
                }
                Err(Errno::ENOSPC.into())
            }
        }
    }

    /// What is under a name, for a socket of `kind`.
    ///
    /// # Errors
    ///
    /// `ECONNREFUSED` when nobody is there, `EPROTOTYPE` for another kind, and those of paths.
    pub(crate) fn find(call: &Call<'_>, name: &UnixName, kind: SocketKind) -> SysResult<Arc<Self>> {
        let found = match name {
            UnixName::Path(path) => find_path(call, path)?,
            UnixName::Abstract(hidden) => call.kernel.net.unix.find(hidden),
            UnixName::Unnamed => return Err(Errno::EINVAL.into()),
        };
        let rendezvous = found.ok_or(Errno::ECONNREFUSED)?;
        if rendezvous.kind == kind { Ok(rendezvous) } else { Err(Errno::EPROTOTYPE.into()) }
    }
}

fn may_write(call: &Call<'_>, inode: &dyn crate::fs::Inode, wanted: u32) -> SysResult<()> {
    let attributes = inode.attributes(call.thread)?;
    let credentials = call.thread.process.credentials.lock();
    if credentials.may(wanted, attributes.mode(), attributes.uid, attributes.gid) {
        Ok(())
    } else {
        Err(Errno::EACCES.into())
    }
}

/// Makes the socket's node and attaches the rendezvous to it.
fn claim_path(call: &Call<'_>, path: &[u8], rendezvous: &Arc<Rendezvous>) -> SysResult<()> {
    let fs = call.thread.process.fs();
    let parent = walk_parent(call.thread, &fs.working(), path)?;
    if parent.is_special() || parent.find(call.thread).is_ok() {
        return Err(Errno::EADDRINUSE.into());
    }
    let directory = &parent.directory;
    if directory.mount.read_only {
        return Err(Errno::EROFS.into());
    }
    // Only there can a socket be attached: a directory of the host has none.
    if directory.inode.as_any().downcast_ref::<Node>().is_none() {
        return Err(Errno::EPERM.into());
    }
    may_write(call, &*directory.inode, 3)?;
    let (uid, gid) = {
        let credentials = call.thread.process.credentials.lock();
        (credentials.euid, credentials.egid)
    };
    let permissions = 0o777 & !fs.umask();
    let make = Make { node: NodeKind::Socket, permissions, uid, gid };
    let inode = directory.inode.make(call.thread, &parent.name, &make)?;
    let node = inode.as_any().downcast_ref::<Node>().ok_or(Errno::EIO)?;
    let object: Arc<dyn Any + Send + Sync> = Arc::<Rendezvous>::clone(rendezvous);
    node.attach(Arc::downgrade(&object));
    Ok(())
}

fn find_path(call: &Call<'_>, path: &[u8]) -> SysResult<Option<Arc<Rendezvous>>> {
    let working = call.thread.process.fs().working();
    let place = walk(call.thread, &working, path, Follow::Yes)?;
    if place.inode.kind() != Kind::Socket {
        return Err(Errno::ECONNREFUSED.into());
    }
    may_write(call, &*place.inode, 2)?;
    let node = place.inode.as_any().downcast_ref::<Node>();
    let object = node.and_then(Node::attached);
    Ok(object.and_then(|object| Arc::downcast(object).ok()))
}
