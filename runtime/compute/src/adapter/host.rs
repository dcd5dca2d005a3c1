//! Runs a graph on the host: in f32 with a kernel's fast form (the `cpu` adapter), or in f64 with
//! its reference form (for tests and `selftest`).

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

mod memory;
mod plan;
mod work;

use memory::Memory;
use plan::{Plan, is_kept};
use work::Work;

use super::variants::Variants;
use super::{
    Adapter, DeviceKind, Identity, Info, Limits, Lowering, Readback, Replica, Values, unoffered,
};
use crate::aligned::Aligned;
use crate::graph::{Bucket, Graph, Phase, Span, TensorId};
use crate::isa::Isa;
use crate::kernel::{Args, Dtype, Kernel, Step};
use crate::precision::Precision;

/// The `cpu` adapter: the same named kernels in Rust, on all cores.
pub struct Cpu {
    info: Info,
    pool: Arc<rayon::ThreadPool>,
    isa: Isa,
}

impl Cpu {
    /// The adapter with this many threads; 0 for one per core. It uses the instructions that
    /// `GRADFLOW_ISA` names, or the best there are.
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_isa(threads, Isa::of_environment()?)
    }

    /// The same with these instructions.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("cpu-adapter-{i}"))
            .build()
            .context("could not start the cpu adapter's threads")?;
        let info = Info {
            name: "cpu".to_owned(),
            backend: "cpu",
            driver: format!("{} threads, {}", pool.current_num_threads(), isa.name()),
            kind: DeviceKind::Cpu,
            identity: Identity::default(),
            limits: Limits { memory_bytes: free_memory(), ..Limits::NONE },
            precisions: if isa.multiplies_bf16() {
                vec![Precision::F32, Precision::Bf16]
            } else {
                vec![Precision::F32]
            },
        };
        Ok(Self { info, pool: Arc::new(pool), isa })
    }
}

/// The memory that a model may take, in bytes: three quarters of what the system has to spare, as
/// data and batches need some as well. `None` where the system does not tell.
fn free_memory() -> Option<u64> {
    Some(base::memory::available()? / 4 * 3)
}

impl Adapter for Cpu {
    fn info(&self) -> &Info {
        &self.info
    }

    fn lower(&self, graph: &Arc<Graph>, how: &Lowering) -> Result<Box<dyn Replica>> {
        unoffered(&self.info, how.precision)?;
        let arithmetic = (self.isa, how.precision);
        let mut host = Host::<f32>::new(graph, how.micro_batch, Arc::clone(&self.pool), arithmetic);
        host.buckets = how.buckets.clone();
        Ok(Box::new(host))
    }
}

/// The f64 reference as an adapter, so that whole networks can be held against it.
pub struct Reference;

impl Reference {
    /// A replica whose f64 values can be read and written without rounding.
    pub fn lower(graph: &Arc<Graph>, micro_batch: usize) -> Result<Host<f64>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        Ok(Host::new(graph, micro_batch, Arc::new(pool), (Isa::best(), Precision::F32)))
    }
}

/// A number that host kernels compute in.
pub trait Number: Copy + Default + Send + Sync + 'static {
    /// Whether forms take some images at a time, where their kernel allows it.
    const SLICED: bool;
    /// The form of a kernel that computes in this number.
    fn form(kernel: &Kernel) -> fn(&mut Args<'_, Self>)
    where
        Self: Sized;
    /// From an adapter's number.
    fn from_f32(value: f32) -> Self;
    /// To an adapter's number.
    fn to_f32(self) -> f32;
}

impl Number for f32 {
    const SLICED: bool = true;

