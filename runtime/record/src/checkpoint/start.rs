//! A run that begins with the weights of another one, as far as its layers are the same.

use compute::graph::TensorId;
use flow::item::Weights;

use super::Stored;

/// What a run that begins took from a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The layers whose weights were taken.
    pub layers: Vec<String>,
    /// The layers that begin anew, each with the first of its tensors that the checkpoint lacks or
    /// has in another shape.
    pub anew: Vec<String>,
    /// The weights in the checkpoint that no layer took, with their shapes.
    pub left: Vec<String>,
}

impl Stored {
    /// Puts the checkpoint's weights into those of a run that begins, layer by layer: a layer takes
    /// them if all its weights, and all that it keeps, are there by name and shape. Averages begin
    /// where the weights do; what optimisers keep is not touched.
    pub fn start(&self, weights: &mut Weights) -> Taken {
        let graph = weights.graph.clone();
        let mut taken = Taken::default();
        for (at, layer) in graph.layers.iter().enumerate() {
            let parameters = graph.parameters.iter().filter(|one| one.layer == at);
            let kept = graph.kept.iter().filter(|one| one.layer == at);
            let all: Vec<(TensorId, Option<TensorId>)> = parameters
                .map(|one| (one.value, Some(one.average)))
                .chain(kept.map(|one| (one.value, one.average)))
                .collect();
            if all.is_empty() {
                continue;
            }
            let misfit = all.iter().find_map(|(value, _)| {
                let tensor = graph.tensor(*value);
                let there = match self.find(&tensor.name) {
                    Some(stored) if stored.shape == tensor.shape => return None,
                    Some(stored) => format!("there {:?}", stored.shape),
                    None => "not there".to_owned(),
                };
                Some(format!("{} {:?} ({there})", tensor.name, tensor.shape))
            });
            if let Some(misfit) = misfit {
                taken.anew.push(misfit);
                continue;
            }
            for (value, average) in all {
                let Some(stored) = self.find(&graph.tensor(value).name) else { continue };
                for to in [Some(value), average].into_iter().flatten() {
                    if let Some(to) = values_of(weights, to) {
                        to.clone_from(&stored.values);
                    }
                }
            }
            taken.layers.push(layer.name.clone());
        }
        taken.left = self.left_by(&taken.layers);
        taken
    }

    /// The weights of other layers than these.
    fn left_by(&self, layers: &[String]) -> Vec<String> {
        let layer_of = |name: &str| name.rsplit_once('/').map(|(layer, _)| layer.to_owned());
        let left = self.tensors.iter().filter(|stored| {
            let layer = layer_of(&stored.name);
            self.is_weight(&stored.name) && layer.is_some_and(|layer| !layers.contains(&layer))
        });
        left.map(|stored| format!("{} {:?}", stored.name, stored.shape)).collect()
    }
}

/// The values of a weight, of an average, or of what is kept from step to step.
fn values_of(weights: &mut Weights, id: TensorId) -> Option<&mut Vec<f32>> {
    let graph = weights.graph.clone();
    if let Some(at) = graph.parameters.iter().position(|one| one.value == id) {
        return weights.raw.get_mut(at);
    }
    if let Some(at) = graph.parameters.iter().position(|one| one.average == id) {
        return weights.averages.get_mut(at);
    }
    let at = graph.states().position(|state| state == id)?;
    weights.states.get_mut(at)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::checkpoint::StoredTensor;
    use crate::checkpoint::tests::{about, weights};
    use compute::graph::{Graph, LayerSummary};

    fn with_layer(mut weights: Weights) -> Weights {
        let layer = LayerSummary {
            name: "one".to_owned(),
            kind: "dense",
            output: vec![2],
            tensor: TensorId(0),
            parameters: 4,
            frozen: false,
            multiply_adds: 0,
        };
        weights.graph = Arc::new(Graph { layers: vec![layer], ..Graph::clone(&weights.graph) });
        weights
    }

    fn stored(shape: &[usize], values: &[f32]) -> Stored {
        let tensor = |name: &str, values: &[f32]| StoredTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        let old = weights(7);
        Stored {
            about: about(),
            progress: old.progress,
            source: old.source.as_ref().clone(),
            tensors: vec![
                tensor("losses/average", &[9.0]),
                tensor("one/weights", values),
                tensor("one/weights/average", &vec![0.0; values.len()]),
            ],
        }
    }

    #[test]
    fn weights_and_averages_begin_with_the_weights_of_the_checkpoint() {
        let mut begun = with_layer(weights(0));
        let taken = stored(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).start(&mut begun);
        assert_eq!(taken, Taken { layers: vec!["one".to_owned()], ..Taken::default() });
        assert_eq!(begun.raw, [[1.0, 2.0, 3.0, 4.0]]);
        assert_eq!(begun.averages, begun.raw);
        assert_eq!(begun.states, [[0.1]]);
    }

    #[test]
    fn another_shape_is_told_and_nothing_taken() {
        let mut begun = with_layer(weights(0));
        let before = begun.averages.clone();
        let taken = stored(&[1, 2], &[1.0, 2.0]).start(&mut begun);
        assert_eq!(taken.layers, [""; 0]);
        assert_eq!(taken.anew, ["one/weights [2, 2] (there [1, 2])"]);
        assert_eq!(taken.left, ["one/weights [1, 2]"]);
        assert_eq!(begun.averages, before);
    }
}
