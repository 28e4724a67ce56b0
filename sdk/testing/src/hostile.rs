// SPDX-License-Identifier: MIT
//! A client that keeps to nothing.

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};
use strongroom_service::{
    Caller, Service,
    dispatch::{Dispatch, Session, request_room},
    gp::{self, code},
    wire::{DONE, REFUSED, STREAM_WRITE},
};

use crate::{Fake, GpSession, Parameter};

/// Bytes over the largest request that are tried.
const TOO_LONG: usize = 64;
/// Most bytes of a parameter: filling it is what takes the time.
const BYTES_MOST: usize = 8192;

/// Makes so many calls with commands and arguments that nobody checked, some beyond every limit, in
/// one session; the same for the same seed. A service with commands for clients of GlobalPlatform gets
/// a quarter as many of these in another session.
///
/// # Panics
///
/// When the service does, or when an answer is longer than it may be or none at all.
pub fn attack<S: Service, I: Dispatch<S>>(calls: u32, seed: u64) {
    let mut randomness = ChaCha20Rng::seed_from_u64(seed);
    let machine = Fake::seeded(seed);
    let opened = Session::<I, S>::open(machine.platform(), Caller::Unknown);
    let Ok(mut session) = opened else { return };
    let mut bytes = vec![0; request_room::<I>().saturating_add(TOO_LONG)];
    for number in 0..calls {
        let command = command::<I>(&mut randomness);
        let length = length(&mut randomness, bytes.len());
        let request = bytes.get_mut(..length).unwrap_or_default();
        fill(&mut randomness, request);
        let answer = session.call(command, length, |room| room.copy_from_slice(request));
        let sound = matches!(answer.first(), Some(&(DONE | REFUSED)));
        assert!(sound, "call {number}, command {command:#x}: no answer");
        assert!(answer.len() <= I::ANSWER_MAX.max(16).saturating_add(1), "call {number}: too long");
    }
    if gp::has_commands::<I>() {
        attack_commands::<S, I>(&machine, &mut randomness, calls.div_ceil(4));
    }
}

/// As [`attack`], with GlobalPlatform's parameters: some as the command wants them.
fn attack_commands<S: Service, I: Dispatch<S>>(
    machine: &Fake,
    randomness: &mut ChaCha20Rng,
    calls: u32,
) {
    let Ok(mut session) = GpSession::<S, I>::open(machine) else { return };
    for _ in 0..calls {
        let commands = I::COMMANDS.len().max(1);
        let chosen = usize::from(randomness.next_u32().to_le_bytes()[0]).checked_rem(commands);
        let command = chosen.and_then(|chosen| I::COMMANDS.get(chosen));
        let Some(command) = command.filter(|_| !randomness.next_u32().is_multiple_of(16)) else {
            let unknown = session.serve(randomness.next_u32(), &mut Default::default());
            assert_ne!(unknown, code::SHORT_BUFFER, "a command without results wants no room");
            continue;
        };
        let inputs = command.inputs.iter().map(|kind| (*kind, true));
        let wanted = inputs.chain(command.outputs.iter().map(|kind| (*kind, false)));
        let mut parameters: [Parameter; gp::PARAMETERS] = Default::default();
        for ((kind, is_input), parameter) in wanted.zip(&mut parameters) {
            if !randomness.next_u32().is_multiple_of(16) {
                *parameter = parameter_of::<I>(randomness, kind, is_input);
            }
        }
        session.serve(command.number, &mut parameters);
    }
}

fn parameter_of<I: strongroom_service::Interface>(
    randomness: &mut ChaCha20Rng,
    kind: gp::Kind,
    is_input: bool,
) -> Parameter {
    let most = match kind {
        gp::Kind::Word | gp::Kind::Long if is_input => {
            let upper = if kind == gp::Kind::Word { 0 } else { randomness.next_u32() };
            return Parameter::ValueInput(randomness.next_u32() % 1024, upper);
        }
        gp::Kind::Word | gp::Kind::Long => return Parameter::ValueOutput(0, 0),
        gp::Kind::Array(length) => length,
        gp::Kind::Bytes if is_input => length(randomness, request_room::<I>().min(BYTES_MOST)),
        gp::Kind::Bytes => I::ANSWER_MAX,
    };
    let size = if randomness.next_u32().is_multiple_of(16) { length(randomness, 64) } else { most };
    if !is_input {
        return Parameter::output(size);
    }
    let mut bytes = vec![0; size];
    fill(randomness, &mut bytes);
    Parameter::MemoryInput(bytes)
}

fn command<I: strongroom_service::Interface>(randomness: &mut ChaCha20Rng) -> u32 {
    let methods = u32::try_from(I::METHODS.len()).unwrap_or(u32::MAX);
    match randomness.next_u32() % 8 {
        0 => randomness.next_u32(),
        1 => STREAM_WRITE.saturating_add(randomness.next_u32() % 4),
        _ => randomness.next_u32().checked_rem(methods.saturating_add(1)).unwrap_or(0),
    }
}

fn length(randomness: &mut ChaCha20Rng, longest: usize) -> usize {
    let number = usize::try_from(randomness.next_u32()).unwrap_or(usize::MAX);
    let most = if number.is_multiple_of(4) { longest } else { longest.min(48) };
    number.checked_rem(most.saturating_add(1)).unwrap_or(0)
}

/// Random bytes, or small numbers, which are more often lengths and variants.
fn fill(randomness: &mut ChaCha20Rng, request: &mut [u8]) {
    randomness.fill_bytes(request);
    if randomness.next_u32().is_multiple_of(2) {
        for byte in request {
            *byte %= 8;
        }
    }
}
