//! Runs of the real command on several adapters.

mod common;
#[path = "common/runs.rs"]
mod runs;
#[path = "common/wrapped.rs"]
mod wrapped;

use std::fs;
use std::sync::Arc;

use anyhow::Result;
use base::stop::Stop;
use compute::adapter::Adapter;
use compute::adapter::several::Brought;
use compute::precision::Precision;
use compute::settings::ComputeSettings;
use compute::towers::NoneLeft;
use flow::event::Event;
use flow::plan::Plan;
use flow::stage::RunSettings;
use serde_json::Value;

use runs::{PIPELINE, Place, Run, assert_end_alike};
use wrapped::{Fault, Wrapped};

/// Two replicas on `cpu` with equal shares.
const TWO: &str = "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 2 }]";
const EQUAL: &str = "stages.train.reducer.balance=equal";

fn assert_same_tensors(one: &Run, other: &Run, steps: u64) {
    let (one, other) = (one.stored(steps), other.stored(steps));
    assert_eq!(one.progress.images, other.progress.images);
    for (one, other) in one.tensors.iter().zip(&other.tensors) {
        assert_eq!(one.values, other.values, "{}", one.name);
    }
}

#[test]
fn a_run_on_several_adapters_ends_with_the_same_bits_however_it_is_stopped() {
    let mixed = match common::gpus().is_empty() {
        true => TWO,
        false => "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 2 }, 1]",
    };
    let place = Place::new(PIPELINE);
    let set = [mixed, EQUAL];
    let alone = place.train("alone", &set);
    for stop in [1, 4, 9] {
        let name = format!("after-{stop}");
        place.train(&name, &[&set[..], &[&format!("steps={stop}")]].concat());
        let said = place.resume(&name, &["steps=24"]);
        assert!(!said.out.contains("warning"), "{}", said.out);
        assert_end_alike(&alone, &place.run(&name), Some(stop));
    }
    let about = alone.about();
    assert!(about["towers"].as_array().is_some_and(|towers| towers.len() >= 2), "{about}");
}

#[test]
fn other_adapters_than_before_are_told() {
    let place = Place::new(PIPELINE);
    place.train("net", &[TWO, EQUAL, "steps=2"]);
    let said = place.say(&["--resume", "net", "--adapter", "cpu"], &["steps=3"]).done();
    assert!(said.out.contains("was at work on 2 adapters and goes on with 1"), "{}", said.out);
}

#[test]
fn what_each_tower_runs_is_recorded_and_compared() {
    let place = Place::new(PIPELINE);
    let run = place.train("net", &[TWO, EQUAL, "steps=2"]);
    let record: Value = serde_json::from_str(&run.text("variants.json")).expect("JSON");
    for place in [&record["towers"]["tower_0"], &record["towers"]["tower_1"], &record["holder"]] {
        assert_eq!(place["adapter"]["backend"], "cpu", "{record}");
        assert!(place["instructions"].is_string(), "{record}");
    }
    assert_eq!(record["towers"]["tower_1"]["micro_batch"], 8, "{record}");
    assert_eq!(serde_json::to_value(run.stored(2).about.record()).expect("JSON"), record);
    run.rewrite(2, |about| {
        let tower = about.towers.get_mut("tower_1").expect("it is recorded");
        tower.variants.instructions = Some("mmx".to_owned());
    });
    let said = place.resume("net", &["steps=3"]);
    let words = "the continuation is not bit-exact: tower_1: vector instructions: mmx before, ";
    assert!(said.out.contains(words), "{}", said.out);
    // A checkpoint that says nothing of it.
    run.rewrite(3, |about| {
        about.variants = None;
        about.towers.clear();
    });
    let said = place.resume("net", &["steps=4"]);
    assert!(said.out.contains("does not say which kernels it ran"), "{}", said.out);
}

#[test]
fn all_adapters_compute_in_the_precision_of_the_run() {
    let place = Place::new(PIPELINE);
    let set = [TWO, EQUAL, "precision=f16"];
    place.say(&["net.yaml"], &set).refused(&[
        "tower_0: cpu/cpu does not compute in f16",
        "tower_1: cpu/cpu does not compute in f16",
    ]);
    assert!(runs::names(&place.path().join("runs")).is_empty(), "it began");
    if !common::cpu(1).info().precisions.contains(&Precision::Bf16) {
        return common::skip_on_this_processor("AVX512-BF16");
    }
    let set = [TWO, EQUAL, "precision=bf16"];
    let alone = place.train("alone", &set);
    assert!(alone.text("log.txt").contains(", bf16 with f32 weights"));
    place.train("stopped", &[&set[..], &["steps=5"]].concat());
    let said = place.resume("stopped", &["steps=24"]);
    assert!(!said.out.contains("warning"), "{}", said.out);
    assert_end_alike(&alone, &place.run("stopped"), Some(5));
    let exact = place.train("exact", &[TWO, EQUAL]);
    let (rounded, exact) = (alone.stored(24), exact.stored(24));
    assert!(rounded.tensors.iter().zip(&exact.tensors).any(|(a, b)| a.values != b.values));
}

