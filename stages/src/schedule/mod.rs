//! How the learning rate changes in the course of a run: one file each, and a line in each of the
//! lists below.
//!
//! A rate depends on the images seen before the step, and on nothing else: neither the size of a
//! batch nor the number of adapters changes what a schedule means.

pub mod length;
pub mod stretch;

use std::sync::Arc;

use anyhow::{Result, bail};
use compute::pass::StepsAhead;
use config::decode::{Problem, Problems};
use config::node::{Node, Path};
use flow::item::Limit;
use flow::stage::{Chosen, Family, Mismatch, Variant};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use length::Length;

base::registry! {
    /// Every schedule that comes with Gradflow.
    pub fn all() -> Vec<ScheduleKind> from kind();

    pub mod exponential;
    pub mod linear;
    pub mod cosine;
    pub mod one_cycle;
    pub mod piecewise;
    pub mod inverse_sqrt;
}

/// One kind of schedule.
pub type ScheduleKind = Variant<dyn Curve>;

impl<T: Curve + 'static> Family<T> for dyn Curve {
    fn of(curve: T) -> Arc<Self> {
        Arc::new(curve)
    }
}

/// The learning rate: a number, or how it changes with the images seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Schedule {
    /// Always the same.
    Constant(f64),
    /// It changes.
    Curve(Chosen<dyn Curve>),
}

/// How far a run goes, in images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunExtent {
    /// Images of an epoch: those of a pass over the data that are trained on.
    pub epoch_images: u64,
    /// Images until the run's end; `None` if it has none.
    pub total_images: Option<u64>,
}

impl RunExtent {
    /// That of a run with this limit and these steps.
    pub fn of(limit: &Limit, ahead: &StepsAhead) -> Self {
        Self { epoch_images: ahead.pass.images, total_images: limit.total_images(ahead) }
    }

    /// That of a run whose epochs have so many images and whose steps have all as many.
    pub fn of_full_steps(limit: &Limit, epoch_images: u64, step_images: u64) -> Self {
        let by_epochs = limit.epochs.map(|epochs| (epochs * epoch_images as f64) as u64);
        let by_steps = limit.steps.map(|steps| steps.saturating_mul(step_images));
        Self { epoch_images, total_images: by_epochs.into_iter().chain(by_steps).min() }
    }

    /// The images of this length, or of the whole run if there is none.
    fn images(&self, length: Option<Length>) -> f64 {
        match length {
            Some(length) => length.images(self.epoch_images),
            None => self.total_images.map_or(f64::INFINITY, |images| images as f64),
        }
    }

    /// The share of this length that has passed, at most 1.
    fn share(&self, images: f64, of: Option<Length>) -> f64 {
        let whole = self.images(of);
        if images < whole { images / whole } else { 1.0 }
    }
}

/// What a schedule says of itself. Its values are the fields that YAML gives it.
pub trait Curve: Send + Sync {
    /// What is wrong with its fields.
    fn check(&self) -> Vec<Mismatch>;

    /// The rate once so many images have been seen.
    fn rate(&self, images: f64, extent: &RunExtent) -> f64;

    /// How long the rate rises to that from 0.
    fn warm_up(&self) -> Option<Length>;

    /// Whether it goes on to the run's end, which must be known then.
    fn needs_end(&self) -> bool {
        false
    }
}

/// The tutorial's.
impl Default for Schedule {
    fn default() -> Self {
        Self::Constant(0.1)
    }
}

impl Schedule {
    /// Reads a number or a schedule of these kinds, or adds everything that is wrong to `problems`.
    pub fn read(
        kinds: &[ScheduleKind],
        node: &Node,
        path: &Path,
        problems: &mut Problems,
    ) -> Option<Self> {
        match node.value() {
            Node::Int(_) | Node::UInt(_) | Node::Float(_) => {
                config::decode::decode(node, path, problems).map(Self::Constant)
            }
            Node::Map(entries) if !entries.is_empty() => {
                Variant::choose(kinds, "schedule", node, path, problems).map(Self::Curve)
            }
            other => {
                let message = format!("expected {EXPECTED}, found {}", other.describe());
                problems.push(Problem { path: path.clone(), on_key: false, message, help: None });
                None
            }
        }
    }

