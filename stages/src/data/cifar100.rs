//! CIFAR-100 in its binary version: each record has a coarse and a fine label.

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

/// 32x32 RGB photos of 100 classes in 20 groups, 50,000 to train on and 10,000 to test with.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cifar100 {
    /// Which label of an image is its class.
    pub labels: Labels,
}

/// Which label of an image is its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Labels {
    /// One of 100 things, such as `maple_tree`.
    #[default]
    Fine,
    /// One of 20 groups of 5 things each, such as `trees`.
    Coarse,
}

const LAYOUT: Layout = Layout {
    files: &["train.bin", "test.bin"],
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
};

const BY_FINE_LABEL: Variant = Variant {
    name: "CIFAR-100",
    layout: LAYOUT,
    train_files: 1,
    labels: 2,
    label: 1,
    classes: &FINE,
    names: "fine_label_names.txt",
    records: [50_000, 10_000],
    again: "download the binary version of CIFAR-100 again from \
            https://www.cs.toronto.edu/~kriz/cifar.html",
};

const BY_COARSE_LABEL: Variant = Variant {
    name: "CIFAR-100 by coarse labels",
    label: 0,
    classes: &COARSE,
    names: "coarse_label_names.txt",
    ..BY_FINE_LABEL
};

/// Where it is downloaded from.
pub static DOWNLOAD: Download = Download {
    name: "cifar100",
    title: "CIFAR-100",
    terms: "no explicit licence; cite A. Krizhevsky, \"Learning Multiple Layers of Features from Tiny \
            Images\", 2009",
    base: "https://www.cs.toronto.edu/~kriz/",
    files: &[],
    archive: Some(Archive {
        name: LAYOUT.archive,
        most_bytes: 200_000_000,
        check: Some(Check::Md5("03b5dce01913d631647c71ecec9e9cb8")),
        folder: LAYOUT.folder,
        members: &[
            Member { name: "train.bin", most_bytes: 153_700_000, check: None },
            Member { name: "test.bin", most_bytes: 30_740_000, check: None },
            Member { name: BY_FINE_LABEL.names, most_bytes: 1 << 16, check: None },
            Member { name: BY_COARSE_LABEL.names, most_bytes: 1 << 16, check: None },
        ],
    }),
};

const HOW_TO_GET: &str = "\
CIFAR-100 is a folder with train.bin and test.bin, or with cifar-100-binary/, or with
cifar-100-binary.tar.gz, or that archive itself.
`runtime fetch cifar100` downloads it. By hand: download the \"binary version\",
cifar-100-binary.tar.gz (161 MiB), from https://www.cs.toronto.edu/~kriz/cifar.html; it need not be
unpacked. Then say where it is: --data FOLDER, or the environment variable GRADFLOW_DATA=FOLDER.";

impl Cifar100 {
    fn variant(&self) -> &'static Variant {
        match self.labels {
            Labels::Fine => &BY_FINE_LABEL,
            Labels::Coarse => &BY_COARSE_LABEL,
        }
    }
}

/// The kind.
pub fn kind() -> FormatKind {
    FormatKind::of::<Cifar100>(
        "cifar100",
        "CIFAR-100 in its binary version: 32x32 RGB photos of 100 classes in 20 groups, 50,000 to \
         train on and 10,000 to test with.",
        "{ labels: coarse }",
    )
}

impl Format for Cifar100 {
    fn selecting_fields(&self) -> &'static [&'static str] {
        &["labels"]
    }

    fn title(&self) -> &str {
        self.variant().name
    }

    fn images(&self) -> Images {
        Images { pixel: PixelType::U8, shape: SHAPE, classes: self.variant().classes.len() }
    }

    fn find(&self, path: &Path, _: Split) -> Result<Option<Place>> {
        place::find(path, &LAYOUT)
    }

    fn open(&self, place: &Place, split: Split) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(self.variant().load(place, split)?))
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

const COARSE: [&str; 20] = [
    "aquatic_mammals",
    "fish",
    "flowers",
    "food_containers",
    "fruit_and_vegetables",
    "household_electrical_devices",
    "household_furniture",
    "insects",
    "large_carnivores",
    "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes",
    "large_omnivores_and_herbivores",
    "medium_mammals",
    "non-insect_invertebrates",
    "people",
    "reptiles",
    "small_mammals",
    "trees",
    "vehicles_1",
    "vehicles_2",
];

const FINE: [&str; 100] = [
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
];

#[cfg(test)]
mod tests {
    use std::fs::write;

    use super::*;
    use crate::data::in_memory::InMemory;

    /// Records with these coarse and fine labels, one colour each.
    fn records(labels: &[[u8; 2]]) -> Vec<u8> {
        labels.iter().flat_map(|labels| [&labels[..], &[labels[1]; 3072]].concat()).collect()
    }

    fn load(labels: Labels, train: &[u8]) -> Result<InMemory, String> {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path().join("train.bin"), train).expect("written");
        let format = Cifar100 { labels };
        let place = format.find(folder.path(), Split::Train).expect("readable").expect("there");
        format.variant().load(&place, Split::Train).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn each_image_has_two_labels() {
        let content = records(&[[17, 47], [0, 4], [19, 99]]);
        let fine = load(Labels::Fine, &content).expect("loaded");
        assert_eq!(fine.labels, [47, 4, 99]);
        assert_eq!((&*fine.classes[47], fine.classes.len()), ("maple_tree", 100));
        let coarse = load(Labels::Coarse, &content).expect("loaded");
        assert_eq!(coarse.labels, [17, 0, 19]);
        assert_eq!((&*coarse.classes[17], coarse.classes.len()), ("trees", 20));
        assert_eq!(coarse.pixels, fine.pixels);
        assert_eq!(fine.pixels[..3072], [47; 3072]);
        assert!(fine.warning.expect("fewer than official").contains("50,000"));
    }

    #[test]
    fn a_label_out_of_range_is_named_with_its_place() {
        let content = records(&[[0, 0], [20, 100]]);
        for (labels, parts) in [
            (Labels::Fine, ["record 1", "byte 3,074", "label 100", "0 to 99", "CIFAR-100"]),
            (Labels::Coarse, ["record 1", "byte 3,074", "label 20", "0 to 19", "CIFAR-100"]),
        ] {
            let told = load(labels, &content).expect_err("wrong");
            assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        }
        // Records of CIFAR-10 are a byte shorter.
        let told = load(Labels::Fine, &[0; 3073]).expect_err("wrong");
        assert!(told.contains("records of 3,074 bytes") && told.contains("153,700,000"), "{told}");
    }
}
