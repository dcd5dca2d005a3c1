//! Runs forms of kernels on a replica's own buffers, before anything of worth is in them.

use std::time::{Duration, Instant};

use ::wgpu as gpu;
use anyhow::Result;

use super::compiler::{Compiler, Dispatch};
use super::device::Device;
use super::memory::Memory;
use crate::adapter::forms::Trial;
use crate::adapter::half::{self, Storage};
use crate::graph::{Graph, Op, TensorId};
use crate::kernel::{Access, Dtype, Step, Variant};

/// Reals to compare results with, repeated: no power of two, so that rows differ, and even, so that
/// each repetition begins with a whole word in 16 bits as well.
const REALS: usize = 2 * 32_749;

/// Forms of kernels on the buffers of a replica.
pub(super) struct Bench<'a, 'c> {
    device: &'a Device,
    graph: &'a Graph,
    memory: &'a Memory,
    compiler: &'c mut Compiler<'a>,
    is_dirty: bool,
    spent: Duration,
}

impl<'a, 'c> Bench<'a, 'c> {
    pub(super) fn new(
        device: &'a Device,
        graph: &'a Graph,
        memory: &'a Memory,
        compiler: &'c mut Compiler<'a>,
    ) -> Self {
        Self { device, graph, memory, compiler, is_dirty: false, spent: Duration::ZERO }
    }

    /// Leaves all buffers as they were made: zero.
    pub(super) fn tidy_up(self) -> Result<()> {
        if !self.is_dirty {
            return Ok(());
        }
        let mut encoder = self.device.device.create_command_encoder(&Default::default());
        for buffer in &self.memory.tensors {
            encoder.clear_buffer(buffer, 0, None);
        }
        self.device.queue.submit([encoder.finish()]);
        self.device.wait(None)
    }

    fn compile(&mut self, op: &Op, form: &'static Variant) -> Result<Dispatch> {
        self.compiler.compile(op, form, &self.memory.tensors)
    }

    fn run(&mut self, dispatch: &Dispatch, images: usize, repeats: usize) -> Result<()> {
        self.is_dirty = true;
        let step = Step::of(images);
        self.device.queue.write_buffer(&self.memory.step, 0, bytemuck::bytes_of(&step));
        let encode = |pass: &mut gpu::ComputePass<'_>| {
            pass.set_bind_group(1, &self.memory.step_group, &[]);
            (0..repeats).for_each(|_| dispatch.encode(pass, images));
        };
        let submit = self.device.submit(None, encode, |_| {});
        self.device.wait(Some(&submit))
    }

    /// Gives a tensor these values, over and over.
    fn fill(&self, id: TensorId, images: usize, values: &[f32]) {
        let len = self.graph.tensor(id).len_for(images);
        let storage = self.memory.storage[id.0];
        let mut packed = Vec::new();
        for first in (0..len).step_by(values.len()) {
            let part = &values[..values.len().min(len - first)];
            let bytes: &[u8] = match storage {
                Storage::Half(_) => {
                    half::pack(part, 1.0, &mut packed);
                    bytemuck::cast_slice(&packed)
                }
                Storage::Whole => bytemuck::cast_slice(part),
            };
            let offset = storage.bytes(first) as gpu::BufferAddress;
            self.device.queue.write_buffer(&self.memory.tensors[id.0], offset, bytes);
        }
    }

    fn written(&mut self, op: &Op, form: &'static Variant, images: usize) -> Result<Vec<Vec<u32>>> {
        let dispatch = self.compile(op, form)?;
        // Every index is 0, which is one of anything.
        let (reals, zeros) = (reals(), [0.0; 1024]);
        for id in &op.tensors {
            let is_index = self.graph.tensor(*id).dtype == Dtype::Index;
            self.fill(*id, images, if is_index { &zeros } else { &reals });
        }
        self.run(&dispatch, images, 1)?;
        let bindings = op.kernel.bindings.iter().zip(&op.tensors);
        bindings
            .filter(|(binding, _)| binding.access == Access::Write)
            .map(|(binding, id)| {
                let len = self.graph.tensor(*id).len_for(images);
                Ok(match binding.dtype {
                    Dtype::Real => {
                        let reals = self.memory.reals(self.device, *id, len)?;
                        bytemuck::cast_slice(&reals).to_vec()
                    }
                    Dtype::Index => {
                        bytemuck::pod_collect_to_vec(&self.memory.bytes(self.device, *id, len)?)
                    }
                })
            })
            .collect()
    }
}

impl Trial for Bench<'_, '_> {
    fn time(
        &mut self,
        op: &Op,
        form: &'static Variant,
        images: usize,
        repeats: usize,
    ) -> Option<f64> {
        let begin = Instant::now();
        let seconds = self.compile(op, form).and_then(|dispatch| {
            let start = Instant::now();
            self.run(&dispatch, images, repeats)?;
            Ok(start.elapsed().as_secs_f64())
        });
        self.spent += begin.elapsed();
        seconds.ok()
    }

    fn results(&mut self, op: &Op, form: &'static Variant, images: usize) -> Option<Vec<Vec<u32>>> {
        let begin = Instant::now();
        let written = self.written(op, form, images);
        self.spent += begin.elapsed();
        written.ok()
    }

    fn spent(&self) -> Duration {
        self.spent
    }
}

/// Numbers from -1 to 1 without order.
fn reals() -> Vec<f32> {
    let mut state = 1_u32;
    let next = || {
        // Knuth's linear congruential generator; its high bits are random enough for this.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0) as f32
    };
    std::iter::repeat_with(next).take(REALS).collect()
}
