// SPDX-License-Identifier: MIT
//! Noise, with randomness that the caller brings, and the channel that comes of it.

use crate::{HANDSHAKE_HASH_LEN, KEY_LEN, PATTERN, PROLOGUE, SessionError, frame};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, TransportState};
use zeroize::Zeroizing;

/// Bytes that authentication adds to a message.
const TAG_LEN: usize = 16;
/// Most bytes of a message before it is encrypted.
pub(crate) const MESSAGE_MAX: usize = frame::FRAME_MAX - TAG_LEN;

/// Gives the bytes of one ephemeral key, once. Noise asks for no other randomness.
struct OneKey(Option<Zeroizing<[u8; KEY_LEN]>>);

impl Random for OneKey {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        let key = self.0.take().ok_or(snow::Error::Rng)?;
        if out.len() != key.len() {
            return Err(snow::Error::Rng);
        }
        out.copy_from_slice(&*key);
        Ok(())
    }
}

/// RustCrypto's primitives, with [`OneKey`].
struct Resolver(Zeroizing<[u8; KEY_LEN]>);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneKey(Some(self.0.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Which end of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Enclave,
}

/// A handshake under way.
pub(crate) struct Handshake(HandshakeState);

impl Handshake {
    /// With a static and an ephemeral key of the own side, both random.
    pub(crate) fn new(
        role: Role,
        own: &[u8; KEY_LEN],
        ephemeral: [u8; KEY_LEN],
    ) -> Result<Self, SessionError> {
        Self::of_protocol(PROLOGUE, role, own, ephemeral)
    }

    fn of_protocol(
        prologue: &[u8],
        role: Role,
        own: &[u8; KEY_LEN],
        ephemeral: [u8; KEY_LEN],
    ) -> Result<Self, SessionError> {
        let params = PATTERN.parse().map_err(|_| SessionError::Broken)?;
        let resolver = Box::new(Resolver(Zeroizing::new(ephemeral)));
        let builder = Builder::with_resolver(params, resolver)
            .prologue(prologue)
            .and_then(|builder| builder.local_private_key(own));
        let state = builder.and_then(|builder| match role {
            Role::Client => builder.build_initiator(),
            Role::Enclave => builder.build_responder(),
        });
        state.map(Self).map_err(|_| SessionError::Broken)
    }

    /// The next message, as a frame.
    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, SessionError> {
        let mut message = vec![0; frame::HANDSHAKE_FRAME_MAX];
        let length = self.0.write_message(payload, &mut message);
        message.truncate(length.map_err(|_| SessionError::Broken)?);
        frame::encode(&message)
    }

    /// Takes the other side's message, whose payload has to have `N` bytes.
    pub(crate) fn read<const N: usize>(&mut self, frame: &[u8]) -> Result<[u8; N], SessionError> {
        if frame.len() > frame::HANDSHAKE_FRAME_MAX {
            return Err(SessionError::Handshake);
        }
        let mut payload = [0; frame::HANDSHAKE_FRAME_MAX];
        let length = self.0.read_message(frame, &mut payload);
        let length = length.map_err(|_| SessionError::Handshake)?;
        let payload = payload.get(..length).ok_or(SessionError::Handshake)?;
        payload.try_into().map_err(|_| SessionError::Handshake)
    }

    /// The channel, after the last message.
    pub(crate) fn finish(self) -> Result<Channel, SessionError> {
        let hash = self.0.get_handshake_hash().try_into().map_err(|_| SessionError::Broken)?;
        let peer = self.0.get_remote_static().and_then(|key| key.try_into().ok());
        let peer = peer.ok_or(SessionError::Broken)?;
        let transport = self.0.into_transport_mode().map_err(|_| SessionError::Broken)?;
        Ok(Channel { transport, hash, peer, broken: false })
    }
}

/// Messages of both directions, each encrypted under the direction's key and its number.
pub(crate) struct Channel {
    transport: TransportState,
    /// The handshake's hash: both keys of both sides, and all payloads.
    pub(crate) hash: [u8; HANDSHAKE_HASH_LEN],
    /// The other side's static key.
    pub(crate) peer: [u8; KEY_LEN],
    broken: bool,
}

impl Channel {
    /// The frame of a message.
    pub(crate) fn seal(&mut self, message: &impl Serialize) -> Result<Vec<u8>, SessionError> {
        if self.broken {
            return Err(SessionError::Broken);
        }
        let plain = postcard::to_allocvec(message).map_err(|_| SessionError::TooLong)?;
        let plain = Zeroizing::new(plain);
        if plain.len() > MESSAGE_MAX {
            return Err(SessionError::TooLong);
        }
        let mut sealed = vec![0; plain.len().saturating_add(TAG_LEN)];
        let length = self.transport.write_message(&plain, &mut sealed);
        sealed.truncate(length.map_err(|_| SessionError::Broken)?);
        frame::encode(&sealed)
    }

    /// The plain bytes of a frame's contents. After a failure nothing is opened any more.
    pub(crate) fn open(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SessionError> {
        if self.broken {
            return Err(SessionError::Broken);
        }
        let mut plain = Zeroizing::new(vec![0; sealed.len()]);
        match self.transport.read_message(sealed, &mut plain) {
            Ok(length) => {
                plain.truncate(length);
                Ok(plain)
            }
            Err(_) => {
                self.broken = true;
                Err(SessionError::NotAuthentic)
            }
        }
    }
}

/// One message, all of the bytes.
pub(crate) fn parse<'a, T: Deserialize<'a>>(plain: &'a [u8]) -> Result<T, SessionError> {
    strongroom_wire::Untrusted::new(plain).parse().map_err(|_| SessionError::Malformed)
}

/// The public half of a static key.
pub(crate) fn public_key(secret: &[u8; KEY_LEN]) -> [u8; KEY_LEN] {
    let mut public = [0; KEY_LEN];
    if let Some(mut dh) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) {
        dh.set(secret);
        public.iter_mut().zip(dh.pubkey()).for_each(|(to, from)| *to = *from);
    }
    public
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake(..)")
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("broken", &self.broken).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(client: &[u8], enclave: &[u8]) -> Result<Vec<u8>, SessionError> {
        let mut client = Handshake::of_protocol(client, Role::Client, &[1; 32], [2; 32])?;
        let mut enclave = Handshake::of_protocol(enclave, Role::Enclave, &[3; 32], [4; 32])?;
        let body = |frame: Vec<u8>| frame.get(2..).unwrap_or_default().to_vec();
        let [] = enclave.read(&body(client.write(&[])?))?;
        let reply = enclave.write(&[])?;
        let [] = client.read(&body(reply.clone()))?;
        Ok(reply)
    }

    #[test]
    fn both_sides_have_to_mean_the_same_protocol() {
        assert!(handshake(PROLOGUE, PROLOGUE).is_ok());
        let refused = handshake(PROLOGUE, b"strongroom session 2");
        assert_eq!(refused, Err(SessionError::Handshake));
    }

    #[test]
    fn randomness_is_given_once() {
        let mut random = OneKey(Some(Zeroizing::new([5; 32])));
        let mut key = [0; 32];
        assert!(random.try_fill_bytes(&mut key).is_ok() && key == [5; 32]);
        assert!(random.try_fill_bytes(&mut key).is_err());
    }
}
