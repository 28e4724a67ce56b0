// SPDX-License-Identifier: MIT
//! A guest thread's life: enter user mode, see why it came back, do it, again.

use crate::exec::NewImage;
use crate::fs::FileTable;
use crate::memory::{BadAccess, Memory};
use crate::outcome::{Interrupt, Stop};
use crate::signal::{self, Settled, code};
use crate::sync::Alarm;
use crate::table;
use crate::task::{Call, ExitStatus, Progress, Quick, Thread, Work, exit};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::Poll;
use strongroom_abi::Errno;
use strongroom_abi::arch::{self, Registers};
use strongroom_south::{Context, Exception, Trap};

/// What a thread uses all the time, out of its locks.
struct Loaded {
    thread: Arc<Thread>,
    memory: Arc<Memory>,
    files: Arc<FileTable>,
    context: Box<dyn Context>,
    /// The call that the thread is in. Its arguments stay in the registers until it is done.
    number: usize,
    /// How far that call has got.
    progress: Progress,
}

/// The thread is ending.
struct Ending;

/// See the module's text. The future is done when the thread has ended.
pub(crate) async fn run(thread: Arc<Thread>, memory: Arc<Memory>, context: Box<dyn Context>) {
    let files = Arc::clone(&thread.files.lock());
    let mut loaded =
        Loaded { thread, memory, files, context, number: 0, progress: Progress::default() };
    loaded.thread.kernel.note_started();
    while loaded.live().await.is_ok() {}
    let Loaded { thread, memory, files, context, .. } = loaded;
    exit::end_thread(&thread, &memory);
    drop((context, files, memory));
    exit::finish_thread(&thread);
}

/// What calls need that are answered before user mode is left.
struct Desk<'a> {
    /// Made once for many calls.
    quick: Quick<'a>,
    thread: &'a Arc<Thread>,
    memory: &'a Arc<Memory>,
    files: &'a Arc<FileTable>,
    number: &'a mut usize,
    progress: &'a mut Progress,
}

impl Desk<'_> {
    /// Answers the call in the registers if that takes no more than a look.
    #[inline]
    fn answer_at_once(&self, registers: &mut Registers) -> bool {
        let value = table::answer_at_once(registers.number(), &self.quick, registers);
        if let Some(value) = value {
            registers.set_result(value);
        }
        value.is_some()
    }

    /// Serves the call in the registers; says whether user mode goes on at once, or what became of it.
    ///
    /// Apart, so that calls that are answered at once do not save the registers that this takes.
    #[inline(never)]
    fn serve_and_go_on(
        &mut self,
        registers: &mut Registers,
        served: &mut Option<Result<(), Stop>>,
    ) -> bool {
        let result = self.serve(registers);
        let goes_on = result.is_ok() && self.is_clear();
        if !goes_on {
            *served = Some(result);
        }
        goes_on
    }

    /// Serves the call in the registers. `Err` leaves them as they were.
    fn serve(&mut self, registers: &mut Registers) -> Result<(), Stop> {
        let number = registers.number();
        *self.number = number;
        self.progress.reset();
        let mut call = Call {
            kernel: self.thread.kernel,
            thread: self.thread,
            memory: self.memory,
            files: self.files,
            context: None,
            progress: self.progress,
            number,
            arguments: registers.arguments(),
        };
        match table::dispatch(number, &mut call) {
            Ok(value) => registers.set_result(value.cast_signed()),
            Err(Stop::Errno(errno)) => registers.set_result(errno.as_return()),
            Err(stop) => return Err(stop),
        }
        self.thread.reader.forget();
        Ok(())
    }

    /// Whether the thread has nothing to do but to go on.
    fn is_clear(&self) -> bool {
        self.thread.work().is_empty() && self.progress.image.is_none()
    }
}

/// Why user mode was left for longer than a call that is answered at once.
enum Halt {
    /// There is something to do before user mode is entered.
    Work,
    /// A trap other than a system call.
    Trap(Trap),
    /// A call has to wait.
    Wait(Stop),
    /// `execve` has replaced the program.
    Adopt(Box<NewImage>),
}

