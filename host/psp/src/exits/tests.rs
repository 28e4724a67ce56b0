// SPDX-License-Identifier: MIT
//! Guests that exit as they should, and guests that do not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets the unexpected is to fail"
)]

use super::*;
use std::cell::RefCell;

/// 64 pages; the table is the last one.
struct Memory(RefCell<Vec<u8>>);

const TABLE: u64 = 0x3_f000;
const GHCB: u64 = 0x1000;
const REQUEST: u64 = 0x2000;
const RESPONSE: u64 = 0x3000;
const CERTIFICATES: u64 = 0x4000;
const PRIVATE: u64 = 0x8000;

impl Memory {
    fn range(&self, address: u64, length: usize) -> Result<Range<usize>, OutOfReach> {
        let start = usize::try_from(address).map_err(|_| OutOfReach)?;
        let end = start.checked_add(length).ok_or(OutOfReach)?;
        if end <= self.0.borrow().len() { Ok(start..end) } else { Err(OutOfReach) }
    }
}

impl GuestMemory for Memory {
    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), OutOfReach> {
        to.copy_from_slice(&self.0.borrow()[self.range(address, to.len())?]);
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), OutOfReach> {
        let range = self.range(address, from.len())?;
        self.0.borrow_mut()[range].copy_from_slice(from);
        Ok(())
    }
}

/// Repeats the request, and has three pages of certificates.
struct Repeater;

impl SecurityProcessor for Repeater {
    fn request(&mut self, request: &Page) -> Result<Page, Status> {
        if request[0] == 0xff { Err(Status::BadMeasurement) } else { Ok(*request) }
    }

    fn certificates(&mut self) -> Vec<u8> {
        vec![0xce; 3 * PAGE_LEN - 5]
    }
}

type Machine = Host<Memory, Repeater>;

fn machine() -> Machine {
    let memory = Memory(RefCell::new(vec![0; 64 * PAGE_LEN]));
    let mut host = Host::new(memory, Repeater, TABLE..TABLE + 16);
    host.assign(8..9, true).unwrap();
    assert_eq!(host.exit(GHCB | 0x12), GHCB | 0x13);
    host
}

#[test]
fn a_doorbell_page_is_a_shared_page() {
    let mut host = machine();
    let set = |page, action| [(0x390, 0x8000_0014), (0x398, action), (0x3a0, page)];
    for (page, action) in [(PRIVATE, 1), (REQUEST + 8, 1), (0x100_0000, 1), (REQUEST, 0)] {
        assert_eq!(host.call(&set(page, action)).0, GHCB_INPUT_ERROR, "{page:#x} {action}");
        assert_eq!(host.doorbell(), None);
    }
    assert_eq!(host.call(&set(REQUEST, 1)).0, 0);
    assert_eq!(host.doorbell(), Some(REQUEST));
}

impl Machine {
    fn state(&self, page: u64) -> u8 {
        self.entry(page).unwrap()
    }

