//! Prints a run's events in the tutorial's form: plain lines in a pipe, and a progress bar on a
//! terminal as well.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::event::Event;
use crate::fetch::Shown;
use crate::record::Last;
use crate::reports::{
    Change, EdgeReport, EvaluationReport, Outcome, Progress, StepReport, TowersStep,
};

/// Where a run's events are printed.
pub struct Console {
    bar: Option<ProgressBar>,
    out: Box<dyn Write + Send>,
    facts: Vec<(&'static str, String)>,
    seed: u64,
    started: bool,
    warnings: Vec<String>,
    downloads: Shown,
    last_filling: Option<Instant>,
    failure: Option<io::Error>,
    /// Where lines are kept as well, and those that came before that was known.
    log: Option<File>,
    unlogged: String,
}

/// Time between two lines about a queue that is being filled.
const FILLING_PERIOD: Duration = Duration::from_secs(1);

impl Console {
    /// A console for a run with this seed.
    pub fn new(seed: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{spinner} {pos}/{len} {bar:30} {msg} {elapsed_precise} (left {eta_precise})",
            );
            let bar = ProgressBar::new(0);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, ..Self::printing(Box::new(io::stdout()), seed) }
    }

    /// A console that says nothing: another process of the job does.
    pub fn silent(seed: u64) -> Self {
        Self::printing(Box::new(io::sink()), seed)
    }

    /// A console without a progress bar that prints here.
    fn printing(out: Box<dyn Write + Send>, seed: u64) -> Self {
        Self {
            bar: None,
            out,
            facts: Vec::new(),
            seed,
            started: false,
            warnings: Vec::new(),
            downloads: Shown::default(),
            last_filling: None,
            failure: None,
            log: None,
            unlogged: String::new(),
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
            Event::Download(progress) => self.download(&progress),
            Event::Data(_)
            | Event::Diagnosis(_)
            | Event::Trainer(_)
            | Event::Tapped(_)
            | Event::Summary(_)
            | Event::Checkpoint(_)
            | Event::Flow(_) => {}
            Event::Shares(report) => {
                self.first_line();
                self.line(&shares(&report.change));
            }
            Event::Step(report) => {
                self.first_line();
                self.step(&report);
            }
            Event::Evaluation(report) => {
                self.first_line();
                self.line(&evaluation(&report));
            }
        }
    }

    /// Several stages may find the same thing; it is said once. What is found while stages are
    /// built waits for the first line.
    fn warning(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            if self.started {
                self.line(&format!("warning: {text}"));
            }
            self.warnings.push(text);
        }
    }

    /// A queue that fills quickly is not worth a line.
    fn filling(&mut self, stage: &str, have: u64, of: u64) {
        let last = *self.last_filling.get_or_insert_with(Instant::now);
        if last.elapsed() >= FILLING_PERIOD {
            self.last_filling = Some(Instant::now());
            self.line(&format!("{}: {stage}: {have} of {of} images gathered", now()));
        }
    }

    /// Comes before the first line, which tells of the data.
    fn download(&mut self, progress: &Progress) {
        let mut shown = std::mem::take(&mut self.downloads);
        shown.show(progress, |text| self.line(text));
        self.downloads = shown;
    }

    /// Whether there is no file yet that lines are kept in.
    pub fn wants_log(&self) -> bool {
        self.log.is_none()
    }

    /// Keeps lines in this file as well, those from before first.
    pub fn log_to(&mut self, mut file: File) {
        // What cannot be kept has been printed.
        let _ = file.write_all(std::mem::take(&mut self.unlogged).as_bytes());
        self.log = Some(file);
    }

    /// Says what came of the run: how good, how fast, which stage the others waited for, and where
    /// everything is.
    pub fn closing_lines(&mut self, outcome: &Outcome, last: &Last) {
        if let (Some(steps), false) = (last.idle_after, outcome.interrupted) {
            self.line(&format!(
                "done already, after step {steps}: a higher limit lets it go on, as in \
                 `--set epochs=20`"
            ));
            return self.places(last);
        }
        let how = if outcome.interrupted { "interrupted" } else { "done" };
        let mut text = format!("{how}; time: {:.1} s", outcome.elapsed.as_secs_f64());
        if let Some(rate) = images_per_s(outcome) {
            text += &format!("; {rate:.0} images/s");
        }
        if let Some(evaluation) = &last.evaluation {
            text += &format!("; precision @ 1 = {:.3}", evaluation.precision_at_1);
        }
        if let Some(best) = &last.best {
            text += &format!(
                " (best {:.3} after step {}, chosen on {} data)",
                best.precision_at_1, best.step, best.chosen_on
            );
        }
        if let Some(evaluation) = &last.evaluation {
            text += &stand_in(evaluation);
        }
        self.line(&text);
        let bottleneck = outcome.bottleneck();
        if !bottleneck.is_empty() {
            let names: Vec<&str> = bottleneck.iter().map(|stage| stage.id.as_str()).collect();
            let busy: f64 = bottleneck.iter().map(|stage| outcome.busy(stage)).sum();
            let (before, behind) = waits(outcome, &names);
            self.line(&format!(
                "the bottleneck was {} (busy {:.0} %): stages before it waited {:.1} s for it, \
                 those behind it {:.1} s",
                names.join(" with "),
                100.0 * busy,
                before.as_secs_f64(),
                behind.as_secs_f64()
            ));
        }
        self.places(last);
    }

    /// Says where everything is.
    fn places(&mut self, last: &Last) {
        for (what, path) in [("checkpoint", &last.checkpoint), ("report", &last.report)] {
            if let Some(path) = path {
                self.line(&format!("{what}: {}", path.display()));
            }
        }
    }

    /// Takes the progress bar off the screen. Warnings that still wait for a first line, which
    /// will not come, are shown.
    pub fn finish(&mut self) {
        if !self.started {
            self.started = true;
            self.show_warnings();
        }
        self.downloads.finish();
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
        self.show_warnings();
    }

    fn show_warnings(&mut self) {
        for text in self.warnings.clone() {
            self.line(&format!("warning: {text}"));
        }
    }

    fn step(&mut self, report: &StepReport) {
        if let Some(bar) = &self.bar {
            bar.set_length(report.total_steps.unwrap_or(0));
            bar.set_position(report.step + 1);
            bar.set_message(format!("{:.0} images/s", report.images_per_s));
        }
        let towers = report.towers.as_ref().map_or(String::new(), towers);
        self.line(&format!(
            "{}: step {}, loss = {:.2} ({:.1} examples/sec; {:.3} sec/batch{towers})",
            now(),
            report.step,
            report.loss,
            report.images_per_s,
            report.batch_s
        ));
    }

    /// Keeps a line that is printed elsewhere.
    pub fn keep(&mut self, text: &str) {
        match &mut self.log {
            // What cannot be kept is printed all the same.
            Some(log) => drop(writeln!(log, "{text}")),
            None => self.unlogged += &format!("{text}\n"),
        }
    }

    /// Prints a line and keeps it.
    pub fn line(&mut self, text: &str) {
        self.keep(text);
        let mut print = || writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        let printed = match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        };
        if let Err(error) = printed {
            self.failure.get_or_insert(error);
        }
    }

    /// Why nothing can be printed any more, if that is so.
    pub fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Whether nothing can be printed any more: a run that nobody can follow need not go on.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }
}

