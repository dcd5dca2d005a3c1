//! Several runs beside each other, from what their folders hold.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::metrics::{self, History};
use crate::provenance;
use crate::report::{self, Axis};
use crate::run_folder::{self, About};
use config::yaml::Document;
use flow::reports::EvaluationReport;

/// Points of a curve in a table of numbers: enough to draw it again.
const MOST_POINTS: usize = 200;

/// A run's numbers.
#[derive(Debug)]
pub struct Run {
    name: String,
    about: About,
    history: History,
    /// The ids of its stages, in the order of the pipeline.
    stages: Vec<String>,
}

/// What a plot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shown {
    /// Precision @ 1 of the evaluations.
    Precision,
    /// The training loss, as its moving average.
    Loss,
}

impl Run {
    /// Reads runs' folders; they may be at work. They are named by their folders, or by the paths
    /// to these where two have the same.
    ///
    /// # Errors
    /// If what says what a run is, or its metrics, cannot be read.
    pub fn read_all(folders: &[PathBuf]) -> Result<Vec<Self>> {
        let short = |folder: &PathBuf| {
            let name = folder.file_name().unwrap_or(folder.as_os_str());
            name.to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = folders.iter().map(short).collect();
        if names.iter().collect::<HashSet<_>>().len() < names.len() {
            names = folders.iter().map(|folder| folder.display().to_string()).collect();
        }
        let read = |(folder, name): (&PathBuf, String)| {
            ensure!(
                run_folder::is_run(folder),
                "{} is not the folder of a run, which has a file run.json",
                folder.display()
            );
            let about = run_folder::read_json(&run_folder::about(folder))?;
            let history = metrics::read(&folder.join("metrics.jsonl"))?;
            Ok(Self { name, about, history, stages: stages(folder) })
        };
        folders.iter().zip(names).map(read).collect()
    }

    /// Forgets what came after so many epochs. The step that an epoch ends within belongs to it, and
    /// so does the evaluation behind that step.
    pub fn keep_epochs(&mut self, epochs: f64) {
        // Where the last of these steps began, and a thousandth of it on, for rounding's sake.
        let began = |epoch: f64, steps: u64| epoch * (1.0 - 0.999 / steps.max(1) as f64);
        self.history.steps.retain(|report| began(report.epoch, report.step + 1) < epochs);
        self.history.evaluations.retain(|report| began(report.epoch, report.step) < epochs);
    }

    /// The stages that have evaluated, in the order of the pipeline.
    fn evaluators(&self) -> Vec<&str> {
        let all: BTreeSet<&str> =
            self.history.evaluations.iter().map(|report| report.stage.as_str()).collect();
        let mut all: Vec<&str> = all.into_iter().collect();
        let place = |stage: &str| self.stages.iter().position(|known| known == stage);
        all.sort_by_key(|stage| place(stage).unwrap_or(usize::MAX));
        all
    }

    /// The evaluations of a stage.
    fn evaluations(&self, stage: &str) -> Vec<&EvaluationReport> {
        self.history.evaluations.iter().filter(|report| report.stage == stage).collect()
    }

    /// Steps and epochs as far as something was measured: a logged step or an evaluation, of which
    /// either may be the later one.
    fn reached(&self) -> (u64, Option<f64>) {
        let steps = self.history.steps.iter().map(|report| (report.step + 1, report.epoch));
        let evaluations = self.history.evaluations.iter();
        let all = steps.chain(evaluations.map(|report| (report.step, report.epoch)));
        let last = all.max_by_key(|(step, _)| *step);
        (last.map_or(0, |(step, _)| step), last.map(|(_, epoch)| epoch))
    }

    fn last_precision(&self, stage: &str) -> Option<f64> {
        self.evaluations(stage).last().map(|report| report.precision_at_1)
    }

    /// Seconds of the steps, without evaluations and pauses: each report tells those of a batch
    /// since the one before.
    fn training_s(&self) -> f64 {
        let mut done = 0;
        let times = self.history.steps.iter().map(|report| {
            let steps = (report.step + 1).saturating_sub(done);
            done = report.step + 1;
            steps as f64 * report.batch_s
        });
        times.sum()
    }

    fn adapters(&self) -> String {
        let one = self.about.adapter.as_slice();
        let all = if self.about.towers.is_empty() { one } else { &self.about.towers };
        let names = all.iter().map(|adapter| format!("{}/{}", adapter.backend, adapter.name));
        names.collect::<Vec<_>>().join(" + ")
    }

    /// Curves with what tells them from others of the run.
    fn curves(&self, shown: Shown) -> Vec<(&str, Vec<(f64, f64)>)> {
        match shown {
            Shown::Precision => {
                let curve = |stage| {
                    let evaluations = self.evaluations(stage).into_iter();
                    let points = evaluations.map(|report| (report.epoch, report.precision_at_1));
                    (stage, points.collect())
                };
                self.evaluators().into_iter().map(curve).collect()
            }
            Shown::Loss => {
                let steps = self.history.steps.iter();
                vec![("", steps.map(|report| (report.epoch, report.loss_average)).collect())]
            }
        }
    }
}

/// The ids of a run's stages, as far as its pipeline can be read.
fn stages(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(run_folder::pipeline(folder)).unwrap_or_default();
    let document = Document::parse(&text).ok();
    let stages = document.as_ref().and_then(|document| document.node().get("stages"));
    let entries = stages.and_then(|stages| stages.entries()).unwrap_or_default();
    entries.iter().map(|(id, _)| id.clone()).collect()
}

/// The stages that have evaluated in any of these runs, in the order of the first that has them.
fn evaluators(runs: &[Run]) -> Vec<&str> {
    let mut all = Vec::new();
    for stage in runs.iter().flat_map(Run::evaluators) {
        if !all.contains(&stage) {
            all.push(stage);
        }
    }
    all
}

/// A table in Markdown, a line for each run and stage that evaluates, and the spread of what several
/// came to. Stages are named where there are several.
pub fn markdown(runs: &[Run]) -> String {
    let evaluators = evaluators(runs);
    let named = evaluators.len() > 1;
    let (title, rule) = if named { (" evaluator |", "---|") } else { ("", "") };
    let mut text = format!(
        "| run | adapter | seed | steps | epochs |{title} precision @ 1 | best | cross-entropy \
         | images/s | training |\n|---|---|--:|--:|--:|{rule}--:|--:|--:|--:|--:|\n"
    );
    for run in runs {
        match run.evaluators().as_slice() {
            [] => row(&mut text, run, "", named),
            stages => stages.iter().for_each(|stage| row(&mut text, run, stage, named)),
        }
    }
    for stage in evaluators {
        let last: Vec<(&Run, &EvaluationReport)> =
            runs.iter().filter_map(|run| Some((run, *run.evaluations(stage).last()?))).collect();
        let precisions: Vec<f64> = last.iter().map(|(_, report)| report.precision_at_1).collect();
        let stage = if named { format!("{stage}: ") } else { String::new() };
        if last.windows(2).any(|pair| Measured::of(pair[0].1) != Measured::of(pair[1].1)) {
            let each =
                last.iter().map(|(run, report)| format!("{}: {}", run.name, Measured::of(report)));
            let each = each.collect::<Vec<_>>().join("; ");
            let _ = writeln!(
                text,
                "\nwarning: {stage}these were not measured alike, and their precisions have no mean: \
                 {each}"
            );
        } else if let (Some(spread), 2..) = (Spread::of(&precisions), precisions.len()) {
            let _ = writeln!(text, "\n{} runs: {stage}{spread}", precisions.len());
            let seeds: BTreeSet<u64> = last.iter().map(|(run, _)| run.about.seed).collect();
            if seeds.len() > 1 && seeds.len() < last.len() {
                let _ = writeln!(text, "some of these have the same seed, and count as often");
            }
        }
        for (run, _) in last.iter().filter(|(_, report)| report.split == "train") {
            let _ = writeln!(
                text,
                "\nwarning: {} was evaluated on the images that it was trained on (split train)",
                run.name
            );
        }
    }
    let evaluated = runs.iter().filter(|run| !run.history.evaluations.is_empty());
    for told in provenance::beside(evaluated.map(|run| (&*run.name, &*run.about.data))) {
        let _ = writeln!(text, "\nwarning: {told}");
    }
    let stand_ins = runs
        .iter()
        .filter(|run| run.history.evaluations.iter().any(|report| report.stands_in_for.is_some()));
    for run in stand_ins {
        let _ = writeln!(text, "{} was evaluated on drawn stand-in images", run.name);
    }
    text
}

/// How an evaluation measured: figures of two that differ in this say nothing of the weights.
#[derive(Debug, PartialEq, Eq)]
struct Measured<'a> {
    split: &'a str,
    averaged: bool,
    views: usize,
}

