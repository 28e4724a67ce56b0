// SPDX-License-Identifier: MIT
//! The one network interface, `lo`, as far as programs ask for it (`netdevice(7)`).

use crate::outcome::SysResult;
use crate::task::Call;
use crate::user::UserPtr;
use strongroom_abi::Errno;

/// `struct ifreq`: a name of 16 bytes and a union of 24.
type Request = [u8; REQUEST];
const REQUEST: usize = 40;
const NAME: [u8; 16] = *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// 127.0.0.1 and its mask, as `struct sockaddr_in`.
const ADDRESS: [u8; 8] = [2, 0, 0, 0, 127, 0, 0, 1];
const MASK: [u8; 8] = [2, 0, 0, 0, 255, 0, 0, 0];
/// Up, loopback, running.
const FLAGS: u16 = 0x1 | 0x8 | 0x40;
const MTU: u32 = 65_536;
/// `ARPHRD_LOOPBACK`.
const HARDWARE: u16 = 772;
const INDEX: u32 = 1;

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;

/// `ioctl(2)` of a socket about interfaces.
pub(crate) fn control(call: &Call<'_>, request: u32, argument: usize) -> SysResult {
    let at = UserPtr::<Request>::at(argument);
    match request {
        SIOCGIFCONF => list(call, argument),
        SIOCGIFNAME => {
            let asked = at.read(call.memory)?;
            if asked.get(16..20) != Some(&INDEX.to_ne_bytes()) {
                return Err(Errno::ENODEV.into());
            }
            answer(call, at, &INDEX.to_ne_bytes())
        }
        SIOCGIFFLAGS => named(call, at, &FLAGS.to_ne_bytes()),
        SIOCGIFADDR => named(call, at, &ADDRESS),
        SIOCGIFNETMASK => named(call, at, &MASK),
        SIOCGIFMTU => named(call, at, &MTU.to_ne_bytes()),
        SIOCGIFHWADDR => named(call, at, &HARDWARE.to_ne_bytes()),
        SIOCGIFINDEX => named(call, at, &INDEX.to_ne_bytes()),
        _ => Err(Errno::ENOTTY.into()),
    }
}

/// Answers a question that names the interface.
fn named(call: &Call<'_>, at: UserPtr<Request>, value: &[u8]) -> SysResult {
    let asked = at.read(call.memory)?;
    if !asked.starts_with(b"lo\0") {
        return Err(Errno::ENODEV.into());
    }
    answer(call, at, value)
}

fn answer(call: &Call<'_>, at: UserPtr<Request>, value: &[u8]) -> SysResult {
    at.write(call.memory, &filled(value))?;
    Ok(0)
}

fn filled(value: &[u8]) -> Request {
    let mut request = [0; REQUEST];
    request.iter_mut().zip(NAME).for_each(|(to, from)| *to = from);
    request.iter_mut().skip(NAME.len()).zip(value).for_each(|(to, from)| *to = *from);
    request
}

/// `SIOCGIFCONF`: `struct ifconf` is a length, four bytes of padding, and an address.
fn list(call: &Call<'_>, argument: usize) -> SysResult {
    let length_at = UserPtr::<u32>::at(argument);
    let length = length_at.read(call.memory)?;
    let buffer = UserPtr::<u64>::at(argument.wrapping_add(8)).read(call.memory)?;
    let size = REQUEST as u32;
    if buffer != 0 {
        if length < size {
            length_at.write(call.memory, &0)?;
            return Ok(0);
        }
        UserPtr::<Request>::at(buffer as usize).write(call.memory, &filled(&ADDRESS))?;
    }
    length_at.write(call.memory, &size)?;
    Ok(0)
}
