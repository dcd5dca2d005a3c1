//! Runs of the real command, which are stopped, resumed and compared.

#![allow(dead_code, reason = "each test file is a crate of its own and takes what it needs")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flow::plan::Plan;
use flow::port::Port;
use flow::stage::RunSettings;
use record::checkpoint::{self, About, Stored};
use serde_json::Value;
use tempfile::TempDir;

use super::common::{PATIENCE, Ran, finish, runtime, with_settings};

/// Everything that could go on wrongly: mixing, random crops and distortions, batches across the
/// edges of epochs (50 images in batches of 16), optimiser states, averages, a schedule. Epochs end
/// within steps 4, 7, 10, 13, 16, 19 and 22, after which the weights are evaluated.
pub(crate) const PIPELINE: &str = "
seed: 7
steps: 24
adapter: cpu
checkpoints: { every: { steps: 1 }, keep: 100 }
summaries: { scalars: { steps: 1 }, histograms: { steps: 5 }, images: { steps: 5 } }
stages:
  read: { reader: { format: { synthetic: { train: 50, test: 20 } }, split: train } }
  shuffle: { from: read, shuffler: {} }
  crop: { from: shuffle, cropper: { size: 12, mode: random } }
  distort: { from: crop, distorter: {} }
  whiten: { from: distort, whitening: {} }
  batch: { from: whiten, batcher: { size: 16 } }
  gradients:
    from: batch
    model:
      layers:
        - { name: conv, conv2d: { channels: 4, kernel: 3 } }
        - { relu: {} }
        - { max_pool: { kernel: 3, stride: 2 } }
        - { name: top, dense: { units: 10, weight_decay: 0.004 } }
        - { softmax_cross_entropy: {} }
  train:
    from: gradients
    reducer:
      learning_rate: { exponential: { initial: 0.01, factor: 0.5, every: { images: 100 } } }
      moving_average: 0.9
      optimizer: { adam: {} }
  read_test: { reader: { format: { synthetic: { train: 50, test: 20 } }, split: test } }
  centre: { from: read_test, cropper: { size: 12, mode: central } }
  standard: { from: centre, whitening: {} }
  test: { from: standard, batcher: { size: 8, partial: keep } }
  score: { from: [test, train], model: {} }
  evaluate: { from: score, evaluator: {} }
";

/// Steps of the pipeline.
pub(crate) const STEPS: u64 = 24;

/// A folder with one pipeline, in which it is run.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new(pipeline: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("net.yaml"), pipeline).expect("written");
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of a run.
    pub(crate) fn run(&self, name: &str) -> Run {
        Run { path: self.path().join("runs").join(name) }
    }

    /// Where commands keep what they found to be the fastest.
    pub(crate) fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    fn command(&self, arguments: &[&str], set: &[&str]) -> Command {
        let mut command =
            runtime(self.path(), &with_settings(&[&["run"], arguments].concat(), set));
        command.env("GRADFLOW_CACHE", self.cache()).stdin(Stdio::null());
        command
    }

    /// `runtime run ARGUMENTS`, each of `set` behind a `--set`, to its end.
    pub(crate) fn say(&self, arguments: &[&str], set: &[&str]) -> Ran {
        finish(self.command(arguments, set))
    }

    /// A new run of the pipeline under this name, to its end.
    pub(crate) fn train(&self, name: &str, set: &[&str]) -> Run {
        self.say(&["net.yaml", "--run", name], set).done();
        self.run(name)
    }

    /// Goes on with a run, to its end.
    pub(crate) fn resume(&self, name: &str, set: &[&str]) -> Ran {
        self.say(&["--resume", name], set).done()
    }

    /// The command at work.
    pub(crate) fn start(&self, arguments: &[&str], set: &[&str]) -> AtWork {
        let mut command = self.command(arguments, set);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        AtWork { child: child.expect("the command starts") }
    }
}

/// A command at work, which is killed with this value.
pub(crate) struct AtWork {
    child: Child,
}

