//! Runs of the real command in several processes, joined by the system's MPI.

#![cfg(feature = "mpi")]

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{PATIENCE, Ran, finish};
use runs::{PIPELINE, Place, Run, assert_end_alike, assert_same_bits};

/// By how much numbers of several processes may differ from those of one after all 24 steps: this part
/// of the largest number of a tensor. Gradients are the same up to the order of their sums.
const BOUND: f32 = 1e-5;

/// `mpirun`, with as many processes on this machine as are asked for, as whoever runs the tests.
fn launcher(place: &Place, processes: &[usize]) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe"]).current_dir(place.path());
    common::offline(&mut command).env_remove("GRADFLOW_RUNS").env("GRADFLOW_CACHE", place.cache());
    command.stdin(Stdio::null());
    command.args(["-n", &processes[0].to_string()]);
    command
}

/// `runtime run ARGUMENTS` with these settings, in so many processes.
fn command(place: &Place, processes: usize, arguments: &[&str], set: &[&str]) -> Command {
    let mut command = launcher(place, &[processes]);
    command.arg(env!("CARGO_BIN_EXE_runtime")).arg("run").args(arguments);
    command.args(set.iter().flat_map(|setting| ["--set", setting]));
    command
}

fn train(place: &Place, processes: usize, name: &str, set: &[&str]) -> Run {
    finish(command(place, processes, &["net.yaml", "--run", name], set)).done();
    place.run(name)
}

/// Asserts that two runs have come to the same numbers, up to the order of sums.
fn assert_close(one: &Run, other: &Run, steps: u64) {
    let (one, other) = (one.stored(steps), other.stored(steps));
    assert_eq!(one.progress.images, other.progress.images);
    let mut worst = 0.0_f32;
    for (one, other) in one.tensors.iter().zip(&other.tensors) {
        let largest = one.values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        for (a, b) in one.values.iter().zip(&other.values) {
            let error = (a - b).abs() / largest.max(f32::MIN_POSITIVE);
            assert!(error <= BOUND, "{}: {a} and {b} of up to {largest}", one.name);
            worst = worst.max(error);
        }
    }
    println!("the worst error after {steps} steps is {worst:.1e} of the largest number");
}

#[test]
fn the_number_of_processes_is_invisible_in_the_result() {
    let place = Place::new(PIPELINE);
    let alone = place.train("alone", &[]);
    for processes in [2, 4] {
        let run = train(&place, processes, &format!("of-{processes}"), &[]);
        assert_close(&alone, &run, 24);
        let evaluations = |run: &Run| {
            let measured = run.measured().into_iter();
            measured.filter(|((kind, ..), _)| kind == "evaluation").map(|(key, _)| key)
        };
        assert!(evaluations(&alone).eq(evaluations(&run)), "evaluated at other steps");
        // The same bits again.
        assert_end_alike(&run, &train(&place, processes, &format!("again-{processes}"), &[]), None);
    }
    // Two adapters in each of two processes. Batches of 18 leave some with an image less.
    let two = "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 2 }]";
    let size = "stages.batch.batcher.size=18";
    let alone = place.train("alone-18", &[size]);
    assert_close(&alone, &train(&place, 2, "two-by-two", &[size, two]), 24);
    // Batches of the tutorial's kind: one for each adapter of the job.
    let each = ["stages.train.reducer.batch=per_adapter", "stages.batch.batcher.size=4"];
    assert_close(&place.run("of-4"), &train(&place, 4, "per-adapter", &each), 24);
    // Only the first process writes, and each wrote where it was to.
    let names =
        ["again-2", "again-4", "alone", "alone-18", "of-2", "of-4", "per-adapter", "two-by-two"];
    assert_eq!(runs::names(&place.path().join("runs")), names);
}

#[test]
fn a_run_goes_on_to_the_bit() {
    let place = Place::new(PIPELINE);
    let alone = train(&place, 2, "alone", &[]);
    for stop in [1, 9] {
        let name = format!("after-{stop}");
        train(&place, 2, &name, &[&format!("steps={stop}")]);
        let said = finish(command(&place, 2, &["--resume", &name], &["steps=24"])).done();
        assert!(!said.out.contains("warning"), "{}", said.out);
        assert_end_alike(&alone, &place.run(&name), Some(stop));
    }
    // Other processes than before are told.
    train(&place, 2, "stopped", &["steps=5"]);
    let said = finish(command(&place, 4, &["--resume", "stopped"], &["steps=6"])).done();
    assert!(said.out.contains("on 2 adapters and goes on with 4"), "{}", said.out);
    let two = "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 2 }]";
    let equal = "stages.train.reducer.balance=equal";
    place.train("alone-2", &[two, equal, "steps=5"]);
    let one = "stages.train.reducer.adapters=[cpu]";
    let said = finish(command(&place, 2, &["--resume", "alone-2"], &["steps=6", one])).done();
    assert!(said.out.contains("its 2 adapters were in 1 and are in 2 processes"), "{}", said.out);
}

