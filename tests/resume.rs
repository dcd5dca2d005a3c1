//! Runs that are stopped, killed and resumed end as if nothing had happened.

mod common;
#[path = "common/python.rs"]
mod python;
#[path = "common/runs.rs"]
mod runs;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use base::random::Random;
use runs::{PIPELINE, Place, Run, STEPS, assert_end_alike, names};
use serde_json::Value;

const QUEUE: &str = "stages.shuffle.shuffler={ mode: queue, minimum: 30, capacity: 40 }";
const MOMENTUM: &str = "stages.train.reducer.optimizer={ momentum: {} }";

/// Stops a run after each of these steps and goes on, with another number of threads: what comes
/// out of several is not what was put in first.
fn stop_after_each(steps: impl IntoIterator<Item = u64>, set: &[&str]) {
    stop_in(PIPELINE, steps, set);
}

fn stop_in(pipeline: &str, steps: impl IntoIterator<Item = u64>, set: &[&str]) {
    let place = Place::new(pipeline);
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

/// A network that keeps more than weights from step to step, and draws random numbers.
const KEEPING: &str = "stages.gradients.model.layers=[
    { conv2d: { channels: 4, kernel: 3 } }, { batch_norm: {} }, { relu: {} }, { max_pool: {} },
    { dropout: { rate: 0.2 } },
    { dense: { units: 10 } }, { batch_norm: {} }, { softmax_cross_entropy: {} } ]";

#[test]
fn so_does_one_with_statistics_of_batches_and_dropout() {
    stop_after_each([1, 4, 9, 23], &[KEEPING]);
    let towers = "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 2 }]";
    stop_after_each([4, 23], &[KEEPING, towers, "stages.train.reducer.balance=equal"]);
}

#[test]
fn so_does_one_with_every_augmentation() {
    let more = "
  pad: { from: shuffle, cropper: { size: 32, padding: { pixels: 4 } } }
  crop: { from: pad, resizer: { size: 12 } }
  colour: { from: crop, color_jitter: {} }
  cover: { from: colour, cutout: { size_px: 4 } }
  distort: { from: cover, distorter: { flip: { alternating: true } } }
  plain: { from: whiten, batcher: { size: 16 } }
  batch: { from: plain, mixer: { mixup: {}, cutmix: {} } }
";
    let replaced = ["  crop:", "  distort:", "  batch:"];
    let kept =
        PIPELINE.lines().filter(|line| !replaced.iter().any(|start| line.starts_with(start)));
    let pipeline = kept.collect::<Vec<_>>().join("\n") + more;
    stop_in(&pipeline, [1, 3, 10, 23], &[]);
}

#[test]
fn so_does_one_on_a_graphics_adapter() {
    if common::gpus().is_empty() {
        return;
    }
    // The first adapter after cpu.
    stop_after_each([1, 4, 23], &["adapter='1'"]);
    kill_at_random(&Place::new(PIPELINE), "killed", &["adapter='1'"], 2);
}

/// A number of steps that no run comes to: it ends because it is stopped, however fast the machine.
const ENDLESS: &str = "steps=1000000";
/// Steps that are done after a run was stopped for the last time.
const MORE: u64 = 20;

