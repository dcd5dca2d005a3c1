//! Steps of one model on one adapter: micro-batches, gradients, updates, scores.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::adapter::variants::Variants;
use crate::adapter::{Adapter, Limits, Lowering, Readback, Replica, Timing, Values, micro_batch};
use crate::batch::{Batch, Source};
use crate::graph::{Graph, Initial, Node, Phase, Role, Span, Stretch, TensorId};
use crate::kernel::{Access, Dtype, Step};
use crate::progress::Progress;
use crate::weights::Weights;
use base::random::Random;

/// One model on one adapter, with batches of any size cut into micro-batches that fit.
pub struct Session {
    graph: Arc<Graph>,
    replica: Box<dyn Replica>,
    micro_batch: usize,
    /// How many buckets gradients are handed out in, and the passes cut where each is final.
    buckets: usize,
    to_buckets: Arc<[Stretch]>,
    peers: Option<Box<dyn Peers>>,
    labels: Vec<f32>,
    ids: Vec<u32>,
}

/// What gives a gradient.
const PASSES: [Phase; 3] = [Phase::Forward, Phase::Loss, Phase::Backward];

/// The other sessions that compute parts of the same batch at the same time.
pub trait Peers: Send {
    /// Replaces a mean over this session's images of a micro-batch by that over the images of all.
    /// Waits for the others, who do the same.
    fn mean(&mut self, values: &mut [f32], images: usize) -> Result<()>;
}

/// The class scores of a batch and the cross-entropy of each of its images.
#[derive(Clone, Debug, Default)]
pub struct Scored {
    /// One number per image and class.
    pub logits: Vec<f32>,
    /// One number per image.
    pub image_loss: Vec<f32>,
}

/// How a step went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The terms of its loss.
    pub losses: Vec<f32>,
    /// The moving averages of these terms, as the model keeps them; empty if it keeps none.
    pub loss_averages: Vec<f32>,
    /// The first step so far after which a number was not finite, and the tensor it was in: of
    /// several in one step, the first in the order in which they are looked at. `None` if all were
    /// finite, or if nothing is looked at.
    pub first_not_finite: Option<(u64, TensorId)>,
}

impl Outcome {
    /// From the words of [`Graph::outcome`].
    fn new(graph: &Graph, words: &[u32]) -> Self {
        let mut words = words.iter().copied();
        let mut next = |id: Option<TensorId>| -> Vec<u32> {
            words.by_ref().take(id.map_or(0, |id| graph.tensor(id).len())).collect()
        };
        let [losses, averages, flags] =
            [graph.losses, graph.loss_averages, graph.flags].map(&mut next);
        let reals = |words: Vec<u32>| words.into_iter().map(f32::from_bits).collect();
        let of_each = graph.flagged.iter().filter_map(|(tensor, range)| {
            let first = flags.get(range.clone())?.iter().filter(|step| **step > 0).min()?;
            Some((u64::from(first - 1), *tensor))
        });
        // Of equal ones it is the first.
        let first_not_finite = of_each.min_by_key(|(step, _)| *step);
        Self { losses: reals(losses), loss_averages: reals(averages), first_not_finite }
    }
}

impl Session {
    /// Makes everything that batches of up to `batch` images need on this adapter.
    pub fn new(adapter: &dyn Adapter, graph: &Arc<Graph>, batch: usize) -> Result<Self> {
        Self::with(adapter, graph, Lowering::of(batch))
    }

    /// The same, lowered like this, in smaller micro-batches if those do not fit.
    pub fn with(adapter: &dyn Adapter, graph: &Arc<Graph>, how: Lowering) -> Result<Self> {
        Self::within(adapter, graph, how, &adapter.info().limits)
    }

    /// The same with a part of what the adapter has: the limits are at most its own.
    pub fn within(
        adapter: &dyn Adapter,
        graph: &Arc<Graph>,
        mut how: Lowering,
        limits: &Limits,
    ) -> Result<Self> {
        // What is handed out while it computes is copied beside the tensors.
        let handed_out = how.buckets.iter().flat_map(|bucket| &bucket.tensors);
        let copies: u64 = handed_out.map(|id| 4 * graph.tensor(*id).len() as u64).sum();
        let memory_bytes = limits.memory_bytes.map(|bytes| bytes.saturating_sub(copies));
        let limits = Limits { memory_bytes, ..*limits };
        how.micro_batch = micro_batch::plan(graph, how.micro_batch, &limits)
            .with_context(|| format!("the model does not fit {}", adapter.info().name))?;
        let micro_batch = how.micro_batch;
        let replica = adapter.lower(graph, &how)?;
        Ok(Self {
            graph: Arc::clone(graph),
            replica,
            micro_batch,
            buckets: how.buckets.len(),
            to_buckets: graph.stretches_to(&PASSES, &how.buckets).into(),
            peers: None,
            labels: Vec::new(),
            ids: Vec::new(),
        })
    }

