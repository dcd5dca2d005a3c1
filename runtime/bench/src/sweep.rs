//! How batch and network change the speed of a step.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Peaks, Steps};
use compute::adapter::AdapterReport;
use record::report::{self, Axis};

/// Steps of several networks at several batches on one adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// The version of Gradflow.
    pub program: String,
    /// When it was measured, in the form of RFC 3339.
    pub time: String,
    /// What computed.
    pub adapter: AdapterReport,
    /// The most that it does.
    pub peaks: Peaks,
    /// Each network at each batch.
    pub points: Vec<Point>,
}

/// One network at one batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The name of its pipeline.
    pub network: String,
    /// Images in a batch.
    pub batch: usize,
    /// Images computed at once.
    pub micro_batch: usize,
    /// Its steps, of the round in which they were fastest.
    pub steps: Steps,
}

impl Sweep {
    /// The most GFLOP/s of all.
    fn best(&self) -> f64 {
        self.points.iter().map(|point| point.steps.gflop_per_s).fold(f64::MIN_POSITIVE, f64::max)
    }

    /// As a table in Markdown, and how far apart the fastest and the slowest are.
    pub fn markdown(&self) -> String {
        let best = self.best();
        let mut text = format!(
            "{}, at most {:.0} GFLOP/s in multiply-adds, {:.0} GB/s from and to memory\n\n\
             | network | batch | ms | images/s | GFLOP/s | of the peak | of the best |\n\
             |---|--:|--:|--:|--:|--:|--:|\n",
            self.adapter, self.peaks.gflop_per_s, self.peaks.gbyte_per_s
        );
        for Point { network, batch, micro_batch, steps } in &self.points {
            let parts = if micro_batch < batch {
                format!(" in parts of {micro_batch}")
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "| {network} | {batch}{parts} | {:.1} | {:.0} | {:.1} | {:.0} % | {:.0} % |",
                steps.each.median_ms,
                steps.images_per_s,
                steps.gflop_per_s,
                100.0 * steps.gflop_per_s / self.peaks.gflop_per_s,
                100.0 * steps.gflop_per_s / best,
            );
        }
        text
    }

    /// As a plot of GFLOP/s over the batch, a curve for each network, in SVG.
    pub fn svg(&self) -> String {
        let mut curves: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        for point in &self.points {
            let at = (point.batch as f64, point.steps.gflop_per_s);
            match curves.iter_mut().find(|(network, _)| *network == point.network) {
                Some((_, points)) => points.push(at),
                None => curves.push((point.network.clone(), vec![at])),
            }
        }
        let unit = format!("GFLOP/s, {}", self.adapter);
        report::plot("Training steps", &unit, "batch", Axis::FromZero, curves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_what_others_are_held_against() {
        let point = |network: &str, batch, micro_batch, gflop_per_s| Point {
            network: network.to_owned(),
            batch,
            micro_batch,
            steps: Steps { gflop_per_s, ..Steps::default() },
        };
        let sweep = Sweep {
            program: String::new(),
            time: String::new(),
            adapter: AdapterReport::default(),
            peaks: Peaks { gflop_per_s: 400.0, gbyte_per_s: 1.0 },
            points: vec![
                point("a", 32, 32, 100.0),
                point("a", 64, 16, 200.0),
                point("b", 32, 32, 50.0),
            ],
        };
        let text = sweep.markdown();
        assert!(text.contains("| a | 32 | 0.0 | 0 | 100.0 | 25 % | 50 % |\n"), "{text}");
        assert!(text.contains("| a | 64 in parts of 16 | 0.0 | 0 | 200.0 | 50 % | 100 % |\n"));
        assert!(text.ends_with("| b | 32 | 0.0 | 0 | 50.0 | 12 % | 25 % |\n"), "{text}");
        let plot = sweep.svg();
        assert!(plot.contains("<title>batch 32\na: 100\nb: 50</title>"), "{plot}");
    }
}
