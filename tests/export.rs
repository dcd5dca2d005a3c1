//! `runtime export`: what another program computes from the file is what is computed here.

mod common;
#[path = "common/python.rs"]
mod python;
#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use base::random::Random;
use base::stop::Stop;
use compute::pass::Pass;
use compute::session::Session;
use config::node::Node;
use flow::channel::Ports;
use flow::item::{Batch, Item, Label, SampleId};
use flow::plan::Plan;
use flow::port::Port;
use flow::stage::{Config, Context, Kind, Mismatch, Parsed, RunSettings, Runner, Stage};
use record::checkpoint;
use runs::Place;

use common::{Ran, finish, runtime};

const IMAGES: usize = 100;

/// Every layer that the tutorial's network lacks, odd sizes, windows with padding on one side only,
/// and layers without pixels. Images go through a whitening.
const OTHER_LAYERS: &str = "
seed: 5
steps: 3
adapter: cpu
stages:
  read: { reader: { format: { synthetic: { train: 64, test: 20 } }, split: train } }
  crop: { from: read, cropper: { size: 13, mode: random } }
  whiten: { from: crop, whitening: {} }
  batch: { from: whiten, batcher: { size: 32 } }
  gradients:
    from: batch
    model:
      layers:
        - { name: first, conv2d: { channels: 8, kernel: [4, 3], stride: [2, 1], weights: { truncated_normal: 0.2 } } }
        - { name: norm, batch_norm: { momentum: 0.5 } }
        - { name: bend, gelu: {} }
        - { conv2d: { channels: 8, kernel: 2, weights: { truncated_normal: 0.2 } } }
        - { silu: {} }
        - { name: joined, from: [bend, silu1], add: {} }
        - { group_norm: { groups: 4, scale: { truncated_normal: 1.0 }, offset: { truncated_normal: 0.5 } } }
        - { avg_pool: { kernel: [3, 2], stride: 2 } }
        - { local_response_norm: { radius: 2, alpha: 0.3, beta: 0.6, bias: 1.5 } }
        - { depthwise_conv2d: { kernel: [2, 3], stride: [1, 2], weights: { truncated_normal: 0.5 } } }
        - { softmax: {} }
        - { max_pool: { kernel: 2, stride: 1, padding: valid } }
        - { conv2d: { channels: 6, kernel: 1, padding: valid, weights: { truncated_normal: 2.0 } } }
        - { name: means, global_avg_pool: {} }
        - { dropout: { rate: 0.3 } }
        - { dense: { units: 12, weights: { truncated_normal: 1.0 } } }
        - { batch_norm: {} }
        - { local_response_norm: { radius: 20, alpha: 0.1 } }
        - { group_norm: { groups: 3 } }
        - { name: top, dense: { units: 10, weights: { truncated_normal: 1.0 } } }
        - { softmax_cross_entropy: {} }
  train: { from: gradients, reducer: { learning_rate: 0.05, moving_average: 0.8 } }
  read_test: { reader: { format: { synthetic: { train: 64, test: 20 } }, split: test } }
  centre: { from: read_test, cropper: { size: 13, mode: central } }
  standard: { from: centre, whitening: {} }
  test: { from: standard, batcher: { size: 8, partial: keep } }
  score: { from: [test, train], model: {} }
  evaluate: { from: score, evaluator: {} }
";

fn export(place: &Place, arguments: &[&str]) -> Ran {
    finish(runtime(place.path(), &[&["export"], arguments].concat()))
}

