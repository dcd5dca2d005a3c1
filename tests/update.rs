//! The update of a small network on every adapter, against the same arithmetic written plainly.

mod common;

use std::sync::Arc;

use compute::adapter::Adapter;
use compute::graph::{Graph, TensorId};
use compute::kernel::Step;
use compute::session::Session;
use compute::verify::network;
use config::decode::Problems;
use config::node::Path;
use config::yaml::Document;
use flow::item::{Batch, Label};
use flow::stage::Variant;
use stages::model::compile::{ListedLayer, compile};
use stages::model::layer::Layer;
use stages::model::layers::dense::Dense;
use stages::model::layers::softmax_cross_entropy::SoftmaxCrossEntropy;
use stages::optimizer::{self, Optimizer};
use stages::reducer::update::{Update, debiased};

const IMAGES: usize = 5;
const INPUTS: usize = 3 * 2 * 3;
const CLASSES: usize = 10;
const RATE: f32 = 0.05;

/// All adapters of this machine.
fn adapters() -> Vec<Box<dyn Adapter>> {
    let mut all: Vec<Box<dyn Adapter>> = vec![Box::new(common::cpu(2))];
    all.extend(common::gpus().into_iter().map(|gpu| Box::new(gpu) as Box<dyn Adapter>));
    all
}

/// An update; the optimiser written as YAML.
fn update(optimizer: &str, clip_norm: Option<f64>) -> Update {
    let document = Document::parse(optimizer).expect("YAML");
    let (kinds, mut problems) = (optimizer::all(), Problems::new());
    let chosen =
        Variant::choose(&kinds, "optimizer", document.node(), &Path::default(), &mut problems);
    Update { optimizer: Optimizer(chosen.expect("an optimiser")), clip_norm }
}

/// A matrix and biases, and the loss, with this decay and this smoothing.
fn graph(update: &Update, weight_decay: f64, label_smoothing: f64) -> Arc<Graph> {
    let dense: Dense = serde_json::from_str(&format!(
        r#"{{ "units": {CLASSES}, "weights": {{ "truncated_normal": 0.5 }},
              "biases": {{ "constant": 0.1 }}, "weight_decay": {weight_decay} }}"#
    ))
    .expect("valid fields");
    let listed = |kind, layer: Arc<dyn Layer>| ListedLayer::of(kind, layer);
    let layers = [
        listed("dense", Arc::new(dense)),
        listed("softmax_cross_entropy", Arc::new(SoftmaxCrossEntropy { label_smoothing })),
    ];
    let model = compile(&layers, [3, 2, 3], CLASSES).expect("a valid network");
    Arc::new(update.extend(model).expect("it has a loss"))
}

fn session(adapter: &dyn Adapter, graph: &Arc<Graph>) -> Session {
    let mut session = Session::new(adapter, graph, IMAGES).expect("it fits");
    session.initialize(1).expect("it takes weights");
    session
}

fn batch(graph: &Graph, number: u64) -> Batch {
    network::fixed_batch(graph, IMAGES, number).expect("a batch")
}

fn step(number: u32, learning_rate: f32) -> Step {
    Step { step: number, learning_rate, ..Step::of(IMAGES) }
}

fn read(session: &mut Session, tensor: TensorId) -> Vec<f64> {
    session.read(tensor).expect("it reads").into_iter().map(f64::from).collect()
}

/// The network in plain arithmetic.
struct Twin {
    /// The matrix and the biases.
    weights: [Vec<f64>; 2],
    /// Momentum, or the means of Adam and Lion.
    first: [Vec<f64>; 2],
    /// Adam's mean squares.
    second: [Vec<f64>; 2],
}

impl Twin {
    fn new(weights: [Vec<f64>; 2]) -> Self {
        let zeros = || [vec![0.0; INPUTS * CLASSES], vec![0.0; CLASSES]];
        Self { weights, first: zeros(), second: zeros() }
    }

    /// The gradient of the mean cross-entropy.
    fn gradients(&self, batch: &Batch, smoothing: f64) -> [Vec<f64>; 2] {
        let mut gradients = [vec![0.0; INPUTS * CLASSES], vec![0.0; CLASSES]];
        for (image, label) in batch.images.chunks(INPUTS).zip(&batch.labels) {
            let Label::Class(class) = label else { panic!("fixed batches have classes") };
            let logit = |to: usize| -> f64 {
                let products = image.iter().enumerate();
                let products =
                    products.map(|(i, x)| f64::from(*x) * self.weights[0][i * CLASSES + to]);
                self.weights[1][to] + products.sum::<f64>()
            };
            let powers: Vec<f64> = (0..CLASSES).map(|to| logit(to).exp()).collect();
            let sum: f64 = powers.iter().sum();
            for to in 0..CLASSES {
                let hot = f64::from(u8::from(to == *class as usize));
                let target = (1.0 - smoothing) * hot + smoothing / CLASSES as f64;
                let slope = (powers[to] / sum - target) / IMAGES as f64;
                gradients[1][to] += slope;
                for (i, x) in image.iter().enumerate() {
                    gradients[0][i * CLASSES + to] += f64::from(*x) * slope;
                }
            }
        }
        gradients
    }

