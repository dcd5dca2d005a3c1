//! Runs of the real command on several adapters.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;

use runs::{PIPELINE, Place, Run, assert_end_alike};

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
        assert_ne!(said.code, Some(0), "{}", said.out);
        for word in words {
            assert!(said.errors.contains(word), "no {word:?} in: {}", said.errors);
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
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.errors.contains("99 adapters were asked for"), "{}", said.errors);
    // What is said on the command line counts more than the pipeline.
    let said = place.say(&["net.yaml", "--run", "one", "--adapter", "cpu"], &[TWO, "steps=1"]);
    assert!(!said.done().out.contains("tower_1"));
}
