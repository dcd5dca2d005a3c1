//! A model compiled into a graph of named kernels over tensors that are all known beforehand.
//!
//! The graph belongs to no adapter. It has four phases, each a list in execution order:
//! `forward` (images to logits), `loss`, `backward` and `update`. The first three run once per
//! micro-batch, `update` once per step.

use crate::kernel::{Access, Constants, Dtype, Extent, Kernel};

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
            Extent::Summed | Extent::Whole => self.len(),
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
    /// Weight decay, the optimiser, the averages.
    Update,
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
    /// Trained numbers.
    pub parameters: usize,
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
    /// Logits to the loss.
    pub loss: Vec<Node>,
    /// The loss's derivatives.
    pub backward: Vec<Node>,
    /// What changes the weights.
    pub update: Vec<Node>,
    /// The trained tensors, in layer order.
    pub parameters: Vec<Parameter>,
    /// The layers, in the order listed.
    pub layers: Vec<LayerSummary>,
    /// Where each parameter gradient becomes final: (parameter index, nodes of `backward` run).
    pub finals: Vec<(usize, usize)>,
    /// The images, `[height, width, channels]`.
    pub images: Option<TensorId>,
    /// The labels, one probability per class.
    pub labels: Option<TensorId>,
    /// Sample numbers, two words each: low and high.
    pub sample_ids: Option<TensorId>,
    /// The class scores.
    pub logits: Option<TensorId>,
    /// The cross-entropy of each image.
    pub image_loss: Option<TensorId>,
    /// All terms of the loss.
    pub losses: Option<TensorId>,
    /// The names of the terms of the loss.
    pub loss_terms: Vec<String>,
}

impl Graph {
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

    /// The tensor of this id.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0]
    }

    /// The id of the tensor of this name.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.tensors.iter().position(|t| t.name == name).map(TensorId)
    }

    /// Trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }

    /// Multiply-adds per image in the forward pass, products with padding counted.
    pub fn multiply_adds(&self) -> u64 {
        self.layers.iter().map(|layer| layer.multiply_adds).sum()
    }

    /// Bytes of all buffers on an adapter that holds this many images at once.
    pub fn bytes(&self, micro_batch: usize) -> u64 {
        self.tensors.iter().map(|t| 4 * t.len_for(micro_batch) as u64).sum()
    }

    /// The same model without what only training needs.
    pub fn inference(&self) -> Self {
        let mut kept = vec![false; self.tensors.len()];
        let phases = [Phase::Forward, Phase::Loss];
        for op in phases.into_iter().flat_map(|phase| self.ops(phase)) {
            op.tensors.iter().for_each(|id| kept[id.0] = true);
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
            forward: renumber(&self.forward),
            loss: renumber(&self.loss),
            layers,
            images: moved(self.images),
            labels: moved(self.labels),
            sample_ids: moved(self.sample_ids),
            logits: moved(self.logits),
            image_loss: moved(self.image_loss),
            losses: moved(self.losses).filter(|_| self.losses.is_some_and(|id| kept[id.0])),
            loss_terms: self.loss_terms.clone(),
            tensors,
            ..Self::default()
        }
    }
}

/// Builds a [`Graph`] layer by layer.
///
/// A layer appends its forward nodes in order. Its backward nodes are appended in the order in
/// which they run within the layer; the layers' lists are joined in reverse at the end.
#[derive(Debug)]
pub struct GraphBuilder {
    graph: Graph,
    backward: Vec<Vec<Node>>,
    gradients: Vec<GradientOf>,
    add_into: &'static Kernel,
    current: usize,
}

/// The derivative of one activation, and the contributions of its consumers.
#[derive(Debug)]
struct GradientOf {
    activation: TensorId,
    producer: usize,
    contributions: Vec<TensorId>,
}