/// The class scores of these images, by the weights of a checkpoint or by their averages.
fn logits(checkpoint: &Path, images: &[f32], averaged: bool) -> Vec<f32> {
    let stored = checkpoint::read(checkpoint).expect("a checkpoint");
    let kinds = stages::kinds(&stages::Catalog::default());
    let text = &stored.about.pipeline;
    let loaded = Plan::load(&kinds, "net.yaml", text, &[], &RunSettings::default());
    let (plan, _) = loaded.expect("a valid pipeline");
    let graph = plan.stages.iter().find_map(|stage| match &stage.output {
        Some(Port::Weights(graph)) => Some(Arc::clone(graph)),
        _ => None,
    });
    let graph = graph.expect("it trains");
    let weights = stored.weights(&graph).expect("they fit");
    let scoring = Arc::new(graph.inference());
    let mut session = Session::new(&common::cpu(1), &scoring, IMAGES).expect("it fits");
    let values = if averaged { &weights.averages } else { &weights.raw };
    for (parameter, values) in graph.parameters.iter().zip(values) {
        let id = scoring.find(&graph.tensor(parameter.value).name).expect("a weight");
        session.write(id, values).expect("it is written");
    }
    for kept in &graph.kept {
        let from = kept.average.filter(|_| averaged).unwrap_or(kept.value);
        let at = graph.states().position(|state| state == from).expect("a state");
        let id = scoring.find(&graph.tensor(kept.value).name).expect("a state");
        session.write(id, &weights.states[at]).expect("it is written");
    }
    let shape = graph.tensor(graph.images.expect("images")).shape.as_slice();
    let batch = Batch {
        source: Arc::new(stored.source.clone()),
        number: 0,
        ids: (0..IMAGES as u64).map(|index| SampleId { epoch: 0, index }).collect(),
        labels: vec![Label::Class(0); IMAGES],
        shape: shape.try_into().expect("an image"),
        images: images.to_vec().into(),
        whole: IMAGES,
        ends_epoch: false,
        pass: Pass::open(IMAGES as u64, IMAGES as u64),
        samples_end: IMAGES as u64,
    };
    session.score(&batch).expect("it is scored").logits
}

/// A stage that keeps the images of the first batch that comes.
#[derive(Clone, Debug, Default)]
struct Keep(Arc<Mutex<Vec<f32>>>);

impl Config for Keep {
    fn check(&self, _: &[Port]) -> Result<Option<Port>, Mismatch> {
        Ok(None)
    }

    fn build(&self, _: &Context<'_>) -> anyhow::Result<Runner> {
        Ok(Runner::Stage(Box::new(self.clone())))
    }
}

impl Stage for Keep {
    fn run<'a>(
        &'a mut self,
        ports: &'a mut Ports,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>> {
        Box::pin(async move {
            if let Some(Item::Batch(batch)) = ports.receive(0).await {
                *self.0.lock().expect("nobody panicked") = batch.images.to_vec();
            }
            Ok(())
        })
    }
}

/// The first test images as the tutorial's evaluation sees them: those of CIFAR-10 where
/// `GRADFLOW_DATA` says where it is, else drawings.
fn test_images() -> Vec<f32> {
    prepared(
        "{ split: test, otherwise: synthetic }",
        &["cropper: { size: 24, mode: central }", "whitening: {}"],
    )
}

/// The first images of a reader behind these stages.
fn prepared(reader: &str, stages: &[&str]) -> Vec<f32> {
    let kept = Keep::default();
    let keep = kept.clone();
    let parse = Arc::new(move |_: &_, _: &_, _: &mut _| {
        let value: Box<dyn Config> = Box::new(keep.clone());
        Some(Parsed { value, fields: Node::Null })
    });
    let kind = Kind { name: "keep", parse, ..stages::batcher::kind(&stages::Catalog::default()) };
    let kinds = [stages::kinds(&stages::Catalog::default()), vec![kind]].concat();
    let mut text = format!("stages:\n  s0: {{ reader: {reader} }}\n");
    for (at, stage) in stages.iter().enumerate() {
        text += &format!("  s{}: {{ from: s{at}, {stage} }}\n", at + 1);
    }
    let last = stages.len();
    text += &format!(
        "  test: {{ from: s{last}, batcher: {{ size: {IMAGES}, partial: keep }} }}\n  end: {{ from: \
         test, keep: }}\n"
    );
    let settings = flow::environment::settings(None);
    let (plan, _) = Plan::load(&kinds, "test.yaml", &text, &[], &settings).expect("a plan");
    flow::run::run(&plan, Stop::default(), |_| {}).expect("it runs");
    kept.0.lock().expect("nobody panicked").clone()
}

