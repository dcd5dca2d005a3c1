//! What stages say while they run, each event with the stage that it is of. What is done with it is a
//! matter of what listens.

use std::sync::Arc;

use fetch::Progress;

use crate::item::Weights;
use crate::reports::{
    Began, Change, DataReport, EvaluationReport, Outcome, StepReport, Summary, Tapped,
    TrainerReport,
};

/// An event, and the stage that it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The id of the stage; `None` for an event of the whole run.
    pub stage: Option<Arc<str>>,
    /// What happened.
    pub event: Event,
}

impl Message {
    /// Whether the event is of this stage.
    pub fn is_of(&self, stage: &str) -> bool {
        self.stage.as_deref() == Some(stage)
    }

    /// To be dropped once the event has been observed.
    pub fn asked(&self) -> Asked {
        Asked(match &self.event {
            Event::Shares(report) => Some(report.written.clone()),
            _ => None,
        })
    }
}

impl From<Event> for Message {
    /// An event of the whole run.
    fn from(event: Event) -> Self {
        Self { stage: None, event }
    }
}

/// Something a person may want to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A part of the run's first line: adapter, model, data.
    Fact {
        /// Such as `adapter`.
        key: &'static str,
        /// Such as `cpu (2 threads)`.
        value: String,
    },
    /// Something that should not go unnoticed.
    Warning(String),
    /// A data set was read.
    Data(DataReport),
    /// The run begins with what another one has learnt.
    Began(Box<Began>),
    /// What trains is ready for its first step.
    Trainer(Box<TrainerReport>),
    /// A queue is being filled before the first step.
    Filling {
        /// The stage that fills it.
        stage: String,
        /// Images in it.
        have: u64,
        /// Images wanted.
        of: u64,
    },
    /// A data set is being downloaded.
    Download(Progress),
    /// Images that crossed an edge that is listened to.
    Tapped(Tapped),
    /// The shares of several adapters change.
    Shares(SharesReport),
    /// A step is done.
    Step(StepReport),
    /// Distributions of a step's numbers.
    Summary(Arc<Summary>),
    /// The weights after a step, to be kept.
    Checkpoint(Checkpoint),
    /// The test images have been scored.
    Evaluation(EvaluationReport),
    /// Where a step's numbers stop being finite.
    Diagnosis(String),
    /// What each stage and each edge has done so far; follows each evaluation.
    Flow(Outcome),
    /// All stages are built, and their threads are about to start.
    Built,
    /// The stage has ended: no event of it follows.
    Ended,
}

/// A change of shares that is to be written down before it is used.
#[derive(Clone, Debug)]
pub struct SharesReport {
    /// The shares.
    pub change: Change,
    written: async_channel::Sender<bool>,
}

impl SharesReport {
    /// The report, and where it will be said whether it was written down. If nobody keeps the
    /// run, the channel is closed without a word.
    pub fn new(change: Change) -> (Self, async_channel::Receiver<bool>) {
        let (written, answer) = async_channel::bounded(1);
        (Self { change, written }, answer)
    }

    /// Says whether it was written down.
    pub fn answer(&self, written: bool) {
        // The stage that asked may have ended.
        let _ = self.written.try_send(written);
    }
}

/// Ends the wait of a stage that has asked for something by an event. The channel is closed even if a
/// sink keeps a clone of the event.
pub struct Asked(Option<async_channel::Sender<bool>>);

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(written) = &self.0 {
            written.close();
        }
    }
}

impl PartialEq for SharesReport {
    fn eq(&self, other: &Self) -> bool {
        self.change == other.change
    }
}

/// Weights to be kept.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The weights.
    pub weights: Arc<Weights>,
    /// Why now.
    pub reason: Reason,
}

impl PartialEq for Checkpoint {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.weights, &other.weights) && self.reason == other.reason
    }
}

/// Why weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Some time has passed.
    Period,
    /// They are being evaluated: how good they are will be said later.
    Evaluation,
    /// The run is over, or was asked to stop.
    End,
}

/// Where stages put their events.
#[derive(Clone, Debug)]
pub struct Events {
    sender: async_channel::Sender<Message>,
    stage: Option<Arc<str>>,
}

impl Events {
    /// A place for events, and the end where they are read.
    pub fn new() -> (Self, async_channel::Receiver<Message>) {
        // Bounded like every channel: a stage that floods it waits for the console. Few, as each
        // may hold the weights of a checkpoint until these are on the disk.
        let (sender, receiver) = async_channel::bounded(32);
        (Self { sender, stage: None }, receiver)
    }

    /// The same place, for the events of this stage.
    pub fn of_stage(&self, stage: &str) -> Self {
        Self { sender: self.sender.clone(), stage: Some(stage.into()) }
    }

    /// Says something. After the run has ended nobody listens, and nothing happens.
    pub fn emit(&self, event: Event) {
        // Failing to send means that the listener is gone, and with it whoever wanted to know.
        let _ = self.sender.send_blocking(Message { stage: self.stage.clone(), event });
    }

    /// Says one part of the run's first line.
    pub fn fact(&self, key: &'static str, value: impl Into<String>) {
        self.emit(Event::Fact { key, value: value.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_the_stage_that_they_are_of() {
        let (events, said) = Events::new();
        events.of_stage("read").fact("data", "10 images");
        events.emit(Event::Built);
        let said: Vec<Message> = std::iter::from_fn(|| said.try_recv().ok()).collect();
        assert!(said[0].is_of("read") && !said[0].is_of("train"));
        assert_eq!(said[1], Event::Built.into());
    }
}
