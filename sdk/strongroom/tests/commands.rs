// SPDX-License-Identifier: MIT
//! Clients that know GlobalPlatform's four parameters and nothing of this SDK.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

mod bench;

use bench::{BenchInterface, MyBench};
use strongroom::{Interface, Method, gp::code};
use strongroom_testing::{
    Fake, GpSession,
    Parameter::{self, MemoryInput, None as Nothing, ValueInout, ValueInput, ValueOutput},
};

const ADD: u32 = 10;
const EVEN: u32 = 11;
const REVERSED: u32 = 0xffff_fff0;
const REPEATED: u32 = 12;
const PANICS: u32 = 13;

type Session = GpSession<MyBench, BenchInterface>;

fn session() -> Session {
    Fake::new().open_gp().unwrap()
}

fn call<const N: usize>(
    session: &mut Session,
    command: u32,
    given: [Parameter; N],
) -> (u32, [Parameter; 4]) {
    let mut parameters: [Parameter; 4] = Default::default();
    parameters.iter_mut().zip(given).for_each(|(to, from)| *to = from);
    (session.invoke(command, &mut parameters), parameters)
}

#[test]
fn types_become_parameters_in_order() {
    let mut session = session();
    let (code, [_, sum, ..]) = call(&mut session, ADD, [ValueInput(1, 2), ValueOutput(0, 0)]);
    assert_eq!((code, sum), (0, ValueOutput(1, 2)));
    let (_, [_, sum, ..]) = call(&mut session, ADD, [ValueInput(u32::MAX, 0), ValueOutput(0, 0)]);
    assert_eq!(sum, ValueOutput(0, 3), "the upper half counts");
    let given = [
        MemoryInput(vec![1, 2, 3, 4]),
        MemoryInput(b"hello".to_vec()),
        Parameter::output(9),
        ValueOutput(0, 0),
    ];
    let (code, [_, _, bytes, length]) = call(&mut session, REVERSED, given);
    assert_eq!((code, bytes.written()), (0, Some(&[4, 3, 2, 1][..])));
    assert_eq!(length, ValueOutput(5, 0));
    let given = [MemoryInput(vec![7; 3]), ValueInput(4, 0), Parameter::output(15)];
    let (code, [_, _, bytes, _]) = call(&mut session, REPEATED, given);
    assert_eq!((code, bytes.written()), (0, Some(&[7; 12][..])));
}

#[test]
fn errors_become_their_codes() {
    let mut session = session();
    assert_eq!(call(&mut session, EVEN, [ValueInput(4, 0), ValueOutput(0, 0)]).0, 0);
    let (code, [_, untouched, ..]) =
        call(&mut session, EVEN, [ValueInput(5, 0), ValueOutput(9, 9)]);
    assert_eq!((code, untouched), (5, ValueOutput(9, 9)));
    // An error whose code is that of success is an error all the same.
    let given =
        [MemoryInput(vec![0; 4]), MemoryInput(Vec::new()), Parameter::output(4), ValueOutput(0, 0)];
    assert_eq!(call(&mut session, REVERSED, given).0, code::GENERIC);
    let text =
        [MemoryInput(vec![0; 4]), MemoryInput(vec![0xff]), Parameter::output(4), ValueOutput(0, 0)];
    assert_eq!(call(&mut session, REVERSED, text).0, code::BAD_PARAMETERS, "not UTF-8");
    let long = [MemoryInput(vec![7; 9]), ValueInput(2, 0), Parameter::output(15)];
    assert_eq!(call(&mut session, REPEATED, long).0, code::OVERFLOW, "a result over its limit");
    let long = [MemoryInput(vec![7; 33]), ValueInput(1, 0), Parameter::output(15)];
    assert_eq!(call(&mut session, REPEATED, long).0, code::EXCESS_DATA);
    assert_eq!(call(&mut session, 14, []).0, code::NOT_SUPPORTED);
    assert_eq!(call(&mut session, 0, []).0, code::NOT_SUPPORTED, "a method's place is no command");
}

