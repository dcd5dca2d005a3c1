//! The `model` stage: layers as data.
//!
//! With layers of its own it trains: it hands each batch to the owner of the weights, a reducer,
//! as a gradient to compute. With weights as a second input it scores batches with those.

pub mod compile;
mod export;
pub mod initializer;
pub mod layer;
pub mod layers;
mod remarks;
pub mod score;
pub mod train;
pub mod tutorial;
pub mod window;

use std::sync::Arc;

use anyhow::Result;
use compute::adapter::Lowering;
use compute::graph::Graph;
use config::decode::{self, Problem, Problems};
use config::entry::entry;
use config::node::{Node, Path};
use flow::event::Event;
use flow::lint::{Around, Note};
use flow::port::{ImageType, Port};
use flow::stage::{Config, Context, Exports, Kind, Mismatch, Parsed, Runner};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use compile::{ListedLayer, compile};
use layer::LayerKind;

use crate::Catalog;
use crate::data::thousands;
use crate::lints::{
    ACTIVATION_BEFORE_LOSS, BATCH_NORM_MOMENTUM, DROPOUT_BEFORE_LOSS, LINEAR_LAYERS,
    PER_ADAPTER_STATISTICS, UNSHUFFLED,
};

/// Parts in which a gradient of this length is summed over images. Enough for a GPU to be busy
/// with small gradients; of large ones a few, as a part is what one thread of the host sums, but no
/// more than what half of a binding holds that WebGPU promises. A power of two: the parts of all
/// gradients then begin at the same images of a usual batch, which lets the host take the same few
/// images through several layers.
pub(crate) fn splits(length: usize) -> usize {
    const MOST: usize = 64;
    const FEW: usize = 8;
    const NUMBERS_OF_MANY: usize = 1 << 21;
    const NUMBERS: usize = 1 << 24;
    let length = length.max(1);
    let most = (NUMBERS_OF_MANY / length).clamp(FEW, MOST).min(NUMBERS / length).max(1);
    1 << most.ilog2()
}

/// The fields of the stage beside `layers`, whose kinds have a parser of their own.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// Layers, in order. Each is `{ name: .., from: .., trainable: .., KIND: { .. } }`; a name is made
    /// of the kind if none is given, without `from` a layer reads the one before it, and with
    /// `trainable: false` its weights stay as they are. Left out where `weights` come from a reducer:
    /// they bring their layers.
    #[serde(default)]
    #[allow(dead_code, reason = "read by a parser of its own; declared for the schema")]
    layers: Option<Vec<serde_json::Value>>,
    /// When scoring: whether to use the weights' moving averages.
    #[serde(default = "yes")]
    averaged: bool,
    /// When scoring: which adapter computes, by index, name or `auto`. The run's if not given.
    #[serde(default)]
    adapter: Option<String>,
}

fn yes() -> bool {
    true
}

/// What may stand beside a layer's kind.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "declared for the schema")]
struct Beside {
    /// A name of one's own choice. Weights go by it in checkpoints.
    #[serde(default)]
    name: Option<String>,
    /// The names of what this reads, if not what stands before it.
    #[serde(default)]
    #[schemars(extend("type" = ["string", "array", "null"]))]
    from: Option<Vec<String>>,
    /// Whether its weights are trained. With `false` they stay as they are: no gradients, no weight
    /// decay, no step; a `batch_norm` takes its running statistics in training as well. Only for
    /// layers with weights, which `init_from` of the reducer gives them.
    #[serde(default = "yes")]
    trainable: bool,
}

/// A model.
#[derive(Debug, Clone)]
pub struct Model {
    layers: Vec<ListedLayer>,
    averaged: bool,
    adapter: Option<String>,
}

