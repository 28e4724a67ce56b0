// SPDX-License-Identifier: MIT
//! The link to the host against a device that does what it likes with the memory it shares.
#![allow(unsafe_code, reason = "`virtio_drivers::Hal` is an unsafe trait")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test that panics or overflows fails"
)]

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use strongroom_snp::link::{BUFFERS, Broken, LAST_WORDS_MAX, Link, RECEIVE, TRANSMIT};
use strongroom_wire::frame::{self, HEADER_LEN, MESSAGE_MAX};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Most bytes that a buffer of the link has.
const LENGTH_MAX: u32 = 4 * PAGE_SIZE as u32;

/// Pages that the device may reach: as many as the payload gives it.
const PAGES: usize = 256;

#[repr(align(4096))]
struct Page([AtomicU8; PAGE_SIZE]);

thread_local! {
    static POOL: &'static [Page] =
        Box::leak((0..PAGES).map(|_| Page([const { AtomicU8::new(0) }; PAGE_SIZE])).collect());
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// Makes the pool new.
fn reset_pool() {
    TAKEN.set(0);
}

/// A byte of the pool by its address.
fn at(address: u64) -> Option<&'static AtomicU8> {
    POOL.with(|pool| {
        let offset = (address as usize).checked_sub(pool.as_ptr().addr())?;
        pool.get(offset / PAGE_SIZE)?.0.get(offset % PAGE_SIZE)
    })
}

fn write(address: u64, bytes: &[u8]) {
    for (place, byte) in (address..).zip(bytes) {
        if let Some(cell) = at(place) {
            cell.store(*byte, SeqCst);
        }
    }
}

fn read<const N: usize>(address: u64) -> [u8; N] {
    std::array::from_fn(|index| at(address + index as u64).map_or(0, |cell| cell.load(SeqCst)))
}

#[derive(Debug)]
struct Pool;

// SAFETY: pages are handed out once between two resets, and a reset comes after the link that used
// them is gone. Buffers are shared where they are.
unsafe impl Hal for Pool {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = TAKEN.get();
        let Some(page) = POOL.with(|pool| pool.get(first..first + pages)?.first()) else {
            return (0, NonNull::dangling());
        };
        TAKEN.set(first + pages);
        // Whole queues of buffers are not worth the time: nobody reads them before they are written.
        if pages == 1 {
            page.0.iter().for_each(|byte| byte.store(0, SeqCst));
        }
        let pointer = NonNull::from(page).cast::<u8>();
        (pointer.addr().get() as u64, pointer)
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::dangling()
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().addr().get() as u64
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// Where a queue's three parts lie.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    descriptors: u64,
    available: u64,
    used: u64,
    /// What the device has taken from the available ring, and put into the used one.
    seen: u16,
    returned: u16,
}

/// The device's side of the queues.
#[derive(Debug, Default)]
struct State {
    queues: [Parts; 6],
    size: u32,
    /// Takes what is sent as soon as it is told, and keeps it here.
    prompt: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
struct Device(Rc<RefCell<State>>);

impl Device {
    fn with_queues_of(size: u32) -> Self {
        Self(Rc::new(RefCell::new(State { size, ..State::default() })))
    }

    fn queue(&self, number: u16) -> Parts {
        self.0.borrow().queues[usize::from(number)]
    }

    fn change(&self, number: u16, change: impl FnOnce(&mut Parts)) {
        change(&mut self.0.borrow_mut().queues[usize::from(number)]);
    }

    /// The next buffer that the driver offers: descriptor, address and length.
    fn take(&self, number: u16) -> Option<(u16, u64, u32)> {
        let queue = self.queue(number);
        if u16::from_le_bytes(read(queue.available + 2)) == queue.seen {
            return None;
        }
        self.change(number, |queue| queue.seen = queue.seen.wrapping_add(1));
        let slot = u64::from(queue.seen) % BUFFERS as u64;
        let descriptor = u16::from_le_bytes(read(queue.available + 4 + 2 * slot));
        let entry = queue.descriptors + 16 * u64::from(descriptor);
        Some((descriptor, u64::from_le_bytes(read(entry)), u32::from_le_bytes(read(entry + 8))))
    }

