//! What stages say while they run. The console prints it; other observers may keep it.

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
    /// A queue is being filled before the first step.
    Filling {
        /// The stage that fills it.
        stage: String,
        /// Images in it.
        have: u64,
        /// Images wanted.
        of: u64,
    },
    /// A step is done.
    Step(StepReport),
    /// The test images have been scored.
    Evaluation(EvaluationReport),
}

/// One step of training, as logged.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The step's number, from 0.
    pub step: u64,
    /// The number of steps of the run, if it has an end.
    pub total_steps: Option<u64>,
    /// Cross-entropy plus decay terms, before the update.
    pub loss: f64,
    /// The name and value of each term of the loss.
    pub terms: Vec<(String, f64)>,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Images per second since the last report.
    pub images_per_s: f64,
    /// Seconds per batch since the last report.
    pub batch_s: f64,
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationReport {
    /// Steps done by the weights.
    pub step: u64,
    /// Images scored, each once.
    pub images: u64,
    /// Of those, the share whose highest score is the right class.
    pub precision_at_1: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// What the data stands in for, if it is not what was asked for.
    pub stands_in_for: Option<String>,
    /// Whether the weights were moving averages.
    pub averaged: bool,
}

/// Where stages put their events.
#[derive(Clone, Debug)]
pub struct Events {
    sender: async_channel::Sender<Event>,
}

impl Events {
    /// A place for events, and the end where they are read.
    pub fn new() -> (Self, async_channel::Receiver<Event>) {
        // Bounded like every channel: a stage that floods it waits for the console.
        let (sender, receiver) = async_channel::bounded(1024);
        (Self { sender }, receiver)
    }

    /// Says something. After the run has ended nobody listens, and nothing happens.
    pub fn emit(&self, event: Event) {
        // Failing to send means that the listener is gone, and with it whoever wanted to know.
        let _ = self.sender.send_blocking(event);
    }

    /// Says one part of the run's first line.
    pub fn fact(&self, key: &'static str, value: impl Into<String>) {
        self.emit(Event::Fact { key, value: value.into() });
    }
}
