//! Evaluations as people and programs read them, and where those of a run are kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::output::table;
use crate::console;
use base::free_name::first_free;
use base::record_file::RecordFile;
use flow::reports::{EvaluationReport, FEW_CLASSES};
use record::recorder::Evaluations;

/// Classes beyond which a table of confusions is wider than any screen.
const MOST_CLASSES: usize = 20;
/// Classes that have a row where there are more than a few.
const WORST: usize = 20;

/// The file with a line for each evaluation.
const LINES: &str = "evaluations.jsonl";

/// The line that a run prints, precision @ k, and what each class was taken for.
pub(super) fn describe(report: &EvaluationReport) -> String {
    let (k, precision_at_k) = report.precision_at_k;
    let mut text = format!(
        "{}\nprecision @ {k} = {precision_at_k:.3}; split {}, stage {}\n",
        console::evaluation(report, ""),
        report.split,
        report.stage
    );
    let taken: u64 = report.confusion.taken().map(|(_, _, images)| images).sum();
    if taken < report.images {
        let none = report.images - taken;
        text += &format!("{none} images have scores that are no numbers and count as wrong\n");
    }
    text += &matrix(report);
    text
}

/// A row for each class: its accuracy, and how many of its images were taken for each class. Of many
/// classes, those of which the least is right.
fn matrix(report: &EvaluationReport) -> String {
    let name = |class: usize| {
        report.classes.get(class).map_or_else(|| class.to_string(), ToString::to_string)
    };
    let classes = report.confusion.classes();
    let wide = classes <= MOST_CLASSES;
    let mut head = vec!["class".to_owned(), "accuracy".to_owned()];
    if wide {
        head.push("taken for:".to_owned());
        head.extend((0..classes).map(name));
    }
    let mut rows = vec![head];
    let few = classes <= FEW_CLASSES;
    let shown = if few { (0..classes).collect() } else { report.confusion.worst(WORST) };
    let (all, accuracies) = (shown.len() == classes, report.class_accuracy());
    for class in shown {
        let accuracy =
            accuracies[class].map_or_else(|| "-".to_owned(), |share| format!("{share:.3}"));
        let mut row = vec![name(class), accuracy];
        if wide {
            row.push(String::new());
            row.extend(report.confusion.row(class).map(|images| images.to_string()));
        }
        rows.push(row);
    }
    let mut text = table(&rows);
    if !all {
        text +=
            &format!("of {classes} classes, those of which the least is right; --json has all\n");
    }
    text
}

/// Everything about an evaluation on one line, with what its checkpoint was chosen by as the best
/// of its run, if it was.
pub(super) fn json(report: &EvaluationReport, chosen_on: Option<&str>) -> Result<String> {
    let mut value = serde_json::to_value(report)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("class_accuracy".to_owned(), json!(report.class_accuracy()));
        fields.extend(chosen_on.map(|split| ("chosen_on".to_owned(), json!(split))));
    }
    Ok(format!("{value}\n"))
}

/// Files of a run for evaluations that are made beside it: nobody else writes to them.
pub(super) struct Kept {
    lines: RecordFile,
    board: Evaluations,
}

impl Kept {
    /// A folder `evaluations/N`, the number being the first that is free, with a line of JSON for
    /// each evaluation and what TensorBoard shows of those of these stages.
    pub(super) fn begin<'a>(run: &Path, stages: impl Iterator<Item = &'a str>) -> Result<Self> {
        let folder = run.join("evaluations");
        let begin = || -> io::Result<(PathBuf, RecordFile)> {
            fs::create_dir_all(&folder)?;
            let name = |number: u64| folder.join((number + 1).to_string());
            let (own, ()) = first_free(name, |own| fs::create_dir(own))?;
            let lines = RecordFile::create(&own.join(LINES))?;
            Ok((own, lines))
        };
        let (own, lines) = begin().with_context(|| {
            format!(
                "cannot keep evaluations in {}; give the checkpoint's file instead of the run to \
                 keep none",
                folder.display()
            )
        })?;
        Ok(Self { lines, board: Evaluations::new(&own, Duration::ZERO, stages) })
    }

    /// Keeps the figures of an evaluation, which are on this line of JSON.
    pub(super) fn keep(&mut self, line: &str, report: &EvaluationReport) -> Result<()> {
        self.lines.append(line.as_bytes())?;
        self.board.observe(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::reports::Confusion;

    fn report(step: u64) -> EvaluationReport {
        EvaluationReport {
            stage: "evaluate".to_owned(),
            step,
            epoch: 0.5,
            split: "test".to_owned(),
            images: 5,
            precision_at_1: 0.5,
            precision_at_k: (2, 0.75),
            loss: 1.5,
            classes: vec!["cat".to_owned(), "dog".to_owned()],
            confusion: vec![vec![3, 1], vec![0, 0]].into(),
            mistakes: Vec::new(),
            stands_in_for: None,
            averaged: true,
            views: 10,
        }
    }

    #[test]
    fn an_evaluation_is_described_in_full() {
        let text = describe(&report(7));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("precision @ 1 = 0.500 (accuracy on 5 images"), "{text}");
        assert!(lines[0].contains("step 7, averaged weights, mean of 10 views"), "{text}");
        assert_eq!(lines[1], "precision @ 2 = 0.750; split test, stage evaluate");
        assert!(lines[2].starts_with("1 images have scores that are no numbers"), "{text}");
        assert_eq!(lines[3], "class  accuracy  taken for:  cat  dog");
        assert_eq!(lines[4], "cat    0.750                 3    1");
        assert_eq!(lines[5], "dog    -                     0    0");
        let many = EvaluationReport { confusion: vec![vec![1; 21]; 21].into(), ..report(7) };
        assert!(describe(&many).contains("\nclass  accuracy\ncat    0.048\n"));
        let mut confusion = Confusion::new(1_000);
        (0..1_000).for_each(|class| confusion.add(class, class.min(990)));
        let text = describe(&EvaluationReport { confusion, classes: Vec::new(), ..report(7) });
        assert!(text.contains("\nclass  accuracy\n991    0.000\n"), "{text}");
        assert!(
            text.ends_with(
                "\nof 1000 classes, those of which the least is right; --json has all\n"
            )
        );
        assert_eq!(text.lines().count(), 2 + 1 + WORST + 1, "{text}");
    }

    #[test]
    fn each_evaluator_of_a_run_has_files_of_its_own() {
        let run = tempfile::tempdir().expect("a folder");
        let mut first = Kept::begin(run.path(), ["evaluate"].into_iter()).expect("it begins");
        let mut second = Kept::begin(run.path(), ["evaluate"].into_iter()).expect("it begins");
        let keep = |kept: &mut Kept, step| {
            let report = report(step);
            kept.keep(&json(&report, None).expect("JSON"), &report).expect("it is kept");
        };
        keep(&mut first, 1);
        keep(&mut second, 2);
        keep(&mut first, 3);
        let steps = |number: u32| -> Vec<u64> {
            let path = run.path().join(format!("evaluations/{number}/{LINES}"));
            let text = fs::read_to_string(path).expect("it is there");
            let read = |line: &str| serde_json::from_str::<EvaluationReport>(line).map(|r| r.step);
            text.lines().map(|line| read(line).expect("a report")).collect()
        };
        assert_eq!((steps(1), steps(2)), (vec![1, 3], vec![2]));
        for folder in ["evaluations/1/evaluate", "evaluations/2/evaluate"] {
            assert_eq!(fs::read_dir(run.path().join(folder)).expect("it is there").count(), 1);
        }
    }
}