/// The kind.
pub fn kind(catalog: &Catalog) -> Kind {
    let layers = catalog.layers.clone();
    let parts = layers.iter().map(LayerKind::part).collect();
    Kind {
        name: "model",
        about: "Computes gradients of its layers on batches; with weights as a second input, \
                scores.",
        example: "{ layers: [ { dense: { units: 10 } }, { softmax_cross_entropy: {} } ] }",
        schema: schemars::schema_for!(Fields),
        parse: Arc::new(move |node, path, problems| {
            let parsed = parse(&layers, node, path, problems)?;
            Some(parsed.map(|model| Box::new(model) as Box<dyn Config>))
        }),
        parts,
        beside_parts: Some(schemars::schema_for!(Beside)),
        downloads: Vec::new(),
        lints: vec![
            &ACTIVATION_BEFORE_LOSS,
            &DROPOUT_BEFORE_LOSS,
            &LINEAR_LAYERS,
            &BATCH_NORM_MOMENTUM,
            &PER_ADAPTER_STATISTICS,
            &UNSHUFFLED,
        ],
    }
}

fn parse(
    kinds: &[LayerKind],
    node: &Node,
    path: &Path,
    problems: &mut Problems,
) -> Option<Parsed<Model>> {
    let listed = node.get("layers").cloned();
    let fields: Option<Parsed<Fields>> = match node {
        Node::Map(entries) => {
            let others = entries.iter().filter(|(key, _)| key != "layers").cloned().collect();
            Parsed::read(&Node::Map(others), path, problems)
        }
        other => Parsed::read(other, path, problems),
    };
    let here = path.join("layers");
    let layers = match listed {
        None | Some(Node::Null) => Some(Vec::new()),
        Some(Node::List(items)) => {
            let parsed: Vec<Option<Parsed<ListedLayer>>> = items
                .iter()
                .enumerate()
                .map(|(i, item)| parse_layer(kinds, item, &here.join(i), problems))
                .collect();
            parsed.into_iter().collect()
        }
        Some(other) => {
            problems.push(Problem {
                path: here,
                on_key: false,
                message: format!("expected a list of layers, found {}", other.describe()),
                help: Some("write one layer per line, each beginning with `- `".to_owned()),
            });
            None
        }
    };
    let (Parsed { value: Fields { averaged, adapter, .. }, mut fields }, layers) =
        (fields?, layers?);
    let (listed, layers): (Vec<Node>, Vec<ListedLayer>) =
        layers.into_iter().map(|layer| (layer.fields, layer.value)).unzip();
    if let (Node::Map(entries), false) = (&mut fields, listed.is_empty()) {
        entries.insert(0, ("layers".to_owned(), Node::List(listed)));
    }
    Some(Parsed { value: Model { layers, averaged, adapter }, fields })
}

fn parse_layer(
    kinds: &[LayerKind],
    node: &Node,
    path: &Path,
    problems: &mut Problems,
) -> Option<Parsed<ListedLayer>> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let found = entry(node, path, &["name", "from", "trainable"], &names, "layer", problems)?;
    let kind = &kinds[found.kind];
    let given = |key: &str| node.get(key).filter(|value| **value != Node::Null);
    let name =
        given("name").map(|name| decode::decode::<String>(name, &path.join("name"), problems));
    let from = given("from").map(|from| parse_from(from, &path.join("from"), problems));
    let trainable = given("trainable")
        .map(|value| decode::decode::<bool>(value, &path.join("trainable"), problems));
    let layer = (kind.parse)(found.body, &found.body_path, problems);
    // A field that is there must have been read.
    let name = match name {
        Some(name) => Some(name?),
        None => None,
    };
    let from = match from {
        Some(from) => Some(from?),
        None => None,
    };
    let trainable = match trainable {
        Some(trainable) => trainable?,
        None => true,
    };
    let layer = layer?;
    let mut entries = Vec::new();
    entries.extend(name.iter().map(|name| ("name".to_owned(), Node::Text(name.clone()))));
    entries.extend(from.iter().map(|from| {
        let names = from.iter().cloned().map(Node::Text).collect();
        ("from".to_owned(), Node::List(names))
    }));
    if !trainable {
        entries.push(("trainable".to_owned(), Node::Bool(false)));
    }
    entries.push((kind.name.to_owned(), layer.fields));
    let value = ListedLayer { name, from, trainable, kind: kind.name, layer: layer.value };
    Some(Parsed { value, fields: Node::Map(entries) })
}

fn parse_from(node: &Node, path: &Path, problems: &mut Problems) -> Option<Vec<String>> {
    match node.scalar() {
        Some(name) => Some(vec![name.into_owned()]),
        None => decode::decode(node, path, problems),
    }
}

