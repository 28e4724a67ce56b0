// SPDX-License-Identifier: MIT
//! What OP-TEE gives a service.

use crate::evidence;
use alloc::{
    string::{String, ToString as _},
    vec,
    vec::Vec,
};
use core::{fmt::Arguments, time::Duration};
use optee_utee::property::{ClientIdentity, PropertyKey as _};
use optee_utee::{
    DataFlag, Error, ErrorKind, GenericObject as _, ObjectEnumHandle, ObjectStorageConstants,
    PersistentObject, Random, Time, Uuid, raw, trace_println,
};
use strongroom_attestation_optee::derive;
use strongroom_service::{
    Caller,
    platform::{EvidenceError, Machine, NAME_MAX, NONCE_LEN, StorageError, VALUE_MAX},
};

const PRIVATE: ObjectStorageConstants = ObjectStorageConstants::Private;

/// Sets keys that a service derives apart from the identity key.
const SERVICE_LABEL: &[u8] = b"strongroom service key 1\0";

/// This trusted application.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Application;

/// Who opened the session, as the normal world's kernel says.
pub(crate) fn caller() -> Caller {
    let Ok(identity) = ClientIdentity.get() else { return Caller::Unknown };
    match bytes(&identity.uuid()) {
        Some(uuid) => Caller::GlobalPlatform { login: u32::from(identity.login_type()), uuid },
        None => Caller::Unknown,
    }
}

impl Machine for Application {
    fn fill_random(&self, bytes: &mut [u8]) {
        // A generator that fails panics the TA (TEE Internal Core API 1.3, 6.12.1).
        Random::generate(bytes);
    }

    fn monotonic(&self) -> Duration {
        let mut time = Time::new();
        time.system_time();
        duration(&time)
    }

    fn host_time(&self) -> Option<Duration> {
        let mut time = Time::new();
        time.ree_time();
        Some(duration(&time))
    }

    fn is_cancelled(&self) -> bool {
        // Cancellation is masked at the start of each call (GlobalPlatform TEE Internal Core API
        // 1.3, 4.10): who asks wants to know.
        #[expect(unsafe_code, reason = "a function of C")]
        // SAFETY: it takes nothing and changes a flag of the call that runs.
        unsafe {
            raw::TEE_UnmaskCancellation();
        }
        #[expect(unsafe_code, reason = "a function of C")]
        // SAFETY: it takes nothing and looks at a flag of the call that runs.
        unsafe {
            raw::TEE_GetCancellationFlag()
        }
    }

    fn derive(&self, label: &[u8], key: &mut [u8; 32]) -> Result<(), StorageError> {
        derive(&[SERVICE_LABEL, label].concat(), key).map_err(|_| StorageError::Unavailable)
    }

    fn put(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        // Creating over an old object is atomic (TEE Internal Core API 1.3, 5.7.2).
        let flags = DataFlag::ACCESS_WRITE | DataFlag::OVERWRITE;
        let created = PersistentObject::create(PRIVATE, name.as_bytes(), flags, None, value);
        created.map(drop).map_err(refused)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StorageError> {
        let flags = DataFlag::ACCESS_READ | DataFlag::SHARE_READ;
        let mut object =
            PersistentObject::open(PRIVATE, name.as_bytes(), flags).map_err(refused)?;
        let length = object.info().map_err(refused)?.data_size();
        if length > VALUE_MAX {
            return Err(StorageError::Damaged);
        }
        let mut value = vec![0; length];
        let read = object.read(&mut value).map_err(refused)?;
        value.truncate(usize::try_from(read).unwrap_or(0));
        Ok(value)
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        let mut objects = ObjectEnumHandle::allocate().map_err(refused)?;
        let mut names = Vec::new();
        match objects.start(raw::TEE_STORAGE_PRIVATE) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::ItemNotFound => return Ok(names),
            Err(error) => return Err(refused(error)),
        }
        loop {
            let mut name = [0; NAME_MAX];
            match objects.get_next(None, &mut name) {
                Ok(length) => {
                    let length = usize::try_from(length).unwrap_or(0);
                    let name = name.get(..length).ok_or(StorageError::Damaged)?;
                    let name = str::from_utf8(name).map_err(|_| StorageError::Damaged)?;
                    names.push(String::from(name));
                }
                Err(error) if error.kind() == ErrorKind::ItemNotFound => break,
                Err(error) => return Err(refused(error)),
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), StorageError> {
        let flags = DataFlag::ACCESS_WRITE_META;
        let object = PersistentObject::open(PRIVATE, name.as_bytes(), flags).map_err(refused)?;
        object.close_and_delete().map_err(refused)
    }

    fn evidence(&self, nonce: &[u8; NONCE_LEN]) -> Result<Vec<u8>, EvidenceError> {
        evidence::token(nonce)
    }

    fn log(&self, line: Arguments<'_>) {
        trace_println!("{}", line);
    }
}

/// The bytes of a UUID, which `optee-utee` shows as text only.
pub(crate) fn bytes(uuid: &Uuid) -> Option<[u8; 16]> {
    uuid::Uuid::try_parse(&uuid.to_string()).ok().map(uuid::Uuid::into_bytes)
}

fn duration(time: &Time) -> Duration {
    let millis = Duration::from_millis(time.millis.into());
    Duration::from_secs(time.seconds.into()).saturating_add(millis)
}

fn refused(error: Error) -> StorageError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "dozens of codes that storage does not give"
    )]
    match error.kind() {
        ErrorKind::ItemNotFound => StorageError::Absent,
        ErrorKind::CorruptObject | ErrorKind::CorruptObject2 | ErrorKind::Security => {
            StorageError::Damaged
        }
        ErrorKind::StorageNoSpace | ErrorKind::OutOfMemory => StorageError::Full,
        _ => StorageError::Unavailable,
    }
}
