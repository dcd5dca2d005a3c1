//! A thousand classes, from folders of photos to an exported model, by the real command.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::Path;

use flow::reports::EvaluationReport;
use image::{Rgb, RgbImage};
use runs::Place;
use serde_json::Value;

use common::{Ran, finish};

const CLASSES: usize = 1_000;

const PIPELINE: &str = "
steps: 2
adapter: cpu
summaries: { scalars: { steps: 1 } }
stages:
  read:
    reader:
      format: &photos { images: { classes: 1000, size_px: 4 } }
      split: train
      path: &folder photos
  shuffle: { from: read, shuffler: {} }
  whiten: { from: shuffle, whitening: {} }
  batch: { from: whiten, batcher: { size: 250 } }
  gradients:
    from: batch
    model:
      layers:
        - { name: top, dense: { units: 1000 } }
        - { softmax_cross_entropy: {} }
  train: { from: gradients, reducer: { learning_rate: 0.01 } }
  read_test: { reader: { format: *photos, split: test, path: *folder } }
  standard: { from: read_test, whitening: {} }
  test: { from: standard, batcher: { size: 250, partial: keep } }
  score: { from: [test, train], model: {} }
  evaluate: { from: score, evaluator: {} }
";

fn name(class: usize) -> String {
    format!("thing {class:04}")
}

fn paint(path: &Path, class: usize, shade: u8) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let colour = [(class % 250) as u8, (class / 250) as u8 * 60, shade];
    let picture = RgbImage::from_fn(4, 4, |x, y| if x < y { Rgb(colour) } else { Rgb([shade; 3]) });
    picture.save(path).expect("written");
}

/// The pipeline, with a photo of each class to train on and one to test with.
fn place() -> Place {
    let place = Place::new(PIPELINE);
    for class in 0..CLASSES {
        for (split, shade) in [("train", 90), ("test", 100)] {
            let below = format!("photos/{split}/{}/1.png", name(class));
            paint(&place.path().join(below), class, shade);
        }
    }
    place
}

fn runtime(place: &Place, arguments: &[&str]) -> Ran {
    finish(common::runtime(place.path(), arguments)).done()
}

#[test]
fn a_thousand_classes_are_trained_on_evaluated_reported_exported_and_predicted() {
    let place = place();
    let run = place.train("many", &[]);
    let line = run.text("metrics.jsonl");
    let line = line.lines().find(|line| line.contains("\"confusion\"")).expect("an evaluation");
    let report: EvaluationReport = serde_json::from_str(line).expect("an evaluation");
    assert_eq!((report.images, report.classes.len()), (1_000, CLASSES));
    assert_eq!(report.classes[999], name(999));
    // Every label came through: each class has its one image.
    let taken: Vec<_> = report.confusion.taken().collect();
    assert!((0..CLASSES).eq(taken.iter().map(|(class, _, _)| *class)), "{taken:?}");
    assert!(line.len() < 100_000, "only what happened is written: {} bytes", line.len());

    let page = run.text("report.html");
    assert!(page.contains("Those 40 of 1,000 classes of which the least is right."));
    assert!(
        !page.contains("<table class=\"confusion\">") && page.contains("Most frequent confusions")
    );
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    for (path, bytes) in run.files() {
        let is_board = path.to_string_lossy().contains("tfevents");
        let curves = bytes.windows(9).filter(|window| window == b"accuracy/").count();
        assert!(!is_board || curves == 0, "{}: {curves} curves", path.display());
    }

    let told = runtime(&place, &["eval", "runs/many"]).out;
    assert!(told.contains("of 1000 classes, those of which the least is right"), "{told}");
    assert!(told.lines().count() < 40, "{told}");
    let told = runtime(&place, &["eval", "runs/many", "--json"]).out;
    let value: Value = serde_json::from_str(&told).expect("a line of JSON");
    assert_eq!(value["class_accuracy"].as_array().expect("a list").len(), CLASSES);
    let again: EvaluationReport = serde_json::from_str(&told).expect("an evaluation");
    assert_eq!(again.confusion, report.confusion);

    let photo = format!("photos/test/{}/1.png", name(700));
    let told = runtime(&place, &["predict", "runs/many", &photo, "--json", "--top", "1000"]).out;
    let value: Value = serde_json::from_str(&told).expect("a line of JSON");
    let found = value["predictions"].as_array().expect("a list");
    let mut names: Vec<&str> = found.iter().filter_map(|one| one["class"].as_str()).collect();
    names.sort_unstable();
    assert!(
        names.iter().copied().eq((0..CLASSES).map(name).collect::<Vec<_>>().iter().map(|n| &**n))
    );

    runtime(&place, &["export", "runs/many", "--onnx", "many.onnx"]);
    let onnx = fs::read(place.path().join("many.onnx")).expect("written");
    let last = name(999);
    assert!(onnx.windows(last.len()).any(|window| window == last.as_bytes()));

    let told = runtime(&place, &["compare", "runs/many"]).out;
    assert!(told.lines().count() < 60, "{told}");
    place.resume("many", &["steps=3"]);
}

#[test]
fn photos_that_are_not_kept_give_the_same_weights() {
    let place = place();
    // A part of them, so that an epoch ends within the steps.
    let settings = ["steps=5", "stages.shuffle.shuffler.mode=epoch"];
    let by = |name: &str, cache: bool| {
        let stages = ["read", "read_test"];
        let caches = stages.map(|s| format!("stages.{s}.reader.format.images.cache={cache}"));
        let set: Vec<&str> =
            settings.into_iter().chain(caches.iter().map(String::as_str)).collect();
        place.train(name, &set)
    };
    let (kept, decoded) = (by("kept", true), by("decoded", false));
    runs::assert_end_alike(&kept, &decoded, None);
    let data = |run: &runs::Run| run.about()["data"].clone();
    assert_eq!(data(&kept), data(&decoded));
}