#[test]
fn parameters_are_those_of_the_command_or_nothing_runs() {
    let mut session = session();
    let wrong: [[Parameter; 4]; 7] = [
        [Nothing, ValueOutput(0, 0), Nothing, Nothing],
        [ValueInput(1, 0), Nothing, Nothing, Nothing],
        [ValueOutput(0, 0), ValueInput(1, 0), Nothing, Nothing],
        [ValueInput(1, 0), ValueInout(0, 0), Nothing, Nothing],
        [ValueInput(1, 0), ValueOutput(0, 0), ValueInput(1, 0), Nothing],
        [ValueInput(1, 0), ValueOutput(0, 0), Nothing, MemoryInput(vec![1])],
        [MemoryInput(vec![1; 8]), ValueOutput(0, 0), Nothing, Nothing],
    ];
    for given in wrong {
        let (code, _) = call(&mut session, ADD, given.clone());
        assert_eq!(code, code::BAD_PARAMETERS, "{given:?}");
    }
    let halves = [ValueInput(4, 1), ValueOutput(0, 0)];
    assert_eq!(call(&mut session, EVEN, halves).0, code::BAD_PARAMETERS, "more than 32 bits");
    for length in [0, 3, 5] {
        let given = [
            MemoryInput(vec![0; length]),
            MemoryInput(b"x".to_vec()),
            Parameter::output(4),
            ValueOutput(0, 0),
        ];
        assert_eq!(call(&mut session, REVERSED, given).0, code::BAD_PARAMETERS);
    }
    let (_, [_, sum, ..]) = call(&mut session, ADD, [ValueInput(1, 0), ValueOutput(0, 0)]);
    assert_eq!(sum, ValueOutput(1, 0), "none of these has run");
}

#[test]
fn room_is_checked_before_the_method_runs() {
    let mut session = session();
    let given = [MemoryInput(vec![7]), ValueInput(1, 0), Parameter::output(14)];
    let (code, [_, _, room, _]) = call(&mut session, REPEATED, given);
    assert_eq!(code, code::SHORT_BUFFER);
    let Parameter::MemoryOutput { size, room } = room else { panic!("{room:?}") };
    assert_eq!((size, room), (15, vec![0; 14]));
    let given = [
        MemoryInput(vec![0; 4]),
        MemoryInput(b"x".to_vec()),
        Parameter::output(3),
        ValueOutput(0, 0),
    ];
    assert_eq!(call(&mut session, REVERSED, given).0, code::SHORT_BUFFER);
}

#[test]
fn a_panic_is_a_code_and_the_next_call_finds_a_fresh_instance() {
    let mut session = session();
    call(&mut session, ADD, [ValueInput(5, 0), ValueOutput(0, 0)]);
    assert_eq!(call(&mut session, PANICS, []).0, code::TARGET_DEAD);
    let (_, [_, sum, ..]) = call(&mut session, ADD, [ValueInput(1, 0), ValueOutput(0, 0)]);
    assert_eq!(sum, ValueOutput(1, 0));
}

/// An interface of before there were commands.
#[derive(Debug)]
struct Without;

impl Interface for Without {
    const NAME: &'static str = "Without";
    const VERSION: u32 = 1;
    const HASH: [u8; 32] = [0; 32];
    const METHODS: &'static [Method] = &[];
    const REQUEST_MAX: usize = 0;
    const ANSWER_MAX: usize = 0;
}

impl strongroom::Dispatch<MyBench> for Without {
    fn dispatch(
        _service: &mut MyBench,
        _number: u32,
        _request: strongroom::wire::Decoder<'_>,
        _answer: &mut strongroom::wire::Encoder<'_>,
        _streams: &mut strongroom::stream::Streams,
    ) -> Result<(), strongroom::Refusal> {
        Ok(())
    }
}

#[test]
fn a_service_without_commands_has_no_such_clients() {
    let refused = Fake::new().open_gp::<MyBench, Without>().err();
    assert_eq!(refused, Some(code::NOT_SUPPORTED));
}
