//! `metrics.jsonl`: what a run measures, one JSON object per line.

mod cut;

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

pub use self::cut::cut;
use base::record_file::RecordFile;
use flow::event::Event;
use flow::reports::{EvaluationReport, StepReport};

/// What is written of an event.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Told<'a> {
    Step(Stamped<&'a StepReport>),
    Evaluation(Stamped<&'a EvaluationReport>),
}

/// The same when it is read.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Step(Stamped<StepReport>),
    Evaluation(Stamped<EvaluationReport>),
}

#[derive(Serialize, Deserialize)]
struct Stamped<T> {
    time: jiff::Timestamp,
    #[serde(flatten)]
    report: T,
}

/// Adds lines to a file.
pub struct Metrics {
    file: RecordFile,
}

impl Metrics {
    /// Adds to this file, which is made if there is none. A broken last line, as a process leaves
    /// that is killed, is taken away.
    ///
    /// # Errors
    /// If it cannot be opened or mended.
    pub fn append(path: &Path) -> Result<Self> {
        Ok(Self { file: RecordFile::open_lines(path)? })
    }

    /// Has everything so far on the disk.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync()
    }

    /// Adds a line if the event is a step or an evaluation. It is handed to the system at once.
    ///
    /// # Errors
    /// If it cannot be written, as on a full disk. Nothing is lost by that: the next line brings
    /// this one along.
    pub fn observe(&mut self, event: &Event) -> Result<()> {
        let time = jiff::Timestamp::now();
        let told = match event {
            Event::Step(report) => Told::Step(Stamped { time, report }),
            Event::Evaluation(report) => Told::Evaluation(Stamped { time, report }),
            _ => return Ok(()),
        };
        let mut line = serde_json::to_vec(&told).with_context(|| {
            format!("cannot put a line for {} as JSON", self.file.path().display())
        })?;
        line.push(b'\n');
        self.file.append(&line)
    }
}

/// What a run has measured so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The steps that were logged.
    pub steps: Vec<StepReport>,
    /// The evaluations; their mistakes are not kept.
    pub evaluations: Vec<EvaluationReport>,
    /// The number of the last line, from 1, if it is broken: its writer was stopped. What it said
    /// is not among the above.
    pub torn: Option<usize>,
}

impl History {
    /// Steps done by the weights that a stage evaluated last; 0 if it evaluated none.
    pub fn last_evaluation(&self, stage: &str) -> u64 {
        let of_it = self.evaluations.iter().filter(|report| report.stage == stage);
        of_it.map(|report| report.step).max().unwrap_or(0)
    }
}

/// Reads a file that [`Metrics`] wrote; where there is none, nothing was measured yet.
///
/// # Errors
/// If it cannot be read, or a line that is not the last is none of [`Metrics`].
pub fn read(path: &Path) -> Result<History> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let (lines, torn) = parse(&bytes, path)?;
    let mut history = History { torn: torn.map(|_| lines.len() + 1), ..History::default() };
    for (_, line) in lines {
        match line {
            Line::Step(step) => history.steps.push(step.report),
            Line::Evaluation(evaluation) => history.evaluations.push(evaluation.report),
        }
    }
    Ok(history)
}

