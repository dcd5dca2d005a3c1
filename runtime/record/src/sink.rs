//! What listens to a run: the console, `metrics.jsonl`, TensorBoard's files, the report and the
//! checkpoints are sinks, and a program of its own can add others.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use crate::checkpoint::Best;
use crate::metrics::History;
use crate::run_folder::{About, Held};
use compute::adapter::variants::RunRecord;
use flow::event::{Event, Message};
use flow::reports::{DataReport, EvaluationReport, Outcome};

/// Listens to a run.
///
/// An error of a sink is a warning, and the run goes on. Of several errors of one kind, the first is
/// told.
pub trait Sink: Send {
    /// Whether it observes messages from the first one on. Other sinks begin once all stages are
    /// built, and observe what came before right after that.
    fn is_live(&self) -> bool {
        false
    }

    /// All stages are built, and the run has a folder.
    ///
    /// # Errors
    /// If it cannot begin. The run ends then.
    fn begin(&mut self, _run: &mut RunState) -> Result<()> {
        Ok(())
    }

    /// Something happened.
    ///
    /// # Errors
    /// If it cannot be kept.
    fn observe(&mut self, message: &Message, run: &mut RunState) -> Result<()>;

    /// Has everything so far on the disk: a checkpoint follows, and a run that is resumed from it
    /// does not do again what came before.
    ///
    /// # Errors
    /// If the disk fails.
    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    /// The run is over.
    ///
    /// # Errors
    /// If what is left cannot be kept.
    fn end(&mut self, _end: &End<'_>, _run: &mut RunState) -> Result<()> {
        Ok(())
    }
}

/// What is known of a run. Sinks add what they know to it.
#[derive(Debug, Default)]
pub struct RunState {
    /// What the run is.
    pub about: About,
    /// Its folder, once there is one. A run that trains nothing has none.
    pub folder: Option<PathBuf>,
    /// The same, to be asked whether its path still leads to it.
    pub held: Option<Arc<Held>>,
    /// The pipeline as YAML, with all defaults.
    pub pipeline: String,
    /// The ids of the stages that evaluate, in the order of the pipeline.
    pub evaluators: Vec<String>,
    /// The steps that had been done before, if it was resumed.
    pub resumed_after: Option<u64>,
    /// Whether it was resumed, and evaluates on other images than before.
    pub evaluates_other_data: bool,
    /// What the run had measured before, while sinks begin.
    pub history: History,
    /// What runs on its adapters, once that is known.
    pub ran: Option<RunRecord>,
    /// What the closing lines are made of.
    pub last: Last,
}

/// What a run's closing lines are made of.
#[derive(Clone, Debug, Default)]
pub struct Last {
    /// The latest checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// The last evaluation of each stage that evaluates, in the order of the pipeline.
    pub evaluations: Vec<EvaluationReport>,
    /// The best.
    pub best: Option<Best>,
    /// Why the latest weights could not be kept.
    pub failure: Option<String>,
    /// The report.
    pub report: Option<PathBuf>,
    /// The data that was read.
    pub data: Vec<DataReport>,
    /// The run's folder.
    pub folder: Option<PathBuf>,
    /// The steps that had been done before, if none was added.
    pub idle_after: Option<u64>,
    /// Why standard output could not be written to.
    pub output: Option<Arc<io::Error>>,
}

impl RunState {
    /// Takes note of an evaluation.
    pub(crate) fn evaluated(&mut self, report: &EvaluationReport) {
        let evaluations = &mut self.last.evaluations;
        evaluations.retain(|known| known.stage != report.stage);
        evaluations.push(report.clone());
        let place = |stage: &str| self.evaluators.iter().position(|known| known == stage);
        // Stages that the pipeline no longer has come last.
        evaluations.sort_by_key(|report| place(&report.stage).unwrap_or(usize::MAX));
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// `done`, `interrupted`, or what went wrong.
    pub how: &'a str,
    /// What the stages did, unless it failed.
    pub outcome: Option<&'a Outcome>,
}

/// The sinks of a run.
#[derive(Default)]
pub(crate) struct Sinks {
    all: Vec<Box<dyn Sink>>,
    told: HashSet<Fault>,
}

/// What tells one fault from another: the sink that has it, and its kind. Texts do not count, as
/// they may hold numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fault {
    sink: usize,
    kind: Option<io::ErrorKind>,
}

impl Sinks {
    pub(crate) fn add(&mut self, sink: Box<dyn Sink>) {
        self.all.push(sink);
    }

    pub(crate) fn begin(&mut self, run: &mut RunState) -> Result<()> {
        self.all.iter_mut().try_for_each(|sink| sink.begin(run))
    }

