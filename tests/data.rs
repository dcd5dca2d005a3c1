//! Data sets as other programs write them, through the examples that read them.

mod common;
#[path = "common/python.rs"]
mod python;

use std::fs;
use std::path::Path;

use common::finish;
use flow::item::{Pixels, SampleId};
use serde_json::Value;
use tempfile::TempDir;

/// Files that SciPy, NumPy and Pillow wrote, and what Python says of them.
fn written() -> Option<(TempDir, Value)> {
    let python = python::find()?;
    let folder = tempfile::tempdir().expect("a folder");
    let said = python::ask(&python, "datasets.py", folder.path());
    Some((folder, said))
}

/// Runs a command in the repository's folder; gives everything it printed.
fn runtime(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = common::runtime(Path::new(env!("CARGO_MANIFEST_DIR")), arguments);
    command.env("GRADFLOW_RUNS", folder.join("runs"));
    let ran = finish(command);
    if ran.status == Some(0) { Ok(ran.all()) } else { Err(ran.all()) }
}

/// Two steps and one evaluation of an example on the data of a folder.
fn trains(folder: &Path, example: &str, data: &str, set: &[&str]) -> String {
    let data = folder.join(data).display().to_string();
    let mut arguments = vec!["run", example, "--adapter", "cpu", "--data", &data];
    for set in ["steps=2", "stages.batch.batcher.size=16"].iter().chain(set) {
        arguments.extend(["--set", set]);
    }
    let told = runtime(folder, &arguments).unwrap_or_else(|told| panic!("{example}: {told}"));
    assert!(told.contains("precision @ 1 = "), "{example}: {told}");
    told
}

#[test]
fn the_examples_run_on_files_of_scipy_and_numpy() {
    let Some((folder, _)) = written() else { return };
    let folder = folder.path();
    for kind in ["packed", "plain"] {
        let told = trains(folder, "examples/svhn.yaml", &format!("svhn-{kind}"), &[]);
        // About a tenth of 60 is kept back: 6 on average, 3 at least and 9 at most.
        let is_left = |images: u32| told.contains(&format!("data: SVHN train, {images} images"));
        assert!((51..=57).any(is_left), "{told}");
        let set = ["stages.read_test.reader.split=test"];
        trains(folder, "examples/svhn.yaml", &format!("svhn-{kind}"), &set);
        let told = trains(folder, "examples/mnist.yaml", &format!("mnist-{kind}"), &[]);
        assert!(told.contains("data: IDX images train, 60 images"), "{told}");
    }
    trains(folder, "examples/cifar100.yaml", "cifar100", &[]);
    let coarse = [
        "stages.read.reader.format.cifar100.labels=coarse",
        "stages.read_test.reader.format.cifar100.labels=coarse",
        "stages.gradients.model.layers.12.dense.units=20",
    ];
    trains(folder, "examples/cifar100.yaml", "cifar100", &coarse);
}

#[test]
fn the_pixels_are_those_that_scipy_wrote() {
    let Some((folder, said)) = written() else { return };
    for kind in ["packed", "plain"] {
        let data = folder.path().join(format!("svhn-{kind}"));
        let format = stages::data::svhn::Svhn::default();
        for split in [stages::data::Split::Train, stages::data::Split::Test] {
            use stages::data::Format as _;
            let place = format.find(&data, split).expect("readable").expect("there");
            let read = format.open(&place, split).expect("opened");
            assert_eq!(read.labels()[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
            let first: Vec<u8> =
                serde_json::from_value(said[kind][split.name()].clone()).expect("six bytes");
            let samples = read.read(&[7], SampleId { epoch: 0, index: 0 }).expect("read");
            let Pixels::U8(pixels) = &samples[0].image.pixels else { panic!("no bytes") };
            assert_eq!(pixels[..6], first, "{kind} {}", split.name());
        }
    }
}

#[test]
fn ones_own_images_are_read_and_a_damaged_one_is_told() {
    let Some((folder, _)) = written() else { return };
    let folder = folder.path();
    let told = trains(folder, "examples/my-images.yaml", "photos", &[]);
    assert!(told.contains("1 of 60 images are left out") && told.contains("5.jpg"), "{told}");
    assert!(told.contains("train, 59 images"), "{told}");

    let photos = folder.join("photos").display().to_string();
    let format = "stages.read.reader.format.images";
    let refused = |set: &[&str]| {
        let mut arguments = vec!["run", "examples/my-images.yaml", "--data", &photos];
        for set in ["adapter=cpu", "steps=2"].iter().chain(set) {
            arguments.extend(["--set", set]);
        }
        runtime(folder, &arguments).expect_err("it is refused")
    };
    let told = refused(&[&format!("{format}.damaged=stop")]);
    assert!(told.contains("5.jpg") && told.contains("damaged: skip"), "{told}");
    let told = refused(&[&format!("{format}.grey=refuse"), &format!("{format}.damaged=stop")]);
    assert!(told.contains("1.jpg") && told.contains("grey: expand"), "{told}");
    let told = refused(&[&format!("{format}.alpha=refuse"), &format!("{format}.damaged=stop")]);
    assert!(told.contains("2.png") && told.contains("alpha: white"), "{told}");

    fs::remove_dir_all(folder.join("photos/test/dog")).expect("removed");
    let told = refused(&[]);
    assert!(told.contains("read_test") && told.contains("lacks a folder `dog`"), "{told}");
    fs::create_dir(folder.join("photos/test/dog")).expect("made");
    assert!(refused(&[]).contains("class `dog` is empty"));
}

#[test]
fn a_model_of_other_classes_is_not_evaluated() {
    let Some((folder, _)) = written() else { return };
    let folder = folder.path();
    let counted = [
        "name=mine",
        "stages.read.reader.format.images.classes=10",
        "stages.read_test.reader.format.images.classes=10",
    ];
    let told = trains(folder, "examples/my-images.yaml", "photos", &counted);
    assert!(told.contains("mine-001"), "{told}");
    // As many classes, in the same folder, and a cat would be called a bus.
    for split in ["train", "test"] {
        let photos = folder.join("photos").join(split);
        fs::rename(photos.join("truck"), photos.join("bus")).expect("renamed");
    }
    let other = "class 3 was `cat`, and here it is `bus`";
    let told = runtime(folder, &["eval", "mine-001"]).expect_err("other classes");
    assert!(told.contains("the model was trained on other classes"), "{told}");
    assert!(told.contains(other), "{told}");
    let resume = ["run", "--resume", "mine-001", "--set", "steps=3"];
    let told = runtime(folder, &resume).expect_err("other classes");
    assert!(told.contains("the run that is resumed was trained on other classes"), "{told}");
    assert!(told.contains(other), "{told}");
}
