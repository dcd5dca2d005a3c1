//! A sink: keeps the losses of a run in a table of its own, `losses.csv` in the run's folder.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;

use anyhow::{Context as _, Result};
use gradflow::extend::event::{Event, Message};
use gradflow::extend::sink::{RunState, Sink};

/// The table, once the run has a folder.
#[derive(Default)]
pub struct Losses(Option<File>);

/// A sink for each run, for the list in `main`.
pub fn sink() -> Box<dyn Sink> {
    Box::new(Losses::default())
}

impl Sink for Losses {
    /// A run that is resumed goes on in the same file, without the rows of steps that it does again.
    fn begin(&mut self, run: &mut RunState) -> Result<()> {
        let Some(folder) = &run.folder else { return Ok(()) };
        let path = folder.join("losses.csv");
        let before = fs::read_to_string(&path).unwrap_or_default();
        let resumed_after = run.resumed_after.unwrap_or(0);
        let mut table = String::from("stage,step,loss\n");
        // The last line of a run that was killed may not be whole.
        for row in before.split_inclusive('\n').filter(|row| row.ends_with('\n')) {
            let step = row.split(',').nth(1).and_then(|step| step.parse::<u64>().ok());
            if step.is_some_and(|step| step < resumed_after) {
                table.push_str(row);
            }
        }
        let cannot = || format!("cannot write {}", path.display());
        fs::write(&path, table).with_context(cannot)?;
        self.0 = Some(OpenOptions::new().append(true).open(&path).with_context(cannot)?);
        Ok(())
    }

    fn observe(&mut self, message: &Message, _: &mut RunState) -> Result<()> {
        if let (Event::Step(report), Some(file)) = (&message.event, &mut self.0) {
            let stage = message.stage.as_deref().unwrap_or_default();
            // What fails here is a warning, and training goes on.
            writeln!(file, "{stage},{},{}", report.step, report.loss)
                .context("losses.csv cannot be written")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gradflow::extend::reports::StepReport;

    use super::*;

    fn step(step: u64, loss: f64) -> Message {
        let report = StepReport {
            step,
            total_steps: None,
            epoch: 0.0,
            loss,
            loss_average: loss,
            terms: Vec::new(),
            learning_rate: 0.1,
            images_per_s: 1.0,
            batch_s: 1.0,
            towers: None,
        };
        Message { stage: Some("train".into()), event: Event::Step(report) }
    }

    #[test]
    fn a_run_that_goes_on_adds_to_its_table() {
        let folder = std::env::temp_dir().join(format!("losses-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        // The second one goes on after step 0, which is one step done.
        for (resumed_after, steps) in [(None, [0, 1]), (Some(1), [1, 2])] {
            let mut run =
                RunState { folder: Some(folder.clone()), resumed_after, ..RunState::default() };
            let mut sink = Losses::default();
            sink.begin(&mut run).expect("it begins");
            for number in steps {
                sink.observe(&step(number, 2.5), &mut run).expect("written");
            }
        }
        let text = fs::read_to_string(folder.join("losses.csv")).expect("it is there");
        fs::remove_dir_all(&folder).expect("it is removed");
        assert_eq!(text, "stage,step,loss\ntrain,0,2.5\ntrain,1,2.5\ntrain,2,2.5\n");
    }
}
