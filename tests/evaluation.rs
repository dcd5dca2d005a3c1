//! `runtime eval` on checkpoints: its figures against plain arithmetic, and what it refuses.

mod common;
#[path = "common/trained.rs"]
mod trained;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use common::{PATIENCE, within};
use record::checkpoint;
use serde_json::Value;
use trained::{CLASSES, PIPELINE, probabilities, runtime, test_images, weights, write};

const FILE: &str = "model.safetensors";

/// A folder with a checkpoint.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join(FILE), &weights(), PIPELINE, 20);
    folder
}

/// Precision @ 1 and @ 3, loss and confusions, computed plainly.
fn expected(averaged: bool, views: usize) -> (f64, f64, f64, Vec<Vec<u64>>) {
    let data = test_images();
    let size = data.pixels.len() / data.labels.len();
    let (mut first, mut third, mut loss) = (0, 0, 0.0);
    let mut confusion = vec![vec![0; CLASSES]; CLASSES];
    for (pixels, class) in data.pixels.chunks(size).zip(&data.labels) {
        let shares = probabilities(pixels, averaged, views);
        let class = *class as usize;
        let above = shares.iter().filter(|share| **share > shares[class]).count();
        first += usize::from(above == 0);
        third += usize::from(above < 3);
        loss -= shares[class].ln();
        let highest = (0..CLASSES).max_by(|a, b| shares[*a].total_cmp(&shares[*b]));
        confusion[class][highest.expect("classes")] += 1;
    }
    let images = data.labels.len() as f64;
    (first as f64 / images, third as f64 / images, loss / images, confusion)
}

fn eval(folder: &Path, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = ["eval", "--json"].iter().chain(arguments).copied().collect();
    let (status, out, told) = runtime(folder, &arguments);
    assert_eq!(status, 0, "{told}");
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).expect("a line of JSON")
}

#[test]
fn figures_by_one_two_and_ten_views_are_those_of_plain_arithmetic() {
    let folder = folder();
    let mut losses = Vec::new();
    for (views, raw) in [(1, false), (2, false), (10, false), (1, true), (10, true)] {
        let flag = views.to_string();
        let mut arguments = vec![FILE, "--views", &flag];
        arguments.extend(raw.then_some("--raw"));
        let found = eval(folder.path(), &arguments);
        let (first, third, loss, confusion) = expected(!raw, views);
        let number = |value: &Value| value.as_f64().expect("a number");
        assert!((number(&found["precision_at_1"]) - first).abs() < 1e-12, "{views}: {found}");
        assert_eq!(found["precision_at_k"][0], 3);
        assert!((number(&found["precision_at_k"][1]) - third).abs() < 1e-12, "{views}: {found}");
        assert!((number(&found["loss"]) - loss).abs() < 1e-4, "{views}: {loss}, {found}");
        assert_eq!(found["confusion"], serde_json::json!(confusion));
        assert_eq!((&found["images"], &found["views"]), (&60.into(), &views.into()));
        assert_eq!(found["averaged"], !raw);
        losses.push(number(&found["loss"]));
    }
    // Otherwise the flags would change nothing.
    losses.sort_by(f64::total_cmp);
    losses.dedup();
    assert_eq!(losses.len(), 5);
}

#[test]
fn an_evaluation_is_printed_for_people() {
    let folder = folder();
    let (status, out, told) = runtime(folder.path(), &["eval", FILE]);
    assert_eq!((status, &*told), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], format!("checkpoint: {FILE}"));
    assert!(lines[1].contains("precision @ 1 = "), "{out}");
    assert!(lines[1].contains("(accuracy on 60 images, each once; step 20, averaged weights"));
    assert!(lines[2].starts_with("precision @ 3 = "), "{out}");
    assert!(lines[3].starts_with("class") && lines[3].contains("taken for:"), "{out}");
    assert_eq!(lines.len(), 4 + CLASSES, "{out}");
    // A file belongs to no run: nothing is kept beside it.
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
}

