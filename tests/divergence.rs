//! Numbers that are not finite, put into every place of a network on every adapter: the step and the
//! first layer are named, and nothing that came later is taken for good.

#[path = "common/command.rs"]
mod command;
mod common;

use std::ops::Range;
use std::sync::Arc;

use command::Place;
use compute::adapter::Adapter;
use compute::divergence::Diagnosis;
use compute::graph::{Graph, Node, Op, Phase, Role, Tensor, TensorId};
use compute::kernel::{Access, Args, Binding, Constants, Dtype, Extent, Kernel, Step, Variant};
use compute::session::Session;
use compute::verify::network;
use flow::plan::Plan;
use flow::port::Port;
use flow::stage::RunSettings;

const IMAGES: usize = 5;

/// Steps in which a number goes bad, each another one of its tensor: the first, one in the middle,
/// the last.
const BAD_STEPS: Range<u32> = 1..4;

/// A network with every kind of layer.
const PIPELINE: &str = "
steps: 10
stages:
  read: { reader: { format: { synthetic: { train: 64 } }, split: train } }
  crop: { from: read, cropper: { size: 7 } }
  batch: { from: crop, batcher: { size: 5 } }
  gradients:
    from: batch
    model:
      layers:
        - { name: conv1, conv2d: { channels: 3, kernel: 3, weights: { truncated_normal: 0.5 } } }
        - { name: relu1, relu: {} }
        - { name: pool1, max_pool: { kernel: 3, stride: 2 } }
        - { name: norm1, local_response_norm: {} }
        - { name: conv2, conv2d: { channels: 3, kernel: 3, weights: { truncated_normal: 0.5 } } }
        - { name: sum, from: [norm1, conv2], add: {} }
        - { name: norm2, local_response_norm: {} }
        - { name: norm3, batch_norm: {} }
        - { name: norm4, group_norm: { groups: 3 } }
        - { name: pool2, max_pool: { kernel: 2, stride: 2 } }
        - { name: depth, depthwise_conv2d: { kernel: 3 } }
        - { name: local, locally_connected: { channels: 3, kernel: 3, weights: { truncated_normal: 0.5 } } }
        - { name: blur, avg_pool: { kernel: 2, stride: 1 } }
        - { name: drop, dropout: { rate: 0.5 } }
        - { name: mean, global_avg_pool: {} }
        - { name: dense1, dense: { units: 6, weight_decay: 0.01 } }
        - { name: relu2, relu: {} }
        - { name: shares, softmax: {} }
        - { name: gelu, gelu: {} }
        - { name: silu, silu: {} }
        - { name: dense2, dense: { units: 10 } }
        - { name: loss, softmax_cross_entropy: {} }
  train: { from: gradients, reducer: { learning_rate: 0.01 } }
";

/// What the exponent's bits all set make: infinities, and numbers that are none of both signs, quiet
/// and signalling, with the smallest and the largest payload.
const BAD: [u32; 7] = [
    0x7f80_0000,
    NEGATIVE_INFINITY,
    0x7fc0_0000,
    0xffc0_0000,
    0x7f80_0001,
    0xff80_0001,
    0x7fff_ffff,
];

const NEGATIVE_INFINITY: u32 = 0xff80_0000;

/// Each bad number in one of the steps. From place to place in the network they change their steps,
/// so that a few places have had each number in each step.
fn bad(place: usize) -> impl Iterator<Item = (u32, u32)> {
    let step = move |at: usize| BAD_STEPS.start + ((at + place) % BAD_STEPS.len()) as u32;
    BAD.into_iter().enumerate().map(move |(at, bits)| (step(at), bits))
}

