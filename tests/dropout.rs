//! Dropout in whole networks: neither batches nor adapters change what is dropped, and nothing is when
//! scoring.

mod common;

use std::sync::Arc;

use compute::adapter::{Adapter, Limits, Lowering};
use compute::graph::Graph;
use compute::kernel::Step;
use compute::session::Session;
use compute::verify::network;
use flow::item::Batch;
use stages::model::compile::ListedLayer;
use stages::model::layer::Layer;
use stages::model::layers::{dense, dropout, softmax_cross_entropy};
use stages::reducer::update::trainable;

const IMAGES: usize = 10;

fn listed<L: Layer + serde::de::DeserializeOwned>(kind: &'static str, json: &str) -> ListedLayer {
    let layer: L = serde_json::from_str(json).expect("valid fields");
    ListedLayer::of(kind, Arc::new(layer))
}

fn graph(rate: f64) -> Arc<Graph> {
    let layers = [
        listed::<dense::Dense>("dense", r#"{ "units": 33 }"#),
        listed::<dropout::Dropout>("dropout", &format!(r#"{{ "rate": {rate} }}"#)),
        listed::<dense::Dense>("dense", r#"{ "units": 10 }"#),
        listed::<softmax_cross_entropy::SoftmaxCrossEntropy>("softmax_cross_entropy", "{}"),
    ];
    Arc::new(trainable(&layers, [3, 2, 3], 10).expect("a valid network"))
}

fn batch(number: u64) -> Batch {
    network::fixed_batch(&graph(0.5), IMAGES, number).expect("a batch")
}

/// The gradients of a batch, taken in micro-batches of at most so many images.
fn gradients(adapter: &dyn Adapter, seed: u32, at_once: usize, number: u64) -> Vec<Vec<f32>> {
    let graph = graph(0.5);
    let limits = Limits { memory_bytes: Some(graph.bytes(at_once)), ..adapter.info().limits };
    let mut session =
        Session::within(adapter, &graph, Lowering::of(IMAGES), &limits).expect("it fits");
    session.initialize(1).expect("weights are drawn");
    let step = Step { seed, ..Step::of(IMAGES) };
    session.gradient(&batch(number), &step).expect("it runs");
    graph.parameters.iter().map(|p| session.read(p.gradient).expect("a gradient")).collect()
}

fn adapters() -> Vec<Box<dyn Adapter>> {
    let mut all: Vec<Box<dyn Adapter>> = vec![Box::new(common::cpu(2))];
    all.extend(common::gpus().into_iter().map(|gpu| Box::new(gpu) as Box<dyn Adapter>));
    all
}

fn are_close(one: &[Vec<f32>], other: &[Vec<f32>]) -> bool {
    one.iter().zip(other).all(|(one, other)| {
        let largest = one.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        one.iter().zip(other).all(|(a, b)| (a - b).abs() <= 1e-5 * largest)
    })
}

#[test]
fn the_same_is_dropped_on_every_adapter_in_batches_of_any_size() {
    let expected = gradients(&common::cpu(1), 7, IMAGES, 0);
    for adapter in adapters() {
        for at_once in [IMAGES, 4, 1] {
            let found = gradients(adapter.as_ref(), 7, at_once, 0);
            assert!(are_close(&expected, &found), "{}, {at_once} at once", adapter.info().name);
        }
        let other_seed = gradients(adapter.as_ref(), 8, IMAGES, 0);
        assert!(!are_close(&expected, &other_seed), "{}", adapter.info().name);
    }
}

#[test]
fn other_numbers_are_dropped_in_another_epoch() {
    let graph = graph(0.5);
    let mut session = Session::new(&common::cpu(1), &graph, IMAGES).expect("it fits");
    session.initialize(1).expect("weights are drawn");
    let mut gradient = |epoch: u64| {
        let mut batch = batch(0);
        batch.ids.iter_mut().for_each(|id| id.epoch = epoch);
        session.gradient(&batch, &Step::of(IMAGES)).expect("it runs");
        session.read(graph.parameters[0].gradient).expect("a gradient")
    };
    assert_ne!(gradient(0), gradient(1));
    assert_eq!(gradient(1), gradient(1));
}

#[test]
fn scores_are_those_of_a_network_without_it() {
    for adapter in adapters() {
        let scores = |rate| {
            let graph = Arc::new(graph(rate).inference());
            let mut session = Session::new(adapter.as_ref(), &graph, IMAGES).expect("it fits");
            session.initialize(1).expect("weights are drawn");
            session.score(&batch(0)).expect("scores").logits
        };
        assert_eq!(scores(0.9), scores(0.0), "{}", adapter.info().name);
    }
}
