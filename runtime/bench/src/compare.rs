//! What was measured now against what was measured before.

use super::Bench;

/// One figure on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// What it is of.
    pub what: String,
    /// Its unit.
    pub unit: &'static str,
    /// Before.
    pub before: f64,
    /// Now.
    pub now: f64,
    /// How many times as fast it is now: above 1 is faster, whatever the unit.
    pub speed_up: f64,
}

/// Every figure that both have.
pub fn compare(before: &Bench, now: &Bench) -> Vec<Ratio> {
    let rate = |what: &str, before: f64, now: f64| Ratio {
        what: what.to_owned(),
        unit: "images/s",
        before,
        now,
        speed_up: now / before,
    };
    let mut ratios = vec![
        rate("training steps", before.steps.images_per_s, now.steps.images_per_s),
        rate("input alone", before.input_alone.images_per_s, now.input_alone.images_per_s),
        rate("training flow", before.pipeline.images_per_s, now.pipeline.images_per_s),
    ];
    if let (Some(before), Some(now)) = (&before.scoring, &now.scoring)
        && before.batch == now.batch
    {
        ratios.push(rate("scoring", before.images_per_s, now.images_per_s));
    }
    let mut known = before.kernels.iter();
    for kernel in &now.kernels {
        // In the order of a step: a kernel that a layer uses twice is met twice.
        let same = |other: &&super::KernelTime| {
            other.kernel == kernel.kernel && other.layer == kernel.layer
        };
        let mut rest = known.clone();
        let Some(earlier) = rest.find(same) else { continue };
        known = rest;
        let (before, now) = (earlier.each.median_ms, kernel.each.median_ms);
        let what = format!("{} {}", kernel.layer, kernel.kernel);
        ratios.push(Ratio { what, unit: "ms", before, now, speed_up: before / now });
    }
    ratios
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KernelTime, Scoring, Spread};
    use compute::adapter::Clock;
    use compute::precision::Precision;

    fn bench(images_per_s: f64, kernels: &[(&str, f64)]) -> Bench {
        let kernel = |(name, ms): &(&str, f64)| KernelTime {
            layer: "layer".to_owned(),
            kernel: (*name).to_owned(),
            form: None,
            phase: "forward".to_owned(),
            each: Spread::of(vec![*ms]),
            clock: Clock::Host,
            flop: 1e6,
            bytes: 1.0,
        };
        let mut bench = Bench {
            precision: Precision::F32,
            program: String::new(),
            time: String::new(),
            adapter: compute::adapter::AdapterReport::default(),
            batch: 1,
            micro_batch: 1,
            peaks: None,
            scoring: None,
            steps: Default::default(),
            kernels: kernels.iter().map(kernel).collect(),
            input_alone: Default::default(),
            pipeline: Default::default(),
        };
        bench.steps.images_per_s = images_per_s;
        bench
    }

    #[test]
    fn what_both_have_is_compared_in_order() {
        let before = bench(100.0, &[("a", 4.0), ("gone", 1.0), ("b", 2.0), ("b", 6.0)]);
        let now = bench(150.0, &[("a", 2.0), ("new", 1.0), ("b", 1.0), ("b", 12.0)]);
        let ratios = compare(&before, &now);
        assert_eq!((ratios[0].what.as_str(), ratios[0].speed_up), ("training steps", 1.5));
        let kernels: Vec<(&str, f64)> =
            ratios[3..].iter().map(|r| (r.what.as_str(), r.speed_up)).collect();
        assert_eq!(kernels, [("layer a", 2.0), ("layer b", 2.0), ("layer b", 0.5)]);
        assert_eq!(now.kernels[0].gflop_per_s(), 0.5);
    }

    #[test]
    fn scoring_is_compared_at_the_same_batch() {
        let (mut before, mut now) = (bench(1.0, &[]), bench(1.0, &[]));
        let found = |before: &Bench, now: &Bench| {
            compare(before, now).into_iter().find(|r| r.what == "scoring").map(|r| r.speed_up)
        };
        now.scoring = Some(Scoring { batch: 10, images_per_s: 6.0, ..Scoring::default() });
        assert_eq!(found(&before, &now), None);
        before.scoring = Some(Scoring { batch: 10, images_per_s: 2.0, ..Scoring::default() });
        assert_eq!(found(&before, &now), Some(3.0));
        before.scoring = Some(Scoring { batch: 20, images_per_s: 2.0, ..Scoring::default() });
        assert_eq!(found(&before, &now), None);
    }
}
