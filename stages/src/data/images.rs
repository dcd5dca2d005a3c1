//! One's own photos: a folder for each class, or a CSV file of files and labels.

mod csv_list;
mod list;
mod listed;
mod parts;
mod photos;
mod survey;

use std::io::{self, ErrorKind};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Error, Result, bail};
use flow::photo::{self, Rules};
use flow::port::PixelType;
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::dataset::Dataset;
use super::format::FormatKind;
use super::in_memory::InMemory;
use super::place::Place;
use super::{Format, Split, content, listed, thousands};
use crate::extent::Extent;
use listed::{File, List};
use photos::{Files, Photos};
use survey::Survey;

pub use parts::Parts;

/// Larger images would be cut by no cropper and fit into no memory.
const MOST_SIDE: usize = 4096;

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
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["classes", "size_px"]))]
pub struct Images {
    /// The names of the classes, which are those of their folders or the labels in the CSV file, in
    /// the order of their numbers; or how many there are: then folders are taken in the order of
    /// their names, and labels in a CSV file are numbers from 0.
    pub classes: Option<Classes>,
    /// Height and width in pixels that photos are scaled to: `32` or `[height, width]`.
    pub size_px: Option<Extent>,
    /// 3 for red, green and blue, or 1 for grey.
    pub channels: Channels,
    /// What becomes of grey photos if there are 3 channels.
    pub grey: Grey,
    /// What becomes of photos with transparent parts.
    pub alpha: Alpha,
    /// What becomes of files that cannot be decoded.
    pub damaged: Damaged,
    /// Whether light and dark change places: of photos of ink on paper, say, beside others of chalk
    /// on a board. `runtime predict` does the same with the photos that it is given.
    pub invert: bool,
    /// Whether decoded photos stay in memory: with `false` they are decoded each time they are used,
    /// by the workers of the stage behind the reader or the shuffler. If absent, they stay while they take
    /// no more than half of the memory that is free. What is learnt is the same.
    pub cache: Option<bool>,
    /// The folders below `path`, if they are not `train` and `test`: `{ train: train, test: val }`, or
    /// `{ train: train, validation: val, test: test }`, by which `split: validation` reads all of `val`
    /// in place of a share of `train`. `.` is `path` itself.
    pub folders: Parts,
    /// The CSV files below `path`, if they are not `train.csv` and `test.csv`, or if folders of
    /// classes lie beside them: `{ train: labels.csv }`. Files that they list are relative to the CSV
    /// file's folder or to that of the split.
    pub lists: Parts,
}

/// Values of a pixel: 1 or 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Channels(#[schemars(extend("enum" = [1, 3]))] pub usize);

impl Default for Channels {
    fn default() -> Self {
        Self(3)
    }
}

/// What becomes of grey photos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grey {
    /// Red, green and blue are the grey.
    #[default]
    Expand,
    /// They are an error.
    Refuse,
}

/// What becomes of photos with transparent parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Alpha {
    /// They are laid on white.
    #[default]
    White,
    /// They are an error.
    Refuse,
}

/// What becomes of files that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Damaged {
    /// The first ends the run.
    #[default]
    Stop,
    /// They are left out, counted and named.
    Skip,
}

/// What cannot be, as fields are checked before anything is read.
const NO_CLASSES: &str = "the classes are not written down";
/// Files that are named where some are left out.
const NAMED: usize = 3;

impl Images {
    fn size(&self) -> Extent {
        self.size_px.unwrap_or(Extent::square(1))
    }

    /// Height, width, channels of the images.
    fn shape(&self) -> [usize; 3] {
        let Extent { height, width } = self.size();
        [height, width, self.channels.0]
    }

    /// The folder and the CSV file that are named for a split.
    fn named(&self, split: Split) -> (Option<&Path>, Option<&Path>) {
        let parts = [&self.folders, &self.lists];
        let [folder, list] = parts.map(|parts| match split {
            Split::Validation if self.names_validation() => parts.validation.as_deref(),
            Split::Train | Split::Validation => parts.train.as_deref(),
            Split::Test => parts.test.as_deref(),
        });
        (folder, list)
    }

    /// Whether the images to validate on are files of their own.
    fn names_validation(&self) -> bool {
        self.folders.validation.is_some() || self.lists.validation.is_some()
    }

    /// The pixels of one file, and the content of the photo in it.
    fn decode(&self, path: &Path, pixels: &mut [u8]) -> Result<u64> {
        let Extent { height, width } = self.size();
        let rules = self.photo_rules();
        let (photo, original) = photo::load_after(path, width, height, rules, content)?;
        match self.channels.0 {
            1 => {
                let grey = photo.rgb.chunks_exact(3).map(photo::grey);
                pixels.iter_mut().zip(grey).for_each(|(to, from)| *to = from);
            }
            _ => pixels.copy_from_slice(&photo.rgb),
        }
        Ok(original)
    }
}