    /// The schema of what [`Schedule::read`] reads.
    pub fn schema(kinds: &[ScheduleKind], generator: &mut SchemaGenerator) -> Schema {
        let curve = Variant::schema_of(kinds, generator);
        json_schema!({ "anyOf": [{ "type": "number", "minimum": 0 }, curve] })
    }

    /// Everything that is wrong with it, located below `field`.
    pub fn check(&self, field: &str) -> Vec<Mismatch> {
        match self {
            Self::Constant(rate) => check_rate(field, *rate).into_iter().collect(),
            Self::Curve(curve) => {
                let mut wrong = curve.check();
                wrong.extend(curve.warm_up().and_then(|length| length.check("warm_up")));
                wrong.into_iter().map(|wrong| wrong.below(&[field, curve.name()])).collect()
            }
        }
    }

    /// Refuses a run without an end if the rate is to change until then.
    ///
    /// # Errors
    /// Says which field is missing.
    pub fn check_extent(&self, extent: &RunExtent) -> Result<()> {
        if let Self::Curve(curve) = self
            && curve.needs_end()
            && extent.total_images.is_none()
        {
            bail!(
                "the learning rate changes until the end of the run, and this run has none.\n\
                 Give the run `epochs` or `steps`, or the `{}` rate an `over`, such as \
                 `over: {{ epochs: 10 }}`",
                curve.name()
            );
        }
        Ok(())
    }

    /// What is said, below the schedule, of a run with this limit that ends before the rate has warmed
    /// up, as far as that is known without the data.
    pub fn long_warm_up(&self, limit: &Limit, batch: usize) -> Option<Mismatch> {
        let Self::Curve(curve) = self else { return None };
        let name = curve.name();
        let run = match curve.warm_up()? {
            Length::Epochs(length) => limit
                .epochs
                .filter(|epochs| length >= *epochs)
                .map(|epochs| format!("{epochs} epochs")),
            Length::Images(length) => {
                let images = |steps: u64| steps.saturating_mul(batch as u64);
                let steps = limit.steps.filter(|steps| length >= images(*steps));
                steps.map(|steps| format!("{steps} steps"))
            }
        };
        let message = format!("the rate warms up all through a run of {}", run?);
        let help = "it never gets to the rate that is written: make `warm_up` shorter";
        Some(Mismatch::field(&format!("{name}.warm_up"), message).help(help))
    }

    /// The same once the images of an epoch are known.
    pub fn warms_up_throughout(&self, extent: &RunExtent) -> Option<String> {
        let Self::Curve(curve) = self else { return None };
        let images = extent.images(Some(curve.warm_up()?));
        let total = extent.total_images.filter(|total| images >= *total as f64)?;
        Some(format!(
            "the learning rate warms up over {images} images, and the run has {total}: it never \
             gets to the rate that is written"
        ))
    }

    /// The rate of a step before which so many images have been seen.
    ///
    /// While it warms up it is the curve's rate times the share of `warm_up` that has passed: the
    /// first step's rate is exactly 0, and it moves no weight.
    pub fn at(&self, images_seen: u64, extent: &RunExtent) -> f64 {
        let curve = match self {
            Self::Constant(rate) => return *rate,
            Self::Curve(curve) => curve,
        };
        let images = images_seen as f64;
        let rate = curve.rate(images, extent);
        match curve.warm_up() {
            Some(length) => rate * extent.share(images, Some(length)),
            None => rate,
        }
    }
}

