//! Adapters that fail when they are told to, or are slow.

#![allow(dead_code, reason = "each test file is a crate of its own and takes what it needs")]

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use compute::adapter::variants::Variants;
use compute::adapter::{Adapter, Info, Lowering, Readback, Replica, Values};
use compute::graph::{Graph, Phase, Role, Span, TensorId};
use compute::kernel::Step;

/// A part of a step in which an adapter may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// While the adapter takes the model.
    Lowering,
    /// While images are on their way.
    Upload,
    Forward,
    Backward,
    /// On the way back, once the first bucket has been read.
    BackwardAfterRead,
    /// When the last bucket of the gradient is asked for.
    Copy,
    /// While the first bucket is read.
    Read,
    /// While the last one is read: all others have arrived.
    LastRead,
    Update,
    /// While new weights are on their way.
    WeightUpload,
    /// In the middle of a kernel, by a bug of the driver's.
    Panic,
}

/// An adapter, what becomes of it, and how slow it is.
pub(crate) struct Wrapped {
    inner: Arc<dyn Adapter>,
    /// It is called `test`.
    info: Info,
    /// How it fails, and after how many steps that it took part in.
    fault: Option<(Fault, u32)>,
    /// How much longer than the adapter it takes for an image.
    image_time: Duration,
    /// Whether its gradients come in buckets.
    overlaps: bool,
    /// Where it waits for others before each loss.
    meeting: Option<Arc<Barrier>>,
}

impl Wrapped {
    pub(crate) fn failing(inner: Arc<dyn Adapter>, fault: Fault, after: u32) -> Self {
        Self { fault: Some((fault, after)), ..Self::slow(inner, Duration::ZERO) }
    }

    pub(crate) fn slow(inner: Arc<dyn Adapter>, image_time: Duration) -> Self {
        let info = Info { name: "test".to_owned(), ..inner.info().clone() };
        let overlaps = inner.overlaps();
        Self { inner, info, fault: None, image_time, overlaps, meeting: None }
    }

    /// The same that goes on with a step only once all that meet there have come as far.
    pub(crate) fn meeting_at(self, meeting: Arc<Barrier>) -> Self {
        Self { meeting: Some(meeting), ..self }
    }

    /// The same with gradients in buckets, whatever the adapter does.
    pub(crate) fn in_buckets(self) -> Self {
        Self { overlaps: true, ..self }
    }
}

impl Adapter for Wrapped {
    fn info(&self) -> &Info {
        &self.info
    }

    fn overlaps(&self) -> bool {
        self.overlaps
    }

    fn lower(&self, graph: &Arc<Graph>, how: &Lowering) -> Result<Box<dyn Replica>> {
        if let Some((Fault::Lowering, _)) = self.fault {
            bail!("no memory left");
        }
        Ok(Box::new(WrappedReplica {
            inner: self.inner.lower(graph, how)?,
            graph: Arc::clone(graph),
            buckets: how.buckets.len(),
            fault: self.fault,
            image_time: self.image_time,
            meeting: self.meeting.clone(),
            steps: 0,
            has_read: false,
            lost: false,
        }))
    }
}

struct WrappedReplica {
    inner: Box<dyn Replica>,
    graph: Arc<Graph>,
    buckets: usize,
    fault: Option<(Fault, u32)>,
    image_time: Duration,
    meeting: Option<Arc<Barrier>>,
    steps: u32,
    /// Whether the first bucket of the step's gradient has been read.
    has_read: bool,
    lost: bool,
}

impl WrappedReplica {
    fn is_last(&self, readback: Readback) -> bool {
        matches!(readback, Readback::Bucket(bucket) if bucket + 1 == self.buckets)
    }

    /// Fails if it is time for this fault, and from then on always.
    fn pass(&mut self, at: Fault) -> Result<()> {
        // A step has been counted when its gradient is asked for.
        let of_gradient = matches!(at, Fault::Copy | Fault::Read | Fault::LastRead);
        let steps = self.steps.saturating_sub(u32::from(of_gradient));
        self.lost |= self.fault.is_some_and(|(fault, after)| fault == at && steps >= after);
        if self.lost && self.fault.is_some_and(|(fault, _)| fault == Fault::Panic) {
            panic!("the driver panicked");
        }
        if self.lost {
            bail!("the device was lost");
        }
        Ok(())
    }
}

impl Replica for WrappedReplica {
    fn variants(&self) -> Variants {
        self.inner.variants()
    }

    fn write(&mut self, tensor: TensorId, values: Values<'_>) -> Result<()> {
        match self.graph.tensor(tensor).role {
            Role::Input => self.pass(Fault::Upload)?,
            Role::Parameter(_) => self.pass(Fault::WeightUpload)?,
            _ => {}
        }
        self.inner.write(tensor, values)
    }

    fn run(&mut self, spans: &[Span], step: &Step) -> Result<()> {
        for span in spans {
            match span.phase {
                Phase::Forward => {
                    self.has_read = false;
                    self.pass(Fault::Forward)?;
                }
                Phase::Loss => {
                    self.meeting.as_ref().map(|meeting| meeting.wait());
                    self.pass(Fault::Panic)?;
                }
                Phase::Backward if self.has_read => self.pass(Fault::BackwardAfterRead)?,
                Phase::Backward => self.pass(Fault::Backward)?,
                Phase::Update => self.pass(Fault::Update)?,
            }
        }
        self.inner.run(spans, step)?;
        let ends = |phase| {
            let last = self.graph.phase(phase).len();
            spans.iter().any(|span| span.phase == phase && span.nodes.end == last)
        };
        if ends(Phase::Backward) || ends(Phase::Update) {
            thread::sleep(self.image_time * step.images);
            self.steps += 1;
        }
        Ok(())
    }

    fn read(&mut self, tensor: TensorId, len: usize) -> Result<Vec<f32>> {
        self.inner.read(tensor, len)
    }

    fn read_index(&mut self, tensor: TensorId, len: usize) -> Result<Vec<u32>> {
        self.inner.read_index(tensor, len)
    }

    fn begin(&mut self, readback: Readback) -> Result<()> {
        if self.is_last(readback) {
            self.pass(Fault::Copy)?;
        }
        self.inner.begin(readback)
    }

    fn take(&mut self, readback: Readback, to: &mut Vec<u32>) -> Result<()> {
        if readback == Readback::Bucket(0) {
            self.pass(Fault::Read)?;
            self.has_read = true;
        }
        if self.is_last(readback) {
            self.pass(Fault::LastRead)?;
        }
        self.inner.take(readback, to)
    }

    fn wait(&mut self) -> Result<()> {
        self.inner.wait()
    }
}
