//! One's own photos: a folder for each class, or a CSV file of files and labels.

mod csv_list;
mod list;
mod parts;

use std::io::{self, ErrorKind};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Error, Result, ensure};
use flow::photo::{self, Rules};
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::place::Place;
use super::{DataSet, Format, Split, content, thousands};
use crate::extent::Extent;

pub use parts::Parts;

/// Larger images would be cut by no cropper and fit into no memory.
const MOST_SIDE: usize = 4096;

/// PNG and JPEG files: a folder for each class, or a CSV file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
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

/// What became of all files.
struct Decoded {
    /// All pixels, one image after the other; zeros where a file could not be decoded.
    pixels: Vec<u8>,
    /// [`content`] of each image before it was scaled.
    originals: Vec<u64>,
    /// What was wrong with which files, in their order.
    wrong: Vec<(usize, Error)>,
}

/// What cannot be, as fields are checked before anything is read.
const NO_CLASSES: &str = "the classes are not written down";
/// Files that are named where some are left out.
const NAMED: usize = 3;

impl Images {
    fn size(&self) -> Extent {
        self.size_px.unwrap_or(Extent::square(1))
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

    /// The pixels of all files, and what was wrong with some.
    fn decode_all(&self, files: &[list::File]) -> Result<Decoded> {
        let size: usize = self.images().shape.iter().product();
        let too_large = || {
            format!(
                "{} images of {size} bytes do not fit into memory: make `size_px` smaller",
                thousands(files.len() as u64)
            )
        };
        let total = files.len().checked_mul(size).with_context(too_large)?;
        let mut pixels: Vec<u8> = Vec::new();
        pixels.try_reserve_exact(total).with_context(too_large)?;
        pixels.resize(total, 0);
        let mut originals = vec![0; files.len()];
        let threads = thread::available_parallelism().map_or(1, usize::from);
        // Photos differ in size: short shares are taken in turn.
        let share = files.len().div_ceil(16 * threads).max(1);
        let stopped = AtomicUsize::new(usize::MAX);
        let found = pixels.chunks_mut(share * size).zip(originals.chunks_mut(share));
        let shares: Vec<_> = files.chunks(share).zip(found).collect();
        let count = shares.len();
        let shares = std::sync::Mutex::new(shares.into_iter().enumerate());
        let mut wrong = thread::scope(|scope| -> Result<Vec<(usize, Error)>> {
            let work = || {
                let mut wrong = Vec::new();
                loop {
                    let next = shares.lock().map(|mut shares| shares.next());
                    let Ok(Some((number, (files, (pixels, originals))))) = next else {
                        return wrong;
                    };
                    let found = pixels.chunks_exact_mut(size).zip(originals);
                    for (at, (file, (pixels, original))) in files.iter().zip(found).enumerate() {
                        let at = number * share + at;
                        // Those before the first that is wrong are read, so that it is the first.
                        if stopped.load(Ordering::Relaxed) < at {
                            break;
                        }
                        match self.decode(&file.path, pixels) {
                            Ok(content) => *original = content,
                            Err(error) => {
                                wrong.push((at, error));
                                if self.damaged == Damaged::Stop {
                                    stopped.fetch_min(at, Ordering::Relaxed);
                                }
                            }
                        }
                    }
                }
            };
            let mut workers = Vec::new();
            for _ in 0..threads.min(count) {
                let worker = thread::Builder::new().spawn_scoped(scope, work);
                // Those that are at work already need not end it.
                let worker = worker.inspect_err(|_| stopped.store(0, Ordering::Relaxed));
                workers.push(worker.context("could not start a thread")?);
            }
            let joined = workers.into_iter().map(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            Ok(joined.flatten().collect())
        })?;
        wrong.sort_by_key(|(at, _)| *at);
        Ok(Decoded { pixels, originals, wrong })
    }
}

impl Format for Images {
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
        let Extent { height, width } = self.size();
        let classes = self.classes.as_ref().map_or(0, Classes::count);
        super::Images { shape: [height, width, self.channels.0], classes }
    }

    fn find(&self, path: &Path, _: Split) -> Result<Option<Place>> {
        list::find(path, self, self.classes.as_ref().context(NO_CLASSES)?)
    }

    fn load(&self, place: &Place, split: Split) -> Result<DataSet> {
        let classes = self.classes.as_ref().context(NO_CLASSES)?;
        let mut list = list::list(place, split, self, classes)?;
        let mut notes = mem::take(&mut list.notes);
        let Decoded { pixels, originals, mut wrong } = self.decode_all(&list.files)?;
        if self.damaged == Damaged::Stop && !wrong.is_empty() {
            let (at, error) = wrong.swap_remove(0);
            let cause = error.root_cause().downcast_ref::<io::Error>();
            let missing = cause.is_some_and(|cause| cause.kind() == ErrorKind::NotFound);
            let repair =
                if missing { "put it there, or do not list it" } else { "repair or remove it" };
            return Err(error.context(format!(
                "cannot use {}: {repair}, or leave such files out with `damaged: skip`",
                list.name_of(at)
            )));
        }
        if !wrong.is_empty() {
            let named: Vec<String> = wrong
                .iter()
                .take(NAMED)
                .map(|(at, error)| format!("{}: {error:#}", list.name_of(*at)))
                .collect();
            let more = if wrong.len() > NAMED { "; .." } else { "" };
            let (left_out, all) = (wrong.len() as u64, list.files.len() as u64);
            notes.push(format!(
                "{} of {} images are left out ({}): {}{more}",
                thousands(left_out),
                thousands(all),
                left_out_by_class(&list, &wrong).join(", "),
                named.join("; ")
            ));
        }
        let data = DataSet {
            name: format!("images of {}", place.path().display()),
            shape: self.images().shape,
            labels: list.files.iter().map(|file| file.label).collect(),
            classes: list.classes,
            pixels: pixels.into(),
            warning: None,
            originals: Some(originals),
        };
        let bad: Vec<usize> = wrong.into_iter().map(|(at, _)| at).collect();
        let mut data = match bad.as_slice() {
            [] => data,
            bad => {
                let kept = (0..data.labels.len()).filter(|at| bad.binary_search(at).is_err());
                data.pick(&kept.collect::<Vec<_>>())
            }
        };
        for (class, name) in data.classes.iter().enumerate() {
            let some = data.labels.iter().any(|label| usize::from(*label) == class);
            ensure!(
                some,
                "no image of class `{name}` is left in {}: {}",
                list.folder.display(),
                notes.join("; ")
            );
        }
        if !notes.is_empty() {
            data.warning = Some(notes.join("\n"));
        }
        Ok(data)
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

/// `3 of 500 of \`cat\`` for each class that lost some.
fn left_out_by_class(list: &list::List, wrong: &[(usize, Error)]) -> Vec<String> {
    let count = |files: &mut dyn Iterator<Item = &list::File>| {
        let mut counts = vec![0_u64; list.classes.len()];
        files.for_each(|file| counts[usize::from(file.label)] += 1);
        counts
    };
    let all = count(&mut list.files.iter());
    let lost = count(&mut wrong.iter().map(|(at, _)| &list.files[*at]));
    let classes = list.classes.iter().zip(lost.into_iter().zip(all));
    let told = classes.filter(|(_, (lost, _))| *lost > 0).map(|(name, (lost, all))| {
        format!("{} of {} of `{name}`", thousands(lost), thousands(all))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, read, write};

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

    fn load(format: &Images, path: &Path, split: Split) -> Result<DataSet, String> {
        let place = format.find(path, split).expect("readable").expect("something is there");
        format.load(&place, split).map_err(|error| format!("{error:#}"))
    }

    #[track_caller]
    fn says(loaded: Result<DataSet, String>, parts: &[&str]) {
        let told = loaded.expect_err("there is something wrong");
        assert!(parts.iter().all(|part| told.contains(part)), "{parts:?}: {told}");
    }

    /// The first value of each image that stands out.
    fn values(data: &DataSet) -> Vec<u8> {
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
        assert_eq!(format().images(), crate::data::Images { shape: [8, 12, 3], classes: 2 });
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
        let share = load(&format(), path, Split::Validation).expect("a share of train");
        let told = share.warning.expect("val is not read");
        assert!(told.contains("val is there and is not read"), "{told}");
        assert!(told.contains("folders: { train: train, validation: val }"), "{told}");
        assert_eq!(load(&format(), path, Split::Train).expect("train").warning, None);
        says(load(&format(), path, Split::Test), &["is not: put", "folders: { test: val }"]);

        let test = with_parts(r#"{"test": "val"}"#, "{}");
        assert_eq!(load(&test, path, Split::Test).expect("val").labels.len(), 2);
        let validation = with_parts(r#"{"validation": "val"}"#, "{}");
        let kept = load(&validation, path, Split::Validation).expect("val");
        assert_eq!((kept.labels.len(), kept.warning), (2, None));
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
