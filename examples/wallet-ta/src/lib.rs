// SPDX-License-Identifier: MIT
//! Keeps accounts, and signs for them within what its owner's PIN has allowed: any client of
//! GlobalPlatform can call it, in C too. What it keeps is read and written within one call, of which OP-TEE
//! serves one at a time.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{borrow::ToOwned as _, collections::BTreeMap, vec::Vec};
use core::ops::RangeInclusive;
use serde::{Deserialize, Serialize};
use strongroom::{
    Caller, OpenError, Platform, Service,
    gp::ErrorCode,
    platform::StorageError,
    wire::{Decoder, Encoder},
};
use strongroom_keys::{Algorithm, KeyError, Keys, SecretKey, SigningKey};

/// The trusted application's name.
pub const UUID: &str = "0b7c5d26-93e1-4f0a-8c5e-41d2b6f0a9c8";
/// Bytes that a PIN has.
pub const PIN_LENGTH: RangeInclusive<usize> = 4..=16;
/// Wrong PINs in a row, after which the wallet takes none any more.
pub const TRIES: u8 = 5;
/// What signatures begin with; the amount as 8 bytes, little-endian, and the digest follow.
pub const SIGNED: &[u8] = b"strongroom wallet 1\0";

/// The only thing in sealed storage besides a key: a host that deletes it deletes the accounts too.
const WALLET: &str = "wallet";
const MASTER: &str = "master";
const PROOF: &[u8] = b"the PIN is right";
/// Addresses that a session remembers.
const ADDRESSES_MAX: usize = 32;
/// Bytes of a wallet in storage, at most.
const WALLET_MAX: usize = 128;

/// Why the wallet does not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WalletError {
    /// The wallet has no PIN yet: the first [`Wallet::allow`] sets it.
    New,
    /// No PIN has so many bytes.
    PinLength,
    /// It is another one; so many tries are left.
    WrongPin(u8),
    /// There were too many wrong ones.
    Locked,
    /// So much is left of what was allowed.
    OverLimit(u64),
    /// Sealed storage or the key in it.
    Key(KeyError),
}

impl core::fmt::Display for WalletError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::New => formatter.write_str("there is no PIN yet: allow something first"),
            Self::PinLength => formatter.write_str("a PIN has 4 to 16 bytes"),
            Self::WrongPin(left) => write!(formatter, "wrong PIN: {left} tries are left"),
            Self::Locked => formatter.write_str("too many wrong PINs: the wallet is locked"),
            Self::OverLimit(left) => write!(formatter, "only {left} is left: allow more"),
            Self::Key(error) => error.fmt(formatter),
        }
    }
}

impl ErrorCode for WalletError {
    fn code(&self) -> u32 {
        match self {
            Self::New => 1,
            Self::PinLength => 2,
            Self::WrongPin(_) => 3,
            Self::Locked => 4,
            Self::OverLimit(_) => 5,
            Self::Key(_) => 6,
        }
    }
}

impl From<StorageError> for WalletError {
    fn from(error: StorageError) -> Self {
        Self::Key(error.into())
    }
}

impl From<KeyError> for WalletError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

/// Signs for accounts, so much and no more.
#[strongroom::service]
pub trait Wallet {
    /// An account's address: its public key, Ed25519.
    #[gp(command = 1)]
    fn address(&mut self, account: u32) -> Result<[u8; 32], WalletError>;
    /// From now on so much may be signed for. The first PIN ever becomes the wallet's.
    #[gp(command = 2)]
    fn allow(&mut self, pin: &str, amount: u64) -> Result<(), WalletError>;
    /// How much is left of it.
    #[gp(command = 3)]
    fn left(&self) -> Result<u64, WalletError>;
    /// Signs [`SIGNED`], the amount and the digest of whatever else a transfer says: 64 bytes. The amount
    /// is taken off first.
    #[gp(command = 4)]
    #[limit(answer = 66)]
    fn sign(&mut self, account: u32, digest: [u8; 32], amount: u64)
    -> Result<Vec<u8>, WalletError>;
}

/// What the wallet knows from one start to the next.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Accounts depend on it: another wallet in the same application has others.
    name: [u8; 32],
    /// Decrypts with the key that the PIN leads to.
    proof: Vec<u8>,
    tries: u8,
    left: u64,
}