/// The kind.
pub fn kind() -> FormatKind {
    FormatKind::of::<Images>(
        "images",
        "One's own photos: PNG and JPEG files.",
        "{ classes: [cat, dog], size_px: 32 }",
    )
}

impl Format for Images {
    fn is_stratified(&self) -> bool {
        true
    }

    fn selecting_fields(&self) -> &'static [&'static str] {
        &["cache", "classes", "damaged", "folders", "lists", "size_px"]
    }

    fn title(&self) -> &str {
        "the data set of images"
    }

    fn check(&self) -> Result<(), Mismatch> {
        let mut wrong = Vec::new();
        match &self.classes {
            None => {
                let help = "a pipeline is checked without opening files: `classes: [cat, dog]`, the \
                            names of the folders, or `classes: 2`, how many there are";
                let message = "the classes have to be written down";
                wrong.push(Mismatch::field("classes", message).help(help));
            }
            Some(classes) => wrong.extend(classes.check()),
        }
        match self.size_px {
            None => wrong.push(
                Mismatch::field("size_px", "the size of the images has to be written down")
                    .help("photos of other sizes are scaled to it: `size_px: 32`"),
            ),
            Some(Extent { height, width })
                if !(1..=MOST_SIDE).contains(&height) || !(1..=MOST_SIDE).contains(&width) =>
            {
                let message = format!("expected 1 to {MOST_SIDE} pixels, found {height} x {width}");
                wrong.push(Mismatch::field("size_px", message).help("such as `size_px: 32`"));
            }
            Some(_) => {}
        }
        if !matches!(self.channels.0, 1 | 3) {
            let message = format!("expected 1 or 3 channels, found {}", self.channels.0);
            wrong.push(Mismatch::field("channels", message).help("3 for colours, 1 for grey"));
        }
        wrong.extend(parts::check(&self.folders, &self.lists));
        Mismatch::all(wrong)
    }

    fn divides_validation(&self) -> bool {
        self.names_validation()
    }

    fn photo_rules(&self) -> Rules {
        Rules {
            refuse_grey: self.grey == Grey::Refuse && self.channels.0 == 3,
            refuse_alpha: self.alpha == Alpha::Refuse,
            refuse_tiny: false,
            invert: self.invert,
        }
    }

    fn reads(&self, place: &Place, split: Split) -> Result<PathBuf> {
        let classes = self.classes.as_ref().context(NO_CLASSES)?;
        Ok(list::origin(place, split, self, classes)?.path())
    }

    fn images(&self) -> super::Images {
        let classes = self.classes.as_ref().map_or(0, Classes::count);
        super::Images { pixel: PixelType::U8, shape: self.shape(), classes }
    }

    fn find(&self, path: &Path, _: Split) -> Result<Option<Place>> {
        list::find(path, self, self.classes.as_ref().context(NO_CLASSES)?)
    }

    fn open(&self, place: &Place, split: Split) -> Result<Box<dyn Dataset>> {
        let classes = self.classes.as_ref().context(NO_CLASSES)?;
        let mut list = list::list(place, split, self, classes)?;
        let mut notes = mem::take(&mut list.notes);
        let Survey { pixels, seen, mut wrong } = self.survey(&list.files)?;
        if self.damaged == Damaged::Stop && !wrong.is_empty() {
            let (at, error) = wrong.swap_remove(0);
            return Err(unusable(&list, at, error));
        }
        notes.extend(left_out(&list, &wrong));
        let mut is_whole = vec![true; list.files.len()];
        wrong.iter().for_each(|(at, _)| is_whole[*at] = false);
        let whole: Vec<usize> = (0..is_whole.len()).filter(|at| is_whole[*at]).collect();
        let labels: Vec<u32> = whole.iter().map(|at| list.files[*at].label).collect();
        some_of_each(&list, &labels, &notes)?;
        let name = format!("images of {}", place.path().display());
        let shape = self.shape();
        let size: usize = shape.iter().product();
        if pixels.is_none() && self.cache.is_none() {
            notes.push(format!(
                "{} images of {} bytes take more than half of the memory that is free: they are decoded each time they are used, unless `cache: true` is written",
                thousands(whole.len() as u64),
                thousands(size as u64)
            ));
        }
        let warning = (!notes.is_empty()).then(|| notes.join("\n"));
        let classes = list.classes;
        let Some(mut pixels) = pixels else {
            let mut paths: Vec<_> = list.files.into_iter().map(|file| Some(file.path)).collect();
            let all = whole.iter().filter_map(|at| Some((paths[*at].take()?, seen[*at]))).collect();
            let files = Arc::new(Files { format: self.clone(), all });
            return Ok(Box::new(Photos { name, classes, labels, warning, files }));
        };
        // What is left closes up where files were left out.
        for (to, from) in whole.iter().enumerate().filter(|(to, from)| to != *from) {
            pixels.copy_within(from * size..(from + 1) * size, to * size);
        }
        pixels.truncate(whole.len() * size);
        Ok(Box::new(InMemory {
            name,
            shape,
            classes,
            labels,
            pixels: pixels.into(),
            warning,
            originals: Some(whole.iter().map(|at| seen[*at].original).collect()),
        }))
    }

    fn beside(&self, place: &Place, split: Split) -> Option<String> {
        list::validation_not_read(place, split, self, self.classes.as_ref()?)
    }

    fn how_to_get(&self) -> String {
        "Images are a folder with train/ and test/, each with a folder of PNG or JPEG files for each \
         class;\nor with train.csv and test.csv, lines of file and label; or the classes' folders or \
         a CSV file alone,\nof which `validation: 0.1` keeps a share back. Files in no class's folder have no label but that \
         of a CSV file.\nOther names: `folders: { train: train, test: val }` and `lists: { train: labels.csv }` in the \
         format `images`.\nSay where: `path` in the pipeline, or --data PATH."
            .to_owned()
    }
}

