//! The share for validation belongs to the images, and a run says when it is evaluated on what was
//! trained on, by the real command. The photos are noise: nothing can be learnt from them but which
//! class each of them has, so that a precision well above a half says that they were trained on.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::{Path, PathBuf};

use base::random::Random;
use image::{Rgb, RgbImage};
use runs::Place;
use serde_json::Value;

use common::{Ran, finish};

const PIPELINE: &str = "
epochs: 60
adapter: cpu
autotune: false
stages:
  read:   { reader: { format: &f { images: { classes: [a, b], size_px: 8 } }, split: train, validation: 0.2, path: noise } }
  mix:    { from: read, shuffler: {} }
  scale:  { from: mix, normalizer: { mean: 127.5, deviation: 64 } }
  batch:  { from: scale, batcher: { size: 16 } }
  net:    { from: batch, model: { layers: [ { name: wide, dense: { units: 256 } }, { relu: {} }, { name: out, dense: { units: 2 } }, { softmax_cross_entropy: {} } ] } }
  train:  { from: net, reducer: { optimizer: adam, learning_rate: 0.001, moving_average: 0, evaluate: { epochs: 100 } } }
  read_t: { reader: { format: *f, split: validation, validation: 0.2, path: noise } }
  same:   { from: read_t, normalizer: { mean: 127.5, deviation: 64 } }
  test:   { from: same, batcher: { size: 16, partial: keep } }
  score:  { from: [test, train], model: {} }
  check:  { from: score, evaluator: {} }
";

/// What is said of images that were trained on.
const AMONG: &str = "are among those that";

/// The file of a photo.
fn file(folder: &Path, class: &str, name: &str) -> PathBuf {
    folder.join("noise").join(class).join(format!("{name}.png"))
}

/// Writes noise, another one for each number.
fn paint(path: &Path, number: u64) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let mut random = Random::keyed(5, "noise", 0, number);
    let noise = RgbImage::from_fn(8, 8, |_, _| Rgb([0; 3].map(|_: u8| random.bits() as u8)));
    noise.save(path).expect("written");
}

/// 200 photos of two classes by turns.
fn place() -> Place {
    let place = Place::new(PIPELINE);
    for number in 0..200 {
        let class = ["a", "b"][number as usize % 2];
        paint(&file(place.path(), class, &format!("{number:03}")), number);
    }
    place
}

fn runtime(place: &Place, arguments: &[&str]) -> Ran {
    runtime_at(place, arguments, None)
}

/// The same, where the environment says that data is here.
fn runtime_at(place: &Place, arguments: &[&str], data: Option<&Path>) -> Ran {
    let mut command = common::runtime(place.path(), arguments);
    command.envs(data.map(|data| ("GRADFLOW_DATA", data)));
    finish(command)
}

/// Evaluates a run: its precision, how many images that is of, and what is said.
fn eval(place: &Place, run: &str) -> (f64, u64, String) {
    let said = runtime(place, &["eval", run, "--json"]).done();
    let report: Value = serde_json::from_str(&said.out).expect("a line of JSON");
    let number = |field: &str| report[field].as_f64().expect("a number");
    (number("precision_at_1"), number("images") as u64, said.told)
}

/// What a run kept of the images that a stage read.
fn identity(place: &Place, run: &str, stage: &str) -> Value {
    let about = place.run(run).about();
    let data = about["data"].as_array().expect("a list").clone();
    let report = data.into_iter().find(|report| report["stage"] == stage);
    report.expect("it was read")["identity"].clone()
}

#[test]
fn an_old_run_is_evaluated_on_the_images_that_it_kept_back() {
    let place = place();
    place.train("first", &[]);
    let (precision, images, told) = eval(&place, "first");
    assert!(told.is_empty() && precision < 0.7, "{precision}: {told}");
    assert!((20..=60).contains(&images), "{images}");

    let rename = |from: &str, to: &str| {
        fs::rename(file(place.path(), "b", from), file(place.path(), "b", to)).expect("renamed");
    };
    rename("101", "000");
    rename("003", "zzz");
    assert_eq!(eval(&place, "first"), (precision, images, String::new()), "photos were renamed");

    for number in 200..230 {
        paint(&file(place.path(), "a", &number.to_string()), number);
    }
    let (_, more, told) = eval(&place, "first");
    assert!((images..images + 15).contains(&more), "{images}, then {more}");
    assert!(told.contains("reads other images, or other labels, than in the run: "), "{told}");
    assert!(
        told.contains(&format!(
            "{more} images, `validation: {{ fraction: 0.2, seed: 0 }}`, checksum"
        ))
    );
    assert!(!told.contains(AMONG), "{told}");

    // Photos that go take none of the others along.
    for number in 200..230 {
        fs::remove_file(file(place.path(), "a", &number.to_string())).expect("removed");
    }
    for number in (0..40).step_by(2) {
        fs::remove_file(file(place.path(), "a", &format!("{number:03}"))).expect("removed");
    }
    let (_, fewer, told) = eval(&place, "first");
    assert!((images - 15..=images).contains(&fewer) && !told.contains(AMONG), "{told}");
}

