//! Every buffer of a replica.

use ::wgpu as gpu;
use anyhow::{Context as _, Result};

use super::compiler::layout_entry;
use super::device::Device;
use super::staging::Staging;
use crate::adapter::half::{self, Storage};
use crate::adapter::{Lowering, Readback};
use crate::graph::{Bucket, Graph, TensorId};
use crate::kernel::Step;

/// Bytes read back at once.
const STAGING_BYTES: u64 = 4 << 20;

/// Every buffer of a replica.
pub(super) struct Memory {
    /// One for each tensor.
    pub(super) tensors: Vec<gpu::Buffer>,
    /// How each tensor is stored.
    pub(super) storage: Vec<Storage>,
    /// What is read back comes through here.
    pub(super) staging: gpu::Buffer,
    /// The outcome of a step comes through here, while the next step runs.
    pub(super) outcome: Staging,
    /// And each bucket through one of these, while the backward phase goes on.
    pub(super) buckets: Vec<Staging>,
    /// The numbers of a step.
    pub(super) step: gpu::Buffer,
    pub(super) step_layout: gpu::BindGroupLayout,
    pub(super) step_group: gpu::BindGroup,
}

impl Memory {
    pub(super) fn new(device: &gpu::Device, graph: &Graph, how: &Lowering) -> Self {
        let storage: Vec<Storage> =
            graph.tensors.iter().map(|tensor| Storage::of(tensor, how)).collect();
        let tensors = graph
            .tensors
            .iter()
            .zip(&storage)
            .map(|(tensor, storage)| {
                device.create_buffer(&gpu::BufferDescriptor {
                    label: Some(&tensor.name),
                    size: storage.bytes(tensor.len_for(how.micro_batch).max(1)) as u64,
                    usage: gpu::BufferUsages::STORAGE
                        | gpu::BufferUsages::COPY_SRC
                        | gpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })
            .collect();
        let staging = device.create_buffer(&gpu::BufferDescriptor {
            label: Some("staging"),
            size: STAGING_BYTES,
            usage: gpu::BufferUsages::MAP_READ | gpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let outcome = Staging::new(device, "outcome", graph, graph.outcome());
        let bucket =
            |bucket: &Bucket| Staging::new(device, "bucket", graph, bucket.tensors.iter().copied());
        let buckets = how.buckets.iter().map(bucket).collect();
        let step = device.create_buffer(&gpu::BufferDescriptor {
            label: Some("step"),
            size: size_of::<Step>() as u64,
            usage: gpu::BufferUsages::UNIFORM | gpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let step_layout = device.create_bind_group_layout(&gpu::BindGroupLayoutDescriptor {
            label: Some("step"),
            entries: &[layout_entry(0, gpu::BufferBindingType::Uniform)],
        });
        let step_group = device.create_bind_group(&gpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &step_layout,
            entries: &[gpu::BindGroupEntry { binding: 0, resource: step.as_entire_binding() }],
        });
        Self { tensors, storage, staging, outcome, buckets, step, step_layout, step_group }
    }

    pub(super) fn of(&self, readback: Readback) -> Result<&Staging> {
        match readback {
            Readback::Outcome => Ok(&self.outcome),
            Readback::Bucket(at) => self.buckets.get(at).with_context(|| no_bucket(at)),
        }
    }

    pub(super) fn of_mut(&mut self, readback: Readback) -> Result<&mut Staging> {
        match readback {
            Readback::Outcome => Ok(&mut self.outcome),
            Readback::Bucket(at) => self.buckets.get_mut(at).with_context(|| no_bucket(at)),
        }
    }

    /// The first reals of a tensor, once all that was submitted is done.
    pub(super) fn reals(&self, device: &Device, tensor: TensorId, len: usize) -> Result<Vec<f32>> {
        let bytes = self.bytes(device, tensor, len)?;
        Ok(match self.storage[tensor.0] {
            Storage::Half(scale) => half::unpack(&bytes, scale, len),
            Storage::Whole => bytemuck::pod_collect_to_vec(&bytes),
        })
    }

    /// The bytes of the first elements of a tensor, once all that was submitted is done.
    pub(super) fn bytes(&self, device: &Device, tensor: TensorId, len: usize) -> Result<Vec<u8>> {
        let total = self.storage[tensor.0].bytes(len) as u64;
        let mut bytes = Vec::with_capacity(total as usize);
        while (bytes.len() as u64) < total {
            let offset = bytes.len() as u64;
            let part = (total - offset).min(STAGING_BYTES);
            let mut encoder = device.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(
                &self.tensors[tensor.0],
                offset,
                &self.staging,
                0,
                Some(part),
            );
            device.queue.submit([encoder.finish()]);
            device.download(&self.staging, part, &mut bytes)?;
        }
        Ok(bytes)
    }
}

pub(super) fn no_bucket(number: usize) -> String {
    format!("there is no bucket {number}")
}
