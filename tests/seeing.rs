//! What a run of the real command lets its user see: everything in the event files as TensorBoard
//! reads them, and everything on the report page.

mod common;
#[path = "common/python.rs"]
mod python;
#[path = "common/runs.rs"]
mod runs;

use std::collections::BTreeSet;

use flow::reports::StepReport;
use record::metrics;
use record::recorder::metrics_file;
use runs::{PIPELINE, Place, Run, STEPS};
use serde_json::Value;

/// The trained tensors of the pipeline's model, and how many numbers each has.
const VARIABLES: [(&str, u64); 4] = [
    ("conv/weights", 3 * 3 * 3 * 4),
    ("conv/biases", 4),
    ("top/weights", 6 * 6 * 4 * 10),
    ("top/biases", 10),
];

/// Its layers, and how many numbers each makes of one image.
const LAYERS: [(&str, u64); 5] = [
    ("conv", 12 * 12 * 4),
    ("relu1", 12 * 12 * 4),
    ("max_pool1", 6 * 6 * 4),
    ("top", 10),
    ("softmax_cross_entropy1", 10),
];

const BATCH: u64 = 16;

/// The steps at which it looks at distributions and images.
const LOOKS: [u64; 5] = [0, 5, 10, 15, 20];

fn train() -> (Place, Run) {
    let place = Place::new(PIPELINE);
    let run = place.train("seen", &[]);
    (place, run)
}

/// The points under a tag: the step of each and what follows its time.
fn points<'a>(found: &'a Value, kind: &str, tag: &str) -> Vec<(u64, &'a [Value])> {
    let points = found[kind][tag].as_array().unwrap_or_else(|| panic!("no {tag} among {kind}"));
    let parts = points.iter().map(|point| point.as_array().expect("a point").as_slice());
    parts.map(|parts| (parts[0].as_u64().expect("a step"), &parts[2..])).collect()
}

/// The curve under a tag.
fn curve(found: &Value, tag: &str) -> Vec<(u64, f64)> {
    let points = points(found, "scalars", tag).into_iter();
    points.map(|(step, value)| (step, value[0].as_f64().expect("a number"))).collect()
}