    /// Puts an entry into the used ring.
    fn give(&self, number: u16, descriptor: u32, length: u32) {
        let queue = self.queue(number);
        let slot = u64::from(queue.returned) % BUFFERS as u64;
        write(queue.used + 4 + 8 * slot, &descriptor.to_le_bytes());
        write(queue.used + 8 + 8 * slot, &length.to_le_bytes());
        self.change(number, |queue| queue.returned = queue.returned.wrapping_add(1));
        write(queue.used + 2, &self.queue(number).returned.to_le_bytes());
    }

    /// Sends bytes to the driver as an honest device does; says how many fitted.
    fn send(&self, bytes: &[u8]) -> usize {
        let Some((descriptor, address, length)) = self.take(RECEIVE) else { return 0 };
        let count = bytes.len().min(length as usize);
        write(address, &bytes[..count]);
        self.give(RECEIVE, descriptor.into(), count as u32);
        count
    }

    /// Takes all that the driver has sent, as an honest device does.
    fn collect(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..BUFFERS {
            let Some((descriptor, address, length)) = self.take(TRANSMIT) else { break };
            // It may have spoilt the descriptor itself.
            let length = length.min(LENGTH_MAX);
            bytes.extend((0..u64::from(length)).map(|offset| read::<1>(address + offset)[0]));
            self.give(TRANSMIT, descriptor.into(), 0);
        }
        bytes
    }
}

impl Transport for Device {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }
    fn read_device_features(&mut self) -> u64 {
        0
    }
    fn write_driver_features(&mut self, _: u64) {}
    fn max_queue_size(&mut self, _: u16) -> u32 {
        self.0.borrow().size
    }
    fn notify(&mut self, queue: u16) {
        let taken = self.0.borrow_mut().prompt.take();
        if let (TRANSMIT, Some(mut taken)) = (queue, taken) {
            taken.extend(self.collect());
            self.0.borrow_mut().prompt = Some(taken);
        }
    }
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::empty()
    }
    fn set_status(&mut self, _: DeviceStatus) {}
    fn set_guest_page_size(&mut self, _: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        false
    }
    fn queue_set(&mut self, queue: u16, _: u32, descriptors: u64, available: u64, used: u64) {
        self.change(queue, |parts| *parts = Parts { descriptors, available, used, ..*parts });
    }
    fn queue_unset(&mut self, _: u16) {}
    fn queue_used(&mut self, _: u16) -> bool {
        false
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }
    fn read_config_generation(&self) -> u32 {
        0
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, _: usize) -> virtio_drivers::Result<T> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }
    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }
}

fn linked() -> (Device, Link<Pool, Device>) {
    reset_pool();
    let device = Device::with_queues_of(64);
    let link = Link::new(device.clone()).unwrap();
    (device, link)
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = frame::header(message.len()).unwrap().to_vec();
    bytes.extend_from_slice(message);
    bytes
}

fn receive(link: &mut Link<Pool, Device>) -> Result<Vec<Vec<u8>>, Broken> {
    let mut messages = Vec::new();
    link.receive(|message| messages.push(message.reveal().to_vec()))?;
    Ok(messages)
}

/// Numbers that look random and come from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // xorshift64*, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[test]
fn an_honest_device_carries_everything() {
    let (device, mut link) = linked();
    let sent: Vec<Vec<u8>> = (0..100_usize).map(|n| vec![n as u8; 1 + n * n % 30_000]).collect();
    let stream: Vec<u8> = sent.iter().flat_map(|message| framed(message)).collect();
    let mut rest = stream.as_slice();
    let mut arrived = Vec::new();
    while !rest.is_empty() {
        let count = device.send(rest);
        rest = &rest[count..];
        arrived.extend(receive(&mut link).unwrap());
    }
    assert_eq!(arrived, sent);
    let mut back = Vec::new();
    for message in &sent {
        while !link.send_pending().unwrap() {
            back.extend(device.collect());
        }
        link.submit(message.clone()).unwrap();
    }
    while !(link.send_pending().unwrap() && link.is_flushed().unwrap()) {
        back.extend(device.collect());
    }
    assert_eq!(back, stream);
}

