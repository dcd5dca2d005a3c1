//! The library `gradflow`: trains, is stopped, predicts as the command does, and says what is wrong.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gradflow::{Error, Event, Image, Pipeline, Run, Stop};
use serde_json::{Value, json};

use common::runtime;

/// The pipeline of the library's documentation.
const PIPELINE: &str = include_str!("../runtime/gradflow/drawings.yaml");

/// The same, in a folder.
fn pipeline(folder: &Path) -> PathBuf {
    let file = folder.join("drawings.yaml");
    fs::write(&file, PIPELINE).expect("written");
    file
}

/// A photo of stripes.
fn photo(folder: &Path, name: &str, width: u32) -> PathBuf {
    let path = folder.join(name);
    let stripes = image::RgbImage::from_fn(48, 40, |x, y| {
        image::Rgb([if (x / width).is_multiple_of(2) { 220 } else { 30 }, (y * 6) as u8, 90])
    });
    stripes.save(&path).expect("written");
    path
}

fn example(name: &str) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_runtime")).parent().expect("a folder");
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let mut command = Command::new(programs.join("examples").join(file));
    common::offline(&mut command);
    command
}

#[track_caller]
fn printed(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn what_is_trained_predicts_as_the_command_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let (runs, (sender, steps)) = (folder.path().join("runs"), std::sync::mpsc::channel());
    let run = Pipeline::load(pipeline(folder.path()))
        .and_then(|pipeline| pipeline.set("summaries.scalars.steps", 1))
        .and_then(|pipeline| {
            pipeline.runs(&runs).named("first").run(move |event| {
                if let Event::Step(step) = event {
                    sender.send((step.step, step.loss)).expect("the test waits");
                }
            })
        })
        .expect("it trains");
    let steps: Vec<(u64, f64)> = steps.iter().collect();
    assert_eq!(run.folder(), runs.join("first"));
    let history = run.history().expect("it is read");
    let logged: Vec<(u64, f64)> = history.steps.iter().map(|s| (s.step, s.loss)).collect();
    assert_eq!(steps, logged);
    assert_eq!(logged.len(), 20);
    assert!(logged[19].1 < logged[0].1, "{logged:?}");

    let run = Run::open(run.folder()).expect("it is there");
    let checkpoint = run.latest().expect("its weights were kept");
    assert_eq!((checkpoint.steps(), checkpoint.classes().len()), (20, 10));
    let model = checkpoint.model().expect("it can be evaluated");
    let photos = [photo(folder.path(), "wide.png", 9), photo(folder.path(), "thin.png", 3)];
    let images = photos.clone().map(Image::from_file);
    let found = model.predict_all(&images).expect("two photos");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gradflow"));
    common::offline(&mut command).args(["predict", "--json", "--top", "10"]);
    let told = printed(command.arg(run.folder()).args(&photos).output().expect("it starts"));
    for ((prediction, line), image) in found.iter().zip(told.lines()).zip(&images) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let top = prediction.top(10);
        let told: Vec<Value> = top
            .iter()
            .map(|(class, share)| json!({ "class": class, "probability": share }))
            .collect();
        assert_eq!(line["predictions"], Value::from(told));
        assert!((prediction.probabilities().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // One at a time, in whatever order, is the same.
        assert_eq!(&model.predict(image).expect("one photo"), prediction);
    }
    assert_ne!(found[0], found[1]);

    let text =
        printed(example("predict").arg(run.folder()).args(&photos).output().expect("it starts"));
    let best = run.best().and_then(gradflow::Checkpoint::model).expect("it was evaluated");
    let prediction = best.predict(&images[1]).expect("a photo");
    let (class, share) = prediction.best();
    assert!(text.lines().nth(1).is_some_and(|line| line.contains(&format!("{class} {share:.4}"))));
}

#[test]
fn the_example_trains() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = pipeline(folder.path());
    let mut train = example("train");
    train.current_dir(folder.path()).arg(file).arg("11");
    let text = printed(train.output().expect("it starts"));
    assert!(text.contains("step 10: loss "), "{text}");
    assert!(text.contains("precision @ 1 after 11 steps: "), "{text}");
    assert!(folder.path().join("runs/drawings-001/report.html").is_file(), "{text}");
}

#[test]
fn a_run_that_is_stopped_keeps_its_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let stop = Stop::default();
    let its = stop.clone();
    let run = Pipeline::load(pipeline(folder.path()))
        .and_then(|pipeline| pipeline.set("steps", 1_000_000))
        .expect("a pipeline")
        .runs(folder.path())
        .stop(stop)
        .run(move |event| {
            if matches!(event, Event::Step(_)) {
                its.stop();
            }
        })
        .expect("it is kept");
    let steps = run.latest().expect("a checkpoint").steps();
    assert!((1..1_000_000).contains(&steps), "{steps}");
}