/// Refuses rates that are none, or that the kernels' 32 bits cannot hold.
fn check_rate(field: &str, rate: f64) -> Option<Mismatch> {
    let expected = if !(rate >= 0.0 && rate.is_finite()) {
        "a rate from 0 upwards"
    } else if rate > f64::from(f32::MAX) {
        "a rate that 32 bits can hold"
    } else {
        return None;
    };
    let found = format!("expected {expected}, found {rate}");
    Some(Mismatch::field(field, found).help("the tutorial uses 0.1"))
}

/// Between two rates, at this share of the way; at its ends exactly those.
fn between(first: f64, last: f64, share: f64) -> f64 {
    first * (1.0 - share) + last * share
}

/// From 0 to 1 along half a wave.
fn ease(share: f64) -> f64 {
    (1.0 - (std::f64::consts::PI * share).cos()) / 2.0
}

const EXPECTED: &str = "a number such as 0.1, or a schedule such as { cosine: { initial: 0.1 } }";

#[cfg(test)]
mod tests {
    use compute::pass::Pass;
    use flow::item::Progress;

    use super::*;
    use crate::testing;

    const EXTENT: RunExtent = RunExtent { epoch_images: 1_000, total_images: Some(10_000) };

    fn read(text: &str) -> Schedule {
        testing::schedule(text)
    }