#[test]
fn batches_may_be_those_of_one_adapter() {
    let place = Place::new(PIPELINE);
    let size = |size: u32| format!("stages.batch.batcher.size={size}");
    let mixed = place.train("global", &[TWO, EQUAL, &size(16), "steps=9"]);
    let each = "stages.train.reducer.batch=per_adapter";
    let per_adapter = place.train("each", &[TWO, EQUAL, &size(8), each, "steps=9"]);
    assert_same_tensors(&mixed, &per_adapter, 9);
    assert!(per_adapter.text("log.txt").contains("batch 16 in all: 8 + 8"));
    // A step is printed with what each adapter did.
    let log = per_adapter.text("log.txt");
    assert!(log.contains("; tower_0 ") && log.contains("/s; waited "), "{log}");
    place.train("stopped", &[TWO, EQUAL, &size(8), each, "steps=5"]);
    place.resume("stopped", &["steps=9"]);
    assert_same_tensors(&mixed, &place.run("stopped"), 9);
}

#[test]
fn shares_are_written_down_and_can_be_taken_again() {
    let place = Place::new(PIPELINE);
    let shares = "\
        {\"step\":0,\"shares\":{\"tower_0\":10,\"tower_1\":6}}\n\
        {\"step\":5,\"shares\":{\"tower_0\":3,\"tower_1\":13}}\n\
        {\"step\":17,\"shares\":{\"tower_0\":15,\"tower_1\":1}}\n";
    fs::write(place.path().join("shares.jsonl"), shares).expect("it is written");
    let set = [TWO, "stages.train.reducer.balance=shares.jsonl"];
    let first = place.train("first", &set);
    assert_eq!(first.text("balance.jsonl"), shares);
    let again = [TWO, "stages.train.reducer.balance=runs/first/balance.jsonl"];
    assert_end_alike(&first, &place.train("second", &again), None);
    // Live from where the file ends: a resumed run takes what was written down.
    place.train("stopped", &[&set[..], &["steps=11"]].concat());
    fs::write(place.run("stopped").path.join("balance.jsonl"), shares).expect("it is written");
    place.resume("stopped", &["steps=24", "stages.train.reducer.balance=speed"]);
    let stopped = place.run("stopped");
    assert!(stopped.text("balance.jsonl").starts_with(shares));
    assert_same_tensors(&first, &stopped, 24);
}

#[test]
fn what_cannot_work_is_told_before_the_first_step() {
    let place = Place::new(PIPELINE);
    let write = |text: &str| fs::write(place.path().join("shares.jsonl"), text).expect("written");
    let balance = "stages.train.reducer.balance=shares.jsonl";
    let failing = |set: &[&str], words: &[&str]| {
        let said = place.say(&["net.yaml"], set);
        assert_ne!(said.status, Some(0), "{}", said.out);
        for word in words {
            assert!(said.told.contains(word), "no {word:?} in: {}", said.told);
        }
        assert!(runs::names(&place.path().join("runs")).is_empty(), "it began");
    };
    failing(&[TWO, balance], &["cannot read", "shares.jsonl"]);
    write("{\"step\":0,\"shares\":{\"tower_0\":10,\"tower_1\":5}}\n");
    failing(&[TWO, balance], &["does not fit this run", "add up to 15, not to 16"]);
    write("{\"step\":0,\"shares\":{\"tower_0\":10,\"tower_7\":6}}\n");
    failing(&[TWO, balance], &["step 0 names tower_7"]);
    write("nothing\n");
    failing(&[TWO, balance], &["line 1, is no line of shares"]);
    let twice = "stages.train.reducer.adapters=[cpu, cpu]";
    failing(&[twice], &["cpu names an adapter that is listed already"]);
    // An index and a name of the same one.
    let twice = "stages.train.reducer.adapters=[cpu, 0]";
    failing(&[twice], &["0 names an adapter that is listed already"]);
    let many = "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 20 }]";
    failing(&[many], &["a batch of 16 images cannot be split over 20 adapters"]);
    failing(&["stages.train.reducer.adapters=[nothing-of-that-name]"], &["no adapter is called"]);
}

