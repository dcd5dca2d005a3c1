//! Adapters: what runs a [`Graph`]. One file each; only `wgpu` names wgpu.

pub mod forms;
pub mod half;
pub mod host;
pub mod micro_batch;
mod ordinal;
mod pace;
mod precise;
mod race;
mod report;
pub mod select;
pub mod several;
pub mod tuning_cache;
pub mod variants;
pub mod wgpu;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::forms::Forms;
use self::variants::Variants;
use crate::graph::{Bucket, Graph, Span, TensorId};
use crate::kernel::Step;
use crate::precision::Precision;

pub use report::AdapterReport;

pub use precise::{F16_LOSS_SCALE, Precise, unoffered};

/// What kind of device an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    DiscreteGpu,
    /// A GPU that shares the processor's memory.
    IntegratedGpu,
    /// A GPU seen through virtualisation.
    VirtualGpu,
    /// Gradflow's own kernels in Rust.
    Cpu,
    /// A graphics driver that computes on the processor.
    SoftwareRasterizer,
    /// Not told by the driver.
    Other,
}

/// What an adapter is, as `runtime devices` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    /// The device's name, as its driver gives it.
    pub name: String,
    /// `cpu`, `vulkan`, `gl`, `metal` or `dx12`.
    pub backend: &'static str,
    /// The driver and its version.
    pub driver: String,
    /// What kind of device it is.
    pub kind: DeviceKind,
    /// Which of several devices it is.
    pub identity: Identity,
    /// What it can hold and dispatch.
    pub limits: Limits,
    /// What it can compute in; f32 always.
    pub precisions: Vec<Precision>,
}

/// What tells devices of the same name apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The vendor's number; 0 where the backend knows none.
    pub vendor: u32,
    /// The model's number; 0 where the backend knows none.
    pub device: u32,
    /// Where it is plugged in, such as `0000:01:00.0`, if the driver says so.
    pub pci_bus: Option<String>,
    /// Its number among the devices of the same name behind the same backend, from 0.
    pub ordinal: u32,
}

/// The limits that decide how many images an adapter takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// The largest storage buffer binding, in bytes.
    pub binding_bytes: u64,
    /// The largest buffer, in bytes.
    pub buffer_bytes: u64,
    /// The most workgroups in one dimension of a dispatch.
    pub workgroups: u32,
    /// The most storage buffers of one kernel.
    pub storage_buffers: u32,
    /// What all buffers together may take, in bytes; `None` where nobody tells.
    pub memory_bytes: Option<u64>,
}

impl Limits {
    /// What WebGPU promises by default, whatever the adapter.
    pub const WEBGPU: Self = Self {
        binding_bytes: 128 << 20,
        buffer_bytes: 256 << 20,
        workgroups: 65_535,
        storage_buffers: 8,
        memory_bytes: None,
    };

    /// No limits.
    pub const NONE: Self = Self {
        binding_bytes: u64::MAX,
        buffer_bytes: u64::MAX,
        workgroups: u32::MAX,
        storage_buffers: u32::MAX,
        memory_bytes: None,
    };
}

/// A device that can run graphs.
pub trait Adapter: Send + Sync {
    /// What it is.
    fn info(&self) -> &Info;

    /// Whether gradients leave it while it goes on with the backward phase, if that is cut for them.
    /// If not, they are better read together at the end.
    fn overlaps(&self) -> bool {
        false
    }

    /// Makes every buffer and pipeline that the graph needs. None is made afterwards.
    fn lower(&self, graph: &Arc<Graph>, how: &Lowering) -> Result<Box<dyn Replica>>;
}