    /// Exits with these fields; returns both words of information and what is valid.
    fn call(&mut self, fields: &[(usize, u64)]) -> (u64, u64, u128) {
        let mut valid = 0_u128;
        for (offset, value) in fields {
            self.memory.write_word(GHCB + *offset as u64, *value).unwrap();
            valid |= 1 << (offset >> 3);
        }
        self.memory.write(GHCB + 0x3f0, &valid.to_le_bytes()).unwrap();
        self.memory.write(GHCB + 0xffa, &[2, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(self.exit(GHCB), GHCB);
        let word = |offset| self.memory.read_word(GHCB + offset).unwrap();
        let valid = u128::from(word(0x3f0)) | u128::from(word(0x3f8)) << 64;
        (word(0x398), word(0x3a0), valid)
    }

    fn request(&mut self, request: u64, response: u64) -> (u64, u64) {
        let fields = [(EXIT_CODE, GUEST_REQUEST), (EXIT_INFO_1, request), (EXIT_INFO_2, response)];
        let (info1, info2, _) = self.call(&fields);
        (info1, info2)
    }
}

#[test]
fn the_register_alone_carries_the_first_requests() {
    let mut host = machine();
    assert_eq!(host.exit(2), 0x0002_0001_3300_0001);
    assert_eq!(host.exit(0x0010_0000_0000_9014), 0x15);
    assert_eq!(host.state(9), ASSIGNED);
    assert_eq!(host.exit(0x0020_0000_0000_9014), 0x15);
    assert_eq!(host.state(9), 0);
    assert_eq!(host.exit(0x0010_0000_0004_0014) >> 32, 5, "no memory");
    assert_eq!(host.exit(0x0030_0000_0000_9014) >> 32, 5, "no such state");
    assert_eq!(host.exit(PRIVATE | 0x12) >> 12, u64::MAX >> 12, "the GHCB has to be shared");
    assert_eq!(host.exit(0x999), 0);
    host.exit(0x27_a100);
    assert_eq!(host.terminated(), Some(0x27_a100));
}

#[test]
fn a_page_that_changes_hands_loses_its_mark() {
    let host = machine();
    host.memory.write(TABLE + 2, &[ASSIGNED | VALIDATED | VALIDATED << 4]).unwrap();
    host.assign(8..9, true).unwrap();
    assert_eq!(host.state(8), ASSIGNED | VALIDATED, "it did not change hands");
    host.assign(8..9, false).unwrap();
    host.assign(8..9, true).unwrap();
    assert_eq!(host.state(8), ASSIGNED);
    assert_eq!((host.state(9), host.state(10)), (0, VALIDATED), "others keep theirs");
    assert_eq!(host.assign(63..65, true), Err(OutOfReach));
    assert_eq!(host.assign(u64::MAX - 1..u64::MAX, true), Err(OutOfReach));
}

#[test]
fn messages_come_from_and_go_to_shared_pages() {
    let mut host = machine();
    host.memory.write(REQUEST, b"message").unwrap();
    assert_eq!(host.request(REQUEST, RESPONSE), (0, 0));
    let mut answer = [0; 7];
    host.memory.read(RESPONSE, &mut answer).unwrap();
    assert_eq!(&answer, b"message");
    for (request, response) in [
        (PRIVATE, RESPONSE),
        (REQUEST, PRIVATE),
        (REQUEST + 1, RESPONSE),
        (REQUEST, 0x40_0000),
        (u64::MAX - 0xfff, RESPONSE),
    ] {
        assert_eq!(host.request(request, response), (GHCB_INPUT_ERROR, 5), "{request:#x}");
    }
    host.memory.write(REQUEST, &[0xff]).unwrap();
    assert_eq!(host.request(REQUEST, RESPONSE), (0, 0x0b), "the firmware's status");
}

#[test]
fn certificates_need_room() {
    let mut host = machine();
    let mut extended = |certificates, pages| {
        host.call(&[
            (EXIT_CODE, EXTENDED_GUEST_REQUEST),
            (EXIT_INFO_1, REQUEST),
            (EXIT_INFO_2, RESPONSE),
            (RAX, certificates),
            (RBX, pages),
        ])
    };
    let (info1, info2, valid) = extended(CERTIFICATES, 2);
    assert_eq!((info1, info2, valid >> (RBX >> 3) & 1), (0, 1 << 32, 1));
    let (info1, info2, valid) = extended(CERTIFICATES, 3);
    assert_eq!((info1, info2, valid >> (RBX >> 3) & 1), (0, 0, 0));
    assert_eq!(extended(PRIVATE, 3).0, GHCB_INPUT_ERROR);
    assert_eq!(host.memory.read_word(GHCB + RBX as u64), Ok(3));
    assert_eq!(host.memory.read_word(CERTIFICATES), Ok(u64::from_le_bytes([0xce; 8])));
}

#[test]
fn lists_of_pages_change_hands() {
    let mut host = machine();
    let mut list = |header: u64, entries: &[u64], scratch| {
        host.memory.write_word(GHCB + 0x800, header).unwrap();
        for (index, entry) in entries.iter().enumerate() {
            host.memory.write_word(GHCB + 0x808 + 8 * index as u64, *entry).unwrap();
        }
        let fields =
            [(EXIT_CODE, STATE_CHANGE), (EXIT_INFO_1, 0), (EXIT_INFO_2, 0), (SCRATCH, scratch)];
        let (info1, info2, _) = host.call(&fields);
        (info1, info2, host.memory.read_word(GHCB + 0x800).unwrap())
    };
    let (ten, eleven) = (0x0010_0000_0000_a000, 0x0010_0000_0000_b000);
    assert_eq!(list(1 << 16, &[ten, eleven], GHCB + 0x800), (0, 0, 1 << 16 | 2));
    assert_eq!(list(0, &[0x0110_0000_0000_0000], GHCB + 0x800).0, 2, "2 MiB are not there");
    assert_eq!(list(253 << 16, &[], GHCB + 0x800).0, 2, "more entries than fit");
    assert_eq!(list(0, &[ten], GHCB + 0x801).0, 2);
    assert_eq!(list(0, &[ten], PRIVATE).0, 2);
    assert_eq!((host.state(10), host.state(11)), (ASSIGNED, ASSIGNED));
}

#[test]
fn what_is_no_exit_is_said_to_be_none() {
    let mut host = machine();
    let all = [(EXIT_CODE, 0x7b), (EXIT_INFO_1, 0), (EXIT_INFO_2, 0)];
    assert_eq!(host.call(&all), (2, 6, 0b11 << 115));
    assert_eq!(host.call(&all[1..]).1, 4, "the code is missing");
    assert_eq!(host.call(&all[..2]).1, 4, "a word of information is missing");
    host.memory.write(GHCB + 0xffc, &[1]).unwrap();
    host.exit(GHCB);
    assert_eq!(host.memory.read_word(GHCB + 0x3a0), Ok(2), "another format of the page");
    assert_eq!(host.exit(REQUEST), REQUEST, "that page was not registered");
    assert_eq!(host.memory.read_word(REQUEST + 0x398), Ok(0), "and is not written");
}
