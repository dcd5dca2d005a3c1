//! Steps of training, as they are logged.

use serde::{Deserialize, Serialize};

use super::real;

/// One step of training, as logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step's number, from 0.
    pub step: u64,
    /// The number of steps of the run, if it has an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_steps: Option<u64>,
    /// Passes over the training data that are done with it.
    #[serde(deserialize_with = "real")]
    pub epoch: f64,
    /// Cross-entropy plus decay terms, before the update.
    #[serde(deserialize_with = "real")]
    pub loss: f64,
    /// Its moving average over steps.
    #[serde(deserialize_with = "real")]
    pub loss_average: f64,
    /// The terms of the loss.
    #[serde(with = "terms")]
    pub terms: Vec<LossTerm>,
    /// Learning rate of the step.
    #[serde(deserialize_with = "real")]
    pub learning_rate: f64,
    /// Images per second since the last report.
    #[serde(deserialize_with = "real")]
    pub images_per_s: f64,
    /// Seconds per batch since the last report.
    #[serde(deserialize_with = "real")]
    pub batch_s: f64,
    /// What each of several adapters did since the last report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub towers: Option<TowersStep>,
}

/// What several adapters did, on average over some steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TowersStep {
    /// From when the first one had its gradient to when the last one had, in ms.
    pub wait_ms: f64,
    /// Summing gradients, in ms; some of it while adapters are still at work.
    pub reduce_ms: f64,
    /// Adding up the sums of all processes of a job, and waiting for the slowest, in ms, once this
    /// one has its own; 0 for a process that is alone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exchange_ms: f64,
    /// Applying the update, and reading the new weights, in ms.
    pub update_ms: f64,
    /// Each of them.
    pub each: Vec<TowerStep>,
}

fn is_zero(ms: &f64) -> bool {
    *ms == 0.0
}

/// What one of several adapters did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TowerStep {
    /// `tower_0`, `tower_1`, ..
    pub name: String,
    /// Images that it computed in a second of the run.
    pub images_per_s: f64,
    /// Computing, in ms, and copying gradients of later layers meanwhile.
    pub compute_ms: f64,
    /// Waiting for the rest of its gradient after that, in ms.
    pub copy_ms: f64,
}

/// One term of the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct LossTerm {
    /// Such as `cross_entropy`.
    pub name: String,
    /// Its value at the step.
    pub raw: f64,
    /// Its moving average over steps.
    pub average: f64,
}

/// Terms of the loss as `{ "NAME": { "raw": 1.0, "average": 1.0 } }`, in their order.
mod terms {
    use std::fmt;

    use serde::de::{MapAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::real;
    use super::LossTerm;

    #[derive(Serialize, Deserialize)]
    struct Values {
        #[serde(deserialize_with = "real")]
        raw: f64,
        #[serde(deserialize_with = "real")]
        average: f64,
    }

    pub(super) fn serialize<S: Serializer>(terms: &[LossTerm], to: S) -> Result<S::Ok, S::Error> {
        let values = |term: &LossTerm| Values { raw: term.raw, average: term.average };
        to.collect_map(terms.iter().map(|term| (&term.name, values(term))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<LossTerm>, D::Error> {
        struct Terms;

        impl<'de> Visitor<'de> for Terms {
            type Value = Vec<LossTerm>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the terms of the loss by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut terms = Vec::new();
                while let Some((name, Values { raw, average })) = map.next_entry()? {
                    terms.push(LossTerm { name, raw, average });
                }
                Ok(terms)
            }
        }

        from.deserialize_map(Terms)
    }
}
