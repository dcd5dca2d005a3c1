//! What can go wrong around a run: a full disk, a folder that cannot be written to, two runs in one
//! folder, a process that is killed, Ctrl-C. It is told, and nothing that was kept is lost.

#[path = "common/command.rs"]
mod command;
mod common;
#[path = "common/python.rs"]
mod python;

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use command::Place;

const EVERY_5_STEPS: &str = "checkpoints={ every: { steps: 5 }, keep: 100 }";

/// Longer than any test waits.
const FOREVER: &str = "steps=1000000000";

/// Rarely enough for a run that never ends.
const SELDOM: &str = "stages.train.reducer.evaluate={ seconds: 1 }";

/// Asserts that two runs of this place ended with the same bits.
#[track_caller]
fn ended_alike(place: &Place, a: &str, b: &str) {
    let (a, b) = (place.latest(a), place.latest(b));
    assert_eq!(a.progress, b.progress);
    assert_eq!(a.tensors, b.tensors);
}

/// A file system of its own in a folder.
#[cfg(target_os = "linux")]
struct Mounted(PathBuf);

#[cfg(target_os = "linux")]
impl Mounted {
    /// A small one in memory, or a skip.
    fn new(folder: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&folder).expect("the folder is made");
        let options = format!("size={size}");
        if mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], &folder) {
            return Some(Self(folder));
        }
        // Containers forbid it whatever is installed: no failure even where nothing may be missing.
        eprintln!("skipped: no right to mount a file system");
        None
    }

    /// Changes an option.
    fn remount(&self, option: &str) {
        assert!(mount(&["-o", &format!("remount,{option}")], &self.0), "{option}");
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mounted {
    fn drop(&mut self) {
        as_root("umount", &["-l"], &self.0);
    }
}

#[cfg(target_os = "linux")]
fn mount(arguments: &[&str], folder: &Path) -> bool {
    as_root("mount", arguments, folder)
}

/// As who we are, or as root where that takes no password.
#[cfg(target_os = "linux")]
fn as_root(program: &str, arguments: &[&str], folder: &Path) -> bool {
    let run = |mut command: Command| {
        let output = command.args(arguments).arg(folder).output();
        output.is_ok_and(|output| output.status.success())
    };
    let mut asked = Command::new("sudo");
    asked.args(["-n", program]);
    run(Command::new(program)) || run(asked)
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_the_latest_weights_and_none_that_were_kept() {
    let place = Place::new();
    let Some(disk) = Mounted::new(place.path().join("runs"), "500k") else { return };
    let no_space = "No space left on device";
    let ran = place
        .train("full", &[EVERY_5_STEPS])
        .failed(1, &["the last weights could not be kept", no_space]);
    // It went on to its end.
    assert!(ran.out.contains("warning: the weights could not be kept; the run goes on"), "{ran:?}");
    assert!(ran.out.contains("step 60, averaged weights"), "{ran:?}");
    // Each fault is told once, however often it comes and whatever its text says.
    assert!(ran.out.matches("metrics.jsonl").count() <= 1, "{ran:?}");
    assert_eq!(ran.out.matches("the weights could not be kept").count(), 1, "{ran:?}");
    let kept = place.latest("full").progress.steps;
    assert!((5..60).contains(&kept) && kept.is_multiple_of(5), "{kept}");
    let advice = format!("step-{kept:09}.safetensors are.");
    assert!(ran.told.contains(&advice) && ran.told.contains("`runtime run --resume runs/full`"));
    for steps in (5..=kept).step_by(5) {
        record::checkpoint::read(&place.checkpoint("full", steps)).expect("a whole checkpoint");
    }

    // There is no room to go on, nor is anything lost by that.
    place.resume("full", &[]).failed(1, &[no_space]);
    assert_eq!(place.latest("full").progress.steps, kept);

    disk.remount("size=16m");
    place.resume("full", &[]).done();
    place.train("alone", &[]).done();
    ended_alike(&place, "full", "alone");
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_to_is_told_and_can_be_read() {
    let place = Place::new();
    let Some(disk) = Mounted::new(place.path().join("runs"), "4m") else { return };
    place.train("kept", &[]).done();
    let before = place.latest("kept");
    disk.remount("ro");
    let read_only = "Read-only file system";
    place.train("new", &[]).failed(1, &["cannot make the run's folder runs/new", read_only]);
    let ran = place.resume("kept", &["steps=70"]);
    ran.failed(1, &["cannot write into the run's folder runs/kept", read_only]);
    let ran = place.runtime(&["eval", "runs/kept"]);
    ran.failed(1, &["give the checkpoint's file instead of the run to keep none", read_only]);
    let file = place.checkpoint("kept", 60).display().to_string();
    place.runtime(&["eval", &file]).done();
    assert_eq!(place.latest("kept"), before);
    disk.remount("rw");
    place.resume("kept", &["steps=70"]).done();
}

#[test]
fn a_file_in_place_of_the_runs_folder_is_told() {
    let place = Place::new();
    fs::write(place.path().join("runs"), "a file").expect("it is written");
    place.train("a", &[]).failed(1, &["cannot make runs"]);
    assert_eq!(fs::read(place.path().join("runs")).expect("it is there"), b"a file");
}

#[cfg(unix)]
#[test]
fn the_first_ctrl_c_keeps_the_weights_and_a_second_run_in_the_folder_harms_nothing() {
    let place = Place::new();
    let first = place.start("a", &[FOREVER, SELDOM], ": step 50,");
    place.train("a", &[]).failed(2, &["runs/a is there already", "--resume runs/a"]);
    place.resume("a", &[]).failed(1, &["another run is at work in runs/a"]);
    // Processes that somebody starts in the background may have been told to ignore it.
    first.signal("-TERM");
    let ended = first.end().failed(130, &["Ctrl-C again stops at once"]);
    assert!(ended.out.contains("interrupted; time: "), "{}", ended.out);
    let stored = place.latest("a");
    let steps = stored.progress.steps;
    assert!(steps > 50);
    let kept = place.checkpoint("a", steps);
    assert!(ended.out.contains(&format!("checkpoint: runs/a/checkpoints/step-{steps:09}")));
    assert!(kept.is_file());

    let more = format!("steps={}", steps + 10);
    place.resume("a", &[&more]).done();
    place.train("alone", &[&more, SELDOM]).done();
    ended_alike(&place, "a", "alone");
}

#[cfg(unix)]
#[test]
fn tensorboard_reads_a_run_that_was_killed_and_resumed() {
    let Some(python) = python::find() else { return };
    let place = Place::new();
    let first = place.start("a", &[FOREVER, SELDOM, EVERY_5_STEPS], ": step 100,");
    first.signal("-KILL");
    assert_eq!(first.end().status, None);
    // As if the last record had been on its way to the disk.
    let board = place.run("a").join("tensorboard/train");
    let file = fs::read_dir(&board).expect("a folder").next().expect("a file").expect("its name");
    let cut = OpenOptions::new().append(true).open(file.path()).expect("it is writable");
    let length = cut.metadata().expect("its length").len();
    cut.set_len(length - 7).expect("it is cut");

    let steps = place.latest("a").progress.steps + 20;
    place.resume("a", &[&format!("steps={steps}")]).done();
    let found = python::events(&python, &board);
    let scalars = |tag: &str| -> Vec<u64> {
        let points = found["scalars"][tag].as_array().expect("a curve");
        points.iter().map(|point| point[0].as_u64().expect("a step")).collect()
    };
    for tag in ["losses/total_loss", "learning_rate"] {
        let found = scalars(tag);
        let expected: Vec<u64> = (0..steps).filter(|s| s.is_multiple_of(10)).collect();
        // What was not yet on the disk when the process was killed is lost; the rest is there once.
        let mut sorted = found.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(found, sorted, "{tag}");
        let last = steps - 20;
        assert!(expected.iter().filter(|s| **s >= last).all(|s| found.contains(s)), "{found:?}");
        assert!(found.len() > expected.len() / 2, "{found:?}");
    }
    let superseded = fs::read_dir(place.run("a").join("superseded/tensorboard-train"));
    assert!(superseded.expect("what was cut is kept").count() > 0);
}
