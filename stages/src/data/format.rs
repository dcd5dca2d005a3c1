//! What a reader reads, as YAML chooses it.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::Result;
use flow::lint::Note;
use flow::photo::Rules;
use flow::preprocessing::Operation;
use flow::stage::{Chosen, Family, Mismatch, Variant};
use serde::Serialize;
use serde_json::Value;

use super::dataset::Dataset;
use super::{Format, Images, Split};

/// One kind of format.
pub type FormatKind = Variant<dyn ImageSource>;

/// What YAML may name as the `format` of a reader. Every [`Format`] is one.
pub trait ImageSource: Send + Sync {
    /// Where the images come from.
    fn origin(&self) -> Origin<'_>;
}

/// Where images come from.
pub enum Origin<'a> {
    /// From files of this format.
    Files(&'a dyn Format),
    /// They are drawn.
    Drawn(&'a dyn Drawings),
}

/// Images that are made up and need no files.
pub trait Drawings {
    /// What is wrong with the fields.
    ///
    /// # Errors
    /// With the field.
    fn check(&self) -> Result<(), Mismatch>;

    /// The type of the images.
    fn images(&self) -> Images;

    /// Image `number` of a split, as [`Drawings::open`] has it: its class and its pixels.
    fn image(&self, split: Split, number: u64) -> (u32, Vec<u8>);

    /// All images of a split.
    ///
    /// # Errors
    /// If they do not fit into memory.
    fn open(&self, split: Split) -> Result<Box<dyn Dataset>>;

    /// See [`Format::selecting_fields`].
    fn selecting_fields(&self) -> &'static [&'static str] {
        &[]
    }
}

impl<F: Format> ImageSource for F {
    fn origin(&self) -> Origin<'_> {
        Origin::Files(self)
    }
}

impl<T: ImageSource + 'static> Family<T> for dyn ImageSource {
    fn of(source: T) -> Arc<Self> {
        Arc::new(source)
    }
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct DataFormat(pub Chosen<dyn ImageSource>);

impl Deref for DataFormat {
    type Target = dyn ImageSource;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl DataFormat {
    /// This format, under its name in the YAML.
    ///
    /// # Panics
    /// If its fields have no form in YAML.
    pub fn of<T: ImageSource + Serialize + 'static>(name: &'static str, source: T) -> Self {
        Self(Chosen::new(name, source))
    }

    /// Its name in the YAML.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The type of the images, or what is wrong with the fields.
    ///
    /// # Errors
    /// With the field.
    pub fn check(&self) -> Result<Images, Mismatch> {
        let checked = match self.origin() {
            Origin::Files(format) => format.check().map(|()| format.images()),
            Origin::Drawn(drawings) => drawings.check().map(|()| drawings.images()),
        };
        checked.map_err(|wrong| wrong.below(&["format", self.name()]))
    }

    /// What a person may want to change of the fields.
    pub fn notes(&self) -> Vec<Note> {
        let Origin::Files(format) = self.origin() else { return Vec::new() };
        let below = |note: Note| note.lint.note(note.what.below(&["format", self.name()]));
        format.notes().into_iter().map(below).collect()
    }

    /// Whether the images of `split: validation` are files of their own.
    pub fn divides_validation(&self) -> bool {
        matches!(self.origin(), Origin::Files(format) if format.divides_validation())
    }

    /// Whether each class keeps back its share for validation, unless the YAML says otherwise.
    pub fn is_stratified(&self) -> bool {
        matches!(self.origin(), Origin::Files(format) if format.is_stratified())
    }

    /// How photos are taken that come in place of the images.
    pub fn photo_rules(&self) -> Rules {
        match self.origin() {
            Origin::Files(format) => format.photo_rules(),
            Origin::Drawn(_) => Rules::default(),
        }
    }

    /// The fields by which pixels are made of files.
    pub fn rules(&self) -> Operation {
        let selecting = match self.origin() {
            Origin::Files(format) => format.selecting_fields(),
            Origin::Drawn(drawings) => drawings.selecting_fields(),
        };
        let fields = serde_json::to_value(self.0.fields()).unwrap_or_default();
        // What is absent or `false` changes nothing.
        let is_set = |value: &Value| !value.is_null() && *value != Value::Bool(false);
        let fields = fields.as_object().cloned().unwrap_or_default();
        let rules =
            fields.iter().filter(|(field, value)| !selecting.contains(&&***field) && is_set(value));
        rules.fold(Operation::of(self.name()), |operation, (field, value)| {
            operation.with(&format!("format.{}.{field}", self.name()), value)
        })
    }
}
