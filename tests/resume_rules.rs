//! What may change when a run goes on, what may not, and what it goes on from if something is
//! broken.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;

use runs::{PIPELINE, Place, STEPS, assert_end_alike, assert_same_bits, names};

#[test]
fn limits_periods_adapters_and_workers_may_change_and_that_is_told() {
    let place = Place::new(PIPELINE);
    place.train("net", &["steps=5"]);
    let changes = [
        ("steps", "5", "8"),
        ("block_images", "64", "16"),
        ("checkpoints.keep", "100", "3"),
        ("summaries.scalars.steps", "1", "2"),
        ("stages.distort.distorter.workers", "0", "2"),
        ("stages.train.reducer.evaluate.epochs", "1.0", "0.5"),
        ("stages.train.reducer.learning_rate", "", "0.125"),
        ("stages.test.batcher.size", "8", "4"),
    ];
    let set: Vec<String> = changes.iter().map(|(path, _, to)| format!("{path}={to}")).collect();
    let said = place.resume("net", &set.iter().map(String::as_str).collect::<Vec<_>>());
    let run = place.run("net");
    let (log, about) = (run.text("log.txt"), run.about());
    let kept = about["resumed"][0]["changes"].as_array().expect("changes");
    for (path, from, to) in changes {
        let is_it = |line: &str| {
            line.starts_with(&format!("{path}: {from}")) && line.ends_with(&format!(" -> {to}"))
        };
        let told =
            |text: &str| text.lines().filter_map(|line| line.strip_prefix("changed: ")).any(is_it);
        assert!(told(&said.out), "{path}: {}", said.out);
        assert!(told(&log), "{path}: {log}");
        assert!(kept.iter().filter_map(|change| change.as_str()).any(is_it), "{path}: {about}");
    }
    assert_eq!(kept.len(), changes.len(), "{about}");
    assert_eq!(about["resumed"][0]["steps"], 5);
    assert_eq!(run.checkpoints().last(), Some(&8));
    // The next time there is nothing to tell.
    let again = place.resume("net", &["steps=9"]);
    assert_eq!(again.out.matches("changed: ").count(), 1, "{}", again.out);
}

#[test]
fn settings_that_a_run_cannot_go_on_with_are_not_kept() {
    let place = Place::new(PIPELINE);
    let run = place.train("run", &["steps=8"]);
    let before = [run.text("pipeline.yaml"), run.text("run.json"), run.text("variants.json")];
    let kept = || [run.text("pipeline.yaml"), run.text("run.json"), run.text("variants.json")];
    // Of a stage that is built last, of all that ask for one, and of the first step.
    let adapter = "stages.score.model.adapter=no-such-adapter";
    for (arguments, set) in [
        (&[][..], &["steps=12", adapter][..]),
        (&[], &["steps=12", "adapter=no-such-adapter"]),
        (&["--adapter", "no-such-adapter"], &["steps=12"]),
    ] {
        let said = place.say(&[&["--resume", "run"], arguments].concat(), set);
        assert!(said.status == Some(2) || said.status == Some(1), "{set:?}: {}", said.told);
        assert!(said.told.contains("no-such-adapter"), "{}", said.told);
        assert_eq!(kept(), before, "{set:?}");
    }
    // It goes on as if that had not been tried, and then keeps what it went on with.
    place.resume("run", &["steps=12"]);
    assert_eq!(run.about()["ended"]["how"], "done");
    assert!(run.text("pipeline.yaml").contains("steps: 12"));
    assert_eq!(run.about()["resumed"][0]["changes"], serde_json::json!(["steps: 8 -> 12"]));
    assert_eq!(run.checkpoints().last(), Some(&12));
}