impl<'a> Measured<'a> {
    fn of(report: &'a EvaluationReport) -> Self {
        Self { split: &report.split, averaged: report.averaged, views: report.views }
    }
}

impl fmt::Display for Measured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights = if self.averaged { "averaged weights" } else { "raw weights" };
        write!(f, "split {}, {weights}, {} view", self.split, self.views)?;
        if self.views == 1 { Ok(()) } else { f.write_str("s") }
    }
}

/// The line of a run and one of its stages that evaluate, if it has any.
fn row(text: &mut String, run: &Run, stage: &str, named: bool) {
    let evaluations = run.evaluations(stage);
    // A run may have evaluated otherwise before it was resumed.
    let now = evaluations.last().map(|report| Measured::of(report));
    let alike = evaluations.iter().filter(|report| Some(Measured::of(report)) == now);
    let best = alike.map(|report| report.precision_at_1).max_by(f64::total_cmp);
    let loss = evaluations.last().map(|report| report.loss);
    let (steps, epochs) = run.reached();
    let mut rates: Vec<f64> = run.history.steps.iter().map(|report| report.images_per_s).collect();
    rates.sort_by(f64::total_cmp);
    let rate = rates.get(rates.len() / 2).copied();
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let _ = writeln!(
        text,
        "| {} | {} | {} | {} | {} |{} {} | {} | {} | {} | {} |",
        run.name.replace('|', "\\|"),
        run.adapters(),
        run.about.seed,
        steps,
        number(epochs, 1),
        if named { format!(" {stage} |") } else { String::new() },
        number(run.last_precision(stage), 4),
        number(best, 4),
        number(loss, 3),
        number(rate, 0),
        duration(run.training_s()),
    );
}

