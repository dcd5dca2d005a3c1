//! Prints a run's events in the tutorial's form: plain lines in a pipe, and a progress bar on a
//! terminal as well.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::event::{EvaluationReport, Event, StepReport};

/// Where a run's events are printed.
pub struct Console {
    bar: Option<ProgressBar>,
    facts: Vec<(&'static str, String)>,
    seed: u64,
    started: bool,
    last_evaluation: Option<EvaluationReport>,
    warnings: Vec<String>,
    last_filling: Option<Instant>,
}

/// Time between two lines about a queue that is being filled.
const FILLING_PERIOD: Duration = Duration::from_secs(1);

impl Console {
    /// A console for a run with this seed.
    pub fn new(seed: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{spinner} {pos}/{len} {bar:30} {msg} {elapsed_precise} (left {eta_precise})",
            );
            let bar = ProgressBar::new(0);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            facts: Vec::new(),
            seed,
            started: false,
            last_evaluation: None,
            warnings: Vec::new(),
            last_filling: None,
        }
    }

    /// Prints one event.
    pub fn show(&mut self, event: Event) {
        match event {
            Event::Fact { key, value } => self.facts.push((key, value)),
            Event::Warning(text) => self.warning(text),
            Event::Filling { stage, have, of } => {
                self.first_line();
                self.filling(&stage, have, of);
            }
            Event::Step(report) => {
                self.first_line();
                self.step(&report);
            }
            Event::Evaluation(report) => {
                self.first_line();
                self.evaluation(&report);
                self.last_evaluation = Some(report);
            }
        }
    }

    /// Several stages may find the same thing; it is said once.
    fn warning(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.line(&format!("warning: {text}"));
            self.warnings.push(text);
        }
    }

    /// A queue that fills quickly is not worth a line for each thousand images.
    fn filling(&mut self, stage: &str, have: u64, of: u64) {
        if self.last_filling.is_none_or(|last| last.elapsed() >= FILLING_PERIOD) {
            self.last_filling = Some(Instant::now());
            self.line(&format!("{}: {stage}: {have} of {of} images in the queue", now()));
        }
    }

    /// The last evaluation seen.
    pub fn last_evaluation(&self) -> Option<&EvaluationReport> {
        self.last_evaluation.as_ref()
    }

    /// Takes the progress bar off the screen.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Adapter, model, data and seed: all known once the first stage speaks.
    fn first_line(&mut self) {
        if self.started {
            return;
        }
        self.started = true;
        let order = ["adapter", "model", "data"];
        let mut facts = std::mem::take(&mut self.facts);
        facts.sort_by_key(|(key, _)| order.iter().position(|known| known == key));
        let mut parts: Vec<String> = facts.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        parts.push(format!("seed: {}", self.seed));
        self.line(&parts.join(" | "));
    }

    fn step(&self, report: &StepReport) {
        if let Some(bar) = &self.bar {
            bar.set_length(report.total_steps.unwrap_or(0));
            bar.set_position(report.step + 1);
            bar.set_message(format!("{:.0} images/s", report.images_per_s));
        }
        self.line(&format!(
            "{}: step {}, loss = {:.2} ({:.1} examples/sec; {:.3} sec/batch)",
            now(),
            report.step,
            report.loss,
            report.images_per_s,
            report.batch_s
        ));
    }

    fn evaluation(&self, report: &EvaluationReport) {
        let stand_in = match &report.stands_in_for {
            Some(real) => format!("; on drawn stand-in images, NOT {real}"),
            None => String::new(),
        };
        let weights = if report.averaged { "averaged" } else { "raw" };
        self.line(&format!(
            "{}: precision @ 1 = {:.3} (accuracy on {} images, each once; step {}, {weights} \
             weights, cross-entropy {:.3}{stand_in})",
            now(),
            report.precision_at_1,
            report.images,
            report.step,
            report.loss,
        ));
    }

    fn line(&self, text: &str) {
        let print = || {
            // A reader that went away ends the output, not the run.
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

fn now() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}
