// SPDX-License-Identifier: MIT
//! Finding the console on the PCI bus.

use super::port;
use super::register::Window;
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::transport::pci::{
    VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_VENDOR_ID,
};

/// Device numbers of a virtio console: transitional and modern.
const CONSOLES: [u16; 2] = [0x1003, 0x1043];
const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;

const CAPABILITY_VENDOR: u8 = 0x09;
const CAPABILITY_MSIX: u8 = 0x11;
/// Configuration space has room for this many.
const CAPABILITIES_MAX: usize = 48;
const MSIX_ENABLE: u32 = 1 << 31;
/// Masks all vectors.
const MSIX_MASK: u32 = 1 << 30;
const MSIX_ENTRY: u64 = 16;

const BARS: u8 = 6;
const BAR_LENGTH_MAX: u64 = 1 << 24;
/// Where BARs go that firmware has left at 0: in the hole below the interrupt controllers, which
/// q35 never fills with memory.
const BARS_START: u64 = 0xe000_0000;

/// Configuration space by the two ports. On SNP the ports are exits.
struct Ports;

impl Ports {
    fn select(function: DeviceFunction, offset: u8) {
        let address = 1 << 31
            | u32::from(function.bus) << 16
            | u32::from(function.device) << 11
            | u32::from(function.function) << 8
            | u32::from(offset & !3);
        port::write_u32(ADDRESS_PORT, address);
    }
}

impl ConfigurationAccess for Ports {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        Self::select(function, offset);
        port::read_u32(DATA_PORT)
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, data: u32) {
        Self::select(function, offset);
        port::write_u32(DATA_PORT, data);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self
    }
}

/// The console's registers.
#[derive(Debug)]
pub(crate) struct Console {
    /// `virtio_pci_common_cfg`.
    pub(crate) common: Window,
    /// Where queues are notified.
    pub(crate) notify: Window,
    /// Bytes between two queues' places there.
    pub(crate) notify_multiplier: u32,
}

/// A virtio structure's place: BAR, offset, length.
struct Place {
    bar: u8,
    offset: u64,
    length: u64,
}

struct Finder {
    root: PciRoot<Ports>,
    function: DeviceFunction,
    next_bar: u64,
    windows: [Option<Window>; BARS as usize],
}

/// Finds the first console, and has its one interrupt written to `message_address` as
/// `message_data`.
pub(crate) fn find(message_address: u32, message_data: u32) -> Option<Console> {
    let root = PciRoot::new(Ports);
    let (function, _) = root.enumerate_bus(0).find(|(_, info)| {
        info.vendor_id == VIRTIO_VENDOR_ID && CONSOLES.contains(&info.device_id)
    })?;
    let mut finder = Finder { root, function, next_bar: BARS_START, windows: [None; 6] };
    let capabilities: [Option<(u8, u8, u32)>; CAPABILITIES_MAX] = finder.capabilities();
    let mut common = None;
    let mut notify = None;
    let mut interrupts = None;
    for (id, offset, header) in capabilities.into_iter().flatten() {
        let kind = (header >> 24) as u8;
        match id {
            CAPABILITY_VENDOR if kind == VIRTIO_PCI_CAP_COMMON_CFG && common.is_none() => {
                common = Some(finder.place(offset)?);
            }
            CAPABILITY_VENDOR if kind == VIRTIO_PCI_CAP_NOTIFY_CFG && notify.is_none() => {
                notify = Some((finder.place(offset)?, finder.word(offset, 16)));
            }
            CAPABILITY_MSIX => interrupts = Some((offset, header)),
            _ => {}
        }
    }
    let (notify, notify_multiplier) = notify?;
    let common = finder.window(&common?)?;
    let notify = finder.window(&notify)?;
    finder.route_interrupt(interrupts?, message_address, message_data)?;
    let command = Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTERRUPT_DISABLE;
    finder.root.set_command(function, command);
    Some(Console { common, notify, notify_multiplier })
}

impl Finder {
    fn word(&self, capability: u8, offset: u8) -> u32 {
        Ports.read_word(self.function, capability.wrapping_add(offset))
    }

    /// Identity, offset and first word of each capability. A list in a circle ends at the bound.
    fn capabilities<const MAX: usize>(&self) -> [Option<(u8, u8, u32)>; MAX] {
        let mut list = self.root.capabilities(self.function);
        core::array::from_fn(|_| {
            let capability = list.next()?;
            Some((capability.id, capability.offset, self.word(capability.offset, 0)))
        })
    }

    /// `virtio_pci_cap` (virtio 1.2, 4.1.4).
    fn place(&self, capability: u8) -> Option<Place> {
        let bar = self.word(capability, 4) as u8;
        (bar < BARS).then(|| Place {
            bar,
            offset: u64::from(self.word(capability, 8)),
            length: u64::from(self.word(capability, 12)),
        })
    }

    fn window(&mut self, place: &Place) -> Option<Window> {
        self.bar(place.bar)?.part(place.offset, place.length)
    }

    /// Maps a BAR, giving it an address if it has none.
    fn bar(&mut self, bar: u8) -> Option<Window> {
        let slot = usize::from(bar);
        if let Some(window) = self.windows.get(slot)? {
            return Some(*window);
        }
        let info = self.root.bar_info(self.function, bar).ok()??;
        let (mut address, length) = info.memory_address_size()?;
        if !length.is_power_of_two() || length > BAR_LENGTH_MAX {
            return None;
        }
        if address == 0 {
            address = self.next_bar.checked_next_multiple_of(length)?;
            self.next_bar = address.checked_add(length)?;
            if info.takes_two_entries() {
                self.root.set_bar_64(self.function, bar, address);
            } else {
                self.root.set_bar_32(self.function, bar, u32::try_from(address).ok()?);
            }
        }
        let window = Window::map(address..address.checked_add(length)?)?;
        *self.windows.get_mut(slot)? = Some(window);
        Some(window)
    }

    /// Points entry 0 of the MSI-X table at the processor (PCI 3.0, 6.8.2).
    fn route_interrupt(
        &mut self,
        (capability, header): (u8, u32),
        address: u32,
        data: u32,
    ) -> Option<()> {
        let table = self.word(capability, 4);
        let bar = (table & 7) as u8;
        if bar >= BARS {
            return None;
        }
        let entry = self.bar(bar)?.part(u64::from(table & !7), MSIX_ENTRY)?;
        // Registers answer only while the device decodes addresses.
        self.root.set_command(self.function, Command::MEMORY_SPACE);
        entry.write_u64(0, u64::from(address));
        entry.write_u32(8, data);
        entry.write_u32(12, 0);
        let enabled = header & !MSIX_MASK | MSIX_ENABLE;
        Ports.write_word(self.function, capability, enabled);
        Some(())
    }
}
