//! Standard output that is closed, or that nobody reads; and words and folders that are no UTF-8.
#![cfg(unix)]

#[path = "common/command.rs"]
mod command;
mod common;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use command::{PIPELINE, Place};
use common::{runtime, with_settings, within};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);
const EACH_STEP: &str = "summaries.scalars.steps=1";

/// A command at work, which is killed with this value.
struct AtWork(Child);

impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(place: &Place, set: &[&str]) -> AtWork {
    let words = with_settings(&["run", "tiny.yaml", "--run", "a"], set);
    let mut command = place.command(&words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    AtWork(command.spawn().expect("the command starts"))
}

/// The exit status, and what is on standard error.
fn end(mut child: AtWork) -> (Option<i32>, String) {
    let mut errors = child.0.stderr.take().expect("a pipe");
    let told = within(PATIENCE, move || {
        let mut told = String::new();
        errors.read_to_string(&mut told).expect("it is read");
        told
    });
    // Standard error is closed: it ends now.
    (child.0.wait().expect("it ends").code(), told)
}

fn about(place: &Place) -> serde_json::Value {
    let text = fs::read(place.run("a").join("run.json")).expect("it is there");
    serde_json::from_slice(&text).expect("JSON")
}

/// Lines of the log; none if there is none yet.
fn logged(place: &Place) -> usize {
    fs::read_to_string(place.run("a").join("log.txt")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_run_goes_on_when_its_output_is_closed() {
    let place = Place::new();
    let mut child = start(&place, &["steps=3000", EACH_STEP]);
    let mut out = BufReader::new(child.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    // As `head` does.
    drop(out);
    let (status, told) = end(child);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("the run goes on without it, and log.txt in its folder"), "{told}");
    assert_eq!(told.matches("standard output").count(), 1, "{told}");
    assert_eq!(about(&place)["ended"]["how"], "done");
    assert_eq!(place.latest("a").progress.steps, 3000);
    let log = fs::read_to_string(place.run("a").join("log.txt")).expect("it is there");
    assert!(log.starts_with(&line), "{line}");
    assert!(log.contains(": step 2999, loss = ") && log.contains("\ndone; time: "), "{log}");

    // What other verbs print is of no use without a reader, and they end without a word.
    let mut list = place.command(&["list"]);
    list.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut list = AtWork(list.spawn().expect("the command starts"));
    drop(list.0.stdout.take());
    assert_eq!(end(list), (Some(0), String::new()));
}

#[test]
fn one_ctrl_c_ends_a_run_that_nobody_reads() {
    let place = Place::new();
    let mut child = start(&place, &["steps=1000000000", EACH_STEP, "checkpoints={ every: {} }"]);
    let out = child.0.stdout.take().expect("a pipe");
    // Until the pipe and what may wait before it are full, and the run stands still.
    within(PATIENCE, {
        let log = place.run("a").join("log.txt");
        move || {
            let lines = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
            let mut before = 0;
            while before < 200 || lines() != before {
                before = lines();
                thread::sleep(Duration::from_millis(500));
            }
        }
    });
    let sent = Command::new("kill").args(["-INT", &child.0.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
    let (status, told) = end(child);
    drop(out);
    assert_eq!(status, Some(130), "{told}");
    assert_eq!(about(&place)["ended"]["how"], "interrupted");
    // Nothing that was done is lost: each step has a line, and the first line tells the rest.
    let steps = place.latest("a").progress.steps;
    assert!(logged(&place) as u64 > steps, "{steps}");
    assert!(place.checkpoint("a", steps).is_file());
}

/// Where file names need not be UTF-8.
#[cfg(target_os = "linux")]
#[test]
fn words_and_folders_need_not_be_utf_8() {
    let folder = tempfile::tempdir().expect("a folder");
    let odd = folder.path().join(OsStr::from_bytes(b"here\xff"));
    fs::create_dir(&odd).expect("a folder");
    fs::write(odd.join("tiny.yaml"), PIPELINE).expect("written");
    let runs: OsString = OsStr::from_bytes(b"r\xff").to_owned();
    let run = |words: &[&str]| {
        let mut command = runtime(&odd, &[&["run"], words].concat());
        command.arg("--runs").arg(&runs);
        let output = within(PATIENCE, move || command.output()).expect("the command starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{told}");
    };
    run(&["tiny.yaml", "--run", "a", "--set", "steps=5"]);
    // Paths are found again.
    run(&["--resume", "a", "--set", "steps=10"]);
    let path: &Path = &odd.join(&runs).join("a");
    let about = fs::read(path.join("run.json")).expect("it is there");
    let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
    let command = about["command"].as_array().expect("a command line");
    assert_eq!(command.last().and_then(|word| word.as_str()), Some("r\u{fffd}"));
    assert!(path.join("checkpoints/step-000000010.safetensors").is_file());
}