#[test]
fn images_that_a_run_was_trained_on_are_told_when_they_are_evaluated() {
    let place = place();
    let by_count = ["read", "read_t"]
        .map(|stage| format!("stages.{stage}.reader.validation={{ fraction: 0.2, by: count }}"));
    let set: Vec<&str> = by_count.iter().map(String::as_str).collect();
    place.train("first", &set);
    assert_eq!(eval(&place, "first").2, "");
    paint(&file(place.path(), "a", "zzz"), 200);
    let (precision, images, told) = eval(&place, "first");
    assert!(precision > 0.6, "another share, which was trained on: {precision}");
    let trained = told.split_once(" of the 40 images that `read_t` evaluates on (validation)");
    let trained = trained.and_then(|(before, _)| before.rsplit(' ').next()?.parse::<u64>().ok());
    assert!(images == 40 && trained.is_some_and(|trained| trained > 10), "{told}");
    assert!(told.contains("are among those that the run was trained on"), "{told}");

    // The file that says so is of no use any more: that is told, and nothing else changes.
    let set = place.run("first").path.join("trained_on.bin");
    let bytes = fs::read(&set).expect("it is kept");
    assert_eq!(bytes.len(), 8 + 8 * 160 + 4);
    fs::write(&set, &bytes[..100]).expect("written");
    let (_, _, told) = eval(&place, "first");
    assert!(told.contains("trained_on.bin is damaged"), "{told}");
    assert!(told.contains("does not say which images it was trained on"), "{told}");
}

#[test]
fn a_run_that_begins_with_weights_says_what_these_have_seen() {
    let place = place();
    place.train("first", &[]);
    let (precision, ..) = eval(&place, "first");
    let begin = |name: &str, from: &str, more: &[&str]| {
        let from = format!("stages.train.reducer.init_from=runs/{from}");
        let rate = "stages.train.reducer.learning_rate=0";
        let set = [&["epochs=1", "seed=1", &from, rate], more].concat();
        place.say(&["net.yaml", "--run", name], &set).done()
    };
    let help = "write `validation: { fraction: 0.2, seed: 0 }` in both readers, as it was there";
    let told = begin("second", "first", &[]).all();
    assert!(told.contains(AMONG) && told.contains("first") && told.contains(help), "{told}");
    assert!(identity(&place, "second", "read_t")["trained_on"].as_u64() > Some(10));

    let seed = ["read", "read_t"]
        .map(|stage| format!("stages.{stage}.reader.validation={{ fraction: 0.2, seed: 0 }}"));
    let seed: Vec<&str> = seed.iter().map(String::as_str).collect();
    let told = begin("third", "first", &seed).all();
    assert!(!told.contains(AMONG), "{told}");
    assert_eq!(eval(&place, "third").0, precision);
    // What the first one has seen is known to whoever begins with the third.
    let told = begin("fourth", "third", &["seed=2"]).all();
    assert!(told.contains(AMONG) && told.contains("third"), "{told}");
    // Whatever size the photos are scaled to, they are the same.
    let size =
        ["read", "read_t"].map(|stage| format!("stages.{stage}.reader.format.images.size_px=12"));
    let other: Vec<&str> = size.iter().map(String::as_str).collect();
    let names = ["stages.net.model.layers.0.name=wider"];
    let told = begin("larger", "first", &[&other[..], &names].concat()).all();
    assert!(told.contains(AMONG), "{told}");
    let told = begin("as large", "first", &[&other[..], &names, &seed].concat()).all();
    assert!(!told.contains(AMONG), "{told}");

    // A checkpoint that lies elsewhere cannot say it.
    let file = place.run("first").checkpoints().pop().expect("some");
    let file = place.run("first").checkpoint(file);
    fs::copy(file, place.path().join("kept.safetensors")).expect("copied");
    let from = ["stages.train.reducer.init_from=kept.safetensors"];
    let told = begin("unknown", "first", &from).all();
    assert!(told.contains("does not say which images it was trained on"), "{told}");
    let told = begin("known", "first", &[&seed[..], &from].concat()).all();
    assert!(!told.contains("does not say which images"), "{told}");
}

