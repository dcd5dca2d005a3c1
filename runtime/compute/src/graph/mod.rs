//! A model compiled into a graph of named kernels over tensors that are all known beforehand.
//!
//! The graph belongs to no adapter. It has four phases, each a list in execution order:
//! `forward` (images to logits), `loss`, `backward` and `update`. The first three run once per
//! micro-batch, `update` once per step.
//!
//! A [`GraphBuilder`] makes what a model consists of; whoever owns its weights adds the update with
//! an [`Extension`].

mod buckets;
mod builder;
mod extension;

pub use buckets::Bucket;
pub use builder::GraphBuilder;
pub use extension::Extension;

use std::ops::Range;

use crate::kernel::{Constants, Dtype, Extent, Kernel};

/// A tensor of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// How a tensor's first values are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// All values alike.
    Constant(f64),
    /// Normal with this standard deviation, values beyond two of them drawn again.
    TruncatedNormal(f64),
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// Written from outside before each micro-batch: images, labels, sample ids.
    Input,
    /// A value between layers.
    Activation,
    /// The loss's derivative with respect to an activation.
    ActivationGradient,
    /// A trained weight.
    Parameter(Initial),
    /// The loss's derivative with respect to a parameter.
    ParameterGradient(TensorId),
    /// The moving average of a parameter.
    Average(TensorId),
    /// What an optimiser or a layer keeps from step to step without training it.
    State(Initial),
    /// Workspace of a reduction.
    Partial,
    /// The terms of the loss: cross-entropy first, then one term per decayed parameter.
    Losses,
    /// In which step other tensors first held a number that is not finite; see
    /// [`Graph::flagged`].
    Flags,
}

/// One buffer of the graph.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// A name such as `conv1/weights`.
    pub name: String,
    /// The element type.
    pub dtype: Dtype,
    /// The sizes; for one image where `extent` is [`Extent::PerImage`].
    pub shape: Vec<usize>,
    /// How it relates to the batch.
    pub extent: Extent,
    /// What it is for.
    pub role: Role,
}

impl Tensor {
    /// Elements, per image or in all.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements when this many images are held at once.
    pub fn len_for(&self, images: usize) -> usize {
        match self.extent {
            Extent::PerImage => self.len() * images,
            Extent::Summed | Extent::PerPart(_) | Extent::Whole => self.len(),
        }
    }
}

/// One use of a kernel.
#[derive(Clone, Debug)]
pub struct Op {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Its bindings, in order.
    pub tensors: Vec<TensorId>,
    /// Its constants.
    pub constants: Constants,
    /// The layer it belongs to, an index into [`Graph::layers`].
    pub layer: usize,
}

/// One entry of a phase.
#[derive(Clone, Debug)]
pub enum Node {
    /// Run a kernel.
    Run(Op),
    /// Average this tensor over all adapters before going on (batch statistics). With a single
    /// adapter there is nothing to do.
    AllReduce(TensorId),
}

/// The parts of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Images to logits.
    Forward,
    /// Logits and labels to the loss and its derivative.
    Loss,
    /// Derivatives of everything.
    Backward,
    /// Weight decay, the optimiser, the averages, the flags.
    Update,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Forward, Self::Loss, Self::Backward, Self::Update];
}

/// One trained tensor and its companions.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The weights.
    pub value: TensorId,
    /// Their gradient.
    pub gradient: TensorId,
    /// Their moving average.
    pub average: TensorId,
    /// The factor of the decay term `factor / 2 * sum of squares`; 0 for none.
    pub weight_decay: f64,
    /// The layer it belongs to.
    pub layer: usize,
}

/// What a layer knows of a weight of its own.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// The numbers.
    pub value: TensorId,
    /// Where its gradient belongs; `None` in a layer that is frozen.
    pub gradient: Option<TensorId>,
}

/// What a layer keeps from step to step without training it: running statistics, and the weights of
/// a layer that is frozen.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The numbers.
    pub value: TensorId,
    /// Their moving average, which goes with that of the weights, once the update has one. Numbers
    /// that never change are their own.
    pub average: Option<TensorId>,
    /// Whether they never change: those of a layer that is frozen.
    pub frozen: bool,
    /// The layer it belongs to.
    pub layer: usize,
}

/// What a person wants to know of a layer before anything runs.
#[derive(Clone, Debug)]
pub struct LayerSummary {
    /// The layer's name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// The shape of its output for one image.
    pub output: Vec<usize>,
    /// The tensor that holds its output.
    pub tensor: TensorId,
    /// Numbers in its weights, trained or frozen.
    pub parameters: usize,
    /// Whether they stay as they are.
    pub frozen: bool,
    /// Multiply-adds per image, products with padding counted.
    pub multiply_adds: u64,
}

