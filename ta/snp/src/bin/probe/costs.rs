// SPDX-License-Identifier: MIT
//! What operations cost: time stamp counter ticks, which are instructions under
//! `-icount shift=0,sleep=off`.

use crate::program::{CODE, DATA, WRITE, space, thread};
use core::arch::x86_64::_rdtsc;
use strongroom_snp::machine::{Payload, log};
use strongroom_south::{Clock as _, Frames as _, Machine as _, PAGE_SIZE, Trap};

const ROUNDS: u64 = 1000;

/// Measures and prints.
pub(crate) fn run(machine: &'static Payload) {
    system_calls(machine);
    switches(machine);
    copies(machine);
    memory(machine);
    report("clock", 100, || {
        machine.monotonic_ns();
    });
    report("heap, 100 bytes", 100, || drop(core::hint::black_box(alloc::vec![0_u8; 100])));
}

fn report(name: &str, rounds: u64, mut operation: impl FnMut()) {
    operation();
    let before = now();
    for _ in 0..rounds {
        operation();
    }
    log::line(format_args!("probe: {name}: {}", (now() - before) / rounds));
}

fn now() -> u64 {
    // SAFETY: every 64-bit processor has the instruction, and it only reads.
    unsafe { _rdtsc() }
}

fn system_calls(machine: &'static Payload) {
    let space = space(machine);
    let mut caller = thread(&space, 0);
    caller.registers().rbx = ROUNDS + 2;
    report("system call, with 4 instructions of the program", ROUNDS, || {
        let (trap, registers) = caller.enter(&mut |_| false);
        assert!(trap == Trap::SystemCall);
        registers.set_result(1);
    });
}

fn switches(machine: &'static Payload) {
    let spaces = [space(machine), space(machine)];
    let mut threads = [thread(&spaces[0], 0), thread(&spaces[0], 0), thread(&spaces[1], 0)];
    for thread in &mut threads {
        thread.registers().rbx = ROUNDS;
    }
    let [first, second, elsewhere] = &mut threads;
    report("two threads, a call each", 100, || {
        first.enter(&mut |_| false);
        second.enter(&mut |_| false);
    });
    report("two spaces, a call each", 100, || {
        first.enter(&mut |_| false);
        elsewhere.enter(&mut |_| false);
    });
}

fn copies(machine: &'static Payload) {
    let space = space(machine);
    let mut page = alloc::vec![0_u8; PAGE_SIZE];
    report("copy in 4096", 100, || space.copy_in(DATA, &mut page).unwrap());
    report("copy out 4096", 100, || space.copy_out(DATA, &page).unwrap());
    report("copy in 8", 100, || space.copy_in(DATA, &mut page[..8]).unwrap());
    report("copy out, fault", 100, || {
        assert!(space.copy_out(CODE, &page).is_err());
    });
    report("load word", 100, || {
        space.load_u32(DATA).unwrap();
    });
}

fn memory(machine: &'static Payload) {
    let space = space(machine);
    report("allocate, map, unmap", 100, || {
        let frame = machine.allocate().unwrap();
        space.map(DATA, frame, WRITE).unwrap();
        space.unmap(DATA..DATA + PAGE_SIZE);
    });
    let original = machine.allocate().unwrap();
    report("allocate, duplicate, release", 100, || {
        let copy = machine.allocate().unwrap();
        machine.duplicate(original, copy);
        machine.release(copy);
    });
    report("new space, drop", 100, || drop(machine.new_space().unwrap()));
    for page in 0..200 {
        let at = DATA + page * PAGE_SIZE;
        space.map(at, machine.allocate().unwrap(), WRITE).unwrap();
    }
    report("fork of 202 pages", 20, || drop(space.fork().unwrap()));
    report("allocate, release", 100, || machine.release(machine.allocate().unwrap()));
    machine.release(original);
    log::line(format_args!("probe: {} ns since start", machine.monotonic_ns()));
}
