//! Which adapters count where the command line, the pipeline and an earlier run each name some: on
//! the real command.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;

use runs::{PIPELINE, Place};
use serde_json::{Value, json};

const ADAPTERS: &str = "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 2 }]";
const THREE: &str = "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 3 }]";
const EACH: &str = "stages.train.reducer.batch=per_adapter";
const EQUAL: &str = "stages.train.reducer.balance=equal";

#[test]
fn a_set_on_a_resume_counts_more_than_the_adapters_that_a_run_began_with() {
    let place = Place::new(PIPELINE);
    for (name, begin) in [("one", "--adapter"), ("several", "--adapters")] {
        place.say(&["net.yaml", "--run", name, begin, "cpu"], &["steps=2"]).done();
        let run = place.run(name);
        let said = place.resume(name, &["steps=4", ADAPTERS, EQUAL]);
        assert!(said.out.contains("tower_1"), "{}", said.out);
        assert!(said.out.contains("changed: adapters: the pipeline's"), "{}", said.out);
        assert_eq!(run.about()["adapters_asked"], Value::Null);
        // So they do the next time.
        let said = place.resume(name, &["steps=5"]);
        assert!(said.out.contains("tower_1"), "{}", said.out);
        // An adapter that is not there is asked for, and missed.
        let nowhere = "stages.train.reducer.adapters=[nothing-of-that-name]";
        let said = place.say(&["--resume", name], &["steps=6", nowhere]);
        assert_ne!(said.status, Some(0), "{}", said.out);
        assert!(said.told.contains("no adapter is called"), "{}", said.told);
    }
    // What is set says the same as before, and counts all the same.
    place.say(&["net.yaml", "--run", "same", "--adapters", "cpu"], &["steps=2", ADAPTERS]).done();
    let said = place.resume("same", &["steps=3"]);
    assert!(!said.out.contains("tower_1"), "{}", said.out);
    let said = place.resume("same", &["steps=4", ADAPTERS]);
    assert!(said.out.contains("tower_1"), "{}", said.out);
}

#[test]
fn the_adapter_that_is_set_on_a_resume_is_taken() {
    let place = Place::new(PIPELINE);
    for begin in ["--adapter", "--adapters"] {
        place.say(&["net.yaml", "--run", &begin[2..], begin, "cpu"], &["steps=2"]).done();
        let said = place.say(&["--resume", &begin[2..]], &["steps=4", "adapter=nothing-like-it"]);
        assert_ne!(said.status, Some(0), "{begin}: {}", said.out);
        assert!(said.told.contains("nothing-like-it"), "{begin}: {}", said.told);
    }
    // So is that of a file.
    let file = PIPELINE.replace("reducer:\n", &format!("reducer:\n      {}\n", "batch: global"));
    let file =
        file.replace("moving_average: 0.9", "moving_average: 0.9\n      adapters: [nowhere]");
    fs::write(place.path().join("other.yaml"), file).expect("written");
    let said = place.say(&["--resume", "adapters", "other.yaml"], &["steps=4", "adapter=cpu"]);
    assert!(said.told.contains("nowhere"), "{}", said.told);
}

#[test]
fn more_adapters_than_before_begin_with_equal_shares() {
    let place = Place::new(PIPELINE);
    let run = place.train("net", &["steps=2", ADAPTERS]);
    let said = place.resume("net", &["steps=4", THREE]);
    assert!(said.out.contains("16 in all: 6 + 5 + 5"), "{}", said.out);
    assert!(said.out.contains("they are of tower_0, tower_1, and there are"), "{}", said.out);
    let journal = run.text("balance.jsonl");
    let last: Value = serde_json::from_str(journal.lines().last().expect("a line")).expect("JSON");
    let expected = json!({ "step": 2, "shares": { "tower_0": 6, "tower_1": 5, "tower_2": 5 } });
    assert_eq!(last, expected, "{journal}");
    // The next time they are what they were.
    let again = place.resume("net", &["steps=6"]);
    assert!(!again.out.contains("they are of"), "{}", again.out);
}

#[test]
fn an_adapter_in_passing_says_that_it_replaces_the_pipelines() {
    let place = Place::new(PIPELINE);
    let replaced = "replaces the `adapters` of train";
    let set = [ADAPTERS, EQUAL, "steps=1"];
    let say = |arguments: &[&str], more: &[&str]| {
        place.say(&[&["net.yaml"], arguments].concat(), &[&set[..], more].concat())
    };
    let said = say(&["--adapter", "cpu"], &[]).done();
    assert!(said.out.contains(replaced), "{}", said.out);
    assert!(!said.out.contains("another training"), "{}", said.out);
    let said = say(&["--adapter", "cpu"], &[EACH]).done();
    assert!(said.out.contains("a step has 16 images, and 32 with the pipeline's"), "{}", said.out);
    let refused = say(&["--adapter", "cpu", "--strict"], &[]);
    assert_eq!(refused.status, Some(1), "{}", refused.out);
    assert!(refused.told.contains(replaced), "{}", refused.told);

    // `--adapters` means what trains: it says so only where steps are others.
    let said = say(&["--adapters", "cpu", "--strict"], &[]).done();
    assert!(!said.out.contains(replaced), "{}", said.out);
    let said = say(&["--adapters", "cpu", "--strict"], &[EACH]).done();
    assert!(said.out.contains("a step has 16 images, and 32 with the pipeline's"), "{}", said.out);
    // The pipeline's own are not there, which is why others are named.
    let nowhere = "stages.train.reducer.adapters=[nothing-of-that-name, neither-this]";
    let said = say(&["--adapter", "cpu"], &[nowhere, EACH]).done();
    assert!(said.out.contains("a step has 16 images, and 32 with the pipeline's"), "{}", said.out);
    // Nothing is replaced.
    let said = place.say(&["net.yaml", "--adapter", "cpu", "--strict"], &["steps=1"]).done();
    assert!(!said.out.contains(replaced), "{}", said.out);
    let said = say(&["--strict"], &[]).done();
    assert!(!said.out.contains(replaced), "{}", said.out);
}

#[test]
fn adapters_that_no_version_has_written_are_refused_as_damage() {
    let place = Place::new(PIPELINE);
    let run = place.train("net", &["steps=2", ADAPTERS, EQUAL]);
    for (asked, told) in [
        (json!([]), "adapters_asked"),
        (json!(0), "adapters_asked"),
        (json!([{ "adapter": "cpu", "replicas": 0 }]), "adapters_asked.0.replicas"),
        (json!([{ "adapter": "cpu", "replicas": 1_000_000_000_000_u64 }]), "1 to 1024 replicas"),
    ] {
        let mut about = run.about();
        about["adapters_asked"] = asked;
        fs::write(run.path.join("run.json"), about.to_string()).expect("written");
        place.say(&["--resume", "net"], &["steps=4"]).refused(&["run.json is damaged", told]);
    }
}

#[test]
fn replicas_are_bounded() {
    let place = Place::new(PIPELINE);
    for (replicas, each) in [("1025", true), ("1000000000", true), ("18446744073709551615", false)]
    {
        let set = format!(
            "stages.train.reducer.adapters=[{{ adapter: cpu, replicas: {replicas} }}, \
             {{ adapter: x, replicas: 2 }}]"
        );
        let set = if each { vec![&*set, EACH] } else { vec![&*set] };
        let said = place.say(&["net.yaml"], &set);
        let expected = format!("expected 1 to 1024 replicas, found {replicas}");
        said.refused(&[&expected]);
    }
}