    fn form(kernel: &Kernel) -> fn(&mut Args<'_, Self>) {
        kernel.cpu
    }
    fn from_f32(value: f32) -> Self {
        value
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Number for f64 {
    const SLICED: bool = false;

    fn form(kernel: &Kernel) -> fn(&mut Args<'_, Self>) {
        kernel.reference
    }
    fn from_f32(value: f32) -> Self {
        f64::from(value)
    }
    fn to_f32(self) -> f32 {
        self as f32
    }
}

/// The numbers of a tensor.
#[derive(Debug)]
enum Buffer<T> {
    Real(Aligned<T>),
    Index(Aligned<u32>),
    /// What no kernel outside its group looks at lies in the memory of a thread.
    Absent,
}

/// A replica in host memory.
#[derive(Debug)]
pub struct Host<T> {
    graph: Arc<Graph>,
    buffers: Vec<Buffer<T>>,
    micro_batch: usize,
    pool: Arc<rayon::ThreadPool>,
    isa: Isa,
    precision: Precision,
    plans: Vec<Plan>,
    memory: Memory<T>,
    buckets: Vec<Bucket>,
    /// What was begun to be read back and not taken. Everything is done when it is begun, so that a
    /// bucket need not be copied twice: it is read when it is taken.
    begun: Vec<Readback>,
    outcome: Vec<u32>,
}

impl<T: Number> Host<T> {
    fn new(
        graph: &Arc<Graph>,
        micro_batch: usize,
        pool: Arc<rayon::ThreadPool>,
        (isa, precision): (Isa, Precision),
    ) -> Self {
        let mut host = Self {
            graph: Arc::clone(graph),
            buffers: graph.tensors.iter().map(|_| Buffer::Absent).collect(),
            micro_batch,
            memory: Memory::new(pool.current_num_threads()),
            pool,
            isa,
            precision,
            plans: Vec::new(),
            buckets: Vec::new(),
            begun: Vec::new(),
            outcome: Vec::new(),
        };
        // What a step and what scoring run; anything else is planned when it is first asked for.
        let training = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];
        let phases = if graph.update.is_empty() { &training[..2] } else { &training };
        for stretch in graph.stretches(phases) {
            host.plan(&stretch.spans, micro_batch);
        }
        for at in (0..graph.tensors.len()).filter(|at| is_kept(graph, TensorId(*at))) {
            host.allocate(TensorId(at));
        }
        host
    }

    /// The position of the plan for these nodes and this many images.
    fn plan(&mut self, spans: &[Span], images: usize) -> usize {
        let known = self.plans.iter().position(|plan| plan.is_for(spans, images));
        known.unwrap_or_else(|| {
            let plan = Plan::new(&self.graph, spans, images, T::SLICED);
            plan.shared.iter().for_each(|tensor| self.allocate(*tensor));
            self.memory.reserve(&plan);
            self.plans.push(plan);
            self.plans.len() - 1
        })
    }

    fn allocate(&mut self, tensor: TensorId) {
        let buffer = &mut self.buffers[tensor.0];
        if !matches!(buffer, Buffer::Absent) {
            return;
        }
        let tensor = self.graph.tensor(tensor);
        let len = tensor.len_for(self.micro_batch);
        *buffer = match tensor.dtype {
            Dtype::Real => Buffer::Real(Aligned::zeros(len)),
            Dtype::Index => Buffer::Index(Aligned::zeros(len)),
        };
    }

    /// Appends the words of a tensor.
    fn append(&self, tensor: TensorId, to: &mut Vec<u32>) -> Result<()> {
        match &self.buffers[tensor.0] {
            Buffer::Real(reals) => to.extend(reals.iter().map(|real| real.to_f32().to_bits())),
            Buffer::Index(words) => to.extend_from_slice(words),
            Buffer::Absent => bail!("{} is not kept", self.graph.tensor(tensor).name),
        }
        Ok(())
    }

    /// The values of a real tensor, unrounded.
    ///
    /// # Panics
    /// If the tensor holds indices or is not kept.
    pub fn values(&self, tensor: TensorId) -> &[T] {
        match &self.buffers[tensor.0] {
            Buffer::Real(values) => values,
            _ => panic!("{} holds no reals", self.graph.tensor(tensor).name),
        }
    }

    /// The values of a real tensor, to change. Panics like [`Host::values`].
    pub fn values_mut(&mut self, tensor: TensorId) -> &mut [T] {
        match &mut self.buffers[tensor.0] {
            Buffer::Real(values) => values,
            _ => panic!("{} holds no reals", self.graph.tensor(tensor).name),
        }
    }
}

impl<T: Number> Replica for Host<T> {
    fn variants(&self) -> Variants {
        let of_whole = self.plans.iter().filter(|plan| plan.is_of(self.micro_batch));
        Variants {
            micro_batch: self.micro_batch,
            instructions: Some(self.isa.name().to_owned()),
            kernels: Vec::new(),
            blocks: of_whole.flat_map(|plan| plan.blocks(&self.graph)).collect(),
        }
    }