/// What a model stage reads.
enum Reads {
    Training(ImageType, usize),
    Scoring { batches: usize, weights: usize, graph: Arc<Graph>, size: usize, views: usize },
}

impl Model {
    /// A model of these layers, for programs that build pipelines without YAML.
    pub fn new(layers: Vec<ListedLayer>) -> Self {
        Self { layers, averaged: true, adapter: None }
    }

    fn reads(&self, inputs: &[Port]) -> Result<Reads, Mismatch> {
        match inputs {
            [Port::Batches(image, _)] if image.views > 1 => {
                Err(Mismatch::new("views are for scoring, and these images are trained on")
                    .help("remove `views` from the cropper; `mode: random` makes many of one"))
            }
            [Port::Batches(image, size)] => Ok(Reads::Training(*image, *size)),
            [Port::Batches(image, size), Port::Weights(graph)] => {
                self.scoring(0, *image, *size, graph)
            }
            [Port::Weights(graph), Port::Batches(image, size)] => {
                self.scoring(1, *image, *size, graph)
            }
            [Port::Samples(_), ..] => {
                Err(Mismatch::new("a model takes batches, and gets images one by one")
                    .help("put a batcher before it"))
            }
            _ => Err(Mismatch::new(
                "a model takes batches to train on, or batches and weights to score with",
            )
            .help("`from: BATCHER` to train, `from: [BATCHER, REDUCER]` to score")),
        }
    }

    fn scoring(
        &self,
        batches: usize,
        image: ImageType,
        size: usize,
        graph: &Arc<Graph>,
    ) -> Result<Reads, Mismatch> {
        if !self.layers.is_empty() {
            return Err(Mismatch::field("layers", "the weights bring their own layers")
                .help("remove `layers` here"));
        }
        let takes = graph.images.map_or(&[] as &[usize], |id| &graph.tensor(id).shape);
        if takes != image.shape {
            return Err(Mismatch::new(format!(
                "the weights were made for images of {takes:?}, and these are {:?}",
                image.shape
            ))
            .help("crop the images to the same size in both flows"));
        }
        let classes = graph.labels.map_or(0, |id| graph.tensor(id).len());
        if classes != image.classes {
            return Err(Mismatch::new(format!(
                "the weights were made for {classes} classes, and these images have {}",
                image.classes
            ))
            .help("score images of the data set that was trained on"));
        }
        if !image.whole_epochs {
            return Err(Mismatch::new(
                "evaluation needs each image exactly once per pass, and these batches blur passes",
            )
            .help(
                "set `partial: keep` on the batcher, and have no shuffler of `mode: queue` before \
                 it",
            ));
        }
        let (weights, graph, views) = (1 - batches, Arc::clone(graph), image.views);
        Ok(Reads::Scoring { batches, weights, graph, size, views })
    }

    fn compile(&self, image: ImageType) -> Result<Arc<Graph>, Mismatch> {
        if self.layers.is_empty() {
            return Err(Mismatch::new("a model that trains needs `layers`")
                .help("list its layers, the loss last; `runtime list` names them"));
        }
        compile(&self.layers, image.shape, image.classes).map(Arc::new)
    }
}

