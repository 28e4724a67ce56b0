// SPDX-License-Identifier: MIT
//! The machine: frames, clock, entropy, log, and the programs it can run.

use crate::frames::FrameTable;
use crate::guest::{Code, Guest, Signalled};
use crate::numbers::Numbers;
use crate::processor::Coroutine;
use crate::space::Space;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use strongroom_south::{
    AttestingEnvironment, Clock, Entropy, EntropyFailed, Form, Frame, FrameCounts, Frames, Log,
    Machine as SouthMachine, OutOfMemory, PAGE_SIZE, PlacedObject, SecurityProcessor,
    Space as SouthSpace,
};

/// Operations of guests after which a test is taken to hang.
const OPERATIONS_MAX: u64 = 20_000_000;
/// Traps of guests after which a test is taken to hang.
const TRAPS_MAX: usize = 400_000;
/// First address of made-up code: above what a linker uses.
const CODE_START: u64 = 0x4000_0001;
/// Between two addresses of made-up code; longer than a system call instruction.
const CODE_STEP: u64 = 16;
/// What kernel and platform use themselves, made up.
const OVERHEAD: usize = 1 << 20;

/// Locks, also after a test has failed while it held the lock.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a machine is like.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// Its kind of address space.
    pub form: Form,
    /// How many frames it has.
    pub frames: usize,
    /// Decides when interrupts come, and what the entropy is.
    pub seed: u64,
    /// Guest operations from one interrupt to the next, on average; 0 is never.
    pub tick: u64,
    /// Nanoseconds that an operation of a guest takes.
    pub operation_ns: u64,
}

impl Default for Configuration {
    fn default() -> Self {
        Self { form: Form::Paged, frames: 8192, seed: 1, tick: 0, operation_ns: 0 }
    }
}

#[derive(Debug)]
struct Ticks {
    numbers: Numbers,
    operations: u64,
    next: u64,
}

