// SPDX-License-Identifier: MIT
//! Connections of clients of an attested session: the launcher carries their bytes.

use super::*;
use std::net::TcpStream;
use strongroom_wire::message::SocketAsk;

fn ask(enclave: &mut Enclave, ask: SocketAsk<'_>) -> Reply {
    enclave.ask(Ask::Socket(ask))
}

/// An enclave to which clients come at `address`, and where that turned out to be.
fn start(address: &str) -> (Enclave, AttachAddress) {
    let listener = AttachListener::bind(&address.parse().unwrap()).unwrap();
    let address = listener.address().unwrap();
    let attach = Some(listener);
    (Enclave::greeted(Services { attach, ..Services::default() }), address)
}

fn carry(enclave: &mut Enclave, listener: u32, mut client: impl std::io::Read + std::io::Write) {
    let handle = ask(enclave, SocketAsk::Accept { handle: listener }).handle();
    client.write_all(b"hello").unwrap();
    assert_eq!(ask(enclave, SocketAsk::Receive { handle, max: 99 }).data(), b"hello");
    ask(enclave, SocketAsk::Send { handle, bytes: b"evidence" }).result().unwrap();
    let mut bytes = [0; 8];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"evidence");
    ask(enclave, SocketAsk::Finish { handle }).result().unwrap();
    assert_eq!(client.read(&mut bytes).unwrap(), 0);
    enclave.send_as(0, Ask::Socket(SocketAsk::Close { handle }));
}

#[test]
fn bytes_of_clients_are_carried_over_either_kind_of_socket() {
    let (mut enclave, address) = start("tcp:127.0.0.1:0");
    let AttachAddress::Tcp(address) = address else { panic!("{address}") };
    let early = TcpStream::connect(&address).unwrap();
    let listener = ask(&mut enclave, SocketAsk::Attach { backlog: 4 }).handle();
    carry(&mut enclave, listener, early);
    carry(&mut enclave, listener, TcpStream::connect(&address).unwrap());
    enclave.exit(0);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (mut enclave, _) = start(&format!("unix:{}", path.display()));
    let listener = ask(&mut enclave, SocketAsk::Attach { backlog: 4 }).handle();
    carry(&mut enclave, listener, UnixStream::connect(&path).unwrap());
    // The listener is the enclave's to close; its file goes with it.
    enclave.send_as(0, Ask::Socket(SocketAsk::Close { handle: listener }));
    enclave.ask(Ask::WallClock);
    assert!(!path.exists());
    enclave.exit(0);
}

#[test]
fn there_is_one_place_for_clients_or_none() {
    let mut enclave = Enclave::greeted(Services::default());
    let refused = ask(&mut enclave, SocketAsk::Attach { backlog: 4 });
    assert_eq!(refused.result(), Err(HostError::Unsupported));
    enclave.exit(0);

    let (mut enclave, _) = start("tcp:127.0.0.1:0");
    ask(&mut enclave, SocketAsk::Attach { backlog: 4 }).handle();
    let second = ask(&mut enclave, SocketAsk::Attach { backlog: 4 });
    assert_eq!(second.result(), Err(HostError::Unsupported));
    enclave.exit(0);
}

#[test]
fn addresses_say_what_they_are() {
    for good in ["unix:/run/a", "unix:a", "tcp:127.0.0.1:80", "tcp:[::1]:80", "tcp:host:1"] {
        assert_eq!(good.parse::<AttachAddress>().unwrap().to_string(), good);
    }
    for bad in
        ["", "/run/a", "unix:", "tcp:80", "tcp::80", "tcp:host:", "tcp:host:65536", "udp:a:1"]
    {
        let refused = bad.parse::<AttachAddress>().unwrap_err();
        assert!(refused.contains("unix:PATH and tcp:HOST:PORT"), "{refused}");
    }
    let folder = tempfile::tempdir().unwrap();
    let taken = AttachAddress::Unix(folder.path().join("socket"));
    let first = AttachListener::bind(&taken).unwrap();
    assert!(AttachListener::bind(&taken).is_err(), "another launcher's socket is left alone");
    drop(first);
    assert!(AttachListener::bind(&taken).is_ok());
}

#[test]
fn a_private_socket_leaves_nothing_behind() {
    use std::os::unix::fs::PermissionsExt as _;
    let listener = AttachListener::private().unwrap();
    let AttachAddress::Unix(path) = listener.address().unwrap() else { panic!("not unix") };
    let folder = path.parent().unwrap().to_path_buf();
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    drop(listener);
    assert!(!folder.exists());
}