/// A compiled model.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Every buffer.
    pub tensors: Vec<Tensor>,
    /// Images to logits.
    pub forward: Vec<Node>,
    /// The same where nothing is trained: what was kept in training stands in for the statistics of
    /// a batch. See [`Graph::inference`].
    pub scoring: Vec<Node>,
    /// Logits to the loss.
    pub loss: Vec<Node>,
    /// The loss's derivatives.
    pub backward: Vec<Node>,
    /// What changes the weights.
    pub update: Vec<Node>,
    /// The trained tensors, in layer order.
    pub parameters: Vec<Parameter>,
    /// What the layers keep, in layer order.
    pub kept: Vec<Kept>,
    /// The layers, in the order listed.
    pub layers: Vec<LayerSummary>,
    /// Where each parameter gradient becomes final: (parameter index, nodes of `backward` run).
    pub finals: Vec<(usize, usize)>,
    /// The images, `[height, width, channels]`.
    pub images: Option<TensorId>,
    /// The labels, one probability per class.
    pub labels: Option<TensorId>,
    /// Which image of which epoch each sample is, four words each: the low and the high word of
    /// its index, then those of its epoch. Random numbers are keyed by all of them.
    pub sample_ids: Option<TensorId>,
    /// The class scores.
    pub logits: Option<TensorId>,
    /// The cross-entropy of each image.
    pub image_loss: Option<TensorId>,
    /// All terms of the loss.
    pub losses: Option<TensorId>,
    /// The names of the terms of the loss.
    pub loss_terms: Vec<String>,
    /// Moving averages of the terms of the loss, if any are kept.
    pub loss_averages: Option<TensorId>,
    /// Where numbers that are not finite are noted, if they are looked for: for each stretch of a
    /// tensor, 0 or one more than the number of the step that first left one there.
    pub flags: Option<TensorId>,
    /// The tensors that are looked at, and which elements of the flags are theirs.
    pub flagged: Vec<(TensorId, Range<usize>)>,
    /// What somebody wants to read beside what can always be read; see [`Graph::observe`].
    pub observed: Vec<TensorId>,
}

/// Some of the nodes of a phase, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The phase.
    pub phase: Phase,
    /// Positions in the phase's list.
    pub nodes: Range<usize>,
}

/// What runs without a break, and what comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// What runs, in order.
    pub spans: Vec<Span>,
    /// What is averaged over all adapters before the next stretch begins.
    pub all_reduce: Option<TensorId>,
    /// The number of the bucket whose gradients are final now.
    pub bucket: Option<usize>,
}

impl Graph {
    /// A graph of a single kernel, in its forward phase: each binding is the tensor of its number,
    /// which can be read.
    pub fn of_one(kernel: &'static Kernel, constants: &Constants) -> Self {
        let lengths = (kernel.lengths)(constants);
        let tensors = kernel.bindings.iter().zip(lengths).map(|(binding, length)| Tensor {
            name: binding.name.to_owned(),
            dtype: binding.dtype,
            shape: vec![length],
            extent: binding.extent,
            role: Role::Activation,
        });
        let tensors: Vec<Tensor> = tensors.collect();
        let op = Op {
            kernel,
            tensors: (0..tensors.len()).map(TensorId).collect(),
            constants: constants.clone(),
            layer: 0,
        };
        Self { tensors, forward: vec![Node::Run(op)], ..Self::default() }.observed()
    }

    /// All nodes of a phase.
    pub fn whole(&self, phase: Phase) -> Span {
        Span { phase, nodes: 0..self.phase(phase).len() }
    }

    /// These phases, one after the other, cut at every [`Node::AllReduce`].
    pub fn stretches(&self, phases: &[Phase]) -> Vec<Stretch> {
        self.stretches_to(phases, &[])
    }

