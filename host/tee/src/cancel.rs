// SPDX-License-Identifier: MIT
//! Cancelling a call from another thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use optee_teec_sys as raw;

use crate::{Code, Operation, TeeError, error::own};

/// Asks that a call be cancelled, from any thread.
///
/// Cancelling is a request: a trusted application that masks cancellation goes on, and a call that
/// is just beginning may not hear it. Ask again until the call has ended. A request that reaches the
/// TEE when the call has just ended there strikes the next call of the same session: the TEE knows
/// sessions, not calls.
#[derive(Clone, Debug, Default)]
pub struct Canceller(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    requested: bool,
    running: Option<Running>,
}

/// The address of a call's operation.
#[derive(Debug)]
struct Running(*mut raw::TEEC_Operation);

// SAFETY: the address is only used for TEEC_RequestCancellation, which is made to be called from
// other threads, and only while the state is locked, which keeps the operation alive.
#[expect(unsafe_code, reason = "an address that another thread may use")]
unsafe impl Send for Running {}

impl Canceller {
    /// One that has not been asked yet. It serves one call after the other.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks. A call that has not begun will not begin.
    pub fn cancel(&self) {
        let mut state = self.state();
        state.requested = true;
        if let Some(Running(operation)) = &state.running {
            // SAFETY: the call has not ended: it would have to lock the state first. So the
            // operation is there, and the library takes its own lock to look at it.
            #[expect(unsafe_code, reason = "the client library")]
            unsafe {
                raw::TEEC_RequestCancellation(*operation);
            }
        }
    }

    /// Forgets that it was asked.
    pub fn reset(&self) {
        self.state().requested = false;
    }

    /// Runs `call` so that it can be cancelled.
    pub(crate) fn watch<T>(
        &self,
        operation: &mut Operation<'_>,
        call: impl FnOnce(*mut raw::TEEC_Operation) -> Result<T, TeeError>,
    ) -> Result<T, TeeError> {
        let pointer = operation.pointer();
        {
            let mut state = self.state();
            if state.requested {
                return Err(own(Code::Cancel));
            }
            if state.running.is_some() {
                return Err(own(Code::Busy));
            }
            state.running = Some(Running(pointer));
        }
        let result = call(pointer);
        self.state().running = None;
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_before_the_call_keeps_it_from_beginning_until_it_is_forgotten() {
        let canceller = Canceller::new();
        let mut operation = Operation::empty();
        assert_eq!(canceller.watch(&mut operation, |_| Ok(1)), Ok(1));
        canceller.clone().state().requested = true;
        let refused = canceller.watch(&mut operation, |_| -> Result<(), _> { panic!("began") });
        assert_eq!(refused, Err(own(Code::Cancel)));
        canceller.reset();
        assert_eq!(canceller.watch(&mut operation, |_| Ok(2)), Ok(2));
    }

    #[test]
    fn one_call_at_a_time() {
        let canceller = Canceller::new();
        let mut operation = Operation::empty();
        let inner = canceller.watch(&mut operation, |_| {
            let mut other = Operation::empty();
            canceller.watch(&mut other, |_| Ok(()))
        });
        assert_eq!(inner, Err(own(Code::Busy)));
        assert_eq!(canceller.watch(&mut operation, |_| Ok(())), Ok(()));
    }
}
