// SPDX-License-Identifier: MIT
//! Sessions over a UNIX socket, with the service's side as it is in an enclave.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::panic,
    reason = "a test that meets the unexpected is to fail"
)]

use futures::{FutureExt as _, executor::block_on, future::join};
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use strongroom::{
    CallError, Caller, Connect, ConnectAsync, ConnectError, OpenError, Platform, Refusal, Service,
    Stream, Streamed, TransportError, client::Opening, frame, wire,
};
use strongroom_connect::{AsyncSession, Session, Way};

/// What a test asks for.
#[strongroom::service(version = 2)]
pub trait Probe {
    /// Counts.
    fn count(&mut self) -> u32;
    /// Panics.
    fn panics(&mut self);
    /// Waits until the client has left.
    fn waits(&self);
    /// As much as is asked for.
    #[limit(answer = 64)]
    fn fill(&self, length: u8) -> Vec<u8>;
    /// Adds bytes up, but none that is 0: there is no such sum.
    fn sum(&mut self) -> Result<Streamed<u32, u32>, u32>;
}

struct Sum(u32);

impl Stream for Sum {
    type Output = u32;
    type Error = u32;

    fn write(&mut self, chunk: &[u8], _out: &mut [u8]) -> Result<usize, u32> {
        if chunk.contains(&0) {
            return Err(self.0);
        }
        self.0 += chunk.iter().copied().map(u32::from).sum::<u32>();
        Ok(0)
    }

    fn finish(self: Box<Self>) -> Result<u32, u32> {
        Ok(self.0)
    }
}

static LEFT: AtomicBool = AtomicBool::new(false);

struct MyProbe(Platform, u32);

impl Service for MyProbe {
    fn open(platform: &Platform, caller: &Caller) -> Result<Self, OpenError> {
        // No name of the kernel's: whoever connects here is beside the service.
        if *caller == Caller::Beside {
            Ok(Self(platform.clone(), 0))
        } else {
            Err(OpenError::Denied)
        }
    }
}

impl Probe for MyProbe {
    fn count(&mut self) -> u32 {
        self.1 += 1;
        self.1
    }

    fn panics(&mut self) {
        panic!("as it was told to");
    }

    fn waits(&self) {
        while !self.0.is_cancelled() {
            thread::sleep(Duration::from_millis(5));
        }
        LEFT.store(true, Ordering::SeqCst);
    }

    fn fill(&self, length: u8) -> Vec<u8> {
        vec![7; length.into()]
    }

    fn sum(&mut self) -> Result<Streamed<u32, u32>, u32> {
        // Whoever has counted may have no sum.
        if self.1 == 0 { Ok(Box::new(Sum(0))) } else { Err(self.1) }
    }
}

/// A service in a folder of its own.
fn served() -> (tempfile::TempDir, Way) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || {
                let _ = strongroom_service_linux::session::<MyProbe, ProbeInterface>(stream);
            });
        }
    });
    let way = strongroom_connect::to(&format!("unix:{}", path.display())).unwrap();
    (folder, way)
}

#[test]
fn calls_are_answered_and_a_panic_makes_a_fresh_instance() {
    let (_folder, way) = served();
    let mut client = ProbeClient::connect(way.clone()).unwrap();
    let mut other = ProbeClient::connect(way).unwrap();
    assert_eq!(client.count(), Ok(1));
    assert_eq!(client.count(), Ok(2));
    assert_eq!(other.count(), Ok(1), "an instance of its own");
    assert_eq!(client.panics(), Err(CallError::Panicked));
    assert_eq!(client.count(), Ok(1), "a fresh one");
    assert_eq!(other.count(), Ok(2), "the others do not notice");
    assert_eq!(client.fill(60).unwrap(), [7; 60]);
    assert_eq!(client.fill(200), Err(CallError::AnswerTooLarge(64)));
    assert_eq!(client.count(), Ok(2), "a refusal ends nothing");
}

#[test]
fn errors_of_methods_and_of_streams_are_the_services_own() {
    let (_folder, way) = served();
    let mut client = ProbeClient::connect(way).unwrap();
    let mut writer = client.sum().unwrap();
    writer.write(&[1, 2]).unwrap();
    assert_eq!(writer.write(&[3, 0]), Err(CallError::Service(3)));
    assert_eq!(writer.write(&[4]), Err(CallError::Stream), "it has ended");
    drop(writer);
    let mut writer = client.sum().unwrap();
    writer.write(&[1, 2]).unwrap();
    assert_eq!(writer.finish(), Ok(3));
    assert_eq!(client.count(), Ok(1));
    assert_eq!(client.sum().err(), Some(CallError::Service(1)));
}