/// That a file ends the run.
fn unusable(list: &List, at: usize, error: Error) -> Error {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    let missing = cause.is_some_and(|cause| cause.kind() == ErrorKind::NotFound);
    let repair = if missing { "put it there, or do not list it" } else { "repair or remove it" };
    error.context(format!(
        "cannot use {}: {repair}, or leave such files out with `damaged: skip`",
        list.name_of(at)
    ))
}

/// That some files are left out.
fn left_out(list: &List, wrong: &[(usize, Error)]) -> Option<String> {
    let named: Vec<String> = wrong
        .iter()
        .take(NAMED)
        .map(|(at, error)| format!("{}: {error:#}", list.name_of(*at)))
        .collect();
    let more = if wrong.len() > NAMED { "; .." } else { "" };
    let (left_out, all) = (wrong.len() as u64, list.files.len() as u64);
    (left_out > 0).then(|| {
        format!(
            "{} of {} images are left out ({}): {}{more}",
            thousands(left_out),
            thousands(all),
            left_out_by_class(list, wrong),
            named.join("; ")
        )
    })
}

/// Each class needs an image.
fn some_of_each(list: &List, labels: &[u32], notes: &[String]) -> Result<()> {
    let mut is_there = vec![false; list.classes.len()];
    labels.iter().for_each(|label| is_there[*label as usize] = true);
    let empty = list.classes.iter().zip(is_there).find(|(_, is_there)| !is_there);
    match empty {
        None => Ok(()),
        Some((name, _)) => bail!(
            "no image of class `{name}` is left in {}: {}",
            list.folder.display(),
            notes.join("; ")
        ),
    }
}

