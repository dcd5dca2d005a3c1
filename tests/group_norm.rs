//! Group normalisation in whole networks: images by themselves, in training and in scoring, however many
//! there are at once.

mod common;

use std::sync::Arc;

use compute::adapter::{Adapter, Limits, Lowering, Precise};
use compute::graph::{Graph, Phase};
use compute::kernel::Step;
use compute::precision::Precision;
use compute::session::Session;
use compute::verify::network::{fixed_batch, slopes};
use stages::model::compile::ListedLayer;
use stages::model::layer::Layer;
use stages::model::layers::{conv2d, dense, group_norm, relu, softmax_cross_entropy};
use stages::reducer::update::trainable;

const IMAGES: usize = 12;

fn listed<L: Layer + serde::de::DeserializeOwned>(kind: &'static str, json: &str) -> ListedLayer {
    let layer: L = serde_json::from_str(json).expect("valid fields");
    ListedLayer::of(kind, Arc::new(layer))
}

/// A normalisation of images and one of a dense layer's numbers, of which the first may be frozen.
fn graph(frozen: bool) -> Arc<Graph> {
    let conv = r#"{ "channels": 6, "kernel": 3, "weights": { "truncated_normal": 0.3 } }"#;
    let norm = r#"{ "groups": 2, "epsilon": 0.1, "scale": { "truncated_normal": 1.0 },
                    "offset": { "truncated_normal": 0.5 } }"#;
    let layers = [
        listed::<conv2d::Conv2d>("conv2d", conv),
        ListedLayer { trainable: !frozen, ..listed::<group_norm::GroupNorm>("group_norm", norm) },
        listed::<relu::Relu>("relu", "{}"),
        listed::<dense::Dense>("dense", r#"{ "units": 10 }"#),
        listed::<group_norm::GroupNorm>("group_norm", norm),
        listed::<softmax_cross_entropy::SoftmaxCrossEntropy>("softmax_cross_entropy", "{}"),
    ];
    Arc::new(trainable(&layers, [6, 5, 3], 10).expect("a valid network"))
}

/// All adapters of this machine.
fn adapters() -> Vec<Box<dyn Adapter>> {
    let mut all: Vec<Box<dyn Adapter>> = vec![Box::new(common::cpu(2))];
    all.extend(common::gpus().into_iter().map(|gpu| Box::new(gpu) as Box<dyn Adapter>));
    all
}

/// The gradients of a batch, by their names.
fn gradients(mut session: Session) -> Vec<(String, Vec<f32>)> {
    let graph = Arc::clone(session.graph());
    session.initialize(3).expect("weights are drawn");
    let batch = fixed_batch(&graph, IMAGES, 0).expect("a batch");
    session.gradient(&batch, &Step::of(IMAGES)).expect("it runs");
    let read = |parameter: &compute::graph::Parameter| {
        let name = graph.tensor(parameter.value).name.clone();
        (name, session.read(parameter.gradient).expect("a gradient"))
    };
    graph.parameters.iter().map(read).collect()
}

/// How far these are from what is expected, as a share of its length.
fn missed(found: &[f32], expected: &[f32]) -> f32 {
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    let apart = length(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    apart / length(&mut expected.iter().copied())
}

#[test]
fn an_image_is_scored_as_in_training_and_alone_as_among_others() {
    let mut observed = Graph::clone(&graph(false));
    let output = observed.find("group_norm2/activations").expect("the scores");
    observed.observe(output);
    let graph = Arc::new(observed);
    assert!(graph.kept.is_empty() && graph.all_reduced().is_none());
    for adapter in adapters() {
        let name = adapter.info().name.clone();
        let batch = fixed_batch(&graph, IMAGES, 0).expect("a batch");
        let mut session = Session::new(adapter.as_ref(), &graph, IMAGES).expect("it fits");
        session.initialize(3).expect("weights are drawn");
        session.train(&batch, &Step::of(IMAGES)).expect("a step");
        let trained = session.read(output).expect("the scores in training");
        let scored = session.score(&batch).expect("it scores").logits;
        assert!(missed(&trained, &scored) < 1e-6, "{name}: {}", missed(&trained, &scored));
        let mut alone = Session::new(adapter.as_ref(), &graph, 1).expect("it fits");
        alone.initialize(3).expect("weights are drawn");
        let one = fixed_batch(&graph, 1, 0).expect("a batch");
        let alone = alone.score(&one).expect("it scores").logits;
        assert!(missed(&alone, &scored[..10]) < 1e-5, "{name}");
    }
}

#[test]
fn a_batch_in_parts_has_the_gradients_of_the_whole() {
    let graph = graph(false);
    for adapter in adapters() {
        let whole = Session::new(adapter.as_ref(), &graph, IMAGES).expect("it fits");
        let limits = Limits { memory_bytes: Some(graph.bytes(5)), ..Limits::NONE };
        let parts = Session::within(adapter.as_ref(), &graph, Lowering::of(IMAGES), &limits);
        let parts = parts.expect("it fits in parts");
        assert_eq!(parts.micro_batch(), 4);
        for ((name, parts), (_, whole)) in gradients(parts).iter().zip(&gradients(whole)) {
            let missed = missed(parts, whole);
            assert!(missed < 1e-4, "{}: {name} misses by {missed}", adapter.info().name);
        }
    }
}

#[test]
fn thread_counts_change_no_bit() {
    let graph = graph(false);
    let of =
        |threads| gradients(Session::new(&common::cpu(threads), &graph, IMAGES).expect("it fits"));
    let one = of(1);
    for threads in [2, 3, 7] {
        assert_eq!(one, of(threads), "{threads} threads");
    }
}

#[test]
fn a_frozen_one_keeps_its_weights_and_hands_its_gradient_on() {
    let graph = graph(true);
    let own = graph.ops(Phase::Backward).filter(|op| graph.layers[op.layer].name == "group_norm1");
    let kernels: Vec<&str> = own.map(|op| op.kernel.name).collect();
    assert_eq!(kernels, ["group_norm_backward_input"]);
    let slopes = slopes(&graph, 3, 12).expect("the reference runs");
    let smooth: Vec<_> = slopes.iter().filter(|slope| slope.smooth).collect();
    assert!(2 * smooth.len() > slopes.len());
    for slope in smooth {
        let scale = slope.gradient.abs().max(slope.difference.abs()).max(1e-4);
        assert!((slope.gradient - slope.difference).abs() < 1e-3 * scale, "{slope:?}");
    }
}

/// In 16 bits gradients are scaled on the way.
#[test]
fn gradients_in_16_bits_are_those_of_f32_but_for_rounding() {
    let graph = graph(false);
    for adapter in common::gpus_in(Precision::F16) {
        let of = |adapter: &dyn Adapter| {
            gradients(Session::new(adapter, &graph, IMAGES).expect("it fits"))
        };
        let precise = Precise::new(&adapter, Precision::F16).expect("it offers it");
        for ((name, rounded), (_, exact)) in of(&precise).iter().zip(&of(&adapter)) {
            // A bias that is the same in all of a group has no gradient but rounding.
            let missed = missed(rounded, exact);
            assert!(missed < 0.1, "{}: {name} misses by {missed}", adapter.info().name);
        }
    }
}
