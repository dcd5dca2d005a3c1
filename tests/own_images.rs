//! One's own images by the command: folders and files that cannot be trained on, and runs whose classes
//! are not those of the data.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use runs::Place;

use common::{Ran, finish, runtime};

const PIPELINE: &str = "
steps: 2
adapter: cpu
stages:
  read:
    reader:
      format: &photos { images: { classes: 3, size_px: 12 } }
      split: train
      path: &folder photos
  shuffle: { from: read, shuffler: {} }
  whiten: { from: shuffle, whitening: {} }
  batch: { from: whiten, batcher: { size: 6 } }
  gradients:
    from: batch
    model:
      layers:
        - { name: hidden, dense: { units: 5 } }
        - { relu: {} }
        - { name: top, dense: { units: 3 } }
        - { softmax_cross_entropy: {} }
  train: { from: gradients, reducer: { learning_rate: 0.01 } }
  read_test: { reader: { format: *photos, split: test, path: *folder } }
  standard: { from: read_test, whitening: {} }
  test: { from: standard, batcher: { size: 6, partial: keep } }
  score: { from: [test, train], model: {} }
  evaluate: { from: score, evaluator: {} }
";

/// What the classes are set to.
fn classes(of: &str) -> Vec<String> {
    ["read", "read_test"]
        .map(|stage| format!("stages.{stage}.reader.format.images.classes={of}"))
        .to_vec()
}

/// A pipeline and its photos: six of each class to train on, two to test with.
fn place() -> Place {
    let place = Place::new(PIPELINE);
    for (split, count) in [("train", 6), ("test", 2)] {
        for (number, class) in ["ant", "bee", "cow"].iter().enumerate() {
            for at in 0..count {
                paint(&place.path().join(format!("photos/{split}/{class}/{at}.jpg")), number, at);
            }
        }
    }
    place
}

fn paint(path: &Path, class: usize, number: u32) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let mut colour = [number as u8 * 20; 3];
    colour[class] = 200;
    let picture = RgbImage::from_fn(20, 16, |x, y| Rgb([colour[0], colour[1], (x * y) as u8]));
    picture.save(path).expect("written");
}

/// The command's answer to `run` with these settings.
fn run(place: &Place, name: &str, set: &[String]) -> Ran {
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    place.say(&["net.yaml", "--run", name], &set)
}

/// Asserts that a command failed with all of these, and that no run was begun.
fn fails(place: &Place, set: &[String], parts: &[&str]) {
    let said = run(place, "refused", set);
    assert!(matches!(said.status, Some(1 | 2)), "{parts:?}: {}", said.out);
    for part in parts {
        assert!(said.told.contains(part), "no {part:?} in: {}", said.told);
    }
    assert!(place.run("refused").checkpoints().is_empty(), "{parts:?}");
}

#[test]
fn folders_of_too_few_classes_are_told() {
    let place = place();
    let photos = place.path().join("photos");
    fails(&place, &classes("[ant]"), &["expected 2 to 65,536 classes", "found 1"]);
    let swap = |from: &str, to: &str| fs::rename(photos.join(from), photos.join(to));
    swap("train/bee", "bee").expect("moved");
    swap("train/cow", "cow").expect("moved");
    // A single folder, whatever is written down.
    fails(&place, &[], &["has 1 folders", "`classes` says 3", "ant"]);
    let named = classes("[ant, bee, cow]");
    fails(&place, &named, &["lacks a folder `bee`", "each class has one; there are ant"]);
    swap("bee", "train/bee").expect("moved");
    fs::create_dir(photos.join("train/cow")).expect("made");
    for set in [&[][..], &named] {
        fails(&place, set, &["stage read", "class `cow` is empty", "train/cow"]);
    }
    fs::write(photos.join("train/cow/notes.txt"), "no photo").expect("written");
    fails(&place, &[], &["class `cow` is empty", "no .png, .jpg or .jpeg file"]);
}

#[test]
fn other_classes_to_evaluate_on_are_told_before_the_first_step() {
    let place = place();
    let test = place.path().join("photos/test");
    fs::rename(test.join("bee"), test.join("dog")).expect("renamed");
    let told = "class 1 was `bee`, and here it is `cow`";
    fails(&place, &[], &["stage score", "trained on other classes", told]);
}

#[test]
fn a_damaged_file_in_the_middle_ends_the_run_or_is_counted() {
    let place = place();
    let [cut, text] =
        ["photos/train/bee/3.jpg", "photos/train/cow/1.jpg"].map(|file| place.path().join(file));
    let whole = fs::read(&cut).expect("there");
    fs::write(&cut, &whole[..whole.len() - 30]).expect("written");
    fails(&place, &[], &["stage read", "bee/3.jpg", "the JPEG ends", "`damaged: skip`"]);
    fs::write(&text, "this is a text").expect("written");
    let skip = ["read", "read_test"]
        .map(|stage| format!("stages.{stage}.reader.format.images.damaged=skip"));
    let said = run(&place, "skip", &skip).done();
    let all = said.all();
    for part in ["2 of 18 images are left out", "bee/3.jpg", "cow/1.jpg", "neither PNG nor JPEG"] {
        assert!(all.contains(part), "no {part:?} in: {all}");
    }
    assert!(all.contains("train, 16 images"), "{all}");
}

#[test]
fn a_run_of_other_classes_is_neither_evaluated_nor_resumed_and_begun_with_only_when_told() {
    let place = place();
    run(&place, "first", &[]).done();
    for split in ["train", "test"] {
        let folder = place.path().join("photos").join(split);
        fs::rename(folder.join("bee"), folder.join("dog")).expect("renamed");
    }
    // As many classes in the same folder, and a cow would be called a bee.
    let other = "class 1 was `bee`, and here it is `cow`";
    let said = place.say(&["--resume", "first"], &["steps=4"]);
    assert_eq!(said.status, Some(1), "{}", said.told);
    assert!(said.told.contains(other) && said.told.contains("resumed"), "{}", said.told);
    assert_eq!(place.run("first").checkpoints(), [2], "nothing is lost");

    finish(runtime(place.path(), &["eval", "runs/first"]))
        .failed(1, &[other, "trained on other classes"]);

    let from = ["stages.train.reducer.init_from=runs/first".to_owned()];
    let said = run(&place, "begun", &from).done();
    let all = said.all();
    for part in [other, "Only shapes count: layer `top` has the shapes"] {
        assert!(all.contains(part), "no {part:?} in: {all}");
    }
}
