//! The shares of several adapters, written down before they are used.

use anyhow::{Context as _, Result};

use crate::sink::{RunState, Sink};
use compute::towers::journal;
use flow::event::{Event, Message};
use flow::plan::Plan;

/// The sink.
pub(super) fn sink(_: &Plan) -> Box<dyn Sink> {
    Box::new(Balance)
}

/// `balance.jsonl`.
struct Balance;

impl Sink for Balance {
    fn observe(&mut self, message: &Message, run: &mut RunState) -> Result<()> {
        let (Event::Shares(report), Some(folder)) = (&message.event, &run.folder) else {
            return Ok(());
        };
        let written = journal::record(&journal::file(folder), &report.change);
        report.answer(written.is_ok());
        written.context("a run that is resumed does not know the shares of the adapters")
    }
}
