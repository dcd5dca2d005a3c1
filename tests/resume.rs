//! Runs that are stopped, killed and resumed end as if nothing had happened.

mod common;
#[path = "common/python.rs"]
mod python;
#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use runs::{PIPELINE, Place, Run, STEPS, assert_end_alike, names};
use runtime::random::Random;
use serde_json::Value;

const QUEUE: &str = "stages.shuffle.shuffler={ mode: queue, minimum: 30, capacity: 40 }";
const MOMENTUM: &str = "stages.train.reducer.optimizer={ momentum: {} }";

/// Stops a run after each of these steps and goes on, with another number of threads: what comes
/// out of several is not what was put in first.
fn stop_after_each(steps: impl IntoIterator<Item = u64>, set: &[&str]) {
    let place = Place::new(PIPELINE);
    let alone = place.train("alone", set);
    for stop in steps {
        let name = format!("after-{stop}");
        place.train(&name, &[set, &[&format!("steps={stop}")]].concat());
        let workers = format!("stages.distort.distorter.workers={}", stop % 3 + 1);
        let said = place.resume(&name, &["steps=24", &workers]);
        assert!(said.out.contains(&format!("after step {stop}\n")), "{}", said.out);
        assert_end_alike(&alone, &place.run(&name), Some(stop));
    }
}

#[test]
fn a_run_stopped_after_any_step_ends_with_the_same_bits() {
    stop_after_each(1..STEPS, &[]);
}

#[test]
fn so_does_one_that_mixes_in_a_queue() {
    stop_after_each([1, 3, 4, 9, 13, 23], &[QUEUE, MOMENTUM]);
}

