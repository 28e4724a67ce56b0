// SPDX-License-Identifier: MIT
//! Cases where a host program talks to the guest program through a granted listening port.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use regex::Regex;

use super::{
    case::{Case, Client},
    cases::{Rooted, last_lines},
    native::{Network, Run},
};
use crate::process::{self, Finished};

/// Starts the guest program, waits for its port, runs the client, expects the guest to end.
pub(crate) fn serve(
    case: &Case,
    client: &Client,
    server: &mut Command,
    rooted: &Rooted,
) -> Result<Option<String>> {
    let deadline = Instant::now() + case.limit();
    thread::scope(|scope| {
        let server = scope.spawn(|| process::capture(server, case.stdin.as_bytes(), case.limit()));
        while !is_open(client.port) && !server.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(100));
        }
        let talked = if server.is_finished() { None } else { Some(talk(case, client, rooted)) };
        let served = server.join().map_err(|_| anyhow!("the server's thread died"))??;
        let Some(talked) = talked else {
            return Ok(Some(failed("the guest program ended before its port was open", &served)));
        };
        judge(client, &talked?, &served)
    })
}

fn is_open(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

fn talk(case: &Case, client: &Client, rooted: &Rooted) -> Result<Finished> {
    Run {
        root: &rooted.root.folder,
        command: &client.command,
        env: &case.env,
        stdin: b"",
        limit: case.limit(),
        network: Network::Host,
    }
    .finish()
}

fn judge(client: &Client, talked: &Finished, served: &Finished) -> Result<Option<String>> {
    let output = String::from_utf8_lossy(&talked.stdout);
    if talked.status != 0 || !Regex::new(&client.matches)?.is_match(&output) {
        let mut problem = format!(
            "the host's client ended with status {} and output that does not match `{}`\n",
            talked.status, client.matches
        );
        problem.push_str(&last_lines("client's output", &talked.stdout));
        problem.push_str(&last_lines("client's errors", &talked.stderr));
        problem.push_str(&last_lines("guest program's output", &served.stdout));
        return Ok(Some(problem));
    }
    if served.timed_out || served.status != 0 {
        return Ok(Some(failed("the guest program did not end well", served)));
    }
    Ok(None)
}

fn failed(what: &str, served: &Finished) -> String {
    let mut problem = format!("{what} (status {})\n", served.status);
    problem.push_str(&last_lines("output", &served.stdout));
    problem.push_str(&last_lines("standard error", &served.stderr));
    problem
}