/// See the module's text.
pub struct Machine {
    configuration: Configuration,
    /// Spaces refer to their machine.
    this: OnceLock<&'static Self>,
    pub(crate) frames: Mutex<FrameTable>,
    now_ns: AtomicU64,
    entropy: Mutex<Numbers>,
    entropy_fails: AtomicBool,
    heap_is_short: AtomicBool,
    maps_left: AtomicU64,
    flat_given: AtomicBool,
    ticks: Mutex<Ticks>,
    next_code: AtomicU64,
    code: Mutex<BTreeMap<u64, Code>>,
    coroutines: Mutex<Vec<Arc<Coroutine>>>,
    placed: OnceLock<Vec<PlacedObject>>,
    /// The placed objects' bytes, by page.
    pub(crate) placed_pages: Mutex<BTreeMap<usize, Vec<u8>>>,
    security_processor: OnceLock<Box<dyn SecurityProcessor>>,
    attesting_environment: OnceLock<Box<dyn AttestingEnvironment>>,
    log: Mutex<Vec<String>>,
    trace: Mutex<Vec<String>>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Machine")
            .field("configuration", &self.configuration)
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// A machine. It lives for ever, as the kernel demands; [`Machine::stop`] ends its threads.
    pub fn new(configuration: Configuration) -> &'static Self {
        let mut numbers = Numbers::new(configuration.seed);
        let next = first_tick(&mut numbers, configuration.tick);
        let machine: &'static Self = Box::leak(Box::new(Self {
            configuration,
            this: OnceLock::new(),
            frames: Mutex::new(FrameTable::new(configuration.frames)),
            now_ns: AtomicU64::new(1_000_000),
            entropy: Mutex::new(Numbers::new(!configuration.seed)),
            entropy_fails: AtomicBool::new(false),
            heap_is_short: AtomicBool::new(false),
            maps_left: AtomicU64::new(u64::MAX),
            flat_given: AtomicBool::new(false),
            ticks: Mutex::new(Ticks { numbers, operations: 0, next }),
            next_code: AtomicU64::new(CODE_START),
            code: Mutex::default(),
            coroutines: Mutex::default(),
            placed: OnceLock::new(),
            placed_pages: Mutex::default(),
            security_processor: OnceLock::new(),
            attesting_environment: OnceLock::new(),
            log: Mutex::default(),
            trace: Mutex::default(),
        }));
        machine.this.get_or_init(|| machine)
    }

    /// Makes it a machine that cannot make memory executable, and has placed these objects with
    /// these bytes at the start of their ranges. Called before it has a space.
    ///
    /// # Panics
    ///
    /// When it is called twice.
    pub fn place(&self, objects: Vec<(PlacedObject, Vec<u8>)>) {
        let mut pages = lock(&self.placed_pages);
        for (object, bytes) in &objects {
            let numbers = object.range.start / PAGE_SIZE..object.range.end.div_ceil(PAGE_SIZE);
            for (number, index) in numbers.zip(0..) {
                let page = bytes.chunks(PAGE_SIZE).nth(index).unwrap_or_default();
                pages.insert(number, page.to_vec());
            }
        }
        let objects = objects.into_iter().map(|(object, _)| object).collect();
        self.placed.set(objects).expect("objects are placed once");
    }

    /// Gives it a security processor. A kernel that was booted before has no devices for it.
    ///
    /// # Panics
    ///
    /// When it is called twice.
    pub fn give_security_processor(&self, processor: impl SecurityProcessor + 'static) {
        let given = self.security_processor.set(Box::new(processor));
        assert!(given.is_ok(), "a machine has one security processor");
    }

    /// Gives it something else that vouches for it.
    ///
    /// # Panics
    ///
    /// When it is called twice.
    pub fn give_attesting_environment(&self, environment: impl AttestingEnvironment + 'static) {
        let given = self.attesting_environment.set(Box::new(environment));
        assert!(given.is_ok(), "a machine has one attesting environment");
    }

    /// Moves the clock on.
    pub fn advance(&self, nanoseconds: u64) {
        self.now_ns.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Moves the clock to a time, unless that has passed.
    pub fn advance_to(&self, time_ns: u64) {
        self.now_ns.fetch_max(time_ns, Ordering::Relaxed);
    }

    /// Makes the source of entropy fail, or work again.
    pub fn fail_entropy(&self, fails: bool) {
        self.entropy_fails.store(fails, Ordering::Relaxed);
    }

    /// Makes the kernel's own memory short, or long enough again.
    pub fn make_heap_short(&self, short: bool) {
        self.heap_is_short.store(short, Ordering::Relaxed);
    }

    /// Makes page tables run out after so many more pages were mapped.
    pub fn limit_maps(&self, more: u64) {
        self.maps_left.store(more, Ordering::Relaxed);
    }

    /// Lines of the kernel's debug log.
    pub fn log_lines(&self) -> Vec<String> {
        lock(&self.log).clone()
    }

    /// Every trap of every guest, in order.
    pub fn trace(&self) -> Vec<String> {
        lock(&self.trace).clone()
    }

    /// Registers a program under the address at which it starts; what it returns is its exit code.
    pub fn program(&self, entry: u64, body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static) {
        lock(&self.code).insert(entry, Code::Program(Arc::new(body)));
    }

    /// Registers a function that the kernel can be told to call for a signal; returns its address.
    pub fn handler(&self, body: impl Fn(&mut Guest, Signalled) + Send + Sync + 'static) -> usize {
        let address = self.next_code();
        lock(&self.code).insert(address, Code::Handler(Arc::new(body)));
        address as usize
    }

    /// Ends all guests, at the end of a test.
    pub fn stop(&self) {
        let coroutines = std::mem::take(&mut *lock(&self.coroutines));
        coroutines.iter().for_each(|coroutine| coroutine.end());
    }

    /// Whether an address lies in a part of a placed object that can be written.
    pub(crate) fn is_placed_writable(&self, address: usize) -> bool {
        let objects = self.placed.get().map(Vec::as_slice).unwrap_or_default();
        objects.iter().flat_map(|object| &object.writable).any(|range| range.contains(&address))
    }

    pub(crate) fn adopt(&self, coroutine: &Arc<Coroutine>) {
        let mut coroutines = lock(&self.coroutines);
        coroutines.retain(|other| !other.has_ended());
        coroutines.push(Arc::clone(coroutine));
    }

    /// An address of code that is used once: where a guest goes on after a trap.
    pub(crate) fn next_code(&self) -> u64 {
        self.next_code.fetch_add(CODE_STEP, Ordering::Relaxed)
    }

    pub(crate) fn add_code(&self, address: u64, code: Code) {
        lock(&self.code).insert(address, code);
    }

    pub(crate) fn remove_code(&self, address: u64) {
        lock(&self.code).remove(&address);
    }

    /// What starts at an address. A forked child's code can be had once.
    pub(crate) fn code(&self, address: u64) -> Option<Code> {
        let mut code = lock(&self.code);
        match code.get(&address)? {
            Code::Program(body) => Some(Code::Program(Arc::clone(body))),
            Code::Handler(body) => Some(Code::Handler(Arc::clone(body))),
            Code::Child(_) => code.remove(&address),
        }
    }

    pub(crate) fn note(&self, event: fmt::Arguments<'_>) {
        let mut trace = lock(&self.trace);
        assert!(trace.len() < TRAPS_MAX, "the guests trap for ever: {event}");
        trace.push(event.to_string());
    }

    /// Counts an operation of a guest; whether an interrupt comes before it.
    pub(crate) fn tick(&self) -> bool {
        self.advance(self.configuration.operation_ns);
        let mut ticks = lock(&self.ticks);
        ticks.operations += 1;
        assert!(ticks.operations < OPERATIONS_MAX, "the guests go on for ever");
        if ticks.operations < ticks.next {
            return false;
        }
        let step = 1 + ticks.numbers.below(2 * self.configuration.tick);
        ticks.next = ticks.operations + step;
        true
    }

    pub(crate) fn refuses_map(&self) -> bool {
        let left = self.maps_left.load(Ordering::Relaxed);
        if left != u64::MAX && left > 0 {
            self.maps_left.store(left - 1, Ordering::Relaxed);
        }
        left == 0
    }
}

