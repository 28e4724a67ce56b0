// SPDX-License-Identifier: MIT
//! From a statement to a token.

use crate::{BadToken, CONTENT_TYPE, PROFILE, SIGNATURE_LEN, Statement, TOKEN_LEN_MAX, Token};
use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;
use coset::cbor::Value;
use coset::{CoseSign1Builder, HeaderBuilder, TaggedCborSerializable as _, iana};

/// Claims, in the order of their encoding.
pub(crate) const CONFIRMATION: i64 = 8;
pub(crate) const NONCE: i64 = 10;
pub(crate) const EAT_PROFILE: i64 = 265;
pub(crate) const SOFTWARE_NAME: i64 = 270;
pub(crate) const SOFTWARE_VERSION: i64 = 271;
pub(crate) const PACKAGE_DIGEST: i64 = -70_000;
pub(crate) const MEMORY_HASH: i64 = -70_001;
/// In `cnf`: the key itself (RFC 8747, 3.1).
pub(crate) const COSE_KEY: i64 = 1;
/// A version that is a decimal number (`sw-version-type`: CoSWID's scheme `decimal`, RFC 9393).
const SCHEME_DECIMAL: i64 = 4;
/// Parameters of a `COSE_Key` (RFC 9053, 7.2).
const KEY_TYPE: i64 = 1;
const KEY_CURVE: i64 = -1;
pub(crate) const KEY_X: i64 = -2;
const OCTET_KEY_PAIR: i64 = 1;
const ED25519: i64 = 6;

impl Statement {
    /// The token, signed by `sign`: Ed25519 with the key that the statement names, over the bytes
    /// given.
    ///
    /// # Errors
    ///
    /// [`BadToken::TooLong`] for a memory hash with an impossible signature.
    pub fn to_token(
        &self,
        sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_LEN],
    ) -> Result<Vec<u8>, BadToken> {
        let header = HeaderBuilder::new()
            .algorithm(iana::Algorithm::EdDSA)
            .content_type(CONTENT_TYPE.to_string())
            .key_id(Token::key_id(&self.identity_key).to_vec())
            .build();
        let envelope = CoseSign1Builder::new()
            .protected(header)
            .payload(self.payload()?)
            .create_signature(&[], |signed| sign(signed).to_vec())
            .build();
        let token = envelope.to_tagged_vec().map_err(|_| BadToken::Envelope)?;
        if token.len() > TOKEN_LEN_MAX { Err(BadToken::TooLong) } else { Ok(token) }
    }

    fn payload(&self) -> Result<Vec<u8>, BadToken> {
        let mut claims = vec![
            (integer(CONFIRMATION), self.confirmation()),
            (integer(NONCE), bytes(&self.nonce)),
            (integer(EAT_PROFILE), Value::Text(PROFILE.to_string())),
            (integer(SOFTWARE_NAME), Value::Text(self.uuid_text())),
            (integer(SOFTWARE_VERSION), self.version()),
            (integer(PACKAGE_DIGEST), bytes(&self.package_digest)),
        ];
        if let Some(memory) = &self.memory {
            let value = Value::Array(vec![bytes(&memory.hash), bytes(&memory.signature)]);
            claims.push((integer(MEMORY_HASH), value));
        }
        let mut payload = Vec::new();
        coset::cbor::into_writer(&Value::Map(claims), &mut payload)
            .map_err(|_| BadToken::Payload)?;
        Ok(payload)
    }

    fn confirmation(&self) -> Value {
        let key = vec![
            (integer(KEY_TYPE), integer(OCTET_KEY_PAIR)),
            (integer(KEY_CURVE), integer(ED25519)),
            (integer(KEY_X), bytes(&self.identity_key)),
        ];
        Value::Map(vec![(integer(COSE_KEY), Value::Map(key))])
    }

    fn version(&self) -> Value {
        Value::Array(vec![Value::Text(self.ta_version.to_string()), integer(SCHEME_DECIMAL)])
    }
}

fn integer(value: i64) -> Value {
    Value::Integer(value.into())
}

fn bytes(value: &[u8]) -> Value {
    Value::Bytes(value.to_vec())
}