#[test]
fn a_run_that_goes_on_says_what_it_is_evaluated_on() {
    let place = place();
    place.train("first", &["epochs=2"]);
    let said = place.resume("first", &["epochs=3"]);
    assert!(!said.all().contains("warning"), "{}", said.all());
    // A folder with some of the same photos.
    let noise = place.path().join("noise");
    for class in ["a", "b"] {
        fs::create_dir_all(place.path().join("test/test").join(class)).expect("made");
        for entry in fs::read_dir(noise.join(class)).expect("there").take(30) {
            let path = entry.expect("there").path();
            let name = path.file_name().expect("a name");
            let copy = place.path().join("test/test").join(class).join(name);
            fs::copy(&path, copy).expect("copied");
        }
    }
    let other = [
        "epochs=4",
        "stages.read_t.reader={ format: { images: { classes: [a, b], size_px: 8 } }, split: test, path: test }",
    ];
    let told = place.resume("first", &other).all();
    assert!(told.contains("of the 60 images that `read_t` evaluates on (test)"), "{told}");
    assert!(told.contains("are among those that `read` trains on"), "{told}");
    assert!(told.contains("read_t reads other images, or other labels, than before"), "{told}");
}

#[test]
fn runs_that_were_evaluated_on_different_images_are_told() {
    let place = place();
    let said = place.say(&["net.yaml", "--seeds", "2"], &["epochs=1"]).done();
    let told = "these were evaluated on different images";
    assert!(said.told.contains(told), "{}", said.all());
    assert!(said.told.contains("seed 1: images of") && said.told.contains("seed: 1 }"));
    let said = runtime(&place, &["compare", "net-001", "net-002"]).done();
    assert!(said.out.contains(told) && said.out.contains("net-002: images of"), "{}", said.out);
    let fixed = ["read", "read_t"]
        .map(|stage| format!("stages.{stage}.reader.validation={{ fraction: 0.2, seed: 7 }}"));
    let set = ["epochs=1", &fixed[0], &fixed[1]];
    let said = place.say(&["net.yaml", "--seeds", "2"], &set).done();
    assert!(!said.all().contains(told), "{}", said.all());
    let said = runtime(&place, &["compare", "net-003", "net-004"]).done();
    assert!(!said.out.contains(told), "{}", said.out);
}

#[test]
fn copies_of_a_photo_are_on_one_side() {
    let place = place();
    // A quarter of them under another name, some of these with another label.
    for number in (0..100).step_by(2) {
        let from = file(place.path(), "a", &format!("{number:03}"));
        let class = ["a", "b"][number / 2 % 2];
        let copied = fs::copy(from, file(place.path(), class, &format!("copy {number}")));
        copied.expect("copied");
    }
    let said = place.say(&["net.yaml", "--run", "first"], &["epochs=1"]).done();
    assert!(!said.all().contains(AMONG), "{}", said.all());
    let [kept, trained] = ["read_t", "read"].map(|stage| identity(&place, "first", stage));
    let images = |of: &Value| of["images"].as_u64().expect("a count");
    assert_eq!(images(&kept) + images(&trained), 250);
    assert_eq!(kept["trained_on"], Value::Null);
    assert_eq!(kept["whole"], trained["whole"]);
    // Where the number of images decides, a copy may be on the other side.
    let by_count = ["read", "read_t"]
        .map(|stage| format!("stages.{stage}.reader.validation={{ fraction: 0.2, by: count }}"));
    let said =
        place.say(&["net.yaml", "--run", "count"], &["epochs=1", &by_count[0], &by_count[1]]);
    assert!(said.done().all().contains("are among those that `read` trains on"));
}