#[test]
fn fewer_adapters_than_asked_for_are_told_or_an_error() {
    let place = Place::new(PIPELINE);
    let said = place.say(&["net.yaml", "--adapters", "99"], &["steps=1"]).done();
    assert!(said.out.contains("warning: 99 adapters were asked for"), "{}", said.out);
    let said = place.say(&["net.yaml", "--adapters", "99", "--strict"], &["steps=1"]);
    assert_eq!(said.status, Some(1), "{}", said.out);
    assert!(said.told.contains("99 adapters were asked for"), "{}", said.told);
    // What is said on the command line counts more than the pipeline.
    let said = place.say(&["net.yaml", "--run", "one", "--adapter", "cpu"], &[TWO, "steps=1"]);
    assert!(!said.done().out.contains("tower_1"));
}

/// What a run says on a machine that has `cpu` and an adapter that fails.
fn on_failing(fault: Fault, after: u32, set: &[(&str, &str)]) -> (Vec<Event>, Result<()>) {
    let cpu = || -> Arc<dyn Adapter> { Arc::new(common::cpu(1)) };
    let brought = Brought(vec![cpu(), Arc::new(Wrapped::failing(cpu(), fault, after))]);
    let base = RunSettings {
        compute: ComputeSettings { brought, ..ComputeSettings::default() },
        ..RunSettings::default()
    };
    // `cpu` would be the name of both.
    let set = [&[("adapter", "'0'")], set].concat();
    let set: Vec<(String, String)> =
        set.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
    let kinds = stages::kinds(&stages::Catalog::default());
    let (plan, _) =
        Plan::load(&kinds, "net.yaml", PIPELINE, &set, &base).expect("a valid pipeline");
    let mut events = Vec::new();
    let ran = flow::run::run(&plan, Stop::default(), |message| events.push(message.event));
    (events, ran.map(drop))
}

const BOTH: (&str, &str) = ("stages.train.reducer.adapters", "[0, test]");
const SELDOM: (&str, &str) = ("checkpoints.every", "{}");

/// The steps after which weights were kept.
fn kept(events: &[Event]) -> Vec<u64> {
    let kept = events.iter().filter_map(|event| match event {
        Event::Checkpoint(checkpoint) => Some(checkpoint.weights.progress.steps),
        _ => None,
    });
    kept.collect()
}

fn warned(events: &[Event], text: &str) -> bool {
    events.iter().any(|event| matches!(event, Event::Warning(found) if found.contains(text)))
}

#[test]
fn a_run_goes_on_without_an_adapter_that_is_lost() {
    for fault in [Fault::Upload, Fault::Backward, Fault::Read, Fault::WeightUpload, Fault::Panic] {
        let (events, ran) = on_failing(fault, 5, &[BOTH, SELDOM, ("steps", "10")]);
        ran.unwrap_or_else(|error| panic!("{fault:?}: {error:#}"));
        let text = "tower_1 (cpu/test) failed in step 5: ";
        assert!(warned(&events, text), "{fault:?}: {events:?}");
        assert_eq!(kept(&events).last(), Some(&10), "{fault:?}");
    }
}

#[test]
fn a_run_may_end_with_an_adapter_that_is_lost_and_keeps_its_weights() {
    let stop = ("stages.train.reducer.on_loss", "stop");
    let (events, ran) = on_failing(Fault::Backward, 5, &[BOTH, SELDOM, stop]);
    let error = format!("{:#}", ran.expect_err("it is lost"));
    assert!(error.contains("tower_1 (cpu/test) failed in step 5"), "{error}");
    assert!(error.contains("The weights after 5 steps are kept"), "{error}");
    assert_eq!(kept(&events).last(), Some(&5));
}

#[test]
fn the_only_adapter_that_is_lost_is_told_as_such() {
    let alone = ("adapter", "test");
    let (_, ran) = on_failing(Fault::Backward, 5, &[alone, SELDOM]);
    let error = ran.expect_err("it is lost");
    let lost = error.chain().find_map(|cause| cause.downcast_ref::<NoneLeft>()).expect("none left");
    assert_eq!((lost.0.who.as_str(), lost.0.step), ("cpu/test", 5));
}

#[test]
fn an_adapter_that_is_lost_while_it_scores_is_replaced() {
    let scoring = ("stages.score.model.adapter", "test");
    let (events, ran) = on_failing(Fault::Forward, 0, &[scoring]);
    ran.expect("it goes on");
    assert!(warned(&events, "cpu/test failed while scoring: the device was lost"), "{events:?}");
    let evaluated = events.iter().filter(|event| matches!(event, Event::Evaluation(_)));
    assert!(evaluated.count() > 2);
    if !common::cpu(1).info().precisions.contains(&Precision::Bf16) {
        return common::skip_on_this_processor("AVX512-BF16");
    }
    let (events, ran) = on_failing(Fault::Forward, 0, &[scoring, ("precision", "bf16")]);
    ran.expect("it goes on");
    assert!(warned(&events, "`cpu` takes over, in f32"), "{events:?}");
}
