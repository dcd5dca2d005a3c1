//! One copy of a model on a device.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ::wgpu as gpu;
use anyhow::{Context as _, Result, bail};

use super::compiler::{Compiler, Dispatch};
use super::device::Device;
use super::memory::{Memory, no_bucket};
use super::timing::Timer;
use super::trial::Bench;
use crate::adapter::forms::Chosen;
use crate::adapter::half::{self, Storage};
use crate::adapter::pace::{Pace, cut};
use crate::adapter::variants::{InForce, Variants};
use crate::adapter::{Info, Lowering, Readback, Replica, Timing, Values};
use crate::graph::{Graph, Node, Op, Phase, Span, TensorId};
use crate::kernel::{Dtype, Step};

/// Runs that may be under way before the next one waits for the oldest: enough to keep a GPU busy
/// while the next batch is uploaded, few enough that nothing piles up.
const RUNS_IN_FLIGHT: usize = 2;

pub(super) struct WgpuReplica {
    device: Device,
    graph: Arc<Graph>,
    variants: Variants,
    memory: Memory,
    /// What is on its way to a buffer in 16 bits.
    packed: Vec<u32>,
    dispatches: Vec<Paced>,
    /// Of each phase, the dispatches of its nodes; `None` where there is nothing to dispatch.
    phases: [Vec<Option<usize>>; Phase::ALL.len()],
    /// The last submit of each run under way.
    in_flight: VecDeque<gpu::SubmissionIndex>,
}

/// A dispatch and how long it takes.
struct Paced {
    dispatch: Dispatch,
    pace: Pace,
}

impl WgpuReplica {
    pub(super) fn new(
        device: Device,
        graph: &Arc<Graph>,
        how: &Lowering,
        info: &Info,
    ) -> Result<Self> {
        let micro_batch = how.micro_batch;
        let memory = Memory::new(&device.device, graph, how);
        device.check()?;
        let mut compiler = Compiler::new(&device.device, how, &memory.step_layout);
        let mut bench = Bench::new(&device, graph, &memory, &mut compiler);
        let chosen = how.forms.choose(info, graph, how, &mut bench);
        bench.tidy_up()?;
        let mut dispatches = Vec::new();
        let mut phases = [const { Vec::new() }; Phase::ALL.len()];
        for phase in Phase::ALL {
            for node in graph.phase(phase) {
                phases[phase as usize].push(match node {
                    Node::AllReduce(_) => None,
                    Node::Run(op) => {
                        dispatches.push(paced(&mut compiler, graph, op, &chosen, &memory)?);
                        Some(dispatches.len() - 1)
                    }
                });
            }
        }
        device.check()?;
        let mut variants = Variants { micro_batch, ..Variants::default() };
        for op in graph.all_ops() {
            let in_force = chosen.of(op).map(|variant| InForce::of(op, variant));
            let new = in_force.filter(|in_force| !variants.kernels.contains(in_force));
            variants.kernels.extend(new);
        }
        let graph = Arc::clone(graph);
        let in_flight = VecDeque::new();
        let packed = Vec::new();
        Ok(Self { device, graph, variants, memory, packed, dispatches, phases, in_flight })
    }

