// SPDX-License-Identifier: MIT
//! What Rust's standard library asks of its system, one line a thing. It prints the same on Linux.
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test program: an overflow or a panic fails the test"
)]

use std::{
    collections::HashMap,
    env, fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    panic,
    process::ExitCode,
    sync::{Arc, Barrier, Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

fn main() -> ExitCode {
    threads();
    waits();
    files();
    sockets();
    let counted: HashMap<&str, usize> =
        ["a", "b", "a"].into_iter().fold(HashMap::new(), |mut counted, word| {
            *counted.entry(word).or_default() += 1;
            counted
        });
    println!("map {}", counted.get("a").unwrap());
    panic::set_hook(Box::new(|_| ()));
    let caught = panic::catch_unwind(|| "7x".parse::<u8>().unwrap());
    println!("panic {}", if caught.is_err() { "caught" } else { "lost" });
    let arguments: Vec<String> = env::args().skip(1).collect();
    println!("arguments {arguments:?}");
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    println!("input {}", text.trim());
    eprintln!("to standard error");
    ExitCode::from(7)
}

/// Threads with a lock, a barrier and channels.
fn threads() {
    let (sender, receiver) = mpsc::channel();
    let total = Arc::new(Mutex::new(0_u64));
    let barrier = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (1..=4_u64)
        .map(|number| {
            let (sender, total, barrier) = (sender.clone(), total.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                for _ in 0..1000 {
                    *total.lock().unwrap() += number;
                }
                sender.send(number * number).unwrap();
            })
        })
        .collect();
    drop(sender);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("threads {} {}", total.lock().unwrap(), receiver.iter().sum::<u64>());
}

/// A condition that comes, one that does not, and clocks.
fn waits() {
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let other = Arc::clone(&pair);
    let setter = thread::spawn(move || {
        *other.0.lock().unwrap() = true;
        other.1.notify_one();
    });
    let (lock, changed) = &*pair;
    let came = changed.wait_while(lock.lock().unwrap(), |set| !*set).unwrap();
    println!("condition {}", *came);
    setter.join().unwrap();
    let before = Instant::now();
    let long = Duration::from_millis(20);
    let (_guard, waited) = changed.wait_timeout_while(came, long, |set| *set).unwrap();
    println!("timeout {} {}", waited.timed_out(), before.elapsed() >= long);
    thread::sleep(Duration::from_millis(5));
    println!("clock {}", SystemTime::now() > SystemTime::UNIX_EPOCH + long);
}

fn files() {
    let folder = env::temp_dir().join("strongroom-std");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("file");
    fs::File::create(&path).unwrap().write_all(b"kept").unwrap();
    println!("file {} {}", fs::read_to_string(&path).unwrap(), path.metadata().unwrap().len());
    println!("entries {}", fs::read_dir(&folder).unwrap().count());
    fs::remove_dir_all(&folder).unwrap();
    println!("gone {:?}", fs::read(&path).unwrap_err().kind());
}

/// A connection inside.
fn sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"over a socket").unwrap();
    });
    let (mut stream, _) = listener.accept().unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    client.join().unwrap();
    println!("{text}");
}
