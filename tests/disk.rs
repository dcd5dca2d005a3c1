//! Disks that are full for a while, processes that are killed in the middle of a line, folders that
//! are moved: what a run has written stays readable, and it can be gone on with.

#[path = "common/command.rs"]
mod command;
mod common;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use command::{PIPELINE, Place, Started};
use prost::Message as _;
use record::checkpoint;
use record::tensorboard::proto::{Event, What};
use record::tensorboard::record::Records;
use serde_json::Value;

use common::{finish, with_settings};

/// Longer than any test waits.
const FOREVER: &str = "steps=1000000000";
const EACH_STEP: &str = "summaries={ scalars: { steps: 1 } }";
const EVERY_5_STEPS: &str = "checkpoints={ every: { steps: 5 }, keep: 100 }";
/// Rarely enough for a run that never ends.
const SELDOM: &str = "stages.train.reducer.evaluate={ seconds: 1 }";
const TWO: &str = "stages.train.reducer.adapters=[{ adapter: cpu, replicas: 2 }]";

/// Waits until this is so.
fn wait_until(mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < common::PATIENCE, "still waiting");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The event files of a folder.
fn event_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().contains("tfevents"));
    files.sort();
    files
}

/// The steps of a curve in a folder of event files, none of which may be damaged anywhere.
fn curve(folder: &Path, tag: &str) -> Vec<u64> {
    let mut steps = Vec::new();
    for path in event_files(folder) {
        let mut records = Records::new(BufReader::new(File::open(&path).expect("it opens")));
        for record in records.by_ref() {
            let event = Event::decode(&record.expect("it is read").data[..]).expect("an event");
            if let Some(What::Summary(summary)) = &event.what
                && summary.value.iter().any(|value| value.tag == tag)
            {
                steps.push(event.step as u64);
            }
        }
        assert_eq!(records.damage(), None, "{}", path.display());
    }
    steps
}

/// The steps in a run's `metrics.jsonl`, each line of which must be whole.
fn measured(run: &Path) -> Vec<u64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("it is there");
    assert!(text.ends_with('\n'), "it ends within a line");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let steps = lines.filter(|line| line["kind"] == "step");
    steps.map(|line| line["step"].as_u64().expect("a step")).collect()
}

fn seed(file: &Path) -> u64 {
    let text = fs::read_to_string(file).expect("it is there");
    serde_json::from_str::<Value>(&text).expect("JSON")["seed"].as_u64().expect("a seed")
}

/// Whether a command is there; else a skip.
fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        common::skip(program);
    }
    there
}

/// The same command below another one.
fn below(outer: &[&str], command: &Command) -> Command {
    let mut run = Command::new(outer[0]);
    run.args(&outer[1..]).arg(command.get_program()).args(command.get_args());
    run.current_dir(command.get_current_dir().expect("a folder"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => run.env(name, value),
            None => run.env_remove(name),
        };
    }
    run
}

/// Files may have so many bytes, as on a disk that is full for as long as this is so.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_for_a_while_costs_no_step() {
    if !has("prlimit") {
        return;
    }
    let place = Place::new();
    let run = place.run("a");
    let set = [FOREVER, SELDOM, EACH_STEP];
    let command = place.command(&with_settings(&["run", "tiny.yaml", "--run", "a"], &set));
    let limit = "trap '' XFSZ; exec prlimit --fsize=20000:unlimited \"$0\" \"$@\"";
    let limited = below(&["sh", "-c", limit], &command);
    let started = Started::new(limited, "warning: cannot write");
    // Both kinds of files are at the limit, and some steps come after.
    let length = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    let board = run.join("tensorboard/train");
    wait_until(|| {
        let full = event_files(&board).iter().any(|path| length(path) >= 20_000);
        full && length(&run.join("metrics.jsonl")) >= 20_000
    });
    thread::sleep(Duration::from_millis(50));
    let id = started.id().to_string();
    let freed = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited"]).status();
    assert!(freed.expect("prlimit is there").success());
    wait_until(|| length(&run.join("metrics.jsonl")) > 60_000);
    started.signal("-INT");
    let ended = started.end();
    assert_eq!(ended.status, Some(130), "{ended:?}");
    for file in ["metrics.jsonl", "tfevents"] {
        let told = |line: &&str| line.starts_with("warning") && line.contains(file);
        assert_eq!(ended.out.lines().filter(told).count(), 1, "{}", ended.out);
    }
    let steps = measured(&run);
    let all: Vec<u64> = (0..steps.len() as u64).collect();
    assert_eq!(steps, all);
    assert_eq!(curve(&board, "losses/total_loss"), all);
    assert_eq!(curve(&board, "epoch"), all);
    // And a resume finds nothing to move aside but what comes after its checkpoint.
    let last = place.latest("a").progress.steps;
    place.resume("a", &[&format!("steps={}", last + 3), SELDOM, EACH_STEP]).done();
    assert_eq!(curve(&board, "epoch"), (0..last + 3).collect::<Vec<_>>());
}

