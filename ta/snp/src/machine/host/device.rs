// SPDX-License-Identifier: MIT
//! A virtio device on PCI, as `virtio_drivers::VirtQueue` needs it.
//!
//! The crate's own `PciTransport` reads the place of a queue's notification anew each time and
//! trusts it, knows no MSI-X vectors, and touches registers through Rust pointers; here the place
//! is read and checked once, and every access goes through `register`.

use super::pci::Console;
use super::register::Window;
use virtio_drivers::PhysAddr;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

// Offsets in `virtio_pci_common_cfg` (virtio 1.2, 4.1.4.3).
const DEVICE_FEATURE_SELECT: usize = 0;
const DEVICE_FEATURE: usize = 4;
const DRIVER_FEATURE_SELECT: usize = 8;
const DRIVER_FEATURE: usize = 12;
const CONFIG_VECTOR: usize = 16;
const STATUS: usize = 20;
const CONFIG_GENERATION: usize = 21;
const QUEUE_SELECT: usize = 22;
const QUEUE_SIZE: usize = 24;
const QUEUE_VECTOR: usize = 26;
const QUEUE_ENABLE: usize = 28;
const QUEUE_NOTIFY_OFFSET: usize = 30;
const QUEUE_DESCRIPTORS: usize = 32;
const QUEUE_DRIVER: usize = 40;
const QUEUE_DEVICE: usize = 48;
const COMMON_LENGTH: usize = 56;

const NO_VECTOR: u16 = 0xffff;
const VECTOR: u16 = 0;
/// `VIRTIO_F_VERSION_1`: the device is not a legacy one.
const VERSION_1: u64 = 1 << 32;
/// `VIRTIO_F_ACCESS_PLATFORM`: the device reaches only what it is allowed to.
const ACCESS_PLATFORM: u64 = 1 << 33;
/// Reads of the status until a reset must have happened.
const RESET_READS_MAX: u32 = 100_000;
/// `VIRTIO_CONSOLE_F_MULTIPORT`: there are ports behind the first.
const MULTIPORT: u64 = 1 << 1;
/// Queues up to those of port 1.
const QUEUES: usize = 6;

/// The device's registers.
#[derive(Debug)]
pub(crate) struct Device {
    common: Window,
    notify: [Option<Window>; QUEUES],
}

impl Device {
    /// Resets the device, agrees on features, and finds where `queues` are notified.
    pub(crate) fn start(console: &Console, queues: &[u16]) -> Option<Self> {
        if console.common.length() < COMMON_LENGTH {
            return None;
        }
        let mut device = Self { common: console.common, notify: [None; QUEUES] };
        device.reset()?;
        device.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        let offered = device.read_device_features();
        if offered & VERSION_1 == 0 || offered & MULTIPORT == 0 {
            return None;
        }
        device.write_driver_features(offered & (VERSION_1 | ACCESS_PLATFORM | MULTIPORT));
        let agreed = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK;
        device.set_status(agreed);
        if !device.get_status().contains(DeviceStatus::FEATURES_OK) {
            return None;
        }
        device.common.write_u16(CONFIG_VECTOR, NO_VECTOR);
        for queue in queues {
            let window = device.notify_window(console, *queue)?;
            *device.notify.get_mut(usize::from(*queue))? = Some(window);
        }
        Some(device)
    }

    fn reset(&mut self) -> Option<()> {
        self.set_status(DeviceStatus::empty());
        (0..RESET_READS_MAX).find(|_| self.get_status().is_empty()).map(|_| ())
    }

    fn notify_window(&self, console: &Console, queue: u16) -> Option<Window> {
        self.common.write_u16(QUEUE_SELECT, queue);
        let number = u64::from(self.common.read_u16(QUEUE_NOTIFY_OFFSET));
        let offset = number.checked_mul(u64::from(console.notify_multiplier))?;
        console.notify.part(offset, 2)
    }

    fn feature_half(&self, half: u32) -> u64 {
        self.common.write_u32(DEVICE_FEATURE_SELECT, half);
        u64::from(self.common.read_u32(DEVICE_FEATURE))
    }
}

impl Transport for Device {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn read_device_features(&mut self) -> u64 {
        self.feature_half(0) | self.feature_half(1) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        self.common.write_u32(DRIVER_FEATURE_SELECT, 0);
        self.common.write_u32(DRIVER_FEATURE, features as u32);
        self.common.write_u32(DRIVER_FEATURE_SELECT, 1);
        self.common.write_u32(DRIVER_FEATURE, (features >> 32) as u32);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.common.write_u16(QUEUE_SELECT, queue);
        u32::from(self.common.read_u16(QUEUE_SIZE))
    }

    fn notify(&mut self, queue: u16) {
        if let Some(Some(window)) = self.notify.get(usize::from(queue)) {
            window.write_u16(0, queue);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(u32::from(self.common.read_u8(STATUS)))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.common.write_u8(STATUS, status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.common.write_u16(QUEUE_SELECT, queue);
        self.common.write_u16(QUEUE_SIZE, size as u16);
        self.common.write_u16(QUEUE_VECTOR, VECTOR);
        self.common.write_u64(QUEUE_DESCRIPTORS, descriptors);
        self.common.write_u64(QUEUE_DRIVER, driver_area);
        self.common.write_u64(QUEUE_DEVICE, device_area);
        self.common.write_u16(QUEUE_ENABLE, 1);
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.common.write_u16(QUEUE_SELECT, queue);
        self.common.read_u16(QUEUE_ENABLE) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        // Message-signalled interrupts need none.
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        u32::from(self.common.read_u8(CONFIG_GENERATION))
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
