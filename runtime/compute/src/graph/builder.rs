//! Builds a [`Graph`].

use super::{
    Graph, Initial, Kept, LayerSummary, Node, Op, Parameter, Role, Tensor, TensorId, Weight,
};
use crate::kernel::{Constants, Dtype, Extent, Kernel};

/// Builds a [`Graph`] layer by layer.
///
/// A layer appends its forward nodes in order. Its backward nodes are appended in the order in
/// which they run within the layer; the layers' lists are joined in reverse at the end.
#[derive(Debug)]
pub struct GraphBuilder {
    graph: Graph,
    backward: Vec<Vec<Node>>,
    gradients: Vec<GradientOf>,
    /// Of each layer, whether its own weights or those of a layer before it are trained: whether the
    /// backward pass has to come to its output.
    trained: Vec<bool>,
    add_into: &'static Kernel,
    current: usize,
}

/// The derivative of one activation, and the contributions of its consumers.
#[derive(Debug)]
struct GradientOf {
    activation: TensorId,
    producer: usize,
    contributions: Vec<TensorId>,
    /// How many of the contributions a consumer has been given to write. The producer may have
    /// asked for the first before any consumer came.
    reserved: usize,
}

impl GraphBuilder {
    /// A graph for images of this shape. `add_into` sums the gradients of an activation that has
    /// several consumers.
    pub fn new(image: &[usize], classes: usize, add_into: &'static Kernel) -> Self {
        let mut builder = Self {
            graph: Graph::default(),
            backward: Vec::new(),
            gradients: Vec::new(),
            trained: Vec::new(),
            add_into,
            current: 0,
        };
        let images = builder.tensor("images", image, Extent::PerImage, Role::Input);
        let labels = builder.tensor("labels", &[classes], Extent::PerImage, Role::Input);
        let ids = builder.tensor("sample_ids", &[4], Extent::PerImage, Role::Input);
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

    /// Which image of which epoch each sample is: see [`Graph::sample_ids`].
    pub fn sample_ids(&self) -> TensorId {
        self.graph.sample_ids.unwrap_or(TensorId(0))
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.graph.tensor(self.labels()).len()
    }

    /// The shape of a tensor, for one image.
    pub fn shape(&self, id: TensorId) -> &[usize] {
        &self.graph.tensor(id).shape
    }

    /// Starts a layer that reads these tensors; what follows belongs to it.
    pub fn begin_layer(&mut self, name: &str, kind: &'static str, inputs: &[TensorId]) {
        self.trained.push(inputs.iter().any(|input| self.is_trained_up_to(*input)));
        self.graph.layers.push(LayerSummary {
            name: name.to_owned(),
            kind,
            output: Vec::new(),
            tensor: TensorId(0),
            parameters: 0,
            frozen: false,
            multiply_adds: 0,
        });
        self.backward.push(Vec::new());
        self.current = self.graph.layers.len() - 1;
    }

    /// The layer begun last is frozen: its weights, and what else it keeps, stay as they are.
    pub fn freeze_layer(&mut self) {
        if let Some(layer) = self.graph.layers.last_mut() {
            layer.frozen = true;
        }
    }

    /// Whether the layer begun last is frozen.
    pub fn is_frozen(&self) -> bool {
        self.graph.layers.last().is_some_and(|layer| layer.frozen)
    }

    /// Whether the layer begun last has weights.
    pub fn has_weights(&self) -> bool {
        self.graph.layers.last().is_some_and(|layer| layer.parameters > 0)
    }

    /// Ends the layer begun last.
    pub fn end_layer(&mut self, output: TensorId) {
        let shape = self.shape(output).to_vec();
        if let Some(layer) = self.graph.layers.last_mut() {
            layer.output = shape;
            layer.tensor = output;
        }
    }

    /// The name of the layer begun last.
    pub fn layer_name(&self) -> &str {
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

    /// A value per image that later layers may read; its gradient is summed over them. Weights of the
    /// layer come before it.
    pub fn activation(&mut self, shape: &[usize]) -> TensorId {
        let id = self.tensor("activations", shape, Extent::PerImage, Role::Activation);
        self.gradients.push(GradientOf {
            activation: id,
            producer: self.current,
            contributions: Vec::new(),
            reserved: 0,
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

    /// A trained tensor, which gets a gradient and an average; in a layer that is frozen, one that is
    /// kept as it is.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        initial: Initial,
        weight_decay: f64,
    ) -> Weight {
        if let Some(layer) = self.graph.layers.last_mut() {
            layer.parameters += shape.iter().product::<usize>();
        }
        if self.is_frozen() {
            return Weight { value: self.state(name, shape, initial), gradient: None };
        }
        if let Some(trained) = self.trained.last_mut() {
            *trained = true;
        }
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
        self.graph.parameters.push(parameter);
        Weight { value, gradient: Some(gradient) }
    }

    /// What is kept from step to step without being trained (running statistics).
    pub fn state(&mut self, name: &str, shape: &[usize], initial: Initial) -> TensorId {
        let value = self.tensor(name, shape, Extent::Whole, Role::State(initial));
        let (frozen, layer) = (self.is_frozen(), self.current);
        self.graph.kept.push(Kept { value, average: None, frozen, layer });
        value
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

    /// The gradient of an activation that this layer made: read it in the backward nodes. `None` if
    /// nothing is trained in this layer or before it, which then has no backward pass.
    ///
    /// # Panics
    /// If `activation` is no activation of this graph: a layer's programming error.
    pub fn gradient_of(&mut self, activation: TensorId) -> Option<TensorId> {
        let at = self.gradient_position(activation);
        if !self.trained[self.gradients[at].producer] {
            return None;
        }
        Some(match self.gradients[at].contributions.first() {
            Some(first) => *first,
            None => self.add_contribution(at),
        })
    }

    /// Where this layer writes the gradient of an input; `None` if nobody needs it: that of the
    /// images, and of whatever has no trained layer before it.
    pub fn gradient_for(&mut self, input: TensorId) -> Option<TensorId> {
        if !self.is_trained_up_to(input) {
            return None;
        }
        let at = self.gradient_position(input);
        let reserved = self.gradients[at].reserved;
        self.gradients[at].reserved += 1;
        match self.gradients[at].contributions.get(reserved) {
            Some(free) => Some(*free),
            None => Some(self.add_contribution(at)),
        }
    }

    /// Whether a tensor depends on trained weights.
    fn is_trained_up_to(&self, tensor: TensorId) -> bool {
        tensor != self.images() && {
            let producer = self.gradients[self.gradient_position(tensor)].producer;
            self.trained[producer]
        }
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

    fn op(&self, kernel: &'static Kernel, on: &[TensorId], constants: Constants) -> Node {
        op(&self.graph, self.current, kernel, on, constants)
    }

    /// Appends to the forward pass.
    pub fn forward(&mut self, kernel: &'static Kernel, on: &[TensorId], constants: Constants) {
        let node = self.op(kernel, on, constants);
        self.graph.forward.push(node.clone());
        self.graph.scoring.push(node);
    }

    /// Appends to the forward pass of training alone: what takes statistics of a batch.
    pub fn forward_training(
        &mut self,
        kernel: &'static Kernel,
        on: &[TensorId],
        constants: Constants,
    ) {
        let node = self.op(kernel, on, constants);
        self.graph.forward.push(node);
    }

    /// Appends to the forward pass of scoring alone: what stands in for that.
    pub fn forward_scoring(
        &mut self,
        kernel: &'static Kernel,
        on: &[TensorId],
        constants: Constants,
    ) {
        let node = self.op(kernel, on, constants);
        self.graph.scoring.push(node);
    }

    /// Appends an average over all adapters to the forward pass of training.
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

    /// Declares the class scores and the loss of each image.
    pub fn set_loss(&mut self, logits: TensorId, image_loss: TensorId) {
        self.graph.logits = Some(logits);
        self.graph.image_loss = Some(image_loss);
    }

    /// The loss of each image, once declared.
    pub fn image_loss(&self) -> Option<TensorId> {
        self.graph.image_loss
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

/// A use of a kernel, its tensors held against what the kernel declares.
pub(super) fn op(
    graph: &Graph,
    layer: usize,
    kernel: &'static Kernel,
    tensors: &[TensorId],
    constants: Constants,
) -> Node {
    let lengths = (kernel.lengths)(&constants);
    assert_eq!(kernel.bindings.len(), tensors.len(), "{}: bindings", kernel.name);
    for ((binding, id), length) in kernel.bindings.iter().zip(tensors).zip(lengths) {
        let tensor = graph.tensor(*id);
        let at = format!("{}: {} bound to {}", kernel.name, binding.name, tensor.name);
        assert_eq!(tensor.len(), length, "{at}: length");
        assert_eq!(tensor.dtype, binding.dtype, "{at}: dtype");
        let per_image = |extent| extent == Extent::PerImage;
        assert_eq!(per_image(tensor.extent), per_image(binding.extent), "{at}: extent");
    }
    Node::Run(Op { kernel, tensors: tensors.to_vec(), constants, layer })
}

#[cfg(test)]
mod tests {
    use super::*;

    static NOTHING: Kernel = Kernel {
        name: "nothing",
        about: "",
        bindings: &[],
        lengths: |_| Vec::new(),
        terms: |_, _| 1,
        variants: &[],
        cpu: |_| {},
        reference: |_| {},
        cases: Vec::new,
    };

    #[test]
    fn each_reader_of_an_activation_has_a_gradient_of_its_own() {
        let mut builder = GraphBuilder::new(&[2, 2, 3], 10, &NOTHING);
        builder.begin_layer("one", "one", &[builder.images()]);
        builder.parameter("weights", &[2], Initial::Constant(0.0), 0.0);
        let activation = builder.activation(&[4]);
        let sum = builder.gradient_of(activation);
        builder.end_layer(activation);
        builder.begin_layer("two", "two", &[activation]);
        // Twice the same input, before any node is there.
        let first = builder.gradient_for(activation);
        let second = builder.gradient_for(activation);
        assert!(first.is_some());
        assert_eq!(first, sum);
        assert_ne!(second, first);
        assert_ne!(builder.gradient_for(activation), second);
        assert_eq!(builder.gradient_of(activation), sum);
        assert_eq!(builder.gradient_for(builder.images()), None);
    }

    #[test]
    fn what_is_frozen_is_kept_and_asks_for_no_gradient() {
        let mut builder = GraphBuilder::new(&[2, 2, 3], 10, &NOTHING);
        let mut layer = |name, input: Option<TensorId>, freeze: Option<bool>| {
            let input = input.unwrap_or(builder.images());
            builder.begin_layer(name, "layer", &[input]);
            if freeze == Some(true) {
                builder.freeze_layer();
            }
            let weights = freeze
                .map(|_| builder.parameter("weights", &[3], Initial::TruncatedNormal(1.0), 0.1));
            let output = builder.activation(&[4]);
            let gradients = (builder.gradient_of(output), builder.gradient_for(input));
            builder.end_layer(output);
            (output, weights, [gradients.0.is_some(), gradients.1.is_some()])
        };
        let (first, frozen, needed) = layer("first", None, Some(true));
        assert_eq!(needed, [false, false]);
        assert!(frozen.expect("weights").gradient.is_none());
        let (plain, _, needed) = layer("plain", Some(first), None);
        assert_eq!(needed, [false, false]);
        let (trained, weights, needed) = layer("trained", Some(plain), Some(false));
        assert_eq!(needed, [true, false]);
        assert!(weights.expect("weights").gradient.is_some());
        // Behind a trained layer a frozen one hands its gradient on.
        let (_, frozen, needed) = layer("last", Some(trained), Some(true));
        assert_eq!(needed, [true, true]);
        assert!(frozen.expect("weights").gradient.is_none());
        let graph = builder.finish();
        let names = |ids: Vec<TensorId>| -> Vec<String> {
            ids.iter().map(|id| graph.tensor(*id).name.clone()).collect()
        };
        assert_eq!(
            names(graph.parameters.iter().map(|one| one.value).collect()),
            ["trained/weights"]
        );
        assert_eq!(names(graph.states().collect()), ["first/weights", "last/weights"]);
        assert!(graph.kept.iter().all(|kept| kept.frozen));
        assert_eq!((graph.parameter_count(), graph.frozen_count()), (3, 6));
    }
}
