//! What TensorBoard itself reads in the event files.

mod common;
#[path = "common/python.rs"]
mod python;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::random::Random;
use flow::item::{Image, Pixels};
use flow::picture::Picture;
use flow::plan::Plan;
use flow::reports::Histogram;
use flow::stage::RunSettings;
use record::tensorboard::proto::HistogramProto;
use record::tensorboard::{EventFile, cut, graph};
use serde_json::{Value, json};
use stages::golden;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// An empty folder that is still there after the test, to be looked at.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tensorboard").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("what an earlier test left can be removed");
    }
    folder
}

/// Of multiples of 1/32: their sums have few digits, and come back from JSON as they were.
fn histogram(step: u64) -> Histogram {
    let mut random = Random::keyed(1, "histogram", 0, step);
    let mut histogram = Histogram::new();
    let spread = 1.0 + step as f64 / 10.0;
    let values: Vec<f32> =
        (0..2000).map(|_| (spread * 32.0 * random.normal()).round() as f32 / 32.0).collect();
    histogram.add(&values);
    histogram
}

/// Each of them as what the script prints.
fn shown(histogram: &Histogram) -> Value {
    let proto = HistogramProto::from(histogram);
    json!({
        "min": proto.min,
        "max": proto.max,
        "num": proto.num,
        "sum": proto.sum,
        "sum_squares": proto.sum_squares,
        "bucket_limit": proto.bucket_limit,
        "bucket": proto.bucket,
    })
}

/// Two images that show the way of the axes, twice as large, side by side.
fn picture() -> Picture {
    let bytes = (0..8 * 8).flat_map(|i| [i % 8 * 36, i / 8 * 36, 0]).collect::<Vec<u8>>();
    let bytes = Image { shape: [8, 8, 3], pixels: Pixels::U8(bytes.into()) };
    let reals = (0..6 * 8).map(|i| i as f32 - 20.0).collect();
    let reals = Image { shape: [6, 8, 1], pixels: Pixels::F32(reals) };
    Picture::sheet(&[Picture::from_image(&bytes), Picture::from_image(&reals)], 2, 2, 1)
}

#[test]
fn tensorboard_reads_what_was_written() {
    let Some(python) = python::find() else { return };
    let folder = folder("written");
    let mut file = EventFile::create(&folder, Duration::from_secs(1)).expect("a file");
    let steps = 0..20;
    let time = |step: u64| 1.6e9 + step as f64;
    let loss = |step: u64| 4.0 / (1.0 + step as f64);
    for step in steps.clone() {
        file.scalar(step, time(step), "train/loss", loss(step)).expect("written");
        file.histogram(step, time(step), "conv1/weights", &histogram(step)).expect("written");
    }
    file.scalar(3, time(3), "train/learning_rate", f64::NAN).expect("written");
    let picture = picture();
    file.image(7, time(7), "images", &picture).expect("written");
    file.text(0, time(0), "pipeline", "a *text*").expect("written");
    file.histogram(1, time(1), "nothing", &Histogram::new()).expect("written");
    file.flush().expect("written");

    let found = python::events(&python, &folder);
    assert_eq!(found["file_version"], json!(2.0));
    let numbers: Vec<Value> =
        steps.clone().map(|step| json!([step, time(step), loss(step) as f32])).collect();
    assert_eq!(found["scalars"]["train/loss"], json!(numbers));
    let rate = &found["scalars"]["train/learning_rate"];
    assert_eq!((&rate[0][0], rate[0][2].is_null()), (&json!(3), true));
    for (at, step) in steps.enumerate() {
        let expected = json!([step, time(step), shown(&histogram(step))]);
        assert_eq!(found["histograms"]["conv1/weights"][at], expected);
    }
    assert_eq!(found["histograms"]["nothing"][0][2], shown(&Histogram::new()));
    let (width, height) = (picture.width, picture.height);
    assert_eq!(found["images"]["images"], json!([[7, time(7), width, height, picture.rgb]]));
    assert_eq!(found["texts"], json!({ "pipeline": [[0, time(0), "a *text*"]] }));
    assert_eq!(found["graph"], Value::Null);
}

