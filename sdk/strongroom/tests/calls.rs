// SPDX-License-Identifier: MIT
//! Calls through everything but a real way.

mod bench;

use bench::{BenchClient, BenchError, BenchInterface, MyBench};
use std::convert::Infallible;
use strongroom::{
    CallError, Caller, ConnectError, Interface as _, OpenError, Outgoing, Transport as _,
    client::Opening, stream::STREAMS_MAX, wire::STREAM_WRITE,
};
use strongroom_testing::{Fake, InProcess, fuzz};

type Client = BenchClient<InProcess<MyBench, BenchInterface>>;

fn client() -> Client {
    match BenchClient::connect(Fake::new().serve()) {
        Ok(client) => client,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn arguments_and_results_arrive() {
    let mut client = client();
    client.nothing().unwrap();
    assert_eq!(client.add(u64::MAX - 1).unwrap(), u64::MAX - 1);
    assert_eq!(client.add(3).unwrap(), 1);
    assert_eq!(client.even(4).unwrap(), 4);
    assert_eq!(client.even(5), Err(CallError::Service(BenchError::Odd(5))));
    assert_eq!(client.joined("ab", &[1, 2], None).unwrap(), [b'a', b'b', 1, 2]);
}

#[test]
fn sessions_have_a_state_of_their_own() {
    let machine = Fake::new();
    let connect = || Client::connect(machine.serve()).unwrap();
    let (mut one, mut other) = (connect(), connect());
    assert_eq!((one.add(1).unwrap(), other.add(10).unwrap()), (1, 10));
    drop(other);
    assert_eq!((one.add(1).unwrap(), connect().add(5).unwrap()), (2, 5));
}

#[test]
fn limits_hold_on_both_sides() {
    let mut client = client();
    let most = client.joined("", &[7; 15], None);
    assert_eq!(most.unwrap(), [7; 15]);
    assert_eq!(client.joined("", &[7; 16], None), Err(CallError::AnswerTooLarge(16)));
    assert_eq!(client.joined("", &[7; 30], None), Err(CallError::RequestTooLarge(32)));
    // The client's check left out.
    let mut answer = [0; 64];
    let call = Outgoing { command: 3, request: &[0; 33], answer: &mut answer, timeout: None };
    let length = client.session().transport().call(call).unwrap();
    assert_eq!(answer[..length], [1, 1, 32]);
    assert_eq!(client.joined("x", &[], Some(3)).unwrap(), *b"xxx");
}

#[test]
fn what_a_client_sends_is_taken_whole_or_not_at_all() {
    let mut client = client();
    let mut sent = |command, request: &[u8]| {
        let mut answer = [0; 64];
        let call = Outgoing { command, request, answer: &mut answer, timeout: None };
        let length = client.session().transport().call(call).unwrap();
        answer[..length].to_vec()
    };
    assert_eq!(sent(0, &[]), [0]);
    assert_eq!(sent(0, &[0]), [1, 2], "an argument too many");
    assert_eq!(sent(1, &[]), [1, 2], "an argument missing");
    assert_eq!(sent(3, &[3, b'a', b'b']), [1, 2], "text longer than the request");
    assert_eq!(sent(3, &[1, 0xff, 0, 0]), [1, 2], "not UTF-8");
    assert_eq!(sent(10, &[]), [1, 0], "no such method");
    assert_eq!(sent(STREAM_WRITE, &[1, 2, 3]), [1, 2], "half a number of a stream");
    assert_eq!(sent(STREAM_WRITE, &[0, 0, 0, 0, 9]), [1, 7], "no such stream");
    assert_eq!(sent(u32::MAX, &[]), [1, 0]);
}

fuzz!(MyBenchThatStays, BenchInterface);

/// As [`MyBench`], but nothing that panics: the fuzzer would find that.
#[derive(Debug)]
struct MyBenchThatStays(MyBench);

impl strongroom::Service for MyBenchThatStays {
    fn open(platform: &strongroom::Platform, caller: &Caller) -> Result<Self, OpenError> {
        MyBench::open(platform, caller).map(Self)
    }
}

impl bench::Bench for MyBenchThatStays {
    fn nothing(&self) {}
    fn add(&mut self, number: u64) -> u64 {
        self.0.add(number)
    }
    fn even(&self, number: u32) -> Result<u32, BenchError> {
        self.0.even(number)
    }
    fn joined(&self, text: &str, bytes: &[u8], times: Option<u8>) -> Vec<u8> {
        self.0.joined(text, bytes, times)
    }
    fn panics(&mut self, _text: String) {}
    fn waits(&self) -> bool {
        self.0.waits()
    }
    fn sums(&mut self, start: u32) -> Result<strongroom::Streamed<u64, BenchError>, BenchError> {
        self.0.sums(start)
    }
    fn reversed(&self, bytes: [u8; 4], text: &str) -> Result<([u8; 4], u32), BenchError> {
        self.0.reversed(bytes, text)
    }
    fn repeated(&self, bytes: &[u8], times: u32) -> Vec<u8> {
        self.0.repeated(bytes, times)
    }
    fn panics_too(&mut self) {}
}

#[test]
fn the_fuzzer_finds_a_service_that_panics() {
    let found = std::panic::catch_unwind(|| {
        strongroom_testing::attack::<Fragile, BenchInterface>(10_000, 1);
    });
    found.unwrap_err();
}

/// Panics at a number that no client of good will sends.
#[derive(Debug)]
struct Fragile(MyBenchThatStays);

impl strongroom::Service for Fragile {
    fn open(platform: &strongroom::Platform, caller: &Caller) -> Result<Self, OpenError> {
        MyBenchThatStays::open(platform, caller).map(Self)
    }
}

impl bench::Bench for Fragile {
    fn nothing(&self) {}
    fn add(&mut self, number: u64) -> u64 {
        number
    }
    fn even(&self, number: u32) -> Result<u32, BenchError> {
        assert!(number < 1000, "who would send such a number?");
        Ok(number)
    }
    fn joined(&self, _: &str, _: &[u8], _: Option<u8>) -> Vec<u8> {
        Vec::new()
    }
    fn panics(&mut self, _: String) {}
    fn waits(&self) -> bool {
        false
    }
    fn sums(&mut self, start: u32) -> Result<strongroom::Streamed<u64, BenchError>, BenchError> {
        self.0.sums(start)
    }
    fn reversed(&self, bytes: [u8; 4], text: &str) -> Result<([u8; 4], u32), BenchError> {
        self.0.reversed(bytes, text)
    }
    fn repeated(&self, bytes: &[u8], times: u32) -> Vec<u8> {
        self.0.repeated(bytes, times)
    }
    fn panics_too(&mut self) {}
}

#[test]
fn a_panic_is_an_error_and_the_next_call_finds_a_fresh_instance() {
    let mut client = client();
    client.add(5).unwrap();
    let number = client.sums(0).unwrap();
    drop(number);
    assert_eq!(client.panics("yes".into()), Err(CallError::Panicked));
    assert_eq!(client.add(1).unwrap(), 1);
    client.panics("no".into()).unwrap();
}

#[test]
fn a_cancelled_call_says_so() {
    let machine = Fake::new();
    let mut client = Client::connect(machine.serve()).unwrap();
    assert_eq!(client.waits(), Ok(false));
    machine.set_cancelled(true);
    assert_eq!(client.waits(), Err(CallError::Cancelled));
    machine.set_cancelled(false);
    assert_eq!(client.waits(), Ok(false));
}

#[test]
fn a_service_can_refuse_a_session() {
    let way = Fake::new().serve::<MyBench, BenchInterface>().as_caller(Caller::Beside);
    let refused = BenchClient::connect(way).unwrap_err();
    assert_eq!(refused, ConnectError::Refused(OpenError::Denied));
}

#[test]
fn sides_with_other_interfaces_name_both() {
    struct Changed<C>(C);
    impl<C: strongroom::Connect> strongroom::Connect for Changed<C> {
        type Transport = C::Transport;
        fn connect(self, opening: &Opening) -> Result<C::Transport, ConnectError> {
            let mut opening = opening.clone();
            opening.hello.version = 8;
            self.0.connect(&opening)
        }
    }
    let way = Changed(Fake::new().serve::<MyBench, BenchInterface>());
    let error = BenchClient::connect(way).unwrap_err();
    let ConnectError::Interface(two) = &error else { panic!("{error}") };
    let (ours, theirs) = (&two.ours, &two.theirs);
    assert_eq!((ours.version, theirs.version), (8, 7));
    assert_eq!((ours.name.as_str(), &theirs.hash), ("Bench", &BenchInterface::HASH));
    let words = error.to_string();
    assert!(words.contains("Bench version 8") && words.contains("Bench version 7"), "{words}");
}

#[test]
fn sixty_four_mebibytes_stream_through_and_back() {
    const CHUNKS: u64 = 1025;
    let mut client = client();
    let mut stream = client.sums(2).unwrap();
    let chunk = vec![3; 65_520];
    for _ in 0..CHUNKS {
        assert_eq!(stream.write(&chunk).unwrap(), vec![6; 65_520]);
    }
    const { assert!(CHUNKS * 65_520 > 64 << 20) };
    assert_eq!(stream.finish().unwrap(), 2 + CHUNKS * 65_520 * 3);
}

#[test]
fn streams_end_and_are_counted() {
    let mut client = client();
    assert_eq!(client.sums(1).err(), Some(CallError::Service(BenchError::Odd(1))));
    let mut stream = client.sums(0).unwrap();
    assert_eq!(stream.write(&[0; 65_537]), Err(CallError::RequestTooLarge(65_536)));
    assert_eq!(stream.write(&[0xff]), Err(CallError::Service(BenchError::Odd(0xff))));
    assert_eq!(stream.write(&[1]), Err(CallError::Stream));
    drop(stream);
    for _ in 0..STREAMS_MAX {
        std::mem::forget(client.sums(0).unwrap());
    }
    assert_eq!(client.sums(0).err(), Some(CallError::Stream));
    client.nothing().unwrap();
}

/// Every error says something of its own, with what to do next.
#[test]
fn errors_have_words() {
    fn words(error: CallError<Infallible>) -> String {
        error.to_string()
    }
    let all = [
        words(CallError::Panicked),
        words(CallError::Interface),
        words(CallError::RequestTooLarge(1)),
        words(CallError::AnswerTooLarge(1)),
        words(CallError::Cancelled),
        words(CallError::TimedOut),
        words(CallError::Stream),
        words(CallError::Attestation("the measurement is another")),
        words(CallError::Reopen(OpenError::Storage)),
        words(CallError::Tee { code: 1, origin: 3 }),
        words(CallError::Transport(strongroom::TransportError::Closed)),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[..index].contains(one) && one.len() > 15, "{one}");
    }
}