fn first_tick(numbers: &mut Numbers, tick: u64) -> u64 {
    if tick == 0 { u64::MAX } else { 1 + numbers.below(2 * tick) }
}

impl SouthMachine for Machine {
    fn form(&self) -> Form {
        self.configuration.form
    }

    fn new_space(&self) -> Result<Arc<dyn SouthSpace>, OutOfMemory> {
        if self.form() == Form::Flat && self.flat_given.swap(true, Ordering::Relaxed) {
            return Err(OutOfMemory);
        }
        let machine = self.this.get().ok_or(OutOfMemory)?;
        Ok(Arc::new(Space::new(machine, self.form())))
    }

    fn placed(&self) -> Option<&[PlacedObject]> {
        self.placed.get().map(Vec::as_slice)
    }

    fn is_heap_short(&self) -> bool {
        self.heap_is_short.load(Ordering::Relaxed)
    }

    fn security_processor(&self) -> Option<&dyn SecurityProcessor> {
        self.security_processor.get().map(Box::as_ref)
    }

    fn attesting_environment(&self) -> Option<&dyn AttestingEnvironment> {
        self.attesting_environment.get().map(Box::as_ref)
    }
}

impl Frames for Machine {
    fn allocate(&self) -> Option<Frame> {
        lock(&self.frames).allocate()
    }
    fn retain(&self, frame: Frame) {
        lock(&self.frames).retain(frame);
    }
    fn release(&self, frame: Frame) {
        lock(&self.frames).release(frame);
    }
    fn references(&self, frame: Frame) -> u32 {
        lock(&self.frames).references(frame)
    }
    fn read(&self, frame: Frame, offset: usize, to: &mut [u8]) {
        lock(&self.frames).read(frame, offset, to);
    }
    fn write(&self, frame: Frame, offset: usize, from: &[u8]) {
        lock(&self.frames).write(frame, offset, from);
    }
    fn clear(&self, frame: Frame, range: Range<usize>) {
        lock(&self.frames).clear(frame, range);
    }
    fn duplicate(&self, from: Frame, to: Frame) {
        let mut frames = lock(&self.frames);
        let bytes: [u8; PAGE_SIZE] = *frames.page(from);
        *frames.page(to) = bytes;
    }
    fn counts(&self) -> FrameCounts {
        lock(&self.frames).counts()
    }
    fn overhead(&self) -> usize {
        OVERHEAD
    }
}

impl Clock for Machine {
    fn monotonic_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }
}

impl Entropy for Machine {
    fn fill_entropy(&self, buffer: &mut [u8]) -> Result<(), EntropyFailed> {
        if self.entropy_fails.load(Ordering::Relaxed) {
            return Err(EntropyFailed);
        }
        lock(&self.entropy).fill(buffer);
        Ok(())
    }
}

impl Log for Machine {
    fn log(&self, line: fmt::Arguments<'_>) {
        lock(&self.log).push(line.to_string());
    }
}
