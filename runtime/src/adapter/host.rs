//! Runs a graph on the host: in f32 with a kernel's fast form (the `cpu` adapter), or in f64 with
//! its reference form (for tests and `selftest`).

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::{Adapter, DeviceKind, Identity, Info, Limits, Replica, Values};
use crate::graph::{Graph, Node, Op, Span, TensorId};
use crate::kernel::{Access, Args, Dtype, Extent, Kernel, Slot, Step};

/// The `cpu` adapter: the same named kernels in Rust, on all cores.
pub struct Cpu {
    info: Info,
    pool: Arc<rayon::ThreadPool>,
}

impl Cpu {
    /// The adapter with this many threads; 0 for one per core.
    pub fn new(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("cpu-adapter-{i}"))
            .build()
            .context("could not start the cpu adapter's threads")?;
        let info = Info {
            name: "cpu".to_owned(),
            backend: "cpu",
            driver: format!("{} threads", pool.current_num_threads()),
            kind: DeviceKind::Cpu,
            identity: Identity::default(),
            limits: Limits { memory_bytes: free_memory(), ..Limits::NONE },
        };
        Ok(Self { info, pool: Arc::new(pool) })
    }
}

/// The memory that a model may take, in bytes: three quarters of what the system has to spare, as
/// data and batches need some as well. `None` where the system does not tell.
fn free_memory() -> Option<u64> {
    let available = available_memory(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(available / 4 * 3)
}

/// The memory available according to Linux's `/proc/meminfo`, in bytes.
fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

impl Adapter for Cpu {
    fn info(&self) -> &Info {
        &self.info
    }

    fn lower(&self, graph: &Arc<Graph>, micro_batch: usize) -> Result<Box<dyn Replica>> {
        Ok(Box::new(Host::<f32>::new(graph, micro_batch, Arc::clone(&self.pool))))
    }
}

/// The f64 reference as an adapter, so that whole networks can be held against it.
pub struct Reference;

impl Reference {
    /// A replica whose f64 values can be read and written without rounding.
    pub fn lower(graph: &Arc<Graph>, micro_batch: usize) -> Result<Host<f64>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        Ok(Host::new(graph, micro_batch, Arc::new(pool)))
    }
}

/// A number that host kernels compute in.
pub trait Number: Copy + Default + Send + Sync + 'static {
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

#[derive(Debug)]
enum Buffer<T> {
    Real(Vec<T>),
    Index(Vec<u32>),
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self::Real(Vec::new())
    }
}

/// A replica in host memory.
#[derive(Debug)]
pub struct Host<T> {
    graph: Arc<Graph>,
    buffers: Vec<Buffer<T>>,
    micro_batch: usize,
    pool: Arc<rayon::ThreadPool>,
}

impl<T: Number> Host<T> {
    fn new(graph: &Arc<Graph>, micro_batch: usize, pool: Arc<rayon::ThreadPool>) -> Self {
        let buffers = graph
            .tensors
            .iter()
            .map(|tensor| match tensor.dtype {
                Dtype::Real => Buffer::Real(vec![T::default(); tensor.len_for(micro_batch)]),
                Dtype::Index => Buffer::Index(vec![0; tensor.len_for(micro_batch)]),
            })
            .collect();
        Self { graph: Arc::clone(graph), buffers, micro_batch, pool }
    }

    /// The values of a real tensor, unrounded.
    ///
    /// # Panics
    /// If the tensor holds indices.
    pub fn values(&self, tensor: TensorId) -> &[T] {
        match &self.buffers[tensor.0] {
            Buffer::Real(values) => values,
            Buffer::Index(_) => panic!("{} holds indices", self.graph.tensor(tensor).name),
        }
    }

    /// The values of a real tensor, to change. Panics like [`Host::values`].
    pub fn values_mut(&mut self, tensor: TensorId) -> &mut [T] {
        match &mut self.buffers[tensor.0] {
            Buffer::Real(values) => values,
            Buffer::Index(_) => panic!("{} holds indices", self.graph.tensor(tensor).name),
        }
    }

    fn run_op(&mut self, op: &Op, step: &Step) {
        // Outputs are taken out of the list while the kernel runs, so that it can borrow them
        // beside its inputs; a kernel never binds one tensor twice when it writes it.
        let mut written: Vec<Buffer<T>> = op
            .kernel
            .bindings
            .iter()
            .zip(&op.tensors)
            .filter(|(binding, _)| binding.access == Access::Write)
            .map(|(_, id)| std::mem::take(&mut self.buffers[id.0]))
            .collect();
        let images = step.images as usize;
        let mut outputs = written.iter_mut();
        let slots = op
            .kernel
            .bindings
            .iter()
            .zip(&op.tensors)
            .map(|(binding, id)| {
                let tensor = self.graph.tensor(*id);
                let len = match tensor.extent {
                    Extent::PerImage => tensor.len() * images,
                    Extent::Summed | Extent::Whole => tensor.len(),
                };
                let slot = if binding.access == Access::Write {
                    match outputs.next() {
                        Some(Buffer::Real(values)) => Slot::Write(&mut values[..len]),
                        Some(Buffer::Index(values)) => Slot::WriteIndex(&mut values[..len]),
                        None => Slot::Taken,
                    }
                } else {
                    match &self.buffers[id.0] {
                        Buffer::Real(values) => Slot::Read(&values[..len]),
                        Buffer::Index(values) => Slot::ReadIndex(&values[..len]),
                    }
                };
                (binding.name, slot)
            })
            .collect();
        let mut args = Args::new(&op.constants, step, slots);
        let form = T::form(op.kernel);
        self.pool.install(|| form(&mut args));
        drop(args);
        let ids = op
            .kernel
            .bindings
            .iter()
            .zip(&op.tensors)
            .filter(|(binding, _)| binding.access == Access::Write);
        for ((_, id), buffer) in ids.zip(written) {
            self.buffers[id.0] = buffer;
        }
    }
}

impl<T: Number> Replica for Host<T> {
    fn write(&mut self, tensor: TensorId, values: Values<'_>) -> Result<()> {
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
        if step.images as usize > self.micro_batch {
            bail!("{} images in a micro-batch of {}", step.images, self.micro_batch);
        }
        let graph = Arc::clone(&self.graph);
        for span in spans {
            let Some(nodes) = graph.phase(span.phase).get(span.nodes.clone()) else {
                bail!("the model has no {span:?}");
            };
            for node in nodes {
                if let Node::Run(op) = node {
                    self.run_op(op, step);
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, tensor: TensorId, len: usize) -> Result<Vec<f32>> {
        match &self.buffers[tensor.0] {
            Buffer::Real(values) => Ok(values[..len].iter().map(|v| v.to_f32()).collect()),
            Buffer::Index(_) => bail!("{} holds indices", self.graph.tensor(tensor).name),
        }
    }

    fn read_index(&mut self, tensor: TensorId, len: usize) -> Result<Vec<u32>> {
        match &self.buffers[tensor.0] {
            Buffer::Index(values) => Ok(values[..len].to_vec()),
            Buffer::Real(_) => bail!("{} holds reals", self.graph.tensor(tensor).name),
        }
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_memory_is_read() {
        let text = "MemTotal:       32000000 kB\nMemFree:  5 kB\nMemAvailable:   23206436 kB\n";
        assert_eq!(available_memory(text), Some(23_206_436 * 1024));
        assert_eq!(available_memory("MemTotal: 1 kB"), None);
        assert_eq!(available_memory("MemAvailable: many kB"), None);
    }
}
