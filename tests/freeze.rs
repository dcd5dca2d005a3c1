//! `trainable: false`: layers whose weights stay as they are.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::collections::BTreeMap;
use std::sync::Arc;

use compute::adapter::Adapter;
use compute::graph::{Graph, Phase};
use compute::kernel::Step;
use compute::session::Session;
use compute::verify::network::{directional_error, fixed_batch, slopes};
use flow::plan::Plan;
use flow::port::Port;
use flow::stage::RunSettings;
use record::checkpoint::Stored;
use runs::{Place, assert_end_alike};

use common::finish;

/// A small network of all that can be frozen, with all that an update does.
const PIPELINE: &str = "
seed: 7
steps: 12
adapter: cpu
checkpoints: { every: { steps: 1 }, keep: 100 }
summaries: { scalars: { steps: 1 }, histograms: { steps: 5 }, images: {} }
stages:
  read: { reader: { format: { synthetic: { train: 50, test: 20 } }, split: train } }
  shuffle: { from: read, shuffler: {} }
  crop: { from: shuffle, cropper: { size: 12, mode: random } }
  whiten: { from: crop, whitening: {} }
  batch: { from: whiten, batcher: { size: 16 } }
  gradients:
    from: batch
    model:
      layers:
        - { name: one, trainable: ONE, conv2d: { channels: 6, kernel: 3, weight_decay: 0.01 } }
        - { name: norm, trainable: NORM, batch_norm: {} }
        - { relu: {} }
        - { max_pool: { kernel: 3, stride: 2 } }
        - { name: two, trainable: TWO, conv2d: { channels: 6, kernel: 3 } }
        - { relu: {} }
        - { name: top, dense: { units: 10, weight_decay: 0.004 } }
        - { softmax_cross_entropy: {} }
  train:
    from: gradients
    reducer:
      learning_rate: 0.01
      moving_average: 0.9
      clip_norm: 5
      optimizer: { adam: {} }
  read_test: { reader: { format: { synthetic: { train: 50, test: 20 } }, split: test } }
  centre: { from: read_test, cropper: { size: 12, mode: central } }
  standard: { from: centre, whitening: {} }
  test: { from: standard, batcher: { size: 8, partial: keep } }
  score: { from: [test, train], model: {} }
  evaluate: { from: score, evaluator: {} }
";

/// The pipeline with these of `one`, `norm` and `two` frozen.
fn frozen(layers: &[&str]) -> String {
    ["one", "norm", "two"].iter().fold(PIPELINE.to_owned(), |text, layer| {
        let trained = !layers.contains(layer);
        text.replace(
            &format!("trainable: {}", layer.to_uppercase()),
            &format!("trainable: {trained}"),
        )
    })
}

const FROM: &str = "stages.train.reducer.init_from=runs/first";
const TWO_TOWERS: [&str; 2] = [
    "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 2 }]",
    "stages.train.reducer.balance=equal",
];

/// A place with a run of the network of which nothing is frozen, and the pipeline with these frozen.
fn after_a_first_run(layers: &[&str]) -> (Place, Stored) {
    let place = Place::new(&frozen(&[]));
    let first = place.train("first", &["steps=3"]).stored(3);
    std::fs::write(place.path().join("net.yaml"), frozen(layers)).expect("written");
    (place, first)
}

fn values<'a>(stored: &'a Stored, name: &str) -> &'a [f32] {
    let tensor = stored.tensors.iter().find(|tensor| tensor.name == name);
    &tensor.unwrap_or_else(|| panic!("no {name}")).values
}

/// Asserts that a run that began with `first` left what is below these layers alone, and nothing
/// else.
fn assert_only_others_moved(first: &Stored, last: &Stored, frozen: &[&str], when: &str) {
    for name in [
        "one/weights",
        "one/biases",
        "norm/scale",
        "norm/offset",
        "norm/running_mean",
        "norm/running_variance",
        "two/weights",
        "two/biases",
        "top/weights",
        "top/biases",
    ] {
        let (before, after) = (values(first, name), values(last, name));
        let layer = name.split('/').next().unwrap_or_default();
        assert_eq!(before == after, frozen.contains(&layer), "{when}: {name}");
    }
    let layer = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let kept = last.tensors.iter().filter(|tensor| frozen.contains(&&*layer(&tensor.name)));
    let extra = kept.filter(|tensor| tensor.name.matches('/').count() > 1);
    let extra: Vec<&str> = extra.map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(extra, [""; 0], "{when}: states of what is frozen");
}

