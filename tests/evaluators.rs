//! Several stages that evaluate: each has a row, in the order of the pipeline and not of threads, and
//! the one that is named says which checkpoint is the best.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;

use runs::Place;
use serde_json::{Value, json};

use common::{Ran, finish, runtime};

/// The averaged weights and the raw ones, of which the averaged ones lag far behind.
const PIPELINE: &str = "
seed: 3
steps: 40
adapter: cpu
stages:
  read: { reader: { format: { synthetic: { train: 200, test: 60 } }, split: train } }
  shuffle: { from: read, shuffler: {} }
  whiten: { from: shuffle, whitening: {} }
  batch: { from: whiten, batcher: { size: 20 } }
  net: { from: batch, model: { layers: [ dense: { units: 10 }, softmax_cross_entropy: {} ] } }
  train:
    from: net
    reducer: { learning_rate: 0.001, moving_average: 0.999, evaluate: { steps: 10 } }
  read_test: { reader: { format: { synthetic: { train: 200, test: 60 } }, split: test } }
  standard: { from: read_test, whitening: {} }
  test: { from: standard, batcher: { size: 7, partial: keep } }
  score: { from: [test, train], model: {} }
  evaluate: { from: score, evaluator: { k: 3 } }
  score_raw: { from: [test, train], model: { averaged: false } }
  evaluate_raw: { from: score_raw, evaluator: { k: 3 } }
";

/// A text without times and rates, and without the line about which stage took most of the time.
fn timeless(text: &str) -> String {
    let without = |line: &str| {
        // Some lines begin with the date and the time of day.
        let dated = line.starts_with("20") && line.len() > 26;
        let mut line = line[if dated { 26 } else { 0 }..].to_owned();
        for (before, after) in [(" (", " examples/sec; "), ("; ", " sec/batch")] {
            if let Some(end) = line.find(after) {
                let start = line[..end].rfind(before).expect("a number") + before.len();
                line.replace_range(start..end, "#");
            }
        }
        if line.starts_with("done; time: ") {
            line = "done".to_owned();
        }
        line
    };
    let lines = text.lines().filter(|line| !line.starts_with("the bottleneck was "));
    lines.map(|line| without(line) + "\n").collect()
}

/// Of each stage, step and precision of its evaluations.
fn evaluations(place: &Place, name: &str, stage: &str) -> Vec<(u64, f64)> {
    let text = place.run(name).text("metrics.jsonl");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let own = lines.filter(|line| line["stage"] == stage);
    own.map(|line| {
        let precision = line["precision_at_1"].as_f64().expect("a number");
        (line["step"].as_u64().expect("a step"), precision)
    })
    .collect()
}

fn last(place: &Place, name: &str, stage: &str) -> f64 {
    evaluations(place, name, stage).last().expect("an evaluation").1
}

#[test]
fn the_same_command_prints_the_same_text() {
    let mut texts = Vec::new();
    for _ in 0..10 {
        let place = Place::new(PIPELINE);
        let said = place.say(&["net.yaml", "--seeds", "2"], &["summaries.scalars.steps=1"]).done();
        assert_eq!(place.run("net-001").text("log.txt").lines().count(), {
            let second = said.out.match_indices("adapter: ").nth(1).expect("two runs").0;
            said.out[..second].lines().count()
        });
        texts.push(timeless(&said.out));
    }
    let lines = texts[0].lines().collect::<Vec<_>>();
    // Evaluations are where their weights were handed on, in the order of the pipeline.
    let at = lines.iter().position(|line| line.contains("step 9, loss")).expect("step 9");
    assert!(lines[at + 1].starts_with(": evaluate: precision @ 1 = "), "{}", texts[0]);
    assert!(lines[at + 2].starts_with(": evaluate_raw: precision @ 1 = "), "{}", texts[0]);
    assert!(lines[at + 3].starts_with(": step 10, loss = "), "{}", texts[0]);
    for (number, text) in texts.iter().enumerate() {
        assert_eq!(*text, texts[0], "time {number}");
    }
}