#[test]
fn what_is_learned_may_not_change() {
    let place = Place::new(PIPELINE);
    place.train("net", &["steps=5"]);
    let before = place.run("net").files();
    for (set, words) in [
        ("seed=8", &["seed: 7 -> 8"][..]),
        ("stages.batch.batcher.size=8", &["stages.batch.batcher.size: 16 -> 8"]),
        ("stages.shuffle.shuffler.mode=queue", &["stages.shuffle.shuffler.mode: epoch -> queue"]),
        ("stages.read.reader.split=test", &["stages.read.reader.split: train -> test"]),
        (
            "stages.read.reader.format.synthetic.train=60",
            &["stages.read.reader.format.synthetic.train: 50 -> 60"],
        ),
        (
            "stages.gradients.model.layers.0.conv2d.channels=5",
            &["stages.gradients.model.layers.0.conv2d.channels: 4 -> 5"],
        ),
        (
            "stages.gradients.model.layers.0.name=first",
            &["stages.gradients.model.layers.0.name: conv -> first"],
        ),
        (
            "stages.gradients.model.layers.3.dense.weight_decay=0.1",
            &["stages.gradients.model.layers.3.dense.weight_decay: 0.004 -> 0.1"],
        ),
        (
            "stages.train.reducer.optimizer={ momentum: {} }",
            &[
                "stages.train.reducer.optimizer.adam: {",
                "stages.train.reducer.optimizer.momentum: nothing -> {",
            ],
        ),
    ] {
        place.say(&["--resume", "net"], &["steps=8", set]).refused(words);
        assert!(place.run("net").files() == before, "{set} left something");
    }
}

#[test]
fn a_pipeline_file_may_stand_in_for_the_runs_own() {
    let place = Place::new(PIPELINE);
    place.train("net", &["steps=5"]);
    let write = |name: &str, text: String| {
        fs::write(place.path().join(name), text).expect("written");
    };
    write("longer.yaml", PIPELINE.replace("steps: 24", "steps: 8"));
    let said = place.say(&["--resume", "net", "longer.yaml"], &[]).done();
    assert!(said.out.contains("changed: steps: 5 -> 8\n"), "{}", said.out);
    write("other.yaml", PIPELINE.replace("name: conv,", "name: other,"));
    place.say(&["--resume", "net", "other.yaml"], &[]).refused(&["layers.0.name: conv -> other"]);
}

#[test]
fn checkpoints_of_another_model_are_refused_with_both_sides() {
    let place = Place::new(PIPELINE);
    place.train("net", &["steps=5"]);
    let other = place.train("other", &["steps=6", "stages.gradients.model.layers.3.name=head"]);
    fs::copy(other.checkpoint(6), place.run("net").checkpoint(6)).expect("copied");
    place.say(&["--resume", "net"], &["steps=8"]).refused(&[
        "step-000000006",
        "head/weights: the checkpoint has it",
        "top/weights: the pipeline's model has it with [",
        "was it renamed to top/weights?",
    ]);
}

#[test]
fn another_version_of_the_program_is_only_told() {
    let place = Place::new(PIPELINE);
    let alone = place.train("alone", &[]);
    let run = place.train("net", &["steps=5"]);
    run.rewrite(5, |about| about.program = "0.0.1".to_owned());
    let said = place.resume("net", &["steps=24"]);
    let told = "warning: the run was at work with Gradflow 0.0.1, and this is ";
    assert!(said.out.contains(told) && run.text("log.txt").contains(told), "{}", said.out);
    assert_end_alike(&alone, &run, Some(5));
}

#[test]
fn checkpoints_of_a_newer_version_are_not_passed_over() {
    let place = Place::new(PIPELINE);
    let run = place.train("net", &["steps=5"]);
    let mut bytes = fs::read(run.checkpoint(5)).expect("it is there");
    let version: &[u8] = br#"\"version\":1"#;
    let at = bytes.windows(version.len()).position(|here| here == version).expect("the version");
    bytes[at + version.len() - 1] = b'9';
    fs::write(run.checkpoint(5), bytes).expect("written");
    let before = run.files();
    let words = ["step-000000005", "version 9", "versions up to 1", "the Gradflow that wrote it"];
    place.say(&["--resume", "net"], &["steps=8"]).refused(&words);
    assert!(run.files() == before, "something changed");
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let place = Place::new(PIPELINE);
    let alone = place.train("alone", &[]);
    let run = place.train("net", &["steps=6"]);
    let mut bytes = fs::read(run.checkpoint(6)).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(run.checkpoint(6), &bytes).expect("written");
    fs::write(run.checkpoint(5), &bytes[..middle]).expect("written");
    let said = place.resume("net", &["steps=24"]);
    assert!(said.out.contains("net after step 4\n"), "{}", said.out);
    for step in [5, 6] {
        let told = format!("step-{step:09}.safetensors is no checkpoint that can be used");
        assert!(
            said.out.lines().any(|l| l.starts_with("warning: ") && l.contains(&told)),
            "{told}"
        );
        assert!(run.text("log.txt").contains(&told), "{told}");
    }
    // The evaluation at the first end is put aside with the rest.
    assert_end_alike(&alone, &run, None);
    let aside = run.path.join("superseded");
    assert_eq!(fs::read(aside.join("step-000000006.safetensors")).expect("kept"), bytes);
}

