//! The steps that were logged, as far as the page shows them: a long run has no more points than the
//! page can draw.

use super::decimate::{Point, decimate};
use flow::reports::StepReport;

/// The most points of a curve, and the most rates that a median is taken of.
const MOST: usize = 8192;

/// Curves over the steps.
#[derive(Debug)]
pub(super) struct Steps {
    count: u64,
    last: Option<StepReport>,
    pub(super) loss: Vec<Point>,
    pub(super) loss_average: Vec<Point>,
    pub(super) learning_rate: Vec<Point>,
    pub(super) images_per_s: Vec<Point>,
    /// Every so many of the rates: what a curve keeps of them are extremes.
    rates: Vec<f64>,
    every: u64,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            count: 0,
            last: None,
            loss: Vec::new(),
            loss_average: Vec::new(),
            learning_rate: Vec::new(),
            images_per_s: Vec::new(),
            rates: Vec::new(),
            every: 1,
        }
    }
}

impl Steps {
    /// Adds a step, behind those that came before it.
    pub(super) fn add(&mut self, report: &StepReport) {
        let curves = [
            (&mut self.loss, report.loss),
            (&mut self.loss_average, report.loss_average),
            (&mut self.learning_rate, report.learning_rate),
            (&mut self.images_per_s, report.images_per_s),
        ];
        for (curve, value) in curves {
            curve.push((report.step as f64, value));
            if curve.len() > MOST {
                *curve = decimate(curve, MOST / 2);
            }
        }
        if self.count.is_multiple_of(self.every) {
            self.rates.push(report.images_per_s);
            if self.rates.len() > MOST {
                self.rates = self.rates.iter().copied().step_by(2).collect();
                self.every *= 2;
            }
        }
        self.count += 1;
        self.last = Some(report.clone());
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The last one.
    pub(super) fn last(&self) -> Option<&StepReport> {
        self.last.as_ref()
    }

    /// The middle one of the rates that were logged: what a slow start does not move.
    pub(super) fn median_rate(&self) -> f64 {
        let mut rates: Vec<f64> = self.rates.iter().copied().filter(|r| r.is_finite()).collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::step;

    #[test]
    fn a_long_run_keeps_few_points_and_its_spikes() {
        let mut steps = Steps::default();
        for number in 0..100_000 {
            let spike = if number == 31_415 { 1e6 } else { 1.0 };
            // Every tenth report tells a rate that is far off.
            let images_per_s = if number % 10 == 9 { 1e9 } else { number as f64 };
            steps.add(&StepReport { loss: spike, images_per_s, ..step(number) });
        }
        assert!((MOST / 4..=MOST).contains(&steps.loss.len()), "{}", steps.loss.len());
        assert!(steps.rates.len() <= MOST);
        assert!(steps.loss.contains(&(31_415.0, 1e6)));
        assert_eq!((steps.loss[0].0, steps.loss[steps.loss.len() - 1].0), (0.0, 99_999.0));
        assert_eq!((steps.count(), steps.last().map(|last| last.step)), (100_000, Some(99_999)));
        let median = steps.median_rate();
        assert!((50_000.0..60_000.0).contains(&median), "{median}");
    }
}
