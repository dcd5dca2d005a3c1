//! What a run measures, a line each.

use anyhow::Result;

use super::metrics_file;
use crate::metrics::Metrics;
use crate::sink::{RunState, Sink};
use flow::event::Message;
use flow::plan::Plan;

/// The sink.
pub(super) fn sink(_: &Plan) -> Box<dyn Sink> {
    Box::new(Measured::default())
}

/// `metrics.jsonl`.
#[derive(Default)]
struct Measured(Option<Metrics>);

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