impl Loaded {
    /// Stays in user mode and answers calls until one of them has to wait.
    fn stay(&mut self) -> Halt {
        while self.thread.work().is_empty() {
            let (mut desk, context) = self.desk();
            let mut served = None;
            let (trap, _) = context.enter(&mut |registers| {
                desk.answer_at_once(registers) || desk.serve_and_go_on(registers, &mut served)
            });
            if trap != Trap::SystemCall {
                return Halt::Trap(trap);
            }
            match served.unwrap_or(Err(Stop::Context)) {
                Ok(()) => {}
                Err(Stop::Context) => match self.begin() {
                    Ok(value) => self.finish(value.cast_signed()),
                    Err(Stop::Errno(errno)) => self.finish(errno.as_return()),
                    Err(stop) => return Halt::Wait(stop),
                },
                Err(stop) => return Halt::Wait(stop),
            }
            if let Some(image) = self.progress.image.take() {
                return Halt::Adopt(image);
            }
        }
        Halt::Work
    }

    /// What answers calls while the thread's context is in user mode, and that context.
    fn desk(&mut self) -> (Desk<'_>, &mut dyn Context) {
        let Self { thread, memory, files, context, number, progress } = self;
        let quick = Quick { thread, memory, files };
        (Desk { quick, thread, memory, files, number, progress }, &mut **context)
    }

    /// The first attempt with the whole of the thread's state.
    fn begin(&mut self) -> Result<usize, Stop> {
        self.number = self.context.registers().number();
        self.progress.reset();
        self.attempt()
    }

    /// One stay in user mode and what it led to.
    async fn live(&mut self) -> Result<(), Ending> {
        match self.stay() {
            Halt::Work => self.attend().await,
            Halt::Wait(stop) => {
                self.slow(stop).await?;
                // An end of a FIFO that found no partner goes with the call.
                self.progress.fifo = None;
                if let Some(image) = self.progress.image.take() {
                    self.adopt(*image);
                }
                Ok(())
            }
            Halt::Adopt(image) => {
                self.adopt(*image);
                Ok(())
            }
            Halt::Trap(Trap::PageFault { address, write, fetch }) => {
                self.page(address, write, fetch).await
            }
            Halt::Trap(Trap::Exception(exception)) => {
                let at = self.context.registers().instruction_pointer();
                self.exception(exception, at);
                Ok(())
            }
            Halt::Trap(Trap::Interrupt | Trap::SystemCall) => {
                self.thread.user_ns.fetch_add(TICK_NS, Ordering::Relaxed);
                self.thread.kernel.interrupt();
                yield_now(&self.thread).await;
                Ok(())
            }
        }
    }

    #[inline]
    fn attempt(&mut self) -> Result<usize, Stop> {
        let arguments = self.context.registers().arguments();
        let mut call = Call {
            kernel: self.thread.kernel,
            thread: &self.thread,
            memory: &self.memory,
            files: &self.files,
            context: Some(&mut *self.context),
            progress: &mut self.progress,
            number: self.number,
            arguments,
        };
        table::dispatch(self.number, &mut call)
    }

    #[inline]
    fn finish(&mut self, value: isize) {
        self.context.registers().set_result(value);
        self.thread.reader.forget();
    }

    /// Waits and attempts again, until the call is done or interrupted.
    async fn slow(&mut self, mut stop: Stop) -> Result<(), Ending> {
        let mut turns = 0_u32;
        loop {
            match stop {
                Stop::Errno(errno) => {
                    self.finish(errno.as_return());
                    break;
                }
                Stop::Turn | Stop::Context => {
                    turns += 1;
                    if turns.is_multiple_of(TURNS_PER_PUMP) {
                        // No tick comes while the kernel works: the host is served all the same.
                        self.thread.kernel.interrupt();
                    }
                    yield_now(&self.thread).await;
                }
                Stop::Page(fault) => {
                    if self.bring_in(fault.address, fault.write, false).await?.is_err() {
                        if self.progress.bad_address == Some(fault.address) {
                            self.finish(Errno::EFAULT.as_return());
                            break;
                        }
                        // Once more: the call may do with less, or has its own answer.
                        self.progress.bad_address = Some(fault.address);
                    }
                }
                Stop::Sleep(interrupt) => {
                    match self.progress.deadline_ns {
                        None => Park::default().await,
                        Some(deadline_ns) => sleep(&self.thread, deadline_ns).await,
                    }
                    let idle = self.thread.work().is_empty();
                    if idle && self.progress.queued && !self.is_queued() {
                        self.finish(0);
                        break;
                    }
                    if interrupt != Interrupt::Never
                        && !idle
                        && let Some(restart) = self.interrupted().await?
                    {
                        if !self.completes().await? {
                            let restart = restart && interrupt == Interrupt::Restart;
                            self.abandon(restart);
                        }
                        break;
                    }
                }
            }
            if self.thread.work().contains(Work::EXIT) {
                self.leave_queues();
                return Err(Ending);
            }
            self.progress.woken = true;
            self.thread.reader.rewind();
            match self.attempt() {
                Ok(value) => {
                    self.finish(value.cast_signed());
                    break;
                }
                Err(again) => stop = again,
            }
        }
        Ok(())
    }