/// One process with each of these pipelines.
fn mixed(place: &Place, files: [&str; 2], rest: [&[&str]; 2]) -> Ran {
    let mut command = launcher(place, &[1]);
    let runtime = env!("CARGO_BIN_EXE_runtime");
    command.args([runtime, "run", files[0]]).args(rest[0]);
    command.args([":", "-n", "1", runtime, "run", files[1]]).args(rest[1]);
    finish(command)
}

#[test]
fn what_cannot_work_together_is_told_before_the_first_step() {
    let place = Place::new(PIPELINE);
    let other = PIPELINE.replace("factor: 0.5", "factor: 0.25");
    fs::write(place.path().join("other.yaml"), other).expect("written");
    let begins = || !runs::names(&place.path().join("runs")).is_empty();
    let failing = |said: Ran, code: i32, words: &[&str]| {
        assert_eq!(said.status, Some(code), "{}\n{}", said.out, said.told);
        for word in words {
            assert!(said.told.contains(word), "no {word:?} in: {}", said.told);
        }
        assert_eq!(said.told.matches("error: ").count(), 1, "{}", said.told);
        assert!(!begins(), "it began");
    };
    let said = mixed(&place, ["net.yaml", "other.yaml"], [&[], &[]]);
    failing(said, 2, &["the processes of a job must run the same", "the pipeline's hash of"]);
    let said = mixed(&place, ["net.yaml", "net.yaml"], [&[], &["--set", "seed=8"]]);
    failing(said, 2, &["the seed of process 1 of 2", "is 8", "7"]);
    // A process that cannot read its pipeline.
    let said = mixed(&place, ["net.yaml", "nothing.yaml"], [&[], &[]]);
    failing(said, 2, &["process 1 of 2", "cannot read nothing.yaml"]);
    // The same mistake in all of them is told once.
    let said = finish(command(&place, 2, &["net.yaml"], &["epoch=3"]));
    failing(said, 2, &["there is no field `epoch`"]);
    let size = "stages.batch.batcher.size=3";
    let said = finish(command(&place, 4, &["net.yaml"], &[size]));
    failing(said, 1, &["a batch of 3 images cannot be split over 4 adapters"]);
    // Other data on another machine, which is found when all stages are built.
    let one = "stages.read.reader.format.synthetic.test=21";
    let said = mixed(&place, ["net.yaml", "net.yaml"], [&[], &["--set", one]]);
    failing(said, 2, &["the pipeline's hash of"]);
}

/// A job at work, which is killed with this value.
struct AtWork(Child);

