//! Several runs beside each other, from what their folders hold.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::metrics::{self, History};
use crate::provenance;
use crate::report::{self, Axis};
use crate::reports::EvaluationReport;
use crate::run_folder::{self, About};

/// Points of a curve in a table of numbers: enough to draw it again.
const MOST_POINTS: usize = 200;

/// A run's numbers.
#[derive(Debug)]
pub struct Run {
    name: String,
    about: About,
    history: History,
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
            Ok(Self { name, about, history })
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

    /// The evaluations of the stage that evaluated last.
    fn evaluations(&self) -> Vec<&EvaluationReport> {
        let all = &self.history.evaluations;
        let Some(last) = all.last() else { return Vec::new() };
        all.iter().filter(|report| report.stage == last.stage).collect()
    }

    fn last_precision(&self) -> Option<f64> {
        self.evaluations().last().map(|report| report.precision_at_1)
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

    fn curve(&self, shown: Shown) -> Vec<(f64, f64)> {
        match shown {
            Shown::Precision => {
                let evaluations = self.evaluations().into_iter();
                evaluations.map(|report| (report.epoch, report.precision_at_1)).collect()
            }
            Shown::Loss => {
                let steps = self.history.steps.iter();
                steps.map(|report| (report.epoch, report.loss_average)).collect()
            }
        }
    }
}

/// A table in Markdown, a run a line, and the spread of what several came to.
pub fn markdown(runs: &[Run]) -> String {
    let mut text =
        "| run | adapter | seed | steps | epochs | precision @ 1 | best | cross-entropy \
                    | images/s | training |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for run in runs {
        let evaluations = run.evaluations();
        let precisions = evaluations.iter().map(|report| report.precision_at_1);
        let best = precisions.max_by(f64::total_cmp);
        let loss = evaluations.last().map(|report| report.loss);
        let last = run.history.steps.last();
        let mut rates: Vec<f64> =
            run.history.steps.iter().map(|report| report.images_per_s).collect();
        rates.sort_by(f64::total_cmp);
        let rate = rates.get(rates.len() / 2).copied();
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            run.name.replace('|', "\\|"),
            run.adapters(),
            run.about.seed,
            last.map_or(0, |report| report.step + 1),
            number(last.map(|report| report.epoch), 1),
            number(run.last_precision(), 4),
            number(best, 4),
            number(loss, 3),
            number(rate, 0),
            duration(run.training_s()),
        );
    }
    let precisions: Vec<f64> = runs.iter().filter_map(Run::last_precision).collect();
    if let (Some(spread), 2..) = (Spread::of(&precisions), precisions.len()) {
        let _ = writeln!(text, "\n{} runs: {spread}", precisions.len());
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

/// The numbers of all runs' curves, at most some hundred of each.
pub fn csv(runs: &[Run]) -> String {
    let mut text = "run,kind,step,epoch,loss,precision_at_1\n".to_owned();
    for run in runs {
        let (name, steps) = (field(&run.name), &run.history.steps);
        let every = steps.len().div_ceil(MOST_POINTS).max(1);
        let last = steps.len().saturating_sub(1);
        let kept = steps.iter().enumerate().filter(|(at, _)| at % every == 0 || *at == last);
        for (_, report) in kept {
            let (step, epoch, loss) = (report.step, report.epoch, report.loss_average);
            let _ = writeln!(text, "{name},step,{step},{epoch:.3},{loss:.4},");
        }
        for report in run.evaluations() {
            let EvaluationReport { step, epoch, loss, precision_at_1, .. } = report;
            let line = format!("{step},{epoch:.3},{loss:.4},{precision_at_1:.4}");
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

/// A picture in SVG, a curve for each run.
pub fn svg(runs: &[Run], shown: Shown) -> String {
    let (title, unit) = match shown {
        Shown::Precision => ("Precision @ 1", "share of images that are taken for what they are"),
        Shown::Loss => ("Training loss", "moving average over steps, weight decay included"),
    };
    let curves = runs.iter().map(|run| (run.name.clone(), run.curve(shown)));
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

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    use crate::adapter::AdapterReport;
    use crate::metrics::tests::{evaluation, step};

    fn run(name: &str, precisions: &[f64]) -> Run {
        let about = About {
            program: String::new(),
            command: Vec::new(),
            started: String::new(),
            seed: 3,
            pipeline: String::new(),
            folder: "".into(),
            data_path: None,
            adapter_asked: None,
            adapters_asked: None,
            adapter: Some(AdapterReport {
                backend: "cpu".into(),
                name: "cpu".into(),
                driver: String::new(),
            }),
            towers: Vec::new(),
            data: Vec::new(),
            resumed: Vec::new(),
            ended: None,
        };
        let evaluations = precisions.iter().enumerate().map(|(at, precision)| {
            let mut report = evaluation(30 * (at as u64 + 1));
            report.precision_at_1 = *precision;
            report
        });
        let steps = (0..=1000).step_by(10).map(step).collect();
        let history = History { steps, evaluations: evaluations.collect(), torn: None };
        Run { name: name.to_owned(), about, history }
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
        assert!(numbers.contains("a,step,1000,33.367,4.7000,\n"), "{numbers}");
        assert!(numbers.contains("b,evaluation,30,1.000,2.3000,0.7000\n"), "{numbers}");
        let picture = svg(&runs, Shown::Precision);
        assert!(picture.contains("a: 0.5") && picture.contains("epoch"), "{picture}");
    }

    #[test]
    fn a_run_is_taken_as_far_as_is_asked() {
        // An epoch is 30 steps, each evaluated at its end; every tenth step is told.
        for (epochs, told) in [
            (2.0, "51 | 1.7 | 0.9000"),
            (1.99, "51 | 1.7 | 0.9000"),
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
        assert!(numbers.trim_end().ends_with("long,step,1233,41.133,4.7000,"), "{numbers}");
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
