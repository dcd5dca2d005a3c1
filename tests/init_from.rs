//! `init_from`: runs that begin with the weights of others.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;

use record::checkpoint::{self, Stored};
use runs::{PIPELINE, Place};

const FROM: &str = "stages.train.reducer.init_from=runs/first";

/// The only change in these numbers is that of a tiny step.
const SMALL: [&str; 3] = ["steps=1", FROM, "stages.train.reducer.learning_rate=1e-30"];

fn values<'a>(stored: &'a Stored, name: &str) -> &'a [f32] {
    let tensor = stored.tensors.iter().find(|tensor| tensor.name == name);
    &tensor.unwrap_or_else(|| panic!("no {name}")).values
}

#[test]
fn layers_of_the_same_name_and_shape_begin_where_they_were() {
    let place = Place::new(PIPELINE);
    let first = place.train("first", &["steps=3"]);
    let first = checkpoint::read(&first.checkpoint(3)).expect("a checkpoint");
    let conv = "stages.gradients.model.layers.0.conv2d.channels";
    for (name, other, taken, anew) in [
        ("same", "seed=8", &["conv", "top"][..], &[][..]),
        ("wider", &*format!("{conv}=5"), &[], &["conv/weights [3, 3, 3, 5] (there [3, 3, 3, 4])"]),
        ("renamed", "stages.gradients.model.layers.3.name=end", &["conv"], &["end/weights"]),
    ] {
        let set = [&SMALL[..], &[other]].concat();
        let said = place.say(&["net.yaml", "--run", name], &set);
        if taken.is_empty() {
            let told = "no layer of this model is in";
            assert!(said.status == Some(1) && said.told.contains(told), "{}", said.told);
            assert!(anew.iter().all(|part| said.told.contains(part)), "{}", said.told);
            continue;
        }
        let said = said.done();
        let log = place.run(name).text("log.txt");
        for text in [&said.out, &log] {
            let told = format!("after 3 steps; {} from there", taken.join(", "));
            assert!(text.contains(&told), "{told} is not in {text}");
            assert!(anew.iter().all(|part| text.contains(part)), "{text}");
        }
        let begun = checkpoint::read(&place.run(name).checkpoint(1)).expect("a checkpoint");
        for layer in taken {
            for tensor in ["weights", "biases"] {
                let weights = format!("{layer}/{tensor}");
                let was = values(&first, &weights);
                assert_eq!(values(&begun, &weights), was, "{weights}");
                assert_eq!(values(&begun, &format!("{weights}/average")), was, "{weights}");
            }
        }
        if name == "renamed" {
            assert_ne!(values(&begun, "end/weights"), values(&first, "top/weights"));
        }
    }
}

#[test]
fn a_run_that_goes_on_has_its_own_weights() {
    let place = Place::new(PIPELINE);
    let first = place.train("first", &["steps=2"]);
    place.train("whole", &["steps=4", FROM]);
    place.train("half", &["steps=2", FROM]);
    // Nothing is read from there any more.
    fs::remove_dir_all(&first.path).expect("it was there");
    place.resume("half", &["steps=4"]);
    let [whole, half] = ["whole", "half"].map(|name| {
        checkpoint::read(&place.run(name).checkpoint(4)).expect("a checkpoint").tensors
    });
    assert_eq!(whole, half);
}

#[test]
fn other_classes_are_told() {
    let place = Place::new(PIPELINE);
    place.train("first", &["steps=1"]);
    let mut stored = checkpoint::read(&place.run("first").checkpoint(1)).expect("a checkpoint");
    stored.source.classes[3] = "unicorn".to_owned();
    let kinds = stages::kinds(&stages::Catalog::default());
    let settings = flow::stage::RunSettings::default();
    let text = &stored.about.pipeline;
    let loaded = flow::plan::Plan::load(&kinds, "net.yaml", text, &[], &settings);
    let (plan, _) = loaded.expect("a valid pipeline");
    let graph = plan.stages.iter().find_map(|stage| match &stage.output {
        Some(flow::port::Port::Weights(graph)) => Some(graph.clone()),
        _ => None,
    });
    let weights = stored.weights(&graph.expect("it trains")).expect("they fit");
    let file = place.path().join("other.safetensors");
    checkpoint::write(&file, &weights, &stored.about).expect("written");
    let from = "stages.train.reducer.init_from=other.safetensors";
    let said = place.say(&["net.yaml", "--run", "second"], &["steps=1", from]).done();
    let all = said.out + &said.told;
    for part in ["class 3 was `unicorn`", "Only shapes count: layer `top` has the shapes"] {
        assert!(all.contains(part), "{part} is not in {all}");
    }
}

#[test]
fn what_cannot_be_begun_with_is_told() {
    let place = Place::new(PIPELINE);
    let run = place.train("first", &["steps=1"]);
    let file = run.checkpoint(1);
    let mut bytes = fs::read(&file).expect("a checkpoint");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.path().join("damaged.safetensors"), bytes).expect("written");
    fs::create_dir(place.path().join("empty")).expect("made");
    for (path, part) in [
        ("nowhere", "there is no file and no folder"),
        ("empty", "is no run's folder"),
        ("net.yaml", "is no checkpoint that can be used"),
        ("damaged.safetensors", "it is damaged"),
    ] {
        let from = format!("stages.train.reducer.init_from={path}");
        let said = place.say(&["net.yaml", "--run", path], &["steps=1", &from]);
        assert_eq!(said.status, Some(1), "{path}: {}", said.told);
        for part in ["init_from", path, part] {
            assert!(said.told.contains(part), "{part} is not in {}", said.told);
        }
    }
}
