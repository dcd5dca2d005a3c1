//! How fast a pipeline is on an adapter, and where its time goes.

mod cards;
mod compare;
mod kernels;
mod peaks;
mod repeat;
mod roofline;
mod scoring;
mod stages;
mod steps;
mod sweep;
mod towers;

use serde::{Deserialize, Serialize};

pub use cards::{CARDS, Card};
pub use compare::{Ratio, compare};
pub use kernels::kernels;
pub use peaks::{Bound, Peaks, peaks};
pub use roofline::{Form, Roofline, Use};
pub use scoring::scoring;
pub use stages::{alone, together};
pub use steps::steps;
pub use sweep::{Point, Sweep};
pub use towers::{Scale, towers};

use compute::adapter::{AdapterReport, Clock};
use compute::precision::Precision;

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// The version of Gradflow.
    pub program: String,
    /// When it was measured, in the form of RFC 3339.
    pub time: String,
    /// What computed.
    pub adapter: AdapterReport,
    /// What it computed in.
    #[serde(default)]
    pub precision: Precision,
    /// Images in a batch.
    pub batch: usize,
    /// Images computed at once.
    pub micro_batch: usize,
    /// The most that the adapter does; older files have none.
    #[serde(default)]
    pub peaks: Option<Peaks>,
    /// Whole steps of training, on batches that are in memory.
    pub steps: Steps,
    /// Forward passes that score images; older files have none.
    #[serde(default)]
    pub scoring: Option<Scoring>,
    /// Each kernel of a step by itself, in the order of a step.
    pub kernels: Vec<KernelTime>,
    /// The stages before the model, with nothing behind them that would make them wait.
    pub input_alone: Flow,
    /// Everything that is trained with at work together.
    pub pipeline: Flow,
}

/// Times of several runs of the same thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of them took no longer.
    pub median_ms: f64,
    /// The shortest.
    pub min_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// How many there were.
    pub runs: usize,
}

impl Spread {
    /// That of these times; all 0 if there are none.
    pub fn of(mut times_ms: Vec<f64>) -> Self {
        times_ms.sort_by(f64::total_cmp);
        let runs = times_ms.len();
        let (Some(min_ms), Some(max_ms)) = (times_ms.first(), times_ms.last()) else {
            return Self::default();
        };
        let median_ms = f64::midpoint(times_ms[(runs - 1) / 2], times_ms[runs / 2]);
        Self { median_ms, min_ms: *min_ms, max_ms: *max_ms, runs }
    }

    /// How much of what each of them did was done in a second, by the median.
    pub fn per_s(&self, amount: f64) -> f64 {
        1e3 * amount / self.median_ms.max(f64::MIN_POSITIVE)
    }
}

/// Whole steps: forward, loss, backward, update, averages, and the loss read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steps {
    /// From the first step's beginning to its loss on the host, after everything was made.
    pub first_ms: f64,
    /// Each of the others, the loss on the host at its end.
    pub each: Spread,
    /// Images in a second, by the median.
    pub images_per_s: f64,
    /// 10^9 floating-point operations in a second, by the median.
    pub gflop_per_s: f64,
}

/// Forward passes: scores and losses of images that are in memory, read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scoring {
    /// Images in a batch.
    pub batch: usize,
    /// Images computed at once.
    pub micro_batch: usize,
    /// Each batch, its scores on the host at its end.
    pub each: Spread,
    /// Images in a second, by the median.
    pub images_per_s: f64,
    /// 10^9 floating-point operations in a second, by the median.
    pub gflop_per_s: f64,
}

/// One kernel of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelTime {
    /// The layer it belongs to.
    pub layer: String,
    /// The kernel.
    pub kernel: String,
    /// Which of its forms ran, on an adapter that chooses among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// `forward`, `loss`, `backward` or `update`.
    pub phase: String,
    /// One use of it by itself.
    pub each: Spread,
    /// Whose clock that is by; the host's in older files.
    #[serde(default)]
    pub clock: Clock,
    /// Floating-point operations of one use: two for each term of each sum that it puts out,
    /// padding counted.
    pub flop: f64,
    /// Bytes that it reads and writes at least, each once.
    pub bytes: f64,
}

impl KernelTime {
    /// 10^9 floating-point operations in a second, by the median.
    pub fn gflop_per_s(&self) -> f64 {
        self.each.per_s(self.flop) / 1e9
    }

    /// 10^9 bytes in a second, by the median.
    pub fn gbyte_per_s(&self) -> f64 {
        self.each.per_s(self.bytes) / 1e9
    }

    /// The share of the peak that bounds it, by the median. Above 1 where what it reads was still
    /// in a cache.
    pub fn share_of(&self, peaks: &Peaks) -> f64 {
        peaks.least_ms(self.flop, self.bytes) / self.each.median_ms.max(f64::MIN_POSITIVE)
    }
}

/// Stages at work together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Images that came to the end in a second.
    pub images_per_s: f64,
    /// Each stage.
    pub stages: Vec<StageRate>,
    /// The stages whose threads were at work most of their time; several share threads.
    pub bottleneck: Vec<String>,
}

/// One stage of a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRate {
    /// The stage's id.
    pub stage: String,
    /// Threads that did its work.
    pub workers: usize,
    /// The share of their time that they were at work, 0 to 1.
    pub busy: f64,
    /// Images that all its workers together would take in a second if they never waited; `None`
    /// where that is not known, as of a stage that is never at work.
    pub alone_images_per_s: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_of_sorted_times() {
        let spread = Spread::of(vec![3.0, 1.0, 10.0, 2.0]);
        assert_eq!(spread, Spread { median_ms: 2.5, min_ms: 1.0, max_ms: 10.0, runs: 4 });
        assert_eq!(Spread::of(Vec::new()), Spread::default());
        assert_eq!(Spread::of(vec![7.0]).median_ms, 7.0);
    }

    #[test]
    fn kernels_of_older_files_were_timed_by_the_host() {
        let older = r#"{"layer": "l", "kernel": "k", "phase": "forward", "flop": 1, "bytes": 1,
            "each": {"median_ms": 1, "min_ms": 1, "max_ms": 1, "runs": 1}}"#;
        let older: KernelTime = serde_json::from_str(older).expect("it is read");
        assert_eq!(older.clock, Clock::Host);
        let json = serde_json::to_value(KernelTime { clock: Clock::Device, ..older });
        assert_eq!(json.expect("it is written")["clock"], "device");
    }
}