/// What each of several adapters did.
fn towers(report: &TowersStep) -> String {
    let each: Vec<String> =
        report.each.iter().map(|t| format!("{} {:.1}/s", t.name, t.images_per_s)).collect();
    let exchanged = match report.exchange_ms {
        0.0 => String::new(),
        ms => format!(", exchanged {ms:.1} ms"),
    };
    format!("; {}; waited {:.1} ms{exchanged}", each.join(", "), report.wait_ms)
}

/// The line about other shares.
fn shares(change: &Change) -> String {
    let each: Vec<String> =
        change.shares.iter().map(|(tower, images)| format!("{tower} {images}")).collect();
    format!("{}: images of each batch from step {} on: {}", now(), change.step, each.join(", "))
}

/// The line about an evaluation.
pub(crate) fn evaluation(report: &EvaluationReport) -> String {
    let stand_in = stand_in(report);
    let weights = if report.averaged { "averaged" } else { "raw" };
    let views = match report.views {
        1 => String::new(),
        views => format!(", mean of {views} views"),
    };
    format!(
        "{}: precision @ 1 = {:.3} (accuracy on {} images, each once; step {}, {weights} \
         weights{views}, cross-entropy {:.3}{stand_in})",
        now(),
        report.precision_at_1,
        report.images,
        report.step,
        report.loss,
    )
}

