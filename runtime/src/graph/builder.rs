//! Builds a [`Graph`].

use super::{Graph, Initial, Kept, LayerSummary, Node, Op, Parameter, Role, Tensor, TensorId};
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

    /// A value per image that later layers may read; its gradient is summed over them.
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

    /// What is kept from step to step without being trained (running statistics).
    pub fn state(&mut self, name: &str, shape: &[usize], initial: Initial) -> TensorId {
        let value = self.tensor(name, shape, Extent::Whole, Role::State(initial));
        self.graph.kept.push(Kept { value, average: None, layer: self.current });
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
        let reserved = self.gradients[at].reserved;
        self.gradients[at].reserved += 1;
        match self.gradients[at].contributions.get(reserved) {
            Some(free) => Some(*free),
            None => Some(self.add_contribution(at)),
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
        builder.begin_layer("one", "one");
        let activation = builder.activation(&[4]);
        let sum = builder.gradient_of(activation);
        builder.end_layer(activation);
        builder.begin_layer("two", "two");
        // Twice the same input, before any node is there.
        let first = builder.gradient_for(activation);
        let second = builder.gradient_for(activation);
        assert_eq!(first, Some(sum));
        assert_ne!(second, first);
        assert_ne!(builder.gradient_for(activation), second);
        assert_eq!(builder.gradient_of(activation), sum);
        assert_eq!(builder.gradient_for(builder.images()), None);
    }
}