    /// Images taken at once.
    pub fn micro_batch(&self) -> usize {
        self.micro_batch
    }

    /// What runs.
    pub fn variants(&self) -> Variants {
        self.replica.variants()
    }

    /// Takes the statistics of a batch together with others from now on.
    pub fn join(&mut self, peers: Box<dyn Peers>) {
        self.peers = Some(peers);
    }

    /// Draws the first values of all weights and states, starts the averages there, and forgets
    /// what was not finite.
    pub fn initialize(&mut self, seed: u64) -> Result<()> {
        let graph = Arc::clone(&self.graph);
        for (at, tensor) in graph.tensors.iter().enumerate() {
            let (Role::Parameter(initial) | Role::State(initial)) = tensor.role else { continue };
            let values = initial_values(initial, &tensor.name, tensor.len(), seed);
            self.replica.write(TensorId(at), Values::Real(&values))?;
            if let Some(parameter) = graph.parameters.iter().find(|p| p.value.0 == at) {
                self.replica.write(parameter.average, Values::Real(&values))?;
            }
        }
        self.clear_flags()
    }

    /// Forgets what was not finite; to be called whenever other weights are written.
    pub fn clear_flags(&mut self) -> Result<()> {
        let Some(flags) = self.graph.flags else { return Ok(()) };
        let none = vec![0; self.graph.tensor(flags).len()];
        self.replica.write(flags, Values::Index(&none))
    }

    /// Takes over the weights, averages and states of a run that goes on. Tensors are found by
    /// their names.
    ///
    /// # Errors
    /// If a tensor is missing on either side, or has another length.
    pub fn load(&mut self, weights: &Weights) -> Result<()> {
        let theirs = &weights.graph;
        let parameters = theirs.parameters.iter().zip(&weights.raw).zip(&weights.averages);
        let given: HashMap<&str, &[f32]> = parameters
            .flat_map(|((parameter, raw), average)| {
                [(parameter.value, raw), (parameter.average, average)]
            })
            .chain(theirs.states().zip(&weights.states))
            .map(|(id, values)| (theirs.tensor(id).name.as_str(), values.as_slice()))
            .collect();
        let graph = Arc::clone(&self.graph);
        for (at, tensor) in graph.tensors.iter().enumerate() {
            if !matches!(tensor.role, Role::Parameter(_) | Role::State(_) | Role::Average(_)) {
                continue;
            }
            let Some(values) = given.get(tensor.name.as_str()) else {
                bail!("the model has {}, which the weights lack", tensor.name);
            };
            ensure!(
                values.len() == tensor.len(),
                "the model's {} has {} numbers, that of the weights has {}",
                tensor.name,
                tensor.len(),
                values.len()
            );
            self.replica.write(TensorId(at), Values::Real(values))?;
        }
        Ok(())
    }

    /// The micro-batches of a whole batch.
    fn whole(&self, batch: &Batch) -> Vec<Range<usize>> {
        let (images, most) = (batch.ids.len(), self.micro_batch);
        (0..images).step_by(most).map(|first| first..(first + most).min(images)).collect()
    }

    /// Runs these phases for some images of a batch, cut into micro-batches, whose losses and
    /// gradients are summed in order.
    fn pass(
        &mut self,
        batch: &Batch,
        micro_batches: &[Range<usize>],
        step: &Step,
        phases: &[Phase],
        mut after: impl FnMut(&mut dyn Replica, &Graph, usize) -> Result<()>,
    ) -> Result<()> {
        let stretches = self.graph.stretches(phases);
        for (number, images) in micro_batches.iter().enumerate() {
            let part = self.feed(batch, images, number, step)?;
            self.run(&stretches, &part)?;
            after(self.replica.as_mut(), &self.graph, images.len())?;
        }
        Ok(())
    }

