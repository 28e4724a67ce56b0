// SPDX-License-Identifier: MIT
//! Entering the program and coming back.
//!
//! Both run in S-EL0, so entering is a branch and a system call is a call: the stub that stands for
//! an `svc` branches to a gate, which stores all registers in the thread's [`Frame`] and goes back
//! to whoever entered. The way back to the program needs no free register where the program stopped
//! at a stub: the stub's own last instruction is the branch to the next instruction. Anywhere else,
//! which is where programs, threads' handlers and `sigreturn` to a changed address begin, `x17` holds
//! the address; a function's start may not count on it (AAPCS64, 6.1.1).

use super::clock;
use super::memory;
use super::package::{self, Sites};
use core::arch::global_asm;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use spin::Mutex;
use strongroom_abi::arch::Registers;
use strongroom_optee_package::{Action, STUB_LENGTH, Site, find};
use strongroom_south::{Answer, BadState, Context, Exception, Trap};

global_asm!(include_str!("gates.s"));

/// FPSR, FPCR and the vector registers.
const EXTENDED: usize = 520;
/// Bytes of an instruction.
const WORD: u64 = 4;
/// From a stub's start to where its gate returns.
const RETURN: usize = 8;

/// Times that programs are entered from one interrupt to the next, at most. No timer interrupts
/// them: without this, one that makes system calls all the time would keep others, and the host,
/// waiting.
const ENTRIES_PER_TICK: u32 = 2048;

/// Entries since the last interrupt.
static ENTRIES: AtomicU32 = AtomicU32::new(0);

/// It is time for an interrupt.
pub(super) fn interrupt() {
    ENTRIES.store(ENTRIES_PER_TICK, Ordering::Relaxed);
}

/// Counts an entry; says whether it is time for an interrupt instead.
fn is_due() -> bool {
    // One thread counts.
    let entries = ENTRIES.load(Ordering::Relaxed);
    ENTRIES.store(entries.wrapping_add(1), Ordering::Relaxed);
    entries >= ENTRIES_PER_TICK
}

/// What the gate of system calls asks first: whether the call in the frame is answered. The
/// registers that a function has to keep are not in the frame then, and no call is answered by them.
///
/// # Safety
///
/// `frame` is that of the thread which `strongroom_enter` runs at this moment.
#[unsafe(no_mangle)]
unsafe extern "C" fn strongroom_answer(frame: *mut Frame) -> bool {
    if is_due() {
        return false;
    }
    clock::touch();
    // SAFETY: the frame is live, and `FlatContext::enter` does not touch it while the program runs.
    let frame = unsafe { &mut *frame };
    let answer: *mut Answer<'_> = ptr::with_exposed_provenance_mut(frame.answer);
    // SAFETY: `FlatContext::enter`, which has not returned, keeps it for this and does not use it.
    let answer = unsafe { &mut *answer };
    answer(&mut frame.registers)
}

/// What a gate says.
const CALL: u64 = 0;
const PAUSE: u64 = 1;
const COUNTER: u64 = 3;

/// A thread's processor state. `gates.s` knows the layout.
#[repr(C, align(16))]
struct Frame {
    registers: Registers,
    thread_pointer: u64,
    extended: [u8; EXTENDED],
    /// Where the gate returns to: in a stub.
    return_to: u64,
    /// Of the library OS, while the program runs.
    kernel_stack: u64,
    kernel_thread_pointer: u64,
    /// Address of what answers calls at once, an [`Answer`], while the program runs.
    answer: usize,
}

impl Frame {
    const EMPTY: Self = Self {
        registers: Registers { x: [0; 31], sp: 0, pc: 0, pstate: 0 },
        thread_pointer: 0,
        extended: [0; EXTENDED],
        return_to: 0,
        kernel_stack: 0,
        kernel_thread_pointer: 0,
        answer: 0,
    };
}