    /// Submits these dispatches together, and the copies of what is read back behind them; a
    /// dispatch whose pace is not known is alone, and waited for.
    fn submit(
        &mut self,
        dispatches: &[usize],
        images: usize,
        timestamps: Option<gpu::ComputePassTimestampWrites<'_>>,
        readback: Option<Readback>,
    ) -> Result<gpu::SubmissionIndex> {
        let unknown = match dispatches {
            [one] => self.dispatches[*one].pace.seconds(images).is_none().then_some(*one),
            _ => None,
        };
        if unknown.is_some() {
            self.wait()?;
        }
        let copies = readback.map(|readback| self.memory.of(readback)).transpose()?;
        let start = Instant::now();
        let encode = |pass: &mut gpu::ComputePass<'_>| {
            pass.set_bind_group(1, &self.memory.step_group, &[]);
            dispatches.iter().for_each(|at| self.dispatches[*at].dispatch.encode(pass, images));
        };
        let submit = self.device.submit(timestamps, encode, |encoder| {
            copies.into_iter().for_each(|copies| copies.encode(encoder, &self.memory.tensors));
        });
        if let Some(one) = unknown {
            self.device.wait(Some(&submit))?;
            self.dispatches[one].pace.took(images, start.elapsed().as_secs_f64());
        }
        Ok(submit)
    }

    /// Submits these nodes. The timer, if any, takes the time before the first and after the last,
    /// and the copies of what is read back are in the same submit as that.
    /// `None` where there was nothing to dispatch.
    fn submit_all(
        &mut self,
        spans: &[Span],
        step: &Step,
        timer: Option<&Timer>,
        readback: Option<Readback>,
    ) -> Result<Option<gpu::SubmissionIndex>> {
        let images = step.images as usize;
        if images > self.variants.micro_batch {
            bail!("{images} images in a micro-batch of {}", self.variants.micro_batch);
        }
        let mut asked = Vec::new();
        for span in spans {
            let nodes = self.phases[span.phase as usize].get(span.nodes.clone());
            let Some(nodes) = nodes else { bail!("the model has no {span:?}") };
            asked.extend(nodes.iter().flatten().copied());
        }
        self.device.queue.write_buffer(&self.memory.step, 0, bytemuck::bytes_of(step));
        let seconds = |at: &usize| self.dispatches[*at].pace.seconds(images);
        let submits: Vec<_> = cut(asked.iter().map(seconds)).collect();
        let (count, mut last) = (submits.len(), None);
        for (at, submit) in submits.into_iter().enumerate() {
            let timestamps = timer.and_then(|timer| timer.writes(at == 0, at + 1 == count));
            let readback = readback.filter(|_| at + 1 == count);
            last = Some(self.submit(&asked[submit], images, timestamps, readback)?);
        }
        Ok(last)
    }
}

fn paced(
    compiler: &mut Compiler<'_>,
    graph: &Graph,
    op: &Op,
    chosen: &Chosen,
    memory: &Memory,
) -> Result<Paced> {
    let compiled = chosen
        .of(op)
        .with_context(|| format!("no form of it can do {}", op.constants))
        .and_then(|variant| compiler.compile(op, variant, &memory.tensors));
    let dispatch = compiled.with_context(|| {
        let layer = graph.layers.get(op.layer).map_or("?", |layer| &layer.name);
        format!("kernel {} of layer {layer}", op.kernel.name)
    })?;
    Ok(Paced { dispatch, pace: Pace::default() })
}

impl Replica for WgpuReplica {
    fn variants(&self) -> Variants {
        self.variants.clone()
    }

    fn write(&mut self, tensor: TensorId, values: Values<'_>) -> Result<()> {
        let about = self.graph.tensor(tensor);
        let (dtype, bytes): (Dtype, &[u8]) = match (values, self.memory.storage[tensor.0]) {
            (Values::Real(values), Storage::Half(scale)) => {
                half::pack(values, scale, &mut self.packed);
                (Dtype::Real, bytemuck::cast_slice(&self.packed))
            }
            (Values::Real(values), Storage::Whole) => (Dtype::Real, bytemuck::cast_slice(values)),
            (Values::Index(values), _) => (Dtype::Index, bytemuck::cast_slice(values)),
        };
        let buffer = &self.memory.tensors[tensor.0];
        if dtype != about.dtype || bytes.len() as u64 > buffer.size() {
            bail!("{} does not hold what was written to it", about.name);
        }
        self.device.queue.write_buffer(buffer, 0, bytes);
        self.device.check()
    }

    fn run(&mut self, spans: &[Span], step: &Step) -> Result<()> {
        let last = self.submit_all(spans, step, None, None)?;
        self.in_flight.extend(last);
        if self.in_flight.len() > RUNS_IN_FLIGHT {
            let oldest = self.in_flight.pop_front();
            self.device.wait(oldest.as_ref())?;
        }
        self.device.check()
    }

    fn read(&mut self, tensor: TensorId, len: usize) -> Result<Vec<f32>> {
        self.in_flight.clear();
        self.memory.reals(&self.device, tensor, len)
    }

    fn read_index(&mut self, tensor: TensorId, len: usize) -> Result<Vec<u32>> {
        self.in_flight.clear();
        Ok(bytemuck::pod_collect_to_vec(&self.memory.bytes(&self.device, tensor, len)?))
    }

    fn begin(&mut self, readback: Readback) -> Result<()> {
        let Memory { outcome, buckets, tensors, .. } = &mut self.memory;
        let staging = match readback {
            Readback::Outcome => outcome,
            Readback::Bucket(at) => buckets.get_mut(at).with_context(|| no_bucket(at))?,
        };
        staging.begin(&self.device, tensors)
    }

