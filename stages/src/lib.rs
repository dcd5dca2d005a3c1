//! The stages of a pipeline, and what their fields choose from: layers, optimisers, schedules, formats
//! of data. Each is one file, and one line in the list of its kind: [`kinds`], [`model::layers::all`],
//! [`optimizer::all`], [`schedule::all`], [`data::formats`].

pub mod beta;
pub mod channels;
pub mod data;
pub mod effect;
pub mod extent;
pub mod golden;
pub mod idle;
pub mod inputs;
pub mod lanes;
pub mod lints;
pub mod mirror;
pub mod optimizer;
pub mod padding;
pub mod patch;
pub mod probability;
pub mod resample;
pub mod schedule;
pub mod switch;
#[cfg(test)]
mod testing;
pub mod workers;

use data::format::FormatKind;
use flow::stage::Kind;
use model::layer::LayerKind;
use model::layers;
use optimizer::OptimizerKind;
use schedule::ScheduleKind;

base::registry! {
    /// Every kind of stage, which choose from this catalog.
    pub fn kinds(catalog: &Catalog) -> Vec<Kind> from kind(catalog);

    pub mod reader;
    pub mod shuffler;
    pub mod cropper;
    pub mod resizer;
    pub mod distorter;
    pub mod color_jitter;
    pub mod cutout;
    pub mod grayscale;
    pub mod whitening;
    pub mod normalizer;
    pub mod batcher;
    pub mod mixer;
    pub mod model;
    pub mod reducer;
    pub mod evaluator;
}

/// What the fields of stages choose from by name.
#[derive(Clone)]
pub struct Catalog {
    /// The layers of a `model`.
    pub layers: Vec<LayerKind>,
    /// The optimisers of a `reducer`.
    pub optimizers: Vec<OptimizerKind>,
    /// The schedules of its learning rate.
    pub schedules: Vec<ScheduleKind>,
    /// The formats of a `reader`.
    pub formats: Vec<FormatKind>,
}