/// The service.
#[derive(Debug)]
pub struct MyWallet {
    platform: Platform,
    master: SecretKey,
    /// The key of all accounts, once there is a wallet.
    accounts: Option<SecretKey>,
    /// Those that were asked for of late.
    addresses: BTreeMap<u32, [u8; 32]>,
}

impl Service for MyWallet {
    fn open(platform: &Platform, _caller: &Caller) -> Result<Self, OpenError> {
        let master = Keys::of(platform).secret(MASTER).map_err(|_| OpenError::Storage)?;
        Ok(Self { platform: platform.clone(), master, accounts: None, addresses: BTreeMap::new() })
    }
}

impl MyWallet {
    fn kept(&self) -> Result<Kept, WalletError> {
        let bytes = self.platform.sealed().get(WALLET).map_err(|error| match error {
            StorageError::Absent => WalletError::New,
            StorageError::Damaged
            | StorageError::TooLarge
            | StorageError::Full
            | StorageError::Unavailable => error.into(),
        })?;
        Decoder::new(&bytes).take().map_err(|_| StorageError::Damaged.into())
    }

    fn keep(&self, kept: &Kept) -> Result<(), WalletError> {
        let mut room = [0; WALLET_MAX];
        let mut encoder = Encoder::new(&mut room);
        encoder.put(kept).map_err(|_| StorageError::TooLarge)?;
        let used = encoder.used();
        Ok(self.platform.sealed().put(WALLET, room.get(..used).unwrap_or_default())?)
    }

    fn account(&mut self, account: u32) -> Result<SigningKey, WalletError> {
        if self.accounts.is_none() {
            self.accounts = Some(self.master.derive(self.kept()?.name));
        }
        let accounts = self.accounts.as_ref().ok_or(WalletError::New)?;
        Ok(accounts.derive_signing(account.to_le_bytes(), Algorithm::Ed25519))
    }

    /// The wallet, if this is its PIN. A try is written down before it is made: whoever takes the power
    /// away has lost it.
    fn unlocked(&self, pin: &str) -> Result<Kept, WalletError> {
        if !PIN_LENGTH.contains(&pin.len()) {
            return Err(WalletError::PinLength);
        }
        let key = self.master.derive(["pin ", pin].concat());
        let mut kept = match self.kept() {
            Ok(kept) => kept,
            Err(WalletError::New) => {
                let proof = key.encrypt(PROOF, &[])?;
                return Ok(Kept { name: self.platform.random(), proof, tries: TRIES, left: 0 });
            }
            Err(error) => return Err(error),
        };
        kept.tries = kept.tries.checked_sub(1).ok_or(WalletError::Locked)?;
        self.keep(&kept)?;
        key.decrypt(PROOF, &kept.proof).map_err(|_| WalletError::WrongPin(kept.tries))?;
        kept.tries = TRIES;
        Ok(kept)
    }
}

impl Wallet for MyWallet {
    fn address(&mut self, account: u32) -> Result<[u8; 32], WalletError> {
        if let Some(address) = self.addresses.get(&account) {
            return Ok(*address);
        }
        let public = self.account(account)?.public();
        let address = public.bytes.try_into().map_err(|_| KeyError::Kind)?;
        if self.addresses.len() >= ADDRESSES_MAX {
            self.addresses.clear();
        }
        self.addresses.insert(account, address);
        Ok(address)
    }

    fn allow(&mut self, pin: &str, amount: u64) -> Result<(), WalletError> {
        let mut kept = self.unlocked(pin)?;
        kept.left = amount;
        self.keep(&kept)
    }

    fn left(&self) -> Result<u64, WalletError> {
        Ok(self.kept()?.left)
    }

    fn sign(
        &mut self,
        account: u32,
        digest: [u8; 32],
        amount: u64,
    ) -> Result<Vec<u8>, WalletError> {
        let mut kept = self.kept()?;
        kept.left = kept.left.checked_sub(amount).ok_or(WalletError::OverLimit(kept.left))?;
        self.keep(&kept)?;
        let message = [SIGNED, &amount.to_le_bytes(), &digest].concat();
        Ok(self.account(account)?.sign(&message).to_bytes().as_slice().to_owned())
    }
}
