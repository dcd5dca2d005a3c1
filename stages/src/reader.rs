//! Reads a data set into memory and gives out its images, epoch after epoch.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use futures::FutureExt;
use futures::future::BoxFuture;
use runtime::channel::Ports;
use runtime::event::Event;
use runtime::item::{Block, Item, Limit, Source};
use runtime::port::{ImageType, PixelType, Port};
use runtime::stage::{Config, Context, Kind, Mismatch, Runner, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::place;
use crate::data::synthetic::{self, Synthetic};
use crate::data::{DataSet, Split, cifar10, thousands};

/// Reads a data set into memory and gives out its images in the order of the files, epoch after
/// epoch without end; put a `shuffler` behind it to train.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// What is read.
    pub format: Format,
    /// The part of the data set.
    pub split: Split,
    /// A folder with the data set's files, with its unpacked folder or with its archive, or the
    /// archive itself; relative to the pipeline's folder. `--data` goes before it, the environment
    /// variable `GRADFLOW_DATA` after it.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// What to use if the data is in none of these places. Without it, that is an error; and if
    /// `--data` is given and the data is not there, that is an error too.
    #[serde(default)]
    pub otherwise: Option<Otherwise>,
}

/// What is read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// CIFAR-10 in its binary version: 32x32 RGB photos of 10 classes, 50,000 to train on and
    /// 10,000 to test with.
    Cifar10,
    /// Nothing: 32x32 RGB drawings of 10 classes are made up.
    Synthetic(Synthetic),
}

/// What to use if the data is not there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Otherwise {
    /// Drawings of 10 classes, made up.
    pub synthetic: Synthetic,
    /// Passes over the drawings after which the run ends, instead of the run's own end. If absent,
    /// the run's own end holds.
    #[serde(default)]
    pub epochs: Option<f64>,
}

/// The kind of this stage.
pub fn kind() -> Kind {
    Kind::of::<Reader>(
        "reader",
        "Reads a data set into memory and gives out its images, epoch after epoch.",
        "{ format: cifar10, split: train, otherwise: { synthetic: {}, epochs: 3 } }",
    )
}

impl Config for Reader {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        if !inputs.is_empty() {
            let message = format!("reader takes nothing in, and `from` names {}", inputs.len());
            return Err(Mismatch::new(message).help("remove `from`"));
        }
        if let Format::Synthetic(synthetic) = &self.format {
            synthetic.check().map_err(|wrong| wrong.below(&["format", "synthetic"]))?;
        }
        if let Some(otherwise) = &self.otherwise {
            otherwise
                .synthetic
                .check()
                .map_err(|wrong| wrong.below(&["otherwise", "synthetic"]))?;
            if let Some(epochs) = otherwise.epochs
                && !(epochs.is_finite() && epochs > 0.0)
            {
                let message = format!("expected more than 0 passes over the data, found {epochs}");
                return Err(Mismatch::field("otherwise.epochs", message)
                    .help("remove it to keep the run's own end"));
            }
        }
        // Both formats have images of the same type.
        Ok(Some(Port::Samples(ImageType {
            pixel: PixelType::U8,
            shape: cifar10::SHAPE,
            classes: cifar10::CLASSES.len(),
        })))
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let (data, stands_in_for, limit) = self.load(context)?;
        let images = data.labels.len() as u64;
        let description =
            format!("{} {}, {} images", data.name, self.split.name(), thousands(images));
        if self.split == Split::Train {
            context.events.fact("data", &description);
        }
        let source = Arc::new(Source {
            description,
            epoch_images: images,
            classes: data.classes.clone(),
            stands_in_for,
            limit,
        });
        let block_images = context.run.block_images.max(1);
        Ok(Runner::Stage(Box::new(Reading { data, source, block_images })))
    }

    fn warnings(&self, _: &[Port]) -> Vec<Mismatch> {
        let made_up = matches!(self.format, Format::Synthetic(_));
        [("path", self.path.is_some()), ("otherwise", self.otherwise.is_some())]
            .into_iter()
            .filter(|(_, set)| made_up && *set)
            .map(|(field, _)| {
                Mismatch::field(
                    field,
                    "changes nothing with format `synthetic`, which reads no file",
                )
                .help("remove it")
            })
            .collect()
    }
}

/// A data set, what it stands in for, and the limit that it brings along.
type Loaded = (DataSet, Option<String>, Option<Limit>);

impl Reader {
    fn load(&self, context: &Context<'_>) -> Result<Loaded> {
        if let Format::Synthetic(synthetic) = &self.format {
            return Ok((synthetic.draw(self.split)?, None, None));
        }
        let looked_at = self.places(context);
        for (said, path) in &looked_at {
            if let Some(place) = place::find(path, &cifar10::LAYOUT)? {
                let data = cifar10::load(&place, self.split)
                    .with_context(|| format!("cannot use the data of {said}"))?;
                return Ok((data, None, None));
            }
        }
        match &self.otherwise {
            Some(otherwise) if context.run.data.is_none() => {
                context.events.emit(Event::Warning(format!(
                    "this is not CIFAR-10, which was not found ({}): {} stand in for it, and \
                     results say nothing about CIFAR-10.\n{}",
                    summary(&looked_at),
                    synthetic::NAME,
                    cifar10::HOW_TO_GET
                )));
                let limit =
                    otherwise.epochs.map(|epochs| Limit { epochs: Some(epochs), steps: None });
                let data = otherwise.synthetic.draw(self.split)?;
                Ok((data, Some(cifar10::NAME.to_owned()), limit))
            }
            _ => {
                bail!("CIFAR-10 was not found ({}).\n{}", summary(&looked_at), cifar10::HOW_TO_GET)
            }
        }
    }

    /// The places to look at in order, each with who named it.
    fn places(&self, context: &Context<'_>) -> Vec<(String, PathBuf)> {
        let run = context.run;
        // Whoever names a place on the command line wants the data from there and nowhere else.
        if let Some(data) = &run.data {
            return vec![(format!("--data {}", data.display()), data.clone())];
        }
        let mut places = Vec::new();
        if let Some(path) = &self.path {
            places.push((format!("path: {}", path.display()), run.folder.join(path)));
        }
        if let Some(data) = &run.data_default {
            places.push((format!("GRADFLOW_DATA={}", data.display()), data.clone()));
        }
        places
    }
}

fn summary(looked_at: &[(String, PathBuf)]) -> String {
    if looked_at.is_empty() {
        return "neither --data nor GRADFLOW_DATA says where it is".to_owned();
    }
    let places: Vec<String> = looked_at
        .iter()
        .map(|(said, path): &(String, PathBuf)| format!("{said}: {}", place::describe(path)))
        .collect();
    places.join("; ")
}

/// A data set in memory, given out.
struct Reading {
    data: DataSet,
    source: Arc<Source>,
    block_images: usize,
}

impl Reading {
    /// The blocks of one epoch.
    fn epoch(&self, epoch: u64) -> impl Iterator<Item = Block> {
        let count = self.data.labels.len();
        (0..count).step_by(self.block_images).map(move |first| {
            let end = first.saturating_add(self.block_images).min(count);
            Block {
                source: self.source.clone(),
                samples: (first..end).map(|index| self.data.sample(epoch, index)).collect(),
                ends_epoch: end == count,
            }
        })
    }
}

impl Stage for Reading {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            for epoch in 0.. {
                for block in self.epoch(epoch) {
                    if ports.send(Item::Block(block)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }
}
