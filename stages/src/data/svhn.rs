//! SVHN's cropped digits (Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature
//! Learning", 2011): MATLAB files with the images `X`, rows running fastest, then columns, channels
//! and images, and their labels `y`, in which 10 stands for the digit 0.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use fetch::{Check, Download, Remote};
use flow::port::PixelType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::format::FormatKind;
use super::in_memory::InMemory;
use super::mat::{self, Array, Stored};
use super::place::{Place, open, same_files, the_one, with_files};
use super::{Format, Images, Split, thousands};

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE * 3;
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
/// Images in a file at most: the size of an array has 32 bits.
const MOST: usize = u32::MAX as usize / PIXELS;
/// The folder that the files may lie in, and do in the cache.
const FOLDER: &str = "svhn";

const TRAIN: &str = "train_32x32.mat";
const TEST: &str = "test_32x32.mat";
const EXTRA: &str = "extra_32x32.mat";

const HOW_TO_GET: &str = "\
SVHN is a folder with train_32x32.mat and test_32x32.mat (\"Format 2: Cropped Digits\"), and
extra_32x32.mat if `extra` asks for it; or a folder with svhn/ that holds them.
`runtime fetch svhn` downloads it (non-commercial use only). By hand, it is at
http://ufldl.stanford.edu/housenumbers/. Then say where it is: --data FOLDER, or the environment
variable GRADFLOW_DATA=FOLDER.";

/// Where it is downloaded from.
pub static DOWNLOAD: Download = Download {
    name: "svhn",
    title: "SVHN",
    terms: "for non-commercial use only; cite Netzer et al., \"Reading Digits in Natural Images with \
            Unsupervised Feature Learning\", 2011",
    base: "http://ufldl.stanford.edu/housenumbers/",
    files: &[
        Remote {
            name: TRAIN,
            most_bytes: 250_000_000,
            check: Check::Sha256(
                "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            ),
            optional: false,
        },
        Remote {
            name: TEST,
            most_bytes: 100_000_000,
            check: Check::Sha256(
                "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
            ),
            optional: false,
        },
        Remote {
            name: EXTRA,
            most_bytes: 1_700_000_000,
            check: Check::Sha256(
                "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
            ),
            optional: true,
        },
    ],
    archive: None,
};

/// House numbers: 32x32 RGB photos of the digits 0 to 9, 73,257 to train on and 26,032 to test
/// with. They are not symmetric: switch the distorter's `flip` off.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Svhn {
    /// Whether the 531,131 easier digits of extra_32x32.mat are trained on as well. They take
    /// 1.6 GB of memory.
    pub extra: bool,
}

/// The kind.
pub fn kind() -> FormatKind {
    FormatKind::of::<Svhn>(
        "svhn",
        "SVHN's cropped digits: 32x32 RGB photos of house numbers, 73,257 to train on and 26,032 to \
         test with.",
        "{ extra: true }",
    )
}

impl Format for Svhn {
    fn selecting_fields(&self) -> &'static [&'static str] {
        &["extra"]
    }

    fn title(&self) -> &str {
        "SVHN"
    }

    fn images(&self) -> Images {
        Images { pixel: PixelType::U8, shape: [SIDE, SIDE, 3], classes: DIGITS.len() }
    }

    fn find(&self, path: &Path, _: Split) -> Result<Option<Place>> {
        const ALL: [&str; 3] = [TRAIN, TEST, EXTRA];
        // The two readers of a pipeline find the same folder.
        let folders = with_files(&[path.to_owned(), path.join(FOLDER)], &ALL)?;
        let found = the_one(&folders, |one, other| same_files(one, other, &ALL))?;
        Ok(found.map(Place::Folder))
    }

    fn open(&self, place: &Place, split: Split) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(self.load(place, split)?))
    }

    fn how_to_get(&self) -> String {
        HOW_TO_GET.to_owned()
    }

    fn download(&self) -> Option<&'static Download> {
        Some(&DOWNLOAD)
    }

    fn files(&self, split: Split) -> Vec<&'static str> {
        match split {
            Split::Test => vec![TEST],
            Split::Train | Split::Validation if self.extra => vec![TRAIN, EXTRA],
            Split::Train | Split::Validation => vec![TRAIN],
        }
    }
}