impl AtWork {
    /// Waits until this is so, or until the command has ended; says whether it is so.
    pub(crate) fn wait_until(&mut self, mut so: impl FnMut() -> bool) -> bool {
        let begin = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("the command can be waited for").is_some();
            let is_so = so();
            if is_so || ended {
                return is_so;
            }
            assert!(begin.elapsed() < PATIENCE, "still waiting after {PATIENCE:?}");
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Ends it on the spot.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Presses Ctrl-C and waits for the end; gives the exit status.
    #[cfg(unix)]
    pub(crate) fn interrupt(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().expect("`kill` starts");
        assert!(sent.success());
        self.child.wait().expect("the command can be waited for").code()
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of a run.
pub(crate) struct Run {
    pub(crate) path: PathBuf,
}

impl Run {
    /// Its checkpoint after so many steps.
    pub(crate) fn checkpoint(&self, steps: u64) -> PathBuf {
        self.path.join(format!("checkpoints/step-{steps:09}.safetensors"))
    }

    /// The steps of its checkpoints, in order.
    pub(crate) fn checkpoints(&self) -> Vec<u64> {
        let mut steps: Vec<u64> = names(&self.path.join("checkpoints"))
            .iter()
            .filter_map(|name| {
                name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
            })
            .collect();
        steps.sort_unstable();
        steps
    }

    /// What its checkpoint holds after so many steps.
    pub(crate) fn stored(&self, steps: u64) -> Stored {
        checkpoint::read(&self.checkpoint(steps)).expect("a good checkpoint")
    }

    /// A file in it.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Its `run.json`.
    pub(crate) fn about(&self) -> Value {
        serde_json::from_str(&self.text("run.json")).expect("JSON")
    }

    /// What it measured: by kind, stage and step, without times and rates.
    pub(crate) fn measured(&self) -> Measured {
        measured([self.text("metrics.jsonl").as_str()])
    }

    /// All whole lines of what it measured, those that were put aside included.
    pub(crate) fn lines(&self) -> BTreeSet<String> {
        let aside = self.path.join("superseded");
        let moved = names(&aside).into_iter().filter(|name| name.starts_with("metrics"));
        let files = moved.map(|name| aside.join(name)).chain([self.path.join("metrics.jsonl")]);
        let texts = files.map(|file| fs::read_to_string(file).expect("it is read"));
        let lines = |text: String| {
            let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        texts.flat_map(lines).collect()
    }

    /// Every file in it, with its bytes.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for path in names(&folder).iter().map(|name| folder.join(name)) {
                match path.is_dir() {
                    true => folders.push(path),
                    false => drop(files.insert(path.clone(), fs::read(path).expect("it is read"))),
                }
            }
        }
        files
    }

    /// Writes one of its checkpoints again, with something changed in what it says of itself.
    pub(crate) fn rewrite(&self, steps: u64, change: impl FnOnce(&mut About)) {
        let mut stored = self.stored(steps);
        change(&mut stored.about);
        let kinds = stages::kinds(&stages::Catalog::default());
        let text = self.text("pipeline.yaml");
        let plan = Plan::load(&kinds, "pipeline.yaml", &text, &[], &RunSettings::default());
        let (plan, _) = plan.expect("the run's own pipeline is valid");
        let trainer = plan.trainer().expect("it trains");
        let Some(Port::Weights(graph)) = &plan.stages[trainer].output else { panic!("weights") };
        let weights = stored.weights(graph).expect("they fit");
        checkpoint::write(&self.checkpoint(steps), &weights, &stored.about).expect("written");
    }

    /// Takes these lines out of what it measured, as if it had been killed before writing them.
    pub(crate) fn forget(&self, is_forgotten: impl Fn(&Value) -> bool) {
        let text = self.text("metrics.jsonl");
        let kept = text
            .lines()
            .filter(|line| !is_forgotten(&serde_json::from_str(line).expect("a line of JSON")));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        assert_ne!(kept, text, "nothing to forget");
        fs::write(self.path.join("metrics.jsonl"), kept).expect("written");
    }
}

/// Names in a folder, in order; none if it is not there.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// What a run measured, by kind, stage and step.
pub(crate) type Measured = BTreeMap<(String, String, u64), Value>;

/// What these lines say. Each step and each evaluation must be there once.
fn measured<'a>(texts: impl IntoIterator<Item = &'a str>) -> Measured {
    let mut measured = Measured::new();
    for line in texts.into_iter().flat_map(str::lines) {
        let mut value: Value = serde_json::from_str(line).expect("a line of JSON");
        let fields = value.as_object_mut().expect("an object");
        // The end of a run may lie elsewhere, and time does in any case.
        for field in ["time", "images_per_s", "batch_s", "total_steps", "towers"] {
            fields.remove(field);
        }
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let key = (text("kind"), text("stage"), value["step"].as_u64().expect("a step"));
        let before = measured.insert(key.clone(), value);
        assert!(before.is_none(), "{key:?} is there twice");
    }
    measured
}

/// Asserts that a run measured and became what the run left alone did. One that was stopped by a
/// limit was evaluated there as well.
pub(crate) fn assert_end_alike(alone: &Run, run: &Run, stopped: Option<u64>) {
    let when = run.path.display().to_string();
    let last = |run: &Run| run.checkpoints().last().copied().expect("checkpoints");
    assert_eq!(last(alone), last(run), "{when}");
    assert_same_bits(&alone.stored(last(alone)), &run.stored(last(run)), &when);
    let (expected, mut measured) = (alone.measured(), run.measured());
    if let Some(stop) = stopped {
        let added = ("evaluation".to_owned(), "evaluate".to_owned(), stop);
        if !expected.contains_key(&added) {
            measured.remove(&added).unwrap_or_else(|| panic!("{when}: no evaluation at its end"));
        }
    }
    let keys = |of: &Measured| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&expected), keys(&measured), "{when}");
    assert_eq!(expected, measured, "{when}");
}

/// Asserts that two checkpoints go on alike: every bit of every tensor, and the place in the data.
pub(crate) fn assert_same_bits(one: &Stored, other: &Stored, when: &str) {
    assert_eq!(one.progress, other.progress, "{when}");
    assert_eq!(one.source, other.source, "{when}");
    let names = |stored: &Stored| -> Vec<(String, Vec<usize>)> {
        stored.tensors.iter().map(|one| (one.name.clone(), one.shape.clone())).collect()
    };
    assert_eq!(names(one), names(other), "{when}");
    for (one, other) in one.tensors.iter().zip(&other.tensors) {
        let differ = one.values.iter().zip(&other.values);
        let differ = differ.filter(|(one, other)| one.to_bits() != other.to_bits()).count();
        assert_eq!(differ, 0, "{when}: so many of {} values of {}", one.values.len(), one.name);
    }
}