#[test]
fn a_client_that_waits_no_longer_ends_its_session_and_the_call() {
    let (_folder, way) = served();
    let mut client = ProbeClient::connect(way.clone()).unwrap();
    client.session().set_timeout(Some(Duration::from_millis(100)));
    let begun = Instant::now();
    assert_eq!(client.waits(), Err(CallError::TimedOut));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(client.count(), Err(CallError::Transport(TransportError::Closed)));
    drop(client);
    while !LEFT.load(Ordering::SeqCst) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the service does not notice");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ProbeClient::connect(way).unwrap().count(), Ok(1));
}

#[test]
fn calls_are_awaited_and_two_sessions_go_on_at_the_same_time() {
    let (_folder, way) = served();
    let begun = Instant::now();
    let (mut one, mut other) = block_on(async {
        let connect = || ProbeAsyncClient::<AsyncSession>::connect(way.clone());
        (connect().await.unwrap(), connect().await.unwrap())
    });
    one.session().set_timeout(Some(Duration::from_millis(500)));
    let (late, counted) = block_on(join(one.waits(), async {
        let first = other.count().await;
        (first, other.count().await, begun.elapsed())
    }));
    assert_eq!((late, counted.0, counted.1), (Err(CallError::TimedOut), Ok(1), Ok(2)));
    assert!(counted.2 < Duration::from_millis(500), "the others are not kept waiting");
    assert_eq!(block_on(other.fill(200)), Err(CallError::AnswerTooLarge(64)));
    let refused = block_on(ProbeAsyncClient::connect(Older(way))).unwrap_err();
    assert!(matches!(refused, ConnectError::Interface(_)), "{refused}");
}

#[test]
fn an_answer_that_was_given_up_goes_to_no_other_call() {
    let (_folder, way) = served();
    let mut client = block_on(ProbeAsyncClient::<AsyncSession>::connect(way)).unwrap();
    for _ in 0..100 {
        // Polled once, which sends it, and dropped.
        let _ = client.count().now_or_never();
        assert_eq!(block_on(client.fill(3)).unwrap(), [7; 3]);
    }
    assert!(block_on(client.count()).unwrap() <= 101);
}

/// A client that was built from another source.
struct Older(Way);

impl Connect for Older {
    type Transport = Session;

    fn connect(self, opening: &Opening) -> Result<Session, ConnectError> {
        let mut opening = opening.clone();
        opening.hello.version = 1;
        Connect::connect(self.0, &opening)
    }
}

impl ConnectAsync for Older {
    type Transport = AsyncSession;

    async fn connect(self, opening: &Opening) -> Result<AsyncSession, ConnectError> {
        let mut opening = opening.clone();
        opening.hello.version = 1;
        ConnectAsync::connect(self.0, &opening).await
    }
}

#[test]
fn other_interfaces_and_empty_addresses_are_refused() {
    let (folder, way) = served();
    let refused = ProbeClient::connect(Older(way)).unwrap_err().to_string();
    assert!(
        refused.contains("Probe version 1") && refused.contains("Probe version 2"),
        "{refused}"
    );
    let nobody = format!("unix:{}", folder.path().join("nobody").display());
    let absent = ProbeClient::connect(strongroom_connect::to(&nobody).unwrap()).unwrap_err();
    assert_eq!(absent, ConnectError::Transport(TransportError::Absent));
}

/// What a stranger sends costs its own connection only.
#[test]
fn nonsense_ends_the_connection() {
    let (folder, way) = served();
    let connect = || UnixStream::connect(folder.path().join("socket")).unwrap();
    let heard = |mut stream: UnixStream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).map(|_| heard).unwrap_or_default()
    };
    let mut call_first = connect();
    call_first.write_all(&frame::request_header(0, 0).unwrap()).unwrap();
    assert_eq!(heard(call_first), b"");
    let mut long_hello = connect();
    long_hello.write_all(&frame::request_header(frame::HELLO, 1 << 20).unwrap()).unwrap();
    assert_eq!(heard(long_hello), b"");
    // A request over the limit is refused by name, and is the last.
    let mut long_request = connect();
    let mut hello = [0; strongroom::interface::HELLO_MAX];
    let opening = Opening::of::<ProbeInterface>();
    let hello = opening.hello(&mut hello).unwrap();
    long_request.write_all(&frame::request_header(frame::HELLO, hello.len()).unwrap()).unwrap();
    long_request.write_all(hello).unwrap();
    long_request.write_all(&frame::request_header(0, 1 << 30).unwrap()).unwrap();
    let answers = heard(long_request);
    let refusal = Refusal::RequestTooLarge(strongroom::interface::LIMIT_DEFAULT as u32);
    let mut expected = [0; 16];
    let mut encoder = wire::Encoder::new(&mut expected);
    encoder.put(&wire::REFUSED).unwrap();
    encoder.put(&refusal).unwrap();
    let used = encoder.used();
    assert_eq!(answers[5..5 + 4], (used as u32).to_le_bytes());
    assert_eq!(answers[9..], expected[..used]);
    assert_eq!(ProbeClient::connect(way).unwrap().count(), Ok(1));
}