/// That figures are not about the data that was asked for.
fn stand_in(report: &EvaluationReport) -> String {
    match &report.stands_in_for {
        Some(real) => format!("; on drawn stand-in images, NOT {real}"),
        None => String::new(),
    }
}

/// How long the stages right before and right behind some stages waited for them.
fn waits(outcome: &Outcome, stages: &[&str]) -> (Duration, Duration) {
    let queues = |at: fn(&EdgeReport) -> &String| {
        let theirs = outcome.edges.iter().filter(move |edge| stages.contains(&at(edge).as_str()));
        theirs.filter_map(|edge| edge.queue.as_ref())
    };
    let before = queues(|edge| &edge.to).map(|queue| queue.full_wait).sum();
    let behind = queues(|edge| &edge.from).map(|queue| queue.empty_wait).sum();
    (before, behind)
}

/// Images that what trains took in, by the second.
fn images_per_s(outcome: &Outcome) -> Option<f64> {
    let trained = outcome.edges.iter().filter(|edge| edge.trains).filter_map(|e| e.queue.as_ref());
    let images = trained.map(|queue| queue.images).max()?;
    Some(images as f64 / outcome.elapsed.as_secs_f64().max(f64::MIN_POSITIVE))
}

fn now() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::reports::{QueueReport, StageReport};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is printed.
    fn printed(show: impl FnOnce(&mut Console)) -> String {
        let kept = Kept::default();
        show(&mut Console::printing(Box::new(kept.clone()), 7));
        let bytes = kept.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text")
    }

    fn fact(key: &'static str) -> Event {
        Event::Fact { key, value: key.to_uppercase() }
    }

    fn warning(text: &str) -> Event {
        Event::Warning(text.to_owned())
    }

    #[test]
    fn warnings_come_right_after_the_first_line() {
        let text = printed(|console| {
            for event in [
                fact("data"),
                warning("early"),
                fact("adapter"),
                warning("early"),
                Event::Filling { stage: "s".to_owned(), have: 1, of: 2 },
                warning("late"),
                warning("early"),
            ] {
                console.show(event);
            }
            console.finish();
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["adapter: ADAPTER | data: DATA | seed: 7", "warning: early"]);
        // A queue that has only begun to be filled is not worth a line.
        assert_eq!(lines[2..], ["warning: late"]);
    }

    #[test]
    fn a_queue_that_takes_long_to_fill_is_told() {
        let text = printed(|console| {
            console.last_filling = Instant::now().checked_sub(FILLING_PERIOD);
            console.show(Event::Filling { stage: "s".to_owned(), have: 1, of: 2 });
        });
        assert!(text.contains("s: 1 of 2 images gathered"), "{text}");
    }

    #[test]
    fn warnings_are_shown_though_the_run_never_begins() {
        let text = printed(|console| {
            console.show(warning("early"));
            console.finish();
        });
        assert_eq!(text, "warning: early\n");
    }

    #[test]
    fn the_closing_lines_name_the_bottleneck_and_who_waited_for_it() {
        let stage = |id: &str, workers, busy| StageReport {
            id: id.to_owned(),
            kind: "stage",
            workers,
            items_out: 1,
            busy: Duration::from_millis(busy),
            input_wait: Duration::ZERO,
            output_wait: Duration::ZERO,
        };
        let edge = |from: &str, to: &str, full, empty| EdgeReport {
            from: from.to_owned(),
            to: to.to_owned(),
            carries: String::new(),
            trains: to == "narrow",
            queue: Some(QueueReport {
                items: 1,
                images: 5000,
                capacity: 1,
                mean_fill: 0.5,
                full_wait: Duration::from_millis(full),
                empty_wait: Duration::from_millis(empty),
            }),
        };
        let outcome = Outcome {
            stages: vec![stage("wide", 4, 9000), stage("narrow", 1, 9500)],
            edges: vec![edge("wide", "narrow", 1500, 300), edge("narrow", "end", 200, 2500)],
            elapsed: Duration::from_secs(10),
            interrupted: false,
        };
        let last = Last { report: Some("runs/a/report.html".into()), ..Last::default() };
        let text = printed(|console| console.closing_lines(&outcome, &last));
        assert_eq!(
            text,
            "done; time: 10.0 s; 500 images/s\n\
             the bottleneck was narrow (busy 95 %): stages before it waited 1.5 s for it, those \
             behind it 2.5 s\n\
             report: runs/a/report.html\n"
        );
    }
}