impl AtWork {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("mpirun starts"))
    }

    fn wait_for(&mut self, file: &Path) {
        let begin = Instant::now();
        while !file.exists() {
            assert!(self.0.try_wait().expect("it can be waited for").is_none(), "it ended early");
            assert!(begin.elapsed() < PATIENCE, "still waiting for {}", file.display());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The processes that the launcher has started.
    fn processes(&self) -> Vec<String> {
        let id = self.0.id().to_string();
        let found = Command::new("ps").args(["-o", "pid=", "--ppid", &id]).output();
        let text = String::from_utf8(found.expect("`ps` is there").stdout).expect("UTF-8");
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn end(mut self) -> Ran {
        let out = self.0.stdout.take().expect("a pipe");
        let errors = self.0.stderr.take().expect("a pipe");
        let read = |mut from: Box<dyn std::io::Read + Send>| {
            std::thread::spawn(move || {
                let mut text = String::new();
                from.read_to_string(&mut text).map(|_| text)
            })
        };
        let (out, errors) = (read(Box::new(out)), read(Box::new(errors)));
        let begin = Instant::now();
        let code = loop {
            if let Some(status) = self.0.try_wait().expect("it can be waited for") {
                break status.code();
            }
            assert!(begin.elapsed() < PATIENCE, "it hangs");
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = |thread: std::thread::JoinHandle<std::io::Result<String>>| {
            thread.join().expect("no panic").expect("UTF-8")
        };
        Ran { status: code, out: text(out), told: text(errors) }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(name: &str, process: &str) {
    let sent = Command::new("kill").args([name, process]).status().expect("`kill` starts");
    assert!(sent.success());
}

/// Long enough to be stopped in the middle.
const LONG: &str = "steps=20000";

#[test]
fn a_process_that_dies_ends_the_job_and_leaves_good_checkpoints() {
    let place = Place::new(PIPELINE);
    let alone = train(&place, 2, "alone", &[]);
    let mut job = AtWork::start(command(&place, 2, &["net.yaml", "--run", "killed"], &[LONG]));
    let killed = place.run("killed");
    job.wait_for(&killed.checkpoint(7));
    let processes = job.processes();
    assert_eq!(processes.len(), 2, "{processes:?}");
    signal("-KILL", &processes[1]);
    let said = job.end();
    assert_ne!(said.status, Some(0));
    assert!(!said.told.contains("panicked"), "{}", said.told);
    assert!(said.told.contains("signal 9"), "{}", said.told);
    assert_eq!(said.told.matches("error: ").count(), 0, "{}", said.told);
    // Each checkpoint is whole, and the last one is one to go on from.
    for steps in killed.checkpoints() {
        killed.stored(steps);
    }
    assert_same_bits(&alone.stored(7), &killed.stored(7), "after 7 steps");
    let last = killed.checkpoints().last().copied().expect("checkpoints");
    finish(command(&place, 2, &["--resume", "killed"], &[&format!("steps={}", last + 2)])).done();
}

#[test]
fn a_process_that_is_stopped_stops_all_after_the_same_step() {
    let place = Place::new(PIPELINE);
    let alone = train(&place, 2, "alone", &[]);
    // Only one of them is told, as by the system of its machine.
    let arguments = ["net.yaml", "--run", "stopped"];
    let mut job = AtWork::start(command(&place, 2, &arguments, &[LONG, "checkpoints.every={}"]));
    job.wait_for(&place.run("stopped").checkpoint(4));
    signal("-TERM", &job.processes()[1]);
    let said = job.end();
    assert_ne!(said.status, Some(0));
    assert!(said.out.contains("interrupted; time: "), "{}", said.out);
    let stopped = place.run("stopped");
    let last = stopped.checkpoints().last().copied().expect("checkpoints");
    assert_same_bits(&alone.stored(4), &stopped.stored(4), "after 4 steps");
    stopped.stored(last);
    assert_eq!(stopped.about()["ended"]["how"], "interrupted");
}

#[test]
fn a_failure_of_one_process_is_told_by_the_first() {
    let place = Place::new(PIPELINE);
    // It has no such adapter, which is found when the stages are built.
    let said =
        mixed(&place, ["net.yaml", "net.yaml"], [&[], &["--adapter", "nothing-of-that-name"]]);
    assert_ne!(said.status, Some(0), "{}", said.out);
    assert_eq!(said.told.matches("error: ").count(), 1, "{}", said.told);
    for word in ["process 1 of 2 (", "no adapter is called", "nothing-of-that-name"] {
        assert!(said.told.contains(word), "no {word:?} in: {}", said.told);
    }
    assert!(runs::names(&place.path().join("runs")).is_empty(), "it began");
    // Each may have an adapter of its own.
    mixed(&place, ["net.yaml", "net.yaml"], [&["--run", "own"], &["--adapter", "cpu"]]).done();
}

#[test]
fn the_example_of_a_cluster_runs_as_written() {
    let place = Place::new(PIPELINE);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cluster.yaml");
    let short = ["steps=6", "stages.batch.batcher.size=16", "stages.train.reducer.evaluate={}"];
    let drawn = [
        "stages.read.reader.otherwise={ synthetic: { train: 200, test: 40 } }",
        "stages.read_test.reader.otherwise={ synthetic: { train: 200, test: 40 } }",
    ];
    let set = [&short[..], &drawn].concat();
    let said = finish(command(&place, 2, &[example, "--run", "example"], &set)).done();
    assert!(said.out.contains("over 2 adapters of 2 processes"), "{}", said.out);
    assert!(said.out.contains("precision @ 1 = "), "{}", said.out);
    assert!(said.out.contains("accuracy on 40 images"), "{}", said.out);
}
