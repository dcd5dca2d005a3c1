//! What other programs find in a checkpoint.

mod common;
#[path = "common/python.rs"]
mod python;
#[path = "common/runs.rs"]
mod runs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use runs::Place;
use serde_json::json;

/// One step of the tutorial's network, looked at by Python.
#[test]
fn pythons_safetensors_shows_names_and_shapes_of_the_tutorials_network() {
    let Some(python) = python::find() else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.yaml");
    let place = Place::new(&fs::read_to_string(file).expect("pipeline.yaml"));
    let set = [
        "steps=1",
        "adapter=cpu",
        "stages.batch.batcher.size=8",
        "stages.read.reader.otherwise.synthetic={ train: 20, test: 8 }",
        "stages.read_test.reader.otherwise.synthetic={ train: 20, test: 8 }",
        "stages.train.reducer.optimizer={ momentum: {} }",
    ];
    let run = place.train("net", &set);
    let found = python::ask(&python, "checkpoint.py", &run.checkpoint(1));

    let weights: [(&str, &[usize]); 10] = [
        ("conv1/weights", &[5, 5, 3, 64]),
        ("conv1/biases", &[64]),
        ("conv2/weights", &[5, 5, 64, 64]),
        ("conv2/biases", &[64]),
        ("local3/weights", &[2304, 384]),
        ("local3/biases", &[384]),
        ("local4/weights", &[384, 192]),
        ("local4/biases", &[192]),
        ("softmax_linear/weights", &[192, 10]),
        ("softmax_linear/biases", &[10]),
    ];
    let mut expected: BTreeMap<String, &[usize]> = BTreeMap::new();
    for (name, shape) in weights {
        expected.insert(name.to_owned(), shape);
        expected.insert(format!("{name}/average"), shape);
        expected.insert(format!("{name}/momentum"), shape);
    }
    let tensors = found["tensors"].as_object().expect("tensors by name");
    for (name, tensor) in tensors {
        // Beside them, what is averaged of the loss.
        if let Some(shape) = expected.remove(name) {
            assert_eq!(tensor["shape"], json!(shape), "{name}");
        } else {
            assert!(name.contains("loss"), "{name}: {tensor}");
        }
        assert_eq!(
            (&tensor["type"], &tensor["finite"]),
            (&json!("float32"), &json!(true)),
            "{name}"
        );
    }
    assert!(expected.is_empty(), "lacking: {expected:?}");
    // Initial values are drawn with this deviation; one step hardly changes it.
    let deviation = tensors["conv1/weights"]["deviation"].as_f64().expect("a number");
    assert!((deviation - 0.044).abs() < 0.002, "{deviation}");
    assert_eq!(found["metadata"], json!(["gradflow"]));
}
