// SPDX-License-Identifier: MIT
//! Socket addresses: from the bytes of a program and back (`unix(7)`, `ip(7)`, `ipv6(7)`).
//!
//! Inside the kernel an IPv4-mapped IPv6 address is the IPv4 address it stands for.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use strongroom_abi::Errno;

/// Most bytes of a socket address (`struct sockaddr_storage`).
pub(crate) const ADDRESS_MAX: usize = 128;
/// Address families.
pub(crate) const AF_UNSPEC: u16 = 0;
pub(crate) const AF_UNIX: u16 = 1;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
/// `sizeof(struct sockaddr_un)`.
const UNIX_MAX: usize = 110;
/// `sizeof(struct sockaddr_in)`.
const INET_SIZE: usize = 16;
/// What of `struct sockaddr_in6` must be there; the scope may be missing.
const INET6_MIN: usize = 24;

/// The family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    Unix,
    Inet,
    Inet6,
}

impl Domain {
    /// Its number (`SO_DOMAIN`).
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Unix => AF_UNIX,
            Self::Inet => AF_INET,
            Self::Inet6 => AF_INET6,
        }
    }
}

/// The name of a UNIX socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum UnixName {
    #[default]
    Unnamed,
    /// A path, without its terminator.
    Path(Box<[u8]>),
    /// A name that is in no file system, without its leading NUL.
    Abstract(Box<[u8]>),
}

/// The name of a socket of any family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Unix(UnixName),
    Inet(SocketAddr),
}

/// The family in front of an address.
pub(crate) fn family_of(bytes: &[u8]) -> Result<u16, Errno> {
    let family = bytes.first_chunk::<2>().ok_or(Errno::EINVAL)?;
    Ok(u16::from_ne_bytes(*family))
}

impl UnixName {
    /// Reads `struct sockaddr_un`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for another family and for impossible lengths.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Errno> {
        if bytes.len() > UNIX_MAX || family_of(bytes)? != AF_UNIX {
            return Err(Errno::EINVAL);
        }
        Ok(match bytes.get(2..).unwrap_or_default() {
            [] => Self::Unnamed,
            [0, name @ ..] => Self::Abstract(name.into()),
            path => {
                let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                Self::Path(path.get(..end).unwrap_or_default().into())
            }
        })
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&AF_UNIX.to_ne_bytes());
        match self {
            Self::Unnamed => {}
            Self::Path(path) => {
                bytes.extend_from_slice(path);
                bytes.push(0);
            }
            Self::Abstract(name) => {
                bytes.push(0);
                bytes.extend_from_slice(name);
            }
        }
    }
}

impl Name {
    /// The bytes for a program whose socket is of `domain`.
    pub(crate) fn encode(&self, domain: Domain) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(28);
        match self {
            Self::Unix(name) => name.encode(&mut bytes),
            Self::Inet(address) => encode_inet(*address, domain, &mut bytes),
        }
        bytes
    }
}

/// Reads `struct sockaddr_in` or `struct sockaddr_in6` for a socket of `domain`.
///
/// # Errors
///
/// `EINVAL` when it is too short, `EAFNOSUPPORT` for a family that the socket does not speak.
pub(crate) fn parse_inet(bytes: &[u8], domain: Domain) -> Result<SocketAddr, Errno> {
    // The length is looked at first, as Linux does.
    match domain {
        Domain::Inet => {
            let bytes = bytes.first_chunk::<INET_SIZE>().ok_or(Errno::EINVAL)?;
            if family_of(bytes)? != AF_INET {
                return Err(Errno::EAFNOSUPPORT);
            }
            let [_, _, high, low, a, b, c, d, ..] = *bytes;
            let address = Ipv4Addr::new(a, b, c, d);
            Ok(SocketAddr::new(IpAddr::V4(address), u16::from_be_bytes([high, low])))
        }
        Domain::Inet6 => {
            let bytes = bytes.first_chunk::<INET6_MIN>().ok_or(Errno::EINVAL)?;
            if family_of(bytes)? != AF_INET6 {
                return Err(Errno::EAFNOSUPPORT);
            }
            let [_, _, high, low, ..] = *bytes;
            let address = bytes.last_chunk::<16>().ok_or(Errno::EINVAL)?;
            let address = Ipv6Addr::from(*address).to_canonical();
            Ok(SocketAddr::new(address, u16::from_be_bytes([high, low])))
        }
        Domain::Unix => Err(Errno::EAFNOSUPPORT),
    }
}

