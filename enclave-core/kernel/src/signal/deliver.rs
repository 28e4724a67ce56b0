// SPDX-License-Identifier: MIT
//! Acting upon signals: ignoring, stopping, ending, or calling the program's handler.

use crate::memory::Memory;
use crate::outcome::{Stop, SysResult};
use crate::signal::{
    Action, ActionFlags, SIGSEGV, STACK_AUTO_DISARM, STACK_DISABLED, STACK_IN_USE, SignalSet,
    info_kernel, send,
};
use crate::task::{ExitStatus, ProcessState, Thread, Work};
use alloc::sync::Arc;
use strongroom_abi::{Errno, SignalInfo, SignalStack, arch};
use strongroom_south::Context;

/// What is left after everything that needs no handler has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nothing.
    Nothing,
    /// A handler has to be called; whether it lets calls restart.
    Handler { restart: bool },
    /// The process is stopped.
    Stopped,
    /// The process is ending.
    Ended,
}

/// Acts upon pending signals up to the first one that has a handler.
pub(crate) fn settle(thread: &Arc<Thread>) -> Settled {
    let process = &thread.process;
    loop {
        if thread.work().contains(Work::EXIT) {
            return Settled::Ended;
        }
        if matches!(*process.state.lock(), ProcessState::Stopped { .. }) {
            return Settled::Stopped;
        }
        let wanted = SignalSet(!thread.signals.lock().mask.0);
        let Some(signal) = first_pending(thread, wanted) else {
            thread.clear_work(Work::SIGNAL);
            // One that came in between is seen again at the next entry.
            return Settled::Nothing;
        };
        let action = process.handlers.action(signal);
        if action.is_handler() {
            return Settled::Handler { restart: action.flags.contains(ActionFlags::RESTART) };
        }
        take(thread, SignalSet::of(signal));
        if action.ignores(signal) {
            continue;
        }
        if SignalSet::STOPPING.has(signal) {
            if may_stop(thread, signal) {
                send::stop(process, signal);
            }
        } else {
            process.end(ExitStatus::Signal(signal));
        }
    }
}

/// An orphaned process group is stopped by nothing but `SIGSTOP`.
fn may_stop(thread: &Thread, signal: u8) -> bool {
    let process = &thread.process;
    if signal == super::SIGSTOP {
        return true;
    }
    let members = thread.kernel.processes.in_group(process.group());
    members.iter().any(|member| {
        member.parent().is_some_and(|parent| {
            parent.group() != process.group() && parent.session() == process.session()
        })
    })
}

fn first_pending(thread: &Thread, wanted: SignalSet) -> Option<u8> {
    let own = thread.signals.lock().pending.set().0 & wanted.0;
    let shared = thread.process.pending.lock().set().0 & wanted.0;
    SignalSet(own).first().or_else(|| SignalSet(shared).first())
}

/// Takes a pending signal of a set, the thread's own before the process's.
pub(crate) fn take(thread: &Thread, wanted: SignalSet) -> Option<SignalInfo> {
    let own = thread.signals.lock().pending.take(wanted);
    own.or_else(|| thread.process.pending.lock().take(wanted))
}

/// What [`take`] would take, left where it is.
pub(crate) fn next_pending(thread: &Thread, wanted: SignalSet) -> Option<SignalInfo> {
    first_pending(thread, wanted).map(|signal| peek(thread, signal))
}

/// Whether a signal of a set waits for the thread.
pub(crate) fn is_pending(thread: &Thread, wanted: SignalSet) -> bool {
    first_pending(thread, wanted).is_some()
}

/// Where a handler returns to: its own choice, or what the machine offers.
fn restorer(thread: &Thread, action: Action) -> usize {
    if action.flags.contains(ActionFlags::RESTORER) {
        return action.restorer;
    }
    thread.kernel.machine.signal_return().unwrap_or(action.restorer)
}