/// The lines with what they say, and what the file ends with if that is a broken line.
#[expect(clippy::type_complexity, reason = "lines and a rest, taken apart right away")]
fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<(Vec<(&'a [u8], Line)>, Option<&'a [u8]>)> {
    let mut lines = Vec::new();
    let mut texts = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(text) = texts.next() {
        let is_last = texts.peek().is_none();
        // A whole record without its line break is broken, too: the next would be joined to it.
        if is_last && !text.ends_with(b"\n") {
            return Ok((lines, Some(text)));
        }
        match serde_json::from_slice(text) {
            Ok(line) => lines.push((text, line)),
            Err(_) if is_last => return Ok((lines, Some(text))),
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "{}, line {}: expected a step or an evaluation as JSON; mend the line or \
                         take it out",
                        path.display(),
                        lines.len() + 1
                    )
                });
            }
        }
    }
    Ok((lines, None))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use base::record_file::disk::Disk;
    use flow::reports::LossTerm;

    pub(crate) fn step(step: u64) -> StepReport {
        let term = |name: &str, raw| LossTerm { name: name.to_owned(), raw, average: raw + 0.1 };
        StepReport {
            towers: None,
            step,
            total_steps: Some(100),
            epoch: (step + 1) as f64 / 30.0,
            loss: 4.68 / (step + 1) as f64,
            loss_average: 4.7,
            terms: vec![term("cross_entropy", 2.3), term("a/weight_decay", 1e-9)],
            learning_rate: 0.1,
            images_per_s: 1234.5,
            batch_s: 0.1 + 0.2,
        }
    }

    pub(crate) fn evaluation(step: u64) -> EvaluationReport {
        EvaluationReport {
            stage: "evaluate".to_owned(),
            step,
            epoch: step as f64 / 30.0,
            split: "test".to_owned(),
            images: 3,
            precision_at_1: 1.0 / 3.0,
            precision_at_k: (2, 2.0 / 3.0),
            loss: 2.3,
            classes: vec!["cat".to_owned(), "dog".to_owned()],
            confusion: vec![vec![1, 1], vec![1, 0]].into(),
            mistakes: Vec::new(),
            stands_in_for: None,
            averaged: true,
            views: 1,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        for (at, times) in [(0, 2), (2, 3)] {
            let mut metrics = Metrics::append(&path).expect("it opens");
            for number in at..times {
                metrics.observe(&Event::Step(step(number))).expect("written");
                metrics.observe(&Event::Warning("not measured".to_owned())).expect("passed over");
            }
            metrics.observe(&Event::Evaluation(evaluation(times))).expect("written");
        }
        let history = read(&path).expect("readable");
        assert_eq!(history.steps, [step(0), step(1), step(2)]);
        assert_eq!(history.evaluations, [evaluation(2), evaluation(3)]);
        assert_eq!(history.torn, None);
        let text = std::fs::read_to_string(&path).expect("text");
        let first: serde_json::Value =
            serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!(first["kind"], "step");
        assert_eq!(first["terms"]["a/weight_decay"]["raw"], 1e-9);
        let time = first["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        assert!(time.is_some(), "{text}");
        let evaluation: serde_json::Value =
            serde_json::from_str(text.lines().nth(2).expect("a line")).expect("JSON");
        assert_eq!(evaluation["kind"], "evaluation");
        assert_eq!(evaluation["confusion"][1][0], 1);
        assert!(evaluation.get("mistakes").is_none());
    }

    #[test]
    fn a_loss_that_is_no_number_is_null_and_read_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let mut metrics = Metrics::append(&path).expect("it opens");
        let terms = vec![LossTerm { name: "x".to_owned(), raw: f64::NAN, average: f64::INFINITY }];
        let (loss, loss_average) = (f64::NAN, f64::NEG_INFINITY);
        let diverged = StepReport { loss, loss_average, terms, ..step(0) };
        metrics.observe(&Event::Step(diverged)).expect("written");
        let diverged = EvaluationReport { loss: f64::NAN, ..evaluation(1) };
        metrics.observe(&Event::Evaluation(diverged)).expect("written");
        let history = read(&path).expect("readable");
        let step = &history.steps[0];
        assert!([step.loss, step.loss_average, step.terms[0].average].iter().all(|n| n.is_nan()));
        assert!(history.evaluations[0].loss.is_nan());
    }

    #[test]
    fn a_full_disk_loses_nothing_once_there_is_room() {
        let disk = Disk::new(usize::MAX);
        let mut metrics = Metrics { file: disk.file("metrics.jsonl") };
        let room = |bytes| disk.make_room(bytes);
        let mut tell = |number| metrics.observe(&Event::Step(step(number)));
        tell(0).expect("there is room");
        room(100);
        let error = format!("{:#}", tell(1).expect_err("the line is longer"));
        assert!(error.starts_with("cannot write metrics.jsonl; "), "{error}");
        let again = format!("{:#}", tell(2).expect_err("still full"));
        assert_eq!(error, again, "another text would be told once more");
        room(usize::MAX);
        tell(3).expect("there is room again");
        let bytes = disk.bytes();
        let (lines, torn) = parse(&bytes, Path::new("metrics.jsonl")).expect("whole lines");
        let steps = lines.into_iter().map(|(_, line)| match line {
            Line::Step(told) => told.report,
            Line::Evaluation(_) => panic!("only steps were told"),
        });
        assert_eq!(steps.collect::<Vec<_>>(), [step(0), step(1), step(2), step(3)]);
        assert!(torn.is_none());
    }

    #[test]
    fn a_torn_last_line_is_told_and_any_other_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let mut metrics = Metrics::append(&path).expect("it opens");
        metrics.observe(&Event::Step(step(0))).expect("written");
        let whole = std::fs::read(&path).expect("written");
        for torn in [&whole[..whole.len() / 2], &whole[..whole.len() - 1], b"{}\n"] {
            std::fs::write(&path, [&whole, torn].concat()).expect("written");
            let history = read(&path).expect("readable");
            assert_eq!((history.steps, history.torn), (vec![step(0)], Some(2)));
        }
        std::fs::write(&path, &whole[..9]).expect("written");
        let mut metrics = Metrics::append(&path).expect("it opens");
        metrics.observe(&Event::Step(step(1))).expect("written");
        assert_eq!(read(&path).expect("readable").steps, [step(1)]);
        std::fs::write(&path, [b"{}\n", &whole[..]].concat()).expect("written");
        let error = format!("{:#}", read(&path).expect_err("not the last line"));
        assert!(error.contains("metrics.jsonl, line 1: expected a step"), "{error}");
    }
}