const _: () = assert!(core::mem::offset_of!(Frame, thread_pointer) == 272);
const _: () = assert!(core::mem::offset_of!(Frame, extended) == 280);
const _: () = assert!(core::mem::offset_of!(Frame, return_to) == 800);
const _: () = assert!(core::mem::offset_of!(Frame, kernel_stack) == 808);
const _: () = assert!(core::mem::offset_of!(Frame, kernel_thread_pointer) == 816);

unsafe extern "C" {
    /// Stores the vector registers in a frame. See `gates.s`.
    fn strongroom_save_vectors(frame: *mut Frame);
    /// Loads them from a frame.
    fn strongroom_load_vectors(frame: *const Frame);
    /// Runs a thread until it comes through a gate; which one. See `gates.s`.
    fn strongroom_enter(frame: *mut Frame) -> u64;
    /// Where the gate returns to for a place that has no stub. Not a function to be called.
    fn strongroom_anywhere();
    /// Makes the system call `rt_sigreturn`. Not a function to be called.
    fn strongroom_signal_return();
}

/// Whose vector registers are in the processor; null for those of who has called the library OS.
static OWNER: AtomicPtr<Frame> = AtomicPtr::new(ptr::null_mut());
/// The caller's, while a thread's are there: a function has to keep some.
static CALLER: Mutex<Frame> = Mutex::new(Frame::EMPTY);

/// Gives the vector registers to a thread, or back to the caller.
fn give_vectors(to: *mut Frame) {
    let from = OWNER.swap(to, Ordering::Relaxed);
    let mut caller = CALLER.lock();
    let caller = &raw mut *caller;
    let frame_of = |owner: *mut Frame| if owner.is_null() { caller } else { owner };
    // SAFETY: an owner is a live frame, see `drop`; the caller's is locked.
    unsafe { strongroom_save_vectors(frame_of(from)) };
    // SAFETY: as above, and all values are good for these registers.
    unsafe { strongroom_load_vectors(frame_of(to)) };
}

/// Before the library OS returns to OP-TEE: what a thread has in the processor goes to its frame.
pub(crate) fn give_back_vectors() {
    if !OWNER.load(Ordering::Relaxed).is_null() {
        give_vectors(ptr::null_mut());
    }
}

/// Where signal handlers return to.
pub(super) fn signal_return() -> usize {
    strongroom_signal_return as *const () as usize
}

/// A thread in the flat space.
pub(super) struct FlatContext {
    frame: Frame,
    /// The place for which `return_to` is right.
    resumes_at: u64,
}

impl FlatContext {
    /// With all registers zero.
    pub(super) fn new() -> Self {
        Self { frame: Frame::EMPTY, resumes_at: u64::MAX }
    }

    fn is_owner(&self) -> bool {
        ptr::eq(OWNER.load(Ordering::Relaxed), &raw const self.frame)
    }

    /// The thread's vector registers are wanted in its frame.
    fn collect_vectors(&self) {
        if self.is_owner() {
            give_back_vectors();
        }
    }

    /// Chooses the way back to where the registers say; true when a system call is to be made there
    /// at once.
    fn choose_return(&mut self, sites: &Sites) -> bool {
        let place = self.frame.registers.pc;
        if place == self.resumes_at {
            return false;
        }
        let stub = |number: usize| sites.stubs.wrapping_add(number.wrapping_mul(STUB_LENGTH));
        let at = |place: u64| {
            let distance = place.wrapping_sub(sites.load_address as u64);
            let number = find(sites.table, u32::try_from(distance).ok()?)?;
            let site = Site::decode(*sites.table.get(number)?)?;
            Some((number, site.action))
        };
        if let Some((number, Action::Call)) = at(place) {
            self.frame.return_to = stub(number).wrapping_add(RETURN) as u64;
            self.frame.registers.pc = place.wrapping_add(WORD);
            self.resumes_at = self.frame.registers.pc;
            return true;
        }
        match at(place.wrapping_sub(WORD)) {
            Some((
                number,
                Action::Call | Action::Pause | Action::Breakpoint | Action::Counter(_),
            )) => {
                self.frame.return_to = stub(number).wrapping_add(RETURN) as u64;
            }
            Some((_, Action::Constant)) | None => {
                let [.., x17, _, _, _, _, _, _, _, _, _, _, _, _, _] = &mut self.frame.registers.x;
                *x17 = place;
                self.frame.return_to = strongroom_anywhere as *const () as u64;
            }
        }
        self.resumes_at = place;
        false
    }