/// Calls the handler of the next signal that has one: builds its frame and points the registers
/// at it. Stops when a page of the stack has to be brought in.
pub(crate) fn deliver(
    thread: &Arc<Thread>,
    memory: &Memory,
    context: &mut dyn Context,
) -> SysResult<()> {
    let wanted = SignalSet(!thread.signals.lock().mask.0);
    let Some(signal) = first_pending(thread, wanted) else { return Ok(()) };
    let action = thread.process.handlers.action(signal);
    if !action.is_handler() {
        return Ok(());
    }
    let (mask, saved, stack) = {
        let signals = thread.signals.lock();
        (signals.mask, signals.saved_mask.unwrap_or(signals.mask), signals.stack)
    };
    let registers = *context.registers();
    let sp = registers.stack_pointer();
    let stack_now = reported_stack(&stack, sp);
    let top = handler_stack(action, &stack, sp);
    // Looked at before it is taken: when the stack has no page yet, the signal stays pending.
    let info = peek(thread, signal);
    let frame = arch::SignalFrame {
        signal,
        info,
        mask: saved.0,
        stack: stack_now,
        registers: &registers,
        extended: context.extended_state(),
        handler: action.handler as u64,
        restorer: restorer(thread, action) as u64,
    };
    let (address, bytes, entered) = frame.build(top as u64);
    let room = address as usize;
    if room.checked_add(bytes.len()).is_none_or(|end| end > memory.space().user_end()) {
        stack_overflow(thread);
        return Ok(());
    }
    memory.space().copy_out(room, &bytes)?;
    take(thread, SignalSet::of(signal));
    *context.registers() = entered;
    let mut signals = thread.signals.lock();
    signals.saved_mask = None;
    if stack.flags & STACK_AUTO_DISARM != 0 {
        signals.stack = SignalStack { flags: STACK_DISABLED, ..SignalStack::default() };
    }
    let own = if action.flags.contains(ActionFlags::NO_DEFER) {
        SignalSet::default()
    } else {
        SignalSet::of(signal)
    };
    signals.mask = SignalSet(mask.0 | action.mask.0 | own.0).blockable();
    drop(signals);
    if action.flags.contains(ActionFlags::RESET_HAND) {
        thread.process.handlers.set_action(signal, Action::default());
    }
    Ok(())
}

/// A frame that cannot be built ends the process with `SIGSEGV`.
pub(crate) fn stack_overflow(thread: &Arc<Thread>) {
    thread.process.handlers.set_action(SIGSEGV, Action::default());
    send::force(thread, info_kernel(SIGSEGV));
}

fn peek(thread: &Thread, signal: u8) -> SignalInfo {
    let found = thread.signals.lock().pending.peek(signal);
    let found = found.or_else(|| thread.process.pending.lock().peek(signal));
    found.unwrap_or_else(|| info_kernel(signal))
}

/// Where a handler's frame is built: below the stack in use, or at the top of the alternate one.
fn handler_stack(action: Action, stack: &SignalStack, sp: usize) -> usize {
    let wants = action.flags.contains(ActionFlags::ON_STACK);
    if wants && stack.flags & STACK_DISABLED == 0 && !is_on(stack, sp) {
        return (stack.sp as usize).wrapping_add(stack.size as usize);
    }
    sp.wrapping_sub(arch::RED_ZONE)
}

/// Whether a stack pointer lies on the alternate stack.
pub(crate) fn is_on(stack: &SignalStack, sp: usize) -> bool {
    stack.flags & (STACK_DISABLED | STACK_AUTO_DISARM) == 0
        && sp > stack.sp as usize
        && sp - stack.sp as usize <= stack.size as usize
}

/// The alternate stack as `sigaltstack(2)` reports it.
pub(crate) fn reported_stack(stack: &SignalStack, sp: usize) -> SignalStack {
    let in_use = if is_on(stack, sp) { STACK_IN_USE } else { 0 };
    SignalStack { flags: stack.flags | in_use, ..*stack }
}

/// `rt_sigreturn(2)`: takes the registers back from the frame.
pub(crate) fn return_from_handler(
    thread: &Arc<Thread>,
    memory: &Memory,
    context: &mut dyn Context,
) -> SysResult<()> {
    let at = arch::frame_address(context.registers());
    let mut bytes = [0; arch::FRAME_SIZE];
    let read = memory.space().copy_in(at as usize, &mut bytes);
    let Some(restored) = read.map(|()| arch::restore(&bytes, at))? else {
        return Err(Errno::EFAULT.into());
    };
    let state = match restored.extended_at {
        Some(address) => {
            let mut state = context.extended_state().to_vec();
            memory.space().copy_in(address as usize, &mut state)?;
            arch::normalise_extended(&mut state);
            Some(state)
        }
        None => None,
    };
    if let Some(state) = state {
        context.set_extended_state(&state).map_err(|_| Stop::Errno(Errno::EFAULT))?;
    }
    *context.registers() = restored.registers;
    let mut signals = thread.signals.lock();
    signals.mask = SignalSet(restored.mask).blockable();
    let sp = restored.registers.stack_pointer();
    let stack = restored.stack;
    if !is_on(&signals.stack, sp) || signals.stack.flags & STACK_DISABLED != 0 {
        signals.stack = SignalStack { flags: stack.flags & !STACK_IN_USE, ..stack };
    }
    drop(signals);
    thread.add_work(Work::SIGNAL);
    Ok(())
}

impl super::Pending {
    /// The next instance of a signal.
    fn peek(&self, signal: u8) -> Option<SignalInfo> {
        self.queue.iter().find(|info| info.signo == i32::from(signal)).copied()
    }
}