#[test]
fn so_does_one_on_a_graphics_adapter() {
    if common::gpus().is_empty() {
        return;
    }
    // The first adapter after cpu.
    stop_after_each([1, 4, 23], &["adapter='1'"]);
    let place = Place::new(PIPELINE);
    let alone = place.train("alone", &["adapter='1'"]);
    kill_at_random(&place, "killed", &["adapter='1'"], 2);
    assert_end_alike(&alone, &place.run("killed"), None);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_the_last_step_and_the_run_goes_on() {
    const SET: &[&str] = &["steps=400", "checkpoints={ every: {}, keep: 3 }"];
    let place = Place::new(PIPELINE);
    let alone = place.train("alone", SET);
    for (at, wait_ms) in [0, 30, 90].into_iter().enumerate() {
        let name = format!("interrupted-{at}");
        let run = place.run(&name);
        let mut command = place.start(&["net.yaml", "--run", &name], SET);
        assert!(command.wait_until(|| !run.checkpoints().is_empty()), "it ended by itself");
        thread::sleep(Duration::from_millis(wait_ms));
        assert_eq!(command.interrupt(), Some(130));
        assert_eq!(run.about()["ended"]["how"], "interrupted");
        // The last step is logged, and its weights are kept.
        let last = run.checkpoints().last().copied().expect("checkpoints");
        assert!(last < 400);
        let logged = run.measured().into_keys().filter(|(kind, ..)| kind == "step").count();
        assert_eq!(logged as u64, last);
        place.resume(&name, &[]);
        assert_end_alike(&alone, &run, None);
    }
}

/// Kills a run so many times, at random moments after it has made some progress, and goes on each
/// time, at last to its end. Whatever it measured must still be there each time.
fn kill_at_random(place: &Place, name: &str, set: &[&str], kills: u32) {
    let run = place.run(name);
    let mut random = Random::keyed(1, "kills", 0, 0);
    let begin = ["net.yaml", "--run", name];
    let mut arguments = (&begin[..], set);
    let mut lines = run_lines(&run);
    for kill in 0..kills {
        let before = run.checkpoints().last().copied();
        let mut command = place.start(arguments.0, arguments.1);
        assert!(
            command.wait_until(|| run.checkpoints().last().copied() > before),
            "it ended before kill {kill}: give it more steps"
        );
        thread::sleep(Duration::from_micros(u64::from(random.bits() % 60_000)));
        command.kill();
        arguments = (&["--resume"], &[]);
        lines.extend(run_lines(&run));
    }
    place.resume(name, &[]);
    let there = run.lines();
    let lost: Vec<&String> = lines.iter().filter(|line| !there.contains(*line)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

fn run_lines(run: &Run) -> std::collections::BTreeSet<String> {
    if run.path.join("metrics.jsonl").exists() { run.lines() } else { Default::default() }
}

#[test]
fn a_run_killed_at_random_moments_ends_with_the_same_bits_and_curves() {
    const SET: &[&str] = &["steps=300", "checkpoints={ every: { steps: 4 }, keep: 2 }"];
    let place = Place::new(PIPELINE);
    let alone = place.train("alone", SET);
    kill_at_random(&place, "killed", SET, 10);
    let killed = place.run("killed");
    assert_end_alike(&alone, &killed, None);
    assert_eq!(killed.about()["resumed"].as_array().map(Vec::len), Some(10));
    assert!(!names(&killed.path.join("superseded")).is_empty(), "nothing was ever superseded");
    let left: Vec<_> = killed.files().into_keys().filter(|path| is_partial(path)).collect();
    assert!(left.is_empty(), "{left:?}");
    same_best(&alone, &killed);
    same_curves(&alone, &killed);
}

/// Whether a file was not yet whole.
fn is_partial(path: &Path) -> bool {
    path.to_string_lossy().contains("partial")
}

fn same_best(alone: &Run, run: &Run) {
    let best = |run: &Run| run.text("checkpoints/best.json");
    assert_eq!(best(alone), best(run));
}

/// Asserts that TensorBoard shows of both runs the same: each number, distribution and picture
/// once, in the same order.
fn same_curves(alone: &Run, run: &Run) {
    let Some(python) = python::find() else { return };
    for folder in ["train", "evaluate"] {
        let curves = |run: &Run| {
            let folder = run.path.join("tensorboard").join(folder);
            let mut curves = python::events(&python, &folder);
            for kind in ["scalars", "histograms", "images", "texts"] {
                let series = curves[kind].as_object_mut().expect("series by name");
                series.remove("examples_per_second");
                // The pipeline is told when a run begins.
                series.remove("pipeline");
                let points = series.values_mut().flat_map(|points| points.as_array_mut());
                // The time.
                points.flatten().for_each(|point| point[1] = Value::Null);
            }
            curves
        };
        let (expected, found) = (curves(alone), curves(run));
        for kind in ["scalars", "histograms", "images", "texts", "graph"] {
            let steps = |curves: &Value| -> Vec<(String, Vec<Value>)> {
                let series = curves[kind].as_object().into_iter().flatten();
                let steps = |points: &Value| {
                    points.as_array().into_iter().flatten().map(|point| point[0].clone()).collect()
                };
                series.map(|(name, points)| (name.clone(), steps(points))).collect()
            };
            assert_eq!(steps(&expected), steps(&found), "{folder}: steps of {kind}");
            assert!(expected[kind] == found[kind], "{folder}: {kind} differ");
        }
    }
}

fn is_evaluation(line: &Value, of: &[u64]) -> bool {
    line["kind"] == "evaluation" && line["step"].as_u64().is_some_and(|step| of.contains(&step))
}

/// As if the run had been killed at its worst moments: after the weights were kept, before the
/// evaluation was told.
#[test]
fn no_evaluation_is_lost_or_made_twice() {
    let place = Place::new(PIPELINE);
    let alone = place.train("alone", &[]);
    // The last; the last and one before, of which the run then goes on; the last, and the weights
    // had been kept for another reason.
    for (name, lost, begin) in [("one", &[24][..], 24), ("two", &[22, 24], 22), ("kept", &[24], 24)]
    {
        place.train(name, &[]);
        let run = place.run(name);
        if name == "kept" {
            run.rewrite(24, |about| about.awaits_evaluation = false);
        }
        run.forget(|line| is_evaluation(line, lost));
        let said = place.resume(name, &[]);
        assert!(said.out.contains(&format!("after step {begin}\n")), "{name}: {}", said.out);
        assert_end_alike(&alone, &run, None);
        same_best(&alone, &run);
        same_curves(&alone, &run);
    }
}

/// A checkpoint that came after a number of seconds says itself that it is to be evaluated.
#[test]
fn an_evaluation_that_was_due_by_the_clock_is_made_up_for() {
    const SET: &[&str] = &["stages.train.reducer.evaluate={ seconds: 1000 }"];
    let place = Place::new(PIPELINE);
    let run = place.train("clock", SET);
    fs::remove_file(run.checkpoint(24)).expect("it was there");
    run.forget(|line| is_evaluation(line, &[24]));
    run.rewrite(23, |about| about.awaits_evaluation = true);
    place.resume("clock", &[]);
    let evaluations = run.measured().into_keys().filter(|(kind, ..)| kind == "evaluation");
    let steps: Vec<u64> = evaluations.map(|(_, _, step)| step).collect();
    assert_eq!(steps, [23, 24]);
}