impl Svhn {
    fn load(&self, place: &Place, split: Split) -> Result<InMemory> {
        let Place::Folder(folder) = place else { bail!("SVHN is a folder of .mat files") };
        let mut all = Digits::default();
        for file in self.files(split) {
            let path = folder.join(file);
            read(&path, &mut all).with_context(|| format!("cannot use {}", path.display()))?;
        }
        Ok(InMemory {
            name: if self.extra { "SVHN with extra digits" } else { "SVHN" }.to_owned(),
            shape: [SIDE, SIDE, 3],
            classes: DIGITS.map(str::to_owned).to_vec(),
            labels: all.labels,
            pixels: all.pixels.into(),
            warning: None,
            originals: None,
        })
    }
}

#[derive(Default)]
struct Digits {
    labels: Vec<u32>,
    pixels: Vec<u8>,
}

fn read(path: &Path, all: &mut Digits) -> Result<()> {
    let (mut images, mut labels) = (None, None);
    let others = mat::arrays(open(path)?, |array| {
        match array.name.as_str() {
            "X" => images = Some(read_images(array, &mut all.pixels)?),
            "y" => labels = Some(read_labels(array)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (Some(images), Some(labels)) = (images, labels) else {
        let (name, what) = if images.is_none() { ("X", "images") } else { ("y", "labels") };
        let found = match others.iter().find(|other| other.name == name) {
            Some(other) => format!("its {what} {name} are {}", other.what),
            None => format!("it has no {what} {name}"),
        };
        bail!(
            "{found}; expected are two arrays of numbers: X, uint8 [32, 32, 3, N], and y, [N, 1]"
        );
    };
    ensure!(
        images == labels.len(),
        "it has {} images X and {} labels y: as many of both are expected",
        thousands(images as u64),
        thousands(labels.len() as u64)
    );
    all.labels.extend(labels);
    Ok(())
}

/// Reads the images, from columns of one channel to rows of pixels; gives their number.
fn read_images(array: &mut Array<'_>, pixels: &mut Vec<u8>) -> Result<usize> {
    let &[SIDE, SIDE, 3, count] = array.sizes.as_slice() else {
        bail!("expected uint8 [32, 32, 3, N], found {}", array.describe());
    };
    let described = array.describe();
    ensure!(array.stored == Stored::U8, "expected uint8 [32, 32, 3, N], found {described}");
    ensure!(count > 0, "there are no images in it");
    let before = pixels.len();
    let wanted = count.checked_mul(PIXELS).context("there are too many images in it")?;
    pixels
        .try_reserve_exact(wanted)
        .with_context(|| format!("{} images do not fit into memory", thousands(count as u64)))?;
    let mut columns = vec![0; PIXELS];
    for number in 0..count {
        array.read_exact(&mut columns).with_context(|| {
            format!("the data ends within image {number} (counted from 0) of {count}")
        })?;
        // An image is a few kilobytes and in the cache, however its bytes are walked.
        for row in 0..SIDE {
            for column in 0..SIDE {
                let value = |channel| columns[row + SIDE * (column + SIDE * channel)];
                pixels.extend([0, 1, 2].map(value));
            }
        }
    }
    debug_assert_eq!(pixels.len(), before + wanted);
    Ok(count)
}

fn read_labels(array: &mut Array<'_>) -> Result<Vec<u32>> {
    ensure!(
        array.sizes.iter().filter(|size| **size != 1).count() <= 1,
        "expected [N, 1], found {}",
        array.describe()
    );
    let mut labels = Vec::new();
    array.numbers(|at, label| {
        labels.push(match label {
            10.0 => 0,
            label if (1.0..10.0).contains(&label) && label.fract() == 0.0 => label as u32,
            label => {
                let hint = if label == 0.0 {
                    "; the digit 0 has label 10 in SVHN's own files: write it so"
                } else {
                    ""
                };
                bail!("label {at} (counted from 0) is {label}; expected 1 to 10{hint}")
            }
        });
        ensure!(labels.len() <= MOST, "there are more labels than images fit into a file");
        Ok(())
    })?;
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use std::fs::write;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn part(kind: u32, bytes: &[u8], big: bool) -> Vec<u8> {
        let number = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        if bytes.len() <= 4 {
            let mut small = number((bytes.len() as u32) << 16 | kind).to_vec();
            small.extend(bytes);
            small.resize(8, 0);
            return small;
        }
        let mut part = [number(kind), number(bytes.len() as u32)].concat();
        part.extend(bytes);
        part.resize(part.len().next_multiple_of(8), 0);
        part
    }

    /// An array as MATLAB writes it.
    fn array(name: &str, class: u32, sizes: &[u32], kind: u32, data: &[u8], big: bool) -> Vec<u8> {
        let number = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        let flags = [number(class), number(0)].concat();
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| number(*size)).collect();
        let body = [
            part(6, &flags, big),
            part(5, &sizes, big),
            part(1, name.as_bytes(), big),
            part(kind, data, big),
        ]
        .concat();
        [number(14).to_vec(), number(body.len() as u32).to_vec(), body].concat()
    }

    fn packed(element: &[u8], big: bool) -> Vec<u8> {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(element).expect("memory");
        let zlib = zlib.finish().expect("memory");
        let number = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        [number(15).to_vec(), number(zlib.len() as u32).to_vec(), zlib].concat()
    }

    fn file(elements: &[Vec<u8>], big: bool) -> Vec<u8> {
        let mut file = b"MATLAB 5.0 MAT-file, made up".to_vec();
        file.resize(124, b' ');
        file.extend(if big { b"\x01\x00MI" } else { b"\x00\x01IM" });
        file.extend(elements.concat());
        file
    }

    fn element(at: usize) -> u8 {
        (at % 251) as u8
    }

    fn x(count: u32, big: bool) -> Vec<u8> {
        let data: Vec<u8> = (0..PIXELS * count as usize).map(element).collect();
        array("X", 9, &[32, 32, 3, count], 2, &data, big)
    }

    fn y(labels: &[u8]) -> Vec<u8> {
        array("y", 9, &[labels.len() as u32, 1], 2, labels, false)
    }

    fn load(content: &[u8]) -> Result<InMemory, String> {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path().join(TEST), content).expect("written");
        let format = Svhn::default();
        let place = format.find(folder.path(), Split::Test).expect("readable").expect("there");
        format.load(&place, Split::Test).map_err(|error| format!("{error:#}"))
    }

    fn says(content: &[u8], parts: &[&str]) {
        let told = load(content).expect_err("there is something wrong");
        for part in parts.iter().chain(&[TEST]) {
            assert!(told.contains(part), "{part:?} is not in: {told}");
        }
    }

    #[test]
    fn arrays_are_read_packed_or_not_in_either_byte_order() {
        let doubles = |big: bool| -> Vec<u8> {
            let labels = [10.0_f64, 1.0, 9.0];
            let bytes = |v: f64| if big { v.to_be_bytes() } else { v.to_le_bytes() };
            array("y", 6, &[3, 1], 9, &labels.map(bytes).concat(), big)
        };
        // What NumPy makes of whole numbers.
        let integers = |big: bool| -> Vec<u8> {
            let bytes = |v: i64| if big { v.to_be_bytes() } else { v.to_le_bytes() };
            array("y", 14, &[1, 3], 12, &[10, 1, 9].map(bytes).concat(), big)
        };
        let other = array("note", 4, &[1, 5], 4, b"h e l l o ", false);
        for content in [
            file(&[x(3, false), y(&[10, 1, 9])], false),
            file(&[y(&[10, 1, 9]), other, x(3, false)], false),
            file(&[packed(&x(3, false), false), packed(&doubles(false), false)], false),
            file(&[x(3, true), packed(&doubles(true), true)], true),
            file(&[x(3, false), integers(false)], false),
            file(&[x(3, true), integers(true)], true),
        ] {
            let data = load(&content).expect("loaded");
            assert_eq!((&*data.labels, data.classes.len()), (&[0, 1, 9][..], 10));
            for (image, row, column, channel) in [(0, 1, 0, 0), (0, 0, 1, 0), (2, 5, 9, 1)] {
                let from = row + 32 * (column + 32 * (channel + 3 * image));
                let to = image * PIXELS + (row * 32 + column) * 3 + channel;
                assert_eq!(data.pixels[to], element(from));
            }
        }
    }

    #[test]
    fn other_levels_shapes_and_labels_are_told() {
        let mut newer = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".to_vec();
        newer.resize(512, 0);
        newer.extend(b"\x89HDF\r\n\x1a\n");
        says(&newer, &["level 7.3 (HDF5)", "-v7", "scipy.io.savemat"]);
        says(b"short", &["no MATLAB file of level 5"]);
        says(&[0; 500], &["no MATLAB file of level 5"]);
        let two = |labels: &[u8]| file(&[x(2, false), y(labels)], false);
        says(&two(&[1, 2, 3]), &["2 images X and 3 labels y"]);
        says(&two(&[1, 11]), &["array y", "label 1 (counted from 0) is 11", "1 to 10"]);
        says(&two(&[0, 1]), &["label 0 (counted from 0) is 0", "digit 0 has label 10"]);
        says(&file(&[x(2, false)], false), &["no labels y", "[32, 32, 3, N]"]);
        says(&file(&[y(&[1])], false), &["no images X"]);
        let structure = array("X", 2, &[1, 1], 5, &[0; 8], false);
        let told = ["images X are a structure", "two arrays of numbers"];
        says(&file(&[structure, y(&[1])], false), &told);
        let text = array("y", 4, &[1, 2], 4, b"1 2 ", false);
        says(&file(&[x(2, false), packed(&text, false)], false), &["labels y are text"]);
        let unknown = array("y", 9, &[1, 2], 8, &[1, 2], false);
        says(&file(&[x(2, false), unknown], false), &["labels y are of numbers that are stored"]);
        let table = array("y", 9, &[2, 2], 2, &[1; 4], false);
        says(&file(&[x(2, false), table], false), &["array y", "expected [N, 1]", "U8 [2, 2]"]);
        for (label, told) in [(1.5_f64, "is 1.5"), (-1.0, "is -1"), (f64::NAN, "is NaN")] {
            let labels = array("y", 6, &[1, 1], 9, &label.to_le_bytes(), false);
            says(&file(&[x(1, false), labels], false), &["label 0", told, "expected 1 to 10"]);
        }
        let shape = |sizes: &[u32], kind, bytes: usize| {
            file(&[array("X", 9, sizes, kind, &vec![0; bytes], false)], false)
        };
        says(&shape(&[2, 32, 32, 3], 2, 2 * PIXELS), &["found U8 [2, 32, 32, 3]"]);
        says(&shape(&[32, 32, 3, 1], 4, 2 * PIXELS), &["found U16 [32, 32, 3, 1]"]);
        says(&shape(&[32, 32, 3, 2], 2, PIXELS), &["said to be U8 [32, 32, 3, 2]", "3,072 bytes"]);
    }

    #[test]
    fn damaged_files_are_told_and_never_a_panic() {
        let plain = file(&[x(2, false), y(&[1, 2])], false);
        let small = file(&[packed(&x(2, false), false), packed(&y(&[1, 2]), false)], false);
        for whole in [&plain, &small] {
            let right = load(whole).expect("loaded");
            for length in (0..whole.len()).step_by(whole.len() / 40).chain([whole.len() - 1]) {
                says(&whole[..length], &[]);
            }
            for at in (0..whole.len()).step_by(37) {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x55;
                // What has no checksum may be read as something else.
                let _ = load(&damaged);
                if whole == &small && at > 200 {
                    assert!(load(&damaged).is_err_and(|told| told.contains(TEST)), "{at}");
                }
            }
            assert_eq!(right.labels, [1, 2]);
        }
    }
}
