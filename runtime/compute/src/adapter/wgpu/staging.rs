//! What is read back while the device goes on.

use ::wgpu as gpu;
use anyhow::{Context as _, Result, bail};

use super::device::Device;
use crate::graph::{Graph, TensorId};

/// Buffers of their own for some tensors that are read back together, made beforehand: their copy is
/// asked for behind what writes them and taken when more is under way, so that the device is not
/// idle meanwhile.
pub(super) struct Staging {
    buffers: Vec<Mapped>,
    begun: Option<Begun>,
}

/// A buffer that can be mapped, and what is copied into it.
struct Mapped {
    buffer: gpu::Buffer,
    /// The tensors by their numbers, and their bytes.
    parts: Vec<(usize, u64)>,
}

/// A copy under way.
struct Begun {
    submit: gpu::SubmissionIndex,
    mapped: Vec<async_channel::Receiver<Result<(), gpu::BufferAsyncError>>>,
}

impl Staging {
    /// For tensors that are whole words whatever the precision.
    pub(super) fn new(
        device: &gpu::Device,
        label: &str,
        graph: &Graph,
        tensors: impl IntoIterator<Item = TensorId>,
    ) -> Self {
        let most = device.limits().max_buffer_size;
        let mut parts: Vec<Vec<(usize, u64)>> = Vec::new();
        for TensorId(at) in tensors {
            let bytes = (graph.tensors[at].len() * size_of::<u32>()) as u64;
            match parts.last_mut() {
                Some(last) if total(last) + bytes <= most => last.push((at, bytes)),
                _ => parts.push(vec![(at, bytes)]),
            }
        }
        let mapped = |parts: Vec<(usize, u64)>| {
            let buffer = device.create_buffer(&gpu::BufferDescriptor {
                label: Some(label),
                size: total(&parts).max(gpu::COPY_BUFFER_ALIGNMENT),
                usage: gpu::BufferUsages::MAP_READ | gpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            Mapped { buffer, parts }
        };
        Self { buffers: parts.into_iter().map(mapped).collect(), begun: None }
    }

    /// Makes the buffers ready for another copy. What was begun and not taken is forgotten.
    pub(super) fn clear(&mut self) {
        if self.begun.take().is_some() {
            self.buffers.iter().for_each(|mapped| mapped.buffer.unmap());
        }
    }

    /// Appends the copies to what is going to be submitted.
    pub(super) fn encode(&self, encoder: &mut gpu::CommandEncoder, tensors: &[gpu::Buffer]) {
        for Mapped { buffer, parts } in &self.buffers {
            let mut offset = 0;
            for (at, bytes) in parts {
                encoder.copy_buffer_to_buffer(&tensors[*at], 0, buffer, offset, Some(*bytes));
                offset += bytes;
            }
        }
    }

    /// The copies were submitted: asks for them as soon as they are there.
    pub(super) fn submitted(&mut self, submit: gpu::SubmissionIndex) {
        let ask = |mapped: &Mapped| {
            let (sender, receiver) = async_channel::bounded(1);
            mapped.buffer.map_async(gpu::MapMode::Read, .., move |result| {
                // Nobody listens to a copy that was forgotten.
                let _ = sender.try_send(result);
            });
            receiver
        };
        self.begun = Some(Begun { submit, mapped: self.buffers.iter().map(ask).collect() });
    }

    /// Submits the copies alone, behind everything submitted so far.
    pub(super) fn begin(&mut self, device: &Device, tensors: &[gpu::Buffer]) -> Result<()> {
        self.clear();
        let mut encoder = device.device.create_command_encoder(&Default::default());
        self.encode(&mut encoder, tensors);
        self.submitted(device.queue.submit([encoder.finish()]));
        device.check()
    }

    /// Waits for the copies, and appends their words.
    pub(super) fn take(&mut self, device: &Device, to: &mut Vec<u32>) -> Result<()> {
        let Some(begun) = self.begun.take() else { bail!("nothing was begun to be read back") };
        device.wait(Some(&begun.submit))?;
        for (Mapped { buffer, parts }, mapped) in self.buffers.iter().zip(begun.mapped) {
            mapped.recv_blocking().context("the device dropped a read")??;
            let bytes = buffer.get_mapped_range(0..total(parts))?;
            let first = to.len();
            to.resize(first + bytes.len() / size_of::<u32>(), 0);
            bytemuck::cast_slice_mut::<u32, u8>(&mut to[first..]).copy_from_slice(&bytes);
            drop(bytes);
            buffer.unmap();
        }
        Ok(())
    }
}

fn total(parts: &[(usize, u64)]) -> u64 {
    parts.iter().map(|(_, bytes)| bytes).sum()
}
