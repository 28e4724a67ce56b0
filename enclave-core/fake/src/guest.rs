// SPDX-License-Identifier: MIT
//! A guest program at work: traps, and what the kernel makes of the registers in between.

use crate::machine::Machine;
use crate::processor::{Event, Gone};
use crate::registers::{
    RESTART_LENGTH, handler_arguments, leave_handler, marker, set_call, set_code, set_marker,
};
use crate::space::Space;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use strongroom_abi::Sysno;
use strongroom_abi::arch::{self, Registers};
use strongroom_south::{Exception, Fault, Form, Space as _, Trap};

/// Operations of [`Guest::spin`] between two looks at its condition.
const SPIN: u64 = 1;

type Program = dyn Fn(&mut Guest) -> u8 + Send + Sync;
type Handler = dyn Fn(&mut Guest, Signalled) + Send + Sync;
type Child = dyn FnOnce(&mut Guest) -> u8 + Send;

/// What is found at an address of code.
pub(crate) enum Code {
    /// A program starts here.
    Program(Arc<Program>),
    /// A signal handler.
    Handler(Arc<Handler>),
    /// Where a child goes on after the call that made it.
    Child(Box<Child>),
}

/// A handler's arguments, in the registers of the calling convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signalled {
    /// The signal's number.
    pub signal: u64,
    /// Address of the `siginfo_t`.
    pub info: usize,
    /// Address of the `ucontext_t`.
    pub context: usize,
}

/// A running guest thread, as its program sees it.
#[derive(Debug)]
pub struct Guest {
    space: Arc<Space>,
    registers: Registers,
    events: Sender<Event>,
    resumed: Receiver<Box<Registers>>,
}

impl Guest {
    pub(crate) fn new(
        space: Arc<Space>,
        events: Sender<Event>,
        resumed: Receiver<Box<Registers>>,
    ) -> Self {
        Self { space, registers: Registers::default(), events, resumed }
    }

    /// Runs a program or a child to its end. A child may be signalled before it has begun.
    pub(crate) fn live(&mut self, mut code: Code) {
        self.resume();
        let status = loop {
            match code {
                Code::Program(body) => break body(self),
                Code::Child(body) => break body(self),
                Code::Handler(body) => self.handle(&*body),
            }
            self.resume();
            let at = self.registers.instruction_pointer() as u64;
            code = self.machine().code(at).expect("a handler returns to code");
        };
        self.call(Sysno::ExitGroup, [usize::from(status)]);
        panic!("exit_group returned");
    }

