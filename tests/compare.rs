//! `runtime compare`: runs beside each other.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;

use runs::{PIPELINE, Place, STEPS};

use common::{Ran, finish, runtime};

fn compare(place: &Place, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Ran { status, out, told } =
        finish(runtime(place.path(), &[&["compare"], arguments].concat()));
    (status, out, told)
}

#[test]
fn runs_are_told_drawn_and_kept_and_nothing_is_replaced() {
    let place = Place::new(PIPELINE);
    place.train("first", &[]);
    place.train("second", &["seed=8"]);
    let files = ["--svg", "curves.svg", "--csv", "curves.csv"];
    let (status, out, told) = compare(&place, &[&["first", "runs/second"], &files[..]].concat());
    assert_eq!((status, &*told), (Some(0), ""), "{out}");
    assert!(out.contains(&format!("| first | cpu/cpu | 7 | {STEPS} | 7.7 |")), "{out}");
    assert!(out.contains(&format!("| second | cpu/cpu | 8 | {STEPS} | 7.7 |")), "{out}");
    assert!(out.contains("2 runs: precision @ 1 = "), "{out}");

    // What the metrics say last is in the table and the numbers.
    let metrics = fs::read_to_string(place.path().join("runs/first/metrics.jsonl")).expect("there");
    let last = metrics.lines().rfind(|line| line.contains("\"evaluation\"")).expect("some");
    let last: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let precision = format!("{:.4}", last["precision_at_1"].as_f64().expect("a number"));
    assert!(out.contains(&format!(" {precision} ")), "{out}");
    let numbers = fs::read_to_string(place.path().join("curves.csv")).expect("written");
    assert!(numbers.lines().any(|line| line.starts_with("first,evaluation,24,")), "{numbers}");
    assert!(numbers.contains(&format!(",{precision},evaluate\n")), "{numbers}");
    assert_eq!(numbers.matches("second,step,").count(), STEPS as usize);
    let drawn = fs::read_to_string(place.path().join("curves.svg")).expect("written");
    assert!(drawn.contains("second") && drawn.contains("<path"), "{drawn}");

    let (status, out, _) = compare(&place, &["first", "--epochs", "2"]);
    assert_eq!(status, Some(0));
    assert!(out.contains("| 7 | 7 | 2.2 |"), "{out}");
    let (status, _, told) = compare(&place, &["first", "--epochs", "0"]);
    assert_eq!(status, Some(2), "{told}");
    assert!(told.contains("expected a number of epochs above 0"), "{told}");

    let (status, _, told) = compare(&place, &["first", "--svg", "curves.svg"]);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("could not make curves.svg"), "{told}");
    assert_eq!(fs::read_to_string(place.path().join("curves.svg")).expect("there"), drawn);
    // Of two files of which one is there, the other is not made.
    let (status, _, _) = compare(&place, &["first", "--svg", "new.svg", "--csv", "curves.csv"]);
    assert_eq!(status, Some(1));
    assert!(!place.path().join("new.svg").exists());
    let (status, _, told) = compare(&place, &["runs"]);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("runs is not the folder of a run"), "{told}");
    let (status, _, told) = compare(&place, &["third"]);
    assert_eq!(status, Some(2), "{told}");
    assert!(told.contains("first") && told.contains("second"), "{told}");
}