/// Numbers as whitening leaves them.
fn draw(length: usize) -> Vec<f32> {
    let mut random = Random::keyed(1, "export", 0, 0);
    (0..length).map(|_| random.truncated_normal() as f32).collect()
}

/// The floats of `found`, next to those expected: at most 1e-4 apart, and of a size at which that
/// says something.
fn agree(found: &serde_json::Value, expected: &[f32]) {
    let found: Vec<f64> = serde_json::from_value(found["logits"].clone()).expect("numbers");
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |most, one| most.max(one.abs()));
    let apart = found.iter().zip(expected).map(|(a, b)| (a - f64::from(*b)).abs());
    let apart = apart.fold(0.0, f64::max);
    println!("{apart:e} apart, up to {largest}");
    assert!(largest > 0.0 && apart <= 1e-4 * f64::from(largest.min(1.0)), "{apart} of {largest}");
}

/// Trains, exports raw and averaged weights, and holds both against onnxruntime.
fn holds(place: &Place, set: &[&str], step: u64, side: usize, images: &[f32]) {
    let Some(python) = python::find() else { return };
    let run = place.train("net", set);
    let folder = place.path();
    assert_eq!(images.len(), IMAGES * side * side * 3);
    let bytes: Vec<u8> = images.iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(folder.join("images.bin"), bytes).expect("written");
    export(place, &["runs/net", "--onnx", "averaged.onnx"]).done();
    export(place, &["runs/net", "--onnx", "raw.onnx", "--raw"]).done();
    let found = python::ask(&python, "onnx.py", folder);
    for (name, averaged) in [("averaged", true), ("raw", false)] {
        agree(&found[name], &logits(&run.checkpoint(step), images, averaged));
        let metadata = &found[name]["metadata"];
        assert_eq!(metadata["weights"], name);
        let before = metadata["preprocessing"].as_str().expect("a text");
        assert!(before.contains("whitening") && before.contains("central"), "{before}");
        assert_eq!(found[name]["input"], serde_json::json!(["images", [side, side, 3]]));
    }
}

#[test]
fn onnxruntime_gives_the_logits_of_the_tutorials_network() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.yaml");
    let place = Place::new(&fs::read_to_string(file).expect("pipeline.yaml"));
    let set = [
        "steps=2",
        "adapter=cpu",
        "stages.batch.batcher.size=8",
        "stages.read.reader.otherwise.synthetic={ train: 20, test: 8 }",
        "stages.read_test.reader.otherwise.synthetic={ train: 20, test: 8 }",
    ];
    holds(&place, &set, 2, 24, &test_images());
}

#[test]
fn onnxruntime_gives_the_logits_of_the_other_layers() {
    holds(&Place::new(OTHER_LAYERS), &[], 3, 13, &draw(IMAGES * 13 * 13 * 3));
}