/// Below `ulimit -f`, where nobody keeps the signal from the process that comes with it.
#[cfg(unix)]
#[test]
fn a_limit_of_the_size_of_files_is_told_and_leaves_whole_records() {
    let place = Place::new();
    let command = place.command(&with_settings(
        &["run", "tiny.yaml", "--run", "a"],
        &["steps=1000", SELDOM, EACH_STEP],
    ));
    // In units of 512 or 1024 bytes: enough for weights.
    let limited = below(&["sh", "-c", "ulimit -f 160; exec \"$0\" \"$@\""], &command);
    let ran = finish(limited).done();
    let told = "warning: cannot write runs/a/metrics.jsonl; ";
    assert_eq!(ran.out.matches(told).count(), 1, "{}", ran.out);
    let run = place.run("a");
    for steps in [measured(&run), curve(&run.join("tensorboard/train"), "losses/total_loss")] {
        assert_eq!(steps, (0..steps.len() as u64).collect::<Vec<_>>());
        assert!((1..1000).contains(&steps.len()), "{}", steps.len());
    }
    place.resume("a", &["steps=1003"]).done();
    assert_eq!(measured(&run).last(), Some(&1002));
    assert_eq!(place.latest("a").progress.steps, 1003);
}

#[test]
fn half_a_line_of_shares_is_in_nobodys_way() {
    let place = Place::new();
    let shares = |text: &str| format!("stages.train.reducer.balance={text}");
    place.train("a", &[TWO, &shares("equal"), "steps=10"]).done();
    let file = place.run("a").join("balance.jsonl");
    let first = fs::read_to_string(&file).expect("it is there");
    // What is there of a line when the process is killed, or the power fails.
    for (torn, steps) in [("{\"step\":50,\"sha", 20), ("{", 30), ("\0\0\0\0", 40)] {
        let before = fs::read_to_string(&file).expect("it is there");
        fs::write(&file, format!("{before}{torn}")).expect("it is written");
        let other = format!(
            "{{\"step\":0,\"shares\":{{\"tower_0\":{},\"tower_1\":{}}}}}\n",
            steps / 10,
            20 - steps / 10
        );
        fs::write(place.path().join("shares.jsonl"), other).expect("it is written");
        let steps = format!("steps={steps}");
        place.resume("a", &[&steps, &shares("shares.jsonl")]).done();
        place.resume("a", &[&steps]).done();
        let text = fs::read_to_string(&file).expect("it is there");
        assert!(text.starts_with(&first), "{text}");
        assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text}");
    }
}

/// Earlier versions wrote behind what was torn.
#[test]
fn a_run_whose_shares_were_written_behind_half_a_line_goes_on() {
    let place = Place::new();
    place.train("a", &[TWO, "stages.train.reducer.balance=equal", "steps=10"]).done();
    let file = place.run("a").join("balance.jsonl");
    let first = fs::read_to_string(&file).expect("it is there");
    let glued = "{\"step\":9,\"sha{\"step\":8,\"shares\":{\"tower_0\":8,\"tower_1\":12}}\n";
    fs::write(&file, format!("{first}{glued}")).expect("it is written");
    place.resume("a", &["steps=20"]).done();
}