#[test]
fn checkpoints_that_cannot_be_used_are_told() {
    let folder = folder();
    let path = folder.path().join(FILE);
    let bytes = fs::read(&path).expect("the file");
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(folder.path().join("cut.safetensors"), &bytes[..length]).expect("written");
        let (status, out, told) = runtime(folder.path(), &["eval", "cut.safetensors"]);
        assert_eq!((status, &*out), (1, ""), "{length}: {told}");
        assert!(told.starts_with("error: ") && told.contains("cut.safetensors"), "{told}");
    }
    let ends = "softmax_cross_entropy ]";
    let other = PIPELINE.replace(ends, &format!("relu, dense: {{ units: 10 }}, {ends}"));
    let cropped = PIPELINE.replace("size: 24", "size: 20");
    let alone = &PIPELINE[..PIPELINE.find("  read_test").expect("a stage")];
    for (pipeline, status, parts) in [
        (&*other, 1, &["does not fit the pipeline's model", "dense2/weights"][..]),
        (&*cropped, 1, &["does not fit the pipeline's model", "dense1/weights"]),
        (alone, 1, &["evaluates nothing"]),
        ("stages: {}", 2, &["has no stages", "pipeline of model.safetensors"]),
    ] {
        write(&path, &weights(), pipeline, 20);
        let (found, out, told) = runtime(folder.path(), &["eval", FILE]);
        assert_eq!((found, &*out), (status, ""), "{told}");
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    }
    for (arguments, status, part) in [
        (&["eval", "absent.safetensors"][..], 2, "absent.safetensors is no folder of a run"),
        (&["eval", "."], 1, "no checkpoint"),
        (&["eval", FILE, "--watch"], 2, "is not a run's folder"),
        (&["eval", FILE, "--views", "3"], 2, "--views"),
        (&["eval"], 2, "RUN|CHECKPOINT"),
    ] {
        let (found, _, told) = runtime(folder.path(), arguments);
        assert_eq!(found, status, "{told}");
        assert!(told.contains(part), "{told}");
    }
}

/// What is said of a checkpoint that was made newer.
const TOO_NEW: &str = "it is of version 9, and this program knows versions up to 1";

/// Makes a checkpoint one of a newer version.
fn make_newer(path: &Path) {
    let bytes = fs::read(path).expect("it is read");
    let (old, new) = (br#"{\"version\":1,"#, br#"{\"version\":9,"#);
    let at = bytes.windows(old.len()).position(|part| part == old).expect("a version");
    let newer = [&bytes[..at], new, &bytes[at + new.len()..]].concat();
    fs::write(path, newer).expect("it is written");
}

#[test]
fn checkpoints_of_a_newer_version_are_refused() {
    let folder = folder();
    make_newer(&folder.path().join(FILE));
    for arguments in [&["eval", FILE][..], &["predict", FILE, "a.png"]] {
        let (status, out, told) = runtime(folder.path(), arguments);
        assert_eq!((status, &*out), (1, ""), "{told}");
        assert!(told.contains(TOO_NEW), "{told}");
    }
}

#[test]
fn flags_that_no_stage_understands_are_refused() {
    let folder = folder();
    let path = folder.path().join(FILE);
    // Without a crop there is a single view.
    let whole = PIPELINE.replace(", cropper: { size: 24 }", ", whitening: {}");
    let whole = whole.replace(", cropper: { size: 24, mode: central }", ", whitening: {}");
    write(&path, &weights(), &whole, 20);
    let (status, _, told) = runtime(folder.path(), &["eval", FILE, "--views", "10"]);
    assert_eq!(status, 2, "{told}");
    assert!(told.contains("no stage of the evaluation has a field `views`"), "{told}");
    write(&path, &weights(), &PIPELINE.replace(", mode: central", ""), 20);
    let (status, _, told) = runtime(folder.path(), &["eval", FILE, "--views", "10"]);
    assert_eq!(status, 2, "{told}");
    assert!(told.contains("centre: 10 views are at places of their own"), "{told}");
    let (status, _, told) = runtime(folder.path(), &["eval", FILE, "--adapter", "abacus"]);
    assert_eq!(status, 2, "{told}");
    assert!(told.contains("abacus"), "{told}");
}

/// A run's folder with checkpoints after these steps.
fn run_with(folder: &Path, pipeline: &str, steps: &[u64]) {
    fs::create_dir_all(folder.join("run/checkpoints")).expect("the folders");
    for step in steps {
        write(&checkpoint_of(folder, *step), &weights(), pipeline, *step);
    }
}

fn checkpoint_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("run/checkpoints/step-{step:09}.safetensors"))
}

