//! Batch normalisation in whole networks: what is kept in training and taken in scoring, several
//! adapters against one, and batches that do not fit.

mod common;

use std::sync::Arc;

use compute::adapter::forms::Forms;
use compute::adapter::{Adapter, Limits, Lowering, Precise};
use compute::graph::{Graph, Phase, TensorId};
use compute::job::Lane;
use compute::kernel::Step;
use compute::precision::Precision;
use compute::session::Session;
use compute::towers::{Lost, OnLoss, Rules, Towers, Watch};
use compute::verify::network;
use config::diagnostic;
use flow::item::{Batch, Progress, Weights};
use flow::plan::Plan;
use flow::reports::Change;
use flow::stage::RunSettings;
use stages::model::compile::ListedLayer;
use stages::model::layer::Layer;
use stages::model::layers::{add, batch_norm, conv2d, dense, relu, softmax_cross_entropy};
use stages::model::score::Score;
use stages::reducer::update::trainable;

const IMAGES: usize = 12;

fn listed<L: Layer + serde::de::DeserializeOwned>(
    name: &str,
    kind: &'static str,
    json: &str,
) -> ListedLayer {
    let layer: L = serde_json::from_str(json).expect("valid fields");
    ListedLayer { name: Some(name.to_owned()), ..ListedLayer::of(kind, Arc::new(layer)) }
}

/// A small residual network; `norm` are the fields of its normalisations.
fn layers(norm: &str) -> Vec<ListedLayer> {
    let conv = r#"{ "channels": 5, "kernel": 3, "weights": { "truncated_normal": 0.3 } }"#;
    let sum = ListedLayer {
        from: Some(vec!["relu1".to_owned(), "norm2".to_owned()]),
        ..listed::<add::Add>("sum", "add", "{}")
    };
    vec![
        listed::<conv2d::Conv2d>("conv1", "conv2d", conv),
        listed::<batch_norm::BatchNorm>("norm1", "batch_norm", norm),
        listed::<relu::Relu>("relu1", "relu", "{}"),
        listed::<conv2d::Conv2d>("conv2", "conv2d", conv),
        listed::<batch_norm::BatchNorm>("norm2", "batch_norm", norm),
        sum,
        listed::<relu::Relu>("relu2", "relu", "{}"),
        listed::<dense::Dense>("dense", "dense", r#"{ "units": 10 }"#),
        listed::<batch_norm::BatchNorm>("norm3", "batch_norm", norm),
        listed::<softmax_cross_entropy::SoftmaxCrossEntropy>("loss", "softmax_cross_entropy", "{}"),
    ]
}

fn graph(norm: &str) -> Arc<Graph> {
    Arc::new(trainable(&layers(norm), [6, 5, 3], 10).expect("a valid network"))
}

fn batch(graph: &Graph, number: u32) -> Arc<Batch> {
    Arc::new(network::fixed_batch(graph, IMAGES, number.into()).expect("a batch"))
}

fn step(number: u32) -> Step {
    Step { step: number, learning_rate: 0.05, average_decay: 0.5, ..Step::of(IMAGES) }
}

/// All adapters of this machine.
fn adapters() -> Vec<Arc<dyn Adapter>> {
    let mut all: Vec<Arc<dyn Adapter>> = vec![Arc::new(common::cpu(0))];
    all.extend(common::gpus().into_iter().map(|gpu| Arc::new(gpu) as Arc<dyn Adapter>));
    all
}

fn trained(adapter: &dyn Adapter, graph: &Arc<Graph>, steps: u32) -> Session {
    let mut session = Session::new(adapter, graph, IMAGES).expect("it fits");
    session.initialize(3).expect("weights are drawn");
    for number in 0..steps {
        session.train(&batch(graph, number), &step(number)).expect("a step");
    }
    session
}

/// Weights, gradients, losses, what the layers keep, and the averages of both.
fn numbers(session: &mut Session) -> Vec<(String, Vec<f32>)> {
    let graph = Arc::clone(session.graph());
    let parameters = graph.parameters.iter().flat_map(|p| [p.value, p.average, p.gradient]);
    let kept = graph.kept.iter().flat_map(|kept| [Some(kept.value), kept.average]);
    let ids: Vec<TensorId> = parameters.chain(kept.flatten()).chain(graph.losses).collect();
    let read =
        |id: TensorId| (graph.tensor(id).name.clone(), session.read(id).expect("it is read"));
    ids.into_iter().map(read).collect()
}

fn read(session: &mut Session, name: &str) -> Vec<f32> {
    let id = session.graph().find(name).unwrap_or_else(|| panic!("there is no {name}"));
    session.read(id).expect("it is read")
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= bound * largest.max(1e-3), "{what}: {a}, not {b} of {largest}");
    }
}

