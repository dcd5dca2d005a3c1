//! Evaluation in and beside a run: when it is made, by which weights, on which adapter, and that it
//! changes nothing of the training. Several runs with several seeds.

#[path = "common/command.rs"]
mod command;
mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use command::Place;
use common::{with_settings, within};
use compute::adapter::{Adapter as _, wgpu};
use record::metrics;
use record::recorder::metrics_file;
use serde_json::Value;

/// The evaluations of a run: steps, precisions and losses.
fn evaluations(run: &Path) -> Vec<(u64, f64, f64)> {
    let told = metrics::read(&metrics_file(run)).expect("there are metrics");
    let figures = told.evaluations.iter();
    figures.map(|report| (report.step, report.precision_at_1, report.loss)).collect()
}

fn steps(run: &Path) -> Vec<u64> {
    evaluations(run).into_iter().map(|(step, ..)| step).collect()
}

/// Evaluations that watch a run until its end.
fn watch(place: &Place, run: &str) -> Vec<Child> {
    let one = |flags: &[&str]| {
        let mut command = place.command(&["eval", run, "--watch", "--json"]);
        command.args(flags).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the command starts")
    };
    vec![one(&[]), one(&["--raw"]), one(&["--views", "10"])]
}

#[test]
fn evaluations_beside_a_run_change_no_bit_of_it() {
    let place = Place::new();
    // Checkpoints come and go while they are read.
    let set = ["steps=1500", "checkpoints={ every: { steps: 3 }, keep: 1 }"];
    let run = place.start("a", &set, ": step 0,");
    let watching = watch(&place, "runs/a");
    run.end().done();
    let mut raw = Vec::new();
    for child in watching {
        let done = within(common::PATIENCE, || child.wait_with_output().expect("it ends"));
        let [out, told] = [done.stdout, done.stderr].map(|b| String::from_utf8(b).expect("UTF-8"));
        assert_eq!((done.status.code(), &*told), (Some(0), ""), "{out}");
        let last: Value = serde_json::from_str(out.lines().last().expect("a line")).expect("JSON");
        assert_eq!(last["step"], 1500, "the end is evaluated");
        raw.push(last["averaged"] == false);
    }
    assert_eq!(raw, [false, true, false]);
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
    let kept = fs::read_dir(place.run("a").join("evaluations")).expect("evaluations are kept");
    let mut kept: Vec<String> = kept.map(|entry| name(entry.expect("an entry"))).collect();
    kept.sort();
    assert_eq!(kept, ["1", "2", "3"]);
    for number in kept {
        let own = place.run("a").join("evaluations").join(number);
        assert!(own.join("evaluations.jsonl").is_file() && own.join("evaluate").is_dir());
    }

    place.train("alone", &set).done();
    let [a, alone] = ["a", "alone"].map(|name| place.latest(name));
    assert_eq!(a.tensors, alone.tensors);
    assert_eq!(evaluations(&place.run("a")), evaluations(&place.run("alone")));
}

#[test]
fn an_evaluation_is_made_every_so_many_steps_epochs_or_seconds() {
    let place = Place::new();
    let evaluate = |name: &str, every: &str, set: &[&str]| {
        let every = format!("stages.train.reducer.evaluate={every}");
        place.train(name, &[set, &[&every]].concat()).done();
        steps(&place.run(name))
    };
    assert_eq!(evaluate("steps", "{ steps: 25 }", &[]), [25, 50, 60]);
    // 200 images in batches of 20.
    assert_eq!(evaluate("epochs", "{ epochs: 2 }", &[]), [20, 40, 60]);
    assert_eq!(evaluate("both", "{ steps: 25, epochs: 2 }", &[]), [20, 25, 40, 50, 60]);
    assert_eq!(evaluate("never", "{}", &[]), [60]);
    // Each step takes longer than that, and no run as long as this.
    let each_step: Vec<u64> = (1..=60).collect();
    assert_eq!(evaluate("seconds", "{ seconds: 1e-9 }", &[]), each_step);
    assert_eq!(evaluate("ages", "{ seconds: 1e9 }", &[]), [60]);
}

