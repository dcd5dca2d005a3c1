//! `runtime test`: the tests in a pipeline's YAML.

mod common;

use std::fs;
use std::path::Path;

use common::{Ran, finish, runtime};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Status, standard output and standard error of `runtime test` in this folder.
fn test(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Ran { status, out, told } = finish(runtime(folder, &[&["test"], arguments].concat()));
    (status, out, told)
}

const STAGES: &str = "
stages:
  read: { reader: { format: synthetic, split: test } }
  crop: { from: read, cropper: { size: 24, mode: central } }
  whiten: { from: crop, whitening: {} }
  batch: { from: whiten, batcher: {} }
  net: { from: batch, model: { layers: [dense: { units: 10 }, softmax_cross_entropy: {}] } }
  train: { from: net, reducer: {} }
";

#[test]
fn the_examples_tests_pass() {
    let (status, out, told) = test(Path::new(HERE), &["examples/augmentation.yaml"]);
    assert_eq!(status, Some(0), "{out}{told}");
    assert!(out.contains("5 passed, 0 failed"), "{out}");
}

#[test]
fn files_and_drawings_are_looked_at_and_differences_told() {
    let folder = tempfile::tempdir().expect("a folder");
    // Half black, half white, and so is its middle.
    let photo =
        image::RgbImage::from_fn(32, 32, |x, _| image::Rgb([if x < 16 { 0 } else { 255 }; 3]));
    photo.save(folder.path().join("half.png")).expect("saved");
    let tests = "
tests:
  half: { image: half.png, stage: crop, shape: [24, 24, 3], range: [0, 255], mean: 127.5, deviation: 127.5 }
  white: { image: half.png, stage: whiten, range: [-1.001, 1.001], mean: 0, deviation: 1 }
  wrong: { image: 7, stage: crop, shape: [32, 32, 3], range: [-1, 300], crc32c: '01234567' }
  gone: { image: gone.png, stage: crop, mean: 0 }
";
    fs::write(folder.path().join("p.yaml"), format!("{STAGES}{tests}")).expect("written");
    let (status, out, told) = test(folder.path(), &["p.yaml"]);
    assert_eq!(status, Some(1), "{out}{told}");
    for line in [
        "running 4 tests",
        "test half ... ok",
        "test white ... ok",
        "test wrong ... FAILED",
        "wrong, behind `crop`:",
        "  shape: expected [32, 32, 3], found [24, 24, 3]",
        "  crc32c: expected \"01234567\", found \"",
        "  cannot use gone.png",
        "2 passed, 2 failed",
    ] {
        assert!(out.contains(line), "{line:?} is not in {out}");
    }
    assert!(!out.contains("range:"), "{out}");
    assert!(told.contains("2 of 4 tests failed"), "{told}");
    // Only those that are asked for.
    let (status, out, _) = test(folder.path(), &["p.yaml", "hal"]);
    assert_eq!(status, Some(0), "{out}");
    assert!(out.contains("running 1 test\n"), "{out}");
    // A path in the YAML is seen from where the YAML is.
    let from_above = folder.path().join("p.yaml");
    let (status, out, _) = test(Path::new(HERE), &[&from_above.to_string_lossy(), "half"]);
    assert_eq!(status, Some(0), "{out}");
}

#[test]
fn no_tests_are_a_mistake_of_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("p.yaml"), STAGES).expect("written");
    let (status, _, told) = test(folder.path(), &["p.yaml"]);
    assert_eq!(status, Some(2), "{told}");
    assert!(told.contains("there are no tests in p.yaml"), "{told}");
}

#[test]
fn tests_that_nothing_can_pass_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let tests = "tests:
  upside_down: { image: 0, stage: crop, range: [10, 0] }
  negative: { image: 0, stage: crop, mean: 0, tolerance: -1 }
";
    fs::write(folder.path().join("p.yaml"), format!("{STAGES}{tests}")).expect("written");
    let (status, _, told) = test(folder.path(), &["p.yaml"]);
    assert_eq!(status, Some(2), "{told}");
    for part in ["expected the least and the largest, found 10, 0", "from 0 upwards, found -1"] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
}