    /// Has these sinks observe a message, and all sinks the faults that come of it.
    pub(crate) fn observe(
        &mut self,
        message: &Message,
        run: &mut RunState,
        who: &dyn Fn(&dyn Sink) -> bool,
    ) {
        let mut faults = Vec::new();
        if matches!(message.event, Event::Checkpoint(_)) {
            self.each(|sink| if who(sink) { sink.sync() } else { Ok(()) }, &mut faults);
        }
        self.each(|sink| if who(sink) { sink.observe(message, run) } else { Ok(()) }, &mut faults);
        for fault in faults {
            self.observe(&Event::Warning(fault).into(), run, who);
        }
    }

    /// Ends the sinks that are not live, then those that are, which are told of their faults.
    pub(crate) fn end(&mut self, end: &End<'_>, run: &mut RunState, begun: bool) {
        let mut faults = Vec::new();
        if begun {
            let kept = |sink: &mut dyn Sink| match sink.is_live() {
                true => Ok(()),
                false => sink.end(end, run),
            };
            self.each(kept, &mut faults);
        }
        for fault in faults {
            self.observe(&Event::Warning(fault).into(), run, &|sink| sink.is_live());
        }
        let live = |sink: &mut dyn Sink| match sink.is_live() {
            true => sink.end(end, run),
            false => Ok(()),
        };
        // Their own faults cannot be told any more.
        self.each(live, &mut Vec::new());
    }

    /// Does something with each sink; adds the faults that have not been told.
    fn each(
        &mut self,
        mut work: impl FnMut(&mut dyn Sink) -> Result<()>,
        faults: &mut Vec<String>,
    ) {
        for (at, sink) in self.all.iter_mut().enumerate() {
            let Err(error) = work(&mut **sink) else { continue };
            let cause = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
            let kind = cause.map(io::Error::kind);
            if self.told.insert(Fault { sink: at, kind }) {
                faults.push(format!("{error:#}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use anyhow::{Context as _, bail};

    use super::*;

    /// Fails at each event but warnings, and keeps these.
    struct Failing {
        kinds: Vec<io::ErrorKind>,
        failed: usize,
        warnings: Arc<Mutex<Vec<String>>>,
    }

    impl Sink for Failing {
        fn observe(&mut self, message: &Message, _: &mut RunState) -> Result<()> {
            if let Event::Warning(text) = &message.event {
                self.warnings.lock().expect("no panic").push(text.clone());
                return Ok(());
            }
            self.failed += 1;
            let Some(kind) = self.kinds.get(self.failed - 1) else { bail!("no I/O") };
            Err(io::Error::from(*kind)).with_context(|| format!("{} bytes wait", self.failed))
        }
    }

    #[test]
    fn a_fault_is_told_once_by_its_place_and_kind() {
        let warnings = Arc::default();
        let failing = |kinds: &[io::ErrorKind]| {
            let (kinds, warnings) = (kinds.to_vec(), Arc::clone(&warnings));
            Box::new(Failing { kinds, failed: 0, warnings })
        };
        let full = io::ErrorKind::StorageFull;
        let mut sinks = Sinks::default();
        sinks.add(failing(&[full; 3]));
        sinks.add(failing(&[full, io::ErrorKind::PermissionDenied, full]));
        for _ in 0..5 {
            sinks.observe(&Event::Built.into(), &mut RunState::default(), &|_| true);
        }
        let told = warnings.lock().expect("no panic").clone();
        // Each warning reaches both.
        let first: Vec<&str> = told.iter().step_by(2).map(String::as_str).collect();
        assert_eq!(told.len(), 2 * first.len());
        let kinds =
            ["1 bytes wait: ", "1 bytes wait: ", "2 bytes wait: permission", "no I/O", "no I/O"];
        assert_eq!(first.len(), kinds.len(), "{first:?}");
        for (told, kind) in first.iter().zip(kinds) {
            assert!(told.starts_with(kind), "{first:?}");
        }
    }

    #[test]
    fn the_last_evaluations_are_in_the_order_of_the_pipeline() {
        use crate::metrics::tests::evaluation;
        let mut run = RunState { evaluators: vec!["a".into(), "b".into()], ..RunState::default() };
        for (stage, step) in [("b", 1), ("gone", 1), ("a", 1), ("b", 2)] {
            run.evaluated(&EvaluationReport { stage: stage.to_owned(), ..evaluation(step) });
        }
        let last = run.last.evaluations.iter();
        let last: Vec<_> = last.map(|report| (report.stage.as_str(), report.step)).collect();
        assert_eq!(last, [("a", 1), ("b", 2), ("gone", 1)]);
    }
}