#[cfg(unix)]
#[test]
fn a_run_whose_folder_was_moved_leaves_alone_what_takes_its_place() {
    let place = Place::new();
    let set = [FOREVER, SELDOM, EVERY_5_STEPS];
    let (run, old) = (place.run("a"), place.path().join("runs/old"));
    let first = place.start("a", &set, ": step 50,");
    first.signal("-STOP");
    fs::rename(&run, &old).expect("it is moved");
    let second = place.start("a", &[&set[..], &["seed=5"]].concat(), ": step 50,");
    first.signal("-CONT");
    let told = || fs::read_to_string(old.join("log.txt")).expect("it is there");
    wait_until(|| told().contains("any more, but another one"));
    second.signal("-INT");
    let second = second.end();
    assert_eq!(second.status, Some(130), "{second:?}");
    first.signal("-INT");
    let first = first.end().failed(1, &["the last weights could not be kept", "but another one"]);
    assert!(!first.told.contains("safetensors are"), "{}", first.told);
    // Once, and once more of weights that were half written when it was moved.
    let told = first.out.matches("any more, but another one").count();
    assert!((1..=2).contains(&told), "{}", first.out);

    assert_eq!((seed(&run.join("run.json")), seed(&old.join("run.json"))), (5, 3));
    for (folder, seed) in [(&run, 5), (&old, 3)] {
        for entry in fs::read_dir(folder.join("checkpoints")).expect("a folder").flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                let stored = checkpoint::read(&path).expect("it is whole");
                assert_eq!(stored.about.seed, seed, "{}", path.display());
            }
        }
    }
    let steps = place.latest("a").progress.steps + 5;
    place.resume("a", &[&format!("steps={steps}")]).done();
}

#[cfg(unix)]
#[test]
fn a_log_that_was_moved_is_not_made_anew_at_every_event() {
    let place = Place::new();
    let started = place.start("a", &[FOREVER, SELDOM, EACH_STEP], ": step 50,");
    let log = place.run("a").join("log.txt");
    fs::rename(&log, log.with_file_name("moved.txt")).expect("it is moved");
    let steps = || fs::read_to_string(place.run("a").join("metrics.jsonl")).expect("there").len();
    let before = steps();
    wait_until(|| steps() > before + 10_000);
    assert!(!log.exists(), "it was opened again");
    started.signal("-INT");
    started.end().failed(130, &[]);
}

#[cfg(unix)]
#[test]
fn the_last_message_names_no_checkpoint_that_was_removed() {
    let place = Place::new();
    let started = place.start("a", &[FOREVER, SELDOM, EVERY_5_STEPS], ": step 50,");
    let folder = place.run("a").join("checkpoints");
    // Files come as long as it is there.
    wait_until(|| fs::remove_dir_all(&folder).is_ok() && !folder.exists());
    started.signal("-INT");
    let ended = started.end().failed(1, &["the last weights could not be kept"]);
    assert!(!ended.told.contains("safetensors are"), "{}", ended.told);
}

#[test]
fn a_name_whose_run_was_killed_before_it_began_is_free() {
    let place = Place::new();
    let run = place.run("a");
    fs::create_dir_all(&run).expect("it is made");
    for name in ["lock", "log.txt", ".partial-abc", "pipeline.original.yaml"] {
        fs::write(run.join(name), "").expect("it is written");
    }
    place.resume("a", &[]).failed(2, &["runs/a holds no run", "start it again"]);
    place.train("a", &["steps=10"]).done();
    place.train("a", &["steps=10"]).failed(2, &["runs/a is there already", "--resume runs/a"]);
    // What holds something else is somebody's.
    let other = place.run("b");
    fs::create_dir_all(&other).expect("it is made");
    fs::write(other.join("notes.txt"), "mine").expect("it is written");
    place.train("b", &["steps=10"]).failed(2, &["runs/b is there already"]);
    assert_eq!(fs::read_dir(&other).expect("it is there").count(), 1);
}

#[cfg(unix)]
#[test]
fn a_run_that_cannot_write_its_first_file_leaves_nothing_behind() {
    let place = Place::new();
    place.train("good", &["steps=10"]).done();
    for run in [&["--run", "bad"][..], &[]] {
        let words = [&["run", "tiny.yaml"], run].concat();
        let command = place.command(&words);
        let full = below(&["sh", "-c", "ulimit -f 0; exec \"$0\" \"$@\""], &command);
        finish(full).failed(1, &["cannot write runs/", "File too large"]);
        let names = fs::read_dir(place.path().join("runs")).expect("it is there").flatten();
        let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["good"]);
    }
    // What an earlier version left: no pipeline, and nothing to go on with.
    let left = place.run("tiny-002");
    fs::create_dir(&left).expect("it is made");
    fs::copy(place.run("good").join("run.json"), left.join("run.json")).expect("it is copied");
    let ran = place.runtime(&["run", "--resume", "--set", "steps=20"]).done();
    assert!(ran.out.contains("going on with runs/good after step 10"), "{}", ran.out);
}

