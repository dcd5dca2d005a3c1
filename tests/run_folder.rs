//! The folder that a run leaves behind: complete, its own, and enough to run again.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;

use runs::{PIPELINE, Place, assert_end_alike, names};
use serde_json::json;

#[test]
fn a_run_leaves_everything_that_there_is_to_know_of_it() {
    let place = Place::new(PIPELINE);
    let said = place.say(&["net.yaml"], &["steps=8"]).done();
    assert_eq!(names(&place.path().join("runs")), ["net-001"]);
    let run = place.run("net-001");
    assert_eq!(
        names(&run.path),
        [
            "checkpoints",
            "lock",
            "log.txt",
            "metrics.jsonl",
            "pipeline.original.yaml",
            "pipeline.yaml",
            "report.html",
            "run.json",
            "tensorboard",
            "trained_on.bin",
            "variants.json",
        ]
    );
    assert_eq!(run.text("pipeline.original.yaml"), PIPELINE);
    // The log has lines as they came, and what was printed is in the order of the steps.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(&run.text("log.txt")), sorted(&said.out));
    assert_eq!(run.checkpoints(), (1..=8).collect::<Vec<_>>());
    assert_eq!(names(&run.path.join("tensorboard")), ["evaluate", "train"]);
    assert!(run.text("report.html").contains("</html>"));
    let steps = run.measured().into_keys().filter(|(kind, ..)| kind == "step").count();
    assert_eq!(steps, 8);

    let about = run.about();
    assert_eq!(about["seed"], 7);
    assert_eq!(about["program"], env!("CARGO_PKG_VERSION"));
    assert_eq!(about["adapter"]["backend"], "cpu");
    let driver = about["adapter"]["driver"].as_str().expect("a driver");
    assert!(driver.contains("thread"), "{driver}");
    let command = about["command"].as_array().expect("a command line");
    assert_eq!(command[1..], ["run", "net.yaml", "--set", "steps=8"].map(|word| json!(word)));
    let data: Vec<_> = about["data"].as_array().expect("data").iter().collect();
    let stages: Vec<_> = data.iter().map(|one| one["stage"].clone()).collect();
    assert_eq!(stages, ["read", "read_test"]);
    assert_ne!(data[0]["crc32c"], data[1]["crc32c"]);
    assert!(data.iter().all(|one| one["crc32c"].is_u64()), "{about}");
    assert_eq!(about["ended"]["how"], "done");
}

#[test]
fn the_resolved_pipeline_runs_again_to_the_same_bits() {
    let place = Place::new(PIPELINE);
    // What was set on the command line is in it.
    let first = place.train("first", &["steps=8", "seed=9"]);
    place.say(&["runs/first/pipeline.yaml", "--run", "again"], &[]).done();
    let again = place.run("again");
    assert_end_alike(&first, &again, None);
    assert_eq!(again.text("pipeline.yaml"), first.text("pipeline.yaml"));
    assert_eq!(again.about()["data"], first.about()["data"]);
}

#[test]
fn no_folder_is_used_by_two_runs() {
    let place = Place::new(PIPELINE);
    let run = place.train("mine", &["steps=1"]);
    let before = run.files();
    let words = ["mine is there already", "never writes over another", "runtime run --resume"];
    place.say(&["net.yaml", "--run", "mine"], &["steps=2"]).refused(&words);
    assert!(run.files() == before, "something changed");
    // Not even one that holds something else.
    let other = place.path().join("runs/net-001");
    fs::create_dir(&other).expect("a folder");
    place.say(&["net.yaml"], &["steps=1"]).done();
    place.say(&["net.yaml"], &["steps=1"]).done();
    assert_eq!(names(&place.path().join("runs")), ["mine", "net-001", "net-002", "net-003"]);
    assert!(names(&other).is_empty());
    place.say(&["net.yaml", "--run", "a/b"], &[]).refused(&["cannot name a run's folder"]);
}

#[test]
fn two_processes_never_work_in_one_folder() {
    let place = Place::new(PIPELINE);
    let run = place.run("net");
    let mut first = place.start(&["net.yaml", "--run", "net"], &["steps=100000"]);
    assert!(first.wait_until(|| !run.checkpoints().is_empty()), "it ended by itself");
    let second = place.say(&["--resume", "net"], &[]);
    assert_eq!(second.status, Some(1), "{}", second.out);
    let told = "another run is at work in";
    assert!(second.told.contains(told), "{}", second.told);
    first.kill();
    place.resume("net", &["steps=1000", "checkpoints.every={}"]);
}

/// Wherever it is resumed from: relative paths start from the folder that the pipeline was in.
#[test]
fn a_run_knows_the_folder_that_it_was_started_in() {
    let place = Place::new(PIPELINE);
    let run = place.train("net", &["steps=1"]);
    let folder = fs::canonicalize(place.path()).expect("it is there");
    let told = run.about()["folder"].as_str().map(fs::canonicalize).expect("a folder");
    assert_eq!(told.expect("it is there"), folder);
}