/// The same images, whitened there and beforehand.
#[test]
fn whitening_can_be_part_of_the_file() {
    let Some(python) = python::find() else { return };
    let place = Place::new(OTHER_LAYERS);
    let run = place.train("net", &[]);
    let pixels: Vec<f32> = draw(IMAGES * 13 * 13 * 3).iter().map(|v| 100.0 + 40.0 * v).collect();
    let bytes: Vec<u8> = pixels.iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(place.path().join("images.bin"), bytes).expect("written");
    export(&place, &["runs/net", "--onnx", "net.onnx", "--from", "standard"]).done();
    let whitened: Vec<f32> = pixels
        .chunks(13 * 13 * 3)
        .flat_map(|image| {
            let count = image.len() as f64;
            let mean = image.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
            let squares = image.iter().map(|v| (f64::from(*v) - mean).powi(2));
            let deviation = (squares.sum::<f64>() / count).sqrt();
            image.iter().map(move |v| ((f64::from(*v) - mean) / deviation) as f32)
        })
        .collect();
    let found = python::ask(&python, "onnx.py", place.path());
    agree(&found["net"], &logits(&run.checkpoint(3), &whitened, true));
    let metadata = &found["net"]["metadata"];
    assert!(!metadata["preprocessing"].as_str().expect("a text").contains("whitening"));
    assert!(metadata["preprocessing_inside"].as_str().expect("a text").contains("whitening"));
}

#[test]
fn what_cannot_be_exported_is_told_and_nothing_written_over() {
    let place = Place::new(OTHER_LAYERS);
    place.train("net", &[]);
    fs::write(place.path().join("mine.onnx"), "mine").expect("written");
    let said = export(&place, &["runs/net", "--onnx", "mine.onnx"]);
    assert!(said.status == Some(1) && said.told.contains("mine.onnx"), "{}", said.told);
    assert_eq!(fs::read_to_string(place.path().join("mine.onnx")).expect("it is there"), "mine");
    let random = OTHER_LAYERS.replace("mode: central", "mode: random");
    let other = Place::new(&random);
    other.train("net", &[]);
    let said = export(&other, &["runs/net", "--onnx", "new.onnx", "--from", "centre"]);
    assert_eq!(said.status, Some(1), "{}", said.told);
    for part in [
        "stage `centre`, a cropper, cannot be part of the file; `--from` takes a stage behind it: \
         `standard`, `test`",
        "its window is at a random place",
    ] {
        assert!(said.told.contains(part), "{part} is not in {}", said.told);
    }
    assert!(!other.path().join("new.onnx").exists());
    export(&place, &["runs/net", "--onnx", "new.onnx", "--from", "nobody"])
        .refused(&["no stage `nobody`", "centre, standard, test"]);
    export(&place, &["runs/other", "--onnx", "new.onnx"]).refused(&["no such file"]);
}

/// What each stage of an evaluation does to images, as the YAML says it.
const STAGES: [(&str, &str); 6] = [
    ("small", "resizer: { size: [21, 26], mode: whole }"),
    ("cut", "cropper: { size: [24, 17], mode: central, padding: { pixels: 3, mode: MODE } }"),
    ("large", "resizer: { size: [26, 19], mode: whole }"),
    ("grey", "grayscale: { channels: 3 }"),
    ("scale", "normalizer: { mean: [125.3, 122.95, 113.87], deviation: [62.99, 62.09, 66.7] }"),
    ("white", "whitening: {}"),
];

