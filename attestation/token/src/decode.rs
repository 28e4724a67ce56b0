// SPDX-License-Identifier: MIT
//! From bytes to a token.
//!
//! What is read is encoded again, and has to give the same bytes. So there is one encoding, and
//! whatever this module does not look at (headers, scheme of the version, order, claims that are not
//! known) is as the encoder makes it.

use crate::encode::{
    CONFIRMATION, COSE_KEY, KEY_X, MEMORY_HASH, NONCE, PACKAGE_DIGEST, SOFTWARE_NAME,
    SOFTWARE_VERSION,
};
use crate::{BadToken, MEMORY_SIGNATURE_MAX, MemoryHash, Statement, TOKEN_LEN_MAX, Token};
use alloc::vec::Vec;
use coset::cbor::Value;
use coset::{CoseSign1, TaggedCborSerializable as _};

type Map = Vec<(Value, Value)>;

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    ///
    /// [`BadToken`] for anything that [`Statement::to_token`] does not write.
    pub fn parse(token: &[u8]) -> Result<Self, BadToken> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(BadToken::TooLong);
        }
        let envelope = CoseSign1::from_tagged_slice(token).map_err(|_| BadToken::Envelope)?;
        let payload = envelope.payload.as_deref().ok_or(BadToken::Payload)?;
        let claims = coset::cbor::from_reader(payload).map_err(|_| BadToken::Payload)?;
        let Value::Map(claims) = claims else { return Err(BadToken::Payload) };
        let statement = read(&claims)?;
        let signature = envelope.signature.as_slice();
        let signature = signature.try_into().map_err(|_| BadToken::Envelope)?;
        let signed = envelope.tbs_data(&[]);
        if statement.to_token(|_| signature)? != token {
            return Err(BadToken::Encoding);
        }
        Ok(Self { statement, signed, signature })
    }
}

fn read(claims: &Map) -> Result<Statement, BadToken> {
    let memory = match claim(claims, MEMORY_HASH) {
        Some(value) => Some(memory(value).ok_or(BadToken::Claim("memory hash"))?),
        None => None,
    };
    let identity_key = claim(claims, CONFIRMATION).and_then(identity_key);
    let ta_uuid = claim(claims, SOFTWARE_NAME).and_then(uuid);
    let ta_version = claim(claims, SOFTWARE_VERSION).and_then(version);
    Ok(Statement {
        nonce: array(claims, NONCE, "eat_nonce")?,
        ta_uuid: ta_uuid.ok_or(BadToken::Claim("swname"))?,
        ta_version: ta_version.ok_or(BadToken::Claim("swversion"))?,
        package_digest: array(claims, PACKAGE_DIGEST, "package digest")?,
        identity_key: identity_key.ok_or(BadToken::Claim("cnf"))?,
        memory,
    })
}

fn claim(map: &Map, key: i64) -> Option<&Value> {
    let key = Value::Integer(key.into());
    map.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
}

fn array<const N: usize>(map: &Map, key: i64, name: &'static str) -> Result<[u8; N], BadToken> {
    let bytes = claim(map, key).and_then(Value::as_bytes);
    bytes.and_then(|bytes| bytes.as_slice().try_into().ok()).ok_or(BadToken::Claim(name))
}

fn identity_key<const N: usize>(value: &Value) -> Option<[u8; N]> {
    let key = claim(value.as_map()?, COSE_KEY)?.as_map()?;
    array(key, KEY_X, "cnf").ok()
}

/// Hyphens are where the encoder puts them, or the encoding is another.
fn uuid(value: &Value) -> Option<[u8; 16]> {
    let text = value.as_text()?;
    let mut bytes = [0; 16];
    let mut digits = text.chars().filter(|digit| *digit != '-').map(|digit| digit.to_digit(16));
    for byte in &mut bytes {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

fn version(value: &Value) -> Option<u32> {
    value.as_array()?.first()?.as_text()?.parse().ok()
}

fn memory(value: &Value) -> Option<MemoryHash> {
    let [hash, signature] = value.as_array()?.as_slice() else { return None };
    let signature = signature.as_bytes()?;
    if signature.len() > MEMORY_SIGNATURE_MAX {
        return None;
    }
    Some(MemoryHash {
        hash: hash.as_bytes()?.as_slice().try_into().ok()?,
        signature: signature.clone(),
    })
}