impl Config for Model {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        match self.reads(inputs)? {
            Reads::Training(image, size) => Ok(Some(Port::Gradients(self.compile(image)?, size))),
            Reads::Scoring { graph, .. } => {
                let classes = graph.labels.map_or(0, |id| graph.tensor(id).len());
                Ok(Some(Port::Scores(classes)))
            }
        }
    }

    fn passes_absent(&self) -> bool {
        true
    }

    fn notes(&self, around: &Around<'_>) -> Vec<Note> {
        let of_layer = |(place, listed): (usize, &ListedLayer)| {
            let place = place.to_string();
            // They are about training it.
            let notes = listed.layer.notes().into_iter().filter(|_| listed.trainable);
            let located = notes
                .map(|Note { lint, what }| lint.note(what.below(&["layers", &place, listed.kind])));
            located.collect::<Vec<_>>()
        };
        let mut notes: Vec<Note> = self.layers.iter().enumerate().flat_map(of_layer).collect();
        if let Some(Port::Gradients(graph, _)) = around.output {
            notes.extend(remarks::remarks(&self.layers, graph));
        }
        notes
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let wrong = |mismatch: Mismatch| anyhow::anyhow!(mismatch.message);
        match self.reads(context.inputs).map_err(wrong)? {
            Reads::Training(image, size) => {
                let source = context.sources.first().and_then(Option::as_ref);
                let in_a_row = source.and_then(|source| source.in_a_row);
                if let Some(images) = in_a_row.filter(|images| *images >= size as u64 / 2) {
                    context.remark(
                        &UNSHUFFLED,
                        &format!(
                            "images come class by class, up to {} of one in a row, and nothing \
                             shuffles them: put a shuffler behind the reader",
                            thousands(images)
                        ),
                    );
                }
                Ok(Runner::Stage(Box::new(train::Train::new(image.classes))))
            }
            Reads::Scoring { batches, weights, graph, size, views } => {
                let source = |input| context.sources.get(input).and_then(Option::as_ref);
                if let (Some(scored), Some(trained)) = (source(batches), source(weights)) {
                    score::check_classes(&trained.classes, scored)?;
                }
                let asked = self.adapter.as_deref().or(context.run.compute.adapter.as_deref());
                let precision = context.run.compute.precision;
                let (adapter, offered) = context
                    .run
                    .compute
                    .brought
                    .select_nearest(asked.unwrap_or("auto"), precision)?;
                if offered != precision {
                    let info = adapter.info();
                    context.events.emit(Event::Warning(format!(
                        "{}/{} does not compute in {precision}: it scores in {offered}",
                        info.backend, info.name
                    )));
                }
                let how = Lowering { precision: offered, ..context.run.compute.lowering(size) };
                let score = score::Score::new(adapter.as_ref(), &graph, how, self.averaged)?;
                let lane = context.run.compute.job.lane_of(context.stage)?;
                let score = score.reading(batches, weights).views(views).sharing(lane);
                Ok(Runner::Stage(Box::new(score.telling(context.events.clone()))))
            }
        }
    }

    fn summary(&self, inputs: &[Port]) -> Option<String> {
        let Ok(Reads::Training(image, _)) = self.reads(inputs) else { return None };
        self.compile(image).ok().map(|graph| table(&graph))
    }

    fn as_exports(&self) -> Option<&dyn Exports> {
        Some(self)
    }
}

impl Exports for Model {
    fn onnx(&self, file: &mut onnx::Builder, images: &onnx::Value) -> Result<onnx::Value> {
        export::export(&self.layers, file, images)
    }
}

/// What each layer puts out, holds and costs.
fn table(graph: &Graph) -> String {
    let mut text = format!(
        "{:<24}{:<24}{:>14}{:>14}{:>16}\n",
        "layer", "kind", "output", "parameters", "multiply-adds"
    );
    for layer in &graph.layers {
        let output = format!("{:?}", layer.output);
        text.push_str(&format!(
            "{:<24}{:<24}{output:>14}{:>14}{:>16}\n",
            layer.name,
            if layer.frozen { format!("{}, frozen", layer.kind) } else { layer.kind.to_owned() },
            thousands(layer.parameters as u64),
            thousands(layer.multiply_adds),
        ));
    }
    text.push_str(&format!(
        "{:<62}{:>14}{:>16}\n",
        "in all, per image (products with padding counted)",
        thousands((graph.parameter_count() + graph.frozen_count()) as u64),
        thousands(graph.multiply_adds()),
    ));
    if graph.frozen().next().is_some() {
        let trained = thousands(graph.parameter_count() as u64);
        let frozen = thousands(graph.frozen_count() as u64);
        text.push_str(&format!("{:<62}{trained:>14}\n{:<62}{frozen:>14}\n", "trained", "frozen"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_gradients_are_summed_in_fewer_parts() {
        assert_eq!(splits(4800), 64);
        assert_eq!(splits(1 << 21), 8);
        assert_eq!(splits(3 << 20), 4);
        assert_eq!(splits(1 << 30), 1);
    }
}