#[test]
fn running_statistics_are_those_of_the_batches_by_plain_arithmetic() {
    let mut graph = Graph::clone(&graph(r#"{ "momentum": 0.25 }"#));
    let output = graph.find("conv1/activations").expect("the convolution's output");
    graph.observe(output);
    let graph = Arc::new(graph);
    for adapter in adapters() {
        let name = &adapter.info().name;
        let mut session = trained(adapter.as_ref(), &graph, 1);
        let values = session.read(output).expect("it is read");
        let count = (values.len() / 5) as f64;
        for channel in 0..5 {
            let of_channel = || values.iter().skip(channel).step_by(5).map(|x| f64::from(*x));
            let mean = of_channel().sum::<f64>() / count;
            let squares: f64 = of_channel().map(|x| (x - mean).powi(2)).sum();
            let expected = [0.25 * mean, 0.75 + 0.25 * squares / (count - 1.0)];
            let found = ["norm1/running_mean", "norm1/running_variance"]
                .map(|name| f64::from(read(&mut session, name)[channel]));
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{name}: {found}, not {expected}");
            }
        }
        // The average that goes with the weights' begins where the statistics do.
        let (now, average) = (
            read(&mut session, "norm1/running_variance"),
            read(&mut session, "norm1/running_variance/average"),
        );
        let halfway: Vec<f32> = now.iter().map(|now| 0.5 + 0.5 * now).collect();
        assert_close(&average, &halfway, 1e-6, name);
    }
}

#[test]
fn scores_take_what_was_kept_and_not_the_other_images() {
    let graph = graph("{}");
    for adapter in adapters() {
        let mut session = trained(adapter.as_ref(), &graph, 3);
        let scoring = Arc::new(graph.inference());
        assert!(scoring.all_reduced().is_none());
        assert!(!scoring.ops(Phase::Forward).any(|op| op.kernel.name == "batch_norm_statistics"));
        let mut scores = |images: usize| {
            let mut alone = Session::new(adapter.as_ref(), &scoring, images).expect("it fits");
            for (name, values) in numbers(&mut session) {
                if let Some(id) = scoring.find(&name) {
                    alone.write(id, &values).expect("it is written");
                }
            }
            alone.score(&batch(&graph, 9)).expect("scores").logits
        };
        // Together and one by one.
        assert_close(&scores(1), &scores(IMAGES), 1e-5, &adapter.info().name);
    }
}

/// Weights as a reducer hands them on.
fn weights(session: &mut Session, graph: &Arc<Graph>) -> Weights {
    let mut of = |id: TensorId| session.read(id).expect("it is read");
    let batch = batch(graph, 0);
    Weights {
        progress: Progress::default(),
        source: Arc::clone(&batch.source),
        raw: graph.parameters.iter().map(|p| of(p.value)).collect(),
        averages: graph.parameters.iter().map(|p| of(p.average)).collect(),
        states: graph.states().map(&mut of).collect(),
        graph: Arc::clone(graph),
    }
}

#[test]
fn averaged_weights_are_scored_with_averaged_statistics() {
    let graph = graph("{}");
    let cpu = common::cpu(1);
    let mut session = trained(&cpu, &graph, 4);
    let weights = weights(&mut session, &graph);
    for averaged in [false, true] {
        let mut score = Score::new(&cpu, &graph, Lowering::of(IMAGES), averaged).expect("it fits");
        score.load(&weights).expect("they belong to the model");
        let suffix = if averaged { "/average" } else { "" };
        for name in ["norm1/running_mean", "norm3/running_variance", "norm2/scale"] {
            let expected = read(&mut session, &format!("{name}{suffix}"));
            assert_eq!(score.read(name), Some(expected), "{name}, averaged: {averaged}");
        }
    }
}

#[test]
fn thread_counts_change_no_bit() {
    let graph = graph("{}");
    let one = numbers(&mut trained(&common::cpu(1), &graph, 3));
    for threads in [2, 3, 7] {
        assert_eq!(one, numbers(&mut trained(&common::cpu(threads), &graph, 3)), "{threads}");
    }
}

struct Untold;

impl Watch for Untold {
    fn shares(&mut self, _: &Change) -> bool {
        true
    }

    fn lost(&mut self, lost: &Lost) {
        panic!("{lost}");
    }
}

/// What several adapters come to, of which each takes these shares.
fn together(
    adapters: &[Arc<dyn Adapter>],
    graph: &Arc<Graph>,
    shares: &[usize],
    steps: u32,
) -> Vec<(String, Vec<f32>)> {
    let named = shares.iter().enumerate().map(|(at, n)| (format!("tower_{at}"), *n));
    let rules = Rules {
        follow_speed: false,
        given: vec![Change { step: 0, shares: named.collect() }],
        on_loss: OnLoss::Stop,
        forms: Forms::default(),
        watch: Box::new(Untold),
        lane: Lane::default(),
        bucket_bytes: 1,
    };
    let each: Vec<&dyn Adapter> = adapters.iter().map(AsRef::as_ref).collect();
    let mut towers =
        Towers::new(&each, &common::cpu(1), graph, IMAGES, rules).expect("all take the model");
    towers.initialize(3).expect("weights are drawn");
    for number in 0..steps {
        towers.train(&batch(graph, number), &step(number)).expect("a step");
    }
    towers.ask(|holder| Ok(numbers(holder))).expect("it is read")
}

#[test]
fn several_adapters_take_the_statistics_of_one() {
    let graph = graph("{}");
    let alone = numbers(&mut trained(&common::cpu(1), &graph, 1));
    let all = adapters();
    let cpus: Vec<Arc<dyn Adapter>> = (0..3).map(|_| Arc::clone(&all[0])).collect();
    let mut cases = vec![
        (cpus[..2].to_vec(), vec![6, 6]),
        (cpus.clone(), vec![4, 4, 4]),
        (cpus.clone(), vec![1, 9, 2]),
        (cpus, vec![0, 5, 7]),
    ];
    cases.extend(
        all[1..].iter().map(|gpu| (vec![Arc::clone(gpu), Arc::clone(&all[0])], vec![7, 5])),
    );
    for (adapters, shares) in cases {
        let once = together(&adapters, &graph, &shares, 1);
        for ((name, found), (_, expected)) in once.iter().zip(&alone) {
            // A bias before a normalisation has no gradient but rounding.
            if !name.ends_with("biases/gradients") {
                assert_close(found, expected, 2e-5, &format!("{shares:?}: {name}"));
            }
        }
        let twice = [(); 2].map(|()| together(&adapters, &graph, &shares, 3));
        assert_eq!(twice[0], twice[1], "other bits for the same adapters");
    }
}

#[test]
fn without_sync_each_adapter_takes_statistics_of_its_own() {
    let (synced, own) = (graph("{}"), graph(r#"{ "sync": false }"#));
    assert!(synced.all_reduced().is_some() && own.all_reduced().is_none());
    let cpu: Arc<dyn Adapter> = Arc::new(common::cpu(1));
    let cpus = vec![Arc::clone(&cpu); 2];
    let alone = numbers(&mut trained(cpu.as_ref(), &own, 2));
    assert_eq!(alone, numbers(&mut trained(cpu.as_ref(), &synced, 2)), "alone it is all the same");
    let apart = together(&cpus, &own, &[6, 6], 2);
    let of = |numbers: &[(String, Vec<f32>)], name: &str| {
        numbers.iter().find(|(known, _)| known == name).expect("it is there").1.clone()
    };
    let mean = "norm1/running_mean";
    assert_ne!(of(&apart, mean), of(&together(&cpus, &synced, &[6, 6], 2), mean));
    assert_eq!(apart, together(&cpus, &own, &[6, 6], 2), "other bits for the same adapters");
}

#[test]
fn check_says_what_it_means_to_be_without_sync() {
    let kinds = stages::kinds(&stages::Catalog::default());
    let pipeline = |norm: &str| {
        format!(
            "
steps: 1
stages:
  read: {{ reader: {{ format: {{ synthetic: {{ train: 64 }} }}, split: train }} }}
  batch: {{ from: read, batcher: {{ size: 8 }} }}
  gradients:
    from: batch
    model: {{ layers: [ {{ batch_norm: {norm} }}, {{ dense: {{ units: 10 }} }},
                        {{ softmax_cross_entropy: {{}} }} ] }}
  train: {{ from: gradients, reducer: {{}} }}
"
        )
    };
    let warnings = |norm: &str| {
        let text = pipeline(norm);
        let loaded = Plan::load(&kinds, "net.yaml", &text, &[], &RunSettings::default());
        let (_, warnings) = loaded.expect("a valid pipeline");
        diagnostic::render(&warnings, false)
    };
    assert!(!warnings("{}").contains("warning"));
    let told = warnings("{ sync: false }");
    for part in ["each adapter takes statistics of its own", "net.yaml:8:", "sync"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_batch_that_does_not_fit_is_refused_unless_its_parts_are_asked_for() {
    let cpu = common::cpu(1);
    let within = |graph: &Arc<Graph>| {
        let limits = Limits { memory_bytes: Some(graph.bytes(7)), ..Limits::NONE };
        Session::within(&cpu, graph, Lowering::of(IMAGES), &limits).map(|s| s.micro_batch())
    };
    let refused = within(&graph("{}")).expect_err("it does not fit");
    let refused = format!("{refused:#}");
    for part in ["norm1/mean is taken over a whole batch", "of its 12 images only 7", "sync: false"]
    {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(within(&graph(r#"{ "sync": false }"#)).expect("in parts"), 6);
    // Scoring takes no statistics.
    assert_eq!(within(&Arc::new(graph("{}").inference())).expect("in parts"), 6);
}

/// In 16 bits gradients are scaled on the way; means of them are not.
#[test]
fn gradients_in_16_bits_are_those_of_f32_but_for_rounding() {
    let graph = graph("{}");
    for adapter in common::gpus_in(Precision::F16) {
        let exact = numbers(&mut trained(&adapter, &graph, 1));
        let name = adapter.info().name.clone();
        let precise = Precise::new(&adapter, Precision::F16).expect("it offers it");
        let rounded = numbers(&mut trained(&precise, &graph, 1));
        for ((what, exact), (_, rounded)) in exact.iter().zip(&rounded) {
            if what.ends_with("/gradients") && !what.contains("biases") {
                let norm = |values: &mut dyn Iterator<Item = f32>| -> f32 {
                    values.map(|value| value * value).sum::<f32>().sqrt()
                };
                let missed = norm(&mut exact.iter().zip(rounded).map(|(a, b)| a - b));
                let size = norm(&mut exact.iter().copied());
                // Rectifiers near 0 pass all of a gradient or nothing.
                assert!(missed < 0.1 * size, "{name}: {what} misses by {missed} of {size}");
            }
        }
    }
}