    /// Goes on as the program that `execve` has committed to.
    fn adopt(&mut self, image: NewImage) {
        self.memory = image.memory;
        self.context = image.context;
        self.files = Arc::clone(&self.thread.files.lock());
    }

    /// Whether a call that a signal would interrupt can be finished after all, or finishes by
    /// itself now that it is told.
    async fn completes(&mut self) -> Result<bool, Ending> {
        self.progress.woken = true;
        self.progress.interrupted = true;
        loop {
            self.thread.reader.rewind();
            match self.attempt() {
                Ok(value) => self.finish(value.cast_signed()),
                Err(Stop::Errno(errno)) => self.finish(errno.as_return()),
                Err(Stop::Page(fault)) => {
                    if self.bring_in(fault.address, fault.write, false).await?.is_ok() {
                        continue;
                    }
                    self.finish(Errno::EFAULT.as_return());
                }
                Err(Stop::Sleep(_) | Stop::Turn | Stop::Context) => return Ok(false),
            }
            return Ok(true);
        }
    }

    /// A handler interrupts the call.
    fn abandon(&mut self, restart: bool) {
        self.leave_queues();
        self.thread.reader.forget();
        if self.progress.done > 0 {
            self.context.registers().set_result(self.progress.done.cast_signed());
        } else if restart {
            self.context.registers().restart(self.number);
        } else {
            self.context.registers().set_result(Errno::EINTR.as_return());
        }
    }

    /// Whether the thread is in a futex's queue.
    #[inline]
    fn is_queued(&self) -> bool {
        self.thread.kernel.futexes.is_waiting(&self.thread)
    }

    fn leave_queues(&self) {
        self.thread.kernel.futexes.forget(&self.thread);
        self.thread.kernel.locks.forget(self.thread.key);
    }

    /// After a sleep: whether a handler has to be called, and if so whether it restarts calls.
    async fn interrupted(&mut self) -> Result<Option<bool>, Ending> {
        match self.settle().await? {
            Settled::Handler { restart } => Ok(Some(restart)),
            Settled::Nothing | Settled::Stopped | Settled::Ended => Ok(None),
        }
    }

    /// Acts upon signals until a handler or nothing is left; sits out stops.
    async fn settle(&mut self) -> Result<Settled, Ending> {
        loop {
            match signal::settle(&self.thread) {
                Settled::Ended => return Err(Ending),
                Settled::Stopped => Park::default().await,
                other @ (Settled::Nothing | Settled::Handler { .. }) => return Ok(other),
            }
        }
    }

    /// Does what has to be done before user mode is entered.
    async fn attend(&mut self) -> Result<(), Ending> {
        if self.thread.work().contains(Work::RELOAD) {
            self.thread.clear_work(Work::RELOAD);
            self.files = Arc::clone(&self.thread.files.lock());
        }
        while let Settled::Handler { .. } = self.settle().await? {
            match signal::deliver(&self.thread, &self.memory, &mut *self.context) {
                Ok(()) => {}
                Err(Stop::Page(fault)) => {
                    if self.bring_in(fault.address, fault.write, false).await?.is_err() {
                        signal::stack_overflow(&self.thread);
                    }
                }
                Err(Stop::Errno(_) | Stop::Sleep(_) | Stop::Turn | Stop::Context) => {
                    return Err(Ending);
                }
            }
        }
        let restored = self.thread.signals.lock().saved_mask.take();
        if let Some(mask) = restored {
            self.thread.signals.lock().mask = mask;
            self.thread.add_work(Work::SIGNAL);
        }
        Ok(())
    }