/// Goes on with a run that was stopped, for a few steps, and asserts that it ends like one that
/// does as many alone. Gives both.
fn end(place: &Place, name: &str, set: &[&str]) -> (Run, Run) {
    let run = place.run(name);
    let steps = run.checkpoints().last().expect("checkpoints") + MORE;
    let steps = format!("steps={steps}");
    place.resume(name, &[&steps]);
    let alone = place.train(&format!("{name}-alone"), &[set, &[&steps]].concat());
    assert_end_alike(&alone, &run, None);
    (alone, run)
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_the_last_step_and_the_run_goes_on() {
    const SET: &[&str] = &["checkpoints={ every: {}, keep: 3 }"];
    let place = Place::new(PIPELINE);
    for (at, wait_ms) in [0, 30, 90].into_iter().enumerate() {
        let name = format!("interrupted-{at}");
        let run = place.run(&name);
        let mut command = place.start(&["net.yaml", "--run", &name], &[SET, &[ENDLESS]].concat());
        assert!(command.wait_until(|| !run.checkpoints().is_empty()), "it ended by itself");
        thread::sleep(Duration::from_millis(wait_ms));
        assert_eq!(command.interrupt(), Some(130));
        assert_eq!(run.about()["ended"]["how"], "interrupted");
        // The last step is logged, and its weights are kept.
        let logged = run.measured().into_keys().filter(|(kind, ..)| kind == "step").count();
        assert_eq!(run.checkpoints().last(), Some(&(logged as u64)));
        end(&place, &name, SET);
    }
}

/// Kills a run so many times, at random moments after it has made some progress, and goes on each
/// time. Whatever it measured must still be there at the end.
fn kill_at_random(place: &Place, name: &str, set: &[&str], kills: u32) -> (Run, Run) {
    let run = place.run(name);
    let mut random = Random::keyed(1, "kills", 0, 0);
    let mut lines = BTreeSet::new();
    for kill in 0..kills {
        let before = run.checkpoints().last().copied();
        let mut command = match kill {
            0 => place.start(&["net.yaml", "--run", name], &[set, &[ENDLESS]].concat()),
            _ => place.start(&["--resume"], &[]),
        };
        let goes_on = command.wait_until(|| run.checkpoints().last().copied() > before);
        assert!(goes_on, "it ended before kill {kill}");
        thread::sleep(Duration::from_micros(u64::from(random.bits() % 60_000)));
        command.kill();
        lines.append(&mut run.lines());
    }
    let ended = end(place, name, set);
    let there = run.lines();
    let lost: Vec<&String> = lines.difference(&there).collect();
    assert!(lost.is_empty(), "{lost:?}");
    ended
}

#[test]
fn a_run_killed_at_random_moments_ends_with_the_same_bits_and_curves() {
    let place = Place::new(PIPELINE);
    let set = ["checkpoints={ every: { steps: 4 }, keep: 2 }"];
    let (alone, killed) = kill_at_random(&place, "killed", &set, 10);
    assert_eq!(killed.about()["resumed"].as_array().map(Vec::len), Some(10));
    assert!(!names(&killed.path.join("superseded")).is_empty(), "nothing was ever superseded");
    let left: Vec<_> = killed.files().into_keys().filter(|path| is_partial(path)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_same_best(&alone, &killed);
    assert_same_curves(&alone, &killed);
}

/// Whether a file was not yet whole.
fn is_partial(path: &Path) -> bool {
    path.to_string_lossy().contains("partial")
}

fn assert_same_best(alone: &Run, run: &Run) {
    let best = |run: &Run| run.text("checkpoints/best.json");
    assert_eq!(best(alone), best(run));
}

/// Asserts that TensorBoard shows of both runs the same: each number, distribution and picture
/// once, in the same order.
fn assert_same_curves(alone: &Run, run: &Run) {
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
    // The last; the last and one before; the last, and the weights had been kept for another
    // reason.
    for (name, lost) in [("one", &[24][..]), ("two", &[22, 24]), ("kept", &[24])] {
        place.train(name, &[]);
        let run = place.run(name);
        if name == "kept" {
            run.rewrite(24, |about| about.awaits_evaluation = false);
        }
        run.forget(|line| is_evaluation(line, lost));
        let said = place.resume(name, &[]);
        // No step is done again for it.
        assert!(said.out.contains("after step 24\n"), "{name}: {}", said.out);
        let told = said.out.contains("evaluations that were lost come first: 22\n");
        assert_eq!(told, name == "two", "{}", said.out);
        assert!(names(&run.path.join("superseded")).iter().all(|name| !name.starts_with("step")));
        assert_end_alike(&alone, &run, None);
        assert_same_best(&alone, &run);
        assert_same_curves(&alone, &run);
    }
}

/// A checkpoint that came after a number of seconds says itself that it is to be evaluated.
#[test]
fn an_evaluation_that_was_due_by_the_clock_is_made_up_for() {
    const SET: &[&str] = &["stages.train.reducer.evaluate={ seconds: 1e9 }"];
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

/// One stage had told its evaluation, the other had not.
#[test]
fn each_stage_that_evaluates_makes_up_for_its_own() {
    let more = "
  read_raw: { reader: { format: { synthetic: { train: 50, test: 20 } }, split: test } }
  centre_raw: { from: read_raw, cropper: { size: 12, mode: central } }
  test_raw: { from: centre_raw, batcher: { size: 8, partial: keep } }
  score_raw: { from: [test_raw, train], model: { averaged: false } }
  evaluate_raw: { from: score_raw, evaluator: {} }
";
    let place = Place::new(&format!("{PIPELINE}{more}"));
    let (alone, run) = (place.train("alone", &[]), place.train("net", &[]));
    run.forget(|line| line["stage"] == "evaluate_raw" && is_evaluation(line, &[22, 24]));
    let said = place.resume("net", &[]);
    assert!(said.out.contains("after step 24\n"), "{}", said.out);
    assert_end_alike(&alone, &run, None);
}

/// Nothing was kept yet: the run begins again, in its folder.
#[test]
fn a_run_killed_before_its_first_checkpoint_begins_again() {
    const SET: &[&str] = &["checkpoints.every={}", "stages.train.reducer.evaluate={}"];
    let place = Place::new(PIPELINE);
    let run = place.run("killed");
    let mut command = place.start(&["net.yaml", "--run", "killed"], &[SET, &[ENDLESS]].concat());
    let lines = || fs::read_to_string(run.path.join("metrics.jsonl")).unwrap_or_default();
    assert!(command.wait_until(|| lines().lines().count() > 5), "it ended by itself");
    command.kill();
    assert!(run.checkpoints().is_empty());
    let said = place.resume("killed", &["steps=24"]);
    assert!(said.out.contains("stopped before its first checkpoint: it begins again\n"));
    let alone = place.train("alone", SET);
    assert_end_alike(&alone, &run, None);
    assert_same_curves(&alone, &run);
    assert!(run.path.join("superseded/metrics.jsonl").is_file(), "what it had logged is kept");
}