/// How an adapter is to take a graph.
#[derive(Clone, Debug)]
pub struct Lowering {
    /// The most images in a micro-batch.
    pub micro_batch: usize,
    /// What images are computed in: one that the adapter's [`Info`] names.
    pub precision: Precision,
    /// What the gradients of activations are multiplied by on the adapter, a power of two, so that
    /// f16 holds them. Nothing outside the adapter sees it. Only f16 looks at it.
    pub loss_scale: f32,
    /// Which forms of kernels run, where there are several.
    pub forms: Forms,
    /// What can be read back while the adapter goes on, beside the outcome of a step.
    pub buckets: Vec<Bucket>,
}

impl Lowering {
    /// Micro-batches of up to this many images, and everything else as it is by default.
    pub fn of(micro_batch: usize) -> Self {
        let forms = Forms::default();
        let buckets = Vec::new();
        Self { micro_batch, precision: Precision::F32, loss_scale: 1.0, forms, buckets }
    }
}

/// Values going to an adapter.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// Real numbers.
    Real(&'a [f32]),
    /// Indices.
    Index(&'a [u32]),
}

/// What is read back without holding up the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readback {
    /// What tells how a step went: [`Graph::outcome`].
    Outcome,
    /// The bucket of this number of [`Lowering::buckets`].
    Bucket(usize),
}

/// Whose clock a time is by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The host's: it counts what it takes to start the work and to hear of its end.
    #[default]
    Host,
    /// The adapter's own.
    Device,
}

/// How long some nodes took.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// By the host's clock, from the first submit until it knew that all was done.
    pub host: Duration,
    /// By the adapter's own, where it has one and what it said can be right: more than nothing,
    /// and no more than the host's.
    pub device: Option<Duration>,
}

/// One copy of a model on one adapter.
pub trait Replica: Send {
    /// What it runs.
    fn variants(&self) -> Variants;

    /// Overwrites the front of a tensor. Takes effect before the next [`Replica::run`].
    fn write(&mut self, tensor: TensorId, values: Values<'_>) -> Result<()>;

    /// Runs these nodes in order. May return before the adapter has finished. Averages over all
    /// adapters are left to the caller, who cuts the spans where he wants to take them; an
    /// [`AllReduce`](crate::graph::Node::AllReduce) within a span is passed over.
    ///
    /// What the graph is asked to let [observe](Graph::observe) can be read as soon as the nodes
    /// that write it have run.
    fn run(&mut self, spans: &[Span], step: &Step) -> Result<()>;

    /// Waits for the adapter, then reads the first `len` reals of a tensor.
    fn read(&mut self, tensor: TensorId, len: usize) -> Result<Vec<f32>>;

    /// Like [`Replica::read`] for indices.
    fn read_index(&mut self, tensor: TensorId, len: usize) -> Result<Vec<u32>>;

    /// Begins to read something back, as it is once all that was asked for so far is done, and does
    /// not wait. What was begun before and not taken is forgotten. Between this and the taking of a
    /// bucket, nothing that writes its tensors may be asked for; an outcome stays as it was.
    fn begin(&mut self, readback: Readback) -> Result<()>;

    /// [Runs](Replica::run) these nodes, and [begins](Replica::begin) to read back what they leave.
    fn run_and_begin(&mut self, spans: &[Span], step: &Step, readback: Readback) -> Result<()> {
        self.run(spans, step)?;
        self.begin(readback)
    }

    /// Waits for what was begun, not for what was asked for after it, and appends the words of its
    /// tensors, one after the other.
    ///
    /// # Errors
    /// If it was not begun, or has been taken.
    fn take(&mut self, readback: Readback, to: &mut Vec<u32>) -> Result<()>;

    /// Has what was written set out now, not only with the next run. Does not wait.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Waits until everything asked for has been done.
    fn wait(&mut self) -> Result<()>;

    /// Waits, then [runs](Replica::run) these nodes alone, waits for them, and says how long they
    /// took.
    fn timed(&mut self, spans: &[Span], step: &Step) -> Result<Timing> {
        self.wait()?;
        let start = Instant::now();
        self.run(spans, step)?;
        self.wait()?;
        Ok(Timing { host: start.elapsed(), device: None })
    }
}
