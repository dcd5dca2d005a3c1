//! What an epoch is, where a run and its schedules end, and what the log says of the way there:
//! on the real command.

mod common;
#[path = "common/runs.rs"]
mod runs;

use flow::plan::Plan;
use flow::port::Port;
use flow::stage::RunSettings;
use record::checkpoint;
use runs::{Place, Run};
use serde_json::Value;

use common::Ran;

const PIPELINE: &str = "
adapter: cpu
autotune: false
summaries: { scalars: { steps: 1 }, histograms: {}, images: {} }
checkpoints: { every: { steps: 1 }, keep: 100 }
stages:
  read: { reader: { format: { synthetic: { train: 100, test: 10 } }, split: train } }
  scale: { from: read, normalizer: { mean: 127, deviation: 64 } }
  batch: { from: scale, batcher: { size: 20 } }
  net: { from: batch, model: { layers: [ { dense: { units: 10 } }, { softmax_cross_entropy: {} } ] } }
  train: { from: net, reducer: { learning_rate: { linear: { initial: 0.01 } } } }
  read_test: { reader: { format: { synthetic: { train: 100, test: 10 } }, split: test } }
  scale_test: { from: read_test, normalizer: { mean: 127, deviation: 64 } }
  test: { from: scale_test, batcher: { size: 10, partial: keep } }
  score: { from: [test, train], model: {} }
  evaluate: { from: score, evaluator: {} }
";

const TWO: &str = "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 2 }]";
const EACH: &str = "stages.train.reducer.batch=per_adapter";
const EQUAL: &str = "stages.train.reducer.balance=equal";

/// Settings of a training set of so many images, in batches of this size.
fn cut(images: u64, size: u64, partial: &str) -> Vec<String> {
    vec![
        format!("stages.read.reader.format.synthetic.train={images}"),
        format!("stages.batch.batcher={{ size: {size}, partial: {partial} }}"),
    ]
}

fn with<'a>(settings: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    settings.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

fn lines(run: &Run, kind: &str) -> Vec<Value> {
    let text = run.text("metrics.jsonl");
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    all.filter(|line| line["kind"] == kind).collect()
}

fn number(line: &Value, field: &str) -> f64 {
    line[field].as_f64().unwrap_or_else(|| panic!("no {field} in {line}"))
}

#[track_caller]
fn assert_near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-9), "{what}: {found}");
}