    /// Hands a micro-batch of this number to the adapter; gives its step.
    fn feed(
        &mut self,
        batch: &Batch,
        images: &Range<usize>,
        number: usize,
        step: &Step,
    ) -> Result<Step> {
        let each: usize = batch.shape.iter().product();
        let classes = self.graph.labels.map_or(0, |id| self.graph.tensor(id).len());
        self.labels.resize(images.len() * classes, 0.0);
        let labels = self.labels.chunks_exact_mut(classes.max(1));
        batch.labels[images.clone()].iter().zip(labels).for_each(|(l, to)| l.write(to));
        self.ids.clear();
        self.ids.extend(
            batch.ids[images.clone()]
                .iter()
                .flat_map(|id| words(id.index).into_iter().chain(words(id.epoch))),
        );
        let pixels = &batch.images[images.start * each..images.end * each];
        for (id, values) in [
            (self.graph.images, Values::Real(pixels)),
            (self.graph.labels, Values::Real(&self.labels)),
            (self.graph.sample_ids, Values::Index(&self.ids)),
        ] {
            let Some(id) = id else { bail!("the model has no input for its images") };
            self.replica.write(id, values)?;
        }
        Ok(Step {
            images: images.len() as u32,
            batch: batch.whole as u32,
            accumulate: u32::from(number > 0),
            ..*step
        })
    }

