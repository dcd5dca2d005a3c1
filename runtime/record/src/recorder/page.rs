//! `report.html`, written anew at each evaluation and at the end.

use std::path::PathBuf;

use anyhow::Result;

use super::{name_of, report_file};
use crate::report::{Facts, Report};
use crate::sink::{End, RunState, Sink};
use flow::event::{Checkpoint, Event, Message, Reason};
use flow::plan::Plan;
use flow::stage::Resume;

/// The sink.
pub(super) fn sink(plan: &Plan) -> Box<dyn Sink> {
    let resume = plan.settings.resume.clone();
    Box::new(Page { resume, begun: None, measured: false })
}

/// The page about a run.
struct Page {
    /// The weights that the run goes on from, whose filters are shown.
    resume: Option<Resume>,
    begun: Option<(Report, PathBuf)>,
    /// Whether there was a step or an evaluation in this process.
    measured: bool,
}

impl Page {
    fn write(&self, run: &mut RunState) -> Result<()> {
        let Some((report, path)) = &self.begun else { return Ok(()) };
        // The page of a run that is done already has more to show than is known here.
        if self.measured || !path.exists() {
            report.write(path)?;
        }
        run.last.report = Some(path.clone());
        Ok(())
    }
}

impl Sink for Page {
    fn begin(&mut self, run: &mut RunState) -> Result<()> {
        let Some(folder) = &run.folder else { return Ok(()) };
        let facts = Facts {
            name: name_of(folder),
            seed: run.about.seed,
            version: run.about.program.clone(),
            command: run.about.command.join(" "),
            started: run.about.started.clone(),
            configuration: run.pipeline.clone(),
        };
        let mut report = Report::new("Gradflow", facts).evaluated_by(&run.evaluators);
        report.restore(&run.history);
        if let Some(Resume { weights, .. }) = self.resume.take() {
            let reason = Reason::Period;
            report.observe(&Event::Checkpoint(Checkpoint { weights, reason }));
        }
        self.begun = Some((report, report_file(folder)));
        Ok(())
    }

    fn observe(&mut self, message: &Message, run: &mut RunState) -> Result<()> {
        let event = &message.event;
        if let Some((report, _)) = &mut self.begun {
            report.observe(event);
        }
        self.measured |= matches!(event, Event::Step(_) | Event::Evaluation(_));
        // It follows each evaluation.
        if matches!(event, Event::Flow(_)) { self.write(run) } else { Ok(()) }
    }

    fn end(&mut self, end: &End<'_>, run: &mut RunState) -> Result<()> {
        if let Some((report, _)) = &mut self.begun {
            report.observe(&match end.outcome {
                Some(outcome) => Event::Flow(outcome.clone()),
                None => Event::Warning(format!("the run failed: {}", end.how)),
            });
        }
        self.write(run)
    }
}
