//! Prints a run's events in the tutorial's form: plain lines in a pipe, and a progress bar on a
//! terminal as well.

mod order;
mod printer;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use self::order::Order;
use self::printer::{Print, Printer};
use base::stop::Stop;
use config::escape::visible;
use fetch::{Progress, Shown};
use flow::event::{Event, Message, Reason};
use flow::plan::Plan;
use flow::reports::{Change, EdgeReport, EvaluationReport, Outcome, StepReport, TowersStep};
use record::run_folder::Ended;
use record::sink::{End, Last, RunState, Sink};

/// Where a run's events are printed.
pub(crate) struct Console {
    printer: Printer,
    order: Order,
    /// The stage that trains, whose lines are in order with those of the stages that evaluate.
    trainer: Option<String>,
    evaluators: Vec<String>,
    facts: Vec<(&'static str, String)>,
    seed: u64,
    started: bool,
    /// Warnings that have been told, and those that wait for the first line.
    told: HashSet<String>,
    early: Vec<String>,
    downloads: Shown,
    last_filling: Option<Instant>,
    /// Where lines are kept as well, and those that came before that was known.
    log: Option<File>,
    unlogged: String,
}

/// Time between two lines about a queue that is being filled.
const FILLING_PERIOD: Duration = Duration::from_secs(1);

/// The most warnings that are told.
const WARNINGS: usize = 1000;

impl Console {
    /// A console for a run of this plan. A reader who takes nothing holds the run up until it is
    /// asked to stop.
    pub(crate) fn new(plan: &Plan, stop: &Stop) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{spinner} {pos}/{len} {bar:30} {msg} {elapsed_precise} (left {eta_precise})",
            );
            let bar = ProgressBar::new(0);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let printer = Printer::new(Box::new(io::stdout()), bar, stop.clone());
        let mut console = Self::printing(printer, plan.settings.seed);
        console.trainer = plan.trainer().map(|at| plan.stages[at].id.clone());
        console.evaluators = plan.evaluators().map(str::to_owned).collect();
        // Their evaluations come first.
        for weights in plan.settings.resume.iter().flat_map(|resume| &resume.lost) {
            console.order.hand_on(weights.progress.steps, console.evaluators.len());
        }
        console
    }

    fn printing(printer: Printer, seed: u64) -> Self {
        Self {
            printer,
            order: Order::default(),
            trainer: None,
            evaluators: Vec::new(),
            facts: Vec::new(),
            seed,
            started: false,
            told: HashSet::new(),
            early: Vec::new(),
            downloads: Shown::default(),
            last_filling: None,
            log: None,
            unlogged: String::new(),
        }
    }

    /// Prints what there is to say of an event.
    fn show(&mut self, message: &Message) {
        match &message.event {
            Event::Fact { key, value } => self.facts.push((key, value.clone())),
            Event::Warning(text) => {
                let trains = self.trainer.as_deref().is_some_and(|stage| message.is_of(stage));
                self.warning(text, trains);
            }
            Event::Filling { stage, have, of } => {
                self.first_line();
                self.filling(stage, *have, *of);
            }
            Event::Download(progress) => self.download(progress),
            Event::Shares(report) => {
                self.first_line();
                self.in_turn(&shares(&report.change));
            }
            Event::Step(report) => {
                self.first_line();
                self.step(report);
            }
            Event::Checkpoint(checkpoint) if checkpoint.reason == Reason::Evaluation => {
                self.first_line();
                self.order.hand_on(checkpoint.weights.progress.steps, self.evaluators.len());
            }
            Event::Evaluation(report) => {
                self.first_line();
                self.evaluation(report);
            }
            Event::Ended => {
                let place = self.evaluators.iter().position(|stage| message.is_of(stage));
                place.into_iter().for_each(|at| self.order.end(at));
            }
            Event::Data(_)
            | Event::Began(_)
            | Event::Diagnosis(_)
            | Event::Trainer(_)
            | Event::Tapped(_)
            | Event::Summary(_)
            | Event::Checkpoint(_)
            | Event::Built
            | Event::Flow(_) => {}
        }
        for text in self.order.ready() {
            self.print(text);
        }
    }

    /// Several stages may find the same thing; it is said once. What is found while stages are
    /// built waits for the first line.
    fn warning(&mut self, text: &str, in_order: bool) {
        if self.told.contains(text) || self.told.len() > WARNINGS {
            return;
        }
        let text = match self.told.len() {
            WARNINGS => "there are more warnings than are shown",
            _ => text,
        };
        self.told.insert(text.to_owned());
        let line = format!("warning: {text}");
        match self.started {
            false => self.early.push(line),
            true if in_order => self.in_turn(&line),
            true => self.line(&line),
        }
    }

    /// How good the weights are; by which stage, where several evaluate.
    fn evaluation(&mut self, report: &EvaluationReport) {
        let stage = if self.evaluators.len() > 1 { &*report.stage } else { "" };
        let text = evaluation(report, stage);
        match self.evaluators.iter().position(|stage| *stage == report.stage) {
            Some(place) => {
                self.keep(&text);
                self.order.evaluation(report.step, place, text);
            }
            None => self.in_turn(&text),
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

    /// Says what came of the run: how good, how fast, which stage the others waited for, and where
    /// everything is.
    pub(crate) fn closing_lines(&mut self, outcome: &Outcome, last: &Last) {
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
        match last.evaluations.as_slice() {
            [] => self.line(&(text + &best(last, None))),
            [one] => self.line(&format!("{text}; {}", reached(one, last))),
            several => {
                self.line(&text);
                for one in several {
                    self.line(&format!("{}: {}", one.stage, reached(one, last)));
                }
            }
        }
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

    /// Shows what still waits for a first line, which will not come, or for other lines.
    fn finish(&mut self) {
        if !self.started {
            self.started = true;
            self.show_warnings();
        }
        for text in self.order.rest() {
            self.print(text);
        }
        self.downloads.finish();
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
        for line in std::mem::take(&mut self.early) {
            self.line(&line);
        }
    }

    fn step(&mut self, report: &StepReport) {
        let (done, of) = (report.step + 1, report.total_steps.unwrap_or(0));
        self.printer.print(Print::Progress { done, of, images_per_s: report.images_per_s });
        let towers = report.towers.as_ref().map_or(String::new(), towers);
        self.in_turn(&format!(
            "{}: step {}, loss = {:.2} ({:.1} examples/sec; {:.3} sec/batch{towers})",
            now(),
            report.step,
            report.loss,
            report.images_per_s,
            report.batch_s
        ));
    }

    /// Keeps a line that is printed elsewhere.
    fn keep(&mut self, text: &str) {
        match &mut self.log {
            // What cannot be kept is printed all the same.
            Some(log) => drop(writeln!(log, "{text}")),
            None => self.unlogged += &format!("{text}\n"),
        }
    }

    /// Prints a line and keeps it.
    pub(crate) fn line(&mut self, text: &str) {
        let text = &*visible(text);
        self.keep(text);
        self.print(text.to_owned());
    }

    /// Keeps a line at once, as the run may be killed, and prints it when its turn has come.
    fn in_turn(&mut self, text: &str) {
        let text = &*visible(text);
        self.keep(text);
        self.order.line(text.to_owned());
    }

    fn print(&mut self, line: String) {
        self.printer.print(Print::Line(line));
    }
}

impl Sink for Console {
    fn is_live(&self) -> bool {
        true
    }

    /// Lines are kept in the run's folder as well, those from before first.
    fn begin(&mut self, run: &mut RunState) -> Result<()> {
        let Some(folder) = &run.folder else { return Ok(()) };
        let path = folder.join("log.txt");
        match OpenOptions::new().create(true).append(true).open(&path) {
            Ok(mut file) => {
                // What cannot be kept has been printed.
                let _ = file.write_all(std::mem::take(&mut self.unlogged).as_bytes());
                self.log = Some(file);
            }
            Err(error) => {
                self.warning(&format!("cannot write {}: {error}", path.display()), false);
            }
        }
        Ok(())
    }

    fn observe(&mut self, message: &Message, _: &mut RunState) -> Result<()> {
        self.show(message);
        Ok(())
    }

    fn end(&mut self, end: &End<'_>, run: &mut RunState) -> Result<()> {
        self.finish();
        match end.outcome {
            Some(outcome) => self.closing_lines(outcome, &run.last),
            // Whoever started the run prints what it failed by.
            None if end.how != Ended::INTERRUPTED => self.keep(&format!("error: {}", end.how)),
            None => {}
        }
        run.last.output = self.printer.finish().map(Arc::new);
        Ok(())
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

/// What a stage that evaluates found last, for the closing lines.
fn reached(report: &EvaluationReport, last: &Last) -> String {
    let precision = report.precision_at_1;
    format!("precision @ 1 = {precision:.3}{}{}", best(last, Some(report)), stand_in(report))
}

/// The best weights, where this stage has chosen them; where any has, if there is none.
fn best(last: &Last, by: Option<&EvaluationReport>) -> String {
    match &last.best {
        Some(best) if by.is_none_or(|report| report.stage == best.stage) => format!(
            " (best {:.3} after step {}, chosen on {} data)",
            best.precision_at_1, best.step, best.chosen_on
        ),
        _ => String::new(),
    }
}

/// The line about an evaluation, with the stage that made it if it is named.
pub(crate) fn evaluation(report: &EvaluationReport, stage: &str) -> String {
    let stage = if stage.is_empty() { String::new() } else { format!("{stage}: ") };
    let stand_in = stand_in(report);
    let weights = if report.averaged { "averaged" } else { "raw" };
    let views = match report.views {
        1 => String::new(),
        views => format!(", mean of {views} views"),
    };
    format!(
        "{}: {stage}precision @ 1 = {:.3} (accuracy on {} images, each once; step {}, {weights} \
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
    use std::sync::Mutex;

    use super::*;
    use flow::reports::{QueueReport, StageReport};

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
        let printer = Printer::new(Box::new(kept.clone()), None, Stop::default());
        let mut console = Console::printing(printer, 7);
        show(&mut console);
        assert!(console.printer.finish().is_none());
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
                console.show(&event.into());
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
            console.show(&Event::Filling { stage: "s".to_owned(), have: 1, of: 2 }.into());
        });
        assert!(text.contains("s: 1 of 2 images gathered"), "{text}");
    }

    #[test]
    fn warnings_are_shown_though_the_run_never_begins() {
        let text = printed(|console| {
            console.show(&warning("early").into());
            console.finish();
        });
        assert_eq!(text, "warning: early\n");
    }

    #[test]
    fn warnings_without_end_are_not_all_shown() {
        let text = printed(|console| {
            for number in 0..3 * WARNINGS {
                console.show(&warning(&format!("number {number}")).into());
            }
            console.finish();
        });
        assert_eq!(text.lines().count(), WARNINGS + 1);
        assert!(text.ends_with("\nwarning: there are more warnings than are shown\n"), "{text}");
    }

    #[test]
    fn each_stage_that_evaluates_has_its_closing_line() {
        use record::checkpoint::Best;
        let report = |stage: &str, precision_at_1| EvaluationReport {
            stage: stage.to_owned(),
            precision_at_1,
            ..EvaluationReport::default()
        };
        let best = Best {
            step: 3,
            file: String::new(),
            precision_at_1: 0.75,
            chosen_on: "test".to_owned(),
            averaged: true,
            stage: "one".to_owned(),
        };
        let mut last = Last {
            evaluations: vec![report("one", 0.5), report("other", 0.25)],
            best: Some(best),
            ..Last::default()
        };
        let closed = |last: &Last| printed(|c| c.closing_lines(&Outcome::default(), last));
        assert_eq!(
            closed(&last),
            "done; time: 0.0 s\n\
             one: precision @ 1 = 0.500 (best 0.750 after step 3, chosen on test data)\n\
             other: precision @ 1 = 0.250\n"
        );
        last.evaluations.pop();
        assert_eq!(
            closed(&last),
            "done; time: 0.0 s; precision @ 1 = 0.500 (best 0.750 after step 3, chosen on test \
             data)\n"
        );
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