/// The numbers of all runs' curves, at most some hundred of each.
pub fn csv(runs: &[Run]) -> String {
    let mut text = "run,kind,step,epoch,loss,precision_at_1,evaluator\n".to_owned();
    for run in runs {
        let (name, steps) = (field(&run.name), &run.history.steps);
        let every = steps.len().div_ceil(MOST_POINTS).max(1);
        let last = steps.len().saturating_sub(1);
        let kept = steps.iter().enumerate().filter(|(at, _)| at % every == 0 || *at == last);
        for (_, report) in kept {
            let (step, epoch, loss) = (report.step, report.epoch, report.loss_average);
            let _ = writeln!(text, "{name},step,{step},{epoch:.3},{loss:.4},,");
        }
        for report in run.evaluators().into_iter().flat_map(|stage| run.evaluations(stage)) {
            let EvaluationReport { stage, step, epoch, loss, precision_at_1, .. } = report;
            let line = format!("{step},{epoch:.3},{loss:.4},{precision_at_1:.4},{stage}");
            let _ = writeln!(text, "{name},evaluation,{line}");
        }
    }
    text
}

/// A name as a field of a CSV file (RFC 4180).
fn field(name: &str) -> Cow<'_, str> {
    match name.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", name.replace('"', "\"\"")).into(),
        false => name.into(),
    }
}

/// A picture in SVG, a curve for each run, or for each of its stages that evaluate.
pub fn svg(runs: &[Run], shown: Shown) -> String {
    let (title, unit) = match shown {
        Shown::Precision => ("Precision @ 1", "share of images that are taken for what they are"),
        Shown::Loss => ("Training loss", "moving average over steps, weight decay included"),
    };
    let named = shown == Shown::Precision && evaluators(runs).len() > 1;
    let curves = runs.iter().flat_map(|run| {
        let name = move |stage: &str| match named {
            true => format!("{}: {stage}", run.name),
            false => run.name.clone(),
        };
        run.curves(shown).into_iter().map(move |(stage, points)| (name(stage), points))
    });
    report::plot(title, unit, "epoch", Axis::Round, curves)
}