/// `3 of 500 of \`cat\`` for each class that lost some.
fn left_out_by_class(list: &List, wrong: &[(usize, Error)]) -> String {
    let count = |files: &mut dyn Iterator<Item = &File>| {
        let mut counts = vec![0_u64; list.classes.len()];
        files.for_each(|file| counts[file.label as usize] += 1);
        counts
    };
    let all = count(&mut list.files.iter());
    let lost = count(&mut wrong.iter().map(|(at, _)| &list.files[*at]));
    let classes = list.classes.iter().zip(lost.into_iter().zip(all));
    let told = classes.filter(|(_, (lost, _))| *lost > 0).map(|(name, (lost, all))| {
        format!("{} of {} of `{name}`", thousands(lost), thousands(all))
    });
    listed(&told.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, read, write};

    use flow::item::{Label, Pixels, SampleId};
    use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};
    use tempfile::TempDir;

    use super::*;

    fn names(names: &[&str]) -> Option<Classes> {
        Some(Classes::Names(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    fn format() -> Images {
        Images {
            classes: names(&["red", "green"]),
            size_px: Some(Extent { height: 8, width: 12 }),
            ..Images::default()
        }
    }

    /// An image of this colour, in the format of the path's ending.
    fn paint(path: &Path, colour: [u8; 3]) {
        create_dir_all(path.parent().expect("a folder")).expect("made");
        RgbImage::from_pixel(24, 16, Rgb(colour)).save(path).expect("written");
    }

    const RED: [u8; 3] = [200, 0, 0];
    const GREEN: [u8; 3] = [0, 200, 0];

    /// Three red and two green images to train on, one of each to test with.
    fn folder() -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, colour) in [
            ("train/red/b.png", [201, 0, 0]),
            ("train/red/a.png", RED),
            ("train/red/c.JPG", [202, 0, 0]),
            ("train/green/2.png", GREEN),
            ("train/green/10.png", [0, 201, 0]),
            ("test/red/1.png", RED),
            ("test/green/1.png", GREEN),
        ] {
            paint(&folder.path().join(path), colour);
        }
        folder
    }

    /// What is read, by the means that all formats have.
    #[derive(Debug, PartialEq)]
    struct Loaded {
        shape: [usize; 3],
        classes: Vec<String>,
        labels: Vec<u32>,
        pixels: Vec<u8>,
        warning: Option<String>,
        contents: Vec<u64>,
        keys: Vec<u64>,
        crc32c: u32,
    }

    impl Loaded {
        fn of(data: &dyn Dataset) -> Result<Self> {
            let all: Vec<usize> = (0..data.labels().len()).collect();
            let mut pixels = Vec::new();
            for mut sample in data.read(&all, SampleId { epoch: 0, index: 0 })? {
                sample.image.decode()?;
                let Pixels::U8(bytes) = sample.image.pixels else { bail!("no bytes") };
                pixels.extend_from_slice(&bytes);
            }
            assert_eq!(data.crc32c(&all), crc32c::crc32c(&pixels));
            Ok(Self {
                shape: data.images().shape,
                classes: data.classes().to_vec(),
                labels: data.labels().to_vec(),
                pixels,
                warning: data.warning().map(str::to_owned),
                contents: data.contents().into_owned(),
                keys: data.keys(&data.contents()).into_owned(),
                crc32c: data.crc32c(&all[all.len() / 2..]),
            })
        }
    }

    /// What is loaded, which is the same whether photos are kept or decoded when they are used.
    fn load(format: &Images, path: &Path, split: Split) -> Result<Loaded, String> {
        let place = format.find(path, split).expect("readable").expect("something is there");
        let by = |cache| {
            let opened = Images { cache, ..format.clone() }.open(&place, split);
            opened.and_then(|data| Loaded::of(&*data)).map_err(|error| format!("{error:#}"))
        };
        let loaded = by(Some(true));
        assert_eq!(loaded, by(Some(false)));
        assert_eq!(loaded, by(None));
        loaded
    }

    #[track_caller]
    fn says(loaded: Result<Loaded, String>, parts: &[&str]) {
        let told = loaded.expect_err("there is something wrong");
        assert!(parts.iter().all(|part| told.contains(part)), "{parts:?}: {told}");
    }

    /// The first value of each image that stands out.
    fn values(data: &Loaded) -> Vec<u8> {
        let size: usize = data.shape.iter().product();
        data.pixels.chunks(size).map(|image| image[0].max(image[1])).collect()
    }

    #[test]
    fn folders_are_classes_and_files_come_in_the_order_of_their_names() {
        let folder = folder();
        write(folder.path().join("train/red/.hidden"), "x").expect("written");
        let train = load(&format(), folder.path(), Split::Train).expect("loaded");
        assert_eq!((&*train.labels, train.shape), (&[0, 0, 0, 1, 1][..], [8, 12, 3]));
        let values = values(&train);
        // The JPEG is red to a few steps.
        assert_eq!((values[..2].to_vec(), values[3..].to_vec()), (vec![200, 201], vec![201, 200]));
        assert_eq!((train.warning, &*train.classes[1]), (None, "green"));
        let test = load(&format(), folder.path(), Split::Test).expect("loaded");
        assert_eq!(test.labels, [0, 1]);

        // Without names, folders are numbered in the order of theirs.
        let counted = Images { classes: Some(Classes::Count(2)), ..format() };
        let train = load(&counted, folder.path(), Split::Validation).expect("loaded");
        assert_eq!((&*train.labels, &*train.classes[0]), (&[0, 0, 1, 1, 1][..], "green"));

        // Undivided, the classes' folders are those to train on.
        let undivided = folder.path().join("train");
        assert_eq!(load(&format(), &undivided, Split::Train).expect("loaded").labels.len(), 5);
        says(load(&format(), &undivided, Split::Test), &["not divided", "validation: 0.1"]);

        let grey = Images { channels: Channels(1), ..format() };
        let grey = load(&grey, folder.path(), Split::Test).expect("loaded");
        assert_eq!((grey.shape, grey.pixels[0], grey.pixels[96]), ([8, 12, 1], 60, 117));
    }

    #[test]
    fn folders_that_do_not_fit_the_classes_are_told() {
        let folder = folder();
        let path = folder.path();
        let with = |classes| Images { classes, ..format() };
        let three = with(names(&["red", "green", "blue"]));
        says(load(&three, path, Split::Train), &["lacks a folder `blue`", "green, red"]);
        says(
            load(&with(Some(Classes::Count(3))), path, Split::Train),
            &["has 2 folders", "says 3"],
        );
        create_dir_all(path.join("train/blue")).expect("made");
        says(load(&format(), path, Split::Train), &["none of the classes: blue"]);
        says(load(&three, path, Split::Train), &["class `blue` is empty", "train"]);
        write(path.join("train/blue/notes.txt"), "x").expect("written");
        says(load(&three, path, Split::Train), &["class `blue` is empty"]);
        paint(&path.join("train/blue/1.png"), [0, 0, 200]);
        let warning =
            load(&three, path, Split::Train).expect("loaded").warning.expect("passed over");
        assert!(warning.contains("1 entries") && warning.contains("notes.txt"), "{warning}");
        std::fs::remove_dir_all(path.join("test")).expect("removed");
        says(load(&format(), path, Split::Test), &["is not: put the images of split `test` there"]);
    }

    #[test]
    fn files_that_cannot_be_decoded_stop_or_are_counted() {
        let folder = folder();
        let path = folder.path();
        let cut = path.join("train/red/c.JPG");
        let whole = read(&cut).expect("there");
        write(&cut, &whole[..whole.len() / 2]).expect("written");
        write(path.join("train/green/2.png"), "no image").expect("written");
        let stopped = load(&format(), path, Split::Train);
        says(stopped, &["c.JPG", "damaged: skip", "JPEG"]);
        let skip = Images { damaged: Damaged::Skip, ..format() };
        let data = load(&skip, path, Split::Train).expect("loaded");
        assert_eq!((&*data.labels, values(&data)), (&[0, 0, 1][..], vec![200, 201, 201]));
        let warning = data.warning.expect("two are left out");
        let parts = [
            "2 of 5 images are left out (1 of 3 of `red`, 1 of 2 of `green`)",
            "c.JPG",
            "2.png",
            "neither PNG nor JPEG",
        ];
        assert!(parts.iter().all(|part| warning.contains(part)), "{warning}");
        write(path.join("train/green/10.png"), "").expect("written");
        let lost = ["no image of class `green` is left", "2 of 2 of `green`", "10.png"];
        says(load(&skip, path, Split::Train), &lost);
    }

    #[test]
    fn grey_and_transparent_photos_are_taken_or_refused() {
        let folder = folder();
        let path = folder.path();
        let grey: DynamicImage = GrayImage::from_pixel(24, 16, Luma([7])).into();
        let clear: DynamicImage = RgbaImage::from_pixel(24, 16, Rgba([0, 0, 0, 0])).into();
        let save = |image: &DynamicImage, name: &str| {
            image.save_with_format(path.join(name), ImageFormat::Png).expect("written");
        };
        save(&grey, "train/red/b.png");
        let refuses = Images { grey: Grey::Refuse, alpha: Alpha::Refuse, ..format() };
        says(load(&refuses, path, Split::Train), &["b.png", "grey: expand"]);
        let of_grey = Images { channels: Channels(1), ..refuses.clone() };
        assert_eq!(load(&of_grey, path, Split::Train).expect("loaded").pixels[96], 7);
        save(&clear, "train/red/b.png");
        says(load(&refuses, path, Split::Train), &["b.png", "alpha: white"]);
        let data = load(&format(), path, Split::Train).expect("loaded");
        assert_eq!(values(&data)[1], 255);
    }

    #[test]
    fn a_csv_file_lists_files_and_labels() {
        let folder = folder();
        let path = folder.path();
        let csv = path.join("all.csv");
        let listed = |text: &str, classes| {
            write(&csv, text).expect("written");
            load(&Images { classes, ..format() }, &csv, Split::Train)
        };
        let files = "file,label\ntest/green/1.png,green\n\n\"train/red/a.png\", red\n";
        let data = listed(files, names(&["red", "green"])).expect("loaded");
        assert_eq!((&*data.labels, values(&data)), (&[1, 0][..], vec![200, 200]));
        let numbered = "train/red/a.png,0\ntest/green/1.png,1";
        let data = listed(numbered, Some(Classes::Count(2))).expect("loaded");
        assert_eq!((data.labels, data.classes), (vec![0, 1], vec!["0".to_owned(), "1".to_owned()]));

        let two = || names(&["red", "green"]);
        says(listed("a.png,blue", two()), &["all.csv, line 1", "`blue` is no class", "red, green"]);
        let off = listed("train/red/a.png,1\ntest/green/1.png,2", Some(Classes::Count(2)));
        says(off, &["line 2", "`2` is no class", "off by one"]);
        says(listed("a.png,red,3", two()), &["line 1", "found 3 fields"]);
        says(listed("\"a.png,red", two()), &["line 1", "not closed"]);
        says(listed("train/red/a.png,red", two()), &["class `green` is empty"]);
        let missing = "test/green/1.png,green\n\nnowhere.png,red";
        says(listed(missing, two()), &["nowhere.png (", "all.csv, line 3): put it there"]);
        let leading = listed("train/red/a.png,00\ntest/green/1.png,01", Some(Classes::Count(2)));
        assert_eq!(leading.expect("loaded").labels, [0, 1]);
        let mixed = listed("train/red/a.png,0\ntest/green/1.png,green", Some(Classes::Count(2)));
        says(mixed, &["line 2", "`green` is no class; expected is a number from 0 to 1"]);
        let twice = "train/red/a.png,red\ntest/green/1.png,green\n./train/red/a.png,";
        says(
            listed(&format!("{twice}green"), two()),
            &["train/red/a.png is of class `red` in line 1 and of class `green` in line 3"],
        );
        assert_eq!(listed(&format!("{twice}red"), two()).expect("loaded").labels, [0, 1, 0]);
        write(path.join("listed.csv"), b"\xff").expect("written");
        says(load(&format(), &path.join("listed.csv"), Split::Train), &["UTF-8"]);

        // Beside one another, as folders are.
        std::fs::remove_dir_all(path.join("test")).expect("removed");
        write(path.join("test.csv"), "train/red/a.png,red\ntrain/green/2.png,green")
            .expect("written");
        assert_eq!(load(&format(), path, Split::Test).expect("loaded").labels, [0, 1]);
    }

    #[test]
    fn a_csv_file_has_labels_beyond_255() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let mut text = String::from("file,label\n");
        for class in (0..300).rev() {
            paint(&path.join(format!("{class}.png")), [200, 0, (class % 200) as u8]);
            text += &format!("{class}.png,{class}\n");
        }
        let csv = path.join("all.csv");
        write(&csv, &text).expect("written");
        let of = |classes| Images { classes: Some(Classes::Count(classes)), ..format() };
        let data = load(&of(300), &csv, Split::Train).expect("loaded");
        assert_eq!(data.labels, (0..300).rev().collect::<Vec<u32>>());
        says(load(&of(299), &csv, Split::Train), &["line 2", "`299` is no class", "0 to 298"]);
        says(load(&of(301), &csv, Split::Train), &["class `300` is empty"]);
    }

    #[test]
    fn what_a_check_needs_to_know_has_to_be_written_down() {
        let wrong = Images::default().check().expect_err("nothing is written down");
        assert_eq!(wrong.field, ["classes"]);
        assert_eq!(wrong.also[0].field, ["size_px"]);
        assert!(wrong.help.expect("help").contains("without opening files"));
        let field = |format: Images| format.check().expect_err("wrong").field;
        assert_eq!(field(Images { channels: Channels(4), ..format() }), ["channels"]);
        assert_eq!(field(Images { size_px: Some(Extent::square(0)), ..format() }), ["size_px"]);
        assert_eq!(field(Images { classes: names(&["one"]), ..format() }), ["classes"]);
        assert!(format().check().is_ok());
        let images = crate::data::Images { pixel: PixelType::U8, shape: [8, 12, 3], classes: 2 };
        assert_eq!(format().images(), images);
    }

    #[test]
    fn only_folders_of_classes_are_taken_for_a_data_set() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let found = |classes| {
            let format = Images { classes, ..format() };
            format.find(path, Split::Train).expect("readable").is_some()
        };
        let counted = || Some(Classes::Count(2));
        assert!(!found(counted()));
        assert_eq!(format().find(&path.join("nowhere"), Split::Train).expect("readable"), None);
        // Files without classes, and what another data set unpacks to.
        paint(&path.join("1.png"), RED);
        create_dir_all(path.join("cifar-10-batches-bin")).expect("made");
        write(path.join("cifar-10-batches-bin/test_batch.bin"), "x").expect("written");
        assert!(!found(counted()) && !found(names(&["red", "green"])));
        create_dir_all(path.join("red")).expect("made");
        assert!(!found(counted()) && found(names(&["red", "green"])));
        paint(&path.join("red/1.png"), RED);
        assert!(found(counted()) && found(names(&["blue", "green"])));

        let flat = path.join("flat");
        paint(&flat.join("train/1.png"), RED);
        says(load(&format(), &flat, Split::Train), &["holds 1 image files and no folder"]);
    }

    /// The format with parts that have names of their own.
    fn with_parts(folders: &str, lists: &str) -> Images {
        let parts = |text: &str| serde_json::from_str(text).expect("right");
        Images { folders: parts(folders), lists: parts(lists), ..format() }
    }

    #[test]
    fn a_list_beside_a_flat_folder_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        for (name, colour) in [("a.png", RED), ("b.JPG", GREEN), ("c.v1.png", [201, 0, 0])] {
            paint(&path.join("train").join(name), colour);
        }
        let csv = path.join("train.csv");
        let listed = |text: &str| {
            write(&csv, text).expect("written");
            load(&format(), path, Split::Train)
        };
        for text in [
            "train/a.png,red\ntrain/b.JPG,green\ntrain/c.v1.png,red",
            "a.png,red\nb.JPG,green\nc.v1.png,red",
            "id,category\na,red\nb,green\nc.v1,red",
            "image_id,breed\na,red\ntrain/b,green\n./train/c.v1,red",
        ] {
            let data = listed(text).expect(text);
            assert_eq!((&*data.labels, values(&data)[2]), (&[0, 1, 0][..], 201), "{text}");
            let told = data.warning.is_some_and(|told| told.contains("names of its columns"));
            assert_eq!(told, text.contains("breed"), "{text}");
        }
        let reads = format().reads(&Place::Folder(path.to_owned()), Split::Train);
        assert_eq!(reads.expect("there"), csv);
        // A file is not guessed, and a label not passed over.
        paint(&path.join("a.png"), GREEN);
        says(listed("a.png,red\nb,green"), &["line 1", "`a.png` may mean", "or"]);
        paint(&path.join("train/b.png"), GREEN);
        says(listed("train/a.png,red\nb,green"), &["line 2", "b.JPG or", "b.png"]);
        says(listed("c.v1,blue\nb.png,green"), &["line 1", "`blue` is no class"]);
        says(listed("train/a.png,red\nd,green"), &["line 2): put it there"]);
    }

    #[test]
    fn of_a_list_and_folders_of_classes_neither_is_guessed() {
        let folder = folder();
        let path = folder.path();
        write(path.join("train.csv"), "train/red/a.png,red\ntrain/green/2.png,green")
            .expect("written");
        let both =
            ["train.csv lists images", "lists: { train: train.csv }", "folders: { train: train }"];
        says(load(&format(), path, Split::Train), &both);
        let counted = Images { classes: Some(Classes::Count(2)), ..format() };
        says(load(&counted, path, Split::Validation), &both);
        let list = with_parts("{}", r#"{"train": "train.csv"}"#);
        assert_eq!(load(&list, path, Split::Train).expect("the list").labels.len(), 2);
        let folders = with_parts(r#"{"train": "train"}"#, "{}");
        assert_eq!(load(&folders, path, Split::Train).expect("the folders").labels.len(), 5);
        assert_eq!(load(&format(), path, Split::Test).expect("nothing beside").labels.len(), 2);

        // The same without `train`.
        let undivided = tempfile::tempdir().expect("a folder");
        let path = undivided.path();
        paint(&path.join("red/1.png"), RED);
        paint(&path.join("green/1.png"), GREEN);
        paint(&path.join("green/2.png"), GREEN);
        write(path.join("train.csv"), "red/1.png,red\ngreen/1.png,green").expect("written");
        says(
            load(&format(), path, Split::Train),
            &["train.csv lists images", "folders: { train: . }"],
        );
        let folders = with_parts(r#"{"train": "."}"#, "{}");
        assert_eq!(load(&folders, path, Split::Train).expect("the folders").labels.len(), 3);
        // Two lists divide what is in the folders.
        write(path.join("test.csv"), "red/1.png,red\ngreen/2.png,green").expect("written");
        for split in [Split::Train, Split::Test] {
            assert_eq!(load(&format(), path, split).expect("a list").labels.len(), 2);
        }
        std::fs::remove_file(path.join("test.csv")).expect("removed");
        std::fs::remove_file(path.join("train.csv")).expect("removed");
        paint(&path.join("train/red/1.png"), RED);
        paint(&path.join("train/green/1.png"), GREEN);
        says(load(&format(), path, Split::Train), &["and so has", "`folders: { train: train }`"]);
    }

    #[test]
    fn parts_have_the_names_that_are_written_down() {
        let folder = folder();
        let path = folder.path();
        std::fs::rename(path.join("test"), path.join("val")).expect("renamed");
        load(&format(), path, Split::Validation).expect("a share of train");
        let place = Place::Folder(path.to_owned());
        let told = format().beside(&place, Split::Validation).expect("val is not read");
        assert_eq!(format().beside(&place, Split::Train), None);
        assert!(told.contains("val is there and is not read"), "{told}");
        assert!(told.contains("folders: { train: train, validation: val }"), "{told}");
        assert_eq!(load(&format(), path, Split::Train).expect("train").warning, None);
        says(load(&format(), path, Split::Test), &["is not: put", "folders: { test: val }"]);

        let test = with_parts(r#"{"test": "val"}"#, "{}");
        assert_eq!(load(&test, path, Split::Test).expect("val").labels.len(), 2);
        let validation = with_parts(r#"{"validation": "val"}"#, "{}");
        let kept = load(&validation, path, Split::Validation).expect("val");
        assert_eq!((kept.labels.len(), kept.warning), (2, None));
        assert_eq!(validation.beside(&place, Split::Validation), None);
        assert_eq!(load(&validation, path, Split::Train).expect("train").labels.len(), 5);
        assert!(validation.divides_validation() && !test.divides_validation());

        let gone = with_parts(r#"{"train": "trian"}"#, r#"{"test": "test.csv"}"#);
        let told = ["has no folder `trian`", "split `train`", "its folders are: train, val"];
        says(load(&gone, path, Split::Train), &told);
        says(load(&gone, path, Split::Test), &["has no file `test.csv`", "its files are: none"]);
        write(path.join("val.csv"), "1,red\n").expect("written");
        let file = path.join("val.csv");
        says(load(&test, &file, Split::Test), &["is a file", "give that folder"]);
        says(
            load(&format(), &file, Split::Test),
            &["not divided", "test: OTHER.csv", "its folder"],
        );
        // A list of files in a folder of another name.
        let names = ["{\"train\": \"train/red\"}", "{\"train\": \"labels.csv\"}"];
        write(path.join("labels.csv"), "a,red\ntrain/green/2,green\nb,red").expect("written");
        let data = load(&with_parts(names[0], names[1]), path, Split::Train).expect("listed");
        assert_eq!(data.labels, [0, 1, 0]);
    }

    #[test]
    fn photos_that_are_not_kept_are_decoded_when_they_are_used_and_have_to_stay_the_same() {
        let folder = folder();
        let path = folder.path();
        let format = Images { cache: Some(false), ..format() };
        let place = format.find(path, Split::Train).expect("readable").expect("there");
        let data = format.open(&place, Split::Train).expect("all are whole");
        let read = |images: &[usize]| {
            let first = SampleId { epoch: 2, index: 7 };
            let mut samples = data.read(images, first).expect("nothing is decoded");
            let decoded = samples.iter_mut().try_for_each(|sample| sample.image.decode());
            decoded.map(|()| samples).map_err(|error| format!("{error:#}"))
        };
        let samples = read(&[3, 0]).expect("they are there");
        let ids: Vec<u64> = samples.iter().map(|sample| sample.id.index).collect();
        assert_eq!((ids, samples[0].id.epoch), (vec![7, 8], 2));
        assert_eq!(samples[0].label, Label::Class(1));
        let red = path.join("train/red");
        paint(&red.join("a.png"), GREEN);
        let told = read(&[0]).expect_err("it is another photo");
        assert!(told.contains("a.png shows something else than at the start"), "{told}");
        std::fs::remove_file(red.join("b.png")).expect("removed");
        let told = read(&[1]).expect_err("it is gone");
        assert!(told.contains("b.png was read at the start of the run"), "{told}");
        read(&[2]).expect("the others are as they were");
    }

    #[test]
    fn a_thousand_folders_are_a_thousand_classes() {
        let folder = tempfile::tempdir().expect("a folder");
        for class in 0..1_000_u32 {
            let colour = [(class % 250) as u8, (class / 250) as u8, 9];
            let path = folder.path().join(format!("train/{class:04}/1.png"));
            create_dir_all(path.parent().expect("a folder")).expect("made");
            RgbImage::from_pixel(2, 2, Rgb(colour)).save(path).expect("written");
        }
        let format = Images {
            classes: Some(Classes::Count(1_000)),
            size_px: Some(Extent::square(2)),
            ..Images::default()
        };
        assert!(format.check().is_ok());
        let data = load(&format, folder.path(), Split::Train).expect("loaded");
        assert_eq!(data.labels, (0..1_000).collect::<Vec<u32>>());
        assert_eq!((data.pixels[12 * 999], data.pixels[12 * 999 + 1]), (249, 3));
    }

    #[test]
    fn light_and_dark_change_places() {
        let folder = folder();
        let inverted = Images { invert: true, ..format() };
        let data = load(&inverted, folder.path(), Split::Test).expect("loaded");
        assert_eq!(data.pixels[..3], [55, 255, 255]);
        let rules =
            Images { alpha: Alpha::Refuse, channels: Channels(1), ..inverted }.photo_rules();
        assert!(rules.invert && rules.refuse_alpha && !rules.refuse_grey && !rules.refuse_tiny);
    }

    #[test]
    fn photos_of_a_few_pixels_are_taken() {
        let folder = folder();
        RgbImage::from_pixel(1, 7, Rgb([203, 0, 0]))
            .save(folder.path().join("train/red/b.png"))
            .expect("written");
        let data = load(&format(), folder.path(), Split::Train).expect("loaded");
        assert_eq!(values(&data)[1], 203);
    }
}