#[test]
fn every_summary_has_a_row_for_each() {
    let place = Place::new(PIPELINE);
    let said = place.say(&["net.yaml", "--seeds", "3"], &[]).done();
    let names = ["net-001", "net-002", "net-003"];
    let mean = |stage: &str| names.map(|name| last(&place, name, stage)).iter().sum::<f64>() / 3.0;
    let row = |stage: &str| format!("{stage}: precision @ 1 = {:.4} on average", mean(stage));
    let rows: Vec<&str> = said.out.lines().rev().take(2).collect();
    assert_eq!(rows[1].find(&row("evaluate")), Some("3 seeds: ".len()), "{}", said.out);
    assert_eq!(rows[0].find(&row("evaluate_raw")), Some("3 seeds: ".len()), "{}", said.out);
    assert_ne!(mean("evaluate"), mean("evaluate_raw"), "the test tells nothing");

    let log = place.run("net-002").text("log.txt");
    let closing: Vec<&str> = log.lines().skip_while(|line| !line.starts_with("done;")).collect();
    let of = |stage| format!("{stage}: precision @ 1 = {:.3}", last(&place, "net-002", stage));
    assert!(closing[1].starts_with(&(of("evaluate") + " (best ")), "{log}");
    assert_eq!(closing[2], of("evaluate_raw"), "{log}");

    let arguments = [&["compare", "--csv", "all.csv"], &names[..]].concat();
    let table = finish(runtime(place.path(), &arguments)).out;
    let found: Vec<&str> = table.lines().filter(|line| line.starts_with("| net-00")).collect();
    assert_eq!(found.len(), 6, "{table}");
    for (at, name) in names.iter().enumerate() {
        for (row, stage) in ["evaluate", "evaluate_raw"].iter().enumerate() {
            let line = found[2 * at + row];
            let precision = format!(" {:.4} ", last(&place, name, stage));
            assert!(line.starts_with(&format!("| {name} |")), "{table}");
            assert!(line.contains(&format!("| {stage} |")) && line.contains(&precision), "{table}");
        }
    }
    for stage in ["evaluate", "evaluate_raw"] {
        assert!(table.contains(&format!("3 runs: {}", row(stage))), "{table}");
    }
    let numbers = fs::read_to_string(place.path().join("all.csv")).expect("written");
    let of = |stage: &str| numbers.lines().filter(|l| l.ends_with(&format!(",{stage}"))).count();
    assert_eq!((of("evaluate"), of("evaluate_raw")), (12, 12), "{numbers}");

    let page = place.run("net-001").text("report.html");
    let places = ["evaluate: test images, averaged", "evaluate_raw: test images, raw"]
        .map(|row| page.find(&format!("<th scope=\"row\">{row} weights</th>")).expect("a row"));
    assert!(places[0] < places[1]);
}

#[test]
fn the_stage_that_is_named_chooses_the_best() {
    let place = Place::new(PIPELINE);
    let chosen = |name: &str| -> Value {
        serde_json::from_str(&place.run(name).text("checkpoints/best.json")).expect("JSON")
    };
    let best = |name: &str, stage: &str| {
        let all = evaluations(&place, name, stage);
        let most = all.iter().map(|(_, precision)| *precision).fold(0.0, f64::max);
        let first = all.into_iter().find(|(_, precision)| *precision == most);
        let (step, precision) = first.expect("an evaluation");
        (json!(step), json!(precision), json!(stage))
    };
    let found = |name: &str| {
        let best = chosen(name);
        (best["step"].clone(), best["precision_at_1"].clone(), best["stage"].clone())
    };
    // The first, which is said.
    let said = place.say(&["net.yaml", "--run", "first"], &[]).done();
    let told = "2 stages evaluate, and `evaluate`, the first of them, says which checkpoint is";
    assert!(said.told.contains(told), "{}", said.told);
    assert!(said.told.contains("best_by: evaluate_raw"), "{}", said.told);
    assert_eq!(found("first"), best("first", "evaluate"));

    let by = |stage: &str| format!("checkpoints.best_by={stage}");
    let said = place.say(&["net.yaml", "--run", "raw"], &[&by("evaluate_raw")]).done();
    assert_eq!(said.told, "");
    assert_eq!(found("raw"), best("raw", "evaluate_raw"));
    assert_ne!(found("raw"), found("first"), "the test tells nothing");

    // A run that goes on may take the other one: what that found earlier counts.
    place.resume("raw", &["steps=41", &by("evaluate")]);
    assert_eq!(found("raw"), best("raw", "evaluate"));

    let said = place.say(&["net.yaml"], &[&by("score")]);
    said.refused(&["`score` does not evaluate", "known are `evaluate`, `evaluate_raw`"]);
}

#[test]
fn a_run_of_before_goes_on() {
    let place = Place::new(PIPELINE);
    let run = place.train("old", &["steps=20"]);
    // As an earlier version chose: by images and weights, and not by the order of the stages.
    let path = run.path.join("checkpoints/best.json");
    let mut best: Value = serde_json::from_str(&run.text("checkpoints/best.json")).expect("JSON");
    best["stage"] = json!("evaluate_raw");
    best["precision_at_1"] = json!(0.99);
    fs::write(&path, best.to_string()).expect("written");
    place.resume("old", &["steps=40"]);
    let best: Value = serde_json::from_str(&run.text("checkpoints/best.json")).expect("JSON");
    assert_eq!(best["stage"], "evaluate");
}

#[test]
fn predictions_and_exports_are_of_the_flow_that_chooses_the_best() {
    let place = Place::new(PIPELINE);
    for (run, set) in [("averaged", vec![]), ("raw", vec!["checkpoints.best_by=evaluate_raw"])] {
        place.train(run, &set);
        let file = format!("{run}.onnx");
        let arguments = ["export", &format!("runs/{run}"), "--onnx", &file];
        let Ran { out, told, .. } = finish(runtime(place.path(), &arguments));
        assert!(out.contains(&format!("{run} weights")), "{out}");
        let stage = if run == "raw" { "`score_raw` is taken" } else { "`score` is taken" };
        assert!(told.contains(stage), "{told}");
    }
}
