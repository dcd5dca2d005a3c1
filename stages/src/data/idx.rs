//! IDX files, as of MNIST and its family (Y. LeCun, C. Cortes and C. Burges, "The MNIST database of
//! handwritten digits"): a number for the type, the sizes, big-endian, and bytes, in gzip or not.

use std::fs;
use std::io::{BufRead as _, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;
use flow::lint::Note;
use flow::port::PixelType;
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classes::{Classes, labels_hint};
use super::dataset::Dataset;
use super::format::FormatKind;
use super::in_memory::InMemory;
use super::place::{Place, look, open, same_bytes, the_one};
use super::{Format, Images, Split, content, thousands};
use crate::extent::Extent;
use crate::lints::TURNED_IMAGES;

/// Bytes of images that are read into memory at most.
const MOST: u64 = 1 << 34;
/// How many times smaller gzip makes a file at most (Deflate's limit is 1,032).
const MOST_PACKED: u64 = 1_040;
/// Where torchvision puts a data set's files, below a folder of its name.
const RAW: &str = "raw";
/// What the names of EMNIST's files begin with.
const EMNIST: &str = "emnist-";

/// What files hold, as their names say, and the ends of these names.
const IMAGES: &str = "images";
const LABELS: &str = "labels";
const OF_IMAGES: &[&str] = &["idx3-ubyte"];
const OF_LABELS: &[&str] = &["idx1-ubyte", "idx1-short", "idx1-int"];

/// How numbers are stored, as the third byte of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    U8 = 0x08,
    I8 = 0x09,
    I16 = 0x0b,
    I32 = 0x0c,
}

impl Stored {
    /// How labels may be stored. Up to 256 classes have bytes.
    const LABELS: &'static [Self] = &[Self::U8, Self::I8, Self::I16, Self::I32];

    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 => 4,
        }
    }

    /// The numbers in these bytes, the highest byte of each first.
    fn numbers(self, bytes: &[u8]) -> Vec<i64> {
        match self {
            Self::U8 => bytes.iter().map(|byte| i64::from(*byte)).collect(),
            Self::I8 => bytes.iter().map(|byte| i64::from(byte.cast_signed())).collect(),
            Self::I16 => {
                bytes.as_chunks().0.iter().map(|two| i16::from_be_bytes(*two).into()).collect()
            }
            Self::I32 => {
                bytes.as_chunks().0.iter().map(|four| i32::from_be_bytes(*four).into()).collect()
            }
        }
    }
}

/// MNIST and its family: grey images and their labels in IDX files, `train-images-idx3-ubyte` and
/// so on, with or without `.gz`, in the folder that `path` names, in `raw` below it, or in `raw` of
/// one of its folders, as torchvision has them (`MNIST/raw`). Where several of these fit and are not
/// the same, none is read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Idx {
    /// The images' height and width in pixels, `28` or `[height, width]`; with `transpose`, as they
    /// are once they are turned.
    pub size_px: Extent,
    /// How many classes there are, or their names in the order of their labels.
    pub classes: Classes,
    /// 1, grey as in the files, or 3: the same grey as red, green and blue, for a model of colours.
    #[schemars(extend("enum" = [1, 3]))]
    pub channels: usize,
    /// The label of the first class: 1 for EMNIST's letters.
    pub first_label: u32,
    /// What the files' names begin with, such as `emnist-letters-`.
    pub prefix: String,
    /// Whether rows and columns change places. EMNIST's files hold every image turned like this:
    /// with `true` they are upright, as the photos are that `runtime predict` is given. Not done if
    /// absent.
    pub transpose: Option<bool>,
    /// Whether light and dark change places: MNIST is light on dark, and ink on paper is dark on
    /// light. It is done to what the files hold, and not to the photos that `runtime predict` is given.
    pub invert: bool,
}

impl Default for Idx {
    fn default() -> Self {
        Self {
            size_px: Extent::square(28),
            classes: Classes::Count(10),
            channels: 1,
            first_label: 0,
            prefix: String::new(),
            transpose: None,
            invert: false,
        }
    }
}

/// The names that a file goes by.
struct Names {
    split: &'static [&'static str],
    what: &'static str,
    prefix: String,
}

