// SPDX-License-Identifier: MIT
//! What the south contract promises, checked on the machine.

use crate::program::{CODE, DATA, EXECUTE, READ, STACK, WRITE, enter, space, thread};
use alloc::vec;
use alloc::vec::Vec;
use strongroom_snp::machine::{Payload, log};
use strongroom_south::{
    Access, Clock as _, Entropy as _, Exception, Fault, Frames as _, Machine as _, PAGE_SIZE, Trap,
};

type Check = fn(&'static Payload);

/// Runs every check; a failed one ends the machine.
pub(crate) fn run(machine: &'static Payload) {
    // The heap keeps what it once had: let it grow first.
    frames(machine);
    let free = machine.counts().free;
    let checks: [(&str, Check); 12] = [
        ("clock and entropy", services),
        ("frames", frames),
        ("exceptions", exceptions),
        ("page faults", page_faults),
        ("registers survive", registers_survive),
        ("extended state", extended_state),
        ("flags", flags),
        ("bad addresses", bad_addresses),
        ("user copies", user_copies),
        ("fork", fork),
        ("protect and relocate", protect_and_relocate),
        ("tick", tick),
    ];
    for (name, check) in checks {
        check(machine);
        log::line(format_args!("probe: {name}: good"));
    }
    let lost = free.saturating_sub(machine.counts().free);
    log::line(format_args!("probe: {lost} frames went to heap and spare tables"));
    assert!(lost < 80, "more than heap and spare tables explain");
}

fn services(machine: &'static Payload) {
    let mut before = machine.monotonic_ns();
    for _ in 0..1000 {
        let now = machine.monotonic_ns();
        assert!(now >= before);
        before = now;
    }
    let mut bytes = [[0; 33]; 2];
    machine.fill_entropy(&mut bytes[0]).unwrap();
    machine.fill_entropy(&mut bytes[1]).unwrap();
    assert_ne!(bytes[0], bytes[1]);
}

fn frames(machine: &'static Payload) {
    let first = machine.allocate().unwrap();
    machine.write(first, 4090, &[1; 100]);
    let mut bytes = [7; 8];
    machine.read(first, 4088, &mut bytes);
    assert_eq!(bytes, [0, 0, 1, 1, 1, 1, 1, 1]);
    let second = machine.allocate().unwrap();
    machine.duplicate(first, second);
    machine.clear(first, 4091..9000);
    machine.read(second, 4088, &mut bytes);
    assert_eq!(bytes[2..], [1; 6]);
    machine.read(first, 4088, &mut bytes);
    assert_eq!(bytes, [0, 0, 1, 0, 0, 0, 0, 0]);
    machine.retain(first);
    assert_eq!(machine.references(first), 2);
    machine.release(first);
    machine.release(first);
    machine.release(second);
    let again = machine.allocate().unwrap();
    machine.read(again, 4088, &mut bytes);
    assert_eq!(bytes, [0; 8], "a frame comes zeroed");
    machine.release(again);
    exhaust(machine);
}

fn exhaust(machine: &'static Payload) {
    let mut all: Vec<_> = core::iter::from_fn(|| machine.allocate()).collect();
    assert_eq!(machine.counts().free, 0);
    assert!(machine.new_space().is_err());
    let kernel_still_has_some = vec![1_u8; 4000];
    drop(kernel_still_has_some);
    while let Some(frame) = all.pop() {
        machine.release(frame);
    }
}

fn exceptions(machine: &'static Payload) {
    let space = space(machine);
    let expected = [
        Exception::IllegalInstruction,
        Exception::Protection,
        Exception::Breakpoint,
        Exception::IntegerDivide,
        Exception::Protection,
        Exception::Protection,
        Exception::Protection,
    ];
    for (number, exception) in (0..).zip(expected) {
        let mut thread = thread(&space, 1);
        thread.registers().rbx = number;
        assert_eq!(enter(&mut thread).0, Trap::Exception(exception), "instruction {number}");
    }
}

fn page_faults(machine: &'static Payload) {
    let space = space(machine);
    let fault = |address, write, fetch| Trap::PageFault { address, write, fetch };
    let run = |slot, address: usize| {
        let mut thread = thread(&space, slot);
        thread.registers().rdi = address as u64;
        enter(&mut thread).0
    };
    assert_eq!(run(3, DATA), Trap::SystemCall);
    assert_eq!(run(3, DATA + PAGE_SIZE), fault(DATA + PAGE_SIZE, false, false));
    assert_eq!(run(3, CODE), fault(CODE, true, false));
    assert_eq!(run(3, 0), fault(0, false, false));
    let kernel = 0xffff_8000_0020_0000;
    assert_eq!(run(3, kernel), fault(kernel, false, false));
    assert_eq!(run(4, DATA), fault(DATA, false, true));
    assert!(matches!(run(4, kernel), Trap::PageFault { .. }));
    assert_eq!(run(4, 1 << 60), Trap::Exception(Exception::Protection));
    // A fault, resolved, goes on where it was.
    let mut thread = thread(&space, 3);
    thread.registers().rdi = (DATA + PAGE_SIZE) as u64;
    assert_eq!(enter(&mut thread).0, fault(DATA + PAGE_SIZE, false, false));
    space.map(DATA + PAGE_SIZE, machine.allocate().unwrap(), READ).unwrap();
    assert_eq!(enter(&mut thread).0, fault(DATA + PAGE_SIZE, true, false));
    space.map(DATA + PAGE_SIZE, machine.allocate().unwrap(), WRITE).unwrap();
    assert_eq!(enter(&mut thread).0, Trap::SystemCall);
    assert!(space.lookup(DATA + PAGE_SIZE).unwrap().dirty);
    assert!(!space.lookup(CODE).unwrap().dirty);
    assert_eq!(space.resident(), 4);
}

fn registers_survive(machine: &'static Payload) {
    let spaces = [space(machine), space(machine)];
    let mut threads: Vec<_> = (0..4).map(|index| thread(&spaces[index / 2], 5)).collect();
    for (number, thread) in (1..).zip(&mut threads) {
        thread.registers().rdi = number * 0x1_0000;
        thread.set_thread_pointer(number * 0x1000);
        assert_eq!(enter(thread).0, Trap::SystemCall);
    }
    for (number, thread) in (1..).zip(&mut threads) {
        assert_eq!(thread.thread_pointer(), number * 0x1000);
        let (trap, registers) = enter(thread);
        assert_eq!(trap, Trap::SystemCall);
        assert_eq!(registers.rdi, number * 0x5_0000);
        assert_eq!((registers.cs, registers.ss), (0x33, 0x2b));
    }
}

fn extended_state(machine: &'static Payload) {
    let space = space(machine);
    let mut first = thread(&space, 5);
    first.registers().rdi = 77;
    assert_eq!(enter(&mut first).0, Trap::SystemCall);
    let mut state = first.extended_state().to_vec();
    assert_eq!(state[160 + 48], 77, "xmm3");
    state[160 + 48] = 78;
    first.set_extended_state(&state).unwrap();
    assert_eq!(enter(&mut first).1.rdi, 77 * 4 + 78);
    state[512 + 8] = 1;
    assert!(first.set_extended_state(&state).is_err());
    assert!(first.set_extended_state(&[]).is_err());
}

fn flags(machine: &'static Payload) {
    let space = space(machine);
    let mut thread = thread(&space, 8);
    let (trap, registers) = enter(&mut thread);
    assert_eq!(trap, Trap::SystemCall);
    assert_eq!(registers.rflags & 0x4_0400, 0x4_0400);
    registers.rflags |= 0x3000;
    registers.entry = strongroom_abi::arch::ENTRY_FULL;
    registers.rip = (CODE + 64) as u64;
    registers.rbx = 1;
    let (trap, registers) = enter(&mut thread);
    assert_eq!(trap, Trap::Exception(Exception::Protection), "no privilege for ports");
    assert_eq!(registers.rflags & 0x3000, 0);
}

fn bad_addresses(machine: &'static Payload) {
    let space = space(machine);
    for address in [1 << 47, u64::MAX, 0x7fff_ffff_f000, 1 << 63] {
        let mut thread = thread(&space, 0);
        thread.registers().rip = address;
        assert_eq!(enter(&mut thread).0, Trap::Exception(Exception::Protection));
        thread.set_thread_pointer(address);
        assert_eq!(thread.thread_pointer(), 0);
    }
    let frame = machine.allocate().unwrap();
    assert!(space.map(space.user_end(), frame, READ).is_err());
    machine.release(frame);
    assert!(space.lookup(usize::MAX).is_none());
    space.unmap(0..usize::MAX);
    assert_eq!(space.resident(), 0);
}

fn user_copies(machine: &'static Payload) {
    let space = space(machine);
    let other = crate::program::space(machine);
    let mut bytes = [0; 64];
    space.copy_out(DATA, b"first").unwrap();
    other.copy_out(DATA, b"other").unwrap();
    space.copy_in(DATA, &mut bytes[..5]).unwrap();
    assert_eq!(&bytes[..5], b"first");
    let end = DATA + PAGE_SIZE;
    for near in 1..20 {
        let fault = Err(Fault { address: end, write: true });
        assert_eq!(space.copy_out(end - near, &[9; 40]), fault);
        assert_eq!(space.zero(end - near, 40), fault);
        let fault = Err(Fault { address: end, write: false });
        assert_eq!(space.copy_in(end - near, &mut bytes), fault);
    }
    let fault = |address, write| Fault { address, write };
    assert_eq!(space.copy_out(CODE, b"x"), Err(fault(CODE, true)));
    assert_eq!(space.copy_in(usize::MAX, &mut bytes), Err(fault(usize::MAX, false)));
    assert!(!space.copy_in(space.user_end() - 4, &mut bytes).unwrap_err().write);
    assert_eq!(space.copy_in(1 << 63, &mut bytes), Err(fault(1 << 63, false)));
    assert_eq!(space.copy_in(1 << 63, &mut []), Ok(()));
    space.copy_out(DATA, &5_u32.to_le_bytes()).unwrap();
    assert_eq!(space.load_u32(DATA), Ok(5));
    assert_eq!(space.compare_exchange_u32(DATA, 4, 6), Ok(5));
    assert_eq!(space.compare_exchange_u32(DATA, 5, u32::MAX), Ok(5));
    assert_eq!(space.load_u32(DATA), Ok(u32::MAX));
    assert_eq!(space.load_u32(DATA + 1), Err(fault(DATA + 1, false)));
    assert_eq!(space.load_u32(end), Err(fault(end, false)));
    assert_eq!(space.compare_exchange_u32(CODE, 0, 0), Err(fault(CODE, true)));
    frame_copies(machine, &*space);
}

fn frame_copies(machine: &'static Payload, space: &dyn strongroom_south::Space) {
    let frame = machine.allocate().unwrap();
    machine.write(frame, 10, b"frame");
    space.copy_out_frame(DATA + 1, frame, 10, 5).unwrap();
    let mut bytes = [0; 5];
    space.copy_in(DATA + 1, &mut bytes).unwrap();
    assert_eq!(&bytes, b"frame");
    space.copy_in_frame(DATA + 1, frame, 4091, 5).unwrap();
    machine.read(frame, 4091, &mut bytes);
    assert_eq!(&bytes, b"frame");
    assert!(space.copy_in_frame(DATA, frame, 4092, 5).is_err());
    machine.release(frame);
    let partial = machine.allocate().unwrap();
    assert!(space.copy_in_frame(DATA + 8, partial, 0, PAGE_SIZE).is_err());
    machine.read(partial, PAGE_SIZE - 5, &mut bytes);
    assert_eq!(bytes, [0; 5], "what was not copied is zero");
    machine.release(partial);
}

fn fork(machine: &'static Payload) {
    let parent = space(machine);
    let shared_at = DATA + PAGE_SIZE;
    let shared = Access { shared: true, ..WRITE };
    parent.map(shared_at, machine.allocate().unwrap(), shared).unwrap();
    parent.copy_out(DATA, b"parent").unwrap();
    let child = parent.fork().unwrap();
    assert_eq!(child.resident(), 4);
    let frame = parent.lookup(DATA).unwrap().frame;
    assert_eq!(child.lookup(DATA).unwrap().frame, frame);
    assert_eq!(machine.references(frame), 2);
    for space in [&parent, &child] {
        assert_eq!(space.copy_out(DATA, b"x"), Err(Fault { address: DATA, write: true }));
        assert!(space.lookup(shared_at).unwrap().access.write);
    }
    let mut bytes = [0; 6];
    child.copy_in(DATA, &mut bytes).unwrap();
    assert_eq!(&bytes, b"parent");
    let copy = machine.allocate().unwrap();
    machine.duplicate(frame, copy);
    child.map(DATA, copy, WRITE).unwrap();
    child.copy_out(DATA, b"child!").unwrap();
    assert_eq!(machine.references(frame), 1);
    parent.protect(DATA..DATA + PAGE_SIZE, WRITE);
    parent.copy_in(DATA, &mut bytes).unwrap();
    assert_eq!(&bytes, b"parent");
    parent.copy_out(DATA, b"again!").unwrap();
    child.copy_out(shared_at, b"both").unwrap();
    parent.copy_in(shared_at, &mut bytes[..4]).unwrap();
    assert_eq!(&bytes[..4], b"both");
    drop(parent);
    let mut thread = thread(&child, 3);
    thread.registers().rdi = DATA as u64;
    assert_eq!(enter(&mut thread).0, Trap::SystemCall);
}

fn protect_and_relocate(machine: &'static Payload) {
    let space = space(machine);
    let page = DATA..DATA + PAGE_SIZE;
    space.copy_out(DATA, b"moves").unwrap();
    space.protect(page.clone(), Access::default());
    let none = space.lookup(DATA).unwrap();
    assert_eq!(none.access, Access::default());
    assert!(space.copy_in(DATA, &mut [0]).is_err());
    machine.retain(none.frame);
    space.protect(page.clone(), WRITE);
    assert_eq!(space.lookup(DATA).unwrap().access, Access::default(), "two hold it");
    machine.release(none.frame);
    space.protect(page.clone(), WRITE);
    assert_eq!(space.lookup(DATA).unwrap().access, WRITE);
    space.protect(page.clone(), EXECUTE);
    assert_eq!(space.lookup(DATA).unwrap().access, EXECUTE);
    let target = 0x5555_0000_1000;
    space.relocate(page, target).unwrap();
    assert!(space.lookup(DATA).is_none());
    let mut bytes = [0; 5];
    space.copy_in(target, &mut bytes).unwrap();
    assert_eq!(&bytes, b"moves");
    assert_eq!(space.resident(), 3);
    space.unmap(STACK - PAGE_SIZE..STACK);
    assert_eq!(space.resident(), 2);
    assert!(space.copy_in(STACK - 8, &mut bytes).is_err());
}

fn tick(machine: &'static Payload) {
    let space = space(machine);
    let mut thread = thread(&space, 7);
    let before = machine.monotonic_ns();
    for _ in 0..5 {
        assert_eq!(thread.enter(&mut |_| false).0, Trap::Interrupt);
    }
    let took = machine.monotonic_ns() - before;
    assert!(thread.registers().rbx > 1000);
    log::line(format_args!("probe: five ticks in {took} ns"));
    assert!((14_000_000..200_000_000).contains(&took));
}