#[test]
fn the_best_checkpoint_says_what_it_was_chosen_on() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("run")).expect("a folder");
    let (status, out, told) = runtime(folder.path(), &["eval", "run", "--best"]);
    assert_eq!((status, &*out), (1, ""), "{told}");
    assert!(told.contains("run has no best checkpoint yet"), "{told}");
    let made = fs::read_dir(folder.path().join("run")).expect("the folder").count();
    assert_eq!(made, 0, "looking makes nothing");

    run_with(folder.path(), PIPELINE, &[5, 7]);
    let line = |split: &str| match split {
        "test" => "chosen on test data: no estimate for images never seen",
        _ => "chosen on validation data",
    };
    for split in ["test", "validation"] {
        let best = serde_json::json!({
            "step": 5, "file": "step-000000005.safetensors", "precision_at_1": 0.5,
            "chosen_on": split, "averaged": true, "stage": "evaluate",
        });
        let path = folder.path().join("run/checkpoints/best.json");
        fs::write(path, best.to_string()).expect("it is written");
        let (status, out, told) = runtime(folder.path(), &["eval", "run", "--best"]);
        assert_eq!(status, 0, "{told}");
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].ends_with("step-000000005.safetensors"), "{out}");
        assert_eq!(lines[1], line(split));
        let found = eval(folder.path(), &["run", "--best"]);
        assert_eq!((&found["step"], &found["chosen_on"]), (&5.into(), &split.into()));
    }
    let latest = eval(folder.path(), &["run"]);
    assert_eq!((&latest["step"], latest.get("chosen_on")), (&7.into(), None));
}

#[test]
fn an_evaluation_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = PIPELINE.replace("{ synthetic: { train: 200, test: 60 } }", "cifar10");
    run_with(folder.path(), &pipeline, &[5]);
    let (status, _, told) = runtime(folder.path(), &["eval", "run", "--data", "absent"]);
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("absent"), "{told}");
    let names = fs::read_dir(folder.path().join("run")).expect("the folder").flatten();
    assert_eq!(names.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["checkpoints"]);
}

/// An evaluation beside a run.
struct Watching {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Watching {
    fn begin(folder: &Path) -> Self {
        let mut child = common::runtime(folder, &["eval", "--watch", "--json", "run"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, out }
    }

    /// The step of the next evaluation.
    fn step(&mut self) -> u64 {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        let value: Value = serde_json::from_str(&line).expect("a line of JSON");
        value["step"].as_u64().expect("a step")
    }
}

/// The run is at work until this is dropped.
fn at_work(folder: &Path) -> File {
    let lock = File::create(folder.join("run/lock")).expect("a lock");
    lock.lock().expect("the run is at work");
    lock
}

#[test]
fn a_run_that_cannot_be_watched_any_more_is_a_failure() {
    within(PATIENCE, || {
        let folder = tempfile::tempdir().expect("a folder");
        run_with(folder.path(), PIPELINE, &[5]);
        let _lock = at_work(folder.path());
        let mut watching = Watching::begin(folder.path());
        assert_eq!(watching.step(), 5);
        let next = folder.path().join("next");
        write(&next, &weights(), PIPELINE, 7);
        make_newer(&next);
        fs::rename(next, checkpoint_of(folder.path(), 7)).expect("it is put in place");
        let done = watching.child.wait_with_output().expect("it ends");
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{told}");
        assert!(told.contains("error: run is not watched any more"), "{told}");
        assert!(told.contains(TOO_NEW), "{told}");
    });
}

#[test]
fn a_run_is_watched_until_its_end() {
    within(PATIENCE, || {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path().join("run");
        let checkpoints = run.join("checkpoints");
        run_with(folder.path(), PIPELINE, &[]);
        let lock = at_work(folder.path());
        let checkpoint = |step| checkpoint_of(folder.path(), step);

        // No checkpoint of the run, though the last by its name.
        fs::write(checkpoints.join("z.safetensors"), b"stray").expect("it is written");

        // They wait for the first.
        let mut watching = [Watching::begin(folder.path()), Watching::begin(folder.path())];
        write(&checkpoint(5), &weights(), PIPELINE, 5);
        watching.iter_mut().for_each(|one| assert_eq!(one.step(), 5));
        // Damaged ones are passed over.
        fs::write(checkpoint(6), b"damaged").expect("it is written");
        write(&checkpoint(7), &weights(), PIPELINE, 7);
        watching.iter_mut().for_each(|one| assert_eq!(one.step(), 7));
        drop(lock);
        for one in watching {
            let done = one.child.wait_with_output().expect("it ends");
            let told = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(done.status.success() && !told.contains("panicked"), "{told}");
        }

        for number in 1..=2 {
            let kept =
                fs::read_to_string(run.join(format!("evaluations/{number}/evaluations.jsonl")));
            assert_eq!(kept.expect("it is kept").lines().count(), 2);
            let board = run.join(format!("evaluations/{number}/evaluate"));
            assert_eq!(fs::read_dir(board).expect("a folder").count(), 1);
        }
        let (path, ..) = checkpoint::latest_good(&checkpoints).expect("the run's own are there");
        assert_eq!(path, checkpoint(7));
        // Afterwards the latest is evaluated once.
        let found = eval(folder.path(), &["run", "--watch"]);
        assert_eq!(found["step"], 7);
    });
}
