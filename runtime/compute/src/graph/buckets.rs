//! Gradients in the order in which they become final, in buckets that are worth a copy of their own.

use super::{Graph, Phase, TensorId};

/// Gradients that leave an adapter together, while it goes on with the backward phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// They are final once so many nodes of the backward phase have run.
    pub nodes: usize,
    /// The gradients, in the order in which they become final.
    pub tensors: Vec<TensorId>,
}

impl Graph {
    /// The gradients of all parameters, each once, in buckets of at least so many bytes. The last
    /// one may be smaller and ends with the backward phase: what no node writes is there as well.
    /// However large buckets are, one after the other they have the same gradients in the same order.
    pub fn buckets(&self, least_bytes: usize) -> Vec<Bucket> {
        let gradient = |index: usize| self.parameters[index].gradient;
        let bytes = |id: &TensorId| size_of::<f32>() * self.tensor(*id).len();
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut open = Bucket { nodes: 0, tensors: Vec::new() };
        for (index, nodes) in self.finals.iter().copied() {
            // What becomes final with the last one goes along with it.
            let full = open.tensors.iter().map(bytes).sum::<usize>() >= least_bytes;
            if full && nodes > open.nodes {
                buckets.push(std::mem::replace(&mut open, Bucket { nodes, tensors: Vec::new() }));
            }
            open.nodes = nodes;
            open.tensors.push(gradient(index));
        }
        let is_written = |index: &usize| self.finals.iter().any(|(known, _)| known == index);
        let never = (0..self.parameters.len()).filter(|index| !is_written(index)).map(gradient);
        open.tensors.extend(never);
        open.nodes = self.phase(Phase::Backward).len();
        buckets.push(open);
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Node, Parameter, Role, Tensor};
    use crate::kernel::{Dtype, Extent};

    /// Parameters with gradients of so many numbers: each becomes final after so many of 10 nodes.
    fn graph(gradients: &[(usize, Option<usize>)]) -> Graph {
        let tensor = |(len, _): &(usize, Option<usize>)| Tensor {
            name: String::new(),
            dtype: Dtype::Real,
            shape: vec![*len],
            extent: Extent::Summed,
            role: Role::ParameterGradient(TensorId(0)),
        };
        let parameter = |at| Parameter {
            value: TensorId(at),
            gradient: TensorId(at),
            average: TensorId(at),
            weight_decay: 0.0,
            layer: 0,
        };
        let finals =
            gradients.iter().enumerate().filter_map(|(at, (_, nodes))| Some((at, (*nodes)?)));
        let mut finals: Vec<(usize, usize)> = finals.collect();
        finals.sort_by_key(|(_, nodes)| *nodes);
        Graph {
            tensors: gradients.iter().map(tensor).collect(),
            backward: vec![Node::AllReduce(TensorId(0)); 10],
            parameters: (0..gradients.len()).map(parameter).collect(),
            finals,
            ..Graph::default()
        }
    }

    fn bucket(nodes: usize, tensors: &[usize]) -> Bucket {
        Bucket { nodes, tensors: tensors.iter().copied().map(TensorId).collect() }
    }

    #[test]
    fn buckets_are_filled_in_the_order_of_becoming_final() {
        let graph = graph(&[(5, Some(9)), (50, Some(7)), (100, Some(4)), (10, Some(2))]);
        // 40 and 400 bytes, then 200, then what is left.
        assert_eq!(graph.buckets(100), [bucket(4, &[3, 2]), bucket(7, &[1]), bucket(10, &[0])]);
        assert_eq!(graph.buckets(440), [bucket(4, &[3, 2]), bucket(10, &[1, 0])]);
        assert_eq!(graph.buckets(usize::MAX), [bucket(10, &[3, 2, 1, 0])]);
    }

    #[test]
    fn what_becomes_final_at_once_or_never_is_there_once() {
        let graph = graph(&[(8, None), (8, Some(5)), (8, Some(3)), (8, Some(5)), (8, Some(6))]);
        let expected = [bucket(3, &[2]), bucket(5, &[1, 3]), bucket(10, &[4, 0])];
        assert_eq!(graph.buckets(1), expected);
        assert_eq!(Graph::default().buckets(1), [bucket(0, &[])]);
    }
}