    /// The machine.
    pub fn machine(&self) -> &'static Machine {
        self.space.machine()
    }

    /// The machine's kind of address space.
    pub fn form(&self) -> Form {
        self.space.form()
    }

    /// The stack pointer.
    pub fn stack_pointer(&self) -> usize {
        self.registers.stack_pointer()
    }

    /// Sets the stack pointer.
    pub fn set_stack_pointer(&mut self, address: usize) {
        self.registers.set_stack_pointer(address);
    }

    /// Keeps a value in a register that calls and handlers leave alone.
    pub fn set_marker(&mut self, value: u64) {
        set_marker(&mut self.registers, value);
    }

    /// What is in the register of [`Guest::set_marker`].
    pub fn marker(&self) -> u64 {
        marker(&self.registers)
    }

    /// Makes a system call; missing arguments are 0. Negative results are errno values.
    ///
    /// # Panics
    ///
    /// When the call does not exist on this processor.
    pub fn call<const COUNT: usize>(&mut self, call: Sysno, arguments: [usize; COUNT]) -> isize {
        let number = arch::number_of(call).expect("the call exists on this processor");
        let mut all = [0; 6];
        all.iter_mut().zip(arguments).for_each(|(to, from)| *to = from);
        self.call_number(usize::from(number), all)
    }

    /// Makes a system call by number.
    pub fn call_number(&mut self, number: usize, arguments: [usize; 6]) -> isize {
        self.step();
        set_call(&mut self.registers, number, arguments);
        self.trap(Trap::SystemCall);
        self.registers.result().cast_signed()
    }

    /// Makes a call that makes a thread or process; `child` is what that does. The result is the
    /// parent's.
    pub fn call_with_child<const COUNT: usize>(
        &mut self,
        call: Sysno,
        arguments: [usize; COUNT],
        child: impl FnOnce(&mut Self) -> u8 + Send + 'static,
    ) -> isize {
        self.step();
        let number = arch::number_of(call).expect("the call exists on this processor");
        let mut all = [0; 6];
        all.iter_mut().zip(arguments).for_each(|(to, from)| *to = from);
        set_call(&mut self.registers, usize::from(number), all);
        let machine = self.machine();
        let next = machine.next_code();
        machine.add_code(next, Code::Child(Box::new(child)));
        self.trap_to(Trap::SystemCall, next);
        let result = self.registers.result().cast_signed();
        if result < 0 {
            machine.remove_code(next);
        }
        result
    }

    /// Spends time in user mode until `done`.
    pub fn spin(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        while !done(self) {
            (0..SPIN).for_each(|_| self.step());
        }
    }

    /// Loads bytes; page faults are the kernel's business.
    pub fn load(&mut self, address: usize, to: &mut [u8]) {
        self.step();
        while let Err(fault) = self.space.load(address, to) {
            self.fault(fault);
        }
    }

    /// Stores bytes.
    pub fn store(&mut self, address: usize, bytes: &[u8]) {
        self.step();
        while let Err(fault) = self.space.store(address, bytes) {
            self.fault(fault);
        }
    }

    /// Stores `new` into an aligned word if it holds `old`, as one operation; returns what it held.
    pub fn exchange_u32(&mut self, address: usize, old: u32, new: u32) -> u32 {
        self.step();
        loop {
            match self.space.compare_exchange_u32(address, old, new) {
                Ok(held) => return held,
                Err(fault) => self.fault(fault),
            }
        }
    }

    /// Raises a processor exception.
    pub fn raise(&mut self, exception: Exception) {
        self.trap(Trap::Exception(exception));
    }

    fn fault(&mut self, fault: Fault) {
        let Fault { address, write } = fault;
        self.trap(match self.form() {
            Form::Paged => Trap::PageFault { address, write, fetch: false },
            // The processor belongs to the application around: it can only be told of a crash.
            Form::Flat => Trap::Exception(Exception::Protection),
        });
    }

    /// An operation: a tick may come before it.
    fn step(&mut self) {
        if self.machine().tick() {
            self.trap(Trap::Interrupt);
        }
    }

    fn trap(&mut self, trap: Trap) {
        let next = self.machine().next_code();
        self.trap_to(trap, next);
    }

    /// Traps; returns when the kernel lets the code at `next` go on.
    fn trap_to(&mut self, trap: Trap, next: u64) {
        set_code(&mut self.registers, next);
        self.send(trap);
        self.resume();
        self.settle(next);
    }

    /// Does what the registers say until they say `next`.
    fn settle(&mut self, next: u64) {
        loop {
            let at = self.registers.instruction_pointer() as u64;
            if at == next {
                return;
            }
            if at == next - RESTART_LENGTH {
                set_code(&mut self.registers, next);
                self.send(Trap::SystemCall);
            } else if let Some(Code::Handler(body)) = self.machine().code(at) {
                self.handle(&*body);
            } else {
                self.send(self.space.fetch(at as usize));
            }
            self.resume();
        }
    }

    /// Runs a handler on the frame that the kernel has built, then asks to return from it.
    fn handle(&mut self, body: &Handler) {
        let [signal, info, context] = handler_arguments(&self.registers);
        let stack = self.registers.stack_pointer();
        body(self, Signalled { signal, info: info as usize, context: context as usize });
        self.registers.set_stack_pointer(stack);
        leave_handler(&mut self.registers);
        let number = arch::number_of(Sysno::RtSigreturn).expect("exists everywhere");
        set_call(&mut self.registers, usize::from(number), [0; 6]);
        let next = self.machine().next_code();
        set_code(&mut self.registers, next);
        self.send(Trap::SystemCall);
    }

    fn send(&self, trap: Trap) {
        if self.events.send(Event::Trap(trap, Box::new(self.registers))).is_err() {
            resume_unwind(Box::new(Gone));
        }
    }

    fn resume(&mut self) {
        match self.resumed.recv() {
            Ok(registers) => self.registers = *registers,
            Err(_) => resume_unwind(Box::new(Gone)),
        }
    }
}