fn tags(found: &Value, kind: &str) -> BTreeSet<String> {
    found[kind].as_object().expect("a map").keys().cloned().collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// TensorBoard keeps numbers of 32 bits.
fn stored(value: f64) -> f64 {
    f64::from(value as f32)
}

/// Asserts that these histograms were made at each look, of so many numbers, all finite.
fn assert_histograms(found: &Value, tag: &str, numbers: u64) {
    let points = points(found, "histograms", tag);
    assert_eq!(points.iter().map(|(step, _)| *step).collect::<Vec<_>>(), LOOKS, "{tag}");
    for (step, histogram) in points {
        assert_eq!(histogram[0]["num"], numbers as f64, "{tag} at {step}");
        let buckets = histogram[0]["bucket"].as_array().expect("a list");
        let inside: f64 = buckets.iter().filter_map(Value::as_f64).sum();
        assert_eq!(inside, numbers as f64, "{tag} at {step}");
    }
}

#[test]
fn tensorboard_sees_everything_of_a_run() {
    let Some(python) = python::find() else { return };
    let (_place, run) = train();
    let told = metrics::read(&metrics_file(&run.path)).expect("there are metrics");
    let found = python::events(&python, &run.path.join("tensorboard/train"));

    // The same numbers as in the metrics, at each step.
    let term = |report: &StepReport, name: &str| {
        let term = report.terms.iter().find(|term| term.name == name);
        term.unwrap_or_else(|| panic!("no term {name}")).clone()
    };
    let (entropy, decay) = ("cross_entropy", "top/weights/loss");
    type Figure<'a> = (&'a str, &'a dyn Fn(&StepReport) -> f64);
    let figures: [Figure<'_>; 9] = [
        ("losses/total_loss (raw)", &|report| report.loss),
        ("losses/total_loss", &|report| report.loss_average),
        ("losses/cross_entropy (raw)", &|report| term(report, entropy).raw),
        ("losses/cross_entropy", &|report| term(report, entropy).average),
        ("losses/top/weights/loss (raw)", &|report| term(report, decay).raw),
        ("losses/top/weights/loss", &|report| term(report, decay).average),
        ("learning_rate", &|report| report.learning_rate),
        ("examples_per_second", &|report| report.images_per_s),
        ("epoch", &|report| report.epoch),
    ];
    assert_eq!(told.steps.len() as u64, STEPS);
    let mut scalars: BTreeSet<String> = BTreeSet::new();
    for (tag, figure) in figures {
        let expected = told.steps.iter().map(|report| (report.step, stored(figure(report))));
        assert_eq!(curve(&found, tag), expected.collect::<Vec<_>>(), "{tag}");
        scalars.insert(tag.to_owned());
    }
    assert_ne!(curve(&found, "losses/total_loss"), curve(&found, "losses/total_loss (raw)"));

    let mut histograms = BTreeSet::new();
    for (variable, numbers) in VARIABLES {
        for tag in [variable.to_owned(), format!("{variable}/gradients")] {
            assert_histograms(&found, &tag, numbers);
            histograms.insert(tag);
        }
    }
    for (layer, numbers) in LAYERS {
        let tag = format!("{layer}/activations");
        assert_histograms(&found, &tag, BATCH * numbers);
        histograms.insert(tag);
        let tag = format!("sparsity/{layer}");
        let sparsity = curve(&found, &tag);
        assert_eq!(sparsity.iter().map(|(step, _)| *step).collect::<Vec<_>>(), LOOKS, "{tag}");
        let some_are_zero = ["relu1", "max_pool1"].contains(&layer);
        let right =
            |value: f64| if some_are_zero { 0.0 < value && value < 1.0 } else { value == 0.0 };
        assert!(sparsity.iter().all(|(_, value)| right(*value)), "{tag}: {sparsity:?}");
        scalars.insert(tag);
    }
    assert_eq!(tags(&found, "histograms"), histograms);
    assert_eq!(tags(&found, "scalars"), scalars);

    assert_eq!(tags(&found, "images"), set(["images/0", "images/1", "images/2"]));
    for (step, image) in points(&found, "images", "images/0") {
        assert!(LOOKS.contains(&step));
        assert_eq!((&image[0], &image[1]), (&12.into(), &12.into()));
        let pixels: BTreeSet<u64> =
            image[2].as_array().expect("pixels").iter().filter_map(Value::as_u64).collect();
        assert!(pixels.len() > 10, "a picture of something: {pixels:?}");
    }
    assert_eq!(tags(&found, "texts"), set(["pipeline"]));
}

#[test]
fn tensorboard_sees_the_graphs_of_the_pipeline_and_the_model() {
    let Some(python) = python::find() else { return };
    let (_place, run) = train();
    let found = python::events(&python, &run.path.join("tensorboard/train"));
    let nodes = found["graph"].as_array().expect("a graph");
    let inputs = |name: &str| -> Vec<&str> {
        let node = nodes.iter().find(|node| node["name"] == name);
        let node = node.unwrap_or_else(|| panic!("no node {name}"));
        node["input"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
    };
    assert_eq!(inputs("pipeline/gradients"), ["pipeline/batch"]);
    assert_eq!(inputs("pipeline/score"), ["pipeline/test", "pipeline/train"]);
    let of_conv = ["inputs/images", "model/conv/weights", "model/conv/biases"];
    assert_eq!(inputs("model/conv/conv2d_forward"), of_conv);
    for (layer, _) in LAYERS {
        let inside = format!("model/{layer}/");
        let is_inside =
            |node: &&Value| node["name"].as_str().is_some_and(|n| n.starts_with(&inside));
        assert!(nodes.iter().any(|node| is_inside(&node)), "{inside}");
    }
}

#[test]
fn tensorboard_sees_evaluations_in_a_folder_of_their_own() {
    let Some(python) = python::find() else { return };
    let (_place, run) = train();
    let told = metrics::read(&metrics_file(&run.path)).expect("there are metrics");
    let found = python::events(&python, &run.path.join("tensorboard/evaluate"));
    let steps: Vec<u64> = told.evaluations.iter().map(|report| report.step).collect();
    assert_eq!(steps, [4, 7, 10, 13, 16, 19, 22, 24]);
    let expected = told.evaluations.iter().map(|r| (r.step, stored(r.precision_at_1)));
    assert_eq!(curve(&found, "precision @ 1"), expected.collect::<Vec<_>>());
    let expected = told.evaluations.iter().map(|r| (r.step, stored(r.loss)));
    assert_eq!(curve(&found, "losses/cross_entropy"), expected.collect::<Vec<_>>());
    let classes = &told.evaluations[0].classes;
    assert_eq!(classes.len(), 10);
    let mut expected: BTreeSet<String> =
        classes.iter().map(|class| format!("accuracy/{class}")).collect();
    expected.extend(["precision @ 1", "precision @ 5", "losses/cross_entropy"].map(str::to_owned));
    assert_eq!(tags(&found, "scalars"), expected);
}

#[test]
fn the_report_shows_everything_of_a_run() {
    let (_place, run) = train();
    let page = run.text("report.html");
    let told = metrics::read(&metrics_file(&run.path)).expect("there are metrics");
    let last = told.evaluations.last().expect("an evaluation");
    let count = |part: &str| page.matches(part).count();
    for chart in ["Loss", "Precision @ 1", "Learning rate", "Throughput"] {
        assert_eq!(count(&format!("<h3>{chart}</h3>")), 1, "{chart}");
    }
    assert_eq!(count("<svg class=\"plot\""), 4);
    // Each step is in the charts of what is logged, each evaluation in that of precision.
    let marks = 3 * told.steps.len() + told.evaluations.len();
    assert_eq!(count("<rect class=\"band\""), marks);
    assert_eq!(count("<table class=\"confusion\">"), 1);
    for class in &last.classes {
        // The row of its accuracy, and that of its confusions.
        assert_eq!(count(&format!("<th scope=\"row\">{class}</th>")), 2, "{class}");
    }
    let wrong = last.images - (0..10).map(|class| last.confusion.count(class, class)).sum::<u64>();
    assert_eq!(count(", taken for ") as u64, 2 * wrong.min(12), "in words and when pointed at");
    assert_eq!(count(" alt=\"filter "), 4, "one for each channel of the first layer");
    assert_eq!(count(" of conv/weights\""), 2 * 4);
    for stage in ["read", "shuffle", "crop", "distort", "whiten"] {
        assert!(count(&format!(" after {stage}\"")) > 0, "{stage}");
    }
    assert_eq!(count("<svg class=\"flow\""), 1);
    assert_eq!(count("<rect class=\"box\""), 14, "one for each stage");
    assert_eq!(count("class=\"edge"), 13, "one for each edge");
    assert!(page.contains("chosen on test data"));
    assert!(page.ends_with("</main></body></html>"));
}