/// From the pixels of the data set, or from behind any stage: onnxruntime gives the scores that our
/// own stages lead to.
#[test]
fn every_stage_of_an_evaluation_can_be_part_of_the_file() {
    let Some(python) = python::find() else { return };
    for border in ["reflect", "edge", "zero"] {
        let stages: Vec<String> =
            STAGES.iter().map(|(_, stage)| stage.replace("MODE", border)).collect();
        let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
        let mut flow = String::new();
        let mut before = "read_test".to_owned();
        for ((id, _), stage) in STAGES.iter().zip(&stages) {
            flow += &format!("  {id}: {{ from: {before}, {stage} }}\n");
            before = (*id).to_owned();
        }
        let reader = "{ format: { synthetic: { train: 64, test: 100 } }, split: test }";
        let place = Place::new(&format!(
            "
steps: 2
adapter: cpu
stages:
  read: {{ reader: {{ format: {{ synthetic: {{ train: 64 }} }}, split: train }} }}
  fit: {{ from: read, resizer: {{ size: [26, 19] }} }}
  whiten: {{ from: fit, whitening: {{}} }}
  batch: {{ from: whiten, batcher: {{ size: 16 }} }}
  net:
    from: batch
    model:
      layers:
        - {{ conv2d: {{ channels: 6, kernel: 3, weights: {{ truncated_normal: 0.3 }} }} }}
        - {{ relu: {{}} }}
        - {{ dense: {{ units: 10, weights: {{ truncated_normal: 0.1 }} }} }}
        - {{ softmax_cross_entropy: {{}} }}
  train: {{ from: net, reducer: {{ learning_rate: 0.001 }} }}
  read_test: {{ reader: {reader} }}
{flow}  test: {{ from: white, batcher: {{ size: 8, partial: keep }} }}
  score: {{ from: [test, train], model: {{}} }}
  evaluate: {{ from: score, evaluator: {{}} }}
"
        ));
        let run = place.train("net", &[]);
        let folder = place.path();
        for (at, (id, _)) in STAGES.iter().enumerate() {
            let images = prepared(reader, &stages[..at]);
            let bytes: Vec<u8> = images.iter().flat_map(|value| value.to_le_bytes()).collect();
            fs::write(folder.join(format!("{id}.bin")), bytes).expect("written");
            let file = format!("{id}.onnx");
            export(&place, &["runs/net", "--onnx", &file, "--from", id]).done();
        }
        let found = python::ask(&python, "onnx.py", folder);
        let expected = logits(&run.checkpoint(2), &prepared(reader, &stages), true);
        for (id, _) in STAGES {
            println!("{border}, from {id}:");
            agree(&found[id], &expected);
        }
        let metadata = |id: &str, key: &str| {
            found[id]["metadata"][key]
                .as_str()
                .unwrap_or_else(|| panic!("{key} of {id}"))
                .to_owned()
        };
        assert_eq!(
            metadata("small", "input"),
            "float32, N x 32 x 32 x 3; channels: red, green, blue; values: 0 to 255"
        );
        assert!(metadata("white", "input").contains("26 x 19 x 3"));
        let words = metadata("small", "preprocessing_in_words");
        for part in ["EXIF orientation", "laid on white", "triangle filter", "red, green and blue"]
        {
            assert!(words.contains(part), "no {part} in {words}");
        }
        let words = metadata("white", "preprocessing_in_words");
        let lines: Vec<&str> = words.lines().collect();
        let begins: Vec<&str> =
            lines.iter().map(|line| line.split(':').next().expect("a name")).collect();
        assert_eq!(begins, ["read_test", "small", "cut", "large", "grey", "scale"]);
        for (line, parts) in lines[1..].iter().zip([
            ["21x26", "all of the image"],
            ["3 pixels are put on each side", "1 rows from the top and 7 pixels from the left"],
            ["26x19", "triangle filter"],
            ["all three channels are", "0.299 * red + 0.587 * green + 0.114 * blue"],
            ["[125.3, 122.95, 113.87] is subtracted", "divided by [62.99, 62.09, 66.7]"],
        ]) {
            assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        }
    }
}

#[test]
fn what_cannot_be_part_of_the_file_is_told_to_people() {
    let text = OTHER_LAYERS.replace(
        "  test: { from: standard,",
        "  odd: { from: standard, color_jitter: {} }\n  test: { from: odd,",
    );
    let place = Place::new(&text);
    place.train("net", &[]);
    let said = export(&place, &["runs/net", "--onnx", "new.onnx", "--from", "standard"]);
    assert_eq!(said.status, Some(1), "{}", said.told);
    for part in [
        "stage `odd`, a color_jitter, cannot be part of the file; `--from` takes a stage behind it: \
         `test`",
        "what it does to images has no form in ONNX",
    ] {
        assert!(said.told.contains(part), "{part} is not in {}", said.told);
    }
    assert!(!said.told.contains("Config::"), "{}", said.told);
}