impl Default for Catalog {
    /// All that comes with Gradflow.
    fn default() -> Self {
        Self {
            layers: layers::all(),
            optimizers: optimizer::all(),
            schedules: schedule::all(),
            formats: data::formats(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use config::decode::{Problem, Problems};
    use config::node::Path;
    use config::yaml::Document;

    use super::*;

    #[test]
    fn names_are_unique_and_schemas_describe_every_field() {
        let kinds = kinds(&Catalog::default());
        let names: HashSet<_> = kinds.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), kinds.len());
        for kind in &kinds {
            let schema = serde_json::to_value(&kind.schema).expect("a schema is JSON");
            let Some(fields) = schema["properties"].as_object() else { continue };
            for (name, field) in fields {
                assert!(field["description"].is_string(), "{}.{name} has no docs", kind.name);
            }
        }
    }

    /// What is wrong with a body of this kind: place, message and help.
    fn problems(kind: &str, yaml: &str) -> Vec<String> {
        let kinds = kinds(&Catalog::default());
        let kind = kinds.iter().find(|known| known.name == kind).expect("a known kind");
        let document = Document::parse(yaml).expect("YAML");
        let mut problems = Problems::new();
        let parsed = (kind.parse)(document.node(), &Path::default(), &mut problems);
        assert_eq!(parsed.is_some(), problems.is_empty(), "{yaml}");
        let line = |problem: Problem| {
            format!("{}: {}, {}", problem.path, problem.message, problem.help.unwrap_or_default())
        };
        problems.into_iter().map(line).collect()
    }

    #[test]
    fn the_examples_are_right() {
        for kind in kinds(&Catalog::default()) {
            assert_eq!(problems(kind.name, kind.example), Vec::<String>::new(), "{}", kind.name);
        }
    }

    #[test]
    fn every_way_to_write_a_body_is_read_and_mistakes_are_placed() {
        for (kind, right) in [
            ("reader", "{ format: { synthetic: { train: 100 } }, split: test }"),
            ("reader", "{ split: train }"),
            ("reader", "{ format: cifar10, split: train, otherwise: { synthetic: {} } }"),
            ("reader", "{ split: train, otherwise: synthetic }"),
            ("reader", "{ split: train, otherwise: }"),
            ("reader", "{ format: cifar100, split: validation, validation: 0.1 }"),
            ("reader", "{ format: { cifar100: { labels: coarse } }, split: train }"),
            ("reader", "{ format: svhn, split: train, validation: { fraction: 0.2, seed: 1 } }"),
            ("reader", "{ format: { idx: { size_px: [28, 24], classes: [a, 7] } }, split: test }"),
            ("reader", "{ format: { images: { classes: [a, b], size_px: 9 } }, split: train }"),
            ("cropper", "{ size: [24, 16], mode: central }"),
            ("cropper", "{ size: 32, padding: { pixels: 4, mode: zero } }"),
            ("cropper", "{ size: 32, padding: null }"),
            ("cutout", "{ size_px: 8, fill: 127.5 }"),
            ("distorter", "{ flip: off, brightness: null, contrast: { lower: 0.5 } }"),
            ("distorter", "{ flip: { alternating: true } }"),
            ("resizer", "{ size: [24, 16], area: [0.5, 1], aspect: [1, 1] }"),
            ("color_jitter", "{ hue: false, saturation: { lower: 0 } }"),
            ("normalizer", "{ mean: 127.5, deviation: [64, 64, 64] }"),
            ("mixer", "{ mixup: {}, cutmix: null }"),
            ("shuffler", "{ mode: queue, start_at: 128 }"),
            ("reducer", "{ learning_rate: 1, optimizer: sgd }"),
            ("reducer", "{ learning_rate: { cosine: { initial: 0.1 } }, optimizer: adamw }"),
            ("reducer", "{ optimizer: { momentum: { nesterov: true } }, clip_norm: 1 }"),
            ("reducer", "{ optimizer: { adamw: { beta1: 0.95 } }, clip_norm: null }"),
            ("reducer", "{ optimizer: { lion: { beta1: 0.95 } } }"),
        ] {
            assert_eq!(problems(kind, right), Vec::<String>::new(), "{right}");
        }
        for (kind, wrong, place) in [
            ("reader", "{ format: cifar11, split: train }", "format"),
            ("reader", "{ format: cifar10 }", ""),
            (
                "reader",
                "{ format: { synthetic: { tran: 100 } }, split: test }",
                "format.synthetic.tran",
            ),
            ("reader", "{ format: { svhn: { exta: true } }, split: test }", "format.svhn.exta"),
            ("reader", "{ split: train, validation: some }", "validation"),
            ("reader", "{ format: { images: { grey: keep } }, split: test }", "format.images.grey"),
            ("cropper", "{ size: large }", "size"),
            ("cropper", "{ size: [24] }", "size"),
            ("cropper", "{ mode: middle }", "mode"),
            ("cropper", "{ padding: { pixel: 4 } }", "padding.pixel"),
            ("cropper", "{ padding: { pixels: 4, mode: wrap } }", "padding.mode"),
            ("cutout", "{ fill: median }", "fill"),
            ("distorter", "{ flip: { probabilty: 0.5 } }", "flip.probabilty"),
            ("distorter", "{ brightness: much }", "brightness"),
            ("resizer", "{ area: 0.5 }", "area"),
            ("normalizer", "{ mean: 127.5 }", ""),
            ("normalizer", "{ mean: grey, deviation: 1 }", "mean"),
            ("mixer", "{ mixup: { alfa: 1 } }", "mixup.alfa"),
            ("cropper", "{ workers: 1025 }", "workers"),
            ("distorter", "{ workers: 18446744073709551615 }", "workers"),
            ("whitening", "{ workers: -1 }", "workers"),
            ("batcher", "{ size: -1 }", "size"),
            ("reader", "{ split: train, otherwise: drawings }", "otherwise"),
            (
                "reader",
                "{ split: train, otherwise: { synthetic: { tran: 1 } } }",
                "otherwise.synthetic.tran",
            ),
            ("batcher", "{ partial: some }", "partial"),
            ("reducer", "{ learning_rate: fast }", "learning_rate"),
            ("reducer", "{ learning_rate: { cosin: { initial: 1 } } }", "learning_rate.cosin"),
            ("reducer", "{ learning_rate: { cosine: {} } }", "learning_rate.cosine"),
            (
                "reducer",
                "{ learning_rate: { linear: { initial: 1, over: { days: 1 } } } }",
                "learning_rate.linear.over.days",
            ),
            ("reducer", "{ optimizer: sdg }", "optimizer"),
            ("reducer", "{ optimizer: { adam: { beta3: 1 } } }", "optimizer.adam.beta3"),
            ("reducer", "{ optimizer: { adamw: { beta3: 1 } } }", "optimizer.adamw.beta3"),
            ("reducer", "{ optimizer: { lion: { epsilon: 1 } } }", "optimizer.lion.epsilon"),
        ] {
            let problems = problems(kind, wrong);
            let found = problems.iter().any(|problem| problem.starts_with(&format!("{place}: ")));
            assert!(found, "{wrong}: {problems:?}");
        }
    }
}