/// Puts the number with the bits of the step's seed, if it is not 0, into an element of its own for
/// each of the bad steps. It says that it writes something of the whole batch as well, so that it
/// gets all images at once.
static POISON: Kernel = Kernel {
    name: "poison",
    about: "Makes one number bad.",
    bindings: &[
        Binding::write("values", Extent::PerImage),
        Binding::write("steps", Extent::Whole),
    ],
    lengths: |c| vec![c.size("LENGTH"), 1],
    terms: |_, _| 1,
    variants: &[Variant {
        name: "poison",
        tuning: &[],
        wgsl: "
            struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

            override LAST: u32;
            override FIRST_STEP: u32;

            @group(0) @binding(0) var<storage, read_write> values: array<u32>;
            @group(0) @binding(1) var<storage, read_write> steps: array<f32>;
            @group(1) @binding(0) var<uniform> step: Step;

            @compute @workgroup_size(1)
            fn main() {
                if (step.seed != 0u) {
                    let at = (step.step - FIRST_STEP) * ((LAST + 1u) / 2u);
                    values[min(at, LAST)] = step.seed;
                    steps[0] = f32(step.step);
                }
            }",
        applies: |_| true,
        workgroups: |_, _| [1, 1, 1],
    }],
    cpu: |args: &mut Args<'_, f32>| {
        let (last, seed) = (args.size("LAST"), args.step.seed);
        if seed != 0 {
            let at = (args.step.step as usize - args.size("FIRST_STEP")) * last.div_ceil(2);
            args.write("values")[at.min(last)] = f32::from_bits(seed);
            args.write("steps")[0] = args.step.step as f32;
        }
    },
    reference: |_| {},
    cases: Vec::new,
};

/// The same for what belongs to no image.
static POISON_SUM: Kernel = Kernel {
    bindings: &[Binding::write("values", Extent::Whole), Binding::write("steps", Extent::Whole)],
    ..POISON
};

/// The network as a reducer trains it.
fn graph() -> Graph {
    let kinds = stages::kinds(&stages::Catalog::default());
    let loaded = Plan::load(&kinds, "test.yaml", PIPELINE, &[], &RunSettings::default());
    let (plan, _) = loaded.expect("a valid pipeline");
    let trainer = plan.trainer().expect("it trains");
    match &plan.stages[trainer].output {
        Some(Port::Weights(graph)) => Graph::clone(graph),
        _ => panic!("what trains puts out weights"),
    }
}

/// Where something is made: a phase, the position after it, and the layer.
fn made(graph: &Graph, tensor: TensorId) -> (Phase, usize, usize) {
    for phase in [Phase::Forward, Phase::Loss, Phase::Backward] {
        let last = graph.phase(phase).iter().enumerate().rev().find_map(|(at, node)| {
            let Node::Run(op) = node else { return None };
            let mut bound = op.kernel.bindings.iter().zip(&op.tensors);
            let writes = bound.any(|(b, id)| b.access == Access::Write && *id == tensor);
            writes.then_some((at + 1, op.layer))
        });
        if let Some((at, layer)) = last {
            return (phase, at, layer);
        }
    }
    panic!("nothing makes {}", graph.tensor(tensor).name)
}

/// The graph in which this tensor goes bad where it is made, and the layer that it belongs to.
fn poisoned(graph: &Graph, tensor: TensorId) -> (Graph, String) {
    let (phase, at, layer) = made(graph, tensor);
    let mut poisoned = graph.clone();
    let of_images = graph.tensor(tensor).extent == Extent::PerImage;
    let steps = TensorId(poisoned.tensors.len());
    poisoned.tensors.push(Tensor {
        name: "poison/steps".to_owned(),
        dtype: Dtype::Real,
        shape: vec![1],
        extent: Extent::Whole,
        role: Role::Partial,
    });
    let node = Node::Run(Op {
        kernel: if of_images { &POISON } else { &POISON_SUM },
        tensors: vec![tensor, steps],
        constants: Constants::default()
            .with("LENGTH", graph.tensor(tensor).len())
            .with("LAST", graph.tensor(tensor).len_for(IMAGES) - 1)
            .with("FIRST_STEP", BAD_STEPS.start as usize),
        layer,
    });
    match phase {
        Phase::Forward => poisoned.forward.insert(at, node),
        Phase::Loss => poisoned.loss.insert(at, node),
        Phase::Backward | Phase::Update => poisoned.backward.insert(at, node),
    }
    (poisoned, graph.layers[layer].name.clone())
}