#[test]
fn an_epoch_is_what_the_batcher_lets_through() {
    let place = Place::new(PIPELINE);
    let both = [TWO, EACH, EQUAL].as_slice();
    // Images, size and what becomes of the rest; the limit; steps, epochs, and the steps of each
    // that ends an epoch.
    for (at, (images, size, partial, limit, more, steps, epochs, ends)) in [
        (31, 16, "drop", "epochs=4", &[][..], 4, 4.0, vec![1, 2, 3, 4]),
        (100, 64, "drop", "epochs=3", &[], 3, 3.0, vec![1, 2, 3]),
        (50, 16, "drop", "epochs=2.5", &[], 7, 7.0 / 3.0, vec![3, 6, 7]),
        (50, 25, "drop", "epochs=2", &[], 4, 2.0, vec![2, 4]),
        (17, 16, "keep", "epochs=3", &[], 6, 3.0, vec![2, 4, 6]),
        (17, 16, "keep", "steps=5", &[], 5, 50.0 / 17.0, vec![2, 4, 5]),
        (31, 16, "carry", "epochs=4", &[], 7, 112.0 / 31.0, vec![2, 4, 6, 7]),
        (17, 16, "keep", "epochs=3", both, 3, 3.0, vec![1, 2, 3]),
        (40, 10, "drop", "epochs=2", both, 4, 2.0, vec![2, 4]),
        (35, 10, "drop", "epochs=2", both, 3, 2.0, vec![2, 3]),
        // Three batches an epoch, two a step.
        (25, 10, "keep", "epochs=3", both, 4, 70.0 / 25.0, vec![2, 3, 4]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("run{at}");
        let set = cut(images, size, partial);
        let run = place.train(&name, &[&with(&set, &[limit]), more].concat());
        let found = lines(&run, "step");
        let what = format!("{images} images by {size}, {partial}, {limit}, {more:?}");
        assert_eq!(found.len(), steps, "{what}");
        for line in &found {
            assert_eq!(line["total_steps"], steps, "{what}: {line}");
        }
        assert_near(number(&found[steps - 1], "epoch"), epochs, &what);
        let evaluated: Vec<u64> = lines(&run, "evaluation")
            .iter()
            .map(|line| line["step"].as_u64().expect("a step"))
            .collect();
        assert_eq!(evaluated, ends, "{what}");
    }
}

#[test]
fn a_schedule_ends_with_the_run() {
    let place = Place::new(PIPELINE);
    let both = [TWO, EACH, EQUAL].as_slice();
    // The images before the last step, and at the end.
    for (at, (images, size, partial, limit, more, last, end)) in [
        (17, 16, "keep", "steps=6", &[][..], 50.0, 51.0),
        (17, 16, "keep", "epochs=3", &[], 50.0, 51.0),
        (17, 16, "keep", "steps=3", both, 34.0, 51.0),
        (31, 16, "drop", "epochs=4", &[], 48.0, 64.0),
        (31, 16, "drop", "steps=4", &[], 48.0, 64.0),
        (31, 16, "carry", "steps=4", &[], 48.0, 64.0),
    ]
    .into_iter()
    .enumerate()
    {
        let set = cut(images, size, partial);
        let run = place.train(&format!("run{at}"), &[&with(&set, &[limit]), more].concat());
        let found = lines(&run, "step");
        let rate = number(found.last().expect("a step"), "learning_rate");
        let what = format!("{images} images by {size}, {partial}, {limit}, {more:?}");
        assert_near(rate, 0.01 * (1.0 - last / end), &what);
    }
}

#[test]
fn lengths_and_periods_in_epochs_are_those_of_what_is_trained_on() {
    let place = Place::new(PIPELINE);
    let set = cut(31, 16, "drop");
    let rate = "stages.train.reducer.learning_rate={ piecewise: { initial: 1.0e-4, then: [ \
                { after: { epochs: 2 }, rate: 1.0e-5 } ] } }";
    let every = "checkpoints={ every: { epochs: 2 }, keep: 100 }";
    let never = "stages.train.reducer.evaluate={}";
    let run = place.train("run", &with(&set, &["epochs=5", rate, every, never]));
    let rates: Vec<f64> =
        lines(&run, "step").iter().map(|line| number(line, "learning_rate")).collect();
    assert_eq!(rates, [1e-4, 1e-4, 1e-5, 1e-5, 1e-5]);
    assert_eq!(run.checkpoints(), [2, 4, 5]);
}

#[test]
fn a_limit_too_short_for_a_batch_and_data_too_small_for_one_are_told() {
    let place = Place::new(PIPELINE);
    let set = cut(31, 16, "drop");
    let said = place.say(&["net.yaml"], &with(&set, &["epochs=0.5"]));
    assert_eq!(said.status, Some(1), "{}", said.told);
    assert!(said.told.contains("the run ends before its first step"), "{}", said.told);
    let set = cut(15, 16, "drop");
    let said = place.say(&["net.yaml"], &with(&set, &["epochs=4"]));
    assert_eq!(said.status, Some(1), "{}", said.told);
    assert!(said.told.contains("15 images fills no batch of 16"), "{}", said.told);
}

/// Makes of a checkpoint what earlier versions wrote, which counted an epoch by all its images.
fn as_before(run: &Run, steps: u64) {
    let stored = run.stored(steps);
    let kinds = stages::kinds(&stages::Catalog::default());
    let text = run.text("pipeline.yaml");
    let plan = Plan::load(&kinds, "pipeline.yaml", &text, &[], &RunSettings::default());
    let (plan, _) = plan.expect("the run's own pipeline is valid");
    let trainer = plan.trainer().expect("it trains");
    let Some(Port::Weights(graph)) = &plan.stages[trainer].output else { panic!("weights") };
    let mut weights = stored.weights(graph).expect("they fit");
    weights.progress.epoch_images = 0;
    checkpoint::write(&run.checkpoint(steps), &weights, &stored.about).expect("written");
}

#[test]
fn a_run_of_an_earlier_version_goes_on_and_says_that_its_epochs_are_others() {
    let place = Place::new(PIPELINE);
    let set = cut(31, 16, "drop");
    let run = place.train("run", &with(&set, &["steps=2", "stages.train.reducer.evaluate={}"]));
    as_before(&run, 2);
    let said = place.resume("run", &["steps=null", "epochs=4"]);
    assert!(said.out.contains("an epoch is now the 16 images"), "{}", said.out);
    assert_eq!(lines(&run, "step").len(), 4);
    let again = place.resume("run", &["epochs=5"]);
    assert!(!again.out.contains("an epoch is now"), "{}", again.out);
    assert_eq!(lines(&run, "step").len(), 5);
    // Where nothing is left out an epoch is what it was.
    let set = cut(31, 16, "keep");
    let run = place.train("kept", &with(&set, &["steps=2", "stages.train.reducer.evaluate={}"]));
    as_before(&run, 2);
    let said = place.resume("kept", &["steps=null", "epochs=4"]);
    assert!(!said.out.contains("an epoch is now"), "{}", said.out);
    assert_eq!(lines(&run, "step").len(), 8);
}

#[test]
fn steps_before_an_evaluation_are_in_the_rates() {
    let place = Place::new(PIPELINE);
    for (name, set) in [
        // The last step ends a period, and is not itself a logged one.
        ("last", vec!["steps=20", "stages.train.reducer.evaluate={ steps: 10 }"]),
        ("often", vec!["steps=23", "stages.train.reducer.evaluate={ steps: 1 }"]),
        ("towers", vec!["steps=20", "stages.train.reducer.evaluate={ steps: 5 }", TWO, EQUAL]),
    ] {
        let scalars = ["summaries.scalars={ steps: 10 }"];
        let run = place.train(name, &[&set[..], &scalars].concat());
        let found = lines(&run, "step");
        for line in &found {
            let (rate, batch_s) = (number(line, "images_per_s"), number(line, "batch_s"));
            assert!(rate > 0.0, "{name}: {line}");
            // All steps have 20 images.
            assert!((rate * batch_s / 20.0 - 1.0).abs() < 1e-6, "{name}: {line}");
        }
        let steps: Vec<u64> =
            found.iter().map(|line| line["step"].as_u64().expect("one")).collect();
        let last = *steps.last().expect("a step");
        assert!(last == 19 || last == 22, "{name}: {steps:?}");
        let text = run.text("metrics.jsonl");
        assert!(!text.contains("\"images_per_s\":0.0"), "{name}: {text}");
        let report = run.text("report.html");
        assert!(!report.contains("the last one: 0<"), "{name}");
    }
}

/// What is said of a schedule that ends elsewhere.
fn stretched(said: &Ran) -> Vec<&str> {
    let is_it = |line: &&str| line.contains("learning rate's schedule");
    said.out.lines().chain(said.told.lines()).filter(is_it).collect()
}

#[test]
fn a_resume_that_moves_the_end_of_a_schedule_says_what_becomes_of_the_rate() {
    let place = Place::new(PIPELINE);
    let linear = "linear: { initial: 0.01 }";
    let cosine = "cosine: { initial: 0.01 }";
    let cycle = "one_cycle: { peak: 0.01 }";
    for (at, (schedule, begin, go_on, how, over)) in [
        (linear, "epochs=2", "epochs=3", "stretched", "{ epochs: 2 }"),
        (cosine, "epochs=2", "epochs=3", "stretched", "{ epochs: 2 }"),
        (cycle, "epochs=2", "epochs=3", "stretched", "{ epochs: 2 }"),
        (linear, "steps=6", "steps=9", "stretched", "{ epochs: 1.2 }"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("run{at}");
        let rate = format!("stages.train.reducer.learning_rate={{ {schedule} }}");
        let run = place.train(&name, &[begin, &rate]);
        let steps = lines(&run, "step").len();
        let said = place.resume(&name, &[go_on]);
        let told = stretched(&said);
        assert_eq!(told.len(), 1, "{schedule}: {}", said.out);
        for part in [how, &format!("Step {steps} has the rate"), "it would have had"] {
            assert!(told[0].contains(part), "{schedule}: no {part:?} in {}", told[0]);
        }
        assert!(said.out.contains(&format!("`over: {over}`")), "{schedule}: {}", said.out);
        assert!(run.text("log.txt").contains(told[0]), "{schedule}: it is not in the log");
        let found = lines(&run, "step");
        let shown = |rate: f64| format!("{}", stages::schedule::stretch::Rate(rate));
        let at = |step: usize| shown(number(&found[step], "learning_rate"));
        assert!(told[0].contains(&at(steps)), "{schedule}: {}", told[0]);
        assert!(told[0].contains(&at(steps - 1)), "{schedule}: {}", told[0]);
        // The next time nothing changes.
        let again = place.resume(&name, &[]);
        assert!(stretched(&again).is_empty(), "{schedule}: {}", again.out);
    }
}

#[test]
fn the_rates_are_kept_by_what_is_proposed() {
    let place = Place::new(PIPELINE);
    let run = place.train("run", &["epochs=2"]);
    let keep = "stages.train.reducer.learning_rate.linear.over={ epochs: 2 }";
    let said = place.resume("run", &["epochs=3", keep]);
    assert!(stretched(&said).is_empty(), "{}", said.out);
    let rates = lines(&run, "step");
    assert_eq!(number(&rates[10], "learning_rate"), 0.0);
}

#[test]
fn nothing_is_said_of_a_rate_that_stays() {
    let place = Place::new(PIPELINE);
    for (at, (rate, begin, go_on)) in [
        ("0.01", "epochs=1", "epochs=2"),
        ("{ linear: { initial: 0.01, over: { epochs: 5 } } }", "epochs=1", "epochs=2"),
        (
            "{ exponential: { initial: 0.01, factor: 0.5, every: { epochs: 1 } } }",
            "epochs=1",
            "epochs=2",
        ),
        // The same end in other words.
        ("{ linear: { initial: 0.01 } }", "epochs=2", "steps=10"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("run{at}");
        let rate = format!("stages.train.reducer.learning_rate={rate}");
        place.train(&name, &[begin, &rate]);
        let said = place.resume(&name, &[go_on]);
        assert!(stretched(&said).is_empty(), "{rate}: {}", said.out);
    }
}

/// With as many images from each of several adapters, more adapters make longer steps.
#[test]
fn more_adapters_move_the_end_of_a_schedule_as_well() {
    let place = Place::new(PIPELINE);
    place.train("run", &["steps=4", EACH, EQUAL]);
    let said = place.resume("run", &["steps=6", TWO]);
    assert_eq!(stretched(&said).len(), 1, "{}", said.out);
    let said = place.resume("run", &["steps=8"]);
    assert_eq!(stretched(&said).len(), 1, "{}", said.out);
    assert!(said.out.contains("that comes after 240 images"), "{}", said.out);
}

#[test]
fn a_batch_of_one_image_is_told_where_its_statistics_are_kept() {
    let place = Place::new(PIPELINE);
    let norm = "stages.net.model.layers=[ { dense: { units: 8 } }, { name: norm, batch_norm: {} }, \
                { dense: { units: 10 } }, { softmax_cross_entropy: {} } ]";
    let told = |said: &Ran| said.out.matches("has a single image, and norm").count();
    for (name, set, more, steps, expected) in [
        ("kept", cut(17, 16, "keep"), norm, 6, 1),
        ("single", cut(4, 1, "carry"), norm, 12, 1),
        ("carried", cut(17, 16, "carry"), norm, 3, 0),
        ("plain", cut(17, 16, "keep"), "name=plain", 6, 0),
    ] {
        let said = place.say(&["net.yaml", "--run", name], &with(&set, &["epochs=3", more])).done();
        assert_eq!(told(&said), expected, "{name}: {}", said.out);
        if expected > 0 {
            assert_eq!(said.out.contains("`partial: carry`"), name == "kept", "{}", said.out);
        }
        let stored = place.run(name).stored(steps);
        for tensor in &stored.tensors {
            assert!(tensor.values.iter().all(|value| value.is_finite()), "{name}: {}", tensor.name);
        }
        let variance = stored.tensors.iter().find(|t| t.name.ends_with("norm/running_variance"));
        if let Some(variance) = variance {
            assert!(variance.values.iter().all(|value| *value > 0.0), "{name}: {variance:?}");
        }
    }
}