    fn run_and_begin(&mut self, spans: &[Span], step: &Step, readback: Readback) -> Result<()> {
        self.memory.of_mut(readback)?.clear();
        // Not counted as a run under way: whoever begins a bucket takes it before the next step.
        match self.submit_all(spans, step, None, Some(readback))? {
            Some(submit) => self.memory.of_mut(readback)?.submitted(submit),
            None => self.begin(readback)?,
        }
        self.device.check()
    }

    fn take(&mut self, readback: Readback, to: &mut Vec<u32>) -> Result<()> {
        let Self { memory, device, .. } = self;
        memory.of_mut(readback)?.take(device, to)
    }

    fn flush(&mut self) -> Result<()> {
        self.device.queue.submit([]);
        self.device.check()
    }

    fn wait(&mut self) -> Result<()> {
        self.in_flight.clear();
        self.device.wait(None)
    }

    fn timed(&mut self, spans: &[Span], step: &Step) -> Result<Timing> {
        let timer = Timer::new(&self.device);
        self.wait()?;
        let start = Instant::now();
        let submitted = self.submit_all(spans, step, timer.as_ref(), None)?.is_some();
        self.wait()?;
        let host = start.elapsed();
        let device = match timer.filter(|_| submitted) {
            Some(timer) => timer.read(&self.device, &self.memory.staging, host)?,
            None => None,
        };
        Ok(Timing { host, device })
    }
}

#[cfg(test)]
mod tests {
    use super::super::enumerate;
    use super::*;
    use crate::graph::Bucket;
    use crate::graph::{Role, Tensor};
    use crate::kernel::Extent;

    /// Numbers of each of the tensors.
    const LENGTHS: [usize; 3] = [300, 7, 100_000];

    fn graph() -> Arc<Graph> {
        let tensor = |len: usize| Tensor {
            name: String::new(),
            dtype: Dtype::Real,
            shape: vec![len],
            extent: Extent::Summed,
            role: Role::ParameterGradient(TensorId(0)),
        };
        Arc::new(Graph { tensors: LENGTHS.map(tensor).to_vec(), ..Graph::default() })
    }

    /// How many pieces of memory there are on the device; `None` where its backend does not count.
    fn allocations(replica: &mut WgpuReplica) -> Option<usize> {
        // What is on its way is in memory for that long.
        replica.flush().expect("it is submitted");
        replica.wait().expect("it is done");
        Some(replica.device.device.generate_allocator_report()?.allocations.len())
    }

    #[test]
    fn buckets_are_read_back_as_they_were_through_memory_that_is_there() {
        let graph = graph();
        let bucket = |tensors: &[usize]| Bucket {
            nodes: 0,
            tensors: tensors.iter().copied().map(TensorId).collect(),
        };
        let how = Lowering { buckets: vec![bucket(&[2, 0]), bucket(&[1])], ..Lowering::of(1) };
        for adapter in enumerate() {
            let device = adapter.open(&how).expect("a device");
            let mut replica =
                WgpuReplica::new(device, &graph, &how, &adapter.info).expect("it fits");
            let fill = |replica: &mut WgpuReplica, number: usize| {
                for (at, len) in LENGTHS.into_iter().enumerate() {
                    let values = vec![(10 * number + at) as f32; len];
                    replica.write(TensorId(at), Values::Real(&values)).expect("it takes them");
                }
            };
            let mut words = [Vec::new(), Vec::new()];
            let mut after_first = None;
            for number in 0..20 {
                fill(&mut replica, number);
                // What was begun before is forgotten.
                replica.begin(Readback::Bucket(1)).expect("it is there");
                for at in 0..2 {
                    let nothing = replica.run_and_begin(&[], &Step::of(1), Readback::Bucket(at));
                    nothing.expect("it is there");
                }
                fill(&mut replica, 99);
                for (at, words) in words.iter_mut().enumerate() {
                    words.clear();
                    replica.take(Readback::Bucket(at), words).expect("it was begun");
                }
                let value = |at: usize| ((10 * number + at) as f32).to_bits();
                let first: Vec<u32> =
                    [vec![value(2); LENGTHS[2]], vec![value(0); LENGTHS[0]]].concat();
                assert_eq!(words, [first, vec![value(1); LENGTHS[1]]]);
                let again = replica.take(Readback::Bucket(0), &mut Vec::new());
                assert!(again.is_err(), "it was taken already");
                assert!(replica.begin(Readback::Bucket(2)).is_err(), "there is none");
                let now = allocations(&mut replica);
                assert_eq!(now, *after_first.get_or_insert(now), "after step {number}");
            }
        }
    }
}