    fn step(&mut self, batch: &Batch, number: u32, update: &Update, decay: f64, smoothing: f64) {
        let mut gradients = self.gradients(batch, smoothing);
        let decoupled = update.optimizer.decays();
        let optimizer = &update.optimizer.0;
        let fields = serde_json::to_value(optimizer.fields()).expect("JSON");
        if !decoupled {
            for (gradient, weight) in gradients[0].iter_mut().zip(&self.weights[0]) {
                *gradient += decay * weight;
            }
        }
        if let Some(most) = update.clip_norm {
            let norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
            gradients.iter_mut().flatten().for_each(|g| *g *= (most / norm).min(1.0));
        }
        let (rate, t) = (f64::from(RATE), f64::from(number) + 1.0);
        for (of, gradients) in gradients.iter().enumerate() {
            for (at, gradient) in gradients.iter().enumerate() {
                let (first, second) = (&mut self.first[of][at], &mut self.second[of][at]);
                let weight = &mut self.weights[of][at];
                match optimizer.name() {
                    "sgd" => *weight -= rate * gradient,
                    "momentum" => {
                        let momentum = fields["momentum"].as_f64().expect("a number");
                        *first = momentum * *first + gradient;
                        let ahead = momentum * *first + gradient;
                        let is_ahead = fields["nesterov"] == true;
                        *weight -= rate * if is_ahead { ahead } else { *first };
                    }
                    "adam" | "adamw" => {
                        if decoupled && of == 0 {
                            *weight -= rate * decay * *weight;
                        }
                        *first = 0.9 * *first + 0.1 * gradient;
                        *second = 0.999 * *second + 0.001 * gradient * gradient;
                        let mean = *first / (1.0 - 0.9_f64.powf(t));
                        let square = *second / (1.0 - 0.999_f64.powf(t));
                        *weight -= rate * mean / (square.sqrt() + 1e-8);
                    }
                    "lion" => {
                        let [beta1, beta2] =
                            ["beta1", "beta2"].map(|beta| fields[beta].as_f64().expect("a number"));
                        let mean = beta1 * *first + (1.0 - beta1) * gradient;
                        if of == 0 {
                            *weight -= rate * decay * *weight;
                        }
                        *weight -= rate * mean.signum();
                        *first = beta2 * *first + (1.0 - beta2) * gradient;
                    }
                    other => panic!("there is no twin of {other}"),
                }
            }
        }
    }
}