/// All adapters of this machine.
fn adapters() -> Vec<Box<dyn Adapter>> {
    let mut all: Vec<Box<dyn Adapter>> = vec![Box::new(common::cpu(2))];
    all.extend(common::gpus().into_iter().map(|gpu| Box::new(gpu) as Box<dyn Adapter>));
    all
}

/// A session that trains, and one in which every tensor can be looked at.
fn sessions(adapter: &dyn Adapter, graph: Graph) -> [Session; 2] {
    let observed = graph.observed();
    [graph, observed]
        .map(|graph| Session::new(adapter, &Arc::new(graph), IMAGES).expect("the network fits"))
}

/// A step; with bits, those of the number that goes bad.
fn step(number: u32, bits: u32) -> Step {
    Step { step: number, seed: bits, learning_rate: 0.01, ..Step::of(IMAGES) }
}

/// Trains beyond the step in which a number goes bad; the first step and tensor that are not finite.
fn first_bad(session: &mut Session, bad_step: u32, bits: u32) -> Option<(u64, TensorId)> {
    let graph = Arc::clone(session.graph());
    session.initialize(1).expect("it takes weights");
    for number in 0..bad_step + 2 {
        let batch = network::fixed_batch(&graph, IMAGES, number.into()).expect("a batch");
        let bits = if number == bad_step { bits } else { 0 };
        session.train(&batch, &step(number, bits)).expect("a step");
        if number < bad_step {
            assert_eq!(session.outcome().expect("it reads").first_not_finite, None);
        }
    }
    session.outcome().expect("it reads").first_not_finite
}

/// What is found by doing the steps again.
fn diagnosis(session: &mut Session, bad_step: u32, bits: u32) -> String {
    let graph = Arc::clone(session.graph());
    session.initialize(1).expect("it takes weights");
    let mut diagnosis = Diagnosis::new(bad_step.into());
    for number in 0..=bad_step {
        let batch = network::fixed_batch(&graph, IMAGES, number.into()).expect("a batch");
        let step = step(number, if number == bad_step { bits } else { 0 });
        if let Some(found) = diagnosis.look(session, &batch, &step).expect("it looks") {
            assert_eq!(number, bad_step, "{found}");
            return found;
        }
        session.train(&batch, &step).expect("a step");
    }
    panic!("it does not look at step {bad_step}")
}

/// The tensor that a layer puts out: that of the loss, the loss of each image.
fn output(graph: &Graph, layer: usize) -> TensorId {
    let summary = &graph.layers[layer];
    match summary.kind {
        "softmax_cross_entropy" => graph.image_loss.expect("a loss"),
        _ => summary.tensor,
    }
}

/// Minus infinity is less than anything: a maximum with a finite number is finite again, and so is its
/// share of finite numbers' powers.
fn is_undone(graph: &Graph, layer: usize, bits: u32) -> bool {
    let next = graph.layers.get(layer + 1).map(|next| next.kind);
    bits == NEGATIVE_INFINITY && matches!(next, Some("relu" | "max_pool" | "softmax"))
}

#[test]
fn the_first_layer_to_go_bad_is_named_on_every_adapter() {
    let graph = graph();
    for kind in stages::model::layers::all() {
        let is_there = graph.layers.iter().any(|layer| layer.kind == kind.name);
        assert!(is_there, "there is no {} in the network", kind.name);
    }
    for adapter in adapters() {
        for layer in 0..graph.layers.len() {
            let (poisoned, name) = poisoned(&graph, output(&graph, layer));
            assert_eq!(name, graph.layers[layer].name);
            let [mut session, mut looking] = sessions(adapter.as_ref(), poisoned);
            for (bad_step, bits) in bad(layer) {
                let what = format!("{}: {bits:#x} in step {bad_step}", adapter.info().name);
                let found = first_bad(&mut session, bad_step, bits).map(|(step, _)| step);
                let expected = (!is_undone(&graph, layer, bits)).then_some(bad_step.into());
                assert_eq!(found, expected, "{what}, {name}");
                let found = diagnosis(&mut looking, bad_step, bits);
                let expected = format!("in step {bad_step}, the first layer to go bad is {name}: ");
                assert!(found.starts_with(&expected), "{what}, {name}: {found}");
            }
        }
    }
}