#[test]
fn every_class_has_its_share_or_is_named() {
    let place = place();
    for number in (21..200).step_by(2) {
        fs::remove_file(file(place.path(), "b", &format!("{number:03}"))).expect("removed");
    }
    for seed in 0..4 {
        let name = format!("seed-{seed}");
        let said = place.say(&["net.yaml", "--run", &name], &["epochs=1", &format!("seed={seed}")]);
        assert!(!said.done().all().contains("keeps back no image"));
        let said = runtime(&place, &["eval", &name, "--json"]).done();
        let report: Value = serde_json::from_str(&said.out).expect("a line of JSON");
        let row = |class: usize| {
            let row = report["confusion"][class].as_array().expect("a row");
            row.iter().map(|count| count.as_u64().expect("a count")).sum::<u64>()
        };
        assert!((10..=30).contains(&row(0)) && (1..=3).contains(&row(1)), "{} {}", row(0), row(1));
    }
    for number in (1..20).step_by(2).skip(1) {
        fs::remove_file(file(place.path(), "b", &format!("{number:03}"))).expect("removed");
    }
    let said = place.say(&["net.yaml", "--run", "one"], &["epochs=1"]).done();
    let told = said.all();
    assert_eq!(told.matches("keeps back no image of class `b` (1)").count(), 1, "{told}");
}

#[test]
fn a_path_in_another_form_is_the_same_data() {
    let place = place();
    let leak = "stages.read.reader.validation=null";
    let path = |path: &str| format!("stages.read.reader.path={path}");
    for form in ["./noise", "noise/", "a/../noise"] {
        let said = place.say(&["net.yaml", "--run", "leak"], &[leak, &path(form)]);
        said.refused(&["0.2 is kept back for validation here, and nothing"]);
    }
    let refused = |set: &[&str], more: &[&str], environment: Option<&Path>| {
        for verb in [&["check", "net.yaml"][..], &["run", "net.yaml", "--run", "leak"]] {
            let set = [leak].into_iter().chain(set.iter().copied());
            let set: Vec<&str> = set.flat_map(|set| ["--set", set]).collect();
            let arguments = [verb, &set, more].concat();
            let said = runtime_at(&place, &arguments, environment);
            said.refused(&["0.2 is kept back for validation here, and nothing"]);
        }
    };
    let noise = place.path().join("noise");
    let absolute = path(&noise.display().to_string());
    refused(&[&absolute], &[], None);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("noise", place.path().join("link")).expect("linked");
        refused(&[&path("link")], &[], None);
        refused(&[&path("link/../noise")], &[], None);
    }
    refused(&["stages.read.reader.path=null"], &[], Some(&noise));
    let said = place.say(&["net.yaml", "--data", "noise"], &[leak, &path("elsewhere")]);
    said.refused(&["0.2 is kept back for validation here, and nothing"]);
    // With the same share there is nothing wrong.
    place.say(&["net.yaml"], &["epochs=1", &absolute]).done();

    // A copy of the folder is known by what is in it.
    for class in ["a", "b"] {
        fs::create_dir_all(place.path().join("copy").join(class)).expect("made");
        for entry in fs::read_dir(noise.join(class)).expect("there") {
            let photo = entry.expect("there").path();
            let name = photo.file_name().expect("a name");
            fs::copy(&photo, place.path().join("copy").join(class).join(name)).expect("copied");
        }
    }
    let said = place.say(&["net.yaml", "--run", "leak"], &[leak, &path("copy")]);
    assert_eq!(said.status, Some(1), "{}", said.all());
    for part in ["would be in both", "`read` nothing", "the same `validation` in both readers"] {
        assert!(said.told.contains(part), "no {part:?} in {}", said.told);
    }
    assert!(place.run("leak").checkpoints().is_empty());
}

#[test]
fn photos_that_are_tested_and_trained_on_are_counted() {
    let place =
        Place::new(&PIPELINE.replace("validation: 0.2, ", "").replace("validation", "test"));
    for (split, numbers) in [("train", 0..60), ("test", 50..80)] {
        for number in numbers {
            let class = ["a", "b"][number as usize % 2];
            let folder = place.path().join("noise").join(split).join(class);
            paint(&folder.join(format!("{split}{number}.png")), number);
        }
    }
    let told = place.say(&["net.yaml", "--run", "first"], &["epochs=1"]).done().all();
    let line = "10 of the 30 images that `read_t` evaluates on (test) are among those that `read` trains on";
    assert_eq!(told.matches(line).count(), 1, "{told}");
    let told = runtime(&place, &["compare", "first"]).done().out;
    assert!(told.contains("first was trained on 10 of the 30 images that `read_t`"), "{told}");
}

