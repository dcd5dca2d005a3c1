//! What each stage and each edge did.

use std::time::Duration;

/// How a run went, or goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What each stage did.
    pub stages: Vec<StageReport>,
    /// What crossed each edge.
    pub edges: Vec<EdgeReport>,
    /// How long the stages ran.
    pub elapsed: Duration,
    /// Whether it was asked to stop before its end.
    pub interrupted: bool,
}

impl Outcome {
    /// The share of its workers' time that a stage was at work, 0 to 1.
    pub fn busy(&self, stage: &StageReport) -> f64 {
        let available_s = stage.workers as f64 * self.elapsed.as_secs_f64();
        stage.busy.as_secs_f64() / available_s.max(f64::MIN_POSITIVE)
    }

    /// What the others waited for: the stages, in the same threads if there are several, whose
    /// threads were at work most of their time. None if nothing was.
    pub fn bottleneck(&self) -> Vec<&StageReport> {
        let busy =
            |stages: &[&StageReport]| stages.iter().map(|stage| self.busy(stage)).sum::<f64>();
        let busiest = self.threads().into_iter().max_by(|a, b| busy(a).total_cmp(&busy(b)));
        busiest.filter(|stages| busy(stages) > 0.0).unwrap_or_default()
    }

    /// Stages by the threads that they share: those without a queue between them.
    fn threads(&self) -> Vec<Vec<&StageReport>> {
        let mut threads: Vec<Vec<&StageReport>> = Vec::new();
        for stage in &self.stages {
            let shared = |other: &&StageReport| {
                let joins = |edge: &EdgeReport| edge.from == other.id && edge.to == stage.id;
                self.edges.iter().any(|edge| edge.queue.is_none() && joins(edge))
            };
            match threads.iter_mut().find(|stages| stages.iter().any(shared)) {
                Some(stages) => stages.push(stage),
                None => threads.push(vec![stage]),
            }
        }
        threads
    }
}

/// What crossed one edge.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeReport {
    /// The stage that puts out.
    pub from: String,
    /// The stage that takes in.
    pub to: String,
    /// The type of what crosses, for people.
    pub carries: String,
    /// Whether it leads into the stage that trains.
    pub trains: bool,
    /// The queue between them; `None` where both work in the same threads.
    pub queue: Option<QueueReport>,
}

/// What passed through one queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueReport {
    /// Items that were taken out.
    pub items: u64,
    /// Images in them.
    pub images: u64,
    /// Items that it has room for.
    pub capacity: usize,
    /// Items that were waiting in it when another came, on average.
    pub mean_fill: f64,
    /// Time that the stage before it waited for room, summed over workers.
    pub full_wait: Duration,
    /// Time that the stage behind it waited for an item, summed over workers.
    pub empty_wait: Duration,
}

/// What one stage did.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// The stage's id.
    pub id: String,
    /// The name of its kind.
    pub kind: &'static str,
    /// How many threads did its work.
    pub workers: usize,
    /// Items it put out.
    pub items_out: u64,
    /// Time at work, summed over workers.
    pub busy: Duration,
    /// Time waiting for input, summed over workers. Stages that share workers share their waits.
    pub input_wait: Duration,
    /// Time waiting for room in the output, summed over workers.
    pub output_wait: Duration,
}
