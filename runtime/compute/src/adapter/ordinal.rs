//! Numbers for devices of the same name.

use super::{DeviceKind, Info};

/// The number of a device among those of the same name behind the same backend, given all that
/// come before it. Backends do not agree on anything else that they know of a device; a fixed
/// order (of places on the bus) makes equal numbers mean the same device.
pub(super) fn ordinal<'a>(info: &Info, before: impl Iterator<Item = &'a Info>) -> u32 {
    if info.kind == DeviceKind::SoftwareRasterizer {
        // The processor is there once, however often a driver for it is installed.
        return 0;
    }
    let equals = before.filter(|other| other.backend == info.backend && other.name == info.name);
    let mut next = 0;
    for other in equals {
        let bus = &info.identity.pci_bus;
        if bus.is_some() && *bus == other.identity.pci_bus {
            // One device through two installed drivers.
            return other.identity.ordinal;
        }
        next = next.max(other.identity.ordinal + 1);
    }
    next
}