/// Mean and spread of what several runs came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    mean: f64,
    deviation: f64,
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// That of these precisions; `None` without any.
    pub fn of(precisions: &[f64]) -> Option<Self> {
        let mut sorted = precisions.to_vec();
        sorted.sort_by(f64::total_cmp);
        let runs = sorted.len();
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let mean = sorted.iter().sum::<f64>() / runs as f64;
        let squares: f64 = sorted.iter().map(|p| (p - mean).powi(2)).sum();
        let deviation = (squares / (runs.max(2) - 1) as f64).sqrt();
        let median = (sorted[(runs - 1) / 2] + sorted[runs / 2]) / 2.0;
        Some(Self { mean, deviation, median, least, most })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean, deviation, median, least, most } = self;
        write!(
            f,
            "precision @ 1 = {mean:.4} on average (standard deviation {deviation:.4}, median \
             {median:.4}, {least:.4} to {most:.4})"
        )
    }
}

/// Such as `1 h 02 min`, `12.3 min` or `8.5 s`.
fn duration(seconds: f64) -> String {
    match seconds {
        3600.0.. => {
            let minutes = (seconds / 60.0).round() as u64;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
        60.0.. => format!("{:.1} min", seconds / 60.0),
        _ => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::{evaluation, step};
    use compute::adapter::AdapterReport;

    fn run(name: &str, precisions: &[f64]) -> Run {
        let about = About {
            seed: 3,
            adapter: Some(AdapterReport {
                backend: "cpu".into(),
                name: "cpu".into(),
                driver: String::new(),
            }),
            ..About::default()
        };
        let evaluations = precisions.iter().enumerate().map(|(at, precision)| {
            let mut report = evaluation(30 * (at as u64 + 1));
            report.precision_at_1 = *precision;
            report
        });
        let steps = (0..=1000).step_by(10).map(step).collect();
        let history = History { steps, evaluations: evaluations.collect(), torn: None };
        Run { name: name.to_owned(), about, history, stages: Vec::new() }
    }

    #[test]
    fn runs_are_told_beside_each_other() {
        let runs = [run("a", &[0.5, 0.9, 0.8]), run("b", &[0.7]), run("c", &[])];
        let text = markdown(&runs);
        // 1,001 steps of 0.3 s each.
        assert!(
            text.contains(
                "| a | cpu/cpu | 3 | 1001 | 33.4 | 0.8000 | 0.9000 | 2.300 | 1234 | 5.0 min |"
            ),
            "{text}"
        );
        assert!(text.contains("| c | cpu/cpu | 3 | 1001 | 33.4 | - | - | - | 1234 |"), "{text}");
        assert!(text.contains("2 runs: precision @ 1 = 0.7500 on average"), "{text}");
        let numbers = csv(&runs);
        assert!(numbers.contains("a,step,1000,33.367,4.7000,,\n"), "{numbers}");
        assert!(numbers.contains("b,evaluation,30,1.000,2.3000,0.7000,evaluate\n"), "{numbers}");
        let picture = svg(&runs, Shown::Precision);
        assert!(picture.contains("a: 0.5") && picture.contains("epoch"), "{picture}");
    }

    #[test]
    fn what_was_measured_otherwise_has_no_mean_and_is_told() {
        let mut runs = [run("a", &[0.5]), run("b", &[0.7]), run("c", &[0.6])];
        assert!(markdown(&runs).contains("3 runs: "));
        let last = |run: &mut Run, change: fn(&mut EvaluationReport)| {
            run.history.evaluations.iter_mut().for_each(change);
        };
        last(&mut runs[0], |report| report.split = "test".to_owned());
        last(&mut runs[1], |report| report.split = "train".to_owned());
        last(&mut runs[2], |report| (report.split, report.views) = ("test".to_owned(), 10));
        let text = markdown(&runs);
        assert!(!text.contains(" runs: "), "{text}");
        for part in ["have no mean: a: split test", "b: split train", "10 views"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("warning: b was evaluated on the images that it was trained on"));
        // The best of a run is one that was measured as its last.
        let mut moved = run("d", &[0.9, 0.4]);
        moved.history.evaluations[0].averaged ^= true;
        assert!(markdown(&[moved]).contains("| 0.4000 | 0.4000 |"));
    }

    #[test]
    fn each_stage_that_evaluates_has_a_row() {
        let mut runs = [run("a", &[0.5, 0.9]), run("b", &[0.7, 0.8])];
        for (run, precision) in runs.iter_mut().zip([0.2, 0.4]) {
            // In the order of the pipeline, whichever was the faster.
            run.stages = ["read", "first", "evaluate"].map(str::to_owned).to_vec();
            let mut other = evaluation(60);
            (other.stage, other.precision_at_1) = ("first".to_owned(), precision);
            run.history.evaluations.push(other);
        }
        let text = markdown(&runs);
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| a") || line.starts_with("| b"))
            .collect();
        for (row, part) in rows.iter().zip([
            "| 33.4 | first | 0.2000 | 0.2000 |",
            "| 33.4 | evaluate | 0.9000 | 0.9000 |",
            "| 33.4 | first | 0.4000 | 0.4000 |",
            "| 33.4 | evaluate | 0.8000 | 0.8000 |",
        ]) {
            assert!(row.contains(part), "{text}");
        }
        assert_eq!(rows.len(), 4, "{text}");
        assert!(text.contains("2 runs: first: precision @ 1 = 0.3000 on average"), "{text}");
        assert!(text.contains("2 runs: evaluate: precision @ 1 = 0.8500 on average"), "{text}");
        assert!(csv(&runs).contains("b,evaluation,60,2.000,2.3000,0.4000,first\n"));
        assert!(svg(&runs, Shown::Precision).contains("b: first"));
        assert!(!svg(&runs, Shown::Loss).contains("first"));
    }

    #[test]
    fn a_run_is_taken_as_far_as_is_asked() {
        // An epoch is 30 steps, each evaluated at its end; every tenth step is told.
        for (epochs, told) in [
            (2.0, "60 | 2.0 | 0.9000"),
            (1.99, "60 | 2.0 | 0.9000"),
            (1.96, "51 | 1.7 | 0.5000"),
            (2.01, "61 | 2.0 | 0.9000"),
        ] {
            let mut run = run("a", &[0.5, 0.9, 0.8]);
            run.keep_epochs(epochs);
            let text = markdown(&[run]);
            assert!(text.contains(&format!("| a | cpu/cpu | 3 | {told} |")), "{epochs}: {text}");
        }
    }

    #[test]
    fn names_stay_in_their_cells() {
        let runs = [run("a,\"b\"|c", &[0.5])];
        let numbers = csv(&runs);
        assert!(numbers.contains("\n\"a,\"\"b\"\"|c\",evaluation,30,"), "{numbers}");
        assert!(markdown(&runs).contains("\n| a,\"b\"\\|c | cpu/cpu |"));
    }

    #[test]
    fn curves_are_thinned_and_keep_their_end() {
        let mut long = run("long", &[]);
        long.history.steps = (0..1234).map(step).collect();
        let numbers = csv(&[long]);
        assert!(numbers.lines().count() <= MOST_POINTS + 2);
        assert!(numbers.trim_end().ends_with("long,step,1233,41.133,4.7000,,"), "{numbers}");
    }

    #[test]
    fn the_spread_of_some_runs() {
        let text = Spread::of(&[0.8, 0.9, 0.85]).expect("some runs").to_string();
        let expected = "precision @ 1 = 0.8500 on average (standard deviation 0.0500, median \
                        0.8500, 0.8000 to 0.9000)";
        assert_eq!(text, expected);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn durations_have_the_unit_that_fits() {
        assert_eq!(duration(8.46), "8.5 s");
        assert_eq!(duration(754.0), "12.6 min");
        assert_eq!(duration(3725.0), "1 h 02 min");
    }
}
