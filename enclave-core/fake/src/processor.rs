// SPDX-License-Identifier: MIT
//! The processor state of a guest thread, and the coroutine that plays its program.
//!
//! A coroutine is a thread of the test process that runs only while [`Processor::enter`] waits for
//! it. It starts when its context is first entered, and ends with it.

use crate::guest::{Code, Guest};
use crate::machine::lock;
use crate::registers::{EXTENDED_SIZE, RESTART_LENGTH};
use crate::space::Space;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use strongroom_abi::arch::Registers;
use strongroom_south::{Answer, BadState, Context, Exception, Space as _, Trap};

/// Stack of a coroutine's thread.
const STACK_SIZE: usize = 512 * 1024;

/// What a coroutine tells its processor.
pub(crate) enum Event {
    /// The guest trapped, with these registers.
    Trap(Trap, Box<Registers>),
    /// Its code panicked: a test's assertion failed.
    Panicked(Box<dyn Any + Send>),
}

/// What unwinds a coroutine's thread when its context is gone.
pub(crate) struct Gone;

#[derive(Debug, Default)]
struct Ends {
    to_guest: Option<Sender<Box<Registers>>>,
    thread: Option<JoinHandle<()>>,
}

/// The processor's end of a coroutine.
#[derive(Debug)]
pub(crate) struct Coroutine {
    ends: Mutex<Ends>,
    from_guest: Mutex<Receiver<Event>>,
}

impl Coroutine {
    /// Starts `code` on a thread of its own; it waits for its first registers.
    fn start(space: &Arc<Space>, code: Code) -> Arc<Self> {
        let (to_guest, resumed) = channel::<Box<Registers>>();
        let (events, from_guest) = channel();
        let guest_space = Arc::clone(space);
        let body = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut guest = Guest::new(guest_space, events.clone(), resumed);
                guest.live(code);
            }));
            if let Err(payload) = outcome
                && !payload.is::<Gone>()
            {
                // Nobody listens when the test is over already.
                let _ignored = events.send(Event::Panicked(payload));
            }
        };
        let thread = std::thread::Builder::new()
            .name("guest".into())
            .stack_size(STACK_SIZE)
            .spawn(body)
            .expect("a thread for a guest");
        let ends = Ends { to_guest: Some(to_guest), thread: Some(thread) };
        Arc::new(Self { ends: Mutex::new(ends), from_guest: Mutex::new(from_guest) })
    }

    /// Runs the guest to its next trap.
    fn run(&self, registers: Registers) -> (Trap, Registers) {
        if let Some(to_guest) = &lock(&self.ends).to_guest {
            to_guest.send(Box::new(registers)).expect("the guest waits");
        }
        match lock(&self.from_guest).recv() {
            Ok(Event::Trap(trap, registers)) => (trap, *registers),
            Ok(Event::Panicked(payload)) => resume_unwind(payload),
            Err(_) => panic!("the guest is gone"),
        }
    }

    /// Whether [`Coroutine::end`] was called.
    pub(crate) fn has_ended(&self) -> bool {
        lock(&self.ends).thread.is_none()
    }

    /// Unwinds the guest and waits for its thread.
    pub(crate) fn end(&self) {
        let (to_guest, thread) = {
            let mut ends = lock(&self.ends);
            (ends.to_guest.take(), ends.thread.take())
        };
        drop(to_guest);
        if let Some(thread) = thread {
            thread.join().expect("a guest's panics are caught");
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Processor {
    space: Arc<Space>,
    registers: Registers,
    thread_pointer: u64,
    extended: Vec<u8>,
    coroutine: Option<Arc<Coroutine>>,
}

impl Processor {
    pub(crate) fn new(space: Arc<Space>) -> Self {
        Self {
            space,
            registers: Registers::default(),
            thread_pointer: 0,
            extended: vec![0; EXTENDED_SIZE],
            coroutine: None,
        }
    }

    /// The coroutine; started by the code at the instruction pointer, also where that is a system
    /// call that is to be made again.
    fn coroutine(&mut self) -> Option<Arc<Coroutine>> {
        if let Some(coroutine) = &self.coroutine {
            return Some(Arc::clone(coroutine));
        }
        let machine = self.space.machine();
        let at = self.registers.instruction_pointer() as u64;
        let code = machine.code(at).or_else(|| machine.code(at + RESTART_LENGTH))?;
        let coroutine = Coroutine::start(&self.space, code);
        machine.adopt(&coroutine);
        self.coroutine = Some(Arc::clone(&coroutine));
        Some(coroutine)
    }
}

impl Context for Processor {
    fn registers(&mut self) -> &mut Registers {
        &mut self.registers
    }

    fn enter(&mut self, answer: Answer<'_>) -> (Trap, &mut Registers) {
        let address = self.registers.instruction_pointer();
        if address >= self.space.user_end() {
            return (Trap::Exception(Exception::Protection), &mut self.registers);
        }
        let Some(coroutine) = self.coroutine() else {
            let trap = self.space.fetch(address);
            self.space.machine().note(format_args!("{trap:?}"));
            return (trap, &mut self.registers);
        };
        loop {
            let (trap, registers) = coroutine.run(self.registers);
            self.registers = registers;
            let arguments = registers.arguments();
            self.space.machine().note(format_args!("{trap:?} {arguments:?}"));
            if trap != Trap::SystemCall || !answer(&mut self.registers) {
                return (trap, &mut self.registers);
            }
        }
    }

    fn thread_pointer(&mut self) -> u64 {
        self.thread_pointer
    }

    fn set_thread_pointer(&mut self, address: u64) {
        let inside = address < self.space.user_end() as u64;
        self.thread_pointer = if inside { address } else { 0 };
    }

    fn extended_state(&mut self) -> &[u8] {
        &self.extended
    }

    fn set_extended_state(&mut self, state: &[u8]) -> Result<(), BadState> {
        if state.len() != self.extended.len() {
            return Err(BadState);
        }
        self.extended.copy_from_slice(state);
        Ok(())
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        if let Some(coroutine) = self.coroutine.take() {
            coroutine.end();
        }
    }
}