/// Every edge of the graph leads from a node that is there, and names are told apart.
#[test]
fn tensorboard_reads_the_graph() {
    let Some(python) = python::find() else { return };
    let folder = folder("graph");
    let kinds = stages::kinds(&stages::Catalog::default());
    let yaml = fs::read_to_string(Path::new(HERE).join("pipeline.yaml")).expect("pipeline.yaml");
    let plan = Plan::load(&kinds, "pipeline.yaml", &yaml, &[], &RunSettings::default());
    let (plan, _) = plan.expect("a valid pipeline");
    let model = golden::graph().expect("the tutorial's network compiles");
    let mut file = EventFile::create(&folder, Duration::ZERO).expect("a file");
    file.graph(1.6e9, &graph::pipeline(&plan).and(graph::model(&model))).expect("written");
    file.scalar(0, 1.6e9, "loss", 1.0).expect("written");

    let found = python::events(&python, &folder);
    let nodes = found["graph"].as_array().expect("nodes");
    let names: HashSet<&str> = nodes.iter().filter_map(|node| node["name"].as_str()).collect();
    assert_eq!(names.len(), nodes.len());
    for node in nodes {
        for input in node["input"].as_array().expect("inputs") {
            let input = input.as_str().expect("a name");
            let from = input.split(':').next().unwrap_or_default();
            assert!(names.contains(from), "{node}");
        }
    }
    for (at, stage) in plan.stages.iter().enumerate() {
        let from = |from: &usize| format!("pipeline/{}", plan.stages[*from].id);
        assert_eq!(nodes[at]["name"], from(&at));
        assert_eq!(nodes[at]["op"], stage.kind);
        assert_eq!(nodes[at]["input"], json!(stage.from.iter().map(from).collect::<Vec<_>>()));
    }
    let find = |name: &str| nodes.iter().find(|node| node["name"] == name);
    let weights = find("model/conv1/weights").expect("the weights of the first layer");
    assert_eq!((&weights["op"], &weights["shapes"]), (&json!("Variable"), &json!([[5, 5, 3, 64]])));
    let images = find("inputs/images").expect("the images");
    assert_eq!(images["shapes"], json!([[-1, 24, 24, 3]]));
    for layer in &model.layers {
        let inside = format!("model/{}/", layer.name);
        assert!(names.iter().any(|name| name.starts_with(&inside)), "{inside}");
    }
}

/// A run that was stopped and goes on from an earlier step shows each step once.
#[test]
fn tensorboard_reads_one_run_after_a_cut() {
    let Some(python) = python::find() else { return };
    let (folder, aside) = (folder("cut/run"), folder("cut/aside"));
    let write = |steps: std::ops::Range<u64>, value: f64| {
        let mut file = EventFile::create(&folder, Duration::MAX).expect("a file");
        file.start(steps.start, 1.6e9).expect("written");
        for step in steps {
            file.scalar(step, 1.6e9, "loss", value).expect("written");
        }
        file.flush().expect("written");
    };
    write(0..8, 1.0);
    let done = cut(&folder, 5, &aside).expect("the files can be cut");
    assert_eq!((done.kept, done.moved, done.damaged_bytes), (7, 3, 0));
    write(5..10, 2.0);
    let expected = |steps: std::ops::Range<u64>, value: f64| {
        steps.map(move |step| json!([step, 1.6e9, value]))
    };
    let whole: Vec<Value> = expected(0..5, 1.0).chain(expected(5..10, 2.0)).collect();
    assert_eq!(python::events(&python, &folder)["scalars"]["loss"], json!(whole));
    // What was moved is no run of its own, unless somebody makes it one.
    assert_eq!(python::events(&python, &aside)["scalars"], json!({}));
    let [file] = &done.aside[..] else { panic!("{done:?}") };
    fs::rename(file, aside.join("events.out.tfevents.0")).expect("renamed");
    let moved: Vec<Value> = expected(5..8, 1.0).collect();
    assert_eq!(python::events(&python, &aside)["scalars"]["loss"], json!(moved));
}