#[test]
fn what_is_built_in_code_is_checked_like_a_file() {
    let layers = json!([{ "dense": { "unit": 10 } }, "softmax_cross_entropy"]);
    let wrong = Pipeline::builder("inline")
        .set("steps", 5)
        .and_then(|it| it.stage("read", "reader", &[], json!({ "format": "synthetic" })))
        .and_then(|it| it.stage("batch", "batcher", &["reed"], json!({})))
        .and_then(|it| it.stage("gradients", "model", &["batch"], json!({ "layers": layers })))
        .expect("it is JSON")
        .build();
    let Err(Error::Pipeline(diagnostics)) = wrong.run(|_| ()) else { panic!("it is wrong") };
    let text = diagnostics.to_string();
    assert!(text.contains("units") && text.contains("reed"), "{text}");
    assert!(diagnostics.0.len() >= 2, "{text}");
}

#[test]
fn what_is_not_there_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |error: Error| error.to_string();
    let missing = folder.path().join("none.yaml");
    assert!(told(Pipeline::load(&missing).err().expect("no file")).contains("none.yaml"));
    assert!(told(Run::open(folder.path()).expect_err("no run")).contains("holds no run"));
    let endless = PIPELINE.replace("steps: 20\n", "");
    let error = Pipeline::from_yaml("endless", endless).runs(folder.path()).run(|_| ());
    assert!(told(error.expect_err("no end")).contains("`epochs` or `steps`"));
    let taken = Pipeline::load(pipeline(folder.path())).expect("it is there").runs(folder.path());
    let error = taken.named("../up").run(|_| ());
    assert!(told(error.expect_err("no name")).contains("cannot name a run's folder"));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn pictures_are_predicted_whatever_blocks_their_stages_make() {
    let folder = tempfile::tempdir().expect("a folder");
    let shuffled = PIPELINE
        .replace("seed: 0\n", "seed: 0\nblock_images: 1\n")
        .replace("{ from: read_test,", "{ from: mix_test,")
        .replace(
            "stages:\n",
            "stages:\n  mix_test: { from: read_test, shuffler: { mode: epoch } }\n",
        );
    let run = Pipeline::from_yaml("shuffled", shuffled)
        .runs(folder.path())
        .run(|_| ())
        .expect("it trains");
    let photos = [photo(folder.path(), "wide.png", 9), photo(folder.path(), "thin.png", 3)];
    let model = run.latest().and_then(gradflow::Checkpoint::model).expect("it can be evaluated");
    let found = model.predict_all(&photos.clone().map(Image::from_file)).expect("two photos");
    assert_eq!(found.len(), 2);
    let mut command = runtime(folder.path(), &[OsStr::new("predict"), run.folder().as_os_str()]);
    let told = printed(command.args(&photos).output().expect("it starts"));
    assert!(told.contains(found[1].best().0), "{told}");
}

#[test]
fn a_model_that_has_failed_tells_why_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = Pipeline::load(pipeline(folder.path())).expect("it is there");
    let run = pipeline.runs(folder.path()).run(|_| ()).expect("it trains");
    let model = run.latest().expect("its weights").adapter("nowhere").model().expect("a model");
    let grey = Image::from_rgb(32, 32, vec![128; 32 * 32 * 3]).expect("an image");
    for _ in 0..3 {
        let told = model.predict(&grey).expect_err("there is no such adapter").to_string();
        assert!(told.contains("nowhere"), "{told}");
    }
}

#[test]
fn what_fails_stops_no_other_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline =
        Pipeline::load(pipeline(folder.path())).expect("it is there").runs(folder.path());
    let failing = pipeline.clone().set("stages.read.reader.format", json!({ "cifar100": {} }));
    let failing = failing.expect("a value").data(folder.path().join("nothing"));
    assert!(matches!(
        failing.run(|_| ()),
        Err(Error::Failed(_) | Error::Usage(_) | Error::Pipeline(_))
    ));
    let run = pipeline.run(|_| ()).expect("it trains");
    assert_eq!(run.latest().expect("its weights").steps(), 20);
}

#[test]
fn warnings_and_adapters_are_those_of_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let listed = PIPELINE.replace("reducer: {", "reducer: { adapters: [nowhere],");
    let train = |text: String| Pipeline::from_yaml("listed", text).runs(folder.path());
    assert!(train(listed.clone()).run(|_| ()).is_err(), "there is no such adapter");
    let (sender, told) = std::sync::mpsc::channel();
    let warned = move |event: &Event| {
        if let Event::Warning(text) = event {
            sender.send(text.clone()).expect("the test waits");
        }
    };
    let run = train(listed).adapter("cpu").run(warned).expect("it trains on what was named");
    assert!(told.iter().any(|text| text.contains("replaces the `adapters` of train")));

    let (sender, told) = std::sync::mpsc::channel();
    let newest = run.latest().expect("a checkpoint").path().to_owned();
    fs::write(newest, "damaged").expect("written");
    let warned = move |text: &str| sender.send(text.to_owned()).expect("the test waits");
    let model = run.latest().expect("an earlier one").adapter("cpu").on_warning(warned).model();
    drop(model.expect("it can be evaluated"));
    assert!(told.iter().any(|text| text.contains("step-000000020")), "that it is damaged is told");
}
