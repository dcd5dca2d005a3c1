//! Adds to a compiled model what the owner of its weights does with the gradients.

use super::builder::op;
use super::{Graph, Initial, Kept, Node, Parameter, Role, Tensor, TensorId};
use crate::kernel::{Constants, Dtype, Extent, Kernel};

/// A compiled model to which the terms of its loss and its update are added.
///
/// The forward and the backward pass stay as they are. Tensors are named in full.
#[derive(Debug)]
pub struct Extension {
    graph: Graph,
    current: usize,
}

impl Graph {
    /// Begins to add the update; what follows belongs to the last layer until
    /// [`Extension::select_layer`] says otherwise.
    pub fn extend(self) -> Extension {
        let current = self.layers.len().saturating_sub(1);
        Extension { graph: self, current }
    }
}

impl Extension {
    /// What follows belongs to this layer.
    pub fn select_layer(&mut self, layer: usize) {
        self.current = layer;
    }

    /// The trained tensors, in layer order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.graph.parameters
    }

    /// What the layers keep and change, in layer order.
    pub fn changing(&self) -> impl Iterator<Item = &Kept> {
        self.graph.kept.iter().filter(|kept| !kept.frozen)
    }

    /// The moving average of what a layer keeps. It begins where the numbers do.
    pub fn average_of_kept(&mut self, value: TensorId) -> TensorId {
        let Tensor { name, shape, role, .. } = self.graph.tensor(value).clone();
        let id = self.tensor(format!("{name}/average"), &shape, Extent::Whole, role);
        for kept in self.graph.kept.iter_mut().filter(|kept| kept.value == value) {
            kept.average = Some(id);
        }
        id
    }

    /// The loss of each image, if the model has a loss.
    pub fn image_loss(&self) -> Option<TensorId> {
        self.graph.image_loss
    }

    /// The name of a tensor.
    pub fn name(&self, id: TensorId) -> &str {
        &self.graph.tensor(id).name
    }

    /// The elements of a tensor, of one image where it has some for each.
    pub fn len(&self, id: TensorId) -> usize {
        self.graph.tensor(id).len()
    }

    fn tensor(&mut self, name: String, shape: &[usize], extent: Extent, role: Role) -> TensorId {
        let dtype = if role == Role::Flags { Dtype::Index } else { Dtype::Real };
        self.graph.tensors.push(Tensor { name, dtype, shape: shape.to_vec(), extent, role });
        TensorId(self.graph.tensors.len() - 1)
    }

    /// What is kept from step to step for a parameter, in its shape: `conv1/weights/momentum`.
    pub fn state_of(&mut self, parameter: &Parameter, name: &str) -> TensorId {
        let shape = self.graph.tensor(parameter.value).shape.clone();
        let name = format!("{}/{name}", self.name(parameter.value));
        self.tensor(name, &shape, Extent::Whole, Role::State(Initial::Constant(0.0)))
    }

    /// Workspace of this many numbers.
    pub fn partial(&mut self, name: String, length: usize) -> TensorId {
        self.tensor(name, &[length], Extent::Summed, Role::Partial)
    }

    /// The terms of the loss, one number each; the cross-entropy is the first.
    pub fn losses(&mut self, terms: Vec<String>) -> TensorId {
        let id = self.tensor("losses".to_owned(), &[terms.len()], Extent::Summed, Role::Losses);
        self.graph.loss_terms = terms;
        self.graph.losses = Some(id);
        id
    }

    /// The moving averages of these losses, 0 at first.
    pub fn loss_averages(&mut self, losses: TensorId) -> TensorId {
        let (name, length) = (format!("{}/average", self.name(losses)), self.len(losses));
        let id = self.tensor(name, &[length], Extent::Whole, Role::State(Initial::Constant(0.0)));
        self.graph.loss_averages = Some(id);
        id
    }

    /// Where numbers that are not finite are noted: of each of these tensors, in so many stretches.
    pub fn flags(&mut self, watched: &[(TensorId, usize)]) -> TensorId {
        let mut end = 0;
        for (tensor, stretches) in watched {
            self.graph.flagged.push((*tensor, end..end + stretches));
            end += stretches;
        }
        let id = self.tensor("flags".to_owned(), &[end], Extent::Whole, Role::Flags);
        self.graph.flags = Some(id);
        id
    }

    fn op(&self, kernel: &'static Kernel, on: &[TensorId], constants: Constants) -> Node {
        op(&self.graph, self.current, kernel, on, constants)
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

    /// The model with all that was added.
    pub fn finish(self) -> Graph {
        self.graph
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_lie_one_after_the_other() {
        let mut extension = Graph::default().extend();
        let losses = extension.losses(vec!["cross_entropy".to_owned()]);
        let averages = extension.loss_averages(losses);
        let flags = extension.flags(&[(losses, 1), (averages, 3)]);
        let graph = extension.finish();
        assert_eq!(graph.flags, Some(flags));
        assert_eq!(graph.flagged, [(losses, 0..1), (averages, 1..4)]);
        assert_eq!(graph.tensor(flags).len(), 4);
        assert_eq!(graph.tensor(flags).dtype, Dtype::Index);
        assert_eq!(graph.tensor(averages).name, "losses/average");
        assert_eq!(graph.states().collect::<Vec<_>>(), [averages]);
    }
}
