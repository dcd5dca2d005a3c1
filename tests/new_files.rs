//! Files that a verb was asked to write: they are there when they are whole, and not before, whatever
//! happens on the way; and nothing that was there is replaced.

#[path = "common/command.rs"]
mod command;
mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use command::Place;

use common::{Ran, finish};

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The verbs that write files, each with what it makes in the folder `out`.
const VERBS: [(&str, &[&str]); 9] = [
    ("export runs/a --onnx out/net.onnx", &["net.onnx"]),
    ("export runs/a --raw --onnx out/raw.onnx", &["raw.onnx"]),
    ("compare runs/a --csv out/a.csv --svg out/a.svg", &["a.csv", "a.svg"]),
    ("tap tiny.yaml crop -n 4 -o out/sheet.png", &["sheet.png"]),
    (
        "sweep tiny.yaml --batch 16 --seconds 0.1 --rounds 1 --adapter cpu --json out/s.json",
        &["s.json"],
    ),
    (
        "sweep tiny.yaml --batch 16 --seconds 0.1 --rounds 1 --adapter cpu --svg out/s.svg",
        &["s.svg"],
    ),
    ("bench tiny.yaml --seconds 0.1 --adapter cpu --json out/b.json", &["b.json"]),
    ("new --pipeline out/mine", &["mine.yaml"]),
    ("new my_crate --source SOURCE", &["my_crate"]),
];

struct Verb {
    words: Vec<&'static str>,
    makes: Vec<String>,
}

fn verbs() -> Vec<Verb> {
    let verb = |(line, makes): &(&'static str, &[&str])| {
        let words = line.split(' ').map(|word| match word {
            "SOURCE" => env!("CARGO_MANIFEST_DIR"),
            word => word,
        });
        Verb {
            words: words.collect(),
            makes: makes.iter().map(|name| (*name).to_owned()).collect(),
        }
    };
    VERBS.iter().map(verb).collect()
}

/// A place with a run, and a folder for what is made. A crate is named by its folder, so that it is
/// made from there.
fn place() -> Place {
    let place = Place::new();
    place.train("a", &["steps=20"]).done();
    fs::create_dir(place.path().join("out")).expect("it is made");
    place
}

fn command(place: &Place, verb: &Verb) -> Command {
    let mut command = place.command(&verb.words);
    if verb.words[0] == "new" && !verb.words.contains(&"--pipeline") {
        command.current_dir(place.path().join("out"));
    }
    command
}

/// The same command where no file may have a byte in it, as on a full disk. Pipes may.
#[cfg(unix)]
fn without_room(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    // The signal is what the limit comes with: without it, writing fails.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_that_could_be_taken_for_a_result() {
    let place = place();
    let out = place.path().join("out");
    for verb in verbs() {
        let line = verb.words.join(" ");
        let before = names(&out);
        let full = finish(without_room(&command(&place, &verb)));
        assert_eq!(full.status, Some(1), "{line}: {full:?}");
        assert!(full.told.contains("File too large"), "{line}: {full:?}");
        assert_eq!(names(&out), before, "{line}");
        // Nothing is in the way of the next try, and no temporary file of a killed process would be.
        fs::write(out.join(".partial-killed"), "half").expect("it is written");
        finish(command(&place, &verb)).done();
        fs::remove_file(out.join(".partial-killed")).expect("it is left alone");
        let mut after = before.clone();
        after.extend(verb.makes.iter().cloned());
        after.sort();
        assert_eq!(names(&out), after, "{line}");
    }
}

#[test]
fn what_is_there_is_refused_before_the_work_and_stays() {
    let place = place();
    let out = place.path().join("out");
    for verb in verbs() {
        let line = verb.words.join(" ");
        for name in &verb.makes {
            fs::write(out.join(name), "somebody's").expect("it is written");
            let refused = finish(command(&place, &verb));
            assert_eq!(refused.status, Some(1), "{line}: {refused:?}");
            assert!(refused.told.contains("already"), "{line}: {refused:?}");
            // Nothing was measured or computed for it.
            assert_eq!((&*refused.out, refused.told.contains("round")), ("", false), "{line}");
            let kept = fs::read_to_string(out.join(name)).expect("it is there");
            assert_eq!(kept, "somebody's", "{line}");
            assert_eq!(names(&out), std::slice::from_ref(name), "{line}");
            fs::remove_file(out.join(name)).expect("it is removed");
        }
    }
    let twice = ["compare", "runs/a", "--csv", "out/x", "--svg", "out/x"];
    place.runtime(&twice).failed(2, &["two files cannot both be out/x"]);
    assert!(names(&out).is_empty());
}

#[cfg(unix)]
#[test]
fn whatever_ends_a_measurement_leaves_no_file_and_the_next_one_is_not_refused() {
    let place = place();
    let out = place.path().join("out");
    let words = ["bench", "tiny.yaml", "--adapter", "cpu", "--json", "out/b.json"];
    for (signal, status) in [("-INT", Some(130)), ("-TERM", Some(130)), ("-KILL", None)] {
        let long = [&words[..], &["--seconds", "60"]].concat();
        let started = command::Started::new(place.command(&long), "at most");
        started.signal(signal);
        let Ran { status: ended, .. } = started.end();
        assert_eq!(ended, status, "{signal}");
        assert!(names(&out).is_empty(), "{signal}: {:?}", names(&out));
    }
    place.runtime(&[&words[..], &["--seconds", "0.1"]].concat()).done();
    assert_eq!(names(&out), ["b.json"]);
}