fn encode_inet(address: SocketAddr, domain: Domain, bytes: &mut Vec<u8>) {
    let port = address.port().to_be_bytes();
    match (address.ip(), domain) {
        // A socket of IPv4 has no words for an IPv6 peer, which only the outside can have.
        (ip, Domain::Inet | Domain::Unix) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip,
                IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
            };
            bytes.extend_from_slice(&AF_INET.to_ne_bytes());
            bytes.extend_from_slice(&port);
            bytes.extend_from_slice(&ip.octets());
            bytes.resize(INET_SIZE, 0);
        }
        (ip, Domain::Inet6) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            bytes.extend_from_slice(&AF_INET6.to_ne_bytes());
            bytes.extend_from_slice(&port);
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 4]);
        }
    }
}

/// The wildcard address of a domain.
pub(crate) const fn wildcard(domain: Domain) -> IpAddr {
    match domain {
        Domain::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Domain::Inet | Domain::Unix => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

/// Where a connection to `to` comes from when its socket is not bound to an address.
pub(crate) const fn source_for(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// As a destination, the wildcard means this host.
pub(crate) const fn destination(to: SocketAddr) -> SocketAddr {
    let ip = match to.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other @ (IpAddr::V4(_) | IpAddr::V6(_)) => other,
    };
    SocketAddr::new(ip, to.port())
}

/// Whether an address is one of the enclave's own.
pub(crate) const fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_names_survive_and_lengths_are_checked() {
        let path = b"\x01\0/run/x\0junk";
        let name = UnixName::parse(path).unwrap();
        assert_eq!(name, UnixName::Path((*b"/run/x").into()));
        assert_eq!(Name::Unix(name).encode(Domain::Unix), b"\x01\0/run/x\0");
        let hidden = b"\x01\0\0a\0b";
        let name = UnixName::parse(hidden).unwrap();
        assert_eq!(name, UnixName::Abstract((*b"a\0b").into()));
        assert_eq!(Name::Unix(name).encode(Domain::Unix), hidden);
        assert_eq!(UnixName::parse(b"\x01\0"), Ok(UnixName::Unnamed));
        assert_eq!(UnixName::parse(b"\x01"), Err(Errno::EINVAL));
        assert_eq!(UnixName::parse(b"\x02\0/x"), Err(Errno::EINVAL));
        let mut longest = [b'x'; 111];
        longest[..2].copy_from_slice(b"\x01\0");
        assert!(UnixName::parse(&longest[..110]).is_ok());
        assert_eq!(UnixName::parse(&longest), Err(Errno::EINVAL));
    }

    #[test]
    fn inet_addresses_survive_and_mapped_ones_are_ipv4() {
        let four = b"\x02\0\x1f\x90\x7f\0\0\x01\0\0\0\0\0\0\0\0";
        let address = parse_inet(four, Domain::Inet).unwrap();
        assert_eq!(address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(Name::Inet(address).encode(Domain::Inet), four);
        let mapped = Name::Inet(address).encode(Domain::Inet6);
        assert_eq!(mapped.len(), 28);
        assert_eq!(parse_inet(&mapped, Domain::Inet6), Ok(address));
        assert_eq!(parse_inet(&mapped[..24], Domain::Inet6), Ok(address));
        assert_eq!(parse_inet(&mapped[..23], Domain::Inet6), Err(Errno::EINVAL));
        assert_eq!(parse_inet(&four[..15], Domain::Inet), Err(Errno::EINVAL));
        assert_eq!(parse_inet(four, Domain::Inet6), Err(Errno::EINVAL));
        assert_eq!(parse_inet(&[99; 16], Domain::Inet), Err(Errno::EAFNOSUPPORT));
        assert_eq!(parse_inet(&mapped, Domain::Inet), Err(Errno::EAFNOSUPPORT));
        assert_eq!(parse_inet(b"\x02", Domain::Inet), Err(Errno::EINVAL));
    }

    #[test]
    fn the_wildcard_is_local_and_leads_to_this_host() {
        assert_eq!(destination("0.0.0.0:7".parse().unwrap()), "127.0.0.1:7".parse().unwrap());
        assert_eq!(destination("[::]:7".parse().unwrap()), "[::1]:7".parse().unwrap());
        assert!(is_local("127.9.9.9".parse().unwrap()));
        assert!(!is_local("10.0.0.1".parse().unwrap()));
    }
}