#[test]
fn the_layer_of_a_bad_gradient_is_named_on_every_adapter() {
    let graph = graph();
    for adapter in adapters() {
        for (place, parameter) in graph.parameters.iter().enumerate() {
            let (poisoned, name) = poisoned(&graph, parameter.gradient);
            assert_eq!(name, graph.layers[parameter.layer].name);
            let [mut session, mut looking] = sessions(adapter.as_ref(), poisoned);
            for (bad_step, bits) in bad(place) {
                let what = format!("{}: {bits:#x} in step {bad_step}", adapter.info().name);
                // It goes into the weights, of which the loss knows only a step later.
                let found = first_bad(&mut session, bad_step, bits);
                assert_eq!(found, Some((bad_step.into(), parameter.value)), "{what}, {name}");
                let found = diagnosis(&mut looking, bad_step, bits);
                let expected = format!("in step {bad_step}, the first layer to go bad is {name}: ");
                assert!(found.starts_with(&expected), "{what}, {name}: {found}");
            }
        }
    }
}

#[test]
fn weights_that_are_bad_before_the_first_step_are_named() {
    let graph = Arc::new(graph().observed());
    let batch = network::fixed_batch(&graph, IMAGES, 0).expect("a batch");
    for adapter in adapters() {
        let mut session = Session::new(adapter.as_ref(), &graph, IMAGES).expect("it fits");
        for parameter in &graph.parameters {
            for bits in BAD {
                session.initialize(1).expect("it takes weights");
                let mut values = session.read(parameter.value).expect("it reads");
                *values.last_mut().expect("a weight") = f32::from_bits(bits);
                session.write(parameter.value, &values).expect("it writes");
                let found = session.locate(&batch, &step(0, 0)).expect("it looks");
                let expected = format!("{} already holds", graph.tensor(parameter.value).name);
                let found = found.expect("it is not finite");
                assert!(found.starts_with(&expected), "{}: {found}", adapter.info().name);
            }
        }
    }
}

#[test]
fn pixels_that_are_bad_are_named_with_their_image() {
    let graph = Arc::new(graph().observed());
    let mut session = Session::new(&common::cpu(1), &graph, IMAGES).expect("it fits");
    session.initialize(1).expect("it takes weights");
    let mut batch = network::fixed_batch(&graph, IMAGES, 0).expect("a batch");
    assert_eq!(session.locate(&batch, &step(0, 0)).expect("it looks"), None);
    batch.images[3 * 7 * 7 * 3 + 5] = f32::INFINITY;
    let found = session.locate(&batch, &step(0, 0)).expect("it looks");
    assert_eq!(found.as_deref(), Some("image 3 already holds inf when it comes in"));
}

/// Another learning rate after 30 steps.
fn jump_to(rate: &str) -> String {
    format!(
        "stages.train.reducer.learning_rate={{ piecewise: {{ initial: 0.01, then: [ {{ after: {{ \
         images: 600 }}, rate: {rate} }} ] }} }}"
    )
}

const RATE: &str = "stages.train.reducer.learning_rate=0.01";

/// What is advised is done.
fn go_on(place: &Place, name: &str, steps: u64, told: &str) {
    let run = format!("runs/{name}");
    let kept = format!("{run}/checkpoints/step-{steps:09}.safetensors");
    assert!(told.contains(&format!("those after {steps} steps, {kept}")), "{told}");
    let advice =
        format!("`runtime run --resume {run} --set stages.train.reducer.learning_rate=RATE`");
    assert!(told.contains(&advice), "{told}");
    let ran = place.resume(&run, &[RATE]).done();
    assert!(ran.out.contains(&format!("going on with {run} after step {steps}\n")), "{}", ran.out);
    assert_eq!(place.latest(name).progress.steps, 60);
}

