//! What tells how a step went, read back while the next one runs.

use ::wgpu as gpu;
use anyhow::{Context as _, Result, bail};

use super::device::Device;
use crate::graph::Graph;

/// A buffer of its own for the few words of a step's outcome: its copy is asked for behind the step
/// and taken when the next one is under way, so that the device is not idle meanwhile.
pub(super) struct Outcome {
    staging: gpu::Buffer,
    /// The tensors by their numbers, and their bytes.
    parts: Vec<(usize, u64)>,
    begun: Option<Begun>,
}

/// A copy under way.
struct Begun {
    submit: gpu::SubmissionIndex,
    mapped: async_channel::Receiver<Result<(), gpu::BufferAsyncError>>,
}

impl Outcome {
    pub(super) fn new(device: &gpu::Device, graph: &Graph) -> Self {
        // Losses, averages and flags are whole words whatever the precision.
        let bytes = |at: usize| (graph.tensors[at].len() * size_of::<u32>()) as u64;
        let parts: Vec<_> = graph.outcome().map(|id| (id.0, bytes(id.0))).collect();
        let staging = device.create_buffer(&gpu::BufferDescriptor {
            label: Some("outcome"),
            size: total(&parts).max(gpu::COPY_BUFFER_ALIGNMENT),
            usage: gpu::BufferUsages::MAP_READ | gpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { staging, parts, begun: None }
    }

    /// Asks for the copy, behind everything submitted so far.
    pub(super) fn begin(&mut self, device: &Device, tensors: &[gpu::Buffer]) -> Result<()> {
        if self.begun.take().is_some() {
            self.staging.unmap();
        }
        let mut encoder = device.device.create_command_encoder(&Default::default());
        let mut offset = 0;
        for (at, bytes) in &self.parts {
            let from = &tensors[*at];
            encoder.copy_buffer_to_buffer(from, 0, &self.staging, offset, Some(*bytes));
            offset += bytes;
        }
        let submit = device.queue.submit([encoder.finish()]);
        let (sender, mapped) = async_channel::bounded(1);
        self.staging.map_async(gpu::MapMode::Read, .., move |result| {
            // Nobody listens to a copy that was forgotten.
            let _ = sender.try_send(result);
        });
        self.begun = Some(Begun { submit, mapped });
        device.check()
    }

    /// Waits for the copy.
    pub(super) fn take(&mut self, device: &Device) -> Result<Vec<u32>> {
        let Some(begun) = self.begun.take() else { bail!("no outcome was asked for") };
        device.wait(Some(begun.submit))?;
        begun.mapped.recv_blocking().context("the device dropped a read")??;
        let bytes = self.staging.get_mapped_range(0..total(&self.parts))?.to_vec();
        self.staging.unmap();
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }
}

fn total(parts: &[(usize, u64)]) -> u64 {
    parts.iter().map(|(_, bytes)| bytes).sum()
}