impl Names {
    /// Unpacked files first.
    fn all(&self) -> impl Iterator<Item = String> + '_ {
        let forms = [("-", ""), (".", ""), ("-", ".gz"), (".", ".gz")];
        let kinds = if self.what == IMAGES { OF_IMAGES } else { OF_LABELS };
        let forms =
            forms.into_iter().flat_map(move |form| kinds.iter().map(move |kind| (form, kind)));
        let names = forms.flat_map(move |form| self.split.iter().map(move |split| (form, split)));
        names.map(move |(((dash, ending), kind), split)| {
            let Self { what, prefix, .. } = self;
            format!("{prefix}{split}-{what}{dash}{kind}{ending}")
        })
    }

    /// Those of the files that are there. Folders of such a name, which some programs unpack a file
    /// to, are passed over.
    fn there(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for name in self.all() {
            let path = folder.join(name);
            if look(&path)?.is_some_and(|found| !found.is_dir()) {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// The file, unpacked if it is there both ways.
    ///
    /// # Errors
    /// If two of them hold different data.
    fn find(&self, folder: &Path) -> Result<Option<PathBuf>> {
        let found = self.there(folder)?;
        let Some((first, others)) = found.split_first() else { return Ok(None) };
        for other in others {
            ensure!(
                same_contents(first, other)?,
                "{} and {} both stand for one file, and hold different data: move the one that is \
                 not meant away",
                first.display(),
                other.display()
            );
        }
        Ok(Some(first.clone()))
    }
}

/// Whether two files hold the same, packed or not.
fn same_contents(one: &Path, other: &Path) -> Result<bool> {
    let cannot = || format!("cannot compare {} and {}", one.display(), other.display());
    same_bytes(unpacked(one)?, unpacked(other)?).with_context(cannot)
}

impl Idx {
    fn names(&self, what: &'static str, split: Split) -> Names {
        let split: &[&str] = if split == Split::Test { &["t10k", "test"] } else { &["train"] };
        Names { split, what, prefix: self.prefix.clone() }
    }

    fn needed(&self, folder: &Path, what: &'static str, split: Split) -> Result<PathBuf> {
        let names = self.names(what, split);
        let found = names.find(folder)?;
        found.with_context(|| {
            let name = names.all().next().unwrap_or_default();
            format!("{} lacks {name}: put it there, packed or unpacked", folder.display())
        })
    }

    /// All of the data set's files, whichever split they are of.
    fn all_names(&self) -> impl Iterator<Item = Names> + '_ {
        let splits = [Split::Train, Split::Test];
        splits.into_iter().flat_map(|split| [IMAGES, LABELS].map(|what| self.names(what, split)))
    }

    fn fits(&self, folder: &Path) -> Result<bool> {
        for names in self.all_names().filter(|names| names.what == IMAGES) {
            if !names.there(folder)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn same(&self, one: &Path, other: &Path) -> Result<bool> {
        for names in self.all_names() {
            let same = match (names.find(one)?, names.find(other)?) {
                (None, None) => true,
                (Some(one), Some(other)) => same_contents(&one, &other)?,
                _ => false,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_turned(&self) -> bool {
        self.transpose == Some(true)
    }

    /// The content of each image in the file, if it is read otherwise: it is the same image still.
    fn originals(&self, grey: &[u8]) -> Option<Vec<u64>> {
        if !self.is_turned() && !self.invert && self.channels == 1 {
            return None;
        }
        let Extent { height, width } = self.size_px;
        let (rows, columns) = if self.is_turned() { (width, height) } else { (height, width) };
        let images = grey.chunks_exact(rows * columns);
        Some(images.map(|image| content(image, rows, columns)).collect())
    }
}

/// The kind.
pub fn kind() -> FormatKind {
    FormatKind::of::<Idx>(
        "idx",
        "MNIST and its family: grey images in IDX files.",
        "{ classes: 10, size_px: 28 }",
    )
}

impl Format for Idx {
    fn selecting_fields(&self) -> &'static [&'static str] {
        &["classes", "prefix", "size_px"]
    }

    fn title(&self) -> &str {
        "the data set in IDX files"
    }

    fn check(&self) -> Result<(), Mismatch> {
        let mut wrong: Vec<Mismatch> = self.classes.check().into_iter().collect();
        if !matches!(self.channels, 1 | 3) {
            let message = format!("expected 1 or 3 channels, found {}", self.channels);
            wrong.push(Mismatch::field("channels", message).help("IDX images are grey: 1"));
        }
        if self.size_px.height == 0 || self.size_px.width == 0 {
            let message = format!("an image of {} pixels shows nothing", self.size_px);
            wrong.push(Mismatch::field("size_px", message).help("MNIST's images have 28"));
        }
        Mismatch::all(wrong)
    }

    fn images(&self) -> Images {
        let Extent { height, width } = self.size_px;
        let shape = [height, width, self.channels];
        Images { pixel: PixelType::U8, shape, classes: self.classes.count() }
    }

    fn find(&self, path: &Path, _: Split) -> Result<Option<Place>> {
        let mut folders = vec![path.to_owned(), path.join(RAW)];
        if look(path)?.is_some_and(|found| found.is_dir()) {
            let cannot = || format!("cannot read {}", path.display());
            for entry in fs::read_dir(path).with_context(cannot)? {
                folders.push(entry.with_context(cannot)?.path().join(RAW));
            }
        }
        folders[2..].sort_unstable();
        let mut fitting = Vec::new();
        for (at, folder) in folders.into_iter().enumerate() {
            // Folders beside them may be of other people, and closed.
            let fits =
                if at < 2 { self.fits(&folder)? } else { self.fits(&folder).unwrap_or(false) };
            if fits {
                fitting.push(folder);
            }
        }
        let found = the_one(&fitting, |one, other| self.same(one, other))?;
        Ok(found.map(Place::Folder))
    }

    fn open(&self, place: &Place, split: Split) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(self.load(place, split)?))
    }

    fn notes(&self) -> Vec<Note> {
        let is_emnist = self.prefix.to_ascii_lowercase().starts_with(EMNIST);
        let note = || {
            let why = "EMNIST's files hold images with rows and columns changed over, and a model \
                       that is trained on them takes upright photos for something else";
            let what = Mismatch::field("transpose", why);
            TURNED_IMAGES
                .note(what.help("add `transpose: true`; `transpose: false` reads them as they are"))
        };
        (is_emnist && self.transpose.is_none()).then(note).into_iter().collect()
    }

    fn how_to_get(&self) -> String {
        let names = |what, split| self.names(what, split).all().next().unwrap_or_default();
        format!(
            "Put {}, {} and the two of the test images ({}, {}), packed or unpacked, into one \
             folder, and say where it is: `path` in the pipeline, or --data FOLDER.",
            names(IMAGES, Split::Train),
            names(LABELS, Split::Train),
            names(IMAGES, Split::Test),
            names(LABELS, Split::Test)
        )
    }
}

impl Idx {
    fn load(&self, place: &Place, split: Split) -> Result<InMemory> {
        let Place::Folder(folder) = place else { bail!("IDX files are given by their folder") };
        let (images, labels) =
            (self.needed(folder, IMAGES, split)?, self.needed(folder, LABELS, split)?);
        let cannot = |path: &Path| format!("cannot use {}", path.display());
        let (count, mut grey) = self.read_images(&images).with_context(|| cannot(&images))?;
        let found = self.read_labels(&labels).with_context(|| cannot(&labels))?;
        ensure!(
            count == found.len(),
            "{} has {} images and {} has {} labels: as many of both are expected",
            images.display(),
            thousands(count as u64),
            labels.display(),
            thousands(found.len() as u64)
        );
        let originals = self.originals(&grey);
        if self.is_turned() {
            grey = transposed(&grey, self.size_px)?;
        }
        if self.invert {
            grey.iter_mut().for_each(|value| *value = 255 - *value);
        }
        let pixels = match self.channels {
            1 => grey,
            _ => {
                let mut colours = reserved(grey.len().saturating_mul(3))?;
                colours.extend(grey.iter().flat_map(|value| [*value; 3]));
                colours
            }
        };
        Ok(InMemory {
            name: format!("{}IDX images", self.prefix),
            shape: self.images().shape,
            classes: self.classes.names_from(self.first_label as usize),
            labels: found,
            pixels: pixels.into(),
            warning: None,
            originals,
        })
    }

    fn read_images(&self, path: &Path) -> Result<(usize, Vec<u8>)> {
        let Extent { height, width } = self.size_px;
        let (_, sizes, bytes) = read(path, 3, &[Stored::U8])?;
        let [high, wide] =
            if self.is_turned() { [sizes[2], sizes[1]] } else { [sizes[1], sizes[2]] };
        ensure!(
            [high, wide] == [height as u64, width as u64],
            "its images are {high} x {wide} pixels (height x width{}), and `size_px` says \
             {height} x {width}: write `size_px: [{high}, {wide}]`",
            if self.is_turned() { ", once they are transposed" } else { "" }
        );
        ensure!(sizes[0] > 0, "there are no images in it");
        Ok((usize::try_from(sizes[0])?, bytes))
    }

    fn read_labels(&self, path: &Path) -> Result<Vec<u32>> {
        let (stored, _, bytes) = read(path, 1, Stored::LABELS)?;
        let labels = stored.numbers(&bytes);
        let (first, classes) = (i64::from(self.first_label), self.classes.count());
        let class = |label: i64| u32::try_from(label - first).ok();
        let class = |label: i64| class(label).filter(|class| (*class as usize) < classes);
        if let Some(at) = labels.iter().position(|label| class(*label).is_none()) {
            let lowest = labels.iter().copied().min().unwrap_or_default();
            let highest = labels.iter().copied().max().unwrap_or_default();
            let hint = labels_hint(lowest, highest, first, classes);
            bail!(
                "label {at} (counted from 0) is {}, and there are {classes} classes from \
                 {first} on; {hint}. Set `classes` and `first_label` to fit",
                labels[at]
            );
        }
        Ok(labels.into_iter().filter_map(class).collect())
    }
}

/// Room for so many bytes.
fn reserved(bytes: usize) -> Result<Vec<u8>> {
    let mut room = Vec::new();
    let too_large = || format!("its {} bytes do not fit into memory", thousands(bytes as u64));
    room.try_reserve_exact(bytes).with_context(too_large)?;
    Ok(room)
}

/// Images with rows and columns changed over, which have this size afterwards.
fn transposed(images: &[u8], size: Extent) -> Result<Vec<u8>> {
    let Extent { height, width } = size;
    let mut turned = reserved(images.len())?;
    for image in images.chunks_exact(height * width) {
        for row in 0..height {
            turned.extend((0..width).map(|column| image[column * height + row]));
        }
    }
    Ok(turned)
}

/// What a file holds, unpacked if it is packed. That is told by its content: names are often wrong
/// once a browser has unpacked a file.
fn unpacked(path: &Path) -> Result<Box<dyn Read>> {
    let mut file = open(path)?;
    let start = file.fill_buf().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
        _ => Box::new(file),
    })
}

/// How the numbers of a file with so many dimensions are stored, its sizes, and all bytes of the numbers.
fn read(
    path: &Path,
    dimensions: u8,
    kinds: &'static [Stored],
) -> Result<(Stored, Vec<u64>, Vec<u8>)> {
    let mut from = unpacked(path)?;
    let mut head = [0; 4];
    from.read_exact(&mut head).context("it is shorter than the four bytes it should begin with")?;
    let stored = kinds.iter().find(|kind| head == [0, 0, **kind as u8, dimensions]);
    let stored = *stored.with_context(|| {
        let [first, others @ ..] = kinds else { return String::new() };
        let others: Vec<String> =
            others.iter().map(|kind| format!(", or {:02x} for {kind:?}", *kind as u8)).collect();
        format!(
            "it begins with {head:02x?}, and an IDX file of bytes in {dimensions} dimensions with \
             [00, 00, {:02x}, {dimensions:02x}]{}",
            *first as u8,
            others.concat()
        )
    })?;
    let mut sizes = Vec::new();
    for _ in 0..dimensions {
        let mut size = [0; 4];
        from.read_exact(&mut size).context("it ends within its sizes")?;
        sizes.push(u64::from(u32::from_be_bytes(size)));
    }
    let number = stored.bytes() as u64;
    let wanted = sizes.iter().try_fold(number, |product, size| product.checked_mul(*size));
    let wanted = wanted.filter(|wanted| *wanted <= MOST);
    let wanted = wanted.with_context(|| {
        format!("its sizes are {sizes:?}: more than the {} GiB that are read", MOST >> 30)
    })?;
    // Room is made for what the file can hold, whatever its sizes say; one byte more than wanted
    // would be one too many.
    let length = look(path)?.map_or(0, |found| found.len());
    let room = length.saturating_mul(MOST_PACKED).min(wanted) + 1;
    let mut bytes = reserved(usize::try_from(room)?)?;
    from.take(room).read_to_end(&mut bytes).context("it is damaged")?;
    let found = bytes.len() as u64;
    ensure!(
        found == wanted,
        "its sizes {sizes:?} make {} bytes, and it has {}: get it again",
        thousands(wanted),
        if found > wanted { "more".to_owned() } else { thousands(found) }
    );
    Ok((stored, sizes, bytes))
}

#[cfg(test)]
mod tests {
    use std::fs::write;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::*;

    const IMAGES: &str = "train-images-idx3-ubyte";
    const LABELS: &str = "train-labels-idx1-ubyte";
    const PACKED: &str = "train-labels-idx1-ubyte.gz";

    fn file(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, sizes.len() as u8];
        file.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        file.extend(bytes);
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).expect("memory");
        gzip.finish().expect("memory")
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            write(folder.path().join(name), content).expect("written");
        }
        folder
    }

    fn small() -> Idx {
        Idx {
            size_px: Extent { height: 2, width: 3 },
            classes: Classes::Count(3),
            ..Idx::default()
        }
    }

    fn load(format: &Idx, folder: &TempDir) -> Result<InMemory, String> {
        let place = format.find(folder.path(), Split::Train).expect("readable").expect("there");
        format.load(&place, Split::Train).map_err(|error| format!("{error:#}"))
    }

    fn images() -> Vec<u8> {
        file(&[3, 2, 3], &(0..18).collect::<Vec<u8>>())
    }

    fn labels(labels: &[u8]) -> Vec<u8> {
        file(&[labels.len() as u32], labels)
    }

    #[test]
    fn files_are_found_by_every_name_packed_or_not() {
        let labels = labels(&[2, 0, 1]);
        for files in [
            [(IMAGES, images()), (LABELS, labels.clone())],
            [
                ("train-images-idx3-ubyte.gz", gzip(&images())),
                ("train-labels-idx1-ubyte.gz", gzip(&labels)),
            ],
            // Unpacked on the way, and still called packed.
            [("train-images-idx3-ubyte.gz", images()), ("train-labels.idx1-ubyte", gzip(&labels))],
        ] {
            let data = load(&small(), &folder(&files)).expect("loaded");
            assert_eq!((&*data.labels, data.shape), (&[2, 0, 1][..], [2, 3, 1]));
            assert_eq!(data.pixels, (0..18).collect::<Vec<u8>>());
            let colours = load(&Idx { channels: 3, ..small() }, &folder(&files)).expect("loaded");
            assert_eq!(
                (&colours.pixels[3..9], colours.shape),
                (&[1, 1, 1, 2, 2, 2][..], [2, 3, 3])
            );
        }
        let letters = Idx { first_label: 1, prefix: "emnist-letters-".to_owned(), ..small() };
        let files = [
            ("emnist-letters-train-images-idx3-ubyte", images()),
            ("emnist-letters-train-labels-idx1-ubyte", self::labels(&[1, 3, 2])),
        ];
        assert_eq!(load(&letters, &folder(&files)).expect("loaded").labels, [0, 2, 1]);
    }

    #[test]
    fn labels_of_more_than_256_classes_have_several_bytes() {
        let of_labels = |kind: u8, bytes: Vec<u8>| {
            let mut file = vec![0, 0, kind, 1, 0, 0, 0, 3];
            file.extend(bytes);
            file
        };
        let shorts = |labels: [i16; 3]| of_labels(0x0b, labels.map(i16::to_be_bytes).concat());
        let ints = |labels: [i32; 3]| of_labels(0x0c, labels.map(i32::to_be_bytes).concat());
        let thousand = Idx { classes: Classes::Count(1_000), ..small() };
        let loaded = |format: &Idx, name: &str, labels: Vec<u8>| {
            load(format, &folder(&[(IMAGES, images()), (name, labels)])).map(|data| data.labels)
        };
        for name in [LABELS, "train-labels-idx1-short", "train-labels.idx1-int.gz"] {
            assert_eq!(loaded(&thousand, name, shorts([999, 0, 256])), Ok(vec![999, 0, 256]));
            assert_eq!(loaded(&thousand, name, ints([999, 0, 256])), Ok(vec![999, 0, 256]));
        }
        let signed = of_labels(0x09, vec![2, 127, 0]);
        assert_eq!(loaded(&thousand, LABELS, signed), Ok(vec![2, 127, 0]));
        let far = Idx { first_label: 70_000, ..thousand.clone() };
        assert_eq!(loaded(&far, LABELS, ints([70_999, 70_000, 70_001])), Ok(vec![999, 0, 1]));
        let told = loaded(&thousand, LABELS, ints([5, -1, 7])).expect_err("below 0");
        assert!(told.contains("label 1 (counted from 0) is -1"), "{told}");
        assert!(told.contains("run from -1 to 7; expected are 0 to 999"), "{told}");
        let told = loaded(&thousand, LABELS, ints([1, 1_000, 7])).expect_err("too large");
        assert!(told.contains("is 1000, and there are 1000 classes"), "{told}");
        let told = loaded(&thousand, LABELS, shorts([1, 2, 3])[..13].to_vec()).expect_err("cut");
        assert!(told.contains("make 6 bytes, and it has 5"), "{told}");
        let reals = of_labels(0x0d, vec![0; 12]);
        let told = loaded(&thousand, LABELS, reals).expect_err("reals");
        assert!(told.contains("[00, 00, 08, 01]") && told.contains("0c for I32"), "{told}");
    }

    #[test]
    fn two_files_that_stand_for_one_have_to_hold_the_same() {
        let right = || labels(&[2, 0, 1]);
        let twins = |packed: Vec<u8>| {
            load(&small(), &folder(&[(IMAGES, images()), (LABELS, right()), (PACKED, packed)]))
        };
        assert_eq!(twins(gzip(&right())).expect("the same").labels, [2, 0, 1]);
        for other in [gzip(&labels(&[2, 1, 0])), gzip(&labels(&[2, 0])), labels(&[0, 0, 0])] {
            let told = twins(other).expect_err("they differ");
            let parts = [LABELS, PACKED, "different data", "move the one"];
            assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        }
        let told = twins(gzip(&right())[..12].to_vec()).expect_err("damaged");
        assert!(told.contains("cannot compare"), "{told}");
    }

    #[test]
    fn of_two_data_sets_below_one_folder_neither_is_guessed() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let put = |below: &str, of: &[u8]| {
            fs::create_dir_all(root.join(below)).expect("made");
            write(root.join(below).join(IMAGES), images()).expect("written");
            write(root.join(below).join(LABELS), labels(of)).expect("written");
        };
        let find = |path: &Path, split| small().find(path, split).map_err(|e| format!("{e:#}"));
        put("FashionMNIST/raw", &[2, 0, 1]);
        let raw = Some(Place::Folder(root.join("FashionMNIST/raw")));
        for path in [root, &root.join("FashionMNIST"), &root.join("FashionMNIST/raw")] {
            assert_eq!(find(path, Split::Train), Ok(raw.clone()), "{}", path.display());
        }
        // Files may be the same twice.
        put("Copy/raw", &[2, 0, 1]);
        assert_eq!(find(root, Split::Train), Ok(Some(Place::Folder(root.join("Copy/raw")))));
        put("MNIST/raw", &[0, 1, 2]);
        for split in [Split::Train, Split::Test] {
            let told = find(root, split).expect_err("two");
            assert!(told.contains("MNIST/raw") && told.contains("`path`"), "{told}");
        }
        assert_eq!(find(&root.join("FashionMNIST"), Split::Train), Ok(raw));
    }

    #[test]
    fn images_are_turned_and_inverted_as_asked() {
        let files = || folder(&[(IMAGES, images()), (LABELS, labels(&[2, 0, 1]))]);
        let size_px = Extent { height: 3, width: 2 };
        let turned = Idx { transpose: Some(true), size_px, ..small() };
        let data = load(&turned, &files()).expect("loaded");
        assert_eq!((&data.pixels[..6], data.shape), (&[0, 3, 1, 4, 2, 5][..], [3, 2, 1]));
        let inverted = Idx { invert: true, channels: 3, ..small() };
        let data = load(&inverted, &files()).expect("loaded");
        assert_eq!(data.pixels[..6], [255, 255, 255, 254, 254, 254]);
        let told = load(&Idx { transpose: Some(true), ..small() }, &files()).expect_err("3 x 2");
        assert!(told.contains("once they are transposed") && told.contains("[3, 2]"), "{told}");
        let warned = |prefix: &str, transpose| {
            !Idx { prefix: prefix.to_owned(), transpose, ..small() }.notes().is_empty()
        };
        assert!(warned("emnist-letters-", None) && !warned("", None));
        assert!(!warned("emnist-letters-", Some(false)) && !warned("emnist-letters-", Some(true)));
    }

    #[test]
    fn an_image_is_the_same_however_it_is_read() {
        let files = || folder(&[(IMAGES, images()), (LABELS, labels(&[2, 0, 1]))]);
        let expected = load(&small(), &files()).expect("loaded").contents().into_owned();
        let size_px = Extent { height: 3, width: 2 };
        for other in [
            Idx { transpose: Some(true), size_px, ..small() },
            Idx { invert: true, ..small() },
            Idx { channels: 3, ..small() },
        ] {
            assert_eq!(load(&other, &files()).expect("loaded").contents(), expected, "{other:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let says = |images: Vec<u8>, labels: Vec<u8>, parts: &[&str]| {
            let told = load(&small(), &folder(&[(IMAGES, images), (LABELS, labels)]));
            let told = told.expect_err("there is something wrong");
            assert!(parts.iter().all(|part| told.contains(part)), "{parts:?}: {told}");
        };
        let right = || labels(&[0, 1, 2]);
        says(images(), labels(&[0, 1]), &["3 images", "2 labels", IMAGES, LABELS]);
        says(images(), labels(&[1, 2, 3]), &[LABELS, "label 2", "is 3", "off by one"]);
        says(images(), labels(&[0, 9, 1]), &[LABELS, "label 1", "is 9", "run from 0 to 9"]);
        says(labels(&[0]), right(), &[IMAGES, "3 dimensions", "[00, 00, 08, 03]"]);
        says(file(&[3, 3, 2], &[0; 18]), right(), &["3 x 2 pixels", "`size_px: [3, 2]`"]);
        says(file(&[0, 2, 3], &[]), right(), &["no images"]);
        says(images()[..20].to_vec(), right(), &[IMAGES, "make 18 bytes", "has 4"]);
        says([images(), vec![0]].concat(), right(), &["has more"]);
        says(images()[..9].to_vec(), right(), &["ends within its sizes"]);
        says(vec![0], right(), &["shorter than the four bytes"]);
        says(file(&[u32::MAX, 200, 200], &[]), right(), &["16 GiB"]);
        let packed = gzip(&images());
        says(packed[..packed.len() - 3].to_vec(), right(), &["is damaged"]);
        let from_1 = Idx { first_label: 1, ..small() };
        let told = load(&from_1, &folder(&[(IMAGES, images()), (LABELS, right())]));
        let told = told.expect_err("labels from 0");
        assert!(told.contains("run from 0 to 2 where 1 to 3 are expected"), "{told}");
        let told = load(&small(), &folder(&[(IMAGES, images())])).expect_err("no labels");
        assert!(told.contains("lacks train-labels-idx1-ubyte"), "{told}");
    }

    #[test]
    fn the_config_is_checked() {
        let field = |format: Idx| format.check().expect_err("wrong").field;
        assert_eq!(field(Idx { channels: 2, ..Idx::default() }), ["channels"]);
        assert_eq!(field(Idx { classes: Classes::Count(1), ..Idx::default() }), ["classes"]);
        assert_eq!(field(Idx { size_px: Extent::square(0), ..Idx::default() }), ["size_px"]);
        let images = Images { pixel: PixelType::U8, shape: [28, 28, 1], classes: 10 };
        assert_eq!(Idx::default().images(), images);
    }
}