#[test]
fn raw_weights_are_scored_where_they_are_asked_for() {
    let place = Place::new();
    place.train("averaged", &[]).done();
    place.train("raw", &["stages.score.model.averaged=false"]).done();
    let [averaged, raw] = ["averaged", "raw"].map(|name| evaluations(&place.run(name)));
    assert!(
        averaged.iter().zip(&raw).all(|(a, b)| a.0 == b.0 && a.2 != b.2),
        "{averaged:?} {raw:?}"
    );
    let [a, b] = ["averaged", "raw"].map(|name| place.latest(name));
    assert_eq!(a.tensors, b.tensors, "what is scored changes nothing of what is trained");
    // The same figures by the flag, on the weights of the other run, which is found by its name.
    let ran = place.runtime(&["eval", "averaged", "--raw", "--json"]).done();
    let found: Value = serde_json::from_str(&ran.out).expect("a line of JSON");
    assert_eq!((found["step"].as_u64(), found["loss"].as_f64()), (Some(60), Some(raw[2].2)));
}

#[test]
fn another_adapter_may_evaluate() {
    let software = wgpu::enumerate().into_iter().find(|a| a.info().name.contains("llvmpipe"));
    if software.is_none() {
        return common::skip("software Vulkan");
    }
    let place = Place::new();
    place.train("cpu", &[]).done();
    let ran = place.train("both", &["stages.score.model.adapter=lavapipe"]).done();
    assert!(ran.out.contains("adapter: cpu/"), "{}", ran.out);
    let [cpu, both] = ["cpu", "both"].map(|name| place.latest(name));
    assert_eq!(cpu.tensors, both.tensors);
    let [cpu, both] = ["cpu", "both"].map(|name| evaluations(&place.run(name)));
    assert_eq!(cpu.len(), both.len());
    for (cpu, both) in cpu.iter().zip(&both) {
        assert_eq!(cpu.0, both.0);
        assert!((cpu.2 - both.2).abs() < 1e-5, "{cpu:?} {both:?}");
    }
    // Sums are taken in another order there: had `cpu` computed it, every bit would be the same.
    assert!(cpu.iter().zip(&both).any(|(cpu, both)| cpu.2 != both.2), "{cpu:?}");
}

#[test]
fn several_seeds_have_a_folder_each_and_are_summed_up() {
    let place = Place::new();
    let rate = "stages.train.reducer.learning_rate=0.1";
    let ran = place.runtime(&with_settings(&["run", "tiny.yaml", "--seeds", "3"], &[rate])).done();
    let mut precisions = Vec::new();
    let mut weights = Vec::new();
    for (number, seed) in (1..=3).zip(3..) {
        let name = format!("tiny-00{number}");
        let about = fs::read_to_string(place.run(&name).join("run.json")).expect("it is there");
        let about: Value = serde_json::from_str(&about).expect("JSON");
        assert_eq!(about["seed"], seed);
        precisions.push(evaluations(&place.run(&name)).last().expect("an evaluation").1);
        weights.push(place.latest(&name).tensors);
    }
    assert_eq!(fs::read_dir(place.path().join("runs")).expect("a folder").count(), 3);
    assert!(weights[0] != weights[1] && weights[1] != weights[2]);
    let mean = precisions.iter().sum::<f64>() / 3.0;
    let spread = (precisions.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let line = ran.out.lines().last().expect("a line");
    let expected = format!(
        "3 seeds: precision @ 1 = {mean:.4} on average (standard deviation {spread:.4}, median "
    );
    assert!(line.starts_with(&expected), "{line} is not {expected}");
    // The first is the run with that seed.
    place.train("alone", &[rate]).done();
    assert_eq!(place.latest("alone").tensors, weights[0]);
}

/// What the seeds before came to is not lost with the next.
#[cfg(unix)]
#[test]
fn seeds_that_ended_are_summed_up_when_the_next_does_not() {
    let place = Place::new();
    let set = ["steps=500"];
    let command = place.command(&with_settings(&["run", "tiny.yaml", "--seeds", "100"], &set));
    let run = command::Started::new(command, "tiny-002");
    run.signal("-INT");
    let ran = run.end().failed(130, &["stopping after the work at hand"]);
    let line = ran.out.lines().last().expect("a line");
    let (ended, rest) = line.split_once(" of 100 seeds: ").expect("what ended is summed up");
    let ended: usize = ended.parse().expect("a number");
    let last = |number| {
        let evaluations = evaluations(&place.run(&format!("tiny-{number:03}")));
        evaluations.last().expect("an evaluation").1
    };
    let mean = (1..=ended).map(last).sum::<f64>() / ended as f64;
    assert!(rest.starts_with(&format!("precision @ 1 = {mean:.4} on average")), "{line}");
}
