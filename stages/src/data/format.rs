//! What a reader reads: a line for each format in each list.

use fetch::Download;
use flow::lint::Note;
use flow::photo::Rules;
use flow::preprocessing::Operation;
use flow::stage::Mismatch;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Format;
use super::cifar10::Cifar10;
use super::cifar100::Cifar100;
use super::idx::Idx;
use super::images::Images;
use super::svhn::Svhn;
use super::synthetic::Synthetic;

/// What is read. The name alone stands for all defaults.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = or_its_name)]
pub enum Kind {
    /// CIFAR-10 in its binary version: 32x32 RGB photos of 10 classes, 50,000 to train on and
    /// 10,000 to test with.
    #[default]
    Cifar10,
    /// CIFAR-100 in its binary version: 32x32 RGB photos of 100 classes in 20 groups, 50,000 to
    /// train on and 10,000 to test with.
    Cifar100(Cifar100),
    /// SVHN's cropped digits: 32x32 RGB photos of house numbers, 73,257 to train on and 26,032 to
    /// test with.
    Svhn(Svhn),
    /// MNIST and its family: grey images in IDX files.
    Idx(Idx),
    /// One's own photos: PNG and JPEG files of up to 100 megapixels, of which the largest middle
    /// part that has the right proportions is scaled to `size_px`, as `runtime predict` does. All are
    /// decoded at the start, on all processors, and kept, height x width x channels bytes each, while
    /// they fit into half of the memory that is free; beyond it they are decoded anew by the workers
    /// (`cache`).
    /// Files that end in their middle are damaged, and PNG files with wrong bytes; a JPEG has no
    /// checksum, so that wrong bytes in its middle may go unseen.
    ///
    /// `path` is a folder with `train/` and `test/`, which hold a folder for each class; or with
    /// `train.csv` and `test.csv`, lines of file and label; or it holds the classes' folders itself, or
    /// is a CSV file, and `validation` splits it. `folders` and `lists` give other names. Files in a
    /// CSV file are relative to its folder, or to `train/` (or `test/`) beside it, and may be without
    /// their ending; a first line such as `id,label` is passed over. Where `train.csv` lies beside
    /// folders of classes, `lists` or `folders` has to say which is meant.
    Images(Images),
    /// Nothing: 32x32 RGB drawings of 10 classes are made up.
    Synthetic(Synthetic),
}

/// Where images come from.
pub enum Origin<'a> {
    /// From files of this format.
    Files(&'a dyn Format),
    /// They are drawn.
    Drawn(&'a Synthetic),
}

impl Kind {
    /// Where the images come from.
    pub fn origin(&self) -> Origin<'_> {
        match self {
            Self::Cifar10 => Origin::Files(&Cifar10),
            Self::Cifar100(format) => Origin::Files(format),
            Self::Svhn(format) => Origin::Files(format),
            Self::Idx(format) => Origin::Files(format),
            Self::Images(format) => Origin::Files(format),
            Self::Synthetic(drawings) => Origin::Drawn(drawings),
        }
    }

    /// The type of the images, or what is wrong with the fields.
    ///
    /// # Errors
    /// With the field.
    pub fn check(&self) -> Result<super::Images, Mismatch> {
        let checked = match self.origin() {
            Origin::Files(format) => format.check().map(|()| format.images()),
            Origin::Drawn(drawings) => drawings.check().map(|()| super::synthetic::IMAGES),
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

    /// How photos are taken that come in place of the images.
    pub fn photo_rules(&self) -> Rules {
        match self.origin() {
            Origin::Files(format) => format.photo_rules(),
            Origin::Drawn(_) => Rules::default(),
        }
    }

    /// Its name in the YAML.
    fn name(&self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar10",
            Self::Cifar100(_) => "cifar100",
            Self::Svhn(_) => "svhn",
            Self::Idx(_) => "idx",
            Self::Images(_) => "images",
            Self::Synthetic(_) => "synthetic",
        }
    }
}

/// Fields that say which images are read, where they are, or what they are called, and nothing of
/// the pixels or the numbers of the classes. The size is compared as that of the images, of whatever format.
const NO_RULES: [&str; 12] = [
    "cache", "classes", "damaged", "extra", "folders", "labels", "lists", "prefix", "seed",
    "size_px", "test", "train",
];

impl Kind {
    /// The fields by which pixels are made of files.
    pub fn rules(&self) -> Operation {
        let fields = serde_json::to_value(self).unwrap_or_default();
        let fields = fields[self.name()].as_object().cloned().unwrap_or_default();
        // What is absent or `false` changes nothing.
        let is_set = |value: &Value| !value.is_null() && *value != Value::Bool(false);
        let rules =
            fields.iter().filter(|(field, value)| !NO_RULES.contains(&&***field) && is_set(value));
        rules.fold(Operation::of(self.name()), |operation, (field, value)| {
            operation.with(&format!("format.{}.{field}", self.name()), value)
        })
    }
}

/// What can be downloaded.
pub fn downloads() -> Vec<&'static Download> {
    vec![&super::cifar10::DOWNLOAD, &super::cifar100::DOWNLOAD, &super::svhn::DOWNLOAD]
}

/// The name alone stands for all defaults, which serde's enums say nothing of; `images` has to be
/// told classes and size.
fn or_its_name(schema: &mut Schema) {
    let Some(Value::Array(forms)) = schema.get_mut("oneOf") else { return };
    let names = forms.iter().filter_map(|form| form["required"].get(0).cloned());
    let names: Vec<Value> = names.filter(|name| name != "images").collect();
    forms.push(json!({ "enum": names }));
}
