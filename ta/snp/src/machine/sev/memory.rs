// SPDX-License-Identifier: MIT
//! Pages become the guest's, validated, or shared with the host.
//!
//! At boot, in this order: the pages of the launch image are the guest's already. A few pages for
//! page tables are accepted one by one, by the GHCB's register. With those tables the pool can be
//! shared and has the GHCB in it. Then all other memory is accepted in lists. On a machine that is
//! no guest nothing of this happens.

use super::ghcb::{self, Ghcb};
use super::shared::SharedPage;
use super::{LAUNCHED, instruction, is_guest};
use crate::machine::halt::{Code, halt};
use crate::machine::host::pool;
use crate::machine::memory::{direct, image};
use crate::ranges::Ranges;
use crate::sev::msr_protocol::{Answer, Request, State};
use crate::sev::pages::{BadPages, Changer, Pages, Validated};
use crate::sev::state_change::{Block, Size};
use core::ops::Range;
use spin::Mutex;

static PAGES: Mutex<Pages> = Mutex::new(Pages::new());

const PAGE: u64 = Size::Small.bytes();

/// Notes what was launched.
pub(crate) fn start() {
    if is_guest() {
        let mut pages = PAGES.lock();
        checked(pages.launched(LAUNCHED).and_then(|()| pages.launched(image::physical())));
    }
}

/// Accepts one page.
pub(crate) fn accept_page(address: u64) {
    if is_guest() {
        checked(PAGES.lock().accept(address..address.wrapping_add(PAGE), &mut ByRegister));
    }
}

/// Shares the pool, which nothing was written to, and starts the GHCB in it.
pub(crate) fn share(range: Range<u64>) {
    pool::start(range.clone());
    if !is_guest() {
        return;
    }
    let mut pages = PAGES.lock();
    let first = range.start..range.start.wrapping_add(PAGE);
    checked(pages.share_fresh(first.clone(), &mut ByRegister));
    let page = SharedPage::take().and_then(|[page]| Ghcb::register(page));
    let Some(mut page) = page else { halt(Code::BadPages) };
    checked(pages.share_fresh(first.end..range.end, &mut page));
    ghcb::start(page);
}

/// Accepts all of `memory` that is neither launched, nor accepted, nor shared yet.
pub(crate) fn accept(memory: &Ranges) {
    if !is_guest() {
        return;
    }
    let mut pages = PAGES.lock();
    for range in memory.iter() {
        let end = range.end & !PAGE.wrapping_sub(1);
        let mut next = range.start.next_multiple_of(PAGE);
        while next < end {
            let gap = pages.next_unknown(next..end);
            if !gap.is_empty() {
                checked(pages.accept(gap.clone(), &mut ByPage));
            }
            next = gap.end.max(next.wrapping_add(PAGE));
        }
    }
}

/// A host that refuses, or a mark against the books: there is no safe way on.
fn checked(result: Result<(), BadPages>) {
    if result.is_err() {
        halt(Code::BadPages);
    }
}

/// Overwrites a private page.
fn zero(address: u64) {
    // SAFETY: whoever has the page shared gives it away for that.
    unsafe { direct::zero_page(address) };
}

/// The first pages, before there is a GHCB.
struct ByRegister;

impl Changer for ByRegister {
    fn change(&mut self, blocks: &[Block], to: State) -> bool {
        blocks.iter().all(|block| {
            let request = Request::StateChange(block.address, to);
            block.size == Size::Small
                && request.answer(instruction::exit(request.encode())) == Ok(Answer::Done)
        })
    }

    fn validate(&mut self, block: Block, validated: bool) -> Validated {
        instruction::validate(block, validated)
    }

    fn zero(&mut self, address: u64) {
        zero(address);
    }
}

impl Changer for Ghcb {
    fn change(&mut self, blocks: &[Block], to: State) -> bool {
        Self::change(self, blocks, to)
    }

    fn validate(&mut self, block: Block, validated: bool) -> Validated {
        instruction::validate(block, validated)
    }

    fn zero(&mut self, address: u64) {
        zero(address);
    }
}

/// The GHCB that is in use.
struct ByPage;

impl Changer for ByPage {
    fn change(&mut self, blocks: &[Block], to: State) -> bool {
        ghcb::with(|ghcb| ghcb.change(blocks, to)).unwrap_or(false)
    }

    fn validate(&mut self, block: Block, validated: bool) -> Validated {
        instruction::validate(block, validated)
    }

    fn zero(&mut self, address: u64) {
        zero(address);
    }
}