#[test]
fn last_words_are_cut_and_sent() {
    let (device, mut link) = linked();
    device.0.borrow_mut().prompt = Some(Vec::new());
    assert_eq!(link.send_last_words(&[7; 2 * LAST_WORDS_MAX]), Ok(()));
    assert_eq!(device.0.borrow().prompt, Some(framed(&[7; LAST_WORDS_MAX])));
}

#[test]
fn small_queues_and_an_empty_pool_give_no_link() {
    reset_pool();
    assert!(Link::<Pool, _>::new(Device::with_queues_of(BUFFERS as u32 - 1)).is_none());
    TAKEN.set(PAGES);
    assert!(Link::<Pool, _>::new(Device::with_queues_of(64)).is_none());
}

#[test]
fn a_buffer_that_the_device_does_not_hold_breaks_the_link() {
    for descriptor in [BUFFERS as u32, u32::from(u16::MAX), 0] {
        let (device, mut link) = linked();
        let (first, ..) = device.take(RECEIVE).unwrap();
        device.give(RECEIVE, first.into(), 0);
        assert_eq!(receive(&mut link), Ok(Vec::new()));
        // The same one again, or one that never was.
        device.give(RECEIVE, if descriptor == 0 { first.into() } else { descriptor }, 0);
        assert_eq!(receive(&mut link), Err(Broken));
    }
}

#[test]
fn a_length_counts_up_to_the_buffers() {
    let (device, mut link) = linked();
    let (descriptor, address, length) = device.take(RECEIVE).unwrap();
    let message = vec![5; length as usize - HEADER_LEN];
    write(address, &framed(&message));
    device.give(RECEIVE, descriptor.into(), u32::MAX);
    assert_eq!(receive(&mut link), Ok(vec![message]));
}

/// One step of a device that is honest at times.
fn mischief(device: &Device, numbers: &mut Numbers) {
    let number = [3, RECEIVE, TRANSMIT][numbers.below(3) as usize];
    match numbers.below(80) {
        0 => {
            let bytes: Vec<u8> = (0..numbers.below(40)).map(|_| numbers.next() as u8).collect();
            device.send(&bytes);
        }
        1 => write(device.queue(number).used, &(numbers.next() as u16).to_le_bytes()),
        2 => write(device.queue(number).used + 2, &(numbers.next() as u16).to_le_bytes()),
        3 => device.give(number, numbers.below(40) as u32, numbers.next() as u32),
        4 => device.give(number, numbers.next() as u32, numbers.below(5000) as u32),
        5 => {
            let parts = device.queue(number);
            let place = [parts.descriptors, parts.available, parts.used][numbers.below(3) as usize];
            write(place + numbers.below(600), &numbers.next().to_le_bytes());
        }
        6 => {
            let (descriptor, _, length) = device.take(number).unwrap_or_default();
            device.give(number, descriptor.into(), length.wrapping_add(numbers.below(3) as u32));
        }
        7..40 => {
            device.send(&framed(&vec![1; 1 + numbers.below(4000) as usize]));
        }
        _ => {
            device.collect();
        }
    }
}

/// The driver's step; an error ends the session, as the payload does.
fn work(link: &mut Link<Pool, Device>, numbers: &mut Numbers) -> Result<(), Broken> {
    for message in receive(link)? {
        assert!(message.len() <= MESSAGE_MAX);
    }
    if link.send_pending()? {
        link.submit(vec![9; 1 + numbers.below(40_000) as usize]).unwrap();
    }
    link.wants_turn(numbers.below(2) == 0);
    link.is_flushed()?;
    link.tell();
    Ok(())
}

/// No panic, no endless loop, no message over the limit, whatever the device does.
#[test]
fn a_hostile_device_ends_at_most_its_own_session() {
    const SESSIONS: u64 = 300;
    const STEPS: usize = 60;
    let mut ended = 0;
    for seed in 1..=SESSIONS {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (device, mut link) = linked();
        for _ in 0..STEPS {
            mischief(&device, &mut numbers);
            if work(&mut link, &mut numbers).is_err() {
                ended += 1;
                break;
            }
        }
    }
    // Were it all, or none, the device would not be worth its name.
    assert!((SESSIONS / 10..SESSIONS).contains(&ended), "{ended} sessions ended");
}