#[test]
fn a_run_that_diverges_keeps_what_was_good_and_says_how_to_go_on() {
    let place = Place::new();
    let named =
        ["in step 31, the first layer to go bad is top: ", "at step 31: its loss is not fin"];
    let ran = place.train("jump", &[&jump_to("1e20")]).failed(1, &named);
    let log = std::fs::read_to_string(place.run("jump").join("log.txt")).expect("it is kept");
    assert!(log.lines().last().is_some_and(|line| line.starts_with("error: ")), "{log}");
    go_on(&place, "jump", 20, &ran.told);

    // The weights after the step with that rate are finite, and no good.
    let every = ["checkpoints.every={ steps: 1 }", "stages.train.reducer.evaluate={}"];
    let ran = place.train("each", &[&jump_to("1e20"), every[0], every[1]]).failed(1, &named);
    assert!(ran.told.contains("no good at any rate, and were moved to runs/each/superseded"));
    assert!(place.run("each").join("superseded/step-000000031.safetensors").is_file());
    go_on(&place, "each", 30, &ran.told);
}

#[test]
fn a_loss_that_blows_up_is_told_though_it_is_finite() {
    let place = Place::new();
    let each_step = "summaries.scalars.steps=1";
    let ran = place.train("up", &[&jump_to("1"), each_step]).failed(
        1,
        &[
            "its loss is ",
            "more than 100 times the ",
            "the first layer whose output has grown out of",
        ],
    );
    assert!(!ran.told.contains("not finite"), "{}", ran.told);
    go_on(&place, "up", 20, &ran.told);
    // Where it is allowed to, it goes on.
    place
        .train("on", &[&jump_to("1"), each_step, "stages.train.reducer.blow_up=0", "steps=34"])
        .done();
}

#[test]
fn what_diverges_before_anything_is_kept_says_so() {
    let place = Place::new();
    let rate = "stages.train.reducer.learning_rate=1e20";
    let parts =
        ["at step 1: ", "in step 1, the first layer to go bad is top: ", "No good weights were"];
    place.train("soon", &[rate]).failed(1, &parts);
    // With another rate it may begin again.
    place.resume("soon", &["stages.train.reducer.learning_rate=0.01"]).done();
    assert!(place.run("soon").join("metrics.jsonl").is_file());
}

#[test]
fn a_run_that_goes_on_has_a_loss_only_once_it_has_done_a_step() {
    // More than the limit is times 1, which stands for a loss that is not known.
    let place = Place::new();
    place.train("low", &["stages.train.reducer.blow_up=1.5", "steps=40"]).done();
    place.resume("low", &["steps=60"]).done();
}

#[test]
fn without_a_learning_rate_no_bit_of_a_weight_changes() {
    let place = Place::new();
    let rate = "stages.train.reducer.learning_rate=0";
    for optimizer in ["sgd", "momentum", "adam", "adamw", "lion"] {
        let optimizer = format!("stages.train.reducer.optimizer={optimizer}");
        let [first, last] = [1, 60].map(|steps| {
            let name = format!("{}-{steps}", optimizer.rsplit('=').next().expect("a name"));
            place.train(&name, &[rate, &optimizer, &format!("steps={steps}")]).done();
            place.latest(&name)
        });
        let mut weights = 0;
        for (first, last) in first.tensors.iter().zip(&last.tensors) {
            assert_eq!(first.name, last.name);
            let ends = ["/weights", "/biases", "/weights/average", "/biases/average"];
            let is_weight = ends.iter().any(|end| first.name.ends_with(end));
            let same =
                first.values.iter().zip(&last.values).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same || !is_weight, "{optimizer}: {} is different", first.name);
            weights += usize::from(is_weight);
        }
        // Two layers with weights and biases, and the averages of all.
        assert_eq!(weights, 8);
    }
}
