//! Training through the real command.

mod common;

use std::process::Command;

/// What a run printed.
struct Run {
    text: String,
}

impl Run {
    /// Trains; without real data unless the environment is left as it is.
    fn new(pipeline: &str, adapter: &str, settings: &[&str], real_data: bool) -> Self {
        let runs = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env("GRADFLOW_RUNS", runs.path());
        command.env("GRADFLOW_CACHE", runs.path().join("cache"));
        command.args(["run", pipeline, "--adapter", adapter]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        if !real_data {
            common::offline(&mut command);
        }
        let output = command.output().expect("the command starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{errors}");
        Self { text }
    }

    /// The printed losses, by step.
    fn losses(&self) -> Vec<f64> {
        let after = |line: &str| {
            let (_, rest) = line.split_once(", loss = ")?;
            rest.split(' ').next()?.parse().ok()
        };
        self.text.lines().filter_map(after).collect()
    }

    /// The last precision.
    fn precision(&self) -> f64 {
        let (_, rest) = self.text.rsplit_once("precision @ 1 = ").expect("an evaluation");
        rest.split(' ').next().and_then(|word| word.parse().ok()).expect("a number")
    }
}

/// With weights of 2015 the network first learns nothing but to shrink: the log that the tutorial
/// printed comes out of weight decay alone.
#[test]
fn the_first_50_steps_of_2015_print_the_tutorials_log() {
    let run = Run::new("examples/init-2015.yaml", "cpu", &[], true);
    let losses = run.losses();
    let tutorial = [4.68, 4.66, 4.64, 4.62, 4.61, 4.59];
    assert_eq!(losses.len(), tutorial.len(), "{}", run.text);
    for (step, (loss, printed)) in losses.iter().zip(tutorial).enumerate() {
        let far = (loss - printed).abs();
        assert!(far < 0.03 + 1e-9, "step {}: {loss} is not {printed}", 10 * step);
    }
}

/// The quick start: no data, no GPU.
#[test]
fn the_stand_in_is_learnt_and_says_that_it_is_one() {
    let run = Run::new("pipeline.yaml", "cpu", &[], false);
    assert!((run.losses()[0] - 4.780).abs() < 0.02, "{}", run.text);
    assert!(run.precision() > 0.6, "{}", run.text);
    assert!(run.text.contains("NOT CIFAR-10"), "{}", run.text);
    assert!(run.text.contains("warning: this is not CIFAR-10"), "{}", run.text);
}

/// 100 steps on WGSL and on the cpu adapter: means of 10 losses agree within 3 %.
///
/// A quarter of the tutorial's batch and learning rate: as much noise per image seen, in a quarter
/// of the time. With the full rate on small batches training is chaotic, and rounding alone drives
/// two runs apart.
#[test]
fn a_hundred_steps_agree_between_adapters() {
    if common::gpus().is_empty() {
        return;
    }
    let settings = [
        "steps=100",
        "stages.batch.batcher.size=32",
        "stages.train.reducer.learning_rate=0.025",
        "summaries.scalars.steps=1",
        "stages.train.reducer.evaluate={}",
        "stages.read_test.reader.otherwise.synthetic.test=320",
    ];
    let means = |adapter| -> Vec<f64> {
        let losses = Run::new("benches/peers/tutorial.yaml", adapter, &settings, false).losses();
        assert_eq!(losses.len(), 100);
        losses.chunks(10).map(|ten| ten.iter().sum::<f64>() / 10.0).collect()
    };
    // The first adapter after cpu, whatever it is.
    let (cpu, wgsl) = (means("cpu"), means("1"));
    println!("cpu  {cpu:.3?}\nwgsl {wgsl:.3?}");
    for (at, (cpu, wgsl)) in cpu.iter().zip(&wgsl).enumerate() {
        assert!((cpu - wgsl).abs() < 0.03 * cpu, "steps {}..: {cpu} and {wgsl}", 10 * at);
    }
}
