//! Reads a data set and gives out its images, epoch after epoch.

use std::any::Any;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use config::shorthand::Shorthand;
use fetch::{Fetcher, Interrupted};
use flow::channel::Ports;
use flow::event::Event;
use flow::item::{Block, Image, Item, Label, Limit, Pixels, Position, Sample, SampleId, Source};
use flow::lint::{Around, Note};
use flow::photo::Rules;
use flow::port::{ImageType, Port};
use flow::preprocessing::Preprocessing;
use flow::reports::{DataReport, Identity};
use flow::stage::{
    Config, Context, Field, Kind, Mismatch, Prepares, Reads, RunSettings, Runner, Stage, read_later,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Catalog;
use crate::data::cifar10::Cifar10;
use crate::data::dataset::{Dataset, Shared};
use crate::data::format::{DataFormat, Drawings, Origin};
use crate::data::part::Part;
use crate::data::place::{self, Place, describe};
use crate::data::synthetic::{self, Synthetic};
use crate::data::validation::{Drawn, Validation};
use crate::data::{self, Format, Split, classes, listed, order, thousands};
use crate::lints::TURNED_IMAGES;

/// Reads a data set and gives out its images in the order of the files, epoch after epoch without
/// end; put a `shuffler` behind it to train. Readers of the same files open them once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// What is read.
    #[serde(default, deserialize_with = "read_later")]
    #[schemars(with = "serde_json::Value")]
    pub format: DataFormat,
    /// The part of the data set.
    pub split: Split,
    /// The share of the images to train on that is kept back for `split: validation`, such as 0.1,
    /// drawn with the run's seed and by what the images show: the same stay kept back when others are
    /// added, removed or renamed, and the share is met on average. The reader of the rest,
    /// `split: train`, needs the same.
    #[serde(default)]
    pub validation: Option<Validation>,
    /// A folder with the data set's files, with its unpacked folder or with its archive, or the
    /// archive itself; relative to the pipeline's folder, and as it is written: `~` and `$HOME` are
    /// not expanded. `--data` goes before it, the environment variable `GRADFLOW_DATA` after it. The
    /// first of the three that is given is the only place that is looked at, and it is an error if
    /// the data is not there. If none is given, the data is downloaded, once for all runs, where its
    /// format can be.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// What to use if no place is given and the data cannot be downloaded. Without it, that is an
    /// error.
    #[serde(default)]
    pub otherwise: Option<Otherwise>,
}

/// What to use if the data is not there. The text `synthetic` stands for `{ synthetic: {} }`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Otherwise {
    /// Drawings of 10 classes, made up.
    pub synthetic: Synthetic,
    /// Passes over the drawings after which the run ends, if it has not ended before.
    pub epochs: Option<f64>,
}

/// What to use if the data is not there, written out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenOut {
    /// Drawings of 10 classes, made up.
    synthetic: Synthetic,
    /// Passes over the drawings after which the run ends, if it has not ended before.
    #[serde(default)]
    epochs: Option<f64>,
}

const SYNTHETIC: &str = "synthetic";

impl<'de> Deserialize<'de> for Otherwise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shorthand::new("`synthetic` or `{ synthetic: {}, epochs: 3 }`")
            .text(|text| (text == SYNTHETIC).then(Self::default))
            .map(|WrittenOut { synthetic, epochs }| Self { synthetic, epochs })
            .read(deserializer)
    }
}

impl JsonSchema for Otherwise {
    fn schema_name() -> Cow<'static, str> {
        "Otherwise".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let written_out = generator.subschema_for::<WrittenOut>();
        json_schema!({ "anyOf": [written_out, { "const": SYNTHETIC }] })
    }
}

impl Default for DataFormat {
    /// CIFAR-10, the tutorial's.
    fn default() -> Self {
        Self::of("cifar10", Cifar10 {})
    }
}

/// The kind of this stage.
pub fn kind(catalog: &Catalog) -> Kind {
    let formats = catalog.formats.clone();
    let downloads = data::downloads(&formats);
    let kind = Kind::with_fields::<Reader>(
        "reader",
        "Reads a data set and gives out its images, epoch after epoch.",
        "{ format: cifar10, split: train, otherwise: { synthetic: {}, epochs: 3 } }",
        vec![Field::choice("format", "format", formats, |reader: &mut Reader, chosen| {
            reader.format = DataFormat(chosen);
        })],
    );
    Kind { downloads, lints: vec![&TURNED_IMAGES], ..kind }
}

