//! The tutorial's own recipe is the tutorial's.

use config::diagnostic::Severity;
use config::node::{Node, Path};
use config::yaml::Document;
use flow::plan::Plan;
use flow::port::Port;
use flow::stage::RunSettings;
use serde_json::{Value, json};
use stages::schedule::{self, RunExtent, Schedule};

const TEXT: &str = include_str!("../../examples/tutorial.yaml");

/// What the file makes of itself: a plan without warnings, but for the note that whitening takes the
/// tutorial's brightness out again.
fn plan() -> Plan {
    let kinds = stages::kinds(&stages::Catalog::default());
    let loaded = Plan::load(&kinds, "tutorial.yaml", TEXT, &[], &RunSettings::default());
    let (plan, told) = loaded.expect("a valid pipeline");
    let names: Vec<_> = told.iter().map(|told| (told.severity, told.name)).collect();
    assert_eq!(names, [(Severity::Note, Some("cancelled"))], "{told:?}");
    plan
}

/// The pipeline with all defaults written out: a default that changes is a change of the recipe.
fn written() -> Value {
    serde_json::to_value(plan().resolved()).expect("plain data")
}

fn conv(deviation: f64, bias: f64) -> Value {
    json!({ "conv2d": {
        "channels": 64, "kernel": 5, "stride": 1, "padding": "same",
        "weights": { "truncated_normal": deviation }, "biases": { "constant": bias },
        "weight_decay": 0.0,
    } })
}

fn dense(units: usize, deviation: f64, bias: f64, weight_decay: f64) -> Value {
    json!({ "dense": {
        "units": units,
        "weights": { "truncated_normal": deviation }, "biases": { "constant": bias },
        "weight_decay": weight_decay,
    } })
}

fn named(name: &str, mut layer: Value) -> Value {
    layer["name"] = name.into();
    layer
}

#[test]
fn its_layers_are_the_tutorials_value_by_value() {
    let relu = || json!({ "relu": {} });
    let pool = || json!({ "max_pool": { "kernel": 3, "stride": 2, "padding": "same" } });
    // TensorFlow's alpha is not divided by the window's nine channels, so the tutorial divides it.
    let norm = || {
        let fields = json!({ "radius": 4, "bias": 1.0, "alpha": 0.001 / 9.0, "beta": 0.75 });
        json!({ "local_response_norm": fields })
    };
    let inverse_of_192 = 0.005_208_33;
    assert!((inverse_of_192 - 1.0 / 192.0_f64).abs() < 1e-8);
    let expected = [
        named("conv1", conv(0.05, 0.0)),
        relu(),
        named("pool1", pool()),
        named("norm1", norm()),
        named("conv2", conv(0.05, 0.1)),
        relu(),
        named("norm2", norm()),
        named("pool2", pool()),
        named("local3", dense(384, 0.04, 0.1, 0.004)),
        relu(),
        named("local4", dense(192, 0.04, 0.1, 0.004)),
        relu(),
        named("softmax_linear", dense(10, inverse_of_192, 0.0, 0.0)),
        json!({ "softmax_cross_entropy": { "label_smoothing": 0.0 } }),
    ];
    let written = written();
    let layers = &written["stages"]["gradients"]["model"]["layers"];
    let layers = layers.as_array().expect("a list of layers");
    for (layer, expected) in layers.iter().zip(&expected) {
        assert_eq!(layer, expected);
    }
    assert_eq!(layers.len(), expected.len());
}

#[test]
fn its_network_has_the_tutorials_size() {
    let plan = plan();
    let trainer = &plan.stages[plan.trainer().expect("it trains")];
    let Some(Port::Weights(graph)) = &trainer.output else { panic!("{trainer:?}") };
    assert_eq!(graph.parameter_count(), 1_068_298);
}

#[test]
fn its_stages_are_the_tutorials_value_by_value() {
    let stand_in =
        json!({ "synthetic": { "train": 10000, "test": 2000, "seed": 0 }, "epochs": 3.0 });
    let crop = |mode| json!({ "size": 24, "mode": mode, "views": 1, "workers": 0 });
    let whitening = || json!({ "workers": 0 });
    let reader = |split| json!({ "format": { "cifar10": {} }, "split": split, "otherwise": stand_in.clone() });
    let expected = [
        ("read", json!(null), "reader", reader("train")),
        (
            "shuffle",
            json!("read"),
            "shuffler",
            json!({ "mode": "queue", "minimum": 20000, "capacity": 20384, "start_at": 20000 }),
        ),
        ("crop", json!("shuffle"), "cropper", crop("random")),
        (
            "distort",
            json!("crop"),
            "distorter",
            json!({
                "flip": { "probability": 0.5, "alternating": false },
                "brightness": { "max_delta": 63.0, "probability": 1.0 },
                "contrast": { "lower": 0.2, "upper": 1.8, "probability": 1.0 },
                "workers": 0,
            }),
        ),
        ("whiten", json!("distort"), "whitening", whitening()),
        ("batch", json!("whiten"), "batcher", json!({ "size": 128, "partial": "carry" })),
        (
            "train",
            json!("gradients"),
            "reducer",
            json!({
                "learning_rate": { "exponential": {
                    "initial": 0.1, "factor": 0.1, "every": { "images": 136_718 * 128 },
                    "staircase": true,
                } },
                "optimizer": { "sgd": {} },
                "moving_average": 0.9999,
                "blow_up": 100.0,
                "evaluate": { "seconds": 300.0 },
                "batch": "per_adapter", "balance": "speed", "on_loss": "continue",
            }),
        ),
        ("read_test", json!(null), "reader", reader("test")),
        ("centre", json!("read_test"), "cropper", crop("central")),
        ("standard", json!("centre"), "whitening", whitening()),
        ("test", json!("standard"), "batcher", json!({ "size": 128, "partial": "keep" })),
        ("score", json!(["test", "train"]), "model", json!({ "averaged": true })),
    ];
    let written = written();
    assert_eq!(written["steps"], 1_000_000);
    for (id, from, kind, fields) in expected {
        let stage = &written["stages"][id];
        assert_eq!(stage[kind], fields, "{id}");
        assert_eq!(stage["from"], from, "{id}");
    }
    // The layers are compared above; an evaluator's fields change what is told, not what is found.
    assert_eq!(written["stages"]["gradients"]["from"], "batch");
    assert_eq!(written["stages"]["evaluate"]["from"], "score");
    assert_eq!(written["stages"].as_object().expect("a map").len(), 14);
}

#[test]
fn its_rates_fall_where_the_tutorials_do() {
    let document = Document::parse(TEXT).expect("YAML");
    let place = ["stages", "train", "reducer", "learning_rate"];
    let step =
        |node: &Node, key: &str| node.get(key).cloned().unwrap_or_else(|| panic!("no {key}"));
    let node = place.into_iter().fold(document.node().clone(), |node, key| step(&node, key));
    let mut problems = Vec::new();
    let rate = Schedule::read(&schedule::all(), &node, &Path::default(), &mut problems);
    let rate = rate.unwrap_or_else(|| panic!("{problems:?}"));
    let extent = RunExtent { epoch_images: 50_000, total_images: Some(1_000_000 * 128) };
    let at = |step: u64| rate.at(step * 128, &extent);
    assert_eq!([0, 136_717, 136_718, 273_435, 273_436].map(at), [0.1, 0.1, 0.01, 0.01, 0.001]);
    // Seven falls in a million steps.
    assert!((at(999_999) - 1e-8).abs() < 1e-20, "{}", at(999_999));
}