#[test]
fn a_run_without_a_good_checkpoint_cannot_go_on() {
    let place = Place::new(PIPELINE);
    let run = place.train("net", &["steps=2"]);
    for step in run.checkpoints() {
        fs::write(run.checkpoint(step), "no checkpoint").expect("written");
    }
    let before = run.files();
    let words = ["no checkpoint in", "step-000000001", "step-000000002", "start another run"];
    place.say(&["--resume"], &[]).refused(&words);
    assert!(run.files() == before, "something changed");
    // It was done, and what it had learned has been removed: that is not trained again unasked.
    fs::remove_dir_all(run.path.join("checkpoints")).expect("it was there");
    place.say(&["--resume"], &[]).refused(&["there is no checkpoint in", "start another run"]);
    assert!(run.path.join("metrics.jsonl").is_file());
}

#[test]
fn there_must_be_a_run_to_go_on_with() {
    let place = Place::new(PIPELINE);
    place
        .say(&["--resume"], &[])
        .refused(&["there is no run in runs", "runtime run pipeline.yaml"]);
    place.say(&["--resume", "net"], &[]).refused(&["net is no folder of a run", "no runs in runs"]);
    place.train("one", &["steps=1"]);
    place.train("two", &["steps=1"]);
    place.say(&["--resume", "net"], &[]).refused(&["net is no folder of a run", "one, two"]);
    // Without a name, it is the last one; by its path, any.
    let said = place.say(&["--resume"], &["steps=2"]).done();
    assert!(said.out.contains("two after step 1\n"), "{}", said.out);
    place.say(&["--resume", "runs/one"], &["steps=2"]).done();
    assert_eq!(place.run("one").checkpoints(), [1, 2]);
}

#[test]
fn a_run_that_is_done_stays_as_it_is() {
    let place = Place::new(PIPELINE);
    for (name, set) in [("steps", &["steps=24"][..]), ("epochs", &["steps=null", "epochs=7.5"])] {
        let run = place.train(name, set);
        let (checkpoints, steps) = (run.checkpoints(), run.checkpoints().len());
        let (stored, measured) = (run.stored(steps as u64), run.text("metrics.jsonl"));
        let report = run.text("report.html");
        let said = place.resume(name, &[]);
        let told = format!("done already, after step {steps}: ");
        assert!(said.out.contains(&told), "{}", said.out);
        assert_eq!(run.checkpoints(), checkpoints);
        assert_same_bits(&stored, &run.stored(steps as u64), name);
        assert_eq!(run.text("metrics.jsonl"), measured);
        assert!(run.text("report.html") == report, "it had more to show");
        assert!(names(&run.path.join("superseded")).is_empty());
    }
}

/// Weights that were there at the end of one run go on in the next as well.
#[test]
fn a_run_may_go_on_again_and_again() {
    let place = Place::new(PIPELINE);
    let alone = place.train("alone", &["stages.train.reducer.evaluate={}"]);
    place.train("net", &["steps=1", "stages.train.reducer.evaluate={}"]);
    for steps in [2, 9, 10, 23, STEPS] {
        place.resume("net", &[&format!("steps={steps}")]);
    }
    let run = place.run("net");
    assert_same_bits(&alone.stored(STEPS), &run.stored(STEPS), "the end");
    let steps = |run: &runs::Run| {
        let mut measured = run.measured();
        measured.retain(|(kind, ..), _| kind == "step");
        measured
    };
    assert_eq!(steps(&alone), steps(&run));
}