/// Steps with several kinds of update, of which the last are far into a run.
#[test]
fn every_update_does_what_plain_arithmetic_does() {
    let cases = [
        (r#"{ "sgd": {} }"#, None, 0.1, 0.0),
        (r#"{ "sgd": {} }"#, Some(0.3), 0.1, 0.0),
        (r#"{ "sgd": {} }"#, Some(1e6), 0.1, 0.3),
        (r#"{ "momentum": {} }"#, None, 0.1, 0.0),
        (r#"{ "momentum": { "momentum": 0.75, "nesterov": true } }"#, Some(0.5), 0.1, 0.1),
        (r#"{ "adam": {} }"#, None, 0.1, 0.0),
        (r#"{ "adamw": {} }"#, None, 0.4, 0.0),
        (r#"{ "adamw": {} }"#, Some(0.2), 0.4, 0.1),
        (r#"{ "lion": {} }"#, None, 0.4, 0.0),
        (r#"{ "lion": { "beta1": 0.5, "beta2": 0.75 } }"#, Some(0.2), 0.4, 0.1),
    ];
    for kind in optimizer::all() {
        assert!(cases.iter().any(|(text, ..)| text.contains(kind.name)), "no {}", kind.name);
    }
    for adapter in adapters() {
        let name = adapter.info().name.clone();
        for (optimizer, clip_norm, decay, smoothing) in cases {
            let update = update(optimizer, clip_norm);
            let graph = graph(&update, decay, smoothing);
            let mut session = session(adapter.as_ref(), &graph);
            let ids = [graph.parameters[0].value, graph.parameters[1].value];
            let mut twin = Twin::new(ids.map(|id| read(&mut session, id)));
            for number in [0, 1, 2, 3, 40, 5_000, 20_000_000] {
                let batch = batch(&graph, u64::from(number));
                session.train(&batch, &step(number, RATE)).expect("it trains");
                twin.step(&batch, number, &update, decay, smoothing);
            }
            for (id, expected) in ids.into_iter().zip(&twin.weights) {
                let actual = read(&mut session, id);
                let far = actual.iter().zip(expected).map(|(a, e)| (a - e).abs());
                let worst = far.fold(0.0, |worst: f64, far| {
                    // A weight that is no number is as far as can be.
                    if far.is_nan() { f64::INFINITY } else { worst.max(far) }
                });
                println!("{name}: {optimizer} {clip_norm:?}: {worst:.1e}");
                assert!(worst < 2e-6, "{name}: {optimizer}, clipped to {clip_norm:?}: {worst}");
            }
        }
    }
}

#[test]
fn gradients_within_the_norm_are_left_alone_and_longer_ones_are_cut_to_it() {
    let sgd = r#"{ "sgd": {} }"#;
    for adapter in adapters() {
        let gradients = |clip_norm| -> Vec<f64> {
            let graph = graph(&update(sgd, clip_norm), 0.1, 0.0);
            let mut session = session(adapter.as_ref(), &graph);
            session.train(&batch(&graph, 0), &step(0, RATE)).expect("it trains");
            graph.parameters.iter().flat_map(|p| read(&mut session, p.gradient)).collect()
        };
        let norm = |gradients: &[f64]| gradients.iter().map(|g| g * g).sum::<f64>().sqrt();
        let whole = gradients(None);
        assert!(norm(&whole) > 0.6, "there is something to cut");
        assert_eq!(gradients(Some(2.0 * norm(&whole))), whole);
        let cut = gradients(Some(0.25));
        assert!((norm(&cut) - 0.25).abs() < 1e-6, "{}", norm(&cut));
        let scale = 0.25 / norm(&whole);
        for (cut, whole) in cut.iter().zip(&whole) {
            assert!((cut - scale * whole).abs() < 1e-7);
        }
    }
}

#[test]
fn a_rate_of_0_keeps_every_bit_of_the_weights() {
    for adapter in adapters() {
        for optimizer in [
            r#"{ "sgd": {} }"#,
            r#"{ "momentum": {} }"#,
            r#"{ "momentum": { "nesterov": true } }"#,
            r#"{ "adamw": {} }"#,
            r#"{ "lion": {} }"#,
        ] {
            let graph = graph(&update(optimizer, None), 0.1, 0.0);
            let mut session = session(adapter.as_ref(), &graph);
            let bits = |session: &mut Session| -> Vec<u32> {
                let values = graph.parameters.iter().map(|p| session.read(p.value));
                let values = values.flat_map(|values| values.expect("it reads"));
                values.map(f32::to_bits).collect()
            };
            let before = bits(&mut session);
            for number in 0..3 {
                let batch = batch(&graph, u64::from(number));
                session.train(&batch, &step(number, 0.0)).expect("it trains");
            }
            assert_eq!(bits(&mut session), before, "{}: {optimizer}", adapter.info().name);
        }
    }
}

/// However little a step depends on how large a gradient is.
#[test]
fn a_gradient_that_is_not_finite_is_found_in_the_weights_of_the_same_step() {
    for adapter in adapters() {
        for optimizer in optimizer::all().iter().map(|kind| kind.name) {
            let graph = graph(&update(optimizer, None), 0.1, 0.0);
            let mut session = session(adapter.as_ref(), &graph);
            let biases = &graph.parameters[1];
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                session.initialize(1).expect("it starts anew");
                session.train(&batch(&graph, 0), &step(0, RATE)).expect("it trains");
                let mut gradients = session.read(biases.gradient).expect("it reads");
                gradients[CLASSES - 1] = wrong;
                session.write(biases.gradient, &gradients).expect("it takes gradients");
                session.update(&step(1, RATE)).expect("it updates");
                let found = session.outcome().expect("it reads").first_not_finite;
                let name = &adapter.info().name;
                assert_eq!(found, Some((1, biases.value)), "{name}: {optimizer}: {wrong}");
            }
        }
    }
}

#[test]
fn smoothed_labels_are_for_training_only() {
    let sgd = update(r#"{ "sgd": {} }"#, None);
    for adapter in adapters() {
        let [plain, smooth] = [0.0, 0.5].map(|smoothing| {
            let graph = graph(&sgd, 0.0, smoothing);
            let mut session = session(adapter.as_ref(), &graph);
            let batch = batch(&graph, 0);
            let scored = session.score(&batch).expect("it scores").image_loss;
            session.train(&batch, &step(0, 0.0)).expect("it trains");
            (scored, session.losses().expect("a loss")[0])
        });
        assert_eq!(plain.0, smooth.0);
        let mean = plain.0.iter().sum::<f32>() / IMAGES as f32;
        assert!((mean - plain.1).abs() < 1e-6, "{mean} {}", plain.1);
        assert!((plain.1 - smooth.1).abs() > 0.01, "{} {}", plain.1, smooth.1);
    }
}

#[test]
fn the_averages_of_the_losses_follow_all_their_terms() {
    let sgd = update(r#"{ "sgd": {} }"#, None);
    for adapter in adapters() {
        let graph = graph(&sgd, 0.1, 0.0);
        assert_eq!(graph.loss_terms, ["cross_entropy", "dense1/weights/loss"]);
        let mut session = session(adapter.as_ref(), &graph);
        assert_eq!(session.outcome().expect("they are kept").loss_averages, [0.0, 0.0]);
        let mut expected = [0.0; 2];
        for number in 0..4 {
            session.train(&batch(&graph, number), &step(number as u32, RATE)).expect("it trains");
            let losses = session.losses().expect("a loss");
            assert!(losses.iter().all(|loss| *loss > 0.1), "{losses:?}");
            for (average, loss) in expected.iter_mut().zip(&losses) {
                *average = 0.9 * *average + 0.1 * f64::from(*loss);
            }
            if number == 0 {
                let average = session.outcome().expect("they are kept").loss_averages[0];
                assert!((debiased(average.into(), 1) - f64::from(losses[0])).abs() < 1e-5);
            }
        }
        let actual = session.outcome().expect("they are kept").loss_averages;
        for (actual, expected) in actual.iter().zip(expected) {
            assert!((f64::from(*actual) - expected).abs() < 1e-6, "{actual} {expected}");
        }
    }
}

#[test]
fn an_outcome_is_that_of_the_step_it_was_begun_after() {
    let sgd = update(r#"{ "sgd": {} }"#, None);
    for adapter in adapters() {
        let graph = graph(&sgd, 0.1, 0.0);
        let losses = |begin_early: bool| {
            let mut session = session(adapter.as_ref(), &graph);
            session.train(&batch(&graph, 0), &step(0, RATE)).expect("it trains");
            if begin_early {
                // Forgotten, as another is begun.
                session.begin_outcome().expect("it begins");
                session.begin_outcome().expect("it begins");
            }
            session.train(&batch(&graph, 1), &step(1, RATE)).expect("it trains");
            if !begin_early {
                session.begin_outcome().expect("it begins");
            }
            let outcome = session.take_outcome().expect("it was begun");
            assert!(session.take_outcome().is_err(), "it was taken already");
            outcome.losses
        };
        let mut first = session(adapter.as_ref(), &graph);
        first.train(&batch(&graph, 0), &step(0, RATE)).expect("it trains");
        assert_eq!(losses(true), first.losses().expect("a loss"));
        assert_ne!(losses(true), losses(false));
    }
}

#[test]
fn the_first_number_that_is_none_is_found_with_its_step() {
    let sgd = update(r#"{ "sgd": {} }"#, None);
    for adapter in adapters() {
        let graph = graph(&sgd, 0.0, 0.0);
        let mut session = session(adapter.as_ref(), &graph);
        let [matrix, biases] = [0, 1].map(|at| graph.parameters[at].value);
        let good = [matrix, biases].map(|id| session.read(id).expect("it reads"));
        session.train(&batch(&graph, 0), &step(0, RATE)).expect("it trains");
        let found = |session: &mut Session| session.outcome().expect("it reads").first_not_finite;
        assert_eq!(found(&mut session), None);
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            // The last bias, and two steps later the matrix as well.
            let mut bad = good.clone();
            bad[1][CLASSES - 1] = wrong;
            session.write(biases, &bad[1]).expect("it takes weights");
            session.update(&step(7, 0.0)).expect("it updates");
            assert_eq!(found(&mut session), Some((7, biases)), "{wrong}");
            bad[0][100] = wrong;
            session.write(matrix, &bad[0]).expect("it takes weights");
            session.update(&step(9, 0.0)).expect("it updates");
            assert_eq!(found(&mut session), Some((7, biases)), "{wrong}");
            // Of two in one step it is the first.
            session.clear_flags().expect("it forgets");
            assert_eq!(found(&mut session), None);
            session.update(&step(11, 0.0)).expect("it updates");
            assert_eq!(found(&mut session), Some((11, matrix)), "{wrong}");
            session.initialize(1).expect("it starts anew");
            assert_eq!(found(&mut session), None);
        }
        // Finite weights of which the loss is none.
        session.write(matrix, &[f32::MAX; INPUTS * CLASSES]).expect("it takes weights");
        session.train(&batch(&graph, 0), &step(3, 0.0)).expect("it trains");
        assert_eq!(found(&mut session), graph.losses.map(|losses| (3, losses)));
    }
}