impl Config for Reader {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        if !inputs.is_empty() {
            let message = format!("reader takes nothing in, and `from` names {}", inputs.len());
            return Err(Mismatch::new(message).help("remove `from`"));
        }
        let images = self.format.check()?;
        if let Some(wrong) = self.validation.and_then(|validation| validation.check()) {
            return Err(wrong);
        }
        let divided = self.format.divides_validation();
        if divided && self.validation.is_some() && self.split != Split::Test {
            let message = "the format names images of their own for `split: validation`, and \
                           `validation` would keep back a share of those to train on as well";
            return Err(Mismatch::field("validation", message)
                .help("remove it, or `validation` from the format's `folders` and `lists`"));
        }
        if self.split == Split::Validation && self.validation.is_none() && !divided {
            let message = "no images are kept back for `split: validation`";
            return Err(Mismatch::field("split", message)
                .help("add `validation: 0.1` here and to the reader of `split: train`"));
        }
        if let Some(otherwise) = &self.otherwise {
            if images != synthetic::IMAGES {
                let message = "the drawings that stand in are u8[32, 32, 3] of 10 classes, and \
                               this data is not";
                return Err(Mismatch::field("otherwise", message).help("remove it"));
            }
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
        Ok(Some(Port::Samples(ImageType {
            pixel: images.pixel,
            shape: images.shape,
            classes: images.classes,
            whole_epochs: true,
            views: 1,
        })))
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let (data, stands_in_for, limit, from) = self.load(context)?;
        let (part, identity) = self.part(data, context)?;
        let (data, labels) = (part.data(), part.labels());
        for told in self.doubts(data, &labels, &identity.hashes) {
            context.events.emit(Event::Warning(told));
        }
        let images = part.count() as u64;
        let description =
            format!("{} {}, {} images", data.name(), self.split.name(), thousands(images));
        if self.split == Split::Train {
            context.events.fact("data", format!("{description}{from}"));
        }
        let report = DataReport {
            stage: context.stage.to_owned(),
            description: description.clone(),
            split: self.split.name().to_owned(),
            crc32c: part.crc32c(),
            identity: Some(identity),
        };
        let checksum = format!("{description}, CRC-32C {:08x}", report.crc32c);
        context.run.compute.job.alike(format!("data for {}", context.stage), checksum);
        context.events.emit(Event::Data(report));
        let in_a_row = order::most_in_a_row(&labels);
        let source = Arc::new(Source {
            description,
            epoch_images: images,
            split: self.split.name().to_owned(),
            classes: data.classes().to_vec(),
            stands_in_for,
            limit,
            in_a_row,
        });
        let Position { samples, epoch_images, .. } = context.start;
        ensure!(
            epoch_images == 0 || epoch_images == images,
            "the run that is resumed had {epoch_images} images in an epoch, and {} has {images}: \
             give it the data that it was started with",
            source.description
        );
        let resume = context.run.resume.as_ref();
        if let Some(other) = resume
            .and_then(|resume| classes::differ(&resume.weights.source.classes, &source.classes))
        {
            bail!(
                "the run that is resumed was trained on other classes than those of {}: {other}; \
                 give it the data that it was started with",
                source.description
            );
        }
        let block_images = context.run.block_images.max(1);
        Ok(Runner::Stage(Box::new(Reading { part, source, block_images, start: samples })))
    }

