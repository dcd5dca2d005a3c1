//! CIFAR-10 in its binary version.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fetch::{Archive, Check, Download, Member};
use flow::port::PixelType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cifar::{SHAPE, Variant};
use super::dataset::Dataset;
use super::format::FormatKind;
use super::place::{self, Layout, Place};
use super::{Format, Images, Split};

/// The names of its classes.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
/// The names of its files.
pub const LAYOUT: Layout = Layout {
    files: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
        "test_batch.bin",
    ],
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
};
/// The data set.
pub const CIFAR_10: Variant = Variant {
    name: "CIFAR-10",
    layout: LAYOUT,
    train_files: 5,
    labels: 1,
    label: 0,
    classes: &CLASSES,
    names: "batches.meta.txt",
    records: [10_000; 2],
    again: "download the binary version of CIFAR-10 again from \
            https://www.cs.toronto.edu/~kriz/cifar.html",
};
/// How to get it.
const HOW_TO_GET: &str = "\
CIFAR-10 is a folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin, or with
cifar-10-batches-bin/, or with cifar-10-binary.tar.gz, or that archive itself.
`runtime fetch cifar10` downloads it. By hand: download the \"binary version\",
cifar-10-binary.tar.gz (162 MiB), from https://www.cs.toronto.edu/~kriz/cifar.html; it need not be
unpacked. Then say where it is: --data FOLDER, or the environment variable GRADFLOW_DATA=FOLDER.";

/// Where it is downloaded from. Archives with the same files and another wrapper are in use, so the
/// files are checked and not the archive.
pub static DOWNLOAD: Download = Download {
    name: "cifar10",
    title: "CIFAR-10",
    terms: "no explicit licence; cite A. Krizhevsky, \"Learning Multiple Layers of Features from Tiny \
            Images\", 2009",
    base: "https://www.cs.toronto.edu/~kriz/",
    files: &[],
    archive: Some(Archive {
        name: LAYOUT.archive,
        most_bytes: 200_000_000,
        check: None,
        folder: LAYOUT.folder,
        members: &[
            member(0, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
            member(1, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
            member(2, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
            member(3, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
            member(4, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
            member(5, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
            Member { name: CIFAR_10.names, most_bytes: 1 << 16, check: None },
        ],
    }),
};

const fn member(file: usize, sha256: &'static str) -> Member {
    Member { name: LAYOUT.files[file], most_bytes: 30_730_000, check: Some(Check::Sha256(sha256)) }
}

/// CIFAR-10 as a reader's format.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cifar10 {}

/// The kind.
pub fn kind() -> FormatKind {
    FormatKind::of::<Cifar10>(
        "cifar10",
        "CIFAR-10 in its binary version: 32x32 RGB photos of 10 classes, 50,000 to train on and 10,000 \
         to test with.",
        "{}",
    )
}

impl Format for Cifar10 {
    fn title(&self) -> &str {
        CIFAR_10.name
    }

    fn images(&self) -> Images {
        Images { pixel: PixelType::U8, shape: SHAPE, classes: CLASSES.len() }
    }

    fn find(&self, path: &Path, _: Split) -> Result<Option<Place>> {
        place::find(path, &LAYOUT)
    }

    fn open(&self, place: &Place, split: Split) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(CIFAR_10.load(place, split)?))
    }

    fn not_read(&self, place: &Place) -> Option<PathBuf> {
        place::archive_beside(place, &LAYOUT)
    }

    fn how_to_get(&self) -> String {
        HOW_TO_GET.to_owned()
    }

    fn download(&self) -> Option<&'static Download> {
        Some(&DOWNLOAD)
    }
}
