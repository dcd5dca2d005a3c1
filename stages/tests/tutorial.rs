//! The tutorial's own recipe is the tutorial's.

use runtime::config::decode;
use runtime::config::node::{Node, Path};
use runtime::config::yaml::Document;
use runtime::plan::Plan;
use runtime::stage::RunSettings;
use stages::schedule::{RunExtent, Schedule};

const TEXT: &str = include_str!("../../examples/tutorial.yaml");

/// What the file says at this place.
fn written<'a>(document: &'a Node, place: &str) -> &'a Node {
    let step = |node: &'a Node, key| node.get(key).unwrap_or_else(|| panic!("no {key} in {place}"));
    place.split('.').fold(document, step)
}

#[test]
fn its_rates_fall_where_the_tutorials_do() {
    let document = Document::parse(TEXT).expect("YAML");
    let node = written(document.node(), "stages.train.reducer.learning_rate");
    let mut problems = Vec::new();
    let rate = decode::decode::<Schedule>(node, &Path::default(), &mut problems);
    let rate = rate.unwrap_or_else(|| panic!("{problems:?}"));
    let extent = RunExtent { epoch_images: 50_000, total_images: Some(1_000_000 * 128) };
    let at = |step: u64| rate.at(step * 128, &extent);
    assert_eq!([0, 136_717, 136_718, 273_435, 273_436].map(at), [0.1, 0.1, 0.01, 0.01, 0.001]);
    // Seven falls in a million steps.
    assert!((at(999_999) - 1e-8).abs() < 1e-20, "{}", at(999_999));
}

#[test]
fn nothing_in_it_is_without_effect() {
    let kinds = stages::kinds(stages::model::layers::all());
    let settings = RunSettings::default();
    let loaded = Plan::load(&kinds, "tutorial.yaml", TEXT, &[], &settings);
    let (plan, warnings) = loaded.expect("a valid pipeline");
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(plan.settings.limit.steps, Some(1_000_000));
    let document = Document::parse(TEXT).expect("YAML");
    for (place, value) in [
        ("stages.shuffle.shuffler.minimum", Node::Int(20_000)),
        ("stages.shuffle.shuffler.capacity", Node::Int(20_384)),
        ("stages.batch.batcher.size", Node::Int(128)),
        ("stages.train.reducer.moving_average", Node::Float(0.9999)),
    ] {
        assert_eq!(*written(document.node(), place), value, "{place}");
    }
}
