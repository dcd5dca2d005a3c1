//! How weights follow their gradients: one file each, and one line in each list below.

pub mod adam;
pub mod adamw;
pub mod momentum;
pub mod sgd;

use compute::graph::{Extension, Parameter};
use flow::stage::Mismatch;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use adam::Adam;
use adamw::AdamW;
use momentum::Momentum;
use sgd::Sgd;

/// How weights follow their gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = or_its_name)]
pub enum Optimizer {
    /// Against the gradient: `weights -= rate * gradients`.
    Sgd(Sgd),
    /// Against a decaying sum of the gradients.
    Momentum(Momentum),
    /// Against the mean of the gradients over the root of their mean square.
    Adam(Adam),
    /// As `adam`, with a weight decay that does not go through the gradients: layers'
    /// `weight_decay` shrinks their weights by `rate * weight_decay` each step and adds no term to
    /// the loss.
    #[serde(rename = "adamw")]
    AdamW(AdamW),
}

/// The name alone stands for all defaults, which serde's enums say nothing of.
fn or_its_name(schema: &mut Schema) {
    let Some(Value::Array(forms)) = schema.get_mut("oneOf") else { return };
    let names = forms.iter().filter_map(|form| form["required"].get(0).cloned());
    let names: Vec<Value> = names.collect();
    forms.push(json!({ "enum": names }));
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Sgd(Sgd {})
    }
}

impl Optimizer {
    fn rule(&self) -> &dyn Rule {
        match self {
            Self::Sgd(rule) => rule,
            Self::Momentum(rule) => rule,
            Self::Adam(rule) => rule,
            Self::AdamW(rule) => rule,
        }
    }

    /// What is wrong with its fields.
    pub fn check(&self) -> Vec<Mismatch> {
        let name = match self {
            Self::Sgd(_) => "sgd",
            Self::Momentum(_) => "momentum",
            Self::Adam(_) => "adam",
            Self::AdamW(_) => "adamw",
        };
        self.rule().check().into_iter().map(|wrong| wrong.below(&[name])).collect()
    }

    /// Whether it decays weights by itself. Else the decay is a term of the loss, and part of the
    /// gradient.
    pub fn decays(&self) -> bool {
        self.rule().decays()
    }

    /// Adds the step of one parameter to the update.
    pub fn lower(&self, graph: &mut Extension, parameter: &Parameter) {
        self.rule().lower(graph, parameter);
    }
}

/// What an optimiser says of itself.
trait Rule {
    /// What is wrong with its fields.
    fn check(&self) -> Vec<Mismatch> {
        Vec::new()
    }

    /// See [`Optimizer::decays`].
    fn decays(&self) -> bool {
        false
    }

    /// See [`Optimizer::lower`].
    fn lower(&self, graph: &mut Extension, parameter: &Parameter);
}

/// Refuses shares of what was before that are none, or that would never let go of it.
fn check_kept(field: &str, kept: f64) -> Option<Mismatch> {
    let found = format!("expected a number from 0 to below 1, found {kept}");
    (!(0.0..1.0).contains(&kept)).then(|| Mismatch::field(field, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Optimizer {
        serde_json::from_str(text).expect("an optimiser")
    }

    #[test]
    fn the_schema_takes_names_alone() {
        let schema = schemars::schema_for!(Optimizer);
        let forms = schema.get("oneOf").and_then(Value::as_array).expect("several forms");
        let names = forms.last().expect("a form");
        assert_eq!(*names, json!({ "enum": ["sgd", "momentum", "adam", "adamw"] }));
    }

    #[test]
    fn fields_out_of_range_are_told_all_at_once() {
        let fields = |text| -> Vec<String> {
            read(text).check().iter().map(|wrong| wrong.field.join(".")).collect()
        };
        for right in [
            r#"{ "sgd": {} }"#,
            r#"{ "momentum": {} }"#,
            r#"{ "momentum": { "momentum": 0, "nesterov": true } }"#,
            r#"{ "adam": { "beta1": 0 } }"#,
            r#"{ "adamw": {} }"#,
        ] {
            assert!(fields(right).is_empty(), "{right}");
        }
        assert_eq!(fields(r#"{ "momentum": { "momentum": 1 } }"#), ["momentum.momentum"]);
        assert_eq!(
            fields(r#"{ "adam": { "beta1": -0.1, "beta2": 1, "epsilon": 0 } }"#),
            ["adam.beta1", "adam.beta2", "adam.epsilon"]
        );
        assert_eq!(fields(r#"{ "adamw": { "epsilon": -1 } }"#), ["adamw.epsilon"]);
        // In f32 such a number is 0.
        assert_eq!(fields(r#"{ "adamw": { "epsilon": 1e-60 } }"#), ["adamw.epsilon"]);
    }
}
