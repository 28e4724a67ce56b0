// SPDX-License-Identifier: MIT
//! The main loop: run, carry messages, wait.

use super::halt::{Code, halt};
use super::host::link::{self, Link};
use super::time;
use crate::link::Broken;
use crate::{Progress, Workload};
use alloc::boxed::Box;

/// Drives `workload` to its end. A host that breaks the transport's rules has no way back into it.
pub(crate) fn run(mut workload: Box<dyn Workload>) -> ! {
    loop {
        match turn(&mut *workload) {
            Ok(false) => {}
            Ok(true) => halt(Code::Ended),
            Err(Broken) => halt(Code::HostBroken),
        }
    }
}

/// One turn; says whether it was the last.
fn turn(workload: &mut dyn Workload) -> Result<bool, Broken> {
    link::with(|link| link.receive(|message| workload.receive(message)))?;
    // The link is not locked here: should the workload panic, its last words can be sent.
    let progress = workload.run();
    let wait = link::with(|link| after(progress, workload, link))?;
    match wait {
        Next::Turn => {}
        Next::Wait(until_ns) => time::wait(until_ns),
        Next::End => return Ok(true),
    }
    Ok(false)
}

/// What follows a turn.
enum Next {
    Turn,
    Wait(Option<u64>),
    End,
}

/// Sends, and decides how to go on.
fn after(progress: Progress, workload: &mut dyn Workload, link: &mut Link) -> Result<Next, Broken> {
    let blocked = send(workload, link)?;
    Ok(match progress {
        Progress::Busy => Next::Turn,
        Progress::Idle { until_ns } if !link.wants_turn(blocked) => Next::Wait(until_ns),
        Progress::Ended if !blocked && link.is_flushed()? => Next::End,
        Progress::Ended if !link.wants_turn(true) => Next::Wait(None),
        Progress::Idle { .. } | Progress::Ended => Next::Turn,
    })
}

/// Sends as long as there is room; says whether something has to wait for more.
fn send(workload: &mut dyn Workload, link: &mut Link) -> Result<bool, Broken> {
    while link.send_pending()? {
        let Some(message) = workload.take_message() else {
            link.tell();
            return Ok(false);
        };
        link.submit(message)?;
    }
    Ok(true)
}
