//! `runtime tap`: contact sheets and tables of what crosses an edge.

mod common;

use std::fs;
use std::path::Path;

use stages::data::Split;
use stages::data::synthetic::Synthetic;

use common::{Ran, finish, runtime};

const PIPELINE: &str = "
seed: 3
steps: 20
adapter: cpu
stages:
  read: { reader: { format: { synthetic: { train: 200, test: 60 } }, split: train } }
  crop: { from: read, cropper: { size: 24, mode: central } }
  batch: { from: crop, batcher: { size: 50 } }
  gradients:
    from: batch
    model: { layers: [ dense: { units: 10, weights: { constant: 0.5 } }, softmax_cross_entropy ] }
  train: { from: gradients, reducer: { learning_rate: 1e-8 } }
  read_test: { reader: { format: { synthetic: { train: 200, test: 60 } }, split: test } }
  centre: { from: read_test, cropper: { size: 24, mode: central } }
  test: { from: centre, batcher: { size: 7, partial: keep } }
  score: { from: [test, train], model: {} }
  evaluate: { from: score, evaluator: {} }
";

/// Runs the command in a folder with the pipeline.
fn tap(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    fs::write(folder.join("p.yaml"), PIPELINE).expect("it is written");
    let Ran { status, out, told } =
        finish(runtime(folder, &[&["tap", "p.yaml"], arguments].concat()));
    (status.expect("an exit status"), out, told)
}

#[test]
fn images_are_drawn_and_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let fields = serde_json::json!({ "train": 200, "test": 60 });
    let synthetic: Synthetic = serde_json::from_value(fields).expect("fields");
    let data = synthetic.draw(Split::Train).expect("they are drawn");
    for (edge, file) in [("read", "tap-read.png"), ("crop->batch", "tap-crop.png")] {
        let (status, out, told) = tap(folder.path(), &[edge, "-n", "5"]);
        assert_eq!((status, &*told), (0, ""), "{out}");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 7, "{out}");
        for (index, line) in lines[1..6].iter().enumerate() {
            let label = &data.classes[data.labels[index] as usize];
            assert!(line.ends_with(label.as_str()), "{line}: {label}");
        }
        assert_eq!(lines[6], format!("5 images are in {file}"));
    }
    // Five pictures in three columns, enlarged three times, four pixels between them.
    let sheet = image::open(folder.path().join("tap-read.png")).expect("a PNG").into_rgb8();
    assert_eq!(sheet.dimensions(), (3 * 96 + 2 * 4, 2 * 96 + 4));
    let pixel = &data.pixels[3 * (32 * 5 + 7)..][..3];
    assert_eq!(sheet.get_pixel(7 * 3 + 1, 5 * 3 + 1).0, pixel);
    // What is there is not overwritten, and another name is.
    let before = fs::read(folder.path().join("tap-read.png")).expect("it is there");
    let (status, _, told) = tap(folder.path(), &["read"]);
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("tap-read.png is already there"), "{told}");
    assert_eq!(fs::read(folder.path().join("tap-read.png")).expect("it is there"), before);
    let (status, ..) = tap(folder.path(), &["batch", "-n", "60", "-o", "other.png"]);
    assert_eq!(status, 0);
    assert!(folder.path().join("other.png").is_file());
}

#[test]
fn numbers_are_described_before_the_first_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let (status, out, told) = tap(folder.path(), &["train"]);
    assert_eq!((status, &*told), (0, ""), "{out}");
    let row: Vec<&str> = out.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(
        row,
        ["dense1/weights", "[1728,", "10]", "5.0000e-1", "0.0000e0", "5.0000e-1", "5.0000e-1"]
    );

    // Equal scores: a gradient of the biases is 1/10 less the share of the class.
    let (status, out, told) = tap(folder.path(), &["gradients"]);
    assert_eq!((status, &*told), (0, ""), "{out}");
    let row = out.lines().find(|line| line.starts_with("dense1/biases")).expect("a row");
    let mean: f64 = row.split_whitespace().nth(2).expect("a mean").parse().expect("a number");
    assert!(mean.abs() < 1e-6, "{row}");

    let (status, out, told) = tap(folder.path(), &["score->evaluate", "-n", "9"]);
    assert_eq!((status, &*told), (0, ""), "{out}");
    assert_eq!(out.lines().count(), 10, "{out}");
    // The cross-entropy of ten equal scores.
    assert!(out.lines().skip(1).all(|line| line.contains("2.3026")), "{out}");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1, "no picture is left");
}

#[test]
fn edges_that_are_none_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (edge, part) in [
        ("croop", "no stage `croop`; did you mean `crop`?"),
        ("read->batch", "`batch` does not read from `read`"),
        ("evaluate", "`evaluate` puts out nothing"),
    ] {
        let (status, out, told) = tap(folder.path(), &[edge]);
        assert_eq!((status, &*out), (2, ""), "{told}");
        assert!(told.contains(part), "{told}");
    }
}
