// SPDX-License-Identifier: MIT
//! The pump with the real kernel, on the fake machine, against hosts that keep to the rules and
//! hosts that lie in the shared buffer.
//!
//! `STRONGROOM_FUZZ_REPLIES` and `STRONGROOM_FUZZ_SEED` change how long and with what the fuzzer
//! runs.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "test equipment: where one of its expectations is wrong, the test shall end"
)]

use strongroom_fake::{ENTRY, Guest, Machine, Numbers, OPEN_READ, System};
use strongroom_optee::pump::{Pump, Refused, Shared, Surroundings};
use strongroom_south::{Clock as _, Form};
use strongroom_wire::Malformed;
use strongroom_wire::turn::{self, AREA, BUFFER, HEADER, HOST_AREA_AT, Outgoing, State, Turn};

/// Mutated replies in a run of all tests.
const REPLIES: u64 = 5_000;
/// Turns after which a system is taken to hang.
const TURNS_MAX: u64 = 20_000;

struct Buffer(Vec<u8>);

impl Shared for Buffer {
    fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        let from = self.0.get(offset..offset.saturating_add(to.len()));
        from.map(|from| to.copy_from_slice(from)).is_some()
    }

    fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        let to = self.0.get_mut(offset..offset.saturating_add(from.len()));
        to.map(|to| to.copy_from_slice(from)).is_some()
    }
}

/// The fake machine's clock, and a caller with a wish.
struct Around {
    machine: &'static Machine,
    cancelled: bool,
    /// How much time passes from one look at the clock to the next.
    step_ns: u64,
}