impl GraphBuilder {
    /// A graph for images of this shape. `add_into` sums the gradients of an activation that has
    /// several consumers.
    pub fn new(image: &[usize], classes: usize, add_into: &'static Kernel) -> Self {
        let mut builder = Self {
            graph: Graph::default(),
            backward: Vec::new(),
            gradients: Vec::new(),
            add_into,
            current: 0,
        };
        let images = builder.tensor("images", image, Extent::PerImage, Role::Input);
        let labels = builder.tensor("labels", &[classes], Extent::PerImage, Role::Input);
        let ids = builder.tensor("sample_ids", &[2], Extent::PerImage, Role::Input);
        builder.graph.tensors[ids.0].dtype = Dtype::Index;
        builder.graph.images = Some(images);
        builder.graph.labels = Some(labels);
        builder.graph.sample_ids = Some(ids);
        builder
    }

    /// The images.
    pub fn images(&self) -> TensorId {
        self.graph.images.unwrap_or(TensorId(0))
    }

    /// The labels, one probability per class.
    pub fn labels(&self) -> TensorId {
        self.graph.labels.unwrap_or(TensorId(0))
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.graph.tensor(self.labels()).len()
    }

    /// The shape of a tensor, for one image.
    pub fn shape(&self, id: TensorId) -> &[usize] {
        &self.graph.tensor(id).shape
    }

    /// Starts a layer; what follows belongs to it.
    pub fn begin_layer(&mut self, name: &str, kind: &'static str) {
        self.graph.layers.push(LayerSummary {
            name: name.to_owned(),
            kind,
            output: Vec::new(),
            tensor: TensorId(0),
            parameters: 0,
            multiply_adds: 0,
        });
        self.backward.push(Vec::new());
        self.current = self.graph.layers.len() - 1;
    }

    /// Goes back to a layer, for the nodes of the update.
    pub fn select_layer(&mut self, layer: usize) {
        self.current = layer;
    }

    /// Ends the layer begun last.
    pub fn end_layer(&mut self, output: TensorId) {
        let shape = self.shape(output).to_vec();
        if let Some(layer) = self.graph.layers.last_mut() {
            layer.output = shape;
            layer.tensor = output;
        }
    }

    fn layer_name(&self) -> &str {
        self.graph.layers.get(self.current).map_or("", |layer| &layer.name)
    }

    fn tensor(&mut self, name: &str, shape: &[usize], extent: Extent, role: Role) -> TensorId {
        let name = match self.layer_name() {
            "" => name.to_owned(),
            layer => format!("{layer}/{name}"),
        };
        self.graph.tensors.push(Tensor {
            name,
            dtype: Dtype::Real,
            shape: shape.to_vec(),
            extent,
            role,
        });
        TensorId(self.graph.tensors.len() - 1)
    }

    /// A value per image that later layers may read; its gradient is summed over them.
    pub fn activation(&mut self, shape: &[usize]) -> TensorId {
        let id = self.tensor("activations", shape, Extent::PerImage, Role::Activation);
        self.gradients.push(GradientOf {
            activation: id,
            producer: self.current,
            contributions: Vec::new(),
        });
        id
    }

    /// Indices per image that the backward pass needs.
    pub fn indices(&mut self, name: &str, shape: &[usize]) -> TensorId {
        let id = self.tensor(name, shape, Extent::PerImage, Role::Activation);
        self.graph.tensors[id.0].dtype = Dtype::Index;
        id
    }

    /// Reals per image that no other layer reads.
    pub fn per_image(&mut self, name: &str, shape: &[usize]) -> TensorId {
        self.tensor(name, shape, Extent::PerImage, Role::Activation)
    }

