// SPDX-License-Identifier: MIT
//! The thread that carries messages while a session is served.

use crate::RunError;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use strongroom_optee_qemu::PowerSwitch;

/// How long a carrier may take to end by itself when its session has ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that carries messages between a session and a trusted application.
#[derive(Debug)]
pub struct Carrier {
    ended: Receiver<Result<(), RunError>>,
    thread: JoinHandle<()>,
    power: Option<PowerSwitch>,
}

impl Carrier {
    /// Carries as `carry` does; its end of the session's stream ends with it.
    ///
    /// # Errors
    ///
    /// [`RunError::Stream`] when the system has no more threads.
    pub fn start(
        carry: impl FnOnce() -> Result<(), RunError> + Send + 'static,
    ) -> Result<Self, RunError> {
        let (end, ended) = mpsc::channel();
        let run = move || {
            // Whoever asked may have gone away.
            let _ = end.send(carry());
        };
        let thread = thread::Builder::new().name("carrier".to_owned()).spawn(run)?;
        Ok(Self { ended, thread, power: None })
    }

    /// As [`Carrier::start`], for what ends when a machine's power is cut.
    pub(crate) fn with_power(mut self, power: PowerSwitch) -> Self {
        self.power = Some(power);
        self
    }

    /// Ends it when its session has ended: what came of it, unless it has to be left behind. With
    /// `at_once`, or when it takes long, a simulated machine's power is cut.
    pub fn finish(self, at_once: bool) -> Option<Result<(), RunError>> {
        let patience = if at_once { Duration::ZERO } else { PATIENCE };
        let result = self.ended.recv_timeout(patience).ok();
        if let Some(power) = &self.power {
            power.cut();
        }
        if result.is_some() || self.power.is_some() {
            // A panic in it has been reported by then.
            let _ = self.thread.join();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_told_and_one_that_hangs_is_left_behind() {
        let carrier = Carrier::start(|| Err(RunError::Dead)).unwrap();
        assert!(matches!(carrier.finish(false), Some(Err(RunError::Dead))));
        let (keep, kept) = mpsc::channel::<()>();
        let carrier = Carrier::start(move || {
            let _ = kept.recv();
            Ok(())
        });
        assert!(carrier.unwrap().finish(true).is_none());
        drop(keep);
    }
}