    /// Notes where the thread came through a gate, and gives the site's action.
    fn arrived(&mut self, sites: &Sites) -> Option<Action> {
        let stub = (self.frame.return_to as usize).wrapping_sub(RETURN);
        let number = stub.wrapping_sub(sites.stubs) / STUB_LENGTH;
        let Some(entry) = sites.table.get(number) else {
            // The library OS's own call of `rt_sigreturn`.
            self.frame.registers.pc = self.frame.return_to;
            self.resumes_at = self.frame.return_to;
            return None;
        };
        let site = Site::decode(*entry)?;
        let place = (sites.load_address as u64).wrapping_add(u64::from(site.place));
        self.frame.registers.pc = place.wrapping_add(WORD);
        self.resumes_at = self.frame.registers.pc;
        Some(site.action)
    }
}

impl Context for FlatContext {
    fn registers(&mut self) -> &mut Registers {
        &mut self.frame.registers
    }

    fn enter(&mut self, answer: Answer<'_>) -> (Trap, &mut Registers) {
        let Some(sites) = package::sites() else {
            return (Trap::Exception(Exception::IllegalInstruction), &mut self.frame.registers);
        };
        let mut answer = answer;
        self.frame.answer = (&raw mut answer).expose_provenance();
        loop {
            if is_due() {
                ENTRIES.store(0, Ordering::Relaxed);
                return (Trap::Interrupt, &mut self.frame.registers);
            }
            if self.choose_return(sites) {
                return (Trap::SystemCall, &mut self.frame.registers);
            }
            if !self.is_owner() {
                give_vectors(&raw mut self.frame);
            }
            // SAFETY: the frame is live and the program's memory is what the kernel has mapped.
            // The program shares this address space by design: what it does to it, short of
            // the gates' own contract, is what a trusted application may do to itself.
            let gate = unsafe { strongroom_enter(&raw mut self.frame) };
            clock::touch();
            let action = self.arrived(sites);
            match gate {
                CALL => return (Trap::SystemCall, &mut self.frame.registers),
                PAUSE => return (Trap::Interrupt, &mut self.frame.registers),
                COUNTER => {
                    if let Some(Action::Counter(target)) = action
                        && let Some(register) = self.frame.registers.x.get_mut(usize::from(target))
                    {
                        *register = clock::now_ns();
                    }
                }
                // 2, and there is no other gate.
                _ => {
                    return (Trap::Exception(Exception::Breakpoint), &mut self.frame.registers);
                }
            }
        }
    }

    fn thread_pointer(&mut self) -> u64 {
        self.frame.thread_pointer
    }

    fn set_thread_pointer(&mut self, address: u64) {
        let end = memory::with(0, |memory| memory.end);
        self.frame.thread_pointer = if address < end as u64 { address } else { 0 };
    }

    fn extended_state(&mut self) -> &[u8] {
        self.collect_vectors();
        &self.frame.extended
    }

    fn set_extended_state(&mut self, state: &[u8]) -> Result<(), BadState> {
        let Ok(state) = <&[u8; EXTENDED]>::try_from(state) else { return Err(BadState) };
        self.collect_vectors();
        self.frame.extended = *state;
        Ok(())
    }
}

impl Drop for FlatContext {
    fn drop(&mut self) {
        self.collect_vectors();
    }
}