/// Makes of a run what an earlier version would have left: its share is drawn by the number of images,
/// its pipeline says nothing of that, and nothing says which images these were.
fn make_old(place: &Place, name: &str) {
    let run = place.run(name);
    let old = |text: &str| -> String {
        let is_new = |line: &str| {
            let line = line.trim();
            line.starts_with("by: count") || line.starts_with("stratified:")
        };
        text.lines().filter(|line| !is_new(line)).map(|line| format!("{line}\n")).collect()
    };
    for steps in run.checkpoints() {
        run.rewrite(steps, |about| {
            about.pipeline = old(&about.pipeline);
            about.data.iter_mut().for_each(|report| report.identity = None);
        });
    }
    let pipeline = run.text("pipeline.yaml");
    assert!(pipeline.contains("by: count"), "{pipeline}");
    fs::write(run.path.join("pipeline.yaml"), old(&pipeline)).expect("written");
    let mut about = run.about();
    for report in about["data"].as_array_mut().expect("a list") {
        report.as_object_mut().expect("a map").remove("identity");
    }
    fs::write(run.path.join("run.json"), about.to_string()).expect("written");
    fs::remove_file(run.path.join("trained_on.bin")).expect("it was there");
}

#[test]
fn runs_of_earlier_versions_keep_their_share() {
    let place = place();
    let set = ["read", "read_t"]
        .map(|stage| format!("stages.{stage}.reader.validation={{ fraction: 0.2, by: count }}"));
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    place.train("old", &[&set[..], &["epochs=2"]].concat());
    place.train("whole", &[&set[..], &["epochs=4"]].concat());
    let new = eval(&place, "old");
    make_old(&place, "old");
    assert_eq!(eval(&place, "old"), new);
    let told = place.resume("old", &["epochs=4"]).all();
    assert!(!told.contains("warning"), "{told}");
    let [whole, old] = ["whole", "old"].map(|name| place.run(name).stored(40));
    assert_eq!(whole.tensors, old.tensors);
    assert!(place.run("old").text("pipeline.yaml").contains("by: count"));
    assert_eq!(eval(&place, "old"), eval(&place, "whole"));
    place.resume("old", &["epochs=5"]);
    // Without a word of the images that were trained on, a photo makes another share.
    make_old(&place, "whole");
    paint(&file(place.path(), "a", "zzz"), 200);
    let (_, _, told) = eval(&place, "whole");
    assert!(told.contains("does not say which images it was trained on"), "{told}");
}

#[test]
fn other_labels_of_the_same_images_are_told_and_the_best_is_chosen_anew() {
    let place = place();
    for class in ["a", "b"] {
        for number in 0..10 {
            let photo = place.path().join(format!("noise/test/{class}/{number}.png"));
            paint(&photo, 1000 + number + u64::from(class == "b") * 100);
        }
        fs::create_dir_all(place.path().join("noise/train")).expect("made");
        let from = place.path().join("noise").join(class);
        fs::rename(from, place.path().join("noise/train").join(class)).expect("moved");
    }
    let tested = PIPELINE
        .replace(", validation: 0.2", "")
        .replace("split: validation", "split: test")
        .replace("epochs: 60", "epochs: 4");
    fs::write(place.path().join("net.yaml"), tested).expect("written");
    place.train("first", &[]);
    let before = eval(&place, "first");
    assert!(!before.2.contains("labels"), "{}", before.2);
    // Each class is taken for the other.
    let test = place.path().join("noise/test");
    for (from, to) in [("a", "c"), ("b", "a"), ("c", "b")] {
        fs::rename(test.join(from), test.join(to)).expect("renamed");
    }
    let (precision, images, told) = eval(&place, "first");
    assert_eq!(images, before.1);
    assert!((precision + before.0 - 1.0).abs() < 1e-9, "{precision} {}", before.0);
    assert!(told.contains("`read_t` reads other images, or other labels"), "{told}");
    let told = place.resume("first", &["epochs=8"]).all();
    assert!(told.contains("read_t reads other images, or other labels, than before"), "{told}");
    let best = fs::read_to_string(place.run("first").path.join("checkpoints/best.json"));
    let best: Value = serde_json::from_str(&best.expect("there is a best")).expect("JSON");
    assert!(best["step"].as_u64() > Some(50), "{best}");
}

#[test]
fn labels_that_contradict_each_other_are_told() {
    let place = place();
    let copied = |class: &str| file(place.path(), class, "copy");
    for class in ["a", "b"] {
        paint(&copied(class), 5000);
    }
    let told = place.say(&["net.yaml", "--run", "copies"], &["epochs=1"]).done().all();
    assert!(told.contains("1 image is in") && told.contains("different labels"), "{told}");
}