    /// The same, cut as well where the gradients of a bucket are final.
    pub fn stretches_to(&self, phases: &[Phase], buckets: &[Bucket]) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut spans = Vec::new();
        for phase in phases.iter().copied() {
            let nodes = self.phase(phase);
            let buckets = if phase == Phase::Backward { buckets } else { &[] };
            let mut due = buckets.iter().enumerate().peekable();
            let mut first = 0;
            for at in 0..=nodes.len() {
                while let Some((bucket, _)) = due.next_if(|(_, bucket)| bucket.nodes == at) {
                    spans.extend((first < at).then_some(Span { phase, nodes: first..at }));
                    let spans = std::mem::take(&mut spans);
                    stretches.push(Stretch { spans, all_reduce: None, bucket: Some(bucket) });
                    first = at;
                }
                let Some(Node::AllReduce(tensor)) = nodes.get(at) else { continue };
                spans.extend((first < at).then_some(Span { phase, nodes: first..at }));
                let spans = std::mem::take(&mut spans);
                stretches.push(Stretch { spans, all_reduce: Some(*tensor), bucket: None });
                first = at + 1;
            }
            spans
                .extend((first < nodes.len()).then_some(Span { phase, nodes: first..nodes.len() }));
        }
        if !spans.is_empty() {
            stretches.push(Stretch { spans, all_reduce: None, bucket: None });
        }
        stretches
    }

    /// Asks for a tensor to be readable after the phase that makes it.
    ///
    /// An adapter may fuse kernels or let tensors share memory; what is observed it keeps, as it
    /// does in any case with parameters and their gradients and averages, states, the losses, the
    /// loss of each image, the class scores and the flags. To be called before the graph is lowered.
    pub fn observe(&mut self, tensor: TensorId) {
        if !self.observed.contains(&tensor) {
            self.observed.push(tensor);
        }
    }

    /// The same model with every tensor to be read.
    pub fn observed(&self) -> Self {
        let observed = (0..self.tensors.len()).map(TensorId).collect();
        Self { observed, ..self.clone() }
    }

    /// The nodes of a phase.
    pub fn phase(&self, phase: Phase) -> &[Node] {
        match phase {
            Phase::Forward => &self.forward,
            Phase::Loss => &self.loss,
            Phase::Backward => &self.backward,
            Phase::Update => &self.update,
        }
    }

    /// All uses of kernels in a phase.
    pub fn ops(&self, phase: Phase) -> impl Iterator<Item = &Op> {
        self.phase(phase).iter().filter_map(|node| match node {
            Node::Run(op) => Some(op),
            Node::AllReduce(_) => None,
        })
    }

    /// All uses of kernels.
    pub fn all_ops(&self) -> impl Iterator<Item = &Op> {
        Phase::ALL.into_iter().flat_map(|phase| self.ops(phase))
    }

    /// The tensor of this id.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0]
    }

    /// The id of the tensor of this name.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.tensors.iter().position(|t| t.name == name).map(TensorId)
    }

    /// What the optimiser and the layers keep from step to step, in the order of the tensors.
    pub fn states(&self) -> impl Iterator<Item = TensorId> {
        let is_state = |(_, tensor): &(usize, &Tensor)| matches!(tensor.role, Role::State(_));
        self.tensors.iter().enumerate().filter(is_state).map(|(at, _)| TensorId(at))
    }

    /// What tells how a step went, as far as there is such: the terms of its loss, their averages,
    /// the flags of what was not finite.
    pub fn outcome(&self) -> impl Iterator<Item = TensorId> {
        [self.losses, self.loss_averages, self.flags].into_iter().flatten()
    }

    /// A tensor that is averaged over a whole batch in the middle of the passes, if there is one: no
    /// image of the batch can go through them without the others.
    pub fn all_reduced(&self) -> Option<TensorId> {
        let passes = [Phase::Forward, Phase::Loss, Phase::Backward];
        passes.into_iter().flat_map(|phase| self.phase(phase)).find_map(|node| match node {
            Node::AllReduce(tensor) => Some(*tensor),
            Node::Run(_) => None,
        })
    }

    /// Trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().filter(|layer| !layer.frozen).map(|layer| layer.parameters).sum()
    }

    /// The layers whose weights stay as they are.
    pub fn frozen(&self) -> impl Iterator<Item = &LayerSummary> {
        self.layers.iter().filter(|layer| layer.frozen)
    }

    /// Numbers in the weights of those.
    pub fn frozen_count(&self) -> usize {
        self.frozen().map(|layer| layer.parameters).sum()
    }

    /// Multiply-adds per image in the forward pass, products with padding counted.
    pub fn multiply_adds(&self) -> u64 {
        self.layers.iter().map(|layer| layer.multiply_adds).sum()
    }

    /// Bytes of all buffers on an adapter that holds this many images at once.
    pub fn bytes(&self, micro_batch: usize) -> u64 {
        self.tensors.iter().map(|t| 4 * t.len_for(micro_batch) as u64).sum()
    }

    /// The same model without what only training needs: its forward pass is that of
    /// [`Graph::scoring`].
    pub fn inference(&self) -> Self {
        let mut kept = vec![false; self.tensors.len()];
        for node in self.scoring.iter().chain(&self.loss) {
            match node {
                Node::Run(op) => op.tensors.iter().for_each(|id| kept[id.0] = true),
                Node::AllReduce(id) => kept[id.0] = true,
            }
        }
        for id in [self.images, self.labels, self.sample_ids].into_iter().flatten() {
            kept[id.0] = true;
        }
        let mut new_id = vec![TensorId(0); self.tensors.len()];
        let mut tensors = Vec::new();
        for (old, tensor) in self.tensors.iter().enumerate().filter(|(old, _)| kept[*old]) {
            new_id[old] = TensorId(tensors.len());
            tensors.push(tensor.clone());
        }
        let renumber = |nodes: &[Node]| {
            nodes
                .iter()
                .cloned()
                .map(|node| match node {
                    Node::Run(mut op) => {
                        op.tensors.iter_mut().for_each(|id| *id = new_id[id.0]);
                        Node::Run(op)
                    }
                    Node::AllReduce(id) => Node::AllReduce(new_id[id.0]),
                })
                .collect()
        };
        let moved = |id: Option<TensorId>| id.map(|id| new_id[id.0]);
        let mut layers = self.layers.clone();
        layers.iter_mut().for_each(|layer| layer.tensor = new_id[layer.tensor.0]);
        Self {
            forward: renumber(&self.scoring),
            scoring: renumber(&self.scoring),
            loss: renumber(&self.loss),
            layers,
            images: moved(self.images),
            labels: moved(self.labels),
            sample_ids: moved(self.sample_ids),
            logits: moved(self.logits),
            image_loss: moved(self.image_loss),
            losses: moved(self.losses).filter(|_| self.losses.is_some_and(|id| kept[id.0])),
            loss_terms: self.loss_terms.clone(),
            observed: self.observed.iter().filter(|id| kept[id.0]).map(|id| new_id[id.0]).collect(),
            tensors,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static KERNEL: Kernel = Kernel {
        name: "kernel",
        about: "",
        bindings: &[],
        lengths: |_| Vec::new(),
        terms: |_, _| 1,
        variants: &[],
        cpu: |_| {},
        reference: |_| {},
        cases: Vec::new,
    };

    fn run() -> Node {
        let constants = Constants::default();
        Node::Run(Op { kernel: &KERNEL, tensors: Vec::new(), constants, layer: 0 })
    }

    #[test]
    fn phases_are_cut_where_something_is_averaged() {
        use Phase::{Backward, Forward, Loss, Update};
        let (a, b) = (TensorId(1), TensorId(2));
        let graph = Graph {
            forward: vec![run(), Node::AllReduce(a), run(), run()],
            loss: vec![run()],
            backward: vec![Node::AllReduce(b), Node::AllReduce(a)],
            ..Graph::default()
        };
        let span = |phase, nodes| Span { phase, nodes };
        let stretch = |spans: &[Span], all_reduce| Stretch {
            spans: spans.to_vec(),
            all_reduce,
            bucket: None,
        };
        assert_eq!(
            graph.stretches(&[Forward, Loss, Backward, Update]),
            [
                stretch(&[span(Forward, 0..1)], Some(a)),
                stretch(&[span(Forward, 2..4), span(Loss, 0..1)], Some(b)),
                stretch(&[], Some(a)),
            ]
        );
        assert_eq!(graph.stretches(&[Loss]), [stretch(&[graph.whole(Loss)], None)]);
        assert_eq!(graph.stretches(&[Update]), []);
    }

    #[test]
    fn phases_are_cut_where_a_bucket_is_final() {
        use Phase::{Backward, Forward, Update};
        let averaged = TensorId(1);
        let graph = Graph {
            forward: vec![run()],
            backward: vec![run(), run(), Node::AllReduce(averaged), run(), run()],
            update: vec![run()],
            ..Graph::default()
        };
        let buckets = [1, 2, 3, 5].map(|nodes| Bucket { nodes, tensors: Vec::new() });
        let span = |phase, nodes| Span { phase, nodes };
        let stretch = |spans: &[Span], all_reduce, bucket| Stretch {
            spans: spans.to_vec(),
            all_reduce,
            bucket,
        };
        assert_eq!(
            graph.stretches_to(&[Forward, Backward, Update], &buckets),
            [
                stretch(&[span(Forward, 0..1), span(Backward, 0..1)], None, Some(0)),
                stretch(&[span(Backward, 1..2)], None, Some(1)),
                stretch(&[], Some(averaged), None),
                stretch(&[], None, Some(2)),
                stretch(&[span(Backward, 3..5)], None, Some(3)),
                stretch(&[graph.whole(Update)], None, None),
            ]
        );
    }
}
