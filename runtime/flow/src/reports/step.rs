//! Steps of training, as they are logged.

use serde::{Deserialize, Serialize};

use super::{TowersStep, real};

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