#[test]
fn frozen_layers_stay_as_they_are_and_others_learn() {
    let gpu = common::gpus().first().map(|gpu| format!("adapter={}", gpu.info().name));
    for (name, layers) in
        [("front", &["one", "norm"][..]), ("all", &["one", "norm", "two"]), ("middle", &["two"])]
    {
        let (place, first) = after_a_first_run(layers);
        let ways = [Vec::new(), TWO_TOWERS.to_vec()];
        let ways = ways.into_iter().chain(gpu.iter().map(|gpu| vec![gpu.as_str()]));
        for (number, way) in ways.enumerate() {
            let run_name = format!("{name}{number}");
            let run = place.train(&run_name, &[&[FROM], &way[..]].concat());
            assert_only_others_moved(&first, &run.stored(12), layers, &format!("{name} {way:?}"));
            let losses: Vec<f64> = run
                .measured()
                .iter()
                .filter(|((kind, ..), _)| kind == "step")
                .map(|(_, line)| line["terms"]["cross_entropy"]["raw"].as_f64().expect("a loss"))
                .collect();
            let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
            assert_eq!(losses.len(), 12);
            assert!(mean(&losses[9..]) < mean(&losses[..3]), "{name} {way:?}: {losses:?}");
        }
    }
}

#[test]
fn a_run_with_frozen_layers_goes_on_bit_for_bit() {
    let (place, _) = after_a_first_run(&["one", "norm"]);
    for (name, way) in [("one", &[][..]), ("two", &TWO_TOWERS)] {
        let [alone, half] = ["whole", "half"].map(|part| format!("{name}-{part}"));
        let set = |steps| [&[steps, FROM], way].concat();
        let alone = place.train(&alone, &set("steps=12"));
        place.train(&half, &set("steps=5"));
        place.resume(&half, &["steps=12"]);
        assert_end_alike(&alone, &place.run(&half), Some(5));
    }
}

#[test]
fn what_is_frozen_may_not_change_when_a_run_goes_on() {
    let place = Place::new(&frozen(&["one"]));
    place.train("net", &["steps=2"]);
    let before = place.run("net").files();
    let layers = "stages.gradients.model.layers";
    for (set, told) in [
        (format!("{layers}.0.trainable=true"), format!("{layers}.0.trainable: false -> nothing")),
        (format!("{layers}.4.trainable=false"), format!("{layers}.4.trainable: nothing -> false")),
    ] {
        place.say(&["--resume", "net"], &["steps=4", &set]).refused(&[&told]);
        assert!(place.run("net").files() == before, "{set} left something");
    }
    // What it is in any case may be written out, or left open.
    place.say(&["--resume", "net"], &["steps=2", &format!("{layers}.4.trainable=null")]).done();
    place.resume("net", &["steps=3", &format!("{layers}.4.trainable=true")]);
}

#[test]
fn frozen_layers_are_scored_exported_and_shown_like_others() {
    let (place, first) = after_a_first_run(&["one", "norm", "two"]);
    let run = place.train("net", &[FROM, "steps=3"]);
    // Averages differ from the weights by nothing where nothing moves.
    let last = run.stored(3);
    assert_eq!(values(&first, "two/weights"), values(&last, "two/weights"));
    let runtime = |arguments: &[&str]| finish(common::runtime(place.path(), arguments)).done().out;
    runtime(&["eval", "runs/net"]);
    runtime(&["export", "runs/net", "--onnx", "net.onnx"]);
    assert!(place.path().join("net.onnx").is_file());
    // A run may begin with what was frozen there.
    let begun = place.train("next", &["steps=1", "stages.train.reducer.init_from=runs/net"]);
    assert_only_others_moved(&last, &begun.stored(1), &["one", "norm", "two"], "next");
    // What a checkpoint has of frozen layers counts as weights of the model.
    let log = run.text("log.txt");
    assert!(log.contains("of them frozen"), "{log}");
    let checked = runtime(&["check", "net.yaml"]);
    for told in ["conv2d, frozen", "batch_norm, frozen", "drawn at first: one, norm, two"] {
        assert!(checked.contains(told), "no {told:?} in {checked}");
    }
    let without = runtime(&["check", "net.yaml", "--set", FROM]);
    assert!(!without.contains("frozen_as_drawn"), "{without}");
}

#[test]
fn what_is_frozen_and_not_in_the_checkpoint_is_told() {
    let (place, _) = after_a_first_run(&["one", "two"]);
    let renamed = "stages.gradients.model.layers.4.name=other";
    let said = place.say(&["net.yaml", "--run", "net"], &["steps=1", FROM, renamed]).done();
    let all = said.out + &said.told;
    let told = "has no weights for what is frozen here, which keeps those that were drawn at first: \
                other\n";
    assert!(all.contains(told), "{all}");
}

/// The graph of the pipeline with these frozen, and this in place of the normalisation's fields.
fn graph(layers: &[&str], norm: &str) -> Arc<Graph> {
    let text = frozen(layers).replace("batch_norm: {}", &format!("batch_norm: {norm}"));
    let kinds = stages::kinds(&stages::Catalog::default());
    let plan = Plan::load(&kinds, "net.yaml", &text, &[], &RunSettings::default());
    let (plan, _) = plan.expect("a valid pipeline");
    let trainer = plan.trainer().expect("it trains");
    let Some(Port::Weights(graph)) = &plan.stages[trainer].output else { panic!("weights") };
    Arc::clone(graph)
}

