// SPDX-License-Identifier: MIT
//! What the packer has put beside the library OS.

use super::StartError;
use core::ptr;
use core::slice;
use sha2::{Digest as _, Sha256};
use spin::Once;
use strongroom_optee_package::{ANCHOR_LENGTH, Anchor, DIGEST_LENGTH, Package, SITE_LENGTH};
use strongroom_south::{PAGE_SIZE, PlacedObject};

/// Filled in by the packer: see [`strongroom_optee_package`].
#[used]
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the packer knows it by this name")]
static strongroom_anchor: [u64; ANCHOR_LENGTH / 8] = Anchor::EMPTY;

/// A package in its place.
#[derive(Debug)]
pub(super) struct Found {
    /// What is packed.
    pub(super) package: Package,
    /// Its digest.
    pub(super) digest: [u8; DIGEST_LENGTH],
    /// Where everything is measured from.
    pub(super) load_address: usize,
}

/// The replaced instructions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sites {
    /// In ascending order.
    pub(super) table: &'static [[u8; SITE_LENGTH]],
    /// Where their stubs lie.
    pub(super) stubs: usize,
    /// Where the load address is.
    pub(super) load_address: usize,
}

/// Set once, before anything runs.
static SITES: Once<Sites> = Once::new();

/// The replaced instructions.
pub(super) fn sites() -> Option<&'static Sites> {
    SITES.get()
}

/// Finds the package.
pub(super) fn find() -> Result<Found, StartError> {
    let at = &raw const strongroom_anchor;
    // SAFETY: a static of this crate. Volatile, because the compiler believes to know its contents.
    let words = unsafe { ptr::read_volatile(at) };
    let anchor = Anchor::decode(words).ok_or(StartError::NotPacked)?;
    let load_address = (at as usize).wrapping_sub(anchor.own as usize);
    let place = |distance: u64| load_address.wrapping_add(distance as usize);
    let (information, length) = anchor.information;
    let information: *const u8 = ptr::with_exposed_provenance(place(u64::from(information)));
    // SAFETY: the packer laid the block there, in a read-only segment of this very file, whose
    // signature OP-TEE has verified; nobody writes it.
    let bytes = unsafe { slice::from_raw_parts(information, length as usize) };
    let (digest, package) = Package::decode(bytes).map_err(|_| StartError::BadPackage)?;
    let table: *const [u8; SITE_LENGTH] = ptr::with_exposed_provenance(place(anchor.sites));
    // SAFETY: as above; entries are arrays of bytes, aligned everywhere.
    let table = unsafe { slice::from_raw_parts(table, anchor.count as usize) };
    SITES.call_once(|| Sites { table, stubs: place(anchor.stubs), load_address });
    Ok(Found { package, digest, load_address })
}

/// Compares the writable segments with the digest that a read-only one holds. Nothing of the
/// program has run yet.
pub(super) fn check(found: &Found) -> Result<(), StartError> {
    let mut hash = Sha256::new();
    for segment in found.package.writable() {
        let start = found.load_address.wrapping_add(segment.start as usize);
        let start: *const u8 = ptr::with_exposed_provenance(start);
        // SAFETY: a segment of this file that OP-TEE's loader has mapped; no program runs, so
        // nobody writes it.
        let bytes = unsafe { slice::from_raw_parts(start, segment.length as usize) };
        hash.update(bytes);
    }
    let digest: [u8; 32] = hash.finalize().into();
    if digest == found.package.writable_digest { Ok(()) } else { Err(StartError::Changed) }
}

/// The objects as the kernel wants to know them.
pub(super) fn placed(found: &Found) -> alloc::vec::Vec<PlacedObject> {
    let place = |distance: u64| found.load_address.wrapping_add(distance as usize);
    let objects = found.package.objects.iter().map(|object| {
        let first = object.segments.first().map_or(0, |segment| segment.start);
        let start = place(first);
        let segments = object.segments.iter().filter(|segment| segment.writable);
        PlacedObject {
            path: object.path.clone(),
            base: place(object.base),
            range: start..start.wrapping_add(object.span as usize),
            writable: segments
                .map(|segment| {
                    place(segment.start)..place(segment.start.wrapping_add(segment.length))
                })
                .collect(),
            alignment: (object.alignment as usize).max(PAGE_SIZE),
        }
    });
    objects.collect()
}
