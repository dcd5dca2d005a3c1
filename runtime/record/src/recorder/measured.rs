//! What a run measures, a line each.

use anyhow::Result;

use super::metrics_file;
use crate::metrics::Metrics;
use crate::sink::{RunState, Sink};
use flow::event::Message;

/// `metrics.jsonl`. It comes behind the other sinks: a resumed run makes no evaluation again that
/// has a line there, so that everything else of it must be written.
#[derive(Default)]
pub(super) struct Measured(Option<Metrics>);

impl Sink for Measured {
    fn begin(&mut self, run: &mut RunState) -> Result<()> {
        let Some(folder) = &run.folder else { return Ok(()) };
        self.0 = Some(Metrics::append(&metrics_file(folder))?);
        Ok(())
    }

    fn observe(&mut self, message: &Message, _: &mut RunState) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), |metrics| metrics.observe(&message.event))
    }

    fn sync(&mut self) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), Metrics::sync)
    }
}
