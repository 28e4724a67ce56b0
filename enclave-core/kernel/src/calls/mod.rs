// SPDX-License-Identifier: MIT
//! System calls, one file a family; each handler reads like its man page.

mod attributes;
mod descriptors;
mod epoll;
mod events;
mod file_size;
mod file_times;
mod futex;
mod identity;
mod io;
mod makers;
mod mapping;
mod memfd;
mod messages;
mod names;
mod pidfd;
mod pipe;
mod poll;
mod process;
mod quick;
mod record_locks;
mod signals;
mod sockets;
mod system;
mod threads;
mod time;
mod timers;
mod transfer;
mod wait;
mod waiting;

pub(crate) use makers::MAKERS;
pub(crate) use quick::QUICK;
pub(crate) use record_locks::release_record_locks;
pub(crate) use system::{RELEASE, VERSION, hostname};

use crate::table::Row;

/// The families and their calls, in the order of the documentation.
pub(crate) const FAMILIES: &[(&str, &[Row])] = &[
    ("Reading and writing", io::CALLS),
    ("Moving data", transfer::CALLS),
    ("Descriptors", descriptors::CALLS),
    ("Pipes", pipe::CALLS),
    ("Files without a name", memfd::CALLS),
    ("Locks", record_locks::CALLS),
    ("Names", names::CALLS),
    ("Attributes", attributes::CALLS),
    ("Times of files", file_times::CALLS),
    ("Sizes of files", file_size::CALLS),
    ("Memory", mapping::CALLS),
    ("Processes", process::CALLS),
    ("Waiting for processes", wait::CALLS),
    ("Process descriptors", pidfd::CALLS),
    ("Identity", identity::CALLS),
    ("Signals", signals::CALLS),
    ("Threads and scheduling", threads::CALLS),
    ("Futexes", futex::CALLS),
    ("Waiting for files", poll::CALLS),
    ("Event polling", epoll::CALLS),
    ("Event descriptors", events::CALLS),
    ("Sockets", sockets::CALLS),
    ("Messages", messages::CALLS),
    ("Time", time::CALLS),
    ("Timers", timers::CALLS),
    ("System", system::CALLS),
];
