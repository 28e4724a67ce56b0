// SPDX-License-Identifier: MIT
//! Values that manifest and command line write alike. Errors say what is allowed.

use super::DirectoryGrant;
use crate::session::{ConnectAccess, ListenAccess};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Least memory that a small program starts in, static and beside its kernel.
const MEMORY_MIN: u64 = 4 << 20;
/// Most memory: far over any machine, far under where sums overflow.
const MEMORY_MAX: u64 = 1 << 44;

/// Bytes from `512M`, `2G`, `65536K` or a plain number of bytes.
///
/// # Errors
///
/// A sentence that says what is allowed.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let allowed = || {
        format!(
            "`{text}` is no memory size; allowed are a whole number and K, M or G, from 4M to 16384G"
        )
    };
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..).unwrap_or_default() {
        "" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        _ => return Err(allowed()),
    };
    let number: u64 = digits.parse().map_err(|_| allowed())?;
    number
        .checked_mul(unit)
        .filter(|bytes| (MEMORY_MIN..=MEMORY_MAX).contains(bytes))
        .ok_or_else(allowed)
}

/// `HOST:PORT`, where an IPv6 address is in brackets.
///
/// # Errors
///
/// A sentence that says what is allowed.
pub fn parse_connect(text: &str) -> Result<ConnectAccess, String> {
    let allowed = || format!("`{text}` names no host and port; allowed is HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(allowed)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(address) => address,
        None if host.contains(':') => return Err(allowed()),
        None => host,
    };
    let port: u16 = port.parse().map_err(|_| allowed())?;
    let plain = |character: char| character.is_ascii_graphic() && character != '/';
    if host.is_empty() || port == 0 || !host.chars().all(plain) {
        return Err(allowed());
    }
    Ok(ConnectAccess { host: host.to_owned(), port })
}

/// `[ADDRESS:]HOSTPORT[=PORT]`: where the host listens, and the port that the program binds when
/// it is another. Without an address it is 127.0.0.1.
///
/// # Errors
///
/// A sentence that says what is allowed.
pub fn parse_listen(text: &str) -> Result<ListenAccess, String> {
    let allowed = || {
        format!(
            "`{text}` names no listening port; allowed is [ADDRESS:]HOSTPORT[=PORT], with a numeric address"
        )
    };
    let (outer, port) = match text.split_once('=') {
        Some((outer, port)) => (outer, Some(port.parse::<u16>().map_err(|_| allowed())?)),
        None => (text, None),
    };
    let address = match outer.parse::<u16>() {
        Ok(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        Err(_) => outer.parse::<SocketAddr>().map_err(|_| allowed())?,
    };
    let port = port.unwrap_or(address.port());
    // Port 0 on the host picks a free one; the program has to bind a definite one.
    if port == 0 { Err(allowed()) } else { Ok(ListenAccess { address, port }) }
}

/// `HOST=MOUNT[:rw]`: a directory of the host and where the program sees it.
///
/// # Errors
///
/// A sentence that says what is allowed.
pub fn parse_directory(text: &str) -> Result<DirectoryGrant, String> {
    let allowed = || format!("`{text}` grants no directory; allowed is HOST_DIRECTORY=MOUNT[:rw]");
    let (host, mount) = text.rsplit_once('=').ok_or_else(allowed)?;
    let (mount, writable) = match mount.rsplit_once(':') {
        Some((mount, "rw")) => (mount, true),
        Some((mount, "ro")) => (mount, false),
        Some(_) => return Err(allowed()),
        None => (mount, false),
    };
    if host.is_empty() {
        return Err(allowed());
    }
    check_mount(mount)?;
    Ok(DirectoryGrant { host: host.into(), mount: mount.to_owned(), writable })
}

/// `NAME=VALUE`.
///
/// # Errors
///
/// A sentence that says what is allowed.
pub fn parse_environment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` sets no variable; allowed is NAME=VALUE"))?;
    check_variable(name, value)?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Accepts the name and value of an environment variable.
pub(super) fn check_variable(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("`{name}` is no name of a variable; it needs a character, and no ="));
    }
    no_zero(value)
}

/// Accepts an absolute path of plain names that is not the root.
pub(super) fn check_mount(mount: &str) -> Result<(), String> {
    check_absolute(mount)?;
    if mount == "/" {
        return Err("a directory cannot be mounted at /; the root is the image".to_owned());
    }
    Ok(())
}

/// Accepts an absolute path of plain names.
pub(super) fn check_absolute(path: &str) -> Result<(), String> {
    no_zero(path)?;
    let plain = |name: &str| !matches!(name, "" | "." | "..");
    match path.strip_prefix('/') {
        Some("") => Ok(()),
        Some(rest) if rest.split('/').all(plain) => Ok(()),
        Some(_) | None => Err(format!(
            "`{path}` is not allowed here; an absolute path without `.`, `..` and double slashes is"
        )),
    }
}

/// Accepts what a C string can hold.
pub(super) fn no_zero(text: &str) -> Result<(), String> {
    if text.contains('\0') { Err("a zero byte is not allowed here".to_owned()) } else { Ok(()) }
}
