//! What is remarked on a model's layers beside each other.

use compute::graph::Graph;
use flow::lint::Note;
use flow::stage::Mismatch;

use super::compile::{ListedLayer, name_of};
use super::layer::Linearity;
use crate::lints::LINEAR_LAYERS;

/// The notes on these layers, which this graph was made of.
pub(super) fn remarks(layers: &[ListedLayer], graph: &Graph) -> Vec<Note> {
    let inputs = inputs(layers);
    let mut found = before_loss(layers, &inputs);
    let readers = |of: usize| inputs.iter().filter(|inputs| inputs.contains(&Some(of))).count();
    for (at, listed) in layers.iter().enumerate() {
        if listed.layer.linearity() != Linearity::Mixes {
            continue;
        }
        let Some(first) = linear_before(layers, &inputs, &readers, at) else { continue };
        let sizes = [inputs[first].first().copied().flatten(), Some(first), Some(at)]
            .map(|layer| channels(graph, layer, layers[first].layer.is_dense()));
        let [into, between, out] = sizes;
        // Fewer than either side has is a bottleneck, and one layer would have more weights.
        if between < into.min(out) {
            continue;
        }
        let [one, other] = [first, at].map(|layer| name_of(&layers[layer], layers, layer));
        let message = format!(
            "nothing nonlinear is between `{one}` and `{other}`: together they are a single linear \
             layer"
        );
        let note = LINEAR_LAYERS.note(Mismatch::new(message).help("add `relu: {}` between them"));
        found.push(at_layer(note, layers, at));
    }
    found
}

fn at_layer(note: Note, layers: &[ListedLayer], at: usize) -> Note {
    let what = note.what.below(&["layers", &at.to_string(), layers[at].kind]);
    Note { what, ..note }
}

/// The layers that each layer reads; `None` for the images.
fn inputs(layers: &[ListedLayer]) -> Vec<Vec<Option<usize>>> {
    let names: Vec<String> = (0..layers.len()).map(|at| name_of(&layers[at], layers, at)).collect();
    let of = |(at, listed): (usize, &ListedLayer)| match &listed.from {
        None => vec![at.checked_sub(1)],
        Some(from) => {
            let find = |name: &String| names[..at].iter().position(|known| known == name);
            from.iter().map(find).collect()
        }
    };
    layers.iter().enumerate().map(of).collect()
}

/// The channels of what a layer puts out, or of the images; all numbers for a layer that sees no
/// channels.
fn channels(graph: &Graph, layer: Option<usize>, all: bool) -> usize {
    let shape = match layer {
        Some(layer) => &graph.layers[layer].output,
        None => match graph.images {
            Some(images) => &graph.tensor(images).shape,
            None => return 0,
        },
    };
    if all { shape.iter().product() } else { shape.last().copied().unwrap_or(1) }
}

/// The layer with weights that comes before this one with nothing nonlinear between, if it is there
/// for this one alone.
fn linear_before(
    layers: &[ListedLayer],
    inputs: &[Vec<Option<usize>>],
    readers: &impl Fn(usize) -> usize,
    layer: usize,
) -> Option<usize> {
    let mut at = layer;
    loop {
        let [Some(before)] = inputs[at][..] else { return None };
        if readers(before) > 1 {
            return None;
        }
        match layers[before].layer.linearity() {
            Linearity::Nonlinear => return None,
            Linearity::Keeps => at = before,
            // What is frozen is not there to be one with another.
            Linearity::Mixes => return layers[before].trainable.then_some(before),
        }
    }
}

/// What is said of the layers whose output the loss takes for scores.
fn before_loss(layers: &[ListedLayer], inputs: &[Vec<Option<usize>>]) -> Vec<Note> {
    let mut found = Vec::new();
    let Some(mut at) = layers.len().checked_sub(1) else { return found };
    while let [Some(before)] = inputs[at][..] {
        let Some((lint, message)) = layers[before].layer.before_loss() else { break };
        let note = lint.note(Mismatch::new(message).help("leave it out"));
        found.push(at_layer(note, layers, before));
        if layers[before].layer.linearity() == Linearity::Nonlinear {
            break;
        }
        at = before;
    }
    found
}