    /// One step: loss, gradient, update. May return before the adapter has finished.
    pub fn train(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        if batch.ids.len() <= self.micro_batch {
            // The whole step in one go: nothing waits between gradient and update.
            let phases = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];
            return self.pass(batch, &self.whole(batch), step, &phases, |_, _, _| Ok(()));
        }
        self.gradient(batch, step)?;
        self.update(step)
    }

    /// The loss and the gradient of a batch, without weight decay, left on the adapter.
    pub fn gradient(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        self.part_of_gradient(batch, &self.whole(batch), step)
    }

    /// What some images of a batch, cut into micro-batches, add to its loss and its gradient: the
    /// parts of all its images, each once, sum up to the whole. None may have more images than
    /// [`Session::micro_batch`].
    pub fn part_of_gradient(
        &mut self,
        batch: &Batch,
        micro_batches: &[Range<usize>],
        step: &Step,
    ) -> Result<()> {
        self.pass(batch, micro_batches, step, &PASSES, |_, _, _| Ok(()))
    }

    /// The same, and hands out the words of each of the [buckets](Lowering::buckets), in their order
    /// and each as soon as it is there: while the adapter goes on, if it can. Each is put into one of
    /// the vectors of `room`, while there are some. Says when the passes were over.
    pub fn part_in_buckets(
        &mut self,
        batch: &Batch,
        micro_batches: &[Range<usize>],
        step: &Step,
        room: Vec<Vec<u32>>,
        mut hand_out: impl FnMut(Vec<u32>),
    ) -> Result<Instant> {
        let (first, last) = micro_batches.split_at(micro_batches.len().saturating_sub(1));
        self.part_of_gradient(batch, first, step)?;
        let (mut room, mut next) = (room.into_iter(), 0);
        let mut take = |session: &mut Self, before: usize| -> Result<()> {
            for bucket in next..before {
                let mut words = room.next().unwrap_or_default();
                words.clear();
                session.replica.take(Readback::Bucket(bucket), &mut words)?;
                hand_out(words);
            }
            next = next.max(before);
            Ok(())
        };
        let stretches = Arc::clone(&self.to_buckets);
        for images in last {
            let part = self.feed(batch, images, first.len(), step)?;
            let (mut begun, mut there) = (0, 0);
            for stretch in stretches.iter() {
                self.start(stretch, &part)?;
                if !stretch.spans.is_empty() {
                    // The adapter has this to do while what was there before it is handed out.
                    take(self, there)?;
                }
                begun += usize::from(stretch.bucket.is_some());
                self.average(stretch, &part)?;
                if stretch.all_reduce.is_some() {
                    there = begun;
                }
            }
        }
        take(self, self.buckets.saturating_sub(1))?;
        self.replica.wait()?;
        let computed = Instant::now();
        take(self, self.buckets)?;
        Ok(computed)
    }

    /// What the graph's update holds: weight decay, the optimiser, the averages, the flags.
    pub fn update(&mut self, step: &Step) -> Result<()> {
        // Nothing in the update is divided by images or added to an earlier part of it.
        let step = Step { images: 0, accumulate: 0, ..*step };
        self.run(&self.graph.stretches(&[Phase::Update]), &step)
    }

    /// Runs some stretches of the graph, and takes the means in between.
    fn run(&mut self, stretches: &[Stretch], step: &Step) -> Result<()> {
        stretches.iter().try_for_each(|stretch| {
            self.start(stretch, step)?;
            self.average(stretch, step)
        })
    }

    /// Asks for a stretch, and for the bucket that is final with it.
    fn start(&mut self, stretch: &Stretch, step: &Step) -> Result<()> {
        match stretch.bucket.map(Readback::Bucket) {
            Some(bucket) => self.replica.run_and_begin(&stretch.spans, step, bucket),
            None if stretch.spans.is_empty() => Ok(()),
            None => self.replica.run(&stretch.spans, step),
        }
    }

    /// Takes the mean that comes after a stretch. Whoever is alone has that over all already.
    fn average(&mut self, stretch: &Stretch, step: &Step) -> Result<()> {
        let Some((tensor, peers)) = stretch.all_reduce.zip(self.peers.as_mut()) else {
            return Ok(());
        };
        let mut values = self.replica.read(tensor, self.graph.tensor(tensor).len())?;
        peers.mean(&mut values, step.images as usize)?;
        self.replica.write(tensor, Values::Real(&values))
    }

    /// The terms of the last step's loss. Waits for the adapter.
    pub fn losses(&mut self) -> Result<Vec<f32>> {
        let Some(losses) = self.graph.losses else { bail!("the model has no loss") };
        self.replica.read(losses, self.graph.tensor(losses).len())
    }

    /// Begins to read how the last step went, which [`Session::take_outcome`] gives. Does not wait:
    /// the next step may be asked for in between.
    pub fn begin_outcome(&mut self) -> Result<()> {
        self.replica.begin(Readback::Outcome)
    }

    /// How the step went that was the last when this was begun to be read. Waits for that step, not
    /// for those after it.
    pub fn take_outcome(&mut self) -> Result<Outcome> {
        let mut words = Vec::new();
        self.replica.take(Readback::Outcome, &mut words)?;
        Ok(Outcome::new(&self.graph, &words))
    }

    /// How the last step went. Waits for the adapter.
    pub fn outcome(&mut self) -> Result<Outcome> {
        self.begin_outcome()?;
        self.take_outcome()
    }

    /// The scores of a batch. Waits for the adapter.
    pub fn score(&mut self, batch: &Batch) -> Result<Scored> {
        let mut scored = Scored::default();
        let phases = [Phase::Forward, Phase::Loss];
        let step = Step { training: 0, ..Step::of(batch.ids.len()) };
        self.pass(batch, &self.whole(batch), &step, &phases, |replica, graph, images| {
            let outputs =
                [(graph.logits, &mut scored.logits), (graph.image_loss, &mut scored.image_loss)];
            for (id, to) in outputs {
                let Some(id) = id else { bail!("the model has no class scores") };
                to.extend(replica.read(id, graph.tensor(id).len_for(images))?);
            }
            Ok(())
        })?;
        Ok(scored)
    }

    /// Computes the outputs of all layers for a batch, each layer's for some images at a time.
    /// They must be [observed](Graph::observe). What the layers keep stays as it is. Waits for the
    /// adapter.
    pub fn activations(
        &mut self,
        batch: &Batch,
        step: &Step,
        mut take: impl FnMut(&str, &[f32]),
    ) -> Result<()> {
        let changing = self.graph.kept.iter().filter(|kept| !kept.frozen);
        let kept: Vec<TensorId> = changing.map(|kept| kept.value).collect();
        let before: Vec<Vec<f32>> = kept.iter().map(|id| self.read(*id)).collect::<Result<_>>()?;
        self.pass(batch, &self.whole(batch), step, &[Phase::Forward], |replica, graph, images| {
            for layer in &graph.layers {
                let len = graph.tensor(layer.tensor).len_for(images);
                take(&layer.name, &replica.read(layer.tensor, len)?);
            }
            Ok(())
        })?;
        kept.iter().zip(&before).try_for_each(|(id, values)| self.write(*id, values))
    }

    /// Does a step kernel by kernel and says what is not finite first, if anything is: the layer,
    /// the kernel and the tensor. Every tensor must be [observed](Graph::observed). Bits are
    /// looked at on the host: an adapter may assume that all its numbers are finite.
    pub fn locate(&mut self, batch: &Batch, step: &Step) -> Result<Option<String>> {
        if let Some(at) = batch.images.iter().position(|value| !value.is_finite()) {
            let image = at / batch.shape.iter().product::<usize>().max(1);
            let value = batch.images[at];
            let index = batch.ids.get(image).map_or(0, |id| id.index);
            return Ok(Some(format!("image {index} already holds {value} when it comes in")));
        }
        let graph = Arc::clone(&self.graph);
        for (at, tensor) in graph.tensors.iter().enumerate() {
            if matches!(tensor.role, Role::Parameter(_) | Role::State(_)) {
                let values = self.replica.read(TensorId(at), tensor.len())?;
                if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                    return Ok(Some(format!("{} already holds {value} before it", tensor.name)));
                }
            }
        }
        let mut found = None;
        self.pass(batch, &self.whole(batch), step, &[], |replica, graph, images| {
            let part = Step { images: images as u32, ..*step };
            for phase in [Phase::Forward, Phase::Loss, Phase::Backward] {
                if found.is_none() {
                    found = first_bad(replica, graph, phase, &part)?;
                }
            }
            Ok(())
        })?;
        if found.is_some() {
            return Ok(found);
        }
        self.gradient(batch, step)?;
        let update = Step { images: 0, accumulate: 0, ..*step };
        first_bad(self.replica.as_mut(), &graph, Phase::Update, &update)
    }

    /// Runs some nodes of the graph on what is on the adapter, waits until they are done, and says
    /// how long they took.
    pub fn timed(&mut self, spans: &[Span], step: &Step) -> Result<Timing> {
        self.replica.timed(spans, step)
    }

    /// The values of a tensor. Waits for the adapter.
    pub fn read(&mut self, tensor: TensorId) -> Result<Vec<f32>> {
        let len = self.graph.tensor(tensor).len_for(self.micro_batch);
        self.replica.read(tensor, len)
    }

    /// Overwrites the values of a tensor.
    pub fn write(&mut self, tensor: TensorId, values: &[f32]) -> Result<()> {
        self.replica.write(tensor, Values::Real(values))
    }

    /// Has what was written set out now. Does not wait.
    pub fn flush(&mut self) -> Result<()> {
        self.replica.flush()
    }

    /// The graph that runs here.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }
}