    #[test]
    fn the_tutorials_staircase_falls_at_its_step() {
        let rate = read(
            r#"{ "exponential": { "initial": 0.1, "factor": 0.1,
                 "every": { "images": 17499904 }, "staircase": true } }"#,
        );
        assert_eq!(rate.check("learning_rate"), []);
        let extent = RunExtent { epoch_images: 50_000, total_images: None };
        let at = |step: u64| rate.at(step * 128, &extent);
        assert_eq!([0, 136_717, 136_718].map(at), [0.1, 0.1, 0.01]);
        assert_eq!([273_435, 273_436, 410_153, 410_154].map(at), [0.01, 0.001, 0.001, 0.0001]);
    }

    /// The rates at every hundredth of the run and at its end.
    fn rates(text: &str) -> Vec<f64> {
        let schedule = read(text);
        assert_eq!(schedule.check("learning_rate"), [], "{text}");
        (0..=100).map(|share| schedule.at(share * 100, &EXTENT)).collect()
    }

    fn falls(rates: &[f64]) -> bool {
        rates.windows(2).all(|pair| pair[1] <= pair[0])
    }

    fn rises(rates: &[f64]) -> bool {
        rates.windows(2).all(|pair| pair[1] >= pair[0])
    }

    #[test]
    fn every_curve_begins_and_ends_as_it_says_and_does_not_waver() {
        let linear = rates(r#"{ "linear": { "initial": 0.3, "final": 0.1 } }"#);
        assert_eq!((linear[0], linear[100]), (0.3, 0.1));
        assert!((linear[50] - 0.2).abs() < 1e-12 && falls(&linear));

        let cosine = rates(r#"{ "cosine": { "initial": 0.3 } }"#);
        assert_eq!((cosine[0], cosine[100]), (0.3, 0.0));
        assert!((cosine[50] - 0.15).abs() < 1e-12 && falls(&cosine));
        assert!(cosine[25] > 0.25 && cosine[75] < 0.05);

        let cycle = rates(r#"{ "one_cycle": { "peak": 1 } }"#);
        assert_eq!((cycle[0], cycle[30], cycle[100]), (0.04, 1.0, 1e-4));
        assert!(rises(&cycle[..=30]) && falls(&cycle[30..]));
        let own = r#"{ "one_cycle": { "peak": 1, "start": 0.5, "final": 0.25, "rise": 0.5 } }"#;
        let cycle = rates(own);
        assert_eq!((cycle[0], cycle[50], cycle[100]), (0.5, 1.0, 0.25));

        let smooth =
            r#"{ "exponential": { "initial": 0.8, "factor": 0.5, "every": { "epochs": 5 } } }"#;
        let smooth = rates(smooth);
        assert_eq!((smooth[0], smooth[50], smooth[100]), (0.8, 0.4, 0.2));
        assert!((smooth[25] - 0.8 * 0.5_f64.sqrt()).abs() < 1e-12 && falls(&smooth));

        let pieces = rates(
            r#"{ "piecewise": { "initial": 0.1, "then": [
                 { "after": { "epochs": 2.5 }, "rate": 0.2 },
                 { "after": { "epochs": 5 }, "rate": 0.01 } ] } }"#,
        );
        assert_eq!((pieces[0], pieces[24], pieces[25]), (0.1, 0.1, 0.2));
        assert_eq!((pieces[49], pieces[50], pieces[100]), (0.2, 0.01, 0.01));
        let root = rates(r#"{ "inverse_sqrt": { "initial": 0.4, "after": { "epochs": 1 } } }"#);
        assert_eq!((root[0], root[10], root[40]), (0.4, 0.4, 0.2));
        assert!((root[90] - 0.4 / 3.0).abs() < 1e-15 && falls(&root));
        assert_eq!(rates("0.5"), [0.5; 101]);
    }

    #[test]
    fn a_length_of_its_own_ends_before_the_run() {
        let linear = rates(r#"{ "linear": { "initial": 1, "over": { "images": 5000 } } }"#);
        assert_eq!((linear[25], linear[50], linear[99]), (0.5, 0.0, 0.0));
    }

    #[test]
    fn warming_up_begins_at_0_and_joins_the_curve() {
        let plain = rates(r#"{ "cosine": { "initial": 0.4 } }"#);
        let warm = rates(r#"{ "cosine": { "initial": 0.4, "warm_up": { "epochs": 1 } } }"#);
        assert_eq!(warm[0], 0.0);
        assert!(rises(&warm[..=10]));
        assert!((warm[5] - plain[5] / 2.0).abs() < 1e-15);
        assert_eq!(warm[10..], plain[10..]);
    }

    #[test]
    fn batches_and_adapters_change_no_rate() {
        let limit = Limit { epochs: Some(10.0), steps: None };
        let rate = read(r#"{ "cosine": { "initial": 0.4 } }"#);
        let ahead = |batch| StepsAhead {
            pass: Pass::open(1_000, batch),
            batches: 1,
            done: Progress::default(),
        };
        let of = |batch| rate.at(3_000, &RunExtent::of(&limit, &ahead(batch)));
        assert_eq!(of(100), of(250));
        let both = Limit { epochs: Some(10.0), steps: Some(7) };
        let total = |limit| RunExtent::of(&limit, &ahead(100)).total_images;
        assert_eq!(total(both), Some(700));
        assert_eq!(total(limit), Some(10_000));
        assert_eq!(total(Limit::default()), None);
    }

    #[test]
    fn a_rate_until_the_end_gets_there_with_the_last_step() {
        let rate = read(r#"{ "linear": { "initial": 1 } }"#);
        for (pass, limit, images, end) in [
            // 17 images in batches of 16 and 1: the last of 6 steps begins after 50 of 51 images.
            (Pass::closed(17, 16), Limit { epochs: None, steps: Some(6) }, 50, 51.0),
            (Pass::closed(17, 16), Limit { epochs: Some(3.0), steps: None }, 50, 51.0),
            (Pass::closed(17, 16), Limit { epochs: Some(3.0), steps: Some(5) }, 34, 50.0),
            // Of 31 images 16 are trained on, in a step.
            (Pass::full(31, 16), Limit { epochs: Some(4.0), steps: None }, 48, 64.0),
            (Pass::open(31, 16), Limit { epochs: None, steps: Some(6) }, 80, 96.0),
        ] {
            let ahead = StepsAhead { pass, batches: 1, done: Progress::default() };
            let found = rate.at(images, &RunExtent::of(&limit, &ahead));
            assert_eq!(found, 1.0 - images as f64 / end, "{pass:?}, {limit:?}");
        }
    }

    #[test]
    fn what_goes_on_to_the_end_needs_one() {
        let endless = RunExtent { total_images: None, ..EXTENT };
        for text in [
            r#"{ "linear": { "initial": 0.1 } }"#,
            r#"{ "cosine": { "initial": 0.1 } }"#,
            r#"{ "one_cycle": { "peak": 0.1 } }"#,
        ] {
            let refused = read(text).check_extent(&endless).expect_err("no end").to_string();
            assert!(refused.contains("`over`"), "{refused}");
            assert!(read(text).check_extent(&EXTENT).is_ok());
            let limited = text.replacen("0.1", r#"0.1, "over": { "epochs": 2 }"#, 1);
            assert!(read(&limited).check_extent(&endless).is_ok(), "{limited}");
        }
        assert!(read("0.1").check_extent(&endless).is_ok());
    }

    #[test]
    fn mistakes_are_told_with_their_fields_all_at_once() {
        let fields = |text| -> Vec<String> {
            let wrong = read(text).check("learning_rate");
            wrong.iter().map(|wrong| wrong.field.join(".")).collect()
        };
        assert_eq!(fields("-0.1"), ["learning_rate"]);
        assert_eq!(Schedule::Constant(1e300).check("learning_rate").len(), 1);
        for (text, wrong) in [
            (
                r#"{ "exponential": { "initial": -1, "factor": 0, "every": { "images": 0 },
                     "warm_up": { "epochs": 0 } } }"#,
                vec!["initial", "factor", "every", "warm_up"],
            ),
            (
                r#"{ "inverse_sqrt": { "initial": -1, "after": { "epochs": 0 },
                     "warm_up": { "images": 0 } } }"#,
                vec!["initial", "after", "warm_up"],
            ),
            (
                r#"{ "linear": { "initial": -1, "final": -1, "over": { "epochs": -1 } } }"#,
                vec!["initial", "final", "over"],
            ),
            (
                r#"{ "cosine": { "initial": -1, "final": -1, "over": { "images": 0 } } }"#,
                vec!["initial", "final", "over"],
            ),
            (
                r#"{ "one_cycle": { "peak": -1, "start": -1, "final": -1, "rise": 1,
                     "over": { "epochs": 0 } } }"#,
                vec!["peak", "start", "final", "rise", "over"],
            ),
            (
                r#"{ "piecewise": { "initial": -1, "then": [
                     { "after": { "epochs": 2 }, "rate": -1 },
                     { "after": { "epochs": 2 }, "rate": 1 },
                     { "after": { "images": 9 }, "rate": 1 } ] } }"#,
                vec!["initial", "then.0.rate", "then.1.after", "then.2.after"],
            ),
        ] {
            let (name, _) = text[3..].split_once('"').expect("a name");
            let wrong: Vec<_> =
                wrong.iter().map(|field| format!("learning_rate.{name}.{field}")).collect();
            assert_eq!(fields(text), wrong);
        }
    }

    #[test]
    fn numbers_and_one_schedule_are_read_and_anything_else_is_explained() {
        let wrong = |text| {
            testing::refused(
                |node, path, problems| Schedule::read(&all(), node, path, problems),
                text,
            )
        };
        assert_eq!(read("1"), Schedule::Constant(1.0));
        for text in ["\"fast\"", "cosine", "[1]", "null", "{}"] {
            assert!(wrong(text).contains("a number such as 0.1"), "{text}: {}", wrong(text));
        }
        assert!(wrong(r#"{ "cosin": {} }"#).contains("cosine"));
        let both = r#"{ "cosine": { "initial": 1 }, "linear": { "initial": 1 } }"#;
        assert!(
            wrong(both).contains("expected one schedule, found `cosine` and `linear`"),
            "{}",
            wrong(both)
        );
    }
}