    fn adjustable(&self) -> &'static [&'static str] {
        &["path"]
    }

    fn warnings(&self, _: &[Port]) -> Vec<Mismatch> {
        let made_up = matches!(self.format.origin(), Origin::Drawn(_));
        [("path", self.path.is_some()), ("otherwise", self.otherwise.is_some())]
            .into_iter()
            .filter(|(_, set)| made_up && *set)
            .map(|(field, _)| {
                (field, "changes nothing with format `synthetic`, which reads no file")
            })
            .chain(
                (self.split == Split::Test && self.validation.is_some())
                    .then_some(("validation", "changes nothing with split `test`")),
            )
            .chain((self.path.is_some() && self.otherwise.is_some() && !made_up).then_some((
                "otherwise",
                "changes nothing beside `path`: where that holds no data, it is an error",
            )))
            .map(|(field, why)| Mismatch::field(field, why).help("remove it"))
            .collect()
    }

    fn notes(&self, _: &Around<'_>) -> Vec<Note> {
        self.format.notes()
    }

    fn as_reads(&self) -> Option<&dyn Reads> {
        Some(self)
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Reads for Reader {
    fn made_up(&self, number: u64) -> Option<Sample> {
        let images = self.format.check().ok()?;
        let drawn = synthetic::IMAGES;
        if images.shape != drawn.shape || images.classes < drawn.classes {
            return None;
        }
        let (class, pixels) = match self.format.origin() {
            Origin::Drawn(drawings) => drawings.image(self.split, number),
            Origin::Files(_) => Synthetic::default().image(self.split, number),
        };
        Some(Sample {
            id: SampleId { epoch: 0, index: number },
            label: Label::Class(class),
            image: Image { shape: drawn.shape, pixels: Pixels::U8(pixels.into()) },
        })
    }

    fn photo_rules(&self) -> Rules {
        self.format.photo_rules()
    }

    fn meant_before(&self) -> Vec<(&'static str, &'static str)> {
        // The share was drawn by the number of images.
        self.validation.map(|_| ("validation.by", "count")).into_iter().collect()
    }

    fn check_beside(&self, other: &dyn Config, run: &RunSettings) -> Result<(), Mismatch> {
        let Some(other) = (other as &dyn Any).downcast_ref::<Self>() else { return Ok(()) };
        let same_format = self.format.name() == other.format.name();
        let splits = (self.split, other.split);
        if splits != (Split::Validation, Split::Train)
            || !same_format
            || self.first_place(run) != other.first_place(run)
        {
            return Ok(());
        }
        let settled = self.share(0) == other.share(0)
            && self.validation.map(|share| share.seed) == other.validation.map(|share| share.seed);
        match (self.validation, other.validation) {
            (Some(here), Some(there)) if !settled => {
                let message = format!(
                    "{here} is kept back for validation here, and {there} where the rest is read \
                     to train on: images would be in both"
                );
                Err(Mismatch::field("validation", message).help("write the same in both readers"))
            }
            (Some(here), None) => {
                let message = format!(
                    "{here} is kept back for validation here, and nothing where images are read to \
                     train on: all of these would be trained on"
                );
                Err(Mismatch::field("validation", message)
                    .help("add the same `validation` to the reader of `split: train`"))
            }
            _ => Ok(()),
        }
    }
}

impl Prepares for Reader {
    fn preprocessing(&self, _: &[Port]) -> Option<Preprocessing> {
        Some(Preprocessing::always(self.format.rules()))
    }
}

/// A data set, what it stands in for, the limit that it brings along, and where it was read from, to
/// be put behind its description.
type Loaded = (Arc<Shared>, Option<String>, Option<Limit>, String);

/// A place that somebody named, which is the only one that is looked at.
struct Named {
    /// `--data`, `path` or `GRADFLOW_DATA`.
    by: &'static str,
    /// With the place, as it was written.
    said: String,
    path: PathBuf,
}

impl Reader {
    /// The share for validation with nothing left open, if this split has to do with one.
    fn share(&self, run_seed: u64) -> Option<Validation> {
        let validation = self.validation.filter(|_| self.split != Split::Test)?;
        Some(validation.settled(run_seed, self.format.is_stratified()))
    }

    /// The place that is looked at first, the same in whatever way it is written. Links are followed
    /// where something is there already.
    fn first_place(&self, run: &RunSettings) -> Option<PathBuf> {
        let written = self.path.as_ref().map(|path| run.folder.join(path));
        let place =
            run.data.place.clone().or(written).or_else(|| run.data.default_place.clone())?;
        let there = place.canonicalize().or_else(|_| std::path::absolute(&place));
        Some(there.map_or_else(|_| place::plain(&place), |there| place::plain(&there)))
    }

    /// The images of the split among those that were opened, and what tells them from others.
    fn part(&self, all: Arc<Shared>, context: &Context<'_>) -> Result<(Part, Identity)> {
        let contents = all.contents();
        let Some(share) = self.share(context.run.seed) else {
            let identity = Identity::new(contents.to_vec(), all.labels(), &contents, None);
            drop(contents);
            return Ok((Part::whole(all), identity));
        };
        let keys = all.keys(&contents);
        let drawn = Drawn { keys: &keys, labels: all.labels(), classes: all.classes() };
        let images = share.part(drawn, self.split)?;
        let kept_back = match self.split {
            Split::Validation => images.clone(),
            _ => share.part(drawn, Split::Validation)?,
        };
        if let Some(told) = share.missing(drawn, &kept_back) {
            context.events.emit(Event::Warning(told));
        }
        let hashes = images.iter().map(|image| contents[*image]).collect();
        let labels: Vec<u32> = images.iter().map(|image| all.labels()[*image]).collect();
        let written = self.validation.map(|written| Validation { seed: share.seed, ..written });
        let written = written.map(|share| share.to_string());
        let identity = Identity::new(hashes, &labels, &contents, written);
        drop(keys);
        drop(contents);
        Ok((Part::new(all, images), identity))
    }

    /// What is odd about the labels of images that were read from files: copies of one image with
    /// several, and classes that no image to train on has.
    fn doubts(&self, data: &dyn Dataset, labels: &[u32], hashes: &[u64]) -> Vec<String> {
        if matches!(self.format.origin(), Origin::Drawn(_)) {
            return Vec::new();
        }
        let mut known: HashMap<u64, u32> = HashMap::new();
        let mut contradictory = HashSet::new();
        for (hash, label) in hashes.iter().zip(labels) {
            if *known.entry(*hash).or_insert(*label) != *label {
                contradictory.insert(*hash);
            }
        }
        let copies = (!contradictory.is_empty()).then(|| {
            let (count, split) = (contradictory.len(), self.split.name());
            let images = if count == 1 { "image is" } else { "images are" };
            format!(
                "{count} {images} in {} {split} more than once, with different labels: no model is \
                 right about all of them",
                data.name()
            )
        });
        let mut is_used = vec![false; data.classes().len()];
        labels.iter().for_each(|label| is_used[*label as usize] = true);
        let unused = data.classes().iter().zip(is_used).filter(|(_, is_used)| !is_used);
        let unused: Vec<String> = unused.map(|(class, _)| format!("`{class}`")).collect();
        let empty = (self.split == Split::Train && !unused.is_empty()).then(|| {
            let names = listed(&unused);
            format!("there is no image of class {names} to train on: it is never learnt")
        });
        copies.into_iter().chain(empty).collect()
    }

    fn load(&self, context: &Context<'_>) -> Result<Loaded> {
        let format = match self.format.origin() {
            Origin::Files(format) => format,
            Origin::Drawn(drawings) => {
                let data = self.drawn(&self.format, drawings, context)?;
                return Ok((data, None, None, String::new()));
            }
        };
        let title = format.title();
        if let Some(named) = self.named(context) {
            let found = format
                .find(&named.path, self.split)
                .with_context(|| format!("cannot use the data of {}", named.said))?;
            // Other data than what was meant would train without a word, whatever is at hand.
            let place = found.with_context(|| {
                format!(
                    "{title} was not found ({}), and {} is the only place that is looked at.\n{}",
                    named.describe(&context.run.folder),
                    named.by,
                    format.how_to_get()
                )
            })?;
            return self.read(format, &place, &named.said, context);
        }
        let why = match self.download(format, context) {
            Ok(folder) => {
                let name = format.download().map_or("", |download| download.name);
                let said = format!(
                    "the cache, {} (`runtime fetch {name}` checks and repairs it)",
                    folder.display()
                );
                let place = format.find(&folder, self.split)?;
                let place = place.with_context(|| format!("{said} is not as it was left"))?;
                return self.read(format, &place, &said, context);
            }
            Err(error) if error.root_cause().is::<Interrupted>() => return Err(error),
            Err(error) => error,
        };
        let not_there = format!(
            "was not found (neither `path`, --data nor GRADFLOW_DATA says where it is), and not \
             downloaded ({why:#})"
        );
        let Some(otherwise) = &self.otherwise else {
            bail!("{title} {not_there}.\n{}", format.how_to_get())
        };
        context.events.emit(Event::Warning(format!(
            "this is not {title}, which {not_there}: {} stand in for it, and results say nothing \
             about {title}.\n{}",
            synthetic::NAME,
            format.how_to_get()
        )));
        let limit = otherwise.epochs.map(|epochs| Limit { epochs: Some(epochs), steps: None });
        let format = DataFormat::of(SYNTHETIC, otherwise.synthetic.clone());
        let data = self.drawn(&format, &otherwise.synthetic, context)?;
        Ok((data, Some(title.to_owned()), limit, String::new()))
    }

    /// Drawings, which are drawn once for all readers.
    fn drawn(
        &self,
        format: &DataFormat,
        drawings: &dyn Drawings,
        context: &Context<'_>,
    ) -> Result<Arc<Shared>> {
        let files_of = if self.split == Split::Test { Split::Test } else { Split::Train };
        let key = serde_json::to_string(&(format, files_of))?;
        let draw = || Ok(Shared(drawings.open(self.split)?));
        context.run.data.opened.get_or_open(&key, draw)
    }

    /// The images of a place, opened once for all readers of the same files in the same format.
    fn opened(
        &self,
        format: &dyn Format,
        place: &Place,
        context: &Context<'_>,
    ) -> Result<Arc<Shared>> {
        let files_of = format.files_of(self.split);
        let there = place.path().canonicalize().unwrap_or_else(|_| place.path().to_owned());
        // Paths need not be UTF-8, and have to be told apart.
        let key = format!("{} {there:?}", serde_json::to_string(&(&self.format, files_of))?);
        let open = || Ok(Shared(format.open(place, files_of)?));
        context.run.data.opened.get_or_open(&key, open)
    }

    fn read(
        &self,
        format: &dyn Format,
        place: &Place,
        said: &str,
        context: &Context<'_>,
    ) -> Result<Loaded> {
        let cannot = || format!("cannot use the data of {said}");
        let data = self.opened(format, place, context).with_context(cannot)?;
        for warning in
            data.warning().map(str::to_owned).into_iter().chain(format.beside(place, self.split))
        {
            context.events.emit(Event::Warning(warning));
        }
        let from = format.reads(place, self.split).with_context(cannot)?;
        let from = std::path::absolute(&from).unwrap_or(from);
        let mut from = format!(", read from {}", from.display());
        if let Some(beside) = format.not_read(place) {
            let name = beside.file_name().unwrap_or_default().display();
            from = format!("{from} ({name} beside it is not read)");
        }
        Ok((data, None, None, from))
    }

    /// The folder of the data in the cache, downloaded if need be; or why there is none.
    fn download(&self, format: &dyn Format, context: &Context<'_>) -> Result<PathBuf> {
        let run = context.run;
        let download = format.download().context("it has to be put there by hand")?;
        let settings = run.data.fetch.as_ref().context("downloads are not set up")?;
        let files = format.files(self.split);
        let progress = |progress| context.events.emit(Event::Download(progress));
        Fetcher { settings, stop: &context.stop, progress: &progress }.fetch(download, &files)
    }

    /// The place that was named: on the command line, else in the pipeline, else by the environment.
    fn named(&self, context: &Context<'_>) -> Option<Named> {
        let run = context.run;
        let of = |by, said: String, path: PathBuf| Some(Named { by, said, path });
        if let Some(data) = &run.data.place {
            return of("--data", format!("--data {}", data.display()), data.clone());
        }
        if let Some(path) = &self.path {
            return of("`path`", format!("path: {}", path.display()), run.folder.join(path));
        }
        let data = run.data.default_place.as_ref()?;
        of("GRADFLOW_DATA", format!("GRADFLOW_DATA={}", data.display()), data.clone())
    }
}

impl Named {
    /// What is at the place, in which nothing of the data set was found, and what may be wrong with
    /// how it was written.
    fn describe(&self, folder: &Path) -> String {
        let full = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut told = format!("{}, which is {}: {}", self.said, full.display(), describe(&full));
        if full.exists() {
            return told;
        }
        let relative = self.path.strip_prefix(folder).unwrap_or(&self.path);
        if let Some(why) = unexpanded(relative) {
            told = format!("{told}; {why}");
        } else if self.by == "`path`" && relative.is_relative() && relative.exists() {
            told = format!(
                "{told}; `path` is relative to the pipeline's folder, and {} is there in the current \
                 folder",
                relative.display()
            );
        }
        told
    }
}

/// That a path has something in it that only a shell makes sense of.
fn unexpanded(path: &Path) -> Option<String> {
    let first = path.components().next()?.as_os_str().to_string_lossy().into_owned();
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let rest: PathBuf = path.components().skip(1).collect();
    let is_home = ["~", "$HOME", "${HOME}", "%USERPROFILE%", "%HOME%", "$env:USERPROFILE"];
    if is_home.contains(&&*first) {
        let instead = match home {
            Some(home) => format!("write {}", home.join(rest).display()),
            None => "write the folder's whole path".to_owned(),
        };
        return Some(format!("`{first}` is not expanded here: {instead}"));
    }
    let is_other_home = first.starts_with('~');
    let text = path.to_string_lossy();
    (is_other_home || text.contains('$') || text.matches('%').count() > 1).then(|| {
        "`~`, variables and other things that a shell expands are taken as they are: write the whole \
         path"
            .to_owned()
    })
}

/// A data set, given out.
struct Reading {
    part: Part,
    source: Arc<Source>,
    block_images: usize,
    start: u64,
}

impl Reading {
    /// The blocks of one epoch, from its image `begin` on.
    fn epoch(&self, epoch: u64, begin: usize) -> impl Iterator<Item = Result<Block>> {
        let count = self.part.count();
        (begin..count).step_by(self.block_images).map(move |first| {
            let end = first.saturating_add(self.block_images).min(count);
            let samples = self.part.read(epoch, first..end)?;
            Ok(Block { source: self.source.clone(), samples, ends_epoch: end == count })
        })
    }
}

impl Stage for Reading {
    fn source(&self) -> Option<Arc<Source>> {
        Some(Arc::clone(&self.source))
    }

    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            let images = self.part.count() as u64;
            let mut begin = (self.start % images) as usize;
            for epoch in self.start / images.. {
                for block in self.epoch(epoch, mem::take(&mut begin)) {
                    if ports.send(Item::Block(block?)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::write;
    use std::path::Path;
    use std::sync::atomic::Ordering;
    use std::thread;

    use base::stop::Stop;
    use flow::channel::{Counters, edge};
    use flow::event::Events;
    use flow::stage::DataSettings;

    use super::*;
    use crate::data::cifar::fake;
    use crate::data::cifar10::{self, CIFAR_10};
    use crate::data::place;
    use crate::testing::{blocks, settings};

    fn reader(yaml: &str) -> Reader {
        crate::testing::config(&kind(&Catalog::default()), yaml)
    }

    fn cifar10() -> Reader {
        reader(r#"{"format": "cifar10", "split": "train"}"#)
    }

    fn or_drawings() -> Reader {
        reader(
            r#"{"format": "cifar10", "split": "train",
                "otherwise": {"synthetic": {"train": 20, "test": 10}, "epochs": 3}}"#,
        )
    }

    fn run_with(data: DataSettings) -> RunSettings {
        RunSettings { data, ..settings(4) }
    }

    /// A run for which nothing but the environment names a place.
    fn by_default(place: impl Into<PathBuf>) -> RunSettings {
        run_with(DataSettings { default_place: Some(place.into()), ..DataSettings::default() })
    }

    fn at(path: impl Into<PathBuf>) -> RunSettings {
        run_with(DataSettings { place: Some(path.into()), ..DataSettings::default() })
    }

    /// What is loaded, and what is said.
    fn load(config: &Reader, run: &RunSettings) -> (Result<Loaded, String>, Vec<Event>) {
        let (events, said) = Events::new();
        let context = Context {
            stage: "read",
            inputs: &[],
            sources: &[],
            start: Position::default(),
            run,
            events,
            stop: Stop::default(),
        };
        let loaded = config.load(&context).map_err(|error| format!("{error:#}"));
        (loaded, std::iter::from_fn(|| said.try_recv().ok()).map(|said| said.event).collect())
    }

    fn images(config: &Reader, run: &RunSettings) -> usize {
        load(config, run).0.expect("loaded").0.labels().len()
    }

    fn error(config: &Reader, run: &RunSettings) -> String {
        load(config, run).0.expect_err("there is something wrong")
    }

    #[test]
    fn every_form_of_the_data_is_accepted() {
        let folder = tempfile::tempdir().expect("a folder");
        let unpacked = folder.path().join("with/cifar-10-batches-bin");
        fake::write_to(&unpacked);
        let archive = folder.path().join("cifar-10-binary.tar.gz");
        write(&archive, fake::archive(&fake::files())).expect("written");
        for path in [unpacked.as_path(), &folder.path().join("with"), folder.path(), &archive] {
            assert_eq!(images(&cifar10(), &at(path)), 15, "{}", path.display());
        }
    }

    #[test]
    fn the_command_line_goes_first_then_the_pipeline_then_the_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        let with = |name: &str, records: usize| {
            let path = folder.path().join(name);
            fake::write_to(&path);
            let content = fake::record(0, [0; 3]).repeat(records);
            write(path.join("data_batch_1.bin"), content).expect("written");
            path
        };
        let (data, _, default) = (with("a", 1), with("b", 2), with("c", 3));
        let config = Reader { path: Some("b".into()), ..or_drawings() };
        let run = RunSettings { folder: folder.path().to_owned(), ..at(data) };
        assert_eq!(images(&config, &run), 12 + 1);
        let run = RunSettings { data: by_default(default).data, ..run };
        assert_eq!(images(&config, &run), 12 + 2);
        let without = Reader { path: None, ..config.clone() };
        assert_eq!(images(&without, &run), 12 + 3);
        // Neither other data nor drawings stand in for what was named.
        let nowhere = Reader { path: Some("nowhere".into()), ..config };
        let told = error(&nowhere, &run);
        let full = folder.path().join("nowhere");
        let parts =
            ["path: nowhere", "`path` is the only place", &full.to_string_lossy(), "holds a, b, c"];
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        let run = RunSettings { data: by_default(full).data, ..run };
        let told = error(&without, &run);
        assert!(told.contains("GRADFLOW_DATA is the only place"), "{told}");
        let run = RunSettings { data: DataSettings::default(), ..run };
        assert_eq!(images(&without, &run), 20);
    }

    #[test]
    fn where_data_was_read_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        fake::write_to(&folder.path().join("cifar-10-batches-bin"));
        let from = |config: &Reader| load(config, &at(folder.path())).0.expect("loaded").3;
        let expected =
            format!(", read from {}", folder.path().join("cifar-10-batches-bin").display());
        assert_eq!(from(&cifar10()), expected);
        write(folder.path().join("cifar-10-binary.tar.gz"), "old").expect("written");
        let beside = "(cifar-10-binary.tar.gz beside it is not read)";
        assert_eq!(from(&cifar10()), format!("{expected} {beside}"));
        assert_eq!(load(&or_drawings(), &settings(4)).0.expect("drawn").3, "");
    }

    #[test]
    fn what_only_a_shell_expands_is_explained() {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        for path in
            ["~/data/mine", "$HOME/data/mine", "${HOME}/data/mine", "%USERPROFILE%/data/mine"]
        {
            let told = unexpanded(Path::new(path)).expect(path);
            assert!(told.contains("is not expanded here"), "{told}");
            if let Some(home) = &home {
                let instead = format!("write {}", home.join("data/mine").display());
                assert!(told.ends_with(&instead), "{told}");
            }
        }
        for path in ["~me/data", "$DATA/mine", "data/${SET}", "data/%SET%/a"] {
            assert!(unexpanded(Path::new(path)).expect(path).contains("whole path"), "{path}");
        }
        for path in ["data/mine", "/data/100%", "data/~old", ""] {
            assert_eq!(unexpanded(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn without_data_the_error_says_how_to_get_it() {
        let empty = tempfile::tempdir().expect("a folder");
        let how = ["www.cs.toronto.edu/~kriz/cifar.html", "cifar-10-binary.tar.gz", "--data"];
        let no_place = error(&cifar10(), &settings(4));
        let in_empty = error(&cifar10(), &at(empty.path()));
        assert!(no_place.contains("neither `path`, --data nor GRADFLOW_DATA"), "{no_place}");
        assert!(in_empty.contains("an empty folder"), "{in_empty}");
        for part in how {
            assert!(no_place.contains(part) && in_empty.contains(part), "{part}");
        }
        // Asking for data that is not there is an error, whatever stands by.
        let nowhere = error(&or_drawings(), &at(empty.path().join("nowhere")));
        assert!(nowhere.contains("no such folder or file"), "{nowhere}");
    }

    #[test]
    fn damaged_data_is_an_error_even_if_drawings_stand_by() {
        let folder = tempfile::tempdir().expect("a folder");
        fake::write_to(folder.path());
        write(folder.path().join("data_batch_1.bin"), "short").expect("written");
        let run = by_default(folder.path());
        let told = error(&or_drawings(), &run);
        assert!(told.contains("GRADFLOW_DATA=") && told.contains("data_batch_1.bin"), "{told}");
    }

    #[test]
    fn drawings_that_stand_in_say_so() {
        let (loaded, events) = load(&or_drawings(), &settings(4));
        let (data, stands_in_for, limit, _) = loaded.expect("drawn");
        assert_eq!(data.labels().len(), 20);
        assert_eq!(stands_in_for.as_deref(), Some("CIFAR-10"));
        assert_eq!(limit, Some(Limit { epochs: Some(3.0), steps: None }));
        match events.as_slice() {
            [Event::Warning(text)] => assert!(text.starts_with("this is not CIFAR-10"), "{text}"),
            other => panic!("{other:?}"),
        }
        // Drawings that were asked for stand in for nothing.
        let config = reader(r#"{"format": {"synthetic": {"test": 30}}, "split": "test"}"#);
        let (loaded, events) = load(&config, &settings(4));
        let (data, stands_in_for, limit, _) = loaded.expect("drawn");
        assert_eq!((data.labels().len(), stands_in_for, limit), (30, None, None));
        assert!(events.is_empty());
    }

    #[test]
    fn the_config_is_checked() {
        let port = cifar10().check(&[]).expect("right").map(|port| port.to_string());
        assert_eq!(port.as_deref(), Some("images u8[32, 32, 3]"));
        let field = |config: Reader| config.check(&[]).expect_err("wrong").field.join(".");
        let text = r#"{"format": {"synthetic": {"train": 0}}, "split": "train"}"#;
        assert_eq!(field(reader(text)), "format.synthetic.train");
        let mut config = or_drawings();
        config.otherwise.as_mut().expect("there").epochs = Some(0.0);
        assert_eq!(field(config), "otherwise.epochs");
        let input = crate::testing::bytes_port([1, 1, 1]);
        assert!(cifar10().check(&[input]).is_err());
    }

    #[test]
    fn what_one_reader_keeps_back_the_other_must_not_train_on() {
        let config = |split: &str, rest: &str| {
            reader(&format!(r#"{{"format": "cifar10", "split": "{split}"{rest}}}"#))
        };
        let share = r#", "validation": 0.1"#;
        let kept = config("validation", share);
        let train = |rest| config("train", rest);
        let run = settings(4);
        let told =
            |other: &Reader| kept.check_beside(other, &run).expect_err("both train and validate");
        assert_eq!(kept.check_beside(&train(share), &run), Ok(()));
        assert!(
            told(&train("")).message.contains("0.1 is kept back for validation here, and nothing")
        );
        for other in [
            r#", "validation": 0.2"#,
            r#", "validation": {"fraction": 0.1, "seed": 1}"#,
            r#", "validation": {"fraction": 0.1, "seed": 0}"#,
            r#", "validation": {"fraction": 0.1, "stratified": true}"#,
            r#", "validation": {"fraction": 0.1, "by": "count"}"#,
        ] {
            assert!(told(&train(other)).message.contains("images would be in both"), "{other}");
        }
        let same = train(r#", "validation": {"fraction": 0.1, "stratified": false}"#);
        assert_eq!(
            kept.check_beside(&same, &run),
            Ok(()),
            "what is the default may be written down"
        );
        let at = |split, path: &str| config(split, &format!(r#"{share}, "path": "{path}""#));
        let ways = ["photos", "./photos", "photos/", "a/../photos", "photos/.", "b/.././photos"];
        for (one, other) in ways.iter().flat_map(|one| ways.iter().map(move |other| (one, other))) {
            let unlike = Reader { validation: Some(0.2.into()), ..at("train", other) };
            assert!(at("validation", one).check_beside(&unlike, &run).is_err(), "{one} {other}");
        }
        // One by its path, the other by the environment; or both by the command line.
        let unlike = Reader { validation: Some(0.2.into()), ..at("train", "photos") };
        assert!(kept.check_beside(&unlike, &by_default("photos")).is_err());
        assert_eq!(kept.check_beside(&unlike, &run), Ok(()));
        let place = Some(PathBuf::from("anywhere"));
        let asked = run_with(DataSettings { place, ..DataSettings::default() });
        assert!(kept.check_beside(&unlike, &asked).is_err());
        // Other images, or none to train on.
        assert_eq!(kept.check_beside(&train(r#", "path": "other""#), &run), Ok(()));
        assert_eq!(kept.check_beside(&config("test", ""), &run), Ok(()));
        assert_eq!(train("").check_beside(&kept, &run), Ok(()), "told once");
    }

    #[test]
    fn a_share_is_kept_back_for_validation() {
        let config = |rest: &str| {
            reader(&format!(
                r#"{{"format": {{"synthetic": {{"train": 20, "test": 10}}}}, {rest}}}"#
            ))
        };
        let built = |config: &Reader| {
            config.check(&[]).expect("right");
            let (events, said) = Events::new();
            let (run, stop) = (settings(4), Stop::default());
            let start = Position::default();
            let context = Context {
                stage: "read",
                inputs: &[],
                sources: &[],
                start,
                run: &run,
                events,
                stop,
            };
            config.build(&context).map(drop).expect("built");
            let reports = std::iter::from_fn(|| said.try_recv().ok());
            let report = reports.filter_map(|message| match message.event {
                Event::Data(report) => Some(report.description),
                _ => None,
            });
            report.last().expect("the data is told")
        };
        let train = config(r#""split": "train", "validation": 0.1"#);
        assert!(built(&train).ends_with("train, 18 images"), "{}", built(&train));
        let share = r#""validation": {"fraction": 0.1, "seed": 2, "by": "count"}"#;
        let kept = config(&format!(r#""split": "validation", {share}"#));
        assert!(built(&kept).ends_with("validation, 2 images"), "{}", built(&kept));
        let test = config(r#""split": "test", "validation": 0.1"#);
        assert!(built(&test).ends_with("test, 10 images"));
        assert_eq!(test.warnings(&[])[0].field, ["validation"]);
        let field = |config: Reader| config.check(&[]).expect_err("wrong").field;
        assert_eq!(field(config(r#""split": "validation""#)), ["split"]);
        assert_eq!(field(config(r#""split": "train", "validation": 1.5"#)), ["validation"]);
    }

    /// The stage of a reader, with what it says.
    fn build(config: &Reader, run: &RunSettings) -> (Result<Runner, String>, Vec<Event>) {
        let (events, said) = Events::new();
        let context = Context {
            stage: "read",
            inputs: &[],
            sources: &[],
            start: Position::default(),
            run,
            events,
            stop: Stop::default(),
        };
        let built = config.build(&context).map_err(|error| format!("{error:#}"));
        (built, std::iter::from_fn(|| said.try_recv().ok()).map(|said| said.event).collect())
    }

    /// How many images a reader says it reads, and their checksum.
    fn told(events: &[Event]) -> (u64, u32) {
        let report = events.iter().find_map(|event| match event {
            Event::Data(report) => Some((report.identity.as_ref()?.images, report.crc32c)),
            _ => None,
        });
        report.expect("the data is told")
    }

    #[test]
    fn readers_of_the_same_photos_decode_them_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let photos: Vec<PathBuf> = (0..40)
            .map(|at| folder.path().join(format!("photos/train/{}/{at}.png", ["a", "b"][at % 2])))
            .collect();
        let paint = || {
            for (at, path) in photos.iter().enumerate() {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                let photo = image::RgbImage::from_pixel(6, 6, image::Rgb([at as u8 * 6, 9, 100]));
                photo.save(path).expect("written");
            }
        };
        let spoil = || photos.iter().for_each(|path| write(path, "no image").expect("written"));
        for cache in [true, false] {
            let config = |split: &str, path: &str| {
                reader(&format!(
                    r#"{{"format": {{"images": {{"classes": 2, "size_px": 4, "cache": {cache}}}}},
                        "split": "{split}", "validation": 0.25, "path": "{path}"}}"#
                ))
            };
            let (train, kept) =
                (config("train", "photos"), config("validation", "./photos/../photos"));
            paint();
            let run = RunSettings { folder: folder.path().to_owned(), ..settings(4) };
            let (first, said) = build(&train, &run);
            let first = first.expect("all are whole");
            let both = told(&build(&kept, &run).1);
            // What is opened now would be told as damaged.
            spoil();
            let (second, again) = build(&kept, &run);
            let second = second.expect("nothing is decoded once more");
            assert_eq!(told(&again), both);
            assert_eq!(told(&said).0 + both.0, 40);
            // Other fields are another data set, and so is everything in another run.
            let other = reader(
                r#"{"format": {"images": {"classes": 2, "size_px": 5}}, "split": "train",
                    "path": "photos"}"#,
            );
            let damaged = |config: &Reader, run: &RunSettings| {
                let told = build(config, run).0.err().expect("they are damaged");
                assert!(told.contains("neither PNG nor JPEG"), "{told}");
            };
            damaged(&other, &run);
            damaged(&train, &RunSettings { data: DataSettings::default(), ..run.clone() });
            // What no stage holds any more is let go.
            drop(first);
            build(&train, &run).0.expect("one of them holds it");
            drop(second);
            damaged(&train, &run);
        }
    }

    #[test]
    fn readers_of_the_same_files_share_their_pixels() {
        let folder = tempfile::tempdir().expect("a folder");
        fake::write_to(folder.path());
        let run = at(folder.path());
        let of = |split: &str| {
            let config = reader(&format!(
                r#"{{"format": "cifar10", "split": "{split}", "validation": 0.2}}"#
            ));
            load(&config, &run).0.expect("loaded").0
        };
        let (train, validation, test) = (of("train"), of("validation"), of("test"));
        assert!(Arc::ptr_eq(&train, &validation) && !Arc::ptr_eq(&train, &test));
        let drawn = |split: &str| {
            let config = reader(&format!(
                r#"{{"format": {{"synthetic": {{"train": 20, "test": 10}}}}, "split": "{split}"}}"#
            ));
            load(&config, &run).0.expect("drawn").0
        };
        let (train, validation, test) = (drawn("train"), drawn("validation"), drawn("test"));
        assert!(Arc::ptr_eq(&train, &validation) && !Arc::ptr_eq(&train, &test));
    }

    #[test]
    fn drawings_stand_in_for_images_of_their_type_only() {
        let with = |format: &str| {
            let text = r#"{"split": "train", "otherwise": "synthetic", "format": "#;
            reader(&format!("{text}{format}}}")).check(&[]).map(drop)
        };
        with(r#"{"svhn": {}}"#).expect("the same type");
        for other in [r#"{"cifar100": {}}"#, r#"{"idx": {}}"#] {
            assert_eq!(with(other).expect_err("another type").field, ["otherwise"]);
        }
    }

    #[test]
    fn images_come_in_the_order_of_the_files_epoch_after_epoch() {
        let config = reader(r#"{"format": {"synthetic": {"train": 10}}, "split": "train"}"#);
        let (events, said) = Events::new();
        let context = Context {
            stage: "read",
            inputs: &[],
            sources: &[],
            start: Position::default(),
            run: &settings(4),
            events,
            stop: Stop::default(),
        };
        let Ok(Runner::Stage(mut stage)) = config.build(&context) else { panic!("not a stage") };
        let fact = said.try_recv().expect("the data is told");
        let value = "drawings of shapes and patterns train, 10 images".to_owned();
        assert_eq!(fact.event, Event::Fact { key: "data", value });

        let (sends, receives) = edge(1, 1, 7);
        let counters = Arc::<Counters>::default();
        let mut ports = Ports::new(Vec::new(), sends, counters.clone(), Stop::default());
        let items = thread::scope(|scope| {
            let running = scope.spawn(move || pollster::block_on(stage.run(&mut ports)));
            while counters.items_out.load(Ordering::Relaxed) < 7 {
                thread::yield_now();
            }
            let mut receive = Ports::new(receives, Vec::new(), Arc::default(), Stop::default());
            let items = (0..7).map(|_| pollster::block_on(receive.receive(0)).expect("an item"));
            let items: Vec<Item> = items.collect();
            // That closes the edge, which ends the stage.
            drop(receive);
            running.join().expect("no panic").expect("no error");
            items
        });
        let blocks = blocks(&items);
        assert_eq!(blocks.len(), 7);
        let ids: Vec<(u64, u64)> = blocks
            .iter()
            .flat_map(|block| block.samples.iter().map(|s| (s.id.epoch, s.id.index)))
            .collect();
        let expected: Vec<(u64, u64)> = (0..24).map(|at| (at / 10, at % 10)).collect();
        assert_eq!(ids, expected);
        let ends: Vec<bool> = blocks.iter().map(|block| block.ends_epoch).collect();
        assert_eq!(ends, [false, false, true, false, false, true, false]);
    }

    /// The facts of the real data, if the environment says where it is.
    #[test]
    fn the_real_data_is_what_it_is_known_to_be() {
        let Some(path) = std::env::var_os("GRADFLOW_DATA") else {
            // On a machine that is known to have everything, nothing may be skipped.
            assert!(std::env::var("GRADFLOW_NO_SKIP").as_deref() != Ok("1"), "no GRADFLOW_DATA");
            eprintln!("skipped: GRADFLOW_DATA does not say where CIFAR-10 is");
            return;
        };
        let load = |split| {
            let place = place::find(Path::new(&path), &cifar10::LAYOUT)
                .expect("readable")
                .expect("CIFAR-10 is at GRADFLOW_DATA");
            CIFAR_10.load(&place, split).expect("loaded")
        };
        let (train, test) = (load(Split::Train), load(Split::Test));
        assert_eq!((train.labels.len(), test.labels.len()), (50_000, 10_000));
        assert_eq!(train.labels[..10], [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]);
        assert_eq!(test.labels[..10], [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]);
        for class in 0..10 {
            let count = |labels: &[u32]| labels.iter().filter(|label| **label == class).count();
            assert_eq!((count(&train.labels), count(&test.labels)), (5_000, 1_000));
        }
        for (channel, known) in [125.307, 122.950, 113.865].into_iter().enumerate() {
            let values = train.pixels.iter().skip(channel).step_by(3);
            let mean = values.map(|value| u64::from(*value)).sum::<u64>() as f64 / 51_200_000.0;
            assert!((mean - known).abs() < 0.000_6, "{mean} {known}");
        }
        let sample = train.sample(0, SampleId { epoch: 0, index: 0 });
        assert_eq!(sample.label, Label::Class(6));
        // The first pixel of the first image.
        assert!(matches!(sample.image.pixels, Pixels::U8(values) if values[..3] == [59, 62, 63]));
    }
}