    /// Resolves a page fault of user mode, or sends the signal for it.
    async fn page(&mut self, address: usize, write: bool, fetch: bool) -> Result<(), Ending> {
        let outcome = self.bring_in(address, write, fetch).await?;
        self.thread.reader.forget();
        let Err(bad) = outcome else { return Ok(()) };
        let info = match bad {
            BadAccess::Unmapped => signal::info_at(signal::SIGSEGV, code::UNMAPPED, address),
            BadAccess::Forbidden => signal::info_at(signal::SIGSEGV, code::FORBIDDEN, address),
            BadAccess::NoData => signal::info_at(signal::SIGBUS, code::NO_DATA, address),
            BadAccess::NoMemory => {
                let process = &self.thread.process;
                process
                    .kernel
                    .report(format_args!("out of memory: process {} is killed", process.pid));
                process.end(ExitStatus::Signal(signal::SIGKILL));
                return Err(Ending);
            }
        };
        signal::force(&self.thread, info);
        Ok(())
    }

    async fn bring_in(
        &mut self,
        address: usize,
        write: bool,
        fetch: bool,
    ) -> Result<Result<(), BadAccess>, Ending> {
        loop {
            match self.memory.resolve(&self.thread, address, write, fetch) {
                Ok(outcome) => return Ok(outcome),
                Err(Stop::Errno(_)) => return Ok(Err(BadAccess::NoData)),
                Err(Stop::Sleep(_)) => Park::default().await,
                Err(Stop::Turn | Stop::Page(_) | Stop::Context) => yield_now(&self.thread).await,
            }
            if self.thread.work().contains(Work::EXIT) {
                return Err(Ending);
            }
            self.thread.reader.rewind();
        }
    }

    fn exception(&mut self, exception: Exception, at: usize) {
        let (number, code) = match exception {
            Exception::IntegerDivide => (signal::SIGFPE, code::INTEGER_DIVIDE),
            Exception::FloatingPoint => {
                let registers = *self.context.registers();
                let state = self.context.extended_state();
                match arch::float_exception_code(&registers, state) {
                    Some(code) => (signal::SIGFPE, code),
                    None => return,
                }
            }
            Exception::IllegalInstruction => (signal::SIGILL, code::ILLEGAL_OPERAND),
            Exception::Breakpoint => (signal::SIGTRAP, code::KERNEL),
            Exception::Step => (signal::SIGTRAP, code::TRACE),
            Exception::Alignment => (signal::SIGBUS, code::MISALIGNED),
            Exception::Protection => {
                signal::force(&self.thread, signal::info_kernel(signal::SIGSEGV));
                return;
            }
        };
        let at = if exception == Exception::Breakpoint { 0 } else { at };
        signal::force(&self.thread, signal::info_at(number, code, at));
    }
}

/// Sleeps until woken, or until a time.
async fn sleep(thread: &Arc<Thread>, deadline_ns: u64) {
    let me: Weak<Thread> = Arc::downgrade(thread);
    let key = thread.kernel.timers.set(deadline_ns, me);
    Park::default().await;
    thread.kernel.timers.cancel(key);
}

/// Turns of a long call after which the platform is let in.
const TURNS_PER_PUMP: u32 = 4;

/// Processor time between two ticks of the platform, for accounting.
const TICK_NS: u64 = 4_000_000;

impl Alarm for Thread {
    fn ring(self: Arc<Self>, _now_ns: u64) {
        self.kernel.scheduler.wake(self.key);
    }
}

/// Pending once; the scheduler polls again when somebody has woken the thread.
#[derive(Default)]
struct Park {
    asleep: bool,
}

impl Future for Park {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut core::task::Context<'_>) -> Poll<()> {
        if self.asleep {
            return Poll::Ready(());
        }
        self.asleep = true;
        Poll::Pending
    }
}

/// Lets others run first.
async fn yield_now(thread: &Thread) {
    thread.kernel.scheduler.wake(thread.key);
    Park::default().await;
}