    fn write(&mut self, tensor: TensorId, values: Values<'_>) -> Result<()> {
        self.allocate(tensor);
        let name = &self.graph.tensor(tensor).name;
        match (&mut self.buffers[tensor.0], values) {
            (Buffer::Real(to), Values::Real(from)) if from.len() <= to.len() => {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = T::from_f32(*from));
            }
            (Buffer::Index(to), Values::Index(from)) if from.len() <= to.len() => {
                to[..from.len()].copy_from_slice(from);
            }
            _ => bail!("{name} does not hold what was written to it"),
        }
        Ok(())
    }

    fn run(&mut self, spans: &[Span], step: &Step) -> Result<()> {
        let images = step.images as usize;
        if images > self.micro_batch {
            bail!("{images} images in a micro-batch of {}", self.micro_batch);
        }
        for span in spans {
            if self.graph.phase(span.phase).get(span.nodes.clone()).is_none() {
                bail!("the model has no {span:?}");
            }
        }
        let plan = self.plan(spans, images);
        self.memory.place(&mut self.buffers);
        let work = Work {
            graph: &self.graph,
            plan: &self.plans[plan],
            memory: &self.memory,
            step,
            isa: self.isa,
            precision: self.precision,
        };
        self.pool.install(|| work.run());
        Ok(())
    }

    fn read(&mut self, tensor: TensorId, len: usize) -> Result<Vec<f32>> {
        match &self.buffers[tensor.0] {
            Buffer::Real(values) => Ok(values[..len].iter().map(|v| v.to_f32()).collect()),
            _ => bail!("{} holds no reals to be read", self.graph.tensor(tensor).name),
        }
    }

    fn read_index(&mut self, tensor: TensorId, len: usize) -> Result<Vec<u32>> {
        match &self.buffers[tensor.0] {
            Buffer::Index(values) => Ok(values[..len].to_vec()),
            _ => bail!("{} holds no indices to be read", self.graph.tensor(tensor).name),
        }
    }

    fn begin(&mut self, readback: Readback) -> Result<()> {
        if readback == Readback::Outcome {
            let mut outcome = std::mem::take(&mut self.outcome);
            outcome.clear();
            self.graph.outcome().try_for_each(|tensor| self.append(tensor, &mut outcome))?;
            self.outcome = outcome;
        }
        if !self.begun.contains(&readback) {
            self.begun.push(readback);
        }
        Ok(())
    }

    fn take(&mut self, readback: Readback, to: &mut Vec<u32>) -> Result<()> {
        let Some(at) = self.begun.iter().position(|begun| *begun == readback) else {
            bail!("nothing was begun to be read back");
        };
        self.begun.swap_remove(at);
        match readback {
            Readback::Outcome => to.extend_from_slice(&self.outcome),
            Readback::Bucket(number) => {
                let Some(bucket) = self.buckets.get(number) else { bail!("no bucket {number}") };
                bucket.tensors.iter().try_for_each(|tensor| self.append(*tensor, to))?;
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }
}
