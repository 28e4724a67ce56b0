// SPDX-License-Identifier: MIT
//! Granted sockets over loopback.

use super::*;
use std::net::{Shutdown, TcpListener, TcpStream};
use strongroom_wire::message::{Address, SocketAsk};

fn ask(enclave: &mut Enclave, ask: SocketAsk<'_>) -> Reply {
    enclave.ask(Ask::Socket(ask))
}

/// An enclave that may connect to `port`, and listen on a free one.
fn start(port: u16) -> Enclave {
    Enclave::greeted(Services {
        connects: vec![ConnectAccess { host: "127.0.0.1".into(), port }],
        listens: vec![ListenAccess { address: "127.0.0.1:0".parse().unwrap(), port: 80 }],
        ..Services::default()
    })
}

/// A connection from the enclave to a listener here.
fn connected() -> (Enclave, u32, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut enclave = start(listener.local_addr().unwrap().port());
    let handle = ask(&mut enclave, SocketAsk::Connect { grant: 0 }).handle();
    (enclave, handle, listener.accept().unwrap().0)
}

/// A listening enclave, its handle and port.
fn listening() -> (Enclave, u32, u16) {
    let mut enclave = start(1);
    let reply = ask(&mut enclave, SocketAsk::Listen { grant: 0, backlog: 5 });
    let Ok(Answer::Handle(handle, Address::V4([127, 0, 0, 1], port))) = reply.result() else {
        panic!("{:?}", reply.result())
    };
    (enclave, handle, port)
}

#[test]
fn an_outgoing_connection_carries_bytes_both_ways() {
    let (mut enclave, handle, mut peer) = connected();
    let sent = ask(&mut enclave, SocketAsk::Send { handle, bytes: b"question" });
    assert_eq!(sent.result(), Ok(Answer::Done));
    let mut bytes = [0; 8];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"question");

    let ticket = enclave.send(Ask::Socket(SocketAsk::Receive { handle, max: 100 }));
    enclave.ask(Ask::WallClock);
    peer.write_all(b"answer").unwrap();
    let reply = enclave.receive();
    assert_eq!((reply.ticket(), reply.data()), (ticket, &b"answer"[..]));

    assert_eq!(ask(&mut enclave, SocketAsk::Finish { handle }).result(), Ok(Answer::Done));
    assert_eq!(peer.read(&mut bytes).unwrap(), 0);
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(ask(&mut enclave, SocketAsk::Receive { handle, max: 9 }).data(), b"");
    enclave.exit(0);
}

#[test]
fn refusals_are_told() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut enclave = start(closed);
    let refused = ask(&mut enclave, SocketAsk::Connect { grant: 0 });
    assert_eq!(refused.result(), Err(HostError::Refused));
    enclave.exit(0);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let access = ListenAccess { address: taken.local_addr().unwrap(), port: 80 };
    let mut enclave = Enclave::greeted(Services { listens: vec![access], ..Services::default() });
    let refused = ask(&mut enclave, SocketAsk::Listen { grant: 0, backlog: 1 });
    assert_eq!(refused.result(), Err(HostError::InUse));
    enclave.exit(0);
}

#[test]
fn accepts_wait_for_connections_in_order() {
    let (mut enclave, handle, port) = listening();
    let first = enclave.send(Ask::Socket(SocketAsk::Accept { handle }));
    let second = enclave.send(Ask::Socket(SocketAsk::Accept { handle }));
    let peers = [(); 2].map(|()| TcpStream::connect(("127.0.0.1", port)).unwrap());
    let mut handles = Vec::new();
    for (ticket, peer) in [first, second].into_iter().zip(&peers) {
        let reply = enclave.receive();
        assert_eq!(reply.ticket(), ticket);
        let address = Address::V4([127, 0, 0, 1], peer.local_addr().unwrap().port());
        assert_eq!(reply.result(), Ok(Answer::Accepted(reply.handle(), address)));
        handles.push(reply.handle());
    }
    (&peers[1]).write_all(b"second").unwrap();
    let received = ask(&mut enclave, SocketAsk::Receive { handle: handles[1], max: 99 });
    assert_eq!(received.data(), b"second");
    // Operations of the wrong kind.
    let wrong = ask(&mut enclave, SocketAsk::Accept { handle: handles[0] });
    assert_eq!(wrong.result(), Err(HostError::Invalid));
    let wrong = ask(&mut enclave, SocketAsk::Receive { handle, max: 1 });
    assert_eq!(wrong.result(), Err(HostError::Invalid));
    enclave.exit(0);
}

#[test]
fn closing_fails_what_waits() {
    let (mut enclave, handle, mut peer) = connected();
    let ticket = enclave.send(Ask::Socket(SocketAsk::Receive { handle, max: 1 }));
    enclave.send_as(0, Ask::Socket(SocketAsk::Close { handle }));
    let reply = enclave.receive();
    assert_eq!((reply.ticket(), reply.result()), (ticket, Err(HostError::Reset)));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    let late = ask(&mut enclave, SocketAsk::Receive { handle, max: 1 });
    assert_eq!(late.result(), Err(HostError::Invalid));
    enclave.exit(0);

    let (mut enclave, handle, port) = listening();
    let ticket = enclave.send(Ask::Socket(SocketAsk::Accept { handle }));
    enclave.send_as(0, Ask::Socket(SocketAsk::Close { handle }));
    let reply = enclave.receive();
    assert_eq!((reply.ticket(), reply.result()), (ticket, Err(HostError::Reset)));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    enclave.exit(0);
}

#[test]
fn a_slow_peer_gets_everything_and_holds_nobody_up() {
    let (mut enclave, handle, mut peer) = connected();
    let chunk: Vec<u8> = (0..frame::DATA_MAX).map(|at| (at % 251) as u8).collect();
    // Far more than the buffers of the host's system hold.
    let tickets: Vec<u64> = (0..100)
        .map(|_| enclave.send(Ask::Socket(SocketAsk::Send { handle, bytes: &chunk })))
        .collect();
    let clock = enclave.send(Ask::WallClock);
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        let mut bytes = vec![0; 100 * frame::DATA_MAX];
        peer.read_exact(&mut bytes).unwrap();
        bytes
    });
    let answered: Vec<u64> = (0..=100).map(|_| enclave.receive().ticket()).collect();
    let sends: Vec<u64> = answered.iter().copied().filter(|ticket| *ticket != clock).collect();
    assert_eq!(sends, tickets);
    assert_ne!(answered.last(), Some(&clock));
    assert!(reader.join().unwrap().chunks(frame::DATA_MAX).all(|part| part == chunk));
    enclave.exit(0);
}

#[test]
fn a_peer_that_resets_is_an_answer() {
    let (mut enclave, handle, peer) = connected();
    rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
    let reply = ask(&mut enclave, SocketAsk::Receive { handle, max: 1 });
    assert_eq!(reply.result(), Err(HostError::Reset));
    enclave.exit(0);
}
