//! How weights follow their gradients: one file each, and one line in the list.

use std::ops::Deref;
use std::sync::Arc;

use compute::graph::{Extension, Parameter};
use flow::stage::{Chosen, Family, Mismatch, Variant};
use serde::Serialize;

base::registry! {
    /// Every optimiser that comes with Gradflow.
    pub fn all() -> Vec<OptimizerKind> from kind();

    pub mod sgd;
    pub mod momentum;
    pub mod adam;
    pub mod adamw;
    pub mod lion;
}

/// One kind of optimiser.
pub type OptimizerKind = Variant<dyn UpdateRule>;

impl<T: UpdateRule + 'static> Family<T> for dyn UpdateRule {
    fn of(rule: T) -> Arc<Self> {
        Arc::new(rule)
    }
}

/// How weights follow their gradients.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Optimizer(pub Chosen<dyn UpdateRule>);

impl Default for Optimizer {
    fn default() -> Self {
        Self::of("sgd", sgd::Sgd {})
    }
}

impl Deref for Optimizer {
    type Target = dyn UpdateRule;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Optimizer {
    /// This rule, under its name in the YAML.
    ///
    /// # Panics
    /// If its fields have no form in YAML.
    pub fn of<T: UpdateRule + Serialize + 'static>(name: &'static str, rule: T) -> Self {
        Self(Chosen::new(name, rule))
    }

    /// What is wrong with its fields.
    pub fn check(&self) -> Vec<Mismatch> {
        let name = self.0.name();
        self.0.check().into_iter().map(|wrong| wrong.below(&[name])).collect()
    }
}

/// What an optimiser says of itself. Its values are the fields that YAML gives it.
pub trait UpdateRule: Send + Sync {
    /// What is wrong with its fields.
    fn check(&self) -> Vec<Mismatch> {
        Vec::new()
    }

    /// Whether it decays weights by itself. Else the decay is a term of the loss, and part of the
    /// gradient.
    fn decays(&self) -> bool {
        false
    }

    /// The optimiser that this is where no layer has a weight decay, if another one says so more plainly.
    fn without_decay(&self) -> Option<&'static str> {
        None
    }

    /// Adds the step of one parameter to the update.
    fn lower(&self, graph: &mut Extension, parameter: &Parameter);
}

/// Refuses shares of what was before that are none, or that would never let go of it.
fn check_kept(field: &str, kept: f64) -> Option<Mismatch> {
    let found = format!("expected a number from 0 to below 1, found {kept}");
    (!(0.0..1.0).contains(&kept)).then(|| Mismatch::field(field, found))
}

#[cfg(test)]
mod tests {
    use schemars::SchemaGenerator;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Optimizer {
        Optimizer(crate::testing::choose(&all(), text))
    }

    #[test]
    fn the_schema_takes_names_alone() {
        let schema = OptimizerKind::schema_of(&all(), &mut SchemaGenerator::default());
        let forms = schema.get("oneOf").and_then(Value::as_array).expect("several forms");
        let names: Vec<&str> = all().iter().map(|kind| kind.name).collect();
        assert_eq!(forms.last(), Some(&json!({ "enum": names })));
    }

    #[test]
    fn every_example_is_right() {
        for kind in all() {
            let named = format!("{{ {}: {} }}", kind.name, kind.example);
            assert!(read(&named).check().is_empty(), "{named}");
        }
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
        let tiny = adam::Adam { epsilon: 1e-60, ..adam::Adam::default() };
        assert_eq!(Optimizer::of("adam", tiny).check()[0].field, ["adam", "epsilon"]);
    }
}