/// The kernels that run for a layer in these phases.
fn kernels(graph: &Graph, layer: &str, phases: &[Phase]) -> Vec<&'static str> {
    let ops = phases.iter().flat_map(|phase| graph.ops(*phase));
    let own = ops.filter(|op| graph.layers[op.layer].name == layer);
    own.map(|op| op.kernel.name).collect()
}

#[test]
fn nothing_is_computed_that_nobody_needs() {
    let after = [Phase::Backward, Phase::Update];
    let front = graph(&["one", "norm"], "{}");
    for layer in ["one", "norm", "relu1", "max_pool1"] {
        assert_eq!(kernels(&front, layer, &after), [""; 0], "{layer}");
    }
    assert!(!kernels(&front, "two", &after).contains(&"conv2d_backward_input"));
    assert_eq!(kernels(&front, "norm", &[Phase::Forward]), ["batch_norm_forward"]);
    assert_eq!(front.all_reduced(), None);
    assert_eq!(front.loss_terms, ["cross_entropy", "top/weights/loss"]);
    let whole = graph(&[], "{}");
    assert!(front.bytes(16) < whole.bytes(16));
    // In the middle, the gradient still has to come through.
    let middle = graph(&["norm", "two"], "{}");
    assert_eq!(kernels(&middle, "two", &after), ["conv2d_backward_input"]);
    assert_eq!(kernels(&middle, "norm", &after), ["batch_norm_backward_frozen"]);
    for graph in [&front, &middle] {
        let gradients = graph.parameters.iter().map(|parameter| parameter.gradient);
        assert_eq!(gradients.count(), graph.finals.len());
        assert_eq!(graph.parameter_count() + graph.frozen_count(), whole.parameter_count());
    }
}

#[test]
fn gradients_of_what_is_trained_are_those_of_the_whole_network() {
    let whole = graph(&[], "{}");
    let batch = fixed_batch(&whole, 16, 0).expect("a batch");
    let gradients = |graph: &Arc<Graph>| -> BTreeMap<String, Vec<u32>> {
        let mut session = Session::new(&common::cpu(2), graph, 16).expect("it fits");
        session.initialize(3).expect("weights");
        session.gradient(&batch, &Step::of(16)).expect("it runs");
        let read = |one: &compute::graph::Parameter| {
            let values = session.read(one.gradient).expect("a gradient");
            let name = graph.tensor(one.value).name.clone();
            (name, values.into_iter().map(f32::to_bits).collect())
        };
        graph.parameters.iter().map(read).collect()
    };
    let expected = gradients(&whole);
    for layers in [&["one"][..], &["two"], &["one", "two"]] {
        let found = gradients(&graph(layers, "{}"));
        assert_eq!(found.len(), expected.len() - 2 * layers.len());
        for (name, bits) in found {
            assert_eq!(expected[&name], bits, "{layers:?}: {name}");
        }
    }
}

#[test]
fn slopes_through_a_frozen_normalisation_are_right() {
    let norm = "{ epsilon: 0.1, scale: { truncated_normal: 1.0 } }";
    let graph = graph(&["norm", "two"], norm);
    let slopes = slopes(&graph, 3, 12).expect("the reference runs");
    let smooth: Vec<_> = slopes.iter().filter(|slope| slope.smooth).collect();
    assert!(2 * smooth.len() > slopes.len());
    for slope in smooth {
        let scale = slope.gradient.abs().max(slope.difference.abs()).max(1e-4);
        assert!((slope.gradient - slope.difference).abs() < 1e-3 * scale, "{slope:?}");
    }
    let gpus = common::gpus();
    let cpu = common::cpu(0);
    let gpus = gpus.iter().map(|gpu| gpu as &dyn Adapter);
    for adapter in gpus.chain([&cpu as &dyn Adapter]) {
        let error = directional_error(adapter, &graph, 8).expect("it runs");
        assert!(error < 0.01, "{}: {error}", adapter.info().name);
    }
}

#[test]
fn what_cannot_be_frozen_is_refused_with_its_place() {
    let relu = frozen(&[]).replacen("{ relu:", "{ trainable: false, relu:", 1);
    let told = ["net.yaml:19:24", "a `relu` has no weights that could stay as they are"];
    Place::new(&relu).say(&["net.yaml"], &[]).refused(&told);
    let place = Place::new(&frozen(&[]));
    let layers = "stages.gradients.model.layers";
    for (set, told) in [
        (
            vec![format!("{layers}.0.trainable=maybe")],
            &["layers.0.trainable", "expected `true` or `false`"][..],
        ),
        (
            [0, 1, 4, 6].map(|at| format!("{layers}.{at}.trainable=false")).to_vec(),
            &["nothing is left to train", "remove `trainable: false`"],
        ),
    ] {
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        place.say(&["net.yaml"], &set).refused(told);
    }
}