    /// A trained tensor with its gradient and its average.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        initial: Initial,
        weight_decay: f64,
    ) -> Parameter {
        let value = self.tensor(name, shape, Extent::Whole, Role::Parameter(initial));
        let gradient = self.tensor(
            &format!("{name}/gradients"),
            shape,
            Extent::Summed,
            Role::ParameterGradient(value),
        );
        let average =
            self.tensor(&format!("{name}/average"), shape, Extent::Whole, Role::Average(value));
        let parameter = Parameter { value, gradient, average, weight_decay, layer: self.current };
        self.graph.parameters.push(parameter.clone());
        if let Some(layer) = self.graph.layers.last_mut() {
            layer.parameters += shape.iter().product::<usize>();
        }
        parameter
    }

    /// What is kept from step to step without being trained (momentum, running statistics).
    pub fn state(&mut self, name: &str, shape: &[usize], initial: Initial) -> TensorId {
        self.tensor(name, shape, Extent::Whole, Role::State(initial))
    }

    /// Workspace for a sum over images taken in parts.
    pub fn partial(&mut self, name: &str, shape: &[usize]) -> TensorId {
        self.tensor(name, shape, Extent::Summed, Role::Partial)
    }

    /// Counts multiply-adds per image for the layer at hand.
    pub fn count_multiply_adds(&mut self, count: usize) {
        if let Some(layer) = self.graph.layers.last_mut() {
            layer.multiply_adds += count as u64;
        }
    }

    /// The gradient of an activation that this layer made: read it in the backward nodes.
    ///
    /// # Panics
    /// If `activation` is no activation of this graph: a layer's programming error.
    pub fn gradient_of(&mut self, activation: TensorId) -> TensorId {
        let at = self.gradient_position(activation);
        match self.gradients[at].contributions.first() {
            Some(first) => *first,
            None => self.add_contribution(at),
        }
    }

    /// Where this layer writes the gradient of an input; `None` if nobody needs it (the images).
    pub fn gradient_for(&mut self, input: TensorId) -> Option<TensorId> {
        if input == self.images() {
            return None;
        }
        let at = self.gradient_position(input);
        let reserved = self.gradients[at].contributions.len();
        // The producer asked for the gradient first, so the first contribution is reserved and
        // not yet written by anybody until a consumer comes.
        if reserved == 1 && !self.is_written(self.gradients[at].contributions[0]) {
            return Some(self.gradients[at].contributions[0]);
        }
        Some(self.add_contribution(at))
    }

    fn is_written(&self, tensor: TensorId) -> bool {
        let writes = |node: &Node| match node {
            Node::Run(op) => op
                .kernel
                .bindings
                .iter()
                .zip(&op.tensors)
                .any(|(binding, id)| *id == tensor && binding.access == Access::Write),
            Node::AllReduce(_) => false,
        };
        self.backward.iter().flatten().chain(&self.graph.loss).any(writes)
    }

    fn gradient_position(&self, activation: TensorId) -> usize {
        match self.gradients.iter().position(|g| g.activation == activation) {
            Some(at) => at,
            None => panic!("{} has no gradient", self.graph.tensor(activation).name),
        }
    }

    fn add_contribution(&mut self, at: usize) -> TensorId {
        let activation = self.graph.tensor(self.gradients[at].activation).clone();
        let number = self.gradients[at].contributions.len();
        let suffix = if number == 0 { String::new() } else { format!("/{number}") };
        self.graph.tensors.push(Tensor {
            name: format!("{}/gradients{suffix}", activation.name),
            role: Role::ActivationGradient,
            ..activation
        });
        let id = TensorId(self.graph.tensors.len() - 1);
        self.gradients[at].contributions.push(id);
        id
    }

    fn op(&self, kernel: &'static Kernel, tensors: &[TensorId], constants: Constants) -> Node {
        let lengths = (kernel.lengths)(&constants);
        assert_eq!(kernel.bindings.len(), tensors.len(), "{}: bindings", kernel.name);
        for ((binding, id), length) in kernel.bindings.iter().zip(tensors).zip(lengths) {
            let tensor = self.graph.tensor(*id);
            let at = format!("{}: {} bound to {}", kernel.name, binding.name, tensor.name);
            assert_eq!(tensor.len(), length, "{at}: length");
            assert_eq!(tensor.dtype, binding.dtype, "{at}: dtype");
            let per_image = |extent| extent == Extent::PerImage;
            assert_eq!(per_image(tensor.extent), per_image(binding.extent), "{at}: extent");
        }
        Node::Run(Op { kernel, tensors: tensors.to_vec(), constants, layer: self.current })
    }

    /// Appends to the forward pass.
    pub fn forward(&mut self, kernel: &'static Kernel, on: &[TensorId], constants: Constants) {
        let node = self.op(kernel, on, constants);
        self.graph.forward.push(node);
    }

    /// Appends an average over all adapters to the forward pass.
    pub fn forward_all_reduce(&mut self, tensor: TensorId) {
        self.graph.forward.push(Node::AllReduce(tensor));
    }

    /// Appends to this layer's part of the backward pass.
    pub fn backward(&mut self, kernel: &'static Kernel, on: &[TensorId], constants: Constants) {
        let node = self.op(kernel, on, constants);
        self.backward[self.current].push(node);
    }

    /// Appends an average over all adapters to this layer's part of the backward pass.
    pub fn backward_all_reduce(&mut self, tensor: TensorId) {
        self.backward[self.current].push(Node::AllReduce(tensor));
    }

    /// Appends to the loss.
    pub fn loss(&mut self, kernel: &'static Kernel, on: &[TensorId], constants: Constants) {
        let node = self.op(kernel, on, constants);
        self.graph.loss.push(node);
    }

    /// Appends to the update.
    pub fn update(&mut self, kernel: &'static Kernel, on: &[TensorId], constants: Constants) {
        let node = self.op(kernel, on, constants);
        self.graph.update.push(node);
    }

    /// Declares the class scores and the loss of each image.
    pub fn set_loss(&mut self, logits: TensorId, image_loss: TensorId) {
        self.graph.logits = Some(logits);
        self.graph.image_loss = Some(image_loss);
    }

    /// The parameters made so far.
    pub fn parameters(&self) -> &[Parameter] {
        &self.graph.parameters
    }

    /// The name of a tensor.
    pub fn name(&self, id: TensorId) -> &str {
        &self.graph.tensor(id).name
    }

    /// The terms of the loss, one number each; the cross-entropy is the first.
    pub fn losses(&mut self, terms: Vec<String>) -> TensorId {
        let shape = [terms.len()];
        self.graph.loss_terms = terms;
        // Named as a whole, not after the last layer.
        self.graph.tensors.push(Tensor {
            name: "losses".to_owned(),
            dtype: Dtype::Real,
            shape: shape.to_vec(),
            extent: Extent::Summed,
            role: Role::Losses,
        });
        let id = TensorId(self.graph.tensors.len() - 1);
        self.graph.losses = Some(id);
        id
    }

    /// Whether an activation is read by any layer after the one that made it.
    pub fn is_consumed(&self, activation: TensorId) -> bool {
        self.gradients
            .iter()
            .find(|g| g.activation == activation)
            .is_some_and(|g| g.contributions.first().is_some_and(|first| self.is_written(*first)))
    }

    /// Joins the layers' backward passes and marks where each parameter gradient becomes final.
    pub fn finish(mut self) -> Graph {
        for gradient in std::mem::take(&mut self.gradients) {
            let Some((first, others)) = gradient.contributions.split_first() else {
                continue;
            };
            let length = self.graph.tensor(*first).len();
            // In listed order, before the producer's own backward nodes read the sum.
            for (at, other) in others.iter().enumerate() {
                let constants = Constants::default().with("LENGTH", length);
                let mut node = self.op(self.add_into, &[*first, *other], constants);
                if let Node::Run(op) = &mut node {
                    op.layer = gradient.producer;
                }
                self.backward[gradient.producer].insert(at, node);
            }
        }
        for nodes in self.backward.into_iter().rev() {
            self.graph.backward.extend(nodes);
        }
        for (index, parameter) in self.graph.parameters.iter().enumerate() {
            let last = self.graph.backward.iter().rposition(|node| match node {
                Node::Run(op) => op.tensors.contains(&parameter.gradient),
                Node::AllReduce(id) => *id == parameter.gradient,
            });
            if let Some(last) = last {
                self.graph.finals.push((index, last + 1));
            }
        }
        self.graph.finals.sort_by_key(|(_, nodes)| *nodes);
        self.graph
    }
}