/// Runs a phase node by node and says what is not finite first.
fn first_bad(
    replica: &mut dyn Replica,
    graph: &Graph,
    phase: Phase,
    step: &Step,
) -> Result<Option<String>> {
    for (at, node) in graph.phase(phase).iter().enumerate() {
        replica.run(&[Span { phase, nodes: at..at + 1 }], step)?;
        let Node::Run(op) = node else { continue };
        for (binding, id) in op.kernel.bindings.iter().zip(&op.tensors) {
            if binding.access == Access::Read || binding.dtype == Dtype::Index {
                continue;
            }
            let tensor = graph.tensor(*id);
            let values = replica.read(*id, tensor.len_for(step.images as usize))?;
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                let layer = graph.layers.get(op.layer).map_or("?", |layer| &layer.name);
                return Ok(Some(format!(
                    "the first layer to go bad is {layer}: its kernel {} puts {value} into {}",
                    op.kernel.name, tensor.name
                )));
            }
        }
    }
    Ok(None)
}

/// The low and the high word of a number.
fn words(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

/// The weights of a model that nothing has been trained of yet.
pub fn untrained(graph: &Arc<Graph>, source: Arc<Source>, seed: u64) -> Weights {
    let first = |id: TensorId| {
        let tensor = graph.tensor(id);
        match tensor.role {
            Role::Parameter(initial) | Role::State(initial) => {
                initial_values(initial, &tensor.name, tensor.len(), seed)
            }
            _ => Vec::new(),
        }
    };
    let raw: Vec<_> = graph.parameters.iter().map(|parameter| first(parameter.value)).collect();
    Weights {
        progress: Progress::default(),
        source,
        averages: raw.clone(),
        raw,
        states: graph.states().map(first).collect(),
        graph: Arc::clone(graph),
    }
}

/// The first values of a tensor, keyed by the seed, its name and each element's position.
pub fn initial_values(initial: Initial, name: &str, len: usize, seed: u64) -> Vec<f32> {
    match initial {
        Initial::Constant(value) => vec![value as f32; len],
        Initial::TruncatedNormal(deviation) => {
            let mut random = Random::keyed(seed, name, 0, 0);
            (0..len).map(|_| (deviation * random.truncated_normal()) as f32).collect()
        }
    }
}