#[test]
fn a_name_is_had_by_one_of_several_and_the_others_are_told_alike() {
    let place = Place::new();
    let words = with_settings(&["run", "tiny.yaml", "--run", "a"], &["steps=10"]);
    let all: Vec<_> = thread::scope(|scope| {
        let start = |_| scope.spawn(|| finish(place.command(&words)));
        let started: Vec<_> = (0..6).map(start).collect();
        started.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    assert_eq!(all.iter().filter(|ran| ran.status == Some(0)).count(), 1, "{all:?}");
    let late = place.train("a", &[]);
    for ran in all.iter().filter(|ran| ran.status != Some(0)) {
        assert_eq!((ran.status, &ran.told), (Some(2), &late.told));
    }
    assert!(late.told.contains("`runtime run --resume runs/a`"), "{}", late.told);
    place.resume("runs/a", &["steps=20"]).done();
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_without_locks_is_told_and_used() {
    if !has("strace") {
        return;
    }
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=flock:error=ENOLCK"];
    let place = Place::new();
    if finish(below(&strace, &place.command(&["list"]))).status.is_none_or(|status| status != 0) {
        // Containers forbid it whatever is installed: no failure even where nothing may be missing.
        eprintln!("skipped: no right to trace a process");
        return;
    }
    for words in [
        with_settings(&["run", "tiny.yaml", "--run", "a"], &["steps=10"]),
        with_settings(&["run", "--resume", "a"], &["steps=20"]),
    ] {
        let ran = finish(below(&strace, &place.command(&words))).done();
        assert_eq!(ran.out.matches("knows no locks").count(), 1, "{}", ran.out);
    }
    // Downloads as well: this one fails at a port where nobody listens, and not before.
    let mut fetch = place.command(&["fetch", "cifar10"]);
    fetch.env_remove("GRADFLOW_OFFLINE").env("NO_PROXY", "127.0.0.1");
    fetch.env("GRADFLOW_MIRROR", "http://127.0.0.1:9");
    let ran = finish(below(&strace, &fetch)).failed(1, &["cannot download"]);
    assert!(format!("{}{}", ran.out, ran.told).contains("knows no locks"), "{ran:?}");
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_folder_of_a_checkpoints_name_is_passed_over() {
    let place = Place::new();
    place.train("a", &["steps=20"]).done();
    let (pipe, folder) = (place.checkpoint("a", 30), place.checkpoint("a", 40));
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    fs::create_dir(&folder).expect("it is made");
    let named = |path: &Path| path.strip_prefix(place.path()).expect("in it").display().to_string();
    place.runtime(&["eval", &named(&pipe)]).failed(1, &["it is not a file but a named pipe"]);
    place.runtime(&["eval", "runs/a"]).done();
    place.resume("a", &["steps=25"]).done();
    assert_eq!(place.latest("a").progress.steps, 25);
}

/// Its curves would lie among those of the training, and be cut where those are.
#[test]
fn an_evaluator_called_train_has_curves_of_its_own() {
    let place = Place::new();
    let pipeline = PIPELINE
        .replace("  train:\n    from: gradients", "  fit:\n    from: gradients")
        .replace("from: [test, train]", "from: [test, fit]")
        .replace("  evaluate: {", "  train: {");
    fs::write(place.path().join("tiny.yaml"), pipeline).expect("it is written");
    place.train("a", &["steps=40"]).done();
    place.resume("a", &["steps=60"]).done();
    let board = place.run("a").join("tensorboard");
    assert_eq!(curve(&board.join("train-2"), "precision @ 1"), [20, 40, 60]);
    assert!(curve(&board.join("train"), "precision @ 1").is_empty());
    let steps = curve(&board.join("train"), "epoch");
    assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
    assert!((0..60).step_by(10).all(|step| steps.contains(&step)), "{steps:?}");
    place.runtime(&["eval", "runs/a"]).done();
}

#[test]
fn a_lost_evaluation_that_cannot_be_made_up_for_is_told() {
    let place = Place::new();
    place.train("a", &["steps=50", EVERY_5_STEPS]).done();
    // As if it had been killed before it told of an evaluation.
    let metrics = place.run("a").join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).expect("it is there");
    let kept = text.lines().filter(|line| !line.contains("\"kind\":\"evaluation\""));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    fs::write(&metrics, kept).expect("it is written");
    let damaged = place.checkpoint("a", 20);
    let mut bytes = fs::read(&damaged).expect("it is there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&damaged, bytes).expect("it is written");
    let ran = place.resume("a", &["steps=55"]).done();
    assert!(ran.out.contains("warning: "), "{}", ran.out);
    assert!(
        ran.out.contains("if its evaluation was lost, step 20 stays without one"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("evaluations that were lost come first: 40"), "{}", ran.out);
}
