//! Training in 16 bits with f32 weights, on every adapter and in every precision that it offers.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::sync::Arc;

use compute::adapter::{Adapter, F16_LOSS_SCALE, Precise, select};
use compute::graph::{Graph, Role, TensorId};
use compute::kernel::Step;
use compute::precision::Precision;
use compute::session::Session;
use compute::verify::network;
use runs::{PIPELINE, Place, STEPS, assert_end_alike};
use stages::model::golden;

/// Images of a batch: as many as the tutorial's.
const IMAGES: usize = 128;

/// All adapters with their numbers, and what each offers beside f32; or a skip.
fn offered() -> Vec<(usize, Box<dyn Adapter>, Precision)> {
    let numbers = 0..select::all().expect("the adapters").len();
    let mut offered = Vec::new();
    for number in numbers {
        let one = || select::select(&number.to_string()).expect("an adapter by its number");
        let precisions = one().info().precisions.clone();
        assert_eq!(precisions.first(), Some(&Precision::F32));
        offered.extend(precisions[1..].iter().map(|precision| (number, one(), *precision)));
    }
    if offered.is_empty() {
        common::skip("adapter with 16 bits");
    }
    offered
}

fn tutorial() -> Arc<Graph> {
    golden::graph().expect("the tutorial's network compiles")
}

/// The gradients of all parameters for a batch.
fn gradients(adapter: &dyn Adapter, graph: &Arc<Graph>) -> Vec<Vec<f32>> {
    let mut session = Session::new(adapter, graph, IMAGES).expect("it fits");
    session.initialize(1).expect("it takes weights");
    let batch = network::fixed_batch(graph, IMAGES, 0).expect("a batch");
    session.gradient(&batch, &Step::of(IMAGES)).expect("it runs");
    let read = |parameter: &compute::graph::Parameter| session.read(parameter.gradient);
    graph.parameters.iter().map(read).collect::<Result<_, _>>().expect("gradients")
}

#[test]
fn gradients_are_those_of_f32_but_for_rounding() {
    let graph = tutorial();
    for (_, adapter, precision) in offered() {
        let name = format!("{} in {precision}", adapter.info().name);
        let exact = gradients(adapter.as_ref(), &graph);
        let precise = Precise::new(adapter, precision).expect("it offers it");
        for (at, (exact, rounded)) in exact.iter().zip(gradients(&precise, &graph)).enumerate() {
            let square = |sum: f64, number: f64| sum + number * number;
            let size = exact.iter().map(|g| f64::from(*g)).fold(0.0, square).sqrt();
            let missed = exact.iter().zip(&rounded).map(|(a, b)| f64::from(*a) - f64::from(*b));
            let error = missed.fold(0.0, square).sqrt() / size;
            let parameter = &graph.tensor(graph.parameters[at].value).name;
            println!("{name}: {parameter} {error:.1e}");
            // Rounding decides a share of the rectifiers and maxima otherwise that is about as
            // large as its error, and each of those misses all of its gradient: in squares, the
            // error is in proportion to that of rounding.
            assert!(
                error < 4.0 * precision.roundoff().sqrt(),
                "{name}: {parameter} misses by {error}"
            );
            assert!(error > 0.0, "{name}: {parameter} has every bit of f32");
        }
    }
}

#[test]
fn the_loss_follows_that_of_f32() {
    for (_, adapter, precision) in offered() {
        let name = format!("{} in {precision}", adapter.info().name);
        let precise = Precise::new(adapter, precision).expect("it offers it");
        let curve = golden::curve(&precise).expect("it runs");
        let worst = golden::worst(&curve);
        println!("{name}: {worst:.1e}");
        assert!(worst < 8.0 * precision.roundoff(), "{name}: {curve:?}");
    }
}

/// The tutorial's gradients, scaled, lie within f16's numbers with room above, and what is too
/// small for them does not count; unscaled, it would.
#[test]
fn the_loss_scale_puts_gradients_where_f16_has_numbers() {
    const LARGEST: f64 = 65_504.0;
    const SMALLEST_NORMAL: f64 = 1.0 / 16_384.0;
    let graph = Arc::new(tutorial().observed());
    let mut session = Session::new(&common::cpu(0), &graph, IMAGES).expect("it fits");
    session.initialize(1).expect("it takes weights");
    for number in 0..20 {
        let batch = network::fixed_batch(&graph, IMAGES, number).expect("a batch");
        session.train(&batch, &Step { learning_rate: 0.1, ..Step::of(IMAGES) }).expect("it runs");
        if ![0, 19].contains(&number) {
            continue;
        }
        for (at, tensor) in graph.tensors.iter().enumerate() {
            if tensor.role != Role::ActivationGradient {
                continue;
            }
            let values = session.read(TensorId(at)).expect("it is observed");
            let share = |scale: f64| {
                let scaled = |value: &&f32| scale * f64::from(value.abs());
                let small = values.iter().filter(|v| scaled(v) < SMALLEST_NORMAL);
                let sum = |sum: f64, value: &f32| sum + f64::from(*value).powi(2);
                (small.fold(0.0, sum) / values.iter().fold(0.0, sum)).sqrt()
            };
            let scale = f64::from(F16_LOSS_SCALE);
            let largest = values.iter().fold(0.0, |m: f64, v| m.max(scale * f64::from(v.abs())));
            let (with, without) = (share(scale), share(1.0));
            println!(
                "step {number}, {}: largest {largest:.1e}, share of small ones {with:.1e}, \
                 unscaled {without:.1e}",
                tensor.name
            );
            assert!(64.0 * largest < LARGEST, "{}: {largest}", tensor.name);
            assert!(with < 0.01, "{}: {with}", tensor.name);
        }
    }
}

#[test]
fn a_run_learns_and_goes_on_with_the_same_bits() {
    for (number, adapter, precision) in offered() {
        let place = Place::new(PIPELINE);
        let set = [format!("adapter='{number}'"), format!("precision={precision}")];
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let alone = place.train("alone", &set);
        for stop in [1, 9, STEPS - 1] {
            let name = format!("after-{stop}");
            place.train(&name, &[&set[..], &[&format!("steps={stop}")]].concat());
            place.resume(&name, &[&format!("steps={STEPS}")]);
            assert_end_alike(&alone, &place.run(&name), Some(stop));
        }
        let loss = |step: u64| {
            let line = alone.lines().into_iter().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                (line["kind"] == "step" && line["step"] == step).then(|| line["loss"].as_f64())
            });
            line.flatten().expect("a step with a loss")
        };
        assert!(loss(STEPS - 1) < 0.95 * loss(0), "{} in {precision}", adapter.info().name);
        // The weights are good for any precision; a change of it is told.
        let more = format!("steps={}", STEPS + 1);
        let said = place.resume("alone", &[&more, "precision=f32"]);
        for words in [&format!("changed: precision: {precision} -> f32"), "bits differ from now on"]
        {
            assert!(said.out.contains(words), "{}", said.out);
        }
    }
}

#[test]
fn what_an_adapter_does_not_offer_is_refused_before_the_first_step() {
    let place = Place::new(PIPELINE);
    place.say(&["net.yaml"], &["precision=f16"]).refused(&["cpu/cpu does not compute in f16"]);
    let said = place.say(&["net.yaml"], &["precision=f8"]);
    said.refused(&["f8", "bf16"]);
}
