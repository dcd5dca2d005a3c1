//! One's own photos: a folder for each class, or a CSV file of files and labels.

mod list;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Error, Result, bail, ensure};
use runtime::photo::{self, Refused};
use runtime::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::place::Place;
use super::{DataSet, Format, Split, thousands};
use crate::extent::Extent;

/// Larger images would be cut by no cropper and fit into no memory.
const MOST_SIDE: usize = 4096;

/// PNG and JPEG files of any size: a folder for each class, or a CSV file. The largest middle part
/// of each photo that has the right proportions is scaled to `size_px`, as `runtime predict` does.
/// All are decoded at the start, on all processors, and kept: height x width x channels bytes each.
///
/// `path` is a folder with `train/` and `test/`, which hold a folder for each class; or with
/// `train.csv` and `test.csv`, lines of file and label, files relative to the CSV file's folder; or
/// it holds the classes' folders itself, or is a CSV file, and `validation` splits it.
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

/// Files that are named where some are left out.
const NAMED: usize = 3;

impl Images {
    fn size(&self) -> Extent {
        self.size_px.unwrap_or(Extent::square(1))
    }

    /// The pixels of one file.
    fn decode(&self, path: &Path, pixels: &mut [u8]) -> Result<()> {
        let Extent { height, width } = self.size();
        let refused = Refused {
            grey: self.grey == Grey::Refuse && self.channels.0 == 3,
            alpha: self.alpha == Alpha::Refuse,
        };
        let photo = photo::load_unless(path, width, height, refused)?;
        match self.channels.0 {
            1 => {
                let grey = photo.rgb.chunks_exact(3).map(photo::grey);
                pixels.iter_mut().zip(grey).for_each(|(to, from)| *to = from);
            }
            _ => pixels.copy_from_slice(&photo.rgb),
        }
        Ok(())
    }

    /// The pixels of all files, and what was wrong with some.
    fn decode_all(&self, files: &[list::File]) -> Result<(Vec<u8>, Vec<(usize, Error)>)> {
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
        let threads = thread::available_parallelism().map_or(1, usize::from);
        // Photos differ in size: short shares are taken in turn.
        let share = files.len().div_ceil(16 * threads).max(1);
        let stopped = AtomicUsize::new(usize::MAX);
        let shares: Vec<_> = files.chunks(share).zip(pixels.chunks_mut(share * size)).collect();
        let count = shares.len();
        let shares = std::sync::Mutex::new(shares.into_iter().enumerate());
        let mut wrong = thread::scope(|scope| {
            let work = || {
                let mut wrong = Vec::new();
                loop {
                    let next = shares.lock().map(|mut shares| shares.next());
                    let Ok(Some((number, (files, pixels)))) = next else { return wrong };
                    for (at, (file, pixels)) in
                        files.iter().zip(pixels.chunks_exact_mut(size)).enumerate()
                    {
                        let at = number * share + at;
                        // Those before the first that is wrong are read, so that it is the first.
                        if stopped.load(Ordering::Relaxed) < at {
                            break;
                        }
                        if let Err(error) = self.decode(&file.path, pixels) {
                            wrong.push((at, error));
                            if self.damaged == Damaged::Stop {
                                stopped.fetch_min(at, Ordering::Relaxed);
                            }
                        }
                    }
                }
            };
            let workers: Vec<_> = (0..threads.min(count)).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            joined.flatten().collect::<Vec<_>>()
        });
        wrong.sort_by_key(|(at, _)| *at);
        Ok((pixels, wrong))
    }
}

impl Format for Images {
    fn title(&self) -> &str {
        "the images"
    }

    fn check(&self) -> Result<(), Mismatch> {
        let mut wrong = Vec::new();
        match &self.classes {
            None => {
                wrong.push(Mismatch::field("classes", "the classes have to be written down").help(
                    "a pipeline is checked without opening files: `classes: [cat, dog]`, the \
                           names of the folders, or `classes: 2`, how many there are",
                ))
            }
            Some(classes) => wrong.extend(classes.check()),
        }
        match self.size_px {
            None => wrong.push(
                Mismatch::field("size_px", "the size of the images has to be written down")
                    .help("photos of any size are scaled to it: `size_px: 32`"),
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
        Mismatch::all(wrong)
    }

    fn images(&self) -> super::Images {
        let Extent { height, width } = self.size();
        let classes = self.classes.as_ref().map_or(0, Classes::count);
        super::Images { shape: [height, width, self.channels.0], classes }
    }

    fn find(&self, path: &Path, _: Split) -> Result<Option<Place>> {
        list::find(path)
    }

    fn load(&self, place: &Place, split: Split) -> Result<DataSet> {
        let classes = self.classes.as_ref().context("the classes are not written down")?;
        let list = list::list(place, split, classes)?;
        let (pixels, wrong) = self.decode_all(&list.files)?;
        let name_of = |at: usize| list.files[at].path.display();
        let mut notes = list.notes;
        if self.damaged == Damaged::Stop && !wrong.is_empty() {
            let mut wrong = wrong;
            let (at, error) = wrong.swap_remove(0);
            return Err(error.context(format!(
                "cannot use {}: repair or remove it, or leave such files out with \
                 `damaged: skip`",
                name_of(at)
            )));
        }
        if !wrong.is_empty() {
            let named: Vec<String> = wrong
                .iter()
                .take(NAMED)
                .map(|(at, error)| format!("{}: {error:#}", name_of(*at)))
                .collect();
            let more = if wrong.len() > NAMED { "; .." } else { "" };
            let (left_out, all) = (wrong.len() as u64, list.files.len() as u64);
            notes.push(format!(
                "{} of {} images are left out: {}{more}",
                thousands(left_out),
                thousands(all),
                Listed(&named)
            ));
        }
        let data = DataSet {
            name: format!("images of {}", list.folder.display()),
            shape: self.images().shape,
            labels: list.files.iter().map(|file| file.label).collect(),
            classes: list.classes,
            pixels: pixels.into(),
            warning: None,
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
            ensure!(some, "no image of class `{name}` is left in {}", list.folder.display());
        }
        if !notes.is_empty() {
            data.warning = Some(notes.join("\n"));
        }
        if data.labels.is_empty() {
            bail!("there are no images in {}", list.folder.display());
        }
        Ok(data)
    }

    fn how_to_get(&self) -> String {
        "Images are a folder with train/ and test/, each with a folder of PNG or JPEG files for each \
         class;\nor with train.csv and test.csv, lines of file and label; or the classes' folders or \
         a CSV file alone,\nof which `validation: 0.1` keeps a share back. Say where: `path` in the \
         pipeline, or --data PATH."
            .to_owned()
    }
}

/// A list for people.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}
