//! The real command in a folder with a pipeline that takes a moment, and what it does there.

#![allow(dead_code, reason = "each test file is a crate of its own and takes what it needs")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use record::checkpoint::{self, Stored};
use record::run_folder;
use tempfile::TempDir;

use super::common::{PATIENCE, Ran, finish, runtime, text, with_settings, within};

/// 60 steps, 6 epochs, 3 evaluations.
pub(crate) const PIPELINE: &str = "
seed: 3
steps: 60
adapter: cpu
stages:
  read: { reader: { format: { synthetic: { train: 200, test: 60 } }, split: train } }
  shuffle: { from: read, shuffler: {} }
  crop: { from: shuffle, cropper: { size: 12 } }
  whiten: { from: crop, whitening: {} }
  batch: { from: whiten, batcher: { size: 20 } }
  gradients:
    from: batch
    model:
      layers:
        - { name: hidden, dense: { units: 16, weights: { truncated_normal: 0.05 } } }
        - { relu: {} }
        - { name: top, dense: { units: 10, weights: { truncated_normal: 0.05 } } }
        - { softmax_cross_entropy: {} }
  train:
    from: gradients
    reducer: { learning_rate: 0.01, moving_average: 0.9, evaluate: { steps: 20 } }
  read_test: { reader: { format: { synthetic: { train: 200, test: 60 } }, split: test } }
  centre: { from: read_test, cropper: { size: 12, mode: central } }
  standard: { from: centre, whitening: {} }
  test: { from: standard, batcher: { size: 7, partial: keep } }
  score: { from: [test, train], model: {} }
  evaluate: { from: score, evaluator: { k: 3 } }
";

/// A folder with the pipeline in `tiny.yaml`; runs are below `runs`.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("tiny.yaml"), PIPELINE).expect("the pipeline is written");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The folder of a run.
    pub(crate) fn run(&self, name: &str) -> PathBuf {
        self.path().join("runs").join(name)
    }

    /// Where commands keep what they found to be the fastest.
    pub(crate) fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    /// A command in this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = runtime(self.path(), arguments);
        command.env("GRADFLOW_CACHE", self.cache());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn runtime(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments))
    }

    /// Trains with these settings to the end.
    pub(crate) fn train(&self, name: &str, set: &[&str]) -> Ran {
        self.runtime(&with_settings(&["run", "tiny.yaml", "--run", name], set))
    }

    /// Goes on with a run.
    pub(crate) fn resume(&self, name: &str, set: &[&str]) -> Ran {
        self.runtime(&with_settings(&["run", "--resume", name], set))
    }

    /// Starts to train, and waits until a line of its output contains this.
    pub(crate) fn start(&self, name: &str, set: &[&str], line: &'static str) -> Started {
        Started::new(self.command(&with_settings(&["run", "tiny.yaml", "--run", name], set)), line)
    }

    /// The latest good checkpoint of a run.
    pub(crate) fn latest(&self, name: &str) -> Stored {
        let found = checkpoint::latest_good(&run_folder::checkpoints(&self.run(name)));
        found.expect("there is a good checkpoint").1
    }

    /// The checkpoint of a run after so many steps.
    pub(crate) fn checkpoint(&self, name: &str, steps: u64) -> PathBuf {
        run_folder::checkpoints(&self.run(name)).join(format!("step-{steps:09}.safetensors"))
    }
}

/// A command at work.
pub(crate) struct Started {
    child: Child,
    out: thread::JoinHandle<String>,
}

impl Started {
    /// Starts a command and waits until a line of its output contains this.
    pub(crate) fn new(mut command: Command, line: &'static str) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (out, before) = within(PATIENCE, move || {
            let before = read_until(&mut out, line);
            (out, before)
        });
        // Somebody must go on reading, or the pipe fills up.
        let out = thread::spawn(move || {
            let (mut out, mut all) = (out, before);
            out.read_to_string(&mut all).expect("UTF-8");
            all
        });
        Self { child, out }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `-INT`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Ran {
        let Self { mut child, out } = self;
        within(PATIENCE, move || {
            let mut told = Vec::new();
            child.stderr.take().expect("a pipe").read_to_end(&mut told).expect("it is read");
            let status = child.wait().expect("it ends").code();
            Ran { status, out: out.join().expect("no panic"), told: text(told) }
        })
    }
}

fn read_until(out: &mut BufReader<ChildStdout>, line: &str) -> String {
    let mut read = String::new();
    while !read.contains(line) {
        assert!(out.read_line(&mut read).expect("UTF-8") > 0, "it ended early: {read}");
    }
    read
}
