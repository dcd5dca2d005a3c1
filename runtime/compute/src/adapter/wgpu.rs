//! The `wgpu` adapters: a graph's nodes become compute dispatches over buffers made beforehand.
//! Only this module names wgpu.

mod compiler;
mod device;
mod memory;
mod replica;
mod staging;
mod timing;
mod trial;
mod watchdog;

use std::sync::Arc;

use ::wgpu as gpu;
use anyhow::{Context as _, Result};

use self::device::Device;
use self::replica::WgpuReplica;
use super::ordinal::ordinal;
use super::{Adapter, DeviceKind, Identity, Info, Limits, Lowering, Replica, unoffered};
use crate::graph::Graph;
use crate::precision::Precision;

/// A Vulkan, Metal, DX12 or GL device.
pub struct WgpuAdapter {
    adapter: gpu::Adapter,
    info: Info,
    limits: gpu::Limits,
}

/// Every adapter that the machine's drivers offer.
pub fn enumerate() -> Vec<WgpuAdapter> {
    let instance = gpu::Instance::new(gpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(gpu::Backends::all()));
    let mut found: Vec<WgpuAdapter> = adapters
        .into_iter()
        .filter(|adapter| {
            let downlevel = adapter.get_downlevel_capabilities();
            downlevel.flags.contains(gpu::DownlevelFlags::COMPUTE_SHADERS)
        })
        .map(WgpuAdapter::new)
        .collect();
    // Drivers are loaded in any order; a fixed order gives each adapter a lasting index.
    found.sort_by(|a, b| {
        let key = |info: &Info| {
            let bus = info.identity.pci_bus.clone();
            (info.name.clone(), info.backend != "vulkan", info.backend, bus)
        };
        key(&a.info).cmp(&key(&b.info))
    });
    for at in 0..found.len() {
        let before = found[..at].iter().map(|adapter| &adapter.info);
        found[at].info.identity.ordinal = ordinal(&found[at].info, before);
    }
    found
}

impl WgpuAdapter {
    fn new(adapter: gpu::Adapter) -> Self {
        // WebGPU's default limits, or what there is where that is less. More is never asked for,
        // so that whatever runs here runs everywhere.
        let limits = gpu::Limits::default().or_worse_values_from(&adapter.limits());
        let info = describe(&adapter.get_info(), &limits, adapter.features());
        Self { adapter, info, limits }
    }

    /// A device to compute on like this.
    fn open(&self, how: &Lowering) -> Result<Device> {
        // Costs nothing until something is timed.
        let timestamps = self.adapter.features() & gpu::Features::TIMESTAMP_QUERY;
        let descriptor = gpu::DeviceDescriptor {
            label: Some("gradflow"),
            required_features: match how.precision {
                Precision::F16 => gpu::Features::SHADER_F16 | timestamps,
                _ => timestamps,
            },
            required_limits: self.limits.clone(),
            ..gpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(self.adapter.request_device(&descriptor))
            .with_context(|| format!("{} gave no device", self.info.name))?;
        Ok(Device::new(device, queue))
    }
}

fn describe(info: &gpu::AdapterInfo, limits: &gpu::Limits, features: gpu::Features) -> Info {
    let backend = match info.backend {
        gpu::Backend::Vulkan => "vulkan",
        gpu::Backend::Metal => "metal",
        gpu::Backend::Dx12 => "dx12",
        gpu::Backend::Gl => "gl",
        gpu::Backend::BrowserWebGpu => "webgpu",
        gpu::Backend::Noop => "noop",
    };
    // llvmpipe says through GL that it is of another kind, so its name counts as well.
    let software = ["llvmpipe", "SwiftShader", "softpipe", "Microsoft Basic Render"]
        .iter()
        .any(|name| info.name.contains(name));
    let kind = match info.device_type {
        _ if software => DeviceKind::SoftwareRasterizer,
        gpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu,
        gpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
        gpu::DeviceType::VirtualGpu => DeviceKind::VirtualGpu,
        gpu::DeviceType::Cpu => DeviceKind::SoftwareRasterizer,
        gpu::DeviceType::Other => DeviceKind::Other,
    };
    Info {
        name: info.name.clone(),
        backend,
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        kind,
        identity: Identity {
            vendor: info.vendor,
            device: info.device,
            pci_bus: Some(info.device_pci_bus_id.clone()).filter(|bus| !bus.is_empty()),
            // Known once all adapters are.
            ordinal: 0,
        },
        limits: Limits {
            binding_bytes: limits.max_storage_buffer_binding_size,
            buffer_bytes: limits.max_buffer_size,
            workgroups: limits.max_compute_workgroups_per_dimension,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            // WebGPU does not tell how much there is.
            memory_bytes: None,
        },
        precisions: match features.contains(gpu::Features::SHADER_F16) {
            true => vec![Precision::F32, Precision::F16],
            false => vec![Precision::F32],
        },
    }
}

impl Adapter for WgpuAdapter {
    fn info(&self) -> &Info {
        &self.info
    }

    fn overlaps(&self) -> bool {
        true
    }

    fn lower(&self, graph: &Arc<Graph>, how: &Lowering) -> Result<Box<dyn Replica>> {
        unoffered(&self.info, how.precision)?;
        let replica = WgpuReplica::new(self.open(how)?, graph, how, &self.info)
            .with_context(|| format!("{} could not take the model", self.info.name))?;
        Ok(Box::new(replica))
    }
}