impl Surroundings for Around {
    fn now_ns(&self) -> u64 {
        self.machine.advance(self.step_ns);
        self.machine.monotonic_ns()
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

/// A system whose host talks through a buffer.
struct Session {
    system: System,
    pump: Pump,
    /// Whether whoever takes the turns wants them to end.
    cancelled: bool,
    /// As for [`Around`].
    step_ns: u64,
    buffer: Buffer,
    number: u64,
}

impl Session {
    fn new(program: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static) -> Self {
        Self::of(System::with_program(Form::Flat, program))
    }

    fn of(system: System) -> Self {
        let pump = Pump::new(system.kernel);
        let buffer = Buffer(vec![0; BUFFER]);
        Self { system, pump, cancelled: false, step_ns: 0, buffer, number: 1 }
    }

    /// Puts what the host has to say into the buffer.
    fn host_speaks(&mut self) {
        let mut outgoing = Outgoing::default();
        for message in self.system.host.speak() {
            assert!(outgoing.push(&message), "the host of these tests is brief");
        }
        self.put(outgoing.bytes());
    }

    fn put(&mut self, area: &[u8]) {
        let header = Turn::of_host(self.number, area.len()).encode();
        assert!(self.buffer.write(0, &header) && self.buffer.write(HOST_AREA_AT, area));
    }

    /// Takes a turn with what is in the buffer; the host hears what came of it.
    fn turn(&mut self) -> Result<State, Refused> {
        let machine = self.system.machine;
        let around = Around { machine, cancelled: self.cancelled, step_ns: self.step_ns };
        let state = self.pump.turn(&mut self.buffer, &around)?;
        let mut header = [0; HEADER];
        header.copy_from_slice(&self.buffer.0[HEADER..2 * HEADER]);
        let answer = Turn::decode(&header, self.number).expect("the enclave's header is right");
        assert_eq!(answer.state, state);
        let area = &self.buffer.0[turn::ENCLAVE_AREA_AT..][..answer.length];
        for message in turn::messages(area).expect("the enclave's messages are whole") {
            self.system.host.hear(message);
        }
        self.number += 1;
        if let State::Idle { wait_ns: Some(wait_ns) } = state {
            machine.advance(wait_ns);
        }
        Ok(state)
    }

    /// Turns to the end, with an honest host; the exit status.
    fn finish(&mut self) -> Option<u8> {
        for _ in 0..TURNS_MAX {
            self.host_speaks();
            if self.turn().expect("an honest host is not refused") == State::Ended {
                return self.system.host.exit;
            }
        }
        panic!("it goes on for ever");
    }
}

fn chatty(guest: &mut Guest) -> u8 {
    talk(guest, 50)
}

fn talk(guest: &mut Guest, rounds: usize) -> u8 {
    for round in 0..rounds {
        guest.say("a line");
        if let Ok(file) = guest.open("/bin/program", OPEN_READ) {
            let _ = guest.read(file, 4096);
            let _ = guest.close(file);
        }
        if round % 10 == 0 {
            let _ = guest.read(0, 100);
        }
        let _ = guest.sleep(1_000_000);
    }
    7
}

#[test]
fn a_program_runs_by_turns_to_its_end() {
    let mut session = Session::new(chatty);
    session.system.host.type_in(b"typed");
    assert_eq!(session.finish(), Some(7));
    let lines = String::from_utf8_lossy(&session.system.host.output).lines().count();
    assert_eq!(lines, 50);
    session.put(&[]);
    assert_eq!(session.turn(), Err(Refused::Ended));
}

#[test]
fn a_turn_is_refused_for_each_lie_and_the_right_one_still_counts() {
    let mut session = Session::new(chatty);
    session.host_speaks();
    session.turn().unwrap();
    session.host_speaks();
    let good = session.buffer.0.clone();
    let with = |at: usize, bytes: &[u8]| {
        let mut lie = good.clone();
        lie[at..at + bytes.len()].copy_from_slice(bytes);
        lie
    };
    let lies = [
        (with(0, b"X"), Refused::Malformed(Malformed::Version)),
        (with(4, &[9]), Refused::Malformed(Malformed::Version)),
        (with(8, &1_u64.to_le_bytes()), Refused::Malformed(Malformed::Value)),
        (with(8, &3_u64.to_le_bytes()), Refused::Malformed(Malformed::Value)),
        (with(16, &u32::MAX.to_le_bytes()), Refused::Malformed(Malformed::TooLong)),
        (with(16, &(AREA as u32 + 1).to_le_bytes()), Refused::Malformed(Malformed::TooLong)),
        (with(16, &3_u32.to_le_bytes()), Refused::Malformed(Malformed::Value)),
        (with(20, &[2]), Refused::Malformed(Malformed::Value)),
        (with(24, &[1]), Refused::Malformed(Malformed::Value)),
        (with(HOST_AREA_AT, &[0; 4]), Refused::Malformed(Malformed::Value)),
        (with(HOST_AREA_AT, &[0xff; 4]), Refused::Malformed(Malformed::TooLong)),
        (good[..BUFFER - 1].to_vec(), Refused::Buffer),
        (good[..HEADER].to_vec(), Refused::Buffer),
        (Vec::new(), Refused::Buffer),
    ];
    for (number, (lie, refused)) in lies.into_iter().enumerate() {
        session.buffer.0 = lie;
        assert_eq!(session.turn(), Err(refused), "lie {number}");
    }
    session.buffer.0 = good;
    session.turn().unwrap();
    assert_eq!(session.finish(), Some(7));
}

#[test]
fn much_output_takes_few_turns() {
    const SIZE: usize = 1 << 20;
    let mut session = Session::new(|guest| {
        for _ in 0..SIZE / 4096 {
            guest.write(1, &[b'x'; 4096]).unwrap();
        }
        0
    });
    assert_eq!(session.finish(), Some(0));
    assert_eq!(session.system.host.output.len(), SIZE);
    // One for each 64 KiB, and a few to load the program.
    assert!(session.number <= 16 + 10, "{} turns", session.number);
}

#[test]
fn what_is_printed_before_a_sleep_gets_out_before_it_is_over() {
    let mut session = Session::new(|guest| {
        guest.say("before");
        let _ = guest.sleep(1_000_000);
        guest.say("behind");
        0
    });
    // Each sleep is over before anybody looks.
    session.step_ns = 1_000_000_000;
    let heard = |session: &Session| session.system.host.output.clone();
    while heard(&session).is_empty() {
        session.host_speaks();
        assert_ne!(session.turn().unwrap(), State::Ended);
        assert!(session.number < TURNS_MAX);
    }
    assert_eq!(heard(&session), b"before\n");
    assert_eq!(session.finish(), Some(0));
    assert_eq!(heard(&session), b"before\nbehind\n");
}

#[test]
fn who_cancels_ends_a_program_that_is_busy_and_none_that_waits() {
    let mut builder = System::builder(Form::Flat);
    builder.configuration.tick = 50;
    let system = builder.boot().unwrap();
    system.machine.program(ENTRY, |guest| {
        let word = guest.room(4);
        for _ in 0..2 {
            let _ = guest.sleep(1_000_000);
        }
        loop {
            guest.load_u32(word);
        }
    });
    let mut session = Session::of(system);
    let sleeps = |state| matches!(state, State::Idle { wait_ns: Some(_) });
    for _ in 0..TURNS_MAX {
        session.host_speaks();
        if sleeps(session.turn().unwrap()) {
            break;
        }
    }
    session.cancelled = true;
    session.host_speaks();
    let state = session.turn().expect("one that waits takes no time that could be cut short");
    assert!(sleeps(state), "{state:?}");
    session.host_speaks();
    assert_eq!(session.turn(), Err(Refused::Cancelled));
    session.put(&[]);
    assert_eq!(session.turn(), Err(Refused::Ended), "that was the end of it");
}

/// What a hostile host does to the buffer before a turn.
fn mutate(session: &mut Session, area: &mut Vec<u8>, numbers: &mut Numbers) {
    let at = |numbers: &mut Numbers, length: usize| numbers.below(length.max(1) as u64) as usize;
    match numbers.below(8) {
        // Bytes of a message.
        0..=3 => {
            for _ in 0..=numbers.below(4) {
                let place = at(numbers, area.len());
                if let Some(byte) = area.get_mut(place) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
            session.put(area);
        }
        // All of it once more: tickets are used twice.
        4 => {
            let again = area.clone();
            if area.len() * 2 <= AREA {
                area.extend(again);
            }
            session.put(area);
        }
        // Cut off.
        5 => {
            area.truncate(at(numbers, area.len()));
            session.put(area);
        }
        // Nonsense, framed.
        6 => {
            let mut outgoing = Outgoing::default();
            let mut nonsense = vec![0; 1 + at(numbers, 64)];
            numbers.fill(&mut nonsense);
            nonsense[0] %= 4;
            outgoing.push(&nonsense);
            area.extend_from_slice(outgoing.bytes());
            session.put(area);
        }
        // The header.
        _ => {
            session.put(area);
            let place = at(numbers, HEADER);
            session.buffer.0[place] ^= 1 << numbers.below(8);
        }
    }
}

#[test]
fn no_reply_makes_it_panic_or_hang() {
    let setting = |name: &str, usual: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let wanted = setting("STRONGROOM_FUZZ_REPLIES", REPLIES);
    let mut numbers = Numbers::new(setting("STRONGROOM_FUZZ_SEED", 1));
    let (mut mutated, mut refused, mut ended) = (0, 0_u64, 0_u64);
    while mutated < wanted {
        let mut session = Session::new(|guest| talk(guest, 1000));
        session.system.host.type_in(b"typed");
        let mut waits = false;
        for _ in 0..TURNS_MAX {
            let mut outgoing = Outgoing::default();
            for message in session.system.host.speak() {
                assert!(outgoing.push(&message));
            }
            let honest = outgoing.bytes().to_vec();
            if waits && honest.is_empty() {
                // An answer was spoilt that counts all the same: it waits for ever, as it may.
                break;
            }
            let mut area = honest.clone();
            mutate(&mut session, &mut area, &mut numbers);
            mutated += 1;
            match session.turn() {
                Ok(State::Ended) => {
                    ended += 1;
                    break;
                }
                Ok(State::Busy | State::Idle { .. }) => {}
                Err(_) => refused += 1,
            }
            // What is refused has changed nothing; and what a spoilt answer has not answered, this
            // does.
            session.put(&honest);
            match session.turn().expect("the honest turn is taken") {
                State::Ended => {
                    ended += 1;
                    break;
                }
                state @ (State::Busy | State::Idle { .. }) => {
                    waits = state == State::Idle { wait_ns: None };
                }
            }
        }
    }
    println!("{mutated} changed replies: {refused} turns refused, {ended} programs ended");
    assert!(refused > 0 && ended > 0, "{refused} turns refused, {ended} programs ended");
}
